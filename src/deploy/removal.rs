//! Plans the removal of an application: its packages go, and its data stays.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::facts::HostFacts;
use super::host_plan::{HookSteps, HostPlanner, found};
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::{PreflightRefusals, awaits_decision};
use super::stored::{Fallback, PackageSet, RuntimeChanges, SetChange, Transition};
use pkgapp_core::error::{Error, Result};

impl Plan {
    /// Plans a removal. Hosts without the application have nothing to do. The interpreter that it
    /// shares with other applications stays.
    ///
    /// # Errors
    /// Hosts that cannot be changed, and those where a person has to decide about a release first.
    pub fn remove(policy: &DeployPolicy, hosts: &[TargetHost]) -> Result<Self> {
        let mut refusals = PreflightRefusals::new("remove the application from");
        for host in hosts {
            let unfit = Error::all(policy.backend.unfit(&host.facts));
            for error in unfit.into_iter().chain(awaits_decision(&host.facts)) {
                refusals.add(&host.name, error);
            }
        }
        refusals.finish()?;

        let plans = hosts.iter().map(|host| Removal::new(policy, host).plan());
        let plans = plans.collect();
        Ok(Self::new("remove", policy, BTreeSet::new(), plans))
    }
}

/// Returns whether none of the application's packages is there.
fn is_absent(facts: &HostFacts) -> bool {
    facts.installed.is_none() && facts.half.is_none() && facts.configurations.is_empty()
}

/// A host that loses the application.
struct Removal<'a> {
    planner: HostPlanner<'a>,
    /// The packages that are installed, if they are kept there.
    installed: Option<PackageSet>,
}

impl<'a> Removal<'a> {
    fn new(policy: &'a DeployPolicy, host: &'a TargetHost) -> Self {
        Self {
            planner: HostPlanner::new(policy, host, &policy.prefix),
            installed: host.facts.kept_installed().map(PackageSet::from),
        }
    }

    fn plan(&self) -> HostPlan {
        let (planner, facts) = (&self.planner, self.planner.facts);
        let notes = found(facts);
        if is_absent(facts) {
            return planner.idle("", notes);
        }

        let hooks = match &self.installed {
            Some(set) => planner.hooks(set),
            None => HookSteps::default(),
        };
        let fallback = match &self.installed {
            Some(set) => Fallback::Packages(Box::new(set.clone())),
            None => Fallback::None,
        };
        let change = SetChange {
            packages: Vec::new(),
            removed: facts.configurations.keys().cloned().collect(),
        };
        let transition = Transition {
            from: facts.installed.as_deref(),
            to: None,
            change: &change,
            fallback: &fallback,
            runtime: &RuntimeChanges::default(),
            lock_wait: planner.policy.patience,
            leaves: None,
            trial: None,
        };

        let mut switch = hooks.before.clone();
        switch.extend(hooks.drain.clone());
        switch.push(planner.switch(&transition));
        switch.extend(hooks.after.clone());
        switch.push(planner.record(Some(None), None, &self.entry("ok")));
        let [failed, refused, unconfirmed] =
            planner.without_success(&hooks, None, |result| self.entry(result));
        HostPlan {
            prepare: vec![planner.lock(&[], None)],
            switch,
            abandon: hooks.undrain,
            failed,
            refused,
            unconfirmed,
            unlock: vec![planner.steps.unlock()],
            ..planner.untouched("", notes)
        }
    }

    /// Makes a line of the history, without its time.
    fn entry(&self, result: &str) -> Value {
        let (policy, facts) = (self.planner.policy, self.planner.facts);
        let installed = self.installed.as_ref();
        json!({
            "who": policy.owner.who(),
            "action": "remove",
            "from": facts.installed,
            "to": "",
            "release": installed.map_or("", |set| &set.software.release),
            "commit": facts.commit,
            "sha256": installed.map(|set| set.id.to_string()).unwrap_or_default(),
            "result": result,
            "system": policy.system,
        })
    }
}
