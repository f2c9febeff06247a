//! The modules that a release imports as soon as its own code runs: which of them the host's Python has in packages of
//! their own, and which nothing provides.
//!
//! Only imports that are certain count: statements at the top level of a module, not in a `try`, an `if` or a function. From
//! the application's own modules they are followed through all distributions. So `matplotlib.pyplot` asks for no tkinter,
//! although one of its backends does. Sources are read, never run.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::error::Result;
use crate::layer::Layer;
use crate::name::PythonMinor;
use crate::path::{InstallPath, ReleasePath};
use crate::tree::{Kind, Tree};

/// A part of Python's standard library that distributions package by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PythonPart {
    /// `distutils`, in Debian.
    Distutils,
    /// `ensurepip`, in Debian.
    Ensurepip,
    /// `dbm.gnu`, in Debian.
    Gdbm,
    /// `idlelib`.
    Idle,
    /// `lib2to3`, in Debian.
    Lib2to3,
    /// `test`, Python's own tests.
    Tests,
    /// `tkinter` and `turtle`.
    Tkinter,
}

impl PythonPart {
    /// Returns the part that a module belongs to.
    fn of(module: &str) -> Option<Self> {
        let top = module.split('.').next().unwrap_or(module);
        Some(match top {
            _ if module == "dbm.gnu" => Self::Gdbm,
            "_gdbm" => Self::Gdbm,
            "distutils" => Self::Distutils,
            "ensurepip" => Self::Ensurepip,
            "idlelib" => Self::Idle,
            "lib2to3" => Self::Lib2to3,
            "test" => Self::Tests,
            "tkinter" | "_tkinter" | "turtle" => Self::Tkinter,
            _ => return None,
        })
    }

    /// Returns the package of Debian and its derivatives, e.g. `python3.11-tk`, which `python3-tk` provides.
    pub fn deb(self, python: PythonMinor) -> String {
        match self {
            Self::Distutils => format!("python{python}-distutils"),
            Self::Ensurepip => format!("python{python}-venv"),
            Self::Gdbm => format!("python{python}-gdbm"),
            Self::Idle => format!("idle-python{python}"),
            Self::Lib2to3 => format!("python{python}-lib2to3"),
            Self::Tests => format!("libpython{python}-testsuite"),
            Self::Tkinter => format!("python{python}-tk"),
        }
    }

    /// Returns the package of Fedora, RHEL and theirs, if it is one of its own there. `python3-tkinter` of the default
    /// Python provides `python3.9-tkinter` (Fedora's Packaging Guidelines, "Automatic unversioned provides").
    pub fn rpm(self, python: PythonMinor) -> Option<String> {
        match self {
            Self::Idle => Some(format!("python{python}-idle")),
            Self::Tests => Some(format!("python{python}-test")),
            Self::Tkinter => Some(format!("python{python}-tkinter")),
            Self::Distutils | Self::Ensurepip | Self::Gdbm | Self::Lib2to3 => None,
        }
    }
}

/// The modules that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports {
    /// Parts of the standard library that are packages of their own, and the first file that imports each.
    pub parts: BTreeMap<PythonPart, String>,
    /// Top-level modules that nothing provides, and the first file that imports each.
    pub missing: BTreeMap<String, String>,
}

impl Imports {
    /// Follows the imports of the application's own modules: of its plain files, and of the distribution that is made of its
    /// project. `optional` are modules that it can do without.
    ///
    /// # Errors
    /// A source in the cache cannot be read.
    pub fn find(
        tree: &Tree,
        prefix: &InstallPath,
        python: PythonMinor,
        layers: &[Layer],
        own: Option<&str>,
        optional: &[String],
    ) -> Result<Self> {
        let mut search = Search::new(tree, prefix, python, optional)?;
        let is_own = |layer: &&Layer| {
            layer.manifest.distribution.as_ref().is_none_or(|distribution| Some(distribution.name.as_str()) == own)
        };
        for layer in layers.iter().filter(is_own) {
            search.start_from(layer);
        }
        search.run()?;
        Ok(search.found)
    }
}

