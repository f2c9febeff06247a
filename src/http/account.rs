//! Credentials from an index's URL, `.netrc`, or the program `keyring`.
//!
//! They are chosen anew for each request, redirects included, by the server that receives them.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use pkgapp_pypa::netrc::{self, Netrc};
use url::Url;

use super::{origin, percent_decoded};
use pkgapp_core::error::{Error, Result};

/// The part of an index that concerns credentials.
#[derive(Clone)]
pub struct IndexAccount {
    /// Its URL, with the known credentials.
    pub url: Url,
    /// Whether the program `keyring` is asked for the rest.
    pub keyring: bool,
}

impl fmt::Debug for IndexAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("url", &bare(&self.url).as_str())
            .finish_non_exhaustive()
    }
}

/// A user name and password; either may be empty.
type UserPassword = (String, String);

/// All known credentials.
pub(crate) struct IndexAccounts {
    accounts: Vec<IndexAccount>,
    netrc: Option<Netrc>,
    /// The answers of the keyring, which is asked once for each index.
    asked: Mutex<BTreeMap<Url, Option<UserPassword>>>,
}

impl IndexAccounts {
    /// Reads `~/.netrc`, or the file that `NETRC` names.
    pub(crate) fn new(accounts: Vec<IndexAccount>) -> Result<Self> {
        let netrc = match Netrc::new() {
            Ok(netrc) => Some(netrc),
            Err(netrc::Error::Io(_)) => None,
            // The error may quote a line with a password.
            Err(_) => {
                let error = Error::new("cannot read `~/.netrc`, or the file that `NETRC` names");
                return Err(error.cause_text(
                    "it does not have the format that curl(1) describes under `--netrc`",
                ));
            }
        };
        Ok(Self {
            accounts,
            netrc,
            asked: Mutex::default(),
        })
    }

    /// Returns a URL with the credentials for its server.
    pub(crate) fn sign(&self, url: &Url) -> Url {
        let mut signed = url.clone();
        if let Some((user, password)) = self.pair(url) {
            // Both calls fail only for URLs that cannot have either.
            _ = signed.set_username(&user);
            _ = signed.set_password(
                Some(&password)
                    .filter(|password| !password.is_empty())
                    .map(String::as_str),
            );
        }
        signed
    }

    /// Returns credentials that are not in the URL itself.
    fn pair(&self, url: &Url) -> Option<UserPassword> {
        if url.password().is_some() {
            return None;
        }
        let account = self.account(url);
        let own = account.filter(|_| url.username().is_empty());
        if let Some(account) = own.filter(|account| account.url.password().is_some()) {
            return Some((
                percent_decoded(account.url.username()),
                percent_decoded(account.url.password()?),
            ));
        }
        let user = Some(url.username()).filter(|user| !user.is_empty());
        let user = percent_decoded(
            user.or(account.map(|account| account.url.username()))
                .unwrap_or_default(),
        );
        let elsewhere = self.netrc(url, &user);
        let elsewhere =
            elsewhere.or_else(|| self.keyring(account.filter(|account| account.keyring)?, &user));
        // A token may be in the place of the user name.
        elsewhere.or_else(|| (!user.is_empty()).then(|| (user, String::new())))
    }

    /// Returns the index on the same server as a URL; of several, the one with the longest common
    /// path.
    fn account(&self, url: &Url) -> Option<&IndexAccount> {
        let there = self
            .accounts
            .iter()
            .filter(|account| origin(&account.url) == origin(url));
        let shared = |account: &IndexAccount| {
            let path = account.url.path().trim_end_matches('/');
            if url.path().starts_with(path) {
                path.len()
            } else {
                0
            }
        };
        // The first of those that are equally near.
        there.rev().max_by_key(|account| shared(account))
    }

    /// Returns whether `.netrc` may be used. It knows only hosts. A redirect or a page must not
    /// lead credentials for HTTPS to the same host's plain HTTP, where others can read them; a user
    /// who configures such an address has chosen it.
    fn netrc(&self, url: &Url, user: &str) -> Option<UserPassword> {
        if url.scheme() != "https" && self.account(url).is_none() {
            return None;
        }
        let hosts = &self.netrc.as_ref()?.hosts;
        let found = hosts
            .get(url.host_str()?)
            .or_else(|| hosts.get("default"))?;
        (user.is_empty() || found.login == user)
            .then(|| (found.login.clone(), found.password.clone()))
    }

