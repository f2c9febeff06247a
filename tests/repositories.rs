//! Repositories that want to know who one is: nobody else learns it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::gate::Gate;
use super::support::tools::{python, text, tool};
use super::support::{Sandbox, fixture, foreign, walk};

/// A server that is killed when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts a server that says its port as `… port N …` or `…:N/` in its first line.
fn serve(command: &mut Command) -> (Serving, SocketAddr) {
    let mut server = Serving(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse::<u16>().ok())
        .find(|port| *port > 1024)
        .unwrap_or_else(|| panic!("no port in `{line}`"));
    (server, ([127, 0, 0, 1], port).into())
}

/// Writes a project `lib` into the directory `sub` of a repository.
fn project(repository: &Path) {
    let sub = repository.join("sub");
    std::fs::create_dir_all(sub.join("src/lib")).unwrap();
    let text = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\nname = \"lib\"\n\
                version = \"1.0\"\ndescription = \"A library\"\n";
    std::fs::write(sub.join("pyproject.toml"), text).unwrap();
    std::fs::copy(fixture("hello").join("backend.py"), sub.join("backend.py")).unwrap();
    std::fs::write(sub.join("src/lib/__init__.py"), "LIB = 1\n").unwrap();
}

/// Makes a git repository that a server of plain files can serve, and returns its commit.
fn git_repository(git: &Path, directory: &Path) -> String {
    project(directory);
    let run = |words: &[&str]| {
        let identity = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "-c",
            "init.defaultBranch=main",
        ];
        let mut command = Command::new(git);
        command
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(identity);
        text(command.args(words)).trim().to_owned()
    };
    run(&["init", "--quiet"]);
    run(&["add", "."]);
    run(&["commit", "--quiet", "-m", "one"]);
    run(&["update-server-info"]);
    run(&["rev-parse", "HEAD"])
}

/// Fails if a file of the sandbox has the secret.
fn assert_nowhere(sandbox: &Sandbox, secret: &str) {
    for path in walk(&sandbox.root())
        .iter()
        .map(|path| sandbox.root().join(path))
        .filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            memchr::memmem::find(&bytes, secret.as_bytes()).is_none(),
            "{}",
            path.display()
        );
    }
}

/// Builds with the pin, and looks for the secret where it must not be.
fn assert_builds_in_secret(
    sandbox: &Sandbox,
    gate: &Gate,
    pin: &str,
    variable: &str,
    value: &str,
    secret: &str,
) {
    let requirements = std::fs::read_to_string(sandbox.path("requirements.txt")).unwrap();
    sandbox.append("requirements.txt", pin);
    let run = sandbox
        .pkgapp(["build", "--format", "tar.gz", "-v"])
        .env(variable, value)
        .outcome();
    assert_eq!(run.status, 0, "{}", run.report);
    assert!(
        !run.report
            .replace(&format!("{variable}=\"{value}\""), "")
            .contains(secret),
        "{}",
        run.report
    );
    assert!(gate.entered() > 0, "nobody came by the gate");
    assert_eq!(
        gate.seen(),
        [""; 0],
        "a process was started with the secret"
    );
    foreign::unpack(
        &sandbox.path(run.raw_stdout.trim()),
        &sandbox.root().join("unpacked"),
    )
    .unwrap();
    assert_nowhere(sandbox, secret);
    // What is there is found again by whoever has another password.
    let run = sandbox
        .pkgapp(["build", "--offline", "--format", "tar.gz"])
        .env(variable, "other")
        .outcome();
    assert_eq!(run.status, 0, "{}", run.report);
    sandbox.write("requirements.txt", requirements);
}

