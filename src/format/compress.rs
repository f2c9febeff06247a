//! Streams of one codec: exactly one zstd frame, gzip member or xz stream.
//!
//! dpkg stops reading after the first frame or stream without an error, so nothing here may ever write a second one.
//! The bytes depend on the input, the codec and the level only: not on the number of cores, the time, or a file's name.

use std::io::{self, BufRead, Read, Write};
use std::num::NonZeroUsize;

use flate2::{GzBuilder, bufread::MultiGzDecoder, write::GzEncoder};
use liblzma::bufread::XzDecoder;
use liblzma::stream::{Check, Stream};
use liblzma::write::XzEncoder;
use zstd::zstd_safe::CParameter;

use crate::package::Compression;

/// A compressing writer. [`Encoder::finish`] must be called.
pub(crate) enum Encoder<W: Write> {
    Zstd(zstd::Encoder<'static, W>),
    Gzip(GzEncoder<W>),
    Xz(XzEncoder<W>),
}

/// What zstd's workers take at a time, bytes. A fixed size makes the output independent of their number.
const ZSTD_JOB: u32 = 8 << 20;

/// Most workers by level, so that they stay below some 150 MB together: their tables grow from 20 MB each to 90 MB.
const fn zstd_workers(level: i32) -> usize {
    match level {
        ..10 => 4,
        10..14 => 2,
        _ => 1,
    }
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(out: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd(level) => Self::Zstd(zstd_encoder(out, level)?),
            Compression::Gzip(level) => {
                // OS 255 is "unknown" (RFC 1952): flate2's default differs by platform.
                Self::Gzip(GzBuilder::new().operating_system(255).write(out, flate2::Compression::new(level.min(9))))
            }
            Compression::Xz(preset) => {
                Self::Xz(XzEncoder::new_stream(out, Stream::new_easy_encoder(preset.min(9), Check::Crc64)?))
            }
        })
    }

    /// Writes what is left, and the end mark.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Xz(encoder) => encoder.finish(),
        }
    }
}

fn zstd_encoder<W: Write>(out: W, level: i32) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, level)?;
    encoder.include_checksum(true)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // One worker is not the same as none: it cuts jobs too, and so gives the bytes that many give.
    let workers = cores.min(zstd_workers(level)).max(1);
    encoder.set_parameter(CParameter::NbWorkers(u32::try_from(workers).unwrap_or(1)))?;
    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
    Ok(encoder)
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Xz(encoder) => encoder.flush(),
        }
    }
}

/// Returns the codec's name and a reader of the plain bytes, told by the magic number; plain input is handed on.
///
/// As dpkg does, exactly one zstd frame or xz stream is read.
pub(crate) fn decoder<'a>(mut input: impl BufRead + 'a) -> io::Result<(&'static str, Box<dyn Read + 'a>)> {
    // A buffer may hold fewer bytes than a magic number only at the end of a very short file, which is no archive.
    let magic = input.fill_buf()?;
    Ok(match magic {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", Box::new(zstd::Decoder::with_buffer(input)?.single_frame())),
        [0x1f, 0x8b, ..] => ("gzip", Box::new(MultiGzDecoder::new(input))),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz", Box::new(XzDecoder::new(input))),
        _ => ("none", Box::new(input)),
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn what_was_written_is_read_back_from_one_frame() {
        let text: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for (compression, name) in
            [(Compression::Zstd(3), "zstd"), (Compression::Gzip(6), "gzip"), (Compression::Xz(1), "xz")]
        {
            let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
            encoder.write_all(&text).unwrap();
            let packed = encoder.finish().unwrap();
            assert!(packed.len() < text.len() / 2);
            let (codec, mut reader) = decoder(BufReader::new(&packed[..])).unwrap();
            let mut back = Vec::new();
            reader.read_to_end(&mut back).unwrap();
            assert_eq!((codec, back == text), (name, true));
        }
    }
}
