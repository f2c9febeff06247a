//! Exact pins of the distributions that ship: name, version, hashes, and source.
//!
//! Every format has a reader: one file, and one entry in `FORMATS`. All readers fill a `LockDraft`,
//! and one place turns the draft into a [`Lock`] and decides what a pin is.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod environment_diff;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use url::Url;

use pkgapp_config::NamedIndex;
use pkgapp_core::error::{Error, Location, Result, shown};
use pkgapp_pypa::{Environment, ExtraName, GroupName, HashDigest, PackageName, Version};

mod buildout;
pub mod check;
mod direct;
mod draft;
mod entry;
mod foreign;
mod graph;
mod hash;
pub mod index;
mod json;
mod pdm;
mod pipenv;
mod poetry;
mod project;
mod pylock;
mod range;
mod remote;
mod requirements;
mod text;
mod uv;

use draft::LockDraft;
use text::TextFile;

pub use text::without_credentials;

/// A format of files with pins.
struct LockFormat {
    /// Returns whether a file with this name and text has the format.
    recognizes: fn(name: &str, text: &str) -> bool,
    /// Adds the statements of the file, and its errors, to the draft.
    read: fn(&mut LockDraft<'_>, &TextFile),
}

/// All formats; the first that recognizes a file reads it, and requirements.txt accepts every file.
const FORMATS: &[LockFormat] = &[
    pylock::FORMAT,
    uv::FORMAT,
    poetry::FORMAT,
    pipenv::FORMAT,
    pdm::FORMAT,
    foreign::PROJECT,
    buildout::FORMAT,
    requirements::FORMAT,
];

/// An application's pins for one environment: markers are evaluated, extras are collected, names
/// are unique.
#[derive(Debug, Clone, Default)]
pub struct Lock {
    /// Sorted by name.
    pub pins: Vec<Pin>,
    /// The indexes and directories for pins without a source of their own.
    pub indexes: Indexes,
    /// Whether every file needs a matching hash: a file says so, or one pin has hashes (as in pip).
    pub require_hashes: bool,
    /// The files that were read, in order, for messages and for the release's record: as named in
    /// the configuration or the including file, joined to the directory they are relative to; URLs
    /// without secrets.
    pub files: Vec<PathBuf>,
    /// Warnings about content that has no effect in pkgapp, one line each, with the place.
    pub warnings: Vec<String>,
    /// An editable install of the project in the configuration's directory, as written by `uv
    /// export` and development environments. It is not a pin: a build of the application from that
    /// directory may ignore it; otherwise, it is a mistake.
    pub editable: Option<EditableInstall>,
    /// Pins that ship only if a shipping distribution requires them, sorted by name: constraints
    /// and versions of buildout's `[versions]` that no file requires.
    pub offered: Vec<Pin>,
}

/// The configuration's settings for locks, except their file names.
#[derive(Debug, Clone, Default)]
pub struct LockSelection {
    /// Dependency groups that ship in addition to the default, and the places that select them.
    pub groups: Vec<(GroupName, Location)>,
    /// Extras of the application that ship, and the places that select them.
    pub extras: Vec<(ExtraName, Location)>,
    /// Constraints files, relative to the configuration's directory: as if every requirements file
    /// had `-c FILE`.
    pub constraints: Vec<PathBuf>,
    /// The application's project, absolute; by default, the configuration's directory. A lock of a
    /// workspace is read as the lock of this member.
    pub project: Option<PathBuf>,
    /// Named indexes of the configuration, in order.
    pub indexes: Vec<NamedIndex>,
    /// The index that is the only source of a distribution, by its name.
    pub sources: BTreeMap<PackageName, String>,
    /// Directories with files that take precedence over all indexes, absolute.
    pub wheelhouses: Vec<PathBuf>,
    /// The place where the configuration requires a hash of every pin.
    pub require_hashes: Option<Location>,
}

/// An editable install in a lock.
#[derive(Debug, Clone)]
pub struct EditableInstall {
    /// The text in the file.
    pub shown: String,
    /// Extras that are requested.
    pub extras: Vec<ExtraName>,
    /// Its place.
    pub at: Location,
}

impl EditableInstall {
    /// Returns the error that it cannot ship; the caller adds a hint.
    pub fn refused(&self) -> Error {
        Error::new(format!(
            "`{}` cannot ship: an editable install points back to its sources",
            self.shown
        ))
        .at(self.at.clone())
    }
}

impl Lock {
    /// Reads files with pins, each in the format of its name and content, for one environment.
    ///
    /// `files` are relative to `root`, the directory of the configuration. Paths of distributions
    /// in requirements files are relative to `root` too, as if pip ran there; included files are
    /// relative to the file that includes them. `offline` refuses included files on the network.
    /// Development groups ship only if `selection` names them.
    ///
    /// # Errors
    /// Returns all mistakes of all files, in the order of reading: syntax errors, requirements that
    /// are not pinned exactly, two different pins of one name, missing or weak hashes, unset
    /// environment variables.
    pub fn read(
        files: &[PathBuf],
        root: &Path,
        env: &Environment,
        offline: bool,
        selection: &LockSelection,
    ) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::read_with(files, root, env, offline, selection, &variable)
    }

