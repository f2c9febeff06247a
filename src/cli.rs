//! The command line. Doc comments here are the help texts.

#![expect(
    rustdoc::broken_intra_doc_links,
    reason = "the texts are for terminals, where brackets are not links"
)]

mod secrets;
mod system;

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use pkgapp_core::cache;
use pkgapp_core::error::{Error, ErrorKind};
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_core::target::{self, Target};
use pkgapp_deploy::fleet::FleetOptions;

pub use secrets::{
    SecretsChangeArgs, SecretsCommand, SecretsCopyArgs, SecretsGenerateArgs, SecretsListArgs,
    SecretsSetArgs,
};
pub use system::{
    ExportTool, GraphFormat, SystemApplyArgs, SystemArgs, SystemBuildArgs, SystemCheckArgs,
    SystemCommand, SystemDeployArgs, SystemExportArgs, SystemGraphArgs, SystemLockArgs,
    SystemPlanArgs, SystemRolloutArgs, SystemStatusArgs,
};

/// Build a deb, rpm, or tarball from a Python application and deploy it over SSH
///
/// Reads `pkgapp.toml` (or `[tool.pkgapp]` in `pyproject.toml`) in the current directory. Prints
/// results to stdout, one per line, and messages to stderr.
#[derive(Debug, Parser)]
#[command(
    name = "pkgapp",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = exit_codes())]
pub struct Cli {
    /// The options of all commands.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// The command to run.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// Returns the list of exit codes for the help text.
fn exit_codes() -> String {
    let code = |kind: &ErrorKind| format!("; {} {}", kind.exit_code(), kind.meaning());
    let failures: String = ErrorKind::ALL.iter().map(code).collect();
    format!("Exit codes: 0 done{failures}")
}

/// The options of all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalOptions {
    /// Read the configuration from FILE
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PKGAPP_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true, env = "PKGAPP_JSON", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub json: bool,
    /// Print errors only
    #[arg(short, long, global = true, env = "PKGAPP_QUIET", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub quiet: bool,
    /// Show details (`--quiet` takes precedence)
    #[arg(short, long, global = true, env = "PKGAPP_VERBOSE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub verbose: bool,
    /// Color the output
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "PKGAPP_COLOR",
        hide_env_values = true
    )]
    pub color: ColorChoice,
    /// Do not access the network
    #[arg(long, global = true, env = "PKGAPP_OFFLINE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Use this cache directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PKGAPP_CACHE_DIR",
        hide_env_values = true
    )]
    pub cache_dir: Option<PathBuf>,
    /// The environment variables that set options.
    #[arg(skip)]
    pub variables: Vec<String>,
}

/// Returns a warning for every environment variable that sets an option and is no longer
/// documented.
pub fn outdated_variables(matches: &ArgMatches) -> Vec<String> {
    let mut warnings = Vec::new();
    for_each_variable(matches, &mut |option, variable| {
        if option.is_hide_env_set() {
            let instead = option.get_long().map_or_else(
                || format!("the argument `{}`", option.get_id().as_str().to_uppercase()),
                |name| format!("`--{name}`"),
            );
            warnings.push(format!("`{variable}` is deprecated: use {instead}"));
        }
    });
    warnings
}

/// Returns the environment variables that set options.
pub fn variables(matches: &ArgMatches) -> Vec<String> {
    let mut variables = Vec::new();
    for_each_variable(matches, &mut |_, variable| {
        variables.push(variable.to_owned());
    });
    variables
}

/// Calls `action` for every option of the command that a variable sets.
fn for_each_variable(matches: &ArgMatches, action: &mut dyn FnMut(&Arg, &str)) {
    let (mut command, mut matches) = (&Cli::command(), matches);
    loop {
        for option in command.get_arguments() {
            let source = matches.try_contains_id(option.get_id().as_str());
            let source = source
                .is_ok()
                .then(|| matches.value_source(option.get_id().as_str()));
            if let (Some(variable), Some(Some(ValueSource::EnvVariable))) =
                (option.get_env(), source)
            {
                action(option, &variable.to_string_lossy());
            }
        }

        let Some((name, inner)) = matches.subcommand() else {
            return;
        };
        let Some(inner_command) = command.find_subcommand(name) else {
            return;
        };
        (command, matches) = (inner_command, inner);
    }
}

