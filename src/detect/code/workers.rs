//! The programs that work beside a web application: workers, schedulers, and commands that loop.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{CodeFacts, FoundObject, ObjectKind, Worker};

impl CodeFacts {
    /// The Celery application to work for: what `celery -A` takes, and the directory that it is
    /// imported from.
    fn celery(&self) -> Option<(String, PathBuf)> {
        // A module that makes the web application first, so that tasks have it, before the one that
        // has the object alone.
        let of_kind = |kind| self.found.iter().filter(move |found| found.kind == kind);
        let all = || of_kind(ObjectKind::CeleryEntry).chain(of_kind(ObjectKind::Celery));
        let is_started = |found: &&FoundObject| {
            let app = self.celery_name(found).map(|(app, _)| app);
            self.started_celery.as_ref().is_some_and(|(started, _)| {
                let short = |app: &str| {
                    app.replace(".celery:app", "")
                        .replace(".celery", "")
                        .replace(".app", ":app")
                };
                app.is_some_and(|app| {
                    short(&app) == short(started) || app.split(':').next() == Some(started)
                })
            })
        };
        self.celery_name(all().find(is_started).or_else(|| all().next())?)
    }

    /// What `celery -A` takes for an object, and the directory that it is imported from.
    fn celery_name(&self, found: &FoundObject) -> Option<(String, PathBuf)> {
        let (module, base) = self.module_of(&found.file)?;
        // `celery -A package` finds package.celery:app by itself.
        let app = match module.strip_suffix(".celery") {
            Some(package) => package.to_owned(),
            None => format!("{module}:{}", found.name),
        };
        Some((app, base))
    }

    /// Takes what the project's own deployment starts Celery's workers with.
    pub(crate) fn is_worked_by(&mut self, celery: Option<(String, Option<String>)>) {
        self.started_celery = celery;
    }

    /// The workers and schedulers, and the directories that they are imported from.
    pub(crate) fn workers(
        &self,
        requires: &BTreeSet<String>,
        name: &str,
    ) -> (Vec<Worker>, Vec<PathBuf>) {
        let has = |name: &str| requires.contains(name);
        let mut workers: Vec<Worker> = Vec::new();
        let mut bases = Vec::new();
        let mut add = |name: &str, exec: String| {
            workers.push(Worker {
                name: name.to_owned(),
                exec,
            });
        };
        let manage = self.manage_file().map(|file| format!("python {file}"));
        if has("celery")
            && let Some((app, base)) = self.celery()
        {
            let database = has("django-celery-beat");
            let queues = self
                .started_celery
                .as_ref()
                .and_then(|(_, queues)| queues.clone());
            let queues = queues.map_or_else(String::new, |queues| format!(" -Q {queues}"));
            add("worker", format!("celery -A {app} worker{queues}"));
            // A process of its own: inside of a worker, it shares its log files and dies with it,
            // and several workers would have several.
            match (self.has_schedule, database) {
                (_, true) => add(
                    "beat",
                    format!(
                        "celery -A {app} beat --scheduler django_celery_beat.schedulers:DatabaseScheduler"
                    ),
                ),
                (true, false) => add(
                    "beat",
                    format!("celery -A {app} beat --schedule /var/lib/{name}/beat"),
                ),
                (false, false) => {}
            }
            bases.push(base);
        }
        match &manage {
            Some(manage) if has("django-rq") => add("worker", format!("{manage} rqworker default")),
            Some(manage) if has("django-q") || has("django-q2") => {
                add("worker", format!("{manage} qcluster"));
            }
            Some(manage) if has("django-dramatiq") => {
                add("worker", format!("{manage} rundramatiq"));
            }
            Some(manage) if self.has_djhuey => add("worker", format!("{manage} run_huey")),
            // What watches queues requires rq, too.
            _ if has("rq") && (self.enqueues || !self.queues.is_empty()) => {
                let queues: Vec<&str> = self.queues.iter().map(String::as_str).collect();
                let queues = if queues.is_empty() {
                    "default".to_owned()
                } else {
                    queues.join(" ")
                };
                add("worker", format!("rq worker {queues}"));
            }
            _ if has("dramatiq") => {
                let modules: Vec<(String, PathBuf)> = self
                    .actors
                    .iter()
                    .filter_map(|file| self.module_of(file))
                    .collect();
                if !modules.is_empty() {
                    let names: Vec<&str> =
                        modules.iter().map(|(module, _)| module.as_str()).collect();
                    add("worker", format!("dramatiq {}", names.join(" ")));
                    bases.extend(modules.into_iter().map(|(_, base)| base));
                }
            }
            _ if has("huey") => {
                let huey = self
                    .found
                    .iter()
                    .find(|found| found.kind == ObjectKind::Huey);
                if let Some((huey, (module, base))) =
                    huey.and_then(|huey| Some((huey, self.module_of(&huey.file)?)))
                {
                    add("worker", format!("huey_consumer.py {module}.{}", huey.name));
                    bases.push(base);
                }
            }
            _ if has("arq") => {
                if let Some((module, base)) = self.arq.first().and_then(|file| self.module_of(file))
                {
                    add("worker", format!("arq {module}.WorkerSettings"));
                    bases.push(base);
                }
            }
            _ => {}
        }
        if let Some(manage) = &manage {
            for command in self.loops.iter().take(4) {
                add(&command.replace('_', "-"), format!("{manage} {command}"));
            }
        }
        (workers, bases)
    }
}

/// The names of rq's queues: the first argument of `Queue(`.
pub(super) fn queues(text: &str) -> Vec<String> {
    if !text.contains("rq") {
        return Vec::new();
    }
    let calls = text.split("Queue(").skip(1);
    let names = calls.filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
        rest[1..].split_once(quote).map(|(name, _)| name.to_owned())
    });
    let is_plain = |name: &String| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    names.filter(is_plain).collect()
}
