//! PEP 440 versions in the order of dpkg and rpm.
//!
//! One mapping serves both, and relies only on their common rules: `~` sorts before the end of the
//! string, digits are compared as numbers, and letters are (in the places used here) compared as
//! letters. It avoids their differences: rpm skips separators, so `1.0+1` would equal `1.0.1`, and
//! dpkg sorts a letter before `.` and after the end.
//!
//! | PEP 440         | mapped           | why                                                                          |
//! |-----------------|------------------|------------------------------------------------------------------------------|
//! | `1.0.dev1`      | `1.0~~dev1`      | two tildes sort before one: dev < a                                          |
//! | `1.0a1.dev2`    | `1.0~a1~dev2`    |                                                                              |
//! | `1.0rc1`        | `1.0~rc1`        |                                                                              |
//! | `1.0`           | `1.0`            |                                                                              |
//! | `1.0+g1234abc`  | `1.0+g1234abc`   | a letter after `+` sorts after `1.0` and before `1.0.1` in both              |
//! | `1.0+ubuntu1`   | `1.0+name.ubuntu1` | `name` < `post`, which a local version beginning with n to z may not be    |
//! | `1.0+1`         | `1.0+number.1`   | `name` < `number` < `post`: numbers sort after names                         |
//! | `1.0.post1`     | `1.0+post1`      | `.post1` would sort after `1.0.1` in dpkg                                    |
//! | `2!1.0`         | epoch 2, `1.0`   |                                                                              |
//!
//! The order is Python's, except where no text could make it so:
//! - Trailing zeros: `1.0` equals `1.0.0` for Python, and is older for dpkg and rpm. Nobody changes
//!   the number of components between two releases and means the same by it; the text stays as the
//!   author wrote it.
//! - Two local versions of one public version, if a segment mixes letters and digits (`+g1234abc`;
//!   Python compares these as text) or if they differ in the number or kind of their segments.
//!   Against every other version they sort right.
//!
//! Sources: PEP 440 "Summary of permitted suffixes and relative ordering"; deb-version(7); rpm's
//! `rpmvercmp`.

use std::fmt::Write as _;

use pkgapp_core::error::{Error, Result};
use pkgapp_pypa::{LocalSegment, LocalVersionSlice, Version};
use pkgapp_release::package::PackageInfo;

/// A version in the form for dpkg and rpm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageVersion {
    /// The epoch; 0 means none.
    pub epoch: u32,
    /// The upstream version, which contains no `-`, `:`, or `^`.
    pub upstream: String,
    /// Debian's revision, and rpm's Release.
    pub revision: String,
}

impl PackageVersion {
    /// Translates the version of a package.
    ///
    /// # Errors
    /// The epoch is too large, or the revision is invalid in dpkg or rpm.
    pub fn of(meta: &PackageInfo) -> Result<Self> {
        let epoch = u32::try_from(meta.version.epoch())
            .ok()
            .filter(|epoch| *epoch <= i32::MAX.unsigned_abs());
        let epoch = epoch.ok_or_else(|| {
            Error::new(format!(
                "the epoch of version `{}` is too large",
                meta.version
            ))
            .note("dpkg takes epochs up to 2147483647 (deb-version(7))")
        })?;
        check_revision(&meta.revision)?;
        Ok(Self {
            epoch,
            upstream: upstream(&meta.version),
            revision: meta.revision.clone(),
        })
    }

    /// Returns `[epoch:]upstream-revision`.
    pub fn full(&self) -> String {
        match self.epoch {
            0 => self.without_epoch(),
            epoch => format!("{epoch}:{}", self.without_epoch()),
        }
    }

    /// Returns `upstream-revision`, as in file names.
    pub fn without_epoch(&self) -> String {
        format!("{}-{}", self.upstream, self.revision)
    }
}

