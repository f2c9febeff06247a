//! `pkgapp build`.

use std::path::{Path, PathBuf};

use crate::assembly::{self, AssemblyOptions};
use crate::cli::{BuildArgs, FormatName, GlobalOptions, LockArgs};
use pkgapp_config::{ADDED_LOCK, Config, Located, TarCompression};
use pkgapp_core::cache::Cache;
use pkgapp_core::digest::{Sha256Sum, summed};
use pkgapp_core::error::{Error, Location, Result, shown};
use pkgapp_core::report::{OutputStyle, Report, StageRecord, human_bytes};
use pkgapp_core::spare;
use pkgapp_format::segment::Segments;
use pkgapp_format::{self as format, PackageFormat};
use pkgapp_release::layer;
use pkgapp_release::package::Package;

use super::{load_aimed, lock, open_cache, recipe};

pub(super) fn build(args: &BuildArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    if let Some(jobs) = args.jobs {
        // It fails if the pool exists already, which is so in tests only.
        _ = rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(jobs))
            .build_global();
    }
    let mut app = load_aimed(&args.target, global, report)?;
    app.python.wheelhouses = wheelhouses(&args.find_links)?;
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    recipe::warn_of_changes(&app, &output, report);
    let cache = open_cache(global, report)?;
    if args.lock {
        let path = lock::write(
            &app,
            &[],
            &LockArgs {
                resolver: args.resolver,
                ..LockArgs::default()
            },
            &AssemblyOptions {
                cache: &cache,
                offline: global.offline,
                rerun: false,
            },
            report,
        )?;
        // Beside a lock that another tool writes, it is one more.
        app.python
            .requirements
            .retain(|file| path.ends_with(ADDED_LOCK) && file.value != path);
        app.python.requirements.push(Located {
            at: Location::file(&path),
            value: path,
        });
    }
    let (package, artifacts) = match make(args, global, &app, &cache, report) {
        // Whatever failed may have failed for want of them. Made anew, they are whole.
        Err(_) if layer::forget_torn(&cache)? => {
            report.warning("layers of the cache were damaged; they are made anew");
            make(args, global, &app, &cache, report)?
        }
        made => made?,
    };
    say(&package, &artifacts, report);
    // The artifacts are there, whatever becomes of the cache.
    match report.timed("cache", |_| cache.trim(args.cache_max_size)) {
        Ok(pruned) => pruned
            .iter()
            .for_each(|pruned| report.step(&super::cache::told(pruned))),
        Err(error) => report.warning(&format!(
            "the cache could not be made smaller: {}",
            error.message()
        )),
    }
    report.stage_table();
    // The process ends, and giving back what a tree holds takes longer than some of the stages.
    std::mem::forget(package);
    Ok(())
}

/// The directories of `--find-links`, absolute.
fn wheelhouses(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let missing = named.iter().filter(|directory| !directory.is_dir()).map(|directory| {
        Error::new(format!("`--find-links` names `{}`, which is no directory", shown(directory)))
            .hint("`pkgapp cache export DIR` makes one; places on the network belong into a requirements file")
    });
    if let Some(error) = Error::all(missing) {
        return Err(error);
    }
    let absolute = |directory: &PathBuf| {
        directory
            .canonicalize()
            .map_err(|error| Error::new(format!("cannot read `{}`", shown(directory))).cause(error))
    };
    named.iter().map(absolute).collect()
}

/// What was written.
#[derive(Debug)]
pub(super) struct WrittenArtifact {
    /// The format's name.
    format: &'static str,
    path: PathBuf,
    /// Bytes.
    size: u64,
    /// Taken if someone is told: it costs as much as writing a package that is like the last one.
    sha256: Option<Sha256Sum>,
    /// Whether a file of that name was there, with other content.
    changed: bool,
}

/// Prints what was written.
pub(super) fn say(package: &Package, artifacts: &[WrittenArtifact], report: &Report) {
    match report.style() {
        OutputStyle::Text => artifacts
            .iter()
            .for_each(|artifact| report.result(&shown(&artifact.path).to_string())),
        OutputStyle::Json => report.json(&json(package, artifacts, report)),
    }
}

fn make(
    args: &BuildArgs,
    global: &GlobalOptions,
    app: &Config,
    cache: &Cache,
    report: &Report,
) -> Result<(Package, Vec<WrittenArtifact>)> {
    let options = AssemblyOptions {
        cache,
        offline: global.offline,
        rerun: args.rerun,
    };
    let package = assembly::assemble(app, &options, report)?;
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    let artifacts = write_all(&package, &args.format, app, &output, cache, report)?;
    Ok((package, artifacts))
}

