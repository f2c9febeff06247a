//! The requirements of a release on its hosts, and the files that hosts create themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use pkgapp_config::{
    self as config, CommandLine, Config, Deploy, Located, PackageRelations, ProcessSettings,
    SiteTls, WebServer,
};
use pkgapp_core::error::{Error, Location, Result};
use pkgapp_core::name::{AppName, PythonMinor};
use pkgapp_core::path::{InstallPath, ReleasePath};
use pkgapp_core::report::Report;
use pkgapp_core::target::Target;
use pkgapp_detect as detect;
use pkgapp_format::sonames;
use pkgapp_release::depends::{self, HostDependencies, HostLibrary, HostProgram, SharedRuntime};
use pkgapp_release::imports::{self, FoundImports, PythonPart, ReleaseModules};
use pkgapp_release::layer::{ByteCompiler, Layer};
use pkgapp_release::release::ReleaseRecord;
use pkgapp_release::runtime::{self, InterpreterHome, Runtime};
use pkgapp_release::scriptlets::{HostCompiled, HostPython};
use pkgapp_release::tree::{EntryOrigin, Tree, TreeEntry};

/// Returns the interpreter that hosts upgrade independently of the release.
pub(super) fn host_python(app: &Config, runtime: Option<&Runtime>) -> Option<HostPython> {
    let python = app.python.version.value;
    match runtime.map(|runtime| runtime.home) {
        None => Some(HostPython::system(python)),
        Some(InterpreterHome::Release) => None,
        Some(InterpreterHome::Package) => Some(shared_python(python)),
    }
}

/// Returns the interpreter of another package that a release with this record runs on.
pub(super) fn host_python_of(record: &ReleaseRecord) -> Option<HostPython> {
    let python = record.python?;
    match record
        .interpreter
        .as_ref()
        .map(|interpreter| &*interpreter.home)
    {
        None => Some(HostPython::system(python)),
        Some(runtime::BUNDLED) => None,
        Some(_) => Some(shared_python(python)),
    }
}

fn shared_python(python: PythonMinor) -> HostPython {
    let directory = format!("{}/{}", runtime::SHARED, runtime::directory(python));
    HostPython::shared(python, &directory)
}

/// Returns the files that scriptlets create: the byte code of all sources, unless the build
/// compiles them. Adds their directories to the tree.
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

/// Returns the parameters for scriptlets that compile byte code.
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

/// Returns the programs on hosts without which jobs or logs would silently be left alone.
fn programs(app: &Config, layers: &[Layer]) -> Vec<HostProgram> {
    let mut programs = if app.is_separate() {
        Vec::new()
    } else {
        daemons(app)
    };
    programs.extend(distributions(layers).filter_map(|name| depends::loaded_by(name).1));
    programs
}

/// Returns the daemons that read files below `/etc`.
pub(super) fn daemons(app: &Config) -> Vec<HostProgram> {
    let cron = (!app.crons.is_empty()).then_some(HostProgram::Cron);
    let logrotate = app.logrotate.as_ref().map(|_| HostProgram::Logrotate);
    cron.into_iter().chain(logrotate).collect()
}

/// Finds the parts of the host's Python that the application's code imports, and warns of modules
/// that nothing provides.
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
    warn_of_missing(&imports, report);
    match runtime {
        None => Ok(imports.parts.into_keys().collect()),
        Some(runtime) => {
            warn_of_left_behind(app, runtime, &imports, report);
            Ok(BTreeSet::new())
        }
    }
}

/// Warns of imported modules that nothing provides.
fn warn_of_missing(imports: &FoundImports, report: &Report) {
    for (module, file) in &imports.missing {
        if module.as_str() == "pkg_resources" {
            report.warning(&format!(
                "`{file}` imports `pkg_resources`, which only setuptools before version 81 provides: \
                 write `add = [\"setuptools<81\"]` below `[python]` and run `pkgapp lock`"
            ));
            continue;
        }
        report.warning(&format!(
            "`{file}` imports `{module}`, which nothing provides: pin the distribution that does, or write \
             `optional-imports = [\"{module}\"]` below `[python]`"
        ));
    }
}

/// Warns of imported parts of Python that do not ship with the interpreter.
fn warn_of_left_behind(app: &Config, runtime: &Runtime, imports: &FoundImports, report: &Report) {
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
}

/// The number of missing modules up to which all of them may be optional.
const FEW_IMPORTS: usize = 2;

/// Refuses an application that ships no distributions although it imports several missing modules:
/// nothing pins its requirements.
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
        "nothing pins the requirements of the application: it imports {}{more}",
        some.join(", ")
    ));
    Err(error
        .at(Location::file(&app.file))
        .hint(match detect::requirements_file(&app.root) {
            Some(name) => format!("run `pkgapp lock {name}` to pin them"),
            None => "write them to a `requirements.in`, and run `pkgapp lock`".to_owned(),
        }))
}

