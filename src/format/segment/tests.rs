use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::{DebPackage, PackageFormat, RpmPackage, by_name, judge};
use pkgapp_core::digest::Digest;
use pkgapp_core::path::InstallPath;
use pkgapp_release::package::Package;
use pkgapp_release::tree::{EntryOrigin, Tree, TreeEntry};

/// A tree with two layers of files on disk, a layer with only a link, and files without a layer.
fn tree(files: &Path, prefix: &str) -> Tree {
    let mut tree = Tree::new();
    let path = |below: &str| InstallPath::parse(&format!("{prefix}/{below}")).unwrap();
    for (number, name) in ["blinker", "click"].into_iter().enumerate() {
        let origin = Arc::new(EntryOrigin {
            label: format!("distribution `{name}`"),
            layer: Some(name.repeat(9)),
        });
        for file in 0..20 {
            let bytes = format!("# {name} {file}\n")
                .repeat(100 * (number + 1) + file)
                .into_bytes();
            let disk = files.join(format!("{name}-{file}"));
            std::fs::write(&disk, &bytes).unwrap();
            let content = Content {
                digest: Digest::of(&bytes),
                bytes: Bytes::Disk {
                    file: disk.into(),
                    start: 0,
                },
            };
            tree.insert(
                path(&format!("lib/{name}/{file}.py")),
                TreeEntry::file(content, 0o644, &origin),
            )
            .unwrap();
        }
        tree.insert(
            path(&format!("bin/{name}")),
            TreeEntry::symlink("../lib/x", &origin),
        )
        .unwrap();
    }
    let origin = Arc::new(EntryOrigin {
        label: "distribution `link`".into(),
        layer: Some("link".repeat(9)),
    });
    tree.insert(path("bin/link"), TreeEntry::symlink("blinker", &origin))
        .unwrap();
    let origin = Arc::new(EntryOrigin {
        label: "the release".into(),
        layer: None,
    });
    let record = TreeEntry::file(Content::memory(*b"{\"name\": \"shop\"}"), 0o644, &origin);
    tree.insert(path(".pkgapp/release.json"), record).unwrap();
    tree
}

struct Scene {
    directory: tempfile::TempDir,
    cache: Cache,
    package: Package,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let cache = Cache::open(&directory.path().join("cache")).unwrap();
    let package = judge::package(tree(&files, "/opt/shop"));
    Scene {
        directory,
        cache,
        package,
    }
}

impl Scene {
    fn write(&self, format: &dyn PackageFormat) -> (Vec<u8>, SegmentCounts) {
        let (segments, mut out) = (Segments::new(&self.cache), Vec::new());
        format.write(&self.package, &segments, &mut out).unwrap();
        assert!(!segments.forgot_damaged());
        (out, segments.counts())
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.cache.segments()).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

/// The number of kept segments: those of three layers. Directories and files without a layer are
/// not kept.
const KEPT: u64 = 3;
const PASSING: u64 = 2;

#[test]
fn an_unchanged_layer_is_neither_opened_nor_compressed_again() {
    let scene = scene();
    let formats = [
        &DebPackage as &dyn PackageFormat,
        &RpmPackage,
        by_name("tar.zst").unwrap(),
        by_name("tar.gz").unwrap(),
    ];
    let cold: Vec<Vec<u8>> = formats
        .iter()
        .map(|format| scene.write(*format).0)
        .collect();
    assert_eq!(scene.entries().len(), 4 * KEPT as usize);
    std::fs::remove_dir_all(scene.directory.path().join("files")).unwrap();
    for (format, cold) in formats.iter().zip(cold) {
        let (warm, counts) = scene.write(*format);
        assert!(warm == cold);
        assert_eq!((counts.reused, counts.made), (KEPT, PASSING));
    }
    let left = walkdir::WalkDir::new(scene.cache.root().join("tmp"))
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap());
    assert_eq!(
        left.filter(|left| left.is_file() && left.len() > 0).count(),
        0
    );
}

#[test]
fn one_core_and_an_empty_cache_give_the_same_bytes() {
    for compression in [
        Compression::Zstd(3),
        Compression::Zstd(19),
        Compression::Gzip(6),
        Compression::Xz(2),
    ] {
        for format in [&DebPackage as &dyn PackageFormat, &RpmPackage] {
            let write = |threads| {
                let mut scene = scene();
                scene.package.meta.compression = compression;
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| scene.write(format).0)
            };
            assert!(write(1) == write(4), "{compression:?}");
        }
    }
}

