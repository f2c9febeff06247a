//! Hosts where one is not root: releases lie beside each other in a directory of the login's, and
//! `current` leads to one.
//!
//! ```text
//! INTO/releases/1.4.2-3f9a0c1d22be/   a release, as the tarball has it; it finds itself, so it runs from there
//! INTO/current                        a symbolic link to one of them: the switch is a rename
//! INTO/shared/                        what outlives releases: etc/, var/, and the paths that `shared` names
//! INTO/.pkgapp/                       what a push keeps there; see the module above
//! ```
//!
//! What a package would put outside of its prefix lies in the tarball's `host/`. `map.sh` makes of
//! it what a login can have: units of the user's systemd, lines of the user's crontab,
//! configuration in `shared/etc`.

use super::artifact::Artifact;
use super::facts::HostFacts;
use super::script::RemoteState;
use pkgapp_config::{SharedPath, TarballMode, UnitsOf};
use pkgapp_core::error::{Error, Result};
use pkgapp_core::name::AppName;
use pkgapp_format::read::ArtifactKind;

/// Where releases lie if nothing else is said.
pub fn default_into(name: &AppName) -> String {
    format!("~/{name}")
}

/// What `[deploy.NAME]` or `--into` say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseDirectory {
    /// The directory; it may begin with `~/`.
    pub into: String,
    /// What all releases share.
    pub shared: Vec<SharedPath>,
    /// Who runs units.
    pub units: UnitsOf,
}

impl ReleaseDirectory {
    /// Returns what the configuration and the command line say; `None`: packages are installed.
    ///
    /// # Errors
    /// `into` is no directory that releases can lie in.
    pub fn of(
        name: &AppName,
        tarball: Option<&TarballMode>,
        into: Option<&str>,
    ) -> Result<Option<Self>> {
        let Some(into) = into.map(pkgapp_config::check_into).transpose()? else {
            return Ok(tarball.map(|tarball| Self {
                into: tarball.into.clone().unwrap_or_else(|| default_into(name)),
                shared: tarball.shared.clone(),
                units: tarball.units,
            }));
        };
        let tarball = tarball.cloned().unwrap_or_default();
        Ok(Some(Self {
            into,
            shared: tarball.shared,
            units: tarball.units,
        }))
    }

