//! The scripts that hosts run. Each begins with the same prelude and is one file of `scripts/`.

use crate::facts::PackageManager;
use crate::hosts;

/// Asks for the facts that all hosts have; see [`PACKAGE_FACTS`].
pub(super) const FACTS: &str = concat!(
    include_str!("scripts/credentials.sh"),
    include_str!("scripts/listeners.sh"),
    include_str!("scripts/facts.sh")
);
/// Functions for [`FACTS`] on hosts with packages.
pub(super) const PACKAGE_FACTS: &str = concat!(
    include_str!("scripts/packages/facts.sh"),
    include_str!("scripts/credentials.sh"),
    include_str!("scripts/listeners.sh"),
    include_str!("scripts/facts.sh")
);
pub(super) const LOCK: &str = include_str!("scripts/lock.sh");
pub(super) const BEAT: &str = include_str!("scripts/beat.sh");
pub(super) const UNLOCK: &str = include_str!("scripts/unlock.sh");
pub(super) const SWEEP: &str = include_str!("scripts/sweep.sh");
pub(super) const STAGE: &str = include_str!("scripts/stage.sh");
const MIGRATE: &str = include_str!("scripts/migrate.sh");
pub(super) const COMMAND: &str = include_str!("scripts/command.sh");
pub(super) const INSTALL: &str = concat!(
    include_str!("scripts/outcome.sh"),
    include_str!("scripts/install.sh")
);
pub(super) const DECIDE: &str = concat!(
    include_str!("scripts/outcome.sh"),
    include_str!("scripts/probation.sh"),
    include_str!("scripts/decide.sh")
);
pub(super) const HEALTH: &str = concat!(
    include_str!("scripts/works.sh"),
    include_str!("scripts/health.sh")
);
/// Nothing but a login.
pub(super) const TRY_LOGIN: &str = ":\n";
const BEGIN: &str = include_str!("scripts/begin.sh");
const PROCESS: &str = include_str!("scripts/process.sh");
const WORKS: &str = include_str!("scripts/works.sh");
pub(super) const PROBATION: &str = include_str!("scripts/probation.sh");
const TRANSACTION: &str = include_str!("scripts/transaction.sh");
pub(super) const ACTIVATION: &str = include_str!("scripts/activation.sh");
pub(super) const RECORD: &str = include_str!("scripts/record.sh");
pub(super) const RUN: &str = include_str!("scripts/run.sh");
pub(super) const STATUS: &str = include_str!("scripts/status.sh");

/// Functions for the file of secrets, and what is done with it; see [`super::secrets`].
macro_rules! secrets {
    ($name:literal) => {
        concat!(
            include_str!("scripts/credentials.sh"),
            include_str!("scripts/secrets.sh"),
            include_str!(concat!("scripts/secrets/", $name, ".sh"))
        )
    };
}
pub(super) const LOOK_AT_SECRETS: &str = secrets!("look");
pub(super) const READ_SECRETS: &str = secrets!("read");
pub(super) const WRITE_SECRETS: &str = secrets!("write");
pub(super) const RESTART_READERS: &str = secrets!("restart");
pub(super) const RESTORE_SECRETS: &str = secrets!("restore");
pub(super) const SETTLE_SECRETS: &str = secrets!("settle");
pub(super) const SWAP_SECRETS: &str = secrets!("swap");

pub(super) const USER: &str = include_str!("scripts/tarball/user.sh");
pub(super) const OWN_FACTS: &str = include_str!("scripts/tarball/facts.sh");
pub(super) const FILL: &str = include_str!("scripts/tarball/fill.sh");
pub(super) const DERIVE: &str = include_str!("scripts/tarball/derive.sh");
pub(super) const UNPACK: &str = include_str!("scripts/tarball/stage.sh");
const OWN_RUN: &str = include_str!("scripts/tarball/run.sh");
const OWN_MIGRATE: &str = include_str!("scripts/tarball/migrate.sh");
const SWITCH: &str = include_str!("scripts/tarball/transaction.sh");
pub(super) const RETAIN: &str = include_str!("scripts/tarball/retain.sh");
pub(super) const OWN_STATUS: &str = include_str!("scripts/tarball/status.sh");
/// Runs a command with the variables of environment files; see the template.
const WITH_ENVIRONMENT: &str = include_str!("../../templates/with-environment.sh");

