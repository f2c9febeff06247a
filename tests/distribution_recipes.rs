//! Recipes that come from the wheel of a distribution in the lock.

use super::support::server::{Api, Index};
use super::support::tools::python;
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

/// A recipe comes from an index, and from the cache when there is no network.
#[test]
fn offline_needs_nothing_but_the_cache() {
    let server = Index::new(Api::Json).wheel("acme-deploy", &house()).serve();
    let hash = sha256(&house().bytes());
    let sandbox = locked("acme-deploy:web");
    let lock = format!(
        "--index-url {}\nacme-deploy==1.2 --hash=sha256:{hash}\n",
        server.url()
    );
    sandbox.write("requirements.txt", lock);
    let text = sandbox.pkgapp(["--offline", "explain"]).fails();
    assert!(text.contains("acme-deploy"), "{text}");

    let online = sandbox.pkgapp(["explain", "service"]).stdout();
    let before = server.requests().len();
    assert!(before > 0);
    let offline = sandbox.pkgapp(["--offline", "explain", "service"]).stdout();
    assert_eq!(server.requests().len(), before, "--offline asked the index");
    drop(server);
    let gone = sandbox.pkgapp(["--offline", "explain", "service"]).stdout();
    assert_eq!((&online, &online), (&offline, &gone));
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
    let told = Sandbox::new().normal(&told);
    golden(
        "explain/distribution-errors.txt",
        &told.replace(&python().minor, "[PYTHON]"),
    )
    .unwrap();
}