/// A search through the modules of a release, in the order of their distance from the application's.
struct Search<'a> {
    tree: &'a Tree,
    prefix: &'a InstallPath,
    python: PythonMinor,
    optional: &'a [String],
    /// Directories from which modules are imported.
    roots: Vec<InstallPath>,
    /// Names under which the application's own files may be imported, whatever directory is on the path then.
    own_names: HashSet<String>,
    /// Sources to read, with the package that relative imports start from.
    queue: VecDeque<(InstallPath, Vec<String>)>,
    seen: HashSet<InstallPath>,
    /// Dotted names that were resolved.
    known: HashSet<String>,
    found: Imports,
}

impl<'a> Search<'a> {
    fn new(tree: &'a Tree, prefix: &'a InstallPath, python: PythonMinor, optional: &'a [String]) -> Result<Self> {
        let place = |below: &str| Ok::<_, crate::error::Error>(prefix.join(&ReleasePath::parse(below)?));
        let roots = vec![place("app")?, place(&format!("lib/python{python}/site-packages"))?];
        Ok(Self {
            tree,
            prefix,
            python,
            optional,
            roots,
            own_names: HashSet::new(),
            queue: VecDeque::new(),
            seen: HashSet::new(),
            known: HashSet::new(),
            found: Imports::default(),
        })
    }

    /// Takes the modules of a layer as executed, but for tests and what belongs to them.
    fn start_from(&mut self, layer: &Layer) {
        let sources = layer.manifest.entries.iter().filter(|entry| entry.path.as_str().ends_with(".py"));
        for path in sources.map(|entry| self.prefix.join(&entry.path)) {
            let Some((root, module)) = self.roots.iter().find_map(|root| Some((root, path.below(root)?))) else {
                continue;
            };
            let package: Vec<String> = module.as_str().split('/').map(str::to_owned).collect();
            let Some((file, directories)) = package.split_last() else { continue };
            if root == &self.roots[0] {
                self.own_names.extend(directories.iter().cloned());
                self.own_names.extend(file.strip_suffix(".py").map(str::to_owned));
            }
            let is_test = |name: &String| {
                let stem = name.strip_suffix(".py").unwrap_or(name);
                ["test", "tests", "testing", "conftest", "noxfile", "docs", "setup", "tasks", "fabfile"].contains(&stem)
                    || stem.starts_with("test_")
                    || stem.ends_with("_test")
            };
            if !package.iter().any(is_test) && self.seen.insert(path.clone()) {
                self.queue.push_back((path, directories.to_vec()));
            }
        }
    }

    fn run(&mut self) -> Result<()> {
        while let Some((path, package)) = self.queue.pop_front() {
            let Some(Kind::File(content)) = self.tree.get(&path).map(|entry| &entry.kind) else { continue };
            let text = content.read()?;
            let file = path.below(self.prefix).map_or_else(|| path.to_string(), |path| path.to_string());
            for import in certain_imports(&text) {
                for module in import.modules(&package) {
                    self.resolve(&module, &file);
                }
            }
        }
        Ok(())
    }

    /// Finds a module and the packages around it, which are executed first.
    fn resolve(&mut self, module: &str, file: &str) {
        let names: Vec<&str> = module.split('.').collect();
        for end in 1..=names.len() {
            let dotted = names[..end].join(".");
            if !self.known.insert(dotted.clone()) {
                continue;
            }
            if self.optional.iter().any(|name| is_within(&dotted, name)) {
                return;
            }
            match self.place(&names[..end]) {
                Place::Source(path, package) => {
                    if self.seen.insert(path.clone()) {
                        self.queue.push_back((path, package));
                    }
                }
                Place::Other => {}
                Place::None if end == 1 && !self.own_names.contains(names[0]) => {
                    self.judge(module, names[0], file);
                    // Each module of a package may be another part.
                    self.known.remove(&dotted);
                    return;
                }
                Place::None => return,
            }
        }
    }

