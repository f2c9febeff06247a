//! `pkgapp cache export`: all that a build takes from elsewhere, in one directory, for a machine without network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::app::App;
use crate::assembly::{self, Needed, Options};
use crate::cli::{ExportArgs, Global};
use crate::commit::Epoch;
use crate::error::{Context, Error, Result, shown};
use crate::fs;
use crate::interpreter::Interpreter;
use crate::lock::{Indexes, Lock, Selection};
use crate::process;
use crate::pypa::Environment;
use crate::report::{Report, Style, human_bytes};
use crate::wheels::wheelhouse::LOCK;
use crate::wheels::{self, Kept, KeptFile, sdist};

use super::{load_app, open_cache};

/// What builds a project that says nothing of it (PEP 517, "build-system table").
const LEGACY_BACKEND: &str = "setuptools>=40.8.0";

pub(super) fn export(args: &ExportArgs, global: &Global, report: &Report) -> Result<()> {
    let app = load_app(global)?;
    let cache = open_cache(global, report)?;
    let options = Options { cache: &cache, offline: global.offline, rerun: false };
    let needed = assembly::needed(&app, &options, report)?;
    let directory = std::path::absolute(&args.directory)
        .context(|| format!("there is no such path as `{}`", shown(&args.directory)))?;
    let builders = Builders { app: &app, needed: &needed, options: &options, report };
    // All that can fail does so before anything is written.
    let tools = builders.all()?;
    let (mut house, old) = (House { directory: &directory, files: BTreeSet::new(), bytes: 0 }, former(&directory));
    fs::create_dir_all(&directory)?;
    let mut packages = Vec::new();
    for kept in &needed.files {
        packages.push(house.package(kept)?);
    }
    let tools: Vec<String> = tools.iter().map(|file| house.copy(&file.path, &file.name)).collect::<Result<_>>()?;
    house.write_lock(&app, packages, &tools)?;
    for gone in old.difference(&house.files) {
        _ = std::fs::remove_file(directory.join(gone));
    }
    let count = house.files.len();
    report.step(&format!("{count} files ({}), {} of them to build with", human_bytes(house.bytes), tools.len()));
    match report.style() {
        Style::Text => report.result(&shown(&args.directory).to_string()),
        Style::Json => report.json(&serde_json::json!({
            "directory": directory,
            "files": house.files,
            "build": tools,
            "bytes": house.bytes,
        })),
    }
    Ok(())
}

/// The directory while it is filled.
struct House<'a> {
    directory: &'a Path,
    /// Names of what belongs there.
    files: BTreeSet<String>,
    bytes: u64,
}

impl House<'_> {
    /// Copies a file, unless it is there with the same content; returns its name.
    fn copy(&mut self, from: &Path, name: &str) -> Result<String> {
        if !self.files.insert(name.to_owned()) {
            return Ok(name.to_owned());
        }
        let content = fs::read(from)?;
        self.bytes += content.len() as u64;
        let to = self.directory.join(name);
        if std::fs::read(&to).is_ok_and(|old| old == content) {
            return Ok(name.to_owned());
        }
        fs::write_atomically(&to, |out| out.write_all(&content).context(|| format!("cannot write `{}`", shown(&to))))?;
        Ok(name.to_owned())
    }

    /// Copies what a pin came to; returns its entry of the lock.
    fn package(&mut self, kept: &KeptFile) -> Result<Table> {
        let name = self.copy(&kept.path, &kept.name)?;
        let mut file = Table::new();
        file.insert("name".into(), name.clone().into());
        if kept.from.starts_with("http://") || kept.from.starts_with("https://") {
            file.insert("url".into(), kept.from.clone().into());
        }
        file.insert("path".into(), name.into());
        let size = i64::try_from(kept.size).context(|| "a file is longer than a lock can say")?;
        file.insert("size".into(), size.into());
        let hashes: Table = [("sha256".to_owned(), Value::from(kept.sha256.to_string()))].into_iter().collect();
        file.insert("hashes".into(), hashes.into());
        let mut package = Table::new();
        package.insert("name".into(), kept.pin.name.to_string().into());
        package.insert("version".into(), kept.version.to_string().into());
        if let Kept::Project(_, Some(from)) = &kept.kept {
            // A build by the same lock finds the wheel by it, instead of the repository.
            let own: Table = [("built-from".to_owned(), Value::from(from.clone()))].into_iter().collect();
            package.insert("tool".into(), Table::from_iter([("pkgapp".to_owned(), Value::from(own))]).into());
        }
        match kept.kept {
            Kept::Sdist => _ = package.insert("sdist".into(), file.into()),
            Kept::Wheel | Kept::Project(..) => _ = package.insert("wheels".into(), vec![Value::from(file)].into()),
        }
        Ok(package)
    }

    /// Writes the lock (PEP 751), with the names of the tools for the next export.
    fn write_lock(&self, app: &App, packages: Vec<Table>, tools: &[String]) -> Result<()> {
        let build: Vec<Value> = tools.iter().cloned().collect::<BTreeSet<_>>().into_iter().map(Value::from).collect();
        let own: Table = [("build-files".to_owned(), Value::from(build))].into_iter().collect();
        let tool: Table = [("pkgapp".to_owned(), Value::from(own))].into_iter().collect();
        let mut document = Table::new();
        document.insert("lock-version".into(), "1.0".into());
        document.insert("created-by".into(), "pkgapp".into());
        document.insert("requires-python".into(), format!("=={}.*", app.python.version.value).into());
        document.insert("packages".into(), packages.into_iter().map(Value::from).collect::<Vec<_>>().into());
        document.insert("tool".into(), tool.into());
        let text = toml::to_string(&document).context(|| "the lock can't be written as TOML")?;
        let path = self.directory.join(LOCK);
        let text = format!("# Written by `pkgapp cache export`.\n{text}");
        fs::write_atomically(&path, |out| {
            out.write_all(text.as_bytes()).context(|| format!("cannot write `{}`", shown(&path)))
        })
    }
}

