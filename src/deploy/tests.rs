//! Plans and rollouts on hosts that only pretend: every step, every way to fail, and what is true
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use super::artifact::Artifact;
use super::artifact::tests::{candidate, configuration, runtime, shared, software};
use super::backend::{PackageManagerBackend, ReleaseDirectoryBackend};
use super::facts::{
    FreeSpace, HostFacts, KeptMember, KeptPackage, LockHolder, LoginDirectory, PackageManager,
    RunsOn, Transaction, TransactionState, VersionOrder,
};
use super::health::HealthCheck;
use super::owner::PushOwner;
use super::pieces::FilePieces;
use super::plan::Plan;
use super::policy::{DeployPolicy, OnFailure, Probation, TargetHost};
use super::preflight::AllowFlags;
use super::requirements::HostRequirements;
use super::rollback::RollbackTarget;
use super::rollout::{HostStatus, Observer, Rollout, RolloutEvent, RolloutOutcome, Unreachable};
use super::script;
use super::step::{PushStage, Step, StepAction};
use super::stored::{PackageSet, StoredPackage};
use crate::hosts::{
    CommandOutput, ConnectionUse, Download, Downloaded, Host, HostCommand, HostFailure, RangeCopy,
    Upload, Uploaded,
};
use pkgapp_config::{
    BatchSize, CommandLine, ConfirmMode, DeployHooks, Migrate, MigrateOn, MigrationCommands,
    SharedPath, UnitsOf,
};
use pkgapp_core::error::{Error, ErrorKind, Location};
use pkgapp_core::name::AppName;
use pkgapp_core::process::Stream;
use pkgapp_format::read::ArtifactKind::{Deb, Rpm, Tar};

pub(super) fn line(text: &str) -> CommandLine {
    let words = text.split(' ').map(str::to_owned).collect();
    CommandLine {
        text: text.into(),
        words,
        at: Location::file("pkgapp.toml"),
    }
}

pub(super) fn migrate(exec: &str) -> Migrate {
    Migrate {
        exec: MigrationCommands::new(vec![line(exec)]).unwrap(),
        on: MigrateOn::One,
        user: None,
        service: None,
        timeout: None,
        memory_max: None,
        write: Vec::new(),
        relax: Vec::new(),
    }
}

pub(super) fn policy() -> DeployPolicy {
    DeployPolicy {
        name: AppName::parse("shop").unwrap(),
        prefix: "/opt/shop".into(),
        owner: PushOwner {
            token: "machine.1.2".into(),
            label: "ada@laptop (pid 1)".into(),
        },
        backend: Box::new(PackageManagerBackend {
            name: AppName::parse("shop").unwrap(),
            sudo: true,
        }),
        batches: vec![BatchSize::Hosts(1), BatchSize::Percent(100)],
        max_failed: 0,
        check: HealthCheck {
            services: Vec::new(),
            url: Some("http://127.0.0.1:8000/".parse().unwrap()),
            command: None,
            timeout: Duration::from_secs(30),
            settle: Duration::from_secs(2),
        },
        probation: Probation {
            confirm: ConfirmMode::Auto,
            within: Duration::from_secs(120),
        },
        on_failure: OnFailure::GoBack,
        migrate: Some(migrate("python app/manage.py migrate")),
        migrate_user: None,
        secrets: None,
        hooks: DeployHooks {
            before: vec![line("say before")],
            after: vec![line("say after")],
            drain: vec![line("lb out")],
            undrain: vec![line("lb in")],
            ..DeployHooks::default()
        },
        keep: 3,
        patience: Duration::from_secs(120),
        allow: AllowFlags::default(),
        listens: Vec::new(),
        system: None,
    }
}

fn kept(artifact: &Artifact, good: Option<u32>) -> KeptPackage {
    KeptPackage {
        sha256: artifact.sha256,
        file: artifact.file.clone(),
        members: Vec::new(),
        size: artifact.size,
        version: artifact.version.clone(),
        release: artifact.release.clone(),
        record: Some(artifact.record),
        good: good
            .map(|good| format!("{good}.000000000"))
            .unwrap_or_default(),
        failed: String::new(),
        commit: artifact.commit.clone(),
        is_unsigned: false,
    }
}

/// A host that has `installed`, by a push, and could get `next` of these.
fn facts(manager: PackageManager, installed: Option<&Artifact>, order: VersionOrder) -> HostFacts {
    let space = |device: &str| FreeSpace {
        bytes: 1 << 30,
        device: device.into(),
    };
    HostFacts {
        os: "debian".into(),
        os_version: "12".into(),
        arch: "x86_64".into(),
        user: "root".into(),
        root: true,
        systemd: true,
        manager: Some(manager),
        free_prefix: space("/dev/a"),
        free_state: space("/dev/b"),
        installed: installed.map(|artifact| artifact.version.clone()),
        record: installed.map(|artifact| artifact.record),
        current: installed.map(|artifact| artifact.sha256),
        kept: installed
            .map(|artifact| kept(artifact, Some(1)))
            .into_iter()
            .collect(),
        orders: installed
            .map(|_| BTreeMap::from([(0, order), (1, order)]))
            .unwrap_or_default(),
        ..HostFacts::default()
    }
}

pub(super) fn site(name: &str, facts: HostFacts) -> TargetHost {
    TargetHost {
        name: name.into(),
        variables: BTreeMap::from([("REGION".into(), "north".into())]),
        facts,
    }
}

fn upgrade(names: &[&str]) -> (Plan, Vec<TargetHost>) {
    upgrade_by(&policy(), names)
}

fn upgrade_by(policy: &DeployPolicy, names: &[&str]) -> (Plan, Vec<TargetHost>) {
    let (old, new) = (
        candidate(Deb, "1.0.0", Some("x86_64")),
        candidate(Deb, "1.1.0", Some("x86_64")),
    );
    let sites: Vec<TargetHost> = names
        .iter()
        .map(|name| {
            site(
                name,
                facts(PackageManager::AptGet, Some(&old), VersionOrder::Newer),
            )
        })
        .collect();
    (Plan::push(policy, &[new], &sites).unwrap(), sites)
}

/// The same upgrade where releases are unpacked by a login.
fn switched(names: &[&str]) -> (Plan, Vec<TargetHost>) {
    switched_by(&own_policy(), names)
}

fn switched_by(policy: &DeployPolicy, names: &[&str]) -> (Plan, Vec<TargetHost>) {
    let (old, new) = (tarball("1.0.0"), tarball("1.1.0"));
    let sites: Vec<TargetHost> = names
        .iter()
        .map(|name| site(name, own_facts(Some(&old))))
        .collect();
    (Plan::push(policy, &[new], &sites).unwrap(), sites)
}

pub(super) fn own_policy() -> DeployPolicy {
    let shared = vec![SharedPath::parse("app/media").unwrap()];
    let directory = ReleaseDirectoryBackend {
        name: AppName::parse("shop").unwrap(),
        into: "~/shop".into(),
        shared,
        units: UnitsOf::User,
    };
    DeployPolicy {
        backend: Box::new(directory),
        ..policy()
    }
}

fn tarball(release: &str) -> Artifact {
    let python = Some("3.11".parse().unwrap());
    let asks = HostRequirements {
        python,
        glibc: Some((2, 28)),
        units: true,
        crontab: true,
        logrotate: true,
    };
    Artifact {
        asks: Some(asks),
        file: format!("shop-{release}.tar.gz"),
        ..candidate(Tar, release, Some("x86_64"))
    }
}

/// A host that has `installed` in the home directory of its login.
pub(super) fn own_facts(installed: Option<&Artifact>) -> HostFacts {
    let own = LoginDirectory {
        into: "/home/ada/shop".into(),
        unpackers: vec!["gzip".into()],
        lingers: true,
        crontab: true,
        logrotate: true,
        ..LoginDirectory::default()
    };
    HostFacts {
        user: "ada".into(),
        root: false,
        manager: None,
        glibc: "2.36".into(),
        pythons: vec!["3.11".parse().unwrap()],
        orders: BTreeMap::new(),
        own: Some(own),
        ..facts(PackageManager::AptGet, installed, VersionOrder::Newer)
    }
}

fn stages(steps: &[super::step::Step]) -> Vec<PushStage> {
    steps.iter().map(|step| step.stage).collect()
}

