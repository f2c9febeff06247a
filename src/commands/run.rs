//! `pkgapp run`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::{GlobalOptions, RunArgs};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::fs;
use pkgapp_core::process;
use pkgapp_core::process::Stream;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::fleet::{Fleet, Machine, folded, verdict};
use pkgapp_deploy::hosts::{CommandOutput, HostCommand, HostFailure, KEPT_BYTES, interrupt};

use super::{load_deploy, open_fleet};

pub(super) fn run(args: &RunArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let command = command(args)?;
    let deploy = load_deploy(args.name.as_deref(), global, report)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "run", report)?;
    let one = fleet.machines.len() == 1;
    let show = match (report.style(), one, args.stream) {
        (OutputStyle::Json, ..) => Show::Json,
        (OutputStyle::Text, true, _) => Show::AsItIs,
        (OutputStyle::Text, false, true) => Show::Stream,
        (OutputStyle::Text, false, false) => Show::Grouped,
    };
    let width = fleet
        .machines
        .iter()
        .map(|machine| machine.member.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut ended = RunSummary::default();
    fleet.each_shown(
        |machine| run_on(machine, &command, show, width, report),
        |batch| {
            let batch: Vec<(&Machine<'_>, Result<CommandResult, HostFailure>)> = batch
                .into_iter()
                .map(|(at, ran)| {
                    (
                        at,
                        ran.unwrap_or_else(|| Err(HostFailure::NeverReached(interrupt::error()))),
                    )
                })
                .map(|(at, ran)| (&fleet.machines[at], ran))
                .collect();
            match show {
                Show::Grouped => print_groups(&batch, report),
                Show::Json => print_json(&batch, report),
                Show::AsItIs | Show::Stream => {}
            }
            batch
                .into_iter()
                .for_each(|(machine, ran)| ended.add(&machine.member.name, ran));
        },
    );
    ended.judge(&fleet, &command)
}

/// How output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// As the command printed it: there is one host.
    AsItIs,
    /// Line by line, each with its host.
    Stream,
    /// Once for all hosts that printed the same.
    Grouped,
    /// One JSON line a host.
    Json,
}

/// What a command printed, in the order in which it came, and how it ended.
struct CommandResult {
    /// The beginning of it, for a group.
    printed: Printed,
    /// With `--json` also the end of what it printed.
    output: CommandOutput,
}

/// The beginning of what a host printed.
#[derive(Debug, Default)]
struct Printed {
    /// Lines with their ends. A very long one comes in pieces, which are put together again: where
    /// they were cut is chance.
    lines: Vec<(Stream, Vec<u8>)>,
    /// What they take of the memory, about.
    bytes: usize,
    /// There was more.
    is_cut: bool,
}

impl Printed {
    fn add(&mut self, stream: Stream, line: &[u8]) {
        // A line that is empty takes memory too.
        self.bytes += line.len() + size_of::<(Stream, Vec<u8>)>();
        self.is_cut |= self.bytes > KEPT_BYTES;
        match self.lines.last_mut() {
            _ if self.is_cut => {}
            Some((last, piece)) if *last == stream && !piece.ends_with(b"\n") => {
                piece.extend_from_slice(line);
            }
            _ => self.lines.push((stream, line.to_vec())),
        }
    }
}

fn command(args: &RunArgs) -> Result<HostCommand> {
    let mut command = match &args.script {
        Some(file) => {
            let what = format!("`{}`", file.display());
            scripted(&what, &fs::read_to_string(file)?, &args.command)
        }
        None if args.command.is_empty() => {
            let error = Error::new("there is nothing to run").kind(ErrorKind::Usage);
            return Err(error.hint("write it after `--`, as in `pkgapp run production -- uptime`"));
        }
        None => {
            let mut shown = std::process::Command::new(&args.command[0]);
            shown.args(&args.command[1..]);
            HostCommand::new(format!("`{}`", process::line(&shown)), "exec \"$@\"")
                .args(args.command.clone())
        }
    };
    command.sudo = args.sudo;
    command.timeout = args
        .timeout
        .map(|seconds| Duration::from_secs(seconds.into()));
    Ok(command.ends_with_us())
}

/// A script of the user: in sh, or in what its first line names (execve(2), "Interpreter scripts").
fn scripted(what: &str, text: &str, args: &[String]) -> HostCommand {
    let interpreter = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("#!"))
        .map(str::trim)
        .unwrap_or_default();
    if matches!(interpreter, "" | "/bin/sh" | "/usr/bin/env sh") {
        return HostCommand::new(what, text).args(args);
    }
    let (program, option) = interpreter
        .split_once(char::is_whitespace)
        .unwrap_or((interpreter, ""));
    let script = "file=$(mktemp) || exit 1\n\
                  trap 'rm -f \"$file\"' EXIT\n\
                  printf %s \"$1\" >\"$file\"; program=$2 option=$3; shift 3\n\
                  \"$program\" ${option:+\"$option\"} \"$file\" \"$@\"";
    HostCommand::new(what, script)
        .arg(text)
        .arg(program)
        .arg(option.trim())
        .args(args)
}

