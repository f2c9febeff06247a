//! Paths of a package for a login without root.
//!
//! A login has the prefix at `current`, the directories `/etc/NAME` and `/var/{lib,cache,log}/NAME`
//! below `shared`, and `/run/NAME` below its `$XDG_RUNTIME_DIR`. Only the host knows these
//! directories, so texts contain marks, which a push fills in (`scripts/tarball/fill.sh`).
//!
//! ```text
//! {pkgapp:into}       the directory that the login deploys to
//! {pkgapp:current}    the link `current` in there, or the new release during its migration
//! {pkgapp:runtime}    $XDG_RUNTIME_DIR, in files other than units, which use a specifier
//! {pkgapp:brace}      a brace; a literal `{pkgapp:` becomes `{pkgapp:brace}pkgapp:`
//! ```

use std::collections::BTreeSet;

use pkgapp_core::path::InstallPath;

use super::unit::plain;

/// The mark for the directory that the login deploys to.
pub(super) const INTO: &str = "{pkgapp:into}";
const CURRENT: &str = "{pkgapp:current}";
const RUNTIME: &str = "{pkgapp:runtime}";
/// The beginning of every mark, and its replacement in other text.
const MARK: &str = "{pkgapp:";
const NO_MARK: &str = "{pkgapp:brace}pkgapp:";

/// The owner of the systemd, cron, and logrotate that read a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum ServiceScope<'a> {
    /// The host.
    System,
    /// A login without root.
    Login(&'a LoginPaths),
}

/// The paths that differ for a login, with their replacements.
#[derive(Debug)]
pub(super) struct LoginPaths {
    /// Rules for texts that only pkgapp fills in.
    in_texts: Vec<PathRule>,
    /// Rules for units, in which `%` is doubled.
    in_units: Vec<PathRule>,
}

/// A path of the package, and its place for a login.
#[derive(Debug)]
struct PathRule {
    path: String,
    place: String,
}

impl LoginPaths {
    /// Creates the rules; `own` lists the names of directories below `/var/lib` and similar
    /// directories.
    pub(super) fn new(name: &str, prefix: &InstallPath, own: &BTreeSet<String>) -> Self {
        Self {
            in_texts: rules(name, prefix.as_str(), own, RUNTIME),
            in_units: rules(name, &plain(prefix.as_str()), own, "%t"),
        }
    }

    /// Returns the value of a unit's setting with the login's paths.
    pub(super) fn in_unit(&self, value: &str) -> String {
        text(&lead(&self.in_units, value.as_bytes()))
    }

    /// Returns any other text with the login's paths.
    pub(super) fn in_text(&self, value: &str) -> String {
        text(&self.in_bytes(value.as_bytes()))
    }

    /// Returns bytes in any encoding with the login's paths.
    pub(super) fn in_bytes(&self, value: &[u8]) -> Vec<u8> {
        lead(&self.in_texts, value)
    }
}

fn rules(name: &str, prefix: &str, own: &BTreeSet<String>, runtime: &str) -> Vec<PathRule> {
    let rule = |path: String, place: String| PathRule { path, place };
    let shared = |path: String| {
        let place = format!("{INTO}/shared{path}");
        rule(path, place)
    };
    let mut rules = vec![rule(prefix.to_owned(), CURRENT.to_owned())];
    for own in own {
        for base in ["/etc", "/var/lib", "/var/cache", "/var/log"] {
            rules.push(shared(format!("{base}/{own}")));
        }
        rules.push(rule(format!("/run/{own}"), format!("{runtime}/{own}")));
    }
    rules.push(shared(format!("/etc/logrotate.d/{name}")));
    rules
}

