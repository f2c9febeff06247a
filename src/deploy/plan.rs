//! The plan of a push or a roll-back: facts and artifacts in, steps for every host out. Nothing is
//! decided later; what `--dry-run` prints is the value that is executed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::artifact::{self, Artifact};
use super::facts::{
    HostFacts, KeptPackage, PackageManager, RunsOn, TransactionState, VersionOrder,
};
use super::migration::Migration;
use super::owner;
use super::policy::{DeployPolicy, TargetHost};
use super::step::{
    FailureMark, Fallback, IncomingPackage, PushStage, RuntimeChange, RuntimeChanges, Step,
    StepBuilder, StoredPackage,
};
use super::unpacked::{self, ReleaseDirectory};
use pkgapp_config::{BatchSize, CommandLine, MigrateOn};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::report::{human_bytes, visible_line};
use pkgapp_core::text::counted;
use pkgapp_format::read::ArtifactKind;

/// What is done, on which hosts, in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `push` or `rollback`.
    pub action: &'static str,
    /// The application.
    pub name: AppName,
    /// The release that hosts get; of a roll-back, each its own.
    pub releases: BTreeSet<String>,
    /// Every host, in the order of the command line.
    pub hosts: Vec<HostPlan>,
    /// The hosts that change (by index) in the order of their switch.
    pub batches: Vec<Vec<usize>>,
    /// How many hosts may fail before all is stopped.
    pub max_failed: u32,
    /// Programs that run here, before any host changes.
    pub before: Vec<Step>,
    /// Programs that run here, after all hosts have changed.
    pub after: Vec<Step>,
}

/// What is done on one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostPlan {
    /// The host.
    pub host: String,
    /// Distribution and package manager, for people.
    pub about: String,
    /// The installed version.
    pub from: Option<String>,
    /// The version that it gets.
    pub to: String,
    /// What is to be known about the host.
    pub found: Vec<String>,
    /// What it waits for and sends; nothing that is installed changes.
    pub prepare: Vec<Step>,
    /// On one host: the new release's code, aside.
    pub migrate: Vec<Step>,
    /// From one version to the other. Empty if the host has nothing to do.
    pub switch: Vec<Step>,
    /// After a step before the installation failed.
    pub abandon: Vec<Step>,
    /// After the installation failed and the host itself went back.
    pub failed: Vec<Step>,
    /// After the package manager could not install it, for a reason that is not the package's: it
    /// is not marked as bad.
    pub refused: Vec<Step>,
    /// Back to the version of before; empty if there is no way.
    pub back: Vec<Step>,
    /// Whatever happened; on a host with nothing to do, what a dead push has left.
    pub unlock: Vec<Step>,
    /// A sign of life for the lock.
    pub beat: crate::hosts::HostCommand,
}

impl HostPlan {
    /// Returns whether the host has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.switch.is_empty()
    }

    /// Returns the change for people, e.g. `1.4.1-1 → 1.4.2-1`.
    pub fn change(&self) -> String {
        match &self.from {
            Some(from) if self.is_idle() => format!("{from} already"),
            Some(from) => format!("{from} → {}", self.to),
            None => format!("→ {}", self.to),
        }
    }
}

impl Plan {
    /// Plans a push.
    ///
    /// # Errors
    /// Everything that speaks against it, on all hosts.
    pub fn push(
        terms: &DeployPolicy,
        artifacts: &[Artifact],
        sites: &[TargetHost],
    ) -> Result<Self> {
        let mut refusals = PreflightRefusals::new("push to");
        let mut chosen: Vec<(&TargetHost, SelectedArtifacts<'_>)> = Vec::new();
        for site in sites {
            match SelectedArtifacts::choose(terms, artifacts, &site.facts) {
                Ok(goods) => chosen.push((site, goods)),
                Err(error) => refusals.add(&site.name, error),
            }
        }
        let releases: BTreeSet<String> = chosen
            .iter()
            .map(|(_, goods)| goods.artifact.release.clone())
            .collect();
        if releases.len() > 1 {
            let all = releases.iter().cloned().collect::<Vec<_>>().join(" and ");
            let error = Error::new(format!("hosts would get different releases: {all}"));
            return Err(error.hint("build all formats of one release: `pkgapp build --format all`"));
        }
        for (site, goods) in &chosen {
            for error in against(terms, goods, &site.facts) {
                refusals.add(&site.name, error);
            }
        }
        refusals.finish()?;
        let migrated = chosen
            .iter()
            .any(|(site, goods)| site.facts.migrated.contains(&goods.artifact.sha256));
        let mut migrate = terms
            .migrate
            .as_ref()
            .filter(|migrate| migrate.on == MigrateOn::All || !migrated);
        let mut hosts = Vec::new();
        for (site, goods) in &chosen {
            let migration = migrate
                .map(|migrate| {
                    Migration::new(
                        &terms.name,
                        terms.migrate_user.as_deref(),
                        migrate,
                        goods.artifact,
                    )
                })
                .transpose()?;
            let host = push_to(terms, site, goods, migration.as_ref());
            // Once means: on the first host that changes.
            if !host.migrate.is_empty() {
                migrate = None;
            }
            hosts.push(host);
        }
        Ok(Self::new("push", terms, releases, hosts))
    }

    /// Plans a roll-back: to a version, or to the release before.
    ///
    /// # Errors
    /// Hosts that do not keep what they should go to.
    pub fn rollback(terms: &DeployPolicy, to: Option<&str>, sites: &[TargetHost]) -> Result<Self> {
        let mut refusals = PreflightRefusals::new("roll back");
        let mut releases = BTreeSet::new();
        let mut hosts = Vec::new();
        for site in sites {
            let early = match terms.unpacked {
                Some(_) => Error::all(unpacked::unfit(&site.facts)),
                None => not_root(terms, &site.facts)
                    .or_else(|| no_manager(&site.facts))
                    .or_else(|| unwritable(&site.facts)),
            };
            let target = early.map_or_else(|| earlier(&site.facts, to), Err);
            let target = target.and_then(|kept| match no_signature(&kept.file, &site.facts) {
                Some(error) if kept.is_unsigned => {
                    Err(error.hint("push a signed package of that release instead"))
                }
                _ => Ok((kept, runtime_of_kept(kept, &site.facts)?)),
            });
            match target {
                Err(error) => refusals.add(&site.name, error),
                Ok((kept, runtime)) => {
                    releases.insert(kept.release.clone());
                    hosts.push(back_on(terms, site, kept, &runtime));
                }
            }
        }
        refusals.finish()?;
        Ok(Self::new("rollback", terms, releases, hosts))
    }

    fn new(
        action: &'static str,
        terms: &DeployPolicy,
        releases: BTreeSet<String>,
        hosts: Vec<HostPlan>,
    ) -> Self {
        let busy: Vec<usize> = (0..hosts.len())
            .filter(|index| !hosts[*index].is_idle())
            .collect();
        let ranges = batches(&terms.batches, busy.len());
        let local = |stage, lines: &[CommandLine]| {
            let step = |line: &CommandLine| Step {
                stage,
                what: format!("here: `{}`", line.text),
                line: Some(line.text.clone()),
                action: super::step::StepAction::Local(line.words.clone()),
            };
            if busy.is_empty() {
                Vec::new()
            } else {
                lines.iter().map(step).collect()
            }
        };
        Self {
            action,
            name: terms.name.clone(),
            releases,
            batches: ranges
                .into_iter()
                .map(|range| busy[range].to_vec())
                .collect(),
            max_failed: terms.max_failed,
            before: local(PushStage::Before, &terms.hooks.local_before),
            after: local(PushStage::After, &terms.hooks.local_after),
            hosts,
        }
    }

    /// Returns whether no host has anything to do.
    pub fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }

