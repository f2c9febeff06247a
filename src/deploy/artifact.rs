//! Artifacts that may be pushed, and which of them a host gets.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::pieces::FilePieces;
use super::requirements::HostRequirements;
use pkgapp_core::digest::{Digest, Sha256Sum};
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::name::AppName;
use pkgapp_core::path::InstallPath;
use pkgapp_format::claims;
use pkgapp_format::read::{ArtifactKind, PackageReader};
use pkgapp_pypa::Version;
use pkgapp_release::configuration_record::ConfigurationRecord;
use pkgapp_release::depends::SharedRuntime;
use pkgapp_release::needed_settings::NeededSettings;
use pkgapp_release::release::{RECORD, ReleaseRecord};
use pkgapp_release::runtime::BUNDLED;
use pkgapp_release::services::ServiceUnit;

/// An artifact that may be pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Where it lies on this machine.
    pub path: PathBuf,
    /// Its name, under which hosts keep it.
    pub file: String,
    /// Its format.
    #[serde(skip)]
    pub kind: ArtifactKind,
    /// What it runs on, as `uname -m` has it; `None`: everything.
    pub arch: Option<String>,
    /// The application's name.
    pub name: String,
    /// The package's version, e.g. `1.4.2-1`.
    pub version: String,
    /// The application's version, e.g. `1.4.2`.
    pub release: String,
    /// SHA-256 of the release's record.
    pub record: Sha256Sum,
    /// Where it is installed.
    pub prefix: String,
    /// SHA-256 of the file.
    pub sha256: Sha256Sum,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes that it takes when installed, about.
    pub installed_size: u64,
    /// The commit that it was built from.
    pub commit: Option<String>,
    /// What it needs of the host, one relation each.
    pub depends: Vec<String>,
    /// Whether it has a signature.
    pub is_signed: bool,
    /// The package of the interpreter that it shares with other applications, if it runs on one.
    #[serde(skip)]
    pub runtime: Option<SharedRuntime>,
    /// The settings that a host must have values for.
    #[serde(skip)]
    pub settings: Option<NeededSettings>,
    /// What is in it.
    #[serde(skip)]
    pub holds: ArtifactContent,
    /// What a configuration package was made from.
    #[serde(skip)]
    pub configuration: Option<ConfigurationRecord>,
    /// Whether nobody has named it: it lies beside a configuration that was built for it.
    #[serde(skip)]
    pub was_found: bool,
    /// The unit of the service whose settings a migration takes over, if one was looked for.
    #[serde(skip)]
    pub service: Option<ServiceUnit>,
    /// What a tarball asks of a host, if it was looked into.
    pub asks: Option<HostRequirements>,
    /// When it was made.
    #[serde(skip)]
    pub made: SystemTime,
    /// What it is made of; nothing, if it is not [chunked](Artifact::chunk).
    #[serde(skip)]
    pub pieces: FilePieces,
}

/// What an artifact holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactContent {
    /// An application with its configuration.
    Application,
    /// An application whose configuration is a package of its own.
    Software,
    /// The configuration of an application.
    Configuration,
    /// An interpreter that applications share.
    Runtime,
}

impl Artifact {
    /// Reads an artifact.
    ///
    /// # Errors
    /// It can't be read, is none of pkgapp's, or says something of itself that no host should be
    /// given.
    pub fn read(path: &Path) -> Result<Self> {
        let package = PackageReader::open(path)?;
        let (record, record_sum, prefix) = match find_record(&package)? {
            FoundRecord::Release(record, sum, prefix) => (*record, sum, prefix),
            FoundRecord::Configuration(record, sum) => {
                return Self::configuration(&package, record, sum);
            }
        };
        check(&package, &record, &prefix)?;
        let FileFacts { name, digest, made } = FileFacts::of(path)?;
        let sizes = record.distributions.iter().map(|each| each.size);
        let installed_size = sizes.sum::<u64>().max(digest.size);
        let (holds, runtime) = interpreter_of(&record);
        Ok(Self {
            file: name,
            path: path.to_owned(),
            kind: package.kind,
            arch: package
                .arch
                .as_deref()
                .and_then(kernels_name)
                .map(str::to_owned),
            version: version_of(&package, &record, digest.sha256),
            name: record.name,
            release: record.version,
            record: record_sum,
            prefix,
            sha256: digest.sha256,
            size: digest.size,
            installed_size,
            commit: record.commit,
            depends: package.depends,
            is_signed: package.is_signed,
            runtime,
            holds,
            configuration: None,
            was_found: false,
            settings: record.settings,
            service: None,
            asks: None,
            made,
            pieces: FilePieces::default(),
        })
    }

