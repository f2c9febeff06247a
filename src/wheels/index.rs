//! What the indexes offer, and the bytes behind a URL: the only place that talks to the network, and the only async code
//! behind a synchronous interface.
//!
//! Pages are read by uv's client: PEP 503 and 691, credentials from URLs, netrc and keyring, proxies and certificates from
//! the environment, pages kept as their headers allow.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use url::Url;
use uv_auth::AuthPolicy;
use uv_client::{ErrorKind, FlatIndexClient, MetadataFormat, OwnedArchive, RegistryClient, RegistryClientBuilder};
use uv_configuration::{IndexStrategy, KeyringProviderType};
use uv_distribution_filename::DistFilename;
use uv_distribution_types::{File, Index, IndexCapabilities, IndexFormat, IndexLocations, IndexMetadataRef, IndexUrl};
use uv_pypi_types::Yanked;
use uv_redacted::DisplaySafeUrl;

use super::page;
use crate::cache::Cache;
use crate::egg::{EggFilename, is_egg};
use crate::error::{Context, Error, Result};
use crate::http::{self, Exceeded};
use crate::lock::Indexes;
use crate::lock::index::{NamedIndex, PlaceId};
use crate::pypa::{HashDigest, PackageName, Version, VersionSpecifiers};

/// A file that is offered for a distribution.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The file's name.
    pub file: String,
    /// What the name says.
    pub dist: DistFilename,
    /// Where it is; `file:` for a find-links directory. May hold credentials.
    pub url: Url,
    /// What the index says of its content.
    pub hashes: Vec<HashDigest>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Pythons it is for.
    pub requires_python: Option<VersionSpecifiers>,
    /// Taken back by its maintainers (PEP 592), with their reason, which may be empty.
    pub yanked: Option<String>,
}

/// An index.
#[derive(Debug)]
struct Place {
    id: PlaceId,
    url: IndexUrl,
    /// Its name in the configuration.
    named: Option<NamedIndex>,
    /// Why it did not answer. It is not asked again: each time would cost all retries.
    away: OnceLock<Error>,
    /// What it has a page of.
    pages: Mutex<BTreeSet<PackageName>>,
}

/// Directories and pages that list files.
#[derive(Debug)]
struct Links {
    id: PlaceId,
    urls: Vec<IndexUrl>,
    files: OnceLock<Result<Vec<Offer>>>,
    /// Those of the pages.
    eggs: OnceLock<Result<Vec<Offer>>>,
}

/// A connection to the indexes of a lock.
pub struct Client {
    runtime: Runtime,
    registry: RegistryClient,
    pages: uv_cache::Cache,
    places: Vec<Place>,
    links: Vec<Links>,
    offline: bool,
    capabilities: IndexCapabilities,
    requests: Semaphore,
}

/// What comes from a URL, in order.
#[derive(Debug)]
pub enum Piece<'a> {
    /// The answer's head.
    Start {
        /// Where its first byte belongs: what was asked for, or 0 if the server starts anew.
        offset: u64,
        /// Length of the whole file, if the server says it.
        total: Option<u64>,
        /// Names this version of the file (a strong ETag).
        etag: Option<String>,
    },
    /// Some of its bytes.
    Bytes(&'a [u8]),
}

/// Why a download ended early.
#[derive(Debug)]
pub enum Broken {
    /// The connection; the rest can be asked for.
    Connection(String),
    /// For good.
    Refused(Error),
}

