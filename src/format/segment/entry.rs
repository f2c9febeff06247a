//! A segment's file in the cache: a header of one block that describes the segment, then the
//! compressed bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::codec::PieceShape;
use pkgapp_core::digest::Sha256Sum;

/// The size of the header in bytes: JSON, spaces, and a line end.
pub(super) const HEADER: u64 = 512;

#[derive(Serialize, Deserialize)]
struct PieceHeader {
    key: String,
    shape: PieceShape,
    /// The checksums of the compressed bytes.
    sums: PieceSums,
    /// The CRC-32 of the fields above. Entries of older formats have none, and no build uses them.
    seal: Option<u32>,
}

/// The checksums of compressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PieceSums {
    /// The CRC-32 (IEEE), verified at every use. It takes a tenth of the time of SHA-256, and
    /// whoever can alter an entry could replace either checksum.
    pub(super) crc32: u32,
    /// The SHA-256, verified by `pkgapp cache verify`.
    pub(super) sha256: Sha256Sum,
}

/// Returns the properties and checksums of an entry; `None` if it is missing, has another key, is
/// truncated, or its header was altered. The compressed bytes are not read.
pub(super) fn open(path: &Path, key: &str) -> Option<(PieceShape, PieceSums)> {
    read_header(path, key).map(|(_, header)| (header.shape, header.sums))
}

/// Opens a known entry at its compressed bytes, and returns their CRC-32; `None` if the header has
/// changed.
pub(super) fn reopen(path: &Path, key: &str, shape: PieceShape) -> Option<(File, u32)> {
    let (file, header) = read_header(path, key)?;
    (header.shape == shape).then_some((file, header.sums.crc32))
}

/// Returns whether an entry is unchanged since it was written.
pub(super) fn is_sound(path: &Path) -> bool {
    let Some((mut file, header)) = parse_header(path) else {
        return false;
    };
    let mut sha256 = Sha256::new();
    // Small enough for the allocator to reuse.
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

/// Skips the space for the header.
pub(super) fn begin(file: &mut impl Seek) -> io::Result<()> {
    file.seek(SeekFrom::Start(HEADER)).map(|_| ())
}

/// Writes the header after the compressed bytes were written and verified.
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
    // Numbers have at most 20 digits, so the header fits.
    bytes.resize(HEADER as usize - 1, b' ');
    bytes.push(b'\n');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}
