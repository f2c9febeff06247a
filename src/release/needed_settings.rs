//! The settings that a host must have a value for before a release comes, as the release's record
//! has them: a push asks the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use pkgapp_config::Config;
use pkgapp_core::error::Result;
use pkgapp_core::fs;

use crate::services;

/// Settings without which the application does not run, and that no package has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededSettings {
    /// Their names, and the files on hosts where their values belong.
    pub places: BTreeMap<String, String>,
    /// All files of variables that something reads.
    pub files: Vec<String>,
    /// Those that are files themselves, which systemd delivers; also those that may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Those whose values a configuration package has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<String>,
}

impl NeededSettings {
    /// Returns the settings of an application; `None` if it needs none.
    ///
    /// # Errors
    /// A configuration file cannot be read.
    pub fn of(app: &Config) -> Result<Option<Self>> {
        let mut all = Self::of_variables(app)?;
        all.credentials
            .extend(app.credentials().map(|secret| secret.name.clone()));
        let needed = app
            .credentials()
            .filter(|secret| secret.is_missing_on_hosts());
        all.places.extend(needed.filter_map(|secret| {
            let place = app.place_on_hosts(secret)?;
            Some((secret.name.clone(), place.to_string()))
        }));
        if app.is_separate() {
            let configured = app.settings_without_value();
            all.configured = configured.map(|setting| setting.name.clone()).collect();
        }
        let is_none =
            all.places.is_empty() && all.credentials.is_empty() && all.configured.is_empty();
        Ok((!is_none).then_some(all))
    }

    /// Returns the settings that are variables; none if the release has values itself.
    fn of_variables(app: &Config) -> Result<Self> {
        let Some(settings) = services::host_settings(app) else {
            return Ok(Self::default());
        };
        let prefix = &app.package.prefix.value;
        let own = app.settings_of_crons().map(|(path, _)| path);
        let mut files = settings.files;
        files.retain(|file| Some(file) != own.as_ref());
        if files.iter().any(|file| file.below(prefix).is_some()) {
            return Ok(Self::default());
        }
        let packaged = packaged_variables(app)?;
        let needed = settings.needed.into_iter();
        Ok(Self {
            places: needed
                .filter(|(name, _)| !packaged.contains(name))
                .map(|(name, place)| (name, place.to_string()))
                .collect(),
            files: files.iter().map(ToString::to_string).collect(),
            credentials: Vec::new(),
            configured: Vec::new(),
        })
    }
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
