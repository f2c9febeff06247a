//! The environment variables that the modules of an application read, as settings: `os.environ`,
//! django-environ, environs, python-decouple, and fields of pydantic's settings.

use std::path::{Path, PathBuf};

use pkgapp_config::holds_password;

use super::line::{bases_of, lines_at};
use super::python::{CallArgument, Literal, arguments};

/// A variable of the environment that the code reads.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSetting {
    /// The variable.
    pub name: String,
    /// What it is, as `type` of a setting.
    pub kind: SettingKind,
    /// The value that the code has for it, as far as a configuration can say it.
    pub default: Option<Literal>,
    /// Whether the code does without it.
    pub is_optional: bool,
    /// What it is for, if a file for deployments says so.
    pub help: Option<String>,
    /// The file, relative to the tree.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// The types of settings that code shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`, as a library reads it.
    Boolean,
    /// Texts with commas between them.
    List,
    /// What no package may have.
    Secret,
}

impl SettingKind {
    /// Returns the value of `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Secret => "secret",
        }
    }
}

/// A function or mapping that reads variables.
struct VariableReader {
    text: &'static str,
    /// What its second argument is.
    second: Second,
    /// The type of its values, if the name of the function says it.
    kind: Option<SettingKind>,
    /// A module that has it.
    library: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    /// There is none, and the variable must be there.
    Nothing,
    /// What stands for the variable; without it, `None` does.
    Optional,
    /// What stands for the variable, which otherwise must be there.
    Default,
}

/// What the standard library has.
const SYSTEM: VariableReader = VariableReader {
    text: "environ[",
    second: Second::Nothing,
    kind: None,
    library: "os",
};

/// What django-environ and environs have, which call their object alike.
const ENVIRON: VariableReader = VariableReader {
    text: "env(",
    second: Second::Default,
    kind: None,
    library: "environ",
};

/// A copy of the environment: `env = os.environ.copy()`.
const COPY: VariableReader = VariableReader {
    text: "env[",
    library: "copy",
    ..SYSTEM
};

const READERS: [VariableReader; 19] = [
    SYSTEM,
    COPY,
    VariableReader {
        text: "env.get(",
        second: Second::Optional,
        ..COPY
    },
    VariableReader {
        text: "environ.get(",
        second: Second::Optional,
        ..SYSTEM
    },
    VariableReader {
        text: "getenv(",
        second: Second::Optional,
        ..SYSTEM
    },
    ENVIRON,
    VariableReader {
        text: "env.str(",
        ..ENVIRON
    },
    VariableReader {
        text: "env.int(",
        kind: Some(SettingKind::Integer),
        ..ENVIRON
    },
    VariableReader {
        text: "env.float(",
        kind: Some(SettingKind::Number),
        ..ENVIRON
    },
    VariableReader {
        text: "env.bool(",
        kind: Some(SettingKind::Boolean),
        ..ENVIRON
    },
    VariableReader {
        text: "env.list(",
        kind: Some(SettingKind::List),
        ..ENVIRON
    },
    VariableReader {
        text: "env.url(",
        ..ENVIRON
    },
    VariableReader {
        text: "env.path(",
        ..ENVIRON
    },
    VariableReader {
        text: "env.db(",
        kind: Some(SettingKind::Secret),
        ..ENVIRON
    },
    VariableReader {
        text: "env.db_url(",
        kind: Some(SettingKind::Secret),
        ..ENVIRON
    },
    VariableReader {
        text: "env.cache(",
        kind: Some(SettingKind::Secret),
        ..ENVIRON
    },
    VariableReader {
        text: "env.cache_url(",
        kind: Some(SettingKind::Secret),
        ..ENVIRON
    },
    VariableReader {
        text: "env.email_url(",
        kind: Some(SettingKind::Secret),
        ..ENVIRON
    },
    VariableReader {
        text: "config(",
        library: "decouple",
        ..ENVIRON
    },
];

/// Variables that are for tools and for the machine, not for the application.
const OF_OTHERS: [&str; 7] = [
    "CI",
    "DJANGO_SETTINGS_MODULE",
    "EDITOR",
    "FLASK_APP",
    "HOSTNAME",
    "TERM",
    "VIRTUAL_ENV",
];

