//! `pkgapp push`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::assembly;
use crate::cli::{FormatName, GlobalOptions, PushArgs, RolloutArgs};
use pkgapp_config::{
    Config, ConfirmMode, DEFAULT_SETTLE, DEFAULT_TIMEOUT, Deploy, HealthChecks, InterpreterChoice,
    Migrate, SocketAddress,
};
use pkgapp_core::commit;
use pkgapp_core::error::{Context, Error, ErrorKind, Result, shown};
use pkgapp_core::name::AppName;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::artifact::{Artifact, ArtifactContent};
use pkgapp_deploy::backend;
use pkgapp_deploy::facts::{HostFacts, LockHolder};
use pkgapp_deploy::fleet::{self, Fleet, Machine};
use pkgapp_deploy::health::HealthCheck;
use pkgapp_deploy::hosts::{Host, HostFailure, interrupt};
use pkgapp_deploy::owner::{self, PushOwner};
use pkgapp_deploy::plan::{HostPlan, Plan};
use pkgapp_deploy::policy::{DeployPolicy, OnFailure, Probation, TargetHost};
use pkgapp_deploy::preflight::AllowFlags;
use pkgapp_deploy::rollout::{
    HostStatus, Observer, Rollout, RolloutEvent, RolloutOutcome, Unreachable,
};
use pkgapp_deploy::secrets::{self, SecretStore};
use pkgapp_format::read::ArtifactKind;

use super::build::{formats, write_all};
use super::{load_app, open_cache, working_directory};

/// How often pkgapp plans again after another push has changed the hosts.
const MOST_PLANS: u32 = 4;

pub(super) fn push(args: &PushArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let (deploy, files) = named(&args.what);
    let app = application(deploy, !files.is_empty(), global, report)?;
    let app = app.as_ref();
    let deploy = app
        .zip(deploy)
        .map(|(app, name)| fleet::deploy_named(app, name))
        .transpose()?;
    let unfinished = args.resume.then(|| unfinished(app)).transpose()?;
    let artifacts = match &unfinished {
        Some(unfinished) if files.is_empty() => artifacts(&unfinished.files, app, deploy)?,
        _ => artifacts(&files, app, deploy)?,
    };
    if let Some((app, deploy)) = app.zip(deploy).filter(|(_, deploy)| deploy.protected) {
        protect(app, deploy, &artifacts)?;
    }

    let mut policy = push_policy(args, &artifacts, app, deploy)?;
    let part = migrated_like(app, policy.migrate.as_ref())?;
    let artifacts = complete(artifacts, &mut policy, part.as_deref(), app, global, report)?;
    let root = app.map_or(Path::new(""), |app| &app.root);
    let mut fleet = Fleet::open(&args.rollout.hosts.options(), deploy, root, "push", report)?;
    if unfinished.is_some_and(|unfinished| !unfinished.has_any(&mut fleet)) {
        report.step("no push is unfinished on these hosts");
        return Ok(());
    }

    let command = RollingPlan {
        policy: &policy,
        artifacts: &artifacts,
        args: &args.rollout,
        deploy,
        fleet: &fleet,
        report,
    };
    let ended = command.run(&|sites: &[TargetHost]| Plan::push(&policy, &artifacts, sites))?;
    if !args.rollout.dry_run {
        UnfinishedPush::after(&ended, &artifacts).write(&policy.name)?;
    }
    ended.finish()
}

/// Reads the record of the last unfinished push.
fn unfinished(app: Option<&Config>) -> Result<UnfinishedPush> {
    let app = app.ok_or_else(|| {
        Error::new("`--resume` needs the application's configuration").kind(ErrorKind::Usage)
    })?;
    UnfinishedPush::read(&app.name)
}

fn push_policy(
    args: &PushArgs,
    artifacts: &[Artifact],
    app: Option<&Config>,
    deploy: Option<&Deploy>,
) -> Result<DeployPolicy> {
    let first = artifacts
        .first()
        .ok_or_else(|| Error::bug("there are no artifacts"))?;
    Ok(DeployPolicy {
        allow: AllowFlags {
            downgrade: args.allow_downgrade,
            reinstall: args.reinstall,
            same_name: args.allow_same_name,
            missing_settings: args.allow_missing_settings,
        },
        ..policy(AppName::parse(&first.name)?, app, deploy, &args.rollout)?
    })
}

