//! `[site]`: the web server in front of the application.

mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::path::InstallPath;

use super::deploy::{Deploy, is_plain};
use super::document::SourceTexts;
use super::existing_file;
use super::reader::{Located, TableReader, ValueReader, listed};
use super::service::{Service, TimeSpan, host_path};

pub use upstream::{ProxiedService, UpstreamAddress, UpstreamHost};

/// `[site]`, if it has `domains`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The names that it answers; never empty.
    pub domains: Vec<Located<DomainName>>,
    /// What serves it; by default [`WebServer::Nginx`].
    pub server: WebServer,
    /// The service behind it.
    pub proxy: ProxiedService,
    /// `static`: files that the web server serves by itself, in the order of the file.
    pub statics: Vec<StaticFiles>,
    /// By default [`SiteTls::Off`], with a warning.
    pub tls: SiteTls,
    /// `limits.body`: bytes of a request's body; `None` for the web server's default.
    pub body_limit: Option<u64>,
    /// `limits.timeout`: how long the application may take for the next part of an answer.
    pub timeout: Option<Duration>,
    /// A file of the project with lines for the site, absolute.
    pub extra: Option<Located<PathBuf>>,
    /// Where it is declared.
    pub at: Location,
}

/// A domain name in lower-case ASCII; `*.example.com` stands for all names one level deeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainName(String);

/// The program that serves a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebServer {
    /// nginx, as Debian, Red Hat, and nginx.org package it.
    Nginx,
    /// Caddy 2.
    Caddy,
}

/// Files that the web server serves by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticFiles {
    /// What the paths of requests begin with; begins and ends with `/`.
    pub url: String,
    /// Where the files lie on hosts.
    pub directory: InstallPath,
    /// Where it is declared.
    pub at: Location,
}

/// Encryption of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteTls {
    /// Plain HTTP.
    Off,
    /// Files that the administrator keeps on hosts.
    Files {
        /// The certificate, followed by those of its issuers.
        certificate: InstallPath,
        /// Its private key.
        key: InstallPath,
    },
    /// Certificates from an authority that speaks ACME (RFC 8555).
    Acme {
        /// Whom the authority may write to.
        email: String,
    },
}

/// What the values of a site are checked against.
pub(super) struct SiteContext<'a> {
    /// The directory of the configuration.
    pub(super) root: &'a Path,
    pub(super) name: &'a AppName,
    pub(super) prefix: &'a InstallPath,
    pub(super) services: &'a [Service],
}

