//! A command that runs on hosts like a service of the release that is installed there.
//!
//! Its variables are those that the service's own command has: of its unit, of the environment files
//! on the host, among them settings and secrets, and of the host. As a migration does, it runs in
//! the directory of the release.

use std::collections::BTreeMap;

use super::migration::{environment_file, exports};
use super::script::{self, RemoteState};
use super::transient_unit::{NOTHING_ELSE, exec_start, search_path};
use crate::hosts::HostCommand;
use pkgapp_config::PartName;
use pkgapp_core::name::AppName;
use pkgapp_release::services::unit;

/// A command, and the service that it is to run like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCommand {
    /// NAME of `[service.NAME]`.
    pub service: PartName,
    /// The program and its arguments.
    pub words: Vec<String>,
}

impl ServiceCommand {
    /// Returns the command for hosts with packages; `prefix` is where the release lies.
    pub(super) fn of_package(
        &self,
        name: &AppName,
        prefix: &str,
        variables: &BTreeMap<String, String>,
        sudo: bool,
    ) -> HostCommand {
        let path = unit::quoted(&search_path(prefix));
        let first = format!("[Service]\nEnvironment={path}");
        let last = format!(
            "[Service]\nType=simple\nRemainAfterExit=no\n{NOTHING_ELSE}ExecStart={}\nWorkingDirectory={}",
            exec_start(self.words.clone()),
            unit::plain(prefix)
        );
        let script = [script::PRELUDE, script::RUN].concat();
        self.command(script, name)
            .parameter("first", first)
            .parameter("last", last)
            .parameter("variables", environment_file(variables))
            .sudo(sudo)
    }

    /// Returns the command for a login whose releases lie where `remote` says.
    pub(super) fn of_release_directory(
        &self,
        name: &AppName,
        variables: &BTreeMap<String, String>,
        remote: &RemoteState,
    ) -> HostCommand {
        let script = [script::PRELUDE, script::USER, &script::own_run()].concat();
        let command = self
            .command(script, name)
            .parameter("state", remote.directory.clone())
            .parameter("host_variables", exports(variables))
            .args(self.words.clone());
        let env = remote.env.iter();
        env.fold(command, |command, (name, value)| {
            command.env(*name, value.clone())
        })
    }

    fn command(&self, script: String, name: &AppName) -> HostCommand {
        HostCommand::new(format!("a command like `{}`", self.service), script)
            .parameter("name", name.as_str())
            .parameter("service", self.service.as_str())
            .ends_with_us()
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend;
    use super::*;

    fn command() -> ServiceCommand {
        ServiceCommand {
            service: PartName::parse("web").unwrap(),
            words: ["python", "-c", "print('$X %n')"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    fn made(into: Option<&str>) -> HostCommand {
        let name = AppName::parse("shop").unwrap();
        let variables = BTreeMap::from([("PGPORT".to_owned(), "54 33".to_owned())]);
        let backend = backend::choose(&name, None, into, false).unwrap();
        backend.service_command("/opt/shop", &command(), &variables)
    }

    fn parameter<'c>(command: &'c HostCommand, name: &str) -> &'c str {
        let found = command.parameters.iter().find(|(each, _)| *each == name);
        &found.unwrap().1
    }

    /// Arguments mean nothing to systemd, and neither does a second command of the service.
    #[test]
    fn with_packages_systemd_runs_it() {
        let command = made(None);
        let last = parameter(&command, "last");
        let exec = "ExecStart=/bin/sh -c \"exec \\\"$$@\\\"\" sh python -c \"print('$$X %%n')\"\n";
        assert!(last.contains(exec), "{last}");
        assert!(last.contains("\nExecStart=\n") && last.ends_with("\nWorkingDirectory=/opt/shop"));
        assert!(parameter(&command, "first").contains("PATH=/opt/shop/bin:"));
        assert_eq!(parameter(&command, "variables"), "PGPORT=\"54 33\"\n");
        assert!(command.args.is_empty());
    }

    #[test]
    fn of_a_login_the_script_runs_it() {
        let made = made(Some("~/www"));
        assert_eq!(made.args, command().words);
        assert_eq!(parameter(&made, "state"), "~/www/.pkgapp");
        assert_eq!(
            parameter(&made, "host_variables"),
            "export PGPORT='54 33'\n"
        );
        assert!(!made.sudo);
    }
}
