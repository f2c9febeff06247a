//! From a project to artifacts: what is printed, what ships, and that nothing else changes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::support::project::{features, full, pin};
use super::support::tools::{python, skip, text, tool};
use super::support::wheel::{Wheel, sdist, sha256};
use super::support::{Outcome, Sandbox, foreign, golden, snapshot};

/// The dump of the deb that a project gives, as pkgapp reads it.
fn dump(sandbox: &Sandbox) -> String {
    let [deb] = &sandbox.build(["--format", "deb"])[..] else {
        panic!("one artifact")
    };
    sandbox.dump(deb)
}

/// The paths below `/opt/hello`.
fn release(dump: &str) -> Vec<String> {
    dump.lines()
        .filter_map(|line| foreign::path_of(line).strip_prefix("/opt/hello/"))
        .map(str::to_owned)
        .collect()
}

fn site(below: &str) -> String {
    format!("lib/python{}/site-packages/{below}", python().minor)
}

/// The release of a project, unpacked from its tarball.
fn unpacked(sandbox: &Sandbox) -> Option<std::path::PathBuf> {
    let [tar] = &sandbox.build(["--format", "tar.gz"])[..] else {
        panic!("one artifact")
    };
    let directory = sandbox.root().join("unpacked");
    foreign::unpack(tar, &directory)?;
    Some(directory.join("hello-1.0.0"))
}

