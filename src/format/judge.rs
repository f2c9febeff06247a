//! Checks formats with the tools that read them: an artificial tree of special cases is written in
//! every format, read back by GNU tar, bsdtar, Python, busybox, dpkg, rpm, and cpio, and compared
//! with the tree's dump.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::Arc;

use similar_asserts::assert_eq;

use super::read::PackageReader;
use super::*;
use pkgapp_config::Located;
use pkgapp_config::ScriptletPhases;
use pkgapp_core::digest::Digest;
use pkgapp_core::name::{AppName, Arch, PythonMinor};
use pkgapp_core::target;
use pkgapp_pypa::Version;
use pkgapp_release::depends::{HostDependencies, HostLibrary};
use pkgapp_release::package::{FileTrigger, Scriptlets};
use pkgapp_release::services::{PackageForm, Services};
use pkgapp_release::tree::{EntryKind, EntryOrigin, FileOwner, Tree, dump_line};
pub(crate) use pkgapp_testing::run;
use pkgapp_testing::{root, tool};

fn sh(script: &str, args: &[&Path]) -> String {
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", script, "sh"])
        .args(args))
}

pub(crate) fn meta() -> PackageInfo {
    PackageInfo {
        name: AppName::parse("shop").unwrap(),
        version: Version::from_str("1.4.2rc1").unwrap(),
        revision: "1".into(),
        arch: Arch::X86_64,
        summary: "A shop".into(),
        description: "Sells things.\n\n- well\n- cheap".into(),
        license: Some("MIT".into()),
        maintainer: "Ops <ops@example.com>".into(),
        section: "misc".into(),
        homepage: Some("https://example.com/shop".into()),
        prefix: path("/opt/shop"),
        timestamp: 1_700_000_001,
        commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        targets: vec![],
        compression: Compression::Zstd(3),
    }
}

fn path(text: &str) -> InstallPath {
    InstallPath::parse(text).unwrap()
}

fn libraries() -> Vec<HostLibrary> {
    let library = |soname: &str, versions: &[&str]| HostLibrary {
        soname: soname.into(),
        is_64: true,
        versions: versions.iter().map(|&version| version.into()).collect(),
        needed_by: "x".into(),
    };
    vec![
        library("libc.so.6", &["GLIBC_2.17"]),
        library("libz.so.1", &[]),
    ]
}

pub(crate) fn package(tree: Tree) -> Package {
    Package {
        writable: Vec::new(),
        ghosts: Vec::new(),
        meta: meta(),
        depends: HostDependencies {
            python: Some(PythonMinor {
                major: 3,
                minor: 11,
            }),
            python_parts: BTreeSet::new(),
            runtime: None,
            libraries: libraries(),
            programs: vec![],
            declared_deb: vec!["adduser".into()],
            relations: pkgapp_config::PackageRelations::default(),
            declared_rpm: vec!["shadow-utils >= 2:4.6".into()],
        },
        tree,
        login: Tree::new(),
        scriptlets: scriptlets(),
    }
}

/// Scriptlets with only the user's hooks; each prints when it runs.
fn scriptlets() -> Scriptlets {
    let says = |phase: &str| {
        let value = format!(
            "echo \"{phase} $PKGAPP_ACTION $PKGAPP_FORMAT $PKGAPP_NAME $PKGAPP_PREFIX\" >>\"$ROOT_LOG\""
        );
        Some(Located {
            value,
            at: pkgapp_core::error::Location::file(Path::new("pkgapp.toml")),
        })
    };
    let phases = ScriptletPhases {
        before_install: says("before-install"),
        after_install: says("after-install"),
        before_remove: says("before-remove"),
        after_remove: says("after-remove"),
    };
    let services = Services {
        form: PackageForm::Whole,
        environment: None,
        writable: None,
        metrics: None,
        site: None,
        name: AppName::parse("shop").unwrap(),
        prefix: path("/opt/shop"),
        units: vec![],
        users: vec![],
        groups: vec![],
        members: vec![],
        secrets: vec![],
        state: vec![],
        has_sysusers: false,
        has_tmpfiles: false,
        homes: vec![],
        owned: vec![],
        host_settings: None,
        credentials: vec![],
    };
    pkgapp_release::scriptlets::of(&services, &phases, None, None, &Tree::new()).unwrap()
}