    /// Returns the plan for people: hosts with the same steps stand together. `verbose` shows the
    /// whole commands.
    pub fn text(&self, verbose: bool) -> String {
        let releases = self.releases.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut text = String::new();
        let mut line =
            |indent: usize, what: &str| _ = writeln!(text, "{:indent$}{}", "", visible_line(what));
        line(
            0,
            &format!(
                "{} {} {releases}, {}",
                self.action,
                self.name,
                counted(self.hosts.len(), "host")
            ),
        );
        for step in &self.before {
            line(2, &step.what);
        }
        for (hosts, plan) in self.groups() {
            line(
                0,
                &format!("{} ({}): {}", hosts.join(", "), plan.about, plan.change()),
            );
            for found in &plan.found {
                line(2, &format!("note: {found}"));
            }
            let parts = [
                ("prepare", &plan.prepare),
                ("migrate", &plan.migrate),
                ("switch", &plan.switch),
            ];
            let ends = [("if it fails", &plan.back), ("at the end", &plan.unlock)];
            for (name, steps) in parts.into_iter().chain(ends) {
                if steps.is_empty() {
                    continue;
                }
                line(2, name);
                for step in steps {
                    line(4, &step.what);
                    if let Some(core) = step
                        .line
                        .as_deref()
                        .filter(|core| !step.what.contains(core))
                    {
                        line(6, &format!("$ {core}"));
                    }
                    if verbose {
                        let whole = serde_json::to_string(&step.to_json()).unwrap_or_default();
                        line(6, &whole);
                    }
                }
            }
        }
        let batches = self.batches.iter().map(|batch| {
            batch
                .iter()
                .map(|index| self.hosts[*index].host.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        });
        let batches: Vec<String> = batches.collect();
        if batches.len() > 1 {
            line(0, &format!("batches: {}", batches.join(" | ")));
        }
        for step in &self.after {
            line(2, &step.what);
        }
        text
    }

    /// Hosts whose plans differ in nothing that people read.
    fn groups(&self) -> Vec<(Vec<&str>, &HostPlan)> {
        fn shown(plan: &HostPlan) -> Vec<&str> {
            let steps = [&plan.prepare, &plan.migrate, &plan.switch, &plan.back]
                .into_iter()
                .flatten();
            let steps = steps
                .flat_map(|step| [step.what.as_str(), step.line.as_deref().unwrap_or_default()]);
            let host = [
                plan.about.as_str(),
                plan.from.as_deref().unwrap_or_default(),
                &plan.to,
            ];
            host.into_iter()
                .chain(plan.found.iter().map(String::as_str))
                .chain(steps)
                .collect()
        }
        let mut groups: Vec<(Vec<&str>, &HostPlan)> = Vec::new();
        for plan in &self.hosts {
            match groups
                .iter_mut()
                .find(|(_, first)| shown(first) == shown(plan))
            {
                Some((hosts, _)) => hosts.push(&plan.host),
                None => groups.push((vec![&plan.host], plan)),
            }
        }
        groups
    }

    /// Returns the plan with every command whole.
    pub fn to_json(&self) -> Value {
        let steps = |steps: &[Step]| steps.iter().map(Step::to_json).collect::<Vec<_>>();
        let hosts: Vec<Value> = self
            .hosts
            .iter()
            .map(|host| {
                json!({
                    "host": host.host,
                    "about": host.about,
                    "from": host.from,
                    "to": host.to,
                    "found": host.found,
                    "prepare": steps(&host.prepare),
                    "migrate": steps(&host.migrate),
                    "switch": steps(&host.switch),
                    "abandon": steps(&host.abandon),
                    "failed": steps(&host.failed),
                    "refused": steps(&host.refused),
                    "back": steps(&host.back),
                    "unlock": steps(&host.unlock),
                })
            })
            .collect();
        let names = |batch: &Vec<usize>| {
            batch
                .iter()
                .map(|index| self.hosts[*index].host.clone())
                .collect::<Vec<_>>()
        };
        json!({
            "action": self.action,
            "name": self.name,
            "releases": self.releases,
            "batches": self.batches.iter().map(names).collect::<Vec<_>>(),
            "max_failed": self.max_failed,
            "before": steps(&self.before),
            "after": steps(&self.after),
            "hosts": hosts,
        })
    }
}

/// What speaks against hosts, each reason once with all its hosts.
struct PreflightRefusals {
    doing: &'static str,
    all: Vec<(Vec<String>, Error)>,
}

impl PreflightRefusals {
    fn new(doing: &'static str) -> Self {
        Self {
            doing,
            all: Vec::new(),
        }
    }

