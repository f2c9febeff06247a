//! `pkgapp init`: inspects a project and writes a configuration that builds.

use std::path::{Path, PathBuf};

use crate::cli::{GlobalOptions, InitArgs};
use pkgapp_config::{ADDED_LOCK, ConfigDraft, FactValue, ProjectFacts, is_whole_lock, serves};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::process;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_core::target::{self, TARGETS, Target};
use pkgapp_core::text::{backticked, counted};
use pkgapp_detect::{
    FoundSetting, Framework, Gateway, Literal, PinState, SettingKind, Survey, WebApp, subprojects,
};
use pkgapp_lock::environment_diff::{Venv, editable_line};
use pkgapp_pypa::PackageName;

use super::working_directory;

/// The name of the configuration file.
const FILE: &str = "pkgapp.toml";

/// The supported minor versions of Python 3, the newest first.
const PYTHONS: [u16; 7] = [14, 13, 12, 11, 10, 9, 8];

pub(super) fn init(args: &InitArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let here = working_directory()?;
    let root = args
        .directory
        .as_ref()
        .map_or_else(|| here.clone(), |directory| here.join(directory));
    if !root.is_dir() {
        return Err(Error::new(format!("`{}` is not a directory", shown(&root)))
            .hint("use the project's directory"));
    }
    if global.config.is_some() {
        return Err(Error::new(format!(
            "`--config` names a file to read, but `pkgapp init` writes `{FILE}`"
        ))
        .hint("omit it, and move the file afterwards"));
    }
    let file = root.join(FILE);
    refuse_to_replace(&root, &file, args)?;
    refuse_above_projects(&root)?;
    let mut survey = Survey::of(&root)?;
    survey.keeps(earlier_additions(&file));
    let python = if survey.says_python {
        None
    } else {
        Some(python(&survey)?)
    };
    let text = configuration(&survey, python);
    say(&survey, python, report);
    if args.print {
        report.text(&text);
        return Ok(());
    }
    write(&file, &text, &survey.facts)?;
    match report.style() {
        OutputStyle::Text => report.result(&shown(&file).to_string()),
        OutputStyle::Json => report
            .json(&serde_json::json!({ "config": file, "framework": survey.framework.name() })),
    }
    Ok(())
}

