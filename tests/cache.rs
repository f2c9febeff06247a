//! `pkgapp cache`.

use std::io::Write as _;
use std::path::Path;

use super::support::project::full;
use super::support::{Sandbox, alter, layer_with, walk};

fn json(sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
    let text = sandbox.pkgapp([&["--json", "cache"], args].concat()).stdout();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn kinds(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let size = json(sandbox, &["size"]);
    let kinds = size["kinds"].as_array().unwrap().iter();
    kinds.map(|kind| (kind["kind"].as_str().unwrap().to_owned(), kind["entries"].as_u64().unwrap())).collect()
}

fn below(sandbox: &Sandbox, path: &Path) -> String {
    path.strip_prefix(sandbox.cache()).unwrap().display().to_string()
}

#[test]
fn size_and_prune_tell_what_there_is_and_take_it_away() {
    let sandbox = full();
    sandbox.build(["--format", "tar"]);
    assert_eq!(sandbox.pkgapp(["cache", "dir"]).stdout(), format!("{}\n", sandbox.cache().display()));
    let before = kinds(&sandbox);
    let count = |kinds: &[(String, u64)], kind: &str| kinds.iter().find(|(name, _)| name == kind).map(|(_, n)| *n);
    let layers = std::fs::read_dir(sandbox.cache().join("layers")).unwrap().count() as u64;
    assert_eq!(count(&before, "layers"), Some(layers), "{before:?}");
    // All of it was used today.
    let pruned = json(&sandbox, &["prune", "--older-than", "30d"]);
    assert_eq!((pruned["removed"].as_u64(), pruned["in_use"].as_u64()), (Some(0), Some(0)), "{pruned}");
    let pruned = json(&sandbox, &["prune", "--all"]);
    assert_eq!(pruned["left"].as_u64(), Some(0), "{pruned}");
    let left = walk(&sandbox.cache());
    // Another program's directories may stay, empty.
    let left: Vec<String> =
        left.iter().map(|path| below(&sandbox, path)).filter(|path| !path.ends_with("size.json")).collect();
    assert!(
        left.iter().all(|path| !path.contains('/') || path.starts_with("tmp") || path.starts_with("index/")),
        "{left:?}"
    );
    sandbox.build(["--format", "tar"]);
}

#[test]
fn a_cache_that_is_too_large_is_made_smaller_after_a_build() {
    let sandbox = full();
    let first = sandbox.build(["--format", "tar"]);
    let bytes = std::fs::read(&first[0]).unwrap();
    // Another release, so that there is something that this build does not use.
    sandbox.append("pkgapp.toml", "\n[build.env]\nX = \"y\"\n");
    sandbox.pkgapp(["build", "--format", "tar", "--cache-max-size", "1kB"]).artifacts();
    let size = json(&sandbox, &["size"])["bytes"].as_u64().unwrap();
    sandbox.pkgapp(["cache", "prune", "--max-size", "1kB"]).stdout();
    let left = json(&sandbox, &["size"])["bytes"].as_u64().unwrap();
    assert!(left < 20_000 && left < size, "{left} of {size}");
    assert_eq!(std::fs::read(&first[0]).unwrap().len(), bytes.len());
}

#[test]
fn verify_names_what_is_damaged_and_forgets_it() {
    let sandbox = full();
    let expected = sandbox.build(["--format", "deb"]);
    let bytes = std::fs::read(&expected[0]).unwrap();
    sandbox.pkgapp(["cache", "verify"]).stdout();
    let find = |end: &str| {
        let found: Vec<_> = walk(&sandbox.cache()).into_iter().filter(|path| path.ends_with(end)).collect();
        let [path] = &found[..] else { panic!("{end}: {found:?}") };
        path.clone()
    };
    let (layer, wheel) = (layer_with(&sandbox, "space/left.py"), find("space_left-1.0-py3-none-any.whl"));
    let proof = std::fs::read_dir(sandbox.cache().join("proofs")).unwrap().next().unwrap().unwrap().path();
    alter(&layer.join("pack"), b"SIDE = \"left\"", b"SIDE = \"LEFT\"");
    std::fs::write(&wheel, "torn").unwrap();
    std::fs::write(&proof, "{}").unwrap();
    let segment = std::fs::read_dir(sandbox.cache().join("segments")).unwrap().next().unwrap().unwrap().path();
    std::fs::OpenOptions::new().append(true).open(&segment).unwrap().write_all(b"more").unwrap();
    let outcome = sandbox.pkgapp(["cache", "verify"]).outcome();
    let layer = below(&sandbox, &layer);
    let told = outcome.raw_stdout.lines().find_map(|line| line.strip_prefix(&format!("{layer}: "))).unwrap_or_default();
    assert!(told.starts_with("lib/python3.") && told.ends_with("/site-packages/space/left.py"), "{}", outcome.report);
    let mut wanted = vec![
        format!("{}: {}", below(&sandbox, wheel.parent().unwrap()), "space_left-1.0-py3-none-any.whl"),
        format!("{layer}: {told}"),
        format!("{}: not what its hash says", below(&sandbox, &proof)),
        format!("{}: not what its hash says", below(&sandbox, &segment)),
    ];
    wanted.sort();
    let mut told: Vec<&str> = outcome.raw_stdout.lines().collect();
    told.sort_unstable();
    assert_eq!(told, wanted, "{}", outcome.report);
    assert!(outcome.stderr.contains("4 entries of the cache were damaged, and are forgotten"), "{}", outcome.report);
    sandbox.pkgapp(["cache", "verify"]).stdout();
    assert_eq!(std::fs::read(&sandbox.build(["--format", "deb"])[0]).unwrap(), bytes);
}