/// When to color the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// If the output is a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Detect the kind of project and write a `pkgapp.toml`
    ///
    /// Detects the framework (Django, Flask, FastAPI, Pyramid, Pecan, Celery), the lock file, the
    /// Python version, and how to serve the application. Runs no code of the project. Prints the
    /// path of the file.
    ///
    /// Example: pkgapp init && pkgapp build
    Init(InitArgs),
    /// Build packages of the application
    ///
    /// Prints the path of each artifact to stdout, one per line.
    ///
    /// Example: pkgapp build --format deb --format rpm
    Build(BuildArgs),
    /// Build a package of a Python interpreter that applications share
    ///
    /// Example: pkgapp runtime build --format deb
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Resolve requirements and write a lock file
    ///
    /// Resolves with uv, or with pip if uv is not installed, and writes `pylock.toml` next to the
    /// configuration. Keeps the versions that an existing lock file pins. Prints the path of the
    /// lock file to stdout.
    ///
    /// Example: pkgapp lock && pkgapp build
    Lock(LockArgs),
    /// Show the contents of a package
    ///
    /// Prints the metadata, dependencies, scriptlets, distributions, and sizes of a deb, rpm, or
    /// tarball.
    ///
    /// Example: pkgapp inspect dist/shop_1.4.2-1_amd64.deb --files
    Inspect(InspectArgs),
    /// Compare two packages
    ///
    /// Compares versions, distributions, dependencies, scriptlets, and files. Ignores file dates.
    ///
    /// Example: pkgapp diff dist/shop_1.4.1-1_amd64.deb dist/shop_1.4.2-1_amd64.deb
    Diff(DiffArgs),
    /// Check the project without writing artifacts
    ///
    /// Runs every step of a build except writing artifacts, then lets systemd-analyze, logrotate,
    /// cron, and sh read the generated files if these programs are installed. With NAME, also
    /// checks the requirements of `[deploy.NAME]`, such as a tagged commit. Continues after a
    /// failed check. Any finding is an error.
    ///
    /// With `--targets`, only lists which files are available for which target.
    ///
    /// Example: pkgapp check production --env .venv --reach
    ///
    /// Example: pkgapp check --targets --target debian12,el9 --arch x86_64,aarch64
    Check(CheckArgs),
    /// Show where the values of the configuration come from
    ///
    /// Prints every value of the configuration with the file and line, option, or variable that sets
    /// it, the facts about the project that a recipe used, and the values that were replaced. With
    /// KEY, prints one table or value; with the path of a file on hosts, the values behind that
    /// file. Defaults are shown with `--all`, for a single KEY, and for files. With `--settings`,
    /// prints the settings of the application as a manual for operators.
    ///
    /// Example: pkgapp explain service.web
    ///
    /// Example: pkgapp explain /usr/lib/systemd/system/shop-web.service
    Explain(ExplainArgs),
    /// Print the JSON schema of pkgapp.toml, of recipes, or of system.toml
    ///
    /// Editors complete and check the keys of a file with it. The schema is one of draft 7.
    ///
    /// Example: pkgapp schema > pkgapp.schema.json
    Schema(SchemaArgs),
    /// Print the text files that a build generates
    ///
    /// Prints every file that pkgapp itself writes: files of the release, configuration, and the
    /// control files of dpkg and rpm.
    ///
    /// Example: pkgapp render | less
    Render(RenderArgs),
    /// Manage the cache
    ///
    /// Example: pkgapp cache prune --older-than 30d
    Cache(CacheArgs),
    /// Run a command on hosts
    ///
    /// Groups hosts that print the same output. Passes the output of a single host through
    /// unchanged.
    ///
    /// Exit code: 0 if the command succeeded on all hosts, 3 if on some, 1 if on none.
    ///
    /// Example: pkgapp run production --only role=web -- systemctl is-active shop-web
    Run(RunArgs),
    /// Copy a file or directory to hosts
    ///
    /// Replaces the remote file atomically after its SHA-256 checksum was verified. Resumes
    /// interrupted transfers.
    ///
    /// Example: pkgapp put --hosts web[01:04] --sudo --mode 0644 motd /etc/motd
    Put(PutArgs),
    /// Copy a file or directory from hosts
    ///
    /// Creates one directory per host below DIR. Writes complete copies only, and prints their
    /// paths.
    ///
    /// Example: pkgapp get --hosts web[01:04] /var/log/nginx/access.log logs
    Get(GetArgs),
    /// Manage the secrets of the application on hosts
    ///
    /// Secrets are lines of a file that no package has, such as /etc/NAME/secrets.env. Values are
    /// sent over stdin of ssh: they appear in no argument list, log, or package.
    ///
    /// Example: pkgapp secrets list production
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Manage systems of several applications and hosts
    ///
    /// A model, `system.toml`, places applications and backing services on the hosts of
    /// environments. pkgapp decides ports and placements, and keeps them in `system.lock`.
    ///
    /// Example: pkgapp system check
    System(SystemArgs),
    /// Show the logs of the application's units
    ///
    /// Merges the journals of all hosts by time.
    ///
    /// Example: pkgapp logs production web --follow
    Logs(LogsArgs),
    /// Prepare hosts for deployments
    ///
    /// Creates a user with sudo rights, authorizes an SSH key, and creates pkgapp's state
    /// directory. Leaves correct settings alone. Requires a login that is root or can become root.
    ///
    /// Example: pkgapp bootstrap --hosts root@web[01:04] --authorize ~/.ssh/deploy.pub
    Bootstrap(BootstrapArgs),
    /// Deploy a package to hosts, rolling back on failure
    ///
    /// Checks all hosts before changing any of them. Then copies the package, runs the migration
    /// once, and switches hosts in batches; checks the health of each batch before the next. If too
    /// many hosts fail, all hosts return to the previous version. Without FILE, each host gets the
    /// newest artifact in dist/ for its package manager. The next push continues an interrupted
    /// one.
    ///
    /// Example: pkgapp push production --dry-run
    Push(PushArgs),
    /// Roll hosts back to the previous release
    ///
    /// Installs a package that the hosts kept from an earlier push, with the same steps and checks
    /// as a push. Copies nothing. Skips releases that failed.
    ///
    /// If the configuration is a package of its own, `--only config` rolls back that package and
    /// keeps the software. It can be combined with labels: `--only config,role=web`.
    ///
    /// Example: pkgapp rollback production --to 1.4.1
    Rollback(RollbackArgs),
    /// Confirm a release that `push --confirm manual` has installed
    Confirm(ConfirmArgs),
    /// Show the installed version and unit states on hosts
    ///
    /// Shows the installed version, its commit and installation time, the state of units, and
    /// modified files for each host.
    ///
    /// Exit code: 4 if the application is not installed, not healthy, or modified on a host.
    ///
    /// Example: pkgapp status production
    Status(StatusArgs),
    /// Show the deployment history of hosts
    ///
    /// Hosts store the history in /var/lib/pkgapp/NAME/history.jsonl.
    ///
    /// Example: pkgapp history production
    History(HistoryArgs),
    /// Print a completion script for a shell
    ///
    /// Example: pkgapp completions bash > /etc/bash_completion.d/pkgapp
    Completions(CompletionsArgs),
    /// Write the manual pages
    ///
    /// Writes pkgapp.1 and a page for each command into DIR.
    ///
    /// Example: pkgapp man /usr/local/share/man/man1
    Man(ManArgs),
}

