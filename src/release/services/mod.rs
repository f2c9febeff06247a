//! What runs on a host, as files that systemd, cron and logrotate read: from the application's
//! `[service.*]`, `[timer.*]`, `[cron.*]` and `[logrotate]` to entries of the tree.
//!
//! One declaration gives the same on every host; what differs between package managers is in the
//! scriptlets, which act upon the [`Services`] that are returned here. Everything that an
//! application has is named after it: `shop.target` groups `shop-web.service`, `shop-web.socket`,
//! `shop-report.timer`; `/etc/cron.d/shop`; the user `shop` with `/var/lib/shop`, `/var/cache/shop`
//! and `/var/log/shop`.

mod accounts;
mod cron;
pub mod login;
mod logrotate;
mod monitoring;
mod paths;
mod program;
mod settings;
mod site;
mod systemd;
#[cfg(test)]
mod tests;
pub mod unit;
mod users;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::tree::{EntryOrigin, Tree, TreeEntry, UpgradeRole};
use pkgapp_config::{Config, ConfigFile, OnUpgrade, PartName, ProcessSettings, UserName};
use pkgapp_core::content::Content;
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::template::render;

use paths::ServiceScope;
use program::ReleasePrograms;
pub use settings::ServiceUnit;
pub use site::PackagedSite;
pub use users::{SecretFile, SystemUser};

/// Where units of packages lie, on both kinds of host.
const UNITS: &str = "/usr/lib/systemd/system";

/// Tells the launchers of the release whose prefix it holds that the variables are the
/// configuration's, and not those of whoever calls them.
const CONFIGURED: &str = "PKGAPP_CONFIGURED";

/// What a package's scriptlets act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// The application's.
    pub name: AppName,
    /// Where the release lies.
    pub prefix: InstallPath,
    /// In the order in which they are started: sockets, services, timers, then the target that
    /// groups them.
    pub units: Vec<PackagedUnit>,
    /// Users, each with a group of its name, that are created if they are missing and never
    /// deleted.
    pub users: Vec<SystemUser>,
    /// More groups, treated alike.
    pub groups: Vec<String>,
    /// Users that cron runs jobs as, and that become members of the group of their name if the
    /// host has them in another one: without it they could not read the application's files.
    pub members: Vec<String>,
    /// Files of secrets: created empty, 0640 root:GROUP, if they are not there; never overwritten,
    /// removed by purge.
    pub secrets: Vec<SecretFile>,
    /// Directories that systemd makes and the package does not own: removed by purge, e.g.
    /// `/var/lib/shop`.
    pub state: Vec<InstallPath>,
    /// Whether `/usr/lib/sysusers.d/NAME.conf` is in the tree.
    pub has_sysusers: bool,
    /// Whether `/usr/lib/tmpfiles.d/NAME.conf` is in the tree.
    pub has_tmpfiles: bool,
    /// Where each part keeps its data.
    pub homes: Vec<DataHome>,
    /// Files below `/etc/NAME` and whose they are.
    pub owned: Vec<OwnedFile>,
    /// What the application writes to below its prefix, if it does.
    pub writable: Option<WritableLinks>,
    /// The site in front of it, if it has one.
    pub site: Option<PackagedSite>,
    /// Where metrics are written; gone with the package.
    pub metrics: Option<InstallPath>,
    /// Settings that only hosts can give a value, if there are any.
    pub host_settings: Option<HostSettings>,
}

/// Settings that only hosts can give a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Their names, and the files where their values belong.
    pub needed: Vec<(String, InstallPath)>,
    /// All files of variables that something reads.
    pub files: Vec<InstallPath>,
}

/// Links from a release to what its application writes to; see [`crate::writable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableLinks {
    /// Where the links are.
    pub links: Vec<InstallPath>,
    /// Whose `/var/lib/NAME` is.
    pub user: String,
    /// The group of what this user has there.
    pub group: String,
}

