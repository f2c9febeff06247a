//! The files on hosts that a configuration describes, and the keys behind each.

use pkgapp_config::{Config, PartName, ProcessSettings, Service, dotted_key};

/// Keys of a service that only its socket's unit shows.
const OF_SOCKETS: [&str; 3] = ["socket", "socket-group", "socket-mode"];

/// Keys of a service that its socket's unit shows, too.
const OF_BOTH: [&str; 3] = ["user", "group", "restart"];

/// Keys of a timer that its own unit shows, rather than its service's.
const OF_TIMERS: [&str; 3] = ["calendar", "persistent", "randomized-delay"];

/// Keys that name accounts.
const OF_ACCOUNTS: [&str; 3] = ["user", "group", "owner"];

/// Keys of the application that stand in every unit.
const OF_UNITS: [&str; 5] = [
    "app.name",
    "app.homepage",
    "app.writable",
    "package.prefix",
    "package.targets",
];

/// Keys of the application that stand in units for monitoring.
const OF_MONITORS: [&str; 2] = ["app.name", "package.prefix"];

/// Keys of a service that the unit which asks it shows.
const OF_HEALTH: [&str; 4] = ["health", "socket", "user", "group"];

/// Keys of a service or timer that the unit for its failures shows.
const OF_FAILURES: [&str; 5] = ["on-failure", "user", "group", "env", "environment-file"];

/// A file on hosts.
pub(super) struct HostFile {
    pub(super) path: String,
    /// Keys and tables whose values stand in it.
    keys: Vec<String>,
    /// Keys of these tables that do not.
    except: Vec<String>,
}

impl HostFile {
    fn new(path: String) -> Self {
        Self {
            path,
            keys: Vec::new(),
            except: Vec::new(),
        }
    }

    fn of_unit(app: &Config, end: &str) -> Self {
        let name = &app.name;
        Self::new(format!("/usr/lib/systemd/system/{name}{end}"))
    }

    /// Adds keys or tables of the whole configuration.
    fn with(mut self, keys: &[&str]) -> Self {
        let keys = keys.iter().copied();
        self.keys.extend(keys.map(str::to_owned));
        self
    }

    /// Adds keys of a table.
    fn with_keys(mut self, table: &str, keys: &[&str]) -> Self {
        let keys = keys.iter();
        let keys = keys.map(|key| dotted_key(table, key));
        self.keys.extend(keys);
        self
    }

    /// Leaves out keys of a table.
    fn without_keys(mut self, table: &str, keys: &[&str]) -> Self {
        let keys = keys.iter();
        let keys = keys.map(|key| dotted_key(table, key));
        self.except.extend(keys);
        self
    }

