//! Pictures of an environment: hosts as boxes, with the services on them, and arrows from each
//! service to those that it uses.
//!
//! A diagram is what is drawn: one box for all hosts with the same services, so that a thousand
//! hosts are a dozen boxes. The layout places the boxes in columns, from the services
//! that clients meet first to those that use no others, and [`svg()`] writes the picture. [`dot()`]
//! writes the same for Graphviz.

mod dot;
mod layout;
mod svg;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use pkgapp_config::PartName;
use pkgapp_core::name::AppName;

use crate::classes::HostClass;
use crate::resolved::{Listen, PartKind, Provider, ResolvedPart, ResolvedSystem};

pub use dot::dot;
pub use svg::svg;

/// With more kinds of hosts than this, hosts are told apart by their roles alone.
const MOST_CLASSES: usize = 40;

/// A picture before its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Diagram {
    title: String,
    boxes: Vec<DiagramBox>,
    arrows: Vec<Arrow>,
}

/// Hosts with the same services, or a service that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DiagramBox {
    title: String,
    is_external: bool,
    rows: Vec<DiagramRow>,
}

/// A line in a box.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DiagramRow {
    text: String,
    kind: RowKind,
}

/// What a line in a box stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RowKind {
    /// An application, above its parts.
    Application(AppName),
    /// A part of an application, by its number.
    Part(usize),
    /// A backing service, by its number.
    Service(usize),
}

/// A line of a box, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowPlace {
    box_number: usize,
    row: usize,
}

/// An arrow from a line to one that it uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: RowPlace,
    to: RowPlace,
    label: String,
}

impl Diagram {
    /// Returns what is to be drawn of a system.
    fn of(system: &ResolvedSystem) -> Self {
        let classes = drawn_classes(system);
        let mut boxes: Vec<DiagramBox> = classes
            .iter()
            .map(|class| DiagramBox::of_hosts(system, class))
            .collect();
        for (number, service) in system.services.iter().enumerate() {
            if let Some(external) = &service.external {
                boxes.push(DiagramBox {
                    title: external.host.clone(),
                    is_external: true,
                    rows: vec![service_row(system, number)],
                });
            }
        }
        let mut diagram = Self {
            title: format!("{} in {}", system.name, system.environment),
            boxes,
            arrows: Vec::new(),
        };
        diagram.add_bindings(system);
        diagram.add_sites(system);
        diagram.arrows.sort();
        diagram.arrows.dedup();
        diagram
    }

    /// Adds the arrows from applications to the services that they require.
    fn add_bindings(&mut self, system: &ResolvedSystem) {
        for binding in &system.bindings {
            let application = RowKind::Application(binding.application.clone());
            let target = match binding.provider {
                Provider::Service(number) => RowKind::Service(number),
                Provider::Part(number) => RowKind::Part(number),
            };
            let kind = match binding.provider {
                Provider::Service(number) => system.services[number].kind.name(),
                Provider::Part(_) => "http",
            };
            let label = format!("{kind} :{}", system.port_of(binding.provider));
            let users = self.rows_of(&application);
            let users = users
                .into_iter()
                .filter(|place| self.has_process(system, *place));
            self.connect(users.collect(), &target, &label);
        }
    }

    /// Adds the arrows from sites to the services behind them.
    fn add_sites(&mut self, system: &ResolvedSystem) {
        for (number, site) in system.parts.iter().enumerate() {
            let Some(proxied) = site.proxied else {
                continue;
            };
            let label = match system.parts[proxied].listen {
                Listen::Port(port) | Listen::Own(port) => format!("http :{port}"),
                Listen::WebServer | Listen::Nowhere => "socket".to_owned(),
            };
            let sites = self.rows_of(&RowKind::Part(number));
            self.connect(sites, &RowKind::Part(proxied), &label);
        }
    }

    /// Adds an arrow from every line to the target: in its own box, or in all others that have it.
    fn connect(&mut self, from: Vec<RowPlace>, target: &RowKind, label: &str) {
        let targets = self.rows_of(target);
        for from in from {
            let is_site = matches!(
                self.boxes[from.box_number].rows[from.row].kind,
                RowKind::Part(_)
            );
            let is_own = |to: &&RowPlace| to.box_number == from.box_number;
            let own: Vec<RowPlace> = targets.iter().filter(is_own).copied().collect();
            // A site uses the services of all hosts; whatever else has a service beside it uses that.
            let used = if own.is_empty() || is_site {
                &targets
            } else {
                &own
            };
            let label = |to: &RowPlace| match label.split_once(' ') {
                // On its own host, PostgreSQL is asked through a socket.
                Some(("postgresql", _)) if to.box_number == from.box_number => "socket",
                _ => label,
            };
            self.arrows.extend(used.iter().map(|to| Arrow {
                from,
                to: *to,
                label: label(to).to_owned(),
            }));
        }
    }

