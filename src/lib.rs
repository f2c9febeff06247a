//! pkgapp builds a deb, an rpm, or a tarball from a Python application and its lock file, and
//! deploys it over SSH. This page is the tour of the program, in the order of the data flow.
//!
//! ```text
//! pkgapp.toml ─► Config ┐
//! lock files ───► Lock ─┴─► wheels (cache) ─► layers (cache) ─► Tree ─► Package ─► tar | deb | rpm
//!                   Config ─► services, configuration ───────────────────┘
//! ```
//!
//! Each arrow is one function in one module; each noun is one type, which is created once and then
//! only read. No stage reaches back: a format never reads the [`Config`](pkgapp_config::Config),
//! and the [`Tree`](pkgapp_release::tree::Tree) does not know about wheels. The crates enforce that
//! order: each imports only those above it.
//!
//! - [`pkgapp_core`] is the vocabulary of the program and its border to the machine: the shape of
//!   all errors ([`error`](pkgapp_core::error)), the only place that prints
//!   ([`report`](pkgapp_core::report)), [`process`](pkgapp_core::process),
//!   [`fs`](pkgapp_core::fs), and the [`cache`](pkgapp_core::cache).
//! - [`pkgapp_pypa`] implements the Python packaging standards (versions, markers, tags), and has
//!   the [`Environment`](pkgapp_pypa::Environment) for which wheels are chosen.
//! - [`pkgapp_http`] is the HTTP client: credentials, redirects, retries, limits, and pages in the
//!   cache.
//! - [`pkgapp_config`] reads `pkgapp.toml` into validated types. Reading runs no programs, and every
//!   mistake is reported with its line.
//! - [`pkgapp_lock`] reads the pins: the exact distributions that ship, with hashes and sources.
//!   Unpinned or missing requirements are errors; this crate does not resolve.
//! - [`pkgapp_wheels`] brings a wheel for every pin into the cache: chosen by its tags, checked
//!   against its hash, and treated as hostile until its archive has been verified. Sdists, eggs,
//!   and the application's own project become wheels first.
//! - [`pkgapp_release`] turns wheels into a release, and the release into a package:
//!   1. [`layer`](pkgapp_release::layer) installs one wheel as in a release: files, relocatable
//!      launchers, byte code, RECORD. A layer is independent of the prefix and never changes, so it
//!      is built once per distribution, not once per build.
//!      [`prune`](pkgapp_release::prune) decides which files of a distribution do not ship.
//!   2. [`runtime`](pkgapp_release::runtime) builds a layer of the Python that ships, unless the
//!      hosts use their own; [`build_run`](pkgapp_release::build_run) builds one of the results of
//!      the application's `[build] run` commands.
//!   3. [`tree`](pkgapp_release::tree) is the waist: path ─► entry, sorted, one source per path.
//!      [`release`](pkgapp_release::release) adds the files that belong to no layer, and
//!      [`conffiles`](pkgapp_release::conffiles) and [`services`](pkgapp_release::services) add the
//!      files outside of the release: `/etc`, units, crontab, users.
//!   4. [`audit`](pkgapp_release::audit) looks for content that must not ship, and
//!      [`depends`](pkgapp_release::depends) computes the dependencies on host packages from the
//!      release itself.
//!   5. [`package`](pkgapp_release::package) is the tree with its metadata and dependencies;
//!      [`scriptlets`](pkgapp_release::scriptlets) are the scripts that package managers run, with
//!      the same effect for dpkg and rpm.
//! - [`pkgapp_format`] writes a package as a file, with one module per format, and compresses it in
//!   [`segment`](pkgapp_format::segment)s that the cache keeps.
//! - [`pkgapp_system`] decides what a model of several applications and hosts means for each host.
//! - [`pkgapp_detect`] inspects a project that has no configuration yet.
//! - [`pkgapp_deploy`] deploys packages: facts of the hosts, a plan of steps, and the rollout that
//!   carries it out or rolls back. [`hosts`](pkgapp_deploy::hosts) are machines that are reached
//!   over ssh, and a [`fleet`](pkgapp_deploy::fleet) works on many at a time.
//!
//! [`assembly`] is that list as a function; [`commands`] are the thin top layer: arguments
//! ([`cli`]) in, results on stdout.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod assembly;
pub mod cli;
pub mod commands;