/// A tree of names and kinds that archives often get wrong.
pub(crate) fn odd_tree(disk: &Path) -> Tree {
    let mut tree = Tree::new();
    let origin = Arc::new(EntryOrigin {
        label: "the test".into(),
        layer: None,
    });
    let mut file = |name: &str, bytes: &[u8], mode: u32| {
        tree.insert(
            path(name),
            TreeEntry::file(Content::memory(bytes), mode, &origin),
        )
        .unwrap();
    };
    file("/opt/shop/bin/shop", b"#!/bin/sh\nexec true\n", 0o755);
    file("/opt/shop/empty", b"", 0o644);
    file(
        "/opt/shop/odd/with a  space & 'quotes\" $HOME %s %%d",
        b"1",
        0o644,
    );
    file(
        "/opt/shop/odd/caf\u{e9}-\u{65e5}\u{672c}-\u{1f40d}",
        b"2",
        0o644,
    );
    file("/opt/shop/odd/-dash", b"3", 0o600);
    file("/opt/shop/odd/a[1]*?{x}", b"4", 0o444);
    file("/opt/shop/odd/back\\slash\\n", b"44", 0o644);
    file("/opt/shop/odd/setuid", b"5", 0o4755);
    file(
        "/opt/shop/odd-sibling",
        b"sorts between a directory and what it holds",
        0o644,
    );
    file("/opt/shop/odd.sibling", b"also", 0o640);
    // Lengths around the size of the name field (100), of ustar's (256), and beyond every fixed
    // field; `./` and `/` count.
    for length in [
        97, 98, 99, 100, 101, 102, 154, 155, 156, 254, 255, 256, 257, 300, 1000,
    ] {
        file(&long_path(length), length.to_string().as_bytes(), 0o644);
    }
    tree.insert(
        path("/opt/shop/hollow/deep/deeper"),
        TreeEntry::directory(&origin),
    )
    .unwrap();
    let secret = TreeEntry {
        mode: 0o2750,
        ..TreeEntry::directory(&origin)
    };
    tree.insert(path("/opt/shop/secret"), secret).unwrap();
    let large: Vec<u8> = (0..1_000_003_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(disk, &large).unwrap();
    let content = Content {
        digest: Digest::of(&large),
        bytes: Bytes::Disk {
            file: disk.into(),
            start: 0,
        },
    };
    // One file on disk at two places, as in a cache: they must not become hard links.
    tree.insert(
        path("/opt/shop/lib/large.bin"),
        TreeEntry::file(content.clone(), 0o644, &origin),
    )
    .unwrap();
    tree.insert(
        path("/opt/shop/lib/twin.bin"),
        TreeEntry::file(content, 0o755, &origin),
    )
    .unwrap();
    tree.insert(
        path("/opt/shop/bin/python"),
        TreeEntry::symlink("/usr/bin/python3.11", &origin),
    )
    .unwrap();
    tree.insert(
        path("/opt/shop/bin/relative"),
        TreeEntry::symlink("../odd/-dash", &origin),
    )
    .unwrap();
    let far = "x/".repeat(60) + &"y".repeat(130);
    tree.insert(path("/opt/shop/far"), TreeEntry::symlink(far, &origin))
        .unwrap();
    let env = TreeEntry::file(Content::memory(*b"A=b\n"), 0o640, &origin).config();
    tree.insert(path("/etc/shop/shop.env"), env).unwrap();
    let record = TreeEntry::file(Content::memory(*b"{\"name\": \"shop\"}"), 0o644, &origin);
    tree.insert(path("/opt/shop/.pkgapp/release.json"), record)
        .unwrap();
    tree
}

/// Returns a path of this number of bytes, with components that every file system supports.
fn long_path(length: usize) -> String {
    let mut text = format!("/opt/shop/long/{length}/");
    while text.len() + 101 < length {
        text.push_str(&"d".repeat(80));
        text.push('/');
    }
    let rest = length - text.len();
    text + &"f".repeat(rest)
}

/// Writes a package and returns its path.
pub(crate) fn write(format: &dyn PackageFormat, package: &Package, directory: &Path) -> PathBuf {
    let file = directory.join(format.file_name(&package.meta).unwrap());
    try_write(format, package, &file).unwrap();
    file
}

/// Writes a package to a file, with a separate cache.
fn try_write(format: &dyn PackageFormat, package: &Package, file: &Path) -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let cache = pkgapp_core::cache::Cache::open(directory.path()).unwrap();
    pkgapp_core::fs::write_atomically(file, |out| {
        format.write(package, &Segments::new(&cache), out)
    })
}

/// Returns the expected dump of a format's file: the tree and the files that the format adds.
fn expected(format: &dyn PackageFormat, package: &Package) -> String {
    let mut tree = package.tree.clone();
    for (path, entry) in format.extra_entries(&package.meta).unwrap() {
        tree.insert(path, entry).unwrap();
    }
    tree.dump()
}

/// Returns the expected dump with a tarball's names, without owners for tools that do not show
/// them.
fn expected_in_tarball(package: &Package) -> String {
    let names = package
        .tree
        .iter()
        .map(|(path, entry)| (tarball::member_name(&package.meta, path), entry));
    let lines: BTreeMap<String, String> = names
        .map(|(name, entry)| {
            (
                name.clone(),
                dump_line(&name, entry).replace(" c shop", " shop"),
            )
        })
        .collect();
    lines.into_values().map(|line| line + "\n").collect()
}

/// Removes directories without an owner: those of the base system, and `host/…` in a tarball.
fn without(dump: &str, paths: &[&str]) -> String {
    let foreign = |line: &&str| {
        !paths
            .iter()
            .any(|path| line.ends_with(&format!(" - - {path}")))
    };
    dump.lines()
        .filter(foreign)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The time of all files.
const MTIME: i64 = 1_700_000_001;

/// The time of all directories: 2020-01-01.
const DIRECTORY_MTIME: i64 = 1_577_836_800;

/// The times that a tool preserves: rpm, cpio, and GNU tar (so dpkg-deb) create a directory, set
/// its time, and then fill it; cpio does not set those of links.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    All,
    Files,
}

/// Returns the dump of a directory that a tool has unpacked; checks the times.
fn dump_of_disk(root: &Path, shown: &str, times: Times) -> String {
    let mut lines = BTreeMap::new();
    for found in walkdir::WalkDir::new(root).min_depth(1) {
        let found = found.unwrap();
        let metadata = found.path().symlink_metadata().unwrap();
        let name = format!(
            "{shown}{}",
            found.path().strip_prefix(root).unwrap().to_str().unwrap()
        );
        if times == Times::All || metadata.is_file() {
            assert_eq!(
                metadata.mtime(),
                if metadata.is_dir() {
                    DIRECTORY_MTIME
                } else {
                    MTIME
                },
                "{name}"
            );
        }
        let origin = Arc::new(EntryOrigin {
            label: String::new(),
            layer: None,
        });
        let kind = if metadata.is_dir() {
            EntryKind::Directory
        } else if metadata.is_symlink() {
            EntryKind::Symlink(
                std::fs::read_link(found.path())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            )
        } else {
            assert_eq!(metadata.nlink(), 1, "{name}");
            EntryKind::File(Content::memory(std::fs::read(found.path()).unwrap()))
        };
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
        let entry = TreeEntry {
            kind,
            mode,
            owner: FileOwner::default(),
            role: pkgapp_release::tree::UpgradeRole::Payload,
            origin,
        };
        lines.insert(name.clone(), dump_line(&name, &entry) + "\n");
    }
    lines.into_values().collect()
}

/// Removes the marks of configuration files, which a file system does not show.
fn plain(dump: &str) -> String {
    dump.replace(" c /", " /")
}

const SYSTEM: &[&str] = &[
    "/etc",
    "/opt",
    "/usr",
    "/usr/share",
    "/usr/share/doc",
    "/usr/share/lintian",
    "/usr/share/lintian/overrides",
];

