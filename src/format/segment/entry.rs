//! A segment's file in the cache: a header of one block that says what it is, then the compressed
//! bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::codec::PieceShape;
use pkgapp_core::digest::Sha256Sum;

/// Size of the header, bytes: JSON, spaces and a line end.
pub(super) const HEADER: u64 = 512;

#[derive(Serialize, Deserialize)]
struct PieceHeader {
    key: String,
    shape: PieceShape,
    /// Of the compressed bytes.
    sums: PieceSums,
    /// CRC-32 of what is above. Entries of older formats have none; no one asks for them any more.
    seal: Option<u32>,
}

/// What compressed bytes are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PieceSums {
    /// CRC-32 (IEEE): told at every use, because it costs a tenth of the other one, and no one
    /// alters an entry who could not write a sum for it too.
    pub(super) crc32: u32,
    /// Told by `pkgapp cache verify`.
    pub(super) sha256: Sha256Sum,
}

/// Returns what an entry holds; `None` if it is missing, of another key, cut, or its header was
/// altered. Its compressed bytes are not looked at.
pub(super) fn open(path: &Path, key: &str) -> Option<(PieceShape, PieceSums)> {
    read_header(path, key).map(|(_, header)| (header.shape, header.sums))
}

/// Opens an entry that was opened before at its compressed bytes, and returns their CRC-32; `None`
/// if the header is not what it was.
pub(super) fn reopen(path: &Path, key: &str, shape: PieceShape) -> Option<(File, u32)> {
    let (file, header) = read_header(path, key)?;
    (header.shape == shape).then_some((file, header.sums.crc32))
}

/// Returns whether an entry is what it was when it was made.
pub(super) fn is_sound(path: &Path) -> bool {
    let Some((mut file, header)) = parse_header(path) else {
        return false;
    };
    let mut sha256 = Sha256::new();
    // Small enough that the allocator has it at hand.
    let mut buffer = vec![0; 1 << 16];
    let whole = loop {
        match file.read(&mut buffer) {
            Ok(0) => break true,
            Ok(length) => sha256.update(&buffer[..length]),
            Err(_) => break false,
        }
    };
    let named = path.file_name().is_some_and(|name| *name == *header.key);
    let sealed = header.seal.is_none() || header.is_sealed();
    whole && named && sealed && sha256.finalize()[..] == header.sums.sha256.0
}

fn read_header(path: &Path, key: &str) -> Option<(File, PieceHeader)> {
    parse_header(path).filter(|(_, header)| header.key == key && header.is_sealed())
}

fn parse_header(path: &Path) -> Option<(File, PieceHeader)> {
    let mut file = File::open(path).ok()?;
    let mut bytes = [0; HEADER as usize];
    file.read_exact(&mut bytes).ok()?;
    let header: PieceHeader = serde_json::from_slice(&bytes).ok()?;
    let whole = file.metadata().ok()?.len() == HEADER + header.shape.packed;
    whole.then_some((file, header))
}

impl PieceHeader {
    fn seal(&self) -> io::Result<u32> {
        Ok(crc32fast::hash(&serde_json::to_vec(&(
            &self.key, self.shape, self.sums,
        ))?))
    }

    fn is_sealed(&self) -> bool {
        self.seal.is_some() && self.seal().ok() == self.seal
    }
}

/// Leaves room for the header.
pub(super) fn begin(file: &mut impl Seek) -> io::Result<()> {
    file.seek(SeekFrom::Start(HEADER)).map(|_| ())
}

/// Writes the header, once the compressed bytes are there and were checked.
pub(super) fn finish(
    file: &mut File,
    key: &str,
    shape: PieceShape,
    sums: PieceSums,
) -> io::Result<()> {
    let mut header = PieceHeader {
        key: key.to_owned(),
        shape,
        sums,
        seal: None,
    };
    header.seal = Some(header.seal()?);
    let mut bytes = serde_json::to_vec(&header)?;
    // Numbers have at most 20 digits, so that there is room.
    bytes.resize(HEADER as usize - 1, b' ');
    bytes.push(b'\n');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}
