//! The plan of a push or a roll-back: facts and artifacts in, steps for every host out. Nothing is
//! decided later; what `--dry-run` prints is the value that is executed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use serde_json::{Value, json};

use super::policy::{DeployPolicy, OnFailure};
use super::step::{PushStage, Step, StepAction};
use crate::hosts::HostCommand;
use pkgapp_config::{BatchSize, CommandLine};
use pkgapp_core::name::AppName;
use pkgapp_core::report::visible_line;
use pkgapp_core::text::counted;

/// What is done, on which hosts, in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `push`, `rollback`, or `remove`.
    pub action: &'static str,
    /// The application.
    pub name: AppName,
    /// The release that hosts get; of a roll-back, each its own.
    pub releases: BTreeSet<String>,
    /// Every host, in the order of the command line.
    pub hosts: Vec<HostPlan>,
    /// The hosts that change (by index) in the order of their switch.
    pub batches: Vec<Vec<usize>>,
    /// How many hosts may fail before all is stopped.
    pub max_failed: u32,
    /// What is done with hosts that have changed then.
    pub on_failure: OnFailure,
    /// Programs that run here, before any host changes.
    pub before: Vec<Step>,
    /// Programs that run here, after all hosts have changed.
    pub after: Vec<Step>,
}

/// What is done on one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostPlan {
    /// The host.
    pub host: String,
    /// Distribution and package manager, for people.
    pub about: String,
    /// The installed version.
    pub from: Option<String>,
    /// The version that it gets; empty for none.
    pub to: String,
    /// How its configuration changes, for people, if that is a package of its own.
    pub configuration: Option<String>,
    /// What is to be known about the host.
    pub found: Vec<String>,
    /// What it waits for and sends; nothing that is installed changes.
    pub prepare: Vec<Step>,
    /// On one host: the new release's code, aside.
    pub migrate: Vec<Step>,
    /// From one version to the other. Empty if the host has nothing to do.
    pub switch: Vec<Step>,
    /// Whether a person has to confirm it after that.
    pub awaits: bool,
    /// After a step before the installation failed.
    pub abandon: Vec<Step>,
    /// After the installation failed and the host itself went back.
    pub failed: Vec<Step>,
    /// After the package manager could not install it, for a reason that is not the package's: it
    /// is not marked as bad.
    pub refused: Vec<Step>,
    /// After the host went back because nobody had confirmed it.
    pub unconfirmed: Vec<Step>,
    /// Back to the version of before; empty if there is no way.
    pub back: Vec<Step>,
    /// Whatever happened; on a host with nothing to do, what a dead push has left.
    pub unlock: Vec<Step>,
    /// A sign of life for the lock.
    pub beat: HostCommand,
}

impl HostPlan {
    /// Returns whether the host has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.switch.is_empty()
    }

    /// Returns the change for people, e.g. `1.4.1-1 → 1.4.2-1`.
    pub fn change(&self) -> String {
        let to = if self.to.is_empty() {
            "nothing"
        } else {
            &self.to
        };
        let software = match &self.from {
            None if self.is_idle() => "nothing is installed".to_owned(),
            Some(from) if self.is_idle() => format!("{from} already"),
            Some(from) if self.configuration.is_some() && from == to => from.clone(),
            Some(from) => format!("{from} → {to}"),
            None => format!("→ {to}"),
        };
        match &self.configuration {
            Some(change) => format!("{software}, configuration {change}"),
            None => software,
        }
    }
}

impl Plan {
    pub(super) fn new(
        action: &'static str,
        policy: &DeployPolicy,
        releases: BTreeSet<String>,
        hosts: Vec<HostPlan>,
    ) -> Self {
        let busy: Vec<usize> = (0..hosts.len())
            .filter(|index| !hosts[*index].is_idle())
            .collect();
        let ranges = batches(&policy.batches, busy.len());
        let local = |stage, lines: &[CommandLine]| {
            let step = |line: &CommandLine| Step {
                stage,
                what: format!("here: `{}`", line.text),
                line: Some(line.text.clone()),
                action: StepAction::Local(line.words.clone()),
            };
            if busy.is_empty() {
                Vec::new()
            } else {
                lines.iter().map(step).collect()
            }
        };
        Self {
            action,
            name: policy.name.clone(),
            releases,
            batches: ranges
                .into_iter()
                .map(|range| busy[range].to_vec())
                .collect(),
            max_failed: policy.max_failed,
            on_failure: policy.on_failure,
            before: local(PushStage::Before, &policy.hooks.local_before),
            after: local(PushStage::After, &policy.hooks.local_after),
            hosts,
        }
    }

