//! The installation of a wheel as a layer.
//!
//! Source: PyPA, "Binary distribution format", "Installing a wheel". Its steps:
//!
//! > 1. Unpack. a. Parse `distribution-1.0.dist-info/WHEEL`. b. Check that installer is compatible
//! > with Wheel-Version.
//! > c. If Root-Is-Purelib == 'true', unpack archive into purelib. d. Else unpack archive into
//! > platlib.
//! > 2. Spread. a. Unpacked archive includes `distribution-1.0.dist-info/` and (if there is data)
//! > `distribution-1.0.data/`.
//! > b. Move each subtree of `distribution-1.0.data/` onto its destination path. […]
//! > c. If applicable, update scripts starting with `#!python` to point to the correct interpreter.
//! > d. Update `distribution-1.0.dist-info/RECORD` with the installed paths. e. Remove empty
//! > `distribution-1.0.data` directory. f. Compile any installed .py to .pyc.
//!
//! In a release, purelib and platlib are the same directory, so 1c and 1d are one step.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use sha2::{Digest as _, Sha256};

use super::assembly::{ByteOrigin, BytecodeCacheKey, LayerAssembly, LayerStart};
use super::launcher::{self, EntryPoint};
use super::{Distribution, FORMAT, Layer, LayerBuilder, Storage};
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::ReleasePath;
use pkgapp_pypa::{PackageName, Version};
use pkgapp_wheels::Wheel;
use pkgapp_wheels::archive::WheelArchive;

/// A file in a wheel.
#[derive(Debug, Clone, Copy)]
pub struct WheelMember<'a> {
    /// The path in the archive, with `/` between components.
    pub path: &'a str,
    /// Whether the external attributes have an execute bit.
    pub executable: bool,
    /// The SHA-256 that the reader verifies once all bytes have been read.
    pub sha256: Option<Sha256Sum>,
}

/// A source of a wheel's files: each file once, in any order, with content that agrees with RECORD.
pub trait WheelReader {
    /// Calls `take` for every regular file.
    ///
    /// # Errors
    /// `take` fails, or the archive is damaged or unsafe.
    fn for_each_file(
        &mut self,
        take: &mut dyn FnMut(&WheelMember<'_>, &mut dyn Read) -> Result<()>,
    ) -> Result<()>;
}

impl WheelReader for WheelArchive {
    fn for_each_file(
        &mut self,
        take: &mut dyn FnMut(&WheelMember<'_>, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        Self::for_each_file(self, |member, content| {
            take(
                &WheelMember {
                    path: member.path.as_str(),
                    executable: member.executable,
                    sha256: member.sha256,
                },
                content,
            )
        })
    }
}

/// The number of bytes of a script in which a first line is looked for. The kernel reads 255.
const FIRST_LINE: u64 = 1024;

/// The limit for `entry_points.txt` and `WHEEL`, in bytes.
const LARGEST_TEXT: u64 = 4 << 20;

impl Layer {
    /// Returns a wheel's layer from the cache, or builds it after opening the wheel with `open`.
    ///
    /// # Errors
    /// The wheel violates its specification, or has files for places that are reserved.
    pub fn for_wheel<R: WheelReader>(
        builder: &LayerBuilder<'_>,
        wheel: &Wheel,
        open: impl FnOnce() -> Result<R>,
    ) -> Result<Self> {
        let distribution = distribution(wheel);
        let label = format!(
            "distribution `{} {}`",
            distribution.name, distribution.version
        );
        let key = key(builder, wheel);
        if let Some(layer) = Self::open(builder.cache, &key, &label) {
            return Ok(from_elsewhere(layer, distribution));
        }
        let assembly = match LayerAssembly::begin(builder, &key, &label, Storage::Together)? {
            LayerStart::Made(layer) => return Ok(from_elsewhere(*layer, distribution)),
            LayerStart::Empty(assembly) => *assembly,
        };
        install(assembly, wheel, distribution, &mut open()?, &key, &label).map_err(|error| {
            let error = error.context(format!("cannot install `{}`", wheel.filename));
            match &wheel.pin {
                Some(pin) => error.at(pin.at.clone()),
                None => error,
            }
        })
    }
}

/// Returns the layer with the origin of this build: another build may have downloaded the same
/// wheel from another place.
fn from_elsewhere(mut layer: Layer, distribution: Distribution) -> Layer {
    if let Some(made) = &mut layer.manifest.distribution {
        made.from = distribution.from;
        made.built_here = distribution.built_here;
    }
    layer
}

/// Returns the unit of cached byte code: each edit of the application results in a new wheel, of
/// which most files are the same.
fn kept(wheel: &Wheel) -> BytecodeCacheKey {
    if wheel.pin.is_none() {
        BytecodeCacheKey::Source
    } else {
        BytecodeCacheKey::Layer
    }
}

