//! Many hosts at once: at most so many at a time, results in the order of the hosts, and a table of
//! them for people.
//!
//! On a terminal every host that is being worked on is a line that moves (state, bytes, seconds),
//! and one that stands above these when it is done; elsewhere every state is a line of its own;
//! with `--json` it is a JSON line on stdout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::hosts::{
    self, CommandLogs, Connections, Host, LabelFilter, Prompt, SelectedHost, Shell, SshOptions,
    SudoPasswords, interrupt,
};
use pkgapp_config::{Config, Deploy};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::parallel;
use pkgapp_core::report::{OutputStyle, Report, human_bytes, visible_line};
use pkgapp_core::text::counted;

/// How long results wait for those of slower hosts.
const LULL: Duration = Duration::from_secs(5);

/// Which hosts a command works on, and how it reaches them.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Hosts instead of the deployment's: names, ranges, `@FILE` or `-`.
    pub hosts: Vec<String>,
    /// Labels that hosts must have or lack: `role=web`, `role!=web`.
    pub only: Vec<String>,
    /// The login where no other is written.
    pub login: Option<String>,
    /// Work on this machine, without ssh.
    pub local: bool,
    /// How many hosts are worked on at a time.
    pub parallel: usize,
    /// The ssh program; by default the one on PATH.
    pub ssh: Option<PathBuf>,
    /// ssh's configuration file; by default the user's and the system's.
    pub ssh_config: Option<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a host may take to answer a question of pkgapp's own.
    pub answer_timeout: Duration,
    /// The file whose first line is the password for sudo.
    pub sudo_password_file: Option<PathBuf>,
    /// Where the output of hosts is kept; by default below the XDG state directory.
    pub log_dir: Option<PathBuf>,
}

/// The hosts of one command.
pub struct Fleet<'r> {
    /// The hosts, in the order in which they were named.
    pub machines: Vec<Machine<'r>>,
    parallel: usize,
    logs: CommandLogs,
}

/// A host, with what is known of it and its line in the table.
pub struct Machine<'r> {
    /// What the selection knows of it.
    pub member: SelectedHost,
    /// How to reach it.
    pub host: Box<dyn Host>,
    /// Its line.
    pub row: HostRow<'r>,
    /// The file that holds all that it has printed.
    pub log: PathBuf,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Fleet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("machines", &self.machines)
            .finish_non_exhaustive()
    }
}

/// Returns `[deploy.NAME]` of the application.
///
/// # Errors
/// There is none of that name.
pub fn deploy_named<'a>(app: &'a Config, name: &str) -> Result<&'a Deploy> {
    app.deploys
        .iter()
        .find(|deploy| deploy.name.as_str() == name)
        .ok_or_else(|| {
            let known: Vec<String> = app
                .deploys
                .iter()
                .map(|deploy| format!("`{}`", deploy.name))
                .collect();
            let error = Error::new(format!("there is no `[deploy.{name}]`")).kind(ErrorKind::Usage);
            if known.is_empty() {
                error.hint("name hosts with `--hosts`")
            } else {
                error.hint(format!("known are {}", known.join(", ")))
            }
        })
}

/// The hosts of a command that are reached with ssh.
fn ssh_hosts(
    chosen: &FleetOptions,
    deploy: Option<&Deploy>,
    root: &Path,
    prompt: Prompt,
    passwords: SudoPasswords,
    logs: &CommandLogs,
) -> Result<Vec<(SelectedHost, Shell)>> {
    let login = chosen
        .login
        .as_deref()
        .or_else(|| deploy.and_then(|deploy| deploy.user.as_deref()));
    let filters: Result<Vec<LabelFilter>> = chosen
        .only
        .iter()
        .map(|only| LabelFilter::parse(only))
        .collect();
    let members = hosts::select::select(&chosen.hosts, deploy, login, &filters?, root)?;

    let options = SshOptions {
        program: chosen.ssh.clone(),
        config: chosen.ssh_config.clone(),
        connect_timeout: chosen.connect_timeout,
    };
    let connections = Connections::new(options, prompt)?;
    let passwords = Arc::new(passwords.with_files(&members));
    Ok(members
        .into_iter()
        .map(|member| {
            let shell = Shell::ssh(&member, &connections, &passwords, logs.of(&member.name));
            (member, shell)
        })
        .collect())
}

