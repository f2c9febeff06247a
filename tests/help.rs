//! `--help` is documentation: read the difference when it changes.

use super::support::{Sandbox, golden};

#[test]
fn help_texts() {
    let sandbox = Sandbox::new();
    let commands: &[&[&str]] = &[
        &[],
        &["init"],
        &["build"],
        &["diff"],
        &["inspect"],
        &["explain"],
        &["schema"],
        &["man"],
        &["render"],
        &["push"],
        &["rollback"],
        &["confirm"],
        &["status"],
        &["history"],
        &["completions"],
        &["run"],
        &["put"],
        &["get"],
        &["secrets"],
        &["secrets", "set"],
        &["secrets", "list"],
        &["secrets", "copy"],
        &["secrets", "generate"],
        &["logs"],
        &["bootstrap"],
        &["check"],
        &["lock"],
        &["cache"],
        &["cache", "dir"],
        &["cache", "size"],
        &["cache", "prune"],
        &["cache", "verify"],
        &["cache", "export"],
        &["runtime"],
        &["runtime", "build"],
    ];
    let mut differences = String::new();
    for command in commands {
        let mut args = command.to_vec();
        args.push("--help");
        let name = if command.is_empty() {
            "pkgapp".to_owned()
        } else {
            command.join("-")
        };
        let text = sandbox.pkgapp(&args).stdout();
        if let Err(difference) = golden(&format!("help/{name}.txt"), &text) {
            differences += &difference;
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// groff formats every page without a warning.
#[test]
fn manual_pages_are_valid() {
    let sandbox = Sandbox::new();
    sandbox.pkgapp(["man", "pages"]).prints("pages\n", "");
    let pages: Vec<_> = std::fs::read_dir(sandbox.path("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(sandbox.path("pages/pkgapp-explain.1").is_file());
    assert!(pages.len() > 20, "{pages:?}");
    let Some(groff) = pkgapp_testing::tool("groff") else {
        return;
    };
    for page in pages {
        let mut format = std::process::Command::new(&groff);
        let format = format
            .args(["-K", "utf8", "-man", "-Tutf8", "-ww"])
            .arg(&page);
        let output = format.output().unwrap();
        assert!(output.status.success(), "{page:?}: {output:?}");
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(warnings, "", "{page:?}");
    }
}

#[test]
fn version_is_the_crates() {
    Sandbox::new()
        .pkgapp(["--version"])
        .prints(&format!("pkgapp {}\n", env!("CARGO_PKG_VERSION")), "");
}

#[test]
fn completions_are_scripts_of_their_shell() {
    let Some(bash) = super::support::tools::tool("bash") else {
        return;
    };
    let sandbox = Sandbox::new();
    let script = sandbox.pkgapp(["completions", "bash"]).stdout();
    // As a file, as people source it: an argument has at most 128 kB.
    sandbox.write("completions.sh", format!("{script}\ncomplete -p pkgapp\n"));
    let file = sandbox.path("completions.sh");
    let mut command = std::process::Command::new(bash);
    let printed = super::support::tools::text(command.arg("--norc").arg(file));
    assert!(printed.contains("_pkgapp"), "{printed}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    // `pkgapp render | head -n0`: no message, no panic.
    let sandbox = Sandbox::hello();
    let pipe = "\"$@\" | true; echo \"${PIPESTATUS[0]}\"";
    let printed = sandbox
        .pkgapp(["render"])
        .under(["bash", "-c", pipe, "pipe"])
        .outcome();
    assert!(
        ["0\n", "141\n"].contains(&printed.stdout.as_str()),
        "{}",
        printed.report
    );
    assert!(!printed.stderr.contains("panicked"), "{}", printed.report);
}

#[test]
fn a_variable_that_is_no_longer_documented_works_with_a_warning() {
    let sandbox = Sandbox::hello();
    let outcome = sandbox
        .pkgapp(["render"])
        .env("PKGAPP_TARGET", "debian12")
        .outcome();
    let warning = "warning: `PKGAPP_TARGET` is deprecated: use `--target`";
    assert!(outcome.stderr.contains(warning), "{}", outcome.report);
}
