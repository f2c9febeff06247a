//! The health check of a release.

use std::time::Duration;

use url::Url;

use pkgapp_config::CommandLine;

/// When a host works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// An address that answers on the host.
    pub url: Option<Url>,
    /// A command that succeeds on the host.
    pub command: Option<CommandLine>,
    /// How long to wait for that.
    pub timeout: Duration,
    /// How long units must have run.
    pub settle: Duration,
}