#[test]
fn an_upgrade_is_prepared_migrated_once_switched_and_has_a_way_back() {
    use PushStage::{
        After, Before, Confirm, Drain, Health, Install, Lock, Login, Migrate, Record,
        Stage as Unpack, Undrain, Unlock, Upload,
    };
    let (plan, _) = upgrade(&["web1", "web2", "web3"]);
    assert_eq!(plan.batches, [vec![0], vec![1, 2]]);
    for (index, host) in plan.hosts.iter().enumerate() {
        assert_eq!(stages(&host.prepare), [Lock, Login, Upload]);
        assert_eq!(
            stages(&host.migrate),
            if index == 0 {
                vec![Unpack, Migrate]
            } else {
                vec![]
            }
        );
        assert_eq!(
            stages(&host.switch),
            [Before, Drain, Install, Confirm, Undrain, After, Record]
        );
        assert_eq!(
            stages(&host.back),
            [Drain, Install, Health, Undrain, Record]
        );
        assert_eq!(
            (stages(&host.abandon), stages(&host.failed)),
            (vec![Undrain], vec![Undrain, Record])
        );
        assert_eq!(stages(&host.unlock), [Unlock]);
    }
    let StepAction::Run(hook) = &plan.hosts[1].switch[0].action else {
        panic!()
    };
    assert_eq!(hook.args, ["say", "before"]);
    let env = [
        ("PKGAPP_HOST", "web2"),
        ("PKGAPP_NAME", "shop"),
        ("PKGAPP_VERSION", "1.1.0"),
        ("REGION", "north"),
    ];
    assert_eq!(
        hook.env,
        env.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
}

#[test]
fn where_nobody_is_root_a_release_is_unpacked_aside_and_then_switched_to() {
    use PushStage::{
        After, Before, Confirm, Drain, Health, Install, Lock, Login, Migrate, Record,
        Stage as Unpack, Undrain, Unlock, Upload,
    };
    let (plan, sites) = switched(&["web1", "web2"]);
    for (index, host) in plan.hosts.iter().enumerate() {
        assert_eq!(stages(&host.prepare), [Lock, Login, Upload, Unpack]);
        assert_eq!(
            stages(&host.migrate),
            if index == 0 { vec![Migrate] } else { vec![] }
        );
        assert_eq!(
            stages(&host.switch),
            [Before, Drain, Install, Confirm, Undrain, After, Record]
        );
        assert_eq!(
            stages(&host.back),
            [Drain, Install, Health, Undrain, Record]
        );
        assert_eq!(stages(&host.unlock), [Unlock]);
        let steps = [
            &host.prepare,
            &host.migrate,
            &host.switch,
            &host.back,
            &host.unlock,
        ]
        .into_iter()
        .flatten();
        for step in steps {
            let (sudo, state) = match &step.action {
                StepAction::Run(command) => (command.sudo, parameter(command, "state")),
                StepAction::Upload(upload) => (upload.sudo, upload.path.as_str()),
                StepAction::Local(_) => panic!(),
            };
            assert!(
                !sudo && state.starts_with("/home/ada/shop/.pkgapp"),
                "{step:?}"
            );
        }
    }
    let StepAction::Run(unpack) = &plan.hosts[0].prepare[3].action else {
        panic!()
    };
    assert_eq!(
        unpack.args[unpack.args.len() - 2..],
        ["/opt/shop", "app/media/"]
    );
    let StepAction::Run(hook) = &plan.hosts[1].switch[0].action else {
        panic!()
    };
    assert_eq!(parameter(hook, "prefix"), "/home/ada/shop/current");
    // The same bytes are not sent again, but unpacked if they are not.
    let mut back = sites[0].facts.clone();
    back.kept.push(kept(&tarball("0.9"), Some(0)));
    let plan = Plan::rollback(
        &own_policy(),
        RollbackTarget::Previous,
        &[site("web1", back)],
    )
    .unwrap();
    assert_eq!(stages(&plan.hosts[0].prepare), [Lock, Login, Unpack]);
    let first = Plan::push(
        &own_policy(),
        &[tarball("1.1.0")],
        &[site("web1", own_facts(None))],
    )
    .unwrap();
    assert_eq!(first.hosts[0].back[1].what, "taking shop out of use");
}

#[test]
fn of_two_codecs_a_host_gets_the_one_that_it_has_or_else_the_smaller_one() {
    let gz = tarball("1.1.0");
    let zst = Artifact {
        file: "shop-1.1.0.tar.zst".into(),
        sha256: pkgapp_core::digest::Sha256Sum::of(b"zst"),
        version: "1.1.0-2".into(),
        size: gz.size - 1,
        ..gz.clone()
    };
    let mut both = own_facts(None);
    both.own.as_mut().unwrap().unpackers.push("zstd".into());
    let mut has = own_facts(Some(&gz));
    has.own = both.own.clone();
    let sites = [
        site("gzip", own_facts(None)),
        site("both", both),
        site("has", has),
    ];
    let plan = Plan::push(&own_policy(), &[gz.clone(), zst.clone()], &sites).unwrap();
    let to: Vec<&str> = plan.hosts.iter().map(|host| host.to.as_str()).collect();
    assert_eq!(to, [&gz.version, &zst.version, &gz.version]);
    assert!(plan.hosts[2].is_idle());
}

#[test]
fn a_tarball_is_refused_for_all_hosts_at_once_and_says_the_right_way() {
    let newer = own_facts(Some(&tarball("1.2.0")));
    let with = |change: &dyn Fn(&mut HostFacts)| {
        let mut facts = own_facts(None);
        change(&mut facts);
        facts
    };
    let own =
        |change: &dyn Fn(&mut LoginDirectory)| with(&|facts| change(facts.own.as_mut().unwrap()));
    let sites = [
        site("newer", newer),
        site(
            "python",
            with(&|facts| facts.pythons = vec!["3.9".parse().unwrap()]),
        ),
        site("old", with(&|facts| facts.glibc = "2.17".into())),
        site("arm", with(&|facts| facts.arch = "aarch64".into())),
        site("full", with(&|facts| facts.free_prefix.bytes = 10)),
        site("cron", own(&|own| own.crontab = false)),
        site("unpack", own(&|own| own.unpackers.clear())),
        site("srv", own(&|own| own.unwritable = Some("/srv".into()))),
        site(
            "taken",
            own(&|own| own.taken = Some("/home/ada/shop/current".into())),
        ),
        site("odd", own(&|own| own.into = "/home/a b/shop".into())),
    ];
    let error = Plan::push(&own_policy(), &[tarball("1.1.0")], &sites)
        .unwrap_err()
        .to_string();
    for part in [
        "cannot push to `newer`\n  cause: 1.2.0-1 is installed, which is newer than 1.1.0-1",
        "needs `/usr/bin/python3.11`, which is missing there",
        "build for `version = \"3.9\"`",
        "needs glibc 2.28, and the host has 2.17",
        "the host is aarch64, and the tarball is for x86_64",
        "`/home/ada/shop` has 10 B free and needs 5.0 kB",
        "has cron jobs, and there is no crontab there",
        "`pkgapp build --format tar.gz`",
        "`/srv` is not writable for `ada`",
        "`/home/ada/shop/current` is there, and is no link",
        "a release cannot be in `/home/a b/shop`",
    ] {
        assert!(error.contains(part), "{part}\nis not in\n{error}");
    }
}

#[test]
fn the_same_bytes_are_not_sent_again_and_a_release_in_place_is_left_alone() {
    let new = candidate(Deb, "1.1.0", Some("x86_64"));
    let there = site(
        "web1",
        facts(PackageManager::AptGet, Some(&new), VersionOrder::Same),
    );
    let mut sent = facts(PackageManager::AptGet, None, VersionOrder::Newer);
    sent.kept.push(kept(&new, None));
    let plan = Plan::push(&policy(), &[new], &[there, site("web2", sent)]).unwrap();
    assert!(plan.hosts[0].is_idle() && plan.hosts[0].unlock.is_empty());
    assert_eq!(
        stages(&plan.hosts[1].prepare),
        [PushStage::Lock, PushStage::Login]
    );
    assert_eq!(plan.batches, [[1]]);
    // Without an installation of before, back means none: a removal.
    assert_eq!(plan.hosts[1].back[1].what, "removing shop");
}

#[test]
fn a_host_with_nothing_to_do_loses_the_lock_of_a_dead_push_in_both_modes() {
    let lock = LockHolder {
        token: "t".into(),
        owner: "ada".into(),
        since: "2026-01-01T00:00:00Z".into(),
        alive: false,
    };
    let (deb, tar) = (candidate(Deb, "1.1.0", Some("x86_64")), tarball("1.1.0"));
    let installed = HostFacts {
        lock: Some(lock.clone()),
        ..facts(PackageManager::AptGet, Some(&deb), VersionOrder::Same)
    };
    let unpacked = HostFacts {
        lock: Some(lock),
        ..own_facts(Some(&tar))
    };
    for (policy, artifact, facts) in [(policy(), deb, installed), (own_policy(), tar, unpacked)] {
        let plan = Plan::push(&policy, &[artifact], &[site("web1", facts)]).unwrap();
        assert!(plan.is_idle());
        assert_eq!(stages(&plan.hosts[0].unlock), [PushStage::Unlock]);
    }
}

/// An old and a new release, and a host with the new one, where a push has not seen the end of it.
fn without_its_end(state: TransactionState) -> (Artifact, Artifact, HostFacts) {
    let (old, new) = (
        candidate(Deb, "1.0.0", Some("x86_64")),
        candidate(Deb, "1.1.0", Some("x86_64")),
    );
    let transaction = Transaction {
        version: new.version.clone(),
        leaves: String::new(),
        is_manual: false,
        sum: new.sha256.to_string(),
        state,
    };
    let facts = HostFacts {
        current: Some(old.sha256),
        kept: vec![kept(&old, Some(1)), kept(&new, None)],
        transaction: Some(transaction),
        ..facts(PackageManager::AptGet, Some(&new), VersionOrder::Same)
    };
    (old, new, facts)
}

#[test]
fn an_installation_without_its_end_is_taken_up_again() {
    let (_, new, mut done) = without_its_end(TransactionState::Done);
    done.lock = Some(LockHolder {
        token: "x.1.1".into(),
        owner: "eve@x (pid 1)".into(),
        since: "2026".into(),
        alive: false,
    });
    let plan = Plan::push(&policy(), &[new], &[site("web1", done)]).unwrap();
    let [host] = &plan.hosts[..] else { panic!() };
    let stages = stages(&host.switch);
    assert!(stages.contains(&PushStage::Install) && stages.contains(&PushStage::Confirm));
    assert_eq!(
        host.back[1].what, "installing shop 1.0.0-1",
        "the way back leads to what was before the transaction"
    );
    assert_eq!(
        host.found,
        [
            "the push by eve@x (pid 1) since 2026 died; its lock is free",
            "an earlier push has installed 1.1.0-1 and did not see its end"
        ]
    );
}

#[test]
fn the_same_service_from_another_commit_is_left_alone() {
    let package = |version: &str| Artifact {
        version: version.into(),
        ..candidate(Deb, "0+g3f9a0c1d", None)
    };
    let old = package("20261201.100000-staging.db.g3f9a0c1d");
    let new = package("20261202.100000-staging.db.g3f9a0c1d");
    let there = HostFacts {
        current: Some(old.sha256),
        ..facts(PackageManager::AptGet, Some(&old), VersionOrder::Newer)
    };
    let is_idle = |facts: &HostFacts| {
        let sites = [site("db1", facts.clone())];
        let plan = Plan::push(&policy(), std::slice::from_ref(&new), &sites).unwrap();
        plan.hosts[0].is_idle()
    };
    assert!(is_idle(&there));

    // Its files are others.
    let mut changed = there.clone();
    changed.record = Some(pkgapp_core::digest::Sha256Sum::of(b"other"));
    assert!(!is_idle(&changed));
}

#[test]
fn a_removal_takes_the_packages_and_has_a_way_back() {
    let new = candidate(Deb, "1.1.0", Some("x86_64"));
    let there = facts(PackageManager::AptGet, Some(&new), VersionOrder::Same);
    let absent = facts(PackageManager::AptGet, None, VersionOrder::Newer);
    let sites = [site("web1", there), site("web2", absent)];
    let plan = Plan::remove(&policy(), &sites).unwrap();
    assert_eq!(plan.action, "remove");
    let [host, idle] = &plan.hosts[..] else {
        panic!()
    };
    assert_eq!(host.change(), "1.1.0-1 → nothing");
    let mut steps = host.switch.iter();
    let step = steps.find(|step| step.what == "removing shop").unwrap();
    let StepAction::Run(command) = &step.action else {
        panic!("{step:?}");
    };
    let back = parameter(command, "parameters");
    assert!(back.contains("back_version=1.1.0-1"), "{back}");
    assert!(idle.is_idle());
    assert_eq!(idle.change(), "nothing is installed");
}

#[test]
fn a_release_in_probation_is_confirmed_even_where_no_way_back_is_known() {
    let (_, new, mut facts) = without_its_end(TransactionState::Probation(60));
    facts.current = None;
    let plan = Plan::push(&policy(), &[new], &[site("web1", facts)]).unwrap();
    let [host] = &plan.hosts[..] else { panic!() };
    assert!(host.back.is_empty());
    let stages = stages(&host.switch);
    assert!(stages.contains(&PushStage::Install) && stages.contains(&PushStage::Confirm));
}

#[test]
fn a_transaction_whose_parameters_are_lost_is_done_again() {
    let (old, new, mut facts) = without_its_end(TransactionState::Interrupted);
    let push = |facts: &HostFacts| {
        let sites = [site("web1", facts.clone())];
        Plan::push(&policy(), std::slice::from_ref(&new), &sites)
    };
    facts.transaction.as_mut().unwrap().sum = String::new();
    let plan = push(&facts).unwrap();
    assert!(stages(&plan.hosts[0].switch).contains(&PushStage::Install));

    facts.record = Some(old.record);
    let error = push(&facts).unwrap_err().to_string();
    assert!(
        error.contains("another package of version 1.1.0-1"),
        "{error}"
    );
}

#[test]
fn a_push_refuses_for_all_hosts_at_once_and_says_the_right_way() {
    let mut new = candidate(Deb, "1.1.0", Some("x86_64"));
    new.installed_size = 2 << 30;
    let old = candidate(Deb, "1.2.0", Some("x86_64"));
    let newer = facts(PackageManager::AptGet, Some(&old), VersionOrder::Older);
    let mut same = facts(PackageManager::AptGet, Some(&old), VersionOrder::Same);
    same.root = false;
    same.user = "deploy".into();
    let mut lacking = facts(PackageManager::AptGet, None, VersionOrder::Newer);
    lacking.unmet = BTreeMap::from([(0, vec!["libpq5".into()])]);
    let arm = HostFacts {
        arch: "aarch64".into(),
        ..facts(PackageManager::AptGet, None, VersionOrder::Newer)
    };
    let rpm = facts(PackageManager::Dnf, None, VersionOrder::Newer);
    let sites = [
        site("newer", newer.clone()),
        site("newer2", newer),
        site("same", same),
        site("lacking", lacking),
        site("arm", arm),
        site("rpm", rpm),
    ];
    let error = Plan::push(
        &DeployPolicy {
            backend: Box::new(PackageManagerBackend {
                name: policy().name,
                sudo: false,
            }),
            ..policy()
        },
        &[new],
        &sites,
    )
    .unwrap_err()
    .to_string();
    for part in [
        "cannot push to `newer`, `newer2`\n  cause: 1.2.0-1 is installed, which is newer than 1.1.0-1",
        "`pkgapp rollback`",
        "cannot push to `same`\n  cause: another package of version 1.2.0-1 is installed",
        "the login is `deploy`",
        "needs `libpq5`, which no repository offers",
        "`/opt/shop` has 1.1 GB free and needs 2.1 GB",
        "the host is aarch64, and the package is for x86_64",
        "`pkgapp build --format rpm`",
    ] {
        assert!(error.contains(part), "{part}\nis not in\n{error}");
    }
}

#[test]
fn a_package_of_somebody_else_is_not_replaced() {
    let new = candidate(Deb, "1.1.0", None);
    let refusal = |policy: &DeployPolicy, change: &dyn Fn(&mut HostFacts)| {
        let mut facts = facts(PackageManager::AptGet, None, VersionOrder::Newer);
        change(&mut facts);
        Plan::push(policy, std::slice::from_ref(&new), &[site("web1", facts)])
            .map_err(|error| error.to_string())
    };
    let same_name = DeployPolicy {
        allow: AllowFlags {
            same_name: true,
            ..AllowFlags::default()
        },
        ..policy()
    };
    let foreign = |facts: &mut HostFacts| {
        (facts.foreign, facts.installed) = (true, Some("0.9-1".into()));
        facts.orders.insert(0, VersionOrder::Older);
    };
    for policy in [&policy(), &same_name] {
        let error = refusal(policy, &foreign).unwrap_err();
        assert!(
            error.contains("`shop` (0.9-1) is installed there, and pkgapp did not make it"),
            "{error}"
        );
        assert!(!error.contains("--allow"), "no option permits it: {error}");
    }
    let offers = |facts: &mut HostFacts| facts.offers = Some("0.9-1".into());
    let error = refusal(&policy(), &offers).unwrap_err();
    assert!(
        error.contains("repositories have another package `shop` (0.9-1)"),
        "{error}"
    );
    assert!(error.contains("`--allow-same-name`"), "{error}");
    assert!(refusal(&same_name, &offers).is_ok());
}

#[test]
fn a_host_that_wants_signatures_says_so_before_anything_is_sent() {
    let push = |artifact: &Artifact| {
        let mut facts = facts(PackageManager::Dnf, None, VersionOrder::Newer);
        facts.insists = Some("dnf, by `localpkg_gpgcheck` in /etc/dnf/dnf.conf".into());
        let sites = [site("el1", facts)];
        Plan::push(&policy(), std::slice::from_ref(artifact), &sites)
            .map_err(|error| error.to_string())
    };
    let unsigned = candidate(Rpm, "1.1.0", None);
    let error = push(&unsigned).unwrap_err();
    assert!(
        error.contains("has no signature, and dnf, by `localpkg_gpgcheck` in /etc/dnf/dnf.conf"),
        "{error}"
    );
    assert!(error.contains("rpmsign --addsign"), "{error}");
    assert!(
        push(&Artifact {
            is_signed: true,
            ..unsigned
        })
        .is_ok()
    );
}

#[test]
fn a_host_that_wants_signatures_does_not_go_back_to_a_package_without() {
    let (old, new) = (candidate(Rpm, "1.0.0", None), candidate(Rpm, "1.1.0", None));
    let mut facts = facts(PackageManager::Dnf, Some(&new), VersionOrder::Same);
    facts.kept = vec![
        kept(&new, Some(2)),
        KeptPackage {
            is_unsigned: true,
            ..kept(&old, Some(1))
        },
    ];
    let back = |facts: &HostFacts| {
        Plan::rollback(
            &policy(),
            RollbackTarget::Previous,
            &[site("el1", facts.clone())],
        )
        .map_err(|error| error.to_string())
    };
    assert!(back(&facts).is_ok());
    facts.insists = Some("dnf, by `localpkg_gpgcheck` in /etc/dnf/dnf.conf".into());
    let error = back(&facts).unwrap_err();
    assert!(
        error.contains(&format!("{} has no signature, and dnf", old.file)),
        "{error}"
    );
    assert!(error.contains("push a signed package"), "{error}");
    facts.kept[1].is_unsigned = false;
    assert!(back(&facts).is_ok());
}

#[test]
fn hosts_of_two_package_managers_get_one_release_or_nothing() {
    let (deb, mut rpm) = (candidate(Deb, "1.1.0", None), candidate(Rpm, "1.1.0", None));
    let sites = [
        site(
            "web1",
            facts(PackageManager::AptGet, None, VersionOrder::Newer),
        ),
        site("el1", facts(PackageManager::Dnf, None, VersionOrder::Newer)),
    ];
    let plan = Plan::push(&policy(), &[deb.clone(), rpm.clone()], &sites).unwrap();
    let installs: Vec<&str> = plan
        .hosts
        .iter()
        .map(|host| {
            host.switch.iter().find_map(|step| {
                step.line
                    .as_deref()
                    .filter(|_| step.stage == PushStage::Install)
            })
        })
        .map(Option::unwrap)
        .collect();
    assert!(
        installs[0].starts_with("apt-get -y ") && installs[0].ends_with("/shop_1.1.0-1_amd64.deb"),
        "{installs:?}"
    );
    assert!(
        installs[1].starts_with("dnf -y --setopt=install_weak_deps=False ")
            && installs[1].ends_with("/shop-1.1.0-1.x86_64.rpm")
    );
    rpm.release = "1.0.9".into();
    let error = Plan::push(&policy(), &[deb, rpm], &sites)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("different releases: 1.0.9 and 1.1.0"),
        "{error}"
    );
}