/// Returns the SHA-256 of everything that determines a wheel's layer.
fn key(builder: &LayerBuilder<'_>, wheel: &Wheel) -> String {
    let inputs = [
        format!("pkgapp layer {FORMAT}"),
        format!("wheel {} {}", wheel.sha256, wheel.filename),
        format!(
            "python {} {}",
            builder.compiler.python(),
            builder.compiler.identity()
        ),
        format!("byte code by {}", kept(wheel).word()),
    ];
    let pruned = (!builder.prune.spares(&wheel.filename.name)).then(|| builder.prune.key());
    let inputs: Vec<String> = inputs.into_iter().chain(pruned).collect();
    hex::encode(Sha256::digest(inputs.join("\n")))
}

/// Returns the metadata of a wheel, without scripts and modules, which only unpacking shows.
fn distribution(wheel: &Wheel) -> Distribution {
    let metadata = &wheel.metadata;
    Distribution {
        name: metadata.name.to_string(),
        version: metadata.version.to_string(),
        requires: metadata.requires.clone(),
        requires_python: metadata.requires_python.clone(),
        extras: metadata.extras.clone(),
        scripts: Vec::new(),
        top_level: Vec::new(),
        license: metadata.license.clone(),
        wheel: wheel.filename.to_string(),
        sha256: wheel.sha256.to_string(),
        from: wheel.from.clone(),
        built_here: wheel.built_from.is_some(),
    }
}

fn install(
    assembly: LayerAssembly<'_>,
    wheel: &Wheel,
    mut distribution: Distribution,
    reader: &mut impl WheelReader,
    key: &str,
    label: &str,
) -> Result<Layer> {
    let mut installation = Installation::new(assembly, wheel);
    reader.for_each_file(&mut |member, content| installation.unpack(member, content))?;
    let dist_info = installation.check()?;
    installation.add_entry_points()?;
    let prune = installation.assembly.pruning();
    if !prune.spares(&wheel.filename.name) {
        installation
            .assembly
            .prune(prune, &installation.site_packages)?;
    }
    installation.assembly.compile(kept(wheel))?;
    installation.add_installer(&dist_info)?;
    installation.add_record(&dist_info)?;
    distribution.scripts = installation.scripts();
    distribution.top_level = installation.top_level();
    installation.assembly.finish(key, label, Some(distribution))
}

/// The installation of one wheel.
struct Installation<'a> {
    assembly: LayerAssembly<'a>,
    name: &'a PackageName,
    version: &'a Version,
    python: PythonMinor,
    /// The directory of modules, below the prefix.
    site_packages: String,
    /// The `*.dist-info` directories in the wheel.
    dist_infos: BTreeSet<String>,
    wheel_text: Option<String>,
    entry_points: Vec<EntryPoint>,
    /// The files of each script in `.data/scripts`, by name: an entry point of the same name
    /// replaces them.
    data_scripts: BTreeMap<String, Vec<ReleasePath>>,
}

impl<'a> Installation<'a> {
    fn new(assembly: LayerAssembly<'a>, wheel: &'a Wheel) -> Self {
        let compiler = assembly.compiler();
        Self {
            name: &wheel.filename.name,
            version: &wheel.filename.version,
            python: compiler.python(),
            site_packages: compiler.site_packages(),
            assembly,
            dist_infos: BTreeSet::new(),
            wheel_text: None,
            entry_points: Vec::new(),
            data_scripts: BTreeMap::new(),
        }
    }

    /// "1. Unpack" and "2b. Move each subtree of distribution-1.0.data/ onto its destination path".
    fn unpack(&mut self, member: &WheelMember<'_>, content: &mut dyn Read) -> Result<()> {
        let (top, below) = member.path.split_once('/').unwrap_or((member.path, ""));
        if let Some(stem) = top.strip_suffix(".data")
            && !below.is_empty()
            && self.is_ours(stem)
        {
            return self.unpack_data(below, member, content);
        }
        if let Some(stem) = top.strip_suffix(".dist-info") {
            if !self.is_ours(stem) {
                return Err(Error::new(format!(
                    "`{top}` belongs to another distribution"
                )));
            }
            self.dist_infos.insert(top.to_owned());
            return self.unpack_dist_info(below, member, content);
        }
        self.unpack_module(member.path, member, content)
    }

    /// Unpacks a file below site-packages.
    fn unpack_module(
        &mut self,
        path: &str,
        member: &WheelMember<'_>,
        content: &mut dyn Read,
    ) -> Result<()> {
        if path.ends_with(".pyc") && path.split('/').rev().nth(1) == Some("__pycache__") {
            // Byte code that the wheel's author compiled is replaced by the byte code compiled
            // below.
            return Ok(());
        }
        let place = ReleasePath::parse(&format!("{}/{path}", self.site_packages))?;
        if path.ends_with(".pth") && !path.contains('/') {
            let text = read_text(path, content)?;
            check_pth(path, &text)?;
            self.assembly
                .file(place, 0o644, ByteOrigin::Elsewhere, text.as_bytes())?;
            return Ok(());
        }
        let mode = mode(path, member.executable);
        self.assembly
            .proven_file(place, mode, ByteOrigin::Elsewhere, member.sha256, content)?;
        Ok(())
    }