/// Returns the variables that a module reads.
pub(super) fn read(path: &Path, text: &str) -> Vec<FoundSetting> {
    let mut found = Vec::new();
    let has_library = |library: &str| match library {
        "os" => true,
        "copy" => text.contains("env = os.environ"),
        "environ" => {
            text.contains("import environ") || text.contains("from environ") || imports(text, "env")
        }
        library => text.contains(library) || imports(text, "config"),
    };
    for reader in READERS.iter().filter(|reader| has_library(reader.library)) {
        for (at, _) in text.match_indices(reader.text) {
            found.extend(read_at(path, text, reader, at));
        }
    }
    if text.contains("BaseSettings") {
        found.extend(fields(path, text));
    }
    found.retain(|setting| !OF_OTHERS.contains(&setting.name.as_str()));
    for setting in &mut found {
        setting.is_optional |= setting.default.is_none() && is_asked_for(text, &setting.name);
    }
    found.sort_by_key(|setting| setting.line);
    found
}

/// Whether a module imports a reader from another one: `from config.env import BASE_DIR, env`, or
/// `from .base import *`, as settings do.
fn imports(text: &str, reader: &str) -> bool {
    let mut imports = text
        .lines()
        .filter_map(|line| line.strip_prefix("from ")?.split_once(" import "));
    imports.any(|(module, names)| {
        let names = names.split('#').next().unwrap_or(names);
        let mut names = names.split(',').map(str::trim);
        names.any(|name| name == reader || name == "*" && module.starts_with('.'))
    })
}

/// Whether the code asks for a variable before it reads it: `if "NAME" in os.environ`.
fn is_asked_for(text: &str, name: &str) -> bool {
    ['"', '\''].iter().any(|quote| {
        ["in os.environ", "in environ", "in env"]
            .iter()
            .any(|mapping| text.contains(&format!("{quote}{name}{quote} {mapping}")))
    })
}

/// The variable that is read at a place.
fn read_at(path: &Path, text: &str, reader: &VariableReader, at: usize) -> Option<FoundSetting> {
    if !is_reading(&text[..at], reader) {
        return None;
    }
    let close = if reader.text.ends_with('[') { ']' } else { ')' };
    let (arguments, after) = arguments(&text[at + reader.text.len()..], close)?;
    let (name, others) = match arguments.first() {
        Some(CallArgument {
            name: None,
            value: Some(Literal::Text(name)),
            ..
        }) => (name.as_str(), &arguments[1..]),
        // django-environ has a name by itself.
        first if reader.text == "env.db(" && first.is_none_or(|first| first.name.is_some()) => {
            ("DATABASE_URL", &arguments[..])
        }
        _ => return None,
    };
    let is_assigned = close == ']'
        && after.trim_start().starts_with('=')
        && !after.trim_start().starts_with("==");
    if !is_variable(name) || is_assigned {
        return None;
    }

    let shown = Shown::of(reader, others, &text[..at], text, name);
    let mut setting = shown.setting(name, path, line_of(text, at));
    setting.is_optional |= setting.default.is_none() && is_for_some(&text[..at]);
    Some(setting)
}

/// Whether code after a text runs only where the application is configured for it: it is indented
/// below an `if` at the top of the module, such as `if STORAGE == "s3":`. A condition for production
/// holds on hosts.
fn is_for_some(before: &str) -> bool {
    let mut lines = before.rsplit('\n');
    let is_indented = lines
        .next()
        .is_some_and(|line| line.starts_with([' ', '\t']));
    let is_statement =
        |line: &&str| !line.is_empty() && !line.starts_with([' ', '\t', '#', ')', ']', '}']);
    let Some(statement) = lines.find(is_statement) else {
        return false;
    };
    let is_chosen = statement.starts_with("if ") || statement.starts_with("elif ");
    let condition = statement.to_lowercase();
    let is_for_production = condition.contains("prod") || condition.contains("not debug");
    is_indented && is_chosen && !is_for_production
}

/// What a call shows about a variable.
struct Shown {
    kind: Option<SettingKind>,
    default: Option<Literal>,
    /// Whether there is a default, which may be more than a literal.
    has_default: bool,
}

