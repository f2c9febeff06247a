//! `pkgapp lock`: resolves requirements into a pylock.toml, with a resolver that the user already
//! trusts.

mod pip;
mod setuptools;
mod uv;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::assembly::{self, AssemblyOptions};
use crate::cli::{GlobalOptions, LockArgs, Resolver, TargetArgs};
use pkgapp_config::NamedIndex;
use pkgapp_config::{ADDED_LOCK, Config, Located};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::process;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_lock::{self as lock, Indexes, Url};
use pkgapp_pypa::{HashAlgorithm, HashDigest, PackageName};
use pkgapp_wheels::index::{FileOffer, IndexClient};
use pkgapp_wheels::{missing, sdist};

use super::locked_recipes::{LockedRecipes, RecipeFailure};
use super::{load_with, open_cache, working_directory};

/// The lock file that is written beside the configuration.
const LOCK: &str = "pylock.toml";

/// The requirements files that are read if the configuration names none.
const INPUTS: [&str; 2] = ["requirements.in", "requirements.txt"];

pub(super) fn lock(args: &LockArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_unlocked(global, report)?;
    let here = working_directory()?;
    let named: Vec<PathBuf> = args.files.iter().map(|file| here.join(file)).collect();
    let path = write(
        &app,
        &named,
        args,
        &AssemblyOptions {
            cache: &open_cache(global, report)?,
            offline: global.offline,
            rerun: false,
        },
        report,
    )?;
    // Without `requirements`, a build finds its files by their names, and `pylock.toml` first.
    let is_named = app
        .python
        .requirements
        .iter()
        .any(|file| file.at.file == app.file);
    let is_read = app
        .python
        .requirements
        .iter()
        .any(|file| file.value == path)
        || path.ends_with(ADDED_LOCK);
    if is_named && !is_read {
        report.warning(&format!(
            "the configuration does not read `{LOCK}`: write `requirements = [\"{LOCK}\"]` below `[python]`"
        ));
    }
    match report.style() {
        OutputStyle::Text => report.result(&shown(&path).to_string()),
        OutputStyle::Json => report.json(&serde_json::json!({ "lock": path })),
    }
    Ok(())
}

/// Loads the configuration as far as it does not depend on the lock that is to be written.
pub(super) fn load_unlocked(global: &GlobalOptions, report: &Report) -> Result<Config> {
    let mut recipes = LockedRecipes::new(&TargetArgs::default(), global, report);
    recipes.on_failure = RecipeFailure::LeaveOut;
    load_with(&recipes)
}

