//! The backend for hosts where one is not root: releases lie beside each other in a directory of the
//! login's, and `current` leads to one.
//!
//! ```text
//! INTO/releases/1.4.2-3f9a0c1d22be/   a release, as the tarball has it; it finds itself, so it runs from there
//! INTO/current                        a symbolic link to one of them: the switch is a rename
//! INTO/shared/                        what outlives releases: etc/, var/, and the paths that `shared` names
//! INTO/.pkgapp/                       what a push keeps there; see the crate
//! ```
//!
//! What a package would put outside of its prefix lies in the tarball's `host/`. What a login has
//! instead, the build has made: units of the user's systemd, lines of the user's crontab,
//! configuration for `shared/etc`. `fill.sh` puts the places of the host into it; for tarballs of
//! earlier versions, `derive.sh` makes it of `host/`.

use std::collections::BTreeMap;

use super::{Backend, JournalAccess};
use crate::artifact::Artifact;
use crate::builder::StepBuilder;
use crate::facts::{HostFacts, LoginDirectory, VersionOrder};
use crate::hosts::HostCommand;
use crate::migration::Migration;
use crate::preflight::{AllowFlags, lacks_settings, no_space, version_refusal};
use crate::probe;
use crate::requirements::HostRequirements;
use crate::script::{self, RemoteState};
use crate::select::SelectedArtifacts;
use crate::service_command::ServiceCommand;
use crate::step::{PushStage, Step};
use crate::stored::{PackageSet, StoredPackage, Transition};
use pkgapp_config::{SharedPath, TarballMode, UnitsOf};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_format::read::ArtifactKind;

/// Where a push keeps what it must know, below the directory of the releases.
const STATE: &str = "/.pkgapp";

/// A user may read what its own units print, as far as the journal is kept on disk and a file of
/// its own (journald.conf(5), `SplitMode=`).
const MAY_READ_JOURNAL: &str = "\
if [ \"$(id -u)\" != 0 ] && [ ! -d /var/log/journal ] && ! id -nG | grep -qwE 'adm|systemd-journal|wheel'; then
  echo \"the journal is not kept in /var/log/journal, so $(id -un) may not read it\" >&2; exit 77
fi
";

/// Releases in a directory of the login's, as `[deploy.NAME]` or `--into` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseDirectoryBackend {
    /// The application.
    pub name: AppName,
    /// The directory; it may begin with `~/`.
    pub into: String,
    /// What all releases share.
    pub shared: Vec<SharedPath>,
    /// Who runs units.
    pub units: UnitsOf,
}

impl ReleaseDirectoryBackend {
    /// Returns what the configuration and the command line say; `None`: packages are installed.
    ///
    /// # Errors
    /// `into` is no directory that releases can lie in.
    pub(super) fn of(
        name: &AppName,
        tarball: Option<&TarballMode>,
        into: Option<&str>,
    ) -> Result<Option<Self>> {
        let into = into.map(pkgapp_config::check_into).transpose()?;
        if into.is_none() && tarball.is_none() {
            return Ok(None);
        }
        let tarball = tarball.cloned().unwrap_or_default();
        Ok(Some(Self {
            name: name.clone(),
            into: into.or(tarball.into).unwrap_or_else(|| format!("~/{name}")),
            shared: tarball.shared,
            units: tarball.units,
        }))
    }
}

impl Backend for ReleaseDirectoryBackend {
    fn accepts(&self, kind: ArtifactKind) -> bool {
        kind == ArtifactKind::Tar
    }

    fn remote_state(&self, facts: Option<&HostFacts>) -> RemoteState {
        let into = facts
            .and_then(|facts| facts.own.as_ref())
            .map_or(&self.into, |own| &own.into);
        RemoteState {
            directory: format!("{into}{STATE}"),
            sudo: false,
            library: script::USER,
            env: vec![("PKGAPP_UNITS", self.units.name().to_owned())],
            after_record: script::RETAIN,
        }
    }

    fn journal(&self) -> JournalAccess {
        JournalAccess {
            check: MAY_READ_JOURNAL,
            unit_option: "--user-unit",
            sudo: false,
        }
    }

    fn probe(&self, prefix: &str, artifacts: &[Artifact]) -> HostCommand {
        let remote = self.remote_state(None);
        let script = [script::OWN_FACTS, script::FACTS].concat();
        probe::command(&remote, &script, &self.name, prefix, artifacts)
    }

