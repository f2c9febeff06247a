//! What ssh says when it fails, told as what is wrong and what to do. The texts are OpenSSH's own,
//! from 7.4 (EL 7) on.

use pkgapp_core::error::Error;

/// What kept ssh from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No such name.
    UnknownHost,
    /// Nothing listens there.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No way there.
    Unreachable,
    /// Another key than the known one: maybe another machine.
    KeyChanged,
    /// No key is known.
    KeyUnknown,
    /// No key or password was accepted.
    Denied,
    /// The server hung up before anyone logged in.
    HungUp,
    /// ssh's configuration.
    Configuration,
    /// Something else.
    Other,
}

/// Texts, and what they mean; the first that is there counts.
const TEXTS: [(&str, Trouble); 20] = [
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        Trouble::KeyChanged,
    ),
    ("Host key verification failed", Trouble::KeyUnknown),
    ("host key is known for", Trouble::KeyUnknown),
    ("Could not resolve hostname", Trouble::UnknownHost),
    ("Connection refused", Trouble::Refused),
    ("No route to host", Trouble::Unreachable),
    ("Network is unreachable", Trouble::Unreachable),
    ("Connection timed out", Trouble::TimedOut),
    ("Operation timed out", Trouble::TimedOut),
    ("timed out during banner exchange", Trouble::TimedOut),
    ("Timeout, server", Trouble::TimedOut),
    ("Permission denied (", Trouble::Denied),
    ("Too many authentication failures", Trouble::Denied),
    ("Bad configuration option", Trouble::Configuration),
    ("bad configuration option", Trouble::Configuration),
    ("Can't open user config file", Trouble::Configuration),
    ("Bad owner or permissions on", Trouble::Configuration),
    ("Connection reset by", Trouble::HungUp),
    ("Connection closed by", Trouble::HungUp),
    ("kex_exchange_identification", Trouble::HungUp),
];

/// Returns what ssh's messages mean.
pub fn trouble(messages: &str) -> Trouble {
    TEXTS
        .iter()
        .find(|(text, _)| messages.contains(text))
        .map_or(Trouble::Other, |(_, trouble)| *trouble)
}

/// Returns the error for a host that ssh did not reach. `destination` is what a person gives to
/// `ssh` to try it.
pub fn not_reached(name: &str, destination: &str, messages: &str) -> Error {
    let trouble = trouble(messages);
    let (what, hint) = match trouble {
        Trouble::UnknownHost => (
            "no machine has this name".to_owned(),
            "check the name; ssh looks it up in its configuration (`Host`, `HostName`) and in the DNS".to_owned(),
        ),
        Trouble::Refused => (
            "nothing listens on its ssh port".to_owned(),
            "is sshd running there, and is the port right? write another one as `HOST:2222`".to_owned(),
        ),
        Trouble::TimedOut => (
            "it does not answer".to_owned(),
            format!(
                "is it up, and does a firewall let you through? try `ssh {destination} true`; `--connect-timeout` is how long to wait"
            ),
        ),
        Trouble::Unreachable => (
            "there is no way to it from here".to_owned(),
            "does it need a VPN or a jump host (`ProxyJump` in ssh's configuration)?".to_owned(),
        ),
        Trouble::KeyChanged => (
            "its host key is not the known one".to_owned(),
            format!(
                "someone may be listening in, or it was installed anew; if you know that it was, compare its new \
                 fingerprint and run `{}`",
                removal(destination, messages)
            ),
        ),
        Trouble::KeyUnknown => (
            "its host key is not known".to_owned(),
            format!("run `ssh {destination}` once and compare the fingerprint with the machine's own"),
        ),
        Trouble::Denied => (
            "it lets this login not in".to_owned(),
            format!("does `ssh {destination} true` work? `pkgapp bootstrap` authorizes a key for a user"),
        ),
        Trouble::HungUp => (
            "it hung up before the login".to_owned(),
            "many logins at once do that (`MaxStartups` of sshd_config): try a lower `--parallel`".to_owned(),
        ),
        Trouble::Configuration => {
            ("ssh does not accept its configuration".to_owned(), format!("run `ssh {destination} true` to see it"))
        }
        Trouble::Other => ("ssh failed".to_owned(), format!("run `ssh {destination} true` to see it")),
    };
    let said = said(messages);
    let error = Error::new(format!("cannot reach `{name}`: {what}"));
    let error = if said.is_empty() {
        error
    } else {
        error.cause_text(said)
    };
    error.hint(hint)
}

