//! The variables by which the processes of an application find the services that it requires.

use std::collections::BTreeMap;

use pkgapp_config::{BindingTemplate, BindingValue, ServiceKind, url_host};
use pkgapp_core::name::AppName;

use crate::affinity::affinity;
use crate::declared::DeclaredApplication;
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
        let mut variables = BoundVariables::new();
        for binding in &self.bindings {
            if binding.application != *application {
                continue;
            }
            for required in &declared.config.requires {
                if required.name != binding.requirement {
                    continue;
                }
                for (name, template) in &required.variables {
                    let value = self.filled(host, binding, template);
                    variables.insert(name.clone(), value);
                }
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
            return Endpoint {
                all: vec![format!("{}:{port}", url_host(&external.host))],
                host: Some(external.host.clone()),
                port,
            };
        }
        let hosts = self.hosts_of(provider);
        let address = |number: usize| self.hosts[number].address.clone();
        let all = hosts.iter().map(|number| {
            let host = url_host(&address(*number));
            format!("{host}:{port}")
        });
        let user = &self.hosts[host].name;
        let affinity = |number: &&usize| affinity(user, &self.hosts[**number].name);
        let chosen = hosts.iter().max_by_key(affinity).copied();
        let remote = chosen.filter(|_| !hosts.contains(&host));
        Endpoint {
            host: remote.map(address),
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
            Some(host) => format!("postgresql://{user}@{}:{}/{user}", url_host(host), at.port),
            // Through the socket: PostgreSQL asks the kernel who connects, and there is no password.
            None => format!("postgresql:///{user}"),
        },
        BindingValue::Url => {
            let host = url_host(host.unwrap_or("127.0.0.1"));
            format!("redis://{host}:{}", at.port)
        }
    }
}

/// Returns a value for a requirement that another application meets.
fn application_value(at: &Endpoint, value: BindingValue) -> String {
    let host = at.host.as_deref().unwrap_or("127.0.0.1");
    match value {
        BindingValue::Url => format!("http://{}:{}", url_host(host), at.port),
        BindingValue::Port => at.port.to_string(),
        BindingValue::Hosts => at.all.join(","),
        BindingValue::Host | BindingValue::Name | BindingValue::User => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_brackets_only_in_urls() {
        let at = |host: Option<&str>| Endpoint {
            host: host.map(str::to_owned),
            port: 5432,
            all: vec!["[::1]:5432".to_owned()],
        };
        let value = |host, value| service_value(ServiceKind::Postgresql, &at(host), "shop", value);
        let url = "postgresql://shop@[2001:db8::1]:5432/shop";
        assert_eq!(value(Some("2001:db8::1"), BindingValue::Url), url);
        assert_eq!(
            value(Some("2001:db8::1"), BindingValue::Host),
            "2001:db8::1"
        );
        assert_eq!(value(None, BindingValue::Url), "postgresql:///shop");
        let of_application = application_value(&at(Some("::1")), BindingValue::Url);
        assert_eq!(of_application, "http://[::1]:5432");
    }
}
