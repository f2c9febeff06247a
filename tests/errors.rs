//! Bad input, and the exact text that says so (tests/golden/errors).
//!
//! Each case also names what its message must hold: the file with line and column, the thing, the
//! way out. That is written by hand from what was asked for, so that a golden file which was
//! rewritten without being read does not pass.

use std::fmt::Write as _;
use std::path::Path;

use super::support::wheel::{Wheel, sdist, sdist_of, sha256};
use super::support::{Sandbox, golden, tools};

/// A project in which nothing is wrong.
const APP: &str =
    "[app]\nname = \"shop\"\nversion = \"1.0\"\nsource = \"\"\ninclude = [\"app.py\"]\n\n";
/// Its second half; tables of a case come before or after it.
const PYTHON: &str = "[python]\nversion = \"3.11\"\nrequirements = [\"requirements.txt\"]\n\n";

/// A small project, a command line, and what must be said.
#[derive(Debug)]
struct Case {
    name: &'static str,
    files: Vec<(String, Option<Vec<u8>>)>,
    args: Vec<&'static str>,
    status: i32,
    must: &'static [&'static str],
    others_words: bool,
}

fn case(name: &'static str) -> Case {
    let case = Case {
        name,
        files: Vec::new(),
        args: vec!["build", "--format", "tar"],
        status: 1,
        must: &[],
        others_words: false,
    };
    case.file("app.py", "print('shop')\n")
        .file("requirements.txt", "")
        .file("pkgapp.toml", format!("{APP}{PYTHON}"))
}

impl Case {
    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.retain(|(known, _)| known != path);
        self.files.push((path.into(), Some(content.into())));
        self
    }

    fn without(mut self, path: &str) -> Self {
        self.files.retain(|(known, _)| known != path);
        self
    }

    fn directory(mut self, path: &str) -> Self {
        self.files.push((path.into(), None));
        self
    }

    fn toml(self, text: &str) -> Self {
        self.file("pkgapp.toml", text)
    }

    /// Tables after the good ones; they begin on line 11.
    fn more(self, text: &str) -> Self {
        self.toml(&format!("{APP}{PYTHON}{text}"))
    }

    /// Another text in the good configuration.
    fn instead(self, from: &str, to: &str) -> Self {
        let good = format!("{APP}{PYTHON}");
        assert!(good.contains(from), "{from}");
        self.toml(&good.replace(from, to))
    }

    fn pins(self, text: &str) -> Self {
        self.file("requirements.txt", text)
    }

    /// Requirements that are looked for in `wheels/` alone; they begin on line 3.
    fn local_pins(self, text: &str) -> Self {
        self.directory("wheels")
            .pins(&format!("--no-index\n--find-links wheels\n{text}"))
    }

    fn wheel(self, wheel: &Wheel) -> Self {
        self.file(&format!("wheels/{}", wheel.file_name()), wheel.bytes())
    }

    fn args(mut self, args: &[&'static str]) -> Self {
        self.args = args.to_vec();
        self
    }

    fn usage(mut self) -> Self {
        self.status = 2;
        self
    }

    /// Most of the message is another program's, and that one's versions differ: no golden file.
    fn others_words(mut self) -> Self {
        self.others_words = true;
        self
    }

    fn must(mut self, must: &'static [&'static str]) -> Self {
        self.must = must;
        self
    }

    /// Runs it and says what is wrong with the outcome.
    fn failures(&self) -> Vec<String> {
        let sandbox = Sandbox::new();
        for (path, content) in &self.files {
            match content {
                Some(content) => sandbox.write(path, content),
                None => std::fs::create_dir_all(sandbox.path(path)).unwrap(),
            }
        }
        let before = sandbox.snapshot();
        let outcome = sandbox.pkgapp(&self.args).outcome();
        let mut failures = Vec::new();
        if outcome.status != self.status {
            failures.push(format!(
                "exit code {} and not {}:{}",
                outcome.status, self.status, outcome.report
            ));
        }
        for text in self.must {
            if !outcome.stderr.contains(text) {
                failures.push(format!("`{text}` is not said:\n{}", outcome.stderr));
            }
        }
        if sandbox.snapshot() != before {
            failures.push(format!("the project was changed:{}", outcome.report));
        }
        let text = format!("$ pkgapp {}\n{}", self.args.join(" "), outcome.text());
        if self.others_words {
            return failures;
        }
        failures.extend(golden(&format!("errors/{}.txt", self.name), &text).err());
        failures
    }
}

