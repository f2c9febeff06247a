//! A survey of a project's tree: what `pkgapp init` can know of an application before anything is
//! configured.
//!
//! Nothing is run and no Python is parsed: pyproject.toml and lock files are data, and of the
//! source it is enough to see the lines that make an application object. Where a survey is not
//! sure, it leaves a thing out: what it finds must build.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

mod app_json;
mod choices;
mod code;
mod deployment;
mod facts;
mod links;
mod pins;
mod project;
mod subprojects;
#[cfg(test)]
mod tests;
mod wheels;
mod writable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use pkgapp_config::{LOCKS, ProjectFacts, check_setting_name};
use pkgapp_core::error::Result;
use pkgapp_core::name::{AppName, PythonMinor};
use pkgapp_pypa::VersionSpecifiers;

use self::app_json::AppJson;
use self::choices::ProjectChoices;
use self::code::{CodeFacts, WrittenPath};
use self::deployment::DeploymentFiles;
use self::project::ProjectFiles;
use self::wheels::LockedWheels;
use self::writable::WritePlan;

pub use self::code::{
    Factory, FoundSetting, Framework, Gateway, Literal, SettingKind, WebApp, Worker,
};
pub use self::subprojects::subprojects;

/// How projects name the requirements of the application itself, in files that a build does not
/// look for: `requirements-ROLE.txt`, `requirements/ROLE.txt`, and `requirements/requirements-ROLE.txt`. The first that exists counts.
const ROLES: [&str; 8] = [
    "production",
    "prod",
    "main",
    "base",
    "common",
    "requirements",
    "default",
    "runtime",
];

/// Directories at the top of a tree that are no part of an application.
const ASIDE: [&str; 20] = [
    "tests",
    "test",
    "testing",
    "docs",
    "doc",
    "examples",
    "example",
    "node_modules",
    "venv",
    "env",
    "build",
    "dist",
    "deploy",
    "requirements",
    "scripts",
    "tools",
    "benchmarks",
    "ci",
    "docker",
    "__pycache__",
];

/// Modules at the top of a tree that are no part of an application.
const TOOLS: [&str; 8] = [
    "setup.py",
    "conftest.py",
    "noxfile.py",
    "tasks.py",
    "fabfile.py",
    "dodo.py",
    "runtests.py",
    "versioneer.py",
];

/// What a tree shows.
#[derive(Debug)]
pub struct Survey {
    /// The tree.
    pub root: PathBuf,
    /// What the application is called.
    pub name: AppName,
    /// Whether nothing that a build reads says so.
    pub lacks_name: bool,
    /// Whether nothing says the version.
    pub lacks_version: bool,
    /// Whether it is to be built as a wheel.
    pub has_backend: bool,
    /// Why it is not to be built as a wheel, although a build would take it for a project.
    pub no_wheel: Option<String>,
    /// Plain files, as patterns, that are no part of a wheel.
    pub include: Vec<String>,
    /// What of these can't ship.
    pub exclude: Vec<String>,
    /// Directories of these that modules are imported from.
    pub import_from: Vec<String>,
    /// What pins its requirements.
    pub pins: PinState,
    /// What the pins lack, although each has a version, as a clause: "`django` requires
    /// `asgiref`".
    pub gap: Option<String>,
    /// Whether `.python-version` says which Python.
    pub says_python: bool,
    /// Which Pythons it takes; `None` if it does not say.
    pub requires_python: Option<VersionSpecifiers>,
    /// The Python that its own deployment runs, if the project does not say which Pythons it takes.
    pub deployed_python: Option<PythonMinor>,
    /// The distributions that are pinned or required, by normalized name.
    pub requires: BTreeSet<String>,
    /// Extras that ship.
    pub extras: Vec<String>,
    /// Dependency groups that ship.
    pub groups: Vec<String>,
    /// What it needs besides its requirements, and they lack.
    pub add: Vec<&'static str>,
    /// What an earlier configuration adds, which was written by whoever knows.
    pub kept: Vec<String>,
    /// What it is made with.
    pub framework: Framework,
    /// The application object that a web server is given.
    pub web: Option<WebApp>,
    /// Whether a program of its own serves it.
    pub starts_a_server: bool,
    /// The command that does, if it is certain.
    pub server_program: Option<String>,
    /// Programs beside it.
    pub workers: Vec<Worker>,
    /// The command that migrates the database.
    pub migrate: Option<String>,
    /// The commands that collect static files at a build.
    pub collect_static: Vec<String>,
    /// Whether the tree has the collected static files already, which a build leaves alone.
    pub(crate) has_collected: bool,
    /// Variables that the settings demand, each with a value that suffices for a build.
    pub variables: BTreeMap<String, &'static str>,
    /// Variables that say where the application keeps its data.
    pub data_variables: Vec<String>,
    /// Variables that could be settings, in the order of their places.
    pub settings: Vec<FoundSetting>,
    /// The directory in the release that its processes run in, unless it is the top.
    pub working_directory: Option<String>,
    /// What it writes to.
    pub writes: WritePlan,
    /// Console scripts of its own.
    pub scripts: Vec<String>,
    /// What is left to the reader, one sentence each.
    pub open: Vec<String>,
    /// What recipes build on.
    pub facts: ProjectFacts,
    /// The files of its lock.
    wheels: LockedWheels,
}

