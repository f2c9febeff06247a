//! The parts of an interpreter that ship, and the names of those that do not.

use std::collections::BTreeMap;

use pkgapp_config::InterpreterPart;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::ReleasePath;

/// The decision about a file of an interpreter's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartVerdict {
    /// The file ships.
    Ships,
    /// The file belongs to the part of this name, which does not ship.
    Stays(String),
    /// The file does not belong to the interpreter.
    Foreign,
}

/// Selects the files that ship from a prefix of one minor version.
#[derive(Debug)]
pub(super) struct PartChoice<'a> {
    /// The minor version.
    pub(super) python: PythonMinor,
    /// `lib`, or `lib64` if the prefix has the standard library there (`sys.platlibdir`).
    pub(super) lib: &'a str,
    /// Optional parts that ship because the configuration keeps them.
    pub(super) keep: &'a [InterpreterPart],
    /// Modules that do not ship.
    pub(super) prune: &'a [String],
    /// Whether the interpreter needs `libpython3.N.so.1.0`.
    pub(super) needs_library: bool,
}

/// Files of the standard library that only compiling against Python requires.
///
/// `build-details.json` (PEP 739) contains paths of the machine that compiled the interpreter;
/// Debian adds the architecture to its name.
const DEVELOPMENT: &[&str] = &[
    "build-details.",
    "_sysconfig_vars_",
    "config-",
    "EXTERNALLY-MANAGED",
];

/// Beginnings of the names of extension modules that only CPython's own tests import.
const TEST_MODULES: &[&str] = &[
    "_test",
    "_ctypes_test",
    "_xxtestfuzz",
    "xxlimited",
    "xxsubtype",
];

/// Directories below `lib/` that Tcl and Tk load at run time, in python-build-standalone.
const TCL: &[&str] = &["tcl", "tk", "itcl", "thread", "libtcl", "libtk"];

impl PartChoice<'_> {
    /// Decides about a file by its path below the prefix.
    pub(super) fn of(&self, path: &ReleasePath) -> PartVerdict {
        let (python, path) = (self.python, path.as_str());
        if path == format!("bin/python{python}") {
            return PartVerdict::Ships;
        }
        let Some(below) = path
            .strip_prefix(self.lib)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return PartVerdict::Foreign;
        };
        if let Some(module) = below.strip_prefix(&format!("python{python}/")) {
            return self.of_library(module);
        }
        if below == format!("libpython{python}.so.1.0") {
            return if self.needs_library {
                PartVerdict::Ships
            } else {
                self.unless_kept(InterpreterPart::Libpython)
            };
        }
        match below.split('/').next() {
            Some(first)
                if TCL
                    .iter()
                    .any(|start| first.strip_prefix(start).is_some_and(is_version)) =>
            {
                self.unless_kept(InterpreterPart::Tkinter)
            }
            _ => PartVerdict::Foreign,
        }
    }

    /// Decides about a file of the standard library by its path below that.
    fn of_library(&self, path: &str) -> PartVerdict {
        if let Some(part) = never_ships(path) {
            return PartVerdict::Stays(part.to_owned());
        }
        let module = library_module(path);
        if self.prune.iter().any(|pruned| pruned == module) {
            return PartVerdict::Stays(format!("`{module}`"));
        }
        match path.split('/').next().unwrap_or(path) {
            "ensurepip" => self.unless_kept(InterpreterPart::Ensurepip),
            "pydoc_data" => self.unless_kept(InterpreterPart::Docs),
            // The tests of IDLE are useless without IDLE.
            "idlelib" | "turtledemo" => self.unless_kept(InterpreterPart::Idle),
            "tkinter" | "turtle.py" => self.unless_kept(InterpreterPart::Tkinter),
            "lib-dynload" if module == "_tkinter" => self.unless_kept(InterpreterPart::Tkinter),
            "lib-dynload" if module == "nis" => self.unless_kept(InterpreterPart::Nis),
            _ if is_of_tests(path) => self.unless_kept(InterpreterPart::Tests),
            _ => PartVerdict::Ships,
        }
    }

    fn unless_kept(&self, part: InterpreterPart) -> PartVerdict {
        if self.keep.contains(&part) {
            PartVerdict::Ships
        } else {
            PartVerdict::Stays(part.name().to_owned())
        }
    }
}

/// Returns the part of the standard library that a file belongs to if no configuration keeps that
/// part.
fn never_ships(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let first = path.split('/').next().unwrap_or(path);
    let ends_with = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if matches!(first, "site-packages" | "dist-packages") {
        Some("installed distributions")
    } else if is_in_directory(path, &["__pycache__"]) || ends_with(&[".pyc", ".pyo"]) {
        Some("old byte code")
    } else if DEVELOPMENT.iter().any(|start| first.starts_with(start))
        || ends_with(&[".a", ".exe", ".bat"])
    {
        Some("development files")
    } else {
        None
    }
}

/// Returns the top-level module that a file of the standard library belongs to.
fn library_module(path: &str) -> &str {
    let file = match path.split_once('/') {
        Some(("lib-dynload", _)) => path.rsplit('/').next().unwrap_or(path),
        Some((package, _)) => package,
        None => path,
    };
    file.split('.').next().unwrap_or(file)
}

/// Returns whether a file of the standard library belongs to the tests of CPython.
fn is_of_tests(path: &str) -> bool {
    let is_test_module = path.strip_prefix("lib-dynload/").is_some_and(|below| {
        let name = below.rsplit('/').next().unwrap_or(below);
        TEST_MODULES.iter().any(|start| name.starts_with(start))
    });
    is_test_module || is_in_directory(path, &["test", "tests", "idle_test"])
}

