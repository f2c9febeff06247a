//! The storage of a layer's bytes: all files in one pack, because creating files takes a file
//! system longer than filling them. Only an interpreter has separate files, because it runs from
//! its layer.

use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FallocateFlags, fallocate};

use pkgapp_core::content::Bytes;
use pkgapp_core::digest::{Digest, DigestWriter, Sha256Sum};
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::path::ReleasePath;

/// The name of the file in a layer's directory that contains the bytes of all files.
const PACK: &str = "pack";

/// The name of the directory in a layer's directory that contains separate files.
const FILES: &str = "files";

/// The size of the write buffer for a pack, in bytes.
const BUFFER: usize = 1 << 18;

/// The storage of a layer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Storage {
    /// One file for all.
    #[default]
    Together,
    /// Separate files with their release paths and modes.
    Apart,
}

/// A layer's directory.
#[derive(Debug, Clone)]
pub(crate) struct LayerDirectory {
    directory: PathBuf,
    pack: Arc<Path>,
    keeping: Storage,
}

impl LayerDirectory {
    pub(crate) fn new(directory: PathBuf, keeping: Storage) -> Self {
        let pack = directory.join(PACK).into();
        Self {
            directory,
            pack,
            keeping,
        }
    }

    /// Returns the directory of separate files.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.join(FILES)
    }

    /// Returns the place of a file's bytes; `start` is their offset in the pack.
    pub(super) fn bytes(&self, path: &ReleasePath, start: u64) -> Bytes {
        match self.keeping {
            Storage::Together => Bytes::Disk {
                file: Arc::clone(&self.pack),
                start,
            },
            Storage::Apart => Bytes::Disk {
                file: self.files().join(path.as_str()).into(),
                start: 0,
            },
        }
    }

    /// Returns whether all files are present with the right length. Each item of `files` is the
    /// path, offset, and length of a file.
    pub(super) fn is_whole<'e>(
        &self,
        files: impl Iterator<Item = (&'e ReleasePath, u64, u64)>,
    ) -> bool {
        let length = |file: &Path| {
            file.symlink_metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|file| file.len())
        };
        match self.keeping {
            Storage::Together => {
                let end = files
                    .map(|(_, start, size)| start + size)
                    .max()
                    .unwrap_or(0);
                length(&self.pack).is_some_and(|length| length >= end)
            }
            Storage::Apart => {
                let root = self.files();
                files
                    .into_iter()
                    .all(|(path, _, size)| length(&root.join(path.as_str())) == Some(size))
            }
        }
    }

    /// Iterates over the ancestors of a file that may be the directory of a layer, judging by names
    /// alone.
    pub(super) fn directories_of(file: &Path) -> impl Iterator<Item = &Path> {
        file.ancestors().skip(1).filter(move |directory| {
            *file == directory.join(PACK)
                || file
                    .strip_prefix(directory)
                    .is_ok_and(|below| below.starts_with(FILES))
        })
    }
}

/// Writes the bytes of a layer's files.
pub(super) struct ContentWriter {
    place: LayerDirectory,
    /// The pack; `None` if files are separate.
    pack: Option<BufWriter<fs::File>>,
    end: u64,
}