const TAR_ONLY: &[&str] = &["shop-1.4.2rc1/host", "shop-1.4.2rc1/host/etc"];

fn scratch() -> (tempfile::TempDir, Package) {
    let directory = tempfile::tempdir().unwrap();
    let tree = odd_tree(&directory.path().join("large"));
    let package = package(tree);
    (directory, package)
}

#[test]
fn file_names_are_as_each_world_expects() {
    let mut meta = meta();
    meta.version = Version::from_str("1!1.4.2").unwrap();
    let name = |format: &str, meta: &PackageInfo| by_name(format).unwrap().file_name(meta).unwrap();
    assert_eq!(name("deb", &meta), "shop_1.4.2-1_amd64.deb");
    assert_eq!(name("rpm", &meta), "shop-1.4.2-1.x86_64.rpm");
    assert_eq!(name("tar", &meta), "shop-1.4.2-1.x86_64.tar.zst");
    meta.arch = Arch::Any;
    meta.compression = Compression::Xz(6);
    assert_eq!(name("deb", &meta), "shop_1.4.2-1_all.deb");
    assert_eq!(name("rpm", &meta), "shop-1.4.2-1.noarch.rpm");
    assert_eq!(name("tar.gz", &meta), "shop-1.4.2-1.noarch.tar.gz");
    assert_eq!(name("tar.zst", &meta), "shop-1.4.2-1.noarch.tar.zst");
    assert_eq!(name("tar", &meta), "shop-1.4.2-1.noarch.tar.xz");
    assert!(by_name("zip").is_none());
}

#[test]
fn all_formats_hold_the_same_entries_and_are_read_back() {
    let (directory, mut package) = scratch();
    for compression in [
        Compression::Zstd(3),
        Compression::Gzip(6),
        Compression::Xz(1),
    ] {
        package.meta.compression = compression;
        for format in ["deb", "rpm"] {
            let format = by_name(format).unwrap();
            let artifact = PackageReader::open(&write(format, &package, directory.path())).unwrap();
            assert_eq!(
                without(&artifact.dump().unwrap(), SYSTEM),
                expected(format, &package)
            );
            assert_eq!(artifact.name, "shop");
            assert_eq!(artifact.version, "1.4.2~rc1-1");
            assert_eq!(
                artifact.release_record().unwrap().unwrap(),
                b"{\"name\": \"shop\"}"
            );
            assert_eq!(artifact.scriptlets.len(), 4);
        }
        let tarball =
            PackageReader::open(&write(by_name("tar").unwrap(), &package, directory.path()))
                .unwrap();
        assert_eq!(
            without(&tarball.dump().unwrap(), TAR_ONLY),
            expected_in_tarball(&package)
        );
        assert_eq!(
            (tarball.name.as_str(), tarball.version.as_str()),
            ("shop", "1.4.2rc1")
        );
        assert_eq!(
            tarball.release_record().unwrap().unwrap(),
            b"{\"name\": \"shop\"}"
        );
    }
}

#[test]
fn gnu_tar_and_bsdtar_unpack_the_same_tree() {
    if !root() {
        return;
    }
    let (directory, package) = scratch();
    for (format, program) in [
        ("tar", "tar"),
        ("tar.gz", "tar"),
        ("tar", "bsdtar"),
        ("tar.gz", "bsdtar"),
    ] {
        // bsdtar has its own decompressor; GNU tar starts this one.
        let (Some(program), true) = (tool(program), format != "tar" || tool("zstd").is_some())
        else {
            continue;
        };
        let file = write(by_name(format).unwrap(), &package, directory.path());
        let root = tempfile::tempdir().unwrap();
        run(Command::new(&program)
            .arg("-xpf")
            .arg(&file)
            .arg("-C")
            .arg(root.path()));
        // GNU tar sets a directory's time when it moves on to another one, and the directories come
        // first.
        let times = if program.ends_with("tar") && !program.ends_with("bsdtar") {
            Times::Files
        } else {
            Times::All
        };
        let dump = dump_of_disk(root.path(), "", times);
        assert_eq!(
            without(&dump, &[TAR_ONLY, &["shop-1.4.2rc1"]].concat()),
            without_top(&expected_in_tarball(&package))
        );
    }
}

fn without_top(dump: &str) -> String {
    without(dump, &["shop-1.4.2rc1"])
}

#[test]
fn busybox_and_python_list_the_same_names() {
    let (directory, package) = scratch();
    let file = write(by_name("tar.gz").unwrap(), &package, directory.path());
    let mut names: Vec<String> = package
        .tree
        .iter()
        .map(|(path, _)| tarball::member_name(&package.meta, path))
        .collect();
    names.extend(TAR_ONLY.iter().map(|&name| name.to_owned()));
    names.sort();
    if tool("busybox").is_some() {
        let said = run(Command::new("busybox").args(["tar", "-tzf"]).arg(&file));
        let mut listed: Vec<String> = said
            .lines()
            .map(|line| line.trim_end_matches('/').to_owned())
            .collect();
        listed.sort();
        assert_eq!(listed, names);
    }
    if tool("python3").is_some() {
        let script = "import sys, tarfile\n\
                      archive = tarfile.open(sys.argv[1])\n\
                      for member in archive:\n    \
                          assert not member.pax_headers and member.uname == 'root' and member.mtime in (1700000001, 1577836800)\n    \
                          print(member.name)";
        let said = run(Command::new("python3").args(["-c", script]).arg(&file));
        let mut listed: Vec<&str> = said.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, names);
    }
}

