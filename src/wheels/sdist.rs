//! Sdists and project directories become wheels through PEP 517, by the tool that the user already trusts: uv if it is
//! on PATH, else the interpreter's pip.
//!
//! The source is laid out anew in the cache, so that the user's files are only read; the result is packed anew, so that
//! equal content gives equal bytes; and it is kept under a key that holds everything that went in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};
use uv_distribution_filename::{LegacySourceDistExtension as Legacy, SourceDistExtension};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::archive::{Archive, check_path};
use super::index::without_credentials;
use super::store::{self, Stored, publish_file};
use super::{FetchOptions, Wheel};
use crate::cache::{self, Cache, Stamp};
use crate::digest::{DigestWriter, Sha256Sum};
use crate::error::{Context, Error, Result, shown};
use crate::fs;
use crate::interpreter::Interpreter;
use crate::lock::Indexes;
use crate::path::ReleasePath;
use crate::process;
use crate::pypa::{Environment, WheelFilename};
use crate::report::Report;

/// Counts in every key: to be raised when builds are made otherwise.
const BUILD_FORMAT: &str = "pkgapp build 2";

/// Most bytes that an sdist may hold unpacked.
const MAX_UNPACKED: u64 = 8 << 30;

/// The earliest time a zip archive can hold, 1980-01-01 (APPNOTE 4.4.6): build backends fail on earlier ones.
const ZIP_EPOCH: u64 = 315_532_800;

/// Variables that change what a build makes. Also all that begin with [`BUILD_PREFIXES`].
const BUILD_VARIABLES: &[&str] = &[
    "AR",
    "ARCHFLAGS",
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "LD",
    "LDFLAGS",
    "LDSHARED",
    "PIP_CONSTRAINT",
    "PKG_CONFIG_PATH",
    "RUSTFLAGS",
    "UV_BUILD_CONSTRAINT",
];

/// Beginnings of such names: the variables of build backends.
const BUILD_PREFIXES: &[&str] = &[
    "CARGO_",
    "CMAKE_",
    "HATCH_",
    "MATURIN_",
    "PBR_",
    "PDM_",
    "POETRY_",
    "SETUPTOOLS_",
    "SKBUILD_",
    "VCS_VERSIONING_",
];

/// Variables of the user's shell that must not reach a build.
const DROPPED_VARIABLES: &[&str] = &[
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONOPTIMIZE",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_WHEEL_DIR",
    "UV_PYTHON",
    "UV_PROJECT",
    "UV_WORKING_DIRECTORY",
];

/// Returns whether sdists of this form can be unpacked.
pub fn is_readable(extension: SourceDistExtension) -> bool {
    use Legacy::{Tar, TarXz, TarZst, Tgz, Txz, Zip};
    matches!(
        extension,
        SourceDistExtension::TarGz | SourceDistExtension::Legacy(Tar | TarXz | TarZst | Tgz | Txz | Zip)
    )
}

/// Builds wheels.
#[derive(Debug)]
pub struct Builder<'a> {
    cache: &'a Cache,
    environment: &'a Environment,
    indexes: &'a Indexes,
    offline: bool,
    epoch: u64,
    report: &'a Report,
    tool: OnceLock<Result<Tool>>,
    built: AtomicUsize,
}

/// What runs the build.
#[derive(Debug, Clone)]
struct Tool {
    interpreter: Interpreter,
    /// uv and its version; without it, the interpreter's pip.
    uv: Option<(PathBuf, String)>,
}

/// What is built.
struct Source<'a> {
    /// As messages name it.
    label: &'a str,
    /// SHA-256 of its content.
    content: Sha256Sum,
    from: String,
}

impl<'a> Builder<'a> {
    /// Prepares to build for an environment; nothing is looked for yet.
    pub fn new(
        cache: &'a Cache,
        environment: &'a Environment,
        indexes: &'a Indexes,
        options: &FetchOptions,
        report: &'a Report,
    ) -> Self {
        let epoch = options.epoch.max(ZIP_EPOCH);
        let (tool, built) = (OnceLock::new(), AtomicUsize::new(0));
        Self { cache, environment, indexes, offline: options.offline, epoch, report, tool, built }
    }

