//! Code of this machine and of repositories: working trees, build requirements, libraries,
//! Mercurial.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::tools::{output, python, text, tool};
use super::support::wheel::{Wheel, sha256};
use super::support::{Sandbox, fixture, foreign, snapshot};

/// A build backend that compiles `answer.c` into a wheel, with the standard library and cc alone.
const COMPILING: &str = r#"
import base64, hashlib, os, shlex, subprocess, sys, sysconfig, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    python = "cp%d%d" % sys.version_info[:2]
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    words = lambda name: shlex.split(os.environ.get(name, ""))
    command = ["cc", "-shared", "-fPIC", *words("CFLAGS"), "-o", "answer.so", "answer.c", *words("LDFLAGS")]
    with open("options") as options:
        subprocess.run(command + shlex.split(options.read()), check=True)
    info = "answer-1.0.dist-info"
    members = {"answer/__init__.py": b"", info + "/METADATA": b"Metadata-Version: 2.1\nName: answer\nVersion: 1.0\n"}
    members[info + "/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: %s-%s-%s\n" % (python, python, platform)).encode()
    with open("answer.so", "rb") as file:
        members["answer/answer.so"] = file.read()
    digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    record = "".join("%s,sha256=%s,%d\n" % (path, digest(data), len(data)) for path, data in members.items())
    members[info + "/RECORD"] = (record + info + "/RECORD,,\n").encode()
    wheel = "answer-1.0-%s-%s-%s.whl" % (python, python, platform)
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return wheel
"#;

/// Where the release of hello lies when it is unpacked.
fn unpacked(sandbox: &Sandbox) -> Option<PathBuf> {
    let [tar] = &sandbox.build(["--offline", "--format", "tar.gz"])[..] else {
        panic!("one artifact")
    };
    let directory = sandbox.root().join("unpacked");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    foreign::unpack(tar, &directory)?;
    Some(directory.join("hello-1.0.0"))
}

/// A project below the sandbox's with hello's backend and one module.
fn library(sandbox: &Sandbox, directory: &str, module: &str) {
    let backend = std::fs::read_to_string(fixture("hello").join("backend.py")).unwrap();
    sandbox.write(&format!("{directory}/backend.py"), backend);
    sandbox.write(
        &format!("{directory}/pyproject.toml"),
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\n\
         name = \"somelib\"\nversion = \"1.0\"\ndescription = \"A library\"\n",
    );
    sandbox.write(&format!("{directory}/src/somelib.py"), module);
}

fn record(release: &Path) -> String {
    std::fs::read_to_string(release.join(".pkgapp/release.json")).unwrap()
}

#[test]
fn an_editable_ships_as_it_lies_there() {
    let sandbox = Sandbox::hello();
    library(&sandbox, "lib", "value = 1\n");
    // As an environment's tools leave them, which must neither ship nor change.
    sandbox.write(
        "lib/somelib.egg-info/PKG-INFO",
        "Metadata-Version: 2.1\nName: somelib\nVersion: 0\n",
    );
    sandbox.append("requirements.txt", "-e ./lib\n");
    let before = snapshot(&sandbox.path("lib"));
    let Some(release) = unpacked(&sandbox) else {
        return;
    };
    assert_eq!(snapshot(&sandbox.path("lib")), before);
    let python = release.join("bin/python");
    let value = || text(Command::new(&python).args(["-c", "import somelib; print(somelib.value)"]));
    assert_eq!(value(), "1\n");
    let first = record(&release);
    assert!(
        first.contains("built from its working tree (sha256:"),
        "{first}"
    );
    assert!(!first.contains(", commit "), "{first}");
    // An edit ships, without a new version or commit.
    sandbox.write("lib/src/somelib.py", "value = 2\n");
    let release = unpacked(&sandbox).unwrap();
    assert_eq!(value(), "2\n");
    assert_ne!(record(&release), first);
    // The commit is in the record where there is one.
    let Some(git) = tool("git") else { return };
    let run = |words: &[&str]| {
        let who = [
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.com",
            "-c",
            "commit.gpgsign=false",
        ];
        text(
            Command::new(&git)
                .current_dir(sandbox.path("lib"))
                .args(who)
                .args(words),
        )
    };
    run(&["init", "--quiet"]);
    run(&["add", "."]);
    run(&["commit", "--quiet", "-m", "first"]);
    let commit = run(&["rev-parse", "HEAD"]);
    let said = record(&unpacked(&sandbox).unwrap());
    assert!(
        said.contains(&format!(", commit {})", commit.trim())),
        "{said}"
    );
    sandbox.write("lib/src/somelib.py", "value = 3\n");
    let said = record(&unpacked(&sandbox).unwrap());
    assert!(
        said.contains(&format!(", commit {}-dirty)", commit.trim())),
        "{said}"
    );
}

