//! Resolutions and mistakes, compared with files.

use std::fmt::Write;

use super::*;

/// The model of the documentation.
const MODEL: &str = r#"
[system]
name = "shop"
[application.shop]
package = "shop"
place.web    = { role = "web" }
place.worker = { role = "work", per-host = 2 }
place.beat   = { role = "work", count = 1 }
place.report = { role = "work" }
place.site   = { role = "front" }
[service.db]
kind = "postgresql"
role = "db"
[service.cache]
kind = "redis"
role = "cache"
[service.front]
kind = "nginx"
role = "front"
[service.exporter]
kind = "node-exporter"
role = "monitored"

[environment.staging]
hosts = [{ host = "deploy@stage1.example.com", roles = ["front", "web", "work", "db", "cache", "monitored"] }]
domains = ["stage.shop.example.com"]
place.shop.worker.per-host = 1

[environment.three]
domains = ["three.shop.example.com"]
hosts = [
  { host = "www[1:2].example.com", roles = ["front", "web", "work", "monitored"] },
  { host = "data1.example.com", roles = ["db", "cache", "monitored"] },
]

[environment.production]
user = "deploy"
domains = ["shop.example.com"]
hosts = [
  { host = "lb[1:2].example.com",    roles = ["front", "monitored"], address = "10.0.0.[1:2]" },
  { host = "web[01:06].example.com", roles = ["web", "monitored"],  labels = { zone = ["a", "b"] }, address = "10.0.1.[1:6]" },
  { host = "job[1:2].example.com:2222",   roles = ["work", "monitored"], address = "10.0.2.[1:2]" },
  { host = "db1.example.com",        roles = ["db"],   capacity = { memory = "32G" }, address = "10.0.3.1" },
  { host = "cache1.example.com",     roles = ["cache"], address = "10.0.3.2" },
]
"#;

/// The environments of [`MODEL`].
const ENVIRONMENTS: [&str; 3] = ["staging", "three", "production"];

fn golden(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(file);
    std::fs::read_to_string(path).unwrap_or_default()
}

fn compare(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(file);
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(path, found).unwrap();
        return;
    }
    similar_asserts::assert_eq!(found, golden(file));
}

fn shop() -> TestSystem {
    TestSystem::new(&[("shop", SHOP)])
}

fn resolved(environment: &str) -> ResolvedSystem {
    let lock = EnvironmentLock::default();
    let resolved = shop().resolve(MODEL, environment, &lock);
    resolved.unwrap_or_else(|error| panic!("{error}"))
}

/// Describes a resolved system: the kinds of hosts, and the variables on the first of each.
fn described(environment: &str) -> String {
    let system = shop();
    let model = system.model(MODEL).unwrap();
    let resolved = resolved(environment);
    let declared = system.declared(&model, model.environment(environment).unwrap());
    let mut text = String::new();
    for class in resolved.host_classes() {
        _ = writeln!(text, "{}", class.name);
        for line in class.content.lines(&resolved) {
            _ = writeln!(text, "    {line}");
        }
        let has_parts = !class.content.parts.is_empty();
        let name = AppName::parse("shop").unwrap();
        let variables = resolved.variables(class.hosts[0], &name, &declared[&name]);
        for (name, value) in variables.iter().filter(|_| has_parts) {
            _ = writeln!(text, "    {name}={value}");
        }
    }
    text + "\n" + &configurations(&resolved, &declared) + "\n" + &lock_text(&resolved.lock)
}

/// Describes the configurations: the hosts of each, what listens where, and what is behind the site.
fn configurations(
    resolved: &ResolvedSystem,
    declared: &BTreeMap<AppName, DeclaredApplication>,
) -> String {
    let mut text = String::new();
    for application in resolved.applications_in_order() {
        let declared = &declared[&application.name];
        for one in resolved.configurations(&application.name, declared) {
            let hosts = one.hosts.iter();
            let hosts = hosts.map(|host| resolved.hosts[*host].name.as_str());
            _ = writeln!(text, "{} on {}", one.application, crate::folded(hosts));
            for (service, socket) in &one.changes.sockets {
                _ = writeln!(text, "    {service} at {socket}");
            }
            for (service, number) in &one.changes.instances {
                _ = writeln!(text, "    {number} of {service}");
            }
            for upstream in &one.placed.upstreams {
                _ = writeln!(text, "    site of {}:{}", upstream.host, upstream.port);
            }
            for (name, value) in &one.placed.variables {
                _ = writeln!(text, "    {name}={value}");
            }
        }
    }
    text
}

