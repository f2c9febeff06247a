//! The policy of a deployment: what the configuration and the command line ask for, before any host
//! is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::HostFacts;
use super::health::HealthCheck;
use super::owner::PushOwner;
use super::preflight::AllowFlags;
use super::script::RemoteState;
use super::unpacked::ReleaseDirectory;
use pkgapp_config::{BatchSize, DeployHooks, Migrate};
use pkgapp_core::name::AppName;

/// What is known before any host is asked.
#[derive(Debug, Clone)]
pub struct DeployPolicy {
    /// The application.
    pub name: AppName,
    /// Where it is installed.
    pub prefix: String,
    /// Who pushes.
    pub owner: PushOwner,
    /// Whether root's work is done with sudo.
    pub sudo: bool,
    /// Where releases are unpacked by a login that is not root; `None`: packages are installed.
    pub unpacked: Option<ReleaseDirectory>,
    /// How many hosts have the release after each step.
    pub batches: Vec<BatchSize>,
    /// How many hosts may fail before all is stopped.
    pub max_failed: u32,
    /// When a host works.
    pub check: HealthCheck,
    /// What is done once before the first switch.
    pub migrate: Option<Migrate>,
    /// As whom, if the release has no service to do it like.
    pub migrate_user: Option<String>,
    /// What is run around it.
    pub hooks: DeployHooks,
    /// How many packages a host keeps, the installed one included; two at least.
    pub keep: u32,
    /// How long to wait for the lock of another push, and for that of the package manager.
    pub patience: Duration,
    /// What is refused otherwise.
    pub allow: AllowFlags,
}

impl DeployPolicy {
    /// Returns where hosts keep what they must know; `facts` are those of one that was asked.
    pub fn seat(&self, facts: Option<&HostFacts>) -> RemoteState {
        self.unpacked.as_ref().map_or_else(
            || RemoteState::system(&self.name, self.sudo),
            |unpacked| unpacked.seat(facts),
        )
    }
}

/// A host and what is true there.
#[derive(Debug, Clone)]
pub struct TargetHost {
    /// Its name, as the user wrote it.
    pub name: String,
    /// What hooks see in their environment.
    pub variables: BTreeMap<String, String>,
    /// What is true there.
    pub facts: HostFacts,
}
