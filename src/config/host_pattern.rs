//! Patterns of hosts, such as `deploy@web[01:12].example.com:2222`, and the addresses that they
//! stand for.

use std::fmt;

use pkgapp_core::error::{Error, Result};

/// How many hosts one command may have: a slip such as `web[1:99999999]` must not eat the memory.
const MOST_HOSTS: usize = 100_000;

/// One host or several: `[USER@]HOST[:PORT]` where HOST may hold ranges such as `web[01:12]`, or be
/// an IPv6 address in brackets (RFC 3986, §3.2.2) with its zone: `[fe80::1%eth0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(String);

/// Where ssh finds a host, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostAddress {
    /// Who logs in; `None` leaves it to ssh.
    pub user: Option<String>,
    /// A name that ssh, its configuration included, can resolve.
    pub host: String,
    /// `None` leaves it to ssh.
    pub port: Option<u16>,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        // In a list, what an IPv6 address has is no port.
        write!(f, "{}", url_host(&self.host))?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl HostPattern {
    /// Reads `[USER@]HOST[:PORT]`, or `@FILE` for a list of them.
    ///
    /// # Errors
    /// A character that no host's name has, a range that is none, a port that is none.
    pub fn parse(text: &str) -> Result<Self> {
        if text.strip_prefix('@').is_some_and(|file| !file.is_empty()) {
            return Ok(Self(text.to_owned()));
        }
        let bad =
            |why: String| Error::new(format!("`{}` names no hosts: {why}", text.escape_debug()));
        let (user, rest) = text
            .split_once('@')
            .map_or((None, text), |(user, rest)| (Some(user), rest));
        if let Some(user) = user {
            login(user).map_err(|error| bad(error.message().to_owned()))?;
        }
        // A colon within brackets belongs to a range or to an address.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        if let Some(port) = port.filter(|_| ipv6(rest).is_none())
            && !port.parse::<u16>().is_ok_and(|port| port > 0)
        {
            return Err(bad(format!("`{port}` is not a port")));
        }
        if ipv6(host).is_some() {
            return Ok(Self(text.to_owned()));
        }
        if host
            .split('[')
            .map(|part| part.rsplit(']').next().unwrap_or(part))
            .any(|part| part.contains(':'))
        {
            return Err(bad("an IPv6 address stands in brackets".into())
                .hint("such as `[2001:db8::1]` or `[::1]:2222`"));
        }
        check_host(host).map_err(|why| {
            bad(why).hint("such as `web1.example.com`, `web[01:12]` or `deploy@web1:2222`")
        })?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the addresses that it stands for; `[01:12]` keeps its leading zeros.
    ///
    /// # Errors
    /// They are too many.
    pub fn expand(&self) -> Result<Vec<HostAddress>> {
        let text = self.as_str();
        let (user, rest) = text
            .split_once('@')
            .map_or((None, text), |(user, rest)| (Some(user.to_owned()), rest));
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (rest, None),
        };
        if let Some(address) = ipv6(host) {
            return Ok(vec![HostAddress {
                user,
                host: address.to_owned(),
                port,
            }]);
        }
        let mut hosts = vec![String::new()];
        let mut rest = host;
        while let Some((before, after)) = rest.split_once('[') {
            let (range, after) = after
                .split_once(']')
                .ok_or_else(|| Error::bug("a range is not closed"))?;
            let numbers =
                range_of(range).ok_or_else(|| Error::bug(format!("`[{range}]` is not a range")))?;
            if numbers.1 - numbers.0 >= MOST_HOSTS
                || hosts.len() * (numbers.1 - numbers.0 + 1) > MOST_HOSTS
            {
                return Err(Error::new(format!(
                    "`{text}` names more than {MOST_HOSTS} hosts"
                )));
            }
            let each = |host: &String| -> Vec<String> {
                (numbers.0..=numbers.1)
                    .map(|number| format!("{host}{before}{number:0width$}", width = numbers.2))
                    .collect()
            };
            hosts = hosts.iter().flat_map(each).collect();
            rest = after;
        }
        let address = |host: String| HostAddress {
            user: user.clone(),
            host: format!("{host}{rest}"),
            port,
        };
        Ok(hosts.into_iter().map(address).collect())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns a host as URLs have it: an IPv6 address in brackets (RFC 3986, §3.2.2).
pub fn url_host(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Returns the address of `[ADDRESS]` or `[ADDRESS%ZONE]`, with its zone, if it is one of IPv6.
pub fn ipv6(host: &str) -> Option<&str> {
    let inside = host.strip_prefix('[')?.strip_suffix(']')?;
    let (address, zone) = inside
        .split_once('%')
        .map_or((inside, None), |(address, zone)| (address, Some(zone)));
    // A zone is the name or number of an interface.
    let zone = zone.is_none_or(|zone| {
        !zone.is_empty()
            && zone
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    });
    address
        .parse::<std::net::Ipv6Addr>()
        .ok()
        .filter(|_| zone)
        .map(|_| inside)
}

/// Reads whom to log in as: looser than the names of users that pkgapp makes, as directories have
/// others.
pub(super) fn login(text: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '\\');
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(inside) {
        Ok(text.to_owned())
    } else {
        Err(Error::new(format!(
            "`{}` is not the name of a user",
            text.escape_debug()
        )))
    }
}

/// Checks a host's name with its ranges; the failure says why.
fn check_host(host: &str) -> std::result::Result<(), String> {
    let mut rest = host;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once('[') {
        let (range, after) = after.split_once(']').ok_or("a `[` is not closed")?;
        check_range(range)?;
        plain.push_str(before);
        plain.push('0');
        rest = after;
    }
    plain.push_str(rest);
    // A leading `-` would be an option of ssh.
    let bad = plain
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_'));
    match bad {
        _ if plain.is_empty() => Err("it is empty".into()),
        Some(bad) => Err(format!("{bad:?} cannot be part of a host name")),
        None if plain.starts_with(['-', '.']) => {
            Err("a host's name begins with a letter or digit".into())
        }
        None => Ok(()),
    }
}

fn check_range(range: &str) -> std::result::Result<(), String> {
    let ends = range.split_once(':').and_then(|(from, to)| {
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u32>().ok())?
        };
        number(from).zip(number(to))
    });
    match ends {
        Some((from, to)) if from <= to => Ok(()),
        Some(_) => Err(format!("the range `[{range}]` counts backwards")),
        None => Err(format!("`[{range}]` is not a range such as `[01:12]`")),
    }
}

/// First, last, and how many digits at least.
fn range_of(range: &str) -> Option<(usize, usize, usize)> {
    let (from, to) = range.split_once(':')?;
    let width = if from.starts_with('0') { from.len() } else { 1 };
    Some((from.parse().ok()?, to.parse().ok()?, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_ssh_can_be_given() {
        for good in [
            "web1",
            "web[01:12].example.com",
            "deploy@web1:2222",
            "John.Doe@web1",
            "u@web[1:3]",
            "r[1:2]n[1:9]",
            "@hosts",
            "10.0.0.1",
            "[::1]",
            "deploy@[fe80::1%eth0]:2222",
            "[2001:db8::1]:22",
        ] {
            assert!(HostPattern::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "@",
            "-oProxyCommand=x",
            "web 1",
            "web[1:",
            "web[3:1]",
            "web[a:b]",
            "web:0",
            "web:ssh",
            "U V@web",
            "-l@web",
            "a;b",
            "::1",
            "2001:db8::1",
            "[::1",
            "[::1]:0",
            "[fe80::1%]",
            "[fe80::1%a b]",
            "[1.2.3.4]",
            "x[::1]",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
