//! A survey of a project's tree: what `pkgapp init` can know of an application before anything is configured.
//!
//! Nothing is run and no Python is parsed: pyproject.toml and lock files are data, and of the source it is enough to see
//! the lines that make an application object. Where a survey is not sure, it leaves a thing out: what it finds must build.

mod code;
mod pins;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::app::LOCKS;
use crate::error::Result;
use crate::name::{AppName, PythonMinor};
use crate::pypa::VersionSpecifiers;

pub use self::code::{Factory, Framework, Gateway, Web, Worker};

/// Requirements files outside of the places that a build looks into, as projects keep them.
const ELSEWHERE: [&str; 8] = [
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
    "requirements/main.txt",
    "requirements/requirements.txt",
    "requirements-prod.txt",
    "requirements/default.txt",
    "requirements.in",
];

/// Directories at the top of a tree that are no part of an application.
const ASIDE: [&str; 20] = [
    "tests",
    "test",
    "testing",
    "docs",
    "doc",
    "examples",
    "example",
    "node_modules",
    "venv",
    "env",
    "build",
    "dist",
    "deploy",
    "requirements",
    "scripts",
    "tools",
    "benchmarks",
    "ci",
    "docker",
    "__pycache__",
];

/// Modules at the top of a tree that are no part of an application.
const TOOLS: [&str; 8] =
    ["setup.py", "conftest.py", "noxfile.py", "tasks.py", "fabfile.py", "dodo.py", "runtests.py", "versioneer.py"];

/// What a tree shows.
#[derive(Debug)]
pub struct Survey {
    /// The tree.
    pub root: PathBuf,
    /// The project's name, where pyproject.toml's `[project]` does not say it; else the directory's.
    pub name: Option<AppName>,
    /// Whether nothing says the version.
    pub lacks_version: bool,
    /// Whether it is to be built as a wheel.
    pub has_backend: bool,
    /// Whether a build would take it for a project although it has no build backend.
    pub looks_like_project: bool,
    /// Plain files, as patterns, that are no part of a wheel.
    pub include: Vec<String>,
    /// What pins its requirements.
    pub pins: Pins,
    /// Whether `.python-version` says which Python.
    pub says_python: bool,
    /// Which Pythons it takes; `None` if it does not say.
    pub requires_python: Option<VersionSpecifiers>,
    /// The distributions that are pinned or required, by normalised name.
    pub requires: BTreeSet<String>,
    /// What it is made with.
    pub framework: Framework,
    /// The application object that a web server is given.
    pub web: Option<Web>,
    /// The Celery application.
    pub worker: Option<Worker>,
    /// Whether Django collects static files, by settings that need no environment.
    pub collects_static: bool,
}

/// What pins an application's requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pins {
    /// A file that a build finds by itself, and that pins everything as far as its form tells.
    Found(String),
    /// The same, but it names distributions without their versions.
    Loose(String),
    /// A file elsewhere; whether each of its lines has a version.
    Elsewhere(String, bool),
    /// There is none.
    Nothing,
}

impl Survey {
    /// Looks at a tree.
    ///
    /// # Errors
    /// A file of the packaging standards that can't be read, or is not what its name says.
    pub fn of(root: &Path) -> Result<Self> {
        let project = Project::read(root)?;
        let pins = find_pins(root, project.has_backend)?;
        let requires = pins::required(root, &pins, &project.table, &project.setup)?;
        let code = code::read(root)?;
        let has_backend = project.has_backend;
        let (web, worker) = (code.web(&requires), code.worker(&requires));
        let framework = code.framework(&requires);
        let include = if has_backend { beside_packages(root, &code) } else { plain_files(root) };
        Ok(Self {
            root: root.to_owned(),
            name: project.name(root),
            lacks_version: !has_backend && !project.says("version"),
            has_backend,
            looks_like_project: !has_backend && project.table.contains_key("project"),
            include,
            requires_python: project.requires_python(root),
            says_python: root.join(".python-version").is_file(),
            collects_static: code.collects_static(),
            pins,
            requires,
            framework,
            web,
            worker,
        })
    }

    /// Returns whether a distribution is pinned or required.
    pub fn has(&self, distribution: &str) -> bool {
        self.requires.contains(distribution)
    }

    /// Returns whether a Python is one that it takes; the patch level is not known, and so the highest.
    pub fn takes(&self, python: PythonMinor) -> bool {
        let version = format!("{python}.99").parse().expect("a minor version with a patch level is a version");
        self.requires_python.as_ref().is_none_or(|specifiers| specifiers.contains(&version))
    }
}

/// pyproject.toml, and the files from before it.
struct Project {
    table: Table,
    setup: String,
    has_backend: bool,
}

impl Project {
    fn read(root: &Path) -> Result<Self> {
        let table = match root.join("pyproject.toml") {
            file if file.is_file() => pins::toml(&file)?,
            _ => Table::new(),
        };
        let texts = ["setup.cfg", "setup.py"].iter().map(|name| root.join(name)).filter(|file| file.is_file());
        let setup = texts.map(|file| pins::text(&file)).collect::<Result<Vec<_>>>()?.join("\n");
        // What has `[project]` but no backend is an application whose requirements are noted there, as uv makes it.
        let has_backend = table.contains_key("build-system") || root.join("setup.py").is_file();
        Ok(Self { table, setup, has_backend })
    }

