//! Django's settings: the directory of collected static files, and the variables that a build must
//! set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::line::assignment;

/// Checks that static files can be collected into STATIC_ROOT, which must be inside of the tree to
/// be packaged; returns the reason otherwise. `text` is the file that sets it.
pub(super) fn static_root(value: &str, path: &Path, text: &str) -> Result<(), String> {
    // An empty value is set in another file, or further down.
    let value = if is_empty_text(value) {
        chosen_below(text).unwrap_or(value)
    } else {
        value
    };
    let way_out = || {
        format!(
            "to ship them, write `{}` in `{}` and run `pkgapp init --force`",
            static_root_line(text),
            path.display()
        )
    };

    if directory_variable(value).is_some() {
        return Ok(());
    }
    if has_any(value, &["BASE", "ROOT", "DIR", "__file__", "dirname"]) {
        return Ok(());
    }
    if is_empty_text(value) {
        return Err(format!("`STATIC_ROOT` is empty; {}", way_out()));
    }
    let told = value.trim_start_matches(['r', '"', '\'']);
    if told.starts_with('/') && value.starts_with(['"', '\'', 'r']) {
        return Err(format!(
            "`STATIC_ROOT` is `{}`, outside of the application",
            told.trim_end_matches(['"', '\''])
        ));
    }
    if value.starts_with(['"', '\'']) {
        // Builds and services run where it counts from.
        return if told.starts_with("../") {
            Err(format!(
                "`STATIC_ROOT` leads out of the working directory; {}",
                way_out()
            ))
        } else {
            Ok(())
        };
    }
    if has_any(value, &["environ", "getenv", "env(", "config("]) {
        return Err("`STATIC_ROOT` comes from the environment".to_owned());
    }
    Ok(())
}

/// Returns the variable that says where a directory is, if no release could have what the code has in
/// its place: `env("STATIC_ROOT", default="/srv/static")`.
pub(super) fn directory_variable(value: &str) -> Option<String> {
    let value = without_comment(value).trim();
    let reads = [
        "os.environ.get(",
        "os.getenv(",
        "getenv(",
        "os.environ[",
        "env(",
        "env.str(",
        "env.path(",
        "config(",
    ];
    let arguments = reads.iter().find_map(|read| value.strip_prefix(read))?;
    let quote = arguments
        .chars()
        .next()
        .filter(|c| ['"', '\''].contains(c))?;
    let (name, default) = arguments[1..].split_once(quote)?;
    let is_name = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    let default = default
        .trim_start_matches([',', ' '])
        .trim_start_matches("default=");
    let is_elsewhere = default.starts_with([')', ']', '/'])
        || default.trim_start_matches(['"', '\'']).starts_with('/');
    (is_name && is_elsewhere).then(|| name.to_owned())
}

/// Returns the directory in STATIC_ROOT, relative to the tree: `BASE_DIR / "x"` or
/// `os.path.join(BASE_DIR, "x")`, with a BASE_DIR some levels above the file.
pub(super) fn static_directory(value: &str, path: &Path, text: &str) -> Option<PathBuf> {
    let value = without_comment(value).trim();
    let joined = || {
        value
            .strip_prefix("os.path.join(BASE_DIR,")?
            .strip_suffix(')')
    };
    let name = value.strip_prefix("BASE_DIR /").or_else(joined)?;
    let name = literal(name)?;
    let base = text
        .lines()
        .find_map(|line| line.strip_prefix("BASE_DIR ="))?;
    if base.contains("parents") || !base.contains("__file__") {
        return None;
    }
    let above = base.matches(".parent").count() + base.matches("dirname(").count();
    Some(path.ancestors().nth(above)?.join(name))
}

/// Returns STATIC_URL as a path for requests; `None` if it is the address of another host.
pub(super) fn static_url(value: &str) -> Option<String> {
    let url = literal(without_comment(value))?.trim_matches('/');
    (!url.is_empty()).then(|| format!("/{url}/"))
}

