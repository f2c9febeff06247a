//! Formats of packages: each has a file, and a line in [`FORMATS`].
//!
//! A format reads only the [`Package`]. Payloads consist of [`segment`]s: a format keeps headers
//! and lists in memory, but never a payload.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod segment;

pub(crate) mod archive;
pub mod claims;
mod compress;
mod cpio;
pub mod deb;
mod gnutar;
mod header;
#[cfg(test)]
pub(crate) mod judge;
mod md5sums;
pub mod read;
pub mod rpm;
pub mod sonames;
pub mod tarball;
pub mod version;

use std::cmp::Ordering;
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::OnceLock;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::segment::Segments;
use pkgapp_config::Compression;
use pkgapp_core::content::Bytes;
use pkgapp_core::content::Content;
use pkgapp_core::content::LastOpened;
use pkgapp_core::content::Reader;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::path::InstallPath;
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::tree::TreeEntry;

pub(crate) use archive::{ArchiveKind, MemberHeader};
pub use deb::DebPackage;
pub use rpm::RpmPackage;
pub use tarball::TarballFormat;

/// A format of packages.
pub trait PackageFormat: Sync {
    /// Returns the file name by the conventions of the format, e.g. `shop_1.4.2-1_amd64.deb`.
    ///
    /// # Errors
    /// The format cannot represent the version or the name.
    fn file_name(&self, meta: &PackageInfo) -> Result<String>;

    /// Writes `package`. Equal packages result in equal bytes, whichever segments the cache has.
    ///
    /// # Errors
    /// The format cannot represent some content, a file cannot be read, or `out` cannot be written.
    fn write(&self, package: &Package, segments: &Segments<'_>, out: &mut dyn Write) -> Result<()>;

    /// Returns the text files that only the package manager reads, e.g. `control`, for people to
    /// inspect.
    ///
    /// # Errors
    /// Errors of [`PackageFormat::write`].
    fn texts(&self, _package: &Package) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    /// Returns the entries that this format adds to the tree; the origin of each tells the reason.
    ///
    /// # Errors
    /// The format cannot represent the version.
    fn extra_entries(&self, _meta: &PackageInfo) -> Result<Vec<(InstallPath, TreeEntry)>> {
        Ok(Vec::new())
    }
}

/// The formats by the names on the command line.
pub const FORMATS: &[(&str, &dyn PackageFormat)] = &[
    ("tar", &TarballFormat { codec: None }),
    (
        "tar.zst",
        &TarballFormat {
            codec: Some(Compression::Zstd(tarball::ZSTD_LEVEL)),
        },
    ),
    (
        "tar.gz",
        &TarballFormat {
            codec: Some(Compression::Gzip(tarball::GZIP_LEVEL)),
        },
    ),
    (
        "tar.xz",
        &TarballFormat {
            codec: Some(Compression::Xz(tarball::XZ_PRESET)),
        },
    ),
    ("deb", &DebPackage),
    ("rpm", &RpmPackage),
];

/// Returns the format of a name.
pub fn by_name(name: &str) -> Option<&'static dyn PackageFormat> {
    FORMATS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, format)| *format)
}

/// An entry with its path.
type PlacedEntry<'t> = (&'t InstallPath, &'t TreeEntry);

/// Sorts a tree's entries in the order of an archive: the content of a directory follows it
/// directly.
///
/// The order of the tree has `a-b` between `a` and `a/b`, but tar sets a directory's time when it
/// leaves the directory.
fn archive_order<'t>(entries: &[PlacedEntry<'t>]) -> Vec<PlacedEntry<'t>> {
    let mut ordered = Vec::with_capacity(entries.len());
    // Entries that must come later; the next one is last.
    let mut later = Vec::new();
    let mut range = 0..entries.len();
    loop {
        while let Some(at) = range.next() {
            ordered.push(entries[at]);
            let path = entries[at].0.as_str();
            let next = entries[range.clone()]
                .first()
                .and_then(|(next, _)| next.as_str().strip_prefix(path));
            if next.is_none_or(|rest| rest >= "/") {
                continue;
            }
            // If this entry is `a`, the next one may be `a-b`, but the content of `a` comes first.
            let inside = content_range(path, entries, range.clone());
            if !inside.is_empty() {
                later.push(inside.end..range.end);
                later.push(range.start..inside.start);
                range = inside;
            }
        }
        match later.pop() {
            Some(next) => range = next,
            None => break,
        }
    }
    // Directories of the base system are not among the entries, so their content may still be
    // separated.
    if !ordered.is_sorted_by(|(a, _), (b, _)| by_component(a.as_str(), b.as_str()).is_lt()) {
        ordered.sort_by(|(a, _), (b, _)| by_component(a.as_str(), b.as_str()));
    }
    ordered
}

/// Returns the part of a range of sorted entries that is the content of a directory.
fn content_range(
    directory: &str,
    entries: &[PlacedEntry<'_>],
    range: Range<usize>,
) -> Range<usize> {
    let beginning = format!("{directory}/");
    let before =
        entries[range.clone()].partition_point(|(path, _)| path.as_str() < beginning.as_str());
    let start = range.start + before;
    let length = entries[start..range.end]
        .partition_point(|(path, _)| path.as_str().starts_with(&beginning));
    start..start + length
}

/// Compares paths by components: `/` sorts before all characters of names.
fn by_component(a: &str, b: &str) -> Ordering {
    /// The number of bytes to compare at a time: neighbors share long beginnings.
    const STEP: usize = 16;
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let equal = a
        .chunks_exact(STEP)
        .zip(b.chunks_exact(STEP))
        .take_while(|(a, b)| a == b)
        .count()
        * STEP;
    let (a, b) = (&a[equal..], &b[equal..]);
    match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(place) if a[place] == b'/' => Ordering::Less,
        Some(place) if b[place] == b'/' => Ordering::Greater,
        Some(place) => a[place].cmp(&b[place]),
        None => a.len().cmp(&b.len()),
    }
}

