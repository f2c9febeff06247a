//! `[settings.NAME]`: the variables that the application reads, with type, default and help.
//!
//! A setting has its value from the package (`default`, or `--set` of a build) or from the host. The
//! values of the package are variables of everything that runs, as if they stood in `env`: so they
//! belong to the version, and a migration sees those of the new one. After them everything reads
//! `/etc/NAME/settings.env`, in which an administrator changes them, and then its own environment
//! files.

mod delivery;
mod deployed;
mod names;
#[cfg(test)]
mod tests;
mod value;

use pkgapp_core::error::{Error, ErrorKind, Location, Result};
use pkgapp_core::path::{InstallPath, ReleasePath};

use super::Config;
use super::reader::{Located, TableReader, ValueReader, nearest};
use super::recipe::is_built_in;

pub use self::delivery::SecretDelivery;
pub use self::deployed::DeployedSetting;
pub use self::names::check as check_setting_name;
pub use self::value::{SettingLimits, SettingType, holds_password};

/// The name of the file in which administrators change values, below `/etc/NAME`.
const FILE: &str = "settings.env";
/// The values of the package for cron jobs, whose lines are short; in the directory of generated
/// files.
const VALUES: &str = "settings.env";

/// What runs, and can read variables.
const PROCESSES: [(&str, &str); 3] = [
    ("service", "service.NAME"),
    ("timer", "timer.NAME"),
    ("cron", "cron.NAME"),
];

/// `[settings.NAME]`: a variable of the application's environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// NAME: the variable.
    pub name: String,
    /// `type`, with its limits.
    pub setting_type: SettingType,
    /// `default`, as the application sees it.
    pub default: Option<Located<String>>,
    /// The value of `--set`, as the application sees it.
    pub chosen: Option<String>,
    /// `from`: who sets the value.
    pub source: SettingSource,
    /// `deliver`: how a secret reaches what reads it.
    pub delivery: SecretDelivery,
    /// `optional`: whether it may have no value.
    pub is_optional: bool,
    /// `help`: what it is for.
    pub help: Option<String>,
    /// Where it is declared.
    pub at: Location,
}

/// Who sets the value of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingSource {
    /// The package has it; hosts may have another one.
    Package,
    /// It differs between hosts, and each host has its own.
    Host,
}

impl Setting {
    pub(super) fn read_all(root: &TableReader<'_>) -> Vec<Self> {
        let settings: Vec<Self> = root
            .tables("settings", "settings.NAME")
            .into_iter()
            .filter_map(|(name, table)| match names::check(&name) {
                Ok(()) => Self::read(name.value, table),
                Err(error) => {
                    table.complain_elsewhere(error.at(name.at));
                    None
                }
            })
            .collect();
        refuse_second_sources(root, &settings);
        settings
    }

    fn read(name: String, table: TableReader<'_>) -> Option<Self> {
        let at = table.at();
        let setting_type = SettingType::read(&table);
        let default = table.get("default");
        let from = table.get("from");
        let deliver = table.get("deliver");
        let is_optional = table
            .get("optional")
            .map_or(Some(false), |value| value.boolean());
        let help = table.get("help").and_then(|value| value.line());
        table.finish();
        let setting_type = setting_type?;
        let delivery = SecretDelivery::read(deliver.as_ref(), &setting_type);
        let source = source(&setting_type, from.as_ref(), default.as_ref());
        let default = default.filter(|_| source == Some(SettingSource::Package));
        let default = default.map_or(Some(None), |value| {
            let text = setting_type.value(&value)?;
            let at = value.at();
            Some(Some(Located { value: text, at }))
        });
        Some(Self {
            name,
            default: default?,
            chosen: None,
            source: source?,
            delivery: delivery?,
            is_optional: is_optional?,
            help,
            setting_type,
            at,
        })
    }

    /// Returns the value that the package has, as the application sees it.
    pub fn value(&self) -> Option<&str> {
        let default = self.default.as_ref().map(|default| default.value.as_str());
        self.chosen.as_deref().or(default)
    }

    /// Returns whether it is a secret that is a line of a file of variables.
    pub fn is_secret_variable(&self) -> bool {
        self.setting_type == SettingType::Secret && self.delivery == SecretDelivery::Variable
    }

    /// Returns in words why it sets a variable; `None` if it does not.
    pub(super) fn sets(&self, variable: &str) -> Option<String> {
        if self.name == variable {
            return Some(format!("`{variable}` is a setting"));
        }
        let is_file = self.file_variable().as_deref() == Some(variable);
        is_file.then(|| {
            let name = &self.name;
            format!("`{variable}` is the path of the file of the secret `{name}`")
        })
    }

