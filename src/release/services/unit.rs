//! The text of units, escaped according to systemd.syntax(7) and systemd.service(5).

use std::fmt::Write as _;

use super::paths::{INTO, ServiceScope};

/// The text of a unit that is being written.
#[derive(Debug)]
pub(super) struct UnitFile<'a> {
    text: String,
    scope: ServiceScope<'a>,
}

impl<'a> UnitFile<'a> {
    /// Begins the unit. A login's unit names its application, because a push changes only such
    /// units.
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
        // Writing to a String cannot fail.
        _ = writeln!(self.text, "\n[{name}]");
        self
    }

    /// Adds a setting whose value is already escaped, and adapts its paths to the scope. A login's
    /// unit has no setting that needs root.
    pub(super) fn set(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        match self.scope {
            ServiceScope::System => self.set_as_is(name, value),
            ServiceScope::Login(_) if needs_root(name) => self,
            ServiceScope::Login(paths) => self.set_as_is(name, paths.in_unit(&value.to_string())),
        }
    }

    /// Adds a setting whose value already has the paths of the scope.
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

/// Settings that need root or a mount namespace (systemd.exec(5)): user managers reject or ignore
/// them. Other settings of the sandbox remain, because the kernel lets every process give up system
/// calls, address families, and privileges.
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

/// Quotes a word of a setting that is split into words: quotes, backslashes, and control characters
/// are escaped as in C, and `%` is doubled.
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
            // These are single bytes in UTF-8, and systemd reads `\xHH` as a byte.
            c if c.is_ascii_control() => _ = write!(text, "\\x{:02x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Formats a command for `ExecStart=`. `$` is doubled in arguments, where systemd would expand
/// variables, but not in the program.
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

/// Formats a variable for `Environment=`, which does not expand `$`.
pub(super) fn variable(name: &str, value: &str) -> String {
    quoted(&format!("{name}={value}"))
}
