//! The same entries through every format, read back by programs that are not ours.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::foreign::{self, Dump, path_of};
use super::support::project::full;
use super::support::tools::{root, text, tool};
use super::support::{Sandbox, copy, walk};

/// Directories of the base system: a deb names them, since dpkg makes no parents, and shares them
/// with every other deb.
const BASE: &[&str] = &["/etc", "/opt", "/usr", "/usr/share"];
/// Directories that only one of the worlds asks for: documentation of a deb, licenses of an rpm,
/// overrides of lintian.
const OF_ONE_FORMAT: &[&str] = &[
    "/usr/share/doc",
    "/usr/share/licenses",
    "/usr/share/lintian",
];

fn artifacts(sandbox: &Sandbox) -> [PathBuf; 4] {
    sandbox
        .build([
            "--format", "tar", "--format", "tar.gz", "--format", "deb", "--format", "rpm",
        ])
        .try_into()
        .unwrap()
}

/// A project that has all features, and configuration with a mode of its own.
fn project() -> Sandbox {
    let sandbox = full();
    sandbox.write("deploy/secret.env", "TOKEN=\n");
    sandbox.append(
        "pkgapp.toml",
        "\n[config.\"sub/secret.env\"]\nsource = \"deploy/secret.env\"\nmode = \"0640\"\n",
    );
    sandbox
}

fn is_of_one_format(path: &str) -> bool {
    OF_ONE_FORMAT.iter().any(|own| path.starts_with(own))
}

fn common(dump: &[String]) -> Vec<&String> {
    dump.iter()
        .filter(|line| !BASE.contains(&path_of(line)) && !is_of_one_format(path_of(line)))
        .collect()
}

/// The lines of a tarball as they would be on a host: the release at its prefix, and the rest from
/// `host/`. What a login has instead of the latter is in no package.
fn on_host(tarball: Dump, top: &str) -> Dump {
    let mut lines: Dump = Vec::new();
    for line in tarball {
        let path = path_of(&line).to_owned();
        let below = path
            .strip_prefix(&format!("/{top}"))
            .unwrap_or_else(|| panic!("{path} is not in /{top}"));
        let place = match below.strip_prefix("/host/") {
            Some(outside) => format!("/{outside}"),
            None if below == "/host" || below.starts_with("/.pkgapp/login") => continue,
            None => format!("/opt/hello{below}"),
        };
        // Directories that only lead to what lies outside belong to the host.
        if BASE.contains(&place.as_str()) {
            continue;
        }
        lines.push(line.replacen(&format!(" {path}"), &format!(" {place}"), 1));
    }
    lines.sort_by(|a, b| path_of(a).cmp(path_of(b)));
    lines
}

/// Without the mark of configuration, which a tarball cannot carry.
fn unmarked(lines: &[&String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line.replacen(" c /", " /", 1))
        .collect()
}

#[test]
fn all_formats_hold_the_same_entries() {
    let sandbox = project();
    let [zst, gz, deb, rpm] = artifacts(&sandbox);
    let (Some(deb), Some(rpm)) = (foreign::deb(&deb), foreign::rpm(&rpm)) else {
        return;
    };
    let (Some(zst), Some(gz)) = (foreign::tarball(&zst), foreign::tarball(&gz)) else {
        return;
    };
    assert!(deb.len() > 40, "{deb:#?}");
    similar_asserts::assert_eq!(common(&deb), common(&rpm), "deb and rpm");
    similar_asserts::assert_eq!(zst, gz, "zstd and gzip");
    let tarball = on_host(zst, "hello-1.0.0");
    similar_asserts::assert_eq!(
        unmarked(&common(&deb)),
        unmarked(&common(&tarball)),
        "deb and tarball"
    );
}

#[test]
fn inspect_reads_what_foreign_tools_read() {
    let sandbox = project();
    let [_, _, deb, rpm] = artifacts(&sandbox);
    for (file, foreign) in [(&deb, foreign::deb(&deb)), (&rpm, foreign::rpm(&rpm))] {
        let Some(mut foreign) = foreign else { return };
        foreign.retain(|line| !BASE.contains(&path_of(line)));
        let mut ours: Vec<String> = sandbox.dump(file).lines().map(str::to_owned).collect();
        ours.retain(|line| !BASE.contains(&path_of(line)));
        similar_asserts::assert_eq!(ours, foreign, "{}", file.display());
    }
}

