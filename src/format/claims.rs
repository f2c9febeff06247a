//! Checks a package's claims about itself before they reach a host.
//!
//! A pushed package may come from anyone. Its name, version, and dependencies become arguments of
//! the host's package manager, which runs as root: an argument that begins with `-` would be an
//! option, and a version in a macro would be code. So each of them must match the grammar of its
//! format.

use super::read::ArtifactKind;

/// Returns whether a text is a valid name for a package from pkgapp: that of an application or an
/// interpreter (`pkgapp-python3.13`).
pub fn is_package_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
}

/// Returns whether a text is a valid version in the format: `[epoch:]upstream-revision`
/// (deb-version(7); rpm's manual, "Versions"), or for a tarball, a valid name of a directory.
pub fn is_version(kind: ArtifactKind, text: &str) -> bool {
    let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
    let more = match kind {
        ArtifactKind::Deb => ".+~-",
        ArtifactKind::Rpm => ".+~^_-",
        ArtifactKind::Tar => return is_word(text, ".+~_-"),
    };
    !epoch.is_empty()
        && epoch.len() <= 10
        && epoch.bytes().all(|b| b.is_ascii_digit())
        && is_word(rest, more)
}

/// Returns whether a text is a valid dependency in the format: `a (>= 1) | b` in a deb, `a >= 1` or
/// `(a or b)` in an rpm.
pub fn is_relation(kind: ArtifactKind, text: &str) -> bool {
    match kind {
        ArtifactKind::Deb => text
            .split('|')
            .all(|alternative| is_deb_alternative(alternative.trim())),
        ArtifactKind::Rpm => is_rpm_relation(text),
        // Tarballs have no dependencies.
        ArtifactKind::Tar => false,
    }
}

/// Returns whether a text is `PACKAGE[:ARCH] [(OPERATOR VERSION)]` (deb-control(5), "Depends").
fn is_deb_alternative(text: &str) -> bool {
    let (name, version) = match text.split_once('(') {
        Some((name, version)) => (name.trim_end(), version.strip_suffix(')')),
        None => (text, Some("")),
    };
    let (name, arch) = name.split_once(':').unwrap_or((name, "any"));
    let Some(version) = version.map(str::trim) else {
        return false;
    };
    let operator = version
        .find(|c: char| !"<>=".contains(c))
        .unwrap_or(version.len());
    let (operator, version) = (&version[..operator], version[operator..].trim_start());
    let versioned = ["<<", "<=", "=", ">=", ">>", "<", ">"].contains(&operator)
        && is_version(ArtifactKind::Deb, version);
    is_word(name, "+.-")
        && is_word(arch, "-")
        && (versioned || (operator.is_empty() && version.is_empty() && !text.contains('(')))
}

/// Returns whether a text is `CAPABILITY [OPERATOR VERSION]`, or a boolean expression in
/// parentheses (rpm's manual, "Boolean Dependencies").
fn is_rpm_relation(text: &str) -> bool {
    // Excludes characters that no capability contains and that have a meaning in shells, macros, or
    // Lua.
    let is_capability = |c: char| c.is_ascii_alphanumeric() || "._+-~^/()[]{}:=@,*#!&".contains(c);
    if text.starts_with('(') {
        return text.ends_with(')') && text.chars().all(|c| is_capability(c) || " <>".contains(c));
    }
    let words: Vec<&str> = text.split(' ').collect();
    let (name, versioned) = match words[..] {
        [name] => (name, true),
        [name, operator, version] => (
            name,
            ["<", "<=", "=", ">=", ">"].contains(&operator)
                && is_version(ArtifactKind::Rpm, version),
        ),
        _ => return false,
    };
    versioned
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || "/_.".contains(c))
        && name.chars().all(is_capability)
}

/// Returns whether a text consists of letters, digits, and the characters in `more`, and begins
/// with a letter or digit.
fn is_word(text: &str, more: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ArtifactKind::{Deb, Rpm, Tar};

    #[test]
    fn versions_are_those_of_the_format() {
        for (kind, good) in [
            (Deb, "1:1.0~rc1+b1-2"),
            (Deb, "1.0"),
            (Rpm, "2:1.0^git1~rc1-1.el9_4"),
            (Tar, "1_1.0+x-0a1b2c"),
        ] {
            assert!(is_version(kind, good), "{good}");
        }
        for bad in [
            "",
            ":1",
            "x:1",
            "-1",
            "1 2",
            "1'",
            "1%{lua:x}",
            "1\n2",
            "1$(x)",
            "1`x`",
            "1;x",
            "1/../2",
            "1:2:3",
            "é",
        ] {
            assert!(
                [Deb, Rpm, Tar].iter().all(|kind| !is_version(*kind, bad)),
                "{bad}"
            );
        }
    }

    #[test]
    fn relations_are_those_of_the_format() {
        for good in [
            "libc6 (>= 2.34)",
            "a|b",
            "python3.11:any",
            "libstdc++6",
            "default-mta | mail-transport-agent (<< 1:2~)",
        ] {
            assert!(is_relation(Deb, good), "{good}");
        }
        for good in [
            "/bin/sh",
            "libc.so.6(GLIBC_2.34)(64bit)",
            "rtld(GNU_HASH)",
            "python(abi) = 3.11",
            "npm(@babel/core) >= 7",
            "pkgconfig(gtk+-3.0)",
            "(a >= 1 if b)",
            "systemd",
        ] {
            assert!(is_relation(Rpm, good), "{good}");
        }
        for bad in [
            "",
            "-oDir::Bin::dpkg=/tmp/x",
            "--eval=%(id)",
            "a (1)",
            "a (>= 1",
            "a ()",
            "a >= 1'..os.execute('id')..'",
            "a >= 1 2",
            "a\nb",
        ] {
            assert!(!is_relation(Deb, bad) && !is_relation(Rpm, bad), "{bad}");
        }
        for bad in [
            "(a or %(id))",
            "a%{lua:x}",
            "a >= %(id)",
            "(a; id)",
            "a => 1",
        ] {
            assert!(!is_relation(Rpm, bad), "{bad}");
        }
        assert!(!is_relation(Deb, "a (>= 1) | -b"));
    }

    #[test]
    fn names_are_those_of_our_packages() {
        for (text, is) in [
            ("shop", true),
            ("pkgapp-python3.13", true),
            ("--eval", false),
            ("a b", false),
            ("", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_package_name(text), is, "{text}");
        }
    }
}