/// Resolves an application's requirements and writes its pylock.toml; returns its path. Versions
/// in an older lock are kept, unless `args` asks for newer ones.
///
/// # Errors
/// There is nothing to resolve, there is no resolver, or the resolver fails.
pub(super) fn write(
    app: &Config,
    named: &[PathBuf],
    args: &LockArgs,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<PathBuf> {
    if let Some(whole) = app
        .whole_lock()
        .filter(|_| named.is_empty() && !app.python.add.is_empty())
    {
        return write_beside(app, whole, args, options, report);
    }
    let mut inputs = inputs(app, named)?;
    let mut names: Vec<String> = inputs
        .iter()
        .map(|input| shown(input).to_string())
        .collect();
    if inputs.is_empty() {
        let groups = app.python.groups.iter();
        names.extend(groups.map(|group| format!("the group `{}`", group.value)));
    }

    let added = added(app)?;
    inputs.extend(added.iter().map(|file| file.to_path_buf()));
    let path = app.root.join(LOCK);
    let resolution = Resolution {
        app,
        inputs: &inputs,
        path: &path,
        args,
        options,
        report,
    };
    let (text, by) = resolution.resolve(&names)?;
    put(&path, &text)?;
    let count = text.matches("[[packages]]").count();
    report.step(&format!(
        "{LOCK}: {count} distributions, resolved by {by} from {}",
        names.join(", ")
    ));
    Ok(path)
}

/// Pins the additions of the configuration to the lock of another tool, in a file of their own;
/// returns its path.
///
/// # Errors
/// The lock cannot be read or already pins all additions; or as for [`write`].
fn write_beside(
    app: &Config,
    whole: &Path,
    args: &LockArgs,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<PathBuf> {
    let pinned = PinnedByOther::read(app, whole, options, report)?;
    let path = app.root.join(ADDED_LOCK);
    let added = added(app)?;
    let inputs: Vec<PathBuf> = added.iter().map(|file| file.to_path_buf()).collect();
    let name = shown(whole).to_string();
    let resolution = Resolution {
        app: &pinned.app,
        inputs: &inputs,
        path: &path,
        args,
        options,
        report,
    };
    let (text, by) = resolution
        .resolve(std::slice::from_ref(&name))
        .map_err(|error| error.note(format!("pkgapp does not change the pins of `{name}`")))?;

    let (text, count) = without_packages(&text, |name| pinned.has(name));
    if count == 0 {
        return Err(
            Error::new(format!("`{name}` already pins everything in `add`"))
                .at(Location::file(&app.file))
                .hint("remove `add`"),
        );
    }
    put(&path, &text)?;
    report.step(&format!(
        "{ADDED_LOCK}: {count} distributions beside `{name}`, resolved by {by}"
    ));
    Ok(path)
}

/// The pins of a lock that another tool writes, and a configuration that is constrained to them.
struct PinnedByOther {
    lock: lock::Lock,
    app: Config,
    /// The file of constraints, which `app` names; dropping this removes it.
    _constraints: tempfile::TempPath,
}

impl PinnedByOther {
    fn read(
        app: &Config,
        whole: &Path,
        options: &AssemblyOptions<'_>,
        report: &Report,
    ) -> Result<Self> {
        let mut app = app.clone();
        app.python.add.clear();
        app.python
            .requirements
            .retain(|file| !file.value.ends_with(ADDED_LOCK));
        let lock = assembly::pins(&app, options, report)?;

        let line = |pin: &lock::Pin| Some(format!("{}=={}\n", pin.name, pin.version.as_ref()?));
        let lines: String = lock.pins.iter().filter_map(line).collect();
        let constraints = temporary("pins.", &lines)?;
        app.python.constraints.push(Located {
            at: Location::file(whole),
            value: constraints.to_path_buf(),
        });
        // The pins already include the extras and groups with which the lock was resolved.
        app.python.extras.clear();
        app.python.groups.clear();
        Ok(Self {
            lock,
            app,
            _constraints: constraints,
        })
    }

    fn has(&self, name: &str) -> bool {
        let mut pins = self.lock.pins.iter();
        pins.any(|pin| pin.name.to_string() == name)
    }
}

/// Returns a lock without the packages of some names, and the number of packages that remain.
fn without_packages(text: &str, is_left_out: impl Fn(&str) -> bool) -> (String, usize) {
    const HEADING: &str = "[[packages]]\n";
    let mut parts = text.split(HEADING);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    let mut count = 0;
    for part in parts {
        let name = part
            .lines()
            .find_map(|line| line.strip_prefix("name = "))
            .unwrap_or_default()
            .trim_matches('"');
        if !is_left_out(name) {
            kept += HEADING;
            kept += part;
            count += 1;
        }
    }
    (kept, count)
}

/// A resolution of requirements into one lock file.
struct Resolution<'a> {
    app: &'a Config,
    /// Requirements files and projects.
    inputs: &'a [PathBuf],
    /// The lock file to write, whose versions are kept if it exists.
    path: &'a Path,
    args: &'a LockArgs,
    options: &'a AssemblyOptions<'a>,
    report: &'a Report,
}

impl Resolution<'_> {
    /// Resolves the requirements, which the progress display calls `names`; returns the lock and
    /// the name of the resolver.
    fn resolve(&self, names: &[String]) -> Result<(String, &'static str)> {
        let uv = match self.args.resolver {
            Some(Resolver::Uv) => Some(process::find("uv").ok_or_else(|| {
                Error::new("there is no `uv` on PATH").hint("install it, or use `--resolver pip`")
            })?),
            Some(Resolver::Pip) => None,
            None => process::find("uv"),
        };
        let by = match uv {
            Some(_) => "uv",
            None => "pip, for this machine alone",
        };
        let text = {
            let _busy = self.report.busy(&format!("resolving {}", names.join(", ")));
            self.with_pkg_resources(|this| match &uv {
                Some(uv) => this.with_uv(uv),
                None => this.with_pip(),
            })?
        };
        check_places(&text, self.app, self.inputs, self.options)?;
        Ok((without_passwords(&text), by))
    }

    /// Returns the path of the pyproject.toml whose groups are resolved.
    fn project(&self) -> PathBuf {
        let directory = self.app.source.as_ref().unwrap_or(&self.app.root);
        directory.join("pyproject.toml")
    }

    /// Adds the groups of the configuration, with the option that uv and pip share.
    fn add_groups(&self, command: &mut Command) {
        for group in &self.app.python.groups {
            command
                .arg("--group")
                .arg(format!("{}:{}", self.project().display(), group.value));
        }
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write_atomically(path, |out| {
        use std::io::Write;
        out.write_all(text.as_bytes())
            .context(|| format!("cannot write `{}`", shown(path)))
    })
}

/// Returns the files to resolve: the named ones, or else the requirements files of the
/// configuration and the project.
fn inputs(app: &Config, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let mut inputs = configured_requirements(app)?;
    if inputs.is_empty() {
        inputs.extend(
            INPUTS
                .iter()
                .map(|name| app.root.join(name))
                .find(|file| file.is_file()),
        );
    }
    if let Some(source) = &app.source {
        let files = ["pyproject.toml", "setup.py"].map(|name| source.join(name));
        inputs.extend(files.into_iter().find(|file| file.is_file()));
    } else if inputs.is_empty() && names_dependencies(&app.root.join("pyproject.toml"))? {
        inputs.push(app.root.join("pyproject.toml"));
    }
    if inputs.is_empty() && app.python.groups.is_empty() {
        return Err(nothing_to_resolve(app)?);
    }
    Ok(inputs)
}

/// Returns the requirements files of the configuration.
///
/// # Errors
/// The configuration names the lock of another tool.
fn configured_requirements(app: &Config) -> Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for file in &app.python.requirements {
        let name = file.value.file_name().unwrap_or_default();
        if lock::is_requirements(&file.value)? {
            inputs.push(file.value.clone());
        } else if name != LOCK {
            let name = name.to_string_lossy();
            return Err(Error::new(format!("`{name}` is a complete lock of another tool"))
                .at(file.at.clone())
                .hint(format!(
                    "`pkgapp build` reads `{name}` without `--lock` and `pkgapp lock`; `add` pins more distributions beside it"
                )));
        }
    }
    Ok(inputs)
}

