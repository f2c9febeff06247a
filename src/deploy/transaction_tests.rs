//! Whole pushes and roll-backs on a host whose package manager is a fake: the real scripts, run by
//! sh in a mount namespace of their own, where the fake is what is found as dpkg, rpm and so on.
//!
//! What ran is judged by what the fake has recorded, which must be the lines of the plan, and by what
//! is installed in its database at the end.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use pkgapp_config::DeployHooks;
use pkgapp_core::digest::Sha256Sum;
use pkgapp_format::read::ArtifactKind;

use super::artifact::Artifact;
use super::artifact::tests::{candidate, configuration, runtime, shared, software};
use super::facts::{HostFacts, PackageManager};
use super::health::HealthCheck;
use super::hosts::HostCommand;
use super::hosts::script::assignments;
use super::plan::{HostPlan, Plan};
use super::policy::{DeployPolicy, TargetHost};
use super::preflight::AllowFlags;
use super::rollback::RollbackTarget;
use super::script;
use super::step::{PushStage, Step, StepAction};
use super::tests::policy;

const FAKE: &str = include_str!("fakes/package-manager.sh");

/// Puts the fake host's directories in the place of the machine's, hides the machine's package
/// managers, says so, and stays. Argument: the directory.
const HOST: &str = r#"
mount --bind "$1/var-lib" /var/lib && mount --bind "$1/run" /run && mount --bind "$1/opt" /opt &&
  mount --bind "$1/share" /usr/share && mount --bind "$1/bin" /usr/local/sbin && mount --bind "$1/systemd" /etc/systemd || exit 99
for each in apt-get dpkg dpkg-query dpkg-deb rpm dnf yum zypper; do
  for in in /usr/bin /usr/local/bin; do
    if [ -e "$in/$each" ]; then mount --bind /dev/null "$in/$each" || exit 99; fi
  done
done
echo ready
exec sleep 600
"#;

/// A host with a fake package manager.
struct FakeHost {
    directory: tempfile::TempDir,
    manager: PackageManager,
    /// A process in its namespaces.
    anchor: Child,
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.anchor.kill().unwrap();
        self.anchor.wait().unwrap();
    }
}

/// What a push or a roll-back has done.
#[derive(Debug)]
struct Outcome {
    /// How the transaction has ended.
    result: String,
    /// What has changed the fake's database, each the words of a command.
    ran: Vec<String>,
    /// The same as the plan tells, there and back.
    to: Vec<String>,
    back: Vec<String>,
    #[expect(dead_code, reason = "tests that fail print it")]
    said: String,
}

