//! Recycles a package's file from one build to the next.
//!
//! A package that replaces another one usually differs only in a few pieces (`segment`). So the
//! replaced file is kept as the **spare** of that path, in the cache's `spares/`, and the next
//! build overwrites only the parts that differ. New pages for a whole package cost several times as
//! much as comparing it.
//!
//! The content of a spare is never trusted, only compared. A spare is used only if nobody else can
//! see it change: no other name leads to it, and no process has it open, such as an upload that
//! began before it was replaced. A build that takes a spare renames it, so that only one of two
//! concurrent builds gets it; a killed build leaves no spare.

use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempPath;

use crate::cache::{self, Cache};
use crate::error::Result;
use crate::fs::{self, StreamedFile};

/// Writes a package's file like [`fs::write_atomically`], and keeps the replaced file as a spare.
/// Returns the result of `write`, and whether the replaced file had other content.
///
/// # Errors
/// Fails if `write` does, or if the file cannot be written.
pub fn replace<T>(
    cache: &Cache,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<StreamedFile>) -> Result<T>,
) -> Result<(T, bool)> {
    // None of this has to succeed: without a spare, a build takes longer.
    let room = cache.temporary()?;
    let key = std::path::absolute(path).map(|path| cache::key(["spare", &path.to_string_lossy()]));
    let place = key.map(|key| cache.spares().join(key)).ok();
    let spare = place
        .as_ref()
        .and_then(|place| take(place, &room.path().join("spare"), path));
    let taken = spare.as_ref().map_or(0, |spare| size(spare));
    // A second name, so that the file survives when the first name leads to the new file.
    let last = room.path().join("last");
    let kept = std::fs::hard_link(path, &last).is_ok();

    let made = match spare {
        Some(spare) => fs::write_over(spare, path, write),
        None => fs::write_atomically(path, write),
    }?;
    let is_other = kept && !is_equal(&last, path).unwrap_or(true);
    if let (true, Some(place)) = (kept, place)
        && put_aside(cache, &last, &place).is_ok()
    {
        cache.note_added(size(&place).saturating_sub(taken));
    }
    Ok((made, is_other))
}

/// Moves a replaced file to its place among the spares.
fn put_aside(cache: &Cache, last: &Path, place: &Path) -> io::Result<()> {
    std::fs::rename(last, place).or_else(|_| {
        std::fs::create_dir_all(cache.spares()).and_then(|()| std::fs::rename(last, place))
    })
}

fn size(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// Compares two files. Different packages mostly differ in their first pages, which contain the
/// checksums of all their files.
fn is_equal(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let size = one.metadata()?.len();
    if size != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; PAGES], vec![0; PAGES]);
    let mut rest = size;
    while rest > 0 {
        let part = usize::try_from(rest).unwrap_or(PAGES).min(PAGES);
        one.read_exact(&mut left[..part])?;
        other.read_exact(&mut right[..part])?;
        if left[..part] != right[..part] {
            return Ok(false);
        }
        rest -= part as u64;
    }
    Ok(true)
}

/// The number of bytes per comparison, which fit into the processor's cache.
const PAGES: usize = 256 << 10;

/// Takes a spare out of the cache, if it may be overwritten.
fn take(place: &Path, to: &Path, path: &Path) -> Option<TempPath> {
    std::fs::rename(place, to).ok()?;
    let spare = TempPath::try_from_path(to).ok()?;
    // It may be a link or a pipe that someone put in the place of the package.
    spare
        .symlink_metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let file = File::options().read(true).write(true).open(&spare).ok()?;
    let metadata = file.metadata().ok()?;
    let is_ours = metadata.nlink() == 1 && metadata.uid() == rustix::process::geteuid().as_raw();
    (is_ours
        && has_no_attributes(&file)
        && is_open_nowhere_else(&file)
        && fs::can_become(&spare, path))
    .then_some(spare)
}

/// Returns whether a file has no access control list or similar attributes from its time as a
/// package. A security module labels files by their place of creation.
fn has_no_attributes(file: &File) -> bool {
    let mut names = [0; 256];
    match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => names[..length]
            .split(|byte| *byte == 0)
            .all(|name| name.is_empty() || name == b"security.selinux"),
        // The file system does not support them.
        Err(error) => error == rustix::io::Errno::OPNOTSUPP,
    }
}

