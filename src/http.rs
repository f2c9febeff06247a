//! What every request over HTTP obeys: a server decides neither how much memory nor how much time its answer takes.
//!
//! Limits sit in a middleware below uv's client, so that they hold for pages that uv reads, for files that pkgapp reads,
//! and for answers that nobody expects. They count what is left after decompression, and only time spent waiting for the
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use reqwest_middleware::{Middleware, Next};
use tokio::time::{Instant, Sleep};
use url::Url;
use uv_client::{BaseClientBuilder, Certificates, Connectivity, ExtraMiddleware, RedirectPolicy};

use crate::error::{Error, Result, shown};

/// How long a server may take to accept a connection, and to say the next word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT_S: u32 = 60;

/// How often a request is repeated that a server did not answer, or answered with 408, 429 or 5xx.
const RETRIES: u32 = 3;

/// How long a page may be, bytes: PyPI's longest is less than half of it.
pub(crate) const LONGEST_PAGE: u64 = 64 << 20;

/// How long a file may be if nothing says its length, bytes: the longest wheels have half of it.
pub(crate) const LONGEST_FILE: u64 = 8 << 30;

/// How many bytes a server must send a second, on average over the time that it may be silent.
const LEAST_RATE: u64 = 256;

/// How long a head or a page may take, and how long a file, in times that a server may be silent: ten minutes, six hours.
const PAGE_TIME: u32 = 10;
const FILE_TIME: u32 = 360;

/// The header by which pkgapp asks for files, and uv for pages never: a compressed answer has other offsets than the file.
pub(crate) const FILE_HEADER: (&str, &str) = ("accept-encoding", "identity");

/// Addresses that led from HTTPS to plain HTTP, and where.
static DOWNGRADES: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Returns the redirects from HTTPS to plain HTTP that this process has followed since it was last asked.
pub(crate) fn take_downgrades() -> BTreeSet<(String, String)> {
    std::mem::take(&mut *DOWNGRADES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Why an answer was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It has more than so many bytes.
    Length(u64),
    /// The server sent fewer bytes than it must, in so many seconds of waiting.
    Rate(u64),
    /// So many seconds of waiting were not enough for all of it.
    Time(u64),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "the server's answer is longer than the {bytes} bytes that are accepted"),
            Self::Rate(seconds) => {
                let least = LEAST_RATE * seconds;
                write!(f, "the server is too slow: it sent fewer than {least} bytes in {seconds} seconds")
            }
            Self::Time(seconds) => write!(f, "the server did not finish its answer within {seconds} seconds"),
        }
    }
}

impl std::error::Error for Exceeded {}

impl Exceeded {
    /// Returns the limit that an error comes from, if it comes from one.
    pub(crate) fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
    }
}

/// A name that has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unresolved {
    host: String,
    why: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name `{}` cannot be resolved: {}", self.host, self.why)
    }
}

impl std::error::Error for Unresolved {}

/// Names that could not be resolved, so that none is tried twice: a resolver may take its time, for every request anew.
static UNRESOLVED: Mutex<BTreeMap<String, Unresolved>> = Mutex::new(BTreeMap::new());

