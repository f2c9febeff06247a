//! The files of a release that belong to no distribution: `bin/python` and its other names,
//! `pyvenv.cfg`, and the release's record.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::layer::{Layer, LayerEntryKind};
use crate::needed_settings::NeededSettings;
use crate::prune::PruneSavings;
use crate::runtime::{InterpreterHome, RecordedInterpreter, Runtime, SHARED, directory};
use crate::tree::{EntryOrigin, Tree, TreeEntry};
use pkgapp_config::{AppliedRecipe, AppliedRecipes, PruneProfile};
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Result};
use pkgapp_core::name::{AppName, PythonMinor};
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_pypa::Version;

/// The path of a release's record, below the prefix.
pub const RECORD: &str = ".pkgapp/release.json";

/// The version of [`ReleaseRecord`]. Raise it for changes that older readers would misread.
const RECORD_FORMAT: u32 = 1;

/// The parts of a release other than its layers.
#[derive(Debug, Clone)]
pub struct Release<'a> {
    /// The application's name.
    pub name: &'a AppName,
    /// Its version.
    pub version: &'a Version,
    /// The commit that the release was built from.
    pub commit: Option<&'a str>,
    /// The Python version of the release.
    pub python: PythonMinor,
    /// The interpreter of the release, bundled or shared; `None` for the host's.
    pub runtime: Option<&'a Runtime>,
    /// Directories below `app/`, relative to it, from which modules are imported in addition to
    /// `app/` itself.
    pub import_from: &'a [ReleasePath],
    /// The recipes that the configuration is based on, and the facts that they used.
    pub recipes: &'a AppliedRecipes,
    /// The settings that only hosts have values for.
    pub settings: Option<NeededSettings>,
    /// Whether its services are in a package of their own.
    pub is_separate: bool,
}

/// The content of `.pkgapp/release.json`. Equal releases have equal records, so a record contains
/// no time, machine, or user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// Version of this format.
    pub format: u32,
    /// The application's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit that the release was built from.
    pub commit: Option<String>,
    /// The Python version of the release; `None` for the package of a backing service, which has no
    /// Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<PythonMinor>,
    /// The interpreter, unless it is the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<RecordedInterpreter>,
    /// The distributions of the release, sorted by name.
    pub distributions: Vec<RecordedDistribution>,
    /// The recipes of its configuration, the weakest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipes: Vec<RecordedRecipe>,
    /// The facts about the project that the recipes used, with their values as TOML writes them;
    /// `None` in releases of older versions, and without recipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<BTreeMap<String, String>>,
    /// The settings that only hosts have values for, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<NeededSettings>,
    /// Whether its services are in a configuration package.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate: bool,
}

/// A recipe in a release's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRecipe {
    /// The name and version of a built-in recipe, the path of a file in the project, or the
    /// distribution and the recipe's name in it.
    pub name: String,
    /// The version of the distribution that contains the recipe, and the file in its wheel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The SHA-256 of the recipe's file.
    pub sha256: String,
}

/// A distribution in a release's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDistribution {
    /// Normalized name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The name of the installed wheel.
    pub wheel: String,
    /// The SHA-256 of that wheel.
    pub sha256: String,
    /// The origin of the wheel, without credentials.
    pub from: String,
    /// The size of the installed files, in bytes.
    pub size: u64,
    /// The files that pruning removed, by profile.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pruned: BTreeMap<PruneProfile, PruneSavings>,
}

impl ReleaseRecord {
    /// Returns the record of an interpreter with a package of its own.
    ///
    /// # Errors
    /// Errors of [`Runtime::recorded`].
    pub fn of_runtime(runtime: &Runtime) -> Result<Self> {
        Ok(Self {
            format: RECORD_FORMAT,
            name: AppName::of_runtime(runtime.python).to_string(),
            version: runtime.version.clone(),
            commit: None,
            python: Some(runtime.python),
            interpreter: Some(runtime.recorded()?),
            distributions: Vec::new(),
            recipes: Vec::new(),
            facts: None,
            settings: None,
            separate: false,
        })
    }
}

impl ReleaseRecord {
    /// Returns the record of the package of a backing service.
    pub fn of_service(name: &AppName, version: &str) -> Self {
        Self {
            format: RECORD_FORMAT,
            name: name.to_string(),
            version: version.to_owned(),
            commit: None,
            python: None,
            interpreter: None,
            distributions: Vec::new(),
            recipes: Vec::new(),
            facts: None,
            settings: None,
            separate: false,
        }
    }
}

impl RecordedRecipe {
    /// Returns the record of a recipe.
    pub fn of(recipe: &AppliedRecipe) -> Self {
        Self {
            name: recipe.name.clone(),
            from: recipe
                .file
                .as_ref()
                .filter(|_| recipe.is_in_distribution)
                .map(|file| file.display().to_string()),
            sha256: recipe.sha256.to_string(),
        }
    }
}

