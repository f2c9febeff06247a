//! Tar archives with GNU headers only, which dpkg, GNU tar, bsdtar, busybox, and Python can read.
//!
//! dpkg refuses pax headers, and the builder of the `tar` crate drops the leading `./` that dpkg's
//! tools write. So this module writes the blocks itself, with the crate's header. Long names and
//! link targets get GNU `L` and `K` entries (tar(5)).

use std::io::Write;

use tar::{EntryType, Header};

use super::cannot_write;
use pkgapp_core::error::{Context, Result};
use pkgapp_release::tree::FileOwner;

/// The size of a block in bytes.
pub(super) const BLOCK: usize = 512;

/// The length of the name and link fields in bytes; a full field needs no NUL.
const FIELD: usize = 100;

/// Writes the entries of an archive.
pub(super) struct GnuTar<W: Write> {
    out: W,
    /// The time of every entry, in seconds since 1970.
    mtime: u64,
}

/// The fields of a header apart from the name.
pub(super) struct Attributes<'a> {
    pub(super) mode: u32,
    pub(super) owner: &'a FileOwner,
}

impl<W: Write> GnuTar<W> {
    pub(super) fn new(out: W, mtime: u64) -> Self {
        Self { out, mtime }
    }

    /// Adds a directory. `name` ends with `/`, as from GNU tar and dpkg.
    pub(super) fn directory(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<()> {
        debug_assert!(name.ends_with('/'));
        self.header(EntryType::Directory, name, "", 0, attributes)
    }

    pub(super) fn symlink(
        &mut self,
        name: &str,
        target: &str,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        self.header(EntryType::Symlink, name, target, 0, attributes)
    }

    /// Adds a file; `write` must write exactly `size` bytes.
    pub(super) fn file(
        &mut self,
        name: &str,
        size: u64,
        attributes: &Attributes<'_>,
        write: impl FnOnce(&mut W) -> Result<()>,
    ) -> Result<()> {
        self.file_head(name, size, attributes)?;
        write(&mut self.out)?;
        self.pad(size)
    }

    /// Writes the bytes before the content of a file.
    pub(super) fn file_head(
        &mut self,
        name: &str,
        size: u64,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        self.header(EntryType::Regular, name, "", size, attributes)
    }

    /// Writes the end of the archive: two blocks of zeros.
    pub(super) fn finish(mut self) -> Result<W> {
        self.put(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        size: u64,
        attributes: &Attributes<'_>,
    ) -> Result<()> {
        if link.len() > FIELD {
            self.long(EntryType::GNULongLink, link)?;
        }
        if name.len() > FIELD {
            self.long(EntryType::GNULongName, name)?;
        }
        let mut header = Header::new_gnu();
        fill(&mut header, name, link);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(attributes.mode);
        header.set_mtime(self.mtime);
        // dpkg and tar resolve the names, and fall back to these numbers.
        header.set_uid(0);
        header.set_gid(0);
        header
            .set_username(&attributes.owner.user)
            .context(cannot_write)?;
        header
            .set_groupname(&attributes.owner.group)
            .context(cannot_write)?;
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn long(&mut self, kind: EntryType, text: &str) -> Result<()> {
        let mut header = Header::new_gnu();
        fill(&mut header, "././@LongLink", "");
        header.set_entry_type(kind);
        // GNU tar includes the terminating NUL.
        let size = text.len() as u64 + 1;
        header.set_size(size);
        header.set_mode(0);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(text.as_bytes())?;
        self.put(&[0])?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        self.put(padding(size))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context(cannot_write)
    }
}

/// Returns the zeros up to the end of a block.
pub(super) fn padding(size: u64) -> &'static [u8] {
    // The remainder is less than 512.
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if over == 0 { &[] } else { &[0; BLOCK][over..] }
}

/// Returns the size of an entry's headers in bytes, including those for a long name or link target.
pub(super) fn head_size(name: usize, link: usize) -> u64 {
    // GNU tar includes the terminating NUL.
    let long = |text: usize| {
        if text > FIELD {
            BLOCK + (text + 1).next_multiple_of(BLOCK)
        } else {
            0
        }
    };
    (BLOCK + long(name) + long(link)) as u64
}

/// Sets the name and link fields, truncated to their length: long ones have entries of their own.
fn fill(header: &mut Header, name: &str, link: &str) {
    if let Some(fields) = header.as_gnu_mut() {
        let (name, link) = (cut(name), cut(link));
        fields.name[..name.len()].copy_from_slice(name);
        fields.linkname[..link.len()].copy_from_slice(link);
    }
}

fn cut(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(FIELD)]
}
