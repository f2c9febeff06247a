//! Brings files into the cache: reads them from a URL or a path, hashes them on the way, checks
//! them, and publishes them with a rename.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use url::Url;

use super::WheelMetadata;
use super::archive::WheelArchive;
use super::index::{DownloadBreak, IndexClient, ResponsePart, without_secrets};
use pkgapp_core::cache::{self, Cache, FileFingerprint};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::Progress;
use pkgapp_http::{LONGEST_FILE, patience};
use pkgapp_lock::{Indexes, Pin};
use pkgapp_pypa::{HashAlgorithm, HashDigest, WheelFilename};

/// How often the rest of a file is requested after a broken connection without any progress in
/// between; less if fewer retries are configured.
const ATTEMPTS: u32 = 5;

/// The maximum number of requests, whatever the progress: a server that sends a byte and hangs up
/// would never finish.
const MOST_ATTEMPTS: u32 = 100;

/// The cache, the network, and the progress bar.
#[derive(Debug)]
pub struct FileStore<'a> {
    /// The cache that receives files.
    pub cache: &'a Cache,
    /// Whether the network must not be used.
    pub offline: bool,
    indexes: &'a Indexes,
    progress: &'a Progress<'a>,
    client: OnceLock<Result<IndexClient<'a>>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

/// A file in the cache.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Its path.
    pub path: PathBuf,
    /// Its checksum.
    pub sha256: Sha256Sum,
    /// Its length in bytes.
    pub size: u64,
    /// The wheel's metadata, if it is known without opening the wheel.
    pub metadata: Option<Box<WheelMetadata>>,
}

/// The facts about a file in the cache, stored beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileMetadata {
    /// Its checksum when it was last read.
    pub sha256: Sha256Sum,
    /// Its stamp at that time: as long as the stamp is the same, nobody has written to the file.
    stamp: FileFingerprint,
    /// The boot of the machine at that time: a power failure can lose a file's content but not its
    /// stamp.
    #[serde(default)]
    boot: Option<String>,
    /// The wheel's metadata, once it has been read.
    metadata: Option<WheelMetadata>,
}

impl FileMetadata {
    /// Returns the wheel's metadata; reads and stores it if it is not known.
    ///
    /// # Errors
    /// Fails if the wheel is refused, or the cache cannot be written.
    pub fn metadata(
        self,
        cache: &Cache,
        path: &Path,
        filename: &WheelFilename,
    ) -> Result<WheelMetadata> {
        if let Some(metadata) = self.metadata {
            return Ok(metadata);
        }
        let metadata = WheelArchive::open(path, filename)?.metadata().clone();
        cache.write(
            &beside(path),
            &Self {
                metadata: Some(metadata.clone()),
                ..self
            },
        )?;
        Ok(metadata)
    }
}

fn boot() -> Option<String> {
    cache::boot().map(str::to_owned)
}

/// Returns the path of the facts about a file.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("json")
}

/// Records the checksum of a new file. The file must be where it will be renamed with its
/// directory.
///
/// # Errors
/// Fails if the file cannot be read, or its record cannot be written.
pub fn record(cache: &Cache, path: &Path) -> Result<()> {
    let (stamp, sha256) = sum(path).context(|| format!("cannot read `{}`", shown(path)))?;
    cache.write(
        &beside(path),
        &FileMetadata {
            sha256,
            stamp,
            boot: boot(),
            metadata: None,
        },
    )
}

/// Returns the recorded checksum of a file.
pub fn recorded(path: &Path) -> Option<Sha256Sum> {
    cache::read_sealed::<FileMetadata>(&beside(path)).map(|known| known.sha256)
}

/// Returns the facts about a file with an expected checksum; the file is read if anyone may have
/// written to it since. `None` if it is missing or different.
pub fn known(cache: &Cache, path: &Path, sha256: Sha256Sum) -> Option<FileMetadata> {
    let known =
        cache::read_sealed::<FileMetadata>(&beside(path)).filter(|known| known.sha256 == sha256);
    if let Some(known) = &known
        && FileFingerprint::of(path).as_ref() == Some(&known.stamp)
        && known.boot == boot()
    {
        return Some(known.clone());
    }
    let (stamp, found) = sum(path).ok()?;
    let known = FileMetadata {
        sha256: found,
        stamp,
        boot: boot(),
        metadata: known.and_then(|known| known.metadata),
    };
    if found != sha256 {
        return None;
    }
    // Without this record, the file is read again next time.
    _ = cache.write(&beside(path), &known);
    Some(known)
}

