//! Plans a roll-back: every host goes to a package that it keeps.

use std::collections::BTreeSet;

use serde_json::Value;

use super::confirmation::in_probation;
use super::facts::{HostFacts, KeptPackage, VersionOrder};
use super::host_plan::{HookSteps, HostPlanner, changes, configuration_text, found, left_by};
use super::pieces::FilePieces;
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::{PreflightRefusals, awaits_decision, unsigned};
use super::secrets::ReturningSecrets;
use super::step::Step;
use super::stored::{
    FailureMark, Fallback, IncomingPackage, PackageSet, RuntimeChanges, SetChange, StoredPackage,
    Transition,
};
use super::withdrawal::Withdrawal;
use pkgapp_core::error::{Error, Result};

impl Plan {
    /// Plans a roll-back: to a version, or to the release before.
    ///
    /// # Errors
    /// Hosts that do not keep what they should go to.
    pub fn rollback(
        policy: &DeployPolicy,
        to: RollbackTarget<'_>,
        hosts: &[TargetHost],
    ) -> Result<Self> {
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
                Ok(RollbackGoal::Packages(set, runtime)) => {
                    releases.insert(set.software.release.clone());
                    plans.push(plan_host(policy, host, &set, &runtime));
                }
            }
        }
        refusals.finish()?;
        Ok(Self::new("rollback", policy, releases, plans))
    }
}

/// What hosts are asked to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackTarget<'a> {
    /// The release before.
    Previous,
    /// The release or package version of this name.
    Version(&'a str),
    /// The configuration before, with the software that is installed.
    Configuration,
}

/// Where a host goes.
enum RollbackGoal<'a> {
    /// To the release before this package, which is in probation.
    BeforeProbation(&'a KeptPackage),
    /// To packages that it keeps, with a change of the interpreter.
    Packages(Box<PackageSet>, Box<RuntimeChanges>),
}

impl<'a> RollbackGoal<'a> {
    fn of(policy: &DeployPolicy, to: RollbackTarget<'_>, facts: &'a HostFacts) -> Result<Self> {
        if let Some(error) = Error::all(policy.backend.unfit(facts)) {
            return Err(error);
        }
        match (in_probation(policy, facts)?, to) {
            (Some(waiting), RollbackTarget::Previous) => {
                return Ok(Self::BeforeProbation(waiting.package));
            }
            (Some(_), _) => awaits_decision(facts).map_or(Ok(()), Err)?,
            (None, _) => {}
        }

        let (set, changes) = match to {
            RollbackTarget::Previous => of_kept(newest_before(facts)?, facts)?,
            RollbackTarget::Version(version) => of_kept(named(facts, version)?, facts)?,
            RollbackTarget::Configuration => {
                (with_configuration_before(facts)?, RuntimeChanges::default())
            }
        };
        if let Some(error) = unsigned(&set, facts) {
            return Err(error.hint("push a signed package of that release instead"));
        }
        Ok(Self::Packages(Box::new(set), Box::new(changes)))
    }
}

fn of_kept(kept: &KeptPackage, facts: &HostFacts) -> Result<(PackageSet, RuntimeChanges)> {
    Ok((PackageSet::from(kept), runtime_of_kept(kept, facts)?))
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
    let runtime = facts.kept_member(on.sha256).ok_or_else(|| {
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

/// The installed software with the configuration of the newest set before that had another one.
fn with_configuration_before(facts: &HostFacts) -> Result<PackageSet> {
    let installed = facts.kept_installed().map(PackageSet::from);
    let installed = installed
        .filter(|set| !set.configurations.is_empty())
        .ok_or_else(|| {
            Error::new("the configuration there is no package of its own that a push has installed")
                .hint("leave out `--only`")
        })?;
    let is_other = |kept: &&KeptPackage| {
        let its = PackageSet::from(*kept).configurations;
        !its.is_empty() && its != installed.configurations
    };
    let earlier = earlier(facts)
        .filter(is_other)
        .max_by_key(|kept| kept.good_at());
    let earlier = earlier.ok_or_else(|| {
        Error::new("no earlier configuration that worked is kept there").note(listed(facts))
    })?;
    let configurations = PackageSet::from(earlier).configurations;
    Ok(PackageSet::new(installed.software, configurations))
}

fn plan_host(
    policy: &DeployPolicy,
    host: &TargetHost,
    set: &PackageSet,
    changes: &RuntimeChanges,
) -> HostPlan {
    let facts = &host.facts;
    let planner = HostPlanner::new(policy, host, &policy.prefix);
    let mut notes = found(facts);
    if runs_already(set, facts) {
        notes.push("it runs that already".to_owned());
        return planner.idle(&set.software.version, notes);
    }

    let hooks = planner.hooks(set);
    let entry = |result: &str| planner.entry("rollback", set, changes, result);
    let left = left_by(facts, set.id).map(PackageSet::from);
    let order = facts.kept_orders.get(&set.id).copied();
    let transition = Transition {
        from: facts.installed.as_deref(),
        to: Some(set),
        change: &SetChange::to(set, order, facts, changes.there.is_some()),
        fallback: &left
            .clone()
            .map_or(Fallback::None, |set| Fallback::Packages(Box::new(set))),
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

    let mut prepare = vec![planner.lock(&unknown_set(set, facts), None)];
    prepare.extend(planner.try_login(transition.fallback));
    prepare.extend(planner.prepare(set));
    let after_failure = |steps: Vec<Step>| secrets.back.iter().cloned().chain(steps).collect();
    let [failed, refused, unconfirmed] = planner
        .without_success(&hooks, Some(set), entry)
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
        configuration: configuration_text(set, facts),
        ..planner.untouched(&set.software.version, notes)
    }
}

/// What a host is told of a set whose packages it has, but not together.
fn unknown_set(set: &PackageSet, facts: &HostFacts) -> Vec<IncomingPackage> {
    if facts.kept(set.id).is_some() {
        return Vec::new();
    }
    let installed = facts.kept_installed().map(|kept| kept.sha256);
    let runs_on = installed.and_then(|installed| facts.runs_on.get(&installed));
    vec![IncomingPackage::set(set, runs_on, FilePieces::default())]
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

fn runs_already(set: &PackageSet, facts: &HostFacts) -> bool {
    facts.current == Some(set.id)
        && facts.installed.as_ref() == Some(&set.software.version)
        && set.is_configured(facts)
        && facts.half.is_none()
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
    let newest = earlier(facts).max_by_key(|kept| kept.good_at());
    newest.ok_or_else(|| {
        Error::new("no earlier release that worked is kept there")
            .note(listed(facts))
            .hint("choose one with `--to VERSION`")
    })
}

/// The packages that worked before the installed one.
fn earlier(facts: &HostFacts) -> impl Iterator<Item = &KeptPackage> {
    let current = facts
        .kept_installed()
        .map(|kept| kept.sha256)
        .or(facts.current);
    let now = facts
        .kept
        .iter()
        .find(|kept| Some(kept.sha256) == current)
        .and_then(KeptPackage::good_at);
    whole(facts).filter(move |kept| {
        let is_fine = kept.failed.is_empty()
            && !facts.left.contains(&kept.sha256)
            && kept.good_at().is_some();
        let is_earlier = now.is_none_or(|now| kept.good_at() < Some(now));
        Some(kept.sha256) != current && is_fine && is_earlier
    })
}
