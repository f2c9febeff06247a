//! The files that indexes offer, and the bytes of a URL: async code behind a synchronous interface.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pkgapp_pypa::DistFilename;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::page;
use pkgapp_config::NamedIndex;
use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_http::{
    self as http, HttpAnswer, HttpFailure, IndexAccount, IndexPage, PageCache, PageError,
    RequestKind,
};
use pkgapp_lock::Indexes;
use pkgapp_lock::index::PlaceId;
use pkgapp_pypa::egg::is_egg;
use pkgapp_pypa::{HashDigest, PackageName, Version, VersionSpecifiers};

/// A file on offer for a distribution.
#[derive(Debug, Clone)]
pub struct FileOffer {
    /// The file's name.
    pub file: String,
    /// The parsed name.
    pub dist: DistFilename,
    /// Its URL; `file:` for a find-links directory. May contain credentials.
    pub url: Url,
    /// Hashes of its content, as stated by the index.
    pub hashes: Vec<HashDigest>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// The Pythons that it supports.
    pub requires_python: Option<VersionSpecifiers>,
    /// The reason for which its maintainers yanked it (PEP 592), which may be empty; `None` if it
    /// was not yanked.
    pub yanked: Option<String>,
}

/// An index.
#[derive(Debug)]
struct IndexPlace {
    id: PlaceId,
    url: Url,
    /// Its name in the configuration.
    named: Option<NamedIndex>,
    /// The reason why it failed. It is not asked again: each time would cost all retries.
    away: OnceLock<Error>,
    /// The files of distributions that it has listed, including eggs.
    files: Mutex<BTreeMap<PackageName, Arc<Vec<FileOffer>>>>,
}

/// Directories and pages that list files.
#[derive(Debug)]
struct LinkPlaces {
    id: PlaceId,
    urls: Vec<Url>,
    /// Includes eggs of pages, which are not distinguished from those of directories.
    files: OnceLock<Result<Vec<FileOffer>>>,
}

/// A client for the indexes of a lock.
pub struct IndexClient<'a> {
    runtime: Runtime,
    http: http::HttpClient,
    pages: PageCache<'a>,
    places: Vec<IndexPlace>,
    links: Vec<LinkPlaces>,
    offline: bool,
}

/// The parts of a response, in order.
#[derive(Debug)]
pub enum ResponsePart<'a> {
    /// The head of the response.
    Start {
        /// The offset of its first byte: as requested, or 0 if the server starts over.
        offset: u64,
        /// The length of the whole file, if the server states it.
        total: Option<u64>,
        /// The identity of this version of the file (a strong ETag).
        etag: Option<String>,
    },
    /// Some of its bytes.
    Bytes(&'a [u8]),
}

/// The reason why a download ended early.
#[derive(Debug)]
pub enum DownloadBreak {
    /// The connection failed; the rest can be requested.
    Connection(String),
    /// The download failed for good.
    Refused(Error),
}

impl<'a> IndexClient<'a> {
    /// Prepares to ask the indexes of a lock, without connecting.
    ///
    /// # Errors
    /// Fails on an invalid URL, certificates that cannot be loaded, or an environment variable with
    /// an invalid value.
    pub fn new(indexes: &Indexes, cache: &'a Cache, offline: bool) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context(|| "cannot start the network threads")?;
        let (places, links) = (places(indexes), links(indexes)?);
        let keyring = |place: &IndexPlace| place.named.as_ref().is_some_and(|index| index.keyring);
        let of_places = places.iter().map(|place| IndexAccount {
            url: place.url.clone(),
            keyring: keyring(place),
        });
        let of_links = links
            .iter()
            .flat_map(|links| &links.urls)
            .map(|url| IndexAccount {
                url: url.clone(),
                keyring: false,
            });
        let http = http::HttpClient::new(offline, of_places.chain(of_links).collect())?;
        Ok(Self {
            runtime,
            http,
            pages: PageCache::new(cache, offline),
            places,
            links,
            offline,
        })
    }

