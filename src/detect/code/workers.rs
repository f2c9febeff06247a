//! Programs beside a web application: workers, schedulers, and commands that loop.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::facts::{NamedObject, QueueFacts};
use super::{CodeFacts, FoundObject, ObjectKind, Worker};

/// A command that processes a queue.
struct QueueWorker {
    exec: String,
    /// The directories from which its modules are imported.
    bases: Vec<PathBuf>,
}

impl QueueWorker {
    /// Returns a command that imports no module by name.
    fn of_program(exec: String) -> Self {
        Self {
            exec,
            bases: Vec::new(),
        }
    }
}

impl CodeFacts {
    /// Returns the Celery application for `celery -A`, and the directory from which it is imported.
    fn celery(&self) -> Option<(String, PathBuf)> {
        self.celery_name(self.celery_object()?)
    }

    fn celery_object(&self) -> Option<&FoundObject> {
        // A module that also creates the web application, which tasks may need, takes precedence
        // over the module with only the Celery object.
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
        all().find(is_started).or_else(|| all().next())
    }

    /// Returns the argument of `celery -A` for an object, and the directory from which it is
    /// imported.
    fn celery_name(&self, found: &FoundObject) -> Option<(String, PathBuf)> {
        let (module, base) = self.module_of(&found.file)?;
        // `celery -A package` finds package.celery:app by itself.
        let app = match module.strip_suffix(".celery") {
            Some(package) => package.to_owned(),
            None => format!("{module}:{}", found.name),
        };
        Some((app, base))
    }

    /// Sets the arguments with which the project's own deployment starts Celery's workers.
    pub(crate) fn is_worked_by(&mut self, celery: Option<(String, Option<String>)>) {
        self.started_celery = celery;
    }

    /// Returns the workers and schedulers, and the directories from which they are imported.
    pub(crate) fn workers(
        &self,
        requires: &BTreeSet<String>,
        name: &str,
    ) -> (Vec<Worker>, Vec<PathBuf>) {
        let mut workers = Vec::new();
        let mut bases = Vec::new();
        if requires.contains("celery")
            && let Some((app, base)) = self.celery()
        {
            workers.push(Worker::new("worker", self.celery_worker(&app)));
            let beat = self.celery_beat(&app, requires, name);
            workers.extend(beat.map(|exec| Worker::new("beat", exec)));
            bases.push(base);
        }
        if let Some(worker) = self.queue_worker(requires) {
            workers.push(Worker::new("worker", worker.exec));
            bases.extend(worker.bases);
        }
        workers.extend(self.looping_commands());
        (workers, bases)
    }

    /// Returns the names for the command lines of workers.
    pub(crate) fn queue_facts(&self) -> QueueFacts {
        let celery = self.celery_object();
        let named = |found: &FoundObject| {
            Some(NamedObject {
                target: self.celery_name(found)?.0,
                file: found.file.clone(),
            })
        };
        let modules: Vec<String> = self
            .actors
            .iter()
            .filter_map(|file| Some(self.module_of(file)?.0))
            .collect();
        let huey = self
            .found
            .iter()
            .find(|found| found.kind == ObjectKind::Huey);
        let queues: Vec<&str> = self.queues.iter().map(String::as_str).collect();
        QueueFacts {
            celery: celery.and_then(named),
            celery_queues: self.started_celery.clone().and_then(|(_, queues)| queues),
            has_schedule: self.has_schedule,
            rq: if queues.is_empty() {
                self.enqueues.then(|| "default".to_owned())
            } else {
                Some(queues.join(" "))
            },
            dramatiq: (!modules.is_empty()).then(|| modules.join(" ")),
            huey: huey.and_then(|found| {
                Some(format!("{}.{}", self.module_of(&found.file)?.0, found.name))
            }),
            has_django_huey: self.has_djhuey,
            arq: self
                .arq
                .first()
                .and_then(|file| Some(format!("{}.WorkerSettings", self.module_of(file)?.0))),
        }
    }

