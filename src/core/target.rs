//! Distributions for which a package can be built, and the facts about them.

use crate::error::{Error, Result};
use crate::name::PythonMinor;

/// The family of package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageFamily {
    /// dpkg and apt.
    Deb,
    /// rpm and dnf.
    Rpm,
}

/// A release of a distribution.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in `[package] targets`, e.g. `debian12`.
    pub name: &'static str,
    /// Its family.
    pub family: PackageFamily,
    /// glibc, e.g. (2, 36).
    pub glibc: (u16, u16),
    /// The last number of the newest `GLIBCXX_3.4.N` of its libstdc++.
    pub glibcxx: u16,
    /// The version of its systemd.
    pub systemd: u16,
    /// Minor versions of Python in its own repositories, the default first.
    pub pythons: &'static [(u8, u8)],
    /// Whether its package manager supports zstd.
    pub zstd: bool,
}

/// All known targets.
/// Sources: glibc, GCC, systemd, and Python from the distributions' package lists and release
/// notes; `GLIBCXX` from GCC's version ("ABI Policy and Guidelines" of libstdc++: 8 → 25, 10 → 28,
/// 11 → 29, 12 → 30, 14 → 33, 15 → 34, 16 → 35); zstd came to dpkg with 1.21.18 (Ubuntu patched
/// older versions), and to rpm with 4.14.
pub const TARGETS: &[Target] = &[
    // Bullseye: glibc 2.31, libstdc++6 of GCC 10, python3.9, dpkg 1.20 (no zstd).
    Target {
        name: "debian11",
        family: PackageFamily::Deb,
        glibc: (2, 31),
        glibcxx: 28,
        systemd: 247,
        pythons: &[(3, 9)],
        zstd: false,
    },
    // Bookworm: glibc 2.36, libstdc++6 of GCC 12, python3.11, dpkg 1.21.22.
    Target {
        name: "debian12",
        family: PackageFamily::Deb,
        glibc: (2, 36),
        glibcxx: 30,
        systemd: 252,
        pythons: &[(3, 11)],
        zstd: true,
    },
    // Trixie: glibc 2.41, libstdc++6 of GCC 14, python3.13, dpkg 1.22.
    Target {
        name: "debian13",
        family: PackageFamily::Deb,
        glibc: (2, 41),
        glibcxx: 33,
        systemd: 257,
        pythons: &[(3, 13)],
        zstd: true,
    },
    // Focal: glibc 2.31, libstdc++6 of GCC 10, python3.8 (main) and 3.9 (universe), dpkg
    // 1.19.7ubuntu3 (patched).
    Target {
        name: "ubuntu20.04",
        family: PackageFamily::Deb,
        glibc: (2, 31),
        glibcxx: 28,
        systemd: 245,
        pythons: &[(3, 8), (3, 9)],
        zstd: true,
    },
    // Jammy: glibc 2.35, libstdc++6 of GCC 12, python3.10 (main) and 3.11 (universe), dpkg
    // 1.21.1ubuntu2 (patched).
    Target {
        name: "ubuntu22.04",
        family: PackageFamily::Deb,
        glibc: (2, 35),
        glibcxx: 30,
        systemd: 249,
        pythons: &[(3, 10), (3, 11)],
        zstd: true,
    },
    // Noble: glibc 2.39, libstdc++6 of GCC 14, python3.12, dpkg 1.22.6.
    Target {
        name: "ubuntu24.04",
        family: PackageFamily::Deb,
        glibc: (2, 39),
        glibcxx: 33,
        systemd: 255,
        pythons: &[(3, 12)],
        zstd: true,
    },
    // Resolute: glibc 2.43, GCC 15 (its libstdc++6 may be newer), python3.14.
    Target {
        name: "ubuntu26.04",
        family: PackageFamily::Deb,
        glibc: (2, 43),
        glibcxx: 34,
        systemd: 259,
        pythons: &[(3, 14)],
        zstd: true,
    },
    // RHEL 8 and its rebuilds: glibc 2.28, GCC 8.5; platform Python 3.6, AppStream 3.8, 3.9, 3.11,
    // 3.12; rpm 4.14.3.
    Target {
        name: "el8",
        family: PackageFamily::Rpm,
        glibc: (2, 28),
        glibcxx: 25,
        systemd: 239,
        pythons: &[(3, 6), (3, 8), (3, 9), (3, 11), (3, 12)],
        zstd: true,
    },
    // RHEL 9: glibc 2.34, GCC 11; Python 3.9, AppStream 3.11 (9.2) and 3.12 (9.4); rpm 4.16.
    Target {
        name: "el9",
        family: PackageFamily::Rpm,
        glibc: (2, 34),
        glibcxx: 29,
        systemd: 252,
        pythons: &[(3, 9), (3, 11), (3, 12)],
        zstd: true,
    },
    // RHEL 10: glibc 2.39, GCC 14; Python 3.12; rpm 4.19.
    Target {
        name: "el10",
        family: PackageFamily::Rpm,
        glibc: (2, 39),
        glibcxx: 33,
        systemd: 257,
        pythons: &[(3, 12)],
        zstd: true,
    },
    // glibc 2.34, GCC 11; Python 3.9 for its whole life, also 3.11 to 3.14 ("Python in AL2023");
    // rpm 4.16.
    Target {
        name: "amazon2023",
        family: PackageFamily::Rpm,
        glibc: (2, 34),
        glibcxx: 29,
        systemd: 252,
        pythons: &[(3, 9), (3, 11), (3, 12), (3, 13), (3, 14)],
        zstd: true,
    },
    // Fedora 44, the oldest supported release: glibc 2.43, GCC 16, Python 3.14, and older Pythons
    // as separate packages.
    Target {
        name: "fedora",
        family: PackageFamily::Rpm,
        glibc: (2, 43),
        glibcxx: 35,
        systemd: 259,
        pythons: &[(3, 14), (3, 9), (3, 10), (3, 11), (3, 12), (3, 13)],
        zstd: true,
    },
];