fn nothing_to_resolve(app: &Config) -> Result<Error> {
    let error = Error::new("there is nothing to resolve").at(Location::file(&app.file));
    Ok(match first_group(&app.root.join("pyproject.toml"))? {
        Some(group) => error.hint(format!(
            "the project has only dependency groups: list those to ship below `[python]`, `groups = [\"{group}\"]`"
        )),
        None => error.hint(
            "write a `requirements.in` beside the configuration, or name a file: `pkgapp lock FILE`",
        ),
    })
}

/// Writes the additions of the configuration to a file that resolvers read; `None` if there are
/// none.
fn added(app: &Config) -> Result<Option<tempfile::TempPath>> {
    if app.python.add.is_empty() {
        return Ok(None);
    }
    let lines: String = app
        .python
        .add
        .iter()
        .map(|added| format!("{}\n", added.value))
        .collect();
    temporary("add.", &lines).map(Some)
}

/// Writes a temporary requirements file.
fn temporary(prefix: &str, lines: &str) -> Result<tempfile::TempPath> {
    let context = || "cannot write a temporary requirements file";
    let mut file = tempfile::Builder::new()
        .prefix(prefix)
        .suffix(".txt")
        .tempfile()
        .context(context)?;
    std::io::Write::write_all(&mut file, lines.as_bytes()).context(context)?;
    Ok(file.into_temp_path())
}

/// Returns the first dependency group of a pyproject.toml.
fn first_group(file: &Path) -> Result<Option<String>> {
    if !file.is_file() {
        return Ok(None);
    }
    let table: Table = fs::read_to_string(file)?
        .parse()
        .context(|| format!("`{}` is not TOML", shown(file)))?;
    let groups = table.get("dependency-groups").and_then(Value::as_table);
    Ok(groups.and_then(|groups| groups.keys().next().cloned()))
}

/// Returns whether a pyproject.toml lists the requirements, so that no build backend has to run.
fn names_dependencies(file: &Path) -> Result<bool> {
    if !file.is_file() {
        return Ok(false);
    }
    let table: Table = fs::read_to_string(file)?
        .parse()
        .context(|| format!("`{}` is not TOML", shown(file)))?;
    Ok(table
        .get("project")
        .is_some_and(|project| project.get("dependencies").is_some()))
}

/// Passes the indexes of the configuration to a resolver, which otherwise uses its own.
fn set_indexes(command: &mut Command, app: &Config, offline: bool) {
    if app.python.indexes.is_empty() && app.python.wheelhouses.is_empty() {
        return;
    }
    // Like a build, uv asks the first index that knows a name. Explicit indexes come first, so that
    // uv finds their distributions there.
    let (explicit, others): (Vec<_>, Vec<_>) = app
        .python
        .indexes
        .iter()
        .cloned()
        .partition(|index| index.explicit);
    let explicit = explicit.into_iter().map(|index| NamedIndex {
        explicit: false,
        ..index
    });
    let (named, wheelhouses) = (
        explicit.chain(others).collect(),
        app.python.wheelhouses.clone(),
    );
    sdist::set_indexes(
        command,
        &Indexes {
            named,
            wheelhouses,
            ..Indexes::default()
        },
        offline,
    );
}

