//! What a build writes for systemd, cron, logrotate, dpkg and rpm: read by people (golden files),
//! and by the programs themselves.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::support::project::pin;
use super::support::tools::{output, python, text, tool};
use super::support::wheel::Wheel;
use super::support::{Sandbox, golden, walk};

/// A program of a distribution, which prints what it was started with.
fn program(distribution: &str, script: &str) -> Wheel {
    Wheel::new(distribution, "1.0")
        .file(
            &format!("{distribution}.py"),
            "import json, os, sys\n\n\ndef main():\n    print(json.dumps([sys.argv[1:], dict(os.environ)]))\n",
        )
        .console_script(script, &format!("{distribution}:main"))
}

fn application(name: &str, programs: &[(&str, &str)], tables: &str) -> Sandbox {
    let sandbox = Sandbox::hello();
    let wheels: Vec<Wheel> = programs
        .iter()
        .map(|(distribution, script)| program(distribution, script))
        .collect();
    pin(&sandbox, &wheels);
    sandbox.edit(
        "pkgapp.toml",
        "[app]\n",
        &format!("[app]\nname = {name:?}\n"),
    );
    sandbox.append("pkgapp.toml", &format!("\n{tables}"));
    // What the commands start.
    for module in [
        "clocks/__init__.py",
        "clocks/report.py",
        "clocks/wsgi.py",
        "api.py",
    ] {
        sandbox.write(module, "");
    }
    sandbox.edit(
        "pkgapp.toml",
        "include = [",
        "include = [\"clocks/*.py\", \"api.py\", ",
    );
    sandbox
}

pub(crate) fn django() -> Sandbox {
    let sandbox = application(
        "clocks",
        &[("gunicorn", "gunicorn"), ("celery", "celery")],
        DJANGO,
    );
    sandbox.write("deploy/clocks.env", "CLOCKS_TITLE=Tick\n");
    sandbox
}

const DJANGO: &str = r#"
[service.web]
exec = "gunicorn clocks.wsgi --workers 2"
type = "notify"
socket = "0.0.0.0:8000"
reload = "HUP"
environment-file = ["/etc/clocks/clocks.env", "/etc/clocks/secrets.env"]
limit-nofile = 4096

[service.worker]
exec = "celery -A clocks worker --hostname {instance}@clocks"
instances = 3
timeout-stop = "5min"
after = ["redis.service"]
wants = ["redis.service"]
environment-file = "/etc/clocks/secrets.env"

[service.beat]
exec = "celery -A clocks beat"
on-upgrade = "keep"

[timer.report]
exec = "python -m clocks.report"
calendar = "Mon..Fri 06:00"
persistent = false
randomized-delay = "10min"

[cron.purge]
exec = "python app/manage.py purge --older '50%'"
schedule = "10 2 * * *"
environment-file = "/etc/clocks/clocks.env"

[cron.mail]
exec = "sh -c 'date; exit 0'"
schedule = "@daily"
mailto = "ops@example.com"
env = { GREETING = "it's 100%" }

[logrotate]
paths = ["/var/log/clocks/*.log"]

[config."clocks.env"]
source = "deploy/clocks.env"
mode = "0640"
"#;

const FASTAPI: &str = r#"
[service.api]
exec = "uvicorn api:app --fd 3 --workers 2"
socket = "/run/api/api.sock"
restart = "always"
user = "www-data"
group = "www-data"
write = ["/srv/up loads"]
relax = ["PrivateDevices", "SystemCallFilter"]
systemd = { MemoryMax = "500M", UMask = "0077" }
environment-file = "/etc/default/api"

[logrotate]
paths = ["/srv/api/logs/access.log"]
frequency = "monthly"
keep = 3
compress = false
"#;

const WORKER: &str = r#"
[service.main]
exec = "drain --queue 'a b' --price '$5' --share 50% --quote \"\\\"\""
working-directory = "/var/lib/drain"
env = { LETTERS = "größe", LINES = "a\nb" }
reload = "/bin/kill -s USR2 $MAINPID_IS_NOT_EXPANDED"
"#;

/// All text files that are generated, by path.
fn rendered(sandbox: &Sandbox) -> String {
    sandbox
        .pkgapp(["render", "--output", "../rendered"])
        .stdout();
    let root = sandbox.root().join("rendered");
    let mut all = String::new();
    for path in walk(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let generated = [
            "usr/lib/",
            "etc/",
            "deb/p",
            "deb/triggers",
            "deb/conffiles",
            "rpm/",
        ];
        if path.is_file() && generated.iter().any(|start| name.starts_with(start)) {
            _ = write!(
                all,
                "==> {name} <==\n{}\n",
                std::fs::read_to_string(&path).unwrap()
            );
        }
    }
    all
}

