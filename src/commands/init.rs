//! `pkgapp init`: looks at a project and writes a configuration that builds.

use std::path::{Path, PathBuf};

use crate::cli::{GlobalOptions, InitArgs};
use pkgapp_config::{ADDED_LOCK, Config, has_dot, is_whole_lock};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::name::PythonMinor;
use pkgapp_core::process;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_core::target::{TARGETS, Target};
use pkgapp_detect::{Factory, Framework, Gateway, PinState, Survey, WebApp};
use pkgapp_lock::environment_diff::{Venv, editable_line};
use pkgapp_pypa::PackageName;

use super::working_directory;

/// What is written.
const FILE: &str = "pkgapp.toml";

/// The minor versions of Python 3 that releases run on, the newest first.
const PYTHONS: [u16; 7] = [14, 13, 12, 11, 10, 9, 8];

pub(super) fn init(args: &InitArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let here = working_directory()?;
    let root = args
        .directory
        .as_ref()
        .map_or_else(|| here.clone(), |directory| here.join(directory));
    if !root.is_dir() {
        return Err(Error::new(format!("`{}` is no directory", shown(&root)))
            .hint("name the project's directory"));
    }
    if global.config.is_some() {
        return Err(Error::new(format!(
            "`--config` is about a file to read, and `pkgapp init` writes `{FILE}`"
        ))
        .hint("leave it out, and move the file afterwards"));
    }
    let file = root.join(FILE);
    refuse_to_replace(&root, &file, args)?;
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
    write(&file, &text)?;
    match report.style() {
        OutputStyle::Text => report.result(&shown(&file).to_string()),
        OutputStyle::Json => report
            .json(&serde_json::json!({ "config": file, "framework": survey.framework.name() })),
    }
    Ok(())
}

/// What the configuration that is replaced adds: its pylock.toml has it only as long as it is asked
/// for.
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
        return Err(Error::new(format!("there is a `{FILE}` already"))
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
        let error = Error::new("the project has a configuration already, `[tool.pkgapp]`")
            .at(Location::file(project));
        return Err(error.hint("edit it: `pkgapp check` says whether it is right"));
    }
    Ok(())
}

/// Writes the configuration, and has it read as a build does; what can't be read does not stay.
fn write(file: &Path, text: &str) -> Result<()> {
    let before = file.is_file().then(|| fs::read(file)).transpose()?;
    let put = |bytes: &[u8]| {
        fs::write_atomically(file, |out| {
            std::io::Write::write_all(out, bytes)
                .context(|| format!("cannot write `{}`", shown(file)))
        })
    };
    put(text.as_bytes())?;
    let read = Config::load(Some(file), file.parent().unwrap_or(Path::new("/")))
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
            .context("what was found in the project makes no configuration")
            .hint(format!(
                "`pkgapp init --print` shows it: mend it by hand and save it as `{FILE}`"
            )))
    })
}

/// Chooses the Python: the one of this machine's distribution, if the project takes it, else the
/// newest here that it takes.
fn python(survey: &Survey) -> Result<PythonMinor> {
    let minor = |minor: u16| -> Result<PythonMinor> { format!("3.{minor}").parse() };
    let is_here = |minor: u16| {
        let name = format!("python3.{minor}");
        let version = format!("3.{minor}").parse();
        Path::new("/usr/bin").join(&name).exists()
            || process::find(&name).is_some()
            || version.is_ok_and(|version| prefix_of(version).is_some())
    };
    let distributions = std::fs::read_link("/usr/bin/python3").ok();
    let distributions = distributions.and_then(|target| {
        let name = target
            .file_name()?
            .to_str()?
            .strip_prefix("python3.")?
            .to_owned();
        name.parse::<u16>().ok()
    });
    let here = distributions
        .into_iter()
        .chain(PYTHONS)
        .filter(|candidate| is_here(*candidate));
    let taken = |candidates: &mut dyn Iterator<Item = u16>| -> Result<Vec<PythonMinor>> {
        let versions = candidates.map(minor).collect::<Result<Vec<_>>>()?;
        Ok(versions
            .into_iter()
            .filter(|version| survey.takes(*version))
            .collect())
    };
    let (here, all) = (
        taken(&mut here.into_iter())?,
        taken(&mut PYTHONS.into_iter())?,
    );
    // Pins that are older than a Python have no wheels for it, and often don't compile with it.
    let is_tried = |version: &&PythonMinor| survey.compiled_for(**version).is_empty();
    if let Some(version) = here
        .iter()
        .find(is_tried)
        .or(here.first())
        .or(all.iter().find(is_tried))
        .or(all.first())
    {
        return Ok(*version);
    }
    let wanted = survey
        .requires_python
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    Err(Error::new(format!(
        "the project requires Python {wanted}, and pkgapp makes releases for 3.8 to 3.14"
    ))
    .hint("set `requires-python` in pyproject.toml to what the application runs on"))
}

