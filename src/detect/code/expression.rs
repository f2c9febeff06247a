//! Evaluates Python expressions for paths, as far as possible without running code.
//!
//! `os.path.join(os.path.dirname(__file__), "media")` and `BASE_DIR / "media"` name a place in the
//! tree on every machine. An expression that the evaluator does not know has no value, and neither
//! do expressions that contain it.

use std::collections::BTreeMap;

/// The beginning of an absolute path inside of the tree: no file of a machine has such a name.
pub(super) const TREE: &str = "/\0tree";

/// The maximum depth of nested brackets; deeper ones have no value.
const DEEPEST: usize = 24;

/// The text that results from an expression, and the environment variable that can replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpressionValue {
    pub(super) text: String,
    pub(super) variable: Option<Variable>,
}

/// An environment variable, and the text that replaces it if it is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) default: String,
}

impl ExpressionValue {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            variable: None,
        }
    }

    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        Self {
            text: change(self.text),
            variable: self.variable,
        }
    }

    fn with(self, other: Self, make: impl FnOnce(&str, &str) -> String) -> Self {
        Self {
            text: make(&self.text, &other.text),
            variable: self.variable.or(other.variable),
        }
    }
}

/// The values of names, from their assignments.
pub(super) type AssignedNames = BTreeMap<String, ExpressionValue>;

/// Evaluates the expressions of one module.
#[derive(Debug)]
pub(super) struct ExpressionReader<'a> {
    text: &'a str,
    at: usize,
    /// The value of `__file__`.
    file: &'a str,
    /// The module's own names, and the names in capitals of the whole tree.
    names: [&'a AssignedNames; 2],
    depth: usize,
    /// The number of open brackets, within which line ends have no meaning.
    open: usize,
}

/// An argument of a call, with its name if it has one.
pub(super) type Argument = (Option<String>, Option<ExpressionValue>);

