//! The build: from a [`Config`] to a [`Package`], one stage after the other.

pub mod backing;
pub mod configuration;
mod hosts;
mod layers;
mod pins;
mod python;
mod revision;
mod trust;
mod unmet;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;

use self::hosts::{
    check_started, ghosts, host_compiled, host_python, needs, python_parts, targets,
};
use self::layers::{installed, needs_twin, owners_of_scripts, tell_pruned, twin};
pub(crate) use self::pins::brought;
use self::pins::{ReleaseWheels, fetch, read_lock};
pub use self::pins::{fetching, locked, pins, rules, selection};
pub(crate) use self::python::environment;
use self::python::{check_pythons, compiler, environment_of, interpreter, runtime};
pub(crate) use self::revision::moment;
use pkgapp_config::Compression;
use pkgapp_config::{self as config, CompressionPreset, Config, PackageRevision, ScriptletPhases};
use pkgapp_core::cache::Cache;
use pkgapp_core::commit::{self, Commit, Epoch, PendingCommit};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::Arch;
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::report::{Report, human_bytes};
use pkgapp_core::text::counted;
use pkgapp_lock::Lock;
use pkgapp_pypa::Environment;
use pkgapp_release::audit::{self, AuditInputs, Needle};
use pkgapp_release::build_run::{self, RunCommand, RunEnvironment};
use pkgapp_release::conffiles;
use pkgapp_release::depends::{self, ElfScan, HostDependencies};
use pkgapp_release::layer::{ByteCompiler, Layer, LayerBuilder};
use pkgapp_release::needed_settings::NeededSettings;
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::prune::Pruner;
use pkgapp_release::release::Release;
use pkgapp_release::runtime::{self, InterpreterHome, Runtime};
use pkgapp_release::scriptlets::{self};
use pkgapp_release::services::{self, PackageForm, Services};
use pkgapp_release::tree::{CollisionWinner, Tree, TreeEntry};
use pkgapp_release::writable;
use pkgapp_wheels::{self as wheels, KeptFile, Wheel};

/// The options of a build besides the application's configuration.
#[derive(Debug)]
pub struct AssemblyOptions<'a> {
    /// The cache for wheels and layers.
    pub cache: &'a Cache,
    /// Do not access the network.
    pub offline: bool,
    /// Run the commands of `[build] run` even if the cache has their results.
    pub rerun: bool,
}

/// The arguments that all stages of a build share.
#[derive(Clone, Copy)]
struct BuildContext<'a> {
    app: &'a Config,
    options: &'a AssemblyOptions<'a>,
    report: &'a Report,
}

/// The Pythons of a build: the one that ships, the one of the build machine, and their environment.
struct PreparedPython {
    runtime: Option<Runtime>,
    interpreter: Option<Interpreter>,
    environment: Environment,
    compiler: ByteCompiler,
}

/// A release as on a host, with the services that package managers set up.
struct ComposedRelease {
    tree: Tree,
    login: Tree,
    ghosts: Vec<InstallPath>,
    services: Services,
    /// The layers with the results of `[build] run`.
    written: Vec<Layer>,
}