/// Where a part keeps its data: below `/var/lib`, and in the same way below `/var/cache` and
/// `/var/log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataHome {
    /// The part's unit without its type, e.g. `shop-web`; `cron.purge` for a job of cron's.
    pub part: String,
    /// The directory's name, e.g. `shop`.
    pub directory: String,
    /// Whose it is.
    pub user: String,
    /// What may run in there, as patterns of units; nothing for a job of cron's.
    pub units: Vec<String>,
}

/// A file that the package puts below `/etc/NAME` and an administrator may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFile {
    /// Where.
    pub path: InstallPath,
    /// Permissions.
    pub mode: u32,
    /// `USER:GROUP`.
    pub owner: String,
}

/// A unit of systemd's and what scriptlets do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedUnit {
    /// The file in `/usr/lib/systemd/system`, e.g. `shop-web.service`, `shop-worker@.service`,
    /// `shop.target`.
    pub file: String,
    /// What is enabled and started: the file itself, or `shop-worker@1.service` … of a template.
    /// Empty for a timer's own service, which the timer starts.
    pub names: Vec<String>,
    /// What an upgrade does to it.
    pub on_upgrade: OnUpgrade,
}

/// Adds the files of everything that runs to the tree, and the sandbox that it runs in.
///
/// # Errors
/// A command whose program is not in the release; a value that a file can't carry; a user that
/// can't be made.
pub fn insert_into(tree: &mut Tree, app: &Config) -> Result<Services> {
    let context = ServiceContext::of(app)?;
    let programs = ReleasePrograms::of(tree, context.prefix);
    let mut files = GeneratedFiles::default();
    let mut units = Vec::new();
    for made in systemd::units(&context, &programs, ServiceScope::System)? {
        files.add(
            &format!("{UNITS}/{}", made.unit.file),
            &made.label,
            made.text,
        )?;
        units.push(made.unit);
    }
    monitoring::write(&context, &mut files)?;
    cron::write(&context, &programs, &mut files)?;
    logrotate::write(&context, &mut files)?;
    let accounts = users::write(&context, &mut files)?;
    let site = site::write(&context, tree, &units, &mut files)?;
    files.insert_into(tree)?;
    let secrets = users::secrets(&context)?;
    Ok(Services {
        name: app.name.clone(),
        prefix: context.prefix.clone(),
        units,
        site,
        owned: owned(tree, &context, &secrets)?,
        homes: homes(&context)?,
        writable: writable(&context)?,
        host_settings: host_settings(app),
        metrics: monitoring::metrics_file(&context)?,
        secrets,
        state: context.state()?,
        has_sysusers: accounts.has_own(),
        has_tmpfiles: accounts.has_directories,
        users: accounts.users,
        groups: accounts.groups,
        members: accounts.members,
    })
}

/// Checks all that needs no release: logs, accounts, directories and secrets.
///
/// # Errors
/// As [`insert_into`], but for programs.
pub fn check(app: &Config) -> Result<()> {
    let context = ServiceContext::of(app)?;
    let mut files = GeneratedFiles::default();
    logrotate::write(&context, &mut files)?;
    users::write(&context, &mut files)?;
    users::secrets(&context)?;
    homes(&context)?;
    context.state()?;
    Ok(())
}

/// Returns the files of secrets in the application's own directory.
///
/// # Errors
/// Two users would have to read one file.
pub fn secret_files(app: &Config) -> Result<Vec<SecretFile>> {
    users::secrets(&ServiceContext::of(app)?)
}

/// Where everything that runs keeps its data. What declares its directories itself looks after them
/// itself.
fn homes(context: &ServiceContext<'_>) -> Result<Vec<DataHome>> {
    let app = context.app;
    let unit = |name: &PartName| context.unit(name);
    let services = app.services.iter().map(|service| {
        let name = unit(&service.name);
        let running = if service.instances.is_some() {
            format!("{name}@*.service")
        } else {
            format!("{name}.service")
        };
        (name, &service.process, running)
    });
    let timers = app.timers.iter().map(|timer| {
        let name = unit(&timer.name);
        (name.clone(), &timer.process, format!("{name}.service"))
    });
    let mut homes = Vec::new();
    for (part, process, running) in services.chain(timers) {
        if process.systemd.contains_key("StateDirectory")
            || process
                .relax
                .iter()
                .any(|name| name.value == "StateDirectory")
        {
            continue;
        }
        let user = context.user(process.user.as_ref())?;
        let (directory, user) = (context.directory(user), user.to_string());
        homes.push(DataHome {
            part,
            directory,
            user,
            units: vec![running],
        });
    }
    for cron in &app.crons {
        let user = context.user(cron.user.as_ref())?;
        let (directory, user) = (context.directory(user), user.to_string());
        homes.push(DataHome {
            part: format!("cron.{}", cron.name),
            directory,
            user,
            units: Vec::new(),
        });
    }
    Ok(homes)
}

