//! cpio archives, "new ASCII" (cpio(5)), as rpm's payloads have them.

use pkgapp_release::tree::{EntryKind, TreeEntry};

/// Size of a header without the name.
const HEADER: u64 = 110;

/// The name of the last record.
pub(super) const TRAILER: &str = "TRAILER!!!";

/// Returns a header with its name, padded. inode 0 and one link: rpm reads both from its own
/// header.
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

/// The zeros up to the next multiple of four.
pub(super) fn padding(size: u64) -> &'static [u8] {
    match size % 4 {
        1 => &[0; 3],
        2 => &[0; 2],
        3 => &[0; 1],
        _ => &[],
    }
}

/// Size of a record with its padding.
pub(super) fn record_size(name: usize, size: u64) -> u64 {
    (HEADER + name as u64 + 1).next_multiple_of(4) + size.next_multiple_of(4)
}

/// Size of a record's body. Sizes are checked to fit before an archive is begun.
pub(super) fn file_size(entry: &TreeEntry) -> u32 {
    match &entry.kind {
        EntryKind::Directory => 0,
        EntryKind::File(content) => u32::try_from(content.digest.size).unwrap_or(u32::MAX),
        EntryKind::Symlink(target) => u32::try_from(target.len()).unwrap_or(u32::MAX),
    }
}

/// Type and permissions, as in `st_mode`.
pub(super) fn file_mode(entry: &TreeEntry) -> u16 {
    let kind = match &entry.kind {
        EntryKind::Directory => 0o040_000,
        EntryKind::File(_) => 0o100_000,
        EntryKind::Symlink(_) => 0o120_000,
    };
    // Permission bits are twelve.
    kind | u16::try_from(entry.mode & 0o7777).unwrap_or(0)
}
