//! From a lock to wheels in the cache.
//!
//! [`fetch`] looks for each pin in this order: the choice that an earlier build made for the same
//! question (`pins/` of the cache), the cache itself if the pin's hash leaves no choice, then the
//! places of [`Indexes::places`]. The first index that knows the name decides: a distribution of
//! the same name in a later one can't push itself in front, nor fill in a version that is missing.
//! Only a pin with a hash is looked for further on. Within a place the order is pip's. Sdists, eggs
//! and projects become wheels last ([`sdist`]).
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails with the value"
    )
)]

pub mod elf;

mod address;
pub mod archive;
mod backend;
pub mod choice;
mod debug;
pub mod egg;
pub mod elsewhere;
mod git;
mod hg;
pub mod index;
mod inflate;
mod linkage;
pub mod missing;
mod needs;
mod pack;
pub mod page;
mod project;
mod requires;
pub mod sdist;
pub mod store;
pub mod survey;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod unpack;
pub mod wheelhouse;
mod window;

pub use backend::BuildSystem;
pub use linkage::LinkageRules;

use std::collections::HashSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use pkgapp_pypa::{DistFilename, SourceDistExtension, SourceDistFilename};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use choice::{FailedSearch, FileRequest, Misfit, UnfitFile, label, yanked_warning};
use index::{FileOffer, without_secrets};
use pkgapp_core::cache::{self, Cache};
use pkgapp_core::commit::Epoch;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::parallel;
use pkgapp_core::report::{ProgressUnit, Report, human_bytes};
use pkgapp_http::percent_decoded;
use pkgapp_lock::index::PlaceId;
use pkgapp_lock::{FilePlace, Indexes, Lock, LockedFile, Pin, PinSource};
use pkgapp_pypa::egg::{EggFilename, is_egg};
use pkgapp_pypa::{Environment, HashAlgorithm, HashDigest, PackageName, Version, WheelFilename};
use sdist::WheelBuilder;
use store::{ExpectedHashes, FileStore, StoreFailure, StoreKind, StoredFile};
use wheelhouse::Wheelhouses;

/// Counts in the key of a choice: to be raised when choices are made otherwise.
const CHOICE_FORMAT: &str = "pkgapp choice 2";

/// A wheel that is in the cache, whole and checked.
#[derive(Debug, Clone)]
pub struct Wheel {
    /// What its file name says; its METADATA agrees.
    pub filename: WheelFilename,
    /// The file in the cache, named as on the index.
    pub path: PathBuf,
    /// The file's SHA-256.
    pub sha256: Sha256Sum,
    /// Where it came from, without secrets: a URL, a path's file name, or `built from …`.
    pub from: String,
    /// The source, if it was built on this machine, so that its bytes may name it.
    pub built_from: Option<BuiltFrom>,
    /// `Requires-Dist` etc.
    pub metadata: WheelMetadata,
    /// The pin it answers; `None` for the application itself.
    pub pin: Option<Pin>,
}

/// The source that a wheel was built from on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFrom {
    /// An sdist in the cache, or a project's directory.
    pub path: PathBuf,
    /// Identifies its content and everything else that went into the build.
    pub key: String,
}

impl BuiltFrom {
    /// Returns the source's files; an sdist is unpacked below `room` first.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn files(&self, room: &Path) -> Result<Vec<PathBuf>> {
        let files = |directory: &Path| {
            let files = project::project_files(directory)?;
            Ok(files.into_iter().map(|file| directory.join(file)).collect())
        };
        if self.path.is_dir() {
            return files(&self.path);
        }
        let entries = walkdir::WalkDir::new(sdist::unpacked(&self.path, room)?)
            .sort_by_file_name()
            .into_iter();
        Ok(entries
            .filter_map(std::result::Result::ok)
            .map(walkdir::DirEntry::into_path)
            .collect())
    }
}

/// What a wheel's METADATA says, as far as pkgapp needs it (core metadata specification).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WheelMetadata {
    /// Normalised name.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// `Requires-Dist`, verbatim.
    pub requires: Vec<String>,
    /// `Requires-Python`, verbatim.
    pub requires_python: Option<String>,
    /// `Provides-Extra`, verbatim.
    pub extras: Vec<String>,
    /// `Summary`.
    pub summary: Option<String>,
    /// `License-Expression`, else `License`, else what the classifiers say.
    pub license: Option<String>,
    /// Where RECORD and the archive list different files, in a sentence that names the first of
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_gap: Option<String>,
}

