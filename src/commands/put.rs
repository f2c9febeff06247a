//! `pkgapp put`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::{GlobalOptions, PutArgs};
use pkgapp_core::digest::Digest;
use pkgapp_core::error::{Context, Error, ErrorKind, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report, human_bytes};
use pkgapp_deploy::fleet::{Machine, verdict};
use pkgapp_deploy::hosts::{Upload, UploadContent, UploadForm, interrupt};

use super::{load_deploy, open_fleet};

pub(super) fn put(args: &PutArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let what = Put::read(args)?;
    let deploy = load_deploy(args.name.as_deref(), global, report)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "put", report)?;
    let results = fleet.each(|machine| put_on(machine, &what, report));
    let errors = results
        .into_iter()
        .filter_map(|result| result.unwrap_or_else(|| Err(interrupt::error())).err());
    verdict(fleet.machines.len(), errors.collect())
}

/// The file or directory to upload to every host.
struct Put {
    upload: Upload,
    /// The archive that is uploaded for a directory; dropping this removes the file.
    _archive: Option<tempfile::TempPath>,
}

impl Put {
    fn read(args: &PutArgs) -> Result<Self> {
        let failed = || format!("cannot read `{}`", shown(&args.file));
        let metadata = std::fs::metadata(&args.file).context(failed)?;
        let path = remote_path(args)?;
        if metadata.is_file() {
            let mode = args.mode.unwrap_or(metadata.permissions().mode() & 0o777);
            let upload = upload(
                &args.file,
                &path,
                UploadForm::File,
                mode,
                args.owner.clone(),
                args.sudo,
            )?;
            return Ok(Self {
                upload,
                _archive: None,
            });
        }
        if !metadata.is_dir() {
            return Err(Error::new(format!(
                "`{}` is neither a file nor a directory",
                shown(&args.file)
            )));
        }
        if args.mode.is_some() {
            let error = Error::new("`--mode` applies only to a file, not to a directory");
            return Err(error.kind(ErrorKind::Usage));
        }
        let archive = packed(&args.file).context(failed)?;
        let upload = upload(
            &archive,
            &path,
            UploadForm::Directory,
            0,
            args.owner.clone(),
            args.sudo,
        )?;
        Ok(Self {
            upload,
            _archive: Some(archive),
        })
    }
}

/// Returns the path on the hosts: a directory that ends with a slash gets the name of the file.
fn remote_path(args: &PutArgs) -> Result<String> {
    let mut path = args.remote.clone();
    if path.ends_with('/') {
        let name = args.file.file_name().and_then(|name| name.to_str());
        path += name.ok_or_else(|| {
            Error::new(format!(
                "`{}` does not end with a name in UTF-8",
                shown(&args.file)
            ))
        })?;
    }
    if matches!(path.rsplit('/').next(), None | Some("" | "." | "..")) {
        let error = Error::new(format!("`{path}` does not end with a name"));
        return Err(error.hint("write the whole path, including the last name"));
    }
    Ok(path)
}

fn upload(
    file: &Path,
    path: &str,
    form: UploadForm,
    mode: u32,
    owner: Option<String>,
    sudo: bool,
) -> Result<Upload> {
    let digest =
        Digest::of_reader(fs::open(file)?).context(|| format!("cannot read `{}`", shown(file)))?;
    let (content, path) = (UploadContent::File(file.to_owned()), path.to_owned());
    let (size, sha256) = (digest.size, digest.sha256);
    Ok(Upload {
        content,
        size,
        sha256,
        path,
        form,
        mode,
        owner,
        sudo,
        copies: Vec::new(),
    })
}

/// Packs a directory into an archive with its members sorted, so that an interrupted transfer can
/// be continued.
fn packed(directory: &Path) -> std::io::Result<tempfile::TempPath> {
    let mut file = tempfile::NamedTempFile::new()?;
    let mut archive = tar::Builder::new(std::io::BufWriter::new(file.as_file_mut()));
    archive.follow_symlinks(false);
    for entry in walkdir::WalkDir::new(directory).sort_by_file_name() {
        let entry = entry?;
        let below = entry.path().strip_prefix(directory).unwrap_or(entry.path());
        archive.append_path_with_name(entry.path(), Path::new(".").join(below))?;
    }
    std::io::Write::flush(&mut archive.into_inner()?)?;
    Ok(file.into_temp_path())
}

fn put_on(machine: &Machine<'_>, put: &Put, report: &Report) -> Result<()> {
    let upload = &put.upload;
    machine
        .row
        .state(&format!("uploading {}", human_bytes(upload.size)));
    let size = upload.size;
    match machine
        .host
        .upload(upload, &mut |done| machine.row.bytes(done, size))
    {
        Ok(uploaded) => {
            let what = match (uploaded.changed, uploaded.sent == upload.size) {
                (false, _) => "already there".to_owned(),
                (true, true) => "done".to_owned(),
                (true, false) => format!("done, {} sent", human_bytes(uploaded.sent)),
            };
            machine.row.done(&what);
            if report.style() == OutputStyle::Json {
                report.json(&serde_json::json!({
                    "host": machine.member.name,
                    "path": upload.path,
                    "size": upload.size,
                    "sha256": upload.sha256,
                    "sent": uploaded.sent,
                    "changed": uploaded.changed,
                }));
            }
            Ok(())
        }
        Err(failure) => {
            machine.row.failed(failure.error());
            Err(failure.into_error())
        }
    }
}