impl<'r> Fleet<'r> {
    /// Selects the hosts of a command; none is connected to yet. `root` is what paths of `deploy`
    /// are relative to.
    ///
    /// From now on Ctrl-C is only noted; see [`interrupt`].
    ///
    /// # Errors
    /// The selection is empty or wrong, or there is no ssh.
    pub fn open(
        chosen: &FleetOptions,
        deploy: Option<&Deploy>,
        root: &Path,
        command: &str,
        report: &'r Report,
    ) -> Result<Self> {
        if chosen.local && !chosen.only.is_empty() {
            let error =
                Error::new("`--only` selects hosts by their labels, and `--local` is this machine");
            return Err(error.kind(ErrorKind::Usage).hint("leave one of them out"));
        }
        let logs = CommandLogs::new(command, chosen.log_dir.as_deref())?;
        logs.prune();
        let prompt = Prompt::new(report.bars().clone());
        let passwords = SudoPasswords::new(chosen.sudo_password_file.clone(), prompt.clone());
        let hosts = if chosen.local {
            let shell = Shell::local(&Arc::new(passwords), logs.of("localhost"));
            vec![(SelectedHost::local(), shell)]
        } else {
            ssh_hosts(chosen, deploy, root, prompt, passwords, &logs)?
        };

        interrupt::watch()?;
        let width = hosts
            .iter()
            .map(|(member, _)| member.name.chars().count())
            .max()
            .unwrap_or(0);
        let machine = |(member, shell): (SelectedHost, Shell)| Machine {
            row: HostRow::new(&member.name, width, report),
            log: shell.log_path().to_owned(),
            host: Box::new(shell.with_patience(chosen.answer_timeout)),
            member,
        };
        let machines = hosts.into_iter().map(machine).collect();
        Ok(Self {
            machines,
            parallel: chosen.parallel,
            logs,
        })
    }

    /// Returns the directory of the hosts' logs.
    pub fn logs(&self) -> &Path {
        self.logs.directory()
    }