    /// Returns whether the application cannot do without a value that only the host has.
    pub fn is_missing_on_hosts(&self) -> bool {
        self.source == SettingSource::Host && !self.is_optional
    }
}

/// Returns who sets the value. What only hosts know has no default.
fn source(
    setting_type: &SettingType,
    from: Option<&ValueReader<'_>>,
    default: Option<&ValueReader<'_>>,
) -> Option<SettingSource> {
    let is_secret = *setting_type == SettingType::Secret;
    let named = match from {
        Some(value) => value.choice(&[
            ("package", SettingSource::Package),
            ("host", SettingSource::Host),
        ])?,
        None if is_secret => SettingSource::Host,
        None => SettingSource::Package,
    };
    if let Some(value) = from.filter(|_| is_secret && named == SettingSource::Package) {
        let error = Error::new("a secret cannot come from the package, which everyone can read");
        value.complain(error.hint("leave `from` out: secrets are set on each host"));
        return None;
    }
    if let Some(value) = default.filter(|_| named == SettingSource::Host) {
        let error = if is_secret {
            Error::new("a secret cannot have a default: everyone can read packages")
                .hint("leave it out, and write the value into a file of secrets on the host")
        } else {
            Error::new("a setting `from = \"host\"` cannot have a default")
                .hint("leave `from` out: hosts can replace a default, too")
        };
        value.complain(error);
        return None;
    }
    Some(named)
}

/// Refuses variables that a process has in `env`, too: it would depend on the reader which one wins.
fn refuse_second_sources(root: &TableReader<'_>, settings: &[Setting]) {
    refuse_second_names(root, settings);
    if settings.is_empty() {
        return;
    }
    for variable in ProcessVariable::all(root) {
        let found = settings
            .iter()
            .find_map(|setting| Some((setting, setting.sets(&variable.name)?)));
        let Some((setting, what)) = found else {
            continue;
        };
        let error = Error::new(format!("{what} and stands in `env`, too"))
            .note(format!("the setting is declared at {}", setting.at))
            .hint("keep one of them");
        root.complain_elsewhere(error.at(variable.at));
    }
}

/// A variable in the `env` of something that runs.
pub(super) struct ProcessVariable {
    pub(super) name: String,
    /// The table of the process, such as `service.web`.
    pub(super) table: String,
    /// The place of its value.
    pub(super) at: Location,
}

impl ProcessVariable {
    /// Returns those of all processes, except variables of a built-in recipe: as everywhere, the
    /// configuration is stronger.
    pub(super) fn all(root: &TableReader<'_>) -> Vec<Self> {
        let mut variables = Vec::new();
        for (key, kind) in PROCESSES {
            for (_, table) in tables_of(root, key, kind) {
                let env = table.get("env").filter(ValueReader::is_table);
                let env = env.and_then(|env| env.table("env"));
                let entries = env.map(|env| env.entries()).into_iter().flatten();
                variables.extend(entries.map(|(name, value)| Self {
                    name: name.value,
                    table: table.path().to_owned(),
                    at: value.at(),
                }));
            }
        }
        variables.retain(|variable| !is_built_in(&variable.at.file));
        variables
    }
}

/// Refuses settings whose variable another one sets, too.
fn refuse_second_names(root: &TableReader<'_>, settings: &[Setting]) {
    for secret in settings {
        let Some(variable) = secret.file_variable() else {
            continue;
        };
        if let Some(other) = settings.iter().find(|setting| setting.name == variable) {
            let error = Error::new(format!(
                "`{variable}` is the path of the file of the secret `{}`",
                secret.name
            ));
            root.complain_elsewhere(error.at(other.at.clone()).hint("rename one of them"));
        }
    }
}

/// The tables below a key, without mistakes that their own readers find.
fn tables_of<'s>(
    root: &TableReader<'s>,
    key: &'static str,
    kind: &'static str,
) -> Vec<(Located<String>, TableReader<'s>)> {
    let Some(group) = root.get(key).filter(ValueReader::is_table) else {
        return Vec::new();
    };
    let entries = group.table(kind).map(|group| group.entries());
    let tables = entries.into_iter().flatten();
    tables
        .filter(|(_, value)| value.is_table())
        .filter_map(|(name, value)| Some((name, value.table(kind)?)))
        .collect()
}

impl Config {
    /// Returns the file on hosts in which values are changed; `None` without settings.
    pub fn settings_file(&self) -> Option<InstallPath> {
        let path = InstallPath::parse(&format!("/etc/{}/{FILE}", self.name));
        path.ok().filter(|_| !self.settings.is_empty())
    }

