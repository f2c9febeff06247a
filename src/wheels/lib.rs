//! From a lock to wheels in the cache.
//!
//! [`fetch()`] looks for each pin in this order: the choice that an earlier build made for the same
//! question (`pins/` of the cache), the cache itself if the pin's hash leaves no choice, then the
//! places of [`Indexes::places`]. The first index that knows the name decides: a distribution of
//! the same name in a later one can't push itself in front, nor fill in a version that is missing.
//! Only a pin with a hash is looked for further on. Within a place the order is pip's. Sdists, eggs
//! and projects become wheels last ([`sdist`]).
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
pub use fetch::{CachedPin, KeptFile, fetch, kept};
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
