//! Monitoring of an application's services: the units for `health` and `on-failure`, the metrics,
//! and the programs that these run.
//!
//! ```text
//! PREFIX/.pkgapp/monitor      asks services, and writes metrics
//!                health       what to ask, a line for each service: see [`health_list`]
//!                on-failure   runs the command of `on-failure`
//! ```

use std::time::Duration;

use pkgapp_config::{CommandLine, HealthAddress, MetricsFile, PartName, ProcessSettings, Service};
use pkgapp_config::{OnUpgrade, ServiceHealth, ServiceType};
use pkgapp_core::error::Result;
use pkgapp_core::path::{InstallPath, ReleasePath};

use super::paths::ServiceScope;
use super::systemd::{GeneratedUnit, UnitText, UnitWriter, is_kept};
use super::unit::{UnitFile, command, plain, quoted};
use super::{GeneratedFiles, PackagedUnit, ServiceContext};
use crate::release::RECORD;

const MONITOR: &str = include_str!("../../../templates/monitor.py");
const ON_FAILURE: &str = include_str!("../../../templates/on-failure.sh");

/// The time until the first good answer of a service without readiness notification, in seconds.
const START_S: u32 = 60;
/// The exit status of `monitor watch` for a service that must restart.
const UNHEALTHY: u32 = 3;
/// Settings of `[Service]` that define the unit itself; other units do not take them over.
const OWN_SETTINGS: [&str; 4] = [
    "Exec",         // its commands
    "Restart",      // when it is started again
    "Watchdog",     // when it is taken for dead
    "NotifyAccess", // who speaks for it
];
const OTHER_SETTINGS: [&str; 5] = ["Type", "Sockets", "PIDFile", "BusName", "RemainAfterExit"];

/// Adds the programs and their inputs.
pub(super) fn write(context: &ServiceContext<'_>, files: &mut GeneratedFiles) -> Result<()> {
    let list = health_list(context)?;
    if !list.is_empty() || context.app.metrics.is_some() {
        let path = context.generated("monitor")?;
        files.add(
            path.as_str(),
            "`health` and `[metrics]`",
            MONITOR.to_owned(),
        )?;
    }
    if !list.is_empty() {
        files.add(context.generated("health")?.as_str(), "`health`", list)?;
    }
    if context
        .processes()
        .any(|process| process.on_failure.is_some())
    {
        files.add_program(context.generated("on-failure")?, "`on-failure`", ON_FAILURE);
    }
    Ok(())
}

/// Returns a line `UNIT USER HOST STATUS TIMEOUT PATH ADDRESS` for each service with `health`; `-`
/// stands for any successful status.
pub(super) fn health_list(context: &ServiceContext<'_>) -> Result<String> {
    let mut list = String::new();
    for service in &context.app.services {
        if let Some(health) = &service.health {
            list.push_str(&request(context, service, health)?.join(" "));
            list.push('\n');
        }
    }
    Ok(list)
}

/// Returns the words of a request.
fn request(
    context: &ServiceContext<'_>,
    service: &Service,
    health: &ServiceHealth,
) -> Result<Vec<String>> {
    let user = context.user(service.process.user.as_ref())?;
    let status = health
        .status
        .map_or_else(|| "-".to_owned(), |status| status.to_string());
    Ok(vec![
        format!("{}.service", context.unit(&service.name)),
        user.to_string(),
        health.host().to_owned(),
        status,
        health.timeout.as_secs_f64().to_string(),
        health.path.clone(),
        health.address.to_string(),
    ])
}

/// Returns the path of an application's metrics.
pub(super) fn metrics_file(context: &ServiceContext<'_>) -> Result<Option<InstallPath>> {
    let Some(metrics) = &context.app.metrics else {
        return Ok(None);
    };
    let file = ReleasePath::parse(&format!("{}.prom", context.name()))?;
    Ok(Some(metrics.directory.join(&file)))
}