/// What pins an application's requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinState {
    /// A file that a build finds by itself, and that pins everything as far as its form tells.
    Found(String),
    /// The same, but it names distributions without their versions.
    Loose(String),
    /// A file elsewhere; whether each of its lines has a version.
    Elsewhere(String, bool),
    /// There is none.
    Nothing,
}

impl PinState {
    /// The same pins, of which some distributions turned out to have no version.
    fn without_some(self) -> Self {
        match self {
            Self::Found(name) => Self::Loose(name),
            Self::Elsewhere(name, _) => Self::Elsewhere(name, false),
            other => other,
        }
    }
}

impl Survey {
    /// Looks at a tree.
    ///
    /// # Errors
    /// A file of the packaging standards that can't be read, or is not what its name says.
    pub fn of(root: &Path) -> Result<Self> {
        let project = ProjectFiles::read(root)?;
        let deployment = DeploymentFiles::read(root);
        let code = read_code(root, &deployment)?;

        let written = code.written(root);
        let no_wheel = why_no_wheel(root, &project, &code, &written);
        let has_backend = project.is_project && no_wheel.is_none();

        let LockedRequirements {
            pins,
            gap,
            requires,
            choices,
        } = LockedRequirements::find(root, &project, &deployment, &code, has_backend)?;

        let (name, lacks_name) = project.name(root);
        let framework = code.framework(&requires);
        let programs = Programs::find(&code, &project, &requires, &name, has_backend);
        let started = programs.started_tops(&project);
        let include = shipped_files(root, &project, &code, has_backend, started);
        let writes = WritePlan::of(root, written, &code, has_backend);

        let mut survey = Self {
            root: root.to_owned(),
            name,
            lacks_name,
            lacks_version: !has_backend && !project.says("version"),
            has_backend,
            no_wheel,
            exclude: links::stray(root, &include),
            include,
            import_from: import_roots(programs.bases, has_backend),
            deployed_python: match project.requires_python(root) {
                Some(_) => None,
                None => deployment.python,
            },
            requires_python: project
                .requires_python(root)
                .or_else(|| least_python(root, &pins)),
            says_python: root.join(".python-version").is_file(),
            framework,
            web: programs.web,
            starts_a_server: code.starts_a_server(&requires),
            server_program: programs.server,
            workers: programs.workers,
            migrate: programs.migrate,
            collect_static: Vec::new(),
            has_collected: writable::has_collected(root, &code),
            variables: demanded_variables(framework, &code),
            data_variables: data_variables(&code),
            settings: Vec::new(),
            working_directory: code.working_directory(writes.in_working_directory, has_backend),
            writes,
            scripts: project.scripts(),
            open: choices.open,
            extras: choices.extras,
            groups: choices.groups,
            add: choices.add,
            kept: Vec::new(),
            facts: ProjectFacts::default(),
            wheels: LockedWheels::read(root, &pins),
            pins,
            gap,
            requires,
        };
        let app_json = survey.ask_about_heroku();
        survey.propose_settings(&code, app_json);
        survey.look_at_static_files(&code);
        survey.say_what_is_open(&project, &code);
        survey.facts = survey.project_facts(&code);
        Ok(survey)
    }

