//! The release runs wherever it is unpacked, and no byte of it names the machine it was built on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::project::{extension, full};
use super::support::tools::{path, text};
use super::support::{Sandbox, foreign, walk};

/// A release in a directory with spaces, after everything that made it has been moved away.
fn moved(sandbox: &Sandbox) -> Option<PathBuf> {
    let [tar] = &sandbox.build(["--format", "tar.gz"])[..] else {
        panic!("one artifact")
    };
    let directory = sandbox.root().join("un packed/'here' $x");
    foreign::unpack(tar, &directory)?;
    for made in [
        sandbox.project(),
        sandbox.cache(),
        sandbox.root().join("home"),
    ] {
        std::fs::rename(&made, made.with_extension("hidden")).unwrap();
    }
    Some(directory.join("hello-1.0.0"))
}

/// Runs a program with almost nothing in its environment, from another directory.
fn run(program: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", path())
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn every_console_script_starts_elsewhere() {
    let sandbox = full();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    let bin = |name: &str| release.join("bin").join(name);
    for (name, args, expected) in [
        ("hello", ["a b", "ü"], (0, "Hello, a b ü!\n")),
        ("features", ["x y", "*"], (3, "features x y *\n")),
        ("features-extra", ["", "-h"], (3, "features  -h\n")),
        ("future", ["--", "x"], (0, "future -- x\n")),
        ("shell", ["1", "2 3"], (0, "shell 1 2 3\n")),
        ("python", ["-c", "print('py')"], (0, "py\n")),
    ] {
        let (status, printed) = run(&bin(name), &args);
        assert_eq!((status, printed.as_str()), expected, "{name}");
    }
    let known = ["hello", "features", "features-extra", "future", "shell"];
    for entry in std::fs::read_dir(release.join("bin")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            known.contains(&name.as_str()) || name.starts_with("python"),
            "bin/{name} is not tried here"
        );
    }
}

#[test]
fn a_launcher_finds_its_release_through_links() {
    let sandbox = Sandbox::hello();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    let elsewhere = sandbox.root().join("links");
    std::fs::create_dir(&elsewhere).unwrap();
    // `current -> release` and a link to a launcher, as /usr/local/bin would have it; relative and
    // twice.
    std::os::unix::fs::symlink(&release, elsewhere.join("current")).unwrap();
    std::os::unix::fs::symlink("current/bin/hello", elsewhere.join("first")).unwrap();
    std::os::unix::fs::symlink("first", elsewhere.join("second")).unwrap();
    let real = format!("{}\n", release.canonicalize().unwrap().display());
    for program in ["current/bin/hello", "first", "second"] {
        let (status, printed) = run(&elsewhere.join(program), &["--where"]);
        assert_eq!(
            (status, printed.as_str()),
            (0, real.as_str()),
            "{program}: pinned to the release, not to the link"
        );
    }
    // Found by PATH, from its own directory, and with a PATH that is empty.
    let bin = release.join("bin");
    for (search, program, directory) in [
        (&bin, "hello", Path::new("/")),
        (&PathBuf::new(), "./hello", &bin),
    ] {
        let script = format!("exec {program} --version");
        let mut sh = Command::new("/bin/sh");
        assert_eq!(
            text(
                sh.args(["-c", &script])
                    .env("PATH", search)
                    .current_dir(directory)
            ),
            "hello 1.0.0\n"
        );
    }
}

#[test]
fn the_environment_of_the_caller_does_not_leak_in() {
    let sandbox = Sandbox::hello();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    let evil = sandbox.root().join("evil");
    std::fs::create_dir(&evil).unwrap();
    for module in ["hello.py", "sys.py", "importlib.py"] {
        std::fs::write(
            evil.join(module),
            "raise SystemExit('foreign code was run')\n",
        )
        .unwrap();
    }
    let output = Command::new(release.join("bin/hello"))
        .arg("--version")
        .env("PYTHONPATH", &evil)
        .env("PYTHONHOME", "/nonexistent")
        .env("PYTHONSTARTUP", evil.join("hello.py"))
        .current_dir(&evil)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello 1.0.0\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn running_it_writes_nothing_into_it() {
    let sandbox = full();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    let before = super::support::snapshot(&release);
    for name in ["hello", "features", "future"] {
        run(&release.join("bin").join(name), &[]);
    }
    let changed: Vec<_> = super::support::snapshot(&release)
        .into_keys()
        .filter(|path| !before.contains_key(path))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn no_file_names_the_machine_it_was_built_on() {
    let sandbox = full();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    let mut names = vec![sandbox.root(), sandbox.root().canonicalize().unwrap()];
    names.dedup();
    let names: Vec<String> = names
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    for path in walk(&release)
        .into_iter()
        .filter(|path| path.is_symlink() || path.is_file())
    {
        let bytes = if path.is_symlink() {
            std::fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else {
            std::fs::read(&path).unwrap()
        };
        for name in &names {
            let found = bytes
                .windows(name.len())
                .any(|window| window == name.as_bytes());
            assert!(!found, "{} holds {name}", path.display());
        }
    }
}

#[test]
fn a_compiled_extension_loads_elsewhere() {
    if extension().is_none() {
        return;
    }
    let sandbox = full();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    let (status, printed) = run(
        &release.join("bin/python"),
        &["-I", "-c", "import answer; print(answer.get())"],
    );
    assert_eq!((status, printed.as_str()), (0, "42\n"));
}

#[test]
fn the_application_finds_its_plain_files() {
    let sandbox = Sandbox::hello();
    let Some(release) = moved(&sandbox) else {
        return;
    };
    assert_eq!(
        run(&release.join("bin/hello"), &["--motd"]),
        (0, "Have a nice day.\n".to_owned())
    );
}
