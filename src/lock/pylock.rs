//! pylock.toml (PEP 751; specification "pylock.toml" of packaging.python.org).

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use pkgapp_pypa::SourceDistFilename;
use serde::Deserialize;
use toml::Spanned;

use crate::draft::{HeldRequirement, LockDraft, RequestedVersion};
use crate::entry;
use crate::text::{TextFile, TextOrigin};
use crate::{EditableInstall, FilePlace, LockFormat, LockedFile, PinSource, Url, direct, hash};
use pkgapp_core::error::{Error, Location};
use pkgapp_http::percent_decoded;
use pkgapp_pypa::{
    GroupName, HashDigest, MarkerTree, PackageName, Version, VersionSpecifiers, WheelFilename,
};

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
    draft.next_statement();
    let lock: PyLock = match toml::from_str(&file.text) {
        Ok(lock) => lock,
        Err(error) => {
            let at = error
                .span()
                .map_or_else(|| Location::file(&file.file), |span| file.at(span.start));
            let message = format!("`{}` is not a pylock.toml", file.name());
            return draft.fail(Error::new(message).at(at).cause_text(error.message()));
        }
    };
    PylockReader { draft, file }.lock(&lock);
}

struct PylockReader<'r, 'a> {
    draft: &'r mut LockDraft<'a>,
    file: &'r TextFile,
}

/// An error of an entry, whose place is known.
type PylockResult<T> = Result<T, Error>;