    /// Reads an app.json, and says what it leaves to be done.
    fn ask_about_heroku(&mut self) -> AppJson {
        let app_json = AppJson::read(&self.root);
        let questions = app_json.open_questions(self.name.as_str(), self.migrate.is_some());
        self.open.extend(questions);
        app_json
    }

    /// Takes the variables that could be settings: not those that pkgapp or systemd set.
    fn propose_settings(&mut self, code: &CodeFacts, app_json: AppJson) {
        let mut settings = code.settings_read();
        app_json::complete(&mut settings, app_json.variables);
        settings.retain(|setting| {
            let name = &setting.name;
            !self.data_variables.contains(name)
                && !self.writes.variables.contains_key(name)
                && check_setting_name(name).is_ok()
        });
        // What hosts must set comes first, then the addresses of databases and the like.
        settings.sort_by_key(|setting| {
            let is_given = setting.default.is_some() || setting.is_optional;
            (is_given, !code::is_address(&setting.name))
        });
        settings.truncate(MOST_SETTINGS);
        settings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        self.settings = settings;
    }

    fn look_at_static_files(&mut self, code: &CodeFacts) {
        match code.static_root() {
            Some(Ok(())) if self.has_collected => {}
            Some(Ok(())) => {
                self.collect_static
                    .extend(code.manage_command("collectstatic --noinput"));
                if code.compresses() && self.has("django-compressor") {
                    // The settings of a build may be those for developers, with which it does
                    // nothing unasked.
                    self.collect_static
                        .extend(code.manage_command("compress --force"));
                }
            }
            Some(Err(why)) => {
                self.open
                    .push(format!("static files are not collected: {why}"));
            }
            None => {}
        }
    }

    fn say_what_is_open(&mut self, project: &ProjectFiles, code: &CodeFacts) {
        if let Some(file) = code
            .only_for_developers()
            .filter(|_| self.framework == Framework::Pyramid && self.web.is_none())
        {
            self.open.push(format!(
                "`{file}` is for developers: write a `production.ini` and serve it with `pserve`"
            ));
        }
        if let Some(file) = code
            .pecan_for_developers()
            .filter(|_| self.has("pecan") && self.web.is_none())
        {
            let server = if self.has("gunicorn") {
                "gunicorn_pecan"
            } else {
                "pecan serve"
            };
            self.open.push(format!(
                "`{file}` is for developers: write a `config.py` and serve it with `{server}`"
            ));
        }
        if !self.has_backend && !self.scripts.is_empty() {
            let names: Vec<String> = self
                .scripts
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let names = names.join(", ");
            self.open.push(format!(
                "without a wheel the release has no console script {names}"
            ));
        }
        if let Some(members) = project.workspace().filter(|_| !project.says("name")) {
            let listed: Vec<String> = members.iter().map(|member| format!("`{member}`")).collect();
            let listed = listed.join(", ");
            self.open.push(format!(
                "this is a workspace: run `pkgapp init` in the member that ships ({listed})"
            ));
        }
    }

    /// Keeps what an earlier configuration adds.
    pub fn keeps(&mut self, added: Vec<String>) {
        self.kept = added;
        let add = std::mem::take(&mut self.add);
        self.add = add
            .into_iter()
            .filter(|name| !self.keeps_already(name))
            .collect();
    }

    /// Whether an earlier configuration adds a distribution, in whatever version.
    pub fn keeps_already(&self, name: &str) -> bool {
        self.kept
            .iter()
            .any(|kept| pins::leading_name(kept).eq_ignore_ascii_case(name))
    }

    /// Returns whether a distribution is pinned or required.
    pub fn has(&self, distribution: &str) -> bool {
        self.requires.contains(distribution)
    }

