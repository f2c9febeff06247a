//! Eggs that setuptools makes here, in a release and, by way of the cache's wheels, under pip.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::server::{Api, Fault, Index};
use super::support::tools::{Setuptools, output, setuptools, text};
use super::support::wheel::{Wheel, sha256};
use super::support::{Sandbox, foreign, walk};

/// Projects for setup.py, and which eggs to make of them.
struct Eggs {
    sandbox: Sandbox,
    setuptools: Setuptools,
}

impl Eggs {
    /// `None` if there is no setuptools (see [`setuptools`]).
    fn new() -> Option<Self> {
        let setuptools = setuptools()?;
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.path("eggs")).unwrap();
        Some(Self {
            sandbox,
            setuptools,
        })
    }

    /// Makes an egg with `bdist_egg`, and returns its place in `eggs/`.
    fn make(&self, name: &str, setup: &str, files: &[(&str, &str)]) -> PathBuf {
        let source = self.sandbox.root().join("sources").join(name);
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(
            source.join("setup.py"),
            format!("from setuptools import setup, Extension\nsetup({setup})\n"),
        )
        .unwrap();
        for (path, content) in files {
            std::fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
            std::fs::write(source.join(path), content).unwrap();
        }
        output(self.setuptools.command().current_dir(&source).args([
            "setup.py",
            "-q",
            "bdist_egg",
        ]));
        let made: Vec<PathBuf> = walk(&source.join("dist"))
            .into_iter()
            .filter(|path| path.is_file())
            .collect();
        let [egg] = &made[..] else { panic!("{made:?}") };
        let place = self.sandbox.path("eggs").join(egg.file_name().unwrap());
        std::fs::copy(egg, &place).unwrap();
        place
    }

    /// Puts an unpacked egg in the place of a zipped one.
    fn unpack(&self, egg: &Path) {
        let aside = egg.with_extension("zip");
        std::fs::rename(egg, &aside).unwrap();
        std::fs::create_dir(egg).unwrap();
        output(
            self.setuptools
                .command()
                .args(["-m", "zipfile", "-e"])
                .arg(&aside)
                .arg(egg),
        );
        std::fs::remove_file(aside).unwrap();
    }

    fn write(&self, requirements: &str) {
        let python = &self.setuptools.minor;
        self.sandbox.write("requirements.txt", requirements);
        self.sandbox.write(
            "pkgapp.toml",
            format!(
                "[app]\nname = \"demo\"\nversion = \"1.0\"\n\n[python]\nversion = \"{python}\"\n"
            ),
        );
    }

    /// Builds a tarball and returns the unpacked release.
    fn release(&self) -> Option<PathBuf> {
        let tar = &self.sandbox.build(["--offline", "--format", "tar.gz"])[0];
        let directory = self.sandbox.root().join("release");
        foreign::unpack(tar, &directory)?;
        Some(directory.join("demo-1.0"))
    }

    /// What an expression is in the release.
    fn python(&self, release: &Path, script: &str) -> String {
        text(Command::new(release.join("bin/python")).args(["-c", script]))
            .trim()
            .to_owned()
    }

    /// The wheels that eggs have become.
    fn wheels(&self) -> Vec<PathBuf> {
        let is_wheel =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
        let mut wheels: Vec<PathBuf> = walk(&self.sandbox.cache().join("built"))
            .into_iter()
            .filter(is_wheel)
            .collect();
        wheels.sort_by_key(|path| path.file_name().unwrap().to_owned());
        wheels
    }

    /// Installs all wheels with pip into a virtual environment, checks them, and returns its
    /// `bin/`.
    fn install(&self) -> PathBuf {
        let environment = self.sandbox.root().join("environment");
        let mut venv = self.setuptools.command();
        output(venv.args(["-m", "venv", "--without-pip"]).arg(&environment));
        let python = environment.join("bin/python");
        let mut pip = self.setuptools.command();
        pip.args(["-m", "pip", "--disable-pip-version-check", "--python"])
            .arg(&python);
        output(
            pip.args(["install", "--quiet", "--no-index", "--no-deps"])
                .args(self.wheels()),
        );
        let mut check = self.setuptools.command();
        output(
            check
                .args(["-m", "pip", "--disable-pip-version-check", "--python"])
                .arg(&python)
                .arg("check"),
        );
        environment.join("bin")
    }
}

const PURE: &str = "name='Pure.Demo', version='1.0', packages=['pure'], package_data={'pure': ['data.txt']}, \
    scripts=['tool.py', 'tool.sh'], install_requires=['Six_Like>=1'], extras_require={'fast': ['speed'], \
    ':python_version<\"3\"': ['futures']}, entry_points={'console_scripts': ['pure-demo = pure:main']}, \
    description='A demo', license='MIT', dependency_links=['https://example.com/links']";

