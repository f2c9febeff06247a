//! The package of a shared interpreter: `pkgapp-python3.13`, installed at `/opt/pkgapp/python3.13`.
//!
//! Each minor version has its own package, so that several can be installed. An application depends
//! on the version that it was built with or a newer patch release, which has the same formats of
//! byte code and extension modules.

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

/// The metadata of the package.
#[derive(Debug)]
pub struct PackageTexts<'a> {
    /// The application whose configuration names the interpreter.
    pub app: &'a Config,
    /// The number of the package among those of one version.
    pub revision: &'a str,
    /// The time of the files, in seconds since 1970.
    pub timestamp: u64,
    /// The targets that the package must run on.
    pub targets: Vec<&'static Target>,
    /// The compression of the payload.
    pub compression: Compression,
}

/// Returns the tree of the package, and its directory: [`SHARED`].
///
/// # Errors
/// Two sources have the same path: a bug.
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
/// The interpreter's version is invalid: a bug.
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
        .map_err(|_| Error::bug(format!("`{}` is not a version", runtime.version)))?;
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
