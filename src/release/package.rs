//! A package: what it is called, what it needs, its tree and its scriptlets. Made once; formats
//! only read it.

use crate::depends::HostDependencies;
use crate::tree::Tree;
use pkgapp_config::Compression;
use pkgapp_core::name::{AppName, Arch};
use pkgapp_core::path::InstallPath;
use pkgapp_core::target::Target;
use pkgapp_pypa::Version;

/// Everything a format needs, and nothing else: equal packages give equal bytes.
#[derive(Debug, Clone)]
pub struct Package {
    /// Names and texts.
    pub meta: PackageInfo,
    /// What the host must have.
    pub depends: HostDependencies,
    /// The files.
    pub tree: Tree,
    /// More files of a tarball, below the prefix; see [`crate::services::login`].
    pub login: Tree,
    /// Files that scriptlets make on the host and that are the package's nevertheless: byte code,
    /// if it is not in the tree. Sorted; their directories are in the tree.
    pub ghosts: Vec<InstallPath>,
    /// Links to what the application writes to; see [`crate::writable`].
    pub writable: Vec<InstallPath>,
    /// What dpkg and rpm run.
    pub scriptlets: Scriptlets,
}

/// Names and texts of a package.
#[derive(Debug, Clone)]
pub struct PackageInfo {
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
    /// Seconds since 1970: the latest time in a package (SOURCE_DATE_EPOCH, else the commit's).
    /// Layers' files have others.
    pub timestamp: u64,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// Hosts that it must run on; empty if the user named none.
    pub targets: Vec<&'static Target>,
    /// How its payload is compressed.
    pub compression: Compression,
}

/// What dpkg and rpm run: whole scripts of `/bin/sh`, as [`crate::scriptlets`] renders them.
/// `None`: nothing is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scriptlets {
    /// dpkg's.
    pub deb: DebScriptlets,
    /// rpm's.
    pub rpm: RpmScriptlets,
}

/// Maintainer scripts and what belongs to them (Debian Policy, chapter 6).
///
/// dpkg stops at a script that fails and leaves the package half configured. On an upgrade it runs
/// prerm and postrm of the old version before postinst of the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebScriptlets {
    /// Before the files of a version are unpacked.
    pub preinst: Option<String>,
    /// After they are in place.
    pub postinst: Option<String>,
    /// Before they are removed.
    pub prerm: Option<String>,
    /// After they are removed.
    pub postrm: Option<String>,
    /// Lines of the `triggers` file (deb-triggers(5)).
    pub triggers: Vec<String>,
    /// What preinst runs, as `Pre-HostDependencies`.
    pub pre_depends: Vec<String>,
}

/// Scriptlets of a spec file.
///
/// rpm goes on with a transaction when one fails, except that a failing %pre or %preun keeps it
/// from installing or removing the package. On an upgrade it runs %preun and %postun of the old
/// version after %post of the new one; %posttrans comes when all of that is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpmScriptlets {
    /// `%pre`: before the files of a version are unpacked.
    pub pre: Option<String>,
    /// `%preun`: before they are removed.
    pub preun: Option<String>,
    /// `%postun`: after they are removed.
    pub postun: Option<String>,
    /// `%posttrans`: after the whole transaction.
    pub posttrans: Option<String>,
    /// `%transfiletriggerin`.
    pub trigger: Option<FileTrigger>,
    /// What `%pre` runs, as `Requires(pre)`.
    pub requires_pre: Vec<String>,
}

/// A script that rpm runs after a transaction that installed certain files, of whatever package;
/// the package's own installation counts as one if such files are there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTrigger {
    /// What the paths of the files begin with.
    pub paths: Vec<String>,
    /// The script.
    pub script: String,
}