    fn add(&mut self, host: &str, error: Error) {
        match self
            .all
            .iter_mut()
            .find(|(_, known)| known.to_string() == error.to_string())
        {
            Some((hosts, _)) => hosts.push(host.to_owned()),
            None => self.all.push((vec![host.to_owned()], error)),
        }
    }

    fn finish(self) -> Result<()> {
        let told = self.all.into_iter().map(|(hosts, error)| {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
            error.context(format!("cannot {} {}", self.doing, hosts.join(", ")))
        });
        Error::all(told).map_or(Ok(()), Err)
    }
}

fn not_root(terms: &DeployPolicy, facts: &HostFacts) -> Option<Error> {
    if facts.root {
        let unreadable = facts.unreadable.as_ref();
        let unreadable =
            unreadable.map(|path| Error::new(format!("`{path}` cannot be read there")));
        return unreadable.or_else(|| facts.untrustworthy());
    }
    let error = Error::new(format!(
        "packages are installed by root, and the login is `{}`",
        facts.user
    ));
    Some(if terms.sudo {
        error
    } else {
        error.hint("use sudo there: `--sudo`, or `sudo = true` in `[deploy.NAME]`")
    })
}

/// What an installation writes to and can't, as on a file system that is mounted read-only.
fn unwritable(facts: &HostFacts) -> Option<Error> {
    let places: Vec<String> = facts
        .unwritable
        .iter()
        .map(|path| format!("`{path}`"))
        .collect();
    let first = facts
        .unwritable
        .first()
        .filter(|_| facts.root && facts.own.is_none())?;
    let error = Error::new(format!(
        "root cannot write to {} there: its file system is mounted read-only",
        places.join(", ")
    ));
    Some(error.hint(format!(
        "find out why (`findmnt -T {first}`, `dmesg`) and remount it read-write"
    )))
}

fn no_manager(facts: &HostFacts) -> Option<Error> {
    facts.manager.is_none().then(|| {
        Error::new(format!(
            "no package manager is known on {}",
            facts.distribution()
        ))
    })
}

/// What a host gets.
struct SelectedArtifacts<'a> {
    artifact: &'a Artifact,
    index: usize,
    /// The interpreter that it shares with other applications, and the package's index, if there
    /// is one here.
    runtime: Option<(&'a Artifact, usize)>,
}

impl<'a> SelectedArtifacts<'a> {
    fn choose(terms: &DeployPolicy, artifacts: &'a [Artifact], facts: &HostFacts) -> Result<Self> {
        if terms.unpacked.is_some() {
            let index = unpacked::choose(artifacts, facts)?;
            return Ok(Self {
                artifact: &artifacts[index],
                index,
                runtime: None,
            });
        }
        let index = artifact::choose(artifacts, terms.name.as_str(), facts)?;
        let artifact = &artifacts[index];
        let runtime = artifact::choose_runtime(artifacts, artifact, facts)?;
        Ok(Self {
            artifact,
            index,
            runtime: runtime.map(|index| (&artifacts[index], index)),
        })
    }

    /// The interpreter, unless the host has that version or a newer one.
    fn runtime_to_install(&self, facts: &HostFacts) -> Option<(&'a Artifact, usize)> {
        self.runtime.filter(|(_, index)| {
            !matches!(
                facts.orders.get(index),
                Some(VersionOrder::Same | VersionOrder::Older)
            )
        })
    }

