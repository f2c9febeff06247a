//! Resolution with pip, for the build machine only.

use std::path::{Path, PathBuf};
use std::process::Command;

use pkgapp_config::Config;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::{fs, process};
use serde::Deserialize;
use toml::{Table, Value};
use url::Url;

use super::{Resolution, all_indexes, run, set_indexes};

/// The report of `pip install --report` (pip's "Installation Report", version 1).
#[derive(Debug, Deserialize)]
struct PipReport {
    install: Vec<InstalledReport>,
}

#[derive(Debug, Deserialize)]
struct InstalledReport {
    download_info: DownloadInfo,
    metadata: DistributionMetadata,
}

#[derive(Debug, Deserialize)]
struct DistributionMetadata {
    name: String,
    version: String,
}

/// A direct URL (specification "Direct URL Data Structure").
#[derive(Debug, Deserialize)]
struct DownloadInfo {
    url: String,
    archive_info: Option<ArchiveInfo>,
    vcs_info: Option<VcsInfo>,
    dir_info: Option<serde::de::IgnoredAny>,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ArchiveInfo {
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    hash: Option<String>,
}

#[derive(Debug, Deserialize)]
struct VcsInfo {
    vcs: String,
    commit_id: String,
}

impl Resolution<'_> {
    pub(super) fn with_pip(&self) -> Result<String> {
        self.check_indexes()?;
        let version = self.app.python.version.value;
        let interpreter = Interpreter::with_pip(self.options.cache, version)?;
        let mut command = Command::new(&interpreter.path);
        process::outside_repositories(&mut command);
        command.args(["-m", "pip", "install", "--quiet", "--dry-run"]);
        command.args(["--ignore-installed", "--report", "-"]);
        if self.options.offline {
            command.arg("--no-index");
        }

        for file in &self.app.python.constraints {
            command.arg("--constraint").arg(&file.value);
        }
        self.add_groups(&mut command);
        for input in self.inputs {
            match project_directory(input) {
                Some(directory) => {
                    command.arg(format!("{}{}", directory.display(), self.extras()));
                }
                None => {
                    command.arg("--requirement").arg(input);
                }
            }
        }
        command
            .current_dir(&self.app.root)
            .env("PIP_NO_INPUT", "1")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        set_indexes(&mut command, self.app, self.options.offline);
        of_pip(&run(&mut command)?, self.app)
    }

    /// Refuses indexes whose order pip would ignore.
    fn check_indexes(&self) -> Result<()> {
        let newest = "pip takes the newest version from all indexes, regardless of their order";
        if let Some((name, source)) = self.app.python.sources.iter().next() {
            return Err(Error::new(format!(
                "pip cannot restrict `{name}` to the index `{source}`"
            ))
            .note(newest)
            .hint("install uv, which `pkgapp lock` prefers"));
        }

        let indexes = all_indexes(self.app, self.inputs)?;
        // The default index counts as well, unless it is one of the named ones.
        let named = indexes.named.iter().filter(|index| !index.default).count();
        if named + indexes.extra.len() > 0 {
            return Err(Error::new("pip cannot resolve from several indexes in their order")
                .note(newest)
                .hint("install uv, which `pkgapp lock` prefers, or name only one index (`default = true`)"));
        }
        Ok(())
    }

    /// Returns the extras of the project as in a requirement, e.g. `[web,redis]`.
    fn extras(&self) -> String {
        let extras = self.app.python.extras.iter();
        let names: Vec<String> = extras.map(|extra| extra.value.to_string()).collect();
        if names.is_empty() {
            String::new()
        } else {
            format!("[{}]", names.join(","))
        }
    }
}

/// Returns the directory of a project; `None` for a requirements file.
fn project_directory(input: &Path) -> Option<&Path> {
    let name = input.file_name()?;
    (name == "pyproject.toml" || name == "setup.py")
        .then(|| input.parent())
        .flatten()
}

/// Converts the output of `pip install --report -` to a pylock.toml.
pub(super) fn of_pip(printed: &[u8], app: &Config) -> Result<String> {
    let report: PipReport = serde_json::from_slice(printed)
        .context(|| "cannot read the report of pip, which needs pip 22.2 or newer")?;
    let mut packages = Vec::new();
    for one in &report.install {
        packages.extend(package(one, app)?.map(Value::Table));
    }
    packages.sort_by_key(|package| {
        package
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_lowercase)
    });
    let mut document = Table::new();
    document.insert("lock-version".into(), "1.0".into());
    document.insert("created-by".into(), "pkgapp".into());
    document.insert(
        "requires-python".into(),
        format!("=={}.*", app.python.version.value).into(),
    );
    document.insert("packages".into(), Value::Array(packages));
    let text = toml::to_string(&document).context(|| "cannot write the lock as TOML")?;
    Ok(format!("# Written by `pkgapp lock`.\n{text}"))
}

