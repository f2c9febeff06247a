//! The lines of an application's modules that make an object which a server or a worker is given.

pub(super) mod address;
mod databases;
mod expression;
mod health;
mod line;
mod python;
mod settings;
mod variables;
mod web;
mod workers;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use self::line::{assignment, bases_of, called, imported, lines_at, required_arguments};
use self::settings::{
    data_variables, demanded_variables, directory_variable, static_directory, static_root,
    static_url,
};
use self::workers::queues;
use super::{ASIDE, TOOLS, pins};

pub(super) use self::databases::Database;
pub use self::python::Literal;
pub use self::variables::{FoundSetting, SettingKind};
pub(crate) use self::variables::{fitted, is_address, is_secret};
pub(super) use self::writes::WrittenPath;

/// How deep modules are looked for, and how large they may be: application objects are near the
/// top, and hand-written.
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
pub enum WebApp {
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
    /// A configuration of Paste Deployment.
    Paste {
        /// Relative to the tree.
        file: String,
        /// Whether it says which server `pserve` starts.
        has_server: bool,
    },
    /// A configuration of Pecan's, which `pecan serve` reads; relative to the tree.
    Pecan(String),
}

/// A program that works beside the web application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// What its service is called.
    pub name: String,
    /// The command.
    pub exec: String,
}

impl Worker {
    fn new(name: &str, exec: String) -> Self {
        Self {
            name: name.to_owned(),
            exec,
        }
    }
}

/// An object that a module makes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoundObject {
    kind: ObjectKind,
    /// Relative to the tree.
    file: PathBuf,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObjectKind {
    Django(Gateway),
    /// `application` or `app` of a wsgi.py or asgi.py.
    Entry(Gateway),
    /// Made by a class of a framework, or by one that is derived from it.
    Made(Gateway),
    /// What a factory has returned.
    Returned,
    Factory(Gateway),
    Celery,
    /// A module for workers that imports the object from another one.
    CeleryEntry,
    Huey,
}

/// `name = function(` at the beginning of a line.
#[derive(Debug)]
struct Assigned {
    file: PathBuf,
    name: String,
    called: String,
}

/// A file of Python.
struct SourceModule<'a> {
    /// Relative to the tree.
    path: &'a Path,
    /// The file's name.
    name: &'a str,
    text: &'a str,
}

impl SourceModule<'_> {
    fn has(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The protocol of the servers that look for a module of this name.
    fn entry(&self) -> Option<Gateway> {
        match self.name {
            "wsgi.py" => Some(Gateway::Wsgi),
            "asgi.py" => Some(Gateway::Asgi),
            _ => None,
        }
    }

    /// Whether it is a tool for developers.
    fn is_tool(&self) -> bool {
        TOOLS.contains(&self.name)
    }
}

/// A function that returns an application, and what its module is about.
const FACTORIES: [&str; 9] = [
    "create_app",
    "make_app",
    "app_factory",
    "build_app",
    "get_app",
    "create_application",
    "make_application",
    "get_application",
    "application_factory",
];

/// How modules begin that start a server by themselves, and none for developers; and the
/// distribution that has it.
const SERVERS: [(&str, &str); 7] = [
    ("from tornado.httpserver import", "tornado"),
    ("from gevent.pywsgi import", "gevent"),
    ("from eventlet import wsgi", "eventlet"),
    ("from cheroot", "cheroot"),
    ("from cherrypy", "cherrypy"),
    ("from waitress import", "waitress"),
    ("import waitress", "waitress"),
];