    fn rows_of(&self, kind: &RowKind) -> Vec<RowPlace> {
        let mut places = Vec::new();
        for (box_number, each) in self.boxes.iter().enumerate() {
            let rows = each.rows.iter().enumerate();
            let found = rows.filter(|(_, row)| row.kind == *kind);
            places.extend(found.map(|(row, _)| RowPlace { box_number, row }));
        }
        places
    }

    /// Returns whether the application at this place has more than its site in the box.
    fn has_process(&self, system: &ResolvedSystem, place: RowPlace) -> bool {
        let rows = &self.boxes[place.box_number].rows;
        let RowKind::Application(name) = &rows[place.row].kind else {
            return false;
        };
        rows.iter().any(|row| match row.kind {
            RowKind::Part(number) => {
                let part = &system.parts[number];
                part.application == *name && part.kind != PartKind::Site
            }
            _ => false,
        })
    }
}

/// Returns the hosts that are drawn as one.
fn drawn_classes(system: &ResolvedSystem) -> Vec<HostClass> {
    let classes = system.host_classes();
    if classes.len() <= MOST_CLASSES {
        return classes;
    }
    let mut by_roles: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    let mut merged: Vec<HostClass> = Vec::new();
    for class in classes {
        let roles = &system.hosts[class.hosts[0]].roles;
        let roles: Vec<&str> = roles.iter().map(PartName::as_str).collect();
        let next = merged.len();
        let number = *by_roles.entry(roles).or_insert(next);
        match merged.get_mut(number) {
            None => merged.push(class),
            Some(known) => known.absorb(class),
        }
    }
    for class in &mut merged {
        class.hosts.sort_unstable();
        let names = class
            .hosts
            .iter()
            .map(|host| system.hosts[*host].name.as_str());
        class.name = crate::classes::folded(names);
    }
    merged
}

impl HostClass {
    /// Adds hosts with other services.
    fn absorb(&mut self, other: Self) {
        let union = |mine: &[usize], theirs: &[usize]| -> Vec<usize> {
            let all: BTreeSet<usize> = mine.iter().chain(theirs).copied().collect();
            all.into_iter().collect()
        };
        self.content.parts = union(&self.content.parts, &other.content.parts);
        self.content.services = union(&self.content.services, &other.content.services);
        self.hosts.extend(other.hosts);
    }
}

impl DiagramBox {
    fn of_hosts(system: &ResolvedSystem, class: &HostClass) -> Self {
        let services = class.content.services.iter();
        let mut rows: Vec<DiagramRow> = services
            .map(|number| service_row(system, *number))
            .collect();
        let mut current: Option<&AppName> = None;
        for number in &class.content.parts {
            let part = &system.parts[*number];
            if current != Some(&part.application) {
                current = Some(&part.application);
                rows.push(application_row(system, &part.application));
            }
            rows.push(DiagramRow {
                text: part_text(part),
                kind: RowKind::Part(*number),
            });
        }
        Self {
            title: title(class),
            is_external: false,
            rows,
        }
    }
}

/// The longest list of names in a title, in characters.
const LONGEST_TITLE: usize = 48;

fn title(class: &HostClass) -> String {
    if class.name.chars().count() <= LONGEST_TITLE {
        return class.name.clone();
    }
    let first = class.name.split(", ").next().unwrap_or_default();
    let first: String = first.chars().take(LONGEST_TITLE).collect();
    format!("{first}, … ({} hosts)", class.hosts.len())
}

fn application_row(system: &ResolvedSystem, name: &AppName) -> DiagramRow {
    let application = system.application(name);
    let version = application.map_or("", |application| application.version.as_str());
    DiagramRow {
        text: format!("{name} {version}"),
        kind: RowKind::Application(name.clone()),
    }
}

fn service_row(system: &ResolvedSystem, number: usize) -> DiagramRow {
    let service = &system.services[number];
    DiagramRow {
        text: format!("{} ({})", service.name, service.kind.name()),
        kind: RowKind::Service(number),
    }
}

fn part_text(part: &ResolvedPart) -> String {
    let kind = match part.kind {
        PartKind::Service | PartKind::Site => String::new(),
        PartKind::Timer | PartKind::Cron => format!(" ({})", part.kind.noun()),
    };
    match part.per_host {
        1 => format!("{}{kind}", part.name),
        number => format!("{} ×{number}{kind}", part.name),
    }
}
