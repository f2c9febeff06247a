//! Systems: what the model in `system.toml` means for every host of an environment.
//!
//! [`resolve()`] is a pure function of the model, the declarations of its applications, and the lock:
//!
//! ```text
//! system.toml ──────────► SystemModel ─┐
//! software packages ─► DeclaredApplication ─┼─► resolve ─► ResolvedSystem ─► graph, exports
//! system.lock ──────────► SystemLock ──┘                  └─► EnvironmentLock ─► system.lock
//! ```
//!
//! It asks no host. It keeps the decisions of the lock wherever the model allows it, and reports all
//! mistakes at once: roles without hosts, requirements that nothing meets, data that would move.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

mod affinity;
mod backing;
mod binding;
mod checks;
mod classes;
mod configurations;
mod declared;
pub mod export;
pub mod graph;
mod hosts;
mod json;
mod listen;
mod lock;
mod placement;
mod ports;
mod resolve;
mod resolved;
#[cfg(test)]
mod tests;
mod variables;

pub use backing::ServiceConfiguration;
pub use classes::{HostClass, HostContent, folded};
pub use configurations::HostConfiguration;
pub use declared::DeclaredApplication;
pub use lock::{EnvironmentLock, LOCK_FILE, PortBlock, RestingBlock, SystemLock};
pub use resolve::{ResolutionInput, resolve};
pub use resolved::{
    Listen, PartKind, Provider, ResolvedApplication, ResolvedBinding, ResolvedHost, ResolvedPart,
    ResolvedService, ResolvedSystem,
};
pub use variables::BoundVariables;
