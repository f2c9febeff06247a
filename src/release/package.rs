//! A package: its metadata, dependencies, tree, and scriptlets. The build creates it once; formats
//! only read it.

use crate::depends::HostDependencies;
use crate::tree::Tree;
use pkgapp_config::Compression;
use pkgapp_core::name::{AppName, Arch};
use pkgapp_core::path::InstallPath;
use pkgapp_core::target::Target;
use pkgapp_pypa::Version;

/// All inputs of a format. Equal packages result in equal bytes.
#[derive(Debug, Clone)]
pub struct Package {
    /// Metadata.
    pub meta: PackageInfo,
    /// Dependencies on the host.
    pub depends: HostDependencies,
    /// The files.
    pub tree: Tree,
    /// Additional files of a tarball, below the prefix; see [`crate::services::login`].
    pub login: Tree,
    /// Files that scriptlets create on the host and that belong to the package: byte code, if it is
    /// not in the tree. Sorted; the tree has their directories.
    pub ghosts: Vec<InstallPath>,
    /// The links to paths that the application writes to; see [`crate::writable`].
    pub writable: Vec<InstallPath>,
    /// The scripts that dpkg and rpm run.
    pub scriptlets: Scriptlets,
}

/// The metadata of a package.
#[derive(Debug, Clone)]
pub struct PackageInfo {
    /// The name of the application and the package.
    pub name: AppName,
    /// The application's version; formats translate it to their own order.
    pub version: Version,
    /// The number of the package among those of one version: Debian's revision, rpm's Release.
    pub revision: String,
    /// The architecture; `Any` if no file is compiled code.
    pub arch: Arch,
    /// A summary: one line without a period.
    pub summary: String,
    /// A description in paragraphs; may be empty.
    pub description: String,
    /// The license: an SPDX expression, or the author's text.
    pub license: Option<String>,
    /// The maintainer: `Name <address>`.
    pub maintainer: String,
    /// The URL of the homepage.
    pub homepage: Option<String>,
    /// Debian's archive section, e.g. `misc`.
    pub section: String,
    /// The directory of the release on a host.
    pub prefix: InstallPath,
    /// The latest time in a package, in seconds since 1970 (SOURCE_DATE_EPOCH, or the time of the
    /// commit). Files of layers have other times.
    pub timestamp: u64,
    /// The commit that the package was built from.
    pub commit: Option<String>,
    /// The targets that the package must run on; empty if the user declared none.
    pub targets: Vec<&'static Target>,
    /// The compression of the payload.
    pub compression: Compression,
}

/// The scripts that dpkg and rpm run: whole scripts for `/bin/sh`, as [`crate::scriptlets`] renders
/// them. `None` if a script has nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scriptlets {
    /// The scripts for dpkg.
    pub deb: DebScriptlets,
    /// The scripts for rpm.
    pub rpm: RpmScriptlets,
}

/// The maintainer scripts, with their triggers and dependencies (Debian Policy, chapter 6).
///
/// If a script fails, dpkg stops and leaves the package half configured. On an upgrade it runs
/// prerm and postrm of the old version before postinst of the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebScriptlets {
    /// Runs before dpkg unpacks the files of a version.
    pub preinst: Option<String>,
    /// Runs after dpkg has unpacked the files.
    pub postinst: Option<String>,
    /// Runs before dpkg removes the files.
    pub prerm: Option<String>,
    /// Runs after dpkg has removed the files.
    pub postrm: Option<String>,
    /// Lines of the `triggers` file (deb-triggers(5)).
    pub triggers: Vec<String>,
    /// The packages that preinst needs, for `Pre-Depends`.
    pub pre_depends: Vec<String>,
}

/// The scriptlets of a spec file.
///
/// rpm continues a transaction when a scriptlet fails, except that a failing %pre or %preun
/// prevents the installation or removal of the package. On an upgrade it runs %preun and %postun of
/// the old version after %post of the new one, and %posttrans at the end of the transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpmScriptlets {
    /// `%pre`: runs before rpm unpacks the files of a version.
    pub pre: Option<String>,
    /// `%preun`: runs before rpm removes the files.
    pub preun: Option<String>,
    /// `%postun`: runs after rpm has removed the files.
    pub postun: Option<String>,
    /// `%posttrans`: runs after the whole transaction.
    pub posttrans: Option<String>,
    /// `%transfiletriggerin`.
    pub trigger: Option<FileTrigger>,
    /// The packages that `%pre` needs, for `Requires(pre)`.
    pub requires_pre: Vec<String>,
}

/// A script that rpm runs after a transaction that installed certain files of any package. If a
/// host already has such files, rpm also runs it when the package itself is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTrigger {
    /// The beginnings of the files' paths.
    pub paths: Vec<String>,
    /// The script.
    pub script: String,
}
