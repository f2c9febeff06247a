//! The values that a command asks for.

use pkgapp_config::{
    Config, ConfigValue, ValueOrigin, key_description, nearest_name, with_defaults,
};
use pkgapp_core::error::{Error, Location, Result};

use super::host_file::{HostFile, host_files};
use crate::cli::{ExplainArgs, GlobalOptions, TargetArgs};

/// An option of the command line that stands for a key.
struct KeyOption {
    key: &'static str,
    /// As TOML writes it; `None` if the option is not given.
    value: Option<String>,
    option: &'static str,
    variable: &'static str,
}

/// Returns the values that a key, or a file on hosts, stands for. Defaults are left out, unless
/// they are asked for or nothing else is there.
pub(super) fn selected(
    app: &Config,
    args: &ExplainArgs,
    global: &GlobalOptions,
) -> Result<Vec<ConfigValue>> {
    let mut values = app.recipes.values.clone();
    for option in key_options(&args.target) {
        override_value(&mut values, option, global);
    }
    let Some(key) = args.key.as_deref() else {
        if args.all {
            return Ok(with_defaults(app, values));
        }
        values.retain(ConfigValue::is_chosen);
        return Ok(values);
    };

    let mut all = with_defaults(app, values);
    if key.starts_with('/') {
        return values_of_file(app, key, all);
    }
    if !all.iter().any(|value| value.is_below(key)) {
        return Err(no_such_key(app, key, &all));
    }
    all.retain(|value| value.is_below(key));
    if args.all {
        return Ok(all);
    }
    let is_shown = |value: &ConfigValue| {
        let is_asked_for = value.key == key;
        is_asked_for || value.is_chosen()
    };
    if all.iter().any(is_shown) {
        all.retain(is_shown);
    }
    Ok(all)
}

fn key_options(target: &TargetArgs) -> [KeyOption; 3] {
    let targets = target.target.iter();
    let targets: Vec<String> = targets.map(|target| quoted(target.name)).collect();
    let targets = targets.join(", ");
    [
        KeyOption {
            key: "package.targets",
            value: (!targets.is_empty()).then(|| format!("[{targets}]")),
            option: "--target",
            variable: "PKGAPP_TARGET",
        },
        KeyOption {
            key: "package.arch",
            value: target.arch.map(|arch| quoted(arch.as_str())),
            option: "--arch",
            variable: "PKGAPP_ARCH",
        },
        KeyOption {
            key: "python.version",
            value: target.python.map(|python| quoted(&python.to_string())),
            option: "--python",
            variable: "PKGAPP_PYTHON",
        },
    ]
}

/// The names of targets and the like as TOML writes them.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Puts an option or a variable in the place of the value that it replaces.
fn override_value(values: &mut Vec<ConfigValue>, option: KeyOption, global: &GlobalOptions) {
    let Some(value) = option.value else {
        return;
    };
    let variable = option.variable;
    let origin = if global.variables.iter().any(|name| name == variable) {
        ValueOrigin::Variable(variable)
    } else {
        ValueOrigin::Option(option.option)
    };
    let mut stronger = ConfigValue::new(option.key.to_owned(), value, origin);
    let known = values.iter_mut().find(|value| value.key == option.key);
    let Some(weaker) = known else {
        values.push(stronger);
        return;
    };
    if let Some(at) = weaker.place() {
        let replaced = (weaker.value.clone(), at.clone());
        stronger.replaced.push(replaced);
    }
    stronger.replaced.append(&mut weaker.replaced);
    *weaker = stronger;
}

/// Returns the values that a file on hosts is generated from, defaults included.
fn values_of_file(app: &Config, path: &str, mut all: Vec<ConfigValue>) -> Result<Vec<ConfigValue>> {
    let files = host_files(app);
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return Err(no_such_file(path, &files));
    };
    all.retain(|value| file.shows(&value.key));
    Ok(all)
}

fn no_such_file(path: &str, files: &[HostFile]) -> Error {
    let error = Error::new(format!(
        "`{}` is not a file that the configuration describes",
        path.escape_debug()
    ));
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    match nearest_name(path, paths.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("the files are {}", paths.join(", "))),
    }
}

/// The error for a key without a value: the application does without it, or there is no such key.
fn no_such_key(app: &Config, key: &str, all: &[ConfigValue]) -> Error {
    let at = Location::file(&app.file);
    if let Some(description) = key_description(app, key) {
        let error = Error::new(format!("`{key}` has no value and no default"));
        return error.at(at).note(format!("the key is for: {description}"));
    }
    let shown = key.escape_debug();
    let error = Error::new(format!("the configuration has no `{shown}`")).at(at);
    let depth = |key: &str| key.split('.').count();
    let wanted = depth(key);
    let known = all.iter().flat_map(keys_and_tables);
    let known = known.filter(|known| depth(known) == wanted);
    match nearest_name(key, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`pkgapp explain --all` lists all keys that have a value"),
    }
}

/// A key and the tables above it.
fn keys_and_tables(value: &ConfigValue) -> impl Iterator<Item = &str> {
    let key = value.key.as_str();
    let tables = key.match_indices('.');
    let tables = tables.map(|(end, _)| &key[..end]);
    tables.chain([key])
}
