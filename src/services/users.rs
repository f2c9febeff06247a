//! Users that things run as, their directories where systemd makes none, and their secrets.

use serde::Serialize;

use crate::app::App;
use crate::error::{Error, Result};
use crate::path::InstallPath;

use super::{Context, Files, render};

/// A user of the application's, with a group of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemUser {
    /// As valid names are on all hosts (useradd(8)).
    pub name: String,
    /// Its directory, which nothing makes for it.
    pub home: InstallPath,
}

/// A file of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Below `/etc/NAME`.
    pub path: InstallPath,
    /// Who may read it besides root.
    pub group: String,
}

#[derive(Debug, Serialize)]
struct Directory {
    path: InstallPath,
    user: String,
}

/// Writes the configuration of systemd-sysusers and systemd-tmpfiles; returns the users.
pub(super) fn write(context: &Context<'_>, files: &mut Files) -> Result<Vec<SystemUser>> {
    let users = users(context)?;
    let name = context.name();
    if !users.is_empty() {
        let text = render(
            include_str!("../../templates/sysusers.conf"),
            minijinja::context! { app => name, users => &users },
        )?;
        files.add(&format!("/usr/lib/sysusers.d/{name}.conf"), "the application's users", text)?;
    }
    if needs_tmpfiles(context.app) {
        let directories = directories(context)?;
        let text =
            render(include_str!("../../templates/tmpfiles.conf"), minijinja::context! { directories => &directories })?;
        files.add(&format!("/usr/lib/tmpfiles.d/{name}.conf"), "the directories of cron jobs", text)?;
    }
    Ok(users)
}

/// Whether something runs that is no unit, for which systemd makes directories when it starts.
pub(super) fn needs_tmpfiles(app: &App) -> bool {
    !app.crons.is_empty()
}

/// All that runs as somebody else than root, and owners of configuration.
fn users(context: &Context<'_>) -> Result<Vec<SystemUser>> {
    let runners = context.runners()?;
    let owners = context.app.configs.iter().filter_map(|file| file.owner.as_ref());
    let mut users = Vec::new();
    for user in runners.iter().copied().chain(owners).filter(|user| user.as_str() != "root") {
        let home = InstallPath::parse(&format!("/var/lib/{}", context.directory(user)))?;
        users.push(SystemUser { name: user.to_string(), home });
    }
    users.sort_by(|a, b| a.name.cmp(&b.name));
    users.dedup();
    Ok(users)
}

fn directories(context: &Context<'_>) -> Result<Vec<Directory>> {
    let mut directories = Vec::new();
    for cron in &context.app.crons {
        let user = context.user(cron.user.as_ref())?;
        for base in ["/var/cache", "/var/lib", "/var/log"] {
            let path = InstallPath::parse(&format!("{base}/{}", context.directory(user)))?;
            directories.push(Directory { path, user: user.to_string() });
        }
    }
    directories.sort_by(|a, b| a.path.cmp(&b.path));
    directories.dedup_by(|a, b| a.path == b.path);
    Ok(directories)
}

/// Environment files in the application's own directory that are no `[config]`: the administrator writes them.
pub(super) fn secrets(context: &Context<'_>) -> Result<Vec<SecretFile>> {
    let app = context.app;
    let etc = InstallPath::parse(&format!("/etc/{}", app.name))?;
    let named = app
        .services
        .iter()
        .map(|service| (&service.process.environment_files, &service.process.user))
        .chain(app.timers.iter().map(|timer| (&timer.process.environment_files, &timer.process.user)))
        .chain(app.crons.iter().map(|cron| (&cron.environment_files, &cron.user)));
    let mut secrets = Vec::new();
    for (files, user) in named {
        for file in files {
            let Some(name) = file.below(&etc) else { continue };
            if app.configs.iter().all(|config| config.name != name) {
                let group = context.user(user.as_ref())?.to_string();
                secrets.push(SecretFile { path: file.clone(), group });
            }
        }
    }
    secrets.sort_by(|a, b| a.path.cmp(&b.path));
    match secrets.windows(2).find(|pair| pair[0].path == pair[1].path && pair[0].group != pair[1].group) {
        Some(pair) => Err(Error::new(format!(
            "the secrets in `{}` are read by `{}` and by `{}`, and only one group may",
            pair[0].path, pair[0].group, pair[1].group
        ))
        .hint("give each user a file of its own, or make it a `[config]` with a `group`")),
        None => {
            secrets.dedup();
            Ok(secrets)
        }
    }
}
