//! Pieces of a compressed stream: each is compressed separately, and joined they are exactly one
//! zstd frame, gzip member, or xz stream.
//!
//! dpkg stops after the first frame or stream without an error, so joining concatenates not frames
//! or streams, but the blocks inside them. In each codec, something would make a block depend on
//! the preceding ones:
//!
//! - **zstd** (RFC 8878): a block may refer to one of the last three offsets ("repeat offsets",
//!   §3.1.1.5), and an encoder assumes that a frame begins with 1, 4, and 8. So each piece begins
//!   with three small blocks that contain these offsets explicitly, see [`RESET`]. The other blocks
//!   are those of a separate frame, without the mark of the last block.
//! - **gzip** (RFC 1951, 1952): a piece is compressed without history, and flushed to a byte
//!   boundary. CRCs can be combined.
//! - **xz** (The .xz File Format 1.2): blocks are independent. Joining writes a new index.

use std::cell::RefCell;
use std::io::{self, BufReader, Read, Write};
use std::sync::OnceLock;

use flate2::{Compress, FlushCompress, Status, bufread::GzDecoder};
use liblzma::bufread::XzDecoder;
use liblzma::stream::{Check, Stream};
use liblzma::write::XzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zstd::zstd_safe::{
    CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
};

use super::entry::PieceSums;
use pkgapp_config::Compression;
use pkgapp_core::digest::Sha256Sum;

/// The properties of a piece that joining needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PieceShape {
    /// The length of the plain bytes.
    pub(super) plain: u64,
    /// The length of the compressed bytes.
    pub(super) packed: u64,
    /// The CRC-32 (IEEE) of the plain bytes.
    pub(super) crc32: u32,
    /// The window descriptor of the frame, for zstd.
    pub(super) window: u8,
    /// The size of the block without its padding as in the index, for xz.
    pub(super) unpadded: u64,
}

