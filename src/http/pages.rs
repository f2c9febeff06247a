//! Pages of indexes, cached as long as their servers allow (RFC 9111), and then revalidated.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::account::bare;
use super::{HttpAnswer, HttpClient, HttpFailure, headers};
use pkgapp_core::cache::{self, Cache};

/// The longest time for which a cached page is used without revalidation.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A page.
#[derive(Debug, Clone)]
pub struct IndexPage {
    /// Its URL, after redirects: the base of its links.
    pub url: Url,
    /// Its media type, without parameters and in lower case.
    pub kind: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// The reason why there is no page.
#[derive(Debug, Clone)]
pub enum PageError {
    /// The server answered with this status.
    Status(StatusCode),
    /// There is no response.
    Failure(HttpFailure),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the server returned {status}"),
            Self::Failure(failure) => failure.fmt(f),
        }
    }
}

/// The metadata of a cached page, in a line before its text.
#[derive(Debug, Serialize, Deserialize)]
struct CachedPage {
    url: Url,
    kind: String,
    etag: Option<String>,
    modified: Option<String>,
    /// The time span in which it may be used without revalidation, seconds since 1970.
    from: u64,
    until: u64,
}

/// Pages in the cache.
#[derive(Debug)]
pub struct PageCache<'a> {
    cache: &'a Cache,
    offline: bool,
}

impl<'a> PageCache<'a> {
    /// Uses the pages in a cache; with `offline`, pages of any age.
    pub fn new(cache: &'a Cache, offline: bool) -> Self {
        Self { cache, offline }
    }

    /// Returns a page in one of the media types of `accept`.
    ///
    /// # Errors
    /// See [`PageError`].
    pub async fn get(
        &self,
        client: &HttpClient,
        url: &Url,
        accept: &'static str,
    ) -> Result<IndexPage, PageError> {
        let place = self.place(url, accept);
        let kept = cache::read_sealed_bytes(&place).and_then(|content| read(&content));
        let now = now();
        if let Some((kept, page)) = &kept
            && (self.offline || (kept.from..kept.until).contains(&now))
        {
            return Ok(page.clone());
        }

        let headers = request_headers(accept, kept.as_ref().map(|(kept, _)| kept));
        let (answer, text) = client
            .page(url, &headers)
            .await
            .map_err(PageError::Failure)?;
        let fresh = CachedPage::of(&answer, now);
        let page = match (answer.status, kept) {
            (StatusCode::NOT_MODIFIED, Some((_, page))) => page,
            (status, _) if status.is_success() => IndexPage {
                url: fresh.url.clone(),
                kind: fresh.kind.clone(),
                text,
            },
            (status, _) => return Err(PageError::Status(status)),
        };
        if let Some(life) = life(&answer) {
            let kept = CachedPage {
                until: now + life.as_secs(),
                url: page.url.clone(),
                kind: page.kind.clone(),
                ..fresh
            };
            // Without this entry, the page is requested again next time.
            _ = self.cache.write_bytes(&place, &written(&kept, &page.text));
        }
        Ok(page)
    }

    /// Returns the path of a page in the cache.
    fn place(&self, url: &Url, accept: &str) -> PathBuf {
        self.cache
            .index()
            .join("pages")
            .join(cache::key([bare(url).as_str(), accept]))
    }
}

impl CachedPage {
    fn of(answer: &HttpAnswer, now: u64) -> Self {
        let header = |name| answer.header(name).map(str::to_owned);
        let kind = header(&CONTENT_TYPE).unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        // Links do not need the parts after the path, which may contain signatures.
        let mut url = answer.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        Self {
            url,
            kind,
            etag: header(&ETAG),
            modified: header(&LAST_MODIFIED),
            from: now,
            until: now,
        }
    }
}

/// Returns how long a page may be used without revalidation; `None` if it must not be cached.
fn life(answer: &HttpAnswer) -> Option<Duration> {
    let control = answer
        .header(&CACHE_CONTROL)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let age = answer
        .header(&AGE)
        .and_then(|age| age.trim().parse().ok())
        .unwrap_or(0);
    life_of(&control, age)
}

fn life_of(control: &str, age: u64) -> Option<Duration> {
    let mut life = Duration::ZERO;
    for directive in control.split(',').map(str::trim) {
        match directive.split_once('=') {
            _ if directive == "no-store" => return None,
            _ if directive == "no-cache" => return Some(Duration::ZERO),
            Some(("max-age", seconds)) => {
                let seconds: u64 = seconds.trim_matches('"').parse().unwrap_or(0);
                life = Duration::from_secs(seconds.saturating_sub(age));
            }
            _ => {}
        }
    }
    Some(life.min(LONGEST_LIFE))
}

fn written(kept: &CachedPage, text: &[u8]) -> Vec<u8> {
    let mut content = serde_json::to_vec(kept).unwrap_or_default();
    content.push(b'\n');
    content.extend_from_slice(text);
    content
}

fn read(content: &[u8]) -> Option<(CachedPage, IndexPage)> {
    let end = memchr::memchr(b'\n', content)?;
    let kept: CachedPage = serde_json::from_slice(&content[..end]).ok()?;
    let page = IndexPage {
        url: kept.url.clone(),
        kind: kept.kind.clone(),
        text: content[end + 1..].to_vec(),
    };
    Some((kept, page))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Returns the headers of a request that revalidates a cached page, if there is one.
fn request_headers(accept: &'static str, kept: Option<&CachedPage>) -> HeaderMap {
    headers([
        (ACCEPT, Some(accept)),
        (IF_NONE_MATCH, kept.and_then(|kept| kept.etag.as_deref())),
        (
            IF_MODIFIED_SINCE,
            kept.and_then(|kept| kept.modified.as_deref()),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lives_as_long_as_its_server_says() {
        let seconds = |control: &str, age| life_of(control, age).map(|life| life.as_secs());
        assert_eq!(seconds("max-age=600, public", 0), Some(600));
        assert_eq!(seconds("public, max-age=600", 500), Some(100));
        assert_eq!(seconds("max-age=600", 700), Some(0));
        assert_eq!(seconds("max-age=600, no-cache", 0), Some(0));
        assert_eq!(seconds("private, no-store", 0), None);
        assert_eq!(seconds("", 0), Some(0));
        assert_eq!(seconds("max-age=31536000", 0), Some(24 * 60 * 60));
    }
}
