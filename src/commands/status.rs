//! `pkgapp status` and `pkgapp history`.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use crate::cli::{GlobalOptions, HistoryArgs, StatusArgs};
use pkgapp_config::Config;
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::backend::{self, Backend};
use pkgapp_deploy::facts::{HostFacts, TransactionState};
use pkgapp_deploy::fleet::{Fleet, Machine, folded, looked};
use pkgapp_deploy::history::{AppCondition, CLOSED, HistoryEntry};
use pkgapp_deploy::hosts::{HostCommand, HostFailure, interrupt};
use pkgapp_deploy::stored::is_same_content;

use super::load_app;
use super::rollback::deploy;

/// The facts of a host and the condition of the application on it.
struct KnownHost {
    facts: HostFacts,
    condition: AppCondition,
    /// The secrets that are files.
    secrets: Vec<CredentialState>,
}

/// A secret that is a file, on a host.
#[derive(Serialize)]
struct CredentialState {
    name: String,
    is_set: bool,
}

impl KnownHost {
    /// Runs the commands that report the facts and the condition.
    fn read(
        machine: &Machine<'_>,
        probe: &HostCommand,
        condition: &HostCommand,
        secrets: &[&str],
    ) -> Result<Self> {
        let run = |command| {
            let output = machine.host.run(command, &mut |_, _| {});
            output.map_err(HostFailure::into_error)
        };
        let facts = HostFacts::parse(&run(probe)?.text())?;
        // Others than root do not see them.
        let is_seen = facts.root || facts.own.is_some();
        let secrets = secrets.iter().filter(|_| is_seen);
        Ok(Self {
            secrets: secrets
                .map(|name| CredentialState {
                    name: (*name).to_owned(),
                    is_set: !facts.lacks.contains(*name),
                })
                .collect(),
            facts,
            condition: AppCondition::parse(&run(condition)?.text()),
        })
    }

    fn is_healthy(&self) -> bool {
        let Self {
            facts, condition, ..
        } = self;
        facts.installed.is_some() && !condition.is_unwell() && facts.half.is_none()
    }

    /// Returns whether the host is as a push that ended well leaves it.
    fn is_settled(&self) -> bool {
        self.is_healthy() && !self.condition.is_modified() && self.facts.transaction.is_none()
    }
}

pub(super) fn status(args: &StatusArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let deploy = deploy(&app, args.name.as_deref())?;
    let fleet = Fleet::open(&args.hosts.options(), deploy, &app.root, "status", report)?;
    let query = StatusQuery {
        backend: backend::choose(&app.name, deploy, args.into.as_deref(), args.sudo)?,
        app: &app,
        wanted: None,
    };
    let hosts = query.run(&fleet, report)?;
    if hosts.is_empty() {
        return Ok(());
    }
    let what = format!(
        "`{}` is not healthy, or not as it was deployed, on {hosts}",
        app.name
    );
    Err(Error::new(what).kind(ErrorKind::Found))
}

/// The question for the state of an application on hosts.
pub(super) struct StatusQuery<'a> {
    pub(super) backend: Box<dyn Backend>,
    pub(super) app: &'a Config,
    /// The packages that hosts should have, if that is known.
    pub(super) wanted: Option<WantedPackages>,
}

/// The versions of the packages that a host should have.
#[derive(Debug, Clone, Serialize)]
pub(super) struct WantedPackages {
    pub(super) software: String,
    /// `None` for a backing service, whose package has all.
    pub(super) configuration: Option<String>,
}

impl WantedPackages {
    /// Returns a line for each package that a host does not have.
    fn missing(&self, facts: &HostFacts) -> Vec<String> {
        let mut lines = Vec::new();
        let installed = facts.installed.as_deref();
        let is_installed = installed.is_some_and(|installed| match self.configuration {
            Some(_) => installed == self.software,
            None => is_same_content(installed, &self.software),
        });
        if !is_installed {
            lines.push(format!("the model has {}", self.software));
        }

        let mut configurations = facts.configurations.values();
        if let Some(wanted) = &self.configuration
            && !configurations.any(|version| is_same_content(version, wanted))
        {
            lines.push(format!("the model has the configuration {wanted}"));
        }
        lines
    }
}

