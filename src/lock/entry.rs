//! Shared parts of the lock file readers: names, versions, markers, files, and hashes of an entry,
//! with their places.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use pkgapp_pypa::SourceDistFilename;
use toml::Spanned;

use crate::draft::{HeldRequirement, LockDraft, RequestedVersion};
use crate::text::{TextFile, TextOrigin};
use crate::{FilePlace, GitSource, LockedFile, MercurialSource, PinSource, Url, direct, hash};
use pkgapp_core::error::{Error, Location};
use pkgapp_http::percent_decoded;
use pkgapp_pypa::{
    ExtraName, HashDigest, MarkerTree, PackageName, Version, VersionSpecifiers, WheelFilename,
};

/// The result of reading an entry; its errors have a place.
pub(super) type EntryResult<T> = Result<T, Error>;

/// Parses a TOML lock; records an error and returns `None` if that fails.
pub(super) fn toml<T: serde::de::DeserializeOwned>(
    draft: &mut LockDraft<'_>,
    file: &TextFile,
    what: &str,
) -> Option<T> {
    draft.next_statement();
    match toml::from_str(&file.text) {
        Ok(lock) => Some(lock),
        Err(error) => {
            let at = error
                .span()
                .map_or_else(|| Location::file(&file.file), |span| file.at(span.start));
            let message = format!("`{}` is not a {what}", file.name());
            draft.fail(Error::new(message).at(at).cause_text(error.message()));
            None
        }
    }
}

/// A TOML lock that lists packages: the format-specific part of its reader.
pub(super) trait TomlLock: serde::de::DeserializeOwned {
    /// The name of the format in messages.
    const WHAT: &'static str;

    /// Returns the names of the packages, in order.
    fn names(&self) -> impl Iterator<Item = &Spanned<String>>;

    /// Refuses a lock of an unknown version or for another Python.
    fn header(reader: &EntryReader<'_, '_, Self>) -> EntryResult<()>;

    /// Returns whether any file has a hash, so that all files need one.
    fn has_hashes(&self) -> bool;

    /// Returns the packages that ship, as indexes into the list, with their extras.
    fn shipping(
        reader: &mut EntryReader<'_, '_, Self>,
    ) -> EntryResult<Vec<(usize, Vec<ExtraName>)>>;

    /// Returns the requirement of a package; `None` if it is not a pin, such as the application
    /// itself.
    fn requirement(
        reader: &mut EntryReader<'_, '_, Self>,
        index: usize,
        extras: Vec<ExtraName>,
    ) -> EntryResult<Option<HeldRequirement>>;
}

/// A lock while it is read.
pub(super) struct EntryReader<'r, 'a, L> {
    pub(super) draft: &'r mut LockDraft<'a>,
    pub(super) file: &'r TextFile,
    pub(super) lock: &'r L,
    /// The names of the packages, in order.
    pub(super) names: Vec<PackageName>,
    /// Whether files have hashes.
    pub(super) has_hashes: bool,
}

/// Reads a lock into the draft, or records its errors.
pub(super) fn read<L: TomlLock>(draft: &mut LockDraft<'_>, file: &TextFile) {
    let Some(lock) = toml::<L>(draft, file, L::WHAT) else {
        return;
    };
    let has_hashes = lock.has_hashes();
    let mut reader = EntryReader {
        draft,
        file,
        lock: &lock,
        names: Vec::new(),
        has_hashes,
    };
    if let Err(error) = reader.all() {
        reader.draft.fail(error);
    }
}

impl<L: TomlLock> EntryReader<'_, '_, L> {
    fn all(&mut self) -> EntryResult<()> {
        L::header(self)?;
        for text in self.lock.names() {
            self.names.push(name(text.get_ref(), &self.at(text))?);
        }
        if self.has_hashes {
            let name = self.file.name().to_owned();
            self.draft.require_hashes(|| format!("`{name}` has hashes"));
        }
        for (index, extras) in L::shipping(self)? {
            match L::requirement(self, index, extras) {
                Ok(requirement) => requirement
                    .into_iter()
                    .for_each(|one| self.draft.require(one)),
                Err(error) => {
                    self.draft.next_statement();
                    self.draft.fail(error);
                }
            }
        }
        Ok(())
    }
}

impl<L> EntryReader<'_, '_, L> {
    /// Returns the place of a value.
    pub(super) fn at<T>(&self, spanned: &Spanned<T>) -> Location {
        at(self.file, spanned)
    }
}

/// Returns the place of a value.
pub(super) fn at<T>(file: &TextFile, spanned: &Spanned<T>) -> Location {
    file.at(spanned.span().start)
}

/// Reads the name of a distribution.
pub(super) fn name(text: &str, at: &Location) -> EntryResult<PackageName> {
    let named = |error| {
        Error::new(format!("`{text}` is not the name of a distribution"))
            .at(at.clone())
            .cause(error)
    };
    PackageName::from_str(text).map_err(named)
}

