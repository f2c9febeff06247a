//! The values for the templates of scriptlets.

use std::collections::BTreeSet;

use pkgapp_config::{Located, OnUpgrade};
use pkgapp_core::path::InstallPath;
use pkgapp_core::text::shell_quoted;
use serde::Serialize;

use super::{
    HostCompiled, HostPython, ScriptletActions, UNITS, is_instance, key, preset_path, socket_of,
    unit_path,
};
use crate::services::{
    DataHome, HostSettings, OwnedFile, PackageForm, PackagedCredential, PackagedSite, PackagedUnit,
    SecretFile, Services, SystemUser, WritableLinks,
};
use crate::writable::FILL;

/// All variables of the templates. Each script uses some of them.
#[derive(Serialize)]
pub(super) struct ScriptValues<'a> {
    /// `deb` or `rpm`.
    format: &'a str,
    name: &'a str,
    /// The name of the package.
    package: String,
    /// The name of the directory in `/run/pkgapp` for what scripts tell each other.
    run: String,
    /// Whether the release is in another package, whose installation restarts services.
    watches_release: bool,
    /// Whether units and the files below `/etc` are in another package.
    is_software: bool,
    /// The environment that the host must have.
    environment: Option<&'a str>,
    prefix: &'a str,
    /// The configuration key of the hook.
    key: &'static str,
    /// The user's hook.
    hook: Option<&'a str>,
    has_after_install: bool,
    stamp: String,
    /// The record of the release.
    record: String,
    units_directory: &'static str,
    links: Vec<&'a str>,
    #[serde(flatten)]
    units: UnitValues<'a>,
    #[serde(flatten)]
    accounts: AccountValues<'a>,
    #[serde(flatten)]
    data: DataValues<'a>,
    compile: Option<CompileValues<'a>>,
    python: Option<PythonValues<'a>>,
    site: Option<SiteValues<'a>>,
}

#[derive(Serialize)]
struct UnitValues<'a> {
    /// All enabled units, in the order in which they start.
    units: Vec<&'a str>,
    /// Enabled units that are not instances of a template.
    plain: Vec<&'a str>,
    instances: Vec<&'a str>,
    timers: Vec<&'a str>,
    wanted_by: &'a str,
    preset: String,
    /// The file names of the units.
    files: Vec<&'a str>,
    /// The paths of the enabled units' files.
    unit_files: Vec<String>,
    restartable: Vec<RestartValues<'a>>,
    /// Services that keep running during an upgrade.
    kept: Vec<&'a str>,
    /// Services that an upgrade restarts.
    services: Vec<&'a str>,
    sockets: Vec<SocketValues<'a>>,
    /// Quoted patterns of all units that are stopped.
    stop: Vec<String>,
}

/// A unit that an upgrade may restart, and the files whose change causes the restart.
#[derive(Serialize)]
struct RestartValues<'a> {
    names: &'a [String],
    uses: Vec<String>,
}

#[derive(Serialize)]
struct SocketValues<'a> {
    name: String,
    service: &'a str,
}

#[derive(Serialize)]
struct AccountValues<'a> {
    has_accounts: bool,
    has_sysusers: bool,
    users: Vec<UserValues<'a>>,
    /// The groups, including those of the users.
    all_groups: Vec<&'a str>,
    members: &'a [String],
}

#[derive(Serialize)]
struct UserValues<'a> {
    name: &'a str,
    home: &'a str,
}

#[derive(Serialize)]
struct DataValues<'a> {
    has_tmpfiles: bool,
    state: Vec<&'a str>,
    /// The directory of metrics, quoted.
    metrics: Option<String>,
    homes: Vec<HomeValues<'a>>,
    /// The home directories of cron jobs, each once.
    cron_homes: Vec<CronHomeValues<'a>>,
    secrets: Vec<SecretValues<'a>>,
    credentials: Vec<CredentialValues<'a>>,
    /// The quoted paths of credentials that may be missing.
    optional_credentials: Vec<String>,
    /// Files below `/etc/NAME`, except for secrets.
    configs: Vec<&'a str>,
    attributes: Vec<AttributeValues<'a>>,
    writable: Option<WritableValues<'a>>,
    settings: Option<SettingValues<'a>>,
}