/// Returns the additional requirements of the configuration that is replaced: its pylock.toml has
/// them only as long as the configuration does.
fn earlier_additions(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let add = table
        .get("python")
        .and_then(|python| python.get("add")?.as_array());
    add.into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn refuse_to_replace(root: &Path, file: &Path, args: &InitArgs) -> Result<()> {
    if args.force || args.print {
        return Ok(());
    }
    if file.exists() {
        return Err(Error::new(format!("`{FILE}` already exists"))
            .at(Location::file(file))
            .hint("edit it, or replace it with `pkgapp init --force`"));
    }
    let project = root.join("pyproject.toml");
    let text = if project.is_file() {
        fs::read_to_string(&project)?
    } else {
        String::new()
    };
    let configured = text
        .lines()
        .any(|line| line.trim_start().starts_with("[tool.pkgapp"));
    if configured {
        let error = Error::new("the project already has a configuration, `[tool.pkgapp]`")
            .at(Location::file(project));
        return Err(error.hint("edit it; `pkgapp check` checks it"));
    }
    Ok(())
}

/// Refuses a directory that only contains projects: each has its own requirements, version, and
/// import paths.
fn refuse_above_projects(root: &Path) -> Result<()> {
    let projects = subprojects(root);
    let [first, others @ ..] = &projects[..] else {
        return Ok(());
    };
    let listed: Vec<String> = projects
        .iter()
        .map(|project| format!("`{}`", shown(project)))
        .collect();
    let message = if others.is_empty() {
        format!("the project is in {}", listed[0])
    } else {
        format!("there are several projects here: {}", listed.join(", "))
    };
    Err(Error::new(message)
        .at(Location::file(root))
        .hint(format!("run `pkgapp init {}`", shown(first))))
}

/// Writes the configuration and loads it like a build; an invalid one is removed.
fn write(file: &Path, text: &str, facts: &ProjectFacts) -> Result<()> {
    let before = file.is_file().then(|| fs::read(file)).transpose()?;
    let put = |bytes: &[u8]| {
        fs::write_atomically(file, |out| {
            std::io::Write::write_all(out, bytes)
                .context(|| format!("cannot write `{}`", shown(file)))
        })
    };
    put(text.as_bytes())?;
    let read = ConfigDraft::read(Some(file), file.parent().unwrap_or(Path::new("/")))
        .and_then(|draft| draft.finish(facts))
        .and_then(|app| app.check_files());
    read.or_else(|error| {
        match &before {
            Some(before) => put(before)?,
            None => {
                std::fs::remove_file(file)
                    .context(|| format!("cannot remove `{}`", shown(file)))?;
            }
        }
        Err(error
            .context("cannot create a valid configuration for the project")
            .hint(format!(
                "correct the output of `pkgapp init --print`, and save it as `{FILE}`"
            )))
    })
}

/// Chooses the Python: that of the build machine's Linux distribution if the project supports it,
/// else the newest supported one on the build machine. A project that says nothing runs with the
/// Python of its own deployment, or with a newer one of the distribution.
fn python(survey: &Survey) -> Result<PythonMinor> {
    let deployed = survey.deployed_python;
    let present = distribution_minor()
        .into_iter()
        .chain(deployed.map(|version| version.minor.into()))
        .chain(PYTHONS)
        .filter(|minor| has_python(*minor));
    let here = supported(survey, present)?;
    let all = supported(survey, PYTHONS.into_iter())?;

    // Pins older than a Python have no wheels for it, and often do not compile with it.
    let has_wheels = |version: &&PythonMinor| survey.compiled_for(**version).is_empty();
    let is_deployed = |version: &&PythonMinor| deployed.is_none_or(|least| **version >= least);
    let chosen = here
        .iter()
        .find(|version| is_deployed(version) && has_wheels(version))
        .or(here.iter().find(has_wheels))
        .or(here.first())
        .or(all.iter().find(has_wheels))
        .or(all.first());
    chosen.copied().ok_or_else(|| {
        let wanted = survey
            .requires_python
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        Error::new(format!(
            "the project requires Python {wanted}, but pkgapp supports 3.8 to 3.14"
        ))
        .hint(
            "set `requires-python` in pyproject.toml to the versions that the application supports",
        )
    })
}

/// Returns the minor version of the Python that the build machine's Linux distribution uses.
fn distribution_minor() -> Option<u16> {
    let target = std::fs::read_link("/usr/bin/python3").ok()?;
    let minor = target.file_name()?.to_str()?.strip_prefix("python3.")?;
    minor.parse().ok()
}

/// Returns whether the build machine has Python 3 of a minor version.
fn has_python(minor: u16) -> bool {
    let name = format!("python3.{minor}");
    let version = format!("3.{minor}").parse();
    Path::new("/usr/bin").join(&name).exists()
        || process::find(&name).is_some()
        || version.is_ok_and(|version| prefix_of(version).is_some())
}

/// Returns the versions that the project supports, in the order of `minors`.
fn supported(survey: &Survey, minors: impl Iterator<Item = u16>) -> Result<Vec<PythonMinor>> {
    let versions = minors.map(|minor| format!("3.{minor}").parse());
    let versions = versions.collect::<Result<Vec<PythonMinor>>>()?;
    Ok(versions
        .into_iter()
        .filter(|version| survey.takes(*version))
        .collect())
}

/// Returns the text of the configuration: the recipe, and lines that no recipe can know.
fn configuration(survey: &Survey, python: Option<PythonMinor>) -> String {
    let mut text = format!(
        "# A {} application. `pkgapp explain` shows all values and where they come from.\n",
        survey.framework.name()
    );
    for (name, lines) in tables(survey, python) {
        if lines.is_empty() {
            continue;
        }
        text.push('\n');
        if !name.is_empty() {
            text.extend(["[", &name, "]\n"]);
        }
        text.extend([&lines.join("\n"), "\n"]);
    }
    text
}

/// Returns the tables of the configuration with their lines, which may be none. A table without a
/// name consists of comments.
fn tables(survey: &Survey, python: Option<PythonMinor>) -> Vec<(String, Vec<String>)> {
    let recipe = recipe(survey);
    let mut tables = vec![
        ("app".to_owned(), app(survey, recipe)),
        ("python".to_owned(), python_table(survey, python)),
        (String::new(), lacking_web(survey, recipe)),
    ];
    if recipe == "django" && !is_served(survey) {
        let line = "web = false  # none of its requirements is a server";
        tables.push(("service".to_owned(), vec![line.to_owned()]));
    }
    // Recipes know the workers of task queues, but commands that loop have names of their own.
    let loops = survey
        .workers
        .iter()
        .filter(|worker| !["worker", "beat"].contains(&worker.name.as_str()));
    tables.extend(loops.map(|worker| {
        let lines = vec![exec(survey, &worker.exec)];
        (format!("service.{}", worker.name), lines)
    }));
    let settings = survey.settings.iter().map(setting).collect();
    tables.push(("settings".to_owned(), settings));
    let deployment = ["# [deploy.production]", "# hosts = [\"web1.example.com\"]"];
    tables.push((String::new(), deployment.map(str::to_owned).to_vec()));
    tables
}

/// Formats a setting that was found in the code on one line, because there may be many.
fn setting(found: &FoundSetting) -> String {
    let default = found.default.as_ref().and_then(Literal::toml);
    let is_required = default.is_none() && !found.is_optional;
    let mut keys = vec![("type", quoted(found.kind.name()))];
    keys.extend(default.map(|default| ("default", default)));
    if found.is_optional {
        keys.push(("optional", "true".to_owned()));
    } else if is_required && found.kind != SettingKind::Secret {
        keys.push(("from", quoted("host")));
    }
    keys.extend(found.help.as_deref().map(|help| ("help", quoted(help))));

    let keys: Vec<String> = keys
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let place = format!("{}:{}", found.file.display(), found.line);
    format!("{} = {{ {} }}  # {place}", found.name, keys.join(", "))
}

/// Chooses the recipe.
fn recipe(survey: &Survey) -> &'static str {
    let named = match (survey.framework, &survey.web) {
        (Framework::Django, _) => return "django",
        (Framework::Pyramid, Some(_)) => "pyramid",
        (Framework::Pecan, Some(_)) => "pecan",
        (Framework::FastApi, Some(_)) => "fastapi",
        (Framework::Flask, Some(_)) => "flask",
        (_, Some(WebApp::Object { gateway, .. })) => match gateway {
            Gateway::Wsgi => "wsgi",
            Gateway::Asgi => "asgi",
        },
        (Framework::Celery, None) => "celery",
        _ => "plain",
    };
    if named == "celery" && !survey.workers.is_empty() || survey.web.is_some() && is_served(survey)
    {
        named
    } else if survey.workers.is_empty() {
        "plain"
    } else {
        "workers"
    }
}

