//! Accounts that exist on hosts before pkgapp installs a package.

/// The users and groups of Debian's base-passwd, Red Hat's setup, and systemd, which own the host's
/// own files and devices.
const RESERVED: &str = "\
    adm audio backup bin cdrom clock daemon dbus dialout dip disk fax floppy ftp games gnats halt input irc kmem \
    kvm list lock lp mail man mem messagebus news nobody nogroup operator plugdev polkitd proxy render root sasl \
    sgx shadow shutdown slocate src ssh_keys sshd staff sudo sync sys systemd-bus-proxy systemd-coredump systemd- \
    journal systemd-journal-gateway systemd-journal-remote systemd-journal-upload systemd-network systemd-oom \
    systemd-resolve systemd-timesync tape tss tty users utempter utmp uucp uuidd video voice wheel www-data _apt";

/// Returns whether a Linux distribution owns the user or group of this name, on some hosts at
/// least.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.split(' ').any(|reserved| reserved == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the table with the lists of the build machine's distribution, if it ships them.
    #[test]
    fn accounts_of_this_machines_distribution_are_reserved() {
        for list in [
            "/usr/share/base-passwd/passwd.master",
            "/usr/share/base-passwd/group.master",
        ] {
            let Ok(text) = std::fs::read_to_string(list) else {
                continue;
            };
            for name in text.lines().filter_map(|line| line.split(':').next()) {
                assert!(is_reserved(name), "{name} of {list}");
            }
        }
    }
}