/// Refuses artifacts for a protected deployment that cannot be traced to a tagged commit.
fn protect(app: &Config, deploy: &Deploy, artifacts: &[Artifact]) -> Result<()> {
    // An interpreter does not come from a commit of the application.
    let own = artifacts.iter().filter(|artifact| {
        matches!(
            artifact.holds,
            ArtifactContent::Application | ArtifactContent::Software
        )
    });
    let errors = own.flat_map(|artifact| {
        let errors =
            commit::untraced(&app.root, artifact.commit.as_deref(), &artifact.release).into_iter();
        let note = format!(
            "`[deploy.{}]` is protected, and this is `{}`",
            deploy.name, artifact.file
        );
        errors.map(move |error| error.at(deploy.at.clone()).note(note.clone()))
    });
    Error::all(errors.collect::<Vec<_>>()).map_or(Ok(()), Err)
}

/// Splits the words of a command line into a `[deploy.NAME]`, unless the first word is a file, and
/// files.
fn named(words: &[String]) -> (Option<&str>, Vec<PathBuf>) {
    let is_file = |word: &str| word.contains(['/', '.']) || Path::new(word).is_file();
    match words.split_first() {
        Some((first, rest)) if !is_file(first) => {
            (Some(first), rest.iter().map(PathBuf::from).collect())
        }
        _ => (None, words.iter().map(PathBuf::from).collect()),
    }
}

