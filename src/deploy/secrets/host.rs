//! The questions to a host about its secrets, the orders, and the answers.

use std::collections::BTreeMap;

use super::plan::SecretChange;
use super::{SecretForm, SecretSalt, SecretValue};
use crate::hosts::HostCommand;
use crate::script::{self, RemoteState};
use pkgapp_config::Config;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::path::InstallPath;

/// The file of an application's secrets on all hosts, and the secrets that are files themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretStore {
    /// The application.
    pub name: AppName,
    /// Where a package has it; a login has it below `shared`.
    pub path: InstallPath,
    /// Who may read it besides root, where packages are installed.
    pub group: Option<String>,
    /// The names of secrets that are files.
    pub credentials: Vec<String>,
}

impl SecretStore {
    /// Returns the first file of variables that the application reads and no package has; `None` if
    /// there is none.
    ///
    /// # Errors
    /// Two users would have to read one file.
    pub fn of(app: &Config) -> Result<Option<Self>> {
        let credentials: Vec<String> = app.credentials().map(|each| each.name.clone()).collect();
        let path = match app.files_of_hosts().first() {
            Some(path) => (*path).clone(),
            None if credentials.is_empty() => return Ok(None),
            None => InstallPath::parse(&format!("/etc/{}/secrets.env", app.name))?,
        };
        let files = pkgapp_release::services::secret_files(app)?;
        let own = files.into_iter().find(|file| file.path == path);
        Ok(Some(Self {
            name: app.name.clone(),
            group: own.map(|file| file.group),
            path,
            credentials,
        }))
    }

    /// Returns what the value of a secret may hold.
    pub fn form(&self, name: &str) -> SecretForm {
        if self.credentials.iter().any(|credential| credential == name) {
            SecretForm::File
        } else {
            SecretForm::Line
        }
    }

    /// Returns the line of a secret for the script that writes it.
    pub(super) fn line(&self, name: &str, value: &SecretValue) -> String {
        match self.form(name) {
            SecretForm::Line => value.assignment(name),
            SecretForm::File => value.file_line(name),
        }
    }

    /// Returns a command with the parameters that all scripts for the file have.
    pub(super) fn command(
        &self,
        what: &str,
        body: &str,
        remote: &RemoteState,
        token: &str,
    ) -> HostCommand {
        script::command(what, body, remote, token)
            .parameter("name", self.name.as_str())
            .parameter("file", self.path.as_str())
            .parameter("group", self.group.clone().unwrap_or_default())
            .parameter("credentials", self.credentials.join(" "))
    }

    /// Returns the command whose output [`HostSecrets::parse`] reads.
    pub fn look(&self, remote: &RemoteState, salt: &SecretSalt) -> HostCommand {
        self.command("looking at secrets", script::LOOK_AT_SECRETS, remote, "")
            .parameter("salt", salt.0.clone())
            .confidential()
            .question()
    }

    /// Returns the command that prints the values of some secrets; see [`SecretStore::values`].
    pub fn read(&self, remote: &RemoteState, names: &[String]) -> HostCommand {
        self.command("reading secrets", script::READ_SECRETS, remote, "")
            .args(names.iter().cloned())
            .confidential()
            .question()
    }

    /// Reads the values that the command has printed.
    ///
    /// # Errors
    /// The answer is cut off, or a value is none that pkgapp could write.
    pub fn values(output: &[u8]) -> Result<BTreeMap<String, SecretValue>> {
        let mut values = BTreeMap::new();
        let mut errors = Vec::new();
        let mut is_whole = false;
        for line in output.split(|byte| *byte == b'\n') {
            is_whole |= line == b"secrets=end";
            let Some(at) = line.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let name = String::from_utf8_lossy(&line[..at]).into_owned();
            if name == "secrets" {
                continue;
            }
            let (name, value) = value_of(&name, &line[at + 1..]);
            match value {
                Ok(value) => _ = values.insert(name, value),
                Err(error) => errors.push(error.context(format!("cannot copy `{name}`"))),
            }
        }
        if !is_whole {
            errors.push(Error::new("what the host said of its secrets is cut off"));
        }
        Error::all(errors).map_or(Ok(values), Err)
    }

    /// Returns the command that prints a random value: so many letters and digits, `-`, and `_`.
    pub fn generate(length: u16) -> HostCommand {
        let body = "LC_ALL=C tr -dc 'A-Za-z0-9_-' </dev/urandom | head -c \"$length\"\n";
        HostCommand::new("making a secret", body)
            .parameter("length", length.to_string())
            .confidential()
            .question()
    }
}

