//! The files for systemd, cron, and logrotate: the application's `[service.*]`, `[timer.*]`,
//! `[cron.*]`, and `[logrotate]` become entries of the tree.
//!
//! The same configuration results in the same files on every host; differences between package
//! managers are in the scriptlets, which use the [`Services`] that this module returns. All names
//! contain the application's name: `shop.target` groups `shop-web.service`, `shop-web.socket`, and
//! `shop-report.timer`; the crontab is `/etc/cron.d/shop`; the user `shop` has `/var/lib/shop`,
//! `/var/cache/shop`, and `/var/log/shop`.

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
use pkgapp_config::{
    Config, ConfigFile, OnUpgrade, PartName, ProcessSettings, SecretDelivery, UserName,
};
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

/// The directory of packaged units on all hosts.
const UNITS: &str = "/usr/lib/systemd/system";

/// A variable that contains a prefix. It tells the launchers of that release that the configuration
/// has set the other variables, and not a user who calls the launcher.
const CONFIGURED: &str = "PKGAPP_CONFIGURED";

/// The facts about a package that its scriptlets need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// The name of the application.
    pub name: AppName,
    /// What the package has of the application.
    pub form: PackageForm,
    /// The environment that the host must have, if any: a configuration package is for one.
    pub environment: Option<String>,
    /// The directory of the release.
    pub prefix: InstallPath,
    /// The units in the order in which they start: sockets, services, timers, then the target that
    /// groups them.
    pub units: Vec<PackagedUnit>,
    /// Users, each with a group of the same name, that scriptlets create if they are missing and
    /// never delete.
    pub users: Vec<SystemUser>,
    /// Additional groups, which are treated in the same way.
    pub groups: Vec<String>,
    /// Users of cron jobs. If the host has such a user in another group, scriptlets add it to the
    /// group of its name: without it, the user could not read the application's files.
    pub members: Vec<String>,
    /// Files of secrets. Scriptlets create missing files empty, with mode 0640 and owner
    /// root:GROUP, never overwrite them, and remove them on purge.
    pub secrets: Vec<SecretFile>,
    /// Secrets that are files, which are never overwritten, and which purge removes.
    pub credentials: Vec<PackagedCredential>,
    /// Directories that systemd creates and no package owns, e.g. `/var/lib/shop`. Purging the
    /// package removes them.
    pub state: Vec<InstallPath>,
    /// Whether the tree contains `/usr/lib/sysusers.d/NAME.conf`.
    pub has_sysusers: bool,
    /// Whether the tree contains `/usr/lib/tmpfiles.d/NAME.conf`.
    pub has_tmpfiles: bool,
    /// The data directory of each service, timer, and cron job.
    pub homes: Vec<DataHome>,
    /// Files below `/etc/NAME`, with their owners.
    pub owned: Vec<OwnedFile>,
    /// The links to paths that the application writes to, if there are any.
    pub writable: Option<WritableLinks>,
    /// The site, if the application has one.
    pub site: Option<PackagedSite>,
    /// The file of metrics, which is removed with the package.
    pub metrics: Option<InstallPath>,
    /// Settings that need a value on each host, if there are any.
    pub host_settings: Option<HostSettings>,
}

/// What a package has of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageForm {
    /// The release and all that it needs on a host.
    Whole,
    /// The release alone.
    Software,
    /// Units, users, and the files below `/etc`, for the release of a software package.
    Configuration,
}

impl PackageForm {
    /// Returns the name of the package.
    pub fn package_name(self, name: &AppName) -> String {
        match self {
            Self::Whole | Self::Software => name.to_string(),
            Self::Configuration => format!("{name}-config"),
        }
    }

    /// Returns the name of the directory in `/run/pkgapp` for what the scripts of the package tell
    /// each other. A configuration package reads there what the last package with units has left.
    pub(crate) fn run_name(self, name: &AppName) -> String {
        match self {
            Self::Whole | Self::Configuration => name.to_string(),
            Self::Software => format!("{name}.software"),
        }
    }
}

