//! Runs the real binary in a fresh directory, with a cache and a home of its own, and compares all
//! that it does.

pub(crate) mod foreign;
pub(crate) mod gate;
pub(crate) mod project;
pub(crate) mod server;
pub(crate) mod tools;
pub(crate) mod wheel;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A directory with a project, a cache and a home, gone when dropped.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("box")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        for directory in ["home", "project", "tmp"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        Self { root }
    }

    /// A sandbox whose project is a copy of fixtures/hello, for the Python of this machine.
    pub(crate) fn hello() -> Self {
        let sandbox = Self::new();
        copy(&fixture("hello"), &sandbox.project());
        sandbox.edit(
            "pkgapp.toml",
            "version = \"3.11\"",
            &format!("version = \"{}\"", tools::python().minor),
        );
        sandbox
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    /// Where commands run, unless [`Run::within`] says otherwise.
    pub(crate) fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// A path below the project.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.project().join(below)
    }

    /// Writes a file of the project, and the directories above it.
    pub(crate) fn write(&self, below: &str, content: impl AsRef<[u8]>) {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn append(&self, below: &str, text: &str) {
        let old = std::fs::read_to_string(self.path(below)).unwrap();
        self.write(below, old + text);
    }

    /// Replaces `from`, which must be there, in a file of the project.
    pub(crate) fn edit(&self, below: &str, from: &str, to: &str) {
        let old = std::fs::read_to_string(self.path(below)).unwrap();
        assert!(old.contains(from), "`{from}` is not in {below}:\n{old}");
        self.write(below, old.replace(from, to));
    }

    /// The real binary with arguments; it runs when the result is asked for.
    pub(crate) fn pkgapp<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run<'_> {
        Run {
            sandbox: self,
            before: Vec::new(),
            args: args
                .into_iter()
                .map(|arg| arg.as_ref().to_owned())
                .collect(),
            directory: self.project(),
            env: BTreeMap::new(),
        }
    }

    /// Builds, and returns the artifacts in the order in which they were printed.
    pub(crate) fn build<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Vec<PathBuf> {
        let args: Vec<OsString> = [OsString::from("build")]
            .into_iter()
            .chain(args.into_iter().map(|arg| arg.as_ref().to_owned()))
            .collect();
        self.pkgapp(args).artifacts()
    }

    /// The dump of an artifact's tree, as pkgapp reads it back.
    pub(crate) fn dump(&self, artifact: &Path) -> String {
        self.pkgapp(["inspect".as_ref(), artifact.as_os_str(), "--files".as_ref()])
            .stdout()
    }

    /// Everything below the project: path, and mode with content or target, to see whether it
    /// changed.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        snapshot(&self.project())
    }

    /// Replaces what differs between runs: `[ROOT]`, `[SIZE]`, `[TIME]`, `[SHA256]`.
    pub(crate) fn normal(&self, text: &str) -> String {
        let root = self.root();
        let text = text
            .replace(
                &root.canonicalize().unwrap().display().to_string(),
                "[ROOT]",
            )
            .replace(&root.display().to_string(), "[ROOT]")
            // Where a machine has its shell, and which glibc.
            .replace("`/bin/sh ", "`/usr/bin/sh ");
        let mut parts = text.split("with glibc ");
        let first = parts.next().unwrap_or_default().to_owned();
        let text = parts.fold(first, |text, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            format!("{text}with glibc [GLIBC]{rest}")
        });
        normalize(&text)
    }
}

/// A command that will be run.
#[derive(Debug)]
#[must_use]
pub(crate) struct Run<'s> {
    sandbox: &'s Sandbox,
    before: Vec<OsString>,
    args: Vec<OsString>,
    directory: PathBuf,
    env: BTreeMap<OsString, OsString>,
}

