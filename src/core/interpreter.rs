//! A Python on the build machine, which compiles byte code and builds sdists. It never ships.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache, FileFingerprint};
use crate::error::{Error, Result};
use crate::name::PythonMinor;
use crate::process;

/// The script that queries an interpreter; `-I` keeps the user's environment and working directory
/// out of the answer.
const QUESTION: &str = r"
import importlib.util, json, os, platform, sys, sysconfig
# importlib.metadata says the same and takes longer than all else here.
def listed(place):
    try:
        return os.listdir(place)
    except OSError:
        return []
names = [name for place in sys.path for name in listed(place)]
infos = [os.path.splitext(name)[0] for name in names if name.endswith(('.dist-info', '.egg-info'))]
pip = next((info.split('-')[1] for info in infos if info.lower().startswith('pip-')), None)
files = [sys.executable, os.path.realpath(sys.executable), *filter(os.path.isdir, sys.path)]
for directory in (os.path.dirname(sys.executable), os.path.dirname(os.path.dirname(sys.executable))):
    files.append(os.path.join(directory, 'pyvenv.cfg'))
try:
    with open('/proc/self/maps') as maps:
        loaded = {line.split(None, 5)[5].strip() for line in maps if line.count('/')}
    files += sorted(file for file in loaded if 'libpython' in file or os.path.basename(file).startswith('libc'))
except Exception:
    files = []
print(json.dumps({
    'executable': sys.executable,
    'implementation': sys.implementation.name,
    'version': '.'.join(map(str, sys.version_info[:3])),
    'platform': sysconfig.get_platform(),
    'soabi': sysconfig.get_config_var('SOABI') or '',
    'libc': list(platform.libc_ver()),
    'pip': pip,
    'base': getattr(sys, '_base_executable', None) or sys.executable,
    'cache_tag': sys.implementation.cache_tag,
    'byte_code': '%s %x %s' % (sys.implementation.name, sys.hexversion, importlib.util.MAGIC_NUMBER.hex()),
    'files': files,
}))
";

/// A CPython that answered the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The executable, absolute: the target of a shim, not the shim.
    pub path: PathBuf,
    /// The minor version.
    pub python: PythonMinor,
    /// The full version, e.g. `3.11.2`.
    pub version: String,
    /// The platform for which it builds, e.g. `linux-x86_64`.
    pub platform: String,
    /// The suffix of its extension modules, e.g. `cpython-311-x86_64-linux-gnu`.
    pub soabi: String,
    /// The version of its glibc, e.g. (2, 36); `None` for another C library.
    pub glibc: Option<(u16, u16)>,
    /// The version of its pip.
    pub pip: Option<String>,
    /// The executable of the installation behind a virtual environment; otherwise the same as
    /// `path`.
    pub base: PathBuf,
    /// The suffix of its byte code, e.g. `cpython-311`.
    pub cache_tag: String,
    /// The facts that determine byte code: implementation, full version, and magic number.
    pub byte_code: String,
}

/// A cached answer, with the files that would change if the answer did.
#[derive(Debug, Serialize, Deserialize)]
struct CachedProbe {
    files: Vec<(PathBuf, Option<FileFingerprint>)>,
    interpreter: Interpreter,
}

#[derive(Deserialize)]
struct ProbeOutput {
    executable: PathBuf,
    implementation: String,
    version: String,
    platform: String,
    soabi: String,
    libc: (String, String),
    pip: Option<String>,
    #[serde(default)]
    base: PathBuf,
    #[serde(default)]
    cache_tag: String,
    #[serde(default)]
    byte_code: String,
    #[serde(default)]
    files: Vec<PathBuf>,
}

impl Interpreter {
    /// Finds a CPython of a minor version: `/usr/bin/python3.N`, as on hosts; then `python3.N`,
    /// `python3`, and `python` on PATH; then pyenv's. Answers are cached.
    ///
    /// # Errors
    /// Fails if none answers; the error lists the attempts.
    pub fn find(cache: &Cache, minor: PythonMinor) -> Result<Self> {
        Self::find_where(
            cache,
            minor,
            "Python {minor} is not installed on this machine",
            |_| Ok(()),
        )
        .map_err(|error| {
            error.hint(format!(
                "install the package `python{minor}`, or run `pyenv install {minor}`"
            ))
        })
    }