/// A secret that is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedCredential {
    /// The name of the setting.
    pub name: String,
    /// The file where systemd 252 or newer finds it, encrypted.
    pub encrypted: InstallPath,
    /// The file where systemd 247 to 249 finds it.
    pub plain: InstallPath,
    /// Whether the application can do without it.
    pub is_optional: bool,
}

/// Settings that need a value on each host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// The names of the settings, and the files for their values; without [`PackagedCredential`]s.
    pub needed: Vec<(String, InstallPath)>,
    /// All environment files that services, timers, and cron jobs read.
    pub files: Vec<InstallPath>,
}

/// Links from a release to paths that its application writes to; see [`crate::writable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableLinks {
    /// The paths of the links.
    pub links: Vec<InstallPath>,
    /// The owner of `/var/lib/NAME`.
    pub user: String,
    /// The group of that user's files.
    pub group: String,
}

/// The data directory of a service, timer, or cron job: the same name below `/var/lib`,
/// `/var/cache`, and `/var/log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataHome {
    /// The unit without its type, e.g. `shop-web`; `cron.purge` for a cron job.
    pub part: String,
    /// The name of the directory, e.g. `shop`.
    pub directory: String,
    /// The owner of the directory.
    pub user: String,
    /// Patterns of the units that use the directory; empty for a cron job.
    pub units: Vec<String>,
}

/// A file of the package below `/etc/NAME`, which an administrator may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFile {
    /// The path of the file.
    pub path: InstallPath,
    /// The permission bits.
    pub mode: u32,
    /// The owner, as `USER:GROUP`.
    pub owner: String,
}

/// A unit, and how scriptlets treat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedUnit {
    /// The file name in `/usr/lib/systemd/system`, e.g. `shop-web.service`, `shop-worker@.service`,
    /// `shop.target`.
    pub file: String,
    /// The units to enable and start: the file itself, or the instances of a template, such as
    /// `shop-worker@1.service`. Empty for the service of a timer, which the timer starts.
    pub names: Vec<String>,
    /// The effect of an upgrade on the unit.
    pub on_upgrade: OnUpgrade,
}

/// Adds the files for all services, timers, and cron jobs to the tree.
///
/// # Errors
/// The release lacks the program of a command, a file cannot represent a value, or a user's name is
/// invalid.
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
        form: if app.is_separate() {
            PackageForm::Configuration
        } else {
            PackageForm::Whole
        },
        environment: None,
        prefix: context.prefix.clone(),
        units,
        site,
        owned: owned(tree, &context, &secrets)?,
        homes: homes(&context)?,
        writable: writable(&context)?,
        host_settings: host_settings(app),
        credentials: credentials(app)?,
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

impl Services {
    /// Returns the services of a package that has none: their units are in another package.
    pub fn of_software(app: &Config) -> Self {
        Self {
            name: app.name.clone(),
            form: PackageForm::Software,
            environment: None,
            prefix: app.package.prefix.value.clone(),
            units: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            members: Vec::new(),
            secrets: Vec::new(),
            credentials: Vec::new(),
            state: Vec::new(),
            has_sysusers: false,
            has_tmpfiles: false,
            homes: Vec::new(),
            owned: Vec::new(),
            writable: None,
            site: None,
            metrics: None,
            host_settings: None,
        }
    }
}

/// Checks everything that does not need a release: logs, accounts, directories, and secrets.
///
/// # Errors
/// Errors of [`insert_into`], except for missing programs.
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

