//! The settings that a host must have a value for before a release comes, as the release's record
//! has them: a push asks the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use pkgapp_config::Config;
use pkgapp_core::error::Result;
use pkgapp_core::fs;

use crate::services;

/// Settings without which the application does not run, and that no package has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededSettings {
    /// Their names, and the files on hosts where their values belong.
    pub places: BTreeMap<String, String>,
    /// All files of variables that something reads.
    pub files: Vec<String>,
    /// Those that are files themselves, which systemd delivers; also those that may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
}

impl NeededSettings {
    /// Returns the settings of an application; `None` if it needs none.
    ///
    /// # Errors
    /// A configuration file cannot be read.
    pub fn of(app: &Config) -> Result<Option<Self>> {
        let credentials: Vec<String> = app.credentials().map(|each| each.name.clone()).collect();
        let (mut places, files) = variables(app)?.unwrap_or_default();
        let needed = app.credentials().filter(|each| each.is_missing_on_hosts());
        places.extend(needed.filter_map(|each| {
            let place = app.place_on_hosts(each)?;
            Some((each.name.clone(), place.to_string()))
        }));
        let is_some = !places.is_empty() || !credentials.is_empty();
        Ok(is_some.then_some(Self {
            places,
            files,
            credentials,
        }))
    }
}

/// Returns the settings that are variables with the files for their values, and all files of
/// variables; `None` if no host needs values.
fn variables(app: &Config) -> Result<Option<(BTreeMap<String, String>, Vec<String>)>> {
    let Some(settings) = services::host_settings(app) else {
        return Ok(None);
    };
    let prefix = &app.package.prefix.value;
    let own = app.settings_of_crons().map(|(path, _)| path);
    let mut files = settings.files;
    files.retain(|file| Some(file) != own.as_ref());
    if files.iter().any(|file| file.below(prefix).is_some()) {
        // The release has values itself.
        return Ok(None);
    }
    let packaged = packaged_variables(app)?;
    let places = settings
        .needed
        .into_iter()
        .filter(|(name, _)| !packaged.contains(name))
        .map(|(name, place)| (name, place.to_string()))
        .collect();
    Ok(Some((
        places,
        files.iter().map(ToString::to_string).collect(),
    )))
}

/// Returns the variables that the configuration files of the package set.
fn packaged_variables(app: &Config) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for config in &app.configs {
        let bytes = fs::read(&config.source)?;
        let text = String::from_utf8_lossy(&bytes);
        let assignments = text.lines().filter_map(|line| line.split_once('='));
        names.extend(assignments.map(|(name, _)| name.trim().to_owned()));
    }
    Ok(names)
}
