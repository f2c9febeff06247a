//! MD5 sums of files, which only a deb's `md5sums` file needs (deb-md5sums(5)). They are no proof
//! against manipulation.
//!
//! Layers do not contain these sums. The first deb with a file computes the sum while it packs the
//! file, and the cache keeps the sums for each layer, by SHA-256.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use md5::Md5;
use rayon::prelude::*;
use sha2::Digest as _;

use super::copy_content;
use pkgapp_core::cache::{self, Cache};
use pkgapp_core::content::Bytes;
use pkgapp_core::content::Content;
use pkgapp_core::content::LastOpened;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::path::InstallPath;
use pkgapp_release::tree::{EntryKind, TreeEntry};

/// An MD5 sum.
pub(super) type Md5Sum = [u8; 16];

/// The limit in bytes for files whose sums are computed before packing: the size of an edit.
const FEW: u64 = 4 << 20;

/// The MD5 sums of a package's files.
#[derive(Debug)]
pub(super) struct Md5Sums<'t> {
    cache: &'t Cache,
    files: Vec<SummedFile<'t>>,
    /// The layers of which some sums are unknown.
    incomplete: BTreeSet<&'t str>,
}

#[derive(Debug)]
struct SummedFile<'t> {
    path: &'t InstallPath,
    content: &'t Content,
    layer: Option<&'t str>,
    sum: OnceLock<Md5Sum>,
}

impl<'t> SummedFile<'t> {
    /// Returns the file of an entry, without its sum; `None` for other entries.
    fn of(path: &'t InstallPath, entry: &'t TreeEntry) -> Option<Self> {
        match &entry.kind {
            EntryKind::File(content) => Some(Self {
                path,
                content,
                layer: entry.origin.layer.as_deref(),
                sum: OnceLock::new(),
            }),
            EntryKind::Directory | EntryKind::Symlink(_) => None,
        }
    }
}

impl<'t> Md5Sums<'t> {
    /// Looks up the sums of these files, which are sorted by path.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn of(
        cache: &'t Cache,
        entries: &[(&'t InstallPath, &'t TreeEntry)],
    ) -> Result<Self> {
        let files: Vec<SummedFile<'t>> = entries
            .iter()
            .filter_map(|(path, entry)| SummedFile::of(path, entry))
            .collect();
        files
            .iter()
            .filter(|file| file.layer.is_none())
            .try_for_each(SummedFile::read)?;
        let incomplete = by_layer(&files)
            .into_par_iter()
            .filter_map(|(layer, files)| {
                SumTable::read(cache, layer).tell(&files);
                let lacking = files.into_iter().filter(|file| file.sum.get().is_none());
                let sizes: Vec<u64> = lacking.map(|file| file.content.digest.size).collect();
                (!sizes.is_empty()).then(|| (layer, sizes.into_iter().sum::<u64>()))
            });
        let (incomplete, sizes): (Vec<&str>, Vec<u64>) = incomplete.unzip();
        let mut sums = Self {
            cache,
            incomplete: incomplete.into_iter().collect(),
            files,
        };
        if sizes.into_iter().sum::<u64>() <= FEW {
            sums.complete()?;
            sums.incomplete.clear();
        }
        Ok(sums)
    }

    /// Returns whether all sums are known.
    pub(super) fn are_known(&self) -> bool {
        self.incomplete.is_empty()
    }

    /// Returns the place for a file's unknown sum; `None` if the sum is known.
    pub(super) fn wanted(&self, path: &InstallPath) -> Option<&OnceLock<Md5Sum>> {
        if self.incomplete.is_empty() {
            return None;
        }
        let place = self
            .files
            .binary_search_by_key(&path, |file| file.path)
            .ok()?;
        Some(&self.files[place].sum).filter(|sum| sum.get().is_none())
    }

    /// Computes the sums that packing has not, because it reused segments, and stores all of them.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, or the cache cannot be written.
    pub(super) fn complete(&self) -> Result<()> {
        self.files
            .par_iter()
            .filter(|file| file.sum.get().is_none())
            .try_for_each(SummedFile::read)?;
        let mut layers = by_layer(&self.files);
        layers.retain(|layer, _| self.incomplete.contains(layer));
        layers.into_par_iter().try_for_each(|(layer, files)| {
            let mut table = SumTable::read(self.cache, layer);
            table.add(&files);
            table.write(self.cache, layer)
        })
    }

    /// Iterates over the sums of all files, in the order of the entries.
    pub(super) fn all(&self) -> impl Iterator<Item = Result<Md5Sum>> {
        let lacking = |file: &SummedFile<'_>| Error::bug(format!("`{}` has no MD5 sum", file.path));
        self.files
            .iter()
            .map(move |file| file.sum.get().copied().ok_or_else(|| lacking(file)))
    }
}

