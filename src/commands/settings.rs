//! `pkgapp explain --settings`: the settings of the application, as a manual for operators.

use std::fmt::Write as _;

use serde_json::{Value, json};

use pkgapp_config::{Config, SecretDelivery, Setting, SettingLimits, SettingSource, SettingType};
use pkgapp_core::report::{OutputStyle, Report, visible_line};

use super::explain::{place, place_json};

/// Prints all settings.
pub(super) fn describe(app: &Config, report: &Report) {
    match report.style() {
        OutputStyle::Text => report.text(&text(app)),
        OutputStyle::Json => report.json(&json!({
            "settings": app.settings.iter().map(|setting| setting_json(app, setting)).collect::<Vec<_>>(),
        })),
    }
}

fn text(app: &Config) -> String {
    if app.settings.is_empty() {
        return format!("`{}` declares no settings\n", app.name);
    }
    let mut text = String::new();
    for setting in &app.settings {
        let space = if text.is_empty() { "" } else { "\n" };
        let described = setting.setting_type.described();
        _ = writeln!(text, "{space}{} ({described})", setting.name);
        for line in lines(app, setting) {
            _ = writeln!(text, "    {}", visible_line(&line));
        }
    }
    text
}

/// The lines below the name of a setting.
fn lines(app: &Config, setting: &Setting) -> Vec<String> {
    let mut lines: Vec<String> = setting.help.iter().cloned().collect();
    lines.push(format!("value: {}", value(setting)));
    lines.extend(setting.file_variable().map(|variable| {
        format!(
            "delivered as a file, whose path is in {variable}; set it with `pkgapp secrets set`"
        )
    }));
    let file = app.place_on_hosts(setting);
    let file = file.filter(|_| setting.delivery == SecretDelivery::Variable);
    lines.extend(file.map(|file| {
        let is_replaced = setting.value().is_some();
        let verb = if is_replaced { "change" } else { "set" };
        format!("{verb} it on a host in {file}")
    }));
    let readers = readers(app, setting);
    if !readers.is_empty() {
        lines.push(format!("read by {}", readers.join(", ")));
    }
    lines.push(format!("declared at {}", place(&setting.at)));
    lines
}

/// The value of the package and its origin, or what stands for it.
fn value(setting: &Setting) -> String {
    let default = setting
        .default
        .as_ref()
        .map(|default| format!("{} ({})", shown(&default.value), place(&default.at)));
    match (&setting.chosen, default) {
        (Some(chosen), Some(default)) => format!("{} (--set), default: {default}", shown(chosen)),
        (Some(chosen), None) => format!("{} (--set)", shown(chosen)),
        (None, Some(default)) => default,
        (None, None) => without_value(setting).to_owned(),
    }
}

fn without_value(setting: &Setting) -> &'static str {
    if setting.is_optional {
        "none (optional)"
    } else if setting.source == SettingSource::Host {
        "none, each host needs one"
    } else {
        "missing: a build needs a `default` or `--set`"
    }
}

/// A value that can be seen even if it is empty.
fn shown(value: &str) -> &str {
    if value.is_empty() { "\"\"" } else { value }
}

/// Everything that runs and sees the setting: secrets are seen by the processes that read a file of
/// secrets, or by those that systemd gives a file.
fn readers(app: &Config, setting: &Setting) -> Vec<String> {
    let secrets = app.files_of_hosts();
    app.environment_files()
        .filter(|(key, files)| {
            if setting.delivery == SecretDelivery::File {
                return !key.starts_with("cron.");
            }
            setting.setting_type != SettingType::Secret
                || files.iter().any(|file| secrets.contains(&file))
        })
        .map(|(key, _)| key)
        .collect()
}

fn setting_json(app: &Config, setting: &Setting) -> Value {
    let default = setting.default.as_ref();
    let place = app.place_on_hosts(setting);
    json!({
        "name": setting.name,
        "type": setting.setting_type.name(),
        "limits": type_json(&setting.setting_type),
        "help": setting.help,
        "deliver": (setting.setting_type == SettingType::Secret).then(|| setting.delivery.name()),
        "file_variable": setting.file_variable(),
        "from": source_name(setting.source),
        "optional": setting.is_optional,
        "default": default.map(|default| &default.value),
        "default_origin": default.map(|default| place_json(&default.at)),
        "set": setting.chosen,
        "value": setting.value(),
        "host_file": place.map(|file| file.to_string()),
        "read_by": readers(app, setting),
        "origin": place_json(&setting.at),
    })
}

fn source_name(source: SettingSource) -> &'static str {
    match source {
        SettingSource::Package => "package",
        SettingSource::Host => "host",
    }
}

/// The limits of a type.
fn type_json(setting_type: &SettingType) -> Value {
    match setting_type {
        SettingType::Integer(limits) => limits_json(limits),
        SettingType::Number(limits) => limits_json(limits),
        SettingType::Choice(choices) => json!({ "choices": choices }),
        _ => json!({}),
    }
}

fn limits_json<T: serde::Serialize>(limits: &SettingLimits<T>) -> Value {
    json!({ "minimum": limits.least, "maximum": limits.greatest })
}