    /// Returns the file of the package with the values that cron jobs read, and these settings;
    /// `None` if there are none.
    pub fn settings_of_crons(&self) -> Option<(InstallPath, Vec<&Setting>)> {
        let is_there = |setting: &&Setting| {
            let value = setting.value();
            value.is_some_and(|value| !self.names_own_directory(value))
        };
        let settings: Vec<&Setting> = self.settings.iter().filter(is_there).collect();
        if settings.is_empty() || self.crons.is_empty() {
            return None;
        }
        let values = ReleasePath::parse(VALUES).ok()?;
        let path = self.generated_directory().ok()?.join(&values);
        Some((path, settings))
    }

    /// Whether a text names a directory of the application. For a login such a directory lies
    /// elsewhere, which only lines of crontabs and units follow.
    fn names_own_directory(&self, text: &str) -> bool {
        let bases = ["/etc", "/run", "/var/cache", "/var/lib", "/var/log"];
        let mut own = bases
            .map(|base| format!("{base}/{}", self.name))
            .into_iter();
        text.contains(self.package.prefix.value.as_str()) || own.any(|own| text.contains(&own))
    }

    /// Gives everything that runs the values of the settings, and the file in which they are
    /// changed before its own environment files.
    ///
    /// # Errors
    /// The configuration has a file of that name itself, or secrets and no file for them.
    pub(super) fn with_settings(mut self) -> Result<Self> {
        let Some(path) = self.settings_file() else {
            return Ok(self);
        };
        if let Some(file) = self.configs.iter().find(|file| file.name.as_str() == FILE) {
            return Err(
                Error::new(format!("`{path}` is the file for values of `[settings]`"))
                    .at(file.at.clone())
                    .hint("give the `[config]` file another name"),
            );
        }
        self.check_place_for_secrets()?;
        self.check_readers_of_credentials()?;
        self.give_values_to_units(&path);
        self.give_values_to_crons(&path);
        Ok(self)
    }

    /// The values of the package by the names of their variables.
    fn packaged_values(&self) -> Vec<(String, String)> {
        let settings = self.settings.iter();
        settings
            .filter_map(|setting| {
                let value = setting.value()?;
                Some((setting.name.clone(), value.to_owned()))
            })
            .collect()
    }

    fn give_values_to_units(&mut self, path: &InstallPath) {
        let values = self.packaged_values();
        let services = self.services.iter_mut().map(|part| &mut part.process);
        let timers = self.timers.iter_mut().map(|part| &mut part.process);
        for process in services.chain(timers) {
            process.env.extend(values.iter().cloned());
            add_file(&mut process.environment_files, path);
        }
    }

    fn give_values_to_crons(&mut self, path: &InstallPath) {
        let mut in_lines = self.packaged_values();
        in_lines.retain(|(_, value)| self.names_own_directory(value));
        let in_file = self.settings_of_crons().map(|(path, _)| path);
        for cron in &mut self.crons {
            cron.env.extend(in_lines.iter().cloned());
            add_file(&mut cron.environment_files, path);
            if let Some(values) = &in_file {
                add_file(&mut cron.environment_files, values);
            }
        }
    }