impl Unresolved {
    /// Returns what is known of a host.
    fn known(host: &str) -> Option<Self> {
        UNRESOLVED.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Recognizes a failed request to `host`. hyper's connector has a private type for what the resolver said.
    fn note(host: &str, error: &reqwest_middleware::Error) -> Option<Self> {
        let first: &(dyn std::error::Error + 'static) = error;
        let mut chain = std::iter::successors(Some(first), |error| error.source());
        chain.find(|error| error.to_string().starts_with("dns error"))?;
        let said = chain.last().map_or_else(|| "the resolver failed".to_owned(), ToString::to_string);
        let why = said.rsplit(": ").next().unwrap_or(&said).to_owned();
        let unresolved = Self { host: host.to_owned(), why };
        let mut known = UNRESOLVED.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(host.to_owned(), unresolved.clone());
        Some(unresolved)
    }
}

/// The middleware.
struct Limits {
    patience: Duration,
}

#[async_trait::async_trait]
impl Middleware for Limits {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let is_file = request.headers().get(FILE_HEADER.0).is_some_and(|value| value == FILE_HEADER.1);
        let head = self.patience * PAGE_TIME;
        let host = request.url().host_str().unwrap_or_default().to_owned();
        if let Some(unresolved) = Unresolved::known(&host) {
            return Err(reqwest_middleware::Error::middleware(unresolved));
        }
        let answered = tokio::time::timeout(head, next.run(request, extensions)).await;
        let answer = answered.map_err(|_| reqwest_middleware::Error::middleware(Exceeded::Time(head.as_secs())))?;
        // As an error of ours: the library repeats what is one of the connection.
        let ours = |error| Unresolved::note(&host, &error).map_or(error, reqwest_middleware::Error::middleware);
        let answer = answer.map_err(ours)?;
        note_downgrade(&answer);

        let (longest, time) = if is_file { (LONGEST_FILE, FILE_TIME) } else { (LONGEST_PAGE, PAGE_TIME) };
        let url = answer.url().clone();
        let (mut parts, body) = http::Response::<Body>::from(answer).into_parts();
        let body = Body::wrap(Limited::new(body, longest, self.patience, self.patience * time));
        // The address is in no part that can be taken over.
        let mut limited =
            http::Response::builder().url(url).body(body).map_err(reqwest_middleware::Error::middleware)?;
        parts.extensions.extend(std::mem::take(limited.extensions_mut()));
        Ok(Response::from(http::Response::from_parts(parts, limited.into_body())))
    }
}

fn note_downgrade(answer: &Response) {
    if !answer.status().is_redirection() || answer.url().scheme() != "https" {
        return;
    }
    let location = answer.headers().get("location").and_then(|location| location.to_str().ok());
    let Some(to) = location.and_then(|location| answer.url().join(location).ok()) else { return };
    if to.scheme() == "http" {
        let mut noted = DOWNGRADES.lock().unwrap_or_else(PoisonError::into_inner);
        noted.insert((origin(answer.url()), origin(&to)));
    }
}

/// Returns scheme, host and port of a URL, and nothing that could be a secret.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// An answer's body, as far as it keeps to the limits.
struct Limited {
    inner: Body,
    longest: u64,
    length: u64,
    patience: Duration,
    /// How long the server may be waited for, and how much longer.
    time: Duration,
    left: Duration,
    /// Waiting time since the rate was last looked at, and what came since then.
    waited: Duration,
    moved: u64,
    /// Since when the server is waited for.
    since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Limited {
    fn new(inner: Body, longest: u64, patience: Duration, time: Duration) -> Self {
        let alarm = Box::pin(tokio::time::sleep(patience));
        let zero = Duration::ZERO;
        Self { inner, longest, length: 0, patience, time, left: time, waited: zero, moved: 0, since: None, alarm }
    }

    /// Counts the time that was waited.
    fn tick(&mut self) -> Result<(), Exceeded> {
        let Some(since) = self.since.take() else { return Ok(()) };
        let waited = since.elapsed();
        self.waited += waited;
        self.left = self.left.saturating_sub(waited);
        if self.left.is_zero() {
            return Err(Exceeded::Time(self.time.as_secs()));
        }
        if self.waited >= self.patience {
            if self.moved < LEAST_RATE * self.patience.as_secs() {
                return Err(Exceeded::Rate(self.patience.as_secs()));
            }
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.moved += bytes as u64;
        self.length += bytes as u64;
        if self.length > self.longest { Err(Exceeded::Length(self.longest)) } else { Ok(()) }
    }
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BoxedError;

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxedError>>> {
        let this = &mut *self;
        loop {
            if let Err(exceeded) = this.tick() {
                return Poll::Ready(Some(Err(exceeded.into())));
            }
            if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(task) {
                let Some(frame) = frame.transpose()? else { return Poll::Ready(None) };
                let counted = this.count(frame.data_ref().map_or(0, Bytes::len));
                return Poll::Ready(Some(counted.map(|()| frame).map_err(Into::into)));
            }
            let now = Instant::now();
            this.since = Some(now);
            let rest = this.patience.saturating_sub(this.waited).min(this.left);
            this.alarm.as_mut().reset(now + rest);
            ready!(this.alarm.as_mut().poll(task));
        }
    }
}

/// The files by which `SSL_…` variables say whom to trust and who one is. The library would go on without them.
fn check_certificates() -> Result<()> {
    let missing = ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"].into_iter().filter_map(|name| {
        let path = std::env::var_os(name).filter(|path| !path.is_empty())?;
        let path = PathBuf::from(path);
        let is_there = if name == "SSL_CERT_DIR" { path.is_dir() } else { path.is_file() };
        let error = || Error::new(format!("`{name}` names `{}`, which does not exist", shown(&path)));
        (!is_there).then(|| error().hint(format!("set `{name}` to a file of PEM blocks, or unset it")))
    });
    Error::all(missing).map_or(Ok(()), Err)
}

/// Reads a variable that is a number.
fn number(name: &str, default: u32) -> Result<u32> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|_| Error::new(format!("`{name}` is `{text}`, which is no number")))
        }
        _ => Ok(default),
    }
}

/// Returns how often a request is repeated, and how long a server may be silent: from the environment, or as is usual.
///
/// # Errors
/// A variable that is no number.
pub(crate) fn patience() -> Result<(u32, Duration)> {
    let seconds = number("PKGAPP_HTTP_TIMEOUT", READ_TIMEOUT_S)?.max(1);
    Ok((number("PKGAPP_HTTP_RETRIES", RETRIES)?, Duration::from_secs(u64::from(seconds))))
}

/// Prepares a client: proxies and certificates from the environment, patience, and limits.
///
/// # Errors
/// Variables that name missing files or no numbers.
pub(crate) fn client(offline: bool) -> Result<BaseClientBuilder<'static>> {
    check_certificates()?;
    let (retries, timeout) = patience()?;
    let connectivity = if offline { Connectivity::Offline } else { Connectivity::Online };
    let builder = BaseClientBuilder::default()
        .connectivity(connectivity)
        .with_system_certs(true)
        .read_timeout(timeout)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .retries(retries)
        .no_retry_delay(cfg!(test))
        // Else the library follows redirects by itself, and nobody sees where they lead.
        .redirect(RedirectPolicy::RetriggerMiddleware)
        .extra_middleware(ExtraMiddleware(vec![Arc::new(Limits { patience: timeout })]));
    Ok(match Certificates::from_env() {
        Some(certificates) => builder.custom_certificates(certificates),
        None => builder,
    })
}