/// Assembles the package of an application. Writing it as a file is left to a format.
///
/// # Errors
/// The input, the wheels, or the result are faulty. Only the cache has been written.
pub fn assemble(app: &Config, options: &AssemblyOptions<'_>, report: &Report) -> Result<Package> {
    let build = BuildContext {
        app,
        options,
        report,
    };
    // git runs in parallel: the build needs its answer late. An invalid date is an error right away.
    let asked = PendingCommit::at(&app.root);
    commit::date(None)?;

    let included = check_early(app, options, report)?;
    let python = build.prepare_python()?;
    let prune = Pruner::from(&app.package.prune);
    let builder = LayerBuilder {
        cache: options.cache,
        compiler: &python.compiler,
        prune: &prune,
    };
    let (wheels, mut layers) = build.gather(&python, &included, &builder, Epoch::Of(&asked))?;
    let commit = report.timed("commit", |_| asked.commit());
    let date = asked.date()?;
    if let Some(runtime) = python.bundled() {
        layers.insert(0, runtime.layer.clone());
    }

    let version = wheels.version(app)?;
    let id = commit.map(|commit| commit.id.clone());
    let release = Release {
        name: &app.name,
        version: &version,
        commit: id.as_deref(),
        python: app.python.version.value,
        runtime: python.runtime.as_ref(),
        import_from: &app.import_from,
        recipes: &app.recipes,
        settings: NeededSettings::of(app)?,
        is_separate: app.is_separate(),
    };
    let composed = build.compose(&release, &python, &builder, &layers, date)?;
    layers.extend(composed.written.iter().cloned());
    let (depends, arch) = build.inspect(&composed, &python, &wheels, &layers)?;
    build.report_size(&composed, &wheels, &layers);

    let meta = meta(app, &wheels, version, id, date, arch);
    let mut package = build.package(composed, &python, meta, depends)?;
    if app.package.revision == PackageRevision::Auto {
        package.meta.revision = revision::of(&package, commit, date)?;
    }
    if app.is_separate() {
        configuration::name_software(&mut package)?;
    }
    Ok(package)
}

impl PreparedPython {
    /// Returns the interpreter that ships inside the release.
    fn bundled(&self) -> Option<&Runtime> {
        self.runtime
            .as_ref()
            .filter(|runtime| runtime.home == InterpreterHome::Release)
    }
}

