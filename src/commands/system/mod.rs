//! `pkgapp system`: the model of systems that span hosts.

mod apply;
mod build;
mod check;
mod draw;
mod leaving;
mod lock;
mod revision;
mod software;
mod stage;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::cli::{GlobalOptions, SystemArgs, SystemCommand};
use pkgapp_config::{PartName, SystemEnvironment, SystemModel};
use pkgapp_core::commit;
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::report::Report;
use pkgapp_core::text::backticked;
use pkgapp_system::{DeclaredApplication, ResolutionInput, ResolvedSystem, SystemLock, resolve};

use self::software::SoftwareShelf;

/// Runs a command below `pkgapp system`.
pub(super) fn system(args: &SystemArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let system = OpenSystem::open(args, global, report)?;
    match &args.command {
        SystemCommand::Check(args) => check::check(&system, args, report),
        SystemCommand::Lock(args) => lock::lock(system, args, report),
        SystemCommand::Build(args) => build::build(&system, args, report),
        SystemCommand::Plan(args) => {
            apply::plan(&system, &args.deploy, args.output.as_deref(), report)
        }
        SystemCommand::Apply(args) => {
            apply::apply(&system, &args.deploy, args.plan.as_deref(), report)
        }
        SystemCommand::Rollback(args) => apply::rollback(&system, args, report),
        SystemCommand::Status(args) => status::status(&system, args, report),
        SystemCommand::Graph(args) => draw::graph(&system, args, report),
        SystemCommand::Export(args) => draw::export(&system, args, report),
    }
}

/// A model with its lock, and the software of its applications.
struct OpenSystem<'a> {
    model: SystemModel,
    lock_file: PathBuf,
    lock: SystemLock,
    software: SoftwareShelf<'a>,
    today: Date,
    global: &'a GlobalOptions,
}

impl<'a> OpenSystem<'a> {
    fn open(args: &SystemArgs, global: &'a GlobalOptions, report: &'a Report) -> Result<Self> {
        let model = SystemModel::load(args.system.as_deref(), &super::working_directory()?)?;
        let lock_file = SystemLock::path(&model.file);
        Ok(Self {
            lock: SystemLock::read(&lock_file)?,
            lock_file,
            model,
            software: SoftwareShelf::new(global, report),
            today: today()?,
            global,
        })
    }

    /// Resolves an environment.
    fn resolve(&self, environment: &SystemEnvironment) -> Result<ResolvedSystem> {
        let applications = self.software.of(&self.model, environment)?;
        self.resolve_declared(environment, &applications)
    }

    /// Resolves an environment of these applications.
    fn resolve_declared(
        &self,
        environment: &SystemEnvironment,
        applications: &BTreeMap<AppName, DeclaredApplication>,
    ) -> Result<ResolvedSystem> {
        resolve(&ResolutionInput {
            model: &self.model,
            environment,
            applications,
            lock: &self.lock.environment(environment.name().as_str()),
            today: self.today,
        })
    }

    /// Resolves an environment whose lock is up to date.
    fn resolve_locked(
        &self,
        environment: &SystemEnvironment,
        applications: &BTreeMap<AppName, DeclaredApplication>,
    ) -> Result<ResolvedSystem> {
        let resolved = self.resolve_declared(environment, applications)?;
        let locked = self.lock.environment(environment.name().as_str());
        if locked == resolved.lock {
            Ok(resolved)
        } else {
            Err(self.stale_lock(&[environment.name()]))
        }
    }

    /// Returns the error about a lock that does not fit environments.
    fn stale_lock(&self, environments: &[&PartName]) -> Error {
        let names = backticked(environments);
        let error = Error::new(format!("the lock of {names} is out of date"));
        let error = error.at(Location::file(&self.lock_file));
        error.hint("run `pkgapp system lock`, and commit the file")
    }

    /// Resolves several environments, and reports the mistakes of all.
    fn resolve_all<'e>(
        &self,
        environments: impl IntoIterator<Item = &'e SystemEnvironment>,
    ) -> Result<Vec<ResolvedSystem>> {
        let (mut resolved, mut mistakes) = (Vec::new(), Vec::new());
        for environment in environments {
            match self.resolve(environment) {
                Ok(one) => resolved.push(one),
                Err(error) => mistakes.push(error),
            }
        }
        Error::all(mistakes).map_or(Ok(resolved), Err)
    }
}

/// Returns the date, or that of `SOURCE_DATE_EPOCH`.
fn today() -> Result<Date> {
    let now = if commit::is_dated() {
        crate::assembly::moment(commit::date(None)?)?
    } else {
        Timestamp::now()
    };
    Ok(now.to_zoned(TimeZone::UTC).date())
}
