//! The files of a project's directory that a build may see, and a copy of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::unpack::{set_times, stays_inside};
use pkgapp_core::digest::{DigestWriter, Sha256Sum};
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;
use pkgapp_core::process;

/// Returns the files of a project that its build may see, relative and sorted: those that git
/// tracks or would add; without git, all except the output of builds and tools.
pub(super) fn project_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeSet::new();
    match git_files(directory, &["--cached"]) {
        Some(tracked) if !tracked.is_empty() => {
            let others =
                git_files(directory, &["--others", "--exclude-standard"]).unwrap_or_default();
            files.extend(
                others
                    .into_iter()
                    .filter(|path| !is_left_behind(path, false)),
            );
            for path in tracked {
                let found = directory.join(&path);
                if found.is_dir() && !found.is_symlink() {
                    // A submodule: git lists only its directory.
                    files.extend(
                        submodule_files(&found)?
                            .into_iter()
                            .map(|below| path.join(below)),
                    );
                } else if found.symlink_metadata().is_ok() {
                    files.insert(path);
                }
            }
        }
        _ => walk(directory, &mut files)?,
    }
    Ok(files.into_iter().collect())
}

/// Returns the files of a submodule. If it is not checked out, git answers for the repository
/// around it, which lists the submodule again: only its own repository may be asked.
fn submodule_files(directory: &Path) -> Result<Vec<PathBuf>> {
    if is_top_of_checkout(directory) {
        return project_files(directory);
    }

    let mut files = BTreeSet::new();
    walk(directory, &mut files)?;
    Ok(files.into_iter().collect())
}

fn is_top_of_checkout(directory: &Path) -> bool {
    ask_git(directory, &["rev-parse", "--show-prefix"])
        .is_some_and(|prefix| prefix.trim_ascii().is_empty())
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    // Nothing in the checkout is executed, whoever owns it.
    command.args([
        "-c",
        "safe.directory=*",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
    ]);
    process::outside_repositories(&mut command);
    command
        .env("GIT_OPTIONAL_LOCKS", "0")
        .arg("-C")
        .arg(directory);
    command
}

/// Returns git's output in a directory; `None` if it fails or is missing.
pub(super) fn ask_git(directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = process::output(git(directory).args(arguments)).ok()?;
    output.status.success().then_some(output.stdout)
}

/// The commit, branch, and tags from which setuptools-scm, hatch-vcs, and similar tools derive a
/// version that is written nowhere else.
pub(super) struct VersionHistory(String);