impl Shown {
    fn of(
        reader: &VariableReader,
        arguments: &[CallArgument<'_>],
        before: &str,
        text: &str,
        name: &str,
    ) -> Self {
        let named = |wanted: &str| {
            let mut arguments = arguments.iter();
            arguments.find(|argument| argument.name == Some(wanted))
        };
        let second = arguments.first().filter(|second| second.name.is_none());
        let scheme = scheme(text, name).filter(|_| reader.library == "environ");
        let second_type = second.and_then(|second| type_of(second.text));
        let cast = named("cast")
            .and_then(|cast| type_of(cast.text))
            .or(second_type);
        let default = named("default").or(second.filter(|_| second_type.is_none()));
        let is_wrapped = before.trim_end_matches("os.").ends_with("int(");
        let kind = reader
            .kind
            .or(cast)
            .or_else(|| scheme.as_ref()?.kind)
            .or(is_wrapped.then_some(SettingKind::Integer));
        match (default, scheme) {
            (Some(default), _) => Self {
                kind,
                default: default.value.clone(),
                has_default: true,
            },
            (None, Some(scheme)) => Self { kind, ..scheme },
            (None, None) => {
                let has_default = reader.second == Second::Optional;
                Self {
                    kind,
                    default: has_default.then_some(Literal::None),
                    has_default,
                }
            }
        }
    }

    /// Whether the code has an address or a path for a variable that is not set:
    /// `file:///data/media`.
    fn is_place(&self) -> bool {
        matches!(&self.default, Some(Literal::Text(text)) if text.contains("://") || text.starts_with('/'))
    }

    /// Whether the code has nothing for a variable that is not set.
    fn is_nothing(&self) -> bool {
        match &self.default {
            Some(Literal::Text(text)) => text.is_empty(),
            Some(Literal::None) => true,
            _ => false,
        }
    }

    fn setting(self, name: &str, path: &Path, line: usize) -> FoundSetting {
        let is_secret_type = self.kind == Some(SettingKind::Secret);
        // A switch or a number may be about a secret, but is none: `ALLOW_LOGIN_WITH_CREDENTIALS`.
        let is_plain = matches!(
            self.kind,
            Some(SettingKind::Boolean | SettingKind::Integer | SettingKind::Number)
        );
        let is_named_secret = !is_plain && is_secret(name);
        let is_in_default =
            matches!(&self.default, Some(Literal::Text(text)) if holds_password(text));
        // A key that stands in the code is known to everyone who has the code.
        let is_key = is_named_secret && !is_secret_type && !is_address(name) && !is_in_default;
        let is_known = is_key && !self.is_nothing() && !self.is_place();
        let (kind, default) = if is_secret_type || is_in_default || is_named_secret {
            (SettingKind::Secret, None)
        } else {
            fitting(self.kind, self.default)
        };
        FoundSetting {
            name: name.to_owned(),
            is_optional: self.has_default && !is_known && default.is_none(),
            default,
            kind,
            help: None,
            file: path.to_owned(),
            line,
        }
    }
}

/// The type of a setting and its default, if that fits the type.
fn fitting(kind: Option<SettingKind>, default: Option<Literal>) -> (SettingKind, Option<Literal>) {
    let shown = match &default {
        Some(Literal::Integer(_)) => SettingKind::Integer,
        Some(Literal::Float(_)) => SettingKind::Number,
        // What the code does with `True`, only it knows: a text of the environment is no Boolean.
        _ => SettingKind::String,
    };
    let kind = kind.unwrap_or(shown);
    let default = default.and_then(|default| fitted(kind, default));
    (kind, default)
}

/// Returns a default as a value of a type.
pub(crate) fn fitted(kind: SettingKind, default: Literal) -> Option<Literal> {
    match (kind, default) {
        (SettingKind::Integer, Literal::Text(text)) => {
            let number = text.trim().parse().ok()?;
            Some(Literal::Integer(number))
        }
        (SettingKind::List, Literal::Text(text)) => {
            let items = text.split(',').map(str::trim);
            let items = items.filter(|item| !item.is_empty());
            let texts = items.map(str::to_owned).collect();
            Some(Literal::Texts(texts))
        }
        (SettingKind::List, Literal::Texts(texts)) => {
            let is_plain = texts.iter().all(|text| !text.contains(','));
            is_plain.then_some(Literal::Texts(texts))
        }
        (kind, default) => is_of(kind, &default).then_some(default),
    }
}

fn is_of(kind: SettingKind, value: &Literal) -> bool {
    match kind {
        SettingKind::String => matches!(value, Literal::Text(_)),
        SettingKind::Integer => matches!(value, Literal::Integer(_)),
        SettingKind::Number => matches!(value, Literal::Integer(_) | Literal::Float(_)),
        SettingKind::Boolean => matches!(value, Literal::Boolean(_)),
        SettingKind::List | SettingKind::Secret => false,
    }
}

/// The type that a cast or an annotation stands for.
fn type_of(text: &str) -> Option<SettingKind> {
    let text = text.trim();
    match text {
        "str" => Some(SettingKind::String),
        "int" => Some(SettingKind::Integer),
        "float" => Some(SettingKind::Number),
        "bool" => Some(SettingKind::Boolean),
        "list" | "Csv" => Some(SettingKind::List),
        _ if text.starts_with("Csv(") => Some(SettingKind::List),
        _ => None,
    }
}

/// What `environ.Env(NAME=(bool, False))` says about a variable.
fn scheme(text: &str, name: &str) -> Option<Shown> {
    let head = format!("{name}=(");
    let at = text.find(&head)?;
    if text[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric()) {
        return None;
    }
    let (arguments, _) = arguments(&text[at + head.len()..], ')')?;
    let kind = type_of(arguments.first()?.text);
    Some(Shown {
        kind,
        default: arguments.get(1).and_then(|default| default.value.clone()),
        has_default: arguments.len() > 1,
    })
}

/// The fields of classes that are derived from pydantic's `BaseSettings`: a field `page_size` is the
/// variable `PAGE_SIZE`, with the prefix that the class names.
fn fields(path: &Path, text: &str) -> Vec<FoundSetting> {
    let prefix = text
        .split_once("env_prefix")
        .and_then(|(_, rest)| {
            rest.trim_start_matches([' ', '=', ':', '"', '\''])
                .split(['"', '\''])
                .next()
        })
        .filter(|prefix| {
            prefix
                .chars()
                .all(|c| c == '_' || c.is_ascii_alphanumeric())
        })
        .unwrap_or_default();
    let mut is_inside = false;
    let mut found = Vec::new();
    for (number, (_, line)) in lines_at(text).enumerate() {
        if line.starts_with("class ") {
            is_inside = bases_of(line).contains(&"BaseSettings");
        } else if !line.is_empty() && !line.starts_with([' ', '\t', '#', ')']) {
            is_inside = false;
        } else if is_inside && let Some((name, shown)) = field(line) {
            let name = format!("{prefix}{name}").to_uppercase();
            if is_variable(&name) {
                found.push(shown.setting(&name, path, number + 1));
            }
        }
    }
    found
}

/// Reads a field: `    name: type = default`.
fn field(line: &str) -> Option<(&str, Shown)> {
    let inside = line
        .strip_prefix("    ")
        .or_else(|| line.strip_prefix('\t'))?;
    let (name, rest) = inside.split_once(':')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    if !is_name || name == "model_config" {
        return None;
    }
    let rest = rest.split_once(" #").map_or(rest, |(rest, _)| rest);
    let (annotation, default) = match rest.split_once('=') {
        Some((annotation, default)) => (annotation.trim(), Some(default.trim())),
        None => (rest.trim(), None),
    };
    let kind = match annotation {
        "SecretStr" | "PostgresDsn" | "RedisDsn" | "AmqpDsn" => SettingKind::Secret,
        // Lists are JSON there.
        annotation => type_of(annotation).filter(|kind| *kind != SettingKind::List)?,
    };
    let default_is_call = default.is_some_and(|default| default.starts_with("Field("));
    Some((
        name,
        Shown {
            kind: Some(kind),
            default: default.and_then(Literal::parse),
            has_default: default.is_some() && !default_is_call,
        },
    ))
}

/// Whether a name is one that people give to variables of the environment.
fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Whether the value of a variable must stay secret, by the words of its name.
pub(crate) fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 7] = [
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "TOKEN",
        "KEY",
        "CREDENTIALS",
        "DSN",
    ];
    // About a secret, but none.
    const NOT: [&str; 9] = [
        "FILE", "PATH", "DIR", "PREFIX", "NAME", "AGE", "TIMEOUT", "TTL", "HEADER",
    ];
    let last = name.rsplit('_').next().unwrap_or(name);
    is_address(name) || !NOT.contains(&last) && name.split('_').any(|word| SECRET.contains(&word))
}

/// Whether a variable is an address that commonly holds a password.
pub(crate) fn is_address(name: &str) -> bool {
    const SERVERS: [&str; 9] = [
        "DATABASE", "DB", "REDIS", "BROKER", "CACHE", "AMQP", "RABBITMQ", "MONGODB", "MONGO",
    ];
    let address = name
        .strip_suffix("_URL")
        .or_else(|| name.strip_suffix("_URI"));
    address.is_some_and(|server| server.split('_').any(|word| SERVERS.contains(&word)))
}

/// Whether a variable is read after a text: not in a comment, and not by a function whose name only
/// ends like this one.
fn is_reading(before: &str, reader: &VariableReader) -> bool {
    let is_of_another_name = match before.chars().next_back() {
        Some('.') => reader.library != "os",
        Some(c) => c == '_' || c.is_alphanumeric(),
        None => false,
    };
    let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
    !is_of_another_name && !line.trim_start().starts_with('#') && !line.contains(" #")
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
