//! What runs on a host.

use crate::app::UserName;
use crate::name::AppName;
use crate::path::InstallPath;

/// What a package's scriptlets act upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// The application's.
    pub name: AppName,
    /// Where the release lies.
    pub prefix: InstallPath,
    /// In the order in which they are started: sockets, services, timers, then the target.
    pub units: Vec<Unit>,
    /// Users (and their groups) that are created and never deleted.
    pub users: Vec<SystemUser>,
    /// Files of secrets: created empty, 0640 root:GROUP, if they are not there; never overwritten, removed by purge.
    pub secrets: Vec<SecretFile>,
    /// Directories that systemd makes and the package does not own: removed by purge, e.g. /var/lib/shop.
    pub state: Vec<InstallPath>,
    /// Whether `/usr/lib/sysusers.d/NAME.conf` is in the tree.
    pub has_sysusers: bool,
    /// Whether `/usr/lib/tmpfiles.d/NAME.conf` is in the tree.
    pub has_tmpfiles: bool,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file in /usr/lib/systemd/system, e.g. `shop-web.service`, `shop-worker@.service`, `shop.target`.
    pub file: String,
    /// What is enabled and started: the file itself, or `shop-worker@1.service` … of a template. Empty: a timer's own
    /// service, which nothing enables or starts.
    pub names: Vec<String>,
    /// What an upgrade does.
    pub on_upgrade: OnUpgrade,
}

/// What an upgrade does to a unit that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUpgrade {
    /// It is restarted, if something that it uses changed.
    Restart,
    /// It goes on (sockets, targets, timers); sockets and timers are restarted if their own files changed.
    Keep,
}

/// A user of the system, with a group of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUser {
    /// User and group.
    pub name: UserName,
    /// Its home directory, which is not created.
    pub home: InstallPath,
}

/// A file that an administrator fills with secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// On the host.
    pub path: InstallPath,
    /// Who may read it.
    pub group: String,
}