#[test]
fn a_configuration_that_no_push_has_installed_does_not_count_as_the_set() {
    let (own, by_hand) = (configuration(Deb, 1), configuration(Deb, 2));
    let software = software(Deb, "1.0");
    let members = [&software, &own].map(|artifact| KeptMember {
        name: artifact.name.clone(),
        kept: kept(artifact, None),
    });
    let packages = [&software, &own].map(StoredPackage::from);
    let [first, second] = packages;
    let set = KeptPackage {
        sha256: PackageSet::new(first, vec![second]).id,
        members: members.to_vec(),
        ..kept(&software, Some(10))
    };
    let mut facts = facts(PackageManager::AptGet, Some(&software), VersionOrder::Same);
    facts.current = Some(set.sha256);
    facts.kept = vec![set];
    facts.kept_members = members.into();
    let change = |facts: &HostFacts| {
        let target = RollbackTarget::Version("1.0");
        let plan = Plan::rollback(&policy(), target, &[site("web1", facts.clone())]);
        plan.unwrap().hosts[0].change()
    };
    let has =
        |artifact: &Artifact| BTreeMap::from([(artifact.name.clone(), artifact.version.clone())]);
    facts.configurations = has(&own);
    assert_eq!(change(&facts), "1.0-1 already");
    facts.configurations = has(&by_hand);
    let (from, to) = (&by_hand.version, &own.version);
    assert_eq!(
        change(&facts),
        format!("1.0-1, configuration {from} → {to}")
    );
}

