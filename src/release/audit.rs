//! The audit of every build: no file contains a path of the build machine, and everything in `bin/`
//! finds the files that it starts.

mod explain;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem::Finder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::layer::{Layer, LayerEntryKind, started_by};
use crate::tree::{EntryKind, EntryOrigin, Tree, TreeEntry};
use pkgapp_core::cache::{self, Cache};
use pkgapp_core::content::Bytes;
use pkgapp_core::content::Content;
use pkgapp_core::content::LastOpened;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result};
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_wheels::BuiltFrom;

/// The version of the search, part of the key of its cached results. To be raised when the search
/// finds other paths in the same files.
const SEARCH: u32 = 4;

/// The number of bytes that the search reads at a time.
const CHUNK: usize = 1 << 20;

/// The number of bytes of a path that are shown and compared.
const LONGEST_PATH: usize = 1024;

/// The number of different paths that the search collects from a file: a file with more is data.
const MOST_PATHS: usize = 1000;

/// The number of leaks in one error.
const SHOWN_LEAKS: usize = 20;

/// The bytes of a path that would give away the build machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needle {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// A description, e.g. `the build directory`.
    pub what: String,
    /// Whether the bytes also occur inside other text, such as the path of a URL, so that the byte
    /// before must not belong to a word.
    pub common: bool,
}

impl Needle {
    /// Returns the needle for the directory `path`; `None` if the path does not give away the build
    /// machine, or if the release is below the same path on the host.
    ///
    /// `/root` or `/build` is part of much other text, so the needle of a directory with one
    /// component ends with a slash and only counts where a path may begin.
    pub fn directory(what: &str, path: &Path, prefix: &InstallPath) -> Option<Self> {
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
        Some(Self {
            bytes,
            what: what.to_owned(),
            common: components == 1,
        })
    }

    /// Returns the longest needle that matches a found path.
    fn of<'n>(text: &[u8], needles: &'n [Self]) -> Option<&'n Self> {
        needles
            .iter()
            .filter(|needle| text.starts_with(&needle.bytes))
            .max_by_key(|needle| needle.bytes.len())
    }

    /// Returns whether a text names the directory at a place, rather than another directory whose
    /// name begins or ends alike.
    fn is_at(&self, text: &[u8], place: usize) -> bool {
        let begins = !self.common
            || place
                .checked_sub(1)
                .is_none_or(|before| begins_path(text[before]));
        let continues = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        begins && (self.common || !text.get(place + self.bytes.len()).is_some_and(continues))
    }
}

/// Returns whether a path may begin after this byte.
fn begins_path(before: u8) -> bool {
    !(before.is_ascii_alphanumeric()
        || matches!(before, b'/' | b'.' | b'-' | b'_' | b'~' | b'}' | b')'))
}

/// Returns whether a byte is usually part of a path, rather than of the text around it.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"/._-+@~=".contains(&byte)
}

/// A file of a layer with the paths of the build machine in it.
#[derive(Debug, Serialize, Deserialize)]
struct Leak {
    path: ReleasePath,
    sha256: Option<Sha256Sum>,
    texts: BTreeSet<Vec<u8>>,
}

impl Leak {
    fn of(path: &ReleasePath, kind: &EntryKind, texts: BTreeSet<Vec<u8>>) -> Self {
        let sha256 = match kind {
            EntryKind::File(content) => Some(content.digest.sha256),
            EntryKind::Directory | EntryKind::Symlink(_) => None,
        };
        Self {
            path: path.clone(),
            sha256,
            texts,
        }
    }
}

/// The inputs of a release: a path that an author wrote there is not a leak.
#[derive(Debug, Default)]
pub struct AuditInputs {
    /// The sources of distributions that were built on the build machine, by the SHA-256 of the
    /// wheel.
    pub sources: BTreeMap<String, BuiltFrom>,
    /// The keys of layers that commands of `[build] run` wrote.
    pub written: BTreeSet<String>,
    /// The configuration, and the files from which it takes text.
    pub configuration: Vec<PathBuf>,
    /// The application's directory: its path is a leak even if an author wrote it, because no host
    /// has it.
    pub root: PathBuf,
}

