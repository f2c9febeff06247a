//! Compares an installed virtual environment with the pins, like a comparison of `requirements.txt`
//! with the output of `pip freeze`.
//!
//! Nothing in the environment is run: the databases in `site-packages` list the installed
//! distributions (`*.dist-info`, and the older `*.egg-info` and `*.egg-link`). Editable installs,
//! as `pip list -e` shows them, are found by `direct_url.json` (PEP 610), a link, or a
//! `__editable__*.pth` of setuptools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Lock, Pin, PinSource, Url};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::name::PythonMinor;
use pkgapp_pypa::{PackageName, Version};

/// Tools that create and fill environments, and so are installed without being required.
const TOOLS: [&str; 6] = [
    "pip",
    "setuptools",
    "wheel",
    "pkg-resources",
    "distribute",
    "uv",
];

/// A virtual environment.
#[derive(Debug)]
pub struct Venv {
    /// Its directory.
    pub root: PathBuf,
    /// The Python of the environment.
    pub python: PythonMinor,
    /// Installed distributions by normalized name.
    pub installed: BTreeMap<PackageName, InstalledDistribution>,
}

/// A distribution in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledDistribution {
    /// Its version; `None` if its metadata has no valid one.
    pub version: Option<Version>,
    /// The file with its metadata.
    pub metadata: PathBuf,
    /// The project's directory, if it is an editable install.
    pub editable: Option<PathBuf>,
}

impl Venv {
    /// Reads an environment: the directory with `bin/python`.
    ///
    /// # Errors
    /// Fails if the directory is not a virtual environment, or if a file in it cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let none = || {
            Error::new(format!("`{}` is not a virtual environment", shown(root)))
                .hint("give the directory with `pyvenv.cfg`, such as `.venv`")
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
        Ok(Self {
            root: root.to_owned(),
            python,
            installed: installed(&site)?,
        })
    }

    /// Returns the editable installs and their directories, sorted by name.
    pub fn editables(&self) -> impl Iterator<Item = (&PackageName, &Path)> {
        self.installed
            .iter()
            .filter_map(|(name, installed)| Some((name, installed.editable.as_deref()?)))
    }

    /// Returns all differences between the environment and the pins, in the order of names. Pins
    /// without a version (a URL, a directory) are compared by name. `ours` is the application
    /// itself, installed for development.
    pub fn differences(
        &self,
        lock: &Lock,
        python: PythonMinor,
        ours: &[PackageName],
    ) -> Vec<Error> {
        let mut differences: BTreeMap<&PackageName, Error> = BTreeMap::new();
        for pin in &lock.pins {
            if let Some(difference) = self.difference(pin, ours) {
                differences.insert(&pin.name, Error::new(difference).at(pin.at.clone()));
            }
        }
        for (name, installed) in &self.installed {
            let is_ours = ours.contains(name) || TOOLS.contains(&name.as_ref());
            if !is_ours && !lock.pins.iter().any(|pin| pin.name == *name) {
                differences.insert(name, installed.unpinned(name));
            }
        }
        let mut differences: Vec<Error> = differences.into_values().collect();
        if let Some(last) = differences.pop() {
            differences.push(last.hint(
                "pin the distributions that the application needs, and install the pinned versions",
            ));
        }
        self.other_python(python)
            .into_iter()
            .chain(differences)
            .collect()
    }

    /// Returns the error for an environment of another Python.
    fn other_python(&self, python: PythonMinor) -> Option<Error> {
        if self.python == python {
            return None;
        }
        let root = shown(&self.root);
        let error = Error::new(format!(
            "`{root}` has Python {}, but the release runs on {python}",
            self.python
        ));
        Some(error.hint(format!(
            "recreate it with `python{python} -m venv --clear {root}`"
        )))
    }

    /// Describes how the environment differs from a pin; `None` if it does not.
    fn difference(&self, pin: &Pin, ours: &[PackageName]) -> Option<String> {
        let name = &pin.name;
        let Some(installed) = self.installed.get(name) else {
            return (!ours.contains(name)).then(|| {
                let version = with_space(pin.version.as_ref());
                format!("`{name}{version}` is pinned but not installed")
            });
        };
        if let (Some(installed), Some(pinned)) = (&installed.version, &pin.version)
            && installed != pinned
        {
            return Some(format!(
                "`{name}` is pinned at {pinned}, but {installed} is installed"
            ));
        }
        elsewhere(pin, installed.editable.as_deref()?)
    }
}

