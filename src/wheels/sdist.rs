//! Turns sdists and project directories into wheels through PEP 517, with a tool that the user
//! already trusts: uv if it is on PATH, or else the interpreter's pip.
//!
//! The source is copied to the cache, so that the user's files are only read; the result is
//! repacked, so that equal content gives equal bytes; and it is stored under a key of all inputs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use pkgapp_pypa::SourceDistExtension;

use super::archive::WheelArchive;
use super::backend::BuildSystem;
use super::choice::is_compiled;
use super::debug;
use super::find::Fetcher;
use super::index::without_credentials;
use super::linkage::{self, GraftedLibrary};
use super::missing;
use super::needs::{Constraints, NeedSearch};
use super::pack::{self, WheelLayout, files};
use super::project::{VersionHistory, copy_files, hash_files, project_files};
use super::store::{self, FileStore, StoredFile, publish_file};
use super::unpack::{unpack, unpack_zip};
use super::wheelhouse::Wheelhouses;
use super::{BuiltFrom, FetchOptions, LinkageRules, Wheel, egg};
use pkgapp_core::cache::{self, Cache, FileFingerprint};
use pkgapp_core::commit::Commit;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_core::process;
use pkgapp_core::report::{ProgressUnit, Report};
use pkgapp_core::text::backticked;
use pkgapp_lock::{Indexes, Lock, NameSet};
use pkgapp_pypa::egg::EggFilename;
use pkgapp_pypa::{Environment, WheelFilename};

/// A part of every key, to be increased when builds change.
const BUILD_FORMAT: &str = "pkgapp build 5";

/// A part of the key of every egg, to be increased when their conversion changes.
const EGG_FORMAT: &str = "pkgapp egg 1";

/// The file beside a wheel in the cache that lists the libraries of the build machine that were
/// copied into it.
const GRAFTS: &str = "grafts.json";

/// Variables with constraints files.
const CONSTRAINT_VARIABLES: &[&str] = &[
    "PIP_BUILD_CONSTRAINT",
    "PIP_CONSTRAINT",
    "UV_BUILD_CONSTRAINT",
];

/// The earliest time in a zip archive, 1980-01-01 (APPNOTE 4.4.6): build backends fail on earlier
/// ones.
const ZIP_EPOCH: u64 = 315_532_800;

/// Variables that influence the result of a build, in addition to those that begin with
/// [`BUILD_PREFIXES`].
const BUILD_VARIABLES: &[&str] = &[
    "AR",
    "ARCHFLAGS",
    "CC",
    "CFLAGS",
    "CPATH",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "C_INCLUDE_PATH",
    "LD",
    "LDFLAGS",
    "LDSHARED",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "PIP_BUILD_CONSTRAINT",
    "PIP_CONSTRAINT",
    "PKG_CONFIG",
    "PKG_CONFIG_PATH",
    "RUSTFLAGS",
    "UV_BUILD_CONSTRAINT",
];

/// Prefixes of variables that build backends read.
const BUILD_PREFIXES: &[&str] = &[
    "CARGO_",
    "CMAKE_",
    "HATCH_",
    "MATURIN_",
    "PBR_",
    "PDM_",
    "POETRY_",
    "SETUPTOOLS_",
    "SKBUILD_",
    "VCS_VERSIONING_",
];

/// Variables of the user's shell that must not reach a build, in addition to those that begin with
/// [`DROPPED_PREFIXES`] and those that requirements files use in URLs.
const DROPPED_VARIABLES: &[&str] = &[
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONOPTIMIZE",
    "PYTHON_KEYRING_BACKEND",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "NETRC",
    "SSL_CLIENT_CERT",
];

/// Prefixes of settings, indexes, and credentials of pip, uv, pkgapp, and other tools that know
/// indexes.
const DROPPED_PREFIXES: &[&str] = &[
    "HATCH_INDEX_",
    "KEYRING_",
    "PDM_PUBLISH_",
    "PIP_",
    "PKGAPP_",
    "POETRY_HTTP_BASIC_",
    "POETRY_PYPI_TOKEN_",
    "TWINE_",
    "UV_",
];

/// Exceptions from these prefixes: the place of uv's cache.
const KEPT_VARIABLES: &[&str] = &["UV_CACHE_DIR", "UV_LINK_MODE", "UV_NO_CACHE"];

/// The glibc that a Python is assumed to have if it does not report one: wheels for it run wherever
/// such a Python does.
const OLDEST_GLIBC: (u16, u16) = (2, 17);

/// The latest minor version of Python that may replace another one.
const NEWEST_MINOR: u8 = 16;

