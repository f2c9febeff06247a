//! Recipes in distributions: `acme-deploy:web` is the file `pkgapp/web.toml` in the wheel of the
//! distribution `acme-deploy` that the application's lock pins, so that it has a version and a hash.

use std::path::PathBuf;

use pkgapp_core::error::{Error, Result};
use pkgapp_pypa::{PackageName, Version};

use super::super::Config;

/// The directory of a wheel that holds recipes.
pub const RECIPE_DIRECTORY: &str = "pkgapp";

/// The files of the distributions that an application's lock pins.
pub trait LockedDistributions {
    /// Reads a file from the wheel of a distribution. `app` is the configuration without recipes:
    /// it names the locks, indexes, and the Python. Returns `None` to leave the recipe out.
    ///
    /// # Errors
    /// The lock does not pin the distribution, it is no wheel, or it has no such file.
    fn read(
        &self,
        app: &Config,
        distribution: &PackageName,
        file: &str,
    ) -> Result<Option<DistributionFile>>;
}

/// A file of a distribution.
#[derive(Debug, Clone)]
pub struct DistributionFile {
    /// The distribution's version.
    pub version: Version,
    /// The file's content.
    pub content: Vec<u8>,
}

/// The distributions of an application whose lock nobody can read.
#[derive(Debug)]
pub(in super::super) struct NoDistributions;

impl LockedDistributions for NoDistributions {
    fn read(
        &self,
        _app: &Config,
        distribution: &PackageName,
        _file: &str,
    ) -> Result<Option<DistributionFile>> {
        Err(Error::new(format!(
            "cannot read recipes of `{distribution}` here"
        )))
    }
}

/// The name of a recipe in a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DistributionRecipe {
    pub(super) distribution: PackageName,
    /// The name of its file without `.toml`.
    name: String,
}

impl DistributionRecipe {
    /// Reads `DISTRIBUTION:NAME`; `None` for other names of recipes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (distribution, name) = text.split_once(':')?;
        let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(is_inside) {
            return None;
        }
        Some(Self {
            distribution: distribution.parse().ok()?,
            name: name.to_owned(),
        })
    }

    /// Returns its name as records have it.
    pub(super) fn label(&self) -> String {
        format!("{}:{}", self.distribution, self.name)
    }

    /// Returns its file in the wheel.
    pub(super) fn file(&self) -> String {
        format!("{RECIPE_DIRECTORY}/{}.toml", self.name)
    }

    /// Returns how messages name its file.
    pub(super) fn place(&self, version: &Version) -> PathBuf {
        let file = self.file();
        PathBuf::from(format!("{} {version}: {file}", self.distribution))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_distribution_and_a_file() {
        let recipe = DistributionRecipe::parse("Acme_Deploy:web-2").unwrap();
        assert_eq!(recipe.label(), "acme-deploy:web-2");
        assert_eq!(recipe.file(), "pkgapp/web-2.toml");
        for other in [
            "web",
            "./a:b.toml",
            "acme:",
            ":web",
            "acme:../x",
            "acme:a/b",
            "a b:web",
            "https://x",
        ] {
            assert_eq!(DistributionRecipe::parse(other), None, "{other}");
        }
    }
}
