//! The stages of an environment: each application on each kind of its hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use crate::assembly::backing::BackingDeployment;
use crate::cli::HostArgs;
use pkgapp_config::{
    Config, DEFAULT_SETTLE, DEFAULT_TIMEOUT, Deploy, DeployHooks, HealthChecks, HostGroup,
    HostPattern, Located, SystemApplication, SystemEnvironment, suggested,
};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::report::Report;
use pkgapp_deploy::fleet::Fleet;
use pkgapp_deploy::hosts::{LabelFilter, passes};
use pkgapp_system::{
    DeclaredApplication, HostConfiguration, ResolvedHost, ResolvedSystem, ServiceConfiguration,
    folded,
};

use super::OpenSystem;
use super::software::FoundSoftware;

/// An environment whose lock is up to date.
pub(super) struct LockedEnvironment<'a> {
    pub(super) system: &'a OpenSystem<'a>,
    pub(super) environment: &'a SystemEnvironment,
    pub(super) applications: BTreeMap<AppName, DeclaredApplication>,
    pub(super) resolved: ResolvedSystem,
}

/// What a stage deploys.
pub(super) enum StageContent {
    /// An application, as it is on one kind of hosts.
    Application(HostConfiguration),
    /// A backing service.
    Service(ServiceConfiguration),
}

/// An application on one kind of hosts, or a backing service.
pub(super) struct Stage {
    /// For messages: the application and its hosts.
    pub(super) title: String,
    /// What is on the hosts, also on those that are not selected.
    pub(super) content: StageContent,
    /// The application as it is there; of a backing service, one of that name without services.
    pub(super) app: Config,
    /// The selected hosts, and the policy of the environment.
    pub(super) deploy: Deploy,
}

impl Stage {
    pub(super) fn is_service(&self) -> bool {
        matches!(self.content, StageContent::Service(_))
    }
}

/// The options that select stages.
pub(super) struct StageSelection<'a> {
    /// The names of applications; none for all.
    pub(super) applications: &'a [String],
    pub(super) hosts: &'a HostArgs,
}

impl<'a> LockedEnvironment<'a> {
    /// Resolves an environment.
    ///
    /// # Errors
    /// Mistakes of the model, and a lock that is out of date.
    pub(super) fn open(system: &'a OpenSystem<'a>, name: &str) -> Result<Self> {
        let environment = system.model.environment(name)?;
        let applications = system.software.of(&system.model, environment)?;
        let resolved = system.resolve_locked(environment, &applications)?;
        Ok(Self {
            system,
            environment,
            applications,
            resolved,
        })
    }

    /// Returns the stages of the selected applications and hosts: applications that others require
    /// come first, and sites after the services behind them.
    ///
    /// # Errors
    /// No host is selected, or one that the environment does not have.
    pub(super) fn stages(&self, selection: &StageSelection<'_>) -> Result<Vec<Stage>> {
        if selection.hosts.local {
            let error = Error::new("`--local` is not for systems, whose model names the hosts");
            return Err(error.kind(ErrorKind::Usage).hint("leave it out"));
        }
        self.check_applications(selection.applications)?;
        let selected = self.selected_hosts(selection.hosts)?;
        let mut stages = self.service_stages(selection.applications, &selected)?;
        for application in self.resolved.applications_in_order() {
            let names = selection.applications;
            if !names.is_empty() && names.iter().all(|name| name != application.name.as_str()) {
                continue;
            }
            let Some(declared) = self.applications.get(&application.name) else {
                continue;
            };
            let mut all = self.resolved.configurations(&application.name, declared);
            all.sort_by_key(|one| one.placed.names.is_empty());
            // Only the first stage migrates that has the service whose settings the migration takes
            // over; without one, the first stage with services.
            let migrate = declared.config.migrate.as_ref();
            let service = migrate.and_then(|migrate| migrate.service.as_ref());
            let mut is_migrated = false;
            for configuration in all {
                let names = &configuration.placed.names;
                let can_migrate = match service {
                    Some(service) => names.contains(&service.value),
                    None => !names.is_empty(),
                };
                let migrates = can_migrate && !is_migrated;
                let stage = self.stage(configuration, &selected, migrates)?;
                is_migrated |= migrates && stage.is_some();
                stages.extend(stage);
            }
        }
        if stages.is_empty() {
            let name = self.environment.name();
            let error = Error::new(format!("these options select no host of `{name}`"));
            return Err(error.kind(ErrorKind::Usage));
        }
        Ok(stages)
    }

