//! `[service.NAME]`: services of the distribution that applications use.

use pkgapp_core::error::{Error, Location};

use crate::reader::{Located, TableReader};
use crate::service::PartName;

use super::placement::{host_name, port};

/// A service that the distribution packages, or that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingService {
    /// NAME.
    pub name: PartName,
    /// `kind`.
    pub kind: ServiceKind,
    /// Who runs it.
    pub runs: ServiceRuns,
    /// `moved-from`: the host that had its data until a person moved them.
    pub moved_from: Option<Located<String>>,
    /// `manage`: whether a package installs it and says who may use it; it does by default.
    pub manage: bool,
    /// Where it is declared.
    pub at: Location,
}

/// What a backing service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// PostgreSQL.
    Postgresql,
    /// Redis, or Valkey where the distribution has that.
    Redis,
    /// nginx.
    Nginx,
    /// The node exporter of Prometheus.
    NodeExporter,
}

/// Who runs a backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceRuns {
    /// `role`: the hosts of a role.
    OnRole(Located<PartName>),
    /// `external`: somebody else.
    External(ExternalService),
}

/// `[environment.NAME] service.SERVICE`: the differences of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceOverride {
    /// `role` or `external`.
    pub runs: Option<ServiceRuns>,
    /// `moved-from`.
    pub moved_from: Option<Located<String>>,
    /// `manage`.
    pub manage: Option<bool>,
}

/// The address of a service that the system does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalService {
    /// `host`.
    pub host: String,
    /// `port`; by default that of the kind.
    pub port: u16,
}

impl ServiceKind {
    /// The words of the model.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("postgresql", Self::Postgresql),
        ("redis", Self::Redis),
        ("nginx", Self::Nginx),
        ("node-exporter", Self::NodeExporter),
    ];

    /// Returns the word of the model.
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// Returns the port that it listens on, in every distribution.
    pub fn port(self) -> u16 {
        match self {
            Self::Postgresql => 5432,
            Self::Redis => 6379,
            Self::Nginx => 80,
            Self::NodeExporter => 9100,
        }
    }

    /// Returns whether it keeps data that a new host would not have.
    pub fn has_data(self) -> bool {
        matches!(self, Self::Postgresql | Self::Redis)
    }
}

impl BackingService {
    /// Returns the role of its hosts, unless somebody else runs it.
    pub fn role(&self) -> Option<&Located<PartName>> {
        match &self.runs {
            ServiceRuns::OnRole(role) => Some(role),
            ServiceRuns::External(_) => None,
        }
    }

    /// Returns the service as an environment has it.
    #[must_use]
    pub fn with(&self, differences: &ServiceOverride) -> Self {
        let runs = differences.runs.as_ref().unwrap_or(&self.runs);
        let moved_from = differences.moved_from.as_ref().or(self.moved_from.as_ref());
        Self {
            runs: runs.clone(),
            moved_from: moved_from.cloned(),
            manage: differences.manage.unwrap_or(self.manage),
            ..self.clone()
        }
    }

    pub(super) fn read_all(root: &TableReader<'_>) -> Vec<Self> {
        PartName::tables(root, "service", "service.NAME")
            .into_iter()
            .filter_map(|(name, table)| Self::read(name, table))
            .collect()
    }

    fn read(name: PartName, table: TableReader<'_>) -> Option<Self> {
        let at = table.at();
        let kind = table
            .require("kind", "kind = \"postgresql\"")
            .and_then(|value| value.choice(&ServiceKind::NAMES));
        let keys = ServiceOverride::read(&table, kind);
        if keys.as_ref().is_some_and(|keys| keys.runs.is_none()) {
            let error = Error::new(format!("nobody runs the service `{name}`"));
            let hint = "write `role = \"ROLE\"`, or `external = { host = \"HOST\" }`";
            table.complain_of_missing("role", error.hint(hint));
        }
        table.finish();
        let keys = keys?;
        Some(Self {
            name,
            kind: kind?,
            runs: keys.runs?,
            moved_from: keys.moved_from,
            manage: keys.manage.unwrap_or(true),
            at,
        })
    }
}

impl ServiceOverride {
    /// Reads the keys; `None` after a mistake.
    pub(super) fn read(table: &TableReader<'_>, kind: Option<ServiceKind>) -> Option<Self> {
        let role = table.get("role");
        let external = table.get("external");
        let manage = table.get("manage");
        let manage = manage.map_or(Some(None), |value| value.boolean().map(Some));
        let moved_from = table
            .get("moved-from")
            .map_or(Some(None), |value| value.placed(host_name).map(Some));
        if let (Some(role), Some(_)) = (&role, &external) {
            let error = Error::new(format!("`{}` has both `role` and `external`", table.path()));
            role.complain(error.hint("leave one of them out"));
            return None;
        }
        let runs = match (role, external) {
            (Some(role), _) => Some(ServiceRuns::OnRole(role.placed(PartName::parse)?)),
            (None, Some(external)) => {
                let table = external.table("service.NAME.external")?;
                let external = ExternalService::read(&table, kind);
                table.finish();
                Some(ServiceRuns::External(external?))
            }
            (None, None) => None,
        };
        Some(Self {
            runs,
            moved_from: moved_from?,
            manage: manage?,
        })
    }
}

impl ExternalService {
    fn read(table: &TableReader<'_>, kind: Option<ServiceKind>) -> Option<Self> {
        let host = table
            .require("host", "host = \"db.example.com\"")
            .and_then(|value| value.parsed(host_name));
        let port = match table.get("port") {
            Some(value) => port(&value),
            None => kind.map(ServiceKind::port),
        };
        Some(Self {
            host: host?,
            port: port?,
        })
    }
}
