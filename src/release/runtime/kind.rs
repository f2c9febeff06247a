//! Builds of CPython that cannot ship, found before any preparation; and the processor that a build
//! requires.

use std::path::Path;

use super::source::InterpreterPrefix;
use super::{SYSCONFIG, is_sysconfig};
use pkgapp_core::error::{Error, Result, shown};
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::ReleasePath;
use pkgapp_wheels::elf::binary::ElfBinary;

/// The levels that every processor of an architecture has (psABI of x86-64, "Microarchitecture
/// Levels"; v2 is from 2009).
const COMMON: &[&str] = &["x86-64", "x86-64-v2", "armv8-a"];

/// Refuses builds that can load only their own extension modules.
///
/// # Errors
/// The interpreter is free-threaded or a debug build.
pub(super) fn check_build(
    prefix: &InterpreterPrefix,
    python: PythonMinor,
    place: &Path,
) -> Result<()> {
    if prefix.lib(python).is_none() && prefix.is_free_threaded(python) {
        return Err(Error::new(format!(
            "`{}` is a free-threaded build of CPython {python}",
            shown(place)
        ))
        .cause_text(format!(
            "it has `python{python}t`, and extension modules for the usual \
                                 build do not load in it"
        ))
        .hint(
            "use a build with the global interpreter lock: an archive without \
                   `freethreaded` in its name",
        ));
    }
    let mut names = prefix
        .items
        .keys()
        .filter(|path| is_sysconfig(path))
        .map(ReleasePath::file_name);
    let is_usual = |name: &str| name.starts_with(&format!("{SYSCONFIG}_"));
    if names
        .clone()
        .any(|name| name.starts_with(&format!("{SYSCONFIG}d_")))
        && !names.any(is_usual)
    {
        return Err(Error::new(format!(
            "`{}` is a debug build of CPython {python}",
            shown(place)
        ))
        .hint(
            "use a release build: for python-build-standalone, an archive without `debug` \
                   in its name",
        ));
    }
    Ok(())
}

/// Refuses executables that cannot run on the targets, or cannot load extension modules.
///
/// # Errors
/// The executable is for musl, statically linked, or damaged.
pub(super) fn check_executable(
    binary: &ElfBinary,
    python: PythonMinor,
    place: &Path,
) -> Result<()> {
    let linker = binary
        .linker()
        .map_err(|why| Error::new(format!("cannot read `{}`", shown(place))).cause_text(why))?;
    let error = match linker {
        Some(linker) if linker.contains("/ld-musl-") => Error::new(format!(
            "`{}` is for musl, but the hosts have glibc",
            shown(place)
        ))
        .cause_text(format!(
            "the dynamic linker of its `bin/python{python}` is `{linker}`"
        )),
        Some(_) => return Ok(()),
        None => Error::new(format!(
            "`{}` is statically linked, so it cannot load extension modules",
            shown(place)
        )),
    };
    Err(error.hint(
        "use a build for glibc: for python-build-standalone, an archive for `unknown-linux-gnu`",
    ))
}

/// Returns the processor that an interpreter was compiled for, unless every processor suffices: the
/// value of `-march=` in the compiler flags of its `sysconfig`.
pub(super) fn processor(sysconfig: &str) -> Option<String> {
    let values = sysconfig.split("-march=").skip(1);
    let mut values = values.filter_map(|rest| {
        rest.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"'))
            .next()
    });
    values
        .find(|value| !value.is_empty() && !COMMON.contains(value))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use pkgapp_testing::run;
    use pkgapp_testing::tool;

    fn refusal(names: &[&str]) -> Option<String> {
        let python = PythonMinor {
            major: 3,
            minor: 14,
        };
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let file = directory.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        let prefix = InterpreterPrefix::of_directory(directory.path(), python).unwrap();
        check_build(&prefix, python, Path::new("/py"))
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn builds_whose_modules_are_others_are_refused() {
        // Files of `make install` (Makefile.pre.in: `LDVERSION` is the version with the ABI flags).
        let free =
            refusal(&["bin/python3.14", "bin/python3.14t", "lib/python3.14t/os.py"]).unwrap();
        assert!(
            free.contains("`/py` is a free-threaded build of CPython 3.14"),
            "{free}"
        );
        let free = refusal(&["bin/python3.14t", "lib/python3.14t/os.py"]).unwrap();
        assert!(free.contains("free-threaded"), "{free}");
        let (os, data) = ("lib/python3.14/os.py", "lib/python3.14/_sysconfigdata_");
        let (debug, usual) = (
            format!("{data}d_linux_x86_64-linux-gnu.py"),
            format!("{data}_linux_x86_64-linux-gnu.py"),
        );
        let refused = refusal(&["bin/python3.14", os, &debug]).unwrap();
        assert!(
            refused.contains("`/py` is a debug build of CPython 3.14"),
            "{refused}"
        );
        // Debian once installed both builds in one prefix.
        assert_eq!(refusal(&["bin/python3.14", os, &debug, &usual]), None);
        assert_eq!(
            refusal(&["bin/python3.14", os, &usual, "lib/python3.14t/os.py"]),
            None
        );
    }

    #[test]
    fn programs_for_musl_and_static_ones_are_refused() {
        let Some(cc) = tool("cc") else { return };
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("m.c"), "int main(void) { return 0; }").unwrap();
        let refusal = |options: &[&str]| {
            let mut command = Command::new(&cc);
            run(command
                .current_dir(directory.path())
                .args(options)
                .args(["-o", "m", "m.c"]));
            let binary = ElfBinary::parse(&std::fs::read(directory.path().join("m")).unwrap())
                .unwrap()
                .unwrap();
            let checked = check_executable(
                &binary,
                PythonMinor {
                    major: 3,
                    minor: 13,
                },
                Path::new("/py"),
            );
            checked.err().map(|error| error.to_string())
        };
        assert_eq!(refusal(&[]), None);
        let musl = refusal(&["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"]).unwrap();
        assert!(
            musl.contains("is for musl") && musl.contains("`/lib/ld-musl-x86_64.so.1`"),
            "{musl}"
        );
        for options in [&["-static"][..], &["-static-pie"]] {
            let refused = refusal(options).unwrap();
            assert!(
                refused.contains("`/py` is statically linked"),
                "{options:?}: {refused}"
            );
        }
    }

    #[test]
    fn a_processor_is_named_unless_every_one_will_do() {
        for (flags, expected) in [
            ("'CFLAGS': '-O2 -g'", None),
            ("'CFLAGS': '-march=x86-64 -O2'", None),
            ("\"CFLAGS\": \"-fPIC -march=x86-64-v2\"", None),
            ("\"CFLAGS\": \"-fPIC -march=x86-64-v3\"", Some("x86-64-v3")),
            (
                "'OPT': '-march=x86-64', 'CFLAGS': '-march=native -O3'",
                Some("native"),
            ),
        ] {
            assert_eq!(processor(flags).as_deref(), expected, "{flags}");
        }
    }
}
