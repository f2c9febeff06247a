//! `pkgapp secrets set`, `copy`, and `generate`.

use std::collections::BTreeMap;

use crate::cli::{
    RolloutArgs, SecretsChangeArgs, SecretsCopyArgs, SecretsGenerateArgs, SecretsSetArgs,
};
use crate::commands::push::{RollingPlan, policy};
use pkgapp_config::{Config, Deploy, DeployHooks};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::Report;
use pkgapp_core::text::backticked;
use pkgapp_deploy::fleet::{Fleet, Machine, folded};
use pkgapp_deploy::hosts::{HostCommand, HostFailure, interrupt};
use pkgapp_deploy::policy::{DeployPolicy, TargetHost};
use pkgapp_deploy::secrets::{
    HostSecrets, ReaderRestart, SecretChange, SecretForm, SecretSalt, SecretStore, SecretValue,
    SecretsPlan,
};

use super::{Undeclared, check_name, check_place, deploy_of, file_of, source, warn_of};

pub(super) fn set(args: &SecretsSetArgs, app: &Config, report: &Report) -> Result<()> {
    let file = checked(app, std::slice::from_ref(&args.name), &args.change)?;
    let value = source::value(args, file.form(&args.name), report)?;
    let command = ChangeOfSecrets::new(args.target.as_deref(), file, &args.change, app, report)?;
    command.run(&|hosts| {
        let change = BTreeMap::from([(args.name.clone(), value.clone())]);
        Ok(vec![change; hosts.sites.len()])
    })
}

pub(super) fn generate(args: &SecretsGenerateArgs, app: &Config, report: &Report) -> Result<()> {
    let file = checked(app, std::slice::from_ref(&args.name), &args.change)?;
    let command = ChangeOfSecrets::new(args.target.as_deref(), file, &args.change, app, report)?;
    command.run(&|hosts| {
        let having = hosts.having(&args.name);
        if let Some(first) = having.first().filter(|_| !args.force) {
            let name = &args.name;
            let target = args.target.as_deref().unwrap_or("--hosts …");
            let having = folded(&having);
            return Err(Error::new(format!("`{name}` is set on {having}")).hint(
                format!("copy it with `pkgapp secrets copy {target} --from {first} {name}`, or replace it with `--force`"),
            ));
        }
        let first = hosts.machine(0)?;
        let output = ask(first, &SecretStore::generate(args.length))?;
        let value = SecretValue::from_output(output, SecretForm::Line)?;
        let change = BTreeMap::from([(args.name.clone(), value)]);
        Ok(vec![change; hosts.sites.len()])
    })
}

pub(super) fn copy(args: &SecretsCopyArgs, app: &Config, report: &Report) -> Result<()> {
    let has_hosts = !args.change.rollout.hosts.hosts.is_empty() || args.change.rollout.hosts.local;
    let (target, names) = match args.what.split_first() {
        Some((first, rest)) if !has_hosts || is_deploy(app, first) => (Some(first.as_str()), rest),
        _ => (None, &args.what[..]),
    };
    let file = checked(app, names, &args.change)?;
    let command = ChangeOfSecrets::new(target, file, &args.change, app, report)?;
    command.run(&|hosts| hosts.copied(&args.from, names))
}

/// Checks the names of secrets; returns the file where they belong.
fn checked(app: &Config, names: &[String], args: &SecretsChangeArgs) -> Result<SecretStore> {
    let undeclared = if args.allow_undeclared {
        Undeclared::Allowed
    } else {
        Undeclared::Refused
    };
    let mistakes = names
        .iter()
        .filter_map(|name| check_name(app, name, undeclared).err());
    Error::all(mistakes.collect::<Vec<_>>()).map_or_else(|| file_of(app), Err)
}

fn is_deploy(app: &Config, name: &str) -> bool {
    app.deploys
        .iter()
        .any(|deploy| deploy.name.as_str() == name)
}

/// Runs a question on a host; returns what it prints, which no log has.
fn ask(machine: &Machine<'_>, command: &HostCommand) -> Result<Vec<u8>> {
    let output = machine.host.run(command, &mut |_, _| {});
    Ok(output.map_err(HostFailure::into_error)?.stdout)
}

/// A command that changes secrets on hosts.
struct ChangeOfSecrets<'a> {
    args: &'a SecretsChangeArgs,
    deploy: Option<&'a Deploy>,
    policy: DeployPolicy,
    file: SecretStore,
    fleet: Fleet<'a>,
    report: &'a Report,
}

impl<'a> ChangeOfSecrets<'a> {
    fn new(
        target: Option<&str>,
        file: SecretStore,
        args: &'a SecretsChangeArgs,
        app: &'a Config,
        report: &'a Report,
    ) -> Result<Self> {
        let deploy = deploy_of(app, target)?;
        let rollout: &RolloutArgs = &args.rollout;
        let policy = DeployPolicy {
            migrate: None,
            // They belong to releases.
            hooks: DeployHooks::default(),
            ..policy(app.name.clone(), Some(app), deploy, rollout)?
        };
        check_place(app, &file, &*policy.backend)?;
        Ok(Self {
            args,
            deploy,
            policy,
            file,
            fleet: Fleet::open(
                &rollout.hosts.options(),
                deploy,
                &app.root,
                "secrets",
                report,
            )?,
            report,
        })
    }

