//! Units of systemd: services with their sockets, timers, and the target that groups them.

use std::collections::BTreeMap;

use pkgapp_config::{
    CommandLine, OnUpgrade, PartName, ProcessSettings, ReloadAction, RestartPolicy, Service,
    ServiceType, SocketAddress, Timer,
};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;

use super::paths::ServiceScope;
use super::program::ReleasePrograms;
use super::unit::{UnitFile, command, plain, variable};
use super::{CONFIGURED, PackagedUnit, ServiceContext};

/// The sandbox: comments, and one `Setting=value` per line.
const SANDBOX: &str = include_str!("../../../templates/sandbox.conf");
/// The first version of systemd with `RestartSteps=` and `RestartMaxDelaySec=` (its NEWS file).
const GROWING_PAUSES: u16 = 254;
/// The placeholder for the number of an instance in a command line.
const INSTANCE: &str = "{instance}";

/// Units that a user's systemd does not have.
const NETWORK: [&str; 2] = ["network.target", "network-online.target"];

/// Directories that systemd creates, with root's parent directories and the variables that contain
/// their paths (systemd.exec(5)).
pub(super) const DIRECTORIES: [(&str, &str, &str); 3] = [
    ("StateDirectory", "STATE_DIRECTORY", "/var/lib"),
    ("CacheDirectory", "CACHE_DIRECTORY", "/var/cache"),
    ("LogsDirectory", "LOGS_DIRECTORY", "/var/log"),
];

/// A unit and its text.
pub(super) type UnitText = (PackagedUnit, String);

/// A unit with its text.
#[derive(Debug)]
pub(super) struct GeneratedUnit {
    pub(super) unit: PackagedUnit,
    /// The origin of the unit in messages.
    pub(super) label: String,
    pub(super) text: String,
}

/// Returns all units in the order in which they start.
pub(super) fn units(
    context: &ServiceContext<'_>,
    programs: &ReleasePrograms<'_>,
    scope: ServiceScope<'_>,
) -> Result<Vec<GeneratedUnit>> {
    let app = context.app;
    if app.services.is_empty() && app.timers.is_empty() {
        return Ok(Vec::new());
    }
    let writer = UnitWriter {
        context,
        programs,
        scope,
    };
    let mut units = Vec::new();
    let mut mistakes = Vec::new();
    let mut add = |label: String, made: Result<UnitText>| match made {
        Ok((unit, text)) => units.push(GeneratedUnit { unit, label, text }),
        Err(error) => mistakes.push(error),
    };
    for service in &app.services {
        if let Some(socket) = &service.socket {
            add(
                label("service", &service.name),
                writer.socket(service, socket),
            );
        }
    }
    for service in &app.services {
        add(label("service", &service.name), writer.service(service));
    }
    for timer in &app.timers {
        add(label("timer", &timer.name), writer.job(timer));
        add(label("timer", &timer.name), writer.timer(timer));
    }
    for (label, made) in writer.watchers() {
        add(label, made);
    }
    add("the units' target".to_owned(), Ok(writer.target()));
    if let Some(error) = Error::all(mistakes) {
        return Err(error);
    }
    writer.add_metrics(&mut units)?;
    Ok(units)
}

fn label(kind: &str, name: &PartName) -> String {
    format!("`[{kind}.{name}]`")
}

pub(super) struct UnitWriter<'a> {
    pub(super) context: &'a ServiceContext<'a>,
    pub(super) programs: &'a ReleasePrograms<'a>,
    pub(super) scope: ServiceScope<'a>,
}

