//! A segment's file in the cache: a header of one block that says what it is, then the compressed bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

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
    sha256: Sha256Sum,
}

/// Returns what an entry holds; `None` if it is missing, of another key, torn or altered.
pub(super) fn open(path: &Path, key: &str) -> Option<Shape> {
    let (mut file, header) = read_header(path)?;
    if header.key != key {
        return None;
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    // It is old when nobody has used it for long, not when it was made long ago.
    _ = file.set_modified(SystemTime::now());
    (hasher.finalize()[..] == header.sha256.0).then_some(header.shape)
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
pub(super) fn finish(file: &mut File, key: &str, shape: Shape, sha256: Sha256Sum) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&Header { key: key.to_owned(), shape, sha256 })?;
    // Numbers have at most 20 digits, so that there is room.
    bytes.resize(HEADER as usize - 1, b' ');
    bytes.push(b'\n');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}
