//! An interpreter that ships: in the release itself (`interpreter = "bundled"`), or in a package of
//! its own that applications share (`"shared"`).
//!
//! It becomes a layer like a distribution, `python3.N/`, and the release around it is a virtual
//! environment whose `bin/python` is a relative link to `../python3.N/bin/python3.N`, with a
//! pyvenv.cfg that names no home: CPython 3.8 to 3.14 finds itself from there wherever the release
//! lies. The layer has
//!
//! - what a server needs of it ([`Part`](pkgapp_config::InterpreterPart) is what it does not), and the licences;
//! - compiled code without debug information and without run paths of the machine that built it;
//!   the executable's is `$ORIGIN/../lib`;
//! - libraries that the hosts lack, if the user says so;
//! - byte code made by itself.
//!
//! The same interpreter gives the same layer, wherever its copies lie and whether it comes in an
//! archive or not.

mod kind;
mod libraries;
pub mod package;
mod parts;
mod relocate;
mod source;

pub use self::libraries::check as check_libraries;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use globset::{Glob, GlobSet, GlobSetBuilder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use self::parts::{LeftBehind, PartChoice, PartVerdict};
use self::relocate::BuildOrigin;

use self::source::{InterpreterPrefix, PrefixItem};
use crate::layer::{self, ByteCompiler, Layer, LayerBuilder, TreeSource};
use pkgapp_config::{Cpython, Located};
use pkgapp_core::cache::{self, Cache, FileFingerprint};
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_core::path::ReleasePath;
use pkgapp_core::process;
use pkgapp_core::report::{Report, human_bytes};
use pkgapp_wheels::elf::binary::ElfBinary;

/// Counts changes of what is made of the same interpreter.
const FORMAT: u32 = 2;

/// Where shared interpreters lie on a host, each in its [`directory`].
pub const SHARED: &str = "/opt/pkgapp";

/// The module that finds the host's certificates, and what it is called.
const CERTIFICATES: &str = include_str!("certificates.py");
const CERTIFICATES_MODULE: &str = "_pkgapp_certificates";

/// How the modules of `sysconfig`'s variables begin; then come the ABI flags, the platform and the
/// architecture.
const SYSCONFIG: &str = "_sysconfigdata_";

/// Parts that the line about an interpreter names; `-v` names all.
const NAMED_PARTS: usize = 4;

/// Where a release finds its interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterpreterHome {
    /// In itself.
    Release,
    /// In a package of its own, below [`SHARED`].
    Package,
}

/// An interpreter that ships.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The minor version.
    pub python: PythonMinor,
    /// The version, e.g. `3.13.0`.
    pub version: String,
    /// Whose it is.
    pub home: InterpreterHome,
    /// Its files.
    pub layer: Layer,
    /// What compiles byte code for it: itself, or one of this machine if it is for another
    /// machine.
    pub interpreter: Interpreter,
    /// What builds sdists for it: with headers and pip, where it has them.
    pub builds_with: PathBuf,
    /// Whether it is for the machine that builds.
    pub runs_here: bool,
    /// Whether it holds an OpenSSL of its own, which has to be told where the host's certificates
    /// are.
    has_certificates: bool,
    /// Directories of the machine that compiled it, which must not be named in what ships.
    pub built_in: Vec<PathBuf>,
}

/// What is known of a layer that was made.
#[derive(Debug, Serialize, Deserialize)]
struct MadeLayer {
    layer: String,
    version: String,
    interpreter: Interpreter,
    machine: String,
    runs_here: bool,
    has_certificates: bool,
    left: Vec<(String, u64, u64)>,
    bundled: Vec<String>,
    built_in: Vec<PathBuf>,
    processor: Option<String>,
}

/// Returns the directory of an interpreter below the prefix of a release, or below [`SHARED`].
pub fn directory(python: PythonMinor) -> String {
    format!("python{python}")
}

impl Runtime {
    /// Returns the interpreter that the configuration names as it will ship, from the cache or made
    /// now. `wanted` is the machine that it must be for, if that is known.
    ///
    /// # Errors
    /// There is no such interpreter, or it can't be made independent of its place; whatever is
    /// wrong with an archive.
    pub fn prepare(
        cpython: &Cpython,
        python: PythonMinor,
        home: InterpreterHome,
        wanted: Option<Arch>,
        cache: &Cache,
        report: &Report,
    ) -> Result<Self> {
        let runtime = find(cpython, python, home, wanted, cache, report);
        runtime.map_err(|error| {
            if error.location().is_some() {
                error
            } else {
                error.at(cpython.path.at.clone())
            }
        })
    }

