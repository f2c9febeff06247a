//! What runs on the host: `[service.*]`, `[timer.*]`, `[cron.*]`, `[logrotate]`, and `[config.*]`
//! that they read.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::path::{InstallPath, ReleasePath};

use super::command::CommandLine;
use super::document::SourceTexts;
use super::glob::overlap;
use super::monitoring::{self, ServiceHealth};
use super::reader::{Located, TableReader, ValueReader, listed, nearest};
use super::{environment, existing_file, process_environment};

/// The NAME in `[service.NAME]` and its relatives, of which names of units and files are made, e.g.
/// `web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName(String);

/// The name of a user or a group on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// A command line and what it runs with: what services and timers have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// `exec`: the program, by its name in `bin/` or its absolute path, and its arguments.
    pub exec: CommandLine,
    /// As whom it runs; `None` leaves it to the unit's default.
    pub user: Option<UserName>,
    /// `None` for the user's own.
    pub group: Option<UserName>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// `environment-file`: files on the host with more variables, the later ones stronger.
    pub environment_files: Vec<InstallPath>,
    /// `working-directory` on the host; `None` for the prefix.
    pub working_directory: Option<InstallPath>,
    /// Units that are started before it.
    pub after: Vec<String>,
    /// Units that are started with it.
    pub wants: Vec<String>,
    /// `on-failure`: what is run when its unit fails, as the same user.
    pub on_failure: Option<CommandLine>,
    /// `limit-nofile`: how many files it may have open.
    pub limit_nofile: Option<u32>,
    /// `timeout-stop`: how long it may take to end.
    pub timeout_stop: Option<TimeSpan>,
    /// `write`: what it may write to besides its own directories.
    pub write: Vec<InstallPath>,
    /// `relax`: settings of the sandbox that it does without, by their names in systemd.exec(5).
    pub relax: Vec<Located<String>>,
    /// `systemd`: more settings of its `[Service]` section, as systemd reads them; they win over
    /// ours.
    pub systemd: BTreeMap<String, String>,
}

/// `[service.NAME]`: a program that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// NAME.
    pub name: PartName,
    /// What runs.
    pub process: ProcessSettings,
    /// `type`: how it says that it is ready; by default [`ServiceType::Exec`].
    pub service_type: ServiceType,
    /// What makes it read its configuration again.
    pub reload: Option<ReloadAction>,
    /// What systemd listens on for it.
    pub socket: Option<SocketAddress>,
    /// Where it listens if it opens a socket itself, and its command line does not say so.
    pub address: Option<SocketAddress>,
    /// Who may connect to a socket in the file system.
    pub socket_access: SocketAccess,
    /// When it is started again; by default [`RestartPolicy::OnFailure`].
    pub restart: RestartPolicy,
    /// How to ask it whether it works.
    pub health: Option<ServiceHealth>,
    /// How long systemd waits for the program's next sign of life, before it restarts it.
    pub watchdog: Option<TimeSpan>,
    /// How many of it run, each with its number; `None` for one without.
    pub instances: Option<u32>,
    /// `on-upgrade`: what an upgrade does if it runs and something that it uses changed.
    pub on_upgrade: OnUpgrade,
    /// Where it is declared.
    pub at: Location,
}

/// How a service says that it is ready (systemd.service(5), `Type=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceType {
    /// At once.
    Simple,
    /// When the program was started.
    Exec,
    /// When it says so (sd_notify).
    Notify,
    /// When its first process ends.
    Forking,
    /// When it is done.
    Oneshot,
}

/// What an upgrade does to a unit that runs, if something that it uses changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUpgrade {
    /// It is restarted, once, when all files of the new version are in place.
    Restart,
    /// It goes on as it is.
    Keep,
}

/// When a service is started again (systemd.service(5), `Restart=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Never.
    No,
    /// Whatever happened.
    Always,
    /// It ended well.
    OnSuccess,
    /// It failed, or was killed, or hung.
    OnFailure,
    /// It was killed, or hung.
    OnAbnormal,
}

/// What makes a service read its configuration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadAction {
    /// A signal to the main process, without `SIG`, e.g. `HUP`.
    Signal(&'static str),
    /// A command.
    Command(CommandLine),
}

/// What systemd listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// Address and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(InstallPath),
}

/// Who may connect to a socket in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccess {
    /// `socket-group`; `None` for the service's own group.
    pub group: Option<UserName>,
    /// `socket-mode`: permission bits; by default 0660.
    pub mode: u32,
}

/// A time as people and systemd write it, e.g. `1h 30min` (systemd.time(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSpan {
    /// As written.
    pub text: String,
    /// How long that is.
    pub duration: Duration,
}

