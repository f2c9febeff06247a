//! Errors: the message, the place, the causes, and one correct way out.
//!
//! There is one type for the whole program: every error ends on a person's terminal or in a CI log,
//! and the few callers that branch do so on [`ErrorKind`]. The text is rendered in one place
//! ([`Error`]'s `Display`), so that every message has the same form:
//!
//! ```text
//! error: requirement `flask>=2` is not pinned
//!   --> requirements.txt:3:6
//!   cause: …
//!   note: …
//!   hint: write `flask==2.3.3`
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use crate::report::{visible, visible_line};

/// The result of fallible functions in all crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The meaning of an error for the caller, and so for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input or the machine is at fault and nothing was changed, or nobody could look.
    Failed,
    /// The command line is at fault.
    Usage,
    /// Some hosts changed and some did not.
    Partial,
    /// Nothing is at fault: a command that only looks has found something, such as drift or a plan
    /// that is not empty.
    Found,
    /// Nothing is at fault: what was done awaits a confirmation, and is undone without one.
    Unconfirmed,
    /// A bug in pkgapp.
    Bug,
}

impl ErrorKind {
    /// All kinds, in the order of their exit codes.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::Usage,
        Self::Partial,
        Self::Found,
        Self::Unconfirmed,
        Self::Bug,
    ];

    /// Returns the process's exit code. It is 0 if there is no error.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Found => 4,
            Self::Unconfirmed => 5,
            Self::Bug => 101,
        }
    }

    /// Returns the meaning of the exit code, for help texts.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "it failed and nothing was changed, or it could not look",
            Self::Usage => "usage",
            Self::Partial => "some hosts changed and some not",
            Self::Found => "it looked and found something",
            Self::Unconfirmed => "a release awaits confirmation",
            Self::Bug => "a bug in pkgapp",
        }
    }

    /// Returns the label in front of the message.
    const fn heading(self) -> &'static str {
        match self {
            Self::Failed | Self::Usage | Self::Partial => "error:",
            Self::Found => "found:",
            Self::Unconfirmed => "unconfirmed:",
            Self::Bug => "bug in pkgapp:",
        }
    }
}

/// A place in a text file of the user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// Line and column, both from 1, the column in characters; `None` if only the file is known.
    pub position: Option<(usize, usize)>,
}

impl Location {
    /// A file as a whole.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            position: None,
        }
    }

    /// The place of the byte `offset` of `text`, which is the content of `file`.
    pub fn at_offset(file: impl Into<PathBuf>, text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Self {
            file: file.into(),
            position: Some((line, column)),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.file))?;
        match self.position {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// Returns the name of a path in messages: relative to the working directory if it is below it.
pub fn shown(path: &Path) -> std::path::Display<'_> {
    match std::env::current_dir() {
        Ok(here) => match path.strip_prefix(&here) {
            Ok(below) if !below.as_os_str().is_empty() => below.display(),
            _ => path.display(),
        },
        Err(_) => path.display(),
    }
}

/// A failure with everything to report about it.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    at: Option<Location>,
    causes: Vec<String>,
    notes: Vec<String>,
    hints: Vec<String>,
    others: Vec<Error>,
}

impl Error {
    /// A failure of [`ErrorKind::Failed`]. `message` is in lower case, without a period, with names
    /// in backticks.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind: ErrorKind::Failed,
            message: message.into(),
            at: None,
            causes: Vec::new(),
            notes: Vec::new(),
            hints: Vec::new(),
            others: Vec::new(),
        }))
    }

    /// A bug in pkgapp: a violated invariant.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(message).kind(ErrorKind::Bug)
    }

    /// Joins independent failures into one; `None` for no failures.
    pub fn all(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.0.others.extend(errors);
        Some(first)
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Sets the place in a file.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        self.0.at = Some(location);
        self
    }

    /// Adds a cause, and the causes of the cause.
    #[must_use]
    pub fn cause(mut self, cause: impl std::error::Error) -> Self {
        self.0.causes.push(cause.to_string());
        let mut next = cause.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Many libraries repeat their source in their own text.
            if !self.0.causes.iter().any(|known| known.contains(&text)) {
                self.0.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds a cause that is known only as text.
    #[must_use]
    pub fn cause_text(mut self, cause: impl Into<String>) -> Self {
        self.0.causes.push(cause.into());
        self
    }

    /// Adds a fact that helps to understand the error.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// Adds a way out. It must be correct for this particular case.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Removes all hints, including those of joined errors: one hint for all of them follows.
    #[must_use]
    pub fn without_hints(mut self) -> Self {
        self.0.hints.clear();
        self.0.others = std::mem::take(&mut self.0.others)
            .into_iter()
            .map(Self::without_hints)
            .collect();
        self
    }

    /// Returns the message, notes, and hints on one line, for programs that print one line.
    pub fn one_line(&self) -> String {
        let more = self.0.notes.iter().chain(&self.0.hints).map(String::as_str);
        std::iter::once(self.message())
            .chain(more)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Puts `message` in front; the previous message becomes the first cause. Place, notes, and
    /// hints stay.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.0.message, message.into());
        self.0.causes.insert(0, inner);
        self
    }

    /// Rewrites all texts of the error and the errors joined to it, except places; for hiding
    /// secrets.
    #[must_use]
    pub fn map_text(mut self, rewrite: &impl Fn(&str) -> String) -> Self {
        let inner = &mut self.0;
        inner.message = rewrite(&inner.message);
        for text in inner
            .causes
            .iter_mut()
            .chain(&mut inner.notes)
            .chain(&mut inner.hints)
        {
            *text = rewrite(text);
        }
        inner.others = std::mem::take(&mut inner.others)
            .into_iter()
            .map(|other| other.map_text(rewrite))
            .collect();
        self
    }

    /// Returns the kind.
    pub fn what(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the first line, without `error:`.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the place, if it is known.
    pub fn location(&self) -> Option<&Location> {
        self.0.at.as_ref()
    }

    /// Returns the failures joined by [`Error::all`], the first one excepted.
    pub fn others(&self) -> &[Self] {
        &self.0.others
    }

    /// Returns the parts as JSON, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "message": self.0.message,
            "location": self.0.at.as_ref().map(ToString::to_string),
            "causes": self.0.causes,
            "notes": self.0.notes,
            "hints": self.0.hints,
            "others": self.0.others.iter().map(Self::to_json).collect::<Vec<_>>(),
        })
    }
}