/// What the modules of a tree show.
#[derive(Debug, Default)]
pub(super) struct CodeFacts {
    found: Vec<FoundObject>,
    assigned: Vec<Assigned>,
    /// Classes that are derived from an application's, by name.
    classes: BTreeMap<String, Gateway>,
    paste: Option<String>,
    /// Paste configurations with a server.
    paste_servers: BTreeSet<String>,
    development_ini: Option<String>,
    pecan: Option<String>,
    development_pecan: Option<String>,
    /// The directory of Django's manage.py, relative; empty for the top.
    manage: Option<PathBuf>,
    /// The settings that manage.py takes by itself, and those of the entry points for servers.
    manage_settings: Option<String>,
    served_settings: Option<String>,
    /// Modules that hold Django's settings.
    settings_files: BTreeSet<PathBuf>,
    has_schedule: bool,
    has_djhuey: bool,
    /// Why collectstatic can't be run at a build, or `Ok` if it can; `None` if nothing sets
    /// STATIC_ROOT.
    static_root: Option<Result<(), String>>,
    /// The directory of the tree that STATIC_ROOT names, if it names one in a plain way.
    static_directory: Option<PathBuf>,
    static_variable: Option<String>,
    /// The variable that says where uploaded files are, if nothing in its place lies in the tree.
    media_variable: Option<String>,
    /// STATIC_URL, if it is a path.
    static_url: Option<String>,
    /// Whether the settings say `COMPRESS_OFFLINE`: pages then work only when `compress` has run.
    compresses: bool,
    /// Whether the settings keep a cache in the database.
    caches_in_database: bool,
    /// Variables that settings can't do without, and a value that suffices for a build.
    variables: BTreeMap<String, &'static str>,
    /// Directories that are packages.
    packages: BTreeSet<PathBuf>,
    /// The modules that each file imports.
    imports: BTreeMap<PathBuf, BTreeSet<String>>,
    /// What `WSGI_APPLICATION` and `ASGI_APPLICATION` name.
    chosen: Vec<(String, Gateway)>,
    actors: BTreeSet<PathBuf>,
    arq: Vec<PathBuf>,
    queues: BTreeSet<String>,
    /// Whether something is put into a queue of rq's.
    enqueues: bool,
    loops: Vec<String>,
    /// Variables that say where data lies.
    data_variables: BTreeSet<String>,
    /// Variables that the application's modules read.
    settings: Vec<FoundSetting>,
    /// Names of files and directories at the top that some module has in a string.
    mentioned: BTreeSet<String>,
    /// Whether one of them is opened by its bare name, from the working directory.
    opens_from_here: bool,
    /// Whether modules import from directories of tests.
    imports_tests: bool,
    alembic: Option<Alembic>,
    /// The processes of a Procfile.
    processes: Vec<(String, String)>,
    /// Modules that start a server by themselves, and the distributions that they do it with.
    servers: BTreeMap<PathBuf, BTreeSet<&'static str>>,
    /// Modules at the top that do something when they are run.
    programs: BTreeSet<String>,
    sources: writes::ModuleSources,
    /// What the deployment starts Celery's workers with.
    started_celery: Option<(String, Option<String>)>,
    /// Databases that the code names.
    databases: BTreeSet<Database>,
    health_routes: Vec<health::HealthRoute>,
    /// What `ROOT_URLCONF` names.
    root_urls: BTreeSet<String>,
    /// The `ALLOWED_HOSTS` of each module of settings.
    allowed_hosts: Vec<Option<BTreeSet<String>>>,
}

/// Migrations that alembic runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alembic {
    /// alembic.ini, relative.
    pub(super) file: PathBuf,
    /// Whether `script_location` counts from the working directory.
    pub(super) needs_directory: bool,
    /// The directory of the scripts, if it is one beside the file.
    pub(super) scripts: Option<String>,
}

/// Reads the modules of a tree.
pub(super) fn read(root: &Path) -> pkgapp_core::error::Result<CodeFacts> {
    let mut code = CodeFacts::default();
    let top: Vec<String> = super::listed(root)
        .into_iter()
        .map(|(name, _)| name)
        .collect();

    let walk = WalkDir::new(root)
        .max_depth(DEEPEST)
        .sort_by_file_name()
        .into_iter();
    for entry in walk.filter_entry(is_source).filter_map(Result::ok) {
        if is_small_file(&entry) {
            code.read_file(root, &entry, &top)?;
        }
    }

    let procfile = root.join("Procfile");
    if procfile.is_file() {
        code.processes = processes(&pins::text(&procfile)?);
    }

    code.resolve();
    Ok(code)
}

/// Whether an entry is a file that is not too large to be read.
fn is_small_file(entry: &DirEntry) -> bool {
    entry.file_type().is_file()
        && entry
            .metadata()
            .map_or(true, |metadata| metadata.len() <= LARGEST)
}

/// The processes of a Procfile, with their commands.
fn processes(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, line)| (name.trim().to_owned(), line.trim().to_owned()))
        .collect()
}

/// A module of tests; [`ASIDE`] has their directories.
pub(super) fn is_test(name: &str) -> bool {
    name.starts_with("test_")
        || name.ends_with("_test.py")
        || ["tests.py", "conftest.py"].contains(&name)
}

fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_migrations = || name == "migrations" && !entry.path().join("alembic.ini").is_file();
    let is_aside = || ASIDE.contains(&&*name) || is_migrations() || name == "site-packages";
    let is_directory = entry.file_type().is_dir();
    entry.depth() == 0
        || !(name.starts_with('.')
            || is_directory && (is_aside() || super::is_environment(entry.path())))
}

impl CodeFacts {
    /// Reads a module or a configuration file.
    fn read_file(
        &mut self,
        root: &Path,
        entry: &DirEntry,
        top: &[String],
    ) -> pkgapp_core::error::Result<()> {
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let name = entry.file_name().to_string_lossy();
        if name.ends_with(".py") && !is_test(&name) {
            let module = SourceModule {
                path,
                name: &name,
                text: &pins::text(entry.path())?,
            };
            self.read_module(&module, top);
        } else if name == "alembic.ini" {
            self.alembic_file(root, path, &pins::text(entry.path())?);
        } else if name.ends_with(".ini") {
            self.paste_file(path, &name, &pins::text(entry.path())?);
        }
        Ok(())
    }

    fn read_module(&mut self, module: &SourceModule<'_>, top: &[String]) {
        let gateway = about(module.text);
        for (at, line) in lines_at(module.text) {
            if let Some((function, rest)) = definition(line) {
                let arguments = &module.text[at + line.len() - rest.len()..];
                let kind = function_kind(module, line, function, arguments, gateway);
                if let Some(kind) = kind {
                    self.add(module.path, kind, function);
                }
            } else if line.starts_with("class ") {
                self.class(module.path, line);
            } else {
                self.statement(module, line);
            }
        }

        self.imports.entry(module.path.to_owned()).or_default();
        self.note_django(module);
        self.note_pecan(module);
        self.note_queues(module);
        self.note_servers(module);
        self.health_routes.extend(health::routes(module));
        self.note_data(module);
        self.note_names_at_the_top(module, top);
    }

