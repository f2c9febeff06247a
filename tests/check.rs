//! `pkgapp check` and `pkgapp diff`.

use std::process::Command;

use super::support::Sandbox;
use super::support::project::pin;
use super::support::tools::{self, tool};
use super::support::wheel::Wheel;

fn in_project(sandbox: &Sandbox, program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args).current_dir(sandbox.project());
    tools::output(&mut command);
}

fn git(sandbox: &Sandbox, args: &[&str]) {
    in_project(
        sandbox,
        "git",
        &[
            &["-c", "user.name=a", "-c", "user.email=a@example.com"],
            args,
        ]
        .concat(),
    );
}

#[test]
fn an_environment_is_held_against_the_pins() {
    let sandbox = Sandbox::hello();
    pin(
        &sandbox,
        &[
            Wheel::simple("first", "1.0"),
            Wheel::simple("second", "2.0"),
        ],
    );
    let python = &tools::python().path;
    in_project(
        &sandbox,
        python.to_str().unwrap(),
        &["-m", "venv", "--without-pip", ".venv"],
    );
    let text = sandbox.pkgapp(["check", "--env", ".venv"]).fails();
    for part in [
        "`first 1.0` is pinned but not installed",
        "`second 2.0` is pinned",
        "requirements.txt:",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let site = sandbox.path(&format!(
        ".venv/lib/python{}/site-packages",
        tools::python().minor
    ));
    for (name, version) in [
        ("first", "1.0"),
        ("second", "2.0"),
        ("hello", "0.1"),
        ("pip", "23.0"),
    ] {
        let info = site.join(format!("{name}-{version}.dist-info"));
        std::fs::create_dir_all(&info).unwrap();
        std::fs::write(
            info.join("METADATA"),
            format!("Name: {name}\nVersion: {version}\n"),
        )
        .unwrap();
    }
    sandbox.pkgapp(["check", "--env", ".venv"]).stdout();
    std::fs::create_dir_all(site.join("extra-3.0.dist-info")).unwrap();
    std::fs::write(
        site.join("extra-3.0.dist-info/METADATA"),
        "Name: Extra\nVersion: 3.0\n",
    )
    .unwrap();
    let text = sandbox.pkgapp(["check", "--env", ".venv"]).fails();
    assert!(
        text.contains("`extra 3.0` is installed but not pinned"),
        "{text}"
    );
}

#[test]
fn editables_of_an_environment_are_those_that_the_pins_name() {
    let sandbox = Sandbox::hello();
    let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\nname = \
                   \"lib\"\nversion = \"1.0\"\n";
    for directory in ["lib", "copy/lib"] {
        sandbox.write(&format!("{directory}/pyproject.toml"), project);
    }
    let python = &tools::python().path;
    in_project(
        &sandbox,
        python.to_str().unwrap(),
        &["-m", "venv", "--without-pip", ".venv"],
    );
    let info = format!(
        ".venv/lib/python{}/site-packages/lib-1.0.dist-info",
        tools::python().minor
    );
    sandbox.write(&format!("{info}/METADATA"), "Name: lib\nVersion: 1.0\n");
    let installed = |directory: &str| {
        let url = format!("file://{}", sandbox.path(directory).display());
        let text = format!("{{\"dir_info\": {{\"editable\": true}}, \"url\": \"{url}\"}}");
        sandbox.write(&format!("{info}/direct_url.json"), text);
    };
    installed("lib");
    let configuration = std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap();
    let said = sandbox.pkgapp(["init", "--print"]).outcome().stderr;
    assert!(
        said.contains(
            "`lib` is installed from `lib` to be edited, and no pin: it ships with `-e ./lib`"
        ),
        "{said}"
    );
    let said = sandbox.pkgapp(["check", "--env", ".venv"]).fails();
    assert!(
        said.contains("`lib 1.0` is an editable install from `lib` but not pinned"),
        "{said}"
    );
    assert!(
        said.contains("hint: add `-e ./lib` to the requirements"),
        "{said}"
    );
    sandbox.append("requirements.txt", "-e ./lib\n");
    let outcome = sandbox.pkgapp(["check", "--env", ".venv"]).outcome();
    assert!(
        outcome
            .stderr
            .contains("1 distributions, as pinned; `lib` is editable in `lib`"),
        "{}",
        outcome.report
    );
    let said = sandbox.pkgapp(["init", "--print"]).outcome().stderr;
    assert!(!said.contains("to be edited"), "{said}");
    installed("copy/lib");
    let said = sandbox.pkgapp(["check", "--env", ".venv"]).fails();
    assert!(
        said.contains(
            "`lib` is pinned to `lib`, but the environment has an editable install from `copy/lib`"
        ),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap(),
        configuration
    );
}

#[test]
fn a_protected_place_wants_a_tagged_commit() {
    let Some(_) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    sandbox.append(
        "pkgapp.toml",
        "\n[deploy.production]\nhosts = [\"web1\"]\nprotected = true\n",
    );
    let text = sandbox.pkgapp(["check", "production"]).fails();
    assert!(text.contains("1.0.0 was not built from a commit"), "{text}");
    git(&sandbox, &["init", "-q"]);
    git(&sandbox, &["add", "."]);
    git(&sandbox, &["commit", "-qm", "one"]);
    let text = sandbox.pkgapp(["check", "production"]).fails();
    assert!(
        text.contains("has no tag for version 1.0.0") && text.contains("`git tag v1.0.0"),
        "{text}"
    );
    // A push of what was built then is refused before any host is looked at.
    sandbox.build(["--format", "deb"]);
    let text = sandbox.pkgapp(["push", "production"]).fails();
    assert!(text.contains("has no tag for version 1.0.0"), "{text}");
    git(&sandbox, &["tag", "v1.0.0"]);
    sandbox.pkgapp(["check", "production"]).stdout();
    sandbox.append("motd.txt", "changed\n");
    let text = sandbox.pkgapp(["check", "production"]).fails();
    assert!(text.contains("changes that are not in commit"), "{text}");
}

#[test]
fn one_report_has_all_that_was_found() {
    let sandbox = Sandbox::hello();
    sandbox.append(
        "pkgapp.toml",
        "\n[deploy.production]\nhosts = [\"web1\"]\nprotected = true\n",
    );
    let outcome = sandbox
        .pkgapp(["check", "production", "--env", "nowhere", "--json"])
        .outcome();
    assert_eq!(outcome.status, 1, "{}", outcome.report);
    let report: serde_json::Value =
        serde_json::from_str(outcome.stdout.lines().next().unwrap()).unwrap();
    let states: Vec<(&str, &str)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            (
                check["check"].as_str().unwrap(),
                check["state"].as_str().unwrap(),
            )
        })
        .collect();
    for expected in [
        ("configuration", "passed"),
        ("release", "passed"),
        ("environment", "failed"),
        ("deploy.production", "failed"),
    ] {
        assert!(states.contains(&expected), "{states:?}");
    }
}

