//! Files to and from a host, by what every host has: sh and coreutils.
//!
//! To a host: into a private directory beside the final place, which is named after the content, so
//! that an interrupted transfer is continued and never mixed with another; there it is checked,
//! gets its owner and mode, is synced and renamed. Of a file most of which lies on the host
//! already, only the rest is sent, and the host puts the whole together from its own. From a
//! host: as a stream whose SHA-256 the host takes while it sends, compared at the end.
//!
//! Root may write into a directory that belongs to somebody else, who can rename, replace and link
//! what lies in it at any moment. So nothing is done by a name there: [`PLACE`] holds the directory
//! as its working directory, and then the private one in it, which nobody else can enter, nor move
//! to another parent. The only name that is touched outside is the last one, by rename(2), which
//! does not follow links.

use std::collections::VecDeque;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use pkgapp_core::digest::{DigestWriter, Sha256Sum};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::fs;

use super::channel::{ScriptInput, Watcher};
use super::shell::{Shell, Silent};
use super::{
    Download, Downloaded, FetchKind, HostCommand, HostFailure, OutputLimits, Stream, Upload,
    UploadContent, Uploaded,
};
use super::{interrupt, line_text};

/// What both scripts of an upload begin with. Arguments: path, size, SHA-256, mode, owner or
/// nothing, `file` or `directory`; then the name of the rest and how much that is, or nothing.
const PLACE: &str = r#"
set -eu
umask 077
unset CDPATH
path=$1 size=$2 sum=$3 mode=$4 owner=$5 form=$6 rest=$7 missing=$8
die() { printf '%s\n' "$*" >&2; exit 1; }
name=${path##*/} me=$(id -u)
case $path in */*) dir=${path%/*} dir=${dir:-/} ;; *) dir=. ;; esac
case $name in '' | . | ..) die "$path has no name" ;; esac

# Where this process is. The shell's own `pwd` may only say by which names it got there.
physical() { env pwd -P; }
# can_change UID MODE: whether others than root and this login can change what lies in a directory.
can_change() { case $1 in 0 | "$me") ;; *) return 0 ;; esac; case $2 in *[2367] | *[2367]?) ;; *) return 1 ;; esac; }
of() { stat -c '%u %a' -- "$1"; }

# Makes $dir the working directory. Symbolic links on the way are followed only where nobody else could have made them.
go_there() {
  [ -d "$dir" ] || die "there is no directory $dir"
  case $dir in /*) ;; *) dir=$(physical)/$dir ;; esac
  cd -P -- "$dir"
  [ "$(physical)" != "$dir" ] || return 0
  at='' way=$dir/ links=0 safe=yes
  while [ -n "$way" ]; do
    next=${way%%/*} way=${way#*/}
    case $next in '' | .) continue ;; ..) at=${at%/*}; continue ;; esac
    # shellcheck disable=SC2046  # two words
    if can_change $(of "${at:-/}"); then safe=; fi
    if [ ! -L "$at/$next" ]; then at=$at/$next; continue; fi
    [ -n "$safe" ] || die "$at/$next is a symbolic link, and others can change where it leads; name the directory that it leads to"
    links=$((links + 1))
    [ $links -le 40 ] || die "too many symbolic links on the way to $dir"
    link=$(readlink -- "$at/$next")
    case $link in /*) at='' ;; esac
    way=$link/$way
  done
  cd -P -- "${at:-/}"
  [ "$(physical)" = "${at:-/}" ] || die "$dir is led elsewhere while it is written to"
}

# Makes the private directory the working directory; its parent is $dir whoever renames what. Others may put something else in
# its place until then.
is_private() { # DIRECTORY
  # shellcheck disable=SC2046
  set -- $(of "$1" 2>/dev/null) && [ "${1-}" = "$me" ] || return 1
  # File systems without modes show what they like, and know no other owner.
  case $2 in *00) ;; *) [ -n "$ours" ] ;; esac
}
enter() {
  # shellcheck disable=SC2046
  if can_change $(of .); then ours=; else ours=yes; fi
  here=$(stat -c %d:%i .)
  if [ -L "$stage" ] || [ ! -d "$stage" ] || ! is_private "$stage"; then
    rm -rf -- "$stage"
    mkdir -m 700 -- "$stage"
  fi
  cd -P -- "$stage"
  [ "$(stat -c %d:%i ..)" = "$here" ] && is_private . || die "cannot make the private directory $stage in $dir"
}
leave() { cd .. && rmdir -- "$stage" 2>/dev/null || :; }
digest() { set -- "$(sha256sum)" && printf %s "${1%% *}"; }

[ "$form" = directory ] || [ ! -d "$path" ] || die "$path is a directory"
go_there
[ -w . ] || die "$dir is not writable for $(id -un)"
part=part-$(printf %.16s "$sum") target=../$name
# What a killed one leaves of a directory is found again whatever the next one brings.
if [ "$form" = file ]; then stage=./.$name.pkgapp-${part#part-}; else stage=./.$name.pkgapp-new; fi
[ -z "$rest" ] || rest=rest-$rest
enter
"#;

/// Follows [`PLACE`]. Prints `same`, `have` and how many bytes of it the host has, or `rest` and
/// how many of that.
const LOOK: &str = r#"
# Whether the file is as it should be, but for its bytes.
as_wanted() {
  [ "$(stat -c %a -- "$target")" = "$mode" ] || return 1
  [ -n "$owner" ] || return 0
  : >probe
  chown -- "$owner" probe
  case $owner in *:*) what=%u:%g ;; *) what=%u ;; esac
  set -- "$(stat -c $what probe)" "$(stat -c $what -- "$target")"
  rm -f probe
  [ "$1" = "$2" ]
}
if [ "$form" = directory ]; then
  if [ -e old ] && [ ! -e "$target" ] && [ ! -L "$target" ]; then mv -T old "$target"; fi
  rm -rf old new
  if [ -L "$target" ] || { [ -e "$target" ] && [ ! -d "$target" ]; }; then leave; die "$path is no directory"; fi
  for each in part-*; do [ "$each" = "$part" ] || rm -f -- "$each"; done
elif [ -f "$target" ] && [ ! -L "$target" ] && [ "$(stat -c %s -- "$target")" = "$size" ] &&
  [ "$(head -c "$size" <"$target" | digest)" = "$sum" ]; then
  if as_wanted; then leave; echo same; exit; fi
  # Somebody may have the file open for writing, or put another in its place: a copy gets the owner and the mode.
  rm -f -- "$part"
  head -c "$size" <"$target" >"$part"
fi
have=0
if [ -f "$part" ] && [ ! -L "$part" ]; then have=$(stat -c %s -- "$part"); else rm -rf -- "$part"; fi
if [ "$have" -gt "$size" ]; then rm -f -- "$part"; have=0; fi
need=$(( (size - have) / 1024 + 1 ))
if [ -n "$rest" ] && [ "$have" -lt $((size - missing)) ]; then
  came=0
  if [ -f "$rest" ] && [ ! -L "$rest" ]; then came=$(stat -c %s -- "$rest"); else rm -rf -- "$rest"; fi
  if [ "$came" -gt "$missing" ]; then rm -f -- "$rest"; came=0; fi
  need=$(( (size - have + missing - came) / 1024 + 1 ))
else rest=; fi
free=$(df -Pk . | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "$need" ]; then
  leave
  die "$dir has $free KiB free, and $need KiB are needed"
fi
if [ -n "$rest" ]; then echo "rest $came"; else echo "have $have"; fi
"#;

/// Follows [`PLACE`], with two more arguments: the offset from which standard input continues; and
/// of a rest the list of the parts that make the whole: a line each, `- LENGTH` from the rest, or
/// `OFFSET LENGTH FILE`. Prints `same` if a directory is there as it should be.
const TAKE: &str = r#"
offset=$9 parts=${10}
if [ -n "$rest" ]; then to=$rest all=$missing; else to=$part all=$size; fi
dd of="$to" bs=256k seek="$offset" oflag=seek_bytes iflag=fullblock conv=notrunc status=none
have=$(stat -c %s -- "$to")
if [ "$have" -lt "$all" ]; then echo "$have of $all bytes arrived" >&2; exit 75; fi
if [ -n "$rest" ]; then
  at=0
  while read -r from length file; do
    if [ "$from" = - ]; then from=$at file=$rest at=$((at + length)); fi
    dd if="$file" bs=256k iflag=skip_bytes,count_bytes skip="$from" count="$length" status=none || { rm -f -- "$part" "$rest"; exit 74; }
  done >"$part" <<PARTS
$parts
PARTS
  rm -f -- "$rest"
fi
if [ "$(digest <"$part")" != "$sum" ]; then
  rm -f -- "$part"; leave; echo "what arrived has another SHA-256" >&2; exit 74
fi

# mv(1) copies where it cannot rename, by names that others may lead elsewhere: then it must fail, as it may write nothing.
into_place() { (ulimit -f 0 && mv -fT -- "$1" "$target"); }
# Everything on the way here is root's, or this login's.
is_all_ours() {
  up=. all=.
  until [ "$up" -ef / ]; do up=$up/.. all="$all $up"; done
  # shellcheck disable=SC2086  # one word each
  stat -c '%u %a' -- $all | while read -r uid bits; do ! can_change "$uid" "$bits" || exit 1; done
}
finish() {
  leave
  sync -- . 2>/dev/null || sync
  # Elsewhere the label is that of the directory, as for whoever it belongs to.
  if command -v restorecon >/dev/null 2>&1 && is_all_ours; then restorecon -RF "$(physical)/$name" >/dev/null 2>&1 || :; fi
}
if [ "$form" = file ]; then
  [ -z "$owner" ] || chown -- "$owner" "$part"
  chmod -- "$mode" "$part"
  sync -- "$part"
  into_place "$part" || die "cannot move it to $path"
  finish
  exit
fi

trap 'rm -rf new' EXIT
rm -rf new
mkdir new
tar -C new --no-same-owner -xpf "$part"
[ -z "$owner" ] || chown -R -h -- "$owner" new
listed() { (cd "$1" && find . -printf '%P %y %m %U:%G %l\n' | LC_ALL=C sort); }
if [ -d "$target" ] && [ ! -L "$target" ] && [ "$(listed new)" = "$(listed "$target")" ] &&
  diff -rq --no-dereference new "$target" >/dev/null; then
  rm -rf new "$part"
  leave
  echo same
  exit
fi
sync -f new
if [ -e "$target" ]; then mv -T -- "$target" old; fi
if ! into_place new; then
  [ ! -e old ] || mv -T -- old "$target"
  die "cannot move it to $path"
fi
rm -rf old "$part"
finish
"#;

/// The status of [`TAKE`] that says that the bytes are the wrong ones: sysexits.h, EX_IOERR.
const CORRUPT: i32 = 74;

/// The status of [`TAKE`] that says that bytes are missing: sysexits.h, EX_TEMPFAIL.
const SHORT: i32 = 75;

/// How often a transfer is begun, the first included.
const TRIES: u32 = 3;

/// How long the host may take to say what it has: it may have to read a large file.
const LOOK_TIME: Duration = Duration::from_secs(600);

pub(super) fn upload(
    shell: &Shell,
    upload: &Upload,
    progress: &mut dyn FnMut(u64),
) -> Result<Uploaded, HostFailure> {
    let mut sent = 0;
    let mut tries = 0;
    let mut rest = RemainingRanges::of(upload);
    loop {
        tries += 1;
        let failure = match try_upload(shell, upload, rest.as_ref(), &mut sent, progress) {
            Ok(changed) => return Ok(Uploaded { sent, changed }),
            Err(failure) => failure,
        };
        // What was to be copied is not there, or something else.
        if rest.is_some()
            && matches!(&failure, HostFailure::Failed { output, .. } if output.status == CORRUPT)
        {
            rest = None;
        }
        // It is the same whether it is done once or twice, so that a broken connection is worth
        // another try.
        let again = match &failure {
            HostFailure::NeverReached(_) => false,
            HostFailure::Failed { output, .. } => matches!(output.status, CORRUPT | SHORT),
            HostFailure::Lost(_) => true,
        };
        if again && interrupt::requested() {
            return Err(HostFailure::Lost(
                interrupt::error().note("what has arrived is kept, and the next try goes on there"),
            ));
        }
        if !again || tries == TRIES {
            return Err(failure);
        }
    }
}

/// The name that a rest has, for tests.
#[cfg(test)]
pub(super) fn name_of_rest(upload: &Upload) -> Option<String> {
    RemainingRanges::of(upload).map(|rest| rest.name)
}

/// What the copies of an upload leave to be sent.
struct RemainingRanges {
    /// Tells it from what other copies leave.
    name: String,
    length: u64,
    /// Offset and length of its parts in the file.
    ranges: Vec<(u64, u64)>,
    /// What the host is given, see [`TAKE`].
    parts: String,
}

impl RemainingRanges {
    /// `None`: all is sent.
    fn of(upload: &Upload) -> Option<Self> {
        if upload.copies.is_empty() || matches!(upload.content, UploadContent::Bytes(_)) {
            return None;
        }
        let (mut ranges, mut parts, mut at) = (Vec::new(), Vec::new(), 0);
        let mut send = |from: u64, until: u64, parts: &mut Vec<String>| {
            if until > from {
                ranges.push((from, until - from));
                parts.push(format!("- {}", until - from));
            }
        };
        for copy in &upload.copies {
            // A line holds a path, and a file its copies in their order.
            if copy.at < at || copy.from.contains('\n') {
                return None;
            }
            send(at, copy.at, &mut parts);
            parts.push(format!("{} {} {}", copy.offset, copy.length, copy.from));
            at = copy.at + copy.length;
        }
        send(at, upload.size, &mut parts);
        let parts = parts.join("\n");
        let name = Sha256Sum::of(format!("{}\n{parts}", upload.sha256).as_bytes()).to_string()
            [..16]
            .to_owned();
        Some(Self {
            name,
            length: upload.missing(),
            ranges,
            parts,
        })
    }
}

/// What a host has of an upload.
enum UploadedPart<'a> {
    /// All of it lies in place.
    Whole,
    /// So many bytes of the file or, with `rest`, of what the copies leave to be sent.
    Some {
        offset: u64,
        rest: Option<&'a RemainingRanges>,
    },
}

/// Returns whether anything is other than before.
fn try_upload(
    shell: &Shell,
    upload: &Upload,
    rest: Option<&RemainingRanges>,
    sent: &mut u64,
    progress: &mut dyn FnMut(u64),
) -> Result<bool, HostFailure> {
    let (offset, rest) = match look(shell, upload, rest)? {
        UploadedPart::Whole => return done(upload, progress, false),
        UploadedPart::Some { offset, rest } => (offset, rest),
    };
    let there = offset + rest.map_or(0, |rest| upload.size - rest.length);
    progress(there);

    let take = HostCommand {
        stdin: Some(Vec::new()),
        ..HostCommand::new(what(upload), [PLACE, TAKE].concat())
    };
    let take = take
        .args(arguments(upload))
        .args(named(rest))
        .arg(offset.to_string())
        .arg(rest.map_or("", |rest| &rest.parts))
        .sudo(upload.sudo);
    let whole = [(0, upload.size)];
    let ranges = rest.map_or(&whole[..], |rest| &rest.ranges);
    let input = content(upload, ranges, offset).map_err(HostFailure::NeverReached)?;
    let mut counting = CountingReader {
        done: there,
        sent,
        progress,
    };
    let output = shell.call(&take, Some(input), &mut counting)?;
    done(upload, progress, output.text().trim_end() != "same")
}

/// Asks what the host has of an upload, `rest` of which cannot be copied there.
fn look<'a>(
    shell: &Shell,
    upload: &Upload,
    rest: Option<&'a RemainingRanges>,
) -> Result<UploadedPart<'a>, HostFailure> {
    let look = HostCommand::new(what(upload), [PLACE, LOOK].concat())
        .args(arguments(upload))
        .args(named(rest))
        .sudo(upload.sudo)
        .timeout(LOOK_TIME);
    let output = shell.call(&look, None, &mut Silent)?;
    let text = output.text();
    let text = text.trim_end();

    let number = |text: &str, most: u64| text.parse::<u64>().ok().filter(|have| *have <= most);
    let part = match (text.split_once(' '), rest) {
        (None, _) if text == "same" => Some(UploadedPart::Whole),
        (Some(("have", have)), _) => {
            number(have, upload.size).map(|offset| UploadedPart::Some { offset, rest: None })
        }
        (Some(("rest", came)), Some(rest)) => {
            number(came, rest.length).map(|offset| UploadedPart::Some {
                offset,
                rest: Some(rest),
            })
        }
        _ => None,
    };
    part.ok_or_else(|| {
        let name = crate::hosts::Host::name(shell);
        let error = Error::new(format!("{} failed on `{name}`", what(upload)));
        HostFailure::Lost(error.cause_text(format!("it answered `{}`", text.escape_debug())))
    })
}

fn what(upload: &Upload) -> String {
    format!("sending `{}`", upload.path)
}

/// What the scripts are told of an upload.
fn arguments(upload: &Upload) -> [String; 6] {
    [
        upload.path.clone(),
        upload.size.to_string(),
        upload.sha256.to_string(),
        format!("{:o}", upload.mode & 0o7777),
        upload.owner.clone().unwrap_or_default(),
        upload.form.name().to_owned(),
    ]
}

/// What the scripts are told of the rest that is sent.
fn named(rest: Option<&RemainingRanges>) -> [String; 2] {
    rest.map(|rest| [rest.name.clone(), rest.length.to_string()])
        .unwrap_or_default()
}

fn done(
    upload: &Upload,
    progress: &mut dyn FnMut(u64),
    changed: bool,
) -> Result<bool, HostFailure> {
    progress(upload.size);
    Ok(changed)
}

/// The bytes of these ranges, from `offset` of all of them on, and no more than the host waits for.
fn content(upload: &Upload, ranges: &[(u64, u64)], offset: u64) -> Result<ScriptInput> {
    match &upload.content {
        UploadContent::Bytes(bytes) => {
            let mut bytes = Cursor::new(bytes.clone());
            bytes.set_position(offset);
            Ok(Box::new(bytes.take(upload.size.saturating_sub(offset))))
        }
        UploadContent::File(path) => {
            let mut left = VecDeque::new();
            let mut skip = offset;
            for (start, length) in ranges {
                if skip < *length {
                    left.push_back((start + skip, length - skip));
                }
                skip = skip.saturating_sub(*length);
            }
            Ok(Box::new(Stoppable(RangeReader {
                file: fs::open(path)?,
                left,
            })))
        }
    }
}

/// Reads ranges of a file, offset and length of each, one after another.
struct RangeReader<F> {
    file: F,
    left: VecDeque<(u64, u64)>,
}

impl<F: Read + Seek> Read for RangeReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some((start, length)) = self.left.front_mut() else {
            return Ok(0);
        };
        self.file.seek(SeekFrom::Start(*start))?;
        let most = usize::try_from(*length).map_or(buffer.len(), |length| length.min(buffer.len()));
        let read = self.file.read(&mut buffer[..most])?;
        *start += read as u64;
        *length -= read as u64;
        if *length == 0 {
            self.left.pop_front();
        }
        Ok(read)
    }
}

/// Ends early when the user asks to stop: the host keeps what it has. Contents from memory are
/// small, and sent to the end, as what has to be tidied up needs them.
struct Stoppable<R>(R);

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if interrupt::requested() {
            Ok(0)
        } else {
            self.0.read(buffer)
        }
    }
}

struct CountingReader<'p> {
    done: u64,
    sent: &'p mut u64,
    progress: &'p mut dyn FnMut(u64),
}

impl Watcher for CountingReader<'_> {
    fn line(&mut self, _: Stream, _: &[u8]) {}

    fn sent(&mut self, bytes: u64) {
        self.done += bytes;
        *self.sent += bytes;
        (self.progress)(self.done);
    }
}

/// Arguments: path, `file` or `directory`. The content goes to standard output, its mode and
/// SHA-256 to standard error.
const GIVE: &str = r#"
set -eu
path=$1 kind=$2
unset CDPATH
if [ ! -e "$path" ]; then echo "there is no $path" >&2; exit 1; fi
# What is opened is what is sent, whatever somebody else puts in its place.
if [ "$kind" = file ]; then
  if [ -f "$path" ]; then exec 3<"$path"; fi
  if [ ! -f "$path" ] || [ ! -f /proc/self/fd/3 ]; then echo "$path is no regular file" >&2; exit 1; fi
  opened=/proc/self/fd/3
else
  if [ ! -d "$path" ]; then echo "$path is no directory" >&2; exit 1; fi
  case $path in /*) cd -P -- "$path" ;; *) cd -P -- "./$path" ;; esac
  opened=.
fi
dir=$(mktemp -d)
trap 'rm -rf -- "$dir"' EXIT
trap 'exit 143' TERM
mkfifo "$dir/copy"
sha256sum <"$dir/copy" >"$dir/sum" &
give() { if [ "$kind" = file ]; then cat <&3; else tar -cf - .; fi; }
{ give || echo $? >"$dir/failed"; } | tee "$dir/copy"
wait $!
if [ -e "$dir/failed" ]; then exit 1; fi
echo "pkgapp-gave $(stat -L -c %a $opened) $(cut -d' ' -f1 "$dir/sum")" >&2
"#;

pub(super) fn download(
    shell: &Shell,
    download: &Download,
    sink: &mut dyn Write,
) -> Result<Downloaded, HostFailure> {
    let kind = if download.kind == FetchKind::File {
        "file"
    } else {
        "directory"
    };
    let what = format!("fetching `{}`", download.path);
    let give = HostCommand::new(what.clone(), GIVE)
        .arg(download.path.clone())
        .arg(kind)
        .sudo(download.sudo);
    let mut taking = Taking {
        to: DigestWriter::new(sink),
        failed: None,
        gave: None,
    };
    let give = give
        .limits(OutputLimits::Stream(download.most))
        .ends_with_us();
    let output = shell.call(&give, None, &mut taking)?;
    let name = crate::hosts::Host::name(shell);
    let failed = |error: Error| HostFailure::Failed {
        output: output.clone(),
        error,
    };
    if let Some(error) = taking.failed {
        return Err(failed(
            Error::new(format!(
                "{what} of `{name}` failed: it cannot be written here"
            ))
            .cause(error),
        ));
    }
    let (_, digest) = taking.to.finish();
    match taking.gave {
        Some((mode, sha256)) if sha256 == digest.sha256 => Ok(Downloaded {
            size: digest.size,
            sha256,
            mode,
        }),
        Some(_) => Err(failed(Error::new(format!(
            "{what} of `{name}` failed: what came has another SHA-256"
        )))),
        None => Err(failed(Error::new(format!(
            "{what} of `{name}` failed: it gave no SHA-256"
        )))),
    }
}

struct Taking<'s> {
    to: DigestWriter<&'s mut dyn Write>,
    failed: Option<std::io::Error>,
    gave: Option<(u32, Sha256Sum)>,
}

impl Watcher for Taking<'_> {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr
            && let Some((mode, sum)) = line_text(line)
                .strip_prefix("pkgapp-gave ")
                .and_then(|line| line.split_once(' '))
        {
            self.gave = u32::from_str_radix(mode, 8)
                .ok()
                .zip(Sha256Sum::from_hex(sum));
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
