//! Statistics about the cache, and its pruning.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::Cache;
use crate::error::{Context, Error, Result, shown};

/// Statistics about one kind of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUsage {
    /// The directory's name: `wheels`, `layers`, ….
    pub kind: String,
    /// The number of entries.
    pub entries: u64,
    /// Their disk usage in bytes.
    pub bytes: u64,
}

/// The entries that are to be removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneRequest {
    /// Entries that have not been used for this long. Uses are recorded once a day.
    pub older_than: Option<Duration>,
    /// The least recently used entries, until the rest fits into this many bytes.
    pub max_size: Option<u64>,
    /// Everything.
    pub all: bool,
}

/// The result of pruning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneSummary {
    /// Entries that were removed.
    pub entries: u64,
    /// The disk usage of the removed entries in bytes.
    pub bytes: u64,
    /// Entries that should be removed but are in use.
    pub in_use: u64,
    /// The disk usage of the remaining entries in bytes.
    pub left: u64,
}

/// An entry that is kept or removed as a whole.
#[derive(Debug)]
struct CacheItem {
    kind: String,
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// The size of the cache, recorded from build to build to avoid looking at all files each time.
const LEDGER: &str = "size.json";

impl Cache {
    /// Returns the content of the cache by kind.
    ///
    /// # Errors
    /// Fails if a directory cannot be read.
    pub fn usage(&self) -> Result<Vec<CacheUsage>> {
        let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for item in self.items()? {
            let kind = kinds.entry(item.kind).or_default();
            *kind = (kind.0 + 1, kind.1 + item.bytes);
        }
        Ok(kinds
            .into_iter()
            .map(|(kind, (entries, bytes))| CacheUsage {
                kind,
                entries,
                bytes,
            })
            .collect())
    }

    /// Removes entries, except those in use by a process, and the remains of dead processes.
    ///
    /// # Errors
    /// Fails if an entry cannot be read or removed.
    pub fn prune(&self, want: PruneRequest) -> Result<PruneSummary> {
        let mut items: Vec<CacheItem> = self
            .items()?
            .into_iter()
            .filter(|item| item.kind != "tmp")
            .collect();
        items.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
        let mut left: u64 = items.iter().map(|item| item.bytes).sum();
        let now = SystemTime::now();
        let mut pruned = PruneSummary::default();
        for item in &items {
            let old = |limit| now.duration_since(item.used).is_ok_and(|age| age >= limit);
            if !(want.all
                || want.older_than.is_some_and(old)
                || want.max_size.is_some_and(|limit| left > limit))
            {
                continue;
            }
            if self.remove(&item.path)? {
                pruned.entries += 1;
                pruned.bytes += item.bytes;
                left -= item.bytes;
            } else {
                pruned.in_use += 1;
            }
        }
        pruned.left = left;
        self.write_ledger(left)?;
        Ok(pruned)
    }

    /// Removes the least recently used entries after a build if the cache exceeds a size. Only a
    /// build that added something checks the size.
    ///
    /// # Errors
    /// Fails if an entry cannot be read or removed.
    pub fn trim(&self, max_size: u64) -> Result<Option<PruneSummary>> {
        let added = self.session.added.swap(0, Ordering::Relaxed);
        let known: Option<u64> = super::read_sealed(&self.root().join(LEDGER));
        match known {
            // Without a limit, the size does not matter.
            None if max_size == u64::MAX => Ok(None),
            Some(_) if added == 0 => Ok(None),
            // Two concurrent builds may lose the additions of one of them; the next full scan finds
            // them.
            Some(size) if size + added <= max_size => {
                self.write_ledger(size + added).map(|()| None)
            }
            _ => {
                let pruned = self.prune(PruneRequest {
                    max_size: Some(max_size),
                    ..PruneRequest::default()
                })?;
                Ok((pruned.entries > 0).then_some(pruned))
            }
        }
    }

    fn write_ledger(&self, size: u64) -> Result<()> {
        self.place(
            &self.root().join(LEDGER),
            &super::seal(size.to_string().as_bytes()),
        )
    }