    /// Returns whether no host has anything to do.
    pub fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }

    /// Returns the plan for people: hosts with the same steps stand together. `verbose` shows the
    /// whole commands.
    pub fn text(&self, verbose: bool) -> String {
        let releases = self.releases.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut text = PlanText::default();
        text.line(
            0,
            &format!(
                "{} {} {releases}, {}",
                self.action,
                self.name,
                counted(self.hosts.len(), "host")
            ),
        );
        for step in &self.before {
            text.line(2, &step.what);
        }

        for (hosts, plan) in self.groups() {
            text.group(&hosts, plan, verbose);
        }

        let batches: Vec<String> = self.batches.iter().map(|batch| self.names(batch)).collect();
        if batches.len() > 1 {
            text.line(0, &format!("batches: {}", batches.join(" | ")));
        }
        for step in &self.after {
            text.line(2, &step.what);
        }
        text.0
    }

    fn names(&self, batch: &[usize]) -> String {
        let names: Vec<&str> = batch
            .iter()
            .map(|index| self.hosts[*index].host.as_str())
            .collect();
        names.join(", ")
    }

    /// Hosts whose plans differ in nothing that people read.
    fn groups(&self) -> Vec<(Vec<&str>, &HostPlan)> {
        fn shown(plan: &HostPlan) -> Vec<&str> {
            let steps = [&plan.prepare, &plan.migrate, &plan.switch, &plan.back]
                .into_iter()
                .flatten();
            let steps = steps
                .flat_map(|step| [step.what.as_str(), step.line.as_deref().unwrap_or_default()]);
            let host = [
                plan.about.as_str(),
                plan.from.as_deref().unwrap_or_default(),
                &plan.to,
            ];
            host.into_iter()
                .chain(plan.found.iter().map(String::as_str))
                .chain(steps)
                .collect()
        }
        let mut groups: Vec<(Vec<&str>, &HostPlan)> = Vec::new();
        for plan in &self.hosts {
            match groups
                .iter_mut()
                .find(|(_, first)| shown(first) == shown(plan))
            {
                Some((hosts, _)) => hosts.push(&plan.host),
                None => groups.push((vec![&plan.host], plan)),
            }
        }
        groups
    }

    /// Returns the plan with every command whole.
    pub fn to_json(&self) -> Value {
        let steps = |steps: &[Step]| steps.iter().map(Step::to_json).collect::<Vec<_>>();
        let hosts: Vec<Value> = self
            .hosts
            .iter()
            .map(|host| {
                json!({
                    "host": host.host,
                    "about": host.about,
                    "from": host.from,
                    "to": host.to,
                    "configuration": host.configuration,
                    "found": host.found,
                    "prepare": steps(&host.prepare),
                    "migrate": steps(&host.migrate),
                    "switch": steps(&host.switch),
                    "abandon": steps(&host.abandon),
                    "failed": steps(&host.failed),
                    "refused": steps(&host.refused),
                    "unconfirmed": steps(&host.unconfirmed),
                    "back": steps(&host.back),
                    "unlock": steps(&host.unlock),
                })
            })
            .collect();
        let names = |batch: &Vec<usize>| {
            batch
                .iter()
                .map(|index| self.hosts[*index].host.clone())
                .collect::<Vec<_>>()
        };
        json!({
            "action": self.action,
            "name": self.name,
            "releases": self.releases,
            "batches": self.batches.iter().map(names).collect::<Vec<_>>(),
            "max_failed": self.max_failed,
            "before": steps(&self.before),
            "after": steps(&self.after),
            "hosts": hosts,
        })
    }
}

/// The text of a plan, line by line.
#[derive(Debug, Default)]
struct PlanText(String);

impl PlanText {
    fn line(&mut self, indent: usize, what: &str) {
        // Writing to a String does not fail.
        _ = writeln!(self.0, "{:indent$}{}", "", visible_line(what));
    }

    /// Adds hosts that have the same plan.
    fn group(&mut self, hosts: &[&str], plan: &HostPlan, verbose: bool) {
        self.line(
            0,
            &format!("{} ({}): {}", hosts.join(", "), plan.about, plan.change()),
        );
        for found in &plan.found {
            self.line(2, &format!("note: {found}"));
        }
        for (name, steps) in [
            ("prepare", &plan.prepare),
            ("migrate", &plan.migrate),
            ("switch", &plan.switch),
            ("if it fails", &plan.back),
            ("at the end", &plan.unlock),
        ] {
            if steps.is_empty() {
                continue;
            }
            self.line(2, name);
            for step in steps {
                self.step(step, verbose);
            }
        }
    }

    fn step(&mut self, step: &Step, verbose: bool) {
        self.line(4, &step.what);
        if let Some(core) = &step.line
            && !step.what.contains(core)
        {
            self.line(6, &format!("$ {core}"));
        }
        if verbose {
            self.line(6, &step.to_json().to_string());
        }
    }
}

/// Cuts so many hosts into batches; a batch counts all hosts so far.
fn batches(batches: &[BatchSize], count: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut done = 0;
    for batch in batches.iter().chain([&BatchSize::Percent(100)]) {
        let until = match batch {
            BatchSize::Hosts(hosts) => usize::try_from(*hosts).unwrap_or(usize::MAX),
            BatchSize::Percent(share) => (count * usize::from(*share)).div_ceil(100),
        }
        .min(count);
        if until > done {
            ranges.push(done..until);
            done = until;
        }
    }
    ranges
}