    /// Returns the executable, below the prefix of a release or below [`SHARED`].
    pub fn executable(&self) -> String {
        format!("{}/bin/python{}", directory(self.python), self.python)
    }

    /// Returns the SHA-256 that stands for all of its files.
    pub fn sha256(&self) -> &str {
        &self.layer.key
    }

    /// Returns the lines of a `.pth` file that a release needs besides, if any.
    pub fn start_lines(&self) -> Option<String> {
        // Without a `home` in pyvenv.cfg Python takes the release for the installation that `venv`
        // is to link to.
        let base = (self.home == InterpreterHome::Release).then(|| {
            format!(
                "import sys; sys._base_executable = sys.base_prefix + \"/bin/python{}\"\n",
                self.python
            )
        });
        // Without it, its OpenSSL would trust no one.
        let certificates = self
            .has_certificates
            .then(|| format!("import {CERTIFICATES_MODULE}\n"));
        let lines: String = base.into_iter().chain(certificates).collect();
        (!lines.is_empty()).then_some(lines)
    }

    fn of(
        made: MadeLayer,
        layer: Layer,
        python: PythonMinor,
        home: InterpreterHome,
        cpython: &Cpython,
    ) -> Self {
        let MadeLayer {
            version,
            mut interpreter,
            runs_here,
            has_certificates,
            built_in,
            ..
        } = made;
        if runs_here {
            // It was asked before it had its place in the cache, or the cache has moved.
            interpreter.path = layer
                .place
                .files()
                .join(format!("{}/bin/python{python}", directory(python)));
            interpreter.base.clone_from(&interpreter.path);
        }
        let original = cpython.path.value.join(format!("bin/python{python}"));
        // Of another machine's interpreter, this machine's stands in.
        let builds_with = if runs_here && original.is_file() {
            original
        } else {
            interpreter.path.clone()
        };
        Self {
            python,
            version,
            home,
            layer,
            interpreter,
            builds_with,
            runs_here,
            has_certificates,
            built_in,
        }
    }
}

fn find(
    cpython: &Cpython,
    python: PythonMinor,
    home: InterpreterHome,
    wanted: Option<Arch>,
    cache: &Cache,
    report: &Report,
) -> Result<Runtime> {
    let directory = cpython
        .path
        .value
        .is_dir()
        .then(|| InterpreterPrefix::of_directory(&cpython.path.value, python))
        .transpose()?;
    let kept = cache.tools().join(format!(
        "runtime-{}.json",
        key(cpython, python, directory.as_ref())
    ));
    if let Some(made) = cache::read_sealed::<MadeLayer>(&kept)
        && let Some(layer) = Layer::open(cache, &made.layer, &label(&made.version))
    {
        tell(&made, &layer, report);
        check_machine(cpython, &made.machine, wanted)?;
        return Ok(Runtime::of(made, layer, python, home, cpython));
    }
    let _busy = report.busy("preparing the interpreter");
    let prefix = match directory {
        Some(prefix) => prefix,
        None => {
            check_sum(cpython)?;
            InterpreterPrefix::of_archive(&cpython.path.value, cache)?
        }
    };
    let preparation = Preparation::new(cpython, python, &prefix, cache)?;
    check_machine(cpython, preparation.linkage.machine, wanted)?;
    let (made, layer) = preparation.make(cache, report)?;
    cache.write(&kept, &made)?;
    tell(&made, &layer, report);
    Ok(Runtime::of(made, layer, python, home, cpython))
}

/// What a person calls an interpreter.
fn label(version: &str) -> String {
    format!("interpreter `CPython {version}`")
}

/// Everything that decides what is made, as far as the system tells without anything being read.
fn key(cpython: &Cpython, python: PythonMinor, directory: Option<&InterpreterPrefix>) -> String {
    let stamp = |path: &Path| serde_json::to_string(&FileFingerprint::of(path)).unwrap_or_default();
    let mut parts = vec![
        format!(
            "pkgapp runtime {FORMAT} for {python} on {}",
            std::env::consts::ARCH
        ),
        cpython.path.value.display().to_string(),
        format!(
            "{:?} {:?}",
            cpython.keep,
            cpython
                .prune
                .iter()
                .map(|name| &name.value)
                .collect::<Vec<_>>()
        ),
        format!("{:?}", cpython.sha256.as_ref().map(|sum| sum.value)),
        CERTIFICATES.to_owned(),
    ];
    if !cpython.bundle_libraries.is_empty() {
        parts.extend(
            cpython
                .bundle_libraries
                .iter()
                .map(|pattern| pattern.value.clone()),
        );
        // Whoever installs a library lets the linker's cache be written anew.
        parts.push(stamp(Path::new("/etc/ld.so.cache")));
    }
    match directory {
        None => parts.push(stamp(&cpython.path.value)),
        Some(prefix) => parts.extend(prefix.items.iter().map(|(path, item)| match item {
            PrefixItem::File(file, _) => format!("{path} {}", stamp(file)),
            PrefixItem::Link(target) => format!("{path} -> {target}"),
        })),
    }
    cache::key(parts.iter().map(String::as_str))
}