    /// Returns the name of a place in messages.
    pub fn place_name(&self, id: &PlaceId) -> String {
        let shown = |url: &Url| format!("`{}`", without_secrets(url));
        let index = self
            .places
            .iter()
            .filter(|place| place.id == *id)
            .map(|place| shown(&place.url));
        let links = self
            .links
            .iter()
            .filter(|links| links.id == *id)
            .flat_map(|links| links.urls.iter().map(shown));
        index.chain(links).collect::<Vec<_>>().join(", ")
    }

    /// Returns all files of a distribution in one place, of all versions, except eggs that its
    /// pages link; empty if the distribution is unknown there.
    ///
    /// # Errors
    /// Fails if the place cannot be reached, or refuses to answer.
    pub fn offers(&self, id: &PlaceId, name: &PackageName) -> Result<Vec<FileOffer>> {
        let mut offers = self.files(id, name)?;
        offers.retain(|offer| !is_linked_egg(offer));
        Ok(offers)
    }

    /// Returns the eggs of a distribution that the pages of a place link, in case nothing better
    /// matches; [`IndexClient::offers`] includes those of directories.
    ///
    /// # Errors
    /// Fails if the place can no longer be reached.
    pub fn linked_eggs(&self, id: &PlaceId, name: &PackageName) -> Result<Vec<FileOffer>> {
        let mut eggs = self.files(id, name)?;
        eggs.retain(is_linked_egg);
        Ok(eggs)
    }

    fn files(&self, id: &PlaceId, name: &PackageName) -> Result<Vec<FileOffer>> {
        if let Some(links) = self.links.iter().find(|links| links.id == *id) {
            let all = links
                .files
                .get_or_init(|| self.read_links(&links.urls))
                .as_ref()
                .map_err(Clone::clone)?;
            return Ok(all
                .iter()
                .filter(|offer| offer.dist.name() == name)
                .cloned()
                .collect());
        }
        match self.places.iter().find(|place| place.id == *id) {
            Some(place) => self.index_files(place, name),
            None => Err(Error::bug("the lock does not have this place")),
        }
    }

    fn index_files(&self, place: &IndexPlace, name: &PackageName) -> Result<Vec<FileOffer>> {
        let known = || place.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = place.away.get() {
            return Err(error.clone());
        }
        if let Some(known) = known().get(name) {
            return Ok(known.to_vec());
        }
        let files = self.read_index(place, name).inspect_err(|error| {
            // The first error wins; they are all the same.
            _ = place.away.set(error.clone());
        })?;
        known().insert(name.clone(), Arc::new(files.clone()));
        Ok(files)
    }

    fn read_index(&self, place: &IndexPlace, name: &PackageName) -> Result<Vec<FileOffer>> {
        let mut url = place.url.clone();
        let below = format!("{}/{name}/", url.path().trim_end_matches('/'));
        url.set_path(&below);
        let page = match self.page(&url) {
            Ok(Some(page)) => page,
            Ok(None) | Err(PageError::Status(StatusCode::NOT_FOUND | StatusCode::GONE)) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(self.index_failure(place, &error)),
        };
        page::offers(&page.kind, &page.text, &page.url, Some(name))
            .map_err(|error| self.unreadable_index(place, error.to_string()))
    }

    fn index_failure(&self, place: &IndexPlace, error: &PageError) -> Error {
        match error {
            PageError::Status(StatusCode::UNAUTHORIZED) => self
                .unreadable_index(place, "it requires credentials (401)".to_owned())
                .hint(place.way_in()),
            PageError::Status(StatusCode::FORBIDDEN) => self
                .unreadable_index(
                    place,
                    "it does not accept these credentials (403)".to_owned(),
                )
                .hint(place.way_in()),
            PageError::Failure(HttpFailure::Offline) => {
                self.unreadable_index(place, HttpFailure::Offline.to_string())
            }
            _ => {
                let why = error.to_string();
                let hint = way_out(&why);
                let error = self.unreadable_index(place, why);
                hint.into_iter().fold(error, Error::hint)
            }
        }
    }

    fn unreadable_index(&self, place: &IndexPlace, why: String) -> Error {
        let error = Error::new(format!(
            "cannot read the index `{}`",
            without_secrets(&place.url)
        ))
        .cause_text(why);
        if self.offline {
            error.hint("run it once without `--offline`")
        } else {
            error
        }
    }

