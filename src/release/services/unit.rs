//! The text of a unit, escaped as systemd.syntax(7) and systemd.service(5) say.

use std::fmt::Write as _;

use super::paths::{INTO, ServiceScope};

/// A unit's file that is being written.
#[derive(Debug)]
pub(super) struct UnitFile<'a> {
    text: String,
    scope: ServiceScope<'a>,
}

impl<'a> UnitFile<'a> {
    /// Begins the unit. One of a login's says whose it is: a push changes no other.
    pub(super) fn new(scope: ServiceScope<'a>) -> Self {
        let text = match scope {
            ServiceScope::System => {
                "# Made by pkgapp. Change it with `systemctl edit`: an upgrade replaces this file.\n"
                    .to_owned()
            }
            ServiceScope::Login(_) => format!(
                "# Made by pkgapp. Change it with `systemctl --user edit`: an upgrade replaces this file.\n\
                 # pkgapp: {INTO}\n"
            ),
        };
        Self { text, scope }
    }

    pub(super) fn section(&mut self, name: &str) -> &mut Self {
        // Writing to a String does not fail.
        _ = writeln!(self.text, "\n[{name}]");
        self
    }

    /// Adds a setting whose value is written as systemd reads it, with the package's paths. A
    /// login's unit has its own paths, and no setting that needs root.
    pub(super) fn set(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        match self.scope {
            ServiceScope::System => self.set_as_is(name, value),
            ServiceScope::Login(_) if needs_root(name) => self,
            ServiceScope::Login(paths) => self.set_as_is(name, paths.in_unit(&value.to_string())),
        }
    }

    /// Adds a setting whose value has the paths of whoever reads it.
    pub(super) fn set_as_is(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        _ = writeln!(self.text, "{name}={value}");
        self
    }

    pub(super) fn set_all<T: std::fmt::Display>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        values
            .into_iter()
            .for_each(|value| _ = self.set(name, value));
        self
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}

/// Settings that need root, or a file system of the unit's own (systemd.exec(5)): user managers
/// refuse or ignore them. What stays is what the kernel lets everyone give up: system calls, address
/// families, further rights.
const FOR_ROOT: [&str; 29] = [
    "AmbientCapabilities",
    "BindPaths",
    "BindReadOnlyPaths",
    "CacheDirectoryMode",
    "CapabilityBoundingSet",
    "ConfigurationDirectory",
    "ConfigurationDirectoryMode",
    "DynamicUser",
    "ExecPaths",
    "Group",
    "InaccessiblePaths",
    "LogsDirectoryMode",
    "MountAPIVFS",
    "NoExecPaths",
    "OOMScoreAdjust",
    "PAMName",
    "ProcSubset",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RemoveIPC",
    "RootDirectory",
    "RootImage",
    "SecureBits",
    "SocketGroup",
    "SocketUser",
    "StateDirectoryMode",
    "SupplementaryGroups",
    "TemporaryFileSystem",
    "User",
];

fn needs_root(name: &str) -> bool {
    FOR_ROOT.contains(&name)
        || ["Protect", "Private", "IOScheduling", "CPUScheduling"]
            .iter()
            .any(|family| name.starts_with(family))
}

/// Doubles `%`, which begins a specifier (systemd.unit(5)).
pub fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

/// Quotes a word where words are split: quotes, backslashes and control characters as in C, and `%`
/// doubled.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:,=@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return plain(word);
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '%' => text.push_str("%%"),
            // One byte each: systemd takes `\xHH` for a byte, and these are the same in UTF-8.
            c if c.is_ascii_control() => _ = write!(text, "\\x{:02x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A command as `ExecStart=` takes it: besides quoting, `$` is doubled, or variables would be put
/// in. The program itself is not searched for variables.
pub fn command(words: &[String]) -> String {
    let mut line = String::new();
    for (index, word) in words.iter().enumerate() {
        match index {
            0 => line.push_str(&quoted(word)),
            _ => _ = write!(line, " {}", quoted(&word.replace('$', "$$"))),
        }
    }
    line
}

/// A variable as `Environment=` takes it; `$` means nothing there.
pub(super) fn variable(name: &str, value: &str) -> String {
    quoted(&format!("{name}={value}"))
}
