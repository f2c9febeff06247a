//! `[deploy.NAME]`: where to, as whom, how many at a time, and how to know that it works.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::path::InstallPath;
use pkgapp_core::text::shell_quoted;

use super::command::CommandLine;
use super::document::DocumentValue;
use super::host_pattern::{HostPattern, login};
use super::monitoring::AskedService;
use super::reader::{Located, TableReader, ValueReader};
use super::service::{PartName, Service, TimeSpan, UserName, count, host_path, setting_name};
use super::settings::{DeployedSetting, Setting};
use super::without_places;

/// How long a push waits for another one, unless it is configured.
const DEFAULT_WAIT: Duration = Duration::from_secs(120);
/// How long a host may take to become healthy, unless it is configured.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long units must have run by then, unless it is configured.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(3);

/// The default time in which a pusher, or a person, has to confirm a release.
const AUTO_WITHIN: Duration = Duration::from_secs(120);
const MANUAL_WITHIN: Duration = Duration::from_secs(900);

/// The shortest probation. A pusher has to log in again within it.
pub const SHORTEST_PROBATION: Duration = Duration::from_secs(10);

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// `[deploy.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// NAME.
    pub name: PartName,
    /// The hosts, not yet expanded.
    pub hosts: Vec<HostGroup>,
    /// Who logs in; `None` leaves it to ssh.
    pub user: Option<String>,
    /// Whether root's work is done with sudo; by default it is not.
    pub sudo: bool,
    /// How many hosts have the new release after each step; by default all at once.
    pub batches: Vec<BatchSize>,
    /// How many hosts may fail before it is stopped; by default none.
    pub max_failed: u32,
    /// How to know that a host works.
    pub health: Option<HealthChecks>,
    /// What is done once before the first switch.
    pub migrate: Option<Migrate>,
    /// What is run around a host's switch.
    pub hooks: DeployHooks,
    /// How many packages a host keeps for roll-back, the installed one included; by default 3.
    pub keep: u32,
    /// `wait`: how long to wait for another push and for the package manager's lock; by default
    /// 120 s.
    pub wait: Duration,
    /// Who confirms a release that works; by default the pusher.
    pub confirm: ConfirmMode,
    /// `confirm-within`: how long a host waits for the confirmation; by default 2 min, or 15 min for
    /// a person.
    pub confirm_within: Option<Duration>,
    /// `unreachable`: whether the others go on without a host that can't be reached; by default
    /// they don't.
    pub skip_unreachable: bool,
    /// `protected`: whether only a clean commit with the version's tag goes there; by default
    /// anything does.
    pub protected: bool,
    /// `mode = "tarball"`: releases are unpacked by a login that is not root; by default packages
    /// are installed.
    pub tarball: Option<TarballMode>,
    /// `settings`: the values that the configuration package of this deployment has.
    pub settings: Vec<DeployedSetting>,
    /// Where it is declared.
    pub at: Location,
}

/// `confirm`: who confirms that a host with a new release can still be reached. Until then the
/// release is in probation; without a confirmation, the host goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConfirmMode {
    /// The pusher, over a new connection.
    #[default]
    Auto,
    /// A person, with `pkgapp confirm`.
    Manual,
    /// Nobody: there is no probation.
    Off,
}

impl ConfirmMode {
    /// The words of the configuration.
    pub const NAMES: [(&str, Self); 3] = [
        ("auto", Self::Auto),
        ("manual", Self::Manual),
        ("off", Self::Off),
    ];

    /// Reads `confirm` and `confirm-within`.
    fn read(table: &TableReader<'_>) -> Option<(Self, Option<Duration>)> {
        let confirm = table.get("confirm");
        let confirm = confirm.map_or(Some(Self::default()), |value| value.choice(&Self::NAMES));
        let Some(value) = table.get("confirm-within") else {
            return Some((confirm?, None));
        };

        let within = value.time_span(SHORTEST_PROBATION..=DAY);
        if confirm == Some(Self::Off) {
            let error = Error::new("`confirm-within` is for releases that are confirmed");
            value.complain(error.hint("remove it, or `confirm = \"off\"`"));
            return None;
        }
        Some((confirm?, Some(within?)))
    }

