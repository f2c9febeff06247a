//! pkgapp turns a Python application and its pinned requirements into a package that a Linux host
//! installs with its own package manager. This page is the tour of the program, in the order in
//! which a build goes.
//!
//! ```text
//! pkgapp.toml ─► App ─┐
//! requirements ─► Lock ─► wheels (cache) ─► layers (cache) ─► Tree ─► Package ─► tar | deb | rpm
//!                     └─► services, configuration ────────────┘
//! ```
//!
//! Each arrow is one function in one module; each noun is one type, made once and then only read.
//! Nothing later reaches back: a format never reads the [`App`](app::App), and the
//! [`Tree`](tree::Tree) does not know what a wheel is.
//!
//! 1. [`app`] reads `pkgapp.toml` into proven types. It is data: reading it runs nothing, and every
//!    mistake in it is reported at its line.
//! 2. [`lock`] reads the pins: what ships, exactly, with hashes and where from. What is not pinned,
//!    or missing from the set, is an error; nothing is resolved here.
//! 3. [`pypa`] is the face of the packaging standards (versions, markers, tags) for all of the
//!    program, and holds the [`Environment`](pypa::Environment) that wheels are chosen for.
//!    [`interpreter`] finds the Python that builds; [`runtime`] makes a layer of the one that
//!    ships, where the hosts' own is not what the release runs on.
//! 4. [`wheels`] brings a wheel for every pin into the [`cache`]: chosen by its tags, checked
//!    against its hash, its archive taken for hostile until it has been read through. Sdists, eggs
//!    and the application's own project become wheels first.
//! 5. [`layer`] installs one wheel as it will lie in a release: files, launchers that find
//!    themselves, byte code, RECORD. A layer knows no prefix and never changes, so it is made once
//!    a distribution, not once a build. [`prune`] says what of a distribution does not get into it.
//! 6. [`staging`] runs the application's `[build] run` commands in a copy of the release; what they
//!    make is a layer too.
//! 7. [`tree`] is the waist: path ─► entry, sorted, one source a path. [`release`] adds what
//!    belongs to no layer. [`proof`] looks for what must not be in it. [`configuration`] and
//!    [`services`] add what lies outside of the release: files below `/etc`, units, crontab, users.
//! 8. [`depends`] reads from the release itself what it needs of a host ([`elf`], [`imports`]), and
//!    holds that against what is known of the [`target`]s.
//! 9. [`package`] is the tree with its name and its needs, and [`mod@format`] the ways to write it
//!    down: one file each. [`scriptlets`] are what the package managers run around the files, equal
//!    in effect for both kinds of host. [`segment`] compresses layer by layer, and remembers. A
//!    package that replaces another one is written over a [`spare`].
//!
//! From there on it is about [`host`]s: machines that are reached with ssh, of which [`fleet`]
//! takes many at a time. [`deploy`] puts a package there: facts of the hosts, a plan of steps, and
//! the rollout that carries it out or goes back.
//!
//! Before all that, [`survey`] looks at a project that has no configuration yet.
//!
//! [`assembly`] is that list as a function; [`commands`] are the thin top: arguments in, results on
//! stdout. [`error`] is how everything fails, [`report`] the only place that prints, [`process`]
//! and [`fs`] the borders to the machine.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails with the value"
    )
)]

#[cfg(test)]
#[path = "../tests/support/need.rs"]
mod need;

pub mod app;
pub mod assembly;
pub mod cache;
pub mod cli;
pub mod commands;
pub mod commit;
pub mod configuration;
pub mod content;
pub mod depends;
pub mod deploy;
pub mod digest;
pub mod egg;
pub mod elf;
pub mod error;
pub mod fleet;
pub mod format;
pub mod fs;
pub mod host;
pub(crate) mod http;
pub mod imports;
pub mod interpreter;
pub mod layer;
pub mod lock;
pub mod name;
pub mod package;
pub mod path;
pub mod process;
pub mod proof;
pub mod prune;
pub mod pypa;
pub mod release;
pub mod report;
pub mod runtime;
pub mod scriptlets;
pub mod segment;
pub mod services;
pub mod spare;
pub mod staging;
pub mod survey;
pub mod target;
pub mod tree;
pub mod venv;
pub mod wheels;
pub mod writable;
