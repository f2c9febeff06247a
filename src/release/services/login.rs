//! Files for a login without root, which replace the package's files outside of the prefix. Only
//! tarballs contain them; a push reads them (`scripts/tarball/fill.sh`).
//!
//! ```text
//! PREFIX/.pkgapp/login/units/            units for the user's systemd
//!                      enabled           the enabled units, in the order in which they start
//!                      crontab           lines for the user's crontab
//!                      etc/              configuration files with paths of the package
//!                      health            the services whose health a push checks
//!                      secrets           files of secrets, below `shared`
//!                      directories       writable directories of services, below `shared`
//!                      environment/      the variables of each service for migrations, as text for sh;
//!                                        UNIT.files lists the service's environment files
//!                      copied            configuration files that a push copies unchanged from `host/`
//!                      filled            files with marks for paths of the host
//! ```
//!
//! A tarball without files outside of the prefix does not have this directory.

use std::collections::BTreeSet;
use std::sync::Arc;

use pkgapp_config::{Config, RotationFrequency};
use pkgapp_core::content::Content;
use pkgapp_core::error::Result;
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::text::shell_quoted;

use super::paths::{INTO, LoginPaths, ServiceScope};
use super::program::ReleasePrograms;
use super::systemd::{self, DIRECTORIES, directory_names};
use super::unit::UnitFile;
use super::{ServiceContext, ServiceUnit, UNITS, cron, logrotate, monitoring, users};
use crate::tree::{EntryOrigin, Tree, TreeEntry};

/// The directory of these files, below the prefix.
const LOGIN: &str = ".pkgapp/login";

/// Returns the files for a login, from the complete tree of a package.
///
/// # Errors
/// Errors of [`super::insert_into`], or a configuration file cannot be read.
pub fn tree(package: &Tree, app: &Config) -> Result<Tree> {
    let context = ServiceContext::of(app)?;
    let is_inside =
        |path: &InstallPath| path == context.prefix || path.below(context.prefix).is_some();
    if package.iter().all(|(path, _)| is_inside(path)) {
        return Ok(Tree::new());
    }
    let directories = OwnDirectories::of(&context)?;
    let paths = LoginPaths::new(context.name(), context.prefix, &directories.names);
    let writer = LoginWriter {
        package,
        programs: ReleasePrograms::of(package, context.prefix),
        context: &context,
        paths: &paths,
    };
    let mut files = LoginFiles::new(context.prefix)?;
    writer.processes(&directories, &mut files)?;
    writer.health(&mut files)?;
    files.list("secrets", &writer.secrets()?)?;
    writer.configuration(&mut files)?;
    writer.environments(&mut files)?;
    files.finish()
}

/// The names of the directories that the application has below `/var/lib` and similar directories.
struct OwnDirectories {
    names: BTreeSet<String>,
    /// Nested directories, and directories of only one kind, e.g. `var/lib/shop/db`.
    deeper: BTreeSet<String>,
}

impl OwnDirectories {
    fn of(context: &ServiceContext<'_>) -> Result<Self> {
        let mut own = Self {
            names: BTreeSet::from([context.name().to_owned()]),
            deeper: BTreeSet::new(),
        };
        for process in context.processes() {
            for (name, value) in systemd::confinement(context, process)? {
                let kind = DIRECTORIES.iter().find(|(setting, ..)| *setting == name);
                for directory in kind.iter().flat_map(|_| directory_names(&value)) {
                    own.add(directory, kind.map_or("", |(_, _, base)| base));
                }
            }
        }
        for cron in &context.app.crons {
            let user = context.user(cron.user.as_ref())?;
            own.names.insert(context.directory(user));
        }
        Ok(own)
    }

    fn add(&mut self, directory: &str, base: &str) {
        if let Some((top, _)) = directory.split_once('/') {
            let base = base.trim_start_matches('/');
            self.names.insert(top.to_owned());
            self.deeper.insert(format!("{base}/{directory}"));
        } else {
            self.names.insert(directory.to_owned());
        }
    }