    /// Returns where a host keeps what it must know, before or after it has told its home
    /// directory.
    pub fn seat(&self, facts: Option<&HostFacts>) -> RemoteState {
        let into = facts
            .and_then(|facts| facts.own.as_ref())
            .map_or(&self.into, |own| &own.into);
        RemoteState::own(into, self.units)
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
///
/// # Errors
/// There is none; the error says what would help.
pub(super) fn choose(artifacts: &[Artifact], facts: &HostFacts) -> Result<usize> {
    let own = facts
        .own
        .as_ref()
        .ok_or_else(|| Error::bug("a host has not told of its directories"))?;
    let tarballs = || {
        artifacts
            .iter()
            .enumerate()
            .filter(|(_, artifact)| artifact.kind == ArtifactKind::Tar)
    };
    if tarballs().next().is_none() {
        return Err(
            Error::new("releases are unpacked there from a tarball, and there is none")
                .hint("make one: `pkgapp build --format tar`"),
        );
    }
    let of_arch = |artifact: &Artifact| {
        artifact
            .arch
            .as_deref()
            .is_none_or(|arch| arch == facts.arch)
    };
    if !tarballs().any(|(_, artifact)| of_arch(artifact)) {
        let archs: Vec<&str> = tarballs()
            .filter_map(|(_, artifact)| artifact.arch.as_deref())
            .collect();
        return Err(Error::new(format!(
            "the host is {}, and the tarball is for {}",
            facts.arch,
            archs.join(", ")
        ))
        .hint(format!("build on a machine with {}", facts.arch)));
    }
    let unpackable = |artifact: &Artifact| match unpacker(&artifact.file) {
        Some(program) => own.unpackers.iter().any(|known| known == program),
        None => true,
    };
    let fitting = tarballs().filter(|(_, artifact)| of_arch(artifact) && unpackable(artifact));
    // The same release with another codec is other bytes, and no reason to switch.
    let best = fitting.min_by_key(|(_, artifact)| {
        let sum = artifact.sha256;
        (
            facts.current != Some(sum),
            facts.kept(sum).is_none(),
            artifact.size,
        )
    });
    best.map(|(index, _)| index).ok_or_else(|| {
        let wanted: Vec<&str> = tarballs()
            .filter_map(|(_, artifact)| unpacker(&artifact.file))
            .collect();
        let error = Error::new(format!(
            "the host lacks tar or {} to unpack the tarball",
            wanted.join(", ")
        ));
        error.hint("every host has gzip: `pkgapp build --format tar.gz`")
    })
}

/// Everything that speaks against a tarball on a host.
pub(super) fn against(artifact: &Artifact, facts: &HostFacts) -> Vec<Error> {
    let mut errors = unfit(facts);
    if let Some(runtime) = &artifact.runtime {
        let error = Error::new(format!(
            "{} runs on the interpreter of `{}`, a package that only root can install",
            artifact.file, runtime.package
        ));
        errors.push(
            error.hint("write `interpreter = \"bundled\"` below `[python]`, and build again"),
        );
    }
    let Some(asks) = &artifact.asks else {
        return errors;
    };
    if let Some(python) = asks.python
        && !facts.pythons.contains(&python)
    {
        let error = Error::new(format!(
            "{} needs `/usr/bin/python{python}`, which is missing there",
            artifact.file
        ));
        errors.push(error.hint(match facts.pythons.last() {
            Some(there) => {
                format!("build for `version = \"{there}\"`, or ask root for python{python}")
            }
            None => format!("ask root for python{python}"),
        }));
    }
    if let (Some(needs), Some(has)) = (asks.glibc, version_pair(&facts.glibc))
        && needs > has
    {
        let (major, minor) = needs;
        let error = Error::new(format!(
            "{} needs glibc {major}.{minor}, and the host has {}",
            artifact.file, facts.glibc
        ));
        errors.push(
            error.hint(
                "name the host's distribution in `targets` under `[package]`, and build again",
            ),
        );
    }
    let own = facts.own.as_ref();
    if asks.crontab && own.is_some_and(|own| !own.crontab) {
        let error = Error::new(format!(
            "{} has cron jobs, and there is no crontab there",
            artifact.file
        ));
        errors.push(error.hint("declare them as `[timer.NAME]`, or ask root for cron"));
    }
    errors
}

/// What speaks against any release in the host's directory.
pub(super) fn unfit(facts: &HostFacts) -> Vec<Error> {
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

/// What is to be known about a host besides.
pub(super) fn found(artifact: &Artifact, facts: &HostFacts, units: UnitsOf) -> Vec<String> {
    let (Some(own), Some(asks)) = (&facts.own, &artifact.asks) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if asks.units && units == UnitsOf::User && !own.lingers {
        found.push(format!(
            "`{}` does not linger yet; it is tried to have it so",
            facts.user
        ));
    }
    if asks.units && units == UnitsOf::None {
        found.push("the release has units, and nothing starts them".to_owned());
    }
    if asks.logrotate && !own.logrotate {
        found.push("there is no logrotate, so nothing rotates the logs".to_owned());
    }
    found
}

fn version_pair(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::super::script;

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
            "say() {{ printf '%s\\n' \"$*\"; }}\n{}map_host \"$1\" \"$2\"",
            script::MAP
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
             */5 * * *\t1-5 shop cd /srv/x.y/shop && a \\% b\n@daily shop c\n",
        );
        write(
            &from.join("etc/logrotate.d/shop"),
            "\"/var/log/shop/*.log\"\n{\n    su shop shop\n    create 0640 shop shop\n}\n",
        );
        let script = format!("{}map_host \"$1\" \"$2\"", script::MAP);
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
                "*/5 * * *\t1-5 {path} cd /home/ada/shop/current && a \\% b\n@daily {path} c\n"
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
                 back=package\nback_version={}\nback_sum={}\nback_record={}\n",
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
