//! [`Host`] for whatever has a shell at the other end of a pipe: ssh, or this machine.

use std::io::Cursor;
use std::path::Path;
use std::process::Command as Process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pkgapp_core::error::Error;
use pkgapp_core::report::human_bytes;

use super::channel::{self, RunEnd, ScriptInput, StopReason, Watcher};
use super::log::HostLog;
use super::script::LineMark;
use super::select::SelectedHost;
use super::ssh::{Connection, Connections};
use super::sudo::{self, Escalation, SudoPasswords, SudoRefusal};
use super::{
    CommandOutput, ConnectionUse, Download, Downloaded, Host, HostCommand, HostFailure,
    OrphanPolicy, OutputAudience, OutputLimits, Stream, Upload, Uploaded,
};
use super::{KEPT_BYTES, interrupt, line_text, script, transfer};

/// What ssh says when the server opens no further session (sshd_config(5), "MaxSessions").
const SESSION_REFUSED: &str = "Session open refused";

/// How often a session is asked for again, and how long to wait between.
const SESSION_TRIES: u32 = 5;
const SESSION_PAUSE: Duration = Duration::from_millis(300);

/// How many last lines an error shows.
const SHOWN_LINES: usize = 40;

/// How long a host has to answer, unless it is said.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long looking for sudo may take: directories of users are asked for it.
const SUDO_TIME: Duration = Duration::from_secs(60);

/// A real host.
#[derive(Debug)]
pub struct Shell {
    name: String,
    reach: Reach,
    log: HostLog,
    patience: Duration,
    password: Arc<SudoPasswords>,
    escalation: Mutex<Option<Escalation>>,
}

#[derive(Debug)]
enum Reach {
    Ssh(Connection),
    Local,
}

impl Shell {
    /// A host that ssh reaches.
    pub fn ssh(
        member: &SelectedHost,
        connections: &Arc<Connections>,
        password: &Arc<SudoPasswords>,
        log: HostLog,
    ) -> Self {
        let reach = Reach::Ssh(connections.to(&member.name, &member.address));
        Self::new(member.name.clone(), reach, password, log)
    }

    /// This machine.
    pub fn local(password: &Arc<SudoPasswords>, log: HostLog) -> Self {
        Self::new("localhost".to_owned(), Reach::Local, password, log)
    }

    fn new(name: String, reach: Reach, password: &Arc<SudoPasswords>, log: HostLog) -> Self {
        let password = Arc::clone(password);
        Self {
            name,
            reach,
            log,
            patience: PATIENCE,
            password,
            escalation: Mutex::default(),
        }
    }

    /// Sets how long the host has to answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns the file that holds all that the host has printed.
    pub fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// Runs a command whose input or output is not lines in memory.
    pub(super) fn call(
        &self,
        command: &HostCommand,
        input: Option<ScriptInput>,
        watcher: &mut dyn Watcher,
    ) -> Result<CommandOutput, HostFailure> {
        let escalation = if command.sudo {
            self.escalation()?
        } else {
            Escalation::None
        };
        if input.is_some() {
            return self.call_as(&escalation, command, input, watcher);
        }
        // A server that allows one session at a time may not have closed the last one yet.
        for _ in 0..SESSION_TRIES {
            match self.call_as(&escalation, command, None, watcher) {
                Err(HostFailure::NeverReached(error))
                    if error.to_string().contains(SESSION_REFUSED) =>
                {
                    std::thread::sleep(SESSION_PAUSE);
                }
                other => return other,
            }
        }
        self.call_as(&escalation, command, None, watcher)
    }