impl PylockReader<'_, '_> {
    fn lock(&mut self, lock: &PyLock) {
        if let Err(error) = self.header(lock) {
            return self.draft.fail(error);
        }
        let name = self.file.name().to_owned();
        self.draft.require_hashes(|| format!("`{name}` has hashes"));
        let mut groups: Vec<GroupName> = lock
            .default_groups
            .iter()
            .filter_map(|group| group.get_ref().parse().ok())
            .collect();
        groups.extend(
            self.draft
                .selection
                .groups
                .iter()
                .map(|(group, _)| group.clone()),
        );
        if lock.dependency_groups.is_empty() && lock.extras.is_empty() {
            self.draft.is_selected();
        }
        self.draft.knows(
            lock.dependency_groups
                .iter()
                .filter_map(|name| name.parse().ok()),
            lock.extras.iter().filter_map(|name| name.parse().ok()),
        );
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

    fn header(&mut self, lock: &PyLock) -> PylockResult<()> {
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

    fn marker(&self, text: &Spanned<String>) -> PylockResult<MarkerTree> {
        MarkerTree::from_str(text.get_ref()).map_err(|error| {
            Error::new(format!("`{}` is not a marker", text.get_ref()))
                .at(self.at(text))
                .cause_text(error.message.to_string())
        })
    }

    fn python(&self, requires: Option<&Spanned<String>>, what: &str) -> PylockResult<()> {
        let Some(requires) = requires else {
            return Ok(());
        };
        let text = requires.get_ref();
        let specifiers = VersionSpecifiers::from_str(text).map_err(|error| {
            Error::new(format!("`{text}` is not a set of versions"))
                .at(self.at(requires))
                .cause_text(error.to_string())
        })?;
        if self.draft.env.admits(&specifiers) {
            return Ok(());
        }
        Err(Error::new(format!(
            "{what} requires Python {text}, but the release is for {}",
            self.draft.env.python
        ))
        .at(self.at(requires)))
    }

    /// Reads an entry; `None` if its marker does not hold.
    fn package(
        &mut self,
        package: &PylockPackage,
        groups: &[GroupName],
        order: usize,
    ) -> PylockResult<Option<HeldRequirement>> {
        let at = self.at(&package.name);
        let name = PackageName::from_str(package.name.get_ref()).map_err(|error| {
            Error::new(format!(
                "`{}` is not the name of a distribution",
                package.name.get_ref()
            ))
            .at(at.clone())
            .cause(error)
        })?;
        if let Some(marker) = &package.marker
            && !self.draft.holds(self.marker(marker)?, Some(groups))
        {
            return Ok(None);
        }
        self.python(package.requires_python.as_ref(), &format!("`{name}`"))?;
        if let Some(entry) = &package.directory
            && entry.get_ref().editable
            && self.is_root(entry.get_ref())
        {
            self.draft.editable = Some(EditableInstall {
                shown: name.to_string(),
                extras: Vec::new(),
                at: self.at(entry),
            });
            return Ok(None);
        }
        let version = package
            .version
            .as_ref()
            .map(|version| self.version(version))
            .transpose()?;
        let shown = version
            .as_ref()
            .map_or_else(|| name.to_string(), |version| format!("{name}=={version}"));
        let (source, hashes, version) = self.source(package, &name, version)?;
        Ok(Some(HeldRequirement {
            name,
            extras: Vec::new(),
            wanted: RequestedVersion::Source(source, version),
            hashes,
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

    fn version(&self, text: &Spanned<String>) -> PylockResult<Version> {
        Version::from_str(text.get_ref()).map_err(|error| {
            Error::new(format!("`{}` is not a version", text.get_ref()))
                .at(self.at(text))
                .cause(error)
        })
    }

    fn source(
        &self,
        package: &PylockPackage,
        name: &PackageName,
        version: Option<Version>,
    ) -> PylockResult<(PinSource, Vec<HashDigest>, Option<Version>)> {
        let at = self.at(&package.name);
        let from_index = package.sdist.is_some() || !package.wheels.is_empty();
        let kinds = [
            package.vcs.is_some(),
            package.directory.is_some(),
            package.archive.is_some(),
            from_index,
        ];
        match kinds.iter().filter(|present| **present).count() {
            0 => return Err(Error::new(format!("`{name}` has no files")).at(at)),
            1 => {}
            _ => {
                let error = Error::new(format!("`{name}` has files of several kinds")).at(at);
                return Err(error.note(
                    "only one of `vcs`, `directory`, `archive`, or `sdist` and `wheels` is allowed",
                ));
            }
        }
        if let Some(vcs) = &package.vcs {
            return Ok((self.vcs(name, vcs)?, Vec::new(), version));
        }
        if let Some(directory) = &package.directory {
            return Ok((self.directory(name, directory)?, Vec::new(), version));
        }
        if let Some(archive) = &package.archive {
            let (source, hashes, found) = self.archive(name, archive)?;
            return Ok((source, hashes, version.or(found)));
        }
        let mut version = version;
        let mut files = Vec::new();
        for file in package.wheels.iter().chain(&package.sdist) {
            let locked = self.file(file)?;
            let says = self.version_of(file, &locked, name)?;
            if let (Some(version), Some(says)) = (&version, &says)
                && version != says
            {
                let error = Error::new(format!(
                    "`{}` is not version {version} of `{name}`",
                    locked.name
                ));
                return Err(error.at(self.at(file)));
            }
            version = version.or(says);
            files.push(locked);
        }
        Ok((PinSource::Files(files), Vec::new(), version))
    }

    /// Returns the version that a wheel's or sdist's name says, and checks that the name is this
    /// distribution's.
    fn version_of(
        &self,
        file: &Spanned<PylockFile>,
        locked: &LockedFile,
        name: &PackageName,
    ) -> PylockResult<Option<Version>> {
        if Path::new(&locked.name)
            .extension()
            .is_none_or(|extension| extension != "whl")
        {
            // Sdists that are older than PEP 625 have all kinds of names.
            let extension = pkgapp_pypa::SourceDistExtension::from_path(&locked.name);
            let parsed = extension
                .ok()
                .and_then(|kind| SourceDistFilename::parse(&locked.name, kind, name).ok());
            return Ok(parsed.map(|sdist| sdist.version));
        }
        let wheel = locked.name.parse::<WheelFilename>().map_err(|error| {
            Error::new(format!("`{}` is not the name of a wheel", locked.name))
                .at(self.at(file))
                .cause(error)
        })?;
        if wheel.name != *name {
            return Err(
                Error::new(format!("`{}` is not a wheel of `{name}`", locked.name))
                    .at(self.at(file)),
            );
        }
        Ok(Some(wheel.version))
    }

    fn vcs(&self, name: &PackageName, entry: &Spanned<PylockVcs>) -> PylockResult<PinSource> {
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
    ) -> PylockResult<PinSource> {
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
    ) -> PylockResult<(PinSource, Vec<HashDigest>, Option<Version>)> {
        let locked = self.file(entry)?;
        let version = self.version_of(entry, &locked, name)?;
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
        Ok((source, locked.hashes, version))
    }

    fn file(&self, entry: &Spanned<PylockFile>) -> PylockResult<LockedFile> {
        let file = entry.get_ref();
        let place = match (&file.url, &file.path) {
            // A local copy takes precedence (PEP 751 allows either).
            (_, Some(path)) => self.place(path),
            (Some(url), None) => match Url::parse(url.get_ref()) {
                Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => FilePlace::Url(parsed),
                Ok(parsed) => match parsed.to_file_path() {
                    Ok(path) if parsed.scheme() == "file" => FilePlace::Path(path),
                    _ => {
                        return Err(
                            Error::new("a file's URL is not an http, https, or file URL")
                                .at(self.at(url)),
                        );
                    }
                },
                Err(error) => {
                    return Err(Error::new("a file's URL is invalid")
                        .at(self.at(url))
                        .cause(error));
                }
            },
            (None, None) => {
                return Err(Error::new("a file has neither `url` nor `path`").at(self.at(entry)));
            }
        };
        let last = match &place {
            FilePlace::Url(url) => {
                percent_decoded(url.path().rsplit('/').next().unwrap_or_default())
            }
            FilePlace::Path(path) => path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let name = file.name.clone().unwrap_or(last);
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
    ) -> PylockResult<Vec<HashDigest>> {
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
