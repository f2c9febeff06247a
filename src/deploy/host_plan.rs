//! The parts of a host's plan that a push and a roll-back have in common.

use std::iter;

use serde_json::{Value, json};

use super::builder::StepBuilder;
use super::facts::{HostFacts, KeptPackage, Transaction, TransactionState};
use super::owner;
use super::plan::HostPlan;
use super::policy::{DeployPolicy, OnFailure, TargetHost};
use super::step::{PushStage, Step};
use super::stored::{
    FailureMark, Fallback, IncomingPackage, PackageSet, ReleaseTrial, RuntimeChange,
    RuntimeChanges, StoredPackage, Transition,
};
use pkgapp_config::{CommandLine, ConfirmMode};
use pkgapp_core::digest::Sha256Sum;

/// How a push ends, for the history, when the package manager could not install it.
const NOT_INSTALLED: &str = "not installed";

/// The same when the host took it back because nobody confirmed it.
const NOT_CONFIRMED: &str = "not confirmed";

/// Plans the steps of one host.
pub(super) struct HostPlanner<'a> {
    pub(super) policy: &'a DeployPolicy,
    pub(super) host: &'a TargetHost,
    pub(super) facts: &'a HostFacts,
    pub(super) steps: StepBuilder<'a>,
}

impl<'a> HostPlanner<'a> {
    /// `prefix` is where a package puts the release.
    pub(super) fn new(policy: &'a DeployPolicy, host: &'a TargetHost, prefix: &str) -> Self {
        let facts = &host.facts;
        Self {
            policy,
            host,
            facts,
            steps: StepBuilder {
                name: &policy.name,
                prefix: policy.backend.release_path(prefix, facts),
                token: &policy.owner.token,
                remote: policy.backend.remote_state(Some(facts)),
                host: &host.name,
                variables: &host.variables,
            },
        }
    }

    /// Makes the step that takes the lock. It does not wait for the probation of the set `joins`.
    pub(super) fn lock(&self, coming: &[IncomingPackage], joins: Option<Sha256Sum>) -> Step {
        let holder = self.facts.lock.as_ref();
        let seen = holder.map(|holder| holder.token.as_str());
        let dead = seen.filter(|token| owner::is_dead(token));
        self.steps.lock(
            &self.policy.owner.label,
            seen.unwrap_or_default(),
            dead.unwrap_or_default(),
            self.policy.patience,
            coming,
            joins,
        )
    }

    /// Makes the steps after the package has come that change nothing that is in use.
    pub(super) fn prepare(&self, set: &PackageSet) -> Vec<Step> {
        let policy = self.policy;
        let package = &set.software;
        policy.backend.prepare(&self.steps, &policy.prefix, package)
    }

    /// Makes the step that switches from one release to another.
    pub(super) fn switch(&self, transition: &Transition<'_>) -> Step {
        self.policy
            .backend
            .switch(&self.steps, self.facts, transition)
    }

