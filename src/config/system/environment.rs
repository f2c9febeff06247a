//! `[environment.NAME]`: the hosts of one installation of a system, and how it differs from others.

use std::collections::{BTreeMap, BTreeSet};

use pkgapp_core::error::Error;
use pkgapp_core::name::AppName;

use crate::deploy::{Deploy, host_variables, labels_of};
use crate::host_pattern::HostPattern;
use crate::reader::{Located, TableReader, ValueReader};
use crate::service::PartName;
use crate::settings::DeployedSetting;
use crate::site::{DomainName, read_domains, size};

use super::KnownNames;
use super::application::version;
use super::backing::ServiceOverride;
use super::placement::PlacementOverride;

/// An installation of the system.
#[derive(Debug, Clone)]
pub struct SystemEnvironment {
    /// Who logs in, and how a rollout goes on: the keys of `[deploy.NAME]` without hosts, health
    /// checks and migrations.
    pub policy: Deploy,
    /// `hosts`, in the order of the file.
    pub hosts: Vec<SystemHostGroup>,
    /// `domains`.
    pub domains: EnvironmentDomains,
    /// `version.APPLICATION`.
    pub versions: BTreeMap<AppName, Located<String>>,
    /// `place.APPLICATION.PART`.
    pub place: BTreeMap<(AppName, PartName), Located<PlacementOverride>>,
    /// `settings.APPLICATION`.
    pub settings: BTreeMap<AppName, Vec<DeployedSetting>>,
    /// `service.SERVICE`.
    pub services: BTreeMap<PartName, ServiceOverride>,
}

/// The domains of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentDomains {
    /// `domains = […]`: those of the only application that has a site.
    OfOnlySite(Vec<Located<DomainName>>),
    /// `domains.APPLICATION = […]`.
    ByApplication(BTreeMap<AppName, Vec<Located<DomainName>>>),
}

/// One element of `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemHostGroup {
    /// `host`: which hosts.
    pub pattern: Located<HostPattern>,
    /// `roles`; never empty.
    pub roles: Vec<Located<PartName>>,
    /// `labels`, as those of deployments.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// `address`: where other hosts reach them, one for each host; by default the name of the host.
    pub address: Option<Located<HostPattern>>,
    /// `capacity.memory`, in bytes.
    pub memory: Option<u64>,
    /// `variables`, as those of deployments.
    pub variables: BTreeMap<String, String>,
    /// `sudo-password-file`, relative to the model.
    pub sudo_password_file: Option<String>,
}

impl SystemEnvironment {
    /// Returns NAME.
    pub fn name(&self) -> &PartName {
        &self.policy.name
    }

    pub(super) fn read_all(root: &TableReader<'_>, known: KnownNames<'_>) -> Vec<Self> {
        PartName::tables(root, "environment", "environment.NAME")
            .into_iter()
            .filter_map(|(name, table)| Self::read(name, table, known))
            .collect()
    }

    fn read(name: PartName, table: TableReader<'_>, known: KnownNames<'_>) -> Option<Self> {
        let example = "hosts = [{ host = \"web[01:04].example.com\", roles = [\"web\"] }]";
        let hosts = table.require("hosts", example).map(|value| {
            let groups = value.list();
            groups.iter().filter_map(SystemHostGroup::read).collect()
        });
        let policy = Deploy::read_policy(name, &table);
        let domains = EnvironmentDomains::read(&table, known);
        let versions = of_applications(&table, "version", known, |value| value.placed(version));
        let settings = of_applications(&table, "settings", known, |value| {
            let kind = "environment.NAME.settings.APPLICATION";
            Some(DeployedSetting::read_undeclared(value, kind))
        });
        let place = of_applications(&table, "place", known, |value| Some(read_numbers(value)));
        let services = read_services(&table, known);
        table.finish();
        let of_parts = place.into_iter().flat_map(|(application, parts)| {
            let with_name = move |(part, numbers)| ((application.clone(), part), numbers);
            parts.into_iter().map(with_name)
        });
        Some(Self {
            place: of_parts.collect(),
            policy: policy?,
            hosts: hosts?,
            domains,
            versions,
            settings,
            services,
        })
    }
}

