//! Deployment: from artifacts on this machine to releases on hosts, and back.
//!
//! ```text
//! artifacts ─┐
//! hosts ─► Facts ─► Plan (steps for every host) ─► Rollout ─► Outcome
//! ```
//!
//! One script tells the [`facts`] of a host; the [`plan`] decides everything, before anything
//! changes; the [`rollout`] carries it out. A [`backend`] knows how releases are installed: by the
//! host's package manager, or as directories of a login. It asks for the facts, selects the
//! artifacts, refuses hosts that they do not fit, and makes the steps that differ; `upgrade.rs` and
//! `rollback.rs` put these together with the steps that all plans have. What runs on hosts are the
//! scripts of `scripts/`.
//!
//! What a host keeps of an application lies in `/var/lib/pkgapp/NAME`, readable without pkgapp, by
//! root alone:
//!
//! ```text
//! lock                       who pushes now, and when it last gave a sign of life; `turn` is held while it is read or written
//! packages/SHA256/           packages by the hash of their bytes, for roll-back: the file, `info`, `pieces` for the next
//!                            transfer, and the marks `good`, `failed` and `migrated` with their times
//! current                    the hash of the package that the last push has installed
//! history.jsonl              one line for everything that was done
//! checked                    the boot in which all kept packages were last read and compared with their hashes
//! transaction/               an installation while it runs: `parameters`, `run`, `log`, `result`
//! logs/                      what the last installations and migrations have printed
//! secrets/                   secrets of before, while they may come back; see [`secrets`]
//! ```
//!
//! Where one is not root, it lies beside the releases themselves. [`backend`] holds what differs
//! between the two.
//!
//! An installation is a transaction that runs by itself, as a systemd unit: it ends whether or not
//! anyone watches, it goes back if it fails, and it is taken up again after a reboot.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

pub mod fleet;
pub mod hosts;

mod answer;
pub mod artifact;
pub mod backend;
mod builder;
mod confirmation;
pub mod facts;
pub mod health;
pub mod history;
mod host_plan;
mod migration;
pub mod owner;
pub mod pieces;
pub mod plan;
pub mod policy;
pub mod preflight;
mod probe;
mod removal;
pub mod requirements;
pub mod rollback;
pub mod rollout;
mod script;
pub mod secrets;
mod select;
pub mod service_command;
pub mod step;
pub mod stored;
mod transient_unit;
mod upgrade;
mod withdrawal;

#[cfg(test)]
mod probation_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;

pub use script::RemoteState;
