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

use super::locked_recipes::LockedRecipes;
use super::{load_with, lock, open_cache, recipe};

pub(super) fn build(args: &BuildArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    if let Some(jobs) = args.jobs {
        // This fails if the pool already exists, which happens only in tests.
        _ = rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(jobs))
            .build_global();
    }
    let locks = if args.lock {
        Some(write_lock(args, global, report)?)
    } else {
        None
    };
    let app = load(args, locks, global, report)?;
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    recipe::warn_of_changes(&app, &output, report);
    let cache = open_cache(global, report)?;

    let (package, artifacts) = match make(args, global, &app, &cache, report) {
        // Damaged layers may be the cause of any failure, and the second attempt rebuilds them.
        Err(_) if layer::forget_torn(&cache)? => {
            report.warning("some layers in the cache were damaged; building them again");
            make(args, global, &app, &cache, report)?
        }
        made => made?,
    };
    say(&package, &artifacts, report);
    trim(&cache, args, report);
    report.stage_table();
    // The process ends now, and freeing the tree would take longer than some of the stages.
    std::mem::forget(package);
    Ok(())
}

/// Loads the configuration of a build, which reads the locks that were just written.
fn load(
    args: &BuildArgs,
    locks: Option<Vec<Located<PathBuf>>>,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Config> {
    let target = &args.target;
    let mut recipes = LockedRecipes::new(target, global, report);
    recipes.wheelhouses = wheelhouses(&args.find_links)?;
    recipes.locks = locks.clone();
    let mut app = load_with(&recipes)?
        .aimed(&target.target, target.arch, target.python)?
        .with_values(&args.settings.set)?;
    app.python.wheelhouses = recipes.wheelhouses;
    if let Some(locks) = locks {
        app.python.requirements = locks;
    }
    Ok(app)
}

/// Resolves the application's requirements before a build; returns the locks for it to read.
fn write_lock(
    args: &BuildArgs,
    global: &GlobalOptions,
    report: &Report,
) -> Result<Vec<Located<PathBuf>>> {
    let target = &args.target;
    // The build says of configuration and cache what there is to say.
    let app = lock::load_unlocked(global, &Report::silent())?;
    let cache = open_cache(global, &Report::silent())?;
    let mut app = app.aimed(&target.target, target.arch, target.python)?;
    app.python.wheelhouses = wheelhouses(&args.find_links)?;
    let args = LockArgs {
        resolver: args.resolver,
        ..LockArgs::default()
    };
    let options = AssemblyOptions {
        cache: &cache,
        offline: global.offline,
        rerun: false,
    };
    let path = lock::write(&app, &[], &args, &options, report)?;

    // The lock of additions complements the lock of another tool; any other lock replaces all.
    let mut locks = app.python.requirements;
    locks.retain(|file| path.ends_with(ADDED_LOCK) && file.value != path);
    locks.push(Located {
        at: Location::file(&path),
        value: path,
    });
    Ok(locks)
}

/// Trims the cache after a build. A failure is only a warning: the artifacts are complete.
fn trim(cache: &Cache, args: &BuildArgs, report: &Report) {
    match report.timed("cache", |_| cache.trim(args.cache_max_size)) {
        Ok(pruned) => pruned
            .iter()
            .for_each(|pruned| report.step(&super::cache::told(pruned))),
        Err(error) => {
            report.warning(&format!("cannot trim the cache: {}", error.message()));
        }
    }
}

/// Returns the directories of `--find-links`, absolute.
fn wheelhouses(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let missing = named
        .iter()
        .filter(|directory| !directory.is_dir())
        .map(|directory| {
            Error::new(format!(
                "`--find-links` names `{}`, which is not a directory",
                shown(directory)
            ))
            .hint("`pkgapp cache export DIR` creates one; URLs belong in a requirements file")
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

/// An artifact that a command has written.
#[derive(Debug)]
pub(super) struct WrittenArtifact {
    /// The format's name.
    format: &'static str,
    path: PathBuf,
    /// The size in bytes.
    size: u64,
    /// Computed only if it is printed: hashing costs as much as writing a package that has hardly
    /// changed.
    sha256: Option<Sha256Sum>,
    /// Whether the artifact has replaced a file with other content.
    changed: bool,
}

/// Prints the paths of the artifacts.
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

/// Writes a package in all requested formats.
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
    // Fails before anything is written if a format cannot express the package.
    for (_, format) in &formats {
        format.texts(package)?;
    }

    let segments = Segments::new(cache);
    let writer = ArtifactWriter {
        package,
        cache,
        segments: &segments,
        report,
    };
    for (name, format) in formats {
        let path = output.join(format.file_name(&package.meta)?);
        artifacts.push(writer.write(name, format, path)?);
    }

    warn_of_changed(package, &artifacts, report);
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

/// Warns if a version now has other content: a host with that version installed would take the
/// new package for the installed one.
fn warn_of_changed(package: &Package, artifacts: &[WrittenArtifact], report: &Report) {
    if let Some(artifact) = artifacts.iter().find(|artifact| artifact.changed) {
        report.warning(&format!(
            "replaced `{}`, which had other content under the same version {}-{}\n\
             apt and dnf do not install it where that version is installed (`pkgapp push` asks for `--reinstall`)\n\
             hint: before publishing it, raise the version or `revision` under `[package]`, or write `revision = \"auto\"`",
            shown(&artifact.path),
            package.meta.version,
            package.meta.revision,
        ));
    }
}

/// Returns the requested formats, each once, in the order of the command line.
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

/// Writes one package in several formats.
struct ArtifactWriter<'a> {
    package: &'a Package,
    cache: &'a Cache,
    segments: &'a Segments<'a>,
    report: &'a Report,
}

impl ArtifactWriter<'_> {
    fn write(
        &self,
        name: &'static str,
        format: &dyn PackageFormat,
        path: PathBuf,
    ) -> Result<WrittenArtifact> {
        let written = self.report.timed(name, |facts| {
            let _busy = self.report.busy(&format!("writing {name}"));
            let before = self.segments.counts();
            let ((size, sha256), changed) = self.write_file(format, &path)?;
            let after = self.segments.counts();

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
        self.report
            .step(&format!("{name}: {}", human_bytes(written.size)));
        Ok(written)
    }

    /// Returns the size of the file, its checksum if that is printed, and whether it has replaced
    /// other content.
    fn write_file(
        &self,
        format: &dyn PackageFormat,
        path: &Path,
    ) -> Result<((u64, Option<Sha256Sum>), bool)> {
        let is_summed = self.report.style() == OutputStyle::Json;
        let (package, segments) = (self.package, self.segments);
        let attempt = || {
            spare::replace(self.cache, path, |out| {
                if is_summed {
                    let ((), size, sha256) =
                        summed(out, |out| format.write(package, segments, out))?;
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
    // Times differ from build to build, so a document that may be compared with another omits them.
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
