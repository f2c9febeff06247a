//! A package: what it is called, what it needs, its tree and its scriptlets. Made once; formats only read it.

use crate::depends::Depends;
use crate::name::{AppName, Arch};
use crate::path::InstallPath;
use crate::pypa::Version;
use crate::target::Target;
use crate::tree::Tree;

/// Everything a format needs, and nothing else: equal packages give equal bytes.
#[derive(Debug, Clone)]
pub struct Package {
    /// Names and texts.
    pub meta: Meta,
    /// What the host must have.
    pub depends: Depends,
    /// The files.
    pub tree: Tree,
    /// What dpkg and rpm run.
    pub scriptlets: Scriptlets,
}

/// Names and texts of a package.
#[derive(Debug, Clone)]
pub struct Meta {
    /// The application's and the package's name.
    pub name: AppName,
    /// The application's version; formats map it to their own order.
    pub version: Version,
    /// Counts packages of one version: Debian's revision, rpm's Release.
    pub revision: String,
    /// `Any` if no file is compiled code.
    pub arch: Arch,
    /// One line without a full stop.
    pub summary: String,
    /// Paragraphs; may be empty.
    pub description: String,
    /// SPDX expression, or what the author wrote.
    pub license: Option<String>,
    /// `Name <address>`.
    pub maintainer: String,
    /// URL.
    pub homepage: Option<String>,
    /// Debian's archive section, e.g. `misc`.
    pub section: String,
    /// Where the release lies on a host.
    pub prefix: InstallPath,
    /// Seconds since 1970: the latest time in a package (SOURCE_DATE_EPOCH, else the commit's). Layers' files have others.
    pub timestamp: u64,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// Hosts that it must run on; empty if the user named none.
    pub targets: Vec<&'static Target>,
    /// How its payload is compressed.
    pub compression: Compression,
}

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd with its level, 1 to 22.
    Zstd(i32),
    /// gzip with its level, 0 to 9.
    Gzip(u32),
    /// xz with its preset, 0 to 9.
    Xz(u32),
}

/// Bodies of `/bin/sh` scripts; the formats put what their package manager needs around them, and set these variables:
///
/// - `PKGAPP_ACTION`: `install` or `upgrade` in the scripts before and after an installation; `remove` or `upgrade` in
///   those around a removal, and `purge` in `after_remove` on hosts with dpkg.
/// - `PKGAPP_FORMAT`: `deb` or `rpm`.
///
/// dpkg stops at a failing command (`set -e`) and leaves the package half configured; rpm goes on to the next command.
/// On an upgrade dpkg runs the old version's removal scripts before the new version's `after_install`, rpm after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scriptlets {
    /// Before the files of a version are unpacked.
    pub before_install: Option<String>,
    /// After they are in place.
    pub after_install: Option<String>,
    /// Before they are removed.
    pub before_remove: Option<String>,
    /// After they are removed.
    pub after_remove: Option<String>,
}
