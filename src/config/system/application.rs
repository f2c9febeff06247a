//! `[application.NAME]`: one installation of an application, which may be on many hosts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::AppName;

use crate::reader::{Located, TableReader};
use crate::service::PartName;
use crate::settings::DeployedSetting;

use super::placement::PartPlacement;

/// An application of a system. Several may use one software package: what is named after an
/// application on hosts is then named after each of them.
#[derive(Debug, Clone)]
pub struct SystemApplication {
    /// NAME.
    pub name: AppName,
    /// `software`: the name of its software package; by default NAME.
    pub software: AppName,
    /// Where its software comes from.
    pub from: Located<SoftwareSource>,
    /// `version`: the version to install; `None` for the newest.
    pub version: Option<Located<String>>,
    /// `role`: the hosts of the parts that `place` does not mention.
    pub role: Option<Located<PartName>>,
    /// `place`, in the order of the file.
    pub place: Vec<(Located<PartName>, PartPlacement)>,
    /// `bind`: the services that meet its requirements, by the names of these.
    pub bind: BTreeMap<PartName, Located<PartName>>,
    /// `settings`: values for all environments.
    pub settings: Vec<DeployedSetting>,
    /// Where it is declared.
    pub at: Location,
}

/// Where the software of an application comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoftwareSource {
    /// `package`: a package, or a directory of packages, absolute.
    Package(PathBuf),
    /// `source`: the directory of its `pkgapp.toml`, absolute.
    Checkout(PathBuf),
}

impl SystemApplication {
    pub(super) fn read_all(root: &TableReader<'_>, directory: &Path) -> Vec<Self> {
        root.tables("application", "application.NAME")
            .into_iter()
            .filter_map(|(name, table)| Self::read(&name, table, directory))
            .collect()
    }

    /// Returns the placement of a part that `place` mentions.
    pub fn placement(&self, part: &PartName) -> Option<&PartPlacement> {
        let mut all = self.place.iter();
        all.find(|(name, _)| name.value == *part)
            .map(|(_, placement)| placement)
    }

    fn read(name: &Located<String>, table: TableReader<'_>, directory: &Path) -> Option<Self> {
        let at = table.at();
        let app_name = AppName::parse(name);
        if let Err(error) = &app_name {
            table.complain_elsewhere(error.clone().at(name.at.clone()));
        }
        let software = table
            .get("software")
            .map_or(app_name.as_ref().ok().cloned(), |value| {
                value.parsed(AppName::parse)
            });
        let from = SoftwareSource::read(&table, directory);
        let version = table.get("version").and_then(|value| value.placed(version));
        let role = table
            .get("role")
            .and_then(|value| value.placed(PartName::parse));
        let place = PartPlacement::read_all(&table);
        let bind = read_bindings(&table);
        let settings = table.get("settings").map_or_else(Vec::new, |value| {
            DeployedSetting::read_undeclared(&value, "application.NAME.settings")
        });
        table.finish();
        Some(Self {
            name: app_name.ok()?,
            software: software?,
            from: from?,
            version,
            role,
            place,
            bind,
            settings,
            at,
        })
    }
}

/// Reads `bind`.
fn read_bindings(table: &TableReader<'_>) -> BTreeMap<PartName, Located<PartName>> {
    let mut bindings = BTreeMap::new();
    let bind = table.get("bind");
    let Some(bind) = bind.and_then(|value| value.table("application.NAME.bind")) else {
        return bindings;
    };
    for (requirement, value) in bind.entries() {
        let name = PartName::of_key(&requirement, &value);
        let service = value.placed(PartName::parse);
        if let (Some(name), Some(service)) = (name, service) {
            bindings.insert(name, service);
        }
    }
    bindings
}

impl SoftwareSource {
    fn read(table: &TableReader<'_>, directory: &Path) -> Option<Located<Self>> {
        let package = table.get("package");
        let source = table.get("source");
        let (value, from) = match (package, source) {
            (Some(value), None) => (value, Self::Package as fn(PathBuf) -> Self),
            (None, Some(value)) => (value, Self::Checkout as fn(PathBuf) -> Self),
            (Some(value), Some(_)) => {
                let path = table.path();
                let error = Error::new(format!("`{path}` has both `package` and `source`"));
                value.complain(error.hint("leave one of them out"));
                return None;
            }
            (None, None) => {
                let path = table.path();
                let error = Error::new(format!("`[{path}]` lacks `package`"));
                let hint = "add `package = \"../shop/dist\"`, or `source = \"../shop\"`";
                table.complain_of_missing("package", error.hint(hint));
                return None;
            }
        };
        value.placed(|text| existing(directory, text).map(from))
    }
}

/// Reads a path relative to the model.
fn existing(directory: &Path, text: &str) -> Result<PathBuf> {
    let path = directory.join(text);
    if path.exists() {
        return Ok(path);
    }
    let error = Error::new(format!("there is no `{}`", text.escape_debug()));
    Err(error.hint("build the package first, or correct the path"))
}

/// Reads the version of a package, as a package manager prints it, with or without its revision.
pub(super) fn version(text: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || ".+~:-^".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inside) {
        return Ok(text.to_owned());
    }
    let text = text.escape_debug();
    Err(Error::new(format!(
        "`{text}` is not the version of a package"
    )))
}