impl RecordedDistribution {
    fn of(layer: &Layer) -> Option<Self> {
        let distribution = layer.manifest.distribution.as_ref()?;
        let size = layer
            .manifest
            .entries
            .iter()
            .map(|entry| match &entry.kind {
                LayerEntryKind::File { digest, .. } => digest.size,
                LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => 0,
            });
        Some(Self {
            name: distribution.name.clone(),
            version: distribution.version.clone(),
            wheel: distribution.wheel.clone(),
            sha256: distribution.sha256.clone(),
            from: distribution.from.clone(),
            size: size.sum(),
            pruned: layer.manifest.pruned.saved.clone(),
        })
    }
}

impl Release<'_> {
    /// Returns the record of this release with these layers.
    ///
    /// # Errors
    /// Errors of [`Runtime::recorded`].
    pub fn record(&self, layers: &[Layer]) -> Result<ReleaseRecord> {
        let mut distributions: Vec<RecordedDistribution> =
            layers.iter().filter_map(RecordedDistribution::of).collect();
        distributions.sort_by(|a, b| a.name.cmp(&b.name));
        let applied = &self.recipes.recipes;
        let facts = self.recipes.facts.iter();
        let facts = facts.map(|fact| (fact.name.to_owned(), fact.value.clone()));
        Ok(ReleaseRecord {
            format: RECORD_FORMAT,
            name: self.name.to_string(),
            version: self.version.to_string(),
            commit: self.commit.map(str::to_owned),
            python: Some(self.python),
            interpreter: self.runtime.map(Runtime::recorded).transpose()?,
            distributions,
            recipes: applied.iter().map(RecordedRecipe::of).collect(),
            facts: (!applied.is_empty()).then(|| facts.collect()),
            settings: self.settings.clone(),
            separate: self.is_separate,
        })
    }

    /// Adds the files that belong to no layer to a tree: `bin/python` and its other names,
    /// `pyvenv.cfg`, and the record. If the application has files of its own, also adds the `.pth`
    /// file with which console scripts can import its modules.
    ///
    /// # Errors
    /// A layer has a file at one of these places.
    pub fn insert_into(
        &self,
        tree: &mut Tree,
        prefix: &InstallPath,
        layers: &[Layer],
    ) -> Result<()> {
        let origin = Arc::new(EntryOrigin {
            label: "the release itself".into(),
            layer: None,
        });
        let mut insert = |path: &str, entry: TreeEntry| {
            tree.insert(prefix.join(&ReleasePath::parse(path)?), entry)
        };
        insert(
            "bin/python",
            TreeEntry::symlink(self.interpreter(), &origin),
        )?;
        insert("bin/python3", TreeEntry::symlink("python", &origin))?;
        insert(
            &format!("bin/python{}", self.python),
            TreeEntry::symlink("python", &origin),
        )?;
        insert("pyvenv.cfg", text(self.pyvenv_cfg(), &origin))?;
        if let Some(lines) = self.runtime.and_then(Runtime::start_lines) {
            // The name sorts first, so that modules of other `.pth` files can rely on this one,
            // such as for trusted certificates.
            let name = format!("lib/python{}/site-packages/_pkgapp.pth", self.python);
            insert(&name, text(lines, &origin))?;
        }
        let record = serde_json::to_string_pretty(&self.record(layers)?)
            .context(|| "cannot write the record")?;
        insert(RECORD, text(record + "\n", &origin))?;
        if layers.iter().any(has_application_files) {
            let name = format!(
                "lib/python{}/site-packages/{}-app.pth",
                self.python, self.name
            );
            insert(&name, text(self.application_lines(), &origin))?;
        }
        Ok(())
    }

    /// Returns the lines of the `.pth` file for the application's own modules.
    fn application_lines(&self) -> String {
        // site.addpackage resolves these relative to the directory of the `.pth` file.
        let more = self
            .import_from
            .iter()
            .map(|directory| format!("../../../app/{}\n", directory.as_str()));
        std::iter::once("../../../app\n".to_owned())
            .chain(more)
            .collect()
    }

    /// Returns the target of the link `bin/python`. The host's interpreter has a fixed path there,
    /// because the build machine's may be elsewhere.
    fn interpreter(&self) -> String {
        match self
            .runtime
            .map(|runtime| (runtime.home, runtime.executable()))
        {
            None => format!("/usr/bin/python{}", self.python),
            Some((InterpreterHome::Release, executable)) => format!("../{executable}"),
            Some((InterpreterHome::Package, executable)) => format!("{SHARED}/{executable}"),
        }
    }

    /// Returns the text of `pyvenv.cfg`. A release with its own interpreter has no `home`, which
    /// would have to be an absolute path: without it, CPython follows the link (getpath.c until
    /// 3.10, getpath.py since then).
    fn pyvenv_cfg(&self) -> String {
        match self.runtime.map(|runtime| runtime.home) {
            None => pyvenv_cfg("/usr/bin", self.python),
            Some(InterpreterHome::Release) => {
                let text = pyvenv_cfg("", self.python);
                text.lines()
                    .skip(1)
                    .map(|line| format!("{line}\n"))
                    .collect()
            }
            Some(InterpreterHome::Package) => pyvenv_cfg(
                &format!("{SHARED}/{}/bin", directory(self.python)),
                self.python,
            ),
        }
    }
}

