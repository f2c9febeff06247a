//! What a release asks of its hosts, and leaves to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::{self, App};
use crate::depends::{Depends, Library, Program, SharedRuntime};
use crate::error::{Error, Result};
use crate::format::sonames;
use crate::imports::{self, Imports, Modules, PythonPart};
use crate::layer::{ByteCompiler, Layer};
use crate::name::AppName;
use crate::path::{InstallPath, ReleasePath};
use crate::report::Report;
use crate::runtime::{self, Home, Runtime};
use crate::scriptlets::{HostCompiled, HostPython};
use crate::target::Target;
use crate::tree::{Entry, Origin, Tree};

/// The interpreter that is replaced without the release.
pub(super) fn host_python(app: &App, runtime: Option<&Runtime>) -> Option<HostPython> {
    let python = app.python.version.value;
    match runtime.map(|runtime| runtime.home) {
        None => Some(HostPython::system(python)),
        Some(Home::Release) => None,
        Some(Home::Package) => {
            Some(HostPython::shared(python, &format!("{}/{}", runtime::SHARED, runtime::directory(python))))
        }
    }
}

/// Files that scriptlets make: the byte code of all sources, if the build makes none. Their directories come into the tree.
pub(super) fn ghosts(app: &App, tree: &mut Tree, compiler: &ByteCompiler) -> Result<Vec<InstallPath>> {
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
pub(super) fn host_compiled(app: &App, tree: &Tree, compiler: &ByteCompiler) -> Result<Option<HostCompiled>> {
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

pub(super) fn targets(app: &App) -> Vec<&'static Target> {
    app.package.targets.iter().map(|target| target.value).collect()
}

/// Without them a job would never run, or a log would never be rotated, and nobody would be told.
fn programs(app: &App) -> Vec<Program> {
    let cron = (!app.crons.is_empty()).then_some(Program::Cron);
    let logrotate = app.logrotate.as_ref().map(|_| Program::Logrotate);
    cron.into_iter().chain(logrotate).collect()
}

/// Finds parts of the host's Python that the application's code imports, and tells of modules that nothing provides.
pub(super) fn python_parts(
    app: &App,
    tree: &Tree,
    layers: &[Layer],
    own: Option<&str>,
    runtime: Option<&Runtime>,
    report: &Report,
) -> Result<BTreeSet<PythonPart>> {
    let (prefix, python) = (&app.package.prefix.value, app.python.version.value);
    let imports = Imports::find(tree, prefix, python, layers, own, &app.python.optional_imports)?;
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
    let Some(runtime) = runtime else { return Ok(imports.parts.into_keys().collect()) };
    let kept = match &app.python.interpreter {
        app::Interpreter::Bundled(cpython) | app::Interpreter::Shared(cpython) => &cpython.keep[..],
        app::Interpreter::System => &[],
    };
    for (part, file) in &imports.parts {
        let Some(left) = part.left_behind().filter(|left| !kept.contains(left)) else { continue };
        report.warning(&format!(
            "`{file}` imports a part of Python {} that does not ship: write `keep = [\"{}\"]` below `[python]`",
            runtime.python,
            left.name()
        ));
    }
    Ok(BTreeSet::new())
}

/// Checks that the release has the modules that services start from, as far as command lines name them.
///
/// # Errors
/// One of them is not there.
pub(super) fn check_started(app: &App, tree: &Tree) -> Result<()> {
    let prefix = &app.package.prefix.value;
    let mut modules = Modules::of(tree, prefix, app.python.version.value)?;
    for directory in &app.import_from {
        modules = modules.and(prefix.join(&ReleasePath::parse("app")?).join(directory));
    }
    // Services run in the prefix, and servers import from where they run.
    modules = modules.and(prefix.clone());

    let services = app.services.iter().map(|service| &service.process);
    for process in services.chain(app.timers.iter().map(|timer| &timer.process)) {
        if process.working_directory.is_some() || process.env.contains_key("PYTHONPATH") {
            continue;
        }
        let mut started = imports::started_modules(&process.exec.words).into_iter();
        let is_missing =
            |module: &&str| !modules.has(module) && !imports::is_standard(module.split('.').next().unwrap_or(module));
        if let Some(module) = started.find(is_missing) {
            return Err(Error::new(format!("the release has no module `{module}`, which this command starts"))
                .at(process.exec.at.clone())
                .hint("add its directory to `[app] include`, or set `working-directory` to the directory on hosts that has it"));
        }
    }
    Ok(())
}

pub(super) fn needs(
    app: &App,
    runtime: Option<&Runtime>,
    python_parts: BTreeSet<PythonPart>,
    libraries: Vec<Library>,
    report: &Report,
) -> Depends {
    let shared = runtime.filter(|runtime| runtime.home == Home::Package).map(|runtime| SharedRuntime {
        package: AppName::of_runtime(runtime.python).to_string(),
        version: runtime.version.clone(),
    });
    let depends = Depends {
        python: runtime.is_none().then_some(app.python.version.value),
        python_parts,
        runtime: shared,
        libraries,
        programs: programs(app),
        declared_deb: app.package.depends_deb.iter().map(|depends| depends.value.clone()).collect(),
        relations: app.package.relations.clone(),
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