/// The text: what was found, and as comments what nearly every application needs in the end.
fn configuration(survey: &Survey, python: Option<PythonMinor>) -> String {
    let mut tables = vec![
        ("app".to_owned(), app(survey)),
        ("python".to_owned(), python_table(survey, python)),
        ("build".to_owned(), build(survey)),
        web_service(survey),
    ];
    let surroundings = surroundings(survey);
    tables.extend(survey.workers.iter().map(|worker| {
        let lines = std::iter::once(exec(survey, &worker.exec)).chain(surroundings.clone());
        (format!("service.{}", worker.name), lines.collect())
    }));
    tables.push((String::new(), deployment(survey)));

    let mut text = format!(
        "# A {} application; docs/configuration.md lists all keys.\n",
        survey.framework.name()
    );
    for (name, lines) in tables.iter().filter(|(_, lines)| !lines.is_empty()) {
        text.push('\n');
        if !name.is_empty() {
            text.extend(["[", name, "]\n"]);
        }
        text.extend([&lines.join("\n"), "\n"]);
    }
    text
}

/// The web service's table, or comments if a server has to be chosen.
fn web_service(survey: &Survey) -> (String, Vec<String>) {
    let surroundings = surroundings(survey);
    let commented = surroundings.iter().map(|line| format!("# {line}"));
    if let Some(lines) = web(survey).or_else(|| added_server(survey).map(|(_, lines)| lines)) {
        let lines = lines.into_iter().chain(surroundings);
        return ("service.web".to_owned(), lines.collect());
    }

    let mut lines = Vec::new();
    if let Some((server, assumed)) = assumed(survey) {
        lines.push(format!("# with `{server}` among the requirements:"));
        lines.push("# [service.web]".to_owned());
        lines.extend(assumed.iter().map(|line| format!("# {line}")));
        lines.extend(commented);
    } else if let Some(script) = survey.scripts.first().filter(|_| survey.has_backend) {
        lines.push("# [service.web]".to_owned());
        lines.push(format!("# exec = {}", quoted(script)));
        lines.extend(commented);
    }
    (String::new(), lines)
}

/// The lines of a deployment, as comments.
fn deployment(survey: &Survey) -> Vec<String> {
    let mut lines = vec![
        "# [deploy.production]".to_owned(),
        "# hosts = [\"web1.example.com\"]".to_owned(),
    ];
    let migrate = survey.migrate.iter();
    lines.extend(migrate.map(|exec| format!("# migrate = {{ exec = {} }}", quoted(exec))));
    lines
}