    /// Reads a configuration package.
    fn configuration(
        package: &PackageReader,
        record: ConfigurationRecord,
        sum: Sha256Sum,
    ) -> Result<Self> {
        check_configuration(package, &record)?;
        let FileFacts { name, digest, made } = FileFacts::of(&package.path)?;
        Ok(Self {
            file: name,
            path: package.path.clone(),
            kind: package.kind,
            arch: None,
            version: package.version.clone(),
            name: package.name.clone(),
            release: package.version.clone(),
            record: sum,
            prefix: String::new(),
            sha256: digest.sha256,
            size: digest.size,
            installed_size: digest.size * 4,
            commit: None,
            depends: package.depends.clone(),
            is_signed: package.is_signed,
            runtime: None,
            holds: ArtifactContent::Configuration,
            configuration: Some(record),
            was_found: false,
            settings: None,
            service: None,
            asks: None,
            made,
            pieces: FilePieces::default(),
        })
    }

    /// Returns the name of the application that it belongs to.
    pub fn application(&self) -> &str {
        let configured = self.configuration.as_ref();
        configured.map_or(&self.name, |record| &record.name)
    }

    /// Returns the environment of a configuration package.
    pub fn environment(&self) -> Option<&str> {
        let record = self.configuration.as_ref()?;
        Some(&record.environment)
    }

    /// Returns whether this is a configuration of that software, in a package of the same format.
    pub fn configures(&self, software: &Self) -> bool {
        self.kind == software.kind
            && software.holds == ArtifactContent::Software
            && self.configuration.is_some()
            && self.application() == software.name
    }

    /// Finds out its pieces, so that a host gets only those that it does not have.
    ///
    /// # Errors
    /// It can't be read.
    pub fn chunk(mut self) -> Result<Self> {
        self.pieces = FilePieces::of(&self.path)?;
        Ok(self)
    }