/// Reads a table that has a value for each application.
fn of_applications<T>(
    table: &TableReader<'_>,
    key: &'static str,
    known: KnownNames<'_>,
    mut read: impl FnMut(&ValueReader<'_>) -> Option<T>,
) -> BTreeMap<AppName, T> {
    let inner = table.get(key).and_then(|value| value.table(key));
    let entries = inner.iter().flat_map(TableReader::entries);
    let named = entries.filter_map(|(name, value)| match known.application(&name) {
        Ok(application) => Some((application.name.clone(), read(&value)?)),
        Err(error) => {
            value.complain_elsewhere(error.at(name.at));
            None
        }
    });
    named.collect()
}

/// Reads `place.APPLICATION`.
fn read_numbers(value: &ValueReader<'_>) -> BTreeMap<PartName, Located<PlacementOverride>> {
    let table = value.table("environment.NAME.place.APPLICATION");
    let entries = table.iter().flat_map(TableReader::entries);
    let parts = entries.filter_map(|(name, value)| {
        let part = PartName::of_key(&name, &value)?;
        let table = value.table("environment.NAME.place.APPLICATION.PART")?;
        let numbers = PlacementOverride::read(&table);
        table.finish();
        let at = name.at;
        Some((part, Located { value: numbers, at }))
    });
    parts.collect()
}

fn read_services(
    table: &TableReader<'_>,
    known: KnownNames<'_>,
) -> BTreeMap<PartName, ServiceOverride> {
    let inner = table
        .get("service")
        .and_then(|value| value.table("service"));
    let entries = inner.iter().flat_map(TableReader::entries);
    let named = entries.filter_map(|(name, value)| match known.service(&name) {
        Ok(service) => {
            let table = value.table("environment.NAME.service.SERVICE")?;
            let differences = ServiceOverride::read(&table, Some(service.kind));
            table.finish();
            Some((service.name.clone(), differences?))
        }
        Err(error) => {
            value.complain_elsewhere(error.at(name.at));
            None
        }
    });
    named.collect()
}

impl EnvironmentDomains {
    fn read(table: &TableReader<'_>, known: KnownNames<'_>) -> Self {
        match table.get("domains") {
            None => Self::OfOnlySite(Vec::new()),
            Some(value) if value.is_table() => {
                let read = |value: &ValueReader<'_>| Some(read_domains(value));
                Self::ByApplication(of_applications(table, "domains", known, read))
            }
            Some(value) => Self::OfOnlySite(read_domains(&value)),
        }
    }

    /// Returns the domains of an application.
    pub fn of(&self, application: &AppName) -> &[Located<DomainName>] {
        match self {
            Self::OfOnlySite(domains) => domains,
            Self::ByApplication(all) => all.get(application).map_or(&[], Vec::as_slice),
        }
    }
}

impl SystemHostGroup {
    fn read(value: &ValueReader<'_>) -> Option<Self> {
        let table = value.table("environment.NAME.hosts")?;
        let pattern = table.require("host", "host = \"web[01:04].example.com\"");
        let pattern = pattern.and_then(|value| value.placed(one_system_host));
        let roles = table.require("roles", "roles = [\"web\"]");
        let roles = roles.map_or_else(Vec::new, |value| read_roles(&value));
        let labels = labels_of(&table, "environment.NAME.hosts.labels");
        let address = table
            .get("address")
            .and_then(|value| value.placed(one_system_host));
        let memory = read_memory(&table);
        let variables = host_variables(&table, "environment.NAME.hosts.variables");
        let password_file = table.get("sudo-password-file");
        let sudo_password_file = password_file.and_then(|value| value.line());
        table.finish();
        Some(Self {
            pattern: pattern?,
            roles,
            labels,
            address,
            memory,
            variables,
            sudo_password_file,
        })
    }
}

/// Reads `capacity.memory`.
fn read_memory(table: &TableReader<'_>) -> Option<u64> {
    let capacity = table.get("capacity")?;
    let capacity = capacity.table("environment.NAME.hosts.capacity")?;
    let memory = capacity.get("memory");
    capacity.finish();
    memory?.parsed(size)
}

fn read_roles(value: &ValueReader<'_>) -> Vec<Located<PartName>> {
    if value.is_list() && value.list().is_empty() {
        let error = Error::new(format!("`{}` is empty", value.label()));
        value.complain(error.hint("name a role, such as `roles = [\"web\"]`"));
    }
    value.each(PartName::parse)
}

/// Reads a pattern that names its hosts itself.
fn one_system_host(text: &str) -> Result<HostPattern, Error> {
    let pattern = HostPattern::parse(text)?;
    if text.starts_with('@') {
        let error = Error::new("a model names its hosts itself");
        return Err(error.hint("write patterns such as `web[01:12].example.com`"));
    }
    Ok(pattern)
}
