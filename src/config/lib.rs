//! The application: what `pkgapp.toml` (or `[tool.pkgapp]` in pyproject.toml) says, read into
//! proven types.
//!
//! Reading runs nothing and expands nothing. Every mistake of the file is found in one go, and each
//! is told with its place, what was expected, and a suggestion where there is one. What
//! pyproject.toml's `[project]` knows (PEP 621) is the default for `[app]`. Relative paths are
//! relative to the directory of the configuration file.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::too_many_lines,
        reason = "a test that unwraps fails with the value, and may hold a long table"
    )
)]

mod bindings;
mod changes;
mod command;
mod declaration;
mod deploy;
mod document;
mod facts;
mod files;
mod glob;
mod host_pattern;
mod implied_values;
mod indexes;
mod load;
mod monitoring;
mod packaging;
mod project;
mod reader;
mod recipe;
mod schema;
mod service;
mod settings;
mod site;
mod system;
#[cfg(test)]
mod tests;
mod writable;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::{Context, Error, Location, Result};
use pkgapp_core::name::{AppName, Arch, PythonMinor};
use pkgapp_core::path::ReleasePath;
use pkgapp_core::target::Target;
use pkgapp_pypa::{
    ExtraName, GroupName, PackageName, Requirement, VerbatimParsedUrl, Version, VersionOrUrl,
};

pub use bindings::{
    BindingTemplate, BindingValue, ProvidedService, RequiredService, RequirementType,
};
pub use changes::{DeclarationChanges, PlacedParts};
pub use command::CommandLine;
pub use declaration::ServiceDeclaration;
pub use deploy::{
    BatchSize, ConfirmMode, DEFAULT_SETTLE, DEFAULT_TIMEOUT, Deploy, DeployHooks, HealthChecks,
    HostGroup, Migrate, MigrateOn, MigrationCommands, SHORTEST_PROBATION, SharedPath, TarballMode,
    UnitsOf, check_into,
};
pub use document::dotted_key;
pub use facts::{FACTS, Fact, FactValue, ProjectFacts};
pub use files::PathPattern;
pub use host_pattern::{HostAddress, HostPattern, ipv6, url_host};
pub use implied_values::{key_description, with_defaults};
pub use indexes::{DEFAULT_NAME, NamedIndex};
pub use load::ConfigDraft;
pub use monitoring::{AskedService, HealthAddress, MetricsFile, ServiceHealth};
pub use packaging::revision;
pub use packaging::{
    ByteCode, Compression, CompressionPreset, ConfigurationForm, PackageRelation, PackageRelations,
    PackageRevision, Packaging, Prune, PruneProfile, ScriptletPhases, TarCompression,
};
pub use reader::{Located, nearest as nearest_name};
pub use recipe::{
    AppliedRecipe, AppliedRecipes, ConfigValue, DistributionFile, LockedDistributions,
    RECIPE_DIRECTORY, UsedFact, UsedParameter, ValueOrigin, serves,
};
pub use schema::{configuration_schema, recipe_schema, system_schema};
pub use service::{
    ConfigFile, Cron, CronSchedule, LogReopen, Logrotate, OnUpgrade, PartName, ProcessSettings,
    ReloadAction, RestartPolicy, RotationFrequency, Service, ServiceType, SocketAccess,
    SocketAddress, TimeSpan, Timer, UserName,
};
pub use settings::{
    DeployedSetting, SecretDelivery, Setting, SettingLimits, SettingSource, SettingType,
    check_setting_name, holds_password,
};

pub use site::{
    DomainName, ProxiedService, Site, SiteTls, StaticFiles, UpstreamAddress, UpstreamHost,
    WebServer,
};
pub use system::{
    BackingService, EnvironmentDomains, ExternalService, PartPlacement, PlacementOverride,
    RolePlacement, SYSTEM_FILE, ServiceKind, ServiceOverride, ServiceRuns, SoftwareSource,
    SystemApplication, SystemEnvironment, SystemHostGroup, SystemModel, suggested,
};
pub use writable::WritablePath;
pub use writable::has_dot;

use project::ProjectTable;
use reader::{TableReader, ValueReader, one_line};
use site::SiteContext;

/// A part of CPython that a server does not need, and that `[python] keep` lets ship.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterpreterPart {
    /// The test suites of the standard library, and extension modules that only they use.
    Tests,
    /// The editor: `idlelib`, `turtledemo`.
    Idle,
    /// `tkinter`, and what of Tcl and Tk an archive has with it.
    Tkinter,
    /// `ensurepip`, with the pip that it installs.
    Ensurepip,
    /// `pydoc_data`: the texts of `help("topics")`.
    Docs,
    /// The library of an interpreter that does not use it itself: for programs that embed Python.
    Libpython,
    /// `nis`, gone since Python 3.13: its library has another name on nearly every distribution.
    Nis,
}