/// Returns whether a recipe serves the application, perhaps with an added server.
fn is_served(survey: &Survey) -> bool {
    has_server(survey) || added_server(survey).is_some()
}

/// Returns whether one of the recipes can serve the application with its requirements.
fn has_server(survey: &Survey) -> bool {
    ["web", "pyramid", "pecan"]
        .iter()
        .any(|recipe| serves(recipe, &survey.root, &survey.facts))
}

/// Returns comments for a web service that the user must write.
fn lacking_web(survey: &Survey, recipe: &str) -> Vec<String> {
    if is_served(survey) || recipe == "django" {
        return Vec::new();
    }
    let script = survey.scripts.first().filter(|_| survey.has_backend);
    let exec = match (assumed_server(survey), script) {
        (Some(server), _) => {
            return vec![format!(
                "# with `{server}` among the requirements: `recipe = \"{}\"`",
                if server == "uvicorn" { "asgi" } else { "wsgi" }
            )];
        }
        (None, Some(script)) => format!("# exec = {}", quoted(script)),
        (None, None) => return Vec::new(),
    };
    vec!["# [service.web]".to_owned(), exec]
}

fn app(survey: &Survey, recipe: &str) -> Vec<String> {
    let mut lines = vec![format!("recipe = {}", quoted(recipe))];
    if survey.lacks_name {
        lines.push(format!("name = {}", quoted(survey.name.as_str())));
    }
    if survey.lacks_version {
        lines.push("version = \"0.1.0\"".to_owned());
    }
    let writes = &survey.writes;
    if !writes.perhaps.is_empty() {
        let paths: Vec<String> = writes
            .paths
            .iter()
            .chain(&writes.perhaps)
            .map(|path| quoted(path))
            .collect();
        lines.push(format!(
            "# writable = [{}]  # if it writes to all that .gitignore has",
            paths.join(", ")
        ));
    }
    lines
}