impl BuildContext<'_> {
    /// Finds or prepares the Pythons for the build and the release.
    fn prepare_python(&self) -> Result<PreparedPython> {
        let Self {
            app,
            options,
            report,
        } = *self;
        let runtime = report.timed("runtime", |_| runtime(app, options.cache, report))?;
        let interpreter = report.timed("interpreter", |_| {
            interpreter(app, runtime.as_ref(), options, report)
        })?;
        let environment = environment(app, interpreter.as_ref(), runtime.as_ref())?;
        let compiler = compiler(app, interpreter.as_ref())?;
        let mut python = PreparedPython {
            runtime,
            interpreter,
            environment,
            compiler,
        };

        if python.bundled().is_some_and(|runtime| runtime.runs_here) {
            python.compiler = python.compiler.shipped();
        }
        Ok(python)
    }

    /// Reads the lock, fetches the wheels, and builds the layers of the wheels and of the
    /// application's files.
    fn gather(
        &self,
        python: &PreparedPython,
        included: &[PathBuf],
        builder: &LayerBuilder<'_>,
        epoch: Epoch<'_>,
    ) -> Result<(ReleaseWheels, Vec<Layer>)> {
        thread::scope(|scope| {
            // The files need no wheels, and compiling edited files takes as long as all downloads.
            let files = scope.spawn(|| Layer::for_files(builder, &self.app.root, included));
            let wheels = self.fetch_wheels(&python.environment, included, epoch)?;
            let layers = self.report.timed("layers", |facts| {
                let files = || {
                    files
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                let layers = installed(self.app, &wheels, files, included, builder, self.report)?;
                facts.cached = self.options.cache.counted("layers");
                facts.bytes = Some(layers.iter().map(Layer::size).sum());
                Ok::<_, Error>(layers)
            })?;
            Ok((wheels, layers))
        })
    }

    /// Reads the lock and fetches its wheels.
    fn fetch_wheels(
        &self,
        environment: &Environment,
        included: &[PathBuf],
        epoch: Epoch<'_>,
    ) -> Result<ReleaseWheels> {
        let Self {
            app,
            options,
            report,
        } = *self;
        let lock = report.timed("lock", |_| read_lock(app, environment, options, report))?;
        let wheels = report.timed("wheels", |facts| {
            let fetched = fetch(app, &lock, environment, options, epoch, report);
            facts.cached = options.cache.counted("wheels");
            fetched
        })?;
        trust::tell(&lock, &wheels.all, report);

        if wheels.all.is_empty() && included.is_empty() {
            return Err(Error::new(
                "there is nothing to ship: no project, no files, and no requirements",
            )
            .at(Location::file(&app.file))
            .hint("name plain files with `include = [\"manage.py\"]` under `[app]`"));
        }
        Ok(wheels)
    }

    /// Puts layers, the release's own files, results of build commands, and everything outside of
    /// the release into one tree.
    fn compose(
        &self,
        release: &Release<'_>,
        python: &PreparedPython,
        builder: &LayerBuilder<'_>,
        layers: &[Layer],
        date: u64,
    ) -> Result<ComposedRelease> {
        let app = self.app;
        let twin = if needs_twin(app, &python.environment, layers) {
            let make = || self.twin(release, python, builder, date);
            Some(self.report.timed("twin", |_| make())?)
        } else {
            None
        };
        let mut layers = layers.to_vec();
        let brought = layers.len();
        let mut tree = self.report.timed("tree", |_| {
            self.tree(release, &mut layers, builder, twin.as_ref(), date)
        })?;

        writable::insert_into(&mut tree, app)?;
        let ghosts = ghosts(app, &mut tree, &python.compiler)?;
        check_started(app, &tree)?;
        let (services, login) = if app.is_separate() {
            (declared(&mut tree, release, app)?, Tree::new())
        } else {
            let services = services::insert_into(&mut tree, app)?;
            (services, services::login::tree(&tree, app)?)
        };
        scriptlets::insert_into(&mut tree, &services)?;
        Ok(ComposedRelease {
            login,
            tree,
            ghosts,
            services,
            written: layers.split_off(brought),
        })
    }

    /// Builds a release of the same pins for the build machine, in which build commands run.
    fn twin(
        &self,
        release: &Release<'_>,
        python: &PreparedPython,
        builder: &LayerBuilder<'_>,
        date: u64,
    ) -> Result<Tree> {
        let interpreter = python.interpreter.as_ref();
        let (options, epoch) = (self.options, Epoch::Known(date));
        twin(
            self.app,
            release,
            interpreter,
            builder,
            options,
            epoch,
            self.report,
        )
    }

    /// Audits the release and computes its dependencies on host packages; also returns the
    /// architecture of its code.
    fn inspect(
        &self,
        composed: &ComposedRelease,
        python: &PreparedPython,
        wheels: &ReleaseWheels,
        layers: &[Layer],
    ) -> Result<(HostDependencies, Arch)> {
        let Self {
            app,
            options,
            report,
        } = *self;
        let (tree, runtime) = (&composed.tree, python.runtime.as_ref());
        let scan = report.timed("proof", |_| {
            let inputs = inputs(app, wheels, &composed.written);
            let arch = python.environment.arch;
            prove(
                app,
                tree,
                layers,
                &inputs,
                python.bundled(),
                options.cache,
                arch,
            )
        })?;
        let own = wheels
            .application()
            .map(|wheel| wheel.metadata.name.to_string());
        let parts = report.timed("imports", |_| {
            python_parts(app, tree, layers, own.as_deref(), runtime, report)
        })?;
        let depends = needs(app, runtime, parts, scan.libraries, layers, report);
        Ok((depends, scan.arch))
    }

    /// Reports the size of the release and the savings of pruning.
    fn report_size(&self, composed: &ComposedRelease, wheels: &ReleaseWheels, layers: &[Layer]) {
        tell_pruned(layers, self.report);
        self.report.step(&format!(
            "release of {}, {}, {}",
            counted(wheels.all.len(), "distribution"),
            counted(composed.tree.files().count(), "file"),
            human_bytes(composed.tree.size())
        ));
    }

    /// Adds scriptlets and metadata to a release.
    fn package(
        &self,
        composed: ComposedRelease,
        python: &PreparedPython,
        meta: PackageInfo,
        depends: HostDependencies,
    ) -> Result<Package> {
        let app = self.app;
        let none = ScriptletPhases::default();
        let phases = match composed.services.form {
            PackageForm::Software => &none,
            PackageForm::Whole | PackageForm::Configuration => &app.package.scriptlets,
        };
        let scriptlets = scriptlets::of(
            &composed.services,
            phases,
            host_python(app, python.runtime.as_ref()).as_ref(),
            host_compiled(app, &composed.tree, &python.compiler)?.as_ref(),
            &composed.tree,
        )?;
        Ok(Package {
            meta,
            depends,
            scriptlets,
            tree: composed.tree,
            login: composed.login,
            ghosts: composed.ghosts,
            writable: writable::links(app)?,
        })
    }

    /// Puts the layers, the release's own files, the results of build commands, and the
    /// configuration into one tree; adds the layers of the commands to `layers`.
    fn tree(
        &self,
        release: &Release<'_>,
        layers: &mut Vec<Layer>,
        builder: &LayerBuilder<'_>,
        twin: Option<&Tree>,
        date: u64,
    ) -> Result<Tree> {
        let app = self.app;
        let mut tree = plain_tree(app, release, layers)?;
        writable::make_directories(&mut tree, app)?;
        if !app.build.run.is_empty() {
            layers.extend(self.report.timed("build commands", |facts| {
                let made = self.run_commands(&mut tree, builder, twin, date);
                facts.cached = builder.cache.counted("build commands");
                made
            })?);
        }
        if !app.is_separate() {
            conffiles::insert_into(&mut tree, app)?;
        }
        Ok(tree)
    }

    /// Runs the `[build] run` commands in a copy of the release.
    fn run_commands(
        &self,
        tree: &mut Tree,
        builder: &LayerBuilder<'_>,
        twin: Option<&Tree>,
        date: u64,
    ) -> Result<Option<Layer>> {
        let build = &self.app.build;
        let command = |line: &config::CommandLine| RunCommand {
            words: line.words.clone(),
            at: Some(line.at.clone()),
        };
        let commands: Vec<RunCommand> = build.run.iter().map(command).collect();
        let environment = RunEnvironment {
            timestamp: date,
            env: &build.env,
            rerun: self.options.rerun,
        };
        let prefix = &self.app.package.prefix.value;
        build_run::run(
            tree,
            twin,
            prefix,
            &commands,
            &environment,
            builder,
            self.report,
        )
    }
}

