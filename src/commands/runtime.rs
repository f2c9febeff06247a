//! `pkgapp runtime build`.

use crate::assembly;
use crate::cli::{GlobalOptions, RuntimeBuildArgs};
use pkgapp_core::error::Result;
use pkgapp_core::report::Report;

use super::build::{formats, say, write_all};
use super::{load_app, open_cache};

pub(super) fn build(
    args: &RuntimeBuildArgs,
    global: &GlobalOptions,
    report: &Report,
) -> Result<()> {
    let app = load_app(global, report)?;
    let cache = open_cache(global, report)?;
    let revision = pkgapp_config::revision(&args.revision)?;
    let package = assembly::assemble_runtime(&app, &revision, &cache, report)?;
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    let formats = formats(&args.format, &app)?;
    let written = write_all(package, formats, &output, &cache, report)?;
    say(&[written], report);
    Ok(())
}