fn pure(eggs: &Eggs) -> PathBuf {
    eggs.make(
        "pure",
        PURE,
        &[
            (
                "pure/__init__.py",
                "def main():\n    print('pure', __file__.rpartition('/')[2])\n",
            ),
            ("pure/data.txt", "data\n"),
            (
                "tool.py",
                "#!/usr/bin/env python\nimport pure\nprint('tool')\npure.main()\n",
            ),
            ("tool.sh", "#!/bin/sh\necho shell\n"),
        ],
    )
}

#[test]
fn a_pure_egg_ships_and_pip_takes_its_wheel() {
    let Some(eggs) = Eggs::new() else { return };
    let egg = pure(&eggs);
    let six = eggs.make(
        "six",
        "name='six-like', version='1.5', py_modules=['sixlike']",
        &[("sixlike.py", "")],
    );
    eggs.unpack(&six);
    let name = egg.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("Pure.Demo-1.0-py3."), "{name}");
    eggs.write("--no-index\n--find-links eggs\npure-demo[fast]==1.0\nsix-like==1.5\nspeed==2\n");
    eggs.make(
        "speed",
        "name='speed', version='2', py_modules=['speed']",
        &[("speed.py", "")],
    );
    let Some(release) = eggs.release() else {
        return;
    };
    let run = |program: &str| text(&mut Command::new(release.join("bin").join(program)));
    assert_eq!(run("pure-demo"), "pure __init__.py\n");
    assert_eq!(run("tool.py"), "tool\npure __init__.py\n");
    assert_eq!(run("tool.sh"), "shell\n");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(release.join(".pkgapp/release.json")).unwrap())
            .unwrap();
    let text_of = record.to_string();
    assert!(
        text_of.contains(&format!("converted from {name}")),
        "{text_of}"
    );
    // What pip and importlib.metadata see.
    let bin = eggs.install();
    assert_eq!(
        text(&mut Command::new(bin.join("tool.py"))),
        "tool\npure __init__.py\n"
    );
    let script = "import importlib.metadata as m; d = m.distribution('pure.demo'); print(d.metadata['Name'], d.version, \
                  d.metadata['Summary'], d.requires, d.metadata.get_all('Provides-Extra'), \
                  [e.value for e in d.entry_points], sorted({f.parts[0] for f in d.files if '..' not in f.parts}))";
    // Versions of setuptools differ in how they write names and markers down.
    let seen = text(Command::new(bin.join("python")).args(["-c", script]));
    let seen = seen
        .replace("Six_Like", "Six-Like")
        .replace("python_version<", "python_version < ");
    assert_eq!(
        seen,
        "Pure.Demo 1.0 A demo ['Six-Like>=1', 'futures; python_version < \"3\"', 'speed; extra == \"fast\"'] ['fast'] \
         ['pure:main'] ['pure', 'pure_demo-1.0.dist-info']\n"
    );
    let wheel = eggs
        .wheels()
        .into_iter()
        .find(|wheel| wheel.to_string_lossy().contains("pure_demo"))
        .unwrap();
    let number = eggs.setuptools.minor.replace('.', "");
    assert_eq!(
        wheel.file_name().unwrap().to_str().unwrap(),
        format!("pure_demo-1.0-py{number}-none-any.whl")
    );
}

