//! Payloads in pieces: a layer's entries are compressed once, and every later package copies the
//! compressed bytes.
//!
//! A **segment** is a run of an archive's members from one layer, as the format writes them,
//! compressed to blocks that can be joined with others (`codec`). The cache keeps it as
//! `segments/<key>`, under the SHA-256 of everything that determines its bytes: the members with
//! their names, attributes, and digests, the archive, the codec, its level, and its library. A build
//! with an unchanged layer opens none of the layer's files, and reads the segment only once: it is
//! verified on the way into the package. Members that belong to a single build (directories,
//! generated files) are compressed in the same way, but not kept.
//!
//! The division into segments depends neither on the cache nor on the number of cores, so neither
//! does the payload.

mod codec;
mod entry;
mod sums;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::SpooledTempFile;

use self::codec::{PieceEncoder, PieceShape, StreamFrame};
use self::entry::PieceSums;
use self::sums::{SumChain, SumStates, SummingWriter};
use crate::{ArchiveKind, MemberHeader, cannot_write};
use pkgapp_config::Compression;
use pkgapp_core::cache::Cache;
use pkgapp_core::content::Bytes;
use pkgapp_core::content::Content;
use pkgapp_core::content::LastOpened;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_release::tree::{EntryKind, UpgradeRole};

/// The version of segments, part of every key. To be raised when the same members result in other
/// bytes.
const FORMAT: u32 = 3;

/// The number of plain bytes after which a layer's next member begins another segment, so that
/// several cores compress a large layer. Larger members are divided. Splitting costs little from
/// four windows of the highest levels on.
const LIMIT: u64 = 32 << 20;

/// The same limit for encoders that keep a whole piece in memory.
const SMALL_LIMIT: u64 = 8 << 20;

/// The memory in bytes for all encoders together. At least one encoder always runs.
const MEMORY: u64 = 1 << 30;

/// The largest segment in bytes that stays in memory if it is not kept.
const SMALL: usize = 1 << 18;

/// The size of the buffers around an encoder.
const BUFFER: usize = 1 << 18;

/// The minimum size of the portions in which pieces are written: large enough to bypass all other
/// buffers.
const PORTION: usize = 1 << 20;

/// Builds payloads from a cache's segments, and adds missing segments to the cache.
#[derive(Debug)]
pub struct Segments<'a> {
    cache: &'a Cache,
    reused: AtomicU64,
    reused_bytes: AtomicU64,
    made: AtomicU64,
    made_bytes: AtomicU64,
    damaged: AtomicBool,
}

/// The numbers of reused and compressed segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentCounts {
    /// Segments from the cache.
    pub reused: u64,
    /// The plain bytes of reused segments.
    pub reused_bytes: u64,
    /// Compressed segments, including those that are never kept.
    pub made: u64,
    /// The plain bytes of compressed segments.
    pub made_bytes: u64,
}

/// Verifies an entry against its checksum; returns the damage, or nothing if the entry is sound.
pub fn damage(file: &Path) -> Vec<String> {
    if entry::is_sound(file) {
        Vec::new()
    } else {
        vec!["does not match its checksum".to_owned()]
    }
}

impl<'a> Segments<'a> {
    /// Uses the segments of a cache.
    pub fn new(cache: &'a Cache) -> Self {
        let zero = || AtomicU64::new(0);
        let damaged = AtomicBool::new(false);
        Self {
            cache,
            reused: zero(),
            reused_bytes: zero(),
            made: zero(),
            made_bytes: zero(),
            damaged,
        }
    }

