//! The question to a host that is answered with its [`facts`](super::facts).

use super::artifact::Artifact;
use super::script::{self, RemoteState};
use crate::hosts::HostCommand;
use pkgapp_core::name::AppName;
use pkgapp_format::read::ArtifactKind;

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
    let runtimes: Vec<String> = others
        .iter()
        .map(|other| format!("{}={}", other.name, other.sha256))
        .collect();
    let asked = artifacts
        .iter()
        .flat_map(|artifact| arguments(artifact, artifacts));

    script::command("gathering facts", script, remote, "")
        .parameter("name", name.as_str())
        .parameter("prefix", prefix)
        .parameter("sums", sums.join(" "))
        .parameter("runtimes", runtimes.join(" "))
        .args(asked)
        .question()
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
    artifact
        .depends
        .iter()
        .map(String::as_str)
        .filter(|relation| {
            comes_along.is_none() || relation.split_whitespace().next() != comes_along
        })
        .collect()
}