#[test]
fn a_compiled_egg_gives_its_extension_without_the_stub() {
    let Some(eggs) = Eggs::new() else { return };
    if !eggs.setuptools.compiles() {
        return;
    }
    let code = "#include <Python.h>\nstatic PyObject *get(PyObject *s, PyObject *a) { return PyLong_FromLong(42); }\n\
        static PyMethodDef methods[] = {{\"get\", get, METH_NOARGS, NULL}, {NULL}};\n\
        static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"_answer\", NULL, -1, methods};\n\
        PyMODINIT_FUNC PyInit__answer(void) { return PyModule_Create(&module); }\n";
    let egg = eggs.make(
        "compiled",
        "name='compiled', version='2.0.post1', packages=['compiled'], \
         ext_modules=[Extension('compiled._answer', ['answer.c'], runtime_library_dirs=['/build/host/lib'])]",
        &[("compiled/__init__.py", "from ._answer import get\n"), ("answer.c", code)],
    );
    let listed = text(
        eggs.setuptools
            .command()
            .args(["-m", "zipfile", "-l"])
            .arg(&egg),
    );
    assert!(
        listed.contains("compiled/_answer.py "),
        "setuptools wrote no stub:\n{listed}"
    );
    // A hash in the pins is that of the egg.
    let hash = sha256(&std::fs::read(&egg).unwrap());
    eggs.write(&format!(
        "--no-index\n--find-links eggs\ncompiled==2.0.post1 --hash=sha256:{hash}\n"
    ));
    let Some(release) = eggs.release() else {
        return;
    };
    assert_eq!(
        eggs.python(&release, "import compiled; print(compiled.get())"),
        "42"
    );
    let files = walk(&release.join("lib"));
    let names: Vec<_> = files
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert!(!names.contains(&"_answer.py"), "{names:?}");
    let [wheel] = &eggs.wheels()[..] else {
        panic!("one wheel")
    };
    let number = eggs.setuptools.minor.replace('.', "");
    let m = if number.as_str() < "38" && number.len() == 2 {
        "m"
    } else {
        ""
    };
    assert_eq!(
        wheel.file_name().unwrap().to_str().unwrap(),
        format!(
            "compiled-2.0.post1-cp{number}-cp{number}{m}-linux_{}.whl",
            std::env::consts::ARCH
        )
    );
    let bin = eggs.install();
    assert_eq!(
        text(
            Command::new(bin.join("python")).args(["-c", "import compiled; print(compiled.get())"])
        ),
        "42\n"
    );
    let built = std::fs::read(
        files
            .iter()
            .find(|path| path.extension().is_some_and(|e| e == "so"))
            .unwrap(),
    )
    .unwrap();
    assert!(
        memchr::memmem::find(&built, b"/build/host").is_none(),
        "the run path names the build host"
    );
    // Unpacked, it is the same.
    eggs.unpack(&egg);
    eggs.write("--no-index\n./eggs/".to_owned().as_str());
    let name = egg.file_name().unwrap().to_str().unwrap();
    eggs.write(&format!("--no-index\n./eggs/{name}\n"));
    let before = super::support::snapshot(&egg);
    std::fs::remove_dir_all(eggs.sandbox.root().join("release")).unwrap();
    let release = eggs.release().unwrap();
    assert_eq!(
        eggs.python(&release, "import compiled; print(compiled.get())"),
        "42"
    );
    assert_eq!(
        super::support::snapshot(&egg),
        before,
        "the egg was written to"
    );
}

#[test]
fn eggs_of_one_namespace_lie_beside_each_other() {
    let Some(eggs) = Eggs::new() else { return };
    let declared = "__import__('pkg_resources').declare_namespace(__name__)\n";
    for part in ["one", "two"] {
        eggs.make(
            part,
            &format!(
                "name='space.{part}', version='1', packages=['space', 'space.{part}'], namespace_packages=['space']"
            ),
            &[("space/__init__.py", declared), (&format!("space/{part}/__init__.py"), &format!("name = '{part}'\n"))],
        );
    }
    eggs.write("--no-index\n--find-links eggs\nspace.one==1\nspace.two==1\n");
    let Some(release) = eggs.release() else {
        return;
    };
    let script = "import sys; from space import one, two; print(one.name, two.name, 'pkg_resources' in sys.modules)";
    assert_eq!(eggs.python(&release, script), "one two False");
    assert_eq!(
        text(Command::new(eggs.install().join("python")).args(["-c", script])),
        "one two False\n"
    );
}

#[test]
fn a_wheel_goes_before_an_egg_and_an_egg_before_an_sdist() {
    let Some(eggs) = Eggs::new() else { return };
    let files = [("both.py", "kind = 'egg'\n")];
    let egg = eggs.make(
        "both",
        "name='both', version='1', py_modules=['both']",
        &files,
    );
    super::support::wheel::sdist(
        &eggs.sandbox.path("eggs"),
        "both",
        "1",
        &[("src/both.py", "kind = 'sdist'\n")],
    );
    eggs.write("--no-index\n--find-links eggs\nboth==1\n");
    let Some(release) = eggs.release() else {
        return;
    };
    assert_eq!(
        eggs.python(&release, "import both; print(both.kind)"),
        "egg"
    );
    std::fs::remove_dir_all(eggs.sandbox.root().join("release")).unwrap();
    super::support::wheel::Wheel::new("both", "1")
        .file("both.py", "kind = 'wheel'\n")
        .write(&eggs.sandbox.path("eggs"));
    let release = eggs.release().unwrap();
    assert_eq!(
        eggs.python(&release, "import both; print(both.kind)"),
        "wheel"
    );
    // Converting gives equal bytes.
    let wheels = || {
        eggs.wheels()
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect::<Vec<_>>()
    };
    let first = wheels();
    assert_eq!(first.len(), 1);
    std::fs::remove_dir_all(eggs.sandbox.cache()).unwrap();
    eggs.write(&format!(
        "--no-index\n./eggs/{}\n",
        egg.file_name().unwrap().to_str().unwrap()
    ));
    eggs.sandbox.build(["--offline", "--format", "deb"]);
    assert_eq!(wheels(), first);
}

