//! Checks of a resolved system as a whole: versions, ports, memory, and domains.

use std::collections::BTreeMap;

use pkgapp_config::EnvironmentDomains;
use pkgapp_core::error::Error;
use pkgapp_core::name::AppName;
use pkgapp_core::report::human_bytes;
use pkgapp_core::text::backticked;

use crate::classes::folded;
use crate::hosts::HostIndex;
use crate::resolve::ResolutionInput;
use crate::resolved::{PartKind, ResolvedApplication, ResolvedPart, ResolvedService};

/// Refuses two versions of one software package on a host, which can have only one.
pub(crate) fn versions(
    input: &ResolutionInput<'_>,
    hosts: &HostIndex,
    parts: &[ResolvedPart],
    applications: &[ResolvedApplication],
    mistakes: &mut Vec<Error>,
) {
    let by_name: BTreeMap<&AppName, &ResolvedApplication> =
        applications.iter().map(|one| (&one.name, one)).collect();
    let mut installed: BTreeMap<(usize, &AppName), &ResolvedApplication> = BTreeMap::new();
    let mut reported: Vec<(&AppName, &AppName)> = Vec::new();
    for part in parts {
        let Some(application) = by_name.get(&part.application).copied() else {
            continue;
        };
        for host in &part.hosts {
            let key = (*host, &application.software);
            let other = *installed.entry(key).or_insert(application);
            let pair = (&other.name, &application.name);
            if other.version == application.version || reported.contains(&pair) {
                continue;
            }
            reported.push(pair);
            let error = Error::new(format!(
                "`{}` has {} {} for `{}` and {} for `{}`",
                hosts.name(*host),
                application.software,
                other.version,
                other.name,
                application.version,
                application.name
            ));
            let error = match input.model.application(&application.name) {
                Some(declared) => error.at(declared.at.clone()),
                None => error,
            };
            let hint = "a host has one version of a software package: use the same, or other hosts";
            mistakes.push(error.hint(hint));
        }
    }
}

/// Refuses two services at one port of a host.
pub(crate) fn ports(
    hosts: &HostIndex,
    parts: &[ResolvedPart],
    services: &[ResolvedService],
    mistakes: &mut Vec<Error>,
) {
    let mut listeners: BTreeMap<(usize, u16), String> = BTreeMap::new();
    let mut reported: Vec<(String, String)> = Vec::new();
    let of_services = services.iter().filter(|one| one.external.is_none());
    let of_services =
        of_services.map(|service| (service.name.to_string(), &service.hosts, service.port()));
    let of_parts = parts.iter().filter_map(|part| {
        let port = part.port()?;
        Some((part.full_name(), &part.hosts, port))
    });
    for (name, on, port) in of_services.chain(of_parts) {
        for host in on.iter().copied() {
            let other = listeners
                .entry((host, port))
                .or_insert_with(|| name.clone());
            let pair = (other.clone(), name.clone());
            if *other == name || reported.contains(&pair) {
                continue;
            }
            let error = Error::new(format!(
                "`{}`: port {port} is for `{other}` and for `{name}`",
                hosts.name(host)
            ));
            let hint = "place them on different hosts, or give one of them another port";
            mistakes.push(error.hint(hint));
            reported.push(pair);
        }
    }
}

/// Refuses more memory on a host than the model says that it has.
pub(crate) fn memory(hosts: &HostIndex, parts: &[ResolvedPart], mistakes: &mut Vec<Error>) {
    let mut needed = vec![0_u64; hosts.hosts.len()];
    for part in parts {
        let each = part.memory.unwrap_or_default();
        for host in &part.hosts {
            needed[*host] = needed[*host].saturating_add(each.saturating_mul(part.per_host.into()));
        }
    }
    let mut lacking: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
    for (host, needed) in hosts.hosts.iter().zip(needed) {
        if let Some(capacity) = host.memory.filter(|capacity| needed > *capacity) {
            let names = lacking.entry((capacity, needed)).or_default();
            names.push(&host.name);
        }
    }
    for ((capacity, needed), names) in lacking {
        let (capacity, needed) = (human_bytes(capacity), human_bytes(needed));
        let error = Error::new(format!(
            "{}: {needed} of memory are needed, and `capacity` is {capacity}",
            folded(names)
        ));
        mistakes.push(error.hint("place less on these hosts, or raise their `capacity`"));
    }
}

/// Refuses domains of which nobody knows whose they are.
pub(crate) fn domains(
    input: &ResolutionInput<'_>,
    parts: &[ResolvedPart],
    mistakes: &mut Vec<Error>,
) {
    let EnvironmentDomains::OfOnlySite(domains) = &input.environment.domains else {
        return;
    };
    let Some(first) = domains.first() else {
        return;
    };
    let sites = parts.iter().filter(|part| part.kind == PartKind::Site);
    let sites: Vec<&AppName> = sites.map(|part| &part.application).collect();
    let environment = input.environment.name();
    let error = match sites.as_slice() {
        [_] => return,
        [] => {
            let error = Error::new(format!(
                "`{environment}` has domains, and no application is placed with its `site`"
            ));
            error.hint("write `place.site = { role = \"ROLE\" }` in the table of an application")
        }
        [one, ..] => {
            let names = backticked(sites.iter());
            let error = Error::new(format!(
                "the domains of `{environment}` could be those of {names}"
            ));
            error.hint(format!("write `domains.{one} = […]` for each"))
        }
    };
    mistakes.push(error.at(first.at.clone()));
}
