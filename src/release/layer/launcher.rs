//! Launchers in `bin/`, their bodies in `libexec/`, and the names that neither may have.
//!
//! A launcher is a `/bin/sh` script that finds its own path and starts the Python beside it, so it
//! works in any directory. The body contains only Python, so that nothing precedes its docstring or
//! its `from __future__`.
//!
//! Where `/bin/sh` is dash, variables whose names are invalid in shells (`a.b=c`) are lost. See
//! [`body`] for bodies that are executed directly.

use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::PythonMinor;

/// The launcher of every console script.
const LAUNCHER: &str = include_str!("../../../templates/launcher.sh");

/// The body of an entry point's launcher.
const BODY: &str = include_str!("../../../templates/launcher-body.py");

/// The line that identifies a launcher.
const MARK: &str = "# Made by pkgapp: starts libexec/";

/// A `console_scripts` or `gui_scripts` entry point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryPoint {
    /// The file name in `bin/`.
    pub(crate) name: String,
    /// The module, e.g. `flask.cli`.
    pub(crate) module: String,
    /// The callable, e.g. `main`, `Application.run`.
    pub(crate) object: String,
}

/// Returns the launcher of the body `libexec/NAME`.
pub(crate) fn launcher(name: &str, python: PythonMinor) -> String {
    // Older versions have no -P and search the script's directory first, as in every virtual
    // environment. Blanks give all launchers the same size.
    let safe = if python.minor >= 11 { "-P " } else { "   " };
    LAUNCHER
        .replace("@NAME@", name)
        .replace("@PYTHON@", &python.to_string())
        .replace("@SAFE@", safe)
}

/// Returns the name of the body that a launcher starts; `None` if `text` is not a launcher.
pub(crate) fn started_by(text: &str) -> Option<&str> {
    let second = text.strip_prefix("#!/bin/sh\n")?.lines().next()?;
    second.strip_prefix(MARK)?.split(" with the Python ").next()
}

/// Returns the body of an entry point.
///
/// Some programs execute `sys.argv[0]` to restart. A body that is executed directly runs the
/// launcher: for a shell, the rest of the file is a here-document; for Python, the shell command is
/// a string. A script from a wheel's `.data/scripts` cannot have this before its docstring, so its
/// body is not executable.
pub(crate) fn body(entry_point: &EntryPoint) -> String {
    let EntryPoint {
        name,
        module,
        object,
    } = entry_point;
    let import = object.split('.').next().unwrap_or(object);
    BODY.replace("@NAME@", name)
        .replace("@MODULE@", module)
        .replace("@IMPORT@", import)
        .replace("@CALL@", object)
}

/// Checks the name of a file under `bin/`.
///
/// # Errors
/// The name is reserved for programs of the release, or is invalid as a file name or inside quotes
/// in a launcher.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if is_reserved(name) {
        return Err(
            Error::new(format!("the name `bin/{name}` is reserved")).note(
                "`python`, `python3`, `python3.N`, and `activate` stand for the release's \
                   Python",
            ),
        );
    }
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | '\'' | '"' | '`' | '$');
    if name.is_empty() || name == "." || name == ".." || name.chars().any(bad) {
        return Err(Error::new(format!(
            "`{}` is not a valid name of a script",
            name.escape_debug()
        )));
    }
    Ok(())
}

/// Returns whether venv, uv, or callers of pip use the name, in any case.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.trim_end_matches(".exe").trim_end_matches(".py");
    let version = name
        .strip_prefix("pythonw")
        .or_else(|| name.strip_prefix("python"));
    let is_python = version.is_some_and(|version| {
        let version = version.strip_suffix('t').unwrap_or(version);
        version.chars().all(|c| c.is_ascii_digit() || c == '.')
    });
    is_python || name == "activate" || name.starts_with("activate.") || name == "activate_this"
}

