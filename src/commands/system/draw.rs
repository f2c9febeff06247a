//! `pkgapp system graph` and `pkgapp system export`: an environment for people and for other tools.

use std::io::Write;
use std::path::Path;

use crate::cli::{ExportTool, GraphFormat, SystemExportArgs, SystemGraphArgs};
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::fs;
use pkgapp_core::report::Report;
use pkgapp_system::{export, graph};

use super::OpenSystem;

/// Draws an environment.
pub(super) fn graph(
    system: &OpenSystem<'_>,
    args: &SystemGraphArgs,
    report: &Report,
) -> Result<()> {
    let environment = system.model.environment(&args.environment)?;
    let resolved = system.resolve(environment)?;
    let text = match args.format {
        GraphFormat::Svg => graph::svg(&resolved),
        GraphFormat::Dot => graph::dot(&resolved),
        GraphFormat::Json => format!("{:#}\n", resolved.to_json()),
    };
    output(&text, args.output.as_deref(), report)
}

/// Exports an environment.
pub(super) fn export(
    system: &OpenSystem<'_>,
    args: &SystemExportArgs,
    report: &Report,
) -> Result<()> {
    let environment = system.model.environment(&args.environment)?;
    let resolved = system.resolve(environment)?;
    let host = args.host.as_deref().unwrap_or_default();
    let text = match args.tool {
        ExportTool::Prometheus => export::prometheus(&resolved),
        ExportTool::Ansible => export::ansible(&resolved, environment.policy.sudo),
        ExportTool::Hosts => export::hosts(&resolved)?,
        ExportTool::Nftables => export::nftables(&resolved, host)?,
    };
    output(&text, args.output.as_deref(), report)
}

pub(super) fn output(text: &str, file: Option<&Path>, report: &Report) -> Result<()> {
    let Some(file) = file else {
        report.text(text);
        return Ok(());
    };
    fs::write_atomically(file, |output| {
        let written = output.write_all(text.as_bytes());
        written.context(|| format!("cannot write `{}`", shown(file)))
    })?;
    report.result(&shown(file).to_string());
    Ok(())
}
