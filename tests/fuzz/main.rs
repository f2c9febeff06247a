//! Every reader of foreign bytes, fed with valid files that were changed: it never panics, takes bounded time and memory,
//! and names the file in what it says.
//!
//! tests/corpus holds the valid files, and what once broke a reader; all of it is read unchanged first.
//! `PKGAPP_FUZZ_ROUNDS` (100) is how many changed files each reader gets, `PKGAPP_FUZZ_SEED` (0) what they follow from. A
//! file that breaks a reader is made as small as it can be, and kept where the message says: put it into the corpus.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the value")]
#![allow(clippy::print_stderr, reason = "the seed must be known to repeat a run")]

mod mutation;
mod pages;

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use pkgapp::app::App;
use pkgapp::error::Error;
use pkgapp::format::read::Artifact;
use pkgapp::lock::{Lock, Selection};
use pkgapp::name::Arch;
use pkgapp::path::ReleasePath;
use pkgapp::pypa::Environment;
use pkgapp::wheels::archive::Archive;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use zip::write::{SimpleFileOptions, ZipWriter};

use mutation::{change, changed};

/// What the process may have of addresses, in bytes: an allocation of what a lying length says ends it.
const MOST_ADDRESSES: u64 = 8 << 30;

/// What the process may have had of memory at most, in kB. The limit for unpacked archives is below it.
const MOST_MEMORY_KB: u64 = 1 << 20;

/// How long one file may take, on a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_secs(20);

/// A file to read.
#[derive(Debug, Clone)]
struct Case {
    /// Its name, by which some formats are told apart.
    name: String,
    bytes: Vec<u8>,
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn environment() -> Environment {
    Environment::new("3.11".parse().unwrap(), None, Arch::X86_64, (2, 36)).unwrap()
}

/// Reads a family of the corpus as it is, then changed in ever new ways. `check` returns what is wrong.
fn fuzz(family: &str, check: impl Fn(&Case) -> Result<(), String>) {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| {
        let limit = rustix::process::Rlimit { current: Some(MOST_ADDRESSES), maximum: Some(MOST_ADDRESSES) };
        rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    });
    let corpus = corpus(family);
    let timed = |case: &Case| {
        let start = Instant::now();
        check(case)?;
        if start.elapsed() > LONGEST { Err(format!("it took {:?}", start.elapsed())) } else { Ok(()) }
    };
    for case in &corpus {
        timed(case).unwrap_or_else(|why| panic!("{}: {why}", case.name));
    }
    let (seed, rounds) = (number("PKGAPP_FUZZ_SEED", 0), number("PKGAPP_FUZZ_ROUNDS", 100));
    eprintln!("{family}: {rounds} rounds with seed {seed}");
    let mut key = [0; 32];
    key[..4].copy_from_slice(&seed.to_le_bytes());
    let config =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::with_cases(rounds) };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    let contents: Vec<Vec<u8>> = corpus.iter().map(|case| case.bytes.clone()).collect();
    let make = |which: usize, changes: &[mutation::Change]| {
        let Case { name, bytes } = &corpus[which];
        Case { name: name.clone(), bytes: changed(bytes, changes, &contents) }
    };
    let result = runner.run(&(0..corpus.len(), proptest::collection::vec(change(), 1..6)), |(which, changes)| {
        timed(&make(which, &changes)).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, (which, changes))) = &result {
        let case = make(*which, changes);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{family}-{}", case.name));
        std::fs::write(&kept, &case.bytes).unwrap();
        panic!("{why}\nkept as {}; seed {seed}, {changes:?}", kept.display());
    }
    result.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    let most: u64 = most.unwrap();
    assert!(most < MOST_MEMORY_KB, "{most} kB of memory");
}

/// The files of a family, in all directories below it.
fn corpus(family: &str) -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(family);
    let files = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter().map(Result::unwrap);
    let cases: Vec<Case> = files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| Case {
            name: entry.file_name().to_str().unwrap().to_owned(),
            bytes: std::fs::read(entry.path()).unwrap(),
        })
        .collect();
    assert!(!cases.is_empty(), "the corpus has no {family}");
    cases
}