#[test]
fn a_later_commit_uses_the_segments_and_another_layer_prefix_or_level_does_not() {
    let mut scene = scene();
    scene.write(&DebPackage);
    scene.package.meta.timestamp += 86_400;
    scene.package.meta.version = "1.4.3".parse().unwrap();
    assert_eq!(scene.write(&DebPackage).1.reused, KEPT);

    let changed = InstallPath::parse("/opt/shop/lib/click/3.py").unwrap();
    let mut entry = scene.package.tree.remove(&changed).unwrap();
    entry.mode = 0o755;
    scene.package.tree.insert(changed, entry).unwrap();
    assert_eq!(scene.write(&DebPackage).1.reused, KEPT - 1);

    scene.package.meta.compression = Compression::Zstd(4);
    assert_eq!(scene.write(&DebPackage).1.reused, 0);
    scene.package.meta.compression = Compression::Zstd(3);
    scene.package.tree = tree(&scene.directory.path().join("files"), "/srv/shop");
    scene.package.meta.prefix = InstallPath::parse("/srv/shop").unwrap();
    assert_eq!(scene.write(&DebPackage).1.reused, 0);
}

#[test]
fn a_damaged_entry_is_noticed_and_made_anew() {
    let scene = scene();
    let (sound, _) = scene.write(&DebPackage);
    let entries = scene.entries();
    let whole: Vec<Vec<u8>> = entries
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let cut = whole[0][..whole[0].len() - 1].to_vec();
    let mut flipped = whole[0].clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = whole[0].clone();
    longer.push(0);
    // A part of the header about the plain length: only the seal reveals the change.
    let mut altered = whole[0].clone();
    let digit = altered
        .windows(8)
        .position(|bytes| bytes == b"\"plain\":")
        .unwrap()
        + 8;
    altered[digit] = if altered[digit] == b'1' { b'2' } else { b'1' };
    for damaged in [
        cut,
        flipped,
        longer,
        altered,
        Vec::new(),
        vec![0; 600],
        whole[1].clone(),
    ] {
        std::fs::write(&entries[0], damaged).unwrap();
        let (bytes, counts) = scene.write(&DebPackage);
        assert!(bytes == sound);
        assert_eq!((counts.reused, counts.made), (KEPT - 1, PASSING + 1));
        assert_eq!(std::fs::read(&entries[0]).unwrap(), whole[0]);
    }
}

/// The limit of the cache's size, its upkeep, and `cache verify` cover segments.
#[test]
fn segments_are_counted_held_and_verified_as_the_rest_of_the_cache_is() {
    let scene = scene();
    scene.write(&DebPackage);
    assert_eq!(scene.cache.counted("segments"), Some((0, KEPT)));
    scene.write(&DebPackage);
    assert_eq!(scene.cache.counted("segments"), Some((KEPT, 2 * KEPT)));

    let other = Cache::open(scene.cache.root()).unwrap();
    let all = pkgapp_core::cache::PruneRequest {
        all: true,
        ..Default::default()
    };
    assert_eq!(other.prune(all).unwrap().in_use, KEPT);
    assert_eq!(scene.entries().len(), KEPT as usize);
    // The added segments exceed the limit, and a build that only reuses them adds nothing.
    let limit = 1;
    let pruned = scene.cache.trim(limit).unwrap();
    assert_eq!(
        pruned.map(|pruned| pruned.entries),
        None,
        "they are held by this process, too"
    );
    drop(other);

    let entries = scene.entries();
    assert!(entries.iter().all(|entry| damage(entry).is_empty()));
    let sound = std::fs::read(&entries[0]).unwrap();
    for place in [sound.len() - 1, 600, 20] {
        let mut bytes = sound.clone();
        bytes[place] ^= 1;
        std::fs::write(&entries[0], bytes).unwrap();
        assert_eq!(damage(&entries[0]).len(), 1, "{place}");
    }
    std::fs::write(&entries[0], &sound).unwrap();
    std::fs::rename(&entries[0], entries[0].with_file_name("0".repeat(64))).unwrap();
    assert_eq!(damage(&entries[0].with_file_name("0".repeat(64))).len(), 1);
}

