//! The question to a host that is answered with its [`facts`](super::facts).

use std::collections::BTreeSet;

use super::artifact::{Artifact, ArtifactContent};
use super::script::{self, RemoteState};
use crate::hosts::HostCommand;
use pkgapp_core::name::AppName;
use pkgapp_format::read::ArtifactKind;
use pkgapp_release::needed_settings::NeededSettings;

/// Returns the command that gathers the facts; its artifacts are known by their index afterwards.
pub(super) fn command(
    remote: &RemoteState,
    script: &str,
    name: &AppName,
    prefix: &str,
    artifacts: &[Artifact],
) -> HostCommand {
    let (own, others): (Vec<_>, Vec<_>) = artifacts
        .iter()
        .partition(|artifact| artifact.name == name.as_str());
    let sums: Vec<String> = own
        .iter()
        .map(|artifact| artifact.sha256.to_string())
        .collect();
    // The parts of a set have names of their own on hosts.
    let software = own
        .iter()
        .filter(|artifact| artifact.holds == ArtifactContent::Software);
    let runtimes: Vec<String> = others
        .iter()
        .chain(software)
        .map(|other| format!("{}={}", other.name, other.sha256))
        .collect();
    let settings: Vec<&NeededSettings> = own
        .iter()
        .filter_map(|artifact| artifact.settings.as_ref())
        .collect();
    let needs = distinct(settings.iter().flat_map(|settings| settings.places.keys()));
    let files = distinct(settings.iter().flat_map(|settings| &settings.files));
    let credentials = distinct(settings.iter().flat_map(|settings| &settings.credentials));
    let configured = distinct(settings.iter().flat_map(|settings| &settings.configured));
    let asked = artifacts
        .iter()
        .flat_map(|artifact| arguments(artifact, artifacts));

    script::command("gathering facts", script, remote, "")
        .parameter("name", name.as_str())
        .parameter("prefix", prefix)
        .parameter("sums", sums.join(" "))
        .parameter("runtimes", runtimes.join(" "))
        .parameter("needs", needs.join(" "))
        .parameter("environment_files", files.join("\n"))
        .parameter("credentials", credentials.join(" "))
        .parameter("configured", configured.join(" "))
        .args(asked)
        .question()
}

fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let texts: BTreeSet<&str> = texts.map(String::as_str).collect();
    texts.into_iter().collect()
}

/// What the script is told of an artifact: its format, name, version and dependencies.
fn arguments(artifact: &Artifact, all: &[Artifact]) -> [String; 4] {
    let kind = match artifact.kind {
        ArtifactKind::Deb => "deb",
        ArtifactKind::Rpm => "rpm",
        ArtifactKind::Tar => "tar",
    };
    [
        kind.to_owned(),
        artifact.name.clone(),
        artifact.version.clone(),
        needed_there(artifact, all).join("\n"),
    ]
}

/// What an artifact depends on, but for what comes along with it.
fn needed_there<'a>(artifact: &'a Artifact, all: &[Artifact]) -> Vec<&'a str> {
    let comes_along = artifact
        .runtime
        .as_ref()
        .filter(|_| {
            all.iter()
                .any(|runtime| runtime.provides_runtime_for(artifact))
        })
        .map(|runtime| runtime.package.as_str());
    let is_alone = !all.iter().any(|software| artifact.configures(software));
    let software = artifact.configuration.as_ref();
    let software = software.map(|record| format!("{}-software", record.name));
    artifact
        .depends
        .iter()
        .map(String::as_str)
        .filter(|relation| {
            let needed = relation.split_whitespace().next();
            let is_runtime = comes_along.is_some() && needed == comes_along;
            let is_software = needed.is_some() && needed == software.as_deref();
            !is_runtime && (is_alone || !is_software)
        })
        .collect()
}
