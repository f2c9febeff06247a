//! A layer while it is made: its files go to a temporary directory of the cache and are hashed on
//! their way, and the whole is renamed into place when it is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use super::bytecode::{neighbors, shards};
use super::compilers::PythonSource;
use super::place::ContentWriter;
use super::{
    ByteCompiler, CHECKED, Distribution, Layer, LayerBuilder, LayerDirectory, LayerEntry,
    LayerEntryKind, LayerManifest, MANIFEST, Storage,
};
use crate::prune::{DistributionFiles, PruneReport, Pruner};
use pkgapp_core::cache::{self, Cache, Claim};
use pkgapp_core::content::Content;
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::ReleasePath;
use pkgapp_wheels::elf;
use pkgapp_wheels::elf::ElfFile;

/// Counts changes of what the same source compiles to: part of the names of kept byte code.
const BYTE_CODE: &str = "pkgapp byte code 2";

/// How much of a file in `bin/` is kept, bytes.
const HEAD: usize = 512;

/// How a compiled file begins (System V ABI, "ELF Identification").
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Whose bytes a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrigin {
    /// Taken as they are.
    Elsewhere,
    /// Made by this build.
    Here,
}

/// What byte code is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BytecodeCacheKey {
    /// The layer: it does not change.
    Layer,
    /// The source and its neighbors: others of the layer will change, and these stay.
    Source,
}

impl BytecodeCacheKey {
    /// As a layer's key has it: the two may give different bytes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Source => "source",
        }
    }
}

/// What a layer begins as.
pub(crate) enum LayerStart<'a> {
    /// It is there.
    Made(Box<Layer>),
    /// It has to be made.
    Empty(Box<LayerAssembly<'a>>),
}

/// A layer's files on their way into the cache.
pub(crate) struct LayerAssembly<'a> {
    builder: &'a LayerBuilder<'a>,
    directory: Claim,
    writer: ContentWriter,
    entries: BTreeMap<ReleasePath, LayerEntry>,
    elf: Vec<ElfFile>,
    uncompiled: Vec<ReleasePath>,
    made_here: BTreeSet<ReleasePath>,
    heads: BTreeMap<ReleasePath, String>,
    pruned: PruneReport,
}

