//! The backend for hosts where one is root: the host's package manager installs packages.

use std::collections::{BTreeMap, BTreeSet};

use super::configuration;
use super::package_commands::PackageCommands;
use super::{Backend, JournalAccess};
use crate::artifact::Artifact;
use crate::builder::StepBuilder;
use crate::facts::HostFacts;
use crate::hosts::HostCommand;
use crate::migration::Migration;
use crate::preflight::{AllowFlags, lacks_settings, no_signature, no_space, version_refusal};
use crate::probe;
use crate::script::{self, RemoteState};
use crate::select::SelectedArtifacts;
use crate::service_command::ServiceCommand;
use crate::step::{PushStage, Step};
use crate::stored::{PackageSet, RuntimeChange, RuntimeChanges, StoredPackage, Transition};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_format::read::ArtifactKind;

/// Where hosts keep what they must know, a directory for each application.
const STATE: &str = "/var/lib/pkgapp";

/// journalctl(1) shows others nothing of the system's journal, and calls that success.
const MAY_READ_JOURNAL: &str = "\
if [ \"$(id -u)\" != 0 ] && ! id -nG | grep -qwE 'adm|systemd-journal|wheel'; then
  echo \"$(id -un) may not read the journal\" >&2; exit 77
fi
";

/// Packages, installed by root with the host's package manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageManagerBackend {
    /// The application.
    pub name: AppName,
    /// Whether root's work is done with sudo.
    pub sudo: bool,
}

impl Backend for PackageManagerBackend {
    fn accepts(&self, kind: ArtifactKind) -> bool {
        matches!(kind, ArtifactKind::Deb | ArtifactKind::Rpm)
    }

    fn remote_state(&self, facts: Option<&HostFacts>) -> RemoteState {
        let manager = facts.and_then(|facts| facts.manager);
        RemoteState {
            directory: format!("{STATE}/{}", self.name),
            sudo: self.sudo,
            library: manager.map_or(script::ANY_SYSTEM, script::system),
            env: Vec::new(),
            after_record: "",
        }
    }

    fn journal(&self) -> JournalAccess {
        JournalAccess {
            check: MAY_READ_JOURNAL,
            unit_option: "--unit",
            sudo: self.sudo,
        }
    }

    fn probe(&self, prefix: &str, artifacts: &[Artifact]) -> HostCommand {
        let remote = self.remote_state(None);
        probe::command(
            &remote,
            script::PACKAGE_FACTS,
            &self.name,
            prefix,
            artifacts,
        )
    }

    fn status(&self, _: &str) -> HostCommand {
        let remote = self.remote_state(None);
        script::command("asking for its condition", script::STATUS, &remote, "")
            .parameter("name", self.name.as_str())
            .question()
    }

    fn service_command(
        &self,
        prefix: &str,
        command: &ServiceCommand,
        variables: &BTreeMap<String, String>,
    ) -> HostCommand {
        command.of_package(&self.name, prefix, variables, self.sudo)
    }

