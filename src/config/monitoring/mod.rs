//! How anybody asks a service whether it works, and who learns of it: `health` and `watchdog` of
//! `[service.NAME]`, and `[metrics]`.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::path::InstallPath;

use super::document::SourceTexts;
use super::reader::{TableReader, ValueReader};
use super::service::{PartName, Service, ServiceType, SocketAddress, TimeSpan, Timer, host_path};

/// How long an answer may take, unless it is configured.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait between two questions, unless it is configured.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
/// What a request calls its host, unless it is configured.
const DEFAULT_HOST: &str = "localhost";
/// How often metrics are written, unless it is configured.
const METRICS_INTERVAL: Duration = Duration::from_secs(30);
/// Where Debian's node-exporter reads text files.
const TEXTFILE_DIRECTORY: &str = "/var/lib/prometheus/node-exporter";

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);

/// `health`: a request to a service that only a working one answers well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHealth {
    /// The path of the request, with its query.
    pub path: String,
    /// Where the service listens, as its own host reaches it.
    pub address: HealthAddress,
    /// The status of a good answer; `None` for all of 200 to 399.
    pub status: Option<u16>,
    /// How long the whole answer may take; by default 2 s.
    pub timeout: Duration,
    /// The request's `Host`; `None` for [`ServiceHealth::host`]'s default.
    pub host: Option<String>,
    /// Whether systemd restarts a service after three bad answers in a row; by default it does not.
    pub restart: bool,
    /// How long to wait between two requests for `restart`; by default 10 s.
    pub interval: Duration,
}

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthAddress {
    /// Host and port.
    Tcp {
        /// A name or an address; one of IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(InstallPath),
}

/// A service that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedService {
    /// NAME of `[service.NAME]`.
    pub name: PartName,
    /// How.
    pub health: ServiceHealth,
}

/// `[metrics]`: a text file for Prometheus' node-exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsFile {
    /// `textfile-directory`, where node-exporter reads; by default Debian's.
    pub directory: InstallPath,
    /// How often the file is written; by default every 30 s.
    pub interval: Duration,
    /// Where it is declared.
    pub at: Location,
}

impl AskedService {
    /// Returns the services that have a `health`.
    pub fn all(services: &[Service]) -> Vec<Self> {
        let asked = services.iter().filter_map(|service| {
            Some(Self {
                name: service.name.clone(),
                health: service.health.clone()?,
            })
        });
        asked.collect()
    }
}

impl ServiceHealth {
    /// Returns the request's `Host`: by default the first name of the site in front of the service,
    /// else `localhost`.
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or(DEFAULT_HOST)
    }

    /// Reads `health` of a service: a path, or a table; `false` takes out a recipe's.
    pub(super) fn read(
        service: &TableReader<'_>,
        socket: Option<&SocketAddress>,
        has_instances: bool,
    ) -> Option<Self> {
        let value = service.get("health").filter(|value| !value.is_false())?;
        if has_instances {
            // A recipe asks every application that it finds a path in.
            if value.origin().source != SourceTexts::CONFIGURATION {
                return None;
            }
            let error = Error::new("instances of a service cannot be asked one by one");
            value.complain(
                error
                    .note("they share the socket, and any of them may answer")
                    .hint("leave out `health`, or `instances`"),
            );
            return None;
        }
        if value.is_string() {
            let path = value.parsed(request_path);
            let address = Self::address(&value, None, socket);
            return Some(Self::new(path?, address?));
        }
        if !value.is_table() {
            value.wrong_type("a path such as `\"/healthz\"` or a table");
            return None;
        }
        Self::read_table(&value, socket)
    }

    fn read_table(value: &ValueReader<'_>, socket: Option<&SocketAddress>) -> Option<Self> {
        let table = value.table("service.NAME.health")?;
        let path = table
            .require("path", "path = \"/healthz\"")
            .and_then(|value| value.parsed(request_path));
        let address = Self::address(value, table.get("address"), socket);
        let status = status(table.get("status"));
        let timeout = duration(table.get("timeout").as_ref(), DEFAULT_TIMEOUT, TIMEOUTS);
        let host = match table.get("host") {
            Some(value) => value.parsed(host_header).map(Some),
            None => Some(None),
        };
        let (restart, interval) = Self::restart(&table);
        table.finish();
        Some(Self {
            path: path?,
            address: address?,
            status: status?,
            timeout: timeout?,
            host: host?,
            restart: restart?,
            interval: interval?,
        })
    }

    /// Reads `restart` and `interval`.
    fn restart(table: &TableReader<'_>) -> (Option<bool>, Option<Duration>) {
        let restart = match table.get("restart") {
            Some(value) => value.boolean(),
            None => Some(false),
        };
        let interval = table.get("interval");
        if let (Some(interval), Some(false)) = (&interval, restart) {
            let error = Error::new(format!("`{}` is for `restart`", interval.label()));
            interval.complain(error.hint("add `restart = true`, or leave it out"));
        }
        let interval = duration(interval.as_ref(), DEFAULT_INTERVAL, INTERVALS);
        (restart, interval)
    }

    fn new(path: String, address: HealthAddress) -> Self {
        Self {
            path,
            address,
            status: None,
            timeout: DEFAULT_TIMEOUT,
            host: None,
            restart: false,
            interval: DEFAULT_INTERVAL,
        }
    }

    /// Where the service is asked: `address`, else where systemd listens for it.
    fn address(
        health: &ValueReader<'_>,
        address: Option<ValueReader<'_>>,
        socket: Option<&SocketAddress>,
    ) -> Option<HealthAddress> {
        if let Some(address) = address {
            return address.parsed(HealthAddress::parse);
        }
        match socket {
            Some(SocketAddress::Unix(path)) => Some(HealthAddress::Unix(path.clone())),
            Some(SocketAddress::Tcp(address)) => Some(HealthAddress::Tcp {
                host: reachable(&address.ip().to_string()),
                port: address.port(),
            }),
            None => {
                let error = Error::new("nothing says where the service is to be asked");
                health.complain(error.hint(
                    "add a `socket` to the service, or `address = \"127.0.0.1:8000\"` to `health`",
                ));
                None
            }
        }
    }
}

