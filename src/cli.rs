//! The command line. Doc comments here are the help texts.

#![expect(
    rustdoc::broken_intra_doc_links,
    reason = "the texts are for terminals, where brackets are no links"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use pkgapp_core::cache;
use pkgapp_core::error::Error;
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_core::target::{self, Target};
use pkgapp_deploy::fleet::FleetOptions;

/// Turn a Python application and its pins into a tarball, a deb or an rpm, and install it on hosts
///
/// Reads `pkgapp.toml` (or `[tool.pkgapp]` in `pyproject.toml`) in the current directory. Results
/// are printed on stdout, one a line; everything for people goes to stderr.
#[derive(Debug, Parser)]
#[command(
    name = "pkgapp",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done; 1 it failed and nothing was changed; 2 usage; 3 some hosts changed and some not; \
                        101 a bug in pkgapp"
)]
pub struct Cli {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct GlobalOptions {
    /// Read the configuration from this file
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
    /// Print what the steps are made of; `--quiet` is stronger
    #[arg(short, long, global = true, env = "PKGAPP_VERBOSE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub verbose: bool,
    /// Colour the output
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "PKGAPP_COLOR",
        hide_env_values = true
    )]
    pub color: ColorChoice,
    /// Use nothing but this machine: no index, no download
    #[arg(long, global = true, env = "PKGAPP_OFFLINE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Keep wheels and layers in this directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PKGAPP_CACHE_DIR",
        hide_env_values = true
    )]
    pub cache_dir: Option<PathBuf>,
}

