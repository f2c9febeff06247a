//! An interpreter that ships: in the release itself (`interpreter = "bundled"`), or in a package of
//! its own that applications share (`"shared"`).
//!
//! The interpreter becomes a layer like a distribution, `python3.N/`. The release around it is a
//! virtual environment whose `bin/python` is a relative link to `../python3.N/bin/python3.N`, with a
//! pyvenv.cfg without a home: CPython 3.8 to 3.14 finds itself from there, wherever the release is.
//! The layer has
//!
//! - the parts that a server needs (without each [`Part`](pkgapp_config::InterpreterPart)), and the
//!   licenses;
//! - compiled code without debug information and without run paths of the machine that built it;
//!   the executable's is `$ORIGIN/../lib`;
//! - libraries that the hosts lack, if the configuration lists them;
//! - byte code from the interpreter itself.
//!
//! The same interpreter results in the same layer, whether it comes from a directory or an archive,
//! and wherever that is.

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

/// The version of prepared interpreters, part of their key.
const FORMAT: u32 = 2;

/// The directory of shared interpreters on a host, with a [`directory`] for each.
pub const SHARED: &str = "/opt/pkgapp";

/// The module that finds the host's CA certificates, and its name.
const CERTIFICATES: &str = include_str!("certificates.py");
const CERTIFICATES_MODULE: &str = "_pkgapp_certificates";

/// The beginning of the names of `sysconfig`'s modules; the ABI flags, the platform, and the
/// architecture follow.
const SYSCONFIG: &str = "_sysconfigdata_";

/// The number of parts in the line about an interpreter; `-v` shows all.
const NAMED_PARTS: usize = 4;

/// The place of a release's interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterpreterHome {
    /// Inside the release.
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
    /// The place of the interpreter.
    pub home: InterpreterHome,
    /// The layer with its files.
    pub layer: Layer,
    /// The interpreter that compiles byte code: itself, or one of the build machine if it is for
    /// another architecture.
    pub interpreter: Interpreter,
    /// The interpreter that builds sdists: with headers and pip, if the original has them.
    pub builds_with: PathBuf,
    /// Whether the interpreter runs on the build machine.
    pub runs_here: bool,
    /// Whether the interpreter has its own OpenSSL, which needs the path of the host's CA
    /// certificates.
    has_certificates: bool,
    /// Directories of the machine that compiled the interpreter, which must not appear in a release.
    pub built_in: Vec<PathBuf>,
}

/// The record of a prepared interpreter in the cache.
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
    /// Prepares the configured interpreter to ship, or takes it from the cache. `wanted` is the
    /// architecture that it must have, if known.
    ///
    /// # Errors
    /// There is no such interpreter, it cannot be made relocatable, or its archive is faulty.
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

    /// Returns the SHA-256 that identifies all of its files.
    pub fn sha256(&self) -> &str {
        &self.layer.key
    }

    /// Returns the lines of a `.pth` file that a release needs for this interpreter, if any.
    pub fn start_lines(&self) -> Option<String> {
        // Without a `home` in pyvenv.cfg, `venv` would take the release for the base installation.
        let base = (self.home == InterpreterHome::Release).then(|| {
            format!(
                "import sys; sys._base_executable = sys.base_prefix + \"/bin/python{}\"\n",
                self.python
            )
        });
        // Without this module, its OpenSSL would trust no certificate.
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
            // The record has another path if the layer was new, or if the cache has moved.
            interpreter.path = layer
                .place
                .files()
                .join(format!("{}/bin/python{python}", directory(python)));
            interpreter.base.clone_from(&interpreter.path);
        }
        let original = cpython.path.value.join(format!("bin/python{python}"));
        // The build machine's interpreter replaces one for another architecture.
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

/// Returns the runtime from the cache, or prepares it.
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

/// Returns the label of an interpreter's layer.
fn label(version: &str) -> String {
    format!("interpreter `CPython {version}`")
}

/// Returns the key of a prepared interpreter, from everything that determines its files: file times
/// and sizes stand for their content.
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
        // Installing a library updates the linker's cache.
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

/// Verifies an archive against its `sha256`.
fn check_sum(cpython: &Cpython) -> Result<()> {
    let file = &cpython.path.value;
    let found = Digest::of_reader(fs::open(file)?)
        .context(|| format!("cannot read `{}`", shown(file)))?
        .sha256;
    match &cpython.sha256 {
        Some(wanted) if wanted.value != found => Err(Error::new(format!(
            "`{}` does not match its `sha256`",
            shown(file)
        ))
        .at(wanted.at.clone())
        .cause_text(format!("its SHA-256 is {found}"))
        .hint("download it again, or update `sha256` if the archive was replaced on purpose")),
        _ => Ok(()),
    }
}