    /// Finds a CPython of a minor version with pip, in the same places.
    ///
    /// # Errors
    /// Fails if none answers, or none has pip; the error lists the attempts.
    pub fn with_pip(cache: &Cache, minor: PythonMinor) -> Result<Self> {
        let has_pip = |found: &Self| {
            if found.has_pip() {
                Ok(())
            } else {
                Err("it has no pip".to_owned())
            }
        };
        Self::find_where(
            cache,
            minor,
            "no Python {minor} with pip is installed on this machine",
            has_pip,
        )
        .map_err(|error| error.hint("install uv, or pip for this Python (package `python3-pip`)"))
    }

    /// Queries an executable.
    ///
    /// # Errors
    /// Fails if it cannot be run, fails, or is not a CPython for which pkgapp builds.
    pub fn query(path: &Path) -> Result<Self> {
        let asked = ask(path).map(|(interpreter, _)| interpreter);
        asked.map_err(|why| {
            Error::new(format!(
                "`{}` is not usable as a Python: {why}",
                path.display()
            ))
        })
    }

    /// Returns whether `python -m pip` works.
    pub fn has_pip(&self) -> bool {
        self.pip.is_some()
    }

    fn find_where(
        cache: &Cache,
        minor: PythonMinor,
        missing: &str,
        fits: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<Self> {
        let mut tried = Vec::new();
        for path in candidates(minor) {
            let found = recall(cache, &path).and_then(|found| {
                if found.python == minor {
                    fits(&found).map(|()| found)
                } else {
                    Err(format!("it is {}", found.version))
                }
            });
            match found {
                Ok(found) => return Ok(found),
                Err(why) => tried.push(format!("`{}`: {why}", path.display())),
            }
        }
        let error = Error::new(missing.replace("{minor}", &minor.to_string()));
        Err(if tried.is_empty() {
            error.note(format!(
                "no `python{minor}`, `python3`, or `python` in `/usr/bin`, on PATH, or in pyenv"
            ))
        } else {
            error.note(format!("tried\n{}", tried.join("\n")))
        })
    }
}

fn candidates(minor: PythonMinor) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from(format!("/usr/bin/python{minor}"))];
    for name in [
        format!("python{minor}"),
        "python3".to_owned(),
        "python".to_owned(),
    ] {
        // All candidates are listed: a failing pyenv shim in front must not hide the next one.
        paths.extend(which::which_all(name).into_iter().flatten());
    }
    paths.extend(pyenv(minor));
    let mut seen = std::collections::HashSet::new();
    paths.retain(|path| process::is_executable(path) && seen.insert(path.clone()));
    paths
}

/// Returns pyenv's interpreters of a minor version, newest first.
fn pyenv(minor: PythonMinor) -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root =
        root.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let Some(Ok(entries)) = root.map(|root| std::fs::read_dir(root.join("versions"))) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let patch = name.strip_prefix(&format!("{minor}."))?.parse().ok()?;
            Some((patch, entry.path().join("bin/python")))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Returns the cached answer of an executable if nothing has changed since; otherwise queries it.
fn recall(cache: &Cache, path: &Path) -> Result<Interpreter, String> {
    let libraries = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let key = cache::key([QUESTION, &path.to_string_lossy(), &libraries]);
    let kept = cache.tools().join(format!("{key}.json"));
    if let Some(known) = cache::read_sealed::<CachedProbe>(&kept)
        && known.is_current()
    {
        return Ok(known.interpreter);
    }

    let (interpreter, mut files) = ask(path)?;
    // A shim chooses by its own rules, so it must be queried each time.
    if !files.is_empty() && is_same_file(path, &interpreter.path) {
        files.push(path.to_owned());
        let files = files
            .into_iter()
            .map(|file| (FileFingerprint::of(&file), file))
            .map(|(stamp, file)| (file, stamp))
            .collect();
        let known = CachedProbe { files, interpreter };
        // Without this entry, it is queried again next time.
        _ = cache.write(&kept, &known);
        return Ok(known.interpreter);
    }
    Ok(interpreter)
}