impl ContentWriter {
    pub(super) fn begin(directory: &Path, keeping: Storage) -> Result<Self> {
        let place = LayerDirectory::new(directory.to_owned(), keeping);
        let failed = || "cannot create a layer";
        let pack = match keeping {
            Storage::Together => {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&*place.pack)
                    .context(failed)?;
                Some(BufWriter::with_capacity(BUFFER, file))
            }
            Storage::Apart => {
                fs::create_dir(place.files()).context(failed)?;
                None
            }
        };
        Ok(Self {
            place,
            pack,
            end: 0,
        })
    }

    pub(super) fn keeping(&self) -> Storage {
        self.place.keeping
    }

    /// Creates a directory whose parent exists.
    pub(super) fn directory(&self, path: &ReleasePath) -> Result<()> {
        match self.place.keeping {
            Storage::Together => Ok(()),
            Storage::Apart => fs::create_dir(self.place.files().join(path.as_str()))
                .context(|| format!("cannot add `{path}`")),
        }
    }

    /// Writes a new file; returns its offset, its digest, and its first bytes, at most `kept`. A
    /// separate file gets its mode, as far as the umask allows. The SHA-256 is computed if it is
    /// not known.
    pub(super) fn write(
        &mut self,
        path: &ReleasePath,
        mode: u32,
        sha256: Option<Sha256Sum>,
        content: impl Read,
        kept: usize,
    ) -> Result<(u64, Digest, Vec<u8>)> {
        let start = self.end;
        let (digest, head) = match &mut self.pack {
            Some(pack) => copy(content, sha256, pack, &self.place.pack, kept)?,
            None => {
                let target = self.place.files().join(path.as_str());
                let failed = || format!("cannot write `{}`", shown(&target));
                let file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode & 0o777)
                    .open(&target);
                let mut out = BufWriter::with_capacity(1 << 16, file.context(failed)?);
                let copied = copy(content, sha256, &mut out, &target, kept)?;
                out.flush().context(failed)?;
                copied
            }
        };
        self.end += digest.size;
        Ok((start, digest, head))
    }

    /// Returns the place of a file's bytes, which can be read after [`ContentWriter::flush`].
    pub(super) fn bytes(&self, path: &ReleasePath, start: u64) -> Bytes {
        self.place.bytes(path, start)
    }

    /// Flushes all written bytes so that others can read them.
    pub(super) fn flush(&mut self) -> Result<()> {
        let place = &self.place;
        self.pack
            .as_mut()
            .map_or(Ok(()), Write::flush)
            .context(|| format!("cannot write `{}`", shown(&place.pack)))
    }

    /// Removes a separate file. Bytes in a pack stay, see [`ContentWriter::forget`].
    pub(super) fn remove(&self, path: &ReleasePath) -> Result<()> {
        match self.place.keeping {
            Storage::Together => Ok(()),
            Storage::Apart => fs::remove_file(self.place.files().join(path.as_str()))
                .context(|| format!("cannot remove `{path}`")),
        }
    }

    /// Removes an empty directory; see [`ContentWriter::remove`].
    pub(super) fn remove_directory(&self, path: &ReleasePath) -> Result<()> {
        match self.place.keeping {
            Storage::Together => Ok(()),
            Storage::Apart => fs::remove_dir(self.place.files().join(path.as_str()))
                .context(|| format!("cannot remove `{path}`")),
        }
    }

    /// Returns the space of these ranges of a pack to the file system, if it supports that; no file
    /// may use them.
    pub(super) fn forget(&mut self, mut ranges: Vec<Range<u64>>) -> Result<()> {
        self.flush()?;
        let Some(pack) = &self.pack else {
            return Ok(());
        };
        ranges.sort_by_key(|range| range.start);
        // Blocks are larger than most files, but files that are removed together are adjacent.
        let mut holes: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match holes.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => holes.push(range),
            }
        }
        for hole in holes.into_iter().filter(|hole| !hole.is_empty()) {
            // Where holes are not supported, the space stays in use, without any other effect.
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            _ = fallocate(pack.get_ref(), flags, hole.start, hole.end - hole.start);
        }
        Ok(())
    }
}

/// Copies `content`; returns its digest and its first bytes.
fn copy(
    mut content: impl Read,
    sha256: Option<Sha256Sum>,
    mut out: impl Write,
    target: &Path,
    kept: usize,
) -> Result<(Digest, Vec<u8>)> {
    let failed = || format!("cannot write `{}`", shown(target));
    let mut head = Vec::with_capacity(kept);
    content
        .by_ref()
        .take(kept as u64)
        .read_to_end(&mut head)
        .context(failed)?;
    let mut all = (&head[..]).chain(content);
    let digest = match sha256 {
        Some(sha256) => Digest {
            size: std::io::copy(&mut all, &mut out).context(failed)?,
            sha256,
        },
        None => {
            let mut out = DigestWriter::new(out);
            std::io::copy(&mut all, &mut out).context(failed)?;
            out.finish().1
        }
    };
    Ok((digest, head))
}