#[test]
fn stdout_is_the_artifacts_and_nothing_else() {
    let sandbox = Sandbox::hello();
    let outcome = sandbox.pkgapp(["build", "--format", "all"]).outcome();
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (
            0,
            "dist/hello-1.0.0-1.noarch.tar.zst\ndist/hello_1.0.0-1_all.deb\ndist/hello-1.0.0-1.noarch.rpm\n"
        ),
        "{}",
        outcome.report
    );
    let mut made: Vec<_> = std::fs::read_dir(sandbox.path("dist"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    made.sort();
    assert_eq!(
        made,
        [
            "hello-1.0.0-1.noarch.rpm",
            "hello-1.0.0-1.noarch.tar.zst",
            "hello_1.0.0-1_all.deb"
        ]
    );
}

#[test]
fn quiet_says_nothing_but_the_artifacts() {
    Sandbox::hello()
        .pkgapp(["-q", "build", "--format", "deb"])
        .prints("dist/hello_1.0.0-1_all.deb\n", "");
}

#[test]
fn json_is_one_document() {
    let sandbox = Sandbox::hello();
    let printed = sandbox
        .pkgapp(["--json", "build", "--format", "deb", "--format", "rpm"])
        .stdout();
    let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(document["name"], "hello");
    assert_eq!(document["version"], "1.0.0");
    let artifacts = document["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.len(), 2);
    for artifact in artifacts {
        let bytes = std::fs::read(sandbox.path(artifact["path"].as_str().unwrap())).unwrap();
        assert_eq!(artifact["sha256"], sha256(&bytes));
        assert_eq!(artifact["size"], bytes.len());
    }
}

#[test]
fn an_error_as_json_is_one_document_too() {
    let sandbox = Sandbox::hello();
    sandbox.edit("pkgapp.toml", "include", "inclued");
    let outcome = sandbox.pkgapp(["--json", "build"]).outcome();
    assert_eq!(outcome.status, 1);
    let document: serde_json::Value = serde_json::from_str(&outcome.raw_stdout).unwrap();
    assert_eq!(document["error"]["location"], "pkgapp.toml:3:1");
}

#[test]
fn output_goes_where_it_is_wanted() {
    let sandbox = Sandbox::hello();
    let elsewhere = sandbox.root().join("else where/deep");
    let paths = sandbox.build([
        "--format".as_ref(),
        "deb".as_ref(),
        "--output".as_ref(),
        elsewhere.as_os_str(),
    ]);
    assert_eq!(paths, [elsewhere.join("hello_1.0.0-1_all.deb")]);
    assert!(!sandbox.path("dist").exists());
}

#[test]
fn the_working_tree_is_untouched() {
    let sandbox = full();
    let before = sandbox.snapshot();
    let elsewhere = sandbox.root().join("out");
    sandbox.build(["--output".as_ref(), elsewhere.as_os_str()]);
    assert_eq!(sandbox.snapshot(), before);
}

#[test]
fn a_tree_that_cannot_be_written_is_no_hindrance() {
    // A build backend that works in its source directory would fail, or leave `build/` and
    // `*.egg-info` behind.
    let sandbox = Sandbox::hello();
    let project = sandbox.project();
    let modes = |directory: u32| {
        for path in super::support::walk(&project) {
            if path.is_dir() {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(directory))
                    .unwrap();
            }
        }
        std::fs::set_permissions(&project, std::fs::Permissions::from_mode(directory)).unwrap();
    };
    modes(0o555);
    let outcome = sandbox
        .pkgapp(["build", "--format", "deb", "--output", "../out"])
        .outcome();
    modes(0o755);
    assert_eq!(outcome.status, 0, "{}", outcome.report);
}

#[test]
fn the_release_of_hello() {
    let sandbox = Sandbox::hello();
    let paths = sandbox
        .normal(&dump(&sandbox))
        .replace(&python().minor.replace('.', ""), "[PY]");
    let paths = paths.replace(&python().minor, "[PYTHON]");
    // Each Python's byte code has a length of its own.
    let without_size = |line: &str| match (line.ends_with(".pyc"), line.split(' ').nth(2)) {
        (true, Some(size)) => line.replacen(size, "[SIZE]", 1) + "\n",
        _ => format!("{line}\n"),
    };
    let paths: String = paths.lines().map(without_size).collect();
    golden("build/hello.txt", &paths).unwrap();
}

#[test]
fn every_part_of_a_wheel_has_its_place() {
    // Places: the "venv" installation scheme (sysconfig), which is what a release is.
    let sandbox = full();
    let paths = release(&dump(&sandbox));
    let minor = &python().minor;
    for path in [
        "bin/features".to_owned(),
        "bin/features-extra".to_owned(),
        "bin/future".to_owned(),
        "bin/shell".to_owned(),
        "bin/hello".to_owned(),
        "share/features/data.txt".to_owned(),
        "etc/features.conf".to_owned(),
        format!("include/site/python{minor}/features/features.h"),
        site("features/__init__.py"),
        site("features/größe, in cm.txt"),
        site("features/tool.sh"),
        site("features_pure.py"),
        site("features_plat.py"),
        site("features-2.0.dist-info/RECORD"),
        site("space/left.py"),
        site("space/right.py"),
        "app/motd.txt".to_owned(),
        "pyvenv.cfg".to_owned(),
        ".pkgapp/release.json".to_owned(),
    ] {
        assert!(
            paths.contains(&path),
            "{path} is not in the release:\n{}",
            paths.join("\n")
        );
    }
    for unwanted in [
        "direct_url.json",
        "uv_cache.json",
        "/backend.py",
        "requirements.txt",
    ] {
        assert!(
            !paths.iter().any(|path| path.ends_with(unwanted)),
            "{unwanted} is in the release"
        );
    }
}

#[test]
fn byte_code_is_there_and_is_never_checked() {
    // PEP 552: flags 1 is hash-based, without check. Bytes 4 to 8 of a pyc.
    let sandbox = full();
    let Some(release) = unpacked(&sandbox) else {
        return;
    };
    let pycs: Vec<_> = super::support::walk(&release)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "pyc"))
        .collect();
    assert!(
        pycs.iter().any(|path| path
            .to_string_lossy()
            .contains("features/__pycache__/__init__")),
        "{pycs:?}"
    );
    assert!(
        !pycs
            .iter()
            .any(|path| path.to_string_lossy().contains("template")),
        "a template was compiled"
    );
    for pyc in &pycs {
        assert_eq!(
            std::fs::read(pyc).unwrap()[4..8],
            [1, 0, 0, 0],
            "{}",
            pyc.display()
        );
    }
    // CPython itself: the code's file name is no path of the build, and a traceback shows the file
    // where it lies.
    let script = "import marshal, sys\nfor name in sys.argv[1:]:\n    print(marshal.loads(open(name, 'rb').read()[16:]).co_filename)";
    let names = text(
        Command::new(&python().path)
            .args(["-c", script])
            .args(&pycs),
    );
    assert!(
        !names.contains("unpacked") && !names.contains("/box") && !names.contains("cache"),
        "{names}"
    );
}