/// Reads a file; the stamp is that of the content that was read.
pub fn sum(path: &Path) -> io::Result<(FileFingerprint, Sha256Sum)> {
    let mut file = File::open(path)?;
    let stamp = FileFingerprint::from(&file.metadata()?);
    let mut sum = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut sum))?;
    Ok((stamp, Sha256Sum(sum.finalize().into())))
}

/// The directory of the cache for a file.
#[derive(Debug, Clone)]
pub enum StoreKind {
    /// `wheels`: wheels are verified on their way.
    Wheel(Box<WheelFilename>),
    /// `sdists`.
    Sdist,
}

/// The reason why a file did not get into the cache.
#[derive(Debug)]
pub enum StoreFailure {
    /// It has no accepted hash.
    Hash(Error),
    /// Anything else.
    Other(Error),
}

impl From<Error> for StoreFailure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<StoreFailure> for Error {
    fn from(failure: StoreFailure) -> Self {
        match failure {
            StoreFailure::Hash(error) | StoreFailure::Other(error) => error,
        }
    }
}

/// The hashes that a file must match.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedHashes<'a> {
    /// One of these, unless there are none.
    pub pin: &'a Pin,
    /// One of these as well, unless there are none (pylock.toml's file).
    pub locked: &'a [HashDigest],
    /// All of these, as far as they are comparable.
    pub index: &'a [HashDigest],
}