    fn add(&mut self, path: &Path, kind: ObjectKind, object: &str) {
        self.found.push(FoundObject {
            kind,
            file: path.to_owned(),
            name: object.to_owned(),
        });
    }

    /// Reads the first line of a class.
    fn class(&mut self, path: &Path, line: &str) {
        let bases = bases_of(line);
        let head = line.trim_start_matches("class ");
        let class = head.split_once(['(', ':']).map_or(head, |(class, _)| class);
        let gateway = bases.iter().copied().find_map(framework_class);
        self.classes
            .extend(gateway.map(|gateway| (class.to_owned(), gateway)));
        if class == "WorkerSettings" || bases.contains(&"WorkerSettings") {
            self.arq.push(path.to_owned());
        }
    }

    /// Reads a line that begins neither a function nor a class: imports and assignments.
    fn statement(&mut self, module: &SourceModule<'_>, line: &str) {
        if module.name == "celery_worker.py" {
            for object in imported_celery(line) {
                self.add(module.path, ObjectKind::CeleryEntry, object);
            }
        }
        if let Some(imported) = imported(line) {
            self.imports
                .entry(module.path.to_owned())
                .or_default()
                .insert(imported.to_owned());
        }
        if let Some((object, value)) = assignment(line) {
            self.setting(module, object, value);
            self.assign(module, object, called(value));
        } else if let Some((object, value)) = assignment(line.trim_start()) {
            self.assign_under_a_condition(module, object, called(value));
        }
    }

    /// Takes an entry point's application that an `if` chooses.
    fn assign_under_a_condition(&mut self, module: &SourceModule<'_>, object: &str, called: &str) {
        let is_application = module.entry().is_some()
            && object == "application"
            && ["get_wsgi_application", "get_asgi_application"].contains(&called)
            && !module.has("def ");
        let is_known = |found: &FoundObject| found.file == module.path && found.name == object;
        if is_application && !self.found.iter().any(is_known) {
            self.assign(module, object, called);
        }
    }

    /// Reads an assignment as one of Django's settings.
    fn setting(&mut self, module: &SourceModule<'_>, name: &str, value: &str) {
        let target = || value.trim_matches(['"', '\'']).to_owned();
        match name {
            "WSGI_APPLICATION" => self.chosen.push((target(), Gateway::Wsgi)),
            "ASGI_APPLICATION" => self.chosen.push((target(), Gateway::Asgi)),
            "ROOT_URLCONF" => _ = self.root_urls.insert(target()),
            "ALLOWED_HOSTS" => self.allowed_hosts.push(health::allowed_hosts(value)),
            "STATIC_ROOT" => {
                self.static_root = Some(static_root(value, module.path, module.text));
                self.static_directory = static_directory(value, module.path, module.text);
                // Settings for production override those that all have.
                self.static_variable = directory_variable(value).or(self.static_variable.take());
            }
            "MEDIA_ROOT" => {
                self.media_variable = directory_variable(value).or(self.media_variable.take());
            }
            "STATIC_URL" => self.static_url = static_url(value),
            _ => {}
        }
    }

    /// Takes the result of a call as an object of a kind, or keeps it until all classes are known.
    fn assign(&mut self, module: &SourceModule<'_>, object: &str, called: &str) {
        let is_entry = ["application", "app"].contains(&object);
        let kind = match (called, module.entry()) {
            ("get_wsgi_application", _) => ObjectKind::Django(Gateway::Wsgi),
            ("get_asgi_application", _) => ObjectKind::Django(Gateway::Asgi),
            (_, Some(gateway)) if is_entry => ObjectKind::Entry(gateway),
            ("ProtocolTypeRouter", _) => ObjectKind::Django(Gateway::Asgi),
            ("Celery", _) => ObjectKind::Celery,
            (class, _) if class.ends_with("Huey") => ObjectKind::Huey,
            ("", _) => return,
            _ => {
                self.assigned.push(Assigned {
                    file: module.path.to_owned(),
                    name: object.to_owned(),
                    called: called.to_owned(),
                });
                return;
            }
        };
        self.add(module.path, kind, object);
    }

    fn note_django(&mut self, module: &SourceModule<'_>) {
        let directory = module.directory();
        match module.name {
            "manage.py" => {
                let nearer = |known: &PathBuf| depth(directory) < depth(known);
                if module.has("django") && self.manage.as_ref().is_none_or(nearer) {
                    self.manage = Some(directory.to_owned());
                }
                if let Some(settings) = settings_module(module.text) {
                    self.manage_settings = Some(settings);
                }
            }
            "wsgi.py" | "asgi.py" if self.served_settings.is_none() => {
                self.served_settings = settings_module(module.text);
            }
            _ => {}
        }
        if module.name == "settings.py" || directory.ends_with("settings") {
            self.settings_files.insert(module.path.to_owned());
            self.variables.extend(demanded_variables(module.text));
            self.compresses |= module.has("COMPRESS_OFFLINE");
            self.caches_in_database |= module.has("django.core.cache.backends.db.DatabaseCache");
        }
        if loops_for_ever(module) {
            let command = module.name.strip_suffix(".py").unwrap_or(module.name);
            let is_asked = module.has_any(&["\"--loop\"", "'--loop'"]);
            let option = if is_asked { " --loop" } else { "" };
            self.loops.push(format!("{command}{option}"));
        }
    }

