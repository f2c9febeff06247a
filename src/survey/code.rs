//! The lines of an application's modules that make an object which a server or a worker is given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::Result;

use super::{ASIDE, pins};

/// How deep modules are looked for, and how large they may be: application objects are near the top, and hand-written.
const DEEPEST: usize = 6;
const LARGEST: u64 = 512 * 1024;

/// What an application is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    /// Django.
    Django,
    /// Flask.
    Flask,
    /// FastAPI, or Starlette without it.
    FastApi,
    /// Pyramid.
    Pyramid,
    /// Pecan.
    Pecan,
    /// Celery without a web application.
    Celery,
    /// None that is known.
    Plain,
}

impl Framework {
    /// How people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Django => "Django",
            Self::Flask => "Flask",
            Self::FastApi => "FastAPI",
            Self::Pyramid => "Pyramid",
            Self::Pecan => "Pecan",
            Self::Celery => "Celery",
            Self::Plain => "Python",
        }
    }
}

/// How a server calls an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// PEP 3333.
    Wsgi,
    /// <https://asgi.readthedocs.io>.
    Asgi,
}

/// Whether the name is the application or makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factory {
    /// It is the application.
    No,
    /// It is a function without arguments that returns it.
    Yes,
}

/// What a web server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Web {
    /// An object of a module.
    Object {
        /// E.g. `shop.wsgi`.
        module: String,
        /// E.g. `application`.
        name: String,
        /// What `name` is.
        factory: Factory,
        /// How it is called.
        gateway: Gateway,
    },
    /// A configuration of Paste Deployment, which `pserve` reads; relative to the tree.
    Paste(String),
    /// A configuration of Pecan's, which `pecan serve` reads; relative to the tree.
    Pecan(String),
}

/// A Celery application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// What `celery -A` takes.
    pub app: String,
    /// Whether it has a schedule, so that `celery beat` is of use.
    pub scheduled: bool,
}

/// An object that a module makes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    kind: Kind,
    module: String,
    /// Relative to the tree.
    file: PathBuf,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Django(Gateway),
    /// `application` or `app` of a wsgi.py or asgi.py.
    Entry(Gateway),
    Flask,
    FlaskFactory,
    FastApi,
    Celery,
}

/// What the modules of a tree show.
#[derive(Debug, Default)]
pub(super) struct Code {
    found: Vec<Found>,
    paste: Option<String>,
    pecan: Option<String>,
    has_manage: bool,
    has_schedule: bool,
    static_root: bool,
    strict_settings: bool,
}

/// Reads the modules of a tree.
pub(super) fn read(root: &Path) -> Result<Code> {
    let mut code = Code { has_manage: root.join("manage.py").is_file(), ..Code::default() };
    let walk = WalkDir::new(root).max_depth(DEEPEST).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(is_source).filter_map(Result::ok) {
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let name = entry.file_name().to_string_lossy();
        if !entry.file_type().is_file() || entry.metadata().is_ok_and(|metadata| metadata.len() > LARGEST) {
            continue;
        }
        if name.ends_with(".py") {
            code.module(path, &name, &pins::text(entry.path())?);
        } else if name.ends_with(".ini") && path.components().count() == 1 {
            code.paste_file(&name, &pins::text(entry.path())?);
        }
    }
    // The nearest to the top; entry points made for servers before all others.
    code.found.sort_by_key(|found| (found.file.components().count(), found.file.clone()));
    Ok(code)
}

fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_aside = || ASIDE.contains(&&*name) || name == "migrations" || name == "site-packages";
    entry.depth() == 0 || !(name.starts_with('.') || entry.file_type().is_dir() && is_aside())
}

impl Code {
    fn module(&mut self, path: &Path, name: &str, text: &str) {
        let Some(module) = module_name(path) else { return };
        let mut add = |kind, object: &str| {
            let (module, file, name) = (module.clone(), path.to_owned(), object.to_owned());
            self.found.push(Found { kind, module, file, name });
        };
        let entry = match name {
            "wsgi.py" => Some(Gateway::Wsgi),
            "asgi.py" => Some(Gateway::Asgi),
            _ => None,
        };
        let is_flask = text.contains("flask");
        for line in text.lines() {
            if let Some(function) = line.strip_prefix("def ").and_then(|rest| rest.split_once('(')) {
                let takes_nothing = required_arguments(function.1) == Some(0);
                if is_flask && ["create_app", "make_app", "app_factory"].contains(&function.0) && takes_nothing {
                    add(Kind::FlaskFactory, function.0);
                }
            }
            let Some((object, value)) = assignment(line) else { continue };
            match (called(value), entry) {
                ("get_wsgi_application", _) => add(Kind::Django(Gateway::Wsgi), object),
                ("get_asgi_application", _) => add(Kind::Django(Gateway::Asgi), object),
                ("Flask", _) => add(Kind::Flask, object),
                ("FastAPI" | "Starlette", _) => add(Kind::FastApi, object),
                ("Celery", _) => add(Kind::Celery, object),
                (_, Some(gateway)) if ["application", "app"].contains(&object) => add(Kind::Entry(gateway), object),
                _ => {}
            }
        }
        self.has_schedule |= text.contains("beat_schedule") || text.contains("add_periodic_task");
        self.static_root |= text.lines().any(|line| assignment(line).is_some_and(|(name, _)| name == "STATIC_ROOT"));
        let is_settings = name == "settings.py" || path.parent().is_some_and(|parent| parent.ends_with("settings"));
        self.strict_settings |=
            is_settings && ["os.environ[", "env(", "config("].iter().any(|read| text.contains(read));
        if name == "config.py" && text.contains("pecan") | text.contains("'root'") | text.contains("\"root\"") {
            let is_config = text.lines().any(|line| assignment(line).is_some_and(|(name, _)| name == "app"));
            self.pecan = self.pecan.take().or_else(|| is_config.then(|| path.display().to_string()));
        }
    }

