//! The object that a web server loads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{CodeFacts, Factory, FoundObject, Gateway, ObjectKind, WebApp, depth};

/// Words in the names of directories whose modules another program loads: their objects belong to
/// that program.
const PLUGINS: [&str; 3] = ["plugin", "plugins", "addons"];

/// Directories of examples; [`super::ASIDE`] lists those that the survey does not read.
const EXAMPLES: [&str; 5] = ["contrib", "demo", "demos", "sample", "samples"];

/// Returns whether a module belongs to a plugin.
fn is_of_a_plugin(file: &Path) -> bool {
    let mut directories = file
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .map(|name| name.to_string_lossy());
    directories.any(|name| name.split(['_', '-']).any(|word| PLUGINS.contains(&word)))
}

/// The suitability of an object for a web server: the lowest rank is the best, and the first field
/// counts most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectRank {
    /// The position among the objects that the project's own files name.
    promise: usize,
    kind: usize,
    depth: usize,
    name: usize,
    file: usize,
}

/// Returns the protocol of the servers among the requirements: an entry point for the other
/// protocol is useless.
fn preferred_gateway(requires: &BTreeSet<String>) -> Gateway {
    let has_any = |servers: &[&str]| servers.iter().any(|name| requires.contains(*name));
    let speaks_asgi = has_any(&["uvicorn", "hypercorn", "daphne"]);
    let speaks_wsgi = has_any(&["gunicorn", "waitress", "uwsgi", "pyuwsgi"]);
    if speaks_asgi && !speaks_wsgi {
        Gateway::Asgi
    } else {
        Gateway::Wsgi
    }
}

/// Returns the rank of an object's kind; `None` if no web server can load it.
fn kind_rank(found: &FoundObject, preferred: Gateway) -> Option<usize> {
    let stem_has = |word: &str| {
        found
            .file
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().contains(word))
    };
    match found.kind {
        ObjectKind::Django(gateway) | ObjectKind::Entry(gateway) if gateway == preferred => Some(1),
        ObjectKind::Django(_) | ObjectKind::Entry(_) => Some(3),
        ObjectKind::Made(_) | ObjectKind::Returned
            if stem_has("wsgi") && preferred == Gateway::Wsgi =>
        {
            Some(1)
        }
        ObjectKind::Made(_) | ObjectKind::Returned if stem_has("worker") => Some(5),
        ObjectKind::Made(_) | ObjectKind::Returned => Some(2),
        ObjectKind::Factory(_) => Some(4),
        ObjectKind::Celery | ObjectKind::CeleryEntry | ObjectKind::Huey => None,
    }
}

/// Returns the rank of an object's name among the usual names of applications.
fn name_rank(name: &str) -> usize {
    let usual = ["application", "app", "api"];
    usual
        .iter()
        .position(|usual| *usual == name)
        .unwrap_or(usual.len())
}

/// Returns the rank of a file's name among the usual files with applications.
fn file_rank(file: &Path) -> usize {
    let usual = [
        "wsgi.py",
        "asgi.py",
        "main.py",
        "app.py",
        "server.py",
        "__init__.py",
    ];
    usual
        .iter()
        .position(|usual| file.file_name().is_some_and(|name| name == *usual))
        .unwrap_or(usual.len())
}

impl CodeFacts {
    /// Returns the object to serve if it is certain enough, and the directory that it is imported
    /// from.
    pub(crate) fn web(&self, requires: &BTreeSet<String>) -> Option<(WebApp, PathBuf)> {
        if let Some(configured) = self.configured_app(requires) {
            return Some((configured, PathBuf::new()));
        }
        let preferred = preferred_gateway(requires);
        let promised = self.promised();
        let (_, best) = self
            .found
            .iter()
            .filter_map(|found| Some((self.rank(found, &promised, preferred)?, found)))
            .min_by_key(|(rank, _)| *rank)?;

        let gateway = match best.kind {
            ObjectKind::Django(gateway)
            | ObjectKind::Entry(gateway)
            | ObjectKind::Made(gateway)
            | ObjectKind::Factory(gateway) => gateway,
            ObjectKind::Returned => self.returned(),
            ObjectKind::Celery | ObjectKind::CeleryEntry | ObjectKind::Huey => return None,
        };
        let factory = match best.kind {
            ObjectKind::Factory(_) => Factory::Yes,
            _ => Factory::No,
        };
        let (module, base) = self.module_of(&best.file)?;
        let app = WebApp::Object {
            module,
            name: best.name.clone(),
            factory,
            gateway,
        };
        Some((app, base))
    }

