//! `[deploy.NAME.settings]`: the values of settings in one deployment, which its configuration
//! package has.

use pkgapp_core::error::{Error, Result};

use super::value::{self, SettingType};
use super::{Setting, refused, unknown};
use crate::deploy::Deploy;
use crate::document::DocumentValue;
use crate::reader::{TableReader, ValueReader};
use crate::{Config, Located};

/// The value of one setting in a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedSetting {
    /// The variable.
    pub name: String,
    /// The value as `--set` takes it. Its type is known if the same file declares the setting.
    pub value: Located<String>,
}

impl DeployedSetting {
    /// Reads the table of a deployment. The settings may be declared elsewhere: an operator's file
    /// declares none.
    pub(crate) fn read_all(deployment: &TableReader<'_>, declared: &[Setting]) -> Vec<Self> {
        let value = deployment.get("settings");
        let table = value.and_then(|value| value.table("deploy.NAME.settings"));
        let entries = table.map(|table| table.entries());
        entries
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Self::read(name.value, &value, declared))
            .collect()
    }

    /// Reads the entries of a table; a software package elsewhere declares the settings.
    pub(crate) fn read_undeclared(value: &ValueReader<'_>, kind: &'static str) -> Vec<Self> {
        let entries = value.table(kind).map(|table| table.entries());
        let entries = entries.into_iter().flatten();
        entries
            .filter_map(|(name, value)| Self::read(name.value, &value, &[]))
            .collect()
    }

    fn read(name: String, value: &ValueReader<'_>, declared: &[Setting]) -> Option<Self> {
        let setting = declared.iter().find(|setting| setting.name == name);
        let text = match setting {
            None if declared.is_empty() => undeclared_text(value),
            None => {
                value.complain(unknown(&name, declared));
                None
            }
            Some(setting) => match refused(setting) {
                Some(error) => {
                    value.complain(error);
                    None
                }
                None => declared_text(&setting.setting_type, value),
            },
        };
        let at = value.at();
        Some(Self {
            name,
            value: Located { value: text?, at },
        })
    }
}

/// Returns the text of a value whose type is known.
fn declared_text(setting_type: &SettingType, value: &ValueReader<'_>) -> Option<String> {
    setting_type.value(value)?;
    setting_type.text_of(value)
}

/// Returns the text of a value whose type is not known.
fn undeclared_text(value: &ValueReader<'_>) -> Option<String> {
    match value.item().value {
        DocumentValue::Boolean(_) => value.boolean().map(|value| value.to_string()),
        DocumentValue::Integer(_) | DocumentValue::Float(_) => value::number_text(value),
        DocumentValue::Array(_) => value::list_text(value),
        _ => value.text().map(str::to_owned),
    }
}

impl Config {
    /// Puts the values of a deployment in place of defaults.
    ///
    /// # Errors
    /// A name that is no setting of the package, or a value that is none of its type.
    pub fn with_deployed_settings(mut self, deployment: &Deploy) -> Result<Self> {
        let mut mistakes = Vec::new();
        for deployed in &deployment.settings {
            if let Err(error) = self.choose(&deployed.name, &deployed.value.value) {
                mistakes.push(error.at(deployed.value.at.clone()));
            }
        }
        match Error::all(mistakes) {
            Some(error) => Err(error),
            None => self.with_settings(),
        }
    }

    /// Checks that the configuration package of a deployment has a value for every setting that
    /// needs one.
    ///
    /// # Errors
    /// Settings without a value, all of them.
    pub fn check_deployed_settings(&self, deployment: &Deploy) -> Result<()> {
        let table = format!("[deploy.{}.settings]", deployment.name);
        self.check_values(deployment, &table)
    }

    /// Checks the same for an environment of a system.
    ///
    /// # Errors
    /// Settings without a value, all of them.
    pub fn check_settings_of_system(&self, environment: &Deploy) -> Result<()> {
        let table = format!("[environment.{}.settings.{}]", environment.name, self.name);
        self.check_values(environment, &table)
    }

    fn check_values(&self, deployment: &Deploy, table: &str) -> Result<()> {
        let name = &deployment.name;
        let missing = self.settings_without_value().map(|setting| {
            Error::new(format!(
                "the setting `{}` has no value in `{name}`",
                setting.name
            ))
            .at(deployment.at.clone())
            .hint(format!("write `{} = …` below `{table}`", setting.name))
        });
        Error::all(missing.collect::<Vec<_>>()).map_or(Ok(()), Err)
    }

    /// Puts a value in place of a default.
    pub(super) fn choose(&mut self, name: &str, text: &str) -> Result<()> {
        let setting = self.settable(name)?;
        let value = setting.setting_type.parse(text);
        let value = value.map_err(|error| error.context(format!("cannot set `{name}`")))?;
        let mut settings = self.settings.iter_mut();
        if let Some(setting) = settings.find(|setting| setting.name == name) {
            setting.chosen = Some(value);
        }
        Ok(())
    }
}