/// Arguments of `pkgapp build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Build this format; can be repeated
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_delimiter = ',',
        default_value = "all",
        env = "PKGAPP_FORMAT",
        hide_env = true
    )]
    pub format: Vec<FormatName>,
    /// Write artifacts to DIR [default: dist/ next to the configuration]
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "PKGAPP_OUTPUT",
        hide_env = true
    )]
    pub output: Option<PathBuf>,
    /// Use N threads [default: number of cores]
    #[arg(short, long, value_name = "N", env = "PKGAPP_JOBS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Prefer files in DIR to any index, such as a directory from `pkgapp cache export`; can be
    /// repeated
    #[arg(
        long,
        value_name = "DIR",
        env = "PKGAPP_FIND_LINKS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub find_links: Vec<PathBuf>,
    /// Also build the configuration package of `[deploy.NAME]`; can be repeated
    ///
    /// Requires `[package] configuration = "separate"`. The package has the units, users, and files
    /// below `/etc`, with the values of `[deploy.NAME.settings]`.
    #[arg(long = "for", value_name = "NAME", value_delimiter = ',')]
    pub deployments: Vec<String>,
    /// With `--for`, read the services from the deb or rpm FILE instead of building the software
    #[arg(long, value_name = "FILE", requires = "deployments")]
    pub software: Option<PathBuf>,
    /// Run `pkgapp lock` before building
    #[arg(long, env = "PKGAPP_LOCK", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub lock: bool,
    /// Resolve with this tool when `--lock` is given [default: uv if installed, else pip]
    #[arg(long, value_name = "TOOL", env = "PKGAPP_RESOLVER", hide_env = true)]
    pub resolver: Option<Resolver>,
    /// Run the `[build] run` commands even if their results are cached
    #[arg(long, env = "PKGAPP_RERUN", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub rerun: bool,
    /// Limit the cache to SIZE, such as `500MB`, `20GB`, or `unlimited`
    ///
    /// Least-recently-used entries are removed after the build.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = DEFAULT_CACHE_SIZE,
        env = "PKGAPP_CACHE_MAX_SIZE",
        hide_env_values = true,
        value_parser = cache::parse_size
    )]
    pub cache_max_size: u64,
    /// The values of settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// The target to use.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// The target of a build, which overrides the configuration.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Build for these distributions, such as `el9` [default: `[package] targets`]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "PKGAPP_TARGET", hide_env = true, value_parser = target)]
    pub target: Vec<&'static Target>,
    /// Build for x86_64 or aarch64 [default: `[package] arch`, else this machine's]
    #[arg(long, value_name = "ARCH", env = "PKGAPP_ARCH", hide_env = true, value_parser = arch)]
    pub arch: Option<Arch>,
    /// Build for this Python, such as `3.12` [default: `[python] version`]
    #[arg(long, value_name = "VERSION", env = "PKGAPP_PYTHON", hide_env = true, value_parser = python)]
    pub python: Option<PythonMinor>,
}

/// Values of settings, which override the configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingArgs {
    /// Give the setting NAME this value in the package; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// Reads the name of a target.
fn target(name: &str) -> Result<&'static Target, String> {
    target::by_name(name).map_err(|error| error.one_line())
}

/// Reads the name of an architecture.
fn arch(name: &str) -> Result<Arch, String> {
    name.parse().map_err(|error: Error| error.one_line())
}

