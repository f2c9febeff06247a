//! Converts eggs to wheels: files that `pkg_resources` ran from an egg move to the places where pip
//! would install them.
//!
//! Sources: setuptools, "The Internal Structure of Python Eggs"; `setuptools.command.bdist_egg`;
//! the binary distribution format; core metadata. The content of an egg keeps its paths, and its
//! description moves from `EGG-INFO` to `.dist-info`. Files that only serve eggs are dropped: stubs
//! that load extension modules, byte code, and declarations of namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::pack::{self, WheelLayout};
use super::requires::requirements;
use crate::elf;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;
use pkgapp_pypa::egg::EggFilename;
use pkgapp_pypa::{PackageName, Version, WheelFilename};

/// Files of `EGG-INFO` that have no meaning outside an egg, or that were converted to others. The
/// last ones come from tools that unpack wheels as eggs.
const DROPPED: &[&str] = &[
    "PKG-INFO",
    "SOURCES.txt",
    "dependency_links.txt",
    "eager_resources.txt",
    "namespace_packages.txt",
    "native_libs.txt",
    "not-zip-safe",
    "requires.txt",
    "zip-safe",
    "INSTALLER",
    "METADATA",
    "RECORD",
    "REQUESTED",
    "WHEEL",
    "direct_url.json",
];

/// The statements of a module that only declares a namespace, with `'` for quotes and trimmed
/// (setuptools, "Namespace Packages"; pkgutil).
const NAMESPACE_STATEMENTS: &[&str] = &[
    "try:",
    "except ImportError:",
    "except:",
    "pass",
    "import pkg_resources",
    "import pkgutil",
    "from pkgutil import extend_path",
    "pkg_resources.declare_namespace(__name__)",
    "__import__('pkg_resources').declare_namespace(__name__)",
    "__path__ = extend_path(__path__, __name__)",
    "__path__ = pkgutil.extend_path(__path__, __name__)",
    "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
];

/// Lays out the wheel of an unpacked egg below `to`, and returns the wheel's name.
///
/// # Errors
/// Fails if the egg has no description or another distribution's, invalid requirements, modules
/// without source, or code for another machine than its name states.
pub fn lay_out(from: &Path, egg: &EggFilename, to: &Path) -> Result<WheelFilename> {
    convert(from, egg, to).map(|laid| laid.filename)
}

/// Lays out the wheel of an unpacked egg below `to`.
///
/// # Errors
/// Fails if the egg has no description or another distribution's, invalid requirements, modules
/// without source, or code for another machine than its name states.
pub(super) fn convert(from: &Path, egg: &EggFilename, to: &Path) -> Result<WheelLayout> {
    let egg_info = egg_info(from)?;
    let about = EggMetadata::read(&from.join(&egg_info), egg)?;
    let stem = format!("{}-{}", egg.name.as_dist_info_name(), about.version);
    let files = pack::files(from)?;
    check_sources(files.keys())?;
    let native = native(&files)?;
    let named = EggFilename {
        version: about.version.clone(),
        ..egg.clone()
    };
    let filename = filename(&named, &native)?;

    let scripts = format!("{stem}.data/scripts/");
    for (path, place) in &files {
        let below = path.as_str().strip_prefix(&egg_info);
        let target = match below.and_then(|below| below.strip_prefix('/')) {
            Some(name) => about.place(name, &stem),
            None if is_dropped(path, place, &about.namespaces, from)? => None,
            None => Some(path.to_string()),
        };
        if let Some(target) = target {
            copy(place, &to.join(&target), target.starts_with(&scripts))?;
        }
    }

    let dist_info = format!("{stem}.dist-info");
    let write =
        |name: &str, text: &str| pack::put(&to.join(&dist_info).join(name), false, text.as_bytes());
    write("METADATA", &about.metadata)?;
    write("WHEEL", &wheel_text(&filename, native.is_empty()))?;
    Ok(WheelLayout {
        filename,
        dist_info,
        root: to.to_owned(),
    })
}

