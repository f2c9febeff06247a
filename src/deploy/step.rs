//! Steps: what a push does on one host, one after another. A step is what people read and the exact
//! command.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::artifact::{Artifact, ArtifactContent};
use super::facts::{KeptPackage, KeptRuntime, PackageManager, RunsOn};
use super::health::HealthCheck;
use super::migration::Migration;
use super::pieces::FilePieces;
use super::script::{self, RemoteState};
use crate::hosts::{HostCommand, Upload, UploadContent, UploadForm};
use pkgapp_config::{CommandLine, SharedPath, UnitsOf};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::name::AppName;
use pkgapp_core::report::human_bytes;
use pkgapp_format::read::ArtifactKind;

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
            Self::Upload => "upload",
            Self::Stage => "stage",
            Self::Migrate => "migrate",
            Self::Before => "before",
            Self::Drain => "drain",
            Self::Install => "install",
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
                    "args": command.args,
                    "env": command.env,
                    "sudo": command.sudo,
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

/// What all steps of one push on one host have in common.
#[derive(Debug, Clone)]
pub(super) struct StepBuilder<'a> {
    pub(super) name: &'a AppName,
    /// The release that is in use.
    pub(super) prefix: String,
    pub(super) token: &'a str,
    /// Where the host keeps things.
    pub(super) seat: RemoteState,
    /// The host's name and its own variables, for hooks.
    pub(super) host: &'a str,
    pub(super) variables: &'a BTreeMap<String, String>,
}

/// A package as it lies on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredPackage {
    /// The package's name, of an interpreter that applications share.
    pub(super) name: Option<String>,
    pub(super) sha256: Sha256Sum,
    pub(super) file: String,
    pub(super) size: u64,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) record: Option<Sha256Sum>,
    pub(super) commit: Option<String>,
    /// Whether it is a package that has no signature, as far as is known.
    pub(super) is_unsigned: bool,
}

impl From<&Artifact> for StoredPackage {
    fn from(artifact: &Artifact) -> Self {
        Self {
            name: (artifact.holds == ArtifactContent::Runtime).then(|| artifact.name.clone()),
            sha256: artifact.sha256,
            file: artifact.file.clone(),
            size: artifact.size,
            version: artifact.version.clone(),
            release: artifact.release.clone(),
            record: Some(artifact.record),
            commit: artifact.commit.clone(),
            is_unsigned: !artifact.is_signed && artifact.kind != ArtifactKind::Tar,
        }
    }
}

impl From<&KeptPackage> for StoredPackage {
    fn from(kept: &KeptPackage) -> Self {
        Self {
            name: None,
            sha256: kept.sha256,
            file: kept.file.clone(),
            size: kept.size,
            version: kept.version.clone(),
            release: kept.release.clone(),
            record: kept.record,
            commit: kept.commit.clone(),
            is_unsigned: kept.is_unsigned,
        }
    }
}

impl From<&KeptRuntime> for StoredPackage {
    fn from(runtime: &KeptRuntime) -> Self {
        Self {
            name: Some(runtime.name.clone()),
            ..Self::from(&runtime.kept)
        }
    }
}

impl StoredPackage {
    /// Returns what the host is told of it, for later pushes; `runtime` is the interpreter that it
    /// comes with.
    fn info(&self, runtime: Option<&RunsOn>) -> String {
        let mut lines = vec![
            format!("file={}", self.file),
            format!("size={}", self.size),
            format!("version={}", self.version),
            format!("release={}", self.release),
            format!(
                "record={}",
                self.record.map(|sum| sum.to_string()).unwrap_or_default()
            ),
            format!("commit={}", self.commit.as_deref().unwrap_or_default()),
        ];
        lines.extend(self.is_unsigned.then(|| "unsigned=yes".to_owned()));
        lines.extend(self.name.as_ref().map(|name| format!("name={name}")));
        lines.extend(runtime.map(|on| format!("runtime={} {} {}", on.name, on.version, on.sha256)));
        lines.join("\n")
    }
}

/// A package that comes, as a host is told of it when its lock is taken.
pub(super) struct IncomingPackage<'a> {
    pub(super) package: &'a StoredPackage,
    pub(super) pieces: &'a FilePieces,
    /// What it runs on.
    pub(super) runtime: Option<&'a RunsOn>,
}

