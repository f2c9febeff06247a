//! `pkgapp system status`: the packages and units of an environment, beside those that the model
//! asks for.

use crate::cli::SystemStatusArgs;
use crate::commands::status::{StatusQuery, WantedPackages};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::Report;
use pkgapp_core::text::backticked;
use pkgapp_deploy::backend;
use pkgapp_deploy::fleet::looked;
use pkgapp_format::version::PackageVersion;

use super::OpenSystem;
use super::build::ConfigurationBuilder;
use super::stage::{LockedEnvironment, Stage, StageContent, StageSelection};

/// Prints the state of all hosts.
pub(super) fn status(
    system: &OpenSystem<'_>,
    args: &SystemStatusArgs,
    report: &Report,
) -> Result<()> {
    let environment = LockedEnvironment::open(system, &args.environment)?;
    let selection = StageSelection {
        applications: &args.application,
        hosts: &args.hosts,
    };
    let (mut errors, mut unsettled) = (Vec::new(), Vec::new());
    for stage in environment.stages(&selection)? {
        report.step(&stage.title);
        match look(&environment, &stage, args, report) {
            Ok(hosts) if hosts.is_empty() => {}
            Ok(hosts) => unsettled.push(format!("{} on {hosts}", stage.app.name)),
            Err(error) => errors.push(error),
        }
    }
    looked(errors)?;
    if unsettled.is_empty() {
        return Ok(());
    }
    let what = format!(
        "not healthy, or not as the model has it: {}",
        backticked(unsettled)
    );
    Err(Error::new(what).kind(ErrorKind::Found))
}

/// Prints the state of the hosts of a stage; returns the names of those that are not as they should
/// be.
fn look(
    environment: &LockedEnvironment<'_>,
    stage: &Stage,
    args: &SystemStatusArgs,
    report: &Report,
) -> Result<String> {
    let app = &stage.app;
    let fleet = environment.fleet(&stage.deploy, &args.hosts, "status", report)?;
    let builder = ConfigurationBuilder {
        environment,
        formats: &[],
        output: None,
        report,
    };
    let package = builder.package(&stage.content)?;
    let version = PackageVersion::of(&package.meta)?.full();
    let wanted = match &stage.content {
        StageContent::Application(configuration) => {
            let software = environment.software(&configuration.application)?;
            WantedPackages {
                software: software.services().version().to_owned(),
                configuration: Some(version),
            }
        }
        StageContent::Service(_) => WantedPackages {
            software: version,
            configuration: None,
        },
    };
    let query = StatusQuery {
        backend: backend::choose(&app.name, Some(&stage.deploy), None, args.sudo)?,
        app,
        wanted: Some(wanted),
    };
    query.run(&fleet, report)
}
