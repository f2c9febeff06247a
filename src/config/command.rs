//! Command lines: split into words like a shell does, but run by no shell.

use std::iter::Peekable;
use std::str::CharIndices;

use pkgapp_core::error::{Error, Location};

use super::reader::ValueReader;

/// A program and its arguments.
///
/// Quotes and backslashes mean what they mean in POSIX (Shell Command Language, §2.2 "Quoting");
/// nothing is expanded, and what a shell would act upon (`|`, `&&`, `>`, `$NAME`) is refused rather
/// than passed on as a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// As written.
    pub text: String,
    /// The program and its arguments; never empty.
    pub words: Vec<String>,
    /// Where it is written.
    pub at: Location,
}

impl CommandLine {
    pub(super) fn read(value: &ValueReader<'_>) -> Option<Self> {
        let text = value.text()?;
        match split(text) {
            Ok(words) => Some(Self {
                text: text.to_owned(),
                words,
                at: value.at(),
            }),
            Err((offset, error)) => {
                value.complain_inside(offset, error);
                None
            }
        }
    }

    pub(super) fn read_all(value: &ValueReader<'_>) -> Vec<Self> {
        value.list().iter().filter_map(Self::read).collect()
    }
}

/// A failure and the byte of the text that it is about.
pub(super) type SplitError = (usize, Error);

/// A word that is being read.
#[derive(Debug, Default)]
struct CommandWord {
    text: String,
    start: usize,
    /// Some of it was quoted, so that it is no operator of a shell.
    quoted: bool,
}

/// Splits a command line into words.
pub(super) fn split(text: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<CommandWord> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((offset, c)) = chars.next() {
        if let ' ' | '\t' = c {
            finish(word.take(), &mut words)?;
            continue;
        }
        // A backslash before a line end joins lines; anything else that it stands before is itself.
        if c == '\\' && chars.next_if(|(_, next)| *next == '\n').is_some() {
            continue;
        }
        let word = word.get_or_insert_with(|| CommandWord {
            start: offset,
            ..CommandWord::default()
        });
        match c {
            '\n' => return Err((offset, one_command())),
            '\\' => {
                let (_, escaped) = chars
                    .next()
                    .ok_or_else(|| (offset, Error::new("a backslash ends the command")))?;
                word.text.push(escaped);
                word.quoted = true;
            }
            '\'' => single_quoted(word, &mut chars, offset)?,
            '"' => double_quoted(word, &mut chars, offset)?,
            '\0' => {
                return Err((
                    offset,
                    Error::new("a command line cannot contain a NUL character"),
                ));
            }
            '$' | '`' => {
                refuse_expansion(&text[offset..]).map_err(|error| (offset, error))?;
                word.text.push(c);
            }
            _ => word.text.push(c),
        }
    }
    finish(word, &mut words)?;
    match words.first() {
        None => Err((0, Error::new("the command line is empty"))),
        Some(first) if is_assignment(first) => Err((0, no_assignment(first))),
        Some(_) => Ok(words),
    }
}

type CommandChars<'t> = Peekable<CharIndices<'t>>;

fn single_quoted(
    word: &mut CommandWord,
    chars: &mut CommandChars<'_>,
    opened: usize,
) -> Result<(), SplitError> {
    word.quoted = true;
    for (_, c) in chars.by_ref() {
        if c == '\'' {
            return Ok(());
        }
        word.text.push(c);
    }
    Err((opened, unbalanced('\'')))
}

fn double_quoted(
    word: &mut CommandWord,
    chars: &mut CommandChars<'_>,
    opened: usize,
) -> Result<(), SplitError> {
    word.quoted = true;
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return Ok(()),
            // POSIX §2.2.3: only before these is a backslash special between double quotes.
            '\\' => {
                match chars.next_if(|(_, next)| matches!(next, '$' | '`' | '"' | '\\' | '\n')) {
                    Some((_, '\n')) => {}
                    Some((_, escaped)) => word.text.push(escaped),
                    None => word.text.push('\\'),
                }
            }
            '$' | '`' => {
                let next = chars.peek().map_or(' ', |(_, next)| *next);
                refuse_expansion(&format!("{c}{next}")).map_err(|error| (offset, error))?;
                word.text.push(c);
            }
            _ => word.text.push(c),
        }
    }
    Err((opened, unbalanced('"')))
}

