//! Where things that cost time are kept between builds.
//!
//! ```text
//! wheels/<sha256>/<file name>.whl     plain wheels: a find-links directory for any other tool
//! sdists/<sha256>/<file name>         what some of them are built from
//! built/<key>/<file name>.whl         wheels built from sdists and projects, by all that went in
//! layers/<key>/{layer.json,files/…}   distributions as they lie in a release
//! proofs/<key>.json                   what searches of layers for this machine's paths have found
//! segments/<key>                      layers as a format and a codec have them, ready to be copied into a package
//! index/                              the index's pages, as its headers allow
//! pins/<key>.json                     which file answered a pin: a build that finds it asks no index
//! tmp/                                things being made; renamed into place when they are whole
//! ```
//!
//! An entry is immutable once it has its name. Two builds that make the same entry both make it; the second rename
//! finds it there. What a killed build leaves lies in `tmp/`, and is removed by a later build when it is a day old.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Context, Error, Result, shown};
use crate::fs;

/// The cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache at `root`, making it if it is missing.
    ///
    /// # Errors
    /// The directory can't be made or is not writable.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(&root.join("tmp"))
            .map_err(|error| error.hint("set `PKGAPP_CACHE_DIR` to a directory that you can write to"))?;
        let root = std::path::absolute(root).context(|| format!("cannot find `{}`", shown(root)))?;
        let cache = Self { root };
        cache.remove_leftovers();
        Ok(cache)
    }

    /// Returns where the cache lies by default: `PKGAPP_CACHE_DIR`, else the XDG cache directory's `pkgapp`.
    ///
    /// # Errors
    /// Neither of the variables nor a home directory is set.
    pub fn default_root() -> Result<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(root) = set("PKGAPP_CACHE_DIR") {
            return Ok(root);
        }
        match set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))) {
            Some(base) => Ok(base.join("pkgapp")),
            None => Err(Error::new("there is no place for the cache").hint("set `PKGAPP_CACHE_DIR`")),
        }
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where a downloaded wheel's directory is: one file, named as on the index.
    pub fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    /// Returns where a downloaded sdist's directory is: one file, named as on the index.
    pub fn sdists(&self) -> PathBuf {
        self.root.join("sdists")
    }

    /// Returns the directory of choices that were made.
    pub fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// Returns the directory of wheels that were built here.
    pub fn built(&self) -> PathBuf {
        self.root.join("built")
    }

    /// Returns the directory of layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Returns the directory of compressed layers.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// Returns the directory of index pages.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Makes an empty directory for something on its way into the cache; it goes away when dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn temporary(&self) -> Result<tempfile::TempDir> {
        let tmp = self.root.join("tmp");
        tempfile::Builder::new().prefix("t").tempdir_in(&tmp).context(|| format!("cannot write to `{}`", shown(&tmp)))
    }

    fn remove_leftovers(&self) {
        let day = Duration::from_secs(24 * 60 * 60);
        let Ok(entries) = std::fs::read_dir(self.root.join("tmp")) else { return };
        for entry in entries.flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > day));
            if old {
                // Someone else may be removing it too; what stays is found again by the next build.
                _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}
