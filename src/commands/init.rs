//! `pkgapp init`: looks at a project and writes a configuration that builds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::cli::{Global, InitArgs};
use crate::error::{Context, Error, Location, Result, shown};
use crate::fs;
use crate::name::PythonMinor;
use crate::process;
use crate::pypa::PackageName;
use crate::report::{Report, Style};
use crate::survey::{Factory, Framework, Gateway, Pins, Survey, Web};
use crate::venv::{Venv, editable_line};

use super::working_directory;

/// What is written.
const FILE: &str = "pkgapp.toml";

/// The minor versions of Python 3 that releases run on, the newest first.
const PYTHONS: [u16; 7] = [14, 13, 12, 11, 10, 9, 8];

pub(super) fn init(args: &InitArgs, global: &Global, report: &Report) -> Result<()> {
    let here = working_directory()?;
    let root = args.directory.as_ref().map_or_else(|| here.clone(), |directory| here.join(directory));
    if !root.is_dir() {
        return Err(Error::new(format!("`{}` is no directory", shown(&root))).hint("name the project's directory"));
    }
    if global.config.is_some() {
        return Err(Error::new(format!("`--config` is about a file to read, and `pkgapp init` writes `{FILE}`"))
            .hint("leave it out, and move the file afterwards"));
    }
    let file = root.join(FILE);
    refuse_to_replace(&root, &file, args)?;
    let survey = Survey::of(&root)?;
    let python = if survey.says_python { None } else { Some(python(&survey)?) };
    let text = configuration(&survey, python);
    say(&survey, report);
    if args.print {
        report.text(&text);
        return Ok(());
    }
    write(&file, &text)?;
    match report.style() {
        Style::Text => report.result(&shown(&file).to_string()),
        Style::Json => report.json(&serde_json::json!({ "config": file, "framework": survey.framework.name() })),
    }
    Ok(())
}

fn refuse_to_replace(root: &Path, file: &Path, args: &InitArgs) -> Result<()> {
    if args.force || args.print {
        return Ok(());
    }
    if file.exists() {
        return Err(Error::new(format!("there is a `{FILE}` already"))
            .at(Location::file(file))
            .hint("edit it, or replace it with `pkgapp init --force`"));
    }
    let project = root.join("pyproject.toml");
    let text = if project.is_file() { fs::read_to_string(&project)? } else { String::new() };
    let configured = text.lines().any(|line| line.trim_start().starts_with("[tool.pkgapp"));
    if configured {
        let error = Error::new("the project has a configuration already, `[tool.pkgapp]`").at(Location::file(project));
        return Err(error.hint("edit it: `pkgapp check` says whether it is right"));
    }
    Ok(())
}

/// Writes the configuration, and has it read as a build does; what can't be read does not stay.
fn write(file: &Path, text: &str) -> Result<()> {
    let before = file.is_file().then(|| fs::read(file)).transpose()?;
    let put = |bytes: &[u8]| {
        fs::write_atomically(file, |out| {
            std::io::Write::write_all(out, bytes).context(|| format!("cannot write `{}`", shown(file)))
        })
    };
    put(text.as_bytes())?;
    let read = App::load(Some(file), file.parent().unwrap_or(Path::new("/"))).and_then(|app| app.check_files());
    read.or_else(|error| {
        match &before {
            Some(before) => put(before)?,
            None => std::fs::remove_file(file).context(|| format!("cannot remove `{}`", shown(file)))?,
        }
        Err(error
            .context("what was found in the project makes no configuration")
            .hint(format!("`pkgapp init --print` shows it: mend it by hand and save it as `{FILE}`")))
    })
}

/// Chooses the Python: the one of this machine's distribution, if the project takes it, else the newest here that it
/// takes.
fn python(survey: &Survey) -> Result<PythonMinor> {
    let minor = |minor: u16| -> Result<PythonMinor> { format!("3.{minor}").parse() };
    let is_here = |minor: u16| {
        let name = format!("python3.{minor}");
        Path::new("/usr/bin").join(&name).exists() || process::find(&name).is_some()
    };
    let distributions = std::fs::read_link("/usr/bin/python3").ok();
    let distributions = distributions.and_then(|target| {
        let name = target.file_name()?.to_str()?.strip_prefix("python3.")?.to_owned();
        name.parse::<u16>().ok()
    });
    let candidates = distributions.into_iter().chain(PYTHONS).filter(|candidate| is_here(*candidate)).chain(PYTHONS);
    for candidate in candidates {
        let version = minor(candidate)?;
        if survey.takes(version) {
            return Ok(version);
        }
    }
    let wanted = survey.requires_python.as_ref().map(ToString::to_string).unwrap_or_default();
    Err(Error::new(format!("the project requires Python {wanted}, and pkgapp makes releases for 3.8 to 3.14"))
        .hint("set `requires-python` in pyproject.toml to what the application runs on"))
}