/// Reads a minor version.
fn python(version: &str) -> Result<PythonMinor, String> {
    version.parse().map_err(|error: Error| error.one_line())
}

/// The commands of `pkgapp runtime`.
#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// Build the package from the configured interpreter
    ///
    /// Requires `interpreter = "shared"` and `path` in `[python]`. Applications that are built with
    /// the same settings depend on this package or on a newer patch release of it. Prints the path
    /// of each artifact to stdout, one per line.
    ///
    /// Example: pkgapp runtime build --format deb --format rpm
    Build(RuntimeBuildArgs),
}

/// Arguments of `pkgapp runtime build`.
#[derive(Debug, Args)]
pub struct RuntimeBuildArgs {
    /// Build this format; can be repeated
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_delimiter = ',',
        default_value = "all",
        env = "PKGAPP_FORMAT",
        hide_env = true
    )]
    pub format: Vec<FormatName>,
    /// Write artifacts to DIR [default: dist/ next to the configuration]
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "PKGAPP_OUTPUT",
        hide_env = true
    )]
    pub output: Option<PathBuf>,
    /// Set the package revision (Debian revision, RPM release)
    #[arg(
        long,
        value_name = "REVISION",
        default_value = "1",
        env = "PKGAPP_RUNTIME_REVISION",
        hide_env = true
    )]
    pub revision: String,
}

/// Arguments of `pkgapp lock`.
#[derive(Debug, Default, Args)]
pub struct LockArgs {
    /// Resolve these files [default: the configured requirements files and the project]
    #[arg(
        value_name = "FILE",
        env = "PKGAPP_REQUIREMENTS",
        hide_env = true,
        value_delimiter = ','
    )]
    pub files: Vec<PathBuf>,
    /// Upgrade all packages, ignoring pins of the existing lock file
    #[arg(short = 'U', long, env = "PKGAPP_UPGRADE", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub upgrade: bool,
    /// Resolve with this tool [default: uv if installed, else pip]
    #[arg(long, value_name = "TOOL", env = "PKGAPP_RESOLVER", hide_env = true)]
    pub resolver: Option<Resolver>,
}

/// A resolver of requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resolver {
    /// uv, for all platforms at once
    Uv,
    /// pip of the application's Python, for the build machine only
    Pip,
}

/// The default limit of the cache: about twenty releases of medium size.
const DEFAULT_CACHE_SIZE: &str = "10GB";

/// Arguments of `pkgapp cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// The command to run.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// The commands of `pkgapp cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Print the cache directory
    Dir,
    /// Print the size of the cache by kind of entry
    Size,
    /// Remove unused cache entries
    ///
    /// Keeps entries that running builds use. Removes leftovers of killed builds.
    ///
    /// Example: pkgapp cache prune --older-than 30d --max-size 2GB
    Prune(PruneArgs),
    /// Verify all cache entries and remove damaged ones
    ///
    /// Prints one line per damaged entry, and fails if there are any. The next build recreates
    /// them.
    Verify,
    /// Export all downloads that a build needs to a directory
    ///
    /// Exports the wheels and sdists of all pins, the wheels of their build requirements, and a
    /// pylock.toml with their hashes. `pkgapp build --offline --find-links DIR` then builds the
    /// same packages on a machine without network access. pip and uv can install from DIR, too.
    ///
    /// Example: pkgapp cache export wheelhouse
    Export(ExportArgs),
}

/// Arguments of `pkgapp cache prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove entries that were not used for TIME, such as `12h` or `30d` (recorded once per day)
    #[arg(
        long,
        value_name = "TIME",
        env = "PKGAPP_CACHE_OLDER_THAN",
        hide_env = true,
        value_parser = cache::parse_age
    )]
    pub older_than: Option<Duration>,
    /// Remove least-recently-used entries until the cache fits SIZE
    #[arg(
        long,
        value_name = "SIZE",
        default_value = DEFAULT_CACHE_SIZE,
        env = "PKGAPP_CACHE_MAX_SIZE",
        hide_env_values = true,
        value_parser = cache::parse_size
    )]
    pub max_size: u64,
    /// Remove all entries
    #[arg(long, env = "PKGAPP_CACHE_ALL", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub all: bool,
}

/// Arguments of `pkgapp cache export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write to DIR, removing outdated files of earlier exports
    #[arg(value_name = "DIR", env = "PKGAPP_OUTPUT", hide_env = true)]
    pub directory: PathBuf,
}

/// A format's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// A tarball, compressed as configured by `[package] tar`
    Tar,
    /// A tarball compressed with zstd
    #[value(name = "tar.zst")]
    TarZst,
    /// A tarball compressed with gzip
    #[value(name = "tar.gz")]
    TarGz,
    /// A Debian package
    Deb,
    /// An RPM package
    Rpm,
    /// tar, deb, and rpm
    All,
}