/// What a transaction does about the interpreter that the application shares with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RuntimeChange {
    /// It is installed, unless one as new is there.
    Up(StoredPackage),
    /// It was brought by this push, and goes back to what was before, or away if nothing was.
    Down {
        name: String,
        from: String,
        to: Option<StoredPackage>,
    },
}

impl RuntimeChange {
    fn name(&self) -> &str {
        match self {
            Self::Up(package) => package.name.as_deref().unwrap_or_default(),
            Self::Down { name, .. } => name,
        }
    }

    /// Returns what is installed in the same call of the package manager.
    fn package(&self) -> Option<&StoredPackage> {
        match self {
            Self::Up(package) => Some(package),
            Self::Down { to, .. } => to.as_ref(),
        }
    }

    fn way(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Down { to: Some(_), .. } => "down",
            Self::Down { to: None, .. } => "remove",
        }
    }

    fn from(&self) -> &str {
        match self {
            Self::Up(_) => "",
            Self::Down { from, .. } => from,
        }
    }
}

/// Why a kept package is not gone back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureMark {
    /// It was installed, and did not work.
    Failed,
    /// It worked, and a roll-back has left it.
    Left,
}

/// What becomes of the interpreter, there and back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RuntimeChanges {
    pub(super) there: Option<RuntimeChange>,
    pub(super) back: Option<RuntimeChange>,
}

/// What a transaction falls back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fallback {
    /// The package of before.
    Package(StoredPackage),
    /// No installation.
    Uninstall,
    /// There is no way back.
    None,
}

/// What tells a transaction from another one.
fn goal(to: Option<&StoredPackage>) -> String {
    to.map_or_else(
        || "absence".to_owned(),
        |package| package.sha256.to_string(),
    )
}

