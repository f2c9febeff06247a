//! Values of the effective configuration that no line of it sets: those that pyproject.toml and
//! files beside the configuration give, those of another table, and defaults.

use std::path::Path;

use serde_json::Value;

use pkgapp_core::error::Location;
use pkgapp_core::name::Arch;

use super::document::{Document, DocumentValue, dotted_key};
use super::recipe::{ConfigValue, ValueOrigin};
use super::schema::configuration_schema;
use super::service::LogReopen;
use super::{Config, NOBODY, SocketAddress};

/// Adds the values that come from pyproject.toml, `.python-version`, and the locks that were found.
pub(super) fn with_values_of_files(
    app: &Config,
    values: Vec<ConfigValue>,
    project: Option<&Document>,
) -> Vec<ConfigValue> {
    let mut explained = ExplainedValues { values };
    if let Some(project) = project {
        add_metadata(app, project, &mut explained);
    }
    if let Some(source) = &app.source {
        add_source(app, source, &mut explained);
    }
    let version = &app.python.version;
    let text = version.value.to_string();
    explained.add_text("python.version", &text, Some(version.at.clone()));
    add_locks(app, &mut explained);
    explained.values
}

/// Adds what `[project]` says of the application.
fn add_metadata(app: &Config, project: &Document, explained: &mut ExplainedValues) {
    let place = |key: &str| project.place(&["project", key]);
    explained.add_text("app.name", app.name.as_str(), place("name"));
    if let Some(version) = &app.version {
        let text = version.value.to_string();
        explained.add_text("app.version", &text, place("version"));
    }
    explained.add_text("app.summary", &app.summary, place("description"));
    if let Some(license) = &app.license {
        explained.add_text("app.license", license, place("license"));
    }
    if app.maintainer != NOBODY {
        let at = place("maintainers").or_else(|| place("authors"));
        explained.add_text("app.maintainer", &app.maintainer, at);
    }
    if let Some(homepage) = &app.homepage {
        let at = homepage_place(project);
        explained.add_text("app.homepage", homepage.as_str(), at);
    }
}

/// Adds the project that is built because it is there.
fn add_source(app: &Config, source: &Path, explained: &mut ExplainedValues) {
    let files = ["pyproject.toml", "setup.py"];
    let mut files = files.into_iter().map(|name| source.join(name));
    let at = files.find(|file| file.is_file()).map(Location::file);
    let shown = below(&app.root, source);
    let shown = if shown.is_empty() { "." } else { &shown };
    explained.add_text("app.source", shown, at);
}

/// Adds the locks that were found.
fn add_locks(app: &Config, explained: &mut ExplainedValues) {
    let files = &app.python.requirements;
    let Some(first) = files.first() else {
        return;
    };
    let files = files.iter().map(|file| quoted(&below(&app.root, file)));
    let files: Vec<String> = files.collect();
    let origin = ValueOrigin::Set(first.at.clone());
    explained.add("python.requirements", listed_values(&files), origin);
}

/// Adds all values that are defaults, so that every key which has a value is among them.
pub fn with_defaults(app: &Config, values: Vec<ConfigValue>) -> Vec<ConfigValue> {
    let mut explained = ExplainedValues { values };
    add_inherited_migrations(app, &mut explained);
    let schema = configuration_schema();
    for (table, definition) in tables(app) {
        add_named_defaults(app, &table, definition, &mut explained);
        let properties = schema["definitions"][definition]["properties"].as_object();
        let properties = properties.into_iter().flatten();
        for (key, property) in properties {
            let property = resolved(&schema, property);
            if let Some(default) = property.get("default")
                && applies(app, &table, key)
                && !has_older_name(&schema, definition, &table, key, &explained)
            {
                let value = toml_value(default);
                explained.add(&dotted_key(&table, key), value, ValueOrigin::BuiltIn);
            }
        }
    }
    explained.values
}

/// Returns the description of a key, if there is one of this name.
pub fn key_description(app: &Config, key: &str) -> Option<String> {
    let schema = configuration_schema();
    let (table, name) = key.rsplit_once('.')?;
    let (_, definition) = tables(app).into_iter().find(|(known, _)| known == table)?;
    let property = &schema["definitions"][definition]["properties"][name];
    let description = &resolved(&schema, property)["description"];
    description.as_str().map(str::to_owned)
}

/// The values so far, grouped by table.
struct ExplainedValues {
    values: Vec<ConfigValue>,
}

/// The first tables of a configuration, in the order in which they are shown.
const FIRST_TABLES: [&str; 5] = ["app", "recipe", "python", "build", "package"];