    /// Returns the word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
            Self::Off => "off",
        }
    }

    /// Returns how long a release is in probation unless it is configured.
    pub fn default_within(self) -> Duration {
        match self {
            Self::Manual => MANUAL_WITHIN,
            Self::Auto | Self::Off => AUTO_WITHIN,
        }
    }
}

/// `mode = "tarball"`, with `into`, `shared` and `units`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TarballMode {
    /// The directory of the releases, `~/NAME` by default; what follows `~/` lies in the login's
    /// home directory.
    pub into: Option<String>,
    /// What all releases share.
    pub shared: Vec<SharedPath>,
    /// Who runs units; by default the user's systemd.
    pub units: UnitsOf,
}

/// A path below a release that is a link to `shared/` of the same name. It ends in `/` if it is a
/// directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedPath(String);

/// `units`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnitsOf {
    /// They are units of the user's systemd.
    #[default]
    User,
    /// Nobody runs them; hooks do what is to be done.
    None,
}

impl UnitsOf {
    /// Returns the word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::None => "none",
        }
    }
}

/// One element of `hosts`: a pattern, or a table of it and what is known of these hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostGroup {
    /// Which hosts.
    pub pattern: Located<HostPattern>,
    /// `role` and `labels`: what `--only` selects by.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// `variables`: what hooks and commands see in their environment on these hosts.
    pub variables: BTreeMap<String, String>,
    /// `sudo-password-file`: whose first line is the password for sudo on these hosts, relative to
    /// the configuration.
    pub sudo_password_file: Option<String>,
}

/// How many hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// That many.
    Hosts(u32),
    /// A share of all, 1 to 100.
    Percent(u8),
}

/// `health`: at least one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChecks {
    /// Services that answer their own `health`; none if there is a `url`.
    pub services: Vec<AskedService>,
    /// Answers with success, asked from the host itself.
    pub url: Option<Url>,
    /// Ends with success on the host.
    pub command: Option<CommandLine>,
    /// `timeout`: how long to wait for that; by default 30 s.
    pub timeout: Duration,
    /// `settle`: how long the units must have run by then; by default 3 s.
    pub settle: Duration,
}

/// `migrate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrate {
    /// The commands, in the new release.
    pub exec: MigrationCommands,
    /// Where.
    pub on: MigrateOn,
    /// As whom; by default as `service` does.
    pub user: Option<UserName>,
    /// Whose user, directories, variables and sandbox it has; by default those of the first
    /// service.
    pub service: Option<Located<PartName>>,
    /// How long it may take; by default as long as it takes.
    pub timeout: Option<TimeSpan>,
    /// `memory-max`: how much memory it may use, as systemd writes it; by default as much as the
    /// service.
    pub memory_max: Option<String>,
    /// What it may write to besides what the service may.
    pub write: Vec<InstallPath>,
    /// Settings of the service's sandbox that it does without.
    pub relax: Vec<String>,
}

/// The command lines of a migration: they run in order, and the first that fails ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationCommands {
    /// Never empty.
    lines: Vec<CommandLine>,
}

/// Where a migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateOn {
    /// On one host, for all.
    One,
    /// On every host, each before its switch.
    All,
}

/// `hooks`: commands on the host, and two on the machine that pushes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeployHooks {
    /// Before the host gets the release.
    pub before: Vec<CommandLine>,
    /// After it works.
    pub after: Vec<CommandLine>,
    /// Takes the host out of service.
    pub drain: Vec<CommandLine>,
    /// Takes it into service again.
    pub undrain: Vec<CommandLine>,
    /// On the machine that pushes, before any host changes.
    pub local_before: Vec<CommandLine>,
    /// On the machine that pushes, after all hosts have changed.
    pub local_after: Vec<CommandLine>,
}

impl Deploy {
    /// Returns what holds where no `[deploy.NAME]` says otherwise: the default of every key, and no
    /// hosts.
    pub fn defaults() -> Self {
        Self {
            name: PartName::unnamed(),
            hosts: Vec::new(),
            user: None,
            sudo: false,
            batches: vec![BatchSize::Percent(100)],
            max_failed: 0,
            health: None,
            migrate: None,
            hooks: DeployHooks::default(),
            keep: 3,
            wait: DEFAULT_WAIT,
            confirm: ConfirmMode::default(),
            confirm_within: None,
            skip_unreachable: false,
            protected: false,
            tarball: None,
            settings: Vec::new(),
            at: Location::file(""),
        }
    }