#[test]
fn what_is_generated_for_three_applications_is_as_it_was_read() {
    let worker = WORKER.replace(
        "reload = \"/bin/kill -s USR2 $MAINPID_IS_NOT_EXPANDED\"\n",
        "",
    );
    let applications = [
        ("django", django()),
        (
            "fastapi",
            application("api", &[("uvicorn", "uvicorn")], FASTAPI),
        ),
        (
            "worker",
            application("drain", &[("drain", "drain")], &worker),
        ),
    ];
    let differences: String = applications
        .iter()
        .filter_map(|(name, sandbox)| {
            // As if it were for 3.11, whichever Python is here; a regular expression has a
            // backslash.
            let minor = &python().minor;
            let text = sandbox.normal(&rendered(sandbox)).replace(minor, "3.11");
            let text = text.replace(&minor.replace('.', "\\."), "3\\.11");
            golden(&format!("services/{name}.txt"), &text).err()
        })
        .collect();
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_calls_them_safe() {
    if tool("systemd-analyze").is_none() {
        return;
    }
    let sandbox = django();
    sandbox.pkgapp(["render", "--output", "../root"]).stdout();
    let root = sandbox.root().join("root");
    let services: Vec<_> = walk(&root.join("usr/lib/systemd/system"))
        .into_iter()
        .filter(|path| path.is_file())
        .collect();
    assert_eq!(services.len(), 7, "{services:?}");
    for service in services
        .iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "service"))
    {
        let mut analyze = Command::new("systemd-analyze");
        let printed = text(
            analyze
                .args(["security", "--no-pager", "--offline=yes"])
                .arg(service),
        );
        let last = printed.lines().last().unwrap();
        let level: f64 = last
            .split(": ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(level < 4.0, "{}: {last}", service.display());
    }
    let mut verify = Command::new("systemd-analyze");
    // Together with the units of this machine; the colon stands for their places.
    verify.env(
        "SYSTEMD_UNIT_PATH",
        format!("{}:", root.join("usr/lib/systemd/system").display()),
    );
    verify
        .args(["verify", "--man=no"])
        .args(services.iter().map(|path| path.file_name().unwrap()));
    let printed = verify.output().unwrap();
    let complaints: Vec<_> = String::from_utf8_lossy(&printed.stderr)
        .lines()
        .filter(|line| line.contains("clocks-") || line.contains("clocks."))
        // The release is not installed here.
        .filter(|line| {
            !(line.contains("Command /opt/clocks/") && line.contains("is not executable"))
        })
        .map(str::to_owned)
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn pauses_between_starts_grow_where_every_hosts_systemd_can_let_them() {
    let restarts = |targets: &str, more: &str| {
        let service = format!("[service.main]\nexec = \"drain\"\n{more}\n");
        let sandbox = application(
            "drain",
            &[("drain", "drain")],
            &format!("{service}[package]\ntargets = {targets}\n"),
        );
        sandbox
            .pkgapp(["render", "--output", "../rendered"])
            .stdout();
        let unit = sandbox
            .root()
            .join("rendered/usr/lib/systemd/system/drain-main.service");
        let unit = std::fs::read_to_string(unit).unwrap();
        let lines = unit
            .lines()
            .filter(|line| line.starts_with("Restart") || line.starts_with("StartLimit"));
        lines.collect::<Vec<_>>().join(" ")
    };
    let forever = "StartLimitIntervalSec=0 Restart=on-failure";
    assert_eq!(restarts("[]", ""), format!("{forever} RestartSec=5s"));
    assert_eq!(
        restarts("[\"fedora\"]", ""),
        format!("{forever} RestartSec=1s RestartSteps=5 RestartMaxDelaySec=20s")
    );
    // The user's own words are not made shorter by our longest pause.
    let own = restarts(
        "[\"fedora\"]",
        "systemd = { RestartSec = \"1min\", StartLimitBurst = \"3\" }",
    );
    assert_eq!(
        own,
        "Restart=on-failure RestartSec=1s RestartSec=1min StartLimitBurst=3"
    );
    // Nothing would keep these apart.
    assert_eq!(
        restarts("[\"fedora\"]", "restart = \"no\""),
        "Restart=no RestartSec=1s"
    );
}

#[test]
fn logrotate_reads_its_configuration() {
    if tool("logrotate").is_none() {
        return;
    }
    for sandbox in [
        django(),
        application("api", &[("uvicorn", "uvicorn")], FASTAPI),
    ] {
        sandbox
            .pkgapp(["render", "--output", "../rendered"])
            .stdout();
        let file = walk(&sandbox.root().join("rendered/etc/logrotate.d"))
            .pop()
            .unwrap();
        // Users that this machine lacks are refused.
        let known = std::fs::read_to_string(&file)
            .unwrap()
            .replace("clocks clocks", "root root");
        std::fs::write(&file, known).unwrap();
        let mut logrotate = Command::new("logrotate");
        let ran = logrotate
            .arg("--debug")
            .arg("--state")
            .arg(sandbox.root().join("state"))
            .arg(&file)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && !printed.contains("error:"),
            "{printed}"
        );
    }
}