impl FakeHost {
    /// Makes a host; `None` where there are no namespaces.
    fn new(manager: PackageManager) -> Option<Self> {
        pkgapp_testing::tool("nsenter")?;
        let unshare = pkgapp_testing::tool("unshare")?;
        let directory = tempfile::tempdir().unwrap();
        for place in [
            "var-lib/fake/packages",
            "run",
            "opt",
            "bin",
            "share",
            "systemd/system",
            "dist",
        ] {
            std::fs::create_dir_all(directory.path().join(place)).unwrap();
        }
        let bin = directory.path().join("bin");
        std::fs::write(bin.join("fake"), FAKE).unwrap();
        std::fs::set_permissions(bin.join("fake"), PermissionsExt::from_mode(0o755)).unwrap();
        let own: &[&str] = match manager {
            PackageManager::AptGet => &["apt-get", "dpkg", "dpkg-query", "dpkg-deb"],
            PackageManager::Dpkg => &["dpkg", "dpkg-query", "dpkg-deb"],
            PackageManager::Rpm => &["rpm"],
            PackageManager::Dnf | PackageManager::Yum | PackageManager::Zypper => {
                &["rpm", manager.program()]
            }
        };
        let others = ["apt-cache", "apt-config", "sync", "systemctl", "journalctl"];
        for name in own.iter().chain(&others) {
            symlink("fake", bin.join(name)).unwrap();
        }

        let mut command = Command::new(unshare);
        command.args(["-r", "-m", "sh", "-c", HOST, "sh"]);
        command.arg(directory.path()).stdin(Stdio::null());
        let mut anchor = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        let output = anchor.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut ready).unwrap();
        let host = Self {
            directory,
            manager,
            anchor,
        };
        if ready == "ready\n" {
            return Some(host);
        }
        pkgapp_testing::left_out("this process cannot create user and mount namespaces");
        None
    }

    fn path(&self, place: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(place)
    }

    fn run(&self, command: &HostCommand) -> Output {
        let parameters = assignments(&command.parameters);
        let script = format!("cd /\n{parameters}\n{}", command.script);
        let mut process = Command::new("nsenter");
        process
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.anchor.id().to_string())
            .args(["sh", "-c", &script, "sh"])
            .args(&command.args)
            .envs(&command.env)
            .env("PATH", "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        process.output().unwrap()
    }

    fn kind(&self) -> ArtifactKind {
        self.manager.kind()
    }

    /// Writes the package that `artifact` stands for; `build` tells one from another of the same
    /// version.
    fn package(&self, artifact: Artifact, build: u32) -> Artifact {
        let record = format!("{} {} {build}", artifact.name, artifact.version);
        self.package_with(artifact, &record, "x86_64", "")
    }

    fn package_with(
        &self,
        artifact: Artifact,
        record: &str,
        arch: &str,
        replaces: &str,
    ) -> Artifact {
        let text = format!(
            "name={}\nversion={}\narch={arch}\nreplaces={replaces}\nrecord={record}\n",
            artifact.name, artifact.version
        );
        let path = self.path("dist").join(&artifact.file);
        std::fs::write(&path, &text).unwrap();
        Artifact {
            path,
            record: Sha256Sum::of(record.as_bytes()),
            sha256: Sha256Sum::of(text.as_bytes()),
            size: text.len() as u64,
            depends: Vec::new(),
            settings: None,
            service: None,
            ..artifact
        }
    }

    fn app(&self, release: &str) -> Artifact {
        self.package(candidate(self.kind(), release, Some("x86_64")), 1)
    }

    /// An application with the interpreter that it shares.
    fn sharing(&self, release: &str, python: &str) -> [Artifact; 2] {
        [
            self.package(shared(self.kind(), release, python), 1),
            self.package(runtime(self.kind(), python), 1),
        ]
    }

    fn policy(&self) -> DeployPolicy {
        DeployPolicy {
            check: HealthCheck {
                services: Vec::new(),
                url: None,
                command: None,
                timeout: Duration::from_secs(5),
                settle: Duration::ZERO,
            },
            migrate: None,
            hooks: DeployHooks::default(),
            patience: Duration::from_secs(5),
            allow: AllowFlags {
                downgrade: true,
                reinstall: true,
                same_name: false,
                missing_settings: false,
            },
            ..policy()
        }
    }

    fn facts(&self, artifacts: &[Artifact]) -> HostFacts {
        let output = self.run(&self.policy().backend.probe("/opt/shop", artifacts));
        let mut facts = HostFacts::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert_eq!(facts.manager, Some(self.manager));
        // Where this is not root, the machine's own directories are another user's.
        facts.unwritable.clear();
        facts.arch = "x86_64".into();
        facts
    }

    fn target(&self, artifacts: &[Artifact]) -> TargetHost {
        TargetHost {
            name: "web1".into(),
            variables: std::collections::BTreeMap::new(),
            facts: self.facts(artifacts),
        }
    }

    fn push(&self, artifacts: &[Artifact]) -> Outcome {
        let plan = Plan::push(&self.policy(), artifacts, &[self.target(artifacts)]).unwrap();
        self.carry_out(&plan.hosts[0])
    }

    fn roll_back(&self) -> Outcome {
        self.roll_back_to(RollbackTarget::Previous)
    }

    fn roll_back_to(&self, target: RollbackTarget<'_>) -> Outcome {
        let plan = Plan::rollback(&self.policy(), target, &[self.target(&[])]).unwrap();
        self.carry_out(&plan.hosts[0])
    }

    /// Runs the steps of a plan, and those that follow a failed installation.
    fn carry_out(&self, plan: &HostPlan) -> Outcome {
        let log = self.path("var-lib/fake/log");
        std::fs::write(&log, "").unwrap();
        let mut result = String::new();
        let mut said = String::new();
        for step in plan.prepare.iter().chain(&plan.switch) {
            let Some(output) = self.step(step) else {
                continue;
            };
            said.push_str(&String::from_utf8_lossy(&output.stdout));
            said.push_str(&String::from_utf8_lossy(&output.stderr));
            let ends = matches!(step.stage, PushStage::Install | PushStage::Confirm);
            if ends {
                result = result_in(&output);
            }
            if !output.status.success() {
                assert!(ends, "{}: {said}", step.what);
                let after = if result == "refused" {
                    &plan.refused
                } else {
                    &plan.failed
                };
                for step in after {
                    self.step(step);
                }
                break;
            }
        }
        for step in &plan.unlock {
            self.step(step);
        }
        Outcome {
            result,
            ran: std::fs::read_to_string(&log)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect(),
            to: installs(&plan.switch),
            back: installs(&plan.back),
            said,
        }
    }

    /// Runs a step; `None`: a file was sent.
    fn step(&self, step: &Step) -> Option<Output> {
        match &step.action {
            StepAction::Run(command) => Some(self.run(command)),
            StepAction::Upload(upload) => {
                let super::hosts::UploadContent::File(from) = &upload.content else {
                    panic!("{step:?}")
                };
                let to = upload.path.strip_prefix("/var/lib/").unwrap();
                std::fs::copy(from, self.path("var-lib").join(to)).unwrap();
                None
            }
            StepAction::Local(_) => panic!("{step:?}"),
        }
    }

    /// Makes something go wrong with a version.
    fn fault(&self, faults: &str) {
        std::fs::write(self.path("var-lib/fake/faults"), faults).unwrap();
    }

    /// The lines of the fake's database for a package.
    fn database(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path("var-lib/fake/packages").join(name));
        text.unwrap_or_default().trim().replace('\n', "; ")
    }

    /// The version of a package, if all of it is installed and it is there once.
    fn installed(&self, name: &str) -> String {
        let line = self.database(name);
        line.strip_suffix(" x86_64 installed")
            .filter(|version| !version.contains(' '))
            .unwrap_or_default()
            .to_owned()
    }

    /// What `repair` runs where all that it finds is a script that has failed.
    fn repair(&self) -> Vec<String> {
        match self.kind() {
            ArtifactKind::Deb => {
                vec!["<dpkg><--force-confdef><--force-confold><--configure><-a>".to_owned()]
            }
            ArtifactKind::Rpm | ArtifactKind::Tar => Vec::new(),
        }
    }
}

