//! What a push must know of a host before it decides anything. One script gathers it, in one round
//! trip; `answer.rs` reads what that prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::history::HistoryEntry;
use super::pieces::FilePieces;
use super::stored::PackageSet;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::Error;
use pkgapp_core::name::PythonMinor;
use pkgapp_format::read::ArtifactKind;

/// What is true on a host at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// `ID` of os-release(5), e.g. `debian`.
    pub os: String,
    /// `VERSION_ID`, e.g. `12`.
    pub os_version: String,
    /// As `uname -m` has it.
    pub arch: String,
    /// E.g. `2.36`; empty if the host has another C library.
    pub glibc: String,
    /// Interpreters in /usr/bin.
    pub pythons: Vec<PythonMinor>,
    /// Who the scripts of a push are.
    pub user: String,
    /// Whether that is root.
    pub root: bool,
    /// Whether systemd is PID 1.
    pub systemd: bool,
    /// Whether needrestart(1) is installed, which asks questions if it isn't told not to.
    pub needrestart: bool,
    /// What installs packages; `None` if nothing that is known.
    pub manager: Option<PackageManager>,
    /// Whether the manager has to be told to end where another process holds its lock: else it would
    /// wait for ever.
    pub exits_on_lock: bool,
    /// Space where the release goes.
    pub free_prefix: FreeSpace,
    /// Space where packages are kept.
    pub free_state: FreeSpace,
    /// Which process holds the package manager's lock, and on what.
    pub held: Option<String>,
    /// The installed version, as the package manager writes it.
    pub installed: Option<String>,
    /// The installed configurations that are packages of their own, and their versions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, String>,
    /// The installed version of a package with the name of the configuration that pkgapp did not make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_configuration: Option<String>,
    /// The version that the host's repositories have under that name, if nothing of it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offers_configuration: Option<String>,
    /// The settings that a release needs a value of the configuration for, and the installed one has
    /// none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unconfigured: BTreeSet<String>,
    /// The environment of the host, which its first configuration has determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What dpkg has begun and not ended with the package.
    pub half: Option<String>,
    /// Whether the installed package of this name is none of pkgapp's.
    pub foreign: bool,
    /// The version that the host's repositories have under this name, if nothing of it is
    /// installed.
    pub offers: Option<String>,
    /// Who refuses packages without a signature, e.g. ``dnf, by `localpkg_gpgcheck` in
    /// /etc/dnf/dnf.conf``.
    pub insists: Option<String>,
    /// SHA-256 of the installed release's record.
    pub record: Option<Sha256Sum>,
    /// The commit that the installed release was built from.
    pub commit: Option<String>,
    /// Who listens where the release will listen.
    pub listeners: Vec<PortListener>,
    /// The last entry of the history in which the application was part of a system.
    pub applied: Option<Box<HistoryEntry>>,
    /// How the version of an artifact (by its index) compares with the installed one.
    pub orders: BTreeMap<usize, VersionOrder>,
    /// How the version of a kept package compares with the installed one.
    pub kept_orders: BTreeMap<Sha256Sum, VersionOrder>,
    /// What an artifact (by its index) depends on and nobody offers.
    pub unmet: BTreeMap<usize, Vec<String>>,
    /// Who holds the application's lock.
    pub lock: Option<LockHolder>,
    /// SHA-256 of the package that the last push has installed.
    pub current: Option<Sha256Sum>,
    /// A transaction that no push has seen the end of.
    pub transaction: Option<Transaction>,
    /// Whether the secrets of before their last change are kept for roll-back.
    pub previous_secrets: bool,
    /// Packages that are kept for roll-back.
    pub kept: Vec<KeptPackage>,
    /// Interpreters that applications share, by the names of their packages: the installed
    /// versions.
    pub runtimes: BTreeMap<String, String>,
    /// Packages that are kept because others need them: such interpreters, and the packages of sets.
    pub kept_members: Vec<KeptMember>,
    /// What kept packages run on.
    pub runs_on: BTreeMap<Sha256Sum, RunsOn>,
    /// What packages that lie there are made of, by their SHA-256: the installed application's and
    /// its interpreter's, if they are known.
    #[serde(skip)]
    pub pieces: BTreeMap<Sha256Sum, FilePieces>,
    /// The settings that a release needs a value for, and no file has one.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<String>,
    /// Why systemd passes no secrets that are files on, if a release has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_credentials: Option<String>,
    /// Packages whose migration has run from this host.
    pub migrated: BTreeSet<Sha256Sum>,
    /// Packages that a roll-back has left: they worked, and are not gone back to unless they are
    /// named.
    pub left: BTreeSet<Sha256Sum>,
    /// Where releases are unpacked: what else is true there.
    pub own: Option<LoginDirectory>,
    /// The directory of the state that the login may not look into.
    pub unreadable: Option<String>,
    /// Directories that an installation writes to and can't.
    pub unwritable: Vec<String>,
    /// Files that earlier pushes left and that a loss of power, a full disk or something else has
    /// damaged: they count as absent, and the next push writes them anew.
    pub damaged: Vec<String>,
    /// Lines that make no sense.
    pub strange: Vec<String>,
    /// Why nothing in the state can be trusted: it belongs to another user, say.
    pub distrusted: Option<String>,
}