    /// Returns a page, from the web or from a directory that is laid out like an index; `None` if
    /// the directory has none.
    fn page(&self, url: &Url) -> Result<Option<IndexPage>, PageError> {
        match local_path(url) {
            Some(path) => {
                let text = std::fs::read(path.join("index.html")).ok();
                Ok(text.map(|text| IndexPage {
                    url: url.clone(),
                    kind: "text/html".to_owned(),
                    text,
                }))
            }
            None => self
                .runtime
                .block_on(self.pages.get(&self.http, url, page::ACCEPT))
                .map(Some),
        }
    }

    fn read_links(&self, urls: &[Url]) -> Result<Vec<FileOffer>> {
        let mut offers = Vec::new();
        for url in urls {
            if let Some(directory) = local_path(url) {
                offers.extend(files_in(&directory));
                continue;
            }
            let failed = |why: String| {
                let error = Error::new(format!(
                    "cannot read the `--find-links` place `{}`",
                    without_secrets(url)
                ));
                error.cause_text(why)
            };
            match self.page(url) {
                Ok(None) => {}
                Ok(Some(page)) => {
                    let found = page::offers(&page.kind, &page.text, &page.url, None);
                    offers.extend(found.map_err(|error| failed(error.to_string()))?);
                }
                Err(PageError::Failure(HttpFailure::Offline)) => {
                    return Err(failed(HttpFailure::Offline.to_string())
                        .hint("run it once without `--offline`"));
                }
                Err(error) => {
                    let why = error.to_string();
                    return Err(way_out(&why).into_iter().fold(failed(why), Error::hint));
                }
            }
        }
        Ok(offers)
    }

    /// Reads the content of a URL, from byte `from` on if the server supports that and still has
    /// the version `etag`.
    ///
    /// # Errors
    /// See [`DownloadBreak`]. Errors of `take` become [`DownloadBreak::Refused`].
    pub fn read(
        &self,
        url: &Url,
        from: u64,
        etag: Option<&str>,
        take: &mut dyn FnMut(ResponsePart<'_>) -> Result<()>,
    ) -> Result<(), DownloadBreak> {
        if self.offline {
            let error = Error::new(format!("cannot download `{}`", without_secrets(url)))
                .cause_text(HttpFailure::Offline.to_string())
                .hint("run it once without `--offline`");
            return Err(DownloadBreak::Refused(error));
        }
        let rest = (from > 0).then(|| format!("bytes={from}-"));
        let headers = http::headers([
            (RANGE, rest.as_deref()),
            (IF_RANGE, etag.filter(|_| from > 0)),
        ]);
        self.runtime.block_on(async {
            let mut answer = self
                .http
                .get(url, RequestKind::File, &headers)
                .await
                .map_err(|failure| failed_download(url, failure.to_string()))?;
            let start = response_start(&answer, from).map_err(|why| failed_download(url, why))?;
            take(start).map_err(DownloadBreak::Refused)?;
            loop {
                match answer.chunk().await {
                    Ok(Some(bytes)) => {
                        take(ResponsePart::Bytes(&bytes)).map_err(DownloadBreak::Refused)?;
                    }
                    Ok(None) => return Ok(()),
                    Err(HttpFailure::Connection(why)) => {
                        return Err(DownloadBreak::Connection(why));
                    }
                    // Another request would fail the same way.
                    Err(failure) => return Err(failed_download(url, failure.to_string())),
                }
            }
        })
    }
}

impl fmt::Debug for IndexClient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("places", &self.places.len())
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl FileOffer {
    /// Returns the directory of an unpacked egg; `None` for a file.
    pub fn directory(&self) -> Option<PathBuf> {
        if !is_egg(&self.file) {
            return None;
        }
        self.path().filter(|path| path.is_dir())
    }

    /// Returns the local path of the file; `None` for a URL on the web, whatever its host.
    pub fn path(&self) -> Option<PathBuf> {
        local_path(&self.url)
    }
}

/// Returns the path in a `file:` URL. [`Url::to_file_path`] also accepts `http://localhost/`.
fn local_path(url: &Url) -> Option<PathBuf> {
    url.to_file_path().ok().filter(|_| url.scheme() == "file")
}

/// Returns whether an offer is an egg that a page links.
fn is_linked_egg(offer: &FileOffer) -> bool {
    is_egg(&offer.file) && offer.url.scheme() != "file"
}

/// Returns the files in a find-links directory, sorted; directories only if they are unpacked eggs.
fn files_in(directory: &Path) -> Vec<FileOffer> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_file = |name: &String| is_egg(name) || !directory.join(name).is_dir();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.retain(is_file);
    names.sort_unstable();
    let offer = |file: String| {
        let dist = page::named(&file, None)?;
        let url = Url::from_file_path(directory.join(&file)).ok()?;
        Some(FileOffer {
            file,
            dist,
            url,
            hashes: Vec::new(),
            size: None,
            requires_python: None,
            yanked: None,
        })
    };
    names.into_iter().filter_map(offer).collect()
}

