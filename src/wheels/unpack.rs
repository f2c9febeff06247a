//! Unpacks archives of sources and eggs to disk: no path leaves the directory, by name or by link.

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use pkgapp_pypa::{LegacySourceDistExtension as Legacy, SourceDistExtension};

use super::archive::{FREE_UNPACKED, MAX_RATIO, MAX_UNPACKED, check_path};
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;

/// Returns whether sdists in this format can be unpacked.
pub(super) fn is_readable(extension: SourceDistExtension) -> bool {
    use Legacy::{Tar, TarXz, TarZst, Tgz, Txz, Zip};
    matches!(
        extension,
        SourceDistExtension::TarGz
            | SourceDistExtension::Legacy(Tar | TarXz | TarZst | Tgz | Txz | Zip)
    )
}

/// Unpacks an sdist below `to` and returns its one top directory (sdist format, PEP 625 and PEP
/// 517).
pub(super) fn unpack(
    archive: &Path,
    extension: SourceDistExtension,
    to: &Path,
    epoch: u64,
) -> Result<PathBuf> {
    let file = fs::open(archive)?;
    match extension {
        SourceDistExtension::Legacy(Legacy::Zip) => unpack_zip(file, to)?,
        SourceDistExtension::TarGz | SourceDistExtension::Legacy(Legacy::Tgz) => {
            unpack_tar(flate2::read::MultiGzDecoder::new(file), to)?;
        }
        SourceDistExtension::Legacy(Legacy::TarXz | Legacy::Txz) => {
            unpack_tar(liblzma::read::XzDecoder::new_multi_decoder(file), to)?;
        }
        SourceDistExtension::Legacy(Legacy::TarZst) => {
            unpack_tar(
                zstd::Decoder::new(file).context(|| "it is not compressed with zstd")?,
                to,
            )?;
        }
        SourceDistExtension::Legacy(Legacy::Tar) => unpack_tar(file, to)?,
        other @ SourceDistExtension::Legacy(_) => {
            return Err(Error::new(format!("pkgapp does not support `.{other}`")));
        }
    }
    let top: Vec<PathBuf> = std::fs::read_dir(to)
        .context(|| "cannot read the unpacked files")?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let [top] = &top[..] else {
        return Err(Error::new(format!(
            "it has {} top directories, but an sdist has one",
            top.len()
        )));
    };
    set_times(top, epoch)?;
    Ok(top.clone())
}

pub(super) fn unpack_zip(mut file: impl Read + Seek, to: &Path) -> Result<()> {
    let length = file
        .seek(SeekFrom::End(0))
        .context(|| "it cannot be read")?;
    let mut zip = zip::ZipArchive::new(file).context(|| "it is not a zip archive")?;
    let mut layout = UnpackTarget::new(
        to,
        FREE_UNPACKED
            .max(length.saturating_mul(MAX_RATIO))
            .min(MAX_UNPACKED),
    );
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).context(|| "a member cannot be read")?;
        let name = String::from_utf8(member.name_raw().to_owned())
            .context(|| "a member's name is not UTF-8")?;
        let mode = member.unix_mode().unwrap_or(0);
        if mode & 0o170_000 == 0o120_000 {
            return Err(Error::new(format!(
                "`{name}` is a symbolic link in a zip archive"
            )));
        }
        if member.is_dir() {
            layout.directory(&name)?;
        } else {
            layout.file(&name, mode & 0o111 != 0, &mut member)?;
        }
    }
    Ok(())
}

fn unpack_tar(reader: impl Read, to: &Path) -> Result<()> {
    let mut tar = tar::Archive::new(reader);
    let mut layout = UnpackTarget::new(to, MAX_UNPACKED);
    for entry in tar.entries().context(|| "it is not a tar archive")? {
        let mut entry = entry.context(|| "it cannot be unpacked")?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .context(|| "a member's name is not UTF-8")?;
        let target = |entry: &tar::Entry<'_, _>| {
            let target = entry
                .link_name_bytes()
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            target.ok_or_else(|| Error::new(format!("`{name}` is a link without a target")))
        };
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                layout.file(&name, executable, &mut entry)?;
            }
            tar::EntryType::Directory => layout.directory(&name)?,
            tar::EntryType::Symlink => layout.symlink(&name, &target(&entry)?)?,
            tar::EntryType::Link => layout.hardlink(&name, &target(&entry)?)?,
            tar::EntryType::XGlobalHeader | tar::EntryType::XHeader => {}
            _ => return Err(Error::new(format!("`{name}` is a special file"))),
        }
    }
    Ok(())
}