#[test]
fn nothing_of_the_base_system_is_owned() {
    let sandbox = project();
    let [_, _, deb, rpm] = artifacts(&sandbox);
    let Some(mut deb) = foreign::deb(&deb) else {
        return;
    };
    deb.retain(|line| !BASE.contains(&path_of(line)));
    for line in deb
        .into_iter()
        .chain(foreign::rpm(&rpm).unwrap_or_default())
    {
        let path = path_of(&line);
        let ours = path.starts_with("/opt/hello")
            || path.starts_with("/etc/hello")
            || is_of_one_format(path);
        assert!(ours && line.contains(" root:root "), "{line}");
    }
}

#[test]
fn configuration_is_marked_and_keeps_its_mode() {
    let sandbox = project();
    let [_, _, deb, rpm] = artifacts(&sandbox);
    for dump in [foreign::deb(&deb), foreign::rpm(&rpm)]
        .into_iter()
        .flatten()
    {
        let marked: Vec<_> = dump
            .iter()
            .filter(|line| line.contains(" c /"))
            .map(|line| (&line[..10], path_of(line)))
            .collect();
        assert_eq!(
            marked,
            [
                ("-rw-r--r--", "/etc/hello/hello.toml"),
                ("-rw-r-----", "/etc/hello/sub/secret.env")
            ]
        );
    }
}

#[test]
fn deb_control_is_what_dpkg_expects() {
    let sandbox = Sandbox::hello();
    let [deb] = &sandbox.build(["--format", "deb"])[..] else {
        panic!("one artifact")
    };
    let Some(dpkg_deb) = tool("dpkg-deb") else {
        return;
    };
    let field = |name: &str| {
        text(Command::new(&dpkg_deb).arg("-f").arg(deb).arg(name))
            .trim()
            .to_owned()
    };
    let minor = &super::support::tools::python().minor;
    for (name, value) in [
        ("Package", "hello"),
        ("Version", "1.0.0-1"),
        ("Architecture", "all"),
        ("Maintainer", "Hello Team <hello@example.com>"),
        ("Priority", "optional"),
        ("Depends", format!("python{minor}").as_str()),
    ] {
        assert_eq!(field(name), value, "{name}");
    }
    assert!(
        field("Description").starts_with("Greets people\n"),
        "{}",
        field("Description")
    );
    assert!(!field("Section").is_empty());
    // Installed-Size: kibibytes, each file rounded up, 1 for what is no file, the root among them
    // (deb-substvars(5)).
    let dump = foreign::deb(deb).unwrap();
    let expected: u64 = dump
        .iter()
        .map(|line| {
            line.split(' ')
                .nth(2)
                .unwrap()
                .parse::<u64>()
                .map_or(1, |size| size.div_ceil(1024))
        })
        .sum();
    assert_eq!(field("Installed-Size"), (expected + 1).to_string());
}

#[test]
fn md5sums_are_right_for_every_file_but_configuration() {
    let sandbox = project();
    let [_, _, deb, _] = artifacts(&sandbox);
    let Some(dpkg_deb) = tool("dpkg-deb") else {
        return;
    };
    let root = sandbox.root().join("root");
    text(Command::new(&dpkg_deb).arg("-R").arg(&deb).arg(&root));
    text(
        Command::new("md5sum")
            .args(["--quiet", "--strict", "-c", "DEBIAN/md5sums"])
            .current_dir(&root),
    );
    let listed = std::fs::read_to_string(root.join("DEBIAN/md5sums"))
        .unwrap()
        .lines()
        .count();
    let files = foreign::deb(&deb)
        .unwrap()
        .iter()
        .filter(|line| line.starts_with('-') && !line.contains(" c /"))
        .count();
    assert_eq!(listed, files);
}

