//! The artifacts that one host gets.

use super::artifact::Artifact;
use super::facts::{HostFacts, RunsOn, VersionOrder};

/// The artifacts that one host gets.
#[derive(Debug)]
pub struct SelectedArtifacts<'a> {
    pub(super) artifact: &'a Artifact,
    pub(super) index: usize,
    /// The interpreter that it shares with other applications, and the package's index, if there
    /// is one here.
    pub(super) runtime: Option<(&'a Artifact, usize)>,
}

impl<'a> SelectedArtifacts<'a> {
    /// Returns the interpreter and its index, unless the host has that version or a newer one.
    pub(super) fn runtime_to_install(&self, facts: &HostFacts) -> Option<(&'a Artifact, usize)> {
        self.runtime.filter(|(_, index)| {
            !matches!(
                facts.orders.get(index),
                Some(VersionOrder::Same | VersionOrder::Older)
            )
        })
    }

    /// Returns the artifacts to install, with their indices.
    pub(super) fn to_install(
        &self,
        facts: &HostFacts,
    ) -> impl Iterator<Item = (&'a Artifact, usize)> + use<'a> {
        [
            Some((self.artifact, self.index)),
            self.runtime_to_install(facts),
        ]
        .into_iter()
        .flatten()
    }

    /// Returns what the artifact runs on, for later pushes to know.
    pub(super) fn runs_on(&self) -> Option<RunsOn> {
        self.runtime.map(|(runtime, _)| RunsOn {
            name: runtime.name.clone(),
            version: runtime.version.clone(),
            sha256: runtime.sha256,
            order: None,
        })
    }
}