#[test]
fn build_requirements_come_in_the_versions_of_the_constraints() {
    let sandbox = Sandbox::hello();
    let builder = |version: &str| {
        let code = std::fs::read_to_string(fixture("hello").join("backend.py")).unwrap();
        // What it makes says which version has made it.
        let code = code
            .replace("os.path.dirname(os.path.abspath(__file__))", "os.getcwd()")
            .replace(
                "    record = \"\"\n",
                &format!(
                    "    members[\"made_by.py\"] = b\"version = {version}\\n\"\n    record = \"\"\n"
                ),
            );
        Wheel::new("builder", version)
            .file("builder.py", code)
            .write(&sandbox.path("links"))
    };
    let (one, _two) = (builder("1"), builder("2"));
    library(&sandbox, "lib", "");
    sandbox.edit(
        "lib/pyproject.toml",
        "requires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]",
        "requires = [\"builder\"]\nbuild-backend = \"builder\"",
    );
    std::fs::remove_file(sandbox.path("lib/backend.py")).unwrap();
    sandbox.append(
        "requirements.txt",
        "--no-index\n--find-links links\n./lib\n",
    );
    let made_by = |path: Option<&str>| {
        let mut run = sandbox.pkgapp(["build", "--offline", "--format", "tar.gz"]);
        if let Some(path) = path {
            run = run.env("PATH", path);
        }
        let directory = sandbox.root().join("unpacked");
        _ = std::fs::remove_dir_all(&directory);
        foreign::unpack(&run.artifacts()[0], &directory).unwrap();
        text(
            Command::new(directory.join("hello-1.0.0/bin/python"))
                .args(["-c", "import made_by; print(made_by.version)"]),
        )
    };
    if tool("tar").is_none() {
        return;
    }
    // With uv where it is, and with pip alone.
    let pip = format!(
        "{}:/usr/bin:/bin",
        python().path.parent().unwrap().display()
    );
    let tools = if tool("uv").is_some() {
        vec![None, Some(pip.as_str())]
    } else {
        vec![Some(pip.as_str())]
    };
    let configuration = std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap();
    for path in tools {
        sandbox.write("pkgapp.toml", &configuration);
        assert_eq!(
            made_by(path),
            "2\n",
            "{path:?}: the newest without constraints"
        );
        sandbox.append("pkgapp.toml", "\n[build]\nconstraints = \"build.txt\"\n");
        sandbox.write("build.txt", "builder==1\n");
        assert_eq!(made_by(path), "1\n", "{path:?}");
        // Their content counts, not their name.
        sandbox.write("build.txt", "builder<3\n");
        assert_eq!(made_by(path), "2\n", "{path:?}");
        let hash = sha256(&std::fs::read(&one).unwrap());
        sandbox.write("build.txt", format!("builder==1 --hash=sha256:{hash}\n"));
        assert_eq!(made_by(path), "1\n", "{path:?}");
        sandbox.write("build.txt", format!("builder==2 --hash=sha256:{hash}\n"));
        let error = sandbox.pkgapp(["build", "--offline"]).fails();
        assert!(
            error.starts_with("error: cannot build a wheel of "),
            "{path:?}: {error}"
        );
    }
}

/// A sandbox whose `answer` is linked with a library in a directory of this machine, which is
/// returned.
fn linked() -> Option<(Sandbox, PathBuf)> {
    let cc = tool("cc")?;
    let sandbox = Sandbox::hello();
    let directory = sandbox.root().join("opt/lib");
    std::fs::create_dir_all(&directory).unwrap();
    compile_libraries(&cc, &directory, 42);
    sandbox.write(
        "answer/pyproject.toml",
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\n\
         name = \"answer\"\nversion = \"1.0\"\n",
    );
    sandbox.write("answer/backend.py", COMPILING);
    sandbox.write(
        "answer/answer.c",
        "int outer(void); int answer(void) { return outer(); }\n",
    );
    let place = directory.display();
    sandbox.write(
        "answer/options",
        format!("-L{place} -louter -Wl,-rpath,{place}"),
    );
    sandbox.append("requirements.txt", "./answer\n");
    Some((sandbox, directory))
}

