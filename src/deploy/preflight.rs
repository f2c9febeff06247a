//! What a push refuses before anything changes, whatever installs the release.

use super::artifact::{Artifact, ArtifactContent};
use super::facts::{HostFacts, TransactionState, VersionOrder};
use super::select::SelectedArtifacts;
use super::stored::PackageSet;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::report::human_bytes;

/// What a push does only when told to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowFlags {
    /// Go to an older version.
    pub downgrade: bool,
    /// Install other bytes under the same version.
    pub reinstall: bool,
    /// Take a name that a repository of the host has too.
    pub same_name: bool,
    /// Do without settings and secrets that the release needs.
    pub missing_settings: bool,
}

/// What speaks against hosts, each reason once with all its hosts.
#[derive(Debug)]
pub struct PreflightRefusals {
    doing: &'static str,
    all: Vec<(Vec<String>, Error)>,
}

impl PreflightRefusals {
    /// Begins with none; `doing` is followed by hosts, such as `push to`.
    pub fn new(doing: &'static str) -> Self {
        Self {
            doing,
            all: Vec::new(),
        }
    }

    /// Adds a reason against a host.
    pub fn add(&mut self, host: &str, error: Error) {
        match self
            .all
            .iter_mut()
            .find(|(_, known)| known.to_string() == error.to_string())
        {
            Some((hosts, _)) => hosts.push(host.to_owned()),
            None => self.all.push((vec![host.to_owned()], error)),
        }
    }

    /// Ends.
    ///
    /// # Errors
    /// There are reasons.
    pub fn finish(self) -> Result<()> {
        let told = self.all.into_iter().map(|(hosts, error)| {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
            error.context(format!("cannot {} {}", self.doing, hosts.join(", ")))
        });
        Error::all(told).map_or(Ok(()), Err)
    }
}

/// Refuses to replace a release in probation that a person confirms. Any other is waited for: its
/// time is short.
pub(super) fn awaits_decision(facts: &HostFacts) -> Option<Error> {
    let transaction = facts.transaction.as_ref()?;
    if !transaction.is_manual {
        return None;
    }
    let TransactionState::Probation(left) = transaction.state else {
        return None;
    };
    let error = Error::new(format!(
        "{} is in probation there for another {left} s",
        transaction.version
    ));
    Some(error.hint("keep it with `pkgapp confirm`, or take it back with `pkgapp rollback`"))
}

/// Refuses a package without a signature on a host whose package manager was told to.
pub(super) fn no_signature(file: &str, facts: &HostFacts) -> Option<Error> {
    let who = facts.insists.as_ref()?;
    Some(Error::new(format!(
        "{file} has no signature, and {who} refuses such packages there"
    )))
}

/// Refuses packages of a set that have no signature.
pub(super) fn unsigned(set: &PackageSet, facts: &HostFacts) -> Option<Error> {
    let mut unsigned = set.packages().filter(|package| package.is_unsigned);
    unsigned.find_map(|package| no_signature(&package.file, facts))
}

/// Refuses an older version, or other bytes under the same one; `order` is how the artifact
/// compares with what is installed.
pub(super) fn version_refusal(
    selected: &SelectedArtifacts<'_>,
    order: Option<VersionOrder>,
    allow: AllowFlags,
    facts: &HostFacts,
) -> Option<Error> {
    // Its configuration alone changes.
    if selected.artifact.holds == ArtifactContent::Software && selected.is_software_there(facts) {
        return None;
    }
    let artifact = selected.artifact;
    let installed = facts.installed.as_deref().unwrap_or_default();
    match order? {
        VersionOrder::Older if !allow.downgrade => {
            let error = Error::new(format!(
                "{installed} is installed, which is newer than {}",
                artifact.version
            ));
            Some(error.hint("go back with `pkgapp rollback`, or insist with `--allow-downgrade`"))
        }
        VersionOrder::Same if !allow.reinstall && !selected.is_half_done(facts) => {
            let error = Error::new(format!(
                "another package of version {installed} is installed"
            ));
            Some(
                error.hint(
                    "build it with a higher `[package] revision`, or insist with `--reinstall`",
                ),
            )
        }
        VersionOrder::Older | VersionOrder::Same | VersionOrder::Newer => None,
    }
}

