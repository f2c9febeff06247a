//! The version of setuptools in locks. Distributions require setuptools at run time for
//! `pkg_resources`, which version 82 removed, and hardly any says so in its metadata.

use pkgapp_config::Located;
use pkgapp_core::error::{Location, Result};
use toml::{Table, Value};

use super::{Resolution, temporary};

/// The first version of setuptools without `pkg_resources`.
const FIRST_WITHOUT: u32 = 82;

impl Resolution<'_> {
    /// Returns the result of `resolve`, with a version of setuptools that has `pkg_resources` if
    /// the requirements allow one.
    pub(super) fn with_pkg_resources(
        &self,
        resolve: impl Fn(&Resolution<'_>) -> Result<String>,
    ) -> Result<String> {
        let text = resolve(self)?;
        let Some(version) = setuptools(&text).filter(|version| lacks_pkg_resources(version)) else {
            return Ok(text);
        };
        let constraint = temporary("setuptools.", &format!("setuptools<{FIRST_WITHOUT}\n"))?;
        let mut app = self.app.clone();
        app.python.constraints.push(Located {
            at: Location::file(&app.file),
            value: constraint.to_path_buf(),
        });
        let constrained = Resolution { app: &app, ..*self };
        // Whoever requires a newer version gets that one.
        let Ok(older) = resolve(&constrained) else {
            return Ok(text);
        };

        if let Some(older) = setuptools(&older) {
            self.report.step(&format!(
                "setuptools {older} instead of {version}: later versions have no `pkg_resources`, \
                 for which distributions require setuptools"
            ));
        }
        Ok(older)
    }
}

/// Returns the version of setuptools in a lock.
fn setuptools(text: &str) -> Option<String> {
    let lock: Table = text.parse().ok()?;
    let packages = lock.get("packages")?.as_array()?;
    let of =
        |key: &'static str| move |package: &Value| package.get(key)?.as_str().map(str::to_owned);
    packages
        .iter()
        .find(|package| of("name")(package).as_deref() == Some("setuptools"))
        .and_then(of("version"))
}

fn lacks_pkg_resources(version: &str) -> bool {
    let major = version.split('.').next().unwrap_or(version);
    major
        .parse::<u32>()
        .is_ok_and(|major| major >= FIRST_WITHOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_since_82_lack_pkg_resources() {
        let lock = |version: &str| {
            let other = "[[packages]]\nname = 'six'\nversion = '90.0'\n";
            setuptools(&format!(
                "{other}[[packages]]\nname = 'setuptools'\nversion = '{version}'\n"
            ))
        };
        for (version, lacks) in [("81.0.0", false), ("82.0.0", true), ("100", true)] {
            let found = lock(version).unwrap();
            assert_eq!(found, version);
            assert_eq!(lacks_pkg_resources(&found), lacks);
        }
        assert_eq!(setuptools("[[packages]]\nname = 'six'\n"), None);
    }
}
