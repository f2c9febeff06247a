//! `[package] revision = "auto"`: a revision that is unique to its content, and higher for later
//! commits.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use pkgapp_core::commit::Commit;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_format as format;
use pkgapp_release::package::Package;

/// The number of digits of a hash in a revision.
const DIGITS: usize = 9;

/// Returns the revision of a package that has none yet, dated `date` (seconds since 1970).
///
/// The revision of a commit is like `20261129084136.g29757ba1c`. For uncommitted changes, a digest
/// of the package follows after a `+`: for both dpkg and rpm, such a revision is newer than its
/// commit and older than the next one.
///
/// # Errors
/// As for the texts of the formats.
pub(super) fn of(package: &Package, commit: Option<&Commit>, date: u64) -> Result<String> {
    let time = commit.map_or(date, |commit| commit.time);
    let mut revision = moment(time)?.strftime("%Y%m%d%H%M%S").to_string();
    let short = |hash: &str| hash.get(..DIGITS).unwrap_or(hash).to_owned();
    if let Some(commit) = commit {
        // Writing to a String does not fail.
        _ = write!(revision, ".g{}", short(&commit.id));
    }
    if commit.is_none_or(|commit| commit.id.ends_with("-dirty")) {
        _ = write!(revision, "+{}", short(&digest(package)?.to_string()));
    }
    Ok(revision)
}

/// Returns a time that is given in seconds since 1970.
///
/// # Errors
/// The time is too late.
pub(crate) fn moment(time: u64) -> Result<jiff::Timestamp> {
    let seconds = i64::try_from(time).ok();
    seconds
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .ok_or_else(|| Error::new("the date of the commit is too late for a version"))
}

/// Computes the digest of a package: its files and the control files of all formats.
///
/// # Errors
/// As for the texts of the formats.
pub(super) fn digest(package: &Package) -> Result<Sha256Sum> {
    let mut hasher = Sha256::new();
    hasher.update(package.tree.dump());
    for (name, format) in format::FORMATS {
        for (file, text) in format.texts(package)? {
            hasher.update(format!("\0{name}/{file}\0{text}"));
        }
    }
    Ok(Sha256Sum(hasher.finalize().into()))
}
