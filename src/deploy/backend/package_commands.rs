//! The commands of package managers. They are built here once: `--dry-run` prints them, and
//! `transaction.sh` gets them as parameters and runs them.
//!
//! Which one it runs depends on what is installed at that moment, so it gets all; the plan prints the
//! one for what the facts tell.

use std::time::Duration;

use pkgapp_core::text::shell_quoted;

use crate::facts::{HostFacts, PackageManager};
use crate::stored::{RuntimeChange, VersionChange};

const APT_GET: [&str; 5] = ["apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0"];
const APT_OPTIONS: [&str; 7] = [
    "-o",
    "APT::Sandbox::User=root",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "--no-install-recommends",
];
const DPKG_INSTALL: [&str; 4] = ["dpkg", "--force-confdef", "--force-confold", "--install"];
const RPM_FORGET: [&str; 5] = ["rpm", "-e", "--justdb", "--noscripts", "--nodeps"];
const RPM_INSTALL: [&str; 4] = ["rpm", "-U", "--oldpackage", "--replacepkgs"];
const DNF_OPTIONS: [&str; 3] = [
    "-y",
    "--setopt=install_weak_deps=False",
    "--setopt=*.skip_if_unavailable=True",
];
const ZYPPER_INSTALL: [&str; 4] = [
    "zypper",
    "--non-interactive",
    "install",
    "--allow-unsigned-rpm",
];

/// What a command of a package manager is for. It ends with the names or files that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum CommandPurpose {
    /// Install what is not there, or only in an older version.
    Install,
    /// Install the version that is there once more.
    Reinstall,
    /// The same, with an interpreter of another version.
    ReinstallWith,
    /// Install an older version.
    Downgrade,
    /// Install what the manager over rpm has no word for: an older version for another architecture, or
    /// packages of which some become older.
    ByRpm,
    /// Install what takes the place of other packages.
    Replace,
    /// Take packages out of rpm's database, with which others replace them.
    Forget,
    /// Unpack and configure what dpkg was cut off in the middle of.
    Unpack,
    /// Install what was replaced.
    BringBack,
    /// Remove the application.
    Remove,
    /// Remove an interpreter, unless another application needs it.
    RemoveRuntime,
}

impl CommandPurpose {
    /// Returns the name of the variable that `transaction.sh` has for the command.
    fn variable(self) -> &'static str {
        match self {
            Self::Install => "to_install",
            Self::Reinstall => "to_reinstall",
            Self::ReinstallWith => "to_reinstall_with",
            Self::Downgrade => "to_downgrade",
            Self::ByRpm => "to_by_rpm",
            Self::Replace => "to_replace",
            Self::Forget => "to_forget",
            Self::Unpack => "to_unpack",
            Self::BringBack => "to_bring_back",
            Self::Remove => "to_remove",
            Self::RemoveRuntime => "to_remove_runtime",
        }
    }
}

impl From<VersionChange> for CommandPurpose {
    fn from(change: VersionChange) -> Self {
        match change {
            VersionChange::Install => Self::Install,
            VersionChange::Reinstall => Self::Reinstall,
            VersionChange::Downgrade => Self::Downgrade,
        }
    }
}

/// All commands of a host's package manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackageCommands {
    manager: PackageManager,
    commands: Vec<(CommandPurpose, Vec<String>)>,
}

impl PackageCommands {
    /// `lock_wait` is how long to wait for the lock of the package manager.
    pub(super) fn new(manager: PackageManager, facts: &HostFacts, lock_wait: Duration) -> Self {
        let commands = match manager {
            PackageManager::AptGet => apt_get(lock_wait),
            PackageManager::Dpkg => dpkg(),
            PackageManager::Dnf | PackageManager::Yum => dnf(manager, facts.exits_on_lock),
            PackageManager::Zypper => zypper(),
            PackageManager::Rpm => rpm(),
        };
        Self { manager, commands }
    }