/// Copies a file of an egg; a script gets the interpreter placeholder of wheels.
fn copy(from: &Path, to: &Path, is_script: bool) -> Result<()> {
    let content = fs::read(from)?;
    let executable = pack::is_executable(from)?;
    if is_script {
        let content = with_plain_interpreter(content);
        pack::put(to, true, content.as_slice())
    } else {
        pack::put(to, executable, content.as_slice())
    }
}

/// Finds `EGG-INFO`, or the `.dist-info` of tools that unpack wheels as eggs.
fn egg_info(from: &Path) -> Result<String> {
    if from.join("EGG-INFO/PKG-INFO").is_file() {
        return Ok("EGG-INFO".to_owned());
    }
    let entries = std::fs::read_dir(from)
        .context(|| "cannot read the egg")?
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.retain(|name| name.ends_with(".dist-info") && from.join(name).join("METADATA").is_file());
    match &names[..] {
        [only] => Ok(only.clone()),
        _ => Err(Error::new(
            "it is not an egg: it has no `EGG-INFO/PKG-INFO`",
        )),
    }
}

/// The metadata of an egg.
struct EggMetadata {
    version: Version,
    /// The complete METADATA.
    metadata: String,
    /// Paths of packages that are declared as namespaces, e.g. `zope/app`.
    namespaces: BTreeSet<String>,
}

impl EggMetadata {
    fn read(egg_info: &Path, egg: &EggFilename) -> Result<Self> {
        let text = |name: &str| -> Result<Option<String>> {
            let path = egg_info.join(name);
            // Early metadata has maintainers' names in any encoding.
            path.is_file()
                .then(|| Ok(String::from_utf8_lossy(&fs::read(&path)?).into_owned()))
                .transpose()
        };
        let said = match text("PKG-INFO")? {
            Some(said) => said,
            None => text("METADATA")?.unwrap_or_default(),
        };
        let said = said.replace("\r\n", "\n");
        let said = EggHeaders::parse(&said);
        let version = checked_version(&said, egg)?;

        let requires = text("requires.txt")?.unwrap_or_default();
        let licenses = |name: &str| {
            egg_info.join(name).is_file() || egg_info.join("licenses").join(name).is_file()
        };
        let metadata = metadata(&said, &requires, &licenses)?;
        let namespaces = text("namespace_packages.txt")?.unwrap_or_default();
        let namespaces = namespaces
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        Ok(Self {
            version,
            metadata,
            namespaces: namespaces.map(|name| name.replace('.', "/")).collect(),
        })
    }

    /// Returns the path of a file of `EGG-INFO` in the wheel; `None` if it is dropped.
    fn place(&self, name: &str, stem: &str) -> Option<String> {
        if DROPPED.contains(&name)
            || name.split('/').any(|part| part == "__pycache__")
            || is_byte_code(name)
        {
            return None;
        }
        match name.strip_prefix("scripts/") {
            Some(script) => Some(format!("{stem}.data/scripts/{script}")),
            None => Some(format!("{stem}.dist-info/{name}")),
        }
    }
}

/// Headers in the style of RFC 822, and the text after them.
struct EggHeaders<'a> {
    /// Name and value; the value includes its continuation lines.
    fields: Vec<(&'a str, String)>,
    body: &'a str,
}

impl<'a> EggHeaders<'a> {
    fn parse(text: &'a str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut fields: Vec<(&str, String)> = Vec::new();
        for line in head.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim(), value.trim().to_owned()));
            }
        }
        Self { fields, body }
    }

    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let named = self
            .fields
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    fn first<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        self.all(name).next()
    }
}

