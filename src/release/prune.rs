//! Pruning: a release without tests, type stubs, headers, static libraries, sources of compiled
//! code, or unused languages.
//!
//! Pruning is a step of building a layer: the files never become part of it, so its RECORD and byte
//! code cover only the remaining files. Pruning is off by default, and careful: it never removes
//! `*.dist-info`, a whole top-level module, or a module that the rest of the release imports. To
//! find such imports, pkgapp reads sources but does not run them: the distribution's own when its
//! layer is built, and those of all others when the layers are combined.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::imports::statement;
use pkgapp_config::{Prune, PruneProfile};
use pkgapp_core::error::Result;
use pkgapp_core::path::ReleasePath;
use pkgapp_core::report::human_bytes;
use pkgapp_pypa::PackageName;

/// The version of the profiles, part of the key of every pruned layer. Raise it when a profile
/// removes other files.
const FORMAT: u32 = 1;

/// Decides which files distributions lose; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruner {
    /// The profiles that apply.
    pub profiles: BTreeSet<PruneProfile>,
    /// Languages to keep besides English, e.g. `de`, `pt_BR`; each with all its countries.
    pub locales: Vec<String>,
    /// Distributions that stay whole.
    pub whole: BTreeSet<PackageName>,
    /// Test packages that other distributions import, e.g. `numpy.tests`, and that therefore stay.
    pub wanted: BTreeSet<String>,
}

/// The files that a layer lost, and the test packages of other layers that it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// The savings by profile, without the byte code of removed sources.
    pub saved: BTreeMap<PruneProfile, PruneSavings>,
    /// One sentence for each directory that a profile covers but that stays, with the reason.
    pub kept: Vec<String>,
    /// Removed test packages, e.g. `numpy.lib.tests`.
    pub modules: Vec<String>,
    /// Modules below a `test` or `tests` package that the layer's sources name.
    pub imports: Vec<String>,
}

/// The savings of a profile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneSavings {
    /// The number of files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl PruneReport {
    /// Returns whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The files of a distribution at their places in a release.
pub(crate) struct DistributionFiles<'a> {
    /// The directory of modules, below the prefix.
    pub(crate) site_packages: &'a str,
    /// All files with their sizes in bytes.
    pub(crate) files: &'a BTreeMap<ReleasePath, u64>,
    /// Reads one of the files.
    pub(crate) read: &'a dyn Fn(&ReleasePath) -> Result<Vec<u8>>,
}

impl From<&Prune> for Pruner {
    fn from(configured: &Prune) -> Self {
        let Prune {
            profiles,
            locales,
            whole,
        } = configured.clone();
        Self {
            profiles,
            locales,
            whole,
            wanted: BTreeSet::new(),
        }
    }
}

impl Pruner {
    /// Returns whether a distribution stays whole.
    pub(crate) fn spares(&self, name: &PackageName) -> bool {
        self.profiles.is_empty() || self.whole.contains(name)
    }

    /// Returns the part of a layer's key that covers all settings of the pruning.
    pub(crate) fn key(&self) -> String {
        let profiles: Vec<String> = self.profiles.iter().map(ToString::to_string).collect();
        let mut locales = self.locales.clone();
        locales.sort();
        let wanted: Vec<&str> = self.wanted.iter().map(String::as_str).collect();
        format!(
            "pruned {FORMAT} {} / {} / {}",
            profiles.join(" "),
            locales.join(" "),
            wanted.join(" ")
        )
    }

    /// Chooses the files of a distribution to remove.
    ///
    /// # Errors
    /// Errors of `read`.
    pub(crate) fn plan(
        &self,
        contents: &DistributionFiles<'_>,
    ) -> Result<(BTreeMap<ReleasePath, PruneProfile>, PruneReport)> {
        let mut gone = BTreeMap::new();
        let mut pruned = PruneReport::default();
        if self.profiles.contains(&PruneProfile::Tests) {
            self.plan_tests(contents, &mut gone, &mut pruned)?;
        }
        let extensions = extension_directories(contents);
        let stubs_are_read =
            self.profiles.contains(&PruneProfile::Stubs) && stubs_are_read(contents, &mut pruned)?;
        for path in contents.files.keys() {
            let Some(profile) = self.profile_of(path, contents, &extensions)? else {
                continue;
            };
            if !(profile == PruneProfile::Stubs && stubs_are_read) {
                gone.entry(path.clone()).or_insert(profile);
            }
        }
        for (path, profile) in &gone {
            let saved = pruned.saved.entry(*profile).or_default();
            saved.files += 1;
            saved.bytes += contents.files.get(path).copied().unwrap_or(0);
        }
        Ok((gone, pruned))
    }