impl VersionHistory {
    /// Reads them; `None` if the version is written in pyproject.toml, or the directory is not the
    /// top of a checkout.
    pub(super) fn of(directory: &Path) -> Option<Self> {
        if has_written_version(directory) || !is_top_of_checkout(directory) {
            return None;
        }
        let commit = ask_git(directory, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
        let branch = ask_git(directory, &["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
        let format = "--format=%(objectname) %(refname)";
        let tags = ask_git(
            directory,
            &["for-each-ref", "--merged=HEAD", format, "refs/tags"],
        )?;
        Some(Self(
            [commit, branch, tags]
                .iter()
                .map(|text| String::from_utf8_lossy(text))
                .collect(),
        ))
    }

    /// Creates a repository at `to` without files that borrows the objects of `directory`, which is
    /// only read; returns whether it did.
    ///
    /// A build then sees a repository of its own: git writes even when it only reads the state of a
    /// repository.
    pub(super) fn lend(directory: &Path, to: &Path) -> Result<bool> {
        let mut command = git(Path::new("/"));
        command
            .args([
                "clone",
                "--quiet",
                "--shared",
                "--no-checkout",
                "--template=",
            ])
            .arg(directory)
            .arg(to);
        if process::output(&mut command)?.status.success() {
            return Ok(true);
        }
        // The build may not need a repository; if it does, it reports an error.
        match std::fs::remove_dir_all(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("cannot remove `{}`", shown(to)))
            }
            _ => Ok(false),
        }
    }

    /// Initializes the index of the repository at `to`, so that only files that differ from the
    /// commit are reported as changed.
    pub(super) fn compare(to: &Path) -> Result<()> {
        process::run(git(to).args(["reset", "--quiet"])).map(|_| ())
    }
}

fn has_written_version(directory: &Path) -> bool {
    let text = std::fs::read_to_string(directory.join("pyproject.toml")).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    table
        .get("project")
        .and_then(|project| project.get("version"))
        .is_some()
}

fn git_files(directory: &Path, arguments: &[&str]) -> Option<Vec<PathBuf>> {
    let listed = ask_git(directory, &[&["ls-files", "-z"], arguments].concat())?;
    let names = listed
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    Some(
        names
            .map(|name| PathBuf::from(OsStr::from_bytes(name)))
            .collect(),
    )
}

fn walk(directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let below = |path: &Path| path.strip_prefix(directory).unwrap_or(path).to_owned();
    // In an unpacked sdist, setuptools learns from its `*.egg-info` which files belong to packages.
    let is_sdist = directory.join("PKG-INFO").is_file();
    let entries = walkdir::WalkDir::new(directory).min_depth(1).into_iter();
    for entry in entries.filter_entry(|entry| !is_left_behind(&below(entry.path()), is_sdist)) {
        let entry = entry.context(|| format!("cannot read `{}`", shown(directory)))?;
        if !entry.file_type().is_dir() {
            files.insert(below(entry.path()));
        }
    }
    Ok(())
}

/// Returns whether a path below a project is output of builds, tools, or version control.
fn is_left_behind(path: &Path, is_sdist: bool) -> bool {
    let names: Vec<_> = path.iter().map(OsStr::to_string_lossy).collect();
    // Packages may be called `build`; only at the top is it a build directory.
    let top = matches!(
        names.first().map(AsRef::as_ref),
        Some("build" | "dist" | "venv")
    );
    let tools = [
        ".eggs",
        ".git",
        ".hg",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "node_modules",
    ];
    top || names
        .iter()
        .any(|name| tools.contains(&name.as_ref()) || !is_sdist && name.ends_with(".egg-info"))
}

/// The kind of a file of a project, with links that leave the project resolved if possible.
enum ProjectFile {
    Link(PathBuf),
    File { executable: bool },
}

fn classify(directory: &Path, path: &Path) -> Result<ProjectFile> {
    let found = directory.join(path);
    let failed = || format!("cannot read `{}`", shown(&found));
    if found.is_symlink() {
        let target = std::fs::read_link(&found).context(failed)?;
        let inside = ReleasePath::parse(&format!("top/{}", path.display())).is_ok_and(|path| {
            target
                .to_str()
                .is_some_and(|target| stays_inside(&path, target))
        });
        // A broken link is for the backend to judge: it may be in the documentation, which is not
        // built.
        let dangles = || {
            std::fs::metadata(&found).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        if inside || dangles() {
            return Ok(ProjectFile::Link(target));
        }
    }
    let metadata = std::fs::metadata(&found).context(failed)?;
    if !metadata.is_file() {
        return Err(Error::new(format!(
            "`{}` is not a regular file, so a build cannot use it",
            shown(&found)
        ))
        .hint("exclude it with `.gitignore`"));
    }
    Ok(ProjectFile::File {
        executable: metadata.permissions().mode() & 0o111 != 0,
    })
}

pub(super) fn hash_files(
    directory: &Path,
    files: &[PathBuf],
    history: Option<&VersionHistory>,
) -> Result<Sha256Sum> {
    let mut sum = Sha256::new();
    if let Some(VersionHistory(facts)) = history {
        sum.update(facts.as_bytes());
        sum.update([0]);
    }
    for path in files {
        let found = directory.join(path);
        sum.update(path.as_os_str().as_bytes());
        match classify(directory, path)? {
            ProjectFile::Link(target) => {
                sum.update(b"\0link\0");
                sum.update(target.as_os_str().as_bytes());
                sum.update(b"\0");
            }
            ProjectFile::File { executable } => {
                sum.update(if executable { b"\0exec\0" } else { b"\0file\0" });
                let mut content = DigestWriter::new(io::sink());
                io::copy(&mut fs::open(&found)?, &mut content)
                    .context(|| format!("cannot read `{}`", shown(&found)))?;
                sum.update(content.finish().1.sha256.0);
            }
        }
    }
    Ok(Sha256Sum(sum.finalize().into()))
}

pub(super) fn copy_files(directory: &Path, files: &[PathBuf], to: &Path, epoch: u64) -> Result<()> {
    for path in files {
        let (found, place) = (directory.join(path), to.join(path));
        let failed = || format!("cannot copy `{}`", shown(&found));
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        match classify(directory, path)? {
            ProjectFile::Link(target) => {
                std::os::unix::fs::symlink(target, &place).context(failed)?;
            }
            ProjectFile::File { executable } => {
                let mut copy = File::create_new(&place).context(failed)?;
                io::copy(&mut fs::open(&found)?, &mut copy).context(failed)?;
                copy.flush().context(failed)?;
                let mode = if executable { 0o755 } else { 0o644 };
                copy.set_permissions(std::fs::Permissions::from_mode(mode))
                    .context(failed)?;
            }
        }
    }
    set_times(to, epoch)
}