    /// Removes an entry, unless another process uses it; returns `false` then.
    ///
    /// # Errors
    /// Fails if the entry cannot be removed.
    pub fn forget(&self, path: &Path) -> Result<bool> {
        self.session
            .held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(path);
        self.remove(path)
    }

    /// Removes an entry unless a process uses it. The entry is moved away first, so that nobody
    /// sees half of it.
    fn remove(&self, path: &Path) -> Result<bool> {
        let failed = || format!("cannot remove `{}` from the cache", shown(path));
        let lock = match File::open(path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(Error::new(failed()).cause(error)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => {
                return Err(Error::new(failed())
                    .cause(error)
                    .note("this file system does not support locks"));
            }
        }
        // Files are read at once and need no lock: a process that has one open is not disturbed.
        let aside = self.temporary()?;
        match std::fs::rename(path, aside.path().join("gone")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::new(failed()).cause(error))
            }
            _ => Ok(true),
        }
    }

    /// Returns all entries with their sizes.
    fn items(&self) -> Result<Vec<CacheItem>> {
        let mut places = Vec::new();
        for kind in entries(self.root())? {
            let name = kind
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            // The target of a link does not belong to the cache.
            if !kind.is_dir() || kind.is_symlink() {
                continue;
            }
            if name == "index" {
                // A directory of another program, whose files are unrelated.
                let files = walkdir::WalkDir::new(&kind).into_iter().flatten();
                let files = files.filter(|entry| entry.file_type().is_file());
                places.extend(files.map(|entry| (name.clone(), entry.into_path())));
            } else {
                places.extend(entries(&kind)?.into_iter().map(|path| (name.clone(), path)));
            }
        }
        Ok(places
            .into_par_iter()
            .filter_map(|(kind, path)| item(kind, path))
            .collect())
    }
}

/// Parses a size: a number with `kB`, `MB`, `GB`, or `TB` (powers of 1000) or `KiB` and so on
/// (powers of 1024); bytes without a unit; or `unlimited`.
///
/// # Errors
/// Returns a description of the expected syntax.
pub fn parse_size(text: &str) -> Result<u64, String> {
    if text == "unlimited" {
        return Ok(u64::MAX);
    }
    let (number, unit) = number_and_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1000 * 1000,
        "g" | "gb" => 1000 * 1000 * 1000,
        "t" | "tb" => 1000 * 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("expected a size such as `500MB`, `2GB`, or `unlimited`".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a size such as `500MB`, `2GB`, or `unlimited`".to_owned())?;
    Ok((number * factor as f64) as u64)
}

/// Parses a time span: a number with `m`, `h`, `d`, or `w`.
///
/// # Errors
/// Returns a description of the expected syntax.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as `12h`, `30d`, or `8w`".to_owned();
    let (number, unit) = number_and_unit(text);
    let seconds: u64 = match unit {
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(expected)
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot read `{}`", shown(directory));
    let entries = std::fs::read_dir(directory).context(failed)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name() != Some(OsStr::new("CACHEDIR.TAG")));
    Ok(paths)
}

/// Returns the metadata of a file; `None` if it was removed meanwhile.
fn item(kind: String, path: PathBuf) -> Option<CacheItem> {
    let metadata = path.symlink_metadata().ok()?;
    let used = metadata.modified().ok()?;
    let bytes = if metadata.is_dir() {
        walkdir::WalkDir::new(&path)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(on_disk)
            .sum()
    } else {
        on_disk(metadata)
    };
    Some(CacheItem {
        kind,
        path,
        bytes,
        used,
    })
}

