//! `pkgapp build`.

use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::app::{App, TarCompression};
use crate::assembly::{self, Options};
use crate::cache::Cache;
use crate::cli::{BuildArgs, FormatName, Global};
use crate::digest::Digest;
use crate::error::{Context, Error, Result, shown};
use crate::format::{self, Format};
use crate::fs;
use crate::layer;
use crate::package::Package;
use crate::report::{Report, Stage, Style, human_bytes};

use super::{load_app, open_cache};

pub(super) fn build(args: &BuildArgs, global: &Global, report: &Report) -> Result<()> {
    if let Some(jobs) = args.jobs {
        // It fails if the pool exists already, which is so in tests only.
        _ = rayon::ThreadPoolBuilder::new().num_threads(usize::from(jobs)).build_global();
    }
    let app = load_app(global)?;
    let cache = open_cache(global)?;
    let (package, artifacts) = match make(args, global, &app, &cache, report) {
        // Whatever failed may have failed for want of them. Made anew, they are whole.
        Err(_) if layer::forget_torn(&cache)? => {
            report.warning("layers of the cache were damaged; they are made anew");
            make(args, global, &app, &cache, report)?
        }
        made => made?,
    };
    match report.style() {
        Style::Text => artifacts.iter().for_each(|(_, path, _)| report.result(&shown(path).to_string())),
        Style::Json => report.json(&json(&package, &artifacts, report)),
    }
    // The artifacts are there, whatever becomes of the cache.
    match report.timed("cache", |_| cache.trim(args.cache_max_size)) {
        Ok(pruned) => pruned.iter().for_each(|pruned| report.step(&super::cache::told(pruned))),
        Err(error) => report.warning(&format!("the cache could not be made smaller: {}", error.message())),
    }
    report.stage_table();
    Ok(())
}

/// What was written: the format's name, where, and what it is.
type Artifact = (&'static str, PathBuf, Digest);

fn make(
    args: &BuildArgs,
    global: &Global,
    app: &App,
    cache: &Cache,
    report: &Report,
) -> Result<(Package, Vec<Artifact>)> {
    let options = Options { cache, offline: global.offline, rerun: args.rerun };
    let package = assembly::assemble(app, &options, report)?;
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    let mut artifacts = Vec::new();
    let formats = formats(&args.format, app)?;
    // What a format can't carry shows before anything is written.
    for (_, format) in &formats {
        format.texts(&package)?;
    }
    for (name, format) in formats {
        let path = output.join(format.file_name(&package.meta)?);
        let digest = report.timed(name, |facts| {
            let _busy = report.busy(&format!("writing {name}"));
            let digest = write(format, &package, &path)?;
            facts.bytes = Some(digest.size);
            Ok::<_, Error>(digest)
        })?;
        report.step(&format!("{name}: {}", human_bytes(digest.size)));
        artifacts.push((name, path, digest));
    }
    Ok((package, artifacts))
}

/// The formats that were asked for, each once, in the order of the command line.
fn formats(names: &[FormatName], app: &App) -> Result<Vec<(&'static str, &'static dyn Format)>> {
    let tar = match app.package.tar {
        TarCompression::Zst => "tar.zst",
        TarCompression::Gz => "tar.gz",
    };
    let mut wanted: Vec<&'static str> = Vec::new();
    for name in names {
        match name {
            FormatName::Tar => wanted.push(tar),
            FormatName::TarZst => wanted.push("tar.zst"),
            FormatName::TarGz => wanted.push("tar.gz"),
            FormatName::Deb => wanted.push("deb"),
            FormatName::Rpm => wanted.push("rpm"),
            FormatName::All => wanted.extend([tar, "deb", "rpm"]),
        }
    }
    let mut formats: Vec<(&'static str, &'static dyn Format)> = Vec::new();
    for name in wanted {
        if !formats.iter().any(|(known, _)| *known == name) {
            let format = format::by_name(name).ok_or_else(|| Error::bug(format!("there is no format `{name}`")))?;
            formats.push((name, format));
        }
    }
    Ok(formats)
}

fn write(format: &dyn Format, package: &Package, path: &Path) -> Result<Digest> {
    fs::write_atomically(path, |out| {
        format.write(package, out)?;
        let failed = || format!("cannot read `{}` back", shown(path));
        out.seek(SeekFrom::Start(0)).context(failed)?;
        Digest::of_reader(out.get_mut()).context(failed)
    })
}

fn json(package: &Package, artifacts: &[Artifact], report: &Report) -> serde_json::Value {
    let artifacts: Vec<_> = artifacts
        .iter()
        .map(|(format, path, digest)| {
            serde_json::json!({
                "format": format,
                "path": path,
                "size": digest.size,
                "sha256": digest.sha256,
            })
        })
        .collect();
    let mut document = serde_json::json!({
        "name": package.meta.name,
        "version": package.meta.version.to_string(),
        "commit": package.meta.commit,
        "artifacts": artifacts,
    });
    // Times are of this build alone, and a document that is compared with another one's should not have them.
    if report.is_verbose() {
        document["stages"] = report.stages().iter().map(stage).collect();
    }
    document
}

fn stage(stage: &Stage) -> serde_json::Value {
    let (cached, of) = stage.facts.cached.unzip();
    serde_json::json!({
        "name": stage.name,
        "wall_s": stage.wall.as_secs_f64(),
        "cpu_s": stage.cpu.as_secs_f64(),
        "bytes": stage.facts.bytes,
        "cached": cached,
        "of": of,
    })
}