    fn call_as(
        &self,
        escalation: &Escalation,
        command: &HostCommand,
        input: Option<ScriptInput>,
        watcher: &mut dyn Watcher,
    ) -> Result<CommandOutput, HostFailure> {
        let mut preface = escalation.preface().into_bytes();
        let mark = LineMark::new().map_err(HostFailure::NeverReached)?;
        preface.extend(
            script::payload(command, &mark)
                .map_err(HostFailure::NeverReached)?
                .into_bytes(),
        );
        let mut process = self.process(&script::boot(escalation.words()), command.connection)?;
        self.log.line("$", &command.what);
        let mut watcher = Logged {
            log: &self.log,
            output: command.output,
            inner: watcher,
        };
        let ended = channel::call(
            &mut process,
            &mark,
            preface,
            input,
            command,
            self.patience,
            &mut watcher,
        );
        let ended = ended.map_err(|error| {
            let program = process.get_program().to_string_lossy().into_owned();
            HostFailure::NeverReached(Error::new(format!("cannot run `{program}`")).cause(error))
        })?;
        let seconds = ended.output.took.as_secs_f64();
        let judged = self.judge(command, ended);
        let end = match &judged {
            Ok(_) => format!("done ({seconds:.1} s)"),
            Err(failure) => format!("{} ({seconds:.1} s)", failure.error().message()),
        };
        self.log.line("=", &end);
        judged
    }

    fn process(&self, remote: &str, connection: ConnectionUse) -> Result<Process, HostFailure> {
        match (&self.reach, connection) {
            (Reach::Ssh(shared), ConnectionUse::Shared) => shared.process(remote),
            (Reach::Ssh(shared), ConnectionUse::New) => Ok(shared.new_process(remote)),
            (Reach::Local, _) => {
                let mut process = Process::new("/bin/sh");
                process.args(["-c", remote]);
                Ok(process)
            }
        }
    }

    /// Says which of the things that can be true of an ended run is.
    fn judge(&self, command: &HostCommand, ended: RunEnd) -> Result<CommandOutput, HostFailure> {
        let (what, name) = (&command.what, &self.name);
        let printed = |error: Error, output: &CommandOutput| {
            let lines = match command.output {
                OutputAudience::Everyone => output.last_lines(SHOWN_LINES),
                OutputAudience::Caller => output.last_errors(SHOWN_LINES),
            };
            if lines.is_empty() {
                error
            } else {
                error.cause_text(format!("it printed\n{}", lines.join("\n")))
            }
        };
        let log = format!(
            "all that `{name}` has printed is in `{}`",
            self.log.path().display()
        );
        match ended.stopped {
            Some(StopReason::Interrupt) => Err(HostFailure::Lost(
                interrupt::error().note(format!("{what} on `{name}`")),
            )),
            Some(stopped) => {
                let error = self.stopped(command, stopped);
                Err(HostFailure::Lost(printed(error, &ended.output).note(log)))
            }
            None if ended.told => match ended.output.status {
                0 => Ok(ended.output),
                status => {
                    let error = Error::new(format!(
                        "{what} failed on `{name}` with exit status {status}"
                    ));
                    let error = printed(error, &ended.output).note(log);
                    Err(HostFailure::Failed {
                        output: ended.output,
                        error,
                    })
                }
            },
            None if ended.began => {
                let error = Error::new(format!("the connection to `{name}` was lost while {what}"));
                let error = printed(error, &ended.output)
                    .note("it is unknown whether it came to its end there");
                Err(HostFailure::Lost(error.note(log)))
            }
            None => Err(self.not_begun(command, &ended)),
        }
    }

    /// Says why a command was stopped that a host did not end.
    fn stopped(&self, command: &HostCommand, why: StopReason) -> Error {
        let (what, name, patience) = (&command.what, &self.name, self.patience.as_secs_f64());
        let longer = "if it only needs longer, set `--answer-timeout`";
        match (why, command.timeout, command.limits) {
            (StopReason::Timeout, Some(limit), _) => Error::new(format!(
                "{what} on `{name}` took longer than {} s",
                limit.as_secs_f64()
            )),
            (StopReason::Timeout, None, _) => {
                Error::new(format!("{what} on `{name}` took longer than {patience} s")).hint(longer)
            }
            (StopReason::NotBegun, ..) => Error::new(format!(
                "`{name}` let the login in, and started no shell within {patience} s"
            ))
            .hint(longer),
            (StopReason::Silence, ..) => {
                Error::new(format!("{what} on `{name}` was silent for {patience} s")).hint(longer)
            }
            (StopReason::Flood, _, OutputLimits::Stream(most)) => Error::new(format!(
                "{what} on `{name}` brought more than {}",
                human_bytes(most)
            )),
            (StopReason::Flood, ..) => Error::new(format!(
                "{what} on `{name}` printed more than {}",
                human_bytes(KEPT_BYTES as u64)
            )),
            (StopReason::Interrupt, ..) => interrupt::error(),
        }
    }