    /// Returns whether a Python is one that it takes; the patch level is not known, and so the
    /// highest.
    pub fn takes(&self, python: PythonMinor) -> bool {
        let version = format!("{python}.99")
            .parse()
            .expect("a minor version with a patch level is a version");
        self.requires_python
            .as_ref()
            .is_none_or(|specifiers| specifiers.contains(&version))
    }
}

/// How many settings are proposed: more are hardly for operators.
const MOST_SETTINGS: usize = 30;

/// What pins an application's requirements, and what they come to.
struct LockedRequirements {
    pins: PinState,
    /// What the pins lack, as a clause.
    gap: Option<String>,
    /// The distributions that are pinned or required.
    requires: BTreeSet<String>,
    choices: ProjectChoices,
}

impl LockedRequirements {
    fn find(
        root: &Path,
        project: &ProjectFiles,
        deployment: &DeploymentFiles,
        code: &CodeFacts,
        has_backend: bool,
    ) -> Result<Self> {
        let (pins, note) = installed_pins(root, deployment, find_pins(root, has_backend)?)?;
        let required = |besides: &BTreeSet<String>| {
            pins::required(root, &pins, &project.table, &project.setup, besides)
        };
        let without_choices = required(&BTreeSet::new())?;
        let mut choices = ProjectChoices::of(project, deployment, &pins, &without_choices, code);
        choices.open.extend(note);

        let requires = required(&choices.brought)?;
        let gap = gap(root, &pins, &requires)?;
        Ok(Self {
            pins: if gap.is_some() {
                pins.without_some()
            } else {
                pins
            },
            gap,
            requires,
            choices,
        })
    }
}

/// The programs of an application.
struct Programs {
    web: Option<WebApp>,
    /// The command of the application's own server.
    server: Option<String>,
    workers: Vec<Worker>,
    migrate: Option<String>,
    /// The directories that they import their modules from.
    bases: Vec<PathBuf>,
}

impl Programs {
    fn find(
        code: &CodeFacts,
        project: &ProjectFiles,
        requires: &BTreeSet<String>,
        name: &AppName,
        has_backend: bool,
    ) -> Self {
        let (web, web_base) = code.web(requires).unzip();
        let (workers, worker_bases) = code.workers(requires, name.as_str());
        let bases = web_base
            .into_iter()
            .chain(worker_bases)
            .chain(code.manage_directory().map(Path::to_owned))
            .collect();

        let server = server_program(code, requires, &project.scripts(), name, has_backend);
        Self {
            server: server.filter(|_| web.is_some()),
            migrate: migration(code, web.as_ref(), requires),
            web,
            workers,
            bases,
        }
    }

    /// Returns the first names of the modules that services and console scripts start from.
    fn started_tops<'s>(&'s self, project: &'s ProjectFiles) -> impl Iterator<Item = &'s str> {
        let web = match &self.web {
            Some(WebApp::Object { module, .. }) => Some(module.as_str()),
            _ => None,
        };
        let celery = self.workers.iter().filter_map(|worker| {
            worker
                .exec
                .strip_prefix("celery -A ")?
                .split([' ', ':'])
                .next()
        });
        let modules = web
            .into_iter()
            .chain(celery)
            .chain(project.script_modules());
        modules.filter_map(|module| module.split('.').next())
    }
}

/// Returns the variables that the settings of Django demand, each with a value for builds.
fn demanded_variables(framework: Framework, code: &CodeFacts) -> BTreeMap<String, &'static str> {
    if framework == Framework::Django {
        code.variables().clone()
    } else {
        BTreeMap::new()
    }
}

/// Reads the modules of a tree, and the commands that the project's own deployment starts.
fn read_code(root: &Path, deployment: &DeploymentFiles) -> Result<CodeFacts> {
    let mut code = code::read(root)?;
    for command in &deployment.servers {
        code.is_served_by(command);
    }
    code.is_worked_by(deployment.celery.clone());
    Ok(code)
}

