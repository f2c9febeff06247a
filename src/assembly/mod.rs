//! The main road: from an [`Config`] to a [`Package`], one stage after the other.

mod hosts;
mod layers;
mod pins;
mod python;
mod revision;
mod trust;
mod unmet;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;

use self::hosts::{
    check_started, ghosts, host_compiled, host_python, needs, python_parts, targets,
};
use self::layers::{installed, needs_twin, owners_of_scripts, tell_pruned, twin};
pub(crate) use self::pins::brought;
use self::pins::{ReleaseWheels, fetch, read_lock};
pub use self::pins::{fetching, pins, rules, selection};
pub(crate) use self::python::environment;
use self::python::{check_pythons, compiler, environment_of, interpreter, runtime};
use pkgapp_config::Compression;
use pkgapp_config::{self as config, CompressionPreset, Config, PackageRevision};
use pkgapp_core::cache::Cache;
use pkgapp_core::commit::{self, Commit, Epoch, PendingCommit};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::Arch;
use pkgapp_core::path::InstallPath;
use pkgapp_core::report::{Report, human_bytes};
use pkgapp_core::text::counted;
use pkgapp_lock::Lock;
use pkgapp_pypa::Environment;
use pkgapp_release::audit::{self, AuditInputs, Needle};
use pkgapp_release::build_run::{self, RunCommand, RunEnvironment};
use pkgapp_release::conffiles;
use pkgapp_release::depends::{self, ElfScan, HostDependencies};
use pkgapp_release::layer::{ByteCompiler, Layer, LayerBuilder};
use pkgapp_release::package::{Package, PackageInfo};
use pkgapp_release::prune::Pruner;
use pkgapp_release::release::Release;
use pkgapp_release::runtime::{self, InterpreterHome, Runtime};
use pkgapp_release::scriptlets::{self};
use pkgapp_release::services::{self, Services};
use pkgapp_release::tree::{CollisionWinner, Tree, TreeEntry};
use pkgapp_release::writable;
use pkgapp_wheels::{self as wheels, KeptFile, Wheel};

/// What a build needs to know besides the application's configuration.
#[derive(Debug)]
pub struct AssemblyOptions<'a> {
    /// Where wheels and layers are kept.
    pub cache: &'a Cache,
    /// Use nothing but this machine.
    pub offline: bool,
    /// Run the commands of `[build] run` even if it is known what they make.
    pub rerun: bool,
}

/// What every stage of a build has at hand.
#[derive(Clone, Copy)]
struct BuildContext<'a> {
    app: &'a Config,
    options: &'a AssemblyOptions<'a>,
    report: &'a Report,
}

/// The Pythons of a build: the one that ships, the one of this machine, and what they run on.
struct PreparedPython {
    runtime: Option<Runtime>,
    interpreter: Option<Interpreter>,
    environment: Environment,
    compiler: ByteCompiler,
}

/// A release as it will lie on a host, with what the package managers do about it.
struct ComposedRelease {
    tree: Tree,
    ghosts: Vec<InstallPath>,
    services: Services,
    /// The layers that `[build] run` commands wrote.
    written: Vec<Layer>,
}

/// Makes the package of an application: everything but writing it down.
///
/// # Errors
/// Whatever is wrong with the input, the wheels or the result. Nothing but the cache was written.
pub fn assemble(app: &Config, options: &AssemblyOptions<'_>, report: &Report) -> Result<Package> {
    let build = BuildContext {
        app,
        options,
        report,
    };
    // git is asked meanwhile: nothing needs the answer before something is built. A bad date is
    // told at once.
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
        recipes: &app.recipes.recipes,
    };
    let composed = build.compose(&release, &python, &builder, &layers, date)?;
    layers.extend(composed.written.iter().cloned());
    let (depends, arch) = build.inspect(&composed, &python, &wheels, &layers)?;

    tell_pruned(&layers, report);
    report.step(&format!(
        "release of {}, {}, {}",
        counted(wheels.all.len(), "distribution"),
        counted(composed.tree.files().count(), "file"),
        human_bytes(composed.tree.size())
    ));
    let scriptlets = scriptlets::of(
        &composed.services,
        &app.package.scriptlets,
        host_python(app, python.runtime.as_ref()).as_ref(),
        host_compiled(app, &composed.tree, &python.compiler)?.as_ref(),
        &composed.tree,
    )?;
    let mut package = Package {
        meta: meta(app, &wheels, version, id, date, arch),
        depends,
        scriptlets,
        tree: composed.tree,
        ghosts: composed.ghosts,
        writable: writable::links(app)?,
    };
    if app.package.revision == PackageRevision::Auto {
        package.meta.revision = revision::of(&package, commit, date)?;
    }
    Ok(package)
}

impl PreparedPython {
    /// The interpreter that ships in the release itself.
    fn bundled(&self) -> Option<&Runtime> {
        self.runtime
            .as_ref()
            .filter(|runtime| runtime.home == InterpreterHome::Release)
    }
}