    /// Says why a command that was to run did not begin.
    fn not_begun(&self, command: &HostCommand, ended: &RunEnd) -> HostFailure {
        let (noise, name) = (ended.noise.trim(), &self.name);
        if command.sudo && noise.contains("sudo:") {
            return HostFailure::NeverReached(sudo::refused(name, sudo::refusal(noise), noise));
        }
        if let (Reach::Ssh(connection), ConnectionUse::New, 255) =
            (&self.reach, command.connection, ended.output.status)
        {
            return HostFailure::NeverReached(connection.not_reached_again(noise));
        }
        let is_ssh = matches!(self.reach, Reach::Ssh(_));
        if is_ssh && ended.output.status == 255 {
            // The master was gone, or its server has refused a session: for sure nothing began.
            let for_sure = [
                "UNKNOWN port",
                "session request failed",
                "open failed",
                SESSION_REFUSED,
            ]
            .iter()
            .any(|text| noise.contains(text));
            let error = Error::new(format!(
                "the connection to `{name}` was lost before {} began",
                command.what
            ));
            let error = if noise.is_empty() {
                error
            } else {
                error.cause_text(noise)
            };
            return if for_sure {
                HostFailure::NeverReached(error)
            } else {
                HostFailure::Lost(error)
            };
        }
        let error = Error::new(format!("the login's shell on `{name}` runs no commands"));
        let error = if noise.is_empty() {
            error
        } else {
            error.cause_text(noise)
        };
        HostFailure::NeverReached(
            error.hint("the login needs a shell such as /bin/sh, and its profile must not exit"),
        )
    }

    /// Finds out, once, how root's work is done here.
    fn escalation(&self) -> Result<Escalation, HostFailure> {
        let mut known = self
            .escalation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let probe = HostCommand::new("looking for sudo", sudo::PROBE).timeout(SUDO_TIME);
        let output = self.call_as(&Escalation::None, &probe, None, &mut Silent)?;
        let text = output.text();
        let (word, said) = text.split_once('\n').unwrap_or((&text, ""));
        let found = match word {
            "root" => Escalation::None,
            "free" => Escalation::Free,
            "missing" => {
                return Err(HostFailure::NeverReached(
                    Error::new(format!(
                        "there is no sudo on `{}`, and the login is not root",
                        self.name
                    ))
                    .hint("log in as root, as in `--hosts root@HOST`, or install sudo there"),
                ));
            }
            _ if sudo::refusal(said) == SudoRefusal::NeedsPassword => self.with_password(said)?,
            _ => {
                return Err(HostFailure::NeverReached(sudo::refused(
                    &self.name,
                    sudo::refusal(said),
                    said,
                )));
            }
        };
        *known = Some(found.clone());
        Ok(found)
    }