    fn keyring(&self, account: &IndexAccount, user: &str) -> Option<UserPassword> {
        let index = bare(&account.url);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .entry(index.clone())
            .or_insert_with(|| ask_keyring(&index, user))
            .clone()
    }
}

/// Asks the program `keyring` like pip: for the index's URL, then for its host.
fn ask_keyring(index: &Url, user: &str) -> Option<UserPassword> {
    let host = index.host_str()?;
    let host = index
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    [index.as_str(), &host].into_iter().find_map(|service| {
        let mut command = Command::new("keyring");
        command.args(["get", service]);
        if user.is_empty() {
            // Older versions of keyring lack this option and print an error.
            command.args(["--mode", "creds"]).stderr(Stdio::null());
        } else {
            command.arg(user).stderr(Stdio::inherit());
        }
        let output = command
            .stdin(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut lines = text.lines();
        let user = if user.is_empty() { lines.next()? } else { user };
        Some((user.to_owned(), lines.next()?.to_owned()))
    })
}

/// Returns a URL without credentials.
pub(crate) fn bare(url: &Url) -> Url {
    let mut url = url.clone();
    _ = url.set_username("");
    _ = url.set_password(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(accounts: &[&str], netrc: &str, url: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("netrc");
        std::fs::write(&file, netrc).unwrap();
        let account = |url: &&str| IndexAccount {
            url: url.parse().unwrap(),
            keyring: false,
        };
        let accounts = accounts.iter().map(account).collect();
        let netrc = Some(Netrc::from_file(&file).unwrap());
        IndexAccounts {
            accounts,
            netrc,
            asked: Mutex::default(),
        }
        .sign(&url.parse().unwrap())
        .to_string()
    }

    #[test]
    fn credentials_are_for_the_server_of_their_index_and_for_no_other() {
        let index = [
            "https://a.example/simple",
            "https://u:p%40ss@a.example/private/simple/",
        ];
        let file = "https://a.example/private/files/x.whl";
        assert_eq!(
            signed(&index[1..], "", file),
            "https://u:p%40ss@a.example/private/files/x.whl"
        );
        assert_eq!(
            signed(&index[..], "", "https://a.example/simple/x/"),
            "https://a.example/simple/x/"
        );
        let page = signed(&index[..], "", "https://a.example/private/simple/x/");
        assert_eq!(page, "https://u:p%40ss@a.example/private/simple/x/");
        for other in [
            "http://a.example/x",
            "https://a.example:8443/x",
            "https://b.example/x",
        ] {
            assert_eq!(signed(&index[..], "", other), other);
        }
        // The URL's own are stronger.
        assert_eq!(
            signed(&index[1..], "", "https://o:w@a.example/x"),
            "https://o:w@a.example/x"
        );
    }

    #[test]
    fn netrc_is_asked_for_what_a_url_lacks() {
        let netrc = "machine a.example login u password secret";
        assert_eq!(
            signed(&[], netrc, "https://a.example/x"),
            "https://u:secret@a.example/x"
        );
        assert_eq!(
            signed(&[], netrc, "https://u@a.example/x"),
            "https://u:secret@a.example/x"
        );
        assert_eq!(
            signed(&[], netrc, "https://other@a.example/x"),
            "https://other@a.example/x"
        );
        assert_eq!(
            signed(&["https://v:w@a.example/"], netrc, "https://a.example/x"),
            "https://v:w@a.example/x"
        );
        let plain = "http://a.example/x";
        assert_eq!(signed(&["https://a.example/"], netrc, plain), plain);
        assert_eq!(
            signed(&["http://a.example/"], netrc, plain),
            "http://u:secret@a.example/x"
        );
        assert_eq!(
            signed(&["https://token@b.example/"], netrc, "https://b.example/x"),
            "https://token@b.example/x"
        );
    }
}