/// Builds METADATA from PKG-INFO and requires.txt; `has_license` returns whether a license file
/// exists.
fn metadata(
    said: &EggHeaders<'_>,
    requires: &str,
    has_license: &dyn Fn(&str) -> bool,
) -> Result<String> {
    // setuptools writes the requirements into PKG-INFO since version 68; before, only requires.txt
    // had them.
    let complete = said.first("Requires-Dist").is_some();
    let (requires, extras) = if complete {
        (Vec::new(), Vec::new())
    } else {
        requirements(requires)?
    };
    // Extras exist since 2.1, which is a superset of older versions.
    let version = said
        .first("Metadata-Version")
        .filter(|version| version.starts_with("2.") && *version != "2.0");

    let mut text = format!("Metadata-Version: {}\n", version.unwrap_or("2.1"));
    let mut known = BTreeSet::new();
    let mut is_new = |extra: &str| known.insert(extra.to_lowercase().replace(['_', '.'], "-"));
    for (name, value) in &said.fields {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let is_empty = value.is_empty() || value == "UNKNOWN";
        let is_gone = is("License-File") && !has_license(value);
        if !is("Metadata-Version")
            && !is_empty
            && !is_gone
            && (!is("Provides-Extra") || is_new(value))
        {
            _ = writeln!(text, "{name}: {value}");
        }
    }
    for extra in extras.iter().filter(|extra| is_new(extra)) {
        _ = writeln!(text, "Provides-Extra: {extra}");
    }
    for requirement in requires {
        _ = writeln!(text, "Requires-Dist: {requirement}");
    }
    if !said.body.trim().is_empty() {
        _ = writeln!(text, "\n{}", said.body.trim_end());
    }
    Ok(text)
}

/// Returns the version in PKG-INFO, after a comparison of it and the name with the file name.
fn checked_version(said: &EggHeaders<'_>, egg: &EggFilename) -> Result<Version> {
    let first = |name: &'static str| {
        said.first(name)
            .ok_or_else(|| Error::new(format!("its PKG-INFO has no `{name}`")))
    };
    let (name, version) = (first("Name")?, first("Version")?);
    if PackageName::from_str(name).ok().as_ref() != Some(&egg.name) {
        return Err(Error::new(format!(
            "its PKG-INFO has `Name: {name}`, but its file name has `{}`",
            egg.name
        )));
    }
    let parsed = Version::from_str(version).map_err(|_| {
        Error::new(format!(
            "its PKG-INFO has `Version: {version}`, which PEP 440 does not allow"
        ))
    })?;
    if parsed != egg.version {
        let named = &egg.version;
        return Err(Error::new(format!(
            "its PKG-INFO has `Version: {version}`, but its file name has {named}"
        )));
    }
    Ok(parsed)
}

fn is_byte_code(name: &str) -> bool {
    name.ends_with(".pyc") || name.ends_with(".pyo")
}

/// Refuses modules without source: byte code runs on one Python only, and cannot be rebuilt.
fn check_sources<'a>(paths: impl Iterator<Item = &'a ReleasePath> + Clone) -> Result<()> {
    let all: BTreeSet<&str> = paths.clone().map(ReleasePath::as_str).collect();
    let lonely = paths.map(ReleasePath::as_str).filter(|path| {
        let stem = path
            .strip_suffix(".pyc")
            .filter(|_| !path.contains("__pycache__/"));
        stem.is_some_and(|stem| !all.contains(format!("{stem}.py").as_str()))
    });
    match lonely.clone().next() {
        Some(first) => Err(
            Error::new(format!("`{first}` has no source file beside it"))
                .note(format!(
                    "{} modules exist only as byte code, which runs on only one Python version",
                    lonely.count()
                ))
                .hint("rebuild the egg without `--exclude-source-files`"),
        ),
        None => Ok(()),
    }
}

