//! The files and scripts of the packages of backing services: the distribution's own packages do the
//! work, and these say who may use them.
//!
//! They are for Debian and its relatives. Nothing is initialized, tuned, or upgraded, and no data are
//! ever dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use pkgapp_config::ServiceKind;
use pkgapp_core::content::Content;
use pkgapp_core::error::Result;
use pkgapp_core::name::AppName;
use pkgapp_core::path::{InstallPath, ReleasePath};

use crate::package::{DebScriptlets, Scriptlets};
use crate::tree::{EntryOrigin, Tree, TreeEntry};

/// A backing service on the hosts that run it, for a package.
#[derive(Debug, Clone)]
pub struct BackingPackage {
    /// The name of the package.
    pub name: AppName,
    /// The directory with its files.
    pub prefix: InstallPath,
    /// What it is.
    pub kind: ServiceKind,
    /// The applications that use it, each with a user, a role, and a database of its name; and the
    /// names or addresses of the other hosts from which they come.
    pub clients: BTreeMap<AppName, BTreeSet<String>>,
}

impl BackingPackage {
    /// Returns the distribution's package (`Depends`, deb-control(5)).
    pub fn depends(&self) -> &'static str {
        match self.kind {
            ServiceKind::Postgresql => "postgresql",
            ServiceKind::Redis => "redis-server",
            ServiceKind::Nginx => "nginx",
            ServiceKind::NodeExporter => "prometheus-node-exporter",
        }
    }

    /// Returns the command that succeeds on a host where the service runs.
    pub fn health(&self) -> &'static str {
        match self.kind {
            ServiceKind::Postgresql => "pg_isready -q -p 5432",
            ServiceKind::Redis => "systemctl is-active --quiet redis-server.service",
            ServiceKind::Nginx => "systemctl is-active --quiet nginx.service",
            ServiceKind::NodeExporter => {
                "systemctl is-active --quiet prometheus-node-exporter.service"
            }
        }
    }

    /// Adds its files to a tree.
    ///
    /// # Errors
    /// The tree has other files there.
    pub fn insert_into(&self, tree: &mut Tree) -> Result<()> {
        match self.kind {
            ServiceKind::Postgresql => self.insert_postgresql(tree),
            ServiceKind::Redis if self.serves_others() => self.insert_redis(tree),
            ServiceKind::Redis | ServiceKind::Nginx | ServiceKind::NodeExporter => Ok(()),
        }
    }

    /// Returns the scripts.
    pub fn scriptlets(&self) -> Scriptlets {
        let deb = match self.kind {
            ServiceKind::Postgresql => DebScriptlets {
                postinst: Some(self.script(include_str!(
                    "../../templates/backing/postgresql-postinst.sh"
                ))),
                prerm: Some(
                    self.script(include_str!("../../templates/backing/postgresql-prerm.sh")),
                ),
                ..DebScriptlets::default()
            },
            ServiceKind::Redis => DebScriptlets {
                postinst: Some(
                    self.script(include_str!("../../templates/backing/redis-postinst.sh")),
                ),
                postrm: Some(self.script(include_str!("../../templates/backing/redis-postrm.sh"))),
                ..DebScriptlets::default()
            },
            ServiceKind::Nginx | ServiceKind::NodeExporter => DebScriptlets::default(),
        };
        Scriptlets {
            deb,
            ..Scriptlets::default()
        }
    }

    fn serves_others(&self) -> bool {
        let mut addresses = self.clients.values();
        addresses.any(|addresses| !addresses.is_empty())
    }

    /// Returns a script; its name and directory are plain words.
    fn script(&self, body: &str) -> String {
        let (name, share) = (&self.name, &self.prefix);
        format!("#!/bin/sh\nset -e\nname={name} share={share}\n{body}")
    }

    fn insert_postgresql(&self, tree: &mut Tree) -> Result<()> {
        if self.serves_others() {
            let text = "# Whom PostgreSQL admits is in pg_hba.conf.\nlisten_addresses = '*'\n";
            self.insert(tree, "postgresql.conf", text.to_owned())?;
        }
        let edit = include_str!("../../templates/backing/postgresql-edit.sh");
        self.insert(tree, "edit", self.script(edit))?;
        self.insert(tree, "pg_hba.conf", self.rules())?;
        self.insert(tree, "grants.sql", self.grants())
    }

    /// Returns the rules for `pg_hba.conf` (PostgreSQL, chapter 21.1).
    fn rules(&self) -> String {
        let mut text = String::new();
        for (name, addresses) in &self.clients {
            // Writing to a String does not fail.
            _ = writeln!(text, "local \"{name}\" \"{name}\" peer");
            for address in addresses {
                let address = with_mask(address);
                _ = writeln!(text, "host \"{name}\" \"{name}\" {address} scram-sha-256");
            }
        }
        text
    }

    /// Returns statements for psql that make roles and databases where they are missing.
    fn grants(&self) -> String {
        let mut text = String::new();
        for name in self.clients.keys() {
            _ = write!(
                text,
                "SELECT 'CREATE ROLE \"{name}\" LOGIN'\n  \
                 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec\n\
                 SELECT 'CREATE DATABASE \"{name}\" OWNER \"{name}\"'\n  \
                 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
            );
        }
        text
    }

    /// Makes Redis listen for other hosts. In protected mode, it answers them only if it has a
    /// password.
    fn insert_redis(&self, tree: &mut Tree) -> Result<()> {
        let text = "bind * -::*\nprotected-mode yes\n";
        self.insert(tree, "redis.conf", text.to_owned())?;
        let settings = self.prefix.join(&ReleasePath::parse("redis.conf")?);
        let text = format!(
            "[Service]\nExecStart=\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf \
             --supervised systemd --daemonize no --include {settings}\n"
        );
        let path = format!(
            "/usr/lib/systemd/system/redis-server.service.d/pkgapp-{}.conf",
            self.name
        );
        tree.insert(InstallPath::parse(&path)?, file(text))
    }

    fn insert(&self, tree: &mut Tree, name: &str, text: String) -> Result<()> {
        let path = self.prefix.join(&ReleasePath::parse(name)?);
        tree.insert(path, file(text))
    }
}

