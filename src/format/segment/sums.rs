//! The SHA-256 of a payload, computed from the state after an unchanged beginning: an rpm's header
//! contains the checksum, so it must be known before the first byte of the payload is written. The
//! part before an edit is not hashed again.
//!
//! The cache keeps the state of the hash after every piece, by the checksums of all pieces up to
//! there ([`SumChain`]).

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;

use data_encoding::BASE64_NOPAD;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use pkgapp_core::cache::{self, Cache};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::Result;

/// Identifies the beginning of a payload: the bytes before the pieces, and the checksums of some
/// pieces.
pub(super) struct SumChain(Sha256);

impl SumChain {
    pub(super) fn new(head: &[u8]) -> Self {
        // A part of the chain, so that states in another format have other names.
        Self(Sha256::new_with_prefix(b"pkgapp payload sums 1\n").chain_update(head))
    }

    pub(super) fn add(&mut self, piece: &Sha256Sum) -> Sha256Sum {
        self.0.update(piece.0);
        Sha256Sum(self.0.clone().finalize().into())
    }
}

/// The states that the previous payload of the same kind has left, in base64, by their chains.
#[derive(Default)]
pub(super) struct SumStates {
    file: PathBuf,
    states: BTreeMap<String, String>,
}

impl SumStates {
    /// Reads the states for a kind of payload; none if the file is damaged.
    pub(super) fn read(cache: &Cache, kind: &str) -> Self {
        let file = cache
            .proofs()
            .join(format!("{}.json", cache::key(["payload sums", kind])));
        Self {
            states: cache::read_sealed(&file).unwrap_or_default(),
            file,
        }
    }

    /// Returns the state of the hash after a beginning.
    pub(super) fn hasher(&self, chain: &Sha256Sum) -> Option<Sha256> {
        let bytes = BASE64_NOPAD
            .decode(self.states.get(&chain.to_string())?.as_bytes())
            .ok()?;
        let state: SerializedState<Sha256> =
            SerializedState::<Sha256>::try_from(&bytes[..]).ok()?;
        Sha256::deserialize(&state).ok()
    }

    /// Stores the states of a payload in place of the previous ones.
    pub(super) fn keep(
        self,
        cache: &Cache,
        chains: &[Sha256Sum],
        made: Vec<(usize, String)>,
    ) -> Result<()> {
        let Self { file, states: old } = self;
        let mut states: BTreeMap<String, String> = BTreeMap::new();
        for chain in chains {
            states.extend(
                old.get_key_value(&chain.to_string())
                    .map(|(chain, state)| (chain.clone(), state.clone())),
            );
        }
        states.extend(
            made.into_iter()
                .filter_map(|(piece, state)| Some((chains.get(piece)?.to_string(), state))),
        );
        if states == old {
            Ok(())
        } else {
            cache.write(&file, &states)
        }
    }
}

/// Hashes the bytes that are written, and records the state after each piece.
pub(super) struct SummingWriter {
    hasher: Sha256,
    /// The remaining pieces: their number, and the rest of their lengths.
    pieces: VecDeque<(usize, u64)>,
    made: Vec<(usize, String)>,
}

impl SummingWriter {
    /// Creates a writer. Either `hasher` has seen all bytes before the first of `pieces` (number
    /// and length), or `before` bytes come first.
    pub(super) fn new(
        hasher: Sha256,
        before: u64,
        pieces: impl Iterator<Item = (usize, u64)>,
    ) -> Self {
        let mut pieces: VecDeque<(usize, u64)> = pieces.collect();
        if let Some((_, length)) = pieces.front_mut() {
            *length += before;
        }
        Self {
            hasher,
            pieces,
            made: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> ([u8; 32], Vec<(usize, String)>) {
        (self.hasher.finalize().into(), self.made)
    }
}

impl Write for SummingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((number, left)) = self.pieces.front_mut() else {
            self.hasher.update(bytes);
            return Ok(bytes.len());
        };
        let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.hasher.update(&bytes[..taken]);
        *left -= taken as u64;
        if *left == 0 {
            self.made
                .push((*number, BASE64_NOPAD.encode(&self.hasher.serialize())));
            self.pieces.pop_front();
        }
        // Zero bytes for an empty piece do not mean the end.
        if taken == 0 && !bytes.is_empty() {
            self.write(bytes)
        } else {
            Ok(taken)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