#[test]
fn eggs_that_can_not_ship_say_why() {
    let Some(eggs) = Eggs::new() else { return };
    let zip = |name: &str, members: &[(&str, &str)]| {
        let members: Vec<_> = members
            .iter()
            .map(|(path, content)| super::support::wheel::Member::new(path, content.as_bytes()))
            .collect();
        eggs.sandbox.write(
            &format!("eggs/{name}"),
            super::support::wheel::zip(&members),
        );
    };
    let info = (
        "EGG-INFO/PKG-INFO",
        "Metadata-Version: 1.0\nName: a\nVersion: 1\n",
    );
    zip("a-1-py2.7.egg", &[info]);
    zip("b-1.egg", &[("b.py", "")]);
    zip(
        "c-1.egg",
        &[(
            "EGG-INFO/PKG-INFO",
            "Metadata-Version: 1.0\nName: c\nVersion: 2\n",
        )],
    );
    zip(
        "d-1.egg",
        &[
            (
                "EGG-INFO/PKG-INFO",
                "Metadata-Version: 1.0\nName: d\nVersion: 1\n",
            ),
            ("d.pyc", "x"),
        ],
    );
    zip(
        "e-1.egg",
        &[
            (
                "EGG-INFO/PKG-INFO",
                "Metadata-Version: 1.0\nName: e\nVersion: 1\n",
            ),
            ("../e.py", "x"),
        ],
    );
    for (name, said) in [
        (
            "a",
            "`a-1-py2.7.egg` is an egg and is for Python tag `py27`",
        ),
        (
            "b",
            "egg `b-1.egg` is refused\n  cause: it is not an egg: it has no `EGG-INFO/PKG-INFO`",
        ),
        (
            "c",
            "its PKG-INFO has `Version: 2`, but its file name has 1",
        ),
        ("d", "`d.pyc` has no source file beside it"),
        ("e", "`../e.py` points outside the archive"),
    ] {
        eggs.write(&format!("--no-index\n--find-links eggs\n{name}==1\n"));
        let error = eggs.sandbox.pkgapp(["build", "--offline"]).fails();
        assert!(error.contains(said), "{name}: {error}");
    }
}

/// The links of an index, and of a page that `--find-links` names.
#[test]
fn an_egg_on_a_page_ships_where_there_is_no_wheel() {
    let Some(eggs) = Eggs::new() else { return };
    let old = eggs.make(
        "old",
        "name='old', version='1.0', py_modules=['old']",
        &[("old.py", "made = 'egg'\n")],
    );
    let both = eggs.make(
        "both",
        "name='both', version='1.0', py_modules=['both']",
        &[("both.py", "made = 'egg'\n")],
    );
    let server = Index::new(Api::Html)
        .fault(Fault::Unauthorized)
        .sdist("old", &old)
        .sdist("both", &both)
        .wheel(
            "both",
            &Wheel::simple("both", "1.0").file("both.py", "made = 'wheel'\n"),
        )
        .serve();
    let sum = sha256(&std::fs::read(&old).unwrap());
    let secret = server.url_with_secret();
    for options in [
        format!("-i {secret}"),
        format!("--no-index\n--find-links {secret}old/\n--find-links {secret}both/"),
    ] {
        for hash in [String::new(), format!(" --hash=sha256:{sum}")] {
            eggs.write(&format!("{options}\nold==1.0{hash}\n"));
            eggs.sandbox.append(
                "requirements.txt",
                if hash.is_empty() { "both==1.0\n" } else { "" },
            );
            let [tar] = &eggs.sandbox.build(["--format", "tar.gz"])[..] else {
                panic!("one artifact")
            };
            let dump = eggs.sandbox.dump(tar);
            let made = |file: &str| {
                dump.lines()
                    .find(|line| line.contains(file))
                    .unwrap_or_default()
                    .to_owned()
            };
            assert!(
                made("site-packages/old.py").contains(&sha256(b"made = 'egg'\n")),
                "{options}\n{dump}"
            );
            if hash.is_empty() {
                assert!(
                    made("site-packages/both.py").contains(&sha256(b"made = 'wheel'\n")),
                    "{options}\n{dump}"
                );
            }
            // Each of them asks the index anew.
            std::fs::remove_dir_all(eggs.sandbox.cache()).unwrap();
        }
    }
    // A file that is not the one of the page.
    let wrong = "0".repeat(64);
    eggs.write(&format!("-i {secret}\nold==1.0 --hash=sha256:{wrong}\n"));
    let said = eggs.sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains("old") && !said.contains("user:secret"),
        "{said}"
    );
    assert!(
        !server
            .requests()
            .iter()
            .any(|path| path.ends_with("both-1.0.egg"))
    );
}
