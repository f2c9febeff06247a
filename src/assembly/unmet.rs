//! An early check for requirements that cannot be met: compiling takes minutes, but the metadata of
//! available wheels is read at once.

use std::path::Path;

use toml::{Table, Value};

use super::pins::subject;
use pkgapp_config::Config;
use pkgapp_core::error::Result;
use pkgapp_lock::check::{CheckedDistribution, check_consistent};
use pkgapp_lock::{Lock, Pin};
use pkgapp_pypa::{Environment, PackageName, Version};
use pkgapp_wheels::Wheel;

/// Checks the requirements of `wheels` and of the project's pyproject.toml, before the `waiting`
/// pins are built: their requirements are unknown, and so is their version unless the pin has it.
/// The complete set is checked again later.
///
/// # Errors
/// All requirements that nothing can meet anymore.
pub(super) fn check(
    app: &Config,
    lock: &Lock,
    environment: &Environment,
    wheels: &[Wheel],
    waiting: &[&Pin],
) -> Result<()> {
    let Some((own_name, own)) = own(app) else {
        return Ok(());
    };
    let mut subjects: Vec<CheckedDistribution> = wheels.iter().map(subject).collect();
    subjects.extend(waiting.iter().filter_map(|pin| waiting_subject(pin)));
    // A lock from `pip freeze` in a development environment also names the application.
    subjects.retain(|subject| Some(&subject.name) != own_name.as_ref());
    subjects.extend(own);

    let unknown = waiting
        .iter()
        .filter(|pin| pin.version.is_none())
        .map(|pin| &pin.name);
    let offered = lock.offered.iter().map(|pin| &pin.name);
    let allowed: Vec<PackageName> = app
        .python
        .allow_unmet
        .iter()
        .chain(unknown)
        .chain(offered)
        .chain(own_name.iter())
        .cloned()
        .collect();
    check_consistent(&subjects, environment, &allowed).map(drop)
}

/// Returns a pin as a distribution without requirements; `None` if its version is unknown.
fn waiting_subject(pin: &Pin) -> Option<CheckedDistribution> {
    Some(CheckedDistribution {
        name: pin.name.clone(),
        version: pin.version.clone()?,
        extras: pin.extras.clone(),
        at: Some(pin.at.clone()),
        requires: Vec::new(),
        requires_python: None,
        provides: Vec::new(),
    })
}

/// Returns the name of the application's own distribution, if it has one, and the distribution, if
/// pyproject.toml has its requirements; `None` if only a build would show the name.
fn own(app: &Config) -> Option<(Option<PackageName>, Option<CheckedDistribution>)> {
    let Some(source) = &app.source else {
        return Some((None, None));
    };
    let table = project_table(source)?;
    let poetry = || table.get("tool")?.get("poetry")?.get("name");
    let name = table
        .get("project")
        .and_then(|project| project.get("name"))
        .or_else(poetry)?;
    let name: PackageName = name.as_str()?.parse().ok()?;
    let own = table
        .get("project")
        .and_then(Value::as_table)
        .and_then(|project| own_subject(app, &name, project));
    Some((Some(name), own))
}

fn project_table(source: &Path) -> Option<Table> {
    pkgapp_core::fs::read_to_string(&source.join("pyproject.toml"))
        .ok()?
        .parse()
        .ok()
}

/// Returns the distribution in `[project]`; `None` if the build backend computes its requirements.
fn own_subject(app: &Config, name: &PackageName, project: &Table) -> Option<CheckedDistribution> {
    let is_dynamic = |key: &str| {
        let dynamic = project.get("dynamic").and_then(Value::as_array);
        dynamic.is_some_and(|fields| fields.iter().any(|field| field.as_str() == Some(key)))
    };
    if ["dependencies", "optional-dependencies"]
        .into_iter()
        .any(is_dynamic)
    {
        return None;
    }
    let version = project
        .get("version")
        .and_then(Value::as_str)
        .and_then(|version| version.parse::<Version>().ok())?;
    let texts = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let requires_python = project
        .get("requires-python")
        .and_then(Value::as_str)
        .map(str::to_owned);
    Some(CheckedDistribution {
        name: name.clone(),
        version,
        // The requirements of extras are checked after the build; a lock usually has them.
        requires: texts(project.get("dependencies")),
        requires_python,
        extras: app
            .python
            .extras
            .iter()
            .map(|extra| extra.value.clone())
            .collect(),
        provides: Vec::new(),
        at: None,
    })
}