    /// Gets a password and tries it, with nothing behind it that sudo could take for another.
    fn with_password(&self, said: &str) -> Result<Escalation, HostFailure> {
        let mut refused = None;
        let mut why = (SudoRefusal::NeedsPassword, said.to_owned());
        while let Some(secret) = self
            .password
            .get(&self.name, refused.as_ref())
            .map_err(HostFailure::NeverReached)?
        {
            let escalation = Escalation::Password(secret.clone());
            let check = HostCommand::new("checking the sudo password", CHECK)
                .stdin(escalation.preface().into_bytes())
                .timeout(SUDO_TIME);
            let input: ScriptInput = Box::new(Cursor::new(check.stdin.clone().unwrap_or_default()));
            match self.call_as(&Escalation::None, &check, Some(input), &mut Silent) {
                Ok(_) => return Ok(escalation),
                Err(HostFailure::Failed { output, .. }) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    why = (sudo::refusal(&said), said);
                    if why.0 != SudoRefusal::WrongPassword {
                        break;
                    }
                    refused = Some(secret);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(HostFailure::NeverReached(sudo::refused(
            &self.name, why.0, &why.1,
        )))
    }
}

/// Tries the password that is its standard input.
const CHECK: &str = "LC_ALL=C exec sudo -k -S -p '' -- /bin/sh -c :";

impl Host for Shell {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(
        &self,
        command: &HostCommand,
        on_line: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<CommandOutput, HostFailure> {
        debug_assert!(command.orphan == OrphanPolicy::Finishes || command.stdin.is_none());
        let input = command
            .stdin
            .clone()
            .map(|stdin| Box::new(Cursor::new(stdin)) as ScriptInput);
        self.call(command, input, &mut LineWatcher(on_line))
    }

    fn upload(
        &self,
        upload: &Upload,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Uploaded, HostFailure> {
        transfer::upload(self, upload, progress)
    }

    fn download(
        &self,
        download: &Download,
        sink: &mut dyn std::io::Write,
    ) -> Result<Downloaded, HostFailure> {
        transfer::download(self, download, sink)
    }
}

/// Passes lines on.
struct LineWatcher<'f>(&'f mut dyn FnMut(Stream, &[u8]));

impl Watcher for LineWatcher<'_> {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        (self.0)(stream, line);
    }
}

/// Nobody is interested while it runs.
pub(super) struct Silent;

impl Watcher for Silent {
    fn line(&mut self, _: Stream, _: &[u8]) {}
}

/// Writes the lines into the host's log too.
struct Logged<'w> {
    log: &'w HostLog,
    output: OutputAudience,
    inner: &'w mut dyn Watcher,
}