    /// Returns the cache of the segments.
    pub(crate) fn cache(&self) -> &'a Cache {
        self.cache
    }

    /// Returns whether a payload failed because pkgapp found a damaged segment after writing a part
    /// of it. The segment is no longer in the cache, so that a second attempt compresses it again.
    /// Resets the answer.
    pub fn forgot_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::Relaxed)
    }

    /// Returns the counts of all payloads so far.
    pub fn counts(&self) -> SegmentCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SegmentCounts {
            reused: value(&self.reused),
            reused_bytes: value(&self.reused_bytes),
            made: value(&self.made),
            made_bytes: value(&self.made_bytes),
        }
    }

    /// Compresses an archive of these members, directories first.
    pub(crate) fn payload<'m>(
        &'m self,
        archive: ArchiveKind,
        members: Vec<MemberHeader<'m>>,
        compression: Compression,
    ) -> Result<Payload<'m>> {
        let runs = divide(archive, compression, members);
        let recipe = PieceRecipe {
            segments: self,
            archive,
            compression,
        };
        let pieces = recipe.pieces(&runs)?;
        let shapes: Vec<PieceShape> = pieces.iter().map(|piece| piece.shape).collect();
        let frame = StreamFrame::around(compression, &shapes);
        Ok(Payload {
            recipe,
            pieces: runs.into_iter().zip(pieces).collect(),
            frame,
        })
    }

    fn count(&self, shape: PieceShape, reused: bool) {
        let (number, bytes) = if reused {
            (&self.reused, &self.reused_bytes)
        } else {
            (&self.made, &self.made_bytes)
        };
        number.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(shape.plain, Ordering::Relaxed);
    }
}

/// Returns a thread pool for encoders that need too much memory for one on every core.
fn pool(compression: Compression) -> Result<Option<rayon::ThreadPool>> {
    let encoders = usize::try_from(MEMORY / encoder_memory(compression))
        .unwrap_or(1)
        .max(1);
    if encoders >= rayon::current_num_threads() {
        return Ok(None);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(encoders)
        .build();
    pool.map(Some).context(|| "cannot start threads")
}

/// Estimates the memory of an encoder in bytes (`ZSTD_estimateCCtxSize`; xz(1), "DESCRIPTION").
fn encoder_memory(compression: Compression) -> u64 {
    let megabytes = match compression {
        Compression::Gzip(_) => 1,
        Compression::Xz(..=2) => 32,
        // Includes the piece and its compressed bytes.
        Compression::Zstd(..=9) => 48,
        Compression::Zstd(10..=15) => 64,
        Compression::Zstd(16) | Compression::Xz(3..=6) => 100,
        Compression::Zstd(17..=19) => 220,
        Compression::Zstd(20..=21) | Compression::Xz(7..=8) => 400,
        Compression::Zstd(22..) | Compression::Xz(9..) => 700,
    };
    megabytes << 20
}

// Division

/// Members that are compressed together.
#[derive(Debug)]
struct MemberRun<'m> {
    members: Vec<MemberHeader<'m>>,
    /// The part, if the run is only a part of one member.
    part: Option<MemberPart>,
    /// Whether the cache keeps the run.
    kept: bool,
    /// Whether the run ends the archive.
    last: bool,
    /// The number of plain bytes.
    size: u64,
}

/// A part of a large member. Offsets begin with the first byte of the header.
#[derive(Debug, Clone)]
struct MemberPart {
    range: Range<u64>,
    number: usize,
    whole: Arc<MemberDigest>,
}

/// The checksums of the parts of a member, computed on demand.
#[derive(Debug)]
struct MemberDigest {
    part_size: u64,
    sums: OnceLock<Result<Vec<u32>>>,
}

impl MemberPart {
    /// Returns the CRC-32 of the part, from a pass over the whole member that verifies the member's
    /// digest.
    fn sum(&self, archive: ArchiveKind, member: &MemberHeader<'_>) -> Result<u32> {
        let pass = || {
            let mut sums = PartSums {
                part_size: self.whole.part_size,
                done: Vec::new(),
                now: crc32fast::Hasher::new(),
            };
            archive.append(member, &mut LastOpened::default(), &mut sums)?;
            Ok(sums.finish())
        };
        let sums = self
            .whole
            .sums
            .get_or_init(pass)
            .as_ref()
            .map_err(Clone::clone)?;
        sums.get(self.number)
            .copied()
            .ok_or_else(|| Error::bug("a member has more parts than bytes"))
    }
}

