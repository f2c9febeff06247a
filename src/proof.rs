//! Proofs that every build makes of its tree: that no file names the machine it was made on, and that what lies in `bin/`
//! has what it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem::Finder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cache::{self, Cache};
use crate::error::{Context, Error, Result};
use crate::layer::{Layer, started_by};
use crate::path::{InstallPath, ReleasePath};
use crate::tree::{Bytes, Content, Entry, Kind, LastOpened, Origin, Tree};

/// Counts changes of what the search finds in the same files: part of the name of its cached results.
const SEARCH: u32 = 1;

/// How much of a file is held while it is searched, bytes.
const CHUNK: usize = 1 << 20;

/// Leaks that one error shows.
const SHOWN_LEAKS: usize = 20;

/// Bytes that would name this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What they are, e.g. `the build directory`.
    pub what: String,
    /// They may also begin in the middle of other text: a URL's path, say. So the byte before must not be of a word.
    pub common: bool,
}

impl Needle {
    /// What to look for so as to find the directory `path`; `None` for one that says nothing about this machine, and
    /// for one that the release itself lies in on the host.
    ///
    /// `/root` or `/build` is part of much other text; such a directory of one component is looked for with a slash at
    /// its end, and where a path may begin.
    pub fn directory(what: &str, path: &Path, prefix: &InstallPath) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let components = path.components().count().saturating_sub(1);
        if !path.is_absolute() || components == 0 || Path::new(prefix.as_str()).starts_with(path) {
            return None;
        }
        let mut bytes = bytes.to_vec();
        if components == 1 {
            bytes.push(b'/');
        }
        Some(Self { bytes, what: what.to_owned(), common: components == 1 })
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.is_in_part(text, true)
    }

    /// As `is_in`, for a part of a text. Unless it is the first, what stands at its very beginning is also in the part
    /// before, with the byte that it follows.
    fn is_in_part(&self, part: &[u8], first: bool) -> bool {
        let begins = |place: usize| place.checked_sub(1).map_or(first, |before| begins_path(part[before]));
        Finder::new(&self.bytes).find_iter(part).any(|place| !self.common || begins(place))
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Whether a path may begin after this byte.
fn begins_path(before: u8) -> bool {
    !(before.is_ascii_alphanumeric() || matches!(before, b'/' | b'.' | b'-' | b'_' | b'~' | b'}' | b')'))
}

/// A file of a layer and the needles that are in it, by their bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    path: ReleasePath,
    needles: Vec<Vec<u8>>,
}

/// Checks that no file that was made on this machine contains any of `needles`, and no link leads to one.
///
/// Downloaded wheels are as their makers published them, so they can't name this machine: of their layers only what was
/// made here is read. What was found in a layer is kept in the cache.
///
/// # Errors
/// Every file that contains one: which, and where the file comes from.
pub fn leaks(tree: &Tree, prefix: &InstallPath, layers: &[Layer], needles: &[Needle], cache: &Cache) -> Result<()> {
    let found: Vec<Vec<Found>> =
        layers.par_iter().map(|layer| search_layer(layer, needles, cache)).collect::<Result<_>>()?;
    let mut errors = Vec::new();
    for (layer, files) in layers.iter().zip(&found) {
        for file in files {
            // A later layer, or a command of `[build] run`, may have replaced it.
            let path = prefix.join(&file.path);
            let entry = tree.get(&path);
            if let Some(entry) = entry.filter(|entry| entry.origin.layer.as_ref() == Some(&layer.key)) {
                let named = needles.iter().filter(|needle| file.needles.contains(&needle.bytes)).collect();
                errors.extend(innermost(named).map(|needle| leak(&path, needle, &entry.origin, Some(layer))));
            }
        }
    }
    let mut last = LastOpened::default();
    let searched: BTreeSet<&str> = layers.iter().map(|layer| layer.key.as_str()).collect();
    for (path, entry) in tree.iter() {
        if entry.origin.layer.as_deref().is_some_and(|key| searched.contains(key)) {
            continue;
        }
        let found = innermost(search_entry(entry, needles, &mut last)?);
        errors.extend(found.map(|needle| leak(path, needle, &entry.origin, None)));
    }
    let hidden = errors.len().saturating_sub(SHOWN_LEAKS);
    errors.truncate(SHOWN_LEAKS);
    match Error::all(errors) {
        None => Ok(()),
        Some(error) if hidden > 0 => Err(error.note(format!("{hidden} more files name this machine"))),
        Some(error) => Err(error),
    }
}