/// `[timer.NAME]`: a program that systemd starts at times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// NAME.
    pub name: PartName,
    /// What runs.
    pub process: ProcessSettings,
    /// When, as in systemd.time(7); only its characters are checked.
    pub calendar: String,
    /// Whether it makes up for times that the host was off; by default it does.
    pub persistent: bool,
    /// `randomized-delay`.
    pub randomized_delay: Option<TimeSpan>,
    /// Where it is declared.
    pub at: Location,
}

/// `[cron.NAME]`: a line of /etc/cron.d.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// NAME.
    pub name: PartName,
    /// What runs.
    pub exec: CommandLine,
    /// When.
    pub schedule: CronSchedule,
    /// As whom; `None` leaves it to the default.
    pub user: Option<UserName>,
    /// Who gets the output; an empty text for nobody.
    pub mailto: Option<String>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// `environment-file`: files on the host with more variables, the later ones stronger.
    pub environment_files: Vec<InstallPath>,
    /// Where it is declared.
    pub at: Location,
}

/// Five fields, or one of the names that cron has for some of them, e.g. `@daily` (crontab(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronSchedule(String);

/// `[logrotate]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logrotate {
    /// Logs on the host; may hold `*`.
    pub paths: Vec<InstallPath>,
    /// How often; by default [`RotationFrequency::Daily`].
    pub frequency: RotationFrequency,
    /// How many old ones are kept; by default 14.
    pub keep: u32,
    /// Whether old ones are compressed; by default they are.
    pub compress: bool,
    /// How the writers come to the new file.
    pub reopen: LogReopen,
    /// Where it is declared.
    pub at: Location,
}

/// How a log's writers come to the new file after the old one was renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogReopen {
    /// These services are reloaded (`signal` is `None`), or their main process gets a signal, if
    /// they run.
    Services {
        /// `services`; `None` for all that have a `reload`.
        names: Option<Vec<Located<PartName>>>,
        /// `signal`, without `SIG`.
        signal: Option<&'static str>,
    },
    /// `copytruncate`: nobody has to do anything, and lines that are written meanwhile are lost.
    CopyTruncate,
}

/// How often logs are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationFrequency {
    /// Every hour.
    Hourly,
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
    /// Every year.
    Yearly,
}

/// `[config."NAME"]`: a file below `/etc/APP` that an upgrade does not overwrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// NAME: below `/etc/APP`.
    pub name: ReleasePath,
    /// The file with its first content, absolute.
    pub source: PathBuf,
    /// Permission bits; by default 0644.
    pub mode: u32,
    /// `None` for root.
    pub owner: Option<UserName>,
    /// `None` for the application's own if it has one and the group alone may read it, else root.
    pub group: Option<UserName>,
    /// Whether the source is a template.
    pub template: bool,
    /// What the template is rendered with.
    pub variables: BTreeMap<String, String>,
    /// Where it is declared.
    pub at: Location,
}

impl PartName {
    /// What has no name in a file.
    pub(super) fn unnamed() -> Self {
        Self(String::new())
    }

    /// Reads a name: lower-case letters, digits, `-` and `_`, a letter or digit first, 64
    /// characters at most.
    ///
    /// systemd would take more, but cron ignores files with a dot in their name.
    ///
    /// # Errors
    /// A name outside the rule.
    pub fn parse(text: &str) -> Result<Self> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if text.starts_with(first)
            && text.chars().all(|c| first(c) || c == '-' || c == '_')
            && text.len() <= 64
        {
            return Ok(Self(text.to_owned()));
        }
        let near: String = text
            .to_lowercase()
            .chars()
            .map(|c| if first(c) || c == '_' { c } else { '-' })
            .collect();
        let error = Error::new(format!("`{}` is not a name for a unit or job", text.escape_debug()))
            .note("lower-case letters, digits, `-` and `_`, a letter or digit first, 64 characters at most");
        match near.trim_matches(['-', '_']) {
            "" => Err(error),
            near => Err(error.hint(format!(
                "`{}` would be one",
                near.chars().take(64).collect::<String>()
            ))),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the name that a key is; a mistake in it is kept.
    pub(super) fn of_key(key: &Located<String>, value: &ValueReader<'_>) -> Option<Self> {
        match Self::parse(key) {
            Ok(name) => Some(name),
            Err(error) => {
                value.complain_elsewhere(error.at(key.at.clone()));
                None
            }
        }
    }

    /// Reads the NAME of every `[KEY.NAME]` below `root`.
    pub(super) fn tables<'s>(
        root: &TableReader<'s>,
        key: &'static str,
        kind: &'static str,
    ) -> Vec<(Self, TableReader<'s>)> {
        let named =
            root.tables(key, kind)
                .into_iter()
                .filter_map(|(name, table)| match Self::parse(&name) {
                    Ok(part) => Some((part, table)),
                    Err(error) => {
                        table.complain_elsewhere(error.at(name.at));
                        None
                    }
                });
        named.collect()
    }
}

