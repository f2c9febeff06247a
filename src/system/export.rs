//! Exports of an environment for other tools: Prometheus, Ansible, hosts(5), and nftables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use pkgapp_config::{PartName, ServiceKind, suggested, url_host};
use pkgapp_core::error::{Error, Result};

use crate::resolved::{PartKind, Provider, ResolvedHost, ResolvedService, ResolvedSystem};

/// Targets of Prometheus, by their labels.
type TargetGroups = BTreeMap<BTreeMap<String, String>, Vec<String>>;

/// Returns the node exporters of an environment as `file_sd_configs` of Prometheus reads them:
/// targets, grouped by their labels.
pub fn prometheus(system: &ResolvedSystem) -> String {
    let mut groups = TargetGroups::new();
    for service in &system.services {
        if service.kind == ServiceKind::NodeExporter {
            add_exporter(system, service, &mut groups);
        }
    }
    let groups = groups.into_iter().map(|(labels, targets)| {
        json!({
            "targets": targets,
            "labels": labels,
        })
    });
    pretty(&Value::Array(groups.collect()))
}

fn add_exporter(system: &ResolvedSystem, service: &ResolvedService, groups: &mut TargetGroups) {
    let port = service.port();
    if let Some(external) = &service.external {
        let targets = groups.entry(common_labels(system)).or_default();
        targets.push(target(&external.host, port));
    }
    for number in &service.hosts {
        let host = &system.hosts[*number];
        let targets = groups.entry(host_labels(system, host)).or_default();
        targets.push(target(&host.address, port));
    }
}

fn target(host: &str, port: u16) -> String {
    format!("{}:{port}", url_host(host))
}

fn common_labels(system: &ResolvedSystem) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("system".to_owned(), system.name.to_string()),
        ("environment".to_owned(), system.environment.to_string()),
    ])
}

/// Returns the labels of a host for Prometheus. Its names of labels have no `-`.
fn host_labels(system: &ResolvedSystem, host: &ResolvedHost) -> BTreeMap<String, String> {
    let mut labels = common_labels(system);
    let roles: Vec<&str> = host.roles.iter().map(PartName::as_str).collect();
    labels.insert("role".to_owned(), roles.join(","));
    for (name, values) in &host.labels {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        labels.insert(label_name(name), values.join(","));
    }
    labels
}

fn label_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

/// Returns an inventory of Ansible: the hosts with their connections, and a group for each role.
pub fn ansible(system: &ResolvedSystem, sudo: bool) -> String {
    let mut hosts: Map<String, Value> = Map::new();
    for host in &system.hosts {
        hosts.insert(host.name.clone(), connection(host, sudo));
    }
    let mut groups: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for host in &system.hosts {
        for role in &host.roles {
            // Names of groups are those of variables.
            let group = groups.entry(role.as_str().replace('-', "_")).or_default();
            group.insert(host.name.clone(), json!({}));
        }
    }
    let mut children: Map<String, Value> = Map::new();
    for (name, hosts) in groups {
        children.insert(name, json!({ "hosts": hosts }));
    }
    pretty(&json!({ "all": { "hosts": hosts, "children": children } }))
}

fn connection(host: &ResolvedHost, sudo: bool) -> Value {
    let mut variables = Map::new();
    variables.insert("ansible_host".to_owned(), json!(host.login.host));
    if let Some(user) = &host.login.user {
        variables.insert("ansible_user".to_owned(), json!(user));
    }
    if let Some(port) = host.login.port {
        variables.insert("ansible_port".to_owned(), json!(port));
    }
    if sudo {
        variables.insert("ansible_become".to_owned(), json!(true));
    }
    Value::Object(variables)
}

/// Returns lines for /etc/hosts (hosts(5)).
///
/// # Errors
/// A host whose address is a name.
pub fn hosts(system: &ResolvedSystem) -> Result<String> {
    let mut text = heading(system, "The hosts");
    for (host, address) in system.hosts.iter().zip(addresses(system)?) {
        let short = host.name.split('.').next();
        let short =
            short.filter(|short| *short != host.name && host.name.parse::<IpAddr>().is_err());
        let short = short.map_or_else(String::new, |short| format!(" {short}"));
        _ = writeln!(text, "{address} {}{short}", host.name);
    }
    Ok(text)
}