/// The result that the transaction has told, which must fit the exit status; nothing while the
/// release is in probation.
fn result_in(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let result = text
        .lines()
        .find_map(|line| line.strip_prefix("pkgapp:result="))
        .unwrap_or_default()
        .to_owned();
    let status = match result.as_str() {
        "" | "done" => 0,
        "restored" => script::RESTORED,
        "refused" => script::REFUSED,
        "failed" => script::FAILED,
        _ => panic!("{output:?}"),
    };
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    result
}

/// The commands that the plan prints for an installation, as sh reads them.
fn installs(steps: &[Step]) -> Vec<String> {
    let lines = steps
        .iter()
        .filter(|step| step.stage == PushStage::Install)
        .filter_map(|step| step.line.as_deref());
    lines
        .flat_map(|line| line.split(" && "))
        .map(|line| {
            let split = "set -f; eval \"set -- $1\"; printf '<%s>' \"$@\"";
            pkgapp_testing::run(Command::new("sh").args(["-c", split, "sh", line]))
        })
        .collect()
}

/// Parts of what should have run.
#[derive(Debug, Clone, Copy)]
enum Ran {
    /// What the plan prints for the way there.
    There,
    /// What it prints for the way back.
    Back,
    /// See [`FakeHost::repair`].
    Repair,
}
use Ran::{Back, Repair, There};

/// A push to the host that the case before has left, and what should come of it.
struct Case {
    title: &'static str,
    to: &'static str,
    build: u32,
    faults: &'static str,
    result: &'static str,
    ran: &'static [Ran],
    /// The installed version at the end.
    installed: &'static str,
}

const CASES: [Case; 12] = [
    Case {
        title: "a first installation that the package manager does not begin",
        to: "1.0.0",
        build: 1,
        faults: "refuses 1.0.0-1",
        result: "refused",
        ran: &[There],
        installed: "",
    },
    Case {
        title: "a first installation whose units do not run",
        to: "1.0.0",
        build: 1,
        faults: "units 1.0.0-1",
        result: "restored",
        ran: &[There, Repair, Back],
        installed: "",
    },
    Case {
        title: "a first installation",
        to: "1.0.0",
        build: 1,
        faults: "",
        result: "done",
        ran: &[There],
        installed: "1.0.0-1",
    },
    Case {
        title: "an upgrade that the package manager does not begin",
        to: "1.1.0",
        build: 1,
        faults: "refuses 1.1.0-1",
        result: "refused",
        ran: &[There],
        installed: "1.0.0-1",
    },
    Case {
        title: "an upgrade of which the package manager only says that it is done",
        to: "1.1.0",
        build: 1,
        faults: "nothing 1.1.0-1",
        result: "refused",
        ran: &[There],
        installed: "1.0.0-1",
    },
    Case {
        title: "an upgrade that does not leave what is in the package",
        to: "1.1.0",
        build: 1,
        faults: "damages 1.1.0-1",
        result: "restored",
        ran: &[There, Repair, Back],
        installed: "1.0.0-1",
    },
    Case {
        title: "an upgrade whose units do not run",
        to: "1.1.0",
        build: 1,
        faults: "units 1.1.0-1",
        result: "restored",
        ran: &[There, Repair, Back],
        installed: "1.0.0-1",
    },
    Case {
        title: "other bytes of the same version",
        to: "1.0.0",
        build: 2,
        faults: "",
        result: "done",
        ran: &[There],
        installed: "1.0.0-1",
    },
    Case {
        title: "an upgrade",
        to: "1.1.0",
        build: 1,
        faults: "",
        result: "done",
        ran: &[There],
        installed: "1.1.0-1",
    },
    Case {
        title: "an older version whose units do not run",
        to: "1.0.0",
        build: 2,
        faults: "units 1.0.0-1",
        result: "restored",
        ran: &[There, Repair, Back],
        installed: "1.1.0-1",
    },
    Case {
        title: "an older version",
        to: "1.0.0",
        build: 2,
        faults: "",
        result: "done",
        ran: &[There],
        installed: "1.0.0-1",
    },
    Case {
        title: "an upgrade whose units do not run, and the way back fails",
        to: "1.1.0",
        build: 1,
        faults: "units 1.1.0-1\nrefuses 1.0.0-1",
        result: "failed",
        ran: &[There, Repair, Back],
        installed: "1.1.0-1",
    },
];