/// Arguments of `pkgapp init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory of the project [default: current directory]
    #[arg(value_name = "DIR", env = "PKGAPP_PROJECT", hide_env = true)]
    pub directory: Option<PathBuf>,
    /// Overwrite an existing `pkgapp.toml`
    #[arg(long, env = "PKGAPP_FORCE", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub force: bool,
    /// Print the configuration instead of writing it
    #[arg(long, env = "PKGAPP_PRINT", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub print: bool,
}

/// Arguments of `pkgapp diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Old package
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// New package
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// List all differing files [default: the first 20]
    #[arg(long, env = "PKGAPP_FILES", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub files: bool,
    /// Exit with 4 if the packages differ
    #[arg(long, env = "PKGAPP_EXIT_CODE", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub exit_code: bool,
}

/// Arguments of `pkgapp check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also check the requirements of `[deploy.NAME]`
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Compare the virtual environment in DIR with the pins
    #[arg(long, value_name = "DIR", env = "PKGAPP_ENV", hide_env = true)]
    pub env: Option<PathBuf>,
    /// Connect to every host of NAME
    #[arg(long, requires = "name", env = "PKGAPP_REACH", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub reach: bool,
    /// List the available files of every distribution by target, without downloads
    ///
    /// Prints one column for each combination of `--target`, `--arch`, and `--python`, which can be
    /// lists. Fails if a file is missing.
    #[arg(long, env = "PKGAPP_TARGETS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub targets: bool,
    /// Check these distributions, such as `el9` [default: `[package] targets`]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "PKGAPP_TARGET", hide_env = true, value_parser = target, help_heading = "Target")]
    pub target: Vec<&'static Target>,
    /// Check x86_64, aarch64, or both [default: `[package] arch`, else this machine's]
    #[arg(long, value_name = "ARCH,…", value_delimiter = ',', env = "PKGAPP_ARCH", hide_env = true, value_parser = arch, help_heading = "Target")]
    pub arch: Vec<Arch>,
    /// Check these Pythons, such as `3.12` [default: `[python] version`]
    #[arg(long, value_name = "VERSION,…", value_delimiter = ',', env = "PKGAPP_PYTHON", hide_env = true, value_parser = python, help_heading = "Target")]
    pub python: Vec<PythonMinor>,
    /// The values of settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Explain a key such as `service.web.exec`, a table such as `service.web`, or a file on hosts
    #[arg(value_name = "KEY|PATH")]
    pub key: Option<String>,
    /// Describe all settings for operators: type, default, value, and where to set it
    #[arg(long, conflicts_with_all = ["key", "eject"])]
    pub settings: bool,
    /// Write the values of the recipe into the configuration file, which then needs no recipe
    #[arg(long, conflicts_with = "key")]
    pub eject: bool,
    /// Print the configuration that `--eject` would write
    #[arg(long, requires = "eject")]
    pub print: bool,
    /// Show defaults, too
    #[arg(long, conflicts_with = "eject")]
    pub all: bool,
    /// The target to use.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The values of settings.
    #[command(flatten)]
    pub values: SettingArgs,
}

/// Arguments of `pkgapp schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Print the schema of recipes
    #[arg(long, conflicts_with = "system")]
    pub recipe: bool,
    /// Print the schema of system.toml
    #[arg(long)]
    pub system: bool,
}

/// Arguments of `pkgapp inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Artifact to show
    #[arg(value_name = "FILE", env = "PKGAPP_FILE", hide_env = true)]
    pub file: PathBuf,
    /// List files with mode, owner, size, SHA-256 checksum, and path
    #[arg(long, env = "PKGAPP_FILES", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub files: bool,
}

/// Arguments of `pkgapp render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Write the files to DIR instead of printing them
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "PKGAPP_OUTPUT",
        hide_env = true
    )]
    pub output: Option<PathBuf>,
    /// Print the files of the configuration package of `[deploy.NAME]`
    #[arg(long = "for", value_name = "NAME")]
    pub deployment: Option<String>,
    /// The values of settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// The target to use.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// The hosts of a command, and the ways to reach them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hosts")]
