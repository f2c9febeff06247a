//! Changes to valid files: bytes flipped, cut, repeated, spliced from one file into another, and
//! words that readers trip over.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::Index;

/// Words and bytes that mean something to one of the formats, or that are too large, too long or
/// too deep.
const WORDS: &[&[u8]] = &[
    b"",
    b"\0",
    b"\"",
    b"'",
    b"\n",
    b"\r\n",
    b"\\",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[[",
    b"=",
    b"==",
    b",",
    b";",
    b":",
    b"/",
    b"../",
    b"%2e%2e%2f",
    b"%",
    b"@",
    b"#",
    b"<",
    b">",
    b"&",
    b"&#x10ffff;",
    b"${",
    b"${X}",
    b"~",
    b"*",
    b"-",
    b"--hash=sha256:",
    b" and ",
    b" or (",
    b"extra == 'x'",
    b"python_full_version < '3.11.4'",
    b"1!2.0.post3.dev4+local.5",
    b"99999999999999999999999999999999999999",
    b"-1",
    b"1e999",
    b"null",
    b"true",
    b"\xff",
    b"\xc3\x28",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\n[[package]]\n",
    b"\n[packages.wheels]\n",
    b"groups = [\"main\"]\n",
    b"Name: ",
    b"Requires-Dist: x[",
];

/// Words that are repeated until they are deep or long.
const REPEATED: &[&[u8]] = &[
    b"[", b"{\"a\":", b"(", b"((", b"a", b"0", b"${", b"\\", b"a.", b"x=[", b"<a ", b"a ;", b"not ",
];

/// One change.
#[derive(Clone)]
pub(crate) enum Change {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Insert(Index, usize),
    Replace(Index, usize, usize),
    Deep(Index, usize, usize),
    Splice(Index, Index, Index, usize),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flip(..) => "flip",
            Self::Cut(..) => "cut",
            Self::Remove(..) => "remove",
            Self::Repeat(..) => "repeat",
            Self::Insert(..) => "insert",
            Self::Replace(..) => "replace",
            Self::Deep(..) => "deep",
            Self::Splice(..) => "splice",
        })
    }
}

/// One change of any kind.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), 1u8..).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => at().prop_map(Change::Cut),
        3 => (at(), 1..40usize).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (at(), 1..200usize, 1..5usize).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        5 => (at(), 0..WORDS.len()).prop_map(|(at, word)| Change::Insert(at, word)),
        4 => (at(), 0..12usize, 0..WORDS.len()).prop_map(|(at, length, word)| Change::Replace(at, length, word)),
        1 => (at(), 0..REPEATED.len(), 1..40_000usize).prop_map(|(at, word, times)| Change::Deep(at, word, times)),
        3 => (at(), at(), at(), 1..400usize).prop_map(|(at, file, from, length)| Change::Splice(at, file, from, length)),
    ]
}

/// Carries changes out, one after the other. `corpus` is what is spliced from.
pub(crate) fn changed(bytes: &[u8], changes: &[Change], corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let length = bytes.len();
        // An index of a length that is never 0.
        let place = |at: &Index| at.index(length + 1);
        match change {
            Change::Flip(at, bits) if length > 0 => bytes[at.index(length)] ^= bits,
            Change::Flip(..) => {}
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Remove(at, count) => {
                let start = place(at);
                bytes.drain(start..(start + count).min(length));
            }
            Change::Repeat(at, count, times) => {
                let start = place(at);
                let part = bytes[start..(start + count).min(length)].repeat(*times);
                bytes.splice(start..start, part);
            }
            Change::Insert(at, word) => {
                let start = place(at);
                bytes.splice(start..start, WORDS[*word].iter().copied());
            }
            Change::Replace(at, count, word) => {
                let start = place(at);
                bytes.splice(
                    start..(start + count).min(length),
                    WORDS[*word].iter().copied(),
                );
            }
            Change::Deep(at, word, times) => {
                let start = place(at);
                bytes.splice(start..start, REPEATED[*word].repeat(*times));
            }
            Change::Splice(at, file, from, count) => {
                let other = &corpus[file.index(corpus.len())];
                let (start, from) = (place(at), from.index(other.len() + 1));
                bytes.splice(
                    start..start,
                    other[from..(from + count).min(other.len())].iter().copied(),
                );
            }
        }
    }
    bytes
}
