//! What the indexes offer, and the bytes behind a URL: the only place that talks to the network, and the only async code
//! behind a synchronous interface.
//!
//! Pages are read by uv's client: PEP 503 and 691, credentials from URLs and netrc, proxies from the environment, pages
//! kept as their headers allow.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use url::Url;
use uv_client::{
    BaseClientBuilder, Certificates, Connectivity, ErrorKind, FlatIndexClient, MetadataFormat, OwnedArchive,
    RegistryClient, RegistryClientBuilder,
};
use uv_configuration::IndexStrategy;
use uv_distribution_filename::DistFilename;
use uv_distribution_types::{File, Index, IndexCapabilities, IndexFormat, IndexLocations, IndexMetadataRef, IndexUrl};
use uv_pypi_types::Yanked;
use uv_redacted::DisplaySafeUrl;

use crate::cache::Cache;
use crate::egg::{EggFilename, is_egg};
use crate::error::{Context, Error, Result};
use crate::lock::Indexes;
use crate::pypa::{HashDigest, PackageName, Version, VersionSpecifiers};

/// The index when the lock names none.
const PYPI: &str = "https://pypi.org/simple";

/// How long a server may take to accept a connection, and to say the next word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a request is repeated that a server did not answer, or answered with 408, 429 or 5xx.
const RETRIES: u32 = 3;

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

/// Something that offers files.
#[derive(Debug)]
enum Place {
    /// All `--find-links` together.
    FindLinks(Vec<IndexUrl>),
    /// An index.
    Index(IndexUrl),
}

