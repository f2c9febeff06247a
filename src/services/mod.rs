//! What runs on a host, as files that systemd, cron and logrotate read: from the application's `[service.*]`,
//! `[timer.*]`, `[cron.*]` and `[logrotate]` to entries of the tree.
//!
//! One declaration gives the same on every host; what differs between package managers is in the scriptlets, which act
//! upon the [`Services`] that are returned here. Everything that an application has is named after it: `shop.target`
//! groups `shop-web.service`, `shop-web.socket`, `shop-report.timer`; `/etc/cron.d/shop`; the user `shop` with
//! `/var/lib/shop`, `/var/cache/shop` and `/var/log/shop`.

mod cron;
mod logrotate;
mod program;
mod systemd;
#[cfg(test)]
mod tests;
mod unit;
mod users;

use std::sync::Arc;

use crate::app::{App, OnUpgrade, PartName, UserName};
use crate::error::{Error, Result};
use crate::name::AppName;
use crate::path::{InstallPath, ReleasePath};
use crate::tree::{Content, Entry, Origin, Tree};

use program::Programs;
pub use users::{SecretFile, SystemUser};

/// Where units of packages lie, on both kinds of host.
const UNITS: &str = "/usr/lib/systemd/system";

/// What a package's scriptlets act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// The application's.
    pub name: AppName,
    /// Where the release lies.
    pub prefix: InstallPath,
    /// In the order in which they are started: sockets, services, timers, then the target that groups them.
    pub units: Vec<Unit>,
    /// Users, each with a group of its name, that are created and never deleted.
    pub users: Vec<SystemUser>,
    /// Files of secrets: created empty, 0640 root:GROUP, if they are not there; never overwritten, removed by purge.
    pub secrets: Vec<SecretFile>,
    /// Directories that systemd makes and the package does not own: removed by purge, e.g. `/var/lib/shop`.
    pub state: Vec<InstallPath>,
    /// Whether `/usr/lib/sysusers.d/NAME.conf` is in the tree.
    pub has_sysusers: bool,
    /// Whether `/usr/lib/tmpfiles.d/NAME.conf` is in the tree.
    pub has_tmpfiles: bool,
}

/// A unit of systemd's and what scriptlets do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file in `/usr/lib/systemd/system`, e.g. `shop-web.service`, `shop-worker@.service`, `shop.target`.
    pub file: String,
    /// What is enabled and started: the file itself, or `shop-worker@1.service` … of a template. Empty for a timer's own
    /// service, which the timer starts.
    pub names: Vec<String>,
    /// What an upgrade does to it.
    pub on_upgrade: OnUpgrade,
}

/// Adds the files of everything that runs to the tree, and the sandbox that it runs in.
///
/// # Errors
/// A command whose program is not in the release; a value that a file can't carry; a user that can't be made.
pub fn insert_into(tree: &mut Tree, app: &App) -> Result<Services> {
    let context = Context { app, prefix: &app.package.prefix.value, user: default_user(app)? };
    let programs = Programs::of(tree, context.prefix);
    let mut files = Files::default();
    let units = systemd::write(&context, &programs, &mut files)?;
    cron::write(&context, &programs, &mut files)?;
    logrotate::write(&context, &mut files)?;
    let users = users::write(&context, &mut files)?;
    files.insert_into(tree)?;
    Ok(Services {
        name: app.name.clone(),
        prefix: context.prefix.clone(),
        units,
        secrets: users::secrets(&context)?,
        state: context.state()?,
        has_sysusers: !users.is_empty(),
        has_tmpfiles: users::needs_tmpfiles(app),
        users,
    })
}

/// What all files are made from.
struct Context<'a> {
    app: &'a App,
    prefix: &'a InstallPath,
    /// As whom everything runs that names nobody; `None` if nothing runs.
    user: Option<UserName>,
}

/// Returns the user that is named after the application, if anything runs as it.
///
/// # Errors
/// A name of the application that no user can have.
pub fn default_user(app: &App) -> Result<Option<UserName>> {
    let at = app
        .services
        .iter()
        .map(|service| (&service.process.user, &service.at))
        .chain(app.timers.iter().map(|timer| (&timer.process.user, &timer.at)))
        .chain(app.crons.iter().map(|cron| (&cron.user, &cron.at)))
        .find_map(|(user, at)| user.is_none().then_some(at));
    let Some(at) = at else { return Ok(None) };
    let user = UserName::parse(app.name.as_str()).map_err(|error| error.at(at.clone()).hint("write `user = \"…\"`"))?;
    Ok(Some(user))
}

