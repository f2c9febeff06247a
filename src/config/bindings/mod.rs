//! `[requires.NAME]` and `[provides.NAME]`: the services that an application uses, and those that
//! others may use. A system binds the ones to the others; without a system, the variables are set
//! on the host.

mod template;

use std::collections::BTreeMap;

use pkgapp_core::error::{Error, Location, Result};

use super::reader::{Located, TableReader, ValueReader};
use super::service::{PartName, Service};
use super::settings::{ProcessVariable, Setting, check_setting_name};
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

/// Variables of the application, which have one source each.
struct VariableSources<'a> {
    settings: &'a [Setting],
    /// Those in the `env` of everything that runs.
    of_processes: Vec<ProcessVariable>,
    /// Those of requirements that were read, with their places.
    of_requirements: BTreeMap<String, (PartName, Location)>,
}

impl RequiredService {
    pub(super) fn read_all(root: &TableReader<'_>, settings: &[Setting]) -> Vec<Self> {
        let tables = PartName::tables(root, "requires", "requires.NAME");
        if tables.is_empty() {
            return Vec::new();
        }
        let mut sources = VariableSources {
            settings,
            of_processes: ProcessVariable::all(root),
            of_requirements: BTreeMap::new(),
        };
        let read = |(name, table)| Self::read(name, table, &mut sources);
        tables.into_iter().filter_map(read).collect()
    }

    fn read(
        name: PartName,
        table: TableReader<'_>,
        sources: &mut VariableSources<'_>,
    ) -> Option<Self> {
        let at = table.at();
        let required_type = match table.get("type") {
            Some(value) => value.parsed(RequirementType::parse),
            None => RequirementType::parse(name.as_str()).ok(),
        };
        let env = table.require("env", "env = { DATABASE_URL = \"{url}\" }");
        let optional = table.get("optional");
        let optional = optional.map_or(Some(false), |value| value.boolean());
        let variables = env
            .zip(required_type.as_ref())
            .map(|(env, wanted)| sources.read_variables(&env, &name, wanted));
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

impl VariableSources<'_> {
    /// Reads `env` of a requirement.
    fn read_variables(
        &mut self,
        env: &ValueReader<'_>,
        requirement: &PartName,
        wanted: &RequirementType,
    ) -> BTreeMap<String, BindingTemplate> {
        let Some(table) = env.table("requires.NAME.env") else {
            return BTreeMap::new();
        };
        let entries = table.entries();
        if entries.is_empty() {
            let error = Error::new(format!("`{}` is empty", env.label()));
            env.complain(error.hint("name a variable that the application reads"));
        }
        let mut variables = BTreeMap::new();
        for (name, value) in entries {
            let known = check_setting_name(&name).and_then(|()| self.refuse_second(&name));
            if let Err(error) = known {
                value.complain_elsewhere(error.at(name.at));
                continue;
            }
            let source = (requirement.clone(), name.at);
            self.of_requirements.insert(name.value.clone(), source);
            let template = value.parsed(|text| BindingTemplate::parse(text, wanted));
            variables.extend(template.map(|template| (name.value, template)));
        }
        variables
    }

    /// Refuses a variable that has a source: which one wins would depend on who reads them.
    fn refuse_second(&self, variable: &str) -> Result<()> {
        let mut settings = self.settings.iter();
        let setting =
            settings.find_map(|setting| Some((setting.sets(variable)?, setting.at.clone())));
        let mut processes = self.of_processes.iter();
        let process = processes.find(|process| process.name == variable);
        let process = process.map(|process| {
            let what = format!("`{variable}` is in `env` of `[{}]`", process.table);
            (what, process.at.clone())
        });
        let requirement = self.of_requirements.get(variable).map(|(name, at)| {
            let what = format!("`{variable}` is in `env` of `[requires.{name}]`");
            (what, at.clone())
        });
        let Some((what, at)) = setting.or(process).or(requirement) else {
            return Ok(());
        };
        Err(Error::new(format!("{what} already"))
            .note(format!("it is declared at {at}"))
            .hint("a variable has one source: leave one of them out"))
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
