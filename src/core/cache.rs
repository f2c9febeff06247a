//! Where things that cost time are kept between builds.
//!
//! ```text
//! wheels/<sha256>/<file name>.whl     plain wheels: a find-links directory for any other tool
//! sdists/<sha256>/<file name>         what some of them are built from
//! built/<key>/<file name>.whl         wheels made from sdists, eggs and projects, by all that went in
//! git/, hg/<repository>/<commit>/     files of repositories
//! layers/<key>/{layer.json,pack}      distributions as they lie in a release; an interpreter has files/… for a pack
//! bytecode/<key>.pyc                  byte code of the application's own sources
//! proofs/<key>.json                   what searches of layers for this machine's paths have found; sums of what payloads
//!                                     begin with
//! md5sums/<layer's key>               of a layer's files, once it was packed for a deb
//! runs/<key>.json                     what the commands of `[build] run` have made
//! segments/<key>                      layers as a format and a codec have them, ready to be copied into a package
//! spares/<key>                        packages that were replaced: the next one is written over them
//! index/                              the index's pages, as its headers allow
//! pins/<key>.json                     which file answered a pin: a build that finds it asks no index
//! tools/<key>.json                    what programs of this machine have said of themselves
//! tmp/                                things being made; renamed into place when they are whole
//! .pkgapp-cache, CACHEDIR.TAG         say that this is a cache: no other directory is used as one
//! ```
//!
//! **Immutable.** An entry does not change once it has its name. Descriptions are
//! [sealed](read_sealed): a hash of their content stands before it. Of large files a [`FileFingerprint`] is
//! kept, so that they are read again only if someone may have written to them. What is not as it
//! was is forgotten, and made again.
//!
//! **Sound whatever dies.** Everything is made in `tmp/`, in a directory that its process holds
//! locked (flock(2)), and renamed. The lock of a killed process goes with it, and the next process
//! removes what it left. After a loss of power a file may be there without its content; layers are
//! looked at again after the machine was started anew.
//!
//! **Used together.** Who makes a layer or builds a wheel holds a [`Claim`] on it; who wants the
//! same meanwhile waits. Who reads an entry [holds](Cache::hold) it; [`Cache::prune`] leaves what
//! is held.

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

/// How exactly it is known when an entry was last used. Writing it down at every use would cost
/// more than the use.
const USE_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Most files that a process wants to have open: it holds every entry that it uses.
const OPEN_FILES: u64 = 16_384;

/// The cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    session: Arc<CacheSession>,
    /// See [`Cache::concern`].
    concern: Option<Arc<str>>,
}

/// What a process has of the cache; gone when the last copy of its [`Cache`] is dropped.
#[derive(Debug, Default)]
struct CacheSession {
    room: OnceLock<Result<Claim>>,
    held: Mutex<HashMap<PathBuf, File>>,
    added: AtomicU64,
    /// How many temporary files there were.
    files: AtomicU64,
    /// Things of a kind that were found, and that were made.
    counts: Mutex<HashMap<&'static str, (u64, u64)>>,
}

impl Cache {
    /// Opens the cache at `root`, making it if it is missing, and removes what dead processes have
    /// left in it.
    ///
    /// # Errors
    /// The directory can't be made or is not writable; it holds something else than a cache; others
    /// may write to it.
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