/// Returns why no wheel is built, although a build would take the tree for a project.
fn why_no_wheel(
    root: &Path,
    project: &ProjectFiles,
    code: &CodeFacts,
    written: &[WrittenPath],
) -> Option<String> {
    if !project.is_project {
        return None;
    }
    project
        .refuses_a_wheel(root)
        .or_else(|| runs_from_its_tree(root, project, code))
        .or_else(|| {
            if code.serves() {
                writable::keeps_from_a_wheel(root, written)
            } else {
                None
            }
        })
}

/// Returns the first distribution that pins of pip's lack, as a clause.
fn gap(root: &Path, pins: &PinState, requires: &BTreeSet<String>) -> Result<Option<String>> {
    let (PinState::Found(name) | PinState::Elsewhere(name, true)) = pins else {
        return Ok(None);
    };
    if !name.ends_with(".txt") {
        return Ok(None);
    }
    let file = root.join(name);
    let left_out = pins::left_out(&file)?.filter(|name| !requires.contains(name));
    let gap = pins::gap(&file, requires)?;
    Ok(gap.or(left_out.map(|name| format!("`pip-compile` left out `{name}`"))))
}

/// Patterns for the plain files that ship: without a build backend all of the application, else
/// what its wheel lacks. `started` are the first names of the modules that services start from.
fn shipped_files<'s>(
    root: &Path,
    project: &ProjectFiles,
    code: &CodeFacts,
    has_backend: bool,
    mut started: impl Iterator<Item = &'s str>,
) -> Vec<String> {
    if !has_backend {
        return whole_tree(root, code);
    }
    match project.wheel_packages() {
        Some(packages) if started.any(|top| is_beside(root, top, &packages)) => {
            beside_wheel(root, code, &packages)
        }
        _ => beside_packages(root, code),
    }
}

/// Returns why an application works in its own tree only, though a wheel could be built of it.
fn runs_from_its_tree(root: &Path, project: &ProjectFiles, code: &CodeFacts) -> Option<String> {
    if code.mentions("alembic.ini")
        && code
            .alembic()
            .is_some_and(|alembic| alembic.file == Path::new("alembic.ini"))
    {
        return Some("its code reads `alembic.ini`, which a wheel would lack".to_owned());
    }
    let manage = code.manage_directory()?;
    if !project.scripts().is_empty() {
        return None;
    }
    let place = |name: &str| manage.join(name).display().to_string();
    if manage != Path::new("") && manage != Path::new("src") {
        return Some(format!("Django runs from `{}`", manage.display()));
    }
    // Settings look for these beside manage.py (`BASE_DIR`), and wheels have packages alone.
    let beside = ["templates", "static", "locale", "assets"]
        .into_iter()
        .find(|name| {
            let directory = root.join(manage).join(name);
            directory.is_dir() && !directory.join("__init__.py").is_file()
        })?;
    Some(format!(
        "Django finds `{}` beside manage.py, and a wheel would lack it",
        place(beside)
    ))
}

/// The command that serves an application which brings its own server: its only console script or
/// the one with its name, or without a wheel the module that is run.
fn server_program(
    code: &CodeFacts,
    requires: &BTreeSet<String>,
    scripts: &[String],
    name: &AppName,
    has_backend: bool,
) -> Option<String> {
    if !code.starts_a_server(requires) {
        return None;
    }
    if !has_backend {
        return code
            .server_program()
            .map(|program| format!("python app/{program}"));
    }
    let named = scripts
        .iter()
        .find(|script| script.as_str() == name.as_str());
    named
        .or(scripts.first().filter(|_| scripts.len() == 1))
        .cloned()
}

/// The directories that modules are imported from, besides what is importable anyway.
fn import_roots(bases: Vec<PathBuf>, has_backend: bool) -> Vec<String> {
    let names: BTreeSet<String> = bases
        .iter()
        .map(|base| base.display().to_string())
        .collect();
    // What a build backend makes a wheel of is importable wherever it lies in the tree.
    names
        .into_iter()
        .filter(|name| !name.is_empty() && !has_backend)
        .collect()
}