/// Builds wheels.
#[derive(Debug)]
pub struct WheelBuilder<'a> {
    cache: &'a Cache,
    environment: &'a Environment,
    indexes: &'a Indexes,
    options: FetchOptions<'a>,
    report: &'a Report,
    tool: OnceLock<Result<BuildTool>>,
    compilers: OnceLock<String>,
    built: AtomicUsize,
    /// Build environments by their requirements.
    tools: Mutex<BTreeMap<Vec<String>, Vec<Wheel>>>,
    /// The requirements that are being built because another build needs them, outermost first.
    outer: Vec<Vec<String>>,
}

/// The tools that run a build.
#[derive(Debug, Clone)]
struct BuildTool {
    interpreter: Interpreter,
    /// uv and its version; `None` for the interpreter's pip.
    uv: Option<(PathBuf, String)>,
}

/// A source that is to be built.
struct SdistSource<'a> {
    /// Its name in messages.
    label: &'a str,
    /// All inputs, except those that only matter for compiled code.
    inputs: Vec<String>,
    from: String,
    /// The path of the source, if it is built here, so that the result may contain local paths.
    path: Option<&'a Path>,
}

/// An egg that is to be converted.
#[derive(Debug)]
pub struct EggSource<'a> {
    /// A file in the cache, or a directory, with the name of an egg.
    pub path: &'a Path,
    /// The file's checksum; `None` for a directory.
    pub sha256: Option<Sha256Sum>,
    /// Its origin, without secrets.
    pub from: &'a str,
}

/// The cache entries for the result of a source.
struct BuildPlaces {
    /// The entry of a wheel for every platform, without compiled code.
    pure: PathBuf,
    /// The entry of any other wheel.
    compiled: PathBuf,
    /// The key of both.
    key: String,
}

impl<'a> WheelBuilder<'a> {
    /// Prepares to build for an environment, without any search.
    pub fn new(
        cache: &'a Cache,
        environment: &'a Environment,
        indexes: &'a Indexes,
        options: &FetchOptions<'a>,
        report: &'a Report,
    ) -> Self {
        let (tool, compilers, built) = (OnceLock::new(), OnceLock::new(), AtomicUsize::new(0));
        let (tools, outer) = (Mutex::default(), Vec::new());
        Self {
            cache,
            environment,
            indexes,
            options: *options,
            report,
            tool,
            compilers,
            built,
            tools,
            outer,
        }
    }

    /// Returns the configuration's rules for builds.
    pub(super) fn rules(&self) -> &LinkageRules {
        self.options.rules
    }