/// The settings that only hosts can give a value.
fn host_settings(app: &Config) -> Option<HostSettings> {
    let needed: Vec<(String, InstallPath)> = app
        .settings
        .iter()
        .filter(|setting| setting.is_missing_on_hosts())
        .filter_map(|setting| Some((setting.name.clone(), app.place_on_hosts(setting)?)))
        .collect();
    let files: BTreeSet<&InstallPath> = app
        .environment_files()
        .flat_map(|(_, files)| files)
        .collect();
    (!needed.is_empty() && !files.is_empty()).then(|| HostSettings {
        needed,
        files: files.into_iter().cloned().collect(),
    })
}

/// The links to what the application writes to.
fn writable(context: &ServiceContext<'_>) -> Result<Option<WritableLinks>> {
    let links = crate::writable::links(context.app)?;
    let Some(user) = context.primary.as_ref().filter(|_| !links.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(WritableLinks {
        links,
        user: user.to_string(),
        group: context.group_of(user)?,
    }))
}

/// The application's configuration and files of secrets.
fn owned(
    tree: &Tree,
    context: &ServiceContext<'_>,
    secrets: &[SecretFile],
) -> Result<Vec<OwnedFile>> {
    let etc = InstallPath::parse(&format!("/etc/{}", context.name()))?;
    let configured = tree
        .files()
        .filter(|(path, entry, _)| entry.role == UpgradeRole::Config && path.below(&etc).is_some());
    let configured = configured.map(|(path, entry, _)| OwnedFile {
        path: path.clone(),
        mode: entry.mode,
        owner: format!("{}:{}", entry.owner.user, entry.owner.group),
    });
    let secrets = secrets.iter().map(|secret| OwnedFile {
        path: secret.path.clone(),
        mode: 0o640,
        owner: format!("root:{}", secret.group),
    });
    Ok(configured.chain(secrets).collect())
}

/// What all files are made from.
struct ServiceContext<'a> {
    app: &'a Config,
    prefix: &'a InstallPath,
    /// As whom everything runs that names nobody; `None` if nothing runs.
    user: Option<UserName>,
    /// Whose `/var/lib/NAME` is; `None` if nothing runs.
    primary: Option<UserName>,
}

/// Returns the user that is named after the application, if anything runs as it.
///
/// # Errors
/// A name of the application that is too long for a user, or that of an account which hosts have
/// for something else.
pub fn default_user(app: &Config) -> Result<Option<UserName>> {
    let nameless: Vec<&Location> = runs_as(app)
        .filter(|(user, _)| user.is_none())
        .map(|(_, at)| at)
        .collect();
    if nameless.is_empty() {
        return Ok(None);
    }
    let name = app.name.as_str();
    let (reason, other) = match UserName::parse(name) {
        Ok(user) if !accounts::is_reserved(name) => return Ok(Some(user)),
        Ok(_) => (
            "Debian or Red Hat have for themselves".to_owned(),
            format!("{name}-app"),
        ),
        Err(_) => {
            let reason = format!(
                "has {} bytes, and a user's name has {} at most",
                name.len(),
                UserName::LONGEST
            );
            (
                reason,
                name.get(..UserName::LONGEST)
                    .unwrap_or(name)
                    .trim_end_matches('-')
                    .to_owned(),
            )
        }
    };
    let refused = nameless.into_iter().map(|at| {
        Error::new(format!(
            "this would run as the user `{name}`, which {reason}"
        ))
        .at(at.clone())
        .hint(format!(
            "write `user = \"{other}\"`, or give the application another name"
        ))
    });
    Err(Error::all(refused.collect::<Vec<_>>()).unwrap_or_else(|| Error::bug("a mistake got lost")))
}

