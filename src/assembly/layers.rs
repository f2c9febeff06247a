//! The layers of a release: its distributions and the application's files; and the release for this
//! machine that `[build] run` needs where the other one does not run.

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

/// Makes the layers of all wheels; `files` gives those of the application's files, which are
/// `included`. What pruning has taken from one and another one imports comes back.
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
    let mut wanted: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let by_files = if builder.prune.profiles.contains(&PruneProfile::Tests) {
        prune::imports_of_files(&app.root, included)
    } else {
        BTreeSet::new()
    };
    loop {
        let pruned: Vec<_> = layers.iter().map(|layer| &layer.manifest.pruned).collect();
        let missed = prune::missed(&pruned, &by_files);
        if missed.is_empty() {
            break;
        }
        for (index, modules) in missed {
            let wanted = wanted.entry(index).or_default();
            wanted.extend(modules);
            let prune = Pruner {
                wanted: wanted.clone(),
                ..builder.prune.clone()
            };
            let wheel = &wheels.all[index];
            layers[index] = Layer::for_wheel(
                &LayerBuilder {
                    prune: &prune,
                    ..*builder
                },
                wheel,
                || open(wheel),
            )?;
        }
    }
    layers.extend(files()?);
    Ok(layers)
}

/// The layers that ship a console script which several distributions have: the one that requires
/// the others, directly or by an extra. Installers leave that one's, too, because they install
/// requirements first.
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
    let requires = |layer: &Layer, other: &Layer| {
        let (Some(one), Some(other)) = (&layer.manifest.distribution, &other.manifest.distribution)
        else {
            return false;
        };
        one.requires
            .iter()
            .filter_map(|text| pypa::required(text))
            .any(|name| name.as_str() == other.name)
    };
    let mut owners = BTreeMap::new();
    for (name, sources) in by_name.into_iter().filter(|(_, sources)| sources.len() > 1) {
        let others = |layer: &&&Layer| {
            sources
                .iter()
                .copied()
                .filter(|other| other.key != layer.key)
                .collect::<Vec<_>>()
        };
        let owns = |layer: &&&Layer| {
            others(layer)
                .into_iter()
                .all(|other| requires(layer, other) && !requires(other, layer))
        };
        let Some(owner) = sources.iter().find(owns) else {
            continue;
        };
        let paths = ["bin", "libexec"]
            .iter()
            .filter_map(|top| ReleasePath::parse(&format!("{top}/{name}")).ok());
        owners.extend(paths.map(|path| (path, owner.key.as_str())));
    }
    owners
}

/// Says what pruning has saved, and of what it kept its hands off.
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

/// Whether the commands of `[build] run` need a release of their own: one for another machine does
/// not run here.
pub(super) fn needs_twin(app: &Config, environment: &Environment, layers: &[Layer]) -> bool {
    let compiled = layers.iter().any(|layer| !layer.manifest.elf.is_empty());
    !app.build.run.is_empty() && !environment.native && compiled
}

/// Makes the release of the same pins for this machine.
pub(super) fn twin(
    app: &Config,
    release: &Release<'_>,
    interpreter: Option<&Interpreter>,
    builder: &LayerBuilder<'_>,
    options: &AssemblyOptions<'_>,
    epoch: Epoch<'_>,
    report: &Report,
) -> Result<Tree> {
    report.step("`[build] run` runs in a release of the same pins for this machine:");
    let make = || {
        let glibc = interpreter.and_then(|interpreter| interpreter.glibc);
        let glibc =
            glibc.ok_or_else(|| Error::new("this machine's Python is not built with glibc"))?;
        let environment = Environment::new(app.python.version.value, None, Arch::host()?, glibc)?;
        let lock = read_lock(app, &environment, options, &Report::silent())?;
        let wheels = fetch(app, &lock, &environment, options, epoch, report)?;
        let included = app.included_files()?;
        let files = || Layer::for_files(builder, &app.root, &included);
        let layers = installed(app, &wheels, files, &included, builder, report)?;
        plain_tree(app, release, &layers)
    };
    make().map_err(|error: Error| {
        error.context("cannot make the release that `[build] run` needs on this machine")
    })
}