    /// Chooses and fetches build requirements, with all their requirements; sorted by name.
    ///
    /// # Errors
    /// Fails if nothing matches, a requirement cannot be fetched, or it needs itself to be built.
    pub fn tools(&self, requires: &[String]) -> Result<Vec<Wheel>> {
        let mut requires = requires.to_vec();
        requires.sort();
        requires.dedup();
        if requires.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(known) = self
            .tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&requires)
        {
            return Ok(known.clone());
        }
        if self.outer.contains(&requires) {
            return Err(Error::new(
                "a build requirement must be built from source, and needs itself for that",
            )
            .note(format!("the requirements are {}", backticked(&requires)))
            .hint("provide wheels of it in a directory with `--find-links`"));
        }
        let wheels = self.search(&requires)?;
        self.tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(requires, wheels.clone());
        Ok(wheels)
    }

    fn search(&self, requires: &[String]) -> Result<Vec<Wheel>> {
        let environment = self.build_environment()?;
        // The rules about kinds of files apply only to what ships.
        let indexes = Indexes {
            only_binary: NameSet::None,
            no_binary: NameSet::None,
            ..self.indexes.clone()
        };
        let constraints = self.options.rules.constraints.iter().cloned();
        let constraints = Constraints::read(constraints.chain(constraint_files()).collect())?;
        let silent = Report::silent();
        let progress = silent.progress("build requirements", 0, ProgressUnit::Bytes);
        let store = FileStore::new(self.cache, &indexes, self.options.offline, &progress);
        let houses = Wheelhouses::read(&indexes.wheelhouses);
        let lock = Lock {
            indexes: indexes.clone(),
            ..Lock::default()
        };
        let fetcher = Fetcher {
            lock: &lock,
            environment: &environment,
            store: &store,
            houses: &houses,
            report: &silent,
            kept: OnceLock::new(),
        };

        let builder = self.inner(&environment, &indexes, requires);
        let search = NeedSearch {
            fetcher: &fetcher,
            environment: &environment,
            constraints: &constraints,
            builder: &builder,
            tried: Cell::new(0),
            conflict: RefCell::default(),
        };
        search.all(requires).map_err(|error| {
            error.context(format!(
                "cannot provide the build requirements {}",
                backticked(requires)
            ))
        })
    }

    /// Returns the environment of the interpreter that builds.
    fn build_environment(&self) -> Result<Environment> {
        let interpreter = &self.tool()?.interpreter;
        let mut environment = Environment::new(
            interpreter.python,
            Some(&interpreter.version),
            Arch::host()?,
            interpreter.glibc.unwrap_or(OLDEST_GLIBC),
        )?;
        environment.builds_with = self.environment.builds_with.clone();
        Ok(environment)
    }

    /// Returns the builder of build requirements that have no wheel.
    fn inner<'b>(
        &'b self,
        environment: &'b Environment,
        indexes: &'b Indexes,
        requires: &[String],
    ) -> WheelBuilder<'b> {
        let mut builder =
            WheelBuilder::new(self.cache, environment, indexes, &self.options, self.report);
        builder.outer = self
            .outer
            .iter()
            .cloned()
            .chain([requires.to_vec()])
            .collect();
        builder
    }

    /// Returns the timestamp of everything that is built, in seconds since 1970.
    fn epoch(&self) -> Result<u64> {
        Ok(self.options.epoch.seconds()?.max(ZIP_EPOCH))
    }

    /// Returns how many wheels were built rather than found in the cache.
    pub fn built(&self) -> usize {
        self.built.load(Ordering::Relaxed)
    }

    /// Builds an sdist in the cache.
    ///
    /// # Errors
    /// Fails if the sdist cannot be unpacked, there is no tool, the build fails, or its wheel does
    /// not match the environment.
    pub fn sdist(
        &self,
        stored: &StoredFile,
        extension: SourceDistExtension,
        from: &str,
    ) -> Result<Wheel> {
        let label = stored
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let tool = self.tool()?;
        let inputs = self.inputs(&stored.sha256, tool)?;
        let source = SdistSource {
            label: &label,
            inputs,
            from: format!("built from {from}"),
            path: Some(&stored.path),
        };
        self.build(&source, tool, |to| {
            unpack(&stored.path, extension, to, self.epoch()?)
                .map_err(|error| error.context(format!("sdist `{label}` is refused")))
        })
    }

    /// Builds a project's directory, which is only read.
    ///
    /// # Errors
    /// Like [`WheelBuilder::sdist`]; also fails if the directory is not a project.
    pub fn project(&self, directory: &Path) -> Result<Wheel> {
        // The name of the directory is left out: a checkout elsewhere gives the same release.
        self.tree(directory, &shown(directory).to_string(), |_| {
            "built from its project".to_owned()
        })
    }

    /// Works like [`WheelBuilder::project`], for a working tree other than the application's own:
    /// the record has the hash of its files, and the commit if there is one.
    ///
    /// # Errors
    /// Like [`WheelBuilder::project`].
    pub fn working_tree(&self, directory: &Path) -> Result<Wheel> {
        self.tree(directory, &shown(directory).to_string(), |content| {
            let commit = Commit::at(directory)
                .map_or_else(String::new, |commit| format!(", commit {}", commit.id));
            format!("built from its working tree (sha256:{content}{commit})")
        })
    }

    /// Works like [`WheelBuilder::project`], for a directory in the cache with a commit; `from` is
    /// the repository and the commit.
    ///
    /// # Errors
    /// Like [`WheelBuilder::project`].
    pub fn checkout(&self, directory: &Path, from: &str) -> Result<Wheel> {
        self.tree(directory, from, |_| format!("built from {from}"))
    }

    fn tree(
        &self,
        directory: &Path,
        label: &str,
        from: impl FnOnce(&Sha256Sum) -> String,
    ) -> Result<Wheel> {
        if !["pyproject.toml", "setup.py"]
            .iter()
            .any(|name| directory.join(name).is_file())
        {
            return Err(Error::new(format!("`{label}` is not a Python project"))
                .note("it has neither `pyproject.toml` nor `setup.py`"));
        }
        let files = project_files(directory)?;
        let history = VersionHistory::of(directory);
        let content = hash_files(directory, &files, history.as_ref())?;
        let tool = self.tool()?;
        let inputs = self.inputs(&content, tool)?;
        let source = SdistSource {
            label,
            inputs,
            from: from(&content),
            path: Some(directory),
        };
        self.build(&source, tool, |to| {
            let to = to.join("project");
            let lent = history.is_some() && VersionHistory::lend(directory, &to)?;
            copy_files(directory, &files, &to, self.epoch()?)?;
            if lent {
                VersionHistory::compare(&to)?;
            }
            Ok(to)
        })
    }

    /// Converts an egg to a wheel: a file in the cache, or an unpacked egg, which is a local
    /// directory.
    ///
    /// # Errors
    /// Fails if it is not an egg, has metadata that a wheel cannot have, or its wheel does not
    /// match the environment.
    pub fn egg(&self, egg: &EggSource<'_>) -> Result<Wheel> {
        let label = egg.path.file_name().unwrap_or_default().to_string_lossy();
        let filename = EggFilename::parse(&label).map_err(|why| {
            Error::new(format!("`{label}` is not a valid egg name")).cause_text(why)
        })?;
        let (content, files) = match egg.sha256 {
            Some(sha256) => (sha256, Vec::new()),
            None => hashed_files(egg.path)?,
        };
        let inputs = vec![
            EGG_FORMAT.to_owned(),
            content.to_string(),
            label.to_string(),
        ];
        let from = match egg.sha256 {
            Some(_) => format!("converted from {}", egg.from),
            None => format!("converted from {} (sha256:{content})", egg.from),
        };
        // As with a wheel file, nothing is known about the machine that compiled it.
        let source = SdistSource {
            label: &label,
            inputs,
            from,
            path: None,
        };
        self.keep(&source, |room| {
            let (unpacked, laid) = (room.join("egg"), room.join("laid"));
            let refused = |error: Error| error.context(format!("egg `{label}` is refused"));
            match egg.sha256 {
                Some(_) => unpack_zip(fs::open(egg.path)?, &unpacked).map_err(refused)?,
                None => copy_files(egg.path, &files, &unpacked, self.epoch()?)?,
            }
            egg::convert(&unpacked, &filename, &laid).map_err(refused)
        })
    }

    fn tool(&self) -> Result<&BuildTool> {
        self.tool
            .get_or_init(|| BuildTool::find(self.cache, self.environment))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn build(
        &self,
        source: &SdistSource<'_>,
        tool: &BuildTool,
        lay_out: impl FnOnce(&Path) -> Result<PathBuf>,
    ) -> Result<Wheel> {
        self.keep(source, |room| {
            fs::create_dir_all(&room.join("src"))?;
            fs::create_dir_all(&room.join("tmp"))?;
            let project = lay_out(&room.join("src"))?;
            let brought = debug::brought(&project)?;
            let made = self
                .run(tool, room, &project)
                .map_err(|error| advise(error, self.options.offline))?;
            let filename = wheel_filename(&made)?;
            self.check_python(&tool.interpreter, &filename)?;
            self.check_fits(&filename)?;
            let laid = pack::unpack(&made, &filename, &room.join("laid"))?;
            debug::clean(
                &laid.root,
                &brought,
                &tool.interpreter,
                self.options.rules.debug,
            )?;
            Ok(laid)
        })
    }

    /// Returns the wheel of a source from the cache, or builds it with `make` and stores it there.
    fn keep(
        &self,
        source: &SdistSource<'_>,
        make: impl FnOnce(&Path) -> Result<WheelLayout>,
    ) -> Result<Wheel> {
        let places = self.places(source);
        if let Some(wheel) = self.known(&places, source)? {
            return Ok(wheel);
        }
        // Compilers see the name; a random one would end up in their output.
        let room = self.cache.claim(&format!("build-{}", &places.key[..16]))?;
        // Another process may have built it while this one waited for the directory.
        if let Some(wheel) = self.known(&places, source)? {
            return Ok(wheel);
        }

        let start = Instant::now();
        let failed = || format!("cannot build a wheel of `{}`", source.label);
        let made = make(room.path()).and_then(|laid| self.finish(&laid, room.path()));
        let (wheel, grafted) = made.map_err(|error| error.context(failed()))?;
        store::record(self.cache, &wheel)?;
        let place = if is_for_all_platforms(&wheel_filename(&wheel)?) {
            &places.pure
        } else {
            &places.compiled
        };
        publish_file(self.cache, &wheel, place)?;
        self.report_built(&wheel, &grafted, start);
        drop(room);
        self.known(&places, source)?.ok_or_else(|| {
            Error::new(failed()).cause_text("the built wheel disappeared from the cache")
        })
    }

    fn report_built(&self, wheel: &Path, grafted: &[GraftedLibrary], start: Instant) {
        self.built.fetch_add(1, Ordering::Relaxed);
        let name = file_name(wheel);
        let seconds = start.elapsed().as_secs_f64();
        self.report.step(&format!("built {name} ({seconds:.1} s)"));
        if !grafted.is_empty() {
            let libraries = linkage::listed(grafted);
            self.report.step(&format!("{name} ships {libraries}"));
        }
    }

    /// Returns a wheel that was built before; removes a modified one from the cache.
    fn known(&self, places: &BuildPlaces, source: &SdistSource<'_>) -> Result<Option<Wheel>> {
        for place in [&places.pure, &places.compiled] {
            let Some(path) = self.cache.hold(place).then(|| only_wheel(place)).flatten() else {
                continue;
            };
            let filename = wheel_filename(&path)?;
            let known =
                store::recorded(&path).and_then(|sha256| store::known(self.cache, &path, sha256));
            let Some(known) = known.filter(|_| has_current_grafts(place)) else {
                self.cache.forget(place)?;
                continue;
            };
            self.check_fits(&filename)?;
            self.cache.count("built", true);
            let (sha256, from) = (known.sha256, source.from.clone());
            let built_from = source.path.map(|path| BuiltFrom {
                path: path.to_owned(),
                key: places.key.clone(),
            });
            let metadata = known.metadata(self.cache, &path, &filename)?;
            return Ok(Some(Wheel {
                filename,
                path,
                sha256,
                from,
                built_from,
                metadata,
                pin: None,
            }));
        }
        Ok(None)
    }

    /// Refuses compiled code that was built with another Python than the release's.
    fn check_python(&self, interpreter: &Interpreter, filename: &WheelFilename) -> Result<()> {
        let (python, used) = (self.environment.python, interpreter.python);
        if used == python {
            return Ok(());
        }
        if is_compiled(filename) {
            return Err(
                Error::new(format!("Python {python} is not installed on this machine")).cause_text(
                    format!("`{filename}` contains code that is compiled for Python {used}"),
                ),
            );
        }
        self.report.warning(&format!(
            "`{filename}` was built with Python {used}, because Python {python} is not installed on this machine"
        ));
        Ok(())
    }

    fn check_fits(&self, filename: &WheelFilename) -> Result<()> {
        if filename.is_compatible(&self.environment.tags) {
            return Ok(());
        }
        let Environment { python, arch, .. } = self.environment;
        Err(Error::new(format!(
            "`{filename}` is not compatible with CPython {python} on {arch}"
        ))
        .note("code that is compiled here runs only on machines like this one"))
    }

    /// Removes local paths from the result, adds the libraries that it must bring, and packs it.
    fn finish(&self, laid: &WheelLayout, room: &Path) -> Result<(PathBuf, Vec<GraftedLibrary>)> {
        self.check_fits(&laid.filename)?;
        let grafted = linkage::settle(&laid.root, &laid.filename.name, self.options.rules)?;
        let packed = room.join("packed");
        fs::create_dir_all(&packed)?;
        if !grafted.is_empty() {
            self.cache.write(&packed.join(GRAFTS), &grafted)?;
        }
        let wheel = packed.join(laid.filename.to_string());
        pack::pack(laid, &wheel)?;
        WheelArchive::open(&wheel, &laid.filename)?.verify()?;
        Ok((wheel, grafted))
    }

    /// Builds a project's wheel. The tool gets the build requirements as a directory of wheels, and
    /// no index.
    fn run(&self, tool: &BuildTool, room: &Path, project: &Path) -> Result<PathBuf> {
        let system = BuildSystem::read(project)?;
        let mut requires = if tool.uv.is_some() {
            system.requires.clone()
        } else {
            system.for_pip()
        };
        let wheels = self.tools(&requires)?;
        let failed = match self.run_with(tool, room, project, &wheels, "links") {
            Ok(wheel) => return Ok(wheel),
            Err(error) => error,
        };
        // Backends may report further requirements when they run (PEP 517,
        // `get_requires_for_build_wheel`); few do.
        let mut python = Command::new(&tool.interpreter.path);
        process::outside_repositories(&mut python);
        self.set_environment(&mut python, room, &room.join("links"))?;
        let aside = room.join("asked");
        fs::create_dir_all(&aside)?;
        let Ok(asked) = system.ask(python, project, &wheels, &aside) else {
            return Err(failed);
        };
        if asked.iter().all(|one| requires.contains(one)) {
            return Err(failed);
        }
        requires.extend(asked);
        let wheels = self.tools(&requires)?;
        self.run_with(tool, room, project, &wheels, "more-links")
    }

    fn run_with(
        &self,
        tool: &BuildTool,
        room: &Path,
        project: &Path,
        wheels: &[Wheel],
        links: &str,
    ) -> Result<PathBuf> {
        let (out, links) = (room.join("out"), room.join(links));
        fs::create_dir_all(&out)?;
        fs::create_dir_all(&links)?;
        for wheel in wheels {
            let to = links.join(wheel.filename.to_string());
            std::fs::copy(&wheel.path, &to)
                .context(|| format!("cannot copy `{}`", shown(&wheel.path)))?;
        }
        let mut command = tool.command(&out, project);
        self.set_environment(&mut command, room, &links)?;
        let output = output_of(&mut command)?;
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            if !text.trim().is_empty() {
                self.report.detail(text.trim_end());
            }
        }
        only_wheel(&out)
            .ok_or_else(|| Error::new(format!("`{}` produced no wheel", process::line(&command))))
    }

    fn set_environment(&self, command: &mut Command, room: &Path, links: &Path) -> Result<()> {
        for (name, _) in std::env::vars_os() {
            if self.is_private(&name) {
                command.env_remove(name);
            }
        }
        command.current_dir(room).env("TMPDIR", room.join("tmp"));
        command.env("SOURCE_DATE_EPOCH", self.epoch()?.to_string());
        command
            .env("PYTHONHASHSEED", "0")
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("NO_COLOR", "1");
        self.set_compiler_flags(command, room)?;
        self.set_links(command, links)
    }

    /// Keeps compilers from writing the directory of this build into the code.
    fn set_compiler_flags(&self, command: &mut Command, room: &Path) -> Result<()> {
        let interpreter = &self.tool()?.interpreter;
        let (c, rust) = (
            debug::for_c(room, interpreter),
            debug::for_rust(room, interpreter),
        );
        // Cargo reads RUSTFLAGS instead of all other variables.
        let rustflags = if std::env::var_os("RUSTFLAGS").is_some() {
            "RUSTFLAGS"
        } else {
            "CARGO_BUILD_RUSTFLAGS"
        };
        for (name, flags) in [("CFLAGS", &c), ("CXXFLAGS", &c), (rustflags, &rust)] {
            let set = std::env::var(name).unwrap_or_default();
            command.env(name, format!("{set} {flags}").trim());
        }
        Ok(())
    }

    /// Makes pip and uv look for wheels in one directory, and in no index.
    fn set_links(&self, command: &mut Command, links: &Path) -> Result<()> {
        let links = url::Url::from_directory_path(links)
            .map_err(|()| Error::bug("a cache has an absolute path"))?;
        command
            .env("PIP_NO_INPUT", "1")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("PIP_NO_CACHE_DIR", "1")
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", links.as_str())
            .env("PIP_CONFIG_FILE", "/dev/null");
        // uv splits the list at commas, including those in a path.
        command
            .env("UV_NO_INDEX", "1")
            .env("UV_FIND_LINKS", links.as_str().replace(',', "%2C"))
            .env("UV_NO_CONFIG", "1");
        if self.options.offline {
            command.env("UV_OFFLINE", "1");
        }
        Ok(())
    }

    /// Returns whether a variable may contain a secret, or would redirect a build to other indexes.
    fn is_private(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str() else {
            return false;
        };
        let begins = |prefix: &&str| name.starts_with(*prefix);
        !KEPT_VARIABLES.contains(&name)
            && (DROPPED_VARIABLES.contains(&name)
                || DROPPED_PREFIXES.iter().any(begins)
                || self
                    .indexes
                    .variables
                    .iter()
                    .any(|variable| variable == name))
    }

    /// Returns all inputs of a build, except compilers and libraries.
    fn inputs(&self, content: &Sha256Sum, tool: &BuildTool) -> Result<Vec<String>> {
        let Interpreter {
            version,
            platform,
            soabi,
            ..
        } = &tool.interpreter;
        let mut parts = vec![
            BUILD_FORMAT.to_owned(),
            content.to_string(),
            format!("{version} {platform} {soabi}"),
            tool.label(),
            self.epoch()?.to_string(),
        ];
        let relevant = |name: &str| {
            BUILD_VARIABLES.contains(&name)
                || BUILD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        for (name, value) in variables {
            if name.to_str().is_some_and(relevant) {
                parts.push(format!(
                    "{}={}",
                    name.to_string_lossy(),
                    value.to_string_lossy()
                ));
            }
            if name
                .to_str()
                .is_some_and(|name| CONSTRAINT_VARIABLES.contains(&name))
            {
                for file in value.to_string_lossy().split_whitespace() {
                    parts.push(std::fs::read_to_string(file).unwrap_or_default());
                }
            }
        }
        if let Some(file) = &self.options.rules.constraints {
            parts.push(fs::read_to_string(file)?);
        }
        Ok(parts)
    }

    fn places(&self, source: &SdistSource<'_>) -> BuildPlaces {
        let key = cache::key(source.inputs.iter().map(String::as_str));
        let compilers = || self.compilers.get_or_init(compilers).clone();
        let pure = self.cache.built().join(&key);
        // With a prebuilt wheel, no compiler is needed or asked for its version.
        let compilers = if pure.is_dir() || !source.is_compiled_here() {
            String::new()
        } else {
            compilers()
        };
        let rules = self.options.rules;
        let python = rules.python_libraries.as_deref().unwrap_or_default();
        let rules = format!("{:?} {}{python}", rules.libraries, rules.debug);
        let compiled = self
            .cache
            .built()
            .join(cache::key([key.as_str(), &compilers, &rules]));
        BuildPlaces {
            pure,
            compiled,
            key,
        }
    }
}

