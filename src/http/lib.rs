//! Rules for all HTTP requests: a server cannot decide how much memory or time its response takes,
//! and credentials reach only the server for which they are meant.
//!
//! Limits count bytes after decompression, and only time spent waiting for the server.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

mod account;
mod answer;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Identity, StatusCode};
use url::Url;

use pkgapp_core::error::{Context as _, Error, Result, shown};

pub use account::IndexAccount;
pub use answer::{ExceededLimit, HttpAnswer};
pub use pages::{IndexPage, PageCache, PageError};

use account::IndexAccounts;

/// How long a server may take to accept a connection, and to send the next bytes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT_S: u32 = 60;

/// How often a request is repeated if a server did not respond, or responded with 408, 429, or 5xx.
const RETRIES: u32 = 3;

/// The longest pause before a request is repeated, whatever the server requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The maximum number of redirects, as in curl and pip.
const MOST_REDIRECTS: usize = 20;

/// The maximum length of a page in bytes: PyPI's longest has less than half of it.
pub const LONGEST_PAGE: u64 = 64 << 20;

/// The maximum length of a file without a known length in bytes: the longest wheels have half of
/// it.
pub const LONGEST_FILE: u64 = 8 << 30;

/// The maximum time for a head or a page, and for a file, as multiples of the time that a server
/// may be silent: ten minutes, six hours.
const PAGE_TIME: u32 = 10;
const FILE_TIME: u32 = 360;

/// URLs that redirected from HTTPS to plain HTTP, with their targets.
static DOWNGRADES: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Returns the redirects from HTTPS to plain HTTP that this process has followed since the last
/// call.
pub fn take_downgrades() -> BTreeSet<(String, String)> {
    std::mem::take(&mut *DOWNGRADES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The kind of a request, which decides how much of the response is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A page of an index, which may be compressed.
    Page,
    /// A file, which is never compressed: a compressed response has other offsets than the file.
    File,
}

/// The reason why there is no response, or only a part.
#[derive(Debug, Clone)]
pub enum HttpFailure {
    /// The network must not be used.
    Offline,
    /// The name of the server could not be resolved.
    Unresolved(UnresolvedName),
    /// The response is too long, or takes too long.
    Exceeded(ExceededLimit),
    /// The connection failed: the library's message, without URLs. The next attempt may succeed.
    Connection(String),
    /// A permanent failure, such as a rejected certificate.
    Refused(String),
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("the network is not used with `--offline`"),
            Self::Unresolved(unresolved) => unresolved.fmt(f),
            Self::Exceeded(exceeded) => exceeded.fmt(f),
            Self::Connection(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for HttpFailure {}

impl HttpFailure {
    /// Classifies the failures of a request to `host`; reqwest has one type for all.
    fn of(error: reqwest::Error, host: &str) -> Self {
        let is_ours = error.is_builder() || error.is_redirect();
        // The URL may contain a signature.
        let text = chain(&error.without_url());
        if text.contains("dns error") {
            return Self::Unresolved(UnresolvedName::note(host, &text));
        }
        let is_refused = ["invalid peer certificate", "received fatal alert"]
            .iter()
            .any(|part| text.contains(part));
        if is_ours || is_refused {
            Self::Refused(text)
        } else {
            Self::Connection(text)
        }
    }
}

/// Returns an error's whole chain, with a line for each error that adds something.
fn chain(error: &dyn std::error::Error) -> String {
    let mut lines = vec![error.to_string()];
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let text = cause.to_string();
        if !lines.iter().any(|known| known.contains(&text)) {
            lines.push(text);
        }
    }
    lines.join("\n")
}

/// A name that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnresolvedName {
    host: String,
    why: String,
}

impl fmt::Display for UnresolvedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the name `{}` cannot be resolved: {}",
            self.host, self.why
        )
    }
}

/// Names that could not be resolved, so that none is tried twice: a resolver may take its time for
/// every request.
static UNRESOLVED: Mutex<BTreeMap<String, UnresolvedName>> = Mutex::new(BTreeMap::new());

impl UnresolvedName {
    /// Returns the known failure for a host.
    fn known(host: &str) -> Option<Self> {
        UNRESOLVED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .cloned()
    }

    /// Records the resolver's message, the last in a chain of errors.
    fn note(host: &str, said: &str) -> Self {
        let last = said.lines().last().unwrap_or_default();
        let why = last.rsplit(": ").next().unwrap_or(last).to_owned();
        let unresolved = Self {
            host: host.to_owned(),
            why,
        };
        let mut known = UNRESOLVED.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(host.to_owned(), unresolved.clone());
        unresolved
    }
}

