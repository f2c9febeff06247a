//! Root's work: as root itself, by sudo without a password, or by sudo with one that is asked for
//! once.
//!
//! The password goes to sudo's standard input, so never into a command line, a log or the
//! environment. It is tried once with nothing behind it, so that a wrong one costs one attempt and
//! not three, before it is used.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pkgapp_core::error::{Error, Result};
use pkgapp_core::fs;

use super::prompt::Prompt;
use super::script::TAG;
use super::select::SelectedHost;

/// How a host lets its login become root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Escalation {
    /// Not needed: root logs in, or root is not wanted.
    None,
    /// sudo without a password.
    Free,
    /// sudo with this password.
    Password(Secret),
}

impl Escalation {
    /// Returns what stands before `/bin/sh`, with the space after it.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::None => "",
            Self::Free => "sudo -n -H -- ",
            // -k: a password that was given lately would leave this one unread.
            Self::Password(_) => "sudo -k -S -H -p \"\" -- ",
        }
    }

    /// Returns what sudo reads before the shell does.
    pub(super) fn preface(&self) -> String {
        match self {
            Self::None | Self::Free => String::new(),
            Self::Password(secret) => format!("{}\n", secret.0),
        }
    }
}

/// A password; it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Secret {
    fn new(text: String) -> Result<Self> {
        if text.contains(['\n', '\0']) || text.starts_with(TAG) {
            Err(Error::new(
                "the sudo password holds what sudo can't be given",
            ))
        } else {
            Ok(Self(text))
        }
    }
}

/// The passwords for sudo, asked for when a host needs one. What one host takes is tried on the
/// next, once; of a host that refuses it the user is asked again.
#[derive(Debug)]
pub struct SudoPasswords {
    file: Option<PathBuf>,
    /// Those of hosts that have their own.
    files: HashMap<String, PathBuf>,
    prompt: Prompt,
    known: Mutex<KnownPasswords>,
}

#[derive(Debug, Default)]
struct KnownPasswords {
    /// What the file says, or what was answered last and no host has refused, or one has taken.
    secret: Option<Secret>,
    /// How often was asked about a host.
    asked: HashMap<String, u32>,
}

/// How often the user is asked about a host.
const MOST_QUESTIONS: u32 = 2;

impl SudoPasswords {
    /// The password of `file`, whose first line it is; without one, the user is asked.
    pub fn new(file: Option<PathBuf>, prompt: Prompt) -> Self {
        Self {
            file,
            files: HashMap::new(),
            prompt,
            known: Mutex::default(),
        }
    }

    /// Adds the files of hosts that have their own.
    #[must_use]
    pub fn with_files(mut self, members: &[SelectedHost]) -> Self {
        let own = members
            .iter()
            .filter_map(|member| Some((member.name.clone(), member.sudo_password_file.clone()?)));
        self.files.extend(own);
        self
    }

    /// Returns the password; `refused` is the one that was wrong.
    ///
    /// # Errors
    /// Nobody can say it, or says it in the file that can't be read.
    pub(super) fn get(&self, host: &str, refused: Option<&Secret>) -> Result<Option<Secret>> {
        let read = |file: &PathBuf| {
            Secret::new(
                fs::read_to_string(file)?
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            )
        };
        if let Some(file) = self.files.get(host) {
            return if refused.is_some() {
                Ok(None)
            } else {
                read(file).map(Some)
            };
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = known
            .secret
            .as_ref()
            .filter(|secret| Some(*secret) != refused)
        {
            return Ok(Some(secret.clone()));
        }
        if let Some(file) = &self.file {
            if refused.is_some() {
                return Ok(None);
            }
            known.secret = Some(read(file)?);
            return Ok(known.secret.clone());
        }
        let asked = known.asked.entry(host.to_owned()).or_default();
        if *asked >= MOST_QUESTIONS {
            return Ok(None);
        }
        *asked += 1;
        let wrong = if refused.is_some() {
            format!("`{host}` refused it. ")
        } else {
            String::new()
        };
        let Some(text) = self
            .prompt
            .secret(&format!("{wrong}sudo password for {host} and others: "))?
        else {
            return Ok(None);
        };
        known.secret = Some(Secret::new(text)?);
        Ok(known.secret.clone())
    }
}

/// Prints how root's work can be done: `root`, `free`, `missing`, or `asks` and what sudo says.
pub(super) const PROBE: &str = "\
if [ \"$(id -u)\" = 0 ]; then echo root
elif ! command -v sudo >/dev/null 2>&1; then echo missing
elif said=$(LC_ALL=C sudo -k -n -- /bin/sh -c : 2>&1); then echo free
else echo asks; printf '%s\\n' \"$said\"; fi";

/// What sudo says of a login that it does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SudoRefusal {
    /// It wants a password.
    NeedsPassword,
    /// It was given a wrong one.
    WrongPassword,
    /// The login may not use it, or not for everything.
    NotAllowed,
    /// It wants a terminal.
    NeedsTerminal,
    /// Something else.
    Other,
}