fn expected(host: &FakeHost, outcome: &Outcome, ran: &[Ran]) -> Vec<String> {
    ran.iter()
        .flat_map(|part| match part {
            There => outcome.to.clone(),
            Back => outcome.back.clone(),
            Repair => host.repair(),
        })
        .collect()
}

#[test]
fn what_the_plan_prints_is_what_runs_for_debs() {
    pushes(&[PackageManager::AptGet, PackageManager::Dpkg]);
}

#[test]
fn what_the_plan_prints_is_what_runs_for_rpms() {
    pushes(&[
        PackageManager::Dnf,
        PackageManager::Zypper,
        PackageManager::Rpm,
    ]);
}

fn pushes(managers: &[PackageManager]) {
    for &manager in managers {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        for case in &CASES {
            host.fault(case.faults);
            let artifact = candidate(host.kind(), case.to, Some("x86_64"));
            let outcome = host.push(&[host.package(artifact, case.build)]);
            let context = format!("{manager}: {}: {outcome:#?}", case.title);
            assert_eq!(outcome.result, case.result, "{context}");
            let ran = expected(&host, &outcome, case.ran);
            assert_eq!(outcome.ran, ran, "{context}");
            assert_eq!(host.installed("shop"), case.installed, "{context}");
        }
    }
}

#[test]
fn a_script_that_fails_is_the_releases_fault_whenever_it_runs() {
    for manager in [PackageManager::AptGet, PackageManager::Dnf] {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        assert_eq!(host.push(&[host.app("1.0.0")]).result, "done");
        host.fault("scriptlet 1.1.0-1");
        let outcome = host.push(&[host.app("1.1.0")]);
        let context = format!("{manager}: {outcome:#?}");
        assert_eq!(outcome.result, "restored", "{context}");
        assert_eq!(host.installed("shop"), "1.0.0-1", "{context}");
        // Nothing is newer than 1.0.0 if rpm has not begun, and the transaction sees that.
        let back = outcome.back.iter();
        let again = back.map(|words| words.replace("<downgrade>", "<reinstall>"));
        let again: Vec<String> = again.collect();
        let ran = [outcome.to.clone(), host.repair(), again].concat();
        assert_eq!(outcome.ran, ran, "{context}");
    }
}

