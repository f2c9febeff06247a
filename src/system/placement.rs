//! The hosts of each part of an application, and of each backing service.

use std::collections::BTreeSet;

use pkgapp_config::{
    BackingService, Located, PartName, PartPlacement, RolePlacement, ServiceRuns,
    SystemApplication, suggested,
};
use pkgapp_core::error::{Error, Location};
use pkgapp_core::text::counted;

use crate::affinity::affinity;
use crate::declared::{DeclaredApplication, DeclaredPart, SITE};
use crate::hosts::HostIndex;
use crate::lock::EnvironmentLock;
use crate::resolve::ResolutionInput;
use crate::resolved::{Listen, PartKind, ResolvedPart, ResolvedService};

/// Places the parts of applications and backing services on hosts.
pub(crate) struct Placer<'a> {
    pub(crate) input: &'a ResolutionInput<'a>,
    pub(crate) hosts: &'a HostIndex,
    /// How many programs each host runs so far.
    pub(crate) loads: Vec<u32>,
    pub(crate) lock: &'a mut EnvironmentLock,
    pub(crate) mistakes: &'a mut Vec<Error>,
}

/// The hosts of a placement, and whether they are some of a role.
struct ChosenHosts {
    hosts: Vec<usize>,
    are_some: bool,
}

impl Placer<'_> {
    /// Places the parts of an application.
    pub(crate) fn place_application(
        &mut self,
        application: &SystemApplication,
        declared: &DeclaredApplication,
    ) -> Vec<ResolvedPart> {
        let parts = match declared.parts() {
            Ok(parts) => parts,
            Err(error) => {
                self.mistakes.push(error);
                return Vec::new();
            }
        };
        self.refuse_unknown(application, &parts);
        let placed = parts.iter().filter_map(|part| {
            let placement = self.placement(application, part)?;
            self.place_part(application, part, &placement)
        });
        placed.collect()
    }

    /// Complains of placements of parts that the application does not have.
    fn refuse_unknown(&mut self, application: &SystemApplication, parts: &[DeclaredPart]) {
        let environment = self.input.environment;
        let mut mentioned: Vec<(&PartName, &Location)> = Vec::new();
        for (name, _) in &application.place {
            mentioned.push((&name.value, &name.at));
        }
        for ((of, name), numbers) in &environment.place {
            if *of == application.name {
                mentioned.push((name, &numbers.at));
            }
        }
        for (name, at) in mentioned {
            if parts.iter().all(|part| part.name != *name) {
                let error = unknown_part(application, name, at, parts);
                self.mistakes.push(error);
            }
        }
    }

    /// Returns the placement of a part in this environment; `None` if it is nowhere, or after a
    /// mistake.
    fn placement(
        &mut self,
        application: &SystemApplication,
        part: &DeclaredPart,
    ) -> Option<RolePlacement> {
        let own = match application.placement(&part.name) {
            Some(PartPlacement::Nowhere(_)) => return None,
            Some(PartPlacement::OnRole(placement)) => Some(placement.clone()),
            None => application.role.clone().map(RolePlacement::on),
        };
        let Some(own) = own else {
            self.mistakes.push(unplaced(application, part));
            return None;
        };
        let key = (application.name.clone(), part.name.clone());
        let numbers = self.input.environment.place.get(&key);
        let placement = numbers.map_or_else(|| own.clone(), |numbers| own.with(numbers));
        Some(RolePlacement {
            count: placement.count.or(part.count),
            ..placement
        })
    }

    fn place_part(
        &mut self,
        application: &SystemApplication,
        part: &DeclaredPart,
        placement: &RolePlacement,
    ) -> Option<ResolvedPart> {
        let name = format!("{}.{}", application.name, part.name);
        let has_data = part.has_state && placement.data && part.kind == PartKind::Service;
        let per_host = placement.per_host.unwrap_or(part.per_host);
        let chosen = self.choose(&name, placement, per_host)?;
        if chosen.are_some {
            if has_data {
                let at = &placement.role.at;
                self.keep_data(&name, &chosen.hosts, placement.moved_from.as_ref(), at);
            }
            self.remember(&name, &chosen.hosts);
        }
        for host in &chosen.hosts {
            self.loads[*host] += per_host;
        }
        Some(ResolvedPart {
            application: application.name.clone(),
            name: part.name.clone(),
            kind: part.kind,
            role: placement.role.value.clone(),
            hosts: chosen.hosts,
            per_host,
            listen: placement.port.map_or(Listen::Nowhere, Listen::Port),
            memory: placement.memory,
            proxied: None,
        })
    }

    /// Returns the hosts of a part, ascending.
    fn choose(
        &mut self,
        name: &str,
        placement: &RolePlacement,
        per_host: u32,
    ) -> Option<ChosenHosts> {
        let environment = self.input.environment.name();
        let candidates = match self.hosts.of_role(&placement.role, environment, name) {
            Ok(candidates) => candidates,
            Err(error) => {
                self.mistakes.push(error);
                return None;
            }
        };
        let Some(count) = placement.count else {
            let hosts = candidates.to_vec();
            return Some(ChosenHosts {
                hosts,
                are_some: false,
            });
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > candidates.len() {
            let available = counted(candidates.len(), "host");
            let role = &placement.role.value;
            let error = Error::new(format!(
                "`{name}` is to be on {count} hosts, and role `{role}` has {available} in `{environment}`"
            ));
            let error = error.at(placement.role.at.clone());
            self.mistakes
                .push(error.hint("lower `count`, or add hosts"));
            return None;
        }
        let hosts = self.some_of(name, candidates, count, per_host);
        Some(ChosenHosts {
            hosts,
            are_some: true,
        })
    }

    /// Returns `count` of the candidates, ascending: those of the lock, then those with the least
    /// to do. Of equals, their affinity decides, so that not everything is on the first host.
    fn some_of(&self, name: &str, candidates: &[usize], count: usize, weight: u32) -> Vec<usize> {
        let is_candidate: BTreeSet<usize> = candidates.iter().copied().collect();
        let locked = self.input.lock.place.get(name).into_iter().flatten();
        let mut chosen: BTreeSet<usize> = locked
            .filter_map(|host| self.hosts.find(host))
            .filter(|host| is_candidate.contains(host))
            .take(count)
            .collect();
        let mut rest: Vec<(u32, u64, usize)> = candidates
            .iter()
            .filter(|host| !chosen.contains(host))
            .map(|&host| {
                let load = self.loads[host].saturating_add(weight);
                (load, affinity(name, self.hosts.name(host)), host)
            })
            .collect();
        rest.sort_unstable();
        let missing = count - chosen.len();
        chosen.extend(rest.into_iter().take(missing).map(|(_, _, host)| host));
        chosen.into_iter().collect()
    }

    /// Places a backing service.
    pub(crate) fn place_service(&mut self, service: &BackingService) -> Option<ResolvedService> {
        let (hosts, external) = match &service.runs {
            ServiceRuns::OnRole(role) => (self.hosts_of_service(service, role)?, None),
            ServiceRuns::External(external) => (Vec::new(), Some(external.clone())),
        };
        Some(ResolvedService {
            name: service.name.clone(),
            kind: service.kind,
            hosts,
            external,
            is_managed: service.manage,
        })
    }

    fn hosts_of_service(
        &mut self,
        service: &BackingService,
        role: &Located<PartName>,
    ) -> Option<Vec<usize>> {
        let environment = self.input.environment.name();
        let name = service.name.as_str();
        let hosts = match self.hosts.of_role(role, environment, name) {
            Ok(hosts) => hosts.to_vec(),
            Err(error) => {
                self.mistakes.push(error);
                return None;
            }
        };
        if service.kind.has_data() {
            if hosts.len() > 1 {
                self.mistakes
                    .push(several_hosts(service, role, hosts.len(), environment));
                return None;
            }
            self.keep_data(name, &hosts, service.moved_from.as_ref(), &role.at);
            self.remember(name, &hosts);
        }
        Some(hosts)
    }

    /// Refuses to leave a host that has data, unless a person has moved them.
    fn keep_data(
        &mut self,
        name: &str,
        hosts: &[usize],
        moved_from: Option<&Located<String>>,
        at: &Location,
    ) {
        let Some(holders) = self.input.lock.place.get(name) else {
            return;
        };
        let is_kept = |holder: &&String| {
            let kept = self.hosts.find(holder);
            kept.is_some_and(|kept| hosts.contains(&kept))
        };
        let is_moved = |holder: &&String| moved_from.is_some_and(|from| from.value == **holder);
        let wanted: Vec<&str> = hosts.iter().map(|host| self.hosts.name(*host)).collect();
        let added = wanted
            .iter()
            .any(|host| !holders.iter().any(|holder| holder == host));
        let left = holders
            .iter()
            .filter(|holder| !is_kept(holder) && !is_moved(holder));
        let left: Vec<&String> = left.collect();
        // With fewer hosts than before, no host starts without the data: a removal says where they stay.
        if let (Some(holder), true) = (left.first(), added) {
            self.mistakes
                .push(moving(name, holder, &wanted).at(at.clone()));
        }
    }

    fn remember(&mut self, name: &str, hosts: &[usize]) {
        let names = hosts.iter().map(|host| self.hosts.name(*host).to_owned());
        self.lock.place.insert(name.to_owned(), names.collect());
    }
}

