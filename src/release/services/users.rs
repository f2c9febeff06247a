//! Users of services, timers, and cron jobs, their directories where systemd creates none, and
//! their secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use pkgapp_config::{Config, SocketAddress, UserName};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::{InstallPath, ReleasePath};

use super::accounts::is_reserved;
use super::{GeneratedFiles, ServiceContext, config_group, render, settings_access};

/// A user, with a group of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemUser {
    /// The name, which is valid on all hosts (useradd(8)).
    pub name: String,
    /// The home directory, which is not created.
    pub home: InstallPath,
}

/// The accounts that a package needs on hosts.
#[derive(Debug)]
pub(super) struct HostAccounts {
    pub(super) users: Vec<SystemUser>,
    /// Groups in addition to those of the users.
    pub(super) groups: Vec<String>,
    pub(super) members: Vec<String>,
    /// Whether systemd-tmpfiles creates directories for the users.
    pub(super) has_directories: bool,
}

impl HostAccounts {
    /// Returns whether any account belongs to the application rather than a Linux distribution.
    pub(super) fn has_own(&self) -> bool {
        self.own_users().next().is_some() || self.own_groups().next().is_some()
    }

    fn own_users(&self) -> impl Iterator<Item = &SystemUser> {
        self.users.iter().filter(|user| !is_reserved(&user.name))
    }

    fn own_groups(&self) -> impl Iterator<Item = &String> {
        self.groups.iter().filter(|group| !is_reserved(group))
    }
}

/// A file of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The path below `/etc/NAME`.
    pub path: InstallPath,
    /// The group that may read the file.
    pub group: String,
}

/// A cron job with the name of its user's directories, which an upgrade compares with those of the
/// new version.
#[derive(Debug, Serialize)]
struct CronUser {
    name: String,
    directory: String,
}

#[derive(Debug, Serialize)]
struct OwnedDirectory {
    path: InstallPath,
    mode: &'static str,
    user: String,
    group: String,
}

/// Writes the configuration of systemd-sysusers and systemd-tmpfiles; returns the accounts.
/// Accounts of a Linux distribution are created only where they are missing, and are not declared,
/// because the distribution defines them.
pub(super) fn write(
    context: &ServiceContext<'_>,
    files: &mut GeneratedFiles,
) -> Result<HostAccounts> {
    let accounts = accounts(context)?;
    let name = context.name();
    if accounts.has_own() {
        let users: Vec<&SystemUser> = accounts.own_users().collect();
        let groups: Vec<&String> = accounts.own_groups().collect();
        let values = minijinja::context! { app => name, users, groups };
        let text = render(include_str!("../../../templates/sysusers.conf"), values)?;
        files.add(
            &format!("/usr/lib/sysusers.d/{name}.conf"),
            "the application's users",
            text,
        )?;
    }
    let directories = directories(context)?;
    if !directories.is_empty() {
        let job = |cron: &pkgapp_config::Cron| {
            let directory = context.directory(context.user(cron.user.as_ref())?);
            Ok(CronUser {
                name: cron.name.to_string(),
                directory,
            })
        };
        let jobs = context
            .app
            .crons
            .iter()
            .map(job)
            .collect::<Result<Vec<_>>>()?;
        let values = minijinja::context! { directories => &directories, jobs => &jobs };
        let text = render(include_str!("../../../templates/tmpfiles.conf"), values)?;
        files.add(
            &format!("/usr/lib/tmpfiles.d/{name}.conf"),
            "the application's directories",
            text,
        )?;
    }
    Ok(HostAccounts {
        has_directories: !directories.is_empty(),
        ..accounts
    })
}

/// Returns all users other than root of services, timers, cron jobs, and configuration files, and
/// all groups that the configuration names.
fn accounts(context: &ServiceContext<'_>) -> Result<HostAccounts> {
    let users = users(context)?;
    let is_new = |group: &&UserName| {
        group.as_str() != "root" && users.iter().all(|user| user.name != group.as_str())
    };
    let groups: BTreeSet<String> = declared_groups(context)
        .filter(is_new)
        .map(ToString::to_string)
        .collect();
    Ok(HostAccounts {
        groups: groups.into_iter().collect(),
        users,
        members: members(context)?,
        has_directories: false,
    })
}

/// Returns the users other than root, sorted by name.
fn users(context: &ServiceContext<'_>) -> Result<Vec<SystemUser>> {
    let runners = context.runners()?;
    let configs = context.app.configs.iter();
    let owners = configs.filter_map(|file| file.owner.as_ref());
    let names: BTreeSet<&UserName> = runners
        .into_iter()
        .chain(owners)
        .filter(|user| user.as_str() != "root")
        .collect();
    names
        .into_iter()
        .map(|user| {
            let home = if is_reserved(user.as_str()) {
                "/nonexistent".to_owned()
            } else {
                format!("/var/lib/{}", context.directory(user))
            };
            Ok(SystemUser {
                name: user.to_string(),
                home: InstallPath::parse(&home)?,
            })
        })
        .collect()
}