#[test]
fn what_was_cut_off_while_it_unpacked_is_repaired_before_and_after() {
    for manager in [
        PackageManager::AptGet,
        PackageManager::Dpkg,
        PackageManager::Dnf,
    ] {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        let (old, new) = (host.app("1.0.0"), host.app("1.1.0"));
        assert_eq!(host.push(std::slice::from_ref(&old)).result, "done");
        // Now, by the transaction itself: it goes back.
        host.fault("torn 1.1.0-1");
        let outcome = host.push(std::slice::from_ref(&new));
        let context = format!("{manager}: {outcome:#?}");
        let forget = "<rpm><-e><--justdb><--nodeps><--noscripts><shop-1.0.0-1.x86_64>".to_owned();
        let unpack = |artifact: &Artifact| {
            format!(
                "<dpkg><--force-confdef><--force-confold><--install></var/lib/pkgapp/shop/packages/{}/{}>",
                artifact.sha256, artifact.file
            )
        };
        let (result, after, installed) = match manager {
            PackageManager::AptGet => {
                let after = [host.repair(), vec![unpack(&old)], outcome.back.clone()];
                ("refused", after.concat(), "1.0.0-1")
            }
            PackageManager::Dpkg => {
                let after = [host.repair(), outcome.back.clone()].concat();
                ("refused", after, "1.0.0-1")
            }
            // rpm was killed after it had put the new one beside the old one.
            _ => ("done", vec![forget.clone()], "1.1.0-1"),
        };
        assert_eq!(
            outcome.ran,
            [outcome.to.clone(), after].concat(),
            "{context}"
        );
        assert_eq!(outcome.result, result, "{context}");
        assert_eq!(host.installed("shop"), installed, "{context}");

        // Before this push, by somebody else: it is taken up.
        let torn = if host.kind() == ArtifactKind::Deb {
            "1.1.0-1 x86_64 half-installed\n"
        } else {
            "1.0.0-1 x86_64 installed\n1.1.0-1 x86_64 installed\n"
        };
        std::fs::write(host.path("var-lib/fake/packages/shop"), torn).unwrap();
        std::fs::remove_file(host.path("opt/shop/.pkgapp/release.json")).unwrap();
        host.fault("");
        let outcome = host.push(std::slice::from_ref(&new));
        let context = format!("{manager}: {outcome:#?}");
        let before = match manager {
            PackageManager::AptGet => [host.repair(), vec![unpack(&new)]].concat(),
            PackageManager::Dpkg => host.repair(),
            _ => vec![forget],
        };
        let ran = [before, outcome.to.clone()].concat();
        assert_eq!(outcome.ran, ran, "{context}");
        assert_eq!(outcome.result, "done", "{context}");
        assert_eq!(host.installed("shop"), "1.1.0-1", "{context}");
    }
}

#[test]
fn a_rollback_runs_what_it_prints() {
    for manager in PackageManager::ALL {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        assert_eq!(host.push(&[host.app("1.0.0")]).result, "done");
        assert_eq!(host.push(&[host.app("1.1.0")]).result, "done");
        let outcome = host.roll_back();
        let context = format!("{manager}: {outcome:#?}");
        assert_eq!(outcome.result, "done", "{context}");
        assert_eq!(outcome.ran, outcome.to, "{context}");
        assert_eq!(host.installed("shop"), "1.0.0-1", "{context}");
        if matches!(manager, PackageManager::Dnf | PackageManager::Yum) {
            assert!(outcome.ran[0].contains("<downgrade>"), "{context}");
        }
    }
}

/// A host whose software and configuration are packages of their own.
struct SetHost(FakeHost);

impl SetHost {
    fn software(&self, release: &str) -> Artifact {
        self.0.package(software(self.0.kind(), release), 1)
    }

    fn configuration(&self, day: u32) -> Artifact {
        self.0.package(configuration(self.0.kind(), day), 1)
    }

    /// Pushes, and returns which packages the package manager was given; what ran is what the plan
    /// prints.
    fn push(&self, artifacts: &[Artifact], faults: &str, result: &str) -> Vec<String> {
        self.0.fault(faults);
        let outcome = self.0.push(artifacts);
        let ran: &[Ran] = if result == "restored" {
            &[There, Repair, Back]
        } else {
            &[There]
        };
        self.judge(&outcome, result, ran)
    }

    fn judge(&self, outcome: &Outcome, result: &str, ran: &[Ran]) -> Vec<String> {
        let context = format!("{}: {outcome:#?}", self.0.manager);
        assert_eq!(outcome.result, result, "{context}");
        assert_eq!(outcome.ran, expected(&self.0, outcome, ran), "{context}");
        let words = outcome.to.iter().flat_map(|line| line.split(['<', '>']));
        let files = words.filter_map(|word| word.rsplit_once("/shop"));
        files.map(|(_, file)| format!("shop{file}")).collect()
    }

    /// The installed software, and the day of the installed configuration.
    fn installed(&self) -> (String, String) {
        let day = self.0.installed("shop-config");
        let day = day.strip_prefix("202611").unwrap_or_default();
        (self.0.installed("shop"), day.chars().take(2).collect())
    }
}

