//! Packages as they lie on hosts, and the changes from one to another.

use std::collections::BTreeSet;
use std::time::Duration;

use super::artifact::{Artifact, ArtifactContent};
use super::facts::{HostFacts, KeptMember, KeptPackage, RunsOn, VersionOrder};
use super::health::HealthCheck;
use super::pieces::FilePieces;
use super::policy::Probation;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_format::read::ArtifactKind;

/// A package as it lies on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPackage {
    /// Its name, unless it contains the whole application.
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
            name: (artifact.holds != ArtifactContent::Application).then(|| artifact.name.clone()),
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

impl From<&KeptMember> for StoredPackage {
    fn from(member: &KeptMember) -> Self {
        Self {
            name: Some(member.name.clone()),
            ..Self::from(&member.kept)
        }
    }
}

impl StoredPackage {
    /// Returns the SHA-256 of the release's record as scripts take it; empty if it is not known.
    pub(super) fn record_sum(&self) -> String {
        self.record.map(|sum| sum.to_string()).unwrap_or_default()
    }

    /// Returns whether the installed software has the version and the content of this package.
    pub(super) fn is_installed_as_software(&self, facts: &HostFacts) -> bool {
        let is_same = facts.record.is_some() && facts.record == self.record;
        is_same && facts.installed.as_ref() == Some(&self.version)
    }

    /// Returns what the host is told of it, for later pushes.
    fn info(&self) -> Vec<String> {
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
        lines
    }
}

/// The packages of an application that a host installs together. A host marks sets as good or
/// failed, and goes back to sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSet {
    /// Identifies it on hosts: the SHA-256 of its only package, or of the list of its packages.
    pub(super) id: Sha256Sum,
    /// The package with the release.
    pub(super) software: StoredPackage,
    /// Its configurations, if they are packages of their own.
    pub(super) configurations: Vec<StoredPackage>,
}

impl PackageSet {
    pub(super) fn new(software: StoredPackage, mut configurations: Vec<StoredPackage>) -> Self {
        configurations.sort_by(|a, b| a.name.cmp(&b.name));
        let mut set = Self {
            id: software.sha256,
            software,
            configurations,
        };
        if !set.configurations.is_empty() {
            set.id = Sha256Sum::of(set.members().as_bytes());
        }
        set
    }

    /// Returns its packages, the software first.
    pub(super) fn packages(&self) -> impl Iterator<Item = &StoredPackage> {
        std::iter::once(&self.software).chain(&self.configurations)
    }

    /// Returns whether a host has the configurations of the set, and no others.
    pub(super) fn is_configured(&self, facts: &HostFacts) -> bool {
        let its = self.configurations.iter().filter_map(|package| {
            let name = package.name.as_ref()?;
            Some((name, &package.version))
        });
        its.eq(&facts.configurations)
    }

    /// Iterates over the installed configurations that are not part of the set.
    pub(super) fn others<'f>(
        &self,
        facts: &'f HostFacts,
    ) -> impl Iterator<Item = (&'f String, &'f String)> {
        let names: BTreeSet<_> = self.configurations.iter().map(|each| &each.name).collect();
        let installed = facts.configurations.iter();
        installed.filter(move |(name, _)| !names.contains(&Some((*name).clone())))
    }

    /// Returns the SHA-256 of each package.
    fn members(&self) -> String {
        let sums: Vec<String> = self
            .packages()
            .map(|package| package.sha256.to_string())
            .collect();
        sums.join(" ")
    }

    /// Returns what the host is told of it, for later pushes; `runtime` is the interpreter that it
    /// comes with.
    fn info(&self, runtime: Option<&RunsOn>) -> String {
        let software = &self.software;
        let mut lines = if self.configurations.is_empty() {
            software.info()
        } else {
            let software = StoredPackage {
                name: None,
                ..software.clone()
            };
            let mut lines = software.info();
            lines.push(format!("members={}", self.members()));
            lines
        };
        lines.extend(runtime.map(|on| format!("runtime={} {} {}", on.name, on.version, on.sha256)));
        lines.join("\n")
    }
}

impl From<&KeptPackage> for PackageSet {
    fn from(kept: &KeptPackage) -> Self {
        let mut members = kept.members.iter().map(StoredPackage::from);
        let software = members.next().unwrap_or_else(|| StoredPackage::from(kept));
        Self {
            id: kept.sha256,
            software,
            configurations: members.collect(),
        }
    }
}

/// A package or a set that comes, as a host is told of it when its lock is taken.
#[derive(Debug)]
pub(super) struct IncomingPackage {
    pub(super) sha256: Sha256Sum,
    pub(super) info: String,
    pub(super) pieces: FilePieces,
}

impl IncomingPackage {
    /// A package that is part of a set, or an interpreter.
    pub(super) fn member(artifact: &Artifact) -> Self {
        Self {
            sha256: artifact.sha256,
            info: StoredPackage::from(artifact).info().join("\n"),
            pieces: artifact.pieces.clone(),
        }
    }

    /// A set; `pieces` are those of its only package.
    pub(super) fn set(set: &PackageSet, runtime: Option<&RunsOn>, pieces: FilePieces) -> Self {
        Self {
            sha256: set.id,
            info: set.info(runtime),
            pieces,
        }
    }
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
    /// The packages of before.
    Packages(Box<PackageSet>),
    /// No installation.
    Uninstall,
    /// There is no way back.
    None,
}

/// How the version of an installed package becomes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionChange {
    /// Nothing was there, or an older version.
    Install,
    /// The same version was there.
    Reinstall,
    /// A newer version was there.
    Downgrade,
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
    fn back(self) -> Self {
        match self {
            Self::Install => Self::Downgrade,
            Self::Downgrade => Self::Install,
            Self::Reinstall => self,
        }
    }
}

