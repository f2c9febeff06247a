//! Steps: what a push does on one host, one after another. A step is what people read and the exact
//! command.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::hosts::{ConnectionUse, HostCommand, Upload, UploadContent};

/// One step on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which part of a push it is.
    pub stage: PushStage,
    /// What it does, for people, e.g. `installing shop 1.4.2-1`.
    pub what: String,
    /// The command at its core as a person would type it, if there is one.
    pub line: Option<String>,
    /// What is executed.
    pub action: StepAction,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAction {
    /// A script on the host.
    Run(HostCommand),
    /// A file to the host.
    Upload(Upload),
    /// A program here, with its arguments.
    Local(Vec<String>),
}

/// The parts of a push, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PushStage {
    /// Take the host's lock.
    Lock,
    /// Find out whether the host lets the pusher in again.
    Login,
    /// Send the package.
    Upload,
    /// Unpack it aside, for the migration.
    Stage,
    /// Migrate.
    Migrate,
    /// Hooks before anything changes.
    Before,
    /// Take the host out of service.
    Drain,
    /// Switch: install, or go back.
    Install,
    /// Confirm that it stays, over a new connection.
    Confirm,
    /// Find out whether it works.
    Health,
    /// Take the host into service.
    Undrain,
    /// Hooks after it.
    After,
    /// Write down how it went.
    Record,
    /// Give the lock back.
    Unlock,
}

impl PushStage {
    /// Returns the name in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Login => "login",
            Self::Upload => "upload",
            Self::Stage => "stage",
            Self::Migrate => "migrate",
            Self::Before => "before",
            Self::Drain => "drain",
            Self::Install => "install",
            Self::Confirm => "confirm",
            Self::Health => "health",
            Self::Undrain => "undrain",
            Self::After => "after",
            Self::Record => "record",
            Self::Unlock => "unlock",
        }
    }

    /// Returns whether a step may be done again if nobody knows how it ended: all of ours may,
    /// hooks may not.
    pub fn is_repeatable(self) -> bool {
        !matches!(
            self,
            Self::Before | Self::Drain | Self::Undrain | Self::After
        )
    }
}

impl Step {
    /// Returns the step as `--dry-run --json` prints it.
    pub fn to_json(&self) -> Value {
        let action = match &self.action {
            StepAction::Run(command) => json!({
                "run": {
                    "script": command.script,
                    "parameters": command.parameters.iter().cloned().collect::<BTreeMap<_, _>>(),
                    "args": command.args,
                    "env": command.env,
                    "sudo": command.sudo,
                    "new_connection": command.connection == ConnectionUse::New,
                    "timeout_s": command.timeout.map(|timeout| timeout.as_secs()),
                }
            }),
            StepAction::Upload(upload) => json!({
                "upload": {
                    "from": match &upload.content { UploadContent::File(path) => Some(path), UploadContent::Bytes(_) => None },
                    "to": upload.path,
                    "size": upload.size,
                    "sends": upload.missing(),
                    "sha256": upload.sha256,
                    "sudo": upload.sudo,
                }
            }),
            StepAction::Local(words) => json!({ "local": words }),
        };
        let mut step = json!({ "stage": self.stage.name(), "what": self.what, "line": self.line });
        if let (Some(step), Value::Object(action)) = (step.as_object_mut(), action) {
            step.extend(action);
        }
        step
    }
}
