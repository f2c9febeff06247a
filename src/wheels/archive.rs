//! A wheel as a file, read as untrusted input (PEP 427, binary distribution format; APPNOTE.TXT for
//! zip).
//!
//! [`WheelArchive::open`] checks the archive's directory and the few files that describe it, and
//! refuses everything that violates the specification. [`WheelArchive::for_each_file`] yields the
//! content, and fails at the end of a member that does not match RECORD: neither pip nor uv
//! compares these hashes. A wheel is read to its end once, when it enters the cache
//! ([`WheelArchive::verify`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pkgapp_pypa::Metadata23;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use zip::CompressionMethod;
use zip::read::{ZipArchive, ZipFile};

use super::WheelMetadata;
use super::inflate::{Inflater, MemberReader};
use super::window::WindowReader;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;
use pkgapp_pypa::{PackageName, Version, WheelFilename};

/// The maximum unpacked size of a wheel in bytes; the largest on PyPI in 2026 unpack to about 4 GB.
pub(super) const MAX_UNPACKED: u64 = 8 << 30;

/// The maximum number of members; the largest wheels on PyPI have some ten thousand.
const MAX_MEMBERS: usize = 200_000;

/// The maximum ratio of unpacked to packed size of a wheel beyond [`FREE_UNPACKED`]. Text reaches
/// about 10; deflate's limit is 1032.
pub(super) const MAX_RATIO: u64 = 250;

/// Unpacked size in bytes below which any ratio is accepted: a small file of zeros is not an
/// attack.
pub(super) const FREE_UNPACKED: u64 = 64 << 20;

/// The maximum size in bytes of a file in `.dist-info`, which is read into memory.
const MAX_TEXT: u64 = 64 << 20;

/// A wheel that is open for reading.
pub struct WheelArchive {
    path: PathBuf,
    filename: WheelFilename,
    zip: ZipArchive<WindowReader>,
    inflater: Inflater,
    members: Vec<ArchiveMember>,
    dist_info: String,
    metadata: WheelMetadata,
    wheel_info: WheelInfo,
    entry_points: Option<String>,
    record: Vec<RecordEntry>,
}

/// A regular file in a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveMember {
    /// Its path in the archive: `flask/app.py`, `flask-3.1.3.data/scripts/x`.
    pub path: ReleasePath,
    /// Whether the archive lets anyone execute it.
    pub executable: bool,
    /// Length in bytes.
    pub size: u64,
    /// Its hash in RECORD; `None` for RECORD itself, its signatures, and files with another hash
    /// than SHA-256.
    pub sha256: Option<Sha256Sum>,
    hash: Option<RecordHash>,
    index: usize,
}

impl ArchiveMember {
    /// Creates the member at `index` of the archive; its hash in RECORD is not known yet.
    fn new(path: ReleasePath, entry: &CentralEntry, size: u64, index: usize) -> Self {
        Self {
            path,
            executable: entry.mode & 0o111 != 0,
            size,
            sha256: None,
            hash: None,
            index,
        }
    }

    /// Sets the hash that RECORD states.
    fn set_hash(&mut self, hash: RecordHash) {
        if let RecordHash::Sha256(sum) = hash {
            self.sha256 = Some(Sha256Sum(sum));
        }
        self.hash = Some(hash);
    }
}

/// A line of RECORD, verbatim (PEP 376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEntry {
    /// The file.
    pub path: String,
    /// `sha256=…` in URL-safe base64 without padding; empty for RECORD itself.
    pub hash: String,
    /// Length in bytes, if it is given.
    pub size: Option<u64>,
}

/// A wheel's WHEEL file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelInfo {
    /// Whether the root of the archive goes to purelib rather than platlib.
    pub root_is_purelib: bool,
    /// `Tag`, verbatim, in order.
    pub tags: Vec<String>,
    /// `Generator`.
    pub generator: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RecordHash {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

/// The content of an archive's members.
struct MemberContent<'a> {
    zip: &'a mut ZipArchive<WindowReader>,
    inflater: &'a mut Inflater,
    refusal: &'a ArchiveRefusal,
}

impl MemberContent<'_> {
    /// Calls `visit` with a member, and compares all of it with RECORD.
    fn visit(
        &mut self,
        member: &ArchiveMember,
        visit: &mut impl FnMut(&ArchiveMember, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let refused = |why: &str| self.refusal.member(member.path.as_str(), why);
        let packed = self
            .zip
            .by_index_raw(member.index)
            .map_err(|error| refused("cannot be read").cause(error))?;
        let crc32 = packed.crc32();
        let inner = if packed.compression() == CompressionMethod::Stored {
            MemberReader::Stored(packed)
        } else {
            self.inflater.begin(packed)
        };
        let mut checked = CheckedReader {
            inner,
            member,
            size: 0,
            hasher: MemberHasher::for_hash(member.hash.as_ref()),
            crc32,
            summed: crc32fast::Hasher::new(),
        };
        visit(member, &mut checked)?;
        checked
            .finish()
            .map_err(|why| self.refusal.member(member.path.as_str(), why))
    }
}

impl WheelArchive {
    /// Opens a wheel and checks everything that can be checked without reading its payload: names,
    /// kinds, and sizes of the members, `.dist-info`, WHEEL, METADATA, and that RECORD lists
    /// exactly the files in the archive.
    ///
    /// # Errors
    /// Fails on every violation of the specification; the message names the wheel, the member, and
    /// the reason.
    pub fn open(path: &Path, filename: &WheelFilename) -> Result<Self> {
        let refusal = ArchiveRefusal {
            wheel: file_name(path),
        };
        let window = || {
            WindowReader::new(fs::open(path)?).context(|| format!("cannot read `{}`", shown(path)))
        };
        let mut raw = window()?;
        let mut zip = open_zip(window()?, &refusal)?;
        let (start, length) = (zip.central_directory_start(), raw.length());
        let mut listed =
            read_directory(&mut raw, start, length).map_err(|why| refusal.whole(why))?;
        let (members, directories) = check_members(&mut zip, &mut listed, start, length, &refusal)?;
        check_local_headers(&mut raw, &listed).map_err(|(name, why)| refusal.member(&name, why))?;
        check_names(&members, &directories, &refusal)?;
        let dist_info = find_dist_info(&members, filename, &refusal)?;

        let mut archive = Self {
            path: path.to_owned(),
            filename: filename.clone(),
            zip,
            inflater: Inflater::new(),
            members,
            dist_info,
            metadata: WheelMetadata::unknown(filename),
            wheel_info: WheelInfo {
                root_is_purelib: true,
                tags: Vec::new(),
                generator: None,
            },
            entry_points: None,
            record: Vec::new(),
        };
        archive.read_dist_info(&refusal)?;
        Ok(archive)
    }