    /// Decides about a module that is not in the release.
    fn judge(&mut self, module: &str, top: &str, file: &str) {
        let known = STANDARD.iter().find(|known| known.0 == top);
        let in_python = top.starts_with('_')
            || known.is_some_and(|(_, since, until)| (*since..*until).contains(&self.python.minor));
        // setuptools brings a distutils of its own.
        if top == "distutils" && matches!(self.place(&["setuptools"]), Place::Source(..)) {
            return;
        }
        if !in_python {
            self.found.missing.entry(top.to_owned()).or_insert_with(|| file.to_owned());
        } else if let Some(part) = PythonPart::of(module) {
            self.found.parts.entry(part).or_insert_with(|| file.to_owned());
        }
    }

    fn place(&self, names: &[&str]) -> Place {
        let below = names.join("/");
        let package = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for root in &self.roots {
            let at = |end: &str| ReleasePath::parse(&format!("{below}{end}")).ok().map(|path| root.join(&path));
            let file = |end: &str| at(end).filter(|path| self.tree.get(path).is_some());
            if let Some(path) = file("/__init__.py") {
                return Place::Source(path, package(names));
            }
            if let Some(path) = file(".py") {
                return Place::Source(path, package(&names[..names.len() - 1]));
            }
            if file("").is_some() || self.has_extension(root, &below) {
                return Place::Other;
            }
        }
        Place::None
    }

    /// Whether there is an extension module (`NAME.TAG.so`, `NAME.abi3.so`, `NAME.so`) or a module without its source.
    fn has_extension(&self, root: &InstallPath, below: &str) -> bool {
        let Some(first) = ReleasePath::parse(&format!("{below}.")).ok().map(|path| root.join(&path)) else {
            return false;
        };
        self.tree
            .range(&first)
            .take_while(|path| path.as_str().starts_with(first.as_str()))
            .any(|path| path.as_str().ends_with(".so") || path.as_str().ends_with(".pyc"))
    }
}

/// Where a module is.
enum Place {
    /// A source, and the package that its relative imports start from.
    Source(InstallPath, Vec<String>),
    /// A namespace package or compiled code.
    Other,
    /// Nowhere in the release.
    None,
}

/// Whether a dotted name is a module or something in it.
fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// An import statement.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    /// As written, with leading dots.
    module: String,
    /// The names behind `import`, if it begins with `from`.
    names: Vec<String>,
}

impl Import {
    /// Returns the modules that are executed, or may be: `from a import b` imports `a`, and `a.b` if that is a module.
    fn modules(&self, package: &[String]) -> Vec<String> {
        let name = self.module.trim_start_matches('.');
        let dots = self.module.len() - name.len();
        if dots > package.len() {
            return Vec::new();
        }
        let start = if dots == 0 { &[][..] } else { &package[..package.len() + 1 - dots] };
        let mut parts: Vec<&str> = start.iter().map(String::as_str).collect();
        parts.extend(name.split('.').filter(|part| !part.is_empty()));
        let base = parts.join(".");
        let of_names = self.names.iter().filter(|name| *name != "*").map(|name| format!("{base}.{name}"));
        std::iter::once(base.clone())
            .chain(of_names)
            .filter(|name| !name.starts_with('.') && !name.is_empty())
            .collect()
    }
}

/// Returns the imports at the top level of a source.
fn certain_imports(text: &[u8]) -> Vec<Import> {
    let lines = Lines { text, at: 0 };
    let simple = lines.filter(|line| line.starts_with("import ") || line.starts_with("from "));
    simple.flat_map(|line| line.split(';').flat_map(import).collect::<Vec<_>>()).collect()
}

/// Reads a statement; `import a, b` is two.
fn import(statement: &str) -> Vec<Import> {
    let statement = statement.trim();
    let first_word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some(modules) = statement.strip_prefix("import ") {
        let modules = modules.split(',').map(first_word).filter(|module| is_dotted(module));
        return modules.map(|module| Import { module, names: Vec::new() }).collect();
    }
    let Some((module, names)) = statement.strip_prefix("from ").and_then(|rest| rest.split_once(" import")) else {
        return Vec::new();
    };
    let module: String = module.split_whitespace().collect();
    if !is_dotted(module.trim_start_matches('.')) && !module.chars().all(|c| c == '.') {
        return Vec::new();
    }
    let names = names.trim().trim_start_matches('(').trim_end_matches(')').split(',');
    let names = names.map(first_word).filter(|name| name == "*" || is_dotted(name)).collect();
    vec![Import { module, names }]
}