impl Client {
    /// Prepares to ask the indexes of a lock; nothing is asked yet.
    ///
    /// # Errors
    /// A URL that is none, certificates that can't be loaded, or a variable that makes no sense.
    pub fn new(indexes: &Indexes, cache: &Cache, offline: bool) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context(|| "cannot start the network's threads")?;
        let links = links(indexes)?;
        let places = places(indexes)?;
        let known = places.iter().map(Place::known).collect();
        let flat = links.iter().flat_map(|links| links.urls.iter().cloned()).map(Index::from_find_links).collect();
        let locations = IndexLocations::new(known, flat, indexes.no_index);
        let directory = cache.index();
        let pages = runtime
            .block_on(uv_cache::Cache::from_path(&directory).init())
            .context(|| format!("cannot write to `{}`", directory.display()))?;
        let asks_keyring = places.iter().any(|place| place.named.as_ref().is_some_and(|index| index.keyring));
        let keyring = if asks_keyring { KeyringProviderType::Subprocess } else { KeyringProviderType::Disabled };
        let registry = RegistryClientBuilder::new(http::client(offline)?, pages.clone())
            .index_locations(locations)
            .index_strategy(IndexStrategy::FirstIndex)
            .keyring(keyring)
            .build()
            .map_err(|error| Error::new("cannot prepare to ask the indexes").cause_text(scrubbed(&error)))?;
        let (capabilities, requests) = (IndexCapabilities::default(), Semaphore::new(16));
        Ok(Self { runtime, registry, pages, places, links, offline, capabilities, requests })
    }

    /// Returns what a message calls a place.
    pub fn place_name(&self, id: &PlaceId) -> String {
        let shown = |url: &IndexUrl| format!("`{}`", safe_url(url.url()));
        let index = self.places.iter().filter(|place| place.id == *id).map(|place| shown(&place.url));
        let links = self.links.iter().filter(|links| links.id == *id).flat_map(|links| links.urls.iter().map(shown));
        index.chain(links).collect::<Vec<_>>().join(", ")
    }

    /// Returns all files of a distribution in one place, of all versions; empty if it is unknown there.
    ///
    /// # Errors
    /// The place can't be asked, or refuses to answer.
    pub fn offers(&self, id: &PlaceId, name: &PackageName) -> Result<Vec<Offer>> {
        if let Some(links) = self.links.iter().find(|links| links.id == *id) {
            let all = links.files.get_or_init(|| self.read_links(&links.urls)).as_ref().map_err(Clone::clone)?;
            return Ok(all.iter().filter(|offer| offer.dist.name() == name).cloned().collect());
        }
        let Some(place) = self.places.iter().find(|place| place.id == *id) else {
            return Err(Error::bug("a place is asked that the lock does not have"));
        };
        if let Some(error) = place.away.get() {
            return Err(error.clone());
        }
        self.index_offers(place, name).inspect_err(|error| {
            // Whoever is first; they all say the same.
            _ = place.away.set(error.clone());
        })
    }

    /// Returns the eggs of a distribution that the pages of a place link; [`Client::offers`] has those of directories. It
    /// asks once more, and so is for when nothing better fits.
    ///
    /// # Errors
    /// The place can't be asked any more.
    pub fn linked_eggs(&self, id: &PlaceId, name: &PackageName) -> Result<Vec<Offer>> {
        if self.offline {
            return Ok(Vec::new());
        }
        let of_name = |eggs: &[Offer]| eggs.iter().filter(|egg| egg.dist.name() == name).cloned().collect();
        if let Some(links) = self.links.iter().find(|links| links.id == *id) {
            let web = links.urls.iter().filter(|url| url.url().scheme() != "file");
            let read = || web.map(|url| self.eggs_of(&Url::from(url.url().clone()))).collect::<Result<Vec<_>>>();
            let all = links.eggs.get_or_init(|| read().map(|pages| pages.concat()));
            return Ok(of_name(all.as_ref().map_err(Clone::clone)?));
        }
        let knows = |place: &&Place| {
            // Nobody panics with it in hand.
            place.id == *id && place.pages.lock().is_ok_and(|pages| pages.contains(name))
        };
        let Some(place) = self.places.iter().find(knows) else { return Ok(Vec::new()) };
        let mut url = Url::from(place.url.url().clone());
        if url.scheme() == "file" {
            return Ok(Vec::new());
        }
        let page = format!("{}/{name}/", url.path().trim_end_matches('/'));
        url.set_path(&page);
        Ok(of_name(&self.eggs_of(&url)?))
    }

    /// Reads a page that has been read as one of wheels and sdists.
    fn eggs_of(&self, url: &Url) -> Result<Vec<Offer>> {
        let failed =
            |why: String| Error::new(format!("cannot read the index `{}`", without_secrets(url))).cause_text(why);
        self.runtime.block_on(async {
            let safe = DisplaySafeUrl::from_url(url.clone());
            let request = self.registry.uncached_client(&safe).get(url.clone());
            let request = request.header("accept", "application/vnd.pypi.simple.v1+html, text/html;q=0.9");
            let mut answer = request.send().await.map_err(|error| failed(scrubbed(&error)))?;
            let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if !answer.status().is_success() || !kind.contains("html") {
                return Ok(Vec::new());
            }
            let (base, mut page) = (answer.url().clone(), Vec::new());
            while let Some(piece) = answer.chunk().await.map_err(|error| failed(scrubbed(&error)))? {
                page.extend_from_slice(&piece);
            }
            Ok(page::eggs(&String::from_utf8_lossy(&page), &base))
        })
    }

    fn index_offers(&self, place: &Place, name: &PackageName) -> Result<Vec<Offer>> {
        let url = &place.url;
        let index = IndexMetadataRef { url, format: IndexFormat::Simple };
        let failed = |why: String| {
            let error = Error::new(format!("cannot read the index `{}`", safe_url(url.url()))).cause_text(why);
            if self.offline { error.hint("run it once without `--offline`") } else { error }
        };
        let asked = self.registry.simple_detail(name, Some(index), &self.capabilities, &self.requests);
        let found = match self.runtime.block_on(asked) {
            Ok(found) => found,
            Err(error) => match error.kind() {
                ErrorKind::RemotePackageNotFound(_) if self.capabilities.unauthorized(url) => {
                    return Err(failed("it asks for credentials (401)".to_owned()).hint(place.way_in()));
                }
                ErrorKind::RemotePackageNotFound(_) if self.capabilities.forbidden(url) => {
                    let why = "it does not let these credentials in (403)";
                    return Err(failed(why.to_owned()).hint(place.way_in()));
                }
                ErrorKind::RemotePackageNotFound(_) => return Ok(Vec::new()),
                ErrorKind::Offline(_) => return Err(failed("the network is not used with `--offline`".to_owned())),
                _ => {
                    let why = scrubbed(&error);
                    let hint = way_out(&why);
                    return Err(hint.into_iter().fold(failed(why), Error::hint));
                }
            },
        };
        if let Ok(mut pages) = place.pages.lock() {
            pages.insert(name.clone());
        }
        let mut offers = Vec::new();
        let offer = |dist, file| offer(dist, file).filter(|offer| may_link(url, &offer.url));
        for (_, format) in found {
            match format {
                MetadataFormat::Simple(archive) => {
                    for version in OwnedArchive::deserialize(&archive) {
                        offers.extend(version.files.all(name).filter_map(|(dist, file)| offer(dist, file)));
                    }
                }
                MetadataFormat::Flat(entries) => {
                    offers.extend(
                        entries
                            .into_iter()
                            .map(uv_client::FlatIndexEntry::into_parts)
                            .filter_map(|(dist, file, _)| offer(dist, file)),
                    );
                }
            }
        }
        Ok(offers)
    }

    fn read_links(&self, urls: &[IndexUrl]) -> Result<Vec<Offer>> {
        let connectivity = self.registry.connectivity();
        let client = FlatIndexClient::new(self.registry.cached_client(), connectivity, &self.pages);
        let entries = self.runtime.block_on(client.fetch_all(urls.iter())).map_err(|error| {
            let why = scrubbed(&error);
            let hint = way_out(&why);
            hint.into_iter().fold(Error::new("cannot read a `--find-links` place").cause_text(why), Error::hint)
        })?;
        let (entries, offline) = entries.into_parts();
        if offline {
            return Err(Error::new("cannot read a `--find-links` place")
                .cause_text("the network is not used with `--offline`")
                .hint("run it once without `--offline`"));
        }
        let offers = entries.into_iter().filter_map(|entry| {
            let (dist, file, page) = entry.into_parts();
            offer(dist, file).filter(|offer| may_link(&page, &offer.url))
        });
        let eggs = urls.iter().filter_map(|url| local_path(url.url())).flat_map(|path| eggs(&path));
        Ok(offers.chain(eggs).collect())
    }

    /// Reads what is behind a URL, from byte `from` on if the server can do that and still has the version `etag`.
    ///
    /// # Errors
    /// See [`Broken`]. What `take` returns is [`Broken::Refused`].
    pub fn read(
        &self,
        url: &Url,
        from: u64,
        etag: Option<&str>,
        take: &mut dyn FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<(), Broken> {
        let shown = without_secrets(url);
        let failed = |why: String| {
            let hint = way_out(&why);
            let error = Error::new(format!("cannot download `{shown}`")).cause_text(why);
            Broken::Refused(hint.into_iter().fold(error, Error::hint))
        };
        if self.offline {
            return Err(Broken::Refused(
                Error::new(format!("cannot download `{shown}`"))
                    .cause_text("the network is not used with `--offline`")
                    .hint("run it once without `--offline`"),
            ));
        }
        self.runtime.block_on(async {
            let safe = DisplaySafeUrl::from_url(url.clone());
            let (header, value) = http::FILE_HEADER;
            let mut request = self.registry.uncached_client(&safe).get(url.clone()).header(header, value);
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
                if let Some(etag) = etag {
                    request = request.header("if-range", etag);
                }
            }
            let mut answer = request.send().await.map_err(|error| failed(scrubbed(&error)))?;
            let status = answer.status().as_u16();
            if status != 200 && status != 206 {
                return Err(failed(format!("the server answered {}", answer.status())));
            }
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            let (offset, total) = match status {
                206 => content_range(header("content-range").unwrap_or_default())
                    .filter(|(offset, _)| *offset == from)
                    .ok_or_else(|| failed("the server answered with another range than it was asked for".to_owned()))?,
                _ => (0, answer.content_length()),
            };
            let etag = header("etag").filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
            take(Piece::Start { offset, total, etag }).map_err(Broken::Refused)?;
            loop {
                match answer.chunk().await {
                    Ok(Some(bytes)) => take(Piece::Bytes(&bytes)).map_err(Broken::Refused)?,
                    Ok(None) => return Ok(()),
                    // Asking again would begin the same.
                    Err(error) if Exceeded::find(&error).is_some() => return Err(failed(scrubbed(&error))),
                    Err(error) => return Err(Broken::Connection(scrubbed(&error))),
                }
            }
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("places", &self.places.len())
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl Offer {
    /// Returns the directory that an unpacked egg is; `None` for a file.
    pub fn directory(&self) -> Option<PathBuf> {
        if !is_egg(&self.file) {
            return None;
        }
        self.path().filter(|path| path.is_dir())
    }

    /// Returns where the file lies on this machine; `None` for a URL of the web, whatever its host.
    pub fn path(&self) -> Option<PathBuf> {
        local_path(&self.url)
    }
}

/// Returns the path that a `file:` URL names. [`Url::to_file_path`] takes `http://localhost/` for one, too.
fn local_path(url: &Url) -> Option<PathBuf> {
    url.to_file_path().ok().filter(|_| url.scheme() == "file")
}

/// Whether a page may name a file: one of the web must not choose files of this machine.
fn may_link(page: &IndexUrl, link: &Url) -> bool {
    link.scheme() != "file" || page.url().scheme() == "file"
}

/// The eggs in a find-links directory, zipped and unpacked, which uv's client does not know; sorted.
fn eggs(directory: &Path) -> Vec<Offer> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_egg(name));
    names.sort_unstable();
    let offer = |file: String| {
        let dist = DistFilename::WheelFilename(EggFilename::parse(&file).ok()?.wheel().ok()?);
        let url = Url::from_file_path(directory.join(&file)).ok()?;
        Some(Offer { file, dist, url, hashes: Vec::new(), size: None, requires_python: None, yanked: None })
    };
    names.into_iter().filter_map(offer).collect()
}

impl Place {
    /// How uv's client knows it.
    fn known(&self) -> Index {
        let mut index = match self.id {
            PlaceId::Default => Index::from_index_url(self.url.clone()),
            _ => Index::from_extra_index_url(self.url.clone()),
        };
        if self.named.as_ref().is_some_and(|named| named.keyring) {
            // Without a user's name the keyring is asked only where credentials are a must.
            index.authenticate = AuthPolicy::Always;
        }
        index
    }

    fn way_in(&self) -> String {
        match &self.named {
            Some(index) => {
                let variable = index.variable();
                format!("give credentials in `{variable}_USERNAME` and `{variable}_PASSWORD`, or in `~/.netrc`")
            }
            None => "give credentials in the URL by way of `${VARIABLES}`, or in `~/.netrc`".to_owned(),
        }
    }
}

/// All indexes of a lock, whoever is asked for what.
fn places(indexes: &Indexes) -> Result<Vec<Place>> {
    let named = (0..indexes.named.len()).map(PlaceId::Named);
    let extra = (0..indexes.extra.len()).map(PlaceId::Extra);
    let ids = named.chain(extra).chain([PlaceId::Default]);
    ids.filter_map(|id| Some((indexes.url(&id)?, id)))
        .map(|(url, id)| {
            let named = if let PlaceId::Named(at) = id { indexes.named.get(at).cloned() } else { None };
            Ok(Place { url: index_url(&url)?, named, away: OnceLock::new(), pages: Mutex::default(), id })
        })
        .collect()
}

fn links(indexes: &Indexes) -> Result<Vec<Links>> {
    let directory =
        |path: &PathBuf| Url::from_directory_path(path).map_err(|()| Error::bug("a wheelhouse has an absolute path"));
    let houses = indexes.wheelhouses.iter().map(directory).collect::<Result<Vec<_>>>()?;
    [(PlaceId::Wheelhouses, houses), (PlaceId::FindLinks, indexes.find_links.clone())]
        .into_iter()
        .map(|(id, urls)| {
            let urls = urls.iter().map(index_url).collect::<Result<_>>()?;
            Ok(Links { id, urls, files: OnceLock::new(), eggs: OnceLock::new() })
        })
        .collect()
}

/// Returns what would help against a failure of the network, if it is of a known kind.
fn way_out(why: &str) -> Option<&'static str> {
    if ["is too slow", "did not finish its answer", "bytes that are accepted"].iter().any(|part| why.contains(part)) {
        return Some("take another index, or a copy of the file: `--find-links DIR`");
    }
    // An address may hold anything: port 40163 is no status 401.
    let why = why.to_lowercase().split_whitespace().filter(|word| !word.contains("://")).collect::<Vec<_>>().join(" ");
    let has = |parts: &[&str]| parts.iter().any(|part| why.contains(part));
    let says = |codes: &[&str]| why.split(|one: char| !one.is_alphanumeric()).any(|word| codes.contains(&word));
    if has(&["certificate", "unknownissuer", "tls handshake", "handshake failure"]) {
        return Some(
            "if it is signed by a CA of your own, name that with `SSL_CERT_FILE`; if it wants to know who you are, set \
             `SSL_CLIENT_CERT` to a file with your certificate and key",
        );
    }
    if says(&["401", "403", "407"]) {
        return Some("give credentials: `PKGAPP_INDEX_NAME_USERNAME` and `…_PASSWORD`, or `~/.netrc`");
    }
    if says(&["404", "410"]) {
        return Some("the index names a file that is gone: lock again, or take it from another place (`--find-links`)");
    }
    if says(&["429", "500", "502", "503", "504"]) || has(&["server error"]) {
        return Some("the server is at fault: try again later, or take another index");
    }
    if has(&["cannot be resolved"]) {
        return Some(
            "check the spelling of the address, this machine's DNS, and `HTTPS_PROXY` if only a proxy reaches the index; what \
             is in the cache needs no network: `--offline`",
        );
    }
    if has(&["connect", "dns", "timed out", "timeout", "error sending request", "proxy"]) {
        return Some(
            "check the address, and `HTTPS_PROXY` and `NO_PROXY` if there is a proxy between; what is in the cache needs \
             no network: `--offline`",
        );
    }
    None
}