/// Computes the CRC-32 of each part of `part_size` bytes.
struct PartSums {
    part_size: u64,
    done: Vec<u32>,
    now: crc32fast::Hasher,
}

impl PartSums {
    fn finish(mut self) -> Vec<u32> {
        self.done.push(self.now.finalize());
        self.done
    }
}

impl Write for PartSums {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.now.total_len() == self.part_size {
            self.done.push(std::mem::take(&mut self.now).finalize());
        }
        // A length in memory is one of 64 bits.
        let room = usize::try_from(self.part_size - self.now.total_len()).unwrap_or(usize::MAX);
        let taken = bytes.len().min(room);
        self.now.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Divides members into runs: directories, then the members of each layer, then the members of this
/// build alone; each in the given order.
///
/// Directories come first because rpm before 4.18 does not create parents.
fn divide(
    archive: ArchiveKind,
    compression: Compression,
    members: Vec<MemberHeader<'_>>,
) -> Vec<MemberRun<'_>> {
    let groups = MemberGroups::of(members);
    let split = |members, kept| split(archive, limit(effective(compression, kept)), members, kept);
    let mut runs = split(groups.directories, false);
    for layer in groups.layers {
        runs.extend(split(layer, true));
    }
    runs.extend(split(groups.loose, false));

    if runs.last().is_none_or(|run| run.kept || run.part.is_some()) {
        runs.push(MemberRun {
            members: Vec::new(),
            part: None,
            kept: false,
            last: false,
            size: 0,
        });
    }
    if let Some(run) = runs.last_mut() {
        run.last = true;
        run.size += archive.end_size();
    }
    runs
}

/// The members of an archive by their origin.
#[derive(Default)]
struct MemberGroups<'m> {
    directories: Vec<MemberHeader<'m>>,
    /// The members of each layer, by the layer's label and key.
    layers: Vec<Vec<MemberHeader<'m>>>,
    /// The members of this build alone.
    loose: Vec<MemberHeader<'m>>,
}

impl<'m> MemberGroups<'m> {
    fn of(members: Vec<MemberHeader<'m>>) -> Self {
        let mut groups = Self::default();
        let mut layers: Vec<Vec<MemberHeader<'_>>> = Vec::new();
        let mut numbers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut last = None;
        for member in members {
            let Some((_, entry)) = member.place else {
                groups.directories.push(member);
                continue;
            };
            let origin = &entry.origin;
            match &origin.layer {
                _ if matches!(entry.kind, EntryKind::Directory) => groups.directories.push(member),
                None => groups.loose.push(member),
                Some(key) => {
                    // Most members have the same origin as the member before.
                    let number = match last {
                        Some((known, number)) if Arc::ptr_eq(known, origin) => number,
                        _ => *numbers.entry((&origin.label, key)).or_insert(layers.len()),
                    };
                    last = Some((origin, number));
                    if number == layers.len() {
                        layers.push(Vec::new());
                    }
                    layers[number].push(member);
                }
            }
        }
        let take = |number: usize| std::mem::take(&mut layers[number]);
        groups.layers = numbers.into_values().map(take).collect();
        groups
    }
}

/// Limits the level of runs that are not kept: every build compresses them again.
fn effective(compression: Compression, kept: bool) -> Compression {
    match compression {
        Compression::Zstd(level) if !kept => Compression::Zstd(level.min(9)),
        Compression::Xz(preset) if !kept => Compression::Xz(preset.min(1)),
        compression => compression,
    }
}

/// Returns the maximum number of plain bytes of a segment, without the end of an archive.
fn limit(compression: Compression) -> u64 {
    if codec::in_one_go(compression) {
        SMALL_LIMIT
    } else {
        LIMIT
    }
}

