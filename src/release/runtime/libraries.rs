//! Shared libraries that CPython's extension modules need, and the targets that have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::depends::HostLibrary;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::process;
use pkgapp_core::target::Target;

/// The targets whose own repositories have a library under a soname. A soname that is not in the
/// table exists on every target or is unknown.
///
/// Sources: the distributions' package lists: OpenSSL 1.1 and 3, libffi 3.2 (6), 3.3 (7) and 3.4
/// (8), readline 7 and 8, libxcrypt (Red Hat's has no obsolete interfaces since 9), libnsl 1.2 and
/// 2.0, Berkeley DB (not in RHEL 10), libmpdec of Debian's Python (Bookworm has none: its Python
/// has a copy of its own).
///
/// bzip2's own Makefile names the library `libbz2.so.1.0`, and Debian builds with it. Red Hat's
/// package has its own build system, which names the library `libbz2.so.1`. Debian's `libbz2-1.0`
/// also has a link of that name, like the one that libtool would create, so the dynamic linker
/// finds Red Hat's name on every target, and Debian's name only in Debian.
const KNOWN: &[(&str, &[&str])] = &[
    ("libbz2.so.1.0", &["debian", "ubuntu"]),
    ("libcrypt.so.1", &["debian", "ubuntu", "el8"]),
    ("libcrypt.so.2", &["el9", "el10", "amazon", "fedora"]),
    ("libcrypto.so.1.1", &["debian11", "ubuntu20.04", "el8"]),
    (
        "libcrypto.so.3",
        &[
            "debian12",
            "debian13",
            "ubuntu22.04",
            "ubuntu24.04",
            "ubuntu26.04",
            "el9",
            "el10",
            "amazon",
            "fedora",
        ],
    ),
    (
        "libdb-5.3.so",
        &["debian", "ubuntu", "el8", "el9", "amazon", "fedora"],
    ),
    ("libffi.so.6", &["el8"]),
    ("libffi.so.7", &["debian11", "ubuntu20.04"]),
    (
        "libffi.so.8",
        &[
            "debian12",
            "debian13",
            "ubuntu22.04",
            "ubuntu24.04",
            "ubuntu26.04",
            "el9",
            "el10",
            "amazon",
            "fedora",
        ],
    ),
    ("libmpdec.so.2", &["ubuntu20.04"]),
    ("libmpdec.so.3", &["debian11", "ubuntu22.04"]),
    (
        "libnsl.so.2",
        &["debian", "ubuntu22.04", "ubuntu24.04", "ubuntu26.04", "el8"],
    ),
    ("libnsl.so.3", &["el9", "el10", "amazon", "fedora"]),
    ("libreadline.so.7", &["el8"]),
    (
        "libreadline.so.8",
        &["debian", "ubuntu", "el9", "el10", "amazon", "fedora"],
    ),
    ("libssl.so.1.1", &["debian11", "ubuntu20.04", "el8"]),
    (
        "libssl.so.3",
        &[
            "debian12",
            "debian13",
            "ubuntu22.04",
            "ubuntu24.04",
            "ubuntu26.04",
            "el9",
            "el10",
            "amazon",
            "fedora",
        ],
    ),
];

/// Libraries of glibc and of the compiler: other software on the host uses the host's copies, and a
/// process must not have two.
const NEVER_BUNDLED: &[&str] = &[
    "ld-linux",
    "libanl.so",
    "libc.so",
    "libdl.so",
    "libgcc_s.so",
    "libm.so",
    "libmvec.so",
    "libnss_",
    "libpthread.so",
    "libresolv.so",
    "librt.so",
    "libstdc++.so",
    "libthread_db.so",
    "libutil.so",
];

