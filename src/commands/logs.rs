//! `pkgapp logs`.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::cli::{GlobalOptions, LogsArgs};
use pkgapp_config::Config;
use pkgapp_core::error::Result;
use pkgapp_core::process::Stream;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::backend;
use pkgapp_deploy::fleet::{self, Fleet, Machine, looked};
use pkgapp_deploy::hosts::journal::JournalEntry;
use pkgapp_deploy::hosts::{HostCommand, HostFailure, OutputLimits, interrupt, line_text};

use super::{load_app, open_fleet};

/// How long a line waits for earlier lines of other hosts while pkgapp follows the journals.
const PATIENCE: Duration = Duration::from_millis(300);

/// The script that reads a journal. With `--since`, journalctl(1) takes `--lines` from the start
/// (systemd 252), so the first argument is the number of last lines to print, or empty for all
/// lines. The exit status is that of journalctl.
const READ: &str = "\
last=$1
shift
[ -n \"$last\" ] || exec journalctl \"$@\"
exec 3>&1
status=$({ { journalctl \"$@\"; echo $? >&4; } | tail -n \"$last\" >&3; } 4>&1)
exit \"$status\"";

/// The number of lines that may wait to be printed; a faster host is slowed down.
const WAITING: usize = 1024;

/// The memory in bytes for sorting the journals of all hosts together.
const MEMORY: u64 = 512 << 20;

/// The default number of lines of each host.
const LINES: u32 = 100;

pub(super) fn logs(args: &LogsArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let (deploy, named) = names(args, &app)?;
    let deploy = deploy
        .map(|name| fleet::deploy_named(&app, name).cloned())
        .transpose()?
        .map(|deploy| (app.clone(), deploy));
    let journal = backend::choose(
        &app.name,
        deploy.as_ref().map(|(_, deploy)| deploy),
        args.into.as_deref(),
        args.sudo,
    )?
    .journal();
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "logs", report)?;
    let mut command = HostCommand::new("reading the journal", [journal.check, READ].concat())
        .args(journalctl(args, journal.unit_option, &units(&app, &named)))
        .sudo(journal.sudo)
        .ends_with_us();
    if !args.follow {
        // Lines are sorted in memory.
        let most = (MEMORY / fleet.machines.len().max(1) as u64).clamp(1 << 20, 64 << 20);
        command = command.limits(OutputLimits::Stream(most));
    }

    let results = print_journals(&fleet, &command, args.follow, report);
    if args.follow && interrupt::requested() {
        return Ok(());
    }
    let errors = results
        .into_iter()
        .filter_map(|result| result.unwrap_or_else(|| Err(interrupt::error())).err());
    looked(errors.collect())
}

/// Reads the journals of all hosts and prints their lines in the order of time. Returns one result
/// per host, `None` if it was not asked.
fn print_journals(
    fleet: &Fleet<'_>,
    command: &HostCommand,
    follow: bool,
    report: &Report,
) -> Vec<Option<Result<()>>> {
    let names = fleet.machines.iter().map(|machine| &machine.member.name);
    let printer = Printer {
        report,
        width: names.map(|name| name.chars().count()).max().unwrap_or(0),
        patience: follow.then_some(PATIENCE),
    };

    // pkgapp follows all journals at once: otherwise it could not keep the order of time.
    let all: Vec<&Machine<'_>> = fleet.machines.iter().collect();
    let parallel = if follow { all.len() } else { fleet.parallel() };
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        scope.spawn(move || printer.print_all(&receiver));
        let results = fleet.each_of(&all, parallel, |machine| {
            read(machine, command, &sender, report)
        });
        drop(sender);
        results
    })
}

/// Returns the named deployment and units: with `--hosts`, the first word may be a unit too.
fn names<'a>(args: &'a LogsArgs, app: &Config) -> Result<(Option<&'a str>, Vec<&'a str>)> {
    let units = args.units.iter().map(String::as_str);
    match args.name.as_deref() {
        Some(first)
            if app
                .deploys
                .iter()
                .any(|deploy| deploy.name.as_str() == first) =>
        {
            Ok((Some(first), units.collect()))
        }
        Some(first) if !args.hosts.hosts.is_empty() || args.hosts.local => {
            Ok((None, std::iter::once(first).chain(units).collect()))
        }
        // The error lists the known deployments.
        Some(first) => fleet::deploy_named(app, first).map(|_| (None, Vec::new())),
        None => Ok((None, units.collect())),
    }
}