impl IndexPlace {
    fn way_in(&self) -> String {
        match &self.named {
            Some(index) => {
                let variable = index.variable();
                format!(
                    "set credentials in `{variable}_USERNAME` and `{variable}_PASSWORD`, or in `~/.netrc`"
                )
            }
            None => {
                "put credentials into the URL with `${VARIABLES}`, or into `~/.netrc`".to_owned()
            }
        }
    }
}

/// Returns all indexes of a lock, whichever distributions they serve.
fn places(indexes: &Indexes) -> Vec<IndexPlace> {
    let named = (0..indexes.named.len()).map(PlaceId::Named);
    let extra = (0..indexes.extra.len()).map(PlaceId::Extra);
    let ids = named.chain(extra).chain([PlaceId::Default]);
    ids.filter_map(|id| Some((indexes.url(&id)?, id)))
        .map(|(url, id)| {
            let named = if let PlaceId::Named(at) = id {
                indexes.named.get(at).cloned()
            } else {
                None
            };
            IndexPlace {
                url,
                named,
                away: OnceLock::new(),
                files: Mutex::default(),
                id,
            }
        })
        .collect()
}

fn links(indexes: &Indexes) -> Result<Vec<LinkPlaces>> {
    let directory = |path: &PathBuf| {
        Url::from_directory_path(path).map_err(|()| Error::bug("a wheelhouse has an absolute path"))
    };
    let houses = indexes
        .wheelhouses
        .iter()
        .map(directory)
        .collect::<Result<Vec<_>>>()?;
    let all = [
        (PlaceId::Wheelhouses, houses),
        (PlaceId::FindLinks, indexes.find_links.clone()),
    ];
    Ok(all
        .into_iter()
        .map(|(id, urls)| LinkPlaces {
            id,
            urls,
            files: OnceLock::new(),
        })
        .collect())
}

/// Returns the head of a response to a request for the bytes from `from` on.
fn response_start(answer: &HttpAnswer, from: u64) -> Result<ResponsePart<'static>, String> {
    let (offset, total) = match answer.status {
        StatusCode::OK => (0, answer.length()),
        StatusCode::PARTIAL_CONTENT => {
            content_range(answer.header(&CONTENT_RANGE).unwrap_or_default())
                .filter(|(offset, _)| *offset == from)
                .ok_or("the server returned another range than requested")?
        }
        status => return Err(format!("the server returned {status}")),
    };
    let etag = answer
        .header(&ETAG)
        .filter(|etag| !etag.starts_with("W/"))
        .map(str::to_owned);
    Ok(ResponsePart::Start {
        offset,
        total,
        etag,
    })
}

fn failed_download(url: &Url, why: String) -> DownloadBreak {
    let hint = way_out(&why);
    let error = Error::new(format!("cannot download `{}`", without_secrets(url))).cause_text(why);
    DownloadBreak::Refused(hint.into_iter().fold(error, Error::hint))
}

