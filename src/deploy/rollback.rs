//! Plans a roll-back: every host goes to a package that it keeps.

use std::collections::BTreeSet;

use serde_json::Value;

use super::confirmation::in_probation;
use super::facts::{HostFacts, KeptPackage, VersionOrder};
use super::host_plan::{HookSteps, HostPlanner, changes, found, left_by};
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::{PreflightRefusals, awaits_decision, no_signature};
use super::secrets::ReturningSecrets;
use super::step::Step;
use super::stored::{
    FailureMark, Fallback, RuntimeChanges, StoredPackage, Transition, VersionChange,
};
use super::withdrawal::Withdrawal;
use pkgapp_core::error::{Error, Result};

impl Plan {
    /// Plans a roll-back: to a version, or to the release before.
    ///
    /// # Errors
    /// Hosts that do not keep what they should go to.
    pub fn rollback(policy: &DeployPolicy, to: Option<&str>, hosts: &[TargetHost]) -> Result<Self> {
        let mut refusals = PreflightRefusals::new("roll back");
        let mut releases = BTreeSet::new();
        let mut plans = Vec::new();
        for host in hosts {
            match RollbackGoal::of(policy, to, &host.facts) {
                Err(error) => refusals.add(&host.name, error),
                Ok(RollbackGoal::BeforeProbation(package)) => {
                    let withdrawal = Withdrawal::new(policy, host, package);
                    releases.insert(withdrawal.release().to_owned());
                    plans.push(withdrawal.plan());
                }
                Ok(RollbackGoal::Kept(kept, runtime)) => {
                    releases.insert(kept.release.clone());
                    plans.push(plan_host(policy, host, kept, &runtime));
                }
            }
        }
        refusals.finish()?;
        Ok(Self::new("rollback", policy, releases, plans))
    }
}

/// Where a host goes.
enum RollbackGoal<'a> {
    /// To the release before this package, which is in probation.
    BeforeProbation(&'a KeptPackage),
    /// To a kept package, with a change of the interpreter.
    Kept(&'a KeptPackage, Box<RuntimeChanges>),
}

impl<'a> RollbackGoal<'a> {
    fn of(policy: &DeployPolicy, to: Option<&str>, facts: &'a HostFacts) -> Result<Self> {
        if let Some(error) = Error::all(policy.backend.unfit(facts)) {
            return Err(error);
        }
        match (in_probation(policy, facts)?, to) {
            (Some(waiting), None) => return Ok(Self::BeforeProbation(waiting.package)),
            (Some(_), Some(_)) => awaits_decision(facts).map_or(Ok(()), Err)?,
            (None, _) => {}
        }

        let kept = earlier(facts, to)?;
        if kept.is_unsigned
            && let Some(error) = no_signature(&kept.file, facts)
        {
            return Err(error.hint("push a signed package of that release instead"));
        }
        let changes = runtime_of_kept(kept, facts)?;
        Ok(Self::Kept(kept, Box::new(changes)))
    }
}

/// What is done about the interpreter when a host goes back to a package that it keeps: it never
/// becomes older, as other applications may need what it is.
fn runtime_of_kept(kept: &KeptPackage, facts: &HostFacts) -> Result<RuntimeChanges> {
    let Some(on) = facts.runs_on.get(&kept.sha256) else {
        return Ok(RuntimeChanges::default());
    };
    // How the one of then compares with the installed one.
    if matches!(on.order, Some(VersionOrder::Same | VersionOrder::Older)) {
        return Ok(RuntimeChanges::default());
    }
    let runtime = facts.kept_runtime(on.sha256).ok_or_else(|| {
        Error::new(format!(
            "release {} runs on {} {}, which is not kept there",
            kept.release, on.name, on.version
        ))
        .note(format!(
            "installed is {}",
            facts.runtimes.get(&on.name).map_or("none", String::as_str)
        ))
        .hint("push it: it is sent then")
    })?;
    Ok(changes(
        &StoredPackage::from(runtime),
        facts,
        &mut Vec::new(),
    ))
}

fn plan_host(
    policy: &DeployPolicy,
    host: &TargetHost,
    kept: &KeptPackage,
    changes: &RuntimeChanges,
) -> HostPlan {
    let facts = &host.facts;
    let planner = HostPlanner::new(policy, host, &policy.prefix);
    let mut notes = found(facts);
    if runs_already(kept, facts) {
        notes.push("it runs that already".to_owned());
        return planner.idle(&kept.version, notes);
    }

    let package = StoredPackage::from(kept);
    let hooks = planner.hooks(&package);
    let entry = |result: &str| planner.entry("rollback", &package, changes, result);
    let left = left_by(facts, package.sha256).map(StoredPackage::from);
    let transition = Transition {
        from: facts.installed.as_deref(),
        to: Some(&package),
        change: version_change(kept, changes, facts),
        fallback: &left.clone().map_or(Fallback::None, Fallback::Package),
        runtime: changes,
        lock_wait: policy.patience,
        leaves: left.as_ref(),
        trial: None,
    };
    let secrets = ReturningSecrets::of(&planner);
    let switch = switch(&planner, &hooks, &transition, &secrets, &entry("ok"));

    let awaits = planner.awaits(transition.fallback);
    if awaits {
        notes.push(planner.awaited());
    }

    let mut prepare = vec![planner.lock(&[], None)];
    prepare.extend(planner.try_login(transition.fallback));
    prepare.extend(planner.prepare(&package));
    let after_failure = |steps: Vec<Step>| secrets.back.iter().cloned().chain(steps).collect();
    let [failed, refused, unconfirmed] = planner
        .without_success(&hooks, Some(&package), entry)
        .map(after_failure);
    HostPlan {
        prepare,
        switch,
        awaits,
        abandon: after_failure(hooks.undrain),
        failed,
        refused,
        unconfirmed,
        unlock: vec![planner.steps.unlock()],
        ..planner.untouched(&kept.version, notes)
    }
}

/// The steps from the installed release to a package, and back if they fail.
fn switch(
    planner: &HostPlanner<'_>,
    hooks: &HookSteps,
    transition: &Transition<'_>,
    secrets: &ReturningSecrets,
    entry: &Value,
) -> Vec<Step> {
    let mut steps = hooks.before.clone();
    steps.extend(hooks.drain.clone());
    steps.extend(secrets.there.iter().cloned());
    steps.extend(planner.activate(transition));
    steps.extend(secrets.after.iter().cloned());
    steps.extend(hooks.undrain.clone());
    steps.extend(hooks.after.clone());
    if !planner.awaits(transition.fallback) {
        // What was left is not gone back to again, although nothing is wrong with it.
        let marked = transition.leaves.map(|left| (FailureMark::Left, left));
        steps.push(planner.record(Some(transition.to), marked, entry));
    }
    steps
}

/// How the version of a kept package compares with the installed one.
fn version_change(
    kept: &KeptPackage,
    changes: &RuntimeChanges,
    facts: &HostFacts,
) -> VersionChange {
    if facts.kept_installed() == Some(kept) && changes.there.is_some() {
        return VersionChange::RuntimeOnly;
    }
    let order = facts.kept_orders.get(&kept.sha256).copied();
    VersionChange::to(order.filter(|_| facts.installed.is_some()))
}

fn runs_already(kept: &KeptPackage, facts: &HostFacts) -> bool {
    facts.current == Some(kept.sha256)
        && facts.installed.as_deref() == Some(&kept.version)
        && facts.half.is_none()
}

/// The package that a host goes back to.
fn earlier<'a>(facts: &'a HostFacts, to: Option<&str>) -> Result<&'a KeptPackage> {
    match to {
        Some(to) => named(facts, to),
        None => newest_before(facts),
    }
}