/// Checks everything that needs neither pins nor wheels; returns the application's files.
///
/// # Errors
/// All mistakes, before anything is fetched or compiled.
fn check_early(
    app: &Config,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<Vec<PathBuf>> {
    let python = check_pythons(app).and_then(|()| match &app.python.interpreter {
        config::InterpreterChoice::System => {
            interpreter(app, None, options, &Report::silent()).map(drop)
        }
        config::InterpreterChoice::Bundled(_) | config::InterpreterChoice::Shared(_) => Ok(()),
    });
    let configuration = conffiles::insert_into(&mut Tree::new(), app);
    let included = report.timed("files", |_| app.included_files());
    let missing = included.as_ref().err().cloned();
    let (services, writable) = (services::check(app), writable::check(app));
    let wrong = [
        // A separate configuration has values for the settings.
        app.check_settings().err().filter(|_| !app.is_separate()),
        python.err(),
        configuration.err(),
        services.err(),
        writable.err(),
        missing,
    ]
    .into_iter()
    .flatten();
    Error::all(wrong).map_or(included, Err)
}

/// Declares the services in the release of a software package, after checks of all that its
/// configuration packages will have.
fn declared(tree: &mut Tree, release: &Release<'_>, app: &Config) -> Result<Services> {
    let mut all = tree.clone();
    conffiles::insert_into(&mut all, app)?;
    let services = services::insert_into(&mut all, app)?;
    configuration::declare_services(tree, app, release.version)?;
    configuration::stand_in_for_site(tree, &services)?;
    Ok(Services::of_software(app))
}

/// The files that a build downloads.
#[derive(Debug)]
pub struct Needed {
    /// All pins that ship, including those that an extra or a constraint adds.
    pub lock: Lock,
    /// The file of each pin.
    pub files: Vec<KeptFile>,
    /// The environment for which the files were chosen.
    pub environment: Environment,
    /// The time of all built files, in seconds since 1970.
    pub epoch: u64,
}

/// Downloads all files of a build into the cache, and checks that the set is complete.
///
/// # Errors
/// As [`assemble`], up to the wheels.
pub fn needed(app: &Config, options: &AssemblyOptions<'_>, report: &Report) -> Result<Needed> {
    let epoch = commit::date(Commit::at(&app.root).as_ref())?;
    check_pythons(app)?;
    let environment = environment_of(app, options, report)?;
    let lock = read_lock(app, &environment, options, report)?;
    let wheels = fetch(
        app,
        &lock,
        &environment,
        options,
        Epoch::Known(epoch),
        report,
    )?;
    trust::tell(&lock, &wheels.all, report);
    let pins = wheels
        .all
        .iter()
        .filter_map(|wheel| wheel.pin.clone())
        .collect();
    let lock = Lock {
        pins,
        offered: Vec::new(),
        ..lock
    };
    let files = wheels::kept(
        &lock,
        &wheels.all,
        &environment,
        options.cache,
        options.offline,
    )?;
    Ok(Needed {
        lock,
        files,
        environment,
        epoch,
    })
}

/// Assembles the package of the shared interpreter.
///
/// # Errors
/// The configuration names none; or as for [`assemble`].
pub fn assemble_runtime(
    app: &Config,
    revision: &str,
    cache: &Cache,
    report: &Report,
) -> Result<Package> {
    let config::InterpreterChoice::Shared(cpython) = &app.python.interpreter else {
        return Err(Error::new("the application's interpreter is not shared")
            .at(app.python.version.at.clone())
            .hint("write `interpreter = \"shared\"` and a `path` below `[python]`"));
    };
    let arch = app.package.arch.as_ref().map(|arch| arch.value);
    let runtime = Runtime::prepare(
        cpython,
        app.python.version.value,
        InterpreterHome::Package,
        arch,
        cache,
        report,
    )?;
    let (tree, prefix) = runtime::package::tree(&runtime)?;
    let scan = check_runtime_tree(app, &runtime, &tree, &prefix, cache)?;
    let about = runtime::package::PackageTexts {
        app,
        revision,
        // Not the date of the application's commit: the same interpreter is the same package for
        // every application.
        timestamp: commit::date(None)?,
        targets: targets(app),
        compression: compression(app.package.compression),
    };
    runtime::package::package(&runtime, tree, prefix, scan, &about)
}

/// Audits the package of a shared interpreter, and checks its libraries against the targets.
fn check_runtime_tree(
    app: &Config,
    runtime: &Runtime,
    tree: &Tree,
    prefix: &InstallPath,
    cache: &Cache,
) -> Result<ElfScan> {
    let layers = [runtime.layer.clone()];
    let needles = needles(app, prefix, Some(runtime), cache);
    let inputs = AuditInputs::default();
    audit::leaks(tree, prefix, &layers, &needles, &inputs, cache)?;
    let scan = HostDependencies::scan(layers.iter())?;
    depends::check_targets(&scan, None, &targets(app))?;
    check_runtime(app, runtime)?;
    Ok(scan)
}

/// Puts the layers and the release's own files into a tree.
fn plain_tree(app: &Config, release: &Release<'_>, layers: &[Layer]) -> Result<Tree> {
    let prefix = &app.package.prefix.value;
    let rules = CollisionRules {
        app,
        owners: owners_of_scripts(layers),
        refused: RefCell::new(Vec::new()),
    };
    let precedence = |path: &InstallPath, present: &TreeEntry, entry: &TreeEntry| {
        rules.winner(path, present, entry)
    };

    let mut tree = Tree::new();
    let collisions = layers
        .iter()
        .filter_map(|layer| layer.insert_into(&mut tree, prefix, &precedence).err())
        .collect::<Vec<_>>();
    if let Some(error) = Error::all(collisions) {
        return Err(rules.with_hint(error));
    }
    release.insert_into(&mut tree, prefix, layers)?;
    Ok(tree)
}

/// The rules for files that several layers have.
struct CollisionRules<'a> {
    app: &'a Config,
    /// The layers that own console scripts.
    owners: BTreeMap<ReleasePath, &'a str>,
    /// The paths for which no layer wins.
    refused: RefCell<Vec<InstallPath>>,
}

