//! What hosts remember: the lines of `history.jsonl`, and how an installed application is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::script::{self, RemoteState};
use crate::hosts::HostCommand;

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, RFC 3339, by the host's clock.
    pub time: String,
    /// Who, e.g. `ada@laptop`; `host` if the host itself.
    pub who: String,
    /// `push`, `rollback`, `confirm`, or `return`.
    pub action: String,
    /// The package's version of before; `None`: nothing was installed.
    pub from: Option<String>,
    /// The package's version that was wanted.
    pub to: String,
    /// The application's version that was wanted.
    pub release: String,
    /// The commit that it was built from.
    pub commit: Option<String>,
    /// SHA-256 of the package.
    pub sha256: String,
    /// `ok`; `failed`; `failed, and taken back`; `not confirmed`; or `not installed`, for a reason
    /// that is not the package's.
    pub result: String,
    /// The package of the interpreter that came along, and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The configurations that are packages of their own, and their versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, String>,
    /// The model that it was part of, if a system was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemRevision>,
}

/// The state of the model that an application was deployed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemRevision {
    /// The name of the system.
    pub name: String,
    /// The environment.
    pub environment: String,
    /// The commit of the model; none outside of a repository.
    pub commit: Option<String>,
}

/// Exit status of what may not look into the state: sysexits.h, EX_NOPERM.
pub const CLOSED: i32 = 77;

impl HistoryEntry {
    /// Reads all lines; what is no entry, such as a line that a full disk has cut off, is left out.
    pub fn all(text: &str) -> Vec<Self> {
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Returns the command that prints the last entries. Its status is [`CLOSED`] where the login
    /// may not read them, and it prints the directory.
    pub fn command(remote: &RemoteState, count: u32) -> HostCommand {
        let body = "if closed_to_us; then exit 77; fi\n\
                    cat \"$state/history.jsonl\" \"$state/transaction/returned\" 2>/dev/null | tail -n \"$count\"\n";
        script::command("reading the history", body, remote, "")
            .parameter("count", count.to_string())
            .question()
    }
}

/// How an installed application is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AppCondition {
    /// The last entry of the history.
    pub last: Option<HistoryEntry>,
    /// Files that are not as the package has them, in the words of `dpkg -V` or `rpm -V`.
    pub drifted: Vec<String>,
    /// Its units.
    pub units: Vec<UnitState>,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitState {
    /// Its name.
    pub name: String,
    /// E.g. `active`.
    pub active: String,
    /// E.g. `enabled`.
    pub enabled: String,
}

impl AppCondition {
    /// Reads what the command prints.
    pub fn parse(text: &str) -> Self {
        let mut condition = Self::default();
        for line in text.lines() {
            match line.split_once('=') {
                Some(("deployed", entry)) => {
                    condition.last = serde_json::from_str(entry.trim()).ok();
                }
                Some(("drifted", file)) => condition.drifted.push(file.trim().to_owned()),
                Some(("unit", unit)) => {
                    let mut words = unit.split_whitespace().map(str::to_owned);
                    let mut word = || words.next().unwrap_or_else(|| "unknown".to_owned());
                    condition.units.push(UnitState {
                        name: word(),
                        active: word(),
                        enabled: word(),
                    });
                }
                _ => {}
            }
        }
        condition
    }

    /// Returns whether a file other than configuration, which is an administrator's to change, is not
    /// as the package has it.
    pub fn is_modified(&self) -> bool {
        // `??5?????? c /etc/shop/shop.env`, `missing     /opt/shop/bin/shop`: rpm(8), "VERIFY OPTIONS".
        let is_configuration = |line: &String| line.split_whitespace().nth(1) == Some("c");
        !self.drifted.iter().all(is_configuration)
    }

    /// Returns whether a unit that should run does not.
    pub fn is_unwell(&self) -> bool {
        self.units.iter().any(|unit| {
            unit.active == "failed"
                || (unit.enabled == "enabled" && unit.active == "inactive" && !self.waits(unit))
        })
    }

    /// Whether a unit is the timer that asks a service which nobody wants to run.
    fn waits(&self, unit: &UnitState) -> bool {
        let service = unit.name.strip_suffix("-health.timer");
        service.is_some_and(|name| {
            let is_it = |other: &&UnitState| other.name.strip_suffix(".service") == Some(name);
            let service = self.units.iter().find(is_it);
            service.is_some_and(|service| service.enabled != "enabled")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_hides_no_other() {
        let entry = HistoryEntry {
            time: "2026-01-01T00:00:00Z".into(),
            who: "ada@laptop".into(),
            action: "push".into(),
            from: None,
            to: "1.0-1".into(),
            release: "1.0".into(),
            commit: None,
            sha256: "a".repeat(64),
            result: "ok".into(),
            runtime: Some("pkgapp-python3.13 3.13.0-1".into()),
            configurations: BTreeMap::new(),
            system: None,
        };
        let line = serde_json::to_string(&entry).unwrap();
        let text = format!("{line}\n{}\n{line}\n", &line[..40]);
        assert_eq!(HistoryEntry::all(&text), [entry.clone(), entry.clone()]);
        let condition = AppCondition::parse(&format!(
            "deployed={line}\ndrifted=??5?????? c /etc/shop/shop.env \nunit=shop-web.service failed enabled\n"
        ));
        assert_eq!(
            (condition.last.as_ref(), condition.is_unwell()),
            (Some(&entry), true)
        );
        assert_eq!(condition.drifted, ["??5?????? c /etc/shop/shop.env"]);
        assert!(!condition.is_modified());
        for line in [
            "drifted=??5??????   /opt/shop/c\n",
            "drifted=missing     /opt/shop/x\n",
        ] {
            assert!(AppCondition::parse(line).is_modified());
        }
    }

    #[test]
    fn the_timer_of_a_service_that_nobody_wants_to_run_may_rest() {
        let is_unwell = |units: &str| AppCondition::parse(units).is_unwell();
        let timer = "unit=shop-web-health.timer inactive enabled\n";
        assert!(!is_unwell(&format!(
            "{timer}unit=shop-web.service inactive disabled\n"
        )));
        assert!(is_unwell(&format!(
            "{timer}unit=shop-web.service active enabled\n"
        )));
        assert!(is_unwell(timer));
    }
}
