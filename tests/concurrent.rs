//! Builds beside each other, and builds that are killed: the cache stays sound.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use super::support::project::full;
use super::support::{Sandbox, copy};

fn succeed(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

fn same(one: &[PathBuf], other: &[PathBuf]) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap(), "{}", one.display());
    }
}

/// What a sound build of the same project gives.
fn reference(sandbox: &Sandbox) -> Vec<PathBuf> {
    let cache = sandbox.root().join("cache of the reference");
    sandbox.pkgapp(["build", "--format", "all", "--output", "reference"]).env("PKGAPP_CACHE_DIR", cache).artifacts()
}

#[test]
fn four_builds_share_one_empty_cache() {
    let sandbox = full();
    let projects: Vec<PathBuf> = (0..4).map(|number| sandbox.root().join(format!("project {number}"))).collect();
    for project in &projects {
        copy(&sandbox.project(), project);
    }
    let children: Vec<Child> =
        projects.iter().map(|project| sandbox.pkgapp(["build", "--format", "all"]).within(project).start()).collect();
    children.into_iter().for_each(succeed);
    let expected = reference(&sandbox);
    for project in &projects {
        let made: Vec<PathBuf> =
            expected.iter().map(|path| project.join("dist").join(path.file_name().unwrap())).collect();
        same(&expected, &made);
    }
    let left = super::support::walk(&sandbox.cache().join("tmp"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn two_builds_of_one_project_do_not_disturb_each_other() {
    let sandbox = full();
    let children =
        [sandbox.pkgapp(["build", "--format", "all"]).start(), sandbox.pkgapp(["build", "--format", "all"]).start()];
    children.into_iter().for_each(succeed);
    let expected = reference(&sandbox);
    let made: Vec<PathBuf> = expected.iter().map(|path| sandbox.path("dist").join(path.file_name().unwrap())).collect();
    same(&expected, &made);
    assert_eq!(std::fs::read_dir(sandbox.path("dist")).unwrap().count(), 3, "temporary files were left in dist/");
}

#[test]
fn a_killed_build_is_taken_up_by_the_next() {
    let sandbox = full();
    let expected = reference(&sandbox);
    // From just started to almost done; each on the cache that the one before left behind.
    for milliseconds in [5, 20, 50, 100, 150, 200, 300, 450, 600, 900] {
        let mut child = sandbox.pkgapp(["build", "--format", "all"]).start();
        std::thread::sleep(Duration::from_millis(milliseconds));
        // The whole process group, with what it has started: none of it has time to clean up.
        Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]).output().unwrap();
        child.wait().unwrap();
    }
    same(&expected, &sandbox.build(["--format", "all"]));
}
