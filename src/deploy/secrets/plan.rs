//! Plans a change of secrets: what is written on each host, and the restarts that follow, batch after
//! batch. If a host does not work with them, all go back to the secrets of before.

use std::collections::{BTreeMap, BTreeSet};

use super::host::{HostSecrets, SecretStore};
use super::{SecretForm, SecretSalt, SecretState, SecretValue};
use crate::builder::StepBuilder;
use crate::host_plan::{HostPlanner, found};
use crate::hosts::HostCommand;
use crate::plan::{HostPlan, Plan};
use crate::policy::{DeployPolicy, TargetHost};
use crate::preflight::PreflightRefusals;
use crate::script;
use crate::step::{PushStage, Step};
use pkgapp_core::error::Result;

/// The action of plans that change secrets.
pub const SECRETS_ACTION: &str = "secrets";

/// Whether services that read a changed secret are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderRestart {
    /// Those that are enabled and run.
    Running,
    /// None.
    Never,
}

/// The secrets that one host gets; all of them, also those that it has already.
pub type SecretChange = BTreeMap<String, SecretValue>;

/// What is planned from.
#[derive(Debug)]
pub struct SecretsPlan<'a> {
    /// The policy of the deployment.
    pub policy: &'a DeployPolicy,
    /// The file.
    pub file: &'a SecretStore,
    /// What the hashes were made with.
    pub salt: &'a SecretSalt,
    /// What becomes of services.
    pub restart: ReaderRestart,
}

impl SecretsPlan<'_> {
    /// Plans the change: for every host, what it has and what it gets.
    ///
    /// # Errors
    /// Hosts whose files cannot be used.
    pub fn plan(
        &self,
        hosts: &[TargetHost],
        there: &[HostSecrets],
        changes: &[SecretChange],
    ) -> Result<Plan> {
        let mut refusals = PreflightRefusals::new("change the secrets");
        let mut plans = Vec::new();
        let mut names = BTreeSet::new();
        for ((host, there), change) in hosts.iter().zip(there).zip(changes) {
            let locked_out = self.policy.backend.locked_out(&host.facts);
            let refusal = locked_out.or_else(|| there.unusable(&host.name));
            match refusal.or_else(|| there.undeliverable(change, self.file)) {
                Some(error) => refusals.add(&host.name, error),
                None => plans.push(self.host(host, there, change)),
            }
            names.extend(change.keys().cloned());
        }
        refusals.finish()?;
        Ok(Plan::new(SECRETS_ACTION, self.policy, names, plans))
    }

    fn host(&self, host: &TargetHost, there: &HostSecrets, change: &SecretChange) -> HostPlan {
        let planner = HostPlanner::new(self.policy, host, &self.policy.prefix);
        let differing: Vec<&str> = change
            .iter()
            .filter(|(name, value)| there.hashes.get(*name) != Some(&self.salt.hash(value)))
            .map(|(name, _)| name.as_str())
            .collect();
        let restarts = self.restart == ReaderRestart::Running && host.facts.installed.is_some();
        let is_pending = restarts && there.is_pending;
        let from = described(change, &differing, there);
        if differing.is_empty() && !is_pending {
            return HostPlan {
                from: Some(from),
                ..planner.idle("set", Vec::new())
            };
        }

        let mut notes = found(&host.facts);
        if restarts && !host.facts.systemd {
            notes.push("systemd does not run there: restart what reads the secrets".to_owned());
        }
        let lines: String = change
            .iter()
            .filter(|(name, _)| differing.contains(&name.as_str()))
            .map(|(name, value)| self.file.line(name, value))
            .collect();
        let steps = SecretSteps {
            planner: &planner,
            file: self.file,
            restarts,
        };
        HostPlan {
            from: Some(from),
            prepare: vec![planner.lock(&[], None)],
            switch: steps.change(&differing, lines),
            back: steps.back(),
            unlock: vec![planner.steps.unlock()],
            ..planner.untouched("set", notes)
        }
    }
}