impl InterpreterPart {
    /// All of them, with their names in the configuration.
    pub const ALL: [(&'static str, Self); 7] = [
        ("tests", Self::Tests),
        ("idle", Self::Idle),
        ("tkinter", Self::Tkinter),
        ("ensurepip", Self::Ensurepip),
        ("docs", Self::Docs),
        ("libpython", Self::Libpython),
        ("nis", Self::Nis),
    ];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, part)| *part == self)
            .map_or("", |(name, _)| name)
    }
}

/// What becomes of a library that compiled code needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryLinking {
    /// A copy ships in the wheel.
    Graft,
    /// Hosts have it, where it is here.
    Depend,
}

/// An application and how it is packaged, served and deployed: one field or type for every table of
/// the file.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the configuration file, absolute: what its paths are relative to.
    pub root: PathBuf,
    /// The configuration file, absolute.
    pub file: PathBuf,
    /// The application's and the package's name.
    pub name: AppName,
    /// The version; `None` if the wheel that is built from [`Config::source`] will say it.
    pub version: Option<Located<Version>>,
    /// One line; by default `[project] description`, else made from the name.
    pub summary: String,
    /// Paragraphs; empty by default.
    pub description: String,
    /// SPDX expression, or what the author wrote.
    pub license: Option<String>,
    /// `Name <address>`; a placeholder if neither file names anyone.
    pub maintainer: String,
    /// URL without credentials.
    pub homepage: Option<Url>,
    /// The project to build as a wheel and to install, absolute.
    pub source: Option<PathBuf>,
    /// What goes into `app/`; see [`Config::included_files`].
    pub include: Vec<PathPattern>,
    /// What of it does not.
    pub exclude: Vec<PathPattern>,
    /// Directories of `app/` that modules are imported from besides `app/` itself, relative to it.
    pub import_from: Vec<ReleasePath>,
    /// Paths below `app/` that it writes to.
    pub writable: Vec<Located<WritablePath>>,
    /// `[python]`.
    pub python: PythonSettings,
    /// `[build]`.
    pub build: BuildSettings,
    /// `[package]`.
    pub package: Packaging,
    /// `[settings.NAME]`, in the order of the file.
    pub settings: Vec<Setting>,
    /// `[service.NAME]`, in the order of the file.
    pub services: Vec<Service>,
    /// `[timer.NAME]`, in the order of the file.
    pub timers: Vec<Timer>,
    /// `[cron.NAME]`, in the order of the file.
    pub crons: Vec<Cron>,
    /// `[metrics]`.
    pub metrics: Option<MetricsFile>,
    /// `[logrotate]`.
    pub logrotate: Option<Logrotate>,
    /// `[site]`.
    pub site: Option<Site>,
    /// `[config."NAME"]`, in the order of the file.
    pub configs: Vec<ConfigFile>,
    /// `[requires.NAME]`, in the order of the file.
    pub requires: Vec<RequiredService>,
    /// `[provides.NAME]`, in the order of the file.
    pub provides: Vec<ProvidedService>,
    /// `[deploy.NAME]`, in the order of the file.
    pub deploys: Vec<Deploy>,
    /// `[migrate]`: the migration of every deployment that has none of its own.
    pub migrate: Option<Migrate>,
    /// Warnings with their places, such as of keys that are written with an older name.
    pub warnings: Vec<Error>,
    /// The recipes that the configuration is based on, and the origin of every value.
    pub recipes: AppliedRecipes,
}

/// `[python]`: what the release runs on, and what is installed for it.
#[derive(Debug, Clone)]
pub struct PythonSettings {
    /// The minor version; by default what `.python-version` says.
    pub version: Located<PythonMinor>,
    /// Whose interpreter.
    pub interpreter: InterpreterChoice,
    /// Lock files, absolute; by default the first of [`LOCKS`] that exists.
    pub requirements: Vec<Located<PathBuf>>,
    /// `add`: what ships besides what the application requires itself, such as its server.
    pub add: Vec<Located<Requirement<VerbatimParsedUrl>>>,
    /// Files of constraints, absolute: which version ships of what others require.
    pub constraints: Vec<Located<PathBuf>>,
    /// Dependency groups of the locks that ship besides what always does.
    pub groups: Vec<Located<GroupName>>,
    /// Extras of the application that ship.
    pub extras: Vec<Located<ExtraName>>,
    /// `allow-unmet`: distributions that others require and that may be missing or have another
    /// version.
    pub allow_unmet: Vec<PackageName>,
    /// `optional-imports`: modules that the application can do without, although its code imports
    /// them when it starts.
    pub optional_imports: Vec<String>,
    /// `allow-record-gaps`: distributions whose RECORD may list other files than their wheel has.
    pub allow_record_gaps: Vec<PackageName>,
    /// Where `require-hashes = true` demands a hash of every pin; `None` without it.
    pub require_hashes: Option<Location>,
    /// Indexes with a name, in order.
    pub indexes: Vec<NamedIndex>,
    /// From which of them a distribution comes, and from no other.
    pub sources: BTreeMap<PackageName, String>,
    /// Directories of files that go before all indexes, absolute: of the command line, the
    /// configuration has none.
    pub wheelhouses: Vec<PathBuf>,
}

