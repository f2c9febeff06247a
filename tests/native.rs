//! What a release needs from the host is read from its compiled code.

use std::process::Command;

use super::support::Sandbox;
use super::support::project::{extension, full, pin};
use super::support::tools::{left_out, python, shared_object, text, tool};
use super::support::wheel::{Member, Wheel};

fn compiled(name: &str, object: Vec<u8>) -> Wheel {
    let number = python().minor.replace('.', "");
    Wheel::new(name, "1.0")
        .tag(&format!(
            "cp{number}-cp{number}-linux_{}",
            std::env::consts::ARCH
        ))
        .member(Member::new(&format!("{name}.so"), object))
}

/// An object that needs a function which glibc has had only since 2.34, where `dlsym` moved into
/// libc.so.6.
fn modern() -> Option<Wheel> {
    let wheel = compiled(
        "modern",
        shared_object(
            "void *dlsym(void *, const char *); void *f(void) { return dlsym(0, \"x\"); }",
            &[],
        )?,
    )
    .tag(&format!("cp38-abi3-linux_{}", std::env::consts::ARCH));
    let script = "import sys, platform; sys.exit(not (platform.libc_ver()[1] and tuple(map(int, platform.libc_ver()[1].split('.'))) >= (2, 34)))";
    let new_enough = Command::new(&python().path)
        .args(["-c", script])
        .status()
        .unwrap()
        .success();
    if !new_enough {
        left_out("this machine's glibc is older than 2.34");
    }
    new_enough.then_some(wheel)
}

#[test]
fn compiled_code_makes_a_package_of_this_architecture() {
    if extension().is_none() {
        return;
    }
    let sandbox = full();
    let outcome = sandbox.pkgapp(["-q", "build"]).outcome();
    let (deb, rpm) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", "x86_64"),
        "aarch64" => ("arm64", "aarch64"),
        other => panic!("no name for {other}"),
    };
    assert_eq!(
        outcome.stdout,
        format!(
            "dist/hello-1.0.0-1.{rpm}.tar.zst\ndist/hello_1.0.0-1_{deb}.deb\ndist/hello-1.0.0-1.{rpm}.rpm\n"
        ),
        "{}",
        outcome.report
    );
}

#[test]
fn needed_libraries_are_depended_upon() {
    let Some(wheel) = modern() else { return };
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[wheel]);
    let [deb, rpm] = &sandbox.build(["--format", "deb", "--format", "rpm"])[..] else {
        panic!("two artifacts")
    };
    if let Some(dpkg_deb) = tool("dpkg-deb") {
        let depends = text(Command::new(dpkg_deb).arg("-f").arg(deb).arg("Depends"));
        assert!(depends.contains("libc6 (>= 2.34)"), "{depends}");
    }
    if let Some(program) = tool("rpm") {
        let requires = text(Command::new(program).args(["-qp", "--requires"]).arg(rpm));
        assert!(
            requires
                .lines()
                .any(|line| line == "libc.so.6(GLIBC_2.34)(64bit)"),
            "{requires}"
        );
    }
}

#[test]
fn a_library_of_the_release_is_not_asked_of_the_host() {
    let Some(library) = shared_object(
        "int inner(void) { return 1; }",
        &["-Wl,-soname,libinner.so.1"],
    ) else {
        return;
    };
    let Some(user) = shared_object(
        "int outer(void) { return 2; }",
        // The name alone is wanted: NEEDED of a library that the linker need not see.
        &["-Wl,--no-as-needed", "-nostdlib", "-Wl,-soname,user.so"],
    ) else {
        return;
    };
    let wheel = compiled("user", user).member(Member::new("user.libs/libinner.so.1", library));
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[wheel]);
    let [rpm] = &sandbox.build(["--format", "rpm"])[..] else {
        panic!("one artifact")
    };
    if let Some(program) = tool("rpm") {
        let requires = text(Command::new(program).args(["-qp", "--requires"]).arg(rpm));
        assert!(!requires.contains("libinner"), "{requires}");
    }
}

#[test]
fn a_target_that_cannot_run_it_is_refused_and_the_file_named() {
    let Some(wheel) = modern() else { return };
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[wheel]);
    // el8 has glibc 2.28, and Python 3.11 and 3.12 in its own repositories.
    sandbox.append("pkgapp.toml", "\n[package]\ntargets = [\"el8\"]\n");
    let text = sandbox.pkgapp(["build", "--python", "3.11"]).fails();
    for part in ["`el8`", "2.28", "2.34", "modern.so"] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!sandbox.path("dist").exists());
}