/// Returns the needles that are no part of another: of home and the build directory in it, the latter says more.
fn innermost(found: Vec<&Needle>) -> impl Iterator<Item = &Needle> {
    let all = found.clone();
    found.into_iter().filter(move |needle| {
        !all.iter().any(|other| other.bytes.len() > needle.bytes.len() && other.bytes.starts_with(&needle.bytes))
    })
}

/// Returns what is found in a layer's files, from the cache or searched now.
fn search_layer(layer: &Layer, needles: &[Needle], cache: &Cache) -> Result<Vec<Found>> {
    let all = layer.manifest.distribution.as_ref().is_none_or(|distribution| distribution.built_here);
    // `/tmp/` is in the source of the standard library, whoever has built it. What names a machine is looked for by more.
    let needles: Vec<Needle> =
        needles.iter().filter(|needle| !(needle.common && layer.is_interpreter())).cloned().collect();
    let needles = &needles[..];
    let mut inputs = Sha256::new();
    inputs.update(format!("search {SEARCH}\nlayer {}\nall {all}\n", layer.key));
    for needle in needles {
        inputs.update(format!("{} {}\n", needle.common, hex::encode(&needle.bytes)));
    }
    let kept = cache.proofs().join(format!("{}.json", hex::encode(inputs.finalize())));
    if let Some(found) = cache::read_sealed(&kept) {
        return Ok(found);
    }
    let found = search_layer_files(layer, needles, all)?;
    cache.write(&kept, &found)?;
    Ok(found)
}

fn search_layer_files(layer: &Layer, needles: &[Needle], all: bool) -> Result<Vec<Found>> {
    let made_here: BTreeSet<&ReleasePath> = layer.manifest.made_here.iter().collect();
    let origin = Arc::new(Origin { label: layer.label.clone(), layer: Some(layer.key.clone()) });
    let (mut all_found, mut last) = (Vec::new(), LastOpened::default());
    for (path, entry) in layer.entries(&origin) {
        if !all && matches!(entry.kind, Kind::File(_)) && !made_here.contains(path) {
            continue;
        }
        let mut found = search_entry(&entry, needles, &mut last)?;
        if !all && !found.is_empty() {
            // A constant of the published source, e.g. the default `/root/.netrc`, is in its byte code too.
            let source = source_of(layer, path).filter(|(source, _)| !made_here.contains(source));
            if let Some((_, source)) = source {
                let explained = search_file(&source, needles, &mut last)?;
                found.retain(|needle| !explained.contains(needle));
            }
        }
        if !found.is_empty() {
            let needles = found.into_iter().map(|needle| needle.bytes.clone()).collect();
            all_found.push(Found { path: path.clone(), needles });
        }
    }
    Ok(all_found)
}

/// Returns the source that a file of byte code was made of (PEP 3147).
fn source_of(layer: &Layer, pyc: &ReleasePath) -> Option<(ReleasePath, Content)> {
    let stem = pyc.file_name().strip_suffix(".pyc")?.rsplit_once('.')?.0;
    let directory = pyc.parent().filter(|directory| directory.file_name() == "__pycache__")?.parent()?;
    let source = directory.join(&format!("{stem}.py")).ok()?;
    let content = layer.content(&source)?;
    Some((source, content))
}

