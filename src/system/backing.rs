//! The backing services that packages install on hosts, and the applications that use them.

use std::collections::BTreeSet;

use pkgapp_config::{PartName, ServiceKind};
use pkgapp_core::name::AppName;

use crate::resolved::{PartKind, Provider, ResolvedSystem};

/// A backing service, for the package that installs it. All of its hosts have the same package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfiguration {
    /// Its name in the system.
    pub name: PartName,
    /// What it is.
    pub kind: ServiceKind,
    /// The applications that use it.
    pub clients: Vec<ServiceClient>,
    /// Its hosts, ascending.
    pub hosts: Vec<usize>,
}

/// An application that uses a backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceClient {
    /// The application.
    pub application: AppName,
    /// The addresses of its hosts, but for those that run the service, too.
    pub addresses: BTreeSet<String>,
}

impl ResolvedSystem {
    /// Returns the backing services that packages install.
    pub fn service_configurations(&self) -> Vec<ServiceConfiguration> {
        let mut all = Vec::new();
        for (number, service) in self.services.iter().enumerate() {
            if service.is_managed && !service.hosts.is_empty() {
                all.push(ServiceConfiguration {
                    name: service.name.clone(),
                    kind: service.kind,
                    clients: self.clients(number),
                    hosts: service.hosts.clone(),
                });
            }
        }
        all
    }

    /// Returns the applications that use a service.
    fn clients(&self, number: usize) -> Vec<ServiceClient> {
        let mut clients: Vec<ServiceClient> = Vec::new();
        for binding in &self.bindings {
            let application = &binding.application;
            let is_known = clients
                .iter()
                .any(|known| known.application == *application);
            if binding.provider != Provider::Service(number) || is_known {
                continue;
            }
            clients.push(ServiceClient {
                application: application.clone(),
                addresses: self.addresses(application, number),
            });
        }
        clients
    }

    /// Returns the addresses from which an application reaches a service of other hosts.
    fn addresses(&self, application: &AppName, number: usize) -> BTreeSet<String> {
        let providers = &self.services[number].hosts;
        let mut addresses = BTreeSet::new();
        for (_, part) in self.parts_of(application) {
            // A web server passes requests on, and asks nothing else.
            if part.kind == PartKind::Site {
                continue;
            }
            for host in &part.hosts {
                if !providers.contains(host) {
                    addresses.insert(self.hosts[*host].address.clone());
                }
            }
        }
        addresses
    }
}