#[derive(Serialize)]
struct SettingValues<'a> {
    needed: Vec<NeededSetting<'a>>,
    /// The files that may set the variables, quoted.
    files: Vec<String>,
}

#[derive(Serialize)]
struct CredentialValues<'a> {
    name: &'a str,
    encrypted: &'a str,
    plain: &'a str,
    is_needed: bool,
}

#[derive(Serialize)]
struct NeededSetting<'a> {
    name: &'a str,
    place: &'a str,
}

#[derive(Serialize)]
struct HomeValues<'a> {
    part: &'a str,
    directory: &'a str,
    user: &'a str,
    /// Quoted patterns of units.
    units: Vec<String>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct CronHomeValues<'a> {
    directory: &'a str,
    user: &'a str,
}

#[derive(Serialize)]
struct SecretValues<'a> {
    path: &'a str,
    parent: String,
    group: &'a str,
}

#[derive(Serialize)]
struct AttributeValues<'a> {
    path: &'a str,
    owner: &'a str,
    /// The mode in octal.
    mode: String,
}

#[derive(Serialize)]
struct WritableValues<'a> {
    links: Vec<&'a str>,
    user: &'a str,
    group: &'a str,
    fill: String,
}

#[derive(Serialize)]
struct CompileValues<'a> {
    python: &'a str,
    tag: &'a str,
    /// The directories, quoted.
    directories: Vec<String>,
}

#[derive(Serialize)]
struct PythonValues<'a> {
    file: &'a str,
    directory: &'a str,
    mapped: Vec<String>,
}

#[derive(Serialize)]
struct SiteValues<'a> {
    /// The program that installs the site.
    program: &'a str,
    file: &'a str,
    /// The file of a package that includes its configuration.
    included: String,
    /// The file as it occurs in file lists.
    listed: &'a str,
    socket: Option<&'a str>,
    awaited: &'a [&'static str],
    kept: &'a [String],
}

impl<'a> ScriptValues<'a> {
    /// Returns the values of a script, e.g. `deb/preinst`, with the user's hook `lines`.
    pub(super) fn of(
        actions: &ScriptletActions<'a>,
        script: &'a str,
        lines: Option<&'a Located<String>>,
    ) -> Self {
        let services = actions.services;
        let format = script.split_once('/').map_or(script, |(format, _)| format);
        Self {
            format,
            name: services.name.as_str(),
            package: services.form.package_name(&services.name),
            run: services.form.run_name(&services.name),
            watches_release: services.form == PackageForm::Configuration,
            is_software: services.form == PackageForm::Software,
            environment: services.environment.as_deref(),
            prefix: services.prefix.as_str(),
            key: key(script),
            hook: lines.map(|lines| lines.value.trim_matches('\n')),
            has_after_install: actions.phases.after_install.is_some(),
            stamp: services.stamp_path(),
            record: services.record_path(),
            units_directory: UNITS,
            links: actions.links.iter().map(|link| link.as_str()).collect(),
            units: UnitValues::of(services),
            accounts: AccountValues::of(services),
            data: DataValues::of(services),
            compile: actions.compile.map(CompileValues::of),
            python: actions
                .python
                .map(|python| PythonValues::of(python, format)),
            site: services
                .site
                .as_ref()
                .map(|site| SiteValues::of(site, &services.prefix)),
        }
    }
}