    /// What the artifact runs on, for later pushes to know.
    fn runs_on(&self) -> Option<RunsOn> {
        self.runtime.map(|(runtime, _)| RunsOn {
            name: runtime.name.clone(),
            version: runtime.version.clone(),
            sha256: runtime.sha256,
            order: None,
        })
    }
}

/// Everything that speaks against an artifact on a host.
fn against(terms: &DeployPolicy, goods: &SelectedArtifacts<'_>, facts: &HostFacts) -> Vec<Error> {
    let artifact = goods.artifact;
    let mut errors: Vec<Error> = match terms.unpacked {
        Some(_) => unpacked::against(artifact, facts),
        None => not_root(terms, facts).into_iter().collect(),
    };
    let all = [
        Some((artifact, goods.index)),
        goods.runtime_to_install(facts),
    ]
    .into_iter()
    .flatten();
    for (artifact, missing) in
        all.filter_map(|(artifact, index)| Some((artifact, facts.unmet.get(&index)?)))
    {
        let missing: Vec<String> = missing
            .iter()
            .map(|relation| format!("`{relation}`"))
            .collect();
        let error = Error::new(format!(
            "{} needs {}, which no repository offers there",
            artifact.file,
            missing.join(", ")
        ));
        let lacks_runtime = artifact
            .runtime
            .as_ref()
            .filter(|_| goods.runtime.is_none());
        let lacks_runtime =
            lacks_runtime.filter(|runtime| missing.iter().any(|it| it.contains(&runtime.package)));
        errors.push(error.hint(match lacks_runtime {
            Some(_) => {
                "make its interpreter's package with `pkgapp runtime build`, or name that file too"
            }
            None => "let the host know a repository that has it, and refresh its lists of packages",
        }));
    }
    errors.extend(not_ours(terms, facts));
    if facts.foreign {
        // How the versions of two programs compare says nothing.
        return errors;
    }
    let signed = |artifact: &Artifact| {
        artifact.is_signed || (is_there(artifact, facts) && goods.runtime.is_none())
    };
    let coming = [
        Some(artifact),
        goods.runtime_to_install(facts).map(|(runtime, _)| runtime),
    ];
    if let Some(unsigned) = coming
        .into_iter()
        .flatten()
        .find(|artifact| !signed(artifact))
        && let Some(error) = no_signature(&unsigned.file, facts)
    {
        errors.push(error.hint(match unsigned.kind {
            ArtifactKind::Deb => "sign it with `debsigs` and a key that the host trusts",
            ArtifactKind::Rpm | ArtifactKind::Tar => {
                "sign it with `rpmsign --addsign` and a key that the host trusts"
            }
        }));
    }
    errors.extend(no_space(goods, facts));
    if is_there(artifact, facts) {
        return errors;
    }
    errors.extend(unwritable(facts));
    let installed = facts.installed.as_deref().unwrap_or_default();
    let order = match terms.unpacked {
        Some(_) => by_release(artifact, facts),
        None => facts.orders.get(&goods.index).copied(),
    };
    match order {
        Some(VersionOrder::Older) if !terms.allow.downgrade => errors.push(
            Error::new(format!(
                "{installed} is installed, which is newer than {}",
                artifact.version
            ))
            .hint("go back with `pkgapp rollback`, or insist with `--allow-downgrade`"),
        ),
        Some(VersionOrder::Same) if !terms.allow.reinstall && !is_half_done(artifact, facts) => {
            errors.push(
                Error::new(format!(
                    "another package of version {installed} is installed"
                ))
                .hint("build it with a higher `[package] revision`, or insist with `--reinstall`"),
            );
        }
        _ => {}
    }
    errors
}

/// A package manager that was told to does not install what has no signature.
fn no_signature(file: &str, facts: &HostFacts) -> Option<Error> {
    let who = facts.insists.as_ref()?;
    Some(Error::new(format!(
        "{file} has no signature, and {who} refuses such packages there"
    )))
}

/// A package that somebody else has installed, or will upgrade, is not replaced.
fn not_ours(terms: &DeployPolicy, facts: &HostFacts) -> Option<Error> {
    let name = &terms.name;
    let rename = "give the application another name (`[app] name`)";
    if facts.foreign {
        let installed = facts
            .installed
            .as_ref()
            .or(facts.half.as_ref())
            .map_or("", String::as_str);
        let error = Error::new(format!(
            "the package `{name}` ({installed}) is installed there, and pkgapp did not make it"
        ));
        return Some(error.note("a push would take its place").hint(rename));
    }
    let offered = facts.offers.as_ref().filter(|_| !terms.allow.same_name)?;
    let error = Error::new(format!(
        "the host's repositories have another package `{name}` ({offered})"
    ));
    let error = error.note("upgrades of the host would replace the application with it");
    Some(error.hint(format!(
        "{rename}, or use `--allow-same-name` if the repository is your own"
    )))
}

/// How a tarball's version compares with that of the release in use. Two builds of one version lie
/// beside each other.
fn by_release(artifact: &Artifact, facts: &HostFacts) -> Option<VersionOrder> {
    let version = |text: &str| text.parse::<pkgapp_pypa::Version>().ok();
    let installed = version(&facts.kept_installed()?.release)?;
    Some(if version(&artifact.release)? < installed {
        VersionOrder::Older
    } else {
        VersionOrder::Newer
    })
}

/// Returns whether the release is installed, by this package as far as anyone knows.
fn is_there(artifact: &Artifact, facts: &HostFacts) -> bool {
    let same = facts.installed.as_deref() == Some(&artifact.version)
        && facts.record == Some(artifact.record);
    same && facts.half.is_none()
        && facts
            .current
            .is_none_or(|current| current == artifact.sha256)
}

/// Returns whether an unfinished transaction is of this very package.
fn is_half_done(artifact: &Artifact, facts: &HostFacts) -> bool {
    facts
        .transaction
        .as_ref()
        .is_some_and(|transaction| transaction.sum == artifact.sha256.to_string())
}

/// What a push writes about a package and its installation, the log included, about.
const NOTES: u64 = 128 << 10;

fn no_space(goods: &SelectedArtifacts<'_>, facts: &HostFacts) -> Option<Error> {
    let artifact = goods.artifact;
    let runtime = goods.runtime_to_install(facts).map(|(runtime, _)| runtime);
    let sent = runtime
        .filter(|runtime| facts.kept_runtime(runtime.sha256).is_none())
        .map_or(0, |runtime| runtime.size);
    let file = sent
        + if facts.kept(artifact.sha256).is_some() {
            0
        } else {
            artifact.size
        };
    let (prefix, state) = (&facts.free_prefix, &facts.free_state);
    // dpkg and rpm put the new files beside the old ones.
    let release = if is_there(artifact, facts) {
        0
    } else {
        artifact.installed_size
    };
    let release = release + runtime.map_or(0, |runtime| runtime.installed_size);
    let same = prefix.device == state.device;
    let into = facts.own.as_ref().map(|own| own.into.as_str());
    let file = if is_there(artifact, facts) {
        file
    } else {
        file + NOTES
    };
    let needs = [
        (
            into.unwrap_or(&artifact.prefix),
            prefix.bytes,
            if same { release + file } else { release },
        ),
        (
            into.unwrap_or("/var/lib/pkgapp"),
            state.bytes,
            if same { 0 } else { file },
        ),
    ];
    let (place, free, need) = needs.into_iter().find(|(_, free, need)| need > free)?;
    let error = Error::new(format!(
        "`{place}` has {} free and needs {}",
        human_bytes(free),
        human_bytes(need)
    ));
    Some(error.hint("make room there"))
}

fn push_to(
    terms: &DeployPolicy,
    site: &TargetHost,
    goods: &SelectedArtifacts<'_>,
    migrate: Option<&Migration<'_>>,
) -> HostPlan {
    let (facts, artifact) = (&site.facts, goods.artifact);
    let package = StoredPackage::from(artifact);
    let maker = maker(terms, site, &artifact.prefix);
    let way = TransitionKind::new(terms, facts);
    let there = is_there(artifact, facts);
    let runtime = goods.runtime_to_install(facts).map(|(runtime, _)| runtime);
    let mut found = found(facts);
    if let TransitionKind::Switch(unpacked) = way {
        found.extend(unpacked::found(artifact, facts, unpacked.units));
    }
    // Its package is what later pushes go back to.
    let kept = facts.kept(artifact.sha256).is_some();
    let settled = facts.transaction.is_none() && facts.damaged.is_empty();
    if there && kept && facts.current == Some(artifact.sha256) && settled && runtime.is_none() {
        return idle(terms, &maker, site, &artifact.version, found);
    }
    if let Some(kept) = facts
        .kept
        .iter()
        .find(|kept| kept.sha256 == artifact.sha256 && !kept.failed.is_empty())
    {
        found.push(format!(
            "{} failed here before ({})",
            artifact.release, kept.failed
        ));
    }
    // Where only the interpreter changes, back means the same package with the one of before.
    let same = facts
        .kept(artifact.sha256)
        .filter(|_| there && runtime.is_some());
    let refused = |kept: &&KeptPackage| kept.is_unsigned && facts.insists.is_some();
    let before = same.or_else(|| left_by(facts, artifact.sha256));
    if let Some(error) = before
        .filter(refused)
        .and_then(|kept| no_signature(&kept.file, facts))
    {
        found.push(error.to_string());
    }
    let back = match before.filter(|kept| !refused(kept)) {
        Some(kept) => Fallback::Package(StoredPackage::from(kept)),
        None if facts.installed.is_none() && facts.half.is_none() => Fallback::Uninstall,
        None => Fallback::None,
    };
    if back == Fallback::None && (!there || runtime.is_some()) {
        let why = before.map_or("the installed package is not kept there, so ", |_| "");
        found.push(format!("{why}there is no way back"));
    }
    let changes = runtime
        .map(|runtime| changes(&StoredPackage::from(runtime), facts, &mut found))
        .unwrap_or_default();
    let steps = vec![maker.health(&terms.check)];
    let transacted = is_half_done(artifact, facts);
    let installs = !there || transacted || runtime.is_some();
    let install = installs.then(|| {
        way.go(
            &maker,
            facts.installed.as_deref(),
            Some(&package),
            &back,
            &changes,
            terms.patience,
        )
    });
    let migrate = migrate.filter(|_| !there || transacted);
    let migration: Vec<Step> = migrate.map_or_else(Vec::new, |migrate| {
        let along = runtime.map(StoredPackage::from);
        let stage = matches!(way, TransitionKind::Install(_))
            .then(|| maker.stage(&package, along.as_ref()));
        let migrate = maker.migrate(&package, migrate);
        stage.into_iter().chain([migrate]).collect()
    });
    let migrates_here = migrate.is_some_and(|migrate| migrate.on == MigrateOn::All);
    let entry = |result: &str| {
        entry(
            terms,
            "push",
            facts.installed.as_deref(),
            &package,
            &changes,
            result,
        )
    };
    let hooks = HookSteps::new(terms, &maker, &package);
    let mut switch = hooks.before.clone();
    if migrates_here {
        switch.extend(migration.clone());
    }
    switch.extend(hooks.drain.iter().cloned().chain(install).chain(steps));
    switch.extend(hooks.undrain.iter().chain(&hooks.after).cloned());
    switch.push(maker.record(Some(Some(&package)), None, terms.keep, &entry("ok")));
    // The package that runs with the interpreter of before is not bad.
    let bad = Some(&package).filter(|_| same.is_none());
    let behind = match &back {
        Fallback::Package(package) => Some(package),
        Fallback::Uninstall | Fallback::None => None,
    };
    let mut way_back = Vec::new();
    if back != Fallback::None {
        let undo = RuntimeChanges {
            there: changes.back.clone(),
            back: None,
        };
        way_back.extend(hooks.drain.clone());
        way_back.push(way.go(
            &maker,
            Some(&package.version),
            behind,
            &Fallback::None,
            &undo,
            terms.patience,
        ));
        if behind.is_some() {
            way_back.push(maker.health(&terms.check));
            way_back.extend(hooks.undrain.clone());
        }
        let bad = bad.map(|bad| (FailureMark::Failed, bad));
        way_back.push(maker.record(
            Some(behind),
            bad,
            terms.keep,
            &entry("failed, and taken back"),
        ));
    }
    let [failed, refused] = without_success(terms, &maker, &hooks, bad, entry);
    HostPlan {
        prepare: prepare(terms, &maker, &way, facts, goods),
        migrate: if migrates_here { Vec::new() } else { migration },
        switch,
        abandon: hooks.undrain,
        failed,
        refused,
        back: way_back,
        unlock: vec![maker.unlock()],
        ..untouched(&maker, site, &artifact.version, found)
    }
}

/// The lock, and what is sent and unpacked under it.
fn prepare(
    terms: &DeployPolicy,
    maker: &StepBuilder<'_>,
    way: &TransitionKind<'_>,
    facts: &HostFacts,
    goods: &SelectedArtifacts<'_>,
) -> Vec<Step> {
    let package = StoredPackage::from(goods.artifact);
    let runs_on = goods.runs_on();
    let runtime = goods
        .runtime_to_install(facts)
        .map(|(runtime, _)| (runtime, StoredPackage::from(runtime)));
    let mut coming = vec![IncomingPackage {
        package: &package,
        pieces: &goods.artifact.pieces,
        runtime: runs_on.as_ref(),
    }];
    coming.extend(runtime.as_ref().map(|(runtime, package)| IncomingPackage {
        package,
        pieces: &runtime.pieces,
        runtime: None,
    }));
    let mut steps = vec![lock(terms, maker, facts, &coming)];
    if let Some((runtime, _)) = runtime
        .as_ref()
        .filter(|(runtime, _)| facts.kept_runtime(runtime.sha256).is_none())
    {
        let there = facts
            .pieces
            .iter()
            .find_map(|(sum, pieces)| Some((facts.kept_runtime(*sum)?, pieces)));
        let there = there.map(|(kept, pieces)| (StoredPackage::from(kept), pieces));
        steps.push(maker.upload(
            runtime,
            there.as_ref().map(|(package, pieces)| (package, *pieces)),
        ));
    }
    if facts.kept(goods.artifact.sha256).is_none() {
        let there = facts
            .pieces
            .iter()
            .find_map(|(sum, pieces)| Some((facts.kept(*sum)?, pieces)));
        let there = there.map(|(kept, pieces)| (StoredPackage::from(kept), pieces));
        steps.push(maker.upload(
            goods.artifact,
            there.as_ref().map(|(package, pieces)| (package, *pieces)),
        ));
    }
    steps.extend(way.unpack(maker, terms, &package));
    steps
}

/// What becomes of an interpreter when this package of it comes, and if it goes back.
fn changes(runtime: &StoredPackage, facts: &HostFacts, found: &mut Vec<String>) -> RuntimeChanges {
    let name = runtime.name.clone().unwrap_or_default();
    let down = |to| RuntimeChange::Down {
        name: name.clone(),
        from: runtime.version.clone(),
        to,
    };
    let back = match (
        facts.runtimes.get(&name),
        facts.kept_runtime_installed(&name),
    ) {
        (None, _) => Some(down(None)),
        (Some(_), Some(kept)) => Some(down(Some(StoredPackage::from(kept)))),
        (Some(installed), None) => {
            found.push(format!(
                "{name} {installed} is not kept there, so it stays new whatever happens"
            ));
            None
        }
    };
    RuntimeChanges {
        there: Some(RuntimeChange::Up(runtime.clone())),
        back,
    }
}

/// What is done about the interpreter when a host goes back to a package that it keeps: it never
/// becomes older, as other applications may need what it is.
fn runtime_of_kept(kept: &KeptPackage, facts: &HostFacts) -> Result<RuntimeChanges> {
    let Some(on) = facts.runs_on.get(&kept.sha256) else {
        return Ok(RuntimeChanges::default());
    };
    // How the one of then compares with the installed one.
    if matches!(on.order, Some(VersionOrder::Same | VersionOrder::Older)) {
        return Ok(RuntimeChanges::default());
    }
    let runtime = facts.kept_runtime(on.sha256).ok_or_else(|| {
        Error::new(format!(
            "release {} runs on {} {}, which is not kept there",
            kept.release, on.name, on.version
        ))
        .note(format!(
            "installed is {}",
            facts.runtimes.get(&on.name).map_or("none", String::as_str)
        ))
        .hint("push it: it is sent then")
    })?;
    Ok(changes(
        &StoredPackage::from(runtime),
        facts,
        &mut Vec::new(),
    ))
}

fn back_on(
    terms: &DeployPolicy,
    site: &TargetHost,
    kept: &KeptPackage,
    changes: &RuntimeChanges,
) -> HostPlan {
    let facts = &site.facts;
    let maker = maker(terms, site, &terms.prefix);
    let package = StoredPackage::from(kept);
    let left = left_by(facts, kept.sha256).map(StoredPackage::from);
    let mut found = found(facts);
    if facts.current == Some(kept.sha256)
        && facts.installed.as_deref() == Some(&kept.version)
        && facts.half.is_none()
    {
        found.push("it runs that already".to_owned());
        return idle(terms, &maker, site, &kept.version, found);
    }
    let way = TransitionKind::new(terms, facts);
    let back = left.clone().map_or(Fallback::None, Fallback::Package);
    let hooks = HookSteps::new(terms, &maker, &package);
    let entry = |result: &str| {
        entry(
            terms,
            "rollback",
            facts.installed.as_deref(),
            &package,
            changes,
            result,
        )
    };
    let mut switch = hooks.before.clone();
    switch.extend(hooks.drain.clone());
    switch.push(way.go(
        &maker,
        facts.installed.as_deref(),
        Some(&package),
        &back,
        changes,
        terms.patience,
    ));
    switch.push(maker.health(&terms.check));
    switch.extend(hooks.undrain.iter().chain(&hooks.after).cloned());
    // What was left is not gone back to again, although nothing is wrong with it.
    let left = left.as_ref().map(|left| (FailureMark::Left, left));
    switch.push(maker.record(Some(Some(&package)), left, terms.keep, &entry("ok")));
    let [failed, refused] = without_success(terms, &maker, &hooks, Some(&package), entry);
    HostPlan {
        prepare: [lock(terms, &maker, facts, &[])]
            .into_iter()
            .chain(way.unpack(&maker, terms, &package))
            .collect(),
        switch,
        abandon: hooks.undrain,
        failed,
        refused,
        unlock: vec![maker.unlock()],
        ..untouched(&maker, site, &kept.version, found)
    }
}

/// What follows an installation that failed, and one that the package manager refused: the latter
/// is nobody's fault.
fn without_success(
    terms: &DeployPolicy,
    maker: &StepBuilder<'_>,
    hooks: &HookSteps,
    bad: Option<&StoredPackage>,
    entry: impl Fn(&str) -> Value,
) -> [Vec<Step>; 2] {
    [(bad, "failed"), (None, NOT_INSTALLED)].map(|(bad, result)| {
        let bad = bad.map(|bad| (FailureMark::Failed, bad));
        let record = maker.record(None, bad, terms.keep, &entry(result));
        hooks.undrain.iter().cloned().chain([record]).collect()
    })
}

fn maker<'a>(terms: &'a DeployPolicy, site: &'a TargetHost, prefix: &'a str) -> StepBuilder<'a> {
    StepBuilder {
        name: &terms.name,
        prefix: facts_prefix(terms, &site.facts).unwrap_or_else(|| prefix.to_owned()),
        token: &terms.owner.token,
        seat: terms.seat(Some(&site.facts)),
        host: &site.name,
        variables: &site.variables,
    }
}

