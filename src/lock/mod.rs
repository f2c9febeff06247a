//! What ships, exactly: name, version, hashes, and where from.

use std::path::PathBuf;

use url::Url;

use crate::error::Location;
use crate::pypa::{ExtraName, HashDigest, PackageName, Version};

/// An application's pins for one environment: markers are evaluated, extras are collected, names are unique.
#[derive(Debug, Clone, Default)]
pub struct Lock {
    /// Sorted by name.
    pub pins: Vec<Pin>,
    /// Where pins without a place of their own are looked for.
    pub indexes: Indexes,
    /// Every file must match a hash: said in a file, or implied because one pin has hashes (as in pip).
    pub require_hashes: bool,
    /// The files that were read, in order, for messages and for the release's record.
    pub files: Vec<PathBuf>,
}

/// One distribution that ships.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Normalised name.
    pub name: PackageName,
    /// The exact version; `None` only for a direct URL or path whose file name does not say it.
    pub version: Option<Version>,
    /// Extras that are asked for.
    pub extras: Vec<ExtraName>,
    /// Where the file is.
    pub source: PinSource,
    /// Accepted hashes; empty if none were given.
    pub hashes: Vec<HashDigest>,
    /// Where it is pinned.
    pub at: Location,
}

/// Where a pinned distribution's file is.
#[derive(Debug, Clone)]
pub enum PinSource {
    /// In the indexes and find-links places of the lock.
    Index,
    /// One of these files (pylock.toml).
    Files(Vec<LockedFile>),
    /// An archive at a URL.
    Url(Url),
    /// A wheel or sdist on this machine, absolute.
    File(PathBuf),
    /// A project's directory on this machine, absolute: built like an sdist.
    Directory(PathBuf),
}

/// A file that a lock names.
#[derive(Debug, Clone)]
pub struct LockedFile {
    /// The wheel's or sdist's file name.
    pub name: String,
    /// Where it is.
    pub place: FilePlace,
    /// Accepted hashes.
    pub hashes: Vec<HashDigest>,
    /// Its length in bytes, if the lock says it.
    pub size: Option<u64>,
}

/// Where a locked file is.
#[derive(Debug, Clone)]
pub enum FilePlace {
    /// Elsewhere.
    Url(Url),
    /// On this machine, absolute.
    Path(PathBuf),
}

/// `--index-url` and its relatives.
#[derive(Debug, Clone, Default)]
pub struct Indexes {
    /// `--index-url`; `None` for PyPI.
    pub index: Option<Url>,
    /// `--extra-index-url`, in order.
    pub extra: Vec<Url>,
    /// `--find-links`: directories and pages, in order.
    pub find_links: Vec<Url>,
    /// `--no-index`.
    pub no_index: bool,
    /// `--only-binary`: no sdists for these (`None`: for all).
    pub only_binary: Names,
    /// `--no-binary`: no wheels for these.
    pub no_binary: Names,
}

/// A set of distributions in an option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Names {
    /// `:none:`, or the option is absent.
    #[default]
    None,
    /// `:all:`.
    All,
    /// These.
    These(Vec<PackageName>),
}

impl Names {
    /// Returns whether the option is about `name`.
    pub fn contains(&self, name: &PackageName) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}
