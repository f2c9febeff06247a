//! The names in lock and requirements files: the distributions of an application, regardless of
//! their versions.
//!
//! [`pkgapp_lock`] reads these files exactly, for one environment and with all their possible
//! mistakes. Before there is a configuration, there is no environment, and an additional name does
//! no harm here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::{Table, Value};

use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_pypa::PackageName;

use super::PinState;

/// The limit for the number of included requirements files: more must be a cycle.
const MOST_INCLUDES: usize = 20;

/// Reads a TOML file.
pub(super) fn toml(file: &Path) -> Result<Table> {
    let text = text(file)?;
    text.parse().map_err(|error: toml::de::Error| {
        let at = Location::at_offset(file, &text, error.span().unwrap_or_default().start);
        Error::new(format!(
            "`{}` is not TOML: {}",
            shown(file),
            error.message()
        ))
        .at(at)
    })
}

/// Reads a text and replaces bytes that are not UTF-8: source files may have other encodings.
pub(super) fn text(file: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}

/// Returns the normalized names of pinned or required distributions.
///
/// `besides` lists the requirements of extras and groups.
pub(super) fn required(
    root: &Path,
    pins: &PinState,
    project: &Table,
    setup: &str,
    besides: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let mut names = besides.clone();
    let (PinState::Found(name) | PinState::Loose(name) | PinState::Elsewhere(name, _)) = pins
    else {
        declared(project, setup, &mut names);
        return Ok(names);
    };

    let file = root.join(name);
    if name == "Pipfile.lock" {
        names.extend(pipfile_names(&file)?);
    } else if name.ends_with(".lock") || name.ends_with(".toml") {
        declared(project, setup, &mut names);
        names = locked(&toml(&file)?, names);
    } else {
        each_requirement(&file, &mut 0, &mut |line| {
            names.extend(normalized(leading_name(line)));
            names.extend(brought_by_extras(line).map(str::to_owned));
        })?;
        declared(project, setup, &mut names);
    }
    Ok(names)
}

/// Returns the distributions in a Pipfile.lock, except for those for development.
fn pipfile_names(file: &Path) -> Result<Vec<String>> {
    let lock: serde_json::Value =
        serde_json::from_str(&text(file)?).context(|| format!("`{}` is not JSON", shown(file)))?;
    let default = lock.get("default").and_then(serde_json::Value::as_object);
    Ok(default
        .into_iter()
        .flat_map(|table| table.keys())
        .filter_map(|name| normalized(name))
        .collect())
}

/// Returns whether every line of a requirements file and its included files is a pin or needs none.
pub(super) fn all_pinned(file: &Path) -> Result<bool> {
    let mut pinned = true;
    each_requirement(file, &mut 0, &mut |line| {
        let requirement = line.split(';').next().unwrap_or(line);
        pinned &= match requirement.split_once("git+") {
            // A branch or a tag may refer to another commit later.
            Some((_, address)) => names_a_commit(address),
            None => {
                requirement.contains("==") || requirement.contains('@') || requirement.contains('/')
            }
        };
    })?;
    Ok(pinned)
}

/// Returns whether the address of a repository ends with a full commit: `…/x.git@<40
/// digits>#egg=x`.
fn names_a_commit(address: &str) -> bool {
    let plain = address.split(['#', ' ']).next().unwrap_or(address);
    plain.rsplit_once('@').is_some_and(|(_, commit)| {
        commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit())
    })
}

/// Returns the distribution that pip-compile has left out of its output, which it notes in comments
/// at the end.
pub(super) fn left_out(file: &Path) -> Result<Option<String>> {
    let text = text(file)?;
    let mut lines = text.lines().skip_while(|line| {
        !line.starts_with("# The following packages are considered to be unsafe")
    });
    let next = lines.nth(1).and_then(|line| line.strip_prefix('#'));
    Ok(next
        .map(|line| leading_name(line.trim()).to_owned())
        .filter(|name| !name.is_empty()))
}