    /// Does something with every host; see [`Fleet::each_of`].
    pub fn each<T: Send>(&self, work: impl Fn(&Machine<'r>) -> T + Sync) -> Vec<Option<T>> {
        let all: Vec<&Machine<'r>> = self.machines.iter().collect();
        self.each_of(&all, self.parallel, work)
    }

    /// Does something with some hosts, at most `parallel` at a time, and returns the results in
    /// their order. After Ctrl-C no further host is begun; its result is `None`.
    pub fn each_of<T: Send>(
        &self,
        machines: &[&Machine<'r>],
        parallel: usize,
        work: impl Fn(&Machine<'r>) -> T + Sync,
    ) -> Vec<Option<T>> {
        parallel::map_while(
            machines,
            parallel,
            || !interrupt::requested(),
            |machine| work(machine),
        )
    }

    /// Does something with every host, and shows the results that are there, with the indices of
    /// their hosts and in their order: all at once, unless some hosts are slow; then those of
    /// the others do not wait for them longer than a few seconds. After Ctrl-C no further host
    /// is begun; its result is `None`.
    pub fn each_shown<T: Send>(
        &self,
        work: impl Fn(&Machine<'r>) -> T + Sync,
        mut show: impl FnMut(Vec<(usize, Option<T>)>),
    ) {
        let mut missing: BTreeSet<usize> = (0..self.machines.len()).collect();
        let mut ready: Vec<(usize, Option<T>)> = Vec::new();
        let work = |machine: &Machine<'r>| work(machine);
        parallel::for_each_while(
            &self.machines,
            self.parallel,
            || !interrupt::requested(),
            work,
            |receiver| {
                loop {
                    match receiver.recv_timeout(LULL) {
                        Ok((at, result)) => {
                            missing.remove(&at);
                            ready.push((at, Some(result)));
                        }
                        Err(mpsc::RecvTimeoutError::Timeout) if ready.is_empty() => {}
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            ready.sort_by_key(|(at, _)| *at);
                            show(std::mem::take(&mut ready));
                        }
                        Err(mpsc::RecvTimeoutError::Disconnected) => break,
                    }
                }
            },
        );
        ready.extend(missing.into_iter().map(|at| (at, None)));
        ready.sort_by_key(|(at, _)| *at);
        if !ready.is_empty() {
            show(ready);
        }
    }

    /// Returns how many hosts are worked on at a time.
    pub fn parallel(&self) -> usize {
        self.parallel
    }
}

/// A host's line in the table.
#[derive(Debug)]
pub struct HostRow<'r> {
    report: &'r Report,
    name: String,
    bar: ProgressBar,
    state: Mutex<RowState>,
}

#[derive(Debug)]
struct RowState {
    what: String,
    since: Instant,
    begun: Option<Instant>,
}

impl<'r> HostRow<'r> {
    fn new(name: &str, width: usize, report: &'r Report) -> Self {
        let style = ProgressStyle::with_template("{prefix} {msg} {elapsed}");
        let bar = ProgressBar::hidden()
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(format!("{:width$}", visible_line(name)));
        let state = Mutex::new(RowState {
            what: String::new(),
            since: Instant::now(),
            begun: None,
        });
        Self {
            report,
            name: name.to_owned(),
            bar,
            state,
        }
    }

    /// The host is now doing this, e.g. `uploading`.
    pub fn state(&self, what: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        what.clone_into(&mut state.what);
        let now = Instant::now();
        state.since = now;
        if self.report.is_live() && state.begun.is_none() {
            self.bar.reset();
            self.report.bars().add(self.bar.clone());
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        state.begun.get_or_insert(now);
        drop(state);
        self.bar.set_message(visible_line(what).into_owned());
        self.event(what, None);
    }

    /// So many bytes of what it is doing are done. Moves on a terminal, and is silent elsewhere.
    pub fn bytes(&self, done: u64, total: u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = state.since.elapsed().as_secs_f64();
        let rate = if seconds > 0.5 {
            human_bytes((done as f64 / seconds) as u64)
        } else {
            "…".to_owned()
        };
        self.bar.set_message(format!(
            "{} {} of {}, {rate}/s",
            visible_line(&state.what),
            human_bytes(done),
            human_bytes(total)
        ));
    }

    /// The host is done with all, well.
    pub fn done(&self, what: &str) {
        self.end(what, None);
    }

    /// The host is done with all, and failed.
    pub fn failed(&self, error: &Error) {
        self.end(error.message(), Some(error));
    }

    fn end(&self, what: &str, error: Option<&Error>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = state
            .begun
            .take()
            .map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        drop(state);
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
        self.report.bars().remove(&self.bar);
        match error {
            Some(error) if self.report.style() == OutputStyle::Json => {
                self.event(what, Some(error));
            }
            // The error is told in full at the end.
            Some(_) => self
                .report
                .step(&format!("{}: failed ({seconds:.1} s)", self.name)),
            None if self.report.style() == OutputStyle::Json => self.event(what, None),
            None => self
                .report
                .step(&format!("{}: {what} ({seconds:.1} s)", self.name)),
        }
    }

    fn event(&self, what: &str, error: Option<&Error>) {
        match self.report.style() {
            OutputStyle::Json => {
                let mut event = serde_json::json!({ "host": self.name, "state": what });
                if let Some(error) = error {
                    event["error"] = error.to_json();
                }
                self.report.json(&event);
            }
            OutputStyle::Text if self.report.is_live() => {}
            OutputStyle::Text => self.report.step(&format!("{}: {what}", self.name)),
        }
    }
}

/// Turns the hosts' errors into the command's: none is success, errors on all hosts are a failure,
/// else some hosts are changed and some are not.
///
/// # Errors
/// All of them, joined.
pub fn verdict(hosts: usize, errors: Vec<Error>) -> Result<()> {
    let failed = errors.len();
    match Error::all(errors) {
        None => Ok(()),
        Some(error) if failed < hosts => Err(error.kind(ErrorKind::Partial)),
        Some(error) => Err(error),
    }
}

/// Turns the errors of hosts that were only looked at into the command's.
///
/// # Errors
/// All of them, joined: not every host could be looked at.
pub fn looked(errors: Vec<Error>) -> Result<()> {
    Error::all(errors).map_or(Ok(()), |error| Err(error.kind(ErrorKind::Failed)))
}

/// Tells what a dry run has found: `hosts` is how many would change.
///
/// # Errors
/// There are some.
pub fn planned_changes(hosts: usize) -> Result<()> {
    if hosts == 0 {
        return Ok(());
    }
    let hosts = counted(hosts, "host");
    Err(Error::new(format!("the plan changes {hosts}")).kind(ErrorKind::Found))
}

/// Returns the names of hosts, consecutive numbers joined as `--hosts` reads them: `web[01:04],
/// db1`.
pub fn folded(names: &[&str]) -> String {
    let mut parts: Vec<HostNamePart<'_>> = Vec::new();
    for name in names {
        let next = HostNamePart::of(name);
        match parts.last_mut() {
            Some(last) if last.is_followed_by(&next) => last.last = next.last,
            _ => parts.push(next),
        }
    }
    parts
        .iter()
        .map(HostNamePart::text)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A name, taken apart at its last number before the first dot.
#[derive(Debug)]
struct HostNamePart<'n> {
    before: &'n str,
    width: usize,
    first: u64,
    last: u64,
    after: &'n str,
}

impl<'n> HostNamePart<'n> {
    fn of(name: &'n str) -> Self {
        // A range in an IPv6 address would be read as none.
        if name.contains('[') {
            return Self {
                before: name,
                width: 0,
                first: 0,
                last: 0,
                after: "",
            };
        }
        let label = name.find(['.', ':']).unwrap_or(name.len());
        let digit = |c: char| c.is_ascii_digit();
        // An address of four numbers is no name with a number in it.
        let end = name[..label].rfind(digit).map_or(0, |at| at + 1);
        let start = name[..end].rfind(|c| !digit(c)).map_or(0, |at| at + 1);
        match name[start..end].parse() {
            Ok(number) if start > 0 => Self {
                before: &name[..start],
                width: end - start,
                first: number,
                last: number,
                after: &name[end..],
            },
            _ => Self {
                before: name,
                width: 0,
                first: 0,
                last: 0,
                after: "",
            },
        }
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        // `web9, web10` are a range, as no zeros lead; `web09, web010` are none.
        let plain = |part: &Self| part.first.to_string().len() == part.width;
        self.width > 0
            && (self.before, self.after) == (next.before, next.after)
            && next.first == self.last + 1
            && (self.width == next.width || (plain(self) && plain(next)))
    }

    fn text(&self) -> String {
        let Self {
            before,
            width,
            first,
            last,
            after,
        } = self;
        match (width, first == last) {
            (0, _) => (*before).to_owned(),
            (_, true) => format!("{before}{first:0width$}{after}"),
            (_, false) => format!("{before}[{first:0width$}:{last:0width$}]{after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use pkgapp_config::HostPattern;

    #[test]
    fn names_fold_into_what_selects_them() {
        for (names, expected) in [
            (&["web01", "web02", "web03", "db1"][..], "web[01:03], db1"),
            (&["web9.x", "web10.x", "web11.x"], "web[9:11].x"),
            (&["web09", "web10"], "web[09:10]"),
            (&["web09", "web010"], "web09, web010"),
            (&["web1", "web3"], "web1, web3"),
            (&["10.0.0.1", "10.0.0.2"], "10.0.0.1, 10.0.0.2"),
            (&["u@r1n1:22", "u@r1n2:22"], "u@r1n[1:2]:22"),
            (&["a", "a1"], "a, a1"),
            (&["[fe80::1]", "[fe81::1]"], "[fe80::1], [fe81::1]"),
        ] {
            assert_eq!(folded(names), expected);
            let back = expected
                .split(", ")
                .flat_map(|text| HostPattern::parse(text).unwrap().expand().unwrap());
            assert_eq!(
                back.map(|address| address.to_string()).collect::<Vec<_>>(),
                names,
                "{expected}"
            );
        }
    }

    #[test]
    fn results_are_in_the_order_of_hosts_and_no_more_than_so_many_run() {
        let report = Report::silent();
        let machine = |number: usize| {
            let name = format!("h{number}");
            Machine {
                row: HostRow::new(&name, 3, &report),
                host: Box::new(hosts::recording::Recording::new(&name)) as Box<dyn Host>,
                log: PathBuf::new(),
                member: SelectedHost {
                    name,
                    ..SelectedHost::local()
                },
            }
        };
        let root = tempfile::tempdir().unwrap();
        let logs = CommandLogs::new("x", Some(root.path())).unwrap();
        let fleet = Fleet {
            machines: (0..12).map(machine).collect(),
            parallel: 3,
            logs,
        };
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let at_work = |machine: &Machine<'_>| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(if machine.member.name == "h0" {
                60
            } else {
                5
            }));
            now.fetch_sub(1, Ordering::SeqCst);
            machine.member.name.clone()
        };
        let expected: Vec<Option<String>> =
            (0..12).map(|number| Some(format!("h{number}"))).collect();
        assert_eq!(fleet.each(at_work), expected);
        let mut shown = Vec::new();
        fleet.each_shown(at_work, |batch| shown.push(batch));
        assert_eq!(
            shown,
            [expected.into_iter().enumerate().collect::<Vec<_>>()]
        );
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn results_do_not_wait_for_a_host_that_does_not_answer() {
        let report = Report::silent();
        let machine = |name: &str| Machine {
            row: HostRow::new(name, 3, &report),
            host: Box::new(hosts::recording::Recording::new(name)) as Box<dyn Host>,
            log: PathBuf::new(),
            member: SelectedHost {
                name: name.to_owned(),
                ..SelectedHost::local()
            },
        };
        let root = tempfile::tempdir().unwrap();
        let logs = CommandLogs::new("x", Some(root.path())).unwrap();
        let fleet = Fleet {
            machines: ["hangs", "b", "a"].map(machine).into(),
            parallel: 3,
            logs,
        };
        // It answers only when the others were shown.
        let (shown, until_shown) = mpsc::channel();
        let until_shown = Mutex::new(until_shown);
        let mut batches = Vec::new();
        let work = |machine: &Machine<'_>| {
            if machine.member.name == "hangs" {
                until_shown
                    .lock()
                    .unwrap()
                    .recv_timeout(Duration::from_secs(60))
                    .unwrap();
            }
        };
        fleet.each_shown(work, |batch| {
            batches.push(batch.iter().map(|(at, _)| *at).collect::<Vec<_>>());
            shown.send(()).unwrap();
        });
        assert_eq!(batches, [vec![1, 2], vec![0]]);
    }

    #[test]
    fn some_and_some_not_is_partial() {
        assert!(verdict(2, Vec::new()).is_ok() && looked(Vec::new()).is_ok());
        assert!(planned_changes(0).is_ok());
        let planned = planned_changes(2).unwrap_err();
        assert_eq!(planned.to_string(), "found: the plan changes 2 hosts");
        assert_eq!(planned.what(), ErrorKind::Found);
        let partly = Error::new("x").kind(ErrorKind::Partial);
        assert_eq!(looked(vec![partly]).unwrap_err().what(), ErrorKind::Failed);
        assert_eq!(
            verdict(2, vec![Error::new("x")]).unwrap_err().what(),
            ErrorKind::Partial
        );
        assert_eq!(
            verdict(2, vec![Error::new("x"), Error::new("y")])
                .unwrap_err()
                .what(),
            ErrorKind::Failed
        );
    }
}