impl StepBuilder<'_> {
    fn command(&self, what: &str, body: &str) -> HostCommand {
        script::command(what, body, &self.seat, self.token)
    }

    fn run(stage: PushStage, line: Option<String>, command: HostCommand) -> Step {
        Step {
            stage,
            what: command.what.clone(),
            line,
            action: StepAction::Run(command),
        }
    }

    fn place(&self, package: &StoredPackage) -> String {
        format!(
            "{}/packages/{}/{}",
            self.seat.state, package.sha256, package.file
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
        coming: &[IncomingPackage<'_>],
    ) -> Step {
        let told = coming.iter().flat_map(|coming| {
            let IncomingPackage {
                package,
                pieces,
                runtime,
            } = coming;
            [
                package.sha256.to_string(),
                package.info(*runtime),
                pieces.to_string(),
            ]
        });
        let patience = patience.as_secs().to_string();
        let command = self
            .command("taking the lock", script::LOCK)
            .args([owner, dead, &patience, seen])
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
        let command = self.command("clearing away the lock of a push that died", script::SWEEP);
        Self::run(
            PushStage::Unlock,
            None,
            command.arg(token).arg(if known { "dead" } else { "" }),
        )
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
            sudo: self.seat.sudo,
            copies: copies.unwrap_or_default(),
        };
        let (all, sends) = (human_bytes(upload.size), human_bytes(upload.missing()));
        let size = if upload.copies.is_empty() {
            all
        } else {
            format!("{sends} of {all}")
        };
        let what = format!("sending {} ({size})", artifact.file);
        Step {
            stage: PushStage::Upload,
            what,
            line: None,
            action: StepAction::Upload(upload),
        }
    }

    fn staged(&self, package: &StoredPackage) -> String {
        format!("{}/staged/{}", self.seat.state, package.sha256)
    }

    /// Unpacks a release beside the others.
    pub(super) fn unpack(
        &self,
        package: &StoredPackage,
        prefix: &str,
        shared: &[SharedPath],
    ) -> Step {
        let what = format!("unpacking {} beside the other releases", package.file);
        let (sum, record) = (
            package.sha256.to_string(),
            package
                .record
                .map(|sum| sum.to_string())
                .unwrap_or_default(),
        );
        let command = self
            .command(&what, &script::unpack())
            .args([
                self.name.as_str(),
                &self.place(package),
                &sum,
                &package.version,
                &record,
                prefix,
            ])
            .args(shared.iter().map(SharedPath::as_str));
        Self::run(PushStage::Stage, None, command)
    }

    /// Unpacks a package, and the interpreter that comes with it, where nothing else looks.
    pub(super) fn stage(&self, package: &StoredPackage, runtime: Option<&StoredPackage>) -> Step {
        let files: Vec<&str> = [Some(package), runtime]
            .into_iter()
            .flatten()
            .map(|each| each.file.as_str())
            .collect();
        let what = format!(
            "unpacking {} beside the installed release",
            files.join(" and ")
        );
        let packages = [Some(package), runtime].into_iter().flatten();
        let args = packages.flat_map(|each| [self.place(each), each.sha256.to_string()]);
        Self::run(
            PushStage::Stage,
            None,
            self.command(&what, script::STAGE)
                .arg(self.staged(package))
                .args(args),
        )
    }

    pub(super) fn migrate(&self, package: &StoredPackage, migration: &Migration<'_>) -> Step {
        let mark = format!("{}/packages/{}/migrated", self.seat.state, package.sha256);
        let variables = self.variables(package);
        let mut parameters = vec![("name", self.name.to_string()), ("mark", mark)];
        let script = match self.seat.units {
            Some(_) => {
                parameters.extend([
                    ("id", package.version.clone()),
                    ("sum", package.sha256.to_string()),
                ]);
                parameters.extend(migration.surroundings(&variables));
                script::own_migrate()
            }
            None => {
                parameters.extend([
                    ("root", self.staged(package)),
                    ("prefix", self.prefix.clone()),
                ]);
                parameters.extend(migration.parameters(&variables));
                script::migrate()
            }
        };
        let command = self.command(&format!("migrating with {}", package.release), &script);
        let command = command
            .arg(script::assignments(&parameters))
            .args(migration.exec.words.iter().map(String::as_str));
        Self::run(
            PushStage::Migrate,
            Some(migration.exec.text.clone()),
            command,
        )
    }

    pub(super) fn hook(
        &self,
        stage: PushStage,
        line: &CommandLine,
        package: &StoredPackage,
    ) -> Step {
        let command = self
            .command(
                &format!("the {} hook `{}`", stage.name(), line.text),
                script::COMMAND,
            )
            .arg(self.prefix.clone())
            .args(line.words.iter().map(String::as_str));
        Self::run(
            stage,
            Some(line.text.clone()),
            HostCommand {
                env: self.variables(package),
                ..command
            },
        )
    }

    /// What commands of the user see in their environment.
    fn variables(&self, package: &StoredPackage) -> BTreeMap<String, String> {
        let mut variables = self.variables.clone();
        let own = [
            ("NAME", self.name.as_str()),
            ("VERSION", &package.release),
            ("HOST", self.host),
        ];
        variables.extend(own.map(|(name, value)| (format!("PKGAPP_{name}"), value.to_owned())));
        variables
    }

    /// Leads `current` to `to` (`None`: nowhere) and, if that fails, to `back`.
    pub(super) fn switch(
        &self,
        units: UnitsOf,
        from: Option<&str>,
        to: Option<&StoredPackage>,
        back: &Fallback,
    ) -> Step {
        let (way, behind) = match back {
            Fallback::Package(package) => ("package", Some(package)),
            Fallback::Uninstall => ("absence", None),
            Fallback::None => ("none", None),
        };
        let text = |package: Option<&StoredPackage>, of: fn(&StoredPackage) -> String| {
            package.map(of).unwrap_or_default()
        };
        let sum = |package: &StoredPackage| package.sha256.to_string();
        let record = |package: &StoredPackage| {
            package
                .record
                .map(|sum| sum.to_string())
                .unwrap_or_default()
        };
        let version = |package: &StoredPackage| package.version.clone();
        let lines = [
            ("name", self.name.to_string()),
            ("state", self.seat.state.clone()),
            ("PKGAPP_UNITS", units.name().to_owned()),
            ("version", text(to, version)),
            ("sum", text(to, sum)),
            ("record", text(to, record)),
            ("back", way.to_owned()),
            ("back_version", text(behind, version)),
            ("back_sum", text(behind, sum)),
            ("back_record", text(behind, record)),
        ];
        let into = self.seat.directory();
        let (what, core) = match to {
            Some(package) => {
                let link = format!("{into}/current");
                (
                    format!("switching to {} {}", self.name, package.version),
                    format!("{link} -> releases/{}", package.version),
                )
            }
            None => (
                format!("taking {} out of use", self.name),
                format!("rm {into}/current"),
            ),
        };
        self.transaction(&what, core, from, &goal(to), &lines, &script::switch())
    }

    /// A step that goes on by itself, whatever becomes of the pusher and of the host.
    fn transaction(
        &self,
        what: &str,
        core: String,
        from: Option<&str>,
        goal: &str,
        parameters: &[(&str, String)],
        script: &str,
    ) -> Step {
        let parameters = script::assignments(parameters);
        let args = [
            self.name.as_str(),
            goal,
            from.unwrap_or_default(),
            &parameters,
            script,
        ];
        Self::run(
            PushStage::Install,
            Some(core),
            self.command(what, script::INSTALL).args(args),
        )
    }

    /// Goes to `to` (`None`: to no installation) and, if that fails, to `back`.
    pub(super) fn install(
        &self,
        manager: PackageManager,
        from: Option<&str>,
        to: Option<&StoredPackage>,
        back: &Fallback,
        runtime: &RuntimeChanges,
        lock_wait: Duration,
    ) -> Step {
        let file = |package: Option<&StoredPackage>| {
            package
                .map(|package| self.place(package))
                .unwrap_or_default()
        };
        let text = |package: Option<&StoredPackage>, of: fn(&StoredPackage) -> String| {
            package.map(of).unwrap_or_default()
        };
        let sum = |package: &StoredPackage| package.sha256.to_string();
        let record = |package: &StoredPackage| {
            package
                .record
                .map(|sum| sum.to_string())
                .unwrap_or_default()
        };
        let (way, behind) = match back {
            Fallback::Package(package) => ("package", Some(package)),
            Fallback::Uninstall => ("absence", None),
            Fallback::None => ("none", None),
        };
        let mut lines = vec![
            ("name", self.name.to_string()),
            ("prefix", self.prefix.clone()),
            ("manager", manager.program().to_owned()),
            ("lock_wait", lock_wait.as_secs().to_string()),
            ("file", file(to)),
            ("sum", text(to, sum)),
            ("version", text(to, |package| package.version.clone())),
            ("record", text(to, record)),
            ("back", way.to_owned()),
            ("back_file", file(behind)),
            ("back_sum", text(behind, sum)),
            (
                "back_version",
                text(behind, |package| package.version.clone()),
            ),
            ("back_record", text(behind, record)),
        ];
        let there = [
            "runtime_way",
            "runtime_file",
            "runtime_sum",
            "runtime_version",
            "runtime_from",
        ];
        let back = [
            "back_runtime_way",
            "back_runtime_file",
            "back_runtime_sum",
            "back_runtime_version",
            "back_runtime_from",
        ];
        let known = runtime.there.as_ref().or(runtime.back.as_ref());
        lines.extend(known.map(|change| ("runtime", change.name().to_owned())));
        for (names, change) in [(there, &runtime.there), (back, &runtime.back)] {
            let Some(change) = change else { continue };
            let package = change.package();
            let version = text(package, |package| package.version.clone());
            let values = [
                change.way().to_owned(),
                file(package),
                text(package, sum),
                version,
                change.from().to_owned(),
            ];
            lines.extend(names.into_iter().zip(values));
        }
        let what = match to {
            Some(package) => format!("installing {} {}", self.name, package.version),
            None => format!("removing {}", self.name),
        };
        let what = match runtime
            .there
            .as_ref()
            .map(|change| (change.name(), change.package()))
        {
            None => what,
            Some((name, Some(package))) => format!("{what} with {name} {}", package.version),
            Some((name, None)) => format!("{what}, and {name} unless something else needs it"),
        };
        let core = self.core(
            manager,
            from,
            to,
            runtime.there.as_ref().and_then(RuntimeChange::package),
        );
        // The same package with another interpreter is another goal.
        let goal = match &runtime.there {
            Some(change) => {
                let sum = change.package().map(|package| package.sha256.to_string());
                format!("{} {} {}", goal(to), change.way(), sum.unwrap_or_default())
            }
            None => goal(to),
        };
        self.transaction(&what, core, from, &goal, &lines, script::TRANSACTION)
    }

    /// The package manager's command, as `transaction.sh` will run it.
    fn core(
        &self,
        manager: PackageManager,
        from: Option<&str>,
        to: Option<&StoredPackage>,
        runtime: Option<&StoredPackage>,
    ) -> String {
        let program = manager.program();
        let Some(package) = to else {
            return match manager {
                PackageManager::Dpkg => format!("dpkg --remove {}", self.name),
                PackageManager::Rpm => format!("rpm -e {}", self.name),
                PackageManager::AptGet
                | PackageManager::Dnf
                | PackageManager::Yum
                | PackageManager::Zypper => {
                    format!("{program} -y remove {}", self.name)
                }
            };
        };
        let files: Vec<String> = runtime
            .into_iter()
            .chain([package])
            .map(|package| self.place(package))
            .collect();
        let files = files.join(" ");
        let same = from == Some(package.version.as_str()) && runtime.is_none();
        match manager {
            PackageManager::AptGet if same => {
                format!("apt-get -y --no-install-recommends --reinstall install {files}")
            }
            PackageManager::AptGet => {
                format!("apt-get -y --no-install-recommends --allow-downgrades install {files}")
            }
            PackageManager::Dpkg => {
                format!("dpkg --force-confdef --force-confold --install {files}")
            }
            PackageManager::Dnf | PackageManager::Yum if same => {
                format!("{program} -y reinstall {files}")
            }
            PackageManager::Dnf | PackageManager::Yum => format!("{program} -y install {files}"),
            PackageManager::Zypper => {
                format!("zypper --non-interactive install --oldpackage --force {files}")
            }
            PackageManager::Rpm => format!("rpm -U --oldpackage --replacepkgs {files}"),
        }
    }

    pub(super) fn health(&self, check: &HealthCheck) -> Step {
        let mut parts = vec!["its units run".to_owned()];
        parts.extend(check.url.as_ref().map(|url| format!("{url} answers")));
        parts.extend(
            check
                .command
                .as_ref()
                .map(|command| format!("`{}` succeeds", command.text)),
        );
        let seconds = |span: Duration| span.as_secs().to_string();
        let url = check
            .url
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let words = check
            .command
            .iter()
            .flat_map(|command| command.words.iter().cloned());
        let command = self
            .command(
                &format!("waiting until {}", parts.join(", ")),
                script::HEALTH,
            )
            .args([
                self.name.as_str(),
                &self.prefix,
                &seconds(check.timeout),
                &seconds(check.settle),
                &url,
            ])
            .args(words);
        // After Ctrl-C it is still waited for: a host that has changed gets to the end of its
        // steps.
        Self::run(PushStage::Health, None, command)
    }

    /// `now` is what is installed after it: `None` for what was, `Some(None)` for nothing. A
    /// package may be marked.
    pub(super) fn record(
        &self,
        now: Option<Option<&StoredPackage>>,
        marked: Option<(FailureMark, &StoredPackage)>,
        keep: u32,
        entry: &Value,
    ) -> Step {
        let good = match now {
            None => "=".to_owned(),
            Some(package) => package
                .map(|package| package.sha256.to_string())
                .unwrap_or_default(),
        };
        let (mark, marked) = match marked {
            Some((FailureMark::Failed, package)) => ("failed", package.sha256.to_string()),
            Some((FailureMark::Left, package)) => ("left", package.sha256.to_string()),
            None => ("", String::new()),
        };
        let line = entry.to_string();
        let result = entry["result"].as_str().unwrap_or_default();
        let body = if self.seat.units.is_some() {
            [script::RECORD, script::RETAIN].concat()
        } else {
            script::RECORD.to_owned()
        };
        let command = self.command(&format!("writing down: {result}"), &body);
        let args = [
            good,
            marked,
            mark.to_owned(),
            keep.to_string(),
            line.trim_start_matches('{').to_owned(),
        ];
        Self::run(PushStage::Record, None, command.args(args))
    }
}
