//! The cache: results that take time to compute, kept between builds.
//!
//! ```text
//! wheels/<sha256>/<file name>.whl     plain wheels: a find-links directory for any other tool
//! sdists/<sha256>/<file name>         the sources of some of them
//! built/<key>/<file name>.whl         wheels made from sdists, eggs, and projects, by a key of all inputs
//! git/, hg/<repository>/<commit>/     files of repositories
//! layers/<key>/{layer.json,pack}      distributions as in a release; an interpreter has files/… instead of a pack
//! bytecode/<key>.pyc                  byte code of the application's own sources
//! proofs/<key>.json                   results of searching layers for local paths; checksums of the beginnings of payloads
//! md5sums/<layer's key>               checksums of a layer's files, computed for debs
//! runs/<key>.json                     the output of the commands of `[build] run`
//! segments/<key>                      layers in the form of a format and codec, ready to be copied into a package
//! spares/<key>                        replaced packages, which the next ones overwrite
//! index/                              pages of indexes, as long as their headers allow
//! pins/<key>.json                     the chosen file of a pin: a build with it asks no index
//! tools/<key>.json                    reported facts about programs of this machine
//! tmp/                                things being made; renamed into place when they are complete
//! .pkgapp-cache, CACHEDIR.TAG         mark the directory as a cache: no other directory is used as one
//! ```
//!
//! **Immutable.** An entry does not change once it has its name. Descriptions are
//! [sealed](read_sealed): a hash precedes their content. For large files, a [`FileFingerprint`] is
//! kept, so that they are read again only if someone may have written to them. A modified entry is
//! removed and made again.
//!
//! **Crash-safe.** Everything is made in `tmp/`, in a directory that its process keeps
//! locked (flock(2)), and then renamed. The lock of a killed process ends with it, and the next process
//! removes its remains. After a power failure, a file may exist without its content; layers are
//! verified again after a reboot.
//!
//! **Shared.** A process that makes a layer or builds a wheel holds a [`Claim`] on it; others that
//! need the same wait. A process that reads an entry [holds](Cache::hold) it; [`Cache::prune`]
//! keeps held entries.

mod place;
mod upkeep;

pub use self::upkeep::{CacheUsage, PruneRequest, PruneSummary, parse_age, parse_size};

use std::collections::HashMap;
use std::fs::{File, FileTimes, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::{TempDir, TempPath};

use crate::digest::Sha256Sum;
use crate::error::{Context, Error, Result, shown};
use crate::fs;

/// The resolution of the time of last use. Recording it at every use would cost more than the use
/// itself.
const USE_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of open files that a process asks for: it holds every entry that it uses.
const OPEN_FILES: u64 = 16_384;

/// The cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    session: Arc<CacheSession>,
    /// See [`Cache::concern`].
    concern: Option<Arc<str>>,
}

/// The state of a process in the cache; gone when the last copy of its [`Cache`] is dropped.
#[derive(Debug, Default)]
struct CacheSession {
    room: OnceLock<Result<Claim>>,
    held: Mutex<HashMap<PathBuf, File>>,
    added: AtomicU64,
    /// The number of temporary files so far.
    files: AtomicU64,
    /// The numbers of things found and made, by kind.
    counts: Mutex<HashMap<&'static str, (u64, u64)>>,
}

impl Cache {
    /// Opens the cache at `root`, creates it if it does not exist, and removes the remains of dead
    /// processes.
    ///
    /// # Errors
    /// Fails if the directory cannot be created or written, contains anything but a cache, or can
    /// be written by others.
    pub fn open(root: &Path) -> Result<Self> {
        let root =
            std::path::absolute(root).context(|| format!("cannot find `{}`", shown(root)))?;
        let concern = place::prepare(&root)?.map(Arc::from);
        allow_open_files();
        let cache = Self {
            root,
            session: Arc::default(),
            concern,
        };
        cache.remove_leftovers();
        Ok(cache)
    }

