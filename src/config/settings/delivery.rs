//! `deliver`: how a secret reaches what reads it.
//!
//! A secret is a variable, whose value is a line of a file of secrets; or it is a file, which
//! systemd passes to services and timers as a credential (`LoadCredential=` in systemd.exec(5)),
//! and a variable, `NAME_FILE`, says where that is.

use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;

use super::super::Config;
use super::super::reader::ValueReader;
use super::{Setting, SettingType};

/// The first systemd with credentials, the first that has encrypted ones, and the first that finds
/// these in `/etc/credstore.encrypted` (its NEWS file).
const CREDENTIALS: u16 = 247;
const ENCRYPTED: u16 = 250;
const FROM_STORE: u16 = 252;

/// How a secret reaches what reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretDelivery {
    /// As a variable.
    Variable,
    /// As a file, whose path is a variable.
    File,
}

impl SecretDelivery {
    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Variable => "variable",
            Self::File => "file",
        }
    }

    /// Reads `deliver`, which only secrets have.
    pub(super) fn read(
        value: Option<&ValueReader<'_>>,
        setting_type: &SettingType,
    ) -> Option<Self> {
        let Some(value) = value else {
            return Some(Self::Variable);
        };
        let delivery =
            value.choice(&[Self::Variable, Self::File].map(|delivery| (delivery.name(), delivery)));
        if *setting_type != SettingType::Secret {
            let error = Error::new(format!("`{}` is for the type `secret`", value.label()));
            value.complain(error.hint(format!(
                "leave it out: the type of the setting is `{}`",
                setting_type.name()
            )));
            return None;
        }
        delivery
    }
}

impl Setting {
    /// Returns the variable with the path of the file, if the secret is delivered as one.
    pub fn file_variable(&self) -> Option<String> {
        (self.delivery == SecretDelivery::File).then(|| format!("{}_FILE", self.name))
    }
}

impl Config {
    /// Returns the secrets that are delivered as files.
    pub fn credentials(&self) -> impl Iterator<Item = &Setting> {
        let settings = self.settings.iter();
        settings.filter(|setting| setting.delivery == SecretDelivery::File)
    }

    /// Returns where hosts keep such a secret, encrypted.
    pub(super) fn credential_path(&self, setting: &Setting) -> Option<InstallPath> {
        let path = format!("/etc/credstore.encrypted/{}.{}", self.name, setting.name);
        InstallPath::parse(&path).ok()
    }

    /// Only systemd passes such a secret on.
    pub(super) fn check_readers_of_credentials(&self) -> Result<()> {
        let has_unit = !self.services.is_empty() || !self.timers.is_empty();
        match self.credentials().next() {
            Some(secret) if !has_unit && !self.crons.is_empty() => Err(Error::new(format!(
                "`{}` is delivered as a file, which cron jobs cannot read",
                secret.name
            ))
            .at(secret.at.clone())
            .hint("make the jobs that need it a `[timer.NAME]`")),
            _ => Ok(()),
        }
    }

    /// Returns the mistakes of secrets that systemd on a target cannot deliver.
    pub(super) fn undeliverable_credentials(&self) -> impl Iterator<Item = Error> {
        let targets = self.package.targets.iter();
        let target = targets.map(|target| &target.value).find(|target| {
            target.systemd < CREDENTIALS || (ENCRYPTED..FROM_STORE).contains(&target.systemd)
        });
        target.into_iter().flat_map(|target| {
            self.credentials().map(move |secret| {
                Error::new(format!(
                    "`{}` cannot be delivered as a file on `{}`, \
                     whose systemd {} has no credentials",
                    secret.name, target.name, target.systemd
                ))
                .at(secret.at.clone())
                .hint("leave `deliver` out, or the target")
            })
        })
    }
}