impl ExplainedValues {
    /// Adds a text that a file has at a place, if it does.
    fn add_text(&mut self, key: &str, text: &str, at: Option<Location>) {
        if let Some(at) = at {
            self.add(key, quoted(text), ValueOrigin::Set(at));
        }
    }

    /// Adds a value after the others of its table, unless the key has one.
    fn add(&mut self, key: &str, value: String, origin: ValueOrigin) {
        if self.values.iter().any(|known| known.is_below(key)) {
            return;
        }
        let value = ConfigValue::new(key.to_owned(), value, origin);
        let (table, _) = value.table_and_key();
        let is_beside = |known: &ConfigValue| known.table_and_key().0 == table;
        let index = match self.values.iter().rposition(is_beside) {
            Some(last) => last + 1,
            None => self.end_of_group(key),
        };
        self.values.insert(index, value);
    }

    /// The end of the tables with the same first key, or of those before them.
    fn end_of_group(&self, key: &str) -> usize {
        let rank = |key: &str| {
            let first = key.split('.').next().unwrap_or_default();
            let rank = FIRST_TABLES.iter().position(|table| *table == first);
            rank.unwrap_or(FIRST_TABLES.len())
        };
        let is_before = |known: &ConfigValue| rank(&known.key) <= rank(key);
        let last = self.values.iter().rposition(is_before);
        last.map_or(0, |last| last + 1)
    }
}