    /// Returns the default place of the cache: `PKGAPP_CACHE_DIR`, or else `pkgapp` in the XDG
    /// cache directory.
    ///
    /// # Errors
    /// Fails if neither of the variables nor a home directory is set.
    pub fn default_root() -> Result<PathBuf> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(root) = set("PKGAPP_CACHE_DIR") {
            return Ok(root);
        }
        match set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))) {
            Some(base) => Ok(base.join("pkgapp")),
            None => {
                Err(Error::new("cannot find a directory for the cache")
                    .hint("set `PKGAPP_CACHE_DIR`"))
            }
        }
    }

    /// Returns a warning about the directory, once for each cache rather than each time it is
    /// opened.
    pub fn concern(&self) -> Option<&str> {
        self.concern.as_deref()
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of downloaded wheels, each alone in a directory, with its name on the
    /// index.
    pub fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    /// Returns the directory of downloaded sdists, each alone in a directory, with its name on the
    /// index.
    pub fn sdists(&self) -> PathBuf {
        self.root.join("sdists")
    }

    /// Returns the directory of the choices of files for pins.
    pub fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// Returns the directory of wheels that were built on this machine.
    pub fn built(&self) -> PathBuf {
        self.root.join("built")
    }

    /// Returns the directory of layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Returns the directory of compressed layers.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// Returns the directory of replaced packages.
    pub fn spares(&self) -> PathBuf {
        self.root.join("spares")
    }

    /// Returns the directory of checkouts of git repositories: one per repository, with one per
    /// commit.
    pub fn git(&self) -> PathBuf {
        self.root.join("git")
    }

    /// Returns the directory of the application's byte code.
    pub fn bytecode(&self) -> PathBuf {
        self.root.join("bytecode")
    }

    /// Returns the directory of search results.
    pub fn proofs(&self) -> PathBuf {
        self.root.join("proofs")
    }

    /// Returns the directory of checksums for debs.
    pub fn md5sums(&self) -> PathBuf {
        self.root.join("md5sums")
    }

    /// Returns the directory of the output of build commands.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Returns the directory of the reported facts about programs.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Returns the directory of index pages.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Creates an empty directory for something on its way into the cache; it is removed when
    /// dropped.
    ///
    /// # Errors
    /// Fails if the directory cannot be created.
    pub fn temporary(&self) -> Result<TempDir> {
        let room = self
            .session
            .room
            .get_or_init(|| self.own_room())
            .as_ref()
            .map_err(Clone::clone)?;
        let failed = || format!("cannot write to `{}`", shown(&room.path));
        tempfile::Builder::new()
            .prefix("t")
            .tempdir_in(&room.path)
            .context(failed)
    }

    /// Returns a path for a file on its way into the cache; the file is removed on drop if it is
    /// still there.
    ///
    /// # Errors
    /// Fails if its directory cannot be created.
    pub fn temporary_file(&self) -> Result<TempPath> {
        let room = self
            .session
            .room
            .get_or_init(|| self.own_room())
            .as_ref()
            .map_err(Clone::clone)?;
        let number = self.session.files.fetch_add(1, Ordering::Relaxed);
        let path = room.path.join(format!("f{number}"));
        TempPath::try_from_path(&path)
            .context(|| format!("cannot write to `{}`", shown(&room.path)))
    }

    /// Creates a unique directory in `tmp/`, claimed for the life of the process.
    fn own_room(&self) -> Result<Claim> {
        for number in 0_u32.. {
            // Another process with this ID may live in another container.
            let name = format!("s{}-{number}", std::process::id());
            if let Some(claim) = Claim::take(&self.root.join("tmp").join(name), LockWait::No)? {
                return Ok(claim);
            }
        }
        Err(Error::bug("all numbers are taken"))
    }

    /// Claims the right to make the entry `name`, with an empty directory to make it in; waits for
    /// other holders of the claim.
    ///
    /// The entry may exist when the claim is granted: the previous holder may have made it.
    ///
    /// # Errors
    /// Fails if the directory cannot be created or locked.
    pub fn claim(&self, name: &str) -> Result<Claim> {
        let path = self.root.join("tmp").join(name);
        Claim::take(&path, LockWait::Yes)?
            .ok_or_else(|| Error::bug("a claim with waiting is always granted"))
    }

    /// Marks an entry as used by this process: it is not pruned until the process ends. Returns
    /// `false` if the entry does not exist.
    pub fn hold(&self, entry: &Path) -> bool {
        let inode = |file: &File| file.metadata().map(|metadata| metadata.ino()).ok();
        let Ok(now) = std::fs::metadata(entry) else {
            return false;
        };
        let mut held = self
            .session
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // An entry that was made again under its name is a different one.
        if held.get(entry).and_then(inode) == Some(now.ino()) {
            return true;
        }
        let Ok(file) = File::open(entry) else {
            return false;
        };
        // On a file system without locks, nothing is pruned either.
        _ = file.lock_shared();
        // Pruned between the two?
        if inode(&file) != std::fs::metadata(entry).map(|now| now.ino()).ok() {
            return false;
        }
        mark_used(&file, &now);
        held.insert(entry.to_owned(), file);
        true
    }

    /// Records that something was made; see [`Cache::trim`].
    pub fn note_added(&self, bytes: u64) {
        self.session.added.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a thing that was found in the cache or had to be made.
    pub fn count(&self, kind: &'static str, found: bool) {
        let mut counts = self
            .session
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (hits, made) = counts.entry(kind).or_default();
        *(if found { hits } else { made }) += 1;
    }

    /// Returns how many things of a kind were found, and the total.
    pub fn counted(&self, kind: &str) -> Option<(u64, u64)> {
        let counts = self
            .session
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.get(kind).map(|(hits, made)| (*hits, hits + made))
    }

    /// Writes a description under its final name, for [`read_sealed`]. It is not synced: readers
    /// detect a torn one.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        self.write_bytes(
            path,
            &serde_json::to_vec(value).context(|| "cannot serialize a cache entry")?,
        )
    }

    /// Works like [`Cache::write`], for [`read_sealed_bytes`].
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write_bytes(&self, path: &Path, content: &[u8]) -> Result<()> {
        let sealed = seal(content);
        self.note_added(sealed.len() as u64);
        self.place(path, &sealed)
    }

    /// Returns the entries below a directory that this process holds.
    pub fn held_below(&self, directory: &Path) -> Vec<PathBuf> {
        let held = self
            .session
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.keys()
            .filter(|entry| entry.starts_with(directory))
            .cloned()
            .collect()
    }

    /// Writes a small file under its final name, without a sync.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn place(&self, path: &Path, content: &[u8]) -> Result<()> {
        let failed = || format!("cannot write `{}`", shown(path));
        let staged = self.temporary_file()?;
        std::fs::write(&staged, content).context(failed)?;
        let staged = match staged.persist(path) {
            Ok(()) => return Ok(()),
            Err(error) => error.path,
        };
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        staged
            .persist(path)
            .map_err(|error| error.error)
            .context(failed)
    }

    /// Returns the content of `tmp/`, except empty directories of processes; for tests.
    #[doc(hidden)]
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let all = walkdir::WalkDir::new(self.root.join("tmp"))
            .min_depth(1)
            .into_iter()
            .flatten();
        let is_room = |path: &Path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"s"))
        };
        let all = all.filter(|entry| match entry.depth() {
            1 => !is_room(entry.path()),
            2 => entry.file_name() != "new",
            _ => true,
        });
        all.map(walkdir::DirEntry::into_path).collect()
    }

    fn remove_leftovers(&self) {
        let Ok(entries) = std::fs::read_dir(self.root.join("tmp")) else {
            return;
        };
        for entry in entries.flatten() {
            // Older versions created directories `t…` without a lock.
            let locks = !entry.file_name().as_encoded_bytes().starts_with(b"t");
            let old = || {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > USE_STEP))
            };
            if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                // The entry is not from pkgapp, or from a later version.
                if old() {
                    _ = std::fs::remove_file(entry.path());
                }
            } else if locks || old() {
                // The lock is taken and released. Another process may be removing it too; the next
                // process finds what remains.
                _ = Claim::take(&entry.path(), LockWait::No);
            }
        }
    }
}