/// The bytes of a stream before and after its pieces.
#[derive(Debug)]
pub(super) struct StreamFrame {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

/// Compresses one piece. The caller must call [`PieceEncoder::finish`].
pub(super) struct PieceEncoder<W: Write> {
    codec: Codec<W>,
    crc: crc32fast::Hasher,
}

enum Codec<W: Write> {
    Whole(ZstdWhole<W>),
    Zstd(ZstdBlocks<W>),
    Gzip(DeflateBlocks<W>),
    Xz(XzEncoder<BlockWriter<W>>),
}

impl<W: Write> PieceEncoder<W> {
    /// Begins a piece of `size` plain bytes.
    pub(super) fn new(out: W, compression: Compression, size: u64) -> io::Result<Self> {
        let out = CountingWriter {
            inner: out,
            count: 0,
        };
        let codec = match compression {
            Compression::Zstd(level) if in_one_go(compression) => {
                Codec::Whole(ZstdWhole::new(out, level, size)?)
            }
            Compression::Zstd(level) => Codec::Zstd(ZstdBlocks::new(out, level, size)?),
            Compression::Gzip(level) => Codec::Gzip(DeflateBlocks {
                out,
                compress: Compress::new(flate2::Compression::new(level.min(9)), false),
                buffer: Vec::with_capacity(BUFFER),
            }),
            Compression::Xz(preset) => {
                let stream = Stream::new_easy_encoder(preset.min(9), Check::Crc64)?;
                let block = BlockWriter {
                    out,
                    skip: XZ_HEADER,
                    held: Vec::new(),
                };
                Codec::Xz(XzEncoder::new_stream(block, stream))
            }
        };
        Ok(Self {
            codec,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Compresses the remaining bytes; returns the writer and the properties of the piece.
    pub(super) fn finish(mut self) -> io::Result<(W, PieceShape)> {
        if let Codec::Whole(whole) = &mut self.codec {
            self.crc.update(whole.bytes());
        }
        let plain = self.crc.total_len();
        let (out, window, unpadded) = match self.codec {
            Codec::Whole(whole) => {
                let (out, window) = whole.finish()?;
                (out, window, 0)
            }
            Codec::Zstd(blocks) => {
                let (out, window) = blocks.finish()?;
                (out, window, 0)
            }
            Codec::Gzip(blocks) => (blocks.finish()?, 0, 0),
            Codec::Xz(encoder) => {
                let (out, unpadded) = encoder.finish()?.finish()?;
                (out, 0, unpadded)
            }
        };
        let crc32 = self.crc.finalize();
        Ok((
            out.inner,
            PieceShape {
                plain,
                packed: out.count,
                crc32,
                window,
                unpadded,
            },
        ))
    }
}

impl<W: Write> Write for PieceEncoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.codec {
            Codec::Whole(whole) => {
                whole.bytes().extend_from_slice(bytes);
                return Ok(bytes.len());
            }
            Codec::Zstd(blocks) => blocks.put(bytes)?,
            Codec::Gzip(blocks) => blocks.put(bytes, FlushCompress::None)?,
            Codec::Xz(encoder) => encoder.write_all(bytes)?,
        }
        self.crc.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush would end a block early.
        Ok(())
    }
}

/// The size of the buffer between a codec and its writer, in bytes.
const BUFFER: usize = 1 << 17;

struct CountingWriter<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

// zstd

/// A frame header without content size, checksum, and dictionary, up to the window descriptor (RFC
/// 8878 §3.1.1.1).
const ZSTD_HEADER: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0];

/// The length of that header with the window descriptor.
const ZSTD_HEADER_SIZE: usize = ZSTD_HEADER.len() + 1;

/// The smallest declared window, 128 KiB: it limits the size of blocks, and [`ZstdBlocks`] writes
/// some blocks itself.
const ZSTD_LEAST_WINDOW: u8 = 7 << 3;

/// An empty raw block with the mark of the last block.
const ZSTD_END: [u8; 3] = [1, 0, 0];

/// The maximum size of a block in bytes.
const ZSTD_BLOCK: usize = 1 << 17;

/// The number of bytes that are searched at a time for the matches of [`RESET`].
const ZSTD_SEARCH: usize = 1 << 16;

/// The repeat offsets at the beginning of a frame, in reverse order: each explicit offset moves to
/// the first place and shifts the others (RFC 8878 §3.1.1.5).
const RESET: [u8; 3] = [8, 4, 1];

/// The minimum length of a match in bytes.
const MATCH: usize = 3;

/// The levels whose windows are enlarged to hold a whole piece, like those of the levels above.
const ZSTD_LONG: std::ops::RangeInclusive<i32> = 17..=19;

/// The logarithm of the default window of these levels.
const ZSTD_OWN_WINDOW: u32 = 23;

/// The logarithm of the largest enlarged window: 32 MiB, which hosts need for decompression. Hosts
/// allow 2^27.
const ZSTD_LONG_WINDOW: u32 = 25;

/// The levels that compress a whole piece in one call, which requires it in memory: the streaming
/// interface copies every byte once more, and searches two buffers once its window has moved.
const ZSTD_WHOLE: std::ops::RangeToInclusive<i32> = ..=9;

/// Returns whether an encoder holds a whole piece and its compressed bytes in memory.
pub(super) fn in_one_go(compression: Compression) -> bool {
    matches!(compression, Compression::Zstd(level) if ZSTD_WHOLE.contains(&level))
}

/// Writes the blocks of a piece once it is complete.
struct ZstdWhole<W> {
    out: CountingWriter<W>,
    tools: Box<ZstdTools>,
}

/// The tools for compressing a piece. Each thread reuses its own: allocating memory takes as long
/// as compressing at the fastest level.
struct ZstdTools {
    context: CCtx<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

thread_local! {
    static ZSTD_TOOLS: RefCell<Option<Box<ZstdTools>>> = const { RefCell::new(None) };
}

impl<W: Write> ZstdWhole<W> {
    fn new(out: CountingWriter<W>, level: i32, size: u64) -> io::Result<Self> {
        let mut tools = match ZSTD_TOOLS.take() {
            Some(tools) => tools,
            None => Box::new(ZstdTools {
                context: context()?,
                plain: Vec::new(),
                packed: Vec::new(),
            }),
        };
        tools
            .context
            .reset(ResetDirective::SessionAndParameters)
            .map_err(zstd_error)?;
        for parameter in zstd_parameters(level) {
            tools.context.set_parameter(parameter).map_err(zstd_error)?;
        }
        tools.plain.clear();
        tools
            .plain
            .reserve_exact(usize::try_from(size).unwrap_or(0));
        Ok(Self { out, tools })
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.tools.plain
    }