/// Where the release lies that is in use, if it is not where a package puts it.
fn facts_prefix(terms: &DeployPolicy, facts: &HostFacts) -> Option<String> {
    terms.unpacked.as_ref()?;
    facts
        .own
        .as_ref()
        .map(|own| format!("{}/current", own.into))
}

/// How a host gets from one release to another.
enum TransitionKind<'a> {
    /// Its package manager installs.
    Install(PackageManager),
    /// `current` is switched.
    Switch(&'a ReleaseDirectory),
}

impl<'a> TransitionKind<'a> {
    fn new(terms: &'a DeployPolicy, facts: &HostFacts) -> Self {
        match &terms.unpacked {
            Some(unpacked) => Self::Switch(unpacked),
            None => Self::Install(
                facts
                    .manager
                    .expect("a host without a package manager is refused"),
            ),
        }
    }

    fn go(
        &self,
        maker: &StepBuilder<'_>,
        from: Option<&str>,
        to: Option<&StoredPackage>,
        back: &Fallback,
        runtime: &RuntimeChanges,
        patience: Duration,
    ) -> Step {
        match self {
            Self::Install(manager) => maker.install(*manager, from, to, back, runtime, patience),
            Self::Switch(unpacked) => maker.switch(unpacked.units, from, to, back),
        }
    }

