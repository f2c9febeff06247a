//! Byte code: unchecked hash-based pycs (PEP 552), which are the same wherever and whenever they
//! are compiled.
//!
//! - An import does not compare the byte code with its source: a release does not change, and
//!   packing does not preserve file times.
//! - The file name in code objects is the path below the prefix, so byte code is independent of the
//!   prefix.
//! - The output of marshal depends on reference counts and, until Python 3.11, on the order of
//!   sets. So sources are compiled in shards whose result depends only on their list of sources:
//!   each by a fork of a process that has compiled nothing, with a fixed hash seed and a fixed
//!   environment, in sorted order. The number of shards that are compiled at a time makes no
//!   difference.
//! - If the build machine does not have the release's Python, or if the user chooses so, scriptlets
//!   compile byte code when the package is installed ([`ByteCompiler::at_installation`]).
//! - Sources that will change one by one are compiled in small shards ([`neighbors`]): each fork
//!   takes longer than a small source.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::compilers::{self, CompilerPool, PythonSource};
use crate::runtime;
use pkgapp_core::content::Content;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::path::ReleasePath;
use pkgapp_core::process;

/// The time limit for one source, in seconds. Usual sources take milliseconds.
const PATIENCE_S: u64 = 120;

/// The size of a shard in bytes, unless a single source is larger: sources that compile in a tenth
/// of a second. Larger shards would leave cores idle longer at the end of a build.
const SHARD: u64 = 1 << 20;

/// One of this number of sources begins a new shard of neighbors, on average.
const NEIGHBORS: u8 = 4;

/// The limit of processes per layer; other layers are built at the same time.
const PROCESSES: usize = 4;

/// Prints the identity of a Python: version, pre-release or not, cache tag, and the magic number of
/// byte code.
const IDENTITY: &str = "\
import sys, importlib.util
print('%d.%d' % sys.version_info[:2])
print(sys.implementation.cache_tag)
print('%s %x %s' % (sys.implementation.name, sys.hexversion, importlib.util.MAGIC_NUMBER.hex()))";

/// A Python that compiles byte code for layers.
#[derive(Debug, Clone)]
pub struct ByteCompiler {
    interpreter: Option<PathBuf>,
    base: Option<PathBuf>,
    ships: bool,
    python: PythonMinor,
    cache_tag: String,
    /// The identity; `None` if byte code is compiled on the host.
    identity: Option<String>,
    patience: Duration,
    compilers: Arc<CompilerPool>,
}

/// A source and its byte code; `None` if it does not compile.
type CompiledSource<'s> = (&'s PythonSource, Option<Vec<u8>>);

/// Receives the byte code of a source; `None` if it does not compile.
type TakeBytecode<'a> = &'a mut dyn FnMut(&PythonSource, Option<&[u8]>) -> Result<()>;