    /// Returns the commands as variables for `transaction.sh`, each the words of a command.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.commands
            .iter()
            .map(|(purpose, words)| (purpose.variable(), quoted(words)))
    }

    /// Returns a line of sh that removes the packages of the application.
    pub(super) fn removal(&self, names: &[&str]) -> String {
        self.line(CommandPurpose::Remove, names)
    }

    /// Returns a line of sh that removes an interpreter.
    pub(super) fn runtime_removal(&self, name: &str) -> String {
        self.line(CommandPurpose::RemoveRuntime, &[name])
    }

    /// Returns lines of sh that install files, together with the interpreter in another file, and
    /// remove the packages `removed`.
    pub(super) fn installation(
        &self,
        coming: &[(VersionChange, String)],
        removed: &[String],
        runtime: Option<(&RuntimeChange, &str)>,
    ) -> Vec<String> {
        let mut purposes: Vec<CommandPurpose> = Vec::new();
        for (change, _) in coming {
            let purpose = CommandPurpose::from(*change);
            if !purposes.contains(&purpose) {
                purposes.push(purpose);
            }
        }
        let with = runtime.map(|(_, file)| file);
        let files = coming.iter().map(|(_, file)| file.as_str());
        let files: Vec<&str> = with.into_iter().chain(files).collect();
        let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
        match self.manager {
            PackageManager::AptGet => vec![self.by_apt(&purposes, &files, &removed)],
            PackageManager::Dnf | PackageManager::Yum => self.by_dnf(
                &purposes,
                &files,
                &removed,
                runtime.map(|(change, _)| change),
            ),
            PackageManager::Zypper => {
                let removed: Vec<String> = removed.iter().map(|name| format!("!{name}")).collect();
                let removed = removed.iter().map(String::as_str);
                let operands: Vec<&str> = files.into_iter().chain(removed).collect();
                vec![self.line(CommandPurpose::Install, &operands)]
            }
            PackageManager::Dpkg if !removed.is_empty() => vec![
                self.line(CommandPurpose::Remove, &removed),
                self.line(CommandPurpose::Install, &files),
            ],
            PackageManager::Rpm if !removed.is_empty() => self.by_rpm(&files, &removed),
            PackageManager::Dpkg | PackageManager::Rpm => {
                vec![self.line(CommandPurpose::Install, &files)]
            }
        }
    }

    fn by_apt(&self, purposes: &[CommandPurpose], files: &[&str], removed: &[&str]) -> String {
        let reinstalls = purposes.contains(&CommandPurpose::Reinstall);
        let is_alone = purposes.len() == 1 && files.len() == 1;
        let purpose = match (reinstalls, removed) {
            (true, []) if is_alone => CommandPurpose::Reinstall,
            (true, []) => CommandPurpose::ReinstallWith,
            (false, []) => CommandPurpose::Install,
            (_, _) => CommandPurpose::Replace,
        };
        let again = (reinstalls && !removed.is_empty()).then_some("--reinstall");
        let removed: Vec<String> = removed.iter().map(|name| format!("{name}-")).collect();
        let removed = removed.iter().map(String::as_str);
        let files = again.into_iter().chain(files.iter().copied());
        let operands: Vec<&str> = files.chain(removed).collect();
        self.line(purpose, &operands)
    }

    /// `files` begins with that of the interpreter, if it changes.
    fn by_dnf(
        &self,
        purposes: &[CommandPurpose],
        mut files: &[&str],
        removed: &[&str],
        runtime: Option<&RuntimeChange>,
    ) -> Vec<String> {
        let runtime = runtime.map(|change| match change {
            RuntimeChange::Up(_) => CommandPurpose::Install,
            RuntimeChange::Down { .. } => CommandPurpose::Downgrade,
        });
        let mut lines = Vec::new();
        let purpose = match (runtime, purposes) {
            (Some(runtime), []) => runtime,
            (Some(runtime), [purpose]) if runtime == *purpose => runtime,
            (Some(runtime), _) => {
                // Two calls: none of dnf's words means both.
                lines.push(self.line(runtime, &files[..1]));
                files = &files[1..];
                purposes[0]
            }
            (None, [purpose, ..]) => *purpose,
            (None, []) => CommandPurpose::ByRpm,
        };
        if purposes.len() > 1 {
            lines.extend(self.by_rpm(files, removed));
            return lines;
        }
        let erases: &[&str] = if removed.is_empty() {
            &[]
        } else {
            &["--allowerasing"]
        };
        lines.push(self.line(purpose, &[erases, files].concat()));
        lines
    }

    fn by_rpm(&self, files: &[&str], removed: &[&str]) -> Vec<String> {
        if removed.is_empty() {
            return vec![self.line(CommandPurpose::ByRpm, files)];
        }
        vec![
            self.line(CommandPurpose::Forget, removed),
            self.line(CommandPurpose::ByRpm, files),
        ]
    }

    fn line(&self, purpose: CommandPurpose, operands: &[&str]) -> String {
        let words = self.commands.iter().find(|(each, _)| *each == purpose);
        let (_, words) = words.expect("every manager has a command for what is printed");
        let operands = operands.iter().map(|&operand| operand.to_owned());
        quoted(&words.iter().cloned().chain(operands).collect::<Vec<_>>())
    }
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| shell_quoted(word)).collect();
    words.join(" ")
}