    fn select<'a>(
        &self,
        artifacts: &'a [Artifact],
        facts: &HostFacts,
    ) -> Result<SelectedArtifacts<'a>> {
        let index = choose(artifacts, self.name.as_str(), facts)?;
        let artifact = &artifacts[index];
        let configuration = configuration::choose(artifacts, artifact, facts)?;
        let runtime = choose_runtime(artifacts, artifact, facts)?;
        let of = |index: Option<usize>| index.map(|index| (&artifacts[index], index));
        Ok(SelectedArtifacts {
            artifact,
            index,
            configuration: of(configuration),
            runtime: of(runtime),
        })
    }

    fn preflight(
        &self,
        selected: &SelectedArtifacts<'_>,
        facts: &HostFacts,
        allow: AllowFlags,
    ) -> Vec<Error> {
        let artifact = selected.artifact;
        let mut errors: Vec<Error> = self.locked_out(facts).into_iter().collect();
        errors.extend(unmet_dependencies(selected, facts));
        errors.extend(self.not_ours(selected, facts, allow));
        if facts.foreign {
            // How the versions of two programs compare says nothing.
            return errors;
        }

        errors.extend(unsigned(selected, facts));
        errors.extend(no_space(selected, facts, &artifact.prefix, STATE));
        if selected.is_there(facts) {
            return errors;
        }

        errors.extend(unwritable(facts));
        errors.extend(
            lacks_settings(artifact, facts, str::to_owned)
                .filter(|_| facts.root && !allow.missing_settings),
        );
        let order = facts.orders.get(&selected.index).copied();
        errors.extend(version_refusal(selected, order, allow, facts));
        errors.extend(configuration::refusal(selected, facts, allow));
        errors.extend(
            configuration::lacks_values(selected, facts).filter(|_| !allow.missing_settings),
        );
        errors
    }

    fn unfit(&self, facts: &HostFacts) -> Vec<Error> {
        self.locked_out(facts)
            .or_else(|| no_manager(facts))
            .or_else(|| unwritable(facts))
            .into_iter()
            .collect()
    }

    fn locked_out(&self, facts: &HostFacts) -> Option<Error> {
        if facts.root {
            let unreadable = facts.unreadable.as_ref();
            let unreadable =
                unreadable.map(|path| Error::new(format!("`{path}` cannot be read there")));
            return unreadable.or_else(|| facts.untrustworthy());
        }
        let error = Error::new(format!(
            "packages are installed by root, and the login is `{}`",
            facts.user
        ));
        Some(if self.sudo {
            error
        } else {
            error.hint("use sudo there: `--sudo`, or `sudo = true` in `[deploy.NAME]`")
        })
    }

    fn release_path(&self, prefix: &str, _: &HostFacts) -> String {
        prefix.to_owned()
    }

    fn about(&self, facts: &HostFacts) -> Option<String> {
        facts.manager.map(|manager| manager.to_string())
    }

    fn notes(&self, _: &Artifact, _: &HostFacts) -> Vec<String> {
        Vec::new()
    }

    fn prepare(&self, _: &StepBuilder<'_>, _: &str, _: &StoredPackage) -> Vec<Step> {
        // The package manager unpacks the package when it installs it.
        Vec::new()
    }

    fn migrate(
        &self,
        steps: &StepBuilder<'_>,
        set: &PackageSet,
        runtime: Option<&StoredPackage>,
        migration: &Migration<'_>,
    ) -> Vec<Step> {
        let mut parameters = vec![
            ("root", staged(steps, set)),
            ("prefix", steps.prefix.clone()),
        ];
        parameters.extend(migration.parameters(&steps.variables(&set.software.release)));
        let migrate = steps.migrate(set, migration, &script::migrate(), parameters);
        vec![stage(steps, set, runtime), migrate]
    }

    fn switch(
        &self,
        steps: &StepBuilder<'_>,
        facts: &HostFacts,
        transition: &Transition<'_>,
    ) -> Step {
        let manager = facts
            .manager
            .expect("a host without a package manager is refused");
        let commands = PackageCommands::new(manager, facts, transition.lock_wait);
        let mut parameters = parameters(steps, facts, transition);
        parameters.extend(runtime_parameters(steps, transition.runtime));
        parameters.extend(commands.parameters());
        let there = transition.runtime.there.as_ref();
        let parts = parts(steps, facts, transition);
        steps.transaction(
            &what(steps, transition),
            line(steps, &commands, &parts, transition),
            &goal(transition, there),
            transition,
            parameters,
            &script::transaction(manager),
        )
    }
}