    /// What comes before the switch and changes nothing that is in use.
    fn unpack(
        &self,
        maker: &StepBuilder<'_>,
        terms: &DeployPolicy,
        package: &StoredPackage,
    ) -> Option<Step> {
        match self {
            Self::Install(_) => None,
            Self::Switch(unpacked) => Some(maker.unpack(package, &terms.prefix, &unpacked.shared)),
        }
    }
}

fn lock(
    terms: &DeployPolicy,
    maker: &StepBuilder<'_>,
    facts: &HostFacts,
    coming: &[IncomingPackage<'_>],
) -> Step {
    let seen = facts.lock.as_ref().map(|holder| holder.token.as_str());
    let dead = seen.filter(|token| owner::is_dead(token));
    maker.lock(
        &terms.owner.label,
        seen.unwrap_or_default(),
        dead.unwrap_or_default(),
        terms.patience,
        coming,
    )
}

/// A host with nothing to do, but for the lock that a dead push has left.
fn idle(
    terms: &DeployPolicy,
    maker: &StepBuilder<'_>,
    site: &TargetHost,
    to: &str,
    found: Vec<String>,
) -> HostPlan {
    let holder = site
        .facts
        .lock
        .as_ref()
        .filter(|holder| !holder.alive || owner::is_dead(&holder.token));
    let refusal = match terms.unpacked {
        Some(_) => site.facts.untrustworthy(),
        None => not_root(terms, &site.facts),
    };
    let sweep = holder
        .filter(|_| refusal.is_none())
        .map(|holder| maker.sweep(&holder.token, owner::is_dead(&holder.token)));
    HostPlan {
        unlock: sweep.into_iter().collect(),
        ..untouched(maker, site, to, found)
    }
}

/// A host to which nothing is done.
fn untouched(maker: &StepBuilder<'_>, site: &TargetHost, to: &str, found: Vec<String>) -> HostPlan {
    HostPlan {
        host: site.name.clone(),
        about: about(&site.facts),
        from: site.facts.installed.clone(),
        to: to.to_owned(),
        found,
        prepare: Vec::new(),
        migrate: Vec::new(),
        switch: Vec::new(),
        abandon: Vec::new(),
        failed: Vec::new(),
        refused: Vec::new(),
        back: Vec::new(),
        unlock: Vec::new(),
        beat: maker.beat(),
    }
}

/// The hooks of a host.
struct HookSteps {
    before: Vec<Step>,
    drain: Vec<Step>,
    undrain: Vec<Step>,
    after: Vec<Step>,
}

impl HookSteps {
    fn new(terms: &DeployPolicy, maker: &StepBuilder<'_>, package: &StoredPackage) -> Self {
        let steps = |stage, lines: &[CommandLine]| {
            lines
                .iter()
                .map(|line| maker.hook(stage, line, package))
                .collect()
        };
        Self {
            before: steps(PushStage::Before, &terms.hooks.before),
            drain: steps(PushStage::Drain, &terms.hooks.drain),
            undrain: steps(PushStage::Undrain, &terms.hooks.undrain),
            after: steps(PushStage::After, &terms.hooks.after),
        }
    }
}

fn about(facts: &HostFacts) -> String {
    let into = facts.own.as_ref().map(|own| format!(", in {}", own.into));
    let manager = facts.manager.map(|manager| format!(", {manager}"));
    format!(
        "{}{}",
        facts.distribution(),
        into.or(manager).unwrap_or_default()
    )
}

/// How a push ends, for the history, when the package manager could not install it.
const NOT_INSTALLED: &str = "not installed";

/// A line of the history, without its time.
fn entry(
    terms: &DeployPolicy,
    action: &str,
    from: Option<&str>,
    to: &StoredPackage,
    changes: &RuntimeChanges,
    result: &str,
) -> Value {
    let mut entry = json!({
        "who": terms.owner.who(),
        "action": action,
        "from": from,
        "to": to.version,
        "release": to.release,
        "commit": to.commit,
        "sha256": to.sha256,
        "result": result,
    });
    if let Some(RuntimeChange::Up(runtime)) = &changes.there {
        entry["runtime"] = json!(format!(
            "{} {}",
            runtime.name.as_deref().unwrap_or_default(),
            runtime.version
        ));
    }
    entry
}

/// What earlier pushes and other programs have left on a host.
fn found(facts: &HostFacts) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(holder) = &facts.lock {
        found.push(if holder.alive && !owner::is_dead(&holder.token) {
            format!(
                "{} is pushing since {}; waits for the lock",
                holder.owner, holder.since
            )
        } else {
            format!(
                "the push by {} since {} died; its lock is free",
                holder.owner, holder.since
            )
        });
    }
    if let Some(transaction) = &facts.transaction {
        let goal = if transaction.sum.is_empty() {
            "a removal"
        } else {
            &transaction.version
        };
        found.push(match transaction.state {
            TransactionState::Running => {
                format!("the installation of {goal} by an earlier push goes on; waits for its end")
            }
            TransactionState::Done => {
                format!("an earlier push has installed {goal} and did not see its end")
            }
            TransactionState::Restored => {
                format!("an earlier push has tried {goal}, which failed and was taken back")
            }
            TransactionState::Refused => {
                format!("an earlier push has tried {goal}, and the package manager could not")
            }
            TransactionState::Failed => format!("an earlier push has tried {goal}, which failed"),
            TransactionState::Interrupted => {
                format!("the installation of {goal} by an earlier push was interrupted")
            }
        });
    }
    found.extend(facts.oddities());
    if let Some(half) = &facts.half {
        found.push(format!("dpkg has left it half-way: {half}"));
    }
    if let Some(held) = &facts.held {
        found.push(format!(
            "the package manager is in use ({held}); waits for its end"
        ));
    }
    found
}