#[test]
fn what_a_build_compresses_counts_for_the_size_of_the_cache() {
    let scene = scene();
    assert!(scene.cache.trim(u64::MAX - 1).unwrap().is_none());
    scene.write(&RpmPackage);
    let taken: u64 = scene
        .entries()
        .iter()
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    let sums = std::fs::read_dir(scene.cache.proofs())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len());
    let taken = taken + sums.sum::<u64>();
    let root = scene.cache.root().to_owned();
    // The ledger has the exact number of added bytes: a limit of one byte less is exceeded.
    let Scene {
        directory: _directory,
        cache,
        ..
    } = scene;
    cache.trim(taken + 1_000_000).unwrap();
    drop(cache);
    let told: u64 = pkgapp_core::cache::read_sealed(&root.join("size.json")).unwrap();
    assert_eq!(told, taken);
}

/// The cache may be pruned at any time.
#[test]
fn an_entry_that_goes_away_between_check_and_copy_is_made_again() {
    let scene = scene();
    let segments = Segments::new(&scene.cache);
    let members = |tree| -> Vec<MemberHeader<'_>> {
        let member = |(path, entry): (&'static InstallPath, &'static TreeEntry)| MemberHeader {
            name: path.to_string(),
            mtime: 0,
            place: Some((path, entry)),
            md5: None,
        };
        Tree::iter(tree).map(member).collect()
    };
    let tree: &'static Tree = Box::leak(Box::new(scene.package.tree.clone()));
    let payload = segments
        .payload(ArchiveKind::Tar, members(tree), Compression::Zstd(3))
        .unwrap();
    let before = payload.sha256().unwrap();
    std::fs::remove_dir_all(scene.cache.segments()).unwrap();
    assert_eq!(payload.sha256().unwrap(), before);
    let mut out = Vec::new();
    payload.write_to(&mut out).unwrap();
    assert_eq!(out.len() as u64, payload.size());
}

/// Text that compresses to a few megabytes, so that it is passed on in more than one portion.
fn numbers(length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_string().into_bytes())
        .take(length)
        .collect()
}

/// No part of an altered entry gets into a package, whenever it is altered.
#[test]
fn an_entry_that_is_altered_between_check_and_copy_is_made_again() {
    let mut scene = scene();
    let origin = Arc::new(EntryOrigin {
        label: "a layer".into(),
        layer: Some("numbers".into()),
    });
    let path = InstallPath::parse("/opt/shop/lib/numbers").unwrap();
    scene
        .package
        .tree
        .insert(
            path,
            TreeEntry::file(Content::memory(numbers(7 << 20)), 0o644, &origin),
        )
        .unwrap();
    let tree = scene.package.tree.clone();
    for compression in [Compression::Zstd(3), Compression::Gzip(1)] {
        let segments = Segments::new(&scene.cache);
        let first = segments
            .payload(ArchiveKind::Tar, members(&tree), compression)
            .unwrap();
        let mut sound = Vec::new();
        first.write_to(&mut sound).unwrap();
        assert!(sound.len() > 2 * PORTION, "{}", sound.len());
        for entry in scene.entries() {
            let whole = std::fs::read(&entry).unwrap();
            let places = [10, entry::HEADER as usize, whole.len() / 2, whole.len() - 1];
            for place in places {
                let segments = Segments::new(&scene.cache);
                let payload = segments
                    .payload(ArchiveKind::Tar, members(&tree), compression)
                    .unwrap();
                let mut altered = whole.clone();
                altered[place] ^= 4;
                // Also between the two passes of an rpm, with a pass that reads everything.
                _ = std::fs::remove_dir_all(scene.cache.proofs());
                if place % 2 == 0 {
                    payload.sha256().unwrap();
                }
                std::fs::write(&entry, &altered).unwrap();
                let mut out = Vec::new();
                let written = payload.write_to(&mut out);
                if std::fs::read(&entry).is_ok_and(|now| now == altered) {
                    // The entry has the other codec.
                    assert!(written.is_ok() && out == sound);
                    continue;
                }
                // Damage to a large entry shows only after a part of it was written: then all of it
                // is written anew.
                let late = whole.len() > PORTION && place >= entry::HEADER as usize;
                assert_eq!(
                    (written.is_err(), segments.forgot_damaged()),
                    (late, late),
                    "{place}"
                );
                if late {
                    assert!(!entry.exists() && !segments.forgot_damaged());
                    let payload = segments
                        .payload(ArchiveKind::Tar, members(&tree), compression)
                        .unwrap();
                    out.clear();
                    payload.write_to(&mut out).unwrap();
                }
                assert!(out == sound, "{} {place}", entry.display());
                assert!(std::fs::read(&entry).unwrap() == whole);
                if late {
                    continue;
                }
                let counts = segments.counts();
                assert_eq!(
                    counts.reused + counts.made,
                    KEPT + PASSING + 1 + u64::from(place % 2 == 0),
                    "{place}"
                );
            }
            std::fs::write(&entry, &whole).unwrap();
        }
    }
}

