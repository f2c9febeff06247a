//! The policy of a deployment: what the configuration and the command line ask for, before any host
//! is asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::backend::Backend;
use super::facts::HostFacts;
use super::health::HealthCheck;
use super::history::SystemRevision;
use super::owner::PushOwner;
use super::preflight::AllowFlags;
use super::secrets::SecretStore;
use pkgapp_config::{BatchSize, ConfirmMode, DeployHooks, Migrate};
use pkgapp_core::name::AppName;

/// What is known before any host is asked.
#[derive(Debug)]
pub struct DeployPolicy {
    /// The application.
    pub name: AppName,
    /// Where it is installed.
    pub prefix: String,
    /// Who pushes.
    pub owner: PushOwner,
    /// What installs releases on hosts.
    pub backend: Box<dyn Backend>,
    /// How many hosts have the release after each step.
    pub batches: Vec<BatchSize>,
    /// How many hosts may fail before all is stopped.
    pub max_failed: u32,
    /// When a host works.
    pub check: HealthCheck,
    /// The conditions under which a release that works stays.
    pub probation: Probation,
    /// What is done with hosts that have changed when others fail.
    pub on_failure: OnFailure,
    /// What is done once before the first switch.
    pub migrate: Option<Migrate>,
    /// As whom, if the release has no service to do it like.
    pub migrate_user: Option<String>,
    /// Where hosts have the application's secrets, if it has any.
    pub secrets: Option<SecretStore>,
    /// What is run around it.
    pub hooks: DeployHooks,
    /// How many packages a host keeps, the installed one included; two at least.
    pub keep: u32,
    /// How long to wait for the lock of another push, and for that of the package manager.
    pub patience: Duration,
    /// Where its services listen, if the configuration is known.
    pub listens: Vec<SocketAddr>,
    /// What is refused otherwise.
    pub allow: AllowFlags,
    /// The model of the system that this is part of.
    pub system: Option<SystemRevision>,
}

impl DeployPolicy {
    /// Returns where its services listen, as the question for the facts has it.
    pub fn listening(&self) -> String {
        let addresses = self.listens.iter().map(ToString::to_string);
        addresses.collect::<Vec<_>>().join(" ")
    }
}

/// The conditions under which a release that works stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probation {
    /// Who has to confirm it.
    pub confirm: ConfirmMode,
    /// How long the host waits for that before it goes back.
    pub within: Duration,
}

/// What is done with hosts that have changed when others fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They go back.
    GoBack,
    /// They stay, also one whose new release does not work.
    Keep,
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