    fn note_pecan(&mut self, module: &SourceModule<'_>) {
        let has_root = module.has_any(&["'root'", "\"root\""]);
        let assigns_app = || {
            let mut assigned = module.text.lines().filter_map(assignment);
            assigned.any(|(name, _)| name == "app")
        };
        let file = || module.path.display().to_string();
        match module.name {
            "config.py" if self.pecan.is_none() && (has_root || module.has("pecan")) => {
                self.pecan = assigns_app().then(file);
            }
            "dev.py" if has_root && module.has("'modules'") => {
                self.development_pecan.get_or_insert_with(file);
            }
            _ => {}
        }
    }

    fn note_queues(&mut self, module: &SourceModule<'_>) {
        self.has_schedule |= module.has_any(&[
            "beat_schedule",
            "BEAT_SCHEDULE",
            "add_periodic_task",
            "CELERYBEAT",
        ]);
        self.has_djhuey |= module.has("huey.contrib.djhuey");
        if module.has("@dramatiq.actor") || module.has("import dramatiq") && module.has("@actor") {
            self.actors.insert(module.path.to_owned());
        }
        self.queues.extend(queues(module.text));
        self.enqueues |= module.has_any(&[
            ".enqueue(",
            ".enqueue_in(",
            ".enqueue_at(",
            ".enqueue_call(",
            "rq.decorators",
            "@job",
        ]);
    }

    fn note_servers(&mut self, module: &SourceModule<'_>) {
        let servers: BTreeSet<_> = SERVERS
            .iter()
            .filter(|(line, _)| module.has(line))
            .map(|(_, name)| *name)
            .collect();
        if !servers.is_empty() {
            self.servers.insert(module.path.to_owned(), servers);
        }
        let is_run = module.has_any(&["if __name__ == '__main__'", "if __name__ == \"__main__\""]);
        if depth(module.path) == 1 && is_run && !module.is_tool() && module.name != "manage.py" {
            self.programs.insert(module.name.to_owned());
        }
    }

    fn note_data(&mut self, module: &SourceModule<'_>) {
        self.data_variables.extend(data_variables(module.text));
        if writes::is_of_the_application(module.path) {
            self.databases.extend(databases::named(module.text));
            if !module.is_tool() {
                self.settings
                    .extend(variables::read(module.path, module.text));
            }
        }
        self.sources.keep(module.path, module.text);
    }

    /// Notes the package that a module makes of its directory, and the names at the top of the tree
    /// that it has in a string.
    fn note_names_at_the_top(&mut self, module: &SourceModule<'_>, top: &[String]) {
        if module.name == "__init__.py" {
            self.packages.insert(module.directory().to_owned());
        }
        if module.is_tool() {
            return;
        }
        self.imports_tests |= module.text.lines().any(imports_tests);
        self.opens_from_here |= writes::is_of_the_application(module.path)
            && (names_its_directory(module)
                || top.iter().any(|name| opens_from_here(module.text, name)));
        for name in top {
            if !self.mentioned.contains(name)
                && (mentions(module.text, name) || opens(module.text, name))
            {
                self.mentioned.insert(name.clone());
            }
        }
    }

    fn paste_file(&mut self, path: &Path, name: &str, text: &str) {
        let heads = ["[app:main]", "[pipeline:main]", "[composite:main]"];
        if !text.lines().any(|line| heads.contains(&line.trim())) {
            return;
        }
        let file = path.display().to_string();
        if text.lines().any(|line| line.trim() == "[server:main]") {
            self.paste_servers.insert(file.clone());
        }
        if ["dev", "test", "local", "example"]
            .iter()
            .any(|word| name.contains(word))
        {
            self.development_ini.get_or_insert(file);
        } else if name == "production.ini"
            && !self
                .paste
                .as_ref()
                .is_some_and(|known| known.ends_with(name))
            || self.paste.is_none()
        {
            self.paste = Some(file);
        }
    }

    fn alembic_file(&mut self, root: &Path, path: &Path, text: &str) {
        let nearer = |known: &Alembic| depth(path) < depth(&known.file);
        if !self.alembic.as_ref().is_none_or(nearer) {
            return;
        }
        let location = script_location(text);
        self.alembic = Some(Alembic {
            file: path.to_owned(),
            // A module (`shop:migrations`) and a place beside the file are found from anywhere.
            needs_directory: !location.contains("%(here)s") && !location.contains(':'),
            scripts: script_directory(root, path, location),
        });
    }

