//! What a push must know of a host before it decides anything: gathered by one script, in one round
//! trip.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::pieces::FilePieces;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
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
    /// Space where the release goes.
    pub free_prefix: FreeSpace,
    /// Space where packages are kept.
    pub free_state: FreeSpace,
    /// Which process holds the package manager's lock, and on what.
    pub held: Option<String>,
    /// The installed version, as the package manager writes it.
    pub installed: Option<String>,
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
    /// How the version of an artifact (by its index) compares with the installed one.
    pub orders: BTreeMap<usize, VersionOrder>,
    /// What an artifact (by its index) depends on and nobody offers.
    pub unmet: BTreeMap<usize, Vec<String>>,
    /// Who holds the application's lock.
    pub lock: Option<LockHolder>,
    /// SHA-256 of the package that the last push has installed.
    pub current: Option<Sha256Sum>,
    /// A transaction that no push has seen the end of.
    pub transaction: Option<Transaction>,
    /// Packages that are kept for roll-back.
    pub kept: Vec<KeptPackage>,
    /// Interpreters that applications share, by the names of their packages: the installed
    /// versions.
    pub runtimes: BTreeMap<String, String>,
    /// Packages of such interpreters that are kept for roll-back.
    pub kept_runtimes: Vec<KeptRuntime>,
    /// What kept packages run on.
    pub runs_on: BTreeMap<Sha256Sum, RunsOn>,
    /// What packages that lie there are made of, by their SHA-256: the installed application's and
    /// its interpreter's, if they are known.
    #[serde(skip)]
    pub pieces: BTreeMap<Sha256Sum, FilePieces>,
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
    const ALL: [Self; 6] = [
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
    /// How far it is.
    pub state: TransactionState,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TransactionState {
    /// It goes on by itself.
    Running,
    /// It ended well.
    Done,
    /// It failed, and what was before is in place.
    Restored,
    /// The package manager did not begin it, or could not go on for a reason that is not the
    /// package's.
    Refused,
    /// It failed, and so did the way back.
    Failed,
    /// It was killed.
    Interrupted,
}

/// A package that a host keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptPackage {
    /// SHA-256 of the file.
    pub sha256: Sha256Sum,
    /// Its name.
    pub file: String,
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

/// A package of an interpreter that a host keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRuntime {
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
    /// Reads what the script prints.
    ///
    /// # Errors
    /// It is cut off.
    pub fn parse(text: &str) -> Result<Self> {
        let mut facts = Self::default();
        let mut values: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                // A login's greeting may stand before the first line; it is none of ours.
                continue;
            };
            let is_clear = match key.split_once('.') {
                _ if key == "kept" => kept(value).map(|kept| facts.kept.push(kept)).is_some(),
                _ if key == "kept_runtime" => kept_runtime(value)
                    .map(|runtime| facts.kept_runtimes.push(runtime))
                    .is_some(),
                _ if key == "damaged" => {
                    facts.damaged.push(value.trim().to_owned());
                    true
                }
                _ if key == "unwritable" => {
                    facts.unwritable.push(value.trim().to_owned());
                    true
                }
                // Without them everything is sent.
                _ if key == "pieces" => {
                    facts.pieces.extend(pieces(value));
                    true
                }
                _ if key == "left" => sum(value).map(|sum| facts.left.insert(sum)).is_some(),
                _ if key == "migrated" => {
                    sum(value).map(|sum| facts.migrated.insert(sum)).is_some()
                }
                Some(("order", index)) => {
                    let order = index.parse().ok().zip(order(value));
                    order
                        .map(|(index, order)| facts.orders.insert(index, order))
                        .is_some()
                }
                Some(("runtime", name)) => {
                    facts
                        .runtimes
                        .insert(name.to_owned(), value.trim().to_owned());
                    true
                }
                Some(("runs_on", package)) => {
                    let runs_on = sum(package).zip(runs_on(value));
                    runs_on
                        .map(|(package, runs_on)| facts.runs_on.insert(package, runs_on))
                        .is_some()
                }
                Some(("unmet", index)) => {
                    let unmet = index
                        .parse()
                        .ok()
                        .map(|index| facts.unmet.entry(index).or_default());
                    unmet.map(|unmet| unmet.push(value.to_owned())).is_some()
                }
                _ => {
                    values.insert(key, value.trim());
                    true
                }
            };
            // One line that makes no sense must not withhold all others.
            if !is_clear {
                facts.strange.push(line.to_owned());
            }
        }
        if values.get("facts") != Some(&"end") {
            return Err(Error::new("what the host said of itself is cut off"));
        }
        let text = |key: &str| values.get(key).copied().unwrap_or_default();
        let some = |key: &str| {
            Some(text(key))
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        facts.os = text("os").to_owned();
        facts.os_version = text("os_version").to_owned();
        facts.arch = text("arch").to_owned();
        facts.glibc = text("glibc").to_owned();
        facts.pythons = text("pythons")
            .split(' ')
            .filter_map(|python| python.parse().ok())
            .collect();
        facts.user = text("user").to_owned();
        facts.root = text("uid") == "0";
        facts.systemd = text("systemd") == "yes";
        facts.needrestart = text("needrestart") == "yes";
        facts.manager = PackageManager::ALL
            .into_iter()
            .find(|manager| manager.program() == text("manager"));
        for (key, place) in [
            ("free_prefix", &mut facts.free_prefix),
            ("free_state", &mut facts.free_state),
        ] {
            match space(text(key)) {
                Some(space) => *place = space,
                None => facts.strange.push(format!("{key}={}", text(key))),
            }
        }
        facts.held = some("held");
        facts.installed = some("installed");
        facts.half = some("half");
        facts.foreign = text("foreign") == "yes";
        facts.offers = some("offers");
        facts.insists = some("insists");
        facts.record = sum(text("record"));
        facts.commit = some("commit");
        facts.current = sum(text("current"));
        facts.unreadable = some("unreadable");
        facts.distrusted = some("distrusted");
        facts.own = some("into").map(|into| LoginDirectory {
            into,
            unpackers: text("unpackers")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            lingers: text("linger") == "yes",
            crontab: text("crontab") == "yes",
            logrotate: text("logrotate") == "yes",
            unwritable: facts.unwritable.first().cloned(),
            taken: some("taken"),
        });
        facts.lock = some("lock.token").map(|token| LockHolder {
            token,
            owner: text("lock.owner").to_owned(),
            since: text("lock.since").to_owned(),
            alive: text("lock.alive") == "yes",
        });
        facts.transaction = values.get("transaction.state").map(|state| Transaction {
            version: text("transaction.version").to_owned(),
            sum: text("transaction.sum").to_owned(),
            state: match *state {
                "running" => TransactionState::Running,
                "done" => TransactionState::Done,
                "restored" => TransactionState::Restored,
                "refused" => TransactionState::Refused,
                "failed" => TransactionState::Failed,
                // An unreadable state means that the transaction did not end, as far as anyone
                // knows.
                _ => TransactionState::Interrupted,
            },
        });
        Ok(facts)
    }

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
            kept.version == installed && kept.record.is_some() && kept.record == self.record
        };
        let current = self
            .current
            .and_then(|current| self.kept(current))
            .filter(same);
        current.or_else(|| self.kept.iter().filter(|kept| kept.is_whole()).find(same))
    }

    /// Returns the kept package of an interpreter with these bytes, if it is whole.
    pub fn kept_runtime(&self, sum: Sha256Sum) -> Option<&KeptRuntime> {
        self.kept_runtimes
            .iter()
            .find(|runtime| runtime.kept.sha256 == sum && runtime.kept.is_whole())
    }

    /// Returns the kept package of the installed interpreter of this name.
    pub fn kept_runtime_installed(&self, name: &str) -> Option<&KeptRuntime> {
        let version = self.runtimes.get(name)?;
        let is_it =
            |runtime: &&KeptRuntime| runtime.name == name && runtime.kept.version == *version;
        self.kept_runtimes
            .iter()
            .filter(|runtime| runtime.kept.is_whole())
            .find(is_it)
    }

    /// Returns the distribution for people, e.g. `debian 12`.
    pub fn distribution(&self) -> String {
        format!("{} {}", self.os, self.os_version).trim().to_owned()
    }
}

