//! Layers: each holds one installed distribution, or some of the application's own files.
//!
//! A layer is independent of the prefix, immutable, and kept in the cache as `layers/<key>/`:
//! `pack` has the bytes of its files, and `layer.json` their list, which is the only file that this
//! module reads. So a build that changes nothing in a layer opens no pack. The key is the SHA-256
//! of everything that determines the content.

mod assembly;
mod bytecode;
mod compilers;
mod files;
mod install;
mod launcher;
mod manifest;
mod place;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::bytecode::ByteCompiler;
pub(crate) use self::files::{TreeSource, is_byte_code, read_source, resolve};
#[cfg(test)]
pub(crate) use self::install::recorded_hash;
pub(crate) use self::install::updated_record;
pub use self::install::{WheelMember, WheelReader};
pub(crate) use self::launcher::started_by;
pub(crate) use self::place::{LayerDirectory, Storage};

use crate::prune::{PruneReport, Pruner};
use crate::tree::{EntryKind, EntryOrigin, Precedence, Tree, TreeEntry};
use pkgapp_core::cache::{self, Cache};
use pkgapp_core::content::Content;
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::parallel;
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::report::{ProgressUnit, Report};
use pkgapp_wheels::Wheel;
use pkgapp_wheels::elf::ElfFile;

/// The version of layers, part of every key. Raise it when the same inputs result in another layer.
const FORMAT: u32 = 6;

/// The name of the manifest in a layer's directory.
const MANIFEST: &str = "layer.json";

/// The name of the file in a layer's directory that records the latest check of the layer's files:
/// the boot ID of the machine at that time.
const CHECKED: &str = "checked";

/// The validity of a check: programs that clean temporary directories may have removed files since.
const CHECKED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of layers built at a time in addition to one per core.
const WAITING: usize = 2;

/// One layer of a release.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The SHA-256 of all inputs in hexadecimal: the name in the cache.
    pub key: String,
    /// A name for messages, e.g. ``distribution `flask 3.0.0` `` or `the application's files`.
    pub label: String,
    /// The place of the layer's bytes.
    pub(crate) place: LayerDirectory,
    /// The content of the layer.
    pub manifest: LayerManifest,
}

/// The content of a layer's `layer.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "manifest::StoredManifest", into = "manifest::StoredManifest")]
pub struct LayerManifest {
    /// Every file, link and directory, sorted by path.
    pub entries: Vec<LayerEntry>,
    /// The requirements of compiled code on the dynamic linker.
    pub elf: Vec<ElfFile>,
    /// The distribution, unless the layer is plain files.
    pub distribution: Option<Distribution>,
    /// Python sources that do not compile with this Python (templates, code for other versions);
    /// sorted.
    pub uncompiled: Vec<ReleasePath>,
    /// Files whose bytes the build generated (launchers, byte code, RECORD); sorted.
    pub made_here: Vec<ReleasePath>,
    /// The files that pruning removed.
    pub pruned: PruneReport,
    /// The beginnings of files in `bin/`, long enough for a shebang or the mark of a launcher.
    pub heads: BTreeMap<ReleasePath, String>,
    /// The storage of the files' bytes.
    pub(crate) keeping: Storage,
}

/// A path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// The path below the prefix.
    pub path: ReleasePath,
    /// Permission bits.
    pub mode: u32,
    /// The kind of the entry.
    pub kind: LayerEntryKind,
}

/// The kind of a layer's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerEntryKind {
    /// A directory, listed even if files below it imply it.
    Directory,
    /// A regular file.
    File {
        /// The length and checksums.
        digest: Digest,
        /// The offset of the bytes in the pack; without meaning in a layer that has no pack.
        start: u64,
    },
    /// A symbolic link.
    Symlink {
        /// The target as written.
        target: String,
    },
}