    fn read_with(
        files: &[PathBuf],
        root: &Path,
        env: &Environment,
        offline: bool,
        selection: &LockSelection,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let root = &direct::normal(root);
        let draft = || LockDraft::new(root, env, offline, selection, variable);
        let mut all = read_into(draft(), files);
        // Resolvers write different pins for patch releases of one Python (`python_full_version <
        // '3.11.5'`).
        let forked = all.pinned_twice();
        if !forked.is_empty() {
            all.settle(&forked, read_into(draft().for_oldest_patch(), files));
        }
        all.finish()
    }
}

/// Reads the constraints of the selection and then all files, relative to the root.
fn read_into<'a>(mut draft: LockDraft<'a>, files: &[PathBuf]) -> LockDraft<'a> {
    let root = draft.root;
    let selection = draft.selection;
    for file in &selection.constraints {
        draft.next_statement();
        match TextFile::open(&direct::normal(&root.join(file))) {
            Ok(text) => requirements::read_constraints(&mut draft, &text),
            Err(error) => draft.fail(not_read(error, root, file)),
        }
    }
    for file in files {
        draft.next_statement();
        match TextFile::open(&direct::normal(&root.join(file))) {
            Ok(text) => draft.read(&text),
            Err(error) => draft.fail(not_read(error, root, file)),
        }
    }
    draft
}

/// Returns whether a file is read as requirements.txt, which may contain unpinned requirements.
///
/// # Errors
/// Fails if the file cannot be read.
pub fn is_requirements(path: &Path) -> Result<bool> {
    let file = TextFile::open(path)?;
    Ok(!FORMATS[..FORMATS.len() - 1]
        .iter()
        .any(|format| (format.recognizes)(file.name(), &file.text)))
}

/// Adds to an error where a file of the configuration was looked for, and which lock is there.
fn not_read(error: Error, root: &Path, file: &Path) -> Error {
    if root.join(file).exists() {
        return error;
    }
    let error = error.note(format!(
        "names in `[python] requirements` are relative to `{}`",
        shown(root)
    ));
    let known = |name: &str| {
        name.starts_with("requirements")
            || name.starts_with("pylock.")
            || matches!(
                name,
                "uv.lock" | "poetry.lock" | "pdm.lock" | "Pipfile.lock"
            )
    };
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let names = entries
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok());
    match names.filter(|name| known(name)).min() {
        Some(name) => error.hint(format!("`{name}` exists there")),
        None => error,
    }
}

