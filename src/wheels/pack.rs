//! Unpacks wheels into a directory and packs them again, so that equal content gives equal bytes.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::archive::WheelArchive;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::path::ReleasePath;
use pkgapp_pypa::WheelFilename;

/// The unpacked files of a wheel.
#[derive(Debug)]
pub(super) struct WheelLayout {
    /// The name of the wheel.
    pub(super) filename: WheelFilename,
    /// The name of its `.dist-info`.
    pub(super) dist_info: String,
    /// The directory of its files.
    pub(super) root: PathBuf,
}

/// Unpacks a wheel's files below `to`, and compares each with RECORD.
///
/// # Errors
/// Like [`WheelArchive::for_each_file`]; also fails if files cannot be written.
pub(super) fn unpack(wheel: &Path, filename: &WheelFilename, to: &Path) -> Result<WheelLayout> {
    fs::create_dir_all(to)?;
    let mut archive = WheelArchive::open(wheel, filename)?;
    archive.for_each_file(|member, content| {
        put(&to.join(member.path.as_str()), member.executable, content)
    })?;
    Ok(WheelLayout {
        filename: filename.clone(),
        dist_info: archive.dist_info().to_owned(),
        root: to.to_owned(),
    })
}

/// Creates a file, and the directories above it.
///
/// # Errors
/// Fails if the file exists or cannot be written.
pub(super) fn put(place: &Path, executable: bool, mut content: impl Read) -> Result<()> {
    let failed = || format!("cannot write `{}`", shown(place));
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create_new(place).context(failed)?;
    io::copy(&mut content, &mut file).context(failed)?;
    file.set_permissions(Permissions::from_mode(if executable {
        0o755
    } else {
        0o644
    }))
    .context(failed)
}

/// Returns whether anyone may execute a file.
///
/// # Errors
/// Fails if the file cannot be read.
pub(super) fn is_executable(place: &Path) -> Result<bool> {
    let metadata =
        std::fs::metadata(place).context(|| format!("cannot read `{}`", shown(place)))?;
    Ok(metadata.permissions().mode() & 0o111 != 0)
}

/// Packs an unpacked wheel as `to`: sorted, with `.dist-info` last as PEP 427 recommends, one
/// timestamp, two modes, and a new RECORD.
///
/// # Errors
/// Fails on a name that wheels cannot contain, or if a file cannot be read or written.
pub(super) fn pack(laid: &WheelLayout, to: &Path) -> Result<()> {
    let failed = || format!("cannot write `{}`", shown(to));
    let own = format!("{}/RECORD", laid.dist_info);
    let mut writer = ZipWriter::new(File::create(to).context(failed)?);
    let mut record = csv::WriterBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    for (path, place) in in_wheel_order(laid)? {
        if path == own {
            continue;
        }
        let content = fs::read(&place)?;
        add(&mut writer, &path, is_executable(&place)?, &content, failed)?;
        let hash = format!(
            "sha256={}",
            BASE64URL_NOPAD.encode(&Sha256::digest(&content))
        );
        record
            .write_record([path, hash, content.len().to_string()])
            .context(failed)?;
    }

    record
        .write_record([own.as_str(), "", ""])
        .context(failed)?;
    let record = record
        .into_inner()
        .map_err(|_| Error::bug("a list in memory can be written"))?;
    add(&mut writer, &own, false, &record, failed)?;
    writer.finish().context(failed)?;
    Ok(())
}

/// Returns the files by path, those of `.dist-info` last.
fn in_wheel_order(laid: &WheelLayout) -> Result<Vec<(String, PathBuf)>> {
    let dist_info = format!("{}/", laid.dist_info);
    let mut files: Vec<(String, PathBuf)> = files(&laid.root)?
        .into_iter()
        .map(|(path, place)| (path.to_string(), place))
        .collect();
    files.sort_by_cached_key(|(path, _)| (path.starts_with(&dist_info), path.clone()));
    Ok(files)
}

fn add(
    writer: &mut ZipWriter<File>,
    path: &str,
    executable: bool,
    content: &[u8],
    failed: impl Fn() -> String + Copy,
) -> Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(zip::DateTime::default())
        .large_file(content.len() as u64 >= u64::from(u32::MAX))
        .unix_permissions(if executable { 0o755 } else { 0o644 });
    writer.start_file(path, options).context(failed)?;
    writer.write_all(content).context(failed)
}

/// Returns the files below a directory by their path in it, with links resolved.
///
/// # Errors
/// Fails on a name that a release cannot contain, or if a file cannot be read.
pub(super) fn files(directory: &Path) -> Result<BTreeMap<ReleasePath, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(directory).min_depth(1) {
        let entry = entry.context(|| format!("cannot read `{}`", shown(directory)))?;
        if entry.file_type().is_dir() {
            continue;
        }
        let below = entry.path().strip_prefix(directory).unwrap_or(entry.path());
        let name = below.to_str().ok_or_else(|| {
            Error::new(format!("`{}` has a name that is not UTF-8", shown(below)))
        })?;
        files.insert(ReleasePath::parse(name)?, entry.into_path());
    }
    Ok(files)
}
