//! What a migration runs with: what the service has that will run the new code, and what `migrate`
//! adds to that.
//!
//! The service's unit in the package says it. systemd on the host runs a unit of its own that takes
//! over the settings of the service's `[Service]` section, the administrator's drop-ins for the
//! service, and then ours; where there is no systemd, or no root, the same user, directories and
//! variables are what is left of that.

use std::collections::BTreeMap;

use super::artifact::Artifact;
use super::select::SelectedArtifacts;
use super::transient_unit::{NOTHING_ELSE, exec_start, search_path};
use pkgapp_config::{Migrate, MigrateOn, MigrationCommands};
use pkgapp_core::error::Result;
use pkgapp_core::name::AppName;
use pkgapp_core::text::{environment_quoted, shell_quoted};
use pkgapp_release::services::{ServiceUnit, unit};
use pkgapp_release::writable::FILL;

/// The beginning of the last word on the unit. Conditions that are not met would count as success.
const ONE_COMMAND: &str = "[Unit]
ConditionPathExists=
AssertPathExists=

[Service]
Type=oneshot
RemainAfterExit=yes
";

/// What a user of one's own leaves behind of the service's: directories would be handed over to it.
const ANOTHER_USER: &str = "DynamicUser=no
Group=
SupplementaryGroups=
StateDirectory=
CacheDirectory=
LogsDirectory=
RuntimeDirectory=
ConfigurationDirectory=
";

/// A migration to one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration<'a> {
    pub(super) exec: &'a MigrationCommands,
    pub(super) on: MigrateOn,
    /// The service's unit.
    service: Option<&'a ServiceUnit>,
    user: String,
    group: String,
    groups: String,
    directory: String,
    limit: String,
    unit: String,
    last: String,
}

impl<'a> Migration<'a> {
    /// What `migrate` means for this artifact. `user` runs it if the release has no service to do it
    /// like.
    ///
    /// # Errors
    /// `relax` names a setting that is none.
    pub(super) fn new(
        name: &AppName,
        user: Option<&str>,
        migrate: &'a Migrate,
        selected: &SelectedArtifacts<'a>,
    ) -> Result<Self> {
        let (artifact, service) = (selected.artifact, selected.service());
        let of_service = |name: &str| {
            service
                .and_then(|service| service.get(name))
                .unwrap_or_default()
                .to_owned()
        };
        let own = migrate
            .user
            .as_ref()
            .map(ToString::to_string)
            .filter(|user| *user != of_service("User"));
        let is_another = service.is_some() && own.is_some();
        let user = match (&own, service) {
            (Some(user), _) => user.clone(),
            (None, Some(_)) => of_service("User"),
            (None, None) => user.unwrap_or_default().to_owned(),
        };
        let of_user = |name: &str| {
            if is_another {
                String::new()
            } else {
                of_service(name)
            }
        };
        Ok(Self {
            exec: &migrate.exec,
            on: migrate.on,
            service,
            group: of_user("Group"),
            groups: of_user("SupplementaryGroups"),
            directory: of_user("StateDirectory")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            limit: migrate
                .timeout
                .as_ref()
                .map(|limit| limit.duration.as_secs().max(1).to_string())
                .unwrap_or_default(),
            unit: unit_text(name, migrate, artifact, service)?,
            last: last(
                migrate,
                &artifact.prefix,
                is_another,
                Some(user.as_str()).filter(|_| is_another || service.is_none()),
            ),
            user,
        })
    }