    /// Calls `visit` with every file in the order of the archive. `visit` need not read to the end;
    /// the rest is read and compared anyway.
    ///
    /// # Errors
    /// Fails if `visit` does, if a member's length or hash does not match RECORD, or if its bytes
    /// cannot be unpacked. By then, `visit` has seen the bytes: the caller must discard the
    /// results.
    pub fn for_each_file(
        &mut self,
        mut visit: impl FnMut(&ArchiveMember, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let refusal = ArchiveRefusal {
            wheel: file_name(&self.path),
        };
        for member in &self.members {
            let mut content = MemberContent {
                zip: &mut self.zip,
                inflater: &mut self.inflater,
                refusal: &refusal,
            };
            content.visit(member, &mut visit)?;
        }
        Ok(())
    }

    /// Reads one file, of at most `limit` bytes; `None` if the wheel has no such file.
    ///
    /// # Errors
    /// The file is larger, or does not match RECORD.
    pub fn read_file(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let refusal = ArchiveRefusal {
            wheel: file_name(&self.path),
        };
        let mut members = self.members.iter();
        let Some(member) = members.find(|member| member.path.as_str() == path) else {
            return Ok(None);
        };
        if member.size > limit {
            let kibibytes = limit >> 10;
            return Err(refusal.member(path, format!("is larger than {kibibytes} KiB")));
        }
        let mut bytes = Vec::new();
        let mut content = MemberContent {
            zip: &mut self.zip,
            inflater: &mut self.inflater,
            refusal: &refusal,
        };
        content.visit(member, &mut |_, reader: &mut dyn Read| {
            let read = reader.take(limit).read_to_end(&mut bytes);
            read.map_err(|error| refusal.member(path, "cannot be read").cause(error))?;
            Ok(())
        })?;
        Ok(Some(bytes))
    }

    /// Reads every byte and compares it with RECORD.
    ///
    /// # Errors
    /// Like [`WheelArchive::for_each_file`].
    pub fn verify(&mut self) -> Result<()> {
        self.for_each_file(|_, _| Ok(()))
    }

    /// Returns the file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the parsed file name.
    pub fn filename(&self) -> &WheelFilename {
        &self.filename
    }

    /// Returns all files, in the order of the archive.
    pub fn members(&self) -> &[ArchiveMember] {
        &self.members
    }

    /// Returns the name of the `.dist-info` directory, as spelled in the archive.
    pub fn dist_info(&self) -> &str {
        &self.dist_info
    }

    /// Returns the content of METADATA.
    pub fn metadata(&self) -> &WheelMetadata {
        &self.metadata
    }

    /// Returns the content of WHEEL.
    pub fn wheel_info(&self) -> &WheelInfo {
        &self.wheel_info
    }

    /// Returns `entry_points.txt`, if there is one.
    pub fn entry_points(&self) -> Option<&str> {
        self.entry_points.as_deref()
    }

    /// Returns RECORD, in its own order.
    pub fn record(&self) -> &[RecordEntry] {
        &self.record
    }

    fn read_dist_info(&mut self, refusal: &ArchiveRefusal) -> Result<()> {
        let required = |text: Option<String>, name: &str| {
            text.ok_or_else(|| refusal.whole(format!("it has no `{name}` in its `.dist-info`")))
        };
        let wheel = required(self.text("WHEEL", refusal)?, "WHEEL")?;
        self.wheel_info =
            parse_wheel(&wheel).map_err(|why| refusal.member(&self.inside("WHEEL"), why))?;
        let metadata = required(self.text("METADATA", refusal)?, "METADATA")?;
        self.metadata = parse_metadata(&metadata, &self.filename)
            .map_err(|why| refusal.member(&self.inside("METADATA"), why))?;
        let record = required(self.text("RECORD", refusal)?, "RECORD")?;
        self.record =
            parse_record(&record).map_err(|why| refusal.member(&self.inside("RECORD"), why))?;
        self.entry_points = self.text("entry_points.txt", refusal)?;
        self.check_record(refusal)
    }

    /// Compares RECORD's lines with the members, and sets each member's hash.
    fn check_record(&mut self, refusal: &ArchiveRefusal) -> Result<()> {
        let own = self.inside("RECORD");
        let unhashed = [
            own.clone(),
            self.inside("RECORD.jws"),
            self.inside("RECORD.p7s"),
        ];
        let mut lines = lines_by_path(&self.record, &own, refusal)?;
        let mut gaps = Vec::new();
        for member in &mut self.members {
            let path = member.path.as_str();
            let line = lines.remove(path);
            if unhashed.iter().any(|name| name == path) {
                continue;
            }
            let Some(line) = line else {
                gaps.push(format!("`{path}` is not listed in RECORD"));
                continue;
            };
            let hash = RecordHash::parse(&line.hash)
                .map_err(|why| refusal.member(&own, format!("{why} for `{path}`")))?;
            if let Some(size) = line.size.filter(|size| *size != member.size) {
                let why = format!("has {} bytes, but RECORD states {size}", member.size);
                return Err(refusal.member(path, why));
            }
            member.set_hash(hash);
        }

        gaps.extend(missing_members(lines.into_keys(), &own, &unhashed[1..]));
        self.metadata.record_gap = first_gap(gaps);
        Ok(())
    }

    fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.dist_info)
    }

    fn text(&mut self, name: &str, refusal: &ArchiveRefusal) -> Result<Option<String>> {
        let path = self.inside(name);
        let Some(member) = self
            .members
            .iter()
            .find(|member| member.path.as_str() == path)
        else {
            return Ok(None);
        };
        if member.size > MAX_TEXT {
            return Err(refusal.member(
                &path,
                format!(
                    "has {} bytes, more than the maximum of {MAX_TEXT}",
                    member.size
                ),
            ));
        }
        let unreadable = |error: &dyn std::error::Error| {
            refusal
                .member(&path, "cannot be read")
                .cause_text(error.to_string())
        };
        let inside = self
            .zip
            .by_index(member.index)
            .map_err(|error| unreadable(&error))?;
        let mut bytes = Vec::new();
        inside
            .take(MAX_TEXT)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| refusal.member(&path, "is not UTF-8"))
    }
}

impl fmt::Debug for WheelArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("path", &self.path)
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl WheelMetadata {
    fn unknown(filename: &WheelFilename) -> Self {
        Self {
            name: filename.name.clone(),
            version: filename.version.clone(),
            requires: Vec::new(),
            requires_python: None,
            extras: Vec::new(),
            summary: None,
            license: None,
            record_gap: None,
        }
    }
}