/// Checks that no file contains a path of the build machine, and that no link leads to one.
///
/// Downloaded wheels and the application's files are as their authors wrote them, so only their
/// generated files are read. Files that were built on the build machine are compared with their
/// source, and files from `[build] run` must not contain any of `needles`. The cache keeps the
/// results for each layer.
///
/// # Errors
/// Every file with such a path, and its origin.
pub fn leaks(
    tree: &Tree,
    prefix: &InstallPath,
    layers: &[Layer],
    needles: &[Needle],
    inputs: &AuditInputs,
    cache: &Cache,
) -> Result<()> {
    let search = |layer| search_layer(layer, needles, inputs, cache);
    let found: Vec<Vec<Leak>> = layers.par_iter().map(search).collect::<Result<_>>()?;
    let mut errors = Vec::new();
    for (layer, files) in layers.iter().zip(&found) {
        // Commands such as collectstatic copy files of packages.
        let may_copy = inputs.written.contains(&layer.key);
        let is_copied = |file: &&Leak| {
            let sha256 = file.sha256.filter(|_| may_copy);
            sha256.is_some_and(|sha256| is_copy(sha256, layers, inputs))
        };
        let files = files.iter().filter(|file| !is_copied(file));
        errors.extend(files.flat_map(|file| shipped_leaks(file, layer, tree, prefix, needles)));
    }
    errors.extend(generated(tree, layers, needles, inputs)?);

    let hidden = errors.len().saturating_sub(SHOWN_LEAKS);
    errors.truncate(SHOWN_LEAKS);
    match Error::all(errors) {
        None => Ok(()),
        Some(error) if hidden > 0 => Err(error.note(format!(
            "{hidden} more files contain paths of the build machine"
        ))),
        Some(error) => Err(error),
    }
}

/// Returns an error for each needle that a layer's file contains; none if the file does not ship
/// because a later layer, or a command of `[build] run`, has replaced it.
fn shipped_leaks(
    file: &Leak,
    layer: &Layer,
    tree: &Tree,
    prefix: &InstallPath,
    needles: &[Needle],
) -> Vec<Error> {
    let path = prefix.join(&file.path);
    let entry = tree
        .get(&path)
        .filter(|entry| entry.origin.layer.as_ref() == Some(&layer.key));
    let Some(entry) = entry else {
        return Vec::new();
    };
    told(&file.texts, needles)
        .map(|named| leak(&path, named, &entry.origin, Some(layer)))
        .collect()
}

/// Searches the files that belong to no layer: units, configuration files, and the release's own
/// files.
fn generated(
    tree: &Tree,
    layers: &[Layer],
    needles: &[Needle],
    inputs: &AuditInputs,
) -> Result<Vec<Error>> {
    let mut last = LastOpened::default();
    let searched: BTreeSet<&str> = layers.iter().map(|layer| layer.key.as_str()).collect();
    let is_searched = |entry: &TreeEntry| {
        let layer = entry.origin.layer.as_deref();
        layer.is_some_and(|key| searched.contains(key))
    };
    let configuration = LazyCell::new(|| inputs.read_configuration());
    let mut errors = Vec::new();
    for (path, entry) in tree.iter().filter(|(_, entry)| !is_searched(entry)) {
        let mut texts = search_entry(entry, needles, &mut last)?;
        if !texts.is_empty() && !matches!(entry.kind, EntryKind::Symlink(_)) {
            let is_written_by_user = |text: &[u8]| {
                configuration
                    .iter()
                    .any(|source| explain::explains(source, text, needles))
            };
            texts.retain(|text| {
                text.starts_with(inputs.root.as_os_str().as_bytes()) || !is_written_by_user(text)
            });
        }
        errors.extend(told(&texts, needles).map(|named| leak(path, named, &entry.origin, None)));
    }
    Ok(errors)
}

impl AuditInputs {
    fn read_configuration(&self) -> Vec<Vec<u8>> {
        self.configuration
            .iter()
            .filter_map(|file| std::fs::read(file).ok())
            .collect()
    }
}

/// Returns whether a file has the content of a file that existed before `[build] run`.
fn is_copy(sha256: Sha256Sum, layers: &[Layer], inputs: &AuditInputs) -> bool {
    let before = layers
        .iter()
        .filter(|layer| !inputs.written.contains(&layer.key));
    before
        .flat_map(|layer| &layer.manifest.entries)
        .any(|entry| matches!(&entry.kind, LayerEntryKind::File { digest, .. } if digest.sha256 == sha256))
}

/// Returns the first path for each needle.
fn told<'n>(
    texts: &BTreeSet<Vec<u8>>,
    needles: &'n [Needle],
) -> impl Iterator<Item = (&'n Needle, Vec<u8>)> {
    let mut named: BTreeMap<&[u8], (&Needle, Vec<u8>)> = BTreeMap::new();
    for text in texts {
        let Some(needle) = Needle::of(text, needles) else {
            continue;
        };
        named
            .entry(&needle.bytes)
            .or_insert_with(|| (needle, text.clone()));
    }
    named.into_values()
}

/// The files of a layer that may contain paths of the build machine.
enum AuditScope<'a> {
    /// Generated files: byte code and launchers.
    MadeHere,
    /// All files.
    All,
    /// All files, except for paths in their source.
    Built(&'a BuiltFrom),
}