/// Returns whether a file is in a directory with one of these names, at any depth.
fn is_in_directory(path: &str, names: &[&str]) -> bool {
    let (directories, _) = path.rsplit_once('/').unwrap_or(("", path));
    directories
        .split('/')
        .any(|directory| names.contains(&directory))
}

/// Returns whether the text after `tcl` is a version of Tcl, e.g. `8.6`, `9.0.2`, `8.6.so`.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// The files that do not ship, by the name of their part.
#[derive(Debug, Default)]
pub(super) struct LeftBehind(BTreeMap<String, (u64, u64)>);

impl LeftBehind {
    /// Adds files to a part; `bytes` is their total size.
    pub(super) fn add(&mut self, what: &str, files: u64, bytes: u64) {
        let (known_files, known_bytes) = self.0.entry(what.to_owned()).or_default();
        *known_files += files;
        *known_bytes += bytes;
    }

    /// Returns the name, number of files, and size in bytes of each part, the largest part first.
    pub(super) fn sorted(self) -> Vec<(String, u64, u64)> {
        let mut all: Vec<_> = self
            .0
            .into_iter()
            .map(|(what, (files, bytes))| (what, files, bytes))
            .collect();
        all.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// Returns whether files of the part were left out.
    pub(super) fn has(&self, what: &str) -> bool {
        self.0.contains_key(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_needs_ships_and_the_rest_is_accounted_for() {
        let python = PythonMinor {
            major: 3,
            minor: 12,
        };
        let prune = ["_crypt".to_owned(), "lib2to3".to_owned()];
        let choice = PartChoice {
            python,
            lib: "lib",
            keep: &[InterpreterPart::Docs],
            prune: &prune,
            needs_library: true,
        };
        let stays = |what: &str| PartVerdict::Stays(what.to_owned());
        for (path, verdict) in [
            ("bin/python3.12", PartVerdict::Ships),
            ("bin/pip3", PartVerdict::Foreign),
            ("include/python3.12/Python.h", PartVerdict::Foreign),
            ("lib/libpython3.12.so.1.0", PartVerdict::Ships),
            ("lib/libpython3.so", PartVerdict::Foreign),
            ("lib/python3.11/os.py", PartVerdict::Foreign),
            ("lib/python3.12/os.py", PartVerdict::Ships),
            ("lib/python3.12/LICENSE.txt", PartVerdict::Ships),
            (
                "lib/python3.12/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so",
                PartVerdict::Ships,
            ),
            (
                "lib/python3.12/lib-dynload/_testcapi.cpython-312-x86_64-linux-gnu.so",
                stays("tests"),
            ),
            (
                "lib/python3.12/lib-dynload/_crypt.cpython-312-x86_64-linux-gnu.so",
                stays("`_crypt`"),
            ),
            (
                "lib/python3.12/lib-dynload/_tkinter.cpython-312-x86_64-linux-gnu.so",
                stays("tkinter"),
            ),
            (
                "lib/python3.12/lib-dynload/nis.cpython-312-x86_64-linux-gnu.so",
                stays("nis"),
            ),
            ("lib/python3.12/lib2to3/main.py", stays("`lib2to3`")),
            ("lib/python3.12/test/test_os.py", stays("tests")),
            ("lib/python3.12/unittest/case.py", PartVerdict::Ships),
            ("lib/python3.12/ctypes/test/test_x.py", stays("tests")),
            ("lib/python3.12/test.py", PartVerdict::Ships),
            ("lib/python3.12/idlelib/idle_test/test_x.py", stays("idle")),
            ("lib/python3.12/pydoc_data/topics.py", PartVerdict::Ships),
            (
                "lib/python3.12/ensurepip/_bundled/pip-23.2.1-py3-none-any.whl",
                stays("ensurepip"),
            ),
            (
                "lib/python3.12/config-3.12-x86_64-linux-gnu/libpython3.12.a",
                stays("development files"),
            ),
            (
                "lib/python3.12/__pycache__/os.cpython-312.pyc",
                stays("old byte code"),
            ),
            (
                "lib/python3.12/build-details.json",
                stays("development files"),
            ),
            (
                "lib/python3.12/build-details..x86_64-linux-gnu.json",
                stays("development files"),
            ),
            (
                "lib/python3.12/_sysconfig_vars__linux_x86_64-linux-gnu.json",
                stays("development files"),
            ),
            (
                "lib/python3.12/EXTERNALLY-MANAGED",
                stays("development files"),
            ),
            ("lib/python3.12/annotationlib.py", PartVerdict::Ships),
            (
                "lib/python3.12/compression/zstd/__init__.py",
                PartVerdict::Ships,
            ),
            ("lib/python3.12/lib-dynload/.empty", PartVerdict::Ships),
            (
                "lib/python3.12/lib-dynload/xxsubtype.cpython-312-x86_64-linux-gnu.so",
                stays("tests"),
            ),
            (
                "lib/python3.12/lib-dynload/_xxsubinterpreters.cpython-312-x86_64-linux-gnu.so",
                PartVerdict::Ships,
            ),
            ("lib/tcl9.0/init.tcl", stays("tkinter")),
            ("lib/libtcl9tk9.0.so", stays("tkinter")),
            (
                "lib/python3.12/site-packages/pip/__init__.py",
                stays("installed distributions"),
            ),
            ("lib/tcl8.6/init.tcl", stays("tkinter")),
            ("lib/libtcl8.6.so", stays("tkinter")),
            ("lib/tkrplot/x", PartVerdict::Foreign),
        ] {
            assert_eq!(
                choice.of(&ReleasePath::parse(path).unwrap()),
                verdict,
                "{path}"
            );
        }
    }
}