/// Every error says which file it is about.
fn names(error: &Error, file: &str) -> Result<(), String> {
    for one in std::iter::once(error).chain(error.others()) {
        let text = one.to_string();
        if !text.contains(file) {
            return Err(format!("`{file}` is not named:\n{text}"));
        }
        if text.contains("bug in pkgapp") || text.contains("please report") {
            return Err(text);
        }
    }
    Ok(())
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn locks() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let project =
        "[project]\nname = \"fuzzed\"\ndependencies = [\"alpha\"]\n[tool.poetry.dependencies]\nalpha = \"^1\"\n";
    std::fs::write(root.join("pyproject.toml"), project).unwrap();
    std::fs::write(root.join("constraints.txt"), "alpha==1.0\n").unwrap();
    let env = environment();
    let selection = Selection::default();
    fuzz("locks", |case| {
        write(root, &case.name, &case.bytes);
        match Lock::read(&[case.name.as_str().into()], root, &env, true, &selection) {
            Ok(_) => Ok(()),
            // What a lock refers to is in the same directory.
            Err(error) => names(&error, root.to_str().unwrap()),
        }
    });
}

#[test]
fn configuration() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("manage.py"), "").unwrap();
    fuzz("configuration", |case| {
        let path = write(directory.path(), &case.name, &case.bytes);
        match App::load(Some(&path), directory.path()) {
            Ok(_) => Ok(()),
            Err(error) => names(&error, directory.path().to_str().unwrap()),
        }
    });
}

const WHEEL: &str = "fuzzed-1.0-py3-none-any.whl";

fn read_wheel(directory: &Path, bytes: &[u8]) -> Result<(), String> {
    let path = write(directory, WHEEL, bytes);
    let read = Archive::open(&path, &WHEEL.parse().unwrap()).and_then(|mut archive| archive.verify());
    read.map_or_else(|error| names(&error, WHEEL), |()| Ok(()))
}

/// A wheel of these members, and what makes it whole but for them.
fn wheel(changed: &Case) -> Vec<u8> {
    let info = "fuzzed-1.0.dist-info";
    let mut members: Vec<(String, Vec<u8>)> = vec![("fuzzed/__init__.py".into(), b"x = 1\n".to_vec())];
    for Case { name, bytes } in corpus("wheels") {
        members.push((format!("{info}/{name}"), if name == changed.name { changed.bytes.clone() } else { bytes }));
    }
    let mut record = Vec::new();
    for (name, bytes) in &members {
        use sha2::Digest as _;
        let sum = data_encoding::BASE64URL_NOPAD.encode(&sha2::Sha256::digest(bytes));
        writeln!(record, "{name},sha256={sum},{}", bytes.len()).unwrap();
    }
    writeln!(record, "{info}/RECORD,,").unwrap();
    members.push((format!("{info}/RECORD"), if changed.name == "RECORD" { changed.bytes.clone() } else { record }));
    archive(&members)
}

fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn texts_of_wheels() {
    let directory = tempfile::tempdir().unwrap();
    fuzz("wheels", |case| read_wheel(directory.path(), &wheel(case)));
}

#[test]
fn records_of_wheels() {
    let directory = tempfile::tempdir().unwrap();
    fuzz("wheels", |case| {
        // A RECORD with the same changes as the text has seen.
        let whole = wheel(&Case { name: String::new(), bytes: Vec::new() });
        let mut zip = zip::ZipArchive::new(Cursor::new(whole)).unwrap();
        let mut record = Vec::new();
        let mut member = zip.by_name("fuzzed-1.0.dist-info/RECORD").unwrap();
        std::io::copy(&mut member, &mut record).unwrap();
        let at = case.bytes.len() % (record.len() + 1);
        record.splice(at..at, case.bytes.iter().rev().take(80).copied());
        read_wheel(directory.path(), &wheel(&Case { name: "RECORD".into(), bytes: record }))
    });
}

