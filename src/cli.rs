//! The command line. Doc comments here are the help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cache;

/// Turn a Python application and its pins into a tarball, a deb or an rpm
///
/// Reads `pkgapp.toml` (or `[tool.pkgapp]` in `pyproject.toml`) in the current directory. Results are printed on stdout,
/// one a line; everything for people goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "pkgapp", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done; 1 it failed and nothing was changed; 2 usage; 3 some hosts changed and some not; \
                        101 a bug in pkgapp"
)]
pub struct Cli {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Read the configuration from this file
    #[arg(long, global = true, value_name = "FILE", env = "PKGAPP_CONFIG", hide_env_values = true)]
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
    pub color: When,
    /// Use nothing but this machine: no index, no download
    #[arg(long, global = true, env = "PKGAPP_OFFLINE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
    /// Keep wheels and layers in this directory
    #[arg(long, global = true, value_name = "DIR", env = "PKGAPP_CACHE_DIR", hide_env_values = true)]
    pub cache_dir: Option<PathBuf>,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// If the output is a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build packages of the application
    ///
    /// Prints the path of each artifact, one a line, on stdout, and nothing else there.
    ///
    /// Example: pkgapp build --format deb --format rpm
    Build(BuildArgs),
    /// Pin what is only partly pinned
    ///
    /// Resolves requirements with uv, or with pip where there is no uv, and writes `pylock.toml` beside the configuration.
    /// Versions that an older one there pins are kept. Prints the lock's path on stdout.
    ///
    /// Example: pkgapp lock && pkgapp build
    Lock(LockArgs),
    /// Show what is in a package
    ///
    /// Prints metadata, dependencies, scriptlets, distributions and sizes of a deb, an rpm or a tarball.
    ///
    /// Example: pkgapp inspect dist/shop_1.4.2-1_amd64.deb --files
    Inspect(InspectArgs),
    /// Check the configuration, the pins and every generated file, and write nothing
    ///
    /// Does all that a build does but for the artifacts, then has systemd-analyze, logrotate, cron and sh read what was
    /// made for them, as far as they are on this machine. Findings are errors.
    ///
    /// Example: pkgapp check
    Check,
    /// Print the text files that a build generates
    ///
    /// Everything that pkgapp writes itself: the release's own files, configuration, and what dpkg and rpm are told.
    ///
    /// Example: pkgapp render | less
    Render(RenderArgs),
    /// Look after the cache of wheels and layers
    ///
    /// Example: pkgapp cache prune --older-than 30d
    Cache(CacheArgs),
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
    #[arg(short, long, value_name = "DIR", env = "PKGAPP_OUTPUT", hide_env_values = true)]
    pub output: Option<PathBuf>,
    /// Use this many threads [default: as many as there are cores]
    #[arg(short, long, value_name = "N", env = "PKGAPP_JOBS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Run `pkgapp lock` first, and build what it pins
    #[arg(long, env = "PKGAPP_LOCK", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub lock: bool,
    /// What `--lock` resolves with [default: uv if it is on PATH, else pip]
    #[arg(long, value_name = "TOOL", env = "PKGAPP_RESOLVER", hide_env_values = true)]
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
}

/// Arguments of `pkgapp lock`.
#[derive(Debug, Default, Args)]
pub struct LockArgs {
    /// Resolve these files [default: the requirements files of the configuration, and the project]
    #[arg(value_name = "FILE", env = "PKGAPP_REQUIREMENTS", hide_env_values = true, value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// Take the newest versions, whatever the old lock pins
    #[arg(short = 'U', long, env = "PKGAPP_UPGRADE", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub upgrade: bool,
    /// What resolves [default: uv if it is on PATH, else pip]
    #[arg(long, value_name = "TOOL", env = "PKGAPP_RESOLVER", hide_env_values = true)]
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
    /// Prints one line for each damaged entry, and fails if there is one. The next build makes it again.
    Verify,
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
    #[arg(short, long, value_name = "DIR", env = "PKGAPP_OUTPUT", hide_env_values = true)]
    pub output: Option<PathBuf>,
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

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
