//! Plans a push: every host gets a release that lies on this machine.

use std::collections::BTreeSet;

use serde_json::Value;

use super::artifact::Artifact;
use super::facts::{HostFacts, KeptPackage};
use super::host_plan::{HookSteps, HostPlanner, changes, found, left_by};
use super::migration::Migration;
use super::pieces::FilePieces;
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::{PreflightRefusals, awaits_decision, is_half_done, is_there, no_signature};
use super::select::SelectedArtifacts;
use super::step::Step;
use super::stored::{
    FailureMark, Fallback, IncomingPackage, RuntimeChanges, StoredPackage, Transition,
    VersionChange,
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
    is_half_done(selected.artifact, facts) && selected.runtime_to_install(facts).is_none()
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
        .any(|(host, selected)| host.facts.migrated.contains(&selected.artifact.sha256));
    let mut migrate = policy
        .migrate
        .as_ref()
        .filter(|migrate| migrate.on == MigrateOn::All || !is_migrated);

    let mut plans = Vec::new();
    for (host, selected) in chosen {
        let user = policy.migrate_user.as_deref();
        let migration = migrate
            .map(|migrate| Migration::new(&policy.name, user, migrate, selected.artifact))
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

    notes.extend(failed_before(artifact, facts));
    let upgrade = Upgrade::new(&planner, selected, &mut notes);
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

    let hooks = planner.hooks(&upgrade.package);
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
        ..planner.untouched(&artifact.version, notes)
    }
}

/// Returns whether the release is there as a whole push leaves it.
fn needs_nothing(selected: &SelectedArtifacts<'_>, facts: &HostFacts) -> bool {
    let artifact = selected.artifact;
    // Its package is what later pushes go back to.
    let is_kept = facts.kept(artifact.sha256).is_some();
    let is_settled = facts.transaction.is_none() && facts.damaged.is_empty();
    is_there(artifact, facts)
        && is_kept
        && is_settled
        && facts.current == Some(artifact.sha256)
        && selected.runtime_to_install(facts).is_none()
}

fn failed_before(artifact: &Artifact, facts: &HostFacts) -> Option<String> {
    let kept = facts
        .kept
        .iter()
        .find(|kept| kept.sha256 == artifact.sha256 && !kept.failed.is_empty())?;
    Some(format!(
        "{} failed here before ({})",
        artifact.release, kept.failed
    ))
}

/// A host on its way to a release.
struct Upgrade<'a> {
    planner: &'a HostPlanner<'a>,
    selected: &'a SelectedArtifacts<'a>,
    package: StoredPackage,
    /// The interpreter that comes along.
    runtime: Option<&'a Artifact>,
    /// Whether the release is installed.
    is_there: bool,
    /// Whether an earlier push has begun to install it and did not see the end.
    is_half_done: bool,
    /// Whether only the interpreter changes; back means the same package with the one of before.
    only_runtime: bool,
    fallback: Fallback,
    changes: RuntimeChanges,
}

impl<'a> Upgrade<'a> {
    fn new(
        planner: &'a HostPlanner<'a>,
        selected: &'a SelectedArtifacts<'a>,
        notes: &mut Vec<String>,
    ) -> Self {
        let (facts, artifact) = (planner.facts, selected.artifact);
        let runtime = selected
            .runtime_to_install(facts)
            .map(|(runtime, _)| runtime);
        let is_there = is_there(artifact, facts);
        let same = facts
            .kept(artifact.sha256)
            .filter(|_| is_there && runtime.is_some());
        let before = same.or_else(|| left_by(facts, artifact.sha256));
        let changes_something = !is_there || runtime.is_some();
        Self {
            planner,
            selected,
            package: StoredPackage::from(artifact),
            runtime,
            is_there,
            is_half_done: is_half_done(artifact, facts),
            only_runtime: same.is_some(),
            fallback: fallback(before, facts, changes_something, notes),
            changes: runtime
                .map(|runtime| changes(&StoredPackage::from(runtime), facts, notes))
                .unwrap_or_default(),
        }
    }

    fn entry(&self, result: &str) -> Value {
        self.planner
            .entry("push", &self.package, &self.changes, result)
    }

    fn version_change(&self) -> VersionChange {
        if self.is_there && self.runtime.is_some() {
            return VersionChange::RuntimeOnly;
        }
        let facts = self.planner.facts;
        let order = facts.orders.get(&self.selected.index).copied();
        VersionChange::to(order.filter(|_| facts.installed.is_some()))
    }

    /// Returns the package that is marked if this fails: one that runs with the interpreter of
    /// before is not bad.
    fn bad(&self) -> Option<&StoredPackage> {
        Some(&self.package).filter(|_| !self.only_runtime)
    }

    /// Makes the lock, and what is sent and unpacked under it.
    fn prepare(&self) -> Vec<Step> {
        let (facts, artifact) = (self.planner.facts, self.selected.artifact);
        let runs_on = self.selected.runs_on();
        let runtime = self
            .runtime
            .map(|runtime| (runtime, StoredPackage::from(runtime)));
        let mut coming = vec![IncomingPackage {
            package: &self.package,
            pieces: &artifact.pieces,
            runtime: runs_on.as_ref(),
        }];
        coming.extend(runtime.as_ref().map(|(runtime, package)| IncomingPackage {
            package,
            pieces: &runtime.pieces,
            runtime: None,
        }));

        let mut steps = vec![self.planner.lock(&coming, Some(artifact.sha256))];
        if self.installs() {
            steps.extend(self.planner.try_login(&self.fallback));
        }
        if let Some(runtime) = self.runtime
            && facts.kept_runtime(runtime.sha256).is_none()
        {
            let there = pieces_of(facts, |sum| {
                facts.kept_runtime(sum).map(StoredPackage::from)
            });
            steps.push(self.upload(runtime, there.as_ref()));
        }
        if facts.kept(artifact.sha256).is_none() {
            let there = pieces_of(facts, |sum| facts.kept(sum).map(StoredPackage::from));
            steps.push(self.upload(artifact, there.as_ref()));
        }
        steps.extend(self.planner.prepare(&self.package));
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
            &self.package,
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
                to: Some(&self.package),
                change: self.version_change(),
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
            steps.push(planner.record(Some(Some(&self.package)), None, &self.entry("ok")));
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
        let behind = self.fallback.package();
        let undo = RuntimeChanges {
            there: self.changes.back.clone(),
            back: None,
        };
        let mut steps = hooks.drain.clone();
        steps.push(planner.switch(&Transition {
            from: Some(&self.package.version),
            to: behind,
            change: self.version_change().back(),
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
    let refusal = before
        .filter(|kept| kept.is_unsigned)
        .and_then(|kept| no_signature(&kept.file, facts));
    let is_refused = refusal.is_some();
    notes.extend(refusal.map(|error| error.to_string()));

    let fallback = match before.filter(|_| !is_refused) {
        Some(kept) => Fallback::Package(StoredPackage::from(kept)),
        None if facts.installed.is_none() && facts.half.is_none() => Fallback::Uninstall,
        None => Fallback::None,
    };
    if fallback == Fallback::None && changes_something {
        let why = before.map_or("the installed package is not kept there, so ", |_| "");
        notes.push(format!("{why}there is no way back"));
    }
    fallback
}

/// The first package on the host whose pieces are known, of those that `package` finds.
fn pieces_of(
    facts: &HostFacts,
    package: impl Fn(Sha256Sum) -> Option<StoredPackage>,
) -> Option<(StoredPackage, &FilePieces)> {
    facts
        .pieces
        .iter()
        .find_map(|(sum, pieces)| Some((package(*sum)?, pieces)))
}
