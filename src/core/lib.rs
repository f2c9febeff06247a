//! The vocabulary of the program and its interfaces to the machine: errors, reports, paths, names,
//! digests, processes, files, and the cache.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod cache;
pub mod commit;
pub mod content;
pub mod digest;
pub mod error;
pub mod fs;
pub mod interpreter;
pub mod name;
pub mod parallel;
pub mod path;
pub mod process;
pub mod report;
pub mod spare;
pub mod target;
pub mod template;
pub mod text;