fn sum(text: &str) -> Option<Sha256Sum> {
    Sha256Sum::from_hex(text)
}

fn order(text: &str) -> Option<VersionOrder> {
    match text {
        "newer" => Some(VersionOrder::Newer),
        "same" => Some(VersionOrder::Same),
        "older" => Some(VersionOrder::Older),
        _ => None,
    }
}

/// Reads `SHA256 PIECE …`.
fn pieces(text: &str) -> Option<(Sha256Sum, FilePieces)> {
    let (package, pieces) = text.split_once(' ')?;
    Some((sum(package)?, FilePieces::parse(pieces)?))
}

/// Reads `NAME|…`, as [`kept`].
fn kept_runtime(text: &str) -> Option<KeptRuntime> {
    let (name, rest) = text.split_once('|')?;
    Some(KeptRuntime {
        name: name.to_owned(),
        kept: kept(rest)?,
    })
}

/// Reads `NAME VERSION SHA256 ORDER`.
fn runs_on(text: &str) -> Option<RunsOn> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, version, sha256, ref rest @ ..] = words[..] else {
        return None;
    };
    let order = rest.first().and_then(|text| order(text));
    Some(RunsOn {
        name: name.to_owned(),
        version: version.to_owned(),
        sha256: sum(sha256)?,
        order,
    })
}