fn split(
    archive: ArchiveKind,
    limit: u64,
    members: Vec<MemberHeader<'_>>,
    kept: bool,
) -> Vec<MemberRun<'_>> {
    let mut runs: Vec<MemberRun<'_>> = Vec::new();
    for member in members {
        let size = archive.size(&member);
        match runs.last_mut() {
            _ if size > limit => runs.extend(parts(&member, size, limit, kept)),
            Some(run) if run.part.is_none() && run.size + size <= limit => {
                run.size += size;
                run.members.push(member);
            }
            _ => runs.push(MemberRun {
                members: vec![member],
                part: None,
                kept,
                last: false,
                size,
            }),
        }
    }
    runs
}

/// Divides a member into parts of about the same size.
fn parts<'m>(
    member: &MemberHeader<'m>,
    size: u64,
    limit: u64,
    kept: bool,
) -> impl Iterator<Item = MemberRun<'m>> {
    let part_size = size.div_ceil(size.div_ceil(limit));
    let whole = Arc::new(MemberDigest {
        part_size,
        sums: OnceLock::new(),
    });
    (0..)
        .zip((0..size).step_by(usize::try_from(part_size).unwrap_or(usize::MAX)))
        .map(move |(number, start)| {
            let range = start..size.min(start + part_size);
            MemberRun {
                size: range.end - range.start,
                members: vec![member.clone()],
                part: Some(MemberPart {
                    range,
                    number,
                    whole: Arc::clone(&whole),
                }),
                kept,
                last: false,
            }
        })
}

// Pieces

/// The parameters for compressing runs to pieces.
#[derive(Debug, Clone, Copy)]
struct PieceRecipe<'m> {
    segments: &'m Segments<'m>,
    archive: ArchiveKind,
    compression: Compression,
}

/// A compressed run.
#[derive(Debug)]
struct SegmentPiece {
    shape: PieceShape,
    /// The SHA-256 of the compressed bytes.
    sha256: Sha256Sum,
    place: SegmentPlace,
}

/// The place of compressed bytes.
#[derive(Debug)]
enum SegmentPlace {
    /// An entry of the cache with this key, and whether the entry has been counted.
    Kept(String, AtomicBool),
    /// Memory or an unnamed file, which one thread reads at a time.
    Own(Mutex<SpooledTempFile>),
}

