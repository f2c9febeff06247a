//! The configuration package that a host gets with its software.

use std::collections::BTreeSet;

use crate::artifact::{Artifact, ArtifactContent};
use crate::facts::HostFacts;
use crate::preflight::AllowFlags;
use crate::select::SelectedArtifacts;
use crate::stored::{StoredPackage, configuration_time, is_same_content};
use pkgapp_core::error::{Error, Result};

/// Finds the configuration that a host gets with software; `None` if the software includes it, or
/// if the host keeps the one that it has.
///
/// # Errors
/// There is none for the host, or more than one.
pub(super) fn choose(
    artifacts: &[Artifact],
    software: &Artifact,
    facts: &HostFacts,
) -> Result<Option<usize>> {
    if software.holds != ArtifactContent::Software {
        return Ok(None);
    }
    let fitting: Vec<(usize, &str)> = artifacts
        .iter()
        .enumerate()
        .filter(|(_, artifact)| artifact.configures(software))
        .filter_map(|(index, artifact)| Some((index, artifact.environment()?)))
        .collect();
    if fitting.is_empty() {
        return check_kept(&software.name, facts).map(|()| None);
    }
    let chosen = for_environment(&fitting, &software.name, facts)?;
    let is_there = chosen.is_some_and(|index| has_content(&artifacts[index], software, facts));
    Ok(chosen.filter(|_| !is_there))
}

/// Returns whether the host has the software, and a configuration of the same content: a later
/// commit that changes nothing here needs no new package.
fn has_content(configuration: &Artifact, software: &Artifact, facts: &HostFacts) -> bool {
    let name = &configuration.name;
    let installed = facts.configurations.get(name);
    let is_same =
        installed.is_some_and(|installed| is_same_content(installed, &configuration.version));
    is_same
        && StoredPackage::from(software).is_installed_as_software(facts)
        && facts.kept_member_installed(name).is_some()
}

/// Chooses the configuration for the environment of a host.
fn for_environment(
    fitting: &[(usize, &str)],
    software: &str,
    facts: &HostFacts,
) -> Result<Option<usize>> {
    if let Some(own) = &facts.environment {
        let index = fitting.iter().find(|(_, environment)| environment == own);
        let index = index.map(|(index, _)| *index);
        return index.map(Some).ok_or_else(|| {
            let others: BTreeSet<&str> = fitting.iter().map(|(_, other)| *other).collect();
            Error::new(format!(
                "the environment of the host is `{}`, and the configuration is for {}",
                own.escape_debug(),
                named(&others)
            ))
            .hint(format!(
                "push the configuration of `{}`; to change the environment, \
                 remove `/etc/{}/environment` there",
                own.escape_debug(),
                software
            ))
        });
    }
    let environments: BTreeSet<&str> = fitting.iter().map(|(_, each)| *each).collect();
    if environments.len() > 1 {
        let error = Error::new(format!(
            "the host has no environment yet, and there are configurations for {}",
            named(&environments)
        ));
        return Err(error.hint("name a deployment, for example `pkgapp push production`"));
    }
    Ok(fitting.first().map(|(index, _)| *index))
}

fn named(environments: &BTreeSet<&str>) -> String {
    let all: Vec<String> = environments
        .iter()
        .map(|each| format!("`{each}`"))
        .collect();
    all.join(", ")
}

/// Software alone keeps the configuration that the host has; with it, the host can go back.
fn check_kept(name: &str, facts: &HostFacts) -> Result<()> {
    let error = if facts.configurations.is_empty() {
        Error::new(format!(
            "no configuration of `{name}` is installed there, and the push has none"
        ))
        .hint("build one with `pkgapp build --for NAME`, and name its package too")
    } else if facts
        .configurations
        .keys()
        .all(|each| facts.kept_member_installed(each).is_some())
    {
        return Ok(());
    } else {
        let installed = facts.configurations.values().next();
        let installed = installed.map_or("", String::as_str).escape_debug();
        Error::new(format!(
            "the configuration there ({installed}) was not installed by a push, \
             so there would be no way back"
        ))
        .hint("name its package too")
    };
    Err(error)
}