impl ProcessSettings {
    /// Returns whether it has a `StateDirectory=` of its own, or none.
    pub fn has_own_state(&self) -> bool {
        let mut relaxed = self.relax.iter();
        self.systemd.contains_key("StateDirectory")
            || relaxed.any(|name| name.value == "StateDirectory")
    }
}

impl UserName {
    /// The bytes that a name has at most. useradd takes one more, which systemd and utmp do not.
    pub const LONGEST: usize = 31;

    /// Reads a name as useradd(8) recommends them and systemd takes them.
    ///
    /// # Errors
    /// A name outside that rule.
    pub fn parse(text: &str) -> Result<Self> {
        let first = |c: char| c.is_ascii_lowercase() || c == '_';
        let inside = |c: char| first(c) || c.is_ascii_digit() || c == '-';
        if text.starts_with(first) && text.chars().all(inside) && text.len() <= Self::LONGEST {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(format!("`{}` is not the name of a user or group", text.escape_debug()))
            .note("lower-case letters, digits, `-` and `_`, no digit or `-` first, 31 characters at most (useradd(8))"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ProcessSettings {
    fn read(table: &TableReader<'_>) -> Option<Self> {
        let exec = table
            .require("exec", "exec = \"PROGRAM ARGUMENT …\"")
            .and_then(|value| CommandLine::read(&value));
        let read_path = |key| table.get(key).and_then(|value| value.parsed(host_path));
        let read_user = |key| {
            table
                .get(key)
                .and_then(|value| value.parsed(UserName::parse))
        };
        let read_units = |key| table.each(key, unit_name);
        let values =
            |units: Vec<Located<String>>| units.into_iter().map(|unit| unit.value).collect();
        let (user, group) = (read_user("user"), read_user("group"));
        let env = table.collection("env", process_environment);
        let (environment_files, working_directory) =
            (environment_files(table), read_path("working-directory"));
        let (after, wants) = (values(read_units("after")), values(read_units("wants")));
        let on_failure = table
            .get("on-failure")
            .filter(|value| !value.is_false())
            .and_then(|value| CommandLine::read(&value));
        let limit_nofile = table
            .get("limit-nofile")
            .and_then(|value| count(&value, 1, u32::MAX));
        let timeout_stop = table
            .get("timeout-stop")
            .and_then(|value| value.parsed(TimeSpan::parse));
        let write = table.each("write", host_path);
        let relax = table.each("relax", setting_name);
        let systemd = table.collection("systemd", settings);
        Some(Self {
            exec: exec?,
            user,
            group,
            env,
            environment_files,
            working_directory,
            after,
            wants,
            on_failure,
            limit_nofile,
            timeout_stop,
            write: write.into_iter().map(|path| path.value).collect(),
            relax,
            systemd,
        })
    }
}

impl Service {
    pub(super) fn read_all(root: &TableReader<'_>) -> Vec<Self> {
        PartName::tables(root, "service", "service.NAME")
            .into_iter()
            .filter_map(|(name, table)| Self::read(name, table))
            .collect()
    }

    fn read(name: PartName, table: TableReader<'_>) -> Option<Self> {
        let at = table.at();
        let process = ProcessSettings::read(&table);
        let service_type = table
            .get("type")
            .map_or(Some(ServiceType::Exec), |value| value.choice(SERVICE_TYPES));
        let restart = table
            .get("restart")
            .map_or(Some(RestartPolicy::OnFailure), |value| {
                value.choice(RESTARTS)
            });
        let reload = table
            .get("reload")
            .and_then(|value| ReloadAction::read(&value));
        let socket = table
            .get("socket")
            .and_then(|value| value.parsed(SocketAddress::parse));
        let address = own_address(&table, socket.is_some());
        let socket_access = SocketAccess::read(&table, socket.as_ref());
        let instances = table
            .get("instances")
            .and_then(|value| count(&value, 1, 1000));
        let health = ServiceHealth::read(
            &table,
            socket.as_ref().or(address.as_ref()),
            instances.is_some(),
        );
        let watchdog = monitoring::watchdog(&table, service_type);
        let on_upgrade = table
            .get("on-upgrade")
            .map_or(Some(OnUpgrade::Restart), |value| value.choice(ON_UPGRADE));
        table.finish();
        let (process, service_type, restart, on_upgrade) =
            (process?, service_type?, restart?, on_upgrade?);
        Some(Self {
            name,
            process,
            service_type,
            reload,
            socket,
            address,
            socket_access,
            restart,
            health,
            watchdog,
            instances,
            on_upgrade,
            at,
        })
    }
}

const ON_UPGRADE: &[(&str, OnUpgrade)] =
    &[("restart", OnUpgrade::Restart), ("keep", OnUpgrade::Keep)];

const SERVICE_TYPES: &[(&str, ServiceType)] = &[
    ("simple", ServiceType::Simple),
    ("exec", ServiceType::Exec),
    ("notify", ServiceType::Notify),
    ("forking", ServiceType::Forking),
    ("oneshot", ServiceType::Oneshot),
];

const RESTARTS: &[(&str, RestartPolicy)] = &[
    ("no", RestartPolicy::No),
    ("always", RestartPolicy::Always),
    ("on-success", RestartPolicy::OnSuccess),
    ("on-failure", RestartPolicy::OnFailure),
    ("on-abnormal", RestartPolicy::OnAbnormal),
];

impl ReloadAction {
    /// Signals that programs take as an order to reload.
    const SIGNALS: [&'static str; 7] = ["HUP", "USR1", "USR2", "INT", "TERM", "QUIT", "WINCH"];

    fn read(value: &ValueReader<'_>) -> Option<Self> {
        let text = value.text()?;
        let is_word = !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        if is_word {
            value.parsed(Self::signal).map(Self::Signal)
        } else {
            CommandLine::read(value).map(Self::Command)
        }
    }

    fn signal(text: &str) -> Result<&'static str> {
        if let Some(signal) = Self::SIGNALS.into_iter().find(|signal| *signal == text) {
            return Ok(signal);
        }
        let error = Error::new(format!("`{text}` is not a signal for `reload`"));
        Err(
            match nearest(text.strip_prefix("SIG").unwrap_or(text), Self::SIGNALS) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!(
                    "the known ones are {}; anything else is a command",
                    listed(Self::SIGNALS)
                )),
            },
        )
    }
}

impl SocketAddress {
    /// Reads `ADDRESS:PORT`, or the path of a socket.
    ///
    /// # Errors
    /// Anything else; names of hosts too, which would be looked up before there is a network.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return InstallPath::parse(text).map(Self::Unix);
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok(Self::Tcp(address)),
            _ => Err(Error::new(format!("`{text}` is not an address to listen on"))
                .hint("write an address and a port, such as `0.0.0.0:8000` or `[::]:8000`, or the path of a socket")),
        }
    }
}