impl UnitWriter<'_> {
    /// Returns the units for `on-failure` and `health`, each with its origin.
    pub(super) fn watchers(&self) -> Vec<(String, Result<UnitText>)> {
        let app = self.context.app;
        let mut made = Vec::new();
        for service in &app.services {
            made.extend(self.failed(&service.name, &service.process));
        }
        for timer in &app.timers {
            made.extend(self.failed(&timer.name, &timer.process));
        }
        for service in &app.services {
            if let Some(health) = service.health.as_ref().filter(|health| health.restart) {
                let label = format!("`health` of `[service.{}]`", service.name);
                made.push((label.clone(), self.health(service, health)));
                made.push((label, Ok(self.health_timer(service, health))));
            }
        }
        made
    }

    /// Adds the units for `[metrics]` before the target; they measure all units so far. A login has
    /// none, because it cannot write to the directory of node-exporter.
    pub(super) fn add_metrics(&self, units: &mut Vec<GeneratedUnit>) -> Result<()> {
        let (Some(metrics), ServiceScope::System) = (&self.context.app.metrics, self.scope) else {
            return Ok(());
        };
        let target = units.pop();
        let measured: Vec<String> = units
            .iter()
            .flat_map(|made| made.unit.names.iter().cloned())
            .collect();
        for (unit, text) in [
            self.metrics(metrics, &measured)?,
            self.metrics_timer(metrics),
        ] {
            units.push(GeneratedUnit {
                unit,
                label: "`[metrics]`".to_owned(),
                text,
            });
        }
        units.extend(target);
        Ok(())
    }

    /// Names the unit that starts when this one ends up failed.
    pub(super) fn on_failure(
        &self,
        unit: &mut UnitFile<'_>,
        part: &PartName,
        process: &ProcessSettings,
    ) {
        if process.on_failure.is_some() {
            let action = format!("{}-failed@%n.service", self.context.unit(part));
            unit.set("OnFailure", action);
        }
    }

    /// Sets up `on-failure` and the watchdog. A service that restarts without limit never ends up
    /// failed, so `on-failure` runs at each of its ends, as the service's user.
    pub(super) fn watch(&self, unit: &mut UnitFile<'_>, service: &Service) -> Result<()> {
        let line = service.process.on_failure.as_ref();
        if let Some(line) = line.filter(|_| is_kept(service)) {
            let words = self.failure_command(line)?;
            unit.set("ExecStopPost", format!("-{}", words.replace(UNIT, "%n")));
        }
        if let Some(span) = &service.watchdog {
            unit.set("WatchdogSec", &span.text);
        }
        Ok(())
    }

    fn failure_command(&self, line: &CommandLine) -> Result<String> {
        let script = self.context.generated("on-failure")?;
        // A program that is not in the release is found by the unit's PATH on the host.
        let words = self
            .programs
            .resolve(line)
            .unwrap_or_else(|_| line.words.clone());
        let first = ["/bin/sh", script.as_str(), UNIT].map(str::to_owned);
        let all: Vec<String> = first.into_iter().chain(words).collect();
        Ok(command(&all))
    }

    /// Returns the unit that runs `on-failure` of a service or timer; its instance is the name of
    /// the failed unit.
    fn failed(
        &self,
        part: &PartName,
        process: &ProcessSettings,
    ) -> Option<(String, Result<UnitText>)> {
        let line = process.on_failure.as_ref()?;
        let label = format!("`on-failure` of `{part}`");
        Some((label, self.failed_unit(part, process, line)))
    }

    fn failed_unit(
        &self,
        part: &PartName,
        process: &ProcessSettings,
        line: &CommandLine,
    ) -> Result<UnitText> {
        let mut settings = process.clone();
        settings.after.clear();
        settings.wants.clear();
        settings.systemd.retain(|name, _| !is_own_setting(name));

        let mut unit = UnitFile::new(self.scope);
        self.head(&mut unit, &format!("{part}: %i has failed"), &settings);
        unit.section("Service").set("Type", "oneshot");
        let words = self.failure_command(line)?;
        unit.set("ExecStart", words.replace(UNIT, "%i"));
        self.surroundings(&mut unit, &settings, false)?;
        self.confine(&mut unit, &settings)?;
        let file = format!("{}-failed@.service", self.context.unit(part));
        Ok((passive(file), unit.text()))
    }

    /// Returns the unit that checks a service, and makes systemd restart it after three bad answers
    /// in a row.
    fn health(&self, service: &Service, health: &ServiceHealth) -> Result<UnitText> {
        let context = self.context;
        let base = context.unit(&service.name);
        let mut unit = UnitFile::new(self.scope);
        unit.section("Unit")
            .set(
                "Description",
                plain(&format!("{} {} health", context.name(), service.name)),
            )
            .set("PartOf", self.target_name())
            .set("After", format!("{base}.service"))
            .set("StartLimitIntervalSec", 0);
        unit.section("Service").set("Type", "oneshot");
        quietly(&mut unit);
        let words = self.watch_command(service, health)?;
        unit.set("ExecStart", command(&words));
        unit.set_as_is("ExecStopPost", self.restart_line(&base));
        let most = health.timeout * 3 + health.interval * 2;
        unit.set("TimeoutStartSec", format!("{}s", most.as_secs() + 30));
        self.ask_as(&mut unit, service, health)?;
        confine_unit(&mut unit, &[]);
        Ok((passive(format!("{base}-health.service")), unit.text()))
    }

    fn watch_command(&self, service: &Service, health: &ServiceHealth) -> Result<Vec<String>> {
        let grace = match service.service_type {
            ServiceType::Notify => 0,
            _ => START_S,
        };
        let mut words = self.monitor("watch")?;
        words.extend([
            self.manager().to_owned(),
            format!("{}.service", self.context.unit(&service.name)),
            health.interval.as_secs_f64().to_string(),
            grace.to_string(),
        ]);
        words.extend(request(self.context, service, health)?);
        Ok(words)
    }

    /// Returns the command that restarts a service. It runs only at the request of the health
    /// unit's own program, and not during an upgrade. The first command resets the service's start
    /// limit, which could close its socket.
    fn restart_line(&self, base: &str) -> String {
        let name = self.context.name();
        let (sign, systemctl) = match self.scope {
            ServiceScope::System => ("+", "systemctl"),
            ServiceScope::Login(_) => ("", "systemctl --user"),
        };
        format!(
            "{sign}/bin/sh -c 'test \"$$EXIT_CODE:$$EXIT_STATUS\" != exited:{UNHEALTHY} || \
             test -e /run/pkgapp/{name}/units || {{ {systemctl} reset-failed {base}.service; \
             {systemctl} --no-block try-restart {base}.service; }}'"
        )
    }

    /// Sets the user of the health checks: the service's own user. A service of root's is checked
    /// by an unprivileged dynamic user, except for a socket in the file system, which root may have
    /// closed to others.
    fn ask_as(
        &self,
        unit: &mut UnitFile<'_>,
        service: &Service,
        health: &ServiceHealth,
    ) -> Result<()> {
        let user = self.context.user(service.process.user.as_ref())?;
        let is_file = matches!(health.address, HealthAddress::Unix(_));
        if user.as_str() == "root" && !is_file {
            unit.set("DynamicUser", "yes");
        } else {
            let group = service.process.group.as_ref().unwrap_or(user);
            unit.set("User", user).set("Group", group);
        }
        Ok(())
    }

    /// Returns the timer for the checks of a service, which is active while the service runs.
    fn health_timer(&self, service: &Service, health: &ServiceHealth) -> UnitText {
        let base = self.context.unit(&service.name);
        let mut unit = UnitFile::new(self.scope);
        let what = format!("{} {} health timer", self.context.name(), service.name);
        unit.section("Unit")
            .set("Description", plain(&what))
            .set("PartOf", format!("{base}.service"));
        let interval = format!("{}s", health.interval.as_secs_f64());
        unit.section("Timer")
            .set("OnActiveSec", &interval)
            .set("OnUnitInactiveSec", &interval)
            .set("AccuracySec", "1s");
        unit.section("Install")
            .set("WantedBy", format!("{base}.service"));
        (timer(format!("{base}-health.timer")), unit.text())
    }

    /// Returns the unit that writes metrics. It may write to one directory, which can belong to
    /// node-exporter, and may become the users of services to check them.
    fn metrics(&self, metrics: &MetricsFile, units: &[String]) -> Result<UnitText> {
        let name = self.context.name();
        let mut unit = UnitFile::new(self.scope);
        unit.section("Unit")
            .set("Description", format!("{name} metrics"))
            .set("StartLimitIntervalSec", 0);
        unit.section("Service").set("Type", "oneshot");
        quietly(&mut unit);
        let words = self.metrics_command(units)?;
        unit.set("ExecStart", command(&words));
        unit.set("TimeoutStartSec", format!("{}s", self.patience().as_secs()));
        let directory = format!("-{}", quoted(metrics.directory.as_str()));
        let own = [
            ("ReadWritePaths", directory.as_str()),
            (
                "CapabilityBoundingSet",
                "CAP_DAC_OVERRIDE CAP_SETGID CAP_SETUID",
            ),
            ("UMask", "0022"),
        ];
        confine_unit(&mut unit, &own);
        Ok((passive(format!("{name}-metrics.service")), unit.text()))
    }

    fn metrics_command(&self, units: &[String]) -> Result<Vec<String>> {
        let context = self.context;
        let file = metrics_file(context)?.map_or_else(String::new, |file| file.to_string());
        let list = if health_list(context)?.is_empty() {
            "-".to_owned()
        } else {
            context.generated("health")?.to_string()
        };
        let record = context
            .prefix
            .join(&ReleasePath::parse(RECORD)?)
            .to_string();
        let mut words = self.monitor("metrics")?;
        words.extend([context.name().to_owned(), file, list, record]);
        words.extend(units.iter().cloned());
        Ok(words)
    }

    /// Returns the time limit for a run: the sum of all services' timeouts, and a margin.
    fn patience(&self) -> Duration {
        let services = self.context.app.services.iter();
        let asked = services.filter_map(|service| service.health.as_ref());
        let all: Duration = asked
            .map(|health| health.timeout + Duration::from_secs(3))
            .sum();
        all + Duration::from_secs(30)
    }

    /// Returns the timer for metrics, which stays active while the application is stopped, to
    /// report that.
    fn metrics_timer(&self, metrics: &MetricsFile) -> UnitText {
        let name = self.context.name();
        let mut unit = UnitFile::new(self.scope);
        unit.section("Unit")
            .set("Description", format!("{name} metrics timer"));
        let interval = format!("{}s", metrics.interval.as_secs_f64());
        unit.section("Timer")
            .set("OnActiveSec", "1s")
            .set("OnUnitInactiveSec", interval)
            .set("AccuracySec", "1s");
        unit.section("Install").set("WantedBy", "timers.target");
        (timer(format!("{name}-metrics.timer")), unit.text())
    }

    /// Returns the command of the monitoring program, run by the release's Python independently of
    /// the environment.
    fn monitor(&self, subcommand: &str) -> Result<Vec<String>> {
        let python = format!("{}/bin/python", self.context.prefix);
        let script = self.context.generated("monitor")?.to_string();
        Ok([&python, "-I", "-S", &script, subcommand]
            .map(str::to_owned)
            .to_vec())
    }

    fn manager(&self) -> &'static str {
        match self.scope {
            ServiceScope::System => "system",
            ServiceScope::Login(_) => "user",
        }
    }
}