    /// Returns where the cache lies by default: `PKGAPP_CACHE_DIR`, else the XDG cache directory's
    /// `pkgapp`.
    ///
    /// # Errors
    /// Neither of the variables nor a home directory is set.
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
                Err(Error::new("there is no place for the cache").hint("set `PKGAPP_CACHE_DIR`"))
            }
        }
    }

    /// Returns what people should know of the directory; once, and not whenever it is opened.
    pub fn concern(&self) -> Option<&str> {
        self.concern.as_deref()
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where a downloaded wheel's directory is: one file, named as on the index.
    pub fn wheels(&self) -> PathBuf {
        self.root.join("wheels")
    }

    /// Returns where a downloaded sdist's directory is: one file, named as on the index.
    pub fn sdists(&self) -> PathBuf {
        self.root.join("sdists")
    }

    /// Returns the directory of choices that were made.
    pub fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// Returns the directory of wheels that were built here.
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

    /// Returns the directory of packages that were replaced.
    pub fn spares(&self) -> PathBuf {
        self.root.join("spares")
    }

    /// Returns the directory of checkouts of git repositories: one for each, with one for each
    /// commit.
    pub fn git(&self) -> PathBuf {
        self.root.join("git")
    }

    /// Returns the directory of the application's byte code.
    pub fn bytecode(&self) -> PathBuf {
        self.root.join("bytecode")
    }

    /// Returns the directory of what searches have found.
    pub fn proofs(&self) -> PathBuf {
        self.root.join("proofs")
    }

    /// Returns the directory of sums that debs list.
    pub fn md5sums(&self) -> PathBuf {
        self.root.join("md5sums")
    }

    /// Returns the directory of what build commands have made.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Returns the directory of what programs said of themselves.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Returns the directory of index pages.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Makes an empty directory for something on its way into the cache; it goes away when dropped.
    ///
    /// # Errors
    /// What the system says.
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

    /// Makes a path for a file on its way into the cache; the file goes away when this is dropped
    /// and it is still there.
    ///
    /// # Errors
    /// What the system says.
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

    /// A directory in `tmp/` that no one else knows, claimed for as long as the process lives.
    fn own_room(&self) -> Result<Claim> {
        for number in 0_u32.. {
            // Another process of this number may live in another container.
            let name = format!("s{}-{number}", std::process::id());
            if let Some(claim) = Claim::take(&self.root.join("tmp").join(name), LockWait::No)? {
                return Ok(claim);
            }
        }
        Err(Error::bug("all numbers are taken"))
    }

    /// Takes the right to make the entry `name`, and an empty directory to make it in; waits for
    /// whoever has it.
    ///
    /// What a claim is for may be there when it is granted: whoever had it before has made it.
    ///
    /// # Errors
    /// What the system says.
    pub fn claim(&self, name: &str) -> Result<Claim> {
        let path = self.root.join("tmp").join(name);
        Claim::take(&path, LockWait::Yes)?
            .ok_or_else(|| Error::bug("a claim that is waited for is granted"))
    }

    /// Says that this process uses an entry: it is not pruned until the process ends. `false` if
    /// the entry is not there.
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
        // One that was made anew under its name is another one.
        if held.get(entry).and_then(inode) == Some(now.ino()) {
            return true;
        }
        let Ok(file) = File::open(entry) else {
            return false;
        };
        // On a file system without locks nothing is pruned either.
        _ = file.lock_shared();
        // Pruned between the two?
        if inode(&file) != std::fs::metadata(entry).map(|now| now.ino()).ok() {
            return false;
        }
        mark_used(&file, &now);
        held.insert(entry.to_owned(), file);
        true
    }

    /// Notes that something was made; see [`Cache::trim`].
    pub fn note_added(&self, bytes: u64) {
        self.session.added.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a thing of a kind that was found in the cache, or had to be made.
    pub fn count(&self, kind: &'static str, found: bool) {
        let mut counts = self
            .session
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (hits, made) = counts.entry(kind).or_default();
        *(if found { hits } else { made }) += 1;
    }

    /// Returns how many things of a kind were found, and how many there were in all.
    pub fn counted(&self, kind: &str) -> Option<(u64, u64)> {
        let counts = self
            .session
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.get(kind).map(|(hits, made)| (*hits, hits + made))
    }

    /// Writes a description under its final name, for [`read_sealed`]. It is not synced: a torn one
    /// is noticed.
    ///
    /// # Errors
    /// What the system says.
    pub fn write<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        self.write_bytes(
            path,
            &serde_json::to_vec(value).context(|| "cannot write a description of the cache")?,
        )
    }

    /// As [`Cache::write`], for [`read_sealed_bytes`].
    ///
    /// # Errors
    /// What the system says.
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

    /// Writes a small file under its final name; not synced.
    ///
    /// # Errors
    /// What the system says.
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

    /// What lies in `tmp/`, but for the rooms of processes that have nothing in them; for tests.
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
            // Older versions made directories `t…` without a lock.
            let locks = !entry.file_name().as_encoded_bytes().starts_with(b"t");
            let old = || {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > USE_STEP))
            };
            if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                // None of pkgapp's, or of a version that is yet to come.
                if old() {
                    _ = std::fs::remove_file(entry.path());
                }
            } else if locks || old() {
                // Taken and given back. Someone else may be removing it too; what stays is found
                // again by the next process.
                _ = Claim::take(&entry.path(), LockWait::No);
            }
        }
    }
}

/// A process may hold as many entries as a release has distributions, and the usual limit is 1024.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // Without it, what can't be opened is not held, and is made again if it is pruned
        // meanwhile.
        _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Writes down that something is used, as its modification time.
fn mark_used(file: &File, metadata: &std::fs::Metadata) {
    let recent = metadata
        .modified()
        .is_ok_and(|time| time.elapsed().map_or(true, |age| age < USE_STEP));
    if !recent {
        // It may be another user's, or on a read-only file system: then its age stays what it is.
        _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}

/// Whether to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockWait {
    Yes,
    No,
}

/// The right to make something, with a directory to make it in: empty when it is taken, gone when
/// it is given back.
#[derive(Debug)]
pub struct Claim {
    /// What others see; it stays where it is, because what is published may be locked by its users
    /// at once.
    directory: PathBuf,
    /// Within it.
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
            // Whoever had the lock before has removed the directory, and perhaps another one has
            // its name by now.
            let held = lock.metadata().context(failed)?.ino();
            if std::fs::metadata(directory).is_ok_and(|now| now.ino() == held) {
                let (directory, path) = (directory.to_owned(), directory.join("new"));
                clear(&directory).context(failed)?;
                std::fs::create_dir(&path).context(failed)?;
                return Ok(Some(Self {
                    directory,
                    path,
                    _lock: lock,
                }));
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the directory to an entry of the cache; `false` if another process was first, which
    /// is as good.
    ///
    /// # Errors
    /// What the system says, other than that the entry is there already.
    pub fn publish(self, to: &Path) -> Result<bool> {
        fs::publish_dir(&self.path, to)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What stays is cleared by the next process.
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

/// Reads what [`Cache::write`] has written; `None` if it is missing, torn, altered, or of another
/// form.
pub fn read_sealed<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read_sealed_bytes(path)?).ok()
}

/// Reads what [`Cache::write_bytes`] has written; `None` if it is missing, torn or altered.
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

/// What the system says of a file; another one if anyone has written to it or put another in its
/// place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileFingerprint {
    /// Asks the system; links are followed. `None` if there is nothing.
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
            // That of a directory says nothing that its times don't, and differs between file
            // systems.
            size: if metadata.is_dir() { 0 } else { metadata.len() },
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Identifies the time since the machine was started; `None` where the system does not tell.
pub fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .map(|text| text.trim().to_owned())
    };
    BOOT.get_or_init(read).as_deref()
}

/// The SHA-256 of some texts, none of which runs into the next: the name of what is made of them.
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