/// The variables that say where data and collected static files lie, which recipes set.
fn data_variables(code: &CodeFacts) -> Vec<String> {
    let moved = [code.static_variable(), code.media_variable()];
    let moved = moved.into_iter().flatten().map(str::to_owned);
    let mut names: Vec<String> = code.data_variables().cloned().chain(moved).collect();
    names.sort();
    names.dedup();
    names
}

/// The command that brings a database up to date.
fn migration(
    code: &CodeFacts,
    web: Option<&WebApp>,
    requires: &BTreeSet<String>,
) -> Option<String> {
    let settings = code
        .other_settings()
        .map_or_else(String::new, |settings| format!(" --settings {settings}"));
    if let Some(command) = code.manage_command(&format!("migrate --noinput{settings}")) {
        return Some(command);
    }
    let alembic = code.alembic();
    flask_migration(alembic, web)
        .filter(|_| requires.contains("flask-migrate"))
        .or_else(|| {
            alembic
                .filter(|_| requires.contains("alembic"))
                .map(alembic_migration)
        })
}

/// The command of Flask-Migrate, which finds its directory `migrations` by itself.
fn flask_migration(alembic: Option<&code::Alembic>, web: Option<&WebApp>) -> Option<String> {
    let Some(WebApp::Object {
        module,
        name,
        factory,
        ..
    }) = web
    else {
        return None;
    };
    let call = if *factory == Factory::Yes { "()" } else { "" };
    let directory = alembic
        .and_then(|alembic| alembic.file.parent())
        .filter(|directory| directory.iter().count() == 1)
        .map_or_else(String::new, |directory| {
            format!(" --directory app/{}", directory.display())
        });
    Some(format!(
        "flask --app '{module}:{name}{call}' db upgrade{directory}"
    ))
}

fn alembic_migration(alembic: &code::Alembic) -> String {
    let file = alembic.file.display();
    if !alembic.needs_directory {
        return format!("alembic -c app/{file} upgrade head");
    }
    let parts = std::iter::once("app".as_ref()).chain(alembic.file.parent().into_iter().flatten());
    let directory: PathBuf = parts.collect();
    let up = "../".repeat(directory.components().count());
    format!(
        "/bin/sh -c 'cd {} && {up}bin/alembic upgrade head'",
        directory.display()
    )
}

fn find_pins(root: &Path, has_backend: bool) -> Result<PinState> {
    if let Some(name) = LOCKS.iter().find(|name| root.join(name).is_file()) {
        let is_loose = *name == "requirements.txt" && !pins::all_pinned(&root.join(name))?;
        return Ok(if is_loose {
            PinState::Loose((*name).to_owned())
        } else {
            PinState::Found((*name).to_owned())
        });
    }
    if let Some(lock) = lock_of_workspace(root)? {
        return Ok(PinState::Elsewhere(lock, true));
    }
    match requirements_file(root) {
        Some(name) => match pins::all_pinned(&root.join(&name))? {
            // A project says itself what it requires; such a file is for its developers.
            false if has_backend => Ok(PinState::Nothing),
            pinned => Ok(PinState::Elsewhere(name, pinned)),
        },
        None => Ok(PinState::Nothing),
    }
}

/// The pins that the project's own deployment installs, where nothing better was found by its name;
/// and what the reader should know about them.
fn installed_pins(
    root: &Path,
    deployment: &DeploymentFiles,
    found: PinState,
) -> Result<(PinState, Option<String>)> {
    let is_whole = match &found {
        PinState::Found(name) | PinState::Loose(name) => {
            name != "requirements.txt" || deployment.requirements.iter().any(|file| file == name)
        }
        PinState::Elsewhere(name, _) => !name.ends_with(".txt") && !name.ends_with(".in"),
        PinState::Nothing => false,
    };
    match choices::requirements(root, deployment).filter(|_| !is_whole) {
        Some((name, told)) => {
            let pinned = pins::all_pinned(&root.join(&name))?;
            Ok((PinState::Elsewhere(name, pinned), told))
        }
        None => Ok((found, None)),
    }
}

