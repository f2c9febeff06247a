//! Two sources for one path: refused with both named, unless the application allows it.

use super::support::Sandbox;
use super::support::foreign;
use super::support::project::pin;
use super::support::wheel::Wheel;

fn with(wheels: &[Wheel]) -> Sandbox {
    let sandbox = Sandbox::hello();
    pin(&sandbox, wheels);
    sandbox
}

/// The build is refused, before anything is written, and the message holds all of these.
fn refused(sandbox: &Sandbox, must: &[&str]) {
    let text = sandbox.pkgapp(["build"]).fails();
    for part in must {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!sandbox.path("dist").exists(), "something was written");
}

#[test]
fn two_distributions_with_one_file_are_named() {
    let sandbox = with(&[
        Wheel::simple("first", "1.0").file("shared/tests.py", "A = 1\n"),
        Wheel::simple("second", "2.0").file("shared/tests.py", "B = 2\n"),
    ]);
    refused(
        &sandbox,
        &[
            "shared/tests.py",
            "`first 1.0`",
            "`second 2.0`",
            "different content",
            "allow-collisions",
        ],
    );
}

#[test]
fn strayed_files_of_distributions_may_differ() {
    let sandbox = with(&[
        Wheel::simple("first", "1.0")
            .file("LICENSE", "A\n")
            .file("tests/test_it.py", "A = 1\n"),
        Wheel::simple("second", "2.0")
            .file("LICENSE", "B\n")
            .file("tests/test_it.py", "B = 2\n"),
    ]);
    sandbox.build(["--format", "deb"]);
}

#[test]
fn equal_files_of_two_distributions_ship_once() {
    let sandbox = with(&[
        Wheel::simple("first", "1.0")
            .file("tests/__init__.py", "")
            .file("tests/test_it.py", "A = 1\n"),
        Wheel::simple("second", "2.0")
            .file("tests/__init__.py", "")
            .file("tests/test_it.py", "A = 1\n"),
    ]);
    let [artifact] = &sandbox.build(["--format", "deb"])[..] else {
        panic!()
    };
    let dump = sandbox.dump(artifact);
    assert_eq!(
        dump.lines()
            .filter(|line| line.ends_with("/tests/test_it.py"))
            .count(),
        1,
        "{dump}"
    );
}

#[test]
fn distributions_may_share_what_marks_a_namespace() {
    let namespace = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n";
    let member = |name: &str| {
        let wheel = Wheel::new(name, "1.0")
            .file("shared/__init__.py", namespace)
            .file("shared/py.typed", "");
        wheel.file(&format!("shared/{name}.py"), "A = 1\n")
    };
    let sandbox = with(&[member("first"), member("second")]);
    sandbox.pkgapp(["build", "--format", "tar"]).stdout();
    let other = Wheel::new("second", "1.0").file("shared/__init__.py", "other = True\n");
    let sandbox = with(&[member("first"), other]);
    refused(
        &sandbox,
        &[
            "shared/__init__.py",
            "`first 1.0`",
            "`second 1.0`",
            "different content",
        ],
    );
}

#[test]
fn every_collision_is_told_at_once() {
    let sandbox = with(&[
        Wheel::simple("first", "1.0")
            .file("shared/a.py", "A = 1\n")
            .file("shared/b.py", "A = 1\n"),
        Wheel::simple("second", "2.0")
            .file("shared/a.py", "A = 2\n")
            .file("shared/b.py", "A = 2\n"),
    ]);
    let text = sandbox.pkgapp(["build"]).fails();
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(
        text.contains("/shared/a.py`, with different content")
            && text.contains("the same applies to `b.py` in"),
        "{text}"
    );
    refused(&sandbox, &["shared/a.py", "b.py"]);

    // One line allows all of them, those that nobody saw in the message too.
    let several = |name: &str, text: &str| {
        let wheel = Wheel::simple(name, "1.0")
            .file("shared/a.py", text)
            .file("shared/deep/b.py", text);
        wheel.file("other/c.py", text).file("loose.py", text)
    };
    let sandbox = with(&[several("first", "A = 1\n"), several("second", "A = 2\n")]);
    let text = sandbox.pkgapp(["build"]).fails();
    let hints: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("hint: "))
        .collect();
    let [hint] = hints[..] else { panic!("{text}") };
    let line = hint.split('`').nth(1).unwrap();
    assert!(
        line.contains("site-packages/shared/**\"") && line.contains("/loose.py\""),
        "{text}"
    );
    sandbox.append("pkgapp.toml", &format!("\n[package]\n{line}\n"));
    sandbox.build(["--format", "tar.gz"]);
}

