//! `pkgapp system build`: the configuration packages of an environment.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::{FormatName, SystemBuildArgs};
use crate::commands::build::{WrittenPackage, package_formats, write_all};
use crate::commands::open_cache;
use pkgapp_config::{Deploy, SystemApplication, SystemEnvironment};
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_release::package::Package;
use pkgapp_system::{HostConfiguration, folded};

use super::OpenSystem;
use super::software::FoundSoftware;
use super::stage::LockedEnvironment;

/// Builds the packages and prints their paths.
pub(super) fn build(
    system: &OpenSystem<'_>,
    args: &SystemBuildArgs,
    report: &Report,
) -> Result<()> {
    let environment = LockedEnvironment::open(system, &args.environment)?;
    let builder = ConfigurationBuilder {
        environment: &environment,
        formats: &args.format,
        output: args.output.clone(),
        report,
    };
    let mut mistakes = Vec::new();
    for (name, declared) in &environment.applications {
        for configuration in environment.resolved.configurations(name, declared) {
            match builder.write(&configuration) {
                Ok(written) => print(&configuration, &written, &environment, report),
                Err(error) => mistakes.push(error),
            }
        }
    }
    Error::all(mistakes).map_or(Ok(()), Err)
}

fn print(
    configuration: &HostConfiguration,
    written: &WrittenPackage,
    environment: &LockedEnvironment<'_>,
    report: &Report,
) {
    let mut hosts: Vec<&str> = Vec::new();
    for number in &configuration.hosts {
        hosts.push(&environment.resolved.hosts[*number].name);
    }
    let application = &configuration.application;
    for path in written.paths() {
        match report.style() {
            OutputStyle::Text => report.result(&shown(path).to_string()),
            OutputStyle::Json => report.json(&json!({
                "path": path,
                "application": application.as_str(),
                "hosts": hosts,
            })),
        }
    }
    report.step(&format!("{application} on {}", folded(hosts)));
}

/// Builds the configuration packages of an environment.
pub(super) struct ConfigurationBuilder<'a> {
    pub(super) environment: &'a LockedEnvironment<'a>,
    /// The formats; none for all.
    pub(super) formats: &'a [FormatName],
    pub(super) output: Option<PathBuf>,
    pub(super) report: &'a Report,
}

impl ConfigurationBuilder<'_> {
    /// Writes the package for some hosts.
    pub(super) fn write(&self, hosts: &HostConfiguration) -> Result<WrittenPackage> {
        let package = self.package(hosts)?;
        let system = self.environment.system;
        let cache = open_cache(system.global, self.report)?;
        let formats = match self.formats {
            [] => package_formats(&[FormatName::All])?,
            formats => package_formats(formats)?,
        };
        let output = self.output.clone().unwrap_or_else(|| {
            let below = format!("dist/{}", self.environment.environment.name());
            system.model.file.with_file_name(below)
        });
        write_all(package, formats, &output, &cache, self.report)
    }

    /// Makes the package for some hosts.
    pub(super) fn package(&self, hosts: &HostConfiguration) -> Result<Package> {
        let application = self.environment.application(&hosts.application)?;
        let software = self.environment.software(&hosts.application)?;
        let FoundSoftware::Package(package, _) = &*software else {
            let name = &application.name;
            let error = Error::new(format!("the software of `{name}` is not built"));
            let hint = "build it, and name the directory of its package with `package`";
            return Err(error.at(application.from.at.clone()).hint(hint));
        };
        let deployment = deployment(self.environment.environment, application);
        let model = &self.environment.system.model.file;
        package.configuration_for(hosts, &deployment, model)
    }
}

/// Returns the values of an application's settings in an environment.
fn deployment(environment: &SystemEnvironment, application: &SystemApplication) -> Deploy {
    let mut settings = application.settings.clone();
    if let Some(own) = environment.settings.get(&application.name) {
        settings.retain(|setting| own.iter().all(|other| other.name != setting.name));
        settings.extend(own.iter().cloned());
    }
    Deploy {
        settings,
        ..environment.policy.clone()
    }
}
