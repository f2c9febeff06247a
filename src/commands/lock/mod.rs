//! `pkgapp lock`: what is only partly pinned becomes a pylock.toml, by a resolver that the user
//! already trusts.

mod pip;
mod uv;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::assembly::{self, AssemblyOptions};
use crate::cli::{GlobalOptions, LockArgs, Resolver};
use pkgapp_config::NamedIndex;
use pkgapp_config::{ADDED_LOCK, Config, Located};
use pkgapp_core::error::{Context, Error, Location, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::process;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_lock::{self as lock, Indexes, Url};
use pkgapp_pypa::{HashAlgorithm, HashDigest, PackageName};
use pkgapp_wheels::index::IndexClient;
use pkgapp_wheels::{missing, sdist};

use super::{load_app, open_cache, working_directory};

/// What is written, beside the configuration.
const LOCK: &str = "pylock.toml";

/// Where requirements are looked for when the configuration names whole locks only.
const INPUTS: [&str; 2] = ["requirements.in", "requirements.txt"];

pub(super) fn lock(args: &LockArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
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
    // Requirements that the configuration does not name were found by their names, and
    // `pylock.toml` goes first.
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

/// Resolves an application's requirements and writes its pylock.toml; returns where. Versions that
/// an older one there pins are kept, unless `args` wants newer ones.
///
/// # Errors
/// There is nothing to resolve, no resolver, or it fails.
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
    let groups = app
        .python
        .groups
        .iter()
        .filter(|_| inputs.is_empty())
        .map(|group| format!("the group `{}`", group.value));
    let names: Vec<String> = inputs
        .iter()
        .map(|input| shown(input).to_string())
        .chain(groups)
        .collect();
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

/// Pins what the configuration adds to a lock that another tool writes, in a file of its own;
/// returns where.
///
/// # Errors
/// The lock can't be read or pins it already, or as [`write`].
fn write_beside(
    app: &Config,
    whole: &Path,
    args: &LockArgs,
    options: &AssemblyOptions<'_>,
    report: &Report,
) -> Result<PathBuf> {
    let mut alone = app.clone();
    alone.python.add.clear();
    alone
        .python
        .requirements
        .retain(|file| !file.value.ends_with(ADDED_LOCK));
    let pinned = assembly::pins(&alone, options, report)?;
    let line = |pin: &lock::Pin| Some(format!("{}=={}\n", pin.name, pin.version.as_ref()?));
    let constraints = temporary(
        "pins.",
        &pinned.pins.iter().filter_map(line).collect::<String>(),
    )?;
    // Whatever the lock was made with, extras and groups included, its pins stay what they are.
    alone.python.constraints.push(Located {
        at: Location::file(whole),
        value: constraints.to_path_buf(),
    });
    alone.python.extras.clear();
    alone.python.groups.clear();
    let path = app.root.join(ADDED_LOCK);
    let added = added(app)?;
    let inputs: Vec<PathBuf> = added.iter().map(|file| file.to_path_buf()).collect();
    let name = shown(whole).to_string();
    let resolution = Resolution {
        app: &alone,
        inputs: &inputs,
        path: &path,
        args,
        options,
        report,
    };
    let (text, by) = resolution
        .resolve(std::slice::from_ref(&name))
        .map_err(|error| error.note(format!("the pins of `{name}` stay as they are")))?;
    let is_pinned = |name: &str| pinned.pins.iter().any(|pin| pin.name.to_string() == name);
    let (text, count) = without_packages(&text, is_pinned);
    if count == 0 {
        return Err(Error::new(format!("`{name}` pins all that `add` names"))
            .at(Location::file(&app.file))
            .hint("leave out `add`: there is nothing to pin"));
    }
    put(&path, &text)?;
    report.step(&format!(
        "{ADDED_LOCK}: {count} distributions beside `{name}`, resolved by {by}"
    ));
    Ok(path)
}

/// A lock without the packages of some names, and how many it has.
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

/// What is resolved, and how.
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
    /// Resolves requirements, which a progress bar calls `names`; returns the lock and the name of
    /// the resolver.
    fn resolve(&self, names: &[String]) -> Result<(String, &'static str)> {
        let uv = match self.args.resolver {
            Some(Resolver::Uv) => Some(process::find("uv").ok_or_else(|| {
                Error::new("there is no `uv` on PATH")
                    .hint("install it, or take pip: `--resolver pip`")
            })?),
            Some(Resolver::Pip) => None,
            None => process::find("uv"),
        };
        let (text, by) = {
            let _busy = self.report.busy(&format!("resolving {}", names.join(", ")));
            match &uv {
                Some(uv) => (self.with_uv(uv)?, "uv"),
                None => (self.with_pip()?, "pip, for this machine alone"),
            }
        };
        check_places(&text, self.app, self.inputs, self.options)?;
        Ok((without_passwords(&text), by))
    }

    /// The pyproject.toml whose groups are resolved.
    fn project(&self) -> PathBuf {
        let directory = self.app.source.as_ref().unwrap_or(&self.app.root);
        directory.join("pyproject.toml")
    }

    /// Adds the groups of the configuration, which uv and pip name alike.
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

/// The files to resolve: those that were named, else the requirements files of the configuration;
/// and the project.
fn inputs(app: &Config, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let mut inputs = Vec::new();
    for file in &app.python.requirements {
        if lock::is_requirements(&file.value)? {
            inputs.push(file.value.clone());
        } else if file.value.file_name().is_none_or(|name| name != LOCK) {
            let name = file
                .value
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            return Err(Error::new(format!("`{name}` is a whole lock, which its own tool writes"))
                .at(file.at.clone())
                .hint(format!(
                    "leave out `--lock` and `pkgapp lock`: `pkgapp build` reads `{name}` as it is, and `add` pins more beside it"
                )));
        }
    }
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
        let error = Error::new("there is nothing to resolve").at(Location::file(&app.file));
        return Err(match first_group(&app.root.join("pyproject.toml"))? {
            Some(group) => error.hint(format!(
                "the project has dependency groups alone: write those that ship below `[python]`, `groups = [\"{group}\"]`"
            )),
            None => {
                error.hint("write a `requirements.in` beside the configuration, or name a file: `pkgapp lock FILE`")
            }
        });
    }
    Ok(inputs)
}

/// What the configuration adds to the application's requirements, as a file that resolvers read;
/// `None` if it adds nothing.
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

/// A file of requirements that resolvers read.
fn temporary(prefix: &str, lines: &str) -> Result<tempfile::TempPath> {
    let context = || "cannot write a file of requirements";
    let mut file = tempfile::Builder::new()
        .prefix(prefix)
        .suffix(".txt")
        .tempfile()
        .context(context)?;
    std::io::Write::write_all(&mut file, lines.as_bytes()).context(context)?;
    Ok(file.into_temp_path())
}

/// The first dependency group of a pyproject.toml.
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

/// Whether a pyproject.toml says what the project requires, so that no backend has to be asked.
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

/// Tells a resolver of the indexes of the configuration, if there are any: else it has its own.
fn set_indexes(command: &mut Command, app: &Config, offline: bool) {
    if app.python.indexes.is_empty() && app.python.wheelhouses.is_empty() {
        return;
    }
    // uv asks the first index that knows a name, as a build does: explicit ones go first, so that
    // what comes from them is found there.
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

/// Returns the indexes of the configuration and of requirements files, which resolvers read by
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
        for line in fs::read_to_string(&file)?.replace("\\\n", " ").lines() {
            let Some((option, value)) = index_option(line) else {
                continue;
            };
            let url = || {
                Url::parse(&value)
                    .context(|| format!("an index in `{}` is not a URL", shown(&file)))
            };
            match option {
                "-r" | "--requirement" => {
                    waiting.push(file.parent().unwrap_or(Path::new("/")).join(&value));
                }
                "-i" | "--index-url" => indexes.index = Some(url()?),
                "--extra-index-url" => indexes.extra.push(url()?),
                _ => {}
            }
        }
    }
    Ok(indexes)
}