    fn finish(self) -> io::Result<(CountingWriter<W>, u8)> {
        let Self { mut out, mut tools } = self;
        let ZstdTools {
            context,
            plain,
            packed,
        } = &mut *tools;
        let (mut written, mut begun) = (0, 0);
        for offset in RESET {
            // Incompressible bytes may have no suitable place: then they stay uncompressed.
            let Some(place) = place_for(offset, plain, written) else {
                break;
            };
            raw_blocks(&mut out, &plain[written..place])?;
            out.write_all(&reset(offset))?;
            written = place + MATCH;
            begun += 1;
        }
        let rest = &plain[written..];
        let mut window = ZSTD_LEAST_WINDOW;
        if begun < RESET.len() {
            raw_blocks(&mut out, rest)?;
        } else if !rest.is_empty() {
            packed.clear();
            packed.reserve_exact(compress_bound(rest.len()));
            context.compress2(packed, rest).map_err(zstd_error)?;
            let header = ZSTD_HEADER_SIZE.min(packed.len());
            let (header, blocks) = packed.split_at_mut(header);
            window = declared_window(header)?;
            unmark_last(blocks)?;
            out.write_all(blocks)?;
        }
        ZSTD_TOOLS.set(Some(tools));
        Ok((out, window))
    }
}

/// Clears the mark of the last block (RFC 8878 §3.1.1.2): joining adds the last block.
fn unmark_last(blocks: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    while let Some([a, b, c]) = blocks.get(at..).and_then(<[u8]>::first_chunk) {
        let header = u32::from_le_bytes([*a, *b, *c, 0]);
        // The size in an RLE block is that of the plain bytes.
        let size = if header >> 1 & 3 == ZSTD_RLE {
            1
        } else {
            header >> 3
        };
        let next = at + 3 + size as usize;
        if header & 1 == 1 && next == blocks.len() {
            blocks[at] &= !1;
            return Ok(());
        }
        at = next;
    }
    Err(io::Error::other(
        "zstd wrote blocks that do not end with the last one",
    ))
}

fn context() -> io::Result<CCtx<'static>> {
    CCtx::try_create().ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Returns the parameters of a frame with only a window descriptor and blocks.
fn zstd_parameters(level: i32) -> [CParameter; 4] {
    [
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ]
}

/// Returns the window descriptor in an encoder's frame header, which is not part of a piece.
fn declared_window(header: &[u8]) -> io::Result<u8> {
    match header {
        [0x28, 0xb5, 0x2f, 0xfd, 0, window] => Ok((*window).max(ZSTD_LEAST_WINDOW)),
        _ => Err(io::Error::other(format!(
            "zstd wrote the unexpected frame header {header:02x?}"
        ))),
    }
}

fn raw_blocks(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for block in bytes.chunks(ZSTD_BLOCK) {
        out.write_all(&zstd_block_header(block.len(), ZSTD_RAW))?;
        out.write_all(block)?;
    }
    Ok(())
}

/// Writes the blocks of a piece as its bytes arrive.
struct ZstdBlocks<W> {
    out: CountingWriter<W>,
    context: CCtx<'static>,
    buffer: Vec<u8>,
    /// Bytes that are not yet searched.
    start: Vec<u8>,
    /// The number of written [`RESET`] blocks; bytes before the last one are stored uncompressed.
    begun: usize,
    /// The encoder's frame header, which is not part of the piece.
    header: Vec<u8>,
}

impl<W: Write> ZstdBlocks<W> {
    fn new(out: CountingWriter<W>, level: i32, size: u64) -> io::Result<Self> {
        let mut context = context()?;
        for parameter in zstd_parameters(level)
            .into_iter()
            .chain(long_window(level, size))
        {
            context.set_parameter(parameter).map_err(zstd_error)?;
        }
        // Small pieces use small tables. Some bytes bypass the encoder, so the size is an upper
        // limit.
        context
            .set_pledged_src_size(Some(size))
            .map_err(zstd_error)?;
        Ok(Self {
            out,
            context,
            buffer: Vec::with_capacity(BUFFER),
            start: Vec::with_capacity(ZSTD_SEARCH),
            begun: 0,
            header: Vec::with_capacity(ZSTD_HEADER_SIZE),
        })
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.begun < RESET.len() && !bytes.is_empty() {
            let (start, rest) = bytes.split_at(bytes.len().min(ZSTD_SEARCH - self.start.len()));
            self.start.extend_from_slice(start);
            bytes = rest;
            if self.start.len() == ZSTD_SEARCH {
                self.begin()?;
            }
        }
        self.compress(bytes)
    }

