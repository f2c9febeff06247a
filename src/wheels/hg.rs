//! Files of Mercurial repositories, by the user's own hg: its credentials and agents work.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::git::project_in;
use super::index::without_credentials;
use crate::cache::Cache;
use crate::error::{Context, Error, Result};
use crate::fs;
use crate::lock::MercurialSource;
use crate::process;

/// Returns the directory of a project as it is in its commit, in the cache; it is only read.
///
/// # Errors
/// There is no hg, the repository can't be cloned, it lacks the commit or the directory, or `offline` and it is not there.
pub(super) fn checkout(source: &MercurialSource, cache: &Cache, offline: bool) -> Result<PathBuf> {
    let repository = hex::encode(Sha256::digest(source.url.as_bytes()));
    let place = cache.root().join("hg").join(&repository[..16]).join(&source.commit);
    if !place.is_dir() {
        if offline {
            return Err(Error::new(format!("`{}` is not in the cache, and the build is offline", source.shown()))
                .hint("build once without `--offline`"));
        }
        archive(source, &place, cache).map_err(|error| error.context(format!("cannot get `{}`", source.shown())))?;
    }
    project_in(&place, &source.subdirectory, &source.shown())
}

/// Clones, and lays out the files of the commit: no repository is left, whose configuration would hold the address. What
/// says the version instead is `.hg_archival.txt`, which hg writes and setuptools-scm reads.
fn archive(source: &MercurialSource, place: &Path, cache: &Cache) -> Result<()> {
    let hg = process::find("hg").ok_or_else(|| Error::new("there is no `hg` on PATH").hint("install Mercurial"))?;
    let aside = cache.root().join("tmp");
    fs::create_dir_all(&aside)?;
    let aside = tempfile::Builder::new().prefix("hg-").tempdir_in(&aside).context(|| "cannot make a directory")?;
    let (clone, files) = (aside.path().join("clone"), aside.path().join("files"));
    let run = |arguments: &[&OsStr]| -> Result<()> {
        let mut command = Command::new(&hg);
        // Aliases, defaults and colours of the user's configuration are off (hg help environment).
        command.env("HGPLAIN", "1").args(["--noninteractive", "--quiet"]).args(arguments);
        let output = process::output(&mut command)?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = without_credentials(&String::from_utf8_lossy(&output.stderr));
                Err(Error::new(format!("hg failed with {}", output.status)).cause_text(said.trim().to_owned()))
            }
        }
    };
    let (url, commit) = (source.url.as_ref(), source.commit.as_ref());
    run(&["clone".as_ref(), "--noupdate".as_ref(), "--".as_ref(), url, clone.as_os_str()])?;
    let archive = ["archive".as_ref(), "--type".as_ref(), "files".as_ref(), "--rev".as_ref(), commit];
    run(&[&["--cwd".as_ref(), clone.as_os_str()][..], &archive, &["--".as_ref(), files.as_os_str()]].concat())?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::publish_dir(&files, place)?;
    Ok(())
}