    /// Reads all deployments; `migration` and `services` are the application's own.
    pub(super) fn read_all(
        root: &TableReader<'_>,
        migration: Option<&Migrate>,
        services: &[Service],
        settings: &[Setting],
    ) -> Vec<Self> {
        let health = HealthChecks::of_services(services);
        let tables = PartName::tables(root, "deploy", "deploy.NAME").into_iter();
        tables
            .filter_map(|(name, table)| {
                let settings = DeployedSetting::read_all(&table, settings);
                Self::read(name, table, migration, health.as_ref(), settings)
            })
            .collect()
    }

    fn read(
        name: PartName,
        table: TableReader<'_>,
        migration: Option<&Migrate>,
        of_services: Option<&HealthChecks>,
        settings: Vec<DeployedSetting>,
    ) -> Option<Self> {
        let hosts = table.require("hosts", "hosts = [\"web[01:04].example.com\"]");
        let hosts = hosts.map(|value| value.list().iter().filter_map(HostGroup::read).collect());
        let policy = Self::read_policy(name, &table);
        let health = HealthChecks::of_deployment(&table, of_services);
        let migrate = Migrate::of_deployment(&table, migration);
        // Of a table with mistakes, those of this mode are reported as if it used no sudo.
        let sudo = policy.as_ref().is_some_and(|policy| policy.sudo);
        let tarball = TarballMode::read(&table, sudo, migrate.as_ref());
        table.finish();
        Some(Self {
            hosts: hosts?,
            health,
            migrate,
            tarball: tarball?,
            settings,
            ..policy?
        })
    }

    /// Reads the keys of hosts of all kinds: who logs in, and how a rollout goes on. The other
    /// fields are empty.
    pub(super) fn read_policy(name: PartName, table: &TableReader<'_>) -> Option<Self> {
        let (at, default) = (table.at(), Self::defaults());
        let user = table.get("user").and_then(|value| value.parsed(login));
        let sudo = flag(table, "sudo", default.sudo);
        let batches = table
            .get("batches")
            .map_or_else(|| default.batches.clone(), |value| batches(&value));
        let max_failed = table
            .get_renamed("max-failed", "max_failed")
            .map_or(Some(default.max_failed), |value| count(&value, 0, u32::MAX));
        let hooks = table
            .get("hooks")
            .and_then(|value| DeployHooks::read(&value))
            .unwrap_or_default();
        let keep = table
            .get("keep")
            .map_or(Some(default.keep), |value| count(&value, 2, 1000));
        let wait = table.duration("wait", "wait_s", default.wait, Duration::ZERO..=DAY);
        let confirmation = ConfirmMode::read(table);
        let unreachable = table.get("unreachable");
        let skip = unreachable.map_or(Some(default.skip_unreachable), |value| {
            value.choice(&[("fail", false), ("skip", true)])
        });
        let protected = flag(table, "protected", default.protected);

        let (confirm, confirm_within) = confirmation?;
        let (sudo, max_failed, keep) = (sudo?, max_failed?, keep?);
        let (wait, skip_unreachable, protected) = (wait?, skip?, protected?);
        Some(Self {
            name,
            user,
            sudo,
            batches,
            max_failed,
            hooks,
            keep,
            wait,
            confirm,
            confirm_within,
            skip_unreachable,
            protected,
            at,
            ..default
        })
    }
}

fn flag(table: &TableReader<'_>, key: &'static str, default: bool) -> Option<bool> {
    let value = table.get(key);
    value.map_or(Some(default), |value| value.boolean())
}

