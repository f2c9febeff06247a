//! The main road: from an [`App`] to a [`Package`], one stage after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crate::app::{self, App, ByteCode, Squeeze};
use crate::cache::Cache;
use crate::commit::{self, Commit};
use crate::configuration;
use crate::depends::{self, Depends, Library, Program, Scan, SharedRuntime};
use crate::elf;
use crate::error::{Error, Location, Result};
use crate::format::sonames;
use crate::interpreter::Interpreter;
use crate::layer::{Builder, ByteCompiler, Layer};
use crate::lock::check::{Subject, check_consistent, missing};
use crate::lock::{Lock, Selection};
use crate::name::{AppName, Arch};
use crate::package::{Compression, Meta, Package};
use crate::path::{InstallPath, ReleasePath};
use crate::proof::{self, Needle};
use crate::prune::{self, Profile, Prune, Saved};
use crate::pypa::Environment;
use crate::release::Release;
use crate::report::{Report, human_bytes};
use crate::runtime::{self, Home, Runtime};
use crate::scriptlets::{self, HostCompiled, HostPython};
use crate::services;
use crate::staging::{self, RunCommand, RunEnvironment};
use crate::target::{self, Target};
use crate::tree::{Entry, Origin, Tree};
use crate::wheels::archive::Archive;
use crate::wheels::{self, FetchOptions, KeptFile, Rules, Wheel};

/// How many files are downloaded at a time.
const DOWNLOADS: usize = 8;

/// What a build needs to know besides the application's configuration.
#[derive(Debug)]
pub struct Options<'a> {
    /// Where wheels and layers are kept.
    pub cache: &'a Cache,
    /// Use nothing but this machine.
    pub offline: bool,
    /// Run the commands of `[build] run` even if it is known what they make.
    pub rerun: bool,
}

