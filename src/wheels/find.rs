//! Finds the file for a pin.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use pkgapp_pypa::{DistFilename, SourceDistExtension, SourceDistFilename};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::choice::{FailedSearch, FileRequest, Misfit, UnfitFile, label, yanked_warning};
use super::index::{FileOffer, without_secrets};
use super::store::{ExpectedHashes, FileStore, StoreFailure, StoreKind, StoredFile};
use super::wheelhouse::Wheelhouses;
use super::{Wheel, git, hg};
use pkgapp_core::cache;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::report::Report;
use pkgapp_http::percent_decoded;
use pkgapp_lock::index::PlaceId;
use pkgapp_lock::{FilePlace, Indexes, Lock, LockedFile, Pin, PinSource};
use pkgapp_pypa::egg::{EggFilename, is_egg};
use pkgapp_pypa::{Environment, HashAlgorithm, HashDigest, PackageName, Version, WheelFilename};

/// A part of the key of a choice, to be increased when the rules of choosing change.
const CHOICE_FORMAT: &str = "pkgapp choice 2";

/// The result of a pin before anything is built.
pub(super) enum PinResolution {
    Wheel(Box<Wheel>),
    Source(BuildSource),
}

/// The source of a wheel that is to be built.
pub(super) enum BuildSource {
    Sdist {
        stored: StoredFile,
        extension: SourceDistExtension,
        from: String,
    },
    Directory(PathBuf),
    /// An egg: a file in the cache with its checksum, or a directory.
    Egg {
        path: PathBuf,
        sha256: Option<Sha256Sum>,
        from: String,
    },
    /// A project of a repository, with its origin for the record.
    Checkout {
        directory: PathBuf,
        from: String,
    },
}

/// A choice in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct CachedChoice {
    file: String,
    sha256: Sha256Sum,
    size: u64,
    from: String,
    yanked: Option<String>,
}

/// Finds the files for pins, and brings them into the cache.
pub(super) struct Fetcher<'a> {
    pub(super) lock: &'a Lock,
    pub(super) environment: &'a Environment,
    pub(super) store: &'a FileStore<'a>,
    pub(super) houses: &'a Wheelhouses,
    pub(super) report: &'a Report,
    /// The hashes of files in the cache: a pin has many more, for other platforms.
    pub(super) kept: OnceLock<HashSet<String>>,
}

