//! `pkgapp cache export`: a directory with all files that a build downloads, for a machine without
//! network.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::assembly::{self, AssemblyOptions, Needed};
use crate::cli::{ExportArgs, GlobalOptions};
use pkgapp_config::Config;
use pkgapp_core::commit::Epoch;
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report, human_bytes};
use pkgapp_wheels::wheelhouse::LOCK;
use pkgapp_wheels::{self as wheels, BuildSystem, CachedPin, KeptFile, Wheel, sdist};

use super::{load_app, open_cache};

pub(super) fn export(args: &ExportArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_app(global, report)?;
    let cache = open_cache(global, report)?;
    let options = AssemblyOptions {
        cache: &cache,
        offline: global.offline,
        rerun: false,
    };
    let needed = assembly::needed(&app, &options, report)?;
    let directory = std::path::absolute(&args.directory)
        .context(|| format!("invalid path `{}`", shown(&args.directory)))?;
    let builders = BuildRequirements {
        app: &app,
        needed: &needed,
        options: &options,
        report,
    };
    // Resolution may fail, so it comes before anything is written.
    let tools = builders.all()?;

    let mut house = WheelhouseWriter {
        directory: &directory,
        files: BTreeSet::new(),
        bytes: 0,
    };
    let tools = house.fill(&app, &needed, &tools)?;

    let count = house.files.len();
    report.step(&format!(
        "{count} files ({}), {} of them build requirements",
        human_bytes(house.bytes),
        tools.len()
    ));
    match report.style() {
        OutputStyle::Text => report.result(&shown(&args.directory).to_string()),
        OutputStyle::Json => report.json(&serde_json::json!({
            "directory": directory,
            "files": house.files,
            "build": tools,
            "bytes": house.bytes,
        })),
    }
    Ok(())
}

/// A wheelhouse that is being filled.
struct WheelhouseWriter<'a> {
    directory: &'a Path,
    /// The names of the files that belong to the export.
    files: BTreeSet<String>,
    bytes: u64,
}

impl WheelhouseWriter<'_> {
    /// Writes all files and the lock, and removes files of an earlier export that are no longer
    /// needed; returns the names of the build requirements.
    fn fill(&mut self, app: &Config, needed: &Needed, tools: &[ToolFile]) -> Result<Vec<String>> {
        let old = former(self.directory);
        fs::create_dir_all(self.directory)?;
        let mut packages = Vec::new();
        for kept in &needed.files {
            packages.push(self.package(kept)?);
        }
        let tools: Vec<String> = tools
            .iter()
            .map(|file| self.copy(&file.path, &file.name))
            .collect::<Result<_>>()?;
        self.write_lock(app, packages, &tools)?;

        for gone in old.difference(&self.files) {
            _ = std::fs::remove_file(self.directory.join(gone));
        }
        Ok(tools)
    }

    /// Copies a file unless the directory has it with the same content; returns its name.
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
        fs::write_atomically(&to, |out| {
            out.write_all(&content)
                .context(|| format!("cannot write `{}`", shown(&to)))
        })?;
        Ok(name.to_owned())
    }

    /// Copies the file of a pin; returns its entry of the lock.
    fn package(&mut self, kept: &KeptFile) -> Result<Table> {
        let name = self.copy(&kept.path, &kept.name)?;
        let file = file_entry(kept, name)?;
        let mut package = Table::new();
        package.insert("name".into(), kept.pin.name.to_string().into());
        package.insert("version".into(), kept.version.to_string().into());
        if let CachedPin::Project(_, Some(from)) = &kept.kept {
            // With this key, a build from the same lock finds the wheel instead of the repository.
            package.insert("tool".into(), own_table("built-from", from.clone().into()));
        }
        match kept.kept {
            CachedPin::Sdist => _ = package.insert("sdist".into(), file.into()),
            CachedPin::Wheel | CachedPin::Project(..) => {
                _ = package.insert("wheels".into(), vec![Value::from(file)].into());
            }
        }
        Ok(package)
    }

    /// Writes the lock (PEP 751), with the names of the build requirements for the next export.
    fn write_lock(&self, app: &Config, packages: Vec<Table>, tools: &[String]) -> Result<()> {
        let tools: BTreeSet<&String> = tools.iter().collect();
        let tools: Vec<Value> = tools.into_iter().cloned().map(Value::from).collect();
        let packages: Vec<Value> = packages.into_iter().map(Value::from).collect();
        let python = format!("=={}.*", app.python.version.value);

        let mut document = Table::new();
        document.insert("lock-version".into(), "1.0".into());
        document.insert("created-by".into(), "pkgapp".into());
        document.insert("requires-python".into(), python.into());
        document.insert("packages".into(), packages.into());
        document.insert("tool".into(), own_table("build-files", tools.into()));
        let text = toml::to_string(&document).context(|| "cannot write the lock as TOML")?;

        let path = self.directory.join(LOCK);
        let text = format!("# Written by `pkgapp cache export`.\n{text}");
        fs::write_atomically(&path, |out| {
            out.write_all(text.as_bytes())
                .context(|| format!("cannot write `{}`", shown(&path)))
        })
    }
}