    /// Returns how many wheels were built, rather than found in the cache.
    pub fn built(&self) -> usize {
        self.built.load(Ordering::Relaxed)
    }

    /// Builds an sdist of the cache.
    ///
    /// # Errors
    /// It can't be unpacked, no tool is there, the build fails, or its wheel does not fit the environment.
    pub fn sdist(&self, stored: &Stored, extension: SourceDistExtension, from: &str) -> Result<Wheel> {
        let label = stored.path.file_name().unwrap_or_default().to_string_lossy();
        let source = Source { label: &label, content: stored.sha256, from: format!("built from {from}") };
        self.build(&source, |to| {
            unpack(&stored.path, extension, to, self.epoch)
                .map_err(|error| error.context(format!("sdist `{label}` is refused")))
        })
    }

    /// Builds a project's directory, which is only read.
    ///
    /// # Errors
    /// As [`Builder::sdist`]; or it is no project.
    pub fn project(&self, directory: &Path) -> Result<Wheel> {
        if !["pyproject.toml", "setup.py"].iter().any(|name| directory.join(name).is_file()) {
            return Err(Error::new(format!("`{}` is no Python project", shown(directory)))
                .note("it has neither `pyproject.toml` nor `setup.py`"));
        }
        let files = project_files(directory)?;
        let history = History::of(directory);
        let content = hash_files(directory, &files, history.as_ref())?;
        let label = shown(directory).to_string();
        // Not the directory's name: a checkout elsewhere gives the same release.
        let source = Source { label: &label, content, from: "built from its project".to_owned() };
        self.build(&source, |to| {
            let to = to.join("project");
            let lent = history.is_some() && History::lend(directory, &to)?;
            copy_files(directory, &files, &to, self.epoch)?;
            if lent {
                History::compare(&to)?;
            }
            Ok(to)
        })
    }

    fn build(&self, source: &Source<'_>, lay_out: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<Wheel> {
        let tool = self.tool.get_or_init(|| Tool::find(self.cache, self.environment)).as_ref().map_err(Clone::clone)?;
        let key = self.key(source, tool).to_string();
        let place = self.cache.built().join(&key);
        if let Some(wheel) = self.known(&place, source)? {
            return Ok(wheel);
        }
        // The name is part of what compilers see; a random one would end up in their output.
        let room = self.cache.claim(&format!("build-{}", &key[..16]))?;
        // Another process may have built it while this one waited for the room.
        if let Some(wheel) = self.known(&place, source)? {
            return Ok(wheel);
        }
        let start = Instant::now();
        let failed = || format!("cannot build a wheel of `{}`", source.label);
        fs::create_dir_all(&room.path().join("src"))?;
        fs::create_dir_all(&room.path().join("tmp"))?;
        let project = lay_out(&room.path().join("src")).map_err(|error| error.context(failed()))?;
        let made =
            self.run(tool, room.path(), &project).map_err(|error| advise(error, self.offline).context(failed()))?;
        let wheel = self.accept(&made, &room.path().join("packed")).map_err(|error| error.context(failed()))?;
        store::record(self.cache, &wheel)?;
        publish_file(self.cache, &wheel, &place)?;
        self.built.fetch_add(1, Ordering::Relaxed);
        self.report.step(&format!("built {} ({:.1} s)", file_name(&wheel), start.elapsed().as_secs_f64()));
        drop(room);
        self.known(&place, source)?
            .ok_or_else(|| Error::new(failed()).cause_text("what was built is gone from the cache"))
    }

