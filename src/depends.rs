//! What a release needs from the host, read from the artifact itself.

use crate::name::PythonMinor;

/// What the host must have. Formats say it in their own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depends {
    /// The host's interpreter, if the release has none of its own.
    pub python: Option<PythonMinor>,
    /// Shared libraries that the release does not hold, sorted by soname.
    pub libraries: Vec<Library>,
    /// What the user declared for debs, e.g. `libpq5`.
    pub declared_deb: Vec<String>,
    /// What the user declared for rpms, e.g. `libpq`.
    pub declared_rpm: Vec<String>,
}

/// A shared library of the host's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Library {
    /// E.g. `libc.so.6`.
    pub soname: String,
    /// 64-bit.
    pub is_64: bool,
    /// Symbol versions, sorted, e.g. `GLIBC_2.17`, `GLIBC_2.28`.
    pub versions: Vec<String>,
    /// A file that needs it, for messages.
    pub needed_by: String,
}