impl<'a> ExpressionReader<'a> {
    pub(super) fn new(
        text: &'a str,
        at: usize,
        file: &'a str,
        names: [&'a AssignedNames; 2],
    ) -> Self {
        Self {
            text,
            at,
            file,
            names,
            depth: 0,
            open: 0,
        }
    }

    /// Evaluates an expression up to the end of its line or the bracket that closes around it.
    pub(super) fn expression(&mut self) -> Option<ExpressionValue> {
        if self.depth >= DEEPEST {
            self.skip();
            return None;
        }
        self.depth += 1;
        let value = self.alternatives();
        self.depth -= 1;
        self.space();
        let is_over = self.rest().is_empty()
            || self
                .rest()
                .starts_with([',', ')', ']', '}', '\n', ':', ';', '#', '=']);
        if is_over {
            return value;
        }
        self.skip();
        None
    }

    /// Reads the arguments of a call after the opening parenthesis.
    pub(super) fn arguments(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        self.open += 1;
        loop {
            self.space();
            if self.rest().is_empty() || self.eat(")") {
                break;
            }
            if self.eat(",") {
                continue;
            }
            let begin = self.at;
            let name = self.keyword();
            let value = self.expression();
            arguments.push((name, value));
            if self.at == begin {
                self.step();
            }
        }
        self.open -= 1;
        arguments
    }

    fn alternatives(&mut self) -> Option<ExpressionValue> {
        let first = self.sum();
        self.space();
        if self.eat_word("or") {
            let second = self.alternatives();
            return first.or(second);
        }
        if self.eat_word("if") {
            // The result depends on the machine, and settings of developers do not matter here.
            self.sum();
            self.space();
            let other = if self.eat_word("else") {
                self.alternatives()
            } else {
                None
            };
            return first.or(other);
        }
        first
    }

    fn sum(&mut self) -> Option<ExpressionValue> {
        let mut left = self.operand();
        loop {
            self.space();
            if self.eat("/") {
                let right = self.operand();
                left = left.zip(right).map(|(left, right)| left.with(right, join));
            } else if self.eat("+") {
                let right = self.operand();
                left = left
                    .zip(right)
                    .map(|(left, right)| left.with(right, |left, right| format!("{left}{right}")));
            } else if self.eat("-") {
                // django-environ's `Path(__file__) - 2`.
                self.space();
                let levels = self.number();
                left = left.zip(levels).map(|(left, levels)| {
                    (0..levels).fold(left, |path, _| path.map(|path| parent(&path)))
                });
            } else {
                return left;
            }
        }
    }

    fn operand(&mut self) -> Option<ExpressionValue> {
        self.space();
        if self.eat("(") {
            self.open += 1;
            let value = self.expression();
            self.close();
            return self.postfix(value, String::new());
        }
        if let Some(value) = self.strings() {
            return self.postfix(value, String::new());
        }
        let name = self.identifier()?;
        let value = match name.as_str() {
            "__file__" => Some(ExpressionValue::plain(self.file)),
            _ => self
                .names
                .iter()
                .find_map(|names| names.get(&name))
                .cloned(),
        };
        self.postfix(value, name)
    }

    /// Reads attributes, calls, and subscripts after a value. `name` is the last name before them.
    fn postfix(
        &mut self,
        mut value: Option<ExpressionValue>,
        mut name: String,
    ) -> Option<ExpressionValue> {
        loop {
            if self.eat(".") {
                let attribute = self.identifier()?;
                value = self.attribute(value, &attribute);
                name = attribute;
            } else if self.eat("(") {
                let arguments = self.arguments();
                value = method(None, &name, &arguments);
                name.clear();
            } else if self.eat("[") {
                value = self.subscript(value, &name);
                name.clear();
            } else {
                return value;
            }
        }
    }

    /// Evaluates the call of a method, or an attribute.
    fn attribute(
        &mut self,
        value: Option<ExpressionValue>,
        attribute: &str,
    ) -> Option<ExpressionValue> {
        if self.eat("(") {
            let arguments = self.arguments();
            // django-environ's `env.str("NAME", default=…)` is not `str(…)`.
            let function = if attribute == "str" { "env" } else { attribute };
            return method(value, function, &arguments);
        }
        match attribute {
            "parent" => value.map(|value| value.map(|path| parent(&path))),
            "parents" => value,
            "pardir" => Some(ExpressionValue::plain("..")),
            "sep" => Some(ExpressionValue::plain("/")),
            constant if is_constant(constant) => self.names[1].get(constant).cloned(),
            _ => None,
        }
    }

    /// Evaluates a subscript after the opening bracket: a level of `parents`, or the name of a
    /// setting.
    fn subscript(&mut self, value: Option<ExpressionValue>, name: &str) -> Option<ExpressionValue> {
        let is_parents = name == "parents";
        self.open += 1;
        let number = if is_parents { self.number() } else { None };
        let key = number
            .map(|number| number.to_string())
            .or_else(|| self.expression().map(|value| value.text));
        self.close();

        let key = key?;
        match value {
            Some(path) if is_parents => {
                let levels = key.parse::<usize>().unwrap_or_default().min(32);
                Some((0..=levels).fold(path, |path, _| path.map(|path| parent(&path))))
            }
            _ if is_constant(&key) => self.names[1].get(&key).cloned(),
            _ => None,
        }
    }

    /// Reads one or more adjacent string literals; `None` if there is none.
    fn strings(&mut self) -> Option<Option<ExpressionValue>> {
        let mut all: Option<Option<ExpressionValue>> = None;
        loop {
            self.space();
            let rest = self.rest();
            let letters = rest
                .bytes()
                .take_while(|byte| b"rRfFbBuU".contains(byte))
                .count();
            if letters > 2 || !rest[letters..].starts_with(['"', '\'']) {
                return all;
            }
            let is_format = rest[..letters].contains(['f', 'F']);
            self.at += letters;
            let one = self.string(is_format);
            all = Some(match all {
                None => one,
                Some(before) => before
                    .zip(one)
                    .map(|(a, b)| a.with(b, |a, b| format!("{a}{b}"))),
            });
        }
    }

    fn string(&mut self, is_format: bool) -> Option<ExpressionValue> {
        let content = self.string_content();
        if is_format {
            self.format_string(content)
        } else {
            Some(ExpressionValue::plain(content))
        }
    }

    /// Skips a string literal; returns the text between its quotes.
    fn string_content(&mut self) -> &'a str {
        let quote = &self.rest()[..1];
        let triple = quote.repeat(3);
        let end = if self.rest().starts_with(&triple) {
            triple
        } else {
            quote.to_owned()
        };
        self.at += end.len();

        let begin = self.at;
        while !self.rest().is_empty() && !self.rest().starts_with(&end) {
            if self.rest().starts_with('\\') {
                self.step();
            }
            self.step();
        }
        let content = &self.text[begin..self.at];
        self.at = (self.at + end.len()).min(self.text.len());
        content
    }