#[test]
fn the_reader_of_environment_files_reads_what_systemd_reads() {
    let sandbox = django();
    sandbox
        .pkgapp(["render", "--output", "../rendered"])
        .stdout();
    let reader = sandbox
        .root()
        .join("rendered/opt/clocks/.pkgapp/with-environment");
    sandbox.write(
        "variables.env",
        "# comment\n; comment\n\nPLAIN=a b  c  \n  SPACED = x\nDOUBLE=\"a \\\"b\\\" $HOME `id`\"\nSINGLE='a \\ b'\n\
         ESCAPED=a\\ b\\\\c\nJOINED=a\\\nb\nEMPTY=\n2BAD=1\nno assignment\nEQUALS=a=b=c\nUMLAUT=größe\nLAST=no newline",
    );
    let mut command = Command::new(&python().path);
    command
        .env_clear()
        .args(["-I", "-S"])
        .arg(&reader)
        .arg("-/missing")
        .arg(sandbox.path("variables.env"))
        .args(["--", "/usr/bin/env"]);
    let printed = String::from_utf8(output(&mut command)).unwrap();
    let mut lines: Vec<&str> = printed
        .lines()
        .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
        .collect();
    lines.sort_unstable();
    // What systemd 252 makes of the same file with `systemd-run -p EnvironmentFile=`.
    assert_eq!(
        lines,
        [
            "DOUBLE=a \"b\" $HOME `id`",
            "EMPTY=",
            "EQUALS=a=b=c",
            "ESCAPED=a b\\c",
            "JOINED=ab",
            "LAST=no newline",
            "PLAIN=a b  c",
            "SINGLE=a \\ b",
            "SPACED=x",
            "UMLAUT=größe",
        ]
    );
}

#[test]
fn cron_hands_its_shell_the_words_that_were_meant() {
    let Some(sh) = tool("sh") else { return };
    let sandbox = application(
        "jobs",
        &[("dump", "dump")],
        "[cron.a]\nschedule = \"@daily\"\nexec = '''dump 'a b' \"it's\" '$HOME' '`id`' '50%' 'x\"y' größe \\\\ '''\n\
         env = { A = \"100% $HOME 'x'\" }\n",
    );
    sandbox
        .pkgapp(["render", "--output", "../rendered"])
        .stdout();
    let table = std::fs::read_to_string(sandbox.root().join("rendered/etc/cron.d/jobs")).unwrap();
    let line = table
        .lines()
        .find(|line| line.starts_with("@daily jobs "))
        .unwrap_or_else(|| panic!("{table}"));
    // What cron does: the command goes to the shell, with `\%` turned into `%` (crontab(5)).
    let command = line
        .strip_prefix(
            "@daily jobs [ -e /opt/jobs/.pkgapp/release.json ] || exit 0; cd /opt/jobs && ",
        )
        .unwrap()
        .replace("\\%", "%");
    let print = command.replace(
        "/opt/jobs/bin/dump ",
        "sh -c 'printf \"%s|\" \"$A\" \"$@\"' x ",
    );
    assert_ne!(print, command);
    let printed = text(Command::new(sh).env_remove("A").arg("-c").arg(&print));
    assert_eq!(
        printed,
        "100% $HOME 'x'|a b|it's|$HOME|`id`|50%|x\"y|größe|\\|"
    );
}