    fn unpack_dist_info(
        &mut self,
        name: &str,
        member: &WheelMember<'_>,
        content: &mut dyn Read,
    ) -> Result<()> {
        match name {
            // Written anew or left out: RECORD lists the installed files, and INSTALLER names the
            // installer. The signatures are for the old RECORD, and the other files describe a
            // user's request to an installer and the origin of the wheel.
            "RECORD" | "RECORD.jws" | "RECORD.p7s" | "INSTALLER" | "REQUESTED"
            | "direct_url.json" => Ok(()),
            "WHEEL" | "entry_points.txt" => {
                let text = read_text(member.path, content)?;
                self.unpack_module(member.path, member, &mut text.as_bytes())?;
                if name == "WHEEL" {
                    self.wheel_text = Some(text);
                } else {
                    self.entry_points = launcher::entry_points(&text)
                        .map_err(|error| error.context("invalid `entry_points.txt`"))?;
                }
                Ok(())
            }
            _ => self.unpack_module(member.path, member, content),
        }
    }

    /// Unpacks a file below `distribution-1.0.data/`. The keys are those of Python's installation
    /// schemes.
    fn unpack_data(
        &mut self,
        path: &str,
        member: &WheelMember<'_>,
        content: &mut dyn Read,
    ) -> Result<()> {
        let unknown = || {
            Error::new(format!("`{}` has an unknown destination", member.path)).note(
                "a `.data/` directory may contain `purelib`, `platlib`, `scripts`, `data`, and \
                 `headers`",
            )
        };
        let (key, below) = path.split_once('/').ok_or_else(unknown)?;
        match key {
            "purelib" | "platlib" => self.unpack_module(below, member, content),
            "scripts" => self.unpack_script(below, content),
            "headers" => {
                let place = ReleasePath::parse(&format!(
                    "include/site/python{}/{}/{below}",
                    self.python, self.name
                ))?;
                self.assembly.file(
                    place,
                    mode(below, member.executable),
                    ByteOrigin::Elsewhere,
                    content,
                )?;
                Ok(())
            }
            "data" => {
                let place = ReleasePath::parse(below)?;
                if let Some(name) = below.strip_prefix("bin/") {
                    launcher::check_name(name)?;
                }
                // The same rules hold for all modules, wherever they are in the wheel.
                let site_packages = format!("{}/", self.site_packages);
                if let Some(module) = below.strip_prefix(&site_packages) {
                    return self.unpack_module(module, member, content);
                }
                self.assembly.file(
                    place,
                    mode(below, member.executable),
                    ByteOrigin::Elsewhere,
                    content,
                )?;
                Ok(())
            }
            _ => Err(unknown()),
        }
    }

    /// "2c. If applicable, update scripts starting with #!python to point to the correct
    /// interpreter": a launcher replaces the script, which becomes the launcher's body.
    fn unpack_script(&mut self, name: &str, content: &mut dyn Read) -> Result<()> {
        launcher::check_name(name)?;
        let mut first = Vec::new();
        content
            .take(FIRST_LINE)
            .read_to_end(&mut first)
            .context(|| format!("cannot read `{name}`"))?;
        let launched = ReleasePath::parse(&format!("bin/{name}"))?;
        if !first.starts_with(b"#!python") {
            self.assembly.file(
                launched.clone(),
                0o755,
                ByteOrigin::Elsewhere,
                Cursor::new(first).chain(content),
            )?;
            self.data_scripts.insert(name.to_owned(), vec![launched]);
            return Ok(());
        }
        let end = first
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(first.len());
        // One line replaces one line, so that line numbers stay, and an encoding in the second line
        // remains valid (PEP 263).
        let head = format!("# started by bin/{name}");
        let body = ReleasePath::parse(&format!("libexec/{name}"))?;
        let rest = Cursor::new(&first[end..]).chain(content);
        // Only the first line is generated, and it is the same on every build machine.
        self.assembly.file(
            body.clone(),
            0o644,
            ByteOrigin::Elsewhere,
            Cursor::new(head).chain(rest),
        )?;
        self.add_launcher(name, launched.clone())?;
        self.data_scripts
            .insert(name.to_owned(), vec![launched, body]);
        Ok(())
    }

    /// "1a. Parse WHEEL. b. Check that installer is compatible with Wheel-Version." Returns the
    /// name of the `.dist-info` directory.
    fn check(&self) -> Result<String> {
        let dist_infos: Vec<&String> = self.dist_infos.iter().collect();
        let dist_info = match dist_infos[..] {
            [one] => one.clone(),
            [] => return Err(Error::new("it has no `.dist-info` directory")),
            [first, second, ..] => {
                return Err(Error::new(format!(
                    "it has two `.dist-info` directories, `{first}` and `{second}`"
                )));
            }
        };
        let text = self
            .wheel_text
            .as_deref()
            .ok_or_else(|| Error::new(format!("it has no `{dist_info}/WHEEL`")))?;
        let version = text
            .lines()
            .find_map(|line| {
                line.split_once(':')
                    .filter(|(key, _)| key.trim().eq_ignore_ascii_case("wheel-version"))
            })
            .map(|(_, value)| value.trim());
        let Some(version) = version else {
            return Err(Error::new(format!(
                "`{dist_info}/WHEEL` has no Wheel-Version"
            )));
        };
        match version.split('.').next() {
            // Version 0.1 was the draft's; pip installs such wheels, too.
            Some("0" | "1") => Ok(dist_info),
            _ => Err(Error::new(format!("its Wheel-Version is {version}"))
                .note("pkgapp supports versions 1.x of the wheel specification")),
        }
    }

