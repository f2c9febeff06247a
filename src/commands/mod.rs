//! The commands: each turns its arguments into domain types, calls the stages in order, and prints what they made.

mod build;
mod cache;
mod check;
mod inspect;
mod lock;
mod render;

use std::path::PathBuf;

use clap::CommandFactory;

use crate::app::App;
use crate::cache::Cache;
use crate::cli::{Cli, Command, Global};
use crate::error::{Error, Result};
use crate::report::Report;

/// Runs the command that was given.
///
/// # Errors
/// What the command says; its kind is the exit code.
pub fn run(cli: &Cli, report: &Report) -> Result<()> {
    match &cli.command {
        Command::Build(args) => build::build(args, &cli.global, report),
        Command::Lock(args) => lock::lock(args, &cli.global, report),
        Command::Inspect(args) => inspect::inspect(args, report),
        Command::Check => check::check(&cli.global, report),
        Command::Render(args) => render::render(args, &cli.global, report),
        Command::Cache(args) => cache::cache(args, &cli.global, report),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "pkgapp", &mut script);
            report.text(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

fn load_app(global: &Global) -> Result<App> {
    App::load(global.config.as_deref(), &working_directory()?)
}

fn open_cache(global: &Global) -> Result<Cache> {
    match &global.cache_dir {
        Some(root) => Cache::open(root),
        None => Cache::open(&Cache::default_root()?),
    }
}

fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| Error::new("the working directory is gone").cause(error))
}