/// `libouter.so.1` needs `libinner.so.2`, which knows the answer.
fn compile_libraries(cc: &Path, directory: &Path, answer: i32) {
    let compile = |name: &str, soname: &str, code: &str, options: &[&str]| {
        std::fs::write(directory.join(format!("{name}.c")), code).unwrap();
        let mut command = Command::new(cc);
        command
            .current_dir(directory)
            .args(["-shared", "-fPIC", "-o", soname, &format!("{name}.c")])
            .args(options);
        output(command.arg(format!("-Wl,-soname,{soname}")));
        _ = std::fs::remove_file(directory.join(format!("lib{name}.so")));
        std::os::unix::fs::symlink(soname, directory.join(format!("lib{name}.so"))).unwrap();
    };
    compile(
        "inner",
        "libinner.so.2",
        &format!("int inner(void) {{ return {answer}; }}\n"),
        &[],
    );
    let place = format!("-Wl,-rpath,{}", directory.display());
    compile(
        "outer",
        "libouter.so.1",
        "int inner(void); int outer(void) { return inner(); }\n",
        &["-L.", "-linner", &place],
    );
}

fn answer(release: &Path) -> String {
    let script =
        "import ctypes, answer; print(ctypes.CDLL(answer.__path__[0] + '/answer.so').answer())";
    text(Command::new(release.join("bin/python")).args(["-c", script]))
}