impl Fetcher<'_> {
    pub(super) fn find(&self, pin: &Pin) -> Result<PinResolution> {
        let named = |error: Error| {
            if error.location().is_none() {
                error.at(pin.at.clone())
            } else {
                error
            }
        };
        let found = match &pin.source {
            PinSource::Directory(path) => {
                Ok(PinResolution::Source(BuildSource::Directory(path.clone())))
            }
            PinSource::Git(source) => self.find_repository(pin, source.shown(), || {
                git::checkout(source, self.store.cache, self.store.offline)
            }),
            PinSource::Mercurial(source) => self.find_repository(pin, source.shown(), || {
                hg::checkout(source, self.store.cache, self.store.offline)
            }),
            PinSource::File(path) => self.find_file(pin, path),
            PinSource::Url(url) => self.find_url(pin, url),
            PinSource::Files(files) => self.find_locked(pin, files),
            PinSource::Index => self.find_indexed(pin),
        };
        found.map_err(named)
    }

    /// Prefers a wheel that an export has built from the commit, since the repository may be
    /// unreachable.
    fn find_repository(
        &self,
        pin: &Pin,
        from: String,
        checkout: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<PinResolution> {
        if let Some((path, sha256)) = self.houses.built_from(&pin.name, &from) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let url = url::Url::from_file_path(path)
                .map_err(|()| Error::bug("a wheelhouse has an absolute path"))?;
            let hash = HashDigest {
                algorithm: HashAlgorithm::Sha256,
                digest: sha256.to_string().into(),
            };
            let wanted = FileRequest {
                require_hashes: false,
                ..self.wanted(pin)
            };
            // The wheel may be for another Python.
            if let (Some(offer), _) =
                first(wanted.sort(vec![direct_offer(pin, &name, url, vec![hash])?]))
            {
                return Ok(self.take(&wanted, &offer, None)?);
            }
        }
        Ok(PinResolution::Source(BuildSource::Checkout {
            directory: checkout()?,
            from,
        }))
    }

    fn find_file(&self, pin: &Pin, path: &Path) -> Result<PinResolution> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let url = url::Url::from_file_path(path)
            .map_err(|()| Error::bug("a pinned file has an absolute path"))?;
        let offer = direct_offer(pin, &name, url, Vec::new())?;
        self.find_among(&self.wanted(pin), vec![offer], None)
    }

    fn find_url(&self, pin: &Pin, url: &url::Url) -> Result<PinResolution> {
        let mut pin = pin.clone();
        let fragments = url.fragment().unwrap_or_default().split('&');
        pin.hashes.extend(
            fragments.filter_map(|part| HashDigest::from_str(&part.replacen('=', ":", 1)).ok()),
        );
        let mut url = url.clone();
        url.set_fragment(None);
        let name = url
            .path_segments()
            .and_then(|mut segments| segments.next_back())
            .unwrap_or_default()
            .to_owned();
        let name = percent_decoded(&name);
        let offer = direct_offer(&pin, &name, url, Vec::new())?;
        let wanted = FileRequest {
            pin: &pin,
            ..self.wanted(&pin)
        };
        let key = self.key(&wanted);
        if let Some(found) = self.recall(&wanted, &key)? {
            return Ok(found);
        }
        self.find_among(&wanted, vec![offer], Some(&key))
    }

    fn find_locked(&self, pin: &Pin, files: &[LockedFile]) -> Result<PinResolution> {
        let wanted = FileRequest {
            require_hashes: false,
            ..self.wanted(pin)
        };
        let (offers, search) = locked_offers(pin, files, self.lock.require_hashes)?;
        if search.unfit.is_empty() || !offers.is_empty() {
            return self.find_among(&wanted, offers, None);
        }
        Err(search.error(&wanted))
    }

    fn find_indexed(&self, pin: &Pin) -> Result<PinResolution> {
        let wanted = self.wanted(pin);
        let key = self.key(&wanted);
        let mut search = FailedSearch::default();
        let mut places = self.lock.indexes.places(&pin.name).into_iter().peekable();
        // A directory may change without notice, and is quick to search: without hashes, it is
        // searched each time.
        while let Some(place) =
            places.next_if(|place| !wanted.is_hashed() && self.is_directory(place))
        {
            if let Some(found) = self.search_place(&wanted, &place, None, &mut search)? {
                return Ok(found);
            }
        }
        if let Some(found) = self.recall(&wanted, &key)? {
            return Ok(found);
        }
        if let Some(offer) = self.cached_offer(&wanted) {
            return self.take(&wanted, &offer, None).map_err(Error::from);
        }

        while let Some(place) = places.next() {
            if let Some(found) = self.search_place(&wanted, &place, Some(&key), &mut search)? {
                return Ok(found);
            }
            if let Some(next) = places.peek()
                && place.is_index()
                && search.knows
                && !wanted.is_hashed()
            {
                let client = self.store.client()?;
                search.decided = Some((client.place_name(&place), client.place_name(next)));
                break;
            }
        }
        Err(search.error(&wanted))
    }

    /// Returns the file of the cache for a pin whose hashes leave no choice.
    fn cached_offer(&self, wanted: &FileRequest<'_>) -> Option<FileOffer> {
        let hashes = sha256_of(&wanted.pin.hashes);
        let is_decided = hashes.len() == 1 || (self.store.offline && !hashes.is_empty());
        if !is_decided {
            return None;
        }
        let cached = hashes
            .iter()
            .flat_map(|hash| self.cached(wanted.pin, *hash))
            .collect();
        first(wanted.sort(cached)).0
    }

    /// Returns whether a place consists only of local directories.
    fn is_directory(&self, place: &PlaceId) -> bool {
        match place {
            PlaceId::Wheelhouses => true,
            PlaceId::FindLinks => self
                .lock
                .indexes
                .find_links
                .iter()
                .all(|url| url.scheme() == "file"),
            PlaceId::Named(_) | PlaceId::Extra(_) | PlaceId::Default => false,
        }
    }

    fn search_place(
        &self,
        wanted: &FileRequest<'_>,
        place: &PlaceId,
        key: Option<&str>,
        search: &mut FailedSearch,
    ) -> Result<Option<PinResolution>> {
        for offer in self.fitting_offers(wanted, place, search)? {
            match self.take(wanted, &offer, key) {
                Ok(found) => return Ok(Some(found)),
                // The index did not state the hash; another file may have it.
                Err(StoreFailure::Hash(_)) if offer.hashes.is_empty() => {
                    search.unfit.push(UnfitFile {
                        file: offer.file,
                        why: Misfit::Hash(None),
                    });
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(None)
    }

    /// Returns the files of a place that satisfy a pin, best first. Eggs are considered only if no
    /// wheel is the best.
    fn fitting_offers(
        &self,
        wanted: &FileRequest<'_>,
        place: &PlaceId,
        search: &mut FailedSearch,
    ) -> Result<Vec<FileOffer>> {
        let client = self.store.client()?;
        let offers = client.offers(place, &wanted.pin.name)?;
        search.places.push(client.place_name(place));
        search.knows = !offers.is_empty();
        search.versions.extend(versions(&offers));
        let (fit, unfit) = wanted.sort(offers);
        search.unfit.extend(unfit);
        if let Some(DistFilename::WheelFilename(_)) = fit.first().map(|best| &best.dist) {
            return Ok(fit);
        }

        let eggs = client.linked_eggs(place, &wanted.pin.name)?;
        search.knows |= !eggs.is_empty();
        search.versions.extend(versions(&eggs));
        let (fit, unfit) = wanted.sort(fit.into_iter().chain(eggs).collect());
        search.unfit.extend(unfit);
        Ok(fit)
    }

    fn find_among(
        &self,
        wanted: &FileRequest<'_>,
        offers: Vec<FileOffer>,
        key: Option<&str>,
    ) -> Result<PinResolution> {
        let (offer, unfit) = first(wanted.sort(offers));
        match offer {
            Some(offer) => Ok(self.take(wanted, &offer, key)?),
            None => Err(FailedSearch {
                unfit,
                ..FailedSearch::default()
            }
            .error(wanted)),
        }
    }

    /// Brings a file into the cache, and stores it under `key` as the choice.
    fn take(
        &self,
        wanted: &FileRequest<'_>,
        offer: &FileOffer,
        key: Option<&str>,
    ) -> Result<PinResolution, StoreFailure> {
        if let Some(path) = offer.directory() {
            return Ok(PinResolution::Source(BuildSource::Egg {
                path,
                sha256: None,
                from: offer.file.clone(),
            }));
        }
        let (stored, from) = self.bring(wanted.pin, offer)?;
        let choice = CachedChoice {
            file: offer.file.clone(),
            sha256: stored.sha256,
            size: stored.size,
            from,
            yanked: offer.yanked.clone(),
        };
        if let Some(key) = key {
            self.remember(key, &choice)?;
            // A build that finds the file by its hash must record the same origin.
            self.remember(&choice.sha256.to_string(), &choice)?;
        }
        Ok(self.found(wanted.pin, &choice, stored, &offer.dist)?)
    }

    /// Brings a file into the cache unless it is already there. Also returns its origin.
    fn bring(&self, pin: &Pin, offer: &FileOffer) -> Result<(StoredFile, String), StoreFailure> {
        let kind = shelf(&offer.dist, &offer.file);
        let expected = ExpectedHashes {
            pin,
            locked: match pin.source {
                PinSource::Files(_) => &offer.hashes,
                _ => &[],
            },
            index: &offer.hashes,
        };
        let known = sha256_of(&offer.hashes)
            .first()
            .and_then(|sha256| self.store.find(&kind, *sha256, &offer.file, offer.size));

        let Some(path) = offer.path() else {
            let stored = match known {
                Some(stored) => stored,
                None => self.download(offer, &kind, expected)?,
            };
            return Ok((stored, without_secrets(&offer.url)));
        };
        // The offered file may be that of the cache.
        let choice = known
            .as_ref()
            .filter(|stored| stored.path == path)
            .and_then(|stored| self.choice(&stored.sha256.to_string()));
        let stored = match known {
            Some(stored) => stored,
            None => self.store.adopt(&path, &offer.file, &kind, expected)?,
        };
        let from = match (self.houses.origin(stored.sha256), choice) {
            (Some(origin), _) => origin.to_owned(),
            (None, Some(choice)) => choice.from,
            (None, None) => offer.file.clone(),
        };
        Ok((stored, from))
    }

    /// Downloads a file, unless a wheelhouse has it.
    fn download(
        &self,
        offer: &FileOffer,
        kind: &StoreKind,
        expected: ExpectedHashes<'_>,
    ) -> Result<StoredFile, StoreFailure> {
        match self.houses.file(&offer.file) {
            Some(path) => self.store.adopt(&path, &offer.file, kind, expected),
            None => self
                .store
                .download(&offer.url, &offer.file, offer.size, kind, expected),
        }
    }

    fn found(
        &self,
        pin: &Pin,
        choice: &CachedChoice,
        stored: StoredFile,
        dist: &DistFilename,
    ) -> Result<PinResolution> {
        if let Some(reason) = &choice.yanked {
            self.report
                .warning(&yanked_warning(pin, &choice.file, reason));
        }
        self.report
            .detail(&format!("{}: {}", label(pin), choice.from));
        let from = choice.from.clone();
        match dist {
            _ if is_egg(&choice.file) => Ok(PinResolution::Source(BuildSource::Egg {
                path: stored.path,
                sha256: Some(stored.sha256),
                from,
            })),
            DistFilename::SourceDistFilename(sdist) => {
                Ok(PinResolution::Source(BuildSource::Sdist {
                    stored,
                    extension: sdist.extension,
                    from,
                }))
            }
            DistFilename::WheelFilename(filename) => {
                let metadata = match stored.metadata {
                    Some(metadata) => *metadata,
                    None => self.store.metadata(&stored, filename)?,
                };
                Ok(PinResolution::Wheel(Box::new(Wheel {
                    filename: filename.clone(),
                    path: stored.path,
                    sha256: stored.sha256,
                    from,
                    built_from: None,
                    metadata,
                    pin: Some(pin.clone()),
                })))
            }
        }
    }

    fn wanted<'b>(&'b self, pin: &'b Pin) -> FileRequest<'b> {
        wanted(pin, self.lock, self.environment)
    }

    /// Returns the files in the cache with a hash that could satisfy a pin.
    fn cached(&self, pin: &Pin, sha256: Sha256Sum) -> Vec<FileOffer> {
        let shelves = [self.store.cache.wheels(), self.store.cache.sdists()];
        let kept = self.kept.get_or_init(|| {
            let entries = shelves
                .iter()
                .flat_map(std::fs::read_dir)
                .flatten()
                .flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        });
        if !kept.contains(&sha256.to_string()) {
            return Vec::new();
        }
        shelves
            .iter()
            .filter_map(|shelf| std::fs::read_dir(shelf.join(sha256.to_string())).ok())
            .flat_map(Iterator::flatten)
            .filter_map(|entry| cached_offer(pin, &entry.path(), sha256))
            .collect()
    }

    /// Returns the key of everything that decides which file satisfies a pin, except the files on
    /// offer.
    fn key(&self, wanted: &FileRequest<'_>) -> String {
        let (pin, indexes) = (wanted.pin, wanted.indexes);
        let mut hashes: Vec<String> = pin.hashes.iter().map(ToString::to_string).collect();
        hashes.sort_unstable();
        let places = urls_of_places(indexes, &pin.name);
        let Environment {
            python,
            arch,
            glibc,
            markers,
            ..
        } = wanted.environment;
        let source = match &pin.source {
            PinSource::Url(url) => without_secrets(url),
            _ => "index".to_owned(),
        };
        let question = [
            CHOICE_FORMAT.to_owned(),
            label(pin),
            source,
            format!(
                "{python} {} {arch} {glibc:?}",
                markers.python_full_version().version
            ),
            format!("{places:?} {:?} {}", indexes.wheelhouses, indexes.no_index),
            format!(
                "{} {}",
                indexes.only_binary.contains(&pin.name),
                indexes.no_binary.contains(&pin.name)
            ),
            format!("{hashes:?} {}", wanted.require_hashes),
        ];
        let mut sum = Sha256::new();
        for part in question {
            sum.update(part.as_bytes());
            sum.update([0]);
        }
        Sha256Sum(sum.finalize().into()).to_string()
    }

    fn recall(&self, wanted: &FileRequest<'_>, key: &str) -> Result<Option<PinResolution>> {
        let Some(choice) = self.choice(key) else {
            return Ok(None);
        };
        let Some(dist) = dist_of(wanted.pin, &choice.file) else {
            return Ok(None);
        };
        match self.store.find(
            &shelf(&dist, &choice.file),
            choice.sha256,
            &choice.file,
            Some(choice.size),
        ) {
            Some(stored) => self.found(wanted.pin, &choice, stored, &dist).map(Some),
            None => Ok(None),
        }
    }

    fn choice(&self, key: &str) -> Option<CachedChoice> {
        cache::read_sealed(&self.store.cache.pins().join(format!("{key}.json")))
    }

    fn remember(&self, key: &str, choice: &CachedChoice) -> Result<()> {
        self.store
            .cache
            .write(&self.store.cache.pins().join(format!("{key}.json")), choice)
    }
}

/// Returns the files that a lock names for a pin, and those that lack a required hash.
pub(super) fn locked_offers(
    pin: &Pin,
    files: &[LockedFile],
    require_hashes: bool,
) -> Result<(Vec<FileOffer>, FailedSearch)> {
    let mut offers = Vec::new();
    let mut search = FailedSearch::default();
    for file in files {
        if require_hashes && file.hashes.is_empty() {
            search.unfit.push(UnfitFile {
                file: file.name.clone(),
                why: Misfit::Hash(None),
            });
            continue;
        }
        let url = match &file.place {
            FilePlace::Url(url) => url.clone(),
            FilePlace::Path(path) => url::Url::from_file_path(path)
                .map_err(|()| Error::bug("a locked file has an absolute path"))?,
        };
        let mut offer = direct_offer(pin, &file.name, url, file.hashes.clone())?;
        offer.size = file.size;
        offers.push(offer);
    }
    Ok((offers, search))
}

pub(super) fn wanted<'a>(
    pin: &'a Pin,
    lock: &'a Lock,
    environment: &'a Environment,
) -> FileRequest<'a> {
    FileRequest {
        pin,
        environment,
        indexes: &lock.indexes,
        require_hashes: lock.require_hashes,
    }
}