    /// Returns whether a value stands in the file.
    pub(super) fn shows(&self, key: &str) -> bool {
        let is_below = |table: &String| {
            let rest = key.strip_prefix(table.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_left_out = self.except.iter().any(is_below);
        !is_left_out && self.keys.iter().any(is_below)
    }
}

/// Returns all files that the configuration describes.
pub(super) fn host_files(app: &Config) -> Vec<HostFile> {
    let mut files = Vec::new();
    for service in &app.services {
        add_service(app, service, &mut files);
    }
    for timer in &app.timers {
        add_timer(app, &timer.name, &mut files);
    }
    add_monitoring(app, &mut files);
    if !files.is_empty() {
        let target = HostFile::of_unit(app, ".target");
        files.push(target.with(&["app.name"]));
    }
    add_configuration(app, &mut files);
    add_site(app, &mut files);
    if let Some(file) = app.settings_file() {
        files.push(HostFile::new(file.to_string()).with(&["settings"]));
    }
    for kind in ["sysusers", "tmpfiles"] {
        let path = format!("/usr/lib/{kind}.d/{}.conf", app.name);
        files.push(with_accounts(app, HostFile::new(path)));
    }
    files
}

/// Adds the unit of a service, and its socket.
fn add_service(app: &Config, service: &Service, files: &mut Vec<HostFile>) {
    let part = service.name.as_str();
    let table = dotted_key("service", part);
    let end = match service.instances {
        Some(_) => format!("-{part}@.service"),
        None => format!("-{part}.service"),
    };
    let unit = HostFile::of_unit(app, &end);
    let unit = unit
        .with(&OF_UNITS)
        .with(&[&table])
        .without_keys(&table, &OF_SOCKETS);
    files.push(unit);

    if service.socket.is_some() {
        let socket = HostFile::of_unit(app, &format!("-{part}.socket"));
        let socket = socket
            .with(&["app.name"])
            .with_keys(&table, &OF_SOCKETS)
            .with_keys(&table, &OF_BOTH);
        files.push(socket);
    }
}

/// Adds the unit of a timer, and of its service.
fn add_timer(app: &Config, part: &PartName, files: &mut Vec<HostFile>) {
    let part = part.as_str();
    let table = dotted_key("timer", part);
    let service = HostFile::of_unit(app, &format!("-{part}.service"));
    let service = service
        .with(&OF_UNITS)
        .with(&[&table])
        .without_keys(&table, &OF_TIMERS);
    files.push(service);

    let timer = HostFile::of_unit(app, &format!("-{part}.timer"));
    let timer = timer.with(&["app.name"]).with_keys(&table, &OF_TIMERS);
    files.push(timer);
}

/// Adds the units that ask services, run commands for failures, and write metrics.
fn add_monitoring(app: &Config, files: &mut Vec<HostFile>) {
    for service in &app.services {
        if service.health.as_ref().is_some_and(|health| health.restart) {
            let table = dotted_key("service", service.name.as_str());
            for end in ["service", "timer"] {
                let unit = HostFile::of_unit(app, &format!("-{}-health.{end}", service.name));
                files.push(unit.with(&OF_MONITORS).with_keys(&table, &OF_HEALTH));
            }
        }
        add_failure(app, "service", &service.name, &service.process, files);
    }
    for timer in &app.timers {
        add_failure(app, "timer", &timer.name, &timer.process, files);
    }
    if app.metrics.is_some() {
        for end in ["service", "timer"] {
            let unit = HostFile::of_unit(app, &format!("-metrics.{end}"));
            files.push(unit.with(&OF_MONITORS).with(&["metrics"]));
        }
    }
}

/// Adds the unit that runs the `on-failure` of a service or timer.
fn add_failure(
    app: &Config,
    group: &str,
    part: &PartName,
    process: &ProcessSettings,
    files: &mut Vec<HostFile>,
) {
    if process.on_failure.is_some() {
        let table = dotted_key(group, part.as_str());
        let unit = HostFile::of_unit(app, &format!("-{part}-failed@.service"));
        files.push(unit.with(&OF_MONITORS).with_keys(&table, &OF_FAILURES));
    }
}

/// Adds the files below `/etc`.
fn add_configuration(app: &Config, files: &mut Vec<HostFile>) {
    let name = &app.name;
    if !app.crons.is_empty() {
        let crontab = HostFile::new(format!("/etc/cron.d/{name}"));
        let keys = ["cron", "package.prefix"];
        files.push(crontab.with(&keys));
    }
    if app.logrotate.is_some() {
        let rotation = HostFile::new(format!("/etc/logrotate.d/{name}"));
        files.push(rotation.with(&["logrotate"]));
    }
    for config in &app.configs {
        let below = config.name.as_str();
        let table = dotted_key("config", below);
        let file = HostFile::new(format!("/etc/{name}/{below}"));
        files.push(file.with(&[&table]));
    }
}

/// Adds the files of the site, where each distribution has them.
fn add_site(app: &Config, files: &mut Vec<HostFile>) {
    let Some(site) = &app.site else { return };
    let proxied = dotted_key("service", site.proxy.name.as_str());
    let places = site.server.places(app.name.as_str());
    let files_of_site = places.into_iter().map(|path| {
        HostFile::new(path)
            .with(&["app.name", "site"])
            .with_keys(&proxied, &["socket"])
    });
    files.extend(files_of_site);
}

/// Adds the keys that name users and groups.
fn with_accounts(app: &Config, mut file: HostFile) -> HostFile {
    let mut tables = Vec::new();
    for service in &app.services {
        tables.push(dotted_key("service", service.name.as_str()));
    }
    for timer in &app.timers {
        tables.push(dotted_key("timer", timer.name.as_str()));
    }
    for cron in &app.crons {
        tables.push(dotted_key("cron", cron.name.as_str()));
    }
    for config in &app.configs {
        tables.push(dotted_key("config", config.name.as_str()));
    }
    for table in tables {
        file = file.with_keys(&table, &OF_ACCOUNTS);
    }
    file
}
