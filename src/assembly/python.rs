//! The Python that a release is for: the one that ships, the one of this machine that builds, and
//! what wheels must fit.

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

/// The interpreter that ships, if one does.
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

/// Refuses a Python that a target lacks before one is looked for on this machine.
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

/// The Python of this machine that makes byte code and builds sdists. `None` if there is none and
/// none is needed: what the hosts have is known, and nothing is run here.
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
                    "{}: byte code is made when the package is installed",
                    error.message()
                ));
            }
            Ok(None)
        }
    }
}

/// Adds the ways to do without an interpreter of this machine.
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
        "or build without it for hosts that have it, which then make the byte code: `--target {}`",
        offering.join("` or `")
    ))
    } else {
        error
    };
    error.hint(format!(
        "or ship a Python {python}: below `[python]`, write `interpreter = \"bundled\"` and as `path` an archive \
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

/// What wheels are chosen for, from the configuration alone.
pub(super) fn environment_of(
    app: &Config,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<Environment> {
    let runtime = runtime(app, options.cache, report)?;
    let interpreter = interpreter(app, runtime.as_ref(), options, report)?;
    environment(app, interpreter.as_ref(), runtime.as_ref())
}

/// What wheels are chosen for: the oldest glibc that the targets have, or this machine's where none
/// is declared.
///
/// # Errors
/// A machine of another kind, and no word about its glibc.
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
    let mut environment = Environment::new(app.python.version.value, full, arch, glibc)?;
    let declared = targets(app);
    for target in &declared {
        if let Some(full) = target.patch_release(app.python.version.value) {
            environment.add_host(target.name, &full);
        }
    }
    // Without a word about the hosts, they are taken for machines like this one.
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