#[test]
fn a_rollback_takes_the_newest_that_was_good_before_and_none_that_failed() {
    let all: Vec<Artifact> = ["1.0", "1.1", "1.2", "1.3"]
        .map(|release| candidate(Deb, release, None))
        .into();
    let mut facts = facts(PackageManager::AptGet, Some(&all[3]), VersionOrder::Same);
    facts.kept = vec![
        kept(&all[0], Some(10)),
        kept(&all[1], Some(20)),
        kept(&all[2], Some(30)),
        kept(&all[3], Some(40)),
    ];
    let target = |facts: &HostFacts, to| {
        let plan = Plan::rollback(&policy(), to, &[site("web1", facts.clone())]);
        plan.map(|plan| plan.hosts[0].to.clone())
            .map_err(|error| error.to_string())
    };
    assert_eq!(target(&facts, RollbackTarget::Previous).unwrap(), "1.2-1");
    facts.left.insert(all[2].sha256);
    assert_eq!(
        target(&facts, RollbackTarget::Previous).unwrap(),
        "1.1-1",
        "a roll-back has left 1.2"
    );
    assert_eq!(
        target(&facts, RollbackTarget::Version("1.2")).unwrap(),
        "1.2-1"
    );
    facts.left.clear();
    facts.kept[2].failed = "2026".into();
    assert_eq!(target(&facts, RollbackTarget::Previous).unwrap(), "1.1-1");
    assert_eq!(
        target(&facts, RollbackTarget::Version("1.2")).unwrap(),
        "1.2-1",
        "whoever names it gets it"
    );
    facts.kept[1].size = 0;
    assert_eq!(
        target(&facts, RollbackTarget::Previous).unwrap(),
        "1.0-1",
        "of 1.1 only the mark is left"
    );
    let error = target(&facts, RollbackTarget::Version("0.9")).unwrap_err();
    assert!(
        error.contains("`0.9` is not kept there\n  note: it keeps 1.0, 1.2, 1.3"),
        "{error}"
    );
    facts.kept.remove(0);
    assert!(
        target(&facts, RollbackTarget::Previous)
            .unwrap_err()
            .contains("no earlier release that worked is kept")
    );
    let plan = Plan::rollback(
        &policy(),
        RollbackTarget::Version("1.2"),
        &[site("web1", facts)],
    )
    .unwrap();
    assert_eq!(
        stages(&plan.hosts[0].prepare),
        [PushStage::Lock, PushStage::Login],
        "nothing is sent"
    );
}

#[test]
fn batches_count_all_hosts_so_far() {
    let names: Vec<String> = (1..=10).map(|number| format!("web{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sizes = |batches: &[BatchSize]| {
        let (_, sites) = upgrade(&names);
        let new = candidate(Deb, "1.1.0", Some("x86_64"));
        let plan = Plan::push(
            &DeployPolicy {
                batches: batches.to_vec(),
                ..policy()
            },
            &[new],
            &sites,
        )
        .unwrap();
        plan.batches.iter().map(Vec::len).collect::<Vec<_>>()
    };
    use BatchSize::{Hosts, Percent};
    assert_eq!(sizes(&[Hosts(1), Percent(25), Percent(100)]), [1, 2, 7]);
    assert_eq!(sizes(&[Percent(1)]), [1, 9]);
    assert_eq!(sizes(&[Hosts(50)]), [10]);
    assert_eq!(sizes(&[]), [10]);
    assert_eq!(
        sizes(&[Hosts(3), Percent(20), Hosts(5)]),
        [3, 2, 5],
        "a share may be less than what is done"
    );
}

/// A host that pretends: it has a version and a lock, and one request fails in a given way.
struct Pretender {
    name: String,
    fails: Option<(usize, Way)>,
    state: Mutex<Pretended>,
}

#[derive(Default)]
struct Pretended {
    asked: Vec<String>,
    installed: String,
    locked: bool,
    drained: bool,
    /// The version that it goes back to unless it is confirmed.
    probation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    NeverReached,
    /// With this status.
    Failed(i32),
    /// What was asked did not happen.
    LostBefore,
    /// It did.
    LostAfter,
}

/// 70 and 72 are an installation that was taken back, for the release's sake and for another
/// reason.
const WAYS: [Way; 6] = [
    Way::NeverReached,
    Way::Failed(1),
    Way::Failed(70),
    Way::Failed(72),
    Way::LostBefore,
    Way::LostAfter,
];

impl Pretender {
    fn new(name: &str, fails: Option<(usize, Way)>) -> Self {
        let state = Pretended {
            installed: "1.0.0-1".into(),
            ..Pretended::default()
        };
        Self {
            name: name.into(),
            fails,
            state: Mutex::new(state),
        }
    }

    /// The time passes in which a release is confirmed.
    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        if let Some(before) = state.probation.take() {
            state.installed = before;
        }
    }

    fn ask(&self, what: &str, probation: bool) -> Result<CommandOutput, HostFailure> {
        let mut state = self.state.lock().unwrap();
        let number = state.asked.len();
        let way = self
            .fails
            .filter(|(fails, _)| *fails == number)
            .map(|(_, way)| way);
        state.asked.push(what.to_owned());
        if matches!(way, None | Some(Way::LostAfter)) {
            match what {
                "taking the lock" => state.locked = true,
                "confirming it over a new connection" => state.probation = None,
                "giving the lock back" => state.locked = false,
                "the drain hook `lb out`" => state.drained = true,
                "the undrain hook `lb in`" => state.drained = false,
                what if what.starts_with("removing shop") || what == "taking shop out of use" => {
                    state.installed = String::new();
                }
                _ => {
                    let there = ["installing shop ", "switching to shop "];
                    if let Some(version) = there.iter().find_map(|there| what.strip_prefix(there)) {
                        let version = version.split([' ', ',']).next().unwrap_or_default();
                        let before = std::mem::replace(&mut state.installed, version.to_owned());
                        state.probation = probation.then_some(before);
                    }
                }
            }
        }
        if way == Some(Way::Failed(70))
            && let Some(before) = state.probation.take()
        {
            state.installed = before;
        }
        let error = || Error::new("as told");
        match way {
            None => Ok(CommandOutput::default()),
            Some(Way::NeverReached) => Err(HostFailure::NeverReached(error())),
            Some(Way::Failed(status)) => Err(HostFailure::Failed {
                output: CommandOutput {
                    status,
                    ..CommandOutput::default()
                },
                error: error(),
            }),
            Some(Way::LostBefore | Way::LostAfter) => Err(HostFailure::Lost(error())),
        }
    }
}