/// Copies the content of a file, and verifies it against the digest. Also sets `md5` if it is
/// given.
fn copy_content(
    path: &InstallPath,
    content: &Content,
    md5: Option<&OnceLock<[u8; 16]>>,
    last: &mut LastOpened,
    out: &mut impl Write,
) -> Result<()> {
    let (mut sha256, mut wanted) = (Sha256::new(), md5.map(|place| (place, Md5::new())));
    copy_range(content, 0..content.digest.size, last, &mut |bytes| {
        sha256.update(bytes);
        if let Some((_, md5)) = &mut wanted {
            md5.update(bytes);
        }
        out.write_all(bytes).context(cannot_write)
    })?;
    if sha256.finalize()[..] == content.digest.sha256.0 {
        // If another thread was first, it has set the same sum.
        _ = wanted.map(|(place, md5)| place.set(md5.finalize().into()));
        Ok(())
    } else {
        Err(changed_content(path, content))
    }
}

/// Returns the error for content that does not match its digest. Discards the layer that it comes
/// from.
fn changed_content(path: &InstallPath, content: &Content) -> Error {
    let error = Error::new(format!("`{path}` has changed since the build read it"))
        .note(format!("its SHA-256 was {}", content.digest.sha256));
    match &content.bytes {
        Bytes::Disk { file, .. } => {
            let error = error.note(format!(
                "it is read from `{}`",
                pkgapp_core::error::shown(file)
            ));
            match pkgapp_release::layer::discard(file) {
                Some(Ok(())) => error.hint(
                    "build again: pkgapp has discarded the damaged layer and will rebuild it",
                ),
                Some(Err(directory)) => error.hint(format!(
                    "remove `{}`",
                    pkgapp_core::error::shown(&directory)
                )),
                None => error,
            }
        }
        Bytes::Memory(_) => error.kind(pkgapp_core::error::ErrorKind::Bug),
    }
}

/// Passes a range of a file's bytes to `take`, in pieces.
fn copy_range(
    content: &Content,
    range: Range<u64>,
    last: &mut LastOpened,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = match content.part(range, last)? {
        Reader::Memory(bytes) => return take(bytes),
        Reader::Disk(reader) => reader,
    };
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).context(|| content.unreadable())? {
            0 => return Ok(()),
            length => take(&buffer[..length])?,
        }
    }
}

pub(crate) fn cannot_write() -> &'static str {
    "cannot write the package"
}

/// Returns the text on one line, for control fields and rpm's header.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The longest line of a description in characters: rpmlint's limit, which fits a terminal.
const DESCRIPTION_WIDTH: usize = 79;

/// Returns the long description; for a package without one, a sentence about its content.
/// Paragraphs are wrapped; lines that begin with a space stay unchanged.
fn description(meta: &PackageInfo) -> String {
    let text = match meta.description.trim() {
        "" => format!(
            "{} {} and all Python distributions that it needs, in one directory: {}.",
            meta.name, meta.version, meta.prefix
        ),
        text => text.to_owned(),
    };
    let mut lines: Vec<String> = Vec::new();
    let mut in_paragraph = false;
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with([' ', '\t']) {
            lines.push(line.trim_end().to_owned());
            in_paragraph = false;
            continue;
        }
        for word in line.split_whitespace() {
            match lines.last_mut() {
                Some(last)
                    if in_paragraph
                        && last.chars().count() + 1 + word.chars().count() <= DESCRIPTION_WIDTH =>
                {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
            in_paragraph = true;
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn paths_are_compared_by_component(a in "[ab/ .-]{0,9}", b in "[ab/ .-]{0,9}", both in "[a/]{0,40}") {
            let (a, b) = (format!("{both}{a}"), format!("{both}{b}"));
            prop_assert_eq!(by_component(&a, &b), a.split('/').cmp(b.split('/')));
        }

        #[test]
        fn a_directory_is_followed_by_what_it_holds(
            texts in proptest::collection::btree_set("(/(a|b|a-|a\\.b|a0|a-b|usr|lib|systemd|system|system-preset)){1,5}", 0..60),
        ) {
            let origin = std::sync::Arc::new(pkgapp_release::tree::EntryOrigin { label: "x".into(), layer: None });
            let entry = TreeEntry::directory(&origin);
            let paths: Vec<InstallPath> = texts.iter().map(|text| InstallPath::parse(text).unwrap()).collect();
            let entries: Vec<PlacedEntry<'_>> = paths.iter().map(|path| (path, &entry)).collect();
            let ordered: Vec<&str> = archive_order(&entries).iter().map(|(path, _)| path.as_str()).collect();
            let mut wanted: Vec<&str> = texts.iter().map(String::as_str).collect();
            wanted.sort_by_key(|path| path.split('/').collect::<Vec<_>>());
            prop_assert_eq!(ordered, wanted);
        }
    }
}
