//! The standard library: the modules of each Python version, and the parts that Linux distributions
//! package separately.

use pkgapp_config::InterpreterPart;
use pkgapp_core::name::PythonMinor;

/// A part of Python's standard library that some Linux distributions package separately.
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
    pub(super) fn of(module: &str) -> Option<Self> {
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

    /// Returns the package in Debian and its derivatives, e.g. `python3.11-tk`, which `python3-tk`
    /// provides.
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

    /// Returns the package in Fedora, RHEL, and their derivatives; `None` if the interpreter's
    /// package has the part. `python3-tkinter` of the default Python provides `python3.9-tkinter`
    /// (Fedora's Packaging Guidelines, "Automatic unversioned provides").
    pub fn rpm(self, python: PythonMinor) -> Option<String> {
        match self {
            Self::Idle => Some(format!("python{python}-idle")),
            Self::Tests => Some(format!("python{python}-test")),
            Self::Tkinter => Some(format!("python{python}-tkinter")),
            Self::Distutils | Self::Ensurepip | Self::Gdbm | Self::Lib2to3 => None,
        }
    }

    /// Returns the corresponding part of a bundled interpreter, if such an interpreter omits it by
    /// default.
    pub fn left_behind(self) -> Option<InterpreterPart> {
        match self {
            Self::Ensurepip => Some(InterpreterPart::Ensurepip),
            Self::Idle => Some(InterpreterPart::Idle),
            Self::Tests => Some(InterpreterPart::Tests),
            Self::Tkinter => Some(InterpreterPart::Tkinter),
            Self::Distutils | Self::Gdbm | Self::Lib2to3 => None,
        }
    }
}

/// Returns whether the standard library of a Python version has a top-level module. Private modules
/// always count.
pub(super) fn has(python: PythonMinor, module: &str) -> bool {
    let changed = CHANGED.iter().find(|(name, ..)| *name == module);
    match changed {
        Some((_, since, until)) => (*since..*until).contains(&python.minor),
        None => module.starts_with('_') || ALWAYS.split(' ').any(|name| name == module),
    }
}

/// Returns whether the standard library of some Python from 3.8 to 3.14 has a top-level module.
pub(super) fn is_known(module: &str) -> bool {
    module.starts_with('_')
        || CHANGED.iter().any(|(name, ..)| *name == module)
        || ALWAYS.split(' ').any(|name| name == module)
}

/// Modules of every Python from 3.8 to 3.14, on Linux. Source: `sys.stdlib_module_names`.
const ALWAYS: &str = "abc antigravity argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 cProfile calendar cmath \
    cmd code codecs codeop collections colorsys compileall concurrent configparser contextlib contextvars copy copyreg \
    csv ctypes curses dataclasses datetime dbm decimal difflib dis doctest email encodings ensurepip enum errno \
    faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc genericpath getopt getpass gettext glob \
    grp gzip hashlib heapq hmac html http idlelib imaplib importlib inspect io ipaddress itertools json keyword \
    linecache locale logging lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing netrc ntpath \
    nturl2path numbers opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posix \
    posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri random re readline \
    reprlib resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtplib socket \
    socketserver sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess \
    symtable sys sysconfig syslog tabnanny tarfile tempfile termios test textwrap this threading time timeit tkinter \
    token tokenize trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uuid venv \
    warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp zipfile zipimport zlib";

/// Modules that were added or removed: the minor version of Python 3 that added the module, and the
/// one that removed it. Source: "What's New in Python", 3.8 to 3.14.
const CHANGED: &[(&str, u8, u8)] = &[
    ("aifc", 0, 13),
    ("annotationlib", 14, u8::MAX),
    ("asynchat", 0, 12),
    ("asyncore", 0, 12),
    ("audioop", 0, 13),
    ("binhex", 0, 11),
    ("cgi", 0, 13),
    ("cgitb", 0, 13),
    ("chunk", 0, 13),
    ("compression", 14, u8::MAX),
    ("crypt", 0, 13),
    ("distutils", 0, 12),
    ("dummy_threading", 0, 9),
    ("formatter", 0, 10),
    ("graphlib", 9, u8::MAX),
    ("imghdr", 0, 13),
    ("imp", 0, 12),
    ("lib2to3", 0, 13),
    ("macpath", 0, 8),
    ("mailcap", 0, 13),
    ("nis", 0, 13),
    ("nntplib", 0, 13),
    ("ossaudiodev", 0, 13),
    ("parser", 0, 10),
    ("pipes", 0, 13),
    ("smtpd", 0, 12),
    ("sndhdr", 0, 13),
    ("spwd", 0, 13),
    ("sunau", 0, 13),
    ("symbol", 0, 10),
    ("telnetlib", 0, 13),
    ("tomllib", 11, u8::MAX),
    ("uu", 0, 13),
    ("xdrlib", 0, 13),
    ("zoneinfo", 9, u8::MAX),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_each_python_has_what_came_and_not_what_went() {
        let has = |module: &str, minor: u8| has(PythonMinor { major: 3, minor }, module);
        assert!(has("distutils", 11) && !has("distutils", 12));
        assert!(has("tomllib", 11) && !has("tomllib", 10));
        assert!(has("os", 8) && has("os", 14) && has("__future__", 14) && has("zoneinfo", 9));
        assert!(!has("requests", 11) && !has("", 11));
    }
}