impl Run<'_> {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Runs in another directory.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.directory = directory.to_owned();
        self
    }

    /// Lets another program start it, e.g. `taskset -c 0`.
    pub(crate) fn under<A: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.before = words
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// It succeeds and says nothing but `stdout` and `stderr`, after [`Sandbox::normal`].
    pub(crate) fn prints(self, stdout: &str, stderr: &str) {
        let outcome = self.outcome();
        if (
            outcome.status,
            outcome.stdout.as_str(),
            outcome.stderr.as_str(),
        ) != (0, stdout, stderr)
        {
            similar_asserts::assert_eq!(
                outcome.text(),
                Outcome::of(0, stdout, stderr).text(),
                "{}",
                outcome.report
            );
        }
    }

    /// It succeeds; returns what it printed on stdout, as it is.
    pub(crate) fn stdout(self) -> String {
        let outcome = self.outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.report);
        outcome.raw_stdout
    }

    /// It succeeds and prints the path of files, one a line, and nothing else on stdout.
    pub(crate) fn artifacts(self) -> Vec<PathBuf> {
        let directory = self.directory.clone();
        let paths: Vec<PathBuf> = self
            .stdout()
            .lines()
            .map(|line| directory.join(line))
            .collect();
        assert!(!paths.is_empty(), "no artifact was printed");
        for path in &paths {
            assert!(path.is_file(), "there is no {}", path.display());
        }
        paths
    }

    /// It fails with exit code 1; returns what it says, after [`Sandbox::normal`].
    pub(crate) fn fails(self) -> String {
        let outcome = self.outcome();
        assert_eq!(
            (outcome.status, outcome.stdout.as_str()),
            (1, ""),
            "{}",
            outcome.report
        );
        outcome.stderr
    }

    /// Runs it to its end.
    pub(crate) fn outcome(self) -> Outcome {
        let mut command = self.command();
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let status = output.status.code().unwrap_or(-1);
        let mut report = format!(
            "\n$ {command:?}\nin {}\nexit {status}\n",
            self.directory.display()
        );
        _ = write!(
            report,
            "--- stdout\n{stdout}--- stderr\n{stderr}--- tree\n{}",
            listing(&self.directory)
        );
        Outcome {
            status,
            stdout: self.sandbox.normal(&stdout),
            stderr: self.sandbox.normal(&stderr),
            raw_stdout: stdout,
            report,
        }
    }

    /// Starts it, silently, in a process group of its own.
    pub(crate) fn start(self) -> Child {
        use std::os::unix::process::CommandExt;
        self.command()
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn command(&self) -> Command {
        let mut words = self.before.clone();
        words.push(env!("CARGO_BIN_EXE_pkgapp").into());
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", tools::path())
            .env("HOME", self.sandbox.root().join("home"))
            .env("PKGAPP_CACHE_DIR", self.sandbox.cache())
            // A name below the directory for temporary files is a leak, and a clone may lie below
            // /tmp.
            .env("TMPDIR", self.sandbox.root().join("tmp"))
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .envs(&self.env);
        command
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; -1 after a signal.
    pub(crate) status: i32,
    /// After [`Sandbox::normal`].
    pub(crate) stdout: String,
    /// After [`Sandbox::normal`].
    pub(crate) stderr: String,
    /// As printed.
    pub(crate) raw_stdout: String,
    /// Everything, for the message of a failing test.
    pub(crate) report: String,
}

impl Outcome {
    fn of(status: i32, stdout: &str, stderr: &str) -> Self {
        Self {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
            raw_stdout: String::new(),
            report: String::new(),
        }
    }

    /// How golden files hold it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("exit {}\n", self.status);
        for (label, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                _ = write!(text, "--- {label}\n{stream}");
            }
        }
        text
    }
}

/// Compares with `tests/golden/<name>`, or rewrites it.
///
/// # Errors
/// How it differs.
pub(crate) fn golden(name: &str, actual: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let expected = std::fs::read_to_string(&path).ok();
    if expected.as_deref() == Some(actual) {
        return Ok(());
    }
    if std::env::var_os("PKGAPP_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return Ok(());
    }
    match expected {
        None => Err(format!(
            "there is no tests/golden/{name}; `make golden` writes it, then read it:\n{actual}"
        )),
        Some(expected) => Err(format!(
            "tests/golden/{name} differs (- golden, + now):\n{}",
            similar_asserts::SimpleDiff::from_str(&expected, actual, "golden", "now")
        )),
    }
}

/// A directory of fixtures/.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Copies what is in a directory, modes included, times not.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&source).unwrap(), &target).unwrap();
        } else if kind.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}

