//! Where services listen: at a port of the system's pool, or at a socket in the file system that
//! the web server of the only host uses.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use pkgapp_config::{Service, SocketAddress};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;

use crate::lock::{EnvironmentLock, PortBlock};
use crate::ports::PortPool;
use crate::resolve::ResolutionInput;
use crate::resolved::{Listen, PartKind, Provider, ResolvedBinding, ResolvedPart, ResolvedService};

/// Finds the services behind sites.
pub(crate) fn connect_sites(input: &ResolutionInput<'_>, parts: &mut [ResolvedPart]) {
    let proxied: Vec<Option<usize>> = parts
        .iter()
        .map(|part| {
            let declared = input.applications.get(&part.application)?;
            let site = declared.config.site.as_ref();
            let name = &site.filter(|_| part.kind == PartKind::Site)?.proxy.name;
            let is_behind = |other: &ResolvedPart| {
                other.kind == PartKind::Service
                    && other.name == *name
                    && other.application == part.application
            };
            parts.iter().position(is_behind)
        })
        .collect();
    for (part, proxied) in parts.iter_mut().zip(proxied) {
        part.proxied = proxied;
    }
}

/// Decides where services listen.
pub(crate) struct Listening<'a> {
    pub(crate) input: &'a ResolutionInput<'a>,
    pub(crate) services: &'a [ResolvedService],
    pub(crate) bindings: &'a [ResolvedBinding],
    pub(crate) lock: &'a mut EnvironmentLock,
    pub(crate) mistakes: &'a mut Vec<Error>,
}

