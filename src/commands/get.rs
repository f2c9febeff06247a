//! `pkgapp get`.

use std::io::{Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::cli::{GetArgs, GlobalOptions};
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report, human_bytes};
use pkgapp_deploy::fleet::{Machine, verdict};
use pkgapp_deploy::hosts::unpack::unpack;
use pkgapp_deploy::hosts::{Download, Downloaded, FetchKind, HostCommand, HostFailure, interrupt};

use super::{load_deploy, open_fleet};

pub(super) fn get(args: &GetArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let name = args
        .remote
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    if matches!(name.as_str(), "" | "." | "..") {
        return Err(
            Error::new(format!("`{}` does not end with a name", args.remote))
                .hint("name a file or a directory"),
        );
    }
    let deploy = load_deploy(args.name.as_deref(), global, report)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "get", report)?;
    let results = fleet.each(|machine| get_from(machine, args, &name, report));
    let errors = results
        .into_iter()
        .filter_map(|result| result.unwrap_or_else(|| Err(interrupt::error())).err());
    verdict(fleet.machines.len(), errors.collect())
}

fn get_from(machine: &Machine<'_>, args: &GetArgs, name: &str, report: &Report) -> Result<()> {
    machine.row.state("downloading");
    match fetch(machine, args, name) {
        Ok((path, size)) => {
            machine.row.done(&human_bytes(size));
            match report.style() {
                OutputStyle::Text => report.result(&shown(&path).to_string()),
                OutputStyle::Json => {
                    report.json(&serde_json::json!({ "host": machine.member.name, "path": path, "size": size }));
                }
            }
            Ok(())
        }
        Err(error) => {
            machine.row.failed(&error);
            Err(error)
        }
    }
}

/// Downloads the file or directory; returns its local path and the number of bytes received.
fn fetch(machine: &Machine<'_>, args: &GetArgs, name: &str) -> Result<(PathBuf, u64)> {
    let download = Download {
        path: args.remote.clone(),
        kind: kind_on_host(machine, args)?,
        most: args.max_size,
        sudo: args.sudo,
    };
    let directory = args
        .into
        .join(machine.member.name.replace(['/', '\\'], "_"));
    fs::create_dir_all(&directory)?;
    let target = directory.join(name);
    let failed = || format!("cannot write `{}`", shown(&target));
    let mut aside = tempfile::Builder::new()
        .prefix(".pkgapp-")
        .tempfile_in(&directory)
        .context(failed)?;
    let received = receive(machine, &download, aside.as_file_mut())?;

    match download.kind {
        FetchKind::File => {
            let mode = std::fs::Permissions::from_mode(received.mode & 0o777);
            aside.as_file().set_permissions(mode).context(failed)?;
            aside.as_file().sync_all().context(failed)?;
            aside
                .persist(&target)
                .map_err(|error| error.error)
                .context(failed)?;
        }
        FetchKind::Directory => {
            aside.seek(SeekFrom::Start(0)).context(failed)?;
            unpack(aside.as_file_mut(), &directory, &target)?;
        }
    }
    Ok((target, received.size))
}

/// Asks the host whether the path is a file or a directory.
fn kind_on_host(machine: &Machine<'_>, args: &GetArgs) -> Result<FetchKind> {
    let look = HostCommand::new(
        format!("looking for `{}`", args.remote),
        "if [ -d \"$1\" ]; then echo directory; elif [ -e \"$1\" ]; then echo file; else echo none; fi",
    );
    let look = look.arg(args.remote.clone()).sudo(args.sudo).question();
    let output = machine
        .host
        .run(&look, &mut |_, _| {})
        .map_err(HostFailure::into_error)?;
    match output.text().trim() {
        "directory" => Ok(FetchKind::Directory),
        "file" => Ok(FetchKind::File),
        _ => Err(Error::new(format!(
            "there is no `{}` on `{}`",
            args.remote, machine.member.name
        ))),
    }
}

/// Receives a download into a file, and shows its progress.
fn receive(
    machine: &Machine<'_>,
    download: &Download,
    to: &mut std::fs::File,
) -> Result<Downloaded> {
    let total = std::cell::Cell::new(0);
    let mut sink = Watched {
        to,
        seen: |bytes| {
            total.set(total.get() + bytes);
            machine.row.bytes(total.get(), total.get());
        },
    };
    machine
        .host
        .download(download, &mut sink)
        .map_err(|failure| match failure {
            HostFailure::Lost(error) if total.get() >= download.most => {
                error.hint("raise the limit with `--max-size`")
            }
            other => other.into_error(),
        })
}

/// A file that reports the number of bytes of each write.
struct Watched<'f, F> {
    to: &'f mut std::fs::File,
    seen: F,
}

impl<F: FnMut(u64)> std::io::Write for Watched<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        (self.seen)(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
