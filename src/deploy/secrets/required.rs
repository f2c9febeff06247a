//! Secrets that an application cannot do without, before a push.

use crate::hosts::HostCommand;
use crate::script::{self, RemoteState};
use pkgapp_config::{Config, SettingType};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::path::InstallPath;

/// The secrets that hosts must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredSecrets {
    /// The application.
    name: AppName,
    /// Their variables.
    variables: Vec<String>,
    /// All files of variables that something reads, one a line.
    files: String,
}

impl RequiredSecrets {
    /// Returns the secrets that a configuration requires; `None` if there are none, or nothing reads
    /// files of variables.
    pub fn of(app: &Config) -> Option<Self> {
        let settings = app.settings.iter().filter(|setting| {
            setting.setting_type == SettingType::Secret && setting.is_missing_on_hosts()
        });
        let variables: Vec<String> = settings.map(|setting| setting.name.clone()).collect();
        let files = app.environment_files().flat_map(|(_, files)| files);
        let files: Vec<&str> = files.map(InstallPath::as_str).collect();
        (!variables.is_empty() && !files.is_empty()).then(|| Self {
            name: app.name.clone(),
            variables,
            files: files.join("\n"),
        })
    }

    /// Returns their variables.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Returns the command whose output [`RequiredSecrets::lacking`] reads.
    pub fn command(&self, remote: &RemoteState) -> HostCommand {
        script::command("looking for secrets", script::LACKING_SECRETS, remote, "")
            .parameter("name", self.name.as_str())
            .parameter("files", self.files.clone())
            .args(self.variables.iter().cloned())
            .question()
    }

    /// Reads which of them a host lacks.
    ///
    /// # Errors
    /// The answer is cut off.
    pub fn lacking(text: &str) -> Result<Vec<String>> {
        if !text.lines().any(|line| line == "secrets=end") {
            return Err(Error::new("what the host said of its secrets is cut off"));
        }
        let lacking = text.lines().filter_map(|line| line.strip_prefix("lacks="));
        Ok(lacking.map(str::to_owned).collect())
    }
}