    /// Returns all directories, relative to the root.
    fn all(&self) -> Vec<String> {
        let of = |name: &String| DIRECTORIES.map(|(_, _, base)| format!("{}/{name}", &base[1..]));
        let names = self.names.iter().flat_map(of);
        names.chain(self.deeper.iter().cloned()).collect()
    }
}

struct LoginWriter<'a> {
    package: &'a Tree,
    programs: ReleasePrograms<'a>,
    context: &'a ServiceContext<'a>,
    paths: &'a LoginPaths,
}

impl LoginWriter<'_> {
    fn scope(&self) -> ServiceScope<'_> {
        ServiceScope::Login(self.paths)
    }

    /// Writes everything that runs: units and crontab, with the directories that they may write to.
    fn processes(&self, directories: &OwnDirectories, files: &mut LoginFiles) -> Result<()> {
        let mut enabled = self.units(files)?;
        enabled.extend(self.logs(files)?);
        let crontab = cron::user_lines(self.context, &self.programs, self.paths)?;
        let runs = !enabled.is_empty() || !crontab.is_empty();
        let writable = if runs { directories.all() } else { Vec::new() };

        files.list("enabled", &enabled)?;
        files.add_filled("crontab", crontab.into_bytes(), 0o644)?;
        files.list("directories", &writable)
    }

    /// Lists the services whose health a push checks, if there are any.
    fn health(&self, files: &mut LoginFiles) -> Result<()> {
        let asked = monitoring::health_list(self.context)?;
        if asked.is_empty() {
            return Ok(());
        }
        files.add_filled("health", self.paths.in_text(&asked).into_bytes(), 0o644)
    }

    /// Writes the units; returns the enabled ones.
    fn units(&self, files: &mut LoginFiles) -> Result<Vec<String>> {
        let mut enabled = Vec::new();
        for made in systemd::units(self.context, &self.programs, self.scope())? {
            files.add_unit(&made.unit.file, made.text)?;
            enabled.extend(made.unit.names);
        }
        Ok(enabled)
    }

    /// Writes the configuration of logrotate and the timer that runs it, with a state file of its
    /// own; returns the enabled unit.
    fn logs(&self, files: &mut LoginFiles) -> Result<Option<String>> {
        let (context, app) = (self.context, self.context.app);
        let Some(logs) = &app.logrotate else {
            return Ok(None);
        };
        let name = context.name();
        let text = logrotate::text(context, logs, self.scope())?;
        files.add_filled(&format!("etc/logrotate.d/{name}"), text.into_bytes(), 0o644)?;

        // A service or timer of the application with this name takes precedence.
        let mut parts = app.services.iter().map(|service| &service.name);
        let mut timers = app.timers.iter().map(|timer| &timer.name);
        if parts.any(|part| part.as_str() == "logrotate")
            || timers.any(|part| part.as_str() == "logrotate")
        {
            return Ok(None);
        }
        files.add_unit(&format!("{name}-logrotate.service"), self.rotation())?;
        let often = match logs.frequency {
            RotationFrequency::Hourly => "hourly",
            _ => "daily",
        };
        let timer = format!("{name}-logrotate.timer");
        files.add_unit(&timer, self.rotation_timer(often))?;
        Ok(Some(timer))
    }

    fn rotation(&self) -> String {
        let name = self.context.name();
        let mut unit = UnitFile::new(self.scope());
        unit.section("Unit")
            .set("Description", format!("{name}: rotation of its logs"));
        unit.section("Service").set("Type", "oneshot");
        unit.set_as_is(
            "ExecStart",
            format!(
                "/bin/sh -c 'PATH=$$PATH:/usr/sbin:/sbin exec logrotate --state \
                 \"{INTO}/.pkgapp/logrotate.status\" \"{INTO}/shared/etc/logrotate.d/{name}\"'"
            ),
        );
        unit.text()
    }

    fn rotation_timer(&self, often: &str) -> String {
        let (name, app) = (self.context.name(), self.context.app);
        // Without any other unit, there is no target.
        let target =
            (!app.services.is_empty() || !app.timers.is_empty()).then(|| format!("{name}.target"));
        let mut unit = UnitFile::new(self.scope());
        unit.section("Unit")
            .set("Description", format!("{name}: when its logs are rotated"))
            .set_all("PartOf", target.as_ref());
        unit.section("Timer")
            .set("OnCalendar", often)
            .set("Persistent", "yes");
        unit.section("Install")
            .set("WantedBy", target.as_deref().unwrap_or("timers.target"));
        unit.text()
    }

    /// Returns the files of secrets.
    fn secrets(&self) -> Result<Vec<String>> {
        let secrets = users::secrets(self.context)?.into_iter();
        Ok(secrets
            .filter(|secret| self.package.get(&secret.path).is_none())
            .map(|secret| below_root(&secret.path).to_owned())
            .collect())
    }

    /// Writes configuration files that contain paths of the package, and lists those that do not.
    /// Files with NUL characters are not text, so they stay unchanged.
    fn configuration(&self, files: &mut LoginFiles) -> Result<()> {
        for (path, entry, content) in self.package.files() {
            let place = below_root(path);
            let ours = ["etc/cron.d/", "etc/logrotate.d/"];
            if !place.starts_with("etc/") || ours.iter().any(|ours| place.starts_with(ours)) {
                continue;
            }
            let shipped = content.read()?;
            let led = self.paths.in_bytes(&shipped);
            if shipped.contains(&0) || led == shipped {
                files.copied.push(place.to_owned());
            } else {
                files.add_filled(place, led, entry.mode)?;
            }
        }
        Ok(())
    }

    /// Returns the variables with the paths of secrets that are files. The login reads its own.
    fn credentials(&self) -> impl Iterator<Item = (String, String)> {
        let directory = super::credentials_directory(self.context.name());
        let credentials = self.context.app.credentials();
        credentials.filter_map(move |setting| {
            let path = format!("{directory}/{}", setting.name);
            setting.file_variable().map(|variable| (variable, path))
        })
    }

    /// Writes the settings that a migration takes over from each service's unit.
    fn environments(&self, files: &mut LoginFiles) -> Result<()> {
        for (path, _, content) in self.package.files() {
            let Some(file) = path.as_str().strip_prefix(UNITS) else {
                continue;
            };
            if !file.ends_with(".service") {
                continue;
            }
            let text = content.read()?;
            let unit = ServiceUnit::parse(file, &String::from_utf8_lossy(&text));
            let export = |(name, value): (String, String)| {
                let value = shell_quoted(&self.paths.in_text(&value));
                format!("export {name}={value}\n")
            };
            let mut variables = unit.environment();
            variables.extend(self.credentials());
            let exports: String = variables.into_iter().map(export).collect();
            let named = unit.environment_files().into_iter();
            let named: Vec<String> = named.map(|file| self.paths.in_text(&file)).collect();
            files.add(&format!("environment/{}", unit.file), exports.into(), 0o644)?;
            files.list(&format!("environment/{}.files", unit.file), &named)?;
        }
        Ok(())
    }
}