/// When to colour.
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
    /// Look at a project and write a `pkgapp.toml` that builds
    ///
    /// Finds the framework (Django, Flask, FastAPI, Pyramid, Pecan, Celery), the pins, the Python
    /// and how the application is served. Nothing of the project is run. Prints the path of the
    /// file.
    ///
    /// Example: pkgapp init && pkgapp build
    Init(InitArgs),
    /// Build packages of the application
    ///
    /// Prints the path of each artifact, one a line, on stdout, and nothing else there.
    ///
    /// Example: pkgapp build --format deb --format rpm
    Build(BuildArgs),
    /// Build the package of a Python that applications share
    ///
    /// Example: pkgapp runtime build --format deb
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Pin what is only partly pinned
    ///
    /// Resolves requirements with uv, or with pip where there is no uv, and writes `pylock.toml`
    /// beside the configuration. Versions that an older one there pins are kept. Prints the
    /// lock's path on stdout.
    ///
    /// Example: pkgapp lock && pkgapp build
    Lock(LockArgs),
    /// Show what is in a package
    ///
    /// Prints metadata, dependencies, scriptlets, distributions and sizes of a deb, an rpm or a
    /// tarball.
    ///
    /// Example: pkgapp inspect dist/shop_1.4.2-1_amd64.deb --files
    Inspect(InspectArgs),
    /// Show what differs between two packages
    ///
    /// Versions, distributions, dependencies, scriptlets and files; dates of files are left out.
    ///
    /// Example: pkgapp diff dist/shop_1.4.1-1_amd64.deb dist/shop_1.4.2-1_amd64.deb
    Diff(DiffArgs),
    /// Check everything that can fail, and write nothing
    ///
    /// Does all that a build does but for the artifacts, then has systemd-analyze, logrotate, cron
    /// and sh read what was made for them, as far as they are on this machine. With NAME, also
    /// what `[deploy.NAME]` asks for: a commit with the version's tag if it is protected.
    /// Checks go on after one has failed. Findings are errors.
    ///
    /// With `--targets` it only looks which files there are for which target.
    ///
    /// Example: pkgapp check production --env .venv --reach
    ///
    /// Example: pkgapp check --targets --target debian12,el9 --arch x86_64,aarch64
    Check(CheckArgs),
    /// Print the text files that a build generates
    ///
    /// Everything that pkgapp writes itself: the release's own files, configuration, and what dpkg
    /// and rpm are told.
    ///
    /// Example: pkgapp render | less
    Render(RenderArgs),
    /// Look after the cache of wheels and layers
    ///
    /// Example: pkgapp cache prune --older-than 30d
    Cache(CacheArgs),
    /// Run a command on hosts
    ///
    /// Hosts that print the same are shown together. With one host its output is passed on as it
    /// is.
    ///
    /// Exit code: 0 if the command succeeded on all hosts, 3 if on some, 1 if on none.
    ///
    /// Example: pkgapp run production --only role=web -- systemctl is-active shop-web
    Run(RunArgs),
    /// Put a file on hosts
    ///
    /// The file is written aside, its SHA-256 checked there, and renamed; an interrupted transfer
    /// is continued.
    ///
    /// Example: pkgapp put --hosts web[01:04] --sudo --mode 0644 motd /etc/motd
    Put(PutArgs),
    /// Get a file or a directory from hosts
    ///
    /// It is put below a directory per host, whole or not at all; its path is printed.
    ///
    /// Example: pkgapp get --hosts web[01:04] /var/log/nginx/access.log logs
    Get(GetArgs),
    /// Show what the application's units have logged on hosts
    ///
    /// The journals of all hosts are put in the order of time.
    ///
    /// Example: pkgapp logs production web --follow
    Logs(LogsArgs),
    /// Prepare hosts for pushes
    ///
    /// Makes a user who may use sudo, authorises a key, and makes pkgapp's directory. What is right
    /// already is left alone. Log in as someone who is or may become root.
    ///
    /// Example: pkgapp bootstrap --hosts root@web[01:04] --authorize ~/.ssh/deploy.pub
    Bootstrap(BootstrapArgs),
    /// Install a package on hosts: all of them, or none the worse
    ///
    /// Looks at all hosts first and refuses before anything changes. Then sends the package,
    /// migrates once, and switches hosts in batches, each checked before the next begins; if
    /// too many fail, all go back. Without FILE, each host gets the newest artifact in dist/
    /// that fits its package manager. An interrupted push is continued by the next one.
    ///
    /// Example: pkgapp push production --dry-run
    Push(PushArgs),
    /// Go back to the release before, on hosts
    ///
    /// Installs what the hosts keep from earlier pushes, through the same steps and checks; nothing
    /// is sent. Releases that failed are not gone back to.
    ///
    /// Example: pkgapp rollback production --to 1.4.1
    Rollback(RollbackArgs),
    /// Show what runs where
    ///
    /// For each host the installed version, since when and from which commit; units, and files that
    /// are not as installed.
    ///
    /// Example: pkgapp status production
    Status(StatusArgs),
    /// Show what was pushed, when and by whom
    ///
    /// Hosts keep it in /var/lib/pkgapp/NAME/history.jsonl.
    ///
    /// Example: pkgapp history production
    History(HistoryArgs),
    /// Print a completion script for a shell
    ///
    /// Example: pkgapp completions bash > /etc/bash_completion.d/pkgapp
    Completions(CompletionsArgs),
}