    fn status(&self, prefix: &str) -> HostCommand {
        let remote = self.remote_state(None);
        script::command("asking for its condition", script::OWN_STATUS, &remote, "")
            .args([self.name.as_str(), prefix])
            .question()
    }

    fn service_command(
        &self,
        _: &str,
        command: &ServiceCommand,
        variables: &BTreeMap<String, String>,
    ) -> HostCommand {
        command.of_release_directory(&self.name, variables, &self.remote_state(None))
    }

    fn select<'a>(
        &self,
        artifacts: &'a [Artifact],
        facts: &HostFacts,
    ) -> Result<SelectedArtifacts<'a>> {
        let index = choose(artifacts, facts)?;
        Ok(SelectedArtifacts::only(&artifacts[index], index))
    }

    fn preflight(
        &self,
        selected: &SelectedArtifacts<'_>,
        facts: &HostFacts,
        allow: AllowFlags,
    ) -> Vec<Error> {
        let artifact = selected.artifact;
        let mut errors = self.unfit(facts);
        errors.extend(only_for_root(artifact));
        if let Some(asks) = &artifact.asks {
            errors.extend(lacks_python(artifact, asks, facts));
            errors.extend(lacks_glibc(artifact, asks, facts));
            errors.extend(lacks_crontab(artifact, asks, facts));
        }

        let into = facts.own.as_ref().map_or(&self.into, |own| &own.into);
        errors.extend(no_space(selected, facts, into, into));
        if !selected.is_there(facts) {
            let order = by_release(artifact, facts);
            errors.extend(version_refusal(selected, order, allow, facts));
            let place = |file: &str| format!("{into}/shared{file}");
            let lacks = lacks_settings(artifact, facts, place);
            errors.extend(lacks.filter(|_| !allow.missing_settings));
        }
        errors
    }

    fn unfit(&self, facts: &HostFacts) -> Vec<Error> {
        let Some(own) = &facts.own else {
            return vec![Error::bug("a host has not told of its directories")];
        };
        let mut errors = Vec::new();
        if let Err(error) = pkgapp_config::check_into(&own.into) {
            errors.push(error);
        }
        if let Some(place) = &own.unwritable {
            let error = Error::new(format!(
                "`{}` can't be made: `{place}` is not writable for `{}`",
                own.into, facts.user
            ));
            errors.push(error.hint("choose another place with `into` in `[deploy.NAME]`"));
        }
        errors.extend(facts.untrustworthy());
        if let Some(place) = &own.taken {
            let error = Error::new(format!(
                "`{place}` is there, and is no link that pkgapp has made"
            ));
            errors.push(
                error.hint("move it away, or choose another place with `into` in `[deploy.NAME]`"),
            );
        }
        errors
    }

    fn locked_out(&self, facts: &HostFacts) -> Option<Error> {
        facts.untrustworthy()
    }

    fn release_path(&self, prefix: &str, facts: &HostFacts) -> String {
        match &facts.own {
            Some(own) => format!("{}/current", own.into),
            None => prefix.to_owned(),
        }
    }

    fn about(&self, facts: &HostFacts) -> Option<String> {
        facts.own.as_ref().map(|own| format!("in {}", own.into))
    }

    fn notes(&self, artifact: &Artifact, facts: &HostFacts) -> Vec<String> {
        match (&facts.own, &artifact.asks) {
            (Some(own), Some(asks)) => self.shortcomings(own, asks, &facts.user),
            _ => Vec::new(),
        }
    }

    fn prepare(&self, steps: &StepBuilder<'_>, prefix: &str, package: &StoredPackage) -> Vec<Step> {
        let what = format!("unpacking {} beside the other releases", package.file);
        let command = steps
            .command(&what, &script::unpack())
            .args([
                self.name.as_str(),
                &steps.place(package),
                &package.sha256.to_string(),
                &package.version,
                &package.record_sum(),
                prefix,
            ])
            .args(self.shared.iter().map(SharedPath::as_str));
        vec![StepBuilder::run(PushStage::Stage, None, command)]
    }

    fn migrate(
        &self,
        steps: &StepBuilder<'_>,
        set: &PackageSet,
        _: Option<&StoredPackage>,
        migration: &Migration<'_>,
    ) -> Vec<Step> {
        let package = &set.software;
        let mut parameters = vec![
            ("id", package.version.clone()),
            ("sum", package.sha256.to_string()),
            ("service", migration.service_file()),
        ];
        parameters.extend(migration.surroundings(&steps.variables(&package.release)));
        vec![steps.migrate(set, migration, &script::own_migrate(), parameters)]
    }

    fn switch(&self, steps: &StepBuilder<'_>, _: &HostFacts, transition: &Transition<'_>) -> Step {
        let (what, line) = self.switch_texts(steps, transition);
        let of = |set: Option<&PackageSet>| {
            let package = set.map(|set| &set.software);
            package.map_or_else(<[String; 3]>::default, |package| {
                [
                    package.version.clone(),
                    package.sha256.to_string(),
                    package.record_sum(),
                ]
            })
        };
        let [version, sum, record] = of(transition.to);
        let [back_version, back_sum, back_record] = of(transition.fallback.packages());
        let parameters = vec![
            ("name", self.name.to_string()),
            ("state", steps.remote.directory.clone()),
            ("PKGAPP_UNITS", self.units.name().to_owned()),
            ("version", version),
            ("sum", sum),
            ("record", record),
            ("back", transition.fallback.name().to_owned()),
            ("back_version", back_version),
            ("back_sum", back_sum),
            ("back_record", back_record),
        ];
        steps.transaction(
            &what,
            line,
            &transition.goal(),
            transition,
            parameters,
            &script::switch(),
        )
    }
}