#[test]
fn what_a_file_cannot_carry_is_refused_with_its_place() {
    for (tables, message) in [
        (
            "[service.web]\nexec = \"gunicron x\"\n",
            "`gunicron` is not a program of the release",
        ),
        (
            "[cron.a]\nschedule = \"@daily\"\nexec = \"gunicorn 'a\\nb'\"\n",
            "a crontab cannot contain the character '\\n'",
        ),
        (
            "[service.web]\nexec = \"gunicorn\"\nrelax = [\"PrivatTmp\"]\n",
            "did you mean `PrivateTmp`?",
        ),
        (
            "[service.web]\nexec = \"gunicorn\"\nsystemd = { memoryMax = \"1\" }\n",
            "is not the name of a setting",
        ),
        (
            "[service.web]\nexec = \"gunicorn\"\nsystemd = { MemoryMax = \"1\\n[Install]\" }\n",
            "must be one line",
        ),
        (
            "[logrotate]\npaths = [\"/var/log/x\"]\nservices = [\"wbe\"]\n",
            "there is no `[service.wbe]`",
        ),
        (
            "[logrotate]\npaths = [\"/var/log/x\"]\ncopytruncate = true\nsignal = \"USR1\"\n",
            "with `copytruncate`, no service is signaled",
        ),
        (
            "[logrotate]\npaths = ['/var/log/\"x']\n",
            "contains '\"', which logrotate cannot represent",
        ),
        (
            "[logrotate]\npaths = [\"/var/log/shop/*.log\", \"/var/log/shop/a.log\"]\n",
            "`/var/log/shop/*.log` and `/var/log/shop/a.log` match the same logs",
        ),
        (
            "[service.web]\nexec = \"gunicorn\"\nsocket = \"[::]:80\"\nsocket-group = \"www-data\"\n",
            "`service.web.socket-group` is for a socket in the file system",
        ),
        (
            "[service.web]\nexec = \"gunicorn\"\nsocket = \"/run/shop/x\"\nsocket-mode = 432\n",
            "write `socket-mode = \"0660\"`",
        ),
    ] {
        let sandbox = application("shop", &[("gunicorn", "gunicorn")], tables);
        let printed = sandbox.pkgapp(["render"]).fails();
        assert!(printed.contains(message), "{tables}\n{printed}");
        assert!(printed.contains("pkgapp.toml:"), "{printed}");
    }
}

#[test]
fn no_application_runs_as_an_account_that_hosts_have_for_themselves() {
    let tables = |user: &str| {
        format!(
            "[service.web]\nexec = \"gunicorn\"\n{user}[cron.purge]\nexec = \"gunicorn\"\nschedule = \"@daily\"\n{user}"
        )
    };
    let long = "stock-and-inventory-reconcilers";
    let longer = format!("{long}-2");
    for (name, message, hint) in [
        (
            "backup",
            "`backup`, which Debian or Red Hat reserve",
            "set `user = \"backup-app\"`",
        ),
        (
            "root",
            "`root`, which Debian or Red Hat reserve",
            "set `user = \"root-app\"`",
        ),
        (
            &longer,
            "has 33 bytes, but a user name can have at most 31",
            &format!("set `user = \"{long}\"`"),
        ),
    ] {
        let sandbox = application(name, &[("gunicorn", "gunicorn")], &tables(""));
        let printed = sandbox.pkgapp(["render"]).fails();
        assert_eq!(printed.matches(message).count(), 2, "{printed}");
        assert_eq!(printed.matches(hint).count(), 2, "{printed}");
        let sandbox = application(
            name,
            &[("gunicorn", "gunicorn")],
            &tables("user = \"www-data\"\n"),
        );
        sandbox.pkgapp(["render"]).stdout();
    }
    application(long, &[("gunicorn", "gunicorn")], &tables(""))
        .pkgapp(["render"])
        .stdout();
}

/// What a push makes of a tarball for a login: of what the build has made for it, and as it does
/// with tarballs of versions that made nothing.
const LOGIN: &str = concat!(
    "set -eu; export LC_ALL=C; say() { printf '%s\\n' \"$*\"; }\n",
    "into=/home/ada/app state=$into/.pkgapp XDG_RUNTIME_DIR=/run/user/7 name=$2 prefix=/opt/$2\n",
    include_str!("../src/deploy/scripts/tarball/fill.sh"),
    include_str!("../src/deploy/scripts/tarball/derive.sh"),
    "mkdir made derived; fill_login \"$1\" made; derive_login \"$1/host\" derived\n",
    "rm -r made/environment made/filled made/copied derived/rules; diff -r derived made >&2\n",
);

