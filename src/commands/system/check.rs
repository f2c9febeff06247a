//! `pkgapp system check`: all mistakes of a model that show without a host.

use serde_json::Value;

use crate::cli::SystemCheckArgs;
use pkgapp_config::{PartName, SystemEnvironment};
use pkgapp_core::error::Result;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_core::text::counted;
use pkgapp_system::{HostClass, ResolvedSystem};

use super::OpenSystem;

/// Resolves environments and prints what runs where.
pub(super) fn check(
    system: &OpenSystem<'_>,
    args: &SystemCheckArgs,
    report: &Report,
) -> Result<()> {
    let named = args.environments.iter();
    let named: Result<Vec<&SystemEnvironment>> =
        named.map(|name| system.model.environment(name)).collect();
    let environments = match named? {
        named if named.is_empty() => system.model.environments.iter().collect(),
        named => named,
    };
    let resolved = system.resolve_all(environments)?;
    match report.style() {
        OutputStyle::Json => {
            let all: Vec<Value> = resolved.iter().map(ResolvedSystem::to_json).collect();
            report.json(&Value::Array(all));
        }
        OutputStyle::Text => resolved.iter().for_each(|one| print(one, report)),
    }

    let stale = resolved.iter().filter(|one| {
        let locked = system.lock.environment(one.environment.as_str());
        locked != one.lock
    });
    let stale: Vec<&PartName> = stale.map(|one| &one.environment).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Err(system.stale_lock(&stale))
}

/// Prints an environment: its hosts, and the services of each kind of host.
fn print(resolved: &ResolvedSystem, report: &Report) {
    let hosts = counted(resolved.hosts.len(), "host");
    report.result(&format!("{}: {hosts}", resolved.environment));
    for HostClass { name, content, .. } in resolved.host_classes() {
        report.result(&format!("  {name}"));
        for line in content.lines(resolved) {
            report.result(&format!("    {line}"));
        }
    }
}