/// Holds an archive against its `sha256`.
fn check_sum(cpython: &Cpython) -> Result<()> {
    let file = &cpython.path.value;
    let found = Digest::of_reader(fs::open(file)?)
        .context(|| format!("cannot read `{}`", shown(file)))?
        .sha256;
    match &cpython.sha256 {
        Some(wanted) if wanted.value != found => Err(Error::new(format!(
            "`{}` is not the archive that it should be",
            shown(file)
        ))
        .at(wanted.at.clone())
        .cause_text(format!("its SHA-256 is {found}"))
        .hint("download it again; if it is another one on purpose, write its sum")),
        _ => Ok(()),
    }
}

/// Refuses an interpreter for another machine than the release is for.
fn check_machine(cpython: &Cpython, machine: &str, wanted: Option<Arch>) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != Arch::Any && wanted.as_str() != machine => Err(Error::new(
            format!("`{}` is compiled for {machine}", shown(&cpython.path.value)),
        )
        .cause_text(format!("the release is for {wanted}"))
        .hint(format!(
            "name an interpreter for {wanted}, or build with `--arch {machine}`"
        ))),
        _ => Ok(()),
    }
}

fn tell(made: &MadeLayer, layer: &Layer, report: &Report) {
    let total: u64 = made.left.iter().map(|(_, _, bytes)| bytes).sum();
    let part = |(what, _, bytes): &(String, u64, u64)| format!("{what} {}", human_bytes(*bytes));
    let named: Vec<String> = made.left.iter().take(NAMED_PARTS).map(part).collect();
    let more = if made.left.len() > NAMED_PARTS {
        ", …"
    } else {
        ""
    };
    let left = if total == 0 {
        String::new()
    } else {
        format!(
            "; left out: {} ({}{more})",
            human_bytes(total),
            named.join(", ")
        )
    };
    report.step(&format!(
        "CPython {}: {}{left}",
        made.version,
        human_bytes(layer.size())
    ));
    for (what, files, bytes) in &made.left {
        report.detail(&format!(
            "  left out: {what}, {files} files, {}",
            human_bytes(*bytes)
        ));
    }
    for soname in &made.bundled {
        report.detail(&format!("  bundled: {soname}"));
    }
    if let Some(processor) = &made.processor {
        report.warning(&format!(
            "CPython {} was compiled for the processor `{processor}`: it does not run on hosts that have an older one",
            made.version
        ));
    }
}

/// The error that a pattern of `bundle-libraries` matches nothing.
fn useless_pattern(pattern: &Located<String>) -> Error {
    Error::new(format!(
        "the interpreter needs no library `{}` that can be bundled",
        pattern.value
    ))
    .at(pattern.at.clone())
    .hint("write the sonames as `ldd` shows them, such as `libssl.so.3`; glibc's are the host's")
}

/// An interpreter on its way into a layer.
struct Preparation<'a> {
    cpython: &'a Cpython,
    python: PythonMinor,
    prefix: &'a InterpreterPrefix,
    /// `lib` or `lib64`.
    lib: &'static str,
    executable: PathBuf,
    linkage: ExecutableLinkage,
    origin: BuildOrigin,
    processor: Option<String>,
    room: TempDir,
}

/// How the executable of an interpreter is linked.
struct ExecutableLinkage {
    machine: &'static str,
    /// Absolute run paths.
    run_paths: Vec<PathBuf>,
    /// Whether it needs `libpython`.
    needs_library: bool,
    /// Whether it needs that library by its place beside it, and so no run path.
    finds_library: bool,
}

/// A prefix that is to have an interpreter of a version.
struct WantedInterpreter<'a> {
    place: &'a Path,
    python: PythonMinor,
    prefix: &'a InterpreterPrefix,
}

