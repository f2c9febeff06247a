//! A resolved system as JSON.

use serde_json::{Value, json};

use pkgapp_config::PartName;

use crate::resolved::{
    Listen, ResolvedBinding, ResolvedHost, ResolvedPart, ResolvedService, ResolvedSystem,
};

impl ResolvedSystem {
    /// Returns the system as JSON; hosts and services are referred to by their names.
    pub fn to_json(&self) -> Value {
        let applications = self.applications.iter().map(|application| {
            json!({
                "name": application.name.as_str(),
                "software": application.software.as_str(),
                "version": application.version,
            })
        });
        let applications: Vec<Value> = applications.collect();
        let hosts: Vec<Value> = self.hosts.iter().map(host).collect();
        let parts = self.parts.iter();
        let parts: Vec<Value> = parts.map(|part| self.part(part)).collect();
        let services = self.services.iter();
        let services: Vec<Value> = services.map(|service| self.service(service)).collect();
        let bindings = self.bindings.iter();
        let bindings: Vec<Value> = bindings.map(|binding| self.binding(binding)).collect();
        json!({
            "system": self.name.as_str(),
            "environment": self.environment.as_str(),
            "hosts": hosts,
            "applications": applications,
            "parts": parts,
            "services": services,
            "bindings": bindings,
        })
    }

    fn names(&self, hosts: &[usize]) -> Vec<&str> {
        let names = hosts.iter().map(|host| self.hosts[*host].name.as_str());
        names.collect()
    }

    fn part(&self, part: &ResolvedPart) -> Value {
        let (port, via) = match part.listen {
            Listen::Port(port) | Listen::Own(port) => (Some(port), "port"),
            Listen::WebServer => (None, "web-server"),
            Listen::Nowhere => (None, "nowhere"),
        };
        json!({
            "name": part.full_name(),
            "application": part.application.as_str(),
            "kind": part.kind.noun(),
            "hosts": self.names(&part.hosts),
            "per-host": part.per_host,
            "listen": via,
            "port": port,
            "proxied": part.proxied.map(|number| self.parts[number].full_name()),
        })
    }

    fn service(&self, service: &ResolvedService) -> Value {
        json!({
            "name": service.name.as_str(),
            "kind": service.kind.name(),
            "hosts": self.names(&service.hosts),
            "external": service.external.as_ref().map(|external| &external.host),
            "port": service.port(),
        })
    }

    fn binding(&self, binding: &ResolvedBinding) -> Value {
        json!({
            "application": binding.application.as_str(),
            "requirement": binding.requirement.as_str(),
            "provider": self.provider_name(binding.provider),
        })
    }
}

fn host(host: &ResolvedHost) -> Value {
    let roles: Vec<&str> = host.roles.iter().map(PartName::as_str).collect();
    json!({
        "name": host.name,
        "login": host.login.to_string(),
        "address": host.address,
        "roles": roles,
        "labels": host.labels,
    })
}