    /// Writes the reset blocks for which the available bytes have matches. Incompressible bytes may
    /// have none: then the piece is stored uncompressed up to the first match.
    fn begin(&mut self) -> io::Result<()> {
        let start = std::mem::take(&mut self.start);
        let mut written = 0;
        while let Some(offset) = RESET.get(self.begun) {
            let Some(place) = place_for(*offset, &start, written) else {
                break;
            };
            raw_blocks(&mut self.out, &start[written..place])?;
            self.out.write_all(&reset(*offset))?;
            written = place + MATCH;
            self.begun += 1;
        }
        if self.begun == RESET.len() {
            self.compress(&start[written..])
        } else {
            raw_blocks(&mut self.out, &start[written..])?;
            self.start = start;
            self.start.clear();
            Ok(())
        }
    }

    fn compress(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while input.pos < bytes.len() {
            self.buffer.clear();
            let mut output = OutBuffer::around(&mut self.buffer);
            self.context
                .compress_stream(&mut output, &mut input)
                .map_err(zstd_error)?;
            self.drain()?;
        }
        Ok(())
    }

    /// Writes the encoder's output without the frame's header.
    fn drain(&mut self) -> io::Result<()> {
        let missing = ZSTD_HEADER_SIZE - self.header.len();
        let (header, blocks) = self.buffer.split_at(missing.min(self.buffer.len()));
        self.header.extend_from_slice(header);
        self.out.write_all(blocks)
    }

