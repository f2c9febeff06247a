//! Pipfile.lock: a flat list for each category ("Pipfile.lock" in Pipenv's documentation;
//! `pipenv/utils/locking.py`).
//!
//! A package comes only from the source that its `index` names, or from the first source without
//! one ("Specifying Package Indexes"; `pipenv/routines/install.py`).

use crate::draft::{HeldRequirement, LockDraft, RequestedVersion};
use crate::entry::{self, EntryResult, LockEntry};
use crate::json::{self, Json};
use crate::text::TextFile;
use crate::{EditableInstall, LockFormat, PinSource, direct};
use pkgapp_core::error::{Error, Location};
use pkgapp_pypa::{ExtraName, HashDigest, MarkerTree, PackageName, VersionSpecifiers};

/// `Pipfile.lock`, or the same under another name.
pub(super) const FORMAT: LockFormat = LockFormat {
    recognizes: |name, text| {
        name == "Pipfile.lock"
            || (text.trim_start().starts_with('{') && text.contains("\"pipfile-spec\""))
    },
    read,
};

/// The category that always ships.
const DEFAULT: &str = "default";

/// Keys that are markers (`pipenv/utils/markers.py`, `PipenvMarkers`).
const MARKER_KEYS: [&str; 11] = [
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_version",
    "python_full_version",
    "implementation_name",
    "implementation_version",
];

fn read(draft: &mut LockDraft<'_>, file: &TextFile) {
    draft.next_statement();
    let lock: Json<'_> = match serde_json::from_str(&file.text) {
        Ok(lock) => lock,
        Err(error) => {
            let at = Location {
                file: file.file.clone(),
                position: Some((error.line().max(1), error.column().max(1))),
            };
            let message = format!("`{}` is not a Pipfile.lock", file.name());
            return draft.fail(Error::new(message).at(at).cause_text(error.to_string()));
        }
    };
    let mut reader = PipenvReader {
        draft,
        file,
        sources: Vec::new(),
    };
    if let Err(error) = reader.lock(&lock) {
        reader.draft.fail(error);
    }
}

struct PipenvReader<'r, 'a> {
    draft: &'r mut LockDraft<'a>,
    file: &'r TextFile,
    /// Name, URL, and place of each index; empty if packages may come from any of them.
    sources: Vec<(String, String, Location)>,
}

impl PipenvReader<'_, '_> {
    fn lock(&mut self, lock: &Json<'_>) -> EntryResult<()> {
        if !matches!(lock.get("_meta"), Some(Json::Table(_))) {
            let message = format!("`{}` is not a Pipfile.lock", self.file.name());
            return Err(Error::new(message)
                .at(self.file.at(0))
                .cause_text("it has no `_meta`"));
        }
        self.indexes(lock)?;
        let categories = || lock.entries().iter().filter(|(name, _)| name != "_meta");
        self.draft
            .knows(categories().filter_map(|(name, _)| name.parse().ok()), []);
        self.warn_of_python(lock);

        let has_hashes = categories()
            .flat_map(|(_, packages)| packages.entries())
            .filter_map(|(_, package)| package.get("hashes"))
            .any(|hashes| !hashes.items().is_empty());
        if has_hashes {
            let name = self.file.name().to_owned();
            self.draft.require_hashes(|| format!("`{name}` has hashes"));
        }

        for (category, packages) in categories() {
            if category == DEFAULT || self.draft.has_group(category) {
                self.category(packages, has_hashes);
            }
        }
        Ok(())
    }

    /// Requires the packages of a category.
    fn category(&mut self, packages: &Json<'_>, has_hashes: bool) {
        for (name, package) in packages.entries() {
            self.draft.next_statement();
            match self.package(name, package, has_hashes) {
                Ok(Some(requirement)) => self.draft.require(requirement),
                Ok(None) => {}
                Err(error) => self.draft.fail(error),
            }
        }
    }

    fn at(&self, text: &str) -> Location {
        match json::offset(&self.file.text, text) {
            Some(offset) => self.file.at(offset),
            None => Location::file(&self.file.file),
        }
    }

    fn indexes(&mut self, lock: &Json<'_>) -> EntryResult<()> {
        let all = self.searches_all();
        for source in lock
            .get("_meta")
            .and_then(|meta| meta.get("sources"))
            .map(Json::items)
            .unwrap_or_default()
        {
            let Some(text) = source.text("url") else {
                continue;
            };
            let (url, at) = (self.expanded(text)?, self.at(text));
            if all {
                self.draft.look_also(&url, &at)?;
                continue;
            }
            if self.sources.is_empty() {
                self.draft.look_instead(&url, &at)?;
            }
            self.sources
                .push((source.text("name").unwrap_or_default().to_owned(), url, at));
        }
        Ok(())
    }