    /// A wheel that was built before; one that is not what it was then is forgotten.
    fn known(&self, place: &Path, source: &Source<'_>) -> Result<Option<Wheel>> {
        let Some(path) = self.cache.hold(place).then(|| only_wheel(place)).flatten() else { return Ok(None) };
        let filename = wheel_filename(&path)?;
        let Some(known) = store::recorded(&path).and_then(|sha256| store::known(self.cache, &path, sha256)) else {
            self.cache.forget(place)?;
            return Ok(None);
        };
        self.cache.count("built", true);
        let (sha256, from) = (known.sha256, source.from.clone());
        let metadata = known.metadata(self.cache, &path, &filename)?;
        Ok(Some(Wheel { filename, path, sha256, from, built_here: true, metadata, pin: None }))
    }

    /// Checks what a build left, and packs it anew.
    fn accept(&self, made: &Path, to: &Path) -> Result<PathBuf> {
        let filename = wheel_filename(made)?;
        if !filename.is_compatible(&self.environment.tags) {
            let Environment { python, arch, .. } = self.environment;
            return Err(Error::new(format!("`{}` does not fit CPython {python} on {arch}", file_name(made)))
                .note("compiled code that is built here runs on machines like this one only"));
        }
        fs::create_dir_all(to)?;
        let packed = to.join(file_name(made));
        repack(made, &filename, &packed)?;
        Archive::open(&packed, &filename)?.verify()?;
        Ok(packed)
    }

