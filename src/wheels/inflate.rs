//! Unpacks the members of a zip archive one after the other.
//!
//! The `zip` crate creates a new decoder for each member. That fragments the memory: by 40 MB for a
//! set of 15,000 files.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// The number of packed bytes that are read at a time.
const BUFFER: usize = 1 << 15;

/// The buffers and the decoder for unpacking.
pub(super) struct Inflater {
    state: Decompress,
    buffer: Vec<u8>,
}

/// Reads the plain bytes of a member.
pub(super) enum MemberReader<'a, R> {
    /// The member is stored.
    Stored(R),
    /// The member is deflated (RFC 1951).
    Deflated(Inflating<'a, R>),
}

pub(super) struct Inflating<'a, R> {
    packed: R,
    state: &'a mut Decompress,
    buffer: &'a mut [u8],
    /// The range of the buffer that is still to be unpacked.
    at: usize,
    end: usize,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            state: Decompress::new(false),
            buffer: vec![0; BUFFER],
        }
    }

    /// Begins the next member.
    pub(super) fn begin<R: Read>(&mut self, packed: R) -> MemberReader<'_, R> {
        self.state.reset(false);
        MemberReader::Deflated(Inflating {
            packed,
            state: &mut self.state,
            buffer: &mut self.buffer,
            at: 0,
            end: 0,
        })
    }
}

impl<R: Read> Read for MemberReader<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(plain) => plain.read(out),
            Self::Deflated(inflating) => inflating.read(out),
        }
    }
}

impl<R: Read> Read for Inflating<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at == self.end {
                (self.at, self.end) = (0, self.packed.read(self.buffer)?);
            }
            let (taken, made) = (self.state.total_in(), self.state.total_out());
            let input = &self.buffer[self.at..self.end];
            let status = self
                .state
                .decompress(input, out, FlushDecompress::None)
                .map_err(io::Error::other)?;
            let (taken, made) = (self.state.total_in() - taken, self.state.total_out() - made);
            // Neither exceeds the length of a buffer.
            self.at += taken as usize;
            if made > 0 || out.is_empty() || status == Status::StreamEnd {
                return Ok(made as usize);
            }
            if self.end == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "its packed bytes are truncated",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::DeflateEncoder;

    use super::*;

    #[test]
    fn one_state_unpacks_all_and_notices_what_is_wrong() {
        let text: Vec<u8> = (0..100_000_u32)
            .flat_map(|i| (i / 3).to_le_bytes())
            .collect();
        let mut inflater = Inflater::new();
        for length in [0, 1, 1000, text.len()] {
            let mut packed = DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
            packed.write_all(&text[..length]).unwrap();
            let packed = packed.finish().unwrap();
            let mut read = |packed: &[u8]| {
                let mut plain = Vec::new();
                inflater
                    .begin(packed)
                    .read_to_end(&mut plain)
                    .map(|_| plain)
            };
            assert!(read(&packed).unwrap() == text[..length]);
            // What comes after the end is no part of it.
            assert!(read(&[&packed[..], b"more"].concat()).unwrap() == text[..length]);
            let cut = read(&packed[..packed.len() - 1]).unwrap_err();
            assert_eq!(
                cut.to_string(),
                "its packed bytes are truncated",
                "{length}"
            );
            assert!(
                read(&[&[7][..], &packed].concat()).is_err(),
                "a block of no kind"
            );
        }
    }
}
