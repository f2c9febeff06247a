//! A layer while it is made: its files go to a temporary directory of the cache and are hashed on their way, and the
//! whole is renamed into place when it is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::bytecode::Isolation;
use super::{
    Builder, ByteCompiler, CHECKED, Distribution, ElfFile, FILES, Layer, LayerEntry, LayerEntryKind, MANIFEST, Manifest,
};
use crate::cache::{self, Cache, Claim};
use crate::digest::{Digest, DigestWriter};
use crate::error::{Context, Error, Result, shown};
use crate::path::ReleasePath;
use crate::prune::{Contents, Prune, Pruned};

/// Counts changes of what the same source compiles to: part of the names of kept byte code.
const BYTE_CODE: &str = "pkgapp byte code 1";

/// How much of a file in `bin/` is kept, bytes.
const HEAD: usize = 512;

/// How a compiled file begins (System V ABI, "ELF Identification").
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Whose bytes a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// Taken as they are.
    Elsewhere,
    /// Made by this build.
    Here,
}

/// What byte code is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The layer: it does not change.
    Layer,
    /// The source: others of the layer will change, and this one stays.
    Source,
}

impl Kept {
    /// As a layer's key has it: the two may give different bytes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Source => "source",
        }
    }
}

/// What a layer begins as.
pub(crate) enum Begun<'a> {
    /// It is there.
    Made(Box<Layer>),
    /// It has to be made.
    Empty(Assembly<'a>),
}

/// A layer's files on their way into the cache.
pub(crate) struct Assembly<'a> {
    builder: &'a Builder<'a>,
    directory: Claim,
    entries: BTreeMap<ReleasePath, LayerEntry>,
    elf: Vec<ElfFile>,
    uncompiled: Vec<ReleasePath>,
    made_here: BTreeSet<ReleasePath>,
    heads: BTreeMap<ReleasePath, String>,
    pruned: Box<Pruned>,
}

