//! The address that the configuration file of a server names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::line::assignment;
use super::python::Literal;

/// Returns where `pserve` listens: by `listen` of waitress, `bind` of gunicorn, or `host` and `port`
/// in `[server:main]`. An interpolated value says nothing.
pub(in super::super) fn of_paste(text: &str) -> Option<String> {
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    let section = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[server:main]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    for line in section {
        if let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim(), value.trim());
        }
    }
    let whole = values.get("listen");
    if let Some(address) = whole.or_else(|| values.get("bind")) {
        return listening(address);
    }
    let host = values.get("host").copied();
    let host = host.unwrap_or("127.0.0.1");
    let port = values.get("port")?;
    listening(&format!("{host}:{port}"))
}

/// Returns where `pecan serve` listens: by `host` and `port` in `server`.
pub(in super::super) fn of_pecan(text: &str) -> Option<String> {
    let mut offset = 0;
    let start = text.split_inclusive('\n').find_map(|line| {
        let start = offset;
        offset += line.len();
        assignment(line)
            .is_some_and(|(name, value)| name == "server" && value.starts_with('{'))
            .then_some(start)
    })?;
    let server = &text[start..];
    let (_, items) = server.split_once('{')?;
    let (items, _) = items.split_once('}')?;
    let host = value_of(items, "host")?;
    let port = value_of(items, "port")?;
    listening(&format!("{host}:{port}"))
}

/// Returns the value of a key in the items of a dictionary.
fn value_of(items: &str, name: &str) -> Option<String> {
    let name = Literal::Text(name.to_owned());
    for item in items.split(',') {
        let Some((key, value)) = item.split_once(':') else {
            continue;
        };
        if Literal::parse(key).as_ref() != Some(&name) {
            continue;
        }
        return match Literal::parse(value)? {
            Literal::Text(text) => Some(text),
            Literal::Integer(number) => Some(number.to_string()),
            _ => None,
        };
    }
    None
}

/// Returns one address and port; names of hosts other than `localhost` could be any.
fn listening(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "*" | "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        host => host.trim_matches(['[', ']']).parse().ok()?,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::new(host, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paste_configurations_name_an_address() {
        let head = "[app:main]\nport = 1\n[server:main]\nuse = egg:waitress#main\n";
        for (lines, expected) in [
            ("listen = 127.0.0.1:6543", Some("127.0.0.1:6543")),
            ("listen = *:6543", Some("0.0.0.0:6543")),
            ("listen=localhost:6543\nthreads = 4", Some("127.0.0.1:6543")),
            ("bind = [::1]:80", Some("[::1]:80")),
            ("host = 0.0.0.0\nport = 8080", Some("0.0.0.0:8080")),
            ("port = 8080", Some("127.0.0.1:8080")),
            ("listen = 127.0.0.1:1 [::1]:1", None),
            ("listen = %(http_host)s:%(http_port)s", None),
            ("listen = a.example:80", None),
            ("port = 0", None),
            ("# port = 8080", None),
            ("[x]\nport = 8080", None),
        ] {
            let found = of_paste(&format!("{head}{lines}\n[loggers]\nkeys = root\n"));
            assert_eq!(found.as_deref(), expected, "{lines}");
        }
        assert_eq!(of_paste("[app:main]\nlisten = 127.0.0.1:1\n"), None);
    }

    #[test]
    fn pecan_configurations_name_an_address() {
        for (text, expected) in [
            (
                "# Server\nserver = {\n    'port': '8080',\n    'host': '0.0.0.0'\n}\napp = {}\n",
                Some("0.0.0.0:8080"),
            ),
            (
                "server = {\"port\": 8000, \"host\": \"127.0.0.1\"}\n",
                Some("127.0.0.1:8000"),
            ),
            ("server = {'port': PORT, 'host': '127.0.0.1'}\n", None),
            ("server = {'port': '8080'}\n", None),
            ("server = make()\n", None),
            ("server = {'host': '127.0.0.1'", None),
            ("app = {'port': '1', 'host': '::'}\n", None),
        ] {
            assert_eq!(of_pecan(text).as_deref(), expected, "{text}");
        }
    }
}
