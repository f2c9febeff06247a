//! A virtual environment as it is installed, held against the pins: what `requirements.txt == pip freeze` asks.
//!
//! Nothing of it is run: what is installed is what its `site-packages` says, by the databases of the packaging standards
//! (`*.dist-info`, and the older `*.egg-info` and `*.egg-link`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Context, Error, Location, Result, shown};
use crate::fs;
use crate::lock::Lock;
use crate::name::PythonMinor;
use crate::pypa::{PackageName, Version};

/// What makes and fills environments, and so is in them without being required.
const TOOLS: [&str; 6] = ["pip", "setuptools", "wheel", "pkg-resources", "distribute", "uv"];

/// A virtual environment.
#[derive(Debug)]
pub struct Venv {
    /// Its directory.
    pub root: PathBuf,
    /// The Python that it was made with.
    pub python: PythonMinor,
    /// What is installed, by normalised name.
    pub installed: BTreeMap<PackageName, Installed>,
}

/// A distribution in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its version; `None` if its metadata has none that can be read.
    pub version: Option<Version>,
    /// Where its metadata is.
    pub metadata: PathBuf,
}

impl Venv {
    /// Reads an environment: the directory that `bin/python` is in.
    ///
    /// # Errors
    /// It is none, or a file of it can't be read.
    pub fn open(root: &Path) -> Result<Self> {
        let none = || {
            Error::new(format!("`{}` is no virtual environment", shown(root)))
                .hint("name the directory that holds its `pyvenv.cfg`, such as `.venv`")
        };
        let library = root.join("lib");
        let entries = std::fs::read_dir(&library).map_err(|_| none())?;
        let mut found: Vec<(PythonMinor, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let python = name.strip_prefix("python")?.parse().ok()?;
                let site = library.join(&name).join("site-packages");
                site.is_dir().then_some((python, site))
            })
            .collect();
        found.sort();
        let (python, site) = found.pop().ok_or_else(none)?;
        Ok(Self { root: root.to_owned(), python, installed: installed(&site)? })
    }

    /// Returns everything in which the environment is not what the pins say, in the order of names. What has no version
    /// in the lock (a URL, a directory) is compared by name. `ours` is the application itself, installed for development.
    pub fn differences(&self, lock: &Lock, python: PythonMinor, ours: &[PackageName]) -> Vec<Error> {
        let mut errors = Vec::new();
        if self.python != python {
            errors.push(
                Error::new(format!(
                    "`{}` has Python {}, and the release runs on {python}",
                    shown(&self.root),
                    self.python
                ))
                .hint(format!("make it anew: `python{python} -m venv --clear {}`", shown(&self.root))),
            );
        }
        let mut differences: BTreeMap<&PackageName, Error> = BTreeMap::new();
        for pin in &lock.pins {
            let difference = match (self.installed.get(&pin.name), &pin.version) {
                (None, _) if ours.contains(&pin.name) => continue,
                (None, Some(version)) => format!("`{} {version}` is pinned and not installed", pin.name),
                (None, None) => format!("`{}` is pinned and not installed", pin.name),
                (Some(Installed { version: Some(installed), .. }), Some(version)) if installed != version => {
                    format!("`{}` is pinned at {version}, and {installed} is installed", pin.name)
                }
                _ => continue,
            };
            differences.insert(&pin.name, Error::new(difference).at(pin.at.clone()));
        }
        for (name, installed) in &self.installed {
            let is_ours = ours.contains(name) || TOOLS.contains(&name.as_ref());
            if is_ours || lock.pins.iter().any(|pin| pin.name == *name) {
                continue;
            }
            let version = installed.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            let error = Error::new(format!("`{name}{version}` is installed and not pinned"));
            differences.insert(name, error.at(Location::file(&installed.metadata)));
        }
        let mut differences: Vec<Error> = differences.into_values().collect();
        if let Some(last) = differences.pop() {
            differences.push(last.hint("pin what the application needs, and install what is pinned"));
        }
        errors.extend(differences);
        errors
    }
}

