//! `pkgapp push`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::assembly;
use crate::cli::{FormatName, GlobalOptions, PushArgs, RolloutArgs};
use pkgapp_config::{Config, DEFAULT_SETTLE, DEFAULT_TIMEOUT, Deploy, InterpreterChoice};
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
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::{DeployPolicy, TargetHost};
use pkgapp_deploy::preflight::AllowFlags;
use pkgapp_deploy::rollout::{
    HostStatus, Observer, OnFailure, Rollout, RolloutEvent, RolloutOutcome, Unreachable,
};
use pkgapp_format::read::ArtifactKind;

use super::build::write_all;
use super::{load_app, open_cache, working_directory};

/// How often a plan is made anew because another push was in the way.
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
    let files = match &unfinished {
        Some(unfinished) if files.is_empty() => unfinished.files.clone(),
        _ => files,
    };
    let artifacts = artifacts(&files, app)?;
    if let Some((app, deploy)) = app.zip(deploy).filter(|(_, deploy)| deploy.protected) {
        protect(app, deploy, &artifacts)?;
    }

    let mut policy = push_policy(args, &artifacts, app, deploy)?;
    let part = migrated_like(app, deploy)?;
    let artifacts = complete(artifacts, &mut policy, part.as_deref(), app, global, report)?;
    let root = app.map_or(Path::new(""), |app| &app.root);
    let mut fleet = Fleet::open(&args.rollout.hosts.options(), deploy, root, "push", report)?;
    if let Some(unfinished) = &unfinished {
        let is_unfinished = |machine: &Machine<'_>| unfinished.hosts.contains(&machine.member.name);
        fleet.machines.retain(is_unfinished);
        if fleet.machines.is_empty() {
            report.step("no push is unfinished on these hosts");
            return Ok(());
        }
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

/// Reads what the last push left undone.
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
        },
        ..policy(AppName::parse(&first.name)?, app, deploy, &args.rollout)?
    })
}

/// Only what can be traced to a tagged commit goes to a protected place.
fn protect(app: &Config, deploy: &Deploy, artifacts: &[Artifact]) -> Result<()> {
    // An interpreter comes from no commit of the application's.
    let own = artifacts
        .iter()
        .filter(|artifact| artifact.holds == ArtifactContent::Application);
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

/// Takes the words of a command line apart: a `[deploy.NAME]`, unless the first is a file, and
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

/// The configuration; a file can be pushed without any.
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

fn artifacts(files: &[PathBuf], app: Option<&Config>) -> Result<Vec<Artifact>> {
    if files.is_empty() {
        let app = app.ok_or_else(|| Error::bug("neither a file nor a configuration"))?;
        let dist = app.root.join("dist");
        let all = Artifact::newest_in(&dist, app.name.as_str(), &|_| true)?;
        if all.is_empty() {
            let error = Error::new(format!(
                "there is no artifact of `{}` in `{}`",
                app.name,
                shown(&dist)
            ));
            return Err(error.hint("make one with `pkgapp build`, or name a file"));
        }
        return Ok(all);
    }
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match Artifact::read(file) {
            Ok(artifact) => all.push(artifact),
            Err(error) => errors.push(error),
        }
    }
    // Interpreters stand behind what they come with.
    all.sort_by_key(|artifact| artifact.holds == ArtifactContent::Runtime);
    if let Some(alone) = all
        .first()
        .filter(|first| first.holds == ArtifactContent::Runtime)
    {
        let error = Error::new(format!(
            "`{}` is an interpreter, which comes along with an application",
            alone.file
        ));
        errors.push(
            error.hint("name the application's package too, or push that alone: it finds the interpreter's beside it"),
        );
    }
    let expected = app
        .map(|app| app.name.as_str())
        .or_else(|| all.first().map(|first| first.name.as_str()));
    let comes_along =
        |artifact: &Artifact| all.iter().any(|other| artifact.provides_runtime_for(other));
    let foreign = all
        .iter()
        .filter(|artifact| Some(artifact.name.as_str()) != expected && !comes_along(artifact));
    errors.extend(foreign.map(|artifact| {
        let expected = expected.unwrap_or_default();
        Error::new(format!(
            "`{}` is a package of `{}`, not of `{expected}`",
            shown(&artifact.path),
            artifact.name
        ))
    }));
    Error::all(errors).map_or(Ok(all), Err)
}

