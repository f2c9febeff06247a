//! The pins of an application, and their wheels.

use std::path::{Path, PathBuf};

use super::AssemblyOptions;
use super::python::{environment_of, runtime};
use super::unmet;
use pkgapp_config::{self as config, Config};
use pkgapp_core::cache::Cache;
use pkgapp_core::commit::Epoch;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::report::Report;
use pkgapp_detect as detect;
use pkgapp_lock::check::{CheckedDistribution, check_consistent, missing};
use pkgapp_lock::{Lock, LockSelection, Pin};
use pkgapp_pypa::{Environment, VersionOrUrl};
use pkgapp_release::runtime;
use pkgapp_wheels::{self as wheels, FetchOptions, LinkageRules, Wheel};

/// The number of parallel downloads.
const DOWNLOADS: usize = 8;

/// Returns the options for fetching an application's wheels.
pub fn fetching<'a>(offline: bool, epoch: Epoch<'a>, rules: &'a LinkageRules) -> FetchOptions<'a> {
    FetchOptions {
        offline,
        jobs: DOWNLOADS,
        epoch,
        rules,
    }
}

/// Returns the rules for building an application's wheels.
pub fn rules(app: &Config) -> LinkageRules {
    let directory = runtime::directory(app.python.version.value);
    let python_libraries = match app.python.interpreter {
        config::InterpreterChoice::System => None,
        config::InterpreterChoice::Bundled(_) => Some(format!("$ORIGIN/../{directory}/lib")),
        config::InterpreterChoice::Shared(_) => {
            Some(format!("{}/{directory}/lib", runtime::SHARED))
        }
    };
    LinkageRules {
        constraints: app
            .build
            .constraints
            .as_ref()
            .map(|file| file.value.clone()),
        debug: app.build.debug,
        libraries: app.build.libraries.clone(),
        record_gaps: app.python.allow_record_gaps.clone(),
        python_libraries,
    }
}

/// Returns the interpreter that ships with the application, as it runs on the build machine; `None`
/// if none ships.
///
/// # Errors
/// The interpreter cannot be shipped.
pub(crate) fn brought(app: &Config, cache: &Cache, report: &Report) -> Result<Option<Interpreter>> {
    Ok(runtime(app, cache, report)?.map(|runtime| runtime.interpreter))
}

/// Refuses a lock with an editable install that would not ship: the application itself is built and
/// installed anyway.
fn check_editable(app: &Config, lock: &Lock) -> Result<()> {
    let is_ours = app
        .source
        .as_ref()
        .is_some_and(|source| source.canonicalize().ok() == app.root.canonicalize().ok());
    match &lock.editable {
        Some(editable) if !is_ours => Err(editable
            .refused()
            .hint("write `source = \".\"` below `[app]` to build and install the project")),
        _ => Ok(()),
    }
}