impl PackageManagerBackend {
    /// Refuses to replace a package that somebody else has installed, or will upgrade.
    fn not_ours(
        &self,
        selected: &SelectedArtifacts<'_>,
        facts: &HostFacts,
        allow: AllowFlags,
    ) -> Option<Error> {
        let installed = facts.installed.as_ref().or(facts.half.as_ref());
        let own = NameConflict {
            name: self.name.to_string(),
            foreign: facts.foreign.then(|| installed.map_or("", String::as_str)),
            offered: facts.offers.as_deref(),
        };
        let configuration = selected.configuration.map(|(artifact, _)| NameConflict {
            name: artifact.name.clone(),
            foreign: facts.foreign_configuration.as_deref(),
            offered: facts.offers_configuration.as_deref(),
        });
        let mut all = [Some(own), configuration].into_iter().flatten();
        all.find_map(|conflict| conflict.error(allow))
    }
}

/// What else has the name of a package, on a host.
struct NameConflict<'a> {
    name: String,
    /// The installed version of another package.
    foreign: Option<&'a str>,
    /// The version of repositories.
    offered: Option<&'a str>,
}

impl NameConflict<'_> {
    fn error(&self, allow: AllowFlags) -> Option<Error> {
        let name = &self.name;
        let rename = "give the application another name (`[app] name`)";
        if let Some(installed) = self.foreign {
            let error = Error::new(format!(
                "the package `{name}` ({installed}) is installed there, and pkgapp did not make it"
            ));
            return Some(error.note("a push would take its place").hint(rename));
        }
        let offered = self.offered.filter(|_| !allow.same_name)?;
        let error = Error::new(format!(
            "the host's repositories have another package `{name}` ({offered})"
        ));
        let error = error.note("upgrades of the host would replace the application with it");
        Some(error.hint(format!(
            "{rename}, or use `--allow-same-name` if the repository is your own"
        )))
    }
}

fn no_manager(facts: &HostFacts) -> Option<Error> {
    facts.manager.is_none().then(|| unknown_manager(facts))
}

fn unknown_manager(facts: &HostFacts) -> Error {
    Error::new(format!(
        "no package manager is known on {}",
        facts.distribution()
    ))
}

/// What an installation writes to and can't, as on a file system that is mounted read-only.
fn unwritable(facts: &HostFacts) -> Option<Error> {
    let first = facts.unwritable.first().filter(|_| facts.root)?;
    let places: Vec<String> = facts
        .unwritable
        .iter()
        .map(|path| format!("`{path}`"))
        .collect();
    let error = Error::new(format!(
        "root cannot write to {} there: its file system is mounted read-only",
        places.join(", ")
    ));
    Some(error.hint(format!(
        "find out why (`findmnt -T {first}`, `dmesg`) and remount it read-write"
    )))
}

/// What the selected packages depend on and neither the host nor its repositories have.
fn unmet_dependencies(selected: &SelectedArtifacts<'_>, facts: &HostFacts) -> Vec<Error> {
    let unmet = |(artifact, index)| Some((artifact, facts.unmet.get(&index)?));
    selected
        .to_install(facts)
        .filter_map(unmet)
        .map(|(artifact, missing)| unmet_error(artifact, missing, selected))
        .collect()
}

fn unmet_error(artifact: &Artifact, missing: &[String], selected: &SelectedArtifacts<'_>) -> Error {
    let named: Vec<String> = missing
        .iter()
        .map(|relation| format!("`{relation}`"))
        .collect();
    let lacks_runtime = selected.runtime.is_none()
        && artifact.runtime.as_ref().is_some_and(|runtime| {
            missing
                .iter()
                .any(|relation| relation.contains(&runtime.package))
        });
    let hint = if lacks_runtime {
        "make its interpreter's package with `pkgapp runtime build`, or name that file too"
    } else {
        "let the host know a repository that has it, and refresh its lists of packages"
    };
    Error::new(format!(
        "{} needs {}, which no repository offers there",
        artifact.file,
        named.join(", ")
    ))
    .hint(hint)
}

