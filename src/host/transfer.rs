//! Files to and from a host, by what every host has: sh and coreutils.
//!
//! To a host: into a hidden file beside the final one, named after the content, so that an interrupted transfer is
//! continued and never mixed with another; then checked there, synced and renamed. From a host: as a stream whose
//! SHA-256 the host takes while it sends, compared at the end.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use crate::digest::{DigestWriter, Sha256Sum};
use crate::error::{Context, Error, Result, shown};
use crate::fs;

use super::channel::{Input, Watcher};
use super::shell::{Shell, Silent};
use super::{Command, Content, Download, Downloaded, Failure, Kind, Stream, Upload, Uploaded, interrupt};

/// Arguments: path, size, SHA-256, mode, owner or nothing. Prints `same`, `fixed` (mode or owner were others), or `have`
/// and how many bytes of it the host has.
const LOOK: &str = r#"
set -eu
path=$1 size=$2 sum=$3 mode=$4 owner=$5
dir=$(dirname -- "$path") name=$(basename -- "$path")
if [ -d "$path" ]; then echo "$path is a directory" >&2; exit 1; fi
if [ ! -d "$dir" ]; then echo "there is no directory $dir" >&2; exit 1; fi
if [ ! -w "$dir" ]; then echo "$dir is not writable for $(id -un)" >&2; exit 1; fi
facts() { stat -c '%a %U:%G' -- "$path"; }
if [ -f "$path" ] && [ ! -L "$path" ] && [ "$(stat -c %s -- "$path")" = "$size" ] &&
   [ "$(sha256sum <"$path" | cut -d' ' -f1)" = "$sum" ]; then
  before=$(facts)
  [ -z "$owner" ] || chown -- "$owner" "$path"
  chmod -- "$mode" "$path"
  if [ "$(facts)" = "$before" ]; then echo same; else echo fixed; fi
  exit
fi
part=$dir/.$name.pkgapp-$(printf %.16s "$sum")
have=0
if [ -f "$part" ] && [ ! -L "$part" ]; then have=$(stat -c %s -- "$part"); else rm -rf -- "$part"; fi
if [ "$have" -gt "$size" ]; then rm -f -- "$part"; have=0; fi
free=$(df -Pk -- "$dir" | awk 'NR == 2 { print $4 }')
need=$(( (size - have) / 1024 + 1 ))
if [ "$free" -lt "$need" ]; then
  echo "$dir has $free KiB free, and $need KiB are needed" >&2; exit 1
fi
echo "have $have"
"#;

/// Arguments as above, and the offset from which standard input continues.
const TAKE: &str = r#"
set -eu
path=$1 size=$2 sum=$3 mode=$4 owner=$5 offset=$6
dir=$(dirname -- "$path") name=$(basename -- "$path")
part=$dir/.$name.pkgapp-$(printf %.16s "$sum")
umask 077
dd of="$part" bs=256k seek="$offset" oflag=seek_bytes iflag=fullblock conv=notrunc status=none
have=$(stat -c %s -- "$part")
if [ "$have" -lt "$size" ]; then echo "$have of $size bytes arrived" >&2; exit 75; fi
if [ "$(sha256sum <"$part" | cut -d' ' -f1)" != "$sum" ]; then
  rm -f -- "$part"; echo "what arrived has another SHA-256" >&2; exit 74
fi
[ -z "$owner" ] || chown -- "$owner" "$part"
chmod -- "$mode" "$part"
sync -- "$part"
mv -fT -- "$part" "$path"
sync -- "$dir"
if command -v restorecon >/dev/null 2>&1; then restorecon -F "$path" >/dev/null 2>&1 || :; fi
"#;

/// The status of [`TAKE`] that says that the bytes are the wrong ones: sysexits.h, EX_IOERR.
const CORRUPT: i32 = 74;

/// The status of [`TAKE`] that says that bytes are missing: sysexits.h, EX_TEMPFAIL.
const SHORT: i32 = 75;

/// How often a transfer is begun, the first included.
const TRIES: u32 = 3;

/// How long the host may take to say what it has: it may have to read a large file.
const LOOK_TIME: Duration = Duration::from_secs(600);

pub(super) fn upload(shell: &Shell, upload: &Upload, progress: &mut dyn FnMut(u64)) -> Result<Uploaded, Failure> {
    let mut sent = 0;
    let mut tries = 0;
    loop {
        tries += 1;
        let failure = match try_upload(shell, upload, &mut sent, progress) {
            Ok(changed) => return Ok(Uploaded { sent, changed }),
            Err(failure) => failure,
        };
        // It is the same whether it is done once or twice, so that a broken connection is worth another try.
        let again = match &failure {
            Failure::NeverReached(_) => false,
            Failure::Failed { output, .. } => matches!(output.status, CORRUPT | SHORT),
            Failure::Lost(_) => true,
        };
        if again && interrupt::requested() {
            return Err(Failure::Lost(
                interrupt::error().note("what has arrived is kept, and the next try goes on there"),
            ));
        }
        if !again || tries == TRIES {
            return Err(failure);
        }
    }
}

