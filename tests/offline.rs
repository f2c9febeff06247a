//! Building without any network, from what `pkgapp cache export` has put into a directory.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::support::server::{Api, Fault, Index, Server};
use super::support::tools::{module, output, python, skip, tool};
use super::support::wheel::{Wheel, sdist_of, sha256};
use super::support::{Sandbox, fixture, walk};

/// fixtures/hello's build backend as a distribution of its own.
fn backend() -> Wheel {
    let code = std::fs::read_to_string(fixture("hello").join("backend.py")).unwrap();
    let code = code.replace("os.path.dirname(os.path.abspath(__file__))", "os.getcwd()");
    assert!(code.contains("ROOT = os.getcwd()"));
    Wheel::new("tiny-backend", "1.0")
        .file("tiny_backend.py", code)
        .requires("tiny-helper")
}

const BUILD_SYSTEM: &str =
    "[build-system]\nrequires = [\"tiny-backend>=1\"]\nbuild-backend = \"tiny_backend\"\n";

/// An sdist that is built with the backend from the index.
fn source(directory: &Path) -> PathBuf {
    let project = format!(
        "{BUILD_SYSTEM}\n[project]\nname = \"grown\"\nversion = \"1.0\"\ndescription = \"Grown\"\n"
    );
    sdist_of(
        directory,
        "grown",
        "1.0",
        &[
            ("pyproject.toml", &project),
            ("src/grown/__init__.py", "GROWN = 1\n"),
        ],
    )
}

/// hello built by that backend, with pins of all kinds, and the index that has them.
fn project() -> (Sandbox, Server) {
    let sandbox = Sandbox::hello();
    let sdist = source(&sandbox.root().join("sdists"));
    let (one, two) = (Wheel::simple("one", "1.0"), Wheel::simple("two", "2.0"));
    let server = Index::new(Api::Json)
        .wheel("one", &one)
        .wheel("two", &two)
        .wheel("tiny-backend", &backend())
        .wheel("tiny-helper", &Wheel::simple("tiny-helper", "3.0"))
        .sdist("grown", &sdist)
        .fault(Fault::Unauthorized)
        .serve();
    let file = |name: &str| server.url().replace("/simple/", &format!("/files/{name}"));
    let pins = format!(
        "--index-url http://user:${{TOKEN}}@{}\none==1.0\ntwo @ {}\ngrown==1.0\n",
        server.url().strip_prefix("http://").unwrap(),
        file(&two.file_name())
    );
    sandbox.write("requirements.txt", pins);
    let old = std::fs::read_to_string(sandbox.path("pyproject.toml")).unwrap();
    let (_, rest) = old.split_once("[project]").unwrap();
    sandbox.write("pyproject.toml", format!("{BUILD_SYSTEM}\n[project]{rest}"));
    (sandbox, server)
}

/// What takes the network away, where that is possible.
fn without_network() -> Vec<&'static str> {
    let works = std::process::Command::new("unshare")
        .args(["-n", "true"])
        .output();
    if works.is_ok_and(|output| output.status.success()) {
        return vec!["unshare", "-n"];
    }
    skip(
        "no network namespace of its own: `unshare -n` does not work here; the index is gone all the same",
    );
    Vec::new()
}

/// Builds in the project's directory with a cache and a home that hold nothing.
fn build_bare(sandbox: &Sandbox, name: &str) -> super::support::Outcome {
    let home = sandbox.root().join(format!("{name}-home"));
    std::fs::create_dir_all(&home).unwrap();
    let build = [
        "build",
        "--offline",
        "--find-links",
        "../wheelhouse",
        "--format",
        "all",
        "--output",
        name,
    ];
    let run = sandbox.pkgapp(build).env("HOME", home).env(
        "PKGAPP_CACHE_DIR",
        sandbox.root().join(format!("{name}-cache")),
    );
    let before = without_network();
    let run = if before.is_empty() {
        run
    } else {
        run.under(before)
    };
    run.env("TOKEN", "secret").outcome()
}

fn assert_same(a: &[PathBuf], b: &Path) {
    assert_eq!(a.len(), 3);
    for file in a {
        let other = b.join(file.file_name().unwrap());
        assert!(
            std::fs::read(file).unwrap() == std::fs::read(&other).unwrap(),
            "{} differs",
            other.display()
        );
    }
}