impl InstalledDistribution {
    /// Returns the error that no pin names the distribution.
    fn unpinned(&self, name: &PackageName) -> Error {
        let version = with_space(self.version.as_ref());
        let error = match &self.editable {
            Some(directory) => Error::new(format!(
                "`{name}{version}` is an editable install from `{}` but not pinned",
                shown(directory)
            ))
            .hint(format!(
                "add `{}` to the requirements",
                editable_line(directory)
            )),
            None => Error::new(format!("`{name}{version}` is installed but not pinned")),
        };
        error.at(Location::file(&self.metadata))
    }
}

/// Formats a version after a name; empty without a version.
fn with_space(version: Option<&Version>) -> String {
    version.map_or_else(String::new, |version| format!(" {version}"))
}

/// Returns the line of a requirements file that pins a directory, e.g. `-e ./lib`.
pub fn editable_line(directory: &Path) -> String {
    let directory = shown(directory).to_string();
    // A lone name would be that of a distribution.
    let here = if directory.starts_with('/') { "" } else { "./" };
    format!("-e {here}{directory}")
}

/// Describes how an editable install differs from its pin; `None` if it does not.
fn elsewhere(pin: &Pin, directory: &Path) -> Option<String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let installed = format!(
        "the environment has an editable install from `{}`",
        shown(directory)
    );
    match &pin.source {
        PinSource::Directory(pinned) if real(pinned) == real(directory) => None,
        PinSource::Directory(pinned) => Some(format!(
            "`{}` is pinned to `{}`, but {installed}",
            pin.name,
            shown(pinned)
        )),
        // `-e git+…` is installed from a checkout, which may be anywhere.
        PinSource::Git(_) | PinSource::Mercurial(_) => None,
        PinSource::Index | PinSource::Files(_) | PinSource::Url(_) | PinSource::File(_) => {
            let version = with_space(pin.version.as_ref());
            Some(format!(
                "`{}{version}` is pinned, but {installed}",
                pin.name
            ))
        }
    }
}

fn installed(site: &Path) -> Result<BTreeMap<PackageName, InstalledDistribution>> {
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir(site).context(|| format!("cannot read `{}`", shown(site)))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    // If both exist, pip uses `dist-info`: it is sorted last and wins.
    names.sort_by_key(|name| (name.ends_with(".dist-info"), name.clone()));
    for file in &names {
        let path = site.join(file);
        let Some(place) = MetadataPlace::of(&path, file)? else {
            continue;
        };
        let Some((name, version)) = place.identity()? else {
            continue;
        };
        let editable = place
            .project
            .or_else(|| said(&path))
            .or_else(|| pointed(site, &names, &name));
        found.insert(
            name,
            InstalledDistribution {
                version,
                metadata: place.metadata,
                editable,
            },
        );
    }
    Ok(found)
}

/// The place of an installed distribution's metadata.
struct MetadataPlace {
    metadata: PathBuf,
    /// The project's directory, if `setup.py develop` linked it.
    project: Option<PathBuf>,
}

impl MetadataPlace {
    /// Returns the name and version in the metadata; `None` without a file or a valid name.
    fn identity(&self) -> Result<Option<(PackageName, Option<Version>)>> {
        if !self.metadata.is_file() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&fs::read(&self.metadata)?).into_owned();
        let name = header(&text, "Name:").and_then(|name| PackageName::from_str(name).ok());
        let version = header(&text, "Version:").and_then(|text| Version::from_str(text).ok());
        Ok(name.map(|name| (name, version)))
    }

    /// Finds the metadata for a file or directory by its name; `None` for other entries.
    fn of(path: &Path, name: &str) -> Result<Option<Self>> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let metadata = match extension {
            Some("dist-info") => path.join("METADATA"),
            Some("egg-info") if path.is_dir() => path.join("PKG-INFO"),
            Some("egg-info") => path.to_owned(),
            Some("egg") => path.join("EGG-INFO/PKG-INFO"),
            Some("egg-link") => {
                let linked = linked(path)?;
                return Ok(linked.map(|(metadata, project)| Self {
                    metadata,
                    project: Some(project),
                }));
            }
            _ => return Ok(None),
        };
        Ok(Some(Self {
            metadata,
            project: None,
        }))
    }
}

/// Returns the value of a metadata field.
fn header<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(key))
        .map(str::trim)
}

