//! Processes all pins of a lock: finds their files, checks the set, and builds.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use pkgapp_core::cache::Cache;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::parallel;
use pkgapp_core::report::{ProgressUnit, Report, human_bytes};
use pkgapp_lock::{Lock, Pin};
use pkgapp_pypa::{Environment, Version};

use super::choice::label;
use super::find::{BuildSource, Fetcher, PinResolution, wanted};
use super::sdist::{self, WheelBuilder};
use super::store::FileStore;
use super::wheelhouse::Wheelhouses;
use super::{EarlyCheck, FetchOptions, LinkageRules, Wheel, elsewhere};

/// Provides a wheel in the cache for every pin, sorted by name.
///
/// # Errors
/// Returns all failures, joined: no compatible file, a wrong hash, a refused wheel, the errors of
/// `early`, network errors. Without such failures, returns those of builds.
pub fn fetch(
    lock: &Lock,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
    early: &EarlyCheck<'_>,
    report: &Report,
) -> Result<Vec<Wheel>> {
    let start = Instant::now();
    let (found, downloaded) = find_all(lock, environment, cache, options, report);
    let SortedPins {
        mut wheels,
        sources,
        errors,
    } = SortedPins::of(&lock.pins, found, options.rules);

    let has_wheel = |pin: &Pin| wheels.iter().any(|wheel| wheel.filename.name == pin.name);
    let waiting: Vec<&Pin> = lock.pins.iter().filter(|pin| !has_wheel(pin)).collect();
    let unmet = early(&wheels, &waiting).err();
    // An inconsistent set is not worth compiling half of it.
    if let Some(error) = Error::all(distinct(errors).into_iter().chain(unmet)) {
        return Err(error);
    }

    let builder = WheelBuilder::new(cache, environment, &lock.indexes, options, report);
    let (built, mut errors) = build_all(&sources, &builder, lock, environment);
    if !errors.is_empty() {
        errors = elsewhere::advise(errors, lock, environment, cache, options);
    }
    if let Some(error) = Error::all(distinct(errors)) {
        return Err(error);
    }

    wheels.extend(built);
    wheels.sort_by(|a, b| a.filename.name.cmp(&b.filename.name));
    report.step(&summary(
        wheels.len(),
        downloaded,
        builder.built(),
        start.elapsed(),
    ));
    Ok(wheels)
}

/// Provides the wheel of a lock's only pin in the cache, and builds nothing: `None` if the pin is
/// the source of a wheel.
///
/// # Errors
/// As for [`fetch`].
pub fn fetch_published(
    lock: &Lock,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
    report: &Report,
) -> Result<Option<Wheel>> {
    let (mut found, _) = find_all(lock, environment, cache, options, report);
    match found.pop() {
        Some(Ok(PinResolution::Wheel(wheel))) => {
            check_record(&wheel, options.rules)?;
            Ok(Some(*wheel))
        }
        Some(Ok(PinResolution::Source(_))) => Ok(None),
        Some(Err(error)) => Err(error),
        None => Err(Error::bug("a lock without a pin was searched for a wheel")),
    }
}

/// Finds all pins; also returns how many files were downloaded, and their bytes.
fn find_all(
    lock: &Lock,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
    report: &Report,
) -> (Vec<Result<PinResolution>>, (u64, u64)) {
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
    let found = parallel::map(&lock.pins, options.jobs, |pin| fetcher.find(pin));
    (found, store.downloaded())
}

