use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use pkgapp_testing::tool;

fn piece(plain: &[u8], compression: Compression) -> (Vec<u8>, PieceShape) {
    let mut encoder = PieceEncoder::new(Vec::new(), compression, plain.len() as u64).unwrap();
    // Uneven portions, like those of archives.
    for part in plain.chunks(9973) {
        encoder.write_all(part).unwrap();
    }
    let (packed, shape) = encoder.finish().unwrap();
    assert_eq!(
        (shape.plain, shape.packed),
        (plain.len() as u64, packed.len() as u64)
    );
    check(compression, shape, &packed[..]).unwrap();
    (packed, shape)
}

fn join(compression: Compression, pieces: &[&(Vec<u8>, PieceShape)]) -> Vec<u8> {
    let frame = StreamFrame::around(
        compression,
        &pieces.iter().map(|(_, shape)| *shape).collect::<Vec<_>>(),
    );
    let packed: Vec<u8> = pieces
        .iter()
        .flat_map(|(packed, _)| packed.clone())
        .collect();
    [frame.head, packed, frame.tail].concat()
}

/// Decodes exactly one frame, member, or stream, like dpkg.
fn decode(compression: Compression, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = packed;
    match compression {
        Compression::Zstd(_) => zstd::Decoder::with_buffer(&mut rest)
            .unwrap()
            .single_frame()
            .read_to_end(&mut plain)
            .unwrap(),
        Compression::Gzip(_) => GzDecoder::new(&mut rest).read_to_end(&mut plain).unwrap(),
        Compression::Xz(_) => XzDecoder::new(&mut rest).read_to_end(&mut plain).unwrap(),
    };
    assert!(rest.is_empty(), "{} bytes follow the end", rest.len());
    plain
}

/// Decodes with the codec's own program.
fn decode_by_program(compression: Compression, packed: &[u8]) -> Option<Vec<u8>> {
    let program = tool(match compression {
        Compression::Zstd(_) => "zstd",
        Compression::Gzip(_) => "gzip",
        Compression::Xz(_) => "xz",
    })?;
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, packed) = (child.stdin.take().unwrap(), packed.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&packed));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

/// Bytes like those of archives: headers with zeros, text with near and far repetitions, and
/// incompressible bytes.
fn archive_like() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (1_usize..3000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        (1_usize..400, 1_usize..12)
            .prop_map(|(length, period)| (0..length).map(|i| (i % period) as u8).collect()),
        proptest::collection::vec(
            prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), any::<u8>()],
            1..400
        ),
    ];
    (
        0_usize..200,
        proptest::collection::vec((part, 0_usize..4), 1..20),
    )
        .prop_map(|(name, parts)| {
            let mut bytes = vec![b'x'; name];
            bytes.resize(512, 0);
            for (part, times) in parts {
                for _ in 0..=times {
                    bytes.extend_from_slice(&part);
                }
                // A match across the bytes in between.
                let from = bytes.len() / 3;
                bytes.extend_from_within(from..from + (bytes.len() - from).min(50));
            }
            bytes
        })
}

/// The middle of a large file: without long runs of zeros, and with the matches for the reset in
/// any place.
fn middle_of_a_file() -> impl Strategy<Value = Vec<u8>> {
    (any::<u32>(), 0_usize..90_000, 0_usize..90_000).prop_map(|(seed, noise, length)| {
        let mut bytes = incompressible(seed, noise);
        bytes.extend(numbers(seed).take(length));
        bytes
    })
}

fn numbers(seed: u32) -> impl Iterator<Item = u8> {
    (0..=u32::MAX)
        .flat_map(move |i| format!("{}\n", i.wrapping_mul(seed | 1) % 10_007).into_bytes())
}