    /// Reads what a tarball asks of a host; a package says it in its metadata.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read_requirements(&mut self) -> Result<()> {
        if self.kind == ArtifactKind::Tar {
            let artifact = PackageReader::open(&self.path)?;
            let record = artifact.release_record()?.unwrap_or_default();
            let record = serde_json::from_slice(&record)
                .context(|| format!("`{}` is damaged", shown(&self.path)))?;
            self.asks = Some(HostRequirements::of(&artifact, &record)?);
        }
        Ok(())
    }

    /// Reads the unit of `[service.PART]` or `[timer.PART]`.
    ///
    /// # Errors
    /// There is none, or the artifact is damaged.
    pub fn read_service(&mut self, part: &str) -> Result<()> {
        let paths = ServiceUnit::paths(&AppName::parse(self.application())?, part);
        let on_host = |path: &str| match self.kind {
            ArtifactKind::Tar => path
                .split_once("/host/")
                .map(|(_, path)| format!("/{path}")),
            ArtifactKind::Deb | ArtifactKind::Rpm => Some(path.to_owned()),
        };
        let place = RefCell::new(None);
        let text = PackageReader::open(&self.path)?.find(|path| {
            let path = on_host(path).filter(|path| paths.contains(path));
            let is_it = path.is_some();
            place.replace(path);
            is_it
        })?;
        let lacks = || {
            Error::new(format!(
                "`{}` has no unit `{}-{part}.service`, whose settings the migration takes over",
                self.file, self.name
            ))
            .hint("build it again, or name another service: `migrate = { service = \"NAME\", … }`")
        };
        let (path, text) = place.into_inner().zip(text).ok_or_else(lacks)?;
        self.service = Some(ServiceUnit::parse(&path, &String::from_utf8_lossy(&text)));
        Ok(())
    }

    /// Reads the newest artifact of this name of each format, codec and architecture that lies in a
    /// directory and is what is wanted. Of what is no artifact, or another application's,
    /// nothing is told.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn newest_in(
        directory: &Path,
        name: &str,
        wanted: &dyn Fn(&Self) -> bool,
    ) -> Result<Vec<Self>> {
        let mut paths = artifact_files(directory, name)?;
        paths.sort_by(|a, b| b.cmp(a));

        // Reading one takes as long as it is large, so older ones of the same kind, by the ends of
        // their names, are left alone.
        let (mut found, mut kinds) = (Vec::new(), BTreeSet::new());
        for (_, path) in paths {
            let kind = path
                .file_name()
                .map(|file| kind_of(&file.to_string_lossy()).to_owned());
            if kinds.contains(&kind) {
                continue;
            }
            if let Ok(artifact) = Self::read(&path)
                && artifact.name == name
                && wanted(&artifact)
            {
                kinds.insert(kind);
                found.push(artifact);
            }
        }
        Ok(Self::newest(found))
    }

    /// Leaves the newest of each format, codec and architecture.
    pub fn newest(mut artifacts: Vec<Self>) -> Vec<Self> {
        artifacts.sort_by_key(|artifact| std::cmp::Reverse(artifact.made));
        let mut newest: Vec<Self> = Vec::new();
        for artifact in artifacts {
            if !newest.iter().any(|known| {
                known.kind == artifact.kind
                    && known.arch == artifact.arch
                    && known.codec() == artifact.codec()
                    && known.environment() == artifact.environment()
            }) {
                newest.push(artifact);
            }
        }
        newest
    }

    /// Returns whether this is the package of an interpreter that will do for an artifact of the
    /// same format.
    pub fn provides_runtime_for(&self, artifact: &Self) -> bool {
        let version = |text: &str| text.parse::<Version>().ok();
        let is_it = |needs: &SharedRuntime| {
            self.name == needs.package
                && version(&self.release).is_some_and(|its| version(&needs.version) <= Some(its))
        };
        self.kind == artifact.kind && artifact.runtime.as_ref().is_some_and(is_it)
    }

    /// Returns whether it runs on machines of this architecture, as `uname -m` has it.
    pub fn runs_on(&self, arch: &str) -> bool {
        self.arch.as_deref().is_none_or(|its| its == arch)
    }

    /// Returns where it is installed; a tarball does not say.
    pub fn installed_prefix(&self) -> Option<&str> {
        let has_prefix = self.kind != ArtifactKind::Tar && !self.prefix.is_empty();
        has_prefix.then_some(self.prefix.as_str())
    }

    /// The end of a tarball's name; which of them a host can unpack differs.
    fn codec(&self) -> Option<&str> {
        (self.kind == ArtifactKind::Tar)
            .then(|| self.file.rsplit('.').next())
            .flatten()
    }

    /// Returns the format's name.
    pub fn format(&self) -> &'static str {
        match self.kind {
            ArtifactKind::Tar => "tarball",
            ArtifactKind::Deb => "deb",
            ArtifactKind::Rpm => "rpm",
        }
    }
}

/// What is known of a file without reading it as a package.
struct FileFacts {
    name: String,
    digest: Digest,
    made: SystemTime,
}

