//! `pkgapp run`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::{GlobalOptions, RunArgs};
use pkgapp_config::{Config, Deploy, PartName};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::fs;
use pkgapp_core::process;
use pkgapp_core::process::Stream;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::backend::{self, Backend};
use pkgapp_deploy::fleet::{Fleet, Machine, folded, verdict};
use pkgapp_deploy::hosts::{CommandOutput, HostCommand, HostFailure, KEPT_BYTES, interrupt};
use pkgapp_deploy::service_command::ServiceCommand;

use super::{load_deploy, open_fleet};

pub(super) fn run(args: &RunArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let command = command(args)?;
    let deploy = load_deploy(args.name.as_deref(), global, report)?;
    let service = LikeService::of(args, deploy.as_ref())?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "run", report)?;
    let show = Show::choose(&fleet, args.stream, report.style());
    let names = fleet.machines.iter().map(|machine| &machine.member.name);
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);

    let mut ended = RunSummary::default();
    fleet.each_shown(
        |machine| {
            let command = command_on(machine, &command, service.as_ref());
            run_on(machine, &command, show, width, report)
        },
        |batch| {
            let never_reached = || Err(HostFailure::NeverReached(interrupt::error()));
            let batch: Vec<HostResult<'_>> = batch
                .into_iter()
                .map(|(at, ran)| (&fleet.machines[at], ran.unwrap_or_else(never_reached)))
                .collect();
            match show {
                Show::Grouped => print_groups(&batch, report),
                Show::Json => print_json(&batch, report),
                Show::AsItIs | Show::Stream => {}
            }
            for (machine, ran) in batch {
                ended.add(&machine.member.name, ran);
            }
        },
    );
    ended.judge(&fleet, &command)
}

/// A host, and the result of the command there.
type HostResult<'a> = (&'a Machine<'a>, Result<CommandResult, HostFailure>);

/// The way in which output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Exactly as the command prints it, for a single host.
    AsItIs,
    /// Line by line, each prefixed with its host.
    Stream,
    /// Once for all hosts with the same output.
    Grouped,
    /// One line of JSON per host.
    Json,
}

impl Show {
    fn choose(fleet: &Fleet<'_>, stream: bool, style: OutputStyle) -> Self {
        match (style, fleet.machines.len(), stream) {
            (OutputStyle::Json, ..) => Self::Json,
            (OutputStyle::Text, 1, _) => Self::AsItIs,
            (OutputStyle::Text, _, true) => Self::Stream,
            (OutputStyle::Text, _, false) => Self::Grouped,
        }
    }
}

/// The output and the exit status of a command on one host.
struct CommandResult {
    /// The beginning of the output, for a group.
    printed: Printed,
    /// The exit status; with `--json` also the end of the output.
    output: CommandOutput,
}

/// The beginning of a command's output, in the order of arrival.
#[derive(Debug, Default)]
struct Printed {
    /// Lines with their line ends. A very long line arrives in pieces of arbitrary length, which
    /// are joined again.
    lines: Vec<(Stream, Vec<u8>)>,
    /// The approximate memory use of the lines.
    bytes: usize,
    /// Whether the command has printed more.
    is_cut: bool,
}

