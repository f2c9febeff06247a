//! What a push refuses: hosts that lack secrets.

use std::collections::BTreeMap;

use crate::commands::push::RollingPlan;
use pkgapp_core::error::{Error, Result};
use pkgapp_deploy::facts::HostFacts;
use pkgapp_deploy::fleet::Machine;
use pkgapp_deploy::hosts::{HostFailure, interrupt};
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::TargetHost;
use pkgapp_deploy::secrets::RequiredSecrets;

use super::missing;

/// A host, and the secrets that it lacks.
type LackingHost<'a> = (&'a str, Vec<String>);

/// Refuses a plan if a host that it changes lacks a secret.
pub(in crate::commands) fn check(
    required: &RequiredSecrets,
    plan: &Plan,
    sites: &[TargetHost],
    command: &RollingPlan<'_>,
) -> Result<()> {
    let busy = plan.batches.iter().flatten();
    let busy = busy.map(|index| &sites[*index]);
    let facts: BTreeMap<&str, &HostFacts> =
        busy.map(|site| (site.name.as_str(), &site.facts)).collect();

    let hosts = ask(required, &facts, command)?;
    let target = command.deploy.map(|deploy| deploy.name.as_str());
    let variables = required.variables().iter();
    let errors = variables.filter_map(|name| judge(name, &hosts, target));
    Error::all(errors).map_or(Ok(()), Err)
}

/// Asks hosts which secrets they lack.
fn ask<'a>(
    required: &RequiredSecrets,
    facts: &BTreeMap<&str, &HostFacts>,
    command: &'a RollingPlan<'_>,
) -> Result<Vec<LackingHost<'a>>> {
    let look = |machine: &Machine<'_>| -> Result<Vec<String>> {
        let facts = facts.get(machine.member.name.as_str());
        let remote = command.policy.backend.remote_state(facts.copied());
        let question = required.command(&remote);
        let answer = machine.host.run(&question, &mut |_, _| {});
        let answer = answer.map_err(HostFailure::into_error)?;
        RequiredSecrets::lacking(&answer.text())
    };
    let machines = command.fleet.machines.iter();
    let machines: Vec<&Machine<'_>> = machines
        .filter(|machine| facts.contains_key(machine.member.name.as_str()))
        .collect();
    let parallel = command.fleet.parallel();
    let answers = command.fleet.each_of(&machines, parallel, look);

    let (mut hosts, mut errors) = (Vec::new(), Vec::new());
    for (machine, answer) in machines.iter().zip(answers) {
        match answer.unwrap_or_else(|| Err(interrupt::error())) {
            Ok(lacking) => hosts.push((machine.member.name.as_str(), lacking)),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(hosts), Err)
}

/// Returns the error for a secret that some hosts lack.
fn judge(name: &String, hosts: &[LackingHost<'_>], target: Option<&str>) -> Option<Error> {
    let (without, with): (Vec<_>, Vec<_>) = hosts
        .iter()
        .partition(|(_, lacking)| lacking.contains(name));
    let without: Vec<&str> = without.iter().map(|(host, _)| *host).collect();
    let with = with.first().map(|(host, _)| *host);
    (!without.is_empty()).then(|| missing(name, &without, with, target))
}
