//! `/etc/logrotate.d/NAME` (logrotate.conf(5)).

use serde::Serialize;

use pkgapp_config::{LogReopen, Logrotate, PartName, RotationFrequency, Service};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;

use super::paths::ServiceScope;
use super::{GeneratedFiles, ServiceContext, render};

/// Writes the configuration file.
pub(super) fn write(context: &ServiceContext<'_>, files: &mut GeneratedFiles) -> Result<()> {
    let Some(logs) = &context.app.logrotate else {
        return Ok(());
    };
    files.add_config(
        &format!("/etc/logrotate.d/{}", context.name()),
        "`[logrotate]`",
        text(context, logs, ServiceScope::System)?,
    )
}

/// Logs of one user.
#[derive(Debug, Serialize)]
struct LogBlock {
    paths: Vec<String>,
    /// The user and group under which logrotate renames the logs. Otherwise root's logrotate does
    /// it as root, and refuses directories that other users can write to.
    su: Option<String>,
    /// The mode and owner of new files.
    create: String,
}

/// Returns the text of the file. A login's logrotate needs no users, because the login owns all
/// logs.
pub(super) fn text(
    context: &ServiceContext<'_>,
    logs: &Logrotate,
    scope: ServiceScope<'_>,
) -> Result<String> {
    let systemctl = match scope {
        ServiceScope::System => "systemctl",
        ServiceScope::Login(_) => "systemctl --user",
    };
    let (units, tell) = match &logs.reopen {
        LogReopen::CopyTruncate => (Vec::new(), String::new()),
        LogReopen::Services { names, signal } => (
            told(context, names.as_deref(), signal.is_some(), logs)?,
            tell(systemctl, *signal),
        ),
    };
    let values = minijinja::context! {
        blocks => blocks(context, logs, scope)?,
        units, systemctl, tell,
        frequency => frequency(logs.frequency),
        keep => logs.keep,
        compress => logs.compress,
        copytruncate => logs.reopen == LogReopen::CopyTruncate,
    };
    render(include_str!("../../../templates/logrotate"), values)
}

fn blocks(
    context: &ServiceContext<'_>,
    logs: &Logrotate,
    scope: ServiceScope<'_>,
) -> Result<Vec<LogBlock>> {
    let mut blocks: Vec<LogBlock> = Vec::new();
    for path in &logs.paths {
        let quoted = quoted(path, logs)?;
        let owner = match context.owner_of(path)? {
            Some(user) => Some(format!("{user} {}", context.group_of(user)?)),
            None => None,
        };
        let (path, su, create) = match (scope, owner) {
            (ServiceScope::System, Some(owner)) => {
                let create = format!("create 0640 {owner}");
                (quoted, Some(owner), create)
            }
            (ServiceScope::System, None) => (quoted, None, "create".to_owned()),
            (ServiceScope::Login(paths), owner) => {
                let create = owner.map_or("create", |_| "create 0640");
                (paths.in_text(&quoted), None, create.to_owned())
            }
        };
        match blocks
            .iter_mut()
            .find(|block| (&block.su, &block.create) == (&su, &create))
        {
            Some(block) => block.paths.push(path),
            None => blocks.push(LogBlock {
                paths: vec![path],
                su,
                create,
            }),
        }
    }
    Ok(blocks)
}

/// Returns the script that makes services reopen their logs.
fn tell(systemctl: &str, signal: Option<&'static str>) -> String {
    match signal {
        // systemd 252 renamed `--kill-who` to `--kill-whom`, and still accepts the old name.
        Some(signal) => format!("{systemctl} kill --kill-who=main --signal={signal}"),
        None => format!("{systemctl} reload"),
    }
}

/// Returns the units that reopen their logs: the configured ones, or else all that can.
fn told(
    context: &ServiceContext<'_>,
    names: Option<&[pkgapp_config::Located<PartName>]>,
    by_signal: bool,
    logs: &Logrotate,
) -> Result<Vec<String>> {
    let app = context.app;
    let mut units = Vec::new();
    for service in &app.services {
        let wanted = match names {
            Some(names) => names.iter().find(|name| name.value == service.name),
            None => None,
        };
        if names.is_some() && wanted.is_none() || names.is_none() && service.reload.is_none() {
            continue;
        }
        if let Some(name) = wanted.filter(|_| service.reload.is_none() && !by_signal) {
            return Err(Error::new(format!(
                "cannot make service `{}` reopen its logs",
                name.value
            ))
            .at(name.at.clone())
            .hint("set `reload` of the service, or `signal = \"…\"` below `[logrotate]`"));
        }
        units.extend(unit_names(context, service));
    }
    if units.is_empty() {
        return Err(Error::new("no service can reopen its logs")
            .at(logs.at.clone())
            .hint("set `copytruncate = true`, or `services`"));
    }
    Ok(units)
}

fn unit_names(context: &ServiceContext<'_>, service: &Service) -> Vec<String> {
    let base = context.unit(&service.name);
    match service.instances {
        None => vec![format!("{base}.service")],
        Some(count) => (1..=count)
            .map(|number| format!("{base}@{number}.service"))
            .collect(),
    }
}

/// Quotes a path with its wildcards; logrotate has no escape characters.
fn quoted(path: &InstallPath, logs: &Logrotate) -> Result<String> {
    let text = path.as_str();
    match text
        .chars()
        .find(|c| matches!(c, '"' | '\'' | '{' | '}' | '\\' | '#'))
    {
        Some(c) => Err(Error::new(format!(
            "the path `{text}` contains {c:?}, which logrotate cannot represent"
        ))
        .at(logs.at.clone())
        .hint("use the wildcard `?` for the character")),
        None => Ok(format!("\"{text}\"")),
    }
}

fn frequency(frequency: RotationFrequency) -> &'static str {
    match frequency {
        RotationFrequency::Hourly => "hourly",
        RotationFrequency::Daily => "daily",
        RotationFrequency::Weekly => "weekly",
        RotationFrequency::Monthly => "monthly",
        RotationFrequency::Yearly => "yearly",
    }
}
