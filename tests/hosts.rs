//! Hosts that are no friends: what they print is seen and not obeyed, and none keeps the others
//! from being shown.
//!
//! A host is a directory of programs that come before this machine's own, behind an `ssh` that
//! starts the remote command here. Nothing is changed: the commands only look.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::support::tools::tool;
use super::support::{Run, Sandbox};

/// Takes what OpenSSH takes: options, `--`, a destination and the command. A master is there at
/// once.
const SSH: &str = r#"#!/bin/sh
for word; do if [ "$word" = -M ]; then exit 0; fi; done
while [ "$1" != -- ]; do shift; done
host=$2
PATH=$FAKE_HOSTS/$host:$PATH exec /bin/sh -c "$3"
"#;

/// Programs with which a host does not stop to print, does not answer, or says what a terminal
/// should not be told.
const FLOODS: &[(&str, &str)] = &[("uname", "exec yes $(printf %01000d 0) >&2")];
const HANGS: &[(&str, &str)] = &[("uname", "exec sleep 600")];
const LIES: &[(&str, &str)] = &[
    ("uname", r"printf 'x86_64\033[2J\nfacts=end\n'"),
    (
        "id",
        r"printf 'x\033]0;owned\007\302\2332J\342\200\256\nweb9: 9.9-1\n'",
    ),
    (
        "dpkg-query",
        r#"printf 'installed 1.0\033[2J\342\200\256gnp\n'"#,
    ),
];

/// A line of a host's history that makes up another one.
const HISTORY: &str = r#"{"time":"2026\n2026 web9: push by me: ok","who":"\u001b[2J\u202e","action":"push","from":null,"to":"1","release":"1","commit":null,"sha256":"","result":"ok"}"#;

fn executable(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A sandbox with an application, and these hosts.
fn with_hosts(hosts: &[(&str, &[(&str, &str)])]) -> Sandbox {
    let sandbox = Sandbox::hello();
    executable(&sandbox.root().join("ssh"), SSH);
    for (host, programs) in hosts {
        std::fs::create_dir_all(sandbox.root().join("hosts").join(host)).unwrap();
        for (name, script) in *programs {
            executable(
                &sandbox.root().join("hosts").join(host).join(name),
                &format!("#!/bin/sh\n{script}\n"),
            );
        }
    }
    sandbox
}

fn on<'s>(sandbox: &'s Sandbox, words: &[&str]) -> Run<'s> {
    let (ssh, hosts) = (sandbox.root().join("ssh"), sandbox.root().join("hosts"));
    sandbox
        .pkgapp(words)
        .env("PKGAPP_SSH", ssh)
        .env("FAKE_HOSTS", hosts)
}