impl Host for Pretender {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(
        &self,
        command: &HostCommand,
        _: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<CommandOutput, HostFailure> {
        let state = if command.sudo {
            "/var/lib/pkgapp/shop"
        } else {
            "/home/ada/shop/.pkgapp"
        };
        assert_eq!(parameter(command, "state"), state);
        assert_eq!(parameter(command, "token"), "machine.1.2");
        let begins = command
            .parameters
            .iter()
            .any(|(name, value)| *name == "parameters" && value.contains("confirm=auto"));
        self.ask(&command.what, begins)
    }

    fn upload(&self, _: &Upload, _: &mut dyn FnMut(u64)) -> Result<Uploaded, HostFailure> {
        self.ask("send", false).map(|_| Uploaded::default())
    }

    fn download(
        &self,
        _: &Download,
        _: &mut dyn std::io::Write,
    ) -> Result<Downloaded, HostFailure> {
        Err(HostFailure::NeverReached(Error::new("nothing is fetched")))
    }
}

struct Blind;

impl Observer for Blind {
    fn on_event(&self, _: &str, _: &RolloutEvent<'_>) {}
}

fn roll(plan: &Plan, hosts: &[Pretender], unreachable: Unreachable) -> RolloutOutcome {
    let hosts: Vec<&dyn Host> = hosts.iter().map(|host| host as &dyn Host).collect();
    let reconnect = Duration::ZERO;
    let stop = &|| false;
    Rollout {
        plan,
        hosts: &hosts,
        watch: &Blind,
        parallel: 1,
        reconnect,
        unreachable,
        stop,
    }
    .run()
}

/// Every step of every host fails in every way. Whatever it is: what the outcome says is what is
/// true on the hosts.
#[test]
fn whatever_fails_the_outcome_tells_what_is_true() {
    // Of packages: take the lock, try a login, send, before, drain, install, confirm, undrain,
    // after, record, give the lock back; who does not go back tries no login, and asks instead of
    // confirming. web1 has two steps more, as it migrates. Tarballs are unpacked everywhere.
    for (on_failure, cases) in [(OnFailure::GoBack, 11), (OnFailure::Keep, 10)] {
        let packages = DeployPolicy {
            on_failure,
            ..policy()
        };
        let tarballs = DeployPolicy {
            on_failure,
            ..own_policy()
        };
        let (plan, _) = upgrade_by(&packages, &NAMES);
        assert_eq!(fail_everywhere(&plan), (cases * 3 + 2) * WAYS.len());
        let (plan, _) = switched_by(&tarballs, &NAMES);
        assert_eq!(fail_everywhere(&plan), ((cases + 1) * 3 + 1) * WAYS.len());
    }
}

const NAMES: [&str; 3] = ["web1", "web2", "web3"];

/// Returns how many cases there were.
fn fail_everywhere(plan: &Plan) -> usize {
    let names = NAMES;
    let whole: Vec<Pretender> = names.map(|name| Pretender::new(name, None)).into();
    assert!(roll(plan, &whole, Unreachable::Fail).into_result().is_ok());
    let mut cases = 0;
    for (at, host) in whole.iter().enumerate() {
        let steps = host.state.lock().unwrap().asked.clone();
        for (number, step) in steps.iter().enumerate() {
            for way in WAYS {
                let fails = |index| (index == at).then_some((number, way));
                let hosts: Vec<Pretender> = names
                    .iter()
                    .enumerate()
                    .map(|(index, name)| Pretender::new(name, fails(index)))
                    .collect();
                let outcome = roll(plan, &hosts, Unreachable::Fail);
                hosts.iter().for_each(Pretender::wait);
                let case = format!("{}: {step}: {way:?}, {:?}", host.name, plan.on_failure);
                check(&case, &outcome, &hosts, step, at);
                cases += 1;
            }
        }
    }
    cases
}

fn check(case: &str, outcome: &RolloutOutcome, hosts: &[Pretender], failed: &str, at: usize) {
    let mut changed = 0;
    for (index, (host, told)) in hosts.iter().zip(&outcome.hosts).enumerate() {
        let state = host.state.lock().unwrap();
        let case = format!("{case}; {}: {:?}, {:?}", host.name, told.end, state.asked);
        let version = state.installed.as_str();
        match told.end {
            HostStatus::Changed | HostStatus::Unconfirmed => {
                assert_eq!(version, "1.1.0-1", "{case}");
            }
            HostStatus::Unknown => assert!(["1.0.0-1", "1.1.0-1"].contains(&version), "{case}"),
            HostStatus::Idle
            | HostStatus::Unchanged
            | HostStatus::Unreachable
            | HostStatus::WentBack => {
                assert_eq!(version, "1.0.0-1", "{case}");
            }
            HostStatus::Unwell | HostStatus::Broken | HostStatus::Awaiting => panic!("{case}"),
        }
        changed += usize::from(version == "1.1.0-1");
        let reaches = told.end != HostStatus::Unreachable && index != at;
        assert!(
            !state.locked || failed == "giving the lock back" || !reaches,
            "the lock stays: {case}"
        );
        if index != at {
            assert!(!state.drained, "left out of service: {case}");
        }
    }
    let unknown = outcome
        .hosts
        .iter()
        .any(|host| host.end == HostStatus::Unknown);
    match outcome.clone().into_result().map_err(|error| error.what()) {
        Ok(()) => assert_eq!(changed, 3, "{case}"),
        Err(ErrorKind::Failed) => assert!(
            changed == 0 && !unknown,
            "{case}: exit code 1 says that nothing has changed"
        ),
        Err(ErrorKind::Partial) => assert!(changed > 0 || unknown, "{case}"),
        Err(other) => panic!("{case}: {other:?}"),
    }
}

#[test]
fn what_a_hook_here_is_told_is_no_order_for_a_pkgapp_that_it_runs() {
    let (mut plan, _) = upgrade(&["web1", "web2"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("env").display().to_string();
    let words = ["sh", "-c", "env >\"$0\"", &file]
        .map(str::to_owned)
        .to_vec();
    plan.before = vec![Step {
        stage: PushStage::Before,
        what: "x".into(),
        line: None,
        action: StepAction::Local(words),
    }];
    let hosts = ["web1", "web2"].map(|name| Pretender::new(name, None));
    roll(&plan, &hosts, Unreachable::Fail)
        .into_result()
        .unwrap();
    let env = std::fs::read_to_string(&file).unwrap();
    assert!(
        env.lines()
            .any(|line| line == "PKGAPP_HOOK_HOSTS=web1 web2"),
        "{env}"
    );
    let told = env
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name);
    let told: BTreeSet<&str> = told
        .filter(|name| name.starts_with("PKGAPP_") && std::env::var(name).is_err())
        .collect();
    assert_eq!(told, crate::rollout::HOOK_VARIABLES.into());
}

/// The requests after each failure, for people to read: `golden/failures.txt`.
#[test]
fn what_follows_each_failure_is_the_golden_list() {
    for (plan, golden) in [
        (upgrade(&["web1"]).0, "failures.txt"),
        (switched(&["web1"]).0, "failures-tarball.txt"),
    ] {
        follow(&plan, golden);
    }
}

fn follow(plan: &Plan, golden: &str) {
    let whole = Pretender::new("web1", None);
    roll(plan, std::slice::from_ref(&whole), Unreachable::Fail);
    let steps = whole.state.lock().unwrap().asked.clone();
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        for way in WAYS {
            let host = [Pretender::new("web1", Some((number, way)))];
            let outcome = roll(plan, &host, Unreachable::Fail);
            let end = outcome.hosts[0].end;
            let code = outcome
                .into_result()
                .map_or_else(|error| error.what().exit_code(), |()| 0);
            _ = writeln!(text, "{step}: {way:?} ─► {}, exit code {code}", end.name());
            for asked in &host[0].state.lock().unwrap().asked[number + 1..] {
                _ = writeln!(text, "    {asked}");
            }
        }
    }
    is_golden(golden, &text);
}

fn is_golden(name: &str, text: &str) {
    let golden = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, text).unwrap();
    }
    similar_asserts::assert_eq!(std::fs::read_to_string(golden).unwrap_or_default(), text);
}