impl Printed {
    fn add(&mut self, stream: Stream, line: &[u8]) {
        // An empty line takes memory, too.
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
            return Err(
                error.hint("write a command after `--`, as in `pkgapp run production -- uptime`")
            );
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

/// Returns the command for a host, whose variables are in its environment.
fn command_on(
    machine: &Machine<'_>,
    command: &HostCommand,
    service: Option<&LikeService>,
) -> HostCommand {
    let variables = &machine.member.variables;
    if let Some(service) = service {
        return service.command(command, variables);
    }
    let mut command = command.clone();
    command.env.extend(variables.clone());
    command
}

/// The service that a command is to run like, and the way of its release onto hosts.
struct LikeService {
    backend: Box<dyn Backend>,
    prefix: String,
    command: ServiceCommand,
}

impl LikeService {
    fn of(args: &RunArgs, deploy: Option<&(Config, Deploy)>) -> Result<Option<Self>> {
        let (Some(service), Some((app, deploy))) = (&args.service, deploy) else {
            return Ok(None);
        };
        let service = PartName::parse(service).map_err(|error| error.kind(ErrorKind::Usage))?;
        Ok(Some(Self {
            backend: backend::choose(&app.name, Some(deploy), None, args.sudo)?,
            prefix: app.package.prefix.value.to_string(),
            command: ServiceCommand {
                service,
                words: args.command.clone(),
            },
        }))
    }

    /// Returns a command that runs like the service; its words and limits are those of `plain`.
    fn command(&self, plain: &HostCommand, variables: &BTreeMap<String, String>) -> HostCommand {
        let mut command = self
            .backend
            .service_command(&self.prefix, &self.command, variables);
        command.what = plain.what.clone();
        command.timeout = plain.timeout;
        command
    }
}

/// Returns the command for a script of the user, which runs in the interpreter of its first line
/// (execve(2), "Interpreter scripts"), or else in sh.
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
    if show == Show::Grouped {
        machine.row.state("running");
    }
    let mut printed = Printed::default();
    let head = format!("{:width$} | ", machine.member.name);
    let result = machine.host.run(command, &mut |stream, line| match show {
        Show::AsItIs => report.data(stream, line),
        Show::Stream => report.data_of_many(stream, &head, line),
        Show::Grouped => printed.add(stream, line),
        Show::Json => {}
    });
    let result = match result {
        Ok(output) | Err(HostFailure::Failed { output, .. }) => {
            let output = if show == Show::Json {
                output
            } else {
                CommandOutput {
                    status: output.status,
                    took: output.took,
                    ..CommandOutput::default()
                }
            };
            Ok(CommandResult { printed, output })
        }
        Err(failure) => Err(failure),
    };
    if show == Show::Grouped {
        show_end(machine, &result);
    }
    result
}

/// Shows the exit status in the table of hosts.
fn show_end(machine: &Machine<'_>, result: &Result<CommandResult, HostFailure>) {
    match result {
        Ok(ran) if ran.output.status == 0 => machine.row.done("done"),
        Ok(ran) => machine
            .row
            .failed(&Error::new(format!("exit status {}", ran.output.status))),
        Err(failure) => machine.row.failed(failure.error()),
    }
}

impl CommandResult {
    /// Returns the key by which hosts are grouped: the status and the content of each stream. The
    /// order between the two streams is arbitrary.
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

/// Prints the output of each group of hosts with the same result.
fn print_groups(results: &[HostResult<'_>], report: &Report) {
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
        print_group(ran, &machines, report);
    }
}

fn print_group(ran: &CommandResult, machines: &[&Machine<'_>], report: &Report) {
    let names: Vec<&str> = machines
        .iter()
        .map(|machine| machine.member.name.as_str())
        .collect();
    let names_folded = folded(&names);
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
    report.result(&format!("{names_folded}{count}{ended}:"));

    for (_, line) in &ran.printed.lines {
        report.data_of_many(Stream::Stdout, "  ", line);
    }
    if ran.printed.is_cut {
        let log = machines
            .first()
            .map(|machine| machine.log.display().to_string())
            .unwrap_or_default();
        report.warning(&format!(
            "{names_folded} printed more; see `{log}`, or use `--stream`"
        ));
    }
}

fn print_json(results: &[HostResult<'_>], report: &Report) {
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

/// The results of a command on all hosts.
#[derive(Default)]
struct RunSummary {
    /// The names of the hosts by exit status, except for 0.
    statuses: BTreeMap<i32, Vec<String>>,
    /// The errors of hosts that have no exit status.
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

    /// Joins the failures: one error for each status, and one for each host without a status.
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
    fn the_output_of_a_group_is_bounded() {
        let mut printed = Printed::default();
        (0..10_000_000).for_each(|_| printed.add(Stream::Stdout, b"\n"));
        assert!(
            printed.is_cut && printed.lines.len() < 300_000,
            "{}",
            printed.lines.len()
        );
    }

    #[test]
    fn a_script_runs_in_the_interpreter_of_its_first_line() {
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
