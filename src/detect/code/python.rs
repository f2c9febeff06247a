//! Literals and arguments of Python, parsed as far as a survey needs.

/// A literal in the code.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `None`.
    None,
    /// `True` or `False`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, as written.
    Float(String),
    /// A text on one line.
    Text(String),
    /// A list or a tuple of such texts.
    Texts(Vec<String>),
}

impl Literal {
    /// Parses an expression that is a literal; `None` for other expressions.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text {
            "None" => Some(Self::None),
            "True" => Some(Self::Boolean(true)),
            "False" => Some(Self::Boolean(false)),
            _ => string(text)
                .map(Self::Text)
                .or_else(|| number(text))
                .or_else(|| texts(text)),
        }
    }

    /// Formats the value for TOML; `None` if TOML has no such value.
    pub fn toml(&self) -> Option<String> {
        let quoted = |text: &String| toml::Value::from(text.as_str()).to_string();
        match self {
            Self::None => None,
            Self::Boolean(value) => Some(value.to_string()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Float(text) => Some(text.clone()),
            Self::Text(text) => Some(quoted(text)),
            Self::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(quoted).collect();
                Some(format!("[{}]", texts.join(", ")))
            }
        }
    }
}

/// Returns the content of a string literal without escape sequences.
fn string(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let inside = text[1..].strip_suffix(quote)?;
    let is_plain = |c: char| c != quote && c != '\\' && !c.is_control();
    inside.chars().all(is_plain).then(|| inside.to_owned())
}

fn number(text: &str) -> Option<Literal> {
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let plain = text.replace('_', "");
    if let Ok(number) = plain.parse() {
        return Some(Literal::Integer(number));
    }
    let (whole, fraction) = plain.split_once('.')?;
    let is_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    (is_digits(whole.trim_start_matches('-')) && is_digits(fraction))
        .then(|| Literal::Float(plain.clone()))
}

fn texts(text: &str) -> Option<Literal> {
    let close = match text.chars().next()? {
        '[' => ']',
        '(' => ')',
        _ => return None,
    };
    let (items, after) = arguments(&text[1..], close)?;
    let text_of = |item: CallArgument<'_>| match item.value {
        Some(Literal::Text(text)) => Some(text),
        _ => None,
    };
    let texts = items.into_iter().map(text_of).collect::<Option<_>>()?;
    after.trim().is_empty().then_some(Literal::Texts(texts))
}

/// An argument of a call.
pub(super) struct CallArgument<'t> {
    /// The name in `name=value`.
    pub(super) name: Option<&'t str>,
    /// The expression.
    pub(super) text: &'t str,
    /// The value, if the expression is a literal.
    pub(super) value: Option<Literal>,
}

impl<'t> CallArgument<'t> {
    fn parse(text: &'t str) -> Self {
        let named = text.split_once('=').filter(|(name, value)| {
            let name = name.trim();
            !name.is_empty()
                && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
                && !value.starts_with('=')
        });
        let (name, text) = named.map_or((None, text), |(name, text)| (Some(name.trim()), text));
        Self {
            name,
            text: text.trim(),
            value: Literal::parse(text),
        }
    }
}

/// The maximum length of a call in characters.
const LONGEST: usize = 2000;

/// Splits a text at the commas before its closing bracket; also returns the text after the bracket.
/// `None` if no bracket closes it within [`LONGEST`], or if a comment precedes the bracket.
pub(super) fn arguments(text: &str, close: char) -> Option<(Vec<CallArgument<'_>>, &str)> {
    let mut found = Vec::new();
    let mut begin = 0;
    let mut scan = BracketScan::default();
    for (at, c) in text.char_indices().take(LONGEST) {
        let is_outside = scan.is_outside();
        let is_end = is_outside && c == close;
        if is_end || is_outside && c == ',' {
            let part = &text[begin..at];
            if !is_end || !part.trim().is_empty() {
                found.push(CallArgument::parse(part));
            }
            begin = at + 1;
        }
        if is_end {
            return Some((found, &text[begin..]));
        }
        scan.step(c)?;
    }
    None
}

/// The state of a scan: the number of open brackets, and the open quote.
#[derive(Default)]
struct BracketScan {
    open: usize,
    quote: Option<char>,
    is_escaped: bool,
}

impl BracketScan {
    fn is_outside(&self) -> bool {
        self.open == 0 && self.quote.is_none()
    }

    /// Reads a character; `None` if the code cannot be understood.
    fn step(&mut self, c: char) -> Option<()> {
        let Some(quote) = self.quote else {
            return self.step_outside(c);
        };
        if c == '\n' {
            return None;
        }
        if self.is_escaped {
            self.is_escaped = false;
        } else if c == '\\' {
            self.is_escaped = true;
        } else if c == quote {
            self.quote = None;
        }
        Some(())
    }

    fn step_outside(&mut self, c: char) -> Option<()> {
        match c {
            '#' => return None,
            '"' | '\'' => self.quote = Some(c),
            '(' | '[' | '{' => self.open += 1,
            ')' | ']' | '}' => self.open = self.open.checked_sub(1)?,
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_what_python_reads() {
        for (text, expected) in [
            ("None", Some(Literal::None)),
            (" True ", Some(Literal::Boolean(true))),
            ("-1_000", Some(Literal::Integer(-1000))),
            ("0.5", Some(Literal::Float("0.5".to_owned()))),
            ("'a \"b\"'", Some(Literal::Text("a \"b\"".to_owned()))),
            ("\"\"", Some(Literal::Text(String::new()))),
            (
                "['a', \"b\"]",
                Some(Literal::Texts(vec!["a".to_owned(), "b".to_owned()])),
            ),
            ("[]", Some(Literal::Texts(vec![]))),
            ("('a',)", Some(Literal::Texts(vec!["a".to_owned()]))),
            ("f'{x}'", None),
            ("'a' + 'b'", None),
            ("'a\\n'", None),
            ("5 * 60", None),
            ("name", None),
            ("[1]", None),
            ("\"\"\"a\"\"\"", None),
            ("", None),
        ] {
            assert_eq!(Literal::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn arguments_end_with_their_bracket() {
        let (found, after) = arguments("'A', default=f(1, 2),\n cast=int) or 'x)'", ')').unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|argument| (argument.name, argument.text))
            .collect();
        assert_eq!(
            shown,
            [
                (None, "'A'"),
                (Some("default"), "f(1, 2)"),
                (Some("cast"), "int")
            ]
        );
        assert_eq!(after, " or 'x)'");
        assert!(arguments("'A'", ')').is_none() && arguments("'A\n')", ')').is_none());
        assert_eq!(arguments(")", ')').unwrap().0.len(), 0);
    }
}
