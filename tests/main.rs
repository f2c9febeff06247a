//! The real binary, run in fresh directories: exact output, foreign tools as judges, no network.
//!
//! [`support`] is the harness; the other modules are named after the feature they test. `PKGAPP_REQUIRE_TOOLS=1` turns
//! every skip into a failure, `PKGAPP_UPDATE_GOLDEN=1` (`make golden`) rewrites tests/golden: read the difference.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the value")]
#![allow(clippy::print_stderr, reason = "a skipped test says so, loudly")]

mod build;
mod cache;
mod collisions;
mod concurrent;
mod errors;
mod formats;
mod help;
mod hostile;
mod index;
mod interpreters;
mod locks;
mod native;
mod relocatable;
mod reproducible;
mod services;
mod support;
mod warm;
