//! `pkgapp secrets list`.

use serde_json::{Value, json};

use crate::cli::SecretsListArgs;
use pkgapp_config::Config;
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::backend;
use pkgapp_deploy::fleet::{Fleet, Machine, folded, looked};
use pkgapp_deploy::hosts::{HostFailure, interrupt};
use pkgapp_deploy::secrets::{HostSecrets, SecretRow, SecretSalt, SecretState, SecretTable};

use super::{check_place, declared, deploy_of, file_of, warn_of};

pub(super) fn list(args: &SecretsListArgs, app: &Config, report: &Report) -> Result<()> {
    let deploy = deploy_of(app, args.target.as_deref())?;
    let backend = backend::choose(&app.name, deploy, args.into.as_deref(), args.sudo)?;
    let file = file_of(app)?;
    check_place(app, &file, &*backend)?;
    let fleet = Fleet::open(&args.hosts.options(), deploy, &app.root, "secrets", report)?;
    let salt = SecretSalt::draw()?;
    let command = file.look(&backend.remote_state(None), &salt);
    let look = |machine: &Machine<'_>| -> Result<HostSecrets> {
        let output = machine.host.run(&command, &mut |_, _| {});
        let output = output.map_err(HostFailure::into_error)?;
        let there = HostSecrets::parse(&output.text(), &salt)?;
        there.unusable(&machine.member.name).map_or(Ok(there), Err)
    };

    let (mut hosts, mut there, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let all = fleet.each(look);
    for (machine, found) in fleet.machines.iter().zip(all) {
        let found = found.unwrap_or_else(|| Err(interrupt::error()));
        match found {
            Ok(found) => {
                hosts.push(machine.member.name.as_str());
                there.push(found);
            }
            Err(error) => errors.push(error),
        }
    }
    let expected = declared(app);
    let each: Vec<&HostSecrets> = there.iter().collect();
    let table = SecretTable::of(&expected, &each);
    let shown = ListedSecrets {
        hosts: &hosts,
        table: &table,
        has_declarations: !expected.is_empty(),
    };
    warn(&hosts, &there, report);
    shown.print(report);
    looked(errors)?;
    shown.lacking(args.target.as_deref())
}

fn warn(hosts: &[&str], there: &[HostSecrets], report: &Report) {
    for (host, there) in hosts.iter().zip(there) {
        warn_of(host, there, report);
        if let Some(why) = &there.no_credentials {
            report.warning(&format!("{host}: no secrets are delivered as files: {why}"));
        }
        if there.is_pending {
            report.warning(&format!(
                "{host}: services have not been restarted since the secrets changed"
            ));
        }
    }
}

/// What is printed.
struct ListedSecrets<'a> {
    hosts: &'a [&'a str],
    table: &'a SecretTable,
    has_declarations: bool,
}

impl ListedSecrets<'_> {
    fn print(&self, report: &Report) {
        let rows = &self.table.rows;
        match report.style() {
            OutputStyle::Json => {
                let secrets = rows.iter().map(|row| self.json(row));
                let secrets: Vec<Value> = secrets.collect();
                report.json(&json!({ "secrets": secrets }));
            }
            OutputStyle::Text => {
                let lengths = rows.iter().map(|row| row.name.chars().count());
                let width = lengths.max().unwrap_or(0);
                for row in rows {
                    let name = &row.name;
                    let state = self.text(row);
                    report.result(&format!("{name:width$}  {state}"));
                }
            }
        }
    }

    fn json(&self, row: &SecretRow) -> Value {
        let states = self.hosts.iter().zip(&row.states);
        let hosts: serde_json::Map<String, Value> = states
            .map(|(host, state)| ((*host).to_owned(), json!(state.name())))
            .collect();
        json!({
            "name": row.name,
            "declared": row.is_declared,
            "required": row.is_required,
            "hosts": hosts,
        })
    }

    /// Returns how hosts have a secret; those with the same value stand together.
    fn text(&self, row: &SecretRow) -> String {
        let names = |indices: &[usize]| {
            let names = indices.iter().map(|index| self.hosts[*index]);
            let names: Vec<&str> = names.collect();
            folded(&names)
        };
        let missing: Vec<usize> = row.hosts(SecretState::Missing).collect();
        let mut parts = Vec::new();
        match &row.groups[..] {
            [] => parts.push("missing".to_owned()),
            [_] if missing.is_empty() => parts.push("set".to_owned()),
            [group] => {
                let group = names(group);
                parts.push(format!("set on {group}"));
            }
            groups => {
                let groups = groups.iter().map(|group| names(group));
                let groups: Vec<String> = groups.collect();
                let groups = groups.join(" | ");
                parts.push(format!("differs: {groups}"));
            }
        }
        if !missing.is_empty() && !row.groups.is_empty() {
            let missing = names(&missing);
            parts.push(format!("missing on {missing}"));
        }
        let note = if row.is_lacking() {
            " (required)"
        } else if self.has_declarations && !row.is_declared {
            " (not declared)"
        } else {
            ""
        };
        let parts = parts.join("; ");
        format!("{parts}{note}")
    }

    /// Fails if a host lacks a secret that is required.
    fn lacking(&self, target: Option<&str>) -> Result<()> {
        let lacking = self.table.rows.iter().filter(|row| row.is_lacking());
        let found = lacking.map(|row| {
            let missing = row.hosts(SecretState::Missing);
            let without: Vec<&str> = missing.map(|index| self.hosts[index]).collect();
            let with = row.groups.first().and_then(|group| group.first());
            let with = with.map(|index| self.hosts[*index]);
            super::missing(&row.name, &without, with, target).kind(ErrorKind::Found)
        });
        Error::all(found.collect::<Vec<_>>()).map_or(Ok(()), Err)
    }
}
