//! `system.lock`: the decisions that a system keeps: ports, placements, bindings, and hosts. It is
//! committed, sorted, and has a fact on each line, so that reviews show what moves and git merges
//! by line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::Deserialize;

use pkgapp_config::dotted_key;
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;

/// The name of the file.
pub const LOCK_FILE: &str = "system.lock";

const HEADER: &str = "# Written by `pkgapp system lock`. Commit this file.\n";

/// A `system.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SystemLock {
    /// The decisions, by environment.
    pub environments: BTreeMap<String, EnvironmentLock>,
}

/// The decisions about one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EnvironmentLock {
    /// The services that meet requirements, such as `shop.database` = `db`.
    pub bind: BTreeMap<String, String>,
    /// The roles of each host.
    pub hosts: BTreeMap<String, Vec<String>>,
    /// The roles and parts that hosts had, which a deployment has to remove there.
    pub leaving: BTreeMap<String, Vec<String>>,
    /// The hosts of what is on some hosts of a role, and of what keeps data.
    pub place: BTreeMap<String, Vec<String>>,
    /// The ports of services.
    pub ports: BTreeMap<String, PortBlock>,
    /// Ports that no service uses any more, and that none gets yet.
    pub resting: BTreeMap<String, RestingBlock>,
}

/// Consecutive ports of a service, the same on all hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "(u16, u16)")]
pub struct PortBlock {
    /// The first.
    pub first: u16,
    /// How many are reserved on each host.
    pub size: u16,
}

/// Ports of a service that left the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "(u16, u16, LockDate)")]
pub struct RestingBlock {
    /// The ports.
    pub block: PortBlock,
    /// The day on which the service left.
    pub since: Date,
}

/// A date as text.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct LockDate(Date);

impl TryFrom<String> for LockDate {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let date = text.parse().map_err(|_| {
            let text = text.escape_debug();
            format!("`{text}` is not a date such as 2026-12-31")
        });
        date.map(Self)
    }
}

impl From<(u16, u16)> for PortBlock {
    fn from((first, size): (u16, u16)) -> Self {
        Self { first, size }
    }
}

impl From<(u16, u16, LockDate)> for RestingBlock {
    fn from((first, size, since): (u16, u16, LockDate)) -> Self {
        Self {
            block: PortBlock { first, size },
            since: since.0,
        }
    }
}

impl PortBlock {
    /// Returns the ports, which may lie beyond the last one in a lock that somebody has edited.
    pub fn ports(self) -> std::ops::Range<u32> {
        let first = u32::from(self.first);
        first..first + u32::from(self.size)
    }

    /// Returns whether two blocks have a port in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.ports().start < other.ports().end && other.ports().start < self.ports().end
    }
}

impl SystemLock {
    /// Returns the path of the lock of a model: beside it.
    pub fn path(model: &Path) -> PathBuf {
        model.with_file_name(LOCK_FILE)
    }

    /// Reads a lock; one that does not exist is empty.
    ///
    /// # Errors
    /// The file is unreadable, or pkgapp has not written it.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path)?;
        Self::parse(path, &text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            Error::new(format!("cannot read the lock: {}", error.message().trim()))
                .at(Location::at_offset(path, text, offset))
                .hint("resolve conflicts of a merge line by line, or restore the file from git")
        })
    }

    /// Returns the decisions about an environment, which are none for a new one.
    pub fn environment(&self, name: &str) -> EnvironmentLock {
        self.environments.get(name).cloned().unwrap_or_default()
    }

    /// Returns the text of the lock.
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (name, environment) in &self.environments {
            environment.write(name, &mut text);
        }
        text
    }

    /// Writes the lock, unless the file has this text already; returns whether it was written.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<bool> {
        let text = self.to_text();
        if path.exists() && fs::read_to_string(path)? == text {
            return Ok(false);
        }
        fs::write_atomically(path, |file| {
            let written = file.write_all(text.as_bytes());
            written.context(|| format!("cannot write `{}`", shown(path)))
        })?;
        Ok(true)
    }
}

impl EnvironmentLock {
    /// Notes that a host had a role, or a part that is on some hosts of its role, unless it still
    /// has it.
    pub(crate) fn keep_lost(&mut self, host: &str, what: &str) {
        if self.has(host, what) {
            return;
        }
        let lost = self.leaving.entry(host.to_owned()).or_default();
        let place = lost.binary_search_by(|known| known.as_str().cmp(what));
        if let Err(place) = place {
            lost.insert(place, what.to_owned());
        }
    }

    fn has(&self, host: &str, what: &str) -> bool {
        if what.contains('.') {
            let hosts = self.place.get(what);
            hosts.is_some_and(|hosts| hosts.iter().any(|one| one == host))
        } else {
            let roles = self.hosts.get(host);
            roles.is_some_and(|roles| roles.iter().any(|role| role == what))
        }
    }

    fn write(&self, environment: &str, text: &mut String) {
        let names = |names: &Vec<String>| {
            let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            format!("[{}]", quoted.join(", "))
        };
        let table = |text: &mut String, key: &str, lines: Vec<(&String, String)>| {
            if lines.is_empty() {
                return;
            }
            _ = writeln!(
                text,
                "\n[{}]",
                dotted_key(&dotted_key("", environment), key)
            );
            for (name, value) in lines {
                _ = writeln!(text, "{} = {value}", quoted(name));
            }
        };
        let block = |block: PortBlock| format!("{}, {}", block.first, block.size);
        let binds = self.bind.iter().map(|(name, to)| (name, quoted(to)));
        let hosts = self.hosts.iter().map(|(name, roles)| (name, names(roles)));
        let leaving = self
            .leaving
            .iter()
            .map(|(name, roles)| (name, names(roles)));
        let places = self.place.iter().map(|(name, hosts)| (name, names(hosts)));
        let ports = self
            .ports
            .iter()
            .map(|(name, of)| (name, format!("[{}]", block(*of))));
        let resting = self.resting.iter().map(|(name, resting)| {
            (
                name,
                format!("[{}, \"{}\"]", block(resting.block), resting.since),
            )
        });
        table(text, "bind", binds.collect());
        table(text, "hosts", hosts.collect());
        table(text, "leaving", leaving.collect());
        table(text, "place", places.collect());
        table(text, "ports", ports.collect());
        table(text, "resting", resting.collect());
    }
}

/// Returns a text as a basic string of TOML. Names of hosts and parts need no escapes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