/// Returns the disk usage of a file like `du`, in blocks of 512 bytes (stat(2)).
fn on_disk(metadata: std::fs::Metadata) -> u64 {
    metadata.blocks() * 512
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    /// A cache with wheels of 100 kB, last used so many days ago.
    fn cache(days: &[u64]) -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        for day in days {
            let entry = wheel(&cache, *day);
            std::fs::create_dir_all(&entry).unwrap();
            std::fs::write(entry.join("x.whl"), vec![1; 100_000]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(day * 86_400 + 60);
            File::open(&entry)
                .unwrap()
                .set_times(FileTimes::new().set_modified(used))
                .unwrap();
        }
        (directory, cache)
    }

    fn wheel(cache: &Cache, day: u64) -> PathBuf {
        cache.wheels().join(format!("{day:064}"))
    }

    fn left(cache: &Cache) -> Vec<u64> {
        let mut days: Vec<u64> = entries(&cache.wheels())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
            .collect();
        days.sort_unstable();
        days
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let (_directory, cache) = cache(&[0, 1, 10, 40]);
        let day = Duration::from_secs(86_400);
        cache
            .prune(PruneRequest {
                older_than: Some(30 * day),
                ..PruneRequest::default()
            })
            .unwrap();
        assert_eq!(left(&cache), [0, 1, 10]);
        let pruned = cache
            .prune(PruneRequest {
                max_size: Some(250_000),
                ..PruneRequest::default()
            })
            .unwrap();
        assert_eq!((left(&cache), pruned.entries), (vec![0, 1], 1));
        cache.prune(PruneRequest::default()).unwrap();
        assert_eq!(left(&cache), [0, 1]);
        // Use makes it young.
        assert!(cache.hold(&wheel(&cache, 1)));
        drop(cache.clone());
        let used = wheel(&cache, 1).metadata().unwrap().modified().unwrap();
        assert!(used.elapsed().unwrap() < Duration::from_secs(60));
    }

    #[test]
    fn what_another_process_uses_stays() {
        let (directory, cache) = cache(&[1, 2]);
        let other = Cache::open(directory.path()).unwrap();
        assert!(other.hold(&wheel(&cache, 2)));
        let pruned = cache
            .prune(PruneRequest {
                all: true,
                ..PruneRequest::default()
            })
            .unwrap();
        assert_eq!(
            (left(&cache), pruned.entries, pruned.in_use),
            (vec![2], 1, 1)
        );
        drop(other);
        cache
            .prune(PruneRequest {
                all: true,
                ..PruneRequest::default()
            })
            .unwrap();
        assert!(left(&cache).is_empty());
        assert!(!cache.hold(&wheel(&cache, 2)));
    }

    #[test]
    fn a_build_that_adds_nothing_does_not_look_and_one_that_adds_too_much_trims() {
        let (_directory, cache) = cache(&[1, 2, 3]);
        assert_eq!(cache.trim(1_000_000).unwrap(), None);
        assert_eq!(cache.trim(1).unwrap(), None, "nothing was added");
        cache.note_added(1_000_000);
        let pruned = cache.trim(150_000).unwrap().unwrap();
        assert_eq!((left(&cache), pruned.entries), (vec![1], 2));
    }

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("1.5kB", 1500),
            ("2 GB", 2_000_000_000),
            ("500m", 500_000_000),
            ("1GiB", 1_073_741_824),
            ("unlimited", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "2 XB", "1.2.3", "all"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for (text, seconds) in [
            ("90m", 5400),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("1w", 604_800),
        ] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "d", "1.5d", "3y", "99999999999999999999w"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_those_of_du() {
        let (_directory, cache) = cache(&[1, 2]);
        std::fs::create_dir_all(cache.index().join("simple/a")).unwrap();
        std::fs::write(cache.index().join("simple/a/b.rkyv"), vec![1; 5000]).unwrap();
        let usage = cache.usage().unwrap();
        let du = std::process::Command::new("du")
            .args(["-sB1"])
            .arg(cache.wheels())
            .output()
            .unwrap();
        let du: u64 = String::from_utf8(du.stdout)
            .unwrap()
            .split('\t')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let own = std::fs::metadata(cache.wheels()).unwrap().blocks() * 512;
        let wheels = usage.iter().find(|usage| usage.kind == "wheels").unwrap();
        assert_eq!((wheels.entries, wheels.bytes), (2, du - own));
        assert_eq!(
            usage
                .iter()
                .find(|usage| usage.kind == "index")
                .unwrap()
                .entries,
            1
        );
    }
}