/// Returns whether only `file` has it open: then the system grants a lease for writing (fcntl(2),
/// "Leases").
#[expect(
    unsafe_code,
    reason = "rustix has no leases; fcntl(2) takes three numbers here, and the descriptor is open"
)]
fn is_open_nowhere_else(file: &File) -> bool {
    let lease =
        |kind: libc::c_int| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } == 0;
    lease(libc::F_WRLCK) && lease(libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::error::{Context, Error};

    struct Scene {
        directory: tempfile::TempDir,
        cache: Cache,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let cache = Cache::open(&directory.path().join("cache")).unwrap();
            std::fs::create_dir(directory.path().join("dist")).unwrap();
            Self { directory, cache }
        }

        fn package(&self) -> std::path::PathBuf {
            self.directory.path().join("dist/x.deb")
        }

        /// Writes a package, in parts of different sizes, and returns the number of the file.
        fn write(&self, content: &[u8]) -> u64 {
            replace(&self.cache, &self.package(), |out| {
                let (start, rest) = content.split_at(content.len() / 3);
                out.write_all(start).context(|| "cannot write")?;
                rest.chunks(70_001)
                    .try_for_each(|part| out.write_all(part))
                    .context(|| "cannot write")
            })
            .unwrap();
            let metadata = self.package().symlink_metadata().unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (1, 0o644));
            assert!(std::fs::read(self.package()).unwrap() == content);
            assert_eq!(
                std::fs::read_dir(self.directory.path().join("dist"))
                    .unwrap()
                    .count(),
                1
            );
            metadata.ino()
        }

        fn spares(&self) -> usize {
            std::fs::read_dir(self.cache.spares()).map_or(0, Iterator::count)
        }
    }

    fn content(size: u32, seed: u32) -> Vec<u8> {
        (0..size)
            .flat_map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9).to_le_bytes())
            .collect()
    }

    /// Writes a package in several versions. Returns the turn at which the file before the last one
    /// was not used again.
    fn take_turns() -> Result<(), usize> {
        let scene = Scene::new();
        let mut package = content(500_000, 0);
        let first = scene.write(&package);
        assert_eq!(scene.spares(), 0);
        let second = scene.write(&package);
        assert!(first != second && scene.spares() == 1);
        // Changed in the middle, longer, shorter, moved, something else, nothing.
        for (turn, change) in (0..).zip([
            &(|bytes: &mut Vec<u8>| bytes[1_000_000] ^= 1) as &dyn Fn(&mut Vec<u8>),
            &|bytes| bytes.extend(content(100_000, 7)),
            &|bytes| bytes.truncate(131_072),
            &|bytes| bytes.insert(0, 1),
            &|bytes| *bytes = content(700_000, 3),
            &Vec::clear,
            &|bytes| *bytes = content(700_000, 3),
        ]) {
            change(&mut package);
            let expected = if turn % 2 == 0 { first } else { second };
            if scene.write(&package) != expected {
                return Err(turn);
            }
        }
        assert_eq!(scene.spares(), 1);
        assert!(scene.cache.unfinished().is_empty());
        Ok(())
    }

    #[test]
    fn two_files_take_turns_and_always_have_what_was_written() {
        // A process that another test starts has all files open until it executes its program.
        let mut results = Vec::new();
        while results.len() < 20 && !results.contains(&Ok(())) {
            results.push(take_turns());
        }
        assert!(results.contains(&Ok(())), "{results:?}");
    }

    #[test]
    fn what_was_not_written_is_new_all_the_same() {
        let scene = Scene::new();
        let package = content(100_000, 0);
        scene.write(&package);
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::options()
            .write(true)
            .open(scene.package())
            .unwrap()
            .set_modified(old)
            .unwrap();
        scene.write(&package);
        scene.write(&package);
        assert!(
            scene.package().metadata().unwrap().modified().unwrap() > old + Duration::from_secs(60)
        );
    }

    #[test]
    fn who_reads_a_package_that_is_replaced_reads_it_to_its_end() {
        let scene = Scene::new();
        let first = scene.write(&content(300_000, 1));
        let mut reader = File::open(scene.package()).unwrap();
        let linked = scene.directory.path().join("linked");
        scene.write(&content(300_000, 2));
        std::fs::hard_link(scene.package(), &linked).unwrap();
        for seed in 3..6 {
            assert_ne!(scene.write(&content(300_000, seed)), first);
        }
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == content(300_000, 1));
        assert!(std::fs::read(linked).unwrap() == content(300_000, 2));
    }

    #[test]
    fn a_build_that_fails_leaves_the_package_and_takes_the_spare_with_it() {
        let scene = Scene::new();
        scene.write(&content(100_000, 1));
        scene.write(&content(100_000, 2));
        let fail = |out: &mut BufWriter<StreamedFile>| {
            out.write_all(&content(1000, 9))
                .context(|| "cannot write")?;
            assert_eq!(scene.spares(), 0, "another build finds none now");
            Err::<(), _>(Error::new("no"))
        };
        replace(&scene.cache, &scene.package(), fail).unwrap_err();
        assert!(std::fs::read(scene.package()).unwrap() == content(100_000, 2));
        assert_eq!(scene.package().metadata().unwrap().nlink(), 1);
        assert_eq!(scene.spares(), 0);
        assert!(scene.cache.unfinished().is_empty());
        scene.write(&content(100_000, 3));
    }

    #[test]
    fn what_is_no_file_in_the_place_of_a_package_is_replaced_and_never_written_to() {
        let scene = Scene::new();
        let other = scene.directory.path().join("other");
        std::fs::write(&other, "mine").unwrap();
        for _ in 0..3 {
            _ = std::fs::remove_file(scene.package());
            std::os::unix::fs::symlink(&other, scene.package()).unwrap();
            scene.write(&content(1000, 1));
        }
        assert_eq!(std::fs::read_to_string(other).unwrap(), "mine");
    }

    #[test]
    fn a_spare_that_cannot_get_to_the_package_is_not_used() {
        let scene = Scene::new();
        scene.write(&content(1000, 1));
        scene.write(&content(1000, 2));
        // As if `dist` were of another file system by now.
        let path = std::path::absolute(scene.package()).unwrap();
        let place = scene
            .cache
            .spares()
            .join(cache::key(["spare", &path.to_string_lossy()]));
        assert!(place.exists());
        assert!(
            take(
                &place,
                &scene.directory.path().join("taken"),
                Path::new("/proc/x.deb")
            )
            .is_none()
        );
        assert!(!place.exists());
    }
}
