//! Repository addresses, separated from the credentials in them: every user of a machine can read
//! the arguments of a process (`/proc/PID/cmdline`), and tools store the address that they are
//! given.

use pkgapp_core::error::{Error, Result};
use pkgapp_http::percent_decoded;

/// The place of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RepositoryAddress {
    /// The URL as a tool may receive it.
    pub(super) url: String,
    /// The credentials of the URL; only http and https have any.
    pub(super) credentials: Option<RepositoryCredentials>,
}

/// User name and password for a server.
#[derive(PartialEq, Eq)]
pub(super) struct RepositoryCredentials {
    /// `https://host:port`; the credentials are for no other server.
    pub(super) origin: String,
    /// Decoded. Without a password, it may be a token, and so is just as secret.
    pub(super) username: String,
    /// Decoded.
    pub(super) password: Option<String>,
}

impl std::fmt::Debug for RepositoryCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl RepositoryAddress {
    /// Splits a repository's URL.
    ///
    /// # Errors
    /// Fails if a name or a password has control characters: a line break would start a second line
    /// in the protocols that transmit them.
    pub(super) fn read(url: &str) -> Result<Self> {
        let plain = || Self {
            url: url.to_owned(),
            credentials: None,
        };
        let Some((scheme, rest)) = url
            .split_once("://")
            .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        else {
            return Ok(plain());
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let Some((user, host)) = authority.rsplit_once('@') else {
            return Ok(plain());
        };
        let (username, password) = match user.split_once(':') {
            Some((username, password)) => {
                (percent_decoded(username), Some(percent_decoded(password)))
            }
            None => (percent_decoded(user), None),
        };
        if [Some(&username), password.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| text.contains(char::is_control))
        {
            return Err(Error::new(
                "the credentials in the address contain control characters",
            ));
        }
        let origin = format!("{scheme}://{host}");
        Ok(Self {
            url: format!("{origin}{path}"),
            credentials: Some(RepositoryCredentials {
                origin,
                username,
                password,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_http_addresses() {
        for (url, expected, user, password) in [
            (
                "https://u:p@h.example/a.git",
                "https://h.example/a.git",
                "u",
                Some("p"),
            ),
            (
                "https://token@h.example:8443",
                "https://h.example:8443",
                "token",
                None,
            ),
            (
                "http://:p@[::1]:80/a?b@c",
                "http://[::1]:80/a?b@c",
                "",
                Some("p"),
            ),
            // RFC 3986 has only `%40` there, git and pip take both.
            (
                "https://me@work:a%2Fb%3A:c@h.example/",
                "https://h.example/",
                "me@work",
                Some("a/b::c"),
            ),
        ] {
            let address = RepositoryAddress::read(url).unwrap();
            assert_eq!(address.url, expected);
            let credentials = address.credentials.unwrap();
            assert!(expected.starts_with(&credentials.origin), "{credentials:?}");
            assert_eq!(
                (
                    credentials.username.as_str(),
                    credentials.password.as_deref()
                ),
                (user, password),
                "{url}"
            );
            assert!(!format!("{credentials:?}").contains(user) || user.is_empty());
        }
        for url in [
            "https://h.example/a@b",
            "ssh://git@h.example/a",
            "git@h.example:a/b",
            "file:///a@b",
        ] {
            assert_eq!(
                RepositoryAddress::read(url).unwrap(),
                RepositoryAddress {
                    url: url.to_owned(),
                    credentials: None
                }
            );
        }
        for url in [
            "https://u%0Ahost=evil:p@h.example/",
            "https://u:p%00@h.example/",
        ] {
            assert!(RepositoryAddress::read(url).is_err(), "{url}");
        }
    }
}