    /// Returns whether the Pipfile beside the lock lets packages come from any source.
    fn searches_all(&self) -> bool {
        let read = || -> Option<bool> {
            let text =
                pkgapp_core::fs::read_to_string(&self.file.directory()?.join("Pipfile")).ok()?;
            let pipfile: toml::Table = toml::from_str(&text).ok()?;
            pipfile
                .get("pipenv")?
                .get("install_search_all_sources")?
                .as_bool()
        };
        read().unwrap_or(false)
    }

    /// Records that a package comes from one index only.
    fn comes_from(&mut self, name: &PackageName, called: &str) -> EntryResult<()> {
        let at = self.at(called);
        let known = self.sources.iter().position(|(name, ..)| name == called);
        match (known, self.sources.is_empty()) {
            (_, true) | (Some(0), _) => Ok(()),
            (Some(index), _) => {
                let (called, url, at) = self.sources[index].clone();
                self.draft.look_only(name, &called, &url, &at)
            }
            // Older versions of Pipenv wrote the URL.
            (None, _) if direct::is_url(called) => {
                let url = self.expanded(called)?;
                self.draft.look_only(name, "pipfile", &url, &at)
            }
            (None, _) => {
                let names = self
                    .sources
                    .iter()
                    .map(|(name, ..)| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                let error = Error::new(format!(
                    "`{name}` comes from the index `{called}`, which the lock does not define"
                ));
                Err(error
                    .at(at)
                    .note(format!("the lock defines {names}"))
                    .hint("run `pipenv lock`"))
            }
        }
    }

    /// Replaces variables in the URL of a source, as Pipenv does with shell syntax.
    fn expanded(&mut self, url: &str) -> EntryResult<String> {
        let (mut whole, mut rest, mut set) = (String::new(), url, Vec::new());
        while let Some(dollar) = rest.find('$') {
            whole.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            let (name, left) = split_variable(after);
            if name.is_empty() {
                whole.push('$');
                rest = after;
                continue;
            }
            let Some(value) = (self.draft.variable)(name) else {
                let error = Error::new(format!("environment variable `{name}` is not set"));
                return Err(error
                    .at(self.at(url))
                    .hint(format!("set `{name}` in the environment of the build")));
            };
            whole.push_str(&value);
            set.push((name.to_owned(), value));
            rest = left;
        }
        whole.push_str(rest);
        self.draft.hide(&set);
        Ok(whole)
    }

    /// Warns of a Pipfile.lock for another Python, which lacks that Python's dependencies.
    fn warn_of_python(&mut self, lock: &Json<'_>) {
        let requires = lock.get("_meta").and_then(|meta| meta.get("requires"));
        let Some(python) = requires.and_then(|requires| requires.text("python_version")) else {
            return;
        };
        if python != self.draft.env.python.to_string() {
            let (name, at, release) = (self.file.name(), self.at(python), self.draft.env.python);
            let warning = format!(
                "`{name}` was made for Python {python}, but the release is for {release} ({at})"
            );
            self.draft.warnings.push(warning);
        }
    }

    /// Returns the requirement of a package; `None` for another environment, and for the
    /// application itself.
    fn package(
        &mut self,
        text: &str,
        package: &Json<'_>,
        has_hashes: bool,
    ) -> EntryResult<Option<HeldRequirement>> {
        let at = self.at(text);
        let name = entry::name(text, &at)?;
        if !matches!(package, Json::Table(_)) {
            return Err(Error::new(format!("the entry of `{name}` is not an object")).at(at));
        }
        if !self.draft.holds(self.marker(package, &at)?, None) {
            return Ok(None);
        }
        let extras = extras(package, &at)?;
        let hashes = self.hashes(package)?;
        if let Some(path) = package.text("path")
            && self.is_the_project(path)
        {
            self.draft.editable = Some(EditableInstall {
                shown: path.to_owned(),
                extras,
                at,
            });
            return Ok(None);
        }

        let version_at = package
            .text("version")
            .map_or_else(|| at.clone(), |version| self.at(version));
        let source = self.source(&name, package, &at)?;
        let entry = LockEntry {
            name,
            version: None,
            extras,
            at,
            version_at,
        };
        match source {
            Some(source) => Ok(Some(entry.from(self.draft, source, hashes))),
            None => self.indexed(entry, package, hashes, !has_hashes).map(Some),
        }
    }

    /// Returns the requirement of a package from an index.
    fn indexed(
        &mut self,
        entry: LockEntry,
        package: &Json<'_>,
        hashes: Vec<HashDigest>,
        may_lack_hashes: bool,
    ) -> EntryResult<HeldRequirement> {
        let name = entry.name;
        let Some(versions) = package.text("version").filter(|version| *version != "*") else {
            return Err(Error::new(format!("`{name}` has no version"))
                .at(entry.at)
                .hint("run `pipenv lock`"));
        };
        let wanted = RequestedVersion::Versions(specifiers(versions, &entry.version_at)?);
        if let Some(index) = package.text("index") {
            self.comes_from(&name, index)?;
        }
        Ok(HeldRequirement {
            shown: format!("{name}{versions}"),
            name,
            extras: entry.extras,
            wanted,
            hashes,
            may_lack_hashes,
            version_at: entry.version_at,
            at: entry.at,
            order: self.draft.next_statement(),
        })
    }

    fn hashes(&self, package: &Json<'_>) -> EntryResult<Vec<HashDigest>> {
        let mut hashes: Vec<HashDigest> = Vec::new();
        for hash in package.get("hashes").map_or(&[][..], Json::items) {
            let hash = hash.as_text().unwrap_or("");
            hashes.extend(entry::digest(hash, &self.at(hash))?);
        }
        Ok(hashes)
    }

    /// Returns whether a path is that of the application itself.
    fn is_the_project(&self, path: &str) -> bool {
        entry::beside(self.file, path)
            .is_some_and(|path| path == direct::normal(self.draft.project()))
    }

    fn marker(&self, package: &Json<'_>, at: &Location) -> EntryResult<MarkerTree> {
        let mut all = MarkerTree::TRUE;
        if let Some(text) = package.text("markers") {
            // Lists of versions (`not in '3.0, 3.1'`) have commas, which the parser would take for
            // parts of versions.
            all = all.and(entry::marker(&text.replace(',', " "), &self.at(text))?);
        }
        for key in MARKER_KEYS {
            if let Some(value) = package.text(key) {
                all = all.and(entry::marker(&format!("{key} {value}"), at)?);
            }
        }
        Ok(all)
    }

    /// Returns the source of a package; `None` for an index.
    fn source(
        &self,
        name: &PackageName,
        package: &Json<'_>,
        at: &Location,
    ) -> EntryResult<Option<PinSource>> {
        if let Some(repository) = repository(name, package, at)? {
            return Ok(Some(repository));
        }
        if let Some(file) = package.text("file") {
            let source = if direct::is_url(file) {
                entry::archive(file, package.text("subdirectory"), at)
            } else {
                entry::path(self.file, file, at)
            };
            return source.map(Some);
        }
        package
            .text("path")
            .map(|path| entry::path(self.file, path, at))
            .transpose()
    }
}

/// Returns the repository that a package comes from, if it does.
fn repository(
    name: &PackageName,
    package: &Json<'_>,
    at: &Location,
) -> EntryResult<Option<PinSource>> {
    let below = package.text("subdirectory");
    if let Some(git) = package.text("git") {
        // Older versions of Pipenv wrote `url.git@commit`, which may have extras behind it.
        let (url, commit) = match package.text("ref") {
            Some(commit) => (git, commit),
            None => git.rsplit_once('@').unwrap_or((git, "")),
        };
        let url = url.split('[').next().unwrap_or(url);
        return entry::git(name, url, Some(commit), below, at).map(Some);
    }
    if let Some(url) = package.text("hg") {
        return entry::mercurial(name, url, package.text("ref"), below, at).map(Some);
    }
    match ["svn", "bzr"]
        .iter()
        .find(|kind| package.get(kind).is_some())
    {
        Some(kind) => Err(Error::new(format!(
            "`{name}` is in {kind}, which pkgapp does not support"
        ))
        .at(at.clone())
        .hint("build a wheel with `pip wheel --no-deps`, and lock the wheel by its path")),
        None => Ok(None),
    }
}

/// Splits the text after a `$` into the name of the variable and the rest.
fn split_variable(after: &str) -> (&str, &str) {
    if let Some(braced) = after
        .strip_prefix('{')
        .and_then(|inner| inner.split_once('}'))
    {
        return braced;
    }
    let end = after
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(after.len());
    after.split_at(end)
}

fn extras(package: &Json<'_>, at: &Location) -> EntryResult<Vec<ExtraName>> {
    package
        .get("extras")
        .map_or(&[][..], Json::items)
        .iter()
        .filter_map(Json::as_text)
        .map(|extra| entry::extra(extra, at))
        .collect()
}

fn specifiers(text: &str, at: &Location) -> EntryResult<VersionSpecifiers> {
    text.parse()
        .map_err(|error: pkgapp_pypa::VersionSpecifiersParseError| {
            Error::new(format!("`{text}` is not a set of versions"))
                .at(at.clone())
                .cause_text(error.to_string())
        })
}