impl Watcher for Logged<'_> {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        match (stream, self.output) {
            (Stream::Stdout, OutputAudience::Caller) => {}
            (Stream::Stdout, OutputAudience::Everyone) => self.log.line("|", &line_text(line)),
            (Stream::Stderr, _) => self.log.line("!", &line_text(line)),
        }
        self.inner.line(stream, line);
    }

    fn sent(&mut self, bytes: u64) {
        self.inner.sent(bytes);
    }

    fn raw(&mut self, bytes: &[u8]) -> bool {
        self.inner.raw(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    use std::time::Instant;

    use super::*;
    use crate::hosts::{CommandLogs, FetchKind, Prompt, RangeCopy, UploadContent, UploadForm};
    use pkgapp_core::digest::Sha256Sum;

    /// This machine, with a directory for its log and for files.
    fn here() -> (tempfile::TempDir, Shell) {
        let directory = tempfile::tempdir().unwrap();
        let log = CommandLogs::new("test", Some(&directory.path().join("logs")))
            .unwrap()
            .of("localhost");
        let password = Arc::new(SudoPasswords::new(None, Prompt::never()));
        (directory, Shell::local(&password, log))
    }

    fn run(shell: &Shell, command: &HostCommand) -> Result<CommandOutput, HostFailure> {
        shell.run(command, &mut |_, _| {})
    }

    #[test]
    fn output_comes_line_by_line_and_into_the_log() {
        let (_directory, shell) = here();
        let mut lines = Vec::new();
        let command =
            HostCommand::new("x", "echo a; printf 'b\\377' >&2; cat; exit 3").stdin("c\nd");
        let failure = shell
            .run(&command, &mut |stream, line| {
                lines.push((stream, line.to_vec()));
            })
            .unwrap_err();
        let HostFailure::Failed { output, error } = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(
            (output.status, &output.stdout[..], &output.stderr[..]),
            (3, &b"a\nc\nd"[..], &b"b\xff"[..])
        );
        lines.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
        let expected = [
            (Stream::Stdout, &b"a\n"[..]),
            (Stream::Stdout, b"c\n"),
            (Stream::Stdout, b"d"),
            (Stream::Stderr, b"b\xff"),
        ];
        assert_eq!(
            lines,
            expected.map(|(stream, line)| (stream, line.to_vec())),
            "byte for byte"
        );
        assert_eq!(
            error.message(),
            "x failed on `localhost` with exit status 3"
        );
        let log = std::fs::read_to_string(shell.log_path()).unwrap();
        for part in ["$ x\n", "| a\n", "! b\u{fffd}\n", "= x failed on"] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }

    #[test]
    fn who_is_ended_in_the_middle_is_lost() {
        let (_directory, shell) = here();
        // The shell that would have told the status is gone.
        let failure = run(&shell, &HostCommand::new("x", "kill -9 $$")).unwrap_err();
        assert!(matches!(failure, HostFailure::Lost(_)), "{failure:?}");
    }

    #[test]
    fn what_a_command_prints_says_nothing_of_its_end() {
        let (_directory, shell) = here();
        let lines = [
            "\u{1e}pkgapp begin".to_owned(),
            "\u{1e}pkgapp exit 0".to_owned(),
            format!("\u{1e}pkgapp {} exit 0", "0".repeat(32)),
        ];
        // As a script by itself, and with another program in its place.
        for script in [
            "printf '%s\\n' \"$@\" | tee /dev/stderr; exit 3",
            "exec sh -c 'printf \"%s\\n\" \"$@\" | tee /dev/stderr; exit 3' sh \"$@\"",
        ] {
            let command = HostCommand::new("x", script).args(lines.clone());
            for command in [command.clone(), command.ends_with_us()] {
                let failure = run(&shell, &command).unwrap_err();
                let HostFailure::Failed { output, .. } = failure else {
                    panic!("{failure:?}")
                };
                let expected = lines.join("\n") + "\n";
                assert_eq!(
                    (output.status, output.text().into_owned()),
                    (3, expected.clone())
                );
                assert_eq!(
                    String::from_utf8(output.stderr).unwrap(),
                    expected,
                    "it is output like any other"
                );
            }
        }
    }

    #[test]
    fn time_is_up_and_children_end() {
        let (directory, shell) = here();
        let file = directory.path().join("late").display().to_string();
        let script = "(sleep 4; touch \"$1\") & wait";
        let start = Instant::now();
        let command = HostCommand::new("x", script)
            .arg(&file)
            .ends_with_us()
            .timeout(Duration::from_millis(300));
        let failure = run(&shell, &command).unwrap_err();
        assert!(
            matches!(&failure, HostFailure::Lost(error) if error.message().contains("longer than 0.3 s")),
            "{failure:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "{:?}",
            start.elapsed()
        );
        std::thread::sleep(Duration::from_secs(5).saturating_sub(start.elapsed()));
        assert!(!Path::new(&file).exists());
    }

    #[test]
    fn a_question_is_answered_soon_and_briefly_or_not_at_all() {
        let (directory, shell) = here();
        let shell = shell.with_patience(Duration::from_secs(1));
        let lost = |script: &str, limits: OutputLimits| {
            let start = Instant::now();
            let command = HostCommand::new("x", script).limits(limits).ends_with_us();
            let failure = run(&shell, &command).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(40), "{script}");
            assert!(matches!(failure, HostFailure::Lost(_)), "{failure:?}");
            failure.error().message().to_owned()
        };
        assert_eq!(
            lost("sleep 300", OutputLimits::Answer),
            "x on `localhost` took longer than 1 s"
        );
        assert_eq!(
            lost("while echo .; do sleep 0.2; done", OutputLimits::Answer),
            "x on `localhost` took longer than 1 s"
        );
        assert_eq!(
            lost("echo a; sleep 300", OutputLimits::Stream(100_000)),
            "x on `localhost` was silent for 1 s"
        );
        assert_eq!(
            lost("yes", OutputLimits::Stream(100_000)),
            "x on `localhost` brought more than 100.0 kB"
        );
        assert_eq!(
            lost("tr '\\0' x </dev/zero", OutputLimits::Stream(100_000)),
            "x on `localhost` brought more than 100.0 kB"
        );
        let (_other, patient) = here();
        let failure = run(&patient, &HostCommand::new("x", "yes").question()).unwrap_err();
        assert_eq!(
            failure.error().message(),
            "x on `localhost` printed more than 4.2 MB"
        );
        // One that changes the host takes its time, and prints as it likes.
        let command = HostCommand::new(
            "x",
            "head -c 9000000 /dev/zero | tr '\\0' x; sleep 1.5; echo; echo end",
        );
        let output = run(&shell, &command).unwrap();
        assert!(
            output.stdout.len() <= crate::hosts::KEPT_BYTES && output.text().ends_with("\nend\n")
        );
        assert!(
            shell.log_path().metadata().unwrap().len() < 2 * HostLog::MOST_BYTES,
            "{directory:?}"
        );
    }

    #[test]
    fn confidential_output_reaches_its_caller_alone() {
        let (_directory, shell) = here();
        let print = "echo topsecret; echo public >&2; exit 3";
        let command = HostCommand::new("x", print).confidential();
        let failure = run(&shell, &command).unwrap_err();
        let told = failure.error().to_string();
        assert!(
            told.contains("public") && !told.contains("topsecret"),
            "{told}"
        );
        let HostFailure::Failed { output, .. } = failure else {
            panic!("{failure:?}");
        };
        assert_eq!(output.text(), "topsecret\n");
        let log = std::fs::read_to_string(shell.log_path()).unwrap();
        assert!(
            log.contains("public") && !log.contains("topsecret"),
            "{log}"
        );
    }

    #[test]
    fn what_is_left_running_is_not_waited_for() {
        let (_directory, shell) = here();
        let start = Instant::now();
        let output = run(&shell, &HostCommand::new("x", "sleep 20 & echo $!")).unwrap();
        assert!(start.elapsed() < Duration::from_secs(15));
        let pid = rustix::process::Pid::from_raw(output.text().trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// An upload of `content` to `path`.
    fn upload(content: &[u8], path: &Path) -> Upload {
        Upload {
            content: UploadContent::Bytes(content.to_vec()),
            size: content.len() as u64,
            sha256: Sha256Sum::of(content),
            path: path.display().to_string(),
            form: UploadForm::File,
            mode: 0o640,
            owner: None,
            sudo: false,
            copies: Vec::new(),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn an_upload_sends_what_is_missing() {
        let (directory, shell) = here();
        let below = directory.path().join("a dir");
        std::fs::create_dir(&below).unwrap();
        let path = below.join("it's");
        let content: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
        let size = content.len() as u64;
        let wanted = upload(&content, &path);
        let mut seen = Vec::new();
        let done = shell.upload(&wanted, &mut |done| seen.push(done)).unwrap();
        assert_eq!(
            done,
            Uploaded {
                sent: size,
                changed: true
            }
        );
        assert!(
            seen.is_sorted() && seen.first() == Some(&0) && seen.last() == Some(&size),
            "{seen:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), content);
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o640
        );
        assert_eq!(
            shell.upload(&wanted, &mut |_| {}).unwrap(),
            Uploaded::default(),
            "it is there"
        );
        let readable = Upload {
            mode: 0o644,
            ..wanted.clone()
        };
        assert_eq!(
            shell.upload(&readable, &mut |_| {}).unwrap(),
            Uploaded {
                sent: 0,
                changed: true
            }
        );

        // What an interrupted transfer leaves is continued, unless it is something else.
        let sum = wanted.sha256.to_string()[..16].to_owned();
        let aside = below.join(format!(".it's.pkgapp-{sum}"));
        let part = aside.join(format!("part-{sum}"));
        let private = || {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&aside)
                .unwrap();
        };
        std::fs::remove_file(&path).unwrap();
        private();
        std::fs::write(&part, &content[..1_000_000]).unwrap();
        assert_eq!(
            shell.upload(&wanted, &mut |_| {}).unwrap().sent,
            size - 1_000_000
        );
        std::fs::remove_file(&path).unwrap();
        private();
        std::fs::write(&part, vec![7; 1_000_000]).unwrap();
        assert_eq!(
            shell.upload(&wanted, &mut |_| {}).unwrap().sent,
            2 * size - 1_000_000
        );
        assert_eq!(std::fs::read(&path).unwrap(), content);
        assert_eq!(names(&below), ["it's"], "nothing else is left");
    }

    #[test]
    fn an_upload_copies_what_lies_there() {
        let (directory, shell) = here();
        let (old, new, path) = ["old it's", "new", "place"]
            .map(|name| directory.path().join(name))
            .into();
        let bytes: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&old, &bytes).unwrap();
        // Old parts in another order, with something new before, between and after them.
        let content = [
            &b"first"[..],
            &bytes[1_000_000..],
            b"between",
            &bytes[..999_999],
            b"last",
        ]
        .concat();
        std::fs::write(&new, &content).unwrap();
        let copy = |offset: u64, length: u64, at: u64| RangeCopy {
            from: old.display().to_string(),
            offset,
            length,
            at,
        };
        let wanted = Upload {
            content: UploadContent::File(new),
            copies: vec![copy(1_000_000, 1_800_000, 5), copy(0, 999_999, 1_800_012)],
            ..upload(&content, &path)
        };
        assert_eq!(wanted.missing(), 16);
        let mut seen = Vec::new();
        let sent = shell
            .upload(&wanted, &mut |done| seen.push(done))
            .unwrap()
            .sent;
        assert_eq!(
            (sent, seen.first(), seen.last()),
            (16, Some(&(wanted.size - 16)), Some(&wanted.size))
        );
        assert!(std::fs::read(&path).unwrap() == content);
        assert_eq!(
            names(directory.path()).len(),
            4,
            "nothing is left over: {:?}",
            names(directory.path())
        );
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o640
        );

        // What was sent of the rest before is not sent again.
        std::fs::remove_file(&path).unwrap();
        let aside = directory.path().join(format!(
            ".place.pkgapp-{}",
            &wanted.sha256.to_string()[..16]
        ));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&aside)
            .unwrap();
        std::fs::write(
            aside.join(format!("rest-{}", transfer::name_of_rest(&wanted).unwrap())),
            b"firstbet",
        )
        .unwrap();
        assert_eq!(shell.upload(&wanted, &mut |_| {}).unwrap().sent, 8);
        assert!(std::fs::read(&path).unwrap() == content && !aside.exists());

        // Of what is something else, or gone, all is sent.
        for spoil in [&b"x"[..], b""] {
            std::fs::remove_file(&path).unwrap();
            match spoil {
                b"" => std::fs::remove_file(&old).unwrap(),
                other => std::fs::write(&old, [other, &bytes[1..]].concat()).unwrap(),
            }
            assert_eq!(
                shell.upload(&wanted, &mut |_| {}).unwrap().sent,
                16 + wanted.size
            );
            assert!(std::fs::read(&path).unwrap() == content);
        }
    }

    /// An archive with one file.
    fn archive(text: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o640);
        archive
            .append_data(&mut header, "./a", text.as_bytes())
            .unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_directory_is_replaced_as_a_whole_and_put_right_after_a_killed_one() {
        let (directory, shell) = here();
        let below = directory.path().join("below");
        let (path, aside) = (below.join("tree"), below.join(".tree.pkgapp-new"));
        std::fs::create_dir(&below).unwrap();
        let send = |archive: &[u8]| {
            shell
                .upload(
                    &Upload {
                        form: UploadForm::Directory,
                        ..upload(archive, &path)
                    },
                    &mut |_| {},
                )
                .map(|done| done.changed)
        };
        let is = |text: &str| assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), text);
        assert!(send(&archive("one")).unwrap());
        assert!(
            !send(&archive("one")).unwrap(),
            "nothing is other than in the archive"
        );
        is("one");
        std::fs::write(path.join("more"), "").unwrap();
        assert!(send(&archive("two")).unwrap());
        is("two");
        assert!(!path.join("more").exists());
        assert_eq!(names(&below), ["tree"], "nothing else is left");

        // Between the two renames.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&aside)
            .unwrap();
        std::fs::rename(&path, aside.join("old")).unwrap();
        assert!(send(b"no archive").is_err());
        is("two");
        assert!(send(&archive("three")).unwrap());
        is("three");
        assert_eq!(names(&below), ["tree"]);
        // What is no directory stays.
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::write(&path, "file").unwrap();
        let failure = send(&archive("three")).unwrap_err();
        assert!(
            failure.error().to_string().contains("is no directory"),
            "{failure:?}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "file");
    }

    #[test]
    fn an_upload_follows_no_link_that_others_could_have_made() {
        let (directory, shell) = here();
        let open = directory.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let victim = directory.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        std::os::unix::fs::symlink(&victim, open.join("link")).unwrap();
        let failure = shell
            .upload(&upload(b"new", &open.join("link/x")), &mut |_| {})
            .unwrap_err();
        assert!(
            failure
                .error()
                .to_string()
                .contains("link is a symbolic link"),
            "{failure:?}"
        );
        assert!(names(&victim).is_empty());
        // The last one is replaced, and what it leads to stays.
        std::fs::write(victim.join("file"), "old").unwrap();
        std::os::unix::fs::symlink(victim.join("file"), open.join("x")).unwrap();
        assert!(
            shell
                .upload(&upload(b"new", &open.join("x")), &mut |_| {})
                .unwrap()
                .changed
        );
        assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "old");
        assert!(open.join("x").symlink_metadata().unwrap().is_file());
        // What others put where it is put together is cleared away.
        let aside = open.join(format!(
            ".y.pkgapp-{}",
            &Sha256Sum::of(b"new").to_string()[..16]
        ));
        std::os::unix::fs::symlink(&victim, &aside).unwrap();
        assert!(
            shell
                .upload(&upload(b"new", &open.join("y")), &mut |_| {})
                .unwrap()
                .changed
        );
        assert_eq!(names(&victim), ["file"]);
    }

    #[test]
    fn an_upload_that_is_cut_leaves_the_old_file() {
        let (directory, shell) = here();
        let path = directory.path().join("x");
        std::fs::write(&path, "old").unwrap();
        // Fewer bytes than were promised, as when a file shrinks while it is sent.
        let short = Upload {
            size: 10,
            ..upload(b"new", &path)
        };
        let failure = shell.upload(&short, &mut |_| {}).unwrap_err();
        assert!(
            failure
                .error()
                .to_string()
                .contains("3 of 10 bytes arrived"),
            "{failure:?}"
        );
        let wrong = Upload {
            sha256: Sha256Sum::of(b"other"),
            ..upload(b"new", &path)
        };
        let failure = shell.upload(&wrong, &mut |_| {}).unwrap_err();
        assert!(
            failure.error().to_string().contains("another SHA-256"),
            "{failure:?}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        for (bad, why) in [
            (directory.path().to_owned(), "is a directory"),
            (path.join("y"), "there is no directory"),
        ] {
            let failure = shell
                .upload(&upload(b"new", &bad), &mut |_| {})
                .unwrap_err();
            assert!(failure.error().to_string().contains(why), "{failure:?}");
        }
    }

    #[test]
    fn downloads_are_checked() {
        let (directory, shell) = here();
        let path = directory.path().join("-x");
        let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &content).unwrap();
        let download = |path: &Path, kind| Download {
            path: path.display().to_string(),
            kind,
            most: 10 << 20,
            sudo: false,
        };
        let mut came = Vec::new();
        let done = shell
            .download(&download(&path, FetchKind::File), &mut came)
            .unwrap();
        assert_eq!(
            (came == content, done.size, done.sha256),
            (true, content.len() as u64, Sha256Sum::of(&content))
        );
        let mut came = Vec::new();
        shell
            .download(&download(directory.path(), FetchKind::Directory), &mut came)
            .unwrap();
        let mut archive = tar::Archive::new(&came[..]);
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|member| member.unwrap().path().unwrap().into_owned())
            .collect();
        assert!(
            names.contains(&Path::new("-x").to_owned())
                || names.contains(&Path::new("./-x").to_owned()),
            "{names:?}"
        );
        let small = Download {
            most: 1000,
            ..download(&path, FetchKind::File)
        };
        assert!(matches!(
            shell.download(&small, &mut Vec::new()),
            Err(HostFailure::Lost(_))
        ));
        for (path, kind) in [
            (directory.path().join("none"), FetchKind::File),
            (directory.path().to_owned(), FetchKind::File),
        ] {
            let failure = shell
                .download(&download(&path, kind), &mut Vec::new())
                .unwrap_err();
            assert!(matches!(failure, HostFailure::Failed { .. }), "{failure:?}");
        }
    }
}