impl<'a> AuditScope<'a> {
    fn of(layer: &Layer, inputs: &'a AuditInputs) -> Self {
        match &layer.manifest.distribution {
            Some(distribution) if !distribution.built_here => Self::MadeHere,
            Some(distribution) => inputs
                .sources
                .get(&distribution.sha256)
                .map_or(Self::All, Self::Built),
            None if inputs.written.contains(&layer.key) || layer.is_interpreter() => Self::All,
            None => Self::MadeHere,
        }
    }

    fn key(&self) -> String {
        match self {
            Self::MadeHere => "made here".to_owned(),
            Self::All => "all".to_owned(),
            Self::Built(source) => format!("built from {}", source.key),
        }
    }
}

/// Returns the leaks in a layer's files, from the cache or by searching them.
fn search_layer(
    layer: &Layer,
    needles: &[Needle],
    inputs: &AuditInputs,
    cache: &Cache,
) -> Result<Vec<Leak>> {
    let scope = AuditScope::of(layer, inputs);
    // The source of the standard library contains `/tmp/` on every machine, so only longer needles
    // count there.
    let needles: Vec<Needle> = needles
        .iter()
        .filter(|needle| !(needle.common && layer.is_interpreter()))
        .cloned()
        .collect();
    let needles = &needles[..];
    let key = search_key(layer, &scope, needles);
    let kept = cache.proofs().join(format!("{key}.json"));
    if let Some(found) = cache::read_sealed(&kept) {
        return Ok(found);
    }
    let mut found = search_layer_files(layer, needles, &scope)?;
    if let AuditScope::Built(source) = scope
        && !found.is_empty()
    {
        let failed = || format!("cannot compare {} with its source", layer.label);
        explain::remove_explained(&mut found, source, needles, cache)
            .map_err(|error| error.context(failed()))?;
    }
    cache.write(&kept, &found)?;
    Ok(found)
}

/// Returns the name of the cached result of a search.
fn search_key(layer: &Layer, scope: &AuditScope<'_>, needles: &[Needle]) -> String {
    let mut key = Sha256::new();
    key.update(format!(
        "search {SEARCH}\nlayer {}\nscope {}\n",
        layer.key,
        scope.key()
    ));
    for needle in needles {
        key.update(format!(
            "{} {}\n",
            needle.common,
            hex::encode(&needle.bytes)
        ));
    }
    hex::encode(key.finalize())
}

fn search_layer_files(
    layer: &Layer,
    needles: &[Needle],
    scope: &AuditScope<'_>,
) -> Result<Vec<Leak>> {
    let made_here: BTreeSet<&ReleasePath> = layer.manifest.made_here.iter().collect();
    let origin = Arc::new(EntryOrigin {
        label: layer.label.clone(),
        layer: Some(layer.key.clone()),
    });
    let (mut all, mut last) = (Vec::new(), LastOpened::default());
    for (path, entry) in layer.entries(&origin) {
        let is_file = matches!(entry.kind, EntryKind::File(_));
        if matches!(scope, AuditScope::MadeHere) && is_file && !made_here.contains(path) {
            continue;
        }
        let mut texts = search_entry(&entry, needles, &mut last)?;
        if texts.is_empty() {
            continue;
        }
        if is_of_npm(path, &entry)? {
            texts.retain(|text| Needle::of(text, needles).is_none_or(|needle| !needle.common));
        }
        // A constant of a source, e.g. the default `/root/.netrc`, is in its byte code, too.
        if !texts.is_empty()
            && let Some((source_path, source)) = source_of(layer, path)
            && !made_here.contains(&source_path)
        {
            let in_source = search_content(&source, needles, &mut last)?;
            remove_known(&mut texts, &in_source, needles);
        }

        if !texts.is_empty() {
            all.push(Leak::of(path, &entry.kind, texts));
        }
    }
    Ok(all)
}

/// Removes the paths whose needles also match `known` paths.
fn remove_known(texts: &mut BTreeSet<Vec<u8>>, known: &BTreeSet<Vec<u8>>, needles: &[Needle]) {
    let known: BTreeSet<_> = known
        .iter()
        .filter_map(|text| Needle::of(text, needles))
        .collect();
    texts.retain(|text| Needle::of(text, needles).is_none_or(|needle| !known.contains(needle)));
}

/// Returns whether npm installed a file unchanged: there, `/tmp/x.png` and `/root/path/to` are
/// examples in a manual, or paths of the machine that compiled the file. Files that are compiled on
/// the build machine are below `build/`, where node-gyp writes.
fn is_of_npm(path: &ReleasePath, entry: &TreeEntry) -> Result<bool> {
    let (EntryKind::File(content), Some((_, inside))) =
        (&entry.kind, path.as_str().rsplit_once("/node_modules/"))
    else {
        return Ok(false);
    };
    Ok(!inside.split('/').any(|name| name == "build") || !head(content)?.contains('\0'))
}

