//! `pkgapp system build`: the configuration packages of an environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::{FormatName, SystemBuildArgs};
use crate::commands::build::{WrittenPackage, package_formats, write_all};
use crate::commands::open_cache;
use pkgapp_config::{Deploy, SystemApplication, SystemEnvironment};
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::name::AppName;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_release::package::Package;
use pkgapp_system::{DeclaredApplication, HostConfiguration, ResolvedSystem, folded};

use super::OpenSystem;
use super::software::FoundSoftware;

/// A configuration package, and its hosts.
pub(super) struct BuiltConfiguration {
    pub(super) hosts: HostConfiguration,
    pub(super) written: WrittenPackage,
}

/// Builds the packages and prints their paths.
pub(super) fn build(
    system: &OpenSystem<'_>,
    args: &SystemBuildArgs,
    report: &Report,
) -> Result<()> {
    let environment = system.model.environment(&args.environment)?;
    let applications = system.software.of(&system.model, environment)?;
    let resolved = system.resolve_locked(environment, &applications)?;
    let builder = ConfigurationBuilder {
        system,
        environment,
        resolved: &resolved,
        formats: &args.format,
        output: args.output.clone(),
        report,
    };
    for built in builder.build(&applications)? {
        print(&built, &resolved, report);
    }
    Ok(())
}

fn print(built: &BuiltConfiguration, resolved: &ResolvedSystem, report: &Report) {
    let hosts = built.hosts.hosts.iter();
    let hosts: Vec<&str> = hosts
        .map(|host| resolved.hosts[*host].name.as_str())
        .collect();
    let application = &built.hosts.application;
    for path in built.written.paths() {
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
    pub(super) system: &'a OpenSystem<'a>,
    pub(super) environment: &'a SystemEnvironment,
    pub(super) resolved: &'a ResolvedSystem,
    /// The formats; none for all.
    pub(super) formats: &'a [FormatName],
    pub(super) output: Option<PathBuf>,
    pub(super) report: &'a Report,
}

impl ConfigurationBuilder<'_> {
    /// Builds the packages of all applications; reports the mistakes of all.
    pub(super) fn build(
        &self,
        applications: &BTreeMap<AppName, DeclaredApplication>,
    ) -> Result<Vec<BuiltConfiguration>> {
        let (mut built, mut mistakes) = (Vec::new(), Vec::new());
        for application in &self.system.model.applications {
            let Some(declared) = applications.get(&application.name) else {
                continue;
            };
            let configurations = self.resolved.configurations(&application.name, declared);
            for hosts in configurations {
                match self.write(application, &hosts) {
                    Ok(written) => built.push(BuiltConfiguration { hosts, written }),
                    Err(error) => mistakes.push(error),
                }
            }
        }
        Error::all(mistakes).map_or(Ok(built), Err)
    }

    fn write(
        &self,
        application: &SystemApplication,
        hosts: &HostConfiguration,
    ) -> Result<WrittenPackage> {
        let package = self.package(application, hosts)?;
        let cache = open_cache(self.system.global, self.report)?;
        let formats = match self.formats {
            [] => package_formats(&[FormatName::All])?,
            formats => package_formats(formats)?,
        };
        let output = self.output.clone().unwrap_or_else(|| {
            let below = format!("dist/{}", self.environment.name());
            self.system.model.file.with_file_name(below)
        });
        write_all(package, formats, &output, &cache, self.report)
    }

    fn package(
        &self,
        application: &SystemApplication,
        hosts: &HostConfiguration,
    ) -> Result<Package> {
        let shelf = &self.system.software;
        let software = shelf.software(application, self.environment)?;
        let FoundSoftware::Package(package, _) = &*software else {
            let name = &application.name;
            let error = Error::new(format!("the software of `{name}` is not built"));
            let hint = "build it, and name the directory of its package with `package`";
            return Err(error.at(application.from.at.clone()).hint(hint));
        };
        let deployment = deployment(self.environment, application);
        package.configuration_for(hosts, &deployment, &self.system.model.file)
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
