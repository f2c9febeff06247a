//! The logs: for every command of pkgapp that uses hosts a directory, and in it for every host what
//! it printed, up to a size.
//!
//! They lie where the XDG Base Directory Specification has a program's state:
//! `$XDG_STATE_HOME/pkgapp/logs`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::report::visible_line;

/// How many commands' logs are kept.
const KEPT: usize = 100;

/// The directory of one command's logs; it is made when something is to be written.
#[derive(Debug, Clone)]
pub struct CommandLogs {
    directory: PathBuf,
    /// Whether the directory above it is pkgapp's own.
    tightens: bool,
}

impl CommandLogs {
    /// Logs of a command that begins now, e.g. `run`, below `root`, or where the user's state lies.
    ///
    /// # Errors
    /// The environment has no HOME.
    pub fn new(command: &str, root: Option<&Path>) -> Result<Self> {
        let tightens = root.is_none();
        let root = root.map_or_else(default_root, |root| Ok(root.to_owned()))?;
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let directory = root.join(format!("{now}-{command}-{}", std::process::id()));
        Ok(Self {
            directory,
            tightens,
        })
    }

    /// Returns where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the log of a host.
    pub fn of(&self, host: &str) -> HostLog {
        // A login of a directory service may hold a backslash; nothing else that a name may hold is
        // odd in a file's name.
        let path = self
            .directory
            .join(format!("{}.log", host.replace(['/', '\\'], "_")));
        HostLog {
            path,
            tightens: self.tightens,
            file: Mutex::default(),
        }
    }

    /// Removes the oldest logs, so that they don't fill the disk. Nothing is lost if that fails.
    pub fn prune(&self) {
        let Some(root) = self.directory.parent() else {
            return;
        };
        let Ok(entries) = std::fs::read_dir(root) else {
            return;
        };
        let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // Their names begin with the time.
        names.sort();
        for old in names.iter().take(names.len().saturating_sub(KEPT)) {
            _ = std::fs::remove_dir_all(old);
        }
    }
}

fn default_root() -> Result<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("pkgapp/logs")).ok_or_else(|| {
        Error::new("there is no directory for logs: HOME is not set")
            .hint("set HOME, or give one with `--log-dir`")
    })
}

/// The log of one host.
#[derive(Debug)]
pub struct HostLog {
    path: PathBuf,
    tightens: bool,
    file: Mutex<OpenLog>,
}

/// The file, once it is open, and how much was written to it.
#[derive(Debug, Default)]
struct OpenLog {
    file: Option<File>,
    bytes: u64,
}

impl HostLog {
    /// How large it gets: a host that never stops to print must not fill this machine's disk.
    pub(super) const MOST_BYTES: u64 = 64 << 20;

    /// Returns the file; it is there once something was logged.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, with the time. A log that can't be written stops nothing: the disk may be full.
    pub(super) fn line(&self, mark: &str, text: &str) {
        let mut written = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours are few, and tell how it ended.
        let is_ours = matches!(mark, "$" | "=");
        if written.bytes > Self::MOST_BYTES && !is_ours {
            return;
        }
        if written.file.is_none() {
            written.file = self.open().ok();
        }
        let now = jiff::Timestamp::now().strftime("%H:%M:%S%.3f");
        // Somebody will look at it on a terminal.
        let mut line = format!("{now} {mark} {}\n", visible_line(text));
        written.bytes += line.len() as u64;
        if written.bytes > Self::MOST_BYTES && !is_ours {
            // Writing to a String does not fail.
            _ = writeln!(line, "{now} = what it prints further is not kept");
        }
        if let Some(file) = written.file.as_mut() {
            _ = file.write_all(line.as_bytes());
        }
    }

    fn open(&self) -> Result<File> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
        // What hosts print may be private. Above the directory of this command lies that of all
        // commands, which earlier versions have left open; one that the user has named
        // stays as it is.
        if let Some(directory) = self.path.parent() {
            let failed = || format!("cannot make `{}`", shown(directory));
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .context(failed)?;
            if self.tightens
                && let Some(all) = directory.parent()
            {
                _ = std::fs::set_permissions(all, std::fs::Permissions::from_mode(0o700));
            }
        }
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path);
        file.map_err(|error| Error::new("cannot open the log").cause(error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_log_is_made_when_there_is_something_to_tell() {
        let root = tempfile::tempdir().unwrap();
        let logs = CommandLogs::new("run", Some(root.path())).unwrap();
        let log = logs.of("CORP\\ann@web1:22");
        assert!(!logs.directory().exists());
        log.line("$", "date");
        log.line("|", "today");
        let text = std::fs::read_to_string(logs.directory().join("CORP_ann@web1:22.log")).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| &line[13..]).collect();
        assert_eq!(lines, ["$ date", "| today"]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(log.path()), mode(logs.directory())),
            (0o600, 0o700),
            "nobody else reads what hosts print"
        );
    }

    #[test]
    fn a_log_does_not_fill_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let log = CommandLogs::new("run", Some(root.path()))
            .unwrap()
            .of("web1");
        let line = "x".repeat(1 << 20);
        for _ in 0..70 {
            log.line("|", &line);
        }
        log.line("=", "done");
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(text.len() < 67 << 20 && text.ends_with("= done\n"));
        assert!(text.contains("= what it prints further is not kept\n"));
    }

    #[test]
    fn old_logs_go() {
        let root = tempfile::tempdir().unwrap();
        for day in 100..250 {
            std::fs::create_dir(root.path().join(format!("20200{day}T000000Z-run-1"))).unwrap();
        }
        CommandLogs::new("run", Some(root.path())).unwrap().prune();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), KEPT);
        assert!(root.path().join("20200249T000000Z-run-1").exists());
    }
}