/// What nothing that a terminal gets may hold.
fn is_harmless(text: &str) -> bool {
    !text.chars().any(|c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn what_a_host_says_is_seen_and_not_obeyed() {
    if tool("dpkg-query").is_none() {
        return;
    }
    let sandbox = with_hosts(&[("web1", LIES)]);
    let into = sandbox.root().join("into");
    std::fs::create_dir_all(into.join(".pkgapp")).unwrap();
    std::fs::write(into.join(".pkgapp/history.jsonl"), HISTORY).unwrap();
    let into = into.display().to_string();
    for words in [
        &["status", "--hosts", "web1"][..],
        &["status", "--hosts", "web1", "--json"],
        &["history", "--hosts", "web1", "--into", &into],
        &["history", "--hosts", "web1", "--into", &into, "--json"],
        &["rollback", "--hosts", "web1", "--dry-run"],
        &["bootstrap", "--hosts", "web1", "--dry-run"],
    ] {
        let outcome = on(&sandbox, words).outcome();
        for text in [&outcome.raw_stdout, &outcome.stderr] {
            assert!(is_harmless(text), "{words:?}: {}", outcome.report);
            assert!(
                !text
                    .lines()
                    .any(|line| line.starts_with("web9") || line.starts_with("2026 web9")),
                "{}",
                outcome.report
            );
        }
        if words.contains(&"--json") {
            outcome
                .raw_stdout
                .lines()
                .for_each(|line| _ = serde_json::from_str::<serde_json::Value>(line).unwrap());
        }
    }
    let history = on(&sandbox, &["history", "--hosts", "web1", "--into", &into]).outcome();
    assert!(
        history
            .stdout
            .starts_with("2026\\n2026 web9: push by me: ok web1: push by \\u{1b}[2J"),
        "{}",
        history.report
    );
    let status = on(&sandbox, &["status", "--hosts", "web1"]).outcome();
    assert!(
        status.stdout.contains("web1: 1.0\\u{1b}[2J\\u{202e}gnp"),
        "{}",
        status.report
    );
}

#[test]
fn what_a_command_prints_comes_byte_for_byte() {
    let sandbox = with_hosts(&[("web1", &[]), ("web2", &[])]);
    let script = r"printf '\033]0;x\007\r\377\302\233 no end'; head -c 200000 /dev/zero | tr '\0' x; printf '\n\nlast'";
    let run = |hosts: &str, more: &[&str]| {
        let words = [
            &["run", "--hosts", hosts],
            more,
            &["--", "sh", "-c", script],
        ]
        .concat();
        let to_file = ["sh", "-c", "exec \"$@\" >../printed", "sh"];
        let outcome = on(&sandbox, &words).under(to_file).outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.report);
        std::fs::read(sandbox.root().join("printed")).unwrap()
    };
    let expected = [
        &b"\x1b]0;x\x07\r\xff\xc2\x9b no end"[..],
        &[b'x'; 200_000],
        b"\n\nlast",
    ]
    .concat();
    assert!(run("web1", &[]) == expected);
    let grouped = run("web1,web2", &[]);
    assert!(grouped.starts_with(b"web[1:2] (2 hosts):\n  \x1b]0;x\x07\r\xff"));
    assert!(!run("web1", &["--json"]).contains(&0x1b));
}

#[test]
fn one_host_keeps_no_other_from_being_shown() {
    let sandbox = with_hosts(&[("floods", FLOODS), ("good", &[]), ("hangs", HANGS)]);
    for words in [&["status"][..], &["history"]] {
        let words = [
            words,
            &["--hosts", "floods,good,hangs", "--answer-timeout", "8"],
        ]
        .concat();
        let outcome = on(&sandbox, &words).outcome();
        if words[0] == "history" {
            // It asks nobody for his name.
            assert_eq!(outcome.status, 0, "{}", outcome.report);
            continue;
        }
        assert_eq!(outcome.status, 1, "{}", outcome.report);
        assert!(
            outcome.stdout.contains("good: not installed\n"),
            "{}",
            outcome.report
        );
        assert!(
            outcome
                .stderr
                .contains("gathering facts on `floods` printed more than [SIZE]"),
            "{}",
            outcome.report
        );
        assert!(
            outcome
                .stderr
                .contains("gathering facts on `hangs` took longer than [TIME]"),
            "{}",
            outcome.report
        );
    }
    // A push looks at all hosts first, and names those that are to blame.
    let error = on(
        &sandbox,
        &[
            "rollback",
            "--hosts",
            "floods,good,hangs",
            "--answer-timeout",
            "8",
            "--dry-run",
        ],
    )
    .outcome();
    assert_eq!(error.status, 1, "{}", error.report);
    assert!(
        error.stderr.contains("`floods`") && error.stderr.contains("`hangs`"),
        "{}",
        error.report
    );
    // What a person runs ends when that person wants; the results of others are there before.
    let script = "if [ -e ../stop ]; then exit 0; fi; case $PATH in *hosts/hangs:*) for i in $(seq 600); do [ ! -e ../stop ] || exit 0; sleep 0.1; done; exit 9 ;; *) echo fine ;; esac";
    let watch =
        "\"$@\" >../shown & until grep -q fine ../shown; do sleep 0.1; done; : >../stop; wait $!";
    let words = ["run", "--hosts", "good,hangs", "--", "sh", "-c", script];
    let outcome = on(&sandbox, &words)
        .under(["sh", "-c", watch, "sh"])
        .outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert_eq!(
        std::fs::read_to_string(sandbox.root().join("project/../shown")).unwrap(),
        "good:\n  fine\nhangs:\n"
    );
}