fn python_table(survey: &Survey, python: Option<PythonMinor>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(python.map(|python| format!("version = {}", quoted(&python.to_string()))));
    match &survey.pins {
        PinState::Elsewhere(name, true)
            if additions(survey).is_none() || is_whole_lock(Path::new(name)) => {}
        PinState::Elsewhere(name, _) => {
            lines.push(format!(
                "# `pkgapp lock {name}` writes the pylock.toml that a build reads"
            ));
        }
        _ => {}
    }
    lines.extend(extras_and_groups(survey));
    lines.extend(additions(survey));
    let version = python.or_else(|| written_python(&survey.root));
    if let Some(version) = version {
        let path = prefix_of(version).map_or_else(
            || format!("cpython-{version}.0+…-x86_64-unknown-linux-gnu-install_only.tar.gz"),
            |prefix| shown(&prefix).to_string(),
        );
        if ships_interpreter(version) {
            lines.push(format!(
                "interpreter = \"bundled\"  # hosts then need no Python {version}"
            ));
            lines.push(format!("path = {}", quoted(&path)));
        } else {
            lines.push(format!(
                "# interpreter = \"bundled\"  # hosts then need no Python {version}"
            ));
            lines.push(format!("# path = {}", quoted(&path)));
        }
    }
    lines
}

fn extras_and_groups(survey: &Survey) -> Vec<String> {
    let line = |key: &str, names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        (!names.is_empty()).then(|| format!("{key} = [{}]", names.join(", ")))
    };
    [
        line("groups", &survey.groups),
        line("extras", &survey.extras),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns the setting for additional requirements, with the reason.
fn additions(survey: &Survey) -> Option<String> {
    let server = added_server(survey);
    let server = server.filter(|server| !survey.keeps_already(server));
    let added = server.iter().copied().chain(survey.add.iter().copied());
    let all: Vec<String> = added
        .chain(survey.kept.iter().map(String::as_str))
        .map(quoted)
        .collect();
    if !survey.kept.is_empty() {
        return Some(format!("add = [{}]  # as before", all.join(", ")));
    }
    let why = match (server, survey.add.is_empty()) {
        (None, true) => return None,
        (Some(_), true) => "its requirements have no server",
        (None, false) => "its requirements have no driver for its database",
        (Some(_), false) => "its requirements have neither a server nor a driver for its database",
    };
    Some(format!("add = [{}]  # {why}", all.join(", ")))
}

/// Formats a command for a service, with paths relative to the service's working directory.
fn exec(survey: &Survey, line: &str) -> String {
    let line = match &survey.working_directory {
        Some(directory) => line.replace(&format!(" {directory}/"), " "),
        None => line.to_owned(),
    };
    format!("exec = {}", quoted(&line))
}

/// Returns the server to add to an application that requires none.
fn assumed_server(survey: &Survey) -> Option<&'static str> {
    match &survey.web {
        Some(WebApp::Object { gateway, .. }) => Some(match gateway {
            Gateway::Wsgi => "gunicorn",
            Gateway::Asgi => "uvicorn",
        }),
        Some(WebApp::Paste { .. } | WebApp::Pecan(_)) | None => None,
    }
}

/// Returns the server to add if `pkgapp lock` can pin it beside the requirements, or beside a lock
/// from another tool.
fn added_server(survey: &Survey) -> Option<&'static str> {
    let is_resolved = match &survey.pins {
        PinState::Nothing => true,
        PinState::Found(name) | PinState::Loose(name) | PinState::Elsewhere(name, _) => {
            !name.ends_with("pylock.toml")
        }
    };
    // If a program of the application serves it, the object may lack additions of that program; a
    // module for servers is complete.
    let is_entry = matches!(&survey.web, Some(WebApp::Object { module, .. })
        if module.rsplit('.').next().is_some_and(|name| ["wsgi", "asgi"].contains(&name)));
    let is_certain = survey.framework == Framework::Django || !survey.starts_a_server || is_entry;
    assumed_server(survey).filter(|_| is_resolved && is_certain && !has_server(survey))
}

