//! The arguments of `pkgapp system`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{FormatName, HostArgs, RolloutArgs};

/// Arguments of `pkgapp system`.
#[derive(Debug, Args)]
pub struct SystemArgs {
    /// Read the model from FILE [default: system.toml in the current directory]
    #[arg(long, value_name = "FILE", global = true)]
    pub system: Option<PathBuf>,
    /// The command to run.
    #[command(subcommand)]
    pub command: SystemCommand,
}

/// The commands below `pkgapp system`.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Check the model and its lock
    ///
    /// Resolves every environment: what runs on which host, at which port, and who uses whom.
    /// Reports all mistakes at once. Contacts no host and writes nothing.
    ///
    /// Example: pkgapp system check
    Check(SystemCheckArgs),
    /// Write the lock of the system
    ///
    /// Keeps ports, placements, and bindings in system.lock beside the model, and changes them only
    /// where the model makes it necessary. Commit the file.
    ///
    /// Example: pkgapp system lock
    Lock(SystemLockArgs),
    /// Build the configuration packages of an environment
    ///
    /// Each application gets one package for all hosts on which it is the same: with the services
    /// that are placed there, their addresses, and the variables by which they find others.
    ///
    /// Example: pkgapp system build production
    Build(SystemBuildArgs),
    /// Print the changes that a deployment would make
    ///
    /// Plans what `pkgapp system apply` with the same options would do, and changes no host. A plan
    /// that was written to a file can be applied with `pkgapp system apply --plan FILE`.
    ///
    /// Exit code: 4 if there is something to do.
    ///
    /// Example: pkgapp system plan production
    Plan(Box<SystemPlanArgs>),
    /// Deploy the applications of an environment
    ///
    /// Builds the configuration packages and deploys them with the software, in stages: backing
    /// services come first, then applications that others require, and sites last. Plans all stages
    /// before changing any host. If a stage fails, all hosts return to their previous packages.
    /// At the end, removes applications from hosts that left the model.
    ///
    /// Exit code: 3 if some hosts changed and some did not.
    ///
    /// Example: pkgapp system apply production
    Apply(Box<SystemApplyArgs>),
    /// Compare the packages on hosts with the model
    ///
    /// Shows the installed packages, units, and changed files of each host, and which packages the
    /// model has instead.
    ///
    /// Exit code: 4 if a host is not healthy, or not as the model has it.
    ///
    /// Example: pkgapp system status production
    Status(SystemStatusArgs),
    /// Return the hosts of an environment to their previous packages
    ///
    /// Goes through the stages of `pkgapp system apply` in reverse, and stops if one fails.
    ///
    /// Example: pkgapp system rollback production
    Rollback(Box<SystemRolloutArgs>),
    /// Draw the hosts and services of an environment
    ///
    /// Hosts are boxes, with their services in them; arrows lead from a service to those that it
    /// uses. Hosts with the same services are one box.
    ///
    /// Example: pkgapp system graph production --output production.svg
    Graph(SystemGraphArgs),
    /// Export an environment for other tools
    ///
    /// Example: pkgapp system export prometheus production
    Export(SystemExportArgs),
}

/// Arguments of `pkgapp system check`.
#[derive(Debug, Args)]
pub struct SystemCheckArgs {
    /// Environment to check [default: all]
    #[arg(value_name = "ENVIRONMENT")]
    pub environments: Vec<String>,
}

/// Arguments of `pkgapp system lock`.
#[derive(Debug, Args)]
pub struct SystemLockArgs {
    /// Do not write the lock; fail if it is out of date
    #[arg(long)]
    pub check: bool,
    /// Forget a host that has left the model, without removing anything from it
    #[arg(long, value_name = "HOST")]
    pub forget: Vec<String>,
}

/// Arguments of `pkgapp system build`.
#[derive(Debug, Args)]
pub struct SystemBuildArgs {
    /// Environment to build
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: String,
    /// Format to build: deb or rpm [default: both]
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    pub format: Vec<FormatName>,
    /// Write the packages to DIR [default: dist/ENVIRONMENT beside the model]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Arguments of `pkgapp system status`.
#[derive(Debug, Args)]
pub struct SystemStatusArgs {
    /// Environment to show
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: String,
    /// Show this application only
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub application: Vec<String>,
    /// Query hosts as root with sudo [default: `[environment.NAME] sudo`]
    #[arg(long)]
    pub sudo: bool,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp system plan`.
#[derive(Debug, Args)]
pub struct SystemPlanArgs {
    /// The options of the deployment.
    #[command(flatten)]
    pub deploy: SystemDeployArgs,
    /// Also write the plan to FILE
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `pkgapp system apply`.
#[derive(Debug, Args)]
pub struct SystemApplyArgs {
    /// The options of the deployment.
    #[command(flatten)]
    pub deploy: SystemDeployArgs,
    /// Change nothing if the plan differs from the one in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub plan: Option<PathBuf>,
}

/// The options of `pkgapp system plan` and `pkgapp system apply`.
#[derive(Debug, Clone, Args)]
pub struct SystemDeployArgs {
    /// Those of `pkgapp system rollback`.
    #[command(flatten)]
    pub on: SystemRolloutArgs,
    /// Deploy to hosts whose last commit is not in this checkout, too
    #[arg(long)]
    pub any_commit: bool,
    /// Replace a newer installed version
    #[arg(long)]
    pub allow_downgrade: bool,
}

/// Arguments of `pkgapp system rollback`.
#[derive(Debug, Clone, Args)]
pub struct SystemRolloutArgs {
    /// Environment to use
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: String,
    /// Use this application only
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub application: Vec<String>,
    /// The options of the rollout.
    #[command(flatten)]
    pub rollout: RolloutArgs,
}

/// Arguments of `pkgapp system graph`.
#[derive(Debug, Args)]
pub struct SystemGraphArgs {
    /// Environment to draw
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: String,
    /// Format of the drawing
    #[arg(long, value_name = "FORMAT", default_value = "svg")]
    pub format: GraphFormat,
    /// Write the drawing to FILE [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A format of `pkgapp system graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A picture for browsers
    Svg,
    /// The language of Graphviz
    Dot,
    /// The resolved system as data
    Json,
}

/// Arguments of `pkgapp system export`.
#[derive(Debug, Args)]
pub struct SystemExportArgs {
    /// Tool to export for
    #[arg(value_name = "TOOL")]
    pub tool: ExportTool,
    /// Environment to export
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: String,
    /// Host to export for; only nftables
    #[arg(long, value_name = "HOST", required_if_eq("tool", "nftables"))]
    pub host: Option<String>,
    /// Write the export to FILE [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A tool of `pkgapp system export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportTool {
    /// Targets for `file_sd_configs` of Prometheus, as JSON
    Prometheus,
    /// An inventory for Ansible, as JSON
    Ansible,
    /// Lines for /etc/hosts
    Hosts,
    /// A table of nftables for a host: only those who use its services may connect to them
    Nftables,
}
