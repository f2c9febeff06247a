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
use super::stage::{LockedEnvironment, StageContent};

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
    for service in environment.resolved.service_configurations() {
        let content = StageContent::Service(service);
        match builder.write(&content) {
            Ok(written) => print(&content, &written, &environment, report),
            Err(error) => mistakes.push(error),
        }
    }
    for (name, declared) in &environment.applications {
        for configuration in environment.resolved.configurations(name, declared) {
            let content = StageContent::Application(configuration);
            match builder.write(&content) {
                Ok(written) => print(&content, &written, &environment, report),
                Err(error) => mistakes.push(error),
            }
        }
    }
    Error::all(mistakes).map_or(Ok(()), Err)
}

fn print(
    content: &StageContent,
    written: &WrittenPackage,
    environment: &LockedEnvironment<'_>,
    report: &Report,
) {
    let (key, name, numbers) = match content {
        StageContent::Application(configuration) => {
            let name = configuration.application.as_str();
            ("application", name, &configuration.hosts)
        }
        StageContent::Service(service) => ("service", service.name.as_str(), &service.hosts),
    };
    let mut hosts: Vec<&str> = Vec::new();
    for number in numbers {
        hosts.push(&environment.resolved.hosts[*number].name);
    }
    for path in written.paths() {
        match report.style() {
            OutputStyle::Text => report.result(&shown(path).to_string()),
            OutputStyle::Json => report.json(&json!({
                "path": path,
                key: name,
                "hosts": hosts,
            })),
        }
    }
    report.step(&format!("{name} on {}", folded(hosts)));
}

/// Builds the packages of an environment.
pub(super) struct ConfigurationBuilder<'a> {
    pub(super) environment: &'a LockedEnvironment<'a>,
    /// The formats; none for all.
    pub(super) formats: &'a [FormatName],
    pub(super) output: Option<PathBuf>,
    pub(super) report: &'a Report,
}

impl ConfigurationBuilder<'_> {
    /// Writes the package of a stage. Those of backing services are for Debian and its relatives.
    pub(super) fn write(&self, content: &StageContent) -> Result<WrittenPackage> {
        let package = self.package(content)?;
        let system = self.environment.system;
        let cache = open_cache(system.global, self.report)?;
        let formats = match (content, self.formats) {
            (StageContent::Service(_), _) => package_formats(&[FormatName::Deb])?,
            (StageContent::Application(_), []) => package_formats(&[FormatName::All])?,
            (StageContent::Application(_), formats) => package_formats(formats)?,
        };
        let output = self.output.clone().unwrap_or_else(|| {
            let below = format!("dist/{}", self.environment.environment.name());
            system.model.file.with_file_name(below)
        });
        write_all(package, formats, &output, &cache, self.report)
    }

    /// Makes the package of a stage.
    pub(super) fn package(&self, content: &StageContent) -> Result<Package> {
        match content {
            StageContent::Application(hosts) => self.configuration(hosts),
            StageContent::Service(service) => self.environment.backing(service).package(),
        }
    }

    fn configuration(&self, hosts: &HostConfiguration) -> Result<Package> {
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
