//! pkgapp.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails with the value"))]

pub mod app;
pub mod cache;
pub mod depends;
pub mod digest;
pub mod elf;
pub mod error;
pub mod format;
pub mod fs;
pub mod interpreter;
pub mod layer;
pub mod lock;
pub mod name;
pub mod package;
pub mod path;
pub mod process;
pub mod proof;
pub mod pypa;
pub mod release;
pub mod report;
pub mod staging;
pub mod target;
pub mod tree;
pub mod wheels;
