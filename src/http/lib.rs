//! What every request over HTTP obeys: a server decides neither how much memory nor how much time
//! its answer takes, and credentials reach the server that they are for and no other.
//!
//! Limits count what is left after decompression, and only time spent waiting for the server.
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

/// How long a server may take to accept a connection, and to say the next word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT_S: u32 = 60;

/// How often a request is repeated that a server did not answer, or answered with 408, 429 or 5xx.
const RETRIES: u32 = 3;

/// The longest pause before a request is repeated, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many redirects are followed, as in curl and pip.
const MOST_REDIRECTS: usize = 20;

/// How long a page may be, bytes: PyPI's longest is less than half of it.
pub const LONGEST_PAGE: u64 = 64 << 20;

/// How long a file may be if nothing says its length, bytes: the longest wheels have half of it.
pub const LONGEST_FILE: u64 = 8 << 30;

/// How long a head or a page may take, and how long a file, in times that a server may be silent:
/// ten minutes, six hours.
const PAGE_TIME: u32 = 10;
const FILE_TIME: u32 = 360;

/// Addresses that led from HTTPS to plain HTTP, and where.
static DOWNGRADES: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Returns the redirects from HTTPS to plain HTTP that this process has followed since it was last
/// asked.
pub fn take_downgrades() -> BTreeSet<(String, String)> {
    std::mem::take(&mut *DOWNGRADES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is asked for, which decides how much of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A page of an index, which may come compressed.
    Page,
    /// A file, which comes as it is: a compressed answer has other offsets than the file.
    File,
}

/// Why there is no answer, or not all of one.
#[derive(Debug, Clone)]
pub enum HttpFailure {
    /// The network must not be used.
    Offline,
    /// The server's name has no address.
    Unresolved(UnresolvedName),
    /// The answer is too long, or takes too long.
    Exceeded(ExceededLimit),
    /// The connection: what the library says, without addresses. It may be different the next time.
    Connection(String),
    /// The same will happen again: a certificate that is refused, say.
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
    /// Tells the failures of a request to `host` apart; reqwest has one type for all.
    fn of(error: reqwest::Error, host: &str) -> Self {
        let is_ours = error.is_builder() || error.is_redirect();
        // The address may hold a signature.
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

/// Returns an error's whole chain, a line for each that says something new.
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

/// A name that has no address.
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

/// Names that could not be resolved, so that none is tried twice: a resolver may take its time, for
/// every request anew.
static UNRESOLVED: Mutex<BTreeMap<String, UnresolvedName>> = Mutex::new(BTreeMap::new());

impl UnresolvedName {
    /// Returns what is known of a host.
    fn known(host: &str) -> Option<Self> {
        UNRESOLVED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .cloned()
    }

    /// Notes what the resolver said last in a chain of errors.
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
    /// Prepares a client: proxies and certificates from the environment, patience, limits, and the
    /// credentials of indexes.
    ///
    /// # Errors
    /// Variables that name missing files or no numbers, certificates or a `.netrc` that cannot be
    /// read.
    pub fn new(offline: bool, accounts: Vec<IndexAccount>) -> Result<Self> {
        check_certificates()?;
        let (retries, patience) = patience()?;
        // There may be one already: all clients have the same.
        _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("pkgapp/", env!("CARGO_PKG_VERSION")))
            .read_timeout(patience)
            .connect_timeout(patience.min(CONNECT_TIMEOUT))
            // The library would follow them without a look at where they lead.
            .redirect(Policy::none())
            .referer(false);
        let builder = match identity()? {
            Some(identity) => builder.identity(identity),
            None => builder,
        };
        let inner = builder.build().map_err(|error| {
            let error = Error::new("cannot prepare for HTTP").cause_text(chain(&error));
            error.hint(
                "check the files that `SSL_CERT_FILE`, `SSL_CERT_DIR` and `SSL_CLIENT_CERT` name",
            )
        })?;
        Ok(Self {
            inner,
            accounts: IndexAccounts::new(accounts)?,
            retries,
            patience,
            offline,
        })
    }

    /// Asks for what is behind a URL, with the credentials that are known for its server, and
    /// follows redirects. A request that fails for a reason that may pass is repeated.
    ///
    /// # Errors
    /// See [`HttpFailure`]; an answer of any status is none.
    pub async fn get(
        &self,
        url: &Url,
        what: RequestKind,
        headers: &HeaderMap,
    ) -> Result<HttpAnswer, HttpFailure> {
        self.answer(url, what, headers, &mut 0).await
    }

    /// Asks for a page and reads all of it; a connection that breaks before its end is one more
    /// reason to ask again.
    ///
    /// # Errors
    /// See [`HttpFailure`]; an answer of any status is none.
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

    /// Returns whether a request may be repeated after so many attempts, and when it may: each
    /// pause is twice as long as the one before, unless the server asks for another.
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

/// Whether an answer says that the same request may be answered another time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
}

/// How long the server wants to be left alone (RFC 9110 §10.2.3), if it says so in seconds.
fn asked_pause(answer: &HttpAnswer) -> Option<Duration> {
    answer
        .header(&RETRY_AFTER)?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Where an answer leads; nowhere but to another place of the web.
fn redirect(answer: &HttpAnswer) -> Option<Url> {
    if ![301, 302, 303, 307, 308].contains(&answer.status.as_u16()) {
        return None;
    }
    let next = answer.url.join(answer.header(&LOCATION)?).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}

/// Returns headers for a request, without those that have no value or one that no header may have.
pub fn headers<const N: usize>(lines: [(HeaderName, Option<&str>); N]) -> HeaderMap {
    lines
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
        .collect()
}

/// Decodes `%2B` and the like in a part of a URL (RFC 3986 §2.1).
pub fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Returns scheme, host and port of a URL, and nothing that could be a secret.
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The certificate by which this machine says who it is.
fn identity() -> Result<Option<Identity>> {
    let Some(path) = std::env::var_os("SSL_CLIENT_CERT")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    else {
        return Ok(None);
    };
    let failed = || {
        format!(
            "cannot read a certificate and its key from `{}`, which `SSL_CLIENT_CERT` names",
            shown(&path)
        )
    };
    let pem = std::fs::read(&path).context(failed)?;
    Identity::from_pem(&pem)
        .map(Some)
        .map_err(|error| Error::new(failed()).cause_text(chain(&error)))
}

/// The files by which `SSL_…` variables say whom to trust and who one is. The library would go on
/// without them.
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
            .map_err(|_| Error::new(format!("`{name}` is `{text}`, which is no number"))),
        _ => Ok(default),
    }
}

/// Returns how often a request is repeated, and how long a server may be silent: from the
/// environment, or as is usual.
///
/// # Errors
/// A variable that is no number.
pub fn patience() -> Result<(u32, Duration)> {
    let seconds = number("PKGAPP_HTTP_TIMEOUT", READ_TIMEOUT_S)?.max(1);
    Ok((
        number("PKGAPP_HTTP_RETRIES", RETRIES)?,
        Duration::from_secs(u64::from(seconds)),
    ))
}