    fn run(&self, tool: &Tool, room: &Path, project: &Path) -> Result<PathBuf> {
        let out = room.join("out");
        fs::create_dir_all(&out)?;
        let mut command = tool.command(&out, project, self.indexes.no_index);
        self.set_environment(&mut command, room);
        let mut output = process::output(&mut command)?;
        for text in [&mut output.stdout, &mut output.stderr] {
            // Tools name the indexes that they ask.
            *text = without_credentials(&String::from_utf8_lossy(text)).into_bytes();
        }
        if !output.status.success() {
            return Err(process::failure(&command, &output));
        }
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            if !text.trim().is_empty() {
                self.report.detail(text.trim_end());
            }
        }
        only_wheel(&out).ok_or_else(|| Error::new(format!("`{}` left no wheel", process::line(&command))))
    }

    fn set_environment(&self, command: &mut Command, room: &Path) {
        for name in DROPPED_VARIABLES {
            command.env_remove(name);
        }
        command.current_dir(room).env("TMPDIR", room.join("tmp"));
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        command.env("PYTHONHASHSEED", "0").env("PYTHONNOUSERSITE", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("NO_COLOR", "1");
        // The compiler would write the place of this build into the code.
        let map = format!("-ffile-prefix-map={}=.", room.display());
        for name in ["CFLAGS", "CXXFLAGS"] {
            let set = std::env::var(name).unwrap_or_default();
            command.env(name, format!("{set} {map}").trim());
        }
        command.env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_CACHE_DIR", "1");
        self.set_indexes(command);
    }

    /// Places go by the environment, because anyone can read a command line, and URLs may hold passwords.
    fn set_indexes(&self, command: &mut Command) {
        let joined = |urls: &[url::Url], by: &str| urls.iter().map(url::Url::as_str).collect::<Vec<_>>().join(by);
        if let Some(index) = &self.indexes.index {
            command.env("PIP_INDEX_URL", index.as_str()).env("UV_DEFAULT_INDEX", index.as_str());
        }
        if !self.indexes.extra.is_empty() {
            command.env("PIP_EXTRA_INDEX_URL", joined(&self.indexes.extra, " "));
            command.env("UV_INDEX", joined(&self.indexes.extra, " "));
        }
        if !self.indexes.find_links.is_empty() {
            command.env("PIP_FIND_LINKS", joined(&self.indexes.find_links, " "));
            // uv splits the list at commas, those of a path too.
            let links: Vec<String> =
                self.indexes.find_links.iter().map(|url| url.as_str().replace(',', "%2C")).collect();
            command.env("UV_FIND_LINKS", links.join(","));
        }
        if self.indexes.no_index || self.offline {
            command.env("PIP_NO_INDEX", "1");
        }
        if self.offline {
            command.env("UV_OFFLINE", "1");
        }
    }

    fn key(&self, source: &Source<'_>, tool: &Tool) -> Sha256Sum {
        let Interpreter { version, platform, soabi, .. } = &tool.interpreter;
        let mut parts = vec![
            BUILD_FORMAT.to_owned(),
            source.content.to_string(),
            format!("{version} {platform} {soabi}"),
            tool.label(),
            self.epoch.to_string(),
        ];
        let relevant = |name: &str| {
            BUILD_VARIABLES.contains(&name) || BUILD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        for (name, value) in variables {
            if name.to_str().is_some_and(relevant) {
                parts.push(format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
            }
        }
        let mut sum = Sha256::new();
        for part in parts {
            sum.update(part.as_bytes());
            sum.update([0]);
        }
        Sha256Sum(sum.finalize().into())
    }
}

impl Tool {
    fn find(cache: &Cache, environment: &Environment) -> Result<Self> {
        let ours = environment.builds_with.as_deref().map(Interpreter::query).transpose()?;
        let Some(uv) = process::find("uv") else {
            let ours = ours.filter(Interpreter::has_pip);
            let interpreter = ours.map_or_else(|| Interpreter::with_pip(cache, environment.python), Ok)?;
            return Ok(Self { interpreter, uv: None });
        };
        let version = version_of(cache, &uv)?;
        let interpreter = ours.map_or_else(|| Interpreter::find(cache, environment.python), Ok)?;
        Ok(Self { interpreter, uv: Some((uv, version)) })
    }

    fn label(&self) -> String {
        match (&self.uv, &self.interpreter.pip) {
            (Some((_, version)), _) => version.clone(),
            (None, Some(version)) => format!("pip {version}"),
            (None, None) => "pip".to_owned(),
        }
    }

    fn command(&self, out: &Path, project: &Path, no_index: bool) -> Command {
        match &self.uv {
            Some((uv, _)) => {
                let mut command = Command::new(uv);
                command.args(["build", "--wheel", "--out-dir"]).arg(out).arg("--python").arg(&self.interpreter.path);
                if no_index {
                    command.arg("--no-index");
                }
                command.arg(project);
                command
            }
            None => {
                let mut command = Command::new(&self.interpreter.path);
                command
                    .args(["-m", "pip", "wheel", "--no-deps", "--no-cache-dir", "--wheel-dir"])
                    .arg(out)
                    .arg(project);
                command
            }
        }
    }
}

/// What `uv --version` says, or has said as long as the program is the same.
fn version_of(cache: &Cache, uv: &Path) -> Result<String> {
    let kept = cache.tools().join(format!("{}.json", cache::key(["uv", &uv.to_string_lossy()])));
    let stamp = Stamp::of(uv);
    if let Some((known, version)) = cache::read_sealed::<(Option<Stamp>, String)>(&kept)
        && known == stamp
    {
        return Ok(version);
    }
    let output = process::run(Command::new(uv).arg("--version"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut magic = [0; 4];
    // A script may start another uv tomorrow.
    if File::open(uv).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF" {
        cache.write(&kept, &(stamp, &version))?;
    }
    Ok(version)
}

/// Adds the way out of failures that are common.
fn advise(error: Error, offline: bool) -> Error {
    let text = error.to_string();
    if text.contains("setuptools-scm") || text.contains("setuptools_scm") || text.contains("hatch-vcs") {
        return error.hint(
            "the version is taken from git if the project's directory is the top of a checkout with its tags; elsewhere, \
             set `SETUPTOOLS_SCM_PRETEND_VERSION` to the version",
        );
    }
    if text.contains("Python.h: No such file") {
        return error.hint(
            "install the headers of that Python: package `python3-dev` (Debian) or `python3-devel` (Fedora, EL)",
        );
    }
    let missing = ["No matching distribution found", "network connectivity is disabled", "No solution found"];
    if offline && missing.iter().any(|known| text.contains(known)) {
        return error.hint("what the build needs is not on this machine; run it once without `--offline`");
    }
    error
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn wheel_filename(path: &Path) -> Result<WheelFilename> {
    let name = file_name(path);
    WheelFilename::from_str(&name).context(|| format!("`{name}` is no name for a wheel"))
}

fn only_wheel(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let mut wheels = entries.filter(|path| path.extension() == Some(OsStr::new("whl")));
    let wheel = wheels.next()?;
    wheels.next().is_none().then_some(wheel)
}

/// Writes a wheel anew: members sorted, `.dist-info` last as PEP 427 recommends, one time, two modes.
fn repack(from: &Path, filename: &WheelFilename, to: &Path) -> Result<()> {
    let failed = || format!("cannot write `{}`", shown(to));
    let mut archive = Archive::open(from, filename)?;
    archive.verify()?;
    let mut order: Vec<(bool, ReleasePath)> = Vec::new();
    for member in archive.members() {
        order.push((member.path.as_str().starts_with(archive.dist_info()), member.path.clone()));
    }
    order.sort();
    let mut reader = zip::ZipArchive::new(fs::open(from)?).context(failed)?;
    let executable: BTreeSet<String> =
        archive.members().iter().filter(|member| member.executable).map(|member| member.path.to_string()).collect();
    let mut writer = ZipWriter::new(File::create(to).context(failed)?);
    for (_, path) in order {
        let mut member = reader.by_name(path.as_str()).context(failed)?;
        let mode = if executable.contains(path.as_str()) { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(6))
            .last_modified_time(zip::DateTime::default())
            .large_file(member.size() >= u64::from(u32::MAX))
            .unix_permissions(mode);
        writer.start_file(path.as_str(), options).context(failed)?;
        io::copy(&mut member, &mut writer).context(failed)?;
    }
    writer.finish().context(failed)?;
    Ok(())
}

/// Unpacks an sdist below `to` and returns its one top directory (sdist format, PEP 625 and PEP 517).
fn unpack(archive: &Path, extension: SourceDistExtension, to: &Path, epoch: u64) -> Result<PathBuf> {
    let file = fs::open(archive)?;
    match extension {
        SourceDistExtension::Legacy(Legacy::Zip) => unpack_zip(file, to)?,
        SourceDistExtension::TarGz | SourceDistExtension::Legacy(Legacy::Tgz) => {
            unpack_tar(flate2::read::MultiGzDecoder::new(file), to)?;
        }
        SourceDistExtension::Legacy(Legacy::TarXz | Legacy::Txz) => {
            unpack_tar(liblzma::read::XzDecoder::new_multi_decoder(file), to)?;
        }
        SourceDistExtension::Legacy(Legacy::TarZst) => {
            unpack_tar(zstd::Decoder::new(file).context(|| "it is not compressed by zstd")?, to)?;
        }
        SourceDistExtension::Legacy(Legacy::Tar) => unpack_tar(file, to)?,
        other @ SourceDistExtension::Legacy(_) => {
            return Err(Error::new(format!("pkgapp does not read `.{other}`")));
        }
    }
    let top: Vec<PathBuf> = std::fs::read_dir(to)
        .context(|| "cannot read what was unpacked")?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let [top] = &top[..] else {
        return Err(Error::new(format!("it has {} top directories; an sdist has one", top.len())));
    };
    set_times(top, epoch)?;
    Ok(top.clone())
}

fn unpack_zip(file: impl Read + Seek, to: &Path) -> Result<()> {
    let mut zip = zip::ZipArchive::new(file).context(|| "it is no zip archive")?;
    let mut layout = Layout::new(to);
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).context(|| "a member can't be read")?;
        let name = String::from_utf8(member.name_raw().to_owned()).context(|| "a member's name is not UTF-8")?;
        let mode = member.unix_mode().unwrap_or(0);
        if mode & 0o170_000 == 0o120_000 {
            return Err(Error::new(format!("`{name}` is a symbolic link in a zip archive")));
        }
        if member.is_dir() {
            layout.directory(&name)?;
        } else {
            layout.file(&name, mode & 0o111 != 0, &mut member)?;
        }
    }
    Ok(())
}

fn unpack_tar(reader: impl Read, to: &Path) -> Result<()> {
    let mut tar = tar::Archive::new(reader);
    let mut layout = Layout::new(to);
    for entry in tar.entries().context(|| "it is no tar archive")? {
        let mut entry = entry.context(|| "it can't be unpacked")?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).context(|| "a member's name is not UTF-8")?;
        let target = |entry: &tar::Entry<'_, _>| {
            let target = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            target.ok_or_else(|| Error::new(format!("`{name}` is a link to nothing")))
        };
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                layout.file(&name, executable, &mut entry)?;
            }
            tar::EntryType::Directory => layout.directory(&name)?,
            tar::EntryType::Symlink => layout.symlink(&name, &target(&entry)?)?,
            tar::EntryType::Link => layout.hardlink(&name, &target(&entry)?)?,
            tar::EntryType::XGlobalHeader | tar::EntryType::XHeader => {}
            _ => return Err(Error::new(format!("`{name}` is a special file"))),
        }
    }
    Ok(())
}