    fn add_entry_points(&mut self) -> Result<()> {
        for entry_point in std::mem::take(&mut self.entry_points) {
            // Like pip: old wheels contain scripts that setuptools generated from the entry points.
            for path in self
                .data_scripts
                .remove(&entry_point.name)
                .unwrap_or_default()
            {
                self.assembly.remove_file(&path)?;
            }
            let name = &entry_point.name;
            self.add_launcher(name, ReleasePath::parse(&format!("bin/{name}"))?)?;
            let body = launcher::body(&entry_point);
            let place = ReleasePath::parse(&format!("libexec/{name}"))?;
            self.assembly
                .file(place, 0o755, ByteOrigin::Here, body.as_bytes())?;
        }
        Ok(())
    }

    fn add_launcher(&mut self, name: &str, place: ReleasePath) -> Result<()> {
        self.assembly.file(
            place,
            0o755,
            ByteOrigin::Here,
            launcher::launcher(name, self.python).as_bytes(),
        )?;
        Ok(())
    }

    /// Adds INSTALLER (PEP 376), which names the tool that may remove the distribution.
    fn add_installer(&mut self, dist_info: &str) -> Result<()> {
        let place = ReleasePath::parse(&format!("{}/{dist_info}/INSTALLER", self.site_packages))?;
        self.assembly
            .file(place, 0o644, ByteOrigin::Here, &b"pkgapp\n"[..])?;
        Ok(())
    }

    /// "2d. Update RECORD with the installed paths." The list includes byte code with its hash, so
    /// that it can be verified.
    fn add_record(&mut self, dist_info: &str) -> Result<()> {
        let place = ReleasePath::parse(&format!("{}/{dist_info}/RECORD", self.site_packages))?;
        let mut lines: Vec<[String; 3]> = self
            .assembly
            .files()
            .map(|(path, digest)| {
                [
                    self.recorded(path),
                    recorded_hash(digest),
                    digest.size.to_string(),
                ]
            })
            .collect();
        // "RECORD is a list of (almost) all the files in the wheel and their secure hashes. […]
        // RECORD […] cannot contain a hash of itself."
        lines.push([self.recorded(&place), String::new(), String::new()]);
        lines.sort();
        let text = record_text(&lines)?;
        self.assembly
            .file(place, 0o644, ByteOrigin::Here, &text[..])?;
        Ok(())
    }

    /// Returns a path as RECORD contains it: relative to the directory of `.dist-info`.
    fn recorded(&self, path: &ReleasePath) -> String {
        match path
            .as_str()
            .strip_prefix(&self.site_packages)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(below) => below.to_owned(),
            None => format!("../../../{path}"),
        }
    }

    fn scripts(&self) -> Vec<String> {
        self.assembly
            .paths()
            .filter_map(|path| path.as_str().strip_prefix("bin/"))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// Returns the names of all top-level modules and packages.
    fn top_level(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for (path, _) in self.assembly.files() {
            let below = path
                .as_str()
                .strip_prefix(&self.site_packages)
                .and_then(|rest| rest.strip_prefix('/'));
            let Some(below) = below else { continue };
            if !(below.ends_with(".py") || below.ends_with(".so")) {
                continue;
            }
            // `_x.cpython-311-x86_64-linux-gnu.so` is the module `_x`.
            let (name, inner) = below.split_once('/').unwrap_or((below, ""));
            let name = if inner.is_empty() {
                name.split('.').next().unwrap_or(name)
            } else {
                name
            };
            if launcher::is_name(name) {
                names.insert(name.to_owned());
            }
        }
        names.into_iter().collect()
    }

    /// Returns whether `name-version` belongs to this distribution, in any spelling.
    fn is_ours(&self, stem: &str) -> bool {
        let Some((name, version)) = stem.split_once('-') else {
            return false;
        };
        name.parse::<PackageName>()
            .is_ok_and(|name| name == *self.name)
            && version
                .parse::<Version>()
                .is_ok_and(|version| version == *self.version)
    }
}

/// Returns the permission bits of an installed file. Shared libraries are not executable (Debian
/// Policy §10.2 and §8.1).
fn mode(path: &str, executable: bool) -> u32 {
    let name = path.rsplit('/').next().unwrap_or(path);
    let shared_library = name.ends_with(".so") || name.contains(".so.");
    if executable && !shared_library {
        0o755
    } else {
        0o644
    }
}

/// Refuses a `.pth` file that adds a directory outside of the release, as an editable installation
/// does.
fn check_pth(path: &str, text: &str) -> Result<()> {
    match text.lines().find(|line| line.starts_with('/')) {
        Some(line) => Err(Error::new(format!(
            "`{path}` makes Python import from `{line}`, outside the release"
        ))
        .hint("pin a wheel of the project, not an editable installation of it")),
        None => Ok(()),
    }
}