impl<'a> UnitValues<'a> {
    fn of(services: &'a Services) -> Self {
        let (instances, plain) = services.names().partition(|name| is_instance(name));
        let files = || services.units.iter().map(|unit| unit.file.as_str());
        let enabled = services.units.iter().filter(|unit| !unit.names.is_empty());
        let kept = services
            .units
            .iter()
            .filter(|unit| unit.file.ends_with(".service") && unit.on_upgrade == OnUpgrade::Keep);

        Self {
            units: services.names().collect(),
            plain,
            instances,
            timers: services
                .names()
                .filter(|name| name.ends_with(".timer"))
                .collect(),
            wanted_by: files()
                .find(|file| file.ends_with(".target"))
                .unwrap_or("multi-user.target"),
            preset: preset_path(services),
            files: files().collect(),
            unit_files: enabled.map(|unit| unit_path(&unit.file)).collect(),
            restartable: restartable(services),
            kept: names_of(kept).collect(),
            services: names_of(services.restarted()).collect(),
            sockets: services
                .sockets()
                .map(|(name, service)| SocketValues { name, service })
                .collect(),
            stop: files()
                .map(|file| shell_quoted(&file.replacen("@.", "@*.", 1)))
                .collect(),
        }
    }
}

fn names_of<'a>(units: impl Iterator<Item = &'a PackagedUnit>) -> impl Iterator<Item = &'a str> {
    units.flat_map(|unit| &unit.names).map(String::as_str)
}

/// Returns the enabled units that an upgrade may restart.
fn restartable(services: &Services) -> Vec<RestartValues<'_>> {
    services
        .units
        .iter()
        .filter(|unit| !unit.names.is_empty())
        .filter_map(|unit| {
            Some(RestartValues {
                names: &unit.names,
                uses: used_files(services, unit)?,
            })
        })
        .collect()
}

/// Returns the files whose change restarts a unit; `None` if an upgrade never restarts it.
fn used_files(services: &Services, unit: &PackagedUnit) -> Option<Vec<String>> {
    let own = unit_path(&unit.file);
    match unit.file.rsplit_once('.')?.1 {
        "service" if unit.on_upgrade == OnUpgrade::Restart => {
            let stamp = shell_quoted(&services.stamp_path());
            let configuration = format!("/etc/{}/", services.name);
            let socket = socket_of(&unit.file).filter(|socket| services.has_unit(socket));
            let mut used = vec![stamp, configuration, own];
            used.extend(socket.map(|socket| unit_path(&socket)));
            Some(used)
        }
        "socket" | "timer" => Some(vec![own]),
        _ => None,
    }
}

impl<'a> AccountValues<'a> {
    fn of(services: &'a Services) -> Self {
        let users = &services.users;
        let user_groups = users.iter().map(|user| &user.name);
        Self {
            has_accounts: services.has_accounts(),
            has_sysusers: services.has_sysusers,
            users: users.iter().map(UserValues::of).collect(),
            all_groups: services
                .groups
                .iter()
                .chain(user_groups)
                .map(String::as_str)
                .collect(),
            members: &services.members,
        }
    }
}

impl<'a> UserValues<'a> {
    fn of(user: &'a SystemUser) -> Self {
        Self {
            name: &user.name,
            home: user.home.as_str(),
        }
    }
}

impl<'a> DataValues<'a> {
    fn of(services: &'a Services) -> Self {
        let credentials = services.credentials.iter();
        let optional = credentials.clone().filter(|each| each.is_optional);
        let optional = optional.map(|each| shell_quoted(each.plain.as_str()));
        let is_secret =
            |path: &InstallPath| services.secrets.iter().any(|secret| secret.path == *path);
        let cron_homes: BTreeSet<CronHomeValues<'_>> = services
            .homes
            .iter()
            .filter(|home| home.units.is_empty())
            .map(CronHomeValues::of)
            .collect();

        Self {
            has_tmpfiles: services.has_tmpfiles,
            state: services.state.iter().map(InstallPath::as_str).collect(),
            metrics: services
                .metrics
                .as_ref()
                .map(|file| shell_quoted(file.as_str())),
            homes: services.homes.iter().map(HomeValues::of).collect(),
            cron_homes: cron_homes.into_iter().collect(),
            secrets: services.secrets.iter().map(SecretValues::of).collect(),
            credentials: credentials.map(CredentialValues::of).collect(),
            optional_credentials: optional.collect(),
            configs: services
                .owned
                .iter()
                .map(|file| &file.path)
                .filter(|path| !is_secret(path))
                .map(InstallPath::as_str)
                .collect(),
            attributes: services.owned.iter().map(AttributeValues::of).collect(),
            writable: services
                .writable
                .as_ref()
                .map(|writable| WritableValues::of(writable, &services.prefix)),
            settings: services.host_settings.as_ref().map(SettingValues::of),
        }
    }
}