/// Returns the metadata in the directory that `setup.py develop` linked, and the project's
/// directory, which the second line of the link gives relative to the first.
fn linked(link: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let text = fs::read_to_string(link)?;
    let mut lines = text.lines().map(str::trim);
    let Some(directory) = lines.next().map(PathBuf::from) else {
        return Ok(None);
    };
    let Ok(entries) = std::fs::read_dir(&directory) else {
        return Ok(None);
    };
    let metadata = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "egg-info")
        });
    let project = directory.join(lines.next().unwrap_or("."));
    let project = project.canonicalize().unwrap_or(directory);
    Ok(metadata.map(|path| (path.join("PKG-INFO"), project)))
}

/// Returns the directory in `direct_url.json` if it is editable.
fn said(metadata: &Path) -> Option<PathBuf> {
    let said: serde_json::Value =
        serde_json::from_slice(&std::fs::read(metadata.join("direct_url.json")).ok()?).ok()?;
    let editable = said.get("dir_info")?.get("editable")?.as_bool()?;
    Url::parse(said.get("url")?.as_str()?)
        .ok()?
        .to_file_path()
        .ok()
        .filter(|_| editable)
}

/// Returns the project above the directory that setuptools' `__editable__.NAME-VERSION.pth` adds to
/// the path. If the file names a finder instead, returns the file's own directory, which only
/// indicates an editable install.
fn pointed(site: &Path, names: &[String], name: &PackageName) -> Option<PathBuf> {
    let is_its = |file: &&String| {
        let stem = file
            .strip_prefix("__editable__.")
            .and_then(|rest| rest.strip_suffix(".pth"));
        let own = stem
            .and_then(|stem| stem.split_once('-'))
            .and_then(|(own, _)| PackageName::from_str(own).ok());
        own.is_some_and(|own| own == *name)
    };
    let file = site.join(names.iter().find(is_its)?);
    let text = std::fs::read_to_string(&file).ok()?;
    let Some(line) = text.lines().find(|line| line.starts_with('/')) else {
        return Some(site.to_owned());
    };
    let source = Path::new(line);
    let is_project = |path: &&Path| {
        ["pyproject.toml", "setup.py"]
            .iter()
            .any(|file| path.join(file).is_file())
    };
    Some(
        source
            .ancestors()
            .find(is_project)
            .unwrap_or(source)
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let site = directory.path().join("lib/python3.11/site-packages");
        let linked = directory.path().join("src/linked.egg-info");
        for (file, text) in [
            (
                site.join("flask-3.0.0.dist-info/METADATA"),
                "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\n\nVersion: 9\n",
            ),
            (
                site.join("old.egg-info/PKG-INFO"),
                "Name: old\nVersion: 1.0\n",
            ),
            (site.join("single-2.egg-info"), "Name: single\nVersion: 2\n"),
            (
                site.join("pip-23.dist-info/METADATA"),
                "Name: pip\nVersion: 23.0\n",
            ),
            (
                site.join("linked.egg-link"),
                &*format!("{}\n.\n", directory.path().join("src").display()),
            ),
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
        Lock {
            pins: pins.collect(),
            ..Lock::default()
        }
    }

    #[test]
    fn it_is_held_against_the_pins_both_ways() {
        let directory = environment();
        let venv = Venv::open(directory.path()).unwrap();
        let python = "3.11".parse().unwrap();
        let all = [
            ("flask", Some("3.0")),
            ("old", Some("1.0.0")),
            ("single", None),
            ("linked", Some("0.1")),
        ];
        let messages = |lock: &Lock, python: PythonMinor| -> Vec<String> {
            let mut lock = lock.clone();
            let linked = lock
                .pins
                .iter_mut()
                .find(|pin| pin.name.as_ref() == "linked")
                .unwrap();
            linked.source = PinSource::Directory(directory.path().join("src"));
            venv.differences(&lock, python, &[])
                .iter()
                .map(|error| error.message().to_owned())
                .collect()
        };
        assert_eq!(messages(&lock(&all), python), Vec::<String>::new());
        assert_eq!(
            messages(
                &lock(&[
                    ("flask", Some("2.9")),
                    ("new", Some("1")),
                    ("linked", Some("0.1"))
                ]),
                python
            ),
            [
                "`flask` is pinned at 2.9, but 3.0.0 is installed",
                "`new 1` is pinned but not installed",
                "`old 1.0` is installed but not pinned",
                "`single 2` is installed but not pinned",
            ]
        );
        assert_eq!(messages(&lock(&all), "3.12".parse().unwrap()).len(), 1);
    }

    #[test]
    fn what_is_to_be_edited_is_where_its_pin_says() {
        let directory = environment();
        let site = directory.path().join("lib/python3.11/site-packages");
        let at = |below: &str| directory.path().canonicalize().unwrap().join(below);
        let url = |below: &str| Url::from_directory_path(at(below)).unwrap();
        for (name, json) in [
            (
                "said",
                format!(
                    r#"{{"url": "{}", "dir_info": {{"editable": true}}}}"#,
                    url("projects/said")
                ),
            ),
            (
                "copied",
                format!(
                    r#"{{"url": "{}", "dir_info": {{}}}}"#,
                    url("projects/copied")
                ),
            ),
        ] {
            let info = site.join(format!("{name}-1.0.dist-info"));
            std::fs::create_dir_all(&info).unwrap();
            std::fs::create_dir_all(at("projects").join(name)).unwrap();
            std::fs::write(
                info.join("METADATA"),
                format!("Name: {name}\nVersion: 1.0\n"),
            )
            .unwrap();
            std::fs::write(info.join("direct_url.json"), json).unwrap();
        }
        let info = site.join("My_Point-1.0.dist-info");
        std::fs::create_dir_all(&info).unwrap();
        std::fs::write(info.join("METADATA"), "Name: my.point\nVersion: 1.0\n").unwrap();
        std::fs::create_dir_all(at("projects/point/src")).unwrap();
        std::fs::write(at("projects/point/setup.py"), "").unwrap();
        std::fs::write(
            site.join("__editable__.my_point-1.0.pth"),
            at("projects/point/src").to_str().unwrap(),
        )
        .unwrap();
        std::fs::write(
            site.join("linked.egg-link"),
            format!("{}\n../\n", at("src").display()),
        )
        .unwrap();
        let venv = Venv::open(directory.path()).unwrap();
        let editables: Vec<_> = venv
            .editables()
            .map(|(name, path)| (name.as_ref(), path.to_owned()))
            .collect();
        assert_eq!(
            editables,
            [
                ("linked", at("")),
                ("my-point", at("projects/point")),
                ("said", at("projects/said"))
            ]
            .map(|(name, path)| (name, path.components().collect::<PathBuf>()))
        );

        let mut lock = lock(&[
            ("copied", Some("1.0")),
            ("my-point", None),
            ("said", None),
            ("flask", Some("3.0.0")),
        ]);
        let pinned_to = |pin: &mut Pin, below: &str| pin.source = PinSource::Directory(at(below));
        pinned_to(&mut lock.pins[1], "projects/point");
        pinned_to(&mut lock.pins[2], "projects/said/");
        let ours: Vec<PackageName> = ["old", "single", "linked"]
            .map(|name| name.parse().unwrap())
            .into();
        let messages = |lock: &Lock, ours: &[PackageName]| -> Vec<String> {
            let differences = venv.differences(lock, "3.11".parse().unwrap(), ours);
            let root = at("").to_str().unwrap().trim_end_matches('/').to_owned();
            differences
                .iter()
                .map(|error| error.message().replace(&root, ""))
                .collect()
        };
        assert_eq!(messages(&lock, &ours), Vec::<String>::new());
        pinned_to(&mut lock.pins[1], "projects/other");
        lock.pins[2].source = PinSource::Index;
        lock.pins[2].version = Some("1.0".parse().unwrap());
        assert_eq!(
            messages(&lock, &ours[..2]),
            [
                "`linked 0.1` is an editable install from `` but not pinned",
                "`my-point` is pinned to `/projects/other`, but the environment has an editable install from `/projects/point`",
                "`said 1.0` is pinned, but the environment has an editable install from `/projects/said/`",
            ]
        );
    }

    #[test]
    fn the_application_itself_is_no_difference() {
        let directory = environment();
        let venv = Venv::open(directory.path()).unwrap();
        let lock = lock(&[
            ("flask", Some("3.0.0")),
            ("old", Some("1.0")),
            ("single", Some("2")),
        ]);
        let python = "3.11".parse().unwrap();
        assert_eq!(
            venv.differences(&lock, python, &["linked".parse().unwrap()])
                .len(),
            0
        );
        assert_eq!(venv.differences(&lock, python, &[]).len(), 1);
    }

    #[test]
    fn another_directory_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            Venv::open(directory.path())
                .unwrap_err()
                .message()
                .ends_with("is not a virtual environment")
        );
    }
}
