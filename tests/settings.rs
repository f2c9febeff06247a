//! `[settings]`: values at builds, and their descriptions for operators.

use std::process::Command;

use serde_json::Value;

use super::support::project::pin;
use super::support::tools::{output, python};
use super::support::wheel::Wheel;
use super::support::{Sandbox, golden};

const SHOP: &str = r#"
[settings.SHOP_TITLE]
type = "string"
default = 'Tick & "Tock" 100% $HOME \\'
help = "What customers see"

[settings.SHOP_PAGE_SIZE]
type = "integer"
minimum = 1
help = "Products on a page"

[settings.SHOP_TIMEOUT]
type = "duration"
default = "1h 30min"

[settings.SHOP_MAIL]
type = "url"
optional = true

[settings.SHOP_REGION]
type = "choice"
choices = ["north", "south"]
from = "host"

[settings.SHOP_KEY]
type = "secret"

[service.web]
exec = "/usr/bin/env"
environment-file = "/etc/hello/secrets.env"

[service.worker]
exec = "/usr/bin/env"

[cron.purge]
exec = "/usr/bin/env"
schedule = "@daily"
"#;

fn shop() -> Sandbox {
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[Wheel::simple("nothing", "1.0")]);
    sandbox.append("pkgapp.toml", SHOP);
    sandbox
}

#[test]
fn a_build_needs_a_value_for_each_setting() {
    let sandbox = shop();
    for command in ["build", "check", "render"] {
        let printed = sandbox.pkgapp([command]).fails();
        assert!(
            printed.contains("the setting `SHOP_PAGE_SIZE` has no value"),
            "{printed}"
        );
        assert!(
            printed.contains("`--set SHOP_PAGE_SIZE=VALUE`"),
            "{printed}"
        );
    }
    for (set, message) in [
        ("SHOP_PAGE_SIZE=0", "the value must be 1 or more, not 0"),
        ("SHOP_PAGESIZE=24", "did you mean `SHOP_PAGE_SIZE`?"),
        (
            "SHOP_KEY=hunter2",
            "everyone can read packages and argument lists",
        ),
        ("SHOP_REGION=north", "`SHOP_REGION` is set on each host"),
    ] {
        let outcome = sandbox.pkgapp(["build", "--set", set]).outcome();
        assert_eq!(outcome.status, 2, "{}", outcome.report);
        let printed = outcome.stderr;
        assert!(
            printed.contains(message) && !printed.contains("hunter2"),
            "{printed}"
        );
    }
    // The judges read what is generated: systemd-analyze, cron and sh.
    sandbox
        .pkgapp(["check", "--set", "SHOP_PAGE_SIZE=24"])
        .stdout();
    sandbox.build(["--format", "deb", "--set", "SHOP_PAGE_SIZE=24"]);
}

#[test]
fn processes_have_the_values_of_the_package() {
    let sandbox = shop();
    let set = ["--set", "SHOP_PAGE_SIZE=24"];
    let arguments = ["render", "--output", "../rendered"];
    sandbox.pkgapp(arguments.iter().chain(&set)).stdout();
    let rendered = sandbox.root().join("rendered");
    let text = |path: &str| std::fs::read_to_string(rendered.join(path)).unwrap();
    for unit in ["web", "worker"] {
        let unit = text(&format!("usr/lib/systemd/system/hello-{unit}.service"));
        for line in [
            "Environment=SHOP_PAGE_SIZE=24",
            "Environment=SHOP_TIMEOUT=5400",
            r#"Environment="SHOP_TITLE=Tick & \"Tock\" 100%% $HOME \\\\""#,
            "EnvironmentFile=/etc/hello/settings.env",
        ] {
            assert!(unit.lines().any(|its| its == line), "{line}: {unit}");
        }
        assert!(
            !unit.contains("SHOP_KEY") && !unit.contains("SHOP_REGION"),
            "{unit}"
        );
    }
    // What the crontab starts hands on the same.
    let mut command = Command::new(&python().path);
    command
        .env_clear()
        .args(["-I", "-S"])
        .arg(rendered.join("opt/hello/.pkgapp/with-environment"))
        .arg(rendered.join("opt/hello/.pkgapp/settings.env"))
        .args(["--", "/usr/bin/env"]);
    let printed = String::from_utf8(output(&mut command)).unwrap();
    let title = r#"SHOP_TITLE=Tick & "Tock" 100% $HOME \\"#;
    for line in ["SHOP_PAGE_SIZE=24", "SHOP_TIMEOUT=5400", title] {
        assert!(printed.lines().any(|its| its == line), "{line}: {printed}");
    }
    golden("settings/settings.env", &text("etc/hello/settings.env")).unwrap();
}