#[test]
fn record_is_true_of_what_was_installed() {
    let sandbox = full();
    let Some(release) = unpacked(&sandbox) else {
        return;
    };
    // `importlib.metadata` reads RECORD; every file that has a sum in it must have that sum on
    // disk.
    let script = r#"
import base64, hashlib, importlib.metadata, pathlib, sys
listed = set()
for distribution in importlib.metadata.distributions(path=[sys.argv[1]]):
    for file in distribution.files:
        path = file.locate()
        assert path.exists(), f"{file} is listed and missing"
        listed.add(path.resolve())
        if file.hash:
            sum = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, path.read_bytes()).digest()).rstrip(b"=").decode()
            assert sum == file.hash.value and path.stat().st_size == file.size, f"{file} differs"
        else:
            assert path.suffix == ".pyc" or path.name == "RECORD", f"{file} has no sum"
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    # The line that makes app/ importable is the release's own.
    own = path.name == "hello-app.pth"
    assert own or path.is_dir() or path.resolve() in listed, f"{path} is in no RECORD"
print(len(listed) > 20)
"#;
    let printed = text(
        Command::new(&python().path)
            .args(["-c", script])
            .arg(release.join(site(""))),
    );
    assert_eq!(printed, "True\n");
}

#[test]
fn what_run_commands_make_ships() {
    let sandbox = Sandbox::hello();
    sandbox.append(
        "pkgapp.toml",
        "\n[build]\nrun = [\n    \"sh -c 'mkdir -p share/made && echo made > share/made/file && ln -s file share/made/link'\",\n    \
         \"hello --version\",\n    \"python -c 'import hello, sys; open(\\\"share/made/prefix\\\", \\\"w\\\").write(\\\"ok\\\" if \
         hello.__file__.startswith(sys.prefix) else sys.prefix)'\",\n    \"rm app/motd.txt\",\n]\n",
    );
    let Some(release) = unpacked(&sandbox) else {
        return;
    };
    let read = |path: &str| std::fs::read_to_string(release.join(path)).unwrap();
    assert_eq!(read("share/made/file"), "made\n");
    assert_eq!(read("share/made/link"), "made\n");
    assert_eq!(
        read("share/made/prefix"),
        "ok",
        "the staged release's own interpreter runs, with its distributions"
    );
    assert!(
        !release.join("app/motd.txt").exists(),
        "what a command removes does not ship"
    );
    let stray: Vec<_> = super::support::walk(&release.join("app"))
        .into_iter()
        .collect();
    assert!(stray.is_empty(), "{stray:?}");
}

#[test]
fn a_version_that_only_git_knows_is_found_there() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    sandbox.edit(
        "pyproject.toml",
        "version = \"1.0.0\"",
        "dynamic = [\"version\"]",
    );
    sandbox.edit(
        "backend.py",
        "(\"name\", \"version\", \"description\")",
        "(\"name\", \"description\")",
    );
    let describe = "    import subprocess\n    command = [\"git\", \"describe\", \"--tags\", \"--dirty=+dirty\"]\n    \
                    texts.insert(1, subprocess.check_output(command, cwd=ROOT, text=True).strip()[1:])\n";
    sandbox.edit(
        "backend.py",
        "    scripts = re",
        &format!("{describe}    scripts = re"),
    );
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&git);
        command
            .arg("-C")
            .arg(sandbox.project())
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments);
        text(&mut command);
    };
    let built = || {
        sandbox.build(["--format", "deb"])[0]
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    sandbox.write(".gitignore", "dist\n");
    run(&["init", "--quiet"]);
    run(&["add", "."]);
    run(&["commit", "--quiet", "-m", "first"]);
    run(&["tag", "v1.2"]);
    let before = snapshot(&sandbox.path(".git"));
    assert_eq!(built(), "hello_1.2-1_all.deb");
    assert!(
        snapshot(&sandbox.path(".git")) == before,
        "the repository was written to"
    );
    // Nothing but the tag is new: what is cached for the other one must not be taken.
    run(&["tag", "--delete", "v1.2"]);
    run(&["tag", "v1.3"]);
    assert_eq!(built(), "hello_1.3-1_all.deb");
    sandbox.append("motd.txt", "more\n");
    assert_eq!(built(), "hello_1.3+dirty-1_all.deb");
}

