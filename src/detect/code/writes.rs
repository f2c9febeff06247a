//! Paths inside of the tree that an application writes to when it runs.
//!
//! Sure are settings that mean such a path whatever they are for (`MEDIA_ROOT`, the file of a
//! SQLite database), and calls that make a file or a directory which the tree does not have. Code
//! of the project's developers writes, too, and is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::expression::{
    Argument, AssignedNames, ExpressionReader, ExpressionValue, TREE, is_constant, positional,
};
use super::line::lines_at;

/// How settings are called that name a directory of files which users or the application bring.
const DIRECTORIES: [&str; 12] = [
    "MEDIA_ROOT",
    "MEDIA_DIR",
    "MEDIA_FOLDER",
    "UPLOAD_FOLDER",
    "UPLOAD_DIR",
    "UPLOADS_FOLDER",
    "UPLOADS_DIR",
    "UPLOAD_PATH",
    "UPLOADS_DEFAULT_DEST",
    "SESSION_FILE_DIR",
    "CACHE_DIR",
    "LOG_FOLDER",
];

/// The key of the file in the settings of a logging handler, and of queues that SQLite keeps.
const FILE_NAME: &str = "filename";

/// Words in the name of a module that only developers and tests have.
const FOR_DEVELOPERS: [&str; 6] = ["dev", "test", "local", "example", "sample", "demo"];

/// A path that the application writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenPath {
    /// Relative to the tree; a directory ends in `/`.
    pub(crate) path: String,
    /// The module that does it, relative to the tree.
    pub(crate) by: String,
    /// Whether the path counts from the working directory.
    pub(crate) is_relative: bool,
    /// The variable of the environment that says another path, and the path that it has otherwise.
    pub(crate) variable: Option<(String, String)>,
}

/// The modules that can have something to do with paths.
#[derive(Debug, Default)]
pub(super) struct ModuleSources {
    texts: BTreeMap<PathBuf, String>,
}

impl ModuleSources {
    /// Keeps a module's text if it could say where something is written.
    pub(super) fn keep(&mut self, path: &Path, text: &str) {
        let words = [
            "__file__",
            "mkdir",
            "makedirs",
            "open(",
            "sqlite",
            "_ROOT",
            "_DIR",
            "_FOLDER",
            "FileHandler",
        ];
        if words.iter().any(|word| text.contains(word)) {
            self.texts.insert(path.to_owned(), text.to_owned());
        }
    }

    /// Finds what is written inside of the tree in `root`.
    pub(super) fn written(&self, root: &Path) -> Vec<WrittenPath> {
        let mut all = AssignedNames::new();
        // Settings use what other modules say: a second look knows all names.
        for _ in 0..2 {
            for (path, text) in self.modules() {
                names_of(path, text, &mut all);
            }
        }
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        for (path, text) in self.modules() {
            let own = names_of(path, text, &mut all);
            let file = format!("{TREE}/{}", path.display());
            let look = ModuleView {
                root,
                path,
                text,
                file,
                names: [&own, &all],
            };
            found.extend(look.settings());
            found.extend(look.calls(&mut expected));
        }
        // A directory that the tree has is written to if a file in it is.
        expected.retain(|directory| {
            found
                .iter()
                .any(|written| written.path.starts_with(&directory.path))
        });
        found.extend(expected);
        outermost(found)
    }

    /// Whether a build may collect static files below a directory of the tree.
    pub(super) fn may_collect_below(&self, directory: &str) -> bool {
        let mut all = AssignedNames::new();
        for (path, text) in self.modules() {
            names_of(path, text, &mut all);
        }
        let is_below = |path: &Path, text: &str| {
            let file = format!("{TREE}/{}", path.display());
            let own = names_of(path, text, &mut all.clone());
            let values = lines_at(text).filter_map(|(at, line)| {
                let (_, value_at) = assigned(line).filter(|(name, _)| name == "STATIC_ROOT")?;
                Some(ExpressionReader::new(text, at + value_at, &file, [&own, &all]).expression())
            });
            let mut places = values.map(|value| inside(&value?.text));
            places.any(|place| place.is_none_or(|place| Path::new(&place).starts_with(directory)))
        };
        self.modules().any(|(path, text)| is_below(path, text))
    }

    /// Whether the application has a name as a path in a string.
    pub(super) fn mention(&self, name: &str) -> bool {
        // What a build collects is in the release already.
        let is_collected = |line: &&str| !line.contains("STATIC_ROOT");
        self.modules().any(|(_, text)| {
            super::mentions(text, name)
                && super::mentions(
                    &text
                        .lines()
                        .filter(is_collected)
                        .collect::<Vec<_>>()
                        .join("\n"),
                    name,
                )
        })
    }