impl<'a> FileStore<'a> {
    /// Makes a store without connecting to anything.
    pub fn new(
        cache: &'a Cache,
        indexes: &'a Indexes,
        offline: bool,
        progress: &'a Progress<'a>,
    ) -> Self {
        let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            cache,
            indexes,
            offline,
            progress,
            client: OnceLock::new(),
            files,
            bytes,
        }
    }

    /// Returns the client, which is created on first use; a build from the cache never needs it.
    ///
    /// # Errors
    /// See [`IndexClient::new`].
    pub fn client(&self) -> Result<&IndexClient<'a>> {
        self.client
            .get_or_init(|| IndexClient::new(self.indexes, self.cache, self.offline))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Returns how many files and bytes came over the network.
    pub fn downloaded(&self) -> (u64, u64) {
        (
            self.files.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// Finds a file by its SHA-256: only what was pinned ships, whoever has written to the cache
    /// since. A file that does not match the name of its directory is removed, so that it is
    /// fetched again.
    pub fn find(
        &self,
        shelf: &StoreKind,
        sha256: Sha256Sum,
        name: &str,
        size: Option<u64>,
    ) -> Option<StoredFile> {
        let directory = self.shelf(shelf).join(sha256.to_string());
        let path = directory.join(name);
        if !self.cache.hold(&directory) || !path.is_file() {
            return None;
        }
        let Some(known) = known(self.cache, &path, sha256) else {
            // If it cannot be removed, nothing can be written either, and the fetch reports that.
            _ = std::fs::remove_file(&path);
            return None;
        };
        self.cache.count("wheels", true);
        let length = known.stamp.size();
        let metadata = known.metadata.map(Box::new);
        size.is_none_or(|size| size == length)
            .then_some(StoredFile {
                path,
                sha256,
                size: length,
                metadata,
            })
    }

    /// Returns the metadata of a wheel in the cache, stored for the next build.
    ///
    /// # Errors
    /// Fails if the wheel is refused, or the cache cannot be written.
    pub fn metadata(&self, stored: &StoredFile, filename: &WheelFilename) -> Result<WheelMetadata> {
        let unreadable = || format!("cannot read `{}`", shown(&stored.path));
        let stamp = FileFingerprint::of(&stored.path).ok_or_else(|| Error::new(unreadable()))?;
        let known = FileMetadata {
            sha256: stored.sha256,
            stamp,
            boot: boot(),
            metadata: None,
        };
        known.metadata(self.cache, &stored.path, filename)
    }

    /// Downloads a file into the cache.
    ///
    /// # Errors
    /// Fails on network errors, an unexpected hash, or a refused wheel.
    pub fn download(
        &self,
        url: &Url,
        name: &str,
        size: Option<u64>,
        shelf: &StoreKind,
        expected: ExpectedHashes<'_>,
    ) -> Result<StoredFile, StoreFailure> {
        self.progress.lengthen(size.unwrap_or(0));
        let temporary = self.cache.temporary()?;
        let staged = temporary.path().join("new").join(name);
        fs::create_dir_all(&temporary.path().join("new"))?;
        let mut part = PartialDownload::create(&staged, expected, self.progress, size)?;
        self.read_all(url, &mut part)?;
        let (sums, length) = part.finish()?;
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
        sums.check(expected, name, &without_secrets(url))
            .map_err(StoreFailure::Hash)?;
        Ok(self.publish(&staged, shelf, sums.sha256(), length)?)
    }

    /// Copies a local file into the cache.
    ///
    /// # Errors
    /// Fails if the file cannot be read, has an unexpected hash, or is a refused wheel.
    pub fn adopt(
        &self,
        path: &Path,
        name: &str,
        shelf: &StoreKind,
        expected: ExpectedHashes<'_>,
    ) -> Result<StoredFile, StoreFailure> {
        let unreadable = || format!("cannot read `{}`", shown(path));
        let mut file = fs::open(path)?;
        let mut sums = FileSums::new(expected);
        io::copy(&mut file, &mut sums).context(unreadable)?;
        sums.check(expected, name, &shown(path).to_string())
            .map_err(StoreFailure::Hash)?;
        let sha256 = sums.sha256();
        if let Some(known) = self.find(shelf, sha256, name, None) {
            return Ok(known);
        }

        let temporary = self.cache.temporary()?;
        let staged = temporary.path().join("new").join(name);
        fs::create_dir_all(&temporary.path().join("new"))?;
        file.seek(SeekFrom::Start(0)).context(unreadable)?;
        let (again, length) = copy_hashed(&mut file, &staged, expected, unreadable)?;
        if again != sha256 {
            return Err(Error::new(format!("`{}` changed while it was read", shown(path))).into());
        }
        Ok(self.publish(&staged, shelf, sha256, length)?)
    }

    /// Verifies a wheel and gives a staged file its name in the cache. `staged` is alone in its
    /// directory.
    fn publish(
        &self,
        staged: &Path,
        shelf: &StoreKind,
        sha256: Sha256Sum,
        size: u64,
    ) -> Result<StoredFile> {
        if let StoreKind::Wheel(filename) = shelf {
            WheelArchive::open(staged, filename)?.verify()?;
        }
        let place = self.shelf(shelf).join(sha256.to_string());
        let path = publish_file(self.cache, staged, &place)?;
        self.cache.hold(&place);
        self.cache.count("wheels", false);
        Ok(StoredFile {
            path,
            sha256,
            size,
            metadata: None,
        })
    }

    fn shelf(&self, shelf: &StoreKind) -> PathBuf {
        match shelf {
            StoreKind::Wheel(_) => self.cache.wheels(),
            StoreKind::Sdist => self.cache.sdists(),
        }
    }

    fn read_all(&self, url: &Url, part: &mut PartialDownload<'_>) -> Result<()> {
        let mut failures = 0;
        let attempts = ATTEMPTS.min(patience()?.0 + 2);
        for _ in 0..MOST_ATTEMPTS {
            let before = part.length;
            let etag = part.etag.clone();
            match self
                .client()?
                .read(url, before, etag.as_deref(), &mut |piece| part.take(piece))
            {
                Ok(()) => return Ok(()),
                Err(DownloadBreak::Refused(error)) => return Err(error),
                Err(DownloadBreak::Connection(why)) => {
                    failures = if part.length > before {
                        1
                    } else {
                        failures + 1
                    };
                    if failures >= attempts {
                        return Err(Error::new(format!(
                            "cannot download `{}`",
                            without_secrets(url)
                        ))
                        .cause_text(why)
                        .note(format!(
                            "the connection broke {attempts} times at byte {}",
                            part.length
                        )));
                    }
                    let seconds = if cfg!(test) { 0.01 } else { 0.5 };
                    thread::sleep(Duration::from_secs_f64(seconds * f64::from(1 << failures)));
                }
            }
        }
        Err(
            Error::new(format!("cannot download `{}`", without_secrets(url)))
                .cause_text(format!(
                    "the connection broke {MOST_ATTEMPTS} times, the last time after {} bytes",
                    part.length
                ))
                .hint("try again later, or use a copy of the file with `--find-links DIR`"),
        )
    }
}

/// Moves a file that is alone in its directory to `to/<its name>`; moves the whole directory if
/// `to` is new, so that nobody sees it empty.
///
/// # Errors
/// Fails if the file cannot be moved.
pub fn publish_file(cache: &Cache, staged: &Path, to: &Path) -> Result<PathBuf> {
    let failed = || format!("cannot put `{}` in place", shown(to));
    let (Some(directory), Some(name)) = (staged.parent(), staged.file_name()) else {
        return Err(Error::bug("a staged file has a name"));
    };
    let file = File::open(staged).context(failed)?;
    // A sync is worthwhile: a lost file must be downloaded or built again, and the network may be
    // unavailable by then.
    file.sync_all().context(failed)?;
    cache.note_added(file.metadata().map_or(0, |metadata| metadata.len()));
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    let path = to.join(name);
    // The same bytes under another name are a valid file of the same directory.
    if !fs::publish_dir(directory, to)? && !path.exists() {
        std::fs::rename(staged, &path).context(failed)?;
    }
    Ok(path)
}

/// A file during its download. Received bytes stay when the connection breaks.
struct PartialDownload<'a> {
    path: PathBuf,
    file: File,
    sums: FileSums,
    expected: ExpectedHashes<'a>,
    length: u64,
    etag: Option<String>,
    progress: &'a Progress<'a>,
    announced: Option<u64>,
}

