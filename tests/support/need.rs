//! What tests need of the machine. A test that lacks something says so and is skipped; with
//! `PKGAPP_REQUIRE_TOOLS=1` it fails. The unit tests and the integration tests share this file;
//! tests/tools.txt lists the programs and their packages.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TOOLS: &str = include_str!("../tools.txt");

/// Finds a program of tests/tools.txt.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let package = package(name);
    let found = which::which(name).ok();
    if found.is_none() {
        skip(&format!("there is no `{name}` on PATH ({package})"));
    }
    found
}

/// The machine's own Python.
#[derive(Debug)]
pub(crate) struct Python {
    /// The real file, no shim: commands run with a home of their own.
    pub(crate) path: PathBuf,
    /// E.g. `3.11`.
    pub(crate) minor: String,
}

/// Returns what `python3` on PATH is; the README asks for it, so there is no test without.
pub(crate) fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])";
        let output = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::null())
            .output();
        let text = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let Some((path, minor)) = text.trim().split_once('\n') else {
            panic!("there is no python3 on PATH")
        };
        Python {
            path: path.into(),
            minor: minor.into(),
        }
    })
}

/// Whether a Python has a module of tests/tools.txt (there as `python3:NAME`).
pub(crate) fn module(python: &Path, name: &str) -> bool {
    let package = package(&format!("python3:{name}"));
    let mut command = Command::new(python);
    command
        .args(["-c", &format!("import {name}")])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        skip(&format!("`{}` has no {name} ({package})", python.display()));
    }
    found
}

/// Whether this is root.
pub(crate) fn root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !is_root {
        skip("it needs root");
    }
    is_root
}

/// Says that the test is skipped; fails where it must not be.
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("PKGAPP_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{why}, and PKGAPP_REQUIRE_TOOLS=1 is set");
    let thread = std::thread::current();
    say(&format!(
        "SKIPPED: {}: {why}",
        thread.name().unwrap_or("a test")
    ));
}

/// Says that a part of a test is left out, and there is nothing to install: another machine does
/// that part.
pub(crate) fn left_out(what: &str) {
    say(&format!("LEFT OUT: {what}"));
}

/// Writes past the harness, which shows what `eprintln!` prints for failing tests only; each line
/// once.
fn say(line: &str) {
    static SAID: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let Ok(mut said) = SAID.lock() else { return };
    if !said.iter().any(|old| old == line) {
        _ = writeln!(std::io::stderr(), "{line}");
        said.push(line.to_owned());
    }
}

/// Returns how a line of tests/tools.txt is installed, for a message.
pub(crate) fn package(name: &str) -> String {
    let lines = TOOLS.lines().filter(|line| !line.starts_with('#'));
    let mut rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.first() == Some(&name));
    let Some([_, package, _]) = row.as_deref() else {
        panic!("`{name}` is not in tests/tools.txt")
    };
    package.strip_prefix("pypi:").map_or_else(
        || format!("Debian's package `{package}`"),
        |requirement| format!("`pip install {requirement}`"),
    )
}