/// Makes the package of an application: everything but writing it down.
///
/// # Errors
/// Whatever is wrong with the input, the wheels or the result. Nothing but the cache was written.
pub fn assemble(app: &App, options: &Options<'_>, report: &Report) -> Result<Package> {
    // git is asked meanwhile: nothing needs the answer before something is built.
    let commit = thread::spawn({
        let root = app.root.clone();
        move || Commit::at(&root)
    });
    check_pythons(app)?;
    let runtime = report.timed("runtime", |_| runtime(app, options.cache, report))?;
    let interpreter = report.timed("interpreter", |_| interpreter(app, runtime.as_ref(), options, report))?;
    let environment = environment(app, interpreter.as_ref(), runtime.as_ref())?;
    let included = app.included_files()?;

    let lock = report.timed("lock", |_| read_lock(app, &environment, options, report))?;
    let commit = report.timed("commit", |_| commit.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    let date = commit::date(commit.as_ref())?;
    let wheels = report.timed("wheels", |facts| {
        let fetched = fetch(app, &lock, &environment, options, date, report);
        facts.cached = options.cache.counted("wheels");
        fetched
    })?;
    if wheels.all.is_empty() && included.is_empty() {
        return Err(Error::new("there is nothing to ship: no project, no files, no requirements")
            .at(Location::file(&app.file))
            .hint("name plain files with `include = [\"manage.py\"]` under `[app]`"));
    }

    let bundled = runtime.as_ref().filter(|runtime| runtime.home == Home::Release);
    let compiler = compiler(app, interpreter.as_ref())?;
    let compiler = if bundled.is_some_and(|runtime| runtime.runs_here) { compiler.shipped() } else { compiler };
    let prune = &app.package.prune;
    let builder =
        Builder { cache: options.cache, compiler: &compiler, elf: &|path, file| elf::read(file, path), prune };
    let mut layers = report.timed("layers", |facts| {
        let mut layers = installed(app, &wheels, &included, &builder, report)?;
        if let Some(runtime) = bundled {
            layers.insert(0, runtime.layer.clone());
        }
        facts.cached = options.cache.counted("layers");
        facts.bytes = Some(layers.iter().map(Layer::size).sum());
        Ok::<_, Error>(layers)
    })?;

    let version = wheels.version(app)?;
    let commit = commit.map(|commit| commit.id);
    let release = Release {
        name: &app.name,
        version: &version,
        commit: commit.as_deref(),
        python: app.python.version.value,
        runtime: runtime.as_ref(),
    };
    let twin = match needs_twin(app, &environment, &layers) {
        true => {
            Some(report.timed("twin", |_| twin(app, &release, interpreter.as_ref(), &builder, options, date, report))?)
        }
        false => None,
    };
    let run = RunEnvironment { timestamp: date, env: &app.build.env, rerun: options.rerun };
    let mut tree = report.timed("tree", |_| tree(app, &release, &mut layers, &builder, &run, twin.as_ref(), report))?;
    let ghosts = ghosts(app, &mut tree, &compiler)?;
    let services = services::insert_into(&mut tree, app)?;
    scriptlets::insert_into(&mut tree, &services)?;
    let scan = report.timed("proof", |_| prove(app, &tree, &layers, bundled, options.cache, environment.arch))?;
    let depends = needs(app, runtime.as_ref(), scan.libraries, report);
    tell_pruned(&layers, report);
    report.step(&format!(
        "release of {}, {}, {}",
        counted(wheels.all.len(), "distribution"),
        counted(tree.files().count(), "file"),
        human_bytes(tree.size())
    ));
    let python = host_python(app, runtime.as_ref());
    Ok(Package {
        meta: meta(app, &wheels, version, commit, date, scan.arch),
        depends,
        scriptlets: scriptlets::of(
            &services,
            &app.package.scriptlets,
            python.as_ref(),
            host_compiled(app, &tree, &compiler)?.as_ref(),
        )?,
        tree,
        ghosts,
    })
}

/// What a build takes from elsewhere.
#[derive(Debug)]
pub struct Needed {
    /// All pins that ship, those included that an extra or a constraint adds.
    pub lock: Lock,
    /// The file of each pin.
    pub files: Vec<KeptFile>,
    /// What they were chosen for.
    pub environment: Environment,
    /// Seconds since 1970: the time of everything that is built.
    pub epoch: u64,
}

/// Brings all that a build takes from elsewhere into the cache, and checks that it is a whole set.
///
/// # Errors
/// As [`assemble`], up to the wheels.
pub fn needed(app: &App, options: &Options<'_>, report: &Report) -> Result<Needed> {
    let epoch = commit::date(Commit::at(&app.root).as_ref())?;
    check_pythons(app)?;
    let environment = environment_of(app, options, report)?;
    let lock = read_lock(app, &environment, options, report)?;
    let wheels = fetch(app, &lock, &environment, options, epoch, report)?;
    let pins = wheels.all.iter().filter_map(|wheel| wheel.pin.clone()).collect();
    let lock = Lock { pins, offered: Vec::new(), ..lock };
    let files = wheels::kept(&lock, &wheels.all, &environment, options.cache, options.offline)?;
    Ok(Needed { lock, files, environment, epoch })
}

/// How wheels are fetched for an application.
pub fn fetching(offline: bool, epoch: u64, rules: &Rules) -> FetchOptions<'_> {
    FetchOptions { offline, jobs: DOWNLOADS, epoch, rules }
}

/// How an application's wheels are built.
pub fn rules(app: &App) -> Rules {
    Rules {
        constraints: app.build.constraints.as_ref().map(|file| file.value.clone()),
        libraries: app.build.libraries.clone(),
    }
}

