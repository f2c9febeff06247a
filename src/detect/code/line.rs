//! Lines of Python sources, parsed as far as a survey needs.

/// Iterates over the lines of a text, with the offset of each.
pub(super) fn lines_at(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let begin = *at;
        *at += line.len();
        Some((begin, line.trim_end()))
    })
}

/// Returns the last names of the base classes in the first line of a class.
pub(super) fn bases_of(line: &str) -> Vec<&str> {
    let inside = line.split_once('(');
    let inside = inside.map_or("", |(_, rest)| rest);
    let inside = inside.split(')').next();
    let inside = inside.unwrap_or_default();
    inside
        .split(',')
        .map(|base| base.trim().rsplit('.').next().unwrap_or_default())
        .collect()
}

/// Returns the module that a line imports as a whole by its absolute name.
pub(super) fn imported(line: &str) -> Option<&str> {
    let line = line.trim();
    let rest = line
        .strip_prefix("from ")
        .or_else(|| line.strip_prefix("import "))?;
    let module = rest.split([' ', ',', ';']).next()?;
    (!module.starts_with('.') && !module.is_empty()).then_some(module)
}

/// Parses `name = value` or `name: type = value` at the beginning of a line.
pub(super) fn assignment(line: &str) -> Option<(&str, &str)> {
    let (left, value) = line.split_once('=')?;
    let name = left.split(':').next()?.trim_end();
    let is_name = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    (is_name && !value.starts_with('=')).then_some((name, value.trim()))
}

/// Returns the last name in the call of a value: `Flask` of `flask.Flask(__name__)`.
pub(super) fn called(value: &str) -> &str {
    let function = value.split_once('(').map_or("", |(function, _)| function);
    function.rsplit('.').next().unwrap_or(function)
}

/// Returns the number of required arguments of a function. `rest` follows the opening parenthesis;
/// `None` if no parenthesis closes it.
pub(super) fn required_arguments(rest: &str) -> Option<usize> {
    let mut open = 1;
    let end = rest.char_indices().find(|(_, c)| {
        open += match c {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        open == 0
    })?;
    // Commas within nested brackets do not separate arguments.
    let mut open = 0;
    let plain: String = rest[..end.0]
        .lines()
        .map(|line| line.split('#').next().unwrap_or(line))
        .collect();
    let inside = plain.split(|c: char| {
        open += match c {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        c == ',' && open == 0
    });
    let names = inside
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with('*') && *name != "/");
    // Arguments after a lone `*` are also required if they have no default.
    Some(names.filter(|name| !name.contains('=')).count())
}