/// Arguments of `pkgapp build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// What to make; may be given more than once
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_delimiter = ',',
        default_value = "all",
        env = "PKGAPP_FORMAT",
        hide_env_values = true
    )]
    pub format: Vec<FormatName>,
    /// Put the artifacts into this directory [default: dist beside the configuration]
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "PKGAPP_OUTPUT",
        hide_env_values = true
    )]
    pub output: Option<PathBuf>,
    /// Use this many threads [default: as many as there are cores]
    #[arg(short, long, value_name = "N", env = "PKGAPP_JOBS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Take files from this directory before any index, as `pkgapp cache export` makes it; may be
    /// given more than once
    #[arg(
        long,
        value_name = "DIR",
        env = "PKGAPP_FIND_LINKS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub find_links: Vec<PathBuf>,
    /// Run `pkgapp lock` first, and build what it pins
    #[arg(long, env = "PKGAPP_LOCK", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub lock: bool,
    /// What `--lock` resolves with [default: uv if it is on PATH, else pip]
    #[arg(
        long,
        value_name = "TOOL",
        env = "PKGAPP_RESOLVER",
        hide_env_values = true
    )]
    pub resolver: Option<Resolver>,
    /// Run the commands of `[build] run` even if it is known from an earlier build what they make
    #[arg(long, env = "PKGAPP_RERUN", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub rerun: bool,
    /// Let the cache grow to this size, e.g. `500MB`, `20GB` or `unlimited`
    ///
    /// After the build, what was not used for longest is removed from it.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = DEFAULT_CACHE_SIZE,
        env = "PKGAPP_CACHE_MAX_SIZE",
        hide_env_values = true,
        value_parser = cache::parse_size
    )]
    pub cache_max_size: u64,
    /// What for.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What is built for, in place of what the configuration says.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Build for these distributions, e.g. `el9` [default: `targets` of `[package]`]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "PKGAPP_TARGET", hide_env_values = true, value_parser = target)]
    pub target: Vec<&'static Target>,
    /// Build for this machine: x86_64 or aarch64 [default: `arch` of `[package]`, else this
    /// machine's]
    #[arg(long, value_name = "ARCH", env = "PKGAPP_ARCH", hide_env_values = true, value_parser = arch)]
    pub arch: Option<Arch>,
    /// Build for this Python, e.g. `3.12` [default: `version` of `[python]`]
    #[arg(long, value_name = "VERSION", env = "PKGAPP_PYTHON", hide_env_values = true, value_parser = python)]
    pub python: Option<PythonMinor>,
}

/// Reads the name of a target.
fn target(name: &str) -> Result<&'static Target, String> {
    target::by_name(name).map_err(|error| error.one_line())
}

/// Reads the name of a machine.
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
    /// Build it from the interpreter that the configuration names
    ///
    /// `interpreter = "shared"` and `path` below `[python]` say which. Applications built with the
    /// same depend on the package, or a newer patch release of it. Prints the path of each
    /// artifact, one a line, on stdout.
    ///
    /// Example: pkgapp runtime build --format deb --format rpm
    Build(RuntimeBuildArgs),
}

/// Arguments of `pkgapp runtime build`.
#[derive(Debug, Args)]
pub struct RuntimeBuildArgs {
    /// What to make; may be given more than once
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_delimiter = ',',
        default_value = "all",
        env = "PKGAPP_FORMAT",
        hide_env_values = true
    )]
    pub format: Vec<FormatName>,
    /// Put the artifacts into this directory [default: dist beside the configuration]
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "PKGAPP_OUTPUT",
        hide_env_values = true
    )]
    pub output: Option<PathBuf>,
    /// Count packages of one version of Python: Debian's revision, rpm's Release
    #[arg(
        long,
        value_name = "REVISION",
        default_value = "1",
        env = "PKGAPP_RUNTIME_REVISION",
        hide_env_values = true
    )]
    pub revision: String,
}

/// Arguments of `pkgapp lock`.
#[derive(Debug, Default, Args)]
pub struct LockArgs {
    /// Resolve these files [default: the requirements files of the configuration, and the project]
    #[arg(
        value_name = "FILE",
        env = "PKGAPP_REQUIREMENTS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub files: Vec<PathBuf>,
    /// Take the newest versions, whatever the old lock pins
    #[arg(short = 'U', long, env = "PKGAPP_UPGRADE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub upgrade: bool,
    /// What resolves [default: uv if it is on PATH, else pip]
    #[arg(
        long,
        value_name = "TOOL",
        env = "PKGAPP_RESOLVER",
        hide_env_values = true
    )]
    pub resolver: Option<Resolver>,
}

/// What resolves requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resolver {
    /// uv, for all platforms at once
    Uv,
    /// pip of the application's Python, for this machine alone
    Pip,
}

/// How large the cache may be unless it is said: some twenty releases of medium size.
const DEFAULT_CACHE_SIZE: &str = "10GB";