impl TarballMode {
    /// Reads the keys of it: `Some(None)` if packages are installed, `None` if there are mistakes.
    #[expect(
        clippy::option_option,
        reason = "an absent mode and a mistaken one are two things"
    )]
    fn read(
        table: &TableReader<'_>,
        sudo: bool,
        migrate: Option<&Migrate>,
    ) -> Option<Option<Self>> {
        let mode = table.get("mode");
        let is_tarball = mode.as_ref().map_or(Some(false), |mode| {
            mode.choice(&[("package", false), ("tarball", true)])
        });
        let (into, shared, units) = (table.get("into"), table.get("shared"), table.get("units"));
        if is_tarball == Some(false) {
            for (key, value) in [("into", &into), ("shared", &shared), ("units", &units)] {
                let error = || {
                    Error::new(format!(
                        "`{key}` is for releases that are unpacked, and packages are installed"
                    ))
                };
                if let Some(value) = value {
                    value.complain(error().hint("add `mode = \"tarball\"`, or leave it out"));
                }
            }
        }
        let units = units.map_or(Some(UnitsOf::User), |value| {
            value.choice(&[
                (UnitsOf::User.name(), UnitsOf::User),
                (UnitsOf::None.name(), UnitsOf::None),
            ])
        });
        let into = into.map_or(Some(None), |value| value.parsed(check_into).map(Some));
        let shared = shared.map_or_else(Vec::new, |value| SharedPath::read_all(&value));
        if !is_tarball? {
            return Some(None);
        }
        let refuse = |what: &str| {
            let error = Error::new(format!(
                "{what}, and with `mode = \"tarball\"` all is done by the login"
            ));
            table.complain(error.hint("leave it out, or install packages: `mode = \"package\"`"));
        };
        if sudo {
            refuse("`sudo = true` is for root's work");
        }
        if let Some(user) = migrate.and_then(|migrate| migrate.user.as_ref()) {
            refuse(&format!("`migrate` is to run as `{user}`"));
        }
        for key in migrate.map_or_else(Vec::new, Migrate::keys_of_root) {
            refuse(&format!(
                "`{key}` of `migrate` is for root's systemd to heed"
            ));
        }
        Some(Some(Self {
            into: into?,
            shared,
            units: units?,
        }))
    }
}

/// Returns whether a path needs no quotes anywhere: in units, in crontabs, in scripts.
pub(super) fn is_plain(path: &str) -> bool {
    path.chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._+@-".contains(c))
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Reads the directory that releases lie in: absolute, or below `~/`.
///
/// # Errors
/// It is neither, or it has characters that would need quotes in units and crontabs.
pub fn check_into(text: &str) -> Result<String> {
    let path = text
        .strip_prefix("~/")
        .or_else(|| text.strip_prefix('/'))
        .map(|path| path.trim_end_matches('/'));
    match path {
        Some(path) if is_plain(path) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(
            Error::new(format!("a release cannot be in `{}`", text.escape_debug()))
                .hint("such as `~/shop` or `/srv/shop`; letters, digits and `. _ + @ -`"),
        ),
    }
}

impl SharedPath {
    /// What a release can't be without, and what `shared/` has of its own.
    const TAKEN: [&str; 10] = [
        ".pkgapp",
        "bin",
        "etc",
        "host",
        "lib",
        "libexec",
        "pyvenv.cfg",
        "var/cache",
        "var/lib",
        "var/log",
    ];

    /// Reads a path: a directory if it ends in `/` or its last part has no dot.
    ///
    /// # Errors
    /// It leads out of the release, or is one that a release can't share.
    pub fn parse(text: &str) -> Result<Self> {
        let path = text.trim_end_matches('/');
        let bad = |why: &str| {
            Error::new(format!(
                "releases can't share `{}`: {why}",
                text.escape_debug()
            ))
        };
        if !is_plain(path) {
            return Err(bad("it is no plain path below the release")
                .hint("such as `app/media` or `app/db.sqlite3`"));
        }
        if let Some(taken) = Self::TAKEN.iter().find(|taken| is_in(path, taken)) {
            return Err(bad(&format!("`{taken}` is the release's own")).hint("such as `app/media`"));
        }
        let is_directory =
            text.ends_with('/') || !path.rsplit('/').next().unwrap_or(path).contains('.');
        Ok(Self(if is_directory {
            format!("{path}/")
        } else {
            path.to_owned()
        }))
    }

    fn read_all(value: &ValueReader<'_>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for element in value.list() {
            let Some(path) = element.parsed(Self::parse) else {
                continue;
            };
            match all.iter().find(|known| overlap(&known.0, &path.0)) {
                Some(known) => {
                    let new = path.0.trim_end_matches('/');
                    element.complain(Error::new(format!("`{new}` and `{}` overlap", known.0)));
                }
                None => all.push(path),
            }
        }
        all
    }

    /// Returns the text; it ends in `/` if it is a directory.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether one of two paths lies below the other, or both are the same; a slash at the end does not
/// matter.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim_end_matches('/'), other.trim_end_matches('/'));
    is_in(one, other) || is_in(other, one)
}