/// The package that a host leaves when it goes to another one: what is installed or, in the middle
/// of a transaction, what the last push before that one has left.
fn left_by(facts: &HostFacts, to: Sha256Sum) -> Option<&KeptPackage> {
    let recorded = facts.current.and_then(|current| facts.kept(current));
    facts
        .kept_installed()
        .into_iter()
        .chain(recorded)
        .find(|kept| kept.sha256 != to)
}

/// The package that a host goes back to.
fn earlier<'a>(facts: &'a HostFacts, to: Option<&str>) -> Result<&'a KeptPackage> {
    let whole = || facts.kept.iter().filter(|kept| kept.is_whole());
    let listed = || {
        let all: Vec<&str> = whole().map(|kept| kept.release.as_str()).collect();
        if all.is_empty() {
            "it keeps no packages".to_owned()
        } else {
            format!("it keeps {}", all.join(", "))
        }
    };
    if let Some(to) = to {
        let named = |kept: &&KeptPackage| kept.release == to || kept.version == to;
        return whole()
            .filter(named)
            .max_by_key(|kept| kept.good_at())
            .ok_or_else(|| {
                Error::new(format!("release `{to}` is not kept there"))
                    .note(listed())
                    .hint("push it: it is sent then")
            });
    }
    let current = facts
        .kept_installed()
        .map(|kept| kept.sha256)
        .or(facts.current);
    let now = facts
        .kept
        .iter()
        .find(|kept| Some(kept.sha256) == current)
        .and_then(KeptPackage::good_at);
    let before = |kept: &&KeptPackage| {
        let earlier = now.is_none_or(|now| kept.good_at() < Some(now));
        let is_fine = kept.failed.is_empty()
            && !facts.left.contains(&kept.sha256)
            && kept.good_at().is_some();
        Some(kept.sha256) != current && is_fine && earlier
    };
    whole()
        .filter(before)
        .max_by_key(|kept| kept.good_at())
        .ok_or_else(|| {
            Error::new("no earlier release that worked is kept there")
                .note(listed())
                .hint("choose one with `--to VERSION`")
        })
}

/// Cuts so many hosts into batches; a batch counts all hosts so far.
fn batches(batches: &[BatchSize], count: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut done = 0;
    for batch in batches.iter().chain([&BatchSize::Percent(100)]) {
        let until = match batch {
            BatchSize::Hosts(hosts) => usize::try_from(*hosts).unwrap_or(usize::MAX),
            BatchSize::Percent(share) => (count * usize::from(*share)).div_ceil(100),
        }
        .min(count);
        if until > done {
            ranges.push(done..until);
            done = until;
        }
    }
    ranges
}