/// What `[python] add` names beside a lock that another tool writes, as `pkgapp lock` pins it.
pub const ADDED_LOCK: &str = "pylock.add.toml";

/// Locks that other tools write.
const WHOLE_LOCKS: [&str; 4] = ["uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"];

/// Where pins are looked for in the directory of the configuration, if it names no file.
pub const LOCKS: [&str; 6] = [
    "pylock.toml",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "requirements.txt",
];

/// Whose interpreter a release runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterpreterChoice {
    /// The host's, on which the package depends.
    System,
    /// Its own.
    Bundled(Box<Cpython>),
    /// That of a package of its own, which applications share.
    Shared(Box<Cpython>),
}

/// An interpreter that ships, and what of it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpython {
    /// A CPython prefix or a python-build-standalone archive, absolute.
    pub path: Located<PathBuf>,
    /// What an archive must be.
    pub sha256: Option<Located<Sha256Sum>>,
    /// Parts that ship although a server does not need them.
    pub keep: Vec<InterpreterPart>,
    /// Modules of the standard library that do not ship.
    pub prune: Vec<Located<String>>,
    /// Shared libraries of this machine that ship with it: globs of sonames.
    pub bundle_libraries: Vec<Located<String>>,
}

/// Keys of `[python]` that are about an interpreter that ships.
const CPYTHON_KEYS: [&str; 5] = ["path", "sha256", "keep", "prune", "bundle-libraries"];

/// `[build]`: what is run in the staged release before it is packed.
#[derive(Debug, Clone, Default)]
pub struct BuildSettings {
    /// Commands, in order.
    pub run: Vec<CommandLine>,
    /// Variables that they see besides those of the build.
    pub env: BTreeMap<String, String>,
    /// A file of pins for what builds wheels, absolute.
    pub constraints: Option<Located<PathBuf>>,
    /// Whether extension modules keep their debug information when they are built here.
    pub debug: bool,
    /// What becomes of libraries that extension modules are linked with when they are built here,
    /// by soname.
    pub libraries: BTreeMap<String, LibraryLinking>,
}

impl Config {
    /// Reads the configuration: the file `config`, else pkgapp.toml in `start`, else its
    /// pyproject.toml.
    ///
    /// A pyproject.toml with `[project]` alone is enough: everything then has its default.
    ///
    /// # Errors
    /// No configuration, or two of them; else all mistakes of the configuration and of what comes
    /// from pyproject.toml. Files that it names and that are missing are mistakes too, except
    /// what [`Config::check_files`] finds.
    pub fn load(config: Option<&Path>, start: &Path) -> Result<Self> {
        ConfigDraft::read(config, start)?.finish(&ProjectFacts::default())
    }

    /// Puts what the command line says of the target in place of what the file says.
    ///
    /// # Errors
    /// A compression that a target can't read.
    pub fn aimed(
        mut self,
        targets: &[&'static Target],
        arch: Option<Arch>,
        python: Option<PythonMinor>,
    ) -> Result<Self> {
        let said = |option: &str| Location::file(option);
        if !targets.is_empty() {
            self.package.targets = targets
                .iter()
                .map(|&value| Located {
                    value,
                    at: said("--target"),
                })
                .collect();
            self.package.check_compression()?;
        }
        if let Some(value) = arch {
            self.package.arch = Some(Located {
                value,
                at: said("--arch"),
            });
        }
        if let Some(value) = python {
            self.python.version = Located {
                value,
                at: said("--python"),
            };
        }
        Ok(self)
    }

    /// Refuses an application of nothing.
    fn with_content(self) -> Result<Self> {
        if self.source.is_some() || !self.include.is_empty() || !self.python.requirements.is_empty()
        {
            return Ok(self);
        }
        Err(
            Error::new(format!("there is nothing to package for `{}`", self.name))
                .at(Location::file(self.file))
                .hint("name a `source`, files to `include`, or `requirements`"),
        )
    }

    /// Returns the first of its locks that another tool writes.
    pub fn whole_lock(&self) -> Option<&Path> {
        self.python
            .requirements
            .iter()
            .map(|file| file.value.as_path())
            .find(|file| is_whole_lock(file))
    }

    /// Checks what takes a walk through the files: that every `include` pattern matches something.
    ///
    /// # Errors
    /// As [`Config::included_files`].
    pub fn check_files(&self) -> Result<()> {
        self.included_files().map(|_| ())
    }

    /// Returns the plain files for `app/`: paths relative to [`Config::root`], sorted, symbolic links
    /// as themselves.
    ///
    /// `.git` and `__pycache__` are never among them, nor `dist/` in the root, where the artifacts
    /// are put.
    ///
    /// # Errors
    /// Patterns that match nothing, all of them; a directory that can't be read.
    pub fn included_files(&self) -> Result<Vec<PathBuf>> {
        files::included(&self.root, &self.include, &self.exclude)
    }
}

/// Returns whether another tool writes a file of pins: `pkgapp lock` leaves it alone.
pub fn is_whole_lock(file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| WHOLE_LOCKS.iter().any(|lock| name == *lock))
}

