//! Compression of small members that packages have besides their payload, and decompression of any
//! member.
//!
//! The compressed bytes depend only on the input and the level, not on the number of cores, the
//! time, or a file name.

use std::io::{self, BufRead, Read, Write};

use flate2::{GzBuilder, bufread::MultiGzDecoder, write::GzEncoder};
use liblzma::bufread::XzDecoder;

use pkgapp_config::Compression;

/// Returns a writer of one gzip member; the caller must call `finish`.
pub(crate) fn gzip<W: Write>(out: W, level: u32) -> GzEncoder<W> {
    // OS 255 is "unknown" (RFC 1952); flate2's default depends on the platform.
    GzBuilder::new()
        .operating_system(255)
        .write(out, flate2::Compression::new(level.min(9)))
}

/// Extends a gzip member to a multiple of `step` bytes, which is at most 32 KiB, with the header's
/// extra field (RFC 1952 §2.3.1.1), which readers skip. So the data after it in a package keeps its
/// offset when a few bytes change.
pub(crate) fn padded(member: &[u8], step: usize) -> Vec<u8> {
    /// The size of magic number, method, flags, time, and system.
    const HEADER: usize = 10;
    const FLAGS: usize = 3;
    const EXTRA: u8 = 1 << 2;
    /// The size of the field's length, the name of its only subfield, and the length of that.
    const LEAST: usize = 6;
    let size = (member.len() + LEAST).next_multiple_of(step);
    let zeros = size - member.len() - LEAST;
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes();
    let mut padded = Vec::with_capacity(size);
    padded.extend(&member[..HEADER]);
    padded[FLAGS] |= EXTRA;
    padded.extend(length(zeros + 4));
    padded.extend(b"PA");
    padded.extend(length(zeros));
    padded.resize(padded.len() + zeros, 0);
    padded.extend(&member[HEADER..]);
    padded
}

/// Returns a compression that every host can decompress, in place of zstd. Low levels become gzip,
/// because the lowest preset of xz takes thirty times as long as zstd -1. Middle levels become an
/// xz preset that is smaller than zstd, because xz cannot be as fast anyway.
pub(crate) fn without_zstd(compression: Compression) -> Compression {
    match compression {
        Compression::Zstd(..=2) => Compression::Gzip(6),
        Compression::Zstd(3..=12) => Compression::Xz(1),
        Compression::Zstd(_) => Compression::Xz(6),
        Compression::Gzip(_) | Compression::Xz(_) => compression,
    }
}

/// Returns the gzip level of about the same effort, for tarballs that are always compressed with
/// gzip.
pub(crate) fn gzip_level(compression: Compression) -> u32 {
    match compression {
        Compression::Gzip(level) => level,
        Compression::Zstd(..=2) => 1,
        Compression::Zstd(3..=12) | Compression::Xz(..=5) => 6,
        Compression::Zstd(_) | Compression::Xz(_) => 9,
    }
}

/// Returns the codec's name, which the magic number tells, and a reader of the plain bytes. Plain
/// input is passed through.
///
/// Like dpkg, it reads exactly one zstd frame or xz stream.
pub(crate) fn decoder<'a>(
    mut input: impl BufRead + 'a,
) -> io::Result<(&'static str, Box<dyn Read + 'a>)> {
    // Only the end of a very short file can leave fewer bytes in the buffer than a magic number,
    // and such a file is not an archive.
    let magic = input.fill_buf()?;
    Ok(match magic {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (
            "zstd",
            Box::new(zstd::Decoder::with_buffer(input)?.single_frame()),
        ),
        [0x1f, 0x8b, ..] => ("gzip", Box::new(MultiGzDecoder::new(input))),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz", Box::new(XzDecoder::new(input))),
        _ => ("none", Box::new(input)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_member_has_a_round_size_and_the_same_content() {
        for size in 0..300_u32 {
            let text: Vec<u8> = (0..size)
                .flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes())
                .collect();
            let mut gzipped = gzip(Vec::new(), 6);
            gzipped.write_all(&text).unwrap();
            let gzipped = gzipped.finish().unwrap();
            let padded = padded(&gzipped, 64);
            assert_eq!(padded.len(), (gzipped.len() + 6).next_multiple_of(64));
            let mut back = Vec::new();
            MultiGzDecoder::new(&padded[..])
                .read_to_end(&mut back)
                .unwrap();
            assert!(back == text, "{size}");
        }
    }

    #[test]
    fn the_codec_is_told_by_its_magic_number() {
        let text: Vec<u8> = (0..300_000_u32)
            .flat_map(|i| (i / 7).to_le_bytes())
            .collect();
        let mut gzipped = gzip(Vec::new(), 6);
        gzipped.write_all(&text).unwrap();
        let gzipped = gzipped.finish().unwrap();
        let mut xz = Vec::new();
        liblzma::bufread::XzEncoder::new(&text[..], 1)
            .read_to_end(&mut xz)
            .unwrap();
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        for (packed, name) in [
            (zstd, "zstd"),
            (gzipped, "gzip"),
            (xz, "xz"),
            (text.clone(), "none"),
        ] {
            let (codec, mut reader) = decoder(&packed[..]).unwrap();
            let mut back = Vec::new();
            reader.read_to_end(&mut back).unwrap();
            assert_eq!((codec, back == text), (name, true));
        }
    }
}
