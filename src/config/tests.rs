//! Whole files: what a good one is read into, and what is said of bad ones.

use std::path::{Path, PathBuf};
use std::time::Duration;

use similar_asserts::assert_eq;

use crate::Compression;
use pkgapp_core::path::InstallPath;
use pkgapp_core::target;

use super::*;

/// Writes files into a fresh directory called `My_Shop` and loads what is there.
fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("My_Shop");
    fs_err::create_dir_all(&root).unwrap();
    for (name, text) in files {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let app = Config::load(None, &root);
    (directory, app)
}

/// Returns the application without its directory, for what is not about files.
fn app(files: &[(&str, &str)]) -> Config {
    load(files).1.unwrap()
}

/// Returns an error's text with paths relative to the directory that was made.
fn shown_in(directory: &Path, error: &Error) -> String {
    let root = directory.join("My_Shop");
    error
        .to_string()
        .replace(&format!("{}/", root.display()), "")
        .replace(&*root.to_string_lossy(), "My_Shop")
}

fn mistakes(files: &[(&str, &str)]) -> String {
    let (directory, app) = load(files);
    match app.and_then(|app| app.check_files()) {
        Ok(()) => "no mistake".into(),
        Err(error) => shown_in(directory.path(), &error),
    }
}

/// Lines 1 to 5 of most bad files below.
const GOOD: &str = "[app]\nname = \"shop\"\nversion = \"1.0\"\n[python]\nversion = \"3.11\"\n";

/// Everything that DESIGN.md's contract shows, with the values that it leaves out.
const CONTRACT: &str = r#"
[app]
name = "shop"
version = "1.4.2"
summary = "Sells things"
license = "MIT"
maintainer = "Ops <ops@example.com>"
homepage = "https://example.com/shop"
source = "."
include = ["manage.py", "site/**"]
exclude = ["**/tests/**"]

[python]
version = "3.11"
interpreter = "system"
requirements = ["requirements.txt"]

[build]
run = ["python app/manage.py collectstatic --noinput"]

[package]
prefix = "/opt/shop"
revision = "1"
depends.deb = ["libpq5"]
depends.rpm = ["libpq"]

[service.web]
exec = "gunicorn shop.wsgi --bind 127.0.0.1:8000"
user = "shop"
env = { A = "b" }
reload = "HUP"
socket = "0.0.0.0:8000"

[timer.report]
exec = "shop report"
calendar = "*-*-* 02:10"

[cron.purge]
exec = "shop purge"
schedule = "10 2 * * *"

[logrotate]
paths = ["/var/log/shop/*.log"]
frequency = "daily"
keep = 14

[config."shop.env"]
source = "deploy/shop.env"
mode = "0640"

[deploy.production]
hosts = ["web[01:04].example.com"]
user = "deploy"
sudo = true
batches = [1, "50%", "100%"]
max-failed = 0
health = { url = "http://127.0.0.1:8000/", timeout = "30s" }
migrate = { exec = "python app/manage.py migrate", on = "one" }
"#;

const CONTRACT_FILES: &[(&str, &str)] = &[
    ("pkgapp.toml", CONTRACT),
    ("pyproject.toml", "[build-system]\nrequires = []\n"),
    ("requirements.txt", ""),
    ("deploy/shop.env", "A=b\n"),
    ("manage.py", ""),
    ("site/index.html", ""),
    ("site/tests/t.py", ""),
];