/// The files that an earlier export has put into a directory.
fn former(directory: &Path) -> BTreeSet<String> {
    let Ok(text) = std::fs::read_to_string(directory.join(LOCK)) else { return BTreeSet::new() };
    let lock: Table = text.parse().unwrap_or_default();
    if lock.get("created-by").and_then(Value::as_str) != Some("pkgapp") {
        return BTreeSet::new();
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = list(lock.get("tool").and_then(|tool| tool.get("pkgapp")?.get("build-files")));
    for package in list(lock.get("packages")) {
        let files = list(package.get("wheels")).into_iter().chain(package.get("sdist").cloned());
        names.extend(files.filter_map(|file| file.get("path").cloned()));
    }
    // A lock that was changed by hand must not have other files removed.
    let is_plain = |name: &&str| Path::new(name).file_name().is_some_and(|own| own == *name);
    let is_file = |name: &&str| {
        [".whl", ".gz", ".zip", ".xz", ".zst", ".tgz", ".txz", ".tar"].iter().any(|end| name.ends_with(end))
    };
    names.iter().filter_map(Value::as_str).filter(is_plain).filter(is_file).map(str::to_owned).collect()
}

/// Finds what sdists and projects are built with.
struct Builders<'a> {
    app: &'a App,
    needed: &'a Needed,
    options: &'a Options<'a>,
    report: &'a Report,
}