/// A placeholder for the name of the failed unit in a command.
const UNIT: &str = "pkgapp:unit";

fn is_own_setting(name: &str) -> bool {
    OWN_SETTINGS.iter().any(|start| name.starts_with(start)) || OTHER_SETTINGS.contains(&name)
}

/// Keeps the start and end of each run out of the journal: there are thousands a day.
fn quietly(unit: &mut UnitFile<'_>) {
    unit.set("LogLevelMax", "notice");
    unit.set("SyslogLevel", "notice");
}

/// Adds the whole sandbox, with the settings `own` in addition or as replacements.
fn confine_unit(unit: &mut UnitFile<'_>, own: &[(&str, &str)]) {
    for (name, value) in super::systemd::sandbox() {
        if !own.iter().any(|(its, _)| *its == name) {
            unit.set(name, value);
        }
    }
    for (name, value) in own {
        unit.set(name, value);
    }
}

/// Returns a unit that other units start.
fn passive(file: String) -> PackagedUnit {
    PackagedUnit {
        file,
        names: Vec::new(),
        on_upgrade: OnUpgrade::Keep,
    }
}

fn timer(file: String) -> PackagedUnit {
    PackagedUnit {
        names: vec![file.clone()],
        file,
        on_upgrade: OnUpgrade::Restart,
    }
}