/// Reads what a push must know of the artifacts that hosts may get, and adds the interpreters that
/// they share; `part` is the service whose settings a migration takes over.
fn complete(
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
        if let Some(part) = part.filter(|_| artifact.name == policy.name.as_str()) {
            artifact.read_service(part)?;
        }
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

/// The packages of the interpreters that these artifacts share with other applications: the newest
/// beside them, or made now. Those that were named on the command line are among the artifacts
/// already.
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
    for (artifact, needs) in
        lacking.filter_map(|artifact| Some((artifact, artifact.runtime.as_ref()?)))
    {
        let beside = |directory: &Path| -> Result<Vec<Artifact>> {
            Artifact::newest_in(directory, &needs.package, &|runtime| {
                runtime.provides_runtime_for(artifact)
            })
        };
        let directory = artifact.path.parent().unwrap_or(Path::new(""));
        let mut found = beside(directory)?;
        if found.is_empty()
            && let Some(app) = app.filter(|app| {
                AppName::of_runtime(app.python.version.value).as_str() == needs.package
            })
            && matches!(app.python.interpreter, InterpreterChoice::Shared(_))
        {
            let directory = app.root.join("dist");
            make_runtime(artifact.kind, app, &directory, global, report)?;
            found = beside(&directory)?;
        }
        all.extend(found);
    }
    let mut seen = BTreeSet::new();
    all.retain(|runtime: &Artifact| seen.insert(runtime.sha256));
    Ok(all)
}

/// Makes the package of the application's interpreter, as `pkgapp runtime build` does.
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
        "there is no package of `{package}` in `{}`; making it",
        shown(directory)
    ));
    let cache = open_cache(global, report)?;
    let runtime = assembly::assemble_runtime(app, "1", &cache, report)?;
    write_all(&runtime, &[format], app, directory, &cache, report).map(|_| ())
}

/// What is known before any host is asked: the options of the command line before `[deploy.NAME]`,
/// and that before the defaults.
pub(super) fn policy(
    name: AppName,
    app: Option<&Config>,
    deploy: Option<&Deploy>,
    args: &RolloutArgs,
) -> Result<DeployPolicy> {
    let backend = backend::choose(&name, deploy, args.into.as_deref(), args.sudo)?;
    let defaults = Deploy::defaults();
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
        migrate_user: migration_user(app, deploy),
        migrate: deploy.migrate.clone(),
        hooks: deploy.hooks.clone(),
        keep: deploy.keep,
        patience: args
            .wait
            .map_or(deploy.wait, |wait| Duration::from_secs(wait.into())),
        allow: AllowFlags::default(),
    })
}

fn health_check(deploy: &Deploy) -> HealthCheck {
    match deploy.health.clone() {
        Some(health) => HealthCheck {
            url: health.url,
            command: health.command,
            timeout: health.timeout,
            settle: health.settle,
        },
        None => HealthCheck {
            url: None,
            command: None,
            timeout: DEFAULT_TIMEOUT,
            settle: DEFAULT_SETTLE,
        },
    }
}

/// Returns the user of migrations: as configured, or that of the first cron job.
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

/// The service, or else the timer, whose settings a migration takes over: the first, or the one
/// that is named.
fn migrated_like(app: Option<&Config>, deploy: Option<&Deploy>) -> Result<Option<String>> {
    let Some((app, migrate)) = app.zip(deploy.and_then(|deploy| deploy.migrate.as_ref())) else {
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
        "the migration is to run like the service `{}`, which is not declared",
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
        error.hint(format!("declared are {}", known.join(", ")))
    })
}