impl<'a> WantedInterpreter<'a> {
    /// The error that it has none, and a way out.
    fn missing(&self, why: &str) -> Error {
        let Self { place, python, .. } = self;
        let error = Error::new(format!(
            "there is no CPython {python} in `{}`",
            shown(place)
        ))
        .cause_text(why);
        match &self.prefix.others()[..] {
            [] if place.is_dir() => error.hint(format!(
                "name the directory that `python{python} -c 'import sys; print(sys.base_prefix)'` prints, or an \
                 archive of python-build-standalone"
            )),
            [] => error.hint("name an archive of python-build-standalone, or a CPython's prefix"),
            others => error.hint(format!(
                "it has {}: write that as `version`, or name another one",
                others.join(" and ")
            )),
        }
    }

    fn executable(&self) -> Result<&'a Path> {
        let name = format!("bin/python{}", self.python);
        match self.prefix.file(&ReleasePath::parse(&name)?) {
            Some((executable, _)) => Ok(executable),
            None => Err(self.missing(&format!("it has no `{name}`"))),
        }
    }

    fn linkage(&self, executable: &Path, lib: &str) -> Result<ExecutableLinkage> {
        let (python, name) = (self.python, format!("bin/python{}", self.python));
        let bytes = fs::read(executable)?;
        let machine = ElfBinary::machine(&bytes).ok_or_else(|| {
            self.missing(&format!("its `{name}` is no program for x86_64 or aarch64"))
        })?;
        let damaged =
            |why: &str| Error::new(format!("cannot read `{}`", shown(executable))).cause_text(why);
        let binary = ElfBinary::parse(&bytes)
            .map_err(damaged)?
            .ok_or_else(|| self.missing(&format!("its `{name}` is no program")))?;
        kind::check_executable(&binary, python, self.place)?;

        let library = format!("libpython{python}.so.1.0");
        let needed = binary.needed().map_err(damaged)?;
        let needs_library = needed
            .iter()
            .any(|name| name.rsplit('/').next() == Some(&library));
        let shipped = ReleasePath::parse(&format!("{lib}/{library}"))?;
        if needs_library && self.prefix.file(&shipped).is_none() {
            return Err(self.missing(&format!(
                "its `{name}` needs `{library}`, which is not in its `{lib}`"
            )));
        }
        Ok(ExecutableLinkage {
            machine,
            run_paths: binary
                .run_path()
                .map_err(damaged)?
                .map_or_else(Vec::new, |run_path| absolute_paths(&run_path)),
            needs_library,
            // So it was in python-build-standalone until May of 2025; since then the executable has
            // all of it in itself.
            finds_library: needed.contains(&format!("$ORIGIN/../{lib}/{library}")),
        })
    }
}