impl StatusQuery<'_> {
    /// Prints the state of hosts; returns the names of those that are not as they should be.
    ///
    /// # Errors
    /// A host cannot be asked.
    pub(super) fn run(&self, fleet: &Fleet<'_>, report: &Report) -> Result<String> {
        let prefix = self.app.package.prefix.value.to_string();
        let credentials = self.app.credentials();
        let secrets: Vec<&str> = credentials.map(|each| each.name.as_str()).collect();
        let probe = self.backend.probe(&prefix, &[]);
        let probe = probe
            .parameter("needs", secrets.join(" "))
            .parameter("credentials", secrets.join(" "));
        let condition = self.backend.status(&prefix);
        let look = |machine: &Machine<'_>| KnownHost::read(machine, &probe, &condition, &secrets);
        let (mut errors, mut unsettled) = (Vec::new(), Vec::new());
        fleet.each_shown(look, |batch| {
            for (at, known) in batch {
                match known.unwrap_or_else(|| Err(interrupt::error())) {
                    Ok(known) => {
                        let missing = self.missing(&known);
                        show(&fleet.machines[at].member.name, &known, &missing, report);
                        let is_settled = known.is_settled() && missing.is_empty();
                        unsettled.extend((!is_settled).then_some(at));
                    }
                    Err(error) => errors.push(error),
                }
            }
        });
        looked(errors)?;
        unsettled.sort_unstable();
        let mut names: Vec<&str> = Vec::new();
        for at in unsettled {
            let machine = &fleet.machines[at];
            names.push(&machine.member.name);
        }
        Ok(folded(&names))
    }

    fn missing(&self, known: &KnownHost) -> Vec<String> {
        let wanted = self.wanted.as_ref();
        wanted.map_or_else(Vec::new, |wanted| wanted.missing(&known.facts))
    }
}

fn show(host: &str, known: &KnownHost, missing: &[String], report: &Report) {
    let KnownHost {
        facts, condition, ..
    } = known;
    if let Some(directory) = &facts.unreadable {
        report.warning(&format!(
            "{host}: `{}` may not read `{directory}`, so deployed and kept releases are not shown; use `--sudo`",
            facts.user
        ));
    }
    if let Some(why) = &facts.distrusted {
        report.warning(&format!(
            "{host}: the state of earlier pushes cannot be trusted and is not shown: {why}"
        ));
    }

    if report.style() == OutputStyle::Json {
        report.json(&json!({
            "host": host,
            "installed": facts.installed,
            "release": facts.kept_installed().map(|kept| &kept.release),
            "commit": facts.commit,
            "healthy": known.is_healthy(),
            "condition": condition,
            "secret_files": known.secrets,
            "missing": missing,
            "facts": facts,
        }));
        return;
    }
    report.result(&headline(host, known));
    for detail in missing.iter().cloned().chain(details(known)) {
        report.result(&format!("  {detail}"));
    }
}

/// Returns the installed release, with its time and commit.
fn headline(host: &str, known: &KnownHost) -> String {
    let KnownHost {
        facts, condition, ..
    } = known;
    let mut line = match &facts.installed {
        Some(version) => format!("{host}: {version}"),
        None => format!("{host}: not installed"),
    };
    let is_current = |last: &&HistoryEntry| facts.installed.as_ref() == Some(&last.to);
    // Writing to a String does not fail.
    if let Some(last) = condition.last.as_ref().filter(is_current) {
        _ = write!(line, ", {} by {} at {}", last.action, last.who, last.time);
    }
    if let Some(commit) = &facts.commit {
        _ = write!(line, ", commit {}", commit.get(..12).unwrap_or(commit));
    }
    line
}

/// Returns one line for everything unusual, each unit, and the kept releases.
fn details(known: &KnownHost) -> Vec<String> {
    let KnownHost {
        facts, condition, ..
    } = known;
    let mut lines = unfinished(known);
    lines.extend(facts.oddities());
    lines.extend(facts.configurations.values().map(|version| {
        let environment = facts.environment.as_deref().unwrap_or("no environment");
        format!("configuration {version} ({environment})")
    }));
    lines.extend(
        facts
            .no_credentials
            .iter()
            .map(|why| format!("no secrets are delivered as files: {why}")),
    );
    lines.extend(known.secrets.iter().map(|secret| {
        let state = if secret.is_set { "set" } else { "missing" };
        format!("secret {}, a file: {state}", secret.name)
    }));
    lines.extend(
        condition
            .units
            .iter()
            .map(|unit| format!("{} is {}, {}", unit.name, unit.active, unit.enabled)),
    );
    lines.extend(
        condition
            .drifted
            .iter()
            .map(|file| format!("drifted: {file}")),
    );

    let whole = facts.kept.iter().filter(|kept| kept.is_whole());
    let mut releases: Vec<&str> = whole.map(|kept| kept.release.as_str()).collect();
    // Sets of the same software differ in their configuration.
    releases.dedup();
    if !releases.is_empty() {
        lines.push(format!("kept: {}", releases.join(", ")));
    }
    lines
}

