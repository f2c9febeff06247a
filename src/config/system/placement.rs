//! `place`: the role on whose hosts a part of an application runs, and how many of it.

use pkgapp_core::error::{Error, Location, Result};

use crate::host_pattern::HostPattern;
use crate::reader::{Located, TableReader, ValueReader};
use crate::service::{PartName, count};
use crate::site::size;

/// How many of a service one host, or an environment, can have.
const MOST: u32 = 1000;

/// Where a part of an application runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartPlacement {
    /// `place.NAME = false`: on no host.
    Nowhere(Location),
    /// `place.NAME = { role = "web" }`.
    OnRole(RolePlacement),
}

/// The hosts of a role, or some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolePlacement {
    /// `role`.
    pub role: Located<PartName>,
    /// `per-host`: how many run on each host; `None` leaves it to the application.
    pub per_host: Option<u32>,
    /// `count`: how many hosts of the role have it; `None` for all of them.
    pub count: Option<u32>,
    /// `port`: the port of the first one on each host; by default the system chooses it.
    pub port: Option<u16>,
    /// `memory`: how many bytes each of them needs.
    pub memory: Option<u64>,
    /// `data`: whether its hosts hold data of it, so that it does not move by itself; by default
    /// they do.
    pub data: bool,
    /// `moved-from`: the host that had its data until a person moved them.
    pub moved_from: Option<Located<String>>,
}

/// `[environment.NAME] place.APPLICATION.PART`: the numbers of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementOverride {
    /// `per-host`.
    pub per_host: Option<u32>,
    /// `count`.
    pub count: Option<u32>,
}

impl PartPlacement {
    /// Reads all of `place`.
    pub(super) fn read_all(application: &TableReader<'_>) -> Vec<(Located<PartName>, Self)> {
        let place = application.get("place");
        let table = place.and_then(|value| value.table("application.NAME.place"));
        let entries = table.map(|table| table.entries());
        let parts = entries.into_iter().flatten().filter_map(|(name, value)| {
            let at = name.at.clone();
            let part = PartName::of_key(&name, &value)?;
            Some((Located { value: part, at }, Self::read(&value)?))
        });
        parts.collect()
    }

    fn read(value: &ValueReader<'_>) -> Option<Self> {
        if value.is_false() {
            return Some(Self::Nowhere(value.at()));
        }
        if !value.is_table() {
            value.wrong_type("a table such as `{ role = \"web\" }`, or `false`");
            return None;
        }
        let table = value.table("application.NAME.place.PART")?;
        let placement = RolePlacement::read(&table);
        table.finish();
        placement.map(Self::OnRole)
    }
}

impl RolePlacement {
    /// The placement on every host of a role.
    pub fn on(role: Located<PartName>) -> Self {
        Self {
            role,
            per_host: None,
            count: None,
            port: None,
            memory: None,
            data: true,
            moved_from: None,
        }
    }

    /// Returns the placement with the numbers of an environment.
    #[must_use]
    pub fn with(&self, numbers: &PlacementOverride) -> Self {
        Self {
            per_host: numbers.per_host.or(self.per_host),
            count: numbers.count.or(self.count),
            ..self.clone()
        }
    }

    fn read(table: &TableReader<'_>) -> Option<Self> {
        let role = table
            .require("role", "role = \"web\"")
            .and_then(|value| value.placed(PartName::parse));
        let numbers = PlacementOverride::read(table);
        let port = table.get("port").and_then(|value| port(&value));
        let memory = table.get("memory").and_then(|value| value.parsed(size));
        let data = table
            .get("data")
            .map_or(Some(true), |value| value.boolean());
        let moved_from = table.get("moved-from");
        let moved_from = moved_from.and_then(|value| value.placed(host_name));
        Some(Self {
            role: role?,
            per_host: numbers.per_host,
            count: numbers.count,
            port,
            memory,
            data: data?,
            moved_from,
        })
    }
}

impl PlacementOverride {
    pub(super) fn read(table: &TableReader<'_>) -> Self {
        let number = |key| table.get(key).and_then(|value| count(&value, 1, MOST));
        Self {
            per_host: number("per-host"),
            count: number("count"),
        }
    }
}

/// Reads a port.
pub(super) fn port(value: &ValueReader<'_>) -> Option<u16> {
    let number = value.integer(1..=i64::from(u16::MAX))?;
    u16::try_from(number).ok()
}

/// Reads the name or address of one host.
pub(super) fn host_name(text: &str) -> Result<String> {
    let hosts = HostPattern::parse(text)?.expand()?;
    match hosts.as_slice() {
        [host] if host.user.is_none() && host.port.is_none() => Ok(host.host.clone()),
        _ => Err(Error::new(format!("`{text}` is not the name of one host"))),
    }
}