/// Builds all refusals in the same form.
struct ArchiveRefusal {
    wheel: String,
}

impl ArchiveRefusal {
    fn whole(&self, why: impl fmt::Display) -> Error {
        Error::new(format!("wheel `{}` is refused: {why}", self.wheel))
    }

    fn member(&self, name: &str, why: impl fmt::Display) -> Error {
        Error::new(format!(
            "wheel `{}` is refused: `{}` {why}",
            self.wheel,
            name.escape_debug()
        ))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A header of the central directory (APPNOTE 4.3.12), unprocessed: the zip crate drops the first
/// of two equal names.
struct CentralEntry {
    name: Vec<u8>,
    method: u16,
    flags: u16,
    /// As in the header: `u32::MAX` means that the length is in the zip64 field.
    sizes: (u32, u32),
    mode: u32,
    header: u64,
}

fn read_directory(
    reader: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> Result<Vec<CentralEntry>, String> {
    let failed = |error: io::Error| format!("its directory cannot be read ({error})");
    reader.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut directory = Vec::new();
    reader
        .take(length - start.min(length))
        .read_to_end(&mut directory)
        .map_err(failed)?;

    let mut listed = Vec::new();
    let mut rest = directory.as_slice();
    while rest.starts_with(b"PK\x01\x02") {
        if listed.len() == MAX_MEMBERS {
            return Err(format!("it has more than {MAX_MEMBERS} members"));
        }
        let (entry, after) =
            CentralEntry::parse(rest).ok_or_else(|| "its directory is truncated".to_owned())?;
        listed.push(entry);
        rest = after;
    }
    // The end of the directory, for zip or zip64; anything else hides data.
    if rest.starts_with(b"PK\x05\x06") || rest.starts_with(b"PK\x06\x06") {
        return Ok(listed);
    }
    Err("its directory does not end at the stated place".to_owned())
}

impl CentralEntry {
    /// Parses the header at the start of `bytes`; returns it with the bytes after it.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let header = bytes.get(..46)?;
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(header, at)));
        let entry = Self {
            name: bytes.get(46..46 + name)?.to_owned(),
            method: u16_at(header, 10),
            flags: u16_at(header, 8),
            sizes: (u32_at(header, 20), u32_at(header, 24)),
            mode: u32_at(header, 38) >> 16,
            header: 0,
        };
        Some((entry, bytes.get(46 + name + extra + comment..)?))
    }
}

fn u16_at(header: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Returns a sentence for each path that RECORD lists although the archive lacks the file. Some
/// tools list directories, which is harmless, and RECORD may list its missing `signatures`.
fn missing_members<'a>(
    paths: impl Iterator<Item = &'a str>,
    record: &str,
    signatures: &[String],
) -> Vec<String> {
    let is_optional =
        |path: &&str| path.ends_with('/') || signatures.iter().any(|name| name == path);
    let missing: BTreeSet<&str> = paths.filter(|path| !is_optional(path)).collect();
    missing
        .into_iter()
        .map(|path| {
            let path = path.escape_debug();
            format!("`{record}` lists `{path}`, which is not in the archive")
        })
        .collect()
}

/// Returns the lines of RECORD by path, which must be unique.
fn lines_by_path<'a>(
    record: &'a [RecordEntry],
    own: &str,
    refusal: &ArchiveRefusal,
) -> Result<HashMap<&'a str, &'a RecordEntry>> {
    let mut lines: HashMap<&str, &RecordEntry> = HashMap::new();
    for line in record {
        if lines.insert(&line.path, line).is_some() {
            return Err(refusal.member(own, format!("lists `{}` twice", line.path)));
        }
    }
    Ok(lines)
}

fn first_gap(gaps: Vec<String>) -> Option<String> {
    let more = gaps.len().saturating_sub(1);
    let gap = gaps.into_iter().next()?;
    Some(match more {
        0 => gap,
        more => format!("{gap} (and {more} more)"),
    })
}

fn check_members<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    listed: &mut [CentralEntry],
    start: u64,
    length: u64,
    refusal: &ArchiveRefusal,
) -> Result<(Vec<ArchiveMember>, Vec<ReleasePath>)> {
    check_unique(listed, zip.len(), refusal)?;

    let mut members = Vec::new();
    let mut directories = Vec::new();
    let mut unpacked = 0_u64;
    let mut ranges = Vec::new();
    for (index, entry) in listed.iter_mut().enumerate() {
        let raw = utf8_name(&entry.name, refusal)?;
        check_directory_entry(entry).map_err(|why| refusal.member(raw, why))?;
        let member = zip
            .by_index_raw(index)
            .map_err(|error| refusal.member(raw, "cannot be read").cause(error))?;
        let path = check_member(entry, &member, raw).map_err(|why| refusal.member(raw, why))?;

        entry.header = member.header_start();
        ranges.push((member.header_start(), end_of(&member), raw));
        unpacked = unpacked.saturating_add(member.size());
        if raw.ends_with('/') {
            directories.push(path);
        } else {
            members.push(ArchiveMember::new(path, entry, member.size(), index));
        }
    }
    check_bomb(unpacked, length).map_err(|why| refusal.whole(why))?;
    check_overlap(&mut ranges, start).map_err(|(name, why)| refusal.member(name, why))?;
    Ok((members, directories))
}

/// Returns the offset after the packed bytes of a member.
fn end_of<R: Read>(member: &ZipFile<'_, R>) -> u64 {
    let data = member.data_start().unwrap_or(member.header_start());
    data.saturating_add(member.compressed_size())
}

/// Checks that the zip crate sees every entry of the directory, and each only once.
fn check_unique(listed: &[CentralEntry], seen: usize, refusal: &ArchiveRefusal) -> Result<()> {
    let mut names = HashSet::new();
    if let Some(twice) = listed.iter().find(|entry| !names.insert(&entry.name)) {
        return Err(refusal.member(&String::from_utf8_lossy(&twice.name), "occurs twice"));
    }
    if seen != listed.len() {
        return Err(refusal.whole("two members have the same name in different encodings"));
    }
    Ok(())
}

fn utf8_name<'a>(name: &'a [u8], refusal: &ArchiveRefusal) -> Result<&'a str> {
    std::str::from_utf8(name).map_err(|_| {
        let shown = String::from_utf8_lossy(name);
        refusal.member(&shown, "has a name that is not UTF-8")
    })
}