    fn celery_worker(&self, app: &str) -> String {
        match &self.started_celery {
            Some((_, Some(queues))) => format!("celery -A {app} worker -Q {queues}"),
            _ => format!("celery -A {app} worker"),
        }
    }

    /// Returns the command of the scheduler as a separate process: inside of a worker, it would
    /// share the worker's log files and die with it, and several workers would run several
    /// schedulers.
    fn celery_beat(&self, app: &str, requires: &BTreeSet<String>, name: &str) -> Option<String> {
        if requires.contains("django-celery-beat") {
            let scheduler = "django_celery_beat.schedulers:DatabaseScheduler";
            return Some(format!("celery -A {app} beat --scheduler {scheduler}"));
        }
        self.has_schedule
            .then(|| format!("celery -A {app} beat --schedule /var/lib/{name}/beat"))
    }

    /// Returns the command that processes a queue other than Celery's.
    fn queue_worker(&self, requires: &BTreeSet<String>) -> Option<QueueWorker> {
        let has = |name: &str| requires.contains(name);
        if let Some(command) = self.django_queue_worker(requires) {
            Some(QueueWorker::of_program(command))
        } else if has("rq") && (self.enqueues || !self.queues.is_empty()) {
            // Programs that monitor queues require rq, too.
            Some(QueueWorker::of_program(self.rq_worker()))
        } else if has("dramatiq") {
            self.dramatiq_worker()
        } else if has("huey") {
            self.huey_worker()
        } else if has("arq") {
            self.arq_worker()
        } else {
            None
        }
    }

    /// Returns the command of manage.py that processes a queue.
    fn django_queue_worker(&self, requires: &BTreeSet<String>) -> Option<String> {
        let has = |name: &str| requires.contains(name);
        let manage = self.manage_file()?;
        let command = if has("django-rq") {
            "rqworker default"
        } else if has("django-q") || has("django-q2") {
            "qcluster"
        } else if has("django-dramatiq") {
            "rundramatiq"
        } else if self.has_djhuey {
            "run_huey"
        } else {
            return None;
        };
        Some(format!("python {manage} {command}"))
    }

    fn rq_worker(&self) -> String {
        if self.queues.is_empty() {
            return "rq worker default".to_owned();
        }
        let queues: Vec<&str> = self.queues.iter().map(String::as_str).collect();
        format!("rq worker {}", queues.join(" "))
    }

    fn dramatiq_worker(&self) -> Option<QueueWorker> {
        let (names, bases): (Vec<String>, Vec<PathBuf>) = self
            .actors
            .iter()
            .filter_map(|file| self.module_of(file))
            .unzip();
        if names.is_empty() {
            return None;
        }
        Some(QueueWorker {
            exec: format!("dramatiq {}", names.join(" ")),
            bases,
        })
    }

    fn huey_worker(&self) -> Option<QueueWorker> {
        let huey = self
            .found
            .iter()
            .find(|found| found.kind == ObjectKind::Huey)?;
        let (module, base) = self.module_of(&huey.file)?;
        Some(QueueWorker {
            exec: format!("huey_consumer.py {module}.{}", huey.name),
            bases: vec![base],
        })
    }

    fn arq_worker(&self) -> Option<QueueWorker> {
        let (module, base) = self.module_of(self.arq.first()?)?;
        Some(QueueWorker {
            exec: format!("arq {module}.WorkerSettings"),
            bases: vec![base],
        })
    }

    /// Iterates over the first four commands of manage.py that loop forever.
    fn looping_commands(&self) -> impl Iterator<Item = Worker> {
        self.manage_file().into_iter().flat_map(|manage| {
            self.loops.iter().take(4).map(move |command| {
                let name = command.split(' ').next().unwrap_or(command);
                Worker::new(
                    &name.replace('_', "-"),
                    format!("python {manage} {command}"),
                )
            })
        })
    }
}

/// Returns the names of rq's queues: the first argument of `Queue(`.
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