/// Refuses an interpreter for another architecture than the release's.
fn check_machine(cpython: &Cpython, machine: &str, wanted: Option<Arch>) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != Arch::Any && wanted.as_str() != machine => Err(Error::new(
            format!("`{}` is compiled for {machine}", shown(&cpython.path.value)),
        )
        .cause_text(format!("the release is for {wanted}"))
        .hint(format!(
            "use an interpreter for {wanted}, or build with `--arch {machine}`"
        ))),
        _ => Ok(()),
    }
}

/// Reports the size of an interpreter, and its parts that do not ship.
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
            "CPython {} was compiled for the processor `{processor}` and does not run on older ones",
            made.version
        ));
    }
}

/// Checks that every pattern of `bundle-libraries` is among the `used` ones, which are indexes.
fn check_patterns(patterns: &[Located<String>], used: &BTreeSet<usize>) -> Result<()> {
    let unused = (0..)
        .zip(patterns)
        .filter(|(index, _)| !used.contains(index))
        .map(|(_, pattern)| useless_pattern(pattern));
    Error::all(unused.collect::<Vec<_>>()).map_or(Ok(()), Err)
}

/// Returns the error for a pattern of `bundle-libraries` that matches nothing.
fn useless_pattern(pattern: &Located<String>) -> Error {
    Error::new(format!(
        "the interpreter needs no library `{}` that pkgapp can bundle",
        pattern.value
    ))
    .at(pattern.at.clone())
    .hint("write sonames as in the output of `ldd`, such as `libssl.so.3`; glibc is never bundled")
}

/// The preparation of an interpreter as a layer.
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

/// The linkage of an interpreter's executable.
struct ExecutableLinkage {
    machine: &'static str,
    /// Absolute run paths.
    run_paths: Vec<PathBuf>,
    /// Whether the executable needs `libpython`.
    needs_library: bool,
    /// Whether the executable names the relative path of that library, so that it needs no run path.
    finds_library: bool,
}

/// A prefix in which pkgapp looks for an interpreter of a version.
struct WantedInterpreter<'a> {
    place: &'a Path,
    python: PythonMinor,
    prefix: &'a InterpreterPrefix,
}

impl<'a> WantedInterpreter<'a> {
    /// Returns the error that the prefix lacks the interpreter, with a hint.
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
            [] => error.hint("name an archive of python-build-standalone, or the prefix of a CPython"),
            others => error.hint(format!(
                "it has {}: change `version`, or name another prefix",
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
            self.missing(&format!(
                "its `{name}` is not a program for x86_64 or aarch64"
            ))
        })?;
        let damaged =
            |why: &str| Error::new(format!("cannot read `{}`", shown(executable))).cause_text(why);
        let binary = ElfBinary::parse(&bytes)
            .map_err(damaged)?
            .ok_or_else(|| self.missing(&format!("its `{name}` is not a program")))?;
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
            // python-build-standalone did this until May of 2025. Since then, the executable is
            // linked statically.
            finds_library: needed.contains(&format!("$ORIGIN/../{lib}/{library}")),
        })
    }
}