/// Loads the configuration; a file can be pushed without one.
fn application(
    deploy: Option<&str>,
    has_files: bool,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Option<Config>> {
    match load_app(global, report) {
        Ok(app) => Ok(Some(app)),
        Err(_) if has_files && deploy.is_none() && global.config.is_none() && !is_configured()? => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_configured() -> Result<bool> {
    Ok(working_directory()?.join("pkgapp.toml").exists())
}

/// Reads the named artifacts, or else the newest ones of the application.
fn artifacts(
    files: &[PathBuf],
    app: Option<&Config>,
    deploy: Option<&Deploy>,
) -> Result<Vec<Artifact>> {
    if files.is_empty() {
        return newest_artifacts(app, deploy);
    }
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match Artifact::read(file) {
            Ok(artifact) => all.push(artifact),
            Err(error) => errors.push(error),
        }
    }

    // Configurations and interpreters follow the applications that use them.
    all.sort_by_key(|artifact| match artifact.holds {
        ArtifactContent::Application | ArtifactContent::Software => 0,
        ArtifactContent::Configuration => 1,
        ArtifactContent::Runtime => 2,
    });
    if errors.is_empty() {
        let software = software_beside(&all)?;
        all.splice(..0, software);
    }
    errors.extend(check_belonging(&all, app));
    errors.extend(check_environments(&all, deploy));
    Error::all(errors).map_or(Ok(all), Err)
}

/// Finds the software that configurations were built for, if only configurations are named.
fn software_beside(named: &[Artifact]) -> Result<Vec<Artifact>> {
    let is_configuration = |artifact: &&Artifact| artifact.configuration.is_some();
    if !named.iter().all(|artifact| is_configuration(&artifact)) {
        return Ok(Vec::new());
    }
    let mut all: Vec<Artifact> = Vec::new();
    for artifact in named {
        let Some(record) = &artifact.configuration else {
            continue;
        };
        if all.iter().any(|known| artifact.configures(known)) {
            continue;
        }
        let directory = artifact.path.parent().unwrap_or(Path::new(""));
        let is_it =
            |other: &Artifact| artifact.configures(other) && other.version == record.software;
        let found = Artifact::newest_in(directory, &record.name, &is_it)?;
        if found.is_empty() {
            let error = Error::new(format!(
                "`{}` can only be pushed together with the package of {} {}",
                artifact.file, record.name, record.software
            ));
            return Err(error.hint("name that package too, or put it into the same directory"));
        }
        all.extend(found.into_iter().map(|found| Artifact {
            was_found: true,
            ..found
        }));
    }
    Ok(all)
}

fn newest_artifacts(app: Option<&Config>, deploy: Option<&Deploy>) -> Result<Vec<Artifact>> {
    let app = app.ok_or_else(|| Error::bug("neither a file nor a configuration"))?;
    let dist = app.root.join("dist");
    let content = if app.is_separate() {
        ArtifactContent::Software
    } else {
        ArtifactContent::Application
    };
    let mut all = Artifact::newest_in(&dist, app.name.as_str(), &|artifact| {
        artifact.holds == content
    })?;
    if all.is_empty() {
        let error = Error::new(format!(
            "there is no artifact of `{}` in `{}`",
            app.name,
            shown(&dist)
        ));
        return Err(error.hint("create one with `pkgapp build`, or name a file"));
    }
    if app.is_separate() {
        all.extend(newest_configurations(app, deploy, &dist)?);
    }
    Ok(all)
}

/// Returns the newest configuration packages of a deployment.
fn newest_configurations(
    app: &Config,
    deploy: Option<&Deploy>,
    dist: &Path,
) -> Result<Vec<Artifact>> {
    let deploy = deploy.ok_or_else(|| {
        Error::new("the configuration of each deployment is a package of its own")
            .kind(ErrorKind::Usage)
            .hint("name a deployment, for example `pkgapp push production`")
    })?;
    let environment = deploy.name.to_string();
    let name = format!("{}-config", app.name);
    let found = Artifact::newest_in(dist, &name, &|artifact| {
        artifact.environment() == Some(&environment)
    })?;
    if found.is_empty() {
        let error = Error::new(format!(
            "there is no configuration package for `{environment}` in `{}`",
            shown(dist)
        ));
        return Err(error.hint(format!(
            "create one with `pkgapp build --for {environment}`"
        )));
    }
    Ok(found)
}

/// Returns an error for each configuration of another deployment.
fn check_environments(all: &[Artifact], deploy: Option<&Deploy>) -> Vec<Error> {
    let Some(deploy) = deploy else {
        return Vec::new();
    };
    let name = deploy.name.to_string();
    let others = all
        .iter()
        .filter(|artifact| artifact.environment().is_some_and(|other| other != name));
    let others = others.map(|other| {
        let environment = other.environment().unwrap_or_default();
        Error::new(format!(
            "`{}` is the configuration of `{environment}`, not of `{name}`",
            other.file
        ))
    });
    others.collect()
}

/// Returns an error for each artifact that is neither one of the application nor an interpreter of
/// one.
fn check_belonging(all: &[Artifact], app: Option<&Config>) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(alone) = all
        .first()
        .filter(|first| first.holds == ArtifactContent::Runtime)
    {
        let error = Error::new(format!(
            "`{}` is an interpreter, which is only pushed together with an application",
            alone.file
        ));
        errors.push(error.hint(
            "name the application's package: pkgapp finds the interpreter's package beside it",
        ));
    }

    let expected = app
        .map(|app| app.name.as_str())
        .or_else(|| all.first().map(Artifact::application));
    let comes_along =
        |artifact: &Artifact| all.iter().any(|other| artifact.provides_runtime_for(other));
    let foreign = all
        .iter()
        .filter(|artifact| Some(artifact.application()) != expected && !comes_along(artifact));
    errors.extend(foreign.map(|artifact| {
        let expected = expected.unwrap_or_default();
        Error::new(format!(
            "`{}` is a package of `{}`, not of `{expected}`",
            shown(&artifact.path),
            artifact.name
        ))
    }));
    errors
}

/// Reads the requirements of the artifacts that hosts may get, and adds the interpreters that they
/// share; `part` is the service whose settings a migration takes over.
pub(super) fn complete(
    mut artifacts: Vec<Artifact>,
    policy: &mut DeployPolicy,
    part: Option<&str>,
    app: Option<&Config>,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Vec<Artifact>> {
    for artifact in &mut artifacts {
        if !policy.backend.accepts(artifact.kind) {
            continue;
        }
        artifact.read_requirements()?;
        let has_units = artifact.holds != ArtifactContent::Software
            && artifact.application() == policy.name.as_str();
        if let Some(part) = part.filter(|_| has_units) {
            artifact.read_service(part)?;
        }
    }
    if part.is_some() {
        check_migrations(&artifacts, policy)?;
    }

    let accepted: Vec<&Artifact> = artifacts
        .iter()
        .filter(|artifact| policy.backend.accepts(artifact.kind))
        .collect();
    let prefix = accepted
        .iter()
        .find_map(|artifact| artifact.installed_prefix());
    if let Some(prefix) = prefix {
        prefix.clone_into(&mut policy.prefix);
    }
    let runtimes = runtimes(&accepted, app, global, report)?;
    artifacts.extend(runtimes);
    artifacts.into_iter().map(Artifact::chunk).collect()
}

/// Refuses software whose migration takes over the settings of a service in a package that does not
/// come along.
fn check_migrations(artifacts: &[Artifact], policy: &DeployPolicy) -> Result<()> {
    let is_alone = |software: &&Artifact| {
        let configured = artifacts.iter().any(|other| other.configures(software));
        software.holds == ArtifactContent::Software && !configured
    };
    let mut accepted = artifacts
        .iter()
        .filter(|artifact| policy.backend.accepts(artifact.kind));
    let Some(software) = accepted.find(is_alone) else {
        return Ok(());
    };
    let error = Error::new(format!(
        "the migration of `{}` runs like a service, whose unit is in the configuration package",
        software.file
    ));
    Err(error.hint("name the configuration package too"))
}

/// Returns the packages of the shared interpreters that these artifacts need: the newest beside
/// them, or else a new one. Interpreters that the command line names are already among the
/// artifacts.
fn runtimes(
    artifacts: &[&Artifact],
    app: Option<&Config>,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Vec<Artifact>> {
    let mut all = Vec::new();
    let is_served = |artifact: &Artifact| {
        artifacts
            .iter()
            .any(|runtime| runtime.provides_runtime_for(artifact))
    };
    let lacking = artifacts.iter().filter(|artifact| !is_served(artifact));
    for artifact in lacking {
        if let Some(needs) = &artifact.runtime {
            all.extend(runtimes_of(artifact, &needs.package, app, global, report)?);
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|runtime: &Artifact| seen.insert(runtime.sha256));
    Ok(all)
}

/// Finds the interpreters for one artifact; builds one if there is none and the configuration
/// describes it.
fn runtimes_of(
    artifact: &Artifact,
    package: &str,
    app: Option<&Config>,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Vec<Artifact>> {
    let beside = |directory: &Path| -> Result<Vec<Artifact>> {
        Artifact::newest_in(directory, package, &|runtime| {
            runtime.provides_runtime_for(artifact)
        })
    };
    let found = beside(artifact.path.parent().unwrap_or(Path::new("")))?;
    let describes = |app: &&Config| {
        AppName::of_runtime(app.python.version.value).as_str() == package
            && matches!(app.python.interpreter, InterpreterChoice::Shared(_))
    };
    match app.filter(describes) {
        Some(app) if found.is_empty() => {
            let directory = app.root.join("dist");
            make_runtime(artifact.kind, app, &directory, global, report)?;
            beside(&directory)
        }
        _ => Ok(found),
    }
}

/// Builds the package of the application's interpreter, as `pkgapp runtime build` does.
fn make_runtime(
    kind: ArtifactKind,
    app: &Config,
    directory: &Path,
    global: &GlobalOptions,
    report: &Report,
) -> Result<()> {
    let format = match kind {
        ArtifactKind::Deb => FormatName::Deb,
        ArtifactKind::Rpm => FormatName::Rpm,
        ArtifactKind::Tar => return Ok(()),
    };
    let package = AppName::of_runtime(app.python.version.value);
    report.step(&format!(
        "there is no package of `{package}` in `{}`; building it",
        shown(directory)
    ));
    let cache = open_cache(global, report)?;
    let runtime = assembly::assemble_runtime(app, "1", &cache, report)?;
    let formats = formats(&[format], app)?;
    write_all(runtime, formats, directory, &cache, report).map(|_| ())
}

/// Returns the policy of a deployment: options of the command line take precedence over
/// `[deploy.NAME]`, which takes precedence over the application's own health and migration and the
/// defaults.
pub(super) fn policy(
    name: AppName,
    app: Option<&Config>,
    deploy: Option<&Deploy>,
    args: &RolloutArgs,
) -> Result<DeployPolicy> {
    let backend = backend::choose(&name, deploy, args.into.as_deref(), args.sudo)?;
    let defaults = Deploy {
        health: app.and_then(|app| HealthChecks::of_services(&app.services)),
        migrate: app.and_then(|app| app.migrate.clone()),
        ..Deploy::defaults()
    };
    let deploy = deploy.unwrap_or(&defaults);
    let batches = if args.batches.is_empty() {
        deploy.batches.clone()
    } else {
        args.batches.clone()
    };
    Ok(DeployPolicy {
        backend,
        prefix: app.map_or_else(
            || format!("/opt/{name}"),
            |app| app.package.prefix.value.to_string(),
        ),
        name,
        owner: PushOwner::this(),
        batches,
        max_failed: args.max_failed.unwrap_or(deploy.max_failed),
        check: health_check(deploy),
        probation: probation(deploy, args)?,
        on_failure: if args.keep {
            OnFailure::Keep
        } else {
            OnFailure::GoBack
        },
        migrate_user: migration_user(app, deploy),
        migrate: deploy.migrate.clone(),
        secrets: app.map(SecretStore::of).transpose()?.flatten(),
        hooks: deploy.hooks.clone(),
        keep: deploy.keep,
        patience: args
            .wait
            .map_or(deploy.wait, |wait| Duration::from_secs(wait.into())),
        listens: app.map(listening).unwrap_or_default(),
        allow: AllowFlags::default(),
        system: None,
    })
}

/// Returns where the services of an application listen.
fn listening(app: &Config) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for service in &app.services {
        for socket in [&service.socket, &service.address] {
            if let Some(SocketAddress::Tcp(address)) = socket {
                addresses.push(*address);
            }
        }
    }
    addresses
}

/// Returns what becomes of a release that works. Another confirmation than the configured one has
/// its own time.
fn probation(deploy: &Deploy, args: &RolloutArgs) -> Result<Probation> {
    let confirm = args.confirm.unwrap_or(deploy.confirm);
    if confirm == ConfirmMode::Off && args.confirm_within.is_some() {
        let error = Error::new("`--confirm-within` is for releases that are confirmed");
        return Err(error
            .kind(ErrorKind::Usage)
            .hint("leave it out, or choose `--confirm auto`"));
    }
    let configured = deploy.confirm_within.filter(|_| confirm == deploy.confirm);
    let within = args.confirm_within.or(configured);
    Ok(Probation {
        confirm,
        within: within.unwrap_or_else(|| confirm.default_within()),
    })
}

fn health_check(deploy: &Deploy) -> HealthCheck {
    match deploy.health.clone() {
        Some(health) => HealthCheck {
            services: health.services,
            url: health.url,
            command: health.command,
            timeout: health.timeout,
            settle: health.settle,
        },
        None => HealthCheck {
            services: Vec::new(),
            url: None,
            command: None,
            timeout: DEFAULT_TIMEOUT,
            settle: DEFAULT_SETTLE,
        },
    }
}

/// Returns the user of migrations: the configured one, or that of the first cron job.
fn migration_user(app: Option<&Config>, deploy: &Deploy) -> Option<String> {
    let configured = deploy
        .migrate
        .as_ref()
        .and_then(|migrate| migrate.user.as_ref());
    if let Some(user) = configured {
        return Some(user.to_string());
    }
    let app = app?;
    let job = app.crons.first()?;
    let user = job.user.as_ref().map(ToString::to_string);
    Some(user.unwrap_or_else(|| app.name.to_string()))
}

/// Returns the service or timer whose settings a migration takes over: the named one, or else the
/// first.
pub(super) fn migrated_like(
    app: Option<&Config>,
    migrate: Option<&Migrate>,
) -> Result<Option<String>> {
    let Some((app, migrate)) = app.zip(migrate) else {
        return Ok(None);
    };
    let services = app.services.iter().map(|service| &service.name);
    let mut names = services.chain(app.timers.iter().map(|timer| &timer.name));
    let Some(wanted) = &migrate.service else {
        return Ok(names.next().map(ToString::to_string));
    };
    if names.any(|name| *name == wanted.value) {
        return Ok(Some(wanted.value.to_string()));
    }
    let error = Error::new(format!(
        "the migration runs like the service `{}`, which is not declared",
        wanted.value
    ));
    let known: Vec<String> = app
        .services
        .iter()
        .map(|service| format!("`{}`", service.name))
        .collect();
    let error = error.at(wanted.at.clone());
    Err(if known.is_empty() {
        error
    } else {
        error.hint(format!("the declared services are {}", known.join(", ")))
    })
}

/// The execution of `push` or `rollback`, from gathering facts to the rollout.
pub(super) struct RollingPlan<'a> {
    pub(super) policy: &'a DeployPolicy,
    pub(super) artifacts: &'a [Artifact],
    pub(super) args: &'a RolloutArgs,
    pub(super) deploy: Option<&'a Deploy>,
    pub(super) fleet: &'a Fleet<'a>,
    pub(super) report: &'a Report,
}

impl RollingPlan<'_> {
    /// Gathers facts, plans, and, except for a dry run, carries the plan out. Returns the status of
    /// every host.
    ///
    /// # Errors
    /// Reasons against the plan, before anything has changed. Later failures are in the summary.
    pub(super) fn run(&self, make: &dyn Fn(&[TargetHost]) -> Result<Plan>) -> Result<PushSummary> {
        let mut looked_twice = false;
        for _ in 0..MOST_PLANS {
            let mut reached = self.gather_facts()?;
            if !looked_twice && reached.has_vanished_push() {
                looked_twice = true;
                continue;
            }
            if reached.sites.is_empty() {
                return Ok(reached.skipped);
            }
            let plan = make(&reached.sites)?;
            if self.args.dry_run {
                self.print_plan(&plan);
                reached.skipped.planned = plan.batches.iter().map(Vec::len).sum();
                return Ok(reached.skipped);
            }

            for host in &plan.hosts {
                for found in &host.found {
                    self.report.step(&format!("{}: {found}", host.host));
                }
            }
            let outcome = self.roll(&plan, &reached.machines);
            if outcome.is_stale {
                self.report
                    .step("another push has changed the hosts; planning again");
                continue;
            }
            self.tell(&plan, &outcome, &reached.machines);
            reached.skipped.add(outcome);
            return Ok(reached.skipped);
        }
        Err(Error::new("gave up: other pushes kept changing the hosts")
            .hint("push again when they are done"))
    }

    /// Gathers facts and plans, without a word. Returns `None` if no host was reached.
    ///
    /// # Errors
    /// Reasons against the plan.
    pub(super) fn check(
        &self,
        make: &dyn Fn(&[TargetHost]) -> Result<Plan>,
    ) -> Result<Option<Plan>> {
        let reached = self.gather_facts()?;
        if reached.sites.is_empty() {
            return Ok(None);
        }
        make(&reached.sites).map(Some)
    }

    fn print_plan(&self, plan: &Plan) {
        match self.report.style() {
            OutputStyle::Text => self.report.text(&plan.text(self.args.commands)),
            OutputStyle::Json => self.report.json(&plan.to_json()),
        }
    }

    /// Gathers the facts of all hosts.
    fn gather_facts(&self) -> Result<ReachedHosts<'_>> {
        let command = self
            .policy
            .backend
            .probe(&self.policy.prefix, self.artifacts)
            .parameter("listens", self.policy.listening());
        let facts = self.fleet.each(|machine| {
            // A dry run prints only the plan.
            if !self.args.dry_run {
                machine.row.state("gathering facts");
            }
            let output = machine.host.run(&command, &mut |_, _| {})?;
            HostFacts::parse(&output.text()).map_err(|error| HostFailure::Failed {
                error: error.note(format!("the host is `{}`", machine.member.name)),
                output,
            })
        });

        let mut reached = ReachedHosts::default();
        let mut refused = Vec::new();
        for (machine, facts) in self.fleet.machines.iter().zip(facts) {
            match facts {
                Some(Ok(facts)) => reached.add(machine, facts),
                Some(Err(failure)) => {
                    machine.row.failed(failure.error());
                    if self.may_skip(&failure) {
                        reached.skip(machine, failure);
                    } else {
                        refused.push(failure.into_error());
                    }
                }
                None => refused.push(interrupt::error()),
            }
        }
        Error::all(refused).map_or(Ok(reached), Err)
    }

    fn may_skip(&self, failure: &HostFailure) -> bool {
        self.unreachable() == Unreachable::Skip && !matches!(failure, HostFailure::Failed { .. })
    }

    fn unreachable(&self) -> Unreachable {
        if self.args.skip_unreachable || self.deploy.is_some_and(|deploy| deploy.skip_unreachable) {
            Unreachable::Skip
        } else {
            Unreachable::Fail
        }
    }

    fn roll(&self, plan: &Plan, machines: &[&Machine<'_>]) -> RolloutOutcome {
        let hosts: Vec<&dyn Host> = machines
            .iter()
            .map(|machine| machine.host.as_ref())
            .collect();
        let rows = machines
            .iter()
            .map(|machine| (machine.member.name.as_str(), *machine))
            .collect();
        let watch = HostTable {
            rows,
            report: self.report,
        };
        Rollout {
            plan,
            hosts: &hosts,
            watch: &watch,
            parallel: self.fleet.parallel(),
            reconnect: Duration::from_secs(self.args.reconnect.into()),
            unreachable: self.unreachable(),
            stop: &interrupt::requested,
        }
        .run()
    }

    /// Prints the status of each host.
    fn tell(&self, plan: &Plan, outcome: &RolloutOutcome, machines: &[&Machine<'_>]) {
        for ((host, told), machine) in plan.hosts.iter().zip(&outcome.hosts).zip(machines) {
            let status = if plan.action == secrets::SECRETS_ACTION {
                describe_secrets(told.end, host)
            } else {
                describe_status(told.end, host)
            };
            match told.errors.first() {
                Some(error) if !told.end.is_good() => {
                    machine.row.failed(error);
                    self.report.step(&format!("{}: {status}", host.host));
                }
                _ => machine.row.done(&status),
            }
            for file in &told.left {
                self.report.warning(&format!(
                    "`{}` has new configuration to merge in `{file}`",
                    host.host
                ));
            }
        }
        if self.report.style() == OutputStyle::Json {
            self.report.json(&outcome.to_json());
        }
    }
}

/// Returns an error that names the hosts whose release a person has to confirm, if any.
fn awaited(hosts: &[(String, HostStatus)]) -> Result<()> {
    let is_awaiting = |(host, end): &(String, HostStatus)| {
        (*end == HostStatus::Awaiting).then(|| format!("`{host}`"))
    };
    let awaiting: Vec<String> = hosts.iter().filter_map(is_awaiting).collect();
    if awaiting.is_empty() {
        return Ok(());
    }
    let error = Error::new(format!("the release on {}", awaiting.join(", ")));
    Err(error
        .kind(ErrorKind::Unconfirmed)
        .note("hosts that nobody confirms in time return to the previous release")
        .hint("check the hosts, then run `pkgapp confirm` for them"))
}

fn describe_status(status: HostStatus, host: &HostPlan) -> String {
    let from = host.from.as_deref();
    let before = from.unwrap_or("no installation");
    match status {
        HostStatus::Idle => host.change(),
        HostStatus::Changed => format!("{}, healthy", host.change()),
        HostStatus::Awaiting => format!("{}, healthy, waiting for confirmation", host.change()),
        HostStatus::Unchanged => format!("unchanged, {}", from.unwrap_or("not installed")),
        HostStatus::Unreachable => "not reached".to_owned(),
        HostStatus::WentBack => format!("went back to {before}"),
        HostStatus::Unconfirmed => format!("{} is installed, but not confirmed", host.to),
        HostStatus::Unknown => format!("lost; it ends on {} or stays as it was", host.to),
        HostStatus::Unwell => format!("back on {before}, not healthy"),
        HostStatus::Broken => "broken: both the installation and the rollback failed".to_owned(),
    }
}

/// The same for hosts that get secrets.
fn describe_secrets(status: HostStatus, host: &HostPlan) -> String {
    let before = host.from.as_deref().unwrap_or_default();
    match status {
        HostStatus::Idle | HostStatus::Changed | HostStatus::Awaiting => host.change(),
        HostStatus::Unchanged => format!("unchanged: {before}"),
        HostStatus::Unreachable => "not reached".to_owned(),
        HostStatus::WentBack => format!("went back: {before}"),
        HostStatus::Unconfirmed | HostStatus::Broken => {
            "the new secrets are set, and it does not work with them".to_owned()
        }
        HostStatus::Unknown => "lost; the new secrets are set or not".to_owned(),
        HostStatus::Unwell => "went back, and does not work".to_owned(),
    }
}

/// The hosts that have answered with their facts, and those that are skipped.
#[derive(Default)]
struct ReachedHosts<'a> {
    machines: Vec<&'a Machine<'a>>,
    /// One for each of `machines`.
    sites: Vec<TargetHost>,
    skipped: PushSummary,
}

impl<'a> ReachedHosts<'a> {
    fn add(&mut self, machine: &'a Machine<'a>, facts: HostFacts) {
        self.machines.push(machine);
        self.sites.push(TargetHost {
            name: machine.member.name.clone(),
            variables: machine.member.variables.clone(),
            facts,
        });
    }

    fn skip(&mut self, machine: &Machine<'_>, failure: HostFailure) {
        let name = machine.member.name.clone();
        self.skipped.hosts.push((name, HostStatus::Unreachable));
        self.skipped.errors.push(failure.into_error());
    }

    /// Returns whether a host is locked by a push that no longer runs. That push may have died, or
    /// have finished a moment ago: gathering the facts again tells.
    fn has_vanished_push(&self) -> bool {
        let is_gone = |holder: &LockHolder| holder.alive && owner::is_dead(&holder.token);
        self.sites
            .iter()
            .any(|site| site.facts.lock.as_ref().is_some_and(is_gone))
    }
}

/// The status of all hosts after a push or rollback.
#[derive(Debug, Default)]
pub(super) struct PushSummary {
    pub(super) hosts: Vec<(String, HostStatus)>,
    errors: Vec<Error>,
    changed: bool,
    /// How many hosts a dry run would have changed.
    planned: usize,
}

impl PushSummary {
    fn add(&mut self, outcome: RolloutOutcome) {
        self.changed |= outcome.hosts.iter().any(|host| host.end.is_change());
        self.errors.extend(outcome.errors);
        for host in outcome.hosts {
            self.hosts.push((host.host, host.end));
            self.errors.extend(host.errors);
        }
    }

    /// Returns whether some host has failed.
    pub(super) fn has_failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Returns the hosts that have changed.
    pub(super) fn changed_hosts(&self) -> impl Iterator<Item = &str> {
        let changed = self.hosts.iter().filter(|(_, end)| end.is_change());
        changed.map(|(host, _)| host.as_str())
    }

    /// Adds what became of other hosts.
    pub(super) fn merge(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.errors.extend(other.errors);
        self.changed |= other.changed;
        self.planned += other.planned;
    }

    /// Returns the failures as one error, whose kind is the exit code.
    ///
    /// # Errors
    /// At least one host has failed, or a dry run has found something to do.
    pub(super) fn finish(self) -> Result<()> {
        let kind = if self.changed {
            ErrorKind::Partial
        } else {
            ErrorKind::Failed
        };
        if let Some(error) = Error::all(self.errors) {
            return Err(error.kind(kind));
        }
        fleet::planned_changes(self.planned)?;
        awaited(&self.hosts)
    }
}

/// Shows the events of a rollout in the table of hosts.
struct HostTable<'a> {
    rows: BTreeMap<&'a str, &'a Machine<'a>>,
    report: &'a Report,
}

impl Observer for HostTable<'_> {
    fn on_event(&self, host: &str, event: &RolloutEvent<'_>) {
        let Some(machine) = self.rows.get(host) else {
            if let RolloutEvent::Begins(step) = event {
                self.report.step(&step.what);
            }
            return;
        };
        match event {
            RolloutEvent::Begins(step) => machine.row.state(&step.what),
            RolloutEvent::Sent(sent, size) => machine.row.bytes(*sent, *size),
            RolloutEvent::Retries(step, _) => machine.row.state(&format!("{}, again", step.what)),
            RolloutEvent::GoesBack => machine.row.state("going back"),
            RolloutEvent::Says(line) => self.report.detail(&format!("{host}: {line}")),
            RolloutEvent::Ends(..) | RolloutEvent::Fails(..) => {}
        }
    }
}

