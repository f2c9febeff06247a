//! The service behind a site, and the address at which it answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;

use super::super::deploy::is_plain;
use super::super::host_pattern::url_host;
use super::super::reader::{TableReader, ValueReader, listed, nearest};
use super::super::service::{PartName, Service, SocketAddress};

/// The service behind a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxiedService {
    /// NAME in `[service.NAME]`.
    pub name: PartName,
    /// Where it answers.
    pub address: UpstreamAddress,
    /// Whether systemd holds a socket in the file system for it whose group is ours to choose.
    pub is_admitted: bool,
    /// The hosts that answer instead, if a system says so.
    pub hosts: Vec<UpstreamHost>,
}

/// A host that answers for a site on other hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamHost {
    /// Its name or address.
    pub host: String,
    /// The port of the service.
    pub port: u16,
}

/// Where a service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Address and port, on the host itself if it listens on all of them.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(InstallPath),
}

/// Options of servers for an address, as `HOST:PORT` or `unix:PATH`.
const ADDRESS_OPTIONS: [&str; 6] = [
    "--bind",
    "-b",
    "--listen",
    "--http-socket",
    "--http",
    "--uds",
];

/// Options of servers for a host alone.
const HOST_OPTIONS: [&str; 3] = ["--host", "-h", "-b"];

/// Options of servers for a port alone.
const PORT_OPTIONS: [&str; 2] = ["--port", "-p"];

impl ProxiedService {
    /// Returns the service that `proxy` names, else the only one with an address.
    pub(super) fn read(
        table: &TableReader<'_>,
        proxy: Option<&ValueReader<'_>>,
        services: &[Service],
    ) -> Option<Self> {
        if let Some(value) = proxy {
            return value.parsed(|text| Self::named(text, services));
        }
        match Self::only(services) {
            Ok(found) => Some(found),
            Err(error) => {
                table.complain(error);
                None
            }
        }
    }

    /// Lets the service believe the web server about the scheme and address of clients: nobody else
    /// may connect to a socket whose group is the web server's. gunicorn and uvicorn read a
    /// variable of that name; by default they believe `127.0.0.1` alone.
    pub(in super::super) fn trust_web_server(&self, services: &mut [Service]) {
        let is_behind = |service: &&mut Service| self.is_admitted && service.name == self.name;
        for service in services.iter_mut().filter(is_behind) {
            let program = service.process.exec.words[0].rsplit('/').next();
            if matches!(program, Some("gunicorn" | "uvicorn")) {
                let env = &mut service.process.env;
                env.entry("FORWARDED_ALLOW_IPS".to_owned())
                    .or_insert_with(|| "*".to_owned());
            }
        }
    }

    fn named(text: &str, services: &[Service]) -> Result<Self> {
        let names = || services.iter().map(|service| service.name.as_str());
        let Some(service) = services
            .iter()
            .find(|service| service.name.as_str() == text)
        else {
            let error = Error::new(format!(
                "there is no `[service.{}]` to proxy to",
                text.escape_debug()
            ));
            return Err(match nearest(text, names()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("declare it, or name another service"),
            });
        };
        Self::of(service).ok_or_else(|| {
            let error = Error::new(format!("the address of `[service.{text}]` is unknown"));
            error.hint(format!(
                "add a socket that systemd holds, such as `socket = \"127.0.0.1:8000\"`, to `[service.{text}]`"
            ))
        })
    }

    fn only(services: &[Service]) -> Result<Self> {
        let mut found: Vec<Self> = services.iter().filter_map(Self::of).collect();
        if found.len() > 1 {
            let names = listed(found.iter().map(|proxied| proxied.name.as_str()));
            let error = Error::new(format!("the site could be in front of {names}"));
            return Err(error.hint(format!("add `proxy = \"{}\"`", found[0].name)));
        }
        found.pop().ok_or_else(|| {
            let error =
                Error::new("there is no service with a known address for the site to proxy to");
            error
                .hint("add `socket = \"127.0.0.1:8000\"` to the `[service.NAME]` that answers HTTP")
        })
    }

    fn of(service: &Service) -> Option<Self> {
        let (address, is_socket) = match &service.socket {
            Some(SocketAddress::Tcp(address)) => (UpstreamAddress::Tcp(reachable(*address)), false),
            Some(SocketAddress::Unix(path)) => (plain_socket(path)?, true),
            None => (Self::own_address(service)?, false),
        };
        Some(Self {
            name: service.name.clone(),
            is_admitted: is_socket && service.socket_access.group.is_none(),
            address,
            hosts: Vec::new(),
        })
    }

