//! The commit that an environment is deployed from, beside those that its hosts know.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pkgapp_core::commit::{self, Commit};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::report::visible_line;
use pkgapp_deploy::history::{HistoryEntry, SystemRevision};
use pkgapp_deploy::policy::TargetHost;
use pkgapp_deploy::preflight::PreflightRefusals;

use super::stage::LockedEnvironment;

/// The state of a model in this checkout.
pub(super) struct ModelRevision {
    file: PathBuf,
    /// Whether the checkout contains commits that hosts have told, each asked once.
    contained: RefCell<BTreeMap<String, bool>>,
    /// Its name, environment, and commit.
    pub(super) revision: SystemRevision,
}

impl ModelRevision {
    pub(super) fn of(environment: &LockedEnvironment<'_>) -> Self {
        let model = &environment.system.model;
        let root = model.file.parent();
        let commit = root.and_then(Commit::at);
        Self {
            file: model.file.clone(),
            contained: RefCell::default(),
            revision: SystemRevision {
                name: model.name.to_string(),
                environment: environment.environment.name().to_string(),
                commit: commit.map(|commit| commit.id),
            },
        }
    }

    /// Returns the reason why the model cannot be traced to a commit, if there is one.
    pub(super) fn uncommitted(&self) -> Option<Error> {
        let error = commit::uncommitted(self.revision.commit.as_deref(), "the model")?;
        Some(error.at(Location::file(&self.file)))
    }

    /// Refuses hosts on which the environment was last applied from a commit that this checkout
    /// does not contain: what came with that commit would be undone.
    pub(super) fn check(&self, hosts: &[TargetHost]) -> Result<()> {
        let mut refusals = PreflightRefusals::new("apply to");
        for host in hosts {
            let Some(entry) = host.facts.applied.as_deref() else {
                continue;
            };
            if let Some(commit) = self.foreign_commit(entry) {
                refusals.add(&host.name, self.unknown_commit(commit, entry));
            }
        }
        refusals.finish()
    }

    fn unknown_commit(&self, commit: &str, entry: &HistoryEntry) -> Error {
        let environment = &self.revision.environment;
        let who = visible_line(&entry.who);
        let time = visible_line(&entry.time);
        let short = visible_line(commit.get(..12).unwrap_or(commit));

        let error = Error::new(format!(
            "{who} has applied `{environment}` at {time} from commit {short}, which this checkout \
             does not contain"
        ));
        error.hint(
            "run `git pull`, in a shallow clone `git fetch --unshallow`, or insist with `--any-commit`",
        )
    }

    /// Returns the revision of an entry of the history, if it is of this system and environment.
    pub(super) fn last_applied<'e>(&self, entry: &'e HistoryEntry) -> Option<&'e SystemRevision> {
        let applied = entry.system.as_ref()?;
        let ours = &self.revision;
        let is_ours = applied.name == ours.name && applied.environment == ours.environment;
        is_ours.then_some(applied)
    }

    /// Returns the commit of an entry of this environment, if the checkout does not contain it.
    fn foreign_commit<'e>(&self, entry: &'e HistoryEntry) -> Option<&'e str> {
        let applied = self.last_applied(entry)?;
        let commit = applied.commit.as_deref()?;
        let root = self.file.parent();
        let root = root.unwrap_or(Path::new("/"));

        let mut contained = self.contained.borrow_mut();
        let is_contained = contained
            .entry(commit.to_owned())
            .or_insert_with(|| commit::contains(root, commit));
        if *is_contained { None } else { Some(commit) }
    }
}