#[test]
fn one_model_fits_one_host_and_three_and_twelve() {
    for environment in ENVIRONMENTS {
        compare(&format!("{environment}.txt"), &described(environment));
    }
}

#[test]
fn systems_are_drawn_and_exported() {
    for environment in ENVIRONMENTS {
        let resolved = resolved(environment);
        compare(&format!("{environment}.svg"), &crate::graph::svg(&resolved));
        compare(&format!("{environment}.dot"), &crate::graph::dot(&resolved));
    }
    let production = resolved("production");
    compare("prometheus.json", &crate::export::prometheus(&production));
    compare("ansible.json", &crate::export::ansible(&production, true));
    compare("hosts", &crate::export::hosts(&production).unwrap());
    let rules = crate::export::nftables(&production, "cache1.example.com");
    compare("cache1.nft", &rules.unwrap());

    let error = crate::export::hosts(&resolved("three")).unwrap_err();
    let message = "the model has no IP address for www[1:2].example.com, data1.example.com";
    assert_eq!(error.message(), message);
    let error = crate::export::nftables(&production, "cache2.example.com").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("did you mean `cache1.example.com`?"),
        "{error}"
    );
}

/// The model of most mistakes: its lines are first.
const SMALL: &str = r#"[system]
name = "shop"
[application.shop]
package = "shop"
role = "app"
[service.db]
kind = "postgresql"
role = "db"
[service.cache]
kind = "redis"
role = "db"
[environment.production]
hosts = [{ host = "app[1:2]", roles = ["app"] }, { host = "db1", roles = ["db"] }]
"#;

/// Each case is edits of [`SMALL`]: `-LINE` removes a line, `+LINE` adds one after it, `!LINE` is a
/// line of the lock.
#[test]
fn mistakes_get_exact_words() {
    let system = TestSystem::new(&[("shop", SHOP), ("billing", BILLING), ("blog", BLOG)]);
    let told = |case: &str| {
        let (edits, _) = case.split_once("\n-----").unwrap();
        let (model, lock) = edited(edits);
        let result = SystemLock::parse(Path::new("system.lock"), &lock)
            .and_then(|lock| system.resolve(&model, "production", &lock.environment("production")));
        let found = match result {
            Ok(resolved) => lock_text(&resolved.lock),
            Err(error) => told(&error, system.path()),
        };
        format!("{edits}\n-----\n{}", found.trim_end())
    };
    let all = golden("mistakes.txt");
    let told: Vec<String> = all.split("\n=====\n").map(told).collect();
    compare("mistakes.txt", &(told.join("\n=====\n") + "\n"));
}

const BILLING: &str = r#"
[service.api]
exec = "billing"
address = "127.0.0.1:9000"
[provides.billing]
service = "api"
[requires.blog]
env = { BLOG = "{hosts}" }
"#;

const BLOG: &str = r#"
[service.web]
exec = "blog"
socket = "127.0.0.1:8000"
[provides.blog]
service = "web"
[requires.billing]
env = { BILLING_URL = "{url}" }
"#;

/// Returns the model and the lock with the edits of a case.
fn edited(edits: &str) -> (String, String) {
    let mut lines: Vec<&str> = SMALL.lines().collect();
    let (mut at, mut lock) = (lines.len(), String::new());
    for edit in edits.lines() {
        let (kind, line) = edit.split_at(1);
        match kind {
            "-" => {
                at = lines.iter().position(|known| *known == line).unwrap();
                lines.remove(at);
            }
            "+" => {
                lines.insert(at, line);
                at += 1;
            }
            "!" => _ = writeln!(lock, "{line}"),
            _ => panic!("{edit}"),
        }
    }
    (lines.join("\n") + "\n", lock)
}
