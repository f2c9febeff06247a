//! Hosts: the machines that commands run on and files are sent to.
//!
//! A [`Host`] does three things: run a script, take a file, give a file. Its error, [`HostFailure`],
//! says which of three things is true: the host was never reached, the command ran and failed, or
//! the connection was lost in the middle. The real one, [`Shell`], speaks to a shell through the
//! system's OpenSSH (so that a person's configuration, agent, jump hosts and known hosts hold) or
//! on this machine; `recording` is for tests.

mod channel;
pub mod diagnosis;
pub mod interrupt;
pub mod journal;
mod log;
mod prompt;
#[cfg(test)]
pub mod recording;
pub(crate) mod script;
pub mod select;
mod shell;
mod ssh;
mod sudo;
mod transfer;
pub mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::Error;
use pkgapp_core::process::Stream;

pub use log::{CommandLogs, HostLog};
pub use prompt::Prompt;
pub use select::{LabelFilter, Labels, SelectedHost, passes};
pub use shell::Shell;
pub use ssh::{Connections, SshOptions};
pub use sudo::SudoPasswords;

/// A machine that commands run on.
pub trait Host: Send + Sync {
    /// Returns the name, as the user wrote it; it holds no secret.
    fn name(&self) -> &str;

    /// Runs a script of POSIX sh. What it prints is passed on while it comes, and its end is
    /// returned. A line comes with its end, unless it has none, and a very long one in pieces:
    /// joined they are what was printed, byte for byte.
    ///
    /// # Errors
    /// It exits with another status than 0, or one of the two other things that [`HostFailure`] tells.
    fn run(
        &self,
        command: &HostCommand,
        on_line: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<CommandOutput, HostFailure>;

    /// Brings a file to the host: written aside, synced, its SHA-256 checked there, then renamed
    /// into place. What an earlier try has brought is not sent again, and nothing is if the
    /// same bytes lie there already. `progress` gets the number of bytes that the host has,
    /// from 0 to the size.
    ///
    /// # Errors
    /// See [`HostFailure`]; the file on the host is then what it was before.
    fn upload(
        &self,
        upload: &Upload,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Uploaded, HostFailure>;

    /// Fetches a file or, as a tar stream, a directory from the host and hands it to `sink` as it
    /// comes.
    ///
    /// # Errors
    /// See [`HostFailure`]; also if what came is not what the host's `sha256sum` has read.
    fn download(
        &self,
        download: &Download,
        sink: &mut dyn std::io::Write,
    ) -> Result<Downloaded, HostFailure>;
}

/// A script to run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCommand {
    /// What it does, for people, e.g. `installing shop 1.4.2`; goes into messages and logs.
    pub what: String,
    /// POSIX sh; neither it nor its arguments are seen by any other shell, nor by `ps`.
    pub script: String,
    /// Variables of the script, not exported, byte for byte.
    pub parameters: Vec<(&'static str, String)>,
    /// Reach the script as `"$@"`, byte for byte: a list, as a script's single values have names.
    pub args: Vec<String>,
    /// Exported before the script runs.
    pub env: BTreeMap<String, String>,
    /// What it reads from its standard input; `None`: nothing.
    pub stdin: Option<Vec<u8>>,
    /// Run it as root, by way of sudo unless the login is root already.
    pub sudo: bool,
    /// How long it may take; then it is [`HostFailure::Lost`].
    pub timeout: Option<Duration>,
    /// How much a host may say and how long it may think about it; then, too, it is
    /// [`HostFailure::Lost`].
    pub limits: OutputLimits,
    /// What happens to it when the user interrupts pkgapp, or the connection breaks.
    pub orphan: OrphanPolicy,
    /// The connection that it runs over.
    pub connection: ConnectionUse,
    /// What becomes of what it prints on standard output.
    pub output: OutputAudience,
}

/// Who gets to read a command's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputAudience {
    /// Everyone: it goes into the host's log and, if the command fails, into the error.
    Everyone,
    /// The caller alone: it holds secrets.
    Caller,
}

/// What a host is granted for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLimits {
    /// All the time that it takes, for what a person waits for or what changes the host. Of its
    /// output the end is kept.
    None,
    /// The time that a host has to answer, and [`KEPT_BYTES`] of output: for a question of pkgapp's
    /// own.
    Answer,
    /// So much output, and never a silence longer than a host has to answer.
    Stream(u64),
}

/// The connection of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionUse {
    /// The connection that all commands share.
    Shared,
    /// A new connection, which asks no questions. It proves that the host still lets the user in: the
    /// shared one keeps working long after sshd has ended.
    New,
}

/// What becomes of a command whose user is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrphanPolicy {
    /// It goes on to its end: what changes a host must not be cut in two. Ctrl-C does not stop
    /// waiting for it.
    Finishes,
    /// It and its children get SIGTERM, and pkgapp stops waiting at the first Ctrl-C. Such a
    /// command has no stdin.
    Ends,
}

