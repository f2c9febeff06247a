//! Child processes: argv in, output or a full account of the failure out. No shell is involved.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{Context, Error, Result};
use crate::text::shell_quoted;

/// Lines of a failed child's output that an error shows.
const SHOWN_LINES: usize = 40;

/// What tells git which repository it is in, or runs a hook for (`git rev-parse --local-env-vars`,
/// less the variables that configure it: a CI may have its credentials there).
const GIT_PLACES: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Keeps from a command what git and hg hooks say of the repository that they run for: pkgapp may
/// be run by one, and has repositories of its own to look at.
pub fn outside_repositories(command: &mut Command) -> &mut Command {
    for name in GIT_PLACES {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"HG_") {
            command.env_remove(name);
        }
    }
    command
}

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Runs a command with its standard input closed and returns what it printed.
///
/// # Errors
/// It can't be started, or it exits with another status than 0; the error holds the end of its
/// output.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(failure(command, &output))
}

/// Runs a command with its standard input closed, whatever its exit status.
///
/// # Errors
/// It can't be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .context(|| format!("cannot run `{}`", line(command)))
}

/// Runs a command with some text as its standard input, whatever its exit status. Meant for texts
/// that fit into a pipe.
///
/// # Errors
/// It can't be started.
pub fn output_of(command: &mut Command, input: &str) -> Result<Output> {
    let failed = |command: &Command| format!("cannot run `{}`", line(command));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context(|| failed(command))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it says why.
        _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().context(|| failed(command))
}

/// Returns the error that says how a command failed.
pub fn failure(command: &Command, output: &Output) -> Error {
    let text = [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let error = Error::new(format!("`{}` failed with {}", line(command), output.status));
    if lines.is_empty() {
        return error.cause_text("it printed nothing");
    }
    let first = lines.len().saturating_sub(SHOWN_LINES);
    error.cause_text(format!("it printed\n{}", lines[first..].join("\n")))
}

/// Returns a command as a person would type it.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| shell_quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Finds a program on PATH, or takes it as a path if it has a slash.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    which::which(program).ok()
}

/// Returns whether `path` is a file that someone may execute.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