impl ReleaseDirectoryBackend {
    /// Returns what the switch does for people, and the command at its core.
    fn switch_texts(
        &self,
        steps: &StepBuilder<'_>,
        transition: &Transition<'_>,
    ) -> (String, String) {
        let state = &steps.remote.directory;
        let into = state.strip_suffix(STATE).unwrap_or(state);
        match transition.to.map(|set| &set.software) {
            Some(package) => (
                format!("switching to {} {}", self.name, package.version),
                format!("{into}/current -> releases/{}", package.version),
            ),
            None => (
                format!("taking {} out of use", self.name),
                format!("rm {into}/current"),
            ),
        }
    }

    /// Returns what an artifact has and the host does nothing with.
    fn shortcomings(
        &self,
        own: &LoginDirectory,
        asks: &HostRequirements,
        user: &str,
    ) -> Vec<String> {
        let mut notes = Vec::new();
        if asks.units && self.units == UnitsOf::User && !own.lingers {
            notes.push(format!(
                "`{user}` does not linger yet; it is tried to have it so"
            ));
        }
        if asks.units && self.units == UnitsOf::None {
            notes.push("the release has units, and nothing starts them".to_owned());
        }
        if asks.logrotate && !own.logrotate {
            notes.push("there is no logrotate, so nothing rotates the logs".to_owned());
        }
        notes
    }
}

/// Returns the program that unpacks a tarball of this name; `None` if it is not compressed.
fn unpacker(file: &str) -> Option<&'static str> {
    let all = [(".zst", "zstd"), (".gz", "gzip"), (".xz", "xz")];
    all.into_iter()
        .find_map(|(end, program)| file.ends_with(end).then_some(program))
}

/// Finds the tarball for a host: of its architecture, and one that it can unpack; of several the
/// one that it has, else the smallest.
fn choose(artifacts: &[Artifact], facts: &HostFacts) -> Result<usize> {
    let own = facts
        .own
        .as_ref()
        .ok_or_else(|| Error::bug("a host has not told of its directories"))?;
    let tarballs: Vec<(usize, &Artifact)> = artifacts
        .iter()
        .enumerate()
        .filter(|(_, artifact)| artifact.kind == ArtifactKind::Tar)
        .collect();
    if tarballs.is_empty() {
        return Err(
            Error::new("releases are unpacked there from a tarball, and there is none")
                .hint("make one: `pkgapp build --format tar`"),
        );
    }

    let of_arch: Vec<(usize, &Artifact)> = tarballs
        .iter()
        .copied()
        .filter(|(_, artifact)| artifact.runs_on(&facts.arch))
        .collect();
    if of_arch.is_empty() {
        return Err(other_machines(&tarballs, facts));
    }

    let unpackable = |artifact: &Artifact| {
        unpacker(&artifact.file)
            .is_none_or(|program| own.unpackers.iter().any(|known| known == program))
    };
    // The same release with another codec is other bytes, and no reason to switch.
    of_arch
        .into_iter()
        .filter(|(_, artifact)| unpackable(artifact))
        .min_by_key(|(_, artifact)| {
            let sum = artifact.sha256;
            (
                facts.current != Some(sum),
                facts.kept(sum).is_none(),
                artifact.size,
            )
        })
        .map(|(index, _)| index)
        .ok_or_else(|| nothing_unpacks(&tarballs))
}