impl CollisionRules<'_> {
    fn winner(
        &self,
        path: &InstallPath,
        present: &TreeEntry,
        entry: &TreeEntry,
    ) -> CollisionWinner {
        let below = path.below(&self.app.package.prefix.value);
        let owner = below
            .as_ref()
            .and_then(|below| self.owners.get(below).copied());
        let is_owner =
            |entry: &TreeEntry| owner.is_some() && entry.origin.layer.as_deref() == owner;
        // Two equal files serve both distributions, because a release is never upgraded in parts.
        // Launchers may be equal although they differ in purpose: only their bodies differ.
        let is_launcher = below.as_ref().is_some_and(|path| {
            ["bin/", "libexec/"]
                .iter()
                .any(|top| path.as_str().starts_with(top))
        });
        let may_replace = || {
            (!is_launcher && present.same_as(entry))
                || below.as_ref().is_some_and(is_strayed)
                || self.app.package.allows_collision(path)
        };

        if is_owner(present) {
            CollisionWinner::Earlier
        } else if is_owner(entry) || may_replace() {
            CollisionWinner::Later
        } else {
            self.refused.borrow_mut().push(path.clone());
            CollisionWinner::Nobody
        }
    }

    /// Replaces the hints of several collisions with one that allows all of them.
    fn with_hint(self, error: Error) -> Error {
        let refused = self.refused.into_inner();
        if refused.len() < 2 {
            return error;
        }
        let patterns: Vec<String> = allowing(&self.app.package.prefix.value, &refused)
            .iter()
            .map(|pattern| format!("\"{pattern}\""))
            .collect();
        let list = patterns.join(", ");
        error.without_hints().hint(format!(
            "to let the second file win each time, write `allow-collisions = [{list}]` under `[package]`"
        ))
    }
}