impl Builders<'_> {
    /// Resolves the build requirements of every sdist and project on its own, as their builds will.
    fn all(&self) -> Result<Vec<ToolFile>> {
        let mut sets = BTreeSet::new();
        for kept in &self.needed.files {
            match &kept.kept {
                Kept::Wheel => {}
                Kept::Sdist => {
                    let aside = self.options.cache.temporary()?;
                    sets.insert(build_requirements(&sdist::unpacked(&kept.path, aside.path())?)?);
                }
                Kept::Project(directory, _) => _ = sets.insert(build_requirements(directory)?),
            }
        }
        if let Some(source) = &self.app.source {
            sets.insert(build_requirements(source)?);
        }
        let mut files: BTreeMap<String, ToolFile> = BTreeMap::new();
        for set in sets.iter().filter(|set| !set.is_empty()) {
            files.extend(self.resolve(set)?.into_iter().map(|file| (file.name.clone(), file)));
        }
        Ok(files.into_values().collect())
    }

    fn resolve(&self, set: &[String]) -> Result<Vec<ToolFile>> {
        let aside = self.options.cache.temporary()?;
        let input = aside.path().join("requirements.in");
        std::fs::write(&input, set.join("\n") + "\n").context(|| "cannot write what is to be resolved")?;
        let output = aside.path().join(LOCK);
        let python = self.app.python.version.value;
        match process::find("uv") {
            Some(uv) => {
                let mut command = Command::new(uv);
                command.args(["pip", "compile", "--quiet", "--no-progress", "--format", "pylock.toml"]);
                command.args(["--only-binary", ":all:", "--no-python-downloads"]);
                let interpreter = Interpreter::find(self.options.cache, python)?;
                command.arg("--python").arg(interpreter.path).arg("--output-file").arg(&output).arg(&input);
                self.run(&mut command, aside.path(), set)?;
            }
            None => {
                let interpreter = Interpreter::with_pip(self.options.cache, python)?;
                let mut command = Command::new(&interpreter.path);
                command.args(["-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]);
                command.args(["--only-binary", ":all:", "--requirement"]).arg(&input);
                let said = self.run(&mut command, aside.path(), set)?;
                std::fs::write(&output, super::lock::of_pip(&said, self.app)?).context(|| "cannot write a lock")?;
            }
        }
        let Needed { environment, epoch, lock: application, .. } = self.needed;
        let offline = self.options.offline;
        let lock = Lock::read(&[output], aside.path(), environment, offline, &Selection::default())?;
        let lock = Lock { indexes: application.indexes.clone(), ..lock };
        let files = self.fetch(&lock, environment, *epoch)?;
        Ok(files.into_iter().map(|kept| ToolFile { path: kept.path, name: kept.name }).collect())
    }

    fn fetch(&self, lock: &Lock, environment: &Environment, epoch: u64) -> Result<Vec<KeptFile>> {
        let (cache, offline) = (self.options.cache, self.options.offline);
        let rules = assembly::rules(self.app);
        let fetching = assembly::fetching(offline, Epoch::Known(epoch), &rules);
        let fetched = wheels::fetch(lock, environment, cache, &fetching, self.report)?;
        wheels::kept(lock, &fetched, environment, cache, offline)
    }

    fn run(&self, command: &mut Command, directory: &Path, set: &[String]) -> Result<Vec<u8>> {
        let indexes: &Indexes = &self.needed.lock.indexes;
        command.current_dir(directory).env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        command.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
        sdist::set_indexes(command, indexes, self.options.offline);
        let output = process::output(command)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = crate::lock::without_credentials(&String::from_utf8_lossy(&output.stderr));
        let mut list = String::new();
        set.iter().for_each(|one| _ = write!(list, " `{one}`"));
        Err(Error::new(format!("what is needed to build can't be resolved:{list}"))
            .cause_text(said.trim().to_owned())
            .hint("they are in `[build-system] requires` of the application, or of an sdist that has no wheel"))
    }
}

/// A wheel to build with.
struct ToolFile {
    path: PathBuf,
    name: String,
}

/// Returns what a project is built with (PEP 518), sorted. What a backend asks for beyond that is not known before it
/// runs.
fn build_requirements(project: &Path) -> Result<Vec<String>> {
    let file = project.join("pyproject.toml");
    let table: Table = match file.is_file() {
        true => fs::read_to_string(&file)?
            .parse()
            .context(|| format!("`{}` is not TOML", file.file_name().unwrap_or_default().to_string_lossy()))?,
        false => Table::new(),
    };
    let requires = table.get("build-system").and_then(|system| system.get("requires")).and_then(Value::as_array);
    let Some(requires) = requires else { return Ok(vec![LEGACY_BACKEND.to_owned()]) };
    let mut requires: Vec<String> = requires.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    requires.sort();
    requires.dedup();
    Ok(requires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_requirements_are_those_of_pep_518() {
        let project = tempfile::tempdir().unwrap();
        assert_eq!(build_requirements(project.path()).unwrap(), [LEGACY_BACKEND]);
        for (text, expected) in [
            ("[project]\nname = \"a\"\n", &[LEGACY_BACKEND][..]),
            ("[build-system]\nrequires = []\n", &[]),
            ("[build-system]\nrequires = [\"wheel\", \"hatchling>=1\", \"wheel\"]\n", &["hatchling>=1", "wheel"]),
        ] {
            std::fs::write(project.path().join("pyproject.toml"), text).unwrap();
            assert_eq!(build_requirements(project.path()).unwrap(), expected, "{text}");
        }
        std::fs::write(project.path().join("pyproject.toml"), "[").unwrap();
        assert!(build_requirements(project.path()).is_err());
    }

    #[test]
    fn only_what_an_export_has_written_is_removed_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        assert!(former(directory.path()).is_empty());
        let text = "created-by = \"pkgapp\"\n[[packages]]\nwheels = [{ path = \"a-1-py3-none-any.whl\" }]\n\
                    [[packages]]\nsdist = { path = \"../b-1.tar.gz\" }\n\
                    [tool.pkgapp]\nbuild-files = [\"c-1-py3-none-any.whl\", \"/etc/x.whl\", \"notes.txt\"]\n";
        std::fs::write(directory.path().join(LOCK), text).unwrap();
        let names: Vec<String> = former(directory.path()).into_iter().collect();
        assert_eq!(names, ["a-1-py3-none-any.whl", "c-1-py3-none-any.whl"]);
        std::fs::write(directory.path().join(LOCK), text.replace("pkgapp\"", "uv\"")).unwrap();
        assert!(former(directory.path()).is_empty());
    }
}