    /// Returns how a host decides whether a release stays; `None` if there is no way back from it or
    /// none is wanted: then the pusher checks the health.
    fn trial(&self, fallback: &Fallback) -> Option<ReleaseTrial<'a>> {
        let policy = self.policy;
        let goes_back = *fallback != Fallback::None && policy.on_failure == OnFailure::GoBack;
        (goes_back || self.is_in_probation()).then_some(ReleaseTrial {
            check: &policy.check,
            probation: policy.probation,
        })
    }

    /// Returns whether the host tries a release that an earlier push has brought. It knows its way
    /// back, even where what this push can read does not tell of one, and waits to be confirmed.
    fn is_in_probation(&self) -> bool {
        let transaction = self.facts.transaction.as_ref();
        transaction.is_some_and(|it| matches!(it.state, TransactionState::Probation(_)))
    }

    /// Makes the steps that switch to a release, check its health, and confirm it.
    pub(super) fn activate(&self, transition: &Transition<'_>) -> Vec<Step> {
        let trial = self.trial(transition.fallback);
        let switch = self.switch(&Transition {
            trial: trial.as_ref(),
            ..*transition
        });
        let then = match (trial, transition.to) {
            (None, _) | (_, None) => Some(self.health()),
            (Some(trial), Some(set)) => {
                (trial.probation.confirm == ConfirmMode::Auto).then(|| self.steps.confirm(set.id))
            }
        };
        iter::once(switch).chain(then).collect()
    }

    /// Returns whether a person has to confirm the change after the push.
    pub(super) fn awaits(&self, fallback: &Fallback) -> bool {
        let trial = self.trial(fallback);
        trial.is_some_and(|trial| trial.probation.confirm == ConfirmMode::Manual)
    }

    /// Returns the note that a person has to confirm the release.
    pub(super) fn awaited(&self) -> String {
        format!(
            "a person has to confirm the release within {} s: `pkgapp confirm`",
            self.policy.probation.within.as_secs()
        )
    }

    /// Makes the step that tests the login by which the push will confirm; `None` if it will not.
    pub(super) fn try_login(&self, fallback: &Fallback) -> Option<Step> {
        let trial = self.trial(fallback)?;
        (trial.probation.confirm == ConfirmMode::Auto).then(|| self.steps.try_login())
    }

    pub(super) fn health(&self) -> Step {
        self.steps.health(&self.policy.check)
    }

    /// Makes the step that writes down how it went; see [`StepBuilder::record`].
    pub(super) fn record(
        &self,
        now: Option<Option<&PackageSet>>,
        marked: Option<(FailureMark, &PackageSet)>,
        entry: &Value,
    ) -> Step {
        self.steps.record(now, marked, self.policy.keep, entry)
    }

    pub(super) fn hooks(&self, set: &PackageSet) -> HookSteps {
        let release = &set.software.release;
        let steps = |stage, lines: &[CommandLine]| {
            lines
                .iter()
                .map(|line| self.steps.hook(stage, line, release))
                .collect()
        };
        let hooks = &self.policy.hooks;
        HookSteps {
            before: steps(PushStage::Before, &hooks.before),
            drain: steps(PushStage::Drain, &hooks.drain),
            undrain: steps(PushStage::Undrain, &hooks.undrain),
            after: steps(PushStage::After, &hooks.after),
        }
    }

    /// Makes a line of the history, without its time.
    pub(super) fn entry(
        &self,
        action: &str,
        set: &PackageSet,
        changes: &RuntimeChanges,
        result: &str,
    ) -> Value {
        let to = &set.software;
        let mut entry = json!({
            "who": self.policy.owner.who(),
            "action": action,
            "from": self.facts.installed,
            "to": to.version,
            "release": to.release,
            "commit": to.commit,
            "sha256": set.id,
            "result": result,
        });
        if let Some(system) = &self.policy.system {
            entry["system"] = json!(system);
        }
        for configuration in &set.configurations {
            let name = configuration.name.as_deref().unwrap_or_default();
            entry["configurations"][name] = json!(configuration.version);
        }
        if let Some(RuntimeChange::Up(runtime)) = &changes.there {
            entry["runtime"] = json!(format!(
                "{} {}",
                runtime.name.as_deref().unwrap_or_default(),
                runtime.version
            ));
        }
        entry
    }

    /// Makes the steps after an installation that failed, after one that the package manager
    /// refused, and after one that nobody confirmed. The release is to blame for the first alone.
    pub(super) fn without_success(
        &self,
        hooks: &HookSteps,
        bad: Option<&PackageSet>,
        entry: impl Fn(&str) -> Value,
    ) -> [Vec<Step>; 3] {
        let ends = [
            (bad, "failed"),
            (None, NOT_INSTALLED),
            (None, NOT_CONFIRMED),
        ];
        ends.map(|(bad, result)| {
            let bad = bad.map(|bad| (FailureMark::Failed, bad));
            let record = self.record(None, bad, &entry(result));
            hooks.undrain.iter().cloned().chain([record]).collect()
        })
    }

    /// Plans a host with nothing to do, but for the lock that a dead push has left.
    pub(super) fn idle(&self, to: &str, found: Vec<String>) -> HostPlan {
        let may_sweep = self.policy.backend.locked_out(self.facts).is_none();
        let holder = self.facts.lock.as_ref().filter(|_| may_sweep);
        let sweep = holder.and_then(|holder| {
            let is_dead = owner::is_dead(&holder.token);
            (!holder.alive || is_dead).then(|| self.steps.sweep(&holder.token, is_dead))
        });
        HostPlan {
            unlock: sweep.into_iter().collect(),
            ..self.untouched(to, found)
        }
    }

    /// Plans a host to which nothing is done.
    pub(super) fn untouched(&self, to: &str, found: Vec<String>) -> HostPlan {
        let mut about = self.facts.distribution();
        if let Some(installer) = self.policy.backend.about(self.facts) {
            about.push_str(", ");
            about.push_str(&installer);
        }
        HostPlan {
            host: self.host.name.clone(),
            about,
            from: self.facts.installed.clone(),
            to: to.to_owned(),
            configuration: None,
            found,
            prepare: Vec::new(),
            migrate: Vec::new(),
            switch: Vec::new(),
            awaits: false,
            abandon: Vec::new(),
            failed: Vec::new(),
            refused: Vec::new(),
            unconfirmed: Vec::new(),
            back: Vec::new(),
            unlock: Vec::new(),
            beat: self.steps.beat(),
        }
    }
}

