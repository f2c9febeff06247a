//! `pkgapp build`.

use std::path::{Path, PathBuf};

use crate::assembly::configuration::SoftwarePackage;
use crate::assembly::{self, AssemblyOptions};
use crate::cli::{BuildArgs, FormatName, GlobalOptions, LockArgs};
use pkgapp_config::{ADDED_LOCK, Config, ConfigDraft, Located, ProjectFacts, TarCompression};
use pkgapp_core::cache::Cache;
use pkgapp_core::digest::{Sha256Sum, summed};
use pkgapp_core::error::{Error, ErrorKind, Location, Result, shown};
use pkgapp_core::report::{OutputStyle, Report, StageRecord, human_bytes};
use pkgapp_core::spare;
use pkgapp_deploy::fleet;
use pkgapp_format::segment::Segments;
use pkgapp_format::{self as format, PackageFormat};
use pkgapp_release::layer;
use pkgapp_release::package::Package;

use super::locked_recipes::LockedRecipes;
use super::{load_with, lock, open_cache, recipe, working_directory};

pub(super) fn build(args: &BuildArgs, global: &GlobalOptions, report: &Report) -> Result<()> {
    if let Some(jobs) = args.jobs {
        // This fails if the pool already exists, which happens only in tests.
        _ = rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(jobs))
            .build_global();
    }
    if let Some(file) = &args.software {
        return build_configurations(args, file, global, report);
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

    let made = match make(args, global, &app, &cache, report) {
        // Damaged layers may be the cause of any failure, and the second attempt rebuilds them.
        Err(_) if layer::forget_torn(&cache)? => {
            report.warning("some layers in the cache were damaged; building them again");
            make(args, global, &app, &cache, report)?
        }
        made => made?,
    };
    say(&made, report);
    trim(&cache, args, report);
    report.stage_table();
    // The process ends now, and freeing the trees would take longer than some of the stages.
    std::mem::forget(made);
    Ok(())
}

/// Builds configuration packages for a package of the software.
fn build_configurations(
    args: &BuildArgs,
    file: &Path,
    global: &GlobalOptions,
    report: &Report,
) -> Result<()> {
    refuse_values(args)?;
    let draft = ConfigDraft::read(global.config.as_deref(), &working_directory()?)?;
    let app = draft.without_content().finish(&ProjectFacts::default())?;
    let cache = open_cache(global, report)?;
    let software = SoftwarePackage::read(file)?;
    let made = make_configurations(args, &app, &software, &cache, report)?;
    say(&made, report);
    Ok(())
}

/// Builds the configuration packages of all deployments that the arguments name.
fn make_configurations(
    args: &BuildArgs,
    app: &Config,
    software: &SoftwarePackage,
    cache: &Cache,
    report: &Report,
) -> Result<Vec<WrittenPackage>> {
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    let make = |name: &String| {
        let deployment = fleet::deploy_named(app, name)?;
        let package = software.configuration(app, deployment)?;
        let formats = package_formats(&args.format)?;
        write_all(package, formats, &output, cache, report)
    };
    args.deployments.iter().map(make).collect()
}

/// Returns the error about a configuration package of an application that has none.
pub(super) fn not_separate(app: &Config) -> Error {
    Error::new("the package of the software includes the configuration")
        .at(Location::file(&app.file))
        .hint("write `configuration = \"separate\"` below `[package]`, or leave out `--for`")
}

