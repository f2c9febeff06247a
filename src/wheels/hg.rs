//! Files of Mercurial repositories, by the user's own hg: its credentials and agents work.

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

/// Returns the directory of a project as it is in its commit, in the cache; it is only read.
///
/// # Errors
/// There is no hg, the repository can't be cloned, it lacks the commit or the directory, or
/// `offline` and it is not there.
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
                "`{}` is not in the cache, and the build is offline",
                source.shown()
            ))
            .hint("build once without `--offline`"));
        }
        archive(&address, &source.commit, &place, cache).map_err(cannot)?;
    }
    project_in(&place, &source.subdirectory, &source.shown())
}

/// Pulls, and lays out the files of the commit: no repository is left. What says the version
/// instead is `.hg_archival.txt`, which hg writes and setuptools-scm reads.
fn archive(address: &RepositoryAddress, commit: &str, place: &Path, cache: &Cache) -> Result<()> {
    let hg = process::find("hg")
        .ok_or_else(|| Error::new("there is no `hg` on PATH").hint("install Mercurial"))?;
    let aside = cache.root().join("tmp");
    fs::create_dir_all(&aside)?;
    let aside = tempfile::Builder::new()
        .prefix("hg-")
        .tempdir_in(&aside)
        .context(|| "cannot make a directory")?;
    let (clone, files) = (aside.path().join("clone"), aside.path().join("files"));

    run(hg_command(&hg).arg("init").arg("--").arg(&clone))?;
    // The repository's own configuration is what pkgapp gives on standard input: beside that of the
    // user, and without a name on any disk.
    std::os::unix::fs::symlink("/dev/stdin", clone.join(".hg/hgrc"))
        .context(|| "cannot configure a repository")?;
    let in_clone = || {
        let mut command = hg_command(&hg);
        command.arg("--cwd").arg(&clone);
        command
    };
    let mut pull = in_clone();
    pull.args(["pull", "--", &address.url]);
    if let Some(credentials) = &address.credentials {
        pull.stdin(configuration(credentials)?);
    }
    run(&mut pull)?;
    run(in_clone()
        .args(["archive", "--type", "files", "--rev", commit, "--"])
        .arg(&files))?;

    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::publish_dir(&files, place)?;
    Ok(())
}

/// hg that asks nobody, and reads nothing.
fn hg_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    process::outside_repositories(&mut command);
    // Aliases, defaults and colors of the user's configuration are off (hg help environment).
    command
        .env("HGPLAIN", "1")
        .args(["--noninteractive", "--quiet"]);
    // A server that sends nothing for a minute is given up, as one of git is.
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

/// Returns a file of the memory with hg's section `auth` (hg help config). It can be opened any
/// number of times, which a pipe can't.
fn configuration(credentials: &RepositoryCredentials) -> Result<File> {
    let RepositoryCredentials {
        origin,
        username,
        password,
    } = credentials;
    let file = rustix::fs::memfd_create("hgrc", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(
        file.map_err(std::io::Error::from)
            .context(|| "cannot make a file of the memory")?,
    );
    let mut text = format!("[auth]\npkgapp.prefix = {origin}\npkgapp.username = {username}\n");
    if let Some(password) = password {
        _ = writeln!(text, "pkgapp.password = {password}");
    }
    file.write_all(text.as_bytes())
        .context(|| "cannot write to the memory")?;
    Ok(file)
}