/// Refuses members that only some programs can unpack.
fn check_directory_entry(entry: &CentralEntry) -> Result<(), String> {
    if entry.flags & 1 != 0 {
        return Err("is encrypted".to_owned());
    }
    match entry.method {
        0 | 8 => Ok(()),
        other => Err(format!(
            "is compressed with method {other}; wheels use stored (0) or deflated (8)"
        )),
    }
}

/// Checks that the zip crate reads a member as the directory describes it, and that it is a file or
/// directory that can be unpacked. Returns its path.
fn check_member<R: Read>(
    entry: &CentralEntry,
    member: &ZipFile<'_, R>,
    raw: &str,
) -> Result<ReleasePath, String> {
    if member.name_raw() != entry.name {
        return Err("has a different name in an extra field".to_owned());
    }
    if !matches!(
        member.compression(),
        CompressionMethod::Stored | CompressionMethod::Deflated
    ) {
        return Err("is compressed with a method that wheels do not use".to_owned());
    }
    let is_directory = raw.ends_with('/');
    check_kind(entry.mode, is_directory)?;
    let path = check_path(raw)?;
    if is_directory && member.size() != 0 {
        return Err("is a directory with content".to_owned());
    }
    Ok(path)
}

/// Checks the kind in `st_mode` (inode(7)); archives made without Unix modes have 0.
fn check_kind(mode: u32, directory: bool) -> Result<(), String> {
    match (mode & 0o170_000, directory) {
        (0, _) | (0o100_000, false) | (0o040_000, true) => Ok(()),
        (0o120_000, _) => Err("is a symbolic link, which wheels cannot contain".to_owned()),
        (0o100_000 | 0o040_000, _) => Err("is marked both as a file and as a directory".to_owned()),
        _ => Err("is a special file".to_owned()),
    }
}

pub(super) fn check_path(raw: &str) -> Result<ReleasePath, String> {
    if raw.contains('\\') {
        return Err("has a backslash in its name".to_owned());
    }
    if raw.starts_with('/') {
        return Err("has an absolute name".to_owned());
    }
    if raw.as_bytes().get(1) == Some(&b':') {
        return Err("has a drive letter in its name".to_owned());
    }
    if raw.chars().any(char::is_control) {
        return Err("has a control character in its name".to_owned());
    }
    let path = raw.strip_suffix('/').unwrap_or(raw);
    if path.split('/').any(|component| component == "..") {
        return Err("points outside the archive".to_owned());
    }
    ReleasePath::parse(path).map_err(|_| "has an empty or `.` component in its name".to_owned())
}

fn check_bomb(unpacked: u64, length: u64) -> Result<(), String> {
    if unpacked > MAX_UNPACKED {
        return Err(format!(
            "it unpacks to {unpacked} bytes, more than the maximum of {MAX_UNPACKED}"
        ));
    }
    if unpacked > FREE_UNPACKED && unpacked / MAX_RATIO > length {
        return Err(format!(
            "it unpacks from {length} to {unpacked} bytes, more than {MAX_RATIO} times its size"
        ));
    }
    Ok(())
}

fn check_overlap<'a>(
    ranges: &mut [(u64, u64, &'a str)],
    directory: u64,
) -> Result<(), (&'a str, String)> {
    ranges.sort_unstable();
    let ends = ranges
        .iter()
        .skip(1)
        .map(|range| range.0)
        .chain([directory]);
    for ((_, end, name), next) in ranges.iter().zip(ends) {
        if *end > next {
            return Err((name, "overlaps the data after it".to_owned()));
        }
    }
    Ok(())
}

/// Checks that a reader of the headers before the members sees the same as a reader of the
/// directory.
fn check_local_headers(
    reader: &mut (impl Read + Seek),
    listed: &[CentralEntry],
) -> Result<(), (String, String)> {
    for entry in listed {
        let name = || String::from_utf8_lossy(&entry.name).into_owned();
        let failed = |error: io::Error| (name(), format!("cannot be read ({error})"));
        reader.seek(SeekFrom::Start(entry.header)).map_err(failed)?;
        let mut header = [0; 30];
        reader.read_exact(&mut header).map_err(failed)?;
        let mut local = vec![0; usize::from(u16_at(&header, 26))];
        reader.read_exact(&mut local).map_err(failed)?;
        if !header.starts_with(b"PK\x03\x04") || local != entry.name {
            return Err((name(), "has a different name in its own header".to_owned()));
        }
        if !entry.matches_local(&header) {
            let why = "has a different length or method in its own header";
            return Err((name(), why.to_owned()));
        }
    }
    Ok(())
}

impl CentralEntry {
    /// Returns whether the local header has the same sizes and method. A streamed member has no
    /// sizes there, and zip64 keeps them elsewhere.
    fn matches_local(&self, header: &[u8]) -> bool {
        let is_streamed = u16_at(header, 6) & 8 != 0;
        let is_same = |one: u32, other: u32| one == other || one == u32::MAX || other == u32::MAX;
        let sizes_match =
            is_same(u32_at(header, 18), self.sizes.0) && is_same(u32_at(header, 22), self.sizes.1);
        (is_streamed || sizes_match) && u16_at(header, 8) == self.method
    }
}

/// Refuses two paths that differ only in case, and a file in the place of a directory.
fn check_names(
    members: &[ArchiveMember],
    directories: &[ReleasePath],
    refusal: &ArchiveRefusal,
) -> Result<()> {
    let files: HashSet<&str> = members.iter().map(|member| member.path.as_str()).collect();
    let mut spelt: BTreeMap<String, String> = BTreeMap::new();
    for path in members.iter().map(|member| &member.path).chain(directories) {
        let mut next = Some(path.clone());
        while let Some(path) = next {
            check_case(&mut spelt, path.as_str(), refusal)?;
            next = path.parent();
            if let Some(parent) = next.as_ref().filter(|path| files.contains(path.as_str())) {
                let why = format!("is a file, but `{path}` is below it");
                return Err(refusal.member(parent.as_str(), why));
            }
        }
    }
    match directories
        .iter()
        .find(|directory| files.contains(directory.as_str()))
    {
        Some(path) => Err(refusal.member(path.as_str(), "is both a file and a directory")),
        None => Ok(()),
    }
}

/// Refuses a path that differs only in case from an earlier one; `spelt` has those by lower case.
fn check_case(
    spelt: &mut BTreeMap<String, String>,
    path: &str,
    refusal: &ArchiveRefusal,
) -> Result<()> {
    let known = spelt
        .entry(path.to_lowercase())
        .or_insert_with(|| path.to_owned());
    if known == path {
        return Ok(());
    }
    let (a, b) = (known.as_str().min(path), known.as_str().max(path));
    Err(refusal.member(a, format!("and `{b}` differ only in case")))
}

fn find_dist_info(
    members: &[ArchiveMember],
    filename: &WheelFilename,
    refusal: &ArchiveRefusal,
) -> Result<String> {
    let found: BTreeSet<&str> = members
        .iter()
        .filter_map(|member| member.path.as_str().split_once('/'))
        .map(|(top, _)| top)
        .filter(|top| top.ends_with(".dist-info"))
        .collect();
    let found: Vec<&str> = found.into_iter().collect();
    let [directory] = found[..] else {
        return Err(if found.is_empty() {
            refusal.whole("it has no `.dist-info` directory")
        } else {
            refusal.whole(format!(
                "it has several `.dist-info` directories: `{}`",
                found.join("`, `")
            ))
        });
    };
    let stem = directory.strip_suffix(".dist-info").unwrap_or(directory);
    let named = stem.rsplit_once('-').and_then(|(name, version)| {
        Some((
            PackageName::from_str(name).ok()?,
            Version::from_str(version).ok()?,
        ))
    });
    match named {
        Some((name, version)) if name == filename.name && version == filename.version => {
            Ok(directory.to_owned())
        }
        _ => Err(refusal.member(
            directory,
            format!(
                "does not belong to `{} {}`",
                filename.name, filename.version
            ),
        )),
    }
}

/// Returns the values of a header in the style of RFC 822: `Name: value`, up to an empty line.
fn headers<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

fn parse_wheel(text: &str) -> Result<WheelInfo, String> {
    let first = |name: &str| headers(text, name).first().copied();
    let version = first("Wheel-Version").ok_or("has no `Wheel-Version`")?;
    if version.split('.').next() != Some("1") {
        return Err(format!(
            "has `Wheel-Version: {version}`, but pkgapp supports only version 1"
        ));
    }
    let root_is_purelib = match first("Root-Is-Purelib")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("true") => true,
        Some("false") => false,
        _ => return Err("has neither `Root-Is-Purelib: true` nor `false`".to_owned()),
    };
    Ok(WheelInfo {
        root_is_purelib,
        tags: headers(text, "Tag")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        generator: first("Generator").map(str::to_owned),
    })
}