#[test]
fn archives_of_wheels() {
    let directory = tempfile::tempdir().unwrap();
    let whole = wheel(&Case { name: String::new(), bytes: Vec::new() });
    read_wheel(directory.path(), &whole).unwrap();
    fuzz("archives", |case| read_wheel(directory.path(), &case.bytes));
}

#[test]
fn elf_files() {
    let directory = tempfile::tempdir().unwrap();
    let place = ReleasePath::parse("lib/fuzzed.so").unwrap();
    fuzz("elf", |case| {
        let path = write(directory.path(), "fuzzed.so", &case.bytes);
        pkgapp::elf::read(&path, &place).map_or_else(|error| names(&error, "fuzzed.so"), |_| Ok(()))
    });
}

fn inspect(directory: &Path, case: &Case, bytes: &[u8]) -> Result<(), String> {
    let path = write(directory, &case.name, bytes);
    let read = Artifact::open(&path).and_then(|artifact| {
        artifact.dump()?;
        artifact.release_record().map(|_| ())
    });
    read.map_or_else(|error| names(&error, &case.name), |()| Ok(()))
}

#[test]
fn packages() {
    let directory = tempfile::tempdir().unwrap();
    fuzz("packages", |case| inspect(directory.path(), case, &case.bytes));
}

/// tar as it is, which the sums of a compressed one would hide: alone, and as both parts of a deb.
#[test]
fn archives_of_packages() {
    let directory = tempfile::tempdir().unwrap();
    fuzz("tar", |case| {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&case.bytes).unwrap();
        let packed = gzip.finish().unwrap();
        let mut deb = ar::Builder::new(Vec::new());
        let parts: [(&str, &[u8]); 3] =
            [("debian-binary", b"2.0\n"), ("control.tar.gz", &packed), ("data.tar.gz", &packed)];
        for (name, bytes) in parts {
            deb.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), bytes).unwrap();
        }
        let named = |name: &str| Case { name: name.to_owned(), bytes: Vec::new() };
        inspect(directory.path(), &named("fuzzed.tar.gz"), &packed)?;
        inspect(directory.path(), &named("fuzzed.deb"), &deb.into_inner().unwrap())
    });
}

/// Unpacks below a directory of its own, and looks for what got out of it.
fn unpack(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = write(directory, name, bytes);
    let room = tempfile::tempdir_in(directory).unwrap();
    let to = room.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let unpacked = pkgapp::wheels::sdist::unpacked(&path, &to);
    let beside: Vec<_> = std::fs::read_dir(room.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if beside != ["to"] {
        return Err(format!("beside the directory are {beside:?}"));
    }
    let real = to.canonicalize().unwrap();
    for entry in walkdir::WalkDir::new(&to).into_iter().map(Result::unwrap) {
        let out = entry.path().canonicalize().is_ok_and(|target| !target.starts_with(&real));
        let leads = std::fs::read_link(entry.path()).is_ok_and(|target| target.is_absolute());
        if out || leads {
            return Err(format!("`{}` leads out of the directory", entry.path().display()));
        }
    }
    match unpacked {
        Ok(top) if top.parent() == Some(&to) => Ok(()),
        Ok(top) => Err(format!("`{}` is its top directory", top.display())),
        Err(error) => names(&error, name),
    }
}

/// Archives of sources as they are, and tar behind gzip's sum.
#[test]
fn sdists() {
    let directory = tempfile::tempdir().unwrap();
    for case in corpus("sdists") {
        let room = tempfile::tempdir().unwrap();
        let path = write(directory.path(), &case.name, &case.bytes);
        let top = pkgapp::wheels::sdist::unpacked(&path, room.path()).unwrap();
        assert!(top.join("pyproject.toml").is_file(), "{}", case.name);
    }
    fuzz("sdists", |case| {
        unpack(directory.path(), &case.name, &case.bytes)?;
        let Some(name) = case.name.strip_suffix(".tar") else { return Ok(()) };
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&case.bytes).unwrap();
        unpack(directory.path(), &format!("{name}.tar.gz"), &gzip.finish().unwrap())
    });
}