impl DomainName {
    /// Reads a name; its letters become lower case.
    ///
    /// # Errors
    /// It is no name of the DNS, or not ASCII.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.to_ascii_lowercase();
        if is_domain(&name) {
            return Ok(Self(name));
        }
        let error = Error::new(format!("`{}` is not a domain name", text.escape_debug()));
        Err(error.hint(suggested_domain(text)))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it stands for several names.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

/// Returns whether a text is a name of the DNS that is no address (RFC 1123, section 2.1).
fn is_domain(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    labels.len() <= 253
        && labels.split('.').all(is_label)
        && !labels.rsplit('.').next().is_none_or(is_number)
}

/// Returns what to write instead of a text that is no domain name: it may be an address with its
/// scheme, path, or port, or have other letters than ASCII's.
fn suggested_domain(text: &str) -> String {
    let address = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let host = url::Url::parse(&address)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    match host {
        Some(host) if host.contains('.') && is_domain(&host) => format!("write `{host}`"),
        _ => "write a name such as `shop.example.com`".to_owned(),
    }
}

impl Site {
    /// Reads `[site]`. A recipe may hold defaults for it: there is a site only if `domains` is set.
    pub(super) fn read(table: TableReader<'_>, context: Option<&SiteContext<'_>>) -> Option<Self> {
        let at = table.at();
        let is_written = table
            .entries()
            .iter()
            .any(|(_, value)| value.origin().source == SourceTexts::CONFIGURATION);
        let domains = if is_written {
            table.require("domains", "domains = [\"shop.example.com\"]")
        } else {
            table.get("domains")
        };
        let server = table.get("server").map_or(Some(WebServer::Nginx), |value| {
            value.choice(&WebServer::NAMES)
        });
        let (proxy, statics) = (table.get("proxy"), table.get("static"));
        let (tls, email) = (table.get("tls"), table.get("email"));
        let limits = SiteLimits::read(&table);
        let extra = table.get("extra");
        table.warn_if(domains.is_some() && tls.is_none(), unencrypted);

        let site = context.zip(domains).and_then(|(context, domains)| {
            let domains = read_domains(&domains);
            let tls = SiteTls::read(tls.as_ref(), email.as_ref(), &domains);
            let proxy = ProxiedService::read(&table, proxy.as_ref(), context.services);
            let statics = statics.map_or_else(Vec::new, |value| context.statics(&value));
            let extra = extra.map_or(Some(None), |value| {
                value
                    .placed(|text| existing_file(context.root, "file", text))
                    .map(Some)
            });
            Some(Self {
                domains: (!domains.is_empty()).then_some(domains)?,
                server: server?,
                proxy: proxy?,
                statics,
                tls: tls?,
                body_limit: limits.body,
                timeout: limits.timeout,
                extra: extra?,
                at,
            })
        });
        table.finish();
        site
    }
}

/// The warning about a site without `tls`.
fn unencrypted() -> Error {
    Error::new(
        "the site is served without encryption; `tls = \"off\"` says that something in front of it \
         encrypts, or that nothing has to",
    )
}

/// The warning about a deployment by a login without root, if it is one.
pub(super) fn not_for_logins(deploy: &Deploy) -> Option<Error> {
    deploy.tarball.as_ref()?;
    let warning = Error::new(
        "a login without root cannot configure a web server: the site is in `.pkgapp/site` of each \
         release, for the administrator",
    );
    Some(warning.at(deploy.at.clone()))
}

pub(super) fn read_domains(value: &ValueReader<'_>) -> Vec<Located<DomainName>> {
    let mut domains: Vec<Located<DomainName>> = Vec::new();
    let elements = value.list();
    if elements.is_empty() && value.is_list() {
        let error = Error::new(format!("`{}` is empty", value.label()));
        value.complain(error.hint("name a domain, such as `domains = [\"shop.example.com\"]`"));
    }
    for element in elements {
        let Some(domain) = element.placed(DomainName::parse) else {
            continue;
        };
        if domains.iter().any(|known| known.value == domain.value) {
            let error = Error::new(format!("`{}` is listed twice", domain.value.as_str()));
            element.complain(error.hint("leave one of them out"));
        }
        domains.push(domain);
    }
    domains
}

impl WebServer {
    const NAMES: [(&'static str, Self); 2] = [("nginx", Self::Nginx), ("caddy", Self::Caddy)];

    /// Returns its name, which is also that of its package and its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
        }
    }

    /// Returns where the site of an application of this name can lie, as distributions have it.
    pub fn places(self, name: &str) -> Vec<String> {
        match self {
            Self::Nginx => vec![
                format!("/etc/nginx/sites-available/{name}"),
                format!("/etc/nginx/conf.d/{name}.conf"),
            ],
            Self::Caddy => vec![format!("/etc/caddy/Caddyfile.d/{name}.caddyfile")],
        }
    }
}

impl SiteTls {
    fn read(
        value: Option<&ValueReader<'_>>,
        email: Option<&ValueReader<'_>>,
        domains: &[Located<DomainName>],
    ) -> Option<Self> {
        let tls = match value {
            None => Self::Off,
            Some(value) if value.is_table() => Self::files(value)?,
            Some(value) if value.is_string() => {
                let uses_acme = value.choice(&[("off", false), ("acme", true)])?;
                if uses_acme {
                    return Self::acme(value, email, domains);
                }
                Self::Off
            }
            Some(value) => {
                value.wrong_type("`\"off\"`, `\"acme\"`, or a table with `certificate` and `key`");
                return None;
            }
        };
        if let Some(email) = email {
            let error = Error::new("`site.email` is for certificates by ACME");
            email.complain(error.hint("add `tls = \"acme\"`, or leave the key out"));
        }
        Some(tls)
    }