    fn says(&self, key: &str) -> bool {
        self.table.get("project").and_then(|project| project.get(key)).is_some()
    }

    /// Returns the name that has to be written down.
    fn name(&self, root: &Path) -> Option<AppName> {
        if self.says("name") {
            return None;
        }
        let poetry = self.table.get("tool").and_then(|tool| tool.get("poetry")?.get("name")?.as_str());
        let directory = root.file_name().unwrap_or_default().to_string_lossy();
        // Unpacked sdists are called NAME-VERSION.
        let plain = match directory.rsplit_once('-') {
            Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
            _ => &*directory,
        };
        let text = poetry.map(str::to_owned).or_else(|| assigned(&self.setup, "name"));
        let text = text.unwrap_or_else(|| plain.to_owned()).to_lowercase().replace(['_', '.', ' '], "-");
        let inside: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
        let inside = inside.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
        Some(AppName::parse(inside).unwrap_or_else(|_| AppName::parse("app").expect("three letters are a name")))
    }

    fn requires_python(&self, root: &Path) -> Option<VersionSpecifiers> {
        let project = self.table.get("project").and_then(|project| project.get("requires-python")?.as_str());
        let poetry = self.table.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies")?.get("python"));
        let poetry = poetry.and_then(Value::as_str).map(caret);
        let text = project.map(str::to_owned).or(poetry).or_else(|| assigned(&self.setup, "python_requires"));
        text.or_else(|| pins::pipfile_python(root))?.parse().ok()
    }
}

/// Turns Poetry's `^3.9` into `>=3.9,<4`; other texts are as in PEP 440.
fn caret(text: &str) -> String {
    match text.strip_prefix('^') {
        Some(version) => format!(">={version},<4"),
        None => text.to_owned(),
    }
}

/// Returns the value of `key = value` in setup.cfg, or of `key="value"` in a call in setup.py.
fn assigned(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
        let value = value.trim_end_matches(',').trim_matches(['"', '\'']);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_<>=!~, *".contains(c);
        (!value.is_empty() && value.chars().all(is_plain)).then(|| value.to_owned())
    })
}

fn find_pins(root: &Path, has_backend: bool) -> Result<Pins> {
    if let Some(name) = LOCKS.iter().find(|name| root.join(name).is_file()) {
        let is_loose = *name == "requirements.txt" && !pins::all_pinned(&root.join(name))?;
        return Ok(if is_loose { Pins::Loose((*name).to_owned()) } else { Pins::Found((*name).to_owned()) });
    }
    match ELSEWHERE.iter().find(|name| root.join(name).is_file()) {
        Some(name) => match pins::all_pinned(&root.join(name))? {
            // A project says itself what it requires; such a file is for its developers.
            false if has_backend => Ok(Pins::Nothing),
            pinned => Ok(Pins::Elsewhere((*name).to_owned(), pinned)),
        },
        None => Ok(Pins::Nothing),
    }
}

/// Patterns for the whole application, where nothing builds a wheel of it.
fn plain_files(root: &Path) -> Vec<String> {
    let mut patterns = Vec::new();
    for (name, is_directory) in listed(root) {
        if is_directory && !ASIDE.contains(&name.as_str()) && holds_python(&root.join(&name), 3) {
            patterns.push(format!("{}/**", literal(&name)));
        } else if is_directory && ["templates", "static", "locale", "data"].contains(&name.as_str()) {
            patterns.push(format!("{name}/**"));
        } else if !is_directory && (name.ends_with(".py") && !TOOLS.contains(&name.as_str()) || name.ends_with(".ini"))
        {
            let is_tool = ["tox.ini", "pytest.ini", "mypy.ini"].contains(&name.as_str());
            patterns.extend((!is_tool).then(|| literal(&name)));
        }
    }
    patterns
}

/// Patterns for what a wheel of the project lacks: Django's manage.py, and the modules that an application object is in.
fn beside_packages(root: &Path, code: &code::Code) -> Vec<String> {
    let is_there = |name: &&str| root.join(name).is_file();
    let manage = ["manage.py"].iter().copied().filter(is_there).map(str::to_owned);
    let mut patterns: Vec<String> = manage.chain(code.loose_modules().map(literal)).collect();
    patterns.dedup();
    patterns
}

/// The names in a directory, sorted, without hidden ones; and whether each is a directory.
fn listed(directory: &Path) -> Vec<(String, bool)> {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<(String, bool)> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.file_type().ok()?)))
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, kind)| (name, kind.is_dir()))
        .collect();
    names.sort();
    names
}

/// Whether a directory has Python modules, so many levels down; a virtual environment does not count.
fn holds_python(directory: &Path, depth: usize) -> bool {
    let names = listed(directory);
    !names.iter().any(|(name, _)| name == "pyvenv.cfg")
        && names.iter().any(|(name, is_directory)| match is_directory {
            true => depth > 0 && holds_python(&directory.join(name), depth - 1),
            false => name.ends_with(".py"),
        })
}

/// A name as a pattern that means just it.
fn literal(name: impl AsRef<str>) -> String {
    let quoted = name.as_ref().chars().map(|c| if "*?[]{}!\\".contains(c) { format!("[{c}]") } else { c.to_string() });
    quoted.collect()
}