#[test]
fn dpkg_unpacks_the_same_tree_and_reads_the_fields() {
    let Some(dpkg_deb) = tool("dpkg-deb") else {
        return;
    };
    let (directory, mut package) = scratch();
    for compression in [
        Compression::Zstd(3),
        Compression::Gzip(6),
        Compression::Xz(1),
    ] {
        package.meta.compression = compression;
        let file = write(&DebPackage, &package, directory.path());
        if root() {
            let root = tempfile::tempdir().unwrap();
            run(Command::new(&dpkg_deb)
                .arg("--extract")
                .arg(&file)
                .arg(root.path()));
            let dump = dump_of_disk(root.path(), "/", Times::Files);
            assert_eq!(
                without(&dump, SYSTEM),
                plain(&expected(&DebPackage, &package))
            );
        }
        let field = |name: &str| run(Command::new(&dpkg_deb).arg("--field").arg(&file).arg(name));
        assert_eq!(field("Version"), "1.4.2~rc1-1\n");
        assert_eq!(
            field("Depends"),
            "python3.11, libc6 (>= 2.17), zlib1g, adduser\n"
        );
        assert_eq!(
            field("Description"),
            "A shop\n Sells things.\n .\n - well - cheap\n"
        );
        let conffiles = sh(
            "dpkg-deb --ctrl-tarfile \"$1\" | tar -xO ./conffiles",
            &[&file],
        );
        assert_eq!(conffiles, "/etc/shop/shop.env\n");
        if tool("ar").is_some() {
            let members = sh("ar t \"$1\"", &[&file]);
            assert!(
                members.starts_with("debian-binary\ncontrol.tar.gz\ndata.tar."),
                "{members}"
            );
        }
    }
}

/// Reads a package that dpkg-deb wrote.
#[test]
fn a_deb_of_dpkg_deb_is_read() {
    let (Some(_), true) = (tool("dpkg-deb"), root()) else {
        return;
    };
    let (directory, package) = scratch();
    let ours = write(&DebPackage, &package, directory.path());
    for compressor in ["zstd", "xz", "gzip", "none"] {
        let theirs = directory.path().join("theirs.deb");
        let script = "dpkg-deb -R \"$1\" \"$2\"; dpkg-deb -Z\"$4\" -b \"$2\" \"$3\"";
        let raw = directory.path().join(compressor);
        sh(script, &[&ours, &raw, &theirs, Path::new(compressor)]);
        let artifact = PackageReader::open(&theirs).unwrap();
        assert_eq!(artifact.compression, compressor);
        assert_eq!(
            without(&artifact.dump().unwrap(), SYSTEM),
            expected(&DebPackage, &package)
        );
        assert_eq!(
            artifact.scriptlets,
            PackageReader::open(&ours).unwrap().scriptlets
        );
    }
}

/// apt has its own parser for control.tar.
#[test]
fn apt_reads_a_deb_of_ours() {
    let (Some(_), true) = (tool("apt-get"), root()) else {
        return;
    };
    let (directory, mut package) = scratch();
    package.depends = HostDependencies {
        libraries: libraries(),
        ..HostDependencies::default()
    };
    let file = write(&DebPackage, &package, directory.path());
    let said = sh(
        "apt-get install --simulate --quiet \"$1\" 2>/dev/null",
        &[&file],
    );
    assert!(
        said.contains("Inst shop (1.4.2~rc1-1 local-deb [amd64])"),
        "{said}"
    );
}

#[test]
fn md5sums_are_those_of_md5sum() {
    let Some(_) = tool("dpkg-deb") else { return };
    let (directory, package) = scratch();
    let file = write(&DebPackage, &package, directory.path());
    let script = "root=$(mktemp -d); trap 'rm -rf \"$root\"' EXIT; dpkg-deb -x \"$1\" \"$root\"; \
                  dpkg-deb --ctrl-tarfile \"$1\" | tar -xO ./md5sums > \"$root/sums\"; cd \"$root\"; \
                  sed 's/\\\\/\\\\\\\\/g; /\\\\\\\\/s/^/\\\\/' sums | md5sum -c --quiet; wc -l < sums";
    let files =
        package.tree.files().count() - 1 + DebPackage.extra_entries(&package.meta).unwrap().len();
    assert_eq!(sh(script, &[&file]).trim(), files.to_string());
}