    fn paste_file(&mut self, name: &str, text: &str) {
        let is_application = text.lines().any(|line| line.trim() == "[app:main]" || line.trim() == "[pipeline:main]");
        let better = ["production.ini"].contains(&name) || self.paste.is_none();
        if is_application && better {
            self.paste = Some(name.to_owned());
        }
    }

    /// What the application is made with, by what it requires and what its modules show.
    pub(super) fn framework(&self, requires: &BTreeSet<String>) -> Framework {
        let has = |name: &str| requires.contains(name);
        let any = |kinds: &[Kind]| self.found.iter().any(|found| kinds.contains(&found.kind));
        match () {
            () if self.has_manage || any(&[Kind::Django(Gateway::Wsgi)]) => Framework::Django,
            () if self.pecan.is_some() && has("pecan") => Framework::Pecan,
            () if self.paste.is_some() && has("pyramid") => Framework::Pyramid,
            () if any(&[Kind::FastApi]) => Framework::FastApi,
            () if any(&[Kind::Flask, Kind::FlaskFactory]) => Framework::Flask,
            () if has("django") => Framework::Django,
            () if has("pyramid") => Framework::Pyramid,
            () if has("pecan") => Framework::Pecan,
            () if has("flask") => Framework::Flask,
            () if has("fastapi") => Framework::FastApi,
            () if any(&[Kind::Celery]) => Framework::Celery,
            () => Framework::Plain,
        }
    }

    /// The object to serve, if one is certain enough.
    pub(super) fn web(&self, requires: &BTreeSet<String>) -> Option<Web> {
        if let Some(file) = &self.paste
            && requires.contains("pyramid")
        {
            return Some(Web::Paste(file.clone()));
        }
        if let Some(file) = &self.pecan
            && requires.contains("pecan")
        {
            return Some(Web::Pecan(file.clone()));
        }
        // A server that speaks the other protocol only is no use for an entry point.
        let asgi_only = ["uvicorn", "hypercorn", "daphne"].iter().any(|name| requires.contains(*name))
            && !["gunicorn", "waitress"].iter().any(|name| requires.contains(*name));
        let first = |gateway| if asgi_only { gateway == Gateway::Asgi } else { gateway == Gateway::Wsgi };
        let rank = |found: &&Found| match found.kind {
            Kind::Django(gateway) | Kind::Entry(gateway) => Some(if first(gateway) { 0 } else { 2 }),
            Kind::FastApi | Kind::Flask => Some(1),
            Kind::FlaskFactory => Some(3),
            Kind::Celery => None,
        };
        let best = self.found.iter().filter(|found| rank(found).is_some()).min_by_key(rank)?;
        let gateway = match best.kind {
            Kind::Django(gateway) | Kind::Entry(gateway) => gateway,
            Kind::FastApi => Gateway::Asgi,
            Kind::Flask | Kind::FlaskFactory | Kind::Celery => Gateway::Wsgi,
        };
        let factory = if best.kind == Kind::FlaskFactory { Factory::Yes } else { Factory::No };
        Some(Web::Object { module: best.module.clone(), name: best.name.clone(), factory, gateway })
    }

    /// The Celery application to work for.
    pub(super) fn worker(&self, requires: &BTreeSet<String>) -> Option<Worker> {
        let found = self.found.iter().find(|found| found.kind == Kind::Celery)?;
        // `celery -A package` finds package.celery:app by itself.
        let app = match found.module.strip_suffix(".celery") {
            Some(package) => package.to_owned(),
            None => format!("{}:{}", found.module, found.name),
        };
        requires.contains("celery").then_some(Worker { app, scheduled: self.has_schedule })
    }

    /// Whether `manage.py collectstatic` works without an environment.
    pub(super) fn collects_static(&self) -> bool {
        self.has_manage && self.static_root && !self.strict_settings
    }

    /// Modules at the top of the tree that have an object in them, and that a wheel of packages lacks.
    pub(super) fn loose_modules(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.found.iter().filter(|found| found.file.components().count() == 1);
        names.map(|found| found.file.display().to_string()).chain(self.paste.clone())
    }
}

/// The name that a module is imported by: below `src/`, and not `__init__`.
fn module_name(path: &Path) -> Option<String> {
    let path = path.strip_prefix("src").unwrap_or(path).with_extension("");
    let mut parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    if parts.last() == Some(&"__init__") {
        parts.pop();
    }
    let is_identifier = |part: &&str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric());
    (!parts.is_empty() && parts.iter().all(is_identifier)).then(|| parts.join("."))
}

/// `name = value` or `name: type = value` at the beginning of a line.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (left, value) = line.split_once('=')?;
    let name = left.split(':').next()?.trim_end();
    let is_name = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    (is_name && !value.starts_with('=')).then_some((name, value.trim()))
}

/// The last name of what a value calls: `Flask` of `flask.Flask(__name__)`.
fn called(value: &str) -> &str {
    let function = value.split_once('(').map_or("", |(function, _)| function);
    function.rsplit('.').next().unwrap_or_default()
}

/// How many arguments a function must be given, by what follows its opening parenthesis; `None` if the line ends before.
fn required_arguments(rest: &str) -> Option<usize> {
    let (arguments, _) = rest.rsplit_once(')')?;
    let names = arguments.split(',').map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('*'));
    Some(names.filter(|name| !name.contains('=')).count())
}
