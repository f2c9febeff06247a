//! Every reader of foreign bytes, fed with valid files that were changed: it never panics, takes
//! bounded time and memory, and names the file in what it says.
//!
//! tests/corpus holds the valid files, those that once broke a reader, and some that
//! coverage-guided fuzzing (`coverage/run`) found; all of them are read unchanged first.
//! `PKGAPP_FUZZ_ROUNDS` (100) is how many changed files each reader gets, `PKGAPP_FUZZ_SEED` (0)
//! what they follow from. A file that breaks a reader is made as small as it can be, and kept where
//! the message says: put it into the corpus.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test that unwraps fails with the value, and may hold a long table"
)]
#![allow(
    clippy::print_stderr,
    reason = "the seed must be known to repeat a run"
)]

mod mutation;
mod pages;
mod readers;

use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use mutation::{change, changed};
use readers::{Case, READERS, corpus};

/// What the process may have of addresses, in bytes: an allocation of what a lying length says ends
/// it.
const MOST_ADDRESSES: u64 = 8 << 30;

/// What the process may have had of memory at most, in kB. The limit for unpacked archives is below
/// it.
const MOST_MEMORY_KB: u64 = 1 << 20;

/// How long one file may take, on a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_secs(20);

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number"))
    })
}

/// Reads a family of the corpus as it is, then changed in ever new ways. `check` returns what is
/// wrong.
fn fuzz(family: &str, check: impl Fn(&Case) -> Result<(), String>) {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| {
        let limit = rustix::process::Rlimit {
            current: Some(MOST_ADDRESSES),
            maximum: Some(MOST_ADDRESSES),
        };
        rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    });
    let corpus = corpus(family);
    let timed = |case: &Case| {
        let start = Instant::now();
        check(case)?;
        if start.elapsed() > LONGEST {
            Err(format!("it took {:?}", start.elapsed()))
        } else {
            Ok(())
        }
    };
    for case in &corpus {
        timed(case).unwrap_or_else(|why| panic!("{}: {why}", case.name));
    }
    let (seed, rounds) = (
        number("PKGAPP_FUZZ_SEED", 0),
        number("PKGAPP_FUZZ_ROUNDS", 100),
    );
    eprintln!("{family}: {rounds} rounds with seed {seed}");
    let mut key = [0; 32];
    key[..4].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::with_cases(rounds)
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    let contents: Vec<Vec<u8>> = corpus.iter().map(|case| case.bytes.clone()).collect();
    let make = |which: usize, changes: &[mutation::Change]| {
        let Case { name, bytes } = &corpus[which];
        Case {
            name: name.clone(),
            bytes: changed(bytes, changes, &contents),
        }
    };
    let result = runner.run(
        &(0..corpus.len(), proptest::collection::vec(change(), 1..6)),
        |(which, changes)| timed(&make(which, &changes)).map_err(TestCaseError::fail),
    );
    if let Err(TestError::Fail(why, (which, changes))) = &result {
        let case = make(*which, changes);
        let kept =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{family}-{}", case.name));
        std::fs::write(&kept, &case.bytes).unwrap();
        panic!(
            "{why}\nkept as {}; seed {seed}, {changes:?}",
            kept.display()
        );
    }
    result.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let most: u64 = most.unwrap();
    assert!(most < MOST_MEMORY_KB, "{most} kB of memory");
}

/// Feeds one reader.
fn feed(name: &str) {
    let reader = READERS.iter().find(|reader| reader.name == name).unwrap();
    fuzz(reader.family, (reader.check)());
}

/// One test for each reader, so that they run side by side.
macro_rules! readers {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            feed(stringify!($name));
        })*

        #[test]
        fn every_reader_is_fed() {
            let fed = [$(stringify!($name)),*];
            let known: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
            assert_eq!(fed[..], known[..]);
        }
    };
}

readers! {
    locks configuration systems recipes procfiles metadata records imports wheels eggs links elf packages members sdists releases facts conditions
    journals downloads
}