/// The tables that the configuration has or whose defaults always hold, with their definitions in
/// the schema.
fn tables(app: &Config) -> Vec<(String, &'static str)> {
    let mut tables: Vec<(String, &'static str)> = ["app", "python", "build", "package"]
        .map(|table| (table.to_owned(), table))
        .to_vec();
    tables.push(("package.depends".to_owned(), "package.depends"));
    let parts = app
        .services
        .iter()
        .map(|service| ("service", &service.name));
    let parts = parts.chain(app.timers.iter().map(|timer| ("timer", &timer.name)));
    let parts = parts.chain(app.crons.iter().map(|cron| ("cron", &cron.name)));
    for (group, name) in parts {
        let definition = match group {
            "service" => "service.NAME",
            "timer" => "timer.NAME",
            _ => "cron.NAME",
        };
        tables.push((dotted_key(group, name.as_str()), definition));
    }
    for (table, is_there) in [
        ("logrotate", app.logrotate.is_some()),
        ("metrics", app.metrics.is_some()),
        ("site", app.site.is_some()),
        ("migrate", app.migrate.is_some()),
    ] {
        if is_there {
            tables.push((table.to_owned(), table));
        }
    }
    for setting in &app.settings {
        tables.push((dotted_key("settings", &setting.name), "settings.NAME"));
    }
    for file in &app.configs {
        tables.push((dotted_key("config", file.name.as_str()), "config.NAME"));
    }
    for required in &app.requires {
        let table = dotted_key("requires", required.name.as_str());
        tables.push((table, "requires.NAME"));
    }
    for provided in &app.provides {
        let table = dotted_key("provides", provided.name.as_str());
        tables.push((table, "provides.NAME"));
    }
    for deploy in &app.deploys {
        let table = dotted_key("deploy", deploy.name.as_str());
        if deploy.health.is_some() {
            tables.push((dotted_key(&table, "health"), "deploy.NAME.health"));
        }
        if deploy.migrate.is_some() {
            tables.push((dotted_key(&table, "migrate"), "deploy.NAME.migrate"));
        }
        tables.push((table, "deploy.NAME"));
    }
    tables
}

/// Adds the defaults that follow from the application's name or from other keys.
fn add_named_defaults(
    app: &Config,
    table: &str,
    definition: &str,
    explained: &mut ExplainedValues,
) {
    let mut add = |key: &str, text: &str, origin: ValueOrigin| {
        explained.add(&dotted_key(table, key), quoted(text), origin);
    };
    let name = app.name.as_str();
    match definition {
        "app" => {
            add("summary", &app.summary, ValueOrigin::BuiltIn);
            add("maintainer", &app.maintainer, ValueOrigin::BuiltIn);
        }
        "package" => {
            add("prefix", app.package.prefix.as_str(), ValueOrigin::BuiltIn);
            if let Ok(arch) = Arch::host() {
                add("arch", arch.as_str(), ValueOrigin::Machine);
            }
        }
        "service.NAME" | "timer.NAME" => {
            add("user", name, ValueOrigin::BuiltIn);
            add(
                "working-directory",
                app.package.prefix.as_str(),
                ValueOrigin::BuiltIn,
            );
        }
        "cron.NAME" => add("user", name, ValueOrigin::BuiltIn),
        "requires.NAME" | "provides.NAME" => {
            let name = table.split_once('.').map_or(table, |(_, name)| name);
            add("type", name, ValueOrigin::BuiltIn);
        }
        "logrotate" => add_reopening(app, explained),
        "deploy.NAME" if is_tarball(app, table) => {
            add("into", &format!("~/{name}"), ValueOrigin::BuiltIn);
        }
        _ => {}
    }
}

/// Adds how writers come to new logs.
fn add_reopening(app: &Config, explained: &mut ExplainedValues) {
    let (copies, services) = match app.logrotate.as_ref().map(|logrotate| &logrotate.reopen) {
        Some(LogReopen::CopyTruncate) => (true, None),
        Some(LogReopen::Services { names: None, .. }) => {
            let reloading = app
                .services
                .iter()
                .filter(|service| service.reload.is_some());
            let names: Vec<String> = reloading
                .map(|service| quoted(service.name.as_str()))
                .collect();
            (false, Some(names))
        }
        _ => (false, None),
    };
    explained.add(
        "logrotate.copytruncate",
        copies.to_string(),
        ValueOrigin::BuiltIn,
    );
    if let Some(names) = services {
        explained.add(
            "logrotate.services",
            listed_values(&names),
            ValueOrigin::BuiltIn,
        );
    }
}

/// Adds the keys of `[migrate]` that deployments have from there.
fn add_inherited_migrations(app: &Config, explained: &mut ExplainedValues) {
    let own: Vec<ConfigValue> = explained
        .values
        .iter()
        .filter(|value| value.is_below("migrate"))
        .cloned()
        .collect();
    let migrating = app.deploys.iter().filter(|deploy| deploy.migrate.is_some());
    for deploy in migrating {
        let table = dotted_key("deploy", deploy.name.as_str());
        for value in &own {
            if let Some(at) = value.place() {
                let key = format!("{table}.{}", value.key);
                explained.add(
                    &key,
                    value.value.clone(),
                    ValueOrigin::Inherited(at.clone()),
                );
            }
        }
    }
}

/// Returns whether a key means anything in its table.
fn applies(app: &Config, table: &str, key: &str) -> bool {
    match key {
        "socket-mode" => app.services.iter().any(|service| {
            dotted_key("service", service.name.as_str()) == table
                && matches!(service.socket, Some(SocketAddress::Unix(_)))
        }),
        "units" => is_tarball(app, table),
        _ => true,
    }
}

fn is_tarball(app: &Config, table: &str) -> bool {
    app.deploys.iter().any(|deploy| {
        dotted_key("deploy", deploy.name.as_str()) == table && deploy.tarball.is_some()
    })
}

/// Returns whether a table has the older name of a key, which the schema describes as such.
fn has_older_name(
    schema: &Value,
    definition: &str,
    table: &str,
    key: &str,
    explained: &ExplainedValues,
) -> bool {
    let properties = schema["definitions"][definition]["properties"].as_object();
    let description = format!("Older name of `{key}`");
    let older = properties
        .into_iter()
        .flatten()
        .find(|(_, property)| property["description"] == description.as_str());
    older.is_some_and(|(older, _)| {
        let older = dotted_key(table, older);
        explained.values.iter().any(|value| value.key == older)
    })
}

fn resolved<'s>(schema: &'s Value, property: &'s Value) -> &'s Value {
    let target = property["$ref"]
        .as_str()
        .and_then(|target| target.strip_prefix('#'));
    target
        .and_then(|target| schema.pointer(target))
        .unwrap_or(property)
}

/// The place of the home page in pyproject.toml, which compares labels without case and
/// punctuation (PEP 753).
fn homepage_place(project: &Document) -> Option<Location> {
    let urls = project.table.at(&["project", "urls"])?.as_table()?;
    let label = urls.keys().find(|key| {
        let label: String = key
            .name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        label.eq_ignore_ascii_case("homepage")
    })?;
    project.place(&["project", "urls", &label.name])
}

impl Document {
    /// The place of a value.
    fn place(&self, path: &[&str]) -> Option<Location> {
        let item = self.table.at(path)?;
        Some(self.sources.location(&item.origin))
    }
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn quoted(text: &str) -> String {
    DocumentValue::String(text.to_owned()).to_string()
}

fn listed_values(values: &[String]) -> String {
    format!("[{}]", values.join(", "))
}

/// A value of the schema as TOML writes it.
fn toml_value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(values) => listed_values(&values.iter().map(toml_value).collect::<Vec<_>>()),
        other => other.to_string(),
    }
}
