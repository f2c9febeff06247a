//! The configuration packages of a system: one for each application and each kind of its hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pkgapp_config::{
    DeclarationChanges, DomainName, PartName, PlacedParts, Service, SocketAddress, UpstreamHost,
};
use pkgapp_core::name::AppName;

use crate::declared::DeclaredApplication;
use crate::resolved::{Listen, PartKind, ResolvedPart, ResolvedSystem};

/// The variable by which gunicorn and uvicorn know the web servers that they may believe.
const TRUSTED_WEB_SERVERS: &str = "FORWARDED_ALLOW_IPS";

/// The configuration of an application on some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfiguration {
    /// The application.
    pub application: AppName,
    /// The roles by which its parts are on these hosts; for people.
    pub roles: BTreeSet<PartName>,
    /// How its declaration differs.
    pub changes: DeclarationChanges,
    /// Its parts on these hosts.
    pub placed: PlacedParts,
    /// The hosts, ascending.
    pub hosts: Vec<usize>,
}

impl ResolvedSystem {
    /// Returns the configurations of an application: hosts with equal ones share it.
    pub fn configurations(
        &self,
        application: &AppName,
        declared: &DeclaredApplication,
    ) -> Vec<HostConfiguration> {
        let mut hosts: BTreeSet<usize> = BTreeSet::new();
        for (_, part) in self.parts_of(application) {
            hosts.extend(&part.hosts);
        }
        let mut all: Vec<HostConfiguration> = Vec::new();
        for host in hosts {
            let configuration = self.configuration(host, application, declared);
            match all
                .iter_mut()
                .find(|known| known.has_content_of(&configuration))
            {
                Some(known) => known.hosts.push(host),
                None => all.push(configuration),
            }
        }
        all
    }

    fn configuration(
        &self,
        host: usize,
        application: &AppName,
        declared: &DeclaredApplication,
    ) -> HostConfiguration {
        let mut placed = PlacedParts {
            variables: self.variables(host, application, declared),
            ..PlacedParts::default()
        };
        let mut changes = DeclarationChanges {
            name: (*application != declared.software).then(|| application.clone()),
            domains: domains(declared),
            ..DeclarationChanges::default()
        };
        let mut roles = BTreeSet::new();
        let here = self.parts_of(application);
        for (number, part) in here.filter(|(_, part)| part.hosts.contains(&host)) {
            roles.insert(part.role.clone());
            if part.kind == PartKind::Site {
                placed.has_site = true;
                placed.upstreams = self.upstreams(part);
                continue;
            }
            placed.names.insert(part.name.clone());
            if let Some(service) = service_of(part, declared) {
                add_service(&mut changes, self, part, service);
            }
            placed.variables.extend(self.trusted_fronts(number));
        }
        HostConfiguration {
            application: application.clone(),
            roles,
            changes,
            placed,
            hosts: vec![host],
        }
    }

    /// Returns the hosts behind a site; none if the web server reaches the service on its own host
    /// through a socket.
    fn upstreams(&self, site: &ResolvedPart) -> Vec<UpstreamHost> {
        let Some(part) = site.proxied.map(|number| &self.parts[number]) else {
            return Vec::new();
        };
        let (Listen::Port(port) | Listen::Own(port)) = part.listen else {
            return Vec::new();
        };
        let hosts = part.hosts.iter().map(|host| UpstreamHost {
            host: self.hosts[*host].address.clone(),
            port,
        });
        hosts.collect()
    }

    /// Returns the variable that has a service believe the web servers of other hosts, if their
    /// addresses are known.
    fn trusted_fronts(&self, number: usize) -> Option<(String, String)> {
        let sites = self
            .parts
            .iter()
            .filter(|part| part.proxied == Some(number));
        let fronts: BTreeSet<usize> = sites.flat_map(|site| site.hosts.iter().copied()).collect();
        let is_remote = matches!(self.parts[number].listen, Listen::Port(_) | Listen::Own(_));
        if !is_remote || fronts.is_empty() {
            return None;
        }
        let mut addresses = vec!["127.0.0.1".to_owned()];
        for front in fronts {
            let address: IpAddr = self.hosts[front].address.parse().ok()?;
            addresses.push(address.to_string());
        }
        Some((TRUSTED_WEB_SERVERS.to_owned(), addresses.join(",")))
    }
}

impl HostConfiguration {
    fn has_content_of(&self, other: &Self) -> bool {
        let content = |one: &Self| (one.changes.clone(), one.placed.clone());
        content(self) == content(other)
    }
}

fn domains(declared: &DeclaredApplication) -> Vec<DomainName> {
    let site = declared.config.site.iter();
    let domains = site.flat_map(|site| &site.domains);
    domains.map(|domain| domain.value.clone()).collect()
}

fn service_of<'d>(part: &ResolvedPart, declared: &'d DeclaredApplication) -> Option<&'d Service> {
    let mut services = declared.config.services.iter();
    services.find(|service| part.kind == PartKind::Service && service.name == part.name)
}

/// Sets where a service listens, and how many of it run.
fn add_service(
    changes: &mut DeclarationChanges,
    system: &ResolvedSystem,
    part: &ResolvedPart,
    service: &Service,
) {
    if service.instances.unwrap_or(1) != part.per_host {
        changes.instances.insert(part.name.clone(), part.per_host);
    }
    let has_ipv6 = |host: &usize| system.hosts[*host].address.contains(':');
    let any = if part.hosts.iter().any(has_ipv6) {
        "[::]"
    } else {
        "0.0.0.0"
    };
    let socket = match (part.listen, &service.socket) {
        (Listen::Port(port), _) => format!("{any}:{port}"),
        (Listen::WebServer, Some(SocketAddress::Tcp(_))) => {
            format!("/run/{}-{}.sock", part.application, part.name)
        }
        _ => return,
    };
    changes.sockets.insert(part.name.clone(), socket);
}