/// Raises the limit of open files: a process may hold as many entries as a release has
/// distributions, and the usual limit is 1024.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // Otherwise, entries that cannot be opened are not held, and are made again if they are
        // pruned meanwhile.
        _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Records the use of an entry, as its modification time.
fn mark_used(file: &File, metadata: &std::fs::Metadata) {
    let recent = metadata
        .modified()
        .is_ok_and(|time| time.elapsed().map_or(true, |age| age < USE_STEP));
    if !recent {
        // The entry may belong to another user or be on a read-only file system: then its age stays
        // the same.
        _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}

/// Whether to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockWait {
    Yes,
    No,
}

/// The right to make something, with a directory to make it in: empty when it is granted, removed
/// when it is released.
#[derive(Debug)]
pub struct Claim {
    /// The directory that other processes see; it stays in place, because published directories may
    /// be locked by their users at once.
    directory: PathBuf,
    /// The directory for the work, inside the other one.
    path: PathBuf,
    /// Locked as long as it is open (flock(2)): the lock of a killed process goes with it.
    _lock: File,
}

impl Claim {
    fn take(directory: &Path, wait: LockWait) -> Result<Option<Self>> {
        let failed = || format!("cannot use `{}`", shown(directory));
        loop {
            fs::create_dir_all(directory)?;
            let lock = match File::open(directory) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::new(failed()).cause(error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if wait == LockWait::No => return Ok(None),
                Err(TryLockError::WouldBlock) => lock.lock().context(failed)?,
                Err(TryLockError::Error(error)) => return Err(Error::new(failed()).cause(error)),
            }
            // The previous holder has removed the directory, and another one may have its name by
            // now.
            let held = lock.metadata().context(failed)?.ino();
            if std::fs::metadata(directory).is_ok_and(|now| now.ino() == held) {
                return Self::begin(directory, lock).context(failed).map(Some);
            }
        }
    }