/// The text: at most 20 lines.
fn configuration(survey: &Survey, python: Option<PythonMinor>) -> String {
    let mut text = format!("# A {} application; the README's reference has all keys.\n", survey.framework.name());
    let mut table = |name: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            // Writing to a String does not fail.
            let heading = if name.is_empty() { String::new() } else { format!("[{name}]\n") };
            _ = writeln!(text, "\n{heading}{}", lines.join("\n"));
        }
    };
    table("app", app(survey));
    let version = python.map(|python| format!("version = {}", quoted(&python.to_string())));
    let requirements = match &survey.pins {
        Pins::Elsewhere(name, _) => Some(format!("requirements = [{}]", quoted(name))),
        Pins::Found(_) | Pins::Loose(_) | Pins::Nothing => None,
    };
    table("python", version.into_iter().chain(requirements).collect());
    if survey.collects_static && survey.has("django") {
        table("build", vec!["run = [\"python app/manage.py collectstatic --noinput\"]".to_owned()]);
    }
    match (web(survey), assumed(survey)) {
        (Some(lines), _) => table("service.web", lines),
        (None, Some((server, lines))) => {
            table("", std::iter::once(format!("# with `{server}` among the requirements:")).chain(lines).collect());
        }
        (None, None) => {}
    }
    if let Some(worker) = &survey.worker {
        let beat = if worker.scheduled { " --beat --schedule /var/lib/{name}/beat" } else { "" };
        let beat = beat.replace("{name}", &name_of(survey));
        table("service.worker", vec![format!("exec = {}", quoted(&format!("celery -A {} worker{beat}", worker.app)))]);
    }
    text
}

fn app(survey: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(survey.name.as_ref().map(|name| format!("name = {}", quoted(name.as_str()))));
    lines.extend(survey.lacks_version.then(|| "version = \"0.1.0\"".to_owned()));
    lines.extend(survey.looks_like_project.then(|| "source = \"\"".to_owned()));
    let patterns: Vec<String> = survey.include.iter().map(|pattern| quoted(pattern)).collect();
    if !patterns.is_empty() {
        lines.push(format!("include = [{}]", patterns.join(", ")));
        lines.push("exclude = [\"**/tests/**\"]".to_owned());
    }
    lines
}

/// How the application is served, by a server that it requires itself.
fn web(survey: &Survey) -> Option<Vec<String>> {
    let exec = |line: String| format!("exec = {}", quoted(&line));
    let socket = || "socket = \"127.0.0.1:8000\"".to_owned();
    let (module, name, factory, gateway) = match survey.web.as_ref()? {
        Web::Paste(file) => return Some(vec![exec(format!("pserve app/{file}"))]),
        Web::Pecan(file) if survey.has("gunicorn") => {
            return Some(vec![exec(format!("gunicorn_pecan app/{file}")), socket()]);
        }
        Web::Pecan(file) => return Some(vec![exec(format!("pecan serve app/{file}"))]),
        Web::Object { module, name, factory, gateway } => (module, name, *factory, *gateway),
    };
    let target = format!("{module}:{name}");
    let called = if factory == Factory::Yes { format!("'{target}()'") } else { target.clone() };
    match gateway {
        Gateway::Wsgi if survey.has("gunicorn") => Some(vec![exec(format!("gunicorn {called}")), socket()]),
        Gateway::Wsgi if survey.has("waitress") => {
            let call = if factory == Factory::Yes { "--call " } else { "" };
            Some(vec![exec(format!("waitress-serve --listen 127.0.0.1:8000 {call}{target}"))])
        }
        Gateway::Asgi if survey.has("uvicorn") => {
            let make = if factory == Factory::Yes { "--factory " } else { "" };
            Some(vec![exec(format!("uvicorn --fd 3 {make}{target}")), socket()])
        }
        Gateway::Asgi if survey.has("hypercorn") => {
            Some(vec![exec(format!("hypercorn --bind 127.0.0.1:8000 {target}"))])
        }
        Gateway::Asgi if survey.has("daphne") => Some(vec![exec(format!("daphne -b 127.0.0.1 -p 8000 {target}"))]),
        Gateway::Wsgi | Gateway::Asgi => None,
    }
}

