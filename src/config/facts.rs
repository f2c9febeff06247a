//! Facts about a project, which recipes build on. `pkgapp-detect` finds them by reading the tree;
//! nothing is run.

use std::collections::{BTreeMap, BTreeSet};

use pkgapp_core::error::Location;

/// The type of a fact or of a recipe's parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactType {
    /// Any text on one line.
    String,
    /// The name of a module, which may be followed by `:` and the name of an object in it.
    Module,
    /// A relative path of the project.
    Path,
    /// Yes or no.
    Boolean,
    /// Several values.
    List,
    /// Names with texts.
    Table,
}

/// A closed list of the facts: name, type, and description.
pub const FACTS: [(&str, FactType, &str); 39] = [
    ("wsgi", FactType::Module, "the WSGI application"),
    (
        "wsgi-factory",
        FactType::Module,
        "the function that makes the WSGI application",
    ),
    ("asgi", FactType::Module, "the ASGI application"),
    (
        "asgi-factory",
        FactType::Module,
        "the function that makes the ASGI application",
    ),
    (
        "paste-ini",
        FactType::Path,
        "the configuration file of Paste Deployment",
    ),
    (
        "paste-server",
        FactType::Boolean,
        "whether that file configures a server",
    ),
    (
        "pecan-config",
        FactType::Path,
        "the configuration file of Pecan",
    ),
    (
        "server-address",
        FactType::String,
        "the address in the configuration file of its server",
    ),
    (
        "server-program",
        FactType::String,
        "the program of the project that serves it",
    ),
    (
        "server-script",
        FactType::Path,
        "the script that serves it, as it lies in the release",
    ),
    (
        "health-path",
        FactType::String,
        "the path by which it says that it works",
    ),
    (
        "health-host",
        FactType::String,
        "a name by which it answers, if it refuses `localhost`",
    ),
    (
        "manage",
        FactType::Path,
        "Django's manage.py, as it lies in the release",
    ),
    (
        "migrate-options",
        FactType::String,
        "options of Django's migrate command",
    ),
    (
        "cache-table",
        FactType::Boolean,
        "whether Django's settings keep a cache in the database",
    ),
    (
        "collects-static",
        FactType::Boolean,
        "whether Django's settings have a STATIC_ROOT",
    ),
    (
        "compresses",
        FactType::Boolean,
        "whether templates use django-compressor offline",
    ),
    (
        "build-variables",
        FactType::Table,
        "variables without which the settings do not load",
    ),
    (
        "migration",
        FactType::String,
        "the command of Alembic or Flask-Migrate",
    ),
    ("celery", FactType::Module, "the Celery application"),
    (
        "celery-queues",
        FactType::String,
        "the queues that the project's deployment names",
    ),
    (
        "celery-schedule",
        FactType::Boolean,
        "whether the Celery application has a schedule",
    ),
    (
        "rq-queues",
        FactType::String,
        "the queues of RQ, with spaces between them",
    ),
    (
        "dramatiq",
        FactType::String,
        "modules with actors of Dramatiq, with spaces between them",
    ),
    ("huey", FactType::String, "the Huey object, with dots"),
    (
        "django-huey",
        FactType::Boolean,
        "whether Django runs Huey's consumer",
    ),
    ("arq", FactType::String, "the settings class of arq"),
    (
        "source",
        FactType::String,
        "empty if the project ships as plain files",
    ),
    (
        "files",
        FactType::List,
        "plain files that no wheel of the project holds",
    ),
    (
        "excluded",
        FactType::List,
        "plain files among them that cannot ship",
    ),
    (
        "imports-tests",
        FactType::Boolean,
        "whether modules that are no tests import from directories of tests",
    ),
    (
        "import-from",
        FactType::List,
        "directories that modules are imported from",
    ),
    (
        "writable",
        FactType::List,
        "paths of the tree that the code writes to",
    ),
    (
        "static-files",
        FactType::Table,
        "the directory of the collected static files, by the path that requests for them have",
    ),
    (
        "working-directory",
        FactType::String,
        "the directory in the release that the code counts paths from",
    ),
    (
        "data-variables",
        FactType::Table,
        "variables that name data directories, with their values on hosts",
    ),
    (
        "requirements",
        FactType::List,
        "lock files at an unusual place",
    ),
    (
        "django-settings",
        FactType::Module,
        "the module of Django's settings that the server takes",
    ),
    (
        "settings-module",
        FactType::Module,
        "the settings module of Django if only the environment can name it",
    ),
];

/// A value of a fact or parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactValue {
    /// A text.
    String(String),
    /// Yes or no.
    Boolean(bool),
    /// Several values.
    List(Vec<FactValue>),
    /// Names with values, in order.
    Table(Vec<(String, FactValue)>),
}

impl FactValue {
    /// A list of texts.
    pub fn list<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::List(
            texts
                .into_iter()
                .map(|text| Self::String(text.into()))
                .collect(),
        )
    }
}

/// A fact, and the place that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The value.
    pub value: FactValue,
    /// The file that shows it; `None` for a fact of the tree as a whole.
    pub at: Option<Location>,
}

/// All that is known about a project.
#[derive(Debug, Clone, Default)]
pub struct ProjectFacts {
    facts: BTreeMap<&'static str, Fact>,
    /// The distributions that the project pins or requires, by normalized name.
    pub requires: BTreeSet<String>,
}

impl ProjectFacts {
    /// Facts about a project that requires these distributions.
    pub fn new(requires: BTreeSet<String>) -> Self {
        Self {
            facts: BTreeMap::new(),
            requires,
        }
    }

    /// Returns a fact.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.facts.get(name)
    }

    /// Adds a fact of [`FACTS`].
    ///
    /// # Panics
    /// No fact has this name.
    pub fn insert(&mut self, name: &str, value: FactValue, at: Option<Location>) {
        let (name, _, _) = FACTS
            .iter()
            .find(|(known, _, _)| *known == name)
            .expect("a fact has one of the names in FACTS");
        self.facts.insert(name, Fact { value, at });
    }

    /// Returns all facts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Fact)> {
        self.facts.iter().map(|(name, fact)| (*name, fact))
    }
}