/// Arguments of `pkgapp cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What can be done with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Print where the cache is
    Dir,
    /// Print what the cache holds, by kind
    Size,
    /// Remove what was not used for long
    ///
    /// What a running build uses stays, and what killed builds have left goes.
    ///
    /// Example: pkgapp cache prune --older-than 30d --max-size 2GB
    Prune(PruneArgs),
    /// Read all of the cache, and forget what is not what it was
    ///
    /// Prints one line for each damaged entry, and fails if there is one. The next build makes it
    /// again.
    Verify,
    /// Copy all that the application's build takes from elsewhere into a directory
    ///
    /// Wheels and sdists of all pins, wheels of what builds them, and a pylock.toml with their
    /// hashes. With it, `pkgapp build --offline --find-links DIR` makes the same packages on a
    /// machine without network, and pip and uv can install from it.
    ///
    /// Example: pkgapp cache export wheelhouse
    Export(ExportArgs),
}

/// Arguments of `pkgapp cache prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove what was not used for so long, e.g. `12h` or `30d`; uses are noted once a day
    #[arg(
        long,
        value_name = "TIME",
        env = "PKGAPP_CACHE_OLDER_THAN",
        hide_env_values = true,
        value_parser = cache::parse_age
    )]
    pub older_than: Option<Duration>,
    /// Remove what was not used for longest until the rest is no larger than this
    #[arg(
        long,
        value_name = "SIZE",
        default_value = DEFAULT_CACHE_SIZE,
        env = "PKGAPP_CACHE_MAX_SIZE",
        hide_env_values = true,
        value_parser = cache::parse_size
    )]
    pub max_size: u64,
    /// Remove everything
    #[arg(long, env = "PKGAPP_CACHE_ALL", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub all: bool,
}

/// Arguments of `pkgapp cache export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The directory; what an earlier export has put there and is not needed any more is removed
    #[arg(value_name = "DIR", env = "PKGAPP_OUTPUT", hide_env_values = true)]
    pub directory: PathBuf,
}

/// A format's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// A tarball, compressed as `[package] tar` says
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
    /// tar, deb and rpm
    All,
}

/// Arguments of `pkgapp init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The project [default: the current directory]
    #[arg(value_name = "DIR", env = "PKGAPP_PROJECT", hide_env_values = true)]
    pub directory: Option<PathBuf>,
    /// Replace a `pkgapp.toml` that is there
    #[arg(long, env = "PKGAPP_FORCE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub force: bool,
    /// Print the configuration instead of writing it
    #[arg(long, env = "PKGAPP_PRINT", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub print: bool,
}

/// Arguments of `pkgapp diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The package before
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The package after
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// List every file that differs [default: the first 20]
    #[arg(long, env = "PKGAPP_FILES", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub files: bool,
    /// Fail if anything differs
    #[arg(long, env = "PKGAPP_EXIT_CODE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub exit_code: bool,
}

/// Arguments of `pkgapp check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check what this `[deploy.NAME]` asks for, too
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// Compare what is installed in this virtual environment with the pins, both ways
    #[arg(long, value_name = "DIR", env = "PKGAPP_ENV", hide_env_values = true)]
    pub env: Option<PathBuf>,
    /// Reach every host of NAME
    #[arg(long, requires = "name", env = "PKGAPP_REACH", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub reach: bool,
    /// Print which file of every distribution there is for which target, and download and build
    /// nothing
    ///
    /// One column for each of `--target`, `--arch` and `--python` with each of the others; these
    /// may be lists. Fails if something is missing.
    #[arg(long, env = "PKGAPP_TARGETS", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub targets: bool,
    /// Check for these distributions, e.g. `el9` [default: `targets` of `[package]`]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "PKGAPP_TARGET", hide_env_values = true, value_parser = target, help_heading = "Target")]
    pub target: Vec<&'static Target>,
    /// Check for these machines: x86_64, aarch64 [default: `arch` of `[package]`, else this
    /// machine's]
    #[arg(long, value_name = "ARCH,…", value_delimiter = ',', env = "PKGAPP_ARCH", hide_env_values = true, value_parser = arch, help_heading = "Target")]
    pub arch: Vec<Arch>,
    /// Check for these Pythons, e.g. `3.12` [default: `version` of `[python]`]
    #[arg(long, value_name = "VERSION,…", value_delimiter = ',', env = "PKGAPP_PYTHON", hide_env_values = true, value_parser = python, help_heading = "Target")]
    pub python: Vec<PythonMinor>,
    /// How the hosts are reached.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The artifact
    #[arg(value_name = "FILE", env = "PKGAPP_FILE", hide_env_values = true)]
    pub file: PathBuf,
    /// Print one line for every file instead: mode, owner, size, SHA-256 and path
    #[arg(long, env = "PKGAPP_FILES", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub files: bool,
}