/// Replaces whole paths only: `/opt/shop-data`, `/mnt/opt/shop`, and `$ROOT/opt/shop` are other
/// paths.
fn lead(rules: &[PathRule], text: &[u8]) -> Vec<u8> {
    let mut led = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut last = None;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(rule) = rule_at(rules, last, rest) {
            led.extend_from_slice(rule.place.as_bytes());
            last = rule.path.bytes().last();
            rest = &rest[rule.path.len()..];
        } else if let Some(after) = rest.strip_prefix(MARK.as_bytes()) {
            led.extend_from_slice(NO_MARK.as_bytes());
            last = MARK.bytes().last();
            rest = after;
        } else {
            led.push(byte);
            last = Some(byte);
            rest = after;
        }
    }
    led
}

/// Finds the rule with the longest path at the beginning of the text, which follows the byte
/// `last`; the first rule wins a tie.
fn rule_at<'r>(rules: &'r [PathRule], last: Option<u8>, text: &[u8]) -> Option<&'r PathRule> {
    let may_go_on = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if last.is_some_and(|last| last.is_ascii_alphanumeric() || b"_./~}".contains(&last)) {
        return None;
    }
    let is_whole = |rule: &&PathRule| {
        text.strip_prefix(rule.path.as_bytes())
            .is_some_and(|after| !after.first().copied().is_some_and(may_go_on))
    };
    rules
        .iter()
        .rev()
        .filter(is_whole)
        .max_by_key(|rule| rule.path.len())
}

/// The replacements are ASCII, so the text remains valid.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(prefix: &str) -> LoginPaths {
        let own = BTreeSet::from(["shop".to_owned(), "shop-ada".to_owned()]);
        LoginPaths::new("shop", &InstallPath::parse(prefix).unwrap(), &own)
    }

    #[test]
    fn whole_paths_are_led_to_where_they_lie() {
        let paths = paths("/srv/x.y/shop");
        for (text, expected) in [
            (
                "/srv/x.y/shop/bin/web /srv/x.y/shop",
                "{pkgapp:current}/bin/web {pkgapp:current}",
            ),
            (
                "/srv/x.y/shop-data /srv/x.y/shop.old /mnt/srv/x.y/shop ~/srv/x.y/shop",
                "/srv/x.y/shop-data /srv/x.y/shop.old /mnt/srv/x.y/shop ~/srv/x.y/shop",
            ),
            (
                "/srv/xyy/shop ${A}/srv/x.y/shop",
                "/srv/xyy/shop ${A}/srv/x.y/shop",
            ),
            (
                "a=/var/lib/shop:/var/lib/shops,unix:/run/shop/s",
                "a={pkgapp:into}/shared/var/lib/shop:/var/lib/shops,unix:{pkgapp:runtime}/shop/s",
            ),
            (
                "'/var/log/shop-ada/ä' /etc/logrotate.d/shop /etc/cron.d/shop",
                "'{pkgapp:into}/shared/var/log/shop-ada/ä' {pkgapp:into}/shared/etc/logrotate.d/shop /etc/cron.d/shop",
            ),
            (
                "{pkgapp:into} {pkgapp:/etc/shop {pkgapp",
                "{pkgapp:brace}pkgapp:into} {pkgapp:brace}pkgapp:{pkgapp:into}/shared/etc/shop {pkgapp",
            ),
        ] {
            assert_eq!(paths.in_text(text), expected);
        }
        assert_eq!(paths.in_unit("/run/shop/s 50%%"), "%t/shop/s 50%%");
        assert_eq!(
            paths.in_bytes(b"\xff/etc/shop\xe4"),
            b"\xff{pkgapp:into}/shared/etc/shop\xe4"
        );
    }

    #[test]
    fn a_prefix_may_lie_in_a_directory_of_the_application() {
        let paths = paths("/var/lib/shop/50%");
        assert_eq!(paths.in_unit("/var/lib/shop/50%%/x"), "{pkgapp:current}/x");
        assert_eq!(paths.in_text("/var/lib/shop/50%/x"), "{pkgapp:current}/x");
        assert_eq!(
            paths.in_text("/var/lib/shop/x"),
            "{pkgapp:into}/shared/var/lib/shop/x"
        );
    }
}
