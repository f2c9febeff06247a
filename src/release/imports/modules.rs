//! The places of modules in a release.

use crate::tree::Tree;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::{InstallPath, ReleasePath};

/// The modules of a release.
#[derive(Debug)]
pub struct ReleaseModules<'a> {
    tree: &'a Tree,
    /// Directories from which modules are imported; the application's plain files come first.
    roots: Vec<InstallPath>,
}

/// The place of a module.
pub(super) enum ModulePlace {
    /// A source, and the package that resolves its relative imports.
    Source(InstallPath, Vec<String>),
    /// A namespace package or compiled code.
    Other,
    /// The release does not contain the module.
    None,
}

impl<'a> ReleaseModules<'a> {
    /// Lists the directories from which every program of a release imports.
    ///
    /// # Errors
    /// None in practice: the components of the paths are valid.
    pub fn of(tree: &'a Tree, prefix: &InstallPath, python: PythonMinor) -> Result<Self> {
        let place = |below: &str| Ok::<_, Error>(prefix.join(&ReleasePath::parse(below)?));
        Ok(Self {
            tree,
            roots: vec![
                place("app")?,
                place(&format!("lib/python{python}/site-packages"))?,
            ],
        })
    }

    /// Adds a directory to search.
    #[must_use]
    pub fn and(mut self, root: InstallPath) -> Self {
        self.roots.push(root);
        self
    }

    pub(super) fn roots(&self) -> &[InstallPath] {
        &self.roots
    }

    /// Returns whether the release contains the module with a dotted name.
    pub fn has(&self, module: &str) -> bool {
        !matches!(
            self.place(&module.split('.').collect::<Vec<_>>()),
            ModulePlace::None
        )
    }

    pub(super) fn place(&self, names: &[&str]) -> ModulePlace {
        let below = names.join("/");
        let package = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for root in &self.roots {
            let at = |end: &str| {
                ReleasePath::parse(&format!("{below}{end}"))
                    .ok()
                    .map(|path| root.join(&path))
            };
            let file = |end: &str| at(end).filter(|path| self.tree.get(path).is_some());
            if let Some(path) = file("/__init__.py") {
                return ModulePlace::Source(path, package(names));
            }
            if let Some(path) = file(".py") {
                return ModulePlace::Source(path, package(&names[..names.len() - 1]));
            }
            if file("").is_some() || self.has_extension(root, &below) {
                return ModulePlace::Other;
            }
        }
        ModulePlace::None
    }

    /// Returns whether the directory has an extension module (`NAME.TAG.so`, `NAME.abi3.so`,
    /// `NAME.so`) or a module without its source.
    fn has_extension(&self, root: &InstallPath, below: &str) -> bool {
        let Some(first) = ReleasePath::parse(&format!("{below}."))
            .ok()
            .map(|path| root.join(&path))
        else {
            return false;
        };
        self.tree
            .range(&first)
            .take_while(|path| path.as_str().starts_with(first.as_str()))
            .any(|path| path.as_str().ends_with(".so") || path.as_str().ends_with(".pyc"))
    }
}