impl SdistSource<'_> {
    fn is_compiled_here(&self) -> bool {
        self.inputs
            .first()
            .is_some_and(|format| format == BUILD_FORMAT)
    }
}

/// Returns the versions that compilers report. They are asked each time, because `cc` may be a
/// program that starts another one.
fn compilers() -> String {
    let said = |(variable, program): (&str, &str)| {
        let set = std::env::var(variable)
            .ok()
            .filter(|value| !value.trim().is_empty());
        let line = set.unwrap_or_else(|| program.to_owned());
        let mut words = line.split_whitespace();
        let output =
            process::output(Command::new(words.next()?).args(words).arg("--version")).ok()?;
        Some(format!(
            "{line}: {}",
            String::from_utf8_lossy(&output.stdout)
        ))
    };
    [("CC", "cc"), ("CXX", "c++")]
        .into_iter()
        .filter_map(said)
        .collect()
}

/// Passes the indexes to uv and pip. They are passed in the environment, because anyone can read a
/// command line, and URLs may contain passwords.
pub fn set_indexes(command: &mut Command, indexes: &Indexes, offline: bool) {
    let joined = |urls: &[url::Url], by: &str| {
        urls.iter()
            .map(url::Url::as_str)
            .collect::<Vec<_>>()
            .join(by)
    };
    let ((default, extra), links) = (indexes.for_tools(), indexes.all_links());
    if let Some(index) = &default {
        command
            .env("PIP_INDEX_URL", index.as_str())
            .env("UV_DEFAULT_INDEX", index.as_str());
    }
    if !extra.is_empty() {
        command.env("PIP_EXTRA_INDEX_URL", joined(&extra, " "));
        command.env("UV_INDEX", joined(&extra, " "));
    }
    if !links.is_empty() {
        command.env("PIP_FIND_LINKS", joined(&links, " "));
        // uv splits the list at commas, including those in a path.
        let links: Vec<String> = links
            .iter()
            .map(|url| url.as_str().replace(',', "%2C"))
            .collect();
        command.env("UV_FIND_LINKS", links.join(","));
    }
    if indexes.no_index || offline {
        command.env("PIP_NO_INDEX", "1");
    }
    if offline {
        command.env("UV_OFFLINE", "1");
    }
}

