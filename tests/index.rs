//! Wheels from an index: both forms of its pages, its failures, secrets, and doing without it.

use super::support::Sandbox;
use super::support::server::{Api, Fault, Index, Server};
use super::support::wheel::{Wheel, sdist, sha256};

/// hello with `one` from an index, by this line and these options.
fn project(url: &str, pins: &str) -> Sandbox {
    let sandbox = Sandbox::hello();
    sandbox.write("requirements.txt", format!("--index-url {url}\n{pins}"));
    sandbox
}

fn one() -> Wheel {
    // Not so small that a transfer which breaks off has sent all of it.
    let noise: Vec<u8> = (0u32..60_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    Wheel::simple("one", "1.0").file("one/noise.bin", noise)
}

fn plain(api: Api) -> Server {
    Index::new(api).wheel("one", &one()).serve()
}

#[test]
fn both_forms_of_the_simple_api_are_read() {
    for api in [Api::Html, Api::Json] {
        let server = plain(api);
        let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{}\n", sha256(&one().bytes())));
        sandbox.build(["--format", "deb"]);
        assert!(server.requests().contains(&"/files/one-1.0-py3-none-any.whl".to_owned()), "{:?}", server.requests());
    }
}

#[test]
fn the_cache_holds_plain_wheels_under_their_hash() {
    let server = plain(Api::Json);
    let sandbox = project(&server.url(), "one==1.0\n");
    sandbox.build(["--format", "deb"]);
    let wheel = sandbox.cache().join("wheels").join(sha256(&one().bytes())).join("one-1.0-py3-none-any.whl");
    assert_eq!(std::fs::read(wheel).unwrap(), one().bytes());
}

#[test]
fn what_is_cached_is_not_fetched_again() {
    let server = plain(Api::Html);
    let sandbox = project(&server.url(), "one==1.0\n");
    sandbox.build(["--format", "deb"]);
    sandbox.build(["--format", "deb"]);
    let fetched = server.requests().iter().filter(|path| path.starts_with("/files/") && path.ends_with(".whl")).count();
    assert_eq!(fetched, 1, "{:?}", server.requests());
}

#[test]
fn offline_needs_nothing_but_the_cache() {
    let hash = sha256(&one().bytes());
    let server = plain(Api::Json);
    let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{hash}\n"));
    let online = sandbox.build(["--format", "all", "--output", "online"]);
    let before = server.requests().len();
    let offline = sandbox.build(["--offline", "--format", "all", "--output", "offline"]);
    assert_eq!(server.requests().len(), before, "--offline asked the index");
    for (a, b) in online.iter().zip(&offline) {
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), "{}", a.display());
    }
    // And with the index gone for good.
    drop(server);
    sandbox.build(["--offline", "--format", "deb", "--output", "gone"]);
}