/// Puts scripts together with the functions of a package manager: those of `scripts/packages/`, which
/// have the same names for every manager. A script for a host that is known has those of its manager
/// alone; in others, the first manager of this list that is there is chosen.
macro_rules! package_managers {
    ($($kind:literal { $($manager:ident $program:literal $file:literal;)* })*) => {
        /// Where packages are installed by a manager, on a host that was not asked for it yet.
        pub(super) const ANY_SYSTEM: &str = concat!(
            $("use_", $kind, "() {\n", include_str!(concat!("scripts/packages/", $kind, "/common.sh")), "}\n",)*
            "if false; then :\n",
            $($(
                "elif has ", $program, "; then\nmanager=", $program, "\nuse_", $kind, "\n",
                include_str!(concat!("scripts/packages/", $kind, "/", $file)),
            )*)*
            "else\n", include_str!("scripts/packages/none.sh"), "fi\n",
            include_str!("scripts/system.sh"),
        );

        /// Returns what stands after the prelude of every script where this manager installs packages.
        pub(super) const fn system(manager: PackageManager) -> &'static str {
            match manager {
                $($(PackageManager::$manager => concat!(
                    "manager=", $program, "\n",
                    include_str!(concat!("scripts/packages/", $kind, "/common.sh")),
                    include_str!(concat!("scripts/packages/", $kind, "/", $file)),
                    include_str!("scripts/system.sh"),
                ),)*)*
            }
        }
    };
}

package_managers! {
    "deb" {
        AptGet "apt-get" "apt-get.sh";
        Dpkg "dpkg" "dpkg.sh";
    }
    "rpm" {
        Dnf "dnf" "dnf.sh";
        Yum "yum" "dnf.sh";
        Zypper "zypper" "zypper.sh";
        Rpm "rpm" "rpm.sh";
    }
}

/// Defines numbers that pkgapp and its scripts share: constants here, and variables of the prelude.
macro_rules! shared_numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $variable:literal $number:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: $type = $number;)*

        /// What every script begins with.
        pub(super) const PRELUDE: &str = concat!(
            $($variable, "=", $number, "\n",)*
            include_str!("scripts/prelude.sh")
        );
    };
}

shared_numbers! {
    /// Exit status of an installation that failed and was taken back.
    RESTORED: i32 = "exit_restored" 70;
    /// Exit status of an installation that failed and could not be taken back.
    FAILED: i32 = "exit_failed" 71;
    /// Exit status of an installation that the package manager did not begin, or not for the
    /// release's sake.
    REFUSED: i32 = "exit_refused" 72;
    /// Exit status of an installation that has ended and could not write down how: the next push
    /// does it again.
    UNTOLD: i32 = "exit_untold" 73;
    /// Exit status of an installation that was taken back because nobody confirmed it.
    UNCONFIRMED: i32 = "exit_unconfirmed" 78;
    /// Seconds after which a lock without a sign of life is free.
    LEASE_S: u64 = "lease" 60;
}

/// Where a host keeps what it must know of an application, and how scripts get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteState {
    /// The directory.
    pub(super) directory: String,
    /// Whether it is root's, and reached with sudo.
    pub(super) sudo: bool,
    /// Functions of sh that stand after the prelude of every script.
    pub(super) library: &'static str,
    /// Variables for these functions.
    pub(super) env: Vec<(&'static str, String)>,
    /// What runs after the result of a push was written down.
    pub(super) after_record: &'static str,
}

/// Makes a command of a script, for a push that has this token.
pub(super) fn command(
    what: &str,
    body: &str,
    remote: &RemoteState,
    token: &str,
) -> hosts::HostCommand {
    let script = [PRELUDE, remote.library, body].concat();
    let command = hosts::HostCommand::new(what, script)
        .parameter("state", remote.directory.clone())
        .parameter("token", token)
        .sudo(remote.sudo);
    let env = remote.env.iter();
    env.fold(command, |command, (name, value)| {
        command.env(*name, value.clone())
    })
}

