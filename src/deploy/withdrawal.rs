//! Plans the rollback of a release in probation: the host returns to the release before it at once,
//! as if nobody had confirmed it.

use super::facts::KeptPackage;
use super::host_plan::{HostPlanner, found};
use super::plan::HostPlan;
use super::policy::{DeployPolicy, TargetHost};
use super::secrets::ReturningSecrets;
use super::stored::{FailureMark, PackageSet, RuntimeChanges};

/// A host whose release is taken back.
pub(super) struct Withdrawal<'a> {
    planner: HostPlanner<'a>,
    /// The packages in probation.
    withdrawn: PackageSet,
    /// The packages before them; none before the first installation.
    previous: Option<PackageSet>,
}

impl<'a> Withdrawal<'a> {
    pub(super) fn new(
        policy: &'a DeployPolicy,
        host: &'a TargetHost,
        package: &KeptPackage,
    ) -> Self {
        let current = host.facts.current;
        let previous = current.and_then(|current| host.facts.kept(current));
        Self {
            planner: HostPlanner::new(policy, host, &policy.prefix),
            withdrawn: PackageSet::from(package),
            previous: previous.map(PackageSet::from),
        }
    }

    /// Returns the packages that the history names.
    fn named(&self) -> &PackageSet {
        self.previous.as_ref().unwrap_or(&self.withdrawn)
    }

    /// Returns the release that the history names.
    pub(super) fn release(&self) -> &str {
        &self.named().software.release
    }

    pub(super) fn plan(&self) -> HostPlan {
        let (planner, steps) = (&self.planner, &self.planner.steps);
        let hooks = planner.hooks(self.named());
        let secrets = ReturningSecrets::of(planner);
        let changes = RuntimeChanges::default();
        let entry = |result: &str| planner.entry("rollback", self.named(), &changes, result);

        let mut switch = hooks.before.clone();
        switch.extend(hooks.drain.clone());
        switch.extend(secrets.there);
        switch.push(steps.withdraw(&self.withdrawn, planner.policy.owner.who()));
        switch.extend(secrets.after);
        switch.extend(hooks.undrain.clone());
        switch.extend(hooks.after.clone());
        let result = match self.previous {
            Some(_) => "ok",
            None => "removed",
        };
        let entry = entry(result);
        let left = Some((FailureMark::Left, &self.withdrawn));
        switch.push(planner.record(Some(self.previous.as_ref()), left, &entry));

        let mut abandon = secrets.back;
        abandon.extend(hooks.undrain);
        let to = self.previous.as_ref().map(|set| &*set.software.version);
        HostPlan {
            prepare: vec![planner.lock(&[], Some(self.withdrawn.id))],
            switch,
            abandon,
            unlock: vec![steps.unlock()],
            ..planner.untouched(to.unwrap_or_default(), found(planner.facts))
        }
    }
}