#[test]
fn an_editable_install_of_the_application_is_the_application() {
    let sandbox = Sandbox::hello();
    let plain = sandbox.build(["--format", "deb"]);
    let plain = sandbox.dump(&plain[0]);
    // As `uv export` writes it, with hashes for all others.
    sandbox.append("requirements.txt", "-e .\n");
    let built = sandbox.build(["--format", "deb"]);
    assert_eq!(sandbox.dump(&built[0]), plain);
}

#[test]
fn a_configuration_further_up_is_pointed_at() {
    let sandbox = Sandbox::hello();
    let said = sandbox
        .pkgapp(["build"])
        .within(&sandbox.path("src"))
        .fails();
    assert_eq!(
        said,
        "error: there is no configuration in `[ROOT]/project/src`\n  \
         hint: a parent directory has one: `--config [ROOT]/project/pkgapp.toml`\n"
    );
}

#[test]
fn switches_are_variables_as_people_set_them() {
    let sandbox = Sandbox::hello();
    for (value, quiet) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("false", false),
        ("", false),
    ] {
        let outcome = sandbox
            .pkgapp(["build", "--format", "tar"])
            .env("PKGAPP_QUIET", value)
            .outcome();
        assert_eq!(
            (outcome.status, outcome.stderr.is_empty()),
            (0, quiet),
            "PKGAPP_QUIET={value}{}",
            outcome.report
        );
    }
}

#[test]
fn results_that_cannot_be_written_are_a_failure() {
    if !std::path::Path::new("/dev/full").exists() {
        skip("there is no /dev/full");
        return;
    }
    let sandbox = Sandbox::hello();
    let outcome = sandbox
        .pkgapp(["render", "--quiet"])
        .under(["sh", "-c", "exec \"$@\" >/dev/full", "sh"])
        .outcome();
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (
            1,
            "error: cannot write the results to stdout\n  cause: No space left on device (os error 28)\n"
        )
    );
}

#[test]
fn color_is_there_when_it_is_wanted() {
    let sandbox = Sandbox::hello();
    let failing = |flag: &str| {
        sandbox
            .pkgapp(["--config", "none.toml", "build", flag])
            .outcome()
            .stderr
    };
    assert!(failing("--color=always").starts_with("\x1b[1;31merror:\x1b[0m cannot read"));
    assert!(failing("--color=auto").starts_with("error: cannot read"));
}

