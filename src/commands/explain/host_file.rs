//! The files on hosts that a configuration describes, and the keys behind each.

use pkgapp_config::{Config, dotted_key};

/// Keys of a service that only its socket's unit shows.
const OF_SOCKETS: [&str; 3] = ["socket", "socket-group", "socket-mode"];

/// Keys of a timer that its own unit shows, rather than its service's.
const OF_TIMERS: [&str; 3] = ["calendar", "persistent", "randomized-delay"];

/// Keys of the application that stand in every unit.
const OF_UNITS: [&str; 5] = [
    "app.name",
    "app.homepage",
    "app.writable",
    "package.prefix",
    "package.targets",
];

/// A file on hosts.
pub(super) struct HostFile {
    pub(super) path: String,
    /// Keys and tables whose values stand in it.
    keys: Vec<String>,
    /// Keys of these tables that do not.
    except: Vec<String>,
}

impl HostFile {
    fn new(path: String, keys: Vec<String>) -> Self {
        Self {
            path,
            keys,
            except: Vec::new(),
        }
    }

    /// Returns whether a value stands in the file.
    pub(super) fn shows(&self, key: &str) -> bool {
        let is_below = |table: &String| {
            key.strip_prefix(table.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.keys.iter().any(is_below) && !self.except.iter().any(is_below)
    }
}

/// Returns all files that the configuration describes.
pub(super) fn host_files(app: &Config) -> Vec<HostFile> {
    let name = app.name.as_str();
    let mut files = Vec::new();
    for service in &app.services {
        let part = service.name.as_str();
        add_service(app, part, service.instances.is_some(), &mut files);
    }
    for timer in &app.timers {
        add_timer(app, timer.name.as_str(), &mut files);
    }
    if !files.is_empty() {
        files.push(HostFile::new(
            unit(app, ".target"),
            vec!["app.name".to_owned()],
        ));
    }
    if !app.crons.is_empty() {
        let keys = ["cron", "package.prefix"].map(str::to_owned).to_vec();
        files.push(HostFile::new(format!("/etc/cron.d/{name}"), keys));
    }
    if app.logrotate.is_some() {
        let keys = vec!["logrotate".to_owned()];
        files.push(HostFile::new(format!("/etc/logrotate.d/{name}"), keys));
    }
    for config in &app.configs {
        let path = format!("/etc/{name}/{}", config.name.as_str());
        let key = dotted_key("config", config.name.as_str());
        files.push(HostFile::new(path, vec![key]));
    }
    files.extend(
        app.settings_file()
            .map(|file| HostFile::new(file.to_string(), vec!["settings".to_owned()])),
    );
    for kind in ["sysusers", "tmpfiles"] {
        files.push(HostFile::new(
            format!("/usr/lib/{kind}.d/{name}.conf"),
            accounts(app),
        ));
    }
    files
}

fn add_service(app: &Config, part: &str, has_instances: bool, files: &mut Vec<HostFile>) {
    let table = dotted_key("service", part);
    let end = if has_instances {
        "@.service"
    } else {
        ".service"
    };
    let mut keys = OF_UNITS.map(str::to_owned).to_vec();
    keys.push(table.clone());
    let mut file = HostFile::new(unit(app, &format!("-{part}{end}")), keys);
    file.except = OF_SOCKETS.map(|key| dotted_key(&table, key)).to_vec();
    files.push(file);
    if app
        .services
        .iter()
        .any(|service| service.name.as_str() == part && service.socket.is_some())
    {
        let mut keys = OF_SOCKETS.map(|key| dotted_key(&table, key)).to_vec();
        keys.extend(["user", "group", "restart"].map(|key| dotted_key(&table, key)));
        keys.push("app.name".to_owned());
        files.push(HostFile::new(unit(app, &format!("-{part}.socket")), keys));
    }
}

fn add_timer(app: &Config, part: &str, files: &mut Vec<HostFile>) {
    let table = dotted_key("timer", part);
    let own = OF_TIMERS.map(|key| dotted_key(&table, key)).to_vec();
    let mut keys = OF_UNITS.map(str::to_owned).to_vec();
    keys.push(table);
    let mut service = HostFile::new(unit(app, &format!("-{part}.service")), keys);
    service.except = own.clone();
    files.push(service);
    let mut keys = own;
    keys.push("app.name".to_owned());
    files.push(HostFile::new(unit(app, &format!("-{part}.timer")), keys));
}

fn unit(app: &Config, end: &str) -> String {
    format!("/usr/lib/systemd/system/{}{end}", app.name)
}

/// The keys that name users and groups.
fn accounts(app: &Config) -> Vec<String> {
    let services = app
        .services
        .iter()
        .map(|service| ("service", service.name.as_str()));
    let timers = app
        .timers
        .iter()
        .map(|timer| ("timer", timer.name.as_str()));
    let crons = app.crons.iter().map(|cron| ("cron", cron.name.as_str()));
    let configs = app
        .configs
        .iter()
        .map(|file| ("config", file.name.as_str()));
    let parts = services.chain(timers).chain(crons).chain(configs);
    let keys = parts.flat_map(|(group, part)| {
        let table = dotted_key(group, part);
        ["user", "group", "owner"].map(|key| dotted_key(&table, key))
    });
    keys.collect()
}