/// As with a full disk: the error is the system's, and no thread waits forever.
#[test]
fn a_writer_that_fails_ends_the_copying() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let segments = Segments::new(&cache);
    let mut tree = Tree::new();
    for number in 0..6 {
        let origin = Arc::new(EntryOrigin {
            label: format!("layer {number}"),
            layer: Some(number.to_string()),
        });
        let path = InstallPath::parse(&format!("/opt/shop/{number}")).unwrap();
        tree.insert(
            path,
            TreeEntry::file(Content::memory(numbers(4 << 20)), 0o644, &origin),
        )
        .unwrap();
    }
    let payload = segments
        .payload(ArchiveKind::Tar, members(&tree), Compression::Gzip(1))
        .unwrap();
    let size = usize::try_from(payload.size()).unwrap();
    payload.write_to(&mut Full(size)).unwrap();
    for room in [0, PORTION, 3 * PORTION, size - 1] {
        let error = payload.write_to(&mut Full(room)).unwrap_err().to_string();
        assert!(
            error.contains("cannot write the package") && error.contains("no storage space"),
            "{error}"
        );
    }
    // A missing piece that can no longer be stored.
    std::fs::remove_dir_all(cache.segments()).unwrap();
    std::fs::write(cache.segments(), "").unwrap();
    payload.write_to(&mut std::io::sink()).unwrap_err();
}

#[test]
fn directories_come_first_and_large_layers_are_split() {
    let mut tree = Tree::new();
    let origin = Arc::new(EntryOrigin {
        label: "a large layer".into(),
        layer: Some("large".into()),
    });
    for number in 0..5 {
        let path = InstallPath::parse(&format!("/opt/shop/{number}/x")).unwrap();
        let content = Content::memory(vec![
            number;
            usize::try_from(SMALL_LIMIT).unwrap() / 2 - 2048
        ]);
        tree.insert(path, TreeEntry::file(content, 0o644, &origin))
            .unwrap();
    }
    let members = tree.iter().map(|(path, entry)| MemberHeader {
        name: path.to_string(),
        mtime: 0,
        place: Some((path, entry)),
        md5: None,
    });
    let runs = divide(ArchiveKind::Tar, Compression::Zstd(3), members.collect());
    let names: Vec<Vec<&str>> = runs
        .iter()
        .map(|run| {
            run.members
                .iter()
                .map(|member| member.name.as_str())
                .collect()
        })
        .collect();
    assert_eq!(
        names,
        [
            vec![
                "/opt/shop",
                "/opt/shop/0",
                "/opt/shop/1",
                "/opt/shop/2",
                "/opt/shop/3",
                "/opt/shop/4"
            ],
            vec!["/opt/shop/0/x", "/opt/shop/1/x"],
            vec!["/opt/shop/2/x", "/opt/shop/3/x"],
            vec!["/opt/shop/4/x"],
            vec![],
        ]
    );
    assert_eq!(
        runs.iter().map(|run| run.last).collect::<Vec<_>>(),
        [false, false, false, false, true]
    );
}

/// Files that are compressed in parts: a large one among small ones of its layer.
fn large_file(directory: &Path, size: usize) -> (Tree, PathBuf) {
    let disk = directory.join("large");
    let bytes: Vec<u8> = (0..size as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 29) as u8 + b'a')
        .collect();
    std::fs::write(&disk, &bytes).unwrap();
    let mut tree = Tree::new();
    let origin = Arc::new(EntryOrigin {
        label: "a layer".into(),
        layer: Some("layer".repeat(9)),
    });
    let content = Content {
        digest: Digest::of(&bytes),
        bytes: Bytes::Disk {
            file: disk.as_path().into(),
            start: 0,
        },
    };
    for (name, content) in [
        ("a", Content::memory(*b"a")),
        ("large", content),
        ("z", Content::memory(*b"z")),
    ] {
        tree.insert(
            InstallPath::parse(&format!("/opt/{name}/x")).unwrap(),
            TreeEntry::file(content, 0o644, &origin),
        )
        .unwrap();
    }
    (tree, disk)
}

