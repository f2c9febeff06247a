//! Recipes from the wheels of distributions that the application's lock pins.

use std::path::PathBuf;

use pkgapp_config::{
    Config, DistributionFile, Located, LockedDistributions, RECIPE_DIRECTORY, nearest_name,
};
use pkgapp_core::commit::Epoch;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::report::Report;
use pkgapp_lock::{Lock, Pin};
use pkgapp_pypa::PackageName;
use pkgapp_wheels::archive::WheelArchive;
use pkgapp_wheels::{self as wheels, Wheel};

use super::open_cache;
use crate::assembly::{self, AssemblyOptions};
use crate::cli::{GlobalOptions, TargetArgs};

/// Bytes of a recipe's file.
const MOST_BYTES: u64 = 1 << 20;

/// The recipes of an application's lock.
pub(super) struct LockedRecipes<'a> {
    pub(super) global: &'a GlobalOptions,
    pub(super) report: &'a Report,
    /// The target of the command line, for which wheels are chosen.
    pub(super) target: TargetArgs,
    /// Directories of files that go before all indexes.
    pub(super) wheelhouses: Vec<PathBuf>,
    /// The locks to read instead of those of the configuration.
    pub(super) locks: Option<Vec<Located<PathBuf>>>,
    pub(super) on_failure: RecipeFailure,
}

/// What becomes of a recipe that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecipeFailure {
    /// That is an error.
    Refuse,
    /// It is left out, with a warning: its distribution is being locked.
    LeaveOut,
}

impl<'a> LockedRecipes<'a> {
    /// The recipes of the lock for a target.
    pub(super) fn new(target: &TargetArgs, global: &'a GlobalOptions, report: &'a Report) -> Self {
        Self {
            global,
            report,
            target: target.clone(),
            wheelhouses: Vec::new(),
            locks: None,
            on_failure: RecipeFailure::Refuse,
        }
    }
}

impl LockedDistributions for LockedRecipes<'_> {
    fn read(
        &self,
        app: &Config,
        distribution: &PackageName,
        file: &str,
    ) -> Result<Option<DistributionFile>> {
        match self.read_file(app, distribution, file) {
            Err(error) if self.on_failure == RecipeFailure::LeaveOut => {
                let why = error.message();
                let warning = format!("recipes of `{distribution}` are left out: {why}");
                self.report.warning(&warning);
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

impl LockedRecipes<'_> {
    fn read_file(
        &self,
        app: &Config,
        distribution: &PackageName,
        file: &str,
    ) -> Result<DistributionFile> {
        let wheel = self.wheel(app, distribution)?;
        let mut archive = WheelArchive::open(&wheel.path, &wheel.filename)?;
        let content = archive.read_file(file, MOST_BYTES)?;
        Ok(DistributionFile {
            version: wheel.metadata.version.clone(),
            content: content.ok_or_else(|| no_such_recipe(&wheel, &archive, file))?,
        })
    }

    /// Provides the wheel of a distribution from the cache or an index. Nothing is built.
    fn wheel(&self, app: &Config, distribution: &PackageName) -> Result<Wheel> {
        let target = &self.target;
        let mut app = app
            .clone()
            .aimed(&target.target, target.arch, target.python)?;
        app.python.wheelhouses.clone_from(&self.wheelhouses);
        if let Some(locks) = &self.locks {
            app.python.requirements.clone_from(locks);
        }

        // The build reads the lock again, and tells of it then.
        let quiet = Report::silent();
        let cache = open_cache(self.global, &quiet)?;
        let options = AssemblyOptions {
            cache: &cache,
            offline: self.global.offline,
            rerun: false,
        };
        let (lock, environment) = assembly::locked(&app, &options, &quiet)?;
        let Some(pin) = lock.pins.iter().find(|pin| pin.name == *distribution) else {
            return Err(not_locked(distribution, &lock));
        };

        let pin = pin.clone();
        let only = Lock {
            pins: vec![pin.clone()],
            offered: Vec::new(),
            ..lock
        };
        let rules = assembly::rules(&app);
        let fetching = assembly::fetching(options.offline, Epoch::Known(0), &rules);
        wheels::fetch_published(&only, &environment, &cache, &fetching, &quiet)?
            .ok_or_else(|| no_wheel(&pin))
    }
}

fn not_locked(distribution: &PackageName, lock: &Lock) -> Error {
    let error = Error::new(format!("the lock does not pin `{distribution}`"));
    let names = lock.pins.iter().map(|pin| pin.name.as_ref());
    match nearest_name(distribution.as_ref(), names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!(
            "add `{distribution}` to the requirements, and run `pkgapp lock`"
        )),
    }
}

fn no_wheel(pin: &Pin) -> Error {
    let name = &pin.name;
    Error::new(format!(
        "`{name}` is pinned to a source, and recipes are read from wheels only"
    ))
    .note(format!("the pin is at {}", pin.at))
    .hint(format!(
        "release `{name}` as a wheel: `python -m build --wheel` or `uv build --wheel` makes one"
    ))
}

fn no_such_recipe(wheel: &Wheel, archive: &WheelArchive, file: &str) -> Error {
    let (name, version) = (&wheel.metadata.name, &wheel.metadata.version);
    let error = Error::new(format!("`{name} {version}` has no file `{file}`"));
    let mut recipes: Vec<&str> = archive
        .members()
        .iter()
        .filter_map(|member| recipe_name(member.path.as_str()))
        .collect();
    recipes.sort_unstable();
    let wanted = recipe_name(file).unwrap_or(file);
    match nearest_name(wanted, recipes.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{name}:{near}`?")),
        None if recipes.is_empty() => error.hint(format!(
            "recipes are files such as `{RECIPE_DIRECTORY}/web.toml` in the wheel, and it has none"
        )),
        None => error.hint(format!("its recipes are `{}`", recipes.join("`, `"))),
    }
}

/// The name of a recipe whose file this is.
fn recipe_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(RECIPE_DIRECTORY)?.strip_prefix('/')?;
    name.strip_suffix(".toml")
        .filter(|name| !name.contains('/'))
}