/// Returns a hint for a network failure, if its kind is known.
fn way_out(why: &str) -> Option<&'static str> {
    let is_limit = [
        "is too slow",
        "did not finish its response",
        "exceeds the limit of",
    ]
    .iter()
    .any(|part| why.contains(part));
    if is_limit {
        return Some("use another index, or a copy of the file with `--find-links DIR`");
    }
    // A URL may contain anything: port 40163 is not status 401.
    let why = why
        .to_lowercase()
        .split_whitespace()
        .filter(|word| !word.contains("://"))
        .collect::<Vec<_>>()
        .join(" ");
    let says = |codes: &[&str]| {
        why.split(|one: char| !one.is_alphanumeric())
            .any(|word| codes.contains(&word))
    };
    if is_about_tls(&why) {
        return Some(
            "if a private CA signed the certificate, set `SSL_CERT_FILE`; if the server requires a client certificate, set \
             `SSL_CLIENT_CERT` to a file with your certificate and key",
        );
    }
    if says(&["401", "403", "407"]) {
        return Some(
            "set credentials in `PKGAPP_INDEX_NAME_USERNAME` and `…_PASSWORD`, or in `~/.netrc`",
        );
    }
    if says(&["404", "410"]) {
        return Some(
            "the index lists a file that no longer exists: lock again, or get the file elsewhere (`--find-links`)",
        );
    }
    if says(&["429", "500", "502", "503", "504"]) || why.contains("server error") {
        return Some("the server failed: try again later, or use another index");
    }
    if why.contains("cannot be resolved") {
        return Some(
            "check the spelling of the address, this machine's DNS, and `HTTPS_PROXY` if the index is behind a proxy; use \
             `--offline` to build from the cache alone",
        );
    }
    is_about_connection(&why).then_some(
        "check the address, and `HTTPS_PROXY` and `NO_PROXY` if there is a proxy; use `--offline` to build from the \
         cache alone",
    )
}

fn is_about_tls(why: &str) -> bool {
    [
        "certificate",
        "unknownissuer",
        "tls handshake",
        "handshake failure",
    ]
    .iter()
    .any(|part| why.contains(part))
}

fn is_about_connection(why: &str) -> bool {
    [
        "connect",
        "dns",
        "timed out",
        "timeout",
        "error sending request",
        "proxy",
    ]
    .iter()
    .any(|part| why.contains(part))
}

/// Parses `bytes 100-199/200` (RFC 9110 §14.4) into the first offset and the whole length.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split('-').next()?.parse().ok()?, total.parse().ok()))
}

/// Returns a URL for messages and records: without credentials, and without the parts after the
/// path, which may contain signatures.
pub fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Both calls fail only for URLs that cannot have either.
    _ = url.set_username("");
    _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Returns a text without the credentials of the URLs in it.
pub fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "/?#`'\")".contains(c))
            .unwrap_or(after.len());
        rest = after[..end].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    clean.push_str(rest);
    clean
}

/// Returns the versions around `wanted`, at most three on each side, oldest first.
pub fn nearby(versions: impl IntoIterator<Item = Version>, wanted: &Version) -> Vec<Version> {
    let mut versions: Vec<Version> = versions.into_iter().collect();
    versions.sort_unstable();
    versions.dedup();
    let at = versions.partition_point(|version| version < wanted);
    versions[at.saturating_sub(3)..(at + 3).min(versions.len())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_signatures_are_not_shown() {
        let url = "https://user:pass@index.example/simple/x.whl?X-Signature=abc#sha256=def"
            .parse()
            .unwrap();
        assert_eq!(without_secrets(&url), "https://index.example/simple/x.whl");
        assert_eq!(
            without_credentials(
                "asked https://u:p@ss@a.example/x, `http://tok@b.example`, https://c.example/a@b"
            ),
            "asked https://a.example/x, `http://b.example`, https://c.example/a@b"
        );
    }

    #[test]
    fn a_status_is_known_by_its_word_and_not_by_an_address() {
        let refused = "Failed to fetch: `http://127.0.0.1:40163/simple/404/` tcp connect error Connection refused";
        assert!(way_out(refused).is_some_and(|hint| hint.contains("NO_PROXY")));
        let away = "HTTP status client error (404 Not Found) for url (http://127.0.0.1:40163/certificate/)";
        assert!(way_out(away).is_some_and(|hint| hint.contains("lock again")));
    }

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        assert_eq!(content_range("bytes 42-1233/1234"), Some((42, Some(1234))));
        assert_eq!(content_range("bytes 42-1233/*"), Some((42, None)));
        assert_eq!(content_range("bytes */1234"), None);
    }
}