    fn modules(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.texts
            .iter()
            .filter(|(path, _)| is_of_the_application(path))
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }
}

/// Whether a module runs in the application: commands of developers write into the tree on purpose.
pub(super) fn is_of_the_application(path: &Path) -> bool {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let is_for_developers = |name: &str| {
        name.split(['_', '-', '.'])
            .any(|word| FOR_DEVELOPERS.contains(&word) || word == "development")
    };
    let directories = path
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .map(|part| part.to_string_lossy().to_lowercase());
    let is_command = path
        .parent()
        .is_some_and(|parent| parent.ends_with("management/commands"));
    let mut aside = directories.filter(|name| {
        is_for_developers(name)
            || ["cli", "extra", "extras", "contrib", "utils", "update"].contains(&name.as_str())
                && path.iter().count() == 2
    });
    !is_command && !is_for_developers(&stem) && stem != "setup" && aside.next().is_none()
}

/// The names that a module gives a value; those in capitals become known everywhere.
fn names_of(path: &Path, text: &str, all: &mut AssignedNames) -> AssignedNames {
    let file = format!("{TREE}/{}", path.display());
    let mut own = AssignedNames::new();
    let mut is_function = false;
    for (at, line) in lines_at(text) {
        if !line.starts_with([' ', '\t']) && !line.is_empty() {
            is_function = line.starts_with("def ")
                || line.starts_with("async def ")
                || line.starts_with("class ");
        }
        let Some((name, value_at)) = assigned(line) else {
            continue;
        };
        // Local names are what the last call has made of them.
        let is_known_everywhere = is_constant(&name);
        if is_function && !is_known_everywhere {
            continue;
        }
        let value = ExpressionReader::new(text, at + value_at, &file, [&own, all]).expression();
        let Some(value) = value else { continue };
        if is_known_everywhere {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
        own.insert(name, value);
    }
    own
}

/// `NAME = value`, `NAME: type = value`, `app.config["NAME"] = value` and `"NAME": value`; the
/// name, and where the value begins.
fn assigned(line: &str) -> Option<(String, usize)> {
    let body = line.trim_start();
    let (name, value) = if body.starts_with(['"', '\'']) {
        entry(body)?
    } else {
        assignment(body)?
    };
    Some((name.to_owned(), line.len() - value.len()))
}

/// `"NAME": value` in a dictionary.
fn entry(body: &str) -> Option<(&str, &str)> {
    let quote = body.chars().next()?;
    let (key, rest) = body[1..].split_once(quote)?;
    let value = rest.trim_start().strip_prefix(':')?;
    (is_constant(key) || key == FILE_NAME).then_some((key, value))
}

fn assignment(body: &str) -> Option<(&str, &str)> {
    let (left, value) = body.split_once('=')?;
    if value.starts_with('=') || left.ends_with(['!', '<', '>', '+', '-', '*', '/', '|', ':']) {
        return None;
    }
    let left = left.split(':').next().unwrap_or(left).trim_end();
    let name = match left.split_once("config[") {
        Some((_, key)) => key.trim_end_matches(']').trim_matches(['"', '\'']),
        None => left,
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    is_name.then_some((name, value))
}

/// One module, and what is known when it is read.
struct ModuleView<'a> {
    root: &'a Path,
    path: &'a Path,
    text: &'a str,
    /// What `__file__` is.
    file: String,
    names: [&'a AssignedNames; 2],
}

impl ModuleView<'_> {
    /// Settings that mean a path which is written to.
    fn settings(&self) -> Vec<WrittenPath> {
        let mut found = Vec::new();
        for (at, line) in lines_at(self.text) {
            let Some((name, value_at)) = assigned(line) else {
                continue;
            };
            if let Some(value) = self.value(at + value_at) {
                found.extend(self.setting(&name, value, at));
            }
        }
        found
    }

    /// The path that a setting means, if the application writes there. `at` is where its line
    /// begins.
    fn setting(&self, name: &str, value: ExpressionValue, at: usize) -> Option<WrittenPath> {
        if let Some(database) = value.text.strip_prefix("sqlite:///") {
            let value = ExpressionValue {
                text: database.to_owned(),
                variable: value.variable,
            };
            // Flask counts relative ones from a directory of its own.
            let is_uri = name.ends_with("DATABASE_URI");
            self.written(&value, false)
                .filter(|written| !(is_uri && written.is_relative))
        } else if is_directory_setting(name) {
            let may_be_relative = name == "MEDIA_ROOT" || name.starts_with("UPLOAD");
            self.written(&value, true)
                .filter(|written| may_be_relative || !written.is_relative)
        } else if is_data(name) && value.variable.is_some() {
            // Who installs it may say another place: it is no part of the code.
            self.written(&value, true)
                .filter(|written| !written.is_relative && self.is_new(written))
        } else if name == "NAME" && self.is_sqlite(at) {
            self.written(&value, false)
        } else if name == "LOCATION" && self.around(at).contains("FileBasedCache") {
            self.written(&value, true)
                .filter(|written| !written.is_relative)
        } else if name == FILE_NAME && self.around(at).contains("Handler") {
            self.written(&value, false)
                .map(|written| self.with_rotated_logs(written))
        } else if name == FILE_NAME && self.around(at).contains("Sqlite") {
            self.written(&value, false)
        } else {
            None
        }
    }

    /// A log file, or its directory if that is for logs alone: handlers rename files in it.
    fn with_rotated_logs(&self, written: WrittenPath) -> WrittenPath {
        let directory = written.path.rsplit_once('/').map(|(above, _)| WrittenPath {
            path: format!("{above}/"),
            ..written.clone()
        });
        directory
            .filter(|directory| self.is_new(directory))
            .unwrap_or(written)
    }

    /// Whether the tree lacks a path, or keeps an empty directory for it.
    fn is_new(&self, written: &WrittenPath) -> bool {
        let place = self.root.join(&written.path);
        !place.exists() || is_placeholder(&place)
    }

    /// Calls that make what the tree does not have; directories that it has are put into
    /// `expected`.
    fn calls(&self, expected: &mut Vec<WrittenPath>) -> Vec<WrittenPath> {
        let mut found = Vec::new();
        let mut values = self.arguments_of_functions();
        values.extend(self.receivers_of_methods());
        for (value, is_directory) in values {
            let Some(written) = self.made(&value, is_directory) else {
                continue;
            };
            if self.is_new(&written) {
                found.push(written);
            } else if is_directory {
                expected.push(written);
            }
        }
        found
    }

    /// The first arguments of functions that write, and whether each is a directory.
    fn arguments_of_functions(&self) -> Vec<(ExpressionValue, bool)> {
        let mut values = Vec::new();
        for (call, is_directory) in [
            ("makedirs(", true),
            ("os.mkdir(", true),
            ("FileHandler(", false),
            ("sqlite3.connect(", false),
            ("open(", false),
        ] {
            for (at, _) in self.text.match_indices(call) {
                if self.is_comment(at) || self.is_of_another_name(call, at) {
                    continue;
                }
                let arguments =
                    ExpressionReader::new(self.text, at + call.len(), &self.file, self.names)
                        .arguments();
                if call == "open(" && !opens_to_write(&arguments) {
                    continue;
                }
                let first = positional(&arguments).next().flatten();
                values.extend(first.map(|value| (value.clone(), is_directory)));
            }
        }
        values
    }

    /// Whether a call is one of a function whose name only ends in this one.
    fn is_of_another_name(&self, call: &str, at: usize) -> bool {
        let before = self.text[..at].chars().next_back();
        call != "FileHandler("
            && before
                .is_some_and(|c| c == '_' || c.is_alphanumeric() || c == '.' && call == "open(")
    }

    /// The paths that have methods called that write, and whether each is a directory.
    fn receivers_of_methods(&self) -> Vec<(ExpressionValue, bool)> {
        let mut values = Vec::new();
        for (call, is_directory) in [
            (".mkdir(", true),
            (".write_text(", false),
            (".write_bytes(", false),
            (".touch(", false),
        ] {
            for (at, _) in self.text.match_indices(call) {
                if self.is_comment(at) {
                    continue;
                }
                let before = &self.text[..at];
                let value = ExpressionReader::new(before, receiver(before), &self.file, self.names)
                    .expression();
                values.extend(value.map(|value| (value, is_directory)));
            }
        }
        values
    }

    /// The path of a call.
    fn made(&self, value: &ExpressionValue, is_directory: bool) -> Option<WrittenPath> {
        let written = self.written(value, is_directory)?;
        // Whether it counts from the working directory, and which one that is then, depends on the
        // call.
        (!written.is_relative).then_some(written)
    }

    /// A value as a path inside of the tree.
    fn written(&self, value: &ExpressionValue, is_directory: bool) -> Option<WrittenPath> {
        let is_relative = !value.text.starts_with('/') && !value.text.contains(TREE);
        let path = if is_relative {
            normal(&value.text)
        } else {
            inside(&value.text)
        };
        let variable = value
            .variable
            .as_ref()
            .and_then(|variable| Some((variable.name.clone(), inside(&variable.default)?)));
        let is_code = |path: &str| self.root.join(path).join("__init__.py").is_file();
        let path = path.filter(|path| {
            !is_code(path) && is_plain(path) && !self.root.join(path).join("manage.py").is_file()
        });
        let by = self.path.display().to_string();
        let path = path.map(|path| {
            if is_directory {
                format!("{path}/")
            } else {
                path
            }
        });
        path.map(|path| WrittenPath {
            path,
            by,
            is_relative,
            variable,
        })
    }

    /// Whether an entry is one of a database that SQLite keeps in a file.
    fn is_sqlite(&self, at: usize) -> bool {
        self.around(at).contains("sqlite3")
    }

    /// The entries of the same dictionary, about.
    fn around(&self, at: usize) -> &str {
        let begin = self.text[..at].rfind('{').unwrap_or(0);
        let end = self.text[at..]
            .find('}')
            .map_or(self.text.len(), |end| at + end);
        &self.text[begin..end]
    }

    fn is_comment(&self, at: usize) -> bool {
        self.text[..at]
            .rsplit('\n')
            .next()
            .is_some_and(|line| line.trim_start().starts_with('#'))
    }

    fn value(&self, at: usize) -> Option<ExpressionValue> {
        ExpressionReader::new(self.text, at, &self.file, self.names).expression()
    }
}

/// Whether the arguments of `open` have a mode that writes.
fn opens_to_write(arguments: &[Argument]) -> bool {
    let named = arguments
        .iter()
        .find(|(name, _)| name.as_deref() == Some("mode"));
    let mode = match named {
        Some((_, mode)) => mode.as_ref(),
        None => positional(arguments).nth(1).flatten(),
    };
    mode.is_some_and(|mode| mode.text.starts_with(['w', 'a', 'x']))
}

/// Whether a setting names a directory that is always written to, with or without a prefix.
fn is_directory_setting(name: &str) -> bool {
    DIRECTORIES
        .iter()
        .any(|known| name == *known || name.ends_with(&format!("_{known}")))
}

/// Whether a setting's name may be that of a directory with data.
fn is_data(name: &str) -> bool {
    let ends = ["_DIR", "_ROOT", "_FOLDER", "_DIRECTORY"];
    let is_code = [
        "STATIC", "TEMPLATE", "BASE", "PROJECT", "APP_", "LOCALE", "FRONTEND", "SOURCE", "PLUGIN",
    ];
    ends.iter().any(|end| name.ends_with(end)) && !is_code.iter().any(|word| name.contains(word))
}

/// Where an expression begins that ends with a text: brackets, names and dots.
fn receiver(text: &str) -> usize {
    let mut open = 0_usize;
    for (at, c) in text.char_indices().rev() {
        match c {
            ')' | ']' => open += 1,
            '(' | '[' if open > 0 => open -= 1,
            c if open > 0 || c == '_' || c == '.' || c.is_ascii_alphanumeric() => {}
            c => return at + c.len_utf8(),
        }
    }
    0
}

/// The path of an absolute one below the tree; `None` for the tree itself, and for others.
fn inside(text: &str) -> Option<String> {
    normal(text.strip_prefix(TREE)?.strip_prefix('/')?)
}

/// A relative path without `.` and `..`; `None` if it leads out or nowhere.
fn normal(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Whether a directory is in a repository for its own sake only: `.gitkeep` and the like keep it
/// there.
fn is_placeholder(directory: &Path) -> bool {
    directory.is_dir() && super::super::listed(directory).is_empty()
}

/// Whether `writable` takes it, and it is no code.
fn is_plain(path: &str) -> bool {
    !path.ends_with(".py")
        && path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._+@-/".contains(c))
}

/// Leaves out what lies in another one.
fn outermost(found: Vec<WrittenPath>) -> Vec<WrittenPath> {
    let directories: BTreeSet<String> = found
        .iter()
        .filter(|written| written.path.ends_with('/'))
        .map(|written| written.path.clone())
        .collect();
    let mut kept: Vec<WrittenPath> = Vec::new();
    for written in found {
        let is_in = |directory: &String| {
            written.path != *directory && written.path.starts_with(directory.as_str())
        };
        let is_known = kept
            .iter()
            .any(|known| known.path.trim_end_matches('/') == written.path.trim_end_matches('/'));
        if !is_known && !directories.iter().any(is_in) {
            kept.push(written);
        }
    }
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    kept
}
