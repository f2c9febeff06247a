//! The content of a release, from installed wheels to the package that a format writes.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod audit;
pub mod backing;
pub mod build_run;
pub mod conffiles;
pub mod configuration_record;
pub mod depends;
pub mod imports;
pub mod layer;
pub mod needed_settings;
pub mod package;
pub mod prune;
pub mod release;
pub mod runtime;
pub mod scriptlets;
pub mod services;
pub mod settings;
pub mod tree;
pub mod writable;
