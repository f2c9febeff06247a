//! A segment's file in the cache: a header of one block that says what it is, then the compressed bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::codec::Shape;
use crate::digest::Sha256Sum;

/// Size of the header, bytes: JSON, spaces and a line end.
pub(super) const HEADER: u64 = 512;

#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    shape: Shape,
    /// Of the compressed bytes.
    sums: Sums,
}

/// What compressed bytes are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// CRC-32 (IEEE): told at every use, because it costs a tenth of the other one, and no one alters an entry who could
    /// not write a sum for it too.
    pub(super) crc32: u32,
    /// Told by `pkgapp cache verify`.
    pub(super) sha256: Sha256Sum,
}

/// Returns what an entry holds; `None` if it is missing, of another key, torn or altered.
pub(super) fn open(path: &Path, key: &str) -> Option<Shape> {
    let (mut file, header) = read_header(path)?;
    if header.key != key {
        return None;
    }
    let mut crc = crc32fast::Hasher::new();
    read(&mut file, |bytes| crc.update(bytes)).ok()?;
    (crc.finalize() == header.sums.crc32).then_some(header.shape)
}

/// Returns whether an entry is what it was when it was made.
pub(super) fn is_sound(path: &Path) -> bool {
    let Some((mut file, header)) = read_header(path) else { return false };
    let mut sha256 = Sha256::new();
    let whole = read(&mut file, |bytes| sha256.update(bytes)).is_ok();
    whole && path.file_name().is_some_and(|name| *name == *header.key) && sha256.finalize()[..] == header.sums.sha256.0
}

fn read(file: &mut File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    // Small enough that the allocator has it at hand.
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => take(&buffer[..length]),
        }
    }
}

/// Opens an entry that was just found whole, at its compressed bytes.
pub(super) fn reopen(path: &Path, shape: Shape) -> Option<File> {
    let (file, header) = read_header(path)?;
    (header.shape == shape).then_some(file)
}

fn read_header(path: &Path) -> Option<(File, Header)> {
    let mut file = File::open(path).ok()?;
    let mut bytes = [0; HEADER as usize];
    file.read_exact(&mut bytes).ok()?;
    let header: Header = serde_json::from_slice(&bytes).ok()?;
    let whole = file.metadata().ok()?.len() == HEADER + header.shape.packed;
    whole.then_some((file, header))
}

/// Leaves room for the header.
pub(super) fn begin(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(HEADER)).map(|_| ())
}

/// Writes the header, once the compressed bytes are there and were checked.
pub(super) fn finish(file: &mut File, key: &str, shape: Shape, sums: Sums) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&Header { key: key.to_owned(), shape, sums })?;
    // Numbers have at most 20 digits, so that there is room.
    bytes.resize(HEADER as usize - 1, b' ');
    bytes.push(b'\n');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}