/// Arguments of `pkgapp render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Write the files below this directory instead of printing them
    #[arg(
        short,
        long,
        value_name = "DIR",
        env = "PKGAPP_OUTPUT",
        hide_env_values = true
    )]
    pub output: Option<PathBuf>,
    /// What for.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Which hosts, and how to reach them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hosts")]
pub struct HostArgs {
    /// Use these hosts [default: those of NAME]: `a`, `web[01:12]`, `user@host:2222`, `@FILE`, or
    /// `-` for standard input
    #[arg(
        long,
        value_name = "HOST,…",
        value_delimiter = ',',
        env = "PKGAPP_HOSTS",
        hide_env_values = true
    )]
    pub hosts: Vec<String>,
    /// Use only hosts with this label, such as `role=web`, or without it: `role!=web`
    #[arg(
        long,
        value_name = "KEY=VALUE,…",
        value_delimiter = ',',
        env = "PKGAPP_ONLY",
        hide_env_values = true
    )]
    pub only: Vec<String>,
    /// Log in as this user where no other is written [default: as `[deploy.NAME]` or ssh's
    /// configuration says]
    #[arg(
        long,
        value_name = "USER",
        env = "PKGAPP_LOGIN",
        hide_env_values = true
    )]
    pub login: Option<String>,
    /// Use this machine, without ssh
    #[arg(long, conflicts_with_all = ["hosts", "only"], env = "PKGAPP_LOCAL", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub local: bool,
    /// Work on this many hosts at a time
    #[arg(long, value_name = "N", default_value_t = 10, env = "PKGAPP_PARALLEL", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub parallel: u16,
    /// Use this ssh [default: ssh on PATH]
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "PKGAPP_SSH",
        hide_env_values = true
    )]
    pub ssh: Option<PathBuf>,
    /// Let ssh read this configuration instead of the user's and the system's
    #[arg(
        long,
        value_name = "FILE",
        env = "PKGAPP_SSH_CONFIG",
        hide_env_values = true
    )]
    pub ssh_config: Option<PathBuf>,
    /// Wait this many seconds for a connection
    #[arg(long, value_name = "SECONDS", default_value_t = 15, env = "PKGAPP_CONNECT_TIMEOUT", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub connect_timeout: u16,
    /// Give a host this many seconds to answer a question of pkgapp's own, such as what is
    /// installed
    #[arg(long, value_name = "SECONDS", default_value_t = 120, env = "PKGAPP_ANSWER_TIMEOUT", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub answer_timeout: u16,
    /// Read the password for sudo from this file's first line [default: ask, if a host wants one]
    #[arg(
        long,
        value_name = "FILE",
        env = "PKGAPP_SUDO_PASSWORD_FILE",
        hide_env_values = true
    )]
    pub sudo_password_file: Option<PathBuf>,
    /// Keep all that hosts print below this directory [default: pkgapp/logs in the XDG state
    /// directory]
    #[arg(
        long,
        value_name = "DIR",
        env = "PKGAPP_LOG_DIR",
        hide_env_values = true
    )]
    pub log_dir: Option<PathBuf>,
}

