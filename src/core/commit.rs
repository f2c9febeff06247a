//! The commit from which an application is built, and so the date of everything in its packages.
//!
//! `git log` is not used: a repository's configuration can make it run programs, and inspecting a
//! project must run nothing.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crate::error::{Error, Result};
use crate::process;

/// The date of files without any other date: 2020-01-01, a constant so that two builds are equal.
const UNDATED: u64 = 1_577_836_800;

/// A commit of the application's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The full hash, followed by `-dirty` if tracked files differ.
    pub id: String,
    /// The committer's date, seconds since 1970.
    pub time: u64,
}

impl Commit {
    /// Reads the commit that is checked out at `root`; `None` if the directory is not a git
    /// checkout, has no commit, or git is missing.
    ///
    /// A directory without files in the repository has no commit, even if it is inside the
    /// repository's checkout.
    pub fn at(root: &Path) -> Option<Self> {
        let status = [
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--ignore-submodules",
            "--",
            ".",
        ];
        let (objects, changed) = thread::scope(|scope| {
            // `status` rather than `diff-index`: a copied checkout has other file times, but the
            // same source.
            let changed = scope.spawn(|| {
                git(root, &status, "").is_none_or(|names| !names.trim_ascii().is_empty())
            });
            (
                git(root, &["cat-file", "--batch"], "HEAD^{commit}\nHEAD:./\n"),
                changed.join().unwrap_or(true),
            )
        });
        // The format of each is `HASH KIND LENGTH`, a newline, LENGTH bytes, and another newline,
        // or `NAME missing`: git-cat-file(1).
        let mut rest = &objects?[..];
        let (id, commit) = next_object(&mut rest)?;
        let (_, tracked) = next_object(&mut rest)?;
        if tracked.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(commit);
        // `committer Name <address> 1700000000 +0100`, see git-commit-tree(1).
        let line = text
            .lines()
            .take_while(|line| !line.is_empty())
            .find(|line| line.starts_with("committer "))?;
        let time = line.rsplit(' ').nth(1)?.parse().ok()?;
        Some(Self {
            id: if changed { format!("{id}-dirty") } else { id },
            time,
        })
    }
}

/// The commit of a build, which git determines while the build runs.
#[derive(Debug)]
pub struct PendingCommit {
    asking: Mutex<Option<thread::JoinHandle<Option<Commit>>>>,
    commit: OnceLock<Option<Commit>>,
}

impl PendingCommit {
    /// Starts [`Commit::at`] in the background.
    pub fn at(root: &Path) -> Self {
        let root = root.to_owned();
        let asking = Mutex::new(Some(thread::spawn(move || Commit::at(&root))));
        Self {
            asking,
            commit: OnceLock::new(),
        }
    }

    /// Returns the result, waiting for it if necessary.
    pub fn commit(&self) -> Option<&Commit> {
        let answer = || {
            let asking = self
                .asking
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()?;
            asking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        self.commit.get_or_init(answer).as_ref()
    }

    /// Returns the [`date`] of the build. If the environment has it, this does not wait for git.
    ///
    /// # Errors
    /// Like [`date`].
    pub fn date(&self) -> Result<u64> {
        if is_dated() {
            date(None)
        } else {
            date(self.commit())
        }
    }
}

/// The date of what is built, seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub enum Epoch<'a> {
    /// The date is known.
    Known(u64),
    /// The date may be that of a commit.
    Of(&'a PendingCommit),
}

impl Epoch<'_> {
    /// Returns the date.
    ///
    /// # Errors
    /// Like [`date`].
    pub fn seconds(self) -> Result<u64> {
        match self {
            Self::Known(seconds) => Ok(seconds),
            Self::Of(asked) => asked.date(),
        }
    }
}

/// Splits an object off the output of `git cat-file --batch`: its hash and its content.
fn next_object<'a>(rest: &mut &'a [u8]) -> Option<(String, &'a [u8])> {
    let (head, after) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'\n')?)?;
    let head = std::str::from_utf8(head).ok()?;
    let (id, size) = (
        head.split(' ').next()?,
        head.rsplit(' ').next()?.parse().ok()?,
    );
    let (content, after) = after.get(1..)?.split_at_checked(size)?;
    *rest = after.get(1..)?;
    Some((id.to_owned(), content))
}

/// Returns the reason why a release cannot be traced to a commit, if there is one. `id` is the
/// commit of its build, as in [`Commit::id`].
pub fn uncommitted(id: Option<&str>, version: &str) -> Option<Error> {
    let Some(id) = id else {
        let error = Error::new(format!("{version} was not built from a commit"));
        return Some(error.hint("build it in a git clone"));
    };
    let commit = id.strip_suffix("-dirty")?;
    let short = commit.get(..12).unwrap_or(commit);
    let error = Error::new(format!(
        "{version} contains changes that are not in commit {short}"
    ));
    Some(error.hint("commit the changes that `git status` lists, and build again"))
}

