//! Files of this machine. Every error names its path, and nothing half-written is ever seen under its final name.

use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;

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

/// Writes a file of mode 0644 by way of a temporary one beside it, synced and then renamed: under `path` there is the
/// old content or the whole new one, whatever happens in between.
///
/// # Errors
/// What `write` returns, or what the system says; the temporary file is removed.
pub fn write_atomically<T>(path: &Path, write: impl FnOnce(&mut BufWriter<fs::File>) -> Result<T>) -> Result<T> {
    let failed = || format!("cannot write `{}`", shown(path));
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir_all(directory)?;
    let temporary = tempfile::Builder::new().prefix(".pkgapp-").tempfile_in(directory).context(failed)?;
    let (file, temporary) = temporary.into_parts();
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::from_parts(file, &temporary));
    let made = write(&mut out)?;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).context(failed)?;
    // tempfile makes files of mode 0600, and the umask is not ours to follow: the same input gives the same output.
    file.set_permissions(std::fs::Permissions::from_mode(0o644)).context(failed)?;
    file.sync_all().context(failed)?;
    temporary.persist(path).map_err(|error| error.error).context(failed)?;
    Ok(made)
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