    fn files(value: &ValueReader<'_>) -> Option<Self> {
        let table = value.table("site.tls")?;
        let certificate = table
            .require("certificate", "certificate = \"/etc/ssl/shop.pem\"")
            .and_then(|value| value.parsed(plain_host_path));
        let key = table
            .require("key", "key = \"/etc/ssl/private/shop.key\"")
            .and_then(|value| value.parsed(plain_host_path));
        table.finish();
        Some(Self::Files {
            certificate: certificate?,
            key: key?,
        })
    }

    fn acme(
        value: &ValueReader<'_>,
        email: Option<&ValueReader<'_>>,
        domains: &[Located<DomainName>],
    ) -> Option<Self> {
        for domain in domains.iter().filter(|domain| domain.value.is_wildcard()) {
            let error = Error::new(format!(
                "no certificate for `{}` can be had by answering requests of HTTP",
                domain.value.as_str()
            ));
            let hint = "name the domains one by one, or write `tls = { certificate = …, key = … }`";
            value.complain(error.hint(hint));
        }
        let Some(email) = email else {
            let error = Error::new("certificates by ACME need an address for notices");
            value.complain(error.hint("add `email = \"ops@example.com\"` below `[site]`"));
            return None;
        };
        let email = email.parsed(email_address)?;
        Some(Self::Acme { email })
    }
}

fn email_address(text: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "@._%+-".contains(c);
    let is_one = text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && DomainName::parse(host).is_ok());
    if is_one && !text.starts_with('-') && text.chars().all(inside) {
        return Ok(text.to_owned());
    }
    let error = Error::new(format!(
        "`{}` is not an e-mail address",
        text.escape_debug()
    ));
    Err(error.hint("write one such as `ops@example.com`"))
}

/// Reads a path on hosts that needs no quotes in the configuration of a web server.
fn plain_host_path(text: &str) -> Result<InstallPath> {
    let path = host_path(text)?;
    if is_plain(path.as_str().trim_start_matches('/')) {
        return Ok(path);
    }
    let error = Error::new(format!(
        "`{}` has characters that web servers take for something else",
        text.escape_debug()
    ));
    Err(error.hint("use letters, digits, and `. _ + @ -`"))
}

/// `limits = { body = "20M", timeout = "60s" }`.
#[derive(Default)]
struct SiteLimits {
    body: Option<u64>,
    timeout: Option<Duration>,
}

impl SiteLimits {
    fn read(table: &TableReader<'_>) -> Self {
        let Some(limits) = table
            .get("limits")
            .and_then(|value| value.table("site.limits"))
        else {
            return Self::default();
        };
        let body = limits.get("body").and_then(|value| value.parsed(size));
        let timeout = limits
            .get("timeout")
            .and_then(|value| value.parsed(timeout));
        limits.finish();
        Self { body, timeout }
    }
}

impl Site {
    /// Has the service behind the site know it: it believes the web server, and is asked for its
    /// health by a name that it answers.
    pub(super) fn introduce_to(&self, services: &mut [Service]) {
        self.proxy.trust_web_server(services);
        let mut names = self.domains.iter().map(|name| &name.value);
        let Some(name) = names.find(|name| !name.is_wildcard()) else {
            return;
        };
        let behind = services
            .iter_mut()
            .filter(|service| service.name == self.proxy.name);
        for health in behind.filter_map(|service| service.health.as_mut()) {
            health.host.get_or_insert_with(|| name.as_str().to_owned());
        }
    }
}

/// Reads a size with a unit as nginx has them.
pub(super) fn size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "K" | "k" => Some(1 << 10),
        "M" | "m" => Some(1 << 20),
        "G" | "g" => Some(1 << 30),
        _ => None,
    };
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits);
    let bytes = number
        .and_then(|digits| digits.parse::<u64>().ok())
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    match bytes {
        Some(bytes) if (1..=1 << 40).contains(&bytes) => Ok(bytes),
        _ => {
            let error = Error::new(format!("`{}` is not a size", text.escape_debug()));
            Err(error.hint("write a number with `K`, `M`, or `G`, such as `20M`"))
        }
    }
}

fn timeout(text: &str) -> Result<Duration> {
    let duration = TimeSpan::parse(text)?.duration;
    let range = Duration::from_secs(1)..=Duration::from_secs(86_400);
    if range.contains(&duration) && duration.subsec_nanos() == 0 {
        return Ok(duration);
    }
    Err(Error::new(format!(
        "`{text}` must be whole seconds, from `1s` to `1d`"
    )))
}