/// Reads a version.
pub(super) fn version(text: &str, at: &Location) -> EntryResult<Version> {
    let named = |error| {
        Error::new(format!("`{text}` is not a version"))
            .at(at.clone())
            .cause(error)
    };
    Version::from_str(text).map_err(named)
}

/// Reads a marker.
pub(super) fn marker(text: &str, at: &Location) -> EntryResult<MarkerTree> {
    MarkerTree::from_str(text).map_err(|error| {
        Error::new(format!("`{text}` is not a marker"))
            .at(at.clone())
            .cause_text(error.message.to_string())
    })
}

/// Reads a requirement (PEP 508).
pub(super) fn requirement(text: &str, at: &Location) -> EntryResult<pkgapp_pypa::Requirement<Url>> {
    text.parse()
        .map_err(|error: pkgapp_pypa::Pep508Error<Url>| {
            Error::new(format!("`{text}` is not a requirement"))
                .at(at.clone())
                .cause_text(error.message.to_string())
        })
}

/// Reads the name of an extra.
pub(super) fn extra(text: &str, at: &Location) -> EntryResult<ExtraName> {
    let named = |error| {
        Error::new(format!("`{text}` is not the name of an extra"))
            .at(at.clone())
            .cause(error)
    };
    ExtraName::from_str(text).map_err(named)
}

/// Reads `sha256:…`; `None` for a hash that is too weak to prove anything.
pub(super) fn digest(text: &str, at: &Location) -> EntryResult<Option<HashDigest>> {
    match hash::parse(text) {
        Ok(digest) => Ok(Some(digest)),
        Err(bad) if bad.weak => Ok(None),
        Err(bad) => Err(bad
            .hint
            .into_iter()
            .fold(Error::new(bad.message).at(at.clone()), Error::hint)),
    }
}

/// Refuses an entry or lock for another Python than the release's.
pub(super) fn python(
    draft: &LockDraft<'_>,
    requires: &str,
    at: &Location,
    what: &str,
) -> EntryResult<()> {
    let specifiers = VersionSpecifiers::from_str(requires).map_err(|error| {
        Error::new(format!("`{requires}` is not a set of versions"))
            .at(at.clone())
            .cause_text(error.to_string())
    })?;
    if draft.env.admits(&specifiers) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{what} requires Python {requires}, but the release is for {}",
        draft.env.python
    ))
    .at(at.clone()))
}

/// Returns the version in a wheel's or sdist's name, and checks that the file belongs to this
/// distribution.
pub(super) fn version_of(
    file: &str,
    name: &PackageName,
    at: &Location,
) -> EntryResult<Option<Version>> {
    if Path::new(file)
        .extension()
        .is_none_or(|extension| extension != "whl")
    {
        // Sdists that are older than PEP 625 have all kinds of names.
        let extension = pkgapp_pypa::SourceDistExtension::from_path(file);
        let parsed = extension
            .ok()
            .and_then(|kind| SourceDistFilename::parse(file, kind, name).ok());
        return Ok(parsed.map(|sdist| sdist.version));
    }
    let wheel = file.parse::<WheelFilename>().map_err(|error| {
        Error::new(format!("`{file}` is not the name of a wheel"))
            .at(at.clone())
            .cause(error)
    })?;
    if wheel.name != *name {
        return Err(Error::new(format!("`{file}` is not a wheel of `{name}`")).at(at.clone()));
    }
    Ok(Some(wheel.version))
}

/// Checks that files are what their entry says.
pub(super) fn check_versions(
    files: &[LockedFile],
    name: &PackageName,
    version: Option<&Version>,
    at: &Location,
) -> EntryResult<()> {
    for file in files {
        if let (Some(version), Some(says)) = (version, version_of(&file.name, name, at)?)
            && *version != says
        {
            return Err(Error::new(format!(
                "`{}` is not version {version} of `{name}`",
                file.name
            ))
            .at(at.clone()));
        }
    }
    Ok(())
}

/// Reads a file's URL; `file:` ones are paths.
pub(super) fn file_url(text: &str, at: &Location) -> EntryResult<FilePlace> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(FilePlace::Url(url)),
        Ok(url) => match url.to_file_path() {
            Ok(path) if url.scheme() == "file" => Ok(FilePlace::Path(path)),
            _ => Err(Error::new("a file's URL is not an http, https, or file URL").at(at.clone())),
        },
        Err(error) => Err(Error::new("a file's URL is invalid")
            .at(at.clone())
            .cause(error)),
    }
}

/// Returns the last component of a file's place.
pub(super) fn file_name(place: &FilePlace) -> String {
    match place {
        FilePlace::Url(url) => percent_decoded(url.path().rsplit('/').next().unwrap_or_default()),
        FilePlace::Path(path) => path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
    }
}

/// Returns what relative paths in a lock are relative to; `None` on a server, which must not choose
/// files of this machine.
pub(super) fn beside(file: &TextFile, path: &str) -> Option<PathBuf> {
    match &file.place {
        TextOrigin::Disk(lock) => Some(direct::normal(
            &lock.parent().unwrap_or(Path::new("/")).join(path),
        )),
        TextOrigin::Web(_) => None,
    }
}

