//! `system.toml`: the model of a system. Applications and backing services are placed on the hosts
//! of environments by role, and bound to each other by the services that they require and provide.
//!
//! Reading it runs nothing, looks at no package, and asks no host: crate `pkgapp-system` decides
//! what the model means for each host.

mod application;
mod backing;
mod environment;
mod placement;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::name::AppName;

use super::document::{Document, SourceDocument};
use super::reader::{DocumentReader, TableReader, listed, nearest};
use super::service::PartName;

pub use application::{SoftwareSource, SystemApplication};
pub use backing::{BackingService, ExternalService, ServiceKind, ServiceOverride, ServiceRuns};
pub use environment::{EnvironmentDomains, SystemEnvironment, SystemHostGroup};
pub use placement::{PartPlacement, PlacementOverride, RolePlacement};

/// The name of the file.
pub const SYSTEM_FILE: &str = "system.toml";

/// The ports that services get unless the model says otherwise: below 32768, where the kernel takes
/// ports for outgoing connections.
const PORTS: RangeInclusive<u16> = 20000..=29999;

/// The lowest port of the pool: others are for root.
const LOWEST_PORT: u16 = 1024;

/// A `system.toml`.
#[derive(Debug, Clone)]
pub struct SystemModel {
    /// The file, absolute.
    pub file: PathBuf,
    /// `[system] name`.
    pub name: PartName,
    /// `[system] ports`: the pool of ports that services get; by default 20000–29999.
    pub ports: RangeInclusive<u16>,
    /// `[application.NAME]`, in the order of the file.
    pub applications: Vec<SystemApplication>,
    /// `[service.NAME]`, in the order of the file.
    pub services: Vec<BackingService>,
    /// `[environment.NAME]`, in the order of the file.
    pub environments: Vec<SystemEnvironment>,
}

impl SystemModel {
    /// Reads the model: the file `file`, else `system.toml` in `start`.
    ///
    /// # Errors
    /// The file is missing or not TOML; else all of its mistakes.
    pub fn load(file: Option<&Path>, start: &Path) -> Result<Self> {
        let file = match file {
            Some(file) => start.join(file),
            None => start.join(SYSTEM_FILE),
        };
        if !file.is_file() {
            let error = Error::new(format!("there is no `{}`", shown(&file)));
            return Err(error.hint("write one, or name it with `--system FILE`"));
        }
        Self::read(SourceDocument::read(&file)?)
    }

    fn read(document: SourceDocument) -> Result<Self> {
        let file = document.file.clone();
        let document = Document::parse(document)?;
        let source = DocumentReader::new(&document.sources);
        let model = Self::of(&file, TableReader::root(&source, &document.table));
        match (model, Error::all(source.mistakes())) {
            (_, Some(error)) => Err(error),
            (Some(model), None) => Ok(model),
            (None, None) => Err(Error::bug("a mistake in the model got lost")),
        }
    }

    pub(super) fn of(file: &Path, root: TableReader<'_>) -> Option<Self> {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let system = root.table("system");
        let name = system
            .require("name", "name = \"shop\"")
            .and_then(|value| value.parsed(PartName::parse));
        let ports = system
            .get("ports")
            .map_or(Some(PORTS), |value| value.parsed(port_range));
        system.finish();

        let applications = SystemApplication::read_all(&root, directory);
        let services = BackingService::read_all(&root);
        let known = KnownNames {
            applications: &applications,
            services: &services,
        };
        let environments = SystemEnvironment::read_all(&root, known);
        root.finish();
        Some(Self {
            file: file.to_owned(),
            name: name?,
            ports: ports?,
            applications,
            services,
            environments,
        })
    }

    /// Returns an application.
    pub fn application(&self, name: &AppName) -> Option<&SystemApplication> {
        let mut applications = self.applications.iter();
        applications.find(|application| application.name == *name)
    }

    /// Returns an environment.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn environment(&self, name: &str) -> Result<&SystemEnvironment> {
        let all = self.environments.iter();
        let mut found = all.filter(|environment| environment.name().as_str() == name);
        found.next().ok_or_else(|| {
            let names = self.environments.iter().map(|each| each.name().as_str());
            let error = Error::new(format!(
                "`{}` has no environment `{}`",
                shown(&self.file),
                name.escape_debug()
            ));
            error.hint(suggested(name, names))
        })
    }
}

/// The names that the tables of environments refer to.
#[derive(Debug, Clone, Copy)]
struct KnownNames<'m> {
    applications: &'m [SystemApplication],
    services: &'m [BackingService],
}

impl<'m> KnownNames<'m> {
    fn application(self, name: &str) -> Result<&'m SystemApplication> {
        let mut all = self.applications.iter();
        all.find(|known| known.name.as_str() == name)
            .ok_or_else(|| {
                let names = self.applications.iter().map(|each| each.name.as_str());
                missing("application", name, names)
            })
    }

    fn service(self, name: &str) -> Result<&'m BackingService> {
        let mut all = self.services.iter();
        all.find(|known| known.name.as_str() == name)
            .ok_or_else(|| {
                let names = self.services.iter().map(|each| each.name.as_str());
                missing("service", name, names)
            })
    }
}

fn missing<'n>(kind: &str, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> Error {
    let name_shown = name.escape_debug();
    let error = Error::new(format!("the system has no {kind} `{name_shown}`"));
    error.hint(suggested(name, known))
}

/// Returns a hint about a name that is not there.
pub fn suggested<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.clone().next().is_none() => "there are none".to_owned(),
        None => format!("the known ones are {}", listed(known)),
    }
}

/// Reads `"20000-29999"`.
fn port_range(text: &str) -> Result<RangeInclusive<u16>> {
    let ends = text
        .split_once('-')
        .and_then(|(from, to)| from.trim().parse().ok().zip(to.trim().parse().ok()));
    match ends {
        Some((from, to)) if from >= LOWEST_PORT && from <= to => Ok(from..=to),
        _ => {
            let error = Error::new(format!("`{}` is not a range of ports", text.escape_debug()));
            Err(error.hint(format!(
                "write the first and the last port, {LOWEST_PORT} or higher, such as `20000-29999`"
            )))
        }
    }
}