/// Reads `address`: where a service listens that opens its socket itself.
fn own_address(table: &TableReader<'_>, has_socket: bool) -> Option<SocketAddress> {
    let value = table.get("address")?;
    if !has_socket {
        return value.parsed(SocketAddress::parse);
    }
    // A recipe does not know of the socket that the configuration adds.
    if value.origin().source == SourceTexts::CONFIGURATION {
        let error = Error::new("systemd listens for the service, on its `socket`");
        value.complain(error.hint("leave out `address`, or `socket`"));
    }
    None
}

impl SocketAccess {
    fn read(table: &TableReader<'_>, socket: Option<&SocketAddress>) -> Self {
        let (group, bits) = (table.get("socket-group"), table.get("socket-mode"));
        if !matches!(socket, Some(SocketAddress::Unix(_))) {
            for value in [&group, &bits].into_iter().flatten() {
                let error = Error::new(format!(
                    "`{}` is for a socket in the file system",
                    value.label()
                ));
                value.complain(
                    error.hint("add `socket = \"/run/APP/NAME.sock\"`, or leave the key out"),
                );
            }
        }
        Self {
            group: group.and_then(|value| value.parsed(UserName::parse)),
            mode: bits.and_then(|value| mode(&value)).unwrap_or(0o660),
        }
    }
}

impl TimeSpan {
    /// Reads numbers with units, e.g. `90s`, `5min`, `1h 30min`.
    ///
    /// # Errors
    /// A number without a unit, an unknown unit, no number at all.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(format!("invalid duration `{text}`"))
                .hint("numbers with `ms`, `s`, `min`, `h`, `d` or `w`, such as `90s` or `1h 30min`")
        };
        let mut duration = Duration::ZERO;
        let mut rest = text.trim();
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: u64 = rest[..digits]
                .parse()
                .map_err(|_: std::num::ParseIntError| bad())?;
            rest = rest[digits..].trim_start();
            let letters = rest.len()
                - rest
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                    .len();
            let milliseconds: u64 = match &rest[..letters] {
                "ms" => 1,
                "s" => 1000,
                "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => return Err(bad()),
            };
            let part = number
                .checked_mul(milliseconds)
                .map(Duration::from_millis)
                .ok_or_else(bad)?;
            duration = duration.checked_add(part).ok_or_else(bad)?;
            rest = rest[letters..].trim_start();
        }
        if text.trim().is_empty() {
            Err(bad())
        } else {
            Ok(Self {
                text: text.trim().to_owned(),
                duration,
            })
        }
    }
}

