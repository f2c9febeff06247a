//! The names in a package: those of the application, its architecture, and its Python.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The application's name, which is also the package's, e.g. `shop`.
///
/// Debian Policy §5.6.1 defines the rule; `+` and `.` are excluded, because systemd units, users,
/// and cron files do not allow them: lower-case letters, digits, and `-`; at least two characters;
/// a letter first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AppName(String);

impl AppName {
    /// Checks a name.
    ///
    /// # Errors
    /// Fails if the name violates the rule; the hint is the nearest valid name.
    pub fn parse(text: &str) -> Result<Self> {
        let inside = text.len() >= 2
            && text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if inside {
            return Ok(Self(text.to_owned()));
        }
        let mut nearest: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        nearest = nearest
            .trim_matches(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit())
            .to_owned();
        nearest = nearest
            .trim_start_matches(|c: char| !c.is_ascii_lowercase())
            .chars()
            .take(64)
            .collect();
        let error = Error::new(format!("`{text}` is not a valid package name"))
            .note("a name has two to 64 lower-case letters, digits, and `-`, with a letter first (Debian Policy §5.6.1)");
        Err(if nearest.len() >= 2 {
            error.hint(format!("`{nearest}` would be one"))
        } else {
            error
        })
    }

    /// Returns the package name of a shared interpreter, e.g. `pkgapp-python3.13`.
    ///
    /// It contains a period, like Debian's own: no unit, user, or cron file has this name.
    pub fn of_runtime(python: PythonMinor) -> Self {
        Self(format!("pkgapp-python{python}"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The machine for a package's compiled code, with the kernel's name (`uname -m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// No compiled code: any machine.
    Any,
    #[serde(rename = "x86_64")]
    /// 64-bit x86: Debian's amd64.
    X86_64,
    /// 64-bit ARM: Debian's arm64.
    Aarch64,
}

impl Arch {
    /// Returns the architecture of this machine.
    ///
    /// # Errors
    /// Fails on a machine for which pkgapp does not build.
    pub fn host() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(Error::new(format!(
                "pkgapp builds for x86_64 and aarch64, but this machine is {other}"
            ))),
        }
    }

    /// Returns the kernel's name; `any` if there is none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// Parses the kernel's or Debian's name of a machine.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            _ => Err(Error::new(format!("unsupported architecture `{text}`"))
                .hint("write `x86_64` (or `amd64`) or `aarch64` (or `arm64`)")),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A minor version of CPython, e.g. `3.11`: wheels, byte code, and a package's dependency are made
/// for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PythonMinor {
    /// `3`.
    pub major: u8,
    /// `11`.
    pub minor: u8,
}

impl FromStr for PythonMinor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(format!("`{text}` is not a minor version of Python"))
                .hint("write it as `3.11`")
        };
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        match (number(major), number(minor)) {
            (Some(3), Some(minor)) if minor >= 8 => Ok(Self { major: 3, minor }),
            (Some(_), Some(_)) => Err(Error::new(format!(
                "pkgapp builds for Python 3.8 and later, not {text}"
            ))),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for PythonMinor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl From<PythonMinor> for String {
    fn from(python: PythonMinor) -> Self {
        python.to_string()
    }
}

impl TryFrom<String> for PythonMinor {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
            .map_err(|error: Error| error.message().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_rule_get_the_nearest_inside() {
        assert!(AppName::parse("shop-2").is_ok());
        for (bad, nearest) in [
            ("My_Shop", "my-shop"),
            ("2shop", "shop"),
            ("shop.web", "shop-web"),
            ("shop-", "shop"),
        ] {
            let error = AppName::parse(bad).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("hint: `{nearest}` would be one")),
                "{error}"
            );
        }
    }

    #[test]
    fn python_minor_is_two_numbers() {
        assert_eq!(
            "3.11".parse::<PythonMinor>().unwrap(),
            PythonMinor {
                major: 3,
                minor: 11
            }
        );
        for bad in ["3", "3.11.2", "3.x", "2.7", "3.7", ""] {
            assert!(bad.parse::<PythonMinor>().is_err(), "{bad}");
        }
    }
}