#[test]
fn software_and_configuration_change_together_or_alone() {
    for manager in [
        PackageManager::AptGet,
        PackageManager::Dpkg,
        PackageManager::Dnf,
        PackageManager::Zypper,
        PackageManager::Rpm,
    ] {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        let host = SetHost(host);
        let both = |version: &str, day: &str| (version.to_owned(), day.to_owned());
        let [one, two, three] = ["1.0.0", "1.1.0", "1.2.0"].map(|each| host.software(each));
        let [first, second, third] = [1, 2, 3].map(|day| host.configuration(day));
        let file = |artifact: &Artifact| artifact.file.clone();

        let came = host.push(&[one.clone(), first.clone()], "units 1.0.0-1", "restored");
        assert_eq!(came, [file(&one), file(&first)]);
        assert_eq!(host.installed(), both("", ""), "neither was there before");
        host.push(&[one.clone(), first.clone()], "", "done");
        assert_eq!(host.installed(), both("1.0.0-1", "01"));

        let came = host.push(&[one.clone(), second.clone()], "", "done");
        assert_eq!(came, [file(&second)], "{manager}: the software stays");
        assert_eq!(host.installed(), both("1.0.0-1", "02"));
        let outcome = host.0.roll_back_to(RollbackTarget::Configuration);
        let came = host.judge(&outcome, "done", &[There]);
        assert_eq!(came, [file(&first)]);
        assert_eq!(host.installed(), both("1.0.0-1", "01"));

        let came = host.push(std::slice::from_ref(&two), "", "done");
        assert_eq!(came, [file(&two)], "{manager}: the configuration stays");
        assert_eq!(host.installed(), both("1.1.0-1", "01"));
        let all = [three.clone(), third.clone()];
        host.push(&all, "units 1.2.0-1", "restored");
        assert_eq!(host.installed(), both("1.1.0-1", "01"));
        host.push(&[two.clone(), second.clone()], "", "done");
        let refused = host.push(&[three.clone(), third], "refuses 1.2.0-1", "refused");
        assert_eq!(refused.len(), 2);
        assert_eq!(host.installed(), both("1.1.0-1", "02"));

        // One of them becomes older.
        let came = host.push(&[three.clone(), first.clone()], "", "done");
        assert_eq!(came, [file(&three), file(&first)]);
        assert_eq!(host.installed(), both("1.2.0-1", "01"));
        host.judge(&host.0.roll_back(), "done", &[There]);
        assert_eq!(host.installed(), both("1.1.0-1", "02"));

        // One package takes the place of both, and goes back.
        let whole = host.0.app("2.0.0");
        host.push(std::slice::from_ref(&whole), "units 2.0.0-1", "restored");
        assert_eq!(host.installed(), both("1.1.0-1", "02"));
        host.push(std::slice::from_ref(&whole), "", "done");
        assert_eq!(host.installed(), both("2.0.0-1", ""));
        host.judge(&host.0.roll_back(), "done", &[There]);
        assert_eq!(host.installed(), both("1.1.0-1", "02"));

        // So does one of the same version.
        let again = candidate(host.0.kind(), "1.1.0", Some("x86_64"));
        let again = host.0.package(again, 2);
        host.push(std::slice::from_ref(&again), "", "done");
        assert_eq!(host.installed(), both("1.1.0-1", ""));
        host.judge(&host.0.roll_back(), "done", &[There]);
        assert_eq!(host.installed(), both("1.1.0-1", "02"));
    }
}

#[test]
fn a_host_keeps_the_packages_of_its_sets_and_no_others() {
    let Some(host) = FakeHost::new(PackageManager::Dpkg) else {
        return;
    };
    let host = SetHost(host);
    let kept = || {
        let directory = host.0.path("var-lib/pkgapp/shop/packages");
        let mut files: Vec<String> = walkdir::WalkDir::new(directory)
            .into_iter()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".deb") || name == "failed")
            .collect();
        files.sort();
        files
    };
    let software = host.software("1.0.0");
    let bad = host.software("1.1.0");
    host.push(&[software.clone(), host.configuration(1)], "", "done");
    host.push(
        &[bad.clone(), host.configuration(2)],
        "units 1.1.0-1",
        "restored",
    );
    let names = |all: &[&Artifact]| -> Vec<String> {
        let mut names: Vec<String> = all.iter().map(|artifact| artifact.file.clone()).collect();
        names.push("failed".to_owned());
        names.sort();
        names
    };
    let [first, second] = [1, 2].map(|day| host.configuration(day));
    assert_eq!(kept(), names(&[&software, &first, &bad, &second]));

    // The newest stay, and of a set that has failed the mark.
    for day in 3..=8 {
        host.push(&[software.clone(), host.configuration(day)], "", "done");
    }
    let newest = [6, 7, 8].map(|day| host.configuration(day));
    let newest: Vec<&Artifact> = newest.iter().chain([&software]).collect();
    assert_eq!(kept(), names(&newest));
    let error = host
        .0
        .facts(&[])
        .kept
        .iter()
        .filter(|kept| !kept.is_whole())
        .count();
    assert_eq!(error, 1, "the failed set is known and cannot be installed");
}