/// Returns the data directories. Services with directories of their own in `[Service]` manage their
/// data themselves.
fn homes(context: &ServiceContext<'_>) -> Result<Vec<DataHome>> {
    let app = context.app;
    let services = app.services.iter().map(|service| {
        let part = context.unit(&service.name);
        let instances = if service.instances.is_some() {
            "@*"
        } else {
            ""
        };
        let units = vec![format!("{part}{instances}.service")];
        (part, &service.process, units)
    });
    let timers = app.timers.iter().map(|timer| {
        let part = context.unit(&timer.name);
        let units = vec![format!("{part}.service")];
        (part, &timer.process, units)
    });
    let processes = services
        .chain(timers)
        .filter(|(_, process, _)| !process.has_own_state())
        .map(|(part, process, units)| (part, process.user.as_ref(), units));
    let crons = app.crons.iter().map(|cron| {
        let part = format!("cron.{}", cron.name);
        (part, cron.user.as_ref(), Vec::new())
    });
    let home = |(part, user, units)| {
        let user = context.user(user)?;
        Ok(DataHome {
            part,
            directory: context.directory(user),
            user: user.to_string(),
            units,
        })
    };
    processes.chain(crons).map(home).collect()
}

/// Returns the directory where hosts keep secrets that are files and not encrypted.
fn credentials_directory(app: &str) -> String {
    format!("/etc/{app}/credentials")
}

/// Returns the secrets that are files.
fn credentials(app: &Config) -> Result<Vec<PackagedCredential>> {
    let kept = credentials_directory(app.name.as_str());
    app.credentials()
        .map(|setting| {
            let name = setting.name.clone();
            let encrypted = app.place_on_hosts(setting);
            Ok(PackagedCredential {
                encrypted: encrypted.ok_or_else(|| Error::bug("a secret has no place"))?,
                plain: InstallPath::parse(&format!("{kept}/{name}"))?,
                is_optional: setting.is_optional,
                name,
            })
        })
        .collect()
}

/// Returns the settings that need a value on each host.
pub(crate) fn host_settings(app: &Config) -> Option<HostSettings> {
    let on_hosts = || {
        let settings = app.settings.iter();
        settings.filter(|setting| setting.is_missing_on_hosts())
    };
    let needed: Vec<(String, InstallPath)> = on_hosts()
        .filter(|setting| setting.delivery == SecretDelivery::Variable)
        .filter_map(|setting| Some((setting.name.clone(), app.place_on_hosts(setting)?)))
        .collect();
    let files: BTreeSet<&InstallPath> = app
        .environment_files()
        .flat_map(|(_, files)| files)
        .collect();
    (on_hosts().next().is_some() && !files.is_empty()).then(|| HostSettings {
        needed,
        files: files.into_iter().cloned().collect(),
    })
}

/// Returns the links to paths that the application writes to.
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

/// Returns the application's configuration files and files of secrets, with their owners.
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

/// The inputs of all files.
struct ServiceContext<'a> {
    app: &'a Config,
    prefix: &'a InstallPath,
    /// The user of services, timers, and cron jobs that name none; `None` if the application has
    /// none of these.
    user: Option<UserName>,
    /// The owner of `/var/lib/NAME`; `None` if nothing runs.
    primary: Option<UserName>,
}

/// Returns the user with the application's name, if a service, timer, or cron job runs as that
/// user.
///
/// # Errors
/// The application's name is too long for a user, or hosts have an account of this name for another
/// purpose.
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
            "Debian or Red Hat reserve".to_owned(),
            format!("{name}-app"),
        ),
        Err(_) => {
            let reason = format!(
                "has {} bytes, but a user name can have at most {}",
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
            "cannot run this as the user `{name}`, which {reason}"
        ))
        .at(at.clone())
        .hint(format!(
            "set `user = \"{other}\"`, or rename the application"
        ))
    });
    Err(Error::all(refused.collect::<Vec<_>>()).unwrap_or_else(|| Error::bug("a mistake got lost")))
}

/// Returns the owner of the application's directories, such as `/var/lib/shop`: the user with the
/// application's name if something runs as that user, else the first declared user, preferably not
/// root.
///
/// # Errors
/// Errors of [`default_user`].
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

