//! `pkgapp explain`: the origin of every value of the configuration.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{ExplainArgs, GlobalOptions};
use pkgapp_config::{Config, ConfigValue, UsedParameter, ValueOrigin, dotted_key};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report, visible_line};

use super::{load_app, settings};

pub(super) fn explain(args: &ExplainArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?.with_values(&args.values.set)?;
    if args.settings {
        settings::describe(&app, report);
        return Ok(());
    }
    if args.eject {
        return eject(&app, args.print, report);
    }
    let values = selected(&app, args.key.as_deref())?;
    match report.style() {
        OutputStyle::Text => report.text(&text(&values)),
        OutputStyle::Json => report.json(&json!({
            "recipes": app.recipes.recipes.iter().map(|recipe| json!({
                "name": recipe.name,
                "sha256": recipe.sha256.to_string(),
            })).collect::<Vec<_>>(),
            "values": values.iter().map(|value| value_json(value)).collect::<Vec<_>>(),
        })),
    }
    Ok(())
}

/// Returns the values that a key, or a file on hosts, stands for.
fn selected<'a>(app: &'a Config, key: Option<&str>) -> Result<Vec<&'a ConfigValue>> {
    let all = &app.recipes.values;
    let Some(key) = key else {
        return Ok(all.iter().collect());
    };
    let keys = if key.starts_with('/') {
        keys_of_file(app, key)?
    } else {
        vec![key.to_owned()]
    };
    let is_selected = |value: &&ConfigValue| {
        keys.iter().any(|key| {
            value
                .key
                .strip_prefix(key.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let found: Vec<&ConfigValue> = all.iter().filter(is_selected).collect();
    if found.is_empty() {
        return Err(Error::new(format!(
            "the configuration has no `{}`",
            keys.join("` and no `")
        ))
        .at(Location::file(&app.file))
        .hint("`pkgapp explain` lists all values; a key that is not listed has its default"));
    }
    Ok(found)
}

/// Returns the tables that a file on hosts is generated from.
fn keys_of_file(app: &Config, path: &str) -> Result<Vec<String>> {
    let name = app.name.as_str();
    if let Some(unit) = path.strip_prefix("/usr/lib/systemd/system/") {
        let part = unit
            .strip_prefix(&format!("{name}-"))
            .and_then(|rest| rest.split(['.', '@']).next());
        if let Some(part) = part {
            return Ok(vec![format!("service.{part}"), format!("timer.{part}")]);
        }
    }
    if app
        .settings_file()
        .is_some_and(|file| file.as_str() == path)
    {
        return Ok(vec!["settings".to_owned()]);
    }
    if let Some(file) = path.strip_prefix(&format!("/etc/{name}/")) {
        return Ok(vec![dotted_key("config", file)]);
    }
    if path == format!("/etc/cron.d/{name}") {
        return Ok(vec!["cron".to_owned()]);
    }
    if path == format!("/etc/logrotate.d/{name}") {
        return Ok(vec!["logrotate".to_owned()]);
    }
    Err(Error::new(format!(
        "`{}` is not a file that the configuration describes",
        path.escape_debug()
    ))
    .hint(format!(
        "name a unit such as `/usr/lib/systemd/system/{name}-web.service`, `/etc/cron.d/{name}`, \
         `/etc/logrotate.d/{name}`, or a file below `/etc/{name}`"
    )))
}

/// Writes the merged configuration in place of the file that names the recipe.
fn eject(app: &Config, print: bool, report: &Report) -> Result<()> {
    if app.recipes.recipes.is_empty() {
        return Err(Error::new("the configuration uses no recipe").at(Location::file(&app.file)));
    }
    let names: Vec<&str> = app
        .recipes
        .recipes
        .iter()
        .map(|recipe| recipe.name.as_str())
        .collect();
    let text = format!(
        "# The values of {}; docs/configuration.md lists all keys.\n\n{}",
        names.join(", "),
        app.recipes.ejected
    );
    if print {
        report.text(&text);
        return Ok(());
    }
    if app.file.file_name() == Some("pyproject.toml".as_ref()) {
        return Err(Error::new("cannot eject a recipe of `[tool.pkgapp]`: pyproject.toml has other tables")
            .at(Location::file(&app.file))
            .hint("replace the table with the output of `pkgapp explain --eject --print`, each header below `tool.pkgapp`"));
    }
    fs::write_atomically(&app.file, |out| {
        std::io::Write::write_all(out, text.as_bytes())
            .context(|| format!("cannot write `{}`", shown(&app.file)))
    })?;
    report.result(&shown(&app.file).to_string());
    Ok(())
}

/// The values as text: a header for each table, a line for each value, and indented lines for its
/// parameters and the values that it replaced.
fn text(values: &[&ConfigValue]) -> String {
    let mut text = String::new();
    let mut table = None;
    for value in values {
        let (header, key) = value.key.rsplit_once('.').unwrap_or(("", &value.key));
        if table != Some(header) {
            let space = if table.is_some() { "\n" } else { "" };
            _ = writeln!(text, "{space}[{}]", visible_line(header));
            table = Some(header);
        }
        let line = format!("{key} = {}", value.value);
        _ = writeln!(text, "{:<60}  {}", visible_line(&line), place(&value.at));
        for parameter in &value.parameters {
            let line = format!("  {{{}}} = {}", parameter.name, parameter.value);
            let origin = parameter_origin(parameter);
            _ = writeln!(text, "{:<60}  {origin}", visible_line(&line));
        }
        for (weaker, at) in &value.replaced {
            let line = format!("  instead of {weaker}");
            _ = writeln!(text, "{:<60}  {}", visible_line(&line), place(at));
        }
    }
    text
}

fn parameter_origin(parameter: &UsedParameter) -> String {
    match &parameter.origin {
        ValueOrigin::Set(at) => place(at),
        ValueOrigin::Found(_, Some(at)) => format!("found in {}", place(at)),
        ValueOrigin::Found(fact, None) => format!("found in the project (`{fact}`)"),
        ValueOrigin::Default(at) => format!("{} (default)", place(at)),
        ValueOrigin::Known => "the application's".to_owned(),
    }
}

/// A place without its column.
pub(super) fn place(at: &Location) -> String {
    let file = visible_line(&shown(&at.file).to_string()).into_owned();
    match at.position {
        Some((line, _)) => format!("{file}:{line}"),
        None => file,
    }
}

fn value_json(value: &ConfigValue) -> Value {
    json!({
        "key": value.key,
        "value": value.value,
        "origin": place_json(&value.at),
        "parameters": value.parameters.iter().map(|parameter| {
            let (kind, at) = match &parameter.origin {
                ValueOrigin::Set(at) => ("set", Some(at)),
                ValueOrigin::Found(_, at) => ("found", at.as_ref()),
                ValueOrigin::Default(at) => ("default", Some(at)),
                ValueOrigin::Known => ("application", None),
            };
            json!({
                "name": parameter.name,
                "value": parameter.value,
                "kind": kind,
                "origin": at.map(place_json),
            })
        }).collect::<Vec<_>>(),
        "replaced": value.replaced.iter().map(|(weaker, at)| {
            json!({ "value": weaker, "origin": place_json(at) })
        }).collect::<Vec<_>>(),
    })
}

pub(super) fn place_json(at: &Location) -> Value {
    let file: &Path = &at.file;
    json!({ "file": file, "line": at.position.map(|(line, _)| line) })
}
