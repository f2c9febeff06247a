//! Programs that are not ours.

use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(crate) use pkgapp_testing::{left_out, module, path, python, root, skip, tool};

/// Runs a foreign tool and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// As [`output`], for text.
pub(crate) fn text(command: &mut Command) -> String {
    String::from_utf8(output(command)).unwrap()
}

/// Compiles a shared object with cc; `None` if there is no cc (see [`tool`]).
pub(crate) fn shared_object(source: &str, options: &[&str]) -> Option<Vec<u8>> {
    let cc = tool("cc")?;
    let directory = tempfile::tempdir().unwrap();
    let (code, object) = (directory.path().join("m.c"), directory.path().join("m.so"));
    std::fs::write(&code, source).unwrap();
    output(
        Command::new(cc)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&object)
            .arg(&code)
            .args(options),
    );
    Some(std::fs::read(object).unwrap())
}

/// A Python with a setuptools that makes eggs, for its own kind of host.
#[derive(Debug)]
pub(crate) struct Setuptools {
    path: PathBuf,
    /// E.g. `3.11`.
    pub(crate) minor: String,
}

impl Setuptools {
    /// The interpreter, without what the environment would add to it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .env_remove("PYTHONPATH")
            .env("SETUPTOOLS_USE_DISTUTILS", "local")
            .env("PYTHONWARNINGS", "ignore");
        command
    }

    /// Whether there is what compiles extension modules, or says that the test is skipped.
    pub(crate) fn compiles(&self) -> bool {
        let header =
            "import os, sysconfig; print(os.path.join(sysconfig.get_path('include'), 'Python.h'))";
        let header = text(self.command().args(["-c", header]));
        let found = PathBuf::from(header.trim()).is_file() && tool("cc").is_some();
        if !found {
            skip(&format!(
                "there is no `{}`: {}",
                header.trim(),
                pkgapp_testing::package("Python.h")
            ));
        }
        found
    }
}

/// Finds the Python of the tests with setuptools and pip, or says that the test is skipped.
pub(crate) fn setuptools() -> Option<Setuptools> {
    let python = python();
    let has_both = ["setuptools", "pip"]
        .iter()
        .all(|name| module(&python.path, name));
    has_both.then(|| Setuptools {
        path: python.path.clone(),
        minor: python.minor.clone(),
    })
}