    fn finish(mut self) -> io::Result<(CountingWriter<W>, u8)> {
        if self.begun < RESET.len() {
            self.begin()?;
        }
        loop {
            self.buffer.clear();
            let mut output = OutBuffer::around(&mut self.buffer);
            // Ending the frame would mark a block as the last.
            let left = self.context.flush_stream(&mut output).map_err(zstd_error)?;
            self.drain()?;
            if left == 0 {
                break;
            }
        }
        // Without a header, the encoder has not received any bytes.
        let window = if self.header.is_empty() {
            ZSTD_LEAST_WINDOW
        } else {
            declared_window(&self.header)?
        };
        Ok((self.out, window))
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(format!("zstd: {}", get_error_name(code)))
}

/// The types of blocks (RFC 8878 §3.1.1.2).
const ZSTD_RAW: u32 = 0;
const ZSTD_RLE: u32 = 1;
const ZSTD_COMPRESSED: u32 = 2;

/// Returns the three bytes before a block that is not the last (RFC 8878 §3.1.1.2).
fn zstd_block_header(size: usize, kind: u32) -> [u8; 3] {
    // A block's size is at most 2^17, so it fits 21 bits.
    let [a, b, c, _] = ((u32::try_from(size).unwrap_or(0) << 3) | (kind << 1)).to_le_bytes();
    [a, b, c]
}

/// Returns the first position from `from` on whose three bytes equal those `offset` bytes before.
fn place_for(offset: u8, bytes: &[u8], from: usize) -> Option<usize> {
    let offset = usize::from(offset);
    let last = bytes.len().checked_sub(MATCH)?;
    (from.max(offset)..=last)
        .find(|&place| bytes[place..place + MATCH] == bytes[place - offset..][..MATCH])
}

/// Returns a block that repeats the three bytes `offset` before it, which makes `offset` the first
/// repeat offset.
///
/// The block has no literals and one sequence. All three codes of the sequence are in RLE mode, so
/// the bit stream contains only the offset's extra bits below the end mark. Together they are the
/// number `offset + 3`, because the code stands for its highest bit (RFC 8878 §3.1.1.3.2.1.1).
fn reset(offset: u8) -> Vec<u8> {
    let value = offset + 3;
    // The number of the highest bit, which is below 4.
    let offset_code = 7 - u8::try_from(value.leading_zeros()).unwrap_or(0);
    // No literals, raw. One sequence. RLE for literal lengths, offsets, and match lengths.
    let block = [0x00, 1, 0b0101_0100, 0, offset_code, 0, value];
    [&zstd_block_header(block.len(), ZSTD_COMPRESSED)[..], &block].concat()
}

/// Returns parameters that enlarge the window to a whole piece; none if the level's own suffices.
///
/// Division into pieces costs such a level most, because every piece begins with an empty window. A
/// window that covers the whole piece gains more than that.
fn long_window(level: i32, size: u64) -> Vec<CParameter> {
    let needed = u64::BITS - size.saturating_sub(1).leading_zeros();
    if !ZSTD_LONG.contains(&level) || needed <= ZSTD_OWN_WINDOW {
        return Vec::new();
    }
    let window = needed.min(ZSTD_LONG_WINDOW);
    // The binary tree must have as many positions.
    vec![CParameter::WindowLog(window), CParameter::ChainLog(window)]
}

// gzip

/// Writes deflate blocks that end at a byte boundary, without a last block.
struct DeflateBlocks<W> {
    out: CountingWriter<W>,
    compress: Compress,
    buffer: Vec<u8>,
}

impl<W: Write> DeflateBlocks<W> {
    fn put(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        loop {
            let before = self.compress.total_in();
            self.buffer.clear();
            let status = self
                .compress
                .compress_vec(bytes, &mut self.buffer, flush)
                .map_err(io::Error::other)?;
            // The codec cannot have consumed more bytes than it was given.
            bytes =
                &bytes[usize::try_from(self.compress.total_in() - before).unwrap_or(bytes.len())..];
            self.out.write_all(&self.buffer)?;
            let all_out = self.buffer.len() < self.buffer.capacity();
            if bytes.is_empty() && all_out || matches!(status, Status::StreamEnd) {
                return Ok(());
            }
        }
    }

