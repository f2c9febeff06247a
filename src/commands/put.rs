//! `pkgapp put`.

use std::os::unix::fs::PermissionsExt;

use crate::cli::{Global, PutArgs};
use crate::digest::Digest;
use crate::error::{Context, Error, Result, shown};
use crate::fleet::{Machine, verdict};
use crate::fs;
use crate::host::{Content, Upload, interrupt};
use crate::report::{Report, Style, human_bytes};

use super::{load_deploy, open_fleet};

pub(super) fn put(args: &PutArgs, global: &Global, report: &Report) -> Result<()> {
    let upload = upload(args)?;
    let deploy = load_deploy(args.name.as_deref(), global)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "put", report)?;
    let results = fleet.each(|machine| put_on(machine, &upload, report));
    let errors = results.into_iter().filter_map(|result| result.unwrap_or_else(|| Err(interrupt::error())).err());
    verdict(fleet.machines.len(), errors.collect())
}

fn upload(args: &PutArgs) -> Result<Upload> {
    let failed = || format!("cannot read `{}`", shown(&args.file));
    let metadata = std::fs::metadata(&args.file).context(failed)?;
    if !metadata.is_file() {
        return Err(Error::new(format!("`{}` is no regular file", shown(&args.file)))
            .hint("pack a directory (`tar -cf`), and put the archive"));
    }
    let digest = Digest::of_reader(fs::open(&args.file)?).context(failed)?;
    let mut path = args.remote.clone();
    if path.ends_with('/') {
        let name = args.file.file_name().and_then(|name| name.to_str());
        path += name.ok_or_else(|| Error::new(format!("`{}` has no name to keep", shown(&args.file))))?;
    }
    Ok(Upload {
        content: Content::File(args.file.clone()),
        size: digest.size,
        sha256: digest.sha256,
        path,
        mode: args.mode.unwrap_or(metadata.permissions().mode() & 0o777),
        owner: args.owner.clone(),
        sudo: args.sudo,
        copies: Vec::new(),
    })
}

fn put_on(machine: &Machine<'_>, upload: &Upload, report: &Report) -> Result<()> {
    machine.row.state(&format!("uploading {}", human_bytes(upload.size)));
    match machine.host.upload(upload, &mut |done| machine.row.bytes(done, upload.size)) {
        Ok(uploaded) => {
            let what = match (uploaded.changed, uploaded.sent == upload.size) {
                (false, _) => "is there already".to_owned(),
                (true, true) => "done".to_owned(),
                (true, false) => format!("done, {} sent", human_bytes(uploaded.sent)),
            };
            machine.row.done(&what);
            if report.style() == Style::Json {
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