pub struct HostArgs {
    /// Use these hosts: `a`, `web[01:12]`, `user@host:2222`, `@FILE`, or `-` for stdin [default:
    /// hosts of NAME]
    #[arg(
        long,
        value_name = "HOST,…",
        value_delimiter = ',',
        env = "PKGAPP_HOSTS",
        hide_env_values = true
    )]
    pub hosts: Vec<String>,
    /// Use only hosts with a label (`role=web`) or without it (`role!=web`)
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        value_delimiter = ',',
        env = "PKGAPP_ONLY",
        hide_env = true
    )]
    pub only: Vec<String>,
    /// Log in as USER unless the host names another [default: `[deploy.NAME]`, else ssh
    /// configuration]
    #[arg(long, value_name = "USER", env = "PKGAPP_LOGIN", hide_env = true)]
    pub login: Option<String>,
    /// Use this machine, without ssh
    #[arg(long, conflicts_with = "hosts", env = "PKGAPP_LOCAL", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub local: bool,
    /// Work on N hosts at a time
    #[arg(long, value_name = "N", default_value_t = 10, env = "PKGAPP_PARALLEL", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub parallel: u16,
    /// Use this ssh program [default: ssh on PATH]
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "PKGAPP_SSH",
        hide_env_values = true
    )]
    pub ssh: Option<PathBuf>,
    /// Use this ssh configuration file only
    #[arg(
        long,
        value_name = "FILE",
        env = "PKGAPP_SSH_CONFIG",
        hide_env_values = true
    )]
    pub ssh_config: Option<PathBuf>,
    /// Limit connecting to SECONDS
    #[arg(long, value_name = "SECONDS", default_value_t = 15, env = "PKGAPP_CONNECT_TIMEOUT", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub connect_timeout: u16,
    /// Limit each of pkgapp's own queries to SECONDS
    #[arg(long, value_name = "SECONDS", default_value_t = 120, env = "PKGAPP_ANSWER_TIMEOUT", hide_env = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub answer_timeout: u16,
    /// Read the sudo password from the first line of FILE [default: prompt]
    #[arg(
        long,
        value_name = "FILE",
        env = "PKGAPP_SUDO_PASSWORD_FILE",
        hide_env_values = true
    )]
    pub sudo_password_file: Option<PathBuf>,
    /// Log the output of hosts below DIR [default: pkgapp/logs in the XDG state directory]
    #[arg(
        long,
        value_name = "DIR",
        env = "PKGAPP_LOG_DIR",
        hide_env_values = true
    )]
    pub log_dir: Option<PathBuf>,
}

impl HostArgs {
    /// Returns the options for [`pkgapp_deploy::fleet`].
    pub fn options(&self) -> FleetOptions {
        let Self {
            hosts,
            only,
            login,
            local,
            parallel,
            ssh,
            ssh_config,
            connect_timeout,
            answer_timeout,
            sudo_password_file,
            log_dir,
        } = self.clone();
        FleetOptions {
            hosts,
            only,
            login,
            local,
            parallel: parallel.into(),
            ssh,
            ssh_config,
            connect_timeout: Duration::from_secs(connect_timeout.into()),
            answer_timeout: Duration::from_secs(answer_timeout.into()),
            sudo_password_file,
            log_dir,
        }
    }
}

