//! `pkgapp explain`: the origin of every value of the configuration.

mod host_file;

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{ExplainArgs, GlobalOptions};
use pkgapp_config::{
    Config, ConfigValue, UsedParameter, ValueOrigin, key_description, nearest_name, with_defaults,
};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report, visible_line};

use self::host_file::host_files;
use super::{load_aimed, settings};

pub(super) fn explain(args: &ExplainArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_aimed(&args.target, &args.values, global, report)?;
    if args.settings {
        settings::describe(&app, report);
        return Ok(());
    }
    if args.eject {
        return eject(&app, args.print, report);
    }
    let values = selected(&app, args, global)?;
    match report.style() {
        OutputStyle::Text => report.text(&text(&values)),
        OutputStyle::Json => report.json(&json!({
            "recipes": app.recipes.recipes.iter().map(|recipe| json!({
                "name": recipe.name,
                "sha256": recipe.sha256.to_string(),
            })).collect::<Vec<_>>(),
            "values": values.iter().map(value_json).collect::<Vec<_>>(),
        })),
    }
    Ok(())
}

/// Returns the values that a key, or a file on hosts, stands for. Defaults are left out, unless
/// they are asked for or nothing else is there.
fn selected(app: &Config, args: &ExplainArgs, global: &GlobalOptions) -> Result<Vec<ConfigValue>> {
    let mut values = app.recipes.values.clone();
    override_values(&mut values, args, global);
    let Some(key) = args.key.as_deref() else {
        if args.all {
            return Ok(with_defaults(app, values));
        }
        return Ok(values.into_iter().filter(ConfigValue::is_chosen).collect());
    };

    let all = with_defaults(app, values);
    if key.starts_with('/') {
        return values_of_file(app, key, all);
    }
    let below = |value: &&ConfigValue| value.is_below(key);
    if !all.iter().any(|value| value.is_below(key)) {
        return Err(no_such_key(app, key, &all));
    }
    let is_shown = |value: &&ConfigValue| args.all || value.key == key || value.is_chosen();
    let shown: Vec<ConfigValue> = all.iter().filter(below).filter(is_shown).cloned().collect();
    if shown.is_empty() {
        return Ok(all.iter().filter(below).cloned().collect());
    }
    Ok(shown)
}

/// Puts options and variables in the place of values that they replace.
fn override_values(values: &mut Vec<ConfigValue>, args: &ExplainArgs, global: &GlobalOptions) {
    let target = &args.target;
    let quoted = |text: &str| format!("\"{text}\"");
    let targets: Vec<String> = target
        .target
        .iter()
        .map(|target| quoted(target.name))
        .collect();
    let targets = (!targets.is_empty()).then(|| format!("[{}]", targets.join(", ")));
    let arch = target.arch.map(|arch| quoted(arch.as_str()));
    let python = target.python.map(|python| quoted(&python.to_string()));
    for (key, value, option, variable) in [
        ("package.targets", targets, "--target", "PKGAPP_TARGET"),
        ("package.arch", arch, "--arch", "PKGAPP_ARCH"),
        ("python.version", python, "--python", "PKGAPP_PYTHON"),
    ] {
        let Some(value) = value else { continue };
        let origin = if global.variables.iter().any(|name| name == variable) {
            ValueOrigin::Variable(variable)
        } else {
            ValueOrigin::Option(option)
        };
        let mut stronger = ConfigValue::new(key.to_owned(), value, origin);
        match values.iter_mut().find(|value| value.key == key) {
            Some(weaker) => {
                let at = weaker.place().cloned();
                stronger.replaced = at
                    .map(|at| (weaker.value.clone(), at))
                    .into_iter()
                    .collect();
                stronger.replaced.append(&mut weaker.replaced);
                *weaker = stronger;
            }
            None => values.push(stronger),
        }
    }
}

/// Returns the values that a file on hosts is generated from, defaults included.
fn values_of_file(app: &Config, path: &str, all: Vec<ConfigValue>) -> Result<Vec<ConfigValue>> {
    let files = host_files(app);
    if let Some(file) = files.iter().find(|file| file.path == path) {
        return Ok(all
            .into_iter()
            .filter(|value| file.shows(&value.key))
            .collect());
    }
    let error = Error::new(format!(
        "`{}` is not a file that the configuration describes",
        path.escape_debug()
    ));
    let paths = || files.iter().map(|file| file.path.as_str());
    Err(match nearest_name(path, paths()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!(
            "the files are {}",
            paths().collect::<Vec<_>>().join(", ")
        )),
    })
}

