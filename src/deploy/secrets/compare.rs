//! Which secrets hosts have, and whether they have the same ones.

use std::collections::{BTreeMap, BTreeSet};

use super::host::HostSecrets;

/// A secret that the application declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedSecret {
    /// The variable.
    pub name: String,
    /// Whether the application cannot do without it.
    pub is_required: bool,
}

/// How a host has a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    /// It has one, and no host has another.
    Set,
    /// It has one, and other hosts have another.
    Differs,
    /// It has none.
    Missing,
}

impl SecretState {
    /// Returns the name for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Differs => "differs",
            Self::Missing => "missing",
        }
    }
}

/// One secret on all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// The variable.
    pub name: String,
    /// Whether the application declares it.
    pub is_declared: bool,
    /// Whether the application cannot do without it.
    pub is_required: bool,
    /// Of every host, in their order.
    pub states: Vec<SecretState>,
    /// Hosts by their index that have the same value, each group in the order of hosts.
    pub groups: Vec<Vec<usize>>,
}

impl SecretRow {
    /// Returns the indices of the hosts that have it in this way.
    pub fn hosts(&self, state: SecretState) -> impl Iterator<Item = usize> {
        let states = self.states.iter().enumerate();
        states
            .filter(move |(_, its)| **its == state)
            .map(|(index, _)| index)
    }

    /// Returns whether a host lacks what the application cannot do without.
    pub fn is_lacking(&self) -> bool {
        self.is_required && self.states.contains(&SecretState::Missing)
    }
}

/// All secrets that are declared or set, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretTable {
    /// A row for each.
    pub rows: Vec<SecretRow>,
}

impl SecretTable {
    /// Compares what hosts have.
    pub fn of(expected: &[ExpectedSecret], hosts: &[&HostSecrets]) -> Self {
        let declared = expected.iter().map(|secret| secret.name.as_str());
        let set = hosts.iter().flat_map(|host| host.hashes.keys());
        let names: BTreeSet<&str> = declared.chain(set.map(String::as_str)).collect();
        let row = |name: &str| row(name, expected, hosts);
        Self {
            rows: names.into_iter().map(row).collect(),
        }
    }
}

fn row(name: &str, expected: &[ExpectedSecret], hosts: &[&HostSecrets]) -> SecretRow {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, host) in hosts.iter().enumerate() {
        if let Some(hash) = host.hashes.get(name) {
            groups.entry(*hash).or_default().push(index);
        }
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    // The order of hashes says nothing.
    groups.sort();
    let state = |host: &&HostSecrets| {
        if !host.hashes.contains_key(name) {
            SecretState::Missing
        } else if groups.len() > 1 {
            SecretState::Differs
        } else {
            SecretState::Set
        }
    };
    let declared = expected.iter().find(|secret| secret.name == name);
    SecretRow {
        name: name.to_owned(),
        is_declared: declared.is_some(),
        is_required: declared.is_some_and(|secret| secret.is_required),
        states: hosts.iter().map(state).collect(),
        groups,
    }
}