/// A connection to the indexes of a lock.
pub struct Client {
    runtime: Runtime,
    registry: RegistryClient,
    pages: uv_cache::Cache,
    places: Vec<Place>,
    offline: bool,
    capabilities: IndexCapabilities,
    requests: Semaphore,
    find_links: OnceLock<Result<Vec<Offer>>>,
    /// Why a place did not answer. It is not asked again: each time would cost all retries.
    away: Vec<OnceLock<Error>>,
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
    /// Prepares to ask the indexes of a lock; nothing is asked yet. Without `--no-index`, the places are: all
    /// `--find-links`, then the extra indexes in order, then the index.
    ///
    /// # Errors
    /// A URL that is none, or certificates that can't be loaded.
    pub fn new(indexes: &Indexes, cache: &Cache, offline: bool) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context(|| "cannot start the network's threads")?;
        let flat = indexes.find_links.iter().map(index_url).collect::<Result<Vec<_>>>()?;
        let mut urls = Vec::new();
        let mut known = Vec::new();
        if !indexes.no_index {
            for extra in &indexes.extra {
                let url = index_url(extra)?;
                known.push(Index::from_extra_index_url(url.clone()));
                urls.push(url);
            }
            let main = match &indexes.index {
                Some(url) => index_url(url)?,
                None => IndexUrl::parse(PYPI, None).context(|| format!("`{PYPI}` is no URL"))?,
            };
            known.push(Index::from_index_url(main.clone()));
            urls.push(main);
        }
        let known_flat = flat.iter().cloned().map(Index::from_find_links).collect();
        let locations = IndexLocations::new(known, known_flat, indexes.no_index);
        let directory = cache.index();
        let pages = runtime
            .block_on(uv_cache::Cache::from_path(&directory).init())
            .context(|| format!("cannot write to `{}`", directory.display()))?;
        let registry = RegistryClientBuilder::new(base_client(offline), pages.clone())
            .index_locations(locations)
            .index_strategy(IndexStrategy::FirstIndex)
            .build()
            .map_err(|error| Error::new("cannot prepare to ask the indexes").cause_text(scrubbed(&error)))?;
        let find_links = (!flat.is_empty()).then_some(Place::FindLinks(flat));
        let places: Vec<Place> = find_links.into_iter().chain(urls.into_iter().map(Place::Index)).collect();
        let (capabilities, requests) = (IndexCapabilities::default(), Semaphore::new(16));
        let away = places.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            runtime,
            registry,
            pages,
            places,
            offline,
            capabilities,
            requests,
            find_links: OnceLock::new(),
            away,
        })
    }

    /// Returns how many places there are to look.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Returns what a message calls a place.
    pub fn place_name(&self, place: usize) -> String {
        match &self.places[place] {
            Place::Index(url) => format!("`{}`", safe_url(url.url())),
            Place::FindLinks(urls) => {
                let names: Vec<String> = urls.iter().map(|url| format!("`{}`", safe_url(url.url()))).collect();
                names.join(", ")
            }
        }
    }

    /// Returns whether a place can be looked at without the network.
    pub fn is_local(&self, place: usize) -> bool {
        match &self.places[place] {
            Place::Index(url) => matches!(url, IndexUrl::Path(_)),
            Place::FindLinks(urls) => urls.iter().all(|url| matches!(url, IndexUrl::Path(_))),
        }
    }

    /// Returns all files of a distribution in one place, of all versions; empty if it is unknown there.
    ///
    /// # Errors
    /// The place can't be asked, or refuses to answer.
    pub fn offers(&self, place: usize, name: &PackageName) -> Result<Vec<Offer>> {
        if let Some(error) = self.away[place].get() {
            return Err(error.clone());
        }
        match &self.places[place] {
            Place::Index(url) => self.index_offers(url, name).inspect_err(|error| {
                // Whoever is first; they all say the same.
                _ = self.away[place].set(error.clone());
            }),
            Place::FindLinks(urls) => {
                let all = self.find_links.get_or_init(|| self.read_find_links(urls)).as_ref().map_err(Clone::clone)?;
                Ok(all.iter().filter(|offer| offer.dist.name() == name).cloned().collect())
            }
        }
    }

    fn index_offers(&self, url: &IndexUrl, name: &PackageName) -> Result<Vec<Offer>> {
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
                    return Err(failed("it asks for credentials (401)".to_owned())
                        .hint("give them in the URL by way of `${VARIABLES}`, or in `~/.netrc`"));
                }
                ErrorKind::RemotePackageNotFound(_) if self.capabilities.forbidden(url) => {
                    return Err(failed("it does not let these credentials in (403)".to_owned()));
                }
                ErrorKind::RemotePackageNotFound(_) => return Ok(Vec::new()),
                ErrorKind::Offline(_) => return Err(failed("the network is not used with `--offline`".to_owned())),
                _ => return Err(failed(scrubbed(&error))),
            },
        };
        let mut offers = Vec::new();
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

    fn read_find_links(&self, urls: &[IndexUrl]) -> Result<Vec<Offer>> {
        let connectivity = self.registry.connectivity();
        let client = FlatIndexClient::new(self.registry.cached_client(), connectivity, &self.pages);
        let entries = self
            .runtime
            .block_on(client.fetch_all(urls.iter()))
            .map_err(|error| Error::new("cannot read a `--find-links` place").cause_text(scrubbed(&error)))?;
        let (entries, offline) = entries.into_parts();
        if offline {
            return Err(Error::new("cannot read a `--find-links` place")
                .cause_text("the network is not used with `--offline`")
                .hint("run it once without `--offline`"));
        }
        let offers = entries.into_iter().filter_map(|entry| {
            let (dist, file, _) = entry.into_parts();
            offer(dist, file)
        });
        let eggs = urls.iter().filter_map(|url| url.url().to_file_path().ok()).flat_map(|path| eggs(&path));
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
        let failed = |why: String| Broken::Refused(Error::new(format!("cannot download `{shown}`")).cause_text(why));
        if self.offline {
            return Err(Broken::Refused(
                Error::new(format!("cannot download `{shown}`"))
                    .cause_text("the network is not used with `--offline`")
                    .hint("run it once without `--offline`"),
            ));
        }
        self.runtime.block_on(async {
            let safe = DisplaySafeUrl::from_url(url.clone());
            // A compressed answer has other offsets than the file.
            let mut request =
                self.registry.uncached_client(&safe).get(url.clone()).header("accept-encoding", "identity");
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
        self.url.to_file_path().ok().filter(|path| path.is_dir())
    }
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

fn base_client(offline: bool) -> BaseClientBuilder<'static> {
    let connectivity = if offline { Connectivity::Offline } else { Connectivity::Online };
    let builder = BaseClientBuilder::default()
        .connectivity(connectivity)
        .with_system_certs(true)
        .read_timeout(READ_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .retries(RETRIES)
        .no_retry_delay(cfg!(test));
    match Certificates::from_env() {
        Some(certificates) => builder.custom_certificates(certificates),
        None => builder,
    }
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
    fn ranges_are_those_of_rfc_9110() {
        assert_eq!(content_range("bytes 42-1233/1234"), Some((42, Some(1234))));
        assert_eq!(content_range("bytes 42-1233/*"), Some((42, None)));
        assert_eq!(content_range("bytes */1234"), None);
    }
}