/// Puts an archive's members on disk; no path leaves the directory, by name or by link.
struct Layout<'a> {
    to: &'a Path,
    links: BTreeSet<String>,
    unpacked: u64,
}

impl<'a> Layout<'a> {
    fn new(to: &'a Path) -> Self {
        Self { to, links: BTreeSet::new(), unpacked: 0 }
    }

    fn place(&self, name: &str) -> Result<(ReleasePath, PathBuf)> {
        let plain = name.strip_prefix("./").unwrap_or(name);
        let path = check_path(plain).map_err(|why| Error::new(format!("`{}` {why}", name.escape_debug())))?;
        let mut above = path.parent();
        while let Some(parent) = above {
            if self.links.contains(parent.as_str()) {
                return Err(Error::new(format!("`{name}` lies behind the link `{parent}`")));
            }
            above = parent.parent();
        }
        let place = self.to.join(path.as_str());
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok((path, place))
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        if matches!(name, "." | "./") {
            return Ok(());
        }
        let (path, place) = self.place(name)?;
        if self.links.contains(path.as_str()) {
            return Err(Error::new(format!("`{name}` is a link and a directory")));
        }
        fs::create_dir_all(&place)
    }

    fn file(&mut self, name: &str, executable: bool, content: &mut dyn Read) -> Result<()> {
        let (_, place) = self.place(name)?;
        let failed = || format!("cannot write `{}`", shown(&place));
        // `create_new` neither follows a link nor overwrites an earlier member.
        let mut file = File::create_new(&place).context(failed)?;
        let left = MAX_UNPACKED - self.unpacked;
        let written =
            io::copy(&mut content.take(left + 1), &mut file).context(|| format!("`{name}` can't be unpacked"))?;
        if written > left {
            return Err(Error::new(format!("it unpacks to more than {MAX_UNPACKED} bytes")));
        }
        self.unpacked += written;
        let mode = if executable { 0o755 } else { 0o644 };
        file.set_permissions(std::fs::Permissions::from_mode(mode)).context(failed)
    }