/// The absolute paths in a run path.
fn absolute_paths(run_path: &str) -> Vec<PathBuf> {
    run_path
        .split(':')
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A file as it will ship.
struct PreparedFile {
    path: ReleasePath,
    source: TreeSource,
    /// The libraries that it needs.
    needed: Vec<String>,
    /// Bytes of it that do not ship.
    stripped: u64,
}

impl<'a> Preparation<'a> {
    fn new(
        cpython: &'a Cpython,
        python: PythonMinor,
        prefix: &'a InterpreterPrefix,
        cache: &Cache,
    ) -> Result<Self> {
        let wanted = WantedInterpreter {
            place: &cpython.path.value,
            python,
            prefix,
        };
        kind::check_build(prefix, python, wanted.place)?;
        let executable = wanted.executable()?;
        let lib = prefix
            .lib(python)
            .ok_or_else(|| wanted.missing(&format!("it has no `lib/python{python}/os.py`")))?;
        let linkage = wanted.linkage(executable, lib)?;
        let sysconfig = sysconfig(prefix, lib, python)?;
        Ok(Self {
            cpython,
            python,
            prefix,
            lib,
            executable: executable.to_owned(),
            linkage,
            origin: BuildOrigin::read(&sysconfig),
            processor: kind::processor(&sysconfig),
            room: cache.temporary()?,
        })
    }

    fn make(&self, cache: &Cache, report: &Report) -> Result<(MadeLayer, Layer)> {
        let (chosen, mut left) = self.choose()?;
        let mut prepared: Vec<PreparedFile> = chosen
            .par_iter()
            .map(|(path, item)| self.prepare(path, item))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        let bundled = self.bundle(&mut prepared)?;
        self.add_executable(&mut prepared, !bundled.is_empty())?;
        let stripped = prepared.iter().filter(|file| file.stripped > 0);
        left.add(
            "debug information",
            stripped.clone().count() as u64,
            stripped.map(|file| file.stripped).sum(),
        );
        let has_certificates = !needs_foreign_openssl(&prepared);
        if has_certificates {
            let path = self.path(&format!(
                "{}/python{}/{CERTIFICATES_MODULE}.py",
                self.lib, self.python
            ))?;
            prepared.push(self.place(path, CERTIFICATES.as_bytes(), 0o644)?);
        }
        self.add_licenses(&mut prepared, &bundled, report)?;
        let sources = self.sources(prepared)?;
        let (interpreter, version, runs_here) = self.ask(cache)?;
        let compiler = ByteCompiler::of(&interpreter, self.python)?;
        let prune = crate::prune::Pruner::default();
        let builder = LayerBuilder {
            cache,
            compiler: &compiler,
            prune: &prune,
        };
        let layer = Layer::for_interpreter(&builder, &label(&version), &sources)?;
        let made = MadeLayer {
            layer: layer.key.clone(),
            version,
            interpreter,
            machine: self.linkage.machine.to_owned(),
            runs_here,
            has_certificates,
            left: left.sorted(),
            bundled: bundled.into_iter().map(|(soname, _)| soname).collect(),
            built_in: self.origin.directories().map(PathBuf::from).collect(),
            processor: self.processor.clone(),
        };
        Ok((made, layer))
    }

    /// What ships of the prefix, but for the executable, and what stays behind.
    fn choose(&self) -> Result<(BTreeMap<&ReleasePath, &PrefixItem>, LeftBehind)> {
        let prune: Vec<String> = self
            .cpython
            .prune
            .iter()
            .map(|name| name.value.clone())
            .collect();
        let choice = PartChoice {
            python: self.python,
            lib: self.lib,
            keep: &self.cpython.keep,
            prune: &prune,
            needs_library: self.linkage.needs_library,
        };
        let (mut chosen, mut left) = (BTreeMap::new(), LeftBehind::default());
        for (path, item) in &self.prefix.items {
            match choice.of(path) {
                PartVerdict::Ships => _ = chosen.insert(path, item),
                PartVerdict::Stays(what) => match item {
                    PrefixItem::File(_, size) => left.add(&what, 1, *size),
                    PrefixItem::Link(_) => left.add(&what, 1, 0),
                },
                PartVerdict::Foreign => {}
            }
        }
        chosen.remove(&ReleasePath::parse(&format!("bin/python{}", self.python))?);
        let unknown = self
            .cpython
            .prune
            .iter()
            .filter(|name| !left.has(&format!("`{}`", name.value)));
        let errors = unknown.map(|name| {
            Error::new(format!("CPython {} has no module `{}` that would ship", self.python, name.value))
                .at(name.at.clone())
                .hint("name modules as an import does; those of extension modules begin with `_`, such as `_curses`")
        });
        Error::all(errors.collect::<Vec<_>>()).map_or(Ok((chosen, left)), Err)
    }

    /// Makes a file ready to ship; `None` for a link that leads to nothing that is here.
    fn prepare(&self, path: &ReleasePath, item: &PrefixItem) -> Result<Option<PreparedFile>> {
        let release_path = self.path(path.as_str())?;
        let (file, size) = match item {
            PrefixItem::File(file, size) => (file, *size),
            PrefixItem::Link(target) if self.prefix.file(path).is_some() => {
                let source = TreeSource::Symlink(target.clone());
                return Ok(Some(PreparedFile {
                    path: release_path,
                    source,
                    needed: Vec::new(),
                    stripped: 0,
                }));
            }
            PrefixItem::Link(_) => return Ok(None),
        };
        let bytes = fs::read(file)?;
        if bytes.starts_with(b"\x7fELF") {
            let (bytes, needed) = self.relocated(&bytes, file, RunPath::Relative)?;
            let stripped = size.saturating_sub(bytes.len() as u64);
            return Ok(Some(PreparedFile {
                needed,
                stripped,
                ..self.place(release_path, &bytes, 0o644)?
            }));
        }
        if is_sysconfig(path) {
            let text = String::from_utf8_lossy(&bytes);
            return self
                .place(release_path, self.origin.relocated(&text).as_bytes(), 0o644)
                .map(Some);
        }
        self.place(release_path, &bytes, 0o644).map(Some)
    }

    /// The executable and its other names. It has a run path if there is something of its own to be
    /// found there.
    fn add_executable(&self, prepared: &mut Vec<PreparedFile>, has_libraries: bool) -> Result<()> {
        let original = fs::read(&self.executable)?;
        let is_searched =
            has_libraries || (self.linkage.needs_library && !self.linkage.finds_library);
        let run_path = if is_searched {
            RunPath::Library
        } else {
            RunPath::Relative
        };
        let (bytes, needed) = self.relocated(&original, &self.executable, run_path)?;
        let stripped = (original.len() as u64).saturating_sub(bytes.len() as u64);
        let name = format!("python{}", self.python);
        let file = self.place(self.path(&format!("bin/{name}"))?, &bytes, 0o755)?;
        prepared.push(PreparedFile {
            needed,
            stripped,
            ..file
        });
        for link in ["python", "python3"] {
            let source = TreeSource::Symlink(name.clone());
            let path = self.path(&format!("bin/{link}"))?;
            prepared.push(PreparedFile {
                path,
                source,
                needed: Vec::new(),
                stripped: 0,
            });
        }
        Ok(())
    }

    /// Returns compiled code that does not say where it was built, and the libraries that it needs.
    fn relocated(
        &self,
        bytes: &[u8],
        file: &Path,
        run_path: RunPath,
    ) -> Result<(Vec<u8>, Vec<String>)> {
        let failed = |why: &'static str| {
            Error::new(format!(
                "cannot make `{}` independent of its place",
                shown(file)
            ))
            .cause_text(why)
        };
        let Some(mut binary) = ElfBinary::parse(bytes).map_err(failed)? else {
            return Ok((bytes.to_vec(), Vec::new()));
        };
        let needed = binary.needed().map_err(failed)?;
        binary.strip().map_err(failed)?;
        let old = binary.run_path().map_err(failed)?;
        let is_relative = |path: &String| path.split(':').all(|path| path.starts_with("$ORIGIN"));
        let changed = match run_path {
            RunPath::Library => binary.set_run_path(Some(&format!("$ORIGIN/../{}", self.lib))),
            RunPath::Relative if old.as_ref().is_none_or(is_relative) => Ok(()),
            RunPath::Relative => binary.set_run_path(None),
        };
        changed.map_err(|why| {
            failed(why).hint(format!(
                "let patchelf give it the run path first: `patchelf --force-rpath --set-rpath '$ORIGIN/../{}' FILE`, in a \
                 copy of the interpreter",
                self.lib
            ))
        })?;
        self.origin.take_out_of(&mut binary);
        Ok((binary.into_bytes(), needed))
    }

    /// Adds the libraries that the user wants to have with the interpreter, and those that they
    /// need and that are wanted too. Returns their names, and where they were found.
    fn bundle(&self, prepared: &mut Vec<PreparedFile>) -> Result<Vec<(String, PathBuf)>> {
        let patterns = &self.cpython.bundle_libraries;
        if patterns.is_empty() {
            return Ok(Vec::new());
        }
        if self.linkage.machine != std::env::consts::ARCH {
            return Err(
                Error::new("libraries of this machine can't be bundled for another one")
                    .at(patterns[0].at.clone()),
            );
        }
        let wanted = globs(patterns.iter().map(|pattern| pattern.value.as_str()))?;
        let mut open = self.needed_libraries(prepared)?;
        let mut seen: BTreeSet<String> = prepared
            .iter()
            .map(|file| file.path.file_name().to_owned())
            .collect();
        let mut used = BTreeSet::new();
        let mut bundled = Vec::new();
        while let Some(soname) = open.pop_first() {
            let matching = wanted.matches(&soname);
            if matching.is_empty()
                || !libraries::may_be_bundled(&soname)
                || !seen.insert(soname.clone())
            {
                continue;
            }
            used.extend(matching);
            let (library, found) = self.bundled_library(&soname)?;
            open.extend(library.needed.iter().cloned());
            prepared.push(library);
            bundled.push((soname, found));
        }

        let unused = (0..)
            .zip(patterns)
            .filter(|(index, _)| !used.contains(index))
            .map(|(_, pattern)| useless_pattern(pattern));
        Error::all(unused.collect::<Vec<_>>()).map_or(Ok(bundled), Err)
    }

    /// The libraries that the executable and what ships with it need.
    fn needed_libraries(&self, prepared: &[PreparedFile]) -> Result<BTreeSet<String>> {
        let of_files = prepared.iter().flat_map(|file| file.needed.iter().cloned());
        let executable = ElfBinary::parse(&fs::read(&self.executable)?)
            .ok()
            .flatten();
        let of_executable = executable.and_then(|binary| binary.needed().ok());
        Ok(of_files
            .chain(of_executable.into_iter().flatten())
            .collect())
    }

    /// Makes a library of this machine ready to ship; returns also where it was found.
    fn bundled_library(&self, soname: &str) -> Result<(PreparedFile, PathBuf)> {
        let file = libraries::find(soname, &self.linkage.run_paths).ok_or_else(|| {
            Error::new(format!(
                "`{soname}` is to be bundled, and is not on this machine"
            ))
        })?;
        let file = file.canonicalize().unwrap_or(file);
        let (bytes, needed) = self.relocated(&fs::read(&file)?, &file, RunPath::Relative)?;
        let path = self.path(&format!("{}/{soname}", self.lib))?;
        let library = PreparedFile {
            needed,
            ..self.place(path, &bytes, 0o644)?
        };
        Ok((library, file))
    }

    /// The interpreter's licences, and those of bundled libraries as far as a package manager knows
    /// them.
    fn add_licenses(
        &self,
        prepared: &mut Vec<PreparedFile>,
        bundled: &[(String, PathBuf)],
        report: &Report,
    ) -> Result<()> {
        let own = ReleasePath::parse(&format!("{}/python{}/LICENSE.txt", self.lib, self.python))?;
        if self.prefix.licenses.is_empty() && self.prefix.file(&own).is_none() {
            report.warning(&format!(
                "`{}` has no text of Python's licence, which has to be shipped with it",
                shown(&self.cpython.path.value)
            ));
        }
        let mut licenses: BTreeMap<String, PathBuf> = self.prefix.licenses.clone();
        for (soname, file) in bundled {
            match license_of(file) {
                Some(license) => _ = licenses.insert(format!("{soname}.copyright"), license),
                None => report.warning(&format!(
                    "no text of the licence of `{soname}` is known, which has to be shipped with it"
                )),
            }
        }
        for (name, file) in licenses {
            let path = self.path(&format!("licenses/{name}"))?;
            prepared.push(self.place(path, &fs::read(&file)?, 0o644)?);
        }
        Ok(())
    }

    /// What the layer is made of: all that is there, with the directories above.
    fn sources(&self, prepared: Vec<PreparedFile>) -> Result<BTreeMap<ReleasePath, TreeSource>> {
        let mut sources: BTreeMap<ReleasePath, TreeSource> = BTreeMap::new();
        let present: BTreeSet<ReleasePath> =
            prepared.iter().map(|file| file.path.clone()).collect();
        for file in prepared {
            // What a link leads to may have stayed behind.
            if let TreeSource::Symlink(target) = &file.source {
                let to =
                    layer::resolve(&file.path, target).and_then(|to| ReleasePath::parse(&to).ok());
                if !to.is_some_and(|to| present.contains(&to)) {
                    continue;
                }
            }
            sources.insert(file.path, file.source);
        }
        Ok(sources)
    }

    /// Runs the interpreter where it is prepared, as proof that it does not need the place it comes
    /// from. One for another machine is represented by one of this machine.
    fn ask(&self, cache: &Cache) -> Result<(Interpreter, String, bool)> {
        if self.linkage.machine != std::env::consts::ARCH {
            let version = self.version()?;
            let interpreter = Interpreter::find(cache, self.python).map_err(|error| {
                error.cause_text(format!(
                    "byte code for {} is made by an interpreter of this machine",
                    self.linkage.machine
                ))
            })?;
            return Ok((interpreter, version, false));
        }
        let executable = self
            .room
            .path()
            .join(self.path(&format!("bin/python{}", self.python))?.as_str());
        let interpreter = Interpreter::query(&executable).map_err(|error| {
            error.context(format!(
                "`{}` does not run when it lies elsewhere",
                shown(&self.cpython.path.value)
            ))
        })?;
        let version = interpreter.version.clone();
        Ok((interpreter, version, true))
    }

    /// Reads the version from the program: it is a text of its own there.
    fn version(&self) -> Result<String> {
        let library = ReleasePath::parse(&format!("{}/libpython{}.so.1.0", self.lib, self.python))?;
        let library = self.prefix.file(&library).map(|(file, _)| file.to_owned());
        let start = format!("{}.", self.python);
        for file in library.into_iter().chain([self.executable.clone()]) {
            let bytes = fs::read(&file)?;
            for place in memchr::memmem::find_iter(&bytes, start.as_bytes()) {
                let rest = &bytes[place + start.len()..];
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                if (1..=2).contains(&digits) && rest.get(digits) == Some(&0) {
                    return Ok(format!(
                        "{start}{}",
                        String::from_utf8_lossy(&rest[..digits])
                    ));
                }
            }
        }
        Err(Error::new(format!(
            "cannot tell which CPython {} this is",
            self.python
        )))
    }

    /// A path of the layer.
    fn path(&self, below: &str) -> Result<ReleasePath> {
        ReleasePath::parse(&format!("{}/{below}", directory(self.python)))
    }

    /// Writes a file where the interpreter is prepared.
    fn place(&self, path: ReleasePath, bytes: &[u8], mode: u32) -> Result<PreparedFile> {
        use std::os::unix::fs::PermissionsExt;
        let file = self.room.path().join(path.as_str());
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        let failed = || format!("cannot write `{}`", shown(&file));
        std::fs::write(&file, bytes).context(failed)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).context(failed)?;
        let source = TreeSource::File(file, mode, Digest::of(bytes));
        Ok(PreparedFile {
            path,
            source,
            needed: Vec::new(),
            stripped: 0,
        })
    }
}

