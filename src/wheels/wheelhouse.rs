//! Directories on the command line that provide files, and the recorded origins of these files.
//!
//! `pkgapp cache export` writes a `pylock.toml` into the directory: from it, the record of a
//! release gets the same origins as with the indexes themselves, and a pin to a commit gets the
//! wheel that was built from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::index::without_secrets;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_pypa::PackageName;

/// The name of the lock in a wheelhouse.
pub const LOCK: &str = "pylock.toml";

/// The directories, read once.
#[derive(Debug, Default)]
pub struct Wheelhouses {
    directories: Vec<PathBuf>,
    origins: BTreeMap<Sha256Sum, String>,
    /// Wheels of repositories, by distribution and repository with its commit.
    built: BTreeMap<(PackageName, String), (PathBuf, Sha256Sum)>,
}

/// The parts of a pylock.toml with the origins of files.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WheelhouseLock {
    packages: Vec<WheelhousePackage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WheelhousePackage {
    name: Option<PackageName>,
    wheels: Vec<WheelhouseFile>,
    sdist: Option<WheelhouseFile>,
    archive: Option<WheelhouseFile>,
    tool: ToolTables,
}

/// Additions of tools to a package (PEP 751, `packages.tool`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolTables {
    pkgapp: OwnTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct OwnTable {
    built_from: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WheelhouseFile {
    url: Option<url::Url>,
    path: Option<String>,
    hashes: BTreeMap<String, String>,
}

impl Wheelhouses {
    /// Reads the directories. An invalid lock is ignored, which does no harm: the users of a file
    /// check it.
    pub fn read(directories: &[PathBuf]) -> Self {
        let mut houses = Self {
            directories: directories.to_vec(),
            ..Self::default()
        };
        for directory in directories {
            let Ok(text) = std::fs::read_to_string(directory.join(LOCK)) else {
                continue;
            };
            let lock: WheelhouseLock = toml::from_str(&text).unwrap_or_default();
            for package in lock.packages {
                houses.note(package);
            }
        }
        houses
    }

    fn note(&mut self, package: WheelhousePackage) {
        let built_from = package.tool.pkgapp.built_from;
        for file in package
            .wheels
            .into_iter()
            .chain(package.sdist)
            .chain(package.archive)
        {
            let Some(sha256) = file
                .hashes
                .get("sha256")
                .and_then(|text| Sha256Sum::from_hex(text))
            else {
                continue;
            };
            if let Some(url) = file.url {
                self.origins.insert(sha256, without_secrets(&url));
            }
            let path = file.path.and_then(|name| self.file(&name));
            if let (Some(from), Some(name), Some(path)) = (&built_from, &package.name, path) {
                // The record of the release has this text on the machine that built it.
                self.origins.insert(sha256, format!("built from {from}"));
                self.built
                    .entry((name.clone(), from.clone()))
                    .or_insert((path, sha256));
            }
        }
    }

    /// Returns the file with a name, if there is one.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        // A name is not a path: it comes from a lock, and must not lead elsewhere.
        let plain = Path::new(name).file_name().is_some_and(|own| own == name);
        self.directories
            .iter()
            .map(|directory| directory.join(name))
            .find(|path| plain && path.is_file())
    }

    /// Returns the wheel that was built from a repository at a commit, as named by
    /// [`pkgapp_lock::GitSource::shown`], and its required checksum.
    pub fn built_from(&self, name: &PackageName, repository: &str) -> Option<(&Path, Sha256Sum)> {
        let (path, sha256) = self.built.get(&(name.clone(), repository.to_owned()))?;
        Some((path, *sha256))
    }

    /// Returns the origin of a file in the directories.
    pub fn origin(&self, sha256: Sha256Sum) -> Option<&str> {
        self.origins.get(&sha256).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_of_a_repository_is_found_by_its_commit() {
        let directory = tempfile::tempdir().unwrap();
        let sum = "ab".repeat(32);
        let text = format!(
            "[[packages]]\nname = \"a\"\nwheels = [{{ path = \"a.whl\", hashes = {{ sha256 = \"{sum}\" }} }}]\n\
             [packages.tool.pkgapp]\nbuilt-from = \"git+https://e.com/a@1\"\n"
        );
        std::fs::write(directory.path().join(LOCK), text).unwrap();
        std::fs::write(directory.path().join("a.whl"), "").unwrap();
        let houses = Wheelhouses::read(&[directory.path().to_owned()]);
        let found = |name: &str, from: &str| {
            houses
                .built_from(&name.parse().unwrap(), from)
                .map(|(path, _)| path.to_owned())
        };
        assert_eq!(
            found("a", "git+https://e.com/a@1"),
            Some(directory.path().join("a.whl"))
        );
        assert_eq!(found("b", "git+https://e.com/a@1"), None);
        assert_eq!(found("a", "git+https://e.com/a@2"), None);
        assert_eq!(
            houses.origin(Sha256Sum::from_hex(&sum).unwrap()),
            Some("built from git+https://e.com/a@1")
        );
    }

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
        assert_eq!(
            houses.origin(Sha256Sum::from_hex(&sum).unwrap()),
            Some("https://i.example/a.whl")
        );
        assert_eq!(houses.file("a.whl"), Some(directory.path().join("a.whl")));
        for name in ["b.whl", "../a.whl", "/etc/passwd", "..", ""] {
            assert_eq!(houses.file(name), None, "{name}");
        }
        std::fs::write(directory.path().join(LOCK), "packages = 1").unwrap();
        assert_eq!(
            Wheelhouses::read(&[directory.path().to_owned()])
                .origin(Sha256Sum::from_hex(&sum).unwrap()),
            None
        );
    }
}