/// Reads the tables of one configuration.
struct ConfigReader<'a> {
    /// The directory of the configuration.
    root: &'a Path,
    /// The configuration file.
    file: &'a Path,
    defaults: ProjectTable,
}

/// `[app]`, with its defaults.
struct AppMetadata {
    name: AppName,
    version: Option<Located<Version>>,
    summary: String,
    description: String,
    license: Option<String>,
    maintainer: String,
    homepage: Option<Url>,
    source: Option<PathBuf>,
    include: Vec<PathPattern>,
    exclude: Vec<PathPattern>,
    import_from: Vec<ReleasePath>,
    writable: Vec<Located<WritablePath>>,
}

impl ConfigReader<'_> {
    /// Returns the application, or `None` after a mistake (but not after every mistake).
    fn read(&self, root: TableReader<'_>) -> Option<Config> {
        let about = self.about(root.table("app"));
        let python = self.python(root.table("python"));
        let build = build(root.table("build"), self.root);
        let package = packaging::read(
            root.table("package"),
            about.as_ref().map(|about| &about.name),
            self.root,
        );
        let settings = Setting::read_all(&root);
        let mut services = Service::read_all(&root);
        let timers = Timer::read_all(&root, &services);
        let metrics = monitoring::read(&root, &services, &timers);
        let crons = Cron::read_all(&root);
        let logrotate = Logrotate::read(root.table("logrotate"), &services);
        let site = self.site(&root, about.as_ref(), package.as_ref(), &services);
        if let Some(site) = &site {
            site.introduce_to(&mut services);
        }
        let configs = ConfigFile::read_all(&root, self.root);
        let requires = RequiredService::read_all(&root, &settings);
        let provides = ProvidedService::read_all(&root, &services);
        let migrate = root
            .get("migrate")
            .and_then(|value| Migrate::read(&value, "migrate", None));
        let deploys = Deploy::read_all(&root, migrate.as_ref(), &services, &settings);
        root.finish();
        let logins = deploys.iter().filter_map(site::not_for_logins);
        let warnings = logins.filter(|_| site.is_some()).collect();
        let (about, python, package) = (about?, python?, package?);
        Some(Config {
            root: self.root.to_owned(),
            file: self.file.to_owned(),
            name: about.name,
            version: about.version,
            summary: about.summary,
            description: about.description,
            license: about.license,
            maintainer: about.maintainer,
            homepage: about.homepage,
            source: about.source,
            include: about.include,
            exclude: about.exclude,
            import_from: about.import_from,
            writable: about.writable,
            python,
            build,
            package,
            settings,
            services,
            timers,
            metrics,
            crons,
            logrotate,
            site,
            configs,
            requires,
            provides,
            deploys,
            migrate,
            warnings,
            recipes: AppliedRecipes::default(),
        })
    }

    fn site(
        &self,
        root: &TableReader<'_>,
        about: Option<&AppMetadata>,
        package: Option<&Packaging>,
        services: &[Service],
    ) -> Option<Site> {
        let around = about.zip(package).map(|(about, package)| SiteContext {
            root: self.root,
            name: &about.name,
            prefix: &package.prefix.value,
            services,
        });
        Site::read(root.table("site"), around.as_ref())
    }

    fn about(&self, table: TableReader<'_>) -> Option<AppMetadata> {
        let defaults = &self.defaults;
        let name = self.name(&table);
        let source = self.source(&table);
        let version = self.version(&table, source.is_some());
        let summary = table
            .get("summary")
            .and_then(|value| value.line())
            .or_else(|| defaults.summary.clone());
        let description = table
            .get("description")
            .and_then(|value| value.text())
            .map_or_else(String::new, |text| text.trim().to_owned());
        let license = table
            .get("license")
            .and_then(|value| value.line())
            .or_else(|| defaults.license.clone());
        let maintainer = table
            .get("maintainer")
            .and_then(|value| value.parsed(maintainer));
        let homepage = match table.get("homepage") {
            Some(value) => value.parsed(web_address),
            None => table.accept(&defaults.homepage),
        };
        let include = table.collection("include", |value| {
            PathPattern::read_all(value, PathPattern::of_files)
        });
        let exclude = table.collection("exclude", |value| {
            PathPattern::read_all(value, PathPattern::of_files)
        });
        let root = self.root;
        let import_from = table.each("import-from", |text| import_directory(root, text));
        let writable = table.collection("writable", |value| WritablePath::read_all(value, root));
        table.finish();
        let name = name?;
        Some(AppMetadata {
            version,
            summary: summary.unwrap_or_else(|| format!("Python application {name}")),
            description,
            license,
            maintainer: maintainer
                .or_else(|| defaults.maintainer.clone())
                .unwrap_or_else(|| NOBODY.to_owned()),
            homepage,
            source,
            include,
            exclude,
            import_from: without_places(import_from),
            writable,
            name,
        })
    }

    fn name(&self, table: &TableReader<'_>) -> Option<AppName> {
        if let Some(value) = table.get("name") {
            return value.parsed(AppName::parse);
        }
        if self.defaults.name.is_none() {
            let directory = self.root.file_name().unwrap_or_default().to_string_lossy();
            let example = project::nearest_name(&directory)
                .map_or_else(|| "shop".to_owned(), |name| name.to_string());
            let error = Error::new("the application has no name");
            table.complain_of_missing(
                "name",
                error.hint(format!(
                    "write `name = \"{example}\"` below `[{}]`",
                    table.path()
                )),
            );
        }
        table.accept(&self.defaults.name)
    }

    fn version(&self, table: &TableReader<'_>, has_source: bool) -> Option<Located<Version>> {
        if let Some(value) = table.get("version") {
            return value.placed(project::version);
        }
        let is_built = has_source && !self.defaults.version_is_static;
        if self.defaults.version.is_none() && !is_built {
            let error = Error::new("the application has no version");
            let example = format!("write `version = \"1.0\"` below `[{}]`", table.path());
            table.complain_of_missing("version", error.hint(example));
        }
        table.accept(&self.defaults.version)
    }

    /// Returns the project to build: what the file says, else the root if it holds a project.
    fn source(&self, table: &TableReader<'_>) -> Option<PathBuf> {
        let root = self.root;
        let Some(value) = table.get("source") else {
            let is_project = self.defaults.is_project || root.join("setup.py").is_file();
            return is_project.then(|| root.to_owned());
        };
        value.parsed(|text| match text {
            "" => Ok(None),
            _ => project_directory(root, text).map(Some),
        })?
    }

    fn python(&self, table: TableReader<'_>) -> Option<PythonSettings> {
        let root = self.root;
        let version = match table.get("version") {
            Some(value) => value.placed(str::parse),
            None => python_version_file(root, &table),
        };
        let interpreter = self.interpreter(&table);
        let mut requirements = self.requirement_files(&table);
        let constraints = table.each("constraints", |text| {
            existing_file(root, "constraints file", text)
        });
        let add = table.each("add", added);
        if !add.is_empty() {
            requirements.extend(self.lock_of_added(&requirements));
        }
        let groups = table.each("groups", group_name);
        let extras = table.each("extras", extra_name);
        let allow_unmet = table.each("allow-unmet", distribution_name);
        let allow_record_gaps = table.each("allow-record-gaps", distribution_name);
        let optional_imports = table.each("optional-imports", dotted_name);
        let require_hashes = table
            .get("require-hashes")
            .filter(|value| value.boolean() == Some(true))
            .map(|value| value.at());
        let (indexes, sources) = indexes::read(&table, root);
        table.finish();
        Some(PythonSettings {
            version: version?,
            interpreter: interpreter?,
            requirements,
            add,
            constraints,
            groups,
            extras,
            allow_unmet: without_places(allow_unmet),
            optional_imports: without_places(optional_imports),
            allow_record_gaps: without_places(allow_record_gaps),
            require_hashes,
            indexes,
            sources,
            wheelhouses: Vec::new(),
        })
    }

    /// The files that pin the requirements: those that the configuration names, else the first lock
    /// that is there.
    fn requirement_files(&self, table: &TableReader<'_>) -> Vec<Located<PathBuf>> {
        let root = self.root;
        if let Some(value) = table.get("requirements") {
            return value.each(|text| existing_file(root, "requirements file", text));
        }
        let lock = LOCKS
            .iter()
            .map(|name| root.join(name))
            .find(|file| file.is_file());
        lock.map(located_file).into_iter().collect()
    }

    /// The lock of the requirements that the configuration adds, where it lies beside a lock that
    /// lists all of the project's.
    fn lock_of_added(&self, requirements: &[Located<PathBuf>]) -> Option<Located<PathBuf>> {
        let beside = self.root.join(ADDED_LOCK);
        let is_beside_a_lock = requirements.iter().any(|file| is_whole_lock(&file.value));
        (is_beside_a_lock && beside.is_file()).then(|| located_file(beside))
    }

    fn interpreter(&self, table: &TableReader<'_>) -> Option<InterpreterChoice> {
        type Ships = fn(Box<Cpython>) -> InterpreterChoice;
        let choices: [(&str, Option<Ships>); 3] = [
            ("system", None),
            ("bundled", Some(InterpreterChoice::Bundled)),
            ("shared", Some(InterpreterChoice::Shared)),
        ];
        let ships = match table.get("interpreter") {
            Some(value) => value.choice(&choices)?,
            None => None,
        };
        let values = CPYTHON_KEYS.map(|key| table.get(key));
        match ships {
            Some(ships) => Some(ships(Box::new(self.cpython(table, values)?))),
            None => system_interpreter(&values),
        }
    }

    /// Reads an interpreter that ships from the values of [`CPYTHON_KEYS`].
    fn cpython(
        &self,
        table: &TableReader<'_>,
        values: [Option<ValueReader<'_>>; CPYTHON_KEYS.len()],
    ) -> Option<Cpython> {
        let [path, sha256, keep, prune, libraries] = values;
        let Some(path) = path else {
            let error = Error::new("an interpreter that is not the host's needs a `path`");
            let example =
                "add `path = \"…\"` with a CPython prefix or a python-build-standalone archive";
            table.complain_of_missing("path", error.hint(example));
            return None;
        };
        let path = path.placed(|text| existing(self.root, "interpreter", text));
        // Absent, or right, or a mistake that was kept.
        let sha256 = sha256.map_or(Some(None), |value| {
            let sum = value.placed(|text| archive_sum(text, path.as_ref()));
            sum.map(Some)
        });
        let keep = keep.map_or_else(Vec::new, |value| value.list());
        let keep: Vec<Option<InterpreterPart>> = keep
            .iter()
            .map(|value| value.choice(&InterpreterPart::ALL))
            .collect();
        let prune = prune.map_or_else(Vec::new, |value| value.each(module_name));
        let bundle_libraries = libraries.map_or_else(Vec::new, |value| value.each(soname_pattern));
        Some(Cpython {
            path: path?,
            sha256: sha256?,
            keep: keep.into_iter().collect::<Option<_>>()?,
            prune,
            bundle_libraries,
        })
    }
}