impl HostArgs {
    /// Returns them as [`pkgapp_deploy::fleet`] takes them.
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
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// The command and its arguments; no shell reads them
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
    /// Run this script; COMMAND is then its arguments
    #[arg(
        long,
        value_name = "FILE",
        env = "PKGAPP_SCRIPT",
        hide_env_values = true
    )]
    pub script: Option<PathBuf>,
    /// Run it as root, by way of sudo
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Print lines as they come, each with its host
    #[arg(long, env = "PKGAPP_STREAM", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub stream: bool,
    /// End it on a host after this many seconds
    #[arg(long, value_name = "SECONDS", env = "PKGAPP_TIMEOUT", hide_env_values = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The file or directory here; a directory there is replaced as a whole
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The path there; the file keeps its name if this ends in `/`
    #[arg(value_name = "PATH")]
    pub remote: String,
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(
        long = "deploy",
        value_name = "NAME",
        env = "PKGAPP_DEPLOY",
        hide_env_values = true
    )]
    pub name: Option<String>,
    /// The permission bits there, in octal [default: as here]
    #[arg(long, value_name = "MODE", env = "PKGAPP_MODE", hide_env_values = true, value_parser = mode)]
    pub mode: Option<u32>,
    /// The owner there: USER or USER:GROUP [default: who writes it]
    #[arg(long, value_name = "OWNER", env = "PKGAPP_OWNER", hide_env_values = true, value_parser = owner)]
    pub owner: Option<String>,
    /// Write it as root, by way of sudo
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The path there: a file or a directory
    #[arg(value_name = "PATH")]
    pub remote: String,
    /// The directory here; below it comes one per host
    #[arg(value_name = "DIR")]
    pub into: PathBuf,
    /// Take no more than this from a host
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16GB",
        env = "PKGAPP_MAX_SIZE",
        hide_env_values = true,
        value_parser = cache::parse_size
    )]
    pub max_size: u64,
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(
        long = "deploy",
        value_name = "NAME",
        env = "PKGAPP_DEPLOY",
        hide_env_values = true
    )]
    pub name: Option<String>,
    /// Read it as root, by way of sudo
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The `[deploy.NAME]` whose hosts are meant; with `--hosts` it may be left out
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// Show these units only: `web` for shop-web.service and its socket, or a unit's whole name
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
    /// Go on to print what comes
    #[arg(short, long, env = "PKGAPP_FOLLOW", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub follow: bool,
    /// Begin at this time: anything that journalctl takes, such as `-1h` or `yesterday`
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        env = "PKGAPP_SINCE",
        hide_env_values = true
    )]
    pub since: Option<String>,
    /// Show the last N lines of each host [default: 100, or all with `--since`]
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        env = "PKGAPP_LINES",
        hide_env_values = true
    )]
    pub lines: Option<u32>,
    /// Read the journal as root, by way of sudo [default: as `[deploy.NAME]` says]
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Read the journal of releases that are unpacked in this directory, for a login that is not
    /// root [default: as `[deploy.NAME]` says]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env_values = true)]
    pub into: Option<String>,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp bootstrap`.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// Make this user [default: that of `[deploy.NAME]`, else deploy]
    #[arg(long, value_name = "USER", env = "PKGAPP_USER", hide_env_values = true, value_parser = user)]
    pub user: Option<String>,
    /// Let the key of this file (`….pub`) log in as the user; may be given more than once
    #[arg(
        long,
        value_name = "FILE",
        env = "PKGAPP_AUTHORIZE",
        hide_env_values = true
    )]
    pub authorize: Vec<PathBuf>,
    /// Install these packages of the distribution too
    #[arg(
        long,
        value_name = "PACKAGE,…",
        value_delimiter = ',',
        env = "PKGAPP_INSTALL",
        hide_env_values = true
    )]
    pub install: Vec<String>,
    /// Print what would be done, and change nothing
    #[arg(long, env = "PKGAPP_DRY_RUN", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub dry_run: bool,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Reads permission bits.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("write it in octal, as in 0644".into()),
    }
}

/// Reads the name of a user to make: what useradd takes and sudoers need not quote.
fn user(text: &str) -> Result<String, String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(inside)
        && text.len() <= 32
    {
        Ok(text.to_owned())
    } else {
        Err("lower-case letters, digits, `-` and `_`, a letter first, 32 at most".into())
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
        Err("write USER or USER:GROUP".into())
    }
}

/// Arguments of `pkgapp push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The `[deploy.NAME]` whose hosts are meant, and packages [default: the newest in dist/]
    #[arg(value_name = "NAME|FILE")]
    pub what: Vec<String>,
    /// Finish the last push on the hosts that it did not reach or that failed
    #[arg(long, env = "PKGAPP_RESUME", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub resume: bool,
    /// Install the version even if a newer one is installed
    #[arg(long, env = "PKGAPP_ALLOW_DOWNGRADE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_downgrade: bool,
    /// Install the package even if a repository of the host has one of its name, such as your own
    /// repository
    #[arg(long, env = "PKGAPP_ALLOW_SAME_NAME", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_same_name: bool,
    /// Install the package even if another one of the same version is installed
    #[arg(long, env = "PKGAPP_REINSTALL", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub reinstall: bool,
    /// How it is done.
    #[command(flatten)]
    pub rollout: RolloutArgs,
}