/// Pins by the results of their search.
struct SortedPins<'a> {
    wheels: Vec<Wheel>,
    /// Pins that are still to be built.
    sources: Vec<(&'a Pin, BuildSource)>,
    errors: Vec<(&'a Pin, Error)>,
}

impl<'a> SortedPins<'a> {
    fn of(pins: &'a [Pin], found: Vec<Result<PinResolution>>, rules: &LinkageRules) -> Self {
        let mut sorted = Self {
            wheels: Vec::new(),
            sources: Vec::new(),
            errors: Vec::new(),
        };
        for (pin, found) in pins.iter().zip(found) {
            match found {
                Ok(PinResolution::Wheel(wheel)) => match check_record(&wheel, rules) {
                    Ok(()) => sorted.wheels.push(*wheel),
                    Err(error) => sorted.errors.push((pin, error)),
                },
                Ok(PinResolution::Source(source)) => sorted.sources.push((pin, source)),
                Err(error) => sorted.errors.push((pin, error)),
            }
        }
        sorted
    }
}

/// Builds wheels, as many at a time as there are cores; returns them, and the failures.
fn build_all<'a>(
    sources: &[(&'a Pin, BuildSource)],
    builder: &WheelBuilder<'_>,
    lock: &Lock,
    environment: &Environment,
) -> (Vec<Wheel>, Vec<(&'a Pin, Error)>) {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let results = parallel::map(sources, cores, |(pin, source)| {
        build(pin, source, builder, lock, environment)
    });
    let mut wheels = Vec::new();
    let mut errors = Vec::new();
    for ((pin, _), result) in sources.iter().zip(results) {
        match result {
            Ok(wheel) => wheels.push(wheel),
            Err(error) => errors.push((*pin, error)),
        }
    }
    (wheels, errors)
}

fn summary(wheels: usize, downloaded: (u64, u64), built: usize, took: Duration) -> String {
    let downloaded = match downloaded {
        (0, _) => String::new(),
        (files, bytes) => format!(", {files} downloaded ({})", human_bytes(bytes)),
    };
    let built = match built {
        0 => String::new(),
        built => format!(", {built} built"),
    };
    let seconds = took.as_secs_f64();
    format!("wheels: {wheels}{downloaded}{built} ({seconds:.1} s)")
}

/// Refuses a wheel whose RECORD does not match its archive, unless the configuration accepts that.
pub(super) fn check_record(wheel: &Wheel, rules: &LinkageRules) -> Result<()> {
    let (name, filename) = (&wheel.filename.name, &wheel.filename);
    match &wheel.metadata.record_gap {
        Some(gap) if !rules.record_gaps.contains(name) => {
            Err(Error::new(format!("wheel `{filename}` is refused: {gap}")).hint(format!(
                "pin another version; or, if you trust this wheel, add `allow-record-gaps = [\"{name}\"]` \
                 to `[python]`"
            )))
        }
        _ => Ok(()),
    }
    .map_err(|error: Error| wheel.pin.iter().fold(error, |error, pin| error.at(pin.at.clone())))
}

/// The result of a pin for `pkgapp cache export`: a wheel or sdist in the cache.
#[derive(Debug)]
pub struct KeptFile {
    /// The pin.
    pub pin: Pin,
    /// The version that ships.
    pub version: Version,
    /// The kind of the file.
    pub kept: CachedPin,
    /// Its path.
    pub path: PathBuf,
    /// Its name, as on the index.
    pub name: String,
    /// Its SHA-256.
    pub sha256: Sha256Sum,
    /// Its length in bytes.
    pub size: u64,
    /// Its origin, without secrets.
    pub from: String,
}

/// The kind of a kept file.
#[derive(Debug)]
pub enum CachedPin {
    /// A pinned wheel.
    Wheel,
    /// A pinned sdist.
    Sdist,
    /// A wheel that was built from a directory, with its origin if that is a checkout.
    Project(PathBuf, Option<String>),
}

/// Returns the file of every pin after [`fetch`].
///
/// # Errors
/// Like [`fetch`], if a file has disappeared from the cache since.
pub fn kept(
    lock: &Lock,
    wheels: &[Wheel],
    environment: &Environment,
    cache: &Cache,
    offline: bool,
) -> Result<Vec<KeptFile>> {
    // `fetch` has already reported all of this.
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
    let pinned = wheels
        .iter()
        .filter_map(|wheel| Some((wheel, wheel.pin.as_ref()?)));
    pinned
        .map(|(wheel, pin)| KeptFile::of(wheel, pin, fetcher.find(pin)?))
        .collect()
}

impl KeptFile {
    /// Returns the file of a pin with this wheel.
    fn of(wheel: &Wheel, pin: &Pin, found: PinResolution) -> Result<Self> {
        let file = match found {
            PinResolution::Wheel(wheel) => CachedFile {
                kept: CachedPin::Wheel,
                path: wheel.path,
                sha256: wheel.sha256,
                from: wheel.from,
            },
            PinResolution::Source(source) => CachedFile::of_source(wheel, source),
        };
        let name = file
            .path
            .file_name()
            .ok_or_else(|| Error::bug("a file of the cache has no name"))?
            .to_string_lossy()
            .into_owned();
        let size = std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        Ok(Self {
            pin: pin.clone(),
            version: wheel.metadata.version.clone(),
            kept: file.kept,
            path: file.path,
            name,
            sha256: file.sha256,
            size,
            from: file.from,
        })
    }
}

/// Describes a file in the cache.
struct CachedFile {
    kept: CachedPin,
    path: PathBuf,
    sha256: Sha256Sum,
    from: String,
}

impl CachedFile {
    /// Returns the file of a pinned source, or the wheel that was built from it.
    fn of_source(wheel: &Wheel, source: BuildSource) -> Self {
        let built = |kept: CachedPin, from: String| Self {
            kept,
            path: wheel.path.clone(),
            sha256: wheel.sha256,
            from,
        };
        match source {
            BuildSource::Sdist { stored, from, .. } => Self {
                kept: CachedPin::Sdist,
                path: stored.path,
                sha256: stored.sha256,
                from,
            },
            BuildSource::Directory(directory) => {
                built(CachedPin::Project(directory, None), wheel.from.clone())
            }
            // An egg is kept as its wheel: pip does not accept eggs.
            BuildSource::Egg { from, .. } => built(CachedPin::Wheel, from),
            BuildSource::Checkout { directory, from } => {
                let kept = CachedPin::Project(directory, Some(from.clone()));
                built(kept, from)
            }
        }
    }
}

pub(super) fn build(
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
        return Err(Error::new(format!(
            "building `{}` produced `{name} {version}`",
            label(pin)
        ))
        .at(pin.at.clone()));
    }
    Ok(Wheel {
        pin: Some(pin.clone()),
        ..wheel
    })
}

/// The maximum number of pins that an error about all of them names.
const SHOWN_PINS: usize = 8;

/// Merges errors with the same text: an unavailable index is reported once, with the pins that need
/// it.
pub(super) fn distinct(errors: Vec<(&Pin, Error)>) -> Vec<Error> {
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

/// Formats a pin as a requirement, e.g. `flask==3.0.0`.
fn pinned(pin: &Pin) -> String {
    match &pin.version {
        Some(version) => format!("{}=={version}", pin.name),
        None => pin.name.to_string(),
    }
}
