//! Removes applications from hosts that lost them: hosts that left the model, and hosts that lost a
//! role or a part.

use crate::cli::RolloutArgs;
use crate::commands::push::{PushSummary, RollingPlan, policy};
use pkgapp_config::Config;
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::name::AppName;
use pkgapp_core::report::Report;
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::{DeployPolicy, TargetHost};
use pkgapp_deploy::preflight::PreflightRefusals;
use pkgapp_system::folded;

use super::revision::ModelRevision;
use super::stage::LockedEnvironment;

/// The hosts that lost something, and the applications that may have to go there.
pub(super) struct LeavingHosts<'a> {
    pub(super) environment: &'a LockedEnvironment<'a>,
    pub(super) model: &'a ModelRevision,
    pub(super) args: &'a RolloutArgs,
    pub(super) report: &'a Report,
}

/// An application, and the hosts on which none of it is placed any more.
struct LeavingApplication<'a> {
    app: &'a Config,
    hosts: Vec<&'a str>,
}

impl LeavingApplication<'_> {
    fn title(&self) -> String {
        let hosts = folded(self.hosts.iter().copied());
        format!("{} leaves {hosts}", self.app.name)
    }
}

/// When hosts lose what they had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RemovalTime {
    /// Before others get it: of a part that is on one host, there are never two.
    Before,
    /// After others have it.
    After,
}

impl LeavingHosts<'_> {
    /// Returns what is removed, for people, a line each.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for time in [RemovalTime::Before, RemovalTime::After] {
            for one in self.applications(time) {
                text.push_str(&one.title());
                text.push('\n');
            }
        }
        text
    }

    /// Prints what is removed.
    pub(super) fn print(&self) -> Result<()> {
        let before = self.remove_at(RemovalTime::Before);
        before.and(self.remove_at(RemovalTime::After))
    }

    /// Removes what never is on two hosts.
    ///
    /// # Errors
    /// Like [`LeavingHosts::remove`].
    pub(super) fn remove_singletons(&self) -> Result<()> {
        self.remove_at(RemovalTime::Before)
    }

    /// Removes the applications. The hosts then no longer leave, and the lock says so.
    ///
    /// # Errors
    /// A host that cannot be reached or changed. It stays in the lock.
    pub(super) fn remove(&self) -> Result<()> {
        self.remove_at(RemovalTime::After)?;
        self.settle()
    }

    fn remove_at(&self, time: RemovalTime) -> Result<()> {
        let mut summary = PushSummary::default();
        for one in self.applications(time) {
            let name = &one.app.name;
            self.report.step(&one.title());
            let kept = format!("what {name} has written stays in `/var/lib/{name}` there");
            self.report.detail(&kept);
            let ended = self.remove_application(&one);
            let note = "`pkgapp system lock --forget HOST` forgets a host that is gone";
            summary.merge(ended.map_err(|error| error.note(note))?);
            if summary.has_failed() {
                break;
            }
        }
        summary.finish()
    }

    /// Returns the hosts that lost something, and when they lose it.
    fn hosts(&self) -> impl Iterator<Item = (&str, RemovalTime)> {
        let lock = &self.environment.resolved.lock;
        lock.leaving.iter().map(|(host, lost)| {
            let mut now = lost.iter().filter_map(|part| lock.place.get(part));
            let time = if now.any(|hosts| hosts.len() == 1) {
                RemovalTime::Before
            } else {
                RemovalTime::After
            };
            (host.as_str(), time)
        })
    }

    /// Returns the applications that have no part on some of the hosts.
    fn applications(&self, time: RemovalTime) -> Vec<LeavingApplication<'_>> {
        let resolved = &self.environment.resolved;
        let mut leaving = Vec::new();
        for (name, declared) in self.environment.applications.iter().rev() {
            let mut hosts = Vec::new();
            for (host, when) in self.hosts() {
                if when == time && !resolved.is_on(name, host) {
                    hosts.push(host);
                }
            }

            if !hosts.is_empty() {
                let app = &declared.config;
                leaving.push(LeavingApplication { app, hosts });
            }
        }
        leaving
    }

    fn remove_application(&self, one: &LeavingApplication<'_>) -> Result<PushSummary> {
        let deploy = self.environment.deploy_on_leaving(&one.hosts)?;
        let name = one.app.name.clone();
        let policy = DeployPolicy {
            migrate: None,
            system: Some(self.model.revision.clone()),
            ..policy(name, Some(one.app), Some(&deploy), self.args)?
        };
        let options = &self.args.hosts;
        let fleet = self
            .environment
            .fleet(&deploy, options, "apply", self.report)?;
        let rolling = RollingPlan {
            policy: &policy,
            artifacts: &[],
            args: self.args,
            deploy: Some(&deploy),
            fleet: &fleet,
            report: self.report,
        };
        rolling.run(&|sites| {
            self.refuse_foreign(&one.app.name, sites)?;
            Plan::remove(&policy, sites)
        })
    }

    /// Refuses to remove an application that this system has not installed.
    fn refuse_foreign(&self, name: &AppName, sites: &[TargetHost]) -> Result<()> {
        let mut refusals = PreflightRefusals::new("remove the application from");
        for site in sites {
            let applied = site.facts.applied.as_deref();
            let is_ours = applied.is_some_and(|entry| self.model.last_applied(entry).is_some());
            if site.facts.installed.is_none() || is_ours {
                continue;
            }
            let host = &site.name;
            let error = Error::new(format!("this system has not installed `{name}` there"));
            let hint = format!("keep it with `pkgapp system lock --forget {host}`");
            refusals.add(host, error.hint(hint));
        }
        refusals.finish()
    }

    /// Takes the hosts out of the lock.
    fn settle(&self) -> Result<()> {
        let system = self.environment.system;
        let mut lock = system.lock.clone();
        let name = self.environment.environment.name().to_string();
        let entry = lock.environments.entry(name).or_default();
        entry.leaving.clear();
        if lock.write(&system.lock_file)? {
            let file = shown(&system.lock_file);
            self.report
                .step(&format!("no host leaves any more: commit `{file}`"));
        }
        Ok(())
    }
}