#[test]
fn an_application_may_be_plain_files_alone() {
    let sandbox = Sandbox::new();
    let minor = &python().minor;
    sandbox.write(
        "pkgapp.toml",
        format!(
            "[app]\nname = \"site\"\nversion = \"2\"\nsource = \"\"\ninclude = [\"site/**\", \"run.py\"]\n\
             exclude = [\"**/tests/**\", \"*.bak\"]\n\n[python]\nversion = \"{minor}\"\nrequirements = []\n"
        ),
    );
    for file in [
        "site/a.html",
        "site/tests/t.py",
        "site/deep/b.css",
        "run.py",
        "site/old.bak",
        "other.py",
    ] {
        sandbox.write(file, file);
    }
    std::fs::set_permissions(
        sandbox.path("run.py"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let [deb] = &sandbox.build(["--format", "deb"])[..] else {
        panic!("one artifact")
    };
    let dump = sandbox.dump(deb);
    let of_app = |line: &&str| line.contains(" /opt/site/app/") && !line.contains("/__pycache__");
    let lines: Vec<&str> = dump.lines().filter(of_app).collect();
    let file = |mode: &str, path: &str| {
        format!(
            "-{mode} root:root {} sha256:{} /opt/site/app/{path}",
            path.len(),
            sha256(path.as_bytes())
        )
    };
    let directory = |path: &str| format!("drwxr-xr-x root:root - - /opt/site/app/{path}");
    // Whatever the developer's umask was: 0755 for what is executable, else 0644.
    assert_eq!(
        lines,
        [
            file("rwxr-xr-x", "run.py"),
            directory("site"),
            file("rw-r--r--", "site/a.html"),
            directory("site/deep"),
            file("rw-r--r--", "site/deep/b.css"),
        ]
    );
}

#[test]
fn an_sdist_becomes_a_wheel_first() {
    let sandbox = Sandbox::hello();
    let files = [("src/tool/__init__.py", "import hello\nVERSION = '3'\n")];
    sdist(&sandbox.path("wheels"), "tool", "3.0", &files);
    sandbox.append("requirements.txt", "--find-links wheels\ntool==3.0\n");
    let paths = release(&dump(&sandbox));
    assert!(paths.contains(&site("tool/__init__.py")), "{paths:?}");
    assert!(
        paths.contains(&site("tool-3.0.dist-info/METADATA")),
        "{paths:?}"
    );
}

#[test]
fn markers_are_of_the_target_and_not_of_this_machine() {
    let sandbox = Sandbox::hello();
    for name in ["always", "never"] {
        Wheel::simple(name, "1.0").write(&sandbox.path("wheels"));
    }
    sandbox.append(
        "requirements.txt",
        "--find-links wheels\nalways==1.0; sys_platform == 'linux'\nnever==1.0; sys_platform == 'win32'\n\
         absent==1.0; python_version < '3'\n",
    );
    let paths = release(&dump(&sandbox));
    assert!(paths.contains(&site("always/__init__.py")));
    assert!(!paths.contains(&site("never/__init__.py")));
}

#[test]
fn requirements_may_be_spread_over_files() {
    let sandbox = Sandbox::hello();
    for (name, version) in [("one", "1.0"), ("two", "2.0"), ("three", "3.0")] {
        Wheel::simple(name, version).write(&sandbox.path("my wheels"));
    }
    sandbox.write(
        "requirements.txt",
        "-r deep/base.txt # more\n--no-index\n-c limits.txt\nOne == \\\n    1.0\n",
    );
    sandbox.write(
        "deep/base.txt",
        "--find-links '../my wheels'\n\n-r more.txt\ntwo==2.0 ; python_version > '3'\n",
    );
    sandbox.write(
        "deep/more.txt",
        "three @ ${PLACE}/three-3.0-py3-none-any.whl\n",
    );
    sandbox.write("limits.txt", "two<3\nunrelated==9\n");
    let place = format!(
        "file://{}",
        sandbox
            .path("my wheels")
            .display()
            .to_string()
            .replace(' ', "%20")
    );
    let run = sandbox
        .pkgapp(["build", "--format", "deb"])
        .env("PLACE", place);
    let [deb] = &run.artifacts()[..] else {
        panic!("one artifact")
    };
    let dump = sandbox.dump(deb);
    let paths = release(&dump);
    for module in ["one", "two", "three"] {
        assert!(
            paths.contains(&site(&format!("{module}/__init__.py"))),
            "{module}"
        );
    }
}

#[test]
fn a_pylock_is_as_good_as_requirements() {
    let sandbox = Sandbox::hello();
    let wheel = Wheel::simple("one", "1.0");
    wheel.write(&sandbox.path("wheels"));
    sandbox.write(
        "pylock.toml",
        format!(
            "lock-version = \"1.0\"\ncreated-by = \"test\"\n\n[[packages]]\nname = \"one\"\nversion = \"1.0\"\n\n\
             [[packages.wheels]]\nname = \"one-1.0-py3-none-any.whl\"\npath = \"wheels/one-1.0-py3-none-any.whl\"\n\
             hashes = {{ sha256 = \"{}\" }}\n\n[[packages]]\nname = \"two\"\nversion = \"1.0\"\n\
             marker = \"sys_platform == 'win32'\"\n[[packages.wheels]]\nname = \"two-1.0-py3-none-any.whl\"\n\
             path = \"absent/two-1.0-py3-none-any.whl\"\nhashes = {{ sha256 = \"{}\" }}\n",
            sha256(&wheel.bytes()),
            sha256(b"two")
        ),
    );
    sandbox.edit("pkgapp.toml", "requirements.txt", "pylock.toml");
    let paths = release(&dump(&sandbox));
    assert!(paths.contains(&site("one/__init__.py")));
    assert!(!paths.contains(&site("two/__init__.py")));
}

#[test]
fn secrets_of_the_environment_do_not_ship() {
    let sandbox = full();
    sandbox.append(
        "requirements.txt",
        "--extra-index-url https://user:${TOKEN}@index.invalid/simple\n",
    );
    let run = sandbox
        .pkgapp(["-v", "build", "--format", "tar.gz"])
        .env("TOKEN", "verysecret")
        .outcome();
    assert_eq!(run.status, 0, "{}", run.report);
    assert!(!run.stderr.contains("verysecret"), "{}", run.stderr);
    let directory = sandbox.root().join("unpacked");
    if foreign::unpack(&sandbox.path(run.stdout.trim()), &directory).is_none() {
        return;
    }
    for path in super::support::walk(&directory)
        .into_iter()
        .filter(|path| path.is_file() && !path.is_symlink())
    {
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes.windows(10).any(|window| window == b"verysecret"),
            "{} holds the secret",
            path.display()
        );
    }
}

#[test]
fn render_prints_what_is_generated_and_writes_nothing() {
    let sandbox = Sandbox::hello();
    let before = sandbox.snapshot();
    let printed = sandbox.pkgapp(["render"]).stdout();
    assert_eq!(sandbox.snapshot(), before);
    let normal = sandbox
        .normal(&printed)
        .replace(&python().minor, "[PYTHON]");
    // The release's size, which its byte code is a part of.
    let normal: String = normal
        .lines()
        .map(|line| match line.split_once("\"size\": ") {
            Some((before, _)) => format!("{before}\"size\": [SIZE]\n"),
            None => format!("{line}\n"),
        })
        .collect();
    golden("build/render.txt", &normal).unwrap();
}

#[test]
fn inspect_tells_what_was_built() {
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[features()]);
    let mut differences = String::new();
    for artifact in sandbox.build(["--format", "all"]) {
        let printed = sandbox
            .pkgapp(["inspect".as_ref(), artifact.as_os_str()])
            .stdout();
        let normal = sandbox
            .normal(&printed)
            .replace(&python().minor, "[PYTHON]");
        let name = artifact.extension().unwrap().to_str().unwrap();
        differences += &golden(&format!("build/inspect.{name}.txt"), &normal)
            .err()
            .unwrap_or_default();
    }
    assert!(differences.is_empty(), "{differences}");
}