    /// Returns the profile that covers a file by its name and place, except for tests, which are
    /// chosen by directory.
    fn profile_of(
        &self,
        path: &ReleasePath,
        contents: &DistributionFiles<'_>,
        extensions: &BTreeSet<String>,
    ) -> Result<Option<PruneProfile>> {
        let name = path.file_name();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let module = below(path, contents.site_packages);
        if module.is_some_and(|module| {
            module
                .split('/')
                .next()
                .is_some_and(|top| top.ends_with(".dist-info"))
        }) {
            return Ok(None);
        }
        let directory = path
            .parent()
            .map_or_else(String::new, |parent| parent.to_string());
        let profile = match ending {
            "pyi" => PruneProfile::Stubs,
            "h" | "hh" | "hpp" | "hxx" | "cuh" | "inl" => PruneProfile::Headers,
            "a" | "la" | "lib" => PruneProfile::Static,
            "c" | "cc" | "cpp" | "cxx" | "pyx" | "pxd" | "pxi" | "f" | "f90"
                if extensions.contains(&directory) =>
            {
                PruneProfile::Sources
            }
            _ if language(path.as_str()).is_some_and(|language| !self.stays(language)) => {
                PruneProfile::Locales
            }
            _ => return Ok(None),
        };
        // Other files named `.a` or `.lib` are data.
        let is_archive =
            |bytes: &[u8]| bytes.starts_with(b"!<arch>\n") || bytes.starts_with(b"!<thin>\n");
        let unwanted = self.profiles.contains(&profile)
            && (profile != PruneProfile::Static
                || ending == "la"
                || is_archive(&(contents.read)(path)?));
        Ok(unwanted.then_some(profile))
    }

    /// Returns whether a language stays: English, Babel's fallbacks, and the configured languages,
    /// with all countries.
    fn stays(&self, language: &str) -> bool {
        let base = |name: &str| {
            name.split(['_', '-', '@', '.'])
                .next()
                .unwrap_or(name)
                .to_ascii_lowercase()
        };
        let base_of_this = base(language);
        matches!(base_of_this.as_str(), "en" | "root" | "c")
            || self.locales.iter().any(|kept| base(kept) == base_of_this)
    }

    fn plan_tests(
        &self,
        contents: &DistributionFiles<'_>,
        gone: &mut BTreeMap<ReleasePath, PruneProfile>,
        pruned: &mut PruneReport,
    ) -> Result<()> {
        let mut tests = TestDirectories::of(contents);
        tests.keep_what_others_want(&self.wanted);
        tests.keep_top_levels(contents);
        pruned.imports = tests.keep_imported(contents)?.into_iter().collect();
        pruned.kept.extend(
            tests
                .kept
                .iter()
                .map(|(directory, why)| format!("`{directory}` stays: {why}")),
        );
        pruned.modules = tests
            .candidates
            .iter()
            .map(|directory| directory.replace('/', "."))
            .collect();
        let files = contents.files.keys().filter(|path| tests.are_to_go(path));
        gone.extend(files.map(|path| (path.clone(), PruneProfile::Tests)));
        Ok(())
    }
}

/// The test directories of one distribution.
struct TestDirectories<'a> {
    site_packages: &'a str,
    /// Directories to remove, below site-packages: `numpy/lib/tests`.
    candidates: BTreeSet<String>,
    /// Directories to keep, with the reason.
    kept: BTreeMap<String, String>,
}

impl<'a> TestDirectories<'a> {
    fn of(contents: &DistributionFiles<'a>) -> Self {
        let directories = contents
            .files
            .keys()
            .filter_map(|path| tests_directory(below(path, contents.site_packages)?));
        let candidates = directories.map(str::to_owned).collect();
        Self {
            site_packages: contents.site_packages,
            candidates,
            kept: BTreeMap::new(),
        }
    }