#[test]
fn rpm_header_is_what_rpm_expects() {
    let sandbox = project();
    let [_, _, _, rpm] = artifacts(&sandbox);
    let Some(program) = tool("rpm") else { return };
    let query = |format: &str| {
        text(
            Command::new(&program)
                .args(["-qp", "--qf", format])
                .arg(&rpm),
        )
    };
    assert_eq!(
        query("%{NAME} %{VERSION} %{RELEASE} %{LICENSE} %{OS}"),
        "hello 1.0.0 1 MIT linux"
    );
    // 8 is SHA-256 (RFC 4880, §9.4).
    assert_eq!(query("%{FILEDIGESTALGO}"), "8");
    // rpm -K: the digests of header and payload.
    let checked = text(
        Command::new(&program)
            .args(["-K", "--nosignature"])
            .arg(&rpm),
    );
    assert!(checked.trim_end().ends_with("digests OK"), "{checked}");
    let provides = text(Command::new(&program).args(["-qp", "--provides"]).arg(&rpm));
    let others: Vec<_> = provides
        .lines()
        .filter(|line| !line.starts_with("hello"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let minor = &super::support::tools::python().minor;
    let requires = text(Command::new(&program).args(["-qp", "--requires"]).arg(&rpm));
    assert!(
        requires
            .lines()
            .any(|line| line == format!("python(abi) = {minor}")),
        "{requires}"
    );
}

#[test]
fn versions_sort_in_both_worlds_as_in_python() {
    // PEP 440, "Summary of permitted suffixes and relative ordering".
    let versions = [
        "1.0.dev1",
        "1.0a1",
        "1.0b2",
        "1.0rc1",
        "1.0",
        "1.0+local.1",
        "1.0.post1",
        "1.1.dev0",
        "1.1",
        "1.10",
        "2!0.1",
    ];
    let (mut debs, mut rpms) = (Vec::new(), Vec::new());
    for version in versions {
        let sandbox = Sandbox::hello();
        sandbox.edit("pyproject.toml", "1.0.0", version);
        let [deb, rpm] = &sandbox.build(["--format", "deb", "--format", "rpm"])[..] else {
            panic!("two artifacts")
        };
        let Some(dpkg_deb) = tool("dpkg-deb") else {
            return;
        };
        debs.push(
            text(Command::new(dpkg_deb).arg("-f").arg(deb).arg("Version"))
                .trim()
                .to_owned(),
        );
        let Some(program) = tool("rpm") else { return };
        rpms.push(text(
            Command::new(program)
                .args(["-qp", "--qf", "%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}"])
                .arg(rpm),
        ));
    }
    for pair in debs.windows(2) {
        let older = Command::new("dpkg")
            .args(["--compare-versions", &pair[0], "lt", &pair[1]])
            .status()
            .unwrap();
        assert!(
            older.success(),
            "dpkg: {} is not older than {}",
            pair[0],
            pair[1]
        );
    }
    for pair in rpms.windows(2) {
        let compared = text(Command::new("rpm").arg("--eval").arg(format!(
            "%{{lua: print(rpm.vercmp('{}', '{}'))}}",
            pair[0], pair[1]
        )));
        assert_eq!(
            compared.trim(),
            "-1",
            "rpm: {} is not older than {}",
            pair[0],
            pair[1]
        );
    }
}

/// What is below `root` now and was not `before`, but for a database.
fn new_paths(root: &Path, before: &[PathBuf], database: &str) -> Vec<PathBuf> {
    let is_new = |path: &PathBuf| !before.contains(path) && !path.starts_with(root.join(database));
    walk(root).into_iter().filter(is_new).collect()
}

#[test]
fn dpkg_installs_verifies_and_purges_without_leftovers() {
    let sandbox = Sandbox::hello();
    let [deb] = &sandbox.build(["--format", "deb"])[..] else {
        panic!("one artifact")
    };
    if tool("dpkg").is_none() || !root() {
        return;
    }
    let root = sandbox.root().join("root");
    for directory in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "opt/other",
        "etc/other",
        "usr/share/doc/other",
    ] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    // Nothing of the others' may go. (Empty, /opt itself would: dpkg takes along what no other
    // package has.)
    let before = walk(&root);
    let dpkg = |args: &[&OsStr]| {
        let mut command = Command::new("dpkg");
        command.arg("--root").arg(&root).args([
            "--force-depends",
            "--force-script-chrootless",
            "--log=/dev/null",
        ]);
        text(command.args(args))
    };
    dpkg(&["-i".as_ref(), deb.as_os_str()]);
    assert_eq!(dpkg(&["-V".as_ref(), "hello".as_ref()]), "");
    assert!(root.join("opt/hello/bin/hello").is_file());
    dpkg(&["-P".as_ref(), "hello".as_ref()]);
    assert_eq!(
        new_paths(&root, &before, "var/lib/dpkg"),
        [] as [PathBuf; 0]
    );
    let gone: Vec<_> = before
        .iter()
        .filter(|path| !path.exists() && !path.starts_with(root.join("var/lib/dpkg")))
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn rpm_installs_verifies_and_removes_without_leftovers() {
    let sandbox = Sandbox::hello();
    let [file] = &sandbox.build(["--format", "rpm"])[..] else {
        panic!("one artifact")
    };
    if tool("rpm").is_none() || !root() {
        return;
    }
    let root = sandbox.root().join("root");
    for directory in ["db", "opt", "etc", "usr/share/doc", "usr/share/licenses"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let before = walk(&root);
    // Debian's rpm asks not to be used for itself, and on other systems does not know the option.
    let debian = Path::new("/etc/debian_version").exists();
    let rpm = |args: &[&OsStr]| {
        let mut command = Command::new("rpm");
        command
            .arg("--root")
            .arg(&root)
            .args(["--dbpath", "/db", "--nodeps", "--noscripts"])
            .args(args);
        if debian && args[0] != "-V" {
            command.arg("--force-debian");
        }
        text(&mut command)
    };
    rpm(&["-i".as_ref(), file.as_os_str()]);
    assert_eq!(rpm(&["-V".as_ref(), "hello".as_ref()]), "");
    assert!(root.join("opt/hello/bin/hello").is_file());
    rpm(&["-e".as_ref(), "hello".as_ref()]);
    assert_eq!(new_paths(&root, &before, "db"), [] as [PathBuf; 0]);
}

#[test]
fn two_projects_of_equal_content_make_equal_packages() {
    let sandbox = Sandbox::hello();
    let other = Sandbox::hello();
    copy(&sandbox.project(), &other.project());
    let [a, b] = [&sandbox, &other].map(|sandbox| sandbox.build(["--format", "all"]));
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(
            std::fs::read(a).unwrap(),
            std::fs::read(b).unwrap(),
            "{}",
            a.display()
        );
    }
}

/// What dpkg and rpm themselves read of `[package] replaces` and its relatives.
#[test]
fn relations_to_other_packages() {
    let sandbox = Sandbox::hello();
    sandbox.append(
        "pkgapp.toml",
        "\n[package]\nprovides = [\"greeter\"]\nconflicts = [\"rude\"]\nsuggests = [\"tea\"]\n\
         replaces.deb = [\"hello-old\", \"world (<< 2.0)\"]\nreplaces.rpm = [\"hello-old\"]\n\
         recommends.deb = [\"redis-server (>= 5:6) | valkey\"]\nrecommends.rpm = [\"redis >= 6\"]\n",
    );
    let built: [PathBuf; 2] = sandbox
        .build(["--format", "deb", "--format", "rpm"])
        .try_into()
        .unwrap();
    if let Some(dpkg) = tool("dpkg-deb") {
        let fields = [
            "Provides",
            "Conflicts",
            "Breaks",
            "Replaces",
            "Recommends",
            "Suggests",
        ];
        let said = text(
            Command::new(dpkg)
                .arg("--field")
                .arg(&built[0])
                .args(fields),
        );
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "Breaks: world (<< 2.0)",
                "Conflicts: rude, hello-old",
                "Provides: greeter",
                "Recommends: redis-server (>= 5:6) | valkey",
                "Replaces: hello-old, world (<< 2.0)",
                "Suggests: tea",
            ]
        );
    }
    if let Some(rpm) = tool("rpm") {
        let query = |what: &str| text(Command::new(&rpm).args(["-qp", what]).arg(&built[1]));
        assert!(query("--provides").lines().any(|line| line == "greeter"));
        assert_eq!(query("--conflicts").trim(), "rude");
        assert_eq!(query("--obsoletes").trim(), "hello-old");
        assert_eq!(query("--recommends").trim(), "redis >= 6");
        assert_eq!(query("--suggests").trim(), "tea");
    }
}
