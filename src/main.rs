//! The `pkgapp` program: parses the arguments, runs the command, reports its error, and exits.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use pkgapp::cli::{Cli, ColorChoice, outdated_variables, variables};
use pkgapp::commands;
use pkgapp_core::report::{OutputStyle, Report, Verbosity};

fn main() -> ExitCode {
    limit_arenas();
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.global.variables = variables(&matches);
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    match cli.global.color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let report = Report::new(
        verbosity,
        if cli.global.json {
            OutputStyle::Json
        } else {
            OutputStyle::Text
        },
    );
    for warning in outdated_variables(&matches) {
        report.warning(&warning);
    }
    match commands::run(&cli, &report).and_then(|()| report.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.error(&error);
            ExitCode::from(error.what().exit_code())
        }
    }
}

/// Keeps the memory of a build small.
///
/// glibc's allocator creates an arena for every thread and returns little of it to the system: a
/// first build of half a gigabyte peaks at 220 MB by default and at 145 MB with two arenas, in the
/// same time. mimalloc needs as much as the default.
fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "mallopt(3) is foreign; it takes two numbers and no other thread runs yet"
    )]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