fn finish(word: Option<CommandWord>, words: &mut Vec<String>) -> Result<(), SplitError> {
    let Some(word) = word else { return Ok(()) };
    if let Some(operator) = operator(&word) {
        return Err((
            word.start,
            Error::new(format!("`{operator}` has no meaning here: no shell runs the command line"))
                .hint("write a script and run it, or use `sh -c '…'`; quote the word if it is an argument"),
        ));
    }
    words.push(word.text);
    Ok(())
}

/// Returns the operator of a shell (POSIX §2.10.2) that an unquoted word is, begins with
/// (redirections), or ends with (`;`).
fn operator(word: &CommandWord) -> Option<&str> {
    if word.quoted {
        return None;
    }
    let text = word.text.as_str();
    if matches!(
        text,
        "|" | "||" | "|&" | "&" | "&&" | ";" | ";;" | "(" | ")"
    ) {
        return Some(text);
    }
    let redirection = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&');
    if redirection.starts_with(['>', '<']) {
        return Some(text);
    }
    text.ends_with(';').then_some(";")
}

/// Refuses what a shell would expand at the beginning of `text`.
fn refuse_expansion(text: &str) -> Result<(), Error> {
    let mut chars = text.chars();
    let expands = match (chars.next(), chars.next()) {
        (Some('`'), _) => true,
        (Some('$'), Some(next)) => next.is_ascii_alphanumeric() || "_{(@*#?!".contains(next),
        _ => false,
    };
    if !expands {
        return Ok(());
    }
    Err(
        Error::new("a command line expands no variables and commands: no shell runs it")
            .hint("use `sh -c '…'`; write single quotes around the word if it is meant literally"),
    )
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| super::is_variable_name(name))
}

fn no_assignment(word: &str) -> Error {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    Error::new(format!(
        "`{word}` is not a program: no shell runs the command line"
    ))
    .hint(format!(
        "set the variable with `env = {{ {name} = {value:?} }}`"
    ))
}

fn unbalanced(quote: char) -> Error {
    Error::new(format!("the quote {quote} is not closed"))
        .hint(format!("write \\{quote} for the character itself"))
}

fn one_command() -> Error {
    Error::new("a command line is one line")
        .hint("write a script and run it, or `\\` at the line's end to go on")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// Splits as the system's shell does.
    fn split_by_sh(text: &str) -> Vec<String> {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("printf '%s\\0' {text}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        let words = String::from_utf8(output.stdout).unwrap();
        words.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn words_are_split_as_sh_splits_them() {
        for text in [
            "a b\tc",
            "  a  ",
            r#"a 'b c' "d e""#,
            r"a\ b c\\d",
            r#"a"b"'c'd"#,
            r#"a '' """#,
            r#"a "b\"c\$d\e""#,
            r"a 'b\'",
            "a \\\n b",
            "a b\\\nc",
            "a \"b\\\nc\"",
            "a '|' \"&&\" \\> '$HOME' \\$HOME x\\;",
            "a x=1 50% $",
            "gunicorn größe:app 'a\nb'",
        ] {
            assert_eq!(
                split(text).map_err(|(_, error)| error).unwrap(),
                split_by_sh(text),
                "{text}"
            );
        }
    }

    #[test]
    fn a_query_is_a_word() {
        // sh would run the first half in the background.
        assert_eq!(
            split("a http://h/?a=1&b=2")
                .map_err(|(_, error)| error)
                .unwrap(),
            ["a", "http://h/?a=1&b=2"]
        );
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[^\0]{0,8}", 1..5)) {
            let quoted: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            let text = format!("run {}", quoted.join(" "));
            prop_assert_eq!(&split(&text).map_err(|(_, error)| error).unwrap()[1..], &words[..]);
        }
    }

    #[test]
    fn what_a_shell_would_act_upon_is_refused_with_its_place() {
        for (text, offset) in [
            ("", 0),
            ("   ", 0),
            ("a 'b", 2),
            ("a \"b", 2),
            ("a b\\", 3),
            ("a | b", 2),
            ("a && b", 2),
            ("a; b", 0),
            ("a ; b", 2),
            ("a > log", 2),
            ("a 2>&1", 2),
            ("a >log", 2),
            ("a &", 2),
            ("a $HOME", 2),
            ("a \"x $HOME\"", 5),
            ("a x$(date)", 3),
            ("a $1", 2),
            ("a `date`", 2),
            ("A=1 b", 0),
            ("a\nb", 1),
        ] {
            let (found, error) = split(text).expect_err(text);
            assert_eq!(found, offset, "{text}: {error}");
        }
    }
}