/// Returns the text of a `pyvenv.cfg` (PEP 405). `home` is the directory of the base interpreter.
///
/// The file names only the minor version, because the host decides which patch release runs.
pub fn pyvenv_cfg(home: &str, python: PythonMinor) -> String {
    // Without the second line, site.py would assume `true`.
    format!("home = {home}\ninclude-system-site-packages = false\nversion = {python}\n")
}

fn has_application_files(layer: &Layer) -> bool {
    layer
        .manifest
        .entries
        .iter()
        .any(|entry| entry.path.as_str().starts_with("app/"))
}

fn text(text: String, origin: &Arc<EntryOrigin>) -> TreeEntry {
    TreeEntry::file(Content::memory(text.into_bytes()), 0o644, origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::{Bench, TestWheel};

    fn tree_of(layers: &[Layer], python: PythonMinor) -> (Tree, InstallPath) {
        let prefix = InstallPath::parse("/opt/shop").unwrap();
        let (name, version) = (AppName::parse("shop").unwrap(), "1.4.2".parse().unwrap());
        let import_from = [ReleasePath::parse("src").unwrap()];
        let release = Release {
            name: &name,
            version: &version,
            commit: Some("c0ffee"),
            python,
            runtime: None,
            import_from: &import_from,
            recipes: &AppliedRecipes::default(),
            settings: None,
            is_separate: false,
        };
        let mut tree = Tree::new();
        release.insert_into(&mut tree, &prefix, layers).unwrap();
        (tree, prefix)
    }

    fn text_at(tree: &Tree, path: &str) -> String {
        let entry = tree.get(&InstallPath::parse(path).unwrap()).unwrap();
        match &entry.kind {
            crate::tree::EntryKind::File(Content {
                bytes: pkgapp_core::content::Bytes::Memory(bytes),
                ..
            }) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn a_release_without_application_files_has_six_entries_and_no_machine_in_them() {
        let (tree, _) = tree_of(&[], PythonMinor { major: 3, minor: 9 });
        let lines: Vec<String> = tree
            .dump()
            .lines()
            .map(|line| line.split(' ').skip(4).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "/opt/shop",
                "/opt/shop/.pkgapp",
                "/opt/shop/.pkgapp/release.json",
                "/opt/shop/bin",
                "/opt/shop/bin/python -> /usr/bin/python3.9",
                "/opt/shop/bin/python3 -> python",
                "/opt/shop/bin/python3.9 -> python",
                "/opt/shop/pyvenv.cfg",
            ]
        );
        assert_eq!(
            text_at(&tree, "/opt/shop/pyvenv.cfg"),
            "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.9\n"
        );
    }

    #[test]
    fn the_record_names_every_distribution() {
        let Some(bench) = Bench::new() else { return };
        let wheel = TestWheel::new("flask", "3.0.0", &[("flask/__init__.py", b"")]);
        let layers = [bench.install(&wheel).unwrap()];
        let (tree, _) = tree_of(&layers, bench.python());
        let record = text_at(&tree, "/opt/shop/.pkgapp/release.json");
        let files = walkdir::WalkDir::new(bench.unpacked(&layers[0])).into_iter();
        let files = files
            .map(|entry| entry.unwrap().metadata().unwrap())
            .filter(std::fs::Metadata::is_file);
        let size: u64 = files.map(|file| file.len()).sum();
        let expected = format!(
            "{{\n  \"format\": 1,\n  \"name\": \"shop\",\n  \"version\": \"1.4.2\",\n  \"commit\": \"c0ffee\",\n  \
             \"python\": \"{}\",\n  \"distributions\": [\n    {{\n      \"name\": \"flask\",\n      \"version\": \
             \"3.0.0\",\n      \"wheel\": \"flask-3.0.0-py3-none-any.whl\",\n      \"sha256\": \"{}\",\n      \
             \"from\": \"https://index.example/\",\n      \"size\": {size}\n    }}\n  ]\n}}\n",
            bench.python(),
            wheel.wheel().sha256
        );
        assert_eq!(record, expected);
    }

    #[test]
    fn modules_of_app_are_importable_if_there_are_any() {
        let Some(bench) = Bench::new() else { return };
        bench.write(bench.directory.path(), "shop.py", "", 0o644);
        let files = Layer::for_files(
            &bench.builder(),
            bench.directory.path(),
            &["shop.py".into()],
        )
        .unwrap();
        let (tree, _) = tree_of(&files, bench.python());
        let pth = format!(
            "/opt/shop/lib/python{}/site-packages/shop-app.pth",
            bench.python()
        );
        assert_eq!(text_at(&tree, &pth), "../../../app\n../../../app/src\n");
    }
}