/// Returns a table of nftables for one host: to the ports of services that others of the system
/// use, only those connect. Other ports are as before.
///
/// # Errors
/// The environment has no such host, or a host whose address is a name.
pub fn nftables(system: &ResolvedSystem, name: &str) -> Result<String> {
    let host = find_host(system, name)?;
    let addresses = addresses(system)?;
    let mut text = heading(system, &format!("Connections to {name}"));
    let table = format!("pkgapp_{}", system.name.as_str().replace('-', "_"));
    // An empty table first: deleting one that does not exist is an error.
    _ = write!(
        text,
        "table inet {table}\n\
         delete table inet {table}\n\
         table inet {table} {{\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tiif lo accept\n"
    );
    for admitted in system.admitted(host) {
        for line in admitted.rules(&addresses) {
            _ = writeln!(text, "\t\ttcp dport {line}");
        }
    }
    text.push_str("\t}\n}\n");
    Ok(text)
}

/// Returns the number of a host.
fn find_host(system: &ResolvedSystem, name: &str) -> Result<usize> {
    let mut hosts = system.hosts.iter();
    let found = hosts.position(|host| host.name == name);
    found.ok_or_else(|| {
        let error = Error::new(format!(
            "`{}` has no host `{}`",
            system.environment,
            name.escape_debug()
        ));
        let names = system.hosts.iter().map(|host| host.name.as_str());
        error.hint(suggested(name, names))
    })
}

/// A port of a host, and the hosts that use it.
struct AdmittedHosts {
    port: u16,
    hosts: BTreeSet<usize>,
}

impl AdmittedHosts {
    /// Returns the rules, without `tcp dport`: who may connect, and that nobody else may.
    fn rules(&self, addresses: &[IpAddr]) -> Vec<String> {
        let port = self.port;
        let mut rules = Vec::new();
        for (family, is_v4) in [("ip", true), ("ip6", false)] {
            let sources = self.hosts.iter().map(|host| addresses[*host]);
            let sources: Vec<String> = sources
                .filter(|address| address.is_ipv4() == is_v4)
                .map(|address| address.to_string())
                .collect();
            if !sources.is_empty() {
                let sources = sources.join(", ");
                rules.push(format!("{port} {family} saddr {{ {sources} }} accept"));
            }
        }
        rules.push(format!("{port} drop"));
        rules
    }
}

impl ResolvedSystem {
    /// Returns the ports of a host that others of the system use.
    fn admitted(&self, host: usize) -> Vec<AdmittedHosts> {
        let mut admitted = Vec::new();
        for (number, service) in self.services.iter().enumerate() {
            if service.hosts.contains(&host) {
                admitted.push(AdmittedHosts {
                    port: service.port(),
                    hosts: self.users(Provider::Service(number)),
                });
            }
        }
        for (number, part) in self.parts.iter().enumerate() {
            if let (true, Some(port)) = (part.hosts.contains(&host), part.port()) {
                admitted.push(AdmittedHosts {
                    port,
                    hosts: self.users(Provider::Part(number)),
                });
            }
        }
        admitted.retain(|one| !one.hosts.is_empty());
        admitted.sort_by_key(|one| one.port);
        admitted
    }

    /// Returns the hosts that connect to a service.
    fn users(&self, provider: Provider) -> BTreeSet<usize> {
        let mut users = BTreeSet::new();
        for binding in &self.bindings {
            if binding.provider != provider {
                continue;
            }
            for (_, part) in self.parts_of(&binding.application) {
                if part.kind != PartKind::Site {
                    users.extend(&part.hosts);
                }
            }
        }
        for part in &self.parts {
            let proxied = part.proxied.map(Provider::Part);
            if proxied == Some(provider) {
                users.extend(&part.hosts);
            }
        }
        users
    }
}

/// Returns the addresses of all hosts.
fn addresses(system: &ResolvedSystem) -> Result<Vec<IpAddr>> {
    let (mut addresses, mut mistakes) = (Vec::new(), Vec::new());
    for host in &system.hosts {
        match host.address.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => mistakes.push(&host.name),
        }
    }
    if mistakes.is_empty() {
        return Ok(addresses);
    }
    let names = crate::classes::folded(mistakes.iter().map(|name| name.as_str()));
    let error = Error::new(format!("the model has no IP address for {names}"));
    Err(error.hint("write `address = \"10.0.0.1\"` beside `host`; a range gives each host its own"))
}

fn heading(system: &ResolvedSystem, subject: &str) -> String {
    let (name, environment) = (&system.name, &system.environment);
    format!("# {subject} of {name} in {environment}; `pkgapp system export` writes this.\n")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
