//! pkgapp builds a deb, an rpm or a tarball from a Python application and its lock file, and
//! deploys it over SSH. This page is the tour of the program, in the order of the data flow.
//!
//! ```text
//! pkgapp.toml ─► Config ┐
//! lock files ───► Lock ─┴─► wheels (cache) ─► layers (cache) ─► Tree ─► Package ─► tar | deb | rpm
//!                   Config ─► services, configuration ───────────────────┘
//! ```
//!
//! Each arrow is one function in one module; each noun is one type, made once and then only read.
//! Nothing later reaches back: a format never reads the [`Config`](pkgapp_config::Config), and the
//! [`Tree`](pkgapp_release::tree::Tree) does not know what a wheel is. The crates hold that order:
//! each imports only those above it.
//!
//! - [`pkgapp_core`] is the vocabulary of the program and its borders to the machine: how
//!   everything fails ([`error`](pkgapp_core::error)), the only place that prints
//!   ([`report`](pkgapp_core::report)), [`process`](pkgapp_core::process),
//!   [`fs`](pkgapp_core::fs) and the [`cache`](pkgapp_core::cache).
//! - [`pkgapp_pypa`] is the face of the Python packaging standards (versions, markers, tags), and
//!   holds the [`Environment`](pkgapp_pypa::Environment) that wheels are chosen for.
//! - [`pkgapp_http`] is the HTTP client: credentials, redirects, retries, limits, and pages in the
//!   cache.
//! - [`pkgapp_config`] reads `pkgapp.toml` into proven types. Reading runs nothing, and every
//!   mistake is reported at its line.
//! - [`pkgapp_lock`] reads the pins: what ships, exactly, with hashes and where from. What is not
//!   pinned, or missing from the set, is an error; nothing is resolved here.
//! - [`pkgapp_wheels`] brings a wheel for every pin into the cache: chosen by its tags, checked
//!   against its hash, its archive taken for hostile until it has been read through. Sdists, eggs
//!   and the application's own project become wheels first.
//! - [`pkgapp_release`] makes a release of wheels, and a package of the release:
//!   1. [`layer`](pkgapp_release::layer) installs one wheel as it will lie in a release: files,
//!      launchers that find themselves, byte code, RECORD. A layer knows no prefix and never
//!      changes, so it is made once a distribution, not once a build.
//!      [`prune`](pkgapp_release::prune) decides which files of a distribution stay out of it.
//!   2. [`runtime`](pkgapp_release::runtime) makes a layer of the Python that ships, where the
//!      hosts' own is not used; [`build_run`](pkgapp_release::build_run) one of what the
//!      application's `[build] run` commands write.
//!   3. [`tree`](pkgapp_release::tree) is the waist: path ─► entry, sorted, one source a path.
//!      [`release`](pkgapp_release::release) adds what belongs to no layer,
//!      [`conffiles`](pkgapp_release::conffiles) and [`services`](pkgapp_release::services) the
//!      files outside of the release: `/etc`, units, crontab, users.
//!   4. [`audit`](pkgapp_release::audit) looks for what must not ship, and
//!      [`depends`](pkgapp_release::depends) reads from the release itself what it needs of a host.
//!   5. [`package`](pkgapp_release::package) is the tree with its name and its needs;
//!      [`scriptlets`](pkgapp_release::scriptlets) are what the package managers run around the
//!      files, equal in effect for both kinds of host.
//! - [`pkgapp_format`] writes a package down, in one file a format, and compresses it in
//!   [`segment`](pkgapp_format::segment)s that the cache remembers.
//! - [`pkgapp_detect`] looks at a project that has no configuration yet.
//! - [`pkgapp_deploy`] puts packages on hosts: facts of the hosts, a plan of steps, and the rollout
//!   that carries it out or goes back. [`hosts`](pkgapp_deploy::hosts) are machines that are reached
//!   with ssh, of which a [`fleet`](pkgapp_deploy::fleet) takes many at a time.
//!
//! [`assembly`] is that list as a function; [`commands`] are the thin top: arguments ([`cli`]) in,
//! results on stdout.
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
