//! Files of Mercurial repositories, fetched by the user's own hg, with its credentials and agents.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::address::{RepositoryAddress, RepositoryCredentials};
use super::git::project_in;
use super::index::without_credentials;
use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::fs;
use pkgapp_core::process;
use pkgapp_lock::MercurialSource;

/// Returns the directory of a project at its commit, in the cache; it is only read.
///
/// # Errors
/// Fails if hg is not installed, the repository cannot be cloned, the commit or directory does not
/// exist, or `offline` is set and the files are not in the cache.
pub(super) fn checkout(source: &MercurialSource, cache: &Cache, offline: bool) -> Result<PathBuf> {
    let cannot = |error: Error| error.context(format!("cannot get `{}`", source.shown()));
    let address = RepositoryAddress::read(&source.url).map_err(cannot)?;
    let repository = hex::encode(Sha256::digest(address.url.as_bytes()));
    let place = cache
        .root()
        .join("hg")
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
        archive(&address, &source.commit, &place, cache).map_err(cannot)?;
    }
    project_in(&place, &source.subdirectory, &source.shown())
}

/// Pulls, and lays out the files of the commit without the repository. setuptools-scm reads the
/// version from `.hg_archival.txt`, which hg writes.
fn archive(address: &RepositoryAddress, commit: &str, place: &Path, cache: &Cache) -> Result<()> {
    let hg = process::find("hg")
        .ok_or_else(|| Error::new("`hg` is not on PATH").hint("install Mercurial"))?;
    let aside = cache.root().join("tmp");
    fs::create_dir_all(&aside)?;
    let aside = tempfile::Builder::new()
        .prefix("hg-")
        .tempdir_in(&aside)
        .context(|| "cannot create a directory")?;
    let (clone, files) = (aside.path().join("clone"), aside.path().join("files"));
    pull(&hg, address, &clone)?;
    run(in_clone(&hg, &clone)
        .args(["archive", "--type", "files", "--rev", commit, "--"])
        .arg(&files))?;

    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::publish_dir(&files, place)?;
    Ok(())
}

/// Creates a repository and pulls into it.
fn pull(hg: &Path, address: &RepositoryAddress, clone: &Path) -> Result<()> {
    run(hg_command(hg).arg("init").arg("--").arg(clone))?;
    // pkgapp passes the repository's own configuration on standard input: it is added to that of
    // the user, and never has a name on a disk.
    std::os::unix::fs::symlink("/dev/stdin", clone.join(".hg/hgrc"))
        .context(|| "cannot configure a repository")?;
    let mut pull = in_clone(hg, clone);
    pull.args(["pull", "--", &address.url]);
    if let Some(credentials) = &address.credentials {
        pull.stdin(configuration(credentials)?);
    }
    run(&mut pull)
}

fn in_clone(hg: &Path, clone: &Path) -> Command {
    let mut command = hg_command(hg);
    command.arg("--cwd").arg(clone);
    command
}

/// Returns an hg command without prompts and with nothing on standard input.
fn hg_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    process::outside_repositories(&mut command);
    // This disables aliases, defaults, and colors of the user's configuration (hg help
    // environment).
    command
        .env("HGPLAIN", "1")
        .args(["--noninteractive", "--quiet"]);
    // As with git, a server that sends nothing for a minute counts as failed.
    command
        .args(["--config", "http.timeout=60"])
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context(|| "cannot run `hg`")?;
    if output.status.success() {
        return Ok(());
    }
    let said = without_credentials(&String::from_utf8_lossy(&output.stderr));
    Err(Error::new(format!("hg failed with {}", output.status)).cause_text(said.trim().to_owned()))
}

/// Returns a file in memory with hg's section `auth` (hg help config). Unlike a pipe, it can be
/// opened any number of times.
fn configuration(credentials: &RepositoryCredentials) -> Result<File> {
    let RepositoryCredentials {
        origin,
        username,
        password,
    } = credentials;
    let file = rustix::fs::memfd_create("hgrc", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(
        file.map_err(std::io::Error::from)
            .context(|| "cannot create a file in memory")?,
    );
    let mut text = format!("[auth]\npkgapp.prefix = {origin}\npkgapp.username = {username}\n");
    if let Some(password) = password {
        _ = writeln!(text, "pkgapp.password = {password}");
    }
    file.write_all(text.as_bytes())
        .context(|| "cannot write a file in memory")?;
    Ok(file)
}
