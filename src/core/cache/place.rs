//! The directory of the cache, and the checks before a directory becomes one: pkgapp never removes
//! files from other directories.

use std::io;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Context, Error, Result, shown};
use crate::fs;

/// The file that marks pkgapp's cache, and records the warnings about it.
const MARKER: &str = ".pkgapp-cache";

/// The file that tells backups and other tools that a directory need not be kept
/// (<https://bford.info/cachedir/>).
const TAG: &str = "CACHEDIR.TAG";

const TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of pkgapp: deleting it costs time only.\n";

/// The directories of a cache.
const KINDS: [&str; 16] = [
    "wheels", "sdists", "built", "git", "hg", "layers", "bytecode", "proofs", "md5sums", "runs",
    "segments", "spares", "index", "pins", "tools", "tmp",
];

/// The record that the warning about the group of a cache has been shown.
const GROUP_REPORTED: &str = "group-writable\n";

/// Makes `root` a cache unless it is one; returns a warning about it, once.
///
/// # Errors
/// Fails if the directory is not empty and no cache, or if other users can write to it.
pub(super) fn prepare(root: &Path) -> Result<Option<String>> {
    create(root).map_err(elsewhere)?;
    let metadata = root
        .metadata()
        .context(|| format!("cannot read `{}`", shown(root)))?;
    let is_shared = check_access(root, &metadata)?;
    let marker = root.join(MARKER);
    if !is_file(&marker) {
        claim(root).map_err(elsewhere)?;
        append(&marker, "")?;
    }
    if !root.join(TAG).exists() {
        std::fs::write(root.join(TAG), TAG_TEXT)
            .context(|| format!("cannot write to `{}`", shown(root)))?;
    }
    check_directories(root)?;
    fs::create_dir_all(&root.join("tmp")).map_err(elsewhere)?;

    if !is_shared || fs::read_to_string(&marker)?.contains(GROUP_REPORTED) {
        return Ok(None);
    }
    append(&marker, GROUP_REPORTED)?;
    Ok(Some(format!(
        "the group of the cache `{}` can write to it, so its members control the builds: run `chmod -R g-w` if you do not \
         trust all of them",
        shown(root)
    )))
}

fn elsewhere(error: Error) -> Error {
    error.hint("set `PKGAPP_CACHE_DIR` to your own directory")
}

/// Creates the directory of the cache, unless it exists.
fn create(root: &Path) -> Result<()> {
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o755).create(root) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::new(format!("cannot create `{}`", shown(root))).cause(error))
        }
        _ => Ok(()),
    }
}

/// Checks who may write to the directories in a cache.
fn check_directories(root: &Path) -> Result<()> {
    for kind in KINDS {
        let directory = root.join(kind);
        let Ok(metadata) = directory.symlink_metadata() else {
            continue;
        };
        if !metadata.is_dir() {
            return Err(elsewhere(Error::new(format!(
                "`{}` in the cache is not a directory",
                shown(&directory)
            ))));
        }
        check_access(&directory, &metadata)?;
    }
    Ok(())
}

/// Checks who may write to a directory; returns whether its group may.
fn check_access(directory: &Path, metadata: &std::fs::Metadata) -> Result<bool> {
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        return Err(Error::new(format!("the cache `{}` belongs to another user", shown(directory)))
            .note(format!(
                "its owner has UID {owner}, but pkgapp runs as {own}: the owner would control the builds"
            ))
            .hint("set `PKGAPP_CACHE_DIR` to your own directory"));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(Error::new(format!(
            "everyone may write to the cache `{}`",
            shown(directory)
        ))
        .note("everyone who can write to the cache controls the builds")
        .hint("delete the cache, or run `chmod -R o-w` if you trust its content"));
    }
    Ok(metadata.mode() & 0o020 != 0)
}

/// Checks that a directory without a marker may become a cache: it is empty, or a cache of a
/// version without markers.
fn claim(root: &Path) -> Result<()> {
    let entries = std::fs::read_dir(root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut names = Vec::new();
    for entry in entries.context(|| format!("cannot read `{}`", shown(root)))? {
        names.push(entry.file_name().into_string().unwrap_or_default());
    }
    // Another process may have created the marker meanwhile.
    if names.is_empty() || names.iter().any(|name| name == MARKER) || is_older_cache(root, &names) {
        return Ok(());
    }
    Err(Error::new(format!(
        "`{}` is neither a cache of pkgapp nor empty",
        shown(root)
    ))
    .note("pkgapp deletes unneeded files in its cache, so it uses only its own directories"))
}

/// Returns whether a directory contains only directories of a cache, with entries named by
/// checksums among them.
fn is_older_cache(root: &Path, names: &[String]) -> bool {
    let mut has_entries = false;
    for name in names
        .iter()
        .filter(|name| !matches!(name.as_str(), "size.json" | TAG))
    {
        let directory = root.join(name);
        if !KINDS.contains(&name.as_str())
            || !directory
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_dir())
        {
            return false;
        }
        // Entries of these directories have other names.
        if matches!(name.as_str(), "tmp" | "index") {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&directory) else {
            return false;
        };
        for entry in entries {
            match entry {
                Ok(entry) if is_sum(&entry.file_name().to_string_lossy()) => has_entries = true,
                _ => return false,
            }
        }
    }
    let is_empty = |directory: &Path| {
        std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
    };
    has_entries || (is_empty(&root.join("tmp")) && is_empty(&root.join("index")))
}