#[test]
fn what_rpm_alone_cannot_find_comes_from_dnf_before_it() {
    let Some(host) = FakeHost::new(PackageManager::Dnf) else {
        return;
    };
    let host = SetHost(host);
    host.push(&[host.software("1.0.0"), host.configuration(2)], "", "done");
    let newer = host.software("1.1.0");
    let text = std::fs::read_to_string(&newer.path).unwrap() + "needs=libnew\n";
    std::fs::write(&newer.path, &text).unwrap();
    let newer = Artifact {
        sha256: Sha256Sum::of(text.as_bytes()),
        size: text.len() as u64,
        ..newer
    };
    let outcome = host.0.push(&[newer, host.configuration(1)]);
    assert_eq!(outcome.result, "done", "{outcome:#?}");
    let [needs, set] = &outcome.ran[..] else {
        panic!("{outcome:#?}")
    };
    assert!(
        needs.starts_with("<dnf>") && needs.ends_with("<install><libnew>"),
        "{needs}"
    );
    assert_eq!(*set, outcome.to[0]);
    assert_eq!(host.installed(), ("1.1.0-1".to_owned(), "01".to_owned()));
}

#[test]
fn an_interpreter_goes_back_with_software_and_configuration() {
    const PYTHON: &str = "pkgapp-python3.13";
    for manager in [
        PackageManager::AptGet,
        PackageManager::Dnf,
        PackageManager::Rpm,
    ] {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        let host = SetHost(host);
        let all = |release: &str, python: &str, day: u32| {
            let kind = host.0.kind();
            let software = Artifact {
                runtime: shared(kind, release, python).runtime,
                ..software(kind, release)
            };
            [
                host.0.package(software, 1),
                host.configuration(day),
                host.0.package(runtime(kind, python), 1),
            ]
        };
        let installed = || (host.installed(), host.0.installed(PYTHON));
        let is = |version: &str, day: &str, python: &str| {
            ((version.to_owned(), day.to_owned()), python.to_owned())
        };
        host.push(&all("1.0.0", "3.13.0", 1), "units 1.0.0-1", "restored");
        assert_eq!(
            installed(),
            is("", "", ""),
            "{manager}: none was there before"
        );
        host.push(&all("1.0.0", "3.13.0", 1), "", "done");
        assert_eq!(installed(), is("1.0.0-1", "01", "3.13.0-1"));
        host.push(&all("1.1.0", "3.13.1", 2), "units 1.1.0-1", "restored");
        assert_eq!(installed(), is("1.0.0-1", "01", "3.13.0-1"), "{manager}");

        // All in different directions.
        host.push(&all("1.1.0", "3.13.1", 3), "", "done");
        host.push(&all("1.0.0", "3.13.2", 4), "", "done");
        assert_eq!(installed(), is("1.0.0-1", "04", "3.13.2-1"));
        let outcome = host.0.roll_back_to(RollbackTarget::Configuration);
        host.judge(&outcome, "done", &[There]);
        assert_eq!(installed(), is("1.0.0-1", "03", "3.13.2-1"));
    }
}

#[test]
fn an_interpreter_comes_and_goes_as_the_plan_prints_it() {
    const PYTHON: &str = "pkgapp-python3.13";
    for manager in [
        PackageManager::AptGet,
        PackageManager::Dnf,
        PackageManager::Zypper,
    ] {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        let push = |app: &str, python: &str, faults: &str, result: &str, ran: &[Ran]| {
            host.fault(faults);
            let outcome = host.push(&host.sharing(app, python));
            let context = format!("{manager}: {app} with {python}: {outcome:#?}");
            assert_eq!(outcome.result, result, "{context}");
            assert_eq!(outcome.ran, expected(&host, &outcome, ran), "{context}");
            assert!(!outcome.to.is_empty(), "{context}");
            (host.installed("shop"), host.installed(PYTHON))
        };
        let both = |app: &str, python: &str| (app.to_owned(), python.to_owned());
        let way_back = [There, Repair, Back];
        assert_eq!(
            push("1.0.0", "3.13.0", "units 1.0.0-1", "restored", &way_back),
            both("", ""),
            "neither was there before"
        );
        assert_eq!(
            push("1.0.0", "3.13.0", "", "done", &[There]),
            both("1.0.0-1", "3.13.0-1")
        );
        assert_eq!(
            push("1.1.0", "3.13.1", "units 1.1.0-1", "restored", &way_back),
            both("1.0.0-1", "3.13.0-1")
        );
        assert_eq!(
            push("1.1.0", "3.13.1", "", "done", &[There]),
            both("1.1.0-1", "3.13.1-1")
        );
        // The interpreter alone.
        assert_eq!(
            push("1.1.0", "3.13.2", "", "done", &[There]),
            both("1.1.0-1", "3.13.2-1")
        );
        // One becomes older and the other newer.
        assert_eq!(
            push("1.0.0", "3.13.3", "", "done", &[There]),
            both("1.0.0-1", "3.13.3-1")
        );
        // The application alone.
        assert_eq!(
            push("1.1.0", "3.13.3", "", "done", &[There]),
            both("1.1.0-1", "3.13.3-1")
        );
    }
}