/// How wheels are fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions<'a> {
    /// Use no network.
    pub offline: bool,
    /// How many files are read at a time; 8 is a good number.
    pub jobs: usize,
    /// The time of everything that is built.
    pub epoch: Epoch<'a>,
    /// How it is built.
    pub rules: &'a LinkageRules,
}

/// Judges a set before anything of it is built: the wheels that are there, and the pins that have
/// none yet.
pub type EarlyCheck<'a> = dyn Fn(&[Wheel], &[&Pin]) -> Result<()> + 'a;

/// Makes of every pin a wheel in the cache, sorted by name.
///
/// # Errors
/// All that fail, joined: no file fits, a wrong hash, a wheel that is refused, what `early` says,
/// the network. If that is nothing: builds that fail.
pub fn fetch(
    lock: &Lock,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
    early: &EarlyCheck<'_>,
    report: &Report,
) -> Result<Vec<Wheel>> {
    let start = Instant::now();
    let (found, downloaded) = {
        let progress = report.progress("wheels", 0, ProgressUnit::Bytes);
        let store = FileStore::new(cache, &lock.indexes, options.offline, &progress);
        let houses = Wheelhouses::read(&lock.indexes.wheelhouses);
        let fetcher = Fetcher {
            lock,
            environment,
            store: &store,
            houses: &houses,
            report,
            kept: OnceLock::new(),
        };
        (
            parallel::map(&lock.pins, options.jobs, |pin| fetcher.find(pin)),
            store.downloaded(),
        )
    };
    let builder = WheelBuilder::new(cache, environment, &lock.indexes, options, report);
    let (mut wheels, mut sources, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (pin, found) in lock.pins.iter().zip(found) {
        match found {
            Ok(PinResolution::Wheel(wheel)) => match check_record(&wheel, options.rules) {
                Ok(()) => wheels.push(*wheel),
                Err(error) => errors.push((pin, error)),
            },
            Ok(PinResolution::Source(source)) => sources.push((pin, source)),
            Err(error) => errors.push((pin, error)),
        }
    }
    let has_wheel = |pin: &Pin| wheels.iter().any(|wheel| wheel.filename.name == pin.name);
    let waiting: Vec<&Pin> = lock.pins.iter().filter(|pin| !has_wheel(pin)).collect();
    let unmet = early(&wheels, &waiting).err();
    // A set that has no answer is not worth compiling half of.
    if let Some(error) = Error::all(distinct(errors).into_iter().chain(unmet)) {
        return Err(error);
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut errors = Vec::new();
    let built = parallel::map(&sources, cores, |(pin, source)| {
        build(pin, source, &builder, lock, environment)
    });
    for ((pin, _), wheel) in sources.iter().zip(built) {
        match wheel {
            Ok(wheel) => wheels.push(wheel),
            Err(error) => errors.push((*pin, error)),
        }
    }
    if !errors.is_empty() {
        errors = elsewhere::advise(errors, lock, environment, cache, options);
    }
    if let Some(error) = Error::all(distinct(errors)) {
        return Err(error);
    }
    wheels.sort_by(|a, b| a.filename.name.cmp(&b.filename.name));
    let summary = match downloaded {
        (0, _) => String::new(),
        (files, bytes) => format!(", {files} downloaded ({})", human_bytes(bytes)),
    };
    let built = if builder.built() == 0 {
        String::new()
    } else {
        format!(", {} built", builder.built())
    };
    report.step(&format!(
        "wheels: {}{summary}{built} ({:.1} s)",
        wheels.len(),
        start.elapsed().as_secs_f64()
    ));
    Ok(wheels)
}

/// Refuses a wheel whose RECORD lists other files than its archive, unless the configuration
/// accepts that.
fn check_record(wheel: &Wheel, rules: &LinkageRules) -> Result<()> {
    let (name, filename) = (&wheel.filename.name, &wheel.filename);
    match &wheel.metadata.record_gap {
        Some(gap) if !rules.record_gaps.contains(name) => {
            Err(Error::new(format!("wheel `{filename}` is refused: {gap}")).hint(format!(
                "pin another version; or, if you trust this wheel as it is, write `allow-record-gaps = [\"{name}\"]` \
                 below `[python]`"
            )))
        }
        _ => Ok(()),
    }
    .map_err(|error: Error| wheel.pin.iter().fold(error, |error, pin| error.at(pin.at.clone())))
}

/// What a pin came to, as it is kept: a wheel or an sdist in the cache.
#[derive(Debug)]
pub struct KeptFile {
    /// The pin.
    pub pin: Pin,
    /// The version that ships.
    pub version: Version,
    /// What the file is.
    pub kept: CachedPin,
    /// Where it is.
    pub path: PathBuf,
    /// Its name, as on the index.
    pub name: String,
    /// Its SHA-256.
    pub sha256: Sha256Sum,
    /// Its length in bytes.
    pub size: u64,
    /// Where it is from, without secrets.
    pub from: String,
}

/// What is kept of a pin.
#[derive(Debug)]
pub enum CachedPin {
    /// The wheel that was pinned.
    Wheel,
    /// The sdist that was pinned.
    Sdist,
    /// The wheel that was built from a directory; and where that is from if it is a checkout.
    Project(PathBuf, Option<String>),
}

/// Returns for every pin the file that it came to, once [`fetch`] has brought it.
///
/// # Errors
/// As [`fetch`], if something of the cache is gone by now.
pub fn kept(
    lock: &Lock,
    wheels: &[Wheel],
    environment: &Environment,
    cache: &Cache,
    offline: bool,
) -> Result<Vec<KeptFile>> {
    // All of it has been said by `fetch`.
    let report = Report::silent();
    let progress = report.progress("wheels", 0, ProgressUnit::Bytes);
    let store = FileStore::new(cache, &lock.indexes, offline, &progress);
    let houses = Wheelhouses::read(&lock.indexes.wheelhouses);
    let fetcher = Fetcher {
        lock,
        environment,
        store: &store,
        houses: &houses,
        report: &report,
        kept: OnceLock::new(),
    };
    let file = |wheel: &Wheel| {
        let Some(pin) = &wheel.pin else {
            return Ok(None);
        };
        let (kept, path, sha256, from) = match fetcher.find(pin)? {
            PinResolution::Wheel(wheel) => (CachedPin::Wheel, wheel.path, wheel.sha256, wheel.from),
            PinResolution::Source(BuildSource::Sdist { stored, from, .. }) => {
                (CachedPin::Sdist, stored.path, stored.sha256, from)
            }
            PinResolution::Source(BuildSource::Directory(directory)) => (
                CachedPin::Project(directory, None),
                wheel.path.clone(),
                wheel.sha256,
                wheel.from.clone(),
            ),
            // The wheel that it became: pip takes no eggs.
            PinResolution::Source(BuildSource::Egg { from, .. }) => {
                (CachedPin::Wheel, wheel.path.clone(), wheel.sha256, from)
            }
            PinResolution::Source(BuildSource::Checkout { directory, from }) => (
                CachedPin::Project(directory, Some(from.clone())),
                wheel.path.clone(),
                wheel.sha256,
                from,
            ),
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let (pin, version) = (pin.clone(), wheel.metadata.version.clone());
        Ok(Some(KeptFile {
            pin,
            version,
            kept,
            path,
            name,
            sha256,
            size,
            from,
        }))
    };
    wheels
        .iter()
        .filter_map(|wheel| file(wheel).transpose())
        .collect()
}

/// Builds the application's own wheel from its directory, which is not touched. `indexes` is where
/// its build requirements are looked for.
///
/// # Errors
/// It is no project, the build fails, or what is built does not fit `environment`.
pub fn application(
    directory: &Path,
    indexes: &Indexes,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
    report: &Report,
) -> Result<Wheel> {
    WheelBuilder::new(cache, environment, indexes, options, report).project(directory)
}

/// Chooses and brings what builds projects that need this, as their builds will; sorted by name.
///
/// # Errors
/// There is nothing that fits, or it can't be fetched.
pub fn build_tools(
    requires: &[String],
    indexes: &Indexes,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
    report: &Report,
) -> Result<Vec<Wheel>> {
    WheelBuilder::new(cache, environment, indexes, options, report).tools(requires)
}

/// What a pin came to before anything is built.
enum PinResolution {
    Wheel(Box<Wheel>),
    Source(BuildSource),
}

/// What a wheel is built from.
enum BuildSource {
    Sdist {
        stored: StoredFile,
        extension: SourceDistExtension,
        from: String,
    },
    Directory(PathBuf),
    /// An egg: a file of the cache with its sum, or a directory.
    Egg {
        path: PathBuf,
        sha256: Option<Sha256Sum>,
        from: String,
    },
    /// A project of a repository, and what the record names.
    Checkout {
        directory: PathBuf,
        from: String,
    },
}

/// A choice as it is kept in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct CachedChoice {
    file: String,
    sha256: Sha256Sum,
    size: u64,
    from: String,
    yanked: Option<String>,
}

struct Fetcher<'a> {
    lock: &'a Lock,
    environment: &'a Environment,
    store: &'a FileStore<'a>,
    houses: &'a Wheelhouses,
    report: &'a Report,
    /// The hashes that the cache has files of: a pin has many more, of files for other machines.
    kept: OnceLock<HashSet<String>>,
}

impl Fetcher<'_> {
    fn find(&self, pin: &Pin) -> Result<PinResolution> {
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

    /// A wheel that an export has built from the commit goes before the commit: there may be no way
    /// to that.
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
            // It may be one for another Python.
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
        // A directory changes under its name, and is looked at in no time: without hashes it is
        // asked each time.
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
        let hashes = sha256_of(&pin.hashes);
        if hashes.len() == 1 || (self.store.offline && !hashes.is_empty()) {
            let cached = hashes
                .iter()
                .flat_map(|hash| self.cached(pin, *hash))
                .collect();
            if let (Some(offer), _) = first(wanted.sort(cached)) {
                return self.take(&wanted, &offer, None).map_err(Error::from);
            }
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

    /// Whether a place is directories of this machine only.
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
        let client = self.store.client()?;
        let offers = client.offers(place, &wanted.pin.name)?;
        search.places.push(client.place_name(place));
        let versions = |offers: &[FileOffer]| {
            offers
                .iter()
                .map(|offer| offer.dist.version().clone())
                .collect::<Vec<_>>()
        };
        let (mut knows, seen) = (!offers.is_empty(), versions(&offers));
        search.versions.extend(seen);
        let (mut fit, unfit) = wanted.sort(offers);
        search.unfit.extend(unfit);
        if !fit
            .first()
            .is_some_and(|best| matches!(best.dist, DistFilename::WheelFilename(_)))
        {
            let eggs = client.linked_eggs(place, &wanted.pin.name)?;
            knows |= !eggs.is_empty();
            search.versions.extend(versions(&eggs));
            let (sorted, unfit) = wanted.sort(fit.into_iter().chain(eggs).collect());
            search.unfit.extend(unfit);
            fit = sorted;
        }
        search.knows = knows;
        for offer in fit {
            match self.take(wanted, &offer, key) {
                Ok(found) => return Ok(Some(found)),
                // The index did not say the hash; another file may have it.
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

    /// Brings a file into the cache, and remembers under `key` that it was the answer.
    fn take(
        &self,
        wanted: &FileRequest<'_>,
        offer: &FileOffer,
        key: Option<&str>,
    ) -> Result<PinResolution, StoreFailure> {
        let pin = wanted.pin;
        if let Some(path) = offer.directory() {
            let from = offer.file.clone();
            return Ok(PinResolution::Source(BuildSource::Egg {
                path,
                sha256: None,
                from,
            }));
        }
        let shelf = shelf(&offer.dist, &offer.file);
        let locked = if matches!(pin.source, PinSource::Files(_)) {
            &offer.hashes[..]
        } else {
            &[]
        };
        let expected = ExpectedHashes {
            pin,
            locked,
            index: &offer.hashes,
        };
        let known = sha256_of(&offer.hashes).first().copied();
        let known =
            known.and_then(|sha256| self.store.find(&shelf, sha256, &offer.file, offer.size));
        let file = offer.path();
        let (stored, from) = match (known, &file) {
            (Some(stored), Some(path)) if stored.path == *path => {
                let origin = self
                    .choice(&stored.sha256.to_string())
                    .map_or_else(|| offer.file.clone(), |choice| choice.from);
                (stored, origin)
            }
            (Some(stored), Some(_)) => (stored, offer.file.clone()),
            (Some(stored), None) => (stored, without_secrets(&offer.url)),
            (None, Some(path)) => (
                self.store.adopt(path, &offer.file, &shelf, expected)?,
                offer.file.clone(),
            ),
            (None, None) => {
                let stored = match self.houses.file(&offer.file) {
                    Some(path) => self.store.adopt(&path, &offer.file, &shelf, expected)?,
                    None => self.store.download(
                        &offer.url,
                        &offer.file,
                        offer.size,
                        &shelf,
                        expected,
                    )?,
                };
                (stored, without_secrets(&offer.url))
            }
        };
        let from = match self.houses.origin(stored.sha256) {
            Some(origin) if file.is_some() => origin.to_owned(),
            _ => from,
        };
        let choice = CachedChoice {
            file: offer.file.clone(),
            sha256: stored.sha256,
            size: stored.size,
            from,
            yanked: offer.yanked.clone(),
        };
        if let Some(key) = key {
            self.remember(key, &choice)?;
            // A build that finds the file by its hash must name the same origin.
            self.remember(&choice.sha256.to_string(), &choice)?;
        }
        Ok(self.found(pin, &choice, stored, &offer.dist)?)
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
        match dist {
            _ if is_egg(&choice.file) => {
                let (path, sha256, from) = (stored.path, Some(stored.sha256), choice.from.clone());
                Ok(PinResolution::Source(BuildSource::Egg {
                    path,
                    sha256,
                    from,
                }))
            }
            DistFilename::SourceDistFilename(sdist) => {
                let source = BuildSource::Sdist {
                    stored,
                    extension: sdist.extension,
                    from: choice.from.clone(),
                };
                Ok(PinResolution::Source(source))
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
                    from: choice.from.clone(),
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

    /// The files of the cache that have a hash and could answer a pin.
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
        let mut offers = Vec::new();
        if !kept.contains(&sha256.to_string()) {
            return offers;
        }
        for shelf in shelves {
            let Ok(entries) = std::fs::read_dir(shelf.join(sha256.to_string())) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(url) = url::Url::from_file_path(entry.path()) else {
                    continue;
                };
                if DistFilename::try_from_filename(&name, &pin.name).is_some() || is_egg(&name) {
                    let hash = HashDigest {
                        algorithm: HashAlgorithm::Sha256,
                        digest: sha256.to_string().into(),
                    };
                    offers.extend(direct_offer(pin, &name, url, vec![hash]).ok());
                }
            }
        }
        offers
    }

    /// Everything that decides which file answers a pin, but what the places offer.
    fn key(&self, wanted: &FileRequest<'_>) -> String {
        let (pin, indexes) = (wanted.pin, wanted.indexes);
        let mut hashes: Vec<String> = pin.hashes.iter().map(ToString::to_string).collect();
        hashes.sort_unstable();
        let places = indexes.places(&pin.name);
        let links = if places.contains(&PlaceId::FindLinks) {
            &indexes.find_links[..]
        } else {
            &[]
        };
        let urls = places.iter().filter_map(|place| indexes.url(place));
        let places: Vec<String> = links
            .iter()
            .map(without_secrets)
            .chain(urls.map(|url| without_secrets(&url)))
            .collect();
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

/// The files that a lock names for a pin, and those of them that lack a hash it must have.
fn locked_offers(
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

fn wanted<'a>(pin: &'a Pin, lock: &'a Lock, environment: &'a Environment) -> FileRequest<'a> {
    FileRequest {
        pin,
        environment,
        indexes: &lock.indexes,
        require_hashes: lock.require_hashes,
    }
}

fn build(
    pin: &Pin,
    source: &BuildSource,
    builder: &WheelBuilder<'_>,
    lock: &Lock,
    environment: &Environment,
) -> Result<Wheel> {
    let built = match source {
        BuildSource::Sdist {
            stored,
            extension,
            from,
        } => builder.sdist(stored, *extension, from),
        BuildSource::Directory(path) => builder.working_tree(path),
        BuildSource::Egg { path, sha256, from } => builder.egg(&sdist::EggSource {
            path,
            sha256: *sha256,
            from,
        }),
        BuildSource::Checkout { directory, from } => builder.checkout(directory, from),
    };
    let wheel = built.map_err(|error| error.at(pin.at.clone()))?;
    let (name, version) = (&wheel.filename.name, &wheel.filename.version);
    if *name != pin.name || !wanted(pin, lock, environment).is_version(version) {
        return Err(
            Error::new(format!("building `{}` gave `{name} {version}`", label(pin)))
                .at(pin.at.clone()),
        );
    }
    Ok(Wheel {
        pin: Some(pin.clone()),
        ..wheel
    })
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

/// What a file name says; an archive with a name of its own (`v1.2.tar.gz` of a forge) is an sdist
/// of the pin.
fn dist_of(pin: &Pin, name: &str) -> Option<DistFilename> {
    if let Some(dist) = DistFilename::try_from_filename(name, &pin.name) {
        return (*dist.name() == pin.name).then_some(dist);
    }
    if name.ends_with(".whl") {
        return None;
    }
    if is_egg(name) {
        // Its tags are those of the wheel that it becomes.
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

fn direct_offer(
    pin: &Pin,
    name: &str,
    url: url::Url,
    hashes: Vec<HashDigest>,
) -> Result<FileOffer> {
    let Some(dist) = dist_of(pin, name) else {
        if is_egg(name) {
            let error = match EggFilename::parse(name) {
                Ok(other) => Error::new(format!(
                    "`{name}` is an egg of `{}`, not of `{}`",
                    other.name, pin.name
                )),
                Err(why) => Error::new(format!("`{name}` is no name for an egg")).cause_text(why),
            };
            return Err(error.at(pin.at.clone()));
        }
        let error = match WheelFilename::from_str(name) {
            Ok(other) => Error::new(format!(
                "`{name}` is a wheel of `{}`, not of `{}`",
                other.name, pin.name
            )),
            Err(error) => Error::new(format!(
                "`{name}` is neither a wheel nor an sdist of `{}`",
                pin.name
            ))
            .cause(error),
        };
        return Err(error.at(pin.at.clone()));
    };
    let wanted = pin.version.as_ref();
    if wanted.is_some_and(|wanted| {
        wanted != dist.version() && *wanted != dist.version().clone().without_local()
    }) {
        let is = dist.version();
        return Err(Error::new(format!(
            "`{name}` is version {is}, and `{}` is pinned",
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

/// How many pins an error names that is about all of them.
const SHOWN_PINS: usize = 8;

/// One error for one reason: an index that is away is reported once, with the pins that it is
/// needed for.
fn distinct(errors: Vec<(&Pin, Error)>) -> Vec<Error> {
    let mut kept: Vec<(Error, Vec<&Pin>)> = Vec::new();
    for (pin, error) in errors {
        match kept
            .iter_mut()
            .find(|(known, _)| known.message() == error.message())
        {
            Some((_, pins)) => pins.push(pin),
            None => kept.push((error, vec![pin])),
        }
    }
    let noted = |(error, pins): (Error, Vec<&Pin>)| {
        if pins
            .iter()
            .any(|pin| error.message().contains(pin.name.as_str()))
        {
            return error;
        }
        let names: Vec<String> = pins
            .iter()
            .take(SHOWN_PINS)
            .map(|pin| format!("`{}`", pinned(pin)))
            .collect();
        let more = match pins.len().saturating_sub(SHOWN_PINS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        error.note(format!("it is needed for {}{more}", names.join(", ")))
    };
    kept.into_iter().map(noted).collect()
}

/// A pin as a requirement has it, e.g. `flask==3.0.0`.
fn pinned(pin: &Pin) -> String {
    match &pin.version {
        Some(version) => format!("{}=={version}", pin.name),
        None => pin.name.to_string(),
    }
}