impl ByteCompiler {
    /// Queries the identity of `interpreter`.
    ///
    /// # Errors
    /// The interpreter does not run, or is not CPython `python`.
    pub fn new(interpreter: &Path, python: PythonMinor) -> Result<Self> {
        let interpreter = std::path::absolute(interpreter)
            .context(|| format!("cannot find the interpreter `{}`", shown(interpreter)))?;
        let mut command = compilers::command(&interpreter);
        command.args(["-c", IDENTITY]);
        let output = process::run(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let [version, cache_tag, identity] = text.lines().collect::<Vec<_>>()[..] else {
            return Err(Error::new(format!(
                "cannot determine the Python version of `{}`",
                shown(&interpreter)
            )));
        };
        if version != python.to_string() || !identity.starts_with("cpython ") {
            let name = identity.split(' ').next().unwrap_or(identity);
            return Err(Error::new(format!("`{}` is {name} {version}", shown(&interpreter))).cause_text(format!(
                "the release is for CPython {python}, and only that version can compile its byte \
                 code"
            )));
        }
        Ok(Self {
            interpreter: Some(interpreter),
            base: None,
            ships: false,
            python,
            cache_tag: cache_tag.to_owned(),
            identity: Some(identity.to_owned()),
            patience: Duration::from_secs(PATIENCE_S),
            compilers: Arc::default(),
        })
    }

    /// Represents a Python that the build machine does not have: byte code is compiled when the
    /// package is installed.
    pub fn absent(python: PythonMinor) -> Self {
        Self {
            interpreter: None,
            base: None,
            ships: false,
            python,
            cache_tag: format!("cpython-{}{}", python.major, python.minor),
            identity: None,
            patience: Duration::from_secs(PATIENCE_S),
            compilers: Arc::default(),
        }
    }

    /// Leaves compilation to the installation of the package, although the build could compile.
    #[must_use]
    pub fn at_installation(self) -> Self {
        Self {
            identity: None,
            ..self
        }
    }

    /// Creates a compiler from an interpreter whose identity is known.
    ///
    /// # Errors
    /// The interpreter is not CPython `python`.
    pub fn of(interpreter: &Interpreter, python: PythonMinor) -> Result<Self> {
        if interpreter.cache_tag.is_empty() || interpreter.python != python {
            return Self::new(&interpreter.path, python);
        }
        Ok(Self {
            interpreter: Some(interpreter.path.clone()),
            base: Some(interpreter.base.clone()),
            ships: false,
            python,
            cache_tag: interpreter.cache_tag.clone(),
            identity: Some(interpreter.byte_code.clone()),
            patience: Duration::from_secs(PATIENCE_S),
            compilers: Arc::default(),
        })
    }

    /// Marks the interpreter as the one that the release contains: copies of the release run with
    /// it.
    #[must_use]
    pub fn shipped(self) -> Self {
        Self {
            ships: true,
            ..self
        }
    }

    /// Returns whether the release contains the interpreter and the build machine can run it.
    pub(crate) fn ships(&self) -> bool {
        self.ships
    }

    /// Returns the executable of the base installation, if known: `interpreter` may belong to a
    /// virtual environment.
    pub(crate) fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Returns the Python version of the byte code.
    pub fn python(&self) -> PythonMinor {
        self.python
    }

    /// Returns the interpreter that compiles.
    ///
    /// # Errors
    /// The build machine has no such interpreter.
    pub fn interpreter(&self) -> Result<&Path> {
        let missing = || {
            Error::new(format!(
                "there is no Python {} on the build machine",
                self.python
            ))
        };
        self.interpreter.as_deref().ok_or_else(missing)
    }

    /// Returns whether the build compiles byte code, rather than the installation of the package.
    pub fn compiles_here(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns the tag in the names of byte code, e.g. `cpython-311`.
    pub fn cache_tag(&self) -> &str {
        &self.cache_tag
    }

    /// Returns everything that byte code depends on except for the sources: part of every layer's
    /// key. Patch releases may compile differently with the same magic number.
    pub(crate) fn identity(&self) -> &str {
        self.identity.as_deref().unwrap_or("none")
    }

    /// Returns the directory of modules, below the prefix.
    pub fn site_packages(&self) -> String {
        format!("lib/python{}/site-packages", self.python)
    }

    /// Returns whether a file is a source that an import can find.
    pub fn compiles(&self, path: &ReleasePath) -> bool {
        let below = |directory: &str| {
            path.as_str()
                .strip_prefix(directory)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let name = path.file_name();
        let is_found =
            below("app") || below(&self.site_packages()) || below(&runtime::directory(self.python));
        name.ends_with(".py") && name != ".py" && is_found
    }

    /// Returns the path of a source's byte code (PEP 3147).
    pub fn pyc_path(&self, source: &ReleasePath) -> Result<ReleasePath> {
        let stem = source.file_name().trim_end_matches(".py");
        let name = format!("__pycache__/{stem}.{}.pyc", self.cache_tag);
        source
            .parent()
            .map_or_else(|| ReleasePath::parse(&name), |parent| parent.join(&name))
    }

    /// Compiles sources and passes each one's byte code to `take`; `None` if a source does not
    /// compile. The bytes depend only on the other sources of the shard ([`shards`],
    /// [`neighbors`]). Shards are compiled in parallel and arrive in any order.
    ///
    /// # Errors
    /// An interpreter dies or spends two minutes on one source, or `take` fails.
    pub(crate) fn compile<'s>(
        &self,
        shards: &[&'s [PythonSource]],
        mut take: impl FnMut(&PythonSource, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let interpreter = self.interpreter()?;
        let most = rayon::current_num_threads();
        let compile = |shard: &[PythonSource], take: TakeBytecode<'_>| {
            self.compilers
                .compile(interpreter, most, self.patience, shard, take)
        };
        if let [shard] = shards {
            return compile(shard, &mut take);
        }
        let (sender, receiver) = mpsc::sync_channel(4);
        let next = AtomicUsize::new(0);
        let work = |sender: mpsc::SyncSender<Result<CompiledSource<'s>>>| {
            while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = send_compiled(shard, &sender, compile) {
                    _ = sender.send(Err(error));
                    return;
                }
            }
        };
        // These are not rayon's threads: a thread of rayon that waits for another process's layer
        // must not delay this one.
        thread::scope(|scope| {
            for _ in 0..shards.len().min(most).min(PROCESSES) {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            drop(sender);
            for made in receiver {
                let (source, pyc) = made?;
                take(source, pyc.as_deref())?;
            }
            Ok(())
        })
    }
}

/// Compiles a shard with `compile`, and sends each source with its byte code.
fn send_compiled<'s>(
    shard: &'s [PythonSource],
    sender: &mpsc::SyncSender<Result<CompiledSource<'s>>>,
    compile: impl Fn(&[PythonSource], TakeBytecode<'_>) -> Result<()>,
) -> Result<()> {
    let mut sources = shard.iter();
    compile(shard, &mut |_, pyc| {
        let made = sources
            .next()
            .map(|source| (source, pyc.map(<[u8]>::to_vec)))
            .ok_or_else(|| Error::bug("there is more byte code than sources"));
        // If the receiver is gone, `take` has failed, and that error is reported.
        sender
            .send(made)
            .map_err(|_| Error::new("byte code is not wanted any more"))
    })
}

/// Divides sorted sources into shards of about [`SHARD`] bytes. The boundaries depend only on the
/// sources.
pub(super) fn shards(sources: &[PythonSource]) -> Vec<&[PythonSource]> {
    let mut size = 0;
    divided(sources, |_, content| {
        size += content.digest.size;
        let begins = size > SHARD;
        if begins {
            size = content.digest.size;
        }
        begins
    })
}

/// Divides sorted sources into small shards; adding or removing a source changes only its own
/// shard.
pub(super) fn neighbors(sources: &[PythonSource]) -> Vec<&[PythonSource]> {
    divided(sources, |path, _| {
        Sha256Sum::of(path.as_str().as_bytes()).0[0].is_multiple_of(NEIGHBORS)
    })
}

fn divided(
    sources: &[PythonSource],
    mut begins: impl FnMut(&ReleasePath, &Content) -> bool,
) -> Vec<&[PythonSource]> {
    let (mut shards, mut begin) = (Vec::new(), 0);
    for (index, (path, content)) in sources.iter().enumerate() {
        if begins(path, content) && index > begin {
            shards.push(&sources[begin..index]);
            begin = index;
        }
    }
    if begin < sources.len() {
        shards.push(&sources[begin..]);
    }
    shards
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::layer::testing::pythons;
    use pkgapp_core::content::Bytes;
    use pkgapp_core::digest::Digest;

    /// Lists the files below `root` with their metadata; some of them cannot be read.
    fn sources(root: &Path, names: &[&str]) -> Vec<PythonSource> {
        let source = |name: &&str| {
            let file = root.join(name);
            let digest = Digest {
                size: file.metadata().unwrap().len(),
                ..Digest::of(b"")
            };
            let content = Content {
                digest,
                bytes: Bytes::Disk {
                    file: file.into(),
                    start: 0,
                },
            };
            (ReleasePath::parse(name).unwrap(), content)
        };
        names.iter().map(source).collect()
    }

    fn compile(
        compiler: &ByteCompiler,
        root: &Path,
        names: &[&str],
    ) -> Vec<(String, Option<Vec<u8>>)> {
        let sources = sources(root, names);
        let mut made = Vec::new();
        compiler
            .compile(&shards(&sources), |(path, _), pyc| {
                made.push((path.to_string(), pyc.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        // Shards arrive in any order.
        made.sort();
        made
    }

    /// Constants whose bytes are random with a plain `marshal.dumps`: sets that contain `None` (3.8
    /// to 3.10).
    const SETS: &str = "def f(x):\n    return x in {None, 'a', (1, None), b'x', ...}\nASKED = [f(None), f('a'), f((1, \
                        None)), f(b'x'), f(...), f('b')]\n";

    #[test]
    fn byte_code_is_the_same_whenever_it_is_made_and_does_what_its_source_says() {
        for (interpreter, python) in pythons() {
            let compiler = ByteCompiler::new(&interpreter, python).unwrap();
            let mut seen = std::collections::BTreeSet::new();
            let mut kept = Vec::new();
            for _ in 0..6 {
                let root = tempfile::tempdir().unwrap();
                std::fs::create_dir(root.path().join("app")).unwrap();
                std::fs::write(root.path().join("app/sets.py"), SETS).unwrap();
                let made = compile(&compiler, root.path(), &["app/sets.py"]);
                kept = made[0].1.clone().unwrap();
                seen.insert(kept.clone());
            }
            assert_eq!(seen.len(), 1, "Python {python}");
            let root = tempfile::tempdir().unwrap();
            std::fs::write(root.path().join("sets.pyc"), kept).unwrap();
            let ask = "import sys; sys.path.insert(0, sys.argv[1]); import sets; print(sets.ASKED, sets.f.__code__.co_filename)";
            let output = Command::new(&interpreter)
                .args(["-I", "-c", ask])
                .arg(root.path())
                .output()
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                said, "[True, True, True, True, True, False] app/sets.py\n",
                "Python {python}"
            );
        }
    }

    #[test]
    fn the_standard_library_compiles_to_the_same_bytes_in_two_places() {
        for (interpreter, python) in pythons() {
            let library = pkgapp_testing::ask(
                &interpreter,
                "import os; print(os.path.dirname(os.__file__))",
            );
            let names: Vec<String> = pkgapp_testing::sources_of(Path::new(&library))
                .into_iter()
                .take(120)
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(names.len(), 120);
            let compiler = ByteCompiler::new(&interpreter, python).unwrap();
            let first = compile(&compiler, Path::new(&library), &names);
            let elsewhere = tempfile::tempdir().unwrap();
            for name in &names {
                let target = elsewhere.path().join("a directory with spaces").join(name);
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                std::fs::copy(Path::new(&library).join(name), target).unwrap();
            }
            let second = compile(
                &compiler,
                &elsewhere.path().join("a directory with spaces"),
                &names,
            );
            assert!(first == second, "Python {python}");
            assert!(
                first
                    .iter()
                    .all(|(_, pyc)| pyc.as_ref().is_some_and(|pyc| pyc[4..8] == [1, 0, 0, 0]))
            );
        }
    }

    #[test]
    fn shards_are_the_same_beside_each_other_and_by_themselves() {
        for (interpreter, python) in pythons() {
            let library = pkgapp_testing::ask(
                &interpreter,
                "import os; print(os.path.dirname(os.__file__))",
            );
            let library = Path::new(&library);
            let names: Vec<String> = pkgapp_testing::sources_of(library)
                .into_iter()
                .take(400)
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let sources = sources(library, &names);
            assert!(shards(&sources).len() > 3, "Python {python}");
            let compiler = ByteCompiler::new(&interpreter, python).unwrap();
            let compile = |threads: usize, shards: &[&[PythonSource]]| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let mut made = std::collections::BTreeMap::new();
                pool.install(|| {
                    compiler.compile(shards, |(path, _), pyc| {
                        assert!(made.insert(path.clone(), pyc.map(<[u8]>::to_vec)).is_none());
                        Ok(())
                    })
                })
                .unwrap();
                made
            };
            let one = compile(1, &shards(&sources));
            assert_eq!(one.len(), sources.len());
            assert!(one == compile(3, &shards(&sources)), "Python {python}");
            let few = neighbors(&sources[..60]);
            let together = compile(2, &few);
            for shard in &few[few.len() - 5..] {
                let alone = compile(1, &[shard]);
                assert!(
                    alone.iter().all(|(path, pyc)| together[path] == *pyc),
                    "Python {python}"
                );
            }
        }
    }

    #[test]
    fn shards_are_of_one_size_unless_a_source_is_larger() {
        let source = |size: u64| {
            let digest = Digest {
                size,
                ..Digest::of(b"")
            };
            (
                ReleasePath::parse("x.py").unwrap(),
                Content {
                    digest,
                    bytes: Bytes::Memory([].into()),
                },
            )
        };
        let sizes = [SHARD / 2, SHARD / 2, 1, SHARD * 3, 0, SHARD, SHARD];
        let sources: Vec<PythonSource> = sizes.into_iter().map(source).collect();
        let lengths: Vec<usize> = shards(&sources).into_iter().map(<[_]>::len).collect();
        assert_eq!(lengths, [2, 1, 1, 2, 1]);
    }

    #[test]
    fn one_source_more_or_less_changes_one_shard() {
        let digest = Digest::of(b"");
        let source = |number: u32| {
            let content = Content {
                digest,
                bytes: Bytes::Memory([].into()),
            };
            (
                ReleasePath::parse(&format!("app/module{number:04}.py")).unwrap(),
                content,
            )
        };
        let all: Vec<PythonSource> = (0..400).map(source).collect();
        let names = |sources: &[PythonSource]| -> Vec<Vec<String>> {
            let name = |(path, _): &PythonSource| path.to_string();
            neighbors(sources)
                .into_iter()
                .map(|shard| shard.iter().map(name).collect())
                .collect()
        };
        let whole = names(&all);
        assert!((70..140).contains(&whole.len()), "{}", whole.len());
        for gone in 0..400 {
            let mut left = all.clone();
            let (path, _) = left.remove(gone);
            let left = names(&left);
            // Its own shard, and the one before it if it was the first of its shard.
            let changed: Vec<_> = whole.iter().filter(|shard| !left.contains(shard)).collect();
            assert!(
                changed.len() <= 2
                    && changed
                        .iter()
                        .any(|shard| shard.contains(&path.to_string())),
                "{changed:?}"
            );
        }
    }

    #[test]
    fn a_source_that_was_cut_is_an_error_and_not_one_that_does_not_compile() {
        let Some((interpreter, python)) = pythons().pop() else {
            return;
        };
        let compiler = ByteCompiler::new(&interpreter, python).unwrap();
        let root = tempfile::tempdir().unwrap();
        for name in ["a.py", "b.py", "x.py", "y.py"] {
            std::fs::write(root.path().join(name), "x = 1\n").unwrap();
        }
        let sources = sources(root.path(), &["a.py", "b.py", "x.py", "y.py"]);
        std::fs::write(root.path().join("x.py"), "x").unwrap();
        let error = compiler
            .compile(&shards(&sources), |_, _| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("died while it compiled `x.py`") && error.contains("the source was cut"),
            "{error}"
        );
    }

    #[test]
    fn what_does_not_compile_is_told_and_the_rest_goes_on() {
        let Some((interpreter, python)) = pythons().pop() else {
            return;
        };
        let compiler = ByteCompiler::new(&interpreter, python).unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.py"), "print 1\n").unwrap();
        std::fs::write(root.path().join("b.py"), b"x = '\xff'\n").unwrap();
        std::fs::write(root.path().join("c.py"), "x = 1\0\n").unwrap();
        std::fs::write(root.path().join("d.py"), "(".repeat(10_000)).unwrap();
        std::fs::write(root.path().join("e.py"), "x = '\\d'\n").unwrap();
        let made = compile(
            &compiler,
            root.path(),
            &["a.py", "b.py", "c.py", "d.py", "e.py"],
        );
        let compiled: Vec<bool> = made.iter().map(|(_, pyc)| pyc.is_some()).collect();
        assert_eq!(compiled, [false, false, false, false, true]);
    }

    #[test]
    fn a_hang_and_a_death_are_errors_that_name_the_source() {
        let Some((interpreter, python)) = pythons().pop() else {
            return;
        };
        let mut compiler = ByteCompiler::new(&interpreter, python).unwrap();
        compiler.patience = Duration::from_secs(5);
        let root = tempfile::tempdir().unwrap();
        pkgapp_testing::run(Command::new("mkfifo").arg(root.path().join("pipe.py")));
        std::fs::write(root.path().join("a.py"), "x = 1\n").unwrap();
        let pipe = sources(root.path(), &["a.py", "pipe.py"]);
        let error = compiler.compile(&shards(&pipe), |_, _| Ok(())).unwrap_err();
        assert!(
            error
                .message()
                .ends_with("does not finish compiling `pipe.py`"),
            "{error}"
        );
        let script = root.path().join("python");
        pkgapp_testing::script(&script, "#!/bin/sh\necho 'out of everything' >&2\nexit 3\n");
        compiler.interpreter = Some(script);
        compiler.patience = Duration::from_secs(60);
        let error = compiler
            .compile(&shards(&pipe), |_, _| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("died while it compiled `a.py`"), "{error}");
        assert!(
            error.contains("exit status: 3") && error.contains("out of everything"),
            "{error}"
        );
    }

    #[test]
    fn another_python_is_refused() {
        let Some((interpreter, python)) = pythons().pop() else {
            return;
        };
        let other = PythonMinor {
            major: 3,
            minor: python.minor + 1,
        };
        let error = ByteCompiler::new(&interpreter, other).unwrap_err();
        assert!(
            error.message().ends_with(&format!("is cpython {python}")),
            "{error}"
        );
    }
}
