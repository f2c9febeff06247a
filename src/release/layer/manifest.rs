//! The file format of a [`LayerManifest`]: one row per path, because every build reads the
//! manifests of all its layers.
//!
//! A row is `[path, mode, content]`. The content of a file is a letter, its offset in the pack and
//! its length, and its SHA-256 in base64. The letter is `f` for a file from elsewhere, `m` for a
//! file that the build generated, and `u` for a source that does not compile. `d` is a directory,
//! and `l` with a target is a symbolic link.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use data_encoding::BASE64_NOPAD;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Distribution, LayerEntry, LayerEntryKind, LayerManifest, Storage};
use crate::prune::PruneReport;
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::path::ReleasePath;
use pkgapp_wheels::elf::ElfFile;

#[derive(Serialize, Deserialize)]
pub(super) struct StoredManifest {
    rows: Vec<(ReleasePath, u32, ManifestEntry)>,
    elf: Vec<ElfFile>,
    distribution: Option<Distribution>,
    #[serde(default, skip_serializing_if = "PruneReport::is_empty")]
    pruned: PruneReport,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    heads: BTreeMap<ReleasePath, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    apart: bool,
}

/// The origin of a file's bytes, and the result of compiling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentSort {
    Plain,
    MadeHere,
    Uncompiled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ManifestEntry(LayerEntryKind, ContentSort);

impl From<StoredManifest> for LayerManifest {
    fn from(stored: StoredManifest) -> Self {
        let StoredManifest {
            rows,
            elf,
            distribution,
            pruned,
            heads,
            apart,
        } = stored;
        let keeping = if apart {
            Storage::Apart
        } else {
            Storage::Together
        };
        let mut manifest = Self {
            elf,
            distribution,
            pruned,
            heads,
            keeping,
            ..Self::default()
        };
        manifest.entries.reserve_exact(rows.len());
        for (path, mode, ManifestEntry(kind, sort)) in rows {
            match sort {
                ContentSort::Plain => {}
                ContentSort::MadeHere => manifest.made_here.push(path.clone()),
                ContentSort::Uncompiled => manifest.uncompiled.push(path.clone()),
            }
            manifest.entries.push(LayerEntry { path, mode, kind });
        }
        manifest
    }
}

impl From<LayerManifest> for StoredManifest {
    fn from(manifest: LayerManifest) -> Self {
        let LayerManifest {
            entries,
            elf,
            distribution,
            uncompiled,
            made_here,
            pruned,
            heads,
            keeping,
        } = manifest;
        let apart = keeping == Storage::Apart;
        let (uncompiled, made_here) = (set(&uncompiled), set(&made_here));
        let sort = |path: &ReleasePath| match () {
            () if made_here.contains(path) => ContentSort::MadeHere,
            () if uncompiled.contains(path) => ContentSort::Uncompiled,
            () => ContentSort::Plain,
        };
        let row = |entry: LayerEntry| {
            let sort = sort(&entry.path);
            (entry.path, entry.mode, ManifestEntry(entry.kind, sort))
        };
        Self {
            rows: entries.into_iter().map(row).collect(),
            elf,
            distribution,
            pruned,
            heads,
            apart,
        }
    }
}

fn set(paths: &[ReleasePath]) -> BTreeSet<&ReleasePath> {
    paths.iter().collect()
}

impl Serialize for ManifestEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letter = match self.1 {
            ContentSort::Plain => 'f',
            ContentSort::MadeHere => 'm',
            ContentSort::Uncompiled => 'u',
        };
        match &self.0 {
            LayerEntryKind::Directory => serializer.serialize_str("d"),
            LayerEntryKind::Symlink { target } => {
                serializer.collect_str(&format_args!("l{target}"))
            }
            LayerEntryKind::File {
                digest: Digest { size, sha256 },
                start,
            } => {
                let sha256 = BASE64_NOPAD.encode(&sha256.0);
                serializer.collect_str(&format_args!("{letter}{start}+{size} {sha256}"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for ManifestEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ManifestText)
    }
}

struct ManifestText;

impl Visitor<'_> for ManifestText {
    type Value = ManifestEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what a path of a layer is")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ManifestEntry, E> {
        what(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

fn what(text: &str) -> Option<ManifestEntry> {
    let (letter, rest) = text.split_at_checked(1)?;
    let sort = match letter {
        "d" => {
            return rest
                .is_empty()
                .then_some(ManifestEntry(LayerEntryKind::Directory, ContentSort::Plain));
        }
        "l" => {
            return Some(ManifestEntry(
                LayerEntryKind::Symlink {
                    target: rest.to_owned(),
                },
                ContentSort::Plain,
            ));
        }
        "f" => ContentSort::Plain,
        "m" => ContentSort::MadeHere,
        "u" => ContentSort::Uncompiled,
        _ => return None,
    };
    let (range, sha256) = rest.split_once(' ')?;
    let (start, size) = range.split_once('+')?;
    let mut digest = Digest {
        size: size.parse().ok()?,
        sha256: Sha256Sum([0; 32]),
    };
    decode(sha256, &mut digest.sha256.0)?;
    Some(ManifestEntry(
        LayerEntryKind::File {
            digest,
            start: start.parse().ok()?,
        },
        sort,
    ))
}

/// Decodes a text into `sum`, if the length matches.
fn decode(text: &str, sum: &mut [u8]) -> Option<()> {
    let fits = BASE64_NOPAD.encode_len(sum.len()) == text.len();
    // Decoding works in units of three bytes, and may need a larger buffer than it fills.
    fits.then(|| BASE64_NOPAD.decode_mut(text.as_bytes(), sum).ok())?
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let path = |text: &str| ReleasePath::parse(text).unwrap();
        let digest = Digest::of(b"abc");
        let entry = |name: &str, mode, kind| LayerEntry {
            path: path(name),
            mode,
            kind,
        };
        let manifest = LayerManifest {
            entries: vec![
                entry("a b", 0o755, LayerEntryKind::Directory),
                entry(
                    "a b/\"c\\",
                    0o644,
                    LayerEntryKind::File { digest, start: 0 },
                ),
                entry("a b/d", 0o755, LayerEntryKind::File { digest, start: 7 }),
                entry(
                    "a b/e",
                    0o644,
                    LayerEntryKind::File {
                        digest,
                        start: u64::MAX,
                    },
                ),
                entry(
                    "a b/l",
                    0o777,
                    LayerEntryKind::Symlink {
                        target: "d e \"".into(),
                    },
                ),
            ],
            made_here: vec![path("a b/d")],
            uncompiled: vec![path("a b/e")],
            heads: BTreeMap::from([(path("a b/d"), "#!/bin/sh".into())]),
            keeping: Storage::Apart,
            ..LayerManifest::default()
        };
        let text = serde_json::to_string(&manifest).unwrap();
        // `printf abc | openssl dgst -sha256 -binary | base64`.
        let sum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
        assert!(
            text.contains(&format!("[\"a b/d\",493,\"m7+3 {sum}\"]")),
            "{text}"
        );
        let read: LayerManifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read.entries, manifest.entries);
        assert_eq!(
            (read.made_here, read.uncompiled),
            (manifest.made_here, manifest.uncompiled)
        );
        assert_eq!(
            (read.heads, read.keeping),
            (manifest.heads, manifest.keeping)
        );
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for text in ["", "x", "dd", "f3", "f0+3 ab", "f3 ab", "f0+-1 x", "ß"] {
            assert_eq!(what(text), None, "{text}");
        }
    }
}