    /// Returns the stages of the backing services, which come before those who use them; none if
    /// applications are selected.
    fn service_stages(
        &self,
        applications: &[String],
        selected: &BTreeSet<usize>,
    ) -> Result<Vec<Stage>> {
        let mut stages = Vec::new();
        if !applications.is_empty() {
            return Ok(stages);
        }
        for service in self.resolved.service_configurations() {
            let hosts = self.hosts(&service.hosts, selected);
            if !hosts.is_empty() {
                stages.push(self.service_stage(service, &hosts)?);
            }
        }
        Ok(stages)
    }

    fn service_stage(
        &self,
        service: ServiceConfiguration,
        hosts: &[&ResolvedHost],
    ) -> Result<Stage> {
        let backing = self.backing(&service);
        let app = backing.app()?;
        let mut deploy = self.deploy(&app, hosts, false)?;
        deploy.health = Some(HealthChecks {
            services: Vec::new(),
            url: None,
            command: Some(backing.health()?),
            timeout: DEFAULT_TIMEOUT,
            settle: DEFAULT_SETTLE,
        });
        // They take applications out of service.
        deploy.hooks = DeployHooks::default();
        let names = hosts.iter().map(|host| host.name.as_str());
        Ok(Stage {
            title: format!("{} on {}", app.name, folded(names)),
            content: StageContent::Service(service),
            app,
            deploy,
        })
    }