/// Returns whether a name consists of digits of a SHA-256, with a word before or an extension after
/// them.
fn is_sum(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or_default();
    let digits = name.rsplit('-').next().unwrap_or_default();
    digits.len() >= 16
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file())
}

fn append(file: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write `{}`", shown(file));
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(file)
        .map_err(|error| Error::new(failed()).cause(error));
    let opened = opened
        .map_err(|error| error.hint("set `PKGAPP_CACHE_DIR` to a directory that you can write to"));
    opened?.write_all(text.as_bytes()).context(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::cache::{Cache, key};

    /// Everything below a directory with what the files hold.
    fn content(root: &Path) -> Vec<(String, Option<String>)> {
        let all = walkdir::WalkDir::new(root)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter()
            .flatten();
        all.map(|entry| {
            (
                entry.path().display().to_string(),
                std::fs::read_to_string(entry.path()).ok(),
            )
        })
        .collect()
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_elses_things_is_left_as_it_is() {
        for file in [
            "tmp/thesis.odt",
            "wheels/mine-1.0-py3-none-any.whl",
            "notes",
            "wheels/0123/x.whl",
            "layers",
        ] {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join(file), "precious");
            let before = content(directory.path());
            let error = Cache::open(directory.path()).unwrap_err().to_string();
            assert!(
                error.contains("is neither a cache of pkgapp nor empty"),
                "{file}: {error}"
            );
            assert_eq!(content(directory.path()), before, "{file}");
        }
    }

    #[test]
    fn caches_without_a_marker_are_taken_over() {
        let sum = key(["x"]);
        for file in [
            format!("wheels/{sum}/x.whl"),
            format!("tools/runtime-{sum}.json"),
            format!("bytecode/{sum}.pyc"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            write(&directory.path().join(&file), "x");
            write(&directory.path().join("size.json"), "x");
            std::fs::create_dir(directory.path().join("tmp")).unwrap();
            for _ in 0..2 {
                drop(Cache::open(directory.path()).unwrap());
            }
            assert!(directory.path().join(file).exists() && directory.path().join(MARKER).exists());
        }
    }

    #[test]
    fn links_out_of_the_cache_are_not_followed() {
        for kind in ["tmp", "wheels"] {
            let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            drop(Cache::open(directory.path()).unwrap());
            write(&outside.path().join("precious/x"), "x");
            _ = std::fs::remove_dir(directory.path().join(kind));
            symlink(outside.path(), directory.path().join(kind)).unwrap();
            assert!(
                Cache::open(directory.path())
                    .unwrap_err()
                    .to_string()
                    .contains("is not a directory")
            );
            assert!(outside.path().join("precious/x").exists());
        }
        // One that has another name is not looked into either.
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache::open(directory.path()).unwrap();
        write(&outside.path().join("precious/x"), "x");
        symlink(outside.path(), directory.path().join("other")).unwrap();
        cache
            .prune(crate::cache::PruneRequest {
                all: true,
                ..Default::default()
            })
            .unwrap();
        assert!(outside.path().join("precious/x").exists());
    }

    #[test]
    fn who_may_write_to_a_cache_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("cache");
        drop(Cache::open(&root).unwrap());
        let allow = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        for path in [root.clone(), root.join("tmp")] {
            allow(&path, 0o777);
            assert!(
                Cache::open(&root)
                    .unwrap_err()
                    .to_string()
                    .contains("everyone may write")
            );
            allow(&path, 0o755);
        }
        assert_eq!(prepare(&root).unwrap(), None);
        allow(&root, 0o775);
        assert!(
            prepare(&root)
                .unwrap()
                .unwrap()
                .contains("the group of the cache")
        );
        assert_eq!(prepare(&root).unwrap(), None, "it was reported");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&root, Some(12_345), None).unwrap();
            assert!(
                Cache::open(&root)
                    .unwrap_err()
                    .to_string()
                    .contains("belongs to another user")
            );
        }
    }
}
