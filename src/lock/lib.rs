//! What ships, exactly: name, version, hashes, and where from.
//!
//! Every format has a reader of its own, one file and one line in `FORMATS`; all of them put what
//! they find into a `LockDraft`, and one place makes the [`Lock`] of it and decides what a pin is.
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

/// A kind of file that pins are read from.
struct LockFormat {
    /// Whether the file with this name and this text is of the format.
    recognizes: fn(name: &str, text: &str) -> bool,
    /// Puts what the file says, and what is wrong with it, into the draft.
    read: fn(&mut LockDraft<'_>, &TextFile),
}

/// All formats; the first that recognizes a file reads it, and requirements.txt takes every file.
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
    /// Where pins without a place of their own are looked for.
    pub indexes: Indexes,
    /// Every file must match a hash: said in a file, or implied because one pin has hashes (as in
    /// pip).
    pub require_hashes: bool,
    /// The files that were read, in order, for messages and for the release's record: as named in
    /// the configuration or in the file that includes them, joined to the directory they are
    /// relative to; URLs without secrets.
    pub files: Vec<PathBuf>,
    /// What the files say that pkgapp does not do, one line each with its place.
    pub warnings: Vec<String>,
    /// An editable install of the project in the directory of the configuration, as `uv export`
    /// and development environments name it. It is no pin: who builds the application from
    /// there may ignore it, else it is a mistake.
    pub editable: Option<EditableInstall>,
    /// Pins that ship only if something that ships requires them, sorted by name: what constraints
    /// and buildout's `[versions]` pin and no file requires.
    pub offered: Vec<Pin>,
}

/// What a configuration says about locks, besides naming them.
#[derive(Debug, Clone, Default)]
pub struct LockSelection {
    /// Dependency groups that ship besides what always does, and where they are asked for.
    pub groups: Vec<(GroupName, Location)>,
    /// Extras of the application that ship, and where they are asked for.
    pub extras: Vec<(ExtraName, Location)>,
    /// Files of constraints, relative to the configuration's directory: as if every requirements
    /// file had `-c FILE`.
    pub constraints: Vec<PathBuf>,
    /// The application's project, absolute; by default the configuration's directory. A lock of a
    /// workspace is read as that member's.
    pub project: Option<PathBuf>,
    /// Indexes that the configuration names, in order.
    pub indexes: Vec<NamedIndex>,
    /// From which of them a distribution comes, and from no other place.
    pub sources: BTreeMap<PackageName, String>,
    /// Directories of files that go before all indexes, absolute.
    pub wheelhouses: Vec<PathBuf>,
    /// Where the configuration demands a hash of every pin.
    pub require_hashes: Option<Location>,
}

/// An editable install in a lock.
#[derive(Debug, Clone)]
pub struct EditableInstall {
    /// As it stands in the file.
    pub shown: String,
    /// Extras that are asked for.
    pub extras: Vec<ExtraName>,
    /// Where it is.
    pub at: Location,
}

impl EditableInstall {
    /// Says that it can't ship; a way out is to be added.
    pub fn refused(&self) -> Error {
        Error::new(format!(
            "`{}` can't ship: an editable install points back to its sources",
            self.shown
        ))
        .at(self.at.clone())
    }
}

impl Lock {
    /// Reads one or several files of pins, told apart by name and content, for one environment.
    ///
    /// `files` are relative to `root`, the directory of the configuration. Paths of distributions
    /// in requirements files are relative to `root` too, as with pip run there; included files
    /// are relative to the one that includes them. `offline` refuses included files that are on
    /// the network. Development groups ship only if `selection` names them.
    ///
    /// # Errors
    /// Everything that is wrong in all of the files, in the order of reading: syntax, what is not
    /// pinned exactly, two different pins of one name, missing or weak hashes, environment
    /// variables that are not set.
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
        // Resolvers give patch releases of one Python versions of their own (`python_full_version <
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

/// Returns whether a file is read as requirements.txt, and so may leave pins open.
///
/// # Errors
/// It can't be read.
pub fn is_requirements(path: &Path) -> Result<bool> {
    let file = TextFile::open(path)?;
    Ok(!FORMATS[..FORMATS.len() - 1]
        .iter()
        .any(|format| (format.recognizes)(file.name(), &file.text)))
}

/// Says where a file that the configuration names was looked for, and what is there.
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
    /// Extras that are asked for.
    pub extras: Vec<ExtraName>,
    /// Where the file is.
    pub source: PinSource,
    /// Accepted hashes; empty if none were given.
    pub hashes: Vec<HashDigest>,
    /// Where it is pinned.
    pub at: Location,
}