/// Returns a plain path in quotes.
fn literal(value: &str) -> Option<&str> {
    let value = value.trim();
    let inside = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))?;
    let is_plain = |part: &str| {
        !matches!(part, "." | "..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    inside.split('/').all(is_plain).then_some(inside)
}

/// Returns a line for the settings that collects static files inside of the tree.
fn static_root_line(text: &str) -> &'static str {
    if !text.contains("BASE_DIR =") {
        r#"STATIC_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "staticfiles")"#
    } else if text.contains("Path(") {
        r#"STATIC_ROOT = BASE_DIR / "staticfiles""#
    } else {
        r#"STATIC_ROOT = os.path.join(BASE_DIR, "staticfiles")"#
    }
}

fn has_any(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| value.contains(word))
}

/// Returns whether a value is an empty text, which disables collecting.
fn is_empty_text(value: &str) -> bool {
    let value = without_comment(value).trim();
    value == "''" || value == "\"\""
}

/// Returns the value that an indented line gives to an empty STATIC_ROOT.
fn chosen_below(text: &str) -> Option<&str> {
    let indented = text
        .lines()
        .filter(|line| line.starts_with([' ', '\t']))
        .map(str::trim_start);
    let mut values = indented
        .filter_map(assignment)
        .filter(|(name, _)| *name == "STATIC_ROOT")
        .map(|(_, value)| value);
    values.rfind(|value| !is_empty_text(value))
}

/// Names of settings modules for production, the best first. Others are parts of these, or for
/// developers.
const FOR_PRODUCTION: [&str; 5] = ["production", "prod", "settings", "base", "__init__"];

/// Returns the settings file for production, if a name shows it. Settings near the top belong to
/// the project, others to examples and tests.
pub(super) fn for_production(files: &BTreeSet<PathBuf>) -> Option<&Path> {
    let rank = |file: &Path| {
        let stem = file.file_stem()?.to_str()?;
        let rank = FOR_PRODUCTION.iter().position(|name| *name == stem)?;
        Some((
            file.components().count() - usize::from(stem != "settings"),
            rank,
        ))
    };
    files
        .iter()
        .filter_map(|file| Some((rank(file)?, file.as_path())))
        .min()
        .map(|(_, file)| file)
}

/// The expressions with which settings read variables.
const READS: [&str; 14] = [
    "os.environ[",
    "environ[",
    "env(",
    "config(",
    "env.str(",
    "env.int(",
    "env.bool(",
    "env.list(",
    "env.db(",
    "env.db_url(",
    "env.url(",
    "env.cache(",
    "environ.get(",
    "getenv(",
];

/// Returns the variables that settings read without a default through `os.environ`, django-environ,
/// or python-decouple, and those whose default they reject with an error of their own.
pub(super) fn demanded_variables(text: &str) -> BTreeMap<String, &'static str> {
    let text: String = text
        .lines()
        .map(|line| format!("{}\n", without_comment(line)))
        .collect();
    let mut demanded = BTreeMap::new();
    for read in READS {
        for (at, _) in text.match_indices(read) {
            demanded.extend(demanded_at(&text, read, at));
        }
    }
    demanded
}

fn without_comment(line: &str) -> &str {
    line.split_once(" #").map_or(line, |(code, _)| code)
}

/// Returns the required variable that is read at an offset, with a value for builds.
fn demanded_at(text: &str, read: &str, at: usize) -> Option<(String, &'static str)> {
    let is_in_else = is_in_else(&text[..at]);
    if !is_reading(&text[..at], read) && !is_in_else {
        return None;
    }
    let rest = text[at + read.len()..].trim_start();
    if let Some(name) = unnamed(read, rest) {
        return Some((name.to_owned(), build_value(name, read, "")));
    }
    let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let (name, after) = rest[1..].split_once(quote)?;
    let is_name = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    let arguments = after.trim_start();
    if !is_name || is_assigned(arguments, read) || is_looked_for(text, name) {
        return None;
    }
    // The branch for production; no settings look for a key to decide anything else.
    if is_in_else && !name.ends_with("SECRET_KEY") {
        return None;
    }

    let inside = arguments
        .split_once(')')
        .map_or(arguments, |(inside, _)| inside);
    let is_demanded = !(has_default(arguments, inside, read) || has_scheme_default(text, name))
        || is_refused(text, name, inside)
        || is_empty_key(text, at, inside);
    is_demanded.then(|| (name.to_owned(), build_value(name, read, inside)))
}