/// Refuses software that needs settings for which its configuration has no value.
pub(super) fn lacks_values(selected: &SelectedArtifacts<'_>, facts: &HostFacts) -> Option<Error> {
    let software = selected.artifact;
    let needed = &software.settings.as_ref()?.configured;
    let record = selected
        .configuration
        .and_then(|(artifact, _)| artifact.configuration.as_ref());
    let lacks = |name: &&String| match record {
        Some(record) => !record.settings.contains_key(*name),
        None => facts.unconfigured.contains(*name),
    };
    let missing: Vec<String> = needed
        .iter()
        .filter(lacks)
        .map(|name| format!("`{name}`"))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let error = Error::new(format!(
        "the configuration has no value for {}, and {} {} needs one",
        missing.join(", "),
        software.name,
        software.version
    ));
    Some(error.hint("build the configuration for that software, and push both packages"))
}

/// Refuses an older configuration, and one for other software than what stays installed.
pub(super) fn refusal(
    selected: &SelectedArtifacts<'_>,
    facts: &HostFacts,
    allow: AllowFlags,
) -> Option<Error> {
    let (configuration, _) = selected.configuration?;
    let software = selected.artifact;
    if software.was_found && !selected.is_software_there(facts) {
        let installed = facts.installed.as_deref().unwrap_or("none");
        let error = Error::new(format!(
            "`{}` was built for {} {}, and {} is installed there",
            configuration.file,
            software.name,
            software.version,
            installed.escape_debug()
        ));
        return Some(error.hint(
            "build it with `--software` for that package, or name the package of the software too",
        ));
    }
    let installed = facts.configurations.get(&configuration.name)?;
    // How the rest of two versions compares says nothing.
    let is_older = configuration_time(&configuration.version) < configuration_time(installed);
    if !is_older || allow.downgrade {
        return None;
    }
    let error = Error::new(format!(
        "the configuration {} is installed, which is newer than {}",
        installed.escape_debug(),
        configuration.version
    ));
    Some(
        error.hint(
            "go back with `pkgapp rollback --only config`, or insist with `--allow-downgrade`",
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::artifact::tests::{candidate, configuration, software};
    use crate::facts::{KeptMember, KeptPackage};
    use pkgapp_core::digest::Sha256Sum;
    use pkgapp_format::read::ArtifactKind::{Deb, Rpm};
    use pkgapp_release::configuration_record::RecordedValue;
    use pkgapp_release::needed_settings::NeededSettings;

    fn for_environment(environment: &str) -> Artifact {
        let mut artifact = configuration(Deb, 2);
        let record = artifact.configuration.as_mut().unwrap();
        record.environment = environment.into();
        artifact
    }

    /// A host that has this configuration.
    fn host(artifact: &Artifact) -> HostFacts {
        HostFacts {
            configurations: BTreeMap::from([(artifact.name.clone(), artifact.version.clone())]),
            environment: artifact.environment().map(str::to_owned),
            ..HostFacts::default()
        }
    }

    fn chosen(artifacts: &[Artifact], facts: &HostFacts) -> String {
        match choose(artifacts, &artifacts[0], facts) {
            Ok(index) => format!("{index:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_host_gets_the_configuration_of_its_environment() {
        let (new, old) = (HostFacts::default(), host(&configuration(Deb, 1)));
        let [production, staging] = ["production", "staging"].map(for_environment);
        let whole = [candidate(Deb, "1.0", None), production.clone()];
        assert_eq!(chosen(&whole, &new), "None", "the package includes it");

        let alone = [software(Deb, "1.0"), configuration(Rpm, 2), production];
        assert_eq!(chosen(&alone, &new), "Some(2)");
        assert_eq!(chosen(&alone, &old), "Some(2)");
        let both = [&alone[..], &[staging]].concat();
        assert_eq!(chosen(&both, &old), "Some(2)");
        let told = chosen(&both, &new);
        assert!(
            told.contains("configurations for `production`, `staging`"),
            "{told}"
        );
        let told = chosen(&[alone[0].clone(), both[3].clone()], &old);
        assert!(
            told.contains("the environment of the host is `production`, and the configuration is for `staging`"),
            "{told}"
        );
    }

    #[test]
    fn software_alone_keeps_a_configuration_that_the_host_can_go_back_to() {
        let alone = [software(Deb, "1.0")];
        let told = chosen(&alone, &HostFacts::default());
        assert!(
            told.contains("no configuration of `shop` is installed"),
            "{told}"
        );

        let installed = configuration(Deb, 1);
        let mut facts = host(&installed);
        let told = chosen(&alone, &facts);
        assert!(told.contains("was not installed by a push"), "{told}");
        facts.kept_members.push(KeptMember {
            name: installed.name.clone(),
            kept: KeptPackage {
                sha256: Sha256Sum::of(b"kept"),
                file: installed.file.clone(),
                members: Vec::new(),
                size: 1,
                version: installed.version.clone(),
                release: installed.release,
                record: None,
                good: String::new(),
                failed: String::new(),
                commit: None,
                is_unsigned: false,
            },
        });
        assert_eq!(chosen(&alone, &facts), "None");
        let selected = SelectedArtifacts::only(&alone[0], 0);
        let set = selected.set(&facts);
        assert_eq!(set.configurations[0].file, installed.file);
    }

    #[test]
    fn software_whose_settings_have_no_value_is_refused() {
        let mut software = software(Deb, "1.1");
        software.settings = Some(NeededSettings {
            configured: vec!["SHOP_NEW".into()],
            ..NeededSettings::default()
        });
        let mut configuration = configuration(Deb, 1);
        let refused = |configuration: Option<&Artifact>, facts: &HostFacts| {
            let selected = SelectedArtifacts {
                configuration: configuration.map(|artifact| (artifact, 1)),
                ..SelectedArtifacts::only(&software, 0)
            };
            lacks_values(&selected, facts).map(|error| error.to_string())
        };
        let mut facts = HostFacts::default();
        let told = refused(Some(&configuration), &facts).unwrap();
        assert!(
            told.contains("has no value for `SHOP_NEW`, and shop 1.1-1 needs one"),
            "{told}"
        );
        let record = configuration.configuration.as_mut().unwrap();
        let value = RecordedValue {
            value: "x".into(),
            from: "deployment".into(),
        };
        record.settings.insert("SHOP_NEW".into(), value);
        assert_eq!(refused(Some(&configuration), &facts), None);
        assert_eq!(refused(None, &facts), None);
        facts.unconfigured.insert("SHOP_NEW".into());
        assert!(refused(None, &facts).is_some());
    }

    #[test]
    fn an_older_configuration_and_one_for_other_software_are_refused() {
        let (software, older) = (software(Deb, "1.0"), configuration(Deb, 1));
        let refused = |software: &Artifact, facts: &HostFacts, downgrade: bool| {
            let selected = SelectedArtifacts {
                configuration: Some((&older, 1)),
                ..SelectedArtifacts::only(software, 0)
            };
            let allow = AllowFlags {
                downgrade,
                ..AllowFlags::default()
            };
            refusal(&selected, facts, allow).map(|error| error.to_string())
        };
        assert_eq!(refused(&software, &host(&older), false), None);
        let told = refused(&software, &host(&configuration(Deb, 2)), false).unwrap();
        assert!(told.contains("is installed, which is newer than"), "{told}");
        assert_eq!(
            refused(&software, &host(&configuration(Deb, 2)), true),
            None
        );

        let mut morning = older.clone();
        morning.version = morning.version.replace(".120000", ".80000");
        assert_eq!(refused(&software, &host(&morning), false), None);
        // Of two builds of one commit, none is older.
        let mut other = older.clone();
        other.version = other.version.replace("g00000000", "gffffffff");
        assert_eq!(refused(&software, &host(&other), false), None);

        let found = Artifact {
            was_found: true,
            ..software
        };
        let told = refused(&found, &host(&older), false).unwrap();
        assert!(
            told.contains("was built for shop 1.0-1, and none is installed there"),
            "{told}"
        );
        let facts = HostFacts {
            installed: Some(found.version.clone()),
            record: Some(found.record),
            ..host(&older)
        };
        assert_eq!(refused(&found, &facts, false), None);
    }
}