impl CachedProbe {
    /// Returns whether the files are unchanged.
    fn is_current(&self) -> bool {
        self.files
            .iter()
            .all(|(file, stamp)| FileFingerprint::of(file) == *stamp)
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Queries an executable; also returns the files on which its answer depends.
fn ask(path: &Path) -> Result<(Interpreter, Vec<PathBuf>), String> {
    let mut command = Command::new(path);
    command.args(["-I", "-c", QUESTION]);
    let output = process::output(&mut command).map_err(|error| error.message().to_owned())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "it fails with {}: {}",
            output.status,
            text.lines().next().unwrap_or("it printed nothing")
        ));
    }
    let answer: ProbeOutput = serde_json::from_slice(&output.stdout)
        .map_err(|_| "it does not answer like a Python".to_owned())?;
    if answer.implementation != "cpython" {
        return Err(format!("it is {}", answer.implementation));
    }
    if answer.is_free_threaded() {
        return Err("it is a free-threaded build, which pkgapp does not support".to_owned());
    }
    let interpreter = Interpreter {
        python: answer.minor()?,
        path: answer.executable,
        version: answer.version,
        platform: answer.platform,
        soabi: answer.soabi,
        glibc: glibc(&answer.libc),
        pip: answer.pip,
        base: answer.base,
        cache_tag: answer.cache_tag,
        byte_code: answer.byte_code,
    };
    Ok((interpreter, answer.files))
}

impl ProbeOutput {
    /// Returns whether the suffix of extension modules is like `cpython-314t-x86_64-linux-gnu`: such
    /// a Python cannot load extension modules of the usual build, nor build any for it.
    fn is_free_threaded(&self) -> bool {
        self.soabi
            .split('-')
            .nth(1)
            .is_some_and(|version| version.contains('t'))
    }

    fn minor(&self) -> Result<PythonMinor, String> {
        let mut numbers = self.version.splitn(3, '.');
        let short = format!(
            "{}.{}",
            numbers.next().unwrap_or_default(),
            numbers.next().unwrap_or_default()
        );
        short
            .parse()
            .map_err(|error: Error| error.message().to_owned())
    }
}

