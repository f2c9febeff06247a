//! The changes by which one installation of an application differs from the declaration of its
//! software: a name of its own, its addresses, and the parts of it that a kind of hosts has.

use std::collections::{BTreeMap, BTreeSet};

use pkgapp_core::name::AppName;

use super::document::{DocumentItem, DocumentTable, DocumentValue};
use super::service::{LogReopen, PartName};
use super::site::{DomainName, UpstreamHost};
use super::{Config, ConfigDraft};

/// Changes of a declaration before it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclarationChanges {
    /// The name of the installation, which hosts use for units, users, and directories. The paths
    /// below `/etc`, `/var`, and `/run` with the old name have the new one then.
    pub name: Option<AppName>,
    /// The domains of the site.
    pub domains: Vec<DomainName>,
    /// The addresses at which systemd listens for services.
    pub sockets: BTreeMap<PartName, String>,
    /// How many of a service run.
    pub instances: BTreeMap<PartName, u32>,
}

/// The parts of an application that a host has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacedParts {
    /// Its services, timers, and cron jobs.
    pub names: BTreeSet<PartName>,
    /// The hosts that answer for its site; none if it has no site there.
    pub upstreams: Vec<UpstreamHost>,
    /// Whether it has the site.
    pub has_site: bool,
    /// Variables for everything that runs.
    pub variables: BTreeMap<String, String>,
}

/// The directories in which hosts have one of the name of an application.
const DIRECTORIES: [&str; 6] = [
    "/etc/",
    "/run/",
    "/var/cache/",
    "/var/lib/",
    "/var/log/",
    "/usr/lib/pkgapp/",
];

impl ConfigDraft {
    /// Makes changes to the configuration, which is a file of its own.
    #[must_use]
    pub fn with_changes(mut self, changes: &DeclarationChanges) -> Self {
        if let Some(table) = self.own_table_mut() {
            changes.apply(table);
        }
        self
    }
}

impl DeclarationChanges {
    fn apply(&self, table: &mut DocumentTable) {
        if let Some(name) = &self.name {
            self.rename(table, name);
        }
        if !self.domains.is_empty() {
            let names = self.domains.iter().map(DomainName::as_str);
            let items = names.map(DocumentItem::of_text).collect();
            let domains = DocumentItem::of_value(DocumentValue::Array(items));
            table.set_below("site", "domains", domains);
        }
        let services = table.get_mut("service");
        let Some(services) = services.and_then(DocumentItem::as_table_mut) else {
            return;
        };
        for (name, socket) in &self.sockets {
            services.set_below(name.as_str(), "socket", DocumentItem::of_text(socket));
        }
        for (name, number) in &self.instances {
            let number = DocumentItem::of_integer(i64::from(*number));
            services.set_below(name.as_str(), "instances", number);
        }
    }

    fn rename(&self, table: &mut DocumentTable, name: &AppName) {
        let old = table.at(&["app", "name"]).and_then(DocumentItem::as_str);
        let Some(old) = old.map(str::to_owned) else {
            return;
        };
        table.change_texts(&|text| renamed(text, &old, name.as_str()));
        table.set_below("app", "name", DocumentItem::of_text(name.as_str()));
    }
}

/// Returns a text whose paths to directories of one application are those of another.
fn renamed(text: &str, old: &str, new: &str) -> String {
    let mut result = text.to_owned();
    for directory in DIRECTORIES {
        let path = format!("{directory}{old}");
        let mut rest = std::mem::take(&mut result);
        while let Some(at) = rest.find(&path) {
            let after = rest.split_off(at + path.len());
            let is_whole = !after.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c));
            rest.truncate(at);
            result.push_str(&rest);
            result.push_str(directory);
            result.push_str(if is_whole { new } else { old });
            rest = after;
        }
        result.push_str(&rest);
    }
    result
}

impl Config {
    /// Leaves out the parts that a host does not have.
    #[must_use]
    pub fn placed(mut self, on: &PlacedParts) -> Self {
        self.services.retain(|part| on.names.contains(&part.name));
        self.timers.retain(|part| on.names.contains(&part.name));
        self.crons.retain(|part| on.names.contains(&part.name));
        self.site = self.site.filter(|_| on.has_site).map(|mut site| {
            site.proxy.hosts.clone_from(&on.upstreams);
            site
        });
        self.leave_out_logs(&on.names);
        let services = self.services.iter_mut().map(|part| &mut part.process);
        let timers = self.timers.iter_mut().map(|part| &mut part.process);
        for process in services.chain(timers) {
            process.env.extend(on.variables.clone());
        }
        for cron in &mut self.crons {
            cron.env.extend(on.variables.clone());
        }
        self
    }