/// Returns the version in `.python-version` if it is supported.
fn written_python(root: &Path) -> Option<PythonMinor> {
    let text = fs::read_to_string(&root.join(".python-version")).ok()?;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let parts: Vec<&str> = line.splitn(3, '.').take(2).collect();
    parts.join(".").parse().ok()
}

/// Returns the prefix of a Python that could ship with the release; the user's own are preferred
/// over the Linux distribution's.
fn prefix_of(python: PythonMinor) -> Option<PathBuf> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map_or_else(|| home.join(".pyenv"), PathBuf::from)
        .join("versions");
    let uv = home.join(".local/share/uv/python");
    newest_prefix(&pyenv, &format!("{python}."), python)
        .or_else(|| newest_prefix(&uv, &format!("cpython-{python}."), python))
        .or_else(|| prefix_on_path(python))
}

/// Returns the directory with the highest patch release, whose number follows `start` in its name.
fn newest_prefix(directory: &Path, start: &str, python: PythonMinor) -> Option<PathBuf> {
    let patch_of = |name: &str| -> Option<u32> {
        let digits = name.strip_prefix(start)?;
        let end = digits.find(|c: char| !c.is_ascii_digit());
        Some(digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0))
    };
    std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|prefix| prefix.join("bin").join(format!("python{python}")).exists())
        .filter_map(|prefix| Some((patch_of(&prefix.file_name()?.to_string_lossy())?, prefix)))
        .max_by_key(|(patch, _)| *patch)
        .map(|(_, prefix)| prefix)
}

/// Returns the prefix of the Python in PATH.
fn prefix_on_path(python: PythonMinor) -> Option<PathBuf> {
    let found = process::find(&format!("python{python}"))?
        .canonicalize()
        .ok()?;
    let prefix = found.parent()?.parent()?;
    prefix
        .join("lib")
        .join(format!("python{python}"))
        .is_dir()
        .then(|| prefix.to_owned())
}

/// Widely used targets, for a note about a Python that most of them lack.
const USUAL: [&str; 5] = ["debian12", "debian13", "ubuntu24.04", "el9", "el10"];

/// Returns whether the release should bundle its interpreter: most targets lack that Python, or
/// hosts like the build machine do, and the build machine has one that can ship.
fn ships_interpreter(python: PythonMinor) -> bool {
    uncommon(python).is_some()
        && prefix_of(python).is_some_and(|prefix| !prefix.starts_with("/usr"))
}

/// Names the targets that lack a Python, if most do, or if the build machine is one of them: then
/// its packages would install on no host like it.
fn uncommon(python: PythonMinor) -> Option<String> {
    if distribution_minor() == Some(u16::from(python.minor)) {
        return None;
    }
    let release = std::fs::read_to_string("/etc/os-release").ok();
    lacking_targets(python, release.as_deref().and_then(target::of_release))
}

