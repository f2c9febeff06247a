//! `pkgapp inspect`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::InspectArgs;
use pkgapp_config::PruneProfile;
use pkgapp_core::error::{Context, Result, shown};
use pkgapp_core::report::{OutputStyle, Report, human_bytes, visible_line};
use pkgapp_format::read::{ArtifactEntry, ListedKind, PackageReader};
use pkgapp_release::prune::PruneSavings;
use pkgapp_release::release::ReleaseRecord;

pub(super) fn inspect(args: &InspectArgs, report: &Report) -> Result<()> {
    let artifact = PackageReader::open(&args.file)?;
    if args.files {
        let mut entries = artifact.entries()?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        match report.style() {
            OutputStyle::Text => report.text(
                &entries
                    .iter()
                    .map(|entry| format!("{}\n", visible_line(&entry.line())))
                    .collect::<String>(),
            ),
            OutputStyle::Json => entries
                .iter()
                .for_each(|entry| report.json(&entry_json(entry))),
        }
        return Ok(());
    }
    let record = record(&artifact)?;
    match report.style() {
        OutputStyle::Text => report.text(&text(&artifact, record.as_ref())),
        OutputStyle::Json => report.json(&artifact_json(&artifact, record.as_ref())),
    }
    Ok(())
}

/// Reads the release record of a package; `None` if pkgapp did not build the package.
pub(super) fn record(artifact: &PackageReader) -> Result<Option<ReleaseRecord>> {
    let Some(bytes) = artifact.release_record()? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).context(|| {
        format!(
            "invalid release record `.pkgapp/release.json` in `{}`",
            shown(&artifact.path)
        )
    })
}

fn text(artifact: &PackageReader, record: Option<&ReleaseRecord>) -> String {
    let mut text = summary(artifact, record);
    section(
        &mut text,
        "Depends",
        artifact.depends.iter().map(String::as_str),
    );
    for (name, body) in &artifact.scriptlets {
        section(&mut text, &format!("Scriptlet {name}"), body.lines());
    }
    if let Some(record) = record {
        let lines = distributions(record);
        section(&mut text, "Distributions", lines.iter().map(String::as_str));
    }
    text
}

/// Returns the properties of a package, one per line.
fn summary(artifact: &PackageReader, record: Option<&ReleaseRecord>) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let mut line =
        |label: &str, value: &str| _ = writeln!(text, "{label:<14}{}", visible_line(value));
    line("Name", &artifact.name);
    line("Version", &artifact.version);
    line("Architecture", artifact.arch.as_deref().unwrap_or("-"));
    if let Some(summary) = &artifact.summary {
        line("Summary", summary);
    }
    line(
        "Size",
        &format!("{} ({})", human_bytes(artifact.size), artifact.compression),
    );
    if let Some(record) = record {
        match &record.interpreter {
            Some(interpreter) => line(
                "Python",
                &format!("{} ({})", interpreter.version, interpreter.home),
            ),
            None => {
                if let Some(python) = record.python {
                    line("Python", &python.to_string());
                }
            }
        }
        line("Commit", record.commit.as_deref().unwrap_or("-"));
    }
    text
}

/// Returns one line for each distribution, in columns.
fn distributions(record: &ReleaseRecord) -> Vec<String> {
    let all = record.distributions.iter();
    let names = all.clone().map(|d| d.name.len() + d.version.len());
    let width = names.max().unwrap_or(0) + 1;
    all.map(|d| {
        let name = format!("{} {}", d.name, d.version);
        format!(
            "{name:<width$}  {:>9}  {}{}",
            human_bytes(d.size),
            d.wheel,
            pruned(&d.pruned)
        )
    })
    .collect()
}

/// Describes the savings of pruning, e.g. `, less 1.2 MB (tests 1.0 MB, stubs 0.2 MB)`.
fn pruned(saved: &BTreeMap<PruneProfile, PruneSavings>) -> String {
    if saved.is_empty() {
        return String::new();
    }
    format!(", less {}", pkgapp_release::prune::told(saved))
}

fn section<'a>(text: &mut String, heading: &str, lines: impl Iterator<Item = &'a str>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    // Writing to a String does not fail.
    _ = writeln!(text, "\n{}", visible_line(heading));
    for line in lines {
        _ = writeln!(text, "{}", format!("  {}", visible_line(line)).trim_end());
    }
}

fn artifact_json(artifact: &PackageReader, record: Option<&ReleaseRecord>) -> Value {
    json!({
        "path": artifact.path,
        "name": artifact.name,
        "version": artifact.version,
        "architecture": artifact.arch,
        "summary": artifact.summary,
        "size": artifact.size,
        "compression": artifact.compression,
        "depends": artifact.depends,
        "scriptlets": artifact.scriptlets.iter().cloned().map(|(name, body)| (name, body.into())).collect::<serde_json::Map<_, _>>(),
        "release": record,
    })
}

fn entry_json(entry: &ArtifactEntry) -> Value {
    let (kind, size, sha256, target) = match &entry.kind {
        ListedKind::Directory => ("directory", None, None, None),
        ListedKind::File { size, sha256 } => ("file", Some(size), Some(sha256), None),
        ListedKind::Symlink(target) => ("symlink", None, None, Some(target)),
        ListedKind::Other => ("other", None, None, None),
    };
    json!({
        "path": entry.path,
        "kind": kind,
        "mode": format!("{:04o}", entry.mode),
        "user": entry.owner.0,
        "group": entry.owner.1,
        "size": size,
        "sha256": sha256,
        "target": target,
        "config": entry.config,
        "mtime": entry.mtime,
    })
}