/// The alternate form (`{:#}`) is colored for a terminal.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colored = f.alternate();
        let paint = |color: LabelColor, text: &str| {
            if colored {
                color.paint(text)
            } else {
                text.to_owned()
            }
        };
        let color = match self.0.kind {
            ErrorKind::Found | ErrorKind::Unconfirmed => LabelColor::Yellow,
            _ => LabelColor::Red,
        };
        let heading = paint(color, self.0.kind.heading());
        write!(f, "{heading} {}", folded(&self.0.message))?;
        if let Some(at) = &self.0.at {
            write!(
                f,
                "\n  {} {}",
                paint(LabelColor::Blue, "-->"),
                visible_line(&at.to_string())
            )?;
        }
        let parts = [
            ("cause:", LabelColor::Blue, &self.0.causes),
            ("note:", LabelColor::Blue, &self.0.notes),
            ("hint:", LabelColor::Green, &self.0.hints),
        ];
        for (label, color, texts) in parts {
            for text in texts {
                write!(f, "\n  {} {}", paint(color, label), folded(text))?;
            }
        }
        for other in &self.0.others {
            f.write_str("\n")?;
            fmt::Display::fmt(other, f)?;
        }
        Ok(())
    }
}

/// Returns a text, which may quote anyone, with its continuation lines indented.
fn folded(text: &str) -> String {
    visible(text.trim_end()).replace('\n', "\n    ")
}

/// The color of a label on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LabelColor {
    Red,
    Yellow,
    Green,
    Blue,
}

impl LabelColor {
    /// Wraps a label in the escape sequences for a bold color (ECMA-48 SGR); `anstream` removes
    /// them where they are not supported.
    pub(crate) fn paint(self, text: &str) -> String {
        let number = match self {
            Self::Red => 31,
            Self::Yellow => 33,
            Self::Green => 32,
            Self::Blue => 34,
        };
        format!("\x1b[1;{number}m{text}\x1b[0m")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Turns the error of a library into an [`Error`] with a message about the operation.
pub trait Context<T> {
    /// `message` names the failed operation and its object; the library's error becomes the cause.
    ///
    /// # Errors
    /// Returns the converted error.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: std::error::Error> Context<T> for std::result::Result<T, E> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::new(message()).cause(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_line() {
        let error = Error::new("cannot read `a`")
            .at(Location::at_offset("/x/a.toml", "one\ntwo = 3\n", 8))
            .cause(std::io::Error::other("disk\nburns"))
            .note("n")
            .hint("h");
        assert_eq!(
            error.to_string(),
            "error: cannot read `a`\n  --> /x/a.toml:2:5\n  cause: disk\n    burns\n  note: n\n  hint: h"
        );
    }

    #[test]
    fn what_it_quotes_is_seen_and_not_obeyed() {
        let error = Error::new("a\nerror: b")
            .at(Location::file("/x\ny"))
            .cause_text("\x1b[2J\r\nhint: run this");
        let expected =
            "error: a\n    error: b\n  --> /x\\ny\n  cause: \\u{1b}[2J\n    hint: run this";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn labels_alone_are_coloured_for_a_terminal() {
        let error = Error::all([Error::new("a").hint("h"), Error::new("b")]).unwrap();
        assert_eq!(
            format!("{error:#}"),
            "\x1b[1;31merror:\x1b[0m a\n  \x1b[1;32mhint:\x1b[0m h\n\x1b[1;31merror:\x1b[0m b"
        );
    }

    #[test]
    fn every_kind_has_an_exit_code_of_its_own() {
        let codes = ErrorKind::ALL.map(ErrorKind::exit_code);
        assert_eq!(codes, [1, 2, 3, 4, 5, 101]);
        let found = Error::new("`web1` differs").kind(ErrorKind::Found);
        assert_eq!(found.to_string(), "found: `web1` differs");
    }

    #[test]
    fn context_keeps_the_cause() {
        let error = Error::new("inner").hint("h").context("outer");
        assert_eq!(error.to_string(), "error: outer\n  cause: inner\n  hint: h");
    }
}