impl<'a> PartialDownload<'a> {
    fn create(
        path: &Path,
        expected: ExpectedHashes<'a>,
        progress: &'a Progress<'a>,
        announced: Option<u64>,
    ) -> Result<Self> {
        let file = File::create(path).context(|| format!("cannot write `{}`", shown(path)))?;
        let sums = FileSums::new(expected);
        Ok(Self {
            path: path.to_owned(),
            file,
            sums,
            expected,
            length: 0,
            etag: None,
            progress,
            announced,
        })
    }

    fn take(&mut self, piece: ResponsePart<'_>) -> Result<()> {
        let failed = || format!("cannot write `{}`", shown(&self.path));
        match piece {
            ResponsePart::Start {
                offset,
                total,
                etag,
            } => {
                if offset != self.length {
                    self.file.set_len(0).context(failed)?;
                    self.file.seek(SeekFrom::Start(0)).context(failed)?;
                    self.sums = FileSums::new(self.expected);
                    self.length = 0;
                }
                self.etag = etag;
                self.check_length(total.unwrap_or(0))?;
                if let (None, Some(total)) = (self.announced, total) {
                    self.progress.lengthen(total);
                    self.announced = Some(total);
                }
            }
            ResponsePart::Bytes(bytes) => {
                self.check_length(self.length + bytes.len() as u64)?;
                self.file.write_all(bytes).context(failed)?;
                self.sums.update(bytes);
                self.length += bytes.len() as u64;
                self.progress.advance(bytes.len() as u64);
            }
        }
        Ok(())
    }

