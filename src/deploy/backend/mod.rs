//! Backends: the ways to install a release on a host. Each is one file; no other code asks which
//! one a deployment has.
//!
//! - [`PackageManagerBackend`]: root installs packages with the host's package manager.
//! - [`ReleaseDirectoryBackend`]: a login without root's rights unpacks tarballs beside each other.

mod configuration;
mod package_commands;
mod package_manager;
mod release_directory;

use std::collections::BTreeMap;
use std::fmt;

use super::artifact::Artifact;
use super::builder::StepBuilder;
use super::facts::HostFacts;
use super::migration::Migration;
use super::preflight::AllowFlags;
use super::script::RemoteState;
use super::select::SelectedArtifacts;
use super::service_command::ServiceCommand;
use super::step::Step;
use super::stored::{PackageSet, StoredPackage, Transition};
use crate::hosts::HostCommand;
use pkgapp_config::Deploy;
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::name::AppName;
use pkgapp_format::read::ArtifactKind;

pub use package_manager::PackageManagerBackend;
pub use release_directory::ReleaseDirectoryBackend;

/// A way to install releases on hosts.
///
/// The facts of a host are the answer to [`probe`](Backend::probe). Decisions follow from them
/// alone, and steps are made only for hosts that [`preflight`](Backend::preflight) or, for a
/// roll-back, [`unfit`](Backend::unfit) has nothing against.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Returns whether hosts get artifacts of this format.
    fn accepts(&self, kind: ArtifactKind) -> bool;

    /// Returns where a host keeps what it must know, before or after it has told its facts.
    fn remote_state(&self, facts: Option<&HostFacts>) -> RemoteState;

    /// Returns how the journal of the application's units is read.
    fn journal(&self) -> JournalAccess;

    /// Returns the command whose output is the facts of a host.
    fn probe(&self, prefix: &str, artifacts: &[Artifact]) -> HostCommand;

    /// Returns the command that tells the condition of what is installed.
    fn status(&self, prefix: &str) -> HostCommand;

    /// Returns the command that runs another one like a service of what is installed; `variables`
    /// are the host's.
    fn service_command(
        &self,
        prefix: &str,
        command: &ServiceCommand,
        variables: &BTreeMap<String, String>,
    ) -> HostCommand;

    /// Selects the artifacts for a host.
    ///
    /// # Errors
    /// None of them fits; the error says what would help.
    fn select<'a>(
        &self,
        artifacts: &'a [Artifact],
        facts: &HostFacts,
    ) -> Result<SelectedArtifacts<'a>>;

    /// Returns everything that speaks against the selected artifacts on a host.
    fn preflight(
        &self,
        selected: &SelectedArtifacts<'_>,
        facts: &HostFacts,
        allow: AllowFlags,
    ) -> Vec<Error>;

    /// Returns what speaks against any release on a host.
    fn unfit(&self, facts: &HostFacts) -> Vec<Error>;

    /// Returns why the login must not change what the host keeps.
    fn locked_out(&self, facts: &HostFacts) -> Option<Error>;

    /// Returns where the release in use lies; `prefix` is where a package puts it.
    fn release_path(&self, prefix: &str, facts: &HostFacts) -> String;

    /// Returns what installs releases on a host, for people.
    fn about(&self, facts: &HostFacts) -> Option<String>;

    /// Returns what people should know before an artifact is installed on a host.
    fn notes(&self, artifact: &Artifact, facts: &HostFacts) -> Vec<String>;

    /// Makes the steps after the package has come that change nothing that is in use.
    fn prepare(&self, steps: &StepBuilder<'_>, prefix: &str, package: &StoredPackage) -> Vec<Step>;

    /// Makes the steps that migrate with the packages of a release, and with the interpreter that
    /// comes with it, before they are installed.
    fn migrate(
        &self,
        steps: &StepBuilder<'_>,
        set: &PackageSet,
        runtime: Option<&StoredPackage>,
        migration: &Migration<'_>,
    ) -> Vec<Step>;

    /// Makes the step from one release to another, forward or back.
    fn switch(
        &self,
        steps: &StepBuilder<'_>,
        facts: &HostFacts,
        transition: &Transition<'_>,
    ) -> Step;
}

/// How the journal of an application's units is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalAccess {
    /// The beginning of the script: it ends with status 77 where the login may not read it.
    pub check: &'static str,
    /// The option of journalctl(1) that selects a unit.
    pub unit_option: &'static str,
    /// Whether root reads it.
    pub sudo: bool,
}

/// Returns the backend that the configuration and the command line (`--into` and `--sudo`) choose.
///
/// # Errors
/// Releases cannot lie in `into`, or `sudo` is asked for where it has no place.
pub fn choose(
    name: &AppName,
    deploy: Option<&Deploy>,
    into: Option<&str>,
    sudo: bool,
) -> Result<Box<dyn Backend>> {
    let tarball = deploy.and_then(|deploy| deploy.tarball.as_ref());
    match ReleaseDirectoryBackend::of(name, tarball, into)? {
        Some(_) if sudo => Err(no_sudo()),
        Some(directory) => Ok(Box::new(directory)),
        None => Ok(Box::new(PackageManagerBackend {
            name: name.clone(),
            sudo: sudo || deploy.is_some_and(|deploy| deploy.sudo),
        })),
    }
}

/// Where releases are unpacked, all is the login's.
fn no_sudo() -> Error {
    Error::new("releases are unpacked by the login, and `--sudo` would make it root's work")
        .kind(ErrorKind::Usage)
        .hint("leave `--sudo` out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_makes_it_the_logins_work_where_sudo_has_no_place() {
        let name = AppName::parse("shop").unwrap();
        let chosen = |into, sudo| choose(&name, None, into, sudo);

        let packages = chosen(None, true).unwrap();
        assert!(packages.accepts(ArtifactKind::Deb) && !packages.accepts(ArtifactKind::Tar));
        let state = packages.remote_state(None);
        assert_eq!(state.directory, "/var/lib/pkgapp/shop");
        assert!(state.sudo && packages.journal().sudo);

        let directory = chosen(Some("~/www/shop"), false).unwrap();
        assert!(directory.accepts(ArtifactKind::Tar) && !directory.accepts(ArtifactKind::Rpm));
        let state = directory.remote_state(None);
        assert_eq!(state.directory, "~/www/shop/.pkgapp");
        assert!(!state.sudo && !directory.journal().sudo);

        let error = chosen(Some("~/www/shop"), true).unwrap_err();
        assert_eq!(error.what(), ErrorKind::Usage);
        assert!(error.to_string().contains("leave `--sudo` out"), "{error}");
    }
}
