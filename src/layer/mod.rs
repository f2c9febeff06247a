//! A layer: one distribution as it lies in a release, or the application's own files.
//!
//! A layer is independent of the prefix, immutable, and kept in the cache as `layers/<key>/`: `files/` holds the files
//! under their release paths, and `layer.json` holds what this module reads, so that a build which changes nothing in a
//! layer opens none of its files. The key is the SHA-256 of everything that determines the content.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::path::ReleasePath;
use crate::tree::{Bytes, Content, Entry, Kind, Origin};

/// One layer of a release.
#[derive(Debug, Clone)]
pub struct Layer {
    /// SHA-256 of all inputs, in hexadecimal: the name in the cache.
    pub key: String,
    /// What a person calls it, e.g. ``distribution `flask 3.0.0` `` or `the application's files`.
    pub label: String,
    /// The directory that holds the files under their release paths.
    pub files: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// A layer's `layer.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Every file, link and directory, sorted by path.
    pub entries: Vec<LayerEntry>,
    /// What the dynamic linker will ask for.
    pub elf: Vec<ElfFile>,
    /// The distribution, unless the layer is plain files.
    pub distribution: Option<Distribution>,
    /// Python sources that this Python can't compile (templates, code for another Python).
    pub uncompiled: Vec<ReleasePath>,
}

/// A path of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerEntry {
    /// Below the prefix.
    pub path: ReleasePath,
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    #[serde(flatten)]
    pub kind: LayerEntryKind,
}

/// What a path of a layer is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LayerEntryKind {
    /// A directory, listed even if files below it imply it.
    Directory,
    /// A regular file.
    File {
        /// Length and sums.
        digest: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// As written.
        target: String,
    },
}

/// What a distribution says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Distribution {
    /// Normalised name (PEP 503).
    pub name: String,
    /// Version (PEP 440).
    pub version: String,
    /// `Requires-Dist`, verbatim.
    pub requires: Vec<String>,
    /// `Requires-Python`, verbatim.
    pub requires_python: Option<String>,
    /// Extras it declares.
    pub extras: Vec<String>,
    /// Names under `bin/` that it has put there.
    pub scripts: Vec<String>,
    /// Modules and packages that can be imported.
    pub top_level: Vec<String>,
    /// `License-Expression`, else `License`, else what the classifiers say.
    pub license: Option<String>,
    /// The file it was installed from.
    pub wheel: String,
    /// That file's SHA-256.
    pub sha256: String,
    /// Where the file came from: a URL without secrets, or `built from …`.
    pub from: String,
    /// Whether the wheel was built on this machine, so that its bytes may name it.
    pub built_here: bool,
}

/// What a shared object or executable asks of the host (System V ABI, "Dynamic Section"; LSB "Symbol Versioning").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfFile {
    /// Below the prefix.
    pub path: ReleasePath,
    /// `x86_64`, `aarch64`, or another name for a machine that pkgapp does not build for.
    pub machine: String,
    /// 64-bit class.
    pub is_64: bool,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RUNPATH` or `DT_RPATH`, split at colons.
    pub runpath: Vec<String>,
    /// Symbol versions it needs: library and version, e.g. (`libc.so.6`, `GLIBC_2.28`), sorted.
    pub versions: Vec<(String, String)>,
}

impl Layer {
    /// The entries as a tree takes them.
    pub fn entries<'a>(&'a self, origin: &'a Arc<Origin>) -> impl Iterator<Item = (&'a ReleasePath, Entry)> {
        self.manifest.entries.iter().map(move |entry| {
            let tree_entry = match &entry.kind {
                LayerEntryKind::Directory => Entry::directory(origin),
                LayerEntryKind::Symlink { target } => Entry::symlink(target, origin),
                LayerEntryKind::File { digest } => Entry::file(
                    Content { digest: *digest, bytes: Bytes::Disk(self.files.join(entry.path.as_str())) },
                    entry.mode,
                    origin,
                ),
            };
            debug_assert!(matches!(tree_entry.kind, Kind::File(_)) || entry.mode == tree_entry.mode);
            (&entry.path, tree_entry)
        })
    }
}