    /// Refuses a file that exceeds the length stated by the index, the lock, or the server, before
    /// it fills the disk.
    fn check_length(&self, length: u64) -> Result<()> {
        let longest = self.announced.unwrap_or(LONGEST_FILE);
        if length <= longest {
            return Ok(());
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let error = Error::new(format!(
            "`{name}` is longer than the expected {longest} bytes"
        ));
        Err(match self.announced {
            Some(_) => error.note("the index, the lock, or the server stated that length"),
            None => error.hint("download it yourself and pass its directory with `--find-links`"),
        })
    }

    fn finish(self) -> Result<(FileSums, u64)> {
        Ok((self.sums, self.length))
    }
}

/// The checksums of a file: SHA-256, which names it, and others that are expected.
#[derive(Clone)]
struct FileSums {
    sha256: Sha256,
    sha384: Option<Sha384>,
    sha512: Option<Sha512>,
    md5: Option<Md5>,
}

impl FileSums {
    fn new(expected: ExpectedHashes<'_>) -> Self {
        let all = || {
            expected
                .pin
                .hashes
                .iter()
                .chain(expected.locked)
                .chain(expected.index)
        };
        let asked = |algorithm| all().any(|hash| hash.algorithm == algorithm);
        Self {
            sha256: Sha256::new(),
            sha384: asked(HashAlgorithm::Sha384).then(Sha384::new),
            sha512: asked(HashAlgorithm::Sha512).then(Sha512::new),
            md5: asked(HashAlgorithm::Md5).then(Md5::new),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sum) = &mut self.sha384 {
            sum.update(bytes);
        }
        if let Some(sum) = &mut self.sha512 {
            sum.update(bytes);
        }
        if let Some(sum) = &mut self.md5 {
            sum.update(bytes);
        }
    }

    fn sha256(&self) -> Sha256Sum {
        Sha256Sum(self.sha256.clone().finalize().into())
    }

    /// Returns whether the file has this hash; `None` if that is unknown.
    fn has(&self, hash: &HashDigest) -> Option<bool> {
        let sum = match hash.algorithm {
            HashAlgorithm::Sha256 => self.sha256().to_string(),
            HashAlgorithm::Sha384 => hex::encode(self.sha384.clone()?.finalize()),
            HashAlgorithm::Sha512 => hex::encode(self.sha512.clone()?.finalize()),
            HashAlgorithm::Md5 => hex::encode(self.md5.clone()?.finalize()),
            HashAlgorithm::Blake2b => return None,
        };
        Some(hash.digest.eq_ignore_ascii_case(&sum))
    }

    fn check(&self, expected: ExpectedHashes<'_>, name: &str, from: &str) -> Result<()> {
        let got = format!("it has sha256:{}", self.sha256());
        let list = |hashes: &[HashDigest]| {
            hashes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        for accepted in [&expected.pin.hashes[..], expected.locked] {
            // MD5 proves nothing (pip refuses it in `--hash`).
            let mut strong = accepted
                .iter()
                .filter(|hash| hash.algorithm != HashAlgorithm::Md5);
            if !accepted.is_empty() && !strong.any(|hash| self.has(hash) == Some(true)) {
                return Err(Error::new(format!(
                    "`{name}` from `{from}` has no hash that the lock accepts"
                ))
                .at(expected.pin.at.clone())
                .note(format!("accepted hashes are\n{}", list(accepted)))
                .note(got));
            }
        }
        if expected
            .index
            .iter()
            .any(|hash| self.has(hash) == Some(false))
        {
            return Err(Error::new(format!(
                "`{name}` from `{from}` does not match the hash in the index"
            ))
            .at(expected.pin.at.clone())
            .note(format!("the index states\n{}", list(expected.index)))
            .note(got));
        }
        Ok(())
    }
}

impl Write for FileSums {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A checksum that can be written to.
struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies a file to a new one; returns the checksum and the length of what was read.
fn copy_hashed(
    from: &mut impl Read,
    to: &Path,
    expected: ExpectedHashes<'_>,
    unreadable: impl FnOnce() -> String,
) -> Result<(Sha256Sum, u64)> {
    let mut copy = File::create(to).context(|| format!("cannot write `{}`", shown(to)))?;
    let mut sums = FileSums::new(expected);
    let length = io::copy(
        &mut TeeReader {
            from,
            to: &mut sums,
        },
        &mut copy,
    )
    .context(unreadable)?;
    Ok((sums.sha256(), length))
}

/// A reader that also writes its bytes to another writer.
struct TeeReader<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for TeeReader<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.to.write_all(&buffer[..read])?;
        Ok(read)
    }
}