impl PieceRecipe<'_> {
    /// Returns the pieces of all runs, in their order; compresses missing ones in parallel.
    fn pieces(&self, runs: &[MemberRun<'_>]) -> Result<Vec<SegmentPiece>> {
        let mut largest_first: Vec<(usize, &MemberRun<'_>)> = runs.iter().enumerate().collect();
        // Runs that are not kept come first: they are always compressed.
        largest_first.sort_by_key(|(_, run)| (run.kept, std::cmp::Reverse(run.size)));
        let pieces: Mutex<BTreeMap<usize, Result<SegmentPiece>>> = Mutex::default();
        let work = || {
            // A bridge assigns runs one by one, so that no core ends up with two large ones.
            largest_first
                .into_iter()
                .par_bridge()
                .for_each(|(number, run)| {
                    let piece = self.piece(run);
                    if let Ok(mut pieces) = pieces.lock() {
                        pieces.insert(number, piece);
                    }
                });
        };
        match pool(self.compression)? {
            Some(pool) => pool.install(work),
            None => work(),
        }

        let (mut whole, mut errors) = (Vec::new(), Vec::new());
        let pieces = pieces
            .into_inner()
            .map_err(|_| Error::bug("a thread that compresses has panicked"))?;
        for piece in pieces.into_values() {
            piece.map_or_else(|error| errors.push(error), |piece| whole.push(piece));
        }
        // All parts of a file have the same error.
        errors.dedup_by_key(|error| error.to_string());
        Error::all(errors).map_or(Ok(whole), Err)
    }

    fn piece(&self, run: &MemberRun<'_>) -> Result<SegmentPiece> {
        if !run.kept {
            let mut file =
                tempfile::spooled_tempfile_in(SMALL, self.segments.cache.root().join("tmp"));
            let (shape, sums) = self.compress(run, &mut file)?;
            return Ok(SegmentPiece {
                shape,
                sha256: sums.sha256,
                place: SegmentPlace::Own(Mutex::new(file)),
            });
        }
        let key = self.key(run);
        let path = self.path(&key);
        // If the entry cannot be held and disappears, it is compressed again.
        self.segments.cache.hold(&path);
        let (shape, sums, counted) = match entry::open(&path, &key) {
            // The entry is verified when it is copied, so that it is read only once.
            Some((shape, sums)) => (shape, sums, false),
            None => {
                let (_, shape, sums) = self.make(run, &key)?;
                (shape, sums, true)
            }
        };
        Ok(SegmentPiece {
            shape,
            sha256: sums.sha256,
            place: SegmentPlace::Kept(key, AtomicBool::new(counted)),
        })
    }

    /// Compresses a run to an entry of the cache; returns the open file. Another build may write
    /// the same entry, which then has the same bytes.
    fn make(&self, run: &MemberRun<'_>, key: &str) -> Result<(File, PieceShape, PieceSums)> {
        let (place, path) = (self.segments.cache.temporary_file()?, self.path(key));
        let failed = || format!("cannot write `{}`", shown(&path));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&place)
            .context(failed)?;
        let (shape, sums) = self.compress(run, &mut file)?;
        // Not synced: damage from a loss of power is noticed when the entry is opened.
        entry::finish(&mut file, key, shape, sums).context(failed)?;
        let cache = self.segments.cache;
        if let Err(error) = place.persist(&path) {
            pkgapp_core::fs::create_dir_all(&cache.segments())?;
            error
                .path
                .persist(&path)
                .map_err(|error| error.error)
                .context(failed)?;
        }
        cache.hold(&path);
        cache.note_added(entry::HEADER + shape.packed);
        cache.count("segments", false);
        Ok((file, shape, sums))
    }

    /// Writes a run after the space for an entry's header, decodes it again, and returns its
    /// checksums.
    fn compress(
        &self,
        run: &MemberRun<'_>,
        file: &mut (impl Read + Write + Seek),
    ) -> Result<(PieceShape, PieceSums)> {
        let compression = effective(self.compression, run.kept);
        entry::begin(file).context(cannot_write)?;
        let encoder = PieceEncoder::new(
            BufWriter::with_capacity(BUFFER, &mut *file),
            compression,
            run.size,
        );
        // Members consist of many small parts, and each is a call into the codec unless the codec
        // gathers them itself.
        let gathered = if codec::in_one_go(compression) {
            0
        } else {
            BUFFER
        };
        let mut out = BufWriter::with_capacity(gathered, encoder.context(cannot_write)?);
        self.write_members(run, &mut out)?;
        let encoder = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context(cannot_write)?;
        let (mut buffered, shape) = encoder.finish().context(cannot_write)?;
        buffered.flush().context(cannot_write)?;
        drop(buffered);
        self.check_plain(run, shape)?;
        entry::begin(file).context(cannot_write)?;
        let sums = codec::check(compression, shape, &mut *file)
            .map_err(|error| Error::bug("a new segment is damaged").cause(error))?;
        self.segments.count(shape, false);
        Ok((shape, sums))
    }

    /// Writes the plain bytes of a run.
    fn write_members(&self, run: &MemberRun<'_>, mut out: &mut impl Write) -> Result<()> {
        let mut last = LastOpened::default();
        for member in &run.members {
            match &run.part {
                Some(part) => self
                    .archive
                    .append_part(member, part.range.clone(), &mut out)?,
                None => self.archive.append(member, &mut last, &mut out)?,
            }
        }
        if run.last {
            self.archive.end(&mut out)?;
        }
        Ok(())
    }

    /// Verifies the plain bytes of a run, as far as the archive has not verified them.
    fn check_plain(&self, run: &MemberRun<'_>, shape: PieceShape) -> Result<()> {
        if let (Some(part), [member]) = (&run.part, &run.members[..])
            && part.sum(self.archive, member)? != shape.crc32
        {
            return Err(
                Error::new(format!("`{}` was changed while it was read", member.name))
                    .hint("build again"),
            );
        }
        if shape.plain == run.size {
            Ok(())
        } else {
            Err(Error::bug("a segment has another size than it should"))
        }
    }

    /// Returns the SHA-256 of everything that determines a segment's bytes.
    fn key(&self, run: &MemberRun<'_>) -> String {
        let mut hasher = Sha256::new();
        let Self {
            archive,
            compression,
            ..
        } = self;
        hasher.update(format!(
            "segment {FORMAT}\n{archive:?}\n{}\n",
            codec::identity(*compression)
        ));
        let mut text = Vec::new();
        for member in &run.members {
            text.clear();
            describe(member, &mut text);
            hasher.update(&text);
        }
        if let Some(part) = &run.part {
            hasher.update(format!("part {} {}", part.range.start, part.range.end));
        }
        hex::encode(hasher.finalize())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.segments.cache.segments().join(key)
    }

    /// Copies the compressed bytes of a piece. If an entry has disappeared or is damaged, it is
    /// compressed again; but if a part of a damaged entry has already been copied, `out` is marked
    /// as damaged.
    fn copy(&self, run: &MemberRun<'_>, piece: &SegmentPiece, out: &mut Portions) -> Result<()> {
        let shape = piece.shape;
        let (key, counted) = match &piece.place {
            SegmentPlace::Own(file) => {
                let mut file = file
                    .lock()
                    .map_err(|_| Error::bug("a segment's reader has panicked"))?;
                return copy_own(&mut *file, shape, out);
            }
            SegmentPlace::Kept(key, counted) => (key, counted),
        };
        let path = self.path(key);
        let copied = match entry::reopen(&path, key, shape) {
            Some((file, crc32)) => copy_entry(file, crc32, shape, out),
            None => CopiedEntry::NotCopied,
        };
        match copied {
            CopiedEntry::Sound => {}
            CopiedEntry::NotCopied => copy_own(&mut self.again(run, key, shape)?, shape, out)?,
            CopiedEntry::Damaged => {
                out.damaged = true;
                return std::fs::remove_file(&path)
                    .context(|| format!("cannot remove `{}`", shown(&path)));
            }
        }
        if !counted.swap(true, Ordering::Relaxed) && copied == CopiedEntry::Sound {
            self.segments.cache.count("segments", true);
            self.segments.count(shape, true);
        }
        Ok(())
    }

    fn again(&self, run: &MemberRun<'_>, key: &str, shape: PieceShape) -> Result<File> {
        let (file, made, _) = self.make(run, key)?;
        if made == shape {
            Ok(file)
        } else {
            Err(Error::bug("a segment differs after compressing it again"))
        }
    }
}

