//! Text files with pins, and the logical lines of requirements files, which map every character to
//! its place in the file.

use std::iter::{self, Peekable};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::Url;
use pkgapp_core::error::{Error, Location, Result, shown};
use pkgapp_core::fs;

/// The text and origin of a file.
pub(super) struct TextFile {
    /// The name in messages: a path, or a URL without secrets.
    pub(super) file: PathBuf,
    /// The base of relative names in the file.
    pub(super) place: TextOrigin,
    /// The content without its byte-order mark.
    pub(super) text: String,
    /// The starts of its lines, computed on first use: every pin has a place.
    lines: OnceLock<Vec<usize>>,
}

/// The origin of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextOrigin {
    Disk(PathBuf),
    Web(Url),
}

impl TextFile {
    pub(super) fn new(file: PathBuf, place: TextOrigin, text: String) -> Self {
        Self {
            file,
            place,
            text,
            lines: OnceLock::new(),
        }
    }

    /// Reads a local file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        Self::decode(path.to_owned(), TextOrigin::Disk(path.to_owned()), &bytes)
    }

    /// Decodes the response of a server; `shown` is the URL without secrets.
    pub(super) fn fetched(url: Url, shown: &str, bytes: &[u8]) -> Result<Self> {
        Self::decode(PathBuf::from(shown), TextOrigin::Web(url), bytes)
    }

    /// Decodes UTF-8, or UTF-16 with a byte-order mark, which `pip freeze > requirements.txt`
    /// writes in PowerShell.
    fn decode(file: PathBuf, place: TextOrigin, bytes: &[u8]) -> Result<Self> {
        let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let text = match bytes {
            [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
            [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
            _ => utf8(bytes),
        };
        if let Some(text) = text {
            return Ok(Self::new(file, place, text));
        }

        let valid = std::str::from_utf8(bytes)
            .err()
            .map_or(0, |error| error.valid_up_to());
        let before = String::from_utf8_lossy(&bytes[..valid]);
        Err(Error::new(format!("`{}` is not UTF-8 text", shown(&file)))
            .at(Location::at_offset(&file, &before, before.len()))
            .hint("save the file as UTF-8"))
    }

    /// Returns the place of a byte of the text.
    pub(super) fn at(&self, offset: usize) -> Location {
        let begin = |(end, _): (usize, &str)| end + 1;
        let lines = self.lines.get_or_init(|| {
            iter::once(0)
                .chain(self.text.match_indices('\n').map(begin))
                .collect()
        });
        let line = lines.partition_point(|begin| *begin <= offset).max(1);
        let begin = lines[line - 1];
        let mut at = Location::at_offset(&self.file, &self.text[begin..], offset - begin);
        at.position = at.position.map(|(_, column)| (line, column));
        at
    }

    /// Returns the last component of the file's path or URL.
    pub(super) fn name(&self) -> &str {
        match &self.place {
            TextOrigin::Disk(path) => path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default(),
            TextOrigin::Web(url) => url.path().rsplit('/').next().unwrap_or_default(),
        }
    }

    /// Returns the directory of the file; `None` on the web.
    pub(super) fn directory(&self) -> Option<&Path> {
        match &self.place {
            TextOrigin::Disk(path) => path.parent(),
            TextOrigin::Web(_) => None,
        }
    }
}

/// A line of a requirements file as pip reads it: continued lines joined, the comment removed,
/// `${VAR}` replaced.
///
/// The replacement may be a secret; messages therefore quote the file ([`LogicalLine::written`]),
/// never this text.
pub(super) struct LogicalLine<'file> {
    pub(super) text: String,
    /// Variables that are used but not set, with the place of each in `text`.
    pub(super) unset: Vec<(usize, String)>,
    /// Variables that were replaced, and their values.
    pub(super) set: Vec<(String, String)>,
    file: &'file TextFile,
    pieces: Vec<LinePiece>,
}

/// A run of a line's text that begins at `start` and was written at `raw`.
#[derive(Debug, Clone)]
struct LinePiece {
    start: usize,
    raw: Range<usize>,
    /// Whether the text is that of the file; otherwise, it replaces the file's text.
    verbatim: bool,
}

