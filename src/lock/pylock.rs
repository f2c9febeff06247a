//! pylock.toml (PEP 751; specification "pylock.toml" of packaging.python.org).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::draft::{HeldRequirement, LockDraft, RequestedVersion};
use crate::entry::{self, EntryResult};
use crate::text::{TextFile, TextOrigin};
use crate::{EditableInstall, FilePlace, LockFormat, LockedFile, PinSource, direct, hash};
use pkgapp_core::error::{Error, Location};
use pkgapp_pypa::{GroupName, HashDigest, MarkerTree, PackageName, Version};

/// `pylock.toml` and `pylock.NAME.toml`, or the same under another name.
pub(super) const FORMAT: LockFormat = LockFormat {
    recognizes: |name, text| {
        let named =
            name == "pylock.toml" || (name.starts_with("pylock.") && name.ends_with(".toml"));
        named
            || (name.ends_with(".toml")
                && text.contains("lock-version = ")
                && text.contains("\n[[packages]]"))
    },
    read,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyLock {
    lock_version: Spanned<String>,
    #[serde(default)]
    environments: Vec<Spanned<String>>,
    requires_python: Option<Spanned<String>>,
    #[serde(default)]
    default_groups: Vec<Spanned<String>>,
    #[serde(default)]
    extras: Vec<String>,
    #[serde(default)]
    dependency_groups: Vec<String>,
    packages: Vec<Spanned<PylockPackage>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PylockPackage {
    name: Spanned<String>,
    version: Option<Spanned<String>>,
    marker: Option<Spanned<String>>,
    requires_python: Option<Spanned<String>>,
    vcs: Option<Spanned<PylockVcs>>,
    directory: Option<Spanned<PylockDirectory>>,
    archive: Option<Spanned<PylockFile>>,
    sdist: Option<Spanned<PylockFile>>,
    #[serde(default)]
    wheels: Vec<Spanned<PylockFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PylockVcs {
    r#type: String,
    url: Option<String>,
    commit_id: Option<String>,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PylockDirectory {
    path: String,
    #[serde(default)]
    editable: bool,
    subdirectory: Option<String>,
}

/// An archive, an sdist, or a wheel.
#[derive(Debug, Deserialize)]
struct PylockFile {
    name: Option<String>,
    url: Option<Spanned<String>>,
    path: Option<String>,
    size: Option<u64>,
    hashes: Spanned<BTreeMap<String, String>>,
    subdirectory: Option<String>,
}

fn read(draft: &mut LockDraft<'_>, file: &TextFile) {
    if let Some(lock) = entry::toml::<PyLock>(draft, file, "pylock.toml") {
        PylockReader { draft, file }.lock(&lock);
    }
}

struct PylockReader<'r, 'a> {
    draft: &'r mut LockDraft<'a>,
    file: &'r TextFile,
}

/// The source of a locked package, with the hashes and version that its files state.
struct LockedSource {
    source: PinSource,
    hashes: Vec<HashDigest>,
    version: Option<Version>,
}

impl PylockReader<'_, '_> {
    fn lock(&mut self, lock: &PyLock) {
        if let Err(error) = self.header(lock) {
            return self.draft.fail(error);
        }

        let name = self.file.name().to_owned();
        self.draft.require_hashes(|| format!("`{name}` has hashes"));
        self.declare_choices(lock);

        let groups = self.active_groups(lock);
        let mut known: BTreeMap<PackageName, Location> = BTreeMap::new();
        for entry in &lock.packages {
            let order = self.draft.next_statement();
            match self.package(entry.get_ref(), &groups, order) {
                Ok(None) => {}
                Ok(Some(requirement)) => {
                    if let Some(before) =
                        known.insert(requirement.name.clone(), requirement.at.clone())
                    {
                        self.draft
                            .lists_twice(&requirement.name, &before, &requirement.at);
                    }
                    self.draft.require(requirement);
                }
                Err(error) => self.draft.fail(error),
            }
        }
    }

    /// Tells the draft which groups and extras the lock has.
    fn declare_choices(&mut self, lock: &PyLock) {
        if lock.dependency_groups.is_empty() && lock.extras.is_empty() {
            self.draft.is_selected();
        }
        self.draft.knows(
            lock.dependency_groups
                .iter()
                .filter_map(|name| name.parse().ok()),
            lock.extras.iter().filter_map(|name| name.parse().ok()),
        );
    }

    /// Returns the groups for which markers are evaluated: the lock's default and the selected ones.
    fn active_groups(&self, lock: &PyLock) -> Vec<GroupName> {
        let default = lock
            .default_groups
            .iter()
            .filter_map(|group| group.get_ref().parse().ok());
        let selected = &self.draft.selection.groups;
        default
            .chain(selected.iter().map(|(group, _)| group.clone()))
            .collect()
    }

    fn header(&mut self, lock: &PyLock) -> EntryResult<()> {
        let version = lock.lock_version.get_ref();
        match version.split_once('.') {
            Some(("1", "0")) => {}
            Some(("1", _)) => {
                let at = self.at(&lock.lock_version);
                self.draft.warnings.push(format!(
                    "lock-version {version} is newer than 1.0, the latest that pkgapp knows ({at})"
                ));
            }
            _ => {
                let error = Error::new(format!("unsupported lock-version `{version}`"));
                return Err(error
                    .at(self.at(&lock.lock_version))
                    .hint("write the lock with lock-version 1.0"));
            }
        }
        self.python(lock.requires_python.as_ref(), "the lock")?;
        let mut fits = lock.environments.is_empty();
        for environment in &lock.environments {
            fits |= self.draft.holds(self.marker(environment)?, None);
        }
        match lock.environments.first() {
            Some(first) if !fits => {
                Err(Error::new(format!("the lock is not for {}", self.target()))
                    .at(self.at(first))
                    .note("none of the lock's `environments` matches")
                    .hint("lock again with this environment included"))
            }
            _ => Ok(()),
        }
    }

    fn target(&self) -> String {
        format!(
            "Python {} on Linux {}",
            self.draft.env.python, self.draft.env.arch
        )
    }

    fn at<T>(&self, spanned: &Spanned<T>) -> Location {
        self.file.at(spanned.span().start)
    }

    fn marker(&self, text: &Spanned<String>) -> EntryResult<MarkerTree> {
        entry::marker(text.get_ref(), &self.at(text))
    }

    fn python(&self, requires: Option<&Spanned<String>>, what: &str) -> EntryResult<()> {
        match requires {
            Some(text) => entry::python(self.draft, text.get_ref(), &self.at(text), what),
            None => Ok(()),
        }
    }

    /// Reads an entry; `None` if its marker does not hold.
    fn package(
        &mut self,
        package: &PylockPackage,
        groups: &[GroupName],
        order: usize,
    ) -> EntryResult<Option<HeldRequirement>> {
        let at = self.at(&package.name);
        let name = entry::name(package.name.get_ref(), &at)?;
        if let Some(marker) = &package.marker
            && !self.draft.holds(self.marker(marker)?, Some(groups))
        {
            return Ok(None);
        }
        self.python(package.requires_python.as_ref(), &format!("`{name}`"))?;
        if let Some(editable) = self.editable_project(package, &name) {
            self.draft.editable = Some(editable);
            return Ok(None);
        }

        let version = package
            .version
            .as_ref()
            .map(|text| entry::version(text.get_ref(), &self.at(text)))
            .transpose()?;
        let shown = version
            .as_ref()
            .map_or_else(|| name.to_string(), |version| format!("{name}=={version}"));
        let locked = self.source(package, &name, version)?;
        Ok(Some(HeldRequirement {
            name,
            extras: Vec::new(),
            wanted: RequestedVersion::Source(locked.source, locked.version),
            hashes: locked.hashes,
            may_lack_hashes: true,
            version_at: package
                .version
                .as_ref()
                .map_or_else(|| at.clone(), |version| self.at(version)),
            at,
            shown,
            order,
        }))
    }

    /// Returns the application's own project, if the entry is an editable install of it.
    fn editable_project(
        &self,
        package: &PylockPackage,
        name: &PackageName,
    ) -> Option<EditableInstall> {
        let entry = package.directory.as_ref()?;
        let is_project = entry.get_ref().editable && self.is_root(entry.get_ref());
        is_project.then(|| EditableInstall {
            shown: name.to_string(),
            extras: Vec::new(),
            at: self.at(entry),
        })
    }

    fn source(
        &self,
        package: &PylockPackage,
        name: &PackageName,
        version: Option<Version>,
    ) -> EntryResult<LockedSource> {
        self.check_one_kind(package, name)?;
        let plain = |source| LockedSource {
            source,
            hashes: Vec::new(),
            version: version.clone(),
        };
        if let Some(vcs) = &package.vcs {
            return self.vcs(name, vcs).map(plain);
        }
        if let Some(directory) = &package.directory {
            return self.directory(name, directory).map(plain);
        }
        if let Some(archive) = &package.archive {
            let locked = self.archive(name, archive)?;
            return Ok(LockedSource {
                version: version.or(locked.version),
                ..locked
            });
        }
        self.index_files(package, name, version)
    }

    /// Refuses an entry without files, or with files of several kinds.
    fn check_one_kind(&self, package: &PylockPackage, name: &PackageName) -> EntryResult<()> {
        let kinds = [
            package.vcs.is_some(),
            package.directory.is_some(),
            package.archive.is_some(),
            package.sdist.is_some() || !package.wheels.is_empty(),
        ];
        let at = self.at(&package.name);
        match kinds.iter().filter(|present| **present).count() {
            0 => Err(Error::new(format!("`{name}` has no files")).at(at)),
            1 => Ok(()),
            _ => Err(Error::new(format!("`{name}` has files of several kinds"))
                .at(at)
                .note(
                    "only one of `vcs`, `directory`, `archive`, or `sdist` and `wheels` is allowed",
                )),
        }
    }

    /// Reads the wheels and the sdist of an entry, which must all have the same version.
    fn index_files(
        &self,
        package: &PylockPackage,
        name: &PackageName,
        mut version: Option<Version>,
    ) -> EntryResult<LockedSource> {
        let mut files = Vec::new();
        for file in package.wheels.iter().chain(&package.sdist) {
            let locked = self.file(file)?;
            let found = entry::version_of(&locked.name, name, &self.at(file))?;
            if let (Some(version), Some(found)) = (&version, &found)
                && version != found
            {
                let error = Error::new(format!(
                    "`{}` is not version {version} of `{name}`",
                    locked.name
                ));
                return Err(error.at(self.at(file)));
            }
            version = version.or(found);
            files.push(locked);
        }
        Ok(LockedSource {
            source: PinSource::Files(files),
            hashes: Vec::new(),
            version,
        })
    }

    fn vcs(&self, name: &PackageName, entry: &Spanned<PylockVcs>) -> EntryResult<PinSource> {
        let (vcs, at) = (entry.get_ref(), self.at(entry));
        match (vcs.r#type.as_str(), &vcs.url) {
            ("git", Some(url)) => entry::git(
                name,
                url,
                vcs.commit_id.as_deref(),
                vcs.subdirectory.as_deref(),
                &at,
            ),
            ("hg", Some(url)) => entry::mercurial(
                name,
                url,
                vcs.commit_id.as_deref(),
                vcs.subdirectory.as_deref(),
                &at,
            ),
            ("git" | "hg", None) => {
                Err(Error::new(format!("the repository of `{name}` has no `url`")).at(at))
            }
            (other, _) => {
                let error = Error::new(format!(
                    "`{name}` is in `{other}`, which pkgapp does not support"
                ));
                let hint = "build a wheel with `pip wheel --no-deps`, and lock the wheel by its path or URL";
                Err(error.at(at).hint(hint))
            }
        }
    }

    fn is_root(&self, directory: &PylockDirectory) -> bool {
        let FilePlace::Path(path) = self.place(&directory.path) else {
            return false;
        };
        direct::normal(&path.join(directory.subdirectory.as_deref().unwrap_or_default()))
            == self.draft.root
    }

    fn directory(
        &self,
        name: &PackageName,
        entry: &Spanned<PylockDirectory>,
    ) -> EntryResult<PinSource> {
        let directory = entry.get_ref();
        // An editable directory ships as a wheel too.
        let FilePlace::Path(mut path) = self.place(&directory.path) else {
            return Err(
                Error::new(format!("`{name}` is a directory on a server")).at(self.at(entry))
            );
        };
        if let Some(below) = &directory.subdirectory {
            path = direct::normal(&path.join(below));
        }
        if path.is_dir() {
            return Ok(PinSource::Directory(path));
        }
        Err(Error::new(format!(
            "`{}` is not a directory",
            pkgapp_core::error::shown(&path)
        ))
        .at(self.at(entry)))
    }

    fn archive(
        &self,
        name: &PackageName,
        entry: &Spanned<PylockFile>,
    ) -> EntryResult<LockedSource> {
        let locked = self.file(entry)?;
        let version = entry::version_of(&locked.name, name, &self.at(entry))?;
        let subdirectory = entry.get_ref().subdirectory.as_ref();
        let source = match locked.place {
            FilePlace::Url(mut url) => {
                url.set_fragment(
                    subdirectory
                        .map(|below| format!("subdirectory={below}"))
                        .as_deref(),
                );
                PinSource::Url(url)
            }
            FilePlace::Path(path) if subdirectory.is_none() => PinSource::File(path),
            FilePlace::Path(_) => {
                let error = Error::new(format!("`{name}` is a directory inside an archive"))
                    .at(self.at(entry));
                return Err(error.hint("unpack the archive and lock the directory"));
            }
        };
        Ok(LockedSource {
            source,
            hashes: locked.hashes,
            version,
        })
    }

    fn file(&self, entry: &Spanned<PylockFile>) -> EntryResult<LockedFile> {
        let file = entry.get_ref();
        let place = match (&file.url, &file.path) {
            // A local copy takes precedence (PEP 751 allows either).
            (_, Some(path)) => self.place(path),
            (Some(url), None) => entry::file_url(url.get_ref(), &self.at(url))?,
            (None, None) => {
                return Err(Error::new("a file has neither `url` nor `path`").at(self.at(entry)));
            }
        };
        let name = file
            .name
            .clone()
            .unwrap_or_else(|| entry::file_name(&place));
        let hashes = self.hashes(&file.hashes, &name)?;
        Ok(LockedFile {
            name,
            place,
            hashes,
            size: file.size,
        })
    }

    fn hashes(
        &self,
        table: &Spanned<BTreeMap<String, String>>,
        name: &str,
    ) -> EntryResult<Vec<HashDigest>> {
        let mut hashes = Vec::new();
        for (algorithm, digest) in table.get_ref() {
            match hash::from_parts(algorithm, digest) {
                Ok(hash) => hashes.push(hash),
                Err(bad) if bad.weak => {}
                Err(bad) => {
                    let error = Error::new(bad.message).at(self.at(table));
                    return Err(bad.hint.into_iter().fold(error, Error::hint));
                }
            }
        }
        if hashes.is_empty() {
            let error = Error::new(format!("`{name}` has no strong hash")).at(self.at(table));
            return Err(error.hint("lock again with sha256"));
        }
        Ok(hashes)
    }

    /// Paths are relative to the lock.
    fn place(&self, path: &str) -> FilePlace {
        match &self.file.place {
            TextOrigin::Disk(lock) => FilePlace::Path(direct::normal(
                &lock.parent().unwrap_or(Path::new("/")).join(path),
            )),
            TextOrigin::Web(lock) => match lock.join(path) {
                Ok(url) => FilePlace::Url(url),
                Err(_) => FilePlace::Path(Path::new(path).to_owned()),
            },
        }
    }
}