/// The result of copying an entry of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopiedEntry {
    Sound,
    /// The entry is missing or damaged, and no part of it has been copied.
    NotCopied,
    /// The entry is damaged, and a part of it has been copied.
    Damaged,
}

/// Copies an entry of the cache. A small entry is verified before it is copied.
fn copy_entry(mut file: File, crc32: u32, shape: PieceShape, out: &mut Portions) -> CopiedEntry {
    match usize::try_from(shape.packed) {
        Ok(size @ ..PORTION) => {
            let room = out.room(size);
            if file.read_exact(room).is_err() || crc32fast::hash(room) != crc32 {
                return CopiedEntry::NotCopied;
            }
            out.hand_on(size);
            CopiedEntry::Sound
        }
        _ => match stream(&mut file, shape.packed, out) {
            Ok(sum) if sum == crc32 => CopiedEntry::Sound,
            _ => CopiedEntry::Damaged,
        },
    }
}

/// Copies a piece that this build has compressed.
fn copy_own(file: &mut (impl Read + Seek), shape: PieceShape, out: &mut Portions) -> Result<()> {
    entry::begin(file)
        .and_then(|()| stream(file, shape.packed, out))
        .map(|_| ())
        .context(|| "cannot read the cache")
}

/// Copies bytes in steps; returns their CRC-32.
fn stream(file: &mut impl Read, size: u64, out: &mut Portions) -> std::io::Result<u32> {
    let (mut crc, mut left) = (crc32fast::Hasher::new(), size);
    while left > 0 {
        // The checksum is computed while the bytes are in the processor's cache.
        let step = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let room = out.room(step);
        file.read_exact(room)?;
        crc.update(room);
        out.hand_on(step);
        left -= step as u64;
    }
    Ok(crc.finalize())
}