/// As a hook of another repository's runs it.
#[test]
fn a_hooks_repository_is_not_taken_for_the_applications() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    sandbox.write(".gitignore", "dist\n");
    let commit = |directory: &Path| {
        let run = |words: &[&str]| {
            let mut command = Command::new(&git);
            command.current_dir(directory).args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.com",
            ]);
            text(command.args(words)).trim().to_owned()
        };
        run(&["init", "--quiet", "."]);
        run(&["add", "."]);
        run(&[
            "commit",
            "--quiet",
            "--message",
            directory.to_str().unwrap(),
        ]);
        run(&["rev-parse", "HEAD"])
    };
    let own = commit(&sandbox.project());
    let other = sandbox.root().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "x").unwrap();
    commit(&other);
    for variables in [
        &["GIT_DIR"][..],
        &["GIT_DIR", "GIT_WORK_TREE"],
        &["GIT_INDEX_FILE"],
        &["GIT_OBJECT_DIRECTORY"],
        &["GIT_COMMON_DIR"],
        &["GIT_NAMESPACE"],
    ] {
        let mut run = sandbox.pkgapp(["build", "--format", "tar"]);
        for name in variables {
            let value = match *name {
                "GIT_WORK_TREE" => other.clone(),
                "GIT_INDEX_FILE" => other.join(".git/index"),
                "GIT_OBJECT_DIRECTORY" => other.join(".git/objects"),
                _ => other.join(".git"),
            };
            run = run.env(name, value);
        }
        let artifact = &run.artifacts()[0];
        let said = sandbox
            .pkgapp(["inspect", artifact.to_str().unwrap()])
            .stdout();
        let line = said
            .lines()
            .find(|line| line.starts_with("Commit"))
            .unwrap_or(&said);
        assert!(line.ends_with(&own), "{variables:?}: {line}, and not {own}");
    }
}