/// Returns the source of a file of byte code (PEP 3147).
fn source_of(layer: &Layer, pyc: &ReleasePath) -> Option<(ReleasePath, Content)> {
    let stem = pyc.file_name().strip_suffix(".pyc")?.rsplit_once('.')?.0;
    let directory = pyc
        .parent()
        .filter(|directory| directory.file_name() == "__pycache__")?
        .parent()?;
    let source = directory.join(&format!("{stem}.py")).ok()?;
    let content = layer.content(&source)?;
    Some((source, content))
}

fn search_entry(
    entry: &TreeEntry,
    needles: &[Needle],
    last: &mut LastOpened,
) -> Result<BTreeSet<Vec<u8>>> {
    match &entry.kind {
        EntryKind::Directory => Ok(BTreeSet::new()),
        EntryKind::Symlink(target) => {
            // The needle of a directory with one component ends with a slash.
            let target = format!("{target}/");
            search(target.as_bytes(), needles, || {
                Error::bug("text in memory can be read")
            })
        }
        EntryKind::File(content) => search_content(content, needles, last),
    }
}

fn search_content(
    file: &Content,
    needles: &[Needle],
    last: &mut LastOpened,
) -> Result<BTreeSet<Vec<u8>>> {
    match &file.bytes {
        Bytes::Memory(bytes) => search(&bytes[..], needles, || Error::new(file.unreadable())),
        Bytes::Disk { .. } => search(file.part(0..file.digest.size, last)?, needles, || {
            Error::new(file.unreadable())
        }),
    }
}

