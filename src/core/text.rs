//! Words for shells and sentences for people.

use std::fmt::Display;

/// Quotes a word for POSIX sh (Shell Command Language, §2.2.2 "Single-Quotes"), unless it is plain.
pub fn shell_quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Quotes a value for files that systemd reads (`EnvironmentFile=` in systemd.exec(5)). sh and
/// `with-environment` read the same, as long as it is one line.
pub fn environment_quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        if "\"\\`$".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// Returns a value as environment files have it, without quotes where none are needed.
pub fn environment_value(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if value.chars().all(is_plain) {
        value.to_owned()
    } else {
        environment_quoted(value)
    }
}

/// Returns a number with its noun, e.g. `1 host`, `2 hosts`, `3 entries`.
pub fn counted(number: usize, noun: &str) -> String {
    if number == 1 {
        return format!("1 {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
}

/// Returns items in backticks, separated by commas.
pub fn backticked<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|item| format!("`{item}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn sh_reads_quoted_words_as_they_were() {
        for word in [
            "",
            "plain/word-1.0",
            "a b",
            "it's",
            "$HOME `id` \\ \"",
            "new\nline",
            "*",
        ] {
            let script = format!("printf '%s|' {}", shell_quoted(word));
            let output = pkgapp_testing::run(Command::new("sh").args(["-c", &script]));
            assert_eq!(output, format!("{word}|"));
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "host"), "1 host");
        assert_eq!(counted(0, "host"), "0 hosts");
        assert_eq!(counted(2, "entry"), "2 entries");
        assert_eq!(backticked(["a", "b"]), "`a`, `b`");
    }
}