impl HostCommand {
    /// A script without arguments, as the user that logs in, without a limit of time.
    pub fn new(what: impl Into<String>, script: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            script: script.into(),
            parameters: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            sudo: false,
            timeout: None,
            limits: OutputLimits::None,
            orphan: OrphanPolicy::Finishes,
            connection: ConnectionUse::Shared,
            output: OutputAudience::Everyone,
        }
    }

    /// Runs it over a new connection.
    #[must_use]
    pub fn over_new_connection(mut self) -> Self {
        self.connection = ConnectionUse::New;
        self
    }

    /// Sets a variable of the script.
    #[must_use]
    pub fn parameter(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.parameters.push((name, value.into()));
        self
    }

    /// Sets variables of the script.
    #[must_use]
    pub fn parameters(
        mut self,
        parameters: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Exports a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets what it reads.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Runs it as root, or not.
    #[must_use]
    pub fn sudo(mut self, sudo: bool) -> Self {
        self.sudo = sudo;
        self
    }

    /// Limits its time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits what the host may say, and how long it may take.
    #[must_use]
    pub fn limits(mut self, limits: OutputLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes it a question, whose answer is small and comes soon or never.
    #[must_use]
    pub fn question(self) -> Self {
        self.limits(OutputLimits::Answer).ends_with_us()
    }

    /// Keeps its standard output from logs and errors.
    #[must_use]
    pub fn confidential(mut self) -> Self {
        self.output = OutputAudience::Caller;
        self
    }

    /// Ends it when nobody waits for it any more.
    #[must_use]
    pub fn ends_with_us(mut self) -> Self {
        self.orphan = OrphanPolicy::Ends;
        self
    }
}

/// Returns a line as text, without its end.
pub fn line_text(line: &[u8]) -> std::borrow::Cow<'_, str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

/// What a command printed, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOutput {
    /// The exit status; 128 and the signal's number if a signal ended it.
    pub status: i32,
    /// The end of what it printed on standard output, at most [`KEPT_BYTES`].
    pub stdout: Vec<u8>,
    /// The same of standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

/// How much of each of a command's streams is kept in memory; more is in the host's log.
pub const KEPT_BYTES: usize = 4 << 20;

impl CommandOutput {
    /// Returns the standard output as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Returns the last lines of both streams, standard error last.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        last_lines_of(&[&self.stdout, &self.stderr], count)
    }

    /// Returns the last lines of standard error.
    pub fn last_errors(&self, count: usize) -> Vec<String> {
        last_lines_of(&[&self.stderr], count)
    }
}

fn last_lines_of(streams: &[&Vec<u8>], count: usize) -> Vec<String> {
    let texts = streams.iter().map(|stream| String::from_utf8_lossy(stream));
    let texts: Vec<_> = texts.collect();
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// Why a command has no result. Which of three things is true.
#[derive(Debug, Clone)]
pub enum HostFailure {
    /// The host was not reached: nothing ran.
    NeverReached(Error),
    /// It ran and failed.
    Failed {
        /// Its output and status.
        output: CommandOutput,
        /// The same for people.
        error: Error,
    },
    /// It began, and the connection broke, the time ran out or the user stopped waiting: nobody
    /// knows how it ended.
    Lost(Error),
}

impl HostFailure {
    /// Returns the error, for people.
    pub fn error(&self) -> &Error {
        match self {
            Self::NeverReached(error) | Self::Failed { error, .. } | Self::Lost(error) => error,
        }
    }

    /// Turns it into the error, for people.
    pub fn into_error(self) -> Error {
        match self {
            Self::NeverReached(error) | Self::Failed { error, .. } | Self::Lost(error) => error,
        }
    }
}

/// A file to be brought to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where its bytes are.
    pub content: UploadContent,
    /// How many there are.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: Sha256Sum,
    /// Where it goes: an absolute path, or one below the login's home; its directory must be
    /// there.
    pub path: String,
    /// What it becomes there.
    pub form: UploadForm,
    /// Permission bits of a file; the members of a directory have their own.
    pub mode: u32,
    /// `USER` or `USER:GROUP`; `None`: whoever writes it.
    pub owner: Option<String>,
    /// Write it as root.
    pub sudo: bool,
    /// What of it lies on the host in other files, in the order of this one; the rest is sent, if
    /// [`Upload::content`] is a file. If the copies turn out to be no such thing, all is sent.
    pub copies: Vec<RangeCopy>,
}

/// What an [`Upload`] becomes on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadForm {
    /// A file with these bytes.
    File,
    /// A directory with the members of a tar archive, which the bytes are. What lies at the path is
    /// replaced as a whole.
    Directory,
}

impl UploadForm {
    /// Returns the word that scripts have for it.
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }
}

/// A part of a file that lies on the host, in another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeCopy {
    /// That file.
    pub from: String,
    /// Where it is there.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Where it goes.
    pub at: u64,
}

impl Upload {
    /// Returns how many bytes the copies leave to be sent.
    pub fn missing(&self) -> u64 {
        self.size
            .saturating_sub(self.copies.iter().map(|copy| copy.length).sum())
    }
}

/// Where the bytes of an [`Upload`] are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadContent {
    /// In a file of this machine.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// What an upload cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes that were sent this time; fewer than its size if the host had some of them.
    pub sent: u64,
    /// Whether anything on the host is other than before.
    pub changed: bool,
}

/// What to fetch from a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// A path on the host, absolute or below the login's home.
    pub path: String,
    /// Whether a file or a tar stream is expected; see [`FetchKind`].
    pub kind: FetchKind,
    /// How many bytes it may have.
    pub most: u64,
    /// Read it as root.
    pub sudo: bool,
}

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchKind {
    /// The bytes of one regular file.
    File,
    /// A directory as a tar stream (`tar -c`, GNU format), its members below `./`.
    Directory,
}

/// What came from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    /// Bytes.
    pub size: u64,
    /// Their SHA-256, which the host has counted too.
    pub sha256: Sha256Sum,
    /// Permission bits of the file or directory.
    pub mode: u32,
}