/// Whether a file at the top of site-packages is there by mistake of its distribution, as a license
/// or a package of tests: no application uses it, and installers let the last one win.
fn is_strayed(path: &ReleasePath) -> bool {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    match &parts[..] {
        ["lib", _, "site-packages", file] => ["LICENSE", "COPYING", "NOTICE", "README", "CHANGE"]
            .iter()
            .any(|name| file.starts_with(name) && !file.ends_with(".py")),
        ["lib", _, "site-packages", top, ..] => ["tests", "test", "docs", "examples"].contains(top),
        _ => false,
    }
}

/// Returns patterns that match all paths: one per package, and each path outside of packages.
fn allowing(prefix: &InstallPath, paths: &[InstallPath]) -> BTreeSet<String> {
    let pattern = |path: &InstallPath| {
        let below = path.below(prefix)?;
        let parts: Vec<&str> = below.as_str().split('/').collect();
        let is_in_package = parts.first() == Some(&"lib")
            && parts.get(2) == Some(&"site-packages")
            && parts.len() > 4;
        let is_in_package = is_in_package && parts[3] != "__pycache__";
        let is_plain = parts
            .iter()
            .take(4)
            .all(|part| !part.contains(['*', '?', '[', ']', '{', '}', '!', '\\']));
        (is_in_package && is_plain).then(|| format!("{prefix}/{}/**", parts[..4].join("/")))
    };
    paths
        .iter()
        .map(|path| pattern(path).unwrap_or_else(|| path.to_string()))
        .collect()
}

