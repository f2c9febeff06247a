//! `pkgapp system apply` and `pkgapp system rollback`: the applications of an environment, on one
//! kind of hosts after the other.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::{RolloutArgs, SystemDeployArgs, SystemRolloutArgs};
use crate::commands::push::{PushSummary, RollingPlan, complete, migrated_like, policy};
use pkgapp_config::{Config, ConfirmMode};
use pkgapp_core::commit;
use pkgapp_core::error::{Error, ErrorKind, Location, Result};
use pkgapp_core::fs;
use pkgapp_core::report::Report;
use pkgapp_deploy::artifact::{Artifact, ArtifactContent};
use pkgapp_deploy::fleet::Fleet;
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::{DeployPolicy, TargetHost};
use pkgapp_deploy::preflight::{AllowFlags, PreflightRefusals};
use pkgapp_deploy::rollback::RollbackTarget;
use pkgapp_format::read::ArtifactKind;
use pkgapp_system::folded;

use super::OpenSystem;
use super::build::ConfigurationBuilder;
use super::draw::output;
use super::leaving::LeavingHosts;
use super::revision::ModelRevision;
use super::software::FoundSoftware;
use super::stage::{LockedEnvironment, Stage, StageContent, StageSelection};

/// Prints the plan of a deployment, and may write it to a file, too.
pub(super) fn plan(
    system: &OpenSystem<'_>,
    args: &SystemDeployArgs,
    file: Option<&Path>,
    report: &Report,
) -> Result<()> {
    let mut args = args.clone();
    args.on.rollout.dry_run = true;
    let environment = open(system, &args.on, report)?;
    let applier = Applier::new(&environment, &args, report);
    let pushes = applier.pushes(&args.on.selection())?;
    let leaving = applier.leaving(&args.on);
    if let Some(file) = file {
        let text = applier.text(&pushes, leaving.as_ref())?;
        output(&text, Some(file), report)?;
    }

    let plans = applier.print(&pushes);
    let removals = leaving.as_ref().map_or(Ok(()), LeavingHosts::print);
    plans.and(removals)
}

/// Deploys an environment; with a file, only if it has the plan.
pub(super) fn apply(
    system: &OpenSystem<'_>,
    args: &SystemDeployArgs,
    file: Option<&Path>,
    report: &Report,
) -> Result<()> {
    let on = &args.on;
    if on.rollout.dry_run {
        return plan(system, args, None, report);
    }
    let environment = open(system, on, report)?;
    let applier = Applier::new(&environment, args, report);
    let pushes = applier.pushes(&on.selection())?;
    let leaving = applier.leaving(on);
    let text = applier.text(&pushes, leaving.as_ref())?;
    if let Some(file) = file {
        refuse_other_plan(file, &text)?;
    }

    let Some(leaving) = leaving else {
        return applier.run(pushes);
    };
    leaving.remove_singletons()?;
    applier.run(pushes)?;
    leaving.remove()
}

/// Opens an environment for a deployment.
fn open<'a>(
    system: &'a OpenSystem<'a>,
    on: &SystemRolloutArgs,
    report: &Report,
) -> Result<LockedEnvironment<'a>> {
    refuse_tarballs(&on.rollout)?;
    let environment = LockedEnvironment::open(system, &on.environment)?;
    refuse_manual_confirmation(&environment, &on.rollout)?;
    tell_services(&environment, report);
    Ok(environment)
}

/// Refuses a plan that is not the one in a file.
fn refuse_other_plan(file: &Path, text: &str) -> Result<()> {
    let saved = fs::read_to_string(file)?;
    if saved == text {
        return Ok(());
    }
    let mut lines = saved.lines().zip(text.lines());
    let differing = lines.find(|(saved, now)| saved != now);
    let error = Error::new("the plan has changed since it was written").at(Location::file(file));
    let error = match differing {
        Some((saved, now)) => error
            .note(format!("was: {saved}"))
            .note(format!("is: {now}")),
        None => error,
    };
    Err(error.hint("read the new one: `pkgapp system plan`"))
}