fn index_url(url: &Url) -> Result<IndexUrl> {
    IndexUrl::from_str(url.as_str()).map_err(|error| {
        Error::new(format!("`{}` is no place to look for distributions", without_secrets(url)))
            .cause_text(scrubbed(&error))
    })
}

fn offer(dist: DistFilename, file: File) -> Option<Offer> {
    let mut url = Url::from(file.url.to_url().ok()?);
    url.set_fragment(None);
    let yanked = file.yanked.and_then(|yanked| match *yanked {
        Yanked::Bool(false) => None,
        Yanked::Bool(true) => Some(String::new()),
        Yanked::Reason(reason) => Some(reason.to_string()),
    });
    Some(Offer {
        file: file.filename.to_string(),
        dist,
        url,
        hashes: file.hashes.iter().cloned().collect(),
        size: file.size,
        requires_python: file.requires_python.map(|specifiers| (*specifiers).clone()),
        yanked,
    })
}

/// Reads `bytes 100-199/200` (RFC 9110 §14.4) as the first offset and the whole length.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split('-').next()?.parse().ok()?, total.parse().ok()))
}

/// Returns a URL as it may be shown and recorded: no credentials, and nothing behind the path, where signatures stand.
pub fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that can't have either.
    _ = url.set_username("");
    _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn safe_url(url: &DisplaySafeUrl) -> String {
    without_secrets(&Url::from(url.clone()))
}

/// Returns an error's whole chain as one line a link, with the credentials of URLs taken out.
fn scrubbed(error: &dyn std::error::Error) -> String {
    let mut lines = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !lines.iter().any(|known| known.contains(&text)) {
            lines.push(text);
        }
        next = source.source();
    }
    without_credentials(&lines.join("\n"))
}

/// Returns a text with the credentials of the URLs in it taken out.
pub fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#`'\")".contains(c)).unwrap_or(after.len());
        rest = after[..end].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    clean.push_str(rest);
    clean
}

/// Returns versions around `wanted`, at most three on each side, the oldest first.
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
        let url = "https://user:pass@index.example/simple/x.whl?X-Signature=abc#sha256=def".parse().unwrap();
        assert_eq!(without_secrets(&url), "https://index.example/simple/x.whl");
        assert_eq!(
            without_credentials("asked https://u:p@ss@a.example/x, `http://tok@b.example`, https://c.example/a@b"),
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