/// A package without a signature that the host's package manager would refuse.
fn unsigned(selected: &SelectedArtifacts<'_>, facts: &HostFacts) -> Option<Error> {
    let is_fine = |artifact: &Artifact| {
        artifact.is_signed || (selected.is_there(facts) && selected.runtime.is_none())
    };
    let (unsigned, _) = selected
        .to_install(facts)
        .find(|(artifact, _)| !is_fine(artifact))?;
    let hint = match unsigned.kind {
        ArtifactKind::Deb => "sign it with `debsigs` and a key that the host trusts",
        ArtifactKind::Rpm | ArtifactKind::Tar => {
            "sign it with `rpmsign --addsign` and a key that the host trusts"
        }
    };
    no_signature(&unsigned.file, facts).map(|error| error.hint(hint))
}

/// Finds the artifact for a host: of its package manager's format and of its architecture.
fn choose(artifacts: &[Artifact], name: &str, facts: &HostFacts) -> Result<usize> {
    let manager = facts.manager.ok_or_else(|| unknown_manager(facts))?;
    let fits = |artifact: &&Artifact| artifact.kind == manager.kind() && artifact.name == name;
    if !artifacts.iter().any(|artifact| fits(&artifact)) {
        let wanted = if manager.kind() == ArtifactKind::Deb {
            "deb"
        } else {
            "rpm"
        };
        let error = Error::new(format!(
            "{} with {manager} needs a {wanted}, and there is none",
            facts.distribution()
        ));
        return Err(error.hint(format!("make one: `pkgapp build --format {wanted}`")));
    }

    artifacts
        .iter()
        .position(|artifact| fits(&artifact) && artifact.runs_on(&facts.arch))
        .ok_or_else(|| {
            let archs: Vec<&str> = artifacts
                .iter()
                .filter(fits)
                .filter_map(|artifact| artifact.arch.as_deref())
                .collect();
            Error::new(format!(
                "the host is {}, and the package is for {}",
                facts.arch,
                archs.join(", ")
            ))
            .hint(format!("build it with `--arch {}`", facts.arch))
        })
}

/// Finds the package of the interpreter that an artifact runs on, if one was found here; else it is
/// a repository's to have.
fn choose_runtime(
    artifacts: &[Artifact],
    artifact: &Artifact,
    facts: &HostFacts,
) -> Result<Option<usize>> {
    let provides = |runtime: &&Artifact| runtime.provides_runtime_for(artifact);
    let fitting = artifacts
        .iter()
        .position(|runtime| provides(&runtime) && runtime.runs_on(&facts.arch));
    match artifacts.iter().find(provides) {
        Some(other) if fitting.is_none() => {
            let arch = other.arch.as_deref().unwrap_or_default();
            let error = Error::new(format!(
                "the host is {}, and `{}` is for {arch}",
                facts.arch, other.file
            ));
            Err(error.hint(format!("build it there, or with `--arch {}`", facts.arch)))
        }
        _ => Ok(fitting),
    }
}

/// Where a migration runs a package that is not installed yet.
fn staged(steps: &StepBuilder<'_>, set: &PackageSet) -> String {
    format!("{}/staged/{}", steps.remote.directory, set.id)
}

/// Unpacks the packages of a release, and the interpreter that comes with it, where nothing else
/// looks.
fn stage(steps: &StepBuilder<'_>, set: &PackageSet, runtime: Option<&StoredPackage>) -> Step {
    let packages = || set.packages().chain(runtime);
    let files: Vec<&str> = packages().map(|each| each.file.as_str()).collect();
    let what = format!(
        "unpacking {} beside the installed release",
        files.join(" and ")
    );
    let command = steps
        .command(&what, script::STAGE)
        .parameter("staged", staged(steps, set))
        .args(packages().flat_map(|each| [steps.place(each), each.sha256.to_string()]));
    StepBuilder::run(PushStage::Stage, None, command)
}

