//! The declarations of applications, as their software packages carry them.

use pkgapp_config::{Config, PartName};
use pkgapp_core::error::Result;
use pkgapp_core::name::AppName;

use crate::resolved::PartKind;

/// The software of an application in a system.
#[derive(Debug, Clone)]
pub struct DeclaredApplication {
    /// The name of the software package.
    pub software: AppName,
    /// The version of the software package, as package managers print it.
    pub version: String,
    /// The declaration of its services, with the site that it has for the domains of the
    /// environment.
    pub config: Config,
}

/// A part of an application, as its software declares it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeclaredPart {
    pub(crate) name: PartName,
    pub(crate) kind: PartKind,
    /// How many run on one host unless the model says otherwise.
    pub(crate) per_host: u32,
    /// On how many hosts it runs unless the model says otherwise; `None` for all of the role.
    pub(crate) count: Option<u32>,
    /// Whether its hosts may hold data of it.
    pub(crate) has_state: bool,
}

impl DeclaredApplication {
    /// Returns the parts that can be placed. A timer or a cron job runs on one host by default.
    ///
    /// # Errors
    /// None: `site` is a valid name.
    pub(crate) fn parts(&self) -> Result<Vec<DeclaredPart>> {
        let config = &self.config;
        let services = config.services.iter().map(|service| DeclaredPart {
            name: service.name.clone(),
            kind: PartKind::Service,
            per_host: service.instances.unwrap_or(1),
            count: None,
            has_state: !service.process.has_own_state(),
        });
        let timers = config.timers.iter().map(|timer| &timer.name);
        let timers = timers.map(|name| DeclaredPart::once(name, PartKind::Timer));
        let crons = config.crons.iter().map(|cron| &cron.name);
        let crons = crons.map(|name| DeclaredPart::once(name, PartKind::Cron));
        let mut parts: Vec<DeclaredPart> = services.chain(timers).chain(crons).collect();
        if config.site.is_some() {
            parts.push(DeclaredPart {
                count: None,
                ..DeclaredPart::once(&PartName::parse(SITE)?, PartKind::Site)
            });
        }
        Ok(parts)
    }
}

/// The name of an application's site in `place`.
pub(crate) const SITE: &str = "site";

impl DeclaredPart {
    fn once(name: &PartName, kind: PartKind) -> Self {
        Self {
            name: name.clone(),
            kind,
            per_host: 1,
            count: Some(1),
            has_state: false,
        }
    }
}