fn members(tree: &Tree) -> Vec<MemberHeader<'_>> {
    let member = |(path, entry): (_, _)| MemberHeader {
        name: format!(".{path}"),
        mtime: 9,
        place: Some((path, entry)),
        md5: None,
    };
    tree.iter().map(member).collect()
}

#[test]
fn a_large_file_is_compressed_in_parts_that_are_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let size = usize::try_from(2 * SMALL_LIMIT).unwrap() + 77;
    let (tree, disk) = large_file(directory.path(), size);
    let cache = Cache::open(&directory.path().join("cache")).unwrap();
    for archive in [ArchiveKind::Tar, ArchiveKind::Cpio] {
        let parts: Vec<(u64, u64)> = divide(archive, Compression::Zstd(1), members(&tree))
            .iter()
            .filter_map(|run| {
                run.part
                    .as_ref()
                    .map(|part| (part.range.start, part.range.end))
            })
            .collect();
        let [(0, first), (second, third), (fourth, end)] = parts[..] else {
            panic!("{parts:?}")
        };
        assert!(
            first == second && third == fourth && first == third - second && end - fourth <= first,
            "{parts:?}"
        );
        assert!(end > size as u64 && first <= SMALL_LIMIT);

        let segments = Segments::new(&cache);
        let payload = segments
            .payload(archive, members(&tree), Compression::Zstd(1))
            .unwrap();
        let mut packed = Vec::new();
        payload.write_to(&mut packed).unwrap();
        let plain = zstd::decode_all(&packed[..]).unwrap();
        let mut wanted = Vec::new();
        for run in divide(archive, Compression::Zstd(1), members(&tree)) {
            if run.part.as_ref().is_none_or(|part| part.number == 0) {
                run.members.iter().for_each(|member| {
                    archive
                        .append(member, &mut LastOpened::default(), &mut wanted)
                        .unwrap();
                });
            }
        }
        archive.end(&mut wanted).unwrap();
        assert!(plain == wanted && payload.plain_size() == wanted.len() as u64);
        let warm = Segments::new(&cache);
        let payload = warm
            .payload(archive, members(&tree), Compression::Zstd(1))
            .unwrap();
        assert_eq!(
            warm.counts().reused,
            0,
            "none is known to be sound before it is copied"
        );
        assert!(payload.sha256().unwrap() == <[u8; 32]>::from(Sha256::digest(&packed)));
        payload.write_to(&mut std::io::sink()).unwrap();
        assert_eq!(
            warm.counts().reused,
            5,
            "the small files, three parts, the small file behind it"
        );
    }

    // No part of another file gets into the cache under this file's digest.
    std::fs::remove_dir_all(cache.segments()).unwrap();
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes[size - 1] ^= 1;
    std::fs::write(&disk, bytes).unwrap();
    let error = Segments::new(&cache)
        .payload(ArchiveKind::Tar, members(&tree), Compression::Zstd(1))
        .unwrap_err();
    assert_eq!(
        error
            .to_string()
            .matches("has changed since the build read it")
            .count(),
        1,
        "{error}"
    );
    let left = std::fs::read_dir(cache.segments()).map_or(0, Iterator::count);
    assert!(left <= 2, "{left} segments of a file that has changed");
}