/// Groups the files by layer.
fn by_layer<'f, 't>(files: &'f [SummedFile<'t>]) -> BTreeMap<&'t str, Vec<&'f SummedFile<'t>>> {
    let mut layers: BTreeMap<&str, Vec<&SummedFile<'t>>> = BTreeMap::new();
    // Most files are next to others of their layer.
    for files in files.chunk_by(|a, b| a.layer == b.layer) {
        if let Some(layer) = files[0].layer {
            layers.entry(layer).or_default().extend(files);
        }
    }
    layers
}

impl SummedFile<'_> {
    fn read(&self) -> Result<()> {
        if self.sum.get().is_some() {
            return Ok(());
        }
        match &self.content.bytes {
            Bytes::Memory(bytes) => {
                _ = self.sum.set(Md5::digest(bytes).into());
                Ok(())
            }
            Bytes::Disk { .. } => copy_content(
                self.path,
                self.content,
                Some(&self.sum),
                &mut LastOpened::default(),
                &mut std::io::sink(),
            ),
        }
    }
}

/// The sums of a layer's files, sorted by SHA-256.
#[derive(Debug, PartialEq, Eq)]
struct SumTable(Vec<(Sha256Sum, Md5Sum)>);

impl SumTable {
    /// The size of a record in bytes: both sums in binary.
    const LINE: usize = 32 + 16;

    /// Reads the cached sums of a layer; empty if the file is missing or damaged.
    fn read(cache: &Cache, layer: &str) -> Self {
        let content = cache::read_sealed_bytes(&Self::path(cache, layer)).unwrap_or_default();
        let line = |line: &[u8]| Some((Sha256Sum(*line.first_chunk()?), *line.last_chunk()?));
        Self(content.chunks_exact(Self::LINE).filter_map(line).collect())
    }

    fn write(&self, cache: &Cache, layer: &str) -> Result<()> {
        let content: Vec<u8> = self
            .0
            .iter()
            .flat_map(|(of, sum)| of.0.iter().chain(sum))
            .copied()
            .collect();
        cache.write_bytes(&Self::path(cache, layer), &content)
    }

    fn path(cache: &Cache, layer: &str) -> PathBuf {
        cache.md5sums().join(layer)
    }

    /// Sets the known sums of files.
    fn tell(&self, files: &[&SummedFile<'_>]) {
        for file in files {
            if let Ok(place) = self
                .0
                .binary_search_by_key(&file.content.digest.sha256, |(of, _)| *of)
            {
                _ = file.sum.set(self.0[place].1);
            }
        }
    }

    fn add(&mut self, files: &[&SummedFile<'_>]) {
        self.0.extend(
            files
                .iter()
                .filter_map(|file| Some((file.content.digest.sha256, *file.sum.get()?))),
        );
        self.0.sort_unstable();
        self.0.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgapp_release::tree::{EntryOrigin, Tree};

    #[test]
    fn what_a_layer_had_once_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let origin = std::sync::Arc::new(EntryOrigin {
            label: "x".into(),
            layer: Some("key".into()),
        });
        let mut tree = Tree::new();
        let texts = ["a", "b", "", "b"];
        for (number, text) in texts.iter().enumerate() {
            let file = directory.path().join(number.to_string());
            std::fs::write(&file, text).unwrap();
            let content = Content {
                bytes: Bytes::Disk {
                    file: file.into(),
                    start: 0,
                },
                ..Content::memory(text.as_bytes())
            };
            tree.insert(
                InstallPath::parse(&format!("/opt/{number}")).unwrap(),
                TreeEntry::file(content, 0o644, &origin),
            )
            .unwrap();
        }
        let entries: Vec<_> = tree.iter().collect();
        let wanted: Vec<Md5Sum> = texts.iter().map(|text| Md5::digest(text).into()).collect();
        let sums = || {
            let sums = Md5Sums::of(&cache, &entries)?;
            sums.complete()?;
            sums.all().collect::<Result<Vec<Md5Sum>>>()
        };
        assert_eq!(sums().unwrap(), wanted);
        for number in 0..texts.len() {
            std::fs::remove_file(directory.path().join(number.to_string())).unwrap();
        }
        assert_eq!(sums().unwrap(), wanted);
        assert_eq!(SumTable::read(&cache, "key").0.len(), 3);
        // A truncated file counts as missing, and there is no other source of the sums.
        std::fs::write(cache.md5sums().join("key"), "torn").unwrap();
        sums().unwrap_err();
    }
}
