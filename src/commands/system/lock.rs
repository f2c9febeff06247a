//! `pkgapp system lock`: writes the decisions of a resolution.

use crate::cli::SystemLockArgs;
use pkgapp_core::error::{Error, ErrorKind, Location, Result, shown};
use pkgapp_core::report::Report;
use pkgapp_core::text::backticked;
use pkgapp_system::SystemLock;

use super::OpenSystem;

/// Resolves all environments, and writes what the lock has to keep.
pub(super) fn lock(
    mut system: OpenSystem<'_>,
    args: &SystemLockArgs,
    report: &Report,
) -> Result<()> {
    for host in &args.forget {
        forget(&mut system.lock, host)?;
    }
    let resolved = system.resolve_all(&system.model.environments)?;
    // Environments that left the model keep their decisions: their hosts still have them.
    let mut new = system.lock.clone();
    for one in resolved {
        new.environments
            .insert(one.environment.to_string(), one.lock);
    }

    let file = &system.lock_file;
    if args.check {
        if new == SystemLock::read(file)? {
            return Ok(());
        }
        let error = Error::new("the lock is out of date").at(Location::file(file));
        return Err(error.hint("run `pkgapp system lock`, and commit the file"));
    }
    if new.write(file)? {
        report.result(&shown(file).to_string());
    } else {
        report.step(&format!("`{}` is up to date", shown(file)));
    }
    Ok(())
}

/// Forgets a host that left the model.
fn forget(lock: &mut SystemLock, host: &str) -> Result<()> {
    let mut environments = lock.environments.values_mut();
    if environments.any(|environment| environment.leaving.remove(host).is_some()) {
        return Ok(());
    }
    let environments = lock.environments.values();
    let leaving = environments.flat_map(|environment| environment.leaving.keys());
    let leaving: Vec<&String> = leaving.collect();
    let error = Error::new(format!("no host `{}` is leaving", host.escape_debug()));
    let hint = if leaving.is_empty() {
        "a host leaves when the model no longer has it".to_owned()
    } else {
        format!("the leaving ones are {}", backticked(leaving))
    };
    Err(error.hint(hint).kind(ErrorKind::Usage))
}