    /// Tells what assignments mean, when all classes and factories are known.
    fn resolve(&mut self) {
        let factories: BTreeMap<String, Gateway> = self
            .found
            .iter()
            .filter_map(|found| match found.kind {
                ObjectKind::Factory(gateway) => Some((found.name.clone(), gateway)),
                _ => None,
            })
            .collect();
        for Assigned { file, name, called } in std::mem::take(&mut self.assigned) {
            let class = framework_class(&called).or_else(|| self.classes.get(&called).copied());
            let kind = match class {
                Some(gateway) => ObjectKind::Made(gateway),
                None if factories.contains_key(&called) || FACTORIES.contains(&called.as_str()) => {
                    ObjectKind::Returned
                }
                None => continue,
            };
            self.found.push(FoundObject { kind, file, name });
        }
        // The nearest to the top first.
        self.found
            .sort_by_key(|found| (depth(&found.file), found.file.clone()));
        let is_inside = |directory: &PathBuf| self.is_inside_a_package(directory);
        if self.manage.as_ref().is_some_and(is_inside) {
            self.manage = None;
        }
    }

    /// Whether a manage.py is a package's, which a console script starts: settings beside it are
    /// imported from there, whatever the directory has besides.
    fn is_inside_a_package(&self, directory: &Path) -> bool {
        let settings = self.manage_settings.iter();
        let mut files = settings.flat_map(|module| {
            let path = directory.join(module.replace('.', "/"));
            [path.with_extension("py"), path.join("__init__.py")]
        });
        self.packages.contains(directory)
            && !directory.as_os_str().is_empty()
            && !files.any(|file| self.settings_files.contains(&file))
    }

    /// What the application is made with, by what it requires and what its modules show.
    pub(super) fn framework(&self, requires: &BTreeSet<String>) -> Framework {
        let is_celery = |found: &FoundObject| found.kind == ObjectKind::Celery;
        self.shown_framework(requires)
            .or_else(|| required_framework(requires))
            .or_else(|| {
                self.found
                    .iter()
                    .any(is_celery)
                    .then_some(Framework::Celery)
            })
            .unwrap_or(Framework::Plain)
    }

    /// The framework that the files of the tree show.
    fn shown_framework(&self, requires: &BTreeSet<String>) -> Option<Framework> {
        let has = |name: &str| requires.contains(name);
        let any = |is: fn(ObjectKind) -> bool| self.found.iter().any(|found| is(found.kind));
        let makes = |gateway| {
            self.found.iter().any(|found| {
                found.kind == ObjectKind::Made(gateway)
                    || found.kind == ObjectKind::Factory(gateway)
            })
        };
        if self.manage.is_some() || any(|kind| matches!(kind, ObjectKind::Django(_))) {
            Some(Framework::Django)
        } else if self.pecan.is_some() && has("pecan") {
            Some(Framework::Pecan)
        } else if self.has_paste() && has("pyramid") {
            Some(Framework::Pyramid)
        } else if makes(Gateway::Asgi) {
            Some(Framework::FastApi)
        } else if makes(Gateway::Wsgi) {
            Some(Framework::Flask)
        } else {
            None
        }
    }

    fn has_paste(&self) -> bool {
        self.paste.is_some() || self.development_ini.is_some()
    }

    /// A configuration of Paste Deployment for developers, where there is none for servers.
    pub(super) fn only_for_developers(&self) -> Option<&str> {
        self.development_ini
            .as_deref()
            .filter(|_| self.paste.is_none())
    }

    /// A configuration of Pecan's for developers, where there is none for servers.
    pub(super) fn pecan_for_developers(&self) -> Option<&str> {
        self.development_pecan
            .as_deref()
            .filter(|_| self.pecan.is_none())
    }

    /// manage.py as it lies in a release.
    pub(super) fn manage_file(&self) -> Option<String> {
        self.manage.as_ref().map(|directory| {
            Path::new("app")
                .join(directory)
                .join("manage.py")
                .display()
                .to_string()
        })
    }

    /// Whether modules that are no tests import from directories of tests.
    pub(super) fn imports_tests(&self) -> bool {
        self.imports_tests
    }

    /// A command of manage.py.
    pub(super) fn manage_command(&self, arguments: &str) -> Option<String> {
        Some(format!("python {} {arguments}", self.manage_file()?))
    }

    /// The directory in the release that processes run in: the top of the tree if files are opened
    /// or written from there, and that of manage.py in other Django projects without a wheel, whose
    /// developers run it there.
    pub(super) fn working_directory(&self, writes_there: bool, is_wheel: bool) -> Option<String> {
        let directory = if self.opens_from_here || writes_there {
            Path::new("")
        } else {
            self.manage.as_deref().filter(|_| !is_wheel)?
        };
        let directory = Path::new("app").join(directory);
        Some(directory.display().to_string().trim_end_matches('/').into())
    }

    /// The settings that migrations need to be told: manage.py takes those for developers, and
    /// servers take others.
    pub(super) fn other_settings(&self) -> Option<&str> {
        let (manage, served) = (
            self.manage_settings.as_deref()?,
            self.served_settings.as_deref()?,
        );
        let last = |module: &str| {
            super::deployment::is_for_developers(module.rsplit('.').next().unwrap_or(module))
        };
        (manage != served && last(manage) && !last(served)).then_some(served)
    }

    /// The settings module that servers take, else the one that manage.py takes.
    pub(super) fn settings(&self) -> Option<&str> {
        self.served_settings
            .as_deref()
            .or(self.manage_settings.as_deref())
    }

