//! Files on their way into the cache: read from a URL or a path, hashed on the way, checked,
//! published by a rename.

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

/// How often the rest of a file is asked for after its connection broke, without a byte of progress
/// in between; less if fewer retries are wanted.
const ATTEMPTS: u32 = 5;

/// How often at most, however much came each time: a server that sends a byte and hangs up would
/// never be done.
const MOST_ATTEMPTS: u32 = 100;

/// The cache, the network and the bar.
#[derive(Debug)]
pub struct FileStore<'a> {
    /// Where files go.
    pub cache: &'a Cache,
    /// Whether the network must not be used.
    pub offline: bool,
    indexes: &'a Indexes,
    progress: &'a Progress<'a>,
    client: OnceLock<Result<IndexClient<'a>>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

/// A file of the cache.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub sha256: Sha256Sum,
    /// Its length in bytes.
    pub size: u64,
    /// What a wheel says of itself, if that is known without opening it.
    pub metadata: Option<Box<WheelMetadata>>,
}

/// What is known of a file of the cache, kept beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileMetadata {
    /// Its sum when it was last read.
    pub sha256: Sha256Sum,
    /// What the system said of it then: as long as it says the same, nobody has written to it.
    stamp: FileFingerprint,
    /// Since which start of the machine: a loss of power can take what a file holds, and leave
    /// what the system says of it.
    #[serde(default)]
    boot: Option<String>,
    /// What a wheel says of itself, once someone has asked.
    metadata: Option<WheelMetadata>,
}

impl FileMetadata {
    /// What a wheel says of itself; it is opened if that is not known, and then it is.
    ///
    /// # Errors
    /// A wheel that is refused, or a cache that can't be written.
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

/// Where it is kept what is known of a file.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("json")
}

/// Writes down what a file is that has just been made. It must lie where it will be renamed with
/// its directory.
///
/// # Errors
/// What the system says.
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

/// Returns the sum of a file when it was made.
pub fn recorded(path: &Path) -> Option<Sha256Sum> {
    cache::read_sealed::<FileMetadata>(&beside(path)).map(|known| known.sha256)
}

/// Returns what is known of a file that must have a sum; it is read if anyone may have written to
/// it since. `None` if it is missing or another one.
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
    // Without it, it is read again.
    _ = cache.write(&beside(path), &known);
    Some(known)
}

/// Reads a file; the stamp is that of what was read.
pub fn sum(path: &Path) -> io::Result<(FileFingerprint, Sha256Sum)> {
    let mut file = File::open(path)?;
    let stamp = FileFingerprint::from(&file.metadata()?);
    let mut sum = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut sum))?;
    Ok((stamp, Sha256Sum(sum.finalize().into())))
}

/// Which directory of the cache a file belongs to.
#[derive(Debug, Clone)]
pub enum StoreKind {
    /// `wheels`: it is verified as a wheel on its way.
    Wheel(Box<WheelFilename>),
    /// `sdists`.
    Sdist,
}

/// Why a file did not get into the cache.
#[derive(Debug)]
pub enum StoreFailure {
    /// It has not an accepted hash.
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

/// The hashes that a file must have.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedHashes<'a> {
    /// One of these, unless there are none.
    pub pin: &'a Pin,
    /// One of these too, unless there are none (pylock.toml's file).
    pub locked: &'a [HashDigest],
    /// All of these, as far as they are comparable.
    pub index: &'a [HashDigest],
}

impl<'a> FileStore<'a> {
    /// A store that has read nothing yet.
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

    /// Returns the client; made when it is first needed, which a build from the cache never does.
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

    /// Finds a file whose SHA-256 is known: what ships is what was pinned, whoever has written to
    /// the cache since. A file that is not what its directory is named for is removed, so that
    /// it is fetched again.
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
            // Where it can't be removed, nothing can be written either, and the fetch says so.
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

