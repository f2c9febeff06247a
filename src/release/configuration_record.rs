//! The record of a configuration package, which says what it was made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of [`ConfigurationRecord`].
pub const FORMAT: u32 = 1;

/// The content of `/usr/share/pkgapp/NAME/configuration.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationRecord {
    /// Version of this format.
    pub format: u32,
    /// The name of the software package.
    pub name: String,
    /// The deployment, which is the environment of the host.
    pub environment: String,
    /// The roles of the hosts, if the package is one of a system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The version of the software package that declares the services.
    pub software: String,
    /// The values of settings.
    pub settings: BTreeMap<String, RecordedValue>,
}

/// A value, and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedValue {
    /// The value.
    pub value: String,
    /// `deployment` or `default`.
    pub from: String,
}

impl ConfigurationRecord {
    /// Returns its path for an application of this name.
    pub fn path(name: &str) -> String {
        format!("/usr/share/pkgapp/{name}/configuration.json")
    }

    /// Returns whether a path is that of the record of some application.
    pub fn is_path(path: &str) -> bool {
        let name = path
            .strip_prefix("/usr/share/pkgapp/")
            .and_then(|rest| rest.strip_suffix("/configuration.json"));
        name.is_some_and(|name| !name.contains('/'))
    }
}
