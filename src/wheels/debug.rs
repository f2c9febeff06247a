//! Keeps directories of the build machine out of compiled code, by options for compilers and by
//! stripping shared objects afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::pack;
use crate::elf::binary::{ElfBinary, nowhere};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::interpreter::Interpreter;

/// Checksums of shared objects.
pub(super) type SharedObjectSums = BTreeSet<Sha256Sum>;

/// A directory that compilers replace by another name.
type PathMap = (PathBuf, &'static str);

/// Returns the directories that compilers replace; of two that match, they use the later one.
///
/// `__FILE__` in a header and debug information contain them: a Python below the home directory, as
/// pyenv, uv, and conda install it, gets the name of the system's.
fn maps(room: &Path, interpreter: &Interpreter) -> Vec<PathMap> {
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = set("HOME").filter(|home| home.components().count() > 1);
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let uv = set("UV_CACHE_DIR").or_else(|| {
        Some(
            set("XDG_CACHE_HOME")
                .or_else(|| below_home(".cache"))?
                .join("uv"),
        )
    });
    let cargo = set("CARGO_HOME").or_else(|| below_home(".cargo"));
    let mut maps: Vec<PathMap> = Vec::new();
    maps.extend(home.map(|home| (home, "/nonexistent")));
    maps.extend(uv.map(|uv| (uv, ".")));
    maps.extend(cargo.map(|cargo| (cargo, "/cargo")));
    maps.extend(
        prefixes(interpreter)
            .into_iter()
            .map(|prefix| (prefix, "/usr")),
    );
    maps.push((room.to_owned(), "."));
    // Flags are separated by spaces, and the old and new name by `=`.
    maps.retain(|(path, _)| {
        path.to_str()
            .is_some_and(|path| !path.contains([' ', '\t', '\n', '=', '"', '\\']))
    });
    maps
}

/// Returns the prefixes of an interpreter, as reported and with links resolved; empty for the
/// system's Python.
fn prefixes(interpreter: &Interpreter) -> BTreeSet<PathBuf> {
    let resolved = [
        Some(interpreter.base.clone()),
        interpreter.base.canonicalize().ok(),
    ];
    let prefixes = resolved
        .iter()
        .flatten()
        .filter_map(|python| Some(python.parent()?.parent()?.to_owned()));
    prefixes
        .filter(|prefix| prefix.components().count() > 2 && !prefix.starts_with("/usr"))
        .collect()
}

/// Returns the options for C and C++ compilers (GCC 8, Clang 10).
pub(super) fn for_c(room: &Path, interpreter: &Interpreter) -> String {
    let flag = |(from, to): PathMap| format!("-ffile-prefix-map={}={to}", from.display());
    maps(room, interpreter)
        .into_iter()
        .map(flag)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the options for rustc.
pub(super) fn for_rust(room: &Path, interpreter: &Interpreter) -> String {
    let flag = |(from, to): PathMap| format!("--remap-path-prefix={}={to}", from.display());
    maps(room, interpreter)
        .into_iter()
        .map(flag)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Removes debug information and the interpreter's prefix from the compiled shared objects. Those
/// that the source has `brought` stay unchanged.
///
/// # Errors
/// Fails if a file cannot be read or written.
pub(super) fn clean(
    root: &Path,
    brought: &SharedObjectSums,
    interpreter: &Interpreter,
    keep_debug: bool,
) -> Result<()> {
    let objects: Vec<PathBuf> = pack::files(root)?
        .into_values()
        .filter(|file| is_shared_object(file))
        .collect();
    for object in objects {
        let before = fs::read(&object)?;
        if brought.contains(&Sha256Sum::of(&before)) {
            continue;
        }
        let failed = |why: &'static str| {
            Error::new(format!(
                "cannot remove debug information from `{}`",
                shown(&object)
            ))
            .cause_text(why)
            .hint("set `debug = true` in `[build]` to keep it")
        };
        let Some(mut binary) = ElfBinary::parse(&before).map_err(failed)? else {
            continue;
        };
        if !keep_debug {
            binary.strip().map_err(failed)?;
        }
        for prefix in prefixes(interpreter)
            .iter()
            .filter_map(|prefix| prefix.to_str())
        {
            _ = binary.replace(prefix.as_bytes(), nowhere(prefix).as_bytes());
        }
        let after = binary.into_bytes();
        if after != before {
            std::fs::write(&object, after)
                .context(|| format!("cannot write `{}`", shown(&object)))?;
        }
    }
    Ok(())
}

/// Returns whether a file is named like a module or library. Programs may carry data after the
/// loaded parts.
fn is_shared_object(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}

/// Returns the checksums of a source's own shared objects, before a build adds others.
///
/// # Errors
/// Fails if a file cannot be read.
pub(super) fn brought(source: &Path) -> Result<SharedObjectSums> {
    // No name of a source is refused here: most of these files never ship.
    let entries = walkdir::WalkDir::new(source)
        .into_iter()
        .filter_map(std::result::Result::ok);
    let files = entries
        .map(walkdir::DirEntry::into_path)
        .filter(|file| is_shared_object(file) && file.is_file());
    files
        .map(|file| Ok(Sha256Sum::of(&fs::read(&file)?)))
        .collect()
}
