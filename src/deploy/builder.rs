//! Makes the steps that every deployment has; those that differ are made in [`backend`](super::backend).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::artifact::Artifact;
use super::health::HealthCheck;
use super::migration::Migration;
use super::pieces::FilePieces;
use super::script::{self, RemoteState};
use super::step::{PushStage, Step, StepAction};
use super::stored::{
    FailureMark, IncomingPackage, PackageSet, ReleaseTrial, StoredPackage, Transition,
};
use crate::hosts::script::assignments;
use crate::hosts::{HostCommand, Upload, UploadContent, UploadForm};
use pkgapp_config::{CommandLine, ConfirmMode};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::name::AppName;
use pkgapp_core::report::human_bytes;
use pkgapp_core::text::shell_quoted;

/// What all steps of one push on one host have in common.
#[derive(Debug, Clone)]
pub struct StepBuilder<'a> {
    pub(super) name: &'a AppName,
    /// The release that is in use.
    pub(super) prefix: String,
    pub(super) token: &'a str,
    /// Where the host keeps things.
    pub(super) remote: RemoteState,
    /// The host's name and its own variables, for hooks.
    pub(super) host: &'a str,
    pub(super) variables: &'a BTreeMap<String, String>,
}

impl StepBuilder<'_> {
    pub(super) fn command(&self, what: &str, body: &str) -> HostCommand {
        script::command(what, body, &self.remote, self.token)
    }

    pub(super) fn run(stage: PushStage, line: Option<String>, command: HostCommand) -> Step {
        Step {
            stage,
            what: command.what.clone(),
            line,
            action: StepAction::Run(command),
        }
    }

    /// Returns the path of a package on the host.
    pub(super) fn place(&self, package: &StoredPackage) -> String {
        format!(
            "{}/packages/{}/{}",
            self.remote.directory, package.sha256, package.file
        )
    }

    /// `seen` is the token of the lock that was there when the host was looked at, and `dead` the
    /// same if nobody holds it any more; empty if there was none.
    pub(super) fn lock(
        &self,
        owner: &str,
        seen: &str,
        dead: &str,
        patience: Duration,
        coming: &[IncomingPackage],
        joins: Option<Sha256Sum>,
    ) -> Step {
        let told = coming.iter().flat_map(|coming| {
            [
                coming.sha256.to_string(),
                coming.info.clone(),
                coming.pieces.to_string(),
            ]
        });
        let patience = patience.as_secs().to_string();
        let command = self
            .command("taking the lock", script::LOCK)
            .parameter("owner", owner)
            .parameter("dead", dead)
            .parameter("patience", patience)
            .parameter("seen", seen)
            .parameter(
                "joins",
                joins.map(|sum| sum.to_string()).unwrap_or_default(),
            )
            .args(told);
        Self::run(PushStage::Lock, None, command.ends_with_us())
    }

    pub(super) fn unlock(&self) -> Step {
        Self::run(
            PushStage::Unlock,
            None,
            self.command("giving the lock back", script::UNLOCK),
        )
    }

    /// Clears away the lock of a push that died.
    pub(super) fn sweep(&self, token: &str, known: bool) -> Step {
        let command = self
            .command("clearing away the lock of a push that died", script::SWEEP)
            .parameter("holder", token)
            .parameter("known", if known { "dead" } else { "" });
        Self::run(PushStage::Unlock, None, command)
    }

    pub(super) fn beat(&self) -> HostCommand {
        self.command("keeping the lock", script::BEAT)
            .timeout(Duration::from_secs(20))
            .ends_with_us()
    }

    /// Sends what `there`, a package with its pieces, does not have.
    pub(super) fn upload(
        &self,
        artifact: &Artifact,
        there: Option<(&StoredPackage, &FilePieces)>,
    ) -> Step {
        let copies = there
            .map(|(package, pieces)| artifact.pieces.copies_from(pieces, &self.place(package)));
        let upload = Upload {
            content: UploadContent::File(artifact.path.clone()),
            size: artifact.size,
            sha256: artifact.sha256,
            path: self.place(&StoredPackage::from(artifact)),
            form: UploadForm::File,
            mode: 0o600,
            owner: None,
            sudo: self.remote.sudo,
            copies: copies.unwrap_or_default(),
        };

        let (all, sends) = (human_bytes(upload.size), human_bytes(upload.missing()));
        let size = if upload.copies.is_empty() {
            all
        } else {
            format!("{sends} of {all}")
        };
        Step {
            stage: PushStage::Upload,
            what: format!("sending {} ({size})", artifact.file),
            line: None,
            action: StepAction::Upload(upload),
        }
    }

    /// Runs `script`, which migrates, with these parameters besides those that every script of a
    /// migration has.
    pub(super) fn migrate(
        &self,
        set: &PackageSet,
        migration: &Migration<'_>,
        script: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Step {
        let mark = format!("{}/packages/{}/migrated", self.remote.directory, set.id);
        let command = self
            .command(&format!("migrating with {}", set.software.release), script)
            .parameter("name", self.name.as_str())
            .parameter("mark", mark)
            .parameters(parameters)
            .args(migration.exec.words().iter().map(String::as_str));
        Self::run(PushStage::Migrate, Some(migration.exec.text()), command)
    }

    pub(super) fn hook(&self, stage: PushStage, line: &CommandLine, release: &str) -> Step {
        let command = self
            .command(
                &format!("the {} hook `{}`", stage.name(), line.text),
                script::COMMAND,
            )
            .parameter("prefix", self.prefix.clone())
            .args(line.words.iter().map(String::as_str));
        Self::run(
            stage,
            Some(line.text.clone()),
            HostCommand {
                env: self.variables(release),
                ..command
            },
        )
    }

    /// What commands of the user see in their environment.
    pub(super) fn variables(&self, release: &str) -> BTreeMap<String, String> {
        let mut variables = self.variables.clone();
        let own = [
            ("NAME", self.name.as_str()),
            ("VERSION", release),
            ("HOST", self.host),
        ];
        variables.extend(own.map(|(name, value)| (format!("PKGAPP_{name}"), value.to_owned())));
        variables
    }

    /// A step that goes on by itself, whatever becomes of the pusher and of the host. `line` is the
    /// command at its core.
    pub(super) fn transaction(
        &self,
        what: &str,
        line: String,
        goal: &str,
        transition: &Transition<'_>,
        mut parameters: Vec<(&'static str, String)>,
        script: &str,
    ) -> Step {
        parameters.extend(self.trial_parameters(transition.trial));
        let leaves = transition.leaves.map(|left| left.id.to_string());
        parameters.push(("leaves", leaves.unwrap_or_default()));
        let what = match transition.trial {
            Some(trial) => {
                let conditions = trial.check.conditions().join(", ");
                format!("{what} and waiting until {conditions}")
            }
            None => what.to_owned(),
        };
        let command = self
            .command(&what, script::INSTALL)
            .parameter("name", self.name.as_str())
            .parameter("goal", goal)
            .parameter("expected", transition.from.unwrap_or_default())
            .parameter("parameters", assignments(&parameters))
            .parameter("transaction", script);
        Self::run(PushStage::Install, Some(line), command)
    }

    /// What a transaction does to find out that its release stays.
    fn trial_parameters(&self, trial: Option<&ReleaseTrial<'_>>) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("prefix", self.prefix.clone())];
        let [check, command, confirm, within] = match trial {
            Some(ReleaseTrial { check, probation }) => {
                parameters.extend(self.check_parameters(check));
                let words = check.command.iter().flat_map(|command| &command.words);
                [
                    "yes".to_owned(),
                    words
                        .map(|word| shell_quoted(word))
                        .collect::<Vec<_>>()
                        .join(" "),
                    probation.confirm.name().to_owned(),
                    probation.within.as_secs().to_string(),
                ]
            }
            None => ["", "", ConfirmMode::Off.name(), ""].map(str::to_owned),
        };
        parameters.extend([
            ("check", check),
            ("check_command", command),
            ("confirm", confirm),
            ("within", within),
        ]);
        parameters
    }

    /// What works.sh is told, besides the command.
    fn check_parameters(&self, check: &HealthCheck) -> [(&'static str, String); 4] {
        let asked: Vec<String> = check
            .services
            .iter()
            .map(|asked| format!("{}-{}.service", self.name, asked.name))
            .collect();
        let url = check.url.as_ref().map_or("", url::Url::as_str);
        [
            ("patience", check.timeout.as_secs().to_string()),
            ("settle", check.settle.as_secs().to_string()),
            ("asked", asked.join(" ")),
            ("url", url.to_owned()),
        ]
    }

    /// Finds out whether a new connection needs no questions.
    pub(super) fn try_login(&self) -> Step {
        let command = self
            .command("trying a second login", script::TRY_LOGIN)
            .over_new_connection()
            .question();
        Self::run(PushStage::Login, None, command)
    }

    /// Makes the step that confirms a set in probation.
    pub(super) fn confirm(&self, set: Sha256Sum) -> Step {
        let command = self
            .command("confirming it over a new connection", script::DECIDE)
            .parameter("name", self.name.as_str())
            .parameter("sum", set.to_string())
            .parameter("decision", "confirmed")
            .parameter("reason", "")
            .over_new_connection();
        Self::run(PushStage::Confirm, None, command)
    }

    /// Makes the step that takes back a set in probation.
    pub(super) fn withdraw(&self, set: &PackageSet, who: &str) -> Step {
        let version = &set.software.version;
        let what = format!("taking back {version}, which is in probation");
        let command = self
            .command(&what, script::DECIDE)
            .parameter("name", self.name.as_str())
            .parameter("sum", set.id.to_string())
            .parameter("decision", "expired")
            .parameter("reason", format!("{who} has rolled back"));
        Self::run(PushStage::Install, None, command)
    }

    pub(super) fn health(&self, check: &HealthCheck) -> Step {
        let words = check
            .command
            .iter()
            .flat_map(|command| command.words.iter().cloned());
        let command = self
            .command(
                &format!("waiting until {}", check.conditions().join(", ")),
                script::HEALTH,
            )
            .parameter("name", self.name.as_str())
            .parameter("prefix", self.prefix.clone())
            .parameters(self.check_parameters(check))
            .args(words);
        // After Ctrl-C it is still waited for: a host that has changed gets to the end of its
        // steps.
        Self::run(PushStage::Health, None, command)
    }

    /// `now` is what is installed after it: `None` for what was, `Some(None)` for nothing. A set may
    /// be marked.
    pub(super) fn record(
        &self,
        now: Option<Option<&PackageSet>>,
        marked: Option<(FailureMark, &PackageSet)>,
        keep: u32,
        entry: &Value,
    ) -> Step {
        let good = match now {
            None => "=".to_owned(),
            Some(set) => set.map(|set| set.id.to_string()).unwrap_or_default(),
        };
        let (mark, marked) = match marked {
            Some((FailureMark::Failed, set)) => ("failed", set.id.to_string()),
            Some((FailureMark::Left, set)) => ("left", set.id.to_string()),
            None => ("", String::new()),
        };
        let line = entry.to_string();
        let result = entry["result"].as_str().unwrap_or_default();
        let body = [script::RECORD, self.remote.after_record].concat();
        let command = self
            .command(&format!("writing down: {result}"), &body)
            .parameter("good", good)
            .parameter("marked", marked)
            .parameter("mark", mark)
            .parameter("keep", keep.to_string())
            .parameter("line", line.trim_start_matches('{'));
        Self::run(PushStage::Record, None, command)
    }
}