/// Rebuilds of Red Hat Enterprise Linux under other names, which are one target for each version.
const EL: &[&str] = &[
    "almalinux",
    "alma",
    "centos",
    "oracle",
    "oraclelinux",
    "rhel",
    "rocky",
    "rockylinux",
];

/// The minimum similarity of a suggested name, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.7;

impl Target {
    /// Returns the Python of its own repositories at its release: a full version, if it is fixed.
    ///
    /// Debian patches one release for years, and so does Ubuntu since 24.04; RHEL moves to newer
    /// ones.
    pub fn patch_release(&self, python: PythonMinor) -> Option<String> {
        let patch = match (self.name, (python.major, python.minor)) {
            ("debian11", (3, 9)) | ("debian12", (3, 11)) => 2,
            ("debian13", (3, 13)) => 5,
            ("ubuntu24.04", (3, 12)) => 3,
            _ => return None,
        };
        Some(format!("{python}.{patch}"))
    }

    /// Returns whether the target's own repositories have this Python.
    pub fn offers(&self, python: PythonMinor) -> bool {
        self.pythons.contains(&(python.major, python.minor))
    }

    /// Returns the available Pythons for a message, e.g. `3.9, 3.11 and 3.12`.
    pub fn offered(&self) -> String {
        let mut names: Vec<String> = self
            .pythons
            .iter()
            .map(|(major, minor)| format!("{major}.{minor}"))
            .collect();
        let last = names.pop().unwrap_or_default();
        if names.is_empty() {
            last
        } else {
            format!("{} and {last}", names.join(", "))
        }
    }
}

/// Finds a target by name.
///
/// # Errors
/// Fails on an unknown name; the hint is the nearest known one.
pub fn by_name(name: &str) -> Result<&'static Target> {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        return Ok(target);
    }
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let error = Error::new(format!("unknown target `{name}`"))
        .note(format!("known targets are {}", names.join(", ")));
    let name = name.to_ascii_lowercase();
    let (family, number) = name.split_at(
        name.find(|c: char| c.is_ascii_digit())
            .unwrap_or(name.len()),
    );
    let meant = if EL.contains(&family.trim_end_matches('-')) {
        format!("el{number}")
    } else {
        name.clone()
    };
    let alike = |known: &str| strsim::jaro_winkler(known, &meant);
    let nearest = names
        .iter()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))
        .filter(|nearest| alike(nearest) >= ALIKE);
    Err(match nearest {
        Some(nearest) => error.hint(format!("write `{nearest}`")),
        None => error,
    })
}

/// Returns the target that this machine is, from the text of its os-release(5).
pub fn of_release(text: &str) -> Option<&'static Target> {
    let field = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches(['"', '\'']))
    };
    let version = field("VERSION_ID")?;
    let name = match field("ID")? {
        "fedora" => "fedora".to_owned(),
        "amzn" => format!("amazon{version}"),
        id if id == "ol" || EL.contains(&id) => {
            format!("el{}", version.split('.').next().unwrap_or(version))
        }
        id => format!("{id}{version}"),
    };
    TARGETS.iter().find(|target| target.name == name)
}

/// Returns the oldest glibc of some targets, for which wheels are chosen. `None` for no targets.
pub fn oldest_glibc(targets: &[&Target]) -> Option<(u16, u16)> {
    targets.iter().map(|target| target.glibc).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_gets_the_nearest_known_one() {
        for (typo, meant) in [
            ("debian-12", "debian12"),
            ("Ubuntu22.04", "ubuntu22.04"),
            ("rhel9", "el9"),
            ("fedora42", "fedora"),
        ] {
            let error = by_name(typo).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("\n  hint: write `{meant}`")),
                "{error}"
            );
        }
        assert!(!by_name("windows").unwrap_err().to_string().contains("hint"));
        assert_eq!(by_name("el9").unwrap().glibc, (2, 34));
    }

    #[test]
    fn a_machine_is_the_target_that_its_release_names() {
        for (text, name) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", Some("debian12")),
            ("VERSION_ID='24.04'\nID=ubuntu\n", Some("ubuntu24.04")),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel\"\nVERSION_ID=\"9.4\"\n",
                Some("el9"),
            ),
            ("ID=debian\n", None),
            ("", None),
        ] {
            assert_eq!(of_release(text).map(|target| target.name), name, "{text}");
        }
    }

    #[test]
    fn the_oldest_glibc_counts_numbers_not_letters() {
        let targets = ["debian13", "el8", "el9"].map(|name| by_name(name).unwrap());
        assert_eq!(oldest_glibc(&targets), Some((2, 28)));
        assert_eq!(oldest_glibc(&[]), None);
    }

    /// The machine that runs the tests is one of the targets now and then; then the table must
    /// agree with it.
    #[test]
    fn the_table_agrees_with_this_machine_where_it_is_a_target() {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let Some(target) = of_release(&release) else {
            return;
        };
        let Some(getconf) = pkgapp_testing::tool("getconf") else {
            return;
        };
        let said = pkgapp_testing::run(std::process::Command::new(getconf).arg("GNU_LIBC_VERSION"));
        assert_eq!(
            said.trim(),
            format!("glibc {}.{}", target.glibc.0, target.glibc.1)
        );
    }
}