/// The metadata of a distribution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Distribution {
    /// The normalized name (PEP 503).
    pub name: String,
    /// The version (PEP 440).
    pub version: String,
    /// The lines of `Requires-Dist`, verbatim.
    pub requires: Vec<String>,
    /// The line of `Requires-Python`, verbatim.
    pub requires_python: Option<String>,
    /// The declared extras.
    pub extras: Vec<String>,
    /// The names that the distribution has in `bin/`.
    pub scripts: Vec<String>,
    /// The importable modules and packages.
    pub top_level: Vec<String>,
    /// `License-Expression`, else `License`, else the license classifiers.
    pub license: Option<String>,
    /// The name of the installed wheel.
    pub wheel: String,
    /// The SHA-256 of that wheel.
    pub sha256: String,
    /// The origin of the wheel: a URL without credentials, or `built from …`.
    pub from: String,
    /// Whether the wheel was built on the build machine, so that its bytes may contain paths of
    /// that machine.
    pub built_here: bool,
}

/// The inputs that all layers share.
#[derive(Clone, Copy)]
pub struct LayerBuilder<'a> {
    /// The cache of the layers.
    pub cache: &'a Cache,
    /// The Python of the layers.
    pub compiler: &'a ByteCompiler,
    /// The pruning of distributions.
    pub prune: &'a Pruner,
}

impl std::fmt::Debug for LayerBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("cache", self.cache)
            .field("compiler", self.compiler)
            .finish_non_exhaustive()
    }
}

/// Returns whether a name at the top of a release is the directory of a bundled interpreter:
/// `python3.13`.
fn is_interpreter_directory(name: &str) -> bool {
    let minor = name.strip_prefix("python3.");
    minor.is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The collisions of a layer with other sources. Those of one directory with one other source are
/// one error.
#[derive(Default)]
struct LayerCollisions {
    /// The first error and the names of further files, by directory and label of the other source.
    refused: BTreeMap<(String, Option<String>), (Error, Vec<String>)>,
}

impl LayerCollisions {
    /// Adds the `error` of a path; `other` is the label of the other source.
    fn add(&mut self, path: &ReleasePath, other: Option<String>, error: Error) {
        let directory = path
            .parent()
            .map_or_else(String::new, |parent| parent.to_string());
        match self.refused.entry((directory, other)) {
            MapEntry::Vacant(first) => _ = first.insert((error, Vec::new())),
            MapEntry::Occupied(mut first) => first.get_mut().1.push(path.file_name().to_owned()),
        }
    }

    /// Returns all errors, without those of byte code if there are others: the errors of the
    /// sources suffice.
    fn into_error(mut self) -> Option<Error> {
        let is_byte_code = |directory: &str| directory.rsplit('/').next() == Some("__pycache__");
        let has_sources = self
            .refused
            .keys()
            .any(|(directory, _)| !is_byte_code(directory));
        self.refused
            .retain(|(directory, _), _| !(has_sources && is_byte_code(directory)));
        let refused = self.refused.into_iter();
        Error::all(refused.map(|((directory, _), (error, more))| also(error, &directory, &more)))
    }
}

/// The number of further files of a directory that an error names.
const SHOWN_COLLISIONS: usize = 5;

/// Adds a note that further files of a directory collide in the same way.
fn also(error: Error, directory: &str, more: &[String]) -> Error {
    if more.is_empty() {
        return error;
    }
    let shown: Vec<String> = more
        .iter()
        .take(SHOWN_COLLISIONS)
        .map(|name| format!("`{name}`"))
        .collect();
    let hidden = more.len() - shown.len();
    let rest = if hidden > 0 {
        format!(" and {hidden} more")
    } else {
        String::new()
    };
    error.note(format!(
        "the same applies to {}{rest} in `{directory}`",
        shown.join(", ")
    ))
}

/// Returns what pkgapp uses a reserved directory of a release for.
fn purpose(top: &str) -> &'static str {
    match top {
        "host" => "a tarball keeps units, cron jobs, and configuration there",
        ".pkgapp" => "it describes the release",
        _ => "it contains the bundled interpreter",
    }
}

