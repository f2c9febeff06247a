//! Reads a file in random places, as for archives with a little of each member at a time.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// The number of bytes that are read at a time.
const SIZE: usize = 1 << 16;

/// The same after a jump, which may be only for a member's header.
const FEW: usize = 1 << 12;

/// Reads a file through a buffered window that survives seeks: a seek within the window costs no
/// system call, unlike with [`std::io::BufReader`].
#[derive(Debug)]
pub(super) struct WindowReader {
    file: fs_err::File,
    length: u64,
    at: u64,
    /// The offset of the window.
    start: u64,
    held: Vec<u8>,
}

impl WindowReader {
    /// Reads from the beginning of a file that must not change meanwhile.
    pub(super) fn new(file: fs_err::File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            at: 0,
            start: 0,
            held: Vec::new(),
        })
    }

    /// Returns the length of the file, bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the buffered bytes at the current position; empty if it is outside the window.
    fn here(&self) -> &[u8] {
        let offset = self
            .at
            .checked_sub(self.start)
            .and_then(|offset| usize::try_from(offset).ok());
        offset
            .and_then(|offset| self.held.get(offset..))
            .unwrap_or_default()
    }

    fn fill(&mut self) -> io::Result<()> {
        let goes_on = self.at == self.start + self.held.len() as u64;
        self.start = self.at;
        self.held.resize(if goes_on { SIZE } else { FEW }, 0);
        let read = self.file.file().read_at(&mut self.held, self.at);
        self.held.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| ())
    }
}

impl Read for WindowReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.here().is_empty() {
            if buffer.len() >= SIZE {
                let read = self.file.file().read_at(buffer, self.at)?;
                self.at += read as u64;
                return Ok(read);
            }
            self.fill()?;
        }
        let read = self.here().read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for WindowReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_reads_what_the_file_itself_does(steps in proptest::collection::vec((0..4_u8, -200_000..200_000_i64, 0..150_000_usize), 0..40)) {
            let content: Vec<u8> = (0..50_000_u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            file.rewind().unwrap();
            let other = fs_err::File::from_parts(file.try_clone().unwrap(), "x");
            let (mut plain, mut window) = (io::Cursor::new(content), WindowReader::new(other).unwrap());
            for (kind, offset, length) in steps {
                let to = match kind {
                    0 => SeekFrom::Start(offset.unsigned_abs()),
                    1 => SeekFrom::End(offset),
                    2 => SeekFrom::Current(offset),
                    _ => SeekFrom::Current(0),
                };
                prop_assert_eq!(plain.seek(to).ok(), window.seek(to).ok());
                let (mut wanted, mut read) = (Vec::new(), Vec::new());
                Read::by_ref(&mut plain).take(length as u64).read_to_end(&mut wanted).unwrap();
                window.by_ref().take(length as u64).read_to_end(&mut read).unwrap();
                prop_assert!(wanted == read);
            }
        }
    }
}