    /// Returns what the script for hosts with packages needs besides the places, as assignments of
    /// sh; `variables` are the host's.
    pub(super) fn parameters(
        &self,
        variables: &BTreeMap<String, String>,
    ) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("service", self.service_file()),
            ("user", self.user.clone()),
            ("group", self.group.clone()),
            ("groups", self.groups.clone()),
            ("unit", self.unit.clone()),
            ("last", self.last.clone()),
            ("variables", environment_file(variables)),
        ];
        parameters.extend(self.surroundings(variables));
        parameters
    }

    /// Returns the service's unit; nothing if there is none.
    pub(super) fn service_file(&self) -> String {
        self.service
            .map(|service| service.file.clone())
            .unwrap_or_default()
    }

    /// Returns what every script needs.
    pub(super) fn surroundings(
        &self,
        variables: &BTreeMap<String, String>,
    ) -> Vec<(&'static str, String)> {
        let of_service = |name: &str| self.service.and_then(|service| service.get(name));
        let env = self
            .service
            .map(ServiceUnit::environment)
            .unwrap_or_default();
        let files = self
            .service
            .map(ServiceUnit::environment_files)
            .unwrap_or_default();
        vec![
            ("directory", self.directory.clone()),
            ("mask", of_service("UMask").unwrap_or("0022").to_owned()),
            ("limit", self.limit.clone()),
            ("files", files.join("\n")),
            ("exports", exports(&env)),
            ("variables_sh", exports(variables)),
        ]
    }
}

/// The unit that migrates: its own settings, and those that it takes over from the service.
fn unit_text(
    name: &AppName,
    migrate: &Migrate,
    artifact: &Artifact,
    service: Option<&ServiceUnit>,
) -> Result<String> {
    let mut lines = vec![
        "[Unit]".to_owned(),
        format!(
            "Description={name}: migration to {}",
            unit::plain(&artifact.release)
        ),
        "[Service]".to_owned(),
        "Type=oneshot".to_owned(),
        format!(
            "Environment={}",
            unit::quoted(&search_path(&artifact.prefix))
        ),
    ];
    if let Some(service) = service {
        lines.extend(service.taken_over(&migrate.relax)?);
    }
    Ok(lines.join("\n"))
}

/// The settings that are the last word on the unit.
fn last(migrate: &Migrate, prefix: &str, is_another: bool, user: Option<&str>) -> String {
    let mut text = [ONE_COMMAND, NOTHING_ELSE, "StandardInput=null\n"].concat();
    let mut set = |name: &str, value: &str| text.extend([name, "=", value, "\n"]);
    set("ExecStart", &exec_start(migrate.exec.words()));
    if !is_another {
        let fill = format!(
            "[ ! -e {0}/{FILL} ] || exec sh {0}/{FILL}",
            shell_quoted(prefix)
        );
        let fill = ["/bin/sh".to_owned(), "-c".to_owned(), fill];
        set("ExecStartPre", &format!("-{}", unit::command(&fill)));
    }
    set("WorkingDirectory", &unit::plain(prefix));
    set(
        "TimeoutStartSec",
        migrate
            .timeout
            .as_ref()
            .map_or("infinity", |limit| &limit.text),
    );
    if let Some(memory) = &migrate.memory_max {
        set("MemoryMax", memory);
    }
    for path in &migrate.write {
        set("ReadWritePaths", &unit::quoted(path.as_str()));
    }
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        set("User", user);
    }
    if is_another {
        text.push_str(ANOTHER_USER);
    }
    text
}

/// Variables as sh takes them.
pub(super) fn exports(variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", shell_quoted(value)))
        .collect()
}

