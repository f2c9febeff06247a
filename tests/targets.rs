//! Packages for other machines, distributions and Pythons than this one's.

use std::process::Command;

use super::support::project::{extension, pin};
use super::support::tools::{left_out, path, python, shared_object, text, tool};
use super::support::wheel::{Member, Wheel, sdist};
use super::support::{Sandbox, foreign};

/// The machine that this one is not: the kernel's name, Debian's, and its number in an ELF header.
fn other() -> (&'static str, &'static str, u8) {
    match std::env::consts::ARCH {
        "aarch64" => ("x86_64", "amd64", 62),
        _ => ("aarch64", "arm64", 183),
    }
}

/// A distribution that offers this machine's Python.
fn target() -> &'static str {
    match python().minor.as_str() {
        "3.8" => "el8",
        "3.10" => "ubuntu22.04",
        "3.13" => "debian13",
        "3.14" => "fedora",
        _ => "el9",
    }
}

fn tag(arch: &str) -> String {
    let number = python().minor.replace('.', "");
    format!("cp{number}-cp{number}-manylinux_2_17_{arch}")
}

/// A shared object as the other machine's compiler would have made it, as far as its header goes.
fn foreign_object() -> Option<Vec<u8>> {
    let mut object = shared_object(
        "int puts(const char *); int f(void) { return puts(\"x\"); }",
        &[],
    )?;
    // System V ABI, "ELF Header": e_machine.
    object[18] = other().2;
    Some(object)
}

/// The wheel of [`extension`] for this machine and its counterpart for the other one.
fn both() -> Option<[Wheel; 2]> {
    let foreign = Wheel::new("answer", "1.0")
        .tag(&tag(other().0))
        .member(Member::new("answer.so", foreign_object()?));
    Some([extension()?, foreign])
}

#[test]
fn a_package_for_another_machine_has_its_wheels_its_name_and_its_dependencies() {
    let Some([_, wheel]) = both() else { return };
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[wheel]);
    let (arch, debian, _) = other();
    let args = [
        "--target",
        target(),
        "--arch",
        debian,
        "--format",
        "deb,rpm,tar",
    ];
    let [deb, rpm, tar] = &sandbox.build(args)[..] else {
        panic!("three artifacts")
    };
    assert!(
        rpm.to_string_lossy().ends_with(&format!(".{arch}.rpm")),
        "{rpm:?}"
    );
    assert!(
        tar.to_string_lossy().ends_with(&format!(".{arch}.tar.zst")),
        "{tar:?}"
    );
    if let Some(program) = tool("rpm") {
        let name = text(
            Command::new(&program)
                .args(["-qp", "--qf", "%{ARCH}"])
                .arg(rpm),
        );
        assert_eq!(name, arch);
        let requires = text(Command::new(program).args(["-qp", "--requires"]).arg(rpm));
        assert!(
            requires.lines().any(|line| line == "libc.so.6()(64bit)"),
            "{requires}"
        );
    }
    if let Some(program) = tool("dpkg-deb") {
        assert_eq!(
            text(Command::new(program).arg("-f").arg(deb).arg("Architecture")).trim(),
            debian
        );
    }
    // Byte code is the same for all machines, so it is made here.
    assert!(
        sandbox
            .dump(tar)
            .contains("/hello/__pycache__/__init__.cpython-")
    );
    // The same by the configuration.
    let again = Sandbox::hello();
    pin(&again, &[both().unwrap()[1].clone()]);
    again.append(
        "pkgapp.toml",
        &format!(
            "\n[package]\ntargets = [\"{}\"]\narch = \"{arch}\"\n",
            target()
        ),
    );
    let configured = again.build(["--format", "rpm"]).remove(0);
    assert_eq!(
        std::fs::read(configured).unwrap(),
        std::fs::read(rpm).unwrap()
    );
}

#[test]
fn a_file_for_the_wrong_machine_is_named() {
    let Some(object) = shared_object("int f(void) { return 1; }", &[]) else {
        return;
    };
    let (arch, ..) = other();
    let sandbox = Sandbox::hello();
    pin(
        &sandbox,
        &[Wheel::new("liar", "1.0")
            .tag(&tag(arch))
            .member(Member::new("liar/core.so", object))],
    );
    let text = sandbox
        .pkgapp(["build", "--target", target(), "--arch", arch])
        .fails();
    let (here, minor) = (std::env::consts::ARCH, &python().minor);
    let file = format!("lib/python{minor}/site-packages/liar/core.so");
    assert!(
        text.contains(&format!(
            "`{file}` is compiled for {here}, but the release is for {arch}"
        )),
        "{text}"
    );
    assert!(text.contains("distribution `liar 1.0` has it"), "{text}");
}

