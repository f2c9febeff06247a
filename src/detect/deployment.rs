//! What a project's own Dockerfile, compose files, Procfile and units say of how it runs: what they
//! install of it, and which server they start.
//!
//! Shell is read as far as words go. What a variable decides is left out, and so are files for
//! developers and tests.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::pins;

/// Directories at the top that may describe a deployment.
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

/// How deep they are searched, how many files count, and how large one may be.
const DEEPEST: usize = 8;
const MOST_FILES: usize = 300;
const LARGEST: u64 = 128 * 1024;

/// Words in names of files, extras and groups that are for developers and tests only.
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

/// Programs that serve an application which their command line names.
const SERVERS: [&str; 7] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "uwsgi",
];

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct DeploymentFiles {
    /// Extras of the project that are installed, as they are spelled.
    pub(super) extras: BTreeSet<String>,
    /// Whether all of them are.
    pub(super) all_extras: bool,
    /// Dependency groups that are installed.
    pub(super) groups: BTreeSet<String>,
    /// Requirements files that are installed, relative to the tree, in their order.
    pub(super) requirements: Vec<String>,
    /// Command lines of web servers.
    pub(super) servers: Vec<String>,
    /// What Celery's workers are started with: the application, and the queues if they are named.
    pub(super) celery: Option<(String, Option<String>)>,
}

impl DeploymentFiles {
    /// Reads the files of a tree; what can't be read says nothing.
    pub(super) fn read(root: &Path) -> Self {
        let mut deployment = Self::default();
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

    /// `pip install -r FILE`, `.[EXTRA,…]`, `--group NAME`.
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

    /// `uv sync --extra NAME`, `poetry install -E NAME --with GROUP`, `pdm sync -G GROUP`.
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

/// The command line of a web server, from its program on, if the words have one.
fn server_command(names: &[&str], words: &[String]) -> Option<String> {
    let at = names.iter().position(|name| SERVERS.contains(name))?;
    let is_installed = words[..at].iter().any(|word| word.contains("install"));
    (!is_installed).then(|| words[at..].join(" "))
}

/// The application and the queues of a command that starts a worker of Celery's.
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

/// The extras of `.[EXTRA,…]` that ship.
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

/// The value of an option: `-Q a,b`, `--queues a,b`, `--queues=a,b`.
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

/// Whether a name has a word that means developers, tests or documentation.
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

/// Whether a file may describe how the application is installed and started.
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

/// The commands in a text, as words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let parts = lines.flat_map(|line| line.split("&&").flat_map(|part| part.split([';', '|'])));
    parts.map(words).filter(|words| !words.is_empty()).collect()
}

/// The words of a command, without the quotes around them; those of a list in JSON, too.
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

/// A requirements file of the tree, where the path in an image ends like it.
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