    /// Returns a backing service, for its package.
    pub(super) fn backing<'s>(
        &'s self,
        service: &'s ServiceConfiguration,
    ) -> BackingDeployment<'s> {
        let model = &self.system.model;
        let mut applications = self.applications.values();
        let maintainer = applications.next().map(|first| &*first.config.maintainer);
        BackingDeployment {
            maintainer,
            service,
            system: model.name.as_str(),
            environment: self.environment.name(),
            model: &model.file,
        }
    }

    fn hosts(&self, numbers: &[usize], selected: &BTreeSet<usize>) -> Vec<&ResolvedHost> {
        let numbers = numbers.iter().filter(|number| selected.contains(number));
        numbers
            .map(|number| &self.resolved.hosts[*number])
            .collect()
    }

    /// Returns the stage of one configuration; `None` if none of its hosts is selected.
    fn stage(
        &self,
        configuration: HostConfiguration,
        selected: &BTreeSet<usize>,
        migrates: bool,
    ) -> Result<Option<Stage>> {
        let hosts = self.hosts(&configuration.hosts, selected);
        if hosts.is_empty() {
            return Ok(None);
        }
        let software = self.software(&configuration.application)?;
        let app = software.services().read(&configuration.changes)?;
        let app = app.placed(&configuration.placed);
        let names = hosts.iter().map(|host| host.name.as_str());
        Ok(Some(Stage {
            title: format!("{} on {}", app.name, folded(names)),
            deploy: self.deploy(&app, &hosts, migrates)?,
            content: StageContent::Application(configuration),
            app,
        }))
    }

    /// Returns the hosts and the policy of a stage, as a deployment has them.
    fn deploy(&self, app: &Config, hosts: &[&ResolvedHost], migrates: bool) -> Result<Deploy> {
        Ok(Deploy {
            hosts: self.host_groups(hosts)?,
            health: HealthChecks::of_services(&app.services),
            migrate: app.migrate.clone().filter(|_| migrates),
            ..self.environment.policy.clone()
        })
    }

    fn host_groups(&self, hosts: &[&ResolvedHost]) -> Result<Vec<HostGroup>> {
        let mut groups = Vec::new();
        for host in hosts {
            groups.push(HostGroup {
                labels: labels(host),
                variables: host.variables.clone(),
                sudo_password_file: host.sudo_password_file.clone(),
                ..self.host_group(&host.login.to_string())?
            });
        }
        Ok(groups)
    }

    /// Returns the group of one host, of which no more is known than its login.
    fn host_group(&self, login: &str) -> Result<HostGroup> {
        Ok(HostGroup {
            pattern: Located {
                value: HostPattern::parse(login)?,
                at: self.environment.policy.at.clone(),
            },
            labels: BTreeMap::new(),
            variables: BTreeMap::new(),
            sudo_password_file: None,
        })
    }

    /// Returns the policy of the environment for hosts that lost something: those that it still has
    /// as it has them, others by their names.
    pub(super) fn deploy_on_leaving(&self, names: &[&str]) -> Result<Deploy> {
        let mut groups = Vec::new();
        for name in names {
            let mut hosts = self.resolved.hosts.iter();
            groups.extend(match hosts.find(|host| host.name == *name) {
                Some(host) => self.host_groups(&[host])?,
                None => vec![self.host_group(name)?],
            });
        }
        Ok(Deploy {
            hosts: groups,
            health: None,
            migrate: None,
            ..self.environment.policy.clone()
        })
    }

    /// Returns an application of the model.
    pub(super) fn application(&self, name: &AppName) -> Result<&'a SystemApplication> {
        let found = self.system.model.application(name);
        found.ok_or_else(|| Error::bug("an application got lost"))
    }

    /// Returns the software of an application.
    pub(super) fn software(&self, name: &AppName) -> Result<Rc<FoundSoftware>> {
        let application = self.application(name)?;
        self.system.software.software(application, self.environment)
    }

    /// Refuses applications that the system does not have, and those that a host could not tell
    /// from others.
    fn check_applications(&self, names: &[String]) -> Result<()> {
        let known = &self.system.model.applications;
        for name in names {
            if known.iter().any(|known| known.name.as_str() == name) {
                continue;
            }
            let error = Error::new(format!("the system has no application `{name}`"));
            let hint = suggested(name, known.iter().map(|known| known.name.as_str()));
            return Err(error.kind(ErrorKind::Usage).hint(hint));
        }
        let mut errors = Vec::new();
        for application in known {
            let (name, software) = (&application.name, &application.software);
            if name == software {
                continue;
            }
            let error = Error::new(format!(
                "cannot deploy `{name}`: a push keeps one configuration of `{software}` on a host"
            ));
            let hint = "install the packages of `pkgapp system build` with the package manager";
            errors.push(error.at(application.at.clone()).hint(hint));
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    /// Returns the numbers of the hosts that `--hosts` and `--only` select.
    fn selected_hosts(&self, options: &HostArgs) -> Result<BTreeSet<usize>> {
        let named = self.named_hosts(&options.hosts)?;
        let mut filters = Vec::new();
        for text in &options.only {
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

    /// Returns the names that patterns of hosts stand for.
    fn named_hosts(&self, patterns: &[String]) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for text in patterns {
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

    /// Opens the hosts of a deployment.
    pub(super) fn fleet<'r>(
        &self,
        deploy: &Deploy,
        options: &HostArgs,
        command: &str,
        report: &'r Report,
    ) -> Result<Fleet<'r>> {
        let mut options = options.options();
        options.hosts.clear();
        options.only.clear();
        let root = self.system.model.file.parent();
        let root = root.unwrap_or(Path::new("/"));
        Fleet::open(&options, Some(deploy), root, command, report)
    }
}

/// Returns the labels of a host, of which `role` has its roles.
fn labels(host: &ResolvedHost) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels = host.labels.clone();
    let roles = host.roles.iter().map(ToString::to_string);
    labels.entry("role".to_owned()).or_default().extend(roles);
    labels
}