fn parse_metadata(text: &str, filename: &WheelFilename) -> Result<WheelMetadata, String> {
    let said = Metadata23::parse(text.as_bytes())
        .map_err(|error| format!("cannot be parsed ({error})"))?;
    let name = PackageName::from_str(&said.name)
        .map_err(|_| format!("has the invalid `Name: {}`", said.name))?;
    let version = Version::from_str(&said.version)
        .map_err(|_| format!("has the invalid `Version: {}`", said.version))?;
    if name != filename.name {
        return Err(format!(
            "has `Name: {}`, but the file name has `{}`",
            said.name, filename.name
        ));
    }
    // A build tool may omit the local part in the file name; uv accepts that too.
    if version != filename.version && version.clone().without_local() != filename.version {
        return Err(format!(
            "has `Version: {}`, but the file name has `{}`",
            said.version, filename.version
        ));
    }
    Ok(WheelMetadata {
        name,
        version,
        license: filled(&said.license_expression)
            .or_else(|| filled(&said.license))
            .or_else(|| license_of(&said.classifiers)),
        summary: filled(&said.summary),
        requires: said.requires_dist,
        requires_python: said.requires_python,
        extras: said.provides_extra,
        record_gap: None,
    })
}

fn filled(text: &Option<String>) -> Option<String> {
    text.clone()
        .filter(|text| !text.trim().is_empty() && text != "UNKNOWN")
}

/// Returns the licenses in classifiers such as `License :: OSI Approved :: MIT License`.
fn license_of(classifiers: &[String]) -> Option<String> {
    let names: Vec<&str> = classifiers
        .iter()
        .filter_map(|text| text.strip_prefix("License ::"))
        .filter_map(|text| text.rsplit("::").next())
        .map(str::trim)
        .collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

fn parse_record(text: &str) -> Result<Vec<RecordEntry>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut entries = Vec::new();
    for (line, row) in reader.records().enumerate() {
        let row = row.map_err(|error| format!("is not CSV ({error})"))?;
        let size = match row.get(2).filter(|size| !size.is_empty()) {
            Some(size) => Some(
                size.parse()
                    .map_err(|_| format!("has the invalid length `{size}` in line {}", line + 1))?,
            ),
            None => None,
        };
        let path = row.get(0).unwrap_or_default().to_owned();
        entries.push(RecordEntry {
            path,
            hash: row.get(1).unwrap_or_default().to_owned(),
            size,
        });
    }
    Ok(entries)
}

impl RecordHash {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((algorithm, digest)) = text.split_once('=') else {
            return Err("has no hash".to_owned());
        };
        // Old versions of bdist_wheel wrote hexadecimal digests, which pip does not look at. No
        // base64 of these hashes has such a length.
        let bytes = match digest.len() {
            64 | 96 | 128 => hex::decode(digest).ok(),
            _ => decode_base64url(digest),
        };
        let sized =
            |bytes: Option<Vec<u8>>| bytes.ok_or_else(|| format!("has the invalid hash `{text}`"));
        let wrong = |_| format!("has the invalid hash `{text}`");
        match algorithm {
            "sha256" => Ok(Self::Sha256(sized(bytes)?.try_into().map_err(wrong)?)),
            "sha384" => Ok(Self::Sha384(sized(bytes)?.try_into().map_err(wrong)?)),
            "sha512" => Ok(Self::Sha512(sized(bytes)?.try_into().map_err(wrong)?)),
            _ => Err(format!(
                "has a hash with `{algorithm}`, which is weaker than sha256,"
            )),
        }
    }
}

