//! The SHA-256 of a payload whose beginning was summed before: an rpm's header has it, so that it
//! is known before the first byte of the payload is written. What an edit leaves as it was is not
//! summed again.
//!
//! The state of the hash is kept after every piece, under the sums of all pieces up to there
//! ([`SumChain`]).

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;

use data_encoding::BASE64_NOPAD;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use pkgapp_core::cache::{self, Cache};
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::Result;

/// A beginning of a payload: what stands before the pieces, and the sums of so many pieces.
pub(super) struct SumChain(Sha256);

impl SumChain {
    pub(super) fn new(head: &[u8]) -> Self {
        // Part of it, so that another way to write a state down is not mistaken for this one.
        Self(Sha256::new_with_prefix(b"pkgapp payload sums 1\n").chain_update(head))
    }

    pub(super) fn add(&mut self, piece: &Sha256Sum) -> Sha256Sum {
        self.0.update(piece.0);
        Sha256Sum(self.0.clone().finalize().into())
    }
}

/// The states that an earlier payload of the same kind has left, in base64, by their chains.
#[derive(Default)]
pub(super) struct SumStates {
    file: PathBuf,
    states: BTreeMap<String, String>,
}

impl SumStates {
    /// Reads those that are kept for a kind of payload; what of a file is not what it was is none.
    pub(super) fn read(cache: &Cache, kind: &str) -> Self {
        let file = cache
            .proofs()
            .join(format!("{}.json", cache::key(["payload sums", kind])));
        Self {
            states: cache::read_sealed(&file).unwrap_or_default(),
            file,
        }
    }

    /// Returns the hash as it was after a beginning.
    pub(super) fn hasher(&self, chain: &Sha256Sum) -> Option<Sha256> {
        let bytes = BASE64_NOPAD
            .decode(self.states.get(&chain.to_string())?.as_bytes())
            .ok()?;
        let state: SerializedState<Sha256> =
            SerializedState::<Sha256>::try_from(&bytes[..]).ok()?;
        Sha256::deserialize(&state).ok()
    }

    /// Keeps the states of one payload, in place of those of the last one.
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

/// Sums what is written, and notes the state at the end of each piece.
pub(super) struct SummingWriter {
    hasher: Sha256,
    /// The pieces to come: their number, and what is left of them.
    pieces: VecDeque<(usize, u64)>,
    made: Vec<(usize, String)>,
}

impl SummingWriter {
    /// `hasher` has seen everything before the first of `pieces`, which are numbers and lengths; or
    /// `before` bytes come first.
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
        // Of a piece without bytes nothing is taken, which is no end.
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