/// All paths below a directory with mode and content, a link's target as its content.
pub(crate) fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    walk(directory)
        .into_iter()
        .map(|path| {
            let metadata = path.symlink_metadata().unwrap();
            let content = if metadata.is_symlink() {
                std::fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if metadata.is_file() {
                std::fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            (
                path.strip_prefix(directory).unwrap().to_owned(),
                (metadata.permissions().mode(), content),
            )
        })
        .collect()
}

/// All paths below a directory, sorted; links are not followed.
pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(directory)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect()
}

/// The layer of the cache whose description has `mark` in it.
pub(crate) fn layer_with(sandbox: &Sandbox, mark: &str) -> PathBuf {
    let layers = walk(&sandbox.cache().join("layers"))
        .into_iter()
        .filter(|path| path.ends_with("layer.json"));
    let found: Vec<PathBuf> = layers
        .filter(|path| std::fs::read_to_string(path).unwrap().contains(mark))
        .collect();
    let [layer] = &found[..] else {
        panic!("{mark}: {found:?}")
    };
    layer.parent().unwrap().to_owned()
}

/// Replaces bytes, which occur once, by as many others.
pub(crate) fn alter(file: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, b)| *b == from)
        .map(|(at, _)| at)
        .collect();
    let [place] = places[..] else {
        panic!(
            "{} has {:?} {} times",
            file.display(),
            from.escape_ascii().to_string(),
            places.len()
        )
    };
    bytes[place..place + from.len()].copy_from_slice(to);
    std::fs::write(file, bytes).unwrap();
}

/// The first 200 paths, for messages.
fn listing(directory: &Path) -> String {
    let paths = walk(directory);
    let mut text = String::new();
    for path in paths.iter().take(200) {
        _ = writeln!(text, "{}", path.strip_prefix(directory).unwrap().display());
    }
    if paths.len() > 200 {
        _ = writeln!(text, "… and {} more", paths.len() - 200);
    }
    text
}

/// Replaces sizes (`62.3 MB`), times (`3.2 s`, `12 ms`) and SHA-256 sums.
fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        // Only whole words: `v3` and `x86_64` hold no number of ours.
        let (before, tail) = rest.split_at(start);
        out.push_str(before);
        let at_word_start = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && (!before.is_empty() || !out.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        let hex = tail.bytes().take_while(u8::is_ascii_hexdigit).count();
        let number = tail
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        if hex == 64 {
            out.push_str("[SHA256]");
            rest = &tail[hex..];
        } else if at_word_start && number > 0 {
            let after = &tail[number..];
            let unit = |units: &[&'static str]| {
                units.iter().find_map(|unit| {
                    let left = after.strip_prefix(' ')?.strip_prefix(unit)?;
                    (!left.starts_with(char::is_alphanumeric)).then_some(left)
                })
            };
            if let Some(left) = unit(&["B", "kB", "MB", "GB"]) {
                out.push_str("[SIZE]");
                rest = left;
            } else if let Some(left) = unit(&["s", "ms", "min"]) {
                out.push_str("[TIME]");
                rest = left;
            } else {
                out.push_str(&tail[..number]);
                rest = after;
            }
        } else {
            let word = tail.bytes().take_while(u8::is_ascii_alphanumeric).count();
            out.push_str(&tail[..word]);
            rest = &tail[word..];
        }
    }
    out.push_str(rest);
    out
}

#[test]
fn what_differs_between_runs_is_replaced() {
    let sum = "0123456789abcdef".repeat(4);
    for (text, normal) in [
        ("built 3 layers in 3.2 s", "built 3 layers in [TIME]"),
        (
            "took 12 ms, 62.3 MB (100 B)",
            "took [TIME], [SIZE] ([SIZE])",
        ),
        ("x86_64 3.11 v3 sx 1.0", "x86_64 3.11 v3 sx 1.0"),
        ("5 scripts, 3 Bytes", "5 scripts, 3 Bytes"),
        (sum.as_str(), "[SHA256]"),
        ("größe 5 ab", "größe 5 ab"),
    ] {
        assert_eq!(normalize(text), normal);
    }
}