    /// Empties a locked directory, and creates the directory for the work in it.
    fn begin(directory: &Path, lock: File) -> io::Result<Self> {
        let path = directory.join("new");
        clear(directory)?;
        std::fs::create_dir(&path)?;
        Ok(Self {
            directory: directory.to_owned(),
            path,
            _lock: lock,
        })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the directory to an entry of the cache; returns `false` if another process was
    /// first, which is just as good.
    ///
    /// # Errors
    /// Fails if the rename fails for any other reason.
    pub fn publish(self, to: &Path) -> Result<bool> {
        fs::publish_dir(&self.path, to)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The next process clears the remains.
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn clear(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Returns content with its SHA-256 on a line before it.
fn seal(content: &[u8]) -> Vec<u8> {
    let mut text = format!("{}\n", Sha256Sum::of(content)).into_bytes();
    text.extend_from_slice(content);
    text
}

/// Reads a file of [`Cache::write`]; `None` if it is missing, torn, altered, or of another type.
pub fn read_sealed<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read_sealed_bytes(path)?).ok()
}

/// Reads a file of [`Cache::write_bytes`]; `None` if it is missing, torn, or altered.
pub fn read_sealed_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1);
    file.read_to_end(&mut text).ok()?;
    let (seal, content) = text.split_at_checked(65)?;
    let sum = Sha256Sum::from_hex(std::str::from_utf8(seal.strip_suffix(b"\n")?).ok()?)?;
    if sum != Sha256Sum::of(content) {
        return None;
    }
    mark_used(&file, &metadata);
    text.drain(..65);
    Some(text)
}