#[test]
fn a_login_gets_what_earlier_versions_derived_on_hosts() {
    if tool("systemd-analyze").is_none() {
        return;
    }
    let worker = WORKER.replace(
        "reload = \"/bin/kill -s USR2 $MAINPID_IS_NOT_EXPANDED\"\n",
        "",
    );
    for (name, sandbox) in [
        ("clocks", django()),
        (
            "api",
            application("api", &[("uvicorn", "uvicorn")], FASTAPI),
        ),
        (
            "drain",
            application("drain", &[("drain", "drain")], &worker),
        ),
    ] {
        let artifacts = sandbox.build(["--format", "tar.gz"]);
        text(
            Command::new("tar")
                .arg("-xzf")
                .arg(&artifacts[0])
                .arg("-C")
                .arg(sandbox.root()),
        );
        let mut login = Command::new("sh");
        login.args(["-c", LOGIN, "sh", &format!("{name}-1.0.0"), name]);
        text(login.current_dir(sandbox.root()));

        let units = sandbox.root().join("made/units");
        let mut verify = Command::new("systemd-analyze");
        verify.env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
        verify.env("XDG_RUNTIME_DIR", sandbox.root());
        verify
            .args(["--user", "verify", "--man=no"])
            .args(walk(&units));
        let printed = verify.output().unwrap();
        let complaints: Vec<_> = String::from_utf8_lossy(&printed.stderr)
            .lines()
            .filter(|line| line.contains(name))
            // The release is not installed here.
            .filter(|line| !line.contains("is not executable"))
            .map(str::to_owned)
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[test]
fn every_generated_file_is_in_the_packages() {
    let sandbox = django();
    let artifacts = sandbox.build(["--format", "deb", "--format", "rpm"]);
    for artifact in &artifacts {
        let dump = sandbox.dump(artifact);
        for line in [
            " /usr/lib/systemd/system/clocks-web.service",
            " /usr/lib/systemd/system/clocks-web.socket",
            " /usr/lib/systemd/system/clocks-worker@.service",
            " /usr/lib/systemd/system/clocks.target",
            " c /etc/cron.d/clocks",
            " c /etc/logrotate.d/clocks",
            " /usr/lib/sysusers.d/clocks.conf",
            " /usr/lib/tmpfiles.d/clocks.conf",
        ] {
            assert!(
                dump.lines().any(|entry| entry.ends_with(line)),
                "{line} is not in {}",
                Path::new(artifact).display()
            );
        }
        assert!(
            dump.contains("-rw-r----- root:clocks ") && dump.contains(" c /etc/clocks/clocks.env"),
            "{dump}"
        );
    }
}

#[test]
fn a_script_is_named_from_where_its_command_runs() {
    let with = |script: &str| {
        let tables = format!(
            "[service.api]\nexec = \"python {script} work\"\nworking-directory = \"/opt/api/app\"\n"
        );
        application("api", &[("uvicorn", "uvicorn")], &tables)
    };
    with("api.py").build(["--format", "tar.gz"]);
    let said = with("app/api.py").pkgapp(["build"]).fails();
    assert!(
        said.contains("this command runs in `/opt/api/app`, which has no `app/api.py`")
            && said.contains("hint: write `api.py`"),
        "{said}"
    );
}

#[test]
fn a_command_whose_module_is_not_there_is_refused() {
    let tables = "[service.api]\nexec = \"uvicorn api.v2:app\"\n";
    let sandbox = application("api", &[("uvicorn", "uvicorn")], tables);
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains(
            "the release has no module `api.v2`, which this command starts\n  --> pkgapp.toml:"
        ),
        "{said}"
    );

    // The same of whatever else a host runs.
    for tables in [
        "[cron.api]\nschedule = \"@daily\"\nexec = \"python -m api.v2\"\n",
        "[deploy.live]\nhosts = [\"web1.example.com\"]\nmigrate = { exec = \"python -m api.v2\" }\n",
        "[deploy.live]\nhosts = [\"web1.example.com\"]\nhooks = { after = [\"python -m api.v2\"] }\n",
    ] {
        let said = application("api", &[("uvicorn", "uvicorn")], tables)
            .pkgapp(["build"])
            .fails();
        assert!(
            said.contains("the release has no module `api.v2`, which this command starts"),
            "{said}"
        );
    }

    // Who says where it runs knows better.
    for more in [
        "working-directory = \"/srv/api\"",
        "env = { PYTHONPATH = \"/srv/api\" }",
    ] {
        let sandbox = application(
            "api",
            &[("uvicorn", "uvicorn")],
            &format!("{tables}{more}\n"),
        );
        sandbox.build(["--format", "tar.gz"]);
    }
}
