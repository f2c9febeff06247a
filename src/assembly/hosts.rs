//! What a release asks of its hosts, and leaves to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use pkgapp_config::{self as config, CommandLine, Config, ProcessSettings};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::AppName;
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::report::Report;
use pkgapp_core::target::Target;
use pkgapp_detect as detect;
use pkgapp_format::sonames;
use pkgapp_release::depends::{self, HostDependencies, HostLibrary, HostProgram, SharedRuntime};
use pkgapp_release::imports::{self, FoundImports, PythonPart, ReleaseModules};
use pkgapp_release::layer::{ByteCompiler, Layer};
use pkgapp_release::runtime::{self, InterpreterHome, Runtime};
use pkgapp_release::scriptlets::{HostCompiled, HostPython};
use pkgapp_release::tree::{EntryOrigin, Tree, TreeEntry};

/// The interpreter that is replaced without the release.
pub(super) fn host_python(app: &Config, runtime: Option<&Runtime>) -> Option<HostPython> {
    let python = app.python.version.value;
    match runtime.map(|runtime| runtime.home) {
        None => Some(HostPython::system(python)),
        Some(InterpreterHome::Release) => None,
        Some(InterpreterHome::Package) => Some(HostPython::shared(
            python,
            &format!("{}/{}", runtime::SHARED, runtime::directory(python)),
        )),
    }
}

/// Files that scriptlets make: the byte code of all sources, if the build makes none. Their
/// directories come into the tree.
pub(super) fn ghosts(
    app: &Config,
    tree: &mut Tree,
    compiler: &ByteCompiler,
) -> Result<Vec<InstallPath>> {
    if compiler.compiles_here() {
        return Ok(Vec::new());
    }
    let prefix = &app.package.prefix.value;
    let sources = tree
        .files()
        .filter_map(|(path, ..)| path.below(prefix))
        .filter(|path| compiler.compiles(path));
    let ghosts = sources
        .map(|path| Ok(prefix.join(&compiler.pyc_path(&path)?)))
        .collect::<Result<BTreeSet<_>>>()?;
    let origin = Arc::new(EntryOrigin {
        label: "byte code".into(),
        layer: None,
    });
    let directories: BTreeSet<InstallPath> =
        ghosts.iter().filter_map(InstallPath::parent).collect();
    for directory in directories {
        tree.insert(directory, TreeEntry::directory(&origin))?;
    }
    Ok(ghosts.into_iter().collect())
}

/// What scriptlets have to know to make it.
pub(super) fn host_compiled(
    app: &Config,
    tree: &Tree,
    compiler: &ByteCompiler,
) -> Result<Option<HostCompiled>> {
    if compiler.compiles_here() {
        return Ok(None);
    }
    let place =
        |below: &str| Ok::<_, Error>(app.package.prefix.value.join(&ReleasePath::parse(below)?));
    let directories = [place(&compiler.site_packages())?, place("app")?];
    let directories: Vec<_> = directories
        .into_iter()
        .filter(|path| tree.get(path).is_some())
        .collect();
    if directories.is_empty() {
        return Ok(None);
    }
    Ok(Some(HostCompiled {
        python: place("bin/python")?,
        tag: compiler.cache_tag().to_owned(),
        directories,
    }))
}

pub(super) fn targets(app: &Config) -> Vec<&'static Target> {
    app.package
        .targets
        .iter()
        .map(|target| target.value)
        .collect()
}

/// Without them a job would never run, or a log would never be rotated, and nobody would be told.
fn programs(app: &Config, layers: &[Layer]) -> Vec<HostProgram> {
    let cron = (!app.crons.is_empty()).then_some(HostProgram::Cron);
    let logrotate = app.logrotate.as_ref().map(|_| HostProgram::Logrotate);
    let mut programs: Vec<HostProgram> = cron.into_iter().chain(logrotate).collect();
    programs.extend(distributions(layers).filter_map(|name| depends::loaded_by(name).1));
    programs
}

/// Finds parts of the host's Python that the application's code imports, and tells of modules that
/// nothing provides.
pub(super) fn python_parts(
    app: &Config,
    tree: &Tree,
    layers: &[Layer],
    own: Option<&str>,
    runtime: Option<&Runtime>,
    report: &Report,
) -> Result<BTreeSet<PythonPart>> {
    let (prefix, python) = (&app.package.prefix.value, app.python.version.value);
    let imports = FoundImports::find(
        tree,
        prefix,
        python,
        layers,
        own,
        &app.python.optional_imports,
    )?;
    check_pinned(app, layers, own, &imports)?;
    for (module, file) in &imports.missing {
        if module.as_str() == "pkg_resources" {
            report.warning(&format!(
                "`{file}` imports `pkg_resources`, which setuptools has had before version 81 only, and fails without it: \
                 write `add = [\"setuptools<81\"]` below `[python]` and run `pkgapp lock`"
            ));
            continue;
        }
        report.warning(&format!(
            "`{file}` imports `{module}`, which nothing provides: pin the distribution that does, or write \
             `optional-imports = [\"{module}\"]` below `[python]`"
        ));
    }
    let Some(runtime) = runtime else {
        return Ok(imports.parts.into_keys().collect());
    };
    let kept = match &app.python.interpreter {
        config::InterpreterChoice::Bundled(cpython)
        | config::InterpreterChoice::Shared(cpython) => &cpython.keep[..],
        config::InterpreterChoice::System => &[],
    };
    for (part, file) in &imports.parts {
        let Some(left) = part.left_behind().filter(|left| !kept.contains(left)) else {
            continue;
        };
        report.warning(&format!(
            "`{file}` imports a part of Python {} that does not ship: write `keep = [\"{}\"]` below `[python]`",
            runtime.python,
            left.name()
        ));
    }
    Ok(BTreeSet::new())
}