/// Returns the paths of the build machine in a text. Keeps one chunk in memory at a time, and the
/// end of the previous chunk, where a path may begin.
fn search(
    mut text: impl Read,
    needles: &[Needle],
    unreadable: impl Fn() -> Error,
) -> Result<BTreeSet<Vec<u8>>> {
    let longest = needles.iter().map(|needle| needle.bytes.len()).max();
    let reach = longest.unwrap_or(0) + LONGEST_PATH;
    let finders: Vec<(&Needle, Finder<'_>)> = needles
        .iter()
        .map(|needle| (needle, Finder::new(&needle.bytes)))
        .collect();
    let (mut found, mut held, mut from) = (BTreeSet::new(), Vec::with_capacity(CHUNK + reach), 0);
    loop {
        let before = held.len();
        let read = text.by_ref().take(CHUNK as u64).read_to_end(&mut held);
        read.map_err(|cause| unreadable().cause(cause))?;
        let is_last = held.len() == before;
        // A path that may continue in the next chunk is found together with that chunk.
        let until = if is_last {
            held.len()
        } else {
            held.len().saturating_sub(reach).max(from)
        };
        find_paths(&held, from..until, &finders, &mut found);
        if is_last {
            return Ok(found);
        }
        // Keeps the byte before, which decides whether a path begins.
        let done = until.saturating_sub(1);
        held.drain(..done);
        from = until - done;
    }
}

/// Adds the paths that begin with a needle in a range of a text to `found`, up to [`MOST_PATHS`].
fn find_paths(
    text: &[u8],
    range: Range<usize>,
    finders: &[(&Needle, Finder<'_>)],
    found: &mut BTreeSet<Vec<u8>>,
) {
    for (needle, finder) in finders {
        let places = finder
            .find_iter(text)
            .filter(|place| range.contains(place) && needle.is_at(text, *place));
        for place in places {
            if found.len() < MOST_PATHS {
                found.insert(path_at(text, place, needle).to_vec());
            }
        }
    }
}

/// Returns the path that begins with a needle at a place of a text.
fn path_at<'t>(text: &'t [u8], place: usize, needle: &Needle) -> &'t [u8] {
    let end = place + needle.bytes.len();
    let length = text[end..]
        .iter()
        .take(LONGEST_PATH)
        .take_while(|byte| is_of_path(**byte))
        .count();
    &text[place..end + length]
}

fn leak(
    path: &InstallPath,
    named: (&Needle, Vec<u8>),
    origin: &EntryOrigin,
    layer: Option<&Layer>,
) -> Error {
    let (needle, text) = named;
    let distribution = layer.and_then(|layer| layer.manifest.distribution.as_ref());
    // The rest of a path from a command of `[build] run` differs in every build.
    let text = if layer.is_some() && distribution.is_none() {
        &needle.bytes
    } else {
        &text
    };
    let error = Error::new(format!(
        "`{path}` contains the path of {}, `{}`",
        needle.what,
        String::from_utf8_lossy(text)
    ))
    .cause_text(format!("the file comes from {}", origin.label));
    match (layer, distribution) {
        (_, Some(distribution)) if distribution.built_here => error
            .note(format!("`{}` was built on this machine, and its source does not contain this path", distribution.wheel))
            .hint(format!(
                "pin a wheel of `{}`, or build it with an interpreter and tools below `/usr` or `/opt`; if no program needs \
                 the file, remove it with a command of `[build] run`",
                distribution.name
            )),
        (_, Some(_)) => error.note("this is a bug: pkgapp wrote the path into a file of a downloaded wheel"),
        (Some(layer), None) if layer.is_interpreter() => error.hint(
            "use an interpreter that was built elsewhere, such as an archive of python-build-standalone, or omit the \
             module of the file: `prune = [\"…\"]` below `[python]`",
        ),
        (Some(_), None) => error.hint(
            "use relative paths or `$PKGAPP_PREFIX` in the command of `[build] run` that writes the file, or remove the \
             file in a later command",
        ),
        (None, None) => error.hint("write the path that the file will have on the host"),
    }
}

/// Programs that exist on every host, with their paths in Debian and RHEL.
const BASE_SYSTEM: &[&str] = &[
    "/bin/bash",
    "/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/env",
    "/usr/bin/perl",
    "/usr/bin/sh",
];

/// Checks that everything in `bin/` finds the files that it starts: launchers their body and the
/// release's Python, and other scripts their interpreter.
///
/// # Errors
/// Every file in `bin/` that could not run on a host.
pub fn launchers_resolve(tree: &Tree, prefix: &InstallPath, layers: &[Layer]) -> Result<()> {
    let layers: BTreeMap<&str, &Layer> = layers
        .iter()
        .map(|layer| (layer.key.as_str(), layer))
        .collect();
    let mut errors = Vec::new();
    for (path, entry, content) in tree.files() {
        let below = path.below(prefix);
        let Some(below) = below.filter(|below| below.as_str().starts_with("bin/")) else {
            continue;
        };
        // A layer's manifest has the beginnings of its files.
        let layer = entry
            .origin
            .layer
            .as_deref()
            .and_then(|key| layers.get(key));
        let known = layer.and_then(|layer| layer.manifest.heads.get(&below));
        let head = known.map_or_else(|| head(content), |head| Ok(head.clone()))?;
        errors.extend(
            unresolved(tree, prefix, &below, &head).map(|error| {
                error.cause_text(format!("the file comes from {}", entry.origin.label))
            }),
        );
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// Returns an error if a file in `bin/` that begins with `head` starts a file that is missing.
fn unresolved(tree: &Tree, prefix: &InstallPath, below: &ReleasePath, head: &str) -> Option<Error> {
    let is_missing = |path: &&str| {
        let path = ReleasePath::parse(path);
        !path.is_ok_and(|path| tree.get(&prefix.join(&path)).is_some())
    };
    let path = prefix.join(below);
    if let Some(body) = started_by(head) {
        let body = format!("libexec/{body}");
        let missing = ["bin/python", &body].into_iter().find(is_missing)?;
        return Some(Error::new(format!(
            "`{path}` starts `{missing}`, which is not in the release"
        )));
    }

    let interpreter = interpreter_of(head)?;
    (!interpreter_exists(tree, interpreter)).then(|| {
        Error::new(format!(
            "the script `{path}` needs `{interpreter}`, which hosts may lack"
        ))
        .hint(format!(
            "if nothing calls `{below}`, remove it: `run = [\"rm {below}\"]` under `[build]`"
        ))
    })
}

/// Returns the interpreter in the first line of a script.
fn interpreter_of(head: &str) -> Option<&str> {
    let line = head.strip_prefix("#!")?;
    let line = line.split(['\n', '\r']).next()?.trim_start();
    line.split([' ', '\t']).next()
}

fn interpreter_exists(tree: &Tree, interpreter: &str) -> bool {
    let system_python = interpreter
        .strip_prefix("/usr/bin/python3")
        .is_some_and(|version| {
            version.is_empty()
                || version
                    .strip_prefix('.')
                    .is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit()))
        });
    system_python
        || BASE_SYSTEM.contains(&interpreter)
        || InstallPath::parse(interpreter).is_ok_and(|path| tree.get(&path).is_some())
}

/// Returns the beginning of a file, long enough for a shebang or the mark of a launcher.
fn head(content: &Content) -> Result<String> {
    let mut head = Vec::new();
    content
        .part(0..512, &mut LastOpened::default())?
        .read_to_end(&mut head)
        .context(|| content.unreadable())?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::{Bench, OBJECT_FILE, TestWheel};
    use pkgapp_wheels::Wheel;

    const BUILD: &str = "/home/ci/work/shop";

    fn prefix() -> InstallPath {
        InstallPath::parse("/opt/shop").unwrap()
    }

    fn needles() -> Vec<Needle> {
        let directory = |what, path| Needle::directory(what, Path::new(path), &prefix()).unwrap();
        vec![
            directory("the build directory", BUILD),
            directory("the home directory", "/home/ci"),
        ]
    }

    /// A wheel that names the build directory in a source, in a data file, and in the byte code of
    /// the source.
    fn leaky() -> TestWheel {
        let source = format!("HERE = '{BUILD}/x'\n");
        TestWheel::new(
            "leaky",
            "1.0",
            &[
                ("leaky.py", source.as_bytes()),
                ("leaky.bin", source.as_bytes()),
            ],
        )
    }

    fn messages(result: Result<()>) -> Vec<String> {
        match result {
            Ok(()) => Vec::new(),
            Err(error) => std::iter::once(&error)
                .chain(error.others())
                .map(|e| e.message().to_owned())
                .collect(),
        }
    }

    fn check(bench: &Bench, layers: &[Layer]) -> Vec<String> {
        messages(leaks(
            &bench.tree(&prefix(), layers),
            &prefix(),
            layers,
            &needles(),
            &AuditInputs::default(),
            &bench.cache,
        ))
    }

    #[test]
    fn only_what_was_made_here_can_name_this_machine() {
        let Some(bench) = Bench::new() else { return };
        let wheel = leaky();
        let downloaded = bench.install(&wheel).unwrap();
        assert_eq!(check(&bench, &[downloaded]), [""; 0]);
        let built_from = Some(BuiltFrom {
            path: "/gone".into(),
            key: "x".into(),
        });
        let built = Wheel {
            built_from,
            ..wheel.wheel()
        };
        let built = Layer::for_wheel(&bench.builder(), &built, || Ok(wheel.open())).unwrap();
        let site = format!("/opt/shop/{}", bench.compiler.site_packages());
        let expected = [
            format!("`{site}/leaky.bin` contains the path of the build directory, `{BUILD}/x`"),
            format!("`{site}/leaky.py` contains the path of the build directory, `{BUILD}/x`"),
        ];
        // Twice: the second time from the cache.
        assert_eq!(check(&bench, std::slice::from_ref(&built)), expected);
        assert_eq!(check(&bench, &[built]), expected);
        assert_eq!(
            std::fs::read_dir(bench.cache.root().join("proofs"))
                .unwrap()
                .count(),
            2
        );
    }

    #[test]
    fn byte_code_that_its_source_does_not_explain_is_found() {
        let Some(bench) = Bench::new() else { return };
        let layer = bench
            .install(&TestWheel::new("x", "1.0", &[("x.py", b"")]))
            .unwrap();
        let pyc = format!(
            "{}/__pycache__/x.{}.pyc",
            bench.compiler.site_packages(),
            bench.tag()
        );
        // As a compiler that is not told the file's name in the release would write it.
        let content = layer.content(&ReleasePath::parse(&pyc).unwrap()).unwrap();
        let pkgapp_core::content::Bytes::Disk { file, start } = &content.bytes else {
            panic!("{content:?}")
        };
        let written = format!("....{BUILD}/x.py....");
        assert!(written.len() as u64 <= content.digest.size);
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, written.as_bytes(), *start).unwrap();
        assert_eq!(
            check(&bench, &[layer]),
            [format!(
                "`/opt/shop/{pyc}` contains the path of the build directory, `{BUILD}/x.py....`"
            )]
        );
    }

    #[test]
    fn what_commands_wrote_and_generated_text_are_read_wherever_the_bytes_stand() {
        let Some(bench) = Bench::new() else { return };
        let root = bench.directory.path().join("source");
        let mut large = vec![b'x'; CHUNK - 5];
        large.extend(format!("\0{BUILD}\0").as_bytes());
        large.resize(3 * CHUNK, b'y');
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("large.bin"), &large).unwrap();
        std::fs::write(root.join("fine"), "/home/cicero\n/home/c").unwrap();
        std::fs::write(root.join("home"), "x=/home/ci/x").unwrap();
        let files: Vec<_> = ["large.bin", "home", "fine"].map(Into::into).to_vec();
        let layers = Layer::for_files(&bench.builder(), &root, &files).unwrap();
        let mut tree = bench.tree(&prefix(), &layers);
        let origin = Arc::new(EntryOrigin {
            label: "`[service.web]`".into(),
            layer: None,
        });
        let mut insert = |path: &str, entry| {
            tree.insert(InstallPath::parse(path).unwrap(), entry)
                .unwrap();
        };
        let unit = format!("ExecStart={BUILD}/run\nEnvironment=HOME=/home/ci/data\n").into_bytes();
        insert(
            "/usr/lib/systemd/system/shop.service",
            TreeEntry::file(Content::memory(unit), 0o644, &origin),
        );
        insert("/opt/shop/link", TreeEntry::symlink(BUILD, &origin));
        // An author may write what looks so, also into the configuration, but for the directory
        // that no host has.
        let file = bench.directory.path().join("pkgapp.toml");
        std::fs::write(
            &file,
            format!("exec = '{BUILD}/run'\nenv = {{ HOME = \"/home/ci/data\" }}\n"),
        )
        .unwrap();
        let text = AuditInputs {
            configuration: vec![file],
            root: BUILD.into(),
            ..AuditInputs::default()
        };
        let strict = AuditInputs {
            written: layers.iter().map(|layer| layer.key.clone()).collect(),
            ..AuditInputs::default()
        };
        let link = format!("`/opt/shop/link` contains the path of the build directory, `{BUILD}/`");
        let unit = |text: &str| {
            format!("`/usr/lib/systemd/system/shop.service` contains the path of {text}`")
        };
        let result = leaks(&tree, &prefix(), &layers, &needles(), &text, &bench.cache);
        let error = result.as_ref().unwrap_err().to_string();
        assert!(
            error.contains("\n  cause: the file comes from `[service.web]`\n"),
            "{error}"
        );
        assert_eq!(
            messages(result),
            [
                link.clone(),
                unit(&format!("the build directory, `{BUILD}/run"))
            ]
        );
        assert_eq!(
            messages(leaks(
                &tree,
                &prefix(),
                &layers,
                &needles(),
                &strict,
                &bench.cache
            )),
            [
                "`/opt/shop/app/home` contains the path of the home directory, `/home/ci`"
                    .to_owned(),
                format!(
                    "`/opt/shop/app/large.bin` contains the path of the build directory, `{BUILD}`"
                ),
                link,
                unit("the home directory, `/home/ci/data"),
                unit(&format!("the build directory, `{BUILD}/run")),
            ]
        );
    }

    #[test]
    fn a_source_explains_its_files_and_the_paths_that_it_names() {
        let needles = needles();
        let source = br#"LOG = "/home/ci/x.log"; open("/home/ci/" "data/y")"#;
        for text in ["/home/ci/x.log", "/home/ci/data/y", "/home/ci/"] {
            assert!(
                explain::explains(source, text.as_bytes(), &needles),
                "{text}"
            );
        }
        for text in [
            "/home/ci/x.log.1",
            "/home/ci/data/z",
            "/home/ci/.pyenv/Python.h",
            BUILD,
        ] {
            assert!(
                !explain::explains(source, text.as_bytes(), &needles),
                "{text}"
            );
        }
        let Some(bench) = Bench::new() else { return };
        let project = bench.directory.path().join("project");
        let data = "/home/ci/data /home/ci/elsewhere";
        bench.write(&project, "x.c", r#"char *log = "/home/ci/x.log";"#, 0o644);
        bench.write(&project, "src/data.txt", data, 0o644);
        let made = [
            ("x.so", &b"\0/home/ci/x.log\0/home/ci/.pyenv/object.h\0"[..]),
            ("fine.so", b"\0/home/ci/x.log\0"),
            ("data.txt", data.as_bytes()),
            // npm brings what its authors wrote; a compiler is started there too.
            ("x/node_modules/glob/README.md", b"e.g. /tmp/x.png"),
            (
                "x/node_modules/glob/package.json",
                b"\"_where\": \"/home/ci/.npm\"",
            ),
            (
                "x/node_modules/glob/linux.node",
                &[OBJECT_FILE, b"/tmp/ci/a.c\0"].concat(),
            ),
            (
                "x/node_modules/glob/build/Release/glob.node",
                &[OBJECT_FILE, b"/tmp/node-gyp/a.c\0"].concat(),
            ),
        ];
        let built_from = BuiltFrom {
            path: project.clone(),
            key: "x".into(),
        };
        let (wheel, test) = (
            TestWheel::new("x", "1.0", &made),
            TestWheel::new("x", "1.0", &made),
        );
        let wheel = Wheel {
            built_from: Some(built_from.clone()),
            ..wheel.wheel()
        };
        let layers = [Layer::for_wheel(&bench.builder(), &wheel, || Ok(test.open())).unwrap()];
        let sources = BTreeMap::from([(wheel.sha256.to_string(), built_from)]);
        let inputs = AuditInputs {
            sources,
            ..AuditInputs::default()
        };
        let tree = bench.tree(&prefix(), &layers);
        let site = format!("/opt/shop/{}", bench.compiler.site_packages());
        let temporary =
            Needle::directory("the temporary directory", Path::new("/tmp"), &prefix()).unwrap();
        let needles = [needles, vec![temporary]].concat();
        assert_eq!(
            messages(leaks(
                &tree,
                &prefix(),
                &layers,
                &needles,
                &inputs,
                &bench.cache
            )),
            [
                format!(
                    "`{site}/x.so` contains the path of the home directory, `/home/ci/.pyenv/object.h`"
                ),
                format!(
                    "`{site}/x/node_modules/glob/build/Release/glob.node` contains the path of the temporary directory, `/tmp/node-gyp/a.c`"
                ),
                format!(
                    "`{site}/x/node_modules/glob/package.json` contains the path of the home directory, `/home/ci/.npm`"
                ),
            ]
        );
    }

    #[test]
    fn what_was_replaced_or_removed_later_does_not_count() {
        let Some(bench) = Bench::new() else { return };
        let root = bench.directory.path().join("source");
        bench.write(&root, "log", BUILD, 0o644);
        let layers = Layer::for_files(&bench.builder(), &root, &["log".into()]).unwrap();
        let mut tree = bench.tree(&prefix(), &layers);
        tree.remove(&InstallPath::parse("/opt/shop/app/log").unwrap());
        let written = layers.iter().map(|layer| layer.key.clone()).collect();
        let inputs = AuditInputs {
            written,
            ..AuditInputs::default()
        };
        assert!(leaks(&tree, &prefix(), &layers, &needles(), &inputs, &bench.cache).is_ok());
    }

    #[test]
    fn a_directory_of_one_component_is_found_where_a_path_begins() {
        let root = [Needle::directory("home", Path::new("/root/"), &prefix()).unwrap()];
        let found = |text: &str| {
            search(text.as_bytes(), &root, || Error::bug("memory"))
                .unwrap()
                .len()
        };
        for text in [
            "/root/x",
            "a=/root/",
            "'/root/.netrc'",
            "\0/root/\0",
            ":/root/",
        ] {
            assert_eq!(found(text), 1, "{text}");
        }
        for text in [
            "/rooty/x",
            "/root",
            "https://x.example/root/x",
            "{BASE}/root/",
            "chroot/root/x",
        ] {
            assert_eq!(found(text), 0, "{text}");
        }
        for useless in ["/", "relative", "/opt", "/opt/shop"] {
            assert_eq!(
                Needle::directory("x", Path::new(useless), &prefix()),
                None,
                "{useless}"
            );
        }
        assert!(Needle::directory("x", Path::new("/opt/shop/build"), &prefix()).is_some());
    }

    #[test]
    fn a_path_is_found_whole_at_every_place_relative_to_a_chunk() {
        let needles = [Needle::directory("home", Path::new("/root"), &prefix()).unwrap()];
        let reach = needles[0].bytes.len() + LONGEST_PATH;
        for start in (CHUNK - 12..CHUNK + 3).chain(CHUNK - reach - 3..CHUNK - reach + 3) {
            let mut text = vec![b' '; CHUNK + 20];
            text[start..start + 11].copy_from_slice(b"/root/a/b/c");
            let found = |text: &[u8]| search(text, &needles, || Error::bug("memory")).unwrap();
            assert_eq!(
                found(&text),
                BTreeSet::from([b"/root/a/b/c".to_vec()]),
                "{start}"
            );
            text[start - 1] = b'x';
            assert!(found(&text).is_empty(), "{start}: it is in a word");
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
                (
                    "x-1.0.dist-info/entry_points.txt",
                    b"[console_scripts]\nfine = x:y\n",
                ),
                ("x-1.0.data/scripts/python-script", b"#!python\n"),
                ("x-1.0.data/scripts/shell", b"#! /bin/sh -e\n"),
                ("x-1.0.data/scripts/env", b"#!/usr/bin/env python3\n"),
                ("x-1.0.data/scripts/versioned", b"#!/usr/bin/python3.9\n"),
                ("x-1.0.data/scripts/own", b"#!/opt/shop/bin/python\n"),
                ("x-1.0.data/scripts/elf", OBJECT_FILE),
                ("x-1.0.data/scripts/built", b"#!/home/ci/venv/bin/python\n"),
                ("x-1.0.data/scripts/relative", b"#!bin/x\n"),
            ],
        );
        let layers = [bench.install(&scripts).unwrap()];
        let mut tree = bench.tree(&prefix(), &layers);
        assert_eq!(
            messages(launchers_resolve(&tree, &prefix(), &layers)),
            [
                "the script `/opt/shop/bin/built` needs `/home/ci/venv/bin/python`, which hosts may lack",
                "the script `/opt/shop/bin/relative` needs `bin/x`, which hosts may lack",
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
                "the script `/opt/shop/bin/own` needs `/opt/shop/bin/python`, which hosts may lack",
                "`/opt/shop/bin/python-script` starts `bin/python`, which is not in the release",
            ]
        );
    }
}
