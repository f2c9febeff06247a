//! `pkgapp system apply`: the applications of an environment, on one kind of hosts after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::cli::SystemApplyArgs;
use crate::commands::push::{PushSummary, RollingPlan, complete, migrated_like, policy};
use pkgapp_config::{
    Config, ConfirmMode, Deploy, HealthChecks, HostGroup, HostPattern, Located, SystemApplication,
    SystemEnvironment, suggested,
};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::report::Report;
use pkgapp_deploy::artifact::{Artifact, ArtifactContent};
use pkgapp_deploy::fleet::Fleet;
use pkgapp_deploy::hosts::{LabelFilter, passes};
use pkgapp_deploy::plan::Plan;
use pkgapp_deploy::policy::{DeployPolicy, TargetHost};
use pkgapp_deploy::rollback::RollbackTarget;
use pkgapp_system::{DeclaredApplication, ResolvedHost, ResolvedSystem, folded};

use super::OpenSystem;
use super::build::{BuiltConfiguration, ConfigurationBuilder};
use super::software::FoundSoftware;

/// Deploys an environment.
pub(super) fn apply(
    system: &OpenSystem<'_>,
    args: &SystemApplyArgs,
    report: &Report,
) -> Result<()> {
    let environment = system.model.environment(&args.environment)?;
    refuse_manual_confirmation(environment, args)?;
    let applications = system.software.of(&system.model, environment)?;
    let resolved = system.resolve_locked(environment, &applications)?;
    let applier = Applier {
        system,
        environment,
        resolved: &resolved,
        applications: &applications,
        args,
        report,
    };
    applier.tell_services();
    let stages = applier.stages()?;
    if args.rollout.dry_run {
        return applier.print(&stages);
    }
    applier.check(&stages)?;
    applier.run(stages)
}

/// A stage waits for the one before it, which nobody could confirm in the meantime.
fn refuse_manual_confirmation(
    environment: &SystemEnvironment,
    args: &SystemApplyArgs,
) -> Result<()> {
    let confirm = args.rollout.confirm.unwrap_or(environment.policy.confirm);
    if confirm != ConfirmMode::Manual {
        return Ok(());
    }
    let error = Error::new("a system cannot be confirmed by a person");
    Err(error
        .kind(ErrorKind::Usage)
        .hint("write `confirm = \"auto\"`, or give `--confirm auto`"))
}

/// Deploys the applications of an environment.
struct Applier<'a> {
    system: &'a OpenSystem<'a>,
    environment: &'a SystemEnvironment,
    resolved: &'a ResolvedSystem,
    applications: &'a BTreeMap<AppName, DeclaredApplication>,
    args: &'a SystemApplyArgs,
    report: &'a Report,
}

/// An application on one kind of hosts.
struct Stage {
    /// For messages: the application and its hosts.
    title: String,
    policy: DeployPolicy,
    artifacts: Vec<Artifact>,
    /// The hosts, as a deployment has them.
    deploy: Deploy,
}