/// Checks that the release has all modules that the command lines of its services, cron jobs,
/// migrations, and hooks name.
///
/// # Errors
/// The release lacks one of the modules.
pub(super) fn check_started(app: &Config, tree: &Tree) -> Result<()> {
    let prefix = &app.package.prefix.value;
    let mut modules = ReleaseModules::of(tree, prefix, app.python.version.value)?;
    for directory in &app.import_from {
        modules = modules.and(prefix.join(&ReleasePath::parse("app")?).join(directory));
    }
    // Services run in the prefix, and servers import from their working directory.
    modules = modules.and(prefix.clone());
    for directory in working_directories(app) {
        modules = modules.and(directory.clone());
    }

    for command in commands(app) {
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
    check_scripts(app, tree)
}

/// Refuses commands that name a script as it lies in the release, but run in another directory.
fn check_scripts(app: &Config, tree: &Tree) -> Result<()> {
    for process in processes(app) {
        let script = script(&process.exec.words);
        let (Some(directory), Some(script)) = (&process.working_directory, script) else {
            continue;
        };
        let elsewhere = app.package.prefix.value.join(&script);
        if tree.get(&directory.join(&script)).is_none() && tree.get(&elsewhere).is_some() {
            let path = elsewhere
                .below(directory)
                .map_or_else(|| elsewhere.to_string(), |inside| inside.to_string());
            return Err(Error::new(format!(
                "this command runs in `{directory}`, which has no `{script}`"
            ))
            .at(process.exec.at.clone())
            .hint(format!("write `{path}`")));
        }
    }
    Ok(())
}

/// The relative path of a script that a command starts: `python app/manage.py worker`.
fn script(words: &[String]) -> Option<ReleasePath> {
    let [python, script, ..] = words else {
        return None;
    };
    let is_script = ["python", "python3"].contains(&python.as_str()) && script.ends_with(".py");
    ReleasePath::parse(script).ok().filter(|_| is_script)
}

/// Returns the directories in the release that services and timers run in.
fn working_directories(app: &Config) -> impl Iterator<Item = &InstallPath> {
    processes(app)
        .filter_map(|process| process.working_directory.as_ref())
        .filter(|directory| is_in_release(app, directory))
}

fn is_in_release(app: &Config, directory: &InstallPath) -> bool {
    Path::new(directory.as_str()).starts_with(app.package.prefix.value.as_str())
}

fn processes(app: &Config) -> impl Iterator<Item = &ProcessSettings> {
    let timers = app.timers.iter().map(|timer| &timer.process);
    let services = app.services.iter().map(|service| &service.process);
    services.chain(timers)
}

/// Returns the commands that import from the release, without those that a working directory or a
/// variable points elsewhere.
fn commands(app: &Config) -> Vec<&CommandLine> {
    let is_here = |process: &&ProcessSettings| {
        process
            .working_directory
            .as_ref()
            .is_none_or(|directory| is_in_release(app, directory))
            && !process.env.contains_key("PYTHONPATH")
    };
    let crons = app
        .crons
        .iter()
        .filter(|cron| !cron.env.contains_key("PYTHONPATH"));
    let here = processes(app).filter(is_here);
    let mut commands: Vec<&CommandLine> = here.map(|process| &process.exec).collect();
    commands.extend(crons.map(|cron| &cron.exec));
    // Migrations and hooks run with the environment and the working directory of a service.
    let mut services = app.services.iter().map(|service| &service.process);
    if services.all(|process| is_here(&process)) {
        commands.extend(app.deploys.iter().flat_map(deploy_commands));
    }
    commands
}

/// Returns the commands of migrations and hooks.
fn deploy_commands(deploy: &Deploy) -> impl Iterator<Item = &CommandLine> {
    let hooks = &deploy.hooks;
    let hooks = [&hooks.before, &hooks.after, &hooks.drain, &hooks.undrain];
    let migrate = deploy.migrate.iter();
    let migrate = migrate.flat_map(|migrate| migrate.exec.lines());
    migrate.chain(hooks.into_iter().flatten())
}

/// Returns the names of the distributions that ship.
fn distributions(layers: &[Layer]) -> impl Iterator<Item = &str> {
    layers
        .iter()
        .filter_map(|layer| layer.manifest.distribution.as_ref())
        .map(|one| one.name.as_str())
}

/// Returns the dependencies of a release on its hosts; warns of libraries without a known Debian
/// package.
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
        declared_deb: values(&app.package.depends_deb),
        relations: if app.is_separate() {
            app.package.relations.clone()
        } else {
            with_web_server(app, app.package.relations.clone())
        },
        declared_rpm: values(&app.package.depends_rpm),
    };
    // If `depends.deb` is empty, the format refuses the deb.
    if !depends.declared_deb.is_empty() {
        for library in sonames::unknown_libraries(&depends) {
            report.warning(&format!(
                "pkgapp knows no Debian package with `{}`, which `{}` needs: check that `depends.deb` lists it",
                library.soname, library.needed_by
            ));
        }
    }
    depends
}

/// Adds the web server of the site to the recommended packages: a site waits for its server, which
/// may come later.
pub(super) fn with_web_server(app: &Config, mut relations: PackageRelations) -> PackageRelations {
    if let Some(site) = &app.site {
        let has_certbot =
            site.server == WebServer::Nginx && matches!(site.tls, SiteTls::Acme { .. });
        let certbot = has_certbot.then_some("certbot");
        for name in std::iter::once(site.server.name()).chain(certbot) {
            for recommended in [&mut relations.recommends.deb, &mut relations.recommends.rpm] {
                if !recommended.iter().any(|known| known == name) {
                    recommended.push(name.to_owned());
                }
            }
        }
    }
    relations
}

fn values(located: &[Located<String>]) -> Vec<String> {
    located.iter().map(|one| one.value.clone()).collect()
}
