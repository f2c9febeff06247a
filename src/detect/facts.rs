//! The facts that recipes build on, with the places that show them.

use std::path::{Path, PathBuf};

use pkgapp_config::{FactValue, ProjectFacts, has_dot};
use pkgapp_core::error::Location;

use super::code::{CodeFacts, Factory, Gateway, WebApp, address};
use super::{PinState, Survey, migration};

/// Where a build collects static files if a variable says where: relative to the directory that it
/// and services run in.
const COLLECTED: &str = "staticfiles";

impl Survey {
    /// Returns the facts about the tree.
    pub(super) fn project_facts(&self, code: &CodeFacts) -> ProjectFacts {
        let mut facts = FactCollector {
            root: &self.root,
            facts: ProjectFacts::new(self.requires.clone()),
        };
        facts.web(self, code);
        facts.django(self, code);
        facts.workers(code);
        facts.files(self, code);
        facts.requirements(self);
        facts.facts
    }
}

struct FactCollector<'s> {
    root: &'s Path,
    facts: ProjectFacts,
}

impl FactCollector<'_> {
    fn set(&mut self, name: &str, value: FactValue, at: Option<Location>) {
        self.facts.insert(name, value, at);
    }

    fn text(&mut self, name: &str, text: Option<&str>, at: Option<Location>) {
        if let Some(text) = text {
            self.set(name, FactValue::String(text.to_owned()), at);
        }
    }

    fn list(&mut self, name: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.set(
                name,
                FactValue::list(texts.iter().map(String::as_str)),
                None,
            );
        }
    }

    /// The place in a file of the tree where the first of some texts stands.
    fn place(&self, file: &Path, texts: &[String]) -> Option<Location> {
        let path = self.root.join(file);
        let content = pkgapp_core::fs::read_to_string(&path).ok()?;
        let offset = texts.iter().find_map(|text| content.find(text.as_str()));
        Some(match offset {
            Some(offset) => Location::at_offset(path, &content, offset),
            None => Location::file(path),
        })
    }

    fn object_place(&self, code: &CodeFacts, module: &str, object: &str) -> Option<Location> {
        let file = code.file_of(module, object)?;
        let texts = [
            format!("\n{object} ="),
            format!("\n{object}: "),
            format!("\ndef {object}("),
            format!("\nasync def {object}("),
        ];
        let mut place = self.place(file, &texts)?;
        if let Some((line, _)) = &mut place.position {
            // The text begins with the end of the line before.
            *line += 1;
        }
        place.position = place.position.map(|(line, _)| (line, 1));
        Some(place)
    }

    /// The address in a server's configuration file; `near` stands beside it there.
    fn server_address(&mut self, file: &Path, read: fn(&str) -> Option<String>, near: &str) {
        let text = pkgapp_core::fs::read_to_string(&self.root.join(file));
        let address = text.ok().and_then(|text| read(&text));
        let at = self.place(file, &[near.to_owned()]);
        self.text("server-address", address.as_deref(), at);
    }

    fn web(&mut self, survey: &Survey, code: &CodeFacts) {
        match &survey.web {
            Some(WebApp::Object {
                module,
                name,
                factory,
                gateway,
            }) => {
                let fact = match (gateway, factory) {
                    (Gateway::Wsgi, Factory::No) => "wsgi",
                    (Gateway::Wsgi, Factory::Yes) => "wsgi-factory",
                    (Gateway::Asgi, Factory::No) => "asgi",
                    (Gateway::Asgi, Factory::Yes) => "asgi-factory",
                };
                let at = self.object_place(code, module, name);
                self.text(fact, Some(&format!("{module}:{name}")), at);
            }
            Some(WebApp::Paste { file, has_server }) => {
                let at = self.place(Path::new(file), &["[server:".to_owned()]);
                self.text("paste-ini", Some(file), at.clone());
                self.set("paste-server", FactValue::Boolean(*has_server), at);
                self.server_address(Path::new(file), address::of_paste, "[server:main]");
            }
            Some(WebApp::Pecan(file)) => {
                let at = self.place(Path::new(file), &[]);
                self.text("pecan-config", Some(file), at);
                self.server_address(Path::new(file), address::of_pecan, "server");
            }
            None => {}
        }
        if let Some(health) = code.health(survey.web.as_ref()) {
            let at = self.place(health.file, &[health.text.to_owned()]);
            self.text("health-path", Some(health.path), at.clone());
            self.text("health-host", health.host, at);
        }
        let program = survey.server_program.as_deref();
        match program.and_then(|program| program.strip_prefix("python ")) {
            Some(script) => self.text("server-script", Some(script), None),
            None => self.text("server-program", program, None),
        }
    }

    fn django(&mut self, survey: &Survey, code: &CodeFacts) {
        let manage = code.manage_file();
        let file = code
            .manage_directory()
            .map(|directory| directory.join("manage.py"));
        let at = file.as_deref().and_then(|file| self.place(file, &[]));
        self.text("manage", manage.as_deref(), at);
        if let Some(settings) = code.other_settings() {
            self.text(
                "migrate-options",
                Some(&format!(" --settings {settings}")),
                None,
            );
        }
        if code.caches_in_database() {
            self.set("cache-table", FactValue::Boolean(true), None);
        }
        self.text("django-settings", code.settings(), None);
        if let Some(Ok(())) = code.static_root().filter(|_| !survey.has_collected) {
            self.set("collects-static", FactValue::Boolean(true), None);
            let compresses = code.compresses() && survey.has("django-compressor");
            self.set("compresses", FactValue::Boolean(compresses), None);
        }
        self.static_files(survey, code);
        let unnamed = code.unnamed_settings();
        let at = unnamed.as_ref().and_then(|(_, file)| self.place(file, &[]));
        // By itself, manage.py would take the settings of its developers.
        let settings = unnamed
            .as_ref()
            .map(|(module, _)| module.as_str())
            .or_else(|| code.other_settings());
        self.text("settings-module", settings, at);
        self.build_variables(survey, code, settings);
        if manage.is_none() {
            let command = migration(code, survey.web.as_ref(), &survey.requires);
            let at = code
                .alembic()
                .and_then(|alembic| self.place(&alembic.file, &[]));
            self.text("migration", command.as_deref(), at);
        }
    }

    /// Where a web server finds static files. Without a wheel, the settings and the directories that
    /// they name lie in `app/`.
    fn static_files(&mut self, survey: &Survey, code: &CodeFacts) {
        let Some((url, directory)) = code.static_files().filter(|_| !survey.has_backend) else {
            return;
        };
        let directory = format!("app/{}", directory.display());
        let entry = (url.to_owned(), FactValue::String(directory));
        self.set("static-files", FactValue::Table(vec![entry]), None);
    }

    /// The variables that a build sets: those that the settings demand, and the settings' name if
    /// nothing else tells it.
    fn build_variables(&mut self, survey: &Survey, code: &CodeFacts, settings: Option<&str>) {
        let collected = code.static_variable().map(|name| (name, COLLECTED));
        let demanded = survey
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .filter(|(name, _)| Some(*name) != code.static_variable());
        let named = settings.map(|module| ("DJANGO_SETTINGS_MODULE", module));
        let table: Vec<_> = demanded
            .chain(named)
            .chain(collected)
            .map(|(name, value)| (name.to_owned(), FactValue::String(value.to_owned())))
            .collect();
        if !table.is_empty() {
            self.set("build-variables", FactValue::Table(table), None);
        }
    }

    fn workers(&mut self, code: &CodeFacts) {
        let queues = code.queue_facts();
        if let Some(celery) = &queues.celery {
            let at = self.place(&celery.file, &["Celery(".to_owned()]);
            self.text("celery", Some(&celery.target), at);
        }
        self.text("celery-queues", queues.celery_queues.as_deref(), None);
        if queues.has_schedule {
            self.set("celery-schedule", FactValue::Boolean(true), None);
        }
        self.text("rq-queues", queues.rq.as_deref(), None);
        self.text("dramatiq", queues.dramatiq.as_deref(), None);
        self.text("huey", queues.huey.as_deref(), None);
        if queues.has_django_huey {
            self.set("django-huey", FactValue::Boolean(true), None);
        }
        self.text("arq", queues.arq.as_deref(), None);
    }

    fn files(&mut self, survey: &Survey, code: &CodeFacts) {
        if survey.no_wheel.is_some() {
            self.text("source", Some(""), None);
        }
        self.list("files", &survey.include);
        self.list("excluded", &survey.exclude);
        if code.imports_tests() {
            self.set("imports-tests", FactValue::Boolean(true), None);
        }
        self.list("import-from", &survey.import_from);
        let writes = &survey.writes;
        if !writes.paths.is_empty() {
            // What code writes to is a file unless it ends in `/`; a directory may have a dot.
            let written = |path: &String| {
                let text = FactValue::String(path.clone());
                if path.ends_with('/') || has_dot(path) {
                    text
                } else {
                    FactValue::Table(vec![("file".to_owned(), text)])
                }
            };
            let paths = writes.paths.iter().map(written).collect();
            let at = writes
                .by
                .first()
                .map(|file| Location::file(self.root.join(file)));
            self.set("writable", FactValue::List(paths), at);
        }
        self.text(
            "working-directory",
            survey.working_directory.as_deref(),
            None,
        );

        let state = format!("/var/lib/{}", survey.name);
        let moved = writes.variables.iter();
        let moved = moved.map(|(name, path)| (name.clone(), format!("{state}/{path}")));
        let kept = survey
            .data_variables
            .iter()
            .filter(|name| !writes.variables.contains_key(*name))
            .filter(|name| Some(name.as_str()) != code.static_variable())
            .filter(|name| Some(name.as_str()) != code.media_variable())
            .map(|name| (name.clone(), state.clone()));
        let uploads = code.media_variable();
        let uploads = uploads.map(|name| (name.to_owned(), format!("{state}/media")));
        let collected = code.static_variable();
        let collected = collected.map(|name| (name.to_owned(), COLLECTED.to_owned()));
        let variables: Vec<(String, FactValue)> = kept
            .chain(moved)
            .chain(uploads)
            .chain(collected)
            .map(|(name, value)| (name, FactValue::String(value)))
            .collect();
        if !variables.is_empty() {
            self.set("data-variables", FactValue::Table(variables), None);
        }
    }

    fn requirements(&mut self, survey: &Survey) {
        if let PinState::Elsewhere(name, true) = &survey.pins {
            let at = Some(Location::file(self.root.join(name)));
            self.set("requirements", FactValue::list([name.as_str()]), at);
        }
    }
}

/// A file and the name of an object in it, as a command line takes it.
#[derive(Debug)]
pub(super) struct NamedObject {
    pub(super) target: String,
    pub(super) file: PathBuf,
}

/// The facts about task queues.
#[derive(Debug)]
pub(super) struct QueueFacts {
    pub(super) celery: Option<NamedObject>,
    pub(super) celery_queues: Option<String>,
    pub(super) has_schedule: bool,
    pub(super) rq: Option<String>,
    pub(super) dramatiq: Option<String>,
    pub(super) huey: Option<String>,
    pub(super) has_django_huey: bool,
    pub(super) arq: Option<String>,
}
