//! Archives that lie or reach out of the release: each is refused by name, and nothing of it is
//! written anywhere.

use std::fmt::Write as _;

use super::support::project::pin;
use super::support::tools::python;
use super::support::wheel::{Member, Wheel, zip};
use super::support::{Sandbox, golden, snapshot};

/// A wheel of `evil 1.0`, and what its message must hold beside its name.
type Case = (&'static str, Wheel, &'static [&'static str]);

fn evil() -> Wheel {
    Wheel::simple("evil", "1.0")
}

fn linked(target: &str) -> Member {
    let mut member = Member::new("evil/link", target);
    member.mode = 0o120_777;
    member
}

fn cases() -> Vec<Case> {
    let mut lying_size = Member::new("evil/big.txt", vec![b'a'; 10_000_000]);
    lying_size.size = Some(10);
    let mut wrong_sum = Member::new("evil/sum.txt", "content");
    wrong_sum.crc = Some(1);
    let mut encrypted = Member::new("evil/secret.txt", "content");
    encrypted.flags = 1;
    let mut device = Member::new("evil/null", "");
    device.mode = 0o020_666;
    vec![
        ("climbs-out", evil().file("../escaped.txt", "x"), &["../escaped.txt"]),
        ("climbs-out-deep", evil().file("evil/a/../../../../escaped.txt", "x"), &["evil/a/../../../../escaped.txt"]),
        ("absolute", evil().file("/escaped.txt", "x"), &["/escaped.txt"]),
        ("backslash", evil().file("..\\escaped.txt", "x"), &["escaped.txt"]),
        ("data-climbs-out", evil().data("scripts/../../../escaped", "#!python\n"), &["escaped"]),
        ("data-of-unknown-kind", evil().data("secrets/x", "x"), &["secrets"]),
        ("control-character", evil().file("evil/a\nb.txt", "x"), &["a\\nb.txt"]),
        ("nul", evil().file("evil/a\0b.txt", "x"), &["a\\0b.txt"]),
        ("symbolic-link", evil().member(linked("/etc/passwd")), &["evil/link"]),
        ("relative-link", evil().member(linked("__init__.py")), &["evil/link"]),
        ("device", evil().member(device), &["evil/null"]),
        ("twice", evil().file("evil/x.txt", "one").file("evil/x.txt", "two"), &["evil/x.txt"]),
        (
            "only-case-differs",
            evil().file("evil/Mod.py", "a = 1\n").file("evil/mod.py", "b = 2\n"),
            &["evil/Mod.py", "evil/mod.py"],
        ),
        ("file-and-directory", evil().file("evil/x", "one").file("evil/x/y", "two"), &["evil/x"]),
        ("bomb", evil().file("evil/bomb.bin", vec![0; 200_000_000]), &["unpacks"]),
        ("lying-size", evil().member(lying_size), &["evil/big.txt"]),
        ("wrong-checksum", evil().member(wrong_sum), &["evil/sum.txt"]),
        ("encrypted", evil().member(encrypted), &["evil/secret.txt"]),
        ("no-record", evil().without_record(), &["RECORD"]),
        (
            "record-lies",
            evil().file("evil/data.txt", "x").record_edited("evil/data.txt,sha256=", "evil/data.txt,sha256=AAAA"),
            &["RECORD", "evil/data.txt"],
        ),
        (
            "record-lies-about-size",
            evil().file("evil/data.txt", "12345").record_edited(",5\n", ",6\n"),
            &["RECORD", "evil/data.txt"],
        ),
        (
            "record-with-weak-hash",
            evil().file("evil/data.txt", "x").record_edited("evil/data.txt,sha256=", "evil/data.txt,md5="),
            &["RECORD", "md5"],
        ),
        (
            "record-without-hash",
            evil()
                .file("evil/data.txt", "")
                .record_edited("evil/data.txt,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0", "evil/data.txt,,"),
            &["RECORD", "evil/data.txt"],
        ),
        (
            "not-in-record",
            evil().file("evil/stowaway.py", "x = 1\n").record_without("evil/stowaway.py"),
            &["RECORD", "evil/stowaway.py", "allow-record-gaps = [\"evil\"]"],
        ),
        (
            "in-record-only",
            evil().record_edited(
                "evil/__init__.py,",
                "evil/ghost.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\nevil/__init__.py,",
            ),
            &["RECORD", "evil/ghost.py"],
        ),
        (
            "another-name",
            evil().metadata("Metadata-Version: 2.1\nName: good\nVersion: 1.0\n"),
            &["METADATA", "good", "evil"],
        ),
        (
            "another-version",
            evil().metadata("Metadata-Version: 2.1\nName: evil\nVersion: 9.0\n"),
            &["METADATA", "9.0", "1.0"],
        ),
        ("no-name", evil().metadata("Metadata-Version: 2.1\nVersion: 1.0\n"), &["METADATA", "Name"]),
        ("plants-a-unit", evil().data("data/host/etc/cron.d/evil", "* * * * * root id\n"), &["host/etc/cron.d/evil"]),
        ("poses-as-the-record", evil().data("data/.pkgapp/more.json", "{}"), &[".pkgapp/more.json"]),
        (
            "reaches-into-the-interpreter",
            evil().data("data/python3.13/lib/python3.13/sitecustomize.py", "import os\n"),
            &["python3.13/lib/python3.13/sitecustomize.py"],
        ),
        (
            "path-file-by-way-of-data",
            evil().data(&format!("data/lib/python{}/site-packages/evil.pth", python().minor), "/tmp\n"),
            &["evil.pth", "/tmp"],
        ),
        ("launcher-climbs-out", evil().console_script("../../escaped", "evil:main"), &["../../escaped"]),
        ("launcher-runs-shell", evil().console_script("run", "evil:main); import os; os.system('id'"), &["run"]),
    ]
}

#[test]
fn each_is_refused_by_name() {
    let mut report = String::new();
    for (name, wheel, must) in cases() {
        let sandbox = Sandbox::hello();
        pin(&sandbox, &[wheel]);
        let outside = snapshot(&sandbox.root().join("home"));
        let before = sandbox.snapshot();
        let outcome = sandbox.pkgapp(["build", "--format", "tar"]).outcome();
        let mut complain =
            |what: String| _ = writeln!(report, "\n=== {name}: {what}{}", outcome.report);
        if outcome.status != 1 {
            complain(format!("exit code {}", outcome.status));
        }
        for part in must.iter().chain(&["evil-1.0-py3-none-any.whl"]) {
            if !outcome.stderr.contains(part) {
                complain(format!("`{part}` is not said"));
            }
        }
        let mut home = snapshot(&sandbox.root().join("home"));
        // pip asks `rustc` for its version, and rustup's makes itself at home.
        home.retain(|path, _| !path.starts_with(".rustup"));
        // uv, where it is the builder, keeps its own cache.
        home.retain(|path, _| !path.starts_with(".cache") && !path.starts_with(".local"));
        if sandbox.snapshot() != before || home != outside {
            complain("something was written".into());
        }
        let escaped = super::support::walk(&sandbox.root())
            .into_iter()
            .find(|path| path.ends_with("escaped.txt"));
        if let Some(path) = escaped {
            complain(format!("it got out: {}", path.display()));
        }
        if let Err(difference) = golden(&format!("hostile/{name}.txt"), &outcome.text()) {
            complain(difference);
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn archives_that_are_none_are_refused() {
    let whole = evil().bytes();
    let no_wheel_file = zip(&[Member::new("evil/__init__.py", "")]);
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut off", whole[..whole.len() / 2].to_vec()),
        ("no dist-info", no_wheel_file),
        ("an empty archive", zip(&[])),
    ] {
        let sandbox = Sandbox::hello();
        sandbox.write("wheels/evil-1.0-py3-none-any.whl", bytes);
        sandbox.append("requirements.txt", "--find-links wheels\nevil==1.0\n");
        let text = sandbox.pkgapp(["build"]).fails();
        assert!(text.contains("evil-1.0-py3-none-any.whl"), "{what}: {text}");
    }
}

#[test]
fn what_was_refused_once_is_refused_again() {
    // A wheel that got into the cache before it was checked would pass the second time.
    let sandbox = Sandbox::hello();
    pin(
        &sandbox,
        &[evil()
            .file("evil/data.txt", "x")
            .record_without("evil/data.txt")],
    );
    let first = sandbox.pkgapp(["build"]).fails();
    assert_eq!(sandbox.pkgapp(["build"]).fails(), first);
}

#[test]
fn signatures_in_dist_info_need_no_line_in_record() {
    // "RECORD.jws and RECORD.p7s … are not mentioned in RECORD" (binary distribution format,
    // "Signed wheel files").
    let path = "evil-1.0.dist-info/RECORD.jws";
    let sandbox = Sandbox::hello();
    pin(&sandbox, &[evil().file(path, "{}").record_without(path)]);
    sandbox.build(["--format", "tar"]);
}

#[test]
fn the_release_reserves_names_for_its_installer() {
    // What commands make is looked at as what wheels bring.
    let sandbox = Sandbox::hello();
    sandbox.append(
        "pkgapp.toml",
        "\n[build]\nrun = [\"mkdir -p host/etc\", \"touch host/etc/evil\"]\n",
    );
    let text = sandbox.pkgapp(["build", "--format", "tar"]).fails();
    assert!(
        text.contains("`[build] run`") && text.contains("`host/etc/evil`"),
        "{text}"
    );
}

#[test]
fn gaps_in_a_record_can_be_accepted_by_name() {
    // As real wheels have them: a file that RECORD lacks, and a line without a file.
    let wheel = evil()
        .file("evil/data.txt", "x")
        .record_edited("evil/data.txt,sha256=", "evil/ghost.py,sha256=");
    let sandbox = Sandbox::hello();
    pin(&sandbox, std::slice::from_ref(&wheel));
    let refused = sandbox.pkgapp(["build"]).fails();
    assert!(
        refused.contains("allow-record-gaps") && refused.contains("(and 1 more)"),
        "{refused}"
    );
    sandbox.edit(
        "pkgapp.toml",
        "[python]\n",
        "[python]\nallow-record-gaps = [\"Evil\"]\n",
    );
    let [tar] = &sandbox.build(["--format", "tar"])[..] else {
        panic!("one artifact")
    };
    assert!(sandbox.dump(tar).contains("/evil/data.txt") && !sandbox.dump(tar).contains("ghost"));
    // The cache has it now, and nobody else gets it from there.
    sandbox.edit("pkgapp.toml", "allow-record-gaps = [\"Evil\"]\n", "");
    assert_eq!(sandbox.pkgapp(["build"]).fails(), refused);
    // A file that is listed must still be what RECORD says.
    pin(
        &sandbox,
        &[evil()
            .file("evil/data.txt", "x")
            .record_edited("evil/data.txt,sha256=", "evil/data.txt,sha256=AAAA")],
    );
    sandbox.edit(
        "pkgapp.toml",
        "[python]\n",
        "[python]\nallow-record-gaps = [\"evil\"]\n",
    );
    sandbox.pkgapp(["build"]).fails();
}