impl FileFacts {
    fn of(path: &Path) -> Result<Self> {
        let metadata = path
            .metadata()
            .context(|| format!("cannot read `{}`", shown(path)))?;
        let digest = Digest::of_reader(pkgapp_core::fs::open(path)?)
            .context(|| format!("cannot read `{}`", shown(path)))?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| Error::new(format!("`{}` has no name that is text", shown(path))))?;
        Ok(Self {
            name: name.to_owned(),
            digest,
            made: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }
}

/// The record by which a package of pkgapp is known, and its SHA-256.
enum FoundRecord {
    /// That of a release, and where it is installed.
    Release(Box<ReleaseRecord>, Sha256Sum, String),
    Configuration(ConfigurationRecord, Sha256Sum),
}

/// Finds the record in a package.
fn find_record(package: &PackageReader) -> Result<FoundRecord> {
    let place = RefCell::new(String::new());
    let bytes = package.find(|path| {
        let is_record = path.ends_with(&format!("/{RECORD}")) || ConfigurationRecord::is_path(path);
        if is_record {
            path.clone_into(&mut place.borrow_mut());
        }
        is_record
    })?;
    let foreign = || Error::new(format!("`{}` was not made by pkgapp", shown(&package.path)));
    let bytes = bytes.ok_or_else(|| foreign().note(format!("there is no `{RECORD}` in it")))?;
    let sum = Sha256Sum::of(&bytes);
    let place = place.into_inner();
    if ConfigurationRecord::is_path(&place) {
        let record = serde_json::from_slice(&bytes).map_err(|error| foreign().cause(error))?;
        return Ok(FoundRecord::Configuration(record, sum));
    }

    let record = serde_json::from_slice(&bytes).map_err(|error| foreign().cause(error))?;
    let prefix = place.strip_suffix(RECORD).unwrap_or_default();
    let prefix = prefix.trim_end_matches('/').to_owned();
    Ok(FoundRecord::Release(record, sum, prefix))
}

/// The version that a host knows a package by. Releases from tarballs lie beside each other under
/// this name, so that two builds of one version are told apart.
fn version_of(package: &PackageReader, record: &ReleaseRecord, sum: Sha256Sum) -> String {
    match package.kind {
        ArtifactKind::Tar => format!(
            "{}-{:.12}",
            record.version.replace('!', "_"),
            sum.to_string()
        ),
        ArtifactKind::Deb | ArtifactKind::Rpm => package.version.clone(),
    }
}

/// Whether a package is an interpreter's, and the one that it shares with other applications.
fn interpreter_of(record: &ReleaseRecord) -> (ArtifactContent, Option<SharedRuntime>) {
    let content = if record.separate {
        ArtifactContent::Software
    } else {
        ArtifactContent::Application
    };
    match &record.interpreter {
        Some(interpreter) if interpreter.home == record.name => (ArtifactContent::Runtime, None),
        Some(interpreter) if interpreter.home != BUNDLED => {
            let shared = SharedRuntime {
                package: interpreter.home.clone(),
                version: interpreter.version.clone(),
            };
            (content, Some(shared))
        }
        _ => (content, None),
    }
}

/// Lists the files in a directory that may be artifacts of this name, and when they were made.
///
/// # Errors
/// The directory cannot be read; a missing one is empty.
pub fn artifact_files(directory: &Path, name: &str) -> Result<Vec<(SystemTime, PathBuf)>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::new(format!("cannot read `{}`", shown(directory))).cause(error));
        }
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .context(|| format!("cannot read `{}`", shown(directory)))?
            .path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = file.starts_with(name)
            && [".deb", ".rpm", ".tar.zst", ".tar.gz", ".tar.xz", ".tar"]
                .iter()
                .any(|end| file.ends_with(end));
        if is_ours && let Ok(made) = path.metadata().and_then(|metadata| metadata.modified()) {
            files.push((made, path));
        }
    }
    Ok(files)
}

/// What a package says of itself and must not.
#[derive(Debug, Default)]
struct WrongClaims(Vec<String>);

impl WrongClaims {
    fn expect(&mut self, is_right: bool, what: &str, text: &str) {
        if !is_right {
            self.0.push(format!("the {what} `{}`", text.escape_debug()));
        }
    }

    fn expect_version(&mut self, what: &str, text: &str) {
        self.expect(text.parse::<Version>().is_ok(), what, text);
    }
}

