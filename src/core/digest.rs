//! The identity of a file's content: length and SHA-256.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 checksum; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Sum(pub [u8; 32]);

/// The identity of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Sha256Sum,
}

impl Digest {
    /// Returns the digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut writer = DigestWriter::new(io::sink());
        writer.update(bytes);
        writer.finish().1
    }

    /// Returns the digest of a reader's bytes.
    ///
    /// # Errors
    /// Fails if the reader does.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut writer = DigestWriter::new(io::sink());
        io::copy(&mut reader, &mut writer)?;
        Ok(writer.finish().1)
    }
}

impl Sha256Sum {
    /// Returns the SHA-256 of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut sum = [0; 32];
        hex::decode_to_slice(text, &mut sum).ok()?;
        Some(Self(sum))
    }
}

impl fmt::Display for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Sha256Sum> for String {
    fn from(sum: Sha256Sum) -> Self {
        sum.to_string()
    }
}

impl TryFrom<String> for Sha256Sum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_hex(&text).ok_or_else(|| format!("`{text}` is not a SHA-256 sum"))
    }
}

/// A writer that passes bytes on and computes their digest.
#[derive(Debug)]
pub struct DigestWriter<W> {
    inner: W,
    size: u64,
    sha256: Sha256,
}

impl<W> DigestWriter<W> {
    /// Creates a writer to `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            size: 0,
            sha256: Sha256::new(),
        }
    }

    /// Returns the inner writer, and the digest of everything that was written.
    pub fn finish(self) -> (W, Digest) {
        let digest = Digest {
            size: self.size,
            sha256: Sha256Sum(self.sha256.finalize().into()),
        };
        (self.inner, digest)
    }

    fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Passes the output of `write` on to `out`, and returns its result with the number of bytes and
/// their SHA-256, which another thread computes meanwhile. Intended for large writes.
///
/// # Errors
/// Fails if `write` does.
pub fn summed<T, E>(
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, u64, Sha256Sum), E> {
    /// The number of parts by which the checksum may lag behind.
    const BEHIND: usize = 8;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Vec<u8>>(BEHIND);
        // Buffers are reused: new ones would cost as much as filling them.
        let (done, spare) = sync_channel::<Vec<u8>>(BEHIND);
        let hashing = scope.spawn(move || {
            let mut hasher = Sha256::new();
            for bytes in receiver {
                hasher.update(&bytes);
                // An excess buffer is dropped.
                _ = done.try_send(bytes);
            }
            hasher.finalize()
        });
        let mut tee = DigestTee {
            out,
            sums: sender,
            spare,
            size: 0,
        };
        let made = write(&mut tee);
        let size = tee.size;
        drop(tee);
        let sum = hashing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((made?, size, Sha256Sum(sum.into())))
    })
}

/// The maximum number of bytes per copy: new memory costs more than a copy, and this still fits
/// into the processor's cache.
const PART: usize = 1 << 18;

/// A writer that passes bytes on, with a copy of them to the thread of the checksum.
struct DigestTee<'a> {
    out: &'a mut dyn Write,
    sums: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    size: u64,
}

impl Write for DigestTee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.size += written as u64;
        for part in bytes[..written].chunks(PART) {
            let mut copy = self.spare.try_recv().unwrap_or_default();
            copy.clear();
            copy.extend(part);
            self.sums
                .send(copy)
                .map_err(|_| io::Error::other("the thread of the checksum has ended"))?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.size, 3);
        assert_eq!(
            digest.sha256.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_sum_is_taken_while_bytes_are_written() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut out = Vec::new();
        let write =
            |out: &mut dyn Write| bytes.chunks(9999).try_for_each(|part| out.write_all(part));
        let ((), size, sum) = summed(&mut out, write).unwrap();
        assert!(out == bytes);
        assert_eq!((size, sum), (4_000_000, Sha256Sum::of(&bytes)));
        assert_eq!(summed(&mut out, |_| Err::<(), _>("no")).unwrap_err(), "no");
    }
}