/// Returns the entry of a distribution in pylock.toml; `None` for the application itself.
fn package(one: &InstalledReport, app: &Config) -> Result<Option<Table>> {
    let place = DownloadPlace::of(one, app)?;
    let download = &one.download_info;
    if download.dir_info.is_some() && place.is_application() {
        return Ok(None);
    }

    let mut package = Table::new();
    package.insert("name".into(), one.metadata.name.clone().into());
    let mut entry = Table::new();
    if let Some(below) = &download.subdirectory {
        entry.insert("subdirectory".into(), below.clone().into());
    }
    if download.dir_info.is_some() {
        entry.insert("path".into(), place.directory()?.into());
        package.insert("directory".into(), Value::Table(entry));
        return Ok(Some(package));
    }

    package.insert("version".into(), one.metadata.version.clone().into());
    if let Some(vcs) = &download.vcs_info {
        entry.insert("type".into(), vcs.vcs.clone().into());
        entry.insert("url".into(), place.url.as_str().into());
        entry.insert("commit-id".into(), vcs.commit_id.clone().into());
        package.insert("vcs".into(), Value::Table(entry));
    } else {
        insert_archive(&mut package, entry, &place)?;
    }
    Ok(Some(package))
}

/// Adds the entry of a wheel or sdist to a package.
fn insert_archive(package: &mut Table, mut entry: Table, place: &DownloadPlace<'_>) -> Result<()> {
    let archive = place.one.download_info.archive_info.as_ref();
    let archive = archive.ok_or_else(|| place.failed("pip's report does not describe its file"))?;
    let (key, value) = place.key_and_value();
    entry.insert(key.into(), value.into());
    entry.insert("hashes".into(), Value::Table(place.hashes(archive)?));
    if place.is_wheel() {
        package.insert("wheels".into(), Value::Array(vec![Value::Table(entry)]));
    } else {
        package.insert("sdist".into(), Value::Table(entry));
    }
    Ok(())
}

/// The source from which pip took a distribution.
struct DownloadPlace<'a> {
    one: &'a InstalledReport,
    app: &'a Config,
    url: Url,
    /// The local file or directory, if the URL is one.
    path: Option<PathBuf>,
}

impl<'a> DownloadPlace<'a> {
    fn of(one: &'a InstalledReport, app: &'a Config) -> Result<Self> {
        let url = Url::parse(&one.download_info.url)
            .map_err(|error| not_locked(one, "pip reports an invalid URL").cause(error))?;
        let path = url.to_file_path().ok().filter(|_| url.scheme() == "file");
        Ok(Self {
            one,
            app,
            url,
            path,
        })
    }

    fn failed(&self, why: &str) -> Error {
        not_locked(self.one, why)
    }

    /// Returns whether the source is the project of the application.
    fn is_application(&self) -> bool {
        self.path.is_some() && self.path == self.app.source
    }

    fn is_wheel(&self) -> bool {
        let extension = Path::new(self.url.path()).extension();
        extension.is_some_and(|extension| extension == "whl")
    }

    /// Returns a path, relative to the configuration if it lies below it.
    fn relative(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.app.root).unwrap_or(path);
        below.display().to_string()
    }

    fn directory(&self) -> Result<String> {
        let path = self
            .path
            .as_deref()
            .ok_or_else(|| self.failed("its directory is not a local one"))?;
        Ok(self.relative(path))
    }

    /// Returns the key and value that name an archive (PEP 751, `packages.archive`).
    fn key_and_value(&self) -> (&'static str, String) {
        match &self.path {
            Some(path) => ("path", self.relative(path)),
            None => ("url", self.url.to_string()),
        }
    }

    /// Returns the hashes that pip reports, with a SHA-256 in any case for a local file.
    fn hashes(&self, archive: &ArchiveInfo) -> Result<Table> {
        let old = archive.hash.as_ref().and_then(|hash| hash.split_once('='));
        let old = old.map(|(algorithm, digest)| (algorithm.to_owned(), digest.to_owned()));
        let reported = archive.hashes.clone().into_iter().chain(old);
        let mut hashes: Table = reported.map(|(key, value)| (key, value.into())).collect();

        if !hashes.contains_key("sha256")
            && let Some(path) = &self.path
        {
            let mut file = fs::open(path)?;
            let digest = pkgapp_core::digest::Digest::of_reader(&mut file)
                .context(|| format!("cannot read `{}`", shown(path)))?;
            hashes.insert("sha256".into(), digest.sha256.to_string().into());
        }
        Ok(hashes)
    }
}

fn not_locked(one: &InstalledReport, why: &str) -> Error {
    let DistributionMetadata { name, version } = &one.metadata;
    Error::new(format!("cannot lock `{name} {version}`: {why}"))
}