/// Returns the indexes of the configuration and of requirements files; resolvers read the latter
/// themselves.
fn all_indexes(app: &Config, inputs: &[PathBuf]) -> Result<Indexes> {
    let mut indexes = Indexes {
        named: app.python.indexes.clone(),
        sources: app.python.sources.clone(),
        wheelhouses: app.python.wheelhouses.clone(),
        ..Indexes::default()
    };
    let mut waiting: Vec<PathBuf> = inputs.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(file) = waiting.pop() {
        let is_project = file
            .extension()
            .is_some_and(|extension| extension == "toml" || extension == "py");
        if is_project || !seen.insert(file.clone()) {
            continue;
        }
        waiting.extend(add_indexes_of(&file, &mut indexes)?);
    }
    Ok(indexes)
}

/// Adds the indexes of a requirements file; returns the files that it includes.
fn add_indexes_of(file: &Path, indexes: &mut Indexes) -> Result<Vec<PathBuf>> {
    let mut included = Vec::new();
    for line in fs::read_to_string(file)?.replace("\\\n", " ").lines() {
        let Some((option, value)) = index_option(line) else {
            continue;
        };
        let url = || {
            Url::parse(&value).context(|| format!("invalid URL of an index in `{}`", shown(file)))
        };
        match option {
            "-r" | "--requirement" => {
                included.push(file.parent().unwrap_or(Path::new("/")).join(&value));
            }
            "-i" | "--index-url" => indexes.index = Some(url()?),
            "--extra-index-url" => indexes.extra.push(url()?),
            _ => {}
        }
    }
    Ok(included)
}

/// Reads a line `--index-url URL` or `--index-url=URL`, and expands its variables.
fn index_option(line: &str) -> Option<(&str, String)> {
    let line = line.trim();
    let (option, value) = line
        .split_once([' ', '='])
        .filter(|_| line.starts_with('-'))?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, name, after)) = rest.split_once("${").and_then(|(before, rest)| {
        rest.split_once('}')
            .map(|(name, after)| (before, name, after))
    }) {
        text.extend([before, &std::env::var(name).unwrap_or_default()]);
        rest = after;
    }
    Some((option, text + rest))
}

/// Refuses a lock with files from an index that a build would not ask: a build downloads the URLs
/// of the lock, and resolvers know neither `[python.sources]` nor explicit indexes.
fn check_places(
    text: &str,
    app: &Config,
    inputs: &[PathBuf],
    options: &AssemblyOptions<'_>,
) -> Result<()> {
    if app.python.sources.is_empty() && !app.python.indexes.iter().any(|index| index.explicit) {
        return Ok(());
    }
    let indexes = all_indexes(app, inputs)?;
    let client = IndexClient::new(&indexes, options.cache, options.offline)?;
    let lock: Table = text.parse().context(|| "the resolver's lock is not TOML")?;
    let packages = lock
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let errors = packages.filter_map(|package| check_place(package, &indexes, &client).err());
    Error::all(errors.collect::<Vec<_>>()).map_or(Ok(()), Err)
}

fn check_place(package: &Value, indexes: &Indexes, client: &IndexClient) -> Result<()> {
    let files = UsedLockFile::all_of(package);
    let name = text_of(package, "name").and_then(|name| name.parse::<PackageName>().ok());
    let Some(name) = name.filter(|_| !files.is_empty()) else {
        return Ok(());
    };

    for place in indexes.places(&name) {
        let offers = client.offers(&place, &name)?;
        if files.iter().all(|file| file.is_among(&offers)) {
            return Ok(());
        }
        if place.is_index() && (!offers.is_empty() || indexes.sources.contains_key(&name)) {
            let version = text_of(package, "version").unwrap_or_default();
            return Err(Error::new(format!(
                "`{name} {version}` was not resolved from {}",
                client.place_name(&place)
            ))
            .note("`[python.sources]` and the order of indexes require that index")
            .hint("constrain it to a version that the index has: `[python] constraints`"));
        }
    }
    Ok(())
}

/// A file that a lock takes from a web server.
struct UsedLockFile<'a> {
    name: &'a str,
    sha256: Option<&'a str>,
}