    fn symlink(&mut self, name: &str, target: &str) -> Result<()> {
        let (path, place) = self.place(name)?;
        if !stays_inside(&path, target) {
            return Err(Error::new(format!("`{name}` is a link to `{target}`, outside of the archive")));
        }
        std::os::unix::fs::symlink(target, &place).context(|| format!("cannot write `{}`", shown(&place)))?;
        self.links.insert(path.to_string());
        Ok(())
    }

    fn hardlink(&mut self, name: &str, target: &str) -> Result<()> {
        let (_, from) = self.place(target)?;
        let (_, place) = self.place(name)?;
        if from.is_symlink() || !from.is_file() {
            return Err(Error::new(format!("`{name}` is a link to `{target}`, which is no file before it")));
        }
        std::fs::hard_link(&from, &place).context(|| format!("cannot write `{}`", shown(&place)))
    }
}

/// Whether a relative link at `path` ends below the top directory of `path`.
fn stays_inside(path: &ReleasePath, target: &str) -> bool {
    let mut depth = path.as_str().split('/').count() - 1;
    for component in Path::new(target).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            // One component is the top directory itself.
            Component::ParentDir if depth > 1 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Backends copy times into what they make.
fn set_times(directory: &Path, epoch: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    for entry in walkdir::WalkDir::new(directory).contents_first(true) {
        let entry = entry.context(|| format!("cannot read `{}`", shown(directory)))?;
        if !entry.file_type().is_symlink() {
            let set = |file: File| file.set_times(FileTimes::new().set_modified(time));
            File::open(entry.path()).and_then(set).context(|| format!("cannot write `{}`", shown(entry.path())))?;
        }
    }
    Ok(())
}

/// The files of a project that its build may see, relative, sorted: what git tracks or would take, else all but what
/// builds and tools leave behind.
fn project_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeSet::new();
    match git_files(directory, &["--cached"]) {
        Some(tracked) if !tracked.is_empty() => {
            let others = git_files(directory, &["--others", "--exclude-standard"]).unwrap_or_default();
            files.extend(others.into_iter().filter(|path| !is_left_behind(path)));
            for path in tracked {
                let found = directory.join(&path);
                if found.is_dir() && !found.is_symlink() {
                    // A submodule: git names its directory only.
                    files.extend(project_files(&found)?.into_iter().map(|below| path.join(below)));
                } else if found.symlink_metadata().is_ok() {
                    files.insert(path);
                }
            }
        }
        _ => walk(directory, &mut files)?,
    }
    Ok(files.into_iter().collect())
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    // Whoever owns the checkout, nothing of it is executed.
    command.args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command.env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(directory);
    command
}

