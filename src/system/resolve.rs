//! Resolution: from the model, the declarations, and the lock to what runs on each host.

use std::collections::BTreeMap;

use jiff::civil::Date;

use pkgapp_config::{BackingService, SystemApplication, SystemEnvironment, SystemModel};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;

use crate::binding::{Binder, refuse_cycles};
use crate::checks;
use crate::declared::DeclaredApplication;
use crate::hosts::HostIndex;
use crate::listen;
use crate::lock::EnvironmentLock;
use crate::placement::Placer;
use crate::resolved::{
    ResolvedApplication, ResolvedBinding, ResolvedPart, ResolvedService, ResolvedSystem,
};

/// The arguments of a resolution.
#[derive(Debug, Clone, Copy)]
pub struct ResolutionInput<'a> {
    /// The model.
    pub model: &'a SystemModel,
    /// The environment to resolve.
    pub environment: &'a SystemEnvironment,
    /// The declarations of all applications of the model, for this environment.
    pub applications: &'a BTreeMap<AppName, DeclaredApplication>,
    /// The decisions of the last resolution.
    pub lock: &'a EnvironmentLock,
    /// The day on which ports of services that left begin to rest.
    pub today: Date,
}

/// Decides what runs on every host of an environment.
///
/// # Errors
/// All mistakes of the model for this environment.
pub fn resolve(input: &ResolutionInput<'_>) -> Result<ResolvedSystem> {
    let mut mistakes = Vec::new();
    let hosts = HostIndex::of(input.environment, &mut mistakes);
    // Mistakes in hosts would be followed by others about their roles.
    if let Some(error) = Error::all(std::mem::take(&mut mistakes)) {
        return Err(error);
    }
    let mut lock = EnvironmentLock::default();
    keep_hosts(&mut lock, &hosts);
    let (mut parts, services) = place(input, &hosts, &mut lock, &mut mistakes);
    keep_leaving(&mut lock, input.lock);
    let bindings = bind(input, &parts, &services, &mut lock, &mut mistakes);
    listen::connect_sites(input, &mut parts);
    let listening = listen::Listening {
        input,
        services: &services,
        bindings: &bindings,
        lock: &mut lock,
        mistakes: &mut mistakes,
    };
    listening.decide(&mut parts);

    let applications: Vec<ResolvedApplication> = applications(input, &parts);
    checks::versions(input, &hosts, &parts, &applications, &mut mistakes);
    checks::ports(&hosts, &parts, &services, &mut mistakes);
    checks::memory(&hosts, &parts, &mut mistakes);
    checks::domains(input, &parts, &mut mistakes);
    match Error::all(mistakes) {
        Some(error) => Err(error),
        None => Ok(ResolvedSystem {
            name: input.model.name.clone(),
            environment: input.environment.name().clone(),
            hosts: hosts.hosts,
            applications,
            parts,
            services,
            bindings,
            lock,
        }),
    }
}

/// Places everything. Backing services come first: they are where the model says, whatever else
/// the hosts do.
fn place(
    input: &ResolutionInput<'_>,
    hosts: &HostIndex,
    lock: &mut EnvironmentLock,
    mistakes: &mut Vec<Error>,
) -> (Vec<ResolvedPart>, Vec<ResolvedService>) {
    let mut placer = Placer {
        input,
        hosts,
        loads: vec![0; hosts.hosts.len()],
        lock,
        mistakes,
    };
    let services = services_of(input);
    let services = services
        .iter()
        .filter_map(|service| placer.place_service(service));
    let services = services.collect();
    let mut parts = Vec::new();
    for application in &input.model.applications {
        if let Some(declared) = input.applications.get(&application.name) {
            parts.extend(placer.place_application(application, declared));
        }
    }
    (parts, services)
}

/// Returns the backing services as the environment has them.
fn services_of(input: &ResolutionInput<'_>) -> Vec<BackingService> {
    let services = input.model.services.iter();
    let changed = services.map(|service| {
        let differences = input.environment.services.get(&service.name);
        differences.map_or_else(|| service.clone(), |differences| service.with(differences))
    });
    changed.collect()
}

fn bind(
    input: &ResolutionInput<'_>,
    parts: &[ResolvedPart],
    services: &[ResolvedService],
    lock: &mut EnvironmentLock,
    mistakes: &mut Vec<Error>,
) -> Vec<ResolvedBinding> {
    let mut binder = Binder {
        input,
        services,
        parts,
        lock,
        mistakes,
    };
    let mut bindings: Vec<ResolvedBinding> = Vec::new();
    for application in placed_applications(input, parts) {
        bindings.extend(binder.bind(application));
    }
    refuse_cycles(&bindings, parts, &input.model.applications, mistakes);
    bindings
}

/// Keeps the roles of hosts.
fn keep_hosts(lock: &mut EnvironmentLock, hosts: &HostIndex) {
    for host in &hosts.hosts {
        let roles = host.roles.iter().map(ToString::to_string).collect();
        lock.hosts.insert(host.name.clone(), roles);
    }
}

/// Keeps what hosts no longer have: they may still run it.
fn keep_leaving(lock: &mut EnvironmentLock, old: &EnvironmentLock) {
    for had in [&old.hosts, &old.leaving] {
        for (host, all) in had {
            for what in all {
                lock.keep_lost(host, what);
            }
        }
    }
    for (part, hosts) in &old.place {
        // Backing services, which have no dot, keep their data where they were.
        if !part.contains('.') {
            continue;
        }
        for host in hosts {
            lock.keep_lost(host, part);
        }
    }
}

/// Returns the applications of the model that have a part somewhere.
fn placed_applications<'a>(
    input: &ResolutionInput<'a>,
    parts: &[ResolvedPart],
) -> impl Iterator<Item = &'a SystemApplication> {
    let applications = input.model.applications.iter();
    applications.filter(|application| {
        let mut parts = parts.iter();
        parts.any(|part| part.application == application.name)
    })
}

/// Returns the applications that are placed somewhere.
fn applications(input: &ResolutionInput<'_>, parts: &[ResolvedPart]) -> Vec<ResolvedApplication> {
    let placed = placed_applications(input, parts);
    let resolved = placed.filter_map(|application| {
        let declared = input.applications.get(&application.name)?;
        Some(ResolvedApplication {
            name: application.name.clone(),
            software: declared.software.clone(),
            version: declared.version.clone(),
        })
    });
    resolved.collect()
}