#[test]
fn a_version_that_gets_other_content_is_warned_of() {
    let sandbox = Sandbox::hello();
    let build = || {
        sandbox
            .pkgapp(["build", "--format", "deb", "--format", "tar", "--json"])
            .outcome()
    };
    let changed = |outcome: &Outcome| outcome.stdout.matches("\"changed\":true").count();
    let warned = |outcome: &Outcome| outcome.stderr.matches("which had other content").count();
    let first = build();
    assert_eq!(
        (first.status, warned(&first), changed(&first)),
        (0, 0, 0),
        "{}",
        first.stderr
    );
    let same = build();
    assert_eq!((warned(&same), changed(&same)), (0, 0), "{}", same.stderr);
    sandbox.append("src/hello/__init__.py", "\n# another\n");
    let other = build();
    assert_eq!(
        (warned(&other), changed(&other)),
        (1, 2),
        "{}{}",
        other.stderr,
        other.stdout
    );
    // Another revision is another package.
    sandbox.append("src/hello/__init__.py", "\n# and another\n");
    sandbox.append("pkgapp.toml", "\n[package]\nrevision = \"2\"\n");
    let revised = build();
    assert_eq!(
        (revised.status, warned(&revised)),
        (0, 0),
        "{}",
        revised.stderr
    );
}

#[test]
fn an_automatic_revision_follows_the_commit_and_what_is_in_none() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    sandbox.append("pkgapp.toml", "\n[package]\nrevision = \"auto\"\n");
    sandbox.write(".gitignore", "dist\n");
    let run = |time: &str, arguments: &[&str]| {
        let mut command = Command::new(&git);
        command
            .arg("-C")
            .arg(sandbox.project())
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments);
        text(command.env("GIT_COMMITTER_DATE", time))
            .trim()
            .to_owned()
    };
    let built = || {
        let name = sandbox.build(["--format", "deb"])[0]
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        name.strip_prefix("hello_")
            .unwrap()
            .strip_suffix("_all.deb")
            .unwrap()
            .to_owned()
    };
    let bare = built();
    run("1700000000 +0100", &["init", "--quiet"]);
    run("1700000000 +0100", &["add", "."]);
    run("1700000000 +0100", &["commit", "--quiet", "-m", "first"]);
    let hash = run("", &["rev-parse", "HEAD"]);
    let clean = built();
    assert_eq!(clean, format!("1.0.0-20231114221320.g{}", &hash[..9]));
    sandbox.append("src/hello/__init__.py", "\n# one\n");
    let dirty = built();
    // dist/ has no say in it.
    std::fs::remove_dir_all(sandbox.path("dist")).unwrap();
    assert_eq!(built(), dirty);
    sandbox.append("src/hello/__init__.py", "\n# two\n");
    assert_ne!(built(), dirty);
    run(
        "1700000001 +0100",
        &["commit", "--quiet", "-a", "-m", "second"],
    );
    let next = built();
    let mut all = vec![bare.clone()];
    all.extend([clean, dirty, next]);
    assert!(bare.starts_with("1.0.0-20200101000000+"), "{bare}");
    let Some(dpkg) = tool("dpkg") else { return };
    for pair in all.windows(2) {
        let mut compare = Command::new(&dpkg);
        assert!(
            compare
                .args(["--compare-versions", &pair[0], "lt", &pair[1]])
                .status()
                .unwrap()
                .success(),
            "{pair:?}"
        );
    }
}