/// Reads a line `--index-url URL` or `--index-url=URL`, with the values of variables.
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

/// Refuses a lock with files of another place than the rules of builds say: builds take files by
/// their URLs, and resolvers know neither `[python.sources]` nor explicit indexes.
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
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let wheels = package
        .get("wheels")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let files: Vec<(String, Option<String>)> = wheels
        .chain(package.get("sdist"))
        .filter_map(|file| {
            let url = text(file, "url").filter(|url| url.starts_with("http"))?;
            let name = text(file, "name").or_else(|| url.rsplit('/').next().map(str::to_owned))?;
            Some((
                name,
                file.get("hashes").and_then(|hashes| text(hashes, "sha256")),
            ))
        })
        .collect();
    let Some(name) = text(package, "name").and_then(|name| name.parse::<PackageName>().ok()) else {
        return Ok(());
    };
    if files.is_empty() {
        return Ok(());
    }
    for place in indexes.places(&name) {
        let offers = client.offers(&place, &name)?;
        let is_offered = |(file, sum): &(String, Option<String>)| {
            offers.iter().any(|offer| {
                let mut sums = offer
                    .hashes
                    .iter()
                    .filter(|hash| hash.algorithm == HashAlgorithm::Sha256);
                let other = |hash: &HashDigest| {
                    sum.as_ref()
                        .is_some_and(|sum| !hash.digest.eq_ignore_ascii_case(sum))
                };
                offer.file == *file && !sums.any(other)
            })
        };
        if files.iter().all(is_offered) {
            return Ok(());
        }
        if place.is_index() && (!offers.is_empty() || indexes.sources.contains_key(&name)) {
            let version = text(package, "version").unwrap_or_default();
            return Err(Error::new(format!(
                "`{name} {version}` was not resolved from {}",
                client.place_name(&place)
            ))
            .note("`[python.sources]` and the order of indexes say that it comes from there")
            .hint("constrain it to a version that the index has: `[python] constraints`"));
        }
    }
    Ok(())
}

/// Runs a resolver; what it says about failing is told without passwords.
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
    let asks_for_python = [
        "requires a different python version",
        "Requires-Python",
        "requires Python",
        "depends on Python",
    ]
    .iter()
    .any(|words| said.contains(words));
    let is_away = [
        "Could not resolve host",
        "dns error",
        "error sending request",
        "NewConnectionError",
        "Failed to connect",
    ]
    .iter()
    .any(|words| said.contains(words));
    // A resolver builds what does not say what it requires.
    let hint = missing::way_out(&said).unwrap_or_else(|| {
        match asks_for_python {
            _ if is_away => {
                "lock on a machine that reaches the host that it names, or require a release that your index has"
            }
            true => "take another Python, `version` below `[python]`, or change the requirements that it names",
            false => "change the requirements that it names",
        }
        .to_owned()
    });
    Err(Error::new("the requirements can't be resolved")
        .cause_text(format!(
            "`{name}` failed with {}\n{}",
            output.status,
            said.trim()
        ))
        .hint(hint))
}

/// Shortens the lists of all versions that pip prints: the last ones tell what there is.
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

/// Returns a lock's text without users and passwords in the URLs of the web: it is made to be
/// committed.
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
    fn lists_of_all_versions_are_cut_short() {
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
