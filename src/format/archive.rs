//! The archives in payloads: computes the bytes of each member, and any part of them.

use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use super::gnutar::{self, Attributes, GnuTar};
use super::{cannot_write, copy_content, copy_range, cpio};
use pkgapp_core::content::Content;
use pkgapp_core::content::LastOpened;
use pkgapp_core::error::{Context, Result};
use pkgapp_core::path::InstallPath;
use pkgapp_release::package::PackageInfo;
use pkgapp_release::tree::{EntryKind, FileOwner, TreeEntry};

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveKind {
    /// GNU tar (tar(5)).
    Tar,
    /// cpio, “New ASCII Format” (cpio(5)).
    Cpio,
}

/// A member of an archive, without its content.
#[derive(Debug, Clone)]
pub(crate) struct MemberHeader<'a> {
    /// The name in the archive, without a slash at the end.
    pub(crate) name: String,
    /// The time of modification, in seconds since 1970.
    pub(crate) mtime: u64,
    /// The entry; `None` for a directory that only the archive contains (root's, 0755).
    pub(crate) place: Option<(&'a InstallPath, &'a TreeEntry)>,
    /// Receives the MD5 sum of the content after a complete read; `None` if it is not needed.
    pub(crate) md5: Option<&'a OnceLock<[u8; 16]>>,
}

/// The earliest time of a layer's files: 2020-01-01.
const CONTENT_DATE: u64 = 1_577_836_800;

/// Returns the time of an entry in a package, in seconds since 1970.
///
/// Files of a single build have the time of the build. A file of a layer has a time in the first
/// half of 2020 that is derived from its content: it is the same in the next build, so that the
/// layer's segment can be reused, and it changes with the content, which rsync and the ETags of web
/// servers rely on. Directories have the first of these times, so that the beginning of a payload
/// is the same in the next build; every installation changes their times anyway. No time is later
/// than the build's.
pub(super) fn mtime(meta: &PackageInfo, entry: &TreeEntry) -> u64 {
    let sum = match (&entry.kind, &entry.origin.layer) {
        (EntryKind::File(content), Some(_)) => content.digest.sha256,
        (EntryKind::Symlink(target), Some(_)) => {
            pkgapp_core::digest::Sha256Sum::of(target.as_bytes())
        }
        (EntryKind::Directory, _) => return directory_mtime(meta),
        (_, None) => return meta.timestamp,
    };
    let [a, b, c, ..] = sum.0;
    let date = CONTENT_DATE + u64::from(u32::from_le_bytes([a, b, c, 0]));
    date.min(meta.timestamp)
}

/// Returns the time of a directory, like [`mtime`].
pub(super) fn directory_mtime(meta: &PackageInfo) -> u64 {
    CONTENT_DATE.min(meta.timestamp)
}

impl ArchiveKind {
    /// Writes a member: header, content, and padding.
    pub(crate) fn append(
        self,
        member: &MemberHeader<'_>,
        last: &mut LastOpened,
        out: &mut impl Write,
    ) -> Result<()> {
        out.write_all(&self.head(member)?).context(cannot_write)?;
        if let Some((path, content)) = member.content() {
            copy_content(path, content, member.md5, last, out)?;
        }
        out.write_all(self.padding(member)).context(cannot_write)
    }

    /// Writes the bytes of a member in `range`, counted from the first byte of its header. In
    /// contrast to [`ArchiveKind::append`], it does not verify them against the member's digest.
    pub(crate) fn append_part(
        self,
        member: &MemberHeader<'_>,
        range: Range<u64>,
        out: &mut impl Write,
    ) -> Result<()> {
        let head = self.head(member)?;
        out.write_all(within(&head, 0, &range))
            .context(cannot_write)?;
        let start = head.len() as u64;
        let mut end = start;
        if let Some((_, content)) = member.content() {
            end += content.digest.size;
            let part = range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
            copy_range(content, part, &mut LastOpened::default(), &mut |bytes| {
                out.write_all(bytes).context(cannot_write)
            })?;
        }
        out.write_all(within(self.padding(member), end, &range))
            .context(cannot_write)
    }