/// The library directories for a machine whose linker cache has no answer: Debian's directories and
/// those of other distributions.
const DIRECTORIES: &[&str] = &["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];

/// Returns whether a library may be bundled.
pub(super) fn may_be_bundled(soname: &str) -> bool {
    !NEVER_BUNDLED.iter().any(|start| soname.starts_with(start))
}

/// Checks that every declared target has the libraries of an interpreter under their sonames.
///
/// # Errors
/// One error for each library that a target lacks.
pub fn check(libraries: &[HostLibrary], targets: &[&Target]) -> Result<()> {
    let missing: Vec<(&HostLibrary, Vec<String>)> = libraries
        .iter()
        .map(|library| (library, lacking_targets(&library.soname, targets)))
        .filter(|(_, lacking)| !lacking.is_empty())
        .collect();
    let mut errors: Vec<Error> = missing
        .iter()
        .map(|(library, lacking)| {
            Error::new(format!(
                "there is no `{}` on {}",
                library.soname,
                lacking.join(", ")
            ))
            .cause_text(format!("{} needs it", library.needed_by))
        })
        .collect();

    // One hint serves all errors.
    let sonames: Vec<String> = missing
        .iter()
        .map(|(library, _)| format!("\"{}\"", library.soname))
        .collect();
    if let Some(last) = errors.pop() {
        errors.push(last.hint(format!(
            "add `bundle-libraries = [{}]` below `[python]`, or omit modules that nothing \
             imports: `prune = [\"…\"]`",
            sonames.join(", ")
        )));
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// Returns the quoted names of the targets whose repositories lack a library.
fn lacking_targets(soname: &str, targets: &[&Target]) -> Vec<String> {
    let Some((_, having)) = KNOWN.iter().find(|(known, _)| *known == soname) else {
        return Vec::new();
    };
    // `el` stands for all releases of that distribution; the full name of a release stands for
    // itself.
    let is_meant = |name: &str, known: &str| {
        name.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || !known.ends_with(|c: char| c.is_ascii_digit()))
    };
    targets
        .iter()
        .filter(|target| !having.iter().any(|known| is_meant(target.name, known)))
        .map(|target| format!("`{}`", target.name))
        .collect()
}

/// Finds a library in the same way as the build machine's dynamic linker.
pub(super) fn find(soname: &str, before: &[PathBuf]) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = before
        .iter()
        .map(|directory| directory.join(soname))
        .collect();
    places.extend(linker_cache(soname));
    for directory in DIRECTORIES {
        places.push(
            Path::new(directory)
                .join(format!("{}-linux-gnu", std::env::consts::ARCH))
                .join(soname),
        );
        places.push(Path::new(directory).join(soname));
    }
    places.into_iter().find(|place| place.is_file())
}

/// Returns the paths of a library for the build machine's architecture in `/etc/ld.so.cache`.
fn linker_cache(soname: &str) -> Vec<PathBuf> {
    let Some(program) = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return Vec::new();
    };
    // Without an answer, the usual directories remain.
    let Ok(output) = process::output(Command::new(program).arg("-p")) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kind = if std::env::consts::ARCH == "x86_64" {
        "x86-64"
    } else {
        "AArch64"
    };
    let lines = text.lines().filter_map(|line| {
        let (name, place) = line.trim().split_once(" => ")?;
        let (name, what) = name.split_once(' ')?;
        (name == soname && what.contains(kind)).then(|| PathBuf::from(place))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgapp_core::target::by_name;

    fn library(soname: &str) -> HostLibrary {
        HostLibrary {
            soname: soname.into(),
            is_64: true,
            versions: Vec::new(),
            needed_by: "interpreter: x.so".into(),
        }
    }

    #[test]
    fn a_library_that_a_target_lacks_is_named_with_a_way_out() {
        let targets = ["debian11", "debian12", "el8", "el10"].map(|name| by_name(name).unwrap());
        let libraries = [
            "libbz2.so.1.0",
            "libc.so.6",
            "libcrypt.so.2",
            "libdb-5.3.so",
            "libssl.so.3",
        ]
        .map(library);
        let error = check(&libraries, &targets).unwrap_err();
        let all: Vec<&str> = std::iter::once(&error)
            .chain(error.others())
            .map(Error::message)
            .collect();
        assert_eq!(
            all,
            [
                "there is no `libbz2.so.1.0` on `el8`, `el10`",
                "there is no `libcrypt.so.2` on `debian11`, `debian12`, `el8`",
                "there is no `libdb-5.3.so` on `el10`",
                "there is no `libssl.so.3` on `debian11`, `el8`",
            ]
        );
        let hint = "bundle-libraries = [\"libbz2.so.1.0\", \"libcrypt.so.2\", \"libdb-5.3.so\", \"libssl.so.3\"]";
        assert!(error.to_string().contains(hint) || error.others()[2].to_string().contains(hint));
        check(&libraries, &[by_name("fedora").unwrap()]).unwrap_err();
        // `apt-cache search libmpdec`: libmpdec3 in Bullseye, nothing in Bookworm, libmpdec4 in
        // Trixie.
        check(&[library("libmpdec.so.3")], &[by_name("debian11").unwrap()]).unwrap();
        check(&[library("libmpdec.so.3")], &[by_name("debian12").unwrap()]).unwrap_err();
        check(
            &[library("libz.so.1"), library("libffi.so.8")],
            &[by_name("el9").unwrap()],
        )
        .unwrap();
    }

    #[test]
    fn red_hats_bzip2_is_on_debian_and_debians_is_not_on_red_hat() {
        let targets: Vec<&Target> = pkgapp_core::target::TARGETS.iter().collect();
        check(&[library("libbz2.so.1")], &targets).unwrap();
        let error = check(&[library("libbz2.so.1.0")], &targets).unwrap_err();
        assert_eq!(
            error.message(),
            "there is no `libbz2.so.1.0` on `el8`, `el9`, `el10`, `amazon2023`, `fedora`"
        );
        // This machine's own, where it is one of them: the linker finds both names, and the file
        // says Debian's.
        let Some(found) = find("libbz2.so.1.0", &[]) else {
            return;
        };
        let link = find("libbz2.so.1", &[]).expect("Debian's package has a link of Red Hat's name");
        assert_eq!(link.canonicalize().unwrap(), found.canonicalize().unwrap());
        let path = pkgapp_core::path::ReleasePath::parse("libbz2").unwrap();
        assert_eq!(
            pkgapp_wheels::elf::read(&link, &path)
                .unwrap()
                .unwrap()
                .soname
                .as_deref(),
            Some("libbz2.so.1.0")
        );
    }

    #[test]
    fn libraries_of_the_c_library_are_never_bundled() {
        assert!(
            ["libssl.so.3", "libcrypt.so.1", "libffi.so.8"]
                .into_iter()
                .all(may_be_bundled)
        );
        assert!(
            ![
                "libc.so.6",
                "libm.so.6",
                "libstdc++.so.6",
                "ld-linux-x86-64.so.2"
            ]
            .into_iter()
            .any(may_be_bundled)
        );
    }
}