    /// Replaces the expressions in braces of an f-string by their values.
    fn format_string(&self, content: &str) -> Option<ExpressionValue> {
        let mut made = ExpressionValue::plain("");
        let mut rest = content;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, after) = after.split_once('}')?;
            let mut reader = ExpressionReader {
                text: inside,
                at: 0,
                depth: self.depth + 1,
                open: 1,
                ..*self
            };
            let piece = reader.expression()?;
            made = made
                .map(|made| made + before)
                .with(piece, |made, piece| format!("{made}{piece}"));
            rest = after;
        }
        Some(made.map(|made| made + rest))
    }

    /// Reads the name of an argument, `name=`.
    fn keyword(&mut self) -> Option<String> {
        let begin = self.at;
        let name = self.identifier();
        self.space();
        if name.is_some() && self.rest().starts_with('=') && !self.rest().starts_with("==") {
            self.step();
            return name;
        }
        self.at = begin;
        None
    }

    fn identifier(&mut self) -> Option<String> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += end;
        Some(name.to_owned())
    }

    fn number(&mut self) -> Option<usize> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number = rest[..end]
            .parse::<usize>()
            .ok()
            .filter(|number| *number <= 32);
        self.at += end;
        number
    }

    /// Skips spaces, and within brackets, line ends and comments.
    fn space(&mut self) {
        loop {
            let rest = self.rest();
            if rest.starts_with([' ', '\t', '\r']) || self.open > 0 && rest.starts_with('\n') {
                self.step();
            } else if rest.starts_with("\\\n") {
                self.at += 2;
            } else if self.open > 0 && rest.starts_with('#') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    /// Skips the rest of the expression.
    fn skip(&mut self) {
        let mut open = 0_usize;
        while let Some(next) = self.rest().chars().next() {
            match next {
                '"' | '\'' => {
                    self.string(false);
                    continue;
                }
                '(' | '[' | '{' => open += 1,
                ')' | ']' | '}' if open == 0 => return,
                ')' | ']' | '}' => open -= 1,
                ',' if open == 0 => return,
                '\n' if open == 0 && self.open == 0 => return,
                '#' => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                    continue;
                }
                _ => {}
            }
            self.step();
        }
    }

    /// Skips the rest of a bracket.
    fn close(&mut self) {
        self.space();
        while !self.rest().is_empty() && !self.rest().starts_with([')', ']', '}']) {
            let begin = self.at;
            self.skip();
            if self.at == begin {
                self.step();
            }
        }
        self.step();
        self.open = self.open.saturating_sub(1);
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn step(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let rest = self.rest().strip_prefix(word);
        let found = rest.is_some_and(|rest| rest.starts_with([' ', '\t', '\n', '\\', '(']));
        if found {
            self.at += word.len();
        }
        found
    }
}

/// Returns the arguments without a name.
pub(super) fn positional(arguments: &[Argument]) -> impl Iterator<Item = Option<&ExpressionValue>> {
    arguments
        .iter()
        .filter(|(name, _)| name.is_none())
        .map(|(_, value)| value.as_ref())
}

/// Returns the result of a function or method.
fn method(
    value: Option<ExpressionValue>,
    name: &str,
    arguments: &[Argument],
) -> Option<ExpressionValue> {
    let first = || positional(arguments).next().flatten().cloned();
    match name {
        "resolve" | "absolute" | "expanduser" | "as_posix" | "__str__" if value.is_some() => value,
        "joinpath" | "path" if value.is_some() => joined(value, arguments),
        "join" | "safe_join" if value.is_none() => joined(None, arguments),
        "Path" | "PosixPath" | "PurePath" => joined(None, arguments),
        "dirname" => first().map(|value| value.map(|path| parent(&path))),
        "abspath" | "realpath" | "normpath" | "str" | "fspath" | "expandvars" => first(),
        "getenv" | "get" | "env" | "config" | "setdefault" | "getattr" | "envstr" => {
            variable(arguments)
        }
        name if value.is_none() && reads_a_variable(name, arguments) => variable(arguments),
        _ => None,
    }
}

/// Joins the arguments to a path, like `os.path.join` and `Path.joinpath`.
fn joined(start: Option<ExpressionValue>, arguments: &[Argument]) -> Option<ExpressionValue> {
    positional(arguments).try_fold(start, |path, part| match (path, part) {
        (None, part) => Some(Some(part?.clone())),
        (Some(path), part) => Some(Some(path.with(part?.clone(), join))),
    })?
}

/// Returns whether a function of the project reads a variable, judging by the function's name and
/// first argument: `get_path("SHOP_DATA_DIR", BASE_DIR / "data")`.
fn reads_a_variable(function: &str, arguments: &[Argument]) -> bool {
    let first = positional(arguments).next().flatten();
    ["get", "env", "setting"]
        .iter()
        .any(|word| function.contains(word))
        && first.is_some_and(|name| is_constant(&name.text) && name.text.contains('_'))
}

/// Evaluates `getenv("NAME", default)` and similar calls.
fn variable(arguments: &[Argument]) -> Option<ExpressionValue> {
    let name = positional(arguments).next().flatten()?.text.clone();
    let named = arguments
        .iter()
        .find(|(name, _)| name.as_deref() == Some("default"));
    let default = named
        .map_or_else(
            || positional(arguments).nth(1).flatten(),
            |(_, value)| value.as_ref(),
        )?
        .clone();
    let variable = is_constant(&name).then(|| Variable {
        name,
        default: default.text.clone(),
    });
    Some(ExpressionValue {
        text: default.text,
        variable: default.variable.or(variable),
    })
}

/// Returns whether a name is written like a setting.
pub(super) fn is_constant(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Joins two paths, like `os.path.join`.
fn join(left: &str, right: &str) -> String {
    if right.starts_with('/') {
        right.to_owned()
    } else {
        format!("{}/{right}", left.trim_end_matches('/'))
    }
}

/// Returns the parent of a path.
fn parent(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if path.ends_with("/..") {
        return format!("{path}/..");
    }
    path.rsplit_once('/')
        .map_or(String::new(), |(above, _)| above.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<ExpressionValue> {
        let root = ExpressionValue::plain(TREE);
        let own = AssignedNames::from([("here".to_owned(), root.clone())]);
        let all = AssignedNames::from([("BASE_DIR".to_owned(), root)]);
        let file = format!("{TREE}/shop/settings.py");
        ExpressionReader::new(text, 0, &file, [&own, &all]).expression()
    }

    fn path(text: &str) -> Option<String> {
        value(text).map(|value| value.text.replace(TREE, "T"))
    }

    #[test]
    fn paths_as_people_write_them() {
        for (text, expected) in [
            ("'media'", "media"),
            ("BASE_DIR / 'media'  # uploads", "T/media"),
            ("os.path.join(BASE_DIR, 'a', \"b\")\nx = 1", "T/a/b"),
            (
                "os.path.join(\n    os.path.dirname(__file__),  # here\n    os.pardir, '.data', 'cache'\n)",
                "T/shop/../.data/cache",
            ),
            (
                "Path(__file__).resolve().parent.parent / 'db.sqlite3'",
                "T/db.sqlite3",
            ),
            ("Path(__file__).parents[1].joinpath('x')", "T/x"),
            (
                "f\"sqlite:///{os.path.dirname(os.path.abspath(__file__))}/ctfd.db\"",
                "sqlite:///T/shop/ctfd.db",
            ),
            (
                "'sqlite:///' + os.path.join(here, 'app.db')",
                "sqlite:///T/app.db",
            ),
            (
                "os.environ.get('DATABASE_URL') or \\\n    'sqlite:///' + os.path.join(here, 'app.db')",
                "sqlite:///T/app.db",
            ),
            ("(environ.Path(__file__) - 2).path('m')", "T/m"),
            ("str(settings.BASE_DIR / 'm')", "T/m"),
            ("app.config['BASE_DIR'] + '/m'", "T/m"),
            ("'/srv/media'", "/srv/media"),
            ("os.path.join(BASE_DIR, '/srv')", "/srv"),
            ("'a' 'b'", "ab"),
            ("unknown() if x else BASE_DIR / 'm'", "T/m"),
        ] {
            assert_eq!(path(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_value() {
        for text in [
            "",
            "other / 'media'",
            "os.path.join(other, 'media')",
            "f'{other}/media'",
            "BASE_DIR * 2",
            "lambda: BASE_DIR",
            "[BASE_DIR, 'x']",
            "BASE_DIR.name",
            "os.path.join(BASE_DIR",
            "'open",
            "((((((((((((((((((((((((((((((((((((((((((((('x'",
            "f'{'",
        ] {
            let known = path(text);
            assert!(
                known.is_none() || text == "'open" || text == "os.path.join(BASE_DIR",
                "{text}: {known:?}"
            );
        }
    }

    #[test]
    fn a_variable_of_the_environment_is_remembered() {
        let seen =
            value("os.path.join(os.getenv('CONFIG_VOLUME', BASE_DIR / 'config'), 'session')")
                .unwrap();
        assert_eq!(seen.text, format!("{TREE}/config/session"));
        let variable = seen.variable.unwrap();
        assert_eq!(
            (variable.name.as_str(), variable.default),
            ("CONFIG_VOLUME", format!("{TREE}/config"))
        );
        assert_eq!(path("env.str('X', default='y')").as_deref(), Some("y"));
        assert_eq!(
            path("config('X', default='y', cast=str)").as_deref(),
            Some("y")
        );
    }
}