/// Writes an archive's members to disk; no path leaves the directory, by name or by link.
struct UnpackTarget<'a> {
    to: &'a Path,
    links: BTreeSet<String>,
    unpacked: u64,
    /// The maximum number of bytes.
    limit: u64,
}

impl<'a> UnpackTarget<'a> {
    fn new(to: &'a Path, limit: u64) -> Self {
        Self {
            to,
            links: BTreeSet::new(),
            unpacked: 0,
            limit,
        }
    }

    fn place(&self, name: &str) -> Result<(ReleasePath, PathBuf)> {
        let plain = name.strip_prefix("./").unwrap_or(name);
        let path = check_path(plain)
            .map_err(|why| Error::new(format!("`{}` {why}", name.escape_debug())))?;
        let mut above = path.parent();
        while let Some(parent) = above {
            if self.links.contains(parent.as_str()) {
                return Err(Error::new(format!("`{name}` is below the link `{parent}`")));
            }
            above = parent.parent();
        }
        let place = self.to.join(path.as_str());
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok((path, place))
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        if matches!(name, "." | "./") {
            return Ok(());
        }
        let (path, place) = self.place(name)?;
        if self.links.contains(path.as_str()) {
            return Err(Error::new(format!(
                "`{name}` is both a link and a directory"
            )));
        }
        fs::create_dir_all(&place)
    }

    fn file(&mut self, name: &str, executable: bool, content: &mut dyn Read) -> Result<()> {
        let (_, place) = self.place(name)?;
        let failed = || format!("cannot write `{}`", shown(&place));
        // `create_new` neither follows a link nor overwrites an earlier member.
        let mut file = File::create_new(&place).context(failed)?;
        let left = self.limit - self.unpacked;
        let written = io::copy(&mut content.take(left + 1), &mut file)
            .context(|| format!("cannot unpack `{name}`"))?;
        if written > left {
            return Err(Error::new(format!(
                "it unpacks to more than {} bytes",
                self.limit
            )));
        }
        self.unpacked += written;
        let mode = if executable { 0o755 } else { 0o644 };
        file.set_permissions(std::fs::Permissions::from_mode(mode))
            .context(failed)
    }

    fn symlink(&mut self, name: &str, target: &str) -> Result<()> {
        let (path, place) = self.place(name)?;
        if !stays_inside(&path, target) {
            return Err(Error::new(format!(
                "`{name}` is a link to `{target}`, outside the archive"
            )));
        }
        std::os::unix::fs::symlink(target, &place)
            .context(|| format!("cannot write `{}`", shown(&place)))?;
        self.links.insert(path.to_string());
        Ok(())
    }

    fn hardlink(&mut self, name: &str, target: &str) -> Result<()> {
        let (_, from) = self.place(target)?;
        let (_, place) = self.place(name)?;
        if from.is_symlink() || !from.is_file() {
            return Err(Error::new(format!(
                "`{name}` is a link to `{target}`, which is not an earlier file"
            )));
        }
        std::fs::hard_link(&from, &place).context(|| format!("cannot write `{}`", shown(&place)))
    }
}

/// Returns whether a relative link at `path` ends below the top directory of `path`.
pub(super) fn stays_inside(path: &ReleasePath, target: &str) -> bool {
    let mut depth = path.as_str().split('/').count() - 1;
    for component in Path::new(target).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            // One component is the top directory itself.
            Component::ParentDir if depth > 1 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Sets the modification times of all files and directories to `epoch`, in seconds since 1970:
/// backends copy them into their output.
pub(super) fn set_times(directory: &Path, epoch: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    for entry in walkdir::WalkDir::new(directory).contents_first(true) {
        let entry = entry.context(|| format!("cannot read `{}`", shown(directory)))?;
        if !entry.file_type().is_symlink() {
            let set = |file: File| file.set_times(FileTimes::new().set_modified(time));
            File::open(entry.path())
                .and_then(set)
                .context(|| format!("cannot write `{}`", shown(entry.path())))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_disk() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .start_file("zeros", zip::write::SimpleFileOptions::default())
            .unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..=FREE_UNPACKED >> 20 {
            writer.write_all(&zeros).unwrap();
        }
        let to = tempfile::tempdir().unwrap();
        let error = unpack_zip(writer.finish().unwrap(), to.path()).unwrap_err();
        assert_eq!(
            error.message(),
            format!("it unpacks to more than {FREE_UNPACKED} bytes")
        );
    }
}