/// Returns an environment to its previous packages, the last stage first. Backing services stay:
/// what used them before still does.
pub(super) fn rollback(
    system: &OpenSystem<'_>,
    args: &SystemRolloutArgs,
    report: &Report,
) -> Result<()> {
    refuse_tarballs(&args.rollout)?;
    let environment = LockedEnvironment::open(system, &args.environment)?;
    let applier = Applier {
        model: ModelRevision::of(&environment),
        any_commit: false,
        allow_downgrade: false,
        environment: &environment,
        args: &args.rollout,
        report,
    };
    let mut summary = PushSummary::default();
    for stage in environment.stages(&args.selection())?.into_iter().rev() {
        if stage.is_service() {
            continue;
        }
        report.step(&stage.title);
        let mut push = applier.without_artifacts(stage)?;
        // Migrations only run forward.
        push.policy.migrate = None;
        let fleet = applier.fleet(&push, "rollback")?;
        summary.merge(applier.rolling(&push, &fleet).run(&push.way_back())?);
        if summary.has_failed() {
            break;
        }
    }
    summary.finish()
}

impl SystemRolloutArgs {
    /// Returns whether only some hosts or applications are selected.
    fn selects(&self) -> bool {
        let hosts = &self.rollout.hosts;
        !(self.application.is_empty() && hosts.hosts.is_empty() && hosts.only.is_empty())
    }

    fn selection(&self) -> StageSelection<'_> {
        StageSelection {
            applications: &self.application,
            hosts: &self.rollout.hosts,
        }
    }
}

/// A separate configuration is for package managers.
fn refuse_tarballs(args: &RolloutArgs) -> Result<()> {
    if args.into.is_none() {
        return Ok(());
    }
    let error = Error::new("`--into` is for tarballs, and systems consist of packages");
    Err(error.kind(ErrorKind::Usage).hint("leave it out"))
}

/// Refuses packages and models for a protected environment that are not from a clean commit.
fn protect(model: &ModelRevision, pushes: &[StagePush]) -> Result<()> {
    let mut errors: Vec<Error> = model.uncommitted().into_iter().collect();
    let mut seen = BTreeSet::new();
    for artifact in pushes.iter().flat_map(|push| &push.artifacts) {
        let is_software = artifact.holds == ArtifactContent::Software;
        if is_software && seen.insert(&artifact.file) {
            let id = artifact.commit.as_deref();
            errors.extend(commit::uncommitted(id, &artifact.file));
        }
    }
    let name = &model.revision.environment;
    let note = format!("`[environment.{name}]` is protected");
    let errors = errors.into_iter().map(|error| error.note(note.clone()));
    Error::all(errors).map_or(Ok(()), Err)
}

/// A stage waits for the one before it, which nobody could confirm in the meantime.
fn refuse_manual_confirmation(
    environment: &LockedEnvironment<'_>,
    args: &RolloutArgs,
) -> Result<()> {
    let configured = environment.environment.policy.confirm;
    if args.confirm.unwrap_or(configured) != ConfirmMode::Manual {
        return Ok(());
    }
    let error = Error::new("a system cannot be confirmed by a person");
    Err(error
        .kind(ErrorKind::Usage)
        .hint("write `confirm = \"auto\"`, or give `--confirm auto`"))
}

/// Names the services that must be there.
fn tell_services(environment: &LockedEnvironment<'_>, report: &Report) {
    let resolved = &environment.resolved;
    for service in &resolved.services {
        if service.external.is_some() || service.is_managed {
            continue;
        }
        let hosts = service.hosts.iter();
        let hosts = hosts.map(|host| resolved.hosts[*host].name.as_str());
        let (name, kind, hosts) = (&service.name, service.kind.name(), folded(hosts));
        report.detail(&format!("{name} ({kind}) must be installed on {hosts}"));
    }
}

/// Deploys the stages of an environment.
struct Applier<'a> {
    environment: &'a LockedEnvironment<'a>,
    model: ModelRevision,
    /// Whether hosts may have a commit that this checkout does not contain.
    any_commit: bool,
    /// Whether packages are replaced with older ones; those of another commit may be older.
    allow_downgrade: bool,
    args: &'a RolloutArgs,
    report: &'a Report,
}

/// The push of a stage.
struct StagePush {
    stage: Stage,
    policy: DeployPolicy,
    artifacts: Vec<Artifact>,
}

/// A push that is done, and the hosts that have changed.
struct DonePush {
    push: StagePush,
    hosts: BTreeSet<String>,
}

impl StagePush {
    fn way_back(&self) -> impl Fn(&[TargetHost]) -> Result<Plan> {
        |sites| Plan::rollback(&self.policy, RollbackTarget::Previous, sites)
    }
}

impl<'a> Applier<'a> {
    fn new(
        environment: &'a LockedEnvironment<'a>,
        args: &'a SystemDeployArgs,
        report: &'a Report,
    ) -> Self {
        Self {
            environment,
            model: ModelRevision::of(environment),
            any_commit: args.any_commit,
            allow_downgrade: args.allow_downgrade || args.any_commit,
            args: &args.on.rollout,
            report,
        }
    }