/// Arguments of `pkgapp run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Command and arguments, run without a shell
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
    /// Run the script FILE; COMMAND holds its arguments
    #[arg(long, value_name = "FILE", env = "PKGAPP_SCRIPT", hide_env = true)]
    pub script: Option<PathBuf>,
    /// Run the command like SERVICE of the installed release: its user, variables, and sandbox
    #[arg(
        long,
        value_name = "SERVICE",
        requires = "name",
        conflicts_with = "script",
        env = "PKGAPP_SERVICE",
        hide_env = true
    )]
    pub service: Option<String>,
    /// Run the command as root with sudo
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Print lines as they arrive, prefixed by the host
    #[arg(long, env = "PKGAPP_STREAM", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub stream: bool,
    /// Stop the command on a host after SECONDS
    #[arg(long, value_name = "SECONDS", env = "PKGAPP_TIMEOUT", hide_env = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// Local file or directory; a directory replaces the remote one completely
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Remote path; end it with `/` to keep the file name
    #[arg(value_name = "PATH")]
    pub remote: String,
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(
        long = "deploy",
        value_name = "NAME",
        env = "PKGAPP_DEPLOY",
        hide_env = true
    )]
    pub name: Option<String>,
    /// Set the permissions, in octal [default: those of FILE]
    #[arg(long, value_name = "MODE", env = "PKGAPP_MODE", hide_env = true, value_parser = mode)]
    pub mode: Option<u32>,
    /// Set the owner: USER or USER:GROUP [default: the login]
    #[arg(long, value_name = "OWNER", env = "PKGAPP_OWNER", hide_env = true, value_parser = owner)]
    pub owner: Option<String>,
    /// Write as root with sudo
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Remote file or directory
    #[arg(value_name = "PATH")]
    pub remote: String,
    /// Local directory; gets one subdirectory per host
    #[arg(value_name = "DIR")]
    pub into: PathBuf,
    /// Copy at most SIZE from each host
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16GB",
        env = "PKGAPP_MAX_SIZE",
        hide_env = true,
        value_parser = cache::parse_size
    )]
    pub max_size: u64,
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(
        long = "deploy",
        value_name = "NAME",
        env = "PKGAPP_DEPLOY",
        hide_env = true
    )]
    pub name: Option<String>,
    /// Read as root with sudo
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Deployment to use (`[deploy.NAME]`); optional with `--hosts`
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Show only these units: `web` for shop-web.service and its socket, or a full unit name
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
    /// Follow new entries
    #[arg(short, long, env = "PKGAPP_FOLLOW", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub follow: bool,
    /// Start at TIME, as journalctl reads it: `-1h`, `yesterday`
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        env = "PKGAPP_SINCE",
        hide_env = true
    )]
    pub since: Option<String>,
    /// Show the last N lines of each host [default: 100, or all with `--since`]
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        env = "PKGAPP_LINES",
        hide_env = true
    )]
    pub lines: Option<u32>,
    /// Read the journal as root with sudo [default: `[deploy.NAME] sudo`]
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Read the logs of releases that are deployed to DIR without root [default: `[deploy.NAME]
    /// into`]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env = true)]
    pub into: Option<String>,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp bootstrap`.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Create this user [default: `[deploy.NAME] user`, else deploy]
    #[arg(long, value_name = "USER", env = "PKGAPP_USER", hide_env = true, value_parser = user)]
    pub user: Option<String>,
    /// Authorize the public key in FILE for the user; can be repeated
    #[arg(long, value_name = "FILE", env = "PKGAPP_AUTHORIZE", hide_env = true)]
    pub authorize: Vec<PathBuf>,
    /// Also install these distribution packages
    #[arg(
        long,
        value_name = "PACKAGE,…",
        value_delimiter = ',',
        env = "PKGAPP_INSTALL",
        hide_env = true
    )]
    pub install: Vec<String>,
    /// Print the changes without making them; exit with 4 if there are any
    #[arg(long, env = "PKGAPP_DRY_RUN", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub dry_run: bool,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Reads permission bits.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("expected octal permissions, such as 0644".into()),
    }
}

/// Reads the name of a user to create: one that useradd accepts and sudoers need not quote.
fn user(text: &str) -> Result<String, String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(inside)
        && text.len() <= 32
    {
        Ok(text.to_owned())
    } else {
        Err(
            "expected up to 32 lowercase letters, digits, `-`, and `_`, with a letter or `_` first"
                .into(),
        )
    }
}

/// Reads `USER` or `USER:GROUP`.
fn owner(text: &str) -> Result<String, String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '@' | '\\');
    let name = |name: &str| !name.is_empty() && !name.starts_with('-') && name.chars().all(inside);
    let (user, group) = text.split_once(':').unwrap_or((text, "x"));
    if name(user) && name(group) {
        Ok(text.to_owned())
    } else {
        Err("expected USER or USER:GROUP".into())
    }
}

/// Arguments of `pkgapp push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Deployment to use (`[deploy.NAME]`), and packages [default: newest in dist/]
    #[arg(value_name = "NAME|FILE")]
    pub what: Vec<String>,
    /// Continue the last push on hosts that failed or were not reached
    #[arg(long, env = "PKGAPP_RESUME", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub resume: bool,
    /// Replace a newer installed version
    #[arg(long, env = "PKGAPP_ALLOW_DOWNGRADE", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_downgrade: bool,
    /// Allow a package name that a repository of the host offers, such as your own repository
    #[arg(long, env = "PKGAPP_ALLOW_SAME_NAME", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_same_name: bool,
    /// Push to hosts that lack required settings or secrets
    #[arg(
        long,
        env = "PKGAPP_ALLOW_MISSING_SETTINGS",
        hide_env = true,
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub allow_missing_settings: bool,
    /// Replace a different package of the same version
    #[arg(long, env = "PKGAPP_REINSTALL", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub reinstall: bool,
    /// The options of the rollout.
    #[command(flatten)]
    pub rollout: RolloutArgs,
}

/// Arguments of `pkgapp rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Roll back to VERSION [default: the newest other version that worked]
    #[arg(long, value_name = "VERSION", env = "PKGAPP_TO", hide_env = true)]
    pub to: Option<String>,
    /// The options of the rollout.
    #[command(flatten)]
    pub rollout: RolloutArgs,
}

/// How long a lost host is tried again, in seconds, unless it is said.
const RECONNECT_S: u32 = 60;

/// The options of `push` and `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RolloutArgs {
    /// Print the plan without changing anything; exit with 4 if it is not empty
    #[arg(long, env = "PKGAPP_DRY_RUN", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub dry_run: bool,
    /// Print all commands of the plan in full
    #[arg(long, requires = "dry_run", env = "PKGAPP_COMMANDS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub commands: bool,
    /// Become root with sudo [default: `[deploy.NAME] sudo`]
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Deploy a tarball to DIR without root [default: `[deploy.NAME] into`]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env = true)]
    pub into: Option<String>,
    /// Switch hosts in cumulative batches, such as `1,25%,100%` [default: `[deploy.NAME] batches`]
    #[arg(long, value_name = "N|N%,…", value_delimiter = ',', env = "PKGAPP_BATCHES", hide_env = true, value_parser = batch)]
    pub batches: Vec<pkgapp_config::BatchSize>,
    /// Tolerate N failed hosts [default: `[deploy.NAME] max-failed`]
    #[arg(long, value_name = "N", env = "PKGAPP_MAX_FAILED", hide_env = true)]
    pub max_failed: Option<u32>,
    /// Leave hosts on the new version if others fail
    #[arg(long, env = "PKGAPP_KEEP", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub keep: bool,
    /// Choose who confirms a release that works: `auto` (this command, over a new connection),
    /// `manual` (`pkgapp confirm`), or `off` [default: `[deploy.NAME] confirm`]
    #[arg(
        long,
        value_name = "WHO",
        env = "PKGAPP_CONFIRM",
        hide_env = true,
        value_parser = confirm
    )]
    pub confirm: Option<pkgapp_config::ConfirmMode>,
    /// Return hosts to the previous release if nobody confirms within TIME, such as `10min`
    /// [default: `[deploy.NAME] confirm-within`, or 2min for `auto` and 15min for `manual`]
    #[arg(
        long,
        value_name = "TIME",
        env = "PKGAPP_CONFIRM_WITHIN",
        hide_env = true,
        value_parser = probation
    )]
    pub confirm_within: Option<Duration>,
    /// Continue without unreachable hosts
    #[arg(long, env = "PKGAPP_SKIP_UNREACHABLE", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub skip_unreachable: bool,
    /// Wait up to SECONDS for other pushes and for the package manager's lock [default:
    /// `[deploy.NAME] wait`]
    #[arg(long, value_name = "SECONDS", env = "PKGAPP_WAIT", hide_env = true)]
    pub wait: Option<u32>,
    /// Try to reach a lost host again for SECONDS
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = RECONNECT_S,
        env = "PKGAPP_RECONNECT",
        hide_env = true
    )]
    pub reconnect: u32,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Become root with sudo [default: `[deploy.NAME] sudo`]
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Confirm a release that is deployed to DIR without root [default: `[deploy.NAME] into`]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env = true)]
    pub into: Option<String>,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

