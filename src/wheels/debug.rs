//! Keeps directories of this machine out of compiled code: what compilers are told, and what is
//! taken out of shared objects afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::pack;
use crate::elf::binary::{ElfBinary, nowhere};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::interpreter::Interpreter;

/// The sums of shared objects.
pub(super) type SharedObjectSums = BTreeSet<Sha256Sum>;

/// A directory that compilers shall write as another one.
type PathMap = (PathBuf, &'static str);

/// Returns what compilers shall call the directories of this machine; of two that fit, they take
/// the later one.
///
/// `__FILE__` in a header and debug information name them: a Python below the home directory, as
/// pyenv, uv and conda install it, gets the name of the system's.
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
    // Flags are separated by spaces, and old and new name by `=`.
    maps.retain(|(path, _)| {
        path.to_str()
            .is_some_and(|path| !path.contains([' ', '\t', '\n', '=', '"', '\\']))
    });
    maps
}

/// Where an interpreter is installed, as it says and as it is; nothing for one of the system.
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

/// Takes debug information out of the shared objects that were compiled, and the interpreter's
/// prefix. What the source has `brought` along stays as it is.
///
/// # Errors
/// A file can't be read or written.
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
                "cannot take debug information out of `{}`",
                shown(&object)
            ))
            .cause_text(why)
            .hint("keep it: `debug = true` below `[build]`")
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

/// Whether a file is called as modules and libraries are. Programs may carry data behind what is
/// loaded.
fn is_shared_object(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}

/// Returns the sums of a source's own shared objects, before a build puts others beside them.
///
/// # Errors
/// A file can't be read.
pub(super) fn brought(source: &Path) -> Result<SharedObjectSums> {
    // No name of a source is refused here: most of them never ship.
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