#[test]
fn another_machine_without_a_target_is_refused() {
    let (arch, ..) = other();
    let text = Sandbox::hello().pkgapp(["build", "--arch", arch]).fails();
    assert!(
        text.contains("unknown glibc of the hosts") && text.contains("--> --arch"),
        "{text}"
    );
}

/// Three distributions: one with a wheel for every machine, one with wheels for this one and an
/// sdist, and one that is an sdist without code to compile.
fn mixed() -> Sandbox {
    let sandbox = Sandbox::hello();
    let (arch, ..) = other();
    let here = std::env::consts::ARCH;
    let wheels = [
        Wheel::simple("everywhere", "1.0"),
        Wheel::simple("partly", "2.0").tag(&tag(here)),
        Wheel::simple("partly-newer", "3.0").tag(&tag(here)),
    ];
    pin(&sandbox, &wheels);
    let newer = tag(arch).replace("2_17", "2_99");
    Wheel::simple("partly-newer", "3.0")
        .tag(&newer)
        .write(&sandbox.path("wheels"));
    sdist(
        &sandbox.path("wheels"),
        "partly",
        "2.0",
        &[("partly.py", "")],
    );
    sdist(
        &sandbox.path("wheels"),
        "sources",
        "4.0",
        &[("sources.py", "")],
    );
    sandbox.append("requirements.txt", "sources==4.0\n");
    sandbox
}

#[test]
fn everything_that_is_missing_is_listed_before_anything_is_built() {
    let sandbox = mixed();
    let (arch, ..) = other();
    let here = std::env::consts::ARCH;
    let text = sandbox
        .pkgapp(["build", "--target", target(), "--arch", arch])
        .fails();
    let minor = &python().minor;
    for part in [
        format!("no file of `partly 2.0` is compatible with CPython {minor} on {arch}"),
        format!("`partly-2.0.tar.gz` contains code that this machine cannot compile for {arch}"),
        format!("is for `manylinux_2_17_{here}`"),
        format!("no file of `partly-newer 3.0` is compatible with CPython {minor} on {arch}"),
        "needs glibc 2.99".to_owned(),
    ] {
        assert!(text.contains(&part), "`{part}` is not in:\n{text}");
    }
    assert!(!text.contains("built sources"), "{text}");
}

#[test]
fn a_table_says_what_there_is_for_which_target() {
    let sandbox = mixed();
    let (arch, ..) = other();
    let (here, minor) = (std::env::consts::ARCH, &python().minor);
    let arches = format!("{here},{arch}");
    let args = [
        "check",
        "--targets",
        "--target",
        target(),
        "--arch",
        &arches,
    ];
    let outcome = sandbox.pkgapp(args).outcome();
    assert_eq!(outcome.status, 1, "{}", outcome.report);
    let words: Vec<Vec<&str>> = outcome
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        words,
        [
            vec![target(), target()],
            vec![here, arch],
            vec![minor, minor],
            vec!["everywhere", "1.0", "pure", "pure"],
            vec!["partly", "2.0", "wheel", "MISSING"],
            vec!["partly-newer", "3.0", "wheel", "MISSING"],
            vec!["sources", "4.0", "sdist", "sdist"],
            vec!["hello", "project", "project"],
        ]
    );
    assert!(
        outcome
            .stderr
            .contains("no file of `partly 2.0` is compatible"),
        "{}",
        outcome.stderr
    );
    assert!(
        !sandbox.cache().join("wheels").exists(),
        "something was downloaded"
    );
    // The same for programs, and without an error if nothing is missing.
    let args = [
        "check",
        "--targets",
        "--target",
        target(),
        "--arch",
        here,
        "--json",
    ];
    let document: serde_json::Value = serde_json::from_str(&sandbox.pkgapp(args).stdout()).unwrap();
    let column = &document["targets"][0];
    assert_eq!(
        (&column["target"], &column["arch"]),
        (&target().into(), &here.into())
    );
    assert_eq!(
        column["distributions"][0]["file"],
        "everywhere-1.0-py3-none-any.whl"
    );
    assert_eq!(column["distributions"][1]["is"], "wheel");
    // A Python that the target lacks.
    let text = sandbox
        .pkgapp([
            "check",
            "--targets",
            "--target",
            "debian12",
            "--python",
            "3.13",
        ])
        .outcome()
        .stderr;
    assert!(text.contains("`debian12` has no Python 3.13"), "{text}");
}