/// The host's interpreter, which has none of the keys for one that ships.
fn system_interpreter(values: &[Option<ValueReader<'_>>]) -> Option<InterpreterChoice> {
    let given: Vec<&ValueReader<'_>> = values.iter().flatten().collect();
    for value in &given {
        let error = Error::new(format!("`{}` is for a bundled interpreter", value.label()));
        value.complain(error.hint("add `interpreter = \"bundled\"`, or leave the key out"));
    }
    given.is_empty().then_some(InterpreterChoice::System)
}

/// A file as its own place.
fn located_file(file: PathBuf) -> Located<PathBuf> {
    Located {
        at: Location::file(&file),
        value: file,
    }
}

fn without_places<T, C: FromIterator<T>>(values: Vec<Located<T>>) -> C {
    values.into_iter().map(|located| located.value).collect()
}

/// The maintainer of an application that names none: dpkg wants one in every package.
const NOBODY: &str = "unknown <unknown@localhost>";

fn build(table: TableReader<'_>, root: &Path) -> BuildSettings {
    let run = table.collection("run", CommandLine::read_all);
    let env = table.collection("env", environment);
    let constraints = table
        .get("constraints")
        .and_then(|value| value.placed(|text| existing_file(root, "constraints", text)));
    let libraries = table.collection("libraries", linking);
    let debug = table
        .get("debug")
        .and_then(|value| value.boolean())
        .unwrap_or(false);
    table.finish();
    BuildSettings {
        run,
        env,
        constraints,
        debug,
        libraries,
    }
}

/// Reads `libraries = { "libfoo.so.1" = "graft" }`.
fn linking(value: &ValueReader<'_>) -> BTreeMap<String, LibraryLinking> {
    let Some(table) = value.table("libraries") else {
        return BTreeMap::new();
    };
    let mut libraries = BTreeMap::new();
    for (name, value) in table.entries() {
        if name.value.contains('/') || !name.value.contains(".so") {
            let error = Error::new(format!(
                "`{}` is not the name of a shared library",
                name.value
            ));
            value.complain(error.hint("write the name that `ldd` shows, e.g. `libfoo.so.1`"));
        }
        let linking = value.choice(&[
            ("graft", LibraryLinking::Graft),
            ("depend", LibraryLinking::Depend),
        ]);
        libraries.extend(linking.map(|linking| (name.value, linking)));
    }
    libraries
}

/// Variables of Python's that no part of a release can have, and why.
const UNFIT_FOR_PYTHON: [(&str, &str); 6] = [
    ("PYTHONHOME", "a release finds its own standard library"),
    (
        "PYTHONPLATLIBDIR",
        "a release finds its own standard library",
    ),
    ("PYTHONEXECUTABLE", "a release finds its own interpreter"),
    (
        "PYTHONUSERBASE",
        "a release does not look into directories of users",
    ),
    ("PYTHONSTARTUP", "only an interactive Python reads it"),
    (
        "PYTHONINSPECT",
        "nobody would talk to the interactive Python",
    ),
];

/// Reads the `env` of a service, timer or cron job.
fn process_environment(value: &ValueReader<'_>) -> BTreeMap<String, String> {
    let variables = environment(value);
    for (name, why) in UNFIT_FOR_PYTHON
        .iter()
        .filter(|(name, _)| variables.contains_key(*name))
    {
        value.complain(
            Error::new(format!(
                "`{name}` has no place in `{}`: {why}",
                value.label()
            ))
            .hint("leave it out"),
        );
    }
    variables
}

/// Reads `env = { NAME = "value" }`.
fn environment(value: &ValueReader<'_>) -> BTreeMap<String, String> {
    let Some(table) = value.table("env") else {
        return BTreeMap::new();
    };
    let mut variables = BTreeMap::new();
    for (name, value) in table.entries() {
        if !is_variable_name(&name) {
            let error = Error::new(format!(
                "`{}` is not the name of an environment variable",
                name.value
            ))
            .hint("use letters, digits, and `_`, and no digit first");
            value.complain(error);
        }
        let text = value.parsed(|text| {
            if text.contains('\0') {
                Err(Error::new(format!(
                    "`{}` holds a NUL character",
                    value.label()
                )))
            } else {
                Ok(text.to_owned())
            }
        });
        variables.extend(text.map(|text| (name.value, text)));
    }
    variables
}

/// Returns whether it is a name as POSIX shells assign to (XBD §3.216 "Name").
fn is_variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn group_name(text: &str) -> Result<GroupName> {
    text.parse()
        .context(|| format!("`{text}` is not the name of a dependency group"))
}

fn extra_name(text: &str) -> Result<ExtraName> {
    text.parse()
        .context(|| format!("`{text}` is not the name of an extra"))
}

/// Returns whether it is a name as `import` takes it.
fn is_dotted_name(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    text.split('.').all(is_name)
}

fn dotted_name(text: &str) -> Result<String> {
    if is_dotted_name(text) {
        return Ok(text.to_owned());
    }
    Err(Error::new(format!("`{text}` is not the name of a module"))
        .hint("name modules as in `import`, e.g. `PIL.ImageTk`"))
}

/// Reads what ships besides the application's own requirements.
fn added(text: &str) -> Result<Requirement<VerbatimParsedUrl>> {
    let example = "write a name, and which versions will do, such as `gunicorn>=22`";
    let requirement: Requirement<VerbatimParsedUrl> = text.parse().map_err(|_| {
        Error::new(format!("`{text}` is not a requirement of a distribution")).hint(example)
    })?;
    match requirement.version_or_url {
        Some(VersionOrUrl::Url(_)) => Err(Error::new(format!(
            "`{text}` names an address, and a file of requirements is the place for it"
        ))
        .hint("write it there, and the file among `requirements`")),
        _ => Ok(requirement),
    }
}

fn distribution_name(text: &str) -> Result<PackageName> {
    text.parse()
        .context(|| format!("`{text}` is not the name of a distribution"))
}

/// Reads the sum of an interpreter's archive.
fn archive_sum(text: &str, path: Option<&Located<PathBuf>>) -> Result<Sha256Sum> {
    if path.is_some_and(|path| path.is_dir()) {
        return Err(
            Error::new("`sha256` is for an archive, and the interpreter is a directory")
                .hint("leave it out: the files of a directory are read as they are"),
        );
    }
    Sha256Sum::from_hex(text).ok_or_else(|| {
        Error::new(format!("`{text}` is not a SHA-256 checksum"))
            .hint("write the 64 digits that `sha256sum` prints")
    })
}

/// Reads the name of a module as it is directly below the standard library.
fn module_name(text: &str) -> Result<String> {
    let is_name = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(
            Error::new(format!("`{text}` is not a module of the standard library"))
                .hint("write the first part of what an import names, such as `sqlite3`"),
        )
    }
}