impl Listening<'_> {
    /// Sets [`ResolvedPart::listen`], and the ports of the lock.
    pub(crate) fn decide(self, parts: &mut [ResolvedPart]) {
        let numbers = 0..parts.len();
        let kinds: Vec<ListenKind> = numbers.map(|number| self.kind(parts, number)).collect();
        let unreachable = self.unreachable(parts, &kinds);
        self.mistakes.extend(unreachable);

        let mut pool = self.pool(parts, &kinds);
        assign_chosen(parts, &kinds, &mut pool);
        for (part, kind) in parts.iter_mut().zip(&kinds) {
            part.listen = match kind {
                ListenKind::Nowhere => Listen::Nowhere,
                ListenKind::WebServer => Listen::WebServer,
                ListenKind::Own(address) => Listen::Own(address.port()),
                ListenKind::Port => match listen_at_port(part, &mut pool) {
                    Ok(listen) => listen,
                    Err(error) => {
                        self.mistakes.push(error);
                        Listen::Nowhere
                    }
                },
            };
        }
        self.lock.ports = pool.blocks;
        self.lock.resting = pool.resting;
    }

    /// Returns the ports of the lock, without those that services cannot have.
    fn pool(&self, parts: &[ResolvedPart], kinds: &[ListenKind]) -> PortPool {
        let mut used = BTreeSet::new();
        for (part, kind) in parts.iter().zip(kinds) {
            if *kind == ListenKind::Port {
                used.insert(part.full_name());
            }
        }
        let mut pool = PortPool::new(
            self.input.model.ports.clone(),
            &self.input.lock.ports,
            &self.input.lock.resting,
            |name| used.contains(name),
            self.input.today,
        );
        self.reserve(&mut pool, kinds);
        pool
    }

    /// Returns how a part comes to its address.
    fn kind(&self, parts: &[ResolvedPart], number: usize) -> ListenKind {
        let part = &parts[number];
        let Some(service) = self.declared(part) else {
            return ListenKind::Nowhere;
        };
        match (&service.socket, &service.address) {
            (Some(_), _) if matches!(part.listen, Listen::Port(_)) => ListenKind::Port,
            (Some(socket), _) => self.kind_of_socket(socket, parts, number),
            (None, Some(SocketAddress::Tcp(address))) => ListenKind::Own(*address),
            (None, Some(SocketAddress::Unix(_)) | None) => ListenKind::Nowhere,
        }
    }

    /// Returns how a service comes to its address for which systemd listens.
    fn kind_of_socket(
        &self,
        socket: &SocketAddress,
        parts: &[ResolvedPart],
        number: usize,
    ) -> ListenKind {
        let part = &parts[number];
        let sites: Vec<&ResolvedPart> = sites_of(parts, number).collect();
        let is_bound = self.consumers(number).next().is_some();
        let is_alone = part.hosts.len() == 1 && part.per_host == 1;
        if sites.is_empty() && !is_bound && matches!(socket, SocketAddress::Unix(_)) {
            return ListenKind::Nowhere;
        }
        let are_beside = sites.iter().all(|site| site.hosts == part.hosts);
        if !sites.is_empty() && !is_bound && is_alone && are_beside {
            return ListenKind::WebServer;
        }
        ListenKind::Port
    }

    fn declared(&self, part: &ResolvedPart) -> Option<&Service> {
        let declared = self.input.applications.get(&part.application)?;
        let mut services = declared.config.services.iter();
        services.find(|service| part.kind == PartKind::Service && service.name == part.name)
    }

    /// Returns the bindings to a part.
    fn consumers(&self, number: usize) -> impl Iterator<Item = &ResolvedBinding> {
        let bindings = self.bindings.iter();
        bindings.filter(move |binding| binding.provider == Provider::Part(number))
    }

    /// Returns the mistakes of services that other hosts need, and that listen only to their own.
    fn unreachable(&self, parts: &[ResolvedPart], kinds: &[ListenKind]) -> Vec<Error> {
        let mut errors = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let ListenKind::Own(address) = kind else {
                continue;
            };
            if !address.ip().is_loopback() {
                continue;
            }
            if let Some(user) = self.user_elsewhere(parts, number) {
                let error = Error::new(format!(
                    "`{}` listens on {address}, and `{}` is on other hosts",
                    parts[number].full_name(),
                    user.full_name()
                ));
                let hint = "declare a `socket` for it: the system then chooses where it listens";
                errors.push(error.hint(hint));
            }
        }
        errors
    }

    /// Returns a part on other hosts that uses this one.
    fn user_elsewhere<'p>(
        &self,
        parts: &'p [ResolvedPart],
        number: usize,
    ) -> Option<&'p ResolvedPart> {
        let mut consumers: BTreeSet<&AppName> = BTreeSet::new();
        for binding in self.consumers(number) {
            consumers.insert(&binding.application);
        }
        parts.iter().find(|part| {
            let is_user = part.proxied == Some(number) || consumers.contains(&part.application);
            is_user && part.hosts != parts[number].hosts
        })
    }

    /// Keeps services off the ports of backing services, and of services that choose their own.
    fn reserve(&self, pool: &mut PortPool, kinds: &[ListenKind]) {
        let own = kinds.iter().filter_map(|kind| match kind {
            ListenKind::Own(address) => Some(address.port()),
            _ => None,
        });
        let backing = self
            .services
            .iter()
            .filter(|service| service.external.is_none());
        let backing = backing.map(ResolvedService::port);
        for first in own.chain(backing) {
            pool.reserve(PortBlock { first, size: 1 });
        }
    }
}

/// Gives services the ports that the model chooses for them, before others get any.
fn assign_chosen(parts: &[ResolvedPart], kinds: &[ListenKind], pool: &mut PortPool) {
    for (part, kind) in parts.iter().zip(kinds) {
        if let (ListenKind::Port, Listen::Port(first)) = (kind, part.listen) {
            pool.assign(&part.full_name(), PortBlock { first, size: 1 });
        }
    }
}

/// Returns the port that the model chose for a service, or one of the pool.
fn listen_at_port(part: &ResolvedPart, pool: &mut PortPool) -> Result<Listen> {
    match part.listen {
        Listen::Port(first) => Ok(Listen::Port(first)),
        _ => {
            let block = pool.allocate(&part.full_name())?;
            Ok(Listen::Port(block.first))
        }
    }
}

/// How a part of an application comes to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListenKind {
    /// It has none, or one that nobody else uses.
    Nowhere,
    /// A socket for the web server of its only host.
    WebServer,
    /// A port that the system chooses.
    Port,
    /// An address that the application chooses.
    Own(SocketAddr),
}

fn sites_of(parts: &[ResolvedPart], number: usize) -> impl Iterator<Item = &ResolvedPart> {
    let parts = parts.iter();
    parts.filter(move |part| part.proxied == Some(number))
}
