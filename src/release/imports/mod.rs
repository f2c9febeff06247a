//! The modules that a release certainly imports: parts of the standard library that the host's
//! Linux distribution packages separately, and modules that nothing provides.
//!
//! Only imports that always run count: statements at the top level of a module, outside of `try`,
//! `if`, and functions. The search follows them from the application's own modules through all
//! distributions. So `matplotlib.pyplot` does not require tkinter, although one of its backends
//! does. Sources are read, but not run.

mod command_line;
mod modules;
mod standard;
pub mod statement;

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::layer::Layer;
use crate::tree::{EntryKind, Tree};
use pkgapp_core::error::Result;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::InstallPath;

use self::modules::ModulePlace;

pub use self::command_line::started_modules;
pub use self::modules::ReleaseModules;
pub use self::standard::PythonPart;

/// Returns whether the standard library of any Python version has the top-level module.
pub fn is_standard(module: &str) -> bool {
    standard::is_known(module)
}

/// The result of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundImports {
    /// Parts of the standard library with packages of their own, and the first file that imports
    /// each.
    pub parts: BTreeMap<PythonPart, String>,
    /// Top-level modules that nothing provides, and the first file that imports each.
    pub missing: BTreeMap<String, String>,
}

impl FoundImports {
    /// Follows the imports of the application's own modules: those of its plain files, and those of
    /// the distribution that is built from its project. `optional` lists modules that the
    /// application can do without.
    ///
    /// # Errors
    /// A source in the cache cannot be read.
    pub fn find(
        tree: &Tree,
        prefix: &InstallPath,
        python: PythonMinor,
        layers: &[Layer],
        own: Option<&str>,
        optional: &[String],
    ) -> Result<Self> {
        let mut search = ImportSearch::new(tree, prefix, python, optional)?;
        let is_own = |layer: &&Layer| {
            layer
                .manifest
                .distribution
                .as_ref()
                .is_none_or(|distribution| Some(distribution.name.as_str()) == own)
        };
        for layer in layers.iter().filter(is_own) {
            search.start_from(layer);
        }
        search.run()?;
        Ok(search.found)
    }
}

/// A search through the modules of a release, in the order of their distance from the application's
/// modules.
struct ImportSearch<'a> {
    tree: &'a Tree,
    prefix: &'a InstallPath,
    python: PythonMinor,
    optional: &'a [String],
    modules: ReleaseModules<'a>,
    /// Names under which the application's own files can be imported from any directory on the
    /// search path.
    own_names: HashSet<String>,
    /// Sources to read, with the package that resolves their relative imports.
    queue: VecDeque<(InstallPath, Vec<String>)>,
    seen: HashSet<InstallPath>,
    /// Dotted names that are already resolved.
    known: HashSet<String>,
    found: FoundImports,
}

impl<'a> ImportSearch<'a> {
    fn new(
        tree: &'a Tree,
        prefix: &'a InstallPath,
        python: PythonMinor,
        optional: &'a [String],
    ) -> Result<Self> {
        Ok(Self {
            tree,
            prefix,
            python,
            optional,
            modules: ReleaseModules::of(tree, prefix, python)?,
            own_names: HashSet::new(),
            queue: VecDeque::new(),
            seen: HashSet::new(),
            known: HashSet::new(),
            found: FoundImports::default(),
        })
    }

    /// Adds the modules of a layer, except for tests and development tools, to the queue.
    fn start_from(&mut self, layer: &Layer) {
        let sources = layer
            .manifest
            .entries
            .iter()
            .filter(|entry| entry.path.as_str().ends_with(".py"));
        for path in sources.map(|entry| self.prefix.join(&entry.path)) {
            let Some((root, module)) = self
                .modules
                .roots()
                .iter()
                .find_map(|root| Some((root, path.below(root)?)))
            else {
                continue;
            };
            let package: Vec<String> = module.as_str().split('/').map(str::to_owned).collect();
            let Some((file, directories)) = package.split_last() else {
                continue;
            };
            if root == &self.modules.roots()[0] {
                self.own_names.extend(directories.iter().cloned());
                self.own_names
                    .extend(file.strip_suffix(".py").map(str::to_owned));
            }
            if !package.iter().any(|name| is_aside(name)) && self.seen.insert(path.clone()) {
                self.queue.push_back((path, directories.to_vec()));
            }
        }
    }

    fn run(&mut self) -> Result<()> {
        while let Some((path, package)) = self.queue.pop_front() {
            let Some(EntryKind::File(content)) = self.tree.get(&path).map(|entry| &entry.kind)
            else {
                continue;
            };
            let text = content.read()?;
            let file = path
                .below(self.prefix)
                .map_or_else(|| path.to_string(), |path| path.to_string());
            for import in statement::certain(&text) {
                for module in import.modules(&package) {
                    self.resolve(&module, &file);
                }
            }
        }
        Ok(())
    }

    /// Finds a module and its parent packages, which Python executes first.
    fn resolve(&mut self, module: &str, file: &str) {
        let names: Vec<&str> = module.split('.').collect();
        for end in 1..=names.len() {
            let dotted = names[..end].join(".");
            if !self.known.insert(dotted.clone()) {
                continue;
            }
            if self.optional.iter().any(|name| is_within(&dotted, name)) {
                return;
            }
            match self.modules.place(&names[..end]) {
                ModulePlace::Source(path, package) => {
                    if self.seen.insert(path.clone()) {
                        self.queue.push_back((path, package));
                    }
                }
                ModulePlace::Other => {}
                ModulePlace::None if end == 1 && !self.own_names.contains(names[0]) => {
                    self.judge(module, names[0], file);
                    // Each module of a package may belong to another part.
                    self.known.remove(&dotted);
                    return;
                }
                ModulePlace::None => return,
            }
        }
    }

    /// Records a module that is not in the release as a missing module or a part of the standard
    /// library.
    fn judge(&mut self, module: &str, top: &str, file: &str) {
        // setuptools has its own distutils.
        if top == "distutils"
            && matches!(self.modules.place(&["setuptools"]), ModulePlace::Source(..))
        {
            return;
        }
        // setuptools also adds a directory of vendored modules to its search path.
        let is_setuptools = ["/setuptools/", "/pkg_resources/"]
            .iter()
            .any(|package| file.contains(package));
        let is_vendored = || {
            !matches!(
                self.modules.place(&["setuptools", "_vendor", top]),
                ModulePlace::None
            )
        };
        if is_of_windows(top) || is_setuptools && is_vendored() {
            return;
        }
        if !standard::has(self.python, top) {
            self.found
                .missing
                .entry(top.to_owned())
                .or_insert_with(|| file.to_owned());
        } else if let Some(part) = PythonPart::of(module) {
            self.found
                .parts
                .entry(part)
                .or_insert_with(|| file.to_owned());
        }
    }
}

/// Returns whether only developers run the file or directory of an application.
fn is_aside(name: &str) -> bool {
    let stem = name.strip_suffix(".py").unwrap_or(name);
    [
        "test", "tests", "testing", "conftest", "noxfile", "docs", "setup", "fabfile",
    ]
    .contains(&stem)
        || stem.starts_with("test_")
        || stem.starts_with("tests_")
        || stem.ends_with("_test")
}

/// Returns whether a module belongs to pywin32, which does not exist for Linux: a module that
/// imports it is for Windows.
fn is_of_windows(module: &str) -> bool {
    let others = [
        "pythoncom",
        "pythonwin",
        "pywintypes",
        "servicemanager",
        "winerror",
    ];
    module.starts_with("win32") || others.contains(&module)
}

/// Returns whether a dotted name is the module itself or a name in it.
fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