/// What a host has of the secrets before the change, for people: `A missing, B differs`.
fn described(change: &SecretChange, differing: &[&str], there: &HostSecrets) -> String {
    let all = change.keys().map(|name| {
        let state = if !differing.contains(&name.as_str()) {
            SecretState::Set
        } else if there.hashes.contains_key(name) {
            SecretState::Differs
        } else {
            SecretState::Missing
        };
        format!("{name} {}", state.name())
    });
    all.collect::<Vec<_>>().join(", ")
}

/// The steps that change the secrets of one host.
struct SecretSteps<'a> {
    planner: &'a HostPlanner<'a>,
    file: &'a SecretStore,
    restarts: bool,
}

impl SecretSteps<'_> {
    fn command(&self, what: &str, body: &str) -> HostCommand {
        let steps = &self.planner.steps;
        self.file.command(what, body, &steps.remote, steps.token)
    }

    fn change(&self, names: &[&str], lines: String) -> Vec<Step> {
        if names.is_empty() {
            // An earlier call has written them, and did not come to the restart.
            return self.restart();
        }
        let restart = if self.restarts { "yes" } else { "" };
        let what = format!("writing {}", self.places(names));
        let write = self
            .command(&what, script::WRITE_SECRETS)
            .parameter("restart", restart)
            .stdin(lines);
        let write = StepBuilder::run(PushStage::Install, None, write);
        let mut steps = vec![write];
        steps.extend(self.restart());
        steps.push(self.settle());
        steps
    }

    /// Where secrets go, in words: `A, B to PATH and C as a file`.
    fn places(&self, names: &[&str]) -> String {
        let (files, lines): (Vec<&str>, Vec<&str>) = names
            .iter()
            .partition(|name| self.file.form(name) == SecretForm::File);
        let to = format!("{} to {}", lines.join(", "), self.file.path);
        let as_file = format!("{} as a file", files.join(", "));
        let parts = [(lines, to), (files, as_file)].into_iter();
        let parts: Vec<String> = parts
            .filter(|(names, _)| !names.is_empty())
            .map(|(_, words)| words)
            .collect();
        parts.join(" and ")
    }

    fn back(&self) -> Vec<Step> {
        let restore = self.command("bringing back the secrets", script::RESTORE_SECRETS);
        let restore = StepBuilder::run(PushStage::Install, None, restore);
        // Nothing is gone back to from there, whether it works or not.
        let mut steps = vec![restore, self.settle()];
        steps.extend(self.restart());
        steps
    }

    /// The steps from a change of the file to services that work with it.
    fn restart(&self) -> Vec<Step> {
        if !self.restarts {
            return Vec::new();
        }
        let restart = self.command("restarting what reads them", script::RESTART_READERS);
        let restart = StepBuilder::run(PushStage::Health, None, restart);
        vec![restart, self.planner.health()]
    }

    fn settle(&self) -> Step {
        let settle = self.command("forgetting the secrets of before", script::SETTLE_SECRETS);
        StepBuilder::run(PushStage::Record, None, settle)
    }
}

/// The steps of a rollback that bring back the secrets of before their last change, and that take
/// this back if the rollback fails.
pub(crate) struct ReturningSecrets {
    /// Right before the installation.
    pub(crate) there: Vec<Step>,
    /// After the installation: what it has not restarted reads them, too.
    pub(crate) after: Vec<Step>,
    /// After it has failed.
    pub(crate) back: Vec<Step>,
}

impl ReturningSecrets {
    pub(crate) fn of(planner: &HostPlanner<'_>) -> Self {
        let kept = planner.facts.previous_secrets;
        let Some(file) = planner.policy.secrets.as_ref().filter(|_| kept) else {
            return Self {
                there: Vec::new(),
                after: Vec::new(),
                back: Vec::new(),
            };
        };
        let steps = &planner.steps;
        let command = |what: &str, body: &str| file.command(what, body, &steps.remote, steps.token);
        let swap = |what: &str, to: &str| {
            let command = command(what, script::SWAP_SECRETS).parameter("to", to);
            StepBuilder::run(PushStage::Install, None, command)
        };
        let restart = || {
            let command = command("restarting what reads them", script::RESTART_READERS);
            StepBuilder::run(PushStage::Health, None, command)
        };
        Self {
            there: vec![swap("bringing back the secrets of before", "previous")],
            after: vec![restart()],
            back: vec![swap("putting the newer secrets back", "later"), restart()],
        }
    }
}