#[test]
fn operators_read_where_values_come_from() {
    let sandbox = shop();
    let arguments = ["explain", "--settings", "--set", "SHOP_TITLE=Tock"];
    let text = sandbox.pkgapp(arguments).stdout();
    golden("settings/explain.txt", &text).unwrap();

    let json = sandbox.pkgapp(["explain", "--settings", "--json"]).stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    let key = &json["settings"][5];
    assert_eq!(
        (&key["name"], &key["type"]),
        (&"SHOP_KEY".into(), &"secret".into())
    );
    assert_eq!(key["host_file"], "/etc/hello/secrets.env");
    assert_eq!(key["read_by"], serde_json::json!(["service.web"]));
    assert_eq!(json["settings"][1]["limits"]["minimum"], 1);

    let value = sandbox
        .pkgapp(["explain", "settings.SHOP_TITLE.help"])
        .stdout();
    assert!(value.contains("What customers see"), "{value}");
    let file = sandbox
        .pkgapp(["explain", "/etc/hello/settings.env"])
        .stdout();
    assert!(file.contains("[settings.SHOP_KEY]"), "{file}");
}

#[test]
fn secrets_that_are_files_are_described_and_judged() {
    let sandbox = shop();
    let cert =
        "\n[settings.SHOP_CERT]\ntype = \"secret\"\ndeliver = \"file\"\nhelp = \"For TLS\"\n";
    sandbox.append("pkgapp.toml", cert);
    let text = sandbox.pkgapp(["explain", "--settings"]).stdout();
    let about = "SHOP_CERT (secret)\n    For TLS\n    value: none, each host needs one\n    \
                 delivered as a file, whose path is in SHOP_CERT_FILE; set it with `pkgapp secrets set`\n    \
                 read by service.web, service.worker\n";
    assert!(text.contains(about), "{text}");
    let json = sandbox.pkgapp(["explain", "--settings", "--json"]).stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    let cert = &json["settings"][6];
    assert_eq!(
        (&cert["deliver"], &cert["file_variable"]),
        (&"file".into(), &"SHOP_CERT_FILE".into())
    );
    assert_eq!(json["settings"][5]["deliver"], "variable");

    // systemd-analyze reads the units, and sh the scriptlets.
    let checked = sandbox
        .pkgapp(["check", "--set", "SHOP_PAGE_SIZE=24"])
        .outcome();
    assert_eq!(checked.status, 0, "{}", checked.report);
    let told = "services and timers get `SHOP_CERT` as files; cron jobs get none";
    assert!(checked.stderr.contains(told), "{}", checked.report);
    let build = ["build", "--set", "SHOP_PAGE_SIZE=24", "--target", "el8"];
    let refused = sandbox.pkgapp(build).fails();
    let why =
        "`SHOP_CERT` cannot be delivered as a file on `el8`, whose systemd 239 has no credentials";
    assert!(refused.contains(why), "{refused}");
}

#[test]
fn proposals_of_init_build() {
    let sandbox = Sandbox::new();
    sandbox.write(".python-version", python().minor.as_str());
    sandbox.write(
        "app.py",
        "import os\nKEY = os.environ['API_KEY']\nSIZE = int(os.environ.get('SIZE', '24'))\nPLACE = os.environ['PLACE']\n\
         HOME = os.environ['HOME']\nDATA = os.environ.get('APP_DATA_DIR', '.')\n",
    );
    sandbox.write("requirements.txt", "--no-index\n");
    pin(&sandbox, &[Wheel::simple("nothing", "1.0")]);
    sandbox.pkgapp(["init"]).stdout();
    let text = std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap();
    let settings = "[settings]\n\
                    API_KEY = { type = \"secret\" }  # app.py:2\n\
                    SIZE = { type = \"integer\", default = 24 }  # app.py:3\n\
                    PLACE = { type = \"string\", from = \"host\" }  # app.py:4\n\n#";
    assert!(text.contains(settings), "{text}");
    sandbox.build(["--format", "deb"]);
}