/// Reads the name and the value of a secret as a host prints them.
fn value_of(name: &str, value: &[u8]) -> (String, Result<SecretValue>) {
    if let Some(name) = name.strip_prefix("file.") {
        let bytes = hex::decode(value).map_err(|_| Error::new("the host cannot read it"));
        let value = bytes.and_then(|bytes| SecretValue::parse(bytes, SecretForm::File));
        return (name.to_owned(), value);
    }
    // A newline is told as \001.
    let value = value.iter().map(|byte| match byte {
        1 => b'\n',
        other => *other,
    });
    let value = SecretValue::parse(value.collect(), SecretForm::Line);
    (name.to_owned(), value)
}

/// What a host says of its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSecrets {
    /// The file there.
    pub file: String,
    /// Why it cannot be trusted.
    pub distrusted: Option<String>,
    /// Whether the login may not read it.
    pub is_unreadable: bool,
    /// Its permissions; `None` if it is not there.
    pub mode: Option<u32>,
    /// Whether what reads it has not been restarted since it changed.
    pub is_pending: bool,
    /// Why its systemd passes no files on.
    pub no_credentials: Option<String>,
    /// Secrets that are files, and that the host itself cannot decrypt.
    pub sealed: Vec<String>,
    /// Variables of the file that are files by now.
    pub leftover: Vec<String>,
    /// The hashes of its values by their names; a variable without a value is none.
    pub hashes: BTreeMap<String, Sha256Sum>,
}

impl HostSecrets {
    /// Reads what the command for a [look](SecretStore::look) prints.
    ///
    /// # Errors
    /// It is cut off; or the file cannot be used, and why.
    pub fn parse(text: &str, salt: &SecretSalt) -> Result<Self> {
        let empty = Sha256Sum::of(salt.0.as_bytes());
        let mut host = Self::default();
        let mut is_whole = false;
        for line in text.lines() {
            match line.split_once('=') {
                Some(("file", file)) => file.clone_into(&mut host.file),
                Some(("distrusted", why)) => host.distrusted = Some(why.to_owned()),
                Some(("unreadable", _)) => host.is_unreadable = true,
                Some(("mode", mode)) => host.mode = u32::from_str_radix(mode, 8).ok(),
                Some(("pending", _)) => host.is_pending = true,
                Some(("no_credentials", why)) => host.no_credentials = Some(why.to_owned()),
                Some(("sealed", name)) => host.sealed.push(name.to_owned()),
                Some(("leftover", name)) => host.leftover.push(name.to_owned()),
                Some(("secrets", "end")) => is_whole = true,
                Some((key, hash)) => {
                    let name = key.strip_prefix("secret.");
                    let hash = Sha256Sum::from_hex(hash).filter(|hash| *hash != empty);
                    let name = name.map(str::to_owned);
                    let secret = name.zip(hash);
                    host.hashes.extend(secret);
                }
                None => {}
            }
        }
        if !is_whole {
            return Err(Error::new("what the host said of its secrets is cut off"));
        }
        Ok(host)
    }

    /// Returns why the secrets of a host can neither be read nor written.
    pub fn unusable(&self, host: &str) -> Option<Error> {
        let file = &self.file;
        if let Some(why) = &self.distrusted {
            let error = Error::new(format!("cannot use the file of secrets on `{host}`: {why}"));
            return Some(error.hint(format!(
                "make `{file}` and the directories above it files of their owner alone"
            )));
        }
        self.is_unreadable.then(|| {
            Error::new(format!(
                "cannot read the secrets on `{host}`: the login may not read `{file}`"
            ))
            .hint("read it as root: `--sudo`, or `sudo = true` in `[deploy.NAME]`")
        })
    }

    /// Returns why secrets that are files cannot be written there, if any of these are.
    pub(super) fn undeliverable(&self, change: &SecretChange, file: &SecretStore) -> Option<Error> {
        let why = self.no_credentials.as_ref()?;
        let mut names = change.keys();
        let name = names.find(|name| file.form(name) == SecretForm::File)?;
        let error = Error::new(format!("cannot deliver `{name}` as a file: {why}"));
        Some(error.hint("leave `deliver` out of its `[settings]`"))
    }

    /// Returns what is wrong there besides, in words.
    pub fn oddities(&self) -> Vec<String> {
        let sealed = self.sealed.iter().map(|name| {
            format!("the host cannot decrypt `{name}`, so that it counts as missing: set it again")
        });
        let file = &self.file;
        let leftover = self.leftover.iter().map(|name| {
            format!(
                "`{name}` is delivered as a file, and `{file}` still has a line of it: \
                 remove that once the release is there"
            )
        });
        sealed.chain(leftover).collect()
    }

    /// Returns whether every user of the host can read the file.
    pub fn is_open(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o004 != 0)
    }
}
