//! requires.txt of eggs: the requirements of a distribution and of its extras.
//!
//! Source: setuptools, "The Internal Structure of Python Eggs", "requires.txt": sections `[extra]`,
//! `[:marker]` and `[extra:marker]`.

use std::str::FromStr;

use pkgapp_core::error::{Error, Result};
use pkgapp_lock::Url;

/// Returns the `Requires-Dist` values of a requires.txt, and the names of its extras, in order.
///
/// # Errors
/// Returns every line that is not a requirement, with its number.
pub(super) fn requirements(text: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (mut requires, mut extras, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut conditions: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let section = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'));
        if let Some(section) = section {
            conditions = conditions_of(section, &mut extras);
            continue;
        }
        let requirement = joined(line, &conditions);
        match pkgapp_pypa::Requirement::<Url>::from_str(&requirement) {
            Ok(_) if requires.contains(&requirement) => {}
            Ok(_) => requires.push(requirement),
            Err(error) => errors.push(
                Error::new(format!(
                    "line {} of its `requires.txt`, `{line}`, is not a requirement",
                    number + 1
                ))
                .cause_text(error.message.to_string()),
            ),
        }
    }
    Error::all(errors).map_or(Ok((requires, extras)), Err)
}

/// Returns the conditions of a section `extra:marker`, and adds its extra to the known ones.
fn conditions_of(section: &str, extras: &mut Vec<String>) -> Vec<String> {
    let (extra, marker) = section.split_once(':').unwrap_or((section, ""));
    let mut conditions = Vec::new();
    if !marker.trim().is_empty() {
        conditions.push(format!("({})", marker.trim()));
    }
    let extra = safe_extra(extra);
    if !extra.is_empty() {
        conditions.push(format!("extra == \"{extra}\""));
        if !extras.contains(&extra) {
            extras.push(extra);
        }
    }
    conditions
}

/// Combines a requirement with the conditions of its section.
fn joined(line: &str, conditions: &[String]) -> String {
    // In a URL, whitespace precedes the semicolon.
    let by = if line.contains('@') { " ;" } else { ";" };
    let (requirement, own) = line.split_once(by).unwrap_or((line, ""));
    let own = Some(own.trim())
        .filter(|own| !own.is_empty())
        .map(|own| format!("({own})"));
    let all: Vec<String> = own.into_iter().chain(conditions.iter().cloned()).collect();
    let space = if line.contains('@') { " " } else { "" };
    match &all[..] {
        [] => requirement.trim().to_owned(),
        [only] => {
            let only = only
                .strip_prefix('(')
                .and_then(|only| only.strip_suffix(')'))
                .unwrap_or(only);
            format!("{}{space}; {only}", requirement.trim())
        }
        all => format!("{}{space}; {}", requirement.trim(), all.join(" and ")),
    }
}

/// Normalizes the name of an extra like `pkg_resources.safe_extra`.
fn safe_extra(text: &str) -> String {
    let mut safe = String::new();
    for c in text.trim().chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
            safe.push(c.to_ascii_lowercase());
        } else if !safe.ends_with('_') {
            safe.push('_');
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_become_markers() {
        let text = "zope.interface>=3.8\nsix\n\n[:python_version < \"3\"]\nfutures>=2,<4\n\n[Fast Path]\nspeed[x]==1.0\n\
                    pkg @ https://example.com/pkg.zip ; os_name == \"posix\"\n\n\
                    [fast:sys_platform == \"win32\" or sys_platform == \"cygwin\"]\nwinspeed\n\n[empty]\n";
        let (requires, extras) = requirements(text).unwrap();
        assert_eq!(
            requires,
            [
                "zope.interface>=3.8",
                "six",
                "futures>=2,<4; python_version < \"3\"",
                "speed[x]==1.0; extra == \"fast_path\"",
                "pkg @ https://example.com/pkg.zip ; (os_name == \"posix\") and extra == \"fast_path\"",
                "winspeed; (sys_platform == \"win32\" or sys_platform == \"cygwin\") and extra == \"fast\"",
            ]
        );
        assert_eq!(extras, ["fast_path", "fast", "empty"]);
    }

    #[test]
    fn every_line_that_is_no_requirement_is_told() {
        let error = requirements("six\nfoo==dev\n[x]\n!\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2 of its `requires.txt`, `foo==dev`,"),
            "{error}"
        );
        assert!(
            error.contains("line 4 of its `requires.txt`, `!`,"),
            "{error}"
        );
    }
}