fn unknown_part(
    application: &SystemApplication,
    name: &PartName,
    at: &Location,
    parts: &[DeclaredPart],
) -> Error {
    let application = &application.name;
    let error = match name.as_str() {
        SITE => Error::new(format!("`{application}` has no site")),
        _ => Error::new(format!("`{application}` has no service or job `{name}`")),
    };
    let names = parts.iter().map(|part| part.name.as_str());
    error.at(at.clone()).hint(match name.as_str() {
        SITE => "give the environment `domains`, or remove the line".to_owned(),
        _ => suggested(name.as_str(), names),
    })
}

fn unplaced(application: &SystemApplication, part: &DeclaredPart) -> Error {
    let (name, kind) = (&part.name, part.kind.noun());
    let error = Error::new(format!(
        "the {kind} `{}.{name}` is placed nowhere",
        application.name
    ));
    error.at(application.at.clone()).hint(format!(
        "write `place.{name} = {{ role = \"ROLE\" }}`, or `place.{name} = false` to leave it out"
    ))
}

fn several_hosts(
    service: &BackingService,
    role: &Located<PartName>,
    number: usize,
    environment: &PartName,
) -> Error {
    let (name, kind, role_name) = (&service.name, service.kind.name(), &role.value);
    Error::new(format!(
        "`{name}` ({kind}) runs on one host, and role `{role_name}` has {number} in `{environment}`"
    ))
    .at(role.at.clone())
    .hint("give it a role of its own, or write `external = { host = \"HOST\" }`")
}

fn moving(name: &str, holder: &str, wanted: &[&str]) -> Error {
    Error::new(format!(
        "`{name}` would be on `{}`, and its data are on `{holder}`",
        wanted.join("`, `")
    ))
    .hint(format!(
        "move the data, then write `moved-from = \"{holder}\"` in the table of `{name}`, or give `{holder}` the role again"
    ))
}