fn file(text: String) -> TreeEntry {
    let origin = Arc::new(EntryOrigin {
        label: "the package of a backing service".to_owned(),
        layer: None,
    });
    TreeEntry::file(Content::memory(text.into_bytes()), 0o644, &origin)
}

/// Returns an address of `pg_hba.conf`, which wants a mask for numbers and none for names.
fn with_mask(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("{address}/32"),
        Ok(IpAddr::V6(_)) => format!("{address}/128"),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn package(kind: ServiceKind, addresses: &[&str]) -> BackingPackage {
        BackingPackage {
            name: AppName::parse("shop-db").unwrap(),
            prefix: InstallPath::parse("/usr/share/pkgapp/shop-db").unwrap(),
            kind,
            clients: BTreeMap::from([(
                AppName::parse("shop").unwrap(),
                addresses.iter().map(ToString::to_string).collect(),
            )]),
        }
    }

    fn files(package: &BackingPackage) -> Vec<(String, String)> {
        let mut tree = Tree::new();
        package.insert_into(&mut tree).unwrap();
        let files = tree.files().map(|(path, _, content)| {
            let text = String::from_utf8(content.read().unwrap()).unwrap();
            (path.to_string(), text)
        });
        files.collect()
    }

    #[test]
    fn postgresql_admits_applications_by_user_here_and_by_password_elsewhere() {
        let rules = |addresses: &[&str]| {
            let all = files(&package(ServiceKind::Postgresql, addresses));
            let names: Vec<String> = all.iter().map(|(path, _)| path.clone()).collect();
            let rules = all.iter().find(|(path, _)| path.ends_with("pg_hba.conf"));
            (names, rules.unwrap().1.clone())
        };
        let (names, alone) = rules(&[]);
        assert!(!names.iter().any(|name| name.ends_with("postgresql.conf")));
        assert_eq!(alone, "local \"shop\" \"shop\" peer\n");

        let (names, shared) = rules(&["10.0.0.1", "fd00::1", "web1.example.com"]);
        assert!(names.iter().any(|name| name.ends_with("postgresql.conf")));
        assert_eq!(
            shared,
            "local \"shop\" \"shop\" peer\n\
             host \"shop\" \"shop\" 10.0.0.1/32 scram-sha-256\n\
             host \"shop\" \"shop\" fd00::1/128 scram-sha-256\n\
             host \"shop\" \"shop\" web1.example.com scram-sha-256\n"
        );
    }

    #[test]
    fn redis_listens_for_others_only_where_there_are_others() {
        assert_eq!(files(&package(ServiceKind::Redis, &[])), []);
        let shared = files(&package(ServiceKind::Redis, &["10.0.0.1"]));
        let [(_, drop_in), (_, settings)] = &shared[..] else {
            panic!("{shared:?}")
        };
        assert!(
            drop_in.ends_with(" --include /usr/share/pkgapp/shop-db/redis.conf\n"),
            "{drop_in}"
        );
        assert!(settings.contains("protected-mode yes"), "{settings}");
    }

    /// The edit of real files: what is there stays, again changes nothing, and a removal leaves no
    /// trace.
    #[test]
    fn rules_come_first_and_go_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display().to_string();
        for (path, text) in files(&package(ServiceKind::Postgresql, &["10.0.0.1"])) {
            let name = path.rsplit('/').next().unwrap();
            let text = text.replace("share=/usr/share/pkgapp/shop-db", &format!("share={root}"));
            let text = text.replace("/etc/postgresql/", &format!("{root}/"));
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let etc = directory.path().join("15/main");
        std::fs::create_dir_all(etc.join("conf.d")).unwrap();
        let rules = etc.join("pg_hba.conf");
        std::fs::write(&rules, "local all all peer\n").unwrap();
        let edit = |way: &str| {
            let mut command = Command::new("sh");
            let command = command
                .arg(directory.path().join("edit"))
                .args([way, "15/main"]);
            pkgapp_testing::run(command)
        };

        // On a full disk nothing is replaced.
        let mut full = Command::new("sh");
        full.args([
            "-c",
            "ulimit -f 0; exec sh \"$0\" apply 15/main 2>/dev/null",
        ]);
        let full = full.arg(directory.path().join("edit"));
        assert!(!full.status().unwrap().success());
        assert!(!etc.join("conf.d/pkgapp-shop-db.conf").exists());
        assert_eq!(
            std::fs::read_to_string(&rules).unwrap(),
            "local all all peer\n"
        );

        assert_eq!(edit("apply"), "restart\nreload\n");
        let text = std::fs::read_to_string(&rules).unwrap();
        assert!(text.starts_with("# pkgapp begins shop-db\nlocal"), "{text}");
        assert!(
            text.ends_with("# pkgapp ends shop-db\nlocal all all peer\n"),
            "{text}"
        );
        assert_eq!(edit("apply"), "");
        assert_eq!(edit("remove"), "restart\nreload\n");
        assert_eq!(
            std::fs::read_to_string(&rules).unwrap(),
            "local all all peer\n"
        );
        let left = std::fs::read_dir(etc.join("conf.d")).unwrap();
        assert_eq!(left.count(), 0);
        assert_eq!(std::fs::read_dir(&etc).unwrap().count(), 2);
    }

    #[test]
    fn shellcheck_finds_nothing() {
        let Some(shellcheck) = pkgapp_testing::tool("shellcheck") else {
            return;
        };
        for kind in [ServiceKind::Postgresql, ServiceKind::Redis] {
            let package = package(kind, &["10.0.0.1"]);
            let deb = package.scriptlets().deb;
            let edit = package.script(include_str!("../../templates/backing/postgresql-edit.sh"));
            let scripts = [deb.postinst, deb.prerm, deb.postrm, Some(edit)];
            for script in scripts.into_iter().flatten() {
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join("script");
                std::fs::write(&file, script).unwrap();
                // Not all need their name.
                let mut command = Command::new(&shellcheck);
                pkgapp_testing::run(
                    command
                        .arg("--exclude=SC2034")
                        .arg("--shell=dash")
                        .arg(&file),
                );
            }
        }
    }
}