/// Returns a path without its first slash.
fn below_root(path: &InstallPath) -> &str {
    path.as_str().trim_start_matches('/')
}

/// The generated files for a login.
struct LoginFiles {
    tree: Tree,
    root: InstallPath,
    origin: Arc<EntryOrigin>,
    filled: Vec<String>,
    copied: Vec<String>,
}

impl LoginFiles {
    fn new(prefix: &InstallPath) -> Result<Self> {
        Ok(Self {
            tree: Tree::new(),
            root: prefix.join(&ReleasePath::parse(LOGIN)?),
            origin: Arc::new(EntryOrigin {
                label: "the files for a login without root".to_owned(),
                layer: None,
            }),
            filled: Vec::new(),
            copied: Vec::new(),
        })
    }

    fn add(&mut self, place: &str, bytes: Vec<u8>, mode: u32) -> Result<()> {
        let path = self.root.join(&ReleasePath::parse(place)?);
        let entry = TreeEntry::file(Content::memory(bytes), mode, &self.origin);
        self.tree.insert(path, entry)
    }

    /// Adds a file with marks.
    fn add_filled(&mut self, place: &str, bytes: Vec<u8>, mode: u32) -> Result<()> {
        self.filled.push(place.to_owned());
        self.add(place, bytes, mode)
    }