/// What the step does, for people.
fn what(steps: &StepBuilder<'_>, transition: &Transition<'_>) -> String {
    let what = match transition.to {
        Some(set) => format!("installing {} {}", steps.name, set.software.version),
        None => format!("removing {}", steps.name),
    };
    let Some(change) = &transition.runtime.there else {
        return what;
    };
    let name = change.name();
    match change.package() {
        Some(package) => format!("{what} with {name} {}", package.version),
        None => format!("{what}, and {name} unless something else needs it"),
    }
}

/// What tells a transaction from another one: the same package with another interpreter is another
/// goal.
fn goal(transition: &Transition<'_>, runtime: Option<&RuntimeChange>) -> String {
    let goal = transition.goal();
    match runtime {
        Some(change) => {
            let sum = change.package().map(|package| package.sha256.to_string());
            format!("{goal} {} {}", change.way(), sum.unwrap_or_default())
        }
        None => goal,
    }
}

/// What `transaction.sh` is told of the application.
fn parameters(
    steps: &StepBuilder<'_>,
    facts: &HostFacts,
    transition: &Transition<'_>,
) -> Vec<(&'static str, String)> {
    let of = |set: Option<&PackageSet>| {
        set.map_or_else(<[String; 4]>::default, |set| {
            [
                listed(steps, set),
                set.id.to_string(),
                set.software.version.clone(),
                set.software.record_sum(),
            ]
        })
    };
    let [files, sum, version, record] = of(transition.to);
    let [back_files, back_sum, back_version, back_record] = of(transition.fallback.packages());
    vec![
        ("name", steps.name.to_string()),
        ("parts", parts(steps, facts, transition).join(" ")),
        ("lock_wait", transition.lock_wait.as_secs().to_string()),
        ("files", files),
        ("sum", sum),
        ("version", version),
        ("record", record),
        ("back", transition.fallback.name().to_owned()),
        ("back_files", back_files),
        ("back_sum", back_sum),
        ("back_version", back_version),
        ("back_record", back_record),
    ]
}

/// The packages of a set, a line each: NAME VERSION SHA256 FILE.
fn listed(steps: &StepBuilder<'_>, set: &PackageSet) -> String {
    let lines: Vec<String> = set
        .packages()
        .map(|package| {
            let name = package.name.as_deref().unwrap_or(steps.name.as_str());
            let (version, sum) = (&package.version, package.sha256);
            format!("{name} {version} {sum} {}", steps.place(package))
        })
        .collect();
    lines.join("\n")
}

/// The names of all packages that a transaction may find or leave.
fn parts<'a>(
    steps: &'a StepBuilder<'_>,
    facts: &'a HostFacts,
    transition: &Transition<'a>,
) -> Vec<&'a str> {
    let sets = [transition.to, transition.fallback.packages()];
    let named = sets.into_iter().flatten().flat_map(PackageSet::packages);
    let names: BTreeSet<&str> = named
        .filter_map(|package| package.name.as_deref())
        .chain(facts.configurations.keys().map(String::as_str))
        .chain(transition.change.removed.iter().map(String::as_str))
        .chain([steps.name.as_str()])
        .collect();
    names.into_iter().collect()
}

/// What `transaction.sh` is told of the interpreter, there and back.
fn runtime_parameters(
    steps: &StepBuilder<'_>,
    runtime: &RuntimeChanges,
) -> Vec<(&'static str, String)> {
    let there = [
        "runtime_way",
        "runtime_file",
        "runtime_sum",
        "runtime_version",
        "runtime_from",
    ];
    let back = [
        "back_runtime_way",
        "back_runtime_file",
        "back_runtime_sum",
        "back_runtime_version",
        "back_runtime_from",
    ];

    let known = runtime.there.as_ref().or(runtime.back.as_ref());
    let mut parameters: Vec<(&str, String)> = known
        .map(|change| ("runtime", change.name().to_owned()))
        .into_iter()
        .collect();
    for (names, change) in [(there, &runtime.there), (back, &runtime.back)] {
        let Some(change) = change else { continue };
        let [file, sum, version] =
            change
                .package()
                .map_or_else(<[String; 3]>::default, |package| {
                    [
                        steps.place(package),
                        package.sha256.to_string(),
                        package.version.clone(),
                    ]
                });
        let values = [
            change.way().to_owned(),
            file,
            sum,
            version,
            change.from().to_owned(),
        ];
        parameters.extend(names.into_iter().zip(values));
    }
    parameters
}