/// Returns the user whose the application's directories are, such as `/var/lib/shop`: the one that
/// is named after it if anything runs as that, else the first that is declared, and not root if
/// there is a choice.
///
/// # Errors
/// As [`default_user`].
pub fn primary_user(app: &Config) -> Result<Option<UserName>> {
    let default = default_user(app)?;
    let declared = || runs_as(app).filter_map(|(user, _)| user);
    let named_after = || declared().find(|user| user.as_str() == app.name.as_str());
    let first = || {
        named_after()
            .or_else(|| declared().find(|user| user.as_str() != "root"))
            .or_else(|| declared().next())
    };
    Ok(default.or_else(|| first().cloned()))
}

/// Returns the group of a `[config]`, if that is not root's: the one that is declared, else that of
/// the [`primary_user`] if the group may read it and others may not. Such a file is for the
/// application to read.
pub fn config_group(app: &Config, file: &ConfigFile) -> Option<String> {
    let is_for_the_group = file.mode & 0o044 == 0o040;
    // A mistake in the names is reported with the services.
    let own = || {
        primary_user(app)
            .ok()
            .flatten()
            .filter(|user| is_for_the_group && user.as_str() != "root")
    };
    file.group
        .clone()
        .or_else(own)
        .map(|group| group.to_string())
}

/// Who may read the file in which settings are changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsAccess {
    /// Permissions.
    pub mode: u32,
    /// `None` for root's.
    pub group: Option<String>,
}

/// Returns who may read the file in which settings are changed: the group of the [`primary_user`],
/// as of other files for the application. systemd reads it as root, so that other users need it only
/// for cron jobs; secrets are elsewhere, and then everyone may read it.
///
/// # Errors
/// As [`default_user`].
pub fn settings_access(app: &Config) -> Result<SettingsAccess> {
    let context = ServiceContext::of(app)?;
    let primary = context.primary.as_ref();
    let mut is_for_all = primary.is_none();
    for cron in &app.crons {
        let user = context.user(cron.user.as_ref())?;
        is_for_all |= Some(user) != primary && user.as_str() != "root";
    }
    let group = primary.filter(|user| !is_for_all && user.as_str() != "root");
    Ok(SettingsAccess {
        mode: if is_for_all { 0o644 } else { 0o640 },
        group: group.map(ToString::to_string),
    })
}

/// What runs, in the order of the file: as whom, if that is declared, and where it stands.
fn runs_as(app: &Config) -> impl Iterator<Item = (Option<&UserName>, &Location)> {
    let services = app
        .services
        .iter()
        .map(|service| (service.process.user.as_ref(), &service.at));
    let timers = app
        .timers
        .iter()
        .map(|timer| (timer.process.user.as_ref(), &timer.at));
    let crons = app.crons.iter().map(|cron| (cron.user.as_ref(), &cron.at));
    services.chain(timers).chain(crons)
}

impl<'a> ServiceContext<'a> {
    fn of(app: &'a Config) -> Result<Self> {
        Ok(Self {
            app,
            prefix: &app.package.prefix.value,
            user: default_user(app)?,
            primary: primary_user(app)?,
        })
    }
}