/// What git says in a directory; `None` if it fails or is missing.
fn ask_git(directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = process::output(git(directory).args(arguments)).ok()?;
    output.status.success().then_some(output.stdout)
}

/// What a project's version can be made of where it is written nowhere but in its repository (setuptools-scm, hatch-vcs,
/// and the like): the commit, the branch, the tags.
struct History(String);

impl History {
    /// Reads it; `None` if the version is written in pyproject.toml, or the directory is not the top of a checkout.
    fn of(directory: &Path) -> Option<Self> {
        if has_written_version(directory)
            || !ask_git(directory, &["rev-parse", "--show-prefix"])?.trim_ascii().is_empty()
        {
            return None;
        }
        let commit = ask_git(directory, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
        let branch = ask_git(directory, &["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
        let format = "--format=%(objectname) %(refname)";
        let tags = ask_git(directory, &["for-each-ref", "--merged=HEAD", format, "refs/tags"])?;
        Some(Self([commit, branch, tags].iter().map(|text| String::from_utf8_lossy(text)).collect()))
    }

    /// Makes a checkout without files at `to` that borrows the objects of `directory`, which is only read; whether it did.
    ///
    /// A build then sees a repository of its own: git writes into the one that it finds, even to look at it.
    fn lend(directory: &Path, to: &Path) -> Result<bool> {
        let mut command = git(Path::new("/"));
        command.args(["clone", "--quiet", "--shared", "--no-checkout", "--template="]).arg(directory).arg(to);
        if process::output(&mut command)?.status.success() {
            return Ok(true);
        }
        // The build may do without; if not, it says so.
        match std::fs::remove_dir_all(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("cannot remove `{}`", shown(to)))
            }
            _ => Ok(false),
        }
    }

    /// Lets the repository at `to` know its files, so that only those that differ from the commit look changed.
    fn compare(to: &Path) -> Result<()> {
        process::run(git(to).args(["reset", "--quiet"])).map(|_| ())
    }
}

fn has_written_version(directory: &Path) -> bool {
    let text = std::fs::read_to_string(directory.join("pyproject.toml")).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    table.get("project").and_then(|project| project.get("version")).is_some()
}

fn git_files(directory: &Path, arguments: &[&str]) -> Option<Vec<PathBuf>> {
    let listed = ask_git(directory, &[&["ls-files", "-z"], arguments].concat())?;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
}

fn walk(directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let below = |path: &Path| path.strip_prefix(directory).unwrap_or(path).to_owned();
    let entries = walkdir::WalkDir::new(directory).min_depth(1).into_iter();
    for entry in entries.filter_entry(|entry| !is_left_behind(&below(entry.path()))) {
        let entry = entry.context(|| format!("cannot read `{}`", shown(directory)))?;
        if !entry.file_type().is_dir() {
            files.insert(below(entry.path()));
        }
    }
    Ok(())
}

/// Whether a path below a project is what builds, tools and version control leave, and no source.
fn is_left_behind(path: &Path) -> bool {
    let names: Vec<_> = path.iter().map(OsStr::to_string_lossy).collect();
    // Packages may be called `build`; the directories of builds lie at the top.
    let top = matches!(names.first().map(AsRef::as_ref), Some("build" | "dist" | "venv"));
    let tools = [
        ".eggs",
        ".git",
        ".hg",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "node_modules",
    ];
    top || names.iter().any(|name| tools.contains(&name.as_ref()) || name.ends_with(".egg-info"))
}

/// What a file of a project is, links that leave the project counted as what they point to.
enum ProjectFile {
    Link(PathBuf),
    File { executable: bool },
}

fn classify(directory: &Path, path: &Path) -> Result<ProjectFile> {
    let found = directory.join(path);
    let failed = || format!("cannot read `{}`", shown(&found));
    if found.is_symlink() {
        let target = std::fs::read_link(&found).context(failed)?;
        let inside = ReleasePath::parse(&format!("top/{}", path.display()))
            .is_ok_and(|path| target.to_str().is_some_and(|target| stays_inside(&path, target)));
        if inside {
            return Ok(ProjectFile::Link(target));
        }
    }
    let metadata = std::fs::metadata(&found).context(failed)?;
    if !metadata.is_file() {
        return Err(Error::new(format!("`{}` is no file, and a build can't be given it", shown(&found)))
            .hint("leave it out by way of `.gitignore`"));
    }
    Ok(ProjectFile::File { executable: metadata.permissions().mode() & 0o111 != 0 })
}

fn hash_files(directory: &Path, files: &[PathBuf], history: Option<&History>) -> Result<Sha256Sum> {
    let mut sum = Sha256::new();
    if let Some(History(facts)) = history {
        sum.update(facts.as_bytes());
        sum.update([0]);
    }
    for path in files {
        let found = directory.join(path);
        sum.update(path.as_os_str().as_bytes());
        match classify(directory, path)? {
            ProjectFile::Link(target) => {
                sum.update(b"\0link\0");
                sum.update(target.as_os_str().as_bytes());
                sum.update(b"\0");
            }
            ProjectFile::File { executable } => {
                sum.update(if executable { b"\0exec\0" } else { b"\0file\0" });
                let mut content = DigestWriter::new(io::sink());
                io::copy(&mut fs::open(&found)?, &mut content)
                    .context(|| format!("cannot read `{}`", shown(&found)))?;
                sum.update(content.finish().1.sha256.0);
            }
        }
    }
    Ok(Sha256Sum(sum.finalize().into()))
}

fn copy_files(directory: &Path, files: &[PathBuf], to: &Path, epoch: u64) -> Result<()> {
    for path in files {
        let (found, place) = (directory.join(path), to.join(path));
        let failed = || format!("cannot copy `{}`", shown(&found));
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        match classify(directory, path)? {
            ProjectFile::Link(target) => std::os::unix::fs::symlink(target, &place).context(failed)?,
            ProjectFile::File { executable } => {
                let mut copy = File::create_new(&place).context(failed)?;
                io::copy(&mut fs::open(&found)?, &mut copy).context(failed)?;
                copy.flush().context(failed)?;
                let mode = if executable { 0o755 } else { 0o644 };
                copy.set_permissions(std::fs::Permissions::from_mode(mode)).context(failed)?;
            }
        }
    }
    set_times(to, epoch)
}