    /// Leaves out the rotation of logs if no service writes them here that it names.
    fn leave_out_logs(&mut self, names: &BTreeSet<PartName>) {
        let Some(logrotate) = &mut self.logrotate else {
            return;
        };
        let LogReopen::Services { names: writers, .. } = &mut logrotate.reopen else {
            return;
        };
        if let Some(writers) = writers {
            writers.retain(|writer| names.contains(&writer.value));
            if writers.is_empty() {
                self.logrotate = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigDraft, ProjectFacts};

    const SHOP: &str = r#"
[app]
name = "shop"
version = "1"
[python]
version = "3.11"
[package]
prefix = "/opt/shop"
configuration = "separate"
[service.web]
exec = "gunicorn shop --access-log /var/log/shop/access.log"
socket = "0.0.0.0:8000"
environment-file = ["/etc/shop/shop.env"]
[service.worker]
exec = "worker"
[cron.purge]
exec = "purge"
schedule = "@daily"
[logrotate]
paths = ["/var/log/shop/*.log"]
services = ["web"]
signal = "USR1"
"#;

    fn read(changes: &DeclarationChanges) -> Config {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("pkgapp.toml"), SHOP).unwrap();
        let draft = ConfigDraft::read(None, directory.path()).unwrap();
        let draft = draft.without_content().with_changes(changes);
        draft.finish(&ProjectFacts::default()).unwrap()
    }

    fn part(name: &str) -> PartName {
        PartName::parse(name).unwrap()
    }

    #[test]
    fn an_installation_has_a_name_and_addresses_of_its_own() {
        let app = read(&DeclarationChanges {
            name: Some(AppName::parse("shop-eu").unwrap()),
            domains: vec![DomainName::parse("eu.example.com").unwrap()],
            sockets: [(part("web"), "0.0.0.0:20000".to_owned())].into(),
            instances: [(part("worker"), 3)].into(),
        });
        let web = &app.services[0];
        assert_eq!(app.name.as_str(), "shop-eu");
        assert_eq!(app.package.prefix.value.as_str(), "/opt/shop");
        assert_eq!(
            web.process.environment_files[0].as_str(),
            "/etc/shop-eu/shop.env"
        );
        assert!(
            web.process
                .exec
                .text
                .ends_with("/var/log/shop-eu/access.log")
        );
        assert_eq!(app.services[1].instances, Some(3));
        let site = app.site.unwrap();
        assert_eq!(site.proxy.addresses("unix:"), ["127.0.0.1:20000"]);
    }

    #[test]
    fn a_host_has_the_parts_that_are_placed_there() {
        let app = read(&DeclarationChanges {
            domains: vec![DomainName::parse("example.com").unwrap()],
            ..DeclarationChanges::default()
        });
        let upstream = |host: &str| UpstreamHost {
            host: host.to_owned(),
            port: 20000,
        };
        let front = app.clone().placed(&PlacedParts {
            has_site: true,
            upstreams: vec![upstream("web1"), upstream("::1")],
            ..PlacedParts::default()
        });
        let addresses = front.site.unwrap().proxy.addresses("unix:");
        assert_eq!(addresses, ["web1:20000", "[::1]:20000"]);
        assert!(front.services.is_empty() && front.crons.is_empty() && front.logrotate.is_none());

        let web = app.placed(&PlacedParts {
            names: [part("web"), part("purge")].into(),
            variables: [("A".to_owned(), "b".to_owned())].into(),
            ..PlacedParts::default()
        });
        assert!(web.site.is_none() && web.logrotate.is_some());
        assert_eq!((web.services.len(), web.crons.len()), (1, 1));
        assert_eq!(web.services[0].process.env["A"], "b");
        assert_eq!(web.crons[0].env["A"], "b");
    }

    #[test]
    fn paths_of_an_application_get_another_name() {
        for (old, new) in [
            ("/etc/shop/a.env", "/etc/eu/a.env"),
            (
                "x --log=/var/log/shop/a.log,/run/shop",
                "x --log=/var/log/eu/a.log,/run/eu",
            ),
            ("/etc/shopping/a", "/etc/shopping/a"),
            ("/etc/shop-us/a", "/etc/shop-us/a"),
            ("/opt/shop/bin/x", "/opt/shop/bin/x"),
            ("/etc/shop /etc/shop", "/etc/eu /etc/eu"),
            ("shop", "shop"),
        ] {
            assert_eq!(renamed(old, "shop", "eu"), new);
        }
    }
}