/// Writes a package in some formats.
pub(super) fn write_all(
    package: &Package,
    names: &[FormatName],
    app: &Config,
    output: &Path,
    cache: &Cache,
    report: &Report,
) -> Result<Vec<WrittenArtifact>> {
    let mut artifacts = Vec::new();
    let formats = formats(names, app)?;
    // What a format can't carry shows before anything is written.
    for (_, format) in &formats {
        format.texts(package)?;
    }
    let segments = Segments::new(cache);
    for (name, format) in formats {
        let path = output.join(format.file_name(&package.meta)?);
        let written = report.timed(name, |facts| {
            let _busy = report.busy(&format!("writing {name}"));
            let before = segments.counts();
            let ((size, sha256), changed) = write(
                format,
                package,
                &segments,
                cache,
                &path,
                report.style() == OutputStyle::Json,
            )?;
            let after = segments.counts();
            let reused = after.reused - before.reused;
            facts.cached = Some((reused, reused + after.made - before.made));
            facts.bytes = Some(size);
            Ok::<_, Error>(WrittenArtifact {
                format: name,
                path,
                size,
                sha256,
                changed,
            })
        })?;
        report.step(&format!("{name}: {}", human_bytes(written.size)));
        artifacts.push(written);
    }
    tell_changed(package, &artifacts, report);
    let counts = segments.counts();
    report.detail(&format!(
        "segments: {} reused ({}), {} compressed ({})",
        counts.reused,
        human_bytes(counts.reused_bytes),
        counts.made,
        human_bytes(counts.made_bytes)
    ));
    Ok(artifacts)
}

/// Warns of a version that is given to other content than before: a host that has it takes the new
/// package for the one that is installed.
fn tell_changed(package: &Package, artifacts: &[WrittenArtifact], report: &Report) {
    if let Some(artifact) = artifacts.iter().find(|artifact| artifact.changed) {
        report.warning(&format!(
            "`{}` was there with other content, under the same version {}-{}, and is replaced\n\
             apt and dnf do not install it where that version is installed (`pkgapp push` asks for `--reinstall`)\n\
             hint: before others get it, raise the version or `revision` under `[package]`, or write `revision = \"auto\"`",
            shown(&artifact.path),
            package.meta.version,
            package.meta.revision,
        ));
    }
}

/// The formats that were asked for, each once, in the order of the command line.
fn formats(
    names: &[FormatName],
    app: &Config,
) -> Result<Vec<(&'static str, &'static dyn PackageFormat)>> {
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
    let mut formats: Vec<(&'static str, &'static dyn PackageFormat)> = Vec::new();
    for name in wanted {
        if !formats.iter().any(|(known, _)| *known == name) {
            let format = format::by_name(name)
                .ok_or_else(|| Error::bug(format!("there is no format `{name}`")))?;
            formats.push((name, format));
        }
    }
    Ok(formats)
}

/// Returns the size of what was written, its sum if that is wanted, and whether it has replaced
/// other content.
fn write(
    format: &dyn PackageFormat,
    package: &Package,
    segments: &Segments<'_>,
    cache: &Cache,
    path: &Path,
    is_summed: bool,
) -> Result<((u64, Option<Sha256Sum>), bool)> {
    let attempt = || {
        spare::replace(cache, path, |out| {
            if is_summed {
                let ((), size, sha256) = summed(out, |out| format.write(package, segments, out))?;
                return Ok((size, Some(sha256)));
            }
            format.write(package, segments, out)?;
            Ok((out.get_ref().written() + out.buffer().len() as u64, None))
        })
    };
    match attempt() {
        Err(_) if segments.forgot_damaged() => attempt(),
        made => made,
    }
}

fn json(package: &Package, artifacts: &[WrittenArtifact], report: &Report) -> serde_json::Value {
    let artifacts: Vec<_> = artifacts
        .iter()
        .map(
            |WrittenArtifact {
                 format,
                 path,
                 size,
                 sha256,
                 changed,
             }| {
                serde_json::json!({
                    "format": format,
                    "path": path,
                    "size": size,
                    "sha256": sha256,
                    "changed": changed,
                })
            },
        )
        .collect();
    let mut document = serde_json::json!({
        "name": package.meta.name,
        "version": package.meta.version.to_string(),
        "commit": package.meta.commit,
        "artifacts": artifacts,
    });
    // Times are of this build alone, and a document that is compared with another one's should not
    // have them.
    if report.is_verbose() {
        document["stages"] = report.stages().iter().map(stage).collect();
    }
    document
}

fn stage(stage: &StageRecord) -> serde_json::Value {
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