#[test]
fn a_library_that_no_host_has_is_told_and_ships_if_it_may() {
    let Some((sandbox, directory)) = linked() else {
        return;
    };
    let error = sandbox.pkgapp(["build", "--offline"]).fails();
    assert!(
        error.contains("`answer/answer.so` needs `libouter.so.1`, which hosts do not have\n"),
        "{error}"
    );
    assert!(
        error.contains("it was linked with `[ROOT]/opt/lib/libouter.so.1`"),
        "{error}"
    );
    assert!(
        error.contains("add `libraries = { \"libouter.so.1\" = \"graft\" }` to `[build]`"),
        "{error}"
    );
    sandbox.append(
        "pkgapp.toml",
        "\n[build.libraries]\n\"libouter.so.1\" = \"graft\"\n",
    );
    let error = sandbox.pkgapp(["build", "--offline"]).fails();
    assert!(
        error.contains("/opt/lib/libouter.so.1` needs `libinner.so.2`, which hosts do not have"),
        "{error}"
    );
    sandbox.append("pkgapp.toml", "\"libinner.so.2\" = \"graft\"\n");
    let Some(release) = unpacked(&sandbox) else {
        return;
    };
    std::fs::rename(&directory, sandbox.root().join("opt/away")).unwrap();
    assert_eq!(answer(&release), "42\n");
    let libs = super::support::walk(&release.join("lib"))
        .into_iter()
        .find(|path| path.ends_with("answer.libs"))
        .unwrap();
    let mut names: Vec<_> = std::fs::read_dir(libs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(
        names[0].starts_with("libinner-") && names[0].ends_with(".so.2"),
        "{names:?}"
    );
    assert!(
        names[1].starts_with("libouter-") && names[1].ends_with(".so.1"),
        "{names:?}"
    );
    // Another library of the same name is another wheel.
    std::fs::rename(sandbox.root().join("opt/away"), &directory).unwrap();
    compile_libraries(&tool("cc").unwrap(), &directory, 43);
    assert_eq!(answer(&unpacked(&sandbox).unwrap()), "43\n");
}

#[test]
fn a_library_that_hosts_have_is_found_where_it_was_linked() {
    let Some((sandbox, directory)) = linked() else {
        return;
    };
    sandbox.append(
        "pkgapp.toml",
        "\n[build.libraries]\n\"libouter.so.1\" = \"depend\"\n",
    );
    let Some(release) = unpacked(&sandbox) else {
        return;
    };
    assert_eq!(answer(&release), "42\n");
    let object = super::support::walk(&release)
        .into_iter()
        .find(|path| path.ends_with("answer/answer.so"))
        .unwrap();
    let Some(readelf) = tool("readelf") else {
        return;
    };
    let said = text(Command::new(readelf).args(["-d", "--wide"]).arg(object));
    assert!(
        said.contains(&format!("[{}]", directory.display())),
        "{said}"
    );
}

#[test]
fn compilers_and_their_flags_count() {
    let Some(_cc) = tool("cc") else { return };
    let sandbox = Sandbox::hello();
    sandbox.write(
        "answer/pyproject.toml",
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\nname = \"answer\"\nversion = \"1.0\"\n",
    );
    sandbox.write("answer/backend.py", COMPILING);
    sandbox.write("answer/options", "-Wl,-rpath,/build/host/lib");
    sandbox.write("answer/answer.c", "int answer(void) { return ANSWER; }\n");
    sandbox.append("requirements.txt", "./answer\n");
    if tool("tar").is_none() {
        return;
    }
    for number in ["1", "2", "1"] {
        let run = sandbox
            .pkgapp(["build", "--offline", "--format", "tar.gz"])
            .env("CFLAGS", format!("-DANSWER={number}"));
        let directory = sandbox.root().join("unpacked");
        _ = std::fs::remove_dir_all(&directory);
        foreign::unpack(&run.artifacts()[0], &directory).unwrap();
        let release = directory.join("hello-1.0.0");
        assert_eq!(answer(&release).trim(), number);
        // The run path goes without a trace.
        let object = super::support::walk(&release)
            .into_iter()
            .find(|path| path.ends_with("answer/answer.so"))
            .unwrap();
        assert!(memchr::memmem::find(&std::fs::read(object).unwrap(), b"/build").is_none());
    }
    let built = std::fs::read_dir(sandbox.cache().join("built"))
        .unwrap()
        .count();
    // Two of the extension, one of hello itself for each set of flags.
    assert_eq!(built, 4, "the third build found what the first one made");
}

/// A sandbox whose `answer` is compiled from this code, with these options.
fn compiled(code: &str, options: &str) -> Option<Sandbox> {
    tool("cc")?;
    tool("tar")?;
    let sandbox = Sandbox::hello();
    sandbox.write(
        "answer/pyproject.toml",
        "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\n\
         name = \"answer\"\nversion = \"1.0\"\n",
    );
    sandbox.write("answer/backend.py", COMPILING);
    sandbox.write("answer/answer.c", code);
    sandbox.write("answer/options", options);
    sandbox.append("requirements.txt", "./answer\n");
    Some(sandbox)
}

fn object(release: &Path) -> Vec<u8> {
    let objects = super::support::walk(release).into_iter();
    std::fs::read(
        objects
            .into_iter()
            .find(|path| path.ends_with("answer/answer.so"))
            .unwrap(),
    )
    .unwrap()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn text_of_authors_is_no_leak() {
    // A path as an author may write it, and one of two literals; neither is a directory that the
    // build names.
    let code = "const char *log(void) { return \"/tmp/answer.log\"; }\n\
                const char *cache(void) { return \"/tmp/\" \"answer/cache\"; }\n\
                int answer(void) { return 42; }\n";
    let Some(sandbox) = compiled(code, "") else {
        return;
    };
    let home = sandbox.root().join("home").display().to_string();
    let text = format!(
        "LOG = '/tmp/hello.log'\nKEY = '{home}/.ssh/id'\nTREE = '{}'\n",
        sandbox.project().display()
    );
    sandbox.write("site/settings.py", &text);
    sandbox.write("deploy/hello.toml", "spool = \"/tmp/spool\"\n");
    sandbox.edit(
        "pkgapp.toml",
        "[\"motd.txt\"]",
        "[\"motd.txt\", \"site/**\"]",
    );
    sandbox.append(
        "pkgapp.toml",
        &format!(
            "\n[build]\nrun = [\"cp app/site/settings.py app/copy.txt\"]\n\n[service.web]\nexec = \"hello\"\n\
             env = {{ KEY = \"{home}/.ssh/id\", TMPDIR = \"/tmp/hello\" }}\n"
        ),
    );
    let release = unpacked(&sandbox).unwrap();
    assert_eq!(answer(&release), "42\n");
    assert_eq!(
        std::fs::read_to_string(release.join("app/copy.txt")).unwrap(),
        text
    );
    // The second time from the cache.
    unpacked(&sandbox).unwrap();
    // What a command writes of its own accord is none of the author's text.
    sandbox.edit(
        "pkgapp.toml",
        "cp app/site/settings.py app/copy.txt",
        "sh -c 'echo $HOME > app/copy.txt'",
    );
    let error = sandbox.pkgapp(["build", "--offline"]).fails();
    assert!(
        error.contains("`/opt/hello/app/copy.txt` contains the path of the cache, "),
        "{error}"
    );
}

#[test]
fn compiled_code_names_no_header_below_the_home_directory_and_no_source() {
    let code = "#include \"header.h\"\nint answer(void) { return file()[0] == 0 ? 0 : 42; }\n";
    let Some(sandbox) = compiled(code, "-g") else {
        return;
    };
    let include = sandbox.root().join("home/python/include");
    sandbox.write(
        "../home/python/include/header.h",
        "static const char *file(void) { return __FILE__; }\n",
    );
    sandbox.write("answer/options", format!("-g -I{}", include.display()));
    let root = sandbox.root().display().to_string();
    let release = unpacked(&sandbox).unwrap();
    assert_eq!(answer(&release), "42\n");
    let bytes = object(&release);
    assert!(
        holds(&bytes, "python/include/header.h"),
        "the compiler wrote another name"
    );
    assert!(!holds(&bytes, &root) && !holds(&bytes, ".debug_info"));
    sandbox.append("pkgapp.toml", "\n[build]\ndebug = true\n");
    let bytes = object(&unpacked(&sandbox).unwrap());
    assert!(!holds(&bytes, &root) && holds(&bytes, ".debug_info"));
}

#[test]
fn a_path_that_a_build_put_into_compiled_code_is_named_with_its_origin() {
    let Some(sandbox) = compiled("const char *place(void) { return PLACE; }\n", "") else {
        return;
    };
    let place = sandbox.root().join("home/lib/python").display().to_string();
    sandbox.edit(
        "answer/backend.py",
        "words(\"CFLAGS\")",
        "words(\"CFLAGS\"), '-DPLACE=\"%s/lib/python\"' % os.environ[\"HOME\"]",
    );
    let error = sandbox.pkgapp(["build", "--offline"]).fails();
    let named = format!(
        "answer/answer.so` contains the path of the home directory, `{}`",
        sandbox.normal(&place)
    );
    assert!(
        error.contains(&named) && error.contains("distribution `answer 1.0`"),
        "{error}"
    );
}

#[test]
fn a_mercurial_repository_is_built_at_its_commit() {
    let Some(hg) = tool("hg") else { return };
    let sandbox = Sandbox::hello();
    library(&sandbox, "../repository/sub", "value = 1\n");
    let run = |words: &[&str]| {
        let mut command = Command::new(&hg);
        command
            .env("HGPLAIN", "1")
            .current_dir(sandbox.root().join("repository"))
            .args(words);
        text(&mut command).trim().to_owned()
    };
    run(&["init"]);
    run(&["commit", "--quiet", "--addremove", "-u", "x", "-m", "first"]);
    let commit = run(&["log", "-r", ".", "-T", "{node}"]);
    sandbox.write("../repository/sub/src/somelib.py", "value = 2\n");
    run(&["commit", "--quiet", "-u", "x", "-m", "second"]);
    let url = format!("file://{}", sandbox.root().join("repository").display());
    sandbox.append(
        "requirements.txt",
        &format!("somelib @ hg+{url}@{commit}#subdirectory=sub\n"),
    );
    let said = sandbox.pkgapp(["build", "--offline"]).fails();
    assert!(
        said.contains("is not in the cache, but the build is offline"),
        "{said}"
    );
    sandbox.build(["--format", "deb"]);
    let release = unpacked(&sandbox).unwrap();
    let script = "import somelib; print(somelib.value)";
    assert_eq!(
        text(Command::new(release.join("bin/python")).args(["-c", script])),
        "1\n"
    );
    assert!(
        record(&release).contains(&format!("built from hg+{url}@{commit}")),
        "{}",
        record(&release)
    );
    let unknown = "0".repeat(40);
    sandbox.edit("requirements.txt", &commit, &unknown);
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(said.contains("hg failed with exit status: 255"), "{said}");
}