#[test]
fn offline_without_the_cache_says_what_is_missing() {
    let server = plain(Api::Json);
    let sandbox = project(&server.url(), "one==1.0\n");
    let text = sandbox.pkgapp(["--offline", "build"]).fails();
    assert!(text.contains("one") && text.contains("1.0") && text.contains("--offline"), "{text}");
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[test]
fn a_busy_index_is_asked_again() {
    let server = Index::new(Api::Html).wheel("one", &one()).fault(Fault::BusyOnce).serve();
    project(&server.url(), "one==1.0\n").build(["--format", "deb"]);
}

#[test]
fn a_transfer_that_breaks_off_is_taken_up_again() {
    let server = Index::new(Api::Html).wheel("one", &one()).fault(Fault::BreaksOffOnce).serve();
    let hash = sha256(&one().bytes());
    project(&server.url(), &format!("one==1.0 --hash=sha256:{hash}\n")).build(["--format", "deb"]);
}

#[test]
fn a_file_that_is_not_what_the_index_says_is_refused() {
    let server = Index::new(Api::Json).wheel("one", &one()).lying_hash().serve();
    let sandbox = project(&server.url(), "one==1.0\n");
    let text = sandbox.pkgapp(["build"]).fails();
    assert!(text.contains("one-1.0-py3-none-any.whl") && text.contains("sha256"), "{text}");
}

#[test]
fn a_file_that_is_not_what_was_pinned_is_refused() {
    let server = plain(Api::Json);
    let wrong = sha256(b"what was pinned");
    let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{wrong}\n"));
    let text = sandbox.pkgapp(["build"]).fails();
    // Both sums, so that a person can compare.
    assert!(text.contains("one") && text.contains("requirements.txt:2:1"), "{text}");
    assert!(!sandbox.path("dist").exists());
}

#[test]
fn a_pinned_file_that_was_yanked_is_taken_with_a_warning() {
    // PEP 592: "if a version is pinned with ==, installers may use yanked files, and should warn".
    let server = Index::new(Api::Html).wheel("one", &one()).yanked("eats data").serve();
    let sandbox = project(&server.url(), "one==1.0\n");
    let outcome = sandbox.pkgapp(["build", "--format", "deb"]).outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(outcome.stderr.contains("warning: ") && outcome.stderr.contains("eats data"), "{}", outcome.report);
}

#[test]
fn a_file_for_another_python_is_not_taken() {
    let server = Index::new(Api::Json).wheel("one", &one()).requires_python(">=3.99").serve();
    let text = project(&server.url(), "one==1.0\n").pkgapp(["build"]).fails();
    assert!(text.contains("one") && text.contains(">=3.99"), "{text}");
}

#[test]
fn the_best_wheel_is_taken() {
    let number = super::support::tools::python().minor.replace('.', "");
    let native =
        Wheel::simple("one", "1.0").tag(&format!("cp{number}-cp{number}-manylinux_2_17_{}", std::env::consts::ARCH));
    let server = Index::new(Api::Json)
        .wheel("one", &Wheel::simple("one", "1.0"))
        .wheel("one", &native)
        .wheel("one", &Wheel::simple("one", "1.0").tag("cp27-cp27m-manylinux1_x86_64"))
        .serve();
    project(&server.url(), "one==1.0\n").build(["--format", "deb"]);
    let fetched: Vec<_> = server.requests().into_iter().filter(|path| path.starts_with("/files/")).collect();
    assert_eq!(fetched, [format!("/files/{}", native.file_name())]);
}

#[test]
fn an_sdist_is_taken_where_no_wheel_fits() {
    let directory = tempfile::tempdir().unwrap();
    let source = sdist(directory.path(), "one", "1.0", &[("src/one/__init__.py", "")]);
    let server = Index::new(Api::Json)
        .wheel("one", &Wheel::simple("one", "1.0").tag("cp27-cp27m-manylinux1_x86_64"))
        .sdist("one", &source)
        .serve();
    let sandbox = project(&server.url(), "one==1.0\n");
    sandbox.build(["--format", "deb"]);
    // Built once: the second build takes the cached wheel.
    let built = super::support::walk(&sandbox.cache().join("built"));
    assert!(built.iter().any(|path| path.extension().is_some_and(|extension| extension == "whl")), "{built:?}");
}

#[test]
fn passwords_in_an_address_are_used_and_never_shown() {
    let server = Index::new(Api::Html).wheel("one", &one()).fault(Fault::Unauthorized).serve();
    let sandbox = project(&server.url_with_secret(), "one==1.0\n");
    let outcome = sandbox.pkgapp(["-v", "build", "--format", "tar.gz"]).outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(!outcome.stderr.contains("secret"), "{}", outcome.report);
    for path in super::support::walk(&sandbox.cache()).into_iter().filter(|path| path.is_file()) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"), "{} holds the password", path.display());
    }
    // Without it: an error that names the index, but not with a password.
    let bare = project(&server.url(), "one==1.0\n");
    assert!(bare.pkgapp(["build"]).fails().contains("401"));
}

#[test]
fn an_index_that_is_not_there_is_named() {
    let address = plain(Api::Html).url();
    let text = project(&address, "one==1.0\n").pkgapp(["build"]).fails();
    assert!(text.contains(address.trim_end_matches('/')) && text.contains("one"), "{text}");
}