impl ServiceContext<'_> {
    fn name(&self) -> &str {
        self.app.name.as_str()
    }

    /// The user that something runs as.
    fn user<'u>(&'u self, declared: Option<&'u UserName>) -> Result<&'u UserName> {
        declared
            .or(self.user.as_ref())
            .ok_or_else(|| Error::bug("something runs as nobody"))
    }

    /// The name of a user's directories below `/var/lib` and the like. Only one user may own each:
    /// systemd would hand them over with all that is in them at every start.
    fn directory(&self, user: &UserName) -> String {
        if self.primary.as_ref() == Some(user) {
            self.name().to_owned()
        } else {
            format!("{}-{user}", self.name())
        }
    }

    /// All users that something runs as, each once.
    fn runners(&self) -> Result<Vec<&UserName>> {
        let mut users = runs_as(self.app)
            .map(|(user, _)| self.user(user))
            .collect::<Result<Vec<_>>>()?;
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// All processes that systemd starts.
    fn processes(&self) -> impl Iterator<Item = &ProcessSettings> {
        let services = self.app.services.iter().map(|service| &service.process);
        services.chain(self.app.timers.iter().map(|timer| &timer.process))
    }

    /// The group that a user's files have: what all of its processes name, else that of its name.
    fn group_of(&self, user: &UserName) -> Result<String> {
        let mut groups = Vec::new();
        for process in self.processes() {
            if self.user(process.user.as_ref())? == user {
                groups.push(process.group.as_ref().unwrap_or(user));
            }
        }
        groups.dedup();
        Ok(if let [one] = groups[..] { one } else { user }.to_string())
    }

    /// Whose logs lie at a path: the user's in whose directories that is, or who says that it
    /// writes there. `None` if nothing tells.
    fn owner_of(&self, logs: &InstallPath) -> Result<Option<&UserName>> {
        for user in self.runners()? {
            for base in ["/var/log", "/var/lib", "/var/cache"] {
                if logs
                    .below(&InstallPath::parse(&format!(
                        "{base}/{}",
                        self.directory(user)
                    ))?)
                    .is_some()
                {
                    return Ok(Some(user));
                }
            }
        }
        let writes = |process: &&ProcessSettings| {
            process
                .write
                .iter()
                .any(|path| logs == path || logs.below(path).is_some())
        };
        self.processes()
            .find(writes)
            .map(|process| self.user(process.user.as_ref()))
            .transpose()
    }

    /// The directories of all of them.
    fn state(&self) -> Result<Vec<InstallPath>> {
        let mut all = Vec::new();
        for user in self.runners()? {
            for base in ["/run", "/var/cache", "/var/lib", "/var/log"] {
                all.push(InstallPath::parse(&format!(
                    "{base}/{}",
                    self.directory(user)
                ))?);
            }
        }
        Ok(all)
    }

    /// The name of a part's unit without its type, e.g. `shop-web`.
    fn unit(&self, part: &PartName) -> String {
        format!("{}-{part}", self.name())
    }

    /// The variable `PATH` of everything that runs: the release's own programs first.
    fn path(&self) -> String {
        format!(
            "{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.prefix
        )
    }
}

/// Files that are made, before they are in the tree.
#[derive(Debug, Default)]
struct GeneratedFiles(Vec<(InstallPath, TreeEntry)>);

impl GeneratedFiles {
    /// Adds a file that an upgrade replaces; `label` says where it comes from.
    fn add(&mut self, path: &str, label: &str, text: String) -> Result<()> {
        self.0.push((InstallPath::parse(path)?, entry(label, text)));
        Ok(())
    }

    /// Adds a file below `/etc` that is the administrator's once it is there.
    fn add_config(&mut self, path: &str, label: &str, text: String) -> Result<()> {
        self.0
            .push((InstallPath::parse(path)?, entry(label, text).config()));
        Ok(())
    }

    /// Adds a program.
    fn add_program(&mut self, path: InstallPath, label: &str, text: &str) {
        self.0.push((
            path,
            TreeEntry {
                mode: 0o755,
                ..entry(label, text.to_owned())
            },
        ));
    }

    fn insert_into(self, tree: &mut Tree) -> Result<()> {
        let refused: Vec<Error> = self
            .0
            .into_iter()
            .filter_map(|(path, entry)| tree.insert(path, entry).err())
            .collect();
        Error::all(refused).map_or(Ok(()), Err)
    }
}

fn entry(label: &str, text: String) -> TreeEntry {
    let origin = Arc::new(EntryOrigin {
        label: label.to_owned(),
        layer: None,
    });
    TreeEntry::file(Content::memory(text.into_bytes()), 0o644, &origin)
}

/// The reader of environment files that cron jobs go through, below the prefix.
fn environment_reader() -> Result<ReleasePath> {
    ReleasePath::parse(".pkgapp/with-environment")
}