impl<'a> Assembly<'a> {
    /// Begins an empty layer, or returns the one that is there: another process may be making it, and is waited for.
    pub(crate) fn begin(builder: &'a Builder<'a>, key: &str, label: &str) -> Result<Begun<'a>> {
        let directory = builder.cache.claim(&format!("layer-{key}"))?;
        if let Some(layer) = Layer::open(builder.cache, key, label) {
            return Ok(Begun::Made(Box::new(layer)));
        }
        fs::create_dir(directory.path().join(FILES)).context(|| "cannot begin a layer")?;
        Ok(Begun::Empty(Self {
            builder,
            directory,
            entries: BTreeMap::new(),
            elf: Vec::new(),
            uncompiled: Vec::new(),
            made_here: BTreeSet::new(),
            heads: BTreeMap::new(),
            pruned: Box::default(),
        }))
    }

    /// What its byte code is made by.
    pub(crate) fn compiler(&self) -> &'a ByteCompiler {
        self.builder.compiler
    }

    /// What is left out.
    pub(crate) fn pruning(&self) -> &'a Prune {
        self.builder.prune
    }

    /// The paths so far.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &ReleasePath> {
        self.entries.keys()
    }

    /// The regular files so far.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&ReleasePath, &Digest)> {
        self.entries.iter().filter_map(|(path, entry)| match &entry.kind {
            LayerEntryKind::File { digest } => Some((path, digest)),
            LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => None,
        })
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The path is there already or lies below a file; or the content can't be read or written.
    pub(crate) fn file(&mut self, path: ReleasePath, mode: u32, made: Made, content: impl Read) -> Result<Digest> {
        self.check_vacant(&path)?;
        let target = self.place(&path);
        let kept = if path.as_str().starts_with("bin/") { HEAD } else { ELF_MAGIC.len() };
        let (digest, head) =
            write(&target, mode, content, kept).map_err(|error| error.context(format!("cannot add `{path}`")))?;
        self.entries
            .insert(path.clone(), LayerEntry { path: path.clone(), mode, kind: LayerEntryKind::File { digest } });
        if kept == HEAD {
            self.heads.insert(path.clone(), String::from_utf8_lossy(&head).into_owned());
        }
        if head.starts_with(ELF_MAGIC) {
            self.elf.extend((self.builder.elf)(&path, &target)?);
        }
        if made == Made::Here {
            self.made_here.insert(path);
        }
        Ok(digest)
    }

    /// Adds a symbolic link; it exists in the manifest only, so that nothing is ever written through it.
    pub(crate) fn symlink(&mut self, path: ReleasePath, target: String) -> Result<()> {
        self.check_vacant(&path)?;
        let kind = LayerEntryKind::Symlink { target };
        self.entries.insert(path.clone(), LayerEntry { path, mode: 0o777, kind });
        Ok(())
    }

    /// Adds a directory, which may be there already.
    pub(crate) fn directory(&mut self, path: &ReleasePath) -> Result<()> {
        match self.entries.get(path).map(|entry| &entry.kind) {
            Some(LayerEntryKind::Directory) => return Ok(()),
            Some(_) => return Err(Error::new(format!("`{path}` is a file, and a directory of other files"))),
            None => {}
        }
        if let Some(parent) = path.parent() {
            self.directory(&parent)?;
        }
        let place = self.place(path);
        fs::create_dir(&place).context(|| format!("cannot add `{path}`"))?;
        self.entries
            .insert(path.clone(), LayerEntry { path: path.clone(), mode: 0o755, kind: LayerEntryKind::Directory });
        Ok(())
    }

    /// Takes a file out again.
    pub(crate) fn remove_file(&mut self, path: &ReleasePath) -> Result<()> {
        if self.entries.remove(path).is_some() {
            fs::remove_file(self.place(path)).context(|| format!("cannot take `{path}` out"))?;
            self.made_here.remove(path);
            self.heads.remove(path);
            self.elf.retain(|elf| elf.path != *path);
        }
        Ok(())
    }

    /// Takes out what the release can do without.
    ///
    /// # Errors
    /// A file that can't be read or removed.
    pub(crate) fn prune(&mut self, prune: &Prune, site_packages: &str) -> Result<()> {
        let files = self.files().map(|(path, digest)| (path.clone(), digest.size)).collect();
        let read = |path: &ReleasePath| crate::fs::read(&self.place(path));
        let (gone, pruned) = prune.plan(&Contents { site_packages, files: &files, read: &read })?;
        for path in gone.keys() {
            self.remove_file(path)?;
        }
        *self.pruned = pruned;
        self.remove_empty_directories()
    }

    /// A wheel has no directories of its own: those without files are left over.
    fn remove_empty_directories(&mut self) -> Result<()> {
        let is_directory = |entry: &LayerEntry| matches!(entry.kind, LayerEntryKind::Directory);
        let others = self.entries.values().filter(|entry| !is_directory(entry));
        let mut used: BTreeSet<ReleasePath> = BTreeSet::new();
        for path in others.map(|entry| &entry.path) {
            used.extend(std::iter::successors(path.parent(), ReleasePath::parent));
        }
        let empty = self.entries.values().filter(|entry| is_directory(entry) && !used.contains(&entry.path));
        let empty: Vec<ReleasePath> = empty.map(|entry| entry.path.clone()).collect();
        // What lies in a directory comes after it.
        for path in empty.iter().rev() {
            fs::remove_dir(self.place(path)).context(|| format!("cannot take `{path}` out"))?;
            self.entries.remove(path);
        }
        Ok(())
    }

    /// Adds byte code for every Python source that an import may find: below site-packages and `app/`.
    pub(crate) fn compile(&mut self, kept: Kept) -> Result<()> {
        let compiler: &ByteCompiler = self.builder.compiler;
        if !compiler.compiles_here() {
            return Ok(());
        }
        let (cache, root) = (self.builder.cache, self.directory.path().join(FILES));
        let sources = self.files().filter(|(path, _)| compiler.compiles(path));
        let sources: BTreeMap<ReleasePath, Digest> = sources.map(|(path, digest)| (path.clone(), *digest)).collect();
        let kept_as = |path: &ReleasePath| {
            let source = sources.get(path).map(|digest| digest.sha256.to_string()).unwrap_or_default();
            let key = cache::key([BYTE_CODE, compiler.identity(), path.as_str(), &source]);
            cache.bytecode().join(format!("{key}.pyc"))
        };
        let (mut wanted, isolation) = (
            sources.keys().cloned().collect::<Vec<_>>(),
            match kept {
                Kept::Layer => Isolation::Shard,
                Kept::Source => Isolation::Source,
            },
        );
        if kept == Kept::Source {
            let known = wanted.iter().map(|path| cache::read_sealed_bytes(&kept_as(path))).collect::<Vec<_>>();
            let mut missing = Vec::new();
            for (path, known) in wanted.into_iter().zip(known) {
                match known {
                    // Empty is what does not compile: a `.pyc` file is never.
                    Some(bytes) => self.add_byte_code(&path, Some(&bytes[..]).filter(|bytes| !bytes.is_empty()))?,
                    None => missing.push(path),
                }
            }
            wanted = missing;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        compiler.compile(&root, &wanted, isolation, |source, pyc| {
            if kept == Kept::Source {
                cache.write_bytes(&kept_as(source), pyc.unwrap_or_default())?;
            }
            self.add_byte_code(source, pyc)
        })
    }

    fn add_byte_code(&mut self, source: &ReleasePath, pyc: Option<&[u8]>) -> Result<()> {
        match pyc {
            Some(bytes) => _ = self.file(self.builder.compiler.pyc_path(source)?, 0o644, Made::Here, bytes)?,
            None => self.uncompiled.push(source.clone()),
        }
        Ok(())
    }

    /// Puts the layer into the cache and returns it.
    pub(crate) fn finish(self, key: &str, label: &str, distribution: Option<Distribution>) -> Result<Layer> {
        let Self { builder, directory, entries, mut elf, mut uncompiled, made_here, heads, pruned } = self;
        // Several processes compile.
        uncompiled.sort();
        elf.sort_by(|a, b| a.path.cmp(&b.path));
        let made_here = made_here.into_iter().collect();
        let entries: Vec<LayerEntry> = entries.into_values().collect();
        let size = entries.iter().map(|entry| match &entry.kind {
            LayerEntryKind::File { digest } => digest.size,
            LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => 0,
        });
        builder.cache.note_added(size.sum());
        builder.cache.count("layers", false);
        let manifest = Manifest { entries, elf, distribution, uncompiled, made_here, heads, pruned: *pruned };
        builder.cache.write(&directory.path().join(MANIFEST), &manifest)?;
        builder.cache.place(&directory.path().join(CHECKED), cache::boot().unwrap_or_default().as_bytes())?;
        publish(builder.cache, directory, key, label)?;
        let files = builder.cache.layers().join(key).join(FILES);
        Ok(Layer { key: key.to_owned(), label: label.to_owned(), files, manifest })
    }

    fn place(&self, path: &ReleasePath) -> PathBuf {
        self.directory.path().join(FILES).join(path.as_str())
    }

    fn check_vacant(&mut self, path: &ReleasePath) -> Result<()> {
        if self.entries.contains_key(path) {
            return Err(Error::new(format!("`{path}` is there twice")));
        }
        path.parent().map_or(Ok(()), |parent| self.directory(&parent))
    }
}