impl BuildTool {
    fn find(cache: &Cache, environment: &Environment) -> Result<Self> {
        let ours = environment
            .builds_with
            .as_deref()
            .map(Interpreter::query)
            .transpose()?;
        let uv = process::find("uv")
            .map(|uv| version_of(cache, &uv).map(|version| (uv, version)))
            .transpose()?;
        let ours = ours.filter(|ours| uv.is_some() || ours.has_pip());
        let find = |python| match uv {
            Some(_) => Interpreter::find(cache, python),
            None => Interpreter::with_pip(cache, python),
        };
        let theirs = || {
            find(environment.python)
                .or_else(|error| stand_in(environment.python, find).ok_or(error))
        };
        Ok(Self {
            interpreter: ours.map_or_else(theirs, Ok)?,
            uv,
        })
    }

    fn label(&self) -> String {
        match (&self.uv, &self.interpreter.pip) {
            (Some((_, version)), _) => version.clone(),
            (None, Some(version)) => format!("pip {version}"),
            (None, None) => "pip".to_owned(),
        }
    }

    fn command(&self, out: &Path, project: &Path) -> Command {
        match &self.uv {
            Some((uv, _)) => {
                let mut command = Command::new(uv);
                // Backends ask git for the version.
                process::outside_repositories(&mut command);
                command
                    .args(["build", "--wheel", "--out-dir"])
                    .arg(out)
                    .arg("--python")
                    .arg(&self.interpreter.path);
                command.args(["--no-index", "--no-sources"]).arg(project);
                command
            }
            None => {
                let mut command = Command::new(&self.interpreter.path);
                process::outside_repositories(&mut command);
                command
                    .args([
                        "-m",
                        "pip",
                        "wheel",
                        "--no-deps",
                        "--no-cache-dir",
                        "--use-pep517",
                        "--wheel-dir",
                    ])
                    .arg(out)
                    .arg(project);
                command
            }
        }
    }
}

