//! A file that is read here and there: archives are, a little of each member at a time.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// How much is read at a time, bytes.
const SIZE: usize = 1 << 16;

/// The same after a jump: it may be for a member's header alone.
const FEW: usize = 1 << 12;

/// Reads a file by way of a part of it that is held, and stays where it is when someone seeks: what
/// lies in it costs no call of the system, unlike with [`std::io::BufReader`].
#[derive(Debug)]
pub(super) struct WindowReader {
    file: fs_err::File,
    length: u64,
    at: u64,
    /// Where the part begins that is held.
    start: u64,
    held: Vec<u8>,
}

impl WindowReader {
    /// Reads a file that does not change meanwhile, from its beginning.
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

    /// Returns what is held of the place that is read next; nothing if that is elsewhere.
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