/// How many modules an application without any distribution may import in vain: so few may be
/// optional.
const FEW_IMPORTS: usize = 2;

/// Refuses an application that ships none of what it imports: its requirements are somewhere else.
fn check_pinned(
    app: &Config,
    layers: &[Layer],
    own: Option<&str>,
    imports: &FoundImports,
) -> Result<()> {
    let ships_others = distributions(layers).any(|name| Some(name) != own);
    if ships_others || imports.missing.len() <= FEW_IMPORTS || !app.python.requirements.is_empty() {
        return Ok(());
    }
    let some: Vec<String> = imports
        .missing
        .keys()
        .take(5)
        .map(|module| format!("`{module}`"))
        .collect();
    let more = imports.missing.len() - some.len();
    let more = if more > 0 {
        format!(" and {more} more modules")
    } else {
        String::new()
    };
    let error = Error::new(format!(
        "nothing pins what the application requires: it imports {}{more}",
        some.join(", ")
    ));
    Err(error
        .at(Location::file(&app.file))
        .hint(match detect::requirements_file(&app.root) {
            Some(name) => format!("run `pkgapp lock {name}`, which pins all of it"),
            None => {
                "write what it requires into a `requirements.in`, and run `pkgapp lock`".to_owned()
            }
        }))
}

/// Checks that the release has the modules that its services, cron jobs, migrations and hooks start
/// from, as far as command lines name them.
///
/// # Errors
/// One of them is not there.
pub(super) fn check_started(app: &Config, tree: &Tree) -> Result<()> {
    let prefix = &app.package.prefix.value;
    let mut modules = ReleaseModules::of(tree, prefix, app.python.version.value)?;
    for directory in &app.import_from {
        modules = modules.and(prefix.join(&ReleasePath::parse("app")?).join(directory));
    }
    // Services run in the prefix, and servers import from where they run.
    modules = modules.and(prefix.clone());

    let tree_root = prefix.join(&ReleasePath::parse("app")?);
    for command in commands(app, &tree_root) {
        let mut started = imports::started_modules(&command.words).into_iter();
        let is_missing = |module: &&str| {
            !modules.has(module)
                && !imports::is_standard(module.split('.').next().unwrap_or(module))
        };
        if let Some(module) = started.find(is_missing) {
            return Err(Error::new(format!("the release has no module `{module}`, which this command starts"))
                .at(command.at.clone())
                .hint("add its directory to `[app] include`, or set `working-directory` to the directory on hosts that has it"));
        }
    }
    Ok(())
}

/// The commands of a host that import from the release: not those that a directory or a variable
/// leads elsewhere.
fn commands<'a>(app: &'a Config, tree_root: &InstallPath) -> Vec<&'a CommandLine> {
    let is_here = |process: &&ProcessSettings| {
        process
            .working_directory
            .as_ref()
            .is_none_or(|directory| directory == tree_root)
            && !process.env.contains_key("PYTHONPATH")
    };
    let processes = app.services.iter().map(|service| &service.process);
    let processes = processes
        .chain(app.timers.iter().map(|timer| &timer.process))
        .filter(is_here);
    let crons = app
        .crons
        .iter()
        .filter(|cron| !cron.env.contains_key("PYTHONPATH"));
    let mut commands: Vec<&CommandLine> = processes.map(|process| &process.exec).collect();
    commands.extend(crons.map(|cron| &cron.exec));
    // These have the surroundings of a service, and work in its directory.
    if app
        .services
        .iter()
        .map(|service| &service.process)
        .all(|process| is_here(&process))
    {
        for deploy in &app.deploys {
            commands.extend(deploy.migrate.as_ref().map(|migrate| &migrate.exec));
            let hooks = &deploy.hooks;
            commands.extend(
                [&hooks.before, &hooks.after, &hooks.drain, &hooks.undrain]
                    .into_iter()
                    .flatten(),
            );
        }
    }
    commands
}

/// The names of the distributions that ship.
fn distributions(layers: &[Layer]) -> impl Iterator<Item = &str> {
    layers
        .iter()
        .filter_map(|layer| layer.manifest.distribution.as_ref())
        .map(|one| one.name.as_str())
}

pub(super) fn needs(
    app: &Config,
    runtime: Option<&Runtime>,
    python_parts: BTreeSet<PythonPart>,
    mut libraries: Vec<HostLibrary>,
    layers: &[Layer],
    report: &Report,
) -> HostDependencies {
    for library in distributions(layers).flat_map(|name| depends::loaded_by(name).0) {
        if !libraries.iter().any(|known| known.soname == library.soname) {
            libraries.push(library);
        }
    }
    libraries.sort();
    let shared = runtime
        .filter(|runtime| runtime.home == InterpreterHome::Package)
        .map(|runtime| SharedRuntime {
            package: AppName::of_runtime(runtime.python).to_string(),
            version: runtime.version.clone(),
        });
    let depends = HostDependencies {
        python: runtime.is_none().then_some(app.python.version.value),
        python_parts,
        runtime: shared,
        libraries,
        programs: programs(app, layers),
        declared_deb: app
            .package
            .depends_deb
            .iter()
            .map(|depends| depends.value.clone())
            .collect(),
        relations: app.package.relations.clone(),
        declared_rpm: app
            .package
            .depends_rpm
            .iter()
            .map(|depends| depends.value.clone())
            .collect(),
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