/// Whether a path is another one or lies below it.
fn is_in(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl HostGroup {
    fn read(value: &ValueReader<'_>) -> Option<Self> {
        if !value.is_table() {
            let pattern = value.placed(HostPattern::parse)?;
            let (labels, variables) = (BTreeMap::new(), BTreeMap::new());
            return Some(Self {
                pattern,
                labels,
                variables,
                sudo_password_file: None,
            });
        }
        let table = value.table("deploy.NAME.hosts")?;
        let pattern = table.require("host", "host = \"web[01:04].example.com\"");
        let pattern = pattern.and_then(|value| value.placed(HostPattern::parse));
        let mut labels = BTreeMap::new();
        if let Some(role) = table.get("role") {
            labels.insert("role".to_owned(), label_values(&role));
        }
        for (key, values) in labels_of(&table, "deploy.NAME.hosts.labels") {
            labels.entry(key).or_default().extend(values);
        }
        let variables = host_variables(&table, "deploy.NAME.hosts.variables");
        let sudo_password_file = table
            .get_renamed("sudo-password-file", "sudo_password_file")
            .and_then(|value| value.line());
        table.finish();
        Some(Self {
            pattern: pattern?,
            labels,
            variables,
            sudo_password_file,
        })
    }
}

/// One value or a list of them.
/// Reads `labels` of hosts.
pub(super) fn labels_of(
    table: &TableReader<'_>,
    kind: &'static str,
) -> BTreeMap<String, BTreeSet<String>> {
    let labels = table.get("labels").and_then(|value| value.table(kind));
    let entries = labels.iter().flat_map(TableReader::entries);
    entries
        .map(|(key, value)| (key.value, label_values(&value)))
        .collect()
}

/// Reads `variables` of hosts.
pub(super) fn host_variables(
    table: &TableReader<'_>,
    kind: &'static str,
) -> BTreeMap<String, String> {
    let variables = table.get("variables").and_then(|value| value.table(kind));
    let entries = variables.iter().flat_map(TableReader::entries);
    entries.filter_map(variable).collect()
}

fn label_values(value: &ValueReader<'_>) -> BTreeSet<String> {
    if value.is_string() {
        return value.line().into_iter().collect();
    }
    value.list().iter().filter_map(ValueReader::line).collect()
}

/// A variable of the environment: POSIX, Base Definitions §8.1 "Environment Variable Definition".
fn variable((name, value): (Located<String>, ValueReader<'_>)) -> Option<(String, String)> {
    let text = value.parsed(|text| {
        if text.contains('\0') {
            Err(Error::new("a variable cannot contain a NUL character"))
        } else {
            Ok(text.to_owned())
        }
    })?;
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.value.is_empty()
        || name.value.starts_with(|c: char| c.is_ascii_digit())
        || !name.value.chars().all(inside)
    {
        let error = Error::new(format!(
            "`{}` is not the name of a variable",
            name.value.escape_debug()
        ));
        value.complain(error.hint("letters, digits and `_`, no digit first"));
        return None;
    }
    Some((name.value, text))
}

/// Reads `[1, "50%", "100%"]`: every step reaches more hosts than the one before.
fn batches(value: &ValueReader<'_>) -> Vec<BatchSize> {
    let mut batches = Vec::new();
    for element in value.list() {
        let Some(batch) = BatchSize::read(&element) else {
            continue;
        };
        let grows = match (batches.last(), batch) {
            (Some(BatchSize::Hosts(last)), BatchSize::Hosts(next)) => next > *last,
            (Some(BatchSize::Percent(last)), BatchSize::Percent(next)) => next > *last,
            // How many hosts a share is will be known when the hosts are.
            _ => true,
        };
        if !grows {
            let error = Error::new("a batch adds no host to the one before");
            element.complain(
                error.hint("batches count all hosts so far, as in `[1, \"50%\", \"100%\"]`"),
            );
        }
        batches.push(batch);
    }
    batches
}

impl BatchSize {
    fn read(value: &ValueReader<'_>) -> Option<Self> {
        if value.as_integer().is_some() {
            return count(value, 1, u32::MAX).map(Self::Hosts);
        }
        if !value.is_string() {
            value.wrong_type("a number of hosts or a share such as `\"50%\"`");
            return None;
        }
        value.parsed(|text| {
            let digits = text
                .strip_suffix('%')
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            match digits
                .and_then(|digits| digits.parse().ok())
                .filter(|share| (1..=100).contains(share))
            {
                Some(share) => Ok(Self::Percent(share)),
                None => Err(Error::new(format!("`{text}` is not a share of the hosts"))
                    .hint("write `\"1%\"` to `\"100%\"`, or a number of hosts without quotes")),
            }
        })
    }
}

impl HealthChecks {
    /// Returns the checks of a deployment that has none of its own: what the services say.
    pub fn of_services(services: &[Service]) -> Option<Self> {
        let services = AskedService::all(services);
        (!services.is_empty()).then_some(Self {
            services,
            url: None,
            command: None,
            timeout: DEFAULT_TIMEOUT,
            settle: DEFAULT_SETTLE,
        })
    }

    /// Reads the checks of a deployment, which are those of the services unless it says otherwise.
    fn of_deployment(deployment: &TableReader<'_>, of_services: Option<&Self>) -> Option<Self> {
        match deployment.get("health") {
            Some(value) if value.is_false() => None,
            Some(value) => Self::read(&value, of_services),
            None => of_services.cloned(),
        }
    }

    /// Reads checks; without a `url`, the services of `base` are asked.
    fn read(value: &ValueReader<'_>, base: Option<&Self>) -> Option<Self> {
        let table = value.table("deploy.NAME.health")?;
        let address = table.get("url");
        let url = address
            .as_ref()
            .and_then(|value| value.parsed(super::web_address));
        let services = base
            .filter(|_| address.is_none())
            .map_or_else(Vec::new, |base| base.services.clone());
        let line = table.get("command");
        let command = line.as_ref().and_then(CommandLine::read);
        let timeout = table.duration("timeout", "timeout_s", DEFAULT_TIMEOUT, SECOND..=DAY);
        if address.is_none() && line.is_none() && services.is_empty() {
            let error = Error::new(format!("`{}` has nothing to check", value.label()));
            value.complain(
                error.hint("add `url = \"http://127.0.0.1:8000/\"` or `command = \"…\"`"),
            );
        }
        let settle = table.duration("settle", "settle_s", DEFAULT_SETTLE, Duration::ZERO..=DAY);
        table.finish();
        Some(Self {
            services,
            url,
            command,
            timeout: timeout?,
            settle: settle?,
        })
    }
}

impl Migrate {
    /// Reads the migration of a deployment, which is the application's unless it says otherwise.
    fn of_deployment(deployment: &TableReader<'_>, base: Option<&Self>) -> Option<Self> {
        match deployment.get("migrate") {
            Some(value) if value.is_false() => None,
            Some(value) => Self::read(&value, "deploy.NAME.migrate", base),
            None => base.cloned(),
        }
    }

    /// Reads a migration; keys that it lacks are those of `base`, the application's.
    pub(super) fn read(
        value: &ValueReader<'_>,
        kind: &'static str,
        base: Option<&Self>,
    ) -> Option<Self> {
        let table = value.table(kind)?;
        let exec = match (table.get("exec"), base) {
            (Some(value), _) => MigrationCommands::read(&value),
            (None, Some(base)) => Some(base.exec.clone()),
            (None, None) => {
                table.require("exec", "exec = \"PROGRAM ARGUMENT …\"");
                None
            }
        };
        let default_on = base.map_or(MigrateOn::One, |base| base.on);
        let on = table.get("on").map_or(Some(default_on), |value| {
            value.choice(&[("one", MigrateOn::One), ("all", MigrateOn::All)])
        });
        let user = table
            .get("user")
            .and_then(|value| value.parsed(UserName::parse));
        let service = table
            .get("service")
            .and_then(|value| value.placed(PartName::parse));
        let timeout = table
            .get("timeout")
            .and_then(|value| value.parsed(TimeSpan::parse));
        let memory_max = table
            .get("memory-max")
            .and_then(|value| value.parsed(memory));
        let inherited = |key| base.filter(|_| table.get(key).is_none());
        let write = match inherited("write") {
            Some(base) => base.write.clone(),
            None => without_places(table.each("write", host_path)),
        };
        let relax = match inherited("relax") {
            Some(base) => base.relax.clone(),
            None => without_places(table.each("relax", setting_name)),
        };
        table.finish();
        Some(Self {
            exec: exec?,
            on: on?,
            user: user.or_else(|| base?.user.clone()),
            service: service.or_else(|| base?.service.clone()),
            timeout: timeout.or_else(|| base?.timeout.clone()),
            memory_max: memory_max.or_else(|| base?.memory_max.clone()),
            write,
            relax,
        })
    }

    /// Returns the keys that only root can heed.
    fn keys_of_root(&self) -> Vec<&'static str> {
        let keys = [
            ("memory-max", self.memory_max.is_some()),
            ("write", !self.write.is_empty()),
            ("relax", !self.relax.is_empty()),
        ];
        keys.into_iter()
            .filter_map(|(key, given)| given.then_some(key))
            .collect()
    }
}

impl MigrationCommands {
    /// Commands to run in order; `None` without any.
    pub fn new(lines: Vec<CommandLine>) -> Option<Self> {
        (!lines.is_empty()).then_some(Self { lines })
    }

    /// Reads one command line, or a list of them.
    fn read(value: &ValueReader<'_>) -> Option<Self> {
        if value.is_string() {
            return Self::new(vec![CommandLine::read(value)?]);
        }
        let DocumentValue::Array(items) = &value.item().value else {
            value.wrong_type("a command or a list of commands");
            return None;
        };
        let count = items.len();
        let lines = CommandLine::read_all(value);
        if count == 0 {
            let error = Error::new(format!("`{}` has no command", value.label()));
            value.complain(error.hint("write one, or take the migration out"));
        }
        // After a mistake in a line there is no migration.
        Self::new(lines).filter(|commands| commands.lines.len() == count)
    }

    /// Returns the command lines, in order.
    pub fn lines(&self) -> &[CommandLine] {
        &self.lines
    }

    /// Returns a program and its arguments that run the commands: the command itself if it is the
    /// only one, else a shell.
    pub fn words(&self) -> Vec<String> {
        match &self.lines[..] {
            [only] => only.words.clone(),
            several => {
                let commands = several.iter().map(quoted_words);
                let commands: Vec<String> = commands.collect();
                let script = commands.join(" && ");
                vec!["sh".to_owned(), "-c".to_owned(), script]
            }
        }
    }

    /// Returns the commands as a person reads them.
    pub fn text(&self) -> String {
        let texts = self.lines.iter().map(|line| line.text.as_str());
        texts.collect::<Vec<_>>().join(" && ")
    }
}

/// A command line as a shell reads it.
fn quoted_words(line: &CommandLine) -> String {
    let words = line.words.iter();
    let words = words.map(|word| shell_quoted(word));
    let words: Vec<_> = words.collect();
    words.join(" ")
}

/// Reads an amount of memory as `MemoryMax=` takes it (systemd.resource-control(5)).
fn memory(text: &str) -> Result<String> {
    let number = text.strip_suffix(['%', 'K', 'M', 'G', 'T']).unwrap_or(text);
    if text == "infinity" || number.parse::<u64>().is_ok_and(|number| number > 0) {
        Ok(text.to_owned())
    } else {
        Err(Error::new(format!("`{}` is not an amount of memory", text.escape_debug()))
    .hint("write a number of bytes with `K`, `M`, `G` or `T`, such as `1G`, a share of the host's such as `50%`, or `infinity`"))
    }
}

impl DeployHooks {
    fn read(value: &ValueReader<'_>) -> Option<Self> {
        let table = value.table("deploy.NAME.hooks")?;
        let commands = |value: Option<ValueReader<'_>>| {
            value.map_or_else(Vec::new, |value| CommandLine::read_all(&value))
        };
        let hooks = Self {
            before: table.collection("before", CommandLine::read_all),
            after: table.collection("after", CommandLine::read_all),
            drain: table.collection("drain", CommandLine::read_all),
            undrain: table.collection("undrain", CommandLine::read_all),
            local_before: commands(table.get_renamed("local-before", "local_before")),
            local_after: commands(table.get_renamed("local-after", "local_after")),
        };
        table.finish();
        Some(hooks)
    }
}
