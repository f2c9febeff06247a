//! Limits of recipes that are not built in: they may come from somebody else.

use pkgapp_core::error::Error;

use super::super::document::{DocumentItem, DocumentTable, DocumentValue};
use super::super::reader::DocumentReader;

/// Tables and keys that only the configuration itself sets, and the reason. `*` stands for one key.
const RESERVED: [(&str, &str); 11] = [
    ("package.scriptlets", "scriptlets run as root on hosts"),
    (
        "every.*.user",
        "processes run as the application's own user",
    ),
    ("deploy", "deployments are the operator's"),
    ("recipe", "it names parameters of other recipes"),
    (
        "python.index",
        "packages come from the indexes that the project names",
    ),
    (
        "python.indexes",
        "packages come from the indexes that the project names",
    ),
    (
        "python.sources",
        "packages come from the indexes that the project names",
    ),
    (
        "service.*.user",
        "processes run as the application's own user",
    ),
    (
        "timer.*.user",
        "processes run as the application's own user",
    ),
    ("cron.*.user", "processes run as the application's own user"),
    (
        "migrate.user",
        "processes run as the application's own user",
    ),
];

/// Keys whose values are paths of the project.
const PATHS: [&str; 10] = [
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
];

/// Reports keys that a foreign recipe must not set.
pub(super) fn check(filled: &DocumentTable, reader: &DocumentReader<'_>) {
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
        for_each(filled, key, &mut |item| check_paths(key, item, reader));
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

fn check_paths(key: &str, item: &DocumentItem, reader: &DocumentReader<'_>) {
    match &item.value {
        DocumentValue::String(text) => {
            let leaves = text.starts_with('/') || text.split('/').any(|part| part == "..");
            if leaves {
                let error = Error::new(format!(
                    "a recipe cannot set `{key}` to `{}`, which is outside of the project",
                    text.escape_debug()
                ));
                reader.complain(&item.origin, error);
            }
        }
        DocumentValue::Array(items) => {
            items.iter().for_each(|item| check_paths(key, item, reader));
        }
        DocumentValue::Table(table) => table
            .iter()
            .for_each(|(_, item)| check_paths(key, item, reader)),
        DocumentValue::Integer(_)
        | DocumentValue::Float(_)
        | DocumentValue::Boolean(_)
        | DocumentValue::Datetime(_) => {}
    }
}
