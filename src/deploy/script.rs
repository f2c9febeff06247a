//! The scripts that hosts run. Each begins with the same prelude and is one file of `scripts/`.

use crate::host;
use crate::name::AppName;

pub(super) const PRELUDE: &str = include_str!("scripts/prelude.sh");
pub(super) const FACTS: &str = include_str!("scripts/facts.sh");
pub(super) const LOCK: &str = include_str!("scripts/lock.sh");
pub(super) const BEAT: &str = include_str!("scripts/beat.sh");
pub(super) const UNLOCK: &str = include_str!("scripts/unlock.sh");
pub(super) const SWEEP: &str = include_str!("scripts/sweep.sh");
pub(super) const STAGE: &str = include_str!("scripts/stage.sh");
pub(super) const MIGRATE: &str = include_str!("scripts/migrate.sh");
pub(super) const COMMAND: &str = include_str!("scripts/command.sh");
pub(super) const INSTALL: &str = include_str!("scripts/install.sh");
pub(super) const TRANSACTION: &str = include_str!("scripts/transaction.sh");
pub(super) const HEALTH: &str = include_str!("scripts/health.sh");
pub(super) const RECORD: &str = include_str!("scripts/record.sh");
pub(super) const STATUS: &str = include_str!("scripts/status.sh");

/// Exit status of an installation that failed and was taken back.
pub(super) const RESTORED: i32 = 70;
/// Exit status of an installation that failed and could not be taken back.
pub(super) const FAILED: i32 = 71;
/// Exit status of an installation that the package manager did not begin, or not for the release's sake.
pub(super) const REFUSED: i32 = 72;

/// Returns the directory in which a host keeps what it must know of an application.
pub fn state_directory(name: &AppName) -> String {
    format!("/var/lib/pkgapp/{name}")
}

/// Makes a command of a script, for a push that has this token.
pub(super) fn command(what: &str, body: &str, name: &AppName, token: &str, root: bool) -> host::Command {
    host::Command::new(what, [PRELUDE, body].concat()).args([state_directory(name), token.to_owned()]).sudo(root)
}

/// Quotes a text for sh.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_script_is_posix_sh() {
        let all = [FACTS, LOCK, BEAT, UNLOCK, SWEEP, STAGE, MIGRATE, COMMAND, INSTALL, HEALTH, RECORD, STATUS];
        for script in all.map(|body| [PRELUDE, body].concat()).into_iter().chain([TRANSACTION.to_owned()]) {
            for shell in ["dash", "bash"] {
                let Some(shell) = crate::format::judge::tool(shell) else { continue };
                crate::format::judge::run(Command::new(shell).args(["-n", "-c", &script]));
            }
        }
    }
}