/// One distribution that ships.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Normalized name.
    pub name: PackageName,
    /// The exact version; `None` only for a direct URL or path whose file name does not say it.
    pub version: Option<Version>,
    /// Extras that are requested.
    pub extras: Vec<ExtraName>,
    /// The source of the file.
    pub source: PinSource,
    /// Accepted hashes; empty if none are given.
    pub hashes: Vec<HashDigest>,
    /// The place of the pin.
    pub at: Location,
}

/// The source of a pinned distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// The indexes and find-links places of the lock.
    Index,
    /// One of these files (pylock.toml).
    Files(Vec<LockedFile>),
    /// An archive at a URL (http or https), which may have a fragment `subdirectory=…` and no other
    /// one.
    Url(Url),
    /// A wheel, sdist, or egg on the build machine, absolute; an egg may be a directory.
    File(PathBuf),
    /// A project's directory on the build machine, absolute: built like an sdist.
    Directory(PathBuf),
    /// A project in a git repository: built like an sdist.
    Git(GitSource),
    /// A project in a Mercurial repository: built like an sdist.
    Mercurial(MercurialSource),
}

/// A project in a git repository, at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The argument of `git clone`: a URL, which may contain a password.
    pub url: String,
    /// The full ID of a commit, in hexadecimal.
    pub commit: String,
    /// The project's directory in the repository, relative, without `..`; empty for the root.
    pub subdirectory: PathBuf,
}

impl GitSource {
    /// Checks a repository as a lock or requirement names it, with or without `git+`.
    ///
    /// # Errors
    /// Returns the reason: no full commit ID, a directory outside the repository, or an address
    /// that git must not receive.
    pub fn new(url: &str, commit: &str, subdirectory: Option<&str>) -> Result<Self, String> {
        let url = url.strip_prefix("git+").unwrap_or(url);
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err("the full commit ID is missing".to_owned());
        }
        let subdirectory = subdirectory_of(subdirectory)?;
        // `ext::` runs a command, and an address that begins with `-` is an option.
        let known = ["https://", "http://", "ssh://", "git://", "file://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        let is_ssh = url.split_once(':').is_some_and(|(host, path)| {
            host.contains('@')
                && !host.starts_with('-')
                && !path.starts_with(':')
                && !host.contains('/')
        });
        if !known && !is_ssh {
            return Err(
                "the address must be an https, http, ssh, git, or file URL or `user@host:path`"
                    .to_owned(),
            );
        }
        check_password(url)?;
        Ok(Self {
            url: url.to_owned(),
            commit: commit.to_ascii_lowercase(),
            subdirectory,
        })
    }

    /// Returns the repository and the commit as messages and records show them, without a password.
    pub fn shown(&self) -> String {
        format!(
            "git+{}@{}",
            text::without_credentials(&self.url),
            self.commit
        )
    }
}

/// A project in a Mercurial repository, at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MercurialSource {
    /// The argument of `hg clone`: a URL, which may contain a password.
    pub url: String,
    /// The full ID of a commit, in hexadecimal.
    pub commit: String,
    /// The project's directory in the repository, relative, without `..`; empty for the root.
    pub subdirectory: PathBuf,
}

impl MercurialSource {
    /// Checks a repository as a requirement names it, with or without `hg+`.
    ///
    /// # Errors
    /// Returns the reason: no full commit ID, a directory outside the repository, or an address
    /// that hg must not receive.
    pub fn new(url: &str, commit: &str, subdirectory: Option<&str>) -> Result<Self, String> {
        let url = url.strip_prefix("hg+").unwrap_or(url);
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("the full commit ID is missing".to_owned());
        }
        let subdirectory = subdirectory_of(subdirectory)?;
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        // A host that begins with `-` would be an option of ssh.
        if !matches!(scheme, "https" | "http" | "ssh" | "file") || rest.starts_with('-') {
            return Err("the address must be an https, http, ssh, or file URL".to_owned());
        }
        check_password(url)?;
        Ok(Self {
            url: url.to_owned(),
            commit: commit.to_ascii_lowercase(),
            subdirectory,
        })
    }

    /// Returns the repository and the commit as messages and records show them, without a password.
    pub fn shown(&self) -> String {
        format!(
            "hg+{}@{}",
            text::without_credentials(&self.url),
            self.commit
        )
    }
}