/// Variables as a file for `EnvironmentFile=` (systemd.exec(5)).
pub(super) fn environment_file(variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("{name}={}\n", environment_quoted(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::artifact::tests::candidate;
    use super::super::tests::{line, migrate, policy};
    use super::*;
    use pkgapp_config::UserName;
    use pkgapp_core::path::InstallPath;
    use pkgapp_format::read::ArtifactKind::Deb;

    /// The values of a parameter's lines that begin with `NAME=`.
    fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .collect()
    }

    #[test]
    fn it_is_like_the_service_and_may_have_more() {
        let (name, artifact) = (policy().name, candidate(Deb, "1.1.0", None));
        let selected = SelectedArtifacts::only(&artifact, 0);
        let same = Migrate {
            user: Some(UserName::parse("shop").unwrap()),
            ..migrate("a 'b' $c")
        };
        for migrate in [&same, &migrate("a 'b' $c")] {
            let plain = Migration::new(&name, None, migrate, &selected).unwrap();
            assert_eq!(
                (plain.user.as_str(), plain.directory.as_str()),
                ("shop", "shop")
            );
            assert_eq!(values(&plain.unit, "User"), ["shop"]);
            assert_eq!(values(&plain.unit, "StateDirectoryMode"), ["0750"]);
            assert_eq!(values(&plain.unit, "NoNewPrivileges"), ["yes"]);
            assert!(
                values(&plain.unit, "Restart").is_empty() && values(&plain.last, "User").is_empty()
            );
            let exec = "/bin/sh -c \"exec \\\"$$@\\\"\" sh a \"'b'\" \"$$c\"";
            assert_eq!(values(&plain.last, "ExecStart"), ["", exec]);
        }
        let more = Migrate {
            relax: vec!["NoNewPrivileges".into()],
            write: vec![InstallPath::parse("/srv/x y").unwrap()],
            memory_max: Some("1G".into()),
            ..migrate("x")
        };
        let more = Migration::new(&name, None, &more, &selected).unwrap();
        assert!(values(&more.unit, "NoNewPrivileges").is_empty());
        assert_eq!(values(&more.last, "ReadWritePaths"), ["\"/srv/x y\""]);
        assert_eq!(values(&more.last, "MemoryMax"), ["1G"]);
        let unknown = Migrate {
            relax: vec!["NoNewPrivilege".into()],
            ..migrate("x")
        };
        let error = Migration::new(&name, None, &unknown, &selected).unwrap_err();
        assert!(error.to_string().contains("NoNewPrivilege"), "{error}");
    }

    #[test]
    fn commands_run_in_order_until_one_fails() {
        let (name, artifact) = (policy().name, candidate(Deb, "1.1.0", None));
        let selected = SelectedArtifacts::only(&artifact, 0);
        let lines = ["a x", "b $PORT"].map(line);
        let several = Migrate {
            exec: MigrationCommands::new(lines.to_vec()).unwrap(),
            ..migrate("x")
        };
        let several = Migration::new(&name, None, &several, &selected).unwrap();
        let exec = "/bin/sh -c \"exec \\\"$$@\\\"\" sh sh -c \"a x && b '$$PORT'\"";
        assert_eq!(values(&several.last, "ExecStart"), ["", exec]);

        let directory = tempfile::tempdir().unwrap();
        let lines = ["touch one", "false", "touch two"].map(line);
        let words = MigrationCommands::new(lines.to_vec()).unwrap().words();
        let mut command = std::process::Command::new(&words[0]);
        let run = command.args(&words[1..]).current_dir(&directory);
        assert!(!run.status().unwrap().success());
        assert!(directory.path().join("one").exists() && !directory.path().join("two").exists());
    }

    #[test]
    fn another_user_takes_no_directory_away() {
        let (name, artifact) = (policy().name, candidate(Deb, "1.1.0", None));
        let selected = SelectedArtifacts::only(&artifact, 0);
        let other = Migrate {
            user: Some(UserName::parse("postgres").unwrap()),
            ..migrate("x")
        };
        let other = Migration::new(&name, None, &other, &selected).unwrap();
        assert_eq!(
            (
                other.user.as_str(),
                other.directory.as_str(),
                other.group.as_str()
            ),
            ("postgres", "", "")
        );
        assert_eq!(values(&other.last, "User"), ["postgres"]);
        assert_eq!(
            values(&other.last, "StateDirectory"),
            [""],
            "it empties the list"
        );
    }

    #[test]
    fn variables_are_quoted_for_both_readers() {
        let variables = BTreeMap::from([("A".to_owned(), "it's \"$x\" \\ `y`\n%n".to_owned())]);
        assert_eq!(
            environment_file(&variables),
            "A=\"it's \\\"\\$x\\\" \\\\ \\`y\\`\n%n\"\n"
        );
        assert_eq!(
            exports(&variables),
            "export A='it'\\''s \"$x\" \\ `y`\n%n'\n"
        );
    }
}