fn other_machines(tarballs: &[(usize, &Artifact)], facts: &HostFacts) -> Error {
    let archs: Vec<&str> = tarballs
        .iter()
        .filter_map(|(_, artifact)| artifact.arch.as_deref())
        .collect();
    Error::new(format!(
        "the host is {}, and the tarball is for {}",
        facts.arch,
        archs.join(", ")
    ))
    .hint(format!("build on a machine with {}", facts.arch))
}

fn nothing_unpacks(tarballs: &[(usize, &Artifact)]) -> Error {
    let wanted: Vec<&str> = tarballs
        .iter()
        .filter_map(|(_, artifact)| unpacker(&artifact.file))
        .collect();
    let error = Error::new(format!(
        "the host lacks tar or {} to unpack the tarball",
        wanted.join(", ")
    ));
    error.hint("every host has gzip: `pkgapp build --format tar.gz`")
}

/// How a tarball's version compares with that of the release in use. Two builds of one version lie
/// beside each other.
fn by_release(artifact: &Artifact, facts: &HostFacts) -> Option<VersionOrder> {
    let version = |text: &str| text.parse::<pkgapp_pypa::Version>().ok();
    let installed = version(&facts.kept_installed()?.release)?;
    Some(if version(&artifact.release)? < installed {
        VersionOrder::Older
    } else {
        VersionOrder::Newer
    })
}

/// The interpreter that applications share is a package.
fn only_for_root(artifact: &Artifact) -> Option<Error> {
    let runtime = artifact.runtime.as_ref()?;
    let error = Error::new(format!(
        "{} runs on the interpreter of `{}`, a package that only root can install",
        artifact.file, runtime.package
    ));
    Some(error.hint("write `interpreter = \"bundled\"` below `[python]`, and build again"))
}

fn lacks_python(artifact: &Artifact, asks: &HostRequirements, facts: &HostFacts) -> Option<Error> {
    let python = asks.python?;
    if facts.pythons.contains(&python) {
        return None;
    }
    let error = Error::new(format!(
        "{} needs `/usr/bin/python{python}`, which is missing there",
        artifact.file
    ));
    Some(error.hint(match facts.pythons.last() {
        Some(there) => format!("build for `version = \"{there}\"`, or ask root for python{python}"),
        None => format!("ask root for python{python}"),
    }))
}

fn lacks_glibc(artifact: &Artifact, asks: &HostRequirements, facts: &HostFacts) -> Option<Error> {
    let (needs, has) = (asks.glibc?, version_pair(&facts.glibc)?);
    if needs <= has {
        return None;
    }
    let (major, minor) = needs;
    let error = Error::new(format!(
        "{} needs glibc {major}.{minor}, and the host has {}",
        artifact.file, facts.glibc
    ));
    Some(error.hint("name the host's distribution in `targets` under `[package]`, and build again"))
}

fn lacks_crontab(artifact: &Artifact, asks: &HostRequirements, facts: &HostFacts) -> Option<Error> {
    let own = facts.own.as_ref()?;
    if !asks.crontab || own.crontab {
        return None;
    }
    let error = Error::new(format!(
        "{} has cron jobs, and there is no crontab there",
        artifact.file
    ));
    Some(error.hint("declare them as `[timer.NAME]`, or ask root for cron"))
}

