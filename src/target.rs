//! Distributions that a package can be built for, and what is known of them.

use crate::error::{Error, Result};

/// The family of package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// dpkg and apt.
    Deb,
    /// rpm and dnf.
    Rpm,
}

/// A release of a distribution.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// As in `[package] targets`, e.g. `debian12`.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// glibc, e.g. (2, 36).
    pub glibc: (u16, u16),
    /// Minor versions of Python that its own repositories offer, the default first.
    pub pythons: &'static [(u8, u8)],
    /// Whether its package manager reads zstd.
    pub zstd: bool,
}

/// All known targets.
pub const TARGETS: &[Target] = &[];

/// Finds a target by name.
///
/// # Errors
/// An unknown name; the hint is the nearest known one.
pub fn by_name(name: &str) -> Result<&'static Target> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| Error::new(format!("`{name}` is no known target")))
}
