//! Tarballs: the release is their single top directory.
//!
//! `/opt/shop/bin/shop` becomes `shop-1.4.2/bin/shop`: the release runs in any directory. Files for
//! other places of a host (configuration, units) are below `shop-1.4.2/host/`, e.g.
//! `shop-1.4.2/host/etc/shop/shop.env`, for the person who installs the tarball. The corresponding
//! files for a login without root are below `shop-1.4.2/.pkgapp/login/`.

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

/// The formats `tar.zst`, `tar.gz`, and `tar.xz`.
#[derive(Debug, Clone, Copy)]
pub struct TarballFormat {
    /// The codec and its default level; the package's level applies if it has the same codec.
    /// `None` for the compression of the package.
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
    /// Returns the compression: the package's level applies if the package has the requested codec.
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

/// A member of the archive: an entry of the tree, or `None` for a directory that only the archive
/// contains.
type TarballLine<'a> = Option<(&'a InstallPath, &'a TreeEntry)>;

/// Returns the name of the top directory, e.g. `shop-1.4.2`.
pub fn top_directory(meta: &PackageInfo) -> String {
    // `!` is special in shells, and file names of the other formats do not contain the epoch
    // either.
    let version = meta.version.to_string();
    let version = version
        .split_once('!')
        .map_or(version.as_str(), |(_, version)| version);
    format!("{}-{version}", meta.name)
}

/// Returns the name of a host's path in the archive.
pub fn member_name(meta: &PackageInfo, path: &InstallPath) -> String {
    let top = top_directory(meta);
    match path.below(&meta.prefix) {
        Some(below) => format!("{top}/{below}"),
        None if *path == meta.prefix => top,
        None => format!("{top}/host{path}"),
    }
}

/// Replaces the slash for sorting names: it sorts before all characters of names, so that the
/// content of a directory directly follows it.
const SEPARATOR: &str = "\0";

/// Returns all members by their names, with the other separator.
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
            // If this directory is a member, all directories above it are.
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

/// Checks that the release has no `host/` if files are outside of the prefix: that directory has a
/// meaning in tarballs.
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
            "a tarball cannot contain both `{host}` and `{path}`"
        ))
        .cause_text(format!("`{host}` comes from {}", entry.origin.label))
        .note("a tarball has files outside of the prefix below `host/`")
        .hint("rename `host` in the release")),
        _ => Ok(()),
    }
}
