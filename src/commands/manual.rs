//! `pkgapp man`: manual pages from the help of the commands.

use std::path::Path;

use clap::CommandFactory;

use crate::cli::Cli;
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::report::Report;

/// Writes a page for pkgapp and one for each command.
pub(super) fn write(directory: &Path, report: &Report) -> Result<()> {
    let failed = || format!("cannot write manual pages to `{}`", shown(directory));
    std::fs::create_dir_all(directory).context(failed)?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory).context(failed)?;
    report.result(&shown(directory).to_string());
    Ok(())
}