/// Returns the units of the application, or those that are named, as patterns of journalctl(1).
fn units(app: &Config, named: &[&str]) -> Vec<String> {
    let kinds = ["service", "socket", "timer"];
    let of = |stem: String| kinds.into_iter().map(move |kind| format!("{stem}.{kind}"));
    if named.is_empty() {
        return of(app.name.to_string())
            .chain(of(format!("{}-*", app.name)))
            .collect();
    }
    let each = |name: &&str| -> Vec<String> {
        if kinds.iter().any(|kind| name.ends_with(&format!(".{kind}"))) {
            vec![(*name).to_owned()]
        } else {
            of(format!("{}-{name}", app.name))
                .chain(of(format!("{}-{name}@*", app.name)))
                .collect()
        }
    };
    named.iter().flat_map(each).collect()
}

fn journalctl(args: &LogsArgs, unit_option: &str, units: &[String]) -> Vec<String> {
    let fields =
        "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_PID,_SYSTEMD_UNIT,UNIT,_SYSTEMD_USER_UNIT,USER_UNIT";
    let last = args.lines.filter(|_| args.since.is_some() && !args.follow);
    let mut words = vec![last.map(|lines| lines.to_string()).unwrap_or_default()];
    words.extend([
        "--no-pager".to_owned(),
        "--output=json".to_owned(),
        format!("--output-fields={fields}"),
    ]);
    words.extend(units.iter().map(|unit| format!("{unit_option}={unit}")));
    words.extend(args.since.iter().map(|since| format!("--since={since}")));
    match (args.lines, &args.since) {
        (lines, None) => words.push(format!("--lines={}", lines.unwrap_or(LINES))),
        (_, Some(_)) => words.push("--lines=all".to_owned()),
    }
    if args.follow {
        words.push("--follow".to_owned());
    }
    words
}

fn read(
    machine: &Machine<'_>,
    command: &HostCommand,
    to: &SyncSender<JournalEntry>,
    report: &Report,
) -> Result<()> {
    let name = &machine.member.name;
    let result = machine.host.run(
        command,
        &mut |stream, line| match (stream, line_text(line)) {
            // The printer outlives this call, so sending cannot fail.
            (Stream::Stdout, line) => {
                if let Some(entry) = JournalEntry::parse(name, &line) {
                    _ = to.send(entry);
                }
            }
            (Stream::Stderr, line) => report.warning(&format!("{name}: {line}")),
        },
    );
    match result {
        Ok(_) => Ok(()),
        Err(failure @ HostFailure::Failed { .. }) => {
            let error = failure.into_error();
            Err(error.hint(
                "only root and members of adm or systemd-journal can read the journal; try `--sudo`",
            ))
        }
        Err(failure @ HostFailure::Lost(_)) if command.limits != OutputLimits::None => Err(failure
            .into_error()
            .hint("request fewer lines, with `--since` and `--lines`")),
        Err(failure) => Err(failure.into_error()),
    }
}

/// Prints the lines of all hosts in the order of time.
struct Printer<'r> {
    report: &'r Report,
    /// The width of the longest host name.
    width: usize,
    /// How long a line waits for earlier ones; `None` to print once all lines have arrived.
    patience: Option<Duration>,
}

impl Printer<'_> {
    fn print_all(&self, entries: &Receiver<JournalEntry>) {
        let mut waiting: Vec<(Instant, JournalEntry)> = Vec::new();
        loop {
            let open = match entries.recv_timeout(PATIENCE / 3) {
                Ok(entry) => {
                    waiting.push((Instant::now(), entry));
                    true
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            let old = |since: &Instant| {
                self.patience
                    .is_some_and(|patience| since.elapsed() >= patience)
            };
            // Sorted by time; lines of the same time stay in the order of arrival.
            if !open || waiting.first().is_some_and(|(since, _)| old(since)) {
                let (mut due, rest): (Vec<_>, Vec<_>) = waiting
                    .into_iter()
                    .partition(|(since, _)| !open || old(since));
                due.sort_by_key(|(_, entry)| entry.time);
                due.iter().for_each(|(_, entry)| self.print(entry));
                waiting = rest;
            }
            if !open {
                return;
            }
        }
    }

    fn print(&self, entry: &JournalEntry) {
        match self.report.style() {
            OutputStyle::Json => self.report.json(&serde_json::json!({
                "time": entry.moment(),
                "host": entry.host,
                "unit": entry.unit,
                "pid": entry.pid,
                "priority": entry.priority,
                "message": entry.message,
            })),
            OutputStyle::Text => {
                let (width, host) = (self.width, &entry.host);
                let pid = entry
                    .pid
                    .as_deref()
                    .map(|pid| format!("[{pid}]"))
                    .unwrap_or_default();
                let head = format!(
                    "{} {host:width$} {}{pid}:",
                    entry.moment(),
                    entry.identifier
                );
                entry
                    .message
                    .lines()
                    .for_each(|line| self.report.result(&format!("{head} {line}")));
            }
        }
    }
}
