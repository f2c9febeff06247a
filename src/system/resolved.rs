//! The result of a resolution: what runs on each host of an environment, and who talks to whom.

use std::collections::{BTreeMap, BTreeSet};

use pkgapp_config::{ExternalService, HostAddress, PartName, ServiceKind};
use pkgapp_core::name::AppName;

use crate::lock::EnvironmentLock;

/// An environment of a system, with everything decided. Hosts, parts, and services refer to each
/// other by their numbers in these lists.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedSystem {
    /// The name of the system.
    pub name: PartName,
    /// The name of the environment.
    pub environment: PartName,
    /// The hosts, in the order of the model.
    pub hosts: Vec<ResolvedHost>,
    /// The applications that are placed somewhere, in the order of the model.
    pub applications: Vec<ResolvedApplication>,
    /// The parts of applications that are placed somewhere, in the order of their declarations.
    pub parts: Vec<ResolvedPart>,
    /// The backing services, in the order of the model.
    pub services: Vec<ResolvedService>,
    /// The bindings, in the order of the requirements.
    pub bindings: Vec<ResolvedBinding>,
    /// The decisions that the next resolution has to keep.
    pub lock: EnvironmentLock,
}

/// A host of an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedHost {
    /// Its name, as the model has it: without a user and a port.
    pub name: String,
    /// Where ssh finds it, and who logs in.
    pub login: HostAddress,
    /// Where other hosts reach its services.
    pub address: String,
    /// Its roles.
    pub roles: BTreeSet<PartName>,
    /// Its labels.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// The memory that it has for applications, in bytes; `None` if the model does not say.
    pub memory: Option<u64>,
    /// Variables for hooks and commands.
    pub variables: BTreeMap<String, String>,
    /// The file with its password for sudo, relative to the model.
    pub sudo_password_file: Option<String>,
}

/// An application that is placed on hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedApplication {
    /// Its name in the system.
    pub name: AppName,
    /// The name of its software package.
    pub software: AppName,
    /// The version of its software package.
    pub version: String,
}

/// A part of an application: one service, timer, or cron job, or its site.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedPart {
    /// The application.
    pub application: AppName,
    /// Its name in the application; `site` for the site.
    pub name: PartName,
    /// What it is.
    pub kind: PartKind,
    /// The role by which it is placed.
    pub role: PartName,
    /// The hosts on which it runs, ascending.
    pub hosts: Vec<usize>,
    /// How many run on each of them.
    pub per_host: u32,
    /// Where it listens.
    pub listen: Listen,
    /// The memory that each of them needs, in bytes.
    pub memory: Option<u64>,
    /// The service behind a site; `None` for all else.
    pub proxied: Option<usize>,
}

/// What a part of an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A program that stays.
    Service,
    /// A program that systemd starts at times.
    Timer,
    /// A program that cron starts at times.
    Cron,
    /// The web server's site in front of the application.
    Site,
}

/// Where a part of an application listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere, or at a place in the file system that it chooses itself.
    Nowhere,
    /// At a socket in the file system that only the web server of its host uses.
    WebServer,
    /// At a port of the system's pool, or one that the model chose. All that run on a host share it.
    Port(u16),
    /// At a port that the application chose, whatever the system is.
    Own(u16),
}

/// A backing service.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedService {
    /// Its name in the system.
    pub name: PartName,
    /// What it is.
    pub kind: ServiceKind,
    /// The hosts that run it, ascending; none if it is external.
    pub hosts: Vec<usize>,
    /// Its address, if somebody else runs it.
    pub external: Option<ExternalService>,
    /// Whether a package installs it and says who may use it.
    pub is_managed: bool,
}

/// A requirement of an application, and the service that meets it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedBinding {
    /// The application that requires it.
    pub application: AppName,
    /// The name of the requirement.
    pub requirement: PartName,
    /// The service.
    pub provider: Provider,
}

/// A service that meets requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// A backing service, by its number.
    Service(usize),
    /// A part of an application, by its number.
    Part(usize),
}

impl ResolvedSystem {
    /// Returns an application that is placed somewhere.
    pub fn application(&self, name: &AppName) -> Option<&ResolvedApplication> {
        self.applications.iter().find(|known| known.name == *name)
    }

    /// Returns the applications, those first that others require.
    pub fn applications_in_order(&self) -> Vec<&ResolvedApplication> {
        let mut ordered: Vec<&ResolvedApplication> = Vec::new();
        for application in &self.applications {
            self.add_in_order(application, &mut ordered);
        }
        ordered
    }

    /// Adds an application after those that it requires. Resolved systems have no circles.
    fn add_in_order<'s>(
        &'s self,
        application: &'s ResolvedApplication,
        ordered: &mut Vec<&'s ResolvedApplication>,
    ) {
        if ordered.iter().any(|known| known.name == application.name) {
            return;
        }
        for binding in &self.bindings {
            let Provider::Part(number) = binding.provider else {
                continue;
            };
            let provider = self.application(&self.parts[number].application);
            let is_own = binding.application == application.name;
            if let Some(provider) = provider.filter(|_| is_own) {
                self.add_in_order(provider, ordered);
            }
        }
        ordered.push(application);
    }

    /// Returns the parts of an application, with their numbers.
    pub fn parts_of<'s>(
        &'s self,
        application: &'s AppName,
    ) -> impl Iterator<Item = (usize, &'s ResolvedPart)> {
        let parts = self.parts.iter().enumerate();
        parts.filter(move |(_, part)| part.application == *application)
    }

    /// Returns whether a part of an application is on a host, by its name.
    pub fn is_on(&self, application: &AppName, host: &str) -> bool {
        let mut parts = self.parts_of(application);
        parts.any(|(_, part)| {
            part.hosts
                .iter()
                .any(|number| self.hosts[*number].name == host)
        })
    }

    /// Returns the hosts of a provider, ascending; none if it is external.
    pub fn hosts_of(&self, provider: Provider) -> &[usize] {
        match provider {
            Provider::Service(number) => &self.services[number].hosts,
            Provider::Part(number) => &self.parts[number].hosts,
        }
    }

    /// Returns the name of a provider: `db`, or `billing.web` for a part of an application.
    pub fn provider_name(&self, provider: Provider) -> String {
        match provider {
            Provider::Service(number) => self.services[number].name.to_string(),
            Provider::Part(number) => self.parts[number].full_name(),
        }
    }
}

impl ResolvedPart {
    /// Returns its name in the system, such as `shop.web`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.application, self.name)
    }

    /// Returns the port that it uses on each of its hosts.
    pub fn port(&self) -> Option<u16> {
        match self.listen {
            Listen::Port(port) | Listen::Own(port) => Some(port),
            Listen::Nowhere | Listen::WebServer => None,
        }
    }
}

impl ResolvedService {
    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        let external = self.external.as_ref();
        external.map_or_else(|| self.kind.port(), |external| external.port)
    }
}

impl PartKind {
    /// Returns its name in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Timer => "timer",
            Self::Cron => "cron job",
            Self::Site => "site",
        }
    }
}
