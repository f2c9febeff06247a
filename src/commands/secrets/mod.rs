//! `pkgapp secrets`.

mod change;
mod list;
mod source;

use crate::cli::{GlobalOptions, SecretsCommand};
use pkgapp_config::{Config, Deploy, SettingSource, SettingType, check_setting_name, nearest_name};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::Report;
use pkgapp_deploy::backend::Backend;
use pkgapp_deploy::fleet::{self, folded};
use pkgapp_deploy::secrets::{ExpectedSecret, HostSecrets, SecretStore};
use pkgapp_format::read::ArtifactKind;

use super::load_app;

pub(super) fn secrets(
    command: &SecretsCommand,
    global: &GlobalOptions,
    report: &Report,
) -> Result<()> {
    let app = load_app(global, report)?;
    match command {
        SecretsCommand::Set(args) => change::set(args, &app, report),
        SecretsCommand::List(args) => list::list(args, &app, report),
        SecretsCommand::Copy(args) => change::copy(args, &app, report),
        SecretsCommand::Generate(args) => change::generate(args, &app, report),
    }
}

/// Returns `[deploy.NAME]` if one is named.
fn deploy_of<'a>(app: &'a Config, target: Option<&str>) -> Result<Option<&'a Deploy>> {
    target
        .map(|name| fleet::deploy_named(app, name))
        .transpose()
}

/// Refuses a file that a login without root does not have: only `/etc/NAME` is below `shared`.
fn check_place(app: &Config, file: &SecretStore, backend: &dyn Backend) -> Result<()> {
    let own = format!("/etc/{}/", app.name);
    if !backend.accepts(ArtifactKind::Tar) || file.path.as_str().starts_with(&own) {
        return Ok(());
    }
    let path = &file.path;
    Err(Error::new(format!(
        "`{path}` is a file of the host, which a login without root cannot write"
    ))
    .hint(format!("keep secrets in `{own}secrets.env`")))
}

/// Returns the file of the application's secrets on hosts.
fn file_of(app: &Config) -> Result<SecretStore> {
    SecretStore::of(app)?.ok_or_else(|| {
        let name = &app.name;
        Error::new(format!("nothing of `{name}` reads a file of secrets")).hint(format!(
            "write `environment-file = \"/etc/{name}/secrets.env\"` into the services that need it"
        ))
    })
}

/// Returns the error for a secret that hosts lack; `with` is a host that has it.
fn missing(name: &str, without: &[&str], with: Option<&str>, target: Option<&str>) -> Error {
    let hosts = folded(without);
    let target = target.unwrap_or("--hosts …");
    let hint = match with {
        Some(from) => format!("`pkgapp secrets copy {target} --from {from} {name}`"),
        None => format!("`pkgapp secrets set {target} {name}`"),
    };
    Error::new(format!("`{name}` is not set on {hosts}")).hint(hint)
}

/// Warns if every user of a host can read its secrets, and of secrets that are not where they
/// belong.
fn warn_of(host: &str, there: &HostSecrets, report: &Report) {
    let file = &there.file;
    if there.is_open() {
        report.warning(&format!("{host}: every user can read `{file}`"));
    }
    for oddity in there.oddities() {
        report.warning(&format!("{host}: {oddity}"));
    }
}

/// Returns the secrets that the configuration declares.
fn declared(app: &Config) -> Vec<ExpectedSecret> {
    let settings = app.settings.iter();
    settings
        .filter(|setting| setting.setting_type == SettingType::Secret)
        .map(|setting| ExpectedSecret {
            name: setting.name.clone(),
            is_required: setting.source == SettingSource::Host && !setting.is_optional,
        })
        .collect()
}

/// Whether secrets that nothing declares may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undeclared {
    Allowed,
    Refused,
}

/// Checks the name of a secret: one that the configuration declares, if it declares settings.
fn check_name(app: &Config, name: &str, undeclared: Undeclared) -> Result<()> {
    check_setting_name(name).map_err(|error| error.kind(ErrorKind::Usage))?;
    let setting = app.settings.iter().find(|setting| setting.name == name);
    let (why, hint) = match setting {
        Some(setting) if setting.setting_type == SettingType::Secret => return Ok(()),
        Some(_) => (
            format!("the setting `{name}` is no secret"),
            format!("set it on each host in `/etc/{}/settings.env`", app.name),
        ),
        None if app.settings.is_empty() || undeclared == Undeclared::Allowed => return Ok(()),
        None => {
            let secrets = declared(app);
            let names = secrets.iter().map(|secret| secret.name.as_str());
            let hint = nearest_name(name, names).map_or_else(
                || "declare it in `[settings]`, or use `--allow-undeclared`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            (format!("there is no secret `{name}` in `[settings]`"), hint)
        }
    };
    Err(Error::new(why).kind(ErrorKind::Usage).hint(hint))
}