/// Texts of sudo in the C locale, and of sudo-rs; the first that is there counts.
const TEXTS: [(&str, SudoRefusal); 13] = [
    ("you must have a tty", SudoRefusal::NeedsTerminal),
    ("incorrect password attempt", SudoRefusal::WrongPassword),
    (
        "incorrect authentication attempt",
        SudoRefusal::WrongPassword,
    ),
    ("no password was provided", SudoRefusal::WrongPassword),
    ("Sorry, try again", SudoRefusal::WrongPassword),
    ("Authentication failed", SudoRefusal::WrongPassword),
    ("is not in the sudoers file", SudoRefusal::NotAllowed),
    ("is not allowed to", SudoRefusal::NotAllowed),
    ("may not run sudo", SudoRefusal::NotAllowed),
    ("I'm sorry", SudoRefusal::NotAllowed),
    ("a password is required", SudoRefusal::NeedsPassword),
    (
        "interactive authentication is required",
        SudoRefusal::NeedsPassword,
    ),
    ("a terminal is required", SudoRefusal::NeedsPassword),
];

/// Returns what sudo's message means.
pub(super) fn refusal(message: &str) -> SudoRefusal {
    TEXTS
        .iter()
        .find(|(text, _)| message.contains(text))
        .map_or(SudoRefusal::Other, |(_, refusal)| *refusal)
}

/// Returns the error for a host whose sudo does not serve us.
pub(super) fn refused(host: &str, refusal: SudoRefusal, said: &str) -> Error {
    let (what, hint) = match refusal {
        SudoRefusal::NeedsPassword => (
            format!("sudo on `{host}` wants a password, and there is nobody to ask"),
            "give it in the file `--sudo-password-file`, or let `pkgapp bootstrap` allow sudo without one",
        ),
        SudoRefusal::WrongPassword => (
            format!("sudo on `{host}` refused the password"),
            "it is the password of the login there, not root's",
        ),
        SudoRefusal::NotAllowed => (
            format!("the login on `{host}` may not use sudo for everything"),
            "log in as a user that may; `pkgapp bootstrap` makes one",
        ),
        SudoRefusal::NeedsTerminal => (
            format!("sudo on `{host}` wants a terminal"),
            "take `requiretty` out of its sudoers: it protects nothing, and no tool can use sudo with it",
        ),
        SudoRefusal::Other => (
            format!("sudo does not work on `{host}`"),
            "log in there and try `sudo -k -n -- /bin/sh -c :`",
        ),
    };
    let error = Error::new(what).hint(hint);
    if said.trim().is_empty() {
        error
    } else {
        error.cause_text(said.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_sudo_are_understood() {
        // Printed by sudo 1.9.13.
        for (text, expected) in [
            ("sudo: a password is required", SudoRefusal::NeedsPassword),
            (
                "\nSorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt",
                SudoRefusal::WrongPassword,
            ),
            ("ann is not in the sudoers file.", SudoRefusal::NotAllowed),
            (
                "Sorry, user ann is not allowed to execute '/bin/sh -c :' as root on web1.",
                SudoRefusal::NotAllowed,
            ),
            (
                "sudo: sorry, you must have a tty to run sudo",
                SudoRefusal::NeedsTerminal,
            ),
            ("sudo: /etc/sudo.conf is world writable", SudoRefusal::Other),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn a_password_is_read_once_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pa ss'\nnext line\n").unwrap();
        let password = SudoPasswords::new(Some(file.path().to_owned()), Prompt::never());
        let secret = password.get("web1", None).unwrap().unwrap();
        std::fs::write(file.path(), "changed\n").unwrap();
        let again = password.get("web2", None).unwrap().unwrap();
        assert_eq!(again, secret);
        assert_eq!(Escalation::Password(secret.clone()).preface(), "pa ss'\n");
        assert_eq!(password.get("web2", Some(&secret)).unwrap(), None);
        assert!(!format!("{password:?} {:?}", Escalation::Password(secret)).contains("pa ss"));
    }

    #[test]
    fn a_host_may_have_a_password_of_its_own() {
        let [all, own] = ["for all\n", "own\n"].map(|text| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            file
        });
        let member = SelectedHost {
            name: "db1".into(),
            sudo_password_file: Some(own.path().into()),
            ..SelectedHost::local()
        };
        let password =
            SudoPasswords::new(Some(all.path().into()), Prompt::never()).with_files(&[member]);
        let get = |host, refused: Option<&Secret>| password.get(host, refused).unwrap();
        let [one, other] = ["web1", "db1"].map(|host| get(host, None).unwrap());
        assert_eq!((one.0.as_str(), other.0.as_str()), ("for all", "own"));
        assert_eq!(
            get("db1", Some(&other)),
            None,
            "the others' password is not tried there"
        );
    }

    #[test]
    fn nobody_is_asked_where_nobody_is() {
        assert_eq!(
            SudoPasswords::new(None, Prompt::never())
                .get("web1", None)
                .unwrap(),
            None
        );
    }
}