#[test]
fn a_wheelhouse_gives_the_same_packages_without_network() {
    let (sandbox, server) = project();
    let online = sandbox
        .pkgapp(["build", "--output", "online"])
        .env("TOKEN", "secret")
        .artifacts();
    let export = || {
        sandbox
            .pkgapp(["cache", "export", "../wheelhouse"])
            .env("TOKEN", "secret")
            .stdout()
    };
    assert_eq!(export(), "../wheelhouse\n");
    let house = sandbox.root().join("wheelhouse");
    let files = |directory: &Path| {
        walk(directory)
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [
        "grown-1.0.tar.gz",
        "one-1.0-py3-none-any.whl",
        "pylock.toml",
        "tiny_backend-1.0-py3-none-any.whl",
        "tiny_helper-3.0-py3-none-any.whl",
        "two-2.0-py3-none-any.whl",
    ];
    assert_eq!(files(&house), expected);
    let lock = std::fs::read_to_string(house.join("pylock.toml")).unwrap();
    assert!(
        !lock.contains("secret") && lock.contains(&sha256(&Wheel::simple("one", "1.0").bytes())),
        "{lock}"
    );
    // Equal content, equal lock; what is not needed any more goes, what is not ours stays.
    std::fs::write(house.join("notes.txt"), "mine").unwrap();
    let before = lock.clone();
    export();
    assert_eq!(
        std::fs::read_to_string(house.join("pylock.toml")).unwrap(),
        before
    );
    drop(server);
    let outcome = build_bare(&sandbox, "offline");
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert_same(&online, &sandbox.path("offline"));
    assert!(house.join("notes.txt").is_file());
}

#[test]
fn a_lock_that_names_urls_is_built_from_a_wheelhouse_too() {
    let (sandbox, server) = project();
    let file = |name: &str| server.url().replace("/simple/", &format!("/files/{name}"));
    let mut lock = "lock-version = \"1.0\"\ncreated-by = \"test\"\n".to_owned();
    for wheel in [Wheel::simple("one", "1.0"), Wheel::simple("two", "2.0")] {
        let (name, sum) = (wheel.file_name(), sha256(&wheel.bytes()));
        let (package, version) = (&name[..3], &name[4..7]);
        _ = write!(
            lock,
            "[[packages]]\nname = \"{package}\"\nversion = \"{version}\"\n\
             wheels = [{{ url = \"{}\", hashes = {{ sha256 = \"{sum}\" }} }}]\n",
            file(&name)
        );
    }
    sandbox.write("pylock.toml", lock);
    // The build backend is not in a lock; its index is in the configuration.
    let index = format!(
        "\n[[python.index]]\nname = \"team\"\nurl = \"{}\"\ndefault = true\n",
        server.url()
    );
    sandbox.edit("pkgapp.toml", "\"requirements.txt\"", "\"pylock.toml\"");
    sandbox.append("pkgapp.toml", &index);
    let with = |run: super::support::Run<'_>| -> super::support::Outcome {
        run.env("PKGAPP_INDEX_TEAM_USERNAME", "user")
            .env("PKGAPP_INDEX_TEAM_PASSWORD", "secret")
            .outcome()
    };
    let outcome = with(sandbox.pkgapp(["build", "--output", "online"]));
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    let online: Vec<PathBuf> = outcome
        .raw_stdout
        .lines()
        .map(|line| sandbox.path(line))
        .collect();
    let outcome = with(sandbox.pkgapp(["cache", "export", "../wheelhouse"]));
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    drop(server);
    let outcome = build_bare(&sandbox, "offline");
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert_same(&online, &sandbox.path("offline"));
    // A file that somebody changed is refused by its hash.
    let changed = Wheel::simple("one", "1.0").file("one/evil.py", "x = 1\n");
    std::fs::write(
        sandbox.root().join("wheelhouse/one-1.0-py3-none-any.whl"),
        changed.bytes(),
    )
    .unwrap();
    let outcome = build_bare(&sandbox, "changed");
    assert!(
        outcome.status == 1 && outcome.stderr.contains("has no hash that the lock accepts"),
        "{}",
        outcome.report
    );
    assert!(
        outcome.stderr.contains("one-1.0-py3-none-any.whl"),
        "{}",
        outcome.report
    );
}

#[test]
fn pip_installs_from_a_wheelhouse() {
    if !module(&python().path, "pip") {
        return;
    }
    let (sandbox, server) = project();
    sandbox
        .pkgapp(["cache", "export", "../wheelhouse"])
        .env("TOKEN", "secret")
        .stdout();
    drop(server);
    let house = sandbox.root().join("wheelhouse");
    let target = sandbox.root().join("target");
    let mut pip = std::process::Command::new(&python().path);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--isolated",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ])
    .args([
        "--root-user-action=ignore",
        "--no-index",
        "one==1.0",
        "two==2.0",
        "grown==1.0",
        "--find-links",
    ])
    .arg(&house)
    .arg("--target")
    .arg(&target);
    output(&mut pip);
    assert!(target.join("grown/__init__.py").is_file());
    // uv reads the lock; it needs what builds `grown` from the directory too.
    let Some(uv) = tool("uv") else { return };
    let venv = sandbox.root().join("venv");
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&uv);
        command
            .args(args)
            .arg("--offline")
            .arg("--no-cache")
            .env("UV_FIND_LINKS", &house)
            .current_dir(&house);
        output(&mut command);
    };
    run(&[
        "venv",
        "--quiet",
        "--python",
        python().path.to_str().unwrap(),
        venv.to_str().unwrap(),
    ]);
    let interpreter = venv.join("bin/python");
    run(&[
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--python",
        interpreter.to_str().unwrap(),
        "-r",
        "pylock.toml",
    ]);
    output(std::process::Command::new(interpreter).args(["-c", "import one, two, grown"]));
}

#[test]
fn what_the_wheelhouse_lacks_is_named() {
    let (sandbox, _server) = project();
    sandbox
        .pkgapp(["cache", "export", "../wheelhouse"])
        .env("TOKEN", "secret")
        .stdout();
    std::fs::remove_file(sandbox.root().join("wheelhouse/two-2.0-py3-none-any.whl")).unwrap();
    let outcome = build_bare(&sandbox, "lacking");
    assert!(
        outcome.status == 1 && outcome.stderr.contains("two-2.0-py3-none-any.whl"),
        "{}",
        outcome.report
    );
    let text = sandbox.pkgapp(["build", "--find-links", "nowhere"]).fails();
    assert!(
        text.contains("`--find-links` names `nowhere`, which is not a directory"),
        "{text}"
    );
}
