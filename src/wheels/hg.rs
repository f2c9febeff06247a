//! Files of Mercurial repositories, by the user's own hg: its credentials and agents work.

use std::ffi::OsStr;
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
    let run = |arguments: &[&OsStr], configuration: Stdio| -> Result<()> {
        let mut command = Command::new(&hg);
        process::outside_repositories(&mut command);
        // Aliases, defaults and colours of the user's configuration are off (hg help environment).
        command
            .env("HGPLAIN", "1")
            .args(["--noninteractive", "--quiet"]);
        // A server that sends nothing for a minute is given up, as one of git is.
        command
            .args(["--config", "http.timeout=60"])
            .args(arguments)
            .stdin(configuration);
        let output = command.output().context(|| "cannot run `hg`")?;
        if output.status.success() {
            Ok(())
        } else {
            let said = without_credentials(&String::from_utf8_lossy(&output.stderr));
            Err(Error::new(format!("hg failed with {}", output.status))
                .cause_text(said.trim().to_owned()))
        }
    };
    run(
        &["init".as_ref(), "--".as_ref(), clone.as_os_str()],
        Stdio::null(),
    )?;
    // The repository's own configuration is what pkgapp gives on standard input: beside that of the
    // user, and without a name on any disk.
    std::os::unix::fs::symlink("/dev/stdin", clone.join(".hg/hgrc"))
        .context(|| "cannot configure a repository")?;
    let configuration = address
        .credentials
        .as_ref()
        .map(configuration)
        .transpose()?;
    let pull = ["pull".as_ref(), "--".as_ref(), address.url.as_ref()];
    run(
        &[&["--cwd".as_ref(), clone.as_os_str()][..], &pull].concat(),
        configuration.map_or_else(Stdio::null, Stdio::from),
    )?;
    let archive = [
        "archive".as_ref(),
        "--type".as_ref(),
        "files".as_ref(),
        "--rev".as_ref(),
        commit.as_ref(),
    ];
    run(
        &[
            &["--cwd".as_ref(), clone.as_os_str()][..],
            &archive,
            &["--".as_ref(), files.as_os_str()],
        ]
        .concat(),
        Stdio::null(),
    )?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::publish_dir(&files, place)?;
    Ok(())
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