/// The run path that compiled code gets.
#[derive(Debug, Clone, Copy)]
enum RunPath {
    /// The one that it has, if that is relative; else none.
    Relative,
    /// The interpreter's directory of libraries.
    Library,
}

/// Patterns of sonames.
struct SonameGlobs(GlobSet);

impl SonameGlobs {
    fn matches(&self, soname: &str) -> Vec<usize> {
        self.0.matches(soname)
    }
}

fn globs<'p>(patterns: impl Iterator<Item = &'p str>) -> Result<SonameGlobs> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).context(|| format!("`{pattern}` is no pattern for libraries"))?);
    }
    set.build()
        .map(SonameGlobs)
        .context(|| "the patterns of `bundle-libraries` are too many")
}

/// Reads the variables that an interpreter's `sysconfig` has; nothing if it has none.
fn sysconfig(prefix: &InterpreterPrefix, lib: &str, python: PythonMinor) -> Result<String> {
    let directory = format!("{lib}/python{python}/");
    let is_there =
        |path: &&ReleasePath| path.as_str().starts_with(&directory) && is_sysconfig(path);
    match prefix
        .items
        .keys()
        .find(is_there)
        .and_then(|path| prefix.file(path))
    {
        Some((file, _)) => Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned()),
        None => Ok(String::new()),
    }
}