/// Distributions that are often pinned alone, with a version and a distribution that they require
/// since that version.
const REQUIRED_BY: [(&str, [u32; 2], &str); 21] = [
    ("django", [0, 0], "asgiref"),
    ("flask", [0, 0], "werkzeug"),
    ("flask", [2, 3], "blinker"),
    ("jinja2", [0, 0], "markupsafe"),
    ("fastapi", [0, 0], "starlette"),
    ("starlette", [0, 0], "anyio"),
    ("pydantic", [0, 0], "annotated-types"),
    ("uvicorn", [0, 0], "h11"),
    ("gunicorn", [21, 0], "packaging"),
    ("celery", [0, 0], "kombu"),
    ("requests", [0, 0], "urllib3"),
    ("httpx", [0, 0], "httpcore"),
    ("aiohttp", [0, 0], "yarl"),
    ("boto3", [0, 0], "botocore"),
    ("pyramid", [0, 0], "webob"),
    ("pandas", [0, 0], "numpy"),
    ("sqlalchemy", [2, 0], "typing-extensions"),
    ("alembic", [1, 0], "mako"),
    ("flask-sqlalchemy", [0, 0], "sqlalchemy"),
    ("flask-migrate", [0, 0], "alembic"),
    ("rq", [0, 0], "redis"),
];

/// Returns a pinned distribution and one of its requirements that the pins lack: the file only has
/// direct requirements, although each line has a version.
pub(super) fn gap(file: &Path, requires: &BTreeSet<String>) -> Result<Option<String>> {
    let mut versions = BTreeMap::new();
    each_requirement(file, &mut 0, &mut |line| {
        let version = line
            .split_once("==")
            .map_or("", |(_, version)| version.trim_start_matches('='));
        let mut numbers = version
            .trim()
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|part| part.parse().ok());
        let version = [0; 2].map(|_: u32| numbers.next().unwrap_or(0));
        versions.extend(normalized(leading_name(line)).map(|name| (name, version)));
    })?;
    let is_gap = |(name, since, needs): &&(&str, [u32; 2], &str)| {
        let version = versions.get(*name).copied().unwrap_or_default();
        requires.contains(*name) && !requires.contains(*needs) && version >= *since
    };
    Ok(REQUIRED_BY
        .iter()
        .find(is_gap)
        .map(|(name, _, needs)| format!("`{name}` requires `{needs}`")))
}

/// Returns the Python requirement of the oldest matching version of a framework, for applications
/// that declare none.
pub(super) fn least_python(file: &Path) -> Option<&'static str> {
    let mut least = None;
    let found = each_requirement(file, &mut 0, &mut |line| {
        if leading_name(line).eq_ignore_ascii_case("django") {
            let lower = ["==", ">=", "~=", ">"]
                .iter()
                .find_map(|operator| line.split_once(operator));
            let major = lower
                .map(|(_, version)| version.trim().split(['.', ',']).next().unwrap_or_default());
            least = match major.and_then(|major| major.parse::<u32>().ok()) {
                Some(5) => Some(">=3.10"),
                Some(6..) => Some(">=3.12"),
                _ => None,
            };
        }
    });
    found.ok().and(least)
}

/// Returns the server that the extras of a requirement install; the survey needs no other
/// distributions of extras.
fn brought_by_extras(requirement: &str) -> Option<&'static str> {
    let extras = requirement.split_once('[')?.1.split_once(']')?.0;
    let has = |wanted: &[&str]| {
        extras
            .split(',')
            .any(|extra| wanted.contains(&extra.trim()))
    };
    let server =
        leading_name(requirement).eq_ignore_ascii_case("fastapi") && has(&["standard", "all"]);
    server.then_some("uvicorn")
}

/// Returns the Python version in a Pipfile.lock, as a specifier.
pub(super) fn pipfile_python(root: &Path) -> Option<String> {
    let lock: serde_json::Value =
        serde_json::from_str(&text(&root.join("Pipfile.lock")).ok()?).ok()?;
    let version = lock
        .get("_meta")?
        .get("requires")?
        .get("python_version")?
        .as_str()?;
    Some(format!("=={version}.*"))
}

/// Adds `[project] dependencies` and their predecessors in Poetry and setuptools.
fn declared(project: &Table, setup: &str, names: &mut BTreeSet<String>) {
    names.extend(install_requires(setup).filter_map(normalized));

    let dependencies = project
        .get("project")
        .and_then(|project| project.get("dependencies")?.as_array());
    for requirement in dependencies.into_iter().flatten().filter_map(Value::as_str) {
        names.extend(normalized(leading_name(requirement)));
        names.extend(brought_by_extras(requirement).map(str::to_owned));
    }

    let poetry = project
        .get("tool")
        .and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
    for (name, value) in poetry.into_iter().flatten() {
        if name != "python" {
            names.extend(normalized(name));
        }
        names.extend(brought_by_poetry(name, value).map(str::to_owned));
    }
}

/// Returns the distribution that the extras of a Poetry dependency install.
fn brought_by_poetry(name: &str, value: &Value) -> Option<&'static str> {
    let extras: Vec<&str> = value
        .get("extras")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    brought_by_extras(&format!("{name}[{}]", extras.join(",")))
}

