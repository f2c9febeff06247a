//! Checkouts of git repositories, made by the user's own git, with its credentials, agents, and
//! proxies.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::address::{RepositoryAddress, RepositoryCredentials};
use super::index::without_credentials;
use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::fs;
use pkgapp_core::process;
use pkgapp_lock::GitSource;

/// A credential helper (gitcredentials(7)) that prints a name and a password from its environment.
/// git calls it whenever a server asks; it stores nothing.
const TELLS_BOTH: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$PKGAPP_GIT_USERNAME" "$PKGAPP_GIT_PASSWORD"; }; f"#;

/// A credential helper that prints a name, and the password that the user's own helpers have for
/// it; without a password, the name is a token.
const TELLS_NAME: &str = r#"!f() { test "$1" = get || return 0; printf 'username=%s\n' "$PKGAPP_GIT_USERNAME"; { cat; printf 'username=%s\n' "$PKGAPP_GIT_USERNAME"; } | (unset GIT_CONFIG_PARAMETERS; git credential fill) 2>/dev/null || printf 'password=\n'; }; f"#;

/// Returns the directory of a project at its commit, in the cache; it is only read.
///
/// # Errors
/// Fails if git is not installed, the repository cannot be cloned, the commit or directory does not
/// exist, or `offline` is set and the checkout is not in the cache.
pub(super) fn checkout(source: &GitSource, cache: &Cache, offline: bool) -> Result<PathBuf> {
    let cannot = |error: Error| error.context(format!("cannot get `{}`", source.shown()));
    let address = RepositoryAddress::read(&source.url).map_err(cannot)?;
    let repository = hex::encode(Sha256::digest(address.url.as_bytes()));
    let place = cache
        .root()
        .join("git")
        .join(&repository[..16])
        .join(&source.commit);
    if !place.is_dir() {
        if offline {
            return Err(Error::new(format!(
                "`{}` is not in the cache, but the build is offline",
                source.shown()
            ))
            .hint("build once without `--offline`"));
        }
        clone(&address, &source.commit, &place, cache).map_err(cannot)?;
    }
    project_in(&place, &source.subdirectory, &source.shown())
}

/// Returns a project's directory in a checkout.
///
/// # Errors
/// Fails if the directory does not exist, or is outside the checkout.
pub(super) fn project_in(place: &Path, subdirectory: &Path, shown: &str) -> Result<PathBuf> {
    let project = place.join(subdirectory);
    // A link in the repository must not lead out of it.
    let inside = || {
        Some(
            project
                .canonicalize()
                .ok()?
                .starts_with(place.canonicalize().ok()?),
        )
    };
    match inside() {
        Some(true) if project.is_dir() => Ok(project),
        _ => Err(Error::new(format!(
            "`{shown}` has no directory `{}`",
            subdirectory.display()
        ))),
    }
}

fn clone(address: &RepositoryAddress, commit: &str, place: &Path, cache: &Cache) -> Result<()> {
    let git = process::find("git")
        .ok_or_else(|| Error::new("`git` is not on PATH").hint("install git"))?;
    let aside = cache.root().join("tmp");
    fs::create_dir_all(&aside)?;
    let aside = tempfile::Builder::new()
        .prefix("git-")
        .tempdir_in(&aside)
        .context(|| "cannot create a directory")?;
    let to = aside.path().join("checkout");
    check_out(&git, address, commit, &to)?;

    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::publish_dir(&to, place)?;
    Ok(())
}

/// Clones a repository to `to` at a commit.
fn check_out(git: &Path, address: &RepositoryAddress, commit: &str, to: &Path) -> Result<()> {
    let git = || command(git, address.credentials.as_ref());
    let inside = || {
        let mut command = git();
        command.arg("-C").arg(to);
        command
    };
    // The whole history: versions derived from tags need it.
    run(git()
        .args(["clone", "--quiet", "--no-checkout", "--", &address.url])
        .arg(to))?;
    if run(inside().args(["checkout", "--quiet", commit])).is_err() {
        // The commit is on no branch, e.g. that of a pull request.
        run(inside().args(["fetch", "--quiet", "origin", commit]))?;
        run(inside().args(["checkout", "--quiet", commit]))?;
    }
    if to.join(".gitmodules").is_file() {
        run(inside().args(["submodule", "update", "--quiet", "--init", "--recursive"]))?;
    }
    // Nothing is fetched again: another build may use another address.
    run(inside().args(["remote", "remove", "origin"]))
}

/// Returns the git command with the credentials for their own server, without prompts.
///
/// The credentials are in its environment, which only the same user can read. A rewritten address
/// (`url.….insteadOf`) would not do: git passes it to `git-remote-https` as an argument.
fn command(git: &Path, credentials: Option<&RepositoryCredentials>) -> Command {
    let mut command = Command::new(git);
    process::outside_repositories(&mut command);
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .args(["-c", "advice.detachedHead=false"]);
    // As for files, a server that sends fewer than 256 bytes a second for a minute counts as
    // failed.
    command.args(["-c", "http.lowSpeedLimit=256", "-c", "http.lowSpeedTime=60"]);
    let Some(RepositoryCredentials {
        origin,
        username,
        password,
    }) = credentials
    else {
        return command;
    };
    let helper = if password.is_some() {
        TELLS_BOTH
    } else {
        TELLS_NAME
    };
    // The user's helpers for this server are disabled: they would store credentials that they did
    // not provide.
    for setting in [
        format!("credential.{origin}.helper="),
        format!("credential.{origin}.helper={helper}"),
    ] {
        command.args(["-c", &setting]);
    }
    if let Some(password) = password {
        // A server may hide its repositories from strangers instead of asking for credentials; git
        // supports this option since 2.46.
        command
            .args(["-c", &format!("http.{origin}/.proactiveAuth=basic")])
            .env("PKGAPP_GIT_PASSWORD", password);
    }
    command.env("PKGAPP_GIT_USERNAME", username);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = process::output(command)?;
    if output.status.success() {
        Ok(())
    } else {
        let said = without_credentials(&String::from_utf8_lossy(&output.stderr));
        Err(Error::new(format!("git failed with {}", output.status))
            .cause_text(said.trim().to_owned()))
    }
}
