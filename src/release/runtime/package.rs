//! A package of an interpreter alone, which applications share: `pkgapp-python3.13`, at
//! `/opt/pkgapp/python3.13`.
//!
//! Every minor version is a package of its own, so that several can be installed. An application
//! depends on the one that it was built with, or a newer patch release of it: byte code and
//! extension modules are the same for all of them.

use std::sync::Arc;

use super::{Runtime, SHARED, directory};
use crate::depends::{ElfScan, HostDependencies};
use crate::package::{Package, PackageInfo, Scriptlets};
use crate::release::{RECORD, ReleaseRecord};
use crate::tree::{CollisionWinner, EntryOrigin, Tree, TreeEntry};
use pkgapp_config::Compression;
use pkgapp_config::Config;
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::path::InstallPath;
use pkgapp_core::target::Target;
use pkgapp_pypa::Version;

/// What the package says of itself, apart from what is in it.
#[derive(Debug)]
pub struct PackageTexts<'a> {
    /// The application whose configuration names the interpreter.
    pub app: &'a Config,
    /// Counts packages of one version.
    pub revision: &'a str,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Hosts that it must run on.
    pub targets: Vec<&'static Target>,
    /// How it is compressed.
    pub compression: Compression,
}

/// Returns what lies at [`SHARED`].
///
/// # Errors
/// Two sources for a path: a bug.
pub fn tree(runtime: &Runtime) -> Result<(Tree, InstallPath)> {
    let prefix = InstallPath::parse(SHARED)?;
    let mut tree = Tree::new();
    runtime
        .layer
        .insert_into(&mut tree, &prefix, &|_, _, _| CollisionWinner::Nobody)?;
    let record = ReleaseRecord::of_runtime(runtime)?;
    let text = serde_json::to_string_pretty(&record).context(|| "cannot write the record")? + "\n";
    let origin = Arc::new(EntryOrigin {
        label: "the package itself".into(),
        layer: None,
    });
    let place = InstallPath::parse(&format!("{SHARED}/{}/{RECORD}", directory(runtime.python)))?;
    tree.insert(
        place,
        TreeEntry::file(Content::memory(text.into_bytes()), 0o644, &origin),
    )?;
    Ok((tree, prefix))
}

/// Returns the package of an interpreter.
///
/// # Errors
/// Its version is none: a bug.
pub fn package(
    runtime: &Runtime,
    tree: Tree,
    prefix: InstallPath,
    scan: ElfScan,
    about: &PackageTexts<'_>,
) -> Result<Package> {
    let version: Version = runtime
        .version
        .parse()
        .map_err(|_| Error::bug(format!("`{}` is no version", runtime.version)))?;
    let python = runtime.python;
    Ok(Package {
        login: Tree::new(),
        writable: Vec::new(),
        ghosts: Vec::new(),
        meta: PackageInfo {
            name: AppName::of_runtime(python),
            version,
            revision: about.revision.to_owned(),
            arch: scan.arch,
            summary: format!("CPython {python} for applications that pkgapp has packaged"),
            description: format!(
                "It lies in {SHARED}/{} and is no program of the host's: nothing is in anyone's PATH.",
                directory(python)
            ),
            license: Some("PSF-2.0".to_owned()),
            maintainer: about.app.maintainer.clone(),
            homepage: Some("https://www.python.org/".to_owned()),
            section: "python".to_owned(),
            prefix,
            timestamp: about.timestamp,
            commit: None,
            targets: about.targets.clone(),
            compression: about.compression,
        },
        depends: HostDependencies {
            libraries: scan.libraries,
            ..HostDependencies::default()
        },
        tree,
        scriptlets: Scriptlets::default(),
    })
}