impl<'a> LayerAssembly<'a> {
    /// Begins an empty layer, or returns the one that is there: another process may be making it,
    /// and is waited for.
    pub(crate) fn begin(
        builder: &'a LayerBuilder<'a>,
        key: &str,
        label: &str,
        keeping: Storage,
    ) -> Result<LayerStart<'a>> {
        let directory = builder.cache.claim(&format!("layer-{key}"))?;
        if let Some(layer) = Layer::open(builder.cache, key, label) {
            return Ok(LayerStart::Made(Box::new(layer)));
        }
        Ok(LayerStart::Empty(Box::new(Self {
            writer: ContentWriter::begin(directory.path(), keeping)?,
            builder,
            directory,
            entries: BTreeMap::new(),
            elf: Vec::new(),
            uncompiled: Vec::new(),
            made_here: BTreeSet::new(),
            heads: BTreeMap::new(),
            pruned: PruneReport::default(),
        })))
    }

    /// What its byte code is made by.
    pub(crate) fn compiler(&self) -> &'a ByteCompiler {
        self.builder.compiler
    }

    /// What is left out.
    pub(crate) fn pruning(&self) -> &'a Pruner {
        self.builder.prune
    }

    /// The paths so far.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &ReleasePath> {
        self.entries.keys()
    }

    /// The regular files so far.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&ReleasePath, &Digest)> {
        self.entries
            .iter()
            .filter_map(|(path, entry)| match &entry.kind {
                LayerEntryKind::File { digest, .. } => Some((path, digest)),
                LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => None,
            })
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The path is there already or lies below a file; or the content can't be read or written.
    pub(crate) fn file(
        &mut self,
        path: ReleasePath,
        mode: u32,
        made: ByteOrigin,
        content: impl Read,
    ) -> Result<Digest> {
        self.proven_file(path, mode, made, None, content)
    }

    /// As [`LayerAssembly::file`], with content that is proven to have a SHA-256: if that turns out to
    /// be wrong, the layer is not finished.
    pub(crate) fn proven_file(
        &mut self,
        path: ReleasePath,
        mode: u32,
        made: ByteOrigin,
        sha256: Option<Sha256Sum>,
        content: impl Read,
    ) -> Result<Digest> {
        self.check_vacant(&path)?;
        let kept = if path.as_str().starts_with("bin/") {
            HEAD
        } else {
            ELF_MAGIC.len()
        };
        let written = self.writer.write(&path, mode, sha256, content, kept);
        let (start, digest, head) =
            written.map_err(|error| error.context(format!("cannot add `{path}`")))?;
        let kind = LayerEntryKind::File { digest, start };
        self.entries.insert(
            path.clone(),
            LayerEntry {
                path: path.clone(),
                mode,
                kind,
            },
        );
        if kept == HEAD {
            self.heads
                .insert(path.clone(), String::from_utf8_lossy(&head).into_owned());
        }
        if head.starts_with(ELF_MAGIC) {
            self.writer.flush()?;
            self.elf.extend(elf::read_bytes(
                &self.writer.bytes(&path, start),
                digest.size,
                &path,
            )?);
        }
        if made == ByteOrigin::Here {
            self.made_here.insert(path);
        }
        Ok(digest)
    }

    /// Adds a symbolic link; it exists in the manifest only, so that nothing is ever written
    /// through it.
    pub(crate) fn symlink(&mut self, path: ReleasePath, target: String) -> Result<()> {
        self.check_vacant(&path)?;
        let kind = LayerEntryKind::Symlink { target };
        self.entries.insert(
            path.clone(),
            LayerEntry {
                path,
                mode: 0o777,
                kind,
            },
        );
        Ok(())
    }

    /// Adds a directory, which may be there already.
    pub(crate) fn directory(&mut self, path: &ReleasePath) -> Result<()> {
        match self.entries.get(path).map(|entry| &entry.kind) {
            Some(LayerEntryKind::Directory) => return Ok(()),
            Some(_) => {
                return Err(Error::new(format!(
                    "`{path}` is a file, and a directory of other files"
                )));
            }
            None => {}
        }
        if let Some(parent) = path.parent() {
            self.directory(&parent)?;
        }
        self.writer.directory(path)?;
        self.entries.insert(
            path.clone(),
            LayerEntry {
                path: path.clone(),
                mode: 0o755,
                kind: LayerEntryKind::Directory,
            },
        );
        Ok(())
    }

    /// Takes a file out again.
    pub(crate) fn remove_file(&mut self, path: &ReleasePath) -> Result<()> {
        if self.entries.remove(path).is_some() {
            self.writer.remove(path)?;
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
    pub(crate) fn prune(&mut self, prune: &Pruner, site_packages: &str) -> Result<()> {
        self.writer.flush()?;
        let contents = self.contents();
        let files = contents
            .iter()
            .map(|(path, content)| (path.clone(), content.digest.size))
            .collect();
        let read = |path: &ReleasePath| {
            contents
                .get(path)
                .map_or_else(|| Ok(Vec::new()), Content::read)
        };
        let (gone, pruned) = prune.plan(&DistributionFiles {
            site_packages,
            files: &files,
            read: &read,
        })?;
        let mut holes = Vec::new();
        for path in gone.keys() {
            if let Some(LayerEntryKind::File { digest, start }) =
                self.entries.get(path).map(|entry| &entry.kind)
            {
                holes.push(*start..start + digest.size);
            }
            self.remove_file(path)?;
        }
        self.writer.forget(holes)?;
        self.pruned = pruned;
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
        let empty = self
            .entries
            .values()
            .filter(|entry| is_directory(entry) && !used.contains(&entry.path));
        let empty: Vec<ReleasePath> = empty.map(|entry| entry.path.clone()).collect();
        // What lies in a directory comes after it.
        for path in empty.iter().rev() {
            self.writer.remove_directory(path)?;
            self.entries.remove(path);
        }
        Ok(())
    }

    /// Adds byte code for every Python source that an import may find: below site-packages and
    /// `app/`.
    pub(crate) fn compile(&mut self, kept: BytecodeCacheKey) -> Result<()> {
        let compiler: &ByteCompiler = self.builder.compiler;
        if !compiler.compiles_here() {
            return Ok(());
        }
        let cache = self.builder.cache;
        let mut wanted: Vec<PythonSource> = self.contents().into_iter().collect();
        wanted.retain(|(path, _)| compiler.compiles(path));
        let shards = match kept {
            BytecodeCacheKey::Layer => shards(&wanted),
            BytecodeCacheKey::Source => self.add_known(neighbors(&wanted))?,
        };
        if shards.is_empty() {
            return Ok(());
        }
        self.writer.flush()?;
        let keys: BTreeMap<&ReleasePath, PathBuf> = match kept {
            BytecodeCacheKey::Layer => BTreeMap::new(),
            BytecodeCacheKey::Source => shards
                .iter()
                .flat_map(|shard| self.kept_as(shard))
                .collect(),
        };
        compiler.compile(&shards, |(path, _), pyc| {
            if let Some(file) = keys.get(path) {
                // Empty is what does not compile: a `.pyc` file is never.
                cache.write_bytes(file, pyc.unwrap_or_default())?;
            }
            self.add_byte_code(path, pyc)
        })
    }

    /// Adds the byte code of shards that are in the cache, and returns the others.
    fn add_known<'s>(
        &mut self,
        shards: Vec<&'s [PythonSource]>,
    ) -> Result<Vec<&'s [PythonSource]>> {
        let mut missing = Vec::new();
        for shard in shards {
            let known = self
                .kept_as(shard)
                .map(|(path, file)| Some((path, cache::read_sealed_bytes(&file)?)));
            match known.collect::<Option<Vec<_>>>() {
                None => missing.push(shard),
                Some(known) => {
                    for (path, bytes) in known {
                        self.add_byte_code(
                            path,
                            Some(&bytes[..]).filter(|bytes| !bytes.is_empty()),
                        )?;
                    }
                }
            }
        }
        Ok(missing)
    }

    /// The files that keep the byte code of a shard's sources.
    fn kept_as<'s>(
        &self,
        shard: &'s [PythonSource],
    ) -> impl Iterator<Item = (&'s ReleasePath, PathBuf)> + use<'s, 'a> {
        let (directory, identity) = (
            self.builder.cache.bytecode(),
            self.builder.compiler.identity(),
        );
        let named = |(path, source): &PythonSource| format!("{} {path}\n", source.digest.sha256);
        let shard_key: String = shard.iter().map(named).collect();
        shard.iter().map(move |(path, _)| {
            let key = cache::key([BYTE_CODE, identity, &shard_key, path.as_str()]);
            (path, directory.join(format!("{key}.pyc")))
        })
    }

    /// The regular files so far; their bytes can be read after they were flushed.
    fn contents(&self) -> BTreeMap<ReleasePath, Content> {
        let content = |entry: &LayerEntry| match &entry.kind {
            LayerEntryKind::File { digest, start } => Some(Content {
                digest: *digest,
                bytes: self.writer.bytes(&entry.path, *start),
            }),
            LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => None,
        };
        self.entries
            .iter()
            .filter_map(|(path, entry)| Some((path.clone(), content(entry)?)))
            .collect()
    }

    fn add_byte_code(&mut self, source: &ReleasePath, pyc: Option<&[u8]>) -> Result<()> {
        match pyc {
            Some(bytes) => {
                _ = self.file(
                    self.builder.compiler.pyc_path(source)?,
                    0o644,
                    ByteOrigin::Here,
                    bytes,
                )?;
            }
            None => self.uncompiled.push(source.clone()),
        }
        Ok(())
    }

    /// Puts the layer into the cache and returns it.
    pub(crate) fn finish(
        self,
        key: &str,
        label: &str,
        distribution: Option<Distribution>,
    ) -> Result<Layer> {
        let Self {
            builder,
            directory,
            mut writer,
            entries,
            mut elf,
            mut uncompiled,
            made_here,
            heads,
            pruned,
        } = self;
        writer.flush()?;
        let keeping = writer.keeping();
        drop(writer);
        // Several processes compile.
        uncompiled.sort();
        elf.sort_by(|a, b| a.path.cmp(&b.path));
        let made_here = made_here.into_iter().collect();
        let entries: Vec<LayerEntry> = entries.into_values().collect();
        let size = entries.iter().map(|entry| match &entry.kind {
            LayerEntryKind::File { digest, .. } => digest.size,
            LayerEntryKind::Directory | LayerEntryKind::Symlink { .. } => 0,
        });
        builder.cache.note_added(size.sum());
        builder.cache.count("layers", false);
        let manifest = LayerManifest {
            entries,
            elf,
            distribution,
            uncompiled,
            made_here,
            heads,
            pruned,
            keeping,
        };
        builder
            .cache
            .write(&directory.path().join(MANIFEST), &manifest)?;
        builder.cache.place(
            &directory.path().join(CHECKED),
            cache::boot().unwrap_or_default().as_bytes(),
        )?;
        publish(builder.cache, directory, key, label)?;
        let place = LayerDirectory::new(builder.cache.layers().join(key), keeping);
        Ok(Layer {
            key: key.to_owned(),
            label: label.to_owned(),
            place,
            manifest,
        })
    }

    fn check_vacant(&mut self, path: &ReleasePath) -> Result<()> {
        if self.entries.contains_key(path) {
            return Err(Error::new(format!("`{path}` is there twice")));
        }
        path.parent()
            .map_or(Ok(()), |parent| self.directory(&parent))
    }
}

/// Renames a finished layer into place. What lies there and is not whole is put aside first.
fn publish(cache: &Cache, directory: Claim, key: &str, label: &str) -> Result<()> {
    let place = cache.layers().join(key);
    pkgapp_core::fs::create_dir_all(&cache.layers())?;
    if place.symlink_metadata().is_ok() && Layer::open(cache, key, label).is_none() {
        let aside = cache.temporary()?;
        // Another process may have been faster to put it aside, and its layer is then as good as
        // ours.
        _ = std::fs::rename(&place, aside.path().join("torn"));
    }
    directory.publish(&place)?;
    cache.hold(&place);
    Ok(())
}
