//! What of an interpreter ships, and what stays behind under which name.

use std::collections::BTreeMap;

use pkgapp_config::Part;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::ReleasePath;

/// What becomes of a file of an interpreter's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ships.
    Ships,
    /// It stays behind, as a part of what a person calls by this name.
    Stays(String),
    /// It is none of the interpreter's.
    Foreign,
}

/// What ships of a prefix of one minor version.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// The minor version.
    pub(super) python: PythonMinor,
    /// `lib`, or `lib64` where the standard library is there (`sys.platlibdir`).
    pub(super) lib: &'a str,
    /// Parts that ship all the same.
    pub(super) keep: &'a [Part],
    /// Modules that stay behind.
    pub(super) prune: &'a [String],
    /// The interpreter needs `libpython3.N.so.1.0`.
    pub(super) needs_library: bool,
}

/// Files of the standard library that are for who compiles against Python.
///
/// `build-details.json` (PEP 739) has the paths of the machine that compiled it; Debian puts the
/// architecture into its name.
const DEVELOPMENT: &[&str] = &[
    "build-details.",
    "_sysconfig_vars_",
    "config-",
    "EXTERNALLY-MANAGED",
];

/// Directories below `lib/` that Tcl and Tk load at run time, of python-build-standalone.
const TCL: &[&str] = &["tcl", "tk", "itcl", "thread", "libtcl", "libtk"];

impl Choice<'_> {
    /// Judges a file by its path below the prefix.
    pub(super) fn of(&self, path: &ReleasePath) -> Verdict {
        let (python, path) = (self.python, path.as_str());
        if path == format!("bin/python{python}") {
            return Verdict::Ships;
        }
        let Some(below) = path
            .strip_prefix(self.lib)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return Verdict::Foreign;
        };
        if let Some(module) = below.strip_prefix(&format!("python{python}/")) {
            return self.of_library(module);
        }
        if below == format!("libpython{python}.so.1.0") {
            return if self.needs_library {
                Verdict::Ships
            } else {
                self.unless_kept(Part::Libpython)
            };
        }
        match below.split('/').next() {
            Some(first)
                if TCL
                    .iter()
                    .any(|start| first.strip_prefix(start).is_some_and(is_version)) =>
            {
                self.unless_kept(Part::Tkinter)
            }
            _ => Verdict::Foreign,
        }
    }

    /// Judges a file of the standard library by its path in there.
    fn of_library(&self, path: &str) -> Verdict {
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        let first = path.split('/').next().unwrap_or(path);
        let module = if directories.is_empty() || first == "lib-dynload" {
            name
        } else {
            first
        };
        let module = module.split('.').next().unwrap_or(module);
        let in_directory = |wanted: &[&str]| {
            directories
                .split('/')
                .any(|directory| wanted.contains(&directory))
        };
        if matches!(first, "site-packages" | "dist-packages") {
            return Verdict::Stays("installed distributions".to_owned());
        }
        if in_directory(&["__pycache__"]) || name.ends_with(".pyc") || name.ends_with(".pyo") {
            return Verdict::Stays("old byte code".to_owned());
        }
        let is_binary = |end: &&str| name.ends_with(*end);
        if DEVELOPMENT.iter().any(|start| first.starts_with(start))
            || [".a", ".exe", ".bat"].iter().any(is_binary)
        {
            return Verdict::Stays("development files".to_owned());
        }
        if self.prune.iter().any(|pruned| pruned == module) {
            return Verdict::Stays(format!("`{module}`"));
        }
        let test_modules = [
            "_test",
            "_ctypes_test",
            "_xxtestfuzz",
            "xxlimited",
            "xxsubtype",
        ];
        let is_test_module =
            first == "lib-dynload" && test_modules.iter().any(|start| name.starts_with(start));
        match first {
            "ensurepip" => self.unless_kept(Part::Ensurepip),
            "pydoc_data" => self.unless_kept(Part::Docs),
            // The editor's own tests are of no use without it.
            "idlelib" | "turtledemo" => self.unless_kept(Part::Idle),
            "tkinter" | "turtle.py" => self.unless_kept(Part::Tkinter),
            "lib-dynload" if module == "_tkinter" => self.unless_kept(Part::Tkinter),
            "lib-dynload" if module == "nis" => self.unless_kept(Part::Nis),
            _ if is_test_module || in_directory(&["test", "tests", "idle_test"]) => {
                self.unless_kept(Part::Tests)
            }
            _ => Verdict::Ships,
        }
    }

    fn unless_kept(&self, part: Part) -> Verdict {
        if self.keep.contains(&part) {
            Verdict::Ships
        } else {
            Verdict::Stays(part.name().to_owned())
        }
    }
}