#[test]
fn a_password_for_git_is_seen_by_no_one() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    let repository = sandbox.root().join("repository");
    let commit = git_repository(&git, &repository);
    let (_serving, behind) = serve(
        Command::new(&python().path)
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d"])
            .arg(&repository),
    );
    // Helpers of the user are not told what they were not asked for.
    let kept = sandbox.root().join("kept");
    std::fs::write(
        sandbox.root().join("home/.gitconfig"),
        format!("[credential]\n\thelper = store --file {}\n", kept.display()),
    )
    .unwrap();
    let gate = Gate::before(behind, "robot:s3cr3t @of/ci", "s3cr3t");
    let pin = format!(
        "lib @ git+http://robot:${{WORD}}@{}/.git@{commit}#subdirectory=sub\n",
        gate.host()
    );
    assert_builds_in_secret(
        &sandbox,
        &gate,
        &pin,
        "WORD",
        "s3cr3t%20%40of%2Fci",
        "s3cr3t",
    );
    assert!(!kept.exists());
    // A token alone, in place of the name.
    let gate = Gate::before(behind, "s3cr3t-token:", "s3cr3t");
    let pin = format!(
        "lib @ git+http://${{TOKEN}}@{}/.git@{commit}#subdirectory=sub\n",
        gate.host()
    );
    assert_builds_in_secret(&sandbox, &gate, &pin, "TOKEN", "s3cr3t-token", "s3cr3t");
    assert!(!kept.exists());
    // A name alone, whose password the user's helper knows.
    let gate = Gate::before(behind, "robot:known", "robot");
    std::fs::write(
        &kept,
        format!(
            "http://robot:known@{0}\nhttp://other:wrong@{0}\n",
            gate.host()
        ),
    )
    .unwrap();
    sandbox.append(
        "requirements.txt",
        &format!(
            "lib @ git+http://robot@{}/.git@{commit}#subdirectory=sub\n",
            gate.host()
        ),
    );
    sandbox.build(["--format", "tar.gz"]);
    assert_eq!(gate.seen(), [""; 0]);
    // A wrong password is an error that does not tell it.
    let gate = Gate::before(behind, "robot:right", "wr0ng");
    sandbox.write(
        "requirements.txt",
        format!(
            "lib @ git+http://robot:wr0ng@{}/.git@{commit}#subdirectory=sub\n",
            gate.host()
        ),
    );
    let said = sandbox.pkgapp(["build"]).fails();
    assert!(
        said.contains("Authentication failed") && !said.contains("wr0ng"),
        "{said}"
    );
    assert_eq!(gate.seen(), [""; 0]);
}

#[test]
fn a_password_for_mercurial_is_seen_by_no_one() {
    let Some(hg) = tool("hg") else { return };
    let sandbox = Sandbox::hello();
    let repository = sandbox.root().join("repository");
    project(&repository);
    let run = |words: &[&str]| {
        let mut command = Command::new(&hg);
        text(
            command
                .env("HGPLAIN", "1")
                .current_dir(&repository)
                .args(words),
        )
        .trim()
        .to_owned()
    };
    run(&["init"]);
    run(&["commit", "--quiet", "--addremove", "-u", "x", "-m", "first"]);
    let commit = run(&["log", "-r", ".", "-T", "{node}"]);
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = Command::new(&hg);
    command
        .env("HGPLAIN", "1")
        .env("PYTHONUNBUFFERED", "1")
        .current_dir(&repository);
    let (_serving, behind) = serve(
        command
            .args(["serve", "--print-url", "--address", "127.0.0.1", "--port"])
            .arg(port.to_string()),
    );
    let gate = Gate::before(behind, "robot:s3cr3t @of/ci", "s3cr3t");
    let pin = format!(
        "lib @ hg+http://robot:${{WORD}}@{}/@{commit}#subdirectory=sub\n",
        gate.host()
    );
    // The user's own configuration counts all the same.
    let own = sandbox.root().join("home/.hgrc");
    std::fs::write(&own, "[http_proxy]\nhost = 127.0.0.1:1\nalways = true\n").unwrap();
    let requirements = std::fs::read_to_string(sandbox.path("requirements.txt")).unwrap();
    sandbox.append("requirements.txt", &pin);
    let run = sandbox.pkgapp(["build"]).env("WORD", "s3cr3t").outcome();
    assert!(
        run.stderr.contains("Connection refused") && !run.stderr.contains("s3cr3t"),
        "{}",
        run.report
    );
    std::fs::remove_file(own).unwrap();
    sandbox.write("requirements.txt", requirements);
    assert_builds_in_secret(
        &sandbox,
        &gate,
        &pin,
        "WORD",
        "s3cr3t%20%40of%2Fci",
        "s3cr3t",
    );
}