impl HealthAddress {
    /// Reads `HOST:PORT`, or the path of a socket.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return InstallPath::parse(text).map(Self::Unix);
        }
        let parts = text.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
            let inside = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            let is_fine = match inside {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => is_host_name(host),
            };
            is_fine.then(|| (reachable(inside.unwrap_or(host)), port))
        });
        match parts {
            Some((host, port)) => Ok(Self::Tcp { host, port }),
            None => Err(Error::new(format!(
                "`{}` is not an address to ask at",
                text.escape_debug()
            ))
            .hint("write a host and a port, such as `127.0.0.1:8000`, or the path of a socket")),
        }
    }
}

/// The address as the health check of a push and `pkgapp render` show it.
impl fmt::Display for HealthAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path.as_str()),
        }
    }
}

/// The request as people write it, e.g. `http://127.0.0.1:8000/healthz`.
impl fmt::Display for ServiceHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            HealthAddress::Tcp { .. } => write!(f, "http://{}{}", self.address, self.path),
            HealthAddress::Unix(path) => write!(f, "{} at {}", self.path, path.as_str()),
        }
    }
}

/// Reads `watchdog` of a service.
pub(super) fn watchdog(
    service: &TableReader<'_>,
    service_type: Option<ServiceType>,
) -> Option<TimeSpan> {
    let value = service.get("watchdog")?;
    let span = value.parsed(TimeSpan::parse)?;
    if service_type.is_some_and(|service_type| service_type != ServiceType::Notify) {
        let error = Error::new("`watchdog` is for services with `type = \"notify\"`");
        value.complain(
            error
                .note("systemd waits for messages that only such a program sends")
                .hint("for others, write `health = { path = \"/healthz\", restart = true }`"),
        );
    } else if span.duration < Duration::from_secs(1) {
        let error = Error::new("a watchdog needs a second at least");
        value.complain(error.hint("such as `watchdog = \"30s\"`"));
    }
    Some(span)
}

/// Reads `[metrics]`, and reports parts whose units would be those that pkgapp makes for
/// monitoring.
pub(super) fn read(
    root: &TableReader<'_>,
    services: &[Service],
    timers: &[Timer],
) -> Option<MetricsFile> {
    let is_watched = !(services.is_empty() && timers.is_empty());
    let metrics = root
        .get("metrics")
        .and_then(|value| MetricsFile::read(&value, is_watched));

    let mut made = made_for_health(services);
    made.extend(made_for_failures(services, timers));
    if metrics.is_some() {
        made.push(("metrics".to_owned(), "`[metrics]`".to_owned()));
    }
    for (name, key) in made {
        if let Some(at) = place_of(&name, services, timers) {
            let error = Error::new(format!("`{name}` would be the same unit as that of {key}"));
            root.complain_elsewhere(error.at(at.clone()).hint("give it another name"));
        }
    }
    metrics
}

/// The names of units that ask services, and what they are for.
fn made_for_health(services: &[Service]) -> Vec<(String, String)> {
    let restarted = services
        .iter()
        .filter(|service| service.health.as_ref().is_some_and(|health| health.restart));
    let made = restarted.map(|service| {
        let name = format!("{}-health", service.name);
        (name, format!("`health` of `[service.{}]`", service.name))
    });
    made.collect()
}