/// A client for indexes and files.
pub struct HttpClient {
    inner: reqwest::Client,
    accounts: IndexAccounts,
    retries: u32,
    patience: Duration,
    offline: bool,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Prepares a client: proxies and certificates from the environment, timeouts, limits, and the
    /// credentials of indexes.
    ///
    /// # Errors
    /// Fails if variables name missing files or are not numbers, or if certificates or a `.netrc`
    /// cannot be read.
    pub fn new(offline: bool, accounts: Vec<IndexAccount>) -> Result<Self> {
        check_certificates()?;
        let (retries, patience) = patience()?;
        // There may be one already: all clients use the same.
        _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("pkgapp/", env!("CARGO_PKG_VERSION")))
            .read_timeout(patience)
            .connect_timeout(patience.min(CONNECT_TIMEOUT))
            // The library would follow redirects without checking their targets.
            .redirect(Policy::none())
            .referer(false);
        let builder = match identity()? {
            Some(identity) => builder.identity(identity),
            None => builder,
        };
        let inner = builder.build().map_err(|error| {
            let error = Error::new("cannot set up the HTTP client").cause_text(chain(&error));
            error.hint("check the files in `SSL_CERT_FILE`, `SSL_CERT_DIR`, and `SSL_CLIENT_CERT`")
        })?;
        Ok(Self {
            inner,
            accounts: IndexAccounts::new(accounts)?,
            retries,
            patience,
            offline,
        })
    }

    /// Requests a URL with the known credentials for its server, and follows redirects. A request
    /// is repeated after a temporary failure.
    ///
    /// # Errors
    /// See [`HttpFailure`]; a response of any status is not an error.
    pub async fn get(
        &self,
        url: &Url,
        what: RequestKind,
        headers: &HeaderMap,
    ) -> Result<HttpAnswer, HttpFailure> {
        self.answer(url, what, headers, &mut 0).await
    }

    /// Requests a page and reads all of it; a connection that breaks before the end is another
    /// reason to repeat the request.
    ///
    /// # Errors
    /// See [`HttpFailure`]; a response of any status is not an error.
    pub async fn page(
        &self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<(HttpAnswer, Vec<u8>), HttpFailure> {
        let mut attempts = 0;
        loop {
            let mut answer = self
                .answer(url, RequestKind::Page, headers, &mut attempts)
                .await?;
            let failure = match answer.text().await {
                Ok(text) => return Ok((answer, text)),
                Err(failure) => failure,
            };
            if !matches!(failure, HttpFailure::Connection(_))
                || !self.may_repeat(&mut attempts, None).await
            {
                return Err(failure);
            }
        }
    }

    async fn answer(
        &self,
        url: &Url,
        what: RequestKind,
        headers: &HeaderMap,
        attempts: &mut u32,
    ) -> Result<HttpAnswer, HttpFailure> {
        loop {
            let outcome = self.follow(url, what, headers).await;
            let pause = match &outcome {
                Ok(answer) if is_passing(answer.status) => asked_pause(answer),
                Err(HttpFailure::Connection(_)) => None,
                _ => return outcome,
            };
            if !self.may_repeat(attempts, pause).await {
                return outcome;
            }
        }
    }

    /// Returns whether a request may be repeated after this many attempts, and when: each pause is
    /// twice as long as the one before, unless the server requests another.
    async fn may_repeat(&self, attempts: &mut u32, asked: Option<Duration>) -> bool {
        if *attempts == self.retries {
            return false;
        }
        *attempts += 1;
        let doubled = Duration::from_millis(500) * 2_u32.saturating_pow((*attempts).min(7));
        let pause = asked.unwrap_or(doubled).min(LONGEST_PAUSE);
        tokio::time::sleep(if cfg!(test) { Duration::ZERO } else { pause }).await;
        true
    }

    async fn follow(
        &self,
        url: &Url,
        what: RequestKind,
        headers: &HeaderMap,
    ) -> Result<HttpAnswer, HttpFailure> {
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.once(&at, what, headers).await?;
            let Some(next) = redirect(&answer) else {
                return Ok(answer);
            };
            if answer.url.scheme() == "https" && next.scheme() == "http" {
                let mut noted = DOWNGRADES.lock().unwrap_or_else(PoisonError::into_inner);
                noted.insert((origin(&answer.url), origin(&next)));
            }
            at = next;
        }
        Err(HttpFailure::Refused(format!(
            "the server redirects more than {MOST_REDIRECTS} times"
        )))
    }

    async fn once(
        &self,
        url: &Url,
        what: RequestKind,
        headers: &HeaderMap,
    ) -> Result<HttpAnswer, HttpFailure> {
        if self.offline {
            return Err(HttpFailure::Offline);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        if let Some(unresolved) = UnresolvedName::known(&host) {
            return Err(HttpFailure::Unresolved(unresolved));
        }
        let mut request = self
            .inner
            .get(self.accounts.sign(url))
            .headers(headers.clone());
        if what == RequestKind::File {
            request = request.header(reqwest::header::ACCEPT_ENCODING, "identity");
        }
        let head = self.patience * PAGE_TIME;
        let answered = tokio::time::timeout(head, request.send()).await;
        let response = answered
            .map_err(|_| HttpFailure::Exceeded(ExceededLimit::Time(head.as_secs())))?
            .map_err(|error| HttpFailure::of(error, &host))?;
        let (longest, time) = match what {
            RequestKind::Page => (LONGEST_PAGE, PAGE_TIME),
            RequestKind::File => (LONGEST_FILE, FILE_TIME),
        };
        Ok(HttpAnswer::new(
            response,
            longest,
            self.patience,
            self.patience * time,
        ))
    }
}