impl LogicalLine<'_> {
    /// Returns the place of a byte of `text`.
    pub(super) fn at(&self, offset: usize) -> Location {
        self.file.at(self.raw(offset, PieceEdge::Start))
    }

    /// Returns a part of the line as written in the file, without continuations and credentials.
    pub(super) fn written(&self, range: Range<usize>) -> String {
        let raw = self.raw(range.start, PieceEdge::Start)..self.raw(range.end, PieceEdge::End);
        let source = self.file.text.get(raw).unwrap_or_default();
        let mut joined = String::new();
        for line in source.split('\n') {
            joined.push_str(line.trim_end_matches('\r').trim_end_matches('\\'));
        }
        without_credentials(
            joined
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .as_str(),
        )
    }

    fn raw(&self, offset: usize, edge: PieceEdge) -> usize {
        let found = self.pieces.iter().rev().find(|piece| match edge {
            PieceEdge::Start => piece.start <= offset,
            PieceEdge::End => piece.start < offset,
        });
        let Some(piece) = found.or(self.pieces.first()) else {
            return 0;
        };
        if piece.verbatim {
            piece.raw.start + offset.saturating_sub(piece.start)
        } else {
            match edge {
                PieceEdge::Start => piece.raw.start,
                PieceEdge::End => piece.raw.end,
            }
        }
    }
}

#[derive(Clone, Copy)]
enum PieceEdge {
    Start,
    End,
}

/// Returns a text with the user and password of every URL replaced.
pub fn without_credentials(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(found) = rest.find("://") {
        let (before, after) = rest.split_at(found + 3);
        shown.push_str(before);
        // Browsers end the userinfo at the last `@` before the path. A userinfo with a slash is a
        // mistake, but still a secret, so everything up to the last `@` of the word is hidden.
        let word = &after[..after.find(char::is_whitespace).unwrap_or(after.len())];
        let authority = &word[..word.find(['/', '?', '#']).unwrap_or(word.len())];
        let hidden = match (authority.rfind('@'), word.rfind('@')) {
            (Some(at), _) => Some(at),
            (None, Some(at)) if authority.contains(':') && word[..at].contains(':') => Some(at),
            _ => None,
        };
        match hidden {
            Some(at) => {
                shown.push_str("****");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

/// Returns the logical lines that are not empty, in order.
pub(super) fn logical_lines<'file>(
    file: &'file TextFile,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Vec<LogicalLine<'file>> {
    let mut lines = Vec::new();
    let mut open: Option<LogicalLine<'file>> = None;
    for range in physical_lines(&file.text) {
        let text = &file.text[range.clone()];
        let comment = comment_start(text).is_some_and(|at| text[..at].trim().is_empty());
        let mut line = open.take().unwrap_or(LogicalLine {
            text: String::new(),
            unset: Vec::new(),
            set: Vec::new(),
            file,
            pieces: Vec::new(),
        });
        // A comment between continued lines ends them, as in pip.
        if text.ends_with('\\') && !comment {
            line.push(text.trim_end_matches('\\'), range.start);
            open = Some(line);
        } else {
            if comment {
                line.push_other(" ", range.start..range.start);
            }
            line.push(text, range.start);
            lines.extend(line.finished(variable));
        }
    }
    lines.extend(open.and_then(|line| line.finished(variable)));
    lines
}

fn physical_lines(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\n' || byte == b'\r' {
            lines.push(start..at);
            let two = byte == b'\r' && bytes.next_if(|(_, next)| *next == b'\n').is_some();
            start = at + if two { 2 } else { 1 };
        }
    }
    if start < text.len() {
        lines.push(start..text.len());
    }
    lines
}

/// Returns the start of a comment: a `#` at the line's start or after whitespace.
fn comment_start(text: &str) -> Option<usize> {
    let mut marks = text.match_indices('#').map(|(at, _)| at);
    marks.find(|at| {
        text[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    })
}

impl LogicalLine<'_> {
    fn push(&mut self, text: &str, raw: usize) {
        self.pieces.push(LinePiece {
            start: self.text.len(),
            raw: raw..raw + text.len(),
            verbatim: true,
        });
        self.text.push_str(text);
    }

    fn push_other(&mut self, text: &str, raw: Range<usize>) {
        self.pieces.push(LinePiece {
            start: self.text.len(),
            raw,
            verbatim: false,
        });
        self.text.push_str(text);
    }

    fn finished(self, variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let end = comment_start(&self.text).unwrap_or(self.text.len());
        let kept = self.text[..end].trim_end();
        let start = kept.len() - kept.trim_start().len();
        (start < kept.len()).then(|| self.expanded(start..kept.len(), variable))
    }

    /// Returns a part of the line with `${VAR}` replaced; as in pip, names match `[A-Z0-9_]+`.
    fn expanded(&self, part: Range<usize>, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut line = LogicalLine {
            text: String::new(),
            unset: Vec::new(),
            set: Vec::new(),
            file: self.file,
            pieces: Vec::new(),
        };
        let mut at = part.start;
        while at < part.end {
            let rest = &self.text[at..part.end];
            let Some((before, name)) = next_variable(rest) else {
                line.copy(self, at..part.end);
                break;
            };
            let reference = at + before..at + before + name.len() + "${}".len();
            line.copy(self, at..reference.start);
            match variable(name) {
                Some(value) => {
                    let raw = self.raw(reference.start, PieceEdge::Start)
                        ..self.raw(reference.end, PieceEdge::End);
                    line.push_other(&value, raw);
                    line.set.push((name.to_owned(), value));
                }
                None => {
                    line.unset.push((line.text.len(), name.to_owned()));
                    line.copy(self, reference.clone());
                }
            }
            at = reference.end;
        }
        line
    }

    fn copy(&mut self, from: &Self, part: Range<usize>) {
        for (index, piece) in from.pieces.iter().enumerate() {
            let end = from
                .pieces
                .get(index + 1)
                .map_or(from.text.len(), |next| next.start);
            let (start, end) = (piece.start.max(part.start), end.min(part.end));
            if start < end {
                let text = &from.text[start..end];
                if piece.verbatim {
                    self.push(text, piece.raw.start + (start - piece.start));
                } else {
                    self.push_other(text, piece.raw.clone());
                }
            }
        }
    }
}

/// Returns the offset of the next `${NAME}`, and the name.
fn next_variable(text: &str) -> Option<(usize, &str)> {
    text.match_indices("${").find_map(|(at, _)| {
        let name = text[at + 2..].split_once('}')?.0;
        let valid = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        (!name.is_empty() && name.bytes().all(valid)).then_some((at, name))
    })
}

/// A word of an option line, with its quotes removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OptionWord {
    pub(super) text: String,
    /// Its place in the line, quotes included.
    pub(super) range: Range<usize>,
}

/// Decodes UTF-16; an odd last byte is the low half of a unit.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| unit([pair[0], pair.get(1).copied().unwrap_or(0)]))
        .collect();
    String::from_utf16(&units).ok()
}