fn versions(offers: &[FileOffer]) -> impl Iterator<Item = Version> {
    offers.iter().map(|offer| offer.dist.version().clone())
}

fn first<T, U>((items, rest): (Vec<T>, U)) -> (Option<T>, U) {
    (items.into_iter().next(), rest)
}

fn shelf(dist: &DistFilename, name: &str) -> StoreKind {
    match dist {
        _ if is_egg(name) => StoreKind::Sdist,
        DistFilename::WheelFilename(wheel) => StoreKind::Wheel(Box::new(wheel.clone())),
        DistFilename::SourceDistFilename(_) => StoreKind::Sdist,
    }
}

fn sha256_of(hashes: &[HashDigest]) -> Vec<Sha256Sum> {
    let sums = hashes
        .iter()
        .filter(|hash| hash.algorithm == HashAlgorithm::Sha256);
    sums.filter_map(|hash| Sha256Sum::from_hex(&hash.digest))
        .collect()
}

/// Parses a file name; an archive with a name of its own (`v1.2.tar.gz` of a forge) is treated as
/// an sdist of the pin.
fn dist_of(pin: &Pin, name: &str) -> Option<DistFilename> {
    if let Some(dist) = DistFilename::try_from_filename(name, &pin.name) {
        return (*dist.name() == pin.name).then_some(dist);
    }
    if name.ends_with(".whl") {
        return None;
    }
    if is_egg(name) {
        // Its tags are those of the wheel that it will become.
        let wheel = EggFilename::parse(name).ok()?.wheel().ok()?;
        return (wheel.name == pin.name).then_some(DistFilename::WheelFilename(wheel));
    }
    let extension = SourceDistExtension::from_path(name).ok()?;
    let version = pin.version.clone().unwrap_or_else(|| Version::new([0]));
    Some(DistFilename::SourceDistFilename(SourceDistFilename {
        name: pin.name.clone(),
        version,
        extension,
    }))
}