/// What a host says of the directory and of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LoginDirectory {
    /// The directory, absolute.
    pub into: String,
    /// What can be unpacked: `zstd`, `gzip`, `xz`.
    pub unpackers: Vec<String>,
    /// Whether the login's services outlive it.
    pub lingers: bool,
    /// Whether there is crontab(1).
    pub crontab: bool,
    /// Whether there is logrotate(8).
    pub logrotate: bool,
    /// The directory that should be writable and is not.
    pub unwritable: Option<String>,
    /// What lies where `current` should, and is no link.
    pub taken: Option<String>,
}

/// A package manager, the most capable one of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    /// apt-get, over dpkg.
    AptGet,
    /// dpkg alone.
    Dpkg,
    /// dnf, over rpm.
    Dnf,
    /// yum, over rpm.
    Yum,
    /// zypper, over rpm.
    Zypper,
    /// rpm alone.
    Rpm,
}

impl PackageManager {
    pub(super) const ALL: [Self; 6] = [
        Self::AptGet,
        Self::Dpkg,
        Self::Dnf,
        Self::Yum,
        Self::Zypper,
        Self::Rpm,
    ];

    /// Returns the name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::AptGet => "apt-get",
            Self::Dpkg => "dpkg",
            Self::Dnf => "dnf",
            Self::Yum => "yum",
            Self::Zypper => "zypper",
            Self::Rpm => "rpm",
        }
    }

    /// Returns what it installs.
    pub fn kind(self) -> ArtifactKind {
        match self {
            Self::AptGet | Self::Dpkg => ArtifactKind::Deb,
            Self::Dnf | Self::Yum | Self::Zypper | Self::Rpm => ArtifactKind::Rpm,
        }
    }
}

impl fmt::Display for PackageManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// Free space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FreeSpace {
    /// Bytes.
    pub bytes: u64,
    /// The file system, as df(1) names it: two places on one share its space.
    pub device: String,
}

impl Default for FreeSpace {
    /// Nobody knows, so that nothing is refused for it.
    fn default() -> Self {
        Self {
            bytes: u64::MAX,
            device: String::new(),
        }
    }
}

/// What a host has to say of its state that is not as it should be.
impl HostFacts {
    /// Returns it for people, a line each.
    pub fn oddities(&self) -> Vec<String> {
        let damaged = self
            .damaged
            .iter()
            .map(|path| format!("`{path}` is damaged and counts as missing"));
        let strange = self.strange.iter().map(|line| {
            format!(
                "the host gave a line that makes no sense: `{}`",
                line.escape_debug()
            )
        });
        damaged.chain(strange).collect()
    }
}

/// A program that listens where a release will listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortListener {
    /// The address and port of the release.
    pub address: String,
    /// The program, for people.
    pub program: String,
}

impl fmt::Display for PortListener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, program } = self;
        write!(
            out,
            "{program} listens on {address}, where the release will listen"
        )
    }
}

/// How an artifact's version compares with the installed one, by the package manager's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VersionOrder {
    /// The artifact is newer.
    Newer,
    /// They are the same.
    Same,
    /// The artifact is older.
    Older,
}

/// Who holds an application's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockHolder {
    /// Identifies the push.
    pub token: String,
    /// Who it is, for people.
    pub owner: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Whether there was a sign of life lately.
    pub alive: bool,
}