/// A plan on its way, of `push` or of `rollback`.
pub(super) struct RollingPlan<'a> {
    pub(super) policy: &'a DeployPolicy,
    pub(super) artifacts: &'a [Artifact],
    pub(super) args: &'a RolloutArgs,
    pub(super) deploy: Option<&'a Deploy>,
    pub(super) fleet: &'a Fleet<'a>,
    pub(super) report: &'a Report,
}

impl RollingPlan<'_> {
    /// Looks, plans and, unless it is a rehearsal, carries the plan out. Returns how every host has
    /// ended.
    ///
    /// # Errors
    /// What spoke against it before anything changed. What failed later is the second part of the
    /// result.
    pub(super) fn run(&self, make: &dyn Fn(&[TargetHost]) -> Result<Plan>) -> Result<PushSummary> {
        let mut looked_twice = false;
        for _ in 0..MOST_PLANS {
            let (machines, sites, mut gone) = self.look()?;
            // A push that was there a moment ago and is gone may have died, or come to its end:
            // another look tells.
            let is_gone = |holder: &LockHolder| holder.alive && owner::is_dead(&holder.token);
            if !looked_twice
                && sites
                    .iter()
                    .any(|site| site.facts.lock.as_ref().is_some_and(is_gone))
            {
                looked_twice = true;
                continue;
            }
            let plan = if sites.is_empty() {
                None
            } else {
                Some(make(&sites)?)
            };
            let Some(plan) = plan else {
                return Ok(PushSummary {
                    hosts: gone.hosts,
                    errors: gone.errors,
                    changed: false,
                });
            };
            if self.args.dry_run {
                match self.report.style() {
                    OutputStyle::Text => self.report.text(&plan.text(self.args.commands)),
                    OutputStyle::Json => self.report.json(&plan.to_json()),
                }
                return Ok(PushSummary {
                    hosts: gone.hosts,
                    errors: gone.errors,
                    changed: false,
                });
            }
            for host in &plan.hosts {
                for found in &host.found {
                    self.report.step(&format!("{}: {found}", host.host));
                }
            }
            let outcome = self.roll(&plan, &machines);
            if outcome.is_stale {
                self.report
                    .step("another push was in the way; looking again");
                continue;
            }
            self.tell(&plan, &outcome, &machines);
            gone.add(outcome);
            return Ok(gone);
        }
        Err(Error::new("gave up: other pushes kept changing the hosts")
            .hint("push again when they are done"))
    }

    /// Gathers the facts of all hosts.
    fn look(&self) -> Result<(Vec<&Machine<'_>>, Vec<TargetHost>, PushSummary)> {
        let command = self
            .policy
            .backend
            .probe(&self.policy.prefix, self.artifacts);
        let facts = self.fleet.each(|machine| {
            // A rehearsal prints the plan and nothing else.
            if !self.args.dry_run {
                machine.row.state("looking around");
            }
            let output = machine.host.run(&command, &mut |_, _| {})?;
            HostFacts::parse(&output.text()).map_err(|error| HostFailure::Failed {
                error: error.note(format!("`{}` said it", machine.member.name)),
                output,
            })
        });
        let (mut machines, mut sites, mut gone) = (Vec::new(), Vec::new(), PushSummary::default());
        let mut refused = Vec::new();
        for (machine, facts) in self.fleet.machines.iter().zip(facts) {
            let name = machine.member.name.clone();
            match facts {
                Some(Ok(facts)) => {
                    machines.push(machine);
                    sites.push(TargetHost {
                        name,
                        variables: machine.member.variables.clone(),
                        facts,
                    });
                }
                Some(Err(failure)) => {
                    machine.row.failed(failure.error());
                    let may_miss = self.unreachable() == Unreachable::Skip
                        && !matches!(failure, HostFailure::Failed { .. });
                    if may_miss {
                        gone.hosts.push((name, HostStatus::Unreachable));
                        gone.errors.push(failure.into_error());
                    } else {
                        refused.push(failure.into_error());
                    }
                }
                None => refused.push(interrupt::error()),
            }
        }
        Error::all(refused).map_or(Ok((machines, sites, gone)), Err)
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
            on_failure: if self.args.keep {
                OnFailure::Keep
            } else {
                OnFailure::GoBack
            },
            unreachable: self.unreachable(),
            stop: &interrupt::requested,
        }
        .run()
    }

    /// Says how each host has ended.
    fn tell(&self, plan: &Plan, outcome: &RolloutOutcome, machines: &[&Machine<'_>]) {
        for ((host, told), machine) in plan.hosts.iter().zip(&outcome.hosts).zip(machines) {
            let what = match told.end {
                HostStatus::Idle => host.change(),
                HostStatus::Changed => format!("{}, healthy", host.change()),
                HostStatus::Unchanged => format!(
                    "unchanged, {}",
                    host.from.as_deref().unwrap_or("not installed")
                ),
                HostStatus::Unreachable => "not reached".to_owned(),
                HostStatus::WentBack => format!(
                    "went back to {}",
                    host.from.as_deref().unwrap_or("no installation")
                ),
                HostStatus::Unconfirmed => format!("{} is installed, but not confirmed", host.to),
                HostStatus::Unknown => format!("lost; it ends on {} or stays as it was", host.to),
                HostStatus::Unwell => format!(
                    "back on {}, not healthy",
                    host.from.as_deref().unwrap_or("no installation")
                ),
                HostStatus::Broken => {
                    "broken: neither the installation nor the way back succeeded".to_owned()
                }
            };
            match told.errors.first() {
                Some(error) if !told.end.is_good() => {
                    machine.row.failed(error);
                    self.report.step(&format!("{}: {what}", host.host));
                }
                _ => machine.row.done(&what),
            }
            for file in &told.left {
                self.report.warning(&format!(
                    "`{}` has new configuration in `{file}`, to be merged",
                    host.host
                ));
            }
        }
        if self.report.style() == OutputStyle::Json {
            self.report.json(&outcome.to_json());
        }
    }
}