    /// The settings module that production takes where neither manage.py nor an entry point names
    /// one, so that only the environment can, and its file.
    pub(super) fn unnamed_settings(&self) -> Option<(String, &Path)> {
        if self.manage.is_none() || self.settings().is_some() {
            return None;
        }
        let file = settings::for_production(&self.settings_files)?;
        let (module, _) = self.module_of(file)?;
        Some((module, file))
    }

    /// The file in which an object of a module was found.
    pub(super) fn file_of(&self, module: &str, name: &str) -> Option<&Path> {
        let is_it = |found: &&FoundObject| {
            found.name == name
                && self
                    .module_of(&found.file)
                    .is_some_and(|(known, _)| known == module)
        };
        self.found
            .iter()
            .find(is_it)
            .map(|found| found.file.as_path())
    }

    /// The directory of manage.py, relative; empty for the top.
    pub(super) fn manage_directory(&self) -> Option<&Path> {
        self.manage.as_deref()
    }

    /// Whether static files are to be collected; why they can't be, as far as the settings tell.
    pub(super) fn static_root(&self) -> Option<&Result<(), String>> {
        self.static_root.as_ref().filter(|_| self.manage.is_some())
    }

    /// The path of requests for static files, and the directory that they are collected in,
    /// relative to the tree.
    pub(super) fn static_files(&self) -> Option<(&str, &Path)> {
        let collects = matches!(self.static_root(), Some(Ok(()))) && self.static_variable.is_none();
        let url = self.static_url.as_deref().filter(|_| collects)?;
        Some((url, self.static_directory.as_deref()?))
    }

    /// The directory that static files are collected in, relative to the tree.
    pub(super) fn static_directory(&self) -> Option<&Path> {
        self.static_directory.as_deref()
    }

    /// The variable of the environment that says where static files are collected.
    pub(super) fn static_variable(&self) -> Option<&str> {
        self.static_variable
            .as_deref()
            .filter(|_| self.manage.is_some())
    }

    /// The variable of the environment that says where uploaded files are.
    pub(super) fn media_variable(&self) -> Option<&str> {
        self.media_variable
            .as_deref()
            .filter(|_| self.manage.is_some())
    }

    /// Whether django-compressor has to run at a build.
    pub(super) fn compresses(&self) -> bool {
        self.compresses
    }

    /// Whether Django's `createcachetable` has to run before the application does.
    pub(super) fn caches_in_database(&self) -> bool {
        self.caches_in_database
    }

    /// The variables that Django's settings demand, each with a value that suffices for a build.
    pub(super) fn variables(&self) -> &BTreeMap<String, &'static str> {
        &self.variables
    }

    /// The variables that say where the application keeps its data.
    pub(super) fn data_variables(&self) -> impl Iterator<Item = &String> {
        self.data_variables.iter()
    }

    /// The variables that the application reads, each where it is read first: modules of settings
    /// come before others.
    pub(super) fn settings_read(&self) -> Vec<FoundSetting> {
        let mut all = self.settings.clone();
        all.sort_by_key(|setting| !is_settings_module(&setting.file));
        let mut names = BTreeSet::new();
        all.retain(|setting| names.insert(setting.name.clone()));
        all
    }

    /// Whether a directory has an `__init__.py`.
    pub(super) fn is_package(&self, directory: &Path) -> bool {
        self.packages.contains(directory)
    }

    /// What the application writes to inside of the tree.
    pub(super) fn written(&self, root: &Path) -> Vec<WrittenPath> {
        self.sources.written(root)
    }

    /// Whether a build may collect static files below a directory of the tree.
    pub(super) fn may_collect_below(&self, directory: &str) -> bool {
        self.sources.may_collect_below(directory)
    }

    /// The databases that its settings name.
    pub(super) fn databases(&self) -> &BTreeSet<Database> {
        &self.databases
    }

    /// Takes the command line of a web server as one of a Procfile.
    pub(super) fn is_served_by(&mut self, command: &str) {
        self.processes.push(("web".to_owned(), command.to_owned()));
    }

    /// Whether something is there that a web server is given.
    pub(super) fn serves(&self) -> bool {
        let is_served = |kind| {
            !matches!(
                kind,
                ObjectKind::Celery | ObjectKind::CeleryEntry | ObjectKind::Huey
            )
        };
        self.manage.is_some() || self.found.iter().any(|found| is_served(found.kind))
    }

    /// Whether the application has a name as a path in a string.
    pub(super) fn has_path(&self, name: &str) -> bool {
        self.sources.mention(name)
    }

    pub(super) fn alembic(&self) -> Option<&Alembic> {
        self.alembic.as_ref()
    }

    /// Whether some module has the name of a file or directory at the top in a string.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.mentioned.contains(name)
    }

    /// Whether a module of the tree imports one of that name.
    pub(super) fn imports(&self, name: &str) -> bool {
        let top = |module: &String| module.split('.').next() == Some(name);
        self.imports.values().flatten().any(top)
    }

    /// Modules at the top of the tree that have an object in them, and that a wheel of packages
    /// lacks.
    pub(super) fn loose_modules(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.found.iter().filter(|found| depth(&found.file) == 1);
        names
            .map(|found| found.file.display().to_string())
            .chain(self.paste.clone())
    }

    /// The name that a module is imported by, and the directory that it is then imported from.
    ///
    /// Packages lead up to the first directory without `__init__.py`. That one may be a package of
    /// the newer kind; what the modules import tells.
    fn module_of(&self, file: &Path) -> Option<(String, PathBuf)> {
        let mut base = file.parent().unwrap_or(Path::new(""));
        while self.packages.contains(base) && base.parent().is_some() {
            base = base.parent().unwrap_or(Path::new(""));
        }
        // A manage.py beside `src` works on the project that is installed from there.
        let is_beside = |manage: &Path| base.starts_with(manage) && base != manage.join("src");
        if let Some(manage) = self.manage.as_deref().filter(|manage| is_beside(manage)) {
            base = manage;
        } else if base.starts_with("src") {
            base = if base == Path::new("src") || !self.is_import_root(base, file) {
                Path::new("src")
            } else {
                base
            };
        } else if base != Path::new("") && !self.is_import_root(base, file) {
            base = Path::new("");
        }
        Some((module_name(file.strip_prefix(base).ok()?)?, base.to_owned()))
    }

    fn is_import_root(&self, base: &Path, file: &Path) -> bool {
        let name = base.file_name().unwrap_or_default().to_string_lossy();
        let top = base
            .strip_prefix("src")
            .unwrap_or(base)
            .iter()
            .next()
            .unwrap_or_default()
            .to_string_lossy();
        if file.parent() == Some(base) {
            // A module beside it that it imports by its bare name.
            let imports = self.imports.get(file).into_iter().flatten();
            let mut firsts = imports.filter_map(|module| module.split('.').next());
            return firsts.any(|first| self.has_module(base, first)) && !self.imports(&name);
        }
        !self.imports(&top)
    }

    fn has_module(&self, directory: &Path, name: &str) -> bool {
        self.packages.contains(&directory.join(name))
            || self.files_have(&directory.join(format!("{name}.py")))
    }

    fn files_have(&self, file: &Path) -> bool {
        self.imports.contains_key(file) || self.found.iter().any(|found| found.file == file)
    }
}