/// Returns the absolute paths in a run path.
fn absolute_paths(run_path: &str) -> Vec<PathBuf> {
    run_path
        .split(':')
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A file that is ready to ship.
struct PreparedFile {
    path: ReleasePath,
    source: TreeSource,
    /// The libraries that the file needs.
    needed: Vec<String>,
    /// The number of bytes that were stripped.
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

    /// Builds the layer of the interpreter.
    fn make(&self, cache: &Cache, report: &Report) -> Result<(MadeLayer, Layer)> {
        let (mut prepared, mut left) = self.prepare_all()?;
        let bundled = self.bundle(&mut prepared)?;
        self.add_executable(&mut prepared, !bundled.is_empty())?;
        let stripped = prepared.iter().filter(|file| file.stripped > 0);
        left.add(
            "debug information",
            stripped.clone().count() as u64,
            stripped.map(|file| file.stripped).sum(),
        );
        let has_certificates = self.add_certificates(&mut prepared)?;
        self.add_licenses(&mut prepared, &bundled, report)?;

        let sources = self.sources(prepared)?;
        let (interpreter, version, runs_here) = self.ask(cache)?;
        let layer = self.layer(&sources, &interpreter, &version, cache)?;
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

    /// Prepares all files of the prefix that ship, except for the executable; also returns the parts
    /// that do not ship.
    fn prepare_all(&self) -> Result<(Vec<PreparedFile>, LeftBehind)> {
        let (chosen, left) = self.choose()?;
        let prepared = chosen
            .par_iter()
            .map(|(path, item)| self.prepare(path, item))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        Ok((prepared, left))
    }

    /// Adds the module that finds the host's CA certificates, if the interpreter has its own
    /// OpenSSL; returns whether it does.
    fn add_certificates(&self, prepared: &mut Vec<PreparedFile>) -> Result<bool> {
        if needs_foreign_openssl(prepared) {
            return Ok(false);
        }
        let path = self.path(&format!(
            "{}/python{}/{CERTIFICATES_MODULE}.py",
            self.lib, self.python
        ))?;
        prepared.push(self.place(path, CERTIFICATES.as_bytes(), 0o644)?);
        Ok(true)
    }

    fn layer(
        &self,
        sources: &BTreeMap<ReleasePath, TreeSource>,
        interpreter: &Interpreter,
        version: &str,
        cache: &Cache,
    ) -> Result<Layer> {
        let compiler = ByteCompiler::of(interpreter, self.python)?;
        let builder = LayerBuilder {
            cache,
            compiler: &compiler,
            prune: &crate::prune::Pruner::default(),
        };
        Layer::for_interpreter(&builder, &label(version), sources)
    }

    /// Divides the prefix, except for the executable, into files that ship and parts that do not.
    fn choose(&self) -> Result<(BTreeMap<&ReleasePath, &PrefixItem>, LeftBehind)> {
        let names = self.cpython.prune.iter();
        let prune: Vec<String> = names.map(|name| name.value.clone()).collect();
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
        self.check_pruned(&left)?;
        Ok((chosen, left))
    }

    /// Refuses names in `prune` that match no module.
    fn check_pruned(&self, left: &LeftBehind) -> Result<()> {
        let unknown = self
            .cpython
            .prune
            .iter()
            .filter(|name| !left.has(&format!("`{}`", name.value)));
        let errors = unknown.map(|name| {
            Error::new(format!("CPython {} has no module `{}` that would ship", self.python, name.value))
                .at(name.at.clone())
                .hint("write names as in an import; many extension modules begin with `_`, such as `_curses`")
        });
        Error::all(errors.collect::<Vec<_>>()).map_or(Ok(()), Err)
    }

    /// Prepares a file to ship; `None` for a link whose target is missing.
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

    /// Adds the executable and its other names. It gets a run path only if it has libraries of its
    /// own.
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

    /// Returns compiled code without the paths of its build, and the libraries that it needs.
    fn relocated(
        &self,
        bytes: &[u8],
        file: &Path,
        run_path: RunPath,
    ) -> Result<(Vec<u8>, Vec<String>)> {
        let failed = |why: &'static str| {
            Error::new(format!("cannot make `{}` relocatable", shown(file))).cause_text(why)
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
                "set the run path with patchelf first: `patchelf --force-rpath --set-rpath '$ORIGIN/../{}' FILE`, in a \
                 copy of the interpreter",
                self.lib
            ))
        })?;
        self.origin.take_out_of(&mut binary);
        Ok((binary.into_bytes(), needed))
    }

    /// Adds the libraries that match `bundle-libraries`, including those that other bundled
    /// libraries need. Returns their names and their paths on the build machine.
    fn bundle(&self, prepared: &mut Vec<PreparedFile>) -> Result<Vec<(String, PathBuf)>> {
        let patterns = &self.cpython.bundle_libraries;
        if patterns.is_empty() {
            return Ok(Vec::new());
        }
        if self.linkage.machine != std::env::consts::ARCH {
            return Err(Error::new(
                "cannot bundle libraries of the build machine for another architecture",
            )
            .at(patterns[0].at.clone()));
        }
        let wanted = globs(patterns.iter().map(|pattern| pattern.value.as_str()))?;
        let mut open = self.needed_libraries(prepared)?;
        let names = prepared.iter().map(|file| file.path.file_name());
        let mut seen: BTreeSet<String> = names.map(str::to_owned).collect();
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

        check_patterns(patterns, &used)?;
        Ok(bundled)
    }

    /// Returns the libraries that the executable and the prepared files need.
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

    /// Prepares a library of the build machine to ship; also returns its path.
    fn bundled_library(&self, soname: &str) -> Result<(PreparedFile, PathBuf)> {
        let file = libraries::find(soname, &self.linkage.run_paths).ok_or_else(|| {
            Error::new(format!(
                "cannot find `{soname}` to bundle on the build machine"
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

    /// Adds the licenses of the interpreter, and those of bundled libraries if the package manager
    /// has them.
    fn add_licenses(
        &self,
        prepared: &mut Vec<PreparedFile>,
        bundled: &[(String, PathBuf)],
        report: &Report,
    ) -> Result<()> {
        let own = ReleasePath::parse(&format!("{}/python{}/LICENSE.txt", self.lib, self.python))?;
        if self.prefix.licenses.is_empty() && self.prefix.file(&own).is_none() {
            report.warning(&format!(
                "`{}` has no text of Python's license, which must ship with it",
                shown(&self.cpython.path.value)
            ));
        }
        let mut licenses: BTreeMap<String, PathBuf> = self.prefix.licenses.clone();
        for (soname, file) in bundled {
            match license_of(file) {
                Some(license) => _ = licenses.insert(format!("{soname}.copyright"), license),
                None => report.warning(&format!(
                    "cannot find the license of `{soname}`, which must ship with it"
                )),
            }
        }
        for (name, file) in licenses {
            let path = self.path(&format!("licenses/{name}"))?;
            prepared.push(self.place(path, &fs::read(&file)?, 0o644)?);
        }
        Ok(())
    }

    /// Returns the sources of the layer, without links whose targets do not ship.
    fn sources(&self, prepared: Vec<PreparedFile>) -> Result<BTreeMap<ReleasePath, TreeSource>> {
        let mut sources: BTreeMap<ReleasePath, TreeSource> = BTreeMap::new();
        let present: BTreeSet<ReleasePath> =
            prepared.iter().map(|file| file.path.clone()).collect();
        for file in prepared {
            // The target of a link may not ship.
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

    /// Runs the prepared interpreter, which proves that it does not need its original place. A Python
    /// of the build machine stands in for an interpreter for another architecture.
    fn ask(&self, cache: &Cache) -> Result<(Interpreter, String, bool)> {
        if self.linkage.machine != std::env::consts::ARCH {
            let version = self.version()?;
            let interpreter = Interpreter::find(cache, self.python).map_err(|error| {
                error.cause_text(format!(
                    "compiling byte code for {} needs an interpreter of the build machine",
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
                "`{}` does not run from another directory",
                shown(&self.cpython.path.value)
            ))
        })?;
        let version = interpreter.version.clone();
        Ok((interpreter, version, true))
    }

    /// Reads the version from the program, which contains it as a separate string.
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
            "cannot determine the patch release of CPython {}",
            self.python
        )))
    }

    /// Returns a path of the layer.
    fn path(&self, below: &str) -> Result<ReleasePath> {
        ReleasePath::parse(&format!("{}/{below}", directory(self.python)))
    }

    /// Writes a file to the directory in which the interpreter is prepared.
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
        set.add(
            Glob::new(pattern).context(|| format!("invalid pattern `{pattern}` for libraries"))?,
        );
    }
    set.build()
        .map(SonameGlobs)
        .context(|| "`bundle-libraries` has too many patterns")
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

/// Returns whether a file needs an OpenSSL that is not among the prepared files. The host's OpenSSL
/// knows the path of its certificates.
fn needs_foreign_openssl(prepared: &[PreparedFile]) -> bool {
    let own: BTreeSet<&str> = prepared.iter().map(|file| file.path.file_name()).collect();
    let mut needed = prepared.iter().flat_map(|file| &file.needed);
    needed.any(|soname| soname.starts_with("libssl.so.") && !own.contains(soname.as_str()))
}

/// Returns the license of a library from the build machine's package that contains it.
fn license_of(library: &Path) -> Option<PathBuf> {
    // Where `/lib` is a link to `/usr/lib`, dpkg may know the file by its old path.
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

/// The value of a record's `home` for a bundled interpreter.
pub const BUNDLED: &str = "bundled";

/// The interpreter in a release's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedInterpreter {
    /// The version, e.g. `3.13.0`.
    pub version: String,
    /// `bundled`, or the package that contains the interpreter.
    pub home: String,
    /// The digest that identifies all files of the interpreter.
    pub sha256: Sha256Sum,
}

impl Runtime {
    /// Returns the record of the interpreter.
    ///
    /// # Errors
    /// The layer's key is not a SHA-256: a bug.
    pub fn recorded(&self) -> Result<RecordedInterpreter> {
        let home = match self.home {
            InterpreterHome::Release => BUNDLED.to_owned(),
            InterpreterHome::Package => {
                pkgapp_core::name::AppName::of_runtime(self.python).to_string()
            }
        };
        let sha256 = Sha256Sum::from_hex(self.sha256())
            .ok_or_else(|| Error::bug("a layer's key is not a SHA-256"))?;
        Ok(RecordedInterpreter {
            version: self.version.clone(),
            home,
            sha256,
        })
    }
}