    fn add_unit(&mut self, file: &str, text: String) -> Result<()> {
        self.add_filled(&format!("units/{file}"), text.into_bytes(), 0o644)
    }

    /// Adds a file with one item per line.
    fn list(&mut self, place: &str, items: &[String]) -> Result<()> {
        let text: String = items.iter().map(|item| format!("{item}\n")).collect();
        self.add(place, text.into_bytes(), 0o644)
    }

    fn finish(mut self) -> Result<Tree> {
        let (filled, copied) = (
            std::mem::take(&mut self.filled),
            std::mem::take(&mut self.copied),
        );
        self.list("copied", &copied)?;
        self.list("filled", &filled)?;
        Ok(self.tree)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tree::UpgradeRole;
    use crate::{conffiles, services};

    const RICH: &str = r#"
[app]
name = "shop"
version = "1.0"
include = ["shop.env"]
[python]
version = "3.11"
[package]
prefix = "/srv/x.y/shop"

[config."shop.env"]
source = "shop.env"
mode = "0640"
[config."plain.toml"]
source = "plain.toml"
[config."blob"]
source = "blob"

[service.web]
exec = "web --log /var/log/shop/a.log --old /srv/x.y/shop-data --take 50% {pkgapp:into}"
type = "notify"
socket = "/run/shop/web.sock"
socket-group = "www-data"
reload = "HUP"
instances = 2
env = { CACHE = "/var/cache/shop/é", PIPE = "/run/shop/pipe" }
environment-file = ["/etc/shop/shop.env", "/etc/shop/secrets.env", "/etc/default/shop"]
write = ["/srv/up loads"]
after = ["network-online.target", "redis.service"]
wants = ["network-online.target"]
relax = ["SystemCallFilter"]
systemd = { MemoryMax = "500M", PrivateUsers = "yes", StateDirectory = "shop shop/db more", ExecStartPre = "/srv/x.y/shop/bin/web check" }

[service.beat]
exec = "web beat"
user = "ada"
on-upgrade = "keep"

[timer.report]
exec = "web report"
calendar = "daily"

[cron.purge]
exec = "web purge --older 50% /var/lib/shop"
schedule = "*/5 * * * 1-5"
environment-file = "/etc/shop/cron.env"
[cron.mail]
exec = "web mail"
schedule = "@daily"
mailto = "ops@example.com"

[logrotate]
paths = ["/var/log/shop/*.log", "/var/log/shop-ada/*.log", "/srv/elsewhere/*.log"]
frequency = "hourly"
"#;

    /// Loads a configuration, and returns it with the tree of its package.
    fn package(text: &str) -> (tempfile::TempDir, Config, Tree) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("pkgapp.toml", text.as_bytes()),
            (
                "shop.env",
                b"DB=/var/lib/shop/db\nSOCKET=/run/shop/s\nBRACE={pkgapp:into}\n",
            ),
            ("plain.toml", b"other = \"/var/lib/shops\""),
            ("blob", b"\0/var/lib/shop"),
        ] {
            fs_err::write(directory.path().join(name), text).unwrap();
        }
        let app = Config::load(None, directory.path()).unwrap();
        let mut tree = Tree::new();
        let origin = Arc::new(EntryOrigin {
            label: "a test".to_owned(),
            layer: None,
        });
        let program = app
            .package
            .prefix
            .value
            .join(&ReleasePath::parse("bin/web").unwrap());
        let entry = TreeEntry::file(Content::memory(*b"#!/bin/sh\n"), 0o755, &origin);
        tree.insert(program, entry).unwrap();
        conffiles::insert_into(&mut tree, &app).unwrap();
        services::insert_into(&mut tree, &app).unwrap();
        (directory, app, tree)
    }

    /// Returns the files for a login by place.
    fn login(text: &str) -> BTreeMap<String, String> {
        let (_directory, app, package) = package(text);
        let root = app
            .package
            .prefix
            .value
            .join(&ReleasePath::parse(LOGIN).unwrap());
        let made = tree(&package, &app).unwrap();
        made.files()
            .map(|(path, entry, content)| {
                assert_eq!(entry.role, UpgradeRole::Payload, "{path}");
                let text = String::from_utf8(content.read().unwrap()).unwrap();
                (path.below(&root).unwrap().to_string(), text)
            })
            .collect()
    }

    #[test]
    fn units_of_a_login_have_what_it_may_set_and_its_own_places() {
        let files = login(RICH);
        let head = "# Made by pkgapp. Change it with `systemctl --user edit`: an upgrade replaces this file.\n\
                    # pkgapp: {pkgapp:into}\n";
        let web = "
[Unit]
Description=shop web %i
PartOf=shop.target
After=redis.service
StartLimitIntervalSec=0
Requires=shop-web.socket
After=shop-web.socket

[Service]
Type=notify
ExecStart={pkgapp:current}/bin/web --log {pkgapp:into}/shared/var/log/shop/a.log --old /srv/x.y/shop-data \
            --take 50%% \"{pkgapp:brace}pkgapp:into}\"
WorkingDirectory={pkgapp:current}
Environment=CACHE={pkgapp:into}/shared/var/cache/shop/é
Environment=PATH={pkgapp:current}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=PIPE=%t/shop/pipe
Environment=PKGAPP_CONFIGURED={pkgapp:current}
Environment=PYTHONUNBUFFERED=1
Environment=INSTANCE=%i
EnvironmentFile={pkgapp:into}/shared/etc/shop/shop.env
EnvironmentFile={pkgapp:into}/shared/etc/shop/secrets.env
EnvironmentFile=-/etc/default/shop
ExecReload=/bin/kill -s HUP $MAINPID
Sockets=shop-web.socket
Restart=on-failure
RestartSec=5s
KillMode=mixed
Environment=CACHE_DIRECTORY={pkgapp:into}/shared/var/cache/shop
Environment=LOGS_DIRECTORY={pkgapp:into}/shared/var/log/shop
RuntimeDirectory=shop
RuntimeDirectoryPreserve=yes
NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
UMask=0027
ExecStartPre={pkgapp:current}/bin/web check
MemoryMax=500M
Environment=STATE_DIRECTORY={pkgapp:into}/shared/var/lib/shop:{pkgapp:into}/shared/var/lib/shop/db:{pkgapp:into}/shared/var/lib/more

[Install]
WantedBy=shop.target
";
        similar_asserts::assert_eq!(files["units/shop-web@.service"], format!("{head}{web}"));
        let socket = "
[Unit]
Description=shop web socket
PartOf=shop.target
StartLimitIntervalSec=0

[Socket]
ListenStream=%t/shop/web.sock
SocketMode=0660
TriggerLimitIntervalSec=0
Service=shop-web@1.service

[Install]
WantedBy=shop.target
";
        similar_asserts::assert_eq!(files["units/shop-web.socket"], format!("{head}{socket}"));
        let beat = &files["units/shop-beat.service"];
        for line in [
            "X-Pkgapp-OnUpgrade=keep",
            "Environment=STATE_DIRECTORY={pkgapp:into}/shared/var/lib/shop-ada",
            "RuntimeDirectory=shop-ada",
            "SystemCallFilter=@system-service",
        ] {
            assert!(beat.lines().any(|its| its == line), "{line}: {beat}");
        }
        assert!(files["units/shop.target"].ends_with("\n[Install]\nWantedBy=default.target\n"));
        assert!(files["units/shop-report.timer"].contains("\nOnCalendar=daily\n"));
    }

    #[test]
    fn what_belongs_to_units_is_what_a_login_can_have() {
        let files = login(RICH);
        assert_eq!(
            files["enabled"],
            "shop-web.socket\nshop-web@1.service\nshop-web@2.service\nshop-beat.service\n\
             shop-report.timer\nshop.target\nshop-logrotate.timer\n"
        );
        let path = "PATH={pkgapp:current}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH;";
        let there =
            "[ -e {pkgapp:current}/.pkgapp/release.json ] || exit 0; cd {pkgapp:current} &&";
        let crontab = format!(
            "*/5 * * * 1-5 {path} {there} PKGAPP_CONFIGURED={{pkgapp:current}} {{pkgapp:current}}/.pkgapp/with-environment \
             {{pkgapp:into}}/shared/etc/shop/cron.env -- {{pkgapp:current}}/bin/web purge --older 50\\% \
             {{pkgapp:into}}/shared/var/lib/shop\n\
             MAILTO=\"ops@example.com\"\n@daily {path} {there} {{pkgapp:current}}/bin/web mail\n"
        );
        similar_asserts::assert_eq!(files["crontab"], crontab);
        assert_eq!(
            files["secrets"],
            "etc/shop/cron.env\netc/shop/secrets.env\n"
        );
        let kinds = ["lib", "cache", "log"];
        let of = |name: &&str| kinds.map(|kind| format!("var/{kind}/{name}\n")).concat();
        let directories: String = ["more", "shop", "shop-ada"].iter().map(of).collect();
        assert_eq!(files["directories"], directories + "var/lib/shop/db\n");
        let logs = "\
# Made by pkgapp. Changes to this file survive upgrades; the new one is then put beside it.
\"{pkgapp:into}/shared/var/log/shop/*.log\"
\"{pkgapp:into}/shared/var/log/shop-ada/*.log\"
{
    hourly
    rotate 14
    missingok
    notifempty
    compress
    delaycompress
    create 0640
    sharedscripts
    postrotate
        if systemctl --user --quiet is-active shop-web@1.service; then systemctl --user reload shop-web@1.service; fi
        if systemctl --user --quiet is-active shop-web@2.service; then systemctl --user reload shop-web@2.service; fi
    endscript
}
\"/srv/elsewhere/*.log\"
{
    hourly
    rotate 14
    missingok
    notifempty
    compress
    delaycompress
    create
    sharedscripts
    postrotate
        if systemctl --user --quiet is-active shop-web@1.service; then systemctl --user reload shop-web@1.service; fi
        if systemctl --user --quiet is-active shop-web@2.service; then systemctl --user reload shop-web@2.service; fi
    endscript
}
";
        similar_asserts::assert_eq!(files["etc/logrotate.d/shop"], logs);
        let rotation = "ExecStart=/bin/sh -c 'PATH=$$PATH:/usr/sbin:/sbin exec logrotate \
            --state \"{pkgapp:into}/.pkgapp/logrotate.status\" \"{pkgapp:into}/shared/etc/logrotate.d/shop\"'";
        let service = &files["units/shop-logrotate.service"];
        assert!(service.lines().any(|line| line == rotation), "{service}");
        assert!(files["units/shop-logrotate.timer"].contains(
            "PartOf=shop.target\n\n[Timer]\nOnCalendar=hourly\nPersistent=yes\n\n[Install]\nWantedBy=shop.target\n"
        ));
    }

    #[test]
    fn configuration_has_the_paths_of_the_login_where_it_has_any() {
        let files = login(RICH);
        assert_eq!(
            files["etc/shop/shop.env"],
            "DB={pkgapp:into}/shared/var/lib/shop/db\nSOCKET={pkgapp:runtime}/shop/s\n\
             BRACE={pkgapp:brace}pkgapp:into}\n"
        );
        assert_eq!(files["copied"], "etc/shop/blob\netc/shop/plain.toml\n");
        // The list contains exactly the files with marks, except for those that migrations fill in
        // themselves.
        let has_marks = |(place, text): (&String, &String)| {
            let is_filled_later = place.starts_with("environment/");
            (text.contains("{pkgapp:") && !is_filled_later).then(|| place.clone())
        };
        let mut filled: Vec<&str> = files["filled"].lines().collect();
        filled.sort_unstable();
        assert_eq!(
            filled,
            files.iter().filter_map(has_marks).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_migration_finds_the_variables_of_each_service() {
        let files = login(RICH);
        let path =
            "'{pkgapp:current}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'";
        assert_eq!(
            files["environment/shop-web@.service"],
            format!(
                "export CACHE='{{pkgapp:into}}/shared/var/cache/shop/é'\nexport PATH={path}\n\
                 export PIPE='{{pkgapp:runtime}}/shop/pipe'\n\
                 export PKGAPP_CONFIGURED='{{pkgapp:current}}'\nexport PYTHONUNBUFFERED=1\n"
            )
        );
        assert_eq!(
            files["environment/shop-web@.service.files"],
            "{pkgapp:into}/shared/etc/shop/shop.env\n{pkgapp:into}/shared/etc/shop/secrets.env\n/etc/default/shop\n"
        );
        assert_eq!(files["environment/shop-report.service.files"], "");
    }

    #[test]
    fn the_applications_own_part_comes_before_the_rotation_of_ours() {
        let app = "[app]\nname = \"shop\"\nversion = \"1\"\ninclude = [\"blob\"]\n[python]\nversion = \"3.11\"\n";
        let logs = "[logrotate]\npaths = [\"/var/log/shop/a\"]\ncopytruncate = true\n";
        let cron = "[cron.a]\nexec = \"web\"\nschedule = \"@daily\"\n";
        let files = login(&format!("{app}{logs}{cron}"));
        assert_eq!(files["enabled"], "shop-logrotate.timer\n");
        let timer = &files["units/shop-logrotate.timer"];
        assert!(
            timer.ends_with("WantedBy=timers.target\n") && !timer.contains("PartOf"),
            "there is no target: {timer}"
        );
        for part in [
            "[service.logrotate]\nexec = \"web\"\n",
            "[timer.logrotate]\nexec = \"web\"\ncalendar = \"daily\"\n",
        ] {
            let files = login(&format!("{app}{logs}{part}"));
            let service = &files["units/shop-logrotate.service"];
            assert!(service.contains("/bin/web\n"), "{service}");
            assert_eq!(files["enabled"].matches("logrotate").count(), 1);
        }
    }

    /// systemd 247 passes the first file on, and later ones pass the second; a login reads its own.
    #[test]
    fn secrets_that_are_files_come_with_the_variables_of_their_paths() {
        let text = r#"
[app]
name = "shop"
version = "1"
include = ["blob"]
[python]
version = "3.11"
[settings.SHOP_CERT]
type = "secret"
deliver = "file"
[service.web]
exec = "web"
instances = 2
[timer.report]
exec = "web"
calendar = "daily"
"#;
        let (_directory, _, package) = package(text);
        for unit in ["shop-web@.service", "shop-report.service"] {
            let path = InstallPath::parse(&format!("{UNITS}/{unit}")).unwrap();
            let (_, _, content) = package.files().find(|(its, ..)| **its == path).unwrap();
            let unit = String::from_utf8(content.read().unwrap()).unwrap();
            let lines = "\nLoadCredential=SHOP_CERT:/etc/shop/credentials/SHOP_CERT\n\
                LoadCredentialEncrypted=SHOP_CERT:shop.SHOP_CERT\n\
                Environment=SHOP_CERT_FILE=%t/credentials/%n/SHOP_CERT\n";
            assert!(unit.contains(lines), "{unit}");
        }

        let files = login(text);
        let place = "{pkgapp:into}/shared/etc/shop/credentials/SHOP_CERT";
        let unit = &files["units/shop-web@.service"];
        assert!(
            unit.contains(&format!("\nEnvironment=SHOP_CERT_FILE={place}\n"))
                && !unit.contains("LoadCredential"),
            "{unit}"
        );
        let export = format!("export SHOP_CERT_FILE={}\n", shell_quoted(place));
        assert!(files["environment/shop-web@.service"].contains(&export));
    }

    #[test]
    fn a_release_without_files_elsewhere_has_nothing_for_a_login() {
        let app = "[app]\nname = \"shop\"\nversion = \"1\"\ninclude = [\"blob\"]\n[python]\nversion = \"3.11\"\n";
        assert_eq!(login(app), BTreeMap::new());
        let files = login(&format!("{app}[config.\"x\"]\nsource = \"shop.env\"\n"));
        assert_eq!(
            (files["enabled"].as_str(), files["directories"].as_str()),
            ("", "")
        );
    }
}