#[test]
fn a_wheelhouse_stands_for_repositories() {
    let Some(git) = tool("git") else { return };
    let sandbox = Sandbox::hello();
    let repository = sandbox.root().join("repository");
    let commit = git_repository(&git, &repository);
    let url = format!("file://{}", repository.display());
    sandbox.append(
        "requirements.txt",
        &format!("lib @ git+{url}@{commit}#subdirectory=sub\n"),
    );
    if let Some(hg) = tool("hg") {
        let other = sandbox.root().join("other");
        project(&other);
        let name = |text: &str| text.replace("\"lib\"", "\"other\"");
        let file = other.join("sub/pyproject.toml");
        std::fs::write(&file, name(&std::fs::read_to_string(&file).unwrap())).unwrap();
        std::fs::rename(other.join("sub/src/lib"), other.join("sub/src/other")).unwrap();
        let run = |words: &[&str]| {
            text(
                Command::new(&hg)
                    .env("HGPLAIN", "1")
                    .current_dir(&other)
                    .args(words),
            )
        };
        run(&["init"]);
        run(&["commit", "--quiet", "--addremove", "-u", "x", "-m", "first"]);
        let commit = run(&["log", "-r", ".", "-T", "{node}"]);
        sandbox.append(
            "requirements.txt",
            &format!(
                "other @ hg+file://{}@{commit}#subdirectory=sub\n",
                other.display()
            ),
        );
    }
    let online = sandbox.build(["--format", "all", "--output", "online"]);
    sandbox
        .pkgapp(["cache", "export", "../wheelhouse"])
        .stdout();
    // Another machine: no repositories, and no cache.
    for gone in ["repository", "other", "cache"] {
        std::fs::rename(
            sandbox.root().join(gone),
            sandbox.root().join(format!("gone-{gone}")),
        )
        .unwrap();
    }
    let said = sandbox.pkgapp(["build", "--offline"]).fails();
    assert!(
        said.contains("is not in the cache, but the build is offline"),
        "{said}"
    );
    let offline = [
        "--offline",
        "--find-links",
        "../wheelhouse",
        "--format",
        "all",
        "--output",
        "offline",
    ];
    for (online, offline) in online.iter().zip(sandbox.build(offline)) {
        assert!(
            std::fs::read(online).unwrap() == std::fs::read(&offline).unwrap(),
            "{} differs",
            offline.display()
        );
    }
    // It stands for that commit and for no other.
    sandbox.edit("requirements.txt", &commit, &"0".repeat(40));
    let said = sandbox
        .pkgapp(["build", "--offline", "--find-links", "../wheelhouse"])
        .fails();
    assert!(
        said.contains("is not in the cache, but the build is offline"),
        "{said}"
    );
    // And its wheel is the one that the export wrote.
    sandbox.edit("requirements.txt", &"0".repeat(40), &commit);
    let wheel = sandbox.root().join("wheelhouse/lib-1.0-py3-none-any.whl");
    std::fs::write(
        &wheel,
        super::support::wheel::Wheel::simple("lib", "1.0").bytes(),
    )
    .unwrap();
    std::fs::rename(sandbox.cache(), sandbox.root().join("gone-too")).unwrap();
    let said = sandbox
        .pkgapp(["build", "--offline", "--find-links", "../wheelhouse"])
        .fails();
    assert!(
        said.contains("lib-1.0-py3-none-any.whl")
            && said.contains("does not match the hash in the index"),
        "{said}"
    );
}