/// The hooks of a host.
#[derive(Default)]
pub(super) struct HookSteps {
    pub(super) before: Vec<Step>,
    pub(super) drain: Vec<Step>,
    pub(super) undrain: Vec<Step>,
    pub(super) after: Vec<Step>,
}

/// What earlier pushes and other programs have left on a host.
pub(super) fn found(facts: &HostFacts) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(holder) = &facts.lock {
        found.push(if holder.alive && !owner::is_dead(&holder.token) {
            format!(
                "{} is pushing since {}; waits for the lock",
                holder.owner, holder.since
            )
        } else {
            format!(
                "the push by {} since {} died; its lock is free",
                holder.owner, holder.since
            )
        });
    }
    found.extend(facts.transaction.as_ref().map(unseen_end));
    found.extend(facts.oddities());
    if let Some(half) = &facts.half {
        found.push(format!("dpkg has left it half-way: {half}"));
    }
    found.extend(facts.listeners.iter().map(ToString::to_string));
    if let Some(held) = &facts.held {
        found.push(format!(
            "the package manager is in use ({held}); waits for its end"
        ));
    }
    found
}

/// What became of a transaction that no push has seen the end of.
fn unseen_end(transaction: &Transaction) -> String {
    let goal = if transaction.sum.is_empty() {
        "a removal"
    } else {
        &transaction.version
    };
    match transaction.state {
        TransactionState::Running => {
            format!("the installation of {goal} by an earlier push goes on; waits for its end")
        }
        TransactionState::Probation(left) => {
            format!("{goal} is in probation: it goes back in {left} s unless it is confirmed")
        }
        TransactionState::Done => {
            format!("an earlier push has installed {goal} and did not see its end")
        }
        TransactionState::Restored => {
            format!("an earlier push has tried {goal}, which failed and was taken back")
        }
        TransactionState::Unconfirmed => {
            format!("an earlier push has installed {goal}, and nobody has confirmed it in time")
        }
        TransactionState::Refused => {
            format!("an earlier push has tried {goal}, and the package manager could not")
        }
        TransactionState::Failed => format!("an earlier push has tried {goal}, which failed"),
        TransactionState::Interrupted => {
            format!("the installation of {goal} by an earlier push was interrupted")
        }
    }
}

/// The package that a host leaves when it goes to another one: what is installed or, in the middle
/// of a transaction, what the last push before that one has left.
pub(super) fn left_by(facts: &HostFacts, to: Sha256Sum) -> Option<&KeptPackage> {
    let recorded = facts.current.and_then(|current| facts.kept(current));
    facts
        .kept_installed()
        .into_iter()
        .chain(recorded)
        .find(|kept| kept.sha256 != to)
}

/// How the configurations of a host that gets this set change, for people.
pub(super) fn configuration_text(set: &PackageSet, facts: &HostFacts) -> Option<String> {
    let mut changes = Vec::new();
    for package in &set.configurations {
        let name = package.name.as_deref().unwrap_or_default();
        match facts.configurations.get(name) {
            Some(installed) if *installed == package.version => {}
            Some(installed) => changes.push(format!("{installed} → {}", package.version)),
            None => changes.push(format!("→ {}", package.version)),
        }
    }
    let removed = set.others(facts);
    changes.extend(removed.map(|(_, installed)| format!("{installed} → part of the package")));
    (!changes.is_empty()).then(|| changes.join(", "))
}

/// What becomes of an interpreter when this package of it comes, and if it goes back.
pub(super) fn changes(
    runtime: &StoredPackage,
    facts: &HostFacts,
    found: &mut Vec<String>,
) -> RuntimeChanges {
    let name = runtime.name.clone().unwrap_or_default();
    let down = |to| RuntimeChange::Down {
        name: name.clone(),
        from: runtime.version.clone(),
        to,
    };
    let back = match (
        facts.runtimes.get(&name),
        facts.kept_member_installed(&name),
    ) {
        (None, _) => Some(down(None)),
        (Some(_), Some(kept)) => Some(down(Some(StoredPackage::from(kept)))),
        (Some(installed), None) => {
            found.push(format!(
                "{name} {installed} is not kept there, so it stays new whatever happens"
            ));
            None
        }
    };
    RuntimeChanges {
        there: Some(RuntimeChange::Up(runtime.clone())),
        back,
    }
}