    /// Returns the configuration file of a framework that is served from one.
    fn configured_app(&self, requires: &BTreeSet<String>) -> Option<WebApp> {
        if let Some(file) = &self.paste
            && requires.contains("pyramid")
        {
            return Some(WebApp::Paste {
                file: file.clone(),
                has_server: self.paste_servers.contains(file),
            });
        }
        let file = self.pecan.as_ref()?;
        requires
            .contains("pecan")
            .then(|| WebApp::Pecan(file.clone()))
    }

    /// Returns the rank of an object; `None` if it must not be served.
    fn rank(
        &self,
        found: &FoundObject,
        promised: &[(String, Option<Gateway>)],
        preferred: Gateway,
    ) -> Option<ObjectRank> {
        let kind = kind_rank(found, preferred)?;
        let module = self.module_of(&found.file)?.0;
        // Private objects of a package are not served.
        if module.split('.').any(|part| part.starts_with('_')) {
            return None;
        }
        // A command line is more specific than Django's settings, which name both protocols.
        let promise = promised.iter().position(|(target, gateway)| {
            let (wanted, name) = target.split_once(':').unwrap_or((target, "application"));
            wanted == module
                && name == found.name
                && gateway.is_none_or(|gateway| gateway == preferred)
        });
        if self.is_example(&found.file) || promise.is_none() && is_of_a_plugin(&found.file) {
            return None;
        }
        Some(ObjectRank {
            promise: promise.unwrap_or(promised.len()),
            kind,
            depth: depth(&found.file),
            name: name_rank(&found.name),
            file: file_rank(&found.file),
        })
    }

    /// Returns whether a file is in a directory with examples of deployments that is not one of the
    /// project's packages.
    fn is_example(&self, file: &Path) -> bool {
        let mut directories = file.ancestors().skip(1);
        directories.any(|directory| {
            directory
                .file_name()
                .is_some_and(|name| EXAMPLES.iter().any(|example| name == *example))
                && !self.is_package(directory)
        })
    }

    /// Returns whether one of the application's own programs serves it, with a server among the
    /// requirements: an application that supports several servers and requires none serves nothing.
    pub(crate) fn starts_a_server(&self, requires: &BTreeSet<String>) -> bool {
        self.servers
            .values()
            .flatten()
            .any(|server| requires.contains(*server))
    }

    /// Returns the top-level module that serves the application when it is run: its name is that of
    /// the package with the server, or unique.
    pub(crate) fn server_program(&self) -> Option<&str> {
        let names = self
            .servers
            .keys()
            .flat_map(|file| file.iter().next())
            .filter_map(|name| name.to_str());
        let names: BTreeSet<&str> = names.map(|name| name.trim_end_matches(".py")).collect();
        let is_server = |program: &&String| {
            let stem = program.trim_end_matches(".py");
            names.contains(stem) || ["server", "serve", "run", "main", "app"].contains(&stem)
        };
        let mut programs = self.programs.iter().filter(is_server);
        programs
            .next()
            .filter(|_| programs.next().is_none())
            .map(String::as_str)
    }

    /// Returns the protocol of the objects that the tree's factories return.
    fn returned(&self) -> Gateway {
        let gateways = self.found.iter().filter_map(|found| match found.kind {
            ObjectKind::Factory(gateway) | ObjectKind::Made(gateway) => Some(gateway),
            _ => None,
        });
        gateways.into_iter().next().unwrap_or(Gateway::Wsgi)
    }

    /// Returns the served objects (`module:name`) in a Procfile or in Django's settings, with their
    /// protocol if it is certain.
    fn promised(&self) -> Vec<(String, Option<Gateway>)> {
        let commands = self
            .processes
            .iter()
            .filter(|(name, _)| name == "web")
            .map(|(_, line)| last_command(line));
        let from_commands = commands
            .flat_map(served_targets)
            .map(|target| (target.to_owned(), None));
        let from_settings = self.chosen.iter().filter_map(|(target, gateway)| {
            let (module, name) = target.rsplit_once('.')?;
            Some((format!("{module}:{name}"), Some(*gateway)))
        });
        from_commands.chain(from_settings).collect()
    }
}

/// Returns the last command of a shell line, which is the one that keeps running.
fn last_command(line: &str) -> &str {
    line.rsplit_once(['&', ';'])
        .map_or(line, |(_, command)| command)
}

/// Iterates over the arguments of a server's command that name an object to serve.
fn served_targets(command: &str) -> impl Iterator<Item = &str> {
    command
        .split_whitespace()
        .skip(1)
        .map(|word| word.trim_matches(['"', '\'']))
        .filter(|word| is_target(word))
}

/// Returns whether a word is `module:name`, or `module.wsgi` for `module.wsgi:application`.
fn is_target(word: &str) -> bool {
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric());
    let (module, name) = word.split_once(':').unwrap_or((word, "application"));
    (word.contains(':') || word.ends_with(".wsgi"))
        && module.split('.').all(is_name)
        && is_name(name)
}
