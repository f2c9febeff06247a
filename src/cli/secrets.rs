//! The arguments of `pkgapp secrets`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{HostArgs, RolloutArgs};

/// The commands below `pkgapp secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Set a secret on hosts
    ///
    /// Reads the value from a prompt without echo or, if stdin is not a terminal, from stdin; one
    /// newline at its end is removed. A secret with `deliver = "file"` may have several lines, and
    /// keeps their last newline. Restarts the enabled, running services that read the secrets,
    /// batch after batch, and checks the health of each batch before the next. If too many hosts
    /// fail, all return to the previous value.
    ///
    /// Example: pkgapp secrets set production SHOP_SECRET_KEY
    Set(SecretsSetArgs),
    /// Show which secrets are set on which hosts
    ///
    /// Shows no values: for each secret and host, `set`, `missing`, or `differs` if hosts have
    /// different values.
    ///
    /// Exit code: 4 if a host lacks a required secret.
    ///
    /// Example: pkgapp secrets list production
    List(SecretsListArgs),
    /// Copy secrets from one host to the others
    ///
    /// Copies to the hosts that lack a secret or have another value, as `set` does. Values pass
    /// through the memory of this machine only.
    ///
    /// Example: pkgapp secrets copy production --from web01 SHOP_SECRET_KEY
    Copy(SecretsCopyArgs),
    /// Generate a secret on one host and set it on all
    ///
    /// The value has letters, digits, `-`, and `_`. Refuses to replace a secret without `--force`.
    ///
    /// Example: pkgapp secrets generate production SHOP_SECRET_KEY
    Generate(SecretsGenerateArgs),
}

/// Arguments of `pkgapp secrets set`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct SecretsSetArgs {
    /// Deployment to use (`[deploy.NAME]`); optional with `--hosts`
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Environment variable of the secret
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Take the value of the environment variable VAR of this machine
    #[arg(long, value_name = "VAR", conflicts_with_all = ["file", "sops"])]
    pub env: Option<String>,
    /// Read the value from FILE
    #[arg(long, value_name = "FILE", conflicts_with = "sops")]
    pub file: Option<PathBuf>,
    /// Decrypt FILE with sops; `--key` says where the value is
    #[arg(long, value_name = "FILE", requires = "key")]
    pub sops: Option<PathBuf>,
    /// Place of the value in the file of `--sops`: `database.password`, or as `sops --extract`
    /// reads it
    #[arg(long, value_name = "KEY", requires = "sops")]
    pub key: Option<String>,
    /// The options of all commands that change secrets.
    #[command(flatten)]
    pub change: SecretsChangeArgs,
}

/// Arguments of `pkgapp secrets list`.
#[derive(Debug, Args)]
pub struct SecretsListArgs {
    /// Deployment to use (`[deploy.NAME]`); optional with `--hosts`
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Query hosts as root with sudo [default: `[deploy.NAME] sudo`]
    #[arg(long)]
    pub sudo: bool,
    /// Query releases that are deployed to DIR without root [default: `[deploy.NAME] into`]
    #[arg(long, value_name = "DIR")]
    pub into: Option<String>,
    /// The hosts to use.
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// Arguments of `pkgapp secrets copy`.
#[derive(Debug, Args)]
pub struct SecretsCopyArgs {
    /// Deployment to use (`[deploy.NAME]`), and secrets to copy [default: all that HOST has]
    #[arg(value_name = "TARGET|NAME")]
    pub what: Vec<String>,
    /// Host to copy from, as the deployment or `--hosts` names it
    #[arg(long, value_name = "HOST")]
    pub from: String,
    /// The options of all commands that change secrets.
    #[command(flatten)]
    pub change: SecretsChangeArgs,
}

/// Arguments of `pkgapp secrets generate`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct SecretsGenerateArgs {
    /// Deployment to use (`[deploy.NAME]`); optional with `--hosts`
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Environment variable of the secret
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Generate N characters
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(16..=4096))]
    pub length: u16,
    /// Replace the secret on hosts that have it
    #[arg(long)]
    pub force: bool,
    /// The options of all commands that change secrets.
    #[command(flatten)]
    pub change: SecretsChangeArgs,
}

/// The options of all commands that change secrets.
#[derive(Debug, Args)]
pub struct SecretsChangeArgs {
    /// Allow a name that the configuration does not declare
    #[arg(long)]
    pub allow_undeclared: bool,
    /// Do not restart the services that read the secrets
    #[arg(long)]
    pub no_restart: bool,
    /// The options of the rollout.
    #[command(flatten)]
    pub rollout: RolloutArgs,
}