/// Names the targets that lack a Python, if most of the usual ones do, or if `here` is one of them.
fn lacking_targets(python: PythonMinor, here: Option<&Target>) -> Option<String> {
    let is_here = |target: &Target| here == Some(target);
    let asked = TARGETS
        .iter()
        .filter(|target| USUAL.contains(&target.name) || is_here(target));
    let (with, without): (Vec<_>, Vec<_>) = asked.partition(|target| target.offers(python));
    let names = |targets: &[&Target]| {
        targets
            .iter()
            .map(|target| target.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if without.len() <= with.len() && !without.iter().any(|target| is_here(target)) {
        return None;
    }
    let which = match with.len() {
        0 => "which no usual distribution has".to_owned(),
        _ => format!(
            "which {} do not have (only {})",
            names(&without),
            names(&with)
        ),
    };
    Some(format!("hosts need Python {python}, {which}"))
}

/// Quotes a text for TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reports the findings and the remaining tasks.
fn say(survey: &Survey, python: Option<PythonMinor>, report: &Report) {
    report.step(&format!("a {} application", survey.framework.name()));
    say_facts(survey, report);
    say_settings(survey, report);
    say_pins(survey, report);
    if let Some(why) = &survey.no_wheel {
        report.step(&format!("ships as plain files, not as a wheel: {why}"));
    }
    if let Some(python) = python.or_else(|| written_python(&survey.root)) {
        say_python(python, report);
        say_compiled(survey, python, report);
    }
    for (name, directory) in unnamed_editables(survey) {
        let (from, line) = (shown(&directory), editable_line(&directory));
        report.warning(&format!(
            "`{name}` is installed from `{from}` to be edited, and no pin: it ships with `{line}`"
        ));
    }
    if let Some(warning) = lacking_service(survey) {
        report.warning(&warning);
    }
    for sentence in &survey.open {
        report.warning(sentence);
    }
}

/// Reports the facts that a recipe uses, with the files that show them.
fn say_facts(survey: &Survey, report: &Report) {
    for (name, fact) in survey.facts.iter() {
        if let (FactValue::String(text), Some(at)) = (&fact.value, &fact.at) {
            let file = shown(&at.file);
            report.step(&match at.position {
                Some((line, _)) => format!("{name}: `{text}`, found in `{file}:{line}`"),
                None => format!("{name}: `{text}`, found in `{file}`"),
            });
        }
    }
}

/// Reports the settings, and those that need a value on each host.
fn say_settings(survey: &Survey, report: &Report) {
    let settings = &survey.settings;
    if settings.is_empty() {
        return;
    }
    let is_needed = |setting: &&FoundSetting| !setting.is_optional && setting.default.is_none();
    let needed: Vec<&str> = settings
        .iter()
        .filter(is_needed)
        .map(|setting| setting.name.as_str())
        .collect();
    let count = counted(settings.len(), "setting");
    report.step(&match needed.as_slice() {
        [] => format!("{count}, all with a value"),
        needed => format!("{count}; hosts need values for {}", backticked(needed)),
    });
}

/// Reports the source of the pins, and how to pin the remaining requirements.
fn say_pins(survey: &Survey, report: &Report) {
    let added = added_server(survey);
    let adds = added.is_some() || !survey.add.is_empty();
    let lacking = if added.is_some() {
        "server"
    } else {
        "driver for its database"
    };
    let completes = "`pkgapp lock` writes a `pylock.toml` that does";
    let warning = match (&survey.pins, &survey.gap) {
        (PinState::Found(name) | PinState::Elsewhere(name, true), _)
            if adds && is_whole_lock(Path::new(name)) =>
        {
            format!(
                "`{name}` pins no {lacking}: `pkgapp lock` pins one beside it, in `{ADDED_LOCK}`"
            )
        }
        (PinState::Found(name), _) if adds => format!("`{name}` pins no {lacking}: {completes}"),
        (PinState::Elsewhere(name, true), _) if adds => {
            format!(
                "`{name}` pins no {lacking}: `pkgapp lock {name}` writes a `pylock.toml` that does"
            )
        }
        (PinState::Found(name) | PinState::Elsewhere(name, true), _) => {
            report.step(&format!("pinned by `{name}`"));
            return;
        }
        (PinState::Loose(name), Some(gap)) => {
            format!("`{name}` does not pin everything ({gap}): {completes}")
        }
        (PinState::Loose(name), None) => format!("`{name}` does not pin everything: {completes}"),
        (PinState::Elsewhere(name, false), _) => format!(
            "`{name}` does not pin everything: `pkgapp lock {name}` writes a `pylock.toml` that does"
        ),
        (PinState::Nothing, _) => {
            "nothing pins what it requires: `pkgapp lock` writes a `pylock.toml`".to_owned()
        }
    };
    report.warning(&warning);
}

/// Reports a Python that targets usually lack.
fn say_python(python: PythonMinor, report: &Report) {
    let Some(why) = uncommon(python) else { return };
    if ships_interpreter(python) {
        let prefix = prefix_of(python).unwrap_or_default();
        let from = shown(&prefix);
        report.step(&format!("{why}: the release ships that of `{from}`"));
    } else {
        report.warning(&format!("{why}: `interpreter = \"bundled\"` ships it"));
    }
}

/// Reports pins without a wheel for the Python.
fn say_compiled(survey: &Survey, python: PythonMinor, report: &Report) {
    let compiled = survey.compiled_for(python);
    let Some(first) = compiled.first() else {
        return;
    };
    let more = if compiled.len() > 1 {
        format!(" and {} more", compiled.len() - 1)
    } else {
        String::new()
    };
    report.warning(&format!(
        "`{first}`{more} of the pins have no wheel for Python {python} and are compiled, which may fail: pin newer \
         versions, or choose another `[python] version`"
    ));
}

/// Returns what the configuration's service lacks.
fn lacking_service(survey: &Survey) -> Option<String> {
    match &survey.web {
        Some(WebApp::Object { module, name, .. }) if !has_server(survey) => {
            let done = match added_server(survey) {
                Some(server) => format!("`add` has `{server}`"),
                None => "there is no `[service.web]`".to_owned(),
            };
            Some(format!(
                "no server for `{module}:{name}` is among its requirements: {done}"
            ))
        }
        None if ![Framework::Plain, Framework::Celery].contains(&survey.framework) => {
            let script = survey.scripts.first().filter(|_| survey.has_backend);
            let way_out = match script {
                Some(script) => format!(
                    "if `{script}` is the server, write its arguments into the commented `[service.web]`"
                ),
                None => "write a `[service.web]`".to_owned(),
            };
            Some(format!(
                "no application object was found to serve: {way_out}"
            ))
        }
        Some(_) | None => None,
    }
}

/// Returns editable installations in the project's virtual environment that the pins do not name: a
/// release would lack them, which nobody notices on the machine where they were written.
fn unnamed_editables(survey: &Survey) -> Vec<(PackageName, PathBuf)> {
    let Some(venv) = [".venv", "venv", "env"]
        .iter()
        .find_map(|name| Venv::open(&survey.root.join(name)).ok())
    else {
        return Vec::new();
    };
    let pins = match &survey.pins {
        PinState::Found(name) | PinState::Loose(name) | PinState::Elsewhere(name, _) => {
            survey.root.join(name)
        }
        PinState::Nothing => return Vec::new(),
    };
    let mut named = editable_directories(&survey.root, &pins);
    named.extend(survey.root.canonicalize());
    let is_unnamed = |(name, directory): &(&PackageName, &Path)| {
        let real = directory
            .canonicalize()
            .unwrap_or_else(|_| directory.to_path_buf());
        !survey.requires.contains(name.as_str()) && !named.contains(&real)
    };
    venv.editables()
        .filter(is_unnamed)
        .map(|(name, directory)| (name.clone(), directory.to_owned()))
        .collect()
}

/// Returns the directories of editable requirements in a requirements file, which are relative to
/// `root`; none if the file cannot be read.
fn editable_directories(root: &Path, file: &Path) -> Vec<PathBuf> {
    let text = pkgapp_core::fs::read_to_string(file).unwrap_or_default();
    let directory_in = |line: &str| {
        let path = ["-e ", "--editable ", "--editable="]
            .iter()
            .find_map(|option| line.trim().strip_prefix(option))?;
        root.join(path.trim()).canonicalize().ok()
    };
    text.lines().filter_map(directory_in).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_hosts_like_this_machine_lack_ships() {
        let said = |version: &str, here: &str| {
            let here = target::by_name(here).unwrap();
            lacking_targets(version.parse().unwrap(), Some(here))
        };
        assert_eq!(
            said("3.12", "debian12").unwrap(),
            "hosts need Python 3.12, which debian12, debian13 do not have (only ubuntu24.04, el9, el10)"
        );
        assert_eq!(
            said("3.12", "debian11").unwrap(),
            "hosts need Python 3.12, which debian11, debian12, debian13 do not have (only ubuntu24.04, \
             el9, el10)"
        );
        assert_eq!(said("3.12", "ubuntu24.04"), None);
        assert_eq!(lacking_targets("3.12".parse().unwrap(), None), None);
        assert!(
            said("3.13", "debian13")
                .unwrap()
                .contains("(only debian13)")
        );
        assert_eq!(
            said("3.8", "debian12").unwrap(),
            "hosts need Python 3.8, which no usual distribution has"
        );
    }
}
