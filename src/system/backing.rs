//! The backing services that packages install on hosts, and the applications that use them.

use std::collections::{BTreeMap, BTreeSet};

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
    /// The applications that use it, and the addresses of their hosts, but for those that run the
    /// service, too.
    pub clients: BTreeMap<AppName, BTreeSet<String>>,
    /// Its hosts, ascending.
    pub hosts: Vec<usize>,
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

    fn clients(&self, number: usize) -> BTreeMap<AppName, BTreeSet<String>> {
        let mut clients = BTreeMap::new();
        for binding in &self.bindings {
            if binding.provider == Provider::Service(number) {
                let addresses = self.addresses(&binding.application, number);
                clients.insert(binding.application.clone(), addresses);
            }
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
