//! `pkgapp put`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::{Global, PutArgs};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result, shown};
use crate::fleet::{Machine, verdict};
use crate::fs;
use crate::host::{Command, Content, Failure, Upload, Uploaded, interrupt};
use crate::report::{Report, Style, human_bytes};

use super::{load_deploy, open_fleet};

pub(super) fn put(args: &PutArgs, global: &Global, report: &Report) -> Result<()> {
    let what = Put::read(args)?;
    let deploy = load_deploy(args.name.as_deref(), global)?;
    let fleet = open_fleet(&args.hosts, deploy.as_ref(), "put", report)?;
    let results = fleet.each(|machine| put_on(machine, &what, report));
    let errors = results.into_iter().filter_map(|result| result.unwrap_or_else(|| Err(interrupt::error())).err());
    verdict(fleet.machines.len(), errors.collect())
}

/// What goes to every host.
struct Put {
    upload: Upload,
    /// Of a directory, whose archive is uploaded: what unpacks it there, and the archive here.
    unpack: Option<(Command, tempfile::TempPath)>,
    /// Where it is in the end.
    path: String,
}

/// Replaces a directory by the content of an archive beside it. Arguments: the archive, the directory, `USER[:GROUP]` or
/// nothing. What a killed one has left is put right first. Prints `same` if nothing was other than in the archive.
const UNPACK: &str = r#"
set -eu
archive=$1 path=$2 owner=$3
dir=$(dirname -- "$path") name=$(basename -- "$path")
new=$dir/.$name.pkgapp-new old=$dir/.$name.pkgapp-old
if [ -e "$old" ] && [ ! -e "$path" ]; then mv -T -- "$old" "$path"; fi
rm -rf -- "$new" "$old"
if [ -L "$path" ] || { [ -e "$path" ] && [ ! -d "$path" ]; }; then
  rm -f -- "$archive"; echo "$path is no directory" >&2; exit 1
fi
trap 'rm -rf -- "$new" "$archive"' EXIT
mkdir -- "$new"
tar -C "$new" --no-same-owner -xpf "$archive"
[ -z "$owner" ] || chown -R -h -- "$owner" "$new"
listed() { (cd "$1" && find . -printf '%P %y %m %U:%G %l\n' | LC_ALL=C sort); }
if [ -d "$path" ] && [ "$(listed "$new")" = "$(listed "$path")" ] && diff -rq --no-dereference "$new" "$path" >/dev/null; then
  echo same
  exit
fi
sync -f -- "$new"
if [ -e "$path" ]; then mv -T -- "$path" "$old"; fi
mv -T -- "$new" "$path"
rm -rf -- "$old"
if command -v restorecon >/dev/null 2>&1; then restorecon -RF "$path" >/dev/null 2>&1 || :; fi
"#;

impl Put {
    fn read(args: &PutArgs) -> Result<Self> {
        let failed = || format!("cannot read `{}`", shown(&args.file));
        let metadata = std::fs::metadata(&args.file).context(failed)?;
        let mut path = args.remote.clone();
        if path.ends_with('/') {
            let name = args.file.file_name().and_then(|name| name.to_str());
            path += name.ok_or_else(|| Error::new(format!("`{}` has no name to keep", shown(&args.file))))?;
        }
        if metadata.is_file() {
            let mode = args.mode.unwrap_or(metadata.permissions().mode() & 0o777);
            let upload = upload(&args.file, &path, mode, args.owner.clone(), args.sudo)?;
            return Ok(Self { upload, unpack: None, path });
        }
        if !metadata.is_dir() {
            return Err(Error::new(format!("`{}` is neither a file nor a directory", shown(&args.file))));
        }
        if args.mode.is_some() {
            let error = Error::new("`--mode` is for a file, and a directory's members keep theirs");
            return Err(error.kind(Kind::Usage));
        }
        let archive = packed(&args.file).context(failed)?;
        let (directory, name) = path.rsplit_once('/').map_or(("", &path[..]), |(directory, name)| (directory, name));
        if matches!(name, "" | "." | "..") {
            return Err(
                Error::new(format!("`{path}` has no name")).hint("write the whole path, its last name included")
            );
        }
        let slash = if path.contains('/') { "/" } else { "" };
        let beside = format!("{directory}{slash}.{name}.pkgapp-put.tar");
        let upload = upload(&archive, &beside, 0o600, None, args.sudo)?;
        let unpack = Command::new(format!("unpacking `{path}`"), UNPACK)
            .args([beside, path.clone(), args.owner.clone().unwrap_or_default()])
            .sudo(args.sudo);
        Ok(Self { upload, unpack: Some((unpack, archive)), path })
    }
}

fn upload(file: &Path, path: &str, mode: u32, owner: Option<String>, sudo: bool) -> Result<Upload> {
    let digest = Digest::of_reader(fs::open(file)?).context(|| format!("cannot read `{}`", shown(file)))?;
    let (content, path) = (Content::File(file.to_owned()), path.to_owned());
    let (size, sha256) = (digest.size, digest.sha256);
    Ok(Upload { content, size, sha256, path, mode, owner, sudo, copies: Vec::new() })
}

/// Packs a directory as an archive of its members, sorted, so that an interrupted transfer is continued.
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

/// Brings it to a host and, if it is a directory, into its place.
fn bring(machine: &Machine<'_>, put: &Put) -> std::result::Result<Uploaded, Failure> {
    let size = put.upload.size;
    let mut uploaded = machine.host.upload(&put.upload, &mut |done| machine.row.bytes(done, size))?;
    if let Some((unpack, _)) = &put.unpack {
        machine.row.state("unpacking");
        uploaded.changed = machine.host.run(unpack, &mut |_, _| {})?.text().trim() != "same";
    }
    Ok(uploaded)
}

fn put_on(machine: &Machine<'_>, put: &Put, report: &Report) -> Result<()> {
    let upload = &put.upload;
    machine.row.state(&format!("uploading {}", human_bytes(upload.size)));
    match bring(machine, put) {
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
                    "path": put.path,
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