/// The error for a key without a value: the application does without it, or there is no such key.
fn no_such_key(app: &Config, key: &str, all: &[ConfigValue]) -> Error {
    if let Some(description) = key_description(app, key) {
        return Error::new(format!("`{key}` has no value and no default"))
            .at(Location::file(&app.file))
            .note(format!("the key is for: {description}"));
    }
    let error = Error::new(format!("the configuration has no `{}`", key.escape_debug()))
        .at(Location::file(&app.file));
    let parts = |key: &str| key.split('.').count();
    let tables = all.iter().flat_map(|value| {
        let ends = value.key.match_indices('.').map(|(end, _)| end);
        ends.chain([value.key.len()]).map(|end| &value.key[..end])
    });
    match nearest_name(key, tables.filter(|table| parts(table) == parts(key))) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`pkgapp explain --all` lists all keys that have a value"),
    }
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
fn text(values: &[ConfigValue]) -> String {
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
        _ = writeln!(
            text,
            "{:<60}  {}",
            visible_line(&line),
            origin(&value.origin)
        );
        for parameter in &value.parameters {
            let line = format!("  {{{}}} = {}", parameter.name, parameter.value);
            let origin = origin(&parameter.origin);
            _ = writeln!(text, "{:<60}  {origin}", visible_line(&line));
        }
        for (weaker, at) in &value.replaced {
            let line = format!("  instead of {weaker}");
            _ = writeln!(text, "{:<60}  {}", visible_line(&line), place(at));
        }
    }
    text
}

/// Where a value comes from, in words.
fn origin(origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::Set(at) | ValueOrigin::Inherited(at) => place(at),
        ValueOrigin::Found(_, Some(at)) => format!("found in {}", place(at)),
        ValueOrigin::Found(fact, None) => format!("found in the project (`{fact}`)"),
        ValueOrigin::Default(at) => format!("{} (default)", place(at)),
        ValueOrigin::Known => "the application's".to_owned(),
        ValueOrigin::BuiltIn => "default".to_owned(),
        ValueOrigin::Machine => "this machine's".to_owned(),
        ValueOrigin::Option(name) | ValueOrigin::Variable(name) => (*name).to_owned(),
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
    let (kind, origin) = origin_json(&value.origin);
    json!({
        "key": value.key,
        "value": value.value,
        "kind": kind,
        "origin": origin,
        "parameters": value.parameters.iter().map(parameter_json).collect::<Vec<_>>(),
        "replaced": value.replaced.iter().map(|(weaker, at)| {
            json!({ "value": weaker, "origin": place_json(at) })
        }).collect::<Vec<_>>(),
    })
}

fn parameter_json(parameter: &UsedParameter) -> Value {
    let (kind, origin) = origin_json(&parameter.origin);
    json!({
        "name": parameter.name,
        "value": parameter.value,
        "kind": kind,
        "origin": origin,
    })
}

/// The kind of an origin, and its place, option, or variable.
fn origin_json(origin: &ValueOrigin) -> (&'static str, Value) {
    match origin {
        ValueOrigin::Set(at) => ("set", place_json(at)),
        ValueOrigin::Found(_, at) => ("found", at.as_ref().map_or(Value::Null, place_json)),
        ValueOrigin::Default(at) => ("default", place_json(at)),
        ValueOrigin::Known => ("application", Value::Null),
        ValueOrigin::Inherited(at) => ("inherited", place_json(at)),
        ValueOrigin::BuiltIn => ("built-in", Value::Null),
        ValueOrigin::Machine => ("machine", Value::Null),
        ValueOrigin::Option(name) => ("option", json!({ "option": name })),
        ValueOrigin::Variable(name) => ("variable", json!({ "variable": name })),
    }
}

pub(super) fn place_json(at: &Location) -> Value {
    let file: &Path = &at.file;
    json!({ "file": file, "line": at.position.map(|(line, _)| line) })
}