    fn are_to_go(&self, path: &ReleasePath) -> bool {
        let directory = below(path, self.site_packages).and_then(tests_directory);
        directory.is_some_and(|directory| self.candidates.contains(directory))
    }

    /// Keeps the directory that contains a module; returns the directory if it was a candidate.
    fn keep(&mut self, module: &str, why: &str) -> Option<String> {
        let named = |directory: &&String| is_within(module, &directory.replace('/', "."));
        let directory = self.candidates.iter().find(named)?.clone();
        self.candidates.remove(&directory);
        self.kept.insert(directory.clone(), why.to_owned());
        Some(directory)
    }

    fn keep_what_others_want(&mut self, wanted: &BTreeSet<String>) {
        for module in wanted {
            self.keep(module, "another distribution imports it");
        }
    }

    /// Keeps the test directories that files that stay import; returns the names of all imported
    /// test modules.
    fn keep_imported(&mut self, contents: &DistributionFiles<'_>) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let files = contents.files.keys();
        let mut unread: Vec<&ReleasePath> = files.filter(|path| !self.are_to_go(path)).collect();
        // Modules that stay may import further modules.
        while !unread.is_empty() {
            let mut kept_now = Vec::new();
            for path in unread {
                let why = format!("`{}` imports it", shown(path, contents));
                for name in self.named_in(path, contents)? {
                    kept_now.extend(self.keep(&name, &why));
                    names.insert(name);
                }
            }
            let is_back = |path: &&ReleasePath| {
                kept_now
                    .iter()
                    .any(|directory| lies_in(path, directory, contents))
            };
            unread = contents.files.keys().filter(is_back).collect();
        }
        Ok(names)
    }

    /// Keeps the test directories without which a top-level package would be empty.
    fn keep_top_levels(&mut self, contents: &DistributionFiles<'_>) {
        let is_module =
            |path: &&ReleasePath| path.as_str().ends_with(".py") || path.as_str().ends_with(".so");
        let top = |path: &ReleasePath| {
            Some(
                below(path, self.site_packages)?
                    .split('/')
                    .next()?
                    .to_owned(),
            )
        };
        let stays = contents
            .files
            .keys()
            .filter(is_module)
            .filter(|path| !self.are_to_go(path));
        let left: BTreeSet<String> = stays.filter_map(top).collect();
        let all = std::mem::take(&mut self.candidates);
        for directory in all {
            let name = directory.split('/').next().unwrap_or(&directory);
            if left.contains(name) {
                self.candidates.insert(directory);
            } else {
                let reason = format!("`{name}` contains nothing else");
                self.kept.insert(directory, reason);
            }
        }
    }

    /// Returns the test modules that a file names: any distribution's for a source, only this
    /// distribution's for compiled code.
    fn named_in(
        &self,
        path: &ReleasePath,
        contents: &DistributionFiles<'_>,
    ) -> Result<BTreeSet<String>> {
        let module = below(path, contents.site_packages).unwrap_or_default();
        let name = path.file_name();
        if name.ends_with(".py")
            || path.as_str().starts_with("libexec/")
            || path.as_str().starts_with("bin/")
        {
            let text = (contents.read)(path)?;
            return Ok(imports(&String::from_utf8_lossy(&text), package_of(module)));
        }
        if name.ends_with(".so") && !self.candidates.is_empty() {
            let bytes = (contents.read)(path)?;
            let modules = self
                .candidates
                .iter()
                .map(|directory| directory.replace('/', "."));
            return Ok(modules
                .filter(|module| memmem::find(&bytes, module.as_bytes()).is_some())
                .collect());
        }
        if name == "entry_points.txt" {
            let text = (contents.read)(path)?;
            return Ok(entry_point_modules(&String::from_utf8_lossy(&text)));
        }
        Ok(BTreeSet::new())
    }
}

/// Returns the test modules that the entry points in an `entry_points.txt` name.
fn entry_point_modules(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(_, value)| dotted_at(value.trim()).to_owned())
        .filter(|module| is_of_tests(module))
        .collect()
}

