//! Limits of recipes that are not built in: they may come from somebody else.

use pkgapp_core::error::Error;

use super::super::document::{DocumentItem, DocumentTable, DocumentValue, SourceTexts};
use super::super::reader::DocumentReader;
use super::parameter::ParameterValues;

/// Tables and keys that only the configuration itself sets, and the reason. `*` stands for one key.
pub(in super::super) const RESERVED: [(&str, &str); 23] = [
    ("deploy", DEPLOYMENTS),
    ("recipe", "its keys are parameters of other recipes"),
    (
        "settings",
        "only the application itself knows the variables that it reads",
    ),
    ("python.index", INDEXES),
    ("python.sources", INDEXES),
    ("package.prefix", PACKAGE),
    ("package.scriptlets", "scriptlets run as root on hosts"),
    ("package.conflicts", PACKAGE),
    ("package.provides", PACKAGE),
    ("package.replaces", PACKAGE),
    (
        "metrics.textfile-directory",
        "root writes to that directory of hosts",
    ),
    ("site.domains", "the operator chooses the names of sites"),
    ("config.*.owner", USERS),
    ("config.*.group", USERS),
    ("service.*.user", USERS),
    ("timer.*.user", USERS),
    ("cron.*.user", USERS),
    ("every.*.user", USERS),
    ("migrate.user", USERS),
    ("service.*.systemd", SYSTEMD),
    ("timer.*.systemd", SYSTEMD),
    ("cron.*.systemd", SYSTEMD),
    ("every.*.systemd", SYSTEMD),
];

const DEPLOYMENTS: &str = "deployments are the operator's";
const INDEXES: &str = "packages come from the indexes that the project names";
const PACKAGE: &str = "it can affect other packages on hosts";
const USERS: &str = "processes and files belong to the application's own user";
const SYSTEMD: &str = "settings of units can run commands as root";

/// Keys whose values are paths on hosts, for services and everything else that writes or reads.
const HOST_PATHS: [&str; 12] = [
    "service.*.environment-file",
    "timer.*.environment-file",
    "cron.*.environment-file",
    "every.*.environment-file",
    "service.*.write",
    "timer.*.write",
    "cron.*.write",
    "every.*.write",
    "migrate.write",
    "logrotate.paths",
    "site.tls.certificate",
    "site.tls.key",
];

/// The names for the directories that an application has on hosts.
const OWN_DIRECTORIES: [&str; 6] = ["prefix", "etc", "state", "cache", "logs", "run"];

/// Keys whose values are paths of the project.
const PATHS: [&str; 11] = [
    "app.source",
    "app.include",
    "app.exclude",
    "app.import-from",
    "app.writable",
    "build.constraints",
    "config.*.source",
    "python.constraints",
    "python.path",
    "python.requirements",
    "site.extra",
];

/// A key whose values are paths of the release, or paths on hosts.
const EITHER_PATHS: &str = "site.static.*";

/// Reports keys that a foreign recipe must not set.
pub(super) fn check(filled: &DocumentTable, values: &ParameterValues, reader: &DocumentReader<'_>) {
    for (key, reason) in RESERVED {
        for_each(filled, key, &mut |item| {
            let error = Error::new(format!("a recipe cannot set `{key}`: {reason}"));
            reader.complain(
                &item.origin,
                error.hint("set it in the configuration of the application"),
            );
        });
    }
    for key in PATHS {
        for_each(filled, key, &mut |item| {
            check_paths(item, &|text, item| {
                check_project_path(key, text, item, reader);
            });
        });
    }
    let own: Vec<&str> = OWN_DIRECTORIES
        .iter()
        .filter_map(|name| values.peek(name)?.value.as_str())
        .collect();
    for_each(filled, EITHER_PATHS, &mut |item| {
        check_paths(item, &|text, item| {
            if text.starts_with('/') {
                check_host_path(EITHER_PATHS, text, item, &own, reader);
            } else {
                check_project_path(EITHER_PATHS, text, item, reader);
            }
        });
    });
    for key in HOST_PATHS {
        for_each(filled, key, &mut |item| {
            check_paths(item, &|text, item| {
                check_host_path(key, text, item, &own, reader);
            });
        });
    }
}

/// Calls `action` for every value at a key.
fn for_each(table: &DocumentTable, key: &str, action: &mut dyn FnMut(&DocumentItem)) {
    let (first, rest) = key
        .split_once('.')
        .map_or((key, None), |(first, rest)| (first, Some(rest)));
    let entries = table
        .iter()
        .filter(|(name, _)| first == "*" || name.name == first);
    for (_, item) in entries {
        match (rest, item.as_table()) {
            (None, _) => action(item),
            (Some(rest), Some(table)) => for_each(table, rest, action),
            (Some(_), None) => {}
        }
    }
}

/// Calls `check` for every text of a value, except those that the configuration itself sets as the
/// value of a parameter.
fn check_paths(item: &DocumentItem, check: &dyn Fn(&str, &DocumentItem)) {
    if item.origin.source == SourceTexts::CONFIGURATION {
        return;
    }
    match &item.value {
        DocumentValue::String(text) => check(text, item),
        DocumentValue::Array(items) => items.iter().for_each(|item| check_paths(item, check)),
        DocumentValue::Table(table) => table.iter().for_each(|(_, item)| check_paths(item, check)),
        DocumentValue::Integer(_)
        | DocumentValue::Float(_)
        | DocumentValue::Boolean(_)
        | DocumentValue::Datetime(_) => {}
    }
}

fn check_project_path(key: &str, text: &str, item: &DocumentItem, reader: &DocumentReader<'_>) {
    if text.starts_with('/') || has_parent(text) {
        let error = Error::new(format!(
            "a recipe cannot set `{key}` to `{}`, which is outside of the project",
            text.escape_debug()
        ));
        reader.complain(&item.origin, error);
    }
}

/// `own` are the directories of the application.
fn check_host_path(
    key: &str,
    text: &str,
    item: &DocumentItem,
    own: &[&str],
    reader: &DocumentReader<'_>,
) {
    let is_own = own.iter().any(|directory| {
        text.strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if !is_own || has_parent(text) {
        let error = Error::new(format!(
            "a recipe cannot set `{key}` to `{}`, which is not in a directory of the application",
            text.escape_debug()
        ));
        let hint = "use `{etc}`, `{state}`, `{cache}`, `{logs}`, `{run}`, or `{prefix}`";
        reader.complain(&item.origin, error.hint(hint));
    }
}

fn has_parent(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
