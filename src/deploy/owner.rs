//! Who pushes: the owner of a lock, and how another push on the same machine knows that it is dead.

use pkgapp_core::digest::Sha256Sum;

/// A push as hosts know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushOwner {
    /// `MACHINE.PID.START`: the push and no other.
    pub token: String,
    /// For people, e.g. `ada@laptop (pid 4711)`.
    pub label: String,
}

impl PushOwner {
    /// Returns this process.
    pub fn this() -> Self {
        let pid = std::process::id();
        let start = start_of(pid).unwrap_or_default();
        let text = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|text| !text.is_empty() && is_plain(text))
        };
        let user = text("USER")
            .or_else(|| text("LOGNAME"))
            .or_else(login)
            .unwrap_or_else(|| "someone".into());
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let machine = Some(machine.trim())
            .filter(|name| !name.is_empty() && is_plain(name))
            .unwrap_or("somewhere");
        Self {
            token: format!("{}.{pid}.{start}", this_machine()),
            label: format!("{user}@{machine} (pid {pid})"),
        }
    }

    /// Returns the part of the label that people are known by, e.g. `ada@laptop`.
    pub fn who(&self) -> &str {
        self.label.split(' ').next().unwrap_or_default()
    }
}

/// Returns whether a token is that of a process of this machine that is gone.
pub fn is_dead(token: &str) -> bool {
    let mut parts = token.split('.');
    let (machine, pid, start) = (parts.next(), parts.next(), parts.next());
    let Some(pid) = pid.and_then(|pid| pid.parse().ok()) else {
        return false;
    };
    machine == Some(this_machine().as_str()) && start_of(pid).as_deref() != start
}

/// This boot of this machine; a name alone would be that of another container too.
fn this_machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let text = format!(
        "{}{}",
        read("/proc/sys/kernel/random/boot_id"),
        namespace.display()
    );
    Sha256Sum::of(text.as_bytes()).to_string()[..12].to_owned()
}

/// When a process started, in clock ticks since the boot: proc_pid_stat(5), field 22.
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // A zombie is dead.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// The name of this process's user, where the environment does not tell it, as in cron.
fn login() -> Option<String> {
    let uid =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?).to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    // NAME:PASSWORD:UID:… (passwd(5))
    let user = users
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid))?;
    user.split(':')
        .next()
        .filter(|name| is_plain(name))
        .map(str::to_owned)
}

fn is_plain(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._@+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_is_dead_and_this_one_is_not() {
        let this = PushOwner::this();
        assert!(!is_dead(&this.token), "{this:?}");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let token = format!(
            "{}.{pid}.{}",
            this_machine(),
            start_of(pid).unwrap_or("1".into())
        );
        child.wait().unwrap();
        assert!(is_dead(&token));
        // Its number is another's now.
        let (head, _) = this.token.rsplit_once('.').unwrap();
        assert!(is_dead(&format!("{head}.1")));
        assert!(!is_dead("other.1.2") && !is_dead("") && !is_dead("x"));
    }
}