/// A requirements file where a build does not look, relative to `root`.
pub fn requirements_file(root: &Path) -> Option<String> {
    elsewhere().find(|name| root.join(name).is_file())
}

/// Requirements files as projects keep them where a build does not look.
fn elsewhere() -> impl Iterator<Item = String> {
    let beside = |role| ["-", "_", "."].map(|between| format!("requirements{between}{role}.txt"));
    let below = |role| {
        [
            format!("requirements/{role}.txt"),
            format!("requirements/requirements-{role}.txt"),
        ]
    };
    let files = ROLES
        .iter()
        .flat_map(move |role| beside(role).into_iter().chain(below(role)));
    files.chain(["requirements.in".to_owned()])
}

/// What the pins ask of Python, as far as that is known without an index.
fn least_python(root: &Path, pins: &PinState) -> Option<VersionSpecifiers> {
    let (PinState::Found(name) | PinState::Loose(name) | PinState::Elsewhere(name, _)) = pins
    else {
        return None;
    };
    let text = if name.ends_with(".txt") || name.ends_with(".in") {
        pins::least_python(&root.join(name))
    } else {
        None
    };
    text?.parse().ok()
}

/// The lock of a uv workspace that the project is a member of, relative to it.
fn lock_of_workspace(root: &Path) -> Result<Option<String>> {
    let Ok(root) = root.canonicalize() else {
        return Ok(None);
    };
    for (number, above) in root.ancestors().enumerate().skip(1).take(3) {
        if above.join("uv.lock").is_file() && above.join("pyproject.toml").is_file() {
            let Some(members) = ProjectFiles::read(above)?.workspace() else {
                continue;
            };
            let below = root.strip_prefix(above).unwrap_or(&root);
            let is_member = |pattern: &String| {
                globset::Glob::new(pattern.trim_end_matches('/'))
                    .is_ok_and(|glob| glob.compile_matcher().is_match(below))
            };
            return Ok(members
                .iter()
                .any(is_member)
                .then(|| format!("{}uv.lock", "../".repeat(number))));
        }
        if above.join(".git").exists() {
            break;
        }
    }
    Ok(None)
}

/// Returns patterns for the whole application below `root`, for one that ships without a wheel;
/// none if it can't be read.
pub fn plain_files(root: &Path) -> Vec<String> {
    code::read(root)
        .map(|code| whole_tree(root, &code))
        .unwrap_or_default()
}

/// Patterns for the whole application, where nothing builds a wheel of it.
fn whole_tree(root: &Path, code: &CodeFacts) -> Vec<String> {
    let mut patterns: Vec<String> = listed(root)
        .into_iter()
        .filter(|(name, is_directory)| {
            if *is_directory {
                is_of_the_application(root, name, code)
            } else {
                is_file_of_the_application(name, code)
            }
        })
        .map(|(name, is_directory)| {
            let below = if is_directory { "/**" } else { "" };
            format!("{}{below}", literal(&name))
        })
        .collect();
    patterns.extend(
        code.loose_modules()
            .filter(|name| name.ends_with(".ini"))
            .map(literal),
    );
    patterns.extend(code.alembic().into_iter().flat_map(migrations));
    without_repeats(patterns)
}

/// Whether a directory at the top is a part of the application: its modules, or data that they use.
fn is_of_the_application(root: &Path, name: &str, code: &CodeFacts) -> bool {
    let directory = root.join(name);
    let is_aside = ASIDE.contains(&name) && (name.starts_with("test") || !code.imports(name));
    let is_data = || {
        ["templates", "static", "locale", "data"].contains(&name)
            || code.mentions(name) && !directory.join("package.json").is_file()
    };
    !is_aside
        && !is_environment(&directory)
        && (is_data() || holds_python(&directory, 3))
        && has_files(&directory)
}

fn is_file_of_the_application(name: &str, code: &CodeFacts) -> bool {
    match name.strip_suffix(".py") {
        Some(stem) => {
            let is_tool = TOOLS.contains(&name) && !code.imports(stem);
            !is_tool && !code::is_test(name)
        }
        None => code.mentions(name) && !name.ends_with(".toml") && !LOCKS.contains(&name),
    }
}