impl Applier<'_> {
    /// Names the services that must be there.
    fn tell_services(&self) {
        let services = self.resolved.services.iter();
        for service in services.filter(|service| service.external.is_none()) {
            let hosts = service.hosts.iter();
            let hosts = hosts.map(|host| self.resolved.hosts[*host].name.as_str());
            let (name, kind) = (&service.name, service.kind.name());
            let hosts = folded(hosts);
            self.report
                .detail(&format!("{name} ({kind}) must be installed on {hosts}"));
        }
    }

    /// Returns the stages, in order, of the applications and hosts that the arguments select.
    fn stages(&self) -> Result<Vec<Stage>> {
        let builder = ConfigurationBuilder {
            system: self.system,
            environment: self.environment,
            resolved: self.resolved,
            formats: &[],
            output: None,
            report: self.report,
        };
        let built = builder.build(self.applications)?;
        let selected = self.selected_hosts()?;
        self.check_applications()?;
        let mut stages = Vec::new();
        for application in self.resolved.applications_in_order() {
            let names = &self.args.application;
            if !names.is_empty() && names.iter().all(|name| name != application.name.as_str()) {
                continue;
            }
            let own = built.iter();
            let mut own: Vec<&BuiltConfiguration> = own
                .filter(|one| one.hosts.application == application.name)
                .collect();
            // Sites come last: the services behind them answer then.
            own.sort_by_key(|one| one.hosts.placed.names.is_empty());
            let mut is_first = true;
            for one in own {
                let stage = self.stage(one, &selected, is_first)?;
                is_first &= stage.is_none() || one.hosts.placed.names.is_empty();
                stages.extend(stage);
            }
        }
        Ok(stages)
    }

    /// Returns the numbers of the hosts that `--hosts` and `--only` select.
    fn selected_hosts(&self) -> Result<BTreeSet<usize>> {
        let named = self.named_hosts()?;
        let mut filters = Vec::new();
        for text in &self.args.rollout.hosts.only {
            filters.push(LabelFilter::parse(text)?);
        }

        let mut selected = BTreeSet::new();
        for (number, host) in self.resolved.hosts.iter().enumerate() {
            let is_named = named.is_empty() || named.contains(host.name.as_str());
            if is_named && passes(&filters, &labels(host)) {
                selected.insert(number);
            }
        }
        Ok(selected)
    }

    /// Returns the names in `--hosts`.
    fn named_hosts(&self) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for text in &self.args.rollout.hosts.hosts {
            let addresses = HostPattern::parse(text)?.expand()?;
            named.extend(addresses.into_iter().map(|address| address.host));
        }
        let known = || {
            let hosts = self.resolved.hosts.iter();
            hosts.map(|host| host.name.as_str())
        };
        for name in &named {
            if known().any(|known| known == name) {
                continue;
            }
            let environment = self.environment.name();
            let error = Error::new(format!("`{environment}` has no host `{name}`"));
            let hint = suggested(name, known());
            return Err(error.kind(ErrorKind::Usage).hint(hint));
        }
        Ok(named)
    }

    /// Refuses applications that a host could not tell from others.
    fn check_applications(&self) -> Result<()> {
        let known = &self.system.model.applications;
        for name in &self.args.application {
            if known
                .iter()
                .all(|application| application.name.as_str() != name)
            {
                let error = Error::new(format!("the system has no application `{name}`"));
                let names = known.iter().map(|application| application.name.as_str());
                let hint = suggested(name, names);
                return Err(error.kind(ErrorKind::Usage).hint(hint));
            }
        }
        let renamed = known.iter().filter(|application| {
            let declared = self.applications.get(&application.name);
            declared.is_some_and(|declared| declared.software != application.name)
        });
        let errors = renamed.map(|application| {
            let (name, software) = (&application.name, &application.software);
            let error = Error::new(format!(
                "cannot deploy `{name}`: a push keeps one configuration of `{software}` on a host"
            ));
            error.at(application.at.clone()).hint(
                "build its packages with `pkgapp system build`, and install them with the package manager",
            )
        });
        Error::all(errors.collect::<Vec<_>>()).map_or(Ok(()), Err)
    }

    /// Returns the stage of one configuration; `None` if none of its hosts is selected.
    fn stage(
        &self,
        built: &BuiltConfiguration,
        selected: &BTreeSet<usize>,
        migrates: bool,
    ) -> Result<Option<Stage>> {
        let hosts = built.hosts.hosts.iter();
        let hosts: Vec<&ResolvedHost> = hosts
            .filter(|number| selected.contains(number))
            .map(|number| &self.resolved.hosts[*number])
            .collect();
        if hosts.is_empty() {
            return Ok(None);
        }

        let application = self.application(&built.hosts.application)?;
        let software = self
            .system
            .software
            .software(application, self.environment)?;
        let FoundSoftware::Package(package, file) = &*software else {
            return Err(Error::bug(
                "a configuration was built for software that is not",
            ));
        };
        let app = package.services().read(&built.hosts.changes)?;
        let app = app.placed(&built.hosts.placed);
        let deploy = self.deploy(&app, &hosts, migrates)?;
        let rollout = &self.args.rollout;
        let mut policy = policy(app.name.clone(), Some(&app), Some(&deploy), rollout)?;
        let mut artifacts = software_artifacts(file, &app, package.services().version())?;
        for path in built.written.paths() {
            artifacts.push(Artifact::read(path)?);
        }
        let part = migrated_like(Some(&app), policy.migrate.as_ref())?;
        let part = part.as_deref();
        let global = self.system.global;
        let artifacts = complete(
            artifacts,
            &mut policy,
            part,
            Some(&app),
            global,
            self.report,
        )?;
        let names = hosts.iter().map(|host| host.name.as_str());
        Ok(Some(Stage {
            title: format!("{} on {}", app.name, folded(names)),
            policy,
            artifacts,
            deploy,
        }))
    }

    fn application(&self, name: &AppName) -> Result<&SystemApplication> {
        let mut applications = self.system.model.applications.iter();
        let found = applications.find(|application| application.name == *name);
        found.ok_or_else(|| Error::bug("an application got lost"))
    }

    /// Returns the hosts and the policy of a stage, as a deployment has them.
    fn deploy(&self, app: &Config, hosts: &[&ResolvedHost], migrates: bool) -> Result<Deploy> {
        let mut groups = Vec::new();
        for host in hosts {
            let pattern = HostPattern::parse(&host.login.to_string())?;
            groups.push(HostGroup {
                pattern: Located {
                    value: pattern,
                    at: self.environment.policy.at.clone(),
                },
                labels: labels(host),
                variables: host.variables.clone(),
                sudo_password_file: host.sudo_password_file.clone(),
            });
        }
        Ok(Deploy {
            hosts: groups,
            health: HealthChecks::of_services(&app.services),
            migrate: app.migrate.clone().filter(|_| migrates),
            ..self.environment.policy.clone()
        })
    }

    /// Prints the plans of all stages.
    fn print(&self, stages: &[Stage]) -> Result<()> {
        let mut summary = PushSummary::default();
        for stage in stages {
            self.report.step(&stage.title);
            let fleet = self.fleet(stage)?;
            let planned = self.rolling(stage, &fleet).run(&stage.plan())?;
            summary.merge(planned);
        }
        summary.finish()
    }

    /// Plans all stages, so that reasons against any of them come before anything changes.
    fn check(&self, stages: &[Stage]) -> Result<()> {
        let mut mistakes = Vec::new();
        for stage in stages {
            let fleet = self.fleet(stage)?;
            if let Err(error) = self.rolling(stage, &fleet).check(&stage.plan()) {
                mistakes.push(error);
            }
        }
        Error::all(mistakes).map_or(Ok(()), Err)
    }

    /// Runs the stages. If one fails, the stages before it go back.
    fn run(&self, mut stages: Vec<Stage>) -> Result<()> {
        let mut changed: Vec<ChangedStage> = Vec::new();
        for stage in &mut stages {
            self.report.step(&stage.title);
            let fleet = self.fleet(stage)?;
            let ended = self.rolling(stage, &fleet).run(&stage.plan());
            drop(fleet);
            let has_failed = ended.as_ref().map_or(true, PushSummary::has_failed);
            if has_failed {
                return Err(self.failure(ended, changed));
            }
            let hosts = ended.iter().flat_map(PushSummary::changed_hosts);
            let hosts = hosts.map(str::to_owned).collect();
            // Migrations only run forward.
            stage.policy.migrate = None;
            changed.push(ChangedStage { stage, hosts });
        }
        Ok(())
    }

    /// Returns the failure of a stage after the stages before it went back, with the exit code for
    /// the whole.
    fn failure(&self, ended: Result<PushSummary>, changed: Vec<ChangedStage<'_>>) -> Error {
        let error = ended.and_then(PushSummary::finish).err();
        let error = error.unwrap_or_else(|| Error::bug("a failure got lost"));
        let has_changed = changed.iter().any(|one| !one.hosts.is_empty());
        let went_back = !self.args.rollout.keep && self.go_back(changed);
        if has_changed && !went_back {
            error.kind(ErrorKind::Partial)
        } else {
            error
        }
    }

    /// Returns the hosts that have changed to their previous packages, the last ones first; returns
    /// whether all went back.
    fn go_back(&self, changed: Vec<ChangedStage<'_>>) -> bool {
        let mut all = true;
        for one in changed.into_iter().rev() {
            if one.hosts.is_empty() {
                continue;
            }
            self.report.step(&format!("{} goes back", one.stage.title));
            let ended = self.roll_back(&one);
            if let Err(error) = &ended {
                self.report.warning(error.message());
            }
            all &= ended.is_ok();
        }
        all
    }

    fn roll_back(&self, changed: &ChangedStage<'_>) -> Result<()> {
        let stage = changed.stage;
        let mut fleet = self.fleet(stage)?;
        let is_changed = |name: &String| changed.hosts.contains(name);
        fleet
            .machines
            .retain(|machine| is_changed(&machine.member.name));
        let make =
            |sites: &[TargetHost]| Plan::rollback(&stage.policy, RollbackTarget::Previous, sites);
        self.rolling(stage, &fleet).run(&make)?.finish()
    }

    /// Opens the hosts of a stage.
    fn fleet(&self, stage: &Stage) -> Result<Fleet<'_>> {
        let mut options = self.args.rollout.hosts.options();
        options.hosts.clear();
        options.only.clear();
        let root = self.system.model.file.parent();
        let root = root.unwrap_or(Path::new("/"));
        Fleet::open(&options, Some(&stage.deploy), root, "apply", self.report)
    }

    fn rolling<'s>(&'s self, stage: &'s Stage, fleet: &'s Fleet<'s>) -> RollingPlan<'s> {
        RollingPlan {
            policy: &stage.policy,
            artifacts: &stage.artifacts,
            args: &self.args.rollout,
            deploy: Some(&stage.deploy),
            fleet,
            report: self.report,
        }
    }
}

/// A stage that is done, and the hosts that have changed.
struct ChangedStage<'a> {
    stage: &'a Stage,
    hosts: BTreeSet<String>,
}

impl Stage {
    fn plan(&self) -> impl Fn(&[TargetHost]) -> Result<Plan> {
        |sites| Plan::push(&self.policy, &self.artifacts, sites)
    }
}

/// Returns the labels of a host, of which `role` has its roles.
fn labels(host: &ResolvedHost) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels = host.labels.clone();
    let roles = host.roles.iter().map(ToString::to_string);
    labels.entry("role".to_owned()).or_default().extend(roles);
    labels
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