/// Removes the layer of a damaged file from the cache, so that the next build builds it anew.
/// Returns `None` if the file belongs to no layer, and the layer's directory if it cannot be
/// removed.
pub fn discard(file: &Path) -> Option<Result<(), PathBuf>> {
    // Only `layers/<key>/` with a name below it counts: a file of the user must never be mistaken
    // for one of the cache.
    let is_layer = |directory: &&Path| {
        let name = |path: &Path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
        };
        name(directory).is_some_and(|key| Sha256Sum::from_hex(&key).is_some())
            && directory
                .parent()
                .and_then(name)
                .is_some_and(|name| name == "layers")
            && directory.join(MANIFEST).is_file()
    };
    let layer = LayerDirectory::directories_of(file).find(is_layer)?;
    Some(std::fs::remove_file(layer.join(MANIFEST)).map_err(|_| layer.to_owned()))
}

/// Returns whether a layer's files were checked recently, and since the machine was started.
fn is_checked(file: &Path) -> bool {
    let Ok(mut file) = std::fs::File::open(file) else {
        return false;
    };
    let mut text = String::new();
    let recent = file
        .metadata()
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|time| {
            // A clock that was set back must not extend the validity.
            time.elapsed().is_ok_and(|age| age < CHECKED_FOR)
        });
    recent
        && file.read_to_string(&mut text).is_ok()
        && !text.is_empty()
        && cache::boot() == Some(&text)
}

/// Returns the content of an entry; `None` if the entry is not a file.
fn content(place: &LayerDirectory, entry: &LayerEntry) -> Option<Content> {
    match &entry.kind {
        LayerEntryKind::File { digest, start } => Some(Content {
            digest: *digest,
            bytes: place.bytes(&entry.path, *start),
        }),
        LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => None,
    }
}

/// Reads a whole layer of the cache; returns the paths of files that are missing or damaged.
pub fn damage(directory: &Path) -> Vec<String> {
    let Some(manifest) = cache::read_sealed::<LayerManifest>(&directory.join(MANIFEST)) else {
        return vec![MANIFEST.to_owned()];
    };
    let place = LayerDirectory::new(directory.to_owned(), manifest.keeping);
    let damaged = |entry: &LayerEntry| {
        let Some(content) = content(&place, entry) else {
            return false;
        };
        let found = content
            .reader()
            .ok()
            .and_then(|reader| Digest::of_reader(reader).ok());
        found != Some(content.digest)
    };
    let bad = manifest.entries.par_iter().filter(|entry| damaged(entry));
    bad.map(|entry| entry.path.to_string()).collect()
}

/// Removes layers from the cache that this process has opened and that are no longer complete,
/// judging by the presence and length of their files. Returns whether there were any: they may be
/// the cause of another failure.
pub fn forget_torn(cache: &Cache) -> Result<bool> {
    let mut found = false;
    for directory in cache.held_below(&cache.layers()) {
        let key = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let whole = cache::read_sealed::<LayerManifest>(&directory.join(MANIFEST)).is_some_and(
            |manifest| {
                let place = LayerDirectory::new(directory.clone(), manifest.keeping);
                Layer {
                    key,
                    label: String::new(),
                    place,
                    manifest,
                }
                .is_whole()
            },
        );
        if !whole {
            found = true;
            _ = std::fs::remove_file(directory.join(MANIFEST));
        }
    }
    Ok(found)
}