fn read_text(path: &str, content: &mut dyn Read) -> Result<String> {
    let mut text = String::new();
    content
        .take(LARGEST_TEXT)
        .read_to_string(&mut text)
        .context(|| format!("cannot read `{path}`"))?;
    Ok(text)
}

fn record_text(lines: &[[String; 3]]) -> Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    for line in lines {
        csv.write_record(line).context(|| "cannot write RECORD")?;
    }
    csv.into_inner()
        .map_err(|error| Error::bug(format!("cannot write RECORD: {error}")))
}

/// Returns a RECORD with the digests of `now` for its paths, without lines for paths that `now`
/// does not know.
///
/// # Errors
/// The text is not a RECORD that pkgapp wrote.
pub(crate) fn updated_record(text: &[u8], now: impl Fn(&str) -> Option<Digest>) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for line in csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text)
        .into_deserialize()
    {
        let [path, hash, size]: [String; 3] = line.context(|| "cannot read RECORD")?;
        let Some(digest) = now(&path) else { continue };
        // The line of RECORD itself has no hash.
        let known = !hash.is_empty();
        lines.push(if known {
            [path, recorded_hash(&digest), digest.size.to_string()]
        } else {
            [path, hash, size]
        });
    }
    record_text(&lines)
}

/// Formats a hash for RECORD: "the name of the hash algorithm, an equals sign, and the
/// urlsafe-base64-nopad encoding of the digest".
pub(crate) fn recorded_hash(digest: &Digest) -> String {
    format!(
        "sha256={}",
        data_encoding::BASE64URL_NOPAD.encode(&digest.sha256.0)
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::layer::LayerEntryKind;
    use crate::layer::testing::{self, Bench, TestWheel};

    /// A wheel with files for every place.
    fn everything() -> TestWheel {
        TestWheel::new(
            "My_Tool",
            "1.0",
            &[
                ("my_tool/__init__.py", b"def main():\n    return 0\n"),
                ("!my_tool/run.py", b"#!/usr/bin/env python\n"),
                (
                    "!my_tool/_fast.cpython-311-x86_64-linux-gnu.so",
                    testing::OBJECT_FILE,
                ),
                ("my_tool/broken.py", b"print 1\n"),
                ("my_tool/__pycache__/run.cpython-311.pyc", b"old"),
                ("my_tool/a,b.txt", b"x"),
                ("single.py", b""),
                ("My_Tool-1.0.data/purelib/pure/x.py", b""),
                ("My_Tool-1.0.data/platlib/plat.abi3.so", b""),
                (
                    "My_Tool-1.0.data/scripts/old-tool",
                    b"#!pythonw -u\n'doc'\nfrom __future__ import division\n",
                ),
                (
                    "My_Tool-1.0.data/scripts/shell-tool",
                    b"#!/bin/sh\nexit 0\n",
                ),
                (
                    "My_Tool-1.0.data/scripts/tool",
                    b"#!python\nreplaced by the entry point\n",
                ),
                ("My_Tool-1.0.data/data/share/man/man1/tool.1", b".TH"),
                ("My_Tool-1.0.data/headers/tool.h", b"int x;"),
                (
                    "My_Tool-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\ntool = my_tool:main [x]\n",
                ),
                ("My_Tool-1.0.dist-info/RECORD", b"lies"),
                ("My_Tool-1.0.dist-info/RECORD.jws", b"{}"),
                (
                    "My_Tool-1.0.dist-info/direct_url.json",
                    b"{\"url\": \"file:///build\"}",
                ),
                ("My_Tool-1.0.dist-info/INSTALLER", b"pip\n"),
            ],
        )
    }

    #[test]
    fn every_part_of_a_wheel_gets_to_its_place_with_its_mode() {
        let Some(bench) = Bench::new() else { return };
        let layer = bench.install(&everything()).unwrap();
        let (python, tag) = (bench.python(), bench.tag());
        let site = format!("lib/python{python}/site-packages");
        let expected = [
            "0755 bin/".to_owned(),
            "0755 bin/old-tool".into(),
            "0755 bin/shell-tool".into(),
            "0755 bin/tool".into(),
            "0755 include/".into(),
            "0755 include/site/".into(),
            format!("0755 include/site/python{python}/"),
            format!("0755 include/site/python{python}/my-tool/"),
            format!("0644 include/site/python{python}/my-tool/tool.h"),
            "0755 lib/".into(),
            format!("0755 lib/python{python}/"),
            format!("0755 {site}/"),
            format!("0755 {site}/My_Tool-1.0.dist-info/"),
            format!("0644 {site}/My_Tool-1.0.dist-info/INSTALLER"),
            format!("0644 {site}/My_Tool-1.0.dist-info/METADATA"),
            format!("0644 {site}/My_Tool-1.0.dist-info/RECORD"),
            format!("0644 {site}/My_Tool-1.0.dist-info/WHEEL"),
            format!("0644 {site}/My_Tool-1.0.dist-info/entry_points.txt"),
            format!("0755 {site}/__pycache__/"),
            format!("0644 {site}/__pycache__/single.{tag}.pyc"),
            format!("0755 {site}/my_tool/"),
            format!("0644 {site}/my_tool/__init__.py"),
            format!("0755 {site}/my_tool/__pycache__/"),
            format!("0644 {site}/my_tool/__pycache__/__init__.{tag}.pyc"),
            format!("0644 {site}/my_tool/__pycache__/run.{tag}.pyc"),
            format!("0644 {site}/my_tool/_fast.cpython-311-x86_64-linux-gnu.so"),
            format!("0644 {site}/my_tool/a,b.txt"),
            format!("0644 {site}/my_tool/broken.py"),
            format!("0755 {site}/my_tool/run.py"),
            format!("0644 {site}/plat.abi3.so"),
            format!("0755 {site}/pure/"),
            format!("0755 {site}/pure/__pycache__/"),
            format!("0644 {site}/pure/__pycache__/x.{tag}.pyc"),
            format!("0644 {site}/pure/x.py"),
            format!("0644 {site}/single.py"),
            "0755 libexec/".into(),
            "0644 libexec/old-tool".into(),
            "0755 libexec/tool".into(),
            "0755 share/".into(),
            "0755 share/man/".into(),
            "0755 share/man/man1/".into(),
            "0644 share/man/man1/tool.1".into(),
        ];
        similar_asserts::assert_eq!(bench.listing(&layer), expected);
        let uncompiled: Vec<&str> = layer
            .manifest
            .uncompiled
            .iter()
            .map(ReleasePath::as_str)
            .collect();
        assert_eq!(uncompiled, [format!("{site}/my_tool/broken.py")]);
        let made_here: Vec<&str> = layer
            .manifest
            .made_here
            .iter()
            .map(ReleasePath::as_str)
            .collect();
        let byte_code = |path: &&String| path.ends_with(".pyc");
        let made = [
            "bin/old-tool",
            "bin/tool",
            "INSTALLER",
            "RECORD",
            "libexec/tool",
        ];
        assert!(
            made_here
                .iter()
                .all(|path| path.ends_with(".pyc") || made.iter().any(|made| path.ends_with(made)))
        );
        assert_eq!(
            made_here.len(),
            made.len() + expected.iter().filter(byte_code).count()
        );
        let distribution = layer.manifest.distribution.as_ref().unwrap();
        assert_eq!(distribution.scripts, ["old-tool", "shell-tool", "tool"]);
        assert_eq!(
            distribution.top_level,
            ["my_tool", "plat", "pure", "single"]
        );
        let old = bench.read(&layer, "libexec/old-tool");
        assert_eq!(
            String::from_utf8(old).unwrap(),
            "# started by bin/old-tool\n'doc'\nfrom __future__ import division\n"
        );
    }

    #[test]
    fn record_is_what_pythons_own_reader_and_hashes_say() {
        for (interpreter, python) in testing::pythons() {
            let bench = Bench::with(&interpreter, python);
            let layer = bench.install(&everything()).unwrap();
            // importlib.metadata reads RECORD and lists its files; the list must contain all files
            // of the layer.
            let check = "\
import base64, hashlib, importlib.metadata, os, sys
root, site = sys.argv[1], sys.argv[2]
[distribution] = importlib.metadata.distributions(path=[os.path.join(root, site)])
seen = set()
for file in distribution.files:
    path = os.path.normpath(str(file.locate()))
    seen.add(os.path.relpath(path, root))
    if file.hash is None:
        assert file.name == 'RECORD' and file.size is None, file
        continue
    data = open(path, 'rb').read()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
    assert (file.hash.mode, file.hash.value, file.size) == ('sha256', digest, len(data)), file
there = {os.path.relpath(os.path.join(d, f), root) for d, _, files in os.walk(root) for f in files}
assert seen == there, seen ^ there
print(distribution.metadata['Name'], distribution.version, distribution.read_text('INSTALLER').strip(), len(seen))";
            let site = bench.compiler.site_packages();
            let root = bench.unpacked(&layer);
            let said = pkgapp_testing::run(
                Command::new(&interpreter)
                    .args(["-I", "-c", check])
                    .arg(&root)
                    .arg(&site),
            );
            assert_eq!(said, "My_Tool 1.0 pkgapp 24\n", "Python {python}");
            let record =
                std::fs::read_to_string(root.join(site).join("My_Tool-1.0.dist-info/RECORD"))
                    .unwrap();
            let lines: Vec<&str> = record.lines().collect();
            assert_eq!(
                lines[..3],
                [
                    "../../../bin/old-tool,".to_owned() + &recorded(&root, "bin/old-tool"),
                    // `printf '#!/bin/sh\nexit 0\n' | openssl sha256 -binary | basenc --base64url`
                    "../../../bin/shell-tool,sha256=MGxsp0B1YDQHl4ZuB34FNietQJJ30bnaWBBvzkz3F8s,17"
                        .to_owned(),
                    "../../../bin/tool,".to_owned() + &recorded(&root, "bin/tool"),
                ]
            );
            assert!(lines.contains(&"My_Tool-1.0.dist-info/RECORD,,"));
            // `printf x | openssl sha256 -binary | basenc --base64url`
            assert!(lines.contains(
                &"\"my_tool/a,b.txt\",sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1"
            ));
            assert!(lines.is_sorted_by_key(|line| line.trim_start_matches('"')));
        }
    }

    fn recorded(root: &std::path::Path, path: &str) -> String {
        let digest = Digest::of(&std::fs::read(root.join(path)).unwrap());
        format!("{},{}", recorded_hash(&digest), digest.size)
    }

    #[test]
    fn a_wheel_gives_the_same_bytes_in_another_cache() {
        for (interpreter, python) in testing::pythons() {
            let library = pkgapp_testing::ask(
                &interpreter,
                "import os; print(os.path.dirname(os.__file__))",
            );
            let library = std::path::Path::new(&library);
            let sources: Vec<(String, Vec<u8>)> = pkgapp_testing::sources_of(library)
                .into_iter()
                .take(60)
                .map(|name| {
                    (
                        format!("lib/{name}"),
                        std::fs::read(library.join(&name)).unwrap(),
                    )
                })
                .collect();
            let files: Vec<(&str, &[u8])> = sources
                .iter()
                .map(|(name, text)| (name.as_str(), &text[..]))
                .collect();
            let wheel = TestWheel::new("stdlib", "1.0", &files);
            let (one, two) = (
                Bench::with(&interpreter, python),
                Bench::with(&interpreter, python),
            );
            let (one, two) = (one.install(&wheel).unwrap(), two.install(&wheel).unwrap());
            assert_eq!(one.key, two.key);
            // The order of byte code in the pack depends on which shard was compiled first.
            let text = |layer: &Layer| {
                let mut manifest = layer.manifest.clone();
                for entry in &mut manifest.entries {
                    if let LayerEntryKind::File { start, .. } = &mut entry.kind {
                        *start = 0;
                    }
                }
                serde_json::to_string_pretty(&manifest).unwrap()
            };
            similar_asserts::assert_eq!(text(&one), text(&two));
        }
    }

    #[test]
    fn hostile_and_broken_wheels_are_refused_by_name() {
        let Some(bench) = Bench::new() else { return };
        type Files<'a> = &'a [(&'a str, &'a [u8])];
        let cases: &[(Files<'_>, &str)] = &[
            (
                &[("../evil.py", b"")],
                "path `lib/python{}/site-packages/../evil.py` contains `..`",
            ),
            (
                &[("/evil.py", b"")],
                "path `lib/python{}/site-packages//evil.py` contains an empty component",
            ),
            (
                &[("x-1.0.data/data/../../evil", b"")],
                "path `../../evil` contains `..`",
            ),
            (
                &[("x-1.0.data/data//etc/passwd", b"")],
                "`/etc/passwd` is not a relative path",
            ),
            (
                &[("x-1.0.data/scripts/../evil", b"")],
                "`../evil` is not a valid name of a script",
            ),
            (
                &[("x-1.0.data/scripts/sub/evil", b"")],
                "`sub/evil` is not a valid name of a script",
            ),
            (
                &[("x-1.0.data/scripts/python", b"")],
                "the name `bin/python` is reserved",
            ),
            (
                &[("x-1.0.data/data/bin/python3.11", b"")],
                "the name `bin/python3.11` is reserved",
            ),
            (
                &[("x-1.0.data/etc/x", b"")],
                "`x-1.0.data/etc/x` has an unknown destination",
            ),
            (
                &[("x-1.0.data/x", b"")],
                "`x-1.0.data/x` has an unknown destination",
            ),
            (
                &[("a\nb.py", b"")],
                "`lib/python{}/site-packages/a\\nb.py` contains the control character '\\n'",
            ),
            (
                &[("a.py", b""), ("x-1.0.data/purelib/a.py", b"")],
                "`lib/python{}/site-packages/a.py` occurs twice",
            ),
            (
                &[("a", b""), ("a/b.py", b"")],
                "`lib/python{}/site-packages/a` is both a file and a directory of other files",
            ),
            (
                &[("y-2.dist-info/METADATA", b"")],
                "`y-2.dist-info` belongs to another distribution",
            ),
            (
                &[("x-1.dist-info/METADATA", b"")],
                "it has two `.dist-info` directories, `x-1.0.dist-info` and `x-1.dist-info`",
            ),
            (
                &[(
                    "x-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\na=b\n",
                )],
                "invalid `entry_points.txt`",
            ),
            (
                &[("x.pth", b"# comment\nimport x\n/home/me/x/src\n")],
                "`x.pth` makes Python import from `/home/me/x/src`, outside the release",
            ),
        ];
        for (files, cause) in cases {
            let error = bench
                .install(&TestWheel::new("x", "1.0", files))
                .unwrap_err();
            let cause = cause.replace("{}", &bench.python().to_string());
            let expected =
                format!("error: cannot install `x-1.0-py3-none-any.whl`\n  cause: {cause}");
            assert!(
                error.to_string().starts_with(&expected),
                "{error}\nis not\n{expected}"
            );
        }
        for (wheel_file, cause) in [
            (None, "it has no `.dist-info` directory"),
            (
                Some("Root-Is-Purelib: true\n"),
                "`x-1.0.dist-info/WHEEL` has no Wheel-Version",
            ),
            (Some("Wheel-Version: 2.0\n"), "its Wheel-Version is 2.0"),
        ] {
            let files: Vec<(&str, &[u8])> = wheel_file
                .iter()
                .map(|text| ("x-1.0.dist-info/WHEEL", text.as_bytes()))
                .collect();
            let error = bench
                .install(&TestWheel::exactly("x", "1.0", &files))
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("cause: {cause}")), "{error}");
        }
        assert!(
            bench.cache.unfinished().is_empty(),
            "{:?}",
            bench.cache.unfinished()
        );
        assert!(!bench.cache.layers().exists());
    }

    #[test]
    fn a_layer_is_made_once_and_anew_if_it_is_not_whole() {
        let Some(bench) = Bench::new() else { return };
        let test_wheel = TestWheel::new("x", "1.0", &[("x.py", b"1\n")]);
        let first = bench.install(&test_wheel).unwrap();
        let mut wheel = test_wheel.wheel();
        wheel.from = "elsewhere".into();
        let cached = Layer::for_wheel(&bench.builder(), &wheel, || -> Result<testing::ZipWheel> {
            panic!("the wheel was opened again")
        });
        assert_eq!(
            cached.unwrap().manifest.distribution.unwrap().from,
            "elsewhere"
        );
        let directory = bench.cache.layers().join(&first.key);
        let (pack, manifest) = (
            directory.join("pack"),
            directory.join(super::super::MANIFEST),
        );
        for harm in [
            &(|| std::fs::write(&pack, "").unwrap()) as &dyn Fn(),
            &|| std::fs::remove_file(&pack).unwrap(),
            &|| std::fs::write(&manifest, "{").unwrap(),
            &|| std::fs::remove_file(&manifest).unwrap(),
            &|| std::fs::remove_dir_all(&directory).unwrap(),
            &|| {
                let file = std::fs::OpenOptions::new().write(true).open(&pack).unwrap();
                file.set_len(file.metadata().unwrap().len() - 1).unwrap();
            },
            // A valid JSON file of the same length.
            &|| {
                let text = std::fs::read_to_string(&manifest).unwrap();
                assert!(text.contains(",420,"), "{text}");
                std::fs::write(&manifest, text.replace(",420,", ",493,")).unwrap();
            },
        ] {
            harm();
            // The state after a restart of the machine.
            _ = std::fs::write(directory.join(super::super::CHECKED), "another boot");
            assert!(Layer::open(&bench.cache, &first.key, "").is_none());
            bench.install(&test_wheel).unwrap();
            assert!(Layer::open(&bench.cache, &first.key, "").is_some());
            assert_eq!(
                bench.read(&first, &format!("{}/x.py", bench.compiler.site_packages())),
                b"1\n"
            );
        }
        assert!(
            bench.cache.unfinished().is_empty(),
            "{:?}",
            bench.cache.unfinished()
        );
    }

    #[test]
    fn what_a_killed_build_leaves_is_never_taken_for_a_layer() {
        let Some(bench) = Bench::new() else { return };
        let wheel = TestWheel::new("x", "1.0", &[("x.py", b"1\n")]);
        let key = key(&bench.builder(), &wheel.wheel());
        // The state after kill -9 before the rename: all files are in the temporary directory, and
        // no destructor runs.
        let builder = bench.builder();
        let LayerStart::Empty(mut assembly) =
            LayerAssembly::begin(&builder, &key, "", Storage::Together).unwrap()
        else {
            panic!()
        };
        assembly
            .file(
                ReleasePath::parse("x.py").unwrap(),
                0o644,
                ByteOrigin::Elsewhere,
                &b"1"[..],
            )
            .unwrap();
        let tmp = bench.cache.root().join("tmp");
        let (begun, killed) = (tmp.join(format!("layer-{key}")), tmp.join("killed"));
        std::fs::rename(&begun, &killed).unwrap();
        drop(assembly);
        std::fs::rename(&killed, &begun).unwrap();
        assert!(begun.join("new/pack").exists());
        assert!(Layer::open(&bench.cache, &key, "").is_none());
        assert_eq!(bench.install(&wheel).unwrap().key, key);
    }

    #[test]
    fn builds_at_the_same_time_make_the_same_layer() {
        let Some(bench) = Bench::new() else { return };
        let wheel = everything();
        let layers: Vec<Layer> = std::thread::scope(|scope| {
            let builds: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| bench.install(&wheel).unwrap()))
                .collect();
            builds
                .into_iter()
                .map(|build| build.join().unwrap())
                .collect()
        });
        for layer in &layers {
            assert_eq!(layer.key, layers[0].key);
            assert_eq!(
                serde_json::to_string(&layer.manifest).unwrap(),
                serde_json::to_string(&layers[0].manifest).unwrap()
            );
        }
        assert_eq!(std::fs::read_dir(bench.cache.layers()).unwrap().count(), 1);
        assert!(
            bench.cache.unfinished().is_empty(),
            "{:?}",
            bench.cache.unfinished()
        );
    }
}
