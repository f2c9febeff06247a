//! Files of this machine. Every error names its path, and nothing half-written is ever seen under
//! its final name.

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
/// It is missing, unreadable, or not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(|| format!("cannot read `{}`", shown(path)))
}

/// Reads a file.
///
/// # Errors
/// It is missing or unreadable.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(|| format!("cannot read `{}`", shown(path)))
}

/// Opens a file for reading.
///
/// # Errors
/// It is missing or unreadable.
pub fn open(path: &Path) -> Result<fs::File> {
    fs::File::open(path).context(|| format!("cannot open `{}`", shown(path)))
}

/// Makes a directory and those above it, as far as they are missing.
///
/// # Errors
/// What the system says.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("cannot make the directory `{}`", shown(path)))
}

/// Writes a file of mode 0644 by way of a temporary one in its directory, synced and then renamed:
/// under `path` there is the old content or the whole new one, whatever happens in between. Where
/// the file system can (`O_TMPFILE`, open(2)), the temporary one has no name until it is whole, so
/// that a build that is killed leaves nothing.
///
/// # Errors
/// What `write` returns, or what the system says; the temporary file is removed.
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

/// As [`write_atomically`], by way of a file that is there, that nobody else uses, and that may be
/// renamed to `path`: where it has the bytes that are to be written, they are not. If that fails,
/// it is gone.
///
/// # Errors
/// What `write` returns, or what the system says.
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
    // It may be that nothing was written, and yet it is a new file.
    file.file()
        .set_modified(SystemTime::now())
        .context(failed)?;
    spare
        .persist(path)
        .map_err(|error| error.error)
        .context(failed)?;
    Ok(made)
}

/// Returns whether a file may be renamed to `path`: that is on its file system, and not by way of
/// another mount.
pub(crate) fn can_become(file: &Path, path: &Path) -> bool {
    // The name goes away at once.
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

/// Returns the file that has all that `write` writes, on the disk.
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
    // tempfile makes files of mode 0600, and the umask is not ours to follow: the same input gives
    // the same output.
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .context(&failed)?;
    file.sync_all().context(failed)?;
    Ok((file, made))
}

/// A file that is written from its beginning to its end. The system begins to bring it to the disk
/// while more of it is written: the sync at its end waits for the rest only.
#[derive(Debug)]
pub struct StreamedFile {
    file: fs::File,
    /// Where the next byte goes.
    at: u64,
    /// Where the bytes begin that the system was not yet told to bring to the disk.
    begun: u64,
    /// How many bytes the file had before; they are looked at before others are written in their
    /// place.
    present: u64,
    /// For what the file has.
    buffer: Vec<u8>,
}

impl StreamedFile {
    /// How much is written before the system is told again, bytes.
    const STEP: u64 = 4 << 20;

    /// How much is compared at a time, bytes: small enough to stay near the processor.
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

    /// Returns how many bytes were written, or found to be there.
    pub fn written(&self) -> u64 {
        self.at
    }

    /// Returns whether the file has these bytes already, where they are to be.
    fn has(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.at + bytes.len() as u64 > self.present {
            return Ok(false);
        }
        let present = &mut self.buffer[..bytes.len()];
        self.file.file().read_exact_at(present, self.at)?;
        Ok(present == bytes)
    }

    /// Tells the system to bring to the disk what was written since it was told last.
    fn flow(&mut self) {
        if let Some(size) = NonZeroU64::new(self.at - self.begun) {
            // Linux writes out what is dirty in a range that is said not to be needed
            // (mm/fadvise.c), and does not wait. What it makes of the advice changes
            // nothing of the file.
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
            // What is not dirty would be forgotten, and the next build is to read it again.
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

/// How temporary files are called, for as long as they are.
const TEMPORARY: &str = ".pkgapp-";

/// Makes a temporary file: without a name if the file system can, else with one.
fn temporary_in(directory: &Path) -> io::Result<(std::fs::File, Option<TempPath>)> {
    let mut unnamed = std::fs::OpenOptions::new();
    unnamed
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE);
    // It gets its name through /proc, which a bare chroot lacks.
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

/// Gives a file without a name one, which goes away when dropped.
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

/// Renames a finished directory into place; `false` if another process was first, which is as good.
///
/// # Errors
/// What the system says, other than that the directory is there already.
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