/// The value of a variable that a script is given.
fn parameter<'a>(command: &'a HostCommand, name: &str) -> &'a str {
    let mut parameters = command.parameters.iter();
    let found = parameters.find(|(each, _)| *each == name);
    &found.unwrap_or_else(|| panic!("{name} in {command:?}")).1
}

/// What the names of `failures.txt` stand for, byte for byte: `golden/commands.txt`. Scripts are
/// shown by their names.
#[test]
fn every_step_is_the_golden_command() {
    let record = [script::RECORD, script::RETAIN].concat();
    let (unpack, switch) = (script::unpack(), script::switch());
    let (migrate, own_migrate) = (script::migrate(), script::own_migrate());
    let scripts = [
        ("lock", script::LOCK),
        ("unlock", script::UNLOCK),
        ("sweep", script::SWEEP),
        ("beat", script::BEAT),
        ("stage", script::STAGE),
        ("migrate", migrate.as_str()),
        ("command", script::COMMAND),
        ("install", script::INSTALL),
        ("decide", script::DECIDE),
        ("try-login", script::TRY_LOGIN),
        ("health", script::HEALTH),
        ("record", script::RECORD),
        ("tarball/stage", unpack.as_str()),
        ("tarball/migrate", own_migrate.as_str()),
        ("record+tarball/retain", record.as_str()),
    ];
    let shown = |command: &HostCommand| {
        let is = |body: &str, ways| command.script == [script::PRELUDE, ways, body].concat();
        let named = scripts.iter().find(|(_, body)| {
            let systems = PackageManager::ALL.map(script::system);
            is(body, script::USER) || systems.iter().any(|system| is(body, system))
        });
        let mut text = format!(
            "    {}{}{}.sh",
            if command.connection == ConnectionUse::New {
                "new connection: "
            } else {
                ""
            },
            if command.sudo { "sudo " } else { "" },
            named.expect(&command.what).0
        );
        for (name, value) in &command.env {
            _ = write!(text, " {name}={value}");
        }
        let transactions = PackageManager::ALL.map(script::transaction);
        for (name, value) in &command.parameters {
            let value = match value {
                value if transactions.contains(value) => "«transaction.sh»",
                value if *value == switch => "«tarball/transaction.sh»",
                value => value,
            };
            _ = write!(text, "\n      {name}={:?}", value.replace('\n', "¶"));
        }
        for arg in &command.args {
            _ = write!(text, "\n      {:?}", arg.replace('\n', "¶"));
        }
        text
    };
    let mut text = String::new();
    let (old, new) = (
        candidate(Deb, "1.0.0", Some("x86_64")),
        candidate(Deb, "1.1.0", Some("x86_64")),
    );
    let (rpm_old, rpm_new) = (candidate(Rpm, "1.0.0", None), candidate(Rpm, "1.1.0", None));
    let mut kept_both = facts(PackageManager::AptGet, Some(&new), VersionOrder::Same);
    kept_both.kept = vec![kept(&old, Some(1)), kept(&new, Some(2))];
    let mut left = facts(PackageManager::AptGet, Some(&new), VersionOrder::Same);
    left.lock = Some(LockHolder {
        token: "x.1.1".into(),
        owner: "eve".into(),
        since: "2026".into(),
        alive: false,
    });
    let push = |artifact: &Artifact, facts: HostFacts| {
        Plan::push(
            &policy(),
            std::slice::from_ref(artifact),
            &[site("web1", facts)],
        )
        .unwrap()
    };
    for (title, plan) in [
        (
            "an upgrade with apt-get",
            push(
                &new,
                facts(PackageManager::AptGet, Some(&old), VersionOrder::Newer),
            ),
        ),
        (
            "a first installation with dnf",
            push(
                &rpm_new,
                facts(PackageManager::Dnf, None, VersionOrder::Newer),
            ),
        ),
        (
            "an upgrade with zypper",
            push(
                &rpm_new,
                facts(PackageManager::Zypper, Some(&rpm_old), VersionOrder::Newer),
            ),
        ),
        (
            "a roll-back",
            Plan::rollback(
                &policy(),
                RollbackTarget::Previous,
                &[site("web1", kept_both)],
            )
            .unwrap(),
        ),
        ("nothing to do, where a push has died", push(&new, left)),
        ("an upgrade of a tarball", switched(&["web1"]).0),
        (
            "a first installation with the interpreter, with apt-get",
            with_runtime(Deb, PackageManager::AptGet, None),
        ),
        (
            "an upgrade with a newer interpreter, with dnf",
            with_runtime(Rpm, PackageManager::Dnf, Some(Sharing::Keeps)),
        ),
    ] {
        let [host] = &plan.hosts[..] else { panic!() };
        _ = writeln!(text, "{title}");
        let parts = [
            ("prepare", &host.prepare),
            ("migrate", &host.migrate),
            ("switch", &host.switch),
            (
                "abandon: a step before the installation failed",
                &host.abandon,
            ),
            ("failed: the installation was taken back", &host.failed),
            (
                "refused: the same, and the release is not to blame",
                &host.refused,
            ),
            ("back", &host.back),
            ("unlock", &host.unlock),
        ];
        for (part, steps) in parts.into_iter().filter(|(_, steps)| !steps.is_empty()) {
            _ = writeln!(text, "  {part}");
            for step in steps {
                _ = writeln!(text, "   {}: {}", step.stage.name(), step.what);
                _ = match &step.action {
                    StepAction::Run(command) => writeln!(text, "{}", shown(command)),
                    StepAction::Upload(upload) => writeln!(text, "    {:?}", upload.path),
                    StepAction::Local(words) => writeln!(text, "    {words:?}"),
                };
            }
        }
    }
    is_golden("commands.txt", &text);
}

#[test]
fn a_host_gets_what_the_package_that_it_keeps_does_not_have() {
    let (old, mut new) = (
        candidate(Deb, "1.0.0", Some("x86_64")),
        candidate(Deb, "1.1.0", Some("x86_64")),
    );
    new.size = 60_000;
    new.pieces = FilePieces::parse("0000000000014e20 0000000000024e20 0000000000034e20").unwrap();
    let mut there = facts(PackageManager::AptGet, Some(&old), VersionOrder::Newer);
    there.pieces = [(
        old.sha256,
        FilePieces::parse("0000000000034e20 0000000000014e20").unwrap(),
    )]
    .into();
    let plan = Plan::push(&policy(), &[new.clone()], &[site("web1", there.clone())]).unwrap();
    let [lock, _, send] = &plan.hosts[0].prepare[..] else {
        panic!()
    };
    assert_eq!(
        send.what,
        "sending shop_1.1.0-1_amd64.deb (20.0 kB of 60.0 kB)"
    );
    let from = format!("/var/lib/pkgapp/shop/packages/{}/{}", old.sha256, old.file);
    let copy = |offset, at| RangeCopy {
        from: from.clone(),
        offset,
        length: 20_000,
        at,
    };
    let StepAction::Upload(upload) = &send.action else {
        panic!()
    };
    assert_eq!(upload.copies, [copy(20_000, 0), copy(0, 40_000)]);
    let StepAction::Run(lock) = &lock.action else {
        panic!()
    };
    assert_eq!(
        lock.args.last().unwrap(),
        &new.pieces.to_string(),
        "for the next push"
    );
    // A list without its package is worth nothing.
    there.kept.clear();
    let plan = Plan::push(&policy(), &[new], &[site("web1", there)]).unwrap();
    assert_eq!(
        plan.hosts[0].prepare[1].what,
        "sending shop_1.1.0-1_amd64.deb (60.0 kB)"
    );
}

/// What a host has of an interpreter that applications share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// An older one, and its package from an earlier push.
    Keeps,
    /// An older one that another application has brought.
    Has,
    /// The same one.
    Same,
}

