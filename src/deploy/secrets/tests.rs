//! The scripts run by sh on a login's directory, and plans for hosts that only pretend.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::facts::HostFacts;
use crate::hosts::script::assignments;
use crate::hosts::{HostCommand, OutputAudience};
use crate::plan::Plan;
use crate::policy::{DeployPolicy, TargetHost};
use crate::script::{self, RemoteState};
use crate::step::{PushStage, StepAction};
use crate::tests::{own_facts, own_policy, site};
use pkgapp_config::BatchSize;
use pkgapp_core::name::AppName;
use pkgapp_core::path::InstallPath;

fn value(text: &str) -> SecretValue {
    SecretValue::parse(text.into(), SecretForm::Line).unwrap()
}

fn file() -> SecretStore {
    SecretStore {
        name: AppName::parse("shop").unwrap(),
        path: InstallPath::parse("/etc/shop/secrets.env").unwrap(),
        group: Some("shop".into()),
        credentials: vec!["CERT".into(), "NOTE".into()],
    }
}

/// A directory with releases, and without any.
struct Login {
    root: tempfile::TempDir,
}

/// How a script has ended: whether well, and what it has printed.
type Ended = (bool, String);

impl Login {
    fn new() -> Self {
        let login = Self {
            root: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(login.file().parent().unwrap()).unwrap();
        login
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn file(&self) -> PathBuf {
        self.path("shared/etc/shop/secrets.env")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn remote(&self) -> RemoteState {
        RemoteState {
            directory: self.path(".pkgapp").display().to_string(),
            sudo: false,
            library: script::USER,
            env: vec![("PKGAPP_UNITS", "none".to_owned())],
            after_record: "",
        }
    }

    fn run(&self, command: &HostCommand) -> Ended {
        let script = [
            &assignments(&command.parameters),
            "\n",
            command.script.as_str(),
        ]
        .concat();
        let mut process = Command::new("sh");
        process
            .args(["-c", &script, "sh"])
            .args(&command.args)
            .envs(&command.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        let input = command.stdin.clone().unwrap_or_default();
        _ = child.stdin.take().unwrap().write_all(&input);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    }

    /// Takes the lock for a token.
    fn lock(&self, token: &str) {
        let command = script::command("locking", script::LOCK, &self.remote(), token)
            .parameter("owner", "ada")
            .parameter("dead", "")
            .parameter("patience", "2")
            .parameter("seen", "");
        assert!(self.run(&command).0);
    }

    fn order(&self, body: &str, token: &str, parameters: &[(&'static str, &str)]) -> Ended {
        let mut command = file().command("x", body, &self.remote(), token);
        for (name, value) in parameters {
            command = command.parameter(name, *value);
        }
        self.run(&command)
    }

    fn write(&self, lines: &str, token: &str) -> Ended {
        let command = file()
            .command("x", script::WRITE_SECRETS, &self.remote(), token)
            .parameter("restart", "yes")
            .stdin(lines);
        self.run(&command)
    }

    fn unlock(&self, token: &str) {
        assert!(self.order(script::UNLOCK, token, &[]).0);
    }

    fn look(&self, salt: &SecretSalt) -> HostSecrets {
        let (done, said) = self.run(&file().look(&self.remote(), salt));
        assert!(done, "{said}");
        HostSecrets::parse(&said, salt).unwrap()
    }
}

#[test]
fn values_are_one_line_of_text() {
    for (bytes, why) in [
        (&b""[..], "is empty"),
        (b"a\nb", "several lines"),
        (b"a\r", "several lines"),
        (b"a\0b", "a NUL character"),
        (b"a\x1bb", "a control character"),
        (b"\xff", "not UTF-8"),
        (&[b'x'; MOST_BYTES + 1], "longer than 64 KiB"),
    ] {
        let error = SecretValue::parse(bytes.to_vec(), SecretForm::Line)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
    SecretValue::parse(vec![b'x'; MOST_BYTES], SecretForm::Line).unwrap();
    assert_eq!(
        SecretValue::from_output(b"a\tb \n".to_vec(), SecretForm::Line).unwrap(),
        value("a\tb ")
    );
    let error = SecretValue::from_output(b"hunter2\n\n".to_vec(), SecretForm::Line).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(!format!("{:?}", value("hunter2")).contains("hunter2"));
}

#[test]
fn one_variable_changes_and_all_else_stays() {
    for (before, lines, after) in [
        ("", "A=1\n", "A=1\n"),
        ("# keep\n\nB=2\n", "A=1\n", "# keep\n\nB=2\nA=1\n"),
        ("B=2", "A=1\n", "B=2\nA=1\n"),
        ("A=old\n# end\n", "A=1\n", "A=1\n# end\n"),
        ("  A = old  \nB=2\n", "A=1\n", "A=1\nB=2\n"),
        // The last one is in force; an old value is not left behind.
        ("A=older\nB=2\nA=old\nC=3\n", "A=1\n", "B=2\nA=1\nC=3\n"),
        ("A=x\\\ny\nB=2\n", "A=1\n", "A=1\nB=2\n"),
        ("A=\"x\ny\"\nB=2\n", "A=1\n", "A=1\nB=2\n"),
        (
            "K=\"-\nA=no\n-\"\nB=2\n",
            "A=1\n",
            "K=\"-\nA=no\n-\"\nB=2\nA=1\n",
        ),
        ("K='-\nA=no\n-'\n", "A=1\n", "K='-\nA=no\n-'\nA=1\n"),
        // What goes on takes no new line with it.
        ("B=2\\\n", "A=1\n", "B=2\\\n\nA=1\n"),
        ("# c\\\n", "A=1\n", "# c\\\n\nA=1\n"),
        (
            "AB=2\nA B=3\n#A=4\n;A=5\n",
            "A=1\n",
            "AB=2\nA B=3\n#A=4\n;A=5\nA=1\n",
        ),
        (
            "A=1\nB=2\n",
            "B=\"x \\\" y\"\nC=3\n",
            "A=1\nB=\"x \\\" y\"\nC=3\n",
        ),
        ("A=1\r\nB=2\r\n", "A=3\n", "A=3\nB=2\r\n"),
    ] {
        let login = Login::new();
        std::fs::write(login.file(), before).unwrap();
        login.lock("t");
        let (done, said) = login.write(lines, "t");
        assert!(done, "{before:?}: {said}");
        assert_eq!(login.text(), after, "{before:?}");
        assert_eq!(login.write(lines, "t"), (true, "nothing differs\n".into()));
    }
    for (before, why) in [
        ("B='open\n", "a quote"),
        ("B=1\rA=2\n", "several variables"),
        ("B=\0\n", "NUL"),
    ] {
        let login = Login::new();
        std::fs::write(login.file(), before).unwrap();
        login.lock("t");
        let (done, said) = login.write("A=1\n", "t");
        assert!(!done && said.contains(why), "{before:?}: {said}");
        assert_eq!(login.text(), before);
        let names = std::fs::read_dir(login.file().parent().unwrap()).unwrap();
        assert_eq!(names.count(), 1, "nothing else is left");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn what_is_written_is_read_by_all_and_compared_alike(
        text in "[ -~\tß\"\'\\\\$`#;=]{1,60}",
    ) {
        let login = Login::new();
        let written = value(&text);
        std::fs::write(login.file(), format!("# c\n{}B=2\n", written.assignment("A"))).unwrap();
        let salt = SecretSalt::draw().unwrap();
        let there = login.look(&salt);
        prop_assert_eq!(there.hashes.get("A"), Some(&salt.hash(&written)));
        let (_, read) = login.run(&file().read(&login.remote(), &["A".to_owned()]));
        let values = SecretStore::values(read.as_bytes()).unwrap();
        prop_assert_eq!(values.get("A"), Some(&written));
        // As cron jobs read it.
        let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/../../templates/with-environment.sh");
        let by_reader = Command::new("sh").arg(reader).arg(login.file())
            .args(["--", "sh", "-c", "printf %s \"$A\""]).output().unwrap();
        prop_assert_eq!(String::from_utf8(by_reader.stdout).unwrap(), text);
    }
}

#[test]
fn hashes_tell_nothing_but_equality() {
    let [one, other] = [SecretSalt::draw().unwrap(), SecretSalt::draw().unwrap()];
    assert_ne!(one.hash(&value("a")), other.hash(&value("a")));
    let login = Login::new();
    std::fs::write(login.file(), "A=a\nEMPTY=\nLINES=\"x\ny\"\n").unwrap();
    let there = login.look(&one);
    assert_eq!(there.hashes.keys().collect::<Vec<_>>(), ["A", "LINES"]);
    assert_eq!(there.hashes["A"], one.hash(&value("a")));
    assert!(HostSecrets::parse("secret.A=00\n", &one).is_err());
    let (_, read) = login.run(&file().read(&login.remote(), &["LINES".to_owned()]));
    let error = SecretStore::values(read.as_bytes())
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot copy `LINES`") && error.contains("several lines"));
}

#[test]
fn no_name_is_followed_that_others_could_have_made() {
    let salt = SecretSalt::draw().unwrap();
    let refused = |login: &Login, why: &str| {
        let told = login.look(&salt).distrusted.unwrap();
        assert!(told.contains(why), "{told}");
        let (done, said) = login.write("A=1\n", "t");
        assert!(!done && said.contains(why), "{said}");
    };
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };

    let login = Login::new();
    login.lock("t");
    let victim = login.path("victim");
    std::fs::write(&victim, "V=1\n").unwrap();
    symlink(&victim, login.file()).unwrap();
    refused(&login, "secrets.env` is a symbolic link");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "V=1\n");
    std::fs::remove_file(login.file()).unwrap();

    let directory = login.file().parent().unwrap().to_owned();
    for mode in [0o775, 0o757] {
        chmod(&directory, mode);
        refused(&login, "can be written by others");
    }
    chmod(&directory, 0o755);
    std::fs::write(login.file(), "").unwrap();
    chmod(&login.file(), 0o666);
    refused(&login, "can be written by others");
    std::fs::remove_file(login.file()).unwrap();
    std::fs::create_dir(login.file()).unwrap();
    refused(&login, "is no regular file");
    std::fs::remove_dir(login.file()).unwrap();

    std::fs::rename(&directory, login.path("elsewhere")).unwrap();
    symlink(login.path("elsewhere"), &directory).unwrap();
    refused(&login, "etc/shop` is a symbolic link");
}

#[test]
fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
    let login = Login::new();
    std::fs::remove_dir_all(login.path("shared")).unwrap();
    login.lock("t");
    let mode = || login.file().metadata().unwrap().permissions().mode() & 0o7777;
    assert!(login.write("A=1\n", "t").0);
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(login.file(), PermissionsExt::from_mode(0o640)).unwrap();
    assert!(login.write("A=2\n", "t").0);
    assert_eq!((mode(), login.text().as_str()), (0o640, "A=2\n"));
}

#[test]
fn nothing_is_written_without_the_lock() {
    let login = Login::new();
    login.lock("another");
    let (done, said) = login.write("A=1\n", "t");
    assert!(!done && said.contains("no longer holds the lock"), "{said}");
    assert!(!login.file().exists());
}

#[test]
fn secrets_of_before_are_kept_and_come_back() {
    let login = Login::new();
    std::fs::write(login.file(), "A=0\n").unwrap();
    let kept = |name: &str| std::fs::read_to_string(login.path(".pkgapp/secrets").join(name)).ok();
    let change = |token: &str, line: &str| {
        login.lock(token);
        assert!(login.write(line, token).0);
    };
    change("one", "A=1\n");
    assert_eq!(kept("before").as_deref(), Some("A=0\n"));
    assert!(login.look(&SecretSalt::draw().unwrap()).is_pending);
    // The same call again, as after a lost connection.
    assert!(login.write("A=1\n", "one").0);
    assert!(login.order(script::RESTORE_SECRETS, "one", &[]).0);
    assert_eq!(login.text(), "A=0\n");
    assert!(login.write("A=1\n", "one").0);
    assert!(login.order(script::SETTLE_SECRETS, "one", &[]).0);
    login.unlock("one");

    change("two", "A=2\n");
    assert_eq!(kept("before").as_deref(), Some("A=1\n"));
    assert_eq!(kept("previous").as_deref(), Some("A=0\n"), "since the push");
    assert!(login.order(script::SETTLE_SECRETS, "two", &[]).0);
    assert_eq!((kept("before"), kept("writer")), (None, None));
    let (_, said) = login.order(script::RESTORE_SECRETS, "two", &[]);
    assert_eq!(
        (said.as_str(), login.text().as_str()),
        ("nothing was written\n", "A=2\n")
    );

    // There and back, each as often as it takes.
    for _ in 0..2 {
        assert!(
            login
                .order(script::SWAP_SECRETS, "two", &[("to", "previous")])
                .0
        );
        assert_eq!(login.text(), "A=0\n");
    }
    for _ in 0..2 {
        assert!(
            login
                .order(script::SWAP_SECRETS, "two", &[("to", "later")])
                .0
        );
        assert_eq!(login.text(), "A=2\n");
    }
    assert!(
        login
            .order(script::SWAP_SECRETS, "two", &[("to", "previous")])
            .0
    );
    assert_eq!(login.text(), "A=0\n");

    // A push that has failed lets them be kept, and one that ends well forgets them.
    change("two", "A=3\n");
    std::fs::create_dir_all(login.path(".pkgapp/packages/aa")).unwrap();
    for (mark, is_kept) in [("failed", true), ("", false)] {
        let parameters = [
            ("good", "aa"),
            ("marked", ""),
            ("mark", mark),
            ("keep", "3"),
            ("line", "\"result\":\"ok\"}"),
        ];
        let (done, said) = login.order(script::RECORD, "two", &parameters);
        assert!(done, "{said}");
        assert_eq!(kept("previous").is_some(), is_kept, "{mark}");
        std::fs::create_dir_all(login.path(".pkgapp/packages/aa")).unwrap();
    }
    assert!(kept("pending").is_some(), "a restart is still due");
}

const CERT: &str = "-----BEGIN \\c\n\tß%s \\\\ \\n\r\n-----END\n\n";

fn text(text: &str) -> SecretValue {
    SecretValue::parse(text.into(), SecretForm::File).unwrap()
}

#[test]
fn files_have_several_lines_and_are_compared_and_read_alike() {
    for (bytes, why) in [
        (&b"a\0"[..], "a NUL character"),
        (b"", "is empty"),
        (b"\xff", "not UTF-8"),
        (&[b'x'; MOST_BYTES + 1], "longer than 64 KiB"),
    ] {
        let error = SecretValue::parse(bytes.to_vec(), SecretForm::File).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    for (given, kept) in [
        ("a\n", "a"),
        ("a", "a"),
        ("a\nb\n", "a\nb\n"),
        ("a\nb", "a\nb"),
    ] {
        let given = SecretValue::from_output(given.into(), SecretForm::File).unwrap();
        assert_eq!(given, text(kept));
    }

    let login = Login::new();
    let store = login.path("shared/etc/shop/credentials");
    login.lock("t");
    let lines = [text(CERT).file_line("CERT"), value("1").assignment("A")].concat();
    let (done, said) = login.write(&lines, "t");
    assert!(done, "{said}");
    assert_eq!(login.text(), "A=1\n");
    assert_eq!(std::fs::read_to_string(store.join("CERT")).unwrap(), CERT);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&store), mode(&store.join("CERT"))), (0o700, 0o600));

    let salt = SecretSalt::draw().unwrap();
    let there = login.look(&salt);
    assert_eq!(there.hashes.keys().collect::<Vec<_>>(), ["A", "CERT"]);
    assert_eq!(there.hashes["CERT"], salt.hash(&text(CERT)));
    let names = ["CERT".to_owned(), "A".to_owned(), "NOTE".to_owned()];
    let (_, read) = login.run(&file().read(&login.remote(), &names[..]));
    let values = SecretStore::values(read.as_bytes());
    // It has no file, and so no value.
    assert!(
        values
            .unwrap_err()
            .to_string()
            .contains("cannot copy `NOTE`")
    );
    let (_, read) = login.run(&file().read(&login.remote(), &names[..2]));
    let values = SecretStore::values(read.as_bytes()).unwrap();
    assert_eq!((&values["CERT"], &values["A"]), (&text(CERT), &value("1")));
}

#[test]
fn what_is_a_file_by_now_is_no_variable() {
    let login = Login::new();
    std::fs::write(login.file(), "CERT=old\n").unwrap();
    let there = login.look(&SecretSalt::draw().unwrap());
    assert!(there.hashes.is_empty());
    assert_eq!(there.leftover, ["CERT"]);
    assert!(there.oddities()[0].contains("still has a line of it"));
}

#[test]
fn files_are_kept_and_come_back_with_the_others() {
    let login = Login::new();
    let at = |name: &str| login.path("shared/etc/shop/credentials").join(name);
    let cert = || std::fs::read_to_string(at("CERT")).ok();
    let write = |value: &str, token: &str| {
        let (done, said) = login.write(&text(value).file_line("CERT"), token);
        assert!(done, "{said}");
    };
    let swap = |to| assert!(login.order(script::SWAP_SECRETS, "t", &[("to", to)]).0);
    login.lock("t");
    write("one\ntwo", "t");
    assert!(!login.file().exists(), "nothing is a variable");
    assert!(login.order(script::RESTORE_SECRETS, "t", &[]).0);
    assert_eq!(cert(), None);
    write("one\ntwo", "t");
    assert!(login.order(script::SETTLE_SECRETS, "t", &[]).0);
    login.unlock("t");

    // Since the last push there was none. Another one is left as it is.
    login.lock("t");
    std::fs::write(at("OTHER"), "x").unwrap();
    for _ in 0..2 {
        swap("previous");
        assert_eq!(cert(), None);
    }
    for _ in 0..2 {
        swap("later");
        assert_eq!(cert().as_deref(), Some("one\ntwo"));
    }
    assert!(at("OTHER").exists());
    swap("previous");
    let parameters = [
        ("good", "aa"),
        ("marked", ""),
        ("mark", ""),
        ("keep", "3"),
        ("line", "\"result\":\"ok\"}"),
    ];
    std::fs::create_dir_all(login.path(".pkgapp/packages/aa")).unwrap();
    assert!(login.order(script::RECORD, "t", &parameters).0);
    let kept = std::fs::read_dir(login.path(".pkgapp/secrets")).unwrap();
    let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, ["pending_files"], "a restart is still due");
    assert!(login.look(&SecretSalt::draw().unwrap()).is_pending);
}

#[test]
fn what_was_cut_off_is_not_written() {
    let login = Login::new();
    login.lock("t");
    let whole = text("one\ntwo").file_line("CERT");
    let (done, said) = login.write(&whole[..whole.len() - 1], "t");
    assert_eq!((done, said.as_str()), (true, "nothing differs\n"));
    assert!(!login.path("shared/etc/shop/credentials").exists());
}

#[test]
fn a_file_that_others_could_have_made_is_not_followed() {
    let login = Login::new();
    login.lock("t");
    let store = login.path("shared/etc/shop/credentials");
    symlink(login.path("elsewhere"), &store).unwrap();
    let told = login.look(&SecretSalt::draw().unwrap()).distrusted.unwrap();
    assert!(told.contains("credentials` is a symbolic link"), "{told}");
    let (done, said) = login.write(&text("x").file_line("CERT"), "t");
    assert!(!done && said.contains("is a symbolic link"), "{said}");
}

#[test]
fn a_host_whose_systemd_passes_no_files_on_is_refused() {
    let policy = own_policy();
    let salt = SecretSalt::draw().unwrap();
    let there = HostSecrets {
        no_credentials: Some("systemd 245 has no credentials".into()),
        ..HostSecrets::default()
    };
    let plan = |name: &str| {
        let change = SecretChange::from([(name.to_owned(), value("x"))]);
        let (policy, file) = (&policy, &file());
        let restart = ReaderRestart::Running;
        SecretsPlan {
            policy,
            file,
            salt: &salt,
            restart,
        }
        .plan(
            &[site("web1", own_facts(None))],
            std::slice::from_ref(&there),
            &[change],
        )
    };
    let error = plan("CERT").unwrap_err().to_string();
    assert!(
        error.contains("cannot deliver `CERT` as a file: systemd 245"),
        "{error}"
    );
    assert!(plan("KEY").is_ok());
}

#[test]
fn hosts_are_compared_by_their_hashes() {
    let salt = SecretSalt::draw().unwrap();
    let host = |pairs: &[(&str, &str)]| HostSecrets {
        hashes: pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), salt.hash(&value(text))))
            .collect(),
        ..HostSecrets::default()
    };
    let hosts = [
        host(&[("KEY", "a"), ("URL", "x")]),
        host(&[("KEY", "a"), ("URL", "y"), ("OLD", "o")]),
        host(&[("KEY", "a")]),
    ];
    let expected = |name: &str, is_required| ExpectedSecret {
        name: name.to_owned(),
        is_required,
    };
    let declared = [
        expected("KEY", true),
        expected("MAIL", false),
        expected("URL", true),
    ];
    let table = SecretTable::of(&declared, &hosts.iter().collect::<Vec<_>>());
    use SecretState::{Differs, Missing, Set};
    let told: Vec<_> = table
        .rows
        .iter()
        .map(|row| {
            (
                row.name.as_str(),
                &row.states[..],
                row.groups.clone(),
                row.is_lacking(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("KEY", &[Set, Set, Set][..], vec![vec![0, 1, 2]], false),
            ("MAIL", &[Missing, Missing, Missing], vec![], false),
            ("OLD", &[Missing, Set, Missing], vec![vec![1]], false),
            (
                "URL",
                &[Differs, Differs, Missing],
                vec![vec![0], vec![1]],
                true
            ),
        ]
    );
}

/// A plan for hosts that have these values of `KEY`.
fn plan(values: &[&str], restart: ReaderRestart, pending: bool, installed: bool) -> Plan {
    let salt = SecretSalt::draw().unwrap();
    let policy = DeployPolicy {
        batches: vec![BatchSize::Hosts(1)],
        ..own_policy()
    };
    let facts = HostFacts {
        installed: installed.then(|| "1.0".to_owned()),
        ..own_facts(None)
    };
    let names = ["web1", "web2", "web3"];
    let sites: Vec<TargetHost> = values
        .iter()
        .zip(names)
        .map(|(_, name)| site(name, facts.clone()))
        .collect();
    let there = |text: &&str| HostSecrets {
        hashes: (!text.is_empty())
            .then(|| ("KEY".to_owned(), salt.hash(&value(text))))
            .into_iter()
            .collect(),
        is_pending: pending,
        ..HostSecrets::default()
    };
    let there: Vec<HostSecrets> = values.iter().map(there).collect();
    let change = SecretChange::from([("KEY".to_owned(), value("topsecret"))]);
    SecretsPlan {
        policy: &policy,
        file: &file(),
        salt: &salt,
        restart,
    }
    .plan(&sites, &there, &vec![change; values.len()])
    .unwrap()
}

fn stages(plan: &Plan, index: usize) -> Vec<PushStage> {
    let steps = plan.hosts[index].switch.iter();
    steps.map(|step| step.stage).collect()
}

#[test]
fn hosts_that_differ_are_written_and_restarted_in_batches() {
    use PushStage::{Health, Install, Record};
    let changed = plan(
        &["", "topsecret", "old"],
        ReaderRestart::Running,
        false,
        true,
    );
    assert_eq!(changed.batches, [vec![0], vec![2]]);
    let told: Vec<String> = changed
        .hosts
        .iter()
        .map(crate::plan::HostPlan::change)
        .collect();
    assert_eq!(
        told,
        ["KEY missing → set", "KEY set already", "KEY differs → set"]
    );
    assert_eq!(stages(&changed, 0), [Install, Health, Health, Record]);
    assert!(changed.hosts[1].is_idle());
    let back: Vec<_> = changed.hosts[2]
        .back
        .iter()
        .map(|step| step.stage)
        .collect();
    assert_eq!(back, [Install, Record, Health, Health]);
    assert!(changed.before.is_empty() && changed.after.is_empty());

    let silent = plan(&["", ""], ReaderRestart::Never, false, true);
    assert_eq!(stages(&silent, 0), [Install, Record]);
    // Nothing is installed: nothing is restarted.
    assert_eq!(
        stages(&plan(&[""], ReaderRestart::Running, false, false), 0),
        [Install, Record]
    );
    // An earlier call has not come to the restart.
    let pending = plan(&["topsecret"], ReaderRestart::Running, true, true);
    assert_eq!(stages(&pending, 0), [Health, Health]);
    assert!(plan(&["topsecret"], ReaderRestart::Never, true, true).is_idle());
}

#[test]
fn values_are_on_the_standard_input_alone() {
    let changed = plan(&["", "old"], ReaderRestart::Running, false, true);
    let json = changed.to_json().to_string();
    for text in [changed.text(true), json] {
        assert!(
            text.contains("KEY") && !text.contains("topsecret"),
            "{text}"
        );
    }
    let StepAction::Run(write) = &changed.hosts[0].switch[0].action else {
        panic!("{changed:?}");
    };
    assert_eq!(write.stdin.as_deref(), Some(&b"KEY=topsecret\n"[..]));
    // What prints values or hashes of them is kept from logs.
    let remote = Login::new().remote();
    let salt = SecretSalt::draw().unwrap();
    for command in [
        file().look(&remote, &salt),
        file().read(&remote, &["KEY".to_owned()]),
        SecretStore::generate(50),
    ] {
        assert_eq!(command.output, OutputAudience::Caller, "{}", command.what);
    }
}

#[test]
fn a_generated_value_is_random_and_plain() {
    let login = Login::new();
    let make = || login.run(&SecretStore::generate(50)).1;
    let (one, other) = (make(), make());
    assert!(one.len() == 50 && one != other, "{one}");
    assert!(
        one.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    );
    assert_eq!(value(&one).assignment("A"), format!("A={one}\n"));
}

#[test]
fn hosts_that_cannot_be_used_are_refused_before_anything_changes() {
    let salt = SecretSalt::draw().unwrap();
    let there = HostSecrets {
        file: "/etc/shop/secrets.env".into(),
        distrusted: Some("`/etc/shop` is a symbolic link".into()),
        ..HostSecrets::default()
    };
    let policy = own_policy();
    let error = SecretsPlan {
        policy: &policy,
        file: &file(),
        salt: &salt,
        restart: ReaderRestart::Running,
    }
    .plan(
        &[site("web1", own_facts(None))],
        &[there],
        &[SecretChange::new()],
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("web1") && error.contains("is a symbolic link"),
        "{error}"
    );
}
