//! Warnings about everything that a build trusts besides hashes.

use std::collections::BTreeSet;

use pkgapp_core::report::Report;
use pkgapp_http::{self as http, origin};
use pkgapp_lock::{FilePlace, Lock, Pin, PinSource, Url};
use pkgapp_wheels::Wheel;

/// The number of names in a warning.
const SHOWN: usize = 3;

/// Warns of downloads without hashes, of plain HTTP, and of redirects to plain HTTP.
pub(super) fn tell(lock: &Lock, wheels: &[Wheel], report: &Report) {
    tell_bare(wheels, report);
    tell_plain(lock, report);
    tell_downgrades(report);
}

/// Warns of pins without hashes whose files were downloaded.
fn tell_bare(wheels: &[Wheel], report: &Report) {
    let pins: Vec<&Wheel> = wheels.iter().filter(|wheel| wheel.pin.is_some()).collect();
    let bare: Vec<String> = pins.iter().filter_map(|wheel| bare(wheel)).collect();
    if !bare.is_empty() {
        let (verb, all) = (if bare.len() == 1 { "has" } else { "have" }, pins.len());
        report.warning(&format!(
            "{} of {all} pins {verb} no hash, so the index decides what ships: {} (`pkgapp lock` writes hashes; \
             `[python] require-hashes = true` demands them)",
            bare.len(),
            listed(&bare)
        ));
    }
}

/// Warns of indexes and files with plain HTTP.
fn tell_plain(lock: &Lock, report: &Report) {
    let plain: BTreeSet<String> = addresses(lock)
        .filter(|url| is_plain(url))
        .map(origin)
        .collect();
    if !plain.is_empty() {
        let plain: Vec<String> = plain.iter().map(|origin| format!("`{origin}`")).collect();
        report.warning(&format!(
            "{} {} plain HTTP, so an attacker on the network can change what ships; write `https://`: {}",
            plain.len(),
            if plain.len() == 1 { "address uses" } else { "addresses use" },
            listed(&plain)
        ));
    }
}

/// Warns of servers that redirected from HTTPS to plain HTTP.
fn tell_downgrades(report: &Report) {
    let downgrades: Vec<String> = http::take_downgrades()
        .iter()
        .map(|(from, to)| format!("`{from}` to `{to}`"))
        .collect();
    if !downgrades.is_empty() {
        let redirects = if downgrades.len() == 1 {
            "server redirects"
        } else {
            "servers redirect"
        };
        report.warning(&format!(
            "{} {redirects} from HTTPS to plain HTTP, so an attacker on the network can change what ships: {}",
            downgrades.len(),
            listed(&downgrades)
        ));
    }
}

/// Returns the pin of a wheel if it was downloaded without a hash.
fn bare(wheel: &Wheel) -> Option<String> {
    let pin = wheel.pin.as_ref().filter(|pin| !is_hashed(pin))?;
    let from = ["built from ", "converted from "]
        .iter()
        .find_map(|how| wheel.from.strip_prefix(how));
    let from = from.unwrap_or(&wheel.from);
    let is_web = from.starts_with("http://") || from.starts_with("https://");
    is_web.then(|| format!("`{} {}`", pin.name, wheel.metadata.version))
}

fn is_hashed(pin: &Pin) -> bool {
    match &pin.source {
        PinSource::Index | PinSource::Url(_) => !pin.hashes.is_empty(),
        PinSource::Files(files) => files.iter().all(|file| !file.hashes.is_empty()),
        // The ID of a commit is a hash, and local files belong to the user.
        PinSource::File(_)
        | PinSource::Directory(_)
        | PinSource::Git(_)
        | PinSource::Mercurial(_) => true,
    }
}

/// Returns the addresses in a lock: indexes, pages of links, and files without a hash.
fn addresses(lock: &Lock) -> impl Iterator<Item = &Url> {
    let indexes = &lock.indexes;
    let places = indexes.named.iter().map(|index| &index.url);
    let places = places
        .chain(&indexes.index)
        .chain(&indexes.extra)
        .chain(&indexes.find_links);
    let files = lock
        .pins
        .iter()
        .filter(|pin| !is_hashed(pin))
        .flat_map(|pin| match &pin.source {
            PinSource::Url(url) => vec![url],
            PinSource::Files(files) => files
                .iter()
                .filter_map(|file| match &file.place {
                    FilePlace::Url(url) => Some(url),
                    FilePlace::Path(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        });
    places.chain(files)
}

/// Returns whether an address is plain HTTP on another machine: there is no network in between on
/// the build machine itself.
fn is_plain(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_here
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}
