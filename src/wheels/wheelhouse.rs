//! Directories of the command line that files are taken from, and what they say of where those came from.
//!
//! `pkgapp cache export` writes a `pylock.toml` into the directory: there the record of a release finds the same origins
//! as with the indexes themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::index::without_secrets;
use crate::digest::Sha256Sum;

/// The lock in a wheelhouse.
pub const LOCK: &str = "pylock.toml";

/// The directories, read once.
#[derive(Debug, Default)]
pub struct Wheelhouses {
    directories: Vec<PathBuf>,
    origins: BTreeMap<Sha256Sum, String>,
}

/// As much of a pylock.toml as says where files are from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lock {
    packages: Vec<Package>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Package {
    wheels: Vec<File>,
    sdist: Option<File>,
    archive: Option<File>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    url: Option<url::Url>,
    hashes: BTreeMap<String, String>,
}

impl Wheelhouses {
    /// Reads what is in the directories. A lock that is none is of no use, and no harm: every file is checked by who
    /// takes it.
    pub fn read(directories: &[PathBuf]) -> Self {
        let mut origins = BTreeMap::new();
        for directory in directories {
            let Ok(text) = std::fs::read_to_string(directory.join(LOCK)) else { continue };
            let lock: Lock = toml::from_str(&text).unwrap_or_default();
            for package in lock.packages {
                for file in package.wheels.into_iter().chain(package.sdist).chain(package.archive) {
                    let sha256 = file.hashes.get("sha256").and_then(|text| Sha256Sum::from_hex(text));
                    if let (Some(sha256), Some(url)) = (sha256, file.url) {
                        origins.insert(sha256, without_secrets(&url));
                    }
                }
            }
        }
        Self { directories: directories.to_vec(), origins }
    }

    /// Returns the file of a name, if there is one.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        // A name is no path: it comes from a lock, and must not lead elsewhere.
        let plain = Path::new(name).file_name().is_some_and(|own| own == name);
        self.directories.iter().map(|directory| directory.join(name)).find(|path| plain && path.is_file())
    }

    /// Returns where a file of the directories is from.
    pub fn origin(&self, sha256: Sha256Sum) -> Option<&str> {
        self.origins.get(&sha256).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_of_the_lock_beside_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let sum = "ab".repeat(32);
        let text = format!(
            "lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nwheels = [{{ url = \"https://u:p@i.example/a.whl?x=1\", \
             path = \"a.whl\", hashes = {{ sha256 = \"{sum}\" }} }}]\n"
        );
        std::fs::write(directory.path().join(LOCK), text).unwrap();
        std::fs::write(directory.path().join("a.whl"), "").unwrap();
        let houses = Wheelhouses::read(&[directory.path().to_owned()]);
        assert_eq!(houses.origin(Sha256Sum::from_hex(&sum).unwrap()), Some("https://i.example/a.whl"));
        assert_eq!(houses.file("a.whl"), Some(directory.path().join("a.whl")));
        for name in ["b.whl", "../a.whl", "/etc/passwd", "..", ""] {
            assert_eq!(houses.file(name), None, "{name}");
        }
        std::fs::write(directory.path().join(LOCK), "packages = 1").unwrap();
        assert_eq!(Wheelhouses::read(&[directory.path().to_owned()]).origin(Sha256Sum::from_hex(&sum).unwrap()), None);
    }
}