/// Refuses what a host's package manager must not be given: an option or code where a name, a
/// version or a dependency belongs, and a package that would take another one's place.
fn check(package: &PackageReader, record: &ReleaseRecord, prefix: &str) -> Result<()> {
    let mut wrong = WrongClaims::default();
    check_file_name(package, &mut wrong);
    check_record(record, &mut wrong);
    if package.kind != ArtifactKind::Tar {
        // The package manager goes by its own name, and would replace whatever has it.
        wrong.expect(package.name == record.name, "name", &package.name);
        wrong.expect(InstallPath::parse(prefix).is_ok(), "prefix", prefix);
        check_metadata(package, &mut wrong);
    }
    refuse_claims(package, wrong)
}

/// The same for a configuration package.
fn check_configuration(package: &PackageReader, record: &ConfigurationRecord) -> Result<()> {
    let mut wrong = WrongClaims::default();
    check_file_name(package, &mut wrong);
    let is_name = claims::is_package_name(&record.name);
    wrong.expect(is_name, "application", &record.name);
    let environment = &record.environment;
    let is_environment = claims::is_package_name(environment);
    wrong.expect(is_environment, "environment", environment);
    let is_own = package.name == format!("{}-config", record.name);
    wrong.expect(is_own, "name", &package.name);
    check_metadata(package, &mut wrong);
    refuse_claims(package, wrong)
}

fn check_file_name(package: &PackageReader, wrong: &mut WrongClaims) {
    let file = package
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let is_file = !file.chars().any(|c| c.is_control() || c == '|');
    wrong.expect(is_file, "file name", &file);
}

fn refuse_claims(package: &PackageReader, wrong: WrongClaims) -> Result<()> {
    if wrong.0.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!(
        "`{}` cannot be pushed: no package of pkgapp has {}",
        shown(&package.path),
        wrong.0.join(", or ")
    ))
    .hint("find out who made it, or build it anew with `pkgapp build`"))
}

fn check_record(record: &ReleaseRecord, wrong: &mut WrongClaims) {
    wrong.expect(claims::is_package_name(&record.name), "name", &record.name);
    wrong.expect_version("release", &record.version);
    if let Some(commit) = &record.commit {
        let is_commit = commit.len() <= 80
            && commit
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-+".contains(&b));
        wrong.expect(is_commit, "commit", commit);
    }
    if let Some(settings) = &record.settings {
        check_settings(settings, wrong);
    }
    if let Some(interpreter) = &record.interpreter
        && interpreter.home != BUNDLED
    {
        let home = &interpreter.home;
        wrong.expect(claims::is_package_name(home), "interpreter", home);
        wrong.expect_version("interpreter's version", &interpreter.version);
    }
}

/// How many settings a release may ask a host for, and in how many files.
const MOST_SETTINGS: usize = 1000;

fn check_settings(settings: &NeededSettings, wrong: &mut WrongClaims) {
    let numbers = [
        settings.places.len(),
        settings.files.len(),
        settings.credentials.len(),
        settings.configured.len(),
    ];
    let is_few = numbers.iter().all(|number| *number <= MOST_SETTINGS);
    wrong.expect(is_few, "number of settings", "too many");
    let names = settings.places.keys().chain(&settings.credentials);
    for name in names.chain(&settings.configured) {
        wrong.expect(
            pkgapp_config::check_setting_name(name).is_ok(),
            "setting",
            name,
        );
    }
    for file in settings.places.values().chain(&settings.files) {
        let is_path = InstallPath::parse(file).is_ok() && !file.contains(char::is_control);
        wrong.expect(is_path, "file of settings", file);
    }
}

fn check_metadata(package: &PackageReader, wrong: &mut WrongClaims) {
    let version = &package.version;
    wrong.expect(
        claims::is_version(package.kind, version),
        "version",
        version,
    );
    for relation in &package.depends {
        let is_relation = claims::is_relation(package.kind, relation);
        wrong.expect(is_relation, "dependency", relation);
    }
}

/// The end of a file's name that says format, codec and architecture: `_amd64.deb`, `.x86_64.rpm`,
/// `.noarch.tar.zst`.
fn kind_of(file: &str) -> &str {
    let start = match file.rsplit_once('.') {
        Some((rest, "deb")) => rest.rfind('_'),
        Some((rest, "rpm")) => rest.rfind('.'),
        _ => file.find(".tar").and_then(|end| file[..end].rfind('.')),
    };
    &file[start.unwrap_or_default()..]
}