fn run_on(
    machine: &Machine<'_>,
    command: &HostCommand,
    show: Show,
    width: usize,
    report: &Report,
) -> Result<CommandResult, HostFailure> {
    let mut command = command.clone();
    command.env.extend(machine.member.variables.clone());
    if show == Show::Grouped {
        machine.row.state("running");
    }
    let mut printed = Printed::default();
    let head = format!("{:width$} | ", machine.member.name);
    let result = machine.host.run(&command, &mut |stream, line| match show {
        Show::AsItIs => report.data(stream, line),
        Show::Stream => report.data_of_many(stream, &head, line),
        Show::Grouped => printed.add(stream, line),
        Show::Json => {}
    });
    let result = match result {
        Ok(output) | Err(HostFailure::Failed { output, .. }) if show == Show::Json => {
            Ok(CommandResult { printed, output })
        }
        Ok(CommandOutput { status, took, .. })
        | Err(HostFailure::Failed {
            output: CommandOutput { status, took, .. },
            ..
        }) => Ok(CommandResult {
            printed,
            output: CommandOutput {
                status,
                took,
                ..CommandOutput::default()
            },
        }),
        Err(failure) => Err(failure),
    };
    if show == Show::Grouped {
        match &result {
            Ok(ran) if ran.output.status == 0 => machine.row.done("done"),
            Ok(ran) => machine
                .row
                .failed(&Error::new(format!("exit status {}", ran.output.status))),
            Err(failure) => machine.row.failed(failure.error()),
        }
    }
    result
}

impl CommandResult {
    /// What hosts have in common: the status, and what each stream got. Which of the two was first
    /// is chance.
    fn same(&self) -> (i32, bool, Vec<u8>, Vec<u8>) {
        let lines = &self.printed.lines;
        let of = |wanted| -> Vec<u8> {
            lines
                .iter()
                .filter(|(stream, _)| *stream == wanted)
                .flat_map(|(_, line)| line.iter().copied())
                .collect()
        };
        (
            self.output.status,
            self.printed.is_cut,
            of(Stream::Stdout),
            of(Stream::Stderr),
        )
    }
}

fn print_groups(results: &[(&Machine<'_>, Result<CommandResult, HostFailure>)], report: &Report) {
    let mut groups: Vec<(&CommandResult, Vec<&Machine<'_>>)> = Vec::new();
    for (machine, result) in results {
        let Ok(ran) = result else { continue };
        match groups
            .iter_mut()
            .find(|(known, _)| known.same() == ran.same())
        {
            Some((_, machines)) => machines.push(machine),
            None => groups.push((ran, vec![machine])),
        }
    }
    for (ran, machines) in groups {
        let names: Vec<&str> = machines
            .iter()
            .map(|machine| machine.member.name.as_str())
            .collect();
        let count = if names.len() > 1 {
            format!(" ({} hosts)", names.len())
        } else {
            String::new()
        };
        let status = ran.output.status;
        let ended = if status == 0 {
            String::new()
        } else {
            format!(", exit status {status}")
        };
        report.result(&format!("{}{count}{ended}:", folded(&names)));
        ran.printed
            .lines
            .iter()
            .for_each(|(_, line)| report.data_of_many(Stream::Stdout, "  ", line));
        if ran.printed.is_cut {
            let log = machines
                .first()
                .map(|machine| machine.log.display().to_string())
                .unwrap_or_default();
            report.warning(&format!(
                "{} printed more; see `{log}`, or use `--stream`",
                folded(&names)
            ));
        }
    }
}

fn print_json(results: &[(&Machine<'_>, Result<CommandResult, HostFailure>)], report: &Report) {
    for (machine, result) in results {
        let name = &machine.member.name;
        report.json(&match result {
            Ok(ran) => serde_json::json!({
                "host": name,
                "status": ran.output.status,
                "stdout": ran.output.text(),
                "stderr": String::from_utf8_lossy(&ran.output.stderr),
                "seconds": ran.output.took.as_secs_f64(),
                "log": machine.log,
            }),
            Err(failure) => serde_json::json!({ "host": name, "error": failure.error().to_json() }),
        });
    }
}

/// How the command ended on all hosts.
#[derive(Default)]
struct RunSummary {
    /// The hosts with each status but 0.
    statuses: BTreeMap<i32, Vec<String>>,
    /// What happened on hosts that have none.
    errors: Vec<Error>,
    failed: usize,
}

impl RunSummary {
    fn add(&mut self, name: &str, ran: Result<CommandResult, HostFailure>) {
        match ran {
            Ok(ran) if ran.output.status == 0 => return,
            Ok(ran) => self
                .statuses
                .entry(ran.output.status)
                .or_default()
                .push(name.to_owned()),
            Err(failure) => self.errors.push(failure.into_error()),
        }
        self.failed += 1;
    }

    /// Joins what went wrong: one error for every status, and every host that has none.
    fn judge(self, fleet: &Fleet<'_>, command: &HostCommand) -> Result<()> {
        let statuses = self.statuses.into_iter().map(|(status, names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Error::new(format!(
                "{} failed on {} with exit status {status}",
                command.what,
                folded(&names)
            ))
            .note(format!("the logs are in `{}`", fleet.logs().display()))
        });
        let errors: Vec<Error> = statuses.chain(self.errors).collect();
        match Error::all(errors) {
            Some(error) if self.failed < fleet.machines.len() => {
                Err(error.kind(ErrorKind::Partial))
            }
            Some(error) => verdict(1, vec![error]),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_a_group_has_an_end() {
        let mut printed = Printed::default();
        (0..10_000_000).for_each(|_| printed.add(Stream::Stdout, b"\n"));
        assert!(
            printed.is_cut && printed.lines.len() < 300_000,
            "{}",
            printed.lines.len()
        );
    }

    #[test]
    fn a_script_runs_in_what_its_first_line_names() {
        let plain = scripted("x", "echo $1", &["a b".to_owned()]);
        assert_eq!(
            (plain.script.as_str(), &plain.args[..]),
            ("echo $1", &["a b".to_owned()][..])
        );
        let text = "#!/usr/bin/env  python3\nprint()\n";
        let python = scripted("x", text, &["a b".to_owned()]);
        assert_eq!(python.args, [text, "/usr/bin/env", "python3", "a b"]);
    }
}
