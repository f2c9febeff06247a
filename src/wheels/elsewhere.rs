//! Finds wheels of a distribution that could not be built: for other Pythons, and of newer
//! versions.
//!
//! Sources that are older than a Python often do not compile with it, and no compiler states that
//! reason.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pkgapp_pypa::DistFilename;
use toml::Table;

use super::FetchOptions;
use super::choice::{FileRequest, label};
use super::find::{locked_offers, wanted};
use super::index::FileOffer;
use super::store::FileStore;
use pkgapp_core::cache::Cache;
use pkgapp_core::error::Error;
use pkgapp_core::fs;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::report::{ProgressUnit, Report};
use pkgapp_lock::{Lock, Pin, PinSource};
use pkgapp_pypa::{Environment, Version, VersionSpecifiers, WheelFilename};

/// A glibc that is new enough for every wheel: only the Python matters here.
pub const NEWEST_GLIBC: (u16, u16) = (2, 99);

/// The Pythons to consider; no wheels exist for a newer one.
const MINORS: std::ops::RangeInclusive<u8> = 8..=20;

/// Adds hints at existing wheels to the errors of builds. Asks indexes, but with `options.offline`
/// only those that have been asked before.
pub(super) fn advise<'a>(
    errors: Vec<(&'a Pin, Error)>,
    lock: &Lock,
    environment: &Environment,
    cache: &Cache,
    options: &FetchOptions<'_>,
) -> Vec<(&'a Pin, Error)> {
    let report = Report::silent();
    let progress = report.progress("wheels", 0, ProgressUnit::Bytes);
    let store = FileStore::new(cache, &lock.indexes, options.offline, &progress);
    let asked = asked_of_python(lock);
    let advised = errors.into_iter().map(|(pin, error)| {
        let wanted = wanted(pin, lock, environment);
        let offers = offers(pin, lock, &store);
        let hints = [
            other_python(&wanted, &offers, &asked),
            newer_version(&wanted, &offers),
        ];
        (pin, hints.into_iter().flatten().fold(error, Error::hint))
    });
    advised.collect()
}

/// Returns the Pythons for which the locks were made: another one is not a solution as long as they
/// stay the same.
fn asked_of_python(lock: &Lock) -> Vec<VersionSpecifiers> {
    let is_lock = |file: &&PathBuf| {
        file.extension()
            .is_some_and(|extension| extension == "lock" || extension == "toml")
    };
    let tables = lock
        .files
        .iter()
        .filter(is_lock)
        .filter_map(|file| fs::read_to_string(file).ok()?.parse::<Table>().ok());
    tables
        .filter_map(|table| table.get("requires-python")?.as_str()?.parse().ok())
        .collect()
}

/// The known files of a distribution: those in a lock, and those of the first index that has it.
/// The index may be unavailable: the hint after a failure must not become another failure.
fn offers(pin: &Pin, lock: &Lock, store: &FileStore<'_>) -> Vec<FileOffer> {
    let mut offers = match &pin.source {
        PinSource::Files(files) => locked_offers(pin, files, false)
            .map(|(offers, _)| offers)
            .unwrap_or_default(),
        PinSource::Index => Vec::new(),
        _ => return Vec::new(),
    };
    let Ok(client) = store.client() else {
        return offers;
    };
    let places = lock.indexes.places(&pin.name).into_iter();
    let mut found = places
        .filter_map(|place| client.offers(&place, &pin.name).ok())
        .filter(|found| !found.is_empty());
    offers.extend(found.next().unwrap_or_default());
    offers
}

/// Returns the nearest Python with a wheel of the pinned version, if the current one has none.
fn other_python(
    wanted: &FileRequest<'_>,
    offers: &[FileOffer],
    asked: &[VersionSpecifiers],
) -> Option<String> {
    let environment = wanted.environment;
    let pinned = offers
        .iter()
        .filter(|offer| wanted.is_version(offer.dist.version()));
    let pythons = pythons(pinned.filter_map(wheel), environment);
    if pythons.contains(&environment.python) {
        return None;
    }
    let is_taken = |python: &&PythonMinor| {
        // The patch level is unknown, so the highest is assumed.
        let version = format!("{python}.99").parse::<Version>();
        version.is_ok_and(|version| asked.iter().all(|specifiers| specifiers.contains(&version)))
    };
    let older = pythons.range(..environment.python).rev().find(is_taken);
    let nearest = older.or_else(|| pythons.iter().find(is_taken))?;
    Some(format!(
        "`{}` has wheels for Python {}, but not for {}: set `version = \"{nearest}\"` in `[python]`",
        label(wanted.pin),
        listed(&pythons),
        environment.python,
    ))
}

/// Returns the oldest newer version that needs no build. Conflicts with other pins show when it is
/// pinned.
fn newer_version(wanted: &FileRequest<'_>, offers: &[FileOffer]) -> Option<String> {
    let (pin, environment) = (wanted.pin, wanted.environment);
    let pinned = pin.version.as_ref()?;
    let fits = |offer: &&FileOffer| {
        wheel(offer).is_some_and(|wheel| wheel.compatibility(&environment.tags).is_compatible())
            && offer.yanked.is_none()
            && offer
                .requires_python
                .as_ref()
                .is_none_or(|requires| environment.admits(requires))
    };
    let versions = offers.iter().filter(fits).map(|offer| offer.dist.version());
    let newer = versions
        .filter(|version| *version > pinned && !version.any_prerelease() && !version.is_local())
        .min()?;
    let python = environment.python;
    Some(format!(
        "pin `{}=={newer}`, the next version with a wheel for Python {python}",
        pin.name
    ))
}

fn wheel(offer: &FileOffer) -> Option<&WheelFilename> {
    match &offer.dist {
        DistFilename::WheelFilename(wheel) => Some(wheel),
        DistFilename::SourceDistFilename(_) => None,
    }
}

/// Returns the Pythons of the wheels for the platform of an environment.
pub(crate) fn pythons<'a>(
    wheels: impl Iterator<Item = &'a WheelFilename>,
    environment: &Environment,
) -> BTreeSet<PythonMinor> {
    let wheels: Vec<_> = wheels.collect();
    let environments = MINORS.filter_map(|minor| {
        let python = PythonMinor { major: 3, minor };
        Environment::new(python, None, environment.arch, NEWEST_GLIBC).ok()
    });
    let fit = environments.filter(|environment| {
        wheels
            .iter()
            .any(|wheel| wheel.compatibility(&environment.tags).is_compatible())
    });
    fit.map(|environment| environment.python).collect()
}

/// `3.8 to 3.10 and 3.12`.
fn listed(pythons: &BTreeSet<PythonMinor>) -> String {
    let mut ranges: Vec<(PythonMinor, PythonMinor)> = Vec::new();
    for &python in pythons {
        match ranges.last_mut() {
            Some((_, last)) if last.minor + 1 == python.minor => *last = python,
            _ => ranges.push((python, python)),
        }
    }
    let ranges = ranges.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first} to {last}")
        }
    });
    ranges.collect::<Vec<_>>().join(" and ")
}