/// Parses the output of `platform.libc_ver()`, e.g. (`glibc`, `2.36`).
fn glibc((name, version): &(String, String)) -> Option<(u16, u16)> {
    let (major, minor) = version.split_once('.').filter(|_| name == "glibc")?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn what_does_not_answer_as_a_cpython_is_refused_with_the_reason() {
        let here = tempfile::tempdir().unwrap();
        let answer = |implementation: &str, version: &str| {
            format!(
                "#!/bin/sh\necho '{{\"executable\": \"/x/python\", \"implementation\": \"{implementation}\", \
                 \"version\": \"{version}\", \"platform\": \"linux-x86_64\", \"soabi\": \"\", \"libc\": [\"\", \"\"], \"pip\": null}}'\n"
            )
        };
        let shim = script(
            here.path(),
            "shim",
            "#!/bin/sh\necho 'pyenv: python3.10: command not found' >&2\nexit 127\n",
        );
        let pypy = script(here.path(), "pypy", &answer("pypy", "3.11.1"));
        let other = script(here.path(), "other", "#!/bin/sh\necho hello\n");
        let why = |path: &Path| Interpreter::query(path).unwrap_err().message().to_owned();
        let name = |path: &Path| format!("`{}` is not usable as a Python: ", path.display());
        assert_eq!(
            why(&shim),
            format!(
                "{}it fails with exit status: 127: pyenv: python3.10: command not found",
                name(&shim)
            )
        );
        assert_eq!(why(&pypy), format!("{}it is pypy", name(&pypy)));
        assert_eq!(
            why(&other),
            format!("{}it does not answer like a Python", name(&other))
        );
        let free = answer("cpython", "3.14.0").replace(
            "\"soabi\": \"\"",
            "\"soabi\": \"cpython-314t-x86_64-linux-gnu\"",
        );
        let free = script(here.path(), "free", &free);
        assert_eq!(
            why(&free),
            format!(
                "{}it is a free-threaded build, which pkgapp does not support",
                name(&free)
            )
        );
        let good = script(here.path(), "good", &answer("cpython", "3.11.9"));
        let found = Interpreter::query(&good).unwrap();
        assert_eq!(
            (found.path.as_path(), found.version.as_str()),
            (Path::new("/x/python"), "3.11.9")
        );
        assert_eq!(
            found.python,
            PythonMinor {
                major: 3,
                minor: 11
            }
        );
        assert!(!found.has_pip());
    }

    #[test]
    fn a_version_that_is_nowhere_lists_what_was_tried() {
        let here = tempfile::tempdir().unwrap();
        let cache = Cache::open(here.path()).unwrap();
        let error = Interpreter::find(
            &cache,
            PythonMinor {
                major: 3,
                minor: 99,
            },
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.starts_with("error: Python 3.99 is not installed on this machine\n  note: "),
            "{error}"
        );
        assert!(
            error.ends_with("hint: install the package `python3.99`, or run `pyenv install 3.99`"),
            "{error}"
        );
    }

    #[test]
    fn what_an_interpreter_said_holds_until_a_file_of_it_changes() {
        let Some((python, minor)) = pkgapp_testing::pythons().pop() else {
            return;
        };
        let minor = PythonMinor { major: 3, minor };
        let here = tempfile::tempdir().unwrap();
        let cache = Cache::open(&here.path().join("cache")).unwrap();
        // An environment of its own, so that something of it can change.
        let output = Command::new(&python)
            .args(["-m", "venv", "--without-pip"])
            .arg(here.path().join("venv"))
            .output();
        if !output.unwrap().status.success() {
            pkgapp_testing::skip(&format!("`{}` has no venv", python.display()));
            return;
        }
        let path = here.path().join("venv/bin/python");
        let first = recall(&cache, &path).unwrap();
        assert_eq!(
            (first.python, first.pip.as_deref(), &first.path),
            (minor, None, &path)
        );
        assert_ne!(first.base, first.path);
        let [kept] = &std::fs::read_dir(cache.tools())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect::<Vec<_>>()[..]
        else {
            panic!("it is not remembered")
        };
        // As if it had said something else: no one asks it again.
        let mut remembered: CachedProbe = cache::read_sealed(kept).unwrap();
        remembered.interpreter.version = "3.0.0".into();
        cache.write(kept, &remembered).unwrap();
        assert_eq!(recall(&cache, &path).unwrap().version, "3.0.0");
        // A pip that is installed into it.
        let site = here.path().join(format!(
            "venv/lib/python{minor}/site-packages/pip-99.0.dist-info"
        ));
        std::fs::create_dir_all(&site).unwrap();
        std::fs::write(
            site.join("METADATA"),
            "Metadata-Version: 2.1\nName: pip\nVersion: 99.0\n",
        )
        .unwrap();
        let now = recall(&cache, &path).unwrap();
        assert_eq!(
            (now.version, now.pip.as_deref()),
            (first.version, Some("99.0"))
        );
        // A shim is asked each time.
        let text = format!(
            "#!/bin/sh\necho x >>{0}/asked\nexec {1} \"$@\"\n",
            here.path().display(),
            path.display()
        );
        let shim = script(here.path(), "shim", &text);
        for _ in 0..2 {
            assert_eq!(recall(&cache, &shim).unwrap().path, path);
        }
        assert_eq!(
            std::fs::read_to_string(here.path().join("asked")).unwrap(),
            "x\nx\n"
        );
    }
}