pub(super) fn direct_offer(
    pin: &Pin,
    name: &str,
    url: url::Url,
    hashes: Vec<HashDigest>,
) -> Result<FileOffer> {
    let Some(dist) = dist_of(pin, name) else {
        return Err(not_of_pin(pin, name).at(pin.at.clone()));
    };
    let is = dist.version();
    let is_pinned = |wanted: &Version| wanted == is || *wanted == is.clone().without_local();
    if !pin.version.as_ref().is_none_or(is_pinned) {
        return Err(Error::new(format!(
            "`{name}` is version {is}, but `{}` is pinned",
            label(pin)
        ))
        .at(pin.at.clone()));
    }
    Ok(FileOffer {
        file: name.to_owned(),
        dist,
        url,
        hashes,
        size: None,
        requires_python: None,
        yanked: None,
    })
}

/// Returns the error that a file is not one of the pinned distribution.
fn not_of_pin(pin: &Pin, name: &str) -> Error {
    if is_egg(name) {
        return match EggFilename::parse(name) {
            Ok(other) => Error::new(format!(
                "`{name}` is an egg of `{}`, not of `{}`",
                other.name, pin.name
            )),
            Err(why) => Error::new(format!("`{name}` is not a valid egg name")).cause_text(why),
        };
    }
    match WheelFilename::from_str(name) {
        Ok(other) => Error::new(format!(
            "`{name}` is a wheel of `{}`, not of `{}`",
            other.name, pin.name
        )),
        Err(error) => Error::new(format!(
            "`{name}` is neither a wheel nor an sdist of `{}`",
            pin.name
        ))
        .cause(error),
    }
}

/// Returns the URLs of all places for a distribution, without secrets.
fn urls_of_places(indexes: &Indexes, name: &PackageName) -> Vec<String> {
    let places = indexes.places(name);
    let links = if places.contains(&PlaceId::FindLinks) {
        &indexes.find_links[..]
    } else {
        &[]
    };
    let urls = places.iter().filter_map(|place| indexes.url(place));
    links
        .iter()
        .map(without_secrets)
        .chain(urls.map(|url| without_secrets(&url)))
        .collect()
}

/// Returns a file of the cache as an offer for a pin, if its name is one of the distribution.
fn cached_offer(pin: &Pin, path: &Path, sha256: Sha256Sum) -> Option<FileOffer> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let url = url::Url::from_file_path(path).ok()?;
    if DistFilename::try_from_filename(&name, &pin.name).is_none() && !is_egg(&name) {
        return None;
    }
    let hash = HashDigest {
        algorithm: HashAlgorithm::Sha256,
        digest: sha256.to_string().into(),
    };
    direct_offer(pin, &name, url, vec![hash]).ok()
}