/// The script that unpacks a release.
pub(super) fn unpack() -> String {
    [FILL, DERIVE, UNPACK].concat()
}

/// The script that migrates with a package that is not installed yet.
pub(super) fn migrate() -> String {
    ["with_environment() (\n", WITH_ENVIRONMENT, ")\n", MIGRATE].concat()
}

/// The script that migrates with a release that `current` does not lead to yet.
pub(super) fn own_migrate() -> String {
    [
        FILL,
        "with_environment() (\n",
        WITH_ENVIRONMENT,
        ")\n",
        OWN_MIGRATE,
    ]
    .concat()
}

/// The script that runs a command like a service of the release that `current` leads to.
pub(super) fn own_run() -> String {
    [
        FILL,
        "with_environment() (\n",
        WITH_ENVIRONMENT,
        ")\n",
        OWN_RUN,
    ]
    .concat()
}

/// The transaction of a package manager; it finds its parameters beside itself.
pub(super) fn transaction(manager: PackageManager) -> String {
    let library = system(manager);
    [
        BEGIN,
        PRELUDE,
        library,
        WORKS,
        PROBATION,
        PROCESS,
        TRANSACTION,
        ACTIVATION,
    ]
    .concat()
}

/// The transaction that switches `current`; it finds its parameters beside itself.
pub(super) fn switch() -> String {
    [
        BEGIN, PRELUDE, USER, WORKS, PROBATION, PROCESS, SWITCH, ACTIVATION,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs a script of packages with its parameters on a state below a directory; returns whether it
    /// has ended well, and what it has said.
    fn run(state: &Path, body: &str, parameters: &[(&str, &str)]) -> (bool, String) {
        let of_all = [("state", state.to_str().unwrap()), ("token", "token")];
        let all: Vec<(&str, String)> = of_all
            .iter()
            .chain(parameters)
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let parameters = hosts::script::assignments(&all);
        let script = [&parameters, "\n", PRELUDE, ANY_SYSTEM, body].concat();
        let mut sh = Command::new("sh");
        sh.args(["-c", &script]).stdin(Stdio::null());
        let output = sh.output().unwrap();
        (
            output.status.success(),
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        )
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What others than the owner may do anything with, below a directory and itself.
    fn open_to_others(directory: &Path) -> Vec<String> {
        let entries = walkdir::WalkDir::new(directory)
            .into_iter()
            .map(Result::unwrap);
        let open =
            entries.filter(|entry| entry.metadata().unwrap().permissions().mode() & 0o077 != 0);
        open.map(|entry| entry.path().display().to_string())
            .collect()
    }

    const LOCKED: [(&str, &str); 5] = [
        ("owner", "ada"),
        ("dead", ""),
        ("patience", "2"),
        ("seen", ""),
        ("joins", ""),
    ];

    const ASKED: [(&str, &str); 4] = [
        ("name", "shop"),
        ("prefix", "/opt/shop"),
        ("sums", ""),
        ("runtimes", ""),
    ];

    #[test]
    fn a_state_that_earlier_versions_have_left_open_is_closed_whoever_holds_its_locks() {
        let directory = tempfile::tempdir().unwrap();
        let (all, state) = (
            directory.path().join("pkgapp"),
            directory.path().join("pkgapp/shop"),
        );
        assert_eq!(run(&state, LOCK, &LOCKED), (true, "locked\n".to_owned()));
        assert_eq!(open_to_others(&all), [""; 0]);

        // As they lie there after an older version; everybody can open them, and lock what was
        // opened.
        std::fs::create_dir(state.join("transaction")).unwrap();
        let shipped = state.join("packages/aa/host/shop.env");
        std::fs::create_dir_all(shipped.parent().unwrap()).unwrap();
        for file in [
            "mutex",
            "turn",
            "current",
            "history.jsonl",
            "transaction/running",
            "packages/aa/host/shop.env",
        ] {
            std::fs::write(state.join(file), "").unwrap();
            chmod(&state.join(file), 0o644);
        }
        chmod(&all, 0o755);
        chmod(&state, 0o755);
        let hold = |file: &str| {
            let mut hold = Command::new("flock");
            hold.arg("-F")
                .arg(state.join(file))
                .args(["sh", "-c", "echo held; exec sleep 1000"])
                .stdout(Stdio::piped());
            let mut holder = hold.spawn().unwrap();
            let mut line = [0; 5];
            std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut line).unwrap();
            holder
        };
        let holders = ["mutex", "turn", "transaction/running"].map(hold);
        assert_eq!(run(&state, LOCK, &LOCKED), (true, "locked\n".to_owned()));
        for mut holder in holders {
            holder.kill().unwrap();
            holder.wait().unwrap();
        }
        let (kept, others): (Vec<String>, Vec<String>) = open_to_others(&all)
            .into_iter()
            .partition(|path| path.contains("/host"));
        assert_eq!(others, [""; 0]);
        assert!(
            kept.contains(&shipped.display().to_string()),
            "the modes of a release's own files stay: {kept:?}"
        );
    }

    #[test]
    fn a_state_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (all, state) = (
            directory.path().join("pkgapp"),
            directory.path().join("pkgapp/shop"),
        );
        assert!(run(&state, LOCK, &LOCKED).0);
        let lock = std::fs::read(state.join("lock")).unwrap();
        for (path, usual) in [(&all, 0o700), (&state, 0o700), (&state.join("lock"), 0o600)] {
            for mode in [0o770, 0o702] {
                chmod(path, mode);
                let (done, said) = run(&state, LOCK, &LOCKED);
                assert!(
                    !done
                        && said.contains("cannot trust")
                        && said.contains(&path.display().to_string()),
                    "{said}"
                );
                assert_eq!(std::fs::read(state.join("lock")).unwrap(), lock);
                let (_, facts) = run(&state, PACKAGE_FACTS, &ASKED);
                let told = crate::facts::HostFacts::parse(&facts).unwrap().distrusted;
                assert!(
                    told.as_ref()
                        .is_some_and(|why| why.contains(&path.display().to_string())),
                    "{told:?}"
                );
                chmod(path, usual);
            }
        }
        assert_eq!(run(&state, LOCK, &LOCKED), (true, "locked\n".to_owned()));
    }

    #[test]
    fn logs_of_as_many_transactions_as_packages_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("pkgapp/shop");
        assert!(run(&state, LOCK, &LOCKED).0);
        for number in 0..5 {
            let write = |file: &str, text: String| {
                std::fs::create_dir_all(state.join(file).parent().unwrap()).unwrap();
                std::fs::write(state.join(file), text).unwrap();
                chmod(&state.join(file), 0o644);
            };
            write("transaction/log", format!("install {number}\n"));
            write("migrate.log", format!("migrate {number}\n"));
            let (done, said) = run(
                &state,
                RECORD,
                &[
                    ("good", ""),
                    ("marked", ""),
                    ("mark", "failed"),
                    ("keep", "3"),
                    ("line", "\"result\":\"ok\"}"),
                ],
            );
            assert!(done, "{said}");
        }
        let mut logs: Vec<_> = std::fs::read_dir(state.join("logs"))
            .unwrap()
            .map(|log| log.unwrap().path())
            .collect();
        logs.sort();
        let texts: Vec<String> = logs
            .iter()
            .map(|log| std::fs::read_to_string(log).unwrap())
            .collect();
        let mut kinds: Vec<&str> = texts.iter().map(|text| text.trim_end()).collect();
        kinds.sort_unstable();
        assert_eq!(
            kinds,
            [
                "install 2",
                "install 3",
                "install 4",
                "migrate 2",
                "migrate 3",
                "migrate 4"
            ]
        );
        assert_eq!(open_to_others(&state), [""; 0]);
    }

    #[test]
    fn versions_are_data_for_rpm_too() {
        if pkgapp_testing::tool("rpm").is_none() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let script = [
            include_str!("scripts/packages/rpm/common.sh"),
            "compared \"$1\" \"$2\"",
        ]
        .concat();
        let compared = |a: &str, b: &str| {
            pkgapp_testing::run(Command::new("sh").args(["-c", &script, "sh", a, b]))
                .trim()
                .to_owned()
        };
        for (a, b, expected) in [
            ("1.0-1", "1.0~rc1-1", "1"),
            ("2:1", "1:9", "1"),
            ("1.0-1", "1.0-1", "0"),
            ("1", "1.1", "-1"),
        ] {
            assert_eq!(compared(a, b), expected, "{a} {b}");
        }
        let touch = format!("touch {}", mark.display());
        for evil in [
            format!("1'..os.execute('{touch}')..'"),
            format!("1%({touch})"),
            format!("%{{lua:os.execute('{touch}')}}"),
        ] {
            compared(&evil, "1");
            compared("1", &evil);
        }
        assert!(!mark.exists());
    }

    /// All scripts as they run on hosts, and the one that plays package managers in tests.
    fn assembled() -> Vec<String> {
        let migrate = migrate();
        let packages = [
            LOCK, BEAT, UNLOCK, SWEEP, STAGE, &migrate, COMMAND, INSTALL, DECIDE, HEALTH, RECORD,
        ];
        let packages = packages.map(|body| [system(PackageManager::AptGet), body].concat());
        let asked = [PACKAGE_FACTS, STATUS, LOOK_AT_SECRETS, WRITE_SECRETS]
            .map(|body| [ANY_SYSTEM, body].concat());
        let managers = PackageManager::ALL.map(|manager| [system(manager), STATUS].concat());
        let (unpack, own_migrate, own_run) = (unpack(), own_migrate(), own_run());
        let releases = [
            OWN_FACTS,
            &unpack,
            &own_migrate,
            &own_run,
            RETAIN,
            OWN_STATUS,
            READ_SECRETS,
            RESTART_READERS,
            RESTORE_SECRETS,
            SETTLE_SECRETS,
            SWAP_SECRETS,
        ];
        let releases = releases.map(|body| [USER, body].concat());

        let transactions = PackageManager::ALL.map(transaction);
        let begun = packages.into_iter().chain(asked).chain(managers);
        begun
            .chain(releases)
            .chain([RUN.to_owned()])
            .map(|script| [PRELUDE, &script].concat())
            .chain(transactions)
            .chain([switch()])
            .chain([include_str!("fakes/package-manager.sh").to_owned()])
            .collect()
    }

    #[test]
    fn every_script_is_posix_sh() {
        for script in assembled() {
            for shell in ["dash", "bash"] {
                let Some(shell) = pkgapp_testing::tool(shell) else {
                    continue;
                };
                pkgapp_testing::run(Command::new(shell).args(["-n", "-c", &script]));
            }
        }
    }

    #[test]
    fn shellcheck_finds_nothing_in_assembled_scripts() {
        // Parameters come from other files, and not every script uses all of the prelude; `-nt` and
        // `-ef` are in POSIX.1-2024; `~/` is compared as it is written.
        const EXCLUDED: &str = "SC2034,SC2154,SC3013,SC2088";
        let Some(shellcheck) = pkgapp_testing::tool("shellcheck") else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        for (number, script) in assembled().into_iter().enumerate() {
            let file = directory.path().join(format!("{number}.sh"));
            std::fs::write(&file, script).unwrap();
            let mut check = Command::new(&shellcheck);
            check.args(["--shell", "sh", "--severity", "warning", "--format", "gcc"]);
            pkgapp_testing::run(check.args(["--exclude", EXCLUDED]).arg(file));
        }
    }

    /// A value may hold anything, and a file with secrets is not told of.
    #[test]
    fn settings_without_a_value_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let files = [
            write("settings.env", "#A=1\nB=\n  C = x y\nD=1\n"),
            write("secrets.env", "B = s3cret\nAA=1\nE= \n"),
            directory.path().join("gone.env").display().to_string(),
        ];
        let parameters = [
            ("name", "shop"),
            ("prefix", "/opt/shop"),
            ("sums", ""),
            ("runtimes", ""),
            ("needs", "A B C D E F"),
            ("environment_files", &files.join("\n")),
        ];
        let state = directory.path().join("state");
        let (_, said) = run(&state, PACKAGE_FACTS, &parameters);
        let lacks: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("lacks="))
            .collect();
        assert_eq!(lacks, ["A", "E", "F"], "{said}");
        assert!(
            !said.contains("s3cret") && said.contains("facts=end"),
            "{said}"
        );
    }
}
