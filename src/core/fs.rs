//! Local files. Every error names its path, and a file never appears half-written under its final
//! name.

use std::io::{self, BufWriter};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use fs_err as fs;
use rustix::fs::{Advice, AtFlags, CWD, fadvise, linkat};
use tempfile::TempPath;

use crate::error::{Context, Error, Result, shown};

/// Reads a text file.
///
/// # Errors
/// Fails if the file is missing, unreadable, or not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(|| format!("cannot read `{}`", shown(path)))
}

/// Reads a file.
///
/// # Errors
/// Fails if the file is missing or unreadable.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(|| format!("cannot read `{}`", shown(path)))
}

/// Opens a file for reading.
///
/// # Errors
/// Fails if the file is missing or unreadable.
pub fn open(path: &Path) -> Result<fs::File> {
    fs::File::open(path).context(|| format!("cannot open `{}`", shown(path)))
}

/// Creates a directory and its missing parents.
///
/// # Errors
/// Fails if a directory cannot be created.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("cannot create the directory `{}`", shown(path)))
}

/// Writes a file of mode 0644 through a temporary file in its directory, which is synced and then
/// renamed: `path` has either the old content or the complete new one, whatever happens in between.
/// If the file system supports it (`O_TMPFILE`, open(2)), the temporary file has no name until it
/// is complete, so that a killed build leaves nothing behind.
///
/// # Errors
/// Fails if `write` does, or if the file cannot be written; the temporary file is removed.
pub fn write_atomically<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<StreamedFile>) -> Result<T>,
) -> Result<T> {
    let failed = || format!("cannot write `{}`", shown(path));
    let directory = directory_of(path);
    create_dir_all(directory)?;
    let (file, name) = temporary_in(directory).context(failed)?;
    let (file, made) = written(
        StreamedFile::new(fs::File::from_parts(file, path)),
        failed,
        write,
    )?;
    let name = name
        .map_or_else(|| name_it(file.file(), directory), Ok)
        .context(failed)?;
    name.persist(path)
        .map_err(|error| error.error)
        .context(failed)?;
    Ok(made)
}

/// Works like [`write_atomically`], through an existing file that nobody else uses and that may be
/// renamed to `path`: bytes that it already has are not written again. On failure, the file is
/// removed.
///
/// # Errors
/// Fails if `write` does, or if the file cannot be written.
pub fn write_over<T>(
    spare: TempPath,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<StreamedFile>) -> Result<T>,
) -> Result<T> {
    let failed = || format!("cannot write `{}`", shown(path));
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&spare)
        .context(failed)?;
    let (file, made) = written(
        StreamedFile::over(fs::File::from_parts(file, path)).context(failed)?,
        failed,
        write,
    )?;
    // The file counts as new even if nothing was written.
    file.file()
        .set_modified(SystemTime::now())
        .context(failed)?;
    spare
        .persist(path)
        .map_err(|error| error.error)
        .context(failed)?;
    Ok(made)
}

/// Returns whether a file may be renamed to `path`: both are on the same file system and mount.
pub(crate) fn can_become(file: &Path, path: &Path) -> bool {
    // The name is removed at once.
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .make_in(directory_of(path), |name| std::fs::hard_link(file, name))
        .is_ok()
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Returns a file with the output of `write`, synced to disk.
fn written<T>(
    file: StreamedFile,
    failed: impl Fn() -> String,
    write: impl FnOnce(&mut BufWriter<StreamedFile>) -> Result<T>,
) -> Result<(fs::File, T)> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let made = write(&mut out)?;
    let StreamedFile {
        file, at, present, ..
    } = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .context(&failed)?;
    if at < present {
        file.set_len(at).context(&failed)?;
    }
    // tempfile creates files of mode 0600, and the umask must not matter: the same input gives the
    // same output.
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .context(&failed)?;
    file.sync_all().context(failed)?;
    Ok((file, made))
}

/// A file that is written sequentially. The system starts to write it to disk in the meantime, so
/// that the final sync only waits for the rest.
#[derive(Debug)]
pub struct StreamedFile {
    file: fs::File,
    /// The offset of the next byte.
    at: u64,
    /// The offset of the first byte that the system has not been told to write to disk.
    begun: u64,
    /// The original size of the file in bytes; its bytes are compared before they are overwritten.
    present: u64,
    /// A buffer for the existing content of the file.
    buffer: Vec<u8>,
}