impl Timer {
    pub(super) fn read_all(root: &TableReader<'_>, services: &[Service]) -> Vec<Self> {
        let tables = PartName::tables(root, "timer", "timer.NAME").into_iter();
        let timers = tables.filter_map(|(name, table)| {
            if let Some(service) = services.iter().find(|service| service.name == name) {
                table.complain(
                    Error::new(format!(
                        "`[timer.{name}]` and `[service.{name}]` would be the same unit"
                    ))
                    .note(format!("the service is declared at {}", service.at))
                    .hint("give one of them another name"),
                );
            }
            Self::read(name, table)
        });
        timers.collect()
    }

    fn read(name: PartName, table: TableReader<'_>) -> Option<Self> {
        let at = table.at();
        let process = ProcessSettings::read(&table);
        let calendar = table
            .require("calendar", "calendar = \"*-*-* 02:10\"")
            .and_then(|value| value.parsed(calendar));
        let persistent = table
            .get("persistent")
            .map_or(Some(true), |value| value.boolean());
        let randomized_delay = table
            .get("randomized-delay")
            .and_then(|value| value.parsed(TimeSpan::parse));
        table.finish();
        Some(Self {
            name,
            process: process?,
            calendar: calendar?,
            persistent: persistent?,
            randomized_delay,
            at,
        })
    }
}

/// Reads a calendar event: systemd alone knows the whole grammar, so that only its characters are
/// checked.
fn calendar(text: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || " *,:.-/~+_".contains(c);
    if !text.trim().is_empty() && text.chars().all(inside) {
        return Ok(text.trim().to_owned());
    }
    Err(
        Error::new(format!("`{}` is not a calendar event", text.escape_debug())).hint(
            "such as `*-*-* 02:10` or `Mon..Fri 06:00`; `systemd-analyze calendar` explains them",
        ),
    )
}

impl Cron {
    pub(super) fn read_all(root: &TableReader<'_>) -> Vec<Self> {
        PartName::tables(root, "cron", "cron.NAME")
            .into_iter()
            .filter_map(|(name, table)| Self::read(name, table))
            .collect()
    }

    fn read(name: PartName, table: TableReader<'_>) -> Option<Self> {
        let at = table.at();
        let exec = table
            .require("exec", "exec = \"PROGRAM ARGUMENT …\"")
            .and_then(|value| CommandLine::read(&value));
        let schedule = table
            .require("schedule", "schedule = \"10 2 * * *\"")
            .and_then(|value| CronSchedule::read(&value));
        let user = table
            .get("user")
            .and_then(|value| value.parsed(UserName::parse));
        let mailto = table.get("mailto").and_then(|value| value.parsed(mailto));
        let env = table.collection("env", process_environment);
        let environment_files = environment_files(&table);
        table.finish();
        Some(Self {
            name,
            exec: exec?,
            schedule: schedule?,
            user,
            mailto,
            env,
            environment_files,
            at,
        })
    }
}

fn mailto(text: &str) -> Result<String> {
    if text
        .chars()
        .any(|c| c.is_control() || c == '"' || c == '\'')
    {
        Err(Error::new(format!(
            "`{}` is not an address for mail",
            text.escape_debug()
        )))
    } else {
        Ok(text.to_owned())
    }
}

impl CronSchedule {
    /// Returns the fields with one space between them, or the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn read(value: &ValueReader<'_>) -> Option<Self> {
        let text = value.text()?;
        match Self::parse(text) {
            Ok(schedule) => Some(schedule),
            Err((offset, error)) => {
                value.complain_inside(offset, error);
                None
            }
        }
    }

    /// Reads a schedule; the failure comes with the byte that it is about.
    fn parse(text: &str) -> std::result::Result<Self, (usize, Error)> {
        if text.starts_with('@') {
            return if CRON_NAMES.contains(&text) {
                Ok(Self(text.to_owned()))
            } else {
                Err((
                    0,
                    Error::new(format!("cron knows no `{text}`")).hint(suggested_name(text)),
                ))
            };
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if fields.len() != CRON_FIELDS.len() {
            let number = fields.len();
            return Err((
                0,
                Error::new(format!(
                    "a cron schedule has five fields, and `{text}` has {number}"
                ))
                .hint(
                    "minute, hour, day of the month, month, day of the week, such as `10 2 * * *`",
                ),
            ));
        }
        for (field, rule) in fields.iter().zip(&CRON_FIELDS) {
            // The fields are slices of the text.
            let offset = field.as_ptr() as usize - text.as_ptr() as usize;
            rule.check(field).map_err(|error| (offset, error))?;
        }
        Ok(Self(fields.join(" ")))
    }
}

const CRON_NAMES: [&str; 8] = [
    "@reboot",
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];

