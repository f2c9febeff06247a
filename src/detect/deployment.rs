//! The deployment files of a project (Dockerfile, compose files, Procfile, units): the parts of the
//! project that they install, and the server that they start.
//!
//! Shell scripts are split into words, but not evaluated. Commands that depend on variables are
//! ignored, and so are files for developers and tests.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use pkgapp_core::name::PythonMinor;

use super::pins;

/// Top-level directories that may describe a deployment.
const PLACES: [&str; 9] = [
    "docker",
    ".docker",
    "deploy",
    "deployment",
    "scripts",
    "systemd",
    "packaging",
    "compose",
    "contrib",
];

/// The limits for the depth of the search, the number of files, and the size of a file in bytes.
const DEEPEST: usize = 8;
const MOST_FILES: usize = 300;
const LARGEST: u64 = 128 * 1024;

/// Words in names of files, extras, and groups that are only for developers and tests.
const FOR_DEVELOPERS: [&str; 19] = [
    "dev",
    "devel",
    "develop",
    "development",
    "devcontainer",
    "test",
    "tests",
    "testing",
    "ci",
    "local",
    "lint",
    "linting",
    "typing",
    "types",
    "doc",
    "docs",
    "readthedocs",
    "benchmark",
    "example",
];

/// Programs that serve an application named on their command line.
const SERVERS: [&str; 7] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "uwsgi",
];

/// The facts in the deployment files.
#[derive(Debug, Default)]
pub(super) struct DeploymentFiles {
    /// Installed extras of the project, in their spelling.
    pub(super) extras: BTreeSet<String>,
    /// Whether all extras are installed.
    pub(super) all_extras: bool,
    /// Installed dependency groups.
    pub(super) groups: BTreeSet<String>,
    /// Installed requirements files, relative to the tree, in their order.
    pub(super) requirements: Vec<String>,
    /// The newest Python of its images.
    pub(super) python: Option<PythonMinor>,
    /// The command lines of web servers.
    pub(super) servers: Vec<String>,
    /// The application of Celery's workers, and their queues if they are named.
    pub(super) celery: Option<(String, Option<String>)>,
}

impl DeploymentFiles {
    /// Reads the deployment files of a tree; unreadable files are ignored.
    pub(super) fn read(root: &Path) -> Self {
        let mut deployment = Self {
            python: heroku_python(root),
            ..Self::default()
        };
        let is_wanted = |entry: &DirEntry| {
            entry.depth() == 0 || is_place(entry) && !is_for_developers(&name_of(entry))
        };
        let walk = WalkDir::new(root)
            .max_depth(DEEPEST)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(is_wanted);
        let files = walk
            .filter_map(Result::ok)
            .filter(describes)
            .take(MOST_FILES);
        for file in files {
            let text = pins::text(file.path()).unwrap_or_default();
            for words in commands(&text) {
                deployment.command(root, &words);
            }
        }
        deployment
    }

    fn command(&mut self, root: &Path, words: &[String]) {
        let names: Vec<&str> = words
            .iter()
            .map(|word| word.rsplit('/').next().unwrap_or(word))
            .collect();
        if let Some(server) = server_command(&names, words) {
            self.servers.push(server);
            return;
        }
        self.python = self.python.max(image_python(&names));

        if self.celery.is_none() {
            self.celery = celery_worker(&names, words);
        }

        let arguments_of = |tools: &[&str], verbs: &[&str]| {
            names
                .windows(2)
                .position(|pair| tools.contains(&pair[0]) && verbs.contains(&pair[1]))
                .map(|at| &words[at + 2..])
        };
        if let Some(arguments) = arguments_of(&["pip", "pip3"], &["install", "wheel"]) {
            self.pip(root, arguments);
        } else if let Some(arguments) =
            arguments_of(&["uv", "poetry", "pdm"], &["sync", "export", "install"])
        {
            self.project_tool(arguments);
        }
    }

    /// Parses `pip install -r FILE`, `.[EXTRA,…]`, and `--group NAME`.
    fn pip(&mut self, root: &Path, arguments: &[String]) {
        let mut arguments = arguments.iter();
        while let Some(word) = arguments.next() {
            let (option, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(o, v)| (o, Some(v.to_owned())));
            let mut value = || value.clone().or_else(|| arguments.next().cloned());
            match option {
                "-r" | "--requirement" | "--requirements" => {
                    let file = value().and_then(|file| requirements_file(root, &file));
                    self.add_requirements(file);
                }
                "--group" => self.groups.extend(value().filter(|name| is_shipped(name))),
                _ => self.extras.extend(extras_of_tree(word)),
            }
        }
    }

    fn add_requirements(&mut self, file: Option<String>) {
        let is_new = |file: &String| !self.requirements.contains(file);
        let file = file.filter(is_new);
        self.requirements.extend(file);
    }

    /// Parses `uv sync --extra NAME`, `poetry install -E NAME --with GROUP`, and `pdm sync -G
    /// GROUP`.
    fn project_tool(&mut self, arguments: &[String]) {
        let mut arguments = arguments.iter();
        while let Some(word) = arguments.next() {
            let (option, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(o, v)| (o, Some(v.to_owned())));
            if option == "--all-extras" {
                self.all_extras = true;
            }
            let into = match option {
                "--extra" | "--extras" | "-E" => &mut self.extras,
                "--group" | "--with" | "--only" | "--only-group" | "-G" => &mut self.groups,
                _ => continue,
            };
            let names = value
                .or_else(|| arguments.next().cloned())
                .unwrap_or_default();
            into.extend(
                names
                    .split([',', ' '])
                    .filter(|name| is_shipped(name))
                    .map(str::to_owned),
            );
        }
    }
}

