//! Plans a confirmation: hosts keep the release that is in probation there.

use std::collections::BTreeSet;

use super::facts::{HostFacts, KeptPackage, TransactionState};
use super::host_plan::{HostPlanner, found};
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::PreflightRefusals;
use super::stored::{RuntimeChanges, StoredPackage};
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
                Ok(Some(kept)) => {
                    releases.insert(kept.release.clone());
                    plans.push(plan_host(policy, host, kept));
                }
            }
        }
        refusals.finish()?;
        Ok(Self::new("confirm", policy, releases, plans))
    }
}

/// The package that is in probation on a host.
fn in_probation<'a>(
    policy: &DeployPolicy,
    facts: &'a HostFacts,
) -> Result<Option<&'a KeptPackage>> {
    if let Some(error) = policy.backend.locked_out(facts) {
        return Err(error);
    }
    let Some(transaction) = &facts.transaction else {
        return Ok(None);
    };
    if !matches!(transaction.state, TransactionState::Probation(_)) {
        return Ok(None);
    }
    let kept = Sha256Sum::from_hex(&transaction.sum).and_then(|sum| facts.kept(sum));
    let lost = || Error::new("the package that is in probation is not kept there");
    kept.map(Some).ok_or_else(lost)
}

fn nothing_to_confirm(policy: &DeployPolicy, host: &TargetHost) -> HostPlan {
    let planner = HostPlanner::new(policy, host, &policy.prefix);
    let mut notes = found(&host.facts);
    notes.push("nothing awaits confirmation".to_owned());
    let installed = host.facts.installed.as_deref().unwrap_or_default();
    planner.untouched(installed, notes)
}

fn plan_host(policy: &DeployPolicy, host: &TargetHost, kept: &KeptPackage) -> HostPlan {
    let planner = HostPlanner::new(policy, host, &policy.prefix);
    let package = StoredPackage::from(kept);
    let entry =
        |result: &str| planner.entry("confirm", &package, &RuntimeChanges::default(), result);
    let hooks = planner.hooks(&package);
    let [failed, refused] = planner.without_success(&hooks, Some(&package), entry);
    HostPlan {
        prepare: vec![planner.lock(&[], Some(kept.sha256))],
        switch: vec![
            planner.steps.confirm(kept.sha256),
            planner.record(Some(Some(&package)), None, &entry("ok")),
        ],
        failed,
        refused,
        unlock: vec![planner.steps.unlock()],
        ..planner.untouched(&kept.version, found(&host.facts))
    }
}
