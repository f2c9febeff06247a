//! The object that a web server is given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{CodeFacts, Factory, FoundObject, Gateway, ObjectKind, WebApp, depth};

/// Words in the names of directories whose modules another program loads: what they make is theirs.
const PLUGINS: [&str; 3] = ["plugin", "plugins", "addons"];

/// Directories of examples; [`super::ASIDE`] has those that nothing is read from.
const EXAMPLES: [&str; 5] = ["contrib", "demo", "demos", "sample", "samples"];

/// Whether a module belongs to a plugin.
fn is_of_a_plugin(file: &Path) -> bool {
    let mut directories = file
        .parent()
        .into_iter()
        .flat_map(Path::iter)
        .map(|name| name.to_string_lossy());
    directories.any(|name| name.split(['_', '-']).any(|word| PLUGINS.contains(&word)))
}

impl CodeFacts {
    /// The object to serve, if one is certain enough, and the directory that it is imported from.
    pub(crate) fn web(&self, requires: &BTreeSet<String>) -> Option<(WebApp, PathBuf)> {
        if let Some(file) = &self.paste
            && requires.contains("pyramid")
        {
            let has_server = self.paste_servers.contains(file);
            return Some((
                WebApp::Paste {
                    file: file.clone(),
                    has_server,
                },
                PathBuf::new(),
            ));
        }
        if let Some(file) = &self.pecan
            && requires.contains("pecan")
        {
            return Some((WebApp::Pecan(file.clone()), PathBuf::new()));
        }
        // A server that speaks the other protocol only is no use for an entry point.
        let asgi_only = ["uvicorn", "hypercorn", "daphne"]
            .iter()
            .any(|name| requires.contains(*name))
            && !["gunicorn", "waitress", "uwsgi", "pyuwsgi"]
                .iter()
                .any(|name| requires.contains(*name));
        let first = |gateway| {
            if asgi_only {
                gateway == Gateway::Asgi
            } else {
                gateway == Gateway::Wsgi
            }
        };
        let promised = self.promised();
        let is_for = |file: &Path, what: &str| {
            file.file_stem()
                .is_some_and(|stem| stem.to_string_lossy().contains(what))
        };
        let rank = |found: &&FoundObject| {
            let kind = match found.kind {
                ObjectKind::Django(gateway) | ObjectKind::Entry(gateway) => {
                    if first(gateway) {
                        1
                    } else {
                        3
                    }
                }
                ObjectKind::Made(_) | ObjectKind::Returned
                    if is_for(&found.file, "wsgi") && first(Gateway::Wsgi) =>
                {
                    1
                }
                ObjectKind::Made(_) | ObjectKind::Returned if is_for(&found.file, "worker") => 5,
                ObjectKind::Made(_) | ObjectKind::Returned => 2,
                ObjectKind::Factory(_) => 4,
                ObjectKind::Celery | ObjectKind::CeleryEntry | ObjectKind::Huey => return None,
            };
            let module = self.module_of(&found.file)?.0;
            // What a package keeps to itself is not what it serves.
            if module.split('.').any(|part| part.starts_with('_')) {
                return None;
            }
            // A command line says more than Django's settings, which name both protocols.
            let promise = promised.iter().position(|(target, gateway)| {
                let (wanted, name) = target.split_once(':').unwrap_or((target, "application"));
                wanted == module && name == found.name && gateway.is_none_or(first)
            });
            if self.is_example(&found.file) || promise.is_none() && is_of_a_plugin(&found.file) {
                return None;
            }
            let names = ["application", "app", "api"];
            let name = names
                .iter()
                .position(|name| *name == found.name)
                .unwrap_or(names.len());
            let stems = [
                "wsgi.py",
                "asgi.py",
                "main.py",
                "app.py",
                "server.py",
                "__init__.py",
            ];
            let file = found.file.file_name().unwrap_or_default();
            let stem = stems
                .iter()
                .position(|stem| file == *stem)
                .unwrap_or(stems.len());
            Some((
                promise.unwrap_or(promised.len()),
                kind,
                depth(&found.file),
                name,
                stem,
            ))
        };
        let best = self
            .found
            .iter()
            .filter(|found| rank(found).is_some())
            .min_by_key(rank)?;
        let gateway = match best.kind {
            ObjectKind::Django(gateway)
            | ObjectKind::Entry(gateway)
            | ObjectKind::Made(gateway)
            | ObjectKind::Factory(gateway) => gateway,
            ObjectKind::Returned => self.returned(),
            ObjectKind::Celery | ObjectKind::CeleryEntry | ObjectKind::Huey => return None,
        };
        let factory = if matches!(best.kind, ObjectKind::Factory(_)) {
            Factory::Yes
        } else {
            Factory::No
        };
        let (module, base) = self.module_of(&best.file)?;
        Some((
            WebApp::Object {
                module,
                name: best.name.clone(),
                factory,
                gateway,
            },
            base,
        ))
    }

    /// Whether a file lies where projects keep examples of deployments, which are no package of
    /// theirs.
    fn is_example(&self, file: &Path) -> bool {
        let mut directories = file.ancestors().skip(1);
        directories.any(|directory| {
            directory
                .file_name()
                .is_some_and(|name| EXAMPLES.iter().any(|example| name == *example))
                && !self.is_package(directory)
        })
    }

    /// Whether a program of the application's own serves it, with a server that is among the
    /// requirements: what can use several, and requires none, serves nothing.
    pub(crate) fn starts_a_server(&self, requires: &BTreeSet<String>) -> bool {
        self.servers
            .values()
            .flatten()
            .any(|server| requires.contains(*server))
    }

    /// The module at the top that serves the application when it is run: it has the name of the
    /// package with the server, or of nothing else.
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

    /// What the factories of the tree return.
    fn returned(&self) -> Gateway {
        let gateways = self.found.iter().filter_map(|found| match found.kind {
            ObjectKind::Factory(gateway) | ObjectKind::Made(gateway) => Some(gateway),
            _ => None,
        });
        gateways.into_iter().next().unwrap_or(Gateway::Wsgi)
    }

    /// What a Procfile or Django's settings say is served: `module:name`, and by which protocol if
    /// that is certain.
    fn promised(&self) -> Vec<(String, Option<Gateway>)> {
        let mut promised = Vec::new();
        for (_, line) in self.processes.iter().filter(|(name, _)| name == "web") {
            let command = line.rsplit(['&', ';']).next().unwrap_or_default();
            let is_target = |word: &&str| {
                let word = word.trim_matches(['"', '\'']);
                let is_name = |part: &str| {
                    !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric())
                };
                let (module, name) = word.split_once(':').unwrap_or((word, "application"));
                (word.contains(':') || word.ends_with(".wsgi"))
                    && module.split('.').all(is_name)
                    && is_name(name)
            };
            let words = command.split_whitespace().skip(1).filter(is_target);
            promised.extend(words.map(|word| (word.trim_matches(['"', '\'']).to_owned(), None)));
        }
        let dotted = |target: &str| {
            target
                .rsplit_once('.')
                .map(|(module, name)| format!("{module}:{name}"))
        };
        promised.extend(
            self.chosen
                .iter()
                .filter_map(|(target, gateway)| Some((dotted(target)?, Some(*gateway)))),
        );
        promised
    }
}