impl BuildContext<'_> {
    /// Finds or makes the Pythons that the build and the release use.
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

    /// Reads the lock, fetches the wheels, and makes their layers and those of the application's
    /// files.
    fn gather(
        &self,
        python: &PreparedPython,
        included: &[PathBuf],
        builder: &LayerBuilder<'_>,
        epoch: Epoch<'_>,
    ) -> Result<(ReleaseWheels, Vec<Layer>)> {
        thread::scope(|scope| {
            // They need nothing that is fetched, and starting a Python for what was edited takes
            // as long as all of that.
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
                "there is nothing to ship: no project, no files, no requirements",
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
        let services = services::insert_into(&mut tree, app)?;
        scriptlets::insert_into(&mut tree, &services)?;
        Ok(ComposedRelease {
            tree,
            ghosts,
            services,
            written: layers.split_off(brought),
        })
    }

    /// Makes the release of the same pins for this machine, in which build commands run.
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

    /// Looks for what must not ship, and reads from the release what it needs of a host; also
    /// returns the machine that its code is for.
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

    /// Puts the layers, the release's own files, what the build commands make, and the
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
        conffiles::insert_into(&mut tree, app)?;
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

/// Checks everything that needs neither pins nor wheels, and returns the application's files.
///
/// # Errors
/// All that is wrong, before anything is fetched or compiled.
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

/// Makes the package of the interpreter that applications share.
///
/// # Errors
/// The configuration names none; as [`assemble`].
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
    let layers = [runtime.layer.clone()];
    let needles = needles(app, &prefix, Some(&runtime), cache);
    audit::leaks(
        &tree,
        &prefix,
        &layers,
        &needles,
        &AuditInputs::default(),
        cache,
    )?;
    let scan = HostDependencies::scan(layers.iter())?;
    depends::check_targets(&scan, None, &targets(app))?;
    check_runtime(app, &runtime)?;
    let about = runtime::package::PackageTexts {
        app,
        revision,
        // Not of the application's commit: the same interpreter is the same package for every
        // application.
        timestamp: commit::date(None)?,
        targets: targets(app),
        compression: compression(app.package.compression),
    };
    runtime::package::package(&runtime, tree, prefix, scan, &about)
}

/// The layers and the release's own files.
fn plain_tree(app: &Config, release: &Release<'_>, layers: &[Layer]) -> Result<Tree> {
    let prefix = &app.package.prefix.value;
    // Whichever of two equal files ships, both distributions have theirs; a release is never
    // upgraded in parts. Launchers are all alike: their bodies tell them apart.
    let starts = |path: &InstallPath| {
        path.below(prefix).is_some_and(|path| {
            ["bin/", "libexec/"]
                .iter()
                .any(|top| path.as_str().starts_with(top))
        })
    };
    let owners = owners_of_scripts(layers);
    let refused = RefCell::new(Vec::new());
    let precedence = |path: &InstallPath, present: &TreeEntry, entry: &TreeEntry| {
        let owner = path
            .below(prefix)
            .and_then(|below| owners.get(&below).copied());
        let is_owner =
            |entry: &TreeEntry| owner.is_some() && entry.origin.layer.as_deref() == owner;
        let may_replace =
            || (!starts(path) && present.same_as(entry)) || app.package.allows_collision(path);
        if is_owner(present) {
            CollisionWinner::Earlier
        } else if is_owner(entry) || may_replace() {
            CollisionWinner::Later
        } else {
            refused.borrow_mut().push(path.clone());
            CollisionWinner::Nobody
        }
    };
    let mut tree = Tree::new();
    let collisions = layers
        .iter()
        .filter_map(|layer| layer.insert_into(&mut tree, prefix, &precedence).err())
        .collect::<Vec<_>>();
    if let Some(error) = Error::all(collisions) {
        return Err(match &refused.into_inner()[..] {
            [] | [_] => error,
            several => {
                let patterns: Vec<String> = allowing(prefix, several)
                    .iter()
                    .map(|pattern| format!("\"{pattern}\""))
                    .collect();
                let list = patterns.join(", ");
                error.without_hints().hint(format!(
                    "if the second may win each time, write `allow-collisions = [{list}]` under `[package]`"
                ))
            }
        });
    }
    release.insert_into(&mut tree, prefix, layers)?;
    Ok(tree)
}

/// Patterns for all of some paths: a package as a whole, and what lies elsewhere by itself.
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

/// Looks for what must not be in a release, and returns what it needs of its host.
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

/// Refuses an interpreter that needs libraries which a target lacks.
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

/// What a release was made of; commands of `[build] run` have made the layers `written`.
fn inputs(app: &Config, wheels: &ReleaseWheels, written: &[Layer]) -> AuditInputs {
    let source = |wheel: &Wheel| Some((wheel.sha256.to_string(), wheel.built_from.clone()?));
    let configuration =
        std::iter::once(&app.file).chain(app.configs.iter().map(|file| &file.source));
    AuditInputs {
        sources: wheels.all.iter().filter_map(source).collect(),
        written: written.iter().map(|layer| layer.key.clone()).collect(),
        configuration: configuration.cloned().collect(),
        root: app.root.clone(),
    }
}

/// What would name this machine.
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
            // A stand-in, until all that it depends on is known.
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

/// In zstd's levels; what a target can't read is changed to another codec of about the same effort
/// by the format.
///
/// The default costs a first build little and gives packages smaller than the level 3 of others.
/// `small` costs a second for every 2.5 MB, but once a dependency and not once a build.
fn compression(squeeze: CompressionPreset) -> Compression {
    match squeeze {
        CompressionPreset::Fast => Compression::Zstd(1),
        CompressionPreset::Default => Compression::Zstd(6),
        CompressionPreset::Small => Compression::Zstd(19),
        CompressionPreset::Exact(compression) => compression,
    }
}