/// alembic.ini and the directory of its scripts.
fn migrations(alembic: &code::Alembic) -> Vec<String> {
    let file = literal(alembic.file.display().to_string());
    let scripts = alembic
        .scripts
        .iter()
        .map(|scripts| format!("{}/**", literal(scripts)));
    std::iter::once(file).chain(scripts).collect()
}

/// Patterns for what a wheel of the project lacks: Django's manage.py, the modules that an
/// application object is in, and migrations.
fn beside_packages(root: &Path, code: &CodeFacts) -> Vec<String> {
    let manage = code
        .manage_directory()
        .map(|directory| directory.join("manage.py"));
    let manage = manage
        .filter(|file| root.join(file).is_file())
        .map(|file| literal(file.display().to_string()))
        .into_iter();
    // Those in a package are in the wheel.
    let is_beside = |alembic: &&code::Alembic| {
        !alembic
            .file
            .iter()
            .next()
            .is_some_and(|top| code.is_package(top.as_ref()))
    };
    let migrations = code
        .alembic()
        .filter(is_beside)
        .into_iter()
        .flat_map(migrations);
    without_repeats(
        manage
            .chain(code.loose_modules().map(literal))
            .chain(migrations)
            .collect(),
    )
}

/// Whether a module is in the tree, and not in the wheel that is built of it.
fn is_beside(root: &Path, top: &str, packages: &[String]) -> bool {
    !packages.iter().any(|package| package == top) && holds_python(&root.join(top), 1)
}

/// Patterns for all of the application but the packages that are in its wheel.
fn beside_wheel(root: &Path, code: &CodeFacts, packages: &[String]) -> Vec<String> {
    let mut patterns = whole_tree(root, code);
    patterns.retain(|pattern| {
        !packages
            .iter()
            .any(|package| *pattern == format!("{package}/**"))
            && pattern != "src/**"
    });
    without_repeats(
        patterns
            .into_iter()
            .chain(beside_packages(root, code))
            .collect(),
    )
}

/// Leaves out what another pattern has.
fn without_repeats(patterns: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for pattern in patterns {
        let covers = |other: &String| {
            other
                .strip_suffix("**")
                .is_some_and(|directory| pattern.starts_with(directory))
        };
        if !kept.contains(&pattern) && !kept.iter().any(covers) {
            kept.push(pattern);
        }
    }
    kept
}

/// Whether a directory has files that a pattern would match.
fn has_files(directory: &Path) -> bool {
    let walk = WalkDir::new(directory)
        .max_depth(4)
        .into_iter()
        .filter_map(std::result::Result::ok);
    walk.into_iter().any(|entry| entry.file_type().is_file())
}

/// Whether a directory is a virtual environment.
fn is_environment(directory: &Path) -> bool {
    directory.join("pyvenv.cfg").is_file()
}

/// The names in a directory, sorted, without hidden ones; and whether each is a directory.
fn listed(directory: &Path) -> Vec<(String, bool)> {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<(String, bool)> = entries
        .filter_map(|entry| {
            Some((
                entry.file_name().into_string().ok()?,
                entry.file_type().ok()?,
            ))
        })
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, kind)| (name, kind.is_dir()))
        .collect();
    names.sort();
    names
}

/// Whether a directory has Python modules, so many levels down; a virtual environment does not
/// count.
fn holds_python(directory: &Path, depth: usize) -> bool {
    let names = listed(directory);
    !names.iter().any(|(name, _)| name == "pyvenv.cfg")
        && names.iter().any(|(name, is_directory)| {
            if !is_directory {
                return name.ends_with(".py");
            }
            depth > 0 && name != "node_modules" && holds_python(&directory.join(name), depth - 1)
        })
}

/// A name as a pattern that means just it.
fn literal(name: impl AsRef<str>) -> String {
    let quoted = name.as_ref().chars().map(|c| {
        if "*?[]{}!\\".contains(c) {
            format!("[{c}]")
        } else {
            c.to_string()
        }
    });
    quoted.collect()
}