    /// Looks at the hosts, decides which secrets each gets, and brings them there.
    fn run(
        &self,
        decide: &dyn Fn(&HostsWithSecrets<'_>) -> Result<Vec<SecretChange>>,
    ) -> Result<()> {
        let restart = if self.args.no_restart {
            ReaderRestart::Never
        } else {
            ReaderRestart::Running
        };
        let make = |sites: &[TargetHost]| {
            let salt = SecretSalt::draw()?;
            let there = self.look(sites, &salt)?;
            let hosts = HostsWithSecrets {
                command: self,
                sites,
                there: &there,
            };
            let changes = decide(&hosts)?;
            let (policy, file) = (&self.policy, &self.file);
            SecretsPlan {
                policy,
                file,
                salt: &salt,
                restart,
            }
            .plan(sites, &there, &changes)
        };
        RollingPlan {
            policy: &self.policy,
            artifacts: &[],
            args: &self.args.rollout,
            deploy: self.deploy,
            fleet: &self.fleet,
            report: self.report,
        }
        .run(&make)?
        .finish()
    }

    fn machine(&self, site: &TargetHost) -> Result<&Machine<'a>> {
        let mut machines = self.fleet.machines.iter();
        machines
            .find(|machine| machine.member.name == site.name)
            .ok_or_else(|| Error::bug("a host has no connection"))
    }

    /// Asks hosts which secrets they have.
    fn look(&self, sites: &[TargetHost], salt: &SecretSalt) -> Result<Vec<HostSecrets>> {
        let machines: Result<Vec<&Machine<'a>>> =
            sites.iter().map(|site| self.machine(site)).collect();
        let facts: BTreeMap<&str, &TargetHost> = sites
            .iter()
            .map(|site| (site.name.as_str(), site))
            .collect();
        let look = |machine: &Machine<'a>| {
            let facts = facts
                .get(machine.member.name.as_str())
                .map(|site| &site.facts);
            let remote = self.policy.backend.remote_state(facts);
            let command = self.file.look(&remote, salt);
            let answer = ask(machine, &command)?;
            let answer = String::from_utf8_lossy(&answer);
            HostSecrets::parse(&answer, salt)
        };
        let machines = machines?;
        let parallel = self.fleet.parallel();
        let found = self.fleet.each_of(&machines, parallel, look);
        let (mut there, mut errors) = (Vec::new(), Vec::new());
        for found in found {
            match found.unwrap_or_else(|| Err(interrupt::error())) {
                Ok(found) => there.push(found),
                Err(error) => errors.push(error),
            }
        }
        for (site, there) in sites.iter().zip(&there) {
            warn_of(&site.name, there, self.report);
        }
        Error::all(errors).map_or(Ok(there), Err)
    }
}

/// The hosts of a command, and the secrets that they have.
struct HostsWithSecrets<'a> {
    command: &'a ChangeOfSecrets<'a>,
    sites: &'a [TargetHost],
    there: &'a [HostSecrets],
}

impl HostsWithSecrets<'_> {
    fn machine(&self, index: usize) -> Result<&Machine<'_>> {
        let site = self.sites.get(index);
        let site = site.ok_or_else(|| Error::bug("there are no hosts"))?;
        self.command.machine(site)
    }

    /// The names of the hosts that have a secret.
    fn having(&self, name: &str) -> Vec<&str> {
        let hosts = self.sites.iter().zip(self.there);
        hosts
            .filter(|(_, there)| there.hashes.contains_key(name))
            .map(|(site, _)| site.name.as_str())
            .collect()
    }

    /// Reads secrets of one host, by default all, for all others.
    fn copied(&self, from: &str, names: &[String]) -> Result<Vec<SecretChange>> {
        let at = self.sites.iter().position(|site| site.name == from);
        let at = at.ok_or_else(|| {
            let known = backticked(self.sites.iter().map(|site| &site.name));
            Error::new(format!("`{from}` is none of the hosts"))
                .kind(ErrorKind::Usage)
                .hint(format!("`--from` names one of {known}"))
        })?;
        let source = &self.there[at];
        if let Some(error) = source.unusable(from) {
            return Err(error);
        }
        let lacking: Vec<&String> = names
            .iter()
            .filter(|name| !source.hashes.contains_key(*name))
            .collect();
        if !lacking.is_empty() {
            let lacking = backticked(lacking);
            let error = Error::new(format!("{lacking} is not set on `{from}`"));
            return Err(error);
        }

        let all: Vec<String> = source.hashes.keys().cloned().collect();
        let wanted = if names.is_empty() { &all[..] } else { names };
        let facts = &self.sites[at].facts;
        let backend = &self.command.policy.backend;
        let remote = backend.remote_state(Some(facts));
        let read = self.command.file.read(&remote, wanted);
        let machine = self.machine(at)?;
        let answer = ask(machine, &read)?;
        let values = SecretStore::values(&answer)?;
        let change = |index| {
            if index == at {
                SecretChange::new()
            } else {
                values.clone()
            }
        };
        let hosts = 0..self.sites.len();
        Ok(hosts.map(change).collect())
    }
}
