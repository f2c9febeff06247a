//! From a lock to wheels in the cache.

use std::path::PathBuf;

use crate::digest::Sha256Sum;
use crate::lock::Pin;
use crate::pypa::{PackageName, Version, WheelFilename};

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
    /// Whether it was built on this machine, so that its bytes may name it.
    pub built_here: bool,
    /// `Requires-Dist` etc.
    pub metadata: Metadata,
    /// The pin it answers; `None` for the application itself.
    pub pin: Option<Pin>,
}

/// What a wheel's METADATA says, as far as pkgapp needs it (core metadata specification).
#[derive(Debug, Clone)]
pub struct Metadata {
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
}