/// Whether `tcl8.6` is a Tcl: `8.6` and `9.0.2`, `8.6.so`.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// What stayed behind, by what a person calls it.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<String, (u64, u64)>);

impl Left {
    /// Counts files.
    pub(super) fn add(&mut self, what: &str, files: u64, bytes: u64) {
        let (known_files, known_bytes) = self.0.entry(what.to_owned()).or_default();
        *known_files += files;
        *known_bytes += bytes;
    }

    /// Name, files and bytes, the largest first.
    pub(super) fn sorted(self) -> Vec<(String, u64, u64)> {
        let mut all: Vec<_> = self
            .0
            .into_iter()
            .map(|(what, (files, bytes))| (what, files, bytes))
            .collect();
        all.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// Whether anything of that name stayed behind.
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
        let choice = Choice {
            python,
            lib: "lib",
            keep: &[Part::Docs],
            prune: &prune,
            needs_library: true,
        };
        let stays = |what: &str| Verdict::Stays(what.to_owned());
        for (path, verdict) in [
            ("bin/python3.12", Verdict::Ships),
            ("bin/pip3", Verdict::Foreign),
            ("include/python3.12/Python.h", Verdict::Foreign),
            ("lib/libpython3.12.so.1.0", Verdict::Ships),
            ("lib/libpython3.so", Verdict::Foreign),
            ("lib/python3.11/os.py", Verdict::Foreign),
            ("lib/python3.12/os.py", Verdict::Ships),
            ("lib/python3.12/LICENSE.txt", Verdict::Ships),
            (
                "lib/python3.12/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so",
                Verdict::Ships,
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
            ("lib/python3.12/unittest/case.py", Verdict::Ships),
            ("lib/python3.12/ctypes/test/test_x.py", stays("tests")),
            ("lib/python3.12/test.py", Verdict::Ships),
            ("lib/python3.12/idlelib/idle_test/test_x.py", stays("idle")),
            ("lib/python3.12/pydoc_data/topics.py", Verdict::Ships),
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
            ("lib/python3.12/annotationlib.py", Verdict::Ships),
            (
                "lib/python3.12/compression/zstd/__init__.py",
                Verdict::Ships,
            ),
            ("lib/python3.12/lib-dynload/.empty", Verdict::Ships),
            (
                "lib/python3.12/lib-dynload/xxsubtype.cpython-312-x86_64-linux-gnu.so",
                stays("tests"),
            ),
            (
                "lib/python3.12/lib-dynload/_xxsubinterpreters.cpython-312-x86_64-linux-gnu.so",
                Verdict::Ships,
            ),
            ("lib/tcl9.0/init.tcl", stays("tkinter")),
            ("lib/libtcl9tk9.0.so", stays("tkinter")),
            (
                "lib/python3.12/site-packages/pip/__init__.py",
                stays("installed distributions"),
            ),
            ("lib/tcl8.6/init.tcl", stays("tkinter")),
            ("lib/libtcl8.6.so", stays("tkinter")),
            ("lib/tkrplot/x", Verdict::Foreign),
        ] {
            assert_eq!(
                choice.of(&ReleasePath::parse(path).unwrap()),
                verdict,
                "{path}"
            );
        }
    }
}
