//! Random edits of a system: what its lock promises holds after each.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use crate::lock::PortBlock;

/// A generator of numbers that is the same everywhere (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit
    }

    fn number(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }
}

/// What a model is written from.
#[derive(Clone)]
struct Draft {
    /// The numbers of the hosts `web` and `work`.
    hosts: [BTreeSet<u64>; 2],
    /// The applications, and how many hosts each of its parts is on.
    applications: Vec<DraftApplication>,
}

#[derive(Clone)]
struct DraftApplication {
    number: u64,
    /// How many of the web service run on a host, and its port if it has one.
    per_host: u64,
    port: Option<u64>,
    /// On how many hosts the worker is.
    workers: u64,
    has_data: bool,
}

impl Draft {
    fn new(random: &mut Random, most_hosts: u64) -> Self {
        let mut hosts = || (1..=random.number(2..=most_hosts)).collect();
        Self {
            hosts: [hosts(), hosts()],
            applications: vec![DraftApplication::new(0)],
        }
    }

    fn edit(&mut self, random: &mut Random) {
        let role = usize::try_from(random.below(2)).unwrap();
        let next = self.hosts[role].last().map_or(1, |last| last + 1);
        let application = usize::try_from(random.below(self.applications.len() as u64)).unwrap();
        let of_host = self.hosts[role].iter().copied();
        let victim = of_host
            .clone()
            .nth(usize::try_from(random.below(self.hosts[role].len() as u64)).unwrap());
        match random.below(8) {
            0 => _ = self.hosts[role].insert(next),
            1 if self.hosts[role].len() > 1 => _ = self.hosts[role].remove(&victim.unwrap()),
            2 if self.applications.len() < 12 => {
                let number = random.below(20);
                if self.applications.iter().all(|known| known.number != number) {
                    self.applications.push(DraftApplication::new(number));
                }
            }
            3 if self.applications.len() > 1 => _ = self.applications.remove(application),
            4 => self.applications[application].per_host = random.number(1..=9),
            5 => {
                self.applications[application].workers =
                    random.number(1..=self.hosts[1].len() as u64);
            }
            6 => self.applications[application].has_data ^= true,
            _ => {
                let port = random.number(19_990..=20_050);
                let is_fixed = random.below(4) == 0;
                self.applications[application].port = is_fixed.then_some(port);
            }
        }
    }

    fn model(&self) -> String {
        let mut text = "[system]\nname = \"random\"\nports = \"20000-20999\"\n".to_owned();
        for each in &self.applications {
            let port = each
                .port
                .map_or_else(String::new, |port| format!(", port = {port}"));
            _ = write!(
                text,
                "[application.app{}]\npackage = \"app\"\nsoftware = \"app\"\n\
                 place.web = {{ role = \"web\", per-host = {}{port} }}\n\
                 place.worker = {{ role = \"work\", count = {}, data = {} }}\n",
                each.number, each.per_host, each.workers, each.has_data
            );
        }
        text += "[environment.production]\nhosts = [\n";
        for (role, hosts) in ["web", "work"].into_iter().zip(&self.hosts) {
            for host in hosts {
                _ = writeln!(text, "{{ host = \"{role}{host}\", roles = [\"{role}\"] }},");
            }
        }
        text + "]\n"
    }
}

impl DraftApplication {
    fn new(number: u64) -> Self {
        Self {
            number,
            per_host: 1,
            port: None,
            workers: 1,
            has_data: false,
        }
    }
}

const APP: &str = "
[service.web]
exec = \"web\"
socket = \"0.0.0.0:8000\"
[service.worker]
exec = \"worker\"
";