/// The commands of the package manager that `transaction.sh` will run, if it finds what the facts
/// tell.
fn line(
    steps: &StepBuilder<'_>,
    commands: &PackageCommands,
    parts: &[&str],
    transition: &Transition<'_>,
) -> String {
    let runtime = transition.runtime.there.as_ref();
    let mut lines = match transition.to {
        None => vec![commands.removal(parts)],
        Some(set) => {
            let with = runtime.and_then(|change| Some((change, steps.place(change.package()?))));
            let with = with.as_ref().map(|(change, file)| (*change, file.as_str()));
            let coming = transition.change.coming(set);
            let coming: Vec<_> = coming
                .map(|(package, change)| (change, steps.place(package)))
                .collect();
            commands.installation(&coming, &transition.change.removed, with)
        }
    };
    let dropped = runtime.filter(|change| change.package().is_none());
    lines.extend(dropped.map(|change| commands.runtime_removal(change.name())));
    lines.join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::tests::{candidate, runtime, shared};
    use crate::facts::PackageManager;

    fn host(manager: Option<PackageManager>, arch: &str) -> HostFacts {
        HostFacts {
            manager,
            arch: arch.into(),
            os: "debian".into(),
            os_version: "12".into(),
            ..HostFacts::default()
        }
    }

    #[test]
    fn a_host_gets_what_its_package_manager_and_machine_take() {
        use ArtifactKind::{Deb, Rpm, Tar};
        let all = [
            candidate(Tar, "1.0", Some("x86_64")),
            candidate(Deb, "1.0", Some("aarch64")),
            candidate(Rpm, "1.0", None),
            candidate(Deb, "1.0", Some("x86_64")),
        ];
        assert_eq!(
            choose(&all, "shop", &host(Some(PackageManager::AptGet), "x86_64")).unwrap(),
            3
        );
        assert_eq!(
            choose(&all, "shop", &host(Some(PackageManager::Dpkg), "aarch64")).unwrap(),
            1
        );
        assert_eq!(
            choose(&all, "shop", &host(Some(PackageManager::Zypper), "riscv64")).unwrap(),
            2
        );
        let error = choose(
            &all[..2],
            "shop",
            &host(Some(PackageManager::AptGet), "x86_64"),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("the host is x86_64, and the package is for aarch64"),
            "{error}"
        );
        let error = choose(
            &all[..2],
            "shop",
            &host(Some(PackageManager::Dnf), "x86_64"),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("`pkgapp build --format rpm`"), "{error}");
        assert!(choose(&all, "shop", &host(None, "x86_64")).is_err());
    }

    #[test]
    fn an_interpreter_comes_from_here_or_from_a_repository_unless_it_is_for_another_machine() {
        let app = shared(ArtifactKind::Deb, "1.0", "3.13.2");
        let all = [app.clone(), runtime(ArtifactKind::Deb, "3.13.2")];
        assert_eq!(
            choose_runtime(&all, &app, &host(Some(PackageManager::AptGet), "x86_64")).unwrap(),
            Some(1)
        );
        assert_eq!(
            choose_runtime(
                &all[..1],
                &app,
                &host(Some(PackageManager::AptGet), "x86_64")
            )
            .unwrap(),
            None
        );
        let error = choose_runtime(&all, &app, &host(Some(PackageManager::AptGet), "aarch64"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the host is aarch64") && error.contains("is for x86_64"),
            "{error}"
        );
    }
}