/// Splits the rest of a line like a POSIX shell (Python's `shlex.split`).
///
/// # Errors
/// Returns the place of an unclosed quote.
pub(super) fn words(text: &str, from: usize) -> Result<Vec<OptionWord>, usize> {
    let mut words = Vec::new();
    let mut chars = text[from..]
        .char_indices()
        .map(|(at, c)| (from + at, c))
        .peekable();
    while let Some(&(start, first)) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
        } else {
            words.push(word(&mut chars, start)?);
        }
    }
    Ok(words)
}

/// Reads the word at `start`, up to the next whitespace.
fn word(
    chars: &mut Peekable<impl Iterator<Item = (usize, char)>>,
    start: usize,
) -> Result<OptionWord, usize> {
    let mut word = OptionWord {
        text: String::new(),
        range: start..start,
    };
    while let Some((at, c)) = chars.next_if(|(_, c)| !c.is_whitespace()) {
        word.range.end = at + c.len_utf8();
        match c {
            '\\' => {
                if let Some((at, escaped)) = chars.next() {
                    word.text.push(escaped);
                    word.range.end = at + escaped.len_utf8();
                }
            }
            '\'' | '"' => quoted(chars, c, &mut word).ok_or(at)?,
            _ => word.text.push(c),
        }
    }
    Ok(word)
}

