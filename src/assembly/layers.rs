//! The layers of a release, for its distributions and the application's files; and the release for
//! the build machine, in which `[build] run` runs if the actual release cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::pins::{ReleaseWheels, fetch, read_lock};
use super::{AssemblyOptions, plain_tree};
use pkgapp_config::Config;
use pkgapp_config::PruneProfile;
use pkgapp_core::commit::Epoch;
use pkgapp_core::error::{Error, Result};
use pkgapp_core::interpreter::Interpreter;
use pkgapp_core::name::Arch;
use pkgapp_core::path::ReleasePath;
use pkgapp_core::report::Report;
use pkgapp_pypa::{self as pypa, Environment};
use pkgapp_release::layer::{Layer, LayerBuilder};
use pkgapp_release::prune::{self, PruneSavings, Pruner};
use pkgapp_release::release::Release;
use pkgapp_release::tree::Tree;
use pkgapp_wheels::Wheel;
use pkgapp_wheels::archive::WheelArchive;

/// Builds the layers of all wheels, and adds those of the application's files: `files` returns
/// them, and `included` are their paths. Modules that pruning has removed come back if another
/// distribution imports them.
pub(super) fn installed(
    app: &Config,
    wheels: &ReleaseWheels,
    files: impl FnOnce() -> Result<Vec<Layer>>,
    included: &[PathBuf],
    builder: &LayerBuilder<'_>,
    report: &Report,
) -> Result<Vec<Layer>> {
    let open = |wheel: &Wheel| WheelArchive::open(&wheel.path, &wheel.filename);
    let mut layers = builder.build_all(&wheels.all, open, report)?;
    let by_files = if builder.prune.profiles.contains(&PruneProfile::Tests) {
        prune::imports_of_files(&app.root, included)
    } else {
        BTreeSet::new()
    };
    restore_imported(&mut layers, wheels, &by_files, builder)?;
    layers.extend(files()?);
    Ok(layers)
}

/// Builds layers again whose pruned modules other layers or the application's files import, until
/// none is missing.
fn restore_imported(
    layers: &mut [Layer],
    wheels: &ReleaseWheels,
    by_files: &BTreeSet<String>,
    builder: &LayerBuilder<'_>,
) -> Result<()> {
    let mut wanted: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    loop {
        let pruned: Vec<_> = layers.iter().map(|layer| &layer.manifest.pruned).collect();
        let missed = prune::missed(&pruned, by_files);
        if missed.is_empty() {
            return Ok(());
        }
        for (index, modules) in missed {
            let wanted = wanted.entry(index).or_default();
            wanted.extend(modules);
            let prune = Pruner {
                wanted: wanted.clone(),
                ..builder.prune.clone()
            };
            let builder = LayerBuilder {
                prune: &prune,
                ..*builder
            };
            let wheel = &wheels.all[index];
            layers[index] = Layer::for_wheel(&builder, wheel, || {
                WheelArchive::open(&wheel.path, &wheel.filename)
            })?;
        }
    }
}

/// Returns the layers that own a console script of several distributions: the distribution that
/// requires the others, directly or by an extra, owns the script. Installers have the same result,
/// because they install requirements first.
pub(super) fn owners_of_scripts(layers: &[Layer]) -> BTreeMap<ReleasePath, &str> {
    let mut by_name: BTreeMap<&str, Vec<&Layer>> = BTreeMap::new();
    for layer in layers {
        let scripts = layer
            .manifest
            .distribution
            .iter()
            .flat_map(|distribution| &distribution.scripts);
        scripts.for_each(|name| by_name.entry(name).or_default().push(layer));
    }

    let mut owners = BTreeMap::new();
    for (name, sources) in by_name.into_iter().filter(|(_, sources)| sources.len() > 1) {
        let owns = |layer: &&&Layer| {
            sources
                .iter()
                .filter(|other| other.key != layer.key)
                .all(|other| requires(layer, other) && !requires(other, layer))
        };
        if let Some(owner) = sources.iter().find(owns) {
            let paths = ["bin", "libexec"]
                .iter()
                .filter_map(|top| ReleasePath::parse(&format!("{top}/{name}")).ok());
            owners.extend(paths.map(|path| (path, owner.key.as_str())));
        }
    }
    owners
}

/// Returns whether the distribution of a layer requires that of another one.
fn requires(layer: &Layer, other: &Layer) -> bool {
    let (Some(one), Some(other)) = (&layer.manifest.distribution, &other.manifest.distribution)
    else {
        return false;
    };
    one.requires
        .iter()
        .filter_map(|text| pypa::required(text))
        .any(|name| name.as_str() == other.name)
}

/// Reports the savings of pruning, and the files that pruning had to keep.
pub(super) fn tell_pruned(layers: &[Layer], report: &Report) {
    let mut all: BTreeMap<PruneProfile, PruneSavings> = BTreeMap::new();
    for layer in layers {
        let pruned = &layer.manifest.pruned;
        for (profile, saved) in &pruned.saved {
            let sum = all.entry(*profile).or_default();
            sum.files += saved.files;
            sum.bytes += saved.bytes;
        }
        if !pruned.saved.is_empty() {
            report.detail(&format!(
                "{}: less {}",
                layer.label,
                prune::told(&pruned.saved)
            ));
        }
        pruned
            .kept
            .iter()
            .for_each(|kept| report.detail(&format!("{}: {kept}", layer.label)));
    }
    if !all.is_empty() {
        report.step(&format!("left out: {}", prune::told(&all)));
    }
}

/// Returns whether the commands of `[build] run` need a release of their own, because the actual
/// release cannot run on the build machine.
pub(super) fn needs_twin(app: &Config, environment: &Environment, layers: &[Layer]) -> bool {
    let compiled = layers.iter().any(|layer| !layer.manifest.elf.is_empty());
    !app.build.run.is_empty() && !environment.native && compiled
}

/// Builds a release of the same pins for the build machine.
pub(super) fn twin(
    app: &Config,
    release: &Release<'_>,
    interpreter: Option<&Interpreter>,
    builder: &LayerBuilder<'_>,
    options: &AssemblyOptions<'_>,
    epoch: Epoch<'_>,
    report: &Report,
) -> Result<Tree> {
    report.step("`[build] run` runs in a release of the same pins for the build machine:");
    let make = || {
        let glibc = interpreter.and_then(|interpreter| interpreter.glibc);
        let glibc = glibc
            .ok_or_else(|| Error::new("the build machine's Python is not built with glibc"))?;
        let environment = Environment::new(app.python.version.value, None, Arch::host()?, glibc)?;
        let lock = read_lock(app, &environment, options, &Report::silent())?;
        let wheels = fetch(app, &lock, &environment, options, epoch, report)?;
        let included = app.included_files()?;
        let files = || Layer::for_files(builder, &app.root, &included);
        let layers = installed(app, &wheels, files, &included, builder, report)?;
        plain_tree(app, release, &layers)
    };
    make().map_err(|error: Error| {
        error.context("cannot build the release for `[build] run` on the build machine")
    })
}