fn suggested_name(text: &str) -> String {
    match nearest(text, CRON_NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it knows {}", listed(CRON_NAMES)),
    }
}

/// A field of a schedule (crontab(5)).
struct CronField {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const CRON_FIELDS: [CronField; 5] = [
    CronField {
        what: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    CronField {
        what: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    CronField {
        what: "day of the month",
        least: 1,
        most: 31,
        names: &[],
    },
    CronField {
        what: "month",
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    // Both 0 and 7 are Sunday.
    CronField {
        what: "day of the week",
        least: 0,
        most: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl CronField {
    /// Checks a list of values and ranges, each with an optional step.
    fn check(&self, field: &str) -> Result<()> {
        let inside = field.split(',').all(|part| {
            let (range, step) = part
                .split_once('/')
                .map_or((part, None), |(range, step)| (range, Some(step)));
            let has_step = step.is_none_or(|step| number(step).is_some_and(|step| step > 0));
            has_step
                && match range.split_once('-') {
                    _ if range == "*" => true,
                    Some((from, to)) => self
                        .value(from)
                        .zip(self.value(to))
                        .is_some_and(|(from, to)| from <= to),
                    // cron takes a step for ranges only.
                    None => step.is_none() && self.value(range).is_some(),
                }
        });
        if inside {
            Ok(())
        } else {
            Err(
                Error::new(format!("`{field}` is no {} for cron", self.what)).hint(format!(
                    "{} to {}, ranges as `a-b`, steps as `*/n`, lists with `,`",
                    self.least, self.most
                )),
            )
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self
            .names
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name));
        // Names count from the field's least value.
        let value = match named {
            Some(index) => self.least + u32::try_from(index).ok()?,
            None => number(text)?,
        };
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

impl Logrotate {
    pub(super) fn read(table: TableReader<'_>, services: &[Service]) -> Option<Self> {
        let is_there = table.is_there();
        let at = table.at();
        let paths = if is_there {
            table.require("paths", "paths = [\"/var/log/shop/*.log\"]")
        } else {
            table.get("paths")
        };
        let paths = paths.map(|value| value.each(host_path));
        if let Some(paths) = &paths {
            check_overlaps(&table, paths);
        }
        let frequency = table
            .get("frequency")
            .map_or(Some(RotationFrequency::Daily), |value| {
                value.choice(FREQUENCIES)
            });
        let keep = table
            .get("keep")
            .map_or(Some(14), |value| count(&value, 0, 10_000));
        let compress = table
            .get("compress")
            .map_or(Some(true), |value| value.boolean());
        let reopen = LogReopen::read(&table, services);
        table.finish();
        let paths = paths?.into_iter().map(|path| path.value).collect();
        is_there.then_some(Self {
            paths,
            frequency: frequency?,
            keep: keep?,
            compress: compress?,
            reopen,
            at,
        })
    }
}

/// A log that two patterns match makes logrotate refuse all of the file.
fn check_overlaps(table: &TableReader<'_>, paths: &[Located<InstallPath>]) {
    for (index, path) in paths.iter().enumerate() {
        let Some(other) = paths[..index]
            .iter()
            .find(|other| overlap(other.as_str(), path.as_str()))
        else {
            continue;
        };
        let error = if other.value == path.value {
            Error::new(format!("`{path}` is listed twice", path = path.as_str()))
                .hint("leave one of them out")
        } else {
            Error::new(format!(
                "`{}` and `{}` match the same logs",
                other.as_str(),
                path.as_str()
            ))
            .note("logrotate ignores a file in which two patterns match one log")
            .hint("leave out the narrower one, or make the wider one match less")
        };
        table.complain_elsewhere(error.at(path.at.clone()));
    }
}

impl LogReopen {
    fn read(table: &TableReader<'_>, services: &[Service]) -> Self {
        let known = |text: &str| {
            let error = || {
                Error::new(format!(
                    "there is no `[service.{text}]` to tell of new logs"
                ))
            };
            let names = || services.iter().map(|service| service.name.as_str());
            if names().any(|name| name == text) {
                return PartName::parse(text);
            }
            match nearest(text, names()) {
                Some(near) => Err(error().hint(format!("did you mean `{near}`?"))),
                None => Err(error().hint("declare it, or remove the name")),
            }
        };
        let names = table.get("services").map(|value| value.each(known));
        let signal = table
            .get("signal")
            .and_then(|value| value.parsed(ReloadAction::signal));
        let copies = table.get("copytruncate");
        if copies
            .as_ref()
            .and_then(ValueReader::boolean)
            .unwrap_or(false)
        {
            if names.is_some() || signal.is_some() {
                table.complain(
                    Error::new("with `copytruncate`, no service is signaled")
                        .hint("leave out `services` and `signal`, or `copytruncate`"),
                );
            }
            return Self::CopyTruncate;
        }
        let can_reload = |service: &Service| service.reload.is_some();
        // With nobody to tell, a writer would go on writing into the file that was renamed.
        if names.is_none()
            && signal.is_none()
            && copies.is_none()
            && !services.iter().any(can_reload)
        {
            return Self::CopyTruncate;
        }
        Self::Services { names, signal }
    }
}

const FREQUENCIES: &[(&str, RotationFrequency)] = &[
    ("hourly", RotationFrequency::Hourly),
    ("daily", RotationFrequency::Daily),
    ("weekly", RotationFrequency::Weekly),
    ("monthly", RotationFrequency::Monthly),
    ("yearly", RotationFrequency::Yearly),
];

impl ConfigFile {
    pub(super) fn read_all(root: &TableReader<'_>, directory: &Path) -> Vec<Self> {
        let read = |(name, table): (Located<String>, TableReader<'_>)| {
            let path = ReleasePath::parse(&name).map_err(|error| {
                let error = error
                    .at(name.at.clone())
                    .note("it is the file's name below `/etc/APP`");
                table.complain_elsewhere(error);
            });
            Self::read(path.ok(), table, directory)
        };
        root.tables("config", "config.\"NAME\"")
            .into_iter()
            .filter_map(read)
            .collect()
    }

    fn read(name: Option<ReleasePath>, table: TableReader<'_>, directory: &Path) -> Option<Self> {
        let at = table.at();
        let example = name.as_ref().map_or("file", |name| name.file_name());
        let source = table
            .require("source", &format!("source = \"deploy/{example}\""))
            .and_then(|value| value.parsed(|text| existing_file(directory, "source file", text)));
        let mode = table.get("mode").map_or(Some(0o644), |value| mode(&value));
        let owner = table
            .get("owner")
            .and_then(|value| value.parsed(UserName::parse));
        let group = table
            .get("group")
            .and_then(|value| value.parsed(UserName::parse));
        let template = table
            .get("template")
            .map_or(Some(false), |value| value.boolean());
        let variables = table.get("variables");
        if let (Some(value), Some(false)) = (&variables, template) {
            let error = Error::new(format!("`{}` is for a template", value.label()));
            value.complain(error.hint("add `template = true`, or leave the variables out"));
        }
        let variables = variables
            .map(|value| environment(&value))
            .unwrap_or_default();
        table.finish();
        Some(Self {
            name: name?,
            source: source?,
            mode: mode?,
            owner,
            group,
            template: template?,
            variables,
            at,
        })
    }
}

/// Reads permission bits, written as chmod(1) takes them.
fn mode(value: &ValueReader<'_>) -> Option<u32> {
    if let Some(number) = value.as_integer() {
        let label = value.label();
        let error = Error::new(format!("`{label}` must be a string, not an integer"));
        let key = label.rsplit('.').next().unwrap_or("mode");
        value.complain(error.hint(format!("write `{key} = \"{number:04o}\"`")));
        return None;
    }
    value.parsed(|text| {
        let bits = u32::from_str_radix(text, 8).ok();
        let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match bits.filter(|bits| digits && *bits <= 0o777) {
            Some(bits) => Ok(bits),
            None => Err(Error::new(format!("`{text}` is not a mode"))
                .hint("write permission bits in octal, such as `\"0640\"`, without setuid, setgid or sticky bit")),
        }
    })
}

/// Reads `environment-file`: one path, or a list of them.
fn environment_files(table: &TableReader<'_>) -> Vec<InstallPath> {
    match table.get("environment-file") {
        None => Vec::new(),
        Some(value) if value.is_string() => value.parsed(environment_file).into_iter().collect(),
        Some(value) => value
            .each(environment_file)
            .into_iter()
            .map(|path| path.value)
            .collect(),
    }
}

/// Reads the path of an environment file: systemd would take it for a pattern of several, which
/// come in no certain order.
fn environment_file(text: &str) -> Result<InstallPath> {
    if text.contains(['*', '?', '[', '\\']) {
        Err(Error::new(format!("`{text}` is a pattern and not a file"))
            .hint("name the files, in a list"))
    } else {
        host_path(text)
    }
}

/// Reads `systemd = { NAME = "value" }`.
fn settings(value: &ValueReader<'_>) -> BTreeMap<String, String> {
    let Some(table) = value.table("systemd") else {
        return BTreeMap::new();
    };
    let mut settings = BTreeMap::new();
    for (name, value) in table.entries() {
        let name = setting_name(&name)
            .map_err(|error| value.complain(error))
            .ok();
        let text = value.parsed(|text| {
            if text.chars().any(char::is_control) {
                Err(Error::new(format!("`{}` must be one line", value.label())))
            } else {
                Ok(text.to_owned())
            }
        });
        settings.extend(name.zip(text));
    }
    settings
}

/// Reads the name of a setting in a unit, e.g. `PrivateTmp`.
pub(super) fn setting_name(text: &str) -> Result<String> {
    if text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
    {
        Ok(text.to_owned())
    } else {
        Err(Error::new(format!(
            "`{}` is not the name of a setting of systemd",
            text.escape_debug()
        ))
        .hint("such as `PrivateTmp`, `MemoryMax` (systemd.exec(5), systemd.resource-control(5))"))
    }
}

/// Reads the full name of a unit (systemd.unit(5)).
fn unit_name(text: &str) -> Result<String> {
    const TYPES: [&str; 9] = [
        "service",
        "socket",
        "target",
        "timer",
        "mount",
        "path",
        "device",
        "slice",
        "automount",
    ];
    let inside = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let has_type = text
        .rsplit_once('.')
        .is_some_and(|(name, end)| !name.is_empty() && TYPES.contains(&end));
    if has_type && text.chars().all(inside) {
        return Ok(text.to_owned());
    }
    let error = Error::new(format!(
        "`{}` is not the name of a unit",
        text.escape_debug()
    ));
    if !text.is_empty() && text.chars().all(inside) {
        Err(error.hint(format!("write `{text}.service`, if it is a service")))
    } else {
        Err(error.hint("write the whole name, such as `postgresql.service`"))
    }
}

/// Reads a path on the host.
pub(super) fn host_path(text: &str) -> Result<InstallPath> {
    InstallPath::parse(text).map_err(|error| {
        if text.starts_with('/') {
            error
        } else {
            error.hint("it is a path on the host, such as `/etc/shop`")
        }
    })
}

/// Reads a number of things.
pub(super) fn count(value: &ValueReader<'_>, least: u32, most: u32) -> Option<u32> {
    value
        .integer(i64::from(least)..=i64::from(most))
        .and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_what_crontab_takes() {
        for (text, normal) in [
            ("10 2 * * *", "10 2 * * *"),
            (
                "*/5  0-6,12\t1-31/2 jan-MAR sun,7",
                "*/5 0-6,12 1-31/2 jan-MAR sun,7",
            ),
            ("@daily", "@daily"),
        ] {
            assert_eq!(
                CronSchedule::parse(text)
                    .map_err(|(_, error)| error)
                    .unwrap()
                    .as_str(),
                normal
            );
        }
        for (text, offset) in [
            ("60 * * * *", 0),
            ("0 24 * * *", 2),
            ("0 0 0 * *", 4),
            ("0 0 * 13 *", 6),
            ("0 0 * * 8", 8),
            ("5-1 * * * *", 0),
            ("*/0 * * * *", 0),
            ("5/2 * * * *", 0),
            ("0,  * * * *", 0),
            ("+5 * * * *", 0),
            ("0 0 * *", 0),
            ("0 0 * * * root", 0),
            ("@dayly", 0),
            ("", 0),
        ] {
            assert_eq!(
                CronSchedule::parse(text).expect_err(text).0,
                offset,
                "{text}"
            );
        }
    }

    #[test]
    fn spans_are_as_systemd_reads_them() {
        // The units of systemd.time(7).
        for (text, milliseconds) in [
            ("90s", 90_000),
            ("1h 30min", 5_400_000),
            ("2d1ms", 172_800_001),
            ("1 w", 604_800_000),
        ] {
            assert_eq!(
                TimeSpan::parse(text).unwrap().duration,
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
        for bad in [
            "",
            "30",
            "s",
            "5 minutes ago",
            "-1s",
            "1.5h",
            "99999999999999999w",
        ] {
            assert!(TimeSpan::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_parts_and_users_follow_the_hosts_rules() {
        assert!(PartName::parse("web-2_a").is_ok());
        for bad in ["", "-a", "a.b", "Web", "a b", "größe"] {
            assert!(PartName::parse(bad).is_err(), "{bad}");
        }
        assert!(UserName::parse("_shop-1").is_ok() && UserName::parse(&"a".repeat(31)).is_ok());
        for bad in ["", "1a", "-a", "Shop", "a:b", "root\n", &"a".repeat(32)] {
            assert!(UserName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets_are_addresses_or_paths() {
        assert_eq!(
            SocketAddress::parse("[::]:80").unwrap(),
            SocketAddress::Tcp("[::]:80".parse().unwrap())
        );
        assert!(matches!(
            SocketAddress::parse("/run/shop/web.sock"),
            Ok(SocketAddress::Unix(_))
        ));
        for bad in [
            "8000",
            "localhost:80",
            "0.0.0.0",
            "0.0.0.0:0",
            "1.2.3.4:99999",
            "/run/../x",
        ] {
            assert!(SocketAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