/// Returns the upstream version that dpkg and rpm sort like Python sorts `version`, apart from the
/// epoch.
pub fn upstream(version: &Version) -> String {
    let mut text = release(version);
    if let Some(pre) = version.pre() {
        // Writing to a String cannot fail, here and below.
        _ = write!(text, "~{pre}");
    }
    if let Some(post) = version.post() {
        _ = write!(text, "+post{post}");
    }
    if let Some(dev) = version.dev() {
        let bare = version.pre().is_none() && version.post().is_none();
        _ = write!(text, "{}dev{dev}", if bare { "~~" } else { "~" });
    }
    if let LocalVersionSlice::Segments(segments @ [first, ..]) = version.local() {
        _ = write!(text, "+{}{}", local_marker(first), joined(segments));
    }
    text
}

fn release(version: &Version) -> String {
    version
        .release()
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(".")
}

fn joined(segments: &[LocalSegment]) -> String {
    segments
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(".")
}

/// Returns the word before a local version that sorts it between the public version and its `post`.
fn local_marker(first: &LocalSegment) -> &'static str {
    match first {
        LocalSegment::Number(_) => "number.",
        LocalSegment::String(text) if text.starts_with(|c: char| ('a'..='m').contains(&c)) => "",
        LocalSegment::String(_) => "name.",
    }
}