/// Reads a glob of names of shared libraries.
fn soname_pattern(text: &str) -> Result<String> {
    globset::Glob::new(text).context(|| format!("`{text}` is not a pattern for library names"))?;
    if text.contains('/') {
        Err(Error::new(format!("`{text}` is a path")).hint("write a soname, such as `libssl.so.3`"))
    } else {
        Ok(text.to_owned())
    }
}

/// Reads `Name <address>` (Debian Policy §5.6.2).
fn maintainer(text: &str) -> Result<String> {
    let text = one_line("app.maintainer", text)?;
    if let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        let address_is_one = address.contains('@') && !address.contains([' ', '<', '>']);
        if address_is_one && !name.trim().is_empty() {
            return Ok(format!("{} <{address}>", name.trim()));
        }
    }
    let error = Error::new(format!("`{text}` is not a maintainer"));
    Err(error.hint("write a name and an address, such as `Ops <ops@example.com>`"))
}

/// Reads an address of the web that may be published.
fn web_address(text: &str) -> Result<Url> {
    let url = Url::parse(text).context(|| format!("`{text}` is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(
            Error::new(format!("`{text}` is not a web address")).hint("start it with `https://`")
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::new("the URL contains credentials")
            .hint("packages are readable by everyone: leave them out"));
    }
    Ok(url)
}