impl ConfirmArgs {
    /// Returns the options of the rollout that confirms.
    pub fn rollout(&self) -> RolloutArgs {
        RolloutArgs {
            dry_run: false,
            commands: false,
            sudo: self.sudo,
            into: self.into.clone(),
            batches: Vec::new(),
            max_failed: None,
            keep: false,
            confirm: None,
            confirm_within: None,
            skip_unreachable: false,
            wait: None,
            reconnect: RECONNECT_S,
            hosts: self.hosts.clone(),
        }
    }
}

/// Reads who confirms a release.
fn confirm(text: &str) -> Result<pkgapp_config::ConfirmMode, String> {
    let names = pkgapp_config::ConfirmMode::NAMES;
    let known = names.iter().find(|(name, _)| *name == text);
    known
        .map(|(_, confirm)| *confirm)
        .ok_or_else(|| "expected `auto`, `manual`, or `off`".to_owned())
}

/// Reads how long a release is in probation.
fn probation(text: &str) -> Result<Duration, String> {
    let span = pkgapp_config::TimeSpan::parse(text).map_err(|error| error.message().to_owned())?;
    let shortest = pkgapp_config::SHORTEST_PROBATION;
    if span.duration < shortest {
        return Err(format!("it must be at least {}s", shortest.as_secs()));
    }
    Ok(span.duration)
}

/// Reads a number or a percentage of hosts.
fn batch(text: &str) -> Result<pkgapp_config::BatchSize, String> {
    let share = |digits: &str| {
        digits
            .parse()
            .ok()
            .filter(|share| (1..=100).contains(share))
    };
    let batch = match text.strip_suffix('%') {
        Some(digits) => share(digits).map(pkgapp_config::BatchSize::Percent),
        None => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .map(pkgapp_config::BatchSize::Hosts),
    };
    batch.ok_or_else(|| "expected a number of hosts, or a percentage from 1% to 100%".to_owned())
}

/// Arguments of `pkgapp status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Query hosts as root with sudo [default: `[deploy.NAME] sudo`]
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Query releases that are deployed to DIR without root [default: `[deploy.NAME] into`]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env = true)]
    pub into: Option<String>,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Deployment to use (`[deploy.NAME]`)
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env = true)]
    pub name: Option<String>,
    /// Show the last N entries of each host
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 20,
        env = "PKGAPP_LINES",
        hide_env = true
    )]
    pub lines: u32,
    /// Query hosts as root with sudo [default: `[deploy.NAME] sudo`]
    #[arg(long, env = "PKGAPP_SUDO", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Query releases that are deployed to DIR without root [default: `[deploy.NAME] into`]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env = true)]
    pub into: Option<String>,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory to write to
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Arguments of `pkgapp completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to generate the script for
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use pkgapp_deploy::rollout::HOOK_VARIABLES;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn few_variables_are_documented() {
        let is_documented = |option: &clap::Arg| !option.is_hide_env_set();
        let command = Cli::command();
        let commands = command.get_subcommands().chain([&command]);
        let documented: std::collections::BTreeSet<_> = commands
            .flat_map(clap::Command::get_arguments)
            .filter(|option| is_documented(option))
            .filter_map(clap::Arg::get_env)
            .collect();
        assert!(documented.len() <= 17, "{documented:?}");
    }

    #[test]
    fn no_option_takes_a_variable_of_hooks_for_its_own() {
        let command = Cli::command();
        let options = command
            .get_subcommands()
            .chain([&command])
            .flat_map(clap::Command::get_arguments);
        for variable in options.filter_map(clap::Arg::get_env) {
            assert!(
                !HOOK_VARIABLES.contains(&variable.to_str().unwrap()),
                "{variable:?}"
            );
        }
    }
}
