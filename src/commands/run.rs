//! `pkgapp run`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::{Global, RunArgs};
use crate::error::{Error, Kind, Result};
use crate::fleet::{Fleet, Machine, folded, verdict};
use crate::fs;
use crate::host::{Command, Failure, Output, Stream, interrupt};
use crate::process;
use crate::report::{Report, Style};

use super::{load_deploy, open_fleet};

pub(super) fn run(args: &RunArgs, global: &Global, report: &Report) -> Result<()> {
    let command = command(args)?;
    let deploy = load_deploy(args.name.as_deref(), global)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "run", report)?;
    let one = fleet.machines.len() == 1;
    let show = match (report.style(), one, args.stream) {
        (Style::Json, ..) => Show::Json,
        (Style::Text, true, _) => Show::AsItIs,
        (Style::Text, false, true) => Show::Stream,
        (Style::Text, false, false) => Show::Grouped,
    };
    let width = fleet.machines.iter().map(|machine| machine.member.name.chars().count()).max().unwrap_or(0);
    let results = fleet.each(|machine| run_on(machine, &command, show, width, report));
    let results: Vec<Result<Ran, Failure>> = results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(Failure::NeverReached(interrupt::error()))))
        .collect();
    match show {
        Show::Grouped => print_groups(&fleet, &results, report),
        Show::Json => print_json(&fleet, &results, report),
        Show::AsItIs | Show::Stream => {}
    }
    judge(&fleet, &command, results)
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
struct Ran {
    lines: Vec<(Stream, String)>,
    output: Output,
}

/// How many lines of a host are kept for a group; the whole is in its log.
const MOST_LINES: usize = 100_000;

fn command(args: &RunArgs) -> Result<Command> {
    let mut command = match &args.script {
        Some(file) => {
            let what = format!("`{}`", file.display());
            scripted(&what, &fs::read_to_string(file)?, &args.command)
        }
        None if args.command.is_empty() => {
            let error = Error::new("there is nothing to run").kind(Kind::Usage);
            return Err(error.hint("write it after `--`, as in `pkgapp run production -- uptime`"));
        }
        None => {
            let mut shown = std::process::Command::new(&args.command[0]);
            shown.args(&args.command[1..]);
            Command::new(format!("`{}`", process::line(&shown)), "exec \"$@\"").args(args.command.clone())
        }
    };
    command.sudo = args.sudo;
    command.timeout = args.timeout.map(|seconds| Duration::from_secs(seconds.into()));
    Ok(command.ends_with_us())
}

/// A script of the user: in sh, or in what its first line names (execve(2), "Interpreter scripts").
fn scripted(what: &str, text: &str, args: &[String]) -> Command {
    let interpreter = text.lines().next().and_then(|line| line.strip_prefix("#!")).map(str::trim).unwrap_or_default();
    if matches!(interpreter, "" | "/bin/sh" | "/usr/bin/env sh") {
        return Command::new(what, text).args(args);
    }
    let (program, option) = interpreter.split_once(char::is_whitespace).unwrap_or((interpreter, ""));
    let script = "file=$(mktemp) || exit 1\n\
                  trap 'rm -f \"$file\"' EXIT\n\
                  printf %s \"$1\" >\"$file\"; program=$2 option=$3; shift 3\n\
                  \"$program\" ${option:+\"$option\"} \"$file\" \"$@\"";
    Command::new(what, script).arg(text).arg(program).arg(option.trim()).args(args)
}