    fn finish(mut self) -> io::Result<CountingWriter<W>> {
        self.put(&[], FlushCompress::Sync)?;
        Ok(self.out)
    }
}

// xz

/// The length of a stream header and of a footer.
const XZ_HEADER: usize = 12;

/// The maximum number of bytes after the block of a stream with one block: an index (indicator,
/// number of records, two numbers of at most nine bytes, padding, CRC) and the footer.
const XZ_TAIL: usize = 1 + 1 + 9 + 9 + 3 + 4 + XZ_HEADER;

/// The stream flags: the check is CRC-64.
const XZ_FLAGS: [u8; 2] = [0, 4];

/// Writes only the block of a stream with one block.
struct BlockWriter<W> {
    out: CountingWriter<W>,
    /// The remaining number of bytes of the stream header.
    skip: usize,
    /// The last bytes: the end of the block, the index, and the footer.
    held: Vec<u8>,
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let header = bytes.len().min(self.skip);
        self.skip -= header;
        self.held.extend_from_slice(&bytes[header..]);
        if self.held.len() > XZ_TAIL {
            let known = self.held.len() - XZ_TAIL;
            self.out.write_all(&self.held[..known])?;
            self.held.drain(..known);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> BlockWriter<W> {
    /// Returns the size of the block according to its index.
    fn finish(mut self) -> io::Result<(CountingWriter<W>, u64)> {
        let wrong = || io::Error::other("xz wrote an unexpected index");
        let footer = self.held.len().checked_sub(XZ_HEADER).ok_or_else(wrong)?;
        let size = self
            .held
            .get(footer + 4..footer + 8)
            .and_then(|size| size.try_into().ok())
            .ok_or_else(wrong)?;
        let size = (u32::from_le_bytes(size) as usize + 1) * 4;
        let index = footer.checked_sub(size).ok_or_else(wrong)?;
        self.out.write_all(&self.held[..index])?;
        match &self.held[index..] {
            [0, 1, numbers @ ..] => {
                let unpadded = read_number(numbers).ok_or_else(wrong)?;
                Ok((self.out, unpadded))
            }
            // An empty stream has no block.
            [0, 0, ..] => Ok((self.out, 0)),
            _ => Err(wrong()),
        }
    }
}

/// Reads a number with seven bits per byte, the lowest first (xz §1.2).
fn read_number(bytes: &[u8]) -> Option<u64> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

// Joining

impl StreamFrame {
    /// Returns the bytes before and after pieces of one codec in this order.
    pub(super) fn around(compression: Compression, pieces: &[PieceShape]) -> Self {
        match compression {
            Compression::Zstd(_) => {
                let window = pieces
                    .iter()
                    .map(|piece| piece.window)
                    .fold(ZSTD_LEAST_WINDOW, u8::max);
                Self {
                    head: [&ZSTD_HEADER[..], &[window]].concat(),
                    tail: ZSTD_END.to_vec(),
                }
            }
            Compression::Gzip(_) => Self {
                head: GZIP_HEADER.to_vec(),
                tail: gzip_tail(pieces),
            },
            Compression::Xz(_) => Self {
                head: xz_header(),
                tail: xz_tail(pieces),
            },
        }
    }
}

/// Deflate, no flags, no time, no extra flags, unknown system (RFC 1952 §2.3).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Returns an empty last block, the CRC, and the length modulo 2^32.
fn gzip_tail(pieces: &[PieceShape]) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    for piece in pieces {
        crc.combine(&crc32fast::Hasher::new_with_initial_len(
            piece.crc32,
            piece.plain,
        ));
    }
    let length = (crc.total_len() & u64::from(u32::MAX)) as u32;
    [
        &[3, 0][..],
        &crc.finalize().to_le_bytes(),
        &length.to_le_bytes(),
    ]
    .concat()
}

fn xz_header() -> Vec<u8> {
    [
        b"\xfd7zXZ\0",
        &XZ_FLAGS[..],
        &crc32fast::hash(&XZ_FLAGS).to_le_bytes(),
    ]
    .concat()
}

/// Returns the index and the footer (xz §4, §2.1.2).
fn xz_tail(pieces: &[PieceShape]) -> Vec<u8> {
    let blocks: Vec<&PieceShape> = pieces.iter().filter(|piece| piece.unpadded > 0).collect();
    let mut index = vec![0];
    write_number(&mut index, blocks.len() as u64);
    for block in blocks {
        write_number(&mut index, block.unpadded);
        write_number(&mut index, block.plain);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32fast::hash(&index).to_le_bytes());
    // An index with too many blocks to fit would have 2^34 bytes.
    let size = u32::try_from(index.len() / 4 - 1)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let footer = [&size[..], &XZ_FLAGS].concat();
    index.extend(crc32fast::hash(&footer).to_le_bytes());
    index.extend(footer);
    index.extend(b"YZ");
    index
}

// Checking

/// Decodes a piece as part of a stream, compares the result with its properties, and returns the
/// checksums of the compressed bytes.
///
/// The preceding piece leaves repeat offsets that differ from those at the beginning of a frame: a
/// piece that relies on the latter would decode to other bytes without an error.
pub(super) fn check(
    compression: Compression,
    shape: PieceShape,
    packed: impl Read,
) -> io::Result<PieceSums> {
    let (first_packed, first_shape) = match compression {
        Compression::Zstd(_) => {
            let (bytes, shape) = disturbing_piece()?;
            (&bytes[..], Some(*shape))
        }
        Compression::Gzip(_) | Compression::Xz(_) => (&[][..], None),
    };
    let shapes: Vec<PieceShape> = first_shape.into_iter().chain([shape]).collect();
    let frame = StreamFrame::around(compression, &shapes);
    let mut hashing = HashingWriter {
        inner: packed.take(shape.packed),
        sha256: Sha256::new(),
        crc32: crc32fast::Hasher::new(),
    };
    let stream = frame
        .head
        .chain(first_packed)
        .chain(&mut hashing)
        .chain(&frame.tail[..]);
    let plain = decoder(compression, BufReader::with_capacity(BUFFER, stream))?;
    let skipped = first_shape.map_or(0, |shape| shape.plain);

    if checksum_after(plain, skipped)? == (shape.plain, shape.crc32) {
        Ok(PieceSums {
            crc32: hashing.crc32.finalize(),
            sha256: Sha256Sum(hashing.sha256.finalize().into()),
        })
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the compressed bytes decode to other bytes",
        ))
    }
}

/// Skips bytes, reads the rest, and returns its length and CRC-32.
fn checksum_after(mut plain: impl Read, skipped: u64) -> io::Result<(u64, u32)> {
    io::copy(&mut plain.by_ref().take(skipped), &mut io::sink())?;
    let (mut crc, mut buffer) = (crc32fast::Hasher::new(), vec![0; BUFFER]);
    loop {
        match plain.read(&mut buffer)? {
            0 => return Ok((crc.total_len(), crc.finalize())),
            length => crc.update(&buffer[..length]),
        }
    }
}

/// Reads exactly one frame, member, or stream.
fn decoder<'a>(
    compression: Compression,
    input: BufReader<impl Read + 'a>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Zstd(_) => Box::new(zstd::Decoder::with_buffer(input)?.single_frame()),
        Compression::Gzip(_) => Box::new(GzDecoder::new(input)),
        Compression::Xz(_) => Box::new(XzDecoder::new(input)),
    })
}