/// Returns the variable that django-environ reads for a database without being told another name:
/// `env.db()`, `env.db(engine="…")`.
fn unnamed(read: &str, arguments: &str) -> Option<&'static str> {
    let is_unnamed = || {
        let name = arguments.split(['=', '(', ',']).next().unwrap_or_default();
        arguments.starts_with(')') || ["engine", "env_options"].contains(&name.trim_end())
    };
    (["env.db(", "env.db_url("].contains(&read) && is_unnamed()).then_some("DATABASE_URL")
}

/// Returns whether `environ["NAME"] = …` sets the variable instead of reading it.
fn is_assigned(arguments: &str, read: &str) -> bool {
    read.ends_with('[')
        && arguments
            .trim_start_matches(']')
            .trim_start()
            .starts_with("= ")
}

/// Returns whether the settings check if the variable is set: `"NAME" in os.environ`.
fn is_looked_for(text: &str, name: &str) -> bool {
    ['"', '\'']
        .iter()
        .any(|quote| text.contains(&format!("{quote}{name}{quote} in ")))
}

/// Returns whether a call has a default for a variable that is not set. `arguments` follow the
/// name, and `inside` is their part up to the parenthesis.
fn has_default(arguments: &str, inside: &str, read: &str) -> bool {
    let is_named = inside.contains("cast=") || inside.contains("engine=");
    let is_alone = arguments.starts_with([')', ']']) || is_named && !inside.contains("default=");
    !is_alone || ["environ.get(", "getenv("].contains(&read)
}

/// Returns whether django-environ is told a variable's default beforehand: `Env(PAGES=(int, 24))`.
fn has_scheme_default(text: &str, name: &str) -> bool {
    let head = format!("{name}=(");
    text.match_indices(&head).any(|(at, _)| {
        let rest = &text[at + head.len()..];
        let is_whole = !text[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric());
        let inside = rest.split(')').next().unwrap_or(rest);
        let default = inside.split_once(',').map_or("", |(_, default)| default);
        is_whole && !default.trim().is_empty()
    })
}

/// Returns whether a variable is read after a text in every run: not in a comment or a condition,
/// and not by a function whose name only ends like this one.
fn is_reading(before: &str, read: &str) -> bool {
    let is_of_another_name = match before.chars().next_back() {
        Some('.') => !["environ[", "environ.get(", "getenv("].contains(&read),
        Some(c) => c == '_' || c.is_alphanumeric(),
        None => false,
    };
    let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
    !is_of_another_name && !line.trim_start().starts_with('#') && !is_conditional(before)
}

/// Returns whether the settings reject a variable's default, so that an error names the variable: a
/// text, or an empty value that they check. An error about a variable with a numeric default is
/// about invalid values.
fn is_refused(text: &str, name: &str, arguments: &str) -> bool {
    let default = arguments.trim_start_matches(',').trim_start();
    let default = default
        .strip_prefix("default=")
        .unwrap_or(default)
        .trim_end();
    let has_text = default.starts_with(['"', '\'']);
    let looks_for_none = || {
        [
            format!("not {name}"),
            format!("{name} is None"),
            format!("{name} in [None"),
            format!("{name} in (None"),
        ]
        .iter()
        .any(|question| text.contains(question))
    };
    let may_be_refused = has_text || (["", "None"].contains(&default) && looks_for_none());

    let raised = text
        .split("raise ")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap_or_default());
    let words =
        raised.flat_map(|message| message.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()));
    may_be_refused && name.contains('_') && words.into_iter().any(|word| word == name)
}