impl UnitWriter<'_> {
    fn service(&self, service: &Service) -> Result<UnitText> {
        let base = self.context.unit(&service.name);
        let has_instances = service.instances.is_some();
        let mut unit = UnitFile::new(self.scope);
        self.service_head(&mut unit, service, &base);

        unit.section("Service")
            .set("Type", service_type(service.service_type));
        self.process(&mut unit, &service.process, has_instances)?;
        self.reload(&mut unit, service)?;
        if service.socket.is_some() && has_instances {
            unit.set("Sockets", format!("{base}.socket"));
        }
        self.watch(&mut unit, service)?;
        self.restarts(&mut unit, service);
        // systemd sends the signal only to the main process, which knows the unfinished work of its
        // workers.
        unit.set("KillMode", "mixed");
        self.confine(&mut unit, &service.process)?;
        self.install(&mut unit);

        let (file, names) = service_units(&base, service.instances);
        let packaged = PackagedUnit {
            file,
            names,
            on_upgrade: service.on_upgrade,
        };
        Ok((packaged, unit.text()))
    }

    /// Writes the section `[Unit]` of a service.
    fn service_head(&self, unit: &mut UnitFile<'_>, service: &Service, base: &str) {
        let what = if service.instances.is_some() {
            format!("{} %i", service.name)
        } else {
            service.name.to_string()
        };
        self.head(unit, &what, &service.process);
        self.on_failure(unit, &service.name, &service.process);
        if service.on_upgrade == OnUpgrade::Keep {
            // systemd ignores this setting; pushes of release directories, which run no scriptlets,
            // read it.
            unit.set("X-Pkgapp-OnUpgrade", "keep");
        }
        if is_kept(service) {
            // The service keeps restarting: once given up, it would stay down with its socket even
            // when its database comes back.
            unit.set("StartLimitIntervalSec", 0);
        }
        if service.socket.is_some() {
            unit.set("Requires", format!("{base}.socket"))
                .set("After", format!("{base}.socket"));
        }
    }

    /// Sets the command that reloads a service, if it has one.
    fn reload(&self, unit: &mut UnitFile<'_>, service: &Service) -> Result<()> {
        let command = match &service.reload {
            Some(ReloadAction::Signal(signal)) => format!("/bin/kill -s {signal} $MAINPID"),
            Some(ReloadAction::Command(line)) => self.command(line, service.instances.is_some())?,
            None => return Ok(()),
        };
        unit.set("ExecReload", command);
        Ok(())
    }

    /// Sets the restarts. Pauses grow if systemd on every target supports that; older versions
    /// would warn about unknown settings.
    fn restarts(&self, unit: &mut UnitFile<'_>, service: &Service) {
        unit.set("Restart", restart(service.restart));
        let targets = &self.context.app.package.targets;
        let can_grow = !targets.is_empty()
            && targets
                .iter()
                .all(|target| target.value.systemd >= GROWING_PAUSES);
        if !pauses(service) {
            // systemd gives up after a few attempts (StartLimitBurst).
            unit.set("RestartSec", "1s");
        } else if !can_grow {
            unit.set("RestartSec", "5s");
        } else {
            unit.set("RestartSec", "1s");
            // Otherwise, systemd would shorten the user's RestartSec= to the maximum of these
            // pauses.
            if !sets(
                service,
                &["RestartSec", "RestartSteps", "RestartMaxDelaySec"],
            ) {
                unit.set("RestartSteps", 5).set("RestartMaxDelaySec", "20s");
            }
        }
    }

    fn socket(&self, service: &Service, socket: &SocketAddress) -> Result<UnitText> {
        let base = self.context.unit(&service.name);
        let mut unit = UnitFile::new(self.scope);
        unit.section("Unit").set(
            "Description",
            plain(&format!("{} {} socket", self.context.name(), service.name)),
        );
        unit.set("PartOf", self.target_name());
        let is_kept = pauses(service);
        if is_kept {
            unit.set("StartLimitIntervalSec", 0);
        }
        unit.section("Socket");
        self.listen(&mut unit, service, socket)?;
        if is_kept {
            // Each attempt to start the service counts, and too many would close the socket
            // permanently.
            unit.set("TriggerLimitIntervalSec", 0);
        }
        if service.instances.is_some() {
            unit.set("Service", format!("{base}@1.service"));
        }
        self.install(&mut unit);
        let file = format!("{base}.socket");
        Ok((
            PackagedUnit {
                names: vec![file.clone()],
                file,
                on_upgrade: OnUpgrade::Keep,
            },
            unit.text(),
        ))
    }

    /// Sets the address of a socket, and for one in the file system, its owner and mode.
    fn listen(
        &self,
        unit: &mut UnitFile<'_>,
        service: &Service,
        socket: &SocketAddress,
    ) -> Result<()> {
        match socket {
            SocketAddress::Tcp(address) => {
                _ = unit.set("ListenStream", address).set("NoDelay", "yes");
            }
            SocketAddress::Unix(path) => {
                let user = self.context.user(service.process.user.as_ref())?;
                let access = &service.socket_access;
                let group = access.group.as_ref().or(service.process.group.as_ref());
                unit.set("ListenStream", plain(path.as_str()))
                    .set("SocketUser", user)
                    .set("SocketGroup", group.unwrap_or(user))
                    .set("SocketMode", format!("{:04o}", access.mode));
            }
        }
        Ok(())
    }

    /// Returns the service of a timer.
    fn job(&self, timer: &Timer) -> Result<UnitText> {
        let mut unit = UnitFile::new(self.scope);
        self.head(&mut unit, timer.name.as_str(), &timer.process);
        self.on_failure(&mut unit, &timer.name, &timer.process);
        unit.section("Service").set("Type", "oneshot");
        self.process(&mut unit, &timer.process, false)?;
        self.confine(&mut unit, &timer.process)?;
        let file = format!("{}.service", self.context.unit(&timer.name));
        Ok((
            PackagedUnit {
                file,
                names: Vec::new(),
                on_upgrade: OnUpgrade::Keep,
            },
            unit.text(),
        ))
    }

    fn timer(&self, timer: &Timer) -> Result<UnitText> {
        let mut unit = UnitFile::new(self.scope);
        unit.section("Unit").set(
            "Description",
            plain(&format!("{} {} timer", self.context.name(), timer.name)),
        );
        unit.set("PartOf", self.target_name());
        unit.section("Timer").set("OnCalendar", &timer.calendar);
        unit.set("Persistent", if timer.persistent { "yes" } else { "no" });
        if let Some(delay) = &timer.randomized_delay {
            unit.set("RandomizedDelaySec", &delay.text);
        }
        self.install(&mut unit);
        let file = format!("{}.timer", self.context.unit(&timer.name));
        Ok((
            PackagedUnit {
                names: vec![file.clone()],
                file,
                on_upgrade: OnUpgrade::Restart,
            },
            unit.text(),
        ))
    }

    fn target(&self) -> UnitText {
        let mut unit = UnitFile::new(self.scope);
        unit.section("Unit").set(
            "Description",
            plain(&format!("{}: all that runs", self.context.name())),
        );
        let starts_at = match self.scope {
            ServiceScope::System => "multi-user.target",
            ServiceScope::Login(_) => "default.target",
        };
        unit.section("Install").set("WantedBy", starts_at);
        let file = self.target_name();
        (
            PackagedUnit {
                names: vec![file.clone()],
                file,
                on_upgrade: OnUpgrade::Keep,
            },
            unit.text(),
        )
    }

    pub(super) fn target_name(&self) -> String {
        format!("{}.target", self.context.name())
    }

    fn install(&self, unit: &mut UnitFile<'_>) {
        unit.section("Install").set("WantedBy", self.target_name());
    }

    pub(super) fn head(&self, unit: &mut UnitFile<'_>, what: &str, process: &ProcessSettings) {
        unit.section("Unit")
            .set("Description", format!("{} {what}", self.context.name()));
        if let Some(homepage) = &self.context.app.homepage {
            unit.set("Documentation", plain(homepage.as_str()));
        }
        unit.set("PartOf", self.target_name());
        let network = NETWORK[0].to_owned();
        let after = std::iter::once(&network).chain(&process.after);
        unit.set_all("After", after.filter(|unit| self.can_order(unit)));
        unit.set_all(
            "Wants",
            process.wants.iter().filter(|unit| self.can_order(unit)),
        );
    }

    /// Returns whether the unit exists for the service manager that runs this one.
    fn can_order(&self, unit: &str) -> bool {
        matches!(self.scope, ServiceScope::System) || !NETWORK.contains(&unit)
    }

    /// Sets everything that services and timers share.
    fn process(
        &self,
        unit: &mut UnitFile<'_>,
        process: &ProcessSettings,
        has_instances: bool,
    ) -> Result<()> {
        unit.set("ExecStart", self.command(&process.exec, has_instances)?);
        self.surroundings(unit, process, has_instances)
    }

    /// Sets the user, working directory, variables, and limits.
    pub(super) fn surroundings(
        &self,
        unit: &mut UnitFile<'_>,
        process: &ProcessSettings,
        has_instances: bool,
    ) -> Result<()> {
        self.user(unit, process)?;
        let directory = process
            .working_directory
            .as_ref()
            .unwrap_or(self.context.prefix);
        unit.set("WorkingDirectory", plain(directory.as_str()));
        self.environment(unit, process, has_instances);
        self.credentials(unit);
        if let Some(limit) = process.limit_nofile {
            unit.set("LimitNOFILE", limit);
        }
        if let Some(timeout) = &process.timeout_stop {
            unit.set("TimeoutStopSec", &timeout.text);
        }
        Ok(())
    }

    /// Sets the user and the groups.
    fn user(&self, unit: &mut UnitFile<'_>, process: &ProcessSettings) -> Result<()> {
        let user = self.context.user(process.user.as_ref())?;
        unit.set("User", user);
        match &process.group {
            Some(group) if group != user => {
                unit.set("Group", group);
                // Keeps files readable that the user may read.
                if user.as_str() != "root" {
                    unit.set("SupplementaryGroups", user);
                }
            }
            // The group is explicit because an existing user of the host may be in another one.
            _ => _ = unit.set("Group", user),
        }
        Ok(())
    }

    /// Sets the variables and the environment files.
    fn environment(&self, unit: &mut UnitFile<'_>, process: &ProcessSettings, has_instances: bool) {
        let path = self.context.path();
        let mut env = BTreeMap::from([
            ("PYTHONUNBUFFERED", "1"),
            ("PATH", &path),
            (CONFIGURED, self.context.prefix.as_str()),
        ]);
        let declared = process.env.iter();
        env.extend(declared.map(|(name, value)| (name.as_str(), value.as_str())));
        let variables = env.into_iter().map(|(name, value)| variable(name, value));
        unit.set_all("Environment", variables);
        if has_instances {
            unit.set("Environment", "INSTANCE=%i");
        }
        let files = process.environment_files.iter();
        unit.set_all(
            "EnvironmentFile",
            files.map(|file| self.environment_file(file)),
        );
    }

    /// Sets the secrets that are files. systemd before 250 knows the first setting alone; later
    /// versions take the second one, whose source may be missing. `%d` is of the later ones, too.
    fn credentials(&self, unit: &mut UnitFile<'_>) {
        let app = self.context.name();
        for credential in self.context.app.credentials() {
            let (name, variable) = (&credential.name, credential.file_variable());
            let kept = format!("{}/{name}", super::credentials_directory(app));
            let path = match self.scope {
                // It is the login's own file.
                ServiceScope::Login(_) => kept,
                ServiceScope::System => {
                    unit.set("LoadCredential", format!("{name}:{kept}"))
                        .set("LoadCredentialEncrypted", format!("{name}:{app}.{name}"));
                    format!("%t/credentials/%n/{name}")
                }
            };
            unit.set_all(
                "Environment",
                variable.map(|variable| format!("{variable}={path}")),
            );
        }
    }

    /// Returns the value for an environment file. A file outside of the application's own directory
    /// belongs to the administrator and may be missing.
    fn environment_file(&self, file: &InstallPath) -> String {
        let own = file
            .as_str()
            .starts_with(&format!("/etc/{}/", self.context.name()));
        format!("{}{}", if own { "" } else { "-" }, plain(file.as_str()))
    }

    fn command(&self, line: &CommandLine, has_instances: bool) -> Result<String> {
        let words = self.programs.resolve(line)?;
        let text = command(&words);
        Ok(if has_instances {
            text.replace(&format!("\"{INSTANCE}\""), "%i")
                .replace(INSTANCE, "%i")
        } else {
            text
        })
    }

    /// Sets the writable directories and the sandbox. For a login, a push creates the directories,
    /// because the login's systemd would create them elsewhere.
    pub(super) fn confine(&self, unit: &mut UnitFile<'_>, process: &ProcessSettings) -> Result<()> {
        for (name, value) in confinement(self.context, process)? {
            let directory = DIRECTORIES.iter().find(|(setting, ..)| *setting == name);
            match (self.scope, directory) {
                (ServiceScope::Login(_), Some((_, its, base))) => {
                    let paths: Vec<String> = directory_names(&value)
                        .map(|directory| format!("{base}/{directory}"))
                        .collect();
                    unit.set("Environment", variable(its, &paths.join(":")));
                }
                _ => _ = unit.set(name, value),
            }
        }
        Ok(())
    }
}