    /// Secrets need a file that some process reads, and that no package has.
    fn check_place_for_secrets(&self) -> Result<()> {
        let has_process = self.environment_files().next().is_some();
        let has_place = !self.files_of_hosts().is_empty();
        let mut settings = self.settings.iter();
        match settings.find(|setting| setting.is_secret_variable()) {
            Some(secret) if has_process && !has_place => Err(Error::new(format!(
                "`{}` is a secret, and nothing reads a file for secrets",
                secret.name
            ))
            .at(secret.at.clone())
            .hint(format!(
                "write `environment-file = \"/etc/{}/secrets.env\"` into the services that need it",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the key of everything that runs, with the files of variables that it reads.
    pub fn environment_files(&self) -> impl Iterator<Item = (String, &[InstallPath])> {
        let services = self.services.iter().map(|part| {
            let key = format!("service.{}", part.name);
            (key, &part.process.environment_files[..])
        });
        let timers = self.timers.iter().map(|part| {
            let key = format!("timer.{}", part.name);
            (key, &part.process.environment_files[..])
        });
        let crons = self.crons.iter().map(|part| {
            let key = format!("cron.{}", part.name);
            (key, &part.environment_files[..])
        });
        services.chain(timers).chain(crons)
    }

    /// Returns the files of variables that no package has: they are for secrets.
    pub fn files_of_hosts(&self) -> Vec<&InstallPath> {
        let mut found: Vec<&InstallPath> = Vec::new();
        let own = [
            self.settings_file(),
            self.settings_of_crons().map(|(path, _)| path),
        ];
        for file in self.environment_files().flat_map(|(_, files)| files) {
            let is_packaged = own.iter().flatten().any(|own| own == file)
                || self.is_config(file)
                || file.below(&self.package.prefix.value).is_some();
            if !is_packaged && !found.contains(&file) {
                found.push(file);
            }
        }
        found
    }

    /// Returns the file on a host where the value of a setting belongs; `None` for a secret of an
    /// application that runs nothing.
    pub fn place_on_hosts(&self, setting: &Setting) -> Option<InstallPath> {
        match setting.setting_type {
            SettingType::Secret if setting.delivery == SecretDelivery::File => {
                self.credential_path(setting)
            }
            SettingType::Secret => self.files_of_hosts().first().copied().cloned(),
            _ => self.settings_file(),
        }
    }

    /// Whether a file on hosts is a `[config]` file.
    fn is_config(&self, file: &InstallPath) -> bool {
        let etc = format!("/etc/{}/", self.name);
        let name = file.as_str().strip_prefix(&etc);
        name.is_some_and(|name| self.configs.iter().any(|file| file.name.as_str() == name))
    }

    /// Puts values of the command line, `NAME=VALUE`, in place of defaults.
    ///
    /// # Errors
    /// A name that is no setting of the package, or a value that is none of its type.
    pub fn with_values(mut self, assignments: &[String]) -> Result<Self> {
        let mut mistakes = Vec::new();
        for assignment in assignments {
            let chosen = match assignment.split_once('=') {
                Some((name, value)) => self.choose(name, value),
                None => Err(without_value(self.settable(assignment), assignment)),
            };
            mistakes.extend(chosen.err().map(|error| error.at(Location::file("--set"))));
        }
        match Error::all(mistakes) {
            Some(error) => Err(error.kind(ErrorKind::Usage)),
            None => self.with_settings(),
        }
    }

    /// Returns a setting whose value the package has.
    fn settable(&self, name: &str) -> Result<&Setting> {
        let found = self.settings.iter().find(|setting| setting.name == name);
        let setting = found.ok_or_else(|| unknown(name, &self.settings))?;
        refused(setting).map_or(Ok(setting), Err)
    }

    /// Iterates over settings that the package should have a value for, and has none.
    pub fn settings_without_value(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(|setting| {
            setting.value().is_none()
                && setting.source == SettingSource::Package
                && !setting.is_optional
        })
    }

    /// Checks that the package has a value for every setting that needs one.
    ///
    /// # Errors
    /// Settings without a value, all of them.
    pub fn check_settings(&self) -> Result<()> {
        let missing = self.settings_without_value().map(|setting| {
            Error::new(format!("the setting `{}` has no value", setting.name))
                .at(setting.at.clone())
                .cause_text("it has no `default`, and no `--set` gives it a value")
                .hint(format!(
                    "add a `default`, build with `--set {}=VALUE`, or write `from = \"host\"` if hosts differ",
                    setting.name
                ))
        });
        let mistakes = missing.chain(self.undeliverable_credentials());
        Error::all(mistakes.collect::<Vec<_>>()).map_or(Ok(()), Err)
    }
}

/// Puts a file before all others. Who names it chooses its place.
fn add_file(files: &mut Vec<InstallPath>, file: &InstallPath) {
    if !files.contains(file) {
        files.insert(0, file.clone());
    }
}

/// Returns the error about a name that is no setting.
fn unknown(name: &str, settings: &[Setting]) -> Error {
    let error = Error::new(format!("there is no setting `{}`", name.escape_debug()));
    let names = settings.iter().map(|setting| setting.name.as_str());
    match nearest(name, names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`pkgapp explain --settings` lists the settings"),
    }
}

/// Returns why a package cannot have the value of a setting.
fn refused(setting: &Setting) -> Option<Error> {
    let name = &setting.name;
    match (&setting.setting_type, setting.source) {
        (SettingType::Secret, _) => Some(
            Error::new(format!(
                "`{name}` is a secret: everyone can read packages and argument lists"
            ))
            .hint("write it into a file of secrets on the host"),
        ),
        (_, SettingSource::Host) => Some(
            Error::new(format!("`{name}` is set on each host, not in the package"))
                .note(format!("it is declared at {}", setting.at))
                .hint("remove `from = \"host\"` to set it in the package"),
        ),
        (_, SettingSource::Package) => None,
    }
}

/// Returns the error about an assignment without `=`.
fn without_value(setting: Result<&Setting>, name: &str) -> Error {
    setting.err().unwrap_or_else(|| {
        Error::new(format!("`{name}` has no value")).hint(format!("write `--set {name}=VALUE`"))
    })
}
