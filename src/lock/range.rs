//! Poetry's ranges of versions: `^1.2`, `~1.2`, `1.*`, `>=1,<2 || >=3` ("Dependency specification"
//! in its documentation).

use std::str::FromStr;

use pkgapp_pypa::{Operator, VersionSpecifier};

use pkgapp_pypa::{Environment, Version, VersionSpecifiers};

/// Alternatives, one of which must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionRange(Vec<VersionSpecifiers>);

impl VersionRange {
    /// Reads a range; `None` if the text is not one.
    pub(super) fn read(text: &str) -> Option<Self> {
        text.split("||")
            .flat_map(|part| part.split('|'))
            .map(alternative)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Returns whether a version is in the range. Its local part does not count, as in Poetry.
    pub(super) fn contains(&self, version: &Version) -> bool {
        let public = version.clone().without_local();
        self.0
            .iter()
            .any(|all| all.contains(version) || all.contains(&public))
    }

    /// Returns whether a Python is in the range.
    pub(super) fn admits(&self, env: &Environment) -> bool {
        self.0.iter().any(|all| env.admits(all))
    }
}

fn alternative(text: &str) -> Option<VersionSpecifiers> {
    let mut all = Vec::new();
    // A comma or white space joins; white space may also follow an operator.
    let text = text.replace(',', " ");
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let is_operator = word.bytes().all(|byte| b"<>=!~^".contains(&byte));
        let whole = if is_operator {
            format!("{word}{}", words.next()?)
        } else {
            word.to_owned()
        };
        all.extend(one(&whole)?);
    }
    Some(all.into_iter().collect())
}

/// Reads one constraint, which may become two of PEP 440.
fn one(text: &str) -> Option<Vec<VersionSpecifier>> {
    if text == "*" {
        return Some(Vec::new());
    }
    if let Some(version) = text.strip_prefix('^') {
        return caret(Version::from_str(version).ok()?);
    }
    if let Some(version) = text.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
        return tilde(Version::from_str(version).ok()?);
    }

    let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let specifier = if starts_with_digit(text) || text.starts_with('v') {
        format!("=={text}")
    } else if let Some(version) = text
        .strip_prefix('=')
        .filter(|rest| starts_with_digit(rest))
    {
        format!("=={version}")
    } else if text.starts_with(['<', '>']) {
        // `>=3.*` is not valid in PEP 440; Poetry reads it as `>=3`.
        text.trim_end_matches(".*").to_owned()
    } else {
        text.to_owned()
    };
    Some(vec![VersionSpecifier::from_str(&specifier).ok()?])
}

/// `^1.2`: the first number that is not 0 must stay; of `0.0`, the last one.
fn caret(low: Version) -> Option<Vec<VersionSpecifier>> {
    let numbers = low.release().to_vec();
    let kept = numbers
        .iter()
        .position(|number| *number != 0)
        .unwrap_or(numbers.len() - 1);
    between(low, raised(&numbers[..=kept])?)
}

/// `~1.2.3`: the first two numbers must stay.
fn tilde(low: Version) -> Option<Vec<VersionSpecifier>> {
    let kept = low.release().len().min(2);
    let high = raised(&low.release()[..kept])?;
    between(low, high)
}

fn between(low: Version, high: Vec<u64>) -> Option<Vec<VersionSpecifier>> {
    Some(vec![
        VersionSpecifier::from_version(Operator::GreaterThanEqual, low).ok()?,
        VersionSpecifier::from_version(Operator::LessThan, Version::new(high)).ok()?,
    ])
}

/// Returns the numbers with the last one incremented.
fn raised(numbers: &[u64]) -> Option<Vec<u64>> {
    let (last, rest) = numbers.split_last()?;
    Some([rest, &[last.checked_add(1)?]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Poetry's documentation, and what its parser takes besides.
    #[test]
    fn ranges_are_poetrys() {
        for (range, inside, outside) in [
            ("^1.2.3", vec!["1.2.3", "1.9"], vec!["1.2.2", "2.0.0"]),
            ("^0.2.3", vec!["0.2.3", "0.2.9"], vec!["0.3.0"]),
            ("^0.0.3", vec!["0.0.3"], vec!["0.0.4"]),
            ("^0.0", vec!["0.0.9"], vec!["0.1"]),
            ("^0", vec!["0.9"], vec!["1"]),
            ("~1.2.3", vec!["1.2.9"], vec!["1.3"]),
            ("~1.2", vec!["1.2.9"], vec!["1.3"]),
            ("~1", vec!["1.9"], vec!["2"]),
            ("1.2.*", vec!["1.2.7"], vec!["1.3"]),
            ("*", vec!["0.1", "99"], vec![]),
            ("", vec!["1"], vec![]),
            ("1.2", vec!["1.2.0"], vec!["1.2.1"]),
            ("=1.2", vec!["1.2.0"], vec!["1.2.1"]),
            (">= 1.2, < 1.5", vec!["1.4"], vec!["1.5"]),
            (">=1.2 <1.5", vec!["1.4"], vec!["1.5"]),
            ("!=1.5,>1", vec!["1.6"], vec!["1.5"]),
            ("~=1.4", vec!["1.9"], vec!["2"]),
            ("~2.7 || ^3.5", vec!["2.7.18", "3.11"], vec!["3.4", "4"]),
            ("==1.5", vec!["1.5+cpu"], vec!["1.6+cpu"]),
        ] {
            let found = VersionRange::read(range).unwrap_or_else(|| panic!("{range}"));
            for version in inside {
                assert!(
                    found.contains(&version.parse().unwrap()),
                    "{version} is in {range}"
                );
            }
            for version in outside {
                assert!(
                    !found.contains(&version.parse().unwrap()),
                    "{version} is not in {range}"
                );
            }
        }
        for bad in ["^", "~x", ">=", "a", "^18446744073709551615"] {
            assert_eq!(VersionRange::read(bad), None, "{bad}");
        }
    }
}