#[test]
fn the_contract_is_read() {
    let (directory, app) = load(CONTRACT_FILES);
    let root = directory.path().join("My_Shop");
    let app = app.unwrap();
    assert_eq!((&app.root, &app.file), (&root, &root.join("pkgapp.toml")));
    assert_eq!(app.name.as_str(), "shop");
    let version = app.version.as_ref().unwrap();
    assert_eq!(
        (version.to_string().as_str(), version.at.position),
        ("1.4.2", Some((4, 11)))
    );
    assert_eq!(
        (app.summary.as_str(), app.license.as_deref()),
        ("Sells things", Some("MIT"))
    );
    assert_eq!(app.maintainer, "Ops <ops@example.com>");
    assert_eq!(
        app.homepage.as_ref().map(Url::as_str),
        Some("https://example.com/shop")
    );
    assert_eq!(app.source.as_deref(), Some(root.as_path()));
    assert_eq!(
        app.included_files().unwrap(),
        ["manage.py", "site/index.html"].map(PathBuf::from)
    );

    assert_eq!(
        app.python.version.value,
        PythonMinor {
            major: 3,
            minor: 11
        }
    );
    assert_eq!(app.python.interpreter, InterpreterChoice::System);
    assert_eq!(
        app.python.requirements[0].value,
        root.join("requirements.txt")
    );
    assert_eq!(app.python.requirements[0].at.position, Some((16, 17)));
    let run: Vec<_> = app
        .build
        .run
        .iter()
        .map(|command| command.words.join("|"))
        .collect();
    assert_eq!(run, ["python|app/manage.py|collectstatic|--noinput"]);
    assert_eq!(app.package.prefix.as_str(), "/opt/shop");
    assert_eq!(app.package.prefix.at.position, Some((22, 10)));
    assert_eq!(
        (&app.package.revision, app.package.section.as_str()),
        (&PackageRevision::Fixed("1".into()), "misc")
    );
    assert_eq!(app.package.depends_deb[0].value, "libpq5");
    assert_eq!(app.package.depends_rpm[0].value, "libpq");
    assert_eq!(
        (app.package.compression, app.package.tar),
        (CompressionPreset::Default, TarCompression::Zst)
    );
}

#[test]
fn relations_are_names_or_a_list_for_each_format() {
    let read = |lines: &str| {
        load(&[
            ("pkgapp.toml", &format!("{GOOD}[package]\n{lines}\n")),
            ("requirements.txt", ""),
        ])
        .1
    };
    let app = read(
        "replaces = [\"shop-old\"]\nprovides.deb = [\"shop-api (= 2.0)\"]\nprovides.rpm = [\"shop-api = 2.0\"]\n\
         recommends.deb = [\"redis-server (>= 5:6) | valkey\"]",
    )
    .unwrap();
    let relations = &app.package.relations;
    assert_eq!(
        (&relations.replaces.deb, &relations.replaces.rpm),
        (&vec!["shop-old".into()], &vec!["shop-old".into()])
    );
    assert_eq!(relations.provides.deb, ["shop-api (= 2.0)"]);
    assert_eq!(relations.provides.rpm, ["shop-api = 2.0"]);
    assert_eq!(relations.recommends.deb, ["redis-server (>= 5:6) | valkey"]);
    for (bad, message) in [
        (
            "replaces = [\"shop (<< 2)\"]",
            "is not a name that packages have in both formats",
        ),
        (
            "replaces.deb = [\"old (>= 2)\"]",
            "would also replace future versions",
        ),
        ("conflicts.deb = [\"a1 | b1\"]", "names alternatives"),
        (
            "provides.deb = [\"old (>= 2)\"]",
            "provides no certain version",
        ),
        (
            "conflicts.rpm = [\"old 2\"]",
            "is not a dependency as rpm writes it",
        ),
        ("replaces = [\"shop\"]", "is the package itself"),
    ] {
        let error = read(bad).unwrap_err();
        assert!(error.to_string().contains(message), "{bad}: {error}");
    }
}

