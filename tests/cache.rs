//! `pkgapp cache`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::support::project::full;
use super::support::{Sandbox, alter, layer_with, walk};

fn json(sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
    let text = sandbox
        .pkgapp([&["--json", "cache"], args].concat())
        .stdout();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn kinds(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let size = json(sandbox, &["size"]);
    let kinds = size["kinds"].as_array().unwrap().iter();
    kinds
        .map(|kind| {
            (
                kind["kind"].as_str().unwrap().to_owned(),
                kind["entries"].as_u64().unwrap(),
            )
        })
        .collect()
}

fn below(sandbox: &Sandbox, path: &Path) -> String {
    path.strip_prefix(sandbox.cache())
        .unwrap()
        .display()
        .to_string()
}

#[test]
fn size_and_prune_tell_what_there_is_and_take_it_away() {
    let sandbox = full();
    sandbox.build(["--format", "tar"]);
    assert_eq!(
        sandbox.pkgapp(["cache", "dir"]).stdout(),
        format!("{}\n", sandbox.cache().display())
    );
    let before = kinds(&sandbox);
    let count = |kinds: &[(String, u64)], kind: &str| {
        kinds.iter().find(|(name, _)| name == kind).map(|(_, n)| *n)
    };
    let layers = std::fs::read_dir(sandbox.cache().join("layers"))
        .unwrap()
        .count() as u64;
    assert_eq!(count(&before, "layers"), Some(layers), "{before:?}");
    // All of it was used today.
    let pruned = json(&sandbox, &["prune", "--older-than", "30d"]);
    assert_eq!(
        (pruned["removed"].as_u64(), pruned["in_use"].as_u64()),
        (Some(0), Some(0)),
        "{pruned}"
    );
    let pruned = json(&sandbox, &["prune", "--all"]);
    assert_eq!(pruned["left"].as_u64(), Some(0), "{pruned}");
    let left = walk(&sandbox.cache());
    // Another program's directories may stay, empty.
    let left: Vec<String> = left
        .iter()
        .map(|path| below(&sandbox, path))
        .filter(|path| !path.ends_with("size.json"))
        .collect();
    assert!(
        left.iter().all(|path| !path.contains('/')
            || path.starts_with("tmp")
            || path.starts_with("index/")),
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
    sandbox
        .pkgapp(["build", "--format", "tar", "--cache-max-size", "1kB"])
        .artifacts();
    let size = json(&sandbox, &["size"])["bytes"].as_u64().unwrap();
    sandbox
        .pkgapp(["cache", "prune", "--max-size", "1kB"])
        .stdout();
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
        let found: Vec<_> = walk(&sandbox.cache())
            .into_iter()
            .filter(|path| path.ends_with(end))
            .collect();
        let [path] = &found[..] else {
            panic!("{end}: {found:?}")
        };
        path.clone()
    };
    let (layer, wheel) = (
        layer_with(&sandbox, "space/left.py"),
        find("space_left-1.0-py3-none-any.whl"),
    );
    let proof = std::fs::read_dir(sandbox.cache().join("proofs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    alter(&layer.join("pack"), b"SIDE = \"left\"", b"SIDE = \"LEFT\"");
    std::fs::write(&wheel, "torn").unwrap();
    std::fs::write(&proof, "{}").unwrap();
    let segment = std::fs::read_dir(sandbox.cache().join("segments"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&segment)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    let outcome = sandbox.pkgapp(["cache", "verify"]).outcome();
    let layer = below(&sandbox, &layer);
    let told = outcome
        .raw_stdout
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{layer}: ")))
        .unwrap_or_default();
    assert!(
        told.starts_with("lib/python3.") && told.ends_with("/site-packages/space/left.py"),
        "{}",
        outcome.report
    );
    let mut wanted = vec![
        format!(
            "{}: {}",
            below(&sandbox, wheel.parent().unwrap()),
            "space_left-1.0-py3-none-any.whl"
        ),
        format!("{layer}: {told}"),
        format!("{}: does not match its checksum", below(&sandbox, &proof)),
        format!("{}: does not match its checksum", below(&sandbox, &segment)),
    ];
    wanted.sort();
    let mut told: Vec<&str> = outcome.raw_stdout.lines().collect();
    told.sort_unstable();
    assert_eq!(told, wanted, "{}", outcome.report);
    assert!(
        outcome
            .stderr
            .contains("4 entries of the cache were damaged and have been removed"),
        "{}",
        outcome.report
    );
    sandbox.pkgapp(["cache", "verify"]).stdout();
    assert_eq!(
        std::fs::read(&sandbox.build(["--format", "deb"])[0]).unwrap(),
        bytes
    );
}

/// What a loss of power can leave of a file that was not synced.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Empty,
    Half,
    Zeros,
}

impl Damage {
    fn strike(self, file: &Path) {
        let old = std::fs::read(file).unwrap();
        let new = match self {
            Self::Empty => Vec::new(),
            Self::Half => old[..old.len() / 2].to_vec(),
            Self::Zeros => vec![0; old.len()],
        };
        // Another file in its place, as some of them are read-only.
        std::fs::remove_file(file).unwrap();
        std::fs::write(file, new).unwrap();
    }
}

#[test]
fn a_cache_whose_files_have_lost_their_content_gives_the_same_bytes() {
    let sandbox = full();
    let formats = ["--format", "deb", "--format", "rpm", "--format", "tar"];
    let build = || -> Vec<Vec<u8>> {
        _ = std::fs::remove_dir_all(sandbox.project().join("dist"));
        sandbox
            .build(formats)
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect()
    };
    let expected = build();
    let files = || -> BTreeMap<String, Vec<PathBuf>> {
        let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for path in walk(&sandbox.cache())
            .into_iter()
            .filter(|path| path.is_file())
        {
            let name = below(&sandbox, &path);
            let kind = name.split('/').next().unwrap_or_default();
            let end = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if kind != "tmp" {
                kinds
                    .entry(format!("{kind}/*.{end}"))
                    .or_default()
                    .push(path);
            }
        }
        kinds
    };
    let kinds = files();
    assert!(kinds.len() > 5, "{kinds:?}");
    // Files of one kind after another, then all at once.
    for kind in kinds.keys() {
        let files = files().remove(kind).unwrap_or_default();
        files.iter().for_each(|file| Damage::Empty.strike(file));
        assert!(build() == expected, "after {files:?} were emptied");
    }
    for damage in [Damage::Empty, Damage::Half, Damage::Zeros] {
        files()
            .values()
            .flatten()
            .for_each(|file| damage.strike(file));
        assert!(build() == expected, "after all files suffered {damage:?}");
    }
    sandbox.pkgapp(["cache", "verify"]).stdout();
}