/// Returns whether a file of an egg is left out of the wheel.
fn is_dropped(
    path: &ReleasePath,
    place: &Path,
    namespaces: &BTreeSet<String>,
    from: &Path,
) -> Result<bool> {
    let name = path.as_str();
    let top = name.split('/').next().unwrap_or(name);
    if is_byte_code(name)
        || name.contains("__pycache__/")
        || top.ends_with(".dist-info")
        || top == "EGG-INFO"
    {
        return Ok(true);
    }
    if name
        .strip_suffix("/__init__.py")
        .is_some_and(|package| namespaces.contains(package))
    {
        // All modules of a release are in one directory, where a package without `__init__.py` is a
        // namespace (PEP 420), whatever other distributions have in it.
        return Ok(declares_a_namespace(&String::from_utf8_lossy(&fs::read(
            place,
        )?)));
    }
    Ok(name.ends_with(".py") && has_extension(&from.join(name))? && is_stub(&fs::read(place)?))
}

fn declares_a_namespace(source: &str) -> bool {
    let mut rest = source.trim_start_matches('\u{feff}').trim_start();
    for quote in ["\"\"\"", "'''"] {
        if let Some((_, after)) = rest
            .strip_prefix(quote)
            .and_then(|text| text.split_once(quote))
        {
            rest = after;
        }
    }
    rest.lines()
        .map(|line| {
            line.split('#')
                .next()
                .unwrap_or(line)
                .trim()
                .replace('"', "'")
        })
        .all(|statement| {
            let statement = statement.trim_end_matches(';');
            statement.is_empty() || NAMESPACE_STATEMENTS.contains(&statement)
        })
}

/// Returns whether an extension module of the same name is beside a module.
fn has_extension(module: &Path) -> Result<bool> {
    let Some((directory, stem)) = module.parent().zip(module.file_stem()) else {
        return Ok(false);
    };
    let stem = format!("{}.", stem.to_string_lossy());
    let entries = std::fs::read_dir(directory)
        .context(|| "cannot read the egg")?
        .flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names
        .any(|name| name.starts_with(&stem) && (name.ends_with(".so") || name.ends_with(".pyd"))))
}

/// Returns whether `bdist_egg` wrote a module beside an extension module, which must be unpacked
/// from a zipped egg before it can be loaded.
fn is_stub(source: &[u8]) -> bool {
    let has = |text: &str| memchr::memmem::find(source, text.as_bytes()).is_some();
    has("def __bootstrap__():") && has("resource_filename(__name__")
}

/// Returns the compiled files of an egg: path and machine.
fn native(files: &BTreeMap<ReleasePath, PathBuf>) -> Result<Vec<(ReleasePath, String)>> {
    let mut native = Vec::new();
    for (path, place) in files {
        if let Some(found) = elf::read(place, path)? {
            native.push((path.clone(), found.machine));
        }
    }
    Ok(native)
}

/// Returns the file name with the tags that the content requires.
fn filename(egg: &EggFilename, native: &[(ReleasePath, String)]) -> Result<WheelFilename> {
    if let Some((path, machine)) = native.iter().find(|(_, machine)| {
        egg.platform
            .as_deref()
            .is_some_and(|platform| !platform.ends_with(&format!("-{machine}")))
    }) {
        let said = egg.platform.as_deref().unwrap_or_default();
        return Err(Error::new(format!(
            "`{path}` is compiled for {machine}, but the file name states `{said}`"
        )));
    }
    let Some((_, machine)) = native.first() else {
        return egg.wheel();
    };
    let platform = egg
        .platform_tag()
        .unwrap_or_else(|| format!("linux_{machine}"));
    let modules = || native.iter().map(|(path, _)| path.file_name());
    let stable = modules().all(|name| name.ends_with(".abi3.so"));
    let tags = match egg.python {
        Some((major, minor)) if stable => format!("cp{major}{minor}-abi3"),
        // Shared libraries as data, e.g. for ctypes.
        _ if egg.platform.is_none() && !modules().any(|name| name.contains(".cpython-")) => {
            egg.pure_tags()
        }
        _ => egg.abi_tags(),
    };
    egg.wheel_for(&tags, &platform)
}