/// Returns a piece with matches at many offsets.
fn disturbing_piece() -> io::Result<&'static (Vec<u8>, PieceShape)> {
    static PIECE: OnceLock<(Vec<u8>, PieceShape)> = OnceLock::new();
    if let Some(piece) = PIECE.get() {
        return Ok(piece);
    }
    let mut text = vec![0; 20];
    for number in 0..2000_u32 {
        text.extend_from_slice(number.wrapping_mul(2_654_435_761).to_string().as_bytes());
        if number % 7 == 6 {
            text.extend_from_within(text.len() - 60..text.len() - 40);
        }
    }
    let mut encoder = PieceEncoder::new(Vec::new(), Compression::Zstd(3), text.len() as u64)?;
    encoder.write_all(&text)?;
    let piece = encoder.finish()?;
    Ok(PIECE.get_or_init(|| piece))
}

struct HashingWriter<R> {
    inner: R,
    sha256: Sha256,
    crc32: crc32fast::Hasher,
}

impl<R: Read> Read for HashingWriter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.sha256.update(&buffer[..length]);
        self.crc32.update(&buffer[..length]);
        Ok(length)
    }
}

/// Returns everything that determines the compressed bytes apart from the plain bytes: the codec,
/// its level, and its library with the version.
pub(super) fn identity(compression: Compression) -> String {
    match compression {
        Compression::Zstd(level) => {
            format!("zstd {level} libzstd {}", zstd::zstd_safe::version_number())
        }
        Compression::Gzip(level) => format!("gzip {level} zlib-rs {}", locked(ZLIB_RS)),
        Compression::Xz(preset) => format!("xz {preset} liblzma-sys {}", locked(LIBLZMA)),
    }
}

/// These libraries have no version at run time, but Cargo.lock has one.
const ZLIB_RS: [u8; 16] = locked_version(b"\nname = \"zlib-rs\"\nversion = \"");
const LIBLZMA: [u8; 16] = locked_version(b"\nname = \"liblzma-sys\"\nversion = \"");

/// Finds the version after `mark` in Cargo.lock at compile time.
const fn locked_version(mark: &[u8]) -> [u8; 16] {
    let lock = include_bytes!("../../../Cargo.lock");
    let mut at = 0;
    while at + mark.len() < lock.len() {
        let mut length = 0;
        while length < mark.len() && lock[at + length] == mark[length] {
            length += 1;
        }
        if length == mark.len() {
            let mut version = [0; 16];
            let mut place = 0;
            while lock[at + length + place] != b'"' {
                version[place] = lock[at + length + place];
                place += 1;
            }
            return version;
        }
        at += 1;
    }
    panic!("Cargo.lock does not name a codec's library")
}

fn locked(version: [u8; 16]) -> String {
    String::from_utf8_lossy(&version)
        .trim_end_matches('\0')
        .to_owned()
}

#[cfg(test)]
mod tests;