/// The members as dpkg and rpm see them, according to GNU tar and rpm.
#[test]
fn a_layer_s_dates_stand_for_its_content_and_are_never_later_than_the_build() {
    let mut scene = scene();
    let (Some(tar), Some(rpm)) = (pkgapp_testing::tool("tar"), pkgapp_testing::tool("rpm")) else {
        return;
    };
    let times = |scene: &Scene| -> Vec<String> {
        let (tarball, package) = (
            scene.directory.path().join("x.tar.gz"),
            scene.directory.path().join("x.rpm"),
        );
        std::fs::write(&tarball, scene.write(by_name("tar.gz").unwrap()).0).unwrap();
        std::fs::write(&package, scene.write(&RpmPackage).0).unwrap();
        let mut command = std::process::Command::new(&tar);
        let listed = judge::run(command.args(["--utc", "--full-time", "-tvf"]).arg(&tarball));
        let line = |name: &str| {
            listed
                .lines()
                .find(|line| line.contains(name))
                .unwrap()
                .to_owned()
        };
        let time = |name: &str| {
            line(name)
                .split_whitespace()
                .skip(3)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let query = "[%{FILENAMES} %{FILEMTIMES:date}\\n]";
        let said = judge::run(
            std::process::Command::new(&rpm)
                .args(["-qp", "--qf", query])
                .arg(&package),
        );
        for (name, listed) in [
            ("click/3.py", time("click/3.py")),
            (".pkgapp/release.json", time("release.json")),
        ] {
            let line = said.lines().find(|line| line.contains(name)).unwrap();
            let clock = listed.split(' ').nth(1).unwrap();
            assert!(line.contains(clock), "{line} {listed}");
        }
        [
            "click/3.py",
            "click/4.py",
            "bin/click",
            "lib/click/",
            "release.json",
        ]
        .map(time)
        .to_vec()
    };
    let first = times(&scene);
    // The first three bytes of the SHA-256 of 203 times `# click 3
    // `, little-endian: seconds after 2020-01-01.
    let sum = Digest::of("# click 3\n".repeat(203).as_bytes()).sha256.0;
    let seconds =
        1_577_836_800 + i64::from(sum[0]) + 256 * i64::from(sum[1]) + 65_536 * i64::from(sum[2]);
    let date = jiff::Timestamp::from_second(seconds)
        .unwrap()
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    assert_eq!(first[0], date);
    assert_ne!(first[0], first[1]);
    assert_eq!(
        (first[3].as_str(), first[4].as_str()),
        ("2020-01-01 00:00:00", "2023-11-14 22:13:21")
    );
    scene.package.meta.timestamp += 1;
    let second = times(&scene);
    assert_eq!(first[..4], second[..4]);
    assert_eq!(second[4], "2023-11-14 22:13:22");
    scene.package.meta.timestamp = 1_000_000_000;
    assert!(
        times(&scene)
            .iter()
            .all(|time| time == "2001-09-09 01:46:40")
    );
}

fn payload_sum(scene: &Scene) -> ([u8; 32], Vec<u8>) {
    let segments = Segments::new(&scene.cache);
    let members = scene.package.tree.iter().map(|(path, entry)| MemberHeader {
        name: format!(".{path}"),
        mtime: 1,
        place: Some((path, entry)),
        md5: None,
    });
    let payload = segments
        .payload(ArchiveKind::Cpio, members.collect(), Compression::Zstd(3))
        .unwrap();
    let (sum, mut bytes) = (payload.sha256().unwrap(), Vec::new());
    payload.write_to(&mut bytes).unwrap();
    (sum, bytes)
}

#[test]
fn the_sum_of_a_payload_goes_on_where_it_is_another_one() {
    let mut scene = scene();
    let is_right = |scene: &Scene| {
        let (sum, bytes) = payload_sum(scene);
        assert_eq!(sum, <[u8; 32]>::from(Sha256::digest(&bytes)));
        bytes
    };
    let first = is_right(&scene);
    assert!(is_right(&scene) == first);
    let states = || {
        walkdir::WalkDir::new(scene.cache.proofs())
            .into_iter()
            .filter(|e| e.as_ref().unwrap().path().is_file())
    };
    let [file] = &states()
        .map(|entry| entry.unwrap().into_path())
        .collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    let kept = std::fs::read(file).unwrap();
    // The last file, one in the middle, and the first one.
    for (path, mode) in [
        (".pkgapp/release.json", 0o600),
        ("lib/click/3.py", 0o755),
        ("lib/blinker/3.py", 0o755),
    ] {
        let path = InstallPath::parse(&format!("/opt/shop/{path}")).unwrap();
        let mut entry = scene.package.tree.remove(&path).unwrap();
        entry.mode = mode;
        scene.package.tree.insert(path, entry).unwrap();
        assert!(is_right(&scene) != first);
    }
    // Altered states are ignored.
    std::fs::write(file, &kept[..kept.len() - 3]).unwrap();
    is_right(&scene);
}

#[test]
fn what_was_summed_before_is_not_read_for_the_sum_and_looked_at_when_it_is_copied() {
    let scene = scene();
    let (sum, bytes) = payload_sum(&scene);
    for entry in scene.entries() {
        let mut altered = std::fs::read(&entry).unwrap();
        *altered.last_mut().unwrap() ^= 1;
        std::fs::write(entry, altered).unwrap();
    }
    let (again, mended) = payload_sum(&scene);
    assert!(again == sum && mended == bytes);
}