/// The names of units that `on-failure` makes, and what they are for.
fn made_for_failures(services: &[Service], timers: &[Timer]) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for service in services {
        if service.process.on_failure.is_some() {
            names.push(&service.name);
        }
    }
    for timer in timers {
        if timer.process.on_failure.is_some() {
            names.push(&timer.name);
        }
    }
    let made = names.into_iter().map(|name| {
        let key = format!("`on-failure` of `{name}`");
        (format!("{name}-failed"), key)
    });
    made.collect()
}

/// Where a service or timer of this name is declared.
fn place_of<'p>(name: &str, services: &'p [Service], timers: &'p [Timer]) -> Option<&'p Location> {
    for service in services {
        if service.name.as_str() == name {
            return Some(&service.at);
        }
    }
    let timer = timers.iter().find(|timer| timer.name.as_str() == name)?;
    Some(&timer.at)
}

impl MetricsFile {
    fn read(value: &ValueReader<'_>, is_watched: bool) -> Option<Self> {
        let table = value.table("metrics")?;
        let directory = match table.get("textfile-directory") {
            Some(value) => value.parsed(textfile_directory),
            None => table.accept(&Some(InstallPath::parse(TEXTFILE_DIRECTORY))),
        };
        let interval = duration(table.get("interval").as_ref(), METRICS_INTERVAL, INTERVALS);
        table.finish();
        if !is_watched {
            let error = Error::new("there is nothing to measure: no service and no timer");
            value.complain(error.hint("declare a `[service.NAME]`, or leave out `[metrics]`"));
        }
        Some(Self {
            directory: directory?,
            interval: interval?,
            at: value.at(),
        })
    }
}

/// Reads the directory of text files. All of what root may write there lies in it.
fn textfile_directory(text: &str) -> Result<InstallPath> {
    let path = host_path(text)?;
    let depth = path.as_str().split('/').filter(|part| !part.is_empty());
    let is_systems = ["/etc/", "/usr/", "/boot/", "/dev/", "/proc/", "/sys/"]
        .iter()
        .any(|base| format!("{text}/").starts_with(base));
    if depth.count() < 2 || is_systems {
        return Err(
            Error::new(format!("`{text}` is no directory for metrics")).hint(format!(
                "write the directory that node-exporter reads, such as `{TEXTFILE_DIRECTORY}`"
            )),
        );
    }
    Ok(path)
}

/// Reads the status of a good answer: `Some(None)` if any will do, `None` after a mistake.
#[expect(
    clippy::option_option,
    reason = "an absent status and a mistaken one are two things"
)]
fn status(value: Option<ValueReader<'_>>) -> Option<Option<u16>> {
    let Some(value) = value else {
        return Some(None);
    };
    let number = value.integer(100..=599)?;
    u16::try_from(number).ok().map(Some)
}

/// Reads a time with limits.
fn duration(
    value: Option<&ValueReader<'_>>,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Option<Duration> {
    let Some(value) = value else {
        return Some(default);
    };
    let duration = value.parsed(TimeSpan::parse)?.duration;
    if range.contains(&duration) {
        return Some(duration);
    }
    let (least, most) = (range.start().as_millis(), range.end().as_secs());
    let least = match least % 1000 {
        0 => format!("{}s", least / 1000),
        _ => format!("{least}ms"),
    };
    value.complain(Error::new(format!(
        "`{}` must be between `{least}` and `{most}s`",
        value.label()
    )));
    None
}

/// Reads the target of a request (RFC 9112, §3.2.1 "origin-form").
fn request_path(text: &str) -> Result<String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/?".contains(c);
    if text.starts_with('/') && text.len() <= 1000 && text.chars().all(is_fine) {
        return Ok(text.to_owned());
    }
    let error = Error::new(format!(
        "`{}` is not the path of a request",
        text.escape_debug()
    ));
    Err(
        if text.starts_with("http://") || text.starts_with("https://") {
            error.hint(
                "write the path alone, such as `/healthz`, and where it is asked as `address`",
            )
        } else {
            error.hint("begin it with `/`, and write other characters than letters as `%20`")
        },
    )
}

/// Reads the value of a `Host` header (RFC 9110, §7.2).
fn host_header(text: &str) -> Result<String> {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => text,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_fine = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(name),
    };
    if is_fine && text.chars().all(|c| c.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(Error::new(format!(
            "`{}` is not the name of a host",
            text.escape_debug()
        ))
        .hint("write the name that visitors use, such as `shop.example.com`"))
    }
}

fn is_host_name(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !text.is_empty() && text.len() <= 253 && text.chars().all(inside) && !text.starts_with('-')
}

/// The host's own address, where a service listens on all of them.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() && address.is_ipv4() => "127.0.0.1".to_owned(),
        Ok(address) if address.is_unspecified() => "::1".to_owned(),
        _ => host.to_owned(),
    }
}
