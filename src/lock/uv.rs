//! uv.lock: a graph with markers on its edges, for all environments at once.
//!
//! The format is uv's own and has no specification; source: `uv-resolver/src/lock` and "Locking" in
//! uv's documentation.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use crate::draft::HeldRequirement;
use crate::entry::{self, EntryReader, EntryResult, LockEntry, TomlLock};
use crate::graph::{self, DependencyEdge, LockedNode, ShippingExtras};
use crate::{FilePlace, LockFormat, LockedFile, PinSource, direct};
use pkgapp_core::error::{Error, Location};
use pkgapp_http::percent_decoded;
use pkgapp_pypa::{ExtraName, GroupName, MarkerTree, PackageName, Version};

/// `uv.lock`, or the same under another name.
pub(super) const FORMAT: LockFormat = LockFormat {
    recognizes: |name, text| {
        let is_one = || {
            ["\n[[package]]", "\nrequires-python = ", "\nsource = {"]
                .iter()
                .all(|part| text.contains(part))
        };
        name == "uv.lock" || (name.ends_with(".lock") && is_one())
    },
    read: entry::read::<UvLock>,
};

/// The only version of the format so far; revisions are compatible with it.
const VERSION: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvLock {
    version: Spanned<u32>,
    requires_python: Option<Spanned<String>>,
    #[serde(default)]
    supported_markers: Vec<Spanned<String>>,
    #[serde(default)]
    manifest: UvManifest,
    #[serde(default, rename = "package")]
    packages: Vec<UvPackage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvManifest {
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvPackage {
    name: Spanned<String>,
    version: Option<Spanned<String>>,
    source: Spanned<UvSource>,
    #[serde(default)]
    resolution_markers: Vec<Spanned<String>>,
    #[serde(default)]
    dependencies: Vec<Spanned<UvDependency>>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Spanned<UvDependency>>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Spanned<UvDependency>>>,
    sdist: Option<Spanned<UvFile>>,
    #[serde(default)]
    wheels: Vec<Spanned<UvFile>>,
}

/// Exactly one of the first seven is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct UvSource {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
    path: Option<String>,
    directory: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
    subdirectory: Option<String>,
}

impl UvSource {
    /// Returns a project's directory, as written in the lock.
    fn project(&self) -> Option<&str> {
        self.editable
            .as_deref()
            .or(self.r#virtual.as_deref())
            .or(self.directory.as_deref())
    }
}

#[derive(Debug, Deserialize)]
struct UvDependency {
    name: String,
    version: Option<String>,
    source: Option<UvSource>,
    #[serde(default, alias = "extras")]
    extra: Vec<String>,
    marker: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UvFile {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
}

impl TomlLock for UvLock {
    const WHAT: &'static str = "uv.lock";

    fn names(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.packages.iter().map(|package| &package.name)
    }

    fn header(reader: &EntryReader<'_, '_, Self>) -> EntryResult<()> {
        reader.header()
    }

    fn has_hashes(&self) -> bool {
        true
    }

    fn shipping(
        reader: &mut EntryReader<'_, '_, Self>,
    ) -> EntryResult<Vec<(usize, Vec<ExtraName>)>> {
        let root = reader.root()?;
        let package = &reader.lock.packages[root];
        reader.draft.knows(
            package
                .dev_dependencies
                .keys()
                .filter_map(|name| GroupName::from_str(name).ok()),
            package
                .optional_dependencies
                .keys()
                .filter_map(|name| ExtraName::from_str(name).ok()),
        );
        let shipping = reader
            .reached(root)?
            .into_iter()
            .filter(|(index, _)| *index != root);
        Ok(shipping
            .map(|(index, extras)| (index, extras.into_iter().collect()))
            .collect())
    }

    fn requirement(
        reader: &mut EntryReader<'_, '_, Self>,
        index: usize,
        extras: Vec<ExtraName>,
    ) -> EntryResult<Option<HeldRequirement>> {
        reader.requirement(index, extras)
    }
}

impl EntryReader<'_, '_, UvLock> {
    fn header(&self) -> EntryResult<()> {
        let version = *self.lock.version.get_ref();
        if version != VERSION {
            let error = Error::new(format!("unsupported uv.lock version {version}"));
            let hint = "run `uv export --format pylock.toml -o pylock.toml` and use the pylock.toml instead";
            return Err(error.at(self.at(&self.lock.version)).hint(hint));
        }
        if let Some(requires) = &self.lock.requires_python {
            entry::python(
                self.draft,
                requires.get_ref(),
                &self.at(requires),
                "the lock",
            )?;
        }
        let mut fits = self.lock.supported_markers.is_empty();
        for marker in &self.lock.supported_markers {
            fits |= self
                .draft
                .holds(entry::marker(marker.get_ref(), &self.at(marker))?, None);
        }
        match self.lock.supported_markers.first() {
            Some(first) if !fits => {
                let env = &self.draft.env;
                Err(Error::new(format!(
                    "the lock is not for Python {} on Linux {}",
                    env.python, env.arch
                ))
                .at(self.at(first))
                .hint("add this environment to `environments` in `[tool.uv]` and lock again"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the package of the application: the member in its directory, or else the lock's own
    /// project.
    fn root(&self) -> EntryResult<usize> {
        let place = |package: &UvPackage| {
            let path = package.source.get_ref().project()?;
            entry::beside(self.file, path)
        };
        let project = self.draft.project();
        let here = self.file.directory().map(direct::normal);
        let find = |wanted: &std::path::Path| {
            self.lock
                .packages
                .iter()
                .position(|package| place(package).is_some_and(|place| place == wanted))
        };
        if let Some(root) = find(project).or_else(|| find(here.as_deref()?)) {
            return Ok(root);
        }
        let members: Vec<_> = self
            .lock
            .manifest
            .members
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let error = Error::new(format!(
            "`{}` has no project in `{}`",
            self.file.name(),
            pkgapp_core::error::shown(project)
        ));
        let error = error.at(Location::file(&self.file.file));
        Err(if members.is_empty() {
            error.hint("run `uv lock` in the application's project")
        } else {
            error
        .note(format!("the lock belongs to a workspace with {}", members.join(", ")))
        .hint("move the configuration to the directory of one of them, or set `source` to that directory")
        })
    }

    fn reached(&self, root: usize) -> EntryResult<ShippingExtras> {
        let mut nodes = Vec::new();
        for package in &self.lock.packages {
            nodes.push(self.node(package)?);
        }
        let start = self.start(root)?;

        let name = &self.names[root];
        let groups: Vec<String> = self
            .draft
            .selection
            .groups
            .iter()
            .map(|(group, _)| format!("group-{}-{name}-{group}", name.as_ref().len()))
            .collect();
        Ok(graph::reach(&nodes, &start, &|marker, _, shipping| {
            self.draft
                .holds_with(marker, &self.conflict_names(shipping, &groups))
        }))
    }

    /// Returns the edges to the application, with its selected extras, and to its selected groups.
    fn start(&self, root: usize) -> EntryResult<Vec<DependencyEdge>> {
        let mut start = vec![DependencyEdge {
            to: vec![root],
            extras: self.draft.extras(),
            marker: MarkerTree::TRUE,
            only_for: Vec::new(),
        }];
        for (group, dependencies) in &self.lock.packages[root].dev_dependencies {
            if self.draft.has_group(group) {
                for dependency in dependencies {
                    start.push(self.edge(dependency, None)?);
                }
            }
        }
        Ok(start)
    }

    /// Returns the names of the active extras, groups, and projects by which markers distinguish
    /// conflicts (`uv-resolver/src/universal_marker.rs`).
    fn conflict_names(&self, shipping: &ShippingExtras, groups: &[String]) -> Vec<ExtraName> {
        let mut names = groups.to_vec();
        for (index, extras) in shipping {
            let package = &self.names[*index];
            let length = package.as_ref().len();
            names.push(format!("project-{length}-{package}"));
            names.extend(
                extras
                    .iter()
                    .map(|extra| format!("extra-{length}-{package}-{extra}")),
            );
        }
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    fn node(&self, package: &UvPackage) -> EntryResult<LockedNode> {
        let mut edges = Vec::new();
        for dependency in &package.dependencies {
            edges.push(self.edge(dependency, None)?);
        }
        for (extra, dependencies) in &package.optional_dependencies {
            let extra = entry::extra(extra, &self.at(&package.name))?;
            for dependency in dependencies {
                edges.push(self.edge(dependency, Some(&extra))?);
            }
        }
        Ok(LockedNode {
            version: None,
            edges,
        })
    }

    fn edge(
        &self,
        dependency: &Spanned<UvDependency>,
        only_for: Option<&ExtraName>,
    ) -> EntryResult<DependencyEdge> {
        let at = self.at(dependency);
        let dependency = dependency.get_ref();
        let name = entry::name(&dependency.name, &at)?;
        let mut to = self.candidates(&name, dependency);
        if to.is_empty() {
            return Err(
                Error::new(format!("`{name}` is required but missing from the lock"))
                    .at(at)
                    .hint("run `uv lock`"),
            );
        }
        if to.len() > 1 {
            to.retain(|&index| self.is_for_here(&self.lock.packages[index]));
        }

        let marker = dependency
            .marker
            .as_ref()
            .map_or(Ok(MarkerTree::TRUE), |text| entry::marker(text, &at))?;
        let extras = dependency
            .extra
            .iter()
            .map(|extra| entry::extra(extra, &at))
            .collect::<EntryResult<_>>()?;
        Ok(DependencyEdge {
            to,
            extras,
            marker,
            only_for: only_for.into_iter().cloned().collect(),
        })
    }

    /// Returns the packages that a dependency can mean, by name, source, and version.
    fn candidates(&self, name: &PackageName, dependency: &UvDependency) -> Vec<usize> {
        let is_source = |package: &UvPackage| {
            dependency
                .source
                .as_ref()
                .is_none_or(|source| source == package.source.get_ref())
        };
        let is_version = |package: &UvPackage| {
            let known = package.version.as_ref().map(Spanned::get_ref);
            dependency.version.is_none() || known == dependency.version.as_ref()
        };
        let named = self.names.iter().zip(&self.lock.packages).enumerate();
        named
            .filter(|(_, (known, package))| {
                *known == name && is_source(package) && is_version(package)
            })
            .map(|(index, _)| index)
            .collect()
    }

    fn is_for_here(&self, package: &UvPackage) -> bool {
        let holds = |text: &Spanned<String>| {
            MarkerTree::from_str(text.get_ref()).is_ok_and(|marker| self.draft.holds(marker, None))
        };
        package.resolution_markers.is_empty() || package.resolution_markers.iter().any(holds)
    }

    /// Returns the requirement of a package; `None` for a project that is not installed
    /// (`virtual`).
    fn requirement(
        &mut self,
        index: usize,
        extras: Vec<ExtraName>,
    ) -> EntryResult<Option<HeldRequirement>> {
        let package = &self.lock.packages[index];
        let at = self.at(&package.name);
        let (version, version_at) = match &package.version {
            Some(text) => {
                let version_at = self.at(text);
                let version = entry::version(text.get_ref(), &version_at)?;
                (Some(version), version_at)
            }
            None => (None, at.clone()),
        };
        let name = self.names[index].clone();
        let Some(source) = self.source(package, &name, version.as_ref())? else {
            return Ok(None);
        };
        // The lock has the directory's version at the time of locking; the directory itself states
        // the current one.
        let version = version.filter(|_| !matches!(source, PinSource::Directory(_)));
        let hashes = self.source_hashes(package, &source)?;
        let entry = LockEntry {
            name,
            version,
            extras,
            at,
            version_at,
        };
        Ok(Some(entry.from(self.draft, source, hashes)))
    }

    /// Returns the hashes of an archive; files of an index have their own.
    fn source_hashes(
        &self,
        package: &UvPackage,
        source: &PinSource,
    ) -> EntryResult<Vec<pkgapp_pypa::HashDigest>> {
        match (source, package.wheels.first().or(package.sdist.as_ref())) {
            (PinSource::Url(_) | PinSource::File(_), Some(file)) => {
                Ok(self.hash(file)?.into_iter().collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn hash(&self, file: &Spanned<UvFile>) -> EntryResult<Option<pkgapp_pypa::HashDigest>> {
        let at = self.at(file);
        Ok(file
            .get_ref()
            .hash
            .as_ref()
            .map(|hash| entry::digest(hash, &at))
            .transpose()?
            .flatten())
    }

    /// Returns the source of a package; `None` for a project that is not installed (`virtual`).
    fn source(
        &self,
        package: &UvPackage,
        name: &PackageName,
        version: Option<&Version>,
    ) -> EntryResult<Option<PinSource>> {
        let at = self.at(&package.source);
        let source = package.source.get_ref();
        let subdirectory = source.subdirectory.as_deref();
        if let Some(registry) = &source.registry {
            let files = self.registry_files(package, registry)?;
            if files.is_empty() {
                return Err(Error::new(format!("`{name}` has no files")).at(at));
            }
            entry::check_versions(&files, name, version, &at)?;
            return Ok(Some(PinSource::Files(files)));
        }
        if let Some(git) = &source.git {
            return repository(name, git, subdirectory, &at).map(Some);
        }
        if let Some(url) = &source.url {
            return entry::archive(url, subdirectory, &at).map(Some);
        }
        if let Some(path) = &source.path {
            return entry::path(self.file, path, &at).map(Some);
        }
        if source.r#virtual.is_some() {
            return Ok(None);
        }
        match source.project() {
            Some(path) => entry::directory(self.file, path, &at).map(Some),
            None => Err(Error::new(format!("unknown kind of source for `{name}`")).at(at)),
        }
    }

    fn registry_files(&self, package: &UvPackage, registry: &str) -> EntryResult<Vec<LockedFile>> {
        package
            .wheels
            .iter()
            .chain(&package.sdist)
            .map(|file| self.file(file, registry))
            .collect()
    }

    /// Reads a file of a registry, which may be a directory beside the lock.
    fn file(&self, file: &Spanned<UvFile>, registry: &str) -> EntryResult<LockedFile> {
        let at = self.at(file);
        let entry = file.get_ref();
        let place = match (&entry.url, &entry.path) {
            (Some(url), _) => entry::file_url(url, &at)?,
            (None, Some(path)) => {
                let base = registry.strip_prefix("file://").unwrap_or(registry);
                match entry::beside(self.file, base) {
                    Some(base) => FilePlace::Path(direct::normal(&base.join(path))),
                    None => {
                        return Err(Error::new("a lock on a server names a local file").at(at));
                    }
                }
            }
            (None, None) => return Err(Error::new("a file has neither `url` nor `path`").at(at)),
        };
        let name = entry
            .filename
            .clone()
            .unwrap_or_else(|| entry::file_name(&place));
        let hashes: Vec<_> = self.hash(file)?.into_iter().collect();
        Ok(LockedFile {
            name,
            place,
            hashes,
            size: entry.size,
        })
    }
}

/// Reads `URL?subdirectory=PATH#COMMIT`.
fn repository(
    name: &PackageName,
    git: &str,
    subdirectory: Option<&str>,
    at: &Location,
) -> EntryResult<PinSource> {
    let (url, commit) = git.split_once('#').unwrap_or((git, ""));
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let below = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("subdirectory="))
        .map(percent_decoded);
    let subdirectory = below.as_deref().or(subdirectory);
    entry::git(name, url, Some(commit), subdirectory, at)
}