/// A host with shop 1.0.0, unless it is the first time.
fn sharing(
    kind: pkgapp_format::read::ArtifactKind,
    manager: PackageManager,
    there: Option<Sharing>,
) -> HostFacts {
    let (app, python) = (shared(kind, "1.0.0", "3.13.0"), runtime(kind, "3.13.0"));
    let mut facts = facts(manager, there.map(|_| &app), VersionOrder::Newer);
    facts.orders.remove(&1);
    let on = |order| RunsOn {
        name: python.name.clone(),
        version: python.version.clone(),
        sha256: python.sha256,
        order,
    };
    if let Some(there) = there {
        let (order, version) = if there == Sharing::Same {
            (VersionOrder::Same, "3.13.1-1")
        } else {
            (VersionOrder::Newer, "3.13.0-1")
        };
        facts.orders.insert(1, order);
        facts
            .runtimes
            .insert(python.name.clone(), version.to_owned());
        facts.runs_on.insert(
            app.sha256,
            on(Some(if there == Sharing::Same {
                VersionOrder::Older
            } else {
                VersionOrder::Same
            })),
        );
        if there == Sharing::Keeps {
            facts.kept_members.push(KeptMember {
                name: python.name.clone(),
                kept: kept(&python, None),
            });
        }
    }
    facts
}

/// A push of shop 1.1.0 with CPython 3.13.1.
fn with_runtime(
    kind: pkgapp_format::read::ArtifactKind,
    manager: PackageManager,
    there: Option<Sharing>,
) -> Plan {
    let all = [shared(kind, "1.1.0", "3.13.1"), runtime(kind, "3.13.1")];
    Plan::push(
        &policy(),
        &all,
        &[site("web1", sharing(kind, manager, there))],
    )
    .unwrap()
}