/// Returns the packages of a lock that `roots` need: locks of uv, Poetry, and PDM also contain
/// development tools and extras. Returns all packages if the lock does not list requirements.
fn locked(lock: &Table, roots: BTreeSet<String>) -> BTreeSet<String> {
    let packages = ["package", "packages"]
        .iter()
        .filter_map(|key| lock.get(*key)?.as_array())
        .flatten();
    let packages: BTreeMap<String, Vec<String>> = packages
        .filter_map(|package| Some((normalized(package.get("name")?.as_str()?)?, needs(package))))
        .collect();
    if roots.is_empty() || packages.values().all(Vec::is_empty) {
        return packages.into_keys().collect();
    }
    let mut names = BTreeSet::new();
    let mut open: Vec<String> = roots.into_iter().collect();
    while let Some(name) = open.pop() {
        if names.insert(name.clone()) {
            open.extend(packages.get(&name).into_iter().flatten().cloned());
        }
    }
    names
}

/// Returns the requirements of a package in a lock: uv lists tables, PDM requirements, and Poetry
/// has a table by name.
fn needs(package: &Value) -> Vec<String> {
    let name = |value: &Value| match value {
        Value::String(requirement) => normalized(leading_name(requirement)),
        other => normalized(other.get("name")?.as_str()?),
    };
    match package.get("dependencies") {
        Some(Value::Array(list)) => list.iter().filter_map(name).collect(),
        Some(Value::Table(table)) => table.keys().filter_map(|name| normalized(name)).collect(),
        _ => Vec::new(),
    }
}

/// Iterates over the names after `install_requires`: indented lines in setup.cfg, strings of a list
/// in setup.py.
pub(super) fn install_requires(setup: &str) -> impl Iterator<Item = &str> {
    let rest = setup.split("install_requires").skip(1).flat_map(|rest| {
        // Also `"install_requires": [` and `arguments["install_requires"] = [`.
        let list = rest.trim_start_matches([' ', '=', ':', '"', '\'', ']']);
        let end = match list.chars().next() {
            // Not the list of an extra.
            Some('[') => list
                .match_indices(']')
                .map(|(at, _)| at)
                .find(|at| list[..*at].trim_end().ends_with(['"', '\'', ',', '['])),
            Some('\n') => list
                .find("\n\n")
                .or_else(|| list.find("\n["))
                .or(Some(list.len())),
            _ => None,
        };
        list[..end.unwrap_or(0)]
            .lines()
            .flat_map(|line| line.split(['"', '\'', ',']))
    });
    rest.map(|text| leading_name(text.trim_matches(['[', ' ', '\t'])))
        .filter(|name| !name.is_empty())
}

/// Returns the distributions that a requirements file and its included files name; none if the file
/// cannot be read.
pub(super) fn named(file: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let read = each_requirement(file, &mut 0, &mut |line| {
        names.extend(normalized(leading_name(line)));
    });
    read.map(|()| names).unwrap_or_default()
}

/// Returns the files that a requirements file includes directly.
pub(super) fn included(file: &Path) -> Vec<PathBuf> {
    let text = text(file).unwrap_or_default();
    let parent = file.parent().unwrap_or(Path::new(""));
    let names = text.lines().filter_map(|line| included_name(line.trim()));
    names.map(|name| parent.join(name)).collect()
}

/// Returns the file that a line of a requirements file includes.
fn included_name(line: &str) -> Option<&str> {
    let name = ["-r", "--requirement"]
        .iter()
        .find_map(|option| line.strip_prefix(option))?;
    Some(name.trim_start_matches('=').trim())
}

/// Calls `take` with every requirement, without options and comments, and follows `-r`.
fn each_requirement(file: &Path, includes: &mut usize, take: &mut impl FnMut(&str)) -> Result<()> {
    let text = text(file)?.replace("\\\n", " ");
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        match included_name(line) {
            Some(name) if *includes < MOST_INCLUDES => {
                *includes += 1;
                let path = file.parent().unwrap_or(Path::new("")).join(name);
                if path.is_file() {
                    each_requirement(&path, includes, take)?;
                }
            }
            _ if line.is_empty() || line.starts_with(['#', '-']) => {}
            _ => take(line),
        }
    }
    Ok(())
}

pub(super) fn leading_name(requirement: &str) -> &str {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    requirement
        .split(|c| !inside(c))
        .next()
        .unwrap_or(requirement)
}

pub(super) fn normalized(name: &str) -> Option<String> {
    Some(PackageName::from_str(name).ok()?.to_string())
}