/// Returns whether anything is other than before.
fn try_upload(shell: &Shell, upload: &Upload, sent: &mut u64, progress: &mut dyn FnMut(u64)) -> Result<bool, Failure> {
    let what = format!("sending `{}`", upload.path);
    let args = [
        upload.path.clone(),
        upload.size.to_string(),
        upload.sha256.to_string(),
        format!("{:o}", upload.mode & 0o7777),
        upload.owner.clone().unwrap_or_default(),
    ];
    let look = Command::new(what.clone(), LOOK).args(args.clone()).sudo(upload.sudo).timeout(LOOK_TIME);
    let output = shell.call(&look, None, &mut Silent)?;
    let text = output.text();
    let offset = match text.trim_end() {
        "same" => return done(upload, progress, false),
        "fixed" => return done(upload, progress, true),
        text => text.strip_prefix("have ").and_then(|have| have.parse().ok()).filter(|have| *have <= upload.size),
    };
    let offset: u64 = offset.ok_or_else(|| {
        let error = Error::new(format!("{what} failed on `{}`", crate::host::Host::name(shell)));
        Failure::Lost(error.cause_text(format!("it answered `{}`", text.trim_end().escape_debug())))
    })?;
    progress(offset);
    let take = Command { stdin: Some(Vec::new()), ..Command::new(what, TAKE) }.args(args).arg(offset.to_string());
    let input = content(upload, offset).map_err(Failure::NeverReached)?;
    let mut counting = Counting { done: offset, sent, progress };
    shell.call(&take.sudo(upload.sudo), Some(input), &mut counting)?;
    done(upload, progress, true)
}

fn done(upload: &Upload, progress: &mut dyn FnMut(u64), changed: bool) -> Result<bool, Failure> {
    progress(upload.size);
    Ok(changed)
}

/// The bytes from `offset` on, and no more than the host waits for.
fn content(upload: &Upload, offset: u64) -> Result<Input> {
    let left = upload.size.saturating_sub(offset);
    match &upload.content {
        Content::Bytes(bytes) => {
            let mut bytes = Cursor::new(bytes.clone());
            bytes.set_position(offset);
            Ok(Box::new(bytes.take(left)))
        }
        Content::File(path) => {
            let mut file = fs::open(path)?;
            file.seek(SeekFrom::Start(offset)).context(|| format!("cannot read `{}`", shown(path)))?;
            Ok(Box::new(Stoppable(file.take(left))))
        }
    }
}

/// Ends early when the user asks to stop: the host keeps what it has. Contents from memory are small, and sent to the
/// end, as what has to be tidied up needs them.
struct Stoppable<R>(R);

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if interrupt::requested() { Ok(0) } else { self.0.read(buffer) }
    }
}

struct Counting<'p> {
    done: u64,
    sent: &'p mut u64,
    progress: &'p mut dyn FnMut(u64),
}

impl Watcher for Counting<'_> {
    fn line(&mut self, _: Stream, _: &str) {}

    fn sent(&mut self, bytes: u64) {
        self.done += bytes;
        *self.sent += bytes;
        (self.progress)(self.done);
    }
}

/// Arguments: path, `file` or `directory`. The content goes to standard output, its mode and SHA-256 to standard error.
const GIVE: &str = r#"
set -eu
path=$1 kind=$2
if [ ! -e "$path" ]; then echo "there is no $path" >&2; exit 1; fi
if [ "$kind" = file ] && [ ! -f "$path" ]; then echo "$path is no regular file" >&2; exit 1; fi
if [ "$kind" = directory ] && [ ! -d "$path" ]; then echo "$path is no directory" >&2; exit 1; fi
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
trap 'exit 143' TERM
mkfifo "$dir/copy"
sha256sum <"$dir/copy" >"$dir/sum" &
give() { if [ "$kind" = file ]; then cat -- "$path"; else tar -C "$path" -cf - .; fi; }
{ give || echo $? >"$dir/failed"; } | tee "$dir/copy"
wait $!
if [ -e "$dir/failed" ]; then exit 1; fi
echo "pkgapp-gave $(stat -L -c %a -- "$path") $(cut -d' ' -f1 "$dir/sum")" >&2
"#;

pub(super) fn download(shell: &Shell, download: &Download, sink: &mut dyn Write) -> Result<Downloaded, Failure> {
    let kind = if download.kind == Kind::File { "file" } else { "directory" };
    let what = format!("fetching `{}`", download.path);
    let give = Command::new(what.clone(), GIVE).arg(download.path.clone()).arg(kind).sudo(download.sudo);
    let mut taking = Taking { to: DigestWriter::new(sink), failed: None, gave: None };
    let output = shell.call(&give.ends_with_us(), None, &mut taking)?;
    let name = crate::host::Host::name(shell);
    let failed = |error: Error| Failure::Failed { output: output.clone(), error };
    if let Some(error) = taking.failed {
        return Err(failed(Error::new(format!("{what} of `{name}` failed: it cannot be written here")).cause(error)));
    }
    let (_, digest) = taking.to.finish();
    match taking.gave {
        Some((mode, sha256)) if sha256 == digest.sha256 => Ok(Downloaded { size: digest.size, sha256, mode }),
        Some(_) => Err(failed(Error::new(format!("{what} of `{name}` failed: what came has another SHA-256")))),
        None => Err(failed(Error::new(format!("{what} of `{name}` failed: it gave no SHA-256")))),
    }
}

struct Taking<'s> {
    to: DigestWriter<&'s mut dyn Write>,
    failed: Option<std::io::Error>,
    gave: Option<(u32, Sha256Sum)>,
}

impl Watcher for Taking<'_> {
    fn line(&mut self, stream: Stream, line: &str) {
        if stream == Stream::Stderr
            && let Some((mode, sum)) = line.strip_prefix("pkgapp-gave ").and_then(|line| line.split_once(' '))
        {
            self.gave = u32::from_str_radix(mode, 8).ok().zip(Sha256Sum::from_hex(sum));
        }
    }

    fn raw(&mut self, bytes: &[u8]) -> bool {
        if self.failed.is_none()
            && let Err(error) = self.to.write_all(bytes)
        {
            self.failed = Some(error);
        }
        true
    }
}