/// How the installed packages of an application become those of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SetChange {
    /// How each package changes, in the order of the set; `None`: it stays.
    pub(super) packages: Vec<Option<VersionChange>>,
    /// The names of the packages that are not part of the set.
    pub(super) removed: Vec<String>,
}

impl SetChange {
    /// Returns the change to a set whose software compares like this with what is installed. If
    /// only the interpreter changes, all packages stay, and if nothing does, all are installed again.
    pub(super) fn to(
        set: &PackageSet,
        order: Option<VersionOrder>,
        facts: &HostFacts,
        changes_runtime: bool,
    ) -> Self {
        let stays = set.software.is_installed_as_software(facts) && facts.half.is_none();
        let order = order.filter(|_| facts.installed.is_some());
        let own = (!stays).then(|| VersionChange::to(order));
        let others = set.configurations.iter().map(|package| {
            let installed = facts.configurations.get(package.name.as_deref()?);
            configuration_change(installed.map(String::as_str), &package.version)
        });
        let mut packages: Vec<_> = std::iter::once(own).chain(others).collect();
        let removed: Vec<String> = set.others(facts).map(|(name, _)| name.clone()).collect();
        if packages.iter().all(Option::is_none) && removed.is_empty() && !changes_runtime {
            packages.fill(Some(VersionChange::Reinstall));
        }
        Self { packages, removed }
    }

    /// Returns the change back from `set` to what was installed before, or to nothing.
    pub(super) fn back(&self, set: &PackageSet, behind: Option<&PackageSet>) -> Self {
        let configurations = behind.map_or(&[][..], |behind| &behind.configurations[..]);
        let find = |all: &'_ [StoredPackage], name: &Option<String>| {
            all.iter().position(|package| package.name == *name)
        };
        let own = self.packages.first().copied().flatten();
        let own = own.filter(|_| behind.is_some()).map(VersionChange::back);
        let others = configurations.iter().map(|package| {
            let now = find(&set.configurations, &package.name);
            let now = now.map(|index| set.configurations[index].version.as_str());
            configuration_change(now, &package.version)
        });
        let goes = |package: &&StoredPackage| find(configurations, &package.name).is_none();
        let removed = set.configurations.iter().filter(goes);
        Self {
            packages: std::iter::once(own).chain(others).collect(),
            removed: removed.filter_map(|package| package.name.clone()).collect(),
        }
    }

    /// Returns the packages of the set that are installed.
    pub(super) fn coming<'s>(
        &self,
        set: &'s PackageSet,
    ) -> impl Iterator<Item = (&'s StoredPackage, VersionChange)> {
        let all = set.packages().zip(&self.packages);
        let coming = all.filter_map(|(package, change)| Some((package, (*change)?)));
        coming.collect::<Vec<_>>().into_iter()
    }
}

/// How the version of a configuration becomes another one; `None`: it is the same.
fn configuration_change(from: Option<&str>, to: &str) -> Option<VersionChange> {
    let order = |version: &str| (configuration_time(version), version.to_owned());
    match from {
        None => Some(VersionChange::Install),
        Some(from) if from == to => None,
        Some(from) if order(from) < order(to) => Some(VersionChange::Install),
        Some(_) => Some(VersionChange::Downgrade),
    }
}

/// Returns the time in the version of a configuration, as numbers: `20261128.80000` is earlier than
/// `20261128.221004`.
pub(super) fn configuration_time(version: &str) -> Vec<u64> {
    let time = version.split('-').next().unwrap_or(version);
    let numbers = time.split('.').map(|number| number.parse().unwrap_or(0));
    numbers.collect()
}

/// Returns whether two versions are of configurations with the same content: the revision has a hash
/// of it, and the version the time of a commit.
pub fn is_same_content(one: &str, other: &str) -> bool {
    match (one.rsplit_once('-'), other.rsplit_once('-')) {
        (Some((_, one)), Some((_, other))) => one == other,
        _ => one == other,
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
    /// The packages to install; `None`: the application is removed.
    pub(super) to: Option<&'a PackageSet>,
    /// How the installed packages become these.
    pub(super) change: &'a SetChange,
    pub(super) fallback: &'a Fallback,
    pub(super) runtime: &'a RuntimeChanges,
    /// How long to wait for the lock of the package manager.
    pub(super) lock_wait: Duration,
    /// The packages that a rollback leaves, which are not gone back to again.
    pub(super) leaves: Option<&'a PackageSet>,
    /// How the host decides whether the release stays; `None` if it does not.
    pub(super) trial: Option<&'a ReleaseTrial<'a>>,
}

impl Transition<'_> {
    /// Returns the name of the goal, which tells a transaction from another one.
    pub(super) fn goal(&self) -> String {
        self.to
            .map_or_else(|| "absence".to_owned(), |set| set.id.to_string())
    }
}

impl Fallback {
    /// Returns the word that scripts have for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Packages(_) => "package",
            Self::Uninstall => "absence",
            Self::None => "none",
        }
    }

    /// Returns the packages that are gone back to.
    pub(super) fn packages(&self) -> Option<&PackageSet> {
        match self {
            Self::Packages(set) => Some(set),
            Self::Uninstall | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_same_content;

    #[test]
    fn the_hash_of_the_content_counts_and_not_the_time() {
        let version = "20261128.80000-production.web.g3f9a0c1d";
        for (other, is_same) in [
            (version, true),
            ("20261129.100000-production.web.g3f9a0c1d", true),
            ("20261128.80000-production.web.g00000000", false),
            ("20261128.80000-staging.web.g3f9a0c1d", false),
            ("20261128.80000", false),
        ] {
            assert_eq!(is_same_content(version, other), is_same, "{other}");
        }
    }
}
