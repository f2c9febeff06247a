//! Checkouts of git repositories, by the user's own git: its credentials, agents and proxies work.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::index::without_credentials;
use crate::cache::Cache;
use crate::error::{Context, Error, Result};
use crate::fs;
use crate::lock::GitSource;
use crate::process;

/// Returns the directory of a project at its commit, in the cache; it is only read.
///
/// # Errors
/// There is no git, the repository can't be cloned, it lacks the commit or the directory, or `offline` and it is not there.
pub(super) fn checkout(source: &GitSource, cache: &Cache, offline: bool) -> Result<PathBuf> {
    let repository = hex::encode(Sha256::digest(source.url.as_bytes()));
    let place = cache.root().join("git").join(&repository[..16]).join(&source.commit);
    if !place.is_dir() {
        if offline {
            return Err(Error::new(format!("`{}` is not in the cache, and the build is offline", source.shown()))
                .hint("build once without `--offline`"));
        }
        clone(source, &place, cache).map_err(|error| error.context(format!("cannot get `{}`", source.shown())))?;
    }
    project_in(&place, &source.subdirectory, &source.shown())
}

/// Returns a project's directory in a checkout.
///
/// # Errors
/// There is none, or it lies elsewhere.
pub(super) fn project_in(place: &Path, subdirectory: &Path, shown: &str) -> Result<PathBuf> {
    let project = place.join(subdirectory);
    // A link of the repository must not lead out of it.
    let inside = || Some(project.canonicalize().ok()?.starts_with(place.canonicalize().ok()?));
    match inside() {
        Some(true) if project.is_dir() => Ok(project),
        _ => Err(Error::new(format!("`{shown}` has no directory `{}`", subdirectory.display()))),
    }
}

fn clone(source: &GitSource, place: &Path, cache: &Cache) -> Result<()> {
    let git = process::find("git").ok_or_else(|| Error::new("there is no `git` on PATH").hint("install git"))?;
    let aside = cache.root().join("tmp");
    fs::create_dir_all(&aside)?;
    let aside = tempfile::Builder::new().prefix("git-").tempdir_in(&aside).context(|| "cannot make a directory")?;
    let to = aside.path().join("checkout");
    let run = |command: &mut Command| -> Result<()> {
        let output = process::output(command.env("GIT_TERMINAL_PROMPT", "0").env_remove("GIT_DIR"))?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = without_credentials(&String::from_utf8_lossy(&output.stderr));
                Err(Error::new(format!("git failed with {}", output.status)).cause_text(said.trim().to_owned()))
            }
        }
    };
    // All history: versions that come from tags need it.
    run(Command::new(&git).args(["clone", "--quiet", "--no-checkout", "--"]).arg(&source.url).arg(&to))?;
    let inside = || {
        let mut command = Command::new(&git);
        command.arg("-C").arg(&to).args(["-c", "advice.detachedHead=false"]);
        command
    };
    if run(inside().args(["checkout", "--quiet", &source.commit])).is_err() {
        // A commit that is on no branch, e.g. of a pull request.
        run(inside().args(["fetch", "--quiet", "origin", &source.commit]))?;
        run(inside().args(["checkout", "--quiet", &source.commit]))?;
    }
    if to.join(".gitmodules").is_file() {
        run(inside().args(["submodule", "update", "--quiet", "--init", "--recursive"]))?;
    }
    // The address may hold a password, and the cache must not.
    run(inside().args(["remote", "remove", "origin"]))?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::publish_dir(&to, place)?;
    Ok(())
}