/// Refuses a host without values for settings that the release needs; `place` is where a file of
/// packages lies there.
pub(super) fn lacks_settings(
    artifact: &Artifact,
    facts: &HostFacts,
    place: impl Fn(&str) -> String,
) -> Option<Error> {
    let settings = artifact.settings.as_ref()?;
    if let (Some(why), Some(name)) = (&facts.no_credentials, settings.credentials.first()) {
        let error = Error::new(format!("cannot deliver `{name}` as a file there: {why}"));
        return Some(error.hint("leave `deliver` out of its `[settings]`, and build again"));
    }
    let lacking = settings.places.iter();
    let lacking: Vec<String> = lacking
        .filter(|(name, _)| facts.lacks.contains(*name))
        .map(|(name, file)| {
            if settings.credentials.contains(name) {
                return format!("`{name}`, a file");
            }
            format!("`{name}` in `{}`", place(file))
        })
        .collect();
    if lacking.is_empty() {
        return None;
    }
    let error = Error::new(format!(
        "the release needs settings that have no value there: {}",
        lacking.join(", ")
    ));
    Some(error.hint(
        "set secrets with `pkgapp secrets set`, write other settings as `NAME=value` into these files there, \
         or make them `optional`",
    ))
}

/// What a push writes about a package and its installation, the log included, about.
const NOTES: u64 = 128 << 10;

/// Refuses a host without the space for the release at `release_place` and for the packages at
/// `packages_place`.
pub(super) fn no_space(
    selected: &SelectedArtifacts<'_>,
    facts: &HostFacts,
    release_place: &str,
    packages_place: &str,
) -> Option<Error> {
    let runtime = selected
        .runtime_to_install(facts)
        .map(|(runtime, _)| runtime);
    let comes = !selected.is_there(facts);

    let mut sent = if comes { NOTES } else { 0 };
    for package in selected.packages().chain(runtime) {
        let is_kept = facts.kept(package.sha256).is_some();
        if !is_kept && facts.kept_member(package.sha256).is_none() {
            sent += package.size;
        }
    }

    // The new files lie beside the old ones for a while.
    let mut installed = runtime.map_or(0, |runtime| runtime.installed_size);
    if comes {
        let sizes = selected.packages().map(|package| package.installed_size);
        installed += sizes.sum::<u64>();
    }

    let (release, packages) = (&facts.free_prefix, &facts.free_state);
    let needs = if release.device == packages.device {
        vec![(release_place, release.bytes, installed + sent)]
    } else {
        vec![
            (release_place, release.bytes, installed),
            (packages_place, packages.bytes, sent),
        ]
    };
    let (place, free, need) = needs.into_iter().find(|(_, free, need)| need > free)?;
    let error = Error::new(format!(
        "`{place}` has {} free and needs {}",
        human_bytes(free),
        human_bytes(need)
    ));
    Some(error.hint("make room there"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::artifact::tests::candidate;
    use super::*;
    use pkgapp_format::read::ArtifactKind;
    use pkgapp_release::needed_settings::NeededSettings;

    #[test]
    fn a_host_without_values_is_told_where_they_belong() {
        let mut artifact = candidate(ArtifactKind::Deb, "1.1.0", None);
        let mut facts = HostFacts {
            lacks: BTreeSet::from(["SHOP_KEY".to_owned(), "SHOP_OTHER".to_owned()]),
            ..HostFacts::default()
        };
        let refusal = |artifact: &Artifact, facts: &HostFacts| {
            let place = |file: &str| format!("/home/app/shared{file}");
            lacks_settings(artifact, facts, place).map(|error| error.to_string())
        };
        assert_eq!(refusal(&artifact, &facts), None);

        let file = "/etc/shop/secrets.env".to_owned();
        let names = ["SHOP_KEY", "SHOP_REGION"].map(|name| (name.to_owned(), file.clone()));
        artifact.settings = Some(NeededSettings {
            places: BTreeMap::from(names),
            files: vec![file],
            credentials: vec![],
            configured: vec![],
        });
        let told = refusal(&artifact, &facts).unwrap();
        assert!(
            told.contains(
                "no value there: `SHOP_KEY` in `/home/app/shared/etc/shop/secrets.env`\n"
            ),
            "{told}"
        );
        let settings = artifact.settings.as_mut().unwrap();
        settings.credentials = vec!["SHOP_KEY".into(), "SHOP_NOTE".into()];
        let told = refusal(&artifact, &facts).unwrap();
        assert!(
            told.contains("no value there: `SHOP_KEY`, a file\n"),
            "{told}"
        );
        facts.lacks.clear();
        assert_eq!(refusal(&artifact, &facts), None);
        facts.no_credentials = Some("systemd 245 has no credentials".into());
        let told = refusal(&artifact, &facts).unwrap();
        assert!(
            told.contains("cannot deliver `SHOP_KEY` as a file there: systemd 245"),
            "{told}"
        );
    }
}