fn app(survey: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(
        survey
            .lacks_name
            .then(|| format!("name = {}", quoted(survey.name.as_str()))),
    );
    lines.extend(
        survey
            .lacks_version
            .then(|| "version = \"0.1.0\"".to_owned()),
    );
    lines.extend(
        survey
            .no_wheel
            .as_ref()
            .map(|why| format!("source = \"\"  # {why}")),
    );
    let list = |names: &[String]| {
        names
            .iter()
            .map(|name| quoted(name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !survey.include.is_empty() {
        lines.push(format!("include = [{}]", list(&survey.include)));
        let exclude = [&["**/tests/**".to_owned()], &survey.exclude[..]].concat();
        lines.push(format!("exclude = [{}]", list(&exclude)));
    }
    if !survey.import_from.is_empty() {
        lines.push(format!("import-from = [{}]", list(&survey.import_from)));
    }
    lines.extend(writable(survey));
    lines
}

/// Paths that services write to: as a comment where nothing runs that could.
fn writable(survey: &Survey) -> Vec<String> {
    let writes = &survey.writes;
    // What code writes to is a file unless it ends in `/`; what .gitignore has may be either.
    let written = |path: &String| {
        if path.ends_with('/') || has_dot(path) {
            quoted(path)
        } else {
            format!("{{ file = {} }}", quoted(path))
        }
    };
    let paths: Vec<String> = writes.paths.iter().map(written).collect();
    let is_run =
        web(survey).is_some() || added_server(survey).is_some() || !survey.workers.is_empty();
    let mark = if is_run { "" } else { "# " };
    let mut lines = Vec::new();
    if !writes.paths.is_empty() {
        let by: Vec<String> = writes
            .by
            .iter()
            .take(2)
            .map(|file| format!("`{file}`"))
            .collect();
        let more = if writes.by.len() > 2 {
            " and others write"
        } else if by.len() == 2 {
            " write"
        } else {
            " writes"
        };
        let by = by.join(if writes.by.len() == 2 { " and " } else { ", " });
        lines.push(format!(
            "{mark}writable = [{}]  # {by}{more} there",
            paths.join(", ")
        ));
    }
    if !writes.perhaps.is_empty() {
        let perhaps = writes.perhaps.iter().map(|path| quoted(path));
        let all: Vec<String> = paths.into_iter().chain(perhaps).collect();
        lines.push(format!(
            "# writable = [{}]  # if it writes to all that .gitignore has",
            all.join(", ")
        ));
    }
    lines
}

fn python_table(survey: &Survey, python: Option<PythonMinor>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(python.map(|python| format!("version = {}", quoted(&python.to_string()))));
    match &survey.pins {
        PinState::Elsewhere(name, true)
            if additions(survey).is_none() || is_whole_lock(Path::new(name)) =>
        {
            lines.push(format!("requirements = [{}]", quoted(name)));
        }
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

/// What ships besides the requirements, and why.
fn additions(survey: &Survey) -> Option<String> {
    let server = added_server(survey).map(|(server, _)| server);
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

fn build(survey: &Survey) -> Vec<String> {
    if survey.collect_static.is_empty() || !survey.has("django") {
        return Vec::new();
    }
    let commands: Vec<String> = survey
        .collect_static
        .iter()
        .map(|command| quoted(command))
        .collect();
    let mut lines = vec![format!("run = [{}]", commands.join(", "))];
    if !survey.variables.is_empty() {
        let pair = |(name, value): (&String, &&str)| format!("{name} = {}", quoted(value));
        let pairs: Vec<String> = survey.variables.iter().map(pair).collect();
        lines.push(format!(
            "env = {{ {} }}  # so that the settings load",
            pairs.join(", ")
        ));
    }
    lines
}

/// Where a service finds its data, and the file that it gets its secrets from: the package makes
/// it, empty.
fn surroundings(survey: &Survey) -> Vec<String> {
    let names: Vec<&str> = survey
        .variables
        .keys()
        .map(String::as_str)
        .take(6)
        .collect();
    let what = if names.is_empty() {
        "secrets and settings".to_owned()
    } else {
        names.join(", ")
    };
    let data = |name: &String| format!("{name} = {}", quoted(&format!("/var/lib/{}", survey.name)));
    let moved = |(name, path): (&String, &String)| {
        format!(
            "{name} = {}",
            quoted(&format!("/var/lib/{}/{path}", survey.name))
        )
    };
    let is_moved = |name: &&String| !survey.writes.variables.contains_key(*name);
    let data = survey.data_variables.iter().filter(is_moved).map(data);
    let data: Vec<String> = data
        .chain(survey.writes.variables.iter().map(moved))
        .collect();
    let directory = format!(
        "working-directory = {}  # its paths count from there",
        quoted(&format!("/opt/{}/app", survey.name))
    );
    let directory = runs_in_tree(survey).then_some(directory);
    let env = (!data.is_empty()).then(|| format!("env = {{ {} }}", data.join(", ")));
    let file = format!(
        "environment-file = \"/etc/{}/secrets.env\"  # {what}",
        survey.name
    );
    directory.into_iter().chain(env).chain([file]).collect()
}

/// Whether services run in the application's tree: what they open or write counts from there.
fn runs_in_tree(survey: &Survey) -> bool {
    survey.opens_from_here || survey.writes.in_working_directory
}

/// A command as a service has it: its paths count from where it runs.
fn exec(survey: &Survey, line: &str) -> String {
    let line = if runs_in_tree(survey) {
        line.replace(" app/", " ")
    } else {
        line.to_owned()
    };
    format!("exec = {}", quoted(&line))
}

/// How the application is served, by a server that it requires itself.
fn web(survey: &Survey) -> Option<Vec<String>> {
    let exec = |line: String| exec(survey, &line);
    let socket = || "socket = \"127.0.0.1:8000\"".to_owned();
    let (module, name, factory, gateway) = match survey.web.as_ref()? {
        // `pserve` wants a server section, and gunicorn takes the application alone.
        WebApp::Paste {
            file,
            has_server: false,
        } if survey.has("gunicorn") => {
            return Some(vec![exec(format!("gunicorn --paste app/{file}")), socket()]);
        }
        WebApp::Paste { file, .. } => return Some(vec![exec(format!("pserve app/{file}"))]),
        WebApp::Pecan(file) if survey.has("gunicorn") => {
            return Some(vec![exec(format!("gunicorn_pecan app/{file}")), socket()]);
        }
        WebApp::Pecan(file) => return Some(vec![exec(format!("pecan serve app/{file}"))]),
        WebApp::Object {
            module,
            name,
            factory,
            gateway,
        } => (module, name, *factory, *gateway),
    };
    let target = format!("{module}:{name}");
    let is_made = factory == Factory::Yes;
    let called = if is_made {
        format!("'{target}()'")
    } else {
        target.clone()
    };
    let make = if is_made { "--factory " } else { "" };
    let has = |name: &str| survey.has(name);
    let (interface, port) = (
        if gateway == Gateway::Asgi {
            "asgi"
        } else {
            "wsgi"
        },
        "--host 127.0.0.1 --port 8000",
    );
    match gateway {
        Gateway::Wsgi if has("gunicorn") => {
            Some(vec![exec(format!("gunicorn {called}")), socket()])
        }
        Gateway::Wsgi if has("waitress") => {
            let call = if is_made { "--call " } else { "" };
            Some(vec![exec(format!(
                "waitress-serve --listen 127.0.0.1:8000 {call}{target}"
            ))])
        }
        Gateway::Asgi if has("uvicorn") => Some(vec![
            exec(format!("uvicorn --fd 3 {make}{target}")),
            socket(),
        ]),
        Gateway::Asgi if has("hypercorn") => Some(vec![exec(format!(
            "hypercorn --bind 127.0.0.1:8000 {}",
            called.replace('\'', "")
        ))]),
        Gateway::Asgi if has("daphne") && !is_made => {
            Some(vec![exec(format!("daphne -b 127.0.0.1 -p 8000 {target}"))])
        }
        _ if has("granian") => Some(vec![exec(format!(
            "granian --interface {interface} {port} {make}{target}"
        ))]),
        Gateway::Wsgi if has("uwsgi") || has("pyuwsgi") => Some(vec![exec(format!(
            "uwsgi --master --die-on-term --need-app --http-socket 127.0.0.1:8000 --home /opt/{} --module {called}",
            survey.name
        ))]),
        Gateway::Wsgi | Gateway::Asgi => Some(vec![exec(survey.server_program.clone()?)]),
    }
}

/// The same with a server that is not among the requirements.
fn assumed(survey: &Survey) -> Option<(&'static str, Vec<String>)> {
    let Some(WebApp::Object {
        module,
        name,
        factory,
        gateway,
    }) = &survey.web
    else {
        return None;
    };
    let is_made = *factory == Factory::Yes;
    let (server, exec) = match gateway {
        Gateway::Wsgi if is_made => ("gunicorn", format!("gunicorn '{module}:{name}()'")),
        Gateway::Wsgi => ("gunicorn", format!("gunicorn {module}:{name}")),
        Gateway::Asgi if is_made => (
            "uvicorn",
            format!("uvicorn --fd 3 --factory {module}:{name}"),
        ),
        Gateway::Asgi => ("uvicorn", format!("uvicorn --fd 3 {module}:{name}")),
    };
    Some((
        server,
        vec![
            format!("exec = {}", quoted(&exec)),
            "socket = \"127.0.0.1:8000\"".to_owned(),
        ],
    ))
}

/// The same where `pkgapp lock` can pin the server beside the requirements, or beside a lock that
/// another tool writes.
fn added_server(survey: &Survey) -> Option<(&'static str, Vec<String>)> {
    let is_resolved = match &survey.pins {
        PinState::Nothing => true,
        PinState::Found(name) | PinState::Loose(name) | PinState::Elsewhere(name, _) => {
            !name.ends_with("pylock.toml")
        }
    };
    // Where a program of its own serves it, the object may lack what that program adds; a module
    // for servers has all.
    let is_entry = matches!(&survey.web, Some(WebApp::Object { module, .. })
        if module.rsplit('.').next().is_some_and(|name| ["wsgi", "asgi"].contains(&name)));
    let is_certain = survey.framework == Framework::Django || !survey.starts_a_server || is_entry;
    assumed(survey).filter(|_| is_resolved && is_certain && web(survey).is_none())
}

/// The version in `.python-version`, if it is one that releases run on.
fn written_python(root: &Path) -> Option<PythonMinor> {
    let text = fs::read_to_string(&root.join(".python-version")).ok()?;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let parts: Vec<&str> = line.splitn(3, '.').take(2).collect();
    parts.join(".").parse().ok()
}

/// Where a Python lies that could ship with the release: one of the user's own before the
/// distribution's.
fn prefix_of(python: PythonMinor) -> Option<PathBuf> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map_or_else(|| home.join(".pyenv"), PathBuf::from)
        .join("versions");
    let uv = home.join(".local/share/uv/python");
    let version = python.to_string();
    for (directory, start) in [
        (pyenv, format!("{version}.")),
        (uv, format!("cpython-{version}.")),
    ] {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut prefixes: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
            .map(|entry| entry.path())
            .filter(|prefix| prefix.join("bin").join(format!("python{version}")).exists())
            .collect();
        prefixes.sort_by_key(|prefix| {
            let name = prefix
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let patch = name[start.len()..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>();
            patch.parse::<u32>().unwrap_or_default()
        });
        if let Some(newest) = prefixes.pop() {
            return Some(newest);
        }
    }
    let found = process::find(&format!("python{version}"))?
        .canonicalize()
        .ok()?;
    let prefix = found.parent()?.parent()?;
    prefix
        .join("lib")
        .join(format!("python{version}"))
        .is_dir()
        .then(|| prefix.to_owned())
}

/// Distributions that people run, for a word about a Python that they do not have.
const USUAL: [&str; 5] = ["debian12", "debian13", "ubuntu24.04", "el9", "el10"];

/// Whether a release brings its interpreter along: most hosts lack that Python, and one that can
/// ship lies here.
fn ships_interpreter(python: PythonMinor) -> bool {
    uncommon(python).is_some()
        && prefix_of(python).is_some_and(|prefix| !prefix.starts_with("/usr"))
}

/// Says which hosts do not have a Python, if most of them do not.
fn uncommon(python: PythonMinor) -> Option<String> {
    let usual = TARGETS.iter().filter(|target| USUAL.contains(&target.name));
    let (with, without): (Vec<_>, Vec<_>) = usual.partition(|target| target.offers(python));
    let names = |targets: &[&Target]| {
        targets
            .iter()
            .map(|target| target.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let here = std::fs::read_link("/usr/bin/python3").ok()?;
    let is_here = here.to_string_lossy().ends_with(&format!("python{python}"));
    if is_here || without.len() <= with.len() {
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

/// Text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reports the findings, and what is left to do.
fn say(survey: &Survey, python: Option<PythonMinor>, report: &Report) {
    report.step(&format!("a {} application", survey.framework.name()));
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

/// Reports what pins the requirements, and how the rest gets pinned.
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

/// Reports a Python that hosts usually lack.
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
        Some(WebApp::Object { module, name, .. }) if web(survey).is_none() => {
            let done = match added_server(survey) {
                Some((server, _)) => format!("`add` has `{server}`"),
                None => "`[service.web]` is left as a comment".to_owned(),
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

/// What the project's own virtual environment has from other working trees, and its pins do not
/// name: it would be missing in a release, and nobody sees that where it was written.
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
    let text = pkgapp_core::fs::read_to_string(&pins).unwrap_or_default();
    let edited = |line: &str| {
        let path = ["-e ", "--editable ", "--editable="]
            .iter()
            .find_map(|option| line.trim().strip_prefix(option))?;
        survey.root.join(path.trim()).canonicalize().ok()
    };
    let named: Vec<PathBuf> = text
        .lines()
        .filter_map(edited)
        .chain(survey.root.canonicalize())
        .collect();
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
