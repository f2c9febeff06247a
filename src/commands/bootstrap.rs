//! `pkgapp bootstrap`.

use crate::cli::{BootstrapArgs, GlobalOptions};
use pkgapp_core::error::{Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::process::Stream;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::fleet::{Machine, looked, planned_changes, verdict};
use pkgapp_deploy::hosts::{HostCommand, HostFailure, interrupt, line_text};

use super::{load_deploy, open_fleet};

/// The script that prepares a host.
const SCRIPT: &str = include_str!("../../templates/host/bootstrap.sh");

/// The user to create unless the arguments or the deployment name one.
const USER: &str = "deploy";

pub(super) fn bootstrap(
    args: &BootstrapArgs,
    global: &GlobalOptions,
    report: &Report,
) -> Result<()> {
    let mut deploy = load_deploy(args.name.as_deref(), global, report)?;
    // The user to create cannot log in yet.
    let declared = deploy.as_mut().and_then(|(_, deploy)| deploy.user.take());
    let user = args
        .user
        .clone()
        .or(declared)
        .unwrap_or_else(|| USER.to_owned());
    let command = HostCommand::new("preparing the host", SCRIPT)
        .arg(user)
        .arg(if args.dry_run { "dry" } else { "do" })
        .arg(keys(args)?)
        .arg(packages(args)?)
        .sudo(true);
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "bootstrap", report)?;
    let results = fleet.each(|machine| prepare(machine, &command, args.dry_run, report));
    let (mut planned, mut errors) = (0, Vec::new());
    for result in results {
        match result.unwrap_or_else(|| Err(interrupt::error())) {
            Ok(changes) => planned += usize::from(changes > 0),
            Err(error) => errors.push(error),
        }
    }
    if !args.dry_run {
        return verdict(fleet.machines.len(), errors);
    }
    looked(errors)?;
    planned_changes(planned)
}

/// Reads the public keys of all files, one per line.
fn keys(args: &BootstrapArgs) -> Result<String> {
    let mut keys = String::new();
    let mut errors = Vec::new();
    for file in &args.authorize {
        let text = fs::read_to_string(file)?;
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            if is_public_key(line) {
                keys.extend([line.trim(), "\n"]);
            } else {
                let at = Location {
                    file: file.clone(),
                    position: Some((number + 1, 1)),
                };
                let error = Error::new(format!(
                    "`{}` has a line that is not a public key",
                    shown(file)
                ))
                .at(at);
                errors.push(
                    error.hint("`ssh-keygen` writes public keys to files that end in `.pub`"),
                );
            }
        }
    }
    Error::all(errors).map_or(Ok(keys), Err)
}

/// Returns whether a line is a public key in the format of sshd(8), "AUTHORIZED_KEYS FILE FORMAT",
/// without options.
fn is_public_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let kinds = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let blob = words
        .next()
        .and_then(|blob| data_encoding::BASE64.decode(blob.as_bytes()).ok());
    // The key itself begins with its kind, a string as in RFC 4251, §5.
    let inside = blob.as_deref().and_then(|blob| blob.get(4..4 + kind.len()));
    kinds.iter().any(|known| kind.starts_with(known)) && inside == Some(kind.as_bytes())
}

/// Returns the packages to install, separated by spaces.
fn packages(args: &BootstrapArgs) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
    let odd = args
        .install
        .iter()
        .find(|name| name.is_empty() || name.starts_with('-') || !name.chars().all(inside));
    match odd {
        Some(odd) => Err(Error::new(format!(
            "invalid package name `{}`",
            odd.escape_debug()
        ))),
        None => Ok(args.install.join(" ")),
    }
}

/// Prepares a host, or says what that would change; returns the number of changes.
fn prepare(
    machine: &Machine<'_>,
    command: &HostCommand,
    dry_run: bool,
    report: &Report,
) -> Result<usize> {
    machine
        .row
        .state(if dry_run { "checking" } else { "preparing" });
    let mut changes = Vec::new();
    let result = machine.host.run(command, &mut |stream, line| {
        if let (Stream::Stdout, Some(change)) = (stream, line_text(line).strip_prefix("+ ")) {
            changes.push(change.to_owned());
        }
    });
    let name = &machine.member.name;
    match report.style() {
        OutputStyle::Text => changes
            .iter()
            .for_each(|change| report.result(&format!("{name}: {change}"))),
        OutputStyle::Json => {
            let changes =
                serde_json::json!({ "host": name, "changes": changes, "dry_run": dry_run });
            report.json(&changes);
        }
    }
    match result {
        Ok(_) => {
            machine.row.done(match (changes.is_empty(), dry_run) {
                (true, _) => "already prepared",
                (false, true) => "not changed (dry run)",
                (false, false) => "prepared",
            });
            Ok(changes.len())
        }
        Err(failure) => {
            machine.row.failed(failure.error());
            Err(HostFailure::into_error(failure))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_are_recognized() {
        // Generated by ssh-keygen 9.2.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFBF47JtXbfdLKz3ZnUxIpWrikZaLmsF6HR1nbRReTn3 ann@example";
        assert!(is_public_key(key));
        for bad in [
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "ssh-ed25519 AAAA",
            "ssh-rsa hello",
            &key.replace("ssh-ed25519", "ssh-rsa"),
        ] {
            assert!(!is_public_key(bad), "{bad}");
        }
    }

    #[test]
    fn the_script_is_valid_posix_sh() {
        let status = std::process::Command::new("sh")
            .args(["-n", "-c", SCRIPT])
            .status()
            .unwrap();
        assert!(status.success());
    }
}