/// Writes a file that is not there yet and returns its digest and how it begins. Its mode is the layer's as far as the
/// umask lets it: an interpreter is run where it lies.
fn write(target: &std::path::Path, mode: u32, mut content: impl Read, kept: usize) -> Result<(Digest, Vec<u8>)> {
    let failed = || format!("cannot write `{}`", shown(target));
    let mut head = Vec::with_capacity(kept);
    content.by_ref().take(kept as u64).read_to_end(&mut head).context(failed)?;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o777).open(target).context(failed)?;
    let mut out = DigestWriter::new(BufWriter::with_capacity(1 << 16, file));
    out.write_all(&head).context(failed)?;
    std::io::copy(&mut content, &mut out).context(failed)?;
    let (mut file, digest) = out.finish();
    file.flush().context(failed)?;
    Ok((digest, head))
}

/// Renames a finished layer into place. What lies there and is not whole is put aside first.
fn publish(cache: &Cache, directory: Claim, key: &str, label: &str) -> Result<()> {
    let place = cache.layers().join(key);
    crate::fs::create_dir_all(&cache.layers())?;
    if place.symlink_metadata().is_ok() && Layer::open(cache, key, label).is_none() {
        let aside = cache.temporary()?;
        // Another process may have been faster to put it aside, and its layer is then as good as ours.
        _ = std::fs::rename(&place, aside.path().join("torn"));
    }
    directory.publish(&place)?;
    cache.hold(&place);
    Ok(())
}