/// Describes everything that determines the bytes of a member. Each part is preceded by its length,
/// so that two descriptions never coincide.
fn describe(member: &MemberHeader<'_>, out: &mut Vec<u8>) {
    let mut part = |bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    };
    part(member.name.as_bytes());
    part(&member.mtime.to_le_bytes());
    let Some((_, entry)) = member.place else {
        return;
    };
    part(&entry.mode.to_le_bytes());
    part(entry.owner.user.as_bytes());
    part(entry.owner.group.as_bytes());
    part(if entry.role == UpgradeRole::Config {
        b"c"
    } else {
        b""
    });
    match &entry.kind {
        EntryKind::Directory => part(b"directory"),
        EntryKind::Symlink(target) => {
            part(b"link");
            part(target.as_bytes());
        }
        EntryKind::File(Content {
            digest,
            bytes: Bytes::Disk { .. } | Bytes::Memory(_),
        }) => {
            part(b"file");
            part(&digest.size.to_le_bytes());
            part(&digest.sha256.0);
        }
    }
}

// Payloads

/// A compressed archive: one zstd frame, gzip member, or xz stream.
#[derive(Debug)]
pub(crate) struct Payload<'m> {
    recipe: PieceRecipe<'m>,
    pieces: Vec<(MemberRun<'m>, SegmentPiece)>,
    frame: StreamFrame,
}