/// Refuses values of the command line for a separate configuration, which only its deployment has.
fn refuse_values(args: &BuildArgs) -> Result<()> {
    let Some(first) = args.settings.set.first() else {
        return Ok(());
    };
    let name = first.split('=').next().unwrap_or(first);
    Err(
        Error::new("`--set` is for packages that include their configuration")
            .hint(format!("write `{name}` below `[deploy.NAME.settings]`"))
            .kind(ErrorKind::Usage),
    )
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
    if app.is_separate() {
        refuse_values(args)?;
        // What is wrong with a deployment is known before anything is built.
        for name in &args.deployments {
            let deployment = fleet::deploy_named(&app, name)?;
            let deployed = app.clone().with_deployed_settings(deployment)?;
            deployed.check_deployed_settings(deployment)?;
        }
    } else if !args.deployments.is_empty() {
        return Err(not_separate(&app));
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

/// A package, and the artifacts in which it was written.
#[derive(Debug)]
pub(super) struct WrittenPackage {
    package: Package,
    artifacts: Vec<WrittenArtifact>,
}

impl WrittenPackage {
    /// Returns the paths of the artifacts.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.artifacts
            .iter()
            .map(|artifact| artifact.path.as_path())
    }
}

/// Prints the paths of the artifacts; as JSON, one document for each package.
pub(super) fn say(made: &[WrittenPackage], report: &Report) {
    for WrittenPackage { package, artifacts } in made {
        match report.style() {
            OutputStyle::Text => artifacts
                .iter()
                .for_each(|artifact| report.result(&shown(&artifact.path).to_string())),
            OutputStyle::Json => report.json(&json(package, artifacts, report)),
        }
    }
}

fn make(
    args: &BuildArgs,
    global: &GlobalOptions,
    app: &Config,
    cache: &Cache,
    report: &Report,
) -> Result<Vec<WrittenPackage>> {
    let options = AssemblyOptions {
        cache,
        offline: global.offline,
        rerun: args.rerun,
    };
    let package = assembly::assemble(app, &options, report)?;
    let output = args.output.clone().unwrap_or_else(|| app.root.join("dist"));
    let formats = formats(&args.format, app)?;
    let software = write_all(package, formats, &output, cache, report)?;
    if args.deployments.is_empty() {
        return Ok(vec![software]);
    }
    let services = SoftwarePackage::of(&software.package)?;
    let configurations = make_configurations(args, app, &services, cache, report)?;
    Ok(std::iter::once(software).chain(configurations).collect())
}

/// A format with its name.
type NamedFormat = (&'static str, &'static dyn PackageFormat);

/// Writes a package in formats.
pub(super) fn write_all(
    package: Package,
    formats: Vec<NamedFormat>,
    output: &Path,
    cache: &Cache,
    report: &Report,
) -> Result<WrittenPackage> {
    let mut artifacts = Vec::new();
    // Fails before anything is written if a format cannot express the package.
    for (_, format) in &formats {
        format.texts(&package)?;
    }

    let segments = Segments::new(cache);
    let writer = ArtifactWriter {
        package: &package,
        cache,
        segments: &segments,
        report,
    };
    for (name, format) in formats {
        let path = output.join(format.file_name(&package.meta)?);
        artifacts.push(writer.write(name, format, path)?);
    }

    warn_of_changed(&package, &artifacts, report);
    let counts = segments.counts();
    report.detail(&format!(
        "segments: {} reused ({}), {} compressed ({})",
        counts.reused,
        human_bytes(counts.reused_bytes),
        counts.made,
        human_bytes(counts.made_bytes)
    ));
    Ok(WrittenPackage { package, artifacts })
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
pub(super) fn formats(names: &[FormatName], app: &Config) -> Result<Vec<NamedFormat>> {
    if app.is_separate() {
        return package_formats(names);
    }
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
    by_names(&wanted)
}

/// Returns the requested formats of packages with a separate configuration: package managers
/// install both packages, and a tarball has nobody to do that.
pub(super) fn package_formats(names: &[FormatName]) -> Result<Vec<NamedFormat>> {
    let mut wanted: Vec<&'static str> = Vec::new();
    for name in names {
        match name {
            FormatName::Deb => wanted.push("deb"),
            FormatName::Rpm => wanted.push("rpm"),
            FormatName::All => wanted.extend(["deb", "rpm"]),
            FormatName::Tar | FormatName::TarZst | FormatName::TarGz => {
                return Err(Error::new("a tarball includes its configuration")
                    .hint("choose deb or rpm, or remove `configuration` below `[package]`")
                    .kind(ErrorKind::Usage));
            }
        }
    }
    by_names(&wanted)
}

/// Returns formats by their names, each once.
fn by_names(wanted: &[&'static str]) -> Result<Vec<NamedFormat>> {
    let mut formats: Vec<NamedFormat> = Vec::new();
    for name in wanted.iter().copied() {
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
