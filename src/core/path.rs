//! Paths on a host: absolute ([`InstallPath`]) and below a release's prefix ([`ReleasePath`]).
//!
//! They are text, not `std::path`: a package contains them byte for byte, and paths that `md5sums`,
//! `conffiles`, RECORD, and rpm's header cannot contain (control characters, invalid UTF-8, `..`)
//! cannot be constructed. Copies share the text: a release has a hundred thousand paths in layers,
//! trees, and archives.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// An absolute, normalized path on a host, e.g. `/opt/shop/bin/python`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallPath(Arc<str>);

/// A normalized path below a release's prefix, e.g. `bin/python`; never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleasePath(Arc<str>);

impl InstallPath {
    /// Parses a path as a person writes it: absolute; a trailing slash is dropped.
    ///
    /// # Errors
    /// Fails on a relative path, `.`, `..`, or empty components, control characters, and the root
    /// itself.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(below) = text.strip_prefix('/') else {
            return Err(Error::new(format!("`{text}` is not an absolute path")));
        };
        let below = below.strip_suffix('/').unwrap_or(below);
        check_components(text, below)?;
        Ok(Self(format!("/{below}").into()))
    }

    /// Returns the path below this one.
    #[must_use]
    pub fn join(&self, below: &ReleasePath) -> Self {
        let mut text = String::with_capacity(self.0.len() + 1 + below.0.len());
        text.extend([&self.0, "/", &below.0]);
        Self(text.into())
    }

    /// Returns its parent directory, or `None` directly below the root.
    pub fn parent(&self) -> Option<Self> {
        self.parents().next().map(|parent| Self(parent.into()))
    }

    /// Returns its parent directories except the root, nearest first.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        let above = |path: &'_ str| path.rfind('/').filter(|end| *end > 0);
        std::iter::successors(above(&self.0), move |end| above(&self.0[..*end]))
            .map(|end| &self.0[..end])
    }

    /// Returns the rest of this path below `base`, or `None` if it is not below it.
    pub fn below(&self, base: &Self) -> Option<ReleasePath> {
        Some(ReleasePath(
            self.0.strip_prefix(&*base.0)?.strip_prefix('/')?.into(),
        ))
    }

    /// Returns the last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the text, which begins with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReleasePath {
    /// Parses a relative path.
    ///
    /// # Errors
    /// Fails on an absolute or empty path, `.`, `..`, or empty components, and control characters.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return Err(Error::new(format!("`{text}` is not a relative path")));
        }
        check_components(text, text)?;
        Ok(Self(text.into()))
    }

    /// Returns the path below this one.
    ///
    /// # Errors
    /// Like [`ReleasePath::parse`].
    pub fn join(&self, below: &str) -> Result<Self> {
        Self::parse(&format!("{}/{below}", self.0))
    }

    /// Returns its parent directory, or `None` directly below the prefix.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.into()))
    }

    /// Returns the last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_components(shown: &str, path: &str) -> Result<()> {
    if let Some(bad) = path.chars().find(|c| c.is_control()) {
        return Err(Error::new(format!(
            "`{}` contains the control character {bad:?}",
            shown.escape_debug()
        )));
    }
    for component in path.split('/') {
        if matches!(component, "" | "." | "..") {
            let what = if component.is_empty() {
                "an empty component".to_owned()
            } else {
                format!("`{component}`")
            };
            return Err(Error::new(format!("path `{shown}` contains {what}")));
        }
    }
    Ok(())
}

macro_rules! text_of {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                // Layers have so many paths that intermediate copies would be noticeable.
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a path")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<$name, E> {
                        $name::parse(text).map_err(|error| E::custom(error.message()))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}
text_of!(InstallPath, ReleasePath);

/// Directories of the base system of every host, which no package of ours may own.
const SYSTEM_DIRECTORIES: &[&str] = &[
    "/bin",
    "/etc",
    "/etc/cron.d",
    "/etc/default",
    "/etc/logrotate.d",
    "/etc/sysconfig",
    "/home",
    "/lib",
    "/opt",
    "/sbin",
    "/srv",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib/systemd",
    "/usr/lib/systemd/system",
    "/usr/lib/systemd/system-preset",
    "/usr/lib/systemd/user",
    "/usr/lib/sysusers.d",
    "/usr/lib/tmpfiles.d",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/sbin",
    "/usr/share",
    "/usr/share/doc",
    "/usr/share/licenses",
    "/usr/share/lintian",
    "/usr/share/lintian/overrides",
    "/usr/share/man",
    "/usr/share/man/man1",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/opt",
];

/// The length of the longest of them.
const LONGEST_SYSTEM_DIRECTORY: usize = "/usr/lib/systemd/system-preset".len();

/// Returns whether a directory belongs to every host's base system.
pub fn is_system_directory(path: &InstallPath) -> bool {
    is_system(path.as_str())
}

/// Works like [`is_system_directory`], for a path as text.
pub fn is_system(path: &str) -> bool {
    // This is called for every path, and most are longer.
    path.len() <= LONGEST_SYSTEM_DIRECTORY && SYSTEM_DIRECTORIES.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_paths_are_absolute_and_normal() {
        assert_eq!(
            InstallPath::parse("/opt/shop/").unwrap().as_str(),
            "/opt/shop"
        );
        for bad in [
            "",
            "/",
            "opt",
            "/opt/../etc",
            "/opt//x",
            "/opt/./x",
            "/opt/a\nb",
        ] {
            assert!(InstallPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn below_is_about_components() {
        let base = InstallPath::parse("/opt/shop").unwrap();
        assert_eq!(
            InstallPath::parse("/opt/shop/bin/x")
                .unwrap()
                .below(&base)
                .unwrap()
                .as_str(),
            "bin/x"
        );
        assert_eq!(
            InstallPath::parse("/opt/shopping").unwrap().below(&base),
            None
        );
        assert_eq!(base.below(&base), None);
    }

    #[test]
    fn parents_end_below_the_root() {
        let path = InstallPath::parse("/opt/shop/bin/x").unwrap();
        assert_eq!(
            path.parents().collect::<Vec<_>>(),
            ["/opt/shop/bin", "/opt/shop", "/opt"]
        );
        assert_eq!(
            path.parent(),
            Some(InstallPath::parse("/opt/shop/bin").unwrap())
        );
        assert_eq!(InstallPath::parse("/opt").unwrap().parent(), None);
    }

    #[test]
    fn the_longest_system_directory_is_known() {
        let longest = SYSTEM_DIRECTORIES
            .iter()
            .map(|directory| directory.len())
            .max();
        assert_eq!(longest, Some(LONGEST_SYSTEM_DIRECTORY));
    }
}