/// Returns one line for each push that failed, is running, or is not confirmed.
fn unfinished(known: &KnownHost) -> Vec<String> {
    let KnownHost {
        facts, condition, ..
    } = known;
    let mut lines = Vec::new();
    lines.extend(facts.half.iter().map(|half| format!("half-way: {half}")));
    if let Some(last) = condition.last.as_ref().filter(|last| last.result != "ok") {
        lines.push(format!(
            "last {}: {} by {} at {}: {}",
            last.action, last.to, last.who, last.time, last.result
        ));
    }
    if let Some(holder) = facts.lock.as_ref().filter(|holder| holder.alive) {
        let (owner, since) = (&holder.owner, &holder.since);
        lines.push(format!("{owner} is pushing since {since}"));
    }
    if let Some(transaction) = &facts.transaction {
        let version = &transaction.version;
        lines.push(match transaction.state {
            TransactionState::Probation(left) => {
                format!(
                    "{version} is in probation: it goes back in {left} s unless it is confirmed"
                )
            }
            _ => format!("an installation of {version} has not been confirmed"),
        });
    }
    lines
}

pub(super) fn history(args: &HistoryArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let deploy = deploy(&app, args.name.as_deref())?;
    let backend = backend::choose(&app.name, deploy, args.into.as_deref(), args.sudo)?;
    let fleet = Fleet::open(&args.hosts.options(), deploy, &app.root, "history", report)?;
    let command = HistoryEntry::command(&backend.remote_state(None), args.lines);
    let mut errors = Vec::new();
    fleet.each_shown(
        |machine| read_history(machine, &command),
        |batch| {
            let mut all: Vec<(&str, HistoryEntry)> = Vec::new();
            for (at, entries) in batch {
                let host = fleet.machines[at].member.name.as_str();
                match entries.unwrap_or_else(|| Err(interrupt::error())) {
                    Ok(entries) => all.extend(entries.into_iter().map(|entry| (host, entry))),
                    Err(error) => errors.push(error),
                }
            }
            all.sort_by(|(_, a), (_, b)| a.time.cmp(&b.time));
            show_history(&all, report);
        },
    );
    looked(errors)
}

fn read_history(machine: &Machine<'_>, command: &HostCommand) -> Result<Vec<HistoryEntry>> {
    match machine.host.run(command, &mut |_, _| {}) {
        Ok(output) => Ok(HistoryEntry::all(&output.text())),
        Err(HostFailure::Failed { output, .. }) if output.status == CLOSED => {
            let (name, directory) = (&machine.member.name, output.text());
            Err(Error::new(format!(
                "cannot read the history on `{name}`: the login may not read `{}`",
                directory.trim()
            ))
            .hint("read it as root: `--sudo`, or `sudo = true` in `[deploy.NAME]`"))
        }
        Err(failure) => Err(failure.into_error()),
    }
}

fn show_history(entries: &[(&str, HistoryEntry)], report: &Report) {
    for (host, entry) in entries {
        match report.style() {
            OutputStyle::Json => {
                let mut line = json!(entry);
                line["host"] = json!(host);
                report.json(&line);
            }
            OutputStyle::Text => {
                let from = entry.from.as_deref().unwrap_or("nothing");
                let HistoryEntry {
                    time,
                    who,
                    action,
                    result,
                    ..
                } = entry;
                let to = if entry.to.is_empty() {
                    "nothing"
                } else {
                    &entry.to
                };
                let others = entry.configurations.iter();
                let others = others.map(|(name, version)| format!("{name} {version}"));
                let others: Vec<String> = entry.runtime.iter().cloned().chain(others).collect();
                let with = if others.is_empty() { "" } else { " with " };
                let others = others.join(", ");
                report.result(&format!(
                    "{time} {host}: {action} by {who}: {from} → {to}{with}{others}: {result}"
                ));
            }
        }
    }
}
