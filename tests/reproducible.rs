//! Same inputs, same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::project::full;
use super::support::tools::{text, tool};
use super::support::{Sandbox, copy, foreign};

/// Fails with the first difference that a person can use: the entries, else the first byte.
fn assert_same(one: &[PathBuf], other: &[PathBuf]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one.file_name(), other.file_name());
        let (a, b) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
        if a != b {
            let read = |file: &Path| match file.extension().and_then(|extension| extension.to_str())
            {
                Some("deb") => foreign::deb(file),
                Some("rpm") => foreign::rpm(file),
                _ => foreign::tarball(file),
            };
            similar_asserts::assert_eq!(read(one), read(other));
            let first = a.iter().zip(&b).position(|(a, b)| a != b);
            panic!(
                "{}: equal entries, lengths {} and {}, first difference at {first:?}",
                one.display(),
                a.len(),
                b.len()
            );
        }
    }
}

#[test]
fn two_builds_under_other_circumstances_are_equal() {
    let first = full();
    let ours = first.build(["--format", "all"]);

    // Another directory (longer, with a space), copied so that all times differ; another cache;
    // other files around it.
    let second = Sandbox::new();
    let project = second.root().join("some where else, and much longer");
    copy(&first.project(), &project);
    std::fs::remove_dir_all(project.join("dist")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in super::support::walk(&project)
        .into_iter()
        .filter(|path| path.is_file())
    {
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    std::fs::create_dir_all(project.join("src/hello/__pycache__")).unwrap();
    std::fs::write(
        project.join("src/hello/__pycache__/left.cpython-311.pyc"),
        "of a developer's run",
    )
    .unwrap();

    let mut starter = vec!["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    if tool("taskset").is_some() {
        starter.extend(["taskset", "-c", "0"]);
    }
    let theirs = second
        .pkgapp(["build", "--format", "all", "--jobs", "1"])
        .within(&project)
        .under(starter)
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "C")
        .env("LANG", "tr_TR.UTF-8")
        .env("HOME", second.root())
        .env("USER", "someone")
        .env("PYTHONHASHSEED", "7")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("RAYON_NUM_THREADS", "1")
        .artifacts();
    assert_same(&ours, &theirs);
}

#[test]
fn a_warm_cache_changes_nothing() {
    let sandbox = full();
    let keep = |name: &str| {
        let kept = sandbox.root().join(name);
        sandbox.build([
            "--format".as_ref(),
            "all".as_ref(),
            "--output".as_ref(),
            kept.as_os_str(),
        ])
    };
    assert_same(&keep("cold"), &keep("warm"));
}

#[test]
fn a_package_that_is_written_over_the_last_but_one_is_what_an_empty_cache_gives() {
    let sandbox = full();
    sandbox.edit(
        "pkgapp.toml",
        "include = [\"motd.txt\"]",
        "source = \"\"\ninclude = [\"motd.txt\", \"code/*.py\"]",
    );
    // Larger and smaller, at the end of what comes from layers.
    for number in [1, 2000, 3, 4, 5] {
        sandbox.write(
            "code/one.py",
            format!("ONE = {:?}\n", (0..number).collect::<Vec<u32>>()),
        );
        sandbox.build(["--format", "all"]);
    }
    let spares = std::fs::read_dir(sandbox.cache().join("spares"))
        .unwrap()
        .count();
    assert_eq!(spares, 3);
    let over = sandbox.build(["--format", "all"]);
    let cache = sandbox.root().join("empty");
    let fresh = sandbox
        .pkgapp(["build", "--format", "all", "--output", "fresh"])
        .env("PKGAPP_CACHE_DIR", &cache);
    assert_same(&over, &fresh.artifacts());
}

#[test]
fn formats_made_together_or_alone_are_equal() {
    let sandbox = full();
    let together = sandbox.build(["--format", "all", "--output", "together"]);
    let alone: Vec<_> = ["tar", "deb", "rpm"]
        .iter()
        .flat_map(|format| sandbox.build(["--format", format, "--output", "alone"]))
        .collect();
    assert_same(&together, &alone);
}

/// The times in a tarball, each once.
fn times(sandbox: &Sandbox, run: super::support::Run<'_>) -> Vec<String> {
    let [tar] = &run.artifacts()[..] else {
        panic!("one artifact")
    };
    let listing = text(
        Command::new("tar")
            .args(["--full-time", "--utc", "-tvf"])
            .arg(tar)
            .env("LC_ALL", "C")
            .current_dir(sandbox.root()),
    );
    let mut times: Vec<String> = listing
        .lines()
        .map(|line| {
            line.split_whitespace()
                .skip(3)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    times.sort();
    times.dedup();
    times
}

#[test]
fn source_date_epoch_is_every_time_in_a_package() {
    let sandbox = Sandbox::hello();
    let run = sandbox
        .pkgapp(["build", "--format", "tar.gz"])
        .env("SOURCE_DATE_EPOCH", "1000000000");
    assert_eq!(times(&sandbox, run), ["2001-09-09 01:46:40"]);
    let rpm = sandbox
        .pkgapp(["build", "--format", "rpm"])
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .artifacts();
    if let Some(program) = tool("rpm") {
        let printed = text(
            Command::new(program)
                .args(["-qp", "--qf", "%{BUILDTIME}[\n%{FILEMTIMES}]"])
                .arg(&rpm[0]),
        );
        assert!(
            printed.lines().all(|line| line == "1000000000"),
            "{printed}"
        );
    }
}

#[test]
fn without_it_the_commits_time_is() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    let run = |args: &[&str]| {
        let mut command = Command::new(&git);
        command
            .current_dir(sandbox.project())
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
            .args(args);
        command
            .env("HOME", sandbox.root())
            .env("GIT_AUTHOR_DATE", "@1200000000 +0200")
            .env("GIT_COMMITTER_DATE", "@1200000000 +0200");
        text(&mut command)
    };
    run(&["init", "-q"]);
    run(&["add", "."]);
    run(&["commit", "-qm", "first"]);
    assert_eq!(
        times(&sandbox, sandbox.pkgapp(["build", "--format", "tar.gz"])),
        ["2008-01-10 21:20:00"]
    );
}

#[test]
fn a_bad_source_date_epoch_is_an_error() {
    let sandbox = Sandbox::hello();
    let text = sandbox
        .pkgapp(["build"])
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .fails();
    assert!(
        text.contains("SOURCE_DATE_EPOCH") && text.contains("yesterday"),
        "{text}"
    );
}