fn words(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

fn apt_get(lock_wait: Duration) -> Vec<(CommandPurpose, Vec<String>)> {
    let timeout = format!("DPkg::Lock::Timeout={}", lock_wait.as_secs());
    let lock = ["-o", timeout.as_str()];
    let command = |rest: &[&str]| words(&[&APT_GET, &lock, &APT_OPTIONS, rest]);
    let install = command(&["--no-remove", "--allow-downgrades", "install"]);
    vec![
        (CommandPurpose::Install, install.clone()),
        (CommandPurpose::Downgrade, install),
        (
            CommandPurpose::Reinstall,
            command(&["--no-remove", "--reinstall", "install"]),
        ),
        (
            CommandPurpose::ReinstallWith,
            command(&[
                "--no-remove",
                "--allow-downgrades",
                "--reinstall",
                "install",
            ]),
        ),
        (
            CommandPurpose::Replace,
            command(&["--allow-downgrades", "install"]),
        ),
        (CommandPurpose::Unpack, words(&[&DPKG_INSTALL])),
        (
            CommandPurpose::BringBack,
            command(&["--no-remove", "install"]),
        ),
        (CommandPurpose::Remove, command(&["remove"])),
        (
            CommandPurpose::RemoveRuntime,
            words(&[&["dpkg", "--remove"]]),
        ),
    ]
}

fn dpkg() -> Vec<(CommandPurpose, Vec<String>)> {
    let remove = words(&[&["dpkg", "--remove"]]);
    let mut commands = same_for_every_version(&words(&[&DPKG_INSTALL]));
    commands.extend([
        (CommandPurpose::BringBack, words(&[&DPKG_INSTALL])),
        (CommandPurpose::Remove, remove.clone()),
        (CommandPurpose::RemoveRuntime, remove),
    ]);
    commands
}

/// `exits_on_lock`: it has the option to end where another process holds its lock.
fn dnf(manager: PackageManager, exits_on_lock: bool) -> Vec<(CommandPurpose, Vec<String>)> {
    let lock = ["--setopt=exit_on_lock=True"];
    let lock: &[&str] = if exits_on_lock { &lock } else { &[] };
    let command = |rest: &[&str]| words(&[&[manager.program()], &DNF_OPTIONS, lock, rest]);
    vec![
        (CommandPurpose::Install, command(&["install"])),
        (CommandPurpose::Reinstall, command(&["reinstall"])),
        (CommandPurpose::Downgrade, command(&["downgrade"])),
        (CommandPurpose::ByRpm, words(&[&RPM_INSTALL])),
        (CommandPurpose::Forget, words(&[&RPM_FORGET])),
        (CommandPurpose::BringBack, command(&["install"])),
        (
            CommandPurpose::Remove,
            command(&["--setopt=clean_requirements_on_remove=False", "remove"]),
        ),
        (CommandPurpose::RemoveRuntime, words(&[&["rpm", "-e"]])),
    ]
}

fn zypper() -> Vec<(CommandPurpose, Vec<String>)> {
    let command = |rest: &[&str]| words(&[&ZYPPER_INSTALL, rest]);
    let install = command(&["--oldpackage", "--force", "--no-recommends"]);
    let mut commands = same_for_every_version(&install);
    commands.extend([
        (CommandPurpose::BringBack, command(&["--no-recommends"])),
        (
            CommandPurpose::Remove,
            words(&[&["zypper", "--non-interactive", "remove"]]),
        ),
        (CommandPurpose::RemoveRuntime, words(&[&["rpm", "-e"]])),
    ]);
    commands
}

fn rpm() -> Vec<(CommandPurpose, Vec<String>)> {
    let remove = words(&[&["rpm", "-e"]]);
    let mut commands = same_for_every_version(&words(&[&RPM_INSTALL]));
    commands.extend([
        (CommandPurpose::ByRpm, words(&[&RPM_INSTALL])),
        (CommandPurpose::Forget, words(&[&RPM_FORGET])),
        (CommandPurpose::BringBack, words(&[&["rpm", "-U"]])),
        (CommandPurpose::Remove, remove.clone()),
        (CommandPurpose::RemoveRuntime, remove),
    ]);
    commands
}

fn same_for_every_version(words: &[String]) -> Vec<(CommandPurpose, Vec<String>)> {
    [
        CommandPurpose::Install,
        CommandPurpose::Reinstall,
        CommandPurpose::Downgrade,
    ]
    .map(|purpose| (purpose, words.to_vec()))
    .to_vec()
}
