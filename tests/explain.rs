//! `pkgapp explain`: every value and where it comes from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::services::django;
use super::support::project::pin;
use super::support::tools::python;
use super::support::wheel::Wheel;
use super::support::{Sandbox, golden, walk};

/// The keys that `explain` prints, with their values as TOML writes them.
fn explained(sandbox: &Sandbox, args: &[&str]) -> BTreeMap<String, String> {
    let mut all = vec!["--json", "explain"];
    all.extend(args);
    let report: Value = serde_json::from_str(&sandbox.pkgapp(&all).stdout()).unwrap();
    let values = report["values"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    values
        .map(|value| (text(&value["key"]), text(&value["value"])))
        .collect()
}

#[test]
fn values_come_from_files_options_variables_and_defaults() {
    let sandbox = django();
    sandbox.append("pkgapp.toml", "\n[package]\ntargets = [\"debian12\"]\n");
    let text = |args: &[&str]| {
        let mut all = vec!["explain"];
        all.extend(args);
        format!(
            "$ pkgapp {}\n{}\n",
            all.join(" "),
            sandbox.pkgapp(&all).stdout()
        )
    };
    let arch = sandbox
        .pkgapp(["explain", "package.arch"])
        .env("PKGAPP_ARCH", "aarch64")
        .stdout();
    assert!(
        arch.contains("arch = \"aarch64\"") && arch.contains("  PKGAPP_ARCH\n"),
        "{arch}"
    );
    let all = [
        text(&[]),
        text(&["package", "--target", "el9"]),
        text(&["service.worker.restart"]),
        text(&["python", "--all", "--python", "3.8"]),
        text(&["build"]),
        text(&["/usr/lib/systemd/system/clocks-report.timer"]),
        text(&["/etc/logrotate.d/clocks"]),
    ];
    let all = sandbox.normal(&all.concat());
    golden(
        "explain/values.txt",
        &all.replace(&python().minor, "[PYTHON]"),
    )
    .unwrap();
}

#[test]
fn unknown_keys_and_files_get_exact_words() {
    let sandbox = django();
    let mut told = String::new();
    for key in [
        "service.wbe",
        "service.web.exce",
        "service.web.timeout-stop",
        "nothing.like.it",
        "/usr/lib/systemd/system/clocks-wep.service",
        "/etc/passwd",
    ] {
        told += &sandbox.pkgapp(["explain", key]).fails();
    }
    golden("explain/errors.txt", &told).unwrap();
}

/// Settings of units with the keys behind them.
const SETTINGS: [(&str, &str); 16] = [
    ("User", "user"),
    ("WorkingDirectory", "working-directory"),
    ("Type", "type"),
    ("Restart", "restart"),
    ("ExecStart", "exec"),
    ("EnvironmentFile", "environment-file"),
    ("LimitNOFILE", "limit-nofile"),
    ("TimeoutStopSec", "timeout-stop"),
    ("Wants", "wants"),
    ("ListenStream", "socket"),
    ("OnCalendar", "calendar"),
    ("Persistent", "persistent"),
    ("RandomizedDelaySec", "randomized-delay"),
    ("X-Pkgapp-OnUpgrade", "on-upgrade"),
    ("ExecReload", "reload"),
    ("RestartSec", "restart"),
];

/// The values behind a unit are those in it, whether they are written somewhere or defaults.
#[test]
fn a_unit_is_explained_by_its_values() {
    let sandbox = django();
    let rendered = ["render", "--output", "../rendered"];
    sandbox.pkgapp(rendered).stdout();
    let root = sandbox.root().join("rendered");
    let mut checked = 0;
    for path in walk(&root.join("usr/lib/systemd/system")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let on_host = format!("/{}", path.strip_prefix(&root).unwrap().display());
        let values = explained(&sandbox, &[&on_host]);
        assert_eq!(values["app.name"], "\"clocks\"", "{on_host}");
        for (setting, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let Some((_, key)) = SETTINGS.iter().find(|(name, _)| *name == setting) else {
                continue;
            };
            let named: Vec<&String> = values
                .iter()
                .filter(|(known, _)| known.ends_with(&format!(".{key}")))
                .map(|(_, value)| value)
                .collect();
            // A timer's own service has no choice, and units order themselves.
            let is_own = ["Type", "Restart", "RestartSec", "ExecReload"].contains(&setting);
            if is_own && named.is_empty() {
                continue;
            }
            let [explained] = named[..] else {
                panic!("{on_host} has {setting}={value}, and explain has {key} = {named:?}");
            };
            let value = value.trim_start_matches('-');
            let is_same = match setting {
                "ExecStart" => value.contains(explained.split([' ', '"']).nth(2).unwrap()),
                "Persistent" => (value == "yes") == (explained == "true"),
                "WorkingDirectory" | "RestartSec" => true,
                "ExecReload" => value.contains(explained.trim_matches('"')),
                _ => explained.contains(value),
            };
            assert!(
                is_same,
                "{on_host}: {setting}={value} and {key} = {explained}"
            );
            checked += 1;
        }
    }
    assert!(checked > 25, "only {checked}");
}

/// A fact that changes between two builds is a warning, with both values and the file.
#[test]
fn changed_facts_are_told() {
    let sandbox = Sandbox::hello();
    let gunicorn = Wheel::simple("gunicorn", "22.0").console_script("gunicorn", "gunicorn:run");
    pin(&sandbox, &[gunicorn]);
    sandbox.edit("pkgapp.toml", "[app]\n", "[app]\nrecipe = \"wsgi\"\n");
    let module = "def application(environ, start_response):\n    return []\n";
    sandbox.write("src/hello/wsgi.py", module);
    let build = || sandbox.pkgapp(["build", "--format", "tar.gz"]).outcome();
    let told = build();
    assert_eq!(told.status, 0, "{}", told.report);
    let told = build();
    assert!(!told.stderr.contains("fact"), "{}", told.report);

    std::fs::remove_file(sandbox.path("src/hello/wsgi.py")).unwrap();
    sandbox.write("src/hello/server/__init__.py", "");
    sandbox.write("src/hello/server/wsgi.py", module);
    let told = sandbox.pkgapp(["check"]).outcome();
    let expected = "the fact `wsgi` has changed from \"hello.wsgi:application\" to \
                    \"hello.server.wsgi:application\" (src/hello/server/wsgi.py";
    assert_eq!(told.stderr.matches(expected).count(), 1, "{}", told.report);
    assert_eq!(
        told.stderr.matches("the fact").count(),
        1,
        "{}",
        told.report
    );
}
