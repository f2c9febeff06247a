//! Plans a push: every host gets a release that lies on this machine.

use std::collections::BTreeSet;

use serde_json::Value;

use super::artifact::{Artifact, ArtifactContent};
use super::facts::{HostFacts, KeptPackage};
use super::host_plan::{HookSteps, HostPlanner, changes, configuration_text, found, left_by};
use super::migration::Migration;
use super::pieces::FilePieces;
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::{PreflightRefusals, awaits_decision, unsigned};
use super::select::SelectedArtifacts;
use super::step::Step;
use super::stored::{
    FailureMark, Fallback, PackageSet, RuntimeChanges, SetChange, StoredPackage, Transition,
    is_same_content,
};
use pkgapp_config::MigrateOn;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};

impl Plan {
    /// Plans a push.
    ///
    /// # Errors
    /// Everything that speaks against it, on all hosts.
    pub fn push(
        policy: &DeployPolicy,
        artifacts: &[Artifact],
        hosts: &[TargetHost],
    ) -> Result<Self> {
        let mut refusals = PreflightRefusals::new("push to");
        let mut chosen: Vec<(&TargetHost, SelectedArtifacts<'_>)> = Vec::new();
        for host in hosts {
            match policy.backend.select(artifacts, &host.facts) {
                Ok(selected) => chosen.push((host, selected)),
                Err(error) => refusals.add(&host.name, error),
            }
        }

        let releases = one_release(&chosen)?;
        for (host, selected) in &chosen {
            let errors = policy
                .backend
                .preflight(selected, &host.facts, policy.allow);
            for error in errors {
                refusals.add(&host.name, error);
            }
            if !resumes(selected, &host.facts)
                && let Some(error) = awaits_decision(&host.facts)
            {
                refusals.add(&host.name, error);
            }
        }
        refusals.finish()?;

        let hosts = plan_hosts(policy, &chosen)?;
        Ok(Self::new("push", policy, releases, hosts))
    }
}

/// Returns whether a push continues one that was cut off, and confirms the release it has brought.
fn resumes(selected: &SelectedArtifacts<'_>, facts: &HostFacts) -> bool {
    selected.is_half_done(facts) && selected.runtime_to_install(facts).is_none()
}

/// The release that all hosts get; none, if all are refused.
fn one_release(chosen: &[(&TargetHost, SelectedArtifacts<'_>)]) -> Result<BTreeSet<String>> {
    let releases: BTreeSet<String> = chosen
        .iter()
        .map(|(_, selected)| selected.artifact.release.clone())
        .collect();
    if releases.len() > 1 {
        let all = releases.iter().cloned().collect::<Vec<_>>().join(" and ");
        let error = Error::new(format!("hosts would get different releases: {all}"));
        return Err(error.hint("build all formats of one release: `pkgapp build --format all`"));
    }
    Ok(releases)
}

fn plan_hosts(
    policy: &DeployPolicy,
    chosen: &[(&TargetHost, SelectedArtifacts<'_>)],
) -> Result<Vec<HostPlan>> {
    let is_migrated = chosen
        .iter()
        .any(|(host, selected)| host.facts.migrated.contains(&selected.set(&host.facts).id));
    let mut migrate = policy
        .migrate
        .as_ref()
        .filter(|migrate| migrate.on == MigrateOn::All || !is_migrated);

    let mut plans = Vec::new();
    for (host, selected) in chosen {
        let user = policy.migrate_user.as_deref();
        let migration = migrate
            .map(|migrate| Migration::new(&policy.name, user, migrate, selected))
            .transpose()?;
        let plan = plan_host(policy, host, selected, migration.as_ref());
        // Once means: on the first host that changes.
        if !plan.migrate.is_empty() {
            migrate = None;
        }
        plans.push(plan);
    }
    Ok(plans)
}

fn plan_host(
    policy: &DeployPolicy,
    host: &TargetHost,
    selected: &SelectedArtifacts<'_>,
    migration: Option<&Migration<'_>>,
) -> HostPlan {
    let (facts, artifact) = (&host.facts, selected.artifact);
    let planner = HostPlanner::new(policy, host, &artifact.prefix);
    let mut notes = found(facts);
    notes.extend(policy.backend.notes(artifact, facts));
    if needs_nothing(selected, facts) {
        return planner.idle(&artifact.version, notes);
    }

    let upgrade = Upgrade::new(&planner, selected, &mut notes);
    notes.extend(failed_before(&upgrade.set, facts));
    if upgrade.awaits() {
        notes.push(planner.awaited());
    }
    let migration = migration.filter(|_| !upgrade.is_there || upgrade.is_half_done);
    let migrates_everywhere = migration.is_some_and(|migration| migration.on == MigrateOn::All);
    let migrate = upgrade.migrate(migration);
    let (once, everywhere) = if migrates_everywhere {
        (Vec::new(), migrate)
    } else {
        (migrate, Vec::new())
    };

    let hooks = planner.hooks(&upgrade.set);
    let [failed, refused, unconfirmed] =
        planner.without_success(&hooks, upgrade.bad(), |result| upgrade.entry(result));
    HostPlan {
        prepare: upgrade.prepare(),
        migrate: once,
        switch: upgrade.switch(&hooks, everywhere),
        back: upgrade.back(&hooks),
        awaits: upgrade.awaits(),
        abandon: hooks.undrain,
        failed,
        refused,
        unconfirmed,
        unlock: vec![planner.steps.unlock()],
        configuration: configuration_text(&upgrade.set, facts),
        ..planner.untouched(&artifact.version, notes)
    }
}

/// Returns whether the release is there as a whole push leaves it.
fn needs_nothing(selected: &SelectedArtifacts<'_>, facts: &HostFacts) -> bool {
    let id = selected.set(facts).id;
    // Its packages are what later pushes go back to.
    let is_kept = facts.kept(id).is_some();
    let is_settled = facts.transaction.is_none() && facts.damaged.is_empty();
    if is_settled && is_of_another_commit(selected.artifact, facts) {
        return true;
    }
    selected.is_there(facts)
        && is_kept
        && is_settled
        && facts.current == Some(id)
        && selected.runtime_to_install(facts).is_none()
}

/// Returns whether the last push has installed the same content, from another commit: the package of
/// a backing service has a record that tells nothing of the commit, which its version does.
fn is_of_another_commit(artifact: &Artifact, facts: &HostFacts) -> bool {
    let Some(installed) = facts.kept_installed() else {
        return false;
    };
    facts.current == Some(installed.sha256)
        && installed.record == Some(artifact.record)
        && installed.version != artifact.version
        && is_same_content(&installed.version, &artifact.version)
}

fn failed_before(set: &PackageSet, facts: &HostFacts) -> Option<String> {
    let kept = facts
        .kept
        .iter()
        .find(|kept| kept.sha256 == set.id && !kept.failed.is_empty())?;
    Some(format!(
        "{} failed here before ({})",
        set.software.release, kept.failed
    ))
}

/// A host on its way to a release.
struct Upgrade<'a> {
    planner: &'a HostPlanner<'a>,
    selected: &'a SelectedArtifacts<'a>,
    set: PackageSet,
    /// The interpreter that comes along.
    runtime: Option<&'a Artifact>,
    /// Whether the release is installed.
    is_there: bool,
    /// Whether an earlier push has begun to install it and did not see the end.
    is_half_done: bool,
    /// Whether only the interpreter changes; back means the same packages with the one of before.
    only_runtime: bool,
    change: SetChange,
    fallback: Fallback,
    changes: RuntimeChanges,
}

impl<'a> Upgrade<'a> {
    fn new(
        planner: &'a HostPlanner<'a>,
        selected: &'a SelectedArtifacts<'a>,
        notes: &mut Vec<String>,
    ) -> Self {
        let facts = planner.facts;
        let set = selected.set(facts);
        let runtime = selected
            .runtime_to_install(facts)
            .map(|(runtime, _)| runtime);
        let is_there = selected.is_there(facts);
        let same = facts.kept(set.id).filter(|_| is_there && runtime.is_some());
        let before = same.or_else(|| left_by(facts, set.id));
        let order = facts.orders.get(&selected.index).copied();
        let changes_something = !is_there || runtime.is_some();
        Self {
            planner,
            selected,
            change: SetChange::to(&set, order, facts, runtime.is_some()),
            set,
            runtime,
            is_there,
            is_half_done: selected.is_half_done(facts),
            only_runtime: same.is_some(),
            fallback: fallback(before, facts, changes_something, notes),
            changes: runtime
                .map(|runtime| changes(&StoredPackage::from(runtime), facts, notes))
                .unwrap_or_default(),
        }
    }

    fn entry(&self, result: &str) -> Value {
        self.planner.entry("push", &self.set, &self.changes, result)
    }

    /// Returns the packages that are marked if this fails: those that run with the interpreter of
    /// before are not bad.
    fn bad(&self) -> Option<&PackageSet> {
        Some(&self.set).filter(|_| !self.only_runtime)
    }

    /// Makes the lock, and what is sent and unpacked under it.
    fn prepare(&self) -> Vec<Step> {
        let facts = self.planner.facts;
        let mut steps = vec![
            self.planner
                .lock(&self.selected.coming(facts), Some(self.set.id)),
        ];
        if self.installs() {
            steps.extend(self.planner.try_login(&self.fallback));
        }
        let packages = self.selected.packages();
        for artifact in self.runtime.into_iter().chain(packages) {
            let is_kept = match artifact.holds {
                ArtifactContent::Application => facts.kept(artifact.sha256).is_some(),
                _ => facts.kept_member(artifact.sha256).is_some(),
            };
            if !is_kept {
                steps.push(self.upload(artifact, source_of_pieces(artifact, facts).as_ref()));
            }
        }
        steps.extend(self.planner.prepare(&self.set));
        steps
    }

    fn upload(&self, artifact: &Artifact, there: Option<&(StoredPackage, &FilePieces)>) -> Step {
        let there = there.map(|(package, pieces)| (package, *pieces));
        self.planner.steps.upload(artifact, there)
    }

    fn migrate(&self, migration: Option<&Migration<'_>>) -> Vec<Step> {
        let Some(migration) = migration else {
            return Vec::new();
        };
        let runtime = self.runtime.map(StoredPackage::from);
        self.planner.policy.backend.migrate(
            &self.planner.steps,
            &self.set,
            runtime.as_ref(),
            migration,
        )
    }

    fn switch(&self, hooks: &HookSteps, migrate: Vec<Step>) -> Vec<Step> {
        let planner = self.planner;
        let mut steps = hooks.before.clone();
        steps.extend(migrate);
        steps.extend(hooks.drain.clone());
        if self.installs() {
            steps.extend(planner.activate(&Transition {
                from: planner.facts.installed.as_deref(),
                to: Some(&self.set),
                change: &self.change,
                fallback: &self.fallback,
                runtime: &self.changes,
                lock_wait: planner.policy.patience,
                leaves: None,
                trial: None,
            }));
        } else {
            steps.push(planner.health());
        }
        steps.extend(hooks.undrain.clone());
        steps.extend(hooks.after.clone());
        if !self.awaits() {
            steps.push(planner.record(Some(Some(&self.set)), None, &self.entry("ok")));
        }
        steps
    }

    fn installs(&self) -> bool {
        !self.is_there || self.is_half_done || self.runtime.is_some()
    }

    /// Returns whether a person has to confirm it.
    fn awaits(&self) -> bool {
        self.installs() && self.planner.awaits(&self.fallback)
    }

    /// Makes the way back for a host that has changed; empty if there is none.
    fn back(&self, hooks: &HookSteps) -> Vec<Step> {
        if self.fallback == Fallback::None {
            return Vec::new();
        }
        let planner = self.planner;
        let behind = self.fallback.packages();
        let change = self.change.back(&self.set, behind);
        let undo = RuntimeChanges {
            there: self.changes.back.clone(),
            back: None,
        };
        let mut steps = hooks.drain.clone();
        steps.push(planner.switch(&Transition {
            from: Some(&self.set.software.version),
            to: behind,
            change: &change,
            fallback: &Fallback::None,
            runtime: &undo,
            lock_wait: planner.policy.patience,
            leaves: None,
            trial: None,
        }));
        if behind.is_some() {
            steps.push(planner.health());
            steps.extend(hooks.undrain.clone());
        }
        let bad = self.bad().map(|bad| (FailureMark::Failed, bad));
        let entry = self.entry("failed, and taken back");
        steps.push(planner.record(Some(behind), bad, &entry));
        steps
    }
}

/// What a host goes back to, `before` if its package manager takes that; `notes` are told if there
/// is no way back from a change.
fn fallback(
    before: Option<&KeptPackage>,
    facts: &HostFacts,
    changes_something: bool,
    notes: &mut Vec<String>,
) -> Fallback {
    let before = before.map(PackageSet::from);
    let refusal = before.as_ref().and_then(|set| unsigned(set, facts));
    let is_refused = refusal.is_some();
    notes.extend(refusal.map(|error| error.to_string()));

    let why = before
        .as_ref()
        .map_or("the installed package is not kept there, so ", |_| "");
    let fallback = match before.filter(|_| !is_refused) {
        Some(set) => Fallback::Packages(Box::new(set)),
        None if facts.installed.is_none() && facts.half.is_none() => Fallback::Uninstall,
        None => Fallback::None,
    };
    if fallback == Fallback::None && changes_something {
        notes.push(format!("{why}there is no way back"));
    }
    fallback
}

/// The first package on the host whose pieces are known, and which is of the same kind.
fn source_of_pieces<'a>(
    artifact: &Artifact,
    facts: &'a HostFacts,
) -> Option<(StoredPackage, &'a FilePieces)> {
    let is_whole = matches!(
        artifact.holds,
        ArtifactContent::Application | ArtifactContent::Software
    );
    let find = |sum: Sha256Sum| {
        let member = facts.kept_member(sum).map(StoredPackage::from);
        let member = member.filter(|package| package.name.as_ref() == Some(&artifact.name));
        let whole = facts.kept(sum).filter(|_| is_whole);
        member.or_else(|| whole.map(StoredPackage::from))
    };
    let mut known = facts.pieces.iter();
    known.find_map(|(sum, pieces)| Some((find(*sum)?, pieces)))
}
