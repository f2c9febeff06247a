//! Programs that are not ours.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The interpreter that the tests use.
#[derive(Debug)]
pub(crate) struct Python {
    /// The real file, no shim: commands run with a home of their own.
    pub(crate) path: PathBuf,
    /// E.g. `3.11`.
    pub(crate) minor: String,
}

/// The Python that the lab and the fixtures are made for, if it is here, else any.
pub(crate) fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])";
        for name in ["python3.11", "python3"] {
            let Ok(output) = Command::new(name).args(["-c", script]).stdin(Stdio::null()).output() else { continue };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if let (true, Some((path, minor))) = (output.status.success(), text.trim().split_once('\n')) {
                return Python { path: path.into(), minor: minor.into() };
            }
        }
        panic!("there is no python3 on PATH");
    })
}

/// PATH with the real interpreter first: a shim that looks for its versions below HOME would not find them.
pub(crate) fn path() -> OsString {
    let mut directories = vec![python().path.parent().unwrap().to_owned()];
    directories.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(directories).unwrap()
}

/// Finds a foreign tool, or says that the test is skipped; with PKGAPP_REQUIRE_TOOLS=1 it must be there.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let found = which::which(name).ok();
    if found.is_none() {
        let required = std::env::var_os("PKGAPP_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "`{name}` is missing and PKGAPP_REQUIRE_TOOLS=1 is set");
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        eprintln!("SKIPPED: {test}: there is no `{name}` on PATH");
    }
    found
}

/// Runs a foreign tool and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
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
    output(Command::new(cc).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&object).arg(&code).args(options));
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
        command.env_remove("PYTHONPATH").env("SETUPTOOLS_USE_DISTUTILS", "local").env("PYTHONWARNINGS", "ignore");
        command
    }

    /// Whether there is what compiles extension modules, or says that the test is skipped.
    pub(crate) fn compiles(&self) -> bool {
        let header = "import os, sysconfig; print(os.path.join(sysconfig.get_path('include'), 'Python.h'))";
        let header = text(self.command().args(["-c", header]));
        let found = PathBuf::from(header.trim()).is_file() && tool("cc").is_some();
        if !found {
            skip(&format!("there is no `{}`", header.trim()));
        }
        found
    }
}

/// Finds the Python of the tests with setuptools and pip, or says that the test is skipped.
pub(crate) fn setuptools() -> Option<Setuptools> {
    let python = python();
    let script = "import setuptools, pip";
    let output = Command::new(&python.path).args(["-c", script]).stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        skip(&format!("`{}` has no setuptools and pip", python.path.display()));
        return None;
    }
    Some(Setuptools { path: python.path.clone(), minor: python.minor.clone() })
}

fn skip(why: &str) {
    let required = std::env::var_os("PKGAPP_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{why}, and PKGAPP_REQUIRE_TOOLS=1 is set");
    eprintln!("SKIPPED: {}: {why}", std::thread::current().name().unwrap_or("a test"));
}