/// The kernel's name of an architecture that Debian or rpm names; `None` for "all".
fn kernels_name(arch: &str) -> Option<&str> {
    match arch {
        "all" | "noarch" | "any" => None,
        "amd64" => Some("x86_64"),
        "arm64" => Some("aarch64"),
        other => Some(other),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    const SERVICE: &str = "[Unit]\nPartOf=shop.target\n[Service]\nType=notify\nExecStart=/opt/shop/bin/gunicorn\nUser=shop\n\
        Environment=PATH=/opt/shop/bin:/usr/bin\nEnvironmentFile=/etc/shop/secrets.env\nRestart=always\nStateDirectory=shop\n\
        StateDirectoryMode=0750\nNoNewPrivileges=yes\nUMask=0027\n";

    /// An artifact that is nowhere.
    pub(crate) fn candidate(kind: ArtifactKind, release: &str, arch: Option<&str>) -> Artifact {
        let version = format!("{release}-1");
        let file = match kind {
            ArtifactKind::Deb => format!("shop_{version}_amd64.deb"),
            ArtifactKind::Rpm => format!("shop-{version}.x86_64.rpm"),
            ArtifactKind::Tar => format!("shop-{release}.tar.zst"),
        };
        Artifact {
            path: PathBuf::from("/dist").join(&file),
            kind,
            arch: arch.map(str::to_owned),
            name: "shop".into(),
            version,
            release: release.into(),
            record: Sha256Sum::of(format!("record {release}").as_bytes()),
            prefix: "/opt/shop".into(),
            sha256: Sha256Sum::of(file.as_bytes()),
            file,
            size: 1000,
            installed_size: 5000,
            commit: Some("c0ffee".into()),
            depends: vec!["python3.11".into()],
            is_signed: false,
            runtime: None,
            holds: ArtifactContent::Application,
            configuration: None,
            was_found: false,
            service: Some(ServiceUnit::parse(
                "/usr/lib/systemd/system/shop-web.service",
                SERVICE,
            )),
            settings: None,
            asks: None,
            made: SystemTime::UNIX_EPOCH,
            pieces: FilePieces::default(),
        }
    }

    /// The package of an interpreter.
    pub(crate) fn runtime(kind: ArtifactKind, release: &str) -> Artifact {
        let version = format!("{release}-1");
        let file = match kind {
            ArtifactKind::Deb => format!("pkgapp-python3.13_{version}_amd64.deb"),
            ArtifactKind::Rpm | ArtifactKind::Tar => {
                format!("pkgapp-python3.13-{version}.x86_64.rpm")
            }
        };
        Artifact {
            path: PathBuf::from("/dist").join(&file),
            name: "pkgapp-python3.13".into(),
            prefix: "/opt/pkgapp/python3.13".into(),
            sha256: Sha256Sum::of(file.as_bytes()),
            file,
            commit: None,
            depends: vec!["libssl3".into()],
            holds: ArtifactContent::Runtime,
            ..candidate(kind, release, Some("x86_64"))
        }
    }

    /// Software whose configuration is a package of its own.
    pub(crate) fn software(kind: ArtifactKind, release: &str) -> Artifact {
        Artifact {
            holds: ArtifactContent::Software,
            service: None,
            ..candidate(kind, release, None)
        }
    }

    /// A configuration package of that day for production.
    pub(crate) fn configuration(kind: ArtifactKind, day: u32) -> Artifact {
        let version = format!("202611{day:02}.120000-production.g000000{day:02}");
        let file = match kind {
            ArtifactKind::Deb => format!("shop-config_{version}_all.deb"),
            ArtifactKind::Rpm | ArtifactKind::Tar => format!("shop-config-{version}.noarch.rpm"),
        };
        Artifact {
            path: PathBuf::from("/dist").join(&file),
            name: "shop-config".into(),
            version: version.clone(),
            prefix: String::new(),
            record: Sha256Sum::of(version.as_bytes()),
            sha256: Sha256Sum::of(file.as_bytes()),
            file,
            commit: None,
            depends: vec!["shop-software".into()],
            holds: ArtifactContent::Configuration,
            configuration: Some(ConfigurationRecord {
                format: 1,
                name: "shop".into(),
                environment: "production".into(),
                roles: Vec::new(),
                software: "1.0.0-1".into(),
                settings: BTreeMap::new(),
            }),
            ..candidate(kind, &version, None)
        }
    }

    /// An artifact that runs on an interpreter of this version or a newer one.
    pub(crate) fn shared(kind: ArtifactKind, release: &str, python: &str) -> Artifact {
        let needs = SharedRuntime {
            package: "pkgapp-python3.13".into(),
            version: python.into(),
        };
        let depends = match kind {
            ArtifactKind::Deb => format!("{} (>= {python})", needs.package),
            ArtifactKind::Rpm | ArtifactKind::Tar => format!("{} >= {python}", needs.package),
        };
        Artifact {
            runtime: Some(needs),
            depends: vec![depends],
            ..candidate(kind, release, None)
        }
    }

    #[test]
    fn an_interpreter_serves_who_was_built_with_it_or_an_older_one() {
        use ArtifactKind::{Deb, Rpm};
        let app = shared(Deb, "1.0", "3.13.2");
        for (release, serves) in [("3.13.1", false), ("3.13.2", true), ("3.13.10", true)] {
            assert_eq!(
                runtime(Deb, release).provides_runtime_for(&app),
                serves,
                "{release}"
            );
        }
        assert!(!runtime(Rpm, "3.13.2").provides_runtime_for(&app));
        assert!(!runtime(Deb, "3.13.2").provides_runtime_for(&candidate(Deb, "1.0", None)));
    }

    #[test]
    fn the_end_of_a_name_tells_artifacts_apart_that_different_hosts_get() {
        let kinds = [
            "shop_1.4.2-1_amd64.deb",
            "shop-1.4.2-1.x86_64.rpm",
            "shop-1.4.2-1.noarch.tar.zst",
            "shop.tar",
        ];
        assert_eq!(
            kinds.map(kind_of),
            ["_amd64.deb", ".x86_64.rpm", ".noarch.tar.zst", "shop.tar"]
        );
    }

    /// An rpm as anybody can make it, with a release's record in it.
    fn foreign(
        directory: &Path,
        name: &str,
        version: &str,
        requires: ::rpm::Dependency,
        record: &Value,
    ) -> PathBuf {
        let path = directory.join("foreign.rpm");
        let mut builder = ::rpm::PackageBuilder::new(name, version, "MIT", "noarch", "x");
        let place = ::rpm::FileOptions::new("/opt/shop/.pkgapp/release.json");
        builder
            .release("1")
            .requires(requires)
            .with_file_contents(record.to_string(), place)
            .unwrap();
        builder.build().unwrap().write_file(&path).unwrap();
        path
    }

    #[test]
    fn what_a_package_says_of_itself_is_data_or_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let record = json!({ "format": 1, "name": "shop", "version": "1.0", "commit": null, "python": "3.11", "distributions": [] });
        let sound = ::rpm::Dependency::greater_eq("foo", "1.0");
        let read = |name: &str, version: &str, requires: &::rpm::Dependency, record: &Value| {
            Artifact::read(&foreign(
                directory.path(),
                name,
                version,
                requires.clone(),
                record,
            ))
            .map_err(|e| e.to_string())
        };
        let candidate = read("shop", "1.0", &sound, &record).unwrap();
        assert_eq!(
            (candidate.version.as_str(), &candidate.depends[..]),
            ("1.0-1", &["foo >= 1.0".to_owned()][..])
        );
        let with = |key: &str, value: &str| {
            let mut record = record.clone();
            record[key] = json!(value);
            record
        };
        let lua = "1'..os.execute('touch /tmp/x')..'";
        for (refused, said) in [
            (
                read(
                    "shop",
                    "1.0",
                    &::rpm::Dependency::greater_eq("foo", lua),
                    &record,
                ),
                "the dependency `foo >= 1",
            ),
            (
                read(
                    "shop",
                    "1.0",
                    &::rpm::Dependency::any("--eval=%(id)"),
                    &record,
                ),
                "the dependency `--eval=%(id)`",
            ),
            (
                read("shop", "1.0", &::rpm::Dependency::any("a;$(id)"), &record),
                "the dependency `a;$(id)`",
            ),
            (
                read("shop", "1.0%{lua}", &sound, &record),
                "the version `1.0%{lua}-1`",
            ),
            (read("bash", "1.0", &sound, &record), "the name `bash`"),
            (
                read("shop", "1.0", &sound, &with("name", "--eval=x")),
                "the name `--eval=x`",
            ),
            (
                read("shop", "1.0", &sound, &with("version", "1\nname=bash")),
                "the release `1\\nname=bash`",
            ),
            (
                read("shop", "1.0", &sound, &with("commit", "\nname=bash")),
                "the commit `\\nname=bash`",
            ),
        ] {
            let refused = refused.unwrap_err();
            assert!(
                refused.contains("cannot be pushed") && refused.contains(said),
                "{said}: {refused}"
            );
        }
    }

    #[test]
    fn what_a_configuration_says_of_itself_is_data_or_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let record = json!({ "format": 1, "name": "shop", "environment": "production", "software": "1.0-1", "settings": {} });
        let read = |package: &str, key: &str, value: &str| {
            let mut record = record.clone();
            record[key] = json!(value);
            let path = directory.path().join("foreign.rpm");
            let place = ::rpm::FileOptions::new("/usr/share/pkgapp/shop/configuration.json");
            let mut builder = ::rpm::PackageBuilder::new(package, "1.0", "MIT", "noarch", "x");
            builder
                .release("1")
                .with_file_contents(record.to_string(), place)
                .unwrap();
            builder.build().unwrap().write_file(&path).unwrap();
            Artifact::read(&path).map_err(|error| error.to_string())
        };
        let sound = read("shop-config", "name", "shop").unwrap();
        assert_eq!(sound.holds, ArtifactContent::Configuration);
        assert_eq!(sound.environment(), Some("production"));
        assert!(sound.configures(&software(ArtifactKind::Rpm, "1.0")));
        assert!(!sound.configures(&software(ArtifactKind::Deb, "1.0")));
        for (refused, said) in [
            (read("bash", "name", "shop"), "the name `bash`"),
            (
                read("shop-config", "name", "bash"),
                "the name `shop-config`",
            ),
            (read("shop-config", "name", "-x"), "the application `-x`"),
            (
                read("shop-config", "environment", "a\nkept=x"),
                "the environment `a\\nkept=x`",
            ),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.contains(said), "{said}: {refused}");
        }
    }

    #[test]
    fn settings_have_names_and_files_or_are_refused() {
        let refused = |name: &str, file: &str| {
            let settings = NeededSettings {
                places: BTreeMap::from([(name.to_owned(), file.to_owned())]),
                files: vec![file.to_owned()],
                credentials: vec![name.to_owned()],
                configured: Vec::new(),
            };
            let mut wrong = WrongClaims::default();
            check_settings(&settings, &mut wrong);
            wrong.0.join(", ")
        };
        assert_eq!(refused("SHOP_KEY", "/etc/shop/secrets.env"), "");
        assert_eq!(
            refused("$(id)", "/etc/x.env"),
            "the setting `$(id)`, the setting `$(id)`"
        );
        let told = refused("A", "/etc/x\nlacks=B");
        assert!(
            told.starts_with("the file of settings `/etc/x\\nlacks=B`"),
            "{told}"
        );
    }

    #[test]
    fn the_newest_is_the_one_that_was_made_last() {
        let mut older = candidate(ArtifactKind::Deb, "2.0", None);
        let mut newer = candidate(ArtifactKind::Deb, "1.9", None);
        older.made = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        newer.made = SystemTime::UNIX_EPOCH + Duration::from_secs(2);
        let [one] = &Artifact::newest(vec![older, newer])[..] else {
            panic!()
        };
        assert_eq!(one.release, "1.9");
    }
}
