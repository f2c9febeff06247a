//! The variables in a project's app.json, as Heroku and Dokku read it: which of them are required,
//! their values, and their descriptions.

use std::path::Path;

use serde_json::{Map, Value};

use super::code::{FoundSetting, Literal, SettingKind, fitted, is_secret};
use super::pins;

/// The file at the top of the tree.
const FILE: &str = "app.json";

/// The maximum size of the file in bytes.
const LARGEST: u64 = 128 * 1024;

/// Returns the variables in the order of the file; none if the file is not valid JSON.
pub(super) fn variables(root: &Path) -> Vec<FoundSetting> {
    let file = root.join(FILE);
    let is_small = std::fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= LARGEST);
    let Some(text) = pins::text(&file).ok().filter(|_| is_small) else {
        return Vec::new();
    };
    let document: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let Some(env) = document.get("env").and_then(Value::as_object) else {
        return Vec::new();
    };
    let variable = |(name, declared): (&String, &Value)| {
        let mut found = variable(name, declared)?;
        found.line = line_of(&text, name);
        Some(found)
    };
    env.iter().filter_map(variable).collect()
}

/// Adds the facts of app.json to the variables that the code reads, and the variables that only
/// app.json has.
pub(super) fn complete(settings: &mut Vec<FoundSetting>, declared: Vec<FoundSetting>) {
    for declared in declared {
        match settings.iter_mut().find(|read| read.name == declared.name) {
            Some(read) => describe(read, declared),
            None => settings.push(declared),
        }
    }
}

/// Adds a declaration to a variable: the code is the better source of types, and app.json of values
/// and descriptions.
fn describe(read: &mut FoundSetting, declared: FoundSetting) {
    read.help = declared.help;
    if declared.kind == SettingKind::Secret {
        read.kind = SettingKind::Secret;
        read.default = None;
        read.is_optional = declared.is_optional;
    }
    let default = declared
        .default
        .and_then(|default| fitted(read.kind, default));
    if default.is_some() {
        read.default = default;
        read.is_optional = false;
    }
}

/// Parses a value, or a table with more properties.
fn variable(name: &str, declared: &Value) -> Option<FoundSetting> {
    let nothing = Map::new();
    let (value, table) = match declared {
        Value::String(_) => (Some(declared), &nothing),
        Value::Object(table) => (table.get("value"), table),
        _ => return None,
    };
    let is_generated = table.get("generator") == Some(&Value::from("secret"));
    let is_required = table.get("required") != Some(&Value::from(false));
    let kind = if is_generated || is_secret(name) {
        SettingKind::Secret
    } else {
        SettingKind::String
    };
    let default = line(value).filter(|_| kind == SettingKind::String);
    Some(FoundSetting {
        name: name.to_owned(),
        kind,
        is_optional: !is_required && default.is_none(),
        default: default.map(Literal::Text),
        help: line(table.get("description")),
        file: FILE.into(),
        line: 1,
    })
}

/// Returns a text if it is a single line and not empty.
fn line(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?;
    let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
    is_line.then(|| text.to_owned())
}

fn line_of(text: &str, name: &str) -> usize {
    let at = text.find(&format!("\"{name}\"")).unwrap_or_default();
    text[..at].matches('\n').count() + 1
}