impl SiteContext<'_> {
    fn statics(&self, value: &ValueReader<'_>) -> Vec<StaticFiles> {
        let Some(table) = value.table("site.static") else {
            return Vec::new();
        };
        if !is_plain(self.prefix.as_str().trim_start_matches('/')) {
            let error = Error::new(format!(
                "`{}` has characters that web servers take for something else",
                self.prefix
            ));
            value.complain(error.hint("write a plain `prefix` below `[package]`"));
            return Vec::new();
        }
        let mut all = Vec::new();
        for (url, directory) in table.entries() {
            let path = static_url(&url).map_err(|error| {
                table.complain_elsewhere(error.at(url.at.clone()));
            });
            let at = directory.at();
            let directory = directory.parsed(|text| self.static_directory(text));
            let both = path.ok().zip(directory);
            all.extend(both.map(|(url, directory)| StaticFiles { url, directory, at }));
        }
        all
    }

    /// Reads a directory: in the release, or in those that outlive releases.
    fn static_directory(&self, text: &str) -> Result<InstallPath> {
        let inside = text.trim_end_matches('/');
        let name = self.name;
        if !inside.starts_with('/') {
            if is_plain(inside) {
                return InstallPath::parse(&format!("{}/{inside}", self.prefix));
            }
            let error = Error::new(format!(
                "`{}` is not a directory of the release",
                text.escape_debug()
            ));
            return Err(error.hint("write a path such as `app/static`"));
        }
        let path = plain_host_path(inside)?;
        let own = [
            self.prefix.to_string(),
            format!("/var/lib/{name}"),
            format!("/var/cache/{name}"),
        ];
        let is_own = own.iter().any(|directory| {
            path.as_str()
                .strip_prefix(directory.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        });
        if is_own {
            return Ok(path);
        }
        let error = Error::new(format!("`{path}` is not in a directory of the application"));
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        Err(error.hint(format!("name a directory below {}", listed(own))))
    }
}

/// Reads the beginning of the paths of requests: no part of it can leave the directory.
fn static_url(text: &str) -> Result<String> {
    let inside = text
        .strip_prefix('/')
        .and_then(|text| text.strip_suffix('/'));
    match inside {
        Some(inside) if is_plain(inside) => Ok(text.to_owned()),
        _ => {
            let error = Error::new(format!(
                "`{}` is not a path for static files",
                text.escape_debug()
            ));
            Err(error.hint("begin and end it with `/`, such as `/static/`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_names_of_the_dns() {
        for (text, name) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.Example.COM", "shop.example.com"),
            ("*.example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ] {
            assert_eq!(DomainName::parse(text).unwrap().as_str(), name);
        }
        for (text, hint) in [
            ("https://shop.example.com/", "write `shop.example.com`"),
            ("shop.example.com:8443", "write `shop.example.com`"),
            ("münchen.example", "write `xn--mnchen-3ya.example`"),
            ("", "write a name such as `shop.example.com`"),
            ("a b", "write a name such as `shop.example.com`"),
            ("x;}", "write a name such as `shop.example.com`"),
            ("a..b", "write a name such as `shop.example.com`"),
            ("-a.example", "write a name such as `shop.example.com`"),
            ("10.0.0.1", "write a name such as `shop.example.com`"),
            ("_", "write a name such as `shop.example.com`"),
            ("~^x$", "write a name such as `shop.example.com`"),
            ("*.*.example", "write a name such as `shop.example.com`"),
        ] {
            let error = DomainName::parse(text).expect_err(text);
            assert!(error.to_string().contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("20M").unwrap(), 20 << 20);
        assert_eq!(size("512k").unwrap(), 512 << 10);
        for bad in ["", "M", "20", "0M", "20MB", "-1M", "1.5G", "9999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_of_static_files_end_where_their_directory_does() {
        assert_eq!(static_url("/static/").unwrap(), "/static/");
        assert_eq!(static_url("/a/b.c/").unwrap(), "/a/b.c/");
        for bad in [
            "/", "", "static/", "/static", "/a/../b/", "//", "/a b/", "/{x}/", "~ ^/a/", "/a;/",
        ] {
            assert!(static_url(bad).is_err(), "{bad}");
        }
    }
}