/// Returns whether the variable that is read at an offset is the SECRET_KEY by itself, and nothing
/// stands for it: Django refuses an empty one.
fn is_empty_key(text: &str, at: usize, arguments: &str) -> bool {
    let before = &text[..at];
    let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
    let default = arguments.trim_start_matches([',', ' ']);
    let default = default.strip_prefix("default=").unwrap_or(default);
    line.starts_with("SECRET_KEY =")
        && ["", "None", "''", "\"\""].contains(&default.trim_end())
        && !text.contains("not SECRET_KEY")
}

/// Iterates over the environment variables whose names suggest a data directory.
pub(super) fn data_variables(text: &str) -> impl Iterator<Item = String> + '_ {
    let reads = ["environ[", "environ.get(", "getenv("];
    let names = reads.into_iter().flat_map(move |start| {
        text.split(start).skip(1).filter_map(|rest| {
            let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
            Some(rest[1..].split_once(quote)?.0)
        })
    });
    names
        .filter(|name| *name == "DATA_DIR" || name.ends_with("_DATA_DIR"))
        .map(str::to_owned)
}

/// Returns whether code after a text runs only sometimes: it is indented below a conditional
/// statement.
fn is_conditional(before: &str) -> bool {
    let mut lines = before.rsplit('\n');
    let is_indented = lines
        .next()
        .is_some_and(|line| line.starts_with([' ', '\t']));
    let mut above =
        lines.filter(|line| !line.is_empty() && !line.starts_with([' ', '\t', '#', ')', ']', '}']));
    let Some(statement) = above.next().filter(|_| is_indented) else {
        return false;
    };
    if statement.starts_with("else") && above.next().is_some_and(asks_for_a_variable) {
        return false;
    }
    let chooses = [
        "if ", "elif ", "else", "try", "except", "def ", "class ", "for ", "with ", "async ",
    ];
    chooses.iter().any(|word| statement.starts_with(word))
}

/// Returns whether `SECRET_KEY = ` comes before what follows a text, below the `else` of a module.
fn is_in_else(before: &str) -> bool {
    let (above, line) = before.rsplit_once('\n').unwrap_or(("", before));
    let is_statement = |line: &&str| !line.is_empty() && !line.starts_with([' ', '\t', '#', ')']);
    line.trim_start().starts_with("SECRET_KEY =")
        && is_conditional(before)
        && above
            .rsplit('\n')
            .find(is_statement)
            .is_some_and(|statement| statement.starts_with("else"))
}

/// Returns whether a statement only checks a variable, which builds do not set: every build then
/// reaches its `else`.
fn asks_for_a_variable(statement: &str) -> bool {
    let condition = statement
        .strip_prefix("if ")
        .map(|rest| rest.trim_end().trim_end_matches(':'));
    condition.is_some_and(|condition| {
        let reads = ["os.environ.get(", "os.getenv(", "getenv("]
            .iter()
            .any(|read| condition.starts_with(read) && condition.ends_with(')'));
        let looks = condition.ends_with(" in os.environ") && condition.starts_with(['"', '\'']);
        (reads || looks) && condition.matches(['(', ',']).count() <= 1
    })
}

/// Returns a value of the expected type that no build can mistake for a real one.
fn build_value(name: &str, read: &str, arguments: &str) -> &'static str {
    match () {
        () if read.starts_with("env.db") || name == "DATABASE_URL" => "sqlite://:memory:",
        () if read == "env.int(" || arguments.contains("cast=int") || name.ends_with("_PORT") => {
            "1"
        }
        () if read == "env.bool(" || arguments.contains("cast=bool") || name.contains("DEBUG") => {
            "0"
        }
        () if name.ends_with("_ENGINE") => "django.db.backends.sqlite3",
        () if name.ends_with("_URL") || name.ends_with("_URI") => "http://localhost",
        () => "only-for-the-build",
    }
}