/// A transaction that no push has seen the end of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transaction {
    /// The package manager's version that it goes to.
    pub version: String,
    /// SHA-256 of that package; empty for a removal.
    pub sum: String,
    /// SHA-256 of the package that a rollback leaves by it; empty for a push.
    pub leaves: String,
    /// Whether a person confirms its release.
    pub is_manual: bool,
    /// How far it is.
    pub state: TransactionState,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TransactionState {
    /// It goes on by itself.
    Running,
    /// Its release works, and goes back after so many seconds unless it is confirmed.
    Probation(u64),
    /// It ended well.
    Done,
    /// It failed, and what was before is in place.
    Restored,
    /// Its release worked, was not confirmed in time, and what was before is in place.
    Unconfirmed,
    /// The package manager did not begin it, or could not go on for a reason that is not the
    /// package's.
    Refused,
    /// It failed, and so did the way back.
    Failed,
    /// It was killed.
    Interrupted,
}

/// A package or a set of packages that a host keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptPackage {
    /// SHA-256 of the file, or what identifies the set.
    pub sha256: Sha256Sum,
    /// The name of the file; of a set, that of its software.
    pub file: String,
    /// The packages of a set, the software first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<KeptMember>,
    /// Bytes; 0 if only the mark is left of it.
    pub size: u64,
    /// The package's version.
    pub version: String,
    /// The application's version.
    pub release: String,
    /// SHA-256 of the release's record.
    pub record: Option<Sha256Sum>,
    /// When it was last found good, seconds since 1970, as date(1) writes `%s.%N`; empty for
    /// never.
    pub good: String,
    /// When it was found to be bad, RFC 3339; empty for never.
    pub failed: String,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// Whether it is known to have no signature; of what earlier versions have sent, nobody knows.
    pub is_unsigned: bool,
}

impl KeptPackage {
    /// Returns whether it can be installed.
    pub fn is_whole(&self) -> bool {
        self.size > 0
    }

    /// Returns when it was last found good, in nanoseconds since 1970.
    pub fn good_at(&self) -> Option<u128> {
        let (seconds, nanos) = self.good.split_once('.')?;
        Some(seconds.parse::<u128>().ok()? * 1_000_000_000 + nanos.get(..9)?.parse::<u128>().ok()?)
    }
}

/// A package that a host keeps for another one: an interpreter, or a part of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptMember {
    /// The package's name.
    pub name: String,
    /// The file.
    pub kept: KeptPackage,
}

/// The interpreter that came with a package, or was there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunsOn {
    /// The name of its package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its package.
    pub sha256: Sha256Sum,
    /// How it compares with the installed one; `None`: none is installed.
    pub order: Option<VersionOrder>,
}

impl HostFacts {
    /// Returns what speaks against relying on what earlier pushes have left there.
    pub(super) fn untrustworthy(&self) -> Option<Error> {
        let why = self.distrusted.as_ref()?;
        let error =
            Error::new("cannot trust what earlier pushes have left there").cause_text(why.clone());
        Some(error.hint(format!(
            "look at what lies there; then make it private with `chown -R {}:` and `chmod -R go=`, or remove it",
            self.user
        )))
    }

    /// Returns the kept package with these bytes, if it is whole.
    pub fn kept(&self, sum: Sha256Sum) -> Option<&KeptPackage> {
        self.kept
            .iter()
            .find(|kept| kept.sha256 == sum && kept.is_whole())
    }

    /// Returns the kept package of what is installed, by the record of the release.
    pub fn kept_installed(&self) -> Option<&KeptPackage> {
        let installed = self.installed.as_deref()?;
        let same = |kept: &&KeptPackage| {
            kept.version == installed
                && (kept.record.is_some() && kept.record == self.record)
                && PackageSet::from(*kept).is_configured(self)
        };
        let current = self
            .current
            .and_then(|current| self.kept(current))
            .filter(same);
        current.or_else(|| self.kept.iter().filter(|kept| kept.is_whole()).find(same))
    }

    /// Returns the kept interpreter or part of a set with these bytes, if it is whole.
    pub fn kept_member(&self, sum: Sha256Sum) -> Option<&KeptMember> {
        self.kept_members
            .iter()
            .find(|member| member.kept.sha256 == sum && member.kept.is_whole())
    }

    /// Returns the kept package of the installed interpreter or configuration of this name.
    pub fn kept_member_installed(&self, name: &str) -> Option<&KeptMember> {
        let version = self
            .runtimes
            .get(name)
            .or_else(|| self.configurations.get(name))?;
        let is_it = |member: &&KeptMember| member.name == name && member.kept.version == *version;
        self.kept_members
            .iter()
            .filter(|member| member.kept.is_whole())
            .find(is_it)
    }

    /// Returns the distribution for people, e.g. `debian 12`.
    pub fn distribution(&self) -> String {
        format!("{} {}", self.os, self.os_version).trim().to_owned()
    }
}
