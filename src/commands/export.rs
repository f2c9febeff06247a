//! `pkgapp cache export`: all that a build takes from elsewhere, in one directory, for a machine
//! without network.

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
        .context(|| format!("there is no such path as `{}`", shown(&args.directory)))?;
    let builders = BuildRequirements {
        app: &app,
        needed: &needed,
        options: &options,
        report,
    };
    // All that can fail does so before anything is written.
    let tools = builders.all()?;
    let (mut house, old) = (
        WheelhouseWriter {
            directory: &directory,
            files: BTreeSet::new(),
            bytes: 0,
        },
        former(&directory),
    );
    fs::create_dir_all(&directory)?;
    let mut packages = Vec::new();
    for kept in &needed.files {
        packages.push(house.package(kept)?);
    }
    let tools: Vec<String> = tools
        .iter()
        .map(|file| house.copy(&file.path, &file.name))
        .collect::<Result<_>>()?;
    house.write_lock(&app, packages, &tools)?;
    for gone in old.difference(&house.files) {
        _ = std::fs::remove_file(directory.join(gone));
    }
    let count = house.files.len();
    report.step(&format!(
        "{count} files ({}), {} of them to build with",
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

/// The directory while it is filled.
struct WheelhouseWriter<'a> {
    directory: &'a Path,
    /// Names of what belongs there.
    files: BTreeSet<String>,
    bytes: u64,
}

impl WheelhouseWriter<'_> {
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
        fs::write_atomically(&to, |out| {
            out.write_all(&content)
                .context(|| format!("cannot write `{}`", shown(&to)))
        })?;
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
        let hashes: Table = [("sha256".to_owned(), Value::from(kept.sha256.to_string()))]
            .into_iter()
            .collect();
        file.insert("hashes".into(), hashes.into());
        let mut package = Table::new();
        package.insert("name".into(), kept.pin.name.to_string().into());
        package.insert("version".into(), kept.version.to_string().into());
        if let CachedPin::Project(_, Some(from)) = &kept.kept {
            // A build by the same lock finds the wheel by it, instead of the repository.
            let own: Table = [("built-from".to_owned(), Value::from(from.clone()))]
                .into_iter()
                .collect();
            package.insert(
                "tool".into(),
                Table::from_iter([("pkgapp".to_owned(), Value::from(own))]).into(),
            );
        }
        match kept.kept {
            CachedPin::Sdist => _ = package.insert("sdist".into(), file.into()),
            CachedPin::Wheel | CachedPin::Project(..) => {
                _ = package.insert("wheels".into(), vec![Value::from(file)].into());
            }
        }
        Ok(package)
    }

    /// Writes the lock (PEP 751), with the names of the tools for the next export.
    fn write_lock(&self, app: &Config, packages: Vec<Table>, tools: &[String]) -> Result<()> {
        let build: Vec<Value> = tools
            .iter()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(Value::from)
            .collect();
        let own: Table = [("build-files".to_owned(), Value::from(build))]
            .into_iter()
            .collect();
        let tool: Table = [("pkgapp".to_owned(), Value::from(own))]
            .into_iter()
            .collect();
        let mut document = Table::new();
        document.insert("lock-version".into(), "1.0".into());
        document.insert("created-by".into(), "pkgapp".into());
        document.insert(
            "requires-python".into(),
            format!("=={}.*", app.python.version.value).into(),
        );
        document.insert(
            "packages".into(),
            packages
                .into_iter()
                .map(Value::from)
                .collect::<Vec<_>>()
                .into(),
        );
        document.insert("tool".into(), tool.into());
        let text = toml::to_string(&document).context(|| "the lock can't be written as TOML")?;
        let path = self.directory.join(LOCK);
        let text = format!("# Written by `pkgapp cache export`.\n{text}");
        fs::write_atomically(&path, |out| {
            out.write_all(text.as_bytes())
                .context(|| format!("cannot write `{}`", shown(&path)))
        })
    }
}

/// The files that an earlier export has put into a directory.
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
    // A lock that was changed by hand must not have other files removed.
    let is_plain = |name: &&str| Path::new(name).file_name().is_some_and(|own| own == *name);
    let is_file = |name: &&str| {
        [".whl", ".gz", ".zip", ".xz", ".zst", ".tgz", ".txz", ".tar"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    names
        .iter()
        .filter_map(Value::as_str)
        .filter(is_plain)
        .filter(is_file)
        .map(str::to_owned)
        .collect()
}

/// Finds what sdists and projects are built with.
struct BuildRequirements<'a> {
    app: &'a Config,
    needed: &'a Needed,
    options: &'a AssemblyOptions<'a>,
    report: &'a Report,
}

impl BuildRequirements<'_> {
    /// Resolves the build requirements of every sdist and project on its own, as their builds will.
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

/// A wheel to build with.
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
