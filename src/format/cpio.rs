//! cpio archives in the “New ASCII Format” (cpio(5)), as in rpm's payloads.

use pkgapp_release::tree::{EntryKind, TreeEntry};

/// The size of a header without the name, in bytes.
const HEADER: u64 = 110;

/// The name of the last member.
pub(super) const TRAILER: &str = "TRAILER!!!";

/// Returns a header with its name and padding. The inode is 0 and the number of links 1, because
/// rpm takes both from its own header.
pub(super) fn header(name: &str, mode: u32, mtime: u32, size: u32) -> Vec<u8> {
    let (inode, user, group, links, device) = (0, 0, 0, 1, 0);
    let name_size = name.len() + 1;
    let mut text = format!(
        "070701{inode:08x}{mode:08x}{user:08x}{group:08x}{links:08x}{mtime:08x}{size:08x}\
         {device:08x}{device:08x}{device:08x}{device:08x}{name_size:08x}{:08x}",
        0
    )
    .into_bytes();
    text.extend_from_slice(name.as_bytes());
    text.push(0);
    text.extend_from_slice(padding(text.len() as u64));
    text
}

/// Returns the zeros up to the next multiple of four.
pub(super) fn padding(size: u64) -> &'static [u8] {
    match size % 4 {
        1 => &[0; 3],
        2 => &[0; 2],
        3 => &[0; 1],
        _ => &[],
    }
}

/// Returns the size of a member with its padding, in bytes.
pub(super) fn record_size(name: usize, size: u64) -> u64 {
    (HEADER + name as u64 + 1).next_multiple_of(4) + size.next_multiple_of(4)
}

/// Returns the size of a member's content in bytes. The rpm format checks that sizes fit before it
/// writes an archive.
pub(super) fn file_size(entry: &TreeEntry) -> u32 {
    match &entry.kind {
        EntryKind::Directory => 0,
        EntryKind::File(content) => u32::try_from(content.digest.size).unwrap_or(u32::MAX),
        EntryKind::Symlink(target) => u32::try_from(target.len()).unwrap_or(u32::MAX),
    }
}

/// Returns the type and permissions, as in `st_mode`.
pub(super) fn file_mode(entry: &TreeEntry) -> u16 {
    let kind = match &entry.kind {
        EntryKind::Directory => 0o040_000,
        EntryKind::File(_) => 0o100_000,
        EntryKind::Symlink(_) => 0o120_000,
    };
    // There are twelve permission bits.
    kind | u16::try_from(entry.mode & 0o7777).unwrap_or(0)
}