/// Checks a revision, which may contain the characters that both dpkg and rpm accept: letters,
/// digits, `.`, `+`, and `~`.
fn check_revision(revision: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".+~".contains(c);
    if !revision.is_empty() && revision.chars().all(allowed) {
        return Ok(());
    }
    Err(
        Error::new(format!("invalid revision `{revision}` of a package"))
            .note("only letters, digits, `.`, `+`, and `~` are valid (deb-version(7))")
            .hint("number the packages of a version: `1`, `2`, …"),
    )
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::HashMap;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::str::FromStr;

    use proptest::prelude::*;

    use super::*;
    use pkgapp_testing::tool;

    fn map(text: &str) -> String {
        upstream(&Version::from_str(text).unwrap())
    }

    fn with_epoch(text: &str) -> String {
        let version = Version::from_str(text).unwrap();
        format!("{}:{}-1", version.epoch(), upstream(&version))
    }

    #[test]
    fn the_mapping_is_the_documented_one() {
        for (pep440, mapped) in [
            ("1.4.2", "1.4.2"),
            ("1.0.dev1", "1.0~~dev1"),
            ("1.0a1.dev2", "1.0~a1~dev2"),
            ("1.0alpha1", "1.0~a1"),
            ("1.0b3", "1.0~b3"),
            ("1.0rc1", "1.0~rc1"),
            ("1.0rc1.post2", "1.0~rc1+post2"),
            ("1.0.post1", "1.0+post1"),
            ("1.0-1", "1.0+post1"),
            ("1.0.post1.dev3", "1.0+post1~dev3"),
            ("1.0+g1234abc", "1.0+g1234abc"),
            (
                "1.0.dev3+g1234abc.d20260101",
                "1.0~~dev3+g1234abc.d20260101",
            ),
            ("1.0+ubuntu.1", "1.0+name.ubuntu.1"),
            ("1.0+1.2", "1.0+number.1.2"),
            ("2!1.0", "1.0"),
            ("2026.11.21", "2026.11.21"),
        ] {
            assert_eq!(map(pep440), mapped, "{pep440}");
        }
    }

    /// The order in PEP 440's own example, with the neighbors of every suffix.
    const ORDER: &[&str] = &[
        "0.9.9",
        "1.0.dev1",
        "1.0.dev1+abc",
        "1.0.dev2",
        "1.0.dev10",
        "1.0a1.dev1",
        "1.0a1.dev1+1",
        "1.0a1",
        "1.0a1+zulu.9",
        "1.0a1.post1.dev1",
        "1.0a1.post1",
        "1.0a2",
        "1.0a12.dev456",
        "1.0a12",
        "1.0b1.dev456",
        "1.0b2",
        "1.0b2.post345.dev456",
        "1.0b2.post345",
        "1.0rc1.dev456",
        "1.0rc1",
        "1.0rc1+g1234abc",
        "1.0rc2",
        "1.0",
        "1.0+abc",
        "1.0+mno",
        "1.0+nop",
        "1.0+post",
        "1.0+zulu",
        "1.0+5",
        "1.0+10",
        "1.0+10.1",
        "1.0.post1.dev1",
        "1.0.post1.dev1+abc",
        "1.0.post1",
        "1.0.post1+g1234abc",
        "1.0.post1+zulu",
        "1.0.post2",
        "1.0.1.dev1",
        "1.0.1a1",
        "1.0.1",
        "1.0.15",
        "1.1.dev1",
        "1.1",
        "1.10",
        "2.0",
        "1!0.1",
        "2!0.1.dev1",
    ];

    #[test]
    fn every_pair_of_the_table_sorts_as_python_sorts_it() {
        let mut pairs = Vec::new();
        for (i, older) in ORDER.iter().enumerate() {
            for newer in &ORDER[i + 1..] {
                let ordering = Version::from_str(older)
                    .unwrap()
                    .cmp(&Version::from_str(newer).unwrap());
                assert_eq!(
                    ordering,
                    Ordering::Less,
                    "the table is in Python's order: {older} {newer}"
                );
                pairs.push((with_epoch(older), with_epoch(newer), Ordering::Less));
            }
        }
        judge(&pairs);
    }

    /// Compares with the real tools, and with the `rpm` crate's implementation as a second opinion
    /// on rpm's.
    fn judge(pairs: &[(String, String, Ordering)]) {
        for (a, b, expected) in pairs {
            assert_eq!(
                rpm_version::rpm_evr_compare(a, b),
                *expected,
                "rpm-version: {a} against {b}"
            );
        }
        if tool("dpkg").is_some() {
            for (a, b, expected, said) in dpkg(pairs) {
                assert_eq!(said, expected, "dpkg: {a} against {b}");
            }
        }
        if tool("rpm").is_some() {
            for ((a, b, expected), said) in pairs.iter().zip(rpm_lua(pairs)) {
                assert_eq!(said, *expected, "rpm: {a} against {b}");
            }
        }
    }

    /// Compares with one dpkg process per pair; Perl's Dpkg::Version would be another
    /// implementation.
    fn dpkg(pairs: &[(String, String, Ordering)]) -> Vec<(String, String, Ordering, Ordering)> {
        let mut script = String::new();
        for (a, b, _) in pairs {
            _ = writeln!(
                script,
                "if dpkg --compare-versions '{a}' lt '{b}'; then echo -1; \
                 elif dpkg --compare-versions '{a}' eq '{b}'; then echo 0; else echo 1; fi"
            );
        }
        let said = fed("sh", &[], &script);
        pairs
            .iter()
            .zip(said)
            .map(|((a, b, e), said)| (a.clone(), b.clone(), *e, said))
            .collect()
    }

    fn rpm_lua(pairs: &[(String, String, Ordering)]) -> Vec<Ordering> {
        // rpm.vercmp compares with the epoch; one process serves all pairs.
        let file = tempfile::NamedTempFile::new().unwrap();
        for (a, b, _) in pairs {
            writeln!(file.as_file(), "print(rpm.vercmp('{a}', '{b}') .. ' ')").unwrap();
        }
        fed(
            "rpm",
            &[
                "--eval",
                &format!("%{{lua: dofile('{}')}}", file.path().display()),
            ],
            "",
        )
    }

    fn fed(program: &str, args: &[&str], input: &str) -> Vec<Ordering> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let known = HashMap::from([
            ("-1", Ordering::Less),
            ("0", Ordering::Equal),
            ("1", Ordering::Greater),
        ]);
        String::from_utf8(output.stdout)
            .unwrap()
            .split_whitespace()
            .map(|line| known[line])
            .collect()
    }

    fn public() -> impl Strategy<Value = String> {
        let small = 0_u64..4;
        (
            proptest::option::weighted(0.2, 0_u64..3),
            proptest::collection::vec(prop_oneof![0_u64..3, Just(10), Just(20_260_101)], 1..4),
            proptest::option::weighted(
                0.4,
                (prop_oneof![Just("a"), Just("b"), Just("rc")], small.clone()),
            ),
            proptest::option::weighted(0.3, small.clone()),
            proptest::option::weighted(0.3, small),
        )
            .prop_map(|(epoch, release, pre, post, dev)| {
                let mut text = epoch.map_or_else(String::new, |epoch| format!("{epoch}!"));
                text += &release
                    .iter()
                    .map(u64::to_string)
                    .collect::<Vec<_>>()
                    .join(".");
                text += &pre.map_or_else(String::new, |(kind, number)| format!("{kind}{number}"));
                text += &post.map_or_else(String::new, |number| format!(".post{number}"));
                text += &dev.map_or_else(String::new, |number| format!(".dev{number}"));
                text
            })
    }

    /// Local versions with a promised order: numbers of one length, or one word.
    fn orderly_local() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just(String::new()),
            1 => (0_u64..12, 0_u64..12).prop_map(|(a, b)| format!("+{a}.{b}")),
            1 => "[a-z]{1,3}".prop_map(|word| format!("+{word}")),
        ]
    }

    fn any_local() -> impl Strategy<Value = String> {
        prop_oneof!["", "\\+[a-z0-9]{1,8}(\\.[a-z0-9]{1,4}){0,2}"]
    }

    fn only_trailing_zeros_apart(a: &Version, b: &Version) -> bool {
        let trimmed = |version: &Version| version.clone().only_release_trimmed();
        a.epoch() == b.epoch() && a.release()[..] != b.release()[..] && trimmed(a) == trimmed(b)
    }

    fn expected(a: &str, b: &str, same_public_counts: bool) -> Option<(String, String, Ordering)> {
        let (left, right) = (Version::from_str(a).unwrap(), Version::from_str(b).unwrap());
        let public_equal = left.clone().without_local() == right.clone().without_local();
        let skipped = only_trailing_zeros_apart(&left, &right)
            || (public_equal && !same_public_counts && left != right);
        (!skipped).then(|| (with_epoch(a), with_epoch(b), left.cmp(&right)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

        #[test]
        fn generated_versions_sort_as_python_sorts_them(
            orderly in proptest::collection::vec((public(), orderly_local(), public(), orderly_local()), 100),
            wild in proptest::collection::vec((public(), any_local(), public(), any_local()), 100),
        ) {
            let mut pairs = Vec::new();
            for (a, x, b, y) in &orderly {
                pairs.extend(expected(&format!("{a}{x}"), &format!("{b}{y}"), true));
                pairs.extend(expected(&format!("{a}{x}"), &format!("{a}{y}"), true));
            }
            for (a, x, b, y) in &wild {
                pairs.extend(expected(&format!("{a}{x}"), &format!("{b}{y}"), false));
                pairs.extend(expected(&format!("{a}{x}"), a, true));
                if !a.contains("post") && !a.contains("dev") {
                    pairs.extend(expected(&format!("{a}{x}"), &format!("{a}.post0"), true));
                }
            }
            judge(&pairs);
        }

        #[test]
        fn mapped_versions_are_taken_by_dpkg_and_rpm(version in (public(), any_local()).prop_map(|(a, b)| a + &b)) {
            let mapped = map(&version);
            prop_assert!(mapped.starts_with(|c: char| c.is_ascii_digit()));
            prop_assert!(mapped.chars().all(|c| c.is_ascii_alphanumeric() || ".+~".contains(c)), "{}", mapped);
        }
    }

    #[test]
    fn a_revision_is_what_both_take() {
        for good in ["1", "1~bpo12", "2.el9", "0.1+b1"] {
            assert!(check_revision(good).is_ok(), "{good}");
        }
        for bad in ["", "1-2", "1 2", "1_2", "é", "1:2"] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
    }
}