/// Replaces the interpreter in a script by the placeholder of wheels (binary distribution format,
/// "Scripts"); its options stay.
fn with_plain_interpreter(content: Vec<u8>) -> Vec<u8> {
    let end = content
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(content.len());
    let line = String::from_utf8_lossy(&content[..end]).into_owned();
    let Some(command) = line.strip_prefix("#!") else {
        return content;
    };
    let mut words = command
        .split_whitespace()
        .skip_while(|word| word.ends_with("/env") || *word == "-S");
    match words.next() {
        Some(interpreter)
            if interpreter
                .rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("python")) =>
        {
            let options: String = words.map(|word| format!(" {word}")).collect();
            [format!("#!python{options}").as_bytes(), &content[end..]].concat()
        }
        _ => content,
    }
}

fn wheel_text(filename: &WheelFilename, pure: bool) -> String {
    let mut text = format!("Wheel-Version: 1.0\nGenerator: pkgapp\nRoot-Is-Purelib: {pure}\n");
    for python in filename.python_tags() {
        for abi in filename.abi_tags() {
            for platform in filename.platform_tags() {
                _ = writeln!(text, "Tag: {python}-{abi}-{platform}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_namespaces_are_told_from_code() {
        // As setuptools' and pkgutil's documentations show them, and as they are found in old
        // distributions.
        for (source, declares) in [
            ("", true),
            (
                "__import__('pkg_resources').declare_namespace(__name__)\n",
                true,
            ),
            (
                "__import__(\"pkg_resources\").declare_namespace(__name__)  # pragma: no cover\n",
                true,
            ),
            (
                "# this is a namespace package\ntry:\n    import pkg_resources\n    pkg_resources.declare_namespace(__name__)\n\
              except ImportError:\n    import pkgutil\n    __path__ = pkgutil.extend_path(__path__, __name__)\n",
                true,
            ),
            (
                "\"\"\"A namespace.\"\"\"\nfrom pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n",
                true,
            ),
            (
                "__import__('pkg_resources').declare_namespace(__name__)\nversion = '1'\n",
                false,
            ),
            ("from .core import *\n", false),
        ] {
            assert_eq!(declares_a_namespace(source), declares, "{source}");
        }
    }

    #[test]
    fn interpreters_of_scripts_lose_their_place_and_keep_their_options() {
        for (before, after) in [
            ("#!/usr/bin/python3.11\nx\n", "#!python\nx\n"),
            ("#!/usr/bin/env python\nx", "#!python\nx"),
            ("#! /usr/bin/env -S python3 -u\nx", "#!python -u\nx"),
            ("#!/bin/sh\nx", "#!/bin/sh\nx"),
            ("import sys\n", "import sys\n"),
        ] {
            assert_eq!(
                String::from_utf8(with_plain_interpreter(before.into())).unwrap(),
                after
            );
        }
    }

    #[test]
    fn metadata_has_every_requirement_once() {
        // PKG-INFO of setuptools 65, which has extras and no requirements, and of 75, which has
        // both.
        let old = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nHome-page: UNKNOWN\nProvides-Extra: fast\n\
                   License-File: LICENSE\n\nA text.\n\n\nMore.\n";
        let new = "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nRequires-Dist: six>=1\nDynamic: summary\n";
        let requires = "six>=1\n\n[fast]\nspeed\n";
        let text = |said: &str| metadata(&EggHeaders::parse(said), requires, &|_| false).unwrap();
        assert_eq!(
            text(old),
            "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nProvides-Extra: fast\nRequires-Dist: six>=1\n\
             Requires-Dist: speed; extra == \"fast\"\n\nA text.\n\n\nMore.\n"
        );
        assert_eq!(text(new), new);
    }

    #[test]
    fn descriptions_of_distutils_keep_their_lines() {
        let said = "Metadata-Version: 1.1\nName: demo\nVersion: 1.0\nDescription: First\n        \n        Second\nPlatform: UNKNOWN\n";
        assert_eq!(
            metadata(&EggHeaders::parse(said), "", &|_| false).unwrap(),
            "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nDescription: First\n        \n        Second\n"
        );
    }
}