#[test]
fn an_interpreter_comes_along_in_the_same_installation_and_goes_back_with_it() {
    let install = |steps: &[super::step::Step]| {
        let step = steps
            .iter()
            .find(|step| step.stage == PushStage::Install)
            .unwrap()
            .clone();
        let StepAction::Run(command) = step.action else {
            panic!()
        };
        let parameters: BTreeMap<String, String> = parameter(&command, "parameters")
            .lines()
            .map(|line| line.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        (step.what, step.line.unwrap(), parameters)
    };
    let sends = |plan: &Plan| {
        let sends = plan.hosts[0]
            .prepare
            .iter()
            .filter(|step| step.stage == PushStage::Upload);
        sends.map(|step| step.what.clone()).collect::<Vec<_>>()
    };
    let first = with_runtime(Deb, PackageManager::AptGet, None);
    let python = "sending pkgapp-python3.13_3.13.1-1_amd64.deb (1.0 kB)";
    assert_eq!(
        sends(&first),
        [python, "sending shop_1.1.0-1_amd64.deb (1.0 kB)"]
    );
    let (what, line, parameters) = install(&first.hosts[0].switch);
    assert_eq!(
        what.split(" and ").next().unwrap(),
        "installing shop 1.1.0-1 with pkgapp-python3.13 3.13.1-1"
    );
    let files: Vec<&str> = line
        .split(' ')
        .filter_map(|word| word.rsplit_once('/').map(|(_, file)| file))
        .collect();
    assert_eq!(
        files,
        [
            "pkgapp-python3.13_3.13.1-1_amd64.deb",
            "shop_1.1.0-1_amd64.deb"
        ],
        "{line}"
    );
    assert_eq!(
        (
            &*parameters["runtime_way"],
            &*parameters["back_runtime_way"]
        ),
        ("up", "remove")
    );
    let (what, ..) = install(&first.hosts[0].back);
    assert_eq!(
        what,
        "removing shop, and pkgapp-python3.13 unless something else needs it"
    );

    let upgrade = with_runtime(Deb, PackageManager::AptGet, Some(Sharing::Keeps));
    let (.., parameters) = install(&upgrade.hosts[0].switch);
    assert_eq!(
        (
            &*parameters["back_runtime_way"],
            &*parameters["back_runtime_from"]
        ),
        ("down", "3.13.1-1")
    );
    assert_eq!(parameters["back_runtime_version"], "3.13.0-1");
    let (what, ..) = install(&upgrade.hosts[0].back);
    assert_eq!(
        what,
        "installing shop 1.0.0-1 with pkgapp-python3.13 3.13.0-1"
    );

    let foreign = with_runtime(Deb, PackageManager::AptGet, Some(Sharing::Has));
    let (.., parameters) = install(&foreign.hosts[0].switch);
    assert!(
        parameters["runtime_way"] == "up" && !parameters.contains_key("back_runtime_way"),
        "{parameters:?}"
    );
    let note = "pkgapp-python3.13 3.13.0-1 is not kept there, so it stays new whatever happens";
    assert_eq!(foreign.hosts[0].found, [note]);

    let same = with_runtime(Deb, PackageManager::AptGet, Some(Sharing::Same));
    assert_eq!(sends(&same), ["sending shop_1.1.0-1_amd64.deb (1.0 kB)"]);
    let (what, _, parameters) = install(&same.hosts[0].switch);
    assert!(
        what.starts_with("installing shop 1.1.0-1 and") && !parameters.contains_key("runtime"),
        "{what}: {parameters:?}"
    );
    // What it runs on is told all the same, for roll-back.
    let StepAction::Run(lock) = &same.hosts[0].prepare[0].action else {
        panic!()
    };
    assert!(
        lock.args[1].contains("\nruntime=pkgapp-python3.13 3.13.1-1 "),
        "{lock:?}"
    );
}

#[test]
fn a_newer_interpreter_alone_is_a_reason_to_push_and_does_not_spoil_the_release() {
    let (app, python) = (shared(Deb, "1.0.0", "3.13.0"), runtime(Deb, "3.13.1"));
    let mut there = sharing(Deb, PackageManager::AptGet, Some(Sharing::Keeps));
    there.orders.insert(0, VersionOrder::Same);
    let plan = Plan::push(
        &policy(),
        &[app.clone(), python.clone()],
        &[site("web1", there.clone())],
    )
    .unwrap();
    let [host] = &plan.hosts[..] else { panic!() };
    assert!(!host.is_idle());
    assert_eq!(
        host.back[1].what,
        "installing shop 1.0.0-1 with pkgapp-python3.13 3.13.0-1"
    );
    let StepAction::Run(record) = &host.back.last().unwrap().action else {
        panic!()
    };
    assert_eq!(
        ["good", "marked"].map(|name| parameter(record, name)),
        [&app.sha256.to_string(), ""],
        "1.0.0 is not marked as failed"
    );
    there.orders.insert(1, VersionOrder::Same);
    assert!(
        Plan::push(&policy(), &[app, python], &[site("web1", there)])
            .unwrap()
            .is_idle()
    );
}

#[test]
fn a_rollback_brings_the_interpreter_only_if_it_is_missing() {
    let (old, new) = (
        shared(Deb, "1.0.0", "3.13.0"),
        shared(Deb, "1.1.0", "3.13.0"),
    );
    let mut there = sharing(Deb, PackageManager::AptGet, Some(Sharing::Keeps));
    there.kept = vec![kept(&old, Some(1)), kept(&new, Some(2))];
    (there.current, there.installed, there.record) = (
        Some(new.sha256),
        Some(new.version.clone()),
        Some(new.record),
    );
    const WAITS: &str = " and waiting until its units run, http://127.0.0.1:8000/ answers";
    let what = |facts: &HostFacts| {
        let plan = Plan::rollback(
            &policy(),
            RollbackTarget::Previous,
            &[site("web1", facts.clone())],
        );
        plan.map(|plan| plan.hosts[0].switch[2].what.replace(WAITS, ""))
            .map_err(|error| error.to_string())
    };
    assert_eq!(what(&there).unwrap(), "installing shop 1.0.0-1");
    there.runs_on.get_mut(&old.sha256).unwrap().order = None;
    there.runtimes.clear();
    assert_eq!(
        what(&there).unwrap(),
        "installing shop 1.0.0-1 with pkgapp-python3.13 3.13.0-1"
    );
    there.kept_members.clear();
    let error = what(&there).unwrap_err();
    assert!(
        error.contains("release 1.0.0 runs on pkgapp-python3.13 3.13.0-1, which is not kept there"),
        "{error}"
    );
}

#[test]
fn of_an_interpreter_too_a_host_gets_what_it_does_not_have() {
    let mut python = runtime(Deb, "3.13.1");
    python.size = 60_000;
    python.pieces =
        FilePieces::parse("0000000000014e20 0000000000024e20 0000000000034e20").unwrap();
    let old = runtime(Deb, "3.13.0");
    let mut there = sharing(Deb, PackageManager::AptGet, Some(Sharing::Keeps));
    there.pieces = [(
        old.sha256,
        FilePieces::parse("0000000000034e20 0000000000014e20").unwrap(),
    )]
    .into();
    let all = [shared(Deb, "1.1.0", "3.13.1"), python.clone()];
    let plan = Plan::push(&policy(), &all, &[site("web1", there)]).unwrap();
    assert_eq!(
        plan.hosts[0].prepare[2].what,
        "sending pkgapp-python3.13_3.13.1-1_amd64.deb (20.0 kB of 60.0 kB)"
    );
    let StepAction::Run(lock) = &plan.hosts[0].prepare[0].action else {
        panic!()
    };
    assert_eq!(
        lock.args[3..],
        [
            python.sha256.to_string(),
            lock.args[4].clone(),
            python.pieces.to_string()
        ]
    );
    assert!(
        lock.args[4].ends_with("\nname=pkgapp-python3.13"),
        "{lock:?}"
    );
}

#[test]
fn an_interpreter_without_its_package_is_named_and_a_tarball_cannot_share_one() {
    let app = shared(Rpm, "1.0.0", "3.13.0");
    let mut facts = facts(PackageManager::Dnf, None, VersionOrder::Newer);
    facts.unmet = BTreeMap::from([(0, app.depends.clone())]);
    let error = Plan::push(&policy(), &[app], &[site("web1", facts)])
        .unwrap_err()
        .to_string();
    for part in [
        "needs `pkgapp-python3.13 >= 3.13.0`, which no repository offers",
        "`pkgapp runtime build`",
    ] {
        assert!(error.contains(part), "{part}\nis not in\n{error}");
    }
    let tar = Artifact {
        runtime: shared(Tar, "1.0.0", "3.13.0").runtime,
        ..tarball("1.0.0")
    };
    let error = Plan::push(&own_policy(), &[tar], &[site("web1", own_facts(None))])
        .unwrap_err()
        .to_string();
    for part in [
        "`pkgapp-python3.13`, a package that only root can install",
        "`interpreter = \"bundled\"`",
    ] {
        assert!(error.contains(part), "{part}\nis not in\n{error}");
    }
}

#[test]
fn the_lock_of_a_dead_push_is_cleared_away_where_nothing_is_to_do() {
    let new = candidate(Deb, "1.1.0", Some("x86_64"));
    let plan = |alive, root| {
        let mut there = facts(PackageManager::AptGet, Some(&new), VersionOrder::Same);
        there.lock = Some(LockHolder {
            token: "x.1.1".into(),
            owner: "eve".into(),
            since: "2026".into(),
            alive,
        });
        there.root = root;
        Plan::push(
            &policy(),
            std::slice::from_ref(&new),
            &[site("web1", there)],
        )
    };
    let dead = plan(false, true).unwrap();
    let host = Pretender::new("web1", None);
    let outcome = roll(&dead, std::slice::from_ref(&host), Unreachable::Fail);
    assert_eq!(outcome.hosts[0].end, HostStatus::Idle);
    assert_eq!(
        host.state.lock().unwrap().asked,
        ["clearing away the lock of a push that died"]
    );
    assert!(
        plan(true, true).unwrap().hosts[0].unlock.is_empty(),
        "it lives"
    );
}

#[test]
fn a_host_that_is_not_reached_is_left_out_if_told_so() {
    let (plan, _) = upgrade(&["web1", "web2"]);
    let hosts = || {
        [
            Pretender::new("web1", Some((0, Way::NeverReached))),
            Pretender::new("web2", None),
        ]
    };
    let outcome = roll(&plan, &hosts(), Unreachable::Skip);
    let ends = |outcome: &RolloutOutcome| {
        outcome
            .hosts
            .iter()
            .map(|host| host.end)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ends(&outcome),
        [HostStatus::Unreachable, HostStatus::Changed]
    );
    assert_eq!(
        outcome.into_result().unwrap_err().what(),
        ErrorKind::Partial
    );
    let outcome = roll(&plan, &hosts(), Unreachable::Fail);
    assert_eq!(
        ends(&outcome),
        [HostStatus::Unreachable, HostStatus::Unchanged]
    );
    assert_eq!(outcome.into_result().unwrap_err().what(), ErrorKind::Failed);
}

#[test]
fn failing_health_in_the_second_batch_takes_all_back_or_is_within_the_budget() {
    let names = ["web1", "web2", "web3"];
    let (mut plan, _) = upgrade(&names);
    // take the lock, try a login, send, before, drain, install: the host has gone back
    let hosts =
        || names.map(|name| Pretender::new(name, (name == "web2").then_some((5, Way::Failed(70)))));
    let versions = |hosts: &[Pretender]| {
        hosts
            .iter()
            .map(|host| host.state.lock().unwrap().installed.clone())
            .collect::<Vec<_>>()
    };
    let (old, new) = ("1.0.0-1", "1.1.0-1");

    let run = hosts();
    let outcome = roll(&plan, &run, Unreachable::Fail);
    assert_eq!(versions(&run), [old, old, old]);
    assert_eq!(outcome.into_result().unwrap_err().what(), ErrorKind::Failed);

    // The same without a login, and with a question after the installation.
    let keep = DeployPolicy {
        on_failure: OnFailure::Keep,
        ..policy()
    };
    let (kept, _) = upgrade_by(&keep, &names);
    let run =
        names.map(|name| Pretender::new(name, (name == "web2").then_some((5, Way::Failed(1)))));
    let outcome = roll(&kept, &run, Unreachable::Fail);
    assert_eq!(versions(&run), [new, new, new]);
    assert_eq!(
        outcome.into_result().unwrap_err().what(),
        ErrorKind::Partial
    );

    plan.max_failed = 1;
    let run = hosts();
    let outcome = roll(&plan, &run, Unreachable::Fail);
    assert_eq!(versions(&run), [new, old, new]);
    assert_eq!(
        outcome.into_result().unwrap_err().what(),
        ErrorKind::Partial
    );
}

#[test]
fn a_lock_that_was_waited_for_makes_the_plan_stale() {
    struct Late(Pretender);
    impl Host for Late {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn run(
            &self,
            command: &HostCommand,
            on_line: &mut dyn FnMut(Stream, &[u8]),
        ) -> Result<CommandOutput, HostFailure> {
            let mut output = self.0.run(command, on_line)?;
            if command.what == "taking the lock" {
                output.stdout = b"waiting for the push by eve since 2026\nlocked\n".to_vec();
            }
            Ok(output)
        }
        fn upload(
            &self,
            upload: &Upload,
            progress: &mut dyn FnMut(u64),
        ) -> Result<Uploaded, HostFailure> {
            self.0.upload(upload, progress)
        }
        fn download(
            &self,
            download: &Download,
            sink: &mut dyn std::io::Write,
        ) -> Result<Downloaded, HostFailure> {
            self.0.download(download, sink)
        }
    }
    let (plan, _) = upgrade(&["web1"]);
    let host = Late(Pretender::new("web1", None));
    let hosts: [&dyn Host; 1] = [&host];
    let outcome = Rollout {
        plan: &plan,
        hosts: &hosts,
        watch: &Blind,
        parallel: 4,
        reconnect: Duration::ZERO,
        unreachable: Unreachable::Fail,
        stop: &|| false,
    }
    .run();
    assert!(outcome.is_stale);
    assert_eq!(
        host.0.state.lock().unwrap().asked,
        ["taking the lock", "giving the lock back"]
    );
}

#[test]
fn the_plan_that_is_printed_is_the_one_that_runs() {
    let (plan, _) = upgrade(&["web1", "web2", "web3"]);
    let text = plan.text(false);
    assert!(
        text.starts_with(
            "push shop 1.1.0, 3 hosts\nweb1 (debian 12, apt-get): 1.0.0-1 → 1.1.0-1\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\nweb2, web3 (debian 12, apt-get): 1.0.0-1 → 1.1.0-1\n"),
        "equal hosts together: {text}"
    );
    assert!(text.ends_with("batches: web1 | web2, web3\n"), "{text}");
    let json = plan.to_json();
    let host = Pretender::new("web1", None);
    let (single, _) = upgrade(&["web1"]);
    roll(&single, std::slice::from_ref(&host), Unreachable::Fail);
    let told: Vec<String> = ["prepare", "migrate", "switch", "unlock"]
        .iter()
        .flat_map(|part| json["hosts"][0][part].as_array().unwrap().clone())
        .map(|step| {
            if step["stage"] == "upload" {
                "send".into()
            } else {
                step["what"].as_str().unwrap().to_owned()
            }
        })
        .collect();
    assert_eq!(host.state.lock().unwrap().asked, told);
    let names: BTreeSet<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("$ "))
        .collect();
    assert!(names.iter().any(|line| {
        line.contains(
            "--no-install-recommends --no-remove --allow-downgrades install /var/lib/pkgapp",
        )
    }));
}

#[test]
fn an_installation_that_a_signal_cuts_off_may_have_happened() {
    let (plan, _) = upgrade(&["web1"]);
    let whole = Pretender::new("web1", None);
    roll(&plan, std::slice::from_ref(&whole), Unreachable::Fail);
    let install = whole
        .state
        .lock()
        .unwrap()
        .asked
        .iter()
        .position(|asked| asked.starts_with("installing"))
        .unwrap();
    let host = Pretender::new("web1", Some((install, Way::Failed(143))));
    let outcome = roll(&plan, std::slice::from_ref(&host), Unreachable::Fail);
    assert_eq!(outcome.hosts[0].end, HostStatus::Unknown);
    assert_eq!(
        outcome.into_result().unwrap_err().what(),
        ErrorKind::Partial
    );
}
