//! What a push refuses before anything changes.

/// What a push does only when told to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowFlags {
    /// Go to an older version.
    pub downgrade: bool,
    /// Install other bytes under the same version.
    pub reinstall: bool,
    /// Take a name that a repository of the host has too.
    pub same_name: bool,
}