impl<'a> SettingValues<'a> {
    fn of(settings: &'a HostSettings) -> Self {
        let needed = settings.needed.iter();
        let files = settings.files.iter();
        Self {
            needed: needed
                .map(|(name, place)| NeededSetting {
                    name,
                    place: place.as_str(),
                })
                .collect(),
            files: files.map(|file| shell_quoted(file.as_str())).collect(),
        }
    }
}

impl<'a> HomeValues<'a> {
    fn of(home: &'a DataHome) -> Self {
        Self {
            part: &home.part,
            directory: &home.directory,
            user: &home.user,
            units: home.units.iter().map(|unit| shell_quoted(unit)).collect(),
        }
    }
}

impl<'a> CronHomeValues<'a> {
    fn of(home: &'a DataHome) -> Self {
        Self {
            directory: &home.directory,
            user: &home.user,
        }
    }
}

impl<'a> SecretValues<'a> {
    fn of(secret: &'a SecretFile) -> Self {
        Self {
            path: secret.path.as_str(),
            parent: secret
                .path
                .parent()
                .map_or_else(|| "/".to_owned(), |parent| parent.to_string()),
            group: &secret.group,
        }
    }
}

impl<'a> CredentialValues<'a> {
    fn of(credential: &'a PackagedCredential) -> Self {
        Self {
            name: &credential.name,
            encrypted: credential.encrypted.as_str(),
            plain: credential.plain.as_str(),
            is_needed: !credential.is_optional,
        }
    }
}

impl<'a> AttributeValues<'a> {
    fn of(file: &'a OwnedFile) -> Self {
        Self {
            path: file.path.as_str(),
            owner: &file.owner,
            mode: format!("{:o}", file.mode),
        }
    }
}

impl<'a> WritableValues<'a> {
    fn of(writable: &'a WritableLinks, prefix: &InstallPath) -> Self {
        Self {
            links: writable.links.iter().map(InstallPath::as_str).collect(),
            user: &writable.user,
            group: &writable.group,
            fill: format!("{prefix}/{FILL}"),
        }
    }
}

impl<'a> CompileValues<'a> {
    fn of(compile: &'a HostCompiled) -> Self {
        let directories = compile.directories.iter();
        Self {
            python: compile.python.as_str(),
            tag: &compile.tag,
            directories: directories
                .map(|path| shell_quoted(path.as_str()))
                .collect(),
        }
    }
}

impl<'a> PythonValues<'a> {
    fn of(python: &'a HostPython, format: &str) -> Self {
        Self {
            file: &python.interpreter,
            directory: python.directory(),
            mapped: python.mapped(format),
        }
    }
}

impl<'a> SiteValues<'a> {
    fn of(site: &'a PackagedSite, prefix: &InstallPath) -> Self {
        let file = site.file.as_str();
        let included = site.included_file(prefix);
        Self {
            program: site.program.as_str(),
            file,
            included: included.map_or_else(|_| file.to_owned(), |path| path.to_string()),
            listed: file.trim_start_matches('/'),
            socket: site.socket.as_deref(),
            awaited: &site.awaited,
            kept: &site.kept,
        }
    }
}