#[test]
fn build_commands_run_in_a_twin_for_this_machine() {
    let Some(wheels) = both() else { return };
    let sandbox = Sandbox::hello();
    pin(&sandbox, &wheels[..1]);
    wheels[1].write(&sandbox.path("wheels"));
    let command =
        "python -c \\\"import answer; open('app/answer.txt', 'w').write(str(answer.get()))\\\"";
    sandbox.append(
        "pkgapp.toml",
        &format!("\n[build]\nrun = [\"{command}\"]\n"),
    );
    let artifacts = sandbox.build(["--target", target(), "--arch", other().0, "--format", "tar"]);
    let directory = sandbox.root().join("unpacked");
    let Some(()) = foreign::unpack(&artifacts[0], &directory) else {
        return;
    };
    let release = std::fs::read_dir(&directory)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        std::fs::read_to_string(release.join("app/answer.txt")).unwrap(),
        "42"
    );
    let module = format!("lib/python{}/site-packages/answer.so", python().minor);
    assert_eq!(std::fs::read(release.join(module)).unwrap()[18], other().2);
}

#[test]
fn byte_code_may_be_left_to_the_installation() {
    let sandbox = Sandbox::hello();
    sandbox.append("pkgapp.toml", "\n[package]\nbyte-code = \"installation\"\n");
    let [deb, rpm] = &sandbox.build(["--format", "deb,rpm"])[..] else {
        panic!("two artifacts")
    };
    let dump = sandbox.dump(deb);
    assert!(
        !dump.contains(".pyc") && dump.contains("/hello/__pycache__\n"),
        "{dump}"
    );
    if let Some(program) = tool("dpkg-deb") {
        let script = |name: &str| text(Command::new(&program).arg("-I").arg(deb).arg(name));
        let site = format!("/opt/hello/lib/python{}/site-packages", python().minor);
        assert!(script("postinst").contains("-m compileall") && script("postinst").contains(&site));
        assert!(script("prerm").contains("-delete"));
    }
    if let Some(program) = tool("rpm") {
        let query = "[%{FILEFLAGS:fflags} %{FILEMODES:octal} %{FILENAMES}\n]";
        let listed = text(Command::new(&program).args(["-qp", "--qf", query]).arg(rpm));
        let ghosts: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.strip_prefix("g 100644 "))
            .collect();
        let sources = listed
            .lines()
            .filter(|line| line.ends_with(".py") && line.contains("site-packages"))
            .count();
        assert!(sources > 0 && ghosts.len() == sources, "{listed}");
        assert!(
            ghosts
                .iter()
                .all(|path| path.contains("/__pycache__/") && path.ends_with(".pyc")),
            "{listed}"
        );
        assert!(
            text(Command::new(program).args(["-qp", "--scripts"]).arg(rpm))
                .contains("-m compileall")
        );
    }
    // What reads rpms reads the payload of this one, too.
    let payload = sandbox.dump(rpm);
    assert!(
        !payload.contains(".pyc") && payload.contains("/hello/__init__.py"),
        "{payload}"
    );
}

#[test]
fn a_python_that_this_machine_lacks_needs_no_more_than_a_stand_in() {
    let lacks = which::which_in("python3.14", Some(path()), "/").is_err();
    let home =
        std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".pyenv/versions"));
    let pyenv = home
        .and_then(|home| std::fs::read_dir(home).ok())
        .into_iter()
        .flatten()
        .flatten();
    if !lacks
        || pyenv
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("3.14"))
    {
        // Not a missing tool: one too many.
        left_out("this machine has a Python 3.14");
        return;
    }
    let sandbox = Sandbox::hello();
    let outcome = sandbox
        .pkgapp([
            "build",
            "--target",
            "ubuntu26.04",
            "--python",
            "3.14",
            "--format",
            "deb",
        ])
        .outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(outcome.stderr.contains(
        "Python 3.14 is not installed on this machine: byte code is compiled when the package is installed"
    ));
    assert!(
        outcome
            .stderr
            .contains(&format!("was built with Python {}", python().minor)),
        "{}",
        outcome.stderr
    );
    let deb = sandbox.path(outcome.stdout.trim());
    assert!(
        sandbox
            .dump(&deb)
            .contains("/opt/hello/lib/python3.14/site-packages/hello/__init__.py")
    );
    if let Some(program) = tool("dpkg-deb") {
        let depends = text(Command::new(program).arg("-f").arg(deb).arg("Depends"));
        assert!(depends.contains("python3.14"), "{depends}");
    }
}

