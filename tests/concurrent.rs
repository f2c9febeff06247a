//! Builds beside each other, and builds that are killed: the cache stays sound.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use super::support::project::{full, pin};
use super::support::wheel::Wheel;
use super::support::{Sandbox, alter, copy, layer_with};

fn succeed(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

fn same(one: &[PathBuf], other: &[PathBuf]) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(
            std::fs::read(one).unwrap(),
            std::fs::read(other).unwrap(),
            "{}",
            one.display()
        );
    }
}

/// What a sound build of the same project gives.
fn reference(sandbox: &Sandbox) -> Vec<PathBuf> {
    let cache = sandbox.root().join("cache of the reference");
    sandbox
        .pkgapp(["build", "--format", "all", "--output", "reference"])
        .env("PKGAPP_CACHE_DIR", cache)
        .artifacts()
}

#[test]
fn four_builds_share_one_empty_cache() {
    let sandbox = full();
    let projects: Vec<PathBuf> = (0..4)
        .map(|number| sandbox.root().join(format!("project {number}")))
        .collect();
    for project in &projects {
        copy(&sandbox.project(), project);
    }
    let children: Vec<Child> = projects
        .iter()
        .map(|project| {
            sandbox
                .pkgapp(["build", "--format", "all"])
                .within(project)
                .start()
        })
        .collect();
    children.into_iter().for_each(succeed);
    let expected = reference(&sandbox);
    for project in &projects {
        let made: Vec<PathBuf> = expected
            .iter()
            .map(|path| project.join("dist").join(path.file_name().unwrap()))
            .collect();
        same(&expected, &made);
    }
    let left = super::support::walk(&sandbox.cache().join("tmp"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn two_builds_of_one_project_do_not_disturb_each_other() {
    let sandbox = full();
    let children = [
        sandbox.pkgapp(["build", "--format", "all"]).start(),
        sandbox.pkgapp(["build", "--format", "all"]).start(),
    ];
    children.into_iter().for_each(succeed);
    let expected = reference(&sandbox);
    let made: Vec<PathBuf> = expected
        .iter()
        .map(|path| sandbox.path("dist").join(path.file_name().unwrap()))
        .collect();
    same(&expected, &made);
    assert_eq!(
        std::fs::read_dir(sandbox.path("dist")).unwrap().count(),
        3,
        "temporary files were left in dist/"
    );
}

/// Kills a build with all that it has started: none of it has time to clean up.
fn kill_group(child: &Child) {
    let group = rustix::process::Pid::from_child(child);
    // It may have come to its end.
    _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

#[test]
fn a_killed_build_is_taken_up_by_the_next() {
    let sandbox = full();
    let expected = reference(&sandbox);
    // From just started to almost done; each on the cache that the one before left behind.
    for milliseconds in [5, 20, 50, 100, 150, 200, 300, 450, 600, 900] {
        let mut child = sandbox.pkgapp(["build", "--format", "all"]).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        kill_group(&child);
        child.wait().unwrap();
    }
    same(&expected, &sandbox.build(["--format", "all"]));
}

/// It is written over the one before the last, and no one sees that one change.
#[test]
fn a_killed_rebuild_leaves_the_last_package_whole() {
    let sandbox = full();
    let texts = ["one\n", "another, longer\n"];
    let read = |artifacts: &[PathBuf]| -> Vec<Vec<u8>> {
        artifacts
            .iter()
            .map(|artifact| std::fs::read(artifact).unwrap())
            .collect()
    };
    let mut artifacts = Vec::new();
    let wanted = texts.map(|text| {
        sandbox.write("motd.txt", text);
        artifacts = sandbox.build(["--format", "all"]);
        read(&reference(&sandbox))
    });
    sandbox.build(["--format", "all"]);
    let (mut finished, dist) = (0, artifacts[0].parent().unwrap());
    for turn in 0..40 {
        sandbox.write("motd.txt", texts[turn % 2]);
        let mut child = sandbox.pkgapp(["build", "--format", "all"]).start();
        std::thread::sleep(Duration::from_millis(5 * turn as u64));
        kill_group(&child);
        finished += usize::from(child.wait().unwrap().success());
        for (format, bytes) in read(&artifacts).iter().enumerate() {
            assert!(
                wanted.iter().any(|wanted| wanted[format] == *bytes),
                "{turn}: {}",
                artifacts[format].display()
            );
        }
        // A name that a file has for the moment before it is renamed is hidden.
        let names = std::fs::read_dir(dist)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let shown = names.filter(|name| !name.as_encoded_bytes().starts_with(b"."));
        assert_eq!(shown.count(), artifacts.len(), "{turn}");
    }
    assert!(finished < 40, "none was killed");
    assert_eq!(read(&sandbox.build(["--format", "all"])), wanted[1]);
}

/// The only file of the cache whose path ends so.
fn cached(sandbox: &Sandbox, end: &str) -> PathBuf {
    let found: Vec<PathBuf> = super::support::walk(&sandbox.cache())
        .into_iter()
        .filter(|path| path.ends_with(end))
        .collect();
    let [path] = &found[..] else {
        panic!("{end}: {found:?}")
    };
    path.clone()
}

#[test]
fn a_damaged_layer_is_noticed_and_made_anew_within_the_same_build() {
    let sandbox = full();
    let expected = reference(&sandbox);
    sandbox.build(["--format", "all"]);
    let layer = layer_with(&sandbox, "space/left.py");
    let (pack, manifest) = (layer.join("pack"), layer.join("layer.json"));
    let sound = std::fs::read(&pack).unwrap();
    let harms: [&dyn Fn(); 5] = [
        // Of the same length: only the sum tells.
        &|| alter(&pack, b"SIDE = \"left\"", b"SIDE = \"LEFT\""),
        &|| std::fs::write(&pack, &sound[..sound.len() - 1]).unwrap(),
        &|| std::fs::write(&pack, "").unwrap(),
        &|| std::fs::remove_file(&pack).unwrap(),
        // Right JSON that says something else: a mode.
        &|| {
            let text = std::fs::read_to_string(&manifest).unwrap();
            let other = text.replace(",420,", ",511,");
            assert_ne!(other, text);
            std::fs::write(&manifest, other).unwrap();
        },
    ];
    for harm in harms {
        harm();
        // So that nothing but the layer can give the bytes.
        _ = std::fs::remove_dir_all(sandbox.cache().join("segments"));
        same(&expected, &sandbox.build(["--format", "all"]));
        assert!(std::fs::read(&pack).unwrap() == sound);
    }
}

#[test]
fn damaged_segments_are_noticed_and_made_anew() {
    let sandbox = full();
    // Two that are so large that part of them is written before their damage shows.
    let mut state = 1_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut large = || (0..3 << 20).map(|_| noise()).collect::<Vec<u8>>();
    let wheels = ["noise", "noise_too"]
        .map(|name| Wheel::new(name, "1.0").file(&format!("{name}/noise"), large()));
    pin(&sandbox, &wheels);
    let expected = reference(&sandbox);
    sandbox.build(["--format", "all"]);
    let segments = super::support::walk(&sandbox.cache().join("segments"));
    let segments: Vec<_> = segments.into_iter().filter(|path| path.is_file()).collect();
    assert!(segments.len() > 3, "{segments:?}");
    let mut large_ones = 0;
    for (number, path) in segments.iter().enumerate() {
        let mut bytes = std::fs::read(path).unwrap();
        if bytes.len() > 3 << 20 {
            large_ones += 1;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
            continue;
        }
        match number % 3 {
            0 => bytes.truncate(bytes.len() - 1),
            1 => *bytes.last_mut().unwrap() ^= 1,
            _ => bytes.clear(),
        }
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(large_ones, 6, "two of each format");
    same(&expected, &sandbox.build(["--format", "all"]));
    // With sound segments, the files that they were made of are not read.
    let text = sandbox
        .pkgapp(["-v", "build", "--format", "all"])
        .outcome()
        .stderr;
    assert!(
        text.contains(&format!("segments: {} reused", segments.len())),
        "{text}"
    );
}

#[test]
fn a_wheel_of_the_cache_is_what_its_hash_says_or_fetched_again() {
    let sandbox = full();
    let expected = reference(&sandbox);
    sandbox.build(["--format", "all"]);
    let (wheel, layers) = (
        cached(&sandbox, "space_left-1.0-py3-none-any.whl"),
        sandbox.cache().join("layers"),
    );
    let sound = std::fs::read(&wheel).unwrap();
    // Torn; and a wheel that is right in itself, RECORD included, but another one.
    let other = sandbox.root().join("other");
    let evil = super::support::wheel::Wheel::new("space-left", "1.0")
        .file("space/left.py", "SIDE = 'evil'\n");
    let evil = std::fs::read(evil.write(&other)).unwrap();
    for damaged in [&sound[..40], &evil] {
        std::fs::write(&wheel, damaged).unwrap();
        std::fs::remove_dir_all(&layers).unwrap();
        same(&expected, &sandbox.build(["--format", "all"]));
        assert_eq!(std::fs::read(&wheel).unwrap(), sound);
    }
}