    /// Writes the end of an archive.
    pub(crate) fn end(self, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Tar => GnuTar::new(out, 0).finish().map(|_| ()),
            Self::Cpio => out
                .write_all(&cpio::header(cpio::TRAILER, 0, 0, 0))
                .context(cannot_write),
        }
    }

    /// Returns the size of a member in bytes, with header and padding.
    pub(crate) fn size(self, member: &MemberHeader<'_>) -> u64 {
        let content = member
            .content()
            .map_or(0, |(_, content)| content.digest.size);
        let (is_directory, target) = match member.place {
            None
            | Some((
                _,
                TreeEntry {
                    kind: EntryKind::Directory,
                    ..
                },
            )) => (true, 0),
            Some((
                _,
                TreeEntry {
                    kind: EntryKind::Symlink(target),
                    ..
                },
            )) => (false, target.len()),
            Some((
                _,
                TreeEntry {
                    kind: EntryKind::File(_),
                    ..
                },
            )) => (false, 0),
        };
        match self {
            Self::Tar => {
                let head = gnutar::head_size(member.name.len() + usize::from(is_directory), target);
                head + content.next_multiple_of(gnutar::BLOCK as u64)
            }
            Self::Cpio => cpio::record_size(member.name.len(), content + target as u64),
        }
    }

    /// Returns the number of bytes that [`ArchiveKind::end`] writes.
    pub(crate) fn end_size(self) -> u64 {
        match self {
            Self::Tar => 2 * gnutar::BLOCK as u64,
            Self::Cpio => cpio::record_size(cpio::TRAILER.len(), 0),
        }
    }

    /// Returns the bytes before a file's content; for other members, all bytes except for the
    /// padding.
    fn head(self, member: &MemberHeader<'_>) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(2 * gnutar::BLOCK);
        match self {
            Self::Tar => tar_head(member, &mut GnuTar::new(&mut head, member.mtime))?,
            Self::Cpio => cpio_head(member, &mut head),
        }
        Ok(head)
    }

    fn padding(self, member: &MemberHeader<'_>) -> &'static [u8] {
        let content = member
            .content()
            .map_or(0, |(_, content)| content.digest.size);
        match (self, member.place) {
            (Self::Tar, _) => gnutar::padding(content),
            (Self::Cpio, Some((_, entry))) => cpio::padding(u64::from(cpio::file_size(entry))),
            (Self::Cpio, None) => &[],
        }
    }
}

impl<'a> MemberHeader<'a> {
    /// Returns the content of a file; `None` for other members.
    pub(crate) fn content(&self) -> Option<(&'a InstallPath, &'a Content)> {
        match self.place {
            Some((
                path,
                TreeEntry {
                    kind: EntryKind::File(content),
                    ..
                },
            )) => Some((path, content)),
            _ => None,
        }
    }
}

/// Returns the part of `bytes`, which begin at offset `place`, that is in `range`.
fn within<'b>(bytes: &'b [u8], place: u64, range: &Range<u64>) -> &'b [u8] {
    let end = place + bytes.len() as u64;
    let at =
        |position: u64| usize::try_from(position.clamp(place, end) - place).unwrap_or(bytes.len());
    &bytes[at(range.start)..at(range.end)]
}

fn tar_head<W: Write>(member: &MemberHeader<'_>, tar: &mut GnuTar<W>) -> Result<()> {
    let name = &member.name;
    let Some((_, entry)) = member.place else {
        return tar.directory(
            &format!("{name}/"),
            &Attributes {
                mode: 0o755,
                owner: &FileOwner::default(),
            },
        );
    };
    let attributes = Attributes {
        mode: entry.mode,
        owner: &entry.owner,
    };
    match &entry.kind {
        EntryKind::Directory => tar.directory(&format!("{name}/"), &attributes),
        EntryKind::Symlink(target) => tar.symlink(name, target, &attributes),
        EntryKind::File(content) => tar.file_head(name, content.digest.size, &attributes),
    }
}

fn cpio_head(member: &MemberHeader<'_>, out: &mut Vec<u8>) {
    // The rpm format has already checked that times fit.
    let mtime = u32::try_from(member.mtime).unwrap_or(u32::MAX);
    let Some((_, entry)) = member.place else {
        return out.extend(cpio::header(&member.name, 0o040_755, mtime, 0));
    };
    out.extend(cpio::header(
        &member.name,
        u32::from(cpio::file_mode(entry)),
        mtime,
        cpio::file_size(entry),
    ));
    if let EntryKind::Symlink(target) = &entry.kind {
        // The content of a link is its target. rpm reads the target from its header, other tools
        // read it here.
        out.extend(target.as_bytes());
    }
}
