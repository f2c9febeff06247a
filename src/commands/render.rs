//! `pkgapp render`: the text files that a build generates.

use std::path::Path;

use crate::assembly::configuration::SoftwarePackage;
use crate::assembly::{self, AssemblyOptions};
use crate::cli::{GlobalOptions, RenderArgs};
use pkgapp_config::Config;
use pkgapp_core::content::Bytes;
use pkgapp_core::error::{Context, Result};
use pkgapp_core::fs;
use pkgapp_core::report::{OutputStyle, Report};
use pkgapp_deploy::fleet;
use pkgapp_format as format;
use pkgapp_release::package::Package;

use super::build::not_separate;
use super::{load_aimed, open_cache};

pub(super) fn render(args: &RenderArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    let app = load_aimed(&args.target, &args.settings, global, report)?;
    let cache = open_cache(global, report)?;
    let package = assembly::assemble(
        &app,
        &AssemblyOptions {
            cache: &cache,
            offline: global.offline,
            rerun: false,
        },
        report,
    )?;
    let texts = match &args.deployment {
        Some(name) => texts(&configuration(&app, &package, name)?)?,
        None => texts(&package)?,
    };
    if let Some(directory) = &args.output {
        return write(&texts, directory, report);
    }
    match report.style() {
        OutputStyle::Json => {
            report.json(&serde_json::json!(
                texts
                    .iter()
                    .cloned()
                    .collect::<std::collections::BTreeMap<_, _>>()
            ));
        }
        OutputStyle::Text => {
            for (name, text) in &texts {
                report.text(&format!(
                    "==> {name} <==\n{text}{}",
                    if text.ends_with('\n') { "\n" } else { "\n\n" }
                ));
            }
        }
    }
    Ok(())
}

/// Returns the configuration package of a deployment.
fn configuration(app: &Config, software: &Package, name: &str) -> Result<Package> {
    let deployment = fleet::deploy_named(app, name)?;
    if !app.is_separate() {
        return Err(not_separate(app));
    }
    SoftwarePackage::of(software)?.configuration(app, deployment)
}

/// Writes the texts as files below a directory.
fn write(texts: &[(String, String)], directory: &Path, report: &Report) -> Result<()> {
    for (name, text) in texts {
        let path = directory.join(name.trim_start_matches('/'));
        fs::write_atomically(&path, |out| {
            std::io::Write::write_all(out, text.as_bytes())
                .context(|| format!("cannot write `{}`", path.display()))
        })?;
        report.result(&path.display().to_string());
    }
    Ok(())
}

/// Returns the generated text files by path, followed by the control files of each format.
pub(super) fn texts(package: &Package) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for (path, _, content) in package.tree.files() {
        if let Bytes::Memory(bytes) = &content.bytes
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            texts.push((path.to_string(), text.to_owned()));
        }
    }
    for (name, format) in format::FORMATS {
        for (file, text) in format.texts(package)? {
            texts.push((format!("{name}/{file}"), text));
        }
    }
    Ok(texts)
}