#[test]
fn the_contract_of_the_host_is_read() {
    let app = app(CONTRACT_FILES);
    let [web] = &app.services[..] else {
        panic!("{:?}", app.services)
    };
    assert_eq!(web.name.as_str(), "web");
    assert_eq!(
        web.process.exec.words,
        ["gunicorn", "shop.wsgi", "--bind", "127.0.0.1:8000"]
    );
    assert_eq!(
        web.process.user.as_ref().map(UserName::as_str),
        Some("shop")
    );
    assert_eq!(
        web.process.env,
        BTreeMap::from([("A".to_owned(), "b".to_owned())])
    );
    assert_eq!(web.reload, Some(ReloadAction::Signal("HUP")));
    assert_eq!(
        web.socket,
        Some(SocketAddress::Tcp("0.0.0.0:8000".parse().unwrap()))
    );
    assert_eq!(
        (web.service_type, web.restart, web.instances),
        (ServiceType::Exec, RestartPolicy::OnFailure, None)
    );

    let [report] = &app.timers[..] else {
        panic!("{:?}", app.timers)
    };
    assert_eq!(
        (report.calendar.as_str(), report.persistent),
        ("*-*-* 02:10", true)
    );
    let [purge] = &app.crons[..] else {
        panic!("{:?}", app.crons)
    };
    assert_eq!(
        (purge.schedule.as_str(), purge.exec.text.as_str()),
        ("10 2 * * *", "shop purge")
    );
    let logrotate = app.logrotate.unwrap();
    assert_eq!(
        logrotate.paths,
        [InstallPath::parse("/var/log/shop/*.log").unwrap()]
    );
    assert_eq!(
        (logrotate.frequency, logrotate.keep, logrotate.compress),
        (RotationFrequency::Daily, 14, true)
    );
    let [config] = &app.configs[..] else {
        panic!("{:?}", app.configs)
    };
    assert_eq!(
        (config.name.as_str(), config.mode, config.template),
        ("shop.env", 0o640, false)
    );
    assert_eq!(config.source, app.root.join("deploy/shop.env"));

    let [production] = &app.deploys[..] else {
        panic!("{:?}", app.deploys)
    };
    assert_eq!(
        production.hosts[0].pattern.value.as_str(),
        "web[01:04].example.com"
    );
    assert_eq!((production.sudo, production.max_failed), (true, 0));
    assert_eq!(
        production.batches,
        [
            BatchSize::Hosts(1),
            BatchSize::Percent(50),
            BatchSize::Percent(100)
        ]
    );
    let health = production.health.as_ref().unwrap();
    assert_eq!(
        health.url.as_ref().map(Url::as_str),
        Some("http://127.0.0.1:8000/")
    );
    assert_eq!(health.timeout, Duration::from_secs(30));
    let migrate = production.migrate.as_ref().unwrap();
    assert_eq!(
        (migrate.exec.words().len(), migrate.on),
        (3, MigrateOn::One)
    );
}