/// Returns whether a status means that the same request may succeed later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
}

/// Returns the pause that the server requests (RFC 9110 §10.2.3), if it is in seconds.
fn asked_pause(answer: &HttpAnswer) -> Option<Duration> {
    answer
        .header(&RETRY_AFTER)?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Returns the target of a redirect, if it is an http or https URL.
fn redirect(answer: &HttpAnswer) -> Option<Url> {
    if ![301, 302, 303, 307, 308].contains(&answer.status.as_u16()) {
        return None;
    }
    let next = answer.url.join(answer.header(&LOCATION)?).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}

/// Returns headers for a request, without those that have no value or an invalid one.
pub fn headers<const N: usize>(lines: [(HeaderName, Option<&str>); N]) -> HeaderMap {
    lines
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
        .collect()
}

/// Decodes `%2B` and similar escapes in a part of a URL (RFC 3986 §2.1).
pub fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Returns scheme, host, and port of a URL, and nothing that could be secret.
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Reads the client certificate of this machine.
fn identity() -> Result<Option<Identity>> {
    let Some(path) = std::env::var_os("SSL_CLIENT_CERT")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    else {
        return Ok(None);
    };
    let failed = || {
        format!(
            "cannot read a certificate and its key from `{}` (`SSL_CLIENT_CERT`)",
            shown(&path)
        )
    };
    let pem = std::fs::read(&path).context(failed)?;
    Identity::from_pem(&pem)
        .map(Some)
        .map_err(|error| Error::new(failed()).cause_text(chain(&error)))
}

/// Checks that the files in `SSL_…` variables exist. The library would continue without them.
fn check_certificates() -> Result<()> {
    let missing = ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"]
        .into_iter()
        .filter_map(|name| {
            let path = std::env::var_os(name).filter(|path| !path.is_empty())?;
            let path = PathBuf::from(path);
            let is_there = if name == "SSL_CERT_DIR" {
                path.is_dir()
            } else {
                path.is_file()
            };
            let error = || {
                Error::new(format!(
                    "`{name}` names `{}`, which does not exist",
                    shown(&path)
                ))
            };
            (!is_there)
                .then(|| error().hint(format!("set `{name}` to a file of PEM blocks, or unset it")))
        });
    Error::all(missing).map_or(Ok(()), Err)
}

/// Reads a variable that is a number.
fn number(name: &str, default: u32) -> Result<u32> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .map_err(|_| Error::new(format!("`{name}` is `{text}`, which is not a number"))),
        _ => Ok(default),
    }
}

/// Returns how often a request is repeated, and how long a server may be silent: from the
/// environment, or the defaults.
///
/// # Errors
/// Fails if a variable is not a number.
pub fn patience() -> Result<(u32, Duration)> {
    let seconds = number("PKGAPP_HTTP_TIMEOUT", READ_TIMEOUT_S)?.max(1);
    Ok((
        number("PKGAPP_HTTP_RETRIES", RETRIES)?,
        Duration::from_secs(u64::from(seconds)),
    ))
}