/// Returns the command that forgets the known key, which ssh itself proposes.
fn removal(destination: &str, messages: &str) -> String {
    let proposed = messages
        .lines()
        .map(str::trim)
        .find_map(|line| line.find("ssh-keygen -f").map(|at| &line[at..]));
    let host = destination
        .rsplit('@')
        .next()
        .unwrap_or(destination)
        .split(' ')
        .next_back()
        .unwrap_or(destination);
    proposed.map_or_else(|| format!("ssh-keygen -R {host}"), str::to_owned)
}

/// Returns what of ssh's messages says something: no frames, no banner.
fn said(messages: &str) -> String {
    let lines = messages.lines().map(str::trim_end).filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("@@@") && !line.starts_with("@ ")
    });
    let lines: Vec<&str> = lines.collect();
    // The last ones are about the end.
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by OpenSSH 9.2.
    const CHANGED: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r
Someone could be eavesdropping on you right now (man-in-the-middle attack)!\r
It is also possible that a host key has just been changed.\r
The fingerprint for the ED25519 key sent by the remote host is\r
SHA256:YnZOm1D8nFTpEKV0oxvQqSoJWyxtbOi6pRgBzOyaX7w.\r
Please contact your system administrator.\r
Add correct host key in /home/ann/.ssh/known_hosts to get rid of this message.\r
Offending ED25519 key in /home/ann/.ssh/known_hosts:3\r
  remove with:\r
  ssh-keygen -f \"/home/ann/.ssh/known_hosts\" -R \"web1\"\r
Host key for web1 has changed and you have requested strict checking.\r
Host key verification failed.\r
";

    #[test]
    fn texts_of_ssh_are_understood() {
        for (text, expected) in [
            (
                "ssh: Could not resolve hostname nope: Name or service not known",
                Trouble::UnknownHost,
            ),
            (
                "ssh: connect to host 127.0.0.1 port 1: Connection refused",
                Trouble::Refused,
            ),
            (
                "ssh: connect to host 10.255.255.1 port 22: Connection timed out",
                Trouble::TimedOut,
            ),
            (
                "Connection timed out during banner exchange\nConnection to UNKNOWN port 65535 timed out",
                Trouble::TimedOut,
            ),
            (
                "ssh: connect to host 10.9.9.9 port 22: No route to host",
                Trouble::Unreachable,
            ),
            (
                "No ED25519 host key is known for web1 and you have requested strict checking.\nHost key verification failed.",
                Trouble::KeyUnknown,
            ),
            ("Host key verification failed.", Trouble::KeyUnknown),
            (CHANGED, Trouble::KeyChanged),
            (
                "deploy@web1: Permission denied (publickey).",
                Trouble::Denied,
            ),
            (
                "kex_exchange_identification: read: Connection reset by peer",
                Trouble::HungUp,
            ),
            (
                "/x: line 1: Bad configuration option: nonsense",
                Trouble::Configuration,
            ),
            ("something new", Trouble::Other),
        ] {
            assert_eq!(trouble(text), expected, "{text}");
        }
    }

    #[test]
    fn a_changed_key_is_told_with_ssh_s_own_way_out() {
        let error = not_reached("web1", "web1", CHANGED).to_string();
        assert!(
            error.starts_with("error: cannot reach `web1`: its host key is not the known one\n"),
            "{error}"
        );
        assert!(
            error.contains("run `ssh-keygen -f \"/home/ann/.ssh/known_hosts\" -R \"web1\"`"),
            "{error}"
        );
        assert!(!error.contains("@@@"), "{error}");
    }
}
