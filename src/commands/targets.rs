//! `pkgapp check --targets`: the available file of each distribution for each target.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::assembly;
use crate::cli::{CheckArgs, GlobalOptions, TargetArgs};
use pkgapp_config::{Config, InterpreterChoice};
use pkgapp_core::error::{Error, ErrorKind, Result};
use pkgapp_core::interpreter;
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_core::target::Target;
use pkgapp_lock::Lock;
use pkgapp_pypa::Environment;
use pkgapp_release::depends::{self, ElfScan};
use pkgapp_wheels::survey::{SurveyRow, survey};

use super::{load_app, open_cache};

/// A combination of target, architecture, and Python.
struct Column {
    /// `None` for the build machine.
    target: Option<&'static Target>,
    environment: Environment,
}

impl Column {
    fn target(&self) -> &'static str {
        self.target.map_or("this machine", |target| target.name)
    }
}

/// Returns the target of a check without `--targets`: one architecture and one Python.
///
/// # Errors
/// The arguments name several.
pub(super) fn only(args: &CheckArgs) -> Result<TargetArgs> {
    if args.arch.len() > 1 || args.python.len() > 1 {
        return Err(
            Error::new("a package is for one architecture and one Python")
                .kind(ErrorKind::Usage)
                .hint("add `--targets` for a table of several, or name one"),
        );
    }
    let (arch, python) = (args.arch.first().copied(), args.python.first().copied());
    Ok(TargetArgs {
        target: args.target.clone(),
        arch,
        python,
    })
}

pub(super) fn check(args: &CheckArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let cache = open_cache(global, report)?;
    let columns = columns(args, &app, &cache)?;
    let mut errors = missing_pythons(&app, &columns);
    let (mut locks, mut unreadable) = (Vec::new(), Vec::new());
    for column in &columns {
        match read_lock(&app, column, global.offline) {
            Ok(lock) => locks.push((column.environment.clone(), lock)),
            Err(error) => unreadable.push(error),
        }
    }
    if !unreadable.is_empty() {
        errors.extend(unreadable);
        return Error::all(errors).map_or(Ok(()), Err);
    }

    if let Some((_, lock)) = locks.first() {
        lock.warnings
            .iter()
            .for_each(|warning| report.warning(warning));
    }
    let rows = survey(&locks, &cache, global.offline, report)?;
    match report.style() {
        OutputStyle::Text => report.text(&table(&app, &columns, &rows)),
        OutputStyle::Json => report.json(&document(&app, &columns, &rows)),
    }
    let missing = rows
        .into_iter()
        .flat_map(|row| row.cells)
        .flatten()
        .filter_map(Result::err);
    errors.extend(missing);
    Error::all(errors).map_or(Ok(()), Err)
}

fn read_lock(app: &Config, column: &Column, offline: bool) -> Result<Lock> {
    let requirements = app.python.requirements.iter();
    let files: Vec<_> = requirements.map(|file| file.value.clone()).collect();
    let environment = &column.environment;
    let selection = assembly::selection(app);
    Lock::read(&files, &app.root, environment, offline, &selection).map_err(|error| {
        let Environment { python, arch, .. } = environment;
        error.note(format!("the target is {} {arch} {python}", column.target()))
    })
}

/// Returns all combinations of targets, architectures, and Pythons.
fn columns(
    args: &CheckArgs,
    app: &Config,
    cache: &pkgapp_core::cache::Cache,
) -> Result<Vec<Column>> {
    let targets: Vec<&'static Target> = if args.target.is_empty() {
        app.package
            .targets
            .iter()
            .map(|target| target.value)
            .collect()
    } else {
        args.target.clone()
    };
    let arch = app
        .package
        .arch
        .as_ref()
        .map_or_else(Arch::host, |arch| Ok(arch.value))?;
    let arches = if args.arch.is_empty() {
        vec![arch]
    } else {
        args.arch.clone()
    };
    let pythons = if args.python.is_empty() {
        vec![app.python.version.value]
    } else {
        args.python.clone()
    };
    let targets: Vec<_> = if targets.is_empty() {
        vec![None]
    } else {
        targets.into_iter().map(Some).collect()
    };
    let mut columns = Vec::new();
    for target in targets {
        for arch in &arches {
            for python in &pythons {
                let environment = environment(app, target, *arch, *python, cache)?;
                columns.push(Column {
                    target,
                    environment,
                });
            }
        }
    }
    Ok(columns)
}