fn is_sysconfig(path: &ReleasePath) -> bool {
    let name = path.file_name();
    name.starts_with(SYSCONFIG) && name.ends_with(".py")
}

/// Whether any file needs an OpenSSL that is not among the files: the host's knows where its
/// certificates are.
fn needs_foreign_openssl(prepared: &[PreparedFile]) -> bool {
    let own: BTreeSet<&str> = prepared.iter().map(|file| file.path.file_name()).collect();
    let mut needed = prepared.iter().flat_map(|file| &file.needed);
    needed.any(|soname| soname.starts_with("libssl.so.") && !own.contains(soname.as_str()))
}

/// Returns the text of the licence of a library that a package of this machine holds.
fn license_of(library: &Path) -> Option<PathBuf> {
    // Where `/lib` is a link to `/usr/lib`, dpkg may know the file by its old name.
    let names = [
        library.to_owned(),
        Path::new("/").join(library.strip_prefix("/usr").unwrap_or(library)),
    ];
    let ask = |program: &str, arguments: &[&str], file: &Path| {
        let output = process::output(Command::new(program).args(arguments).arg(file)).ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    names.iter().find_map(|file| {
        let debian = ask("dpkg-query", &["--search"], file).and_then(|text| {
            let package = text.split([':', ',']).next()?.trim().to_owned();
            Some(PathBuf::from(format!("/usr/share/doc/{package}/copyright")))
        });
        let red_hat = || {
            let text = ask("rpm", &["-q", "--licensefiles", "--file"], file)?;
            text.lines().next().map(PathBuf::from)
        };
        debian
            .filter(|file| file.is_file())
            .or_else(red_hat)
            .filter(|file| file.is_file())
    })
}

/// How a record says that the interpreter is the release's own.
pub const BUNDLED: &str = "bundled";

/// How a release's record names its interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedInterpreter {
    /// The version, e.g. `3.13.0`.
    pub version: String,
    /// `bundled`, or the package that has it.
    pub home: String,
    /// What stands for all of its files.
    pub sha256: Sha256Sum,
}

impl Runtime {
    /// Returns how a record names it.
    ///
    /// # Errors
    /// The layer's key is no SHA-256: a bug.
    pub fn recorded(&self) -> Result<RecordedInterpreter> {
        let home = match self.home {
            InterpreterHome::Release => BUNDLED.to_owned(),
            InterpreterHome::Package => {
                pkgapp_core::name::AppName::of_runtime(self.python).to_string()
            }
        };
        let sha256 = Sha256Sum::from_hex(self.sha256())
            .ok_or_else(|| Error::bug("a layer's key is no SHA-256"))?;
        Ok(RecordedInterpreter {
            version: self.version.clone(),
            home,
            sha256,
        })
    }
}