#[test]
fn every_bad_input_has_its_message() {
    if tools::python().minor != "3.11" && which::which("python3.11").is_err() {
        tools::left_out("the messages of tests/golden/errors are about Python 3.11");
        return;
    }
    let cases: Vec<Case> = [
        configuration(),
        application(),
        requirements(),
        pylock(),
        wheels(),
        building(),
        commands(),
        secrets(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut report = String::new();
    for case in &cases {
        for failure in case.failures() {
            _ = writeln!(report, "\n=== {}: {failure}", case.name);
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn every_golden_message_has_its_case() {
    let cases = [
        configuration(),
        application(),
        requirements(),
        pylock(),
        wheels(),
        building(),
        commands(),
        secrets(),
    ];
    let names: Vec<String> = cases
        .iter()
        .flatten()
        .map(|case| format!("{}.txt", case.name))
        .collect();
    let mut unique = names.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "two cases have the same name");
    for entry in
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/errors"))
            .unwrap()
    {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.contains(&file),
            "no case writes tests/golden/errors/{file}"
        );
    }
}

/// pkgapp.toml as a file.
fn configuration() -> Vec<Case> {
    vec![
        case("no-configuration").without("pkgapp.toml").must(&["pkgapp.toml", "hint: "]),
        case("configuration-elsewhere").args(&["--config", "deploy/shop.toml", "build"]).must(&["`deploy/shop.toml`"]),
        case("not-toml").toml("[app\nname = \"shop\"\n").must(&["pkgapp.toml:1:5"]),
        case("not-utf-8").file("pkgapp.toml", b"[app]\nname = \"sh\xf6p\"\n").must(&["pkgapp.toml:2:11", "UTF-8"]),
        case("key-twice")
            .instead("version = \"1.0\"", "version = \"1.0\"\nversion = \"1.1\"")
            .must(&["pkgapp.toml:4:1", "`version`"]),
        case("two-configurations")
            .file(
                "pyproject.toml",
                "[project]\nname = \"shop\"\nversion = \"1.0\"\n\n[tool.pkgapp.app]\nsource = \"\"\n",
            )
            .must(&["pkgapp.toml", "pyproject.toml", "[tool.pkgapp]"]),
        case("unknown-key").instead("name =", "nmae =").must(&["pkgapp.toml:2:1", "`nmae`", "`name`"]),
        case("unknown-key-in-pyproject")
            .without("pkgapp.toml")
            .file(
                "pyproject.toml",
                "[project]\nname = \"shop\"\nversion = \"1.0\"\n\n[tool.pkgapp.app]\nsuorce = \"\"\n",
            )
            .must(&["pyproject.toml:6:1", "`suorce`", "`source`"]),
        case("unknown-table").more("[pakcage]\nrevision = \"2\"\n").must(&[
            "pkgapp.toml:11:2",
            "`pakcage`",
            "`package`",
        ]),
        case("key-of-another-table").instead("source = \"\"", "prefix = \"/opt/shop\"\nsource = \"\"").must(&[
            "pkgapp.toml:4:1",
            "`prefix`",
            "[package]",
        ]),
        case("number-for-version").instead("version = \"1.0\"", "version = 1.0").must(&["pkgapp.toml:3:11", "version"]),
        case("text-for-list").instead("[\"app.py\"]", "\"app.py\"").must(&["pkgapp.toml:5:11", "include"]),
        case("number-in-list").instead("[\"app.py\"]", "[\"app.py\", 3]").must(&["pkgapp.toml:5:22"]),
        case("many-mistakes")
            .toml("[app]\nname = \"My Shop\"\nversion = \"one\"\nsource = \"\"\n\n[pyhton]\nversion = \"3.11\"\n")
            .must(&["pkgapp.toml:2:8", "`my-shop`", "pkgapp.toml:3:11", "`one`", "pkgapp.toml:6:2", "`python`"]),
    ]
}

/// What pkgapp.toml says.
fn application() -> Vec<Case> {
    vec![
        case("no-name")
            .instead("name = \"shop\"\n", "")
            .must(&["pkgapp.toml", "name"]),
        case("no-version")
            .instead("version = \"1.0\"\n", "")
            .must(&["pkgapp.toml", "version"]),
        case("bad-name").instead("\"shop\"", "\"My_Shop\"").must(&[
            "pkgapp.toml:2:8",
            "`My_Shop`",
            "`my-shop`",
        ]),
        case("bad-version")
            .instead("\"1.0\"", "\"1.0-final-really\"")
            .must(&["pkgapp.toml:3:11", "`1.0-final-really`"]),
        case("bad-python")
            .instead("\"3.11\"", "\"3.11.2\"")
            .must(&["pkgapp.toml:8:11", "`3.11`"]),
        case("old-python")
            .instead("\"3.11\"", "\"2.7\"")
            .must(&["pkgapp.toml:8:11", "2.7", "3.8"]),
        case("unknown-interpreter")
            .instead("[python]\n", "[python]\ninterpreter = \"sytem\"\n")
            .must(&["pkgapp.toml:8:15", "`sytem`", "system"]),
        case("bundled-without-path")
            .instead("[python]\n", "[python]\ninterpreter = \"bundled\"\n")
            .must(&["pkgapp.toml", "path"]),
        case("missing-requirements")
            .without("requirements.txt")
            .must(&["pkgapp.toml:9:17", "`requirements.txt`"]),
        case("missing-include")
            .instead("[\"app.py\"]", "[\"ap.py\"]")
            .must(&["pkgapp.toml:5:12", "`ap.py`"]),
        case("include-escapes")
            .instead("[\"app.py\"]", "[\"../secret\"]")
            .must(&["pkgapp.toml:5:12", "`../secret`"]),
        case("include-absolute")
            .instead("[\"app.py\"]", "[\"/etc/passwd\"]")
            .must(&["pkgapp.toml:5:12", "`/etc/passwd`"]),
        case("bad-pattern")
            .instead("[\"app.py\"]", "[\"app.py\", \"[a\"]")
            .must(&["pkgapp.toml:5:22", "`[a`"]),
        case("missing-source")
            .instead("source = \"\"", "source = \"src\"")
            .must(&["pkgapp.toml:4:10", "`src`"]),
        case("nothing-to-ship")
            .instead("include = [\"app.py\"]\n", "")
            .must(&["pkgapp.toml", "include"]),
        case("relative-prefix")
            .more("[package]\nprefix = \"opt/shop\"\n")
            .must(&["pkgapp.toml:12:10", "`opt/shop`", "/opt/shop"]),
        case("prefix-with-dots")
            .more("[package]\nprefix = \"/opt/../shop\"\n")
            .must(&["pkgapp.toml:12:10", "`..`"]),
        case("prefix-of-the-system")
            .more("[package]\nprefix = \"/usr\"\n")
            .must(&["pkgapp.toml:12:10", "`/usr`"]),
        case("bad-revision")
            .more("[package]\nrevision = \"1-2\"\n")
            .must(&["pkgapp.toml:12:12", "`1-2`"]),
        case("unknown-target")
            .more("[package]\ntargets = [\"debian12\", \"debain13\"]\n")
            .must(&["pkgapp.toml:12:24", "`debain13`", "`debian13`"]),
        case("target-without-this-python")
            .file(
                "pkgapp.toml",
                format!("{APP}{PYTHON}[package]\ntargets = [\"debian12\"]\n")
                    .replace("3.11", "3.9"),
            )
            .must(&["`debian12`", "3.9", "3.11"]),
        case("missing-config-source")
            .more("[config.\"shop.env\"]\nsource = \"deploy/shop.env\"\n")
            .must(&["pkgapp.toml:12:10", "`deploy/shop.env`"]),
        case("config-escapes")
            .more("[config.\"../passwd\"]\nsource = \"app.py\"\n")
            .must(&["pkgapp.toml:11:9", "../passwd"]),
        case("bad-mode")
            .more("[config.\"shop.env\"]\nsource = \"app.py\"\nmode = \"rw-r-----\"\n")
            .must(&["pkgapp.toml:13:8", "`rw-r-----`", "0640"]),
        case("run-with-pipe")
            .more("[build]\nrun = [\"python app/app.py | tee log\"]\n")
            .must(&["pkgapp.toml:12:", "`|`", "sh -c"]),
        case("run-with-open-quote")
            .more("[build]\nrun = [\"python 'app.py\"]\n")
            .must(&["pkgapp.toml:12:", "'"]),
        case("run-of-nothing")
            .more("[build]\nrun = [\"\"]\n")
            .must(&["pkgapp.toml:12:9", "empty"]),
    ]
}

/// requirements.txt.
fn requirements() -> Vec<Case> {
    let hash = |text: &str| format!("--hash=sha256:{}", sha256(text.as_bytes()));
    vec![
        case("unpinned").pins("# pins\n\nflask>=2\n").must(&[
            "requirements.txt:3:6",
            "`flask>=2`",
            "not pinned",
            "flask==",
        ]),
        case("without-version").pins("flask\n").must(&["requirements.txt:1:", "`flask`", "not pinned"]),
        case("wildcard-pin").pins("flask==2.*\n").must(&["requirements.txt:1:", "`flask==2.*`", "not pinned"]),
        case("several-unpinned").pins("flask\nsix==1.0\ndjango<5\n").must(&[
            "requirements.txt:1:",
            "`flask`",
            "requirements.txt:3:",
            "`django<5`",
        ]),
        case("bad-requirement").pins("six==1.0\nflask==3.0 ==\n").must(&["requirements.txt:2:"]),
        case("bad-pin-version").pins("flask==one\n").must(&["requirements.txt:1:", "one"]),
        case("bad-marker").pins("flask==3.0; python_versoin < '3'\n").must(&["requirements.txt:1:", "python_versoin"]),
        case("pinned-twice").pins("flask==3.0\nsix==1.0\nFlask==3.1\n").must(&[
            "requirements.txt:3:6",
            "flask",
            "3.0",
            "3.1",
        ]),
        case("unknown-option").pins("--frobnicate yes\n").must(&["requirements.txt:1:", "--frobnicate"]),
        case("editable").pins("-e .\n").must(&["requirements.txt:1:", "-e"]),
        case("missing-include-file").pins("six==1.0\n-r base.txt\n").must(&["requirements.txt:2:", "`base.txt`"]),
        case("include-in-a-circle")
            .pins("-r other.txt\n")
            .file("other.txt", "-r requirements.txt\n")
            .must(&["other.txt:1:", "requirements.txt"]),
        case("module-of-setuptools").pins("six==1.0\npkg_resources==0.0.0\n").must(&[
            "`pkg_resources==0.0.0`",
            "requirements.txt:2:1",
            "delete the line",
        ]),
        case("path-of-conda")
            .pins("six @ file:///croot/six_1677/work/dist/six-1.16.0-py2.py3-none-any.whl\n")
            .must(&["/croot/six_1677", "`six==1.16.0`"]),
        case("path-of-windows")
            .pins("six @ file:///C:/Users/ada/six-1.16.0-py2.py3-none-any.whl\n")
            .must(&["C:/Users/ada", "`six==1.16.0`"]),
        case("short-address-of-git")
            .pins("-e git+git@git.example.com:ada/six.git@0123456789012345678901234567890123456789#egg=six\n")
            .must(&["`git+ssh://git@git.example.com/ada/six.git@", "requirements.txt:1:"]),
        case("missing-constraints").pins("-c limits.txt\nsix==1.0\n").must(&["requirements.txt:1:", "`limits.txt`"]),
        case("against-constraint")
            .local_pins("-c limits.txt\nsix==1.0\n")
            .file("limits.txt", "six<1.0\n")
            .wheel(&Wheel::simple("six", "1.0"))
            .must(&["requirements.txt:4:", "six", "limits.txt:1:", "<1.0"]),
        case("variable-not-set")
            .pins("--index-url https://user:${SHOP_TOKEN}@index.example.com/simple\nsix==1.0\n")
            .must(&["requirements.txt:1:", "SHOP_TOKEN"]),
        case("one-without-hash").pins(&format!("flask==3.0 {}\nsix==1.0\n", hash("a"))).must(&[
            "requirements.txt:2:1",
            "`six==1.0`",
            "hash",
        ]),
        case("hash-too-short").pins("six==1.0 --hash=sha256:abc\n").must(&[
            "requirements.txt:1:17",
            "sha256 hash",
            "64",
        ]),
        case("weak-hash").pins("six==1.0 --hash=md5:d41d8cd98f00b204e9800998ecf8427e\n").must(&[
            "requirements.txt:1:",
            "md5",
            "sha256",
        ]),
        case("requirements-of-unknown-kind")
            .instead("\"requirements.txt\"", "\"pins.lock\"")
            .file("pins.lock", "{}\n")
            .must(&["pins.lock:1:1", "`{}`"]),
        case("missing-find-links")
            .pins("--no-index\n--find-links wheels\nsix==1.0\n")
            .must(&["requirements.txt:2:", "wheels"]),
        case("local-wheel-missing")
            .pins("six @ file:///nonexistent/six-1.0-py3-none-any.whl\n")
            .must(&["requirements.txt:1:", "six-1.0-py3-none-any.whl"]),
        case("url-names-another").pins("six @ https://index.example.com/files/seven-1.0-py3-none-any.whl\n").must(&[
            "requirements.txt:1:",
            "six",
            "seven",
        ]),
    ]
}

/// pylock.toml (PEP 751).
fn pylock() -> Vec<Case> {
    let locked = |name: &'static str, text: &str| {
        case(name)
            .instead("requirements.txt", "pylock.toml")
            .without("requirements.txt")
            .file("pylock.toml", text)
    };
    let head = "lock-version = \"1.0\"\ncreated-by = \"test\"\n";
    let hash = sha256(b"a");
    vec![
        locked("pylock-of-the-future", "lock-version = \"2.0\"\ncreated-by = \"test\"\npackages = []\n").must(&["pylock.toml:1:", "2.0"]),
        locked("pylock-without-version", "created-by = \"test\"\npackages = []\n").must(&["pylock.toml", "lock-version"]),
        locked("pylock-not-toml", "lock-version = \n").must(&["pylock.toml:1:"]),
        locked("pylock-without-files", &format!("{head}[[packages]]\nname = \"six\"\nversion = \"1.0\"\n")).must(&["pylock.toml:4:8", "six"]),
        locked(
            "pylock-for-another-python",
            &format!("{head}requires-python = \">=3.13\"\npackages = []\n"),
        )
        .must(&["pylock.toml:3:", ">=3.13", "3.11"]),
        locked(
            "pylock-without-hash",
            &format!("{head}[[packages]]\nname = \"six\"\nversion = \"1.0\"\n[[packages.wheels]]\nname = \"six-1.0-py3-none-any.whl\"\npath = \"six-1.0-py3-none-any.whl\"\nhashes = {{}}\n"),
        )
        .must(&["pylock.toml:", "six", "hash"]),
        locked(
            "pylock-file-missing",
            &format!("{head}[[packages]]\nname = \"six\"\nversion = \"1.0\"\n[[packages.wheels]]\nname = \"six-1.0-py3-none-any.whl\"\npath = \"six-1.0-py3-none-any.whl\"\nhashes = {{sha256 = \"{hash}\"}}\n"),
        )
        .must(&["pylock.toml:", "six-1.0-py3-none-any.whl"]),
    ]
}

/// The set of distributions, and the files for it.
fn wheels() -> Vec<Case> {
    let shelf = Wheel::simple("shelf", "1.0")
        .requires("six>=1.16")
        .requires("tomli; python_version < '3.0'");
    let shop = Wheel::simple("counter", "1.0").requires("shelf");
    let extra = Wheel::simple("till", "1.0")
        .header("Provides-Extra: receipts")
        .requires("printer; extra == 'receipts'");
    let old = Wheel::simple("six", "1.0");
    let wrong = sha256(b"wrong");
    let wrong_hash: &'static str =
        Box::leak(format!("six==1.0 --hash=sha256:{wrong}\n").into_boxed_str());
    let source = {
        let directory = tempfile::tempdir().unwrap();
        std::fs::read(sdist(directory.path(), "six", "1.0", &[])).unwrap()
    };
    let unbuildable = {
        let directory = tempfile::tempdir().unwrap();
        let project = "[build-system]\nrequires = []\nbuild-backend = \"nowhere\"\n";
        std::fs::read(sdist_of(
            directory.path(),
            "gate",
            "1.0",
            &[("pyproject.toml", project)],
        ))
        .unwrap()
    };
    vec![
        case("distribution-missing")
            .local_pins("counter==1.0\nshelf==1.0\n")
            .wheel(&shelf)
            .wheel(&shop)
            .must(&["six>=1.16", "counter", "shelf", "requirements.txt:4:1"]),
        // Nobody waits for a compiler to be told of it.
        case("distribution-missing-beside-a-source")
            .local_pins("gate==1.0\nshelf==1.0\nsix==0.9\n")
            .wheel(&shelf)
            .wheel(&Wheel::simple("six", "0.9").requires("gate>=2"))
            .file("wheels/gate-1.0.tar.gz", unbuildable)
            .must(&[
                "`six 0.9` is pinned, but `shelf 1.0` requires `six>=1.16`",
                "`gate 1.0` is pinned, but `six 0.9` requires `gate>=2`",
            ]),
        case("distribution-too-old")
            .local_pins("shelf==1.0\nsix==1.0\n")
            .wheel(&shelf)
            .wheel(&old)
            .must(&["six", "1.0", ">=1.16", "shelf"]),
        case("extra-needs-distribution")
            .local_pins("till[receipts]==1.0\n")
            .wheel(&extra)
            .must(&["printer", "till[receipts]", "requirements.txt:3:1"]),
        case("not-on-the-shelf").local_pins("six==1.0\n").must(&[
            "six",
            "1.0",
            "requirements.txt:3:1",
        ]),
        case("another-version")
            .local_pins("six==2.0\n")
            .wheel(&old)
            .must(&["six", "2.0", "1.0", "requirements.txt:3:1"]),
        case("wheel-for-others")
            .local_pins("six==1.0\n")
            .wheel(&Wheel::simple("six", "1.0").tag("cp312-cp312-manylinux_2_17_x86_64"))
            .wheel(&Wheel::simple("six", "1.0").tag("cp311-cp311-win_amd64"))
            .must(&[
                "six",
                "cp312-cp312-manylinux_2_17_x86_64",
                "cp311-cp311-win_amd64",
                "requirements.txt:3:1",
            ]),
        case("wheel-for-another-python")
            .local_pins("six==1.0\n")
            .wheel(&Wheel::simple("six", "1.0").header("Requires-Python: >=3.13"))
            .must(&["six", ">=3.13", "3.11"]),
        case("wrong-hash")
            .local_pins(wrong_hash)
            .wheel(&old)
            .must(&[
                "six-1.0-py3-none-any.whl",
                "requirements.txt:3:1",
                "no hash that the lock accepts",
            ]),
        case("only-an-sdist")
            .local_pins("--only-binary :all:\nsix==1.0\n")
            .file("wheels/six-1.0.tar.gz", source)
            .must(&["six", "--only-binary", "requirements.txt:4:1"]),
        case("offline-without-the-wheel")
            .pins("six==1.0\n")
            .args(&["--offline", "build", "--format", "tar"])
            .must(&["six", "--offline"]),
        case("not-a-wheel")
            .local_pins("six==1.0\n")
            .file("wheels/six-1.0-py3-none-any.whl", "not a zip")
            .must(&["six-1.0-py3-none-any.whl"]),
        case("local-wheel-names-another")
            .wheel(&Wheel::simple("seven", "1.0"))
            .pins("six @ wheels/seven-1.0-py3-none-any.whl\n")
            .must(&["requirements.txt:1:", "six", "seven"]),
    ]
}

/// Building the application, and the package.
fn building() -> Vec<Case> {
    let backend = |body: &str| {
        format!(
            "def get_requires_for_build_wheel(config_settings=None):\n    return []\n\n\n{body}\n"
        )
    };
    let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n[project]\nname = \"shop\"\nversion = \"1.0\"\n";
    let local = "--no-index\n";
    vec![
        case("source-without-backend")
            .instead("source = \"\"", "source = \".\"")
            .must(&["pkgapp.toml:4:10", "pyproject.toml"]),
        case("backend-fails")
            .instead("source = \"\"", "source = \".\"")
            .pins(local)
            .file("pyproject.toml", project)
            .file(
                "backend.py",
                backend(
                    "def build_wheel(*args, **more):\n    raise SystemExit('the backend is tired')",
                ),
            )
            .others_words()
            .must(&["cannot build a wheel of", "the backend is tired"]),
        case("run-fails")
            .pins(local)
            .more("[build]\nrun = [\"sh -c 'echo working; echo no luck >&2; exit 3'\"]\n")
            .must(&["exit", "3", "no luck", "pkgapp.toml:12:"]),
        case("run-of-missing-program")
            .pins(local)
            .more("[build]\nrun = [\"collectstatik --all\"]\n")
            .must(&["collectstatik", "pkgapp.toml:12:"]),
        case("build-directory-leaks")
            .pins(local)
            .more("[build]\nrun = [\"sh -c 'pwd > app/where.txt'\"]\n")
            .must(&["app/where.txt"]),
        case("source-of-another-version")
            .instead("source = \"\"", "source = \".\"")
            .pins(local)
            .file(
                "backend.py",
                std::fs::read(super::support::fixture("hello").join("backend.py")).unwrap(),
            )
            .file(
                "pyproject.toml",
                project.replace("\"1.0\"", "\"1.1\"\ndescription = \"x\""),
            )
            .must(&["1.0", "1.1"]),
        case("output-is-a-file")
            .args(&["build", "--format", "tar", "--output", "app.py"])
            .pins(local)
            .must(&["`app.py`"]),
    ]
}

/// What is wrong with a secret before any host is asked.
fn secrets() -> Vec<Case> {
    const READER: &str = "[settings.SHOP_KEY]\ntype = \"secret\"\n[settings.SHOP_TITLE]\ntype = \"string\"\ndefault = \"\"\n\
        [service.web]\nexec = \"python app/app.py\"\nenvironment-file = \"/etc/shop/secrets.env\"\n";
    vec![
        case("secrets-unknown-name")
            .more(READER)
            .args(&["secrets", "set", "--hosts", "web1", "SHOP_KEYS"])
            .usage()
            .must(&["`SHOP_KEYS`", "did you mean `SHOP_KEY`?"]),
        case("secrets-no-secret")
            .more(READER)
            .args(&["secrets", "generate", "--hosts", "web1", "SHOP_TITLE"])
            .usage()
            .must(&["`SHOP_TITLE` is no secret", "/etc/shop/settings.env"]),
        case("secrets-no-variable")
            .more(READER)
            .args(&[
                "secrets", "set", "--hosts", "web1", "SHOP_KEY", "--env", "NO_SUCH",
            ])
            .usage()
            .must(&["`NO_SUCH`"]),
        case("secrets-several-lines")
            .more(READER)
            .file("value", "hunter2\nhunter3\n")
            .args(&[
                "secrets", "set", "--hosts", "web1", "SHOP_KEY", "--file", "value",
            ])
            .must(&["cannot set `SHOP_KEY`", "several lines", "deliver"]),
        case("secrets-unknown-deployment")
            .more(READER)
            .args(&["secrets", "copy", "production", "--from", "web1"])
            .usage()
            .must(&["[deploy.production]"]),
        case("secrets-no-file")
            .args(&["secrets", "list", "--hosts", "web1"])
            .must(&["reads a file of secrets", "environment-file = "]),
    ]
}

/// The command line, and commands that read files.
fn commands() -> Vec<Case> {
    vec![
        case("no-command").args(&[]).usage(),
        case("unknown-command").args(&["biuld"]).usage().must(&["biuld", "build"]),
        case("unknown-flag").args(&["build", "--formt", "deb"]).usage().must(&["--formt", "--format"]),
        case("unknown-format").args(&["build", "--format", "exe"]).usage().must(&["exe", "deb", "rpm"]),
        case("no-jobs").args(&["build", "--jobs", "0"]).usage().must(&["--jobs"]),
        case("inspect-missing").args(&["inspect", "dist/shop.deb"]).must(&["`dist/shop.deb`"]),
        case("inspect-no-package").args(&["inspect", "app.py"]).must(&["`app.py`"]),
        case("inspect-directory").args(&["inspect", "."]).must(&["`.`"]),
        case("inspect-broken-deb")
            .file(
                "broken.deb",
                b"!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\ncontrol.tar.gz  0  ",
            )
            .args(&["inspect", "broken.deb"])
            .must(&["`broken.deb`"]),
        case("inspect-broken-rpm")
            .file("broken.rpm", b"\xed\xab\xee\xdb\x03\x00")
            .args(&["inspect", "broken.rpm"])
            .must(&["`broken.rpm`"]),
        case("inspect-empty").file("empty.deb", "").args(&["inspect", "empty.deb"]).must(&["`empty.deb`"]),
    ]
}
