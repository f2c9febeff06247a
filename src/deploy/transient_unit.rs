//! Parts of units that run one command like a service: a migration, or `pkgapp run --service`.

use pkgapp_release::services::unit;

/// Settings that keep a unit from running anything but its one command. Each line empties a list
/// that a drop-in may have filled.
pub(super) const NOTHING_ELSE: &str = "Restart=no
SuccessExitStatus=
WatchdogSec=0
RuntimeMaxSec=infinity
ExecCondition=
ExecStartPre=
ExecStart=
ExecStartPost=
ExecReload=
ExecStop=
ExecStopPost=
";

/// Returns the value of `ExecStart=` for a command. A shell finds the program by the variable PATH,
/// as the service's own programs do; systemd looks elsewhere.
pub(super) fn exec_start(words: impl IntoIterator<Item = String>) -> String {
    let shell = ["/bin/sh", "-c", "exec \"$@\"", "sh"].map(str::to_owned);
    let words: Vec<String> = shell.into_iter().chain(words).collect();
    unit::command(&words)
}

/// Returns the assignment of the variable PATH that applies unless the service sets its own.
pub(super) fn search_path(prefix: &str) -> String {
    format!("PATH={prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