fn search_entry<'n>(entry: &Entry, needles: &'n [Needle], last: &mut LastOpened) -> Result<Vec<&'n Needle>> {
    match &entry.kind {
        Kind::Directory => Ok(Vec::new()),
        Kind::Symlink(target) => {
            // A directory of one component is looked for with the slash at its end.
            let target = format!("{target}/");
            Ok(needles.iter().filter(|needle| needle.is_in(target.as_bytes())).collect())
        }
        Kind::File(Content { bytes: Bytes::Memory(bytes), .. }) => {
            Ok(needles.iter().filter(|needle| needle.is_in(bytes)).collect())
        }
        Kind::File(content) => search_file(content, needles, last),
    }
}

/// Returns the needles that are in a file; holds a chunk of it, and as much of the one before as a needle may reach back.
fn search_file<'n>(file: &Content, needles: &'n [Needle], last: &mut LastOpened) -> Result<Vec<&'n Needle>> {
    let overlap = needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(0);
    let mut wanted: Vec<&Needle> = needles.iter().collect();
    let (mut found, mut held, mut first) = (Vec::new(), Vec::with_capacity(CHUNK + overlap), true);
    let mut source = file.part(0..file.digest.size, last)?;
    while !wanted.is_empty() {
        let before = held.len();
        let read = source.by_ref().take(CHUNK as u64).read_to_end(&mut held);
        read.context(|| file.unreadable())?;
        if held.len() == before {
            break;
        }
        wanted.retain(|needle| {
            let is_in = needle.is_in_part(&held, first);
            if is_in {
                found.push(*needle);
            }
            !is_in
        });
        held.drain(..held.len().saturating_sub(overlap));
        first = false;
    }
    found.sort_by(|a, b| a.bytes.cmp(&b.bytes));
    Ok(found)
}

fn leak(path: &InstallPath, needle: &Needle, origin: &Origin, layer: Option<&Layer>) -> Error {
    let error = Error::new(format!("`{path}` names {}, `{}`", needle.what, needle.shown()))
        .cause_text(format!("the file comes from {}", origin.label));
    let distribution = layer.and_then(|layer| layer.manifest.distribution.as_ref());
    match (layer, distribution) {
        (_, Some(distribution)) if distribution.built_here => error.hint(format!(
            "`{}` was built here: if its build can't be told to use relative paths, build it in a directory that exists \
             on every machine, or pin a wheel of it",
            distribution.wheel
        )),
        (_, Some(_)) => error.note("what is made of a downloaded wheel must not name this machine: this is a bug"),
        (Some(layer), None) if layer.is_interpreter() => error.hint(
            "take an interpreter that was built elsewhere, such as an archive of python-build-standalone, or leave the \
             file's module out: `prune = [\"…\"]` below `[python]`",
        ),
        (Some(_), None) => error.hint(
            "if a command of `[build] run` wrote the file, let it write relative paths or `$PKGAPP_PREFIX`; if it is \
             yours, take the path out, or leave the file out (`exclude` of `[app]`)",
        ),
        (None, None) => error.hint("write the path that the file will have on the host"),
    }
}

/// Programs that every host has, with Debian's and RHEL's names for them.
const BASE_SYSTEM: &[&str] = &["/bin/bash", "/bin/sh", "/usr/bin/bash", "/usr/bin/env", "/usr/bin/perl", "/usr/bin/sh"];