fn counted(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Makes the package of the interpreter that applications share.
///
/// # Errors
/// The configuration names none; as [`assemble`].
pub fn assemble_runtime(app: &App, revision: &str, cache: &Cache, report: &Report) -> Result<Package> {
    let app::Interpreter::Shared(cpython) = &app.python.interpreter else {
        return Err(Error::new("the application's interpreter is not shared")
            .at(app.python.version.at.clone())
            .hint("write `interpreter = \"shared\"` and a `path` below `[python]`"));
    };
    let arch = app.package.arch.as_ref().map(|arch| arch.value);
    let runtime = Runtime::prepare(cpython, app.python.version.value, Home::Package, arch, cache, report)?;
    let (tree, prefix) = runtime::package::tree(&runtime)?;
    let layers = [runtime.layer.clone()];
    proof::leaks(&tree, &prefix, &layers, &needles(app, &prefix, Some(&runtime), cache), cache)?;
    let scan = Depends::scan(layers.iter())?;
    depends::check_targets(&scan, None, &targets(app))?;
    check_runtime(app, &runtime)?;
    let about = runtime::package::About {
        app,
        revision,
        // Not of the application's commit: the same interpreter is the same package for every application.
        timestamp: commit::date(None)?,
        targets: targets(app),
        compression: compression(app.package.compression),
    };
    runtime::package::package(&runtime, tree, prefix, scan, &about)
}

/// The interpreter that ships, if one does.
fn runtime(app: &App, cache: &Cache, report: &Report) -> Result<Option<Runtime>> {
    let (cpython, home) = match &app.python.interpreter {
        app::Interpreter::System => return Ok(None),
        app::Interpreter::Bundled(cpython) => (cpython, Home::Release),
        app::Interpreter::Shared(cpython) => (cpython, Home::Package),
    };
    let wanted = app.package.arch.as_ref().map_or_else(Arch::host, |arch| Ok(arch.value))?;
    Runtime::prepare(cpython, app.python.version.value, home, Some(wanted), cache, report).map(Some)
}

/// Returns the interpreter that the application brings, as it runs on this machine; `None` if it brings none.
///
/// # Errors
/// It is no CPython that can be brought.
pub(crate) fn brought(app: &App, cache: &Cache, report: &Report) -> Result<Option<Interpreter>> {
    Ok(runtime(app, cache, report)?.map(|runtime| runtime.interpreter))
}

/// The interpreter that is replaced without the release.
fn host_python(app: &App, runtime: Option<&Runtime>) -> Option<HostPython> {
    let python = app.python.version.value;
    match runtime.map(|runtime| runtime.home) {
        None => Some(HostPython::system(python)),
        Some(Home::Release) => None,
        Some(Home::Package) => {
            Some(HostPython::shared(python, &format!("{}/{}", runtime::SHARED, runtime::directory(python))))
        }
    }
}

/// Refuses a Python that a target lacks before one is looked for on this machine.
fn check_pythons(app: &App) -> Result<()> {
    let none = Scan { arch: Arch::Any, libraries: Vec::new(), floors: Vec::new() };
    let python = matches!(app.python.interpreter, app::Interpreter::System).then_some(app.python.version.value);
    let refused = app.package.targets.iter().filter_map(|target| {
        depends::check_targets(&none, python, &[target.value]).err().map(|error| error.at(target.at.clone()))
    });
    Error::all(refused).map_or(Ok(()), Err)
}

/// An editable install of the application is what is built and installed anyway; of anything else, it would get lost.
fn check_editable(app: &App, lock: &Lock) -> Result<()> {
    let is_ours = app.source.as_ref().is_some_and(|source| source.canonicalize().ok() == app.root.canonicalize().ok());
    match &lock.editable {
        Some(editable) if !is_ours => {
            Err(editable.refused().hint("write `source = \".\"` below `[app]`: then it is built and installed"))
        }
        _ => Ok(()),
    }
}

/// The Python of this machine that makes byte code and builds sdists. `None` if there is none and none is needed: what the
/// hosts have is known, and nothing is run here.
fn interpreter(
    app: &App,
    runtime: Option<&Runtime>,
    options: &Options<'_>,
    report: &Report,
) -> Result<Option<Interpreter>> {
    if let Some(runtime) = runtime {
        return Ok(Some(runtime.interpreter.clone()));
    }
    match Interpreter::find(options.cache, app.python.version.value) {
        Ok(found) => Ok(Some(found)),
        Err(error) if app.package.targets.is_empty() || !app.build.run.is_empty() => Err(error),
        Err(error) => {
            if app.package.byte_code == ByteCode::Build {
                report.warning(&format!("{}: byte code is made when the package is installed", error.message()));
            }
            Ok(None)
        }
    }
}

fn compiler(app: &App, interpreter: Option<&Interpreter>) -> Result<ByteCompiler> {
    let python = app.python.version.value;
    let Some(interpreter) = interpreter else { return Ok(ByteCompiler::absent(python)) };
    let compiler = ByteCompiler::of(interpreter, python)?;
    Ok(if app.package.byte_code == ByteCode::Build { compiler } else { compiler.at_installation() })
}

/// What wheels are chosen for, from the configuration alone.
fn environment_of(app: &App, options: &Options<'_>, report: &Report) -> Result<Environment> {
    let runtime = runtime(app, options.cache, report)?;
    let interpreter = interpreter(app, runtime.as_ref(), options, report)?;
    environment(app, interpreter.as_ref(), runtime.as_ref())
}

/// What wheels are chosen for: the oldest glibc that the targets have, or this machine's where none is declared.
///
/// # Errors
/// A machine of another kind, and no word about its glibc.
pub(crate) fn environment(
    app: &App,
    interpreter: Option<&Interpreter>,
    runtime: Option<&Runtime>,
) -> Result<Environment> {
    let arch = app.package.arch.as_ref().map_or_else(Arch::host, |arch| Ok(arch.value))?;
    let hint = "declare them: `targets = [\"debian12\"]` under `[package]`";
    let glibc = match target::oldest_glibc(&targets(app)) {
        Some(glibc) => glibc,
        None if Arch::host().ok() != Some(arch) => {
            let error = Error::new(format!("this machine is no {arch}, so there is no telling what the hosts have"));
            let error = error.hint(hint);
            return Err(app.package.arch.iter().fold(error, |error, arch| error.at(arch.at.clone())));
        }
        None => interpreter.and_then(|interpreter| interpreter.glibc).ok_or_else(|| {
            Error::new("this machine's Python is not built with glibc, so there is no telling what the hosts have")
                .hint(hint)
        })?,
    };
    // The patch release is known where the interpreter ships: no other one will run the release.
    let full = runtime.map(|runtime| runtime.version.as_str());
    let environment = Environment::new(app.python.version.value, full, arch, glibc)?;
    Ok(Environment { builds_with: runtime.map(|runtime| runtime.builds_with.clone()), ..environment })
}

/// Makes the layers of all wheels, and those of the application's files. What pruning has taken from one and another one
/// imports comes back.
fn installed(
    app: &App,
    wheels: &Wheels,
    included: &[PathBuf],
    builder: &Builder<'_>,
    report: &Report,
) -> Result<Vec<Layer>> {
    let open = |wheel: &Wheel| Archive::open(&wheel.path, &wheel.filename);
    // Starting a Python for what was edited takes as long as reading all layers that were not.
    let (layers, files) = thread::scope(|scope| {
        let files = scope.spawn(|| Layer::for_files(builder, &app.root, included));
        let layers = builder.build_all(&wheels.all, open, report);
        (layers, files.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut layers = layers?;
    let mut wanted: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let by_files = match builder.prune.profiles.contains(&Profile::Tests) {
        true => prune::imports_of_files(&app.root, included),
        false => BTreeSet::new(),
    };
    loop {
        let pruned: Vec<_> = layers.iter().map(|layer| &layer.manifest.pruned).collect();
        let missed = prune::missed(&pruned, &by_files);
        if missed.is_empty() {
            break;
        }
        for (index, modules) in missed {
            let wanted = wanted.entry(index).or_default();
            wanted.extend(modules);
            let prune = Prune { wanted: wanted.clone(), ..builder.prune.clone() };
            let wheel = &wheels.all[index];
            layers[index] = Layer::for_wheel(&Builder { prune: &prune, ..*builder }, wheel, || open(wheel))?;
        }
    }
    layers.extend(files?);
    Ok(layers)
}

/// Says what pruning has saved, and of what it kept its hands off.
fn tell_pruned(layers: &[Layer], report: &Report) {
    let mut all: BTreeMap<Profile, Saved> = BTreeMap::new();
    for layer in layers {
        let pruned = &layer.manifest.pruned;
        for (profile, saved) in &pruned.saved {
            let sum = all.entry(*profile).or_default();
            sum.files += saved.files;
            sum.bytes += saved.bytes;
        }
        if !pruned.saved.is_empty() {
            report.detail(&format!("{}: less {}", layer.label, prune::told(&pruned.saved)));
        }
        pruned.kept.iter().for_each(|kept| report.detail(&format!("{}: {kept}", layer.label)));
    }
    if !all.is_empty() {
        report.step(&format!("left out: {}", prune::told(&all)));
    }
}

/// Whether the commands of `[build] run` need a release of their own: one for another machine does not run here.
fn needs_twin(app: &App, environment: &Environment, layers: &[Layer]) -> bool {
    let compiled = layers.iter().any(|layer| !layer.manifest.elf.is_empty());
    !app.build.run.is_empty() && !environment.native && compiled
}

/// Makes the release of the same pins for this machine.
fn twin(
    app: &App,
    release: &Release<'_>,
    interpreter: Option<&Interpreter>,
    builder: &Builder<'_>,
    options: &Options<'_>,
    date: u64,
    report: &Report,
) -> Result<Tree> {
    report.step("`[build] run` runs in a release of the same pins for this machine:");
    let make = || {
        let glibc = interpreter.and_then(|interpreter| interpreter.glibc);
        let glibc = glibc.ok_or_else(|| Error::new("this machine's Python is not built with glibc"))?;
        let environment = Environment::new(app.python.version.value, None, Arch::host()?, glibc)?;
        let lock = read_lock(app, &environment, options, &Report::silent())?;
        let wheels = fetch(app, &lock, &environment, options, date, report)?;
        let layers = installed(app, &wheels, &app.included_files()?, builder, report)?;
        plain_tree(app, release, &layers)
    };
    make().map_err(|error: Error| error.context("cannot make the release that `[build] run` needs on this machine"))
}

/// Files that scriptlets make: the byte code of all sources, if the build makes none. Their directories come into the tree.
fn ghosts(app: &App, tree: &mut Tree, compiler: &ByteCompiler) -> Result<Vec<InstallPath>> {
    if compiler.compiles_here() {
        return Ok(Vec::new());
    }
    let prefix = &app.package.prefix.value;
    let sources = tree.files().filter_map(|(path, ..)| path.below(prefix)).filter(|path| compiler.compiles(path));
    let ghosts = sources.map(|path| Ok(prefix.join(&compiler.pyc_path(&path)?))).collect::<Result<BTreeSet<_>>>()?;
    let origin = Arc::new(Origin { label: "byte code".into(), layer: None });
    let directories: BTreeSet<InstallPath> = ghosts.iter().filter_map(InstallPath::parent).collect();
    for directory in directories {
        tree.insert(directory, Entry::directory(&origin))?;
    }
    Ok(ghosts.into_iter().collect())
}

/// What scriptlets have to know to make it.
fn host_compiled(app: &App, tree: &Tree, compiler: &ByteCompiler) -> Result<Option<HostCompiled>> {
    if compiler.compiles_here() {
        return Ok(None);
    }
    let place = |below: &str| Ok::<_, Error>(app.package.prefix.value.join(&ReleasePath::parse(below)?));
    let directories = [place(&compiler.site_packages())?, place("app")?];
    let directories: Vec<_> = directories.into_iter().filter(|path| tree.get(path).is_some()).collect();
    if directories.is_empty() {
        return Ok(None);
    }
    Ok(Some(HostCompiled { python: place("bin/python")?, tag: compiler.cache_tag().to_owned(), directories }))
}

fn targets(app: &App) -> Vec<&'static Target> {
    app.package.targets.iter().map(|target| target.value).collect()
}

fn read_lock(app: &App, environment: &Environment, options: &Options<'_>, report: &Report) -> Result<Lock> {
    let files: Vec<PathBuf> = app.python.requirements.iter().map(|file| file.value.clone()).collect();
    let lock = Lock::read(&files, &app.root, environment, options.offline, &selection(app))?;
    lock.warnings.iter().for_each(|warning| report.warning(warning));
    Ok(lock)
}

/// Reads the pins of an application for the machine's Python of its minor version, and nothing else.
///
/// # Errors
/// As [`Lock::read`]; there is no such Python.
pub fn pins(app: &App, options: &Options<'_>, report: &Report) -> Result<Lock> {
    read_lock(app, &environment_of(app, options, report)?, options, report)
}

/// What the configuration chooses of the locks.
pub fn selection(app: &App) -> Selection {
    Selection {
        groups: app.python.groups.iter().map(|group| (group.value.clone(), group.at.clone())).collect(),
        extras: app.python.extras.iter().map(|extra| (extra.value.clone(), extra.at.clone())).collect(),
        constraints: app.python.constraints.iter().map(|file| file.value.clone()).collect(),
        project: Some(app.source.clone().unwrap_or_else(|| app.root.clone())),
        indexes: app.python.indexes.clone(),
        sources: app.python.sources.clone(),
        wheelhouses: app.python.wheelhouses.clone(),
    }
}

/// The wheels of a release.
struct Wheels {
    /// Those of the lock by name, then the application's own.
    all: Vec<Wheel>,
    /// Whether the last one is the application's.
    has_application: bool,
}

impl Wheels {
    fn application(&self) -> Option<&Wheel> {
        self.all.last().filter(|_| self.has_application)
    }

    /// The configuration's version, else that of the application's wheel.
    fn version(&self, app: &App) -> Result<crate::pypa::Version> {
        match (&app.version, self.application()) {
            (Some(version), _) => Ok(version.value.clone()),
            (None, Some(wheel)) => Ok(wheel.metadata.version.clone()),
            (None, None) => Err(Error::bug("an application without a version and without a project was accepted")),
        }
    }
}

/// Brings all wheels into the cache and holds them against each other.
fn fetch(
    app: &App,
    lock: &Lock,
    environment: &Environment,
    options: &Options<'_>,
    date: u64,
    report: &Report,
) -> Result<Wheels> {
    check_editable(app, lock)?;
    let rules = rules(app);
    let fetching = fetching(options.offline, date, &rules);
    let mut all = wheels::fetch(lock, environment, options.cache, &fetching, report)?;
    let has_application = app.source.is_some();
    if let Some(source) = &app.source {
        let _busy = report.busy("building the application");
        let wheel = wheels::application(source, &lock.indexes, environment, options.cache, &fetching, report)?;
        check_version(app, &wheel)?;
        // A lock made with `pip freeze` in a development environment names the application too.
        all.retain(|other| other.metadata.name != wheel.metadata.name);
        all.push(wheel);
    }
    // What an extra or a constraint adds may require more.
    let mut lock = lock.clone();
    let subjects = loop {
        let subjects = subjects(app, &lock, &all);
        let missing = missing(&subjects, environment);
        let (wanted, offered) = lock.offered.into_iter().partition(|pin| missing.contains(&pin.name));
        lock = Lock { pins: wanted, offered, ..lock };
        if lock.pins.is_empty() {
            break subjects;
        }
        let more = wheels::fetch(&lock, environment, options.cache, &fetching, report)?;
        all.splice(..0, more);
        let pins = all.len() - usize::from(has_application);
        all[..pins].sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    };
    for warning in check_consistent(&subjects, environment, &app.python.allow_unmet)? {
        report.warning(&warning);
    }
    Ok(Wheels { all, has_application })
}

/// The wheels as the check for completeness sees them.
fn subjects(app: &App, lock: &Lock, all: &[Wheel]) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = all.iter().map(subject).collect();
    if let Some(application) = subjects.last_mut().filter(|_| app.source.is_some()) {
        application.extras.extend(app.python.extras.iter().map(|extra| extra.value.clone()));
        application.extras.extend(lock.editable.iter().flat_map(|editable| editable.extras.iter().cloned()));
    }
    subjects
}

/// The configuration and the project must not disagree on what ships. A local part (`1.4.2+g1234abc`) may differ.
fn check_version(app: &App, wheel: &Wheel) -> Result<()> {
    let Some(version) = &app.version else { return Ok(()) };
    let built = &wheel.metadata.version;
    if version.value.clone().without_local() == built.clone().without_local() {
        return Ok(());
    }
    Err(Error::new(format!("the version is {}, and the project says {built}", version.value))
        .at(version.at.clone())
        .hint("leave `version` out of the configuration: it is the project's"))
}

fn subject(wheel: &Wheel) -> Subject {
    Subject {
        name: wheel.metadata.name.clone(),
        version: wheel.metadata.version.clone(),
        requires: wheel.metadata.requires.clone(),
        requires_python: wheel.metadata.requires_python.clone(),
        extras: wheel.pin.as_ref().map(|pin| pin.extras.clone()).unwrap_or_default(),
        provides: wheel.metadata.extras.clone(),
        at: wheel.pin.as_ref().map(|pin| pin.at.clone()),
    }
}

/// Puts the layers, the release's own files, what the build commands make, and the configuration into one tree.
fn tree(
    app: &App,
    release: &Release<'_>,
    layers: &mut Vec<Layer>,
    builder: &Builder<'_>,
    environment: &RunEnvironment<'_>,
    twin: Option<&Tree>,
    report: &Report,
) -> Result<Tree> {
    let prefix = &app.package.prefix.value;
    let mut tree = plain_tree(app, release, layers)?;
    if !app.build.run.is_empty() {
        let run = |line: &app::CommandLine| RunCommand { words: line.words.clone(), at: Some(line.at.clone()) };
        let commands: Vec<RunCommand> = app.build.run.iter().map(run).collect();
        let mut run = || staging::run(&mut tree, twin, prefix, &commands, environment, builder, report);
        layers.extend(report.timed("build commands", |facts| {
            let made = run();
            facts.cached = builder.cache.counted("build commands");
            made
        })?);
    }
    configuration::insert_into(&mut tree, app)?;
    Ok(tree)
}

/// Whether a file is one that several distributions bring alike because they share a package: pkgutil's and
/// pkg_resources' `__init__.py` with its byte code, and PEP 561's `py.typed`.
fn marks_namespace(path: &InstallPath) -> bool {
    let (name, byte_code) = (path.file_name(), ["__init__.cpython-", ".pyc"]);
    path.as_str().contains("/site-packages/")
        && (["__init__.py", "py.typed"].contains(&name)
            || name.starts_with(byte_code[0]) && name.ends_with(byte_code[1]))
}

/// The layers and the release's own files.
fn plain_tree(app: &App, release: &Release<'_>, layers: &[Layer]) -> Result<Tree> {
    let prefix = &app.package.prefix.value;
    let may_override =
        |path: &InstallPath, equal: bool| (equal && marks_namespace(path)) || app.package.allows_collision(path);
    let mut tree = Tree::new();
    let collisions =
        layers.iter().filter_map(|layer| layer.insert_into(&mut tree, prefix, &may_override).err()).collect::<Vec<_>>();
    if let Some(error) = Error::all(collisions) {
        return Err(error);
    }
    release.insert_into(&mut tree, prefix, layers)?;
    Ok(tree)
}

/// Looks for what must not be in a release, and returns what it needs of its host.
fn prove(
    app: &App,
    tree: &Tree,
    layers: &[Layer],
    bundled: Option<&Runtime>,
    cache: &Cache,
    arch: Arch,
) -> Result<Scan> {
    let prefix = &app.package.prefix.value;
    proof::leaks(tree, prefix, layers, &needles(app, prefix, bundled, cache), cache)?;
    proof::launchers_resolve(tree, prefix, layers)?;
    let scan = Depends::scan(layers.iter())?;
    depends::check_machine(layers.iter(), scan.arch, arch)?;
    let python = matches!(app.python.interpreter, app::Interpreter::System).then_some(app.python.version.value);
    depends::check_targets(&scan, python, &targets(app))?;
    if let Some(runtime) = bundled {
        check_runtime(app, runtime)?;
    }
    Ok(scan)
}

/// Refuses an interpreter that needs libraries which a target lacks.
fn check_runtime(app: &App, runtime: &Runtime) -> Result<()> {
    let scan = Depends::scan(std::iter::once(&runtime.layer))?;
    runtime::check_libraries(&scan.libraries, &targets(app)).map_err(|error| match &app.python.interpreter {
        app::Interpreter::Bundled(cpython) | app::Interpreter::Shared(cpython) => error.at(cpython.path.at.clone()),
        app::Interpreter::System => error,
    })
}

/// What would name this machine.
fn needles(app: &App, prefix: &InstallPath, runtime: Option<&Runtime>, cache: &Cache) -> Vec<Needle> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let places = [
        ("the application's directory", Some(app.root.clone())),
        ("the cache", Some(cache.root().to_owned())),
        ("the home directory", home),
        ("the directory for temporary files", Some(std::env::temp_dir())),
    ];
    let built_in = runtime.into_iter().flat_map(|runtime| runtime.built_in.clone());
    let built_in = built_in.map(|path| ("the directory that the interpreter was built in", Some(path)));
    places.into_iter().chain(built_in).filter_map(|(what, path)| Needle::directory(what, &path?, prefix)).collect()
}

/// Without them a job would never run, or a log would never be rotated, and nobody would be told.
fn programs(app: &App) -> Vec<Program> {
    let cron = (!app.crons.is_empty()).then_some(Program::Cron);
    let logrotate = app.logrotate.as_ref().map(|_| Program::Logrotate);
    cron.into_iter().chain(logrotate).collect()
}

fn needs(app: &App, runtime: Option<&Runtime>, libraries: Vec<Library>, report: &Report) -> Depends {
    let shared = runtime.filter(|runtime| runtime.home == Home::Package).map(|runtime| SharedRuntime {
        package: AppName::of_runtime(runtime.python).to_string(),
        version: runtime.version.clone(),
    });
    let depends = Depends {
        python: runtime.is_none().then_some(app.python.version.value),
        runtime: shared,
        libraries,
        programs: programs(app),
        declared_deb: app.package.depends_deb.iter().map(|depends| depends.value.clone()).collect(),
        declared_rpm: app.package.depends_rpm.iter().map(|depends| depends.value.clone()).collect(),
    };
    // Without any, the deb is refused.
    if !depends.declared_deb.is_empty() {
        for library in sonames::unknown_libraries(&depends) {
            report.warning(&format!(
                "no Debian package is known for `{}`, which `{}` needs: `depends.deb` should have it",
                library.soname, library.needed_by
            ));
        }
    }
    depends
}

fn meta(
    app: &App,
    wheels: &Wheels,
    version: crate::pypa::Version,
    commit: Option<String>,
    timestamp: u64,
    arch: Arch,
) -> Meta {
    let license = app.license.clone().or_else(|| wheels.application()?.metadata.license.clone());
    Meta {
        name: app.name.clone(),
        version,
        revision: app.package.revision.clone(),
        arch,
        summary: app.summary.clone(),
        description: app.description.clone(),
        license,
        maintainer: app.maintainer.clone(),
        homepage: app.homepage.as_ref().map(ToString::to_string),
        section: app.package.section.clone(),
        prefix: app.package.prefix.value.clone(),
        timestamp,
        commit,
        targets: targets(app),
        compression: compression(app.package.compression),
    }
}

/// In zstd's levels; what a target can't read is changed to another codec of about the same effort by the format.
///
/// The default costs a first build little and gives packages smaller than the level 3 of others. `small` costs a second
/// for every 2.5 MB, but once a dependency and not once a build.
fn compression(squeeze: Squeeze) -> Compression {
    match squeeze {
        Squeeze::Fast => Compression::Zstd(1),
        Squeeze::Default => Compression::Zstd(6),
        Squeeze::Small => Compression::Zstd(19),
        Squeeze::Exact(compression) => compression,
    }
}