/// The facts of the system about a file, which change if anyone writes to the file or replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileFingerprint {
    /// Reads the facts about a file, following links; `None` if it does not exist.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path)
            .ok()
            .map(|metadata| Self::from(&metadata))
    }

    /// A file's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl From<&std::fs::Metadata> for FileFingerprint {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            // The size of a directory adds nothing to its times, and differs between file systems.
            size: if metadata.is_dir() { 0 } else { metadata.len() },
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns the identity of the current boot; `None` if the system has none.
pub fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .map(|text| text.trim().to_owned())
    };
    BOOT.get_or_init(read).as_deref()
}

/// Returns the SHA-256 of some texts with their lengths: the key of their product.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(format!("{} {part}\n", part.len()));
    }
    Sha256Sum(sum.finalize().into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        (directory, cache)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_description_that_anyone_has_touched_is_not_read() {
        let (_directory, cache) = cache();
        let path = cache.pins().join("x.json");
        cache.write(&path, &vec![("mode", 0o644)]).unwrap();
        assert_eq!(
            read_sealed::<Vec<(String, u32)>>(&path),
            Some(vec![("mode".to_owned(), 0o644)])
        );
        let sound = std::fs::read_to_string(&path).unwrap();
        // The line before is what sha256sum says: checked with `printf '[["mode",420]]' |
        // sha256sum`.
        assert_eq!(
            sound,
            "cb66b67151694d596e8e14d6215d24918969e7ce2641e0b592f33a82cc5fde0e\n[[\"mode\",420]]"
        );
        for damaged in [
            &sound[..sound.len() - 1],
            &sound.replace("420", "493"),
            &sound[1..],
            "",
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(read_sealed::<Vec<(String, u32)>>(&path), None, "{damaged}");
        }
    }

    #[test]
    fn who_wants_the_same_waits_for_it() {
        let (_directory, cache) = cache();
        let (claim, place) = (cache.claim("layer-1").unwrap(), cache.layers().join("1"));
        std::fs::create_dir_all(cache.layers()).unwrap();
        std::fs::write(claim.path().join("file"), "first").unwrap();
        let other = {
            let (cache, place) = (cache.clone(), place.clone());
            std::thread::spawn(move || {
                let claim = cache.claim("layer-1").unwrap();
                (
                    names(claim.path()),
                    std::fs::read_to_string(place.join("file")).unwrap(),
                )
            })
        };
        std::thread::sleep(Duration::from_millis(50));
        assert!(!other.is_finished());
        assert!(claim.publish(&place).unwrap());
        assert_eq!(other.join().unwrap(), (Vec::new(), "first".to_owned()));
        assert_eq!(names(&cache.root().join("tmp")), Vec::<String>::new());
    }

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_have_stays() {
        let (directory, cache) = cache();
        let tmp = cache.root().join("tmp");
        let mine = cache.temporary().unwrap();
        std::fs::write(mine.path().join("half"), "x").unwrap();
        let claim = cache.claim("layer-1").unwrap();
        // As a killed process leaves it: there, and not locked.
        std::fs::create_dir_all(tmp.join("s1-0/t1")).unwrap();
        std::fs::create_dir_all(tmp.join("told")).unwrap();
        drop(Cache::open(directory.path()).unwrap());
        let room = mine
            .path()
            .ancestors()
            .nth(2)
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        assert_eq!(names(&tmp), ["layer-1", room, "told"]);
        assert!(mine.path().join("half").exists());
        drop((claim, mine, cache));
        assert_eq!(names(&tmp), ["told"]);
    }

    #[test]
    fn a_stamp_tells_a_replaced_file_from_the_one_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "one").unwrap();
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(times)
            .unwrap();
        let stamp = FileFingerprint::of(&path);
        assert_eq!(stamp, FileFingerprint::of(&path));
        // Same length, same time, as `cp -p` would leave it.
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(directory.path().join("y"), "two").unwrap();
        File::options()
            .write(true)
            .open(directory.path().join("y"))
            .unwrap()
            .set_times(times)
            .unwrap();
        std::fs::rename(directory.path().join("y"), &path).unwrap();
        assert_ne!(stamp, FileFingerprint::of(&path));
    }
}
