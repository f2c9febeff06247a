//! The build backend of a project (PEP 518), and the requirements that it reports when it runs (PEP
//! 517).

use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use super::{Wheel, pack};
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::fs;
use pkgapp_core::process;

/// The backend of a project that declares none (PEP 517, "build-system table").
const LEGACY: &str = "setuptools>=40.8.0";
const LEGACY_BACKEND: &str = "setuptools.build_meta:__legacy__";

/// Asks a backend for its requirements to build a wheel, in the project's directory: `sys.argv[4:]`
/// are directories of unpacked wheels, laid out as an installer would lay out site-packages.
const ASK: &str = "
import json, os, site, sys
backend, paths, answer = sys.argv[1:4]
for directory in sys.argv[4:]:
    sys.path.insert(0, directory)
    site.addsitedir(directory)
sys.path[:0] = [os.path.abspath(path) for path in json.loads(paths)]
module, _, inside = backend.partition(':')
sys.argv[1:] = []
hooks = __import__(module, fromlist=['_'])
for name in filter(None, inside.split('.')):
    hooks = getattr(hooks, name)
asked = getattr(hooks, 'get_requires_for_build_wheel', lambda settings=None: [])(None)
with open(answer, 'w') as out:
    json.dump(list(asked), out)
";

/// `[build-system]` of a project.
#[derive(Debug)]
pub struct BuildSystem {
    /// The requirements to start the backend, sorted.
    pub requires: Vec<String>,
    backend: String,
    backend_path: Vec<String>,
    /// Whether the project declares the backend itself; otherwise, it is the default.
    is_said: bool,
}

impl BuildSystem {
    /// Reads a project's pyproject.toml, if there is one.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn read(project: &Path) -> Result<Self> {
        let file = project.join("pyproject.toml");
        let table: Table = if file.is_file() {
            fs::read_to_string(&file)?.parse().context(|| {
                format!(
                    "`{}` is not valid TOML",
                    file.file_name().unwrap_or_default().to_string_lossy()
                )
            })?
        } else {
            Table::new()
        };
        let system = table.get("build-system");
        let strings = |key: &str| {
            let list = system?.get(key)?.as_array()?;
            Some(
                list.iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            )
        };
        let requires = strings("requires");
        let is_said = requires.is_some();
        let mut requires = requires.unwrap_or_else(|| vec![LEGACY.to_owned()]);
        requires.sort();
        requires.dedup();
        let backend = system
            .and_then(|system| system.get("build-backend"))
            .and_then(Value::as_str);
        Ok(Self {
            requires,
            backend: backend.unwrap_or(LEGACY_BACKEND).to_owned(),
            backend_path: strings("backend-path").unwrap_or_default(),
            is_said,
        })
    }

    /// Returns the requirements for pip, which needs `wheel` beside setuptools if a project
    /// declares no requirements.
    pub(super) fn for_pip(&self) -> Vec<String> {
        let more = (!self.is_said).then(|| "wheel".to_owned());
        self.requires.iter().cloned().chain(more).collect()
    }

    /// Asks the backend of a project for further requirements. `python` is a command that starts an
    /// interpreter in the environment of a build; `room` is a directory to work in.
    ///
    /// # Errors
    /// Fails if the backend does.
    pub(super) fn ask(
        &self,
        mut python: Command,
        project: &Path,
        wheels: &[Wheel],
        room: &Path,
    ) -> Result<Vec<String>> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for (number, wheel) in wheels.iter().enumerate() {
            let to = room.join(number.to_string());
            pack::unpack(&wheel.path, &wheel.filename, &to)?;
            directories.extend(data_directories(&to));
            directories.push(to);
        }
        let answer = room.join("asked.json");
        let paths =
            serde_json::to_string(&self.backend_path).context(|| "cannot write a list of paths")?;
        python
            .args(["-c", ASK, &self.backend, &paths])
            .arg(&answer)
            .current_dir(project);
        python.args(directories.iter().filter(|path| path.is_dir()));
        process::run(&mut python)?;
        serde_json::from_slice(&fs::read(&answer)?)
            .map_err(|error| Error::new("cannot read the build backend's answer").cause(error))
    }
}

/// Returns the library directories in the `.data` of an unpacked wheel.
fn data_directories(wheel: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(wheel).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "data")
        })
        .flat_map(|path| ["purelib", "platlib"].map(|kind| path.join(kind)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_requirements_are_those_of_pep_518() {
        let project = tempfile::tempdir().unwrap();
        assert_eq!(
            BuildSystem::read(project.path()).unwrap().requires,
            [LEGACY]
        );
        for (text, expected) in [
            ("[project]\nname = \"a\"\n", &[LEGACY][..]),
            ("[build-system]\nrequires = []\n", &[]),
            (
                "[build-system]\nrequires = [\"wheel\", \"hatchling>=1\", \"wheel\"]\n",
                &["hatchling>=1", "wheel"],
            ),
        ] {
            std::fs::write(project.path().join("pyproject.toml"), text).unwrap();
            assert_eq!(
                BuildSystem::read(project.path()).unwrap().requires,
                expected,
                "{text}"
            );
        }
        std::fs::write(project.path().join("pyproject.toml"), "[").unwrap();
        assert!(BuildSystem::read(project.path()).is_err());
    }
}
