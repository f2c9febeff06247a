//! Secrets on hosts: lines of an environment file that no package has, and files that systemd
//! passes to services as credentials (`deliver = "file"`).
//!
//! ```text
//! looks at hosts ─► HostSecrets ─► SecretTable (what `list` shows)
//!                        └───────► Plan (what changes) ─► Rollout
//! ```
//!
//! A value is in the memory of this process, on the standard input of a script, and in the file of a
//! host, and nowhere else: in no argument list, environment, log, plan, or history. Whether hosts
//! have the same value is told by hashes with a [`SecretSalt`] that is drawn for every call and kept
//! nowhere.
//!
//! What a host keeps lies in `secrets/` of its state, readable by root alone:
//!
//! ```text
//! previous    the file as it was when a push last ended well; comes back with a rollback
//! later       the file as it was before a rollback that has not ended yet
//! before      the file as it was before a change that has not ended yet, and `writer`, its token
//! pending     what reads the file has not been restarted since it changed
//! ```
//!
//! Beside each copy, `NAME.credentials/` has the credentials of that time, encrypted where they
//! are; `pending_files` is as `pending`, for what reads them.

mod compare;
mod host;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt;

use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::text::environment_value;

pub use compare::{ExpectedSecret, SecretRow, SecretState, SecretTable};
pub use host::{HostSecrets, SecretStore};
pub(crate) use plan::ReturningSecrets;
pub use plan::{ReaderRestart, SECRETS_ACTION, SecretChange, SecretsPlan};

/// How many bytes a value may have.
pub const MOST_BYTES: usize = 64 << 10;

/// What a value may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    /// One line that systemd and the reader of cron jobs understand in the same way.
    Line,
    /// Text of any number of lines.
    File,
}

/// The value of a secret. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl SecretValue {
    /// Reads a value; no error quotes it.
    ///
    /// # Errors
    /// It is empty or too long, or has bytes that its form cannot hold.
    pub fn parse(bytes: Vec<u8>, form: SecretForm) -> Result<Self> {
        let value = Self::parse_text(bytes)?;
        match form {
            SecretForm::File => Ok(value),
            SecretForm::Line => value.check_line().map(|()| value),
        }
    }

    fn parse_text(bytes: Vec<u8>) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::new("the value is empty"));
        }
        if bytes.len() > MOST_BYTES {
            return Err(Error::new("the value is longer than 64 KiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::new("the value is not UTF-8"))?;
        if text.contains('\0') {
            return Err(Error::new("the value has a NUL character"));
        }
        Ok(Self(text))
    }

    fn check_line(&self) -> Result<()> {
        let text = &self.0;
        if text.contains(['\n', '\r']) {
            let error = Error::new("the value has several lines, and cron jobs read only one");
            return Err(
                error.hint("deliver it as a file: `deliver = \"file\"` in its `[settings]`")
            );
        }
        // systemd ignores such variables (`env_value_is_valid` in its src/basic/env-util.c).
        if text.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err(Error::new(
                "the value has a control character, which systemd refuses",
            ));
        }
        Ok(())
    }

    /// Reads what a program or a file has printed: a value, and perhaps the end of its line.
    /// Several lines keep the last end: some readers of keys and certificates insist on it.
    ///
    /// # Errors
    /// As [`SecretValue::parse`].
    pub fn from_output(mut bytes: Vec<u8>, form: SecretForm) -> Result<Self> {
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        let is_line = form == SecretForm::Line || ends == 1;
        if is_line && bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Self::parse(bytes, form)
    }

    /// Returns the line of an environment file that sets a variable, with its end.
    fn assignment(&self, name: &str) -> String {
        format!("{name}={}\n", environment_value(&self.0))
    }

    /// Returns the line by which a script writes a file, with its end; `printf %b` reads the value.
    fn file_line(&self, name: &str) -> String {
        let escaped = self.0.replace('\\', r"\\").replace('\n', r"\n");
        format!("file.{name}={escaped}\n")
    }
}

/// What is hashed before a value, so that nobody can look a hash up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSalt(String);

impl SecretSalt {
    /// Draws one.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn draw() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::new("cannot get random numbers from the operating system")
                .cause_text(error.to_string())
        })?;
        Ok(Self(hex::encode(bytes)))
    }

    /// Returns the hash of a value, as hosts compute it.
    pub fn hash(&self, value: &SecretValue) -> Sha256Sum {
        Sha256Sum::of(
            [&self.0, &value.0]
                .map(String::as_bytes)
                .concat()
                .as_slice(),
        )
    }
}