/// Refuses a password where it has no use: the tool would pass it to ssh as part of the user name,
/// visible to everyone on the machine.
fn check_password(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (user, _) = rest
        .split('/')
        .next()
        .unwrap_or(rest)
        .rsplit_once('@')
        .unwrap_or_default();
    if matches!(scheme, "http" | "https") || !user.contains(':') {
        Ok(())
    } else {
        Err(format!(
            "the address contains a password, which `{scheme}:` does not support"
        ))
    }
}

fn subdirectory_of(text: Option<&str>) -> Result<PathBuf, String> {
    let subdirectory = PathBuf::from(text.unwrap_or_default());
    if subdirectory
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)))
    {
        Ok(subdirectory)
    } else {
        Err("the subdirectory is outside the repository".to_owned())
    }
}

/// A file that a lock names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// The file name of the wheel or sdist.
    pub name: String,
    /// Its place.
    pub place: FilePlace,
    /// Accepted hashes.
    pub hashes: Vec<HashDigest>,
    /// Its length in bytes, if the lock states it.
    pub size: Option<u64>,
}

/// The place of a locked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePlace {
    /// A URL.
    Url(Url),
    /// A path on the build machine, absolute.
    Path(PathBuf),
}

/// Places to look for pins: those of the configuration, and `--index-url` and its relatives.
#[derive(Debug, Clone, Default)]
pub struct Indexes {
    /// Named indexes, in order.
    pub named: Vec<NamedIndex>,
    /// The named index that is the only source of a distribution, because the configuration or its
    /// lock says so.
    pub sources: BTreeMap<PackageName, String>,
    /// Directories with files that take precedence over everything else, absolute.
    pub wheelhouses: Vec<PathBuf>,
    /// `--index-url`; `None` for PyPI.
    pub index: Option<Url>,
    /// `--extra-index-url`, in order.
    pub extra: Vec<Url>,
    /// `--find-links`: directories and pages, in order.
    pub find_links: Vec<Url>,
    /// `--no-index`: no index is asked, named or not.
    pub no_index: bool,
    /// `--only-binary`: no sdists for these (`None`: for all).
    pub only_binary: NameSet,
    /// `--no-binary`: no wheels for these.
    pub no_binary: NameSet,
    /// The environment variables that files use in their lines; their values may be secrets.
    pub variables: Vec<String>,
}

impl Indexes {
    /// Returns whether a wheel, and whether an sdist, may be used for `name`; a name in one option
    /// takes precedence over `:all:` in the other (pip's `FormatControl`).
    pub fn allows(&self, name: &PackageName) -> AllowedFiles {
        let named = |names: &NameSet| matches!(names, NameSet::These(_)) && names.contains(name);
        let (wheel, sdist) = if named(&self.only_binary) {
            (true, false)
        } else if named(&self.no_binary) {
            (false, true)
        } else {
            (
                self.no_binary != NameSet::All,
                self.only_binary != NameSet::All,
            )
        };
        AllowedFiles { wheel, sdist }
    }
}

/// The kinds of files that may be used for a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedFiles {
    /// Whether wheels from an index may be used.
    pub wheel: bool,
    /// Whether sdists may be used to build a wheel.
    pub sdist: bool,
}

/// A set of distributions in an option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NameSet {
    /// `:none:`, or the option is absent.
    #[default]
    None,
    /// `:all:`.
    All,
    /// These.
    These(Vec<PackageName>),
}

impl NameSet {
    /// Returns whether the option applies to `name`.
    pub fn contains(&self, name: &PackageName) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

#[cfg(test)]
mod tests;
