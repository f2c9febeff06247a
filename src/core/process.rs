//! Child processes: arguments in, and the output or a full report of the failure out. No shell is
//! involved.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{Context, Error, Result};
use crate::text::shell_quoted;

/// The number of lines of a failed child's output in an error.
const SHOWN_LINES: usize = 40;

/// Variables that select git's repository or indicate a hook (`git rev-parse --local-env-vars`,
/// except those that configure git: a CI may pass its credentials in them).
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

/// Hides from a command the repository of the git or hg hook that started pkgapp: pkgapp inspects
/// other repositories.
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

/// The stream of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Runs a command with its standard input closed and returns its output.
///
/// # Errors
/// Fails if the command cannot be started, or exits with another status than 0; the error contains
/// the end of its output.
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
/// Fails if the command cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .context(|| format!("cannot run `{}`", line(command)))
}

/// Runs a command with some text as its standard input, whatever its exit status. The text must fit
/// into a pipe.
///
/// # Errors
/// Fails if the command cannot be started.
pub fn output_of(command: &mut Command, input: &str) -> Result<Output> {
    let failed = |command: &Command| format!("cannot run `{}`", line(command));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context(|| failed(command))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input reports the reason.
        _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().context(|| failed(command))
}

/// Returns the error about a failed command.
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

/// Finds a program on PATH; a name with a slash is a path.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    which::which(program).ok()
}

/// Returns whether `path` is a file that anyone may execute.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