/// The same with a server that is not among the requirements, as comments.
fn assumed(survey: &Survey) -> Option<(&'static str, Vec<String>)> {
    let Some(Web::Object { module, name, factory, gateway }) = &survey.web else { return None };
    let call = if *factory == Factory::Yes { "()" } else { "" };
    let (server, exec) = match gateway {
        Gateway::Wsgi => ("gunicorn", format!("gunicorn '{module}:{name}{call}'")),
        Gateway::Asgi => ("uvicorn", format!("uvicorn --fd 3 {module}:{name}")),
    };
    let exec = if call.is_empty() { exec.replace('\'', "") } else { exec };
    let lines =
        ["[service.web]".to_owned(), format!("exec = {}", quoted(&exec)), "socket = \"127.0.0.1:8000\"".to_owned()];
    Some((server, lines.iter().map(|line| format!("# {line}")).collect()))
}

fn name_of(survey: &Survey) -> String {
    survey.name.as_ref().map_or_else(|| "app".to_owned(), ToString::to_string)
}

/// Text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Tells what was found, and what is left to do.
fn say(survey: &Survey, report: &Report) {
    report.step(&format!("a {} application", survey.framework.name()));
    match &survey.pins {
        Pins::Found(name) | Pins::Elsewhere(name, true) => report.step(&format!("pinned by `{name}`")),
        Pins::Loose(name) | Pins::Elsewhere(name, false) => {
            report
                .warning(&format!("`{name}` does not pin everything: `pkgapp lock` writes a `pylock.toml` that does"));
        }
        Pins::Nothing => report.warning("nothing pins what it requires: `pkgapp lock` writes a `pylock.toml`"),
    }
    for (name, directory) in unnamed_editables(survey) {
        let (from, line) = (shown(&directory), editable_line(&directory));
        report
            .warning(&format!("`{name}` is installed from `{from}` to be edited, and no pin: it ships with `{line}`"));
    }
    match &survey.web {
        Some(Web::Object { module, name, .. }) if web(survey).is_none() => report.warning(&format!(
            "no server for `{module}:{name}` is among its requirements: `[service.web]` is left as a comment"
        )),
        None if ![Framework::Plain, Framework::Celery].contains(&survey.framework) => {
            report.warning("no application object was found to serve: write a `[service.web]`");
        }
        Some(_) | None => {}
    }
}

/// What the project's own virtual environment has from other working trees, and its pins do not name: it would be missing
/// in a release, and nobody sees that where it was written.
fn unnamed_editables(survey: &Survey) -> Vec<(PackageName, PathBuf)> {
    let Some(venv) = [".venv", "venv", "env"].iter().find_map(|name| Venv::open(&survey.root.join(name)).ok()) else {
        return Vec::new();
    };
    let pins = match &survey.pins {
        Pins::Found(name) | Pins::Loose(name) | Pins::Elsewhere(name, _) => survey.root.join(name),
        Pins::Nothing => return Vec::new(),
    };
    let text = crate::fs::read_to_string(&pins).unwrap_or_default();
    let edited = |line: &str| {
        let path = ["-e ", "--editable ", "--editable="].iter().find_map(|option| line.trim().strip_prefix(option))?;
        survey.root.join(path.trim()).canonicalize().ok()
    };
    let named: Vec<PathBuf> = text.lines().filter_map(edited).chain(survey.root.canonicalize()).collect();
    let is_unnamed = |(name, directory): &(&PackageName, &Path)| {
        let real = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
        !survey.requires.contains(name.as_str()) && !named.contains(&real)
    };
    venv.editables().filter(is_unnamed).map(|(name, directory)| (name.clone(), directory.to_owned())).collect()
}