fn version_pair(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use crate::script;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    const SERVICE: &str = "\
# Made by pkgapp. Change it with `systemctl edit`: an upgrade replaces this file.

[Unit]
Description=shop web
After=network.target

[Service]
ExecStart=/srv/x.y/shop/bin/web --log /var/log/shop/a.log /srv/x.y/shop /srv/x.y/shop-data /mnt/srv/x.y/shop
User=shop
WorkingDirectory=/srv/x.y/shop
Environment=PATH=/srv/x.y/shop/bin:/usr/bin
EnvironmentFile=/etc/shop/shop.env
EnvironmentFile=/etc/shop/secrets.env
EnvironmentFile=-/etc/default/shop
StateDirectory=shop
StateDirectoryMode=0750
RuntimeDirectory=shop
ProtectSystem=strict
CapabilityBoundingSet=
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
";

    /// Runs a function of `fill.sh` for a login with odd places.
    fn fill(shell: &Path, command: &str, text: &[u8]) -> std::process::Output {
        let script = format!("{}set -u; {command}", script::FILL);
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(text).unwrap();
        input.rewind().unwrap();
        let mut sh = Command::new(shell);
        sh.args(["-c", &script, "sh"])
            .envs([("into", r"/home/a&\1#/shop"), ("current", r"/srv/\n{x}")])
            .envs([("XDG_RUNTIME_DIR", "/run/user/7"), ("LC_ALL", "C")])
            .stdin(Stdio::from(input));
        sh.output().unwrap()
    }

    #[test]
    fn marks_are_filled_in_and_all_else_stays_to_the_byte() {
        let texts: [(&[u8], &[u8]); 8] = [
            (b"", b""),
            (b"\n\n", b"\n\n"),
            (b"no end", b"no end"),
            (b"{", b"{"),
            (b"{{}\n{pkgapp{ {}", b"{{}\n{pkgapp{ {}"),
            (
                b"{pkgapp:into}/a:{pkgapp:into}\n{pkgapp:runtime}",
                br"/home/a&\1#/shop/a:/home/a&\1#/shop
/run/user/7",
            ),
            (b"{pkgapp:current}/bin", br"/srv/\n{x}/bin"),
            (
                b"\xff{pkgapp:brace}pkgapp:into}\\n",
                b"\xff{pkgapp:into}\\n",
            ),
        ];
        for shell in ["dash", "bash"] {
            let Some(shell) = pkgapp_testing::tool(shell) else {
                continue;
            };
            for (text, expected) in texts {
                let run = fill(&shell, "fill", text);
                assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
                assert_eq!(run.stdout, expected, "{}", text.escape_ascii());
            }
            let long = "{pkgapp:into}x{".repeat(40_000);
            let run = fill(&shell, "fill", long.as_bytes());
            let filled = long.replace("{pkgapp:into}", r"/home/a&\1#/shop");
            assert!(run.status.success() && run.stdout == filled.as_bytes());
            // A later version's mark, of which this one knows nothing.
            assert!(!fill(&shell, "fill", b"{pkgapp:other} {").status.success());
        }
    }

    #[test]
    fn a_login_gets_what_the_build_has_made_with_its_modes() {
        let directory = tempfile::tempdir().unwrap();
        let (release, to) = (
            directory.path().join("release"),
            directory.path().join("to"),
        );
        for (file, text) in [
            (
                ".pkgapp/login/units/shop.target",
                "# pkgapp: {pkgapp:into}\n",
            ),
            (
                ".pkgapp/login/etc/shop/shop.env",
                "A={pkgapp:runtime}/shop\n",
            ),
            (".pkgapp/login/enabled", "{pkgapp:into}\n"),
            (
                ".pkgapp/login/filled",
                "units/shop.target\netc/shop/shop.env\n",
            ),
            (".pkgapp/login/copied", "etc/shop/a b/c\n"),
            ("host/etc/shop/a b/c", "{pkgapp:into}\n"),
        ] {
            write(&release.join(file), text);
        }
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let secret = release.join(".pkgapp/login/etc/shop/shop.env");
        std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o440)).unwrap();
        let command = format!("fill_login {} {}", release.display(), to.display());
        let run = fill(Path::new("sh"), &command, b"");
        assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
        assert_eq!(
            read(&to.join("units/shop.target")),
            "# pkgapp: /home/a&\\1#/shop\n"
        );
        assert_eq!(read(&to.join("etc/shop/shop.env")), "A=/run/user/7/shop\n");
        assert_eq!(mode(to.join("etc/shop/shop.env")), 0o440);
        assert_eq!(
            read(&to.join("enabled")),
            "{pkgapp:into}\n",
            "it is not listed"
        );
        assert_eq!(read(&to.join("etc/shop/a b/c")), "{pkgapp:into}\n");
        assert!(!to.join("filling").exists());
        write(&release.join(".pkgapp/login/copied"), "../out\n");
        assert!(!fill(Path::new("sh"), &command, b"").status.success());
    }

    #[test]
    fn what_a_package_puts_elsewhere_is_no_command_of_sed() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to, mark] = ["host", "own", "mark"].map(|name| directory.path().join(name));
        write(
            &from.join("usr/lib/systemd/system/shop.service"),
            "[Service]\nStateDirectory=shop#e\nExecStart=/var/lib/shop#e\n",
        );
        write(
            &from.join("etc/cron.d/shop"),
            &format!("PATH=/bin:#e\n@daily shop touch {}\n", mark.display()),
        );
        write(
            &from.join("etc/shop/x"),
            &format!("touch {} /var/lib/shop#e\n", mark.display()),
        );
        let script = format!(
            "say() {{ printf '%s\\n' \"$*\"; }}\n{}derive_login \"$1\" \"$2\"",
            script::DERIVE
        );
        let run = Command::new("sh")
            .args(["-c", &script, "sh"])
            .args([&from, &to])
            .envs([
                ("into", "/home/ada/shop"),
                ("state", "/home/ada/shop/.pkgapp"),
                ("name", "shop"),
            ])
            .envs([("prefix", "/opt/shop"), ("XDG_RUNTIME_DIR", "/run/user/7")])
            .output()
            .unwrap();
        assert!(
            run.status.success() && run.stderr.is_empty() && !mark.exists(),
            "{run:?}"
        );
        let crontab = std::fs::read_to_string(to.join("crontab")).unwrap();
        assert_eq!(
            crontab,
            format!(
                "@daily PATH=/bin:#e; export PATH; touch {}\n",
                mark.display()
            )
        );
    }

    #[test]
    fn what_a_package_puts_elsewhere_becomes_what_a_login_can_have() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("host"), directory.path().join("own"));
        write(
            &from.join("usr/lib/systemd/system/shop-web.service"),
            SERVICE,
        );
        write(
            &from.join("usr/lib/systemd/system-preset/50-shop.preset"),
            "# Made\nenable shop-web.service\n",
        );
        write(
            &from.join("etc/shop/shop.env"),
            "DB=/var/lib/shop/db\nOTHER=/var/lib/shops\nSOCKET=/run/shop/s\n",
        );
        write(&from.join("etc/shop/blob"), "\0/var/lib/shop/db");
        write(
            &from.join("etc/cron.d/shop"),
            "# Made\nSHELL=/bin/sh\nPATH=/srv/x.y/shop/bin:/usr/bin\n\
             */5 * * *\t1-5 shop cd /srv/x.y/shop && a \\% b\n@daily shop [ -e c ] || exit 0; c\n",
        );
        write(
            &from.join("etc/logrotate.d/shop"),
            "\"/var/log/shop/*.log\"\n{\n    su shop shop\n    create 0640 shop shop\n}\n",
        );
        let script = format!("{}derive_login \"$1\" \"$2\"", script::DERIVE);
        let variables = "say() { printf '%s\\n' \"$*\"; }; set -u\n";
        let run = Command::new("sh")
            .args(["-c", &[variables, &script].concat(), "sh"])
            .args([&from, &to])
            .envs([
                ("into", "/home/ada/shop"),
                ("state", "/home/ada/shop/.pkgapp"),
                ("name", "shop"),
            ])
            .envs([("prefix", "/opt/shop"), ("XDG_RUNTIME_DIR", "/run/user/7")])
            .output()
            .unwrap();
        assert!(run.status.success() && run.stderr.is_empty(), "{run:?}");
        let expected = "\
# Made by pkgapp. Change it with `systemctl --user edit`: an upgrade replaces this file.
# pkgapp: /home/ada/shop

