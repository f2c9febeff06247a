//! The commands: each turns its arguments into domain types, calls the stages in order, and prints
//! their results.

mod bootstrap;
mod build;
mod cache;
mod check;
mod confirm;
mod diff;
mod explain;
mod export;
mod get;
mod init;
mod inspect;
mod lock;
mod locked_recipes;
mod logs;
mod manual;
mod push;
mod put;
mod recipe;
mod render;
mod rollback;
mod run;
mod runtime;
mod schema;
mod secrets;
mod settings;
mod status;
mod system;
mod targets;

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use self::locked_recipes::LockedRecipes;
use crate::cli::{
    Cli, CliCommand, CompletionsArgs, GlobalOptions, HostArgs, RuntimeCommand, SettingArgs,
    TargetArgs,
};
use pkgapp_config::{Config, ConfigDraft, Deploy, ProjectFacts};
use pkgapp_core::cache::Cache;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::report::Report;
use pkgapp_deploy::fleet::{self, Fleet};
use pkgapp_detect::Survey;

/// Runs the given command.
///
/// # Errors
/// The command fails; the kind of the error is the exit code.
pub fn run(cli: &Cli, report: &Report) -> Result<()> {
    match &cli.command {
        CliCommand::Init(args) => init::init(args, &cli.global, report),
        CliCommand::Build(args) => build::build(args, &cli.global, report),
        CliCommand::Runtime(RuntimeCommand::Build(args)) => {
            runtime::build(args, &cli.global, report)
        }
        CliCommand::Lock(args) => lock::lock(args, &cli.global, report),
        CliCommand::Explain(args) => explain::explain(args, &cli.global, report),
        CliCommand::Schema(args) => {
            schema::print(args, report);
            Ok(())
        }
        CliCommand::Inspect(args) => inspect::inspect(args, report),
        CliCommand::Diff(args) => diff::diff(args, report),
        CliCommand::Check(args) => check::check(args, &cli.global, report),
        CliCommand::Render(args) => render::render(args, &cli.global, report),
        CliCommand::Cache(args) => cache::cache(args, &cli.global, report),
        CliCommand::Run(args) => run::run(args, &cli.global, report),
        CliCommand::Put(args) => put::put(args, &cli.global, report),
        CliCommand::Get(args) => get::get(args, &cli.global, report),
        CliCommand::System(args) => system::system(args, &cli.global, report),
        CliCommand::Secrets(command) => secrets::secrets(command, &cli.global, report),
        CliCommand::Logs(args) => logs::logs(args, &cli.global, report),
        CliCommand::Bootstrap(args) => bootstrap::bootstrap(args, &cli.global, report),
        CliCommand::Push(args) => push::push(args, &cli.global, report),
        CliCommand::Rollback(args) => rollback::rollback(args, &cli.global, report),
        CliCommand::Confirm(args) => confirm::confirm(args, &cli.global, report),
        CliCommand::Status(args) => status::status(args, &cli.global, report),
        CliCommand::History(args) => status::history(args, &cli.global, report),
        CliCommand::Completions(args) => {
            complete(args, report);
            Ok(())
        }
        CliCommand::Man(args) => manual::write(&args.directory, report),
    }
}

/// Prints a completion script.
fn complete(args: &CompletionsArgs, report: &Report) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pkgapp", &mut script);
    report.data(pkgapp_core::process::Stream::Stdout, &script);
}

/// Loads the configuration, with the target and the values of settings of the command line.
fn load_aimed(
    target: &TargetArgs,
    settings: &SettingArgs,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Config> {
    let recipes = LockedRecipes::new(target, global, report);
    load_with(&recipes)?
        .aimed(&target.target, target.arch, target.python)?
        .with_values(&settings.set)
}

/// Loads the configuration; warns of deprecated keys.
fn load_app(global: &GlobalOptions, report: &Report) -> Result<Config> {
    load_with(&LockedRecipes::new(&TargetArgs::default(), global, report))
}

/// Loads the configuration with the recipes of its lock; warns of deprecated keys.
fn load_with(recipes: &LockedRecipes<'_>) -> Result<Config> {
    let file = recipes.global.config.as_deref();
    let draft = ConfigDraft::read(file, &working_directory()?)?;
    let facts = if draft.has_recipe() {
        Survey::of(draft.root())?.facts
    } else {
        ProjectFacts::default()
    };
    let app = draft.finish_with(&facts, recipes)?;
    for warning in &app.warnings {
        let place = warning
            .location()
            .map_or_else(String::new, |at| format!("{at}: "));
        let text = format!("{place}{}", warning.message());
        recipes.report.warning(&text);
    }
    Ok(app)
}

/// Loads the configuration and its `[deploy.NAME]` if one is named; hosts can be used without a
/// configuration.
fn load_deploy(
    name: Option<&str>,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Option<(Config, Deploy)>> {
    let Some(name) = name else { return Ok(None) };
    let app = load_app(global, report)?;
    let deploy = fleet::deploy_named(&app, name)?.clone();
    Ok(Some((app, deploy)))
}

/// Opens the hosts of a command.
fn open_fleet<'r>(
    args: &HostArgs,
    deploy: Option<&(Config, Deploy)>,
    command: &str,
    report: &'r Report,
) -> Result<Fleet<'r>> {
    let root = deploy.map_or(Path::new(""), |(app, _)| &app.root);
    Fleet::open(
        &args.options(),
        deploy.map(|(_, deploy)| deploy),
        root,
        command,
        report,
    )
}

fn open_cache(global: &GlobalOptions, report: &Report) -> Result<Cache> {
    let cache = match &global.cache_dir {
        Some(root) => Cache::open(root)?,
        None => Cache::open(&Cache::default_root()?)?,
    };
    if let Some(concern) = cache.concern() {
        report.warning(concern);
    }
    Ok(cache)
}

fn working_directory() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|error| Error::new("cannot determine the working directory").cause(error))
}