impl Context<'_> {
    fn name(&self) -> &str {
        self.app.name.as_str()
    }

    /// The user that something runs as.
    fn user<'u>(&'u self, declared: Option<&'u UserName>) -> Result<&'u UserName> {
        declared.or(self.user.as_ref()).ok_or_else(|| Error::bug("something runs as nobody"))
    }

    /// The name of a user's directories below `/var/lib` and the like. Only one user may own each: systemd would hand
    /// them over with all that is in them at every start.
    fn directory(&self, user: &UserName) -> String {
        match user.as_str() == self.name() {
            true => self.name().to_owned(),
            false => format!("{}-{user}", self.name()),
        }
    }

    /// All users that something runs as, each once.
    fn runners(&self) -> Result<Vec<&UserName>> {
        let app = self.app;
        let declared = app
            .services
            .iter()
            .map(|service| &service.process.user)
            .chain(app.timers.iter().map(|timer| &timer.process.user))
            .chain(app.crons.iter().map(|cron| &cron.user));
        let mut users = declared.map(|user| self.user(user.as_ref())).collect::<Result<Vec<_>>>()?;
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// Whose the logs are: the user in whose directory they lie, else root.
    fn owner_of(&self, logs: &[InstallPath]) -> Result<String> {
        for user in self.runners()? {
            let directory = InstallPath::parse(&format!("/var/log/{}", self.directory(user)))?;
            if logs.iter().any(|path| path.below(&directory).is_some()) {
                return Ok(user.to_string());
            }
        }
        Ok("root".to_owned())
    }

    /// The directories of all of them.
    fn state(&self) -> Result<Vec<InstallPath>> {
        let mut all = Vec::new();
        for user in self.runners()? {
            for base in ["/run", "/var/cache", "/var/lib", "/var/log"] {
                all.push(InstallPath::parse(&format!("{base}/{}", self.directory(user)))?);
            }
        }
        Ok(all)
    }

    /// The name of a part's unit without its type, e.g. `shop-web`.
    fn unit(&self, part: &PartName) -> String {
        format!("{}-{part}", self.name())
    }

    /// The variable `PATH` of everything that runs: the release's own programs first.
    fn path(&self) -> String {
        format!("{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.prefix)
    }
}

/// Files that are made, before they are in the tree.
#[derive(Debug, Default)]
struct Files(Vec<(InstallPath, Entry)>);

impl Files {
    /// Adds a file that an upgrade replaces; `label` says where it comes from.
    fn add(&mut self, path: &str, label: &str, text: String) -> Result<()> {
        self.0.push((InstallPath::parse(path)?, entry(label, text)));
        Ok(())
    }

    /// Adds a file below `/etc` that is the administrator's once it is there.
    fn add_config(&mut self, path: &str, label: &str, text: String) -> Result<()> {
        self.0.push((InstallPath::parse(path)?, entry(label, text).config()));
        Ok(())
    }

    /// Adds a program.
    fn add_program(&mut self, path: InstallPath, label: &str, text: &str) {
        self.0.push((path, Entry { mode: 0o755, ..entry(label, text.to_owned()) }));
    }

    fn insert_into(self, tree: &mut Tree) -> Result<()> {
        let refused: Vec<Error> =
            self.0.into_iter().filter_map(|(path, entry)| tree.insert(path, entry).err()).collect();
        Error::all(refused).map_or(Ok(()), Err)
    }
}

fn entry(label: &str, text: String) -> Entry {
    let origin = Arc::new(Origin { label: label.to_owned(), layer: None });
    Entry::file(Content::memory(text.into_bytes()), 0o644, &origin)
}

/// Renders one of our own templates.
fn render(template: &str, values: minijinja::Value) -> Result<String> {
    let mut environment = minijinja::Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment.render_str(template, values).map_err(|error| Error::bug("a template has a mistake").cause(error))
}

/// The reader of environment files that cron jobs go through, below the prefix.
fn environment_reader() -> Result<ReleasePath> {
    ReleasePath::parse(".pkgapp/with-environment")
}