/// Adds the text up to the closing quote to a word; `None` if there is no closing quote.
fn quoted(
    chars: &mut Peekable<impl Iterator<Item = (usize, char)>>,
    quote: char,
    word: &mut OptionWord,
) -> Option<()> {
    loop {
        let (_, inner) = chars.next()?;
        word.range.end += inner.len_utf8();
        if inner == quote {
            return Some(());
        }
        let escaped = (inner == '\\' && quote == '"')
            .then(|| chars.next_if(|(_, next)| matches!(next, '"' | '\\')))
            .flatten();
        word.range.end += escaped.map_or(0, |_| 1);
        word.text
            .push(escaped.map_or(inner, |(_, escaped)| escaped));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> TextFile {
        TextFile::new(
            PathBuf::from("r.txt"),
            TextOrigin::Disk(PathBuf::from("/r.txt")),
            text.to_owned(),
        )
    }

    fn lines(text: &str) -> Vec<String> {
        let variable = |name: &str| (name == "SET").then(|| "value".to_owned());
        logical_lines(&file(text), &variable)
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    #[test]
    fn lines_are_joined_and_cut_as_pip_does() {
        for (text, expected) in [
            ("a \\\n  b\nc", vec!["a   b", "c"]),
            ("a\\\r\nb\r\n\r\nc\rd", vec!["ab", "c", "d"]),
            ("a # b\n#c\n  # d\ne#f", vec!["a", "e#f"]),
            // A comment ends the continuation, and a backslash at its own end continues nothing.
            ("a \\\n# b \\\nc", vec!["a", "c"]),
            ("a \\", vec!["a"]),
            ("x${SET}y ${UNSET} ${set}", vec!["xvaluey ${UNSET} ${set}"]),
        ] {
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_place_is_the_same_counted_from_the_first_line_or_from_its_own(text in "[aß\n]{0,12}", offset in 0..30_usize) {
            let counted = Location::at_offset("r.txt", &text, offset);
            prop_assert_eq!(file(&text).at(offset).position, counted.position);
        }
    }

    /// The same texts through pip's own code.
    #[test]
    fn pip_sees_the_same_lines() {
        let script = "import sys, json\nfrom pip._internal.req.req_file import preprocess\n\
            print(json.dumps([[l for _, l in preprocess(t)] for t in json.load(sys.stdin)]))";
        let texts = [
            "a \\\n  b\nc",
            "a\\\r\nb\r\n\r\nc\rd",
            "a # b\n#c\n  # d\ne#f",
            "a \\\n# b \\\nc\nd",
            "a \\",
            "a\\\n\\\n b",
            "f==1 \\\n    --hash=sha256:00 \\\n    # via x\ng",
            "\t a\t# x\n\n\n",
            "a\\\\\nb",
            "a \\ \nb",
            "${HOME_}x$ {A}",
        ];
        let input = serde_json::to_vec(&texts).unwrap();
        let Some(output) = crate::tests::python(script, &input) else {
            return;
        };
        let expected: Vec<Vec<String>> = serde_json::from_slice(&output).unwrap();
        for (text, expected) in texts.iter().zip(expected) {
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let file = file("# é\na ${SET}==\\\n  1 --x\n");
        let variable = |_: &str| Some("long value".to_owned());
        let line = &logical_lines(&file, &variable)[0];
        assert_eq!(line.text, "a long value==  1 --x");
        assert_eq!(line.at(0).to_string(), "r.txt:2:1");
        assert_eq!(line.at(2).to_string(), "r.txt:2:3");
        assert_eq!(line.at(5).to_string(), "r.txt:2:3");
        assert_eq!(
            line.at(line.text.find("==").unwrap()).to_string(),
            "r.txt:2:9"
        );
        assert_eq!(
            line.at(line.text.find('1').unwrap()).to_string(),
            "r.txt:3:3"
        );
        assert_eq!(
            line.written(0..line.text.find(" --x").unwrap()),
            "a ${SET}== 1"
        );
        assert_eq!(line.written(0..line.text.len()), "a ${SET}== 1 --x");
    }

    #[test]
    fn credentials_are_not_shown() {
        for (text, shown) in [
            (
                "-i https://me:secret@host/simple",
                "-i https://****@host/simple",
            ),
            (
                "a @ https://token@host/a.whl",
                "a @ https://****@host/a.whl",
            ),
            ("https://host/a@1.whl", "https://host/a@1.whl"),
            ("git+https://host/r.git@main", "git+https://host/r.git@main"),
            // An unescaped slash in a password.
            ("https://me:sec/ret@host/x", "https://****@host/x"),
            (
                "https://a@b/x https://c:d@e",
                "https://****@b/x https://****@e",
            ),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        let split = |text: &str| {
            words(text, 0).map(|words| words.into_iter().map(|word| word.text).collect::<Vec<_>>())
        };
        assert_eq!(
            split(r#"-f "/my dir/x" 'a"b' c\ d "e\"f\g""#).unwrap(),
            ["-f", "/my dir/x", "a\"b", "c d", "e\"f\\g"]
        );
        assert_eq!(split("a 'b"), Err(2));
        assert_eq!(
            words("x  'ab'c", 1).unwrap(),
            [OptionWord {
                text: "abc".to_owned(),
                range: 3..8
            }]
        );
    }

    #[test]
    fn byte_order_marks_are_understood() {
        let decode = |bytes: &[u8]| {
            TextFile::decode("r.txt".into(), TextOrigin::Disk("/r.txt".into()), bytes)
        };
        assert_eq!(decode(b"\xef\xbb\xbfa==1").unwrap().text, "a==1");
        assert_eq!(decode(b"\xff\xfea\0=\0").unwrap().text, "a=");
        assert_eq!(decode(b"\xfe\xff\0a\0=").unwrap().text, "a=");
        let error = decode(b"a\nb\xe9").err().unwrap();
        assert_eq!(
            error.to_string(),
            "error: `r.txt` is not UTF-8 text\n  --> r.txt:2:2\n  hint: save the file as UTF-8"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), value in any::<String>()) {
            let file = file(&text);
            for line in logical_lines(&file, &|_| Some(value.clone())) {
                _ = words(&line.text, 0);
                for (at, _) in line.text.char_indices() {
                    _ = (line.at(at), line.written(at..line.text.len()));
                }
            }
            _ = without_credentials(&text);
        }
    }
}