/// Returns the group of a `[config]` file; `None` for root's. Without a declared group, it is that
/// of the [`primary_user`] if the mode lets only the group read the file: such a file is for the
/// application.
pub fn config_group(app: &Config, file: &ConfigFile) -> Option<String> {
    let is_for_the_group = file.mode & 0o044 == 0o040;
    // Invalid names are reported together with the services.
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

/// The readers of the file in which administrators change settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsAccess {
    /// The permission bits.
    pub mode: u32,
    /// The group; `None` for root's.
    pub group: Option<String>,
}

/// Returns the readers of the file in which administrators change settings: the group of the
/// [`primary_user`], as for other files of the application. systemd reads the file as root, so
/// other users need it only for cron jobs; in that case everyone may read it, because secrets are
/// in other files.
///
/// # Errors
/// Errors of [`default_user`].
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

/// Iterates over services, timers, and cron jobs in the order of the configuration: the declared
/// user, and the place of the table.
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

    /// Returns the path of a generated file that units and cron jobs use.
    fn generated(&self, name: &str) -> Result<InstallPath> {
        let directory = self.app.generated_directory()?;
        Ok(directory.join(&ReleasePath::parse(name)?))
    }

    /// Returns the user that a service, timer, or cron job runs as.
    fn user<'u>(&'u self, declared: Option<&'u UserName>) -> Result<&'u UserName> {
        declared
            .or(self.user.as_ref())
            .ok_or_else(|| Error::bug("something runs as nobody"))
    }

    /// Returns the name of a user's directories below `/var/lib` and similar directories. Each user
    /// needs its own: at every start of a unit, systemd changes the owner of the directory with its
    /// content.
    fn directory(&self, user: &UserName) -> String {
        if self.primary.as_ref() == Some(user) {
            self.name().to_owned()
        } else {
            format!("{}-{user}", self.name())
        }
    }

    /// Returns all users of services, timers, and cron jobs, each once.
    fn runners(&self) -> Result<Vec<&UserName>> {
        let mut users = runs_as(self.app)
            .map(|(user, _)| self.user(user))
            .collect::<Result<Vec<_>>>()?;
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// Iterates over all processes that systemd starts.
    fn processes(&self) -> impl Iterator<Item = &ProcessSettings> {
        let services = self.app.services.iter().map(|service| &service.process);
        services.chain(self.app.timers.iter().map(|timer| &timer.process))
    }

    /// Returns the group of a user's files: the group that all of its processes declare, else the
    /// one with the user's name.
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

    /// Returns the owner of the logs at a path: the user whose directory contains them, or whose
    /// process declares that it writes there. `None` if nothing shows the owner.
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

    /// Returns the directories of all users.
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

    /// Returns the unit of a service or timer without its type, e.g. `shop-web`.
    fn unit(&self, part: &PartName) -> String {
        format!("{}-{part}", self.name())
    }

    /// Returns the variable `PATH` of services, timers, and cron jobs: the release's own programs
    /// come first.
    fn path(&self) -> String {
        format!(
            "{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.prefix
        )
    }
}

/// Generated files that are not yet in the tree.
#[derive(Debug, Default)]
struct GeneratedFiles(Vec<(InstallPath, TreeEntry)>);

impl GeneratedFiles {
    /// Adds a file that upgrades replace; `label` names its origin in messages.
    fn add(&mut self, path: &str, label: &str, text: String) -> Result<()> {
        self.0.push((InstallPath::parse(path)?, entry(label, text)));
        Ok(())
    }

    /// Adds a file below `/etc` that upgrades keep if an administrator has changed it.
    fn add_config(&mut self, path: &str, label: &str, text: String) -> Result<()> {
        self.0
            .push((InstallPath::parse(path)?, entry(label, text).config()));
        Ok(())
    }

    /// Adds an executable file.
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

/// The name of the program that reads environment files for cron jobs.
const ENVIRONMENT_READER: &str = "with-environment";