fn environment(
    app: &Config,
    target: Option<&'static Target>,
    arch: Arch,
    python: PythonMinor,
    cache: &pkgapp_core::cache::Cache,
) -> Result<Environment> {
    if let Some(target) = target {
        return Environment::new(python, None, arch, target.glibc);
    }
    let app = app.clone().aimed(&[], Some(arch), Some(python))?;
    let interpreter = interpreter::Interpreter::find(cache, python)?;
    assembly::environment(&app, Some(&interpreter), None)
}

/// Returns an error for each target that lacks the Python of the package.
fn missing_pythons(app: &Config, columns: &[Column]) -> Vec<Error> {
    let mut seen: Vec<(&str, PythonMinor)> = Vec::new();
    let mut errors = Vec::new();
    let none = ElfScan {
        arch: Arch::Any,
        libraries: Vec::new(),
        floors: Vec::new(),
    };
    for column in columns {
        let (Some(target), InterpreterChoice::System) = (column.target, &app.python.interpreter)
        else {
            continue;
        };
        let python = column.environment.python;
        if !seen.contains(&(target.name, python)) {
            seen.push((target.name, python));
            errors.extend(depends::check_targets(&none, Some(python), &[target]).err());
        }
    }
    errors
}

/// Returns the name of the application if it is a project: it gets a row, too.
fn project(app: &Config) -> Option<String> {
    app.source.as_ref().map(|_| app.name.to_string())
}

fn table(app: &Config, columns: &[Column], rows: &[SurveyRow]) -> String {
    let cell = |row: &SurveyRow, column: usize| match &row.cells[column] {
        Some(Ok(available)) => available.word(),
        Some(Err(_)) => "MISSING",
        None => "-",
    };
    let heading = |text: fn(&Column) -> String| (String::new(), columns.iter().map(text).collect());
    let mut lines: Vec<(String, Vec<String>)> = vec![
        heading(|column| column.target().to_owned()),
        heading(|column| column.environment.arch.to_string()),
        heading(|column| column.environment.python.to_string()),
    ];
    lines.extend(rows.iter().map(|row| {
        (
            row.label.clone(),
            (0..columns.len())
                .map(|n| cell(row, n).to_owned())
                .collect(),
        )
    }));
    lines.extend(project(app).map(|name| (name, vec!["project".to_owned(); columns.len()])));
    aligned(&lines, columns.len())
}

/// Formats lines of a label and `count` cells in columns.
fn aligned(lines: &[(String, Vec<String>)], count: usize) -> String {
    let labels = lines.iter().map(|(label, _)| label.len());
    let first = labels.max().unwrap_or(0);
    let width = |n: usize| {
        let cells = lines.iter().map(|(_, cells)| cells[n].len());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();

    let mut text = String::new();
    for (label, cells) in lines {
        let cells: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        // Writing to a String does not fail.
        _ = writeln!(
            text,
            "{}",
            format!("{label:<first$}  {}", cells.join("  ")).trim_end()
        );
    }
    text
}

fn document(app: &Config, columns: &[Column], rows: &[SurveyRow]) -> Value {
    let targets = columns.iter().enumerate().map(|(number, column)| {
        let Environment {
            python,
            arch,
            glibc,
            ..
        } = &column.environment;
        let rows = rows.iter().filter_map(|row| cell_json(row, number));
        let project = project(app)
            .map(|name| json!({ "name": name, "version": null, "is": "project", "file": null }));
        json!({
            "target": column.target.map(|target| target.name),
            "arch": arch.as_str(),
            "python": python.to_string(),
            "glibc": format!("{}.{}", glibc.0, glibc.1),
            "distributions": rows.chain(project).collect::<Vec<_>>(),
        })
    });
    json!({ "targets": targets.collect::<Vec<_>>() })
}

/// Returns the JSON of a distribution for one target; `None` if the target does not need it.
fn cell_json(row: &SurveyRow, column: usize) -> Option<Value> {
    let cell = row.cells[column].as_ref()?;
    let version = row.label.split_once(' ').map(|(_, version)| version);
    Some(match cell {
        Ok(available) => json!({
            "name": row.name.to_string(), "version": version, "is": available.word(), "file": available.file(),
        }),
        Err(error) => json!({
            "name": row.name.to_string(), "version": version, "is": "missing", "error": error.to_json(),
        }),
    })
}
