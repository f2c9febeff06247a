//! The artifacts that one host gets.

use super::artifact::{Artifact, ArtifactContent};
use super::facts::{HostFacts, RunsOn, VersionOrder};
use super::pieces::FilePieces;
use super::stored::{IncomingPackage, PackageSet, StoredPackage};
use pkgapp_release::services::ServiceUnit;

/// The artifacts that one host gets.
#[derive(Debug)]
pub struct SelectedArtifacts<'a> {
    pub(super) artifact: &'a Artifact,
    pub(super) index: usize,
    /// The configuration of the software, and the package's index. Without it, software keeps the
    /// configuration that the host has.
    pub(super) configuration: Option<(&'a Artifact, usize)>,
    /// The interpreter that it shares with other applications, and the package's index, if there
    /// is one here.
    pub(super) runtime: Option<(&'a Artifact, usize)>,
}

impl<'a> SelectedArtifacts<'a> {
    /// Selects an artifact alone.
    pub(super) fn only(artifact: &'a Artifact, index: usize) -> Self {
        Self {
            artifact,
            index,
            configuration: None,
            runtime: None,
        }
    }

    /// Returns the interpreter and its index, unless the host has that version or a newer one.
    pub(super) fn runtime_to_install(&self, facts: &HostFacts) -> Option<(&'a Artifact, usize)> {
        self.runtime.filter(|(_, index)| {
            !matches!(
                facts.orders.get(index),
                Some(VersionOrder::Same | VersionOrder::Older)
            )
        })
    }

    /// Returns the packages of the application.
    pub(super) fn packages(&self) -> impl Iterator<Item = &'a Artifact> + use<'a> {
        let configuration = self.configuration.map(|(artifact, _)| artifact);
        std::iter::once(self.artifact).chain(configuration)
    }

    /// Returns the artifacts to install, with their indices.
    pub(super) fn to_install(
        &self,
        facts: &HostFacts,
    ) -> impl Iterator<Item = (&'a Artifact, usize)> + use<'a> {
        [
            Some((self.artifact, self.index)),
            self.configuration,
            self.runtime_to_install(facts),
        ]
        .into_iter()
        .flatten()
    }

    /// Returns the packages that the host will have.
    pub(super) fn set(&self, facts: &HostFacts) -> PackageSet {
        let software = StoredPackage::from(self.artifact);
        let own = self
            .configuration
            .map(|(artifact, _)| StoredPackage::from(artifact));
        let configurations = match own {
            Some(configuration) => vec![configuration],
            None if self.artifact.holds == ArtifactContent::Software => kept_configurations(facts),
            None => Vec::new(),
        };
        PackageSet::new(software, configurations)
    }

    /// Returns whether the release is installed, by these packages as far as anyone knows.
    pub(super) fn is_there(&self, facts: &HostFacts) -> bool {
        let set = self.set(facts);
        self.is_software_there(facts)
            && set.is_configured(facts)
            && facts.half.is_none()
            && facts.current.is_none_or(|current| current == set.id)
    }

    /// Returns whether the installed software has the content of this one.
    pub(super) fn is_software_there(&self, facts: &HostFacts) -> bool {
        StoredPackage::from(self.artifact).is_installed_as_software(facts)
    }

    /// Returns whether an unfinished transaction is of these very packages. Of one whose
    /// parameters are lost, the record of the release that is there tells.
    pub(super) fn is_half_done(&self, facts: &HostFacts) -> bool {
        let goal = self.set(facts).id.to_string();
        facts.transaction.as_ref().is_some_and(|transaction| {
            transaction.sum == goal || (transaction.sum.is_empty() && self.is_software_there(facts))
        })
    }

    /// Returns what the host is told of the packages that come, for later pushes.
    pub(super) fn coming(&self, facts: &HostFacts) -> Vec<IncomingPackage> {
        let (set, runs_on) = (self.set(facts), self.runs_on());
        let runtime = self.runtime_to_install(facts).map(|(runtime, _)| runtime);
        let mut coming: Vec<IncomingPackage> = Vec::new();
        if self.artifact.holds == ArtifactContent::Software {
            coming.extend(self.packages().map(IncomingPackage::member));
            coming.push(IncomingPackage::set(
                &set,
                runs_on.as_ref(),
                FilePieces::default(),
            ));
        } else {
            let pieces = self.artifact.pieces.clone();
            coming.push(IncomingPackage::set(&set, runs_on.as_ref(), pieces));
        }
        coming.extend(runtime.map(IncomingPackage::member));
        coming
    }

    /// Returns the unit of the service whose settings a migration takes over.
    pub(super) fn service(&self) -> Option<&'a ServiceUnit> {
        self.packages()
            .find_map(|artifact| artifact.service.as_ref())
    }

    /// Returns what the artifact runs on, for later pushes to know.
    fn runs_on(&self) -> Option<RunsOn> {
        self.runtime.map(|(runtime, _)| RunsOn {
            name: runtime.name.clone(),
            version: runtime.version.clone(),
            sha256: runtime.sha256,
            order: None,
        })
    }
}

/// Returns the installed configurations whose packages the host keeps.
fn kept_configurations(facts: &HostFacts) -> Vec<StoredPackage> {
    let names = facts.configurations.keys();
    let kept = names.filter_map(|name| facts.kept_member_installed(name));
    kept.map(StoredPackage::from).collect()
}
