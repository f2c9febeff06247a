//! A build that changes nothing, or little, does little: counted by strace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::support::project::full;
use super::support::{Sandbox, tools};

/// The programs that a build starts and the packs of the cache's layers that it opens.
fn traced(sandbox: &Sandbox, strace: &Path) -> (Vec<String>, Vec<PathBuf>) {
    let log = sandbox.root().join("trace");
    let run = sandbox
        .pkgapp(["build", "--format", "tar"])
        .env("PKGAPP_OFFLINE", "1");
    let strace = strace.display().to_string();
    run.under([
        strace.as_str(),
        "-f",
        "-qq",
        "-e",
        "trace=execve,openat,connect",
        "-o",
        &log.display().to_string(),
    ])
    .stdout();
    let (mut programs, mut opened) = (Vec::new(), Vec::new());
    // What a process was about to run when strace had something to say of another one.
    let mut begun = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let quoted = line.split('"').nth(1).unwrap_or_default();
        let (process, program) = (
            line.split(' ').next().unwrap(),
            quoted.rsplit('/').next().unwrap_or_default(),
        );
        if line.contains("execve(") && line.ends_with("<unfinished ...>") {
            begun.insert(process, program);
        } else if line.contains("execve(") && line.ends_with("= 0") {
            programs.push(program.to_owned());
        } else if line.contains("<... execve resumed>") && line.ends_with("= 0") {
            programs.extend(begun.remove(process).map(str::to_owned));
        } else if line.contains("openat(")
            && quoted.contains("/layers/")
            && quoted.ends_with("/pack")
        {
            opened.push(PathBuf::from(quoted));
        } else if line.contains("connect(") {
            assert!(!line.contains("AF_INET"), "{line}");
        }
    }
    (programs, opened)
}

fn pythons(programs: &[String]) -> Vec<&String> {
    programs
        .iter()
        .filter(|program| program.contains("python") || *program == "uv")
        .collect()
}

/// A project of plain files, some wheels, and a command.
fn plain() -> Sandbox {
    let sandbox = full();
    sandbox.edit(
        "pkgapp.toml",
        "include = [\"motd.txt\"]",
        "source = \"\"\ninclude = [\"motd.txt\", \"code/*.py\"]",
    );
    sandbox.write("code/one.py", "ONE = 1\n");
    sandbox.write("code/two.py", "TWO = 2\n");
    sandbox
}

#[test]
fn a_build_of_the_same_again_starts_no_python_and_opens_no_index() {
    let Some(strace) = tools::tool("strace") else {
        return;
    };
    let sandbox = full();
    sandbox.append(
        "pkgapp.toml",
        "\n[build]\nrun = [\"python -c 'open(\\\"made.txt\\\", \\\"w\\\").write(\\\"x\\\")'\"]\n",
    );
    let first = sandbox.build(["--format", "tar"]);
    let bytes = std::fs::read(&first[0]).unwrap();
    let (programs, _) = traced(&sandbox, &strace);
    assert!(programs.contains(&"pkgapp".to_owned()), "{programs:?}");
    assert_eq!(pythons(&programs), Vec::<&String>::new());
    assert_eq!(std::fs::read(&first[0]).unwrap(), bytes);
    // Unless it is wanted.
    let run = sandbox
        .pkgapp(["-v", "build", "--rerun", "--format", "tar"])
        .outcome();
    assert!(run.stderr.contains("ran `python -c"), "{}", run.report);
}

#[test]
fn an_edited_file_that_is_no_source_starts_no_python_and_an_edited_source_starts_one() {
    let Some(strace) = tools::tool("strace") else {
        return;
    };
    let sandbox = plain();
    sandbox.build(["--format", "tar"]);
    sandbox.write("motd.txt", "edited\n");
    let (programs, _) = traced(&sandbox, &strace);
    assert_eq!(pythons(&programs), Vec::<&String>::new());
    sandbox.write("code/one.py", "ONE = 'edited'\n");
    let (programs, _) = traced(&sandbox, &strace);
    assert_eq!(pythons(&programs).len(), 1, "{programs:?}");
    // The kept byte code of the other one is what an empty cache gives.
    let edited = sandbox.build(["--format", "tar"]);
    let bytes = std::fs::read(&edited[0]).unwrap();
    let cold = sandbox
        .pkgapp(["build", "--format", "tar"])
        .env("PKGAPP_CACHE_DIR", sandbox.root().join("cold"))
        .artifacts();
    assert_eq!(std::fs::read(&cold[0]).unwrap(), bytes);
}

#[test]
fn the_stages_are_told() {
    let sandbox = full();
    sandbox.build(["--format", "tar"]);
    let run = sandbox.pkgapp(["-v", "build", "--format", "tar"]).outcome();
    let all = std::fs::read_dir(sandbox.cache().join("layers"))
        .unwrap()
        .count();
    let line = |name: &str| {
        run.stderr
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{}", run.report))
    };
    assert!(
        line("layers ").ends_with(&format!("{all} of {all}")),
        "{}",
        run.report
    );
    for stage in [
        "stage ",
        "commit ",
        "interpreter ",
        "lock ",
        "wheels ",
        "tree ",
        "proof ",
        "tar",
        "all of it ",
    ] {
        line(stage);
    }
    let text = sandbox
        .pkgapp(["-v", "--json", "build", "--format", "tar"])
        .stdout();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let layers = document["stages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stage| stage["name"] == "layers")
        .unwrap();
    assert_eq!(
        (layers["cached"].as_u64(), layers["of"].as_u64()),
        (Some(all as u64), Some(all as u64))
    );
}
