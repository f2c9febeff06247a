//! The variables by which the processes of an application find the services that it requires.

use std::collections::BTreeMap;

use pkgapp_config::{BindingTemplate, BindingValue, ServiceKind};
use pkgapp_core::name::AppName;

use crate::declared::DeclaredApplication;
use crate::placement::{hash, mix};
use crate::resolved::{Provider, ResolvedBinding, ResolvedService, ResolvedSystem};

/// Where the sockets of PostgreSQL are, in every distribution.
const POSTGRESQL_SOCKETS: &str = "/var/run/postgresql";

/// The variables of an application on one host: names and values, without passwords.
pub type BoundVariables = BTreeMap<String, String>;

/// The address of a service, as one host uses it.
struct Endpoint {
    /// Its name or address; `None` for a service on the same host.
    host: Option<String>,
    port: u16,
    /// `host:port` of all providers.
    all: Vec<String>,
}

impl ResolvedSystem {
    /// Returns the variables of an application on a host.
    pub fn variables(
        &self,
        host: usize,
        application: &AppName,
        declared: &DeclaredApplication,
    ) -> BoundVariables {
        let bindings = self.bindings.iter();
        let own = bindings.filter(|binding| binding.application == *application);
        let mut variables = BoundVariables::new();
        for binding in own {
            let mut requires = declared.config.requires.iter();
            let required = requires.find(|required| required.name == binding.requirement);
            for (name, template) in required.iter().flat_map(|required| &required.variables) {
                variables.insert(name.clone(), self.filled(host, binding, template));
            }
        }
        variables
    }

    fn filled(&self, host: usize, binding: &ResolvedBinding, template: &BindingTemplate) -> String {
        let endpoint = self.endpoint(host, binding.provider);
        let user = binding.application.as_str();
        match binding.provider {
            Provider::Service(number) => {
                let kind = self.services[number].kind;
                template.fill(|value| service_value(kind, &endpoint, user, value))
            }
            Provider::Part(_) => template.fill(|value| application_value(&endpoint, value)),
        }
    }

    /// Returns the address of a provider for a host. Of several, each host has one of its own, which
    /// a hash chooses: as long as it is there, it stays.
    fn endpoint(&self, host: usize, provider: Provider) -> Endpoint {
        let port = self.port_of(provider);
        if let Provider::Service(number) = provider
            && let Some(external) = &self.services[number].external
        {
            let name = url_host(&external.host);
            return Endpoint {
                all: vec![format!("{name}:{port}")],
                host: Some(name),
                port,
            };
        }
        let hosts = self.hosts_of(provider);
        let name_of = |number: usize| url_host(&self.hosts[number].address);
        let all = hosts
            .iter()
            .map(|number| format!("{}:{port}", name_of(*number)));
        let seed = hash(self.hosts[host].name.as_bytes());
        let weight = |number: &&usize| mix(seed ^ hash(self.hosts[**number].name.as_bytes()));
        let chosen = hosts.iter().max_by_key(weight).copied();
        let remote = chosen.filter(|_| !hosts.contains(&host));
        Endpoint {
            host: remote.map(name_of),
            port,
            all: all.collect(),
        }
    }

    /// Returns the port of a provider.
    pub fn port_of(&self, provider: Provider) -> u16 {
        match provider {
            Provider::Service(number) => ResolvedService::port(&self.services[number]),
            // Whoever provides a service has an address.
            Provider::Part(number) => self.parts[number].port().unwrap_or_default(),
        }
    }
}

/// Returns a value for a requirement that a backing service meets.
fn service_value(kind: ServiceKind, at: &Endpoint, user: &str, value: BindingValue) -> String {
    let is_postgresql = kind == ServiceKind::Postgresql;
    let host = at.host.as_deref();
    match value {
        BindingValue::Host if is_postgresql => host.unwrap_or(POSTGRESQL_SOCKETS).to_owned(),
        BindingValue::Host => host.unwrap_or("127.0.0.1").to_owned(),
        BindingValue::Port => at.port.to_string(),
        BindingValue::Hosts => at.all.join(","),
        BindingValue::Name | BindingValue::User => user.to_owned(),
        BindingValue::Url if is_postgresql => match host {
            Some(host) => format!("postgresql://{user}@{host}:{}/{user}", at.port),
            // Through the socket: PostgreSQL asks the kernel who connects, and there is no password.
            None => format!("postgresql:///{user}"),
        },
        BindingValue::Url => format!("redis://{}:{}", host.unwrap_or("127.0.0.1"), at.port),
    }
}

/// Returns a value for a requirement that another application meets.
fn application_value(at: &Endpoint, value: BindingValue) -> String {
    let host = at.host.as_deref().unwrap_or("127.0.0.1");
    match value {
        BindingValue::Url => format!("http://{host}:{}", at.port),
        BindingValue::Port => at.port.to_string(),
        BindingValue::Hosts => at.all.join(","),
        BindingValue::Host | BindingValue::Name | BindingValue::User => host.to_owned(),
    }
}

/// Returns a host as URLs have it: an IPv6 address in brackets (RFC 3986, §3.2.2).
fn url_host(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