/// Returns whether a module is `above` or below it.
fn is_within(module: &str, above: &str) -> bool {
    module
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn lies_in(path: &ReleasePath, directory: &str, contents: &DistributionFiles<'_>) -> bool {
    let below = below(path, contents.site_packages).and_then(|path| path.strip_prefix(directory));
    below.is_some_and(|rest| rest.starts_with('/'))
}

fn shown<'p>(path: &'p ReleasePath, contents: &DistributionFiles<'_>) -> &'p str {
    below(path, contents.site_packages).unwrap_or(path.as_str())
}

/// Returns the part of a path below a directory.
fn below<'p>(path: &'p ReleasePath, directory: &str) -> Option<&'p str> {
    path.as_str().strip_prefix(directory)?.strip_prefix('/')
}

/// Returns the uppermost test directory that contains a file below site-packages, if it is inside a
/// package. A top-level module named `tests` stays: it may be the purpose of the distribution.
fn tests_directory(path: &str) -> Option<&str> {
    let (directory, _) = path.rsplit_once('/')?;
    let mut end = 0;
    for (depth, component) in directory.split('/').enumerate() {
        end += component.len();
        if depth == 0 && (component.ends_with(".dist-info") || is_tests(component)) {
            return None;
        }
        if depth > 0 && is_tests(component) {
            return Some(&path[..end]);
        }
        end += 1;
    }
    None
}

fn is_tests(name: &str) -> bool {
    matches!(name, "test" | "tests")
}

fn is_of_tests(module: &str) -> bool {
    module.contains('.') && module.split('.').any(is_tests)
}

/// Returns the directories that contain an extension module.
fn extension_directories(contents: &DistributionFiles<'_>) -> BTreeSet<String> {
    let modules = contents
        .files
        .keys()
        .filter(|path| path.as_str().ends_with(".so"));
    modules
        .filter_map(ReleasePath::parent)
        .map(|parent| parent.to_string())
        .collect()
}

/// Returns whether the distribution reads its stubs at run time (`lazy_loader.attach_stub`).
fn stubs_are_read(contents: &DistributionFiles<'_>, pruned: &mut PruneReport) -> Result<bool> {
    if !contents
        .files
        .keys()
        .any(|path| path.as_str().ends_with(".pyi"))
    {
        return Ok(false);
    }
    for path in contents
        .files
        .keys()
        .filter(|path| path.as_str().ends_with(".py"))
    {
        if memmem::find(&(contents.read)(path)?, b"attach_stub").is_some() {
            pruned.kept.push(format!(
                "its stubs stay: `{}` reads them at run time",
                shown(path, contents)
            ));
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the language of a gettext catalog (`…/de/LC_MESSAGES/x.mo`) or of Babel's data
/// (`locale-data/de.dat`).
fn language(path: &str) -> Option<&str> {
    let mut parts = path.rsplit('/');
    let (name, directory, above) = (parts.next()?, parts.next()?, parts.next()?);
    match directory {
        "LC_MESSAGES" if name.ends_with(".mo") || name.ends_with(".po") => Some(above),
        "locale-data" => name.strip_suffix(".dat"),
        _ => None,
    }
}

/// Returns the package that resolves relative imports of a source: `["a", "b"]` for `a/b/c.py` and
/// `a/b/__init__.py`.
fn package_of(module: &str) -> Vec<&str> {
    module
        .rsplit_once('/')
        .map_or_else(Vec::new, |(directory, _)| directory.split('/').collect())
}

/// Returns the modules below a `test` or `tests` package that a source names: in imports, and in
/// strings that begin with such a module, like the arguments of `importlib.import_module`.
/// `package` resolves relative imports.
///
/// The function does not parse Python: text that looks like an import (in a docstring, for example)
/// counts as one, so pruning rather keeps too much.
pub(crate) fn imports(text: &str, package: Vec<&str>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if !text.contains("test") {
        return names;
    }
    for import in statements(text)
        .iter()
        .flat_map(|statement| statement::read(statement))
    {
        names.extend(import.modules(&package));
    }
    for quote in ['"', '\''] {
        names.extend(
            text.split(quote)
                .skip(1)
                .map(|rest| dotted_at(rest).to_owned()),
        );
    }
    names.retain(|name| is_of_tests(name));
    names
}

/// Returns the statements that look like imports, each joined to one line.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        // In `try: import x`, `if y: from z import x`, and `a; import b`, the import follows other
        // code.
        for part in std::iter::once(line)
            .chain(line.split([':', ';']).skip(1))
            .map(str::trim_start)
        {
            if !(part.starts_with("import ")
                || part.starts_with("from ")
                || part.starts_with("from."))
            {
                continue;
            }
            let mut statement = without_comment(part).to_owned();
            if part.starts_with("from") {
                while is_open(&statement) {
                    let Some(more) = lines.next() else { break };
                    statement.truncate(statement.trim_end_matches('\\').len());
                    statement.push(' ');
                    statement.push_str(without_comment(more));
                }
            }
            found.push(statement);
        }
    }
    found
}

fn is_open(statement: &str) -> bool {
    statement.ends_with('\\') || (statement.contains('(') && !statement.contains(')'))
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or(line).trim_end()
}

/// Returns the dotted name at the beginning of a text; may be empty.
fn dotted_at(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

/// Returns the test modules of distributions that the application's own files below `root` name.
/// Unreadable files name nothing.
pub fn imports_of_files(root: &Path, files: &[PathBuf]) -> BTreeSet<String> {
    let sources = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "py"));
    let texts = sources.filter_map(|file| std::fs::read(root.join(file)).ok());
    texts
        .flat_map(|text| imports(&String::from_utf8_lossy(&text), Vec::new()))
        .collect()
}

