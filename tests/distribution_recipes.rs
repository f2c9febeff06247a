//! Recipes that come from the wheel of a distribution in the lock.

use super::support::wheel::{Wheel, sdist, sha256};
use super::support::{Sandbox, golden};

const HOUSE: &str = r#"[recipe]
summary = "How our house runs things"
extends = "acme-deploy:base"

[recipe.parameters]
greeting = { type = "string", default = "hello" }

[service.web]
exec = "hello --greeting {greeting}"
"#;

const BASE: &str = "[recipe]\n[every.service]\nlimit-nofile = 4096\n";

fn house() -> Wheel {
    Wheel::new("acme-deploy", "1.2")
        .file("pkgapp/web.toml", HOUSE)
        .file("pkgapp/base.toml", BASE)
        .file("pkgapp/path.toml", "[recipe]\nextends = \"./base.toml\"\n")
        .file(
            "pkgapp/evil.toml",
            "[deploy.x]\nhosts = [\"a\"]\n[service.web]\nuser = \"root\"\n",
        )
        .file("pkgapp/broken.toml", "[recipe\n")
        .file("pkgapp/huge.toml", "#".repeat((1 << 20) + 1))
        .file(
            "acme_deploy/__init__.py",
            "raise SystemExit('nothing runs')\n",
        )
}

/// The fixture, with a recipe and these wheels below `wheels/` of a local index.
fn application(recipe: &str, lock: &str) -> Sandbox {
    let sandbox = Sandbox::hello();
    sandbox.edit(
        "pkgapp.toml",
        "[app]\n",
        &format!("[app]\nrecipe = {recipe:?}\n"),
    );
    sandbox.write(
        "requirements.txt",
        format!("--no-index\n--find-links wheels\n{lock}"),
    );
    house().write(&sandbox.path("wheels"));
    sandbox
}

fn locked(recipe: &str) -> Sandbox {
    let hash = sha256(&house().bytes());
    application(recipe, &format!("acme-deploy==1.2 --hash=sha256:{hash}\n"))
}

#[test]
fn a_recipe_has_the_version_and_hash_of_its_distribution() {
    let sandbox = locked("acme-deploy:web");
    let explained = sandbox.pkgapp(["explain", "service"]).stdout();
    golden("explain/distribution.txt", &explained).unwrap();

    // The cache has the wheel now: neither the index nor a network is needed.
    std::fs::rename(sandbox.path("wheels"), sandbox.path("gone")).unwrap();
    let offline = sandbox
        .pkgapp(["--offline", "explain", "service"])
        .outcome();
    assert!(
        offline.status == 0 || offline.stderr.contains("wheels"),
        "{}",
        offline.report
    );
    std::fs::rename(sandbox.path("gone"), sandbox.path("wheels")).unwrap();

    let check = sandbox.pkgapp(["check"]).outcome();
    let told = format!("{}{}", check.stdout, check.stderr);
    assert!(told.contains("acme-deploy:web"), "{told}");
    let artifact = sandbox.build(["--format", "tar.gz"]);
    let record = sandbox
        .pkgapp(["--json", "inspect", artifact[0].to_str().unwrap()])
        .stdout();
    assert!(
        record.contains("acme-deploy 1.2: pkgapp/web.toml"),
        "{record}"
    );
    assert!(!sandbox.dump(&artifact[0]).is_empty());
}

#[test]
fn what_is_no_recipe_gets_exact_words() {
    let mut told = String::new();
    for recipe in ["wbe", "nothing-like-it", "path", "evil", "broken", "huge"] {
        let sandbox = locked(&format!("acme-deploy:{recipe}"));
        told += &sandbox.pkgapp(["explain"]).fails();
    }
    told += &locked("acme-deplyo:web").pkgapp(["explain"]).fails();
    told += &application("acme-deploy:web", "")
        .pkgapp(["explain"])
        .fails();

    let altered = application(
        "acme-deploy:web",
        &format!("acme-deploy==1.2 --hash=sha256:{}\n", "0".repeat(64)),
    );
    told += &altered.pkgapp(["explain"]).fails();

    let source = application("acme-deploy:web", "acme-deploy==1.3\n");
    sdist(&source.path("wheels"), "acme-deploy", "1.3", &[]);
    told += &source.pkgapp(["explain"]).fails();
    golden(
        "explain/distribution-errors.txt",
        &Sandbox::new().normal(&told),
    )
    .unwrap();
}