    /// Returns the pushes of the selected stages.
    fn pushes(&self, selection: &StageSelection<'_>) -> Result<Vec<StagePush>> {
        let mut pushes = Vec::new();
        for stage in self.environment.stages(selection)? {
            pushes.push(self.push(stage)?);
        }
        if self.environment.environment.policy.protected {
            protect(&self.model, &pushes)?;
        }
        Ok(pushes)
    }

    /// Returns what has to be removed, unless only some hosts or applications are selected.
    fn leaving(&self, on: &SystemRolloutArgs) -> Option<LeavingHosts<'_>> {
        if on.selects() {
            return None;
        }
        Some(LeavingHosts {
            environment: self.environment,
            model: &self.model,
            args: self.args,
            report: self.report,
        })
    }

    /// Builds the package of a stage, and finds the packages of the software.
    fn push(&self, stage: Stage) -> Result<StagePush> {
        let builder = ConfigurationBuilder {
            environment: self.environment,
            formats: &[],
            output: None,
            report: self.report,
        };
        let written = builder.write(&stage.content)?;
        let StageContent::Application(configuration) = &stage.content else {
            let paths = written.paths();
            let artifacts: Result<Vec<Artifact>> = paths.map(Artifact::read).collect();
            return Ok(StagePush {
                artifacts: artifacts?,
                ..self.without_artifacts(stage)?
            });
        };

        let software = self.environment.software(&configuration.application)?;
        let FoundSoftware::Package(package, file) = &*software else {
            return Err(Error::bug(
                "a configuration was built for software that is not",
            ));
        };
        let mut artifacts = software_artifacts(file, &stage.app, package.services().version())?;
        for path in written.paths() {
            artifacts.push(Artifact::read(path)?);
        }

        let mut push = self.without_artifacts(stage)?;
        let app = Some(&push.stage.app);
        let part = migrated_like(app, push.policy.migrate.as_ref())?;
        let (policy, part) = (&mut push.policy, part.as_deref());
        let global = self.environment.system.global;
        push.artifacts = complete(artifacts, policy, part, app, global, self.report)?;
        Ok(push)
    }

    fn without_artifacts(&self, stage: Stage) -> Result<StagePush> {
        let (app, deploy) = (&stage.app, &stage.deploy);
        let policy = policy(app.name.clone(), Some(app), Some(deploy), self.args)?;
        Ok(StagePush {
            policy: DeployPolicy {
                allow: AllowFlags {
                    downgrade: self.allow_downgrade,
                    ..AllowFlags::default()
                },
                system: Some(self.model.revision.clone()),
                ..policy
            },
            stage,
            artifacts: Vec::new(),
        })
    }

    fn plan(&self, push: &StagePush, sites: &[TargetHost]) -> Result<Plan> {
        if !self.any_commit {
            self.model.check(sites)?;
        }
        if push.stage.is_service() {
            refuse_rpm(sites)?;
        }
        let plan = Plan::push(&push.policy, &push.artifacts, sites)?;
        let mut refusals = PreflightRefusals::new("apply to");
        for (site, host) in sites.iter().zip(&plan.hosts) {
            if host.is_idle() {
                continue;
            }
            for listener in &site.facts.listeners {
                let error = Error::new(listener.to_string());
                let hint = "stop it, or let it listen somewhere else";
                refusals.add(&site.name, error.hint(hint));
            }
        }
        refusals.finish()?;
        Ok(plan)
    }

    /// Prints the plans of all stages.
    fn print(&self, pushes: &[StagePush]) -> Result<()> {
        let mut summary = PushSummary::default();
        for push in pushes {
            self.report.step(&push.stage.title);
            let fleet = self.fleet(push, "apply")?;
            let plan = |sites: &[TargetHost]| self.plan(push, sites);
            summary.merge(self.rolling(push, &fleet).run(&plan)?);
        }
        summary.finish()
    }

    /// Plans all stages, so that reasons against any of them come before anything changes. Returns
    /// the plans for people.
    fn text(&self, pushes: &[StagePush], leaving: Option<&LeavingHosts<'_>>) -> Result<String> {
        let mut text = leaving.map_or_else(String::new, LeavingHosts::text);
        let mut mistakes = Vec::new();
        for push in pushes {
            let fleet = self.fleet(push, "apply")?;
            let plan = |sites: &[TargetHost]| self.plan(push, sites);
            match self.rolling(push, &fleet).check(&plan) {
                Ok(plan) => {
                    text.push_str(&push.stage.title);
                    text.push('\n');
                    let plan = plan.map(|plan| plan.text(false));
                    text.push_str(&plan.unwrap_or_default());
                }
                Err(error) => mistakes.push(error),
            }
        }
        Error::all(mistakes).map_or(Ok(text), Err)
    }

    /// Runs the stages. If one fails, the stages before it go back.
    fn run(&self, pushes: Vec<StagePush>) -> Result<()> {
        let mut done: Vec<DonePush> = Vec::new();
        for mut push in pushes {
            self.report.step(&push.stage.title);
            let fleet = self.fleet(&push, "apply")?;
            let plan = |sites: &[TargetHost]| self.plan(&push, sites);
            let ended = self.rolling(&push, &fleet).run(&plan);
            drop(fleet);
            let has_failed = ended.as_ref().map_or(true, PushSummary::has_failed);
            if has_failed {
                return Err(self.failure(ended, done));
            }
            let hosts = ended.iter().flat_map(PushSummary::changed_hosts);
            let hosts = hosts.map(str::to_owned).collect();
            // Migrations only run forward, and backing services stay.
            push.policy.migrate = None;
            if !push.stage.is_service() {
                done.push(DonePush { push, hosts });
            }
        }
        Ok(())
    }

    /// Returns the failure of a stage after the stages before it went back, with the exit code for
    /// the whole.
    fn failure(&self, ended: Result<PushSummary>, done: Vec<DonePush>) -> Error {
        let error = ended.and_then(PushSummary::finish).err();
        let error = error.unwrap_or_else(|| Error::bug("a failure got lost"));
        let has_changed = done.iter().any(|one| !one.hosts.is_empty());
        let went_back = !self.args.keep && self.go_back(done);
        if has_changed && !went_back {
            error.kind(ErrorKind::Partial)
        } else {
            error
        }
    }

    /// Returns the hosts that have changed to their previous packages, the last ones first; returns
    /// whether all went back.
    fn go_back(&self, done: Vec<DonePush>) -> bool {
        let mut all = true;
        for DonePush { push, hosts } in done.into_iter().rev() {
            if hosts.is_empty() {
                continue;
            }
            self.report.step(&format!("{} goes back", push.stage.title));
            let ended = self.return_hosts(&push, &hosts);
            if let Err(error) = &ended {
                self.report.warning(error.message());
            }
            all &= ended.is_ok();
        }
        all
    }

    fn return_hosts(&self, push: &StagePush, hosts: &BTreeSet<String>) -> Result<()> {
        let mut fleet = self.fleet(push, "rollback")?;
        let is_changed = |name: &String| hosts.contains(name);
        fleet
            .machines
            .retain(|machine| is_changed(&machine.member.name));
        let ended = self.rolling(push, &fleet).run(&push.way_back());
        ended?.finish()
    }

    fn fleet(&self, push: &StagePush, command: &str) -> Result<Fleet<'_>> {
        let options = &self.args.hosts;
        self.environment
            .fleet(&push.stage.deploy, options, command, self.report)
    }

    fn rolling<'s>(&'s self, push: &'s StagePush, fleet: &'s Fleet<'s>) -> RollingPlan<'s> {
        RollingPlan {
            policy: &push.policy,
            artifacts: &push.artifacts,
            args: self.args,
            deploy: Some(&push.stage.deploy),
            fleet,
            report: self.report,
        }
    }
}

/// Refuses hosts whose distribution the packages of backing services do not know.
fn refuse_rpm(sites: &[TargetHost]) -> Result<()> {
    let mut refusals = PreflightRefusals::new("apply to");
    for site in sites {
        let manager = site.facts.manager;
        if manager.is_some_and(|manager| manager.kind() == ArtifactKind::Rpm) {
            let error =
                Error::new("the packages of backing services are for Debian and its relatives");
            let hint = "install it there yourself, and write `manage = false` in `[service.NAME]`";
            refusals.add(&site.name, error.hint(hint));
        }
    }
    refusals.finish()
}

/// Returns the packages of the software in all formats, as they lie beside the one that was found.
fn software_artifacts(file: &Path, app: &Config, version: &str) -> Result<Vec<Artifact>> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let is_it = |artifact: &Artifact| {
        artifact.holds == ArtifactContent::Software && artifact.version == version
    };
    let found = Artifact::newest_in(directory, app.name.as_str(), &is_it)?;
    if found.is_empty() {
        return Ok(vec![Artifact::read(file)?]);
    }
    Ok(found)
}
