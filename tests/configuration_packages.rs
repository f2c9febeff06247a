//! Software and its configuration as two packages.

use std::process::Command;

use super::support::Sandbox;
use super::support::project::pin;
use super::support::tools::output;
use super::support::wheel::Wheel;

const SHOP: &str = r#"
[package]
configuration = "separate"

[settings.SHOP_TITLE]
type = "string"
help = "What customers see"

[service.web]
exec = "python -m hello"

[cron.purge]
exec = "hello --version"
schedule = "@daily"

[deploy.production]
hosts = ["web1"]
settings.SHOP_TITLE = "Tick"

[deploy.staging]
hosts = ["web2"]
"#;

fn shop() -> Sandbox {
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[Wheel::simple("nothing", "1.0")]);
    sandbox.append("pkgapp.toml", SHOP);
    sandbox
}

/// The names of the packages in a directory, sorted.
fn packages(sandbox: &Sandbox, directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(sandbox.path(directory)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Replaces a text of the configuration.
fn rewrite(sandbox: &Sandbox, old: &str, new: &str) {
    let text = std::fs::read_to_string(sandbox.path("pkgapp.toml")).unwrap();
    assert!(text.contains(old), "{text}");
    sandbox.write("pkgapp.toml", text.replace(old, new));
}

#[test]
fn one_declaration_makes_the_packages_of_all_deployments() {
    let sandbox = shop();
    sandbox
        .pkgapp(["build", "--format", "all", "--for", "production"])
        .stdout();
    let made = packages(&sandbox, "dist");
    let [software_rpm, config_rpm, config_deb, software_deb] = &made[..] else {
        panic!("{made:?}");
    };
    assert!(software_rpm.starts_with("hello-1.0.0-1."), "{made:?}");
    assert!(software_deb.starts_with("hello_1.0.0-1_"), "{made:?}");
    assert!(config_rpm.contains("-production.g"), "{made:?}");
    assert!(config_deb.ends_with("_all.deb"), "{made:?}");

    // The units and values are in the configuration, and the release is in the software.
    let rendered = sandbox.pkgapp(["render", "--for", "production"]).stdout();
    assert!(
        rendered.contains("Environment=SHOP_TITLE=Tick\n"),
        "{rendered}"
    );
    assert!(!rendered.contains("==> /opt/hello"), "{rendered}");
    let software = sandbox.pkgapp(["render"]).stdout();
    assert!(!software.contains("==> /usr/lib/systemd"), "{software}");
    assert!(software.contains("==> /opt/hello/.pkgapp/service/pkgapp.toml"));

    // An operator has neither the sources nor a Python of the application.
    sandbox.write(
        "operator/pkgapp.toml",
        "[app]\nname = \"hello\"\nversion = \"0\"\n[python]\nversion = \"3.11\"\n\
         [deploy.production]\nhosts = [\"web1\"]\nsettings = { SHOP_TITLE = \"Tick\" }\n",
    );
    for software in [software_deb, software_rpm] {
        let file = sandbox.path(&format!("dist/{software}"));
        let args = [
            "--config",
            "operator/pkgapp.toml",
            "build",
            "--for",
            "production",
        ];
        let args = args.map(str::to_owned).into_iter();
        let args = args.chain(["--software".to_owned(), file.display().to_string()]);
        sandbox.pkgapp(args).stdout();
        assert_eq!(
            packages(&sandbox, "operator/dist"),
            [config_rpm.as_str(), config_deb]
        );
        for name in [config_rpm, config_deb] {
            let bytes = |directory: &str| {
                std::fs::read(sandbox.path(&format!("{directory}/{name}"))).unwrap()
            };
            assert!(
                bytes("dist") == bytes("operator/dist"),
                "{name} from {software}"
            );
        }
        std::fs::remove_dir_all(sandbox.path("operator/dist")).unwrap();
    }

    let Some(dpkg_deb) = pkgapp_testing::tool("dpkg-deb") else {
        return;
    };
    let field = |name: &str, field: &str| {
        let file = sandbox.path(&format!("dist/{name}"));
        let printed = output(Command::new(&dpkg_deb).arg("--field").arg(file).arg(field));
        String::from_utf8(printed).unwrap()
    };
    assert!(field(config_deb, "Depends").contains("hello-software (>= 1.0.0-1)"));
    assert!(!field(software_deb, "Depends").contains("cron"));
}

#[test]
fn what_cannot_be_separate_is_named() {
    let sandbox = shop();
    for (status, args, message) in [
        (
            1,
            &["build", "--for", "staging"][..],
            "the setting `SHOP_TITLE` has no value in `staging`",
        ),
        (
            1,
            &["check"],
            "the setting `SHOP_TITLE` has no value in `staging`",
        ),
        (2, &["build", "--for", "nowhere"], "nowhere"),
        (
            2,
            &["build", "--format", "tar"],
            "a tarball includes its configuration",
        ),
        (
            2,
            &["build", "--set", "SHOP_TITLE=Tick"],
            "write `SHOP_TITLE` below `[deploy.NAME.settings]`",
        ),
        (
            1,
            &["push", "production", "--dry-run"],
            "there is no artifact of `hello`",
        ),
    ] {
        let outcome = sandbox.pkgapp(args.iter().copied()).outcome();
        assert_eq!(outcome.status, status, "{}", outcome.report);
        assert!(outcome.stderr.contains(message), "{}", outcome.report);
        assert!(!sandbox.path("dist").exists(), "{}", outcome.report);
    }

    sandbox
        .pkgapp(["build", "--format", "deb", "--for", "production"])
        .stdout();
    let made = packages(&sandbox, "dist");
    let find = |start: &str| made.iter().find(|name| name.starts_with(start)).unwrap();
    let configuration = find("hello-config_");
    let software = format!("dist/{}", find("hello_"));
    let in_dist = format!("dist/{configuration}");
    let elsewhere = sandbox.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(sandbox.path(&in_dist), elsewhere.join(configuration)).unwrap();
    let alone = format!("elsewhere/{configuration}");
    for (status, words, message) in [
        (
            2,
            &["push", "--hosts", "web1"][..],
            "name a deployment, for example `pkgapp push production`",
        ),
        (
            1,
            &["push", "staging"],
            "there is no configuration package for `staging` in `dist`",
        ),
        (
            1,
            &["push", "staging", &in_dist],
            "is the configuration of `production`, not of `staging`",
        ),
        (
            1,
            &["push", "production", &alone],
            "can only be pushed together with the package of hello 1.0.0-1",
        ),
    ] {
        let words = words.iter().copied().chain(["--dry-run"]);
        let outcome = sandbox.pkgapp(words).outcome();
        assert_eq!(outcome.status, status, "{}", outcome.report);
        assert!(outcome.stderr.contains(message), "{}", outcome.report);
    }

    rewrite(&sandbox, "configuration = \"separate\"\n", "");
    let printed = sandbox.pkgapp(["build", "--for", "production"]).fails();
    assert!(
        printed.contains("write `configuration = \"separate\"`"),
        "{printed}"
    );
    let args = ["build", "--for", "production", "--software", &software];
    sandbox.append("pkgapp.toml", "[app2]\n");
    let printed = sandbox.pkgapp(args).fails();
    assert!(printed.contains("app2"), "{printed}");
}

#[test]
fn several_configurations_may_use_one_release() {
    let sandbox = shop();
    let include = "include = [\"motd.txt\"]\n";
    rewrite(
        &sandbox,
        include,
        &format!("{include}writable = [\"media/\"]\n"),
    );
    let printed = sandbox.pkgapp(["build"]).fails();
    assert!(
        printed.contains("a release with a separate configuration cannot have `writable` paths"),
        "{printed}"
    );
}