/// Returns the reasons why a release cannot be traced to a tagged commit of the repository at
/// `root`; empty if it can. `id` is the commit of its build, as in [`Commit::id`].
pub fn untraced(root: &Path, id: Option<&str>, version: &str) -> Vec<Error> {
    let mut errors: Vec<Error> = uncommitted(id, version).into_iter().collect();
    let Some(id) = id else {
        return errors;
    };
    let commit = id.strip_suffix("-dirty").unwrap_or(id);
    let short = commit.get(..12).unwrap_or(commit);
    let tags = git(root, &["tag", "--points-at", commit], "").unwrap_or_default();
    if !String::from_utf8_lossy(&tags)
        .lines()
        .any(|tag| is_tag_of(tag, version))
    {
        let error = Error::new(format!("commit {short} has no tag for version {version}"));
        errors.push(error.hint(format!(
            "run `git tag v{version} {short}`, or fetch the tags"
        )));
    }
    errors
}

/// Returns whether the commit `id` is part of the history that is checked out at `root`. An `id`
/// that is none, as a host may tell it, is not.
pub fn contains(root: &Path, id: &str) -> bool {
    let commit = id.strip_suffix("-dirty").unwrap_or(id);
    let is_id = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id && git(root, &["merge-base", "--is-ancestor", commit, "HEAD"], "").is_some()
}

/// Returns whether a tag is a common name for a version: `1.4.2`, `v1.4.2`, `shop-1.4.2`,
/// `release/v1.4.2`.
fn is_tag_of(tag: &str, version: &str) -> bool {
    let Some(before) = tag.strip_suffix(version) else {
        return false;
    };
    let before = before.strip_suffix('v').unwrap_or(before);
    before.is_empty() || before.ends_with(['-', '_', '/', '@'])
}

/// Returns the date of everything in a package, seconds since 1970: `SOURCE_DATE_EPOCH`, or else
/// that of the commit, or else a constant. See
/// <https://reproducible-builds.org/specs/source-date-epoch/>.
///
/// # Errors
/// Fails if `SOURCE_DATE_EPOCH` is not a number, or too large for rpm (2106).
pub fn date(commit: Option<&Commit>) -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => match text.parse::<u64>() {
            Ok(seconds) if seconds <= u64::from(u32::MAX) => Ok(seconds),
            _ => Err(Error::new(format!("SOURCE_DATE_EPOCH is `{text}`, which is not a date that packages can contain"))
                .hint("set it to seconds since 1970, such as the output of `git log -1 --format=%ct`, or unset it")),
        },
        _ => Ok(commit.map_or(UNDATED, |commit| commit.time)),
    }
}

/// Returns whether the environment has the date.
pub fn is_dated() -> bool {
    std::env::var_os("SOURCE_DATE_EPOCH").is_some_and(|text| !text.is_empty())
}

fn git(root: &Path, arguments: &[&str], input: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    process::outside_repositories(&mut command);
    // Nothing in the checkout is executed, whoever owns it: no file-system monitor, no signature
    // check.
    command.args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]);
    command
        .arg("-C")
        .arg(root)
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C");
    let output = process::output_of(&mut command, input).ok()?;
    output.status.success().then_some(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_its_tags() {
        for tag in [
            "1.4.2",
            "v1.4.2",
            "shop-1.4.2",
            "shop-v1.4.2",
            "release/1.4.2",
            "shop@1.4.2",
        ] {
            assert!(is_tag_of(tag, "1.4.2"), "{tag}");
        }
        for tag in ["1.4.21", "11.4.2", "v1.4.2-rc1", "dev1.4.2", "1.4"] {
            assert!(!is_tag_of(tag, "1.4.2"), "{tag}");
        }
    }

    #[test]
    fn the_commit_and_its_dirt_are_seen() {
        let Some(git) = pkgapp_testing::tool("git") else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(Commit::at(root), None);
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&git);
            command
                .arg("-C")
                .arg(root)
                .args(["-c", "user.name=a", "-c", "user.email=a@b"])
                .args(arguments);
            command.env("GIT_COMMITTER_DATE", "1700000000 +0100");
            process::run(&mut command).unwrap();
        };
        std::fs::write(root.join("a"), "1").unwrap();
        run(&["init", "-q"]);
        run(&["add", "a"]);
        run(&["commit", "-qm", "a"]);
        std::fs::create_dir(root.join("untracked")).unwrap();
        assert_eq!(Commit::at(&root.join("untracked")), None);
        let clean = Commit::at(root).unwrap();
        assert_eq!((clean.time, clean.id.len()), (1_700_000_000, 40));
        std::fs::write(root.join("a"), "2").unwrap();
        let dirty = Commit::at(root).unwrap().id;
        assert_eq!(dirty, format!("{}-dirty", clean.id));

        run(&["commit", "-qam", "b"]);
        assert!(contains(root, &clean.id) && contains(root, &dirty));
        run(&["checkout", "-q", &clean.id]);
        run(&["commit", "-q", "--allow-empty", "-m", "c"]);
        let other = Commit::at(root).unwrap().id;
        run(&["checkout", "-q", &clean.id]);
        assert!(!contains(root, &other) && !contains(root, "HEAD"));
    }
}