/// Finds the nearest other Python: code that needs no compiling becomes the same wheel with it.
fn stand_in(
    python: PythonMinor,
    find: impl Fn(PythonMinor) -> Result<Interpreter>,
) -> Option<Interpreter> {
    let older = (8..python.minor).rev();
    let newer = python.minor + 1..=python.minor.max(NEWEST_MINOR);
    older
        .chain(newer)
        .find_map(|minor| find(PythonMinor { minor, ..python }).ok())
}

/// Returns the output of `uv --version`, cached as long as the program is unchanged.
fn version_of(cache: &Cache, uv: &Path) -> Result<String> {
    let kept = cache.tools().join(format!(
        "{}.json",
        cache::key(["uv", &uv.to_string_lossy()])
    ));
    let stamp = FileFingerprint::of(uv);
    if let Some((known, version)) = cache::read_sealed::<(Option<FileFingerprint>, String)>(&kept)
        && known == stamp
    {
        return Ok(version);
    }
    let output = process::run(Command::new(uv).arg("--version"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut magic = [0; 4];
    // A script may start another uv tomorrow.
    if File::open(uv)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == *b"\x7fELF"
    {
        cache.write(&kept, &(stamp, &version))?;
    }
    Ok(version)
}

/// Adds hints for common failures.
fn advise(error: Error, offline: bool) -> Error {
    let text = error.to_string();
    if text.contains("setuptools-scm")
        || text.contains("setuptools_scm")
        || text.contains("hatch-vcs")
    {
        return error.hint(
            "the version is taken from git if the project's directory is the top of a checkout with its tags; elsewhere, \
             set `SETUPTOOLS_SCM_PRETEND_VERSION` to the version",
        );
    }
    let missing = [
        "No matching distribution found",
        "network connectivity is disabled",
        "No solution found",
    ];
    if offline && missing.iter().any(|known| text.contains(known)) {
        return error.hint(
            "the build requirements are not on this machine; run it once without `--offline`",
        );
    }
    error
}

/// Returns the constraints files in the variables of pip and uv.
fn constraint_files() -> Vec<PathBuf> {
    let set = CONSTRAINT_VARIABLES
        .iter()
        .filter_map(|name| std::env::var(name).ok());
    set.flat_map(|value| {
        value
            .split_whitespace()
            .map(PathBuf::from)
            .collect::<Vec<_>>()
    })
    .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn wheel_filename(path: &Path) -> Result<WheelFilename> {
    let name = file_name(path);
    WheelFilename::from_str(&name).context(|| format!("`{name}` is not a valid wheel name"))
}

fn is_for_all_platforms(filename: &WheelFilename) -> bool {
    filename
        .platform_tags()
        .iter()
        .all(|platform| platform.to_string() == "any")
}

fn only_wheel(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let mut wheels = entries.filter(|path| path.extension() == Some(OsStr::new("whl")));
    let wheel = wheels.next()?;
    wheels.next().is_none().then_some(wheel)
}

/// Unpacks an sdist in the cache below `to`, for reading; returns its one top directory.
///
/// # Errors
/// Fails if it is refused: not an archive, too large, several top directories, or a path or link
/// that leads outside.
pub fn unpacked(archive: &Path, to: &Path) -> Result<PathBuf> {
    let label = file_name(archive);
    let extension =
        SourceDistExtension::from_path(&label).context(|| format!("`{label}` is not an sdist"))?;
    unpack(archive, extension, to, ZIP_EPOCH)
        .map_err(|error| error.context(format!("sdist `{label}` is refused")))
}

/// Returns the checksum and the files of an unpacked egg.
fn hashed_files(directory: &Path) -> Result<(Sha256Sum, Vec<PathBuf>)> {
    let files: Vec<PathBuf> = files(directory)?
        .into_keys()
        .map(|path| PathBuf::from(path.as_str()))
        .collect();
    Ok((hash_files(directory, &files, None)?, files))
}

/// Runs a build; returns its output without credentials.
fn output_of(command: &mut Command) -> Result<Output> {
    let mut output = process::output(command)?;
    for text in [&mut output.stdout, &mut output.stderr] {
        *text = without_credentials(&String::from_utf8_lossy(text)).into_bytes();
    }
    if output.status.success() {
        return Ok(output);
    }
    let text = [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .join("\n");
    let error = process::failure(command, &output);
    Err(missing::way_out(&text).into_iter().fold(error, Error::hint))
}

/// Returns whether the libraries that were copied into a built wheel are unchanged.
fn has_current_grafts(place: &Path) -> bool {
    let grafts: Option<Vec<GraftedLibrary>> = cache::read_sealed(&place.join(GRAFTS));
    grafts.is_none_or(|grafts| grafts.iter().all(GraftedLibrary::is_current))
}