/// Reads the console and GUI scripts of an `entry_points.txt` (PyPA, "Entry points specification":
/// an INI file whose names are case-sensitive and whose only delimiter is `=`), sorted by name.
///
/// # Errors
/// A script has no callable, has an invalid Python name, or has two different callables.
pub(crate) fn entry_points(text: &str) -> Result<Vec<EntryPoint>> {
    let mut found: Vec<EntryPoint> = Vec::new();
    let mut in_scripts = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            in_scripts = matches!(section.trim(), "console_scripts" | "gui_scripts");
        } else if in_scripts {
            let entry_point = entry_point(line)?;
            match found.iter().find(|known| known.name == entry_point.name) {
                None => found.push(entry_point),
                Some(same) if *same == entry_point => {}
                Some(_) => {
                    return Err(Error::new(format!(
                        "script `{}` is declared twice",
                        entry_point.name
                    )));
                }
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Reads `name = module:object [extras]`; extras are ignored, as the specification advises.
fn entry_point(line: &str) -> Result<EntryPoint> {
    let bad = || {
        Error::new(format!("invalid entry point `{line}`"))
            .note("the form is `name = module:function`")
    };
    let (name, value) = line.split_once('=').ok_or_else(bad)?;
    let value = match value.split_once('[') {
        Some((value, extras)) if extras.trim_end().ends_with(']') => value,
        Some(_) => return Err(bad()),
        None => value,
    };
    let (module, object) = value.split_once(':').ok_or_else(bad)?;
    let (name, module, object) = (name.trim(), module.trim(), object.trim());
    if !is_dotted_name(module) || !is_dotted_name(object) {
        return Err(bad());
    }
    check_name(name)?;
    Ok(EntryPoint {
        name: name.into(),
        module: module.into(),
        object: object.into(),
    })
}

/// Returns whether `text` consists of names with dots between them, so that nothing else gets into
/// a body.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(is_name)
}

/// Returns whether `text` is a valid Python identifier.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::layer::testing::{Bench, TestWheel, pythons};
    use pkgapp_testing::run;

    const PYTHON: PythonMinor = PythonMinor {
        major: 3,
        minor: 11,
    };

    proptest::proptest! {
        /// Any text results in valid names or an error.
        #[test]
        fn nothing_but_names_comes_of_entry_points(words in proptest::collection::vec(
            proptest::sample::select(&["[console_scripts]", "[gui_scripts]", "[", "]", "\n", "=", ":", ".", "a", "é", "import", " ",
                "../", "'", "\"", ";", "#", "main", "\\", "\0", "[x]", "\u{202e}"][..]),
            0..40,
        )) {
            for found in entry_points(&words.concat()).unwrap_or_default() {
                proptest::prop_assert!(is_dotted_name(&found.module) && is_dotted_name(&found.object), "{:?}", found);
                proptest::prop_assert!(check_name(&found.name).is_ok() && !found.name.contains('/'), "{:?}", found);
            }
        }
    }

    #[test]
    fn entry_points_are_read_as_the_specification_says() {
        let text = "# made by hand\n[console_scripts]\nflask = flask.cli:main\n Run=a.b : C.run [x, y]\n\n[gui_scripts]\n\
                    flask=flask.cli:main\n; no script\n[flask.commands]\ndo it = x\n";
        let point = |name: &str, module: &str, object: &str| EntryPoint {
            name: name.into(),
            module: module.into(),
            object: object.into(),
        };
        assert_eq!(
            entry_points(text).unwrap(),
            [
                point("Run", "a.b", "C.run"),
                point("flask", "flask.cli", "main")
            ]
        );
    }

    #[test]
    fn hostile_entry_points_are_refused() {
        for line in [
            "a = b",
            "a",
            "a = b:c\")",
            "a = b:c;import os",
            "a = b c:d",
            "a = b:",
            "a = :c",
            "a = b:c [x",
            "../x = a:b",
            "x/y = a:b",
            "a'b = a:b",
            "a$b = a:b",
            " = a:b",
            "python = a:b",
            "Python3 = a:b",
            "python3.11 = a:b",
            "activate.fish = a:b",
        ] {
            assert!(
                entry_points(&format!("[console_scripts]\n{line}\n")).is_err(),
                "{line}"
            );
        }
        assert!(entry_points("[console_scripts]\na=b:c\n[gui_scripts]\na=b:d\n").is_err());
    }

    #[test]
    fn only_the_names_of_pythons_are_reserved() {
        for name in [
            "python-config",
            "pythonic",
            "python-argcomplete",
            "pip3.11",
            "ipython3",
            "activate-x",
            "pytest",
        ] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "python",
            "pythonw",
            "python3",
            "python2.7",
            "python3.13t",
            "PYTHON",
            "activate",
            "activate_this.py",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_launcher_is_known_by_its_text() {
        assert_eq!(started_by(&launcher("my tool", PYTHON)), Some("my tool"));
        assert_eq!(started_by("#!/bin/sh\necho\n"), None);
        assert!(!launcher("x", PYTHON).contains('@') || !launcher("x", PYTHON).contains("@NAME@"));
    }

    /// Prints everything about how the program was started.
    const SAY: &str = "\
'doc'
from __future__ import annotations
import json, os, sys
def main():
    flags = {name: getattr(sys.flags, name) for name in ('isolated', 'dont_write_bytecode', 'dev_mode', 'utf8_mode')}
    print(json.dumps({
        'argv': sys.argv, 'executable': sys.executable, 'prefix': sys.prefix, 'base': sys.base_prefix != sys.prefix,
        'flags': flags, 'warnings': sys.warnoptions, 'x': sorted(sys._xoptions), 'unbuffered': sys.stdout.line_buffering,
        'write_through': sys.stdout.write_through, 'file': os.path.realpath(__file__), 'path': sys.path, 'pwd': os.getcwd(),
    }))
";

    /// A wheel whose entry point and whose `#!python` script print how they were started.
    fn say() -> TestWheel {
        let script = format!("#!python\n{SAY}main()\n");
        TestWheel::new(
            "say",
            "1.0",
            &[
                ("say.py", SAY.as_bytes()),
                (
                    "say-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\nsay = say:main\n",
                ),
                ("say-1.0.data/scripts/say-script", script.as_bytes()),
            ],
        )
    }

    /// The shells that are `/bin/sh` on some system.
    fn shells() -> Vec<Vec<String>> {
        let known = [
            ("dash", &[][..]),
            ("bash", &["--posix"]),
            ("bash", &[]),
            ("busybox", &["sh"]),
        ];
        let found: Vec<Vec<String>> = known
            .iter()
            .filter_map(|(shell, arguments)| {
                let program = pkgapp_testing::tool(shell)?.to_str().unwrap().to_owned();
                Some(
                    std::iter::once(program)
                        .chain(arguments.iter().map(|a| (*a).to_owned()))
                        .collect(),
                )
            })
            .collect();
        assert!(!found.is_empty(), "there is no shell to test with");
        found
    }

    fn said(command: &mut Command) -> serde_json::Value {
        serde_json::from_str(&run(command)).unwrap()
    }

    #[test]
    fn launchers_start_their_body_however_they_are_called() {
        for (interpreter, python) in pythons() {
            let bench = Bench::with(&interpreter, python);
            let root = bench.release(&[bench.install(&say()).unwrap()]);
            for name in ["say", "say-script"] {
                for mut command in calls(&root, name) {
                    let said = said(&mut command);
                    let what = format!("Python {python}: {command:?} said {said:#}");
                    let text = |path: &str| root.join(path).to_str().unwrap().to_owned();
                    let body = text(&format!("libexec/{name}"));
                    assert_eq!(
                        said["argv"],
                        serde_json::json!([body, "a b", "", "*"]),
                        "{what}"
                    );
                    assert_eq!(said["executable"], text("bin/python"), "{what}");
                    assert_eq!(said["prefix"], text("").trim_end_matches('/'), "{what}");
                    assert_eq!(said["flags"]["isolated"], 1, "{what}");
                    assert!(
                        said["path"]
                            .as_array()
                            .unwrap()
                            .contains(&text(&bench.compiler.site_packages()).into())
                    );
                }
            }
        }
    }

    /// Every way to call a launcher.
    fn calls(root: &Path, name: &str) -> Vec<Command> {
        let (bin, directory) = (root.join("bin"), root.parent().unwrap());
        let launcher = bin.join(name);
        let elsewhere = directory.join(format!("-links of {name}"));
        if !elsewhere.exists() {
            std::fs::create_dir(&elsewhere).unwrap();
            symlink(&launcher, elsewhere.join("absolute")).unwrap();
            symlink(format!("../rel-1/bin/{name}"), elsewhere.join("relative")).unwrap();
            symlink("relative", elsewhere.join("chain")).unwrap();
            symlink(root, elsewhere.join("release")).unwrap();
            symlink(format!("release/bin/{name}"), elsewhere.join("through")).unwrap();
            symlink("release", elsewhere.join("-")).unwrap();
        }
        let mut commands: Vec<Command> = [
            launcher.clone(),
            elsewhere.join("absolute"),
            elsewhere.join("relative"),
            elsewhere.join("chain"),
            elsewhere.join("through"),
            elsewhere.join("release/bin").join(name),
        ]
        .iter()
        .map(Command::new)
        .collect();
        let mut through_sh = |word: &str, directory: &Path, path: Option<&Path>| {
            for shell in shells() {
                let mut command = Command::new(&shell[0]);
                command
                    .args(&shell[1..])
                    .args(["--", word])
                    .current_dir(directory);
                if let Some(path) = path {
                    command.env("PATH", path);
                }
                commands.push(command);
            }
        };
        through_sh(name, &bin, None);
        through_sh(&format!("./{name}"), &bin, None);
        through_sh(&format!("bin/{name}"), root, Some(Path::new("")));
        through_sh(&format!("-/bin/{name}"), &elsewhere, None);
        through_sh("./chain", &elsewhere, None);
        through_sh("chain", &elsewhere, Some(Path::new("")));
        through_sh(
            launcher.to_str().unwrap(),
            Path::new("/"),
            Some(Path::new("")),
        );
        // A name without a slash, which a shell finds in PATH.
        let mut by_path = Command::new("/bin/sh");
        by_path
            .args(["-c", &format!("{name} \"$@\""), "sh"])
            .env("PATH", &bin);
        commands.push(by_path);
        let mut relative_path = Command::new("/bin/sh");
        relative_path
            .args(["-c", &format!("{name} \"$@\""), "sh"])
            .env("PATH", "bin")
            .current_dir(root);
        commands.push(relative_path);
        for command in &mut commands {
            command.args(["a b", "", "*"]);
        }
        let mut bare = Command::new("/usr/bin/env");
        bare.arg("-i").arg(&launcher).args(["a b", "", "*"]);
        commands.push(bare);
        for command in &mut commands {
            // Variables that would mislead another Python, or `cd`.
            command
                .env("CDPATH", directory)
                .env("PYTHONHOME", "/nowhere")
                .env("PYTHONPATH", "/nowhere");
            command
                .env("PYTHONSTARTUP", "/nowhere")
                .env("ENV", "/nowhere");
        }
        commands
    }

    #[test]
    fn a_launcher_stays_in_its_release_when_current_moves_on() {
        let Some(bench) = Bench::new() else { return };
        let root = bench.release(&[bench.install(&say()).unwrap()]);
        let current = root.with_file_name("current");
        symlink("rel-1", &current).unwrap();
        let said = said(&mut Command::new(current.join("bin/say")));
        assert_eq!(
            said["executable"],
            root.join("bin/python").to_str().unwrap()
        );
        // It also works after the directory was moved.
        let moved = root.with_file_name("rel 2");
        std::fs::rename(&root, &moved).unwrap();
        let said = self::said(&mut Command::new(moved.join("bin/say")));
        assert_eq!(said["prefix"], moved.to_str().unwrap());
    }

    #[test]
    fn wishes_in_the_environment_become_options() {
        for (interpreter, python) in pythons() {
            let bench = Bench::with(&interpreter, python);
            let root = bench.release(&[bench.install(&say()).unwrap()]);
            let mut command = Command::new(root.join("bin/say"));
            command.env_clear();
            let none = said(&mut command);
            assert_eq!(none["warnings"], serde_json::json!([]));
            assert_eq!(
                (&none["x"], &none["write_through"]),
                (&serde_json::json!([]), &false.into())
            );
            assert_eq!(none["flags"]["dont_write_bytecode"], 0);
            command.envs([
                ("PYTHONUNBUFFERED", "1"),
                ("PYTHONDONTWRITEBYTECODE", "x"),
                ("PYTHONWARNINGS", "error::UserWarning,,ignore,"),
                ("PYTHONFAULTHANDLER", "1"),
                ("PYTHONUTF8", "1"),
                ("PYTHONDEVMODE", ""),
            ]);
            let all = said(&mut command);
            assert_eq!(
                all["warnings"],
                serde_json::json!(["error::UserWarning", "ignore"]),
                "Python {python}"
            );
            assert_eq!(all["x"], serde_json::json!(["faulthandler", "utf8"]));
            assert_eq!(all["write_through"], true);
            assert_eq!(all["flags"]["dont_write_bytecode"], 1);
            let develop = said(
                command
                    .env_clear()
                    .envs([("PYTHONDEVMODE", "1"), ("PYTHONUTF8", "0")]),
            );
            assert_eq!(develop["flags"]["dev_mode"], true);
            assert_eq!(develop["flags"]["utf8_mode"], 0);
        }
    }

    /// Tests calls from units and cron jobs, and from programs with misleading environments.
    #[test]
    fn configured_variables_reach_python_and_a_callers_do_not() {
        let wants = "\
import json, os, sys, tracemalloc
def main():
    print(json.dumps([sys.flags.hash_randomization, sys.flags.optimize, sys.stdout.encoding, tracemalloc.is_tracing(),
        '/etc/plugins' in sys.path, sys.flags.no_user_site, sys.prefix, os.environ.get('PYTHONHOME')]))
";
        let wheel = TestWheel::new(
            "wants",
            "1.0",
            &[
                ("wants.py", wants.as_bytes()),
                (
                    "wants-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\nwants = wants:main\n",
                ),
            ],
        );
        for (interpreter, python) in pythons() {
            let bench = Bench::with(&interpreter, python);
            let root = bench.release(&[bench.install(&wheel).unwrap()]);
            let link = root.with_file_name("configured");
            symlink(&root, &link).unwrap();
            let prefix = root.to_str().unwrap();
            for (configured, expected) in [
                (
                    Some(root.as_path()),
                    serde_json::json!([0, 1, "iso8859-1", true, true, 1, prefix, null]),
                ),
                (
                    Some(&link),
                    serde_json::json!([0, 1, "iso8859-1", true, true, 1, prefix, null]),
                ),
                (
                    Some(Path::new("/usr")),
                    serde_json::json!([1, 0, "utf-8", false, false, 1, prefix, "/nowhere"]),
                ),
                (
                    None,
                    serde_json::json!([1, 0, "utf-8", false, false, 1, prefix, "/nowhere"]),
                ),
            ] {
                let mut command = Command::new(root.join("bin/wants"));
                command
                    .env_clear()
                    .envs(configured.map(|configured| ("PKGAPP_CONFIGURED", configured)));
                command.env("LC_ALL", "C.UTF-8").envs([
                    ("PYTHONHASHSEED", "0"),
                    ("PYTHONOPTIMIZE", "1"),
                    ("PYTHONIOENCODING", "latin-1"),
                    ("PYTHONTRACEMALLOC", "1"),
                    ("PYTHONPATH", "/etc/plugins"),
                    ("PYTHONHOME", "/nowhere"),
                    ("PYTHONSTARTUP", "/nowhere"),
                ]);
                let mut said = said(&mut command);
                if said[2] == "latin-1" {
                    said[2] = "iso8859-1".into();
                }
                assert_eq!(said, expected, "Python {python}, {configured:?}");
            }
        }
    }

    #[test]
    fn a_missing_python_is_told() {
        let Some(bench) = Bench::new() else { return };
        let root = bench.release(&[bench.install(&say()).unwrap()]);
        std::fs::remove_file(root.join("bin/python")).unwrap();
        symlink("/nowhere/python3.11", root.join("bin/python")).unwrap();
        let output = Command::new(root.join("bin/say")).output().unwrap();
        assert_eq!(output.status.code(), Some(127));
        let (launcher, python) = (root.join("bin/say"), root.join("bin/python"));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!(
                "{}: {} is missing or leads nowhere: Python {} is needed\n",
                launcher.display(),
                python.display(),
                bench.python()
            )
        );
    }

    #[test]
    fn programs_that_start_themselves_again_find_themselves() {
        let again = "\
import multiprocessing, os, subprocess, sys
def square(x):
    return x * x
def main():
    how = sys.argv[1]
    if how == 'spawn':
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            print(pool.map(square, [2, 3]))
    elif how == 'module':
        print(subprocess.check_output([sys.executable, '-m', 'again', 'done'], universal_newlines=True).strip())
    elif how == 'argv0':  # dramatiq
        os.execvp(sys.argv[0], [sys.argv[0], 'done'])
    elif how == 'executable':  # gunicorn
        os.execv(sys.executable, [sys.executable, sys.argv[0], 'done'])
    else:
        print(how, sys.flags.isolated, os.path.basename(sys.argv[0]), __name__)
if __name__ == '__main__':
    main()
";
        let script = format!("#!python\n{again}");
        let wheel = TestWheel::new(
            "again",
            "1.0",
            &[
                ("again.py", again.as_bytes()),
                (
                    "again-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\nagain = again:main\n",
                ),
                ("again-1.0.data/scripts/again-script", script.as_bytes()),
            ],
        );
        for (interpreter, python) in pythons() {
            let bench = Bench::with(&interpreter, python);
            let root = bench.release(&[bench.install(&wheel).unwrap()]);
            for (name, how, expected) in [
                ("again", "spawn", "[4, 9]\n"),
                ("again", "module", "done 0 again.py __main__\n"),
                ("again", "argv0", "done 1 again again\n"),
                ("again", "executable", "done 0 again again\n"),
                ("again-script", "spawn", "[4, 9]\n"),
                (
                    "again-script",
                    "executable",
                    "done 0 again-script __main__\n",
                ),
            ] {
                let mut command = Command::new(root.join("bin").join(name));
                assert_eq!(
                    run(command.arg(how).env_clear().current_dir("/")),
                    expected,
                    "Python {python}: {name} {how}"
                );
            }
        }
    }

    #[test]
    fn every_shell_accepts_what_is_written_for_it() {
        let entry_point = EntryPoint {
            name: "x y".into(),
            module: "a".into(),
            object: "b.c".into(),
        };
        let directory = tempfile::tempdir().unwrap();
        for text in [launcher("x y", PYTHON), body(&entry_point)] {
            let file = directory.path().join("script");
            std::fs::write(&file, text).unwrap();
            for shell in shells() {
                run(Command::new(&shell[0])
                    .args(&shell[1..])
                    .arg("-n")
                    .arg(&file));
            }
        }
    }
}
