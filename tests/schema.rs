//! The schemas as taplo reads them, which editors run.

use std::process::Command;

use super::support::Sandbox;
use super::support::tools::tool;

#[test]
fn taplo_checks_a_configuration_and_a_recipe() {
    let sandbox = Sandbox::hello();
    for (options, file) in [
        (&["schema"][..], "pkgapp"),
        (&["schema", "--recipe"], "recipe"),
    ] {
        let schema = sandbox.pkgapp(options).stdout();
        sandbox.write(&format!("{file}.schema.json"), &schema);
    }
    let Some(taplo) = tool("taplo") else { return };
    let check = |schema: &str, file: &str| {
        let schema = sandbox.path(&format!("{schema}.schema.json"));
        let output = Command::new(&taplo)
            .current_dir(sandbox.path(""))
            .args([
                "check",
                "--schema",
                &format!("file://{}", schema.display()),
                file,
            ])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), told)
    };

    let (fits, told) = check("pkgapp", "pkgapp.toml");
    assert!(fits, "{told}");
    sandbox.append(
        "pkgapp.toml",
        "\n[service.extra]\nexec = \"hello\"\nrestart = \"sometimes\"\n",
    );
    let (fits, told) = check("pkgapp", "pkgapp.toml");
    assert!(!fits && told.contains("sometimes"), "{told}");

    sandbox.write(
        "house.toml",
        "[recipe]\nextends = \"web\"\n[service.web]\ninstances = \"{workers}\"\n",
    );
    let (fits, told) = check("recipe", "house.toml");
    assert!(fits, "{told}");
    sandbox.append("house.toml", "user = \"root\"\n");
    let (fits, told) = check("recipe", "house.toml");
    assert!(!fits && told.contains("user"), "{told}");
}