/// Returns the directory of a project with a build backend.
fn project_directory(root: &Path, text: &str) -> Result<PathBuf> {
    let path = existing(root, "source", text)?;
    let is_project = ["pyproject.toml", "setup.py"]
        .iter()
        .any(|name| path.join(name).is_file());
    if is_project {
        Ok(path)
    } else {
        Err(Error::new(format!(
            "source `{text}` is not a Python project: it has neither pyproject.toml nor setup.py"
        ))
        .hint("write `source = \"\"` and `include = […]` for an application of plain files"))
    }
}

/// Returns a directory of the project that `import-from` names, as it lies below `app/`.
fn import_directory(root: &Path, text: &str) -> Result<ReleasePath> {
    let path = existing(root, "directory", text)?;
    if !path.is_dir() {
        return Err(Error::new(format!("`{text}` is not a directory"))
            .hint("name the directory that holds the modules and packages"));
    }
    let below = path
        .strip_prefix(root)
        .ok()
        .and_then(Path::to_str)
        .unwrap_or(text);
    ReleasePath::parse(below).map_err(|_| {
        Error::new(format!("`{text}` is not a directory inside the project"))
            .hint("`include` and `import-from` name files and directories beside the configuration")
    })
}

/// Returns an existing file that the configuration names.
fn existing_file(root: &Path, what: &str, text: &str) -> Result<PathBuf> {
    let path = existing(root, what, text)?;
    if path.is_dir() {
        Err(Error::new(format!("{what} `{text}` is a directory")))
    } else {
        Ok(path)
    }
}