    /// What a wheel of the cache says of itself, kept for the next build.
    ///
    /// # Errors
    /// A wheel that is refused, or a cache that can't be written.
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
    /// The network, another hash than expected, or a wheel that is refused.
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

    /// Takes a file of this machine into the cache.
    ///
    /// # Errors
    /// It can't be read, has another hash than expected, or is a wheel that is refused.
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
        let mut copy =
            File::create(&staged).context(|| format!("cannot write `{}`", shown(&staged)))?;
        let mut again = FileSums::new(expected);
        let length = io::copy(
            &mut TeeReader {
                from: &mut file,
                to: &mut again,
            },
            &mut copy,
        )
        .context(unreadable)?;
        if again.sha256() != sha256 {
            return Err(Error::new(format!("`{}` changed while it was read", shown(path))).into());
        }
        Ok(self.publish(&staged, shelf, sha256, length)?)
    }

    /// Verifies a wheel and gives a staged file its name in the cache. `staged` lies alone in its
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
                    "the connection broke {MOST_ATTEMPTS} times, after {} bytes at last",
                    part.length
                ))
                .hint("try again later, or take a copy of the file: `--find-links DIR`"),
        )
    }
}

/// Moves a file that lies alone in its directory to `to/<its name>`; the directory as a whole if
/// `to` is new, so that no one sees it empty.
///
/// # Errors
/// What the system says.
pub fn publish_file(cache: &Cache, staged: &Path, to: &Path) -> Result<PathBuf> {
    let failed = || format!("cannot put `{}` in place", shown(to));
    let (Some(directory), Some(name)) = (staged.parent(), staged.file_name()) else {
        return Err(Error::bug("a staged file has a name"));
    };
    let file = File::open(staged).context(failed)?;
    // Worth it: what is lost here has to be downloaded or built again, and the network may be gone
    // by then.
    file.sync_all().context(failed)?;
    cache.note_added(file.metadata().map_or(0, |metadata| metadata.len()));
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    let path = to.join(name);
    // The same bytes under another name are as good a file of the same directory.
    if !fs::publish_dir(directory, to)? && !path.exists() {
        std::fs::rename(staged, &path).context(failed)?;
    }
    Ok(path)
}

/// A file while it is downloaded. What is there stays when the connection breaks.
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

    /// Refuses what is longer than the index, the lock or the server has said, before the disk is
    /// full of it.
    fn check_length(&self, length: u64) -> Result<()> {
        let longest = self.announced.unwrap_or(LONGEST_FILE);
        if length <= longest {
            return Ok(());
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let error = Error::new(format!(
            "`{name}` is longer than the {longest} bytes that it may have"
        ));
        Err(match self.announced {
            Some(_) => error.note("the index, the lock or the server itself announced that length"),
            None => error.hint("download it yourself, and name its directory with `--find-links`"),
        })
    }

    fn finish(self) -> Result<(FileSums, u64)> {
        Ok((self.sums, self.length))
    }
}

/// The sums of a file: SHA-256, which names it, and whatever else someone expects.
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

    /// Whether the file has this hash; `None` if that can't be told.
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
            // MD5 proves nothing (pip refuses it in --hash).
            let mut strong = accepted
                .iter()
                .filter(|hash| hash.algorithm != HashAlgorithm::Md5);
            if !accepted.is_empty() && !strong.any(|hash| self.has(hash) == Some(true)) {
                return Err(Error::new(format!(
                    "`{name}` from `{from}` has no hash that the lock accepts"
                ))
                .at(expected.pin.at.clone())
                .note(format!("accepted are\n{}", list(accepted)))
                .note(got));
            }
        }
        if expected
            .index
            .iter()
            .any(|hash| self.has(hash) == Some(false))
        {
            return Err(Error::new(format!(
                "`{name}` from `{from}` is not the file that the index announces"
            ))
            .at(expected.pin.at.clone())
            .note(format!("announced is\n{}", list(expected.index)))
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

/// A sum as a writer.
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

/// A reader that shows what it reads to someone else too.
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