/// Whether a module is called like one that reads variables for the others.
fn is_settings_module(path: &Path) -> bool {
    let is_it = |name: &str| ["settings", "config", "conf", "configuration"].contains(&name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
    is_it(&stem) || is_it(&parent.to_string_lossy())
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

/// The protocol of the framework that a module is about.
fn about(text: &str) -> Option<Gateway> {
    if text.contains("lask") {
        return Some(Gateway::Wsgi);
    }
    let is_asgi = ["FastAPI", "fastapi", "Starlette", "starlette"]
        .iter()
        .any(|word| text.contains(word));
    is_asgi.then_some(Gateway::Asgi)
}

/// The framework that is among the requirements.
fn required_framework(requires: &BTreeSet<String>) -> Option<Framework> {
    [
        ("django", Framework::Django),
        ("pyramid", Framework::Pyramid),
        ("pecan", Framework::Pecan),
        ("flask", Framework::Flask),
        ("fastapi", Framework::FastApi),
    ]
    .into_iter()
    .find(|(name, _)| requires.contains(*name))
    .map(|(_, framework)| framework)
}

/// The value of `script_location` in an alembic.ini; empty if there is none.
fn script_location(text: &str) -> &str {
    text.lines()
        .find_map(|line| line.trim().strip_prefix("script_location")?.split_once('='))
        .map_or("", |(_, value)| value.trim())
}

/// The directory of the scripts of an alembic.ini, relative to the tree, if it is there.
fn script_directory(root: &Path, file: &Path, location: &str) -> Option<String> {
    let parent = file.parent().unwrap_or(Path::new(""));
    let inside = location
        .trim_start_matches("%(here)s")
        .trim_start_matches(['.', '/']);

    let (directory, is_there) = if inside.is_empty() {
        // Flask-Migrate has both in one directory, and needs no word about it.
        let environment = root.join(parent).join("env.py");
        (parent.to_owned(), environment.is_file())
    } else {
        let beside = parent.join(inside);
        let is_there = root.join(&beside).is_dir();
        (beside, is_there)
    };
    let directory = directory.display().to_string();
    (is_there && !directory.is_empty()).then_some(directory)
}

/// The name of a function that a line begins, and what follows its opening parenthesis.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("async def ")
        .or_else(|| line.strip_prefix("def "))?
        .split_once('(')
}

/// The kind of object that a function makes or is: a factory, or an entry point around the
/// framework's own. `arguments` follow its opening parenthesis.
fn function_kind(
    module: &SourceModule<'_>,
    line: &str,
    function: &str,
    arguments: &str,
    gateway: Option<Gateway>,
) -> Option<ObjectKind> {
    if let Some(gateway) = gateway.filter(|_| FACTORIES.contains(&function))
        && line.starts_with("def ")
        && required_arguments(arguments) == Some(0)
    {
        return Some(ObjectKind::Factory(gateway));
    }
    let entry = module.entry().filter(|_| function == "application")?;
    let taken = match entry {
        Gateway::Wsgi => 2,
        Gateway::Asgi => 3,
    };
    (required_arguments(arguments) == Some(taken)).then_some(ObjectKind::Entry(entry))
}

/// The names of Celery applications that a line imports.
fn imported_celery(line: &str) -> impl Iterator<Item = &str> {
    let names = line
        .strip_prefix("from ")
        .and_then(|rest| rest.split_once(" import "))
        .map_or("", |(_, names)| names);
    let names = names.split_once(" #").map_or(names, |(names, _)| names);
    names
        .split(',')
        .map(str::trim)
        .filter(|name| ["celery", "celery_app"].contains(name))
}

/// Whether a module is a command of manage.py that never ends. A command that listens by itself, or
/// asks, is not started unasked.
fn loops_for_ever(module: &SourceModule<'_>) -> bool {
    module.directory().ends_with("management/commands")
        && module.has("class Command")
        && module.has_any(&["while True", "while not "])
        && module.has("sleep(")
        && !module.has_any(&["--port", "--host", "--bind", "input("])
}

/// The protocol of an application that a class makes.
fn framework_class(class: &str) -> Option<Gateway> {
    match class {
        "Flask" | "Bottle" | "APIFlask" => Some(Gateway::Wsgi),
        "FastAPI" | "Starlette" | "Quart" | "Litestar" | "Sanic" => Some(Gateway::Asgi),
        _ => None,
    }
}

/// Whether a text has a name at the top of the tree in a string: a file alone, a directory only as
/// part of a path.
fn mentions(text: &str, name: &str) -> bool {
    let is_file = name.contains('.');
    let quoted = |line: &str| {
        ['"', '\'']
            .iter()
            .any(|quote| line.contains(&format!("{quote}{name}{quote}")))
    };
    let begins = |line: &str| {
        ['"', '\'']
            .iter()
            .any(|quote| line.contains(&format!("{quote}{name}/")))
    };
    let is_path = |line: &str| {
        let lower = line.to_lowercase();
        ["base_dir", "path", "root", "dir", "folder", "__file__"]
            .iter()
            .any(|word| lower.contains(word))
    };
    text.contains(name)
        && text
            .lines()
            .any(|line| quoted(line) && (is_file || is_path(line)) || begins(line) && is_path(line))
}

/// Whether a text opens a file at the top by its bare name: `open("VERSION")`.
pub(super) fn opens(text: &str, name: &str) -> bool {
    ['"', '\''].iter().any(|quote| {
        let path = format!("{quote}{name}{quote}");
        ["open(", "Path(", "read_text(", "dotenv(", "join(BASE_DIR, "]
            .iter()
            .any(|call| text.contains(&format!("{call}{path}")))
    })
}

/// The module after `setdefault("DJANGO_SETTINGS_MODULE",`.
fn settings_module(text: &str) -> Option<String> {
    let rest = text
        .split_once("DJANGO_SETTINGS_MODULE")?
        .1
        .trim_start_matches(['"', '\''])
        .trim_start();
    let value = rest.strip_prefix(',')?.trim_start();
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let module = value[1..].split_once(quote)?.0;
    module
        .chars()
        .all(|c| c == '_' || c == '.' || c.is_ascii_alphanumeric())
        .then(|| module.to_owned())
}

/// Whether a module that opens files names one beside it by its path from the top: `core/data/a.csv`
/// in `core/data/load.py`.
fn names_its_directory(module: &SourceModule<'_>) -> bool {
    let Some(directory) = module.directory().to_str().filter(|text| !text.is_empty()) else {
        return false;
    };
    let starts = [format!("\"{directory}/"), format!("'{directory}/")];
    let is_named = |line: &str| {
        starts.iter().any(|start| line.contains(start.as_str()))
            && !["join(", " / ", "import "]
                .iter()
                .any(|word| line.contains(word))
    };
    module.has("open(") && module.text.lines().any(is_named)
}

/// Whether a line imports from a directory of tests: `from ..account.tests.fixtures import user`.
fn imports_tests(line: &str) -> bool {
    let Some(rest) = line.trim_start().strip_prefix("from ") else {
        return false;
    };
    let module = rest.split(' ').next().unwrap_or(rest);
    module.split('.').skip(1).any(|part| part == "tests")
}

/// Whether a text opens a file at the top, or one in a directory there, from the working directory:
/// `open("VERSION")`.
fn opens_from_here(text: &str, name: &str) -> bool {
    let calls = ['"', '\''].iter().flat_map(|quote| {
        [
            format!("open({quote}{name}{quote}"),
            format!("open({quote}{name}/"),
        ]
    });
    let is_call =
        |at: usize| !text[..at].ends_with(|c: char| c == '.' || c == '_' || c.is_alphanumeric());
    calls
        .into_iter()
        .any(|call| text.match_indices(&call).any(|(at, _)| is_call(at)))
}

/// The name that a module is imported by: not `__init__`.
fn module_name(path: &Path) -> Option<String> {
    let path = path.with_extension("");
    let mut parts: Vec<&str> = path
        .iter()
        .map(|part| part.to_str())
        .collect::<Option<_>>()?;
    if parts.last() == Some(&"__init__") {
        parts.pop();
    }
    let is_identifier =
        |part: &&str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric());
    (!parts.is_empty() && parts.iter().all(is_identifier)).then(|| parts.join("."))
}