/// Makes a source of a project's directory.
pub(super) fn directory(file: &TextFile, path: &str, at: &Location) -> EntryResult<PinSource> {
    let Some(directory) = beside(file, path) else {
        return Err(Error::new(format!("`{path}` is a directory on a server")).at(at.clone()));
    };
    if directory.is_dir() {
        Ok(PinSource::Directory(directory))
    } else {
        Err(Error::new(format!(
            "`{}` is not a directory",
            pkgapp_core::error::shown(&directory)
        ))
        .at(at.clone()))
    }
}

/// Makes a source of a path that a lock names: an archive or a project's directory.
pub(super) fn path(file: &TextFile, path: &str, at: &Location) -> EntryResult<PinSource> {
    let Some(found) = beside(file, path) else {
        return Err(
            Error::new(format!("`{path}` is a file beside a lock on a server")).at(at.clone()),
        );
    };
    if found.is_dir() {
        return Ok(PinSource::Directory(found));
    }
    if found.is_file() {
        Ok(PinSource::File(found))
    } else {
        Err(Error::new(format!(
            "`{}` does not exist",
            pkgapp_core::error::shown(&found)
        ))
        .at(at.clone()))
    }
}

/// Makes a source of an archive's URL.
pub(super) fn archive(
    text: &str,
    subdirectory: Option<&str>,
    at: &Location,
) -> EntryResult<PinSource> {
    match (file_url(text, at)?, subdirectory) {
        (FilePlace::Url(mut url), subdirectory) => {
            url.set_fragment(
                subdirectory
                    .map(|below| format!("subdirectory={below}"))
                    .as_deref(),
            );
            Ok(PinSource::Url(url))
        }
        (FilePlace::Path(path), None) => Ok(PinSource::File(path)),
        (FilePlace::Path(_), Some(_)) => {
            Err(Error::new("a lock names a directory inside of an archive")
                .at(at.clone())
                .hint("unpack the archive and lock the directory"))
        }
    }
}

/// Makes a source of a git repository at a commit.
pub(super) fn git(
    name: &PackageName,
    url: &str,
    commit: Option<&str>,
    subdirectory: Option<&str>,
    at: &Location,
) -> EntryResult<PinSource> {
    GitSource::new(url, commit.unwrap_or_default(), subdirectory)
        .map(PinSource::Git)
        .map_err(|why| {
            Error::new(format!("`{name}` cannot be taken from git: {why}")).at(at.clone())
        })
}

/// Makes a source of a Mercurial repository at a commit.
pub(super) fn mercurial(
    name: &PackageName,
    url: &str,
    commit: Option<&str>,
    subdirectory: Option<&str>,
    at: &Location,
) -> EntryResult<PinSource> {
    MercurialSource::new(url, commit.unwrap_or_default(), subdirectory)
        .map(PinSource::Mercurial)
        .map_err(|why| {
            Error::new(format!("`{name}` cannot be taken from Mercurial: {why}")).at(at.clone())
        })
}

/// What an entry of a lock comes to.
pub(super) struct LockEntry {
    pub(super) name: PackageName,
    pub(super) version: Option<Version>,
    pub(super) extras: Vec<ExtraName>,
    pub(super) at: Location,
    pub(super) version_at: Location,
}

impl LockEntry {
    /// One of some files, or something that is no index's.
    pub(super) fn from(
        self,
        draft: &mut LockDraft<'_>,
        source: PinSource,
        hashes: Vec<HashDigest>,
    ) -> HeldRequirement {
        let version = self.version.clone();
        self.requirement(
            draft,
            RequestedVersion::Source(source, version),
            hashes,
            true,
        )
    }

    /// A version of an index. `may_lack_hashes` where the lock has none anywhere.
    pub(super) fn indexed(
        self,
        draft: &mut LockDraft<'_>,
        hashes: Vec<HashDigest>,
        may_lack_hashes: bool,
    ) -> EntryResult<HeldRequirement> {
        let Some(version) = self.version.clone() else {
            return Err(Error::new(format!("`{}` has no version", self.name)).at(self.at));
        };
        let exactly = pkgapp_pypa::VersionSpecifier::equals_version(version);
        Ok(self.requirement(
            draft,
            RequestedVersion::Versions(exactly.into()),
            hashes,
            may_lack_hashes,
        ))
    }

    fn requirement(
        self,
        draft: &mut LockDraft<'_>,
        wanted: RequestedVersion,
        hashes: Vec<HashDigest>,
        may_lack_hashes: bool,
    ) -> HeldRequirement {
        let shown = match &self.version {
            Some(version) => format!("{}=={version}", self.name),
            None => self.name.to_string(),
        };
        HeldRequirement {
            name: self.name,
            extras: self.extras,
            wanted,
            hashes,
            may_lack_hashes,
            at: self.at,
            version_at: self.version_at,
            shown,
            order: draft.next_statement(),
        }
    }
}
