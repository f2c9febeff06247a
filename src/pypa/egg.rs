//! The names of eggs, `Name-1.0-py3.11[-linux-x86_64].egg`: the format of setuptools before wheels.
//!
//! Source: setuptools, "The Internal Structure of Python Eggs", "Filename-Embedded Metadata";
//! `pkg_resources.EGG_NAME`.

use std::str::FromStr;

use crate::{PackageName, Version, WheelFilename};
use pkgapp_core::error::{Context, Result};

/// The parts of an egg's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EggFilename {
    /// Normalized name of the distribution.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The Python that built it, e.g. (3, 11).
    pub python: Option<(u8, u8)>,
    /// The platform of its compiled code, e.g. `linux-x86_64`; `None` without compiled code.
    pub platform: Option<String>,
}

/// Returns whether a file name ends like that of an egg.
pub fn is_egg(file_name: &str) -> bool {
    file_name.len() > 4 && file_name.ends_with(".egg")
}

impl EggFilename {
    /// Parses a file name.
    ///
    /// # Errors
    /// Returns the reason: the name does not end in `.egg`, has no name or version, or continues
    /// with something other than a Python version.
    pub fn parse(file_name: &str) -> Result<Self, String> {
        let stem = file_name
            .strip_suffix(".egg")
            .ok_or("it does not end in `.egg`")?;
        let mut parts = stem.splitn(4, '-');
        // setuptools writes `_` for `-` in both.
        let name = parts.next().unwrap_or_default();
        let name = PackageName::from_str(name).map_err(|error| error.to_string())?;
        let version = parts.next().ok_or("it has no version")?;
        let version =
            Version::from_str(&version.replace('_', "-")).or_else(|_| Version::from_str(version));
        let version = version.map_err(|_| "its version is invalid (PEP 440)")?;
        let python = match parts.next() {
            None => None,
            Some(text) => {
                Some(python(text).ok_or("its third part is not `py` and a Python version")?)
            }
        };
        let platform = parts
            .next()
            .filter(|platform| !platform.is_empty())
            .map(str::to_owned);
        Ok(Self {
            name,
            version,
            python,
            platform,
        })
    }

    /// Returns the name of a wheel with the same content, as far as the egg's name determines it.
    ///
    /// # Errors
    /// Fails if the platform cannot be part of a wheel's name.
    pub fn wheel(&self) -> Result<WheelFilename> {
        match self.platform_tag() {
            Some(platform) => self.wheel_for(&self.abi_tags(), &platform),
            None => self.wheel_for(&self.pure_tags(), "any"),
        }
    }

    /// Returns the name of the wheel with the tags that its content requires: Python, ABI, and
    /// platform.
    ///
    /// # Errors
    /// Like [`EggFilename::wheel`].
    pub fn wheel_for(&self, tags: &str, platform: &str) -> Result<WheelFilename> {
        let name = format!(
            "{}-{}-{tags}-{platform}.whl",
            self.name.as_dist_info_name(),
            self.version
        );
        WheelFilename::from_str(&name).context(|| format!("`{name}` is not a valid wheel name"))
    }

    /// Returns the platform in the syntax of wheels, e.g. `linux_x86_64`.
    pub fn platform_tag(&self) -> Option<String> {
        self.platform
            .as_deref()
            .map(|platform| platform.replace(['-', '.'], "_"))
    }

    /// Returns Python and ABI tags for code that is not compiled: an egg's sources run on its
    /// Python and later ones.
    pub fn pure_tags(&self) -> String {
        match self.python {
            Some((major, minor)) => format!("py{major}{minor}-none"),
            None => "py2.py3-none".to_owned(),
        }
    }

    /// Returns Python and ABI tags for extension modules: those of the Python that compiled them.
    ///
    /// All builds of CPython before 3.8 have `m` or `mu` (PEP 3149: with pymalloc; wide Unicode).
    pub fn abi_tags(&self) -> String {
        match self.python {
            Some((2, minor)) => format!("cp2{minor}-cp2{minor}mu"),
            Some((3, minor @ ..8)) => format!("cp3{minor}-cp3{minor}m"),
            Some((major, minor)) => format!("cp{major}{minor}-cp{major}{minor}"),
            None => "py2.py3-none".to_owned(),
        }
    }
}

fn python(text: &str) -> Option<(u8, u8)> {
    let (major, minor) = text.strip_prefix("py")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_eggs_become_names_of_wheels() {
        // Left: names that setuptools gives (`Distribution.egg_name`). Right: PEP 427 and PEP 425.
        for (egg, wheel) in [
            ("demo-1.0-py3.11.egg", "demo-1.0-py311-none-any.whl"),
            ("My.Pkg-1.0-py3.11.egg", "my_pkg-1.0-py311-none-any.whl"),
            (
                "zope.interface-4.1.0-py3.9-linux-x86_64.egg",
                "zope_interface-4.1.0-cp39-cp39-linux_x86_64.whl",
            ),
            (
                "a_b-1.0_r3-py3.7-linux-aarch64.egg",
                "a_b-1.0.post3-cp37-cp37m-linux_aarch64.whl",
            ),
            (
                "a-1-py2.7-linux-x86_64.egg",
                "a-1-cp27-cp27mu-linux_x86_64.whl",
            ),
            (
                "a-1-py3.11-macosx-10.9-x86_64.egg",
                "a-1-cp311-cp311-macosx_10_9_x86_64.whl",
            ),
            ("a-1.0.egg", "a-1.0-py2.py3-none-any.whl"),
            (
                "a-1.0+local.1-py3.12.egg",
                "a-1.0+local.1-py312-none-any.whl",
            ),
        ] {
            assert_eq!(
                EggFilename::parse(egg)
                    .unwrap()
                    .wheel()
                    .unwrap()
                    .to_string(),
                wheel,
                "{egg}"
            );
        }
    }

    #[test]
    fn what_is_no_name_of_an_egg_is_refused() {
        for name in [
            "demo.egg",
            "demo-1.0-3.11.egg",
            "demo-x.y-py3.11.egg",
            "-1.0-py3.11.egg",
            "demo-1.0-py3.egg",
        ] {
            assert!(EggFilename::parse(name).is_err(), "{name}");
        }
    }
}