/// Returns the Python of an image that an image is made from: `FROM python:3.13-slim`.
fn image_python(names: &[&str]) -> Option<PythonMinor> {
    let (first, image) = (names.first()?, names.get(1)?);
    let tag = image.strip_prefix("python:").or_else(|| {
        let (_, tag) = image.split_once(':')?;
        tag.strip_prefix("python")
    })?;
    first
        .eq_ignore_ascii_case("from")
        .then(|| leading_python(tag))?
}

/// Returns the Python in the file that tells Heroku which to run: `python-3.12.1`.
fn heroku_python(root: &Path) -> Option<PythonMinor> {
    let text = pins::text(&root.join("runtime.txt")).ok()?;
    leading_python(text.trim().strip_prefix("python-")?)
}

/// Returns the Python that a text begins with: `3.13-slim`.
fn leading_python(text: &str) -> Option<PythonMinor> {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit());
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let (major, rest) = text.split_once('.')?;
    format!("{major}.{}", number(rest)).parse().ok()
}

/// Returns the command line of a web server in the words, from the program on.
fn server_command(names: &[&str], words: &[String]) -> Option<String> {
    let at = names.iter().position(|name| SERVERS.contains(name))?;
    let is_installed = words[..at].iter().any(|word| word.contains("install"));
    (!is_installed).then(|| words[at..].join(" "))
}

/// Returns the application and the queues of a command that starts a Celery worker.
fn celery_worker(names: &[&str], words: &[String]) -> Option<(String, Option<String>)> {
    let at = names.iter().position(|name| *name == "celery")?;
    let arguments = &words[at..];
    if !arguments.iter().any(|word| word == "worker") {
        return None;
    }
    let value =
        |options: [&str; 2]| option_value(arguments, options).filter(|value| !value.contains('$'));
    Some((value(["-A", "--app"])?, value(["-Q", "--queues"])))
}

/// Returns the extras in `.[EXTRA,…]` that ship.
fn extras_of_tree(word: &str) -> Vec<String> {
    let Some(extras) = word.strip_prefix("./[").or_else(|| word.strip_prefix(".[")) else {
        return Vec::new();
    };
    extras
        .trim_end_matches(']')
        .split(',')
        .filter(|name| is_shipped(name))
        .map(str::to_owned)
        .collect()
}

/// Returns the value of an option: `-Q a,b`, `--queues a,b`, or `--queues=a,b`.
fn option_value(words: &[String], options: [&str; 2]) -> Option<String> {
    words
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.split_once('=') {
            Some((option, value)) => options.contains(&option).then(|| value.to_owned()),
            None => words
                .get(at + 1)
                .filter(|_| options.contains(&word.as_str()))
                .cloned(),
        })
}

/// Returns whether a name has a word for developers, tests, or documentation.
pub(super) fn is_for_developers(name: &str) -> bool {
    name.to_lowercase()
        .split(['.', '-', '_', '/'])
        .any(|word| FOR_DEVELOPERS.contains(&word))
}

fn is_shipped(name: &str) -> bool {
    !name.is_empty() && !name.contains('$') && !is_for_developers(name)
}

fn name_of(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

fn is_place(entry: &DirEntry) -> bool {
    entry.depth() > 1 || !entry.file_type().is_dir() || PLACES.contains(&name_of(entry).as_str())
}

/// Returns whether a file may describe how the application is installed and started.
fn describes(entry: &DirEntry) -> bool {
    let name = name_of(entry).to_lowercase();
    let is_compose = (name.starts_with("docker-compose") || name.starts_with("compose"))
        && (name.ends_with(".yml") || name.ends_with(".yaml"));
    let is_image = name.contains("dockerfile") && !name.ends_with(".dockerignore")
        || name.contains("containerfile");
    let is_started = name == "procfile" || name.ends_with(".service");
    let is_script =
        name.ends_with(".sh") || name == "run" && entry.depth() > 1 || name.contains("entrypoint");
    entry.file_type().is_file()
        && (is_compose || is_image || is_started || is_script)
        && entry
            .metadata()
            .is_ok_and(|metadata| metadata.len() <= LARGEST)
}

/// Returns the commands in a text, split into words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let parts = lines.flat_map(|line| line.split("&&").flat_map(|part| part.split([';', '|'])));
    parts.map(words).filter(|words| !words.is_empty()).collect()
}

/// Splits a command, or a list in JSON, into words without their quotes.
fn words(command: &str) -> Vec<String> {
    let is_list = command.contains("[\"") || command.contains("['") || command.contains("[ \"");
    let plain = if is_list {
        command.replace(['[', ']', ','], " ")
    } else {
        command.to_owned()
    };
    let bare = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    plain
        .split_whitespace()
        .map(bare)
        .filter(|word| !word.is_empty())
        .collect()
}

/// Returns the requirements file in the tree for a path in an image that ends in the same way.
fn requirements_file(root: &Path, file: &str) -> Option<String> {
    if file.contains('$') || is_for_developers(file) {
        return None;
    }
    let parts = Path::new(file)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    let parts: Vec<Component> = parts.collect();
    let ends = (0..parts.len()).map(|from| parts[from..].iter().collect::<PathBuf>());
    let found = ends.into_iter().find(|path| root.join(path).is_file())?;
    Some(found.display().to_string())
}