/// Returns the entry of a file in the lock (PEP 751, `packages.wheels`).
fn file_entry(kept: &KeptFile, name: String) -> Result<Table> {
    let mut file = Table::new();
    file.insert("name".into(), name.clone().into());
    if kept.from.starts_with("http://") || kept.from.starts_with("https://") {
        file.insert("url".into(), kept.from.clone().into());
    }
    file.insert("path".into(), name.into());
    let size = i64::try_from(kept.size)
        .context(|| format!("`{}` is too large for a lock", shown(&kept.path)))?;
    file.insert("size".into(), size.into());
    let hashes = [("sha256".to_owned(), Value::from(kept.sha256.to_string()))];
    file.insert("hashes".into(), Table::from_iter(hashes).into());
    Ok(file)
}

/// Returns a value of `[tool]` in which pkgapp has one key.
fn own_table(key: &str, value: Value) -> Value {
    let own = Table::from_iter([(key.to_owned(), value)]);
    Table::from_iter([("pkgapp".to_owned(), Value::from(own))]).into()
}

/// Returns the names of the files that an earlier export has put into a directory.
fn former(directory: &Path) -> BTreeSet<String> {
    let Ok(text) = std::fs::read_to_string(directory.join(LOCK)) else {
        return BTreeSet::new();
    };
    let lock: Table = text.parse().unwrap_or_default();
    if lock.get("created-by").and_then(Value::as_str) != Some("pkgapp") {
        return BTreeSet::new();
    }
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = list(
        lock.get("tool")
            .and_then(|tool| tool.get("pkgapp")?.get("build-files")),
    );
    for package in list(lock.get("packages")) {
        let files = list(package.get("wheels"))
            .into_iter()
            .chain(package.get("sdist").cloned());
        names.extend(files.filter_map(|file| file.get("path").cloned()));
    }
    names
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| is_exported(name))
        .map(str::to_owned)
        .collect()
}

/// Returns whether an export may have written a file of this name: an edited lock must not make
/// pkgapp remove other files.
fn is_exported(name: &str) -> bool {
    let is_plain = Path::new(name).file_name().is_some_and(|own| own == name);
    let endings = [".whl", ".gz", ".zip", ".xz", ".zst", ".tgz", ".txz", ".tar"];
    is_plain && endings.iter().any(|end| name.ends_with(end))
}

/// Finds the build requirements of sdists and projects.
struct BuildRequirements<'a> {
    app: &'a Config,
    needed: &'a Needed,
    options: &'a AssemblyOptions<'a>,
    report: &'a Report,
}

impl BuildRequirements<'_> {
    /// Resolves the build requirements of each sdist and project separately, as their builds will.
    fn all(&self) -> Result<Vec<ToolFile>> {
        let mut sets = BTreeSet::new();
        for kept in &self.needed.files {
            match &kept.kept {
                CachedPin::Wheel => {}
                CachedPin::Sdist => {
                    let aside = self.options.cache.temporary()?;
                    sets.insert(
                        BuildSystem::read(&sdist::unpacked(&kept.path, aside.path())?)?.requires,
                    );
                }
                CachedPin::Project(directory, _) => {
                    _ = sets.insert(BuildSystem::read(directory)?.requires);
                }
            }
        }
        if let Some(source) = &self.app.source {
            sets.insert(BuildSystem::read(source)?.requires);
        }
        let mut files: BTreeMap<String, ToolFile> = BTreeMap::new();
        for set in sets.iter().filter(|set| !set.is_empty()) {
            files.extend(
                self.resolve(set)?
                    .into_iter()
                    .map(|file| (file.name.clone(), file)),
            );
        }
        Ok(files.into_values().collect())
    }

    fn resolve(&self, set: &[String]) -> Result<Vec<ToolFile>> {
        let Needed {
            environment,
            epoch,
            lock,
            ..
        } = self.needed;
        let rules = assembly::rules(self.app);
        let fetching = assembly::fetching(self.options.offline, Epoch::Known(*epoch), &rules);
        let wheels = wheels::build_tools(
            set,
            &lock.indexes,
            environment,
            self.options.cache,
            &fetching,
            self.report,
        )?;
        let file = |wheel: Wheel| ToolFile {
            name: wheel.filename.to_string(),
            path: wheel.path,
        };
        Ok(wheels.into_iter().map(file).collect())
    }
}

/// The wheel of a build requirement.
struct ToolFile {
    path: PathBuf,
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

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
        std::fs::write(
            directory.path().join(LOCK),
            text.replace("pkgapp\"", "uv\""),
        )
        .unwrap();
        assert!(former(directory.path()).is_empty());
    }
}