/// Returns the settings for writable directories and the sandbox, and the user's own settings,
/// which take precedence.
pub(super) fn confinement<'a>(
    context: &ServiceContext<'_>,
    process: &'a ProcessSettings,
) -> Result<Vec<(&'a str, String)>> {
    let directory = context.directory(context.user(process.user.as_ref())?);
    let mut settings: Vec<(&str, String)> = own_directories(directory).to_vec();
    let writable = process.write.iter();
    settings.extend(writable.map(|path| ("ReadWritePaths", plain_path(path))));
    settings.extend(sandbox().map(|(name, value)| (name, value.to_owned())));
    for relaxed in &process.relax {
        let before = settings.len();
        settings.retain(|(name, _)| *name != relaxed.value);
        if settings.len() == before {
            return Err(unknown_setting(&relaxed.value).at(relaxed.at.clone()));
        }
    }
    settings.retain(|(name, _)| !process.systemd.contains_key(*name));
    let own = process.systemd.iter();
    settings.extend(own.map(|(name, value)| (name.as_str(), value.clone())));
    Ok(settings)
}

/// Returns the settings for the directories of a user.
fn own_directories(directory: String) -> [(&'static str, String); 8] {
    let mode = || "0750".to_owned();
    [
        ("StateDirectory", directory.clone()),
        ("StateDirectoryMode", mode()),
        ("CacheDirectory", directory.clone()),
        ("CacheDirectoryMode", mode()),
        ("LogsDirectory", directory.clone()),
        ("LogsDirectoryMode", mode()),
        ("RuntimeDirectory", directory),
        // Other services of the same user may still use the directory after this one ends.
        ("RuntimeDirectoryPreserve", "yes".to_owned()),
    ]
}

/// Returns the directories in a value of `StateDirectory=` and similar settings, without the links
/// after `:`.
pub(super) fn directory_names(value: &str) -> impl Iterator<Item = &str> {
    value
        .split_whitespace()
        .map(|word| word.split(':').next().unwrap_or(word))
}

/// Escapes a path for a setting without quotes.
fn plain_path(path: &InstallPath) -> String {
    super::unit::quoted(path.as_str())
}

pub(super) fn sandbox() -> impl Iterator<Item = (&'static str, &'static str)> {
    SANDBOX
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
}

/// Checks that the sandbox has a setting.
pub(super) fn check_relaxed(name: &str) -> Result<()> {
    if sandbox().any(|(known, _)| known == name) {
        Ok(())
    } else {
        Err(unknown_setting(name))
    }
}

fn unknown_setting(name: &str) -> Error {
    let error = Error::new(format!("`{name}` is not a setting of the sandbox"));
    let near = sandbox()
        .map(|(known, _)| (strsim::damerau_levenshtein(known, name), known))
        .min();
    match near {
        Some((distance, near)) if distance <= 3 => error.hint(format!("did you mean `{near}`?")),
        _ => error.hint("`pkgapp render` shows the settings of each unit"),
    }
}

/// Returns whether there is a pause before each restart, so that restarting without limit does no
/// harm.
fn pauses(service: &Service) -> bool {
    matches!(
        service.restart,
        RestartPolicy::Always | RestartPolicy::OnFailure
    )
}

/// Returns whether systemd restarts a failing service without limit.
pub(super) fn is_kept(service: &Service) -> bool {
    pauses(service) && !sets(service, &["StartLimitInterval", "StartLimitBurst"])
}

/// Returns whether the user's own lines have one of these settings.
fn sets(service: &Service, names: &[&str]) -> bool {
    names
        .iter()
        .any(|&name| service.process.systemd.contains_key(name))
}

/// Returns the file name of a service's unit, and the units to start: the instances if it is a
/// template.
fn service_units(base: &str, instances: Option<u32>) -> (String, Vec<String>) {
    match instances {
        None => (format!("{base}.service"), vec![format!("{base}.service")]),
        Some(count) => (
            format!("{base}@.service"),
            (1..=count).map(|i| format!("{base}@{i}.service")).collect(),
        ),
    }
}

fn service_type(value: ServiceType) -> &'static str {
    match value {
        ServiceType::Simple => "simple",
        ServiceType::Exec => "exec",
        ServiceType::Notify => "notify",
        ServiceType::Forking => "forking",
        ServiceType::Oneshot => "oneshot",
    }
}

fn restart(value: RestartPolicy) -> &'static str {
    match value {
        RestartPolicy::No => "no",
        RestartPolicy::Always => "always",
        RestartPolicy::OnSuccess => "on-success",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::OnAbnormal => "on-abnormal",
    }
}
