//! Names of environment variables that a setting can't have, because somebody else sets them.

use pkgapp_core::error::{Error, Result};

use super::super::{UNFIT_FOR_PYTHON, is_variable_name};

/// Variables of which only one exists, and whose they are. A name that ends in `_` stands for all
/// that begin with it.
const TAKEN: [(&str, &str); 44] = [
    ("PKGAPP_", PKGAPP),
    ("PATH", PKGAPP),
    ("INSTANCE", PKGAPP),
    ("LD_", LOADER),
    ("GLIBC_TUNABLES", LOADER),
    ("GCONV_PATH", LOADER),
    ("LOCALDOMAIN", LOADER),
    ("LOCPATH", LOADER),
    ("NLSPATH", LOADER),
    ("RES_OPTIONS", LOADER),
    ("HOME", SYSTEMD),
    ("USER", SYSTEMD),
    ("LOGNAME", SYSTEMD),
    ("SHELL", SYSTEMD),
    ("STATE_DIRECTORY", SYSTEMD),
    ("CACHE_DIRECTORY", SYSTEMD),
    ("LOGS_DIRECTORY", SYSTEMD),
    ("RUNTIME_DIRECTORY", SYSTEMD),
    ("CONFIGURATION_DIRECTORY", SYSTEMD),
    ("CREDENTIALS_DIRECTORY", SYSTEMD),
    ("LISTEN_FDS", SYSTEMD),
    ("LISTEN_FDNAMES", SYSTEMD),
    ("LISTEN_PID", SYSTEMD),
    ("NOTIFY_SOCKET", SYSTEMD),
    ("WATCHDOG_PID", SYSTEMD),
    ("WATCHDOG_USEC", SYSTEMD),
    ("MAINPID", SYSTEMD),
    ("MANAGERPID", SYSTEMD),
    ("INVOCATION_ID", SYSTEMD),
    ("JOURNAL_STREAM", SYSTEMD),
    ("SERVICE_RESULT", SYSTEMD),
    ("EXIT_CODE", SYSTEMD),
    ("EXIT_STATUS", SYSTEMD),
    ("FDSTORE", SYSTEMD),
    ("LOG_NAMESPACE", SYSTEMD),
    ("MEMORY_PRESSURE_WATCH", SYSTEMD),
    ("MEMORY_PRESSURE_WRITE", SYSTEMD),
    ("PIDFILE", SYSTEMD),
    ("SYSTEMD_", SYSTEMD),
    ("TRIGGER_", SYSTEMD),
    ("XDG_RUNTIME_DIR", SYSTEMD),
    ("ENV", SHELL),
    ("BASH_ENV", SHELL),
    ("IFS", SHELL),
];

const PKGAPP: &str = "pkgapp sets it";
const LOADER: &str = "the dynamic loader and the C library read it";
const SYSTEMD: &str = "systemd sets it";
const SHELL: &str = "shells read it";

/// Checks the name of a setting.
///
/// # Errors
/// It is no name of a variable, or the variable is not the application's.
pub fn check(name: &str) -> Result<()> {
    if !is_variable_name(name) {
        return Err(Error::new(format!(
            "`{}` is not the name of an environment variable",
            name.escape_debug()
        ))
        .hint("use letters, digits, and `_`, and no digit first"));
    }
    match owner(name) {
        None => Ok(()),
        Some(why) => Err(Error::new(format!("`{name}` cannot be a setting: {why}"))
            .hint("declare only variables that the application itself reads")),
    }
}

/// Returns why a variable is not the application's.
fn owner(name: &str) -> Option<&'static str> {
    let is_it = |taken: &str| match taken.strip_suffix('_') {
        Some(_) => name.starts_with(taken),
        None => name == taken,
    };
    TAKEN
        .iter()
        .chain(&UNFIT_FOR_PYTHON)
        .find(|(taken, _)| is_it(taken))
        .map(|(_, why)| *why)
}