/// dpkg-gencontrol sets the field in Debian; it reads the tree from a disk.
#[test]
fn installed_size_is_dpkg_gencontrol_s() {
    let (Some(_), true) = (tool("dpkg-gencontrol"), root()) else {
        return;
    };
    let (directory, package) = scratch();
    let file = write(&DebPackage, &package, directory.path());
    let script = "work=$(mktemp -d); trap 'rm -rf \"$work\"' EXIT; mkdir -p \"$work/debian\" \"$work/root\"; cd \"$work\"; \
                  dpkg-deb -x \"$1\" root; \
                  printf 'Source: shop\\nMaintainer: O <o@example.com>\\n\\nPackage: shop\\nArchitecture: amd64\\n\
                  Description: x\\n' > debian/control; \
                  printf 'shop (1) stable; urgency=low\\n\\n  * x\\n\\n -- O <o@example.com>  Mon, 01 Jan 2024 00:00:00 \
                  +0000\\n' > debian/changelog; dpkg-gencontrol -Proot -O 2>/dev/null | sed -n 's/Installed-Size: //p'; \
                  dpkg-deb --field \"$1\" Installed-Size";
    let said = sh(script, &[&file]);
    let (theirs, ours) = said.trim().split_once('\n').unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn a_deb_for_debian_11_has_no_zstd() {
    let (directory, mut package) = scratch();
    package.meta.targets = vec![
        target::by_name("debian12").unwrap(),
        target::by_name("el8").unwrap(),
    ];
    let zstd = PackageReader::open(&write(&DebPackage, &package, directory.path())).unwrap();
    assert_eq!(zstd.compression, "zstd");
    package
        .meta
        .targets
        .push(target::by_name("debian11").unwrap());
    assert_eq!(
        PackageReader::open(&write(&DebPackage, &package, directory.path()))
            .unwrap()
            .compression,
        "xz"
    );
    assert_eq!(
        PackageReader::open(&write(&RpmPackage, &package, directory.path()))
            .unwrap()
            .compression,
        "zstd"
    );
}

#[test]
fn dpkg_installs_upgrades_and_purges() {
    let (Some(_), true) = (tool("dpkg"), root()) else {
        return;
    };
    let (directory, mut package) = scratch();
    let first = write(&DebPackage, &package, directory.path());
    package.meta.version = Version::from_str("1.4.2").unwrap();
    let second = write(&DebPackage, &package, directory.path());
    // Scripts run without chroot, so an empty root suffices.
    let script = "root=$(mktemp -d); trap 'rm -rf \"$root\"' EXIT; mkdir -p \"$root/var/lib/dpkg/info\" \
                  \"$root/var/lib/dpkg/updates\"; : > \"$root/var/lib/dpkg/status\"; : > \"$root/var/lib/dpkg/available\"; \
                  export ROOT_LOG=\"$root/log\"; \
                  d() { dpkg --root=\"$root\" --force-script-chrootless --force-depends --force-not-root --log=/dev/null \
                  \"$@\" > \"$root/out\" 2>&1 || { cat \"$root/out\" >&2; exit 1; }; }; \
                  d -i \"$1\"; d -i \"$2\"; d --verify shop; cat \"$root/out\" | grep -v '^dpkg' || :; \
                  dpkg --root=\"$root\" --verify shop; d --purge shop; cat \"$root/log\"; \
                  find \"$root\" -path '*shop*'";
    assert_eq!(
        sh(script, &[&first, &second]),
        [
            "before-install install",
            "after-install install",
            "before-remove upgrade",
            "before-install upgrade",
            "after-remove upgrade",
            "after-install upgrade",
            "before-remove remove",
            "after-remove remove",
            "after-remove purge",
        ]
        .map(|said| format!("{said} deb shop /opt/shop\n"))
        .concat()
    );
}

#[test]
fn rpm_verifies_and_lists_the_same_files() {
    let Some(rpm) = tool("rpm") else { return };
    let (directory, mut package) = scratch();
    for compression in [
        Compression::Zstd(3),
        Compression::Gzip(6),
        Compression::Xz(1),
    ] {
        package.meta.compression = compression;
        let file = write(&RpmPackage, &package, directory.path());
        let checked = run(Command::new(&rpm).args(["-K", "-v"]).arg(&file));
        for line in ["Header SHA256 digest: OK", "Payload SHA256 digest: OK"] {
            assert!(checked.contains(line), "{checked}");
        }
        let format = "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILESIZES} %{FILEDIGESTS} %{FILEMTIMES} \
                      %{FILEFLAGS} %{FILENAMES} -> %{FILELINKTOS}\\n]";
        let said = run(Command::new(&rpm).args(["-qp", "--qf", format]).arg(&file));
        let line = |path: &InstallPath, entry: &TreeEntry| {
            let dump = dump_line(path.as_str(), entry);
            let perms = dump.split(' ').next().unwrap();
            let (size, sum, target) = match &entry.kind {
                EntryKind::Directory => (0, String::new(), ""),
                EntryKind::File(content) => {
                    (content.digest.size, content.digest.sha256.to_string(), "")
                }
                EntryKind::Symlink(target) => (target.len() as u64, String::new(), target.as_str()),
            };
            let flags = if entry.role == pkgapp_release::tree::UpgradeRole::Config {
                17
            } else {
                0
            };
            let mtime = if matches!(entry.kind, EntryKind::Directory) {
                DIRECTORY_MTIME
            } else {
                MTIME
            };
            format!("{perms} root:root {size} {sum} {mtime} {flags} {path} -> {target}\n")
        };
        let wanted: String = package
            .tree
            .iter()
            .map(|(path, entry)| line(path, entry))
            .collect();
        assert_eq!(said, wanted);
    }
}

#[test]
fn rpm2cpio_and_cpio_unpack_the_same_tree() {
    let (Some(_), Some(_), true) = (tool("rpm2cpio"), tool("cpio"), root()) else {
        return;
    };
    let (directory, package) = scratch();
    let file = write(&RpmPackage, &package, directory.path());
    let unpack = [
        "rpm2cpio \"$1\" | (cd \"$2\" && cpio -idm --quiet)",
        "bsdtar -xpf \"$1\" -C \"$2\"",
    ];
    for script in unpack {
        let root = tempfile::tempdir().unwrap();
        sh(script, &[&file, root.path()]);
        let found = dump_of_disk(root.path(), "/", Times::Files);
        assert_eq!(
            without(&found, SYSTEM),
            plain(&expected(&RpmPackage, &package)),
            "{script}"
        );
    }
}

#[test]
fn rpm_installs_verifies_upgrades_and_removes() {
    let (Some(_), true) = (tool("rpm"), root()) else {
        return;
    };
    let (directory, mut package) = scratch();
    let first = write(&RpmPackage, &package, directory.path());
    package.meta.version = Version::from_str("1.4.2").unwrap();
    let second = write(&RpmPackage, &package, directory.path());
    // Scriptlets run in the root, which has no shell; their output is tested below.
    let script = "root=$(mktemp -d); trap 'rm -rf \"$root\"' EXIT; \
                  r() { rpm --root \"$root\" \"$@\" 2>/dev/null; }; \
                  r -i --nodeps --noscripts \"$1\"; r -V --nodeps shop; r -U --nodeps --noscripts \"$2\"; \
                  r -V --nodeps shop; r -q shop; echo changed >> \"$root/etc/shop/shop.env\"; \
                  r -e --noscripts shop; find \"$root\" -path '*shop*' -printf '/%P\\n'";
    let wanted = "shop-1.4.2-1.x86_64\n/etc/shop\n/etc/shop/shop.env.rpmsave\n";
    let said = sh(script, &[&first, &second]);
    assert_eq!(said.replace("//", "/"), wanted);
}

#[test]
fn rpm_scriptlets_know_what_is_done() {
    let (Some(rpm), Some(sh)) = (tool("rpm"), tool("sh")) else {
        return;
    };
    let (directory, package) = scratch();
    let file = write(&RpmPackage, &package, directory.path());
    // %pre leaves messages for %posttrans in a directory of the host.
    let run_directory = directory.path().join("run");
    for (tag, argument, said) in [
        ("PREIN", "1", "before-install install"),
        ("POSTTRANS", "1", "after-install install"),
        ("PREIN", "2", "before-install upgrade"),
        ("PREUN", "1", "before-remove upgrade"),
        ("POSTUN", "1", "after-remove upgrade"),
        ("POSTTRANS", "1", "after-install upgrade"),
        ("PREUN", "0", "before-remove remove"),
        ("POSTUN", "0", "after-remove remove"),
    ] {
        let text = run(Command::new(&rpm)
            .args(["-qp", "--qf", &format!("%{{{tag}}}")])
            .arg(&file));
        let text = text.replace("/run/pkgapp", run_directory.to_str().unwrap());
        let log = directory.path().join("log");
        run(Command::new(&sh)
            .env("ROOT_LOG", &log)
            .args(["-c", &text, "sh", argument]));
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            format!("{said} rpm shop /opt/shop\n"),
            "{tag} {argument}"
        );
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn rpm_reads_the_dependencies() {
    let Some(rpm) = tool("rpm") else { return };
    let (directory, package) = scratch();
    let file = write(&RpmPackage, &package, directory.path());
    assert_eq!(
        run(Command::new(&rpm).args(["-qp", "--provides"]).arg(&file)),
        "shop = 1.4.2~rc1-1\nshop(x86-64) = 1.4.2~rc1-1\n"
    );
    assert_eq!(
        run(Command::new(&rpm).args(["-qp", "--requires"]).arg(&file)),
        "/bin/sh\n/bin/sh\n/bin/sh\n/bin/sh\n/usr/bin/python3.11\nlibc.so.6()(64bit)\n\
         libc.so.6(GLIBC_2.17)(64bit)\nlibz.so.1()(64bit)\npython(abi) = 3.11\nrpmlib(CompressedFileNames) <= 3.0.4-1\n\
         rpmlib(FileDigests) <= 4.6.0-1\nrpmlib(PayloadFilesHavePrefix) <= 4.0-1\nrpmlib(PayloadIsZstd) <= 5.4.18-1\n\
         rpmlib(TildeInVersions) <= 4.10.0-1\nshadow-utils >= 2:4.6\n"
    );
    let artifact = PackageReader::open(&file).unwrap();
    assert_eq!(artifact.depends[..2], ["/bin/sh", "/usr/bin/python3.11"]);
    assert!(
        artifact
            .depends
            .contains(&"shadow-utils >= 2:4.6".to_owned()),
        "{:?}",
        artifact.depends
    );
}

/// Tags that only rpmbuild writes for the same content, with the reason.
const RPMBUILD_ONLY: &[(&str, &str)] = &[
    ("Cookie", "names the building machine"),
    ("Optflags", "of the building machine's configuration"),
    ("Platform", "of the building machine's configuration"),
    (
        "Classdict",
        "libmagic's words for files, which rpm itself does not use",
    ),
    (
        "Filecolors",
        "for multilib transactions, which a release has no part in",
    ),
    (
        "Dependsdict",
        "which file caused which dependency: they are the release's as a whole",
    ),
    ("Filedependsn", "see Dependsdict"),
    ("Filedependsx", "see Dependsdict"),
    (
        "Payloaddigestalt",
        "for delta rpms; costs a second sum of everything",
    ),
    ("Pkgid", "an MD5 sum, which proves nothing"),
];

/// Tags with other values, with the reason.
const DIFFERENT: &[(&str, &str)] = &[
    ("Buildhost", "names the building machine"),
    ("Fileclass", "rpm makes it of Classdict"),
    ("Hdrid", "of another header"),
    ("Longsigsize", "of another header"),
    ("Packager", "rpmbuild has it from a macro"),
    ("Payloaddigest", "of other compressed bytes"),
    ("Rpmversion", "who wrote it"),
    ("Sha1header", "of another header"),
    ("Sha256header", "of another header"),
    ("Sigsize", "of another header"),
    ("Vcs", "rpmbuild has it from a tag of the spec"),
];

/// Builds the same content with rpmbuild, and compares each tag of the headers.
#[test]
fn the_header_is_rpmbuild_s_but_for_listed_tags() {
    let (Some(_), Some(_), Some(rpm), true) =
        (tool("rpmbuild"), tool("bsdtar"), tool("rpm"), root())
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    let origin = Arc::new(EntryOrigin {
        label: "the test".into(),
        layer: None,
    });
    let file = |bytes: &[u8], mode| TreeEntry::file(Content::memory(bytes), mode, &origin);
    tree.insert(path("/opt/shop/bin/shop"), file(b"#!/bin/sh\n", 0o755))
        .unwrap();
    tree.insert(path("/opt/shop/data-1/x"), file(b"data", 0o644))
        .unwrap();
    tree.insert(
        path("/opt/shop/data"),
        TreeEntry::symlink("data-1", &origin),
    )
    .unwrap();
    tree.insert(path("/etc/shop/shop.env"), file(b"A=b\n", 0o640).config())
        .unwrap();
    let mut package = package(tree);
    package.depends.declared_rpm = vec!["shadow-utils >= 2:4.6".into()];
    package.meta.compression = Compression::Zstd(19);
    package.scriptlets.rpm.trigger = Some(FileTrigger {
        paths: vec!["/usr/bin/python3.11".into(), "/usr/lib64/libpython".into()],
        script: "exit 0".into(),
    });
    let ours = write(&RpmPackage, &package, directory.path());
    let theirs = rpmbuild(&rpm, &ours, &package, directory.path());
    assert_eq!(
        PackageReader::open(&theirs).unwrap().dump().unwrap(),
        package.tree.dump()
    );
    let (ours, theirs) = (tags(&rpm, &ours), tags(&rpm, &theirs));
    let known = |list: &[(&str, &str)], tag: &str| list.iter().any(|(known, _)| *known == tag);
    let mut surprises = Vec::new();
    for tag in ours
        .keys()
        .chain(theirs.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (own, other) = (ours.get(tag), theirs.get(tag));
        let listed = if own.is_none() {
            known(RPMBUILD_ONLY, tag)
        } else {
            known(DIFFERENT, tag)
        };
        if own != other && !listed {
            surprises.push(format!("{tag}: ours {own:?}, rpmbuild's {other:?}"));
        }
        if own == other && (known(DIFFERENT, tag) || known(RPMBUILD_ONLY, tag)) {
            surprises.push(format!("{tag} does not differ"));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// Returns all tags of a package with their values.
fn tags(rpm: &Path, file: &Path) -> BTreeMap<String, String> {
    let names = run(Command::new(rpm).arg("--querytags"));
    let mut values = BTreeMap::new();
    // Tags that rpm computes from others or prints in random order.
    let computed = [
        "Dbinstance",
        "Headerimmutable",
        "Headersignatures",
        "Reservedspace",
        "Sigmd5",
    ];
    for name in names.lines() {
        let name = name.to_lowercase();
        let name = name[..1].to_uppercase() + &name[1..];
        let query = format!("%|{name}?{{[%{{{name}}}|]}}:{{(absent)}}|");
        let Ok(output) =
            pkgapp_core::process::run(Command::new(rpm).args(["-qp", "--qf", &query]).arg(file))
        else {
            continue;
        };
        let value = String::from_utf8_lossy(&output.stdout).into_owned();
        if value != "(absent)" && !computed.contains(&name.as_str()) {
            values.insert(name, value);
        }
    }
    values
}

/// Builds a package with the same files, texts, scriptlets, and dependencies.
fn rpmbuild(rpm: &Path, ours: &Path, package: &Package, directory: &Path) -> PathBuf {
    use std::fmt::Write as _;
    let query = |format: &str| run(Command::new(rpm).args(["-qp", "--qf", format]).arg(ours));
    let root = directory.join("root");
    std::fs::create_dir(&root).unwrap();
    run(Command::new("bsdtar")
        .arg("-xpf")
        .arg(ours)
        .arg("-C")
        .arg(&root));
    let mut spec = String::new();
    _ = writeln!(
        spec,
        "Name: shop\nVersion: 1.4.2~rc1\nRelease: 1\nSummary: A shop\nLicense: MIT\nURL: https://example.com/shop\n\
         AutoReqProv: no\n\
         Requires: /usr/bin/python3.11\nRequires: python(abi) = 3.11\nRequires: shadow-utils >= 2:4.6\n\
         Requires: libc.so.6()(64bit)\nRequires: libc.so.6(GLIBC_2.17)(64bit)\nRequires: libz.so.1()(64bit)\n\
         %description\n{}\n%install\ncp -a {}/. %{{buildroot}}",
        query("%{DESCRIPTION}"),
        root.display(),
    );
    for (section, tag) in [
        ("pre", "PREIN"),
        ("preun", "PREUN"),
        ("postun", "POSTUN"),
        ("posttrans", "POSTTRANS"),
    ] {
        _ = writeln!(
            spec,
            "%{section}\n{}",
            query(&format!("%{{{tag}}}")).trim_end().replace('%', "%%")
        );
    }
    if let Some(trigger) = &package.scriptlets.rpm.trigger {
        _ = writeln!(
            spec,
            "%transfiletriggerin -- {}\n{}",
            trigger.paths.join(" "),
            trigger.script.replace('%', "%%")
        );
    }
    spec.push_str("%files\n");
    for (path, entry) in package.tree.iter() {
        let mark = match (&entry.kind, entry.role) {
            (EntryKind::Directory, _) => "%dir ",
            (_, pkgapp_release::tree::UpgradeRole::Config) => "%config(noreplace) ",
            _ => "",
        };
        let attributes = if matches!(entry.kind, EntryKind::Symlink(_)) {
            "-".to_owned()
        } else {
            format!("{:o}", entry.mode)
        };
        _ = writeln!(spec, "%attr({attributes}, root, root) {mark}{path}");
    }
    spec.push_str(
        "%changelog\n* Tue Nov 14 2023 Ops <ops@example.com> - 1.4.2~rc1-1\n- Version 1.4.2~rc1.\n",
    );
    let file = directory.join("shop.spec");
    std::fs::write(&file, spec).unwrap();
    let define = |text: &str| ["--define".to_owned(), text.to_owned()];
    run(Command::new("rpmbuild")
        .env("SOURCE_DATE_EPOCH", package.meta.timestamp.to_string())
        .args(["-bb", "--target", "x86_64", "--quiet"])
        .args(define(&format!(
            "_topdir {}",
            directory.join("top").display()
        )))
        .args(define("_binary_payload w19.zstdio"))
        .args(define("_source_filedigest_algorithm 8"))
        .args(define("_binary_filedigest_algorithm 8"))
        .args(define("clamp_mtime_to_source_date_epoch 1"))
        .args(define("use_source_date_epoch_as_buildtime 1"))
        .args(define("__os_install_post %{nil}"))
        .args(define("_build_id_links none"))
        .arg(&file));
    let mut found = walkdir::WalkDir::new(directory.join("top/RPMS"))
        .into_iter()
        .map(|found| found.unwrap().into_path());
    found
        .find(|path| path.extension().is_some_and(|extension| extension == "rpm"))
        .unwrap()
}

#[test]
fn equal_packages_give_equal_bytes() {
    let (directory, package) = scratch();
    let other = tempfile::tempdir().unwrap();
    let mut again = package.clone();
    again.tree = odd_tree(&other.path().join("large"));
    for (name, format) in FORMATS {
        let first = std::fs::read(write(*format, &package, directory.path())).unwrap();
        let second = std::fs::read(write(*format, &again, other.path())).unwrap();
        assert!(first == second, "{name}");
    }
}

#[test]
fn a_file_that_changed_since_it_was_read_is_refused() {
    let (directory, package) = scratch();
    let disk = directory.path().join("large");
    let whole = std::fs::read(&disk).unwrap();
    let mut flipped = whole.clone();
    flipped[500_000] ^= 1;
    for (bytes, what) in [(&flipped[..], "changed"), (&whole[1..], "shorter")] {
        std::fs::write(&disk, bytes).unwrap();
        for (name, format) in FORMATS {
            let file = directory.path().join("out");
            let error = try_write(*format, &package, &file).unwrap_err();
            let wanted = "`/opt/shop/lib/large.bin` has changed since the build read it";
            assert_eq!(error.message(), wanted, "{name} {what}");
            assert!(!file.exists());
        }
    }
}

#[test]
fn a_tarball_refuses_a_host_directory_in_the_release() {
    let (directory, mut package) = scratch();
    let origin = Arc::new(EntryOrigin {
        label: "`x 1.0`".into(),
        layer: None,
    });
    package
        .tree
        .insert(
            path("/opt/shop/host"),
            TreeEntry::file(Content::memory(*b""), 0o644, &origin),
        )
        .unwrap();
    let file = directory.path().join("out");
    let tar = by_name("tar").unwrap();
    let error = try_write(tar, &package, &file).unwrap_err();
    assert_eq!(
        error.message(),
        "a tarball cannot contain both `/opt/shop/host` and `/etc/shop`"
    );
}

#[test]
fn other_files_are_no_artifacts() {
    let directory = tempfile::tempdir().unwrap();
    for (bytes, message) in [
        (&b""[..], "is not a tarball, deb, or rpm"),
        (b"#!/bin/sh\n", "is not a tarball, deb, or rpm"),
        (b"!<arch>\n", "is damaged"),
        (b"\xed\xab\xee\xdb\x03\x00", "is damaged"),
        (b"\x28\xb5\x2f\xfdxxxxxxx", "is not a tarball, deb, or rpm"),
    ] {
        let file = directory.path().join("x");
        std::fs::write(&file, bytes).unwrap();
        let error = PackageReader::open(&file).unwrap_err();
        assert!(error.message().ends_with(message), "{bytes:?}: {error}");
    }
}

#[test]
fn a_truncated_artifact_is_damaged() {
    let (directory, package) = scratch();
    for (_, format) in FORMATS {
        let file = write(*format, &package, directory.path());
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 2000]).unwrap();
        let error = PackageReader::open(&file).unwrap().entries().unwrap_err();
        assert!(error.message().ends_with("is damaged"), "{error}");
    }
}

mod generated {
    use proptest::prelude::*;

    use super::*;

    fn component() -> impl Strategy<Value = String> {
        // Names with all characters except for `/` and control characters, but not `.` and `..`.
        prop_oneof![4 => "[a-z0-9_.%+~-]{1,12}", 2 => "[ -.0-~]{1,30}", 1 => "[\u{e0}-\u{17f}\u{4e00}-\u{4e20}]{1,40}"]
            .prop_filter("dots", |name| name != "." && name != "..")
    }

    #[derive(Debug, Clone)]
    enum Made {
        File(Vec<u8>, u32),
        Link(String),
        Directory(u32),
    }

    fn made() -> impl Strategy<Value = Made> {
        let mode = prop_oneof![
            Just(0o644),
            Just(0o755),
            Just(0o400),
            Just(0o4755),
            Just(0o2755),
            0_u32..0o7777
        ];
        prop_oneof![
            6 => (proptest::collection::vec(any::<u8>(), 0..2000), mode.clone()).prop_map(|(bytes, mode)| Made::File(bytes, mode)),
            1 => "[ -~]{1,200}".prop_map(Made::Link),
            1 => mode.prop_map(|mode| Made::Directory(mode | 0o700)),
        ]
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let path = proptest::collection::vec(component(), 1..6);
        proptest::collection::vec((path, made()), 1..40).prop_map(|entries| {
            let origin = Arc::new(EntryOrigin {
                label: "generated".into(),
                layer: None,
            });
            let mut tree = Tree::new();
            for (components, made) in entries {
                let Ok(path) = InstallPath::parse(&format!("/opt/shop/{}", components.join("/")))
                else {
                    continue;
                };
                let entry = match made {
                    Made::File(bytes, mode) => {
                        TreeEntry::file(Content::memory(bytes), mode, &origin)
                    }
                    Made::Link(target) => TreeEntry::symlink(target, &origin),
                    Made::Directory(mode) => TreeEntry {
                        mode,
                        ..TreeEntry::directory(&origin)
                    },
                };
                // The tree itself handles collisions.
                _ = tree.insert(path, entry);
            }
            tree
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

        #[test]
        fn any_tree_is_read_back(tree in trees()) {
            let directory = tempfile::tempdir().unwrap();
            let package = package(tree);
            for format in [&DebPackage as &dyn PackageFormat, &RpmPackage] {
                let artifact = PackageReader::open(&write(format, &package, directory.path())).unwrap();
                prop_assert_eq!(without(&artifact.dump().unwrap(), SYSTEM), expected(format, &package));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 40, ..ProptestConfig::default() })]

        #[test]
        fn any_tree_is_unpacked_by_tar_dpkg_and_rpm(tree in trees()) {
            if !root() {
                return Ok(());
            }
            let directory = tempfile::tempdir().unwrap();
            let package = package(tree);
            let unpackers: &[(&str, &dyn PackageFormat, &str)] = &[
                ("dpkg-deb", &DebPackage, "dpkg-deb -x \"$1\" \"$2\""),
                ("rpm", &RpmPackage, "rpm -i --root \"$2\" --dbpath /db --nodeps --noscripts \"$1\" && rm -r \"$2/db\""),
            ];
            for (program, format, script) in unpackers {
                let (true, root) = (tool(program).is_some(), tempfile::tempdir().unwrap()) else { continue };
                sh(script, &[&write(*format, &package, directory.path()), root.path()]);
                let dump = dump_of_disk(root.path(), "/", Times::Files);
                prop_assert_eq!(without(&dump, SYSTEM), plain(&expected(*format, &package)), "{}", program);
            }
            if let (Some(tar), Some(_)) = (tool("tar"), tool("zstd")) {
                let root = tempfile::tempdir().unwrap();
                let file = write(by_name("tar").unwrap(), &package, directory.path());
                run(Command::new(tar).arg("-xpf").arg(&file).arg("-C").arg(root.path()));
                prop_assert_eq!(without_top(&dump_of_disk(root.path(), "", Times::Files)), without_top(&expected_in_tarball(&package)));
            }
        }
    }
}