/// Audits a release; returns the libraries that it needs from a host.
fn prove(
    app: &Config,
    tree: &Tree,
    layers: &[Layer],
    inputs: &AuditInputs,
    bundled: Option<&Runtime>,
    cache: &Cache,
    arch: Arch,
) -> Result<ElfScan> {
    let prefix = &app.package.prefix.value;
    audit::leaks(
        tree,
        prefix,
        layers,
        &needles(app, prefix, bundled, cache),
        inputs,
        cache,
    )?;
    audit::launchers_resolve(tree, prefix, layers)?;
    let scan = HostDependencies::scan(layers.iter())?;
    depends::check_machine(layers.iter(), scan.arch, arch)?;
    let python = matches!(app.python.interpreter, config::InterpreterChoice::System)
        .then_some(app.python.version.value);
    depends::check_targets(&scan, python, &targets(app))?;
    if let Some(runtime) = bundled {
        check_runtime(app, runtime)?;
    }
    Ok(scan)
}

/// Refuses an interpreter that needs libraries that a target lacks.
fn check_runtime(app: &Config, runtime: &Runtime) -> Result<()> {
    let scan = HostDependencies::scan(std::iter::once(&runtime.layer))?;
    runtime::check_libraries(&scan.libraries, &targets(app)).map_err(|error| {
        match &app.python.interpreter {
            config::InterpreterChoice::Bundled(cpython)
            | config::InterpreterChoice::Shared(cpython) => error.at(cpython.path.at.clone()),
            config::InterpreterChoice::System => error,
        }
    })
}

/// Returns the inputs of a release; `written` are the layers of `[build] run`.
fn inputs(app: &Config, wheels: &ReleaseWheels, written: &[Layer]) -> AuditInputs {
    let source = |wheel: &Wheel| Some((wheel.sha256.to_string(), wheel.built_from.clone()?));
    let configuration =
        std::iter::once(&app.file).chain(app.configs.iter().map(|file| &file.source));
    let lines = app.site.as_ref().and_then(|site| site.extra.as_ref());
    let configuration = configuration.chain(lines.map(|file| &file.value));
    AuditInputs {
        sources: wheels.all.iter().filter_map(source).collect(),
        written: written.iter().map(|layer| layer.key.clone()).collect(),
        configuration: configuration.cloned().collect(),
        root: app.root.clone(),
    }
}

/// Returns the paths that would give away the build machine.
fn needles(
    app: &Config,
    prefix: &InstallPath,
    runtime: Option<&Runtime>,
    cache: &Cache,
) -> Vec<Needle> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute());
    let places = [
        ("the application's directory", Some(app.root.clone())),
        ("the cache", Some(cache.root().to_owned())),
        ("the home directory", home),
        (
            "the directory for temporary files",
            Some(std::env::temp_dir()),
        ),
    ];
    let built_in = runtime
        .into_iter()
        .flat_map(|runtime| runtime.built_in.clone());
    let built_in = built_in.map(|path| {
        (
            "the directory that the interpreter was built in",
            Some(path),
        )
    });
    places
        .into_iter()
        .chain(built_in)
        .filter_map(|(what, path)| Needle::directory(what, &path?, prefix))
        .collect()
}

fn meta(
    app: &Config,
    wheels: &ReleaseWheels,
    version: pkgapp_pypa::Version,
    commit: Option<String>,
    timestamp: u64,
    arch: Arch,
) -> PackageInfo {
    let license = app
        .license
        .clone()
        .or_else(|| wheels.application()?.metadata.license.clone());
    PackageInfo {
        name: app.name.clone(),
        version,
        revision: match &app.package.revision {
            PackageRevision::Fixed(revision) => revision.clone(),
            // A placeholder until the content of the package is known.
            PackageRevision::Auto => "0".to_owned(),
        },
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

/// Returns the zstd level of a preset. A format replaces it by another codec of about the same
/// effort if a target cannot read zstd.
///
/// The default costs a first build little, and packages are smaller than with the usual level 3.
/// `small` costs one second for every 2.5 MB, but once per dependency and not once per build.
fn compression(squeeze: CompressionPreset) -> Compression {
    match squeeze {
        CompressionPreset::Fast => Compression::Zstd(1),
        CompressionPreset::Default => Compression::Zstd(6),
        CompressionPreset::Small => Compression::Zstd(19),
        CompressionPreset::Exact(compression) => compression,
    }
}
