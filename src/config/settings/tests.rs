//! Tests of settings: what a configuration declares, and what is said of mistakes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use similar_asserts::assert_eq;

use super::*;

/// What all cases begin with: five lines.
const GOOD: &str = "[app]\nname = \"shop\"\nversion = \"1.0\"\n[python]\nversion = \"3.11\"\n";

/// Loads a configuration that ships one file.
fn load(text: &str, set: &[String]) -> (tempfile::TempDir, Result<Config>) {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{GOOD}requirements = []\n{text}");
    for (name, text) in [
        ("pkgapp.toml", text.as_str()),
        ("setup.py", ""),
        ("x.env", ""),
        (
            "house.toml",
            "[recipe]\nsummary = \"x\"\n[settings.A]\ntype = \"string\"\n",
        ),
    ] {
        fs_err::write(directory.path().join(name), text).unwrap();
    }
    let app = Config::load(None, directory.path()).and_then(|app| app.with_values(set));
    (directory, app)
}

fn app(text: &str) -> Config {
    load(text, &[]).1.unwrap()
}

fn shown_in(directory: &Path, error: &Error) -> String {
    error
        .to_string()
        .replace(&format!("{}/", directory.display()), "")
}

/// mistakes.txt: a configuration, a line of `-`, what is said of it, a line of `=`; lines that begin
/// with `--set ` are arguments.
#[test]
fn mistakes_get_exact_words() {
    let all = include_str!("mistakes.txt");
    let mut told = String::new();
    for case in all.split("\n=====\n") {
        let (input, _) = case.split_once("\n-----\n").unwrap_or((case, ""));
        let (set, lines): (Vec<_>, Vec<_>) =
            input.lines().partition(|line| line.starts_with("--set "));
        let set: Vec<String> = set.iter().map(|line| line[6..].to_owned()).collect();
        let (directory, app) = load(&(lines.join("\n") + "\n"), &set);
        let found = match app.and_then(|app| app.check_settings()) {
            Ok(()) => "no mistake".to_owned(),
            Err(error) => shown_in(directory.path(), &error),
        };
        _ = write!(told, "{input}\n-----\n{}\n=====\n", found.trim_end());
    }
    let told = told.trim_end_matches("\n=====\n").to_owned() + "\n";
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("settings/mistakes.txt");
        fs_err::write(golden, &told).unwrap();
        return;
    }
    assert_eq!(told, all);
}

#[test]
fn values_are_what_the_application_sees() {
    for (declared, seen) in [
        (
            "type = \"string\"\ndefault = \"Tick & Tock\"",
            "Tick & Tock",
        ),
        ("type = \"string\"\ndefault = \"\"", ""),
        ("type = \"integer\"\ndefault = 1_000", "1000"),
        ("type = \"integer\"\ndefault = 0x10\nmaximum = 16", "16"),
        (
            "type = \"number\"\ndefault = 1_0.50\nminimum = 0.1",
            "10.50",
        ),
        ("type = \"number\"\ndefault = 3", "3"),
        ("type = \"boolean\"\ndefault = false", "false"),
        (
            "type = \"url\"\ndefault = \"https://u@example.com/x\"",
            "https://u@example.com/x",
        ),
        ("type = \"path\"\ndefault = \"/srv/media/\"", "/srv/media/"),
        ("type = \"duration\"\ndefault = \"1h 5min\"", "3900"),
        ("type = \"list\"\ndefault = [\"a b\", \"c\"]", "a b,c"),
        ("type = \"list\"\ndefault = []", ""),
        (
            "type = \"choice\"\nchoices = [\"a\", \"b\"]\ndefault = \"b\"",
            "b",
        ),
    ] {
        let app = app(&format!("[settings.A]\n{declared}\n"));
        assert_eq!(app.settings[0].value(), Some(seen), "{declared}");
    }
}

#[test]
fn the_command_line_goes_before_defaults() {
    let text = "[settings.A]\ntype = \"duration\"\ndefault = \"1h\"\n\
                [settings.B]\ntype = \"list\"\n[settings.C]\ntype = \"secret\"\n";
    let set = ["A=5min".to_owned(), "B=x=1,y".to_owned()];
    let app = load(text, &set).1.unwrap();
    let values: Vec<Option<&str>> = app.settings.iter().map(Setting::value).collect();
    assert_eq!(values, [Some("300"), Some("x=1,y"), None]);
    assert!(app.check_settings().is_ok() && app.settings[2].is_missing_on_hosts());
}

#[test]
fn everything_that_runs_has_the_values_and_reads_the_file_before_its_own() {
    let text = "[settings.A]\ntype = \"string\"\ndefault = \"a b\"\n\
                [settings.M]\ntype = \"path\"\ndefault = \"/var/lib/shop/media\"\n\
                [settings.S]\ntype = \"secret\"\n\
                [service.a]\nexec = \"x\"\nenvironment-file = [\"/etc/shop/secrets.env\", \"/etc/default/shop\"]\n\
                [timer.b]\nexec = \"x\"\ncalendar = \"daily\"\n\
                [cron.c]\nexec = \"x\"\nschedule = \"@daily\"\n\
                environment-file = [\"/etc/shop/x.env\", \"/etc/shop/settings.env\"]\n\
                [config.\"x.env\"]\nsource = \"x.env\"\n";
    // The same again with other values: nothing is there twice.
    let app = app(text).with_values(&["A=c".to_owned()]).unwrap();
    let files: Vec<String> = app
        .environment_files()
        .map(|(key, files)| {
            let files: Vec<&str> = files.iter().map(InstallPath::as_str).collect();
            format!("{key}: {}", files.join(" "))
        })
        .collect();
    assert_eq!(
        files,
        [
            "service.a: /etc/shop/settings.env /etc/shop/secrets.env /etc/default/shop",
            "timer.b: /etc/shop/settings.env",
            "cron.c: /opt/shop/.pkgapp/settings.env /etc/shop/x.env /etc/shop/settings.env",
        ]
    );
    let media = ("M".to_owned(), "/var/lib/shop/media".to_owned());
    let all = BTreeMap::from([("A".to_owned(), "c".to_owned()), media.clone()]);
    assert_eq!(app.services[0].process.env, all);
    assert_eq!(app.timers[0].process.env, all);
    assert_eq!(app.crons[0].env, BTreeMap::from([media]));
    let places: Vec<&str> = app
        .files_of_hosts()
        .iter()
        .map(|file| file.as_str())
        .collect();
    assert_eq!(places, ["/etc/shop/secrets.env", "/etc/default/shop"]);
}

#[test]
fn an_application_without_settings_is_as_before() {
    let app = app("[service.a]\nexec = \"x\"\n");
    assert_eq!(app.settings_file(), None);
    assert_eq!(app.environment_files().next().unwrap().1, []);
}