/// URL-safe base64, with or without padding (RFC 4648 §5).
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut buffer, mut bits) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        buffer = (buffer << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

enum MemberHasher {
    None,
    Sha256(Sha256),
    Sha384(Box<Sha384>),
    Sha512(Box<Sha512>),
}

impl MemberHasher {
    fn for_hash(hash: Option<&RecordHash>) -> Self {
        match hash {
            None => Self::None,
            Some(RecordHash::Sha256(_)) => Self::Sha256(Sha256::new()),
            Some(RecordHash::Sha384(_)) => Self::Sha384(Box::new(Sha384::new())),
            Some(RecordHash::Sha512(_)) => Self::Sha512(Box::new(Sha512::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Option<RecordHash> {
        match self {
            Self::None => None,
            Self::Sha256(hasher) => Some(RecordHash::Sha256(hasher.finalize().into())),
            Self::Sha384(hasher) => Some(RecordHash::Sha384(hasher.finalize().into())),
            Self::Sha512(hasher) => Some(RecordHash::Sha512(hasher.finalize().into())),
        }
    }
}

/// A member's bytes, counted and hashed while they are read.
struct CheckedReader<'member, R> {
    inner: R,
    member: &'member ArchiveMember,
    size: u64,
    hasher: MemberHasher,
    /// The values stated in the archive.
    crc32: u32,
    summed: crc32fast::Hasher,
}

impl<R: Read> Read for CheckedReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.size += read as u64;
        // A bomb declares a small length and continues; `check_bomb` counted the declared lengths.
        if self.size > self.member.size {
            return Err(io::Error::other(format!(
                "it has more than the {} bytes it declares",
                self.member.size
            )));
        }
        self.hasher.update(&buffer[..read]);
        self.summed.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R: Read> CheckedReader<'_, R> {
    fn finish(mut self) -> Result<(), String> {
        io::copy(&mut self, &mut io::sink())
            .map_err(|error| format!("cannot be unpacked: {error}"))?;
        if self.size != self.member.size {
            return Err(format!(
                "has {} bytes, but declares {}",
                self.size, self.member.size
            ));
        }
        if self.summed.finalize() != self.crc32 {
            return Err("does not match the CRC-32 in the archive".to_owned());
        }
        if self.hasher.finish() == self.member.hash {
            Ok(())
        } else {
            Err("does not match its hash in RECORD".to_owned())
        }
    }
}

fn open_zip(reader: WindowReader, refusal: &ArchiveRefusal) -> Result<ZipArchive<WindowReader>> {
    let zip = ZipArchive::new(reader)
        .map_err(|error| refusal.whole("it is not a zip archive").cause(error))?;
    match zip.offset() {
        0 => Ok(zip),
        bytes => Err(refusal.whole(format!("{bytes} bytes precede the first member"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::super::testing::WheelMaker;
    use super::*;

    const NAME: &str = "demo-1.0-py3-none-any.whl";

    fn maker() -> WheelMaker {
        WheelMaker::new("demo", "1.0")
    }

    fn open(bytes: &[u8]) -> Result<WheelArchive> {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join(NAME);
        std::fs::write(&path, bytes).unwrap();
        let mut archive = WheelArchive::open(&path, &WheelFilename::from_str(NAME).unwrap())?;
        archive.verify()?;
        Ok(archive)
    }

    /// Opens and reads a wheel that must be refused, and returns why.
    #[track_caller]
    fn refusal(bytes: &[u8]) -> String {
        let error = open(bytes).expect_err("it should be refused");
        let prefix = format!("wheel `{NAME}` is refused: ");
        error
            .message()
            .strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{error}"))
            .to_owned()
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = bytes.to_owned();
        let mut found = 0;
        for at in 0..bytes.len() - from.len() {
            if bytes[at..].starts_with(from) {
                bytes[at..at + from.len()].copy_from_slice(to);
                found += 1;
            }
        }
        assert!(found > 0);
        bytes
    }

    #[test]
    fn a_good_wheel_gives_its_files_and_what_it_says() {
        let maker = maker()
            .with_mode("demo-1.0.data/scripts/run", 0o100_755, b"#!python\n")
            .with(
                "demo-1.0.dist-info/entry_points.txt",
                b"[console_scripts]\ndemo = demo:main\n",
            )
            .with_mode("demo/", 0o040_755, b"");
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join(NAME);
        std::fs::write(&path, maker.bytes()).unwrap();
        let mut archive =
            WheelArchive::open(&path, &WheelFilename::from_str(NAME).unwrap()).unwrap();
        let mut seen = Vec::new();
        archive
            .for_each_file(|member, reader| {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).unwrap();
                assert_eq!(content.len() as u64, member.size);
                if let Some(sha256) = member.sha256 {
                    assert_eq!(sha256, Sha256Sum::of(&content));
                }
                seen.push((member.path.to_string(), member.executable));
                Ok(())
            })
            .unwrap();
        let seen: Vec<(&str, bool)> = seen
            .iter()
            .map(|(path, executable)| (path.as_str(), *executable))
            .collect();
        assert_eq!(
            seen,
            [
                ("demo/__init__.py", false),
                ("demo-1.0.dist-info/METADATA", false),
                ("demo-1.0.dist-info/WHEEL", false),
                ("demo-1.0.data/scripts/run", true),
                ("demo-1.0.dist-info/entry_points.txt", false),
                ("demo-1.0.dist-info/RECORD", false),
            ]
        );
        assert_eq!(archive.dist_info(), "demo-1.0.dist-info");
        assert_eq!(
            archive.entry_points(),
            Some("[console_scripts]\ndemo = demo:main\n")
        );
        assert_eq!(archive.metadata().summary.as_deref(), Some("A test"));
        assert_eq!(archive.wheel_info().tags, ["py3-none-any"]);
        assert!(archive.wheel_info().root_is_purelib);
        assert_eq!(archive.record().len(), 6);
    }

    #[test]
    fn a_member_with_a_hostile_name_is_refused_by_name() {
        for (path, why) in [
            ("../evil.py", "`../evil.py` points outside the archive"),
            (
                "demo/../../evil.py",
                "`demo/../../evil.py` points outside the archive",
            ),
            ("/etc/passwd", "`/etc/passwd` has an absolute name"),
            (
                "demo\\evil.py",
                r"`demo\\evil.py` has a backslash in its name",
            ),
            ("C:evil.py", "`C:evil.py` has a drive letter in its name"),
            (
                "demo/a\nb.py",
                r"`demo/a\nb.py` has a control character in its name",
            ),
            (
                "demo/a\0b.py",
                r"`demo/a\0b.py` has a control character in its name",
            ),
            (
                "demo//x.py",
                "`demo//x.py` has an empty or `.` component in its name",
            ),
            (
                "demo/./x.py",
                "`demo/./x.py` has an empty or `.` component in its name",
            ),
            ("Demo/x.py", "`Demo` and `demo` differ only in case"),
            (
                "demo/__INIT__.py",
                "`demo/__INIT__.py` and `demo/__init__.py` differ only in case",
            ),
            (
                "demo/__init__.py/x",
                "`demo/__init__.py` is a file, but `demo/__init__.py/x` is below it",
            ),
        ] {
            assert_eq!(refusal(&maker().with(path, b"x").bytes()), why, "{path:?}");
        }
        let latin = replaced(
            &maker().with("demo/naXXve.py", b"x").bytes(),
            b"naXXve",
            b"na\xef\xe8ve",
        );
        assert_eq!(
            refusal(&latin),
            "`demo/na\u{fffd}\u{fffd}ve.py` has a name that is not UTF-8"
        );
        let twice = replaced(
            &maker().with("demo/__init__.pz", b"x").bytes(),
            b"__init__.pz",
            b"__init__.py",
        );
        assert_eq!(refusal(&twice), "`demo/__init__.py` occurs twice");
    }

    #[test]
    fn a_member_that_is_no_plain_file_is_refused() {
        let link = maker()
            .with_mode("demo/link", 0o120_777, b"/etc/passwd")
            .bytes();
        assert_eq!(
            refusal(&link),
            "`demo/link` is a symbolic link, which wheels cannot contain"
        );
        // The zip crate writes no such modes: the external attributes of a plain file (0o100644 <<
        // 16) are exchanged.
        let plain = maker().with_mode("demo/fifo", 0o100_606, b"x").bytes();
        let attributes = |mode: u32| (mode << 16).to_le_bytes();
        let fifo = replaced(&plain, &attributes(0o100_606), &attributes(0o010_606));
        assert_eq!(refusal(&fifo), "`demo/fifo` is a special file");
        let both = replaced(&plain, &attributes(0o100_606), &attributes(0o040_606));
        assert_eq!(
            refusal(&both),
            "`demo/fifo` is marked both as a file and as a directory"
        );
    }

    /// Sets bytes in the central directory's header of a member, and in its local header if `local`
    /// says where.
    fn patched(
        bytes: &[u8],
        name: &str,
        central: usize,
        local: Option<usize>,
        value: &[u8],
    ) -> Vec<u8> {
        let mut bytes = bytes.to_owned();
        let find = |bytes: &[u8], magic: &[u8], name_at: usize| {
            (0..bytes.len())
                .find(|at| {
                    bytes[*at..].starts_with(magic)
                        && bytes[(at + name_at).min(bytes.len())..].starts_with(name.as_bytes())
                })
                .unwrap()
        };
        let at = find(&bytes, b"PK\x01\x02", 46) + central;
        bytes[at..at + value.len()].copy_from_slice(value);
        if let Some(local) = local {
            let at = find(&bytes, b"PK\x03\x04", 30) + local;
            bytes[at..at + value.len()].copy_from_slice(value);
        }
        bytes
    }

    #[test]
    fn an_archive_that_plays_tricks_is_refused() {
        let good = maker().bytes();
        assert_eq!(refusal(b"hello"), "it is not a zip archive");
        assert_eq!(
            refusal(&[b"#!/bin/sh\n", &good[..]].concat()),
            "10 bytes precede the first member"
        );
        let name = "demo/__init__.py";
        assert_eq!(
            refusal(&patched(&good, name, 8, Some(6), &[1, 0])),
            "`demo/__init__.py` is encrypted"
        );
        assert_eq!(
            refusal(&patched(&good, name, 10, Some(8), &[12, 0])),
            "`demo/__init__.py` is compressed with method 12; wheels use stored (0) or deflated (8)"
        );
        assert_eq!(
            refusal(&patched(&good, name, 24, None, &[1, 0, 0, 0])),
            "`demo/__init__.py` has a different length or method in its own header"
        );
        let mut renamed = good.clone();
        renamed[30] = b'x';
        assert_eq!(
            refusal(&renamed),
            "`demo/__init__.py` has a different name in its own header"
        );
    }

    #[test]
    fn a_bomb_is_refused() {
        // Declared sizes alone.
        assert_eq!(
            check_bomb(9 << 30, 1 << 30).unwrap_err(),
            format!(
                "it unpacks to {} bytes, more than the maximum of {MAX_UNPACKED}",
                9_u64 << 30
            )
        );
        assert_eq!(
            check_bomb(1 << 30, 1 << 20).unwrap_err(),
            format!(
                "it unpacks from 1048576 to {} bytes, more than 250 times its size",
                1 << 30
            )
        );
        assert_eq!(check_bomb(400 << 20, 40 << 20), Ok(()));
        // A real one: 100 MB of zeros in some 100 kB.
        let zeros = maker().with("demo/zeros", &vec![0; 100 << 20]).bytes();
        assert!(refusal(&zeros).ends_with(", more than 250 times its size"));
        // One that lies about its length, in both headers and in RECORD.
        let mut maker = maker().with("demo/zeros", &[0; 5000]);
        maker.record = Some(maker.record_text().replace(",5000\n", ",7\n"));
        let lying = patched(&maker.bytes(), "demo/zeros", 24, Some(22), &[7, 0, 0, 0]);
        assert_eq!(
            refusal(&lying),
            "`demo/zeros` cannot be unpacked: it has more than the 7 bytes it declares"
        );
    }

    #[test]
    fn overlapping_members_are_refused() {
        let mut ranges = [(0, 50, "a"), (40, 90, "b")];
        assert_eq!(
            check_overlap(&mut ranges, 100),
            Err(("a", "overlaps the data after it".to_owned()))
        );
        let mut ranges = [(50, 90, "b"), (0, 50, "a")];
        assert_eq!(check_overlap(&mut ranges, 90), Ok(()));
        assert_eq!(
            check_overlap(&mut ranges, 89),
            Err(("b", "overlaps the data after it".to_owned()))
        );
    }

    #[test]
    fn dist_info_must_be_one_and_the_right_one() {
        let mut none = maker()
            .without("demo-1.0.dist-info/METADATA")
            .without("demo-1.0.dist-info/WHEEL");
        none.dist_info = "info".to_owned();
        assert_eq!(refusal(&none.bytes()), "it has no `.dist-info` directory");
        let two = maker().with("other-2.dist-info/METADATA", b"Metadata-Version: 2.1\n");
        assert_eq!(
            refusal(&two.bytes()),
            "it has several `.dist-info` directories: `demo-1.0.dist-info`, `other-2.dist-info`"
        );
        assert_eq!(
            refusal(&WheelMaker::new("other", "1.0").bytes()),
            "`other-1.0.dist-info` does not belong to `demo 1.0`"
        );
        assert_eq!(
            refusal(&WheelMaker::new("demo", "1.1").bytes()),
            "`demo-1.1.dist-info` does not belong to `demo 1.0`"
        );
        assert_eq!(
            refusal(&maker().without("demo-1.0.dist-info/WHEEL").bytes()),
            "it has no `WHEEL` in its `.dist-info`"
        );
        assert_eq!(
            refusal(&maker().without("demo-1.0.dist-info/METADATA").bytes()),
            "it has no `METADATA` in its `.dist-info`"
        );
    }

    #[test]
    fn metadata_and_wheel_must_agree_with_the_name() {
        let metadata = |text: &str| {
            refusal(
                &maker()
                    .with("demo-1.0.dist-info/METADATA", text.as_bytes())
                    .bytes(),
            )
        };
        assert_eq!(
            metadata("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n"),
            "`demo-1.0.dist-info/METADATA` has `Name: evil`, but the file name has `demo`"
        );
        assert_eq!(
            metadata("Metadata-Version: 2.1\nName: Demo\nVersion: 1.0.1\n"),
            "`demo-1.0.dist-info/METADATA` has `Version: 1.0.1`, but the file name has `1.0`"
        );
        let local = maker().with(
            "demo-1.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: Demo\nVersion: 1.0+cpu\n",
        );
        assert_eq!(
            open(&local.bytes()).unwrap().metadata().version.to_string(),
            "1.0+cpu"
        );
        let wheel = |text: &str| {
            refusal(
                &maker()
                    .with("demo-1.0.dist-info/WHEEL", text.as_bytes())
                    .bytes(),
            )
        };
        assert_eq!(
            wheel("Wheel-Version: 2.0\nRoot-Is-Purelib: true\n"),
            "`demo-1.0.dist-info/WHEEL` has `Wheel-Version: 2.0`, but pkgapp supports only version 1"
        );
        assert_eq!(
            wheel("Root-Is-Purelib: true\n"),
            "`demo-1.0.dist-info/WHEEL` has no `Wheel-Version`"
        );
        assert_eq!(
            wheel("Wheel-Version: 1.0\n"),
            "`demo-1.0.dist-info/WHEEL` has neither `Root-Is-Purelib: true` nor `false`"
        );
    }

    #[test]
    fn record_must_be_complete_and_true() {
        let changed = |change: &dyn Fn(String) -> String| {
            let mut maker = maker().with("demo/x.py", b"x = 1\n");
            maker.record = Some(change(maker.record_text()));
            maker.bytes()
        };
        let with_record = |change: &dyn Fn(String) -> String| refusal(&changed(change));
        // Whoever fetches the wheel decides about gaps.
        let gap = |change: &dyn Fn(String) -> String| {
            open(&changed(change))
                .unwrap()
                .metadata()
                .record_gap
                .clone()
                .unwrap()
        };
        let drop_line = |text: String| {
            text.lines()
                .filter(|line| !line.starts_with("demo/x.py"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let x = |text: &str| {
            let start = text.find("demo/x.py").unwrap();
            text[start..].lines().next().unwrap().to_owned()
        };
        let instead = |line: &'static str| move |text: String| text.replace(&x(&text), line);
        assert_eq!(gap(&drop_line), "`demo/x.py` is not listed in RECORD");
        assert_eq!(
            gap(&|text| format!("{text}demo/ghost.py,sha256={},0\n", "A".repeat(43))),
            "`demo-1.0.dist-info/RECORD` lists `demo/ghost.py`, which is not in the archive"
        );
        assert_eq!(
            with_record(&|text| format!("{text}{}\n", x(&text))),
            "`demo-1.0.dist-info/RECORD` lists `demo/x.py` twice"
        );
        assert_eq!(
            with_record(&instead("demo/x.py,,")),
            "`demo-1.0.dist-info/RECORD` has no hash for `demo/x.py`"
        );
        assert_eq!(
            with_record(&instead("demo/x.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,6")),
            "`demo-1.0.dist-info/RECORD` has a hash with `md5`, which is weaker than sha256, for `demo/x.py`"
        );
        assert_eq!(
            with_record(&instead("demo/x.py,sha256=short,6")),
            "`demo-1.0.dist-info/RECORD` has the invalid hash `sha256=short` for `demo/x.py`"
        );
        assert_eq!(
            with_record(&|text| text.replace(&x(&text), &x(&text).replace(",6", ",7"))),
            "`demo/x.py` has 6 bytes, but RECORD states 7"
        );
        assert_eq!(
            with_record(
                &|text| text.replace(&x(&text), &format!("demo/x.py,sha256={},6", "A".repeat(43)))
            ),
            "`demo/x.py` does not match its hash in RECORD"
        );
        // python3 -c 'from hashlib import *; from base64 import *;
        // print(urlsafe_b64encode(sha512(b"x = 1\n").digest()))'
        let sha512 = "demo/x.py,sha512=e73veyKgykOKZRFOeqVV-RiHar0CPb8GFYkM-jCLUlHBkx-rU_sUNgozT0yN7lCJ48E3W_3uNVShst_MuAk21g,6";
        let mut maker = maker().with("demo/x.py", b"x = 1\n");
        maker.record = Some(
            maker
                .record_text()
                .replace(&x(&maker.record_text()), sha512),
        );
        open(&maker.bytes()).unwrap();
        maker.members.retain(|(path, ..)| path != "demo/x.py");
        let changed = maker.with("demo/x.py", b"x = 2\n");
        assert_eq!(
            refusal(&changed.bytes()),
            "`demo/x.py` does not match its hash in RECORD"
        );
    }

    /// As in ptyprocess 0.5.1.
    #[test]
    fn a_record_may_have_hexadecimal_hashes() {
        let hexadecimal = |hash: &str| {
            let mut maker = maker().with("demo/x.py", b"x = 1\n");
            let lines = maker.record_text();
            let changed = lines.lines().map(|line| {
                let is_ours = line.starts_with("demo/x.py,");
                if is_ours {
                    format!("demo/x.py,sha256={hash},6\n")
                } else {
                    format!("{line}\n")
                }
            });
            maker.record = Some(changed.collect());
            maker.bytes()
        };
        // printf 'x = 1\n' | sha256sum
        let right = "9e26bf369911c45c243c684147b23fc9e1dcfcf257d299a1c632016a6fcd33f4";
        open(&hexadecimal(right)).unwrap();
        assert_eq!(
            refusal(&hexadecimal(&right.replace('0', "1"))),
            "`demo/x.py` does not match its hash in RECORD"
        );
    }

    #[test]
    fn members_cut_off_or_changed_are_refused() {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let maker = maker();
        let record = (
            "demo-1.0.dist-info/RECORD".to_owned(),
            0,
            maker.record_text().into_bytes(),
        );
        for (path, _, content) in maker.members.iter().chain([&record]) {
            writer.start_file(path.as_str(), stored).unwrap();
            writer.write_all(content).unwrap();
        }
        let good = writer.finish().unwrap().into_inner();
        open(&good).unwrap();
        // One byte of the payload: the check sum of zip sees it before RECORD's does.
        let changed = replaced(&good, b"version = '1.0'", b"version = '6.6'");
        assert_eq!(
            refusal(&changed),
            "`demo/__init__.py` does not match the CRC-32 in the archive"
        );
    }
}
