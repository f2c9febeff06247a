//! The hosts of an environment, by name and by role.

use std::collections::{BTreeMap, HashMap};

use pkgapp_config::{
    HostAddress, Located, PartName, SystemEnvironment, SystemHostGroup, suggested,
};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::text::counted;

use crate::resolved::ResolvedHost;

/// The hosts of an environment, in the order of the model.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    pub(crate) hosts: Vec<ResolvedHost>,
    by_name: HashMap<String, usize>,
    by_role: BTreeMap<PartName, Vec<usize>>,
}

impl HostIndex {
    /// Expands the patterns of an environment.
    pub(crate) fn of(environment: &SystemEnvironment, mistakes: &mut Vec<Error>) -> Self {
        let mut table = Self::default();
        for group in &environment.hosts {
            match expanded(group, environment) {
                Ok(hosts) => table.extend(group, hosts, mistakes),
                Err(error) => mistakes.push(error.at(group.pattern.at.clone())),
            }
        }
        table
    }

    fn extend(
        &mut self,
        group: &SystemHostGroup,
        hosts: Vec<ResolvedHost>,
        mistakes: &mut Vec<Error>,
    ) {
        for host in hosts {
            let number = self.hosts.len();
            if self.by_name.contains_key(&host.name) {
                let error = Error::new(format!("`{}` is listed twice", host.name));
                let hint = "list all of its roles in one place";
                mistakes.push(error.at(group.pattern.at.clone()).hint(hint));
                continue;
            }
            self.by_name.insert(host.name.clone(), number);
            for role in &host.roles {
                let hosts = self.by_role.entry(role.clone()).or_default();
                hosts.push(number);
            }
            self.hosts.push(host);
        }
    }

    /// Returns the number of a host.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns the name of a host.
    pub(crate) fn name(&self, number: usize) -> &str {
        &self.hosts[number].name
    }

    /// Returns the hosts of a role, ascending; `what` is placed on them.
    pub(crate) fn of_role(
        &self,
        role: &Located<PartName>,
        environment: &PartName,
        what: &str,
    ) -> Result<&[usize]> {
        self.by_role
            .get(&role.value)
            .map(Vec::as_slice)
            .ok_or_else(|| {
                let roles = self.by_role.keys().map(PartName::as_str);
                let role_name = &role.value;
                Error::new(format!(
                    "role `{role_name}` has no host in `{environment}`, but `{what}` is placed there"
                ))
                .at(role.at.clone())
                .hint(suggested(role_name.as_str(), roles))
            })
    }
}

/// Returns the hosts of one element of `hosts`.
fn expanded(group: &SystemHostGroup, environment: &SystemEnvironment) -> Result<Vec<ResolvedHost>> {
    let logins = group.pattern.value.expand()?;
    let addresses = match &group.address {
        Some(pattern) => Some(pattern.value.expand()?),
        None => None,
    };
    let number = addresses.as_ref().map_or(logins.len(), Vec::len);
    if number != logins.len() {
        return Err(Error::new(format!(
            "`{}` stands for {}, and `address` for {number}",
            group.pattern.value.as_str(),
            counted(logins.len(), "host"),
        )));
    }
    let addresses = addresses.unwrap_or_else(|| logins.clone());
    let pairs = logins.into_iter().zip(addresses);
    let hosts = pairs.map(|(login, address)| ResolvedHost {
        name: login.host.clone(),
        address: address.host,
        login: HostAddress {
            user: login.user.or_else(|| environment.policy.user.clone()),
            ..login
        },
        roles: group.roles.iter().map(|role| role.value.clone()).collect(),
        labels: group.labels.clone(),
        memory: group.memory,
        variables: group.variables.clone(),
        sudo_password_file: group.sudo_password_file.clone(),
    });
    Ok(hosts.collect())
}
