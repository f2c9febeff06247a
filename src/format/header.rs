//! Checks an rpm's headers before the `rpm` crate reads them: the crate trusts offsets and counts,
//! and panics or allocates gigabytes if they are wrong.
//!
//! Source: rpm's "RPM V4 Package format", and `hdrblobInit` in rpm's `lib/header.c`, which has
//! these limits.

use std::io::{self, Read};

/// The size of the lead in bytes; readers ignore its content.
const LEAD: usize = 96;

/// The limit for the number of entries in an index.
const MOST_ENTRIES: u32 = 0xffff;
const MOST_DATA: u32 = 256 << 20;

/// Checks that every entry of both headers points into the header's data.
///
/// # Errors
/// A header is invalid, or the file ends early.
pub(super) fn check(mut file: impl Read) -> io::Result<()> {
    let mut lead = [0; LEAD];
    file.read_exact(&mut lead)?;
    let length = check_one(&mut file)?;
    // Padding follows the signature, up to a multiple of eight bytes.
    io::copy(
        &mut file.by_ref().take((8 - length % 8) % 8),
        &mut io::sink(),
    )?;
    check_one(&mut file).map(|_| ())
}

/// Checks the next header, and returns the length of its data in bytes.
fn check_one(file: &mut impl Read) -> io::Result<u64> {
    let mut start = [0; 16];
    file.read_exact(&mut start)?;
    let (entries, data) = (number(&start[8..12]), number(&start[12..16]));
    if start[..4] != [0x8e, 0xad, 0xe8, 1] || entries > MOST_ENTRIES || data > MOST_DATA {
        return Err(invalid("it lacks an rpm header"));
    }
    for _ in 0..entries {
        let mut entry = [0; 16];
        file.read_exact(&mut entry)?;
        check_entry(&entry, data)?;
    }
    let skipped = io::copy(&mut file.by_ref().take(u64::from(data)), &mut io::sink())?;
    if skipped < u64::from(data) {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(skipped)
    }
}

/// Checks that an entry of an index points into the `data` bytes after the index.
fn check_entry(entry: &[u8; 16], data: u32) -> io::Result<()> {
    let (offset, count) = (number(&entry[8..12]), number(&entry[12..16]));
    // A text has at least its NUL.
    let each = match number(&entry[4..8]) {
        0 => 0,
        1 | 2 | 6..=9 => 1,
        3 => 2,
        4 => 4,
        5 => 8,
        _ => return Err(invalid("an entry of the rpm header has an unknown type")),
    };
    if u64::from(offset) + u64::from(count) * each > u64::from(data) {
        return Err(invalid("an entry of the rpm header points beyond its end"));
    }
    Ok(())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Returns a big-endian number of four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u32, offset: u32, count: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        for number in [
            1,
            u32::try_from(data.len()).unwrap(),
            1000,
            kind,
            offset,
            count,
        ] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(data);
        bytes
    }

    #[test]
    fn entries_must_point_to_what_is_there() {
        for (kind, offset, count, fits) in [
            (4, 0, 2, true),
            (4, 4, 1, true),
            (4, 4, 2, false),
            (4, 0, u32::MAX, false),
            (7, 8, 0, true),
            (7, 9, 0, false),
            (8, 0, 9, false),
            (6, u32::MAX, 1, false),
            (5, 0, 1, true),
            (10, 0, 1, false),
        ] {
            let mut bytes = vec![0; LEAD];
            bytes.extend(header(4, 0, 2, &[0; 8]));
            bytes.extend(header(kind, offset, count, &[0; 8]));
            assert_eq!(check(&bytes[..]).is_ok(), fits, "{kind} {offset} {count}");
            assert!(check(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn the_signature_is_padded() {
        let mut bytes = vec![0; LEAD];
        bytes.extend(header(7, 0, 5, &[0; 5]));
        bytes.extend([0; 3]);
        bytes.extend(header(7, 0, 5, &[0; 5]));
        check(&bytes[..]).unwrap();
    }
}