#[test]
fn what_can_be_no_target_is_a_mistake_of_the_command_line() {
    let sandbox = Sandbox::hello();
    for (args, part) in [
        (["--target", "el99"], "unknown target `el99`"),
        (["--arch", "riscv64"], "unsupported architecture `riscv64`"),
        (["--python", "3"], "`3` is not a minor version of Python"),
    ] {
        let outcome = sandbox.pkgapp(["build"].iter().chain(&args)).outcome();
        assert_eq!(outcome.status, 2, "{}", outcome.report);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let outcome = sandbox
        .pkgapp(["check", "--arch", "x86_64,aarch64"])
        .outcome();
    assert_eq!(outcome.status, 2, "{}", outcome.report);
    assert!(
        outcome.stderr.contains("add `--targets`"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn imports_that_are_certain_need_the_parts_of_python_that_have_packages_of_their_own() {
    let sandbox = Sandbox::hello();
    let plots = Wheel::new("plots", "1.0")
        .file("plots/__init__.py", "from . import core\n")
        .file(
            "plots/core.py",
            "import turtle\ntry:\n    import ensurepip\nexcept ImportError:\n    pass\n",
        )
        .file("plots/backend.py", "import idlelib\nimport nobody\n");
    // It puts its own copies of others on the path; nobody else sees them.
    let setuptools = Wheel::new("setuptools", "80.0")
        .file(
            "setuptools/__init__.py",
            "import more_itertools, jaraco.text\n",
        )
        .file("setuptools/_vendor/more_itertools/__init__.py", "")
        .file("setuptools/_vendor/jaraco/text/__init__.py", "");
    pin(&sandbox, &[plots, setuptools]);
    sandbox
        .write("main.py", "import os.path, plots, main2, setuptools\nimport absent.sub\ndef f():\n    import later\nimport pkg_resources\n");
    sandbox.write("windows.py", "import win32serviceutil\nimport pywintypes\n");
    sandbox.write("tests_e2e/main.py", "import playwright\n");
    sandbox.write("main2.py", "from plots import core\nimport wanted\n");
    sandbox.write("tests/test_main.py", "import pytest\n");
    let include =
        "include = [\"main.py\", \"main2.py\", \"windows.py\", \"tests/**\", \"tests_e2e/**\"]";
    sandbox.edit("pkgapp.toml", "include = [\"motd.txt\"]", include);
    sandbox.edit(
        "pkgapp.toml",
        "[python]",
        "[python]\noptional-imports = [\"wanted\"]",
    );
    let outcome = sandbox
        .pkgapp(["build", "--offline", "--format", "deb,rpm"])
        .outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    let warnings: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("which nothing provides"))
        .collect();
    assert_eq!(warnings.len(), 1, "{}", outcome.report);
    assert!(
        warnings[0].contains("`app/main.py` imports `absent`"),
        "{}",
        warnings[0]
    );
    // Newer setuptools lack it.
    let old =
        "`app/main.py` imports `pkg_resources`, which only setuptools before version 81 provides";
    assert!(
        outcome.stderr.contains(old) && outcome.stderr.contains("`add = [\"setuptools<81\"]`"),
        "{}",
        outcome.report
    );
    let minor = &python().minor;
    let artifacts = super::support::walk(&sandbox.project().join("dist"));
    let of = |ending: &str| {
        artifacts
            .iter()
            .find(|path| path.to_string_lossy().ends_with(ending))
            .unwrap()
    };
    if let Some(program) = tool("dpkg-deb") {
        let depends = text(
            Command::new(program)
                .arg("--field")
                .arg(of(".deb"))
                .arg("Depends"),
        );
        let parts: Vec<&str> = depends
            .trim()
            .split(", ")
            .filter(|part| part.contains("python"))
            .collect();
        assert_eq!(
            parts,
            [format!("python{minor}"), format!("python{minor}-tk")]
        );
    }
    if let Some(program) = tool("rpm") {
        let requires = text(
            Command::new(program)
                .args(["-qp", "--requires"])
                .arg(of(".rpm")),
        );
        let parts: Vec<&str> = requires
            .lines()
            .filter(|line| line.starts_with("python3"))
            .collect();
        assert_eq!(parts, [format!("python{minor}-tkinter")]);
    }
}

#[test]
fn what_distributions_load_at_run_time_is_depended_on() {
    let sandbox = Sandbox::hello();
    let wheels = ["python-magic", "GitPython"].map(|name| Wheel::new(name, "1.0"));
    pin(&sandbox, &wheels.map(|wheel| wheel.file("loaded.py", "")));
    let artifacts = sandbox.build(["--format", "deb,rpm"]);
    let of = |ending: &str| {
        artifacts
            .iter()
            .find(|path| path.to_string_lossy().ends_with(ending))
            .unwrap()
    };
    if let Some(program) = tool("dpkg-deb") {
        let depends = text(
            Command::new(program)
                .arg("--field")
                .arg(of(".deb"))
                .arg("Depends"),
        );
        assert!(
            depends.contains("libmagic1") && depends.split(", ").any(|one| one.trim() == "git"),
            "{depends}"
        );
    }
    if let Some(program) = tool("rpm") {
        let requires = text(
            Command::new(program)
                .args(["--query", "--requires", "--package"])
                .arg(of(".rpm")),
        );
        assert!(
            requires.contains("libmagic.so.1()(64bit)") && requires.contains("git-core"),
            "{requires}"
        );
    }
}