#[test]
fn a_lock_changes_only_where_it_must() {
    let number = |name: &str, default: u64| {
        let value = std::env::var(name);
        value.map_or(default, |value| value.parse().unwrap())
    };
    let (rounds, seed) = (number("PKGAPP_ROUNDS", 400), number("PKGAPP_SEED", 1));
    let system = TestSystem::new(&[("app", APP)]);
    let mut random = Random(seed);
    let (mut draft, mut lock) = (Draft::new(&mut random, 6), EnvironmentLock::default());
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..rounds {
        if round % 50 == 0 {
            let most = [6, 30, 200, 500][usize::try_from(random.below(4)).unwrap()];
            (draft, lock) = (Draft::new(&mut random, most), EnvironmentLock::default());
        }
        let mut edited = draft.clone();
        edited.edit(&mut random);
        let model = edited.model();
        match system.resolve(&model, "production", &lock) {
            Ok(resolved) => {
                let (old, new) = (lock_text(&lock), lock_text(&resolved.lock));
                let context = format!("seed {seed}, round {round}\n{model}\n{old}\n{new}");
                check(&edited, &lock, &resolved, &context);
                let again = system
                    .resolve(&model, "production", &resolved.lock)
                    .unwrap();
                assert_eq!(again, resolved, "the lock is not settled: {context}");
                (draft, lock) = (edited, resolved.lock);
                accepted += 1;
            }
            Err(error) => {
                let expected = [
                    "its data are on",
                    "is for",
                    "is to be on",
                    "consecutive ports",
                ];
                let text = error.to_string();
                assert!(expected.iter().any(|part| text.contains(part)), "{text}");
                refused += 1;
            }
        }
    }
    assert!(
        accepted > rounds / 2 && (refused > 0 || rounds < 100),
        "{accepted} {refused}"
    );
}

/// Checks a resolution beside the lock that it was given.
fn check(draft: &Draft, old: &EnvironmentLock, resolved: &ResolvedSystem, context: &str) {
    let new = &resolved.lock;
    let parsed = SystemLock::parse(Path::new("system.lock"), &lock_text(new)).unwrap();
    assert_eq!(parsed.environment("production"), *new, "{context}");

    let blocks: Vec<(&String, PortBlock)> = new
        .ports
        .iter()
        .map(|(name, block)| (name, *block))
        .collect();
    for (number, (name, block)) in blocks.iter().enumerate() {
        let later = blocks[number + 1..].iter();
        assert!(
            later.clone().all(|(_, other)| !other.overlaps(*block)),
            "{name}: {context}"
        );
        let is_fixed = draft
            .applications
            .iter()
            .any(|each| format!("app{}.web", each.number) == **name && each.port.is_some());
        let resting = new.resting.values().map(|resting| resting.block);
        let mut resting = resting.filter(|other| other.overlaps(*block));
        // A port that the model chose once may be one of those that rest.
        let is_kept = old.ports.get(*name) == Some(block);
        let is_free = resting.next().is_none();
        assert!(
            is_fixed || is_kept || is_free,
            "{name} took resting ports: {context}"
        );
    }
    for each in &draft.applications {
        check_ports(draft, each, old, new, context);
        check_places(draft, each, old, new, context);
    }
}

/// A block that is large enough stays, unless the model puts something else there.
fn check_ports(
    draft: &Draft,
    each: &DraftApplication,
    old: &EnvironmentLock,
    new: &EnvironmentLock,
    context: &str,
) {
    let name = format!("app{}.web", each.number);
    let block = new.ports[&name];
    let Some(before) = old.ports.get(&name) else {
        return;
    };
    let fixed = draft
        .applications
        .iter()
        .filter(|other| other.port.is_some());
    let mut fixed = fixed.filter(|other| {
        let port = u32::try_from(other.port.unwrap()).unwrap();
        before.ports().contains(&port)
    });
    let is_free = fixed.next().is_none();
    if each.port.is_none() && is_free {
        assert_eq!(block, *before, "{name} moved: {context}");
    }
}

/// The hosts that are kept are as many as possible.
fn check_places(
    draft: &Draft,
    each: &DraftApplication,
    old: &EnvironmentLock,
    new: &EnvironmentLock,
    context: &str,
) {
    let name = format!("app{}.worker", each.number);
    let hosts = &new.place[&name];
    let distinct: BTreeSet<&String> = hosts.iter().collect();
    assert_eq!(distinct.len() as u64, each.workers, "{name}: {context}");
    let Some(before) = old.place.get(&name) else {
        return;
    };
    let is_there = |host: &&String| {
        let number = host
            .strip_prefix("work")
            .and_then(|number| number.parse().ok());
        number.is_some_and(|number| draft.hosts[1].contains(&number))
    };
    let possible = before.iter().filter(is_there).count() as u64;
    let kept = before.iter().filter(|host| hosts.contains(host)).count() as u64;
    assert_eq!(kept, possible.min(each.workers), "{name} moved: {context}");
}