/// Returns the removed test modules that other layers name, by the index of the layer that lost
/// them: that layer must be rebuilt with them.
pub fn missed(
    pruned: &[&PruneReport],
    by_files: &BTreeSet<String>,
) -> BTreeMap<usize, BTreeSet<String>> {
    let named: BTreeSet<&String> = pruned
        .iter()
        .flat_map(|pruned| &pruned.imports)
        .chain(by_files)
        .collect();
    let mut missed = BTreeMap::new();
    for (index, pruned) in pruned.iter().enumerate() {
        let gone = pruned
            .modules
            .iter()
            .filter(|gone| named.iter().any(|name| is_within(name, gone)));
        let gone: BTreeSet<String> = gone.cloned().collect();
        if !gone.is_empty() {
            missed.insert(index, gone);
        }
    }
    missed
}

/// Formats savings for a message, e.g. `1.2 MB (tests 1.0 MB, stubs 0.2 MB)`.
pub fn told(saved: &BTreeMap<PruneProfile, PruneSavings>) -> String {
    let all: u64 = saved.values().map(|saved| saved.bytes).sum();
    let parts: Vec<String> = saved
        .iter()
        .map(|(profile, saved)| format!("{profile} {}", human_bytes(saved.bytes)))
        .collect();
    format!("{} ({})", human_bytes(all), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prune(profiles: &[PruneProfile], locales: &[&str]) -> Pruner {
        Pruner {
            profiles: profiles.iter().copied().collect(),
            locales: locales.iter().map(|&name| name.to_owned()).collect(),
            ..Pruner::default()
        }
    }

    /// Plans for files below site-packages (`/x` for others); returns the removed files, written in
    /// the same way, and the report.
    fn plan(prune: &Pruner, files: &[(&str, &str)]) -> (Vec<String>, PruneReport) {
        const SITE: &str = "lib/python3.11/site-packages";
        let place = |name: &str| match name.strip_prefix('/') {
            Some(outside) => ReleasePath::parse(outside).unwrap(),
            None => ReleasePath::parse(&format!("{SITE}/{name}")).unwrap(),
        };
        let texts: BTreeMap<ReleasePath, &str> = files
            .iter()
            .map(|(name, text)| (place(name), *text))
            .collect();
        let sizes = texts
            .iter()
            .map(|(path, text)| (path.clone(), text.len() as u64))
            .collect();
        let read = |path: &ReleasePath| Ok(texts[path].as_bytes().to_vec());
        let (gone, pruned) = prune
            .plan(&DistributionFiles {
                site_packages: SITE,
                files: &sizes,
                read: &read,
            })
            .unwrap();
        let shown = |path: &ReleasePath| {
            below(path, SITE).map_or_else(|| format!("/{path}"), str::to_owned)
        };
        (gone.keys().map(shown).collect(), pruned)
    }

    #[test]
    fn tests_go_unless_something_imports_them() {
        let files = [
            ("a/__init__.py", "from .core import x\n"),
            (
                "a/core.py",
                "def check():\n    from a.sub.tests.helpers import run\n    return run\n",
            ),
            ("a/tests/__init__.py", ""),
            ("a/tests/test_core.py", "from a.tests import data\n"),
            ("a/tests/data/big.bin", "0123456789"),
            ("a/sub/__init__.py", ""),
            (
                "a/sub/tests/helpers.py",
                "from ...more.tests import (  # what a comment says\n    one,\n    two,\n)\n",
            ),
            ("a/more/tests/one.py", ""),
            ("a/other/test/x.py", ""),
            ("a/testing/__init__.py", "stays"),
            ("a/test.py", "stays"),
            ("a-1.dist-info/tests/x.py", "stays"),
            ("tests/__init__.py", "a top-level module"),
            (
                "tests/inner/tests/x.py",
                "of a top-level module that is called so",
            ),
            ("/share/a/tests/x.txt", "is no module"),
        ];
        let (gone, pruned) = plan(&prune(&[PruneProfile::Tests], &[]), &files);
        assert_eq!(
            gone,
            [
                "a/other/test/x.py",
                "a/tests/__init__.py",
                "a/tests/data/big.bin",
                "a/tests/test_core.py"
            ]
        );
        assert_eq!(
            pruned.kept,
            [
                "`a/more/tests` stays: `a/sub/tests/helpers.py` imports it",
                "`a/sub/tests` stays: `a/core.py` imports it"
            ]
        );
        assert_eq!(pruned.modules, ["a.other.test", "a.tests"]);
        assert_eq!(
            pruned.saved[&PruneProfile::Tests],
            PruneSavings {
                files: 4,
                bytes: 10 + 25
            }
        );
        let wanted = Pruner {
            wanted: ["a.tests".to_owned()].into(),
            ..prune(&[PruneProfile::Tests], &[])
        };
        assert_eq!(plan(&wanted, &files).0, ["a/other/test/x.py"]);
        assert_ne!(wanted.key(), prune(&[PruneProfile::Tests], &[]).key());
    }

    #[test]
    fn a_package_of_nothing_but_tests_stays() {
        let (gone, pruned) = plan(
            &prune(&[PruneProfile::Tests], &[]),
            &[
                ("a/tests/__init__.py", ""),
                ("b.py", ""),
                ("b_x/__init__.py", ""),
            ],
        );
        assert_eq!(
            (gone.len(), &pruned.kept[..]),
            (
                0,
                &["`a/tests` stays: `a` contains nothing else".to_owned()][..]
            )
        );
    }

    #[test]
    fn entry_points_compiled_code_and_strings_name_tests_too() {
        let files = [
            ("a/__init__.py", "load = ['a.strings.tests.x']\n"),
            ("a/strings/tests/x.py", ""),
            ("a/scripts/tests/x.py", ""),
            (
                "a/fast.cpython-311-x86_64-linux-gnu.so",
                "\x7fELF..\0a.compiled.tests\0",
            ),
            ("a/compiled/tests/x.py", ""),
            ("a/rest/tests/x.py", ""),
            (
                "a-1.dist-info/entry_points.txt",
                "[console_scripts]\nx = a.scripts.tests.x:main [extra]\n",
            ),
        ];
        assert_eq!(
            plan(&prune(&[PruneProfile::Tests], &[]), &files).0,
            ["a/rest/tests/x.py"]
        );
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        let found = |text: &str| {
            imports(text, vec!["a", "b"])
                .into_iter()
                .collect::<Vec<_>>()
        };
        for (text, names) in [
            ("import x.tests.y as z, q\n", &["x.tests.y"][..]),
            ("    from x.test import y\n", &["x.test", "x.test.y"]),
            ("from x import tests\n", &["x.tests"]),
            ("from . import tests\n", &["a.b.tests"]),
            ("from .tests import x\n", &["a.b.tests", "a.b.tests.x"]),
            ("from .. import c, tests as t\n", &["a.tests"]),
            ("from ..tests.c import x\n", &["a.tests.c", "a.tests.c.x"]),
            ("from x import a, \\\n    tests\n", &["x.tests"]),
            (
                "try: from x.tests import y\nexcept E: pass\n",
                &["x.tests", "x.tests.y"],
            ),
            ("import_module('x.tests.' + name)\n", &["x.tests"]),
            ("import testing.x, tests\nx = 'tests'\n", &[]),
            ("from .... import tests\n", &[]),
        ] {
            assert_eq!(found(text), names, "{text}");
        }
    }

    #[test]
    fn sources_and_headers_and_libraries_are_known_by_what_they_lie_beside() {
        let files = [
            ("a/fast.c", "c"),
            ("a/fast.pyx", "pyx"),
            ("a/fast.cpython-311-x86_64-linux-gnu.so", "\x7fELF"),
            ("a/inc/x.h", "h"),
            ("a/inc/template.c", "read when it runs"),
            ("a/lib/libx.a", "!<arch>\nx"),
            ("a/lib/data.a", "somebody's"),
            ("a/x.pyi", "stub"),
            ("a/py.typed", ""),
            ("/include/site/python3.11/a/a.h", "h"),
        ];
        let gone = |profiles: &[PruneProfile]| plan(&prune(profiles, &[]), &files).0;
        assert_eq!(gone(&[PruneProfile::Sources]), ["a/fast.c", "a/fast.pyx"]);
        assert_eq!(
            gone(&[PruneProfile::Headers]),
            ["/include/site/python3.11/a/a.h", "a/inc/x.h"]
        );
        assert_eq!(gone(&[PruneProfile::Static]), ["a/lib/libx.a"]);
        assert_eq!(gone(&[PruneProfile::Stubs]), ["a/x.pyi"]);
    }

    #[test]
    fn stubs_that_are_read_at_run_time_stay() {
        let lazy = "import lazy_loader\n__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)\n";
        let (gone, pruned) = plan(
            &prune(&[PruneProfile::Stubs], &[]),
            &[
                ("a/__init__.py", lazy),
                ("a/__init__.pyi", "from .b import c\n"),
            ],
        );
        assert!(gone.is_empty());
        assert_eq!(
            pruned.kept,
            ["its stubs stay: `a/__init__.py` reads them at run time"]
        );
    }

    #[test]
    fn english_and_the_named_languages_stay_with_their_countries() {
        let files = [
            ("d/locale/de/LC_MESSAGES/d.mo", ""),
            ("d/locale/de_AT/LC_MESSAGES/d.mo", ""),
            ("d/locale/en/LC_MESSAGES/d.mo", ""),
            ("d/locale/fr/LC_MESSAGES/d.mo", "x"),
            ("d/locale/fr/LC_MESSAGES/d.po", "x"),
            ("d/locale/fr/formats.py", "code"),
            ("d/locale/pt_BR/LC_MESSAGES/d.mo", ""),
            ("d/locale/zh_Hans/LC_MESSAGES/d.mo", ""),
            ("b/locale-data/root.dat", ""),
            ("b/locale-data/de_CH.dat", ""),
            ("b/locale-data/fr.dat", ""),
            ("/share/locale/fr/LC_MESSAGES/x.mo", ""),
        ];
        assert_eq!(
            plan(&prune(&[PruneProfile::Locales], &["de", "pt_PT"]), &files).0,
            [
                "b/locale-data/fr.dat",
                "d/locale/fr/LC_MESSAGES/d.mo",
                "d/locale/fr/LC_MESSAGES/d.po",
                "d/locale/zh_Hans/LC_MESSAGES/d.mo",
                "/share/locale/fr/LC_MESSAGES/x.mo",
            ]
        );
    }

    #[test]
    fn what_others_name_comes_back() {
        let gone = PruneReport {
            modules: vec!["a.tests".into(), "a.b.tests".into()],
            ..PruneReport::default()
        };
        let names = PruneReport {
            imports: vec!["a.tests.helpers".into(), "a.testsuite".into()],
            ..PruneReport::default()
        };
        let missed = missed(&[&gone, &names], &["x.tests".to_owned()].into());
        assert_eq!(
            missed,
            BTreeMap::from([(0, BTreeSet::from(["a.tests".to_owned()]))])
        );
    }
}
