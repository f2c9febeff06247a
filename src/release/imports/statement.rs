//! Import statements in Python sources, read without running or compiling the sources.

/// An import statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The module as written, with leading dots.
    module: String,
    /// The names after `import` in a `from` statement.
    names: Vec<String>,
}

impl Import {
    /// Returns the modules that the statement executes or may execute: `from a import b` imports
    /// `a`, and `a.b` if that is a module. `package` resolves relative imports.
    pub fn modules<S: AsRef<str>>(&self, package: &[S]) -> Vec<String> {
        let name = self.module.trim_start_matches('.');
        let dots = self.module.len() - name.len();
        if dots > package.len() {
            return Vec::new();
        }
        let start = if dots == 0 {
            &[][..]
        } else {
            &package[..package.len() + 1 - dots]
        };
        let mut parts: Vec<&str> = start.iter().map(AsRef::as_ref).collect();
        parts.extend(name.split('.').filter(|part| !part.is_empty()));
        let base = parts.join(".");
        let of_names = self
            .names
            .iter()
            .filter(|name| *name != "*")
            .map(|name| format!("{base}.{name}"));
        std::iter::once(base.clone())
            .chain(of_names)
            .filter(|name| !name.starts_with('.') && !name.is_empty())
            .collect()
    }
}

/// Returns the imports at the top level of a source, which are certain to run.
pub fn certain(text: &[u8]) -> Vec<Import> {
    let lines = LogicalLines { text, at: 0 };
    let simple = lines.filter(|line| line.starts_with("import ") || line.starts_with("from "));
    simple
        .flat_map(|line| line.split(';').flat_map(read).collect::<Vec<_>>())
        .collect()
}

/// Reads a statement; `import a, b` results in two imports, another statement in none.
pub fn read(statement: &str) -> Vec<Import> {
    let statement = statement.trim();
    let first_word = |text: &str| {
        text.split_whitespace()
            .next()
            .unwrap_or_default()
            .trim_end_matches('.')
            .to_owned()
    };
    if let Some(modules) = statement.strip_prefix("import ") {
        let modules = modules
            .split(',')
            .map(first_word)
            .filter(|module| is_dotted(module));
        return modules
            .map(|module| Import {
                module,
                names: Vec::new(),
            })
            .collect();
    }
    let Some((module, names)) = statement
        .strip_prefix("from ")
        .and_then(|rest| rest.split_once(" import"))
    else {
        return Vec::new();
    };
    let module: String = module.split_whitespace().collect();
    if !is_dotted(module.trim_start_matches('.')) && !module.chars().all(|c| c == '.') {
        return Vec::new();
    }
    let names = names
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')')
        .split(',');
    let names = names
        .map(first_word)
        .filter(|name| name == "*" || is_dotted(name))
        .collect();
    vec![Import { module, names }]
}

fn is_dotted(name: &str) -> bool {
    name.split('.')
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

/// Iterates over the logical lines of a source ("Lexical analysis" in Python's reference): without
/// comments and the content of strings, and with a space for each line end within brackets or after
/// a backslash.
struct LogicalLines<'a> {
    text: &'a [u8],
    at: usize,
}

impl LogicalLines<'_> {
    /// Skips the string that begins here. A string in single quotes ends with its line, so that an
    /// unclosed quote does not hide the rest of the source.
    fn skip_string(&mut self, quote: u8) {
        let rest = &self.text[self.at..];
        let triple = rest.get(1) == Some(&quote) && rest.get(2) == Some(&quote);
        self.at += if triple { 3 } else { 1 };
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'\\' => self.at += 1,
                b'\n' if !triple => return,
                _ if *byte != quote => {}
                _ if !triple => {
                    self.at += 1;
                    return;
                }
                _ if self.text[self.at..].starts_with(&[quote; 3]) => {
                    self.at += 3;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.text.len();
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.at >= self.text.len() {
            return None;
        }
        let mut line = Vec::new();
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\'' | b'"' => {
                    self.skip_string(byte);
                    line.push(b'"');
                    continue;
                }
                b'#' => {
                    let end = memchr::memchr(b'\n', &self.text[self.at..]);
                    self.at = end.map_or(self.text.len(), |end| self.at + end);
                    continue;
                }
                b'\\' if self.text.get(self.at + 1) == Some(&b'\n') => {
                    self.at += 1;
                    line.push(b' ');
                }
                b'\n' if depth == 0 => {
                    self.at += 1;
                    break;
                }
                b'\n' | b'\r' => line.push(b' '),
                b'(' | b'[' | b'{' => {
                    depth += 1;
                    line.push(byte);
                }
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    line.push(byte);
                }
                _ => line.push(byte),
            }
            self.at += 1;
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let package = ["a".to_owned(), "b".to_owned()];
        let imports = certain(text.as_bytes());
        imports
            .iter()
            .flat_map(|import| import.modules(&package))
            .collect()
    }

    #[test]
    fn imports_at_the_top_level_are_certain() {
        for (text, expected) in [
            ("import x\n", &["x"][..]),
            ("import x.y as z, q  # no more\n", &["x.y", "q"]),
            (
                "from x import (  # two\n    y,\n    z as w,\n)\nimport v",
                &["x", "x.y", "x.z", "v"],
            ),
            ("from x import \\\n    y\n", &["x", "x.y"]),
            ("from x import *\n", &["x"]),
            ("import x; import y\n", &["x", "y"]),
            ("from . import c\n", &["a.b", "a.b.c"]),
            ("from ..c import d\n", &["a.c", "a.c.d"]),
            ("from ... import d\n", &[]),
            ("\"\"\"Text\nimport nothing\n\"\"\"\nimport x\n", &["x"]),
            ("s = 'it\\'s'\nimport x\n", &["x"]),
            ("s = {\n'a': 1,\n}\nimport x\n", &["x"]),
            (
                "from __future__ import annotations\r\nimport x\r\n",
                &["__future__", "__future__.annotations", "x"],
            ),
            (
                "try:\n    import x\nexcept ImportError:\n    x = None\n",
                &[],
            ),
            ("if TYPE_CHECKING:\n    from x import y\n", &[]),
            ("if True: import x\ndef f():\n    import y\n", &[]),
            ("fromage = 1\nimporter = 2\nimport_x = 3\n", &[]),
            ("import", &[]),
            (
                "import x..y, z\nfrom x..y import z\nfrom x import y..z",
                &["z", "x"],
            ),
            ("from x", &[]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }
}