#[test]
fn dnf_that_finds_its_database_locked_is_run_again() {
    let Some(host) = FakeHost::new(PackageManager::Dnf) else {
        return;
    };
    std::fs::write(host.path("var-lib/fake/locked"), "once").unwrap();
    let outcome = host.push(&[host.app("1.0.0")]);
    assert_eq!(outcome.ran, [&*outcome.to, &*outcome.to].concat());
    assert_eq!(outcome.result, "done");
}

#[test]
fn a_package_for_another_machine_becomes_older_by_rpm_alone() {
    let Some(host) = FakeHost::new(PackageManager::Dnf) else {
        return;
    };
    assert_eq!(host.push(&[host.app("1.1.0")]).result, "done");
    let old = candidate(host.kind(), "1.0.0", None);
    let old = host.package_with(old, "old", "noarch", "");
    let outcome = host.push(std::slice::from_ref(&old));
    let ran = format!(
        "<rpm><-U><--oldpackage><--replacepkgs></var/lib/pkgapp/shop/packages/{}/{}>",
        old.sha256, old.file
    );
    assert_eq!(outcome.ran, [ran], "{outcome:#?}");
    assert_eq!(host.database("shop"), "1.0.0-1 noarch installed");
}

#[test]
fn what_a_package_replaces_goes_with_it_and_comes_back_if_it_fails() {
    for manager in [PackageManager::AptGet, PackageManager::Dnf] {
        let Some(host) = FakeHost::new(manager) else {
            return;
        };
        let before = Artifact {
            name: "oldshop".into(),
            file: host.app("0.9.0").file.replace("shop", "oldshop"),
            ..candidate(host.kind(), "0.9.0", Some("x86_64"))
        };
        let before = host.package(before, 1);
        let kept = format!("/var/lib/pkgapp/oldshop/packages/{}", before.sha256);
        let here = host.path(kept.replacen("/var/lib", "var-lib", 1));
        std::fs::create_dir_all(&here).unwrap();
        std::fs::copy(&before.path, here.join(&before.file)).unwrap();
        let current = host.path("var-lib/pkgapp/oldshop/current");
        std::fs::write(current, before.sha256.to_string()).unwrap();
        let there = host.path("var-lib/fake/packages/oldshop");
        std::fs::write(there, "0.9.0-1 x86_64 installed\n").unwrap();

        let new = candidate(host.kind(), "1.0.0", Some("x86_64"));
        let new = host.package_with(new, "new", "x86_64", "oldshop");
        host.fault("units 1.0.0-1");
        let outcome = host.push(std::slice::from_ref(&new));
        let context = format!("{manager}: {outcome:#?}");
        assert_eq!(outcome.result, "restored", "{context}");
        assert_eq!(host.installed("oldshop"), "0.9.0-1", "{context}");
        assert_eq!(host.installed("shop"), "", "{context}");
        // apt may remove what is replaced, and nothing else.
        let to = outcome.to[0].replace("<--no-remove>", "");
        assert_eq!(outcome.ran[0], to, "{context}");
        let last = outcome.ran.last().unwrap();
        let file = format!("<install><{kept}/{}>", before.file);
        assert!(last.ends_with(&file), "{context}");

        host.fault("");
        assert_eq!(host.push(std::slice::from_ref(&new)).result, "done");
        assert_eq!(host.installed("oldshop"), "", "{manager}");
        assert_eq!(host.installed("shop"), "1.0.0-1", "{manager}");
    }
}

#[test]
fn systemd_runs_the_transaction_and_keeps_nothing_of_its_unit() {
    let Some(host) = FakeHost::new(PackageManager::AptGet) else {
        return;
    };
    std::fs::create_dir_all(host.path("run/systemd/system")).unwrap();
    let outcome = host.push(&[host.app("1.0.0")]);
    assert_eq!(outcome.result, "done", "{outcome:#?}");
    assert_eq!(outcome.ran, outcome.to);
    let calls = std::fs::read_to_string(host.path("var-lib/fake/units")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let start = "start --no-block pkgapp-transaction-shop.service";
    assert_eq!(calls, ["daemon-reload", start]);
    let left = walkdir::WalkDir::new(host.path("systemd")).into_iter();
    let left = left
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir());
    assert_eq!(left.count(), 0);
}
