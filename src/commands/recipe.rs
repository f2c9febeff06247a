//! What commands say about the recipes of a configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pkgapp_config::{AppliedRecipe, Config, ConfigValue};
use pkgapp_core::report::{Report, visible_line};
use pkgapp_core::text::counted;
use pkgapp_deploy::artifact::artifact_files;
use pkgapp_format::read::PackageReader;
use pkgapp_release::release::{RecordedRecipe, ReleaseRecord};

use super::{explain, inspect};

/// Characters of a fact's value in a warning.
const LONGEST_VALUE: usize = 120;

/// Warns of recipes and facts that have changed since the newest package in a directory was built.
pub(super) fn warn_of_changes(app: &Config, directory: &Path, report: &Report) {
    if app.recipes.recipes.is_empty() {
        return;
    }
    let Some((path, before)) = newest_record(app, directory) else {
        return;
    };
    let package = path.file_name().unwrap_or_default().to_string_lossy();
    for recipe in &app.recipes.recipes {
        let now = RecordedRecipe::of(recipe);
        if let Some(change) = change_of_recipe(&now, &before.recipes) {
            report.warning(&format!(
                "{change} since `{package}` was built: `pkgapp explain` shows its values"
            ));
        }
    }
    for change in before
        .facts
        .iter()
        .flat_map(|facts| changes_of_facts(app, facts))
    {
        report.warning(&format!("{change}, since `{package}` was built"));
    }
}

/// Says how a recipe differs from the one that a package was built with.
fn change_of_recipe(now: &RecordedRecipe, before: &[RecordedRecipe]) -> Option<String> {
    let known = before
        .iter()
        .find(|known| plain(&known.name) == plain(&now.name))?;
    let (name, old_name) = (&now.name, &known.name);
    if name != old_name {
        return Some(format!(
            "recipe `{name}` has taken the place of `{old_name}`"
        ));
    }
    let is_same = known.sha256 == now.sha256;
    (!is_same).then(|| format!("recipe `{name}` has changed"))
}

/// Says which facts differ from those that a package was built with.
fn changes_of_facts(app: &Config, before: &BTreeMap<String, String>) -> Vec<String> {
    let mut changes = Vec::new();
    for fact in &app.recipes.facts {
        let old = before.get(fact.name);
        if old == Some(&fact.value) {
            continue;
        }
        let place = match &fact.at {
            Some(at) => format!(" ({})", explain::place(at)),
            None => String::new(),
        };
        let name = fact.name;
        let now = shortened(&fact.value);
        let change = match old {
            Some(old) => {
                let old = shortened(old);
                format!("has changed from {old} to {now}")
            }
            None => format!("is used now: {now}"),
        };
        changes.push(format!("the fact `{name}` {change}{place}"));
    }
    for (name, old) in before {
        if !app.recipes.facts.iter().any(|fact| fact.name == name) {
            let old = shortened(old);
            let name = visible_line(name);
            changes.push(format!("the fact `{name}` is no longer used: it was {old}"));
        }
    }
    changes
}

/// The beginning of a value: a list of files may be long, and a package may come from others.
fn shortened(value: &str) -> String {
    let value = visible_line(value);
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.into_owned(),
    }
}

/// A recipe's name without its version.
fn plain(name: &str) -> &str {
    name.split_once('@').map_or(name, |(plain, _)| plain)
}

/// The newest package of the application in a directory, and its record.
fn newest_record(app: &Config, directory: &Path) -> Option<(PathBuf, ReleaseRecord)> {
    let mut packages = artifact_files(directory, app.name.as_str()).ok()?;
    packages.sort();
    let (_, path) = packages.pop()?;
    let record = inspect::record(&PackageReader::open(&path).ok()?).ok()??;
    (record.name == app.name.as_str()).then_some((path, record))
}

/// Describes the commands that recipes of other people make run, as whom, and where; `None` if all
/// recipes are built in.
pub(super) fn effects(app: &Config) -> Option<String> {
    let foreign: Vec<&AppliedRecipe> = app
        .recipes
        .recipes
        .iter()
        .filter(|recipe| !recipe.is_built_in)
        .collect();
    if foreign.is_empty() {
        return None;
    }
    let names: Vec<&str> = foreign.iter().map(|recipe| recipe.name.as_str()).collect();
    let values = app.recipes.values.iter();
    let effects: Vec<String> = values
        .filter(|value| {
            foreign.iter().any(|recipe| {
                recipe.file.is_some() && recipe.file.as_ref() == value.place().map(|at| &at.file)
            })
        })
        .filter_map(|value| effect(app, value))
        .collect();
    let count = counted(effects.len(), "command");
    let list: String = effects
        .iter()
        .map(|effect| format!("\n    {effect}"))
        .collect();
    Some(format!("{} sets {count}{list}", names.join(", ")))
}

/// Describes a command: where it runs, and as whom.
fn effect(app: &Config, value: &ConfigValue) -> Option<String> {
    let (table, key) = value.key.rsplit_once('.')?;
    let name = app.name.as_str();
    let group = table.split('.').next()?;
    let runs = match (group, key) {
        ("build", "run") => "on the build machine, as you".to_owned(),
        ("migrate", "exec") => format!("on a host at each push, as `{name}`"),
        ("service" | "timer" | "cron", "exec" | "on-failure" | "reload") => {
            format!("on hosts, as `{name}`")
        }
        _ => return None,
    };
    Some(format!("{} = {} ({runs})", value.key, value.value))
}