/// Where a pinned distribution's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// In the indexes and find-links places of the lock.
    Index,
    /// One of these files (pylock.toml).
    Files(Vec<LockedFile>),
    /// An archive at a URL (http or https), maybe with a fragment `subdirectory=…` and with no
    /// other one.
    Url(Url),
    /// A wheel, sdist or egg on this machine, absolute; an egg may be a directory.
    File(PathBuf),
    /// A project's directory on this machine, absolute: built like an sdist.
    Directory(PathBuf),
    /// A project in a git repository: built like an sdist.
    Git(GitSource),
    /// A project in a Mercurial repository: built like an sdist.
    Mercurial(MercurialSource),
}

/// A project in a git repository, at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What `git clone` takes: a URL, maybe with a password in it.
    pub url: String,
    /// The whole id of a commit, in hexadecimal.
    pub commit: String,
    /// The project's directory in the repository, relative, without `..`; empty for the whole.
    pub subdirectory: PathBuf,
}

impl GitSource {
    /// Takes a repository as a lock or a requirement names it, with or without `git+`.
    ///
    /// # Errors
    /// Why not: no whole commit id, a directory that is not inside, or an address that git must not
    /// be given.
    pub fn new(url: &str, commit: &str, subdirectory: Option<&str>) -> Result<Self, String> {
        let url = url.strip_prefix("git+").unwrap_or(url);
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err("it names no commit by its whole id".to_owned());
        }
        let subdirectory = subdirectory_of(subdirectory)?;
        // `ext::` runs a command, and what begins with `-` is an option.
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
            return Err("its address is none that git may be given".to_owned());
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
    /// What `hg clone` takes: a URL, maybe with a password in it.
    pub url: String,
    /// The whole id of a commit, in hexadecimal.
    pub commit: String,
    /// The project's directory in the repository, relative, without `..`; empty for the whole.
    pub subdirectory: PathBuf,
}

impl MercurialSource {
    /// Takes a repository as a requirement names it, with or without `hg+`.
    ///
    /// # Errors
    /// Why not: no whole commit id, a directory that is not inside, or an address that hg must not
    /// be given.
    pub fn new(url: &str, commit: &str, subdirectory: Option<&str>) -> Result<Self, String> {
        let url = url.strip_prefix("hg+").unwrap_or(url);
        if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("it names no commit by its whole id".to_owned());
        }
        let subdirectory = subdirectory_of(subdirectory)?;
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        // What begins with `-` would be an option of ssh's.
        if !matches!(scheme, "https" | "http" | "ssh" | "file") || rest.starts_with('-') {
            return Err("its address is none that hg may be given".to_owned());
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

/// Refuses a password where it can't be used: the tool would hand it to ssh as part of a name, for
/// all to see.
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
            "its address holds a password, and `{scheme}:` takes none"
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
        Err("its subdirectory is not inside of it".to_owned())
    }
}

/// A file that a lock names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// The wheel's or sdist's file name.
    pub name: String,
    /// Where it is.
    pub place: FilePlace,
    /// Accepted hashes.
    pub hashes: Vec<HashDigest>,
    /// Its length in bytes, if the lock says it.
    pub size: Option<u64>,
}

/// Where a locked file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePlace {
    /// Elsewhere.
    Url(Url),
    /// On this machine, absolute.
    Path(PathBuf),
}

/// Where pins are looked for: what the configuration names, and `--index-url` and its relatives.
#[derive(Debug, Clone, Default)]
pub struct Indexes {
    /// Indexes with a name, in order.
    pub named: Vec<NamedIndex>,
    /// The named index that a distribution comes from, and from no other: by configuration, or
    /// because its lock says so.
    pub sources: BTreeMap<PackageName, String>,
    /// Directories of files that go before all else, absolute.
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
    /// The variables of the environment that files put into their lines: what is in them may be a
    /// secret.
    pub variables: Vec<String>,
}

impl Indexes {
    /// Returns whether a wheel, and whether an sdist, may be used for `name`; a name in an option
    /// goes before `:all:` in the other (pip's `FormatControl`).
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

/// What kinds of file may be used for a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedFiles {
    /// A wheel from an index.
    pub wheel: bool,
    /// An sdist, to build a wheel from.
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
    /// Returns whether the option is about `name`.
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