/// Reads `KILOBYTES DEVICE`.
fn space(text: &str) -> Option<FreeSpace> {
    let (free, device) = text.split_once(' ')?;
    Some(FreeSpace {
        bytes: free.parse::<u64>().ok()?.checked_mul(1024)?,
        device: device.to_owned(),
    })
}

fn kept(text: &str) -> Option<KeptPackage> {
    let fields: Vec<&str> = text.split('|').collect();
    let [
        sha256,
        file,
        size,
        version,
        release,
        record,
        good,
        failed,
        commit,
        unsigned,
    ] = fields[..]
    else {
        return None;
    };
    // It becomes a path in commands that root runs.
    if file.contains('/') || file.is_empty() {
        return None;
    }
    Some(KeptPackage {
        sha256: sum(sha256)?,
        file: file.to_owned(),
        size: size.parse().ok()?,
        version: version.to_owned(),
        release: release.to_owned(),
        record: sum(record),
        good: good.to_owned(),
        failed: failed.to_owned(),
        commit: Some(commit.to_owned()).filter(|commit| !commit.is_empty()),
        is_unsigned: unsigned == "yes",
    })
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;
    use std::process::Command;

    /// What the real script says of this machine, about a package that it has.
    #[test]
    fn the_script_tells_of_this_machine_what_its_own_tools_do() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state").display().to_string();
        let Some(dpkg) = pkgapp_testing::tool("dpkg-query") else {
            return;
        };
        let said = |command: &mut Command| pkgapp_testing::run(command).trim().to_owned();
        let version = said(Command::new(dpkg).args(["-W", "-f", "${Version}", "dpkg"]));
        let script = [script::PRELUDE, script::SYSTEM, script::FACTS].concat();
        let script = script.replace("apt-get -s -qq satisfy", "false");
        let run = |version: &str, depends: &str| {
            let args = [
                &*state,
                "",
                "dpkg",
                "/opt/dpkg",
                "deb",
                "dpkg",
                version,
                depends,
            ];
            let args = args.into_iter().chain([
                "deb",
                "libc6",
                "0.1",
                "",
                "deb",
                "no-such-thing",
                "1",
                "",
            ]);
            said(
                Command::new("sh")
                    .arg("-c")
                    .arg(&script)
                    .arg("sh")
                    .args(args),
            )
        };
        let facts = HostFacts::parse(&run(&version, "")).unwrap();
        assert_eq!(facts.installed, Some(version.clone()));
        assert!(facts.foreign, "dpkg is none of pkgapp's");
        assert_eq!(
            facts.orders,
            BTreeMap::from([(0, VersionOrder::Same), (1, VersionOrder::Older)])
        );
        let libc = said(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libc6"]));
        assert_eq!(facts.runtimes, BTreeMap::from([("libc6".to_owned(), libc)]));
        assert_eq!(facts.arch, said(Command::new("uname").arg("-m")));
        assert_eq!(facts.user, said(Command::new("id").arg("-un")));
        assert!(facts.free_prefix.bytes > 0 && !facts.free_prefix.device.is_empty());
        assert_eq!(
            (&facts.lock, &facts.current, facts.kept.len()),
            (&None, &None, 0)
        );
        assert_eq!(
            HostFacts::parse(&run("0.1", "")).unwrap().orders[&0],
            VersionOrder::Older
        );
        assert_eq!(
            HostFacts::parse(&run("99:1", "")).unwrap().orders[&0],
            VersionOrder::Newer
        );
        let met = "libc6\nno-such-thing | libc6:any (>= 1)\nlibc6 (<< 99:1)\nawk";
        let lacking = "libc6 (>= 99:1)\nno-such-thing (>= 1) | other\nno-such-virtual-thing";
        assert_eq!(
            HostFacts::parse(&run("99:1", met)).unwrap().unmet,
            BTreeMap::new(),
            "apt need not be asked"
        );
        let unmet = HostFacts::parse(&run("99:1", &format!("{met}\n{lacking}")))
            .unwrap()
            .unmet;
        assert_eq!(
            unmet[&0],
            lacking.lines().collect::<Vec<_>>(),
            "`satisfy` was made to fail"
        );
        assert!(
            !directory.path().join("state").exists(),
            "looking around changes nothing"
        );
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        assert!(
            HostFacts::parse("os=debian\nuid=0\n")
                .unwrap_err()
                .to_string()
                .contains("cut off")
        );
    }

    #[test]
    fn a_line_that_makes_no_sense_is_told_and_withholds_no_other() {
        let text = "free_prefix=1 /dev/a\nfree_state=18014398509481984 /dev/a\nkept=xyz|a|b\nmigrated=\norder.x=newer\nuid=0\nruns_on.a=b\n\
                    transaction.state=\ndamaged=/var/lib/pkgapp/shop/current\nfacts=end\n";
        let facts = HostFacts::parse(text).unwrap();
        assert_eq!(
            facts.strange,
            [
                "kept=xyz|a|b",
                "migrated=",
                "order.x=newer",
                "runs_on.a=b",
                "free_state=18014398509481984 /dev/a"
            ]
        );
        assert_eq!(
            (facts.free_prefix.bytes, facts.free_state.bytes, facts.root),
            (1024, u64::MAX, true)
        );
        assert_eq!(
            facts.transaction.as_ref().unwrap().state,
            TransactionState::Interrupted
        );
        assert!(facts.oddities()[0].starts_with("`/var/lib/pkgapp/shop/current` is damaged"));
        let facts = HostFacts::parse("into=/srv/shop\nunwritable=/srv\nfacts=end\n").unwrap();
        assert_eq!(facts.own.unwrap().unwritable.as_deref(), Some("/srv"));
    }

    #[test]
    fn a_kept_file_is_a_name_and_no_path() {
        let sum = "a".repeat(64);
        assert!(kept(&format!("{sum}|a.deb|5|1-1|1|{sum}|17.000000001|||")).is_some());
        assert!(kept(&format!("{sum}|../a.deb|5|1-1|1|{sum}|17.000000001|||")).is_none());
    }
}
