//! A layer while it is made: its files go to a temporary directory of the cache and are hashed on their way, and the
//! whole is renamed into place when it is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use fs_err as fs;

use super::{
    Builder, ByteCompiler, Distribution, ElfFile, FILES, Layer, LayerEntry, LayerEntryKind, MANIFEST, Manifest,
};
use crate::cache::Cache;
use crate::digest::{Digest, DigestWriter};
use crate::error::{Context, Error, Result, shown};
use crate::path::ReleasePath;

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

/// A layer's files on their way into the cache.
pub(crate) struct Assembly<'a> {
    builder: &'a Builder<'a>,
    directory: tempfile::TempDir,
    entries: BTreeMap<ReleasePath, LayerEntry>,
    elf: Vec<ElfFile>,
    uncompiled: Vec<ReleasePath>,
    made_here: BTreeSet<ReleasePath>,
}

impl<'a> Assembly<'a> {
    /// Begins an empty layer.
    pub(crate) fn new(builder: &'a Builder<'a>) -> Result<Self> {
        let directory = builder.cache.temporary()?;
        fs::create_dir(directory.path().join(FILES)).context(|| "cannot begin a layer")?;
        Ok(Self {
            builder,
            directory,
            entries: BTreeMap::new(),
            elf: Vec::new(),
            uncompiled: Vec::new(),
            made_here: BTreeSet::new(),
        })
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
        let (digest, magic) = write(&target, content).map_err(|error| error.context(format!("cannot add `{path}`")))?;
        self.entries
            .insert(path.clone(), LayerEntry { path: path.clone(), mode, kind: LayerEntryKind::File { digest } });
        if magic == ELF_MAGIC {
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
            self.elf.retain(|elf| elf.path != *path);
        }
        Ok(())
    }

    /// Adds byte code for every Python source that an import may find: below site-packages and `app/`.
    pub(crate) fn compile(&mut self) -> Result<()> {
        let compiler: &ByteCompiler = self.builder.compiler;
        let sources: Vec<ReleasePath> =
            self.files().map(|(path, _)| path).filter(|path| compiler.compiles(path)).cloned().collect();
        let root = self.directory.path().join(FILES);
        compiler.compile(&root, &sources, |source, pyc| match pyc {
            Some(bytes) => self.file(compiler.pyc_path(source)?, 0o644, Made::Here, bytes).map(|_: Digest| ()),
            None => {
                self.uncompiled.push(source.clone());
                Ok(())
            }
        })
    }

    /// Puts the layer into the cache and returns it.
    pub(crate) fn finish(self, key: &str, label: &str, distribution: Option<Distribution>) -> Result<Layer> {
        let Self { builder, directory, entries, mut elf, uncompiled, made_here } = self;
        elf.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest {
            entries: entries.into_values().collect(),
            elf,
            distribution,
            uncompiled,
            made_here: made_here.into_iter().collect(),
        };
        let json = serde_json::to_vec(&manifest).context(|| "cannot write a layer's manifest")?;
        // Synced, and written last: what it says of the files is checked against them whenever the layer is opened.
        crate::fs::write_atomically(&directory.path().join(MANIFEST), |out| {
            out.write_all(&json).context(|| "cannot write a layer's manifest")
        })?;
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

/// Writes a file that is not there yet and returns its digest and its first four bytes.
fn write(target: &std::path::Path, mut content: impl Read) -> Result<(Digest, Vec<u8>)> {
    let failed = || format!("cannot write `{}`", shown(target));
    let mut magic = Vec::with_capacity(ELF_MAGIC.len());
    content.by_ref().take(ELF_MAGIC.len() as u64).read_to_end(&mut magic).context(failed)?;
    let file = fs::OpenOptions::new().write(true).create_new(true).open(target).context(failed)?;
    let mut out = DigestWriter::new(BufWriter::with_capacity(1 << 16, file));
    out.write_all(&magic).context(failed)?;
    std::io::copy(&mut content, &mut out).context(failed)?;
    let (mut file, digest) = out.finish();
    file.flush().context(failed)?;
    Ok((digest, magic))
}

/// Renames a finished layer into place. What lies there and is not whole is put aside first.
fn publish(cache: &Cache, directory: tempfile::TempDir, key: &str, label: &str) -> Result<()> {
    let place = cache.layers().join(key);
    crate::fs::create_dir_all(&cache.layers())?;
    if place.symlink_metadata().is_ok() && Layer::open(cache, key, label).is_none() {
        let aside = cache.temporary()?;
        // Another build may have been faster to put it aside, and its layer is then as good as ours.
        _ = std::fs::rename(&place, aside.path().join("torn"));
    }
    if crate::fs::publish_dir(directory.path(), &place)? {
        // The directory has another name now, so there is nothing to remove.
        _ = directory.keep();
    }
    Ok(())
}