fn run_on(machine: &Machine<'_>, command: &Command, show: Show, width: usize, report: &Report) -> Result<Ran, Failure> {
    let mut command = command.clone();
    command.env.extend(machine.member.variables.clone());
    if show == Show::Grouped {
        machine.row.state("running");
    }
    let mut lines = Vec::new();
    let name = &machine.member.name;
    let result = machine.host.run(&command, &mut |stream, line| match show {
        Show::AsItIs => print(report, stream, line),
        Show::Stream => print(report, stream, &format!("{name:width$} | {line}")),
        Show::Grouped | Show::Json if lines.len() < MOST_LINES => lines.push((stream, line.to_owned())),
        Show::Grouped | Show::Json => {}
    });
    let result = match result {
        Ok(output) | Err(Failure::Failed { output, .. }) => Ok(Ran { lines, output }),
        Err(failure) => Err(failure),
    };
    if show == Show::Grouped {
        match &result {
            Ok(ran) if ran.output.status == 0 => machine.row.done("done"),
            Ok(ran) => machine.row.failed(&Error::new(format!("exit status {}", ran.output.status))),
            Err(failure) => machine.row.failed(failure.error()),
        }
    }
    result
}

fn print(report: &Report, stream: Stream, line: &str) {
    report.data(stream, format!("{line}\n").as_bytes());
}

impl Ran {
    /// What hosts have in common: the status, and what each stream got. Which of the two was first is chance.
    fn same(&self) -> (i32, Vec<&str>, Vec<&str>) {
        let of = |wanted| -> Vec<&str> {
            self.lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| line.as_str()).collect()
        };
        (self.output.status, of(Stream::Stdout), of(Stream::Stderr))
    }
}

fn print_groups(fleet: &Fleet<'_>, results: &[Result<Ran, Failure>], report: &Report) {
    let mut groups: Vec<(&Ran, Vec<&str>)> = Vec::new();
    for (machine, result) in fleet.machines.iter().zip(results) {
        let Ok(ran) = result else { continue };
        match groups.iter_mut().find(|(known, _)| known.same() == ran.same()) {
            Some((_, names)) => names.push(&machine.member.name),
            None => groups.push((ran, vec![&machine.member.name])),
        }
    }
    for (ran, names) in groups {
        let count = if names.len() > 1 { format!(" ({} hosts)", names.len()) } else { String::new() };
        let status = ran.output.status;
        let ended = if status == 0 { String::new() } else { format!(", exit status {status}") };
        report.result(&format!("{}{count}{ended}:", folded(&names)));
        ran.lines.iter().for_each(|(_, line)| print(report, Stream::Stdout, &format!("  {line}")));
    }
}

fn print_json(fleet: &Fleet<'_>, results: &[Result<Ran, Failure>], report: &Report) {
    for (machine, result) in fleet.machines.iter().zip(results) {
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

/// Joins what went wrong: one error for every status, and every host that has none.
fn judge(fleet: &Fleet<'_>, command: &Command, results: Vec<Result<Ran, Failure>>) -> Result<()> {
    let mut statuses: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    let mut errors = Vec::new();
    let mut failed = 0;
    for (machine, result) in fleet.machines.iter().zip(results) {
        match result {
            Ok(ran) if ran.output.status == 0 => continue,
            Ok(ran) => statuses.entry(ran.output.status).or_default().push(&machine.member.name),
            Err(failure) => errors.push(failure.into_error()),
        }
        failed += 1;
    }
    let statuses = statuses.into_iter().map(|(status, names)| {
        Error::new(format!("{} failed on {} with exit status {status}", command.what, folded(&names)))
            .note(format!("the logs are in `{}`", fleet.logs().display()))
    });
    let errors: Vec<Error> = statuses.chain(errors).collect();
    match Error::all(errors) {
        Some(error) if failed < fleet.machines.len() => Err(error.kind(Kind::Partial)),
        Some(error) => verdict(1, vec![error]),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_runs_in_what_its_first_line_names() {
        let plain = scripted("x", "echo $1", &["a b".to_owned()]);
        assert_eq!((plain.script.as_str(), &plain.args[..]), ("echo $1", &["a b".to_owned()][..]));
        let text = "#!/usr/bin/env  python3\nprint()\n";
        let python = scripted("x", text, &["a b".to_owned()]);
        assert_eq!(python.args, [text, "/usr/bin/env", "python3", "a b"]);
    }
}
