//! Packages as they lie on hosts, and the changes from one to another.

use std::time::Duration;

use super::artifact::{Artifact, ArtifactContent};
use super::facts::{KeptPackage, KeptRuntime, RunsOn, VersionOrder};
use super::health::HealthCheck;
use super::pieces::FilePieces;
use super::policy::Probation;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_format::read::ArtifactKind;

/// A package as it lies on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPackage {
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
    /// Returns the SHA-256 of the release's record as scripts take it; empty if it is not known.
    pub(super) fn record_sum(&self) -> String {
        self.record.map(|sum| sum.to_string()).unwrap_or_default()
    }

    /// Returns what the host is told of it, for later pushes; `runtime` is the interpreter that it
    /// comes with.
    pub(super) fn info(&self, runtime: Option<&RunsOn>) -> String {
        let mut lines = vec![
            format!("file={}", self.file),
            format!("size={}", self.size),
            format!("version={}", self.version),
            format!("release={}", self.release),
            format!("record={}", self.record_sum()),
            format!("commit={}", self.commit.as_deref().unwrap_or_default()),
        ];
        lines.extend(self.is_unsigned.then(|| "unsigned=yes".to_owned()));
        lines.extend(self.name.as_ref().map(|name| format!("name={name}")));
        lines.extend(runtime.map(|on| format!("runtime={} {} {}", on.name, on.version, on.sha256)));
        lines.join("\n")
    }
}

/// A package that comes, as a host is told of it when its lock is taken.
#[derive(Debug)]
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
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Up(package) => package.name.as_deref().unwrap_or_default(),
            Self::Down { name, .. } => name,
        }
    }

    /// Returns what is installed in the same call of the package manager.
    pub(super) fn package(&self) -> Option<&StoredPackage> {
        match self {
            Self::Up(package) => Some(package),
            Self::Down { to, .. } => to.as_ref(),
        }
    }

    pub(super) fn way(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Down { to: Some(_), .. } => "down",
            Self::Down { to: None, .. } => "remove",
        }
    }

    pub(super) fn from(&self) -> &str {
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

/// How the installed version becomes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionChange {
    /// Nothing was there, or an older version.
    Install,
    /// The same version was there.
    Reinstall,
    /// A newer version was there.
    Downgrade,
    /// The very package is there, and stays; only its interpreter changes.
    RuntimeOnly,
}

impl VersionChange {
    /// Returns the change to a version that compares like this with the installed one; `None`: none
    /// is installed.
    pub(super) fn to(order: Option<VersionOrder>) -> Self {
        match order {
            None | Some(VersionOrder::Newer) => Self::Install,
            Some(VersionOrder::Same) => Self::Reinstall,
            Some(VersionOrder::Older) => Self::Downgrade,
        }
    }

    /// Returns the change back to a package of before.
    pub(super) fn back(self) -> Self {
        match self {
            Self::Install => Self::Downgrade,
            Self::Downgrade => Self::Install,
            Self::Reinstall | Self::RuntimeOnly => self,
        }
    }
}

/// How a host decides by itself whether a release stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReleaseTrial<'a> {
    /// The check that the release must pass.
    pub(super) check: &'a HealthCheck,
    /// Who confirms it after that, and in which time.
    pub(super) probation: Probation,
}

/// A change of the installed release, and the way back if it fails.
#[derive(Debug, Clone, Copy)]
pub struct Transition<'a> {
    /// The installed version.
    pub(super) from: Option<&'a str>,
    /// The package to install; `None`: the application is removed.
    pub(super) to: Option<&'a StoredPackage>,
    /// How its version compares with the installed one.
    pub(super) change: VersionChange,
    pub(super) fallback: &'a Fallback,
    pub(super) runtime: &'a RuntimeChanges,
    /// How long to wait for the lock of the package manager.
    pub(super) lock_wait: Duration,
    /// The package that a rollback leaves, which is not gone back to again.
    pub(super) leaves: Option<&'a StoredPackage>,
    /// How the host decides whether the release stays; `None` if it does not.
    pub(super) trial: Option<&'a ReleaseTrial<'a>>,
}

impl Transition<'_> {
    /// Returns the name of the goal, which tells a transaction from another one.
    pub(super) fn goal(&self) -> String {
        self.to.map_or_else(
            || "absence".to_owned(),
            |package| package.sha256.to_string(),
        )
    }
}

impl Fallback {
    /// Returns the word that scripts have for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Package(_) => "package",
            Self::Uninstall => "absence",
            Self::None => "none",
        }
    }

    /// Returns the package that is gone back to.
    pub(super) fn package(&self) -> Option<&StoredPackage> {
        match self {
            Self::Package(package) => Some(package),
            Self::Uninstall | Self::None => None,
        }
    }
}