    /// Returns the addresses, as web servers name them; `unix` stands before the path of a socket.
    pub fn addresses(&self, unix: &str) -> Vec<String> {
        if self.hosts.is_empty() {
            return vec![match &self.address {
                UpstreamAddress::Tcp(address) => address.to_string(),
                UpstreamAddress::Unix(path) => format!("{unix}{path}"),
            }];
        }
        let hosts = self.hosts.iter();
        let addresses =
            hosts.map(|UpstreamHost { host, port }| format!("{}:{port}", url_host(host)));
        addresses.collect()
    }

    /// Where a service listens that opens its socket itself.
    fn own_address(service: &Service) -> Option<UpstreamAddress> {
        match &service.address {
            Some(SocketAddress::Tcp(address)) => Some(UpstreamAddress::Tcp(reachable(*address))),
            Some(SocketAddress::Unix(path)) => plain_socket(path),
            None => address_in(&service.process.exec.words),
        }
    }
}

/// A socket whose path a web server can be told.
fn plain_socket(path: &InstallPath) -> Option<UpstreamAddress> {
    is_plain(path.as_str().trim_start_matches('/')).then(|| UpstreamAddress::Unix(path.clone()))
}

/// Returns the address of the host itself for one that stands for all of its addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

/// Returns the address that a command line names, as far as it names one in a known way.
fn address_in(words: &[String]) -> Option<UpstreamAddress> {
    let addresses = values(words, &ADDRESS_OPTIONS);
    if let [address] = addresses[..]
        && let Some(found) = parse_address(address)
    {
        return Some(found);
    }
    let hosts = values(words, &HOST_OPTIONS);
    let [port] = values(words, &PORT_OPTIONS)[..] else {
        return None;
    };
    let host = match hosts[..] {
        [] => "127.0.0.1",
        [host] => host,
        _ => return None,
    };
    parse_address(&format!("{host}:{port}"))
}

/// The values of options, written as `--option value` or `--option=value`.
fn values<'w>(words: &'w [String], options: &[&str]) -> Vec<&'w str> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if options.contains(&word.as_str()) {
            found.extend(words.get(index + 1).map(String::as_str));
        } else if let Some((option, value)) = word.split_once('=')
            && options.contains(&option)
        {
            found.push(value);
        }
    }
    found
}

fn parse_address(text: &str) -> Option<UpstreamAddress> {
    if let Some(path) = text.strip_prefix("unix:").or(Some(text))
        && path.starts_with('/')
    {
        return plain_socket(&InstallPath::parse(path).ok()?);
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "localhost" | "" | "*" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.trim_matches(['[', ']']).parse().ok()?,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(UpstreamAddress::Tcp(reachable(SocketAddr::new(host, port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_command_lines_of_servers() {
        let found = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            address_in(&words).map(|address| match address {
                UpstreamAddress::Tcp(address) => address.to_string(),
                UpstreamAddress::Unix(path) => path.to_string(),
            })
        };
        for (command, address) in [
            ("gunicorn shop.wsgi -b 0.0.0.0:8000", "127.0.0.1:8000"),
            (
                "gunicorn --bind=unix:/run/shop/web.sock x",
                "/run/shop/web.sock",
            ),
            ("waitress-serve --listen *:8080 x:y", "127.0.0.1:8080"),
            (
                "waitress-serve --listen 127.0.0.1:8000 x:y",
                "127.0.0.1:8000",
            ),
            ("hypercorn --bind [::1]:8000 x:y", "[::1]:8000"),
            ("daphne -b 127.0.0.1 -p 8000 x:y", "127.0.0.1:8000"),
            (
                "granian --interface asgi --host :: --port 80 x:y",
                "[::1]:80",
            ),
            ("uvicorn --uds /run/shop/web.sock x:y", "/run/shop/web.sock"),
            ("uvicorn x:y --port 9000", "127.0.0.1:9000"),
            ("uwsgi --http-socket 127.0.0.1:3031", "127.0.0.1:3031"),
        ] {
            assert_eq!(found(command).as_deref(), Some(address), "{command}");
        }
        for command in [
            "gunicorn shop.wsgi",
            "gunicorn -b a.example:80 -b 127.0.0.1:8000 x",
            "serve --port {instance}",
            "uvicorn --fd 3 x:y",
            "celery -A x worker",
            "x --bind db.example.com:8000",
            "x --port 0",
        ] {
            assert_eq!(found(command), None, "{command}");
        }
    }
}