impl StreamedFile {
    /// The number of bytes between two notifications of the system.
    const STEP: u64 = 4 << 20;

    /// The number of bytes per comparison: small enough for the processor's cache.
    const COMPARED: usize = 1 << 17;

    fn new(file: fs::File) -> Self {
        Self {
            file,
            at: 0,
            begun: 0,
            present: 0,
            buffer: Vec::new(),
        }
    }

    fn over(file: fs::File) -> io::Result<Self> {
        let present = file.file().metadata()?.len();
        Ok(Self {
            present,
            buffer: vec![0; Self::COMPARED],
            ..Self::new(file)
        })
    }

    /// Returns how many bytes were written or found in place.
    pub fn written(&self) -> u64 {
        self.at
    }

    /// Returns whether the file already has these bytes at their offset.
    fn has(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.at + bytes.len() as u64 > self.present {
            return Ok(false);
        }
        let present = &mut self.buffer[..bytes.len()];
        self.file.file().read_exact_at(present, self.at)?;
        Ok(present == bytes)
    }

    /// Tells the system to write to disk the bytes since the last notification.
    fn flow(&mut self) {
        if let Some(size) = NonZeroU64::new(self.at - self.begun) {
            // Linux starts to write dirty pages in a range that is declared as unneeded
            // (mm/fadvise.c), without waiting. The advice never changes the content of the file.
            _ = fadvise(&self.file, self.begun, Some(size), Advice::DontNeed);
        }
        self.begun = self.at;
    }
}

impl io::Write for StreamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let comparable = self.at < self.present;
        let bytes = if comparable {
            &bytes[..bytes.len().min(Self::COMPARED)]
        } else {
            bytes
        };
        if comparable && self.has(bytes)? {
            // Clean pages would be dropped, but the next build will read them again.
            self.flow();
            self.at += bytes.len() as u64;
            self.begun = self.at;
            return Ok(bytes.len());
        }
        let length = self.file.file().write_at(bytes, self.at)?;
        self.at += length as u64;
        if self.at - self.begun >= Self::STEP {
            self.flow();
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The prefix of temporary files.
const TEMPORARY: &str = ".pkgapp-";

/// Creates a temporary file: without a name if the file system supports it, otherwise with one.
fn temporary_in(directory: &Path) -> io::Result<(std::fs::File, Option<TempPath>)> {
    let mut unnamed = std::fs::OpenOptions::new();
    unnamed
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE);
    // Naming it later requires /proc, which a bare chroot lacks.
    if Path::new("/proc/self/fd").is_dir()
        && let Ok(file) = unnamed.open(directory)
    {
        return Ok((file, None));
    }
    let (file, name) = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(directory)?
        .into_parts();
    Ok((file, Some(name)))
}

/// Gives a nameless file a temporary name, which is removed on drop.
fn name_it(file: &std::fs::File, directory: &Path) -> io::Result<TempPath> {
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |path: &Path| {
        Ok(linkat(
            CWD,
            descriptor.as_str(),
            CWD,
            path,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    };
    Ok(tempfile::Builder::new()
        .prefix(TEMPORARY)
        .make_in(directory, link)?
        .into_temp_path())
}

/// Renames a finished directory into place; returns `false` if another process was first, which is
/// just as good.
///
/// # Errors
/// Fails if the rename fails for any other reason.
pub fn publish_dir(from: &Path, to: &Path) -> Result<bool> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(_) if to.is_dir() => Ok(false),
        Err(error) => Err(Error::new(format!("cannot put `{}` in place", shown(to))).cause(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(directory.path()).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let path = directory.path().join("x");
        for content in ["old", "new"] {
            write_atomically(&path, |out| {
                std::io::Write::write_all(out, content.as_bytes()).unwrap();
                assert!(
                    names().iter().all(|name| name == "x"),
                    "a kill here would leave {:?}",
                    names()
                );
                Ok(())
            })
            .unwrap();
            assert_eq!(
                (names(), std::fs::read_to_string(&path).unwrap()),
                (vec!["x".to_owned()], content.to_owned())
            );
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        write_atomically(&path, |_| Err::<(), _>(Error::new("no"))).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