impl<'a> UsedLockFile<'a> {
    /// Returns the files of a package of a lock.
    fn all_of(package: &'a Value) -> Vec<Self> {
        let wheels = package.get("wheels").and_then(Value::as_array);
        let files = wheels.into_iter().flatten().chain(package.get("sdist"));
        files.filter_map(Self::of).collect()
    }

    fn of(file: &'a Value) -> Option<Self> {
        let url = text_of(file, "url").filter(|url| url.starts_with("http"))?;
        let name = text_of(file, "name").or_else(|| url.rsplit('/').next())?;
        let hashes = file.get("hashes");
        let sha256 = hashes.and_then(|hashes| text_of(hashes, "sha256"));
        Some(Self { name, sha256 })
    }

    /// Returns whether an index offers the file with no other SHA-256.
    fn is_among(&self, offers: &[FileOffer]) -> bool {
        let is_other = |hash: &HashDigest| {
            hash.algorithm == HashAlgorithm::Sha256
                && self
                    .sha256
                    .is_some_and(|sha256| !hash.digest.eq_ignore_ascii_case(sha256))
        };
        offers
            .iter()
            .any(|offer| offer.file == self.name && !offer.hashes.iter().any(is_other))
    }
}

fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// Runs a resolver; its messages are printed without passwords.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = process::output(command.env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let said = without_lists(&lock::without_credentials(&String::from_utf8_lossy(
        &output.stderr,
    )));
    // A resolver builds distributions that do not declare their requirements, so it may lack tools.
    let hint = missing::way_out(&said).unwrap_or_else(|| hint_for(&said).to_owned());
    Err(Error::new("cannot resolve the requirements")
        .cause_text(format!(
            "`{name}` failed with {}\n{}",
            output.status,
            said.trim()
        ))
        .hint(hint))
}

/// Returns the hint for the message of a resolver.
fn hint_for(said: &str) -> &'static str {
    let has_any = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if has_any(&[
        "Could not resolve host",
        "dns error",
        "error sending request",
        "NewConnectionError",
        "Failed to connect",
    ]) {
        "lock on a machine that reaches the named host, or require a release that your index has"
    } else if has_any(&[
        "requires a different python version",
        "Requires-Python",
        "requires Python",
        "depends on Python",
    ]) {
        "choose another Python, `version` below `[python]`, or change the named requirements"
    } else {
        "change the named requirements"
    }
}

/// Shortens the lists of all versions that pip prints: the last versions suffice.
fn without_lists(said: &str) -> String {
    const SHOWN: usize = 4;
    let shortened = |line: &str| {
        let separator = if line.contains("Ignored the following versions") {
            "; "
        } else {
            ", "
        };
        let items: Vec<&str> = line.split(separator).collect();
        if items.len() > 4 * SHOWN {
            let start = items[0]
                .rsplit_once([':', ' '])
                .map_or(items[0], |(start, _)| start);
            format!("{start} … {}", items[items.len() - SHOWN..].join(separator))
        } else {
            line.to_owned()
        }
    };
    said.lines().map(shortened).collect::<Vec<_>>().join("\n")
}

/// Removes users and passwords from the HTTP URLs of a lock, which is meant to be committed.
fn without_passwords(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after
            .find(['/', '?', '#', '"', '\'', '\n', ' '])
            .unwrap_or(after.len());
        let is_web = before.ends_with("https://") || before.ends_with("http://");
        rest = match after[..end].rfind('@').filter(|_| is_web) {
            Some(at) => &after[at + 1..],
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_all_versions_are_shortened() {
        let versions: Vec<String> = (0..40).map(|minor| format!("1.{minor}")).collect();
        let line = format!(
            "ERROR: no match for a==9 (from versions: {})",
            versions.join(", ")
        );
        let text = without_lists(&format!("{line}\nshort, line"));
        assert_eq!(
            text,
            "ERROR: no match for a==9 (from versions: … 1.36, 1.37, 1.38, 1.39)\nshort, line"
        );
    }

    #[test]
    fn a_lock_holds_no_passwords() {
        for (text, clean) in [
            ("url = \"https://u:p@h/a.whl\"", "url = \"https://h/a.whl\""),
            (
                "url = \"http://token@h\"\nx = \"a@b\"",
                "url = \"http://h\"\nx = \"a@b\"",
            ),
            (
                "url = \"ssh://git@h/r\", v = \"https://h/a@1.whl\"",
                "url = \"ssh://git@h/r\", v = \"https://h/a@1.whl\"",
            ),
        ] {
            assert_eq!(without_passwords(text), clean);
        }
    }
}