#[test]
fn two_console_scripts_of_one_name_collide() {
    let sandbox = with(&[
        Wheel::simple("first", "1.0").console_script("serve", "first:main"),
        Wheel::simple("second", "2.0").console_script("serve", "second:main"),
    ]);
    refused(&sandbox, &["bin/serve", "`first 1.0`", "`second 2.0`"]);
}

#[test]
fn a_console_script_is_that_of_the_distribution_that_requires_the_other() {
    // `fastapi` and `fastapi-cli`; whichever is named first.
    for (front, back) in [("serve", "serve-cli"), ("serve", "a-serve")] {
        let module = back.replace('-', "_");
        let sandbox = with(&[
            Wheel::simple(front, "1.0")
                .requires(&format!("{back}[more]>=1; extra == 'standard'"))
                .console_script("serve", "serve.front:main"),
            Wheel::new(back, "2.0").console_script("serve", &format!("{module}:main")),
        ]);
        let [tar] = &sandbox.build(["--format", "tar.gz"])[..] else {
            panic!("one artifact")
        };
        let directory = sandbox.root().join("unpacked");
        if foreign::unpack(tar, &directory).is_none() {
            return;
        }
        let body = std::fs::read_to_string(directory.join("hello-1.0.0/libexec/serve")).unwrap();
        assert!(
            body.contains("serve.front") && !body.contains(&module),
            "{body}"
        );
    }
    let sandbox = with(&[
        Wheel::simple("first", "1.0")
            .requires("second")
            .console_script("serve", "first:main"),
        Wheel::simple("second", "2.0")
            .requires("first")
            .console_script("serve", "second:main"),
    ]);
    refused(&sandbox, &["bin/serve", "`first 1.0`", "`second 2.0`"]);
}

#[test]
fn a_script_of_the_application_collides_with_a_distribution() {
    let sandbox = with(&[Wheel::simple("first", "1.0").console_script("hello", "first:main")]);
    refused(&sandbox, &["bin/hello", "`first 1.0`", "hello"]);
}

#[test]
fn a_file_where_another_distribution_has_a_directory_is_refused() {
    let sandbox = with(&[
        Wheel::new("first", "1.0").file("thing", "I am a file\n"),
        Wheel::new("second", "2.0").file("thing/__init__.py", ""),
    ]);
    refused(
        &sandbox,
        &["site-packages/thing", "`first 1.0`", "`second 2.0`"],
    );
}

#[test]
fn a_launcher_never_takes_the_interpreters_place() {
    let sandbox = with(&[Wheel::simple("first", "1.0").console_script("python", "first:main")]);
    refused(&sandbox, &["python", "first"]);
}

#[test]
fn namespace_packages_share_their_directory() {
    let sandbox = with(&super::support::project::namespace());
    let [artifact] = &sandbox.build(["--format", "deb"])[..] else {
        panic!()
    };
    let dump = sandbox.dump(artifact);
    for side in ["left", "right"] {
        assert!(
            dump.contains(&format!("/site-packages/space/{side}.py\n")),
            "{dump}"
        );
    }
}

#[test]
fn a_collision_that_is_allowed_is_won_by_the_later_distribution() {
    let sandbox = with(&[
        Wheel::simple("first", "1.0").file("shared/tests.py", "A = 1\n"),
        Wheel::simple("second", "2.0").file("shared/tests.py", "B = 2\n"),
    ]);
    let minor = &super::support::tools::python().minor;
    let path = format!("/opt/hello/lib/python{minor}/site-packages/shared/**");
    sandbox.append(
        "pkgapp.toml",
        &format!("\n[package]\nallow-collisions = [{path:?}]\n"),
    );
    let [artifact] = &sandbox.build(["--format", "deb"])[..] else {
        panic!()
    };
    let dump = sandbox.dump(artifact);
    let line = dump
        .lines()
        .find(|line| line.ends_with("/shared/tests.py"))
        .unwrap();
    assert!(
        line.contains(&format!(
            "sha256:{}",
            super::support::wheel::sha256(b"B = 2\n")
        )),
        "{line}"
    );
}
