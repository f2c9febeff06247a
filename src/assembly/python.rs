//! The Pythons of a release: the one that ships, the one of the build machine, and the environment
//! for which wheels are chosen.

use super::AssemblyOptions;
use super::hosts::targets;
use pkgapp_config::{self as config, ByteCode, Config};
use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::Arch;
use pkgapp_core::report::Report;
use pkgapp_core::target::{self};
use pkgapp_pypa::Environment;
use pkgapp_release::depends::{self, ElfScan};
use pkgapp_release::layer::ByteCompiler;
use pkgapp_release::runtime::{InterpreterHome, Runtime};

/// Prepares the interpreter that ships; `None` if the hosts have their own.
pub(super) fn runtime(app: &Config, cache: &Cache, report: &Report) -> Result<Option<Runtime>> {
    let (cpython, home) = match &app.python.interpreter {
        config::InterpreterChoice::System => return Ok(None),
        config::InterpreterChoice::Bundled(cpython) => (cpython, InterpreterHome::Release),
        config::InterpreterChoice::Shared(cpython) => (cpython, InterpreterHome::Package),
    };
    let wanted = app
        .package
        .arch
        .as_ref()
        .map_or_else(Arch::host, |arch| Ok(arch.value))?;
    Runtime::prepare(
        cpython,
        app.python.version.value,
        home,
        Some(wanted),
        cache,
        report,
    )
    .map(Some)
}

/// Refuses a Python that a target lacks, before pkgapp looks for it on the build machine.
pub(super) fn check_pythons(app: &Config) -> Result<()> {
    let none = ElfScan {
        arch: Arch::Any,
        libraries: Vec::new(),
        floors: Vec::new(),
    };
    let python = matches!(app.python.interpreter, config::InterpreterChoice::System)
        .then_some(app.python.version.value);
    let refused = app.package.targets.iter().filter_map(|target| {
        depends::check_targets(&none, python, &[target.value])
            .err()
            .map(|error| error.at(target.at.clone()))
    });
    Error::all(refused).map_or(Ok(()), Err)
}

/// Finds the Python of the build machine that compiles byte code and builds sdists. `None` if there
/// is none, and the build can do without: the targets are known and `[build] run` is empty.
pub(super) fn interpreter(
    app: &Config,
    runtime: Option<&Runtime>,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<Option<Interpreter>> {
    if let Some(runtime) = runtime {
        return Ok(Some(runtime.interpreter.clone()));
    }
    match Interpreter::find(options.cache, app.python.version.value) {
        Ok(found) => Ok(Some(found)),
        Err(error) if app.package.targets.is_empty() || !app.build.run.is_empty() => {
            Err(without_python(app, error))
        }
        Err(error) => {
            if app.package.byte_code == ByteCode::Build {
                report.warning(&format!(
                    "{}: byte code is compiled when the package is installed",
                    error.message()
                ));
            }
            Ok(None)
        }
    }
}

/// Adds hints for building without a Python on the build machine.
fn without_python(app: &Config, error: Error) -> Error {
    let python = app.python.version.value;
    let offering: Vec<&str> = target::TARGETS
        .iter()
        .filter(|target| target.offers(python))
        .map(|target| target.name)
        .collect();
    let error = error.at(app.python.version.at.clone());
    let error = if app.build.run.is_empty() && !offering.is_empty() {
        error.hint(format!(
            "or build for hosts that have it, which then compile the byte code: `--target {}`",
            offering.join("` or `")
        ))
    } else {
        error
    };
    error.hint(format!(
        "or ship a Python {python}: below `[python]`, write `interpreter = \"bundled\"` and set `path` to an archive \
         `cpython-{python}.…-install_only.tar.gz` of python-build-standalone"
    ))
}

pub(super) fn compiler(app: &Config, interpreter: Option<&Interpreter>) -> Result<ByteCompiler> {
    let python = app.python.version.value;
    let Some(interpreter) = interpreter else {
        return Ok(ByteCompiler::absent(python));
    };
    let compiler = ByteCompiler::of(interpreter, python)?;
    Ok(if app.package.byte_code == ByteCode::Build {
        compiler
    } else {
        compiler.at_installation()
    })
}

/// Returns the environment for which wheels are chosen, from the configuration alone.
pub(super) fn environment_of(
    app: &Config,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<Environment> {
    let runtime = runtime(app, options.cache, report)?;
    let interpreter = interpreter(app, runtime.as_ref(), options, report)?;
    environment(app, interpreter.as_ref(), runtime.as_ref())
}

/// Returns the environment for which wheels are chosen, with the oldest glibc of the targets, or
/// that of the build machine without targets.
///
/// # Errors
/// The architecture is not that of the build machine, and there are no targets.
pub(crate) fn environment(
    app: &Config,
    interpreter: Option<&Interpreter>,
    runtime: Option<&Runtime>,
) -> Result<Environment> {
    let arch = app
        .package
        .arch
        .as_ref()
        .map_or_else(Arch::host, |arch| Ok(arch.value))?;
    let glibc = glibc(app, interpreter, arch)?;
    // If the interpreter ships, its patch release is known.
    let full = runtime.map(|runtime| runtime.version.as_str());
    let mut environment = Environment::new(app.python.version.value, full, arch, glibc)?;
    let declared = targets(app);
    for target in &declared {
        if let Some(full) = target.patch_release(app.python.version.value) {
            environment.add_host(target.name, &full);
        }
    }
    // Without targets, the hosts are assumed to be like the build machine.
    if let Some(interpreter) =
        interpreter.filter(|interpreter| interpreter.python == app.python.version.value)
        && declared.is_empty()
    {
        environment.add_host("this machine", &interpreter.version);
    }
    Ok(Environment {
        builds_with: runtime.map(|runtime| runtime.builds_with.clone()),
        ..environment
    })
}

/// Returns the oldest glibc of the hosts.
fn glibc(app: &Config, interpreter: Option<&Interpreter>, arch: Arch) -> Result<(u16, u16)> {
    if let Some(glibc) = target::oldest_glibc(&targets(app)) {
        return Ok(glibc);
    }
    let hint = "declare the hosts: `targets = [\"debian12\"]` under `[package]`";
    if Arch::host().ok() != Some(arch) {
        let error = Error::new(format!(
            "unknown glibc of the hosts: the build machine is not {arch}"
        ))
        .hint(hint);
        let declared = app.package.arch.iter();
        return Err(declared.fold(error, |error, arch| error.at(arch.at.clone())));
    }
    let glibc = interpreter.and_then(|interpreter| interpreter.glibc);
    glibc.ok_or_else(|| {
        Error::new("unknown glibc of the hosts: the build machine's Python is not built with glibc")
            .hint(hint)
    })
}