impl LayerBuilder<'_> {
    /// Builds the layers of all wheels in parallel and returns them in the order of `wheels`.
    /// `open` opens the wheels whose layers are not in the cache.
    ///
    /// # Errors
    /// Every wheel that cannot be installed.
    pub fn build_all<R: WheelReader>(
        &self,
        wheels: &[Wheel],
        open: impl Fn(&Wheel) -> Result<R> + Sync,
        report: &Report,
    ) -> Result<Vec<Layer>> {
        let progress = report.progress("installing", wheels.len() as u64, ProgressUnit::Things);
        let size =
            |wheel: &Wheel| std::fs::metadata(&wheel.path).map_or(0, |metadata| metadata.len());
        let mut largest_first: Vec<(usize, &Wheel)> = wheels.iter().enumerate().collect();
        largest_first.sort_by_cached_key(|(_, wheel)| std::cmp::Reverse(size(wheel)));
        let mut made = parallel::map(&largest_first, waiting_threads(), |(index, wheel)| {
            let layer = Layer::for_wheel(self, wheel, || open(wheel));
            progress.advance(1);
            (*index, layer)
        });
        made.sort_by_key(|(index, _)| *index);
        all_of(made.into_iter().map(|(_, layer)| layer))
    }
}

/// Returns the number of layers to build at a time: more than cores, because some layers wait for
/// byte code.
fn waiting_threads() -> usize {
    rayon::current_num_threads() + WAITING
}

/// Collects all layers, or else all errors.
fn all_of(made: impl Iterator<Item = Result<Layer>>) -> Result<Vec<Layer>> {
    let (mut layers, mut errors) = (Vec::new(), Vec::new());
    for layer in made {
        layer.map_or_else(|error| errors.push(error), |layer| layers.push(layer));
    }
    Error::all(errors).map_or(Ok(layers), Err)
}

impl Layer {
    /// Opens a layer of the cache; `None` if the layer is missing or incomplete and must be built.
    ///
    /// A layer's directory gets its name by a rename after all its files are written, but the files
    /// are not synced, which would take longer than building them again. So a power failure can
    /// leave the name without the content, which shows in the length of a file. Therefore pkgapp
    /// checks the files of each layer once after every start of the machine, and once a day. A file
    /// with the right length and wrong content is found when it is packed.
    pub fn open(cache: &Cache, key: &str, label: &str) -> Option<Self> {
        let directory = cache.layers().join(key);
        if !cache.hold(&directory) {
            return None;
        }
        let manifest: LayerManifest = cache::read_sealed(&directory.join(MANIFEST))?;
        let place = LayerDirectory::new(directory.clone(), manifest.keeping);
        let layer = Self {
            key: key.to_owned(),
            label: label.to_owned(),
            place,
            manifest,
        };
        let checked = directory.join(CHECKED);
        if is_checked(&checked) {
            cache.count("layers", true);
            return Some(layer);
        }
        if !layer.is_whole() {
            return None;
        }
        cache.count("layers", true);
        // Without this file, the next build checks the layer again.
        _ = cache.place(&checked, cache::boot().unwrap_or_default().as_bytes());
        Some(layer)
    }

    /// Returns whether the layer is an interpreter.
    pub fn is_interpreter(&self) -> bool {
        let first = self
            .manifest
            .entries
            .first()
            .map(|entry| entry.path.as_str());
        let executable = first.map(|directory| format!("{directory}/bin/{directory}"));
        self.manifest.distribution.is_none()
            && first.is_some_and(|directory| directory.starts_with("python3."))
            && self
                .manifest
                .entries
                .iter()
                .any(|entry| Some(entry.path.as_str()) == executable.as_deref())
    }

