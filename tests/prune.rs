//! What a release can do without is left out, and what is left works.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::project::pin;
use super::support::tools::{python, text};
use super::support::wheel::Wheel;
use super::support::{Sandbox, foreign};

/// A distribution with something for every profile, and another one that imports tests of the
/// first.
fn wheels() -> [Wheel; 2] {
    [
        Wheel::new("lib", "1.0")
            .file("lib/__init__.py", "from .core import check\n")
            .file("lib/__init__.pyi", "def check() -> int: ...\n")
            .file("lib/py.typed", "")
            .file("lib/core.py", "def check():\n    return 1\n")
            .file("lib/tests/__init__.py", "")
            .file("lib/tests/test_core.py", "import lib\n")
            .file("lib/shared/__init__.py", "")
            .file("lib/shared/tests/__init__.py", "HELP = 1\n")
            .file("lib/include/lib.h", "#define LIB 1\n")
            .file("lib/liblib.a", "!<arch>\n")
            .file("lib/locale/de/LC_MESSAGES/lib.mo", "de")
            .file("lib/locale/fr/LC_MESSAGES/lib.mo", "fr")
            .console_script("lib-run", "lib:check"),
        Wheel::new("user", "1.0").file("user/__init__.py", "from lib.shared.tests import HELP\n"),
    ]
}

fn pruned(profiles: &str) -> Sandbox {
    let sandbox = Sandbox::hello();
    pin(&sandbox, &wheels());
    sandbox.append("pkgapp.toml", &format!("\n[package]\n{profiles}\n"));
    sandbox
}

const ALL: &str = "prune = [\"tests\", \"stubs\", \"headers\", \"static\", \"sources\", \"locales\"]\nlocales = [\"de\"]";

/// The directory of modules of a tarball's release, unpacked.
fn site_packages(sandbox: &Sandbox, tar: &Path) -> Option<PathBuf> {
    let directory = sandbox
        .root()
        .join(format!("unpacked-{}", tar.metadata().unwrap().len()));
    foreign::unpack(tar, &directory)?;
    let minor = &python().minor;
    let found = walkdir::WalkDir::new(&directory)
        .into_iter()
        .flatten()
        .find(|entry| entry.file_name() == "site-packages");
    let found = found.expect("there is a site-packages").into_path();
    assert!(found.ends_with(format!("lib/python{minor}/site-packages")));
    Some(found)
}

/// What Python itself says: which files that RECORD names are missing or have another hash, which
/// of those that are there it does not name, and what fails to import.
const JUDGE: &str = r"
import base64, hashlib, importlib, importlib.metadata, os, sys
site = sys.argv[1]
sys.path.insert(0, site)
sys.dont_write_bytecode = True
named = set()
for dist in importlib.metadata.distributions(path=[site]):
    assert dist.version and dist.metadata['Name']
    for file in dist.files:
        path = os.path.normpath(os.path.join(site, str(file)))
        named.add(path)
        if not os.path.exists(path):
            print('missing', file)
        elif file.hash:
            sum = hashlib.new(file.hash.mode, open(path, 'rb').read()).digest()
            if base64.urlsafe_b64encode(sum).rstrip(b'=').decode() != file.hash.value:
                print('changed', file)
for directory, _, files in os.walk(site):
    for name in files:
        path = os.path.join(directory, name)
        if path not in named and not name.endswith('-app.pth'):
            print('unknown', os.path.relpath(path, site))
for module in sys.argv[2:]:
    importlib.import_module(module)
";

fn judged(site: &Path, modules: &[&str]) -> String {
    text(
        Command::new(&python().path)
            .args(["-I", "-c", JUDGE])
            .arg(site)
            .args(modules),
    )
}

#[test]
fn what_is_left_is_whole_and_can_be_imported() {
    let sandbox = pruned(ALL);
    let tar = sandbox.build(["--format", "tar"]).remove(0);
    let Some(site) = site_packages(&sandbox, &tar) else {
        return;
    };
    assert_eq!(
        judged(&site, &["lib", "lib.shared.tests", "user", "hello"]),
        ""
    );
    let is_there = |path: &str| site.join("lib").join(path).exists();
    for gone in ["__init__.pyi", "tests", "include", "liblib.a", "locale/fr"] {
        assert!(!is_there(gone), "{gone} is there");
    }
    for left in [
        "py.typed",
        "shared/tests/__init__.py",
        "locale/de/LC_MESSAGES/lib.mo",
        "core.py",
    ] {
        assert!(is_there(left), "{left} is gone");
    }
}

#[test]
fn what_was_saved_is_told_and_recorded() {
    let sandbox = pruned(ALL);
    let outcome = sandbox.pkgapp(["-v", "build", "--format", "tar"]).outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(outcome.stderr.contains("left out: "), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("distribution `lib 1.0`: less"),
        "{}",
        outcome.stderr
    );
    let note = "distribution `lib 1.0`: `lib/shared/tests` stays: another distribution imports it";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    let tar = outcome.stdout.lines().last().unwrap().to_owned();
    let shown = sandbox.pkgapp(["inspect", &tar]).stdout();
    assert!(
        shown.contains("lib-1.0-py3-none-any.whl, less ") && shown.contains("tests "),
        "{shown}"
    );
    let document: serde_json::Value =
        serde_json::from_str(&sandbox.pkgapp(["inspect", &tar, "--json"]).stdout()).unwrap();
    let of = |name: &str| {
        let all = document["release"]["distributions"].as_array().unwrap();
        all.iter()
            .find(|distribution| distribution["name"] == name)
            .unwrap()["pruned"]
            .clone()
    };
    assert_eq!(of("lib")["tests"]["files"], 2);
    assert_eq!(of("lib")["tests"]["bytes"], "import lib\n".len());
    assert_eq!(of("user"), serde_json::Value::Null);
}

#[test]
fn nothing_is_left_out_unless_it_is_asked_for() {
    let plain = pruned("");
    let excepted = pruned("prune = [\"tests\"]\nprune-except = [\"lib\"]");
    let bytes =
        |sandbox: &Sandbox| std::fs::read(sandbox.build(["--format", "tar"]).remove(0)).unwrap();
    assert!(bytes(&plain) == bytes(&excepted));
    // A layer that was pruned is none of a build that does not want that, and the other way round.
    plain.append("pkgapp.toml", &format!("{ALL}\n"));
    let small = bytes(&plain);
    plain.edit("pkgapp.toml", ALL, "");
    assert!(bytes(&plain) == bytes(&excepted));
    assert!(small != bytes(&plain));
}

#[test]
fn mistakes_of_the_configuration_are_told() {
    for (line, part) in [
        (
            "prune = [\"test\"]",
            "`test` is not a profile of files to prune",
        ),
        (
            "locales = [\"de\"]",
            "`locales` says which languages stay, and none is taken out",
        ),
        (
            "prune-except = [\"lib\"]",
            "`prune-except` names distributions that stay whole, and none is pruned",
        ),
        (
            "prune = [\"locales\"]\nlocales = [\"../de\"]",
            "`../de` is not the name of a locale",
        ),
        ("arch = \"sparc\"", "unsupported architecture `sparc`"),
        (
            "byte-code = \"never\"",
            "`never` is not a valid value for `package.byte-code`",
        ),
    ] {
        let text = pruned(line).pkgapp(["build"]).fails();
        assert!(
            text.contains(part) && text.contains("pkgapp.toml:"),
            "`{part}` is not in:\n{text}"
        );
    }
}
