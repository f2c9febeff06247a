//! Pieces: a package cut where its content says, so that two versions of it have most pieces in
//! common.
//!
//! A release's layers are compressed once and spliced into every package that has them, so what did
//! not change is the same bytes, somewhere else. A host keeps the list of the pieces of each
//! package; the next push sends what none of them has. That two pieces are the same is only
//! assumed, from a part of their SHA-256: of the whole file all of it is compared.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use fastcdc::v2020::StreamCDC;

use crate::hosts::RangeCopy;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::fs;

/// Smallest, usual and largest piece, bytes. Smaller ones would find more, and make the list longer
/// that goes to the host and back: 17 bytes each.
const SIZES: (usize, usize, usize) = (8 << 10, 32 << 10, 128 << 10);

/// How many hexadecimal digits of a piece's SHA-256 are kept.
const DIGITS: usize = 12;

/// The most copies of a plan: each costs the host a process.
const MOST_COPIES: usize = 400;

/// What a file is made of, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePieces(Vec<FilePiece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FilePiece {
    /// The first digits of its SHA-256.
    sum: u64,
    length: u64,
}

impl FilePieces {
    /// Cuts a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(path: &Path) -> Result<Self> {
        let (smallest, usual, largest) = SIZES;
        let mut pieces = Vec::new();
        for piece in StreamCDC::new(fs::open(path)?, smallest, usual, largest) {
            let piece = piece.context(|| format!("cannot read `{}`", shown(path)))?;
            pieces.push(FilePiece {
                sum: first_digits(Sha256Sum::of(&piece.data)),
                length: piece.length as u64,
            });
        }
        Ok(Self(pieces))
    }

    /// Reads what `to_string` gives; any white space stands between the pieces.
    pub fn parse(text: &str) -> Option<Self> {
        let piece = |word: &str| {
            let (sum, length) = (word.get(..DIGITS)?, word.get(DIGITS..)?);
            // A list that is damaged may hold any number, and offsets are sums of them.
            let length = u32::from_str_radix(length, 16).ok()?;
            Some(FilePiece {
                sum: u64::from_str_radix(sum, 16).ok()?,
                length: length.into(),
            })
        };
        text.split_whitespace()
            .map(piece)
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Returns what of this file can be copied from `other`, which lies at `path` on the host, in
    /// the order of this file.
    pub fn copies_from(&self, other: &Self, path: &str) -> Vec<RangeCopy> {
        let mut places: HashMap<(u64, u64), Vec<u64>> = HashMap::new();
        let mut offset = 0;
        for piece in &other.0 {
            places
                .entry((piece.sum, piece.length))
                .or_default()
                .push(offset);
            offset += piece.length;
        }
        let mut copies: Vec<RangeCopy> = Vec::new();
        let mut at = 0;
        for piece in &self.0 {
            if let Some(places) = places.get(&(piece.sum, piece.length)) {
                let follows = copies
                    .last()
                    .filter(|last| last.at + last.length == at)
                    .map(|last| last.offset + last.length);
                match copies
                    .last_mut()
                    .filter(|_| follows.is_some_and(|next| places.contains(&next)))
                {
                    Some(last) => last.length += piece.length,
                    None => copies.push(RangeCopy {
                        from: path.to_owned(),
                        offset: places[0],
                        length: piece.length,
                        at,
                    }),
                }
            }
            at += piece.length;
        }
        if copies.len() > MOST_COPIES {
            let mut lengths: Vec<(u64, u64)> =
                copies.iter().map(|copy| (copy.length, copy.at)).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            let longest: BTreeSet<u64> = lengths[..MOST_COPIES].iter().map(|(_, at)| *at).collect();
            copies.retain(|copy| longest.contains(&copy.at));
        }
        copies
    }
}

fn first_digits(sum: Sha256Sum) -> u64 {
    sum.0[..DIGITS / 2]
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

impl fmt::Display for FilePieces {
    /// A line a piece: the digits of its sum, and its length, all hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{:0DIGITS$x}{:x}", piece.sum, piece.length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no pattern is in, always the same.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            // xorshift64*, Marsaglia and Vigna
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn pieces(bytes: &[u8]) -> FilePieces {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        FilePieces::of(file.path()).unwrap()
    }

    /// Does what a host does: copies, and takes the rest from `new`. Returns that and how much the
    /// rest was.
    fn built(old: &[u8], new: &[u8]) -> (Vec<u8>, usize) {
        let (mut whole, mut sent) = (Vec::new(), 0);
        let take = |whole: &mut Vec<u8>, until: usize| {
            let from = whole.len();
            whole.extend(&new[from..until]);
            until - from
        };
        for copy in pieces(new).copies_from(&pieces(old), "/old") {
            sent += take(&mut whole, copy.at as usize);
            whole.extend(&old[copy.offset as usize..(copy.offset + copy.length) as usize]);
        }
        sent += take(&mut whole, new.len());
        (whole, sent)
    }

    #[test]
    fn what_moved_is_copied_and_what_is_new_is_sent() {
        let (a, b, c) = (noise(1, 900_000), noise(2, 900_000), noise(3, 900_000));
        let old = [&a[..], &b, &c].concat();
        // Something new before, in the middle of and behind what moved to other places.
        let new = [
            &noise(4, 500)[..],
            &b,
            &a[..400_000],
            &noise(5, 3),
            &a[400_000..],
            &c,
            &noise(6, 70_000),
        ]
        .concat();
        let (whole, sent) = built(&old, &new);
        assert!(whole == new);
        // At each of the six seams at most two pieces are cut.
        assert!((70_503..70_503 + 6 * 2 * SIZES.2).contains(&sent), "{sent}");
        assert_eq!(built(&old, &old).1, 0);
        assert_eq!(
            pieces(&old).copies_from(&pieces(&old), "/old").len(),
            1,
            "neighbors are one copy"
        );
        assert_eq!(built(&noise(7, 900_000), &new).1, new.len());
        assert_eq!(built(b"", b""), (Vec::new(), 0));
    }

    #[test]
    fn the_list_is_read_as_it_was_written() {
        let all = pieces(&noise(8, 600_000));
        let text = all.to_string();
        assert_eq!(
            FilePieces::parse(&text.replace('\n', " ")),
            Some(all.clone())
        );
        let mut lengths = 0;
        for line in text.lines() {
            lengths += u64::from_str_radix(&line[DIGITS..], 16).unwrap();
        }
        assert_eq!((lengths, text.lines().count()), (600_000, all.0.len()));
        assert_eq!(FilePieces::parse("0123456789abxyz"), None);
    }

    #[test]
    fn a_host_is_not_given_thousands_of_copies() {
        let old = noise(9, 30_000_000);
        // Every other half of 16 kB is new.
        let new: Vec<u8> = old
            .chunks(160_000)
            .flat_map(|part| [part, b"new"].concat())
            .collect();
        let many = noise(10, 0).len() + pieces(&new).copies_from(&pieces(&old), "/old").len();
        assert!(many <= MOST_COPIES && many > 100, "{many}");
        let (whole, sent) = built(&old, &new);
        assert!(whole == new && sent < new.len(), "{sent}");
    }
}
