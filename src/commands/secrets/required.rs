//! What a push refuses: hosts that lack secrets.

use crate::commands::push::RollingPlan;
use pkgapp_core::error::{Error, Result};
use pkgapp_deploy::fleet::Machine;
use pkgapp_deploy::hosts::{HostFailure, interrupt};
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::TargetHost;
use pkgapp_deploy::secrets::RequiredSecrets;

use super::missing;

/// Refuses a plan if a host that it changes lacks a secret.
pub(in crate::commands) fn check(
    required: &RequiredSecrets,
    plan: &Plan,
    sites: &[TargetHost],
    command: &RollingPlan<'_>,
) -> Result<()> {
    let busy: Vec<&TargetHost> = plan
        .batches
        .iter()
        .flatten()
        .map(|index| &sites[*index])
        .collect();
    let site_of = |machine: &Machine<'_>| {
        let mut busy = busy.iter();
        busy.find(|site| site.name == machine.member.name)
    };
    let machines = command.fleet.machines.iter();
    let machines: Vec<&Machine<'_>> = machines
        .filter(|machine| site_of(machine).is_some())
        .collect();
    let look = |machine: &Machine<'_>| -> Result<Vec<String>> {
        let facts = site_of(machine).map(|site| &site.facts);
        let remote = command.policy.backend.remote_state(facts);
        let question = required.command(&remote);
        let answer = machine.host.run(&question, &mut |_, _| {});
        let answer = answer.map_err(HostFailure::into_error)?;
        RequiredSecrets::lacking(&answer.text())
    };

    let parallel = command.fleet.parallel();
    let answers = command.fleet.each_of(&machines, parallel, look);
    let (mut hosts, mut errors) = (Vec::new(), Vec::new());
    for (machine, answer) in machines.iter().zip(answers) {
        let name = machine.member.name.as_str();
        match answer.unwrap_or_else(|| Err(interrupt::error())) {
            Ok(lacking) => hosts.push((name, lacking)),
            Err(error) => errors.push(error),
        }
    }
    let target = command.deploy.map(|deploy| deploy.name.as_str());
    for variable in required.variables() {
        let is_lacking = |lacking: &Vec<String>| lacking.contains(variable);
        let (without, with): (Vec<_>, Vec<_>) =
            hosts.iter().partition(|(_, lacking)| is_lacking(lacking));
        let without: Vec<&str> = without.iter().map(|(name, _)| *name).collect();
        if !without.is_empty() {
            let with = with.first().map(|(name, _)| *name);
            errors.push(missing(variable, &without, with, target));
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}