fn incompressible(seed: u32, length: usize) -> Vec<u8> {
    let blocks =
        (0_u32..).flat_map(|i| Sha256::digest([seed.to_le_bytes(), i.to_le_bytes()].concat()));
    blocks.take(length).collect()
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => archive_like(), 3 => middle_of_a_file(), 1 => proptest::collection::vec(any::<u8>(), 0..70), 1 => Just(Vec::new())]
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop_oneof![
        6 => (1..=19_i32).prop_map(Compression::Zstd),
        2 => (0..=9_u32).prop_map(Compression::Gzip),
        1 => (0..=3_u32).prop_map(Compression::Xz),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Joins random pieces in random order, some of them twice.
    #[test]
    fn pieces_join_in_any_order(
        plain in proptest::collection::vec(any_bytes(), 1..7),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 1..12),
        compression in any_compression(),
    ) {
        let pieces: Vec<_> = plain.iter().map(|plain| piece(plain, compression)).collect();
        let chosen: Vec<usize> = order.iter().map(|index| index.index(pieces.len())).collect();
        let stream = join(compression, &chosen.iter().map(|&index| &pieces[index]).collect::<Vec<_>>());
        let wanted: Vec<u8> = chosen.iter().flat_map(|&index| plain[index].clone()).collect();
        prop_assert!(decode(compression, &stream) == wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn the_codecs_own_programs_read_joined_pieces(
        plain in proptest::collection::vec(any_bytes(), 1..7),
        compression in any_compression(),
    ) {
        let pieces: Vec<_> = plain.iter().map(|plain| piece(plain, compression)).collect();
        let stream = join(compression, &pieces.iter().rev().collect::<Vec<_>>());
        let wanted: Vec<u8> = plain.iter().rev().flatten().copied().collect();
        if let Some(said) = decode_by_program(compression, &stream) {
            prop_assert!(said == wanted);
        }
    }
}

/// Pieces larger than windows and buffers, at every level of the configuration.
#[test]
fn large_pieces_join_at_every_level() {
    let text = |seed: u32, length: u32| -> Vec<u8> {
        let words = (0..length).map(|i| i.wrapping_mul(seed).rotate_left(i % 7) % 5000);
        let mut bytes = vec![0; 512];
        bytes.extend(words.flat_map(|word| format!("w{word} ").into_bytes()));
        bytes
    };
    let levels = (1..=22).map(Compression::Zstd);
    let levels = levels
        .chain((0..=9).map(Compression::Gzip))
        .chain((0..=9).map(Compression::Xz));
    for compression in levels {
        let slow = matches!(compression, Compression::Zstd(16..) | Compression::Xz(4..));
        let plain = [
            text(2_654_435_761, if slow { 60_000 } else { 400_000 }),
            text(40_503, 50_000),
            text(7, 3),
        ];
        let pieces: Vec<_> = plain
            .iter()
            .map(|plain| piece(plain, compression))
            .collect();
        let order = [2, 1, 0, 1];
        let stream = join(compression, &order.map(|index| &pieces[index]));
        let wanted: Vec<u8> = order
            .iter()
            .flat_map(|&index| plain[index].clone())
            .collect();
        assert!(decode(compression, &stream) == wanted, "{compression:?}");
        assert!(
            stream.len() < wanted.len() || compression == Compression::Gzip(0),
            "{compression:?}"
        );
    }
}

/// Pieces of every length at which something changes: blocks, parts of the reset, an empty rest,
/// and the largest piece.
#[test]
fn pieces_of_any_length_join() {
    let text: Vec<u8> = numbers(2_654_435_761).take((8 << 20) + 1024).collect();
    let noise = incompressible(5, 3 << 20);
    // The matches for the reset with nothing after them: 8, then 4, then 1 byte back.
    let reset_only = [&b"abcdefghabc"[..], b"qrstqrs", b"zzzz"].concat();
    for level in 1..=9 {
        let compression = Compression::Zstd(level);
        let largest = if level % 4 == 1 {
            vec![8 << 20, (8 << 20) + 1024]
        } else {
            vec![]
        };
        let lengths = [
            0,
            1,
            2,
            3,
            4,
            11,
            100,
            (1 << 16) - 1,
            1 << 16,
            (1 << 16) + 1,
            (1 << 17) - 1,
            1 << 17,
            (1 << 17) + 1,
        ];
        let lengths = lengths
            .into_iter()
            .chain([2 << 20, (2 << 20) + 300])
            .chain(largest);
        let mut plain: Vec<Vec<u8>> = lengths.map(|length| text[..length].to_vec()).collect();
        plain.extend(
            [0, 1, 1 << 16, 1 << 17, (1 << 17) + 1, 3 << 20].map(|length| noise[..length].to_vec()),
        );
        // Compressible bytes after incompressible ones, the reverse, and one repeated byte.
        plain.push([&noise[..200_000], &text[..400_000]].concat());
        plain.push([&text[..300_000], &noise[..300_000]].concat());
        plain.push(vec![7; 1 << 20]);
        plain.extend(
            [
                &reset_only[..],
                &reset_only[..reset_only.len() - 1],
                b"abcdefghabcqrstqrszzzz!",
            ]
            .map(<[u8]>::to_vec),
        );
        let pieces: Vec<_> = plain
            .iter()
            .map(|plain| piece(plain, compression))
            .collect();
        let order = (0..plain.len()).rev().chain((0..plain.len()).step_by(3));
        let order: Vec<usize> = order.collect();
        let stream = join(
            compression,
            &order
                .iter()
                .map(|&index| &pieces[index])
                .collect::<Vec<_>>(),
        );
        let wanted: Vec<u8> = order
            .iter()
            .flat_map(|&index| plain[index].clone())
            .collect();
        assert!(decode(compression, &stream) == wanted, "{level}");
        assert!(
            decode_by_program(compression, &stream).is_none_or(|said| said == wanted),
            "{level}"
        );
        for (plain, (packed, _)) in plain.iter().zip(&pieces) {
            // Three bytes for each stored block, and for the matches of the reset.
            assert!(
                packed.len() <= plain.len() + 3 * (plain.len() / ZSTD_BLOCK + 10) + 30,
                "{level} {}",
                plain.len()
            );
        }
    }
}

/// A reused encoder has the same output as a new one, whatever it has compressed before.
#[test]
fn a_piece_does_not_depend_on_the_ones_before() {
    let noise = incompressible(9, 400_000);
    let text: Vec<u8> = numbers(40_503).take(2_500_000).collect();
    let plain = [
        &text[..],
        &noise,
        &text[..70_000],
        &vec![0; 300_000],
        &text[1..],
        &noise[..9],
        &text[..2_000_000],
    ];
    for level in 1..=9 {
        let compression = Compression::Zstd(level);
        for (number, bytes) in plain.iter().enumerate() {
            // Also after other levels.
            piece(
                plain[(number + 3) % plain.len()],
                Compression::Zstd(level % 9 + 1),
            );
            let fresh = std::thread::scope(|scope| {
                scope.spawn(|| piece(bytes, compression)).join().unwrap()
            });
            assert!(piece(bytes, compression) == fresh, "{level} {number}");
        }
    }
}

/// A piece that begins inside a file has no header with zeros for the reset, but is compressed
/// nevertheless.
#[test]
fn a_piece_without_runs_is_compressed() {
    let compression = Compression::Zstd(6);
    let (text, noise) = (
        numbers(2_654_435_761).take(3_000_000).collect::<Vec<_>>(),
        incompressible(3, 300_000),
    );
    let pieces = [
        piece(&noise, compression),
        piece(&text, compression),
        piece(&[&noise[..], &text].concat(), compression),
    ];
    let [alone, compressed, late] = [0, 1, 2].map(|number| pieces[number].0.len());
    assert!((300_000..300_100).contains(&alone), "{alone}");
    assert!(compressed < 1_500_000, "{compressed}");
    assert!(late < 1_900_000, "{late}");
    let stream = join(
        compression,
        &[&pieces[1], &pieces[2], &pieces[0], &pieces[1]],
    );
    let wanted = [&text[..], &noise, &text, &noise, &text].concat();
    assert!(decode(compression, &stream) == wanted);
    assert!(decode_by_program(compression, &stream).is_none_or(|said| said == wanted));
}

/// The highest levels use a window for the whole piece, and hosts can still decompress it: dpkg,
/// rpm, and zstd allow 2^27 (zstd(1), `-M`).
#[test]
fn windows_hold_a_piece_and_are_what_hosts_allow() {
    for (level, size, window) in [
        (19, 40 << 20, 25),
        (19, 9 << 20, 24),
        (19, 8 << 20, 23),
        (19, 1 << 20, 20),
        (22, 40 << 20, 26),
    ] {
        let mut encoder = PieceEncoder::new(Vec::new(), Compression::Zstd(level), size).unwrap();
        encoder.write_all(&[0; 2000]).unwrap();
        assert_eq!(
            encoder.finish().unwrap().1.window,
            (window - 10) << 3,
            "{level} {size}"
        );
    }
}

#[test]
fn nothing_is_an_empty_stream() {
    for compression in [
        Compression::Zstd(3),
        Compression::Gzip(6),
        Compression::Xz(1),
    ] {
        let nothing = piece(b"", compression);
        assert!(decode(compression, &join(compression, &[])).is_empty());
        assert!(decode(compression, &join(compression, &[&nothing, &nothing])).is_empty());
        assert_eq!(
            decode_by_program(compression, &join(compression, &[])).unwrap_or_default(),
            b""
        );
    }
}

/// The blocks of an ordinary frame are not a valid piece: they decode to other bytes, which only
/// [`check`] notices.
#[test]
fn blocks_that_rely_on_a_frame_s_first_offsets_are_noticed() {
    let plain: Vec<u8> = [
        vec![b'-'; 4000],
        b"abcdefgh".repeat(500),
        b"wxyz".repeat(900),
    ]
    .concat();
    let mut context = CCtx::try_create().unwrap();
    for parameter in [
        CParameter::CompressionLevel(3),
        CParameter::ContentSizeFlag(false),
    ] {
        context.set_parameter(parameter).unwrap();
    }
    let mut packed = Vec::with_capacity(BUFFER);
    let mut input = InBuffer::around(&plain);
    context
        .compress_stream(&mut OutBuffer::around(&mut packed), &mut input)
        .unwrap();
    let written = packed.len();
    let left = context
        .flush_stream(&mut OutBuffer::around_pos(&mut packed, written))
        .unwrap();
    assert_eq!((left, input.pos), (0, plain.len()));
    let (window, blocks) = (
        packed[ZSTD_HEADER_SIZE - 1],
        packed.split_off(ZSTD_HEADER_SIZE),
    );
    let shape = PieceShape {
        plain: plain.len() as u64,
        packed: blocks.len() as u64,
        crc32: crc32fast::hash(&plain),
        window: window.max(ZSTD_LEAST_WINDOW),
        unpadded: 0,
    };
    let alone = (blocks.clone(), shape);
    assert!(decode(Compression::Zstd(3), &join(Compression::Zstd(3), &[&alone])) == plain);
    check(Compression::Zstd(3), shape, &blocks[..]).unwrap_err();
}

#[test]
fn a_damaged_piece_is_noticed() {
    let plain: Vec<u8> = (0..100_000_u32)
        .flat_map(|i| (i % 1000).to_le_bytes())
        .collect();
    for compression in [
        Compression::Zstd(3),
        Compression::Gzip(6),
        Compression::Xz(1),
    ] {
        let (packed, shape) = piece(&plain, compression);
        let mut flipped = packed.clone();
        flipped[packed.len() / 2] ^= 0x10;
        check(compression, shape, &flipped[..]).unwrap_err();
        check(compression, shape, &packed[..packed.len() - 1]).unwrap_err();
        check(
            compression,
            PieceShape {
                crc32: !shape.crc32,
                ..shape
            },
            &packed[..],
        )
        .unwrap_err();
    }
}

#[test]
fn a_piece_is_known_by_its_codec_s_library() {
    assert_eq!(identity(Compression::Zstd(19)), "zstd 19 libzstd 10507");
    for (compression, package) in [
        (Compression::Gzip(6), "zlib-rs"),
        (Compression::Xz(6), "liblzma-sys"),
    ] {
        let lock: toml::Table = toml::from_str(include_str!("../../../../Cargo.lock")).unwrap();
        let packages = lock["package"].as_array().unwrap();
        let found = packages
            .iter()
            .find(|known| known["name"].as_str() == Some(package))
            .unwrap();
        let version = found["version"].as_str().unwrap();
        assert!(
            identity(compression).ends_with(&format!(" {package} {version}")),
            "{}",
            identity(compression)
        );
    }
}