#[test]
fn packages_are_compared() {
    let sandbox = Sandbox::hello();
    pin(
        &sandbox,
        &[Wheel::simple("first", "1.0"), Wheel::simple("gone", "1.0")],
    );
    let old = sandbox
        .build(["--format", "deb", "--output", "old"])
        .remove(0);
    sandbox.edit(
        "pyproject.toml",
        "version = \"1.0.0\"",
        "version = \"1.1.0\"",
    );
    sandbox.append("motd.txt", "more\n");
    sandbox.append("pkgapp.toml", "\n[package.depends]\ndeb = [\"libpq5\"]\n");
    sandbox.write("requirements.txt", "--no-index\n");
    pin(
        &sandbox,
        &[Wheel::simple("first", "1.1"), Wheel::simple("new", "3.0")],
    );
    let new = sandbox
        .build(["--format", "deb", "--output", "new"])
        .remove(0);
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let text = sandbox.pkgapp(["diff", old, new, "--files"]).stdout();
    for part in [
        "Version       1.0.0-1 -> 1.1.0-1",
        "Distributions: 1 added, 1 removed, 2 changed",
        "  ~ first  1.0 -> 1.1",
        "  - gone  1.0",
        "  + new  3.0",
        "  + libpq5",
        "  ~ /opt/hello/app/motd.txt",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let outcome = sandbox.pkgapp(["diff", old, new, "--exit-code"]).outcome();
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (4, "found: the packages differ\n"),
        "{}",
        outcome.report
    );
    assert_eq!(
        sandbox.pkgapp(["diff", new, new, "--exit-code"]).stdout(),
        "nothing differs\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.pkgapp(["diff", old, new, "--json"]).stdout()).unwrap();
    assert_eq!(
        json["distributions"][0],
        serde_json::json!({"name": "first", "change": "changed", "old": "1.0", "new": "1.1"})
    );
}