pub(super) fn read_lock(
    app: &Config,
    environment: &Environment,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<Lock> {
    let files: Vec<PathBuf> = app
        .python
        .requirements
        .iter()
        .map(|file| file.value.clone())
        .collect();
    let lock = Lock::read(
        &files,
        &app.root,
        environment,
        options.offline,
        &selection(app),
    )?;
    lock.warnings
        .iter()
        .for_each(|warning| report.warning(warning));
    check_added(app, &lock)?;
    Ok(lock)
}

/// Refuses additions of the configuration that the locks do not pin.
fn check_added(app: &Config, lock: &Lock) -> Result<()> {
    let wrong = app.python.add.iter().filter_map(|added| {
        let name = &added.value.name;
        let pin = lock.pins.iter().find(|pin| pin.name == *name);
        let way_out = "run `pkgapp lock` to pin it together with the others";
        let error = match (pin, &added.value.version_or_url) {
            (None, _) => Error::new(format!(
                "`add` requires `{}`, which is not pinned",
                added.value
            )),
            (Some(pin), Some(VersionOrUrl::VersionSpecifier(wanted))) => {
                let version = pin
                    .version
                    .as_ref()
                    .filter(|version| !wanted.contains(version))?;
                let error = Error::new(format!(
                    "`add` requires `{}`, but {version} is pinned",
                    added.value
                ));
                error.note(format!("the pin is at {}", pin.at))
            }
            (Some(_), _) => return None,
        };
        Some(error.at(added.at.clone()).hint(way_out))
    });
    Error::all(wrong).map_or(Ok(()), Err)
}

/// Reads the pins of an application, for the build machine's Python of its minor version.
///
/// # Errors
/// As for [`Lock::read`]; or there is no such Python.
pub fn pins(app: &Config, options: &AssemblyOptions<'_>, report: &Report) -> Result<Lock> {
    locked(app, options, report).map(|(lock, _)| lock)
}

/// As [`pins`], with the environment for which the lock was read.
///
/// # Errors
/// As [`pins`].
pub fn locked(
    app: &Config,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<(Lock, Environment)> {
    let environment = environment_of(app, options, report)?;
    let lock = read_lock(app, &environment, options, report)?;
    Ok((lock, environment))
}

/// Returns the parts of the locks that the configuration selects.
pub fn selection(app: &Config) -> LockSelection {
    LockSelection {
        groups: app
            .python
            .groups
            .iter()
            .map(|group| (group.value.clone(), group.at.clone()))
            .collect(),
        extras: app
            .python
            .extras
            .iter()
            .map(|extra| (extra.value.clone(), extra.at.clone()))
            .collect(),
        constraints: app
            .python
            .constraints
            .iter()
            .map(|file| file.value.clone())
            .collect(),
        project: Some(app.source.clone().unwrap_or_else(|| app.root.clone())),
        indexes: app.python.indexes.clone(),
        sources: app.python.sources.clone(),
        wheelhouses: app.python.wheelhouses.clone(),
        require_hashes: app.python.require_hashes.clone(),
    }
}

/// The wheels of a release.
pub(super) struct ReleaseWheels {
    /// The wheels of the lock by name, then the application's own.
    pub(super) all: Vec<Wheel>,
    /// Whether the last wheel is the application's.
    pub(super) has_application: bool,
}

impl ReleaseWheels {
    pub(super) fn application(&self) -> Option<&Wheel> {
        self.all.last().filter(|_| self.has_application)
    }

    /// Adds offered pins that the wheels require, until the set is complete; `fetch` brings the
    /// wheels of a lock. Returns the distributions for the check of consistency.
    fn complete(
        &mut self,
        app: &Config,
        lock: &Lock,
        fetch: impl Fn(&Lock) -> Result<Vec<Wheel>>,
        environment: &Environment,
    ) -> Result<Vec<CheckedDistribution>> {
        let mut lock = lock.clone();
        // Each added wheel may require more.
        loop {
            let subjects = subjects(app, &lock, &self.all);
            let missing = missing(&subjects, environment);
            let (wanted, offered) = lock
                .offered
                .into_iter()
                .partition(|pin| missing.contains(&pin.name));
            lock = Lock {
                pins: wanted,
                offered,
                ..lock
            };
            if lock.pins.is_empty() {
                return Ok(subjects);
            }
            self.all.splice(..0, fetch(&lock)?);
            let pins = self.all.len() - usize::from(self.has_application);
            self.all[..pins].sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        }
    }

    /// Returns the version in the configuration, or else that of the application's wheel.
    pub(super) fn version(&self, app: &Config) -> Result<pkgapp_pypa::Version> {
        match (&app.version, self.application()) {
            (Some(version), _) => Ok(version.value.clone()),
            (None, Some(wheel)) => Ok(wheel.metadata.version.clone()),
            (None, None) => Err(Error::bug(
                "an application without a version and without a project was accepted",
            )),
        }
    }
}

/// Fetches all wheels into the cache, and checks that they are consistent.
pub(super) fn fetch(
    app: &Config,
    lock: &Lock,
    environment: &Environment,
    options: &AssemblyOptions<'_>,
    epoch: Epoch<'_>,
    report: &Report,
) -> Result<ReleaseWheels> {
    check_editable(app, lock)?;
    let rules = rules(app);
    let fetching = fetching(options.offline, epoch, &rules);
    let early =
        |wheels: &[Wheel], waiting: &[&Pin]| unmet::check(app, lock, environment, wheels, waiting);
    let mut wheels = ReleaseWheels {
        all: wheels::fetch(lock, environment, options.cache, &fetching, &early, report)?,
        has_application: app.source.is_some(),
    };
    if let Some(source) = &app.source {
        let _busy = report.busy("building the application");
        let (indexes, cache) = (&lock.indexes, options.cache);
        let wheel = wheels::application(source, indexes, environment, cache, &fetching, report)
            .map_err(|error| without_a_wheel(app, source, error))?;
        check_version(app, &wheel)?;
        // A lock from `pip freeze` in a development environment also names the application.
        wheels
            .all
            .retain(|other| other.metadata.name != wheel.metadata.name);
        wheels.all.push(wheel);
    }

    let subjects = wheels.complete(
        app,
        lock,
        |lock| {
            let nothing = |_: &[Wheel], _: &[&Pin]| Ok(());
            wheels::fetch(
                lock,
                environment,
                options.cache,
                &fetching,
                &nothing,
                report,
            )
        },
        environment,
    )?;
    for warning in check_consistent(&subjects, environment, &app.python.allow_unmet)? {
        report.warning(&warning);
    }
    Ok(wheels)
}

/// Adds a hint how to ship an application without a wheel: not every directory with a
/// pyproject.toml is a project.
fn without_a_wheel(app: &Config, source: &Path, error: Error) -> Error {
    if source != app.root || !error.message().contains("cannot build a wheel") {
        return error;
    }
    let patterns: Vec<String> = detect::plain_files(source)
        .iter()
        .map(|pattern| toml::Value::from(pattern.as_str()).to_string())
        .collect();
    if patterns.is_empty() {
        error
    } else {
        error.hint(format!(
        "if the application is not a package, ship its files unchanged: below `[app]`, write\nsource = \"\"\ninclude = [{}]",
        patterns.join(", ")
    ))
    }
}

/// Returns the wheels as distributions for the check of consistency.
fn subjects(app: &Config, lock: &Lock, all: &[Wheel]) -> Vec<CheckedDistribution> {
    let mut subjects: Vec<CheckedDistribution> = all.iter().map(subject).collect();
    if let Some(application) = subjects.last_mut().filter(|_| app.source.is_some()) {
        application
            .extras
            .extend(app.python.extras.iter().map(|extra| extra.value.clone()));
        application.extras.extend(
            lock.editable
                .iter()
                .flat_map(|editable| editable.extras.iter().cloned()),
        );
    }
    subjects
}

/// Refuses a version in the configuration that differs from the project's, except for a local part
/// (`1.4.2+g1234abc`).
fn check_version(app: &Config, wheel: &Wheel) -> Result<()> {
    let Some(version) = &app.version else {
        return Ok(());
    };
    let built = &wheel.metadata.version;
    if version.value.clone().without_local() == built.clone().without_local() {
        return Ok(());
    }
    Err(Error::new(format!(
        "the version is {}, but the project has {built}",
        version.value
    ))
    .at(version.at.clone())
    .hint("remove `version` from the configuration to use the project's"))
}

pub(super) fn subject(wheel: &Wheel) -> CheckedDistribution {
    CheckedDistribution {
        name: wheel.metadata.name.clone(),
        version: wheel.metadata.version.clone(),
        requires: wheel.metadata.requires.clone(),
        requires_python: wheel.metadata.requires_python.clone(),
        extras: wheel
            .pin
            .as_ref()
            .map(|pin| pin.extras.clone())
            .unwrap_or_default(),
        provides: wheel.metadata.extras.clone(),
        at: wheel.pin.as_ref().map(|pin| pin.at.clone()),
    }
}
