//! What commands say about the recipes of a configuration.

use std::path::{Path, PathBuf};

use pkgapp_config::{AppliedRecipe, Config, ConfigValue};
use pkgapp_core::report::Report;
use pkgapp_core::text::counted;
use pkgapp_deploy::artifact::artifact_files;
use pkgapp_format::read::PackageReader;
use pkgapp_release::release::RecordedRecipe;

use super::inspect;

/// Warns of recipes that have changed since the newest package in a directory was built.
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
        let known = before
            .iter()
            .find(|known| plain(&known.name) == plain(&now.name));
        if let Some(known) = known
            && *known != now
        {
            let change = if known.name == now.name {
                format!("recipe `{}` has changed", now.name)
            } else {
                format!(
                    "recipe `{}` has taken the place of `{}`",
                    now.name, known.name
                )
            };
            report.warning(&format!(
                "{change} since `{package}` was built: `pkgapp explain` shows its values"
            ));
        }
    }
}

/// A recipe's name without its version.
fn plain(name: &str) -> &str {
    name.split_once('@').map_or(name, |(plain, _)| plain)
}

/// The newest package of the application in a directory, and the recipes that it records.
fn newest_record(app: &Config, directory: &Path) -> Option<(PathBuf, Vec<RecordedRecipe>)> {
    let mut packages = artifact_files(directory, app.name.as_str()).ok()?;
    packages.sort();
    let (_, path) = packages.pop()?;
    let record = inspect::record(&PackageReader::open(&path).ok()?).ok()??;
    (record.name == app.name.as_str()).then_some((path, record.recipes))
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
            foreign
                .iter()
                .any(|recipe| recipe.file.as_ref() == Some(&value.at.file))
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
