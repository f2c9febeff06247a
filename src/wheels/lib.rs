//! Turns a lock into wheels in the cache.
//!
//! [`fetch()`] looks for each pin in this order: the choice of an earlier build for the same
//! question (`pins/` in the cache), the cache itself if the pin's hash leaves no choice, and then
//! the places of [`Indexes::places`]. The first index that knows the name decides: a distribution
//! of the same name in a later index can neither take precedence nor provide a missing version.
//! Only for a pin with a hash does the search continue. Within a place, the order is that of pip.
//! Sdists, eggs, and projects become wheels last ([`sdist`]).
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
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
mod fetch;
mod find;
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
pub use fetch::{CachedPin, KeptFile, fetch, fetch_published, kept};
pub use linkage::LinkageRules;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use pkgapp_core::cache::Cache;
use pkgapp_core::commit::Epoch;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::Result;
use pkgapp_core::report::Report;
use pkgapp_lock::{Indexes, Pin};
use pkgapp_pypa::{Environment, PackageName, Version, WheelFilename};
use sdist::WheelBuilder;

/// A complete and verified wheel in the cache.
#[derive(Debug, Clone)]
pub struct Wheel {
    /// Its parsed file name, which agrees with METADATA.
    pub filename: WheelFilename,
    /// The file in the cache, named as on the index.
    pub path: PathBuf,
    /// The file's SHA-256.
    pub sha256: Sha256Sum,
    /// Its origin, without secrets: a URL, a path's file name, or `built from …`.
    pub from: String,
    /// The source, if the wheel was built on this machine, so that its bytes may contain local
    /// paths.
    pub built_from: Option<BuiltFrom>,
    /// The content of METADATA.
    pub metadata: WheelMetadata,
    /// The pin that it satisfies; `None` for the application itself.
    pub pin: Option<Pin>,
}

/// The source of a wheel that was built on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFrom {
    /// An sdist in the cache, or a project's directory.
    pub path: PathBuf,
    /// The key of the source's content and all other inputs of the build.
    pub key: String,
}

impl BuiltFrom {
    /// Returns the source's files; an sdist is unpacked below `room` first.
    ///
    /// # Errors
    /// Fails if the source cannot be read.
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

/// The parts of a wheel's METADATA that pkgapp uses (core metadata specification).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WheelMetadata {
    /// Normalized name.
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
    /// `License-Expression`, or else `License`, or else the license classifiers.
    pub license: Option<String>,
    /// A sentence about the first file in which RECORD and the archive differ, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_gap: Option<String>,
}

/// Options for fetching wheels.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions<'a> {
    /// Whether the network is off.
    pub offline: bool,
    /// The number of files that are read at a time; 8 is a good number.
    pub jobs: usize,
    /// The timestamp of everything that is built.
    pub epoch: Epoch<'a>,
    /// The build rules.
    pub rules: &'a LinkageRules,
}

/// Checks a set before any of it is built: the available wheels, and the pins that have none yet.
pub type EarlyCheck<'a> = dyn Fn(&[Wheel], &[&Pin]) -> Result<()> + 'a;

/// Builds the application's own wheel from its directory, which is not modified. `indexes` provide
/// its build requirements.
///
/// # Errors
/// Fails if the directory is not a project, the build fails, or the result does not match
/// `environment`.
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

/// Chooses and fetches the build requirements of projects, with the rules of their builds; sorted
/// by name.
///
/// # Errors
/// Fails if nothing matches or cannot be fetched.
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
