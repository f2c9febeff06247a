//! Hosts that have the same services, as one: systems have few kinds of hosts, however large they
//! are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::resolved::{Listen, ResolvedPart, ResolvedSystem};

/// Hosts with the same services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostClass {
    /// Their names, folded: `web[01:06].example.com`.
    pub name: String,
    /// Their numbers, ascending.
    pub hosts: Vec<usize>,
    /// Their services.
    pub content: HostContent,
}

/// The services of a host, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostContent {
    /// The parts of applications, ascending.
    pub parts: Vec<usize>,
    /// The backing services, ascending.
    pub services: Vec<usize>,
}

impl ResolvedSystem {
    /// Returns the services of every host.
    pub fn contents(&self) -> Vec<HostContent> {
        let mut contents = vec![HostContent::default(); self.hosts.len()];
        for (number, part) in self.parts.iter().enumerate() {
            for host in &part.hosts {
                contents[*host].parts.push(number);
            }
        }
        for (number, service) in self.services.iter().enumerate() {
            for host in &service.hosts {
                contents[*host].services.push(number);
            }
        }
        contents
    }

    /// Returns the kinds of hosts, in the order of the first host of each.
    pub fn host_classes(&self) -> Vec<HostClass> {
        let mut numbers: BTreeMap<HostContent, usize> = BTreeMap::new();
        let mut classes: Vec<HostClass> = Vec::new();
        for (host, content) in self.contents().into_iter().enumerate() {
            let next = classes.len();
            let number = *numbers.entry(content.clone()).or_insert(next);
            if number == next {
                classes.push(HostClass {
                    name: String::new(),
                    hosts: Vec::new(),
                    content,
                });
            }
            classes[number].hosts.push(host);
        }
        for class in &mut classes {
            let names = class
                .hosts
                .iter()
                .map(|host| self.hosts[*host].name.as_str());
            class.name = folded(names);
        }
        classes
    }
}

impl HostContent {
    /// Returns a line for each service, such as `shop.worker 2` and `shop.web :20000`.
    pub fn lines(&self, system: &ResolvedSystem) -> Vec<String> {
        let services = self.services.iter().map(|number| {
            let service = &system.services[*number];
            format!("{} ({})", service.name, service.kind.name())
        });
        let parts = self
            .parts
            .iter()
            .map(|number| part_line(&system.parts[*number]));
        services.chain(parts).collect()
    }
}

fn part_line(part: &ResolvedPart) -> String {
    let name = part.full_name();
    let number = match part.per_host {
        1 => String::new(),
        number => format!(" ×{number}"),
    };
    match part.listen {
        Listen::Port(port) | Listen::Own(port) => format!("{name}{number} :{port}"),
        Listen::WebServer => format!("{name}{number}, behind the web server of the host"),
        Listen::Nowhere => format!("{name}{number}"),
    }
}

/// Returns names of hosts with ranges for consecutive numbers, such as `db1, web[01:06].example.com`.
pub fn folded<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut ranges: Vec<NameRange<'_>> = Vec::new();
    for name in names {
        let range = NameRange::of(name);
        match ranges.last_mut() {
            Some(last) if last.continues_with(&range) => last.last = range.last,
            _ => ranges.push(range),
        }
    }
    let texts: Vec<String> = ranges.iter().map(NameRange::text).collect();
    texts.join(", ")
}

/// Names that differ in one number.
struct NameRange<'n> {
    before: &'n str,
    /// The first number, as it is written; empty if the name has none.
    digits: &'n str,
    after: &'n str,
    first: u64,
    last: u64,
}

impl<'n> NameRange<'n> {
    /// Finds the last number in the first label of a name, or in an address.
    fn of(name: &'n str) -> Self {
        let is_address = name.parse::<IpAddr>().is_ok();
        let label = match name.split_once('.') {
            Some((label, _)) if !is_address => label,
            _ => name,
        };
        let end = label
            .rfind(|c: char| c.is_ascii_digit())
            .map_or(0, |at| at + 1);
        let start = label[..end].rfind(|c: char| !c.is_ascii_digit());
        let start = start.map_or(0, |at| {
            at + label[at..].chars().next().map_or(1, char::len_utf8)
        });
        let (start, end) = if end == 0 { (0, 0) } else { (start, end) };
        let digits = &name[start..end];
        // A number that does not fit stays as it is.
        let number = digits.parse().unwrap_or(0);
        Self {
            before: &name[..start],
            digits,
            after: &name[end..],
            first: number,
            last: number,
        }
    }

    fn continues_with(&self, next: &Self) -> bool {
        let has_width = self.digits.starts_with('0') || next.digits.starts_with('0');
        !self.digits.is_empty()
            && (self.before, self.after) == (next.before, next.after)
            && next.first == self.last.saturating_add(1)
            && (!has_width || self.digits.len() == next.digits.len())
    }

    fn text(&self) -> String {
        let Self {
            before,
            after,
            digits,
            first,
            last,
        } = self;
        if first == last {
            return format!("{before}{digits}{after}");
        }
        let width = if digits.starts_with('0') {
            digits.len()
        } else {
            1
        };
        format!("{before}[{digits}:{last:0width$}]{after}")
    }
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn consecutive_names_are_ranges() {
        for (names, text) in [
            (
                &[
                    "web01.example.com",
                    "web02.example.com",
                    "web03.example.com",
                ][..],
                "web[01:03].example.com",
            ),
            (&["web9", "web10", "web12"], "web[9:10], web12"),
            (&["web09", "web10"], "web[09:10]"),
            (&["web1", "web02"], "web1, web02"),
            (&["a", "b"], "a, b"),
            (&["10.0.0.1", "10.0.0.2"], "10.0.0.[1:2]"),
            (&["r1n1", "r1n2", "r2n1"], "r1n[1:2], r2n1"),
            (
                &["é1", "é2", "99999999999999999999999"],
                "é[1:2], 99999999999999999999999",
            ),
            (&[], ""),
        ] {
            assert_eq!(folded(names.iter().copied()), text);
        }
    }
}