/// How all hosts have ended.
#[derive(Debug, Default)]
pub(super) struct PushSummary {
    pub(super) hosts: Vec<(String, HostStatus)>,
    errors: Vec<Error>,
    changed: bool,
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

    /// Returns the failures as one error; its kind is the exit code.
    ///
    /// # Errors
    /// See above.
    pub(super) fn finish(self) -> Result<()> {
        let kind = if self.changed {
            ErrorKind::Partial
        } else {
            ErrorKind::Failed
        };
        Error::all(self.errors).map_or(Ok(()), |error| Err(error.kind(kind)))
    }
}

/// Shows what happens in the table of hosts.
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

/// What a push has left undone, for `--resume`; kept among this user's state.
#[derive(Debug, Serialize, Deserialize)]
struct UnfinishedPush {
    hosts: Vec<String>,
    files: Vec<PathBuf>,
}

impl UnfinishedPush {
    /// The hosts that are not where they should be.
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
            .context(|| format!("`{}` is not what pkgapp has written", shown(&path)))
    }

    /// Keeps it, or forgets it if nothing is left to do.
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
                std::path::absolute(file).context(|| format!("`{}` has no place", shown(file)))
            })
            .collect();
        let text = serde_json::to_string_pretty(&Self {
            hosts: self.hosts.clone(),
            files: files?,
        });
        let text = text.context(|| "cannot write down what is unfinished")?;
        pkgapp_core::fs::write_atomically(&path, |out| {
            std::io::Write::write_all(out, text.as_bytes())
                .context(|| format!("cannot write `{}`", shown(&path)))
        })
    }
}