fn whole(facts: &HostFacts) -> impl Iterator<Item = &KeptPackage> {
    facts.kept.iter().filter(|kept| kept.is_whole())
}

fn listed(facts: &HostFacts) -> String {
    let all: Vec<&str> = whole(facts).map(|kept| kept.release.as_str()).collect();
    if all.is_empty() {
        "it keeps no packages".to_owned()
    } else {
        format!("it keeps {}", all.join(", "))
    }
}

fn named<'a>(facts: &'a HostFacts, to: &str) -> Result<&'a KeptPackage> {
    whole(facts)
        .filter(|kept| kept.release == to || kept.version == to)
        .max_by_key(|kept| kept.good_at())
        .ok_or_else(|| {
            Error::new(format!("release `{to}` is not kept there"))
                .note(listed(facts))
                .hint("push it: it is sent then")
        })
}

/// The newest package that worked before the installed one.
fn newest_before(facts: &HostFacts) -> Result<&KeptPackage> {
    let current = facts
        .kept_installed()
        .map(|kept| kept.sha256)
        .or(facts.current);
    let now = facts
        .kept
        .iter()
        .find(|kept| Some(kept.sha256) == current)
        .and_then(KeptPackage::good_at);
    let is_before = |kept: &&KeptPackage| {
        let is_fine = kept.failed.is_empty()
            && !facts.left.contains(&kept.sha256)
            && kept.good_at().is_some();
        let is_earlier = now.is_none_or(|now| kept.good_at() < Some(now));
        Some(kept.sha256) != current && is_fine && is_earlier
    };
    whole(facts)
        .filter(is_before)
        .max_by_key(|kept| kept.good_at())
        .ok_or_else(|| {
            Error::new("no earlier release that worked is kept there")
                .note(listed(facts))
                .hint("choose one with `--to VERSION`")
        })
}
