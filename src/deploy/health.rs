//! The health check of a release.

use std::time::Duration;

use url::Url;

use pkgapp_config::{AskedService, CommandLine};

/// When a host works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Services that answer, as the installed release says that they are asked.
    pub services: Vec<AskedService>,
    /// An address that answers on the host.
    pub url: Option<Url>,
    /// A command that succeeds on the host.
    pub command: Option<CommandLine>,
    /// How long to wait for that.
    pub timeout: Duration,
    /// How long units must have run.
    pub settle: Duration,
}

impl HealthCheck {
    /// Returns what must be true, for people.
    pub(super) fn conditions(&self) -> Vec<String> {
        let mut parts = vec!["its units run".to_owned()];
        let requests = self.services.iter().map(|asked| &asked.health);
        parts.extend(requests.map(|health| format!("{health} answers")));
        parts.extend(self.url.as_ref().map(|url| format!("{url} answers")));
        let command = self.command.as_ref();
        parts.extend(command.map(|command| format!("`{}` succeeds", command.text)));
        parts
    }
}