/// Checks that everything in `bin/` has what it starts: launchers their body and the release's Python, other scripts
/// their interpreter.
///
/// # Errors
/// Every file in `bin/` that could not be run on a host.
pub fn launchers_resolve(tree: &Tree, prefix: &InstallPath, layers: &[Layer]) -> Result<()> {
    let layers: BTreeMap<&str, &Layer> = layers.iter().map(|layer| (layer.key.as_str(), layer)).collect();
    let in_release = |path: &str| ReleasePath::parse(path).ok().and_then(|path| tree.get(&prefix.join(&path)));
    let python = in_release("bin/python").is_some();
    let mut errors = Vec::new();
    for (path, entry, content) in tree.files() {
        let Some(name) = path.below(prefix).and_then(|below| below.as_str().strip_prefix("bin/").map(str::to_owned))
        else {
            continue;
        };
        // Of a layer's files it is known how they begin.
        let layer = entry.origin.layer.as_deref().and_then(|key| layers.get(key));
        let known = layer.and_then(|layer| layer.manifest.heads.get(&path.below(prefix)?));
        let head = known.map_or_else(|| head(content), |head| Ok(head.clone()))?;
        if let Some(body) = started_by(&head) {
            let missing = match (python, in_release(&format!("libexec/{body}"))) {
                (false, _) => Some("bin/python".to_owned()),
                (true, None) => Some(format!("libexec/{body}")),
                (true, Some(_)) => None,
            };
            errors.extend(missing.map(|missing| {
                Error::new(format!("`{path}` starts `{missing}`, which is not in the release"))
                    .cause_text(format!("the launcher comes from {}", entry.origin.label))
            }));
        } else if let Some(line) = head.strip_prefix("#!") {
            let interpreter = line.split(['\n', '\r']).next().unwrap_or_default().trim_start();
            let interpreter = interpreter.split([' ', '\t']).next().unwrap_or_default();
            if !interpreter_exists(tree, interpreter) {
                errors.push(
                    Error::new(format!("the script `{path}` asks for `{interpreter}`, which hosts need not have"))
                        .cause_text(format!("it comes from {}", entry.origin.label))
                        .hint(format!(
                            "if nothing calls `{name}`, remove it: `run = [\"rm bin/{name}\"]` under `[build]`"
                        )),
                );
            }
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

fn interpreter_exists(tree: &Tree, interpreter: &str) -> bool {
    let system_python = interpreter.strip_prefix("/usr/bin/python3").is_some_and(|version| {
        version.is_empty() || version.strip_prefix('.').is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit()))
    });
    system_python
        || BASE_SYSTEM.contains(&interpreter)
        || InstallPath::parse(interpreter).is_ok_and(|path| tree.get(&path).is_some())
}

/// Returns how a file begins, as far as a shebang or a launcher's mark may reach.
fn head(content: &Content) -> Result<String> {
    let mut head = Vec::new();
    content.part(0..512, &mut LastOpened::default())?.read_to_end(&mut head).context(|| content.unreadable())?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::{Bench, TestWheel};
    use crate::wheels::Wheel;

    const BUILD: &str = "/home/ci/work/shop";

    fn prefix() -> InstallPath {
        InstallPath::parse("/opt/shop").unwrap()
    }

    fn needles() -> Vec<Needle> {
        let directory = |what, path| Needle::directory(what, Path::new(path), &prefix()).unwrap();
        vec![directory("the build directory", BUILD), directory("the home directory", "/home/ci")]
    }

    /// A wheel that names the build directory in a source, in a data file, and in the byte code of the source.
    fn leaky() -> TestWheel {
        let source = format!("HERE = '{BUILD}/x'\n");
        TestWheel::new("leaky", "1.0", &[("leaky.py", source.as_bytes()), ("leaky.bin", source.as_bytes())])
    }

    fn messages(result: Result<()>) -> Vec<String> {
        match result {
            Ok(()) => Vec::new(),
            Err(error) => std::iter::once(&error).chain(error.others()).map(|e| e.message().to_owned()).collect(),
        }
    }

    fn check(bench: &Bench, layers: &[Layer]) -> Vec<String> {
        messages(leaks(&bench.tree(&prefix(), layers), &prefix(), layers, &needles(), &bench.cache))
    }

    #[test]
    fn only_what_was_made_here_can_name_this_machine() {
        let Some(bench) = Bench::new() else { return };
        let wheel = leaky();
        let downloaded = bench.install(&wheel).unwrap();
        assert_eq!(check(&bench, &[downloaded]), [""; 0]);
        let built = Wheel { built_here: true, ..wheel.wheel() };
        let built = Layer::for_wheel(&bench.builder(), &built, || Ok(wheel.open())).unwrap();
        let site = format!("/opt/shop/{}", bench.compiler.site_packages());
        let tag = bench.tag();
        let expected = [
            format!("`{site}/__pycache__/leaky.{tag}.pyc` names the build directory, `{BUILD}`"),
            format!("`{site}/leaky.bin` names the build directory, `{BUILD}`"),
            format!("`{site}/leaky.py` names the build directory, `{BUILD}`"),
        ];
        // Twice: the second time from the cache.
        assert_eq!(check(&bench, std::slice::from_ref(&built)), expected);
        assert_eq!(check(&bench, &[built]), expected);
        assert_eq!(std::fs::read_dir(bench.cache.root().join("proofs")).unwrap().count(), 2);
    }

    #[test]
    fn byte_code_that_its_source_does_not_explain_is_found() {
        let Some(bench) = Bench::new() else { return };
        let layer = bench.install(&TestWheel::new("x", "1.0", &[("x.py", b"")])).unwrap();
        let pyc = format!("{}/__pycache__/x.{}.pyc", bench.compiler.site_packages(), bench.tag());
        // As a compiler that is not told the file's name in the release would write it.
        let content = layer.content(&ReleasePath::parse(&pyc).unwrap()).unwrap();
        let crate::tree::Bytes::Disk { file, start } = &content.bytes else { panic!("{content:?}") };
        let written = format!("....{BUILD}/x.py....");
        assert!(written.len() as u64 <= content.digest.size);
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, written.as_bytes(), *start).unwrap();
        assert_eq!(check(&bench, &[layer]), [format!("`/opt/shop/{pyc}` names the build directory, `{BUILD}`")]);
    }

    #[test]
    fn application_files_and_generated_text_are_read_wherever_the_bytes_stand() {
        let Some(bench) = Bench::new() else { return };
        let root = bench.directory.path().join("source");
        let mut large = vec![b'x'; CHUNK - 5];
        large.extend(format!("\0{BUILD}\0").as_bytes());
        large.resize(3 * CHUNK, b'y');
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("large.bin"), &large).unwrap();
        std::fs::write(root.join("fine"), "/home/cicero\n/home/c").unwrap();
        std::fs::write(root.join("home"), "x=/home/ci/x").unwrap();
        let files: Vec<_> = ["large.bin", "home"].map(Into::into).to_vec();
        let layers = Layer::for_files(&bench.builder(), &root, &files).unwrap();
        let mut tree = bench.tree(&prefix(), &layers);
        let origin = Arc::new(Origin { label: "`[service.web]`".into(), layer: None });
        let mut insert = |path: &str, entry| tree.insert(InstallPath::parse(path).unwrap(), entry).unwrap();
        let unit = format!("ExecStart={BUILD}/run\n").into_bytes();
        insert("/usr/lib/systemd/system/shop.service", Entry::file(Content::memory(unit), 0o644, &origin));
        insert("/opt/shop/link", Entry::symlink(BUILD, &origin));
        let result = leaks(&tree, &prefix(), &layers, &needles(), &bench.cache);
        let text = result.as_ref().unwrap_err().to_string();
        assert_eq!(
            messages(result),
            [
                "`/opt/shop/app/home` names the home directory, `/home/ci`".to_owned(),
                format!("`/opt/shop/app/large.bin` names the build directory, `{BUILD}`"),
                format!("`/opt/shop/link` names the build directory, `{BUILD}`"),
                format!("`/usr/lib/systemd/system/shop.service` names the build directory, `{BUILD}`"),
            ]
        );
        assert!(text.contains("\n  cause: the file comes from `[service.web]`\n"), "{text}");
    }

    #[test]
    fn what_was_replaced_or_removed_later_does_not_count() {
        let Some(bench) = Bench::new() else { return };
        let root = bench.directory.path().join("source");
        bench.write(&root, "log", BUILD, 0o644);
        let layers = Layer::for_files(&bench.builder(), &root, &["log".into()]).unwrap();
        let mut tree = bench.tree(&prefix(), &layers);
        tree.remove(&InstallPath::parse("/opt/shop/app/log").unwrap());
        assert!(leaks(&tree, &prefix(), &layers, &needles(), &bench.cache).is_ok());
    }

    #[test]
    fn a_directory_of_one_component_is_found_where_a_path_begins() {
        let root = Needle::directory("home", Path::new("/root/"), &prefix()).unwrap();
        for text in ["/root/x", "a=/root/", "'/root/.netrc'", "\0/root/\0", ":/root/"] {
            assert!(root.is_in(text.as_bytes()), "{text}");
        }
        for text in ["/rooty/x", "/root", "https://x.example/root/x", "{BASE}/root/", "chroot/root/x"] {
            assert!(!root.is_in(text.as_bytes()), "{text}");
        }
        for useless in ["/", "relative", "/opt", "/opt/shop"] {
            assert_eq!(Needle::directory("x", Path::new(useless), &prefix()), None, "{useless}");
        }
        assert!(Needle::directory("x", Path::new("/opt/shop/build"), &prefix()).is_some());
    }

    #[test]
    fn a_needle_is_found_at_every_place_relative_to_a_chunk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content = |text: &[u8]| {
            std::fs::write(file.path(), text).unwrap();
            let bytes = crate::tree::Bytes::Disk { file: file.path().into(), start: 0 };
            Content { digest: crate::digest::Digest::of(text), bytes }
        };
        let common = Needle::directory("home", Path::new("/root"), &prefix()).unwrap();
        for start in CHUNK - 8..CHUNK + 3 {
            let mut text = vec![b'x'; CHUNK + 20];
            text[start..start + 6].copy_from_slice(b"/root/");
            let needles = std::slice::from_ref(&common);
            assert!(
                search_file(&content(&text), needles, &mut LastOpened::default()).unwrap().is_empty(),
                "{start}: it is in a word"
            );
            text[start - 1] = b' ';
            assert_eq!(search_file(&content(&text), needles, &mut LastOpened::default()).unwrap().len(), 1, "{start}");
        }
    }

    #[test]
    fn what_lies_in_bin_has_what_it_starts() {
        let Some(bench) = Bench::new() else { return };
        let scripts = TestWheel::new(
            "x",
            "1.0",
            &[
                ("x.py", b""),
                ("x-1.0.dist-info/entry_points.txt", b"[console_scripts]\nfine = x:y\n"),
                ("x-1.0.data/scripts/python-script", b"#!python\n"),
                ("x-1.0.data/scripts/shell", b"#! /bin/sh -e\n"),
                ("x-1.0.data/scripts/env", b"#!/usr/bin/env python3\n"),
                ("x-1.0.data/scripts/versioned", b"#!/usr/bin/python3.9\n"),
                ("x-1.0.data/scripts/own", b"#!/opt/shop/bin/python\n"),
                ("x-1.0.data/scripts/elf", b"\x7fELF"),
                ("x-1.0.data/scripts/built", b"#!/home/ci/venv/bin/python\n"),
                ("x-1.0.data/scripts/relative", b"#!bin/x\n"),
            ],
        );
        let layers = [bench.install(&scripts).unwrap()];
        let mut tree = bench.tree(&prefix(), &layers);
        assert_eq!(
            messages(launchers_resolve(&tree, &prefix(), &layers)),
            [
                "the script `/opt/shop/bin/built` asks for `/home/ci/venv/bin/python`, which hosts need not have",
                "the script `/opt/shop/bin/relative` asks for `bin/x`, which hosts need not have",
            ]
        );
        let mut remove = |path: &str| tree.remove(&InstallPath::parse(path).unwrap()).unwrap();
        remove("/opt/shop/bin/built");
        remove("/opt/shop/bin/relative");
        remove("/opt/shop/libexec/fine");
        assert_eq!(
            messages(launchers_resolve(&tree, &prefix(), &layers)),
            ["`/opt/shop/bin/fine` starts `libexec/fine`, which is not in the release"]
        );
        tree.remove(&InstallPath::parse("/opt/shop/bin/python").unwrap());
        assert_eq!(
            messages(launchers_resolve(&tree, &prefix(), &layers)),
            [
                "`/opt/shop/bin/fine` starts `bin/python`, which is not in the release",
                "the script `/opt/shop/bin/own` asks for `/opt/shop/bin/python`, which hosts need not have",
                "`/opt/shop/bin/python-script` starts `bin/python`, which is not in the release",
            ]
        );
    }
}
