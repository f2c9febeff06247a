//! The real binary, run in fresh directories: exact output, foreign tools as judges, no network.
//!
//! [`support`] is the harness; the other modules are named after the feature they test.
//! `PKGAPP_REQUIRE_TOOLS=1` turns every skip into a failure, `PKGAPP_UPDATE_GOLDEN=1` (`make
//! golden`) rewrites tests/golden: read the difference.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test that unwraps fails with the value, and may hold a long table"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says so, loudly")]

mod build;
mod cache;
mod check;
mod collisions;
mod concurrent;
mod configuration_packages;
mod distribution_recipes;
mod eggs;
mod errors;
mod explain;
mod formats;
mod help;
mod hostile;
mod hosts;
mod index;
mod init;
mod interpreters;
mod local;
mod locks;
mod monitoring;
mod native;
mod offline;
mod prune;
mod relocatable;
mod repositories;
mod reproducible;
mod schema;
mod services;
mod settings;
mod site;
mod support;
mod systems;
mod targets;
mod warm;