/// The hosts and files of an unfinished push, for `--resume`; kept in the user's state directory.
#[derive(Debug, Serialize, Deserialize)]
struct UnfinishedPush {
    hosts: Vec<String>,
    files: Vec<PathBuf>,
}

impl UnfinishedPush {
    /// Returns the hosts that have not reached the new release.
    fn after(ended: &PushSummary, artifacts: &[Artifact]) -> Self {
        let left = ended.hosts.iter().filter(|(_, end)| !end.is_good());
        Self {
            hosts: left.map(|(host, _)| host.clone()).collect(),
            files: artifacts
                .iter()
                .map(|artifact| artifact.path.clone())
                .collect(),
        }
    }

    /// Restricts a fleet to the unfinished hosts; returns whether there are any.
    fn has_any(&self, fleet: &mut Fleet<'_>) -> bool {
        fleet
            .machines
            .retain(|machine| self.hosts.contains(&machine.member.name));
        !fleet.machines.is_empty()
    }

    fn path(name: &AppName) -> Result<PathBuf> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let state = state
            .ok_or_else(|| Error::new("HOME is not set").hint("set HOME or XDG_STATE_HOME"))?;
        Ok(state.join(format!("pkgapp/unfinished/{name}.json")))
    }

    fn read(name: &AppName) -> Result<Self> {
        let path = Self::path(name)?;
        if !path.exists() {
            return Err(Error::new(format!("no push of `{name}` is unfinished")));
        }
        let text = pkgapp_core::fs::read_to_string(&path)?;
        serde_json::from_str(&text)
            .context(|| format!("invalid record of an unfinished push `{}`", shown(&path)))
    }

    /// Writes the record, or removes it if all hosts are done.
    fn write(&self, name: &AppName) -> Result<()> {
        let path = Self::path(name)?;
        if self.hosts.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::new(format!("cannot remove `{}`", shown(&path))).cause(error))
                }
                _ => Ok(()),
            };
        }
        let files: Result<Vec<PathBuf>> = self
            .files
            .iter()
            .map(|file| {
                std::path::absolute(file).context(|| format!("invalid path `{}`", shown(file)))
            })
            .collect();
        let text = serde_json::to_string_pretty(&Self {
            hosts: self.hosts.clone(),
            files: files?,
        });
        let text = text.context(|| "cannot record the unfinished push")?;
        pkgapp_core::fs::write_atomically(&path, |out| {
            std::io::Write::write_all(out, text.as_bytes())
                .context(|| format!("cannot write `{}`", shown(&path)))
        })
    }
}
