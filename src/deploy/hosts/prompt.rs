//! Questions to a person at a terminal, and secrets without an echo.

use std::io::Read;
use std::process::{Command as Process, Stdio};

use indicatif::MultiProgress;

use pkgapp_core::error::{Context, Result};

use super::interrupt;

/// Asks on the terminal of the process, if there is one.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// What moves on the terminal and must stand aside.
    bars: MultiProgress,
    is_possible: bool,
}

/// Reads a line from the terminal without an echo. A shell does it, so that the terminal is set
/// right again whatever signal comes; the secret leaves it through a pipe.
const ASK: &str = r#"
exec </dev/tty || exit 1
old=$(stty -g) || exit 1
trap 'stty "$old"; echo >/dev/tty; exit 130' INT TERM HUP QUIT
printf %s "$1" >/dev/tty
stty -echo
IFS= read -r secret
status=$?
stty "$old"
echo >/dev/tty
[ $status = 0 ] && printf %s "$secret"
"#;

impl Prompt {
    /// Prompts above `bars`; only if the process has a terminal, and stderr is on it.
    pub fn new(bars: MultiProgress) -> Self {
        use std::io::IsTerminal;
        let is_possible =
            std::io::stderr().is_terminal() && std::fs::File::open("/dev/tty").is_ok();
        Self { bars, is_possible }
    }

    /// Never asks.
    pub fn never() -> Self {
        Self {
            bars: MultiProgress::new(),
            is_possible: false,
        }
    }

    /// Returns whether there is someone to ask.
    pub fn is_possible(&self) -> bool {
        self.is_possible
    }

    /// Does something that uses the terminal by itself.
    pub(super) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bars.suspend(work)
    }

    /// Asks for a secret; `None` if the user would not say.
    ///
    /// # Errors
    /// There is no shell to ask with.
    pub fn secret(&self, question: &str) -> Result<Option<String>> {
        if !self.is_possible || interrupt::requested() {
            return Ok(None);
        }
        self.alone(|| {
            let mut child = Process::new("/bin/sh")
                .args([
                    "-c",
                    ASK,
                    "sh",
                    &*pkgapp_core::report::visible_line(question),
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context(|| "cannot start `/bin/sh`")?;
            let mut secret = String::new();
            if let Some(mut stdout) = child.stdout.take() {
                stdout
                    .read_to_string(&mut secret)
                    .context(|| "cannot read what was typed")?;
            }
            let status = child.wait().context(|| "cannot read what was typed")?;
            Ok(status.success().then_some(secret))
        })
    }
}