fn is_dotted(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// The logical lines of a source ("Lexical analysis" of Python's reference): without comments and the content of strings, and
/// with a space for line ends within brackets and after backslashes.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    /// Skips the string that begins here. One in single quotes ends with its line, so that a mistake does not go on.
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

impl Iterator for Lines<'_> {
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

/// The modules of the standard library on Linux: since which minor version of Python 3, and until which (exclusive).
/// Source: `sys.stdlib_module_names`, and "What's New in Python", 3.9 to 3.14.
const STANDARD: &[(&str, u8, u8)] = &[
    ("abc", 0, u8::MAX),
    ("aifc", 0, 13),
    ("annotationlib", 14, u8::MAX),
    ("antigravity", 0, u8::MAX),
    ("argparse", 0, u8::MAX),
    ("array", 0, u8::MAX),
    ("ast", 0, u8::MAX),
    ("asynchat", 0, 12),
    ("asyncio", 0, u8::MAX),
    ("asyncore", 0, 12),
    ("atexit", 0, u8::MAX),
    ("audioop", 0, 13),
    ("base64", 0, u8::MAX),
    ("bdb", 0, u8::MAX),
    ("binascii", 0, u8::MAX),
    ("binhex", 0, 11),
    ("bisect", 0, u8::MAX),
    ("builtins", 0, u8::MAX),
    ("bz2", 0, u8::MAX),
    ("cProfile", 0, u8::MAX),
    ("calendar", 0, u8::MAX),
    ("cgi", 0, 13),
    ("cgitb", 0, 13),
    ("chunk", 0, 13),
    ("cmath", 0, u8::MAX),
    ("cmd", 0, u8::MAX),
    ("code", 0, u8::MAX),
    ("codecs", 0, u8::MAX),
    ("codeop", 0, u8::MAX),
    ("collections", 0, u8::MAX),
    ("colorsys", 0, u8::MAX),
    ("compileall", 0, u8::MAX),
    ("compression", 14, u8::MAX),
    ("concurrent", 0, u8::MAX),
    ("configparser", 0, u8::MAX),
    ("contextlib", 0, u8::MAX),
    ("contextvars", 0, u8::MAX),
    ("copy", 0, u8::MAX),
    ("copyreg", 0, u8::MAX),
    ("crypt", 0, 13),
    ("csv", 0, u8::MAX),
    ("ctypes", 0, u8::MAX),
    ("curses", 0, u8::MAX),
    ("dataclasses", 0, u8::MAX),
    ("datetime", 0, u8::MAX),
    ("dbm", 0, u8::MAX),
    ("decimal", 0, u8::MAX),
    ("difflib", 0, u8::MAX),
    ("dis", 0, u8::MAX),
    ("distutils", 0, 12),
    ("doctest", 0, u8::MAX),
    ("dummy_threading", 0, 9),
    ("email", 0, u8::MAX),
    ("encodings", 0, u8::MAX),
    ("ensurepip", 0, u8::MAX),
    ("enum", 0, u8::MAX),
    ("errno", 0, u8::MAX),
    ("faulthandler", 0, u8::MAX),
    ("fcntl", 0, u8::MAX),
    ("filecmp", 0, u8::MAX),
    ("fileinput", 0, u8::MAX),
    ("fnmatch", 0, u8::MAX),
    ("formatter", 0, 10),
    ("fractions", 0, u8::MAX),
    ("ftplib", 0, u8::MAX),
    ("functools", 0, u8::MAX),
    ("gc", 0, u8::MAX),
    ("genericpath", 0, u8::MAX),
    ("getopt", 0, u8::MAX),
    ("getpass", 0, u8::MAX),
    ("gettext", 0, u8::MAX),
    ("glob", 0, u8::MAX),
    ("graphlib", 9, u8::MAX),
    ("grp", 0, u8::MAX),
    ("gzip", 0, u8::MAX),
    ("hashlib", 0, u8::MAX),
    ("heapq", 0, u8::MAX),
    ("hmac", 0, u8::MAX),
    ("html", 0, u8::MAX),
    ("http", 0, u8::MAX),
    ("idlelib", 0, u8::MAX),
    ("imaplib", 0, u8::MAX),
    ("imghdr", 0, 13),
    ("imp", 0, 12),
    ("importlib", 0, u8::MAX),
    ("inspect", 0, u8::MAX),
    ("io", 0, u8::MAX),
    ("ipaddress", 0, u8::MAX),
    ("itertools", 0, u8::MAX),
    ("json", 0, u8::MAX),
    ("keyword", 0, u8::MAX),
    ("lib2to3", 0, 13),
    ("linecache", 0, u8::MAX),
    ("locale", 0, u8::MAX),
    ("logging", 0, u8::MAX),
    ("lzma", 0, u8::MAX),
    ("macpath", 0, 8),
    ("mailbox", 0, u8::MAX),
    ("mailcap", 0, 13),
    ("marshal", 0, u8::MAX),
    ("math", 0, u8::MAX),
    ("mimetypes", 0, u8::MAX),
    ("mmap", 0, u8::MAX),
    ("modulefinder", 0, u8::MAX),
    ("multiprocessing", 0, u8::MAX),
    ("netrc", 0, u8::MAX),
    ("nis", 0, 13),
    ("nntplib", 0, 13),
    ("ntpath", 0, u8::MAX),
    ("nturl2path", 0, u8::MAX),
    ("numbers", 0, u8::MAX),
    ("opcode", 0, u8::MAX),
    ("operator", 0, u8::MAX),
    ("optparse", 0, u8::MAX),
    ("os", 0, u8::MAX),
    ("ossaudiodev", 0, 13),
    ("parser", 0, 10),
    ("pathlib", 0, u8::MAX),
    ("pdb", 0, u8::MAX),
    ("pickle", 0, u8::MAX),
    ("pickletools", 0, u8::MAX),
    ("pipes", 0, 13),
    ("pkgutil", 0, u8::MAX),
    ("platform", 0, u8::MAX),
    ("plistlib", 0, u8::MAX),
    ("poplib", 0, u8::MAX),
    ("posix", 0, u8::MAX),
    ("posixpath", 0, u8::MAX),
    ("pprint", 0, u8::MAX),
    ("profile", 0, u8::MAX),
    ("pstats", 0, u8::MAX),
    ("pty", 0, u8::MAX),
    ("pwd", 0, u8::MAX),
    ("py_compile", 0, u8::MAX),
    ("pyclbr", 0, u8::MAX),
    ("pydoc", 0, u8::MAX),
    ("pydoc_data", 0, u8::MAX),
    ("pyexpat", 0, u8::MAX),
    ("queue", 0, u8::MAX),
    ("quopri", 0, u8::MAX),
    ("random", 0, u8::MAX),
    ("re", 0, u8::MAX),
    ("readline", 0, u8::MAX),
    ("reprlib", 0, u8::MAX),
    ("resource", 0, u8::MAX),
    ("rlcompleter", 0, u8::MAX),
    ("runpy", 0, u8::MAX),
    ("sched", 0, u8::MAX),
    ("secrets", 0, u8::MAX),
    ("select", 0, u8::MAX),
    ("selectors", 0, u8::MAX),
    ("shelve", 0, u8::MAX),
    ("shlex", 0, u8::MAX),
    ("shutil", 0, u8::MAX),
    ("signal", 0, u8::MAX),
    ("site", 0, u8::MAX),
    ("smtpd", 0, 12),
    ("smtplib", 0, u8::MAX),
    ("sndhdr", 0, 13),
    ("socket", 0, u8::MAX),
    ("socketserver", 0, u8::MAX),
    ("spwd", 0, 13),
    ("sqlite3", 0, u8::MAX),
    ("sre_compile", 0, u8::MAX),
    ("sre_constants", 0, u8::MAX),
    ("sre_parse", 0, u8::MAX),
    ("ssl", 0, u8::MAX),
    ("stat", 0, u8::MAX),
    ("statistics", 0, u8::MAX),
    ("string", 0, u8::MAX),
    ("stringprep", 0, u8::MAX),
    ("struct", 0, u8::MAX),
    ("subprocess", 0, u8::MAX),
    ("sunau", 0, 13),
    ("symbol", 0, 10),
    ("symtable", 0, u8::MAX),
    ("sys", 0, u8::MAX),
    ("sysconfig", 0, u8::MAX),
    ("syslog", 0, u8::MAX),
    ("tabnanny", 0, u8::MAX),
    ("tarfile", 0, u8::MAX),
    ("telnetlib", 0, 13),
    ("tempfile", 0, u8::MAX),
    ("termios", 0, u8::MAX),
    ("test", 0, u8::MAX),
    ("textwrap", 0, u8::MAX),
    ("this", 0, u8::MAX),
    ("threading", 0, u8::MAX),
    ("time", 0, u8::MAX),
    ("timeit", 0, u8::MAX),
    ("tkinter", 0, u8::MAX),
    ("token", 0, u8::MAX),
    ("tokenize", 0, u8::MAX),
    ("tomllib", 11, u8::MAX),
    ("trace", 0, u8::MAX),
    ("traceback", 0, u8::MAX),
    ("tracemalloc", 0, u8::MAX),
    ("tty", 0, u8::MAX),
    ("turtle", 0, u8::MAX),
    ("turtledemo", 0, u8::MAX),
    ("types", 0, u8::MAX),
    ("typing", 0, u8::MAX),
    ("unicodedata", 0, u8::MAX),
    ("unittest", 0, u8::MAX),
    ("urllib", 0, u8::MAX),
    ("uu", 0, 13),
    ("uuid", 0, u8::MAX),
    ("venv", 0, u8::MAX),
    ("warnings", 0, u8::MAX),
    ("wave", 0, u8::MAX),
    ("weakref", 0, u8::MAX),
    ("webbrowser", 0, u8::MAX),
    ("wsgiref", 0, u8::MAX),
    ("xdrlib", 0, 13),
    ("xml", 0, u8::MAX),
    ("xmlrpc", 0, u8::MAX),
    ("zipapp", 0, u8::MAX),
    ("zipfile", 0, u8::MAX),
    ("zipimport", 0, u8::MAX),
    ("zlib", 0, u8::MAX),
    ("zoneinfo", 9, u8::MAX),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let package = ["a".to_owned(), "b".to_owned()];
        let imports = certain_imports(text.as_bytes());
        imports.iter().flat_map(|import| import.modules(&package)).collect()
    }

    #[test]
    fn imports_at_the_top_level_are_certain() {
        for (text, expected) in [
            ("import x\n", &["x"][..]),
            ("import x.y as z, q  # no more\n", &["x.y", "q"]),
            ("from x import (  # two\n    y,\n    z as w,\n)\nimport v", &["x", "x.y", "x.z", "v"]),
            ("from x import \\\n    y\n", &["x", "x.y"]),
            ("from x import *\n", &["x"]),
            ("import x; import y\n", &["x", "y"]),
            ("from . import c\n", &["a.b", "a.b.c"]),
            ("from ..c import d\n", &["a.c", "a.c.d"]),
            ("from ... import d\n", &[]),
            ("\"\"\"Text\nimport nothing\n\"\"\"\nimport x\n", &["x"]),
            ("s = 'it\\'s'\nimport x\n", &["x"]),
            ("s = {\n'a': 1,\n}\nimport x\n", &["x"]),
            ("from __future__ import annotations\r\nimport x\r\n", &["__future__", "__future__.annotations", "x"]),
            ("try:\n    import x\nexcept ImportError:\n    x = None\n", &[]),
            ("if TYPE_CHECKING:\n    from x import y\n", &[]),
            ("if True: import x\ndef f():\n    import y\n", &[]),
            ("fromage = 1\nimporter = 2\nimport_x = 3\n", &[]),
            ("import", &[]),
            ("from x", &[]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_knows_what_came_and_went() {
        assert!(STANDARD.is_sorted_by(|one, other| one.0 < other.0));
        let has = |name: &str, minor: u8| {
            STANDARD.iter().any(|(known, since, until)| *known == name && (*since..*until).contains(&minor))
        };
        assert!(has("distutils", 11) && !has("distutils", 12));
        assert!(has("tomllib", 11) && !has("tomllib", 10));
        assert!(has("os", 8) && has("os", 14));
        assert!(!has("requests", 11));
    }
}
