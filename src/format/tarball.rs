//! Tarballs: one top directory that is the release.
//!
//! `/opt/shop/bin/shop` is `shop-1.4.2/bin/shop`: the release runs wherever it is unpacked. What
//! belongs elsewhere on a host (configuration, units) lies below `shop-1.4.2/host/`, e.g.
//! `shop-1.4.2/host/etc/shop/shop.env`, for whoever installs the tarball to put in place. What a
//! login without root has instead lies below `shop-1.4.2/.pkgapp/login/`.

use std::collections::BTreeMap;
use std::io::Write;

use super::{ArchiveKind, MemberHeader, PackageFormat, archive, compress};
use crate::segment::Segments;
use pkgapp_config::Compression;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::Arch;
use pkgapp_core::path::InstallPath;
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::tree::TreeEntry;
use pkgapp_release::writable::InPlace;

pub(super) const ZSTD_LEVEL: i32 = 9;
pub(super) const GZIP_LEVEL: u32 = 6;
pub(super) const XZ_PRESET: u32 = 6;

/// `.tar.zst`, `.tar.gz` or `.tar.xz`.
#[derive(Debug, Clone, Copy)]
pub struct TarballFormat {
    /// The codec and its level, where the package's compression is of another codec; `None` is the
    /// package's.
    pub codec: Option<Compression>,
}

impl PackageFormat for TarballFormat {
    fn file_name(&self, meta: &PackageInfo) -> Result<String> {
        let arch = if meta.arch == Arch::Any {
            "noarch"
        } else {
            meta.arch.as_str()
        };
        let extension = match self.compression(meta) {
            Compression::Zstd(_) => "zst",
            Compression::Gzip(_) => "gz",
            Compression::Xz(_) => "xz",
        };
        Ok(format!(
            "{}-{}.{arch}.tar.{extension}",
            top_directory(meta),
            meta.revision
        ))
    }

    fn write(&self, package: &Package, segments: &Segments<'_>, out: &mut dyn Write) -> Result<()> {
        let members = listing(package)?
            .into_iter()
            .map(|(name, place)| MemberHeader {
                name: name.replace(SEPARATOR, "/"),
                mtime: place.map_or_else(
                    || archive::directory_mtime(&package.meta),
                    |(_, entry)| archive::mtime(&package.meta, entry),
                ),
                place,
                md5: None,
            });
        segments
            .payload(
                ArchiveKind::Tar,
                members.collect(),
                self.compression(&package.meta),
            )?
            .write_to(out)
    }
}

impl TarballFormat {
    /// The package's level counts where its codec is the one that was asked for.
    fn compression(self, meta: &PackageInfo) -> Compression {
        use Compression::{Gzip, Xz, Zstd};
        match (self.codec, meta.compression) {
            (None, chosen) | (Some(Zstd(_)), chosen @ Zstd(_)) => chosen,
            (Some(Xz(_)), chosen @ Xz(_)) => chosen,
            (Some(Gzip(_)), chosen) => Gzip(compress::gzip_level(chosen)),
            (Some(codec), _) => codec,
        }
    }
}

/// A line of the archive: an entry of the tree, or a directory that only the archive has.
type TarballLine<'a> = Option<(&'a InstallPath, &'a TreeEntry)>;

/// Returns the directory that everything lies in, e.g. `shop-1.4.2`.
pub fn top_directory(meta: &PackageInfo) -> String {
    // `!` is special to shells; the epoch is not in the other formats' file names either.
    let version = meta.version.to_string();
    let version = version
        .split_once('!')
        .map_or(version.as_str(), |(_, version)| version);
    format!("{}-{version}", meta.name)
}

/// Returns the name in the archive of a path on a host.
pub fn member_name(meta: &PackageInfo, path: &InstallPath) -> String {
    let top = top_directory(meta);
    match path.below(&meta.prefix) {
        Some(below) => format!("{top}/{below}"),
        None if *path == meta.prefix => top,
        None => format!("{top}/host{path}"),
    }
}

/// What stands for a slash where names are sorted: it comes before everything that a component may
/// hold, so that a directory comes before all that it holds, and all of that before what comes
/// after it.
const SEPARATOR: &str = "\0";

/// All members by their names, with another separator.
fn listing(package: &Package) -> Result<BTreeMap<String, TarballLine<'_>>> {
    check_host(package)?;
    let mut members: BTreeMap<String, TarballLine<'_>> = BTreeMap::new();
    let in_place = InPlace::of(&package.writable, &package.meta.prefix)?;
    for (entry_path, entry) in package.tree.iter().chain(package.login.iter()) {
        let Some(path) = in_place.path(entry_path) else {
            continue;
        };
        let name = member_name(&package.meta, &path).replace('/', SEPARATOR);
        let mut parent = name.rsplit_once(SEPARATOR);
        while let Some((directory, _)) = parent {
            // Above one that is known, all are.
            if members.contains_key(directory) {
                break;
            }
            members.insert(directory.to_owned(), None);
            parent = directory.rsplit_once(SEPARATOR);
        }
        members.insert(name, Some((entry_path, entry)));
    }
    Ok(members)
}

/// `host/` means something in a tarball, so the release can't have it where files lie outside the
/// prefix.
fn check_host(package: &Package) -> Result<()> {
    let prefix = &package.meta.prefix;
    let host = InstallPath::parse(&format!("{prefix}/host"))?;
    let inside = package.tree.get(&host);
    let outside = package
        .tree
        .iter()
        .find(|(path, _)| *path != prefix && path.below(prefix).is_none());
    match (inside, outside) {
        (Some(entry), Some((path, _))) => Err(Error::new(format!(
            "a tarball can't hold both `{host}` and `{path}`"
        ))
        .cause_text(format!("{} has `{host}`", entry.origin.label))
        .note("files outside the prefix lie below `host/` in a tarball")
        .hint("give `host` in the release another name")),
        _ => Ok(()),
    }
}