[Unit]
Description=shop web

[Service]
ExecStart=/home/ada/shop/current/bin/web --log /home/ada/shop/shared/var/log/shop/a.log /home/ada/shop/current /srv/x.y/shop-data /mnt/srv/x.y/shop
WorkingDirectory=/home/ada/shop/current
Environment=PATH=/home/ada/shop/current/bin:/usr/bin
EnvironmentFile=/home/ada/shop/shared/etc/shop/shop.env
EnvironmentFile=/home/ada/shop/shared/etc/shop/secrets.env
EnvironmentFile=-/etc/default/shop
Environment=STATE_DIRECTORY=/home/ada/shop/shared/var/lib/shop
RuntimeDirectory=shop
NoNewPrivileges=yes

[Install]
WantedBy=default.target
";
        similar_asserts::assert_eq!(read(&to.join("units/shop-web.service")), expected);
        assert_eq!(
            read(&to.join("enabled")),
            "shop-web.service\nshop-logrotate.timer\n"
        );
        assert_eq!(
            read(&to.join("etc/shop/shop.env")),
            "DB=/home/ada/shop/shared/var/lib/shop/db\nOTHER=/var/lib/shops\nSOCKET=/run/user/7/shop/s\n"
        );
        assert_eq!(read(&to.join("etc/shop/blob")), "\0/var/lib/shop/db");
        let path = "PATH=/home/ada/shop/current/bin:/usr/bin; export PATH;";
        assert_eq!(
            read(&to.join("crontab")),
            format!(
                "*/5 * * *\t1-5 {path} cd /home/ada/shop/current && a \\% b\n@daily {path} [ -e c ] || exit 0; c\n"
            )
        );
        assert_eq!(
            read(&to.join("etc/logrotate.d/shop")),
            "\"/home/ada/shop/shared/var/log/shop/*.log\"\n{\n    create 0640\n}\n"
        );
        assert_eq!(read(&to.join("secrets")), "etc/shop/secrets.env\n");
        assert_eq!(
            read(&to.join("directories")),
            "var/lib/shop\nvar/cache/shop\nvar/log/shop\n"
        );
    }

    /// A home directory with two releases, of which `current` leads to the first, and programs that
    /// kill who calls them.
    struct Home {
        root: tempfile::TempDir,
        sums: [String; 2],
    }

    /// A crontab(1) that keeps one in the home directory, and takes none for which a condition
    /// holds.
    fn crontab(refused: &str) -> String {
        let list = "if [ \"$1\" = -l ]; then exec cat \"$HOME/crontab\"; fi";
        format!(
            "#!/bin/sh\n{list}\nif {refused}; then exit 1; fi\nexec cp \"$1\" \"$HOME/crontab\"\n"
        )
    }

    const IDS: [&str; 2] = ["1.0-aaaaaaaaaaaa", "2.0-bbbbbbbbbbbb"];

    impl Home {
        fn new() -> Self {
            let home = Self {
                root: tempfile::tempdir().unwrap(),
                sums: ["a".repeat(64), "b".repeat(64)],
            };
            for (id, sum) in IDS.iter().zip(&home.sums) {
                write(
                    &home.path(&format!("shop/releases/{id}/.pkgapp/release.json")),
                    id,
                );
                let kept = format!("shop/.pkgapp/packages/{sum}");
                for (file, text) in [
                    ("etc/shop/shop.env", format!("OF={id}\n")),
                    ("etc/shop/edited.env", format!("OF={id}\n")),
                    ("units/shop-web.service", format!("# {id}\n")),
                    ("enabled", "shop-web.service\n".to_owned()),
                    ("crontab", format!("@daily {id}\n")),
                    ("secrets", "etc/shop/secrets.env\n".to_owned()),
                    ("directories", "var/lib/shop\n".to_owned()),
                ] {
                    write(&home.path(&format!("{kept}/host/{file}")), &text);
                }
            }
            // Each asks whether its turn has come, and kills the script then.
            for program in [
                "cp", "mv", "ln", "rm", "mkdir", "cmp", "touch", "sort", "find", "sync", "chmod",
                "awk",
            ] {
                let Ok(real) = which::which(program) else {
                    continue;
                };
                let text = format!(
                    "#!/bin/sh\nn=$(($(cat \"$COUNT\") - 1)); echo $n >\"$COUNT\"\n\
                     [ $n != 0 ] || {{ kill -9 $PPID; exit 1; }}\nexec {} \"$@\"\n",
                    real.display()
                );
                home.program(&format!("killing/{program}"), &text);
            }
            // Nothing here has to outlive a power failure.
            home.program("bin/sync", "#!/bin/sh\n");
            home.program("bin/crontab", &crontab("false"));
            write(&home.path("crontab"), "0 0 1 1 * mine\n");
            home
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn program(&self, name: &str, text: &str) {
            write(&self.path(name), text);
            std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755))
                .unwrap();
        }

        /// What the transaction to a release (by its index) is told.
        fn prepare(&self, to: usize, back: usize) {
            let record = |index: usize| pkgapp_core::digest::Sha256Sum::of(IDS[index].as_bytes());
            let state = self.path("shop/.pkgapp");
            let (sums, state_text) = (&self.sums, state.display());
            let text = format!(
                "name=shop\nstate={state_text}\ntoken=t\nPKGAPP_UNITS=none\nversion={}\nsum={}\nrecord={}\n\
                 back=package\nback_version={}\nback_sum={}\nback_record={}\n\
                 check=\ncheck_command=\nconfirm=off\nwithin=\nwhole=yes\n",
                IDS[to],
                sums[to],
                record(to),
                IDS[back],
                sums[back],
                record(back)
            );
            _ = std::fs::remove_dir_all(state.join("transaction"));
            write(&state.join("transaction/parameters"), &text);
            write(&state.join("transaction/run"), &script::switch());
        }

        /// Runs it; the `kill`th program that it calls kills it. Returns whether it came to its
        /// end.
        fn run(&self, kill: u32) -> bool {
            write(&self.path("count"), &kill.to_string());
            let own = format!(
                "{}:{}",
                self.path("bin").display(),
                std::env::var("PATH").unwrap()
            );
            let path = if kill == 0 {
                own
            } else {
                format!("{}:{own}", self.path("killing").display())
            };
            let run = self.path("shop/.pkgapp/transaction/run");
            let mut sh = Command::new("sh");
            sh.arg(run)
                .env("HOME", self.root.path())
                .env("PATH", path)
                .env("COUNT", self.path("count"));
            sh.output().unwrap().status.success()
        }

        fn copy(&self, from: &str, to: &str) {
            pkgapp_testing::run(Command::new("rm").arg("-rf").arg(self.path(to)));
            pkgapp_testing::run(
                Command::new("cp")
                    .arg("-a")
                    .args([self.path(from), self.path(to)]),
            );
        }

        fn current(&self) -> String {
            let link = std::fs::read_link(self.path("shop/current")).unwrap();
            assert!(
                self.path("shop/current/.pkgapp/release.json").is_file(),
                "{}",
                link.display()
            );
            link.file_name().unwrap().to_string_lossy().into_owned()
        }

        fn result(&self) -> String {
            read(&self.path("shop/.pkgapp/transaction/result"))
                .lines()
                .next()
                .unwrap()
                .to_owned()
        }

        /// All that belongs to a release is in place, and what is the user's is as it was.
        fn check(&self, id: &str) {
            assert_eq!(self.current(), id);
            assert_eq!(
                read(&self.path("shop/shared/etc/shop/shop.env")),
                format!("OF={id}\n")
            );
            assert_eq!(
                read(&self.path("shop/shared/etc/shop/edited.env")),
                "mine\n"
            );
            let cron = read(&self.path("crontab"));
            let into = self.path("shop");
            let into = into.display();
            let expected = format!(
                "0 0 1 1 * mine\n# >>> shop, by pkgapp, in {into}\n@daily {id}\n# <<< shop, by pkgapp, in {into}\n"
            );
            assert_eq!(cron, expected);
        }
    }

    #[test]
    fn a_switch_that_is_killed_anywhere_leaves_one_release_or_the_other_and_is_done_again() {
        let mut killed = 0;
        let home = Home::new();
        home.prepare(0, 1);
        assert!(home.run(0));
        write(&home.path("shop/shared/etc/shop/edited.env"), "mine\n");
        home.check(IDS[0]);
        home.prepare(1, 0);
        home.copy("shop", "before");
        home.copy("crontab", "crontab.before");
        for kill in 1.. {
            home.copy("before", "shop");
            home.copy("crontab.before", "crontab");
            if home.run(kill) {
                assert_eq!(home.result(), "result=done");
                home.check(IDS[1]);
                let beside = home.path("shop/shared/etc/shop/edited.env.pkgapp-new");
                assert_eq!(read(&beside), format!("OF={}\n", IDS[1]));
                let result = read(&home.path("shop/.pkgapp/transaction/result"));
                assert!(
                    result.contains(&format!("\nleft={}\n", beside.display())),
                    "{result}"
                );
                break;
            }
            killed += 1;
            assert!(
                IDS.contains(&home.current().as_str()),
                "killed by program {kill}"
            );
            assert!(home.run(0), "after program {kill}");
            assert_eq!(home.result(), "result=done", "after program {kill}");
            home.check(IDS[1]);
        }
        assert!(killed > 15, "only {killed} programs were called");
    }

    #[test]
    fn a_switch_that_fails_goes_back_by_itself() {
        let home = Home::new();
        home.prepare(0, 1);
        assert!(home.run(0));
        write(&home.path("shop/shared/etc/shop/edited.env"), "mine\n");
        // What worked once was seen by whoever has edited.
        write(
            &home.path(&format!("shop/.pkgapp/packages/{}/good", home.sums[0])),
            "1.0\n",
        );
        home.program("bin/crontab", &crontab("grep -q 2.0 \"$1\""));
        home.prepare(1, 0);
        assert!(home.run(0));
        let result = read(&home.path("shop/.pkgapp/transaction/result"));
        let expected = format!(
            "result=restored\nversion={}\nwhy=the crontab could not be changed\n",
            IDS[0]
        );
        assert_eq!(
            result, expected,
            "and nothing is left beside the configuration"
        );
        home.check(IDS[0]);
        // A release that is not whole is not switched to at all.
        std::fs::remove_file(home.path(&format!("shop/releases/{}/.pkgapp/release.json", IDS[1])))
            .unwrap();
        home.prepare(1, 0);
        assert!(home.run(0));
        assert_eq!(home.result(), "result=restored");
        home.check(IDS[0]);
    }
}
