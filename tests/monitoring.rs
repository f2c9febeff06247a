//! What watches an application: units, the program that asks services and writes metrics, and the
//! command of `on-failure`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::support::project::pin;
use super::support::tools::{python, tool};
use super::support::wheel::Wheel;
use super::support::{Sandbox, golden, walk};

const WATCHED: &str = r#"
[service.web]
exec = "serve"
type = "notify"
socket = "/run/watch/web.sock"
health = { path = "/healthz", restart = true, host = "watch.example.com", interval = "1min" }
watchdog = "30s"
on-failure = "logger -t watch 'web failed 100%'"
env = { LEVEL = "50%" }
environment-file = "/etc/watch/secrets.env"
systemd = { MemoryMax = "500M", ExecStartPre = "/bin/true", WatchdogSignal = "SIGTERM" }

[service.api]
exec = "serve"
user = "root"
health = { path = "/up", address = "0.0.0.0:8001", status = 204, timeout = "500ms", restart = true }

[service.worker]
exec = "serve --number {instance}"
instances = 2
restart = "no"
on-failure = "serve --failed"

[timer.report]
exec = "serve report"
calendar = "daily"
on-failure = "/bin/sh -c 'echo \"$PKGAPP_UNIT\"'"

[metrics]
interval = "15s"
"#;

fn watched() -> Sandbox {
    let sandbox = Sandbox::hello();
    let program = Wheel::new("serve", "1.0")
        .file("serve.py", "def main():\n    pass\n")
        .console_script("serve", "serve:main");
    pin(&sandbox, &[program]);
    sandbox.edit("pkgapp.toml", "[app]\n", "[app]\nname = \"watch\"\n");
    sandbox.append("pkgapp.toml", &format!("\n{WATCHED}"));
    sandbox.pkgapp(["render", "--output", "../root"]).stdout();
    sandbox
}

fn units(sandbox: &Sandbox) -> Vec<PathBuf> {
    let directory = sandbox.root().join("root/usr/lib/systemd/system");
    let files = walk(&directory).into_iter();
    files.filter(|path| path.is_file()).collect()
}

#[test]
fn units_that_watch_are_as_they_were_read() {
    let sandbox = watched();
    let mut all = String::new();
    for path in units(&sandbox) {
        let text = std::fs::read_to_string(&path).unwrap();
        _ = write!(
            all,
            "==> {} <==\n{text}\n",
            path.file_name().unwrap().display()
        );
    }
    let list = sandbox.root().join("root/opt/watch/.pkgapp/health");
    _ = write!(
        all,
        "==> health <==\n{}",
        std::fs::read_to_string(list).unwrap()
    );
    golden("services/watched.txt", &sandbox.normal(&all)).unwrap();
}

#[test]
fn systemd_finds_nothing_wrong_with_units_that_watch() {
    if tool("systemd-analyze").is_none() {
        return;
    }
    let sandbox = watched();
    let units = units(&sandbox);
    let mut verify = Command::new("systemd-analyze");
    let directory = units[0].parent().unwrap();
    verify.env("SYSTEMD_UNIT_PATH", format!("{}:", directory.display()));
    verify.args(["verify", "--man=no"]);
    // Of a template, an instance is read.
    verify.args(units.iter().map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.replace("@.", "@watch-web.service.")
    }));
    let printed = verify.output().unwrap();
    let printed = String::from_utf8_lossy(&printed.stderr).into_owned();
    let complaints = printed.lines().filter(|line| {
        // The release is not installed here.
        let is_missing = line.contains("Command /opt/watch/") && line.contains("is not executable");
        line.contains("watch") && !is_missing
    });
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
}

/// Runs the program of a release that asks services, with a `systemctl` of ours.
fn monitor(directory: &Path, words: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/monitor.py");
    let tools = directory.join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let systemctl = tools.join("systemctl");
    // The first unit is active.
    let script = "#!/bin/sh\necho active\nshift 2\nfor unit; do echo inactive; done\n";
    std::fs::write(&systemctl, script).unwrap();
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&python().path);
    command.args(["-I", "-S"]).arg(program).args(words);
    command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    command.stdin(Stdio::null()).output().unwrap()
}

/// A service at a socket, which answers each request in the same way; returns the first one.
fn answer(listener: UnixListener, text: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = connection.read(&mut request).unwrap();
        _ = connection.write_all(text.as_bytes());
        if text.is_empty() {
            // Slowly, a byte at a time, and never all of it.
            for _ in 0..40 {
                _ = connection.write_all(b"H");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        String::from_utf8_lossy(&request[..length]).into_owned()
    })
}