/// Iterates over the groups that the configuration names.
fn declared_groups<'a>(context: &'a ServiceContext<'_>) -> impl Iterator<Item = &'a UserName> {
    let app = context.app;
    let of_processes = context
        .processes()
        .filter_map(|process| process.group.as_ref());
    let of_sockets = app
        .services
        .iter()
        .filter_map(|service| service.socket_access.group.as_ref());
    let of_configs = app.configs.iter().filter_map(|file| file.group.as_ref());
    of_processes.chain(of_sockets).chain(of_configs)
}

/// Returns the users of cron jobs whose group owns files. Units set the group themselves.
fn members(context: &ServiceContext<'_>) -> Result<Vec<String>> {
    let mut groups: BTreeSet<String> = secrets(context)?
        .into_iter()
        .map(|secret| secret.group)
        .collect();
    for file in &context.app.configs {
        groups.extend(config_group(context.app, file));
    }
    if context.app.settings_file().is_some() {
        groups.extend(settings_access(context.app)?.group);
    }
    let mut members = BTreeSet::new();
    for cron in &context.app.crons {
        let user = context.user(cron.user.as_ref())?.to_string();
        if user != "root" && groups.contains(&user) {
            members.insert(user);
        }
    }
    Ok(members.into_iter().collect())
}

/// Returns the directories that systemd does not create at the start of a unit: those of cron jobs,
/// and those of sockets. A service whose directory in `/run` belongs to root would change its
/// owner, and that of the socket in it, whose group differs.
fn directories(context: &ServiceContext<'_>) -> Result<Vec<OwnedDirectory>> {
    let mut directories = BTreeMap::new();
    let mut add = |base: &str, mode: &'static str, user: &UserName| -> Result<()> {
        let path = InstallPath::parse(&format!("{base}/{}", context.directory(user)))?;
        let (user, group) = (user.to_string(), context.group_of(user)?);
        directories.insert(
            path.clone(),
            OwnedDirectory {
                path,
                mode,
                user,
                group,
            },
        );
        Ok(())
    };
    for cron in &context.app.crons {
        let user = context.user(cron.user.as_ref())?;
        for base in ["/var/cache", "/var/lib", "/var/log"] {
            add(base, "0750", user)?;
        }
    }
    for service in &context.app.services {
        let user = context.user(service.process.user.as_ref())?;
        if let Some(SocketAddress::Unix(path)) = &service.socket
            && path
                .below(&InstallPath::parse(&format!(
                    "/run/{}",
                    context.directory(user)
                ))?)
                .is_some()
        {
            add("/run", "0755", user)?;
        }
    }
    Ok(directories.into_values().collect())
}

/// Returns the environment files in the application's own directory that are not a `[config]`: an
/// administrator writes them.
pub(super) fn secrets(context: &ServiceContext<'_>) -> Result<Vec<SecretFile>> {
    let app = context.app;
    let etc = InstallPath::parse(&format!("/etc/{}", app.name))?;
    let is_secret = |file: &InstallPath| {
        let is_settings = app.settings_file().as_ref() == Some(file);
        let is_config = |name: &ReleasePath| app.configs.iter().any(|file| file.name == *name);
        !is_settings && file.below(&etc).is_some_and(|name| !is_config(&name))
    };
    let mut secrets = Vec::new();
    for (files, user) in environment_files(app) {
        for file in files.iter().filter(|file| is_secret(file)) {
            secrets.push(SecretFile {
                path: file.clone(),
                group: context.user(user.as_ref())?.to_string(),
            });
        }
    }
    secrets.sort_by(|a, b| a.path.cmp(&b.path));
    check_single_group(&secrets)?;
    secrets.dedup();
    Ok(secrets)
}

/// Iterates over the environment files of each service, timer, and cron job, with its user.
fn environment_files(app: &Config) -> impl Iterator<Item = (&Vec<InstallPath>, &Option<UserName>)> {
    let services = app.services.iter().map(|service| &service.process);
    let timers = app.timers.iter().map(|timer| &timer.process);
    let crons = app.crons.iter();
    services
        .chain(timers)
        .map(|process| (&process.environment_files, &process.user))
        .chain(crons.map(|cron| (&cron.environment_files, &cron.user)))
}

/// Checks that only one group needs to read each file; `secrets` are sorted by path.
fn check_single_group(secrets: &[SecretFile]) -> Result<()> {
    match secrets
        .windows(2)
        .find(|pair| pair[0].path == pair[1].path && pair[0].group != pair[1].group)
    {
        None => Ok(()),
        Some(pair) => Err(Error::new(format!(
            "only one group can read the secrets in `{}`, not both `{}` and `{}`",
            pair[0].path, pair[0].group, pair[1].group
        ))
        .hint("use a separate file for each user, or a `[config]` file with a `group`")),
    }
}