    /// Returns the total size of the files in bytes.
    pub fn size(&self) -> u64 {
        let files = self
            .manifest
            .entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                LayerEntryKind::File { digest, .. } => Some(digest.size),
                LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => None,
            });
        files.sum()
    }

    /// Returns whether all files are present with the right length.
    pub fn is_whole(&self) -> bool {
        let files = self
            .manifest
            .entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                LayerEntryKind::File { digest, start } => Some((&entry.path, *start, digest.size)),
                LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => None,
            });
        self.place.is_whole(files)
    }

    /// Returns the content of a file; `None` if the layer has no such file.
    pub(crate) fn content(&self, path: &ReleasePath) -> Option<Content> {
        let index = self
            .manifest
            .entries
            .binary_search_by(|entry| entry.path.cmp(path))
            .ok()?;
        content(&self.place, &self.manifest.entries[index])
    }

    /// Adds all entries to a tree, below `prefix`.
    ///
    /// # Errors
    /// Errors of [`Tree::insert_by`]. All collisions are reported; those of one directory with one
    /// other source are one error.
    pub fn insert_into(
        &self,
        tree: &mut Tree,
        prefix: &InstallPath,
        precedence: Precedence<'_>,
    ) -> Result<()> {
        self.check_reserved()?;
        let origin = Arc::new(EntryOrigin {
            label: self.label.clone(),
            layer: Some(self.key.clone()),
        });
        let mut collisions = LayerCollisions::default();
        for (below, entry) in self.entries(&origin) {
            let path = prefix.join(below);
            if let Err(error) = tree.insert_by(path.clone(), entry, precedence) {
                let other = tree.get(&path).map(|present| present.origin.label.clone());
                collisions.add(below, other, error);
            }
        }
        collisions.into_error().map_or(Ok(()), Err)
    }

    /// Refuses entries in directories of a release that have a meaning for an installation: a
    /// tarball's units and cron jobs come from `host/`, and the record is in `.pkgapp/`.
    fn check_reserved(&self) -> Result<()> {
        let is_reserved = |top: &str| match top {
            "host" | ".pkgapp" => true,
            // Files in a bundled interpreter's directory would run before any check of the
            // distribution.
            _ => self.manifest.distribution.is_some() && is_interpreter_directory(top),
        };
        let top = |entry: &LayerEntry| {
            entry
                .path
                .as_str()
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let is_file = |entry: &&LayerEntry| entry.kind != LayerEntryKind::Directory;
        let reserved = || {
            self.manifest
                .entries
                .iter()
                .filter(|entry| is_reserved(&top(entry)))
        };
        // Byte code may be compiled by the build, and the error for its source is clearer.
        let is_source =
            |entry: &&LayerEntry| is_file(entry) && !entry.path.as_str().contains("/__pycache__/");
        let found = reserved()
            .find(is_source)
            .or_else(|| reserved().find(is_file))
            .or_else(|| reserved().next());
        let Some(entry) = found else { return Ok(()) };
        let top = top(entry);
        let error = Error::new(match &self.manifest.distribution {
            Some(distribution) => format!(
                "wheel `{}` is refused: it installs `{}`",
                distribution.wheel, entry.path
            ),
            None => format!("{} include `{}`", self.label, entry.path),
        });
        let error = error.note(format!(
            "pkgapp reserves `{top}/` in a release: {}",
            purpose(&top)
        ));
        Err(match &self.manifest.distribution {
            Some(distribution) => error.hint(format!(
                "pin another version of `{}`, or a wheel of it without that file",
                distribution.name
            )),
            None => error.hint("write to another directory of the release"),
        })
    }

    /// Iterates over the entries as entries of a tree.
    pub fn entries<'a>(
        &'a self,
        origin: &'a Arc<EntryOrigin>,
    ) -> impl Iterator<Item = (&'a ReleasePath, TreeEntry)> {
        self.manifest.entries.iter().map(move |entry| {
            let tree_entry = match &entry.kind {
                LayerEntryKind::Directory => TreeEntry::directory(origin),
                LayerEntryKind::Symlink { target } => TreeEntry::symlink(target, origin),
                LayerEntryKind::File { digest, start } => {
                    let bytes = self.place.bytes(&entry.path, *start);
                    TreeEntry::file(
                        Content {
                            digest: *digest,
                            bytes,
                        },
                        entry.mode,
                        origin,
                    )
                }
            };
            debug_assert!(
                matches!(tree_entry.kind, EntryKind::File(_)) || entry.mode == tree_entry.mode
            );
            (&entry.path, tree_entry)
        })
    }
}
