//! `pkgapp get`.

use std::io::{Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::{GetArgs, Global};
use crate::error::{Context, Error, Result, shown};
use crate::fleet::{Machine, verdict};
use crate::fs;
use crate::host::{Command, Download, Kind, interrupt};
use crate::report::{Report, Style, human_bytes};

use super::{load_deploy, open_fleet};

pub(super) fn get(args: &GetArgs, global: &Global, report: &Report) -> Result<()> {
    let name = args.remote.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    if matches!(name.as_str(), "" | "." | "..") {
        return Err(Error::new(format!("`{}` has no name to keep", args.remote)).hint("name a file or a directory"));
    }
    let deploy = load_deploy(args.name.as_deref(), global)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "get", report)?;
    let results = fleet.each(|machine| get_from(machine, args, &name, report));
    let errors = results.into_iter().filter_map(|result| result.unwrap_or_else(|| Err(interrupt::error())).err());
    verdict(fleet.machines.len(), errors.collect())
}

fn get_from(machine: &Machine<'_>, args: &GetArgs, name: &str, report: &Report) -> Result<()> {
    machine.row.state("downloading");
    match fetch(machine, args, name) {
        Ok((path, size)) => {
            machine.row.done(&human_bytes(size));
            match report.style() {
                Style::Text => report.result(&shown(&path).to_string()),
                Style::Json => {
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

/// Returns where it is now, and how many bytes came.
fn fetch(machine: &Machine<'_>, args: &GetArgs, name: &str) -> Result<(PathBuf, u64)> {
    let host = machine.host.as_ref();
    let look = Command::new(
        format!("looking for `{}`", args.remote),
        "if [ -d \"$1\" ]; then echo directory; elif [ -e \"$1\" ]; then echo file; else echo none; fi",
    );
    let look = look.arg(args.remote.clone()).sudo(args.sudo).ends_with_us();
    let kind = host.run(&look, &mut |_, _| {}).map_err(crate::host::Failure::into_error)?;
    let kind = match kind.text().trim() {
        "directory" => Kind::Directory,
        "file" => Kind::File,
        _ => return Err(Error::new(format!("there is no `{}` on `{}`", args.remote, machine.member.name))),
    };
    let download = Download { path: args.remote.clone(), kind, sudo: args.sudo };
    let directory = args.into.join(machine.member.name.replace(['/', '\\'], "_"));
    fs::create_dir_all(&directory)?;
    let target = directory.join(name);
    let failed = || format!("cannot write `{}`", shown(&target));
    let mut aside = tempfile::Builder::new().prefix(".pkgapp-").tempfile_in(&directory).context(failed)?;
    let total = std::cell::Cell::new(0);
    let mut sink = Watched {
        to: aside.as_file_mut(),
        seen: |bytes| {
            total.set(total.get() + bytes);
            machine.row.bytes(total.get(), total.get());
        },
    };
    let came = host.download(&download, &mut sink).map_err(crate::host::Failure::into_error)?;
    match kind {
        Kind::File => {
            let mode = std::fs::Permissions::from_mode(came.mode & 0o777);
            aside.as_file().set_permissions(mode).context(failed)?;
            aside.as_file().sync_all().context(failed)?;
            aside.persist(&target).map_err(|error| error.error).context(failed)?;
        }
        Kind::Directory => {
            aside.seek(SeekFrom::Start(0)).context(failed)?;
            unpack(aside.as_file_mut(), &directory, &target)?;
        }
    }
    Ok((target, came.size))
}

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

/// Unpacks a tar stream of a host, which may be hostile: nothing gets outside of the directory, and it is renamed into
/// place when it is whole. What was fetched before is replaced.
fn unpack(archive: &mut std::fs::File, directory: &Path, target: &Path) -> Result<()> {
    let failed = || format!("cannot unpack `{}`", shown(target));
    let aside = tempfile::Builder::new().prefix(".pkgapp-").tempdir_in(directory).context(failed)?;
    let whole = aside.path().join("new");
    std::fs::create_dir(&whole).context(failed)?;
    let mut archive = tar::Archive::new(archive);
    for member in archive.entries().context(failed)? {
        let mut member = member.context(failed)?;
        let kind = member.header().entry_type();
        let path = member.path().context(failed)?.into_owned();
        // Devices, sockets and pipes are nothing to keep.
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            continue;
        }
        // It refuses what would lie outside, or be written through a link that leads there.
        if !member.unpack_in(&whole).context(failed)? {
            return Err(Error::new(format!("`{}` leads out of the directory", path.display())).context(failed()));
        }
    }
    let old = aside.path().join("old");
    if target.symlink_metadata().is_ok() {
        std::fs::rename(target, &old).context(failed)?;
    }
    std::fs::rename(&whole, target).context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("hosts/web1");
        std::fs::create_dir_all(&below).unwrap();
        let archive = |members: &[(&str, tar::EntryType, &str)]| {
            let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
            for (path, kind, content) in members {
                let mut header = tar::Header::new_gnu();
                // `set_path` refuses what a hostile host would write.
                header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_entry_type(*kind);
                header.set_mode(0o644);
                let link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
                let data = if link { "" } else { *content };
                if link {
                    header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
                }
                header.set_size(data.len() as u64);
                header.set_cksum();
                builder.append(&header, data.as_bytes()).unwrap();
            }
            let mut file = builder.into_inner().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            file
        };
        use tar::EntryType::{Link, Regular, Symlink};
        let target = below.join("etc");
        let hostile: [&[(&str, tar::EntryType, &str)]; 3] = [
            &[("./a", Regular, "a"), ("../../out", Regular, "x")],
            &[("up", Symlink, "../../.."), ("up/out", Regular, "x")],
            &[("link", Link, "../../../secret")],
        ];
        std::fs::write(directory.path().join("secret"), "s").unwrap();
        for members in hostile {
            unpack(&mut archive(members), &below, &target).unwrap_err();
            assert!(!directory.path().join("out").exists() && !directory.path().join("hosts/out").exists());
            assert!(std::fs::read_dir(&below).unwrap().next().is_none(), "nothing is left behind");
        }
        for content in ["old", "new"] {
            unpack(&mut archive(&[("./a", Regular, content), ("/abs", Symlink, "/etc")]), &below, &target).unwrap();
            assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
    }
}
