use std::fmt::Write as _;
use std::path::Path;

use similar_asserts::assert_eq;

use super::*;
use crate::{Config, Deploy, HealthChecks};

const GOOD: &str = "[app]\nname = \"shop\"\nversion = \"1.0\"\n[python]\nversion = \"3.11\"\n";

/// Loads a configuration with these tables; a mistake is told without its directory.
fn load(tables: &str) -> std::result::Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(
        directory.path().join("pkgapp.toml"),
        format!("{GOOD}{tables}"),
    )
    .unwrap();
    fs_err::write(directory.path().join("requirements.txt"), "").unwrap();
    let base = format!("{}/", directory.path().display());
    Config::load(None, directory.path()).map_err(|error| error.to_string().replace(&base, ""))
}

fn health(lines: &str) -> ServiceHealth {
    let app = load(&format!("[service.web]\nexec = \"web\"\n{lines}\n")).unwrap();
    app.services[0].health.clone().unwrap()
}

/// mistakes.txt: tables, a line of `-`, the words about them, a line of `=`.
#[test]
fn mistakes_are_told_with_exact_words() {
    let all = include_str!("mistakes.txt");
    let mut told = String::new();
    for case in all.split("\n=====\n") {
        let tables = case
            .split_once("\n-----\n")
            .map_or(case, |(tables, _)| tables);
        let found = load(tables).map_or_else(|mistake| mistake, |_| "no mistake".to_owned());
        _ = write!(told, "{}\n-----\n{found}\n=====\n", tables.trim_end());
    }
    let told = told.trim_end_matches("\n=====\n").to_owned() + "\n";
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring/mistakes.txt");
        fs_err::write(golden, &told).unwrap();
        return;
    }
    assert_eq!(told, all);
}

#[test]
fn a_service_is_asked_where_it_listens() {
    for (lines, expected) in [
        (
            "socket = \"0.0.0.0:8000\"\nhealth = \"/healthz\"",
            "http://127.0.0.1:8000/healthz",
        ),
        ("socket = \"[::]:80\"\nhealth = \"/\"", "http://[::1]:80/"),
        (
            "socket = \"/run/shop/web.sock\"\nhealth = \"/a?b=%20\"",
            "/a?b=%20 at /run/shop/web.sock",
        ),
        (
            "health = { path = \"/ping\", address = \"localhost:9000\" }",
            "http://localhost:9000/ping",
        ),
        (
            "socket = \"/run/a\"\nhealth = { path = \"/\", address = \"[::]:1\" }",
            "http://[::1]:1/",
        ),
    ] {
        assert_eq!(health(lines).to_string(), expected, "{lines}");
    }
}

#[test]
fn a_table_says_what_a_good_answer_is() {
    let asked = health(
        "socket = \"127.0.0.1:8000\"\nhealth = { path = \"/up\", status = 204, timeout = \"500ms\", \
         host = \"shop.example.com:443\", restart = true, interval = \"1min\" }",
    );
    assert_eq!((asked.status, asked.restart), (Some(204), true));
    assert_eq!(asked.timeout, Duration::from_millis(500));
    assert_eq!(asked.interval, Duration::from_secs(60));
    assert_eq!(asked.host(), "shop.example.com:443");

    let plain = health("socket = \"127.0.0.1:8000\"\nhealth = \"/up\"");
    assert_eq!((plain.status, plain.restart), (None, false));
    assert_eq!(
        (plain.host(), plain.timeout),
        ("localhost", DEFAULT_TIMEOUT)
    );
}

#[test]
fn deployments_ask_the_services_unless_they_ask_otherwise() {
    let service = "[service.web]\nexec = \"web\"\nsocket = \"127.0.0.1:8000\"\nhealth = \"/up\"\n";
    let deployed = |lines: &str| {
        let text = format!("{service}[deploy.x]\nhosts = [\"a\"]\n{lines}\n");
        let deploys: Vec<Deploy> = load(&text).unwrap().deploys;
        deploys[0].health.clone()
    };
    let asked = |health: &Option<HealthChecks>| {
        let health = health.as_ref().unwrap();
        (
            health.services.len(),
            health.url.is_some(),
            health.timeout.as_secs(),
        )
    };
    assert_eq!(asked(&deployed("")), (1, false, 30));
    assert_eq!(
        asked(&deployed("health = { timeout = \"1min\" }")),
        (1, false, 60)
    );
    assert_eq!(
        asked(&deployed("health = { command = \"true\" }")),
        (1, false, 30)
    );
    assert_eq!(
        asked(&deployed("health = { url = \"http://localhost/\" }")),
        (0, true, 30)
    );
    assert_eq!(deployed("health = false"), None);
}

#[test]
fn metrics_have_the_defaults_of_debians_node_exporter() {
    let metrics = load("[service.web]\nexec = \"web\"\n[metrics]\n")
        .unwrap()
        .metrics
        .unwrap();
    assert_eq!(metrics.directory.as_str(), TEXTFILE_DIRECTORY);
    assert_eq!(metrics.interval, METRICS_INTERVAL);
    assert_eq!(
        load("[service.web]\nexec = \"web\"\n").unwrap().metrics,
        None
    );
}
