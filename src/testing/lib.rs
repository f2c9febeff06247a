//! What tests of all crates need of the machine: programs, Pythons, and a way to run them.
//!
//! A test that lacks something says so and is skipped; with `PKGAPP_REQUIRE_TOOLS=1` it fails.
//! tests/tools.txt lists the programs and their packages.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the value"
)]

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TOOLS: &str = include_str!("../../tests/tools.txt");

/// Finds a program of tests/tools.txt: the real file, no shim (see [`path`]).
pub fn tool(name: &str) -> Option<PathBuf> {
    let package = package(name);
    let found = which::which_in(name, Some(path()), "/").ok();
    if found.is_none() {
        skip(&format!("there is no `{name}` on PATH ({package})"));
    }
    found
}

/// The machine's own Python.
#[derive(Debug)]
pub struct Python {
    /// The real file, no shim: commands run with a home of their own.
    pub path: PathBuf,
    /// E.g. `3.11`.
    pub minor: String,
}

/// Returns what `python3` on PATH is; the README asks for it, so there is no test without.
pub fn python() -> &'static Python {
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

/// Returns PATH with the real interpreter's directory first: shims of version managers look for
/// their versions below HOME, and for a shell on PATH, and a test has neither.
pub fn path() -> OsString {
    let mut directories = vec![];
    directories.extend(python().path.parent().map(Path::to_owned));
    directories.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    std::env::join_paths(directories).unwrap()
}

/// Whether a Python has a module of tests/tools.txt (there as `python3:NAME`).
pub fn module(python: &Path, name: &str) -> bool {
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
pub fn root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !is_root {
        skip("it needs root");
    }
    is_root
}

/// Says that the test is skipped; fails where it must not be.
pub fn skip(why: &str) {
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
pub fn left_out(what: &str) {
    say(&format!("LEFT OUT: {what}"));
}

/// Returns the pretty debug text of a value without its fields `at`, which hold places.
pub fn without_places(text: &str) -> String {
    let mut outer = None;
    let mut kept = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match outer {
            Some(depth) if indent > depth => {}
            Some(_) => outer = None,
            None if line.trim_start().starts_with("at: ") => outer = Some(indent),
            None => kept.push(line),
        }
    }
    kept.join("\n")
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
pub fn package(name: &str) -> String {
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

/// Runs a command that must succeed, in the C locale and UTC, and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Every CPython of 3.8 to 3.14 that pyenv or the system has, one for each minor version.
pub fn pythons() -> Vec<(PathBuf, u8)> {
    let mut found = Vec::new();
    let versions = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let installed: Vec<PathBuf> = versions
        .and_then(|versions| std::fs::read_dir(versions).ok())
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path().join("bin"))
                .collect()
        })
        .unwrap_or_default();
    for minor in 8..=14 {
        let program = format!("python3.{minor}");
        let mut places = installed
            .iter()
            .map(|bin| bin.join(&program))
            .chain([Path::new("/usr/bin").join(&program)]);
        match places.rfind(|place| place.is_file()) {
            Some(place) => found.push((place, minor)),
            None => left_out(&format!("`{program}` is not on this machine")),
        }
    }
    if found.is_empty() {
        // One of another place, e.g. a virtual environment's.
        let python = python();
        found.push((
            python.path.clone(),
            python.minor.trim_start_matches("3.").parse().unwrap(),
        ));
    }
    found.sort_by_key(|(place, _)| place.starts_with("/usr/bin"));
    found
}

/// What Python prints, without the line end.
pub fn ask(interpreter: &Path, code: &str) -> String {
    let output = run(Command::new(interpreter).args(["-I", "-c", code]));
    output.trim_end().to_owned()
}

/// Writes an executable file. Another test's fork may hold it open for a moment ("text file busy"),
/// so it is written by a child.
pub fn script(path: &Path, text: &str) {
    run(Command::new("/bin/sh")
        .args([
            "-c",
            "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"",
            "sh",
            text,
        ])
        .arg(path));
}

/// Python sources directly below a directory or in its packages, sorted.
pub fn sources_of(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = walkdir::WalkDir::new(directory)
        .max_depth(2)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            entry
                .path()
                .strip_prefix(directory)
                .ok()?
                .to_str()
                .map(str::to_owned)
        })
        .filter(|name| {
            name.ends_with(".py") && !name.starts_with("test/") && !name.contains("-packages/")
        })
        .collect();
    names.sort();
    names
}