#[test]
fn a_service_is_asked_and_its_answer_judged() {
    let directory = tempfile::tempdir().unwrap();
    let (list, socket) = (
        directory.path().join("health"),
        directory.path().join("a socket"),
    );
    for (status, text, expected) in [
        ("-", "HTTP/1.1 200 OK\r\n\r\n", ""),
        ("-", "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", ""),
        ("204", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("204", "HTTP/1.1 200 OK\r\n\r\n", "status 200"),
        ("-", "HTTP/1.1 503 \x1b[2J\r\n\r\n", "status 503"),
        ("-", "\x1b[2J\r\n\r\n", "??[2J"),
        ("-", "", "no answer in time"),
    ] {
        _ = std::fs::remove_file(&socket);
        let thread = answer(UnixListener::bind(&socket).unwrap(), text);
        let line = format!(
            "shop-web.service root shop.example.com {status} 1 /up?a=1 {}\n",
            socket.display()
        );
        std::fs::write(&list, line).unwrap();
        let list = list.to_str().unwrap();
        let asked = monitor(directory.path(), &["ask", list, "shop-web.service"]);
        let said = String::from_utf8(asked.stderr).unwrap();
        assert_eq!(
            asked.status.success(),
            expected.is_empty(),
            "{text:?}: {said}"
        );
        assert!(!said.contains('\x1b'), "{said:?}");
        let wanted = expected.trim_start_matches('?');
        assert!(said.contains(wanted), "{text:?}: {said}");
        let request = thread.join().unwrap();
        assert!(request.starts_with("GET /up?a=1 HTTP/1.1\r\nHost: shop.example.com\r\n"));
    }
    _ = std::fs::remove_file(&socket);
    let asked = monitor(
        directory.path(),
        &["ask", list.to_str().unwrap(), "shop-web.service"],
    );
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(said.contains("No such file or directory"), "{said}");
    // What a release does not list is not asked.
    let asked = monitor(
        directory.path(),
        &["ask", list.to_str().unwrap(), "shop-api.service"],
    );
    assert!(asked.status.success());
}

#[test]
fn metrics_are_as_prometheus_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let (record, file) = (
        directory.path().join("release.json"),
        directory.path().join("watch.prom"),
    );
    std::fs::write(&record, "{\"version\": \"1\\\"\\\\\\n\", \"commit\": null}").unwrap();
    let list = directory.path().join("health");
    std::fs::write(
        &list,
        "watch-web.service root localhost - 1 / 127.0.0.1:1\n",
    )
    .unwrap();
    // A name that is there is not followed.
    let trap = directory.path().join("trap");
    std::os::unix::fs::symlink(&trap, directory.path().join(".watch.prom.new")).unwrap();
    let paths = [&file, &list, &record].map(|path| path.to_str().unwrap());
    let units = ["watch-web.service", "watch-worker@1.service"];
    let mut words = vec!["metrics", "watch"];
    words.extend(paths.iter().chain(&units));
    let written = monitor(directory.path(), &words);
    assert!(written.status.success(), "{written:?}");
    assert!(!trap.exists());
    let mode = std::fs::symlink_metadata(&file)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o644);

    let text = std::fs::read_to_string(&file).unwrap();
    let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        (values[0], values[2], values[3], values[4]),
        (
            "pkgapp_release_info{app=\"watch\",version=\"1\\\"\\\\\\n\",commit=\"\"} 1",
            "pkgapp_unit_active{app=\"watch\",unit=\"watch-web.service\"} 1",
            "pkgapp_unit_active{app=\"watch\",unit=\"watch-worker@1.service\"} 0",
            "pkgapp_health_up{app=\"watch\",service=\"web\"} 0",
        )
    );
    // Nor is a directory that others could have put there.
    let (open, link) = (
        directory.path().join("open"),
        directory.path().join("open/link"),
    );
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let elsewhere = link.join("watch.prom");
    let mut led = words.clone();
    led[2] = elsewhere.to_str().unwrap();
    let refused = monitor(directory.path(), &led);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("cannot write"), "{said}");

    let Some(promtool) = tool("promtool") else {
        return;
    };
    let input = std::fs::File::open(&file).unwrap();
    let judged = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(input)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_command_runs_for_a_failure_and_not_for_each_of_them() {
    let Some(sh) = tool("sh") else { return };
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/on-failure.sh");
    let run = |unit: &str, result: Option<&str>| {
        let mut command = Command::new(&sh);
        command.arg(&script).arg(unit);
        command.args(["sh", "-c", "echo \"$PKGAPP_UNIT $0\"", "a b"]);
        command.env("RUNTIME_DIRECTORY", directory.path());
        command.env_remove("SERVICE_RESULT");
        command.envs(result.map(|result| ("SERVICE_RESULT", result)));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(run("shop-web.service", Some("success")), "");
    assert_eq!(
        run("shop-web.service", Some("exit-code")),
        "shop-web.service a b\n"
    );
    assert_eq!(run("shop-web.service", Some("exit-code")), "");
    assert_eq!(run("shop-web.service", None), "");
    assert_eq!(
        run("shop-worker@1.service", None),
        "shop-worker@1.service a b\n"
    );
}