/// Arguments of `pkgapp rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// Go to this version [default: the newest that worked before]
    #[arg(
        long,
        value_name = "VERSION",
        env = "PKGAPP_TO",
        hide_env_values = true
    )]
    pub to: Option<String>,
    /// How it is done.
    #[command(flatten)]
    pub rollout: RolloutArgs,
}

/// How hosts are changed.
#[derive(Debug, Clone, Args)]
pub struct RolloutArgs {
    /// Print the plan, and change nothing
    #[arg(long, env = "PKGAPP_DRY_RUN", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub dry_run: bool,
    /// Print every command of the plan whole
    #[arg(long, requires = "dry_run", env = "PKGAPP_COMMANDS", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub commands: bool,
    /// Do root's work with sudo [default: as `[deploy.NAME]` says]
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Unpack releases of a tarball in this directory, for a login that is not root [default: as
    /// `[deploy.NAME]` says]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env_values = true)]
    pub into: Option<String>,
    /// Switch so many hosts, then so many of all, and so on: `1,25%,100%` [default: as
    /// `[deploy.NAME]` says]
    #[arg(long, value_name = "N|N%,…", value_delimiter = ',', env = "PKGAPP_BATCHES", hide_env_values = true, value_parser = batch)]
    pub batches: Vec<pkgapp_config::BatchSize>,
    /// Go on until more than so many hosts have failed [default: as `[deploy.NAME]` says]
    #[arg(
        long,
        value_name = "N",
        env = "PKGAPP_MAX_FAILED",
        hide_env_values = true
    )]
    pub max_failed: Option<u32>,
    /// Leave hosts on the new version when others fail
    #[arg(long, env = "PKGAPP_KEEP", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub keep: bool,
    /// Go on without hosts that can't be reached
    #[arg(long, env = "PKGAPP_SKIP_UNREACHABLE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub skip_unreachable: bool,
    /// Wait so long for another push and for the package manager's lock [default: as
    /// `[deploy.NAME]` says, else 120]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PKGAPP_WAIT",
        hide_env_values = true
    )]
    pub wait: Option<u32>,
    /// Try so long to reach a host again that was lost in the middle
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        env = "PKGAPP_RECONNECT",
        hide_env_values = true
    )]
    pub reconnect: u32,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Reads a number of hosts or a share of them.
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
    batch.ok_or_else(|| "a number of hosts, or a share of them from 1% to 100%".to_owned())
}

/// Arguments of `pkgapp status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// Look as root, by way of sudo [default: as `[deploy.NAME]` says]
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Look at releases that are unpacked in this directory, for a login that is not root
    /// [default: as `[deploy.NAME]` says]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env_values = true)]
    pub into: Option<String>,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The `[deploy.NAME]` whose hosts are meant
    #[arg(value_name = "NAME", env = "PKGAPP_DEPLOY", hide_env_values = true)]
    pub name: Option<String>,
    /// Show so many last entries of each host
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 20,
        env = "PKGAPP_LINES",
        hide_env_values = true
    )]
    pub lines: u32,
    /// Look as root, by way of sudo [default: as `[deploy.NAME]` says]
    #[arg(long, env = "PKGAPP_SUDO", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub sudo: bool,
    /// Look at releases that are unpacked in this directory, for a login that is not root
    /// [default: as `[deploy.NAME]` says]
    #[arg(long, value_name = "DIR", env = "PKGAPP_INTO", hide_env_values = true)]
    pub into: Option<String>,
    /// Which hosts.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
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
