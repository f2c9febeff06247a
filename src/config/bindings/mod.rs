//! `[requires.NAME]` and `[provides.NAME]`: the services that an application uses, and those that
//! others may use. A system binds the ones to the others; without a system, the variables are set
//! on the host.

mod template;

use std::collections::BTreeMap;

use pkgapp_core::error::{Error, Location, Result};

use super::reader::{Located, TableReader, ValueReader};
use super::service::{Cron, PartName, ProcessSettings, Service, Timer};
use super::settings::{Setting, check_setting_name};
use super::system::suggested;

pub use template::{BindingTemplate, BindingValue};

/// `[requires.NAME]`: a service that the application uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredService {
    /// NAME.
    pub name: PartName,
    /// `type`; by default NAME.
    pub required_type: RequirementType,
    /// `env`: the variables by which the application finds it; never empty.
    pub variables: BTreeMap<String, BindingTemplate>,
    /// `optional`: whether a system may lack it; by default it may not.
    pub optional: bool,
    /// Where it is declared.
    pub at: Location,
}

/// `[provides.NAME]`: a service that other applications may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvidedService {
    /// NAME.
    pub name: PartName,
    /// `type`; by default NAME.
    pub provided_type: PartName,
    /// `service`: the NAME in `[service.NAME]`.
    pub service: Located<PartName>,
    /// Where it is declared.
    pub at: Location,
}

/// What an application requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequirementType {
    /// A database of PostgreSQL.
    Postgresql,
    /// A Redis.
    Redis,
    /// What an application provides.
    Provided(PartName),
}

impl RequirementType {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "postgresql" => Ok(Self::Postgresql),
            "redis" => Ok(Self::Redis),
            other => PartName::parse(other).map(Self::Provided),
        }
    }

    /// Returns the word of the configuration.
    pub fn name(&self) -> &str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Redis => "redis",
            Self::Provided(name) => name.as_str(),
        }
    }
}

/// The tables that variables of requirements are compared with.
pub(super) struct VariableOwners<'a> {
    pub(super) settings: &'a [Setting],
    pub(super) services: &'a [Service],
    pub(super) timers: &'a [Timer],
    pub(super) crons: &'a [Cron],
}

impl RequiredService {
    pub(super) fn read_all(root: &TableReader<'_>, owners: &VariableOwners<'_>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (name, table) in PartName::tables(root, "requires", "requires.NAME") {
            all.extend(Self::read(name, table, owners, &all));
        }
        all
    }

    fn read(
        name: PartName,
        table: TableReader<'_>,
        owners: &VariableOwners<'_>,
        others: &[Self],
    ) -> Option<Self> {
        let at = table.at();
        let required_type = match table.get("type") {
            Some(value) => value.parsed(RequirementType::parse),
            None => RequirementType::parse(name.as_str()).ok(),
        };
        let env = table.require("env", "env = { DATABASE_URL = \"{url}\" }");
        let optional = table.get("optional");
        let optional = optional.map_or(Some(false), |value| value.boolean());
        let variables = env.zip(required_type.as_ref()).map(|(env, wanted)| {
            let taken = |variable: &str| {
                let of_others = others.iter();
                let mut of_others = of_others.filter(|one| one.variables.contains_key(variable));
                let other = of_others
                    .next()
                    .map(|one| format!("[requires.{}]", one.name));
                other.or_else(|| owners.of(variable))
            };
            read_variables(&env, wanted, &taken)
        });
        table.finish();
        Some(Self {
            required_type: required_type?,
            variables: variables?,
            optional: optional?,
            name,
            at,
        })
    }
}

/// Reads `env`. `taken` returns the table that has the variable already.
fn read_variables(
    env: &ValueReader<'_>,
    wanted: &RequirementType,
    taken: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, BindingTemplate> {
    let Some(table) = env.table("requires.NAME.env") else {
        return BTreeMap::new();
    };
    let entries = table.entries();
    if entries.is_empty() {
        let error = Error::new(format!("`{}` is empty", env.label()));
        env.complain(error.hint("name a variable that the application reads"));
    }
    let variables = entries.into_iter().filter_map(|(name, value)| {
        if let Err(error) = check_setting_name(&name) {
            value.complain_elsewhere(error.at(name.at));
            return None;
        }
        if let Some(other) = taken(&name) {
            let error = Error::new(format!("`{}` is in `{other}` already", name.value));
            let hint = "a variable has one source: leave one of them out";
            value.complain_elsewhere(error.at(name.at).hint(hint));
            return None;
        }
        let template = value.parsed(|text| BindingTemplate::parse(text, wanted))?;
        Some((name.value, template))
    });
    variables.collect()
}

impl VariableOwners<'_> {
    /// Returns the table that has a variable.
    fn of(&self, variable: &str) -> Option<String> {
        let has = |process: &ProcessSettings| process.env.contains_key(variable);
        let setting = self
            .settings
            .iter()
            .find(|setting| setting.name == variable);
        let service = self.services.iter().find(|service| has(&service.process));
        let timer = self.timers.iter().find(|timer| has(&timer.process));
        let cron = self
            .crons
            .iter()
            .find(|cron| cron.env.contains_key(variable));
        let setting = setting.map(|setting| format!("[settings.{}]", setting.name));
        setting
            .or_else(|| service.map(|service| format!("[service.{}]", service.name)))
            .or_else(|| timer.map(|timer| format!("[timer.{}]", timer.name)))
            .or_else(|| cron.map(|cron| format!("[cron.{}]", cron.name)))
    }
}

impl ProvidedService {
    pub(super) fn read_all(root: &TableReader<'_>, services: &[Service]) -> Vec<Self> {
        PartName::tables(root, "provides", "provides.NAME")
            .into_iter()
            .filter_map(|(name, table)| Self::read(name, table, services))
            .collect()
    }

    fn read(name: PartName, table: TableReader<'_>, services: &[Service]) -> Option<Self> {
        let at = table.at();
        let provided_type = match table.get("type") {
            Some(value) => value.parsed(provided_type),
            None => table.checked(provided_type(name.as_str())),
        };
        let service = table
            .require("service", "service = \"web\"")
            .and_then(|value| value.placed(|text| listening(text, services)));
        table.finish();
        Some(Self {
            provided_type: provided_type?,
            service: service?,
            name,
            at,
        })
    }
}

/// Reads the type of a provided service.
fn provided_type(text: &str) -> Result<PartName> {
    match RequirementType::parse(text)? {
        RequirementType::Provided(name) => Ok(name),
        RequirementType::Postgresql | RequirementType::Redis => {
            let error = Error::new(format!("an application cannot provide a `{text}`"));
            Err(error.hint("choose another type, such as `api`"))
        }
    }
}

/// Reads the name of a service that has an address.
fn listening(text: &str, services: &[Service]) -> Result<PartName> {
    let mut found = services
        .iter()
        .filter(|service| service.name.as_str() == text);
    let Some(service) = found.next() else {
        let names = services.iter().map(|service| service.name.as_str());
        let shown = text.escape_debug();
        return Err(
            Error::new(format!("there is no `[service.{shown}]`")).hint(suggested(text, names))
        );
    };
    if service.socket.is_none() && service.address.is_none() {
        let error = Error::new(format!("the address of `[service.{text}]` is unknown"));
        return Err(
            error.hint("add a socket that systemd holds, such as `socket = \"0.0.0.0:8000\"`")
        );
    }
    Ok(service.name.clone())
}