impl Payload<'_> {
    /// Returns the size of the compressed bytes.
    pub(crate) fn size(&self) -> u64 {
        let pieces: u64 = self
            .pieces
            .iter()
            .map(|(_, piece)| piece.shape.packed)
            .sum();
        (self.frame.head.len() + self.frame.tail.len()) as u64 + pieces
    }

    /// Returns the size of the archive.
    pub(crate) fn plain_size(&self) -> u64 {
        self.pieces.iter().map(|(_, piece)| piece.shape.plain).sum()
    }

    /// Writes the whole payload.
    pub(crate) fn write_to(&self, out: &mut dyn Write) -> Result<()> {
        self.write_from(0, out)
    }

    /// Writes the payload without its first pieces. Another thread reads ahead.
    fn write_from(&self, first: usize, out: &mut dyn Write) -> Result<()> {
        let (full, portions) = sync_channel(1);
        let (emptied, spare) = sync_channel(2);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                self.read_from(
                    first,
                    Portions {
                        full,
                        spare,
                        now: Portion::default(),
                        refused: false,
                        damaged: false,
                    },
                )
            });
            let written = write_portions(portions, &emptied, out);
            let read = reading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written.and(read)
        })
    }

    fn read_from(&self, first: usize, mut out: Portions) -> Result<()> {
        if first == 0 {
            out.put(&self.frame.head);
        }
        for (run, piece) in &self.pieces[first..] {
            if out.refused {
                break;
            }
            self.recipe.copy(run, piece, &mut out)?;
        }
        out.put(&self.frame.tail);
        out.send();
        if !out.damaged {
            return Ok(());
        }
        self.recipe.segments.damaged.store(true, Ordering::Relaxed);
        Err(Error::new("segments in the cache are damaged")
            .hint("the next build creates them again"))
    }

    /// Returns the SHA-256 of the compressed bytes. Pieces that an earlier payload began with are
    /// not read: they are verified when they are copied.
    pub(crate) fn sha256(&self) -> Result<[u8; 32]> {
        let cache = self.recipe.segments.cache;
        let mut chain = SumChain::new(&self.frame.head);
        let chains: Vec<Sha256Sum> = self
            .pieces
            .iter()
            .map(|(_, piece)| chain.add(&piece.sha256))
            .collect();
        let states = SumStates::read(cache, &self.kind());
        let known = (1..=chains.len())
            .rev()
            .find_map(|end| Some((end, states.hasher(&chains[end - 1])?)));
        let (first, hasher) = known.unwrap_or_default();
        let before = if first == 0 {
            self.frame.head.len() as u64
        } else {
            0
        };
        let lengths = self
            .pieces
            .iter()
            .map(|(_, piece)| piece.shape.packed)
            .enumerate()
            .skip(first);
        let mut summing = SummingWriter::new(hasher, before, lengths);
        self.write_from(first, &mut summing)?;
        let (sum, made) = summing.finish();
        states.keep(cache, &chains, made)?;
        Ok(sum)
    }

    /// Returns the properties that payloads with the same first pieces have in common.
    fn kind(&self) -> String {
        let first = self
            .pieces
            .iter()
            .find_map(|(_, piece)| match &piece.place {
                SegmentPlace::Kept(key, _) => Some(key.as_str()),
                SegmentPlace::Own(_) => None,
            });
        let PieceRecipe {
            archive,
            compression,
            ..
        } = self.recipe;
        format!("{archive:?} {compression:?} {}", first.unwrap_or_default())
    }
}

/// Writes portions until the reader has no more.
fn write_portions(
    portions: Receiver<Portion>,
    emptied: &SyncSender<Portion>,
    out: &mut dyn Write,
) -> Result<()> {
    for mut portion in portions {
        let used = std::mem::take(&mut portion.used);
        // The chunks are of about the same size, so that none is small.
        let each = used.div_ceil((used / PORTION).max(1)).max(1);
        portion.bytes[..used]
            .chunks(each)
            .try_for_each(|bytes| out.write_all(bytes))
            .context(cannot_write)?;
        // A surplus buffer is dropped.
        _ = emptied.try_send(portion);
    }
    Ok(())
}

/// A buffer, of which the first `used` bytes count.
#[derive(Default)]
struct Portion {
    bytes: Vec<u8>,
    used: usize,
}

/// Gathers pieces in portions of at least [`PORTION`], so that small pieces are copied only once.
struct Portions {
    full: SyncSender<Portion>,
    spare: Receiver<Portion>,
    now: Portion,
    /// Whether the writer takes no more.
    refused: bool,
    /// Whether damaged bytes were sent. Nothing is sent anymore, and the rest is only verified.
    damaged: bool,
}

impl Portions {
    /// Returns space for `size` bytes after the gathered ones. They count once they are handed on.
    fn room(&mut self, size: usize) -> &mut [u8] {
        let Portion { bytes, used } = &mut self.now;
        let end = *used + size;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        &mut bytes[*used..end]
    }

    /// Counts the bytes in the space that `room` returned last; sends full portions.
    fn hand_on(&mut self, size: usize) {
        self.now.used += size;
        if self.now.used >= PORTION {
            self.send();
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.hand_on(bytes.len());
    }

    fn send(&mut self) {
        if self.damaged {
            self.now.used = 0;
            return;
        }
        let full = std::mem::take(&mut self.now);
        // If sending fails, the writer has failed and reports the reason.
        self.refused |= self.full.send(full).is_err();
        // Buffers are reused: allocating new ones would cost as much as filling them.
        self.now = self.spare.try_recv().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