#[test]
fn mistakes_in_roles_labels_and_variables_are_named() {
    let text = |hosts: &str| {
        let python = "[python]\nversion = \"3.11\"\n";
        format!(
            "[app]\nname = \"shop\"\nversion = \"1\"\ninclude = [\"a\"]\n{python}[deploy.x]\nuser = \"ops\"\nhosts = [{hosts}]\n"
        )
    };
    let bad = r#"{ role = "db" }, { host = "x", rolle = "db" }, { host = "y", variables = { "1P" = "" } }"#;
    let told = mistakes(&[("pkgapp.toml", &text(bad)), ("a", "")]);
    for part in [
        "lacks `host`",
        "`rolle`",
        "`1P` is not the name of a variable",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn what_the_contract_leaves_out_is_read_too() {
    let text = format!(
        "{GOOD}{}",
        r#"
allow-unmet = ["Foo_Bar"]
add = ["Gunicorn>=22", "uvicorn[standard]"]
[build]
env = { LANG = "C.UTF-8" }
[package]
compression = { codec = "xz", level = 6 }
tar = "gz"
allow-collisions = ["/opt/shop/lib/**/LICENSE"]
depends.deb = ["libpq5 (>= 13) | libpq6", "libc6:amd64"]
depends.rpm = ["libpq >= 13", "(a or b)"]
[service.worker]
exec = "sh -c 'celery | tee'"
type = "notify"
restart = "always"
instances = 4
reload = "shop reload"
environment-file = "/etc/shop/shop.env"
working-directory = "/opt/shop/app"
after = ["postgresql.service"]
wants = ["network-online.target"]
limit-nofile = 65536
timeout-stop = "1min 30s"
"#
    );
    let app = app(&[("pkgapp.toml", &text), ("requirements.txt", "")]);
    assert_eq!(
        app.python.allow_unmet,
        ["foo-bar".parse::<PackageName>().unwrap()]
    );
    let added: Vec<String> = app
        .python
        .add
        .iter()
        .map(|added| added.value.to_string())
        .collect();
    assert_eq!(added, ["gunicorn>=22", "uvicorn[standard]"]);
    let told = mistakes(&[
        (
            "pkgapp.toml",
            &text.replace("Gunicorn>=22", "a @ https://e.com/a.whl"),
        ),
        ("requirements.txt", ""),
    ]);
    assert!(
        told.contains("`a @ https://e.com/a.whl` names an address"),
        "{told}"
    );
    assert_eq!(app.build.env["LANG"], "C.UTF-8");
    assert_eq!(
        (app.package.compression, app.package.tar),
        (
            CompressionPreset::Exact(Compression::Xz(6)),
            TarCompression::Gz
        )
    );
    let allows = |path| {
        app.package
            .allows_collision(&InstallPath::parse(path).unwrap())
    };
    assert!(allows("/opt/shop/lib/a/b/LICENSE") && !allows("/opt/shop/LICENSE"));
    let worker = &app.services[0];
    assert_eq!(worker.process.exec.words, ["sh", "-c", "celery | tee"]);
    assert_eq!(
        (worker.service_type, worker.restart, worker.instances),
        (ServiceType::Notify, RestartPolicy::Always, Some(4))
    );
    assert!(
        matches!(&worker.reload, Some(ReloadAction::Command(command)) if command.words == ["shop", "reload"])
    );
    assert_eq!(
        worker.process.timeout_stop.as_ref().unwrap().duration,
        Duration::from_secs(90)
    );
    assert_eq!(worker.process.limit_nofile, Some(65536));
}

#[test]
fn every_known_target_can_be_named() {
    let names: Vec<_> = target::TARGETS.iter().map(|target| target.name).collect();
    let text = format!("{GOOD}[package]\ntargets = {names:?}\n");
    let app = app(&[("pkgapp.toml", &text), ("requirements.txt", "")]);
    assert_eq!(
        app.package
            .targets
            .iter()
            .map(|target| target.name)
            .collect::<Vec<_>>(),
        names
    );
}

const PROJECT: &str = r#"
[build-system]
requires = ["hatchling"]
[project]
name = "My.Shop"
version = "2.0rc1"
description = "Sells   things"
license = { text = "MIT" }
requires-python = ">=3.9"
authors = [{ name = "Ann" }, { name = "Ops", email = "ops@example.com" }]
[project.urls]
"Home-Page" = "https://example.com/"
[tool.ruff]
unknown = "to us"
"#;

#[test]
fn a_project_alone_is_enough() {
    let (directory, app) = load(&[
        ("pyproject.toml", PROJECT),
        (".python-version", "# pyenv\n3.12.4\n"),
    ]);
    let root = directory.path().join("My_Shop");
    let app = app.unwrap();
    assert_eq!(app.name.as_str(), "my-shop");
    assert_eq!(app.version.as_ref().unwrap().to_string(), "2.0rc1");
    assert_eq!(
        (app.summary.as_str(), app.license.as_deref()),
        ("Sells things", Some("MIT"))
    );
    assert_eq!(app.maintainer, "Ops <ops@example.com>");
    assert_eq!(
        app.homepage.as_ref().map(Url::as_str),
        Some("https://example.com/")
    );
    assert_eq!(
        (app.source.as_deref(), &app.file),
        (Some(root.as_path()), &root.join("pyproject.toml"))
    );
    assert_eq!(
        app.python.version.value,
        PythonMinor {
            major: 3,
            minor: 12
        }
    );
    assert_eq!(
        app.python.version.at,
        Location {
            file: root.join(".python-version"),
            position: Some((2, 1))
        }
    );
    assert_eq!(
        (app.python.requirements.len(), app.package.prefix.as_str()),
        (0, "/opt/my-shop")
    );
}

#[test]
fn our_table_in_pyproject_goes_before_the_project() {
    let ours = "[tool.pkgapp.app]\nname = \"shop\"\nsource = \"\"\n[tool.pkgapp.python]\nversion = \"3.11\"\n";
    let app = app(&[
        ("pyproject.toml", &format!("{PROJECT}{ours}")),
        ("pylock.toml", ""),
        ("requirements.txt", ""),
    ]);
    assert_eq!((app.name.as_str(), app.source), ("shop", None));
    assert_eq!(app.version.unwrap().to_string(), "2.0rc1");
    assert_eq!(
        app.python
            .requirements
            .iter()
            .map(|file| &file.value)
            .collect::<Vec<_>>(),
        [&app.root.join("pylock.toml")]
    );
}

#[test]
fn a_built_wheel_may_say_the_version() {
    let ours = "[app]\nname = \"shop\"\n[python]\nversion = \"3.11\"\n";
    let dynamic = "[project]\nname = \"shop\"\ndynamic = [\"version\"]\n";
    assert_eq!(
        app(&[("pkgapp.toml", ours), ("pyproject.toml", dynamic)]).version,
        None
    );
    assert_eq!(
        app(&[("pkgapp.toml", ours), ("setup.py", "")]).version,
        None
    );
    assert_eq!(
        mistakes(&[
            (
                "pkgapp.toml",
                "[app]\nsource = \"\"\n[python]\nversion = \"3.11\"\n"
            ),
            ("pyproject.toml", dynamic),
            ("requirements.txt", ""),
        ]),
        "error: the application has no version\n  --> pkgapp.toml:1:1\n  hint: write `version = \"1.0\"` below `[app]`"
    );
}

#[test]
fn the_source_may_lie_elsewhere() {
    let (directory, app) = load(&[
        ("pyproject.toml", PROJECT),
        (
            "deploy/prod.toml",
            "[app]\nsource = \"..\"\n[python]\nversion = \"3.11\"\n",
        ),
    ]);
    assert!(app.is_err(), "there is no version of Python");
    let root = directory.path().join("My_Shop");
    let app = Config::load(Some(&root.join("deploy/prod.toml")), Path::new("/")).unwrap();
    assert_eq!(
        (app.name.as_str(), app.root),
        ("my-shop", root.join("deploy"))
    );
    assert_eq!(app.source, Some(root.join("deploy/..")));
}

#[test]
fn the_configuration_must_be_one() {
    for (files, expected) in [
        (
            vec![("other.toml", "")],
            "error: there is no configuration in `My_Shop`\n  hint: write a `pkgapp.toml` there that begins with `[app]` \
             and a `name`, or name a file with `--config FILE`",
        ),
        (
            vec![("pkgapp.toml", GOOD), ("pyproject.toml", "[tool.pkgapp]\n")],
            "error: both `pkgapp.toml` and `[tool.pkgapp]` in `pyproject.toml` exist\n  --> pyproject.toml\n  \
             hint: keep one of them, or choose with `--config FILE`",
        ),
        (
            vec![(
                "pyproject.toml",
                "[project]\nname = \"shop\"\nversion = \"1\"\n",
            )],
            "error: the Python version is missing\n  --> pyproject.toml\n  \
             hint: write `version = \"3.11\"` below `[tool.pkgapp.python]`: what the hosts have",
        ),
        (
            vec![(
                "pyproject.toml",
                "[project]\nname = \"2\"\nversion = \"x\"\n[tool.pkgapp]\ntargets = []\n",
            )],
            "error: the Python version is missing\n  --> pyproject.toml\n  \
             hint: write `version = \"3.11\"` below `[tool.pkgapp.python]`: what the hosts have\n\
             error: no package can be called like the project, `2`\n  --> pyproject.toml:2:8\n  \
             hint: write `name = \"…\"` below pkgapp's `[app]`\n\
             error: `x` is not a version\n  --> pyproject.toml:3:11\n  \
             cause: expected version to start with a number, but no leading ASCII digits were found\n  \
             hint: versions are as in PEP 440, such as `1.4.2`, `2.0rc1` or `1.4.2.post1`\n\
             error: unknown key `targets` in `[tool.pkgapp]`\n  --> pyproject.toml:5:1\n  \
             hint: `targets` belongs in `[tool.pkgapp.package]`",
        ),
    ] {
        assert_eq!(mistakes(&files), expected);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let (directory, _) = load(&[]);
    let file = directory.path().join("My_Shop/pkgapp.toml");
    fs_err::write(&file, b"[app]\nsummary = \"gr\xf6\xdfe\"\n").unwrap();
    let error = Config::load(Some(&file), Path::new("/")).unwrap_err();
    assert_eq!(
        shown_in(directory.path(), &error),
        "error: `pkgapp.toml` is not UTF-8\n  --> pkgapp.toml:2:14\n  hint: TOML is UTF-8: save the file in this encoding"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error =
        Config::load(Some(Path::new("/nonexistent/pkgapp.toml")), Path::new("/")).unwrap_err();
    assert_eq!(error.message(), "cannot read `/nonexistent/pkgapp.toml`");
}

#[test]
fn nothing_to_package_is_a_mistake() {
    assert_eq!(
        mistakes(&[("pkgapp.toml", GOOD)]),
        "error: there is nothing to package for `shop`\n  --> pkgapp.toml\n  \
         hint: name a `source`, files to `include`, or `requirements`"
    );
}

#[test]
fn included_files_leave_out_what_never_belongs_to_an_application() {
    let text = GOOD.replace(
        "[python]",
        "include = [\"**\"]\nexclude = [\"*.toml\", \"a/**/skip\"]\n[python]",
    );
    let (_directory, app) = load(&[
        ("pkgapp.toml", &text),
        (".git/config", ""),
        ("a/.git", ""),
        ("a/b/c/skip", ""),
        ("a/b/keep", ""),
        ("a/dist/bundle.js", ""),
        ("a/__pycache__/x.pyc", ""),
        ("dist/shop.deb", ""),
        ("a-first", ""),
    ]);
    let app = app.unwrap();
    let root = &app.root;
    fs_err::os::unix::fs::symlink("b", root.join("a/link")).unwrap();
    fs_err::os::unix::fs::symlink("nowhere", root.join("broken")).unwrap();
    let expected = [
        "a/b/keep",
        "a/dist/bundle.js",
        "a/link",
        "a-first",
        "broken",
    ]
    .map(PathBuf::from);
    assert_eq!(app.included_files().unwrap(), expected);
}

#[test]
fn scriptlets_are_lines_or_a_file() {
    let text = format!(
        "{GOOD}requirements = []\n[package]\nscriptlets.before-install = \"true\"\n\
         scriptlets.after-remove = {{ file = \"deploy/after-remove.sh\" }}\n"
    );
    let script = "#!/bin/sh\nrm -rf /srv/shop\n";
    let app = app(&[
        ("pkgapp.toml", &text),
        ("deploy/after-remove.sh", script),
        ("pyproject.toml", "[build-system]\nrequires = []\n"),
    ]);
    let scriptlets = &app.package.scriptlets;
    assert_eq!(scriptlets.before_install.as_ref().unwrap().value, "true");
    assert_eq!(scriptlets.after_remove.as_ref().unwrap().value, script);
    assert_eq!(
        (&scriptlets.after_install, &scriptlets.before_remove),
        (&None, &None)
    );
}

/// mistakes.txt: a bad file, a line of `-`, what is said of it, a line of `=`; `{GOOD}` stands for
/// [`GOOD`].
#[test]
fn bad_files_get_exact_words() {
    for (index, case) in include_str!("mistakes.txt").split("\n=====\n").enumerate() {
        let (text, expected) = case.split_once("\n-----\n").unwrap();
        let text = text.replace("{GOOD}\n", GOOD);
        let found = mistakes(&[
            ("pkgapp.toml", &text),
            ("requirements.txt", ""),
            ("site/a", ""),
            ("x", ""),
        ]);
        assert_eq!(found, expected.trim_end(), "case {index}:\n{text}");
    }
}

/// site/mistakes.txt: lines after [`GOOD`], a line of `-`, what is said of them, a line of `=`.
#[test]
fn sites_with_mistakes_get_exact_words() {
    compare_mistakes(include_str!("site/mistakes.txt"), "site/mistakes.txt");
}

#[test]
fn bindings_with_mistakes_get_exact_words() {
    let all = include_str!("bindings/mistakes.txt");
    compare_mistakes(all, "bindings/mistakes.txt");
}

/// Compares the mistakes of cases with those that a golden file has.
fn compare_mistakes(all: &str, file: &str) {
    let told = |case: &str| {
        let lines = case.split_once("\n-----").unwrap().0;
        let text = format!("{GOOD}{lines}\n");
        let found = mistakes(&[("pkgapp.toml", &text), ("requirements.txt", "")]);
        format!("{lines}\n-----\n{found}")
    };
    let told: Vec<String> = all.split("\n=====\n").map(told).collect();
    let told = told.join("\n=====\n") + "\n";
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        fs_err::write(golden, &told).unwrap();
        return;
    }
    similar_asserts::assert_eq!(told, all);
}

/// A deployment with these lines.
fn deployed(lines: &str) -> Config {
    let text = format!("{GOOD}[deploy.x]\nhosts = [\"a\"]\n{lines}");
    app(&[("pkgapp.toml", &text), ("requirements.txt", "")])
}

#[test]
fn older_names_of_keys_still_work_with_a_warning() {
    let new = deployed(
        r#"max-failed = 2
wait = "1min 30s"
health = { command = "true", timeout = "1min", settle = "5s" }
hooks = { local-before = ["echo a"], local-after = ["echo b"] }
"#,
    );
    let old = deployed(
        r#"max_failed = 2
wait_s = 90
health = { command = "true", timeout_s = 60, settle_s = 5 }
hooks = { local_before = ["echo a"], local_after = ["echo b"] }
"#,
    );

    let (new_deploy, old_deploy) = (&new.deploys[0], &old.deploys[0]);
    assert_eq!(new_deploy.wait, Duration::from_secs(90));
    assert_eq!(old_deploy.wait, new_deploy.wait);
    assert_eq!(old_deploy.max_failed, new_deploy.max_failed);
    let times = |deploy: &Deploy| {
        let health = deploy.health.clone().unwrap();
        (health.timeout, health.settle)
    };
    assert_eq!(times(old_deploy), times(new_deploy));
    let texts = |deploy: &Deploy| {
        let hooks = deploy.hooks.clone();
        let lines = hooks.local_before.into_iter().chain(hooks.local_after);
        lines.map(|line| line.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(old_deploy), texts(new_deploy));

    assert!(new.warnings.is_empty());
    let warnings: Vec<&str> = old.warnings.iter().map(Error::message).collect();
    assert_eq!(
        warnings,
        [
            "`max_failed` is deprecated: use `max-failed`",
            "`local_before` is deprecated: use `local-before`",
            "`local_after` is deprecated: use `local-after`",
            "`wait_s` is deprecated: use `wait`",
            "`timeout_s` is deprecated: use `timeout`",
            "`settle_s` is deprecated: use `settle`",
        ]
    );
}

#[test]
fn a_key_is_written_once_and_times_have_limits() {
    let both = format!("{GOOD}[deploy.x]\nhosts = [\"a\"]\nwait = \"1s\"\nwait_s = 1\n");
    let told = mistakes(&[("pkgapp.toml", &both), ("requirements.txt", "")]);
    assert!(
        told.contains("`deploy.x` has both `wait` and `wait_s`"),
        "{told}"
    );
    let long = format!("{GOOD}[deploy.x]\nhosts = [\"a\"]\nwait = \"2d\"\n");
    let told = mistakes(&[("pkgapp.toml", &long), ("requirements.txt", "")]);
    assert!(told.contains("between `0s` and `86400s`"), "{told}");
}

#[test]
fn a_site_is_there_if_it_has_domains() {
    let app = app(&[
        (
            "pkgapp.toml",
            &format!(
                "{GOOD}[site]\ndomains = [\"Shop.example.com\"]\nlimits = {{ body = \"20M\", timeout = \"1min 30s\" }}\n\
                 static = {{ \"/static/\" = \"app/static/\", \"/media/\" = \"/var/lib/shop/media\" }}\n\
                 extra = \"extra.conf\"\n\
                 [service.web]\nexec = \"gunicorn shop.wsgi\"\nsocket = \"/run/shop/web.sock\"\n\
                 [service.worker]\nexec = \"celery -A shop worker\"\n"
            ),
        ),
        ("requirements.txt", ""),
        ("extra.conf", ""),
    ]);
    let variable = |index: usize| app.services[index].process.env.get("FORWARDED_ALLOW_IPS");
    assert_eq!(
        (variable(0).map(String::as_str), variable(1)),
        (Some("*"), None)
    );
    let site = app.site.unwrap();
    assert_eq!(site.domains[0].as_str(), "shop.example.com");
    assert_eq!((site.server, &site.tls), (WebServer::Nginx, &SiteTls::Off));
    assert_eq!(site.proxy.name.as_str(), "web");
    assert!(site.proxy.is_admitted);
    assert_eq!(site.body_limit, Some(20 << 20));
    assert_eq!(site.timeout, Some(Duration::from_secs(90)));
    let statics: Vec<_> = site
        .statics
        .iter()
        .map(|files| (files.url.as_str(), files.directory.as_str()))
        .collect();
    assert_eq!(
        statics,
        [
            ("/static/", "/opt/shop/app/static"),
            ("/media/", "/var/lib/shop/media")
        ]
    );
    let warnings: Vec<&str> = app.warnings.iter().map(Error::message).collect();
    assert!(warnings[0].starts_with("the site is served without encryption"));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_service_that_opens_its_socket_itself_names_its_address() {
    let upstream = |address: &str| {
        let lines = format!(
            "[site]\ndomains = [\"a.example\"]\ntls = \"off\"\n[service.web]\nexec = \"pserve app/p.ini\"\n\
             address = \"{address}\"\nhealth = \"/healthz\"\n"
        );
        let app = app(&[
            ("pkgapp.toml", &format!("{GOOD}{lines}")),
            ("requirements.txt", ""),
        ]);
        let proxy = app.site.unwrap().proxy;
        assert!(!proxy.is_admitted);
        let health = app.services[0].health.clone().unwrap();
        (proxy.address, health.address.to_string())
    };
    let tcp = UpstreamAddress::Tcp("127.0.0.1:6543".parse().unwrap());
    assert_eq!(upstream("0.0.0.0:6543"), (tcp, "127.0.0.1:6543".to_owned()));
    let path = "/run/shop/web.sock";
    let unix = UpstreamAddress::Unix(InstallPath::parse(path).unwrap());
    assert_eq!(upstream(path), (unix, path.to_owned()));
}