fn installed(site: &Path) -> Result<BTreeMap<PackageName, Installed>> {
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir(site).context(|| format!("cannot read `{}`", shown(site)))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    // Where both are there, `dist-info` is what pip goes by: it comes last and wins.
    names.sort_by_key(|name| (name.ends_with(".dist-info"), name.clone()));
    for name in names {
        let path = site.join(&name);
        let metadata = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("dist-info") => path.join("METADATA"),
            Some("egg-info") if path.is_dir() => path.join("PKG-INFO"),
            Some("egg-info") => path,
            Some("egg") => path.join("EGG-INFO/PKG-INFO"),
            Some("egg-link") => match linked(&path)? {
                Some(metadata) => metadata,
                None => continue,
            },
            _ => continue,
        };
        if metadata.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&metadata)?).into_owned();
            let header =
                |key: &str| text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(key));
            let Some(Ok(name)) = header("Name:").map(|name| PackageName::from_str(name.trim())) else { continue };
            let version = header("Version:").and_then(|version| Version::from_str(version.trim()).ok());
            found.insert(name, Installed { version, metadata });
        }
    }
    Ok(found)
}

/// Returns the metadata in the directory that `setup.py develop` has linked.
fn linked(link: &Path) -> Result<Option<PathBuf>> {
    let text = fs::read_to_string(link)?;
    let Some(directory) = text.lines().next().map(|line| Path::new(line.trim()).to_owned()) else { return Ok(None) };
    let Ok(entries) = std::fs::read_dir(&directory) else { return Ok(None) };
    let metadata = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "egg-info"));
    Ok(metadata.map(|path| path.join("PKG-INFO")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Pin, PinSource};

    fn environment() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("lib/python3.11/site-packages");
        let linked = directory.path().join("src/linked.egg-info");
        for (file, text) in [
            (
                site.join("flask-3.0.0.dist-info/METADATA"),
                "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\n\nVersion: 9\n",
            ),
            (site.join("old.egg-info/PKG-INFO"), "Name: old\nVersion: 1.0\n"),
            (site.join("single-2.egg-info"), "Name: single\nVersion: 2\n"),
            (site.join("pip-23.dist-info/METADATA"), "Name: pip\nVersion: 23.0\n"),
            (site.join("linked.egg-link"), &*format!("{}\n.\n", directory.path().join("src").display())),
            (linked.join("PKG-INFO"), "Name: linked\nVersion: 0.1\n"),
        ] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        directory
    }

    fn lock(pins: &[(&str, Option<&str>)]) -> Lock {
        let pins = pins.iter().map(|(name, version)| Pin {
            name: name.parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
            extras: Vec::new(),
            source: PinSource::Index,
            hashes: Vec::new(),
            at: Location::file("requirements.txt"),
        });
        Lock { pins: pins.collect(), ..Lock::default() }
    }

    #[test]
    fn it_is_held_against_the_pins_both_ways() {
        let directory = environment();
        let venv = Venv::open(directory.path()).unwrap();
        let python = "3.11".parse().unwrap();
        let all = [("flask", Some("3.0")), ("old", Some("1.0.0")), ("single", None), ("linked", Some("0.1"))];
        let messages = |lock: &Lock, python: PythonMinor| -> Vec<String> {
            venv.differences(lock, python, &[]).iter().map(|error| error.message().to_owned()).collect()
        };
        assert_eq!(messages(&lock(&all), python), Vec::<String>::new());
        assert_eq!(
            messages(&lock(&[("flask", Some("2.9")), ("new", Some("1")), ("linked", Some("0.1"))]), python),
            [
                "`flask` is pinned at 2.9, and 3.0.0 is installed",
                "`new 1` is pinned and not installed",
                "`old 1.0` is installed and not pinned",
                "`single 2` is installed and not pinned",
            ]
        );
        assert_eq!(messages(&lock(&all), "3.12".parse().unwrap()).len(), 1);
    }

    #[test]
    fn the_application_itself_is_no_difference() {
        let directory = environment();
        let venv = Venv::open(directory.path()).unwrap();
        let lock = lock(&[("flask", Some("3.0.0")), ("old", Some("1.0")), ("single", Some("2"))]);
        let python = "3.11".parse().unwrap();
        assert_eq!(venv.differences(&lock, python, &["linked".parse().unwrap()]).len(), 0);
        assert_eq!(venv.differences(&lock, python, &[]).len(), 1);
    }

    #[test]
    fn another_directory_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Venv::open(directory.path()).unwrap_err().message().ends_with("is no virtual environment"));
    }
}
