//! A [`Manifest`] as it is written down: one row a path, because every build reads those of all its
//! layers.
//!
//! A row is `[path, mode, what]`. What a file is: a letter, where it starts in the pack and its
//! length, and its SHA-256 in base64, with `f` for one that was taken from elsewhere, `m` for one
//! that was made here, and `u` for a source that can't be compiled. `d` is a directory, and `l`
//! with the target a symbolic link.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use data_encoding::BASE64_NOPAD;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Distribution, Keeping, LayerEntry, LayerEntryKind, Manifest};
use crate::prune::Pruned;
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::path::ReleasePath;
use pkgapp_wheels::elf::ElfFile;

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    rows: Vec<(ReleasePath, u32, What)>,
    elf: Vec<ElfFile>,
    distribution: Option<Distribution>,
    #[serde(default, skip_serializing_if = "Pruned::is_empty")]
    pruned: Pruned,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    heads: BTreeMap<ReleasePath, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    apart: bool,
}

/// Where a file's bytes come from, and what the compiler said of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Plain,
    MadeHere,
    Uncompiled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct What(LayerEntryKind, Sort);

impl From<Stored> for Manifest {
    fn from(stored: Stored) -> Self {
        let Stored {
            rows,
            elf,
            distribution,
            pruned,
            heads,
            apart,
        } = stored;
        let keeping = if apart {
            Keeping::Apart
        } else {
            Keeping::Together
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
        for (path, mode, What(kind, sort)) in rows {
            match sort {
                Sort::Plain => {}
                Sort::MadeHere => manifest.made_here.push(path.clone()),
                Sort::Uncompiled => manifest.uncompiled.push(path.clone()),
            }
            manifest.entries.push(LayerEntry { path, mode, kind });
        }
        manifest
    }
}

impl From<Manifest> for Stored {
    fn from(manifest: Manifest) -> Self {
        let Manifest {
            entries,
            elf,
            distribution,
            uncompiled,
            made_here,
            pruned,
            heads,
            keeping,
        } = manifest;
        let apart = keeping == Keeping::Apart;
        let (uncompiled, made_here) = (set(&uncompiled), set(&made_here));
        let sort = |path: &ReleasePath| match () {
            () if made_here.contains(path) => Sort::MadeHere,
            () if uncompiled.contains(path) => Sort::Uncompiled,
            () => Sort::Plain,
        };
        let row = |entry: LayerEntry| {
            let sort = sort(&entry.path);
            (entry.path, entry.mode, What(entry.kind, sort))
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

impl Serialize for What {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letter = match self.1 {
            Sort::Plain => 'f',
            Sort::MadeHere => 'm',
            Sort::Uncompiled => 'u',
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

impl<'de> Deserialize<'de> for What {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = What;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what a path of a layer is")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<What, E> {
        what(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

fn what(text: &str) -> Option<What> {
    let (letter, rest) = text.split_at_checked(1)?;
    let sort = match letter {
        "d" => {
            return rest
                .is_empty()
                .then_some(What(LayerEntryKind::Directory, Sort::Plain));
        }
        "l" => {
            return Some(What(
                LayerEntryKind::Symlink {
                    target: rest.to_owned(),
                },
                Sort::Plain,
            ));
        }
        "f" => Sort::Plain,
        "m" => Sort::MadeHere,
        "u" => Sort::Uncompiled,
        _ => return None,
    };
    let (range, sha256) = rest.split_once(' ')?;
    let (start, size) = range.split_once('+')?;
    let mut digest = Digest {
        size: size.parse().ok()?,
        sha256: Sha256Sum([0; 32]),
    };
    decode(sha256, &mut digest.sha256.0)?;
    Some(What(
        LayerEntryKind::File {
            digest,
            start: start.parse().ok()?,
        },
        sort,
    ))
}

/// Fills `sum` with what a text stands for, if that is as long.
fn decode(text: &str, sum: &mut [u8]) -> Option<()> {
    let fits = BASE64_NOPAD.encode_len(sum.len()) == text.len();
    // Decoding works in units of three bytes, and may want more room than it fills.
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
        let manifest = Manifest {
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
            keeping: Keeping::Apart,
            ..Manifest::default()
        };
        let text = serde_json::to_string(&manifest).unwrap();
        // `printf abc | openssl dgst -sha256 -binary | base64`.
        let sum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
        assert!(
            text.contains(&format!("[\"a b/d\",493,\"m7+3 {sum}\"]")),
            "{text}"
        );
        let read: Manifest = serde_json::from_str(&text).unwrap();
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
