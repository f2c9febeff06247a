//! The archives that payloads are: what a member's bytes are, wherever in an archive it lies.

use std::io::Write;

use super::gnutar::{self, Attributes, GnuTar};
use super::{cannot_write, copy_content, cpio};
use crate::error::{Context, Result};
use crate::package::Meta;
use crate::path::InstallPath;
use crate::tree::{Entry, Kind, Owner};

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Archive {
    /// GNU tar.
    Tar,
    /// cpio "new ASCII".
    Cpio,
}

/// A line of an archive.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// Its name there, without a slash at the end.
    pub(crate) name: String,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    /// The entry, or a directory of root's (0755) that only the archive has.
    pub(crate) place: Option<(&'a InstallPath, &'a Entry)>,
}

/// The first date of a layer's files: 2020-01-01.
const CONTENT_DATE: u64 = 1_577_836_800;

/// Returns the time of an entry in a package, seconds since 1970.
///
/// What is made for this build has the build's date. A file of a layer has a date in the first half of 2020 that stands
/// for its content: it stays as long as the content stays, so that the layer's segment can be used again, and changes
/// with it, which is what rsync and web servers' ETags look at. No date is later than the build's.
pub(super) fn mtime(meta: &Meta, entry: &Entry) -> u64 {
    let sum = match (&entry.kind, &entry.origin.layer) {
        (Kind::File(content), Some(_)) => content.digest.sha256,
        (Kind::Symlink(target), Some(_)) => crate::digest::Sha256Sum::of(target.as_bytes()),
        (Kind::Directory, _) | (_, None) => return meta.timestamp,
    };
    let [a, b, c, ..] = sum.0;
    let date = CONTENT_DATE + u64::from(u32::from_le_bytes([a, b, c, 0]));
    date.min(meta.timestamp)
}

impl Archive {
    /// Writes a member: header, content and padding.
    pub(crate) fn append(self, member: &Member<'_>, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Tar => append_tar(member, &mut GnuTar::new(out, member.mtime)),
            Self::Cpio => append_cpio(member, out),
        }
    }

    /// Writes what ends an archive.
    pub(crate) fn end(self, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Tar => GnuTar::new(out, 0).finish().map(|_| ()),
            Self::Cpio => out.write_all(&cpio::header(cpio::TRAILER, 0, 0, 0)).context(cannot_write),
        }
    }

    /// Returns about how many bytes a member takes.
    pub(crate) fn size(self, member: &Member<'_>) -> u64 {
        let content = match member.place {
            Some((_, Entry { kind: Kind::File(content), .. })) => content.digest.size,
            _ => 0,
        };
        match self {
            Self::Tar => gnutar::BLOCK as u64 + content.next_multiple_of(gnutar::BLOCK as u64),
            Self::Cpio => cpio::record_size(member.name.len(), content),
        }
    }
}

fn append_tar<W: Write>(member: &Member<'_>, tar: &mut GnuTar<W>) -> Result<()> {
    let name = &member.name;
    let Some((path, entry)) = member.place else {
        return tar.directory(&format!("{name}/"), &Attributes { mode: 0o755, owner: &Owner::default() });
    };
    let attributes = Attributes { mode: entry.mode, owner: &entry.owner };
    match &entry.kind {
        Kind::Directory => tar.directory(&format!("{name}/"), &attributes),
        Kind::Symlink(target) => tar.symlink(name, target, &attributes),
        Kind::File(content) => tar.file(name, content.digest.size, &attributes, |out| copy_content(path, content, out)),
    }
}

fn append_cpio(member: &Member<'_>, out: &mut impl Write) -> Result<()> {
    // Times in an rpm are checked to fit.
    let mtime = u32::try_from(member.mtime).unwrap_or(u32::MAX);
    let Some((path, entry)) = member.place else {
        return out.write_all(&cpio::header(&member.name, 0o040_755, mtime, 0)).context(cannot_write);
    };
    let size = cpio::file_size(entry);
    let header = cpio::header(&member.name, u32::from(cpio::file_mode(entry)), mtime, size);
    out.write_all(&header).context(cannot_write)?;
    match &entry.kind {
        Kind::Directory => {}
        // The target is the body: rpm reads it from the header, everything else from here.
        Kind::Symlink(target) => out.write_all(target.as_bytes()).context(cannot_write)?,
        Kind::File(content) => copy_content(path, content, out)?,
    }
    out.write_all(cpio::padding(u64::from(size))).context(cannot_write)
}