/// Returns an existing path that the configuration names.
fn existing(root: &Path, what: &str, text: &str) -> Result<PathBuf> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Error::new(format!(
            "`{}` is not a path",
            text.escape_debug()
        )));
    }
    // `components` takes `./` out, so that messages and records name a file in one way.
    let path: PathBuf = root.join(text).components().collect();
    match std::fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let error = Error::new(format!("{what} `{text}` does not exist"));
            Err(match similar_path(&path, text) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("paths are relative to the directory of the configuration file"),
            })
        }
        Err(error) => Err(Error::new(format!("cannot read {what} `{text}`")).cause(error)),
    }
}

/// Returns `text` with its last component replaced by the nearest name that exists beside it.
fn similar_path(path: &Path, text: &str) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let mut names: Vec<String> = std::fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let near = reader::nearest(wanted, names.iter().map(String::as_str))?;
    Some(
        text.strip_suffix(wanted)
            .map_or_else(|| near.to_owned(), |directory| format!("{directory}{near}")),
    )
}

/// Reads `.python-version`, as pyenv and uv write it: one version a line, of which the first
/// counts.
fn python_version_file(root: &Path, table: &TableReader<'_>) -> Option<Located<PythonMinor>> {
    let missing = || {
        let error = Error::new("the Python version is missing");
        let error = error.hint(format!(
            "write `version = \"3.11\"` below `[{}]`: what the hosts have",
            table.path()
        ));
        table.complain_of_missing("version", error);
    };
    let file = root.join(".python-version");
    let Ok(text) = pkgapp_core::fs::read_to_string(&file) else {
        missing();
        return None;
    };
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    let Some((line, version)) = lines
        .into_iter()
        .find(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    else {
        missing();
        return None;
    };
    let at = Location {
        file,
        position: Some((line, 1)),
    };
    let mut parts = version.splitn(3, '.');
    let minor = [
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    ]
    .join(".");
    match minor.parse() {
        Ok(value) => Some(Located { value, at }),
        Err(error) => {
            table.complain_elsewhere(error.at(at));
            None
        }
    }
}
