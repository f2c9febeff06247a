//! Plans a confirmation: hosts keep the release that is in probation there.

use std::collections::BTreeSet;

use super::facts::{HostFacts, KeptPackage, TransactionState};
use super::host_plan::{HostPlanner, found};
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::PreflightRefusals;
use super::stored::{FailureMark, PackageSet, RuntimeChanges};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};

impl Plan {
    /// Plans a confirmation.
    ///
    /// # Errors
    /// The login must not change a host's state, or a host has a package in probation that it does
    /// not keep.
    pub fn confirm(policy: &DeployPolicy, hosts: &[TargetHost]) -> Result<Self> {
        let mut refusals = PreflightRefusals::new("confirm");
        let (mut releases, mut plans) = (BTreeSet::new(), Vec::new());
        for host in hosts {
            match in_probation(policy, &host.facts) {
                Err(error) => refusals.add(&host.name, error),
                Ok(None) => plans.push(nothing_to_confirm(policy, host)),
                Ok(Some(waiting)) => {
                    releases.insert(waiting.package.release.clone());
                    plans.push(plan_host(policy, host, &waiting));
                }
            }
        }
        refusals.finish()?;
        Ok(Self::new("confirm", policy, releases, plans))
    }
}

/// A package on a host whose fate a person or a push decides.
pub(super) struct WaitingPackage<'a> {
    /// The package that is in probation.
    pub(super) package: &'a KeptPackage,
    /// The package that a rollback has left for it.
    left: Option<&'a KeptPackage>,
}

/// Finds the package that is in probation on a host.
///
/// # Errors
/// The login must not change the state of the host, or the package is not kept there.
pub(super) fn in_probation<'a>(
    policy: &DeployPolicy,
    facts: &'a HostFacts,
) -> Result<Option<WaitingPackage<'a>>> {
    if let Some(error) = policy.backend.locked_out(facts) {
        return Err(error);
    }
    let Some(transaction) = &facts.transaction else {
        return Ok(None);
    };
    if !matches!(transaction.state, TransactionState::Probation(_)) {
        return Ok(None);
    }
    let kept = |sum| Sha256Sum::from_hex(sum).and_then(|sum| facts.kept(sum));
    let package = kept(&transaction.sum)
        .ok_or_else(|| Error::new("the package that is in probation is not kept there"))?;
    Ok(Some(WaitingPackage {
        package,
        left: kept(&transaction.leaves),
    }))
}

fn nothing_to_confirm(policy: &DeployPolicy, host: &TargetHost) -> HostPlan {
    let planner = HostPlanner::new(policy, host, &policy.prefix);
    let mut notes = found(&host.facts);
    notes.push("nothing awaits confirmation".to_owned());
    let installed = host.facts.installed.as_deref().unwrap_or_default();
    planner.untouched(installed, notes)
}

fn plan_host(policy: &DeployPolicy, host: &TargetHost, waiting: &WaitingPackage<'_>) -> HostPlan {
    let planner = HostPlanner::new(policy, host, &policy.prefix);
    let set = PackageSet::from(waiting.package);
    let left = waiting.left.map(PackageSet::from);
    let marked = left.as_ref().map(|left| (FailureMark::Left, left));
    let entry = |result: &str| planner.entry("confirm", &set, &RuntimeChanges::default(), result);
    let hooks = planner.hooks(&set);
    let [failed, refused, unconfirmed] = planner.without_success(&hooks, Some(&set), entry);
    HostPlan {
        prepare: vec![planner.lock(&[], Some(set.id))],
        switch: vec![
            planner.steps.confirm(set.id),
            planner.record(Some(Some(&set)), marked, &entry("ok")),
        ],
        failed,
        refused,
        unconfirmed,
        unlock: vec![planner.steps.unlock()],
        ..planner.untouched(&set.software.version, found(&host.facts))
    }
}
