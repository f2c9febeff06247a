//! Whole reads: files in, a lock or the exact errors out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use pkgapp_core::name::Arch;
use pkgapp_pypa::shown_url;

/// Runs a script with a Python that has pip, as the other side of a comparison; `None` if there is
/// none.
pub(super) fn python(script: &str, input: &[u8]) -> Option<Vec<u8>> {
    let python = &pkgapp_testing::python().path;
    if !pkgapp_testing::module(python, "pip") {
        return None;
    }
    let mut child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

pub(super) fn environment(full: Option<&str>) -> Environment {
    Environment::new("3.11".parse().unwrap(), full, Arch::X86_64, (2, 36)).unwrap()
}

const ONE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const TWO: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// A directory with files, and what reading them gives.
struct Project(tempfile::TempDir, LockSelection);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.replace("{ONE}", ONE).replace("{TWO}", TWO)).unwrap();
        }
        Self(directory, LockSelection::default())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, names: &[&str]) -> Result<Lock> {
        let files: Vec<_> = names.iter().map(PathBuf::from).collect();
        let variable = |name: &str| match name {
            "TOKEN" => Some("1.s3cret".to_owned()),
            "VERSION" => Some("2.0".to_owned()),
            _ => None,
        };
        Lock::read_with(
            &files,
            self.root(),
            &environment(None),
            true,
            &self.1,
            &variable,
        )
    }

    /// Returns the errors without the temporary directory's name.
    fn errors(&self, names: &[&str]) -> String {
        let text = self
            .read(names)
            .expect_err("there is something wrong")
            .to_string();
        let root = format!("{}/", self.root().display());
        text.replace(&root, "")
            .replace(&self.root().display().to_string(), "ROOT")
            .trim_end()
            .to_owned()
    }
}

/// Returns the pins as lines: name, version, extras, where from, number of hashes.
fn pins(lock: &Lock, root: &Path) -> Vec<String> {
    let line = |pin: &Pin| {
        let version = pin
            .version
            .as_ref()
            .map_or("?".to_owned(), ToString::to_string);
        let extras: Vec<_> = pin.extras.iter().map(ToString::to_string).collect();
        let source = match &pin.source {
            PinSource::Index => "index".to_owned(),
            PinSource::Url(url) => url.to_string(),
            PinSource::File(path) => format!("file {}", path.strip_prefix(root).unwrap().display()),
            PinSource::Directory(path) => {
                format!("directory {}", path.strip_prefix(root).unwrap().display())
            }
            PinSource::Files(files) => files
                .iter()
                .map(|file| file.name.clone())
                .collect::<Vec<_>>()
                .join(" "),
            PinSource::Git(source) => {
                format!("{} {}", source.shown(), source.subdirectory.display())
            }
            PinSource::Mercurial(source) => {
                format!("{} {}", source.shown(), source.subdirectory.display())
            }
        };
        format!(
            "{} {version} [{}] {source} {}",
            pin.name,
            extras.join(","),
            pin.hashes.len()
        )
    };
    lock.pins.iter().map(line).collect()
}

#[track_caller]
fn assert_errors(files: &[(&str, &str)], expected: &str) {
    let project = Project::new(files);
    similar_asserts::assert_eq!(project.errors(&[files[0].0]), expected.trim_matches('\n'));
}

#[track_caller]
fn assert_pins(files: &[(&str, &str)], expected: &[&str]) -> Lock {
    let project = Project::new(files);
    let lock = project.read(&[files[0].0]).unwrap();
    similar_asserts::assert_eq!(pins(&lock, project.root()), expected);
    lock
}

#[test]
fn pins_are_read_in_all_the_ways_people_write_them() {
    let lock = assert_pins(
        &[
            (
                "requirements.txt",
                "\u{feff}# the application\r\nFlask[async , dotenv] == 3.0.0 ; python_version >= '3.8'\r\n\
                 gunicorn (===22.0)\r\ntomli==2.0 ; python_version < '3.11'\r\n-r deploy/more.txt\r\n\
                 six==${VERSION} # comment\r\nunpinned\r\n--constraint=deploy/c.txt\r\n",
            ),
            (
                "deploy/more.txt",
                "-i https://me:${TOKEN}@example.com/simple --extra-index-url 'https://e.org/x'\n\
              -f ../wheels\n--only-binary :all: \n--no-binary=Six,lxml\n--pre\n--trusted-host example.com\n",
            ),
            (
                "deploy/c.txt",
                "unpinned==1!2.0.post1\nnever-asked-for==9\nflask<4\n",
            ),
            ("wheels/x.txt", ""),
        ],
        &[
            "flask 3.0.0 [async,dotenv] index 0",
            "gunicorn 22.0 [] index 0",
            "six 2.0 [] index 0",
            "unpinned 1!2.0.post1 [] index 0",
        ],
    );
    let indexes = &lock.indexes;
    let index = indexes.index.as_ref().unwrap();
    assert_eq!(index.as_str(), "https://me:1.s3cret@example.com/simple");
    assert_eq!(
        shown_url(index).to_string(),
        "https://me:****@example.com/simple"
    );
    assert_eq!(indexes.extra[0].as_str(), "https://e.org/x");
    assert!(
        indexes.find_links[0].as_str().ends_with("/wheels"),
        "{:?}",
        indexes.find_links
    );
    let allows = |name: &str| indexes.allows(&name.parse().unwrap());
    assert_eq!(
        allows("six"),
        AllowedFiles {
            wheel: false,
            sdist: true
        }
    );
    assert_eq!(
        allows("flask"),
        AllowedFiles {
            wheel: true,
            sdist: false
        }
    );
    assert!(!lock.require_hashes);
    assert_eq!(lock.files.len(), 3);
    let warnings: Vec<_> = lock
        .warnings
        .iter()
        .map(|line| line.split_once(" (").unwrap().0)
        .collect();
    assert_eq!(
        warnings,
        [
            "`--pre` has no effect: every version is exact",
            "`--trusted-host example.com` has no effect: certificates are always checked, against the authorities in \
             `SSL_CERT_FILE` if it is set",
        ]
    );
}

#[test]
fn markers_about_patch_releases_hold_if_one_that_may_come_does() {
    assert_pins(
        &[(
            "r.txt",
            "old==1 ; python_full_version < '3.11.3'\nnew==1 ; python_full_version >= '3.11.3'\n\
             tomli==2 ; python_full_version <= '3.11.0a6'\nnext==1 ; python_full_version >= '3.12'\n",
        )],
        &["new 1 [] index 0", "old 1 [] index 0"],
    );
}

#[test]
fn direct_references_say_what_they_are() {
    assert_pins(
        &[
            (
                "requirements.txt",
                "https://example.com/a%2Bb/My_Pkg-1.0+cpu-py3-none-any.whl#sha256={ONE}\n\
                 sdist @ https://example.com/v1.tar.gz#subdirectory=x&sha256={ONE} ; sys_platform == 'linux'\n\
                 ./wheels/local-2.0-py3-none-any.whl[fast]\nwheels/other-3.0.tar.gz\n./lib[dev] ; python_version>'3'\n\
                 named @ file:lib2\nnot-here @ ./missing ; sys_platform == 'win32'\nhttps://e.com/x.zip#egg=eggy\n",
            ),
            ("wheels/local-2.0-py3-none-any.whl", ""),
            ("wheels/other-3.0.tar.gz", ""),
            (
                "lib/pyproject.toml",
                "[project]\nname = 'The.Lib'\nversion = '0.1'\n",
            ),
            ("lib2/setup.py", ""),
        ],
        &[
            "eggy ? [] https://e.com/x.zip 0",
            "local 2.0 [fast] file wheels/local-2.0-py3-none-any.whl 0",
            "my-pkg 1.0+cpu [] https://example.com/a%2Bb/My_Pkg-1.0+cpu-py3-none-any.whl 1",
            "named ? [] directory lib2 0",
            "other 3.0 [] file wheels/other-3.0.tar.gz 0",
            "sdist ? [] https://example.com/v1.tar.gz#subdirectory=x 1",
            "the-lib 0.1 [dev] directory lib 0",
        ],
    );
}

#[test]
fn hashes_of_constraints_are_kept() {
    let lock = assert_pins(
        &[
            (
                "r.txt",
                "a\nb==1 --hash=sha256:{ONE} \\\n  --hash sha256:{TWO}\nc[x]==1 --hash=sha256:{ONE}\nc[y]==1.0\n-c c.txt\n",
            ),
            (
                "c.txt",
                "a==1 --hash=sha256:{ONE}\nb==1.0 --hash=sha256:{TWO}\n",
            ),
        ],
        &["a 1 [] index 1", "b 1 [] index 1", "c 1 [x,y] index 1"],
    );
    assert!(lock.require_hashes);
    assert_eq!(lock.pins[1].hashes[0].to_string(), format!("sha256:{TWO}"));
}

#[test]
fn what_is_not_pinned_is_refused() {
    assert_errors(
        &[("requirements.txt", "a>=2,<3\nb\nc==1.*\nd ~= 1.0 ; python_version > '3'\ne>1\ne==2\n")],
        "
error: requirement `a>=2,<3` is not pinned
  --> requirements.txt:1:2
  hint: write `a==` and the version to ship, or run `pkgapp lock` to pin everything that is missing
error: requirement `b` is not pinned
  --> requirements.txt:2:1
  hint: write `b==` and the version to ship, or run `pkgapp lock` to pin everything that is missing
error: requirement `c==1.*` is not pinned
  --> requirements.txt:3:2
  hint: `==1.*` allows many versions; write `c==` and the full version, or run `pkgapp lock` to pin everything that is missing
error: requirement `d ~= 1.0` is not pinned
  --> requirements.txt:4:3
  hint: write `d==` and the version to ship, or run `pkgapp lock` to pin everything that is missing",
    );
}

#[test]
fn errors_are_exact() {
    for (name, files, expected) in ERRORS {
        let project = Project::new(files);
        similar_asserts::assert_eq!(
            project.errors(&[files[0].0]),
            expected.trim_matches('\n'),
            "{name}"
        );
    }
}

type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// What is wrong, the files, the errors.
const ERRORS: &[Case] = &[
    (
        "pinned twice",
        &[("r.txt", "a==1\nb==1\n-r s.txt\n"), ("s.txt", "A==1.0\nb ==2\n")],
        "
error: `b` is pinned twice: `b==1` and `b ==2`
  --> s.txt:2:3
  note: the other pin is at r.txt:2:1
  hint: keep one of them, or give them markers that never hold together",
    ),
    (
        "outside a constraint",
        &[("r.txt", "-c c.txt\na==1\nb>=3\n"), ("c.txt", "a>=2\nb==2\n")],
        "
error: `a` is pinned to 1, which the constraint `a>=2` excludes
  --> c.txt:1:2
  note: the pin is `a==1` at r.txt:2:1
error: `b` is pinned to 2, which the requirement `b>=3` excludes
  --> r.txt:3:2
  note: the pin is `b==2` at c.txt:2:1",
    ),
    (
        "impossible",
        &[("r.txt", "a==1,<1\n")],
        "
error: no version satisfies all of `a==1,<1`
  --> r.txt:1:2",
    ),
    (
        "no hashes",
        &[("r.txt", "a==1 --hash=sha256:{ONE}\nb==1\n  c==2 # x\n")],
        "
error: 2 of 3 pins have no hash
  --> r.txt:2:1
  note: `b==1` at r.txt:2:1
  note: `c==2` at r.txt:3:3
  note: the requirement at r.txt:1:1 has one, so every pin needs a hash
  hint: lock with `uv pip compile --generate-hashes` or `pip-compile --generate-hashes`",
    ),
    (
        "required hashes",
        &[("r.txt", "--require-hashes\n./lib\n"), ("lib/pyproject.toml", "[project]\nname='lib'")],
        "
error: `./lib` has no hash
  --> r.txt:2:1
  note: `--require-hashes` is given at r.txt:1:1, so every pin needs a hash
  hint: a directory cannot have a hash; build a wheel with `pip wheel --no-deps`, and pin the wheel with its hash",
    ),
    (
        "bad hashes",
        &[("r.txt", "a==1 \\\n  --hash=sha256:12 \\\n  --hash=md5:900150983cd24fb0d6963f7d28e17f72\nb==1 --hash=12\n")],
        "
error: a sha256 hash has 64 hexadecimal digits, and this one has 2
  --> r.txt:2:10
error: hash algorithm `md5` is too weak
  --> r.txt:3:10
  hint: use sha256, sha384, or sha512
error: `12` is not a hash
  --> r.txt:4:13
  hint: a hash is written as `sha256:` and 64 hexadecimal digits",
    ),
    (
        "different hashes",
        &[("r.txt", "a==1 --hash=sha256:{ONE}\n-c c.txt"), ("c.txt", "a==1 --hash=sha256:{TWO}")],
        "
error: no file can match the hashes of `a==1`
  --> c.txt:1:1
  note: the hashes at r.txt:1:1 are all different
  hint: regenerate both files from the same index",
    ),
    (
        "stray hash",
        &[("r.txt", "a==1\n    --hash=sha256:{ONE}\n")],
        "
error: `--hash` belongs to no requirement
  --> r.txt:2:5
  hint: end the requirement's line with ` \\`",
    ),
    (
        "text after a continuation",
        &[("r.txt", "a==1 \\ \n    --hash=sha256:{ONE}\n")],
        "
error: text after the `\\` that continues a line
  --> r.txt:1:6
  hint: remove the whitespace or comment after it
error: `--hash` belongs to no requirement
  --> r.txt:2:5
  hint: end the requirement's line with ` \\`",
    ),
    (
        "editables and version control",
        &[
            (
                "r.txt",
                "-e .\n-e lib[x]\n-e git+https://e.com/r.git#egg=r\n-e svn+https://e.com/r@12#egg=s\n\
            -e a-1.0-py3-none-any.whl\nr @ git+https://u:p@e.com/r.git@main\n",
            ),
            ("a-1.0-py3-none-any.whl", ""),
        ],
        "
error: `lib[x]` does not exist
  --> r.txt:2:4
  hint: paths of distributions are relative to `ROOT`
error: `git+https://e.com/r.git#egg=r` cannot ship: the full commit ID is missing
  --> r.txt:3:4
  hint: append `@` and a full commit ID to the address; `git ls-remote` lists commits
error: pkgapp does not support the version control system of `svn+https://e.com/r@12#egg=s`
  --> r.txt:4:4
  hint: build a wheel with `pip wheel --no-deps`, and pin the wheel by its path or URL
error: `a-1.0-py3-none-any.whl` is an archive, but `-e` is for source trees
  --> r.txt:5:4
  hint: remove `-e`
error: `git+https://****@e.com/r.git@main` cannot ship: the full commit ID is missing
  --> r.txt:6:5
  hint: append `@` and a full commit ID to the address; `git ls-remote` lists commits",
    ),
    (
        "not requirements",
        &[
            (
                "r.txt",
                "flask=1.0\na b\na==1.0[x]\na==1; python_versio > '3'\na[x==1\na @\n==1\nné==1\nbase.txt\na==1; \n",
            ),
            ("base.txt", ""),
        ],
        "
error: `flask=1.0` is not a requirement
  --> r.txt:1:6
  cause: no such comparison operator \"=\", must be one of ~= == != <= >= < > ===
  hint: write `flask==1.0`
error: `a b` is not a requirement
  --> r.txt:2:3
  cause: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`
error: `a==1.0[x]` is not a requirement
  --> r.txt:3:2
  cause: after parsing `1.0`, found `[x]`, which is not part of a valid version
error: `a==1; python_versio > '3'` is not a requirement
  --> r.txt:4:7
  cause: Expected a quoted string or a valid marker name, found `python_versio`
error: `a[x==1` is not a requirement
  --> r.txt:5:4
  cause: Invalid character in extras name, expected an alphanumeric character, `-`, `_`, `.`, `,` or `]`, found `=`
error: `a @` is not a requirement
  --> r.txt:6:3
  cause: nothing follows the `@`
error: `==1` is not a requirement
  --> r.txt:7:1
  cause: Expected package name starting with an alphanumeric character, found `=`
error: `né==1` is not a requirement
  --> r.txt:8:2
  cause: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `é`
error: `base.txt` is a requirements file
  --> r.txt:9:1
  hint: write `-r base.txt`",
    ),
    (
        "options",
        &[(
            "r.txt",
            "--require-hash\n-x y\n-r\n--no-index=1\na==1 --pre\n-f 'x\n-i ftp://e.com\n--no-binary a,b!\n--pre x\n",
        )],
        "
error: unknown option `--require-hash` in a requirements file
  --> r.txt:1:1
  hint: did you mean `--require-hashes`?
error: unknown option `-x` in a requirements file
  --> r.txt:2:1
error: `-r` needs a value
  --> r.txt:3:1
error: `--no-index` takes no value
  --> r.txt:4:1
error: `--pre` does not apply to a single requirement
  --> r.txt:5:6
  hint: put it on a line of its own
error: unclosed quote
  --> r.txt:6:4
error: unsupported URL scheme `ftp:`
  --> r.txt:7:4
  hint: use an https URL
error: `b!` is not the name of a distribution
  --> r.txt:8:13
  hint: `--no-binary` takes names, `:all:`, or `:none:`
error: `x` is neither an option nor the value of one
  --> r.txt:9:7",
    ),
    (
        "includes",
        &[
            ("d/r.txt", "-r base.txt\n-c /none\n-r ../s.txt\n-r https://u:p@e.com/x.txt\n"),
            ("base.txt", ""),
            ("s.txt", "-rd/r.txt"),
        ],
        "
error: cannot read `d/base.txt`
  --> d/r.txt:1:4
  cause: failed to open file `d/base.txt`: No such file or directory (os error 2)
  note: names after `-r` and `-c` are relative to `d`
  note: `base.txt` exists
error: cannot read `/none`
  --> d/r.txt:2:4
  cause: failed to open file `/none`: No such file or directory (os error 2)
  note: names after `-r` and `-c` are relative to `d`
error: `d/r.txt` includes itself
  --> s.txt:1:3
error: `https://u:****@e.com/x.txt` is on the network, but the build is offline
  --> d/r.txt:4:4
  hint: keep a copy beside the file that includes it",
    ),
    (
        "variables",
        &[(
            "r.txt",
            "-i https://${NOBODY}:${TOKEN}@e.com/\na==${TOKEN}\n-f /no/${TOKEN}\na==1 --hash=${TOKEN}\n--x${TOKEN}\n\
             -c https://e.com/${TOKEN}\na==${VERSION}x\n",
        )],
        "
error: environment variable `NOBODY` is not set
  --> r.txt:1:12
  hint: set `NOBODY` in the environment of the build
error: `a==${TOKEN}` is not a requirement
  --> r.txt:2:2
  note: after substitution of its variables
error: `/no/${TOKEN}` is neither a URL nor an existing path
  --> r.txt:3:4
error: `${TOKEN}` is not a hash
  --> r.txt:4:13
  hint: a hash is written as `sha256:` and 64 hexadecimal digits
error: unknown option `--x${TOKEN}` in a requirements file
  --> r.txt:5:1
error: `https://e.com/${TOKEN}` is on the network, but the build is offline
  --> r.txt:6:4
  hint: keep a copy beside the file that includes it
error: `a==${VERSION}x` is not a requirement
  --> r.txt:7:2
  note: after substitution of its variables",
    ),
    (
        "direct references",
        &[
            (
                "r.txt",
                "./none-1.0.tar.gz\n./empty\nb @ https://e.com/a-1-py3-none-any.whl\nhttps://e.com/a-1.whl\n\
                 https://e.com/master.zip\na @ https://e.com/page\n./a-1.tar.gz#sha256=12\n./nameless\n",
            ),
            ("empty/x", ""),
            ("a-1.tar.gz", ""),
            ("nameless/setup.py", ""),
        ],
        "
error: `./none-1.0.tar.gz` does not exist
  --> r.txt:1:1
  hint: paths of distributions are relative to `ROOT`
error: `./empty` is a directory without a `pyproject.toml` or `setup.py`
  --> r.txt:2:1
error: `https://e.com/a-1-py3-none-any.whl` is `a`, not `b`
  --> r.txt:3:5
error: `https://e.com/a-1.whl` does not end in a valid wheel name
  --> r.txt:4:1
  cause: The wheel filename \"a-1.whl\" is invalid: Must have a Python tag
  hint: keep the name that the wheel was built or downloaded with
error: `https://e.com/master.zip` does not name its distribution
  --> r.txt:5:1
  hint: write the name before it: `name @ …`
error: `https://e.com/page` does not have the file extension of a wheel or sdist
  --> r.txt:6:5
  hint: a wheel ends in `.whl`, an sdist in `.tar.gz` or `.zip`
error: a sha256 hash has 64 hexadecimal digits, and this one has 2
  --> r.txt:7:1
error: `./nameless` does not name its distribution
  --> r.txt:8:1
  hint: write the name before it: `name @ …`",
    ),
    (
        "constraints",
        &[("r.txt", "-c c.txt"), ("c.txt", "a[x]==1\n./a-1.tar.gz\n"), ("a-1.tar.gz", "")],
        "
error: constraint `a[x]==1` has extras
  --> c.txt:1:1
  hint: pip does not allow extras in constraints; move them to the requirement, or use `pip-compile --strip-extras`
error: constraint without a name
  --> c.txt:2:1
  hint: write `name @` before the URL or path",
    ),
    (
        "a lock by its content",
        &[("pins.json", "{\n \"_meta\": {\"pipfile-spec\": 6},\n \"default\": {\"a\": {}}}")],
        "
error: `a` has no version
  --> pins.json:3:15
  hint: run `pipenv lock`",
    ),
    (
        "no pins at all",
        &[("pyproject.toml", "[project]\n")],
        "
error: `pyproject.toml` has no pins
  --> pyproject.toml
  hint: run `pkgapp lock` and use the `pylock.toml` that it writes",
    ),
    (
        "pylock: syntax",
        &[("pylock.toml", "lock-version = '1.0'\npackages = [\n")],
        "
error: `pylock.toml` is not a pylock.toml
  --> pylock.toml:2:13
  cause: unclosed array, expected `]`",
    ),
    (
        "pylock: version",
        &[("pylock.toml", "lock-version = '2.0'\ncreated-by = 'x'\npackages = []\n")],
        "
error: unsupported lock-version `2.0`
  --> pylock.toml:1:16
  hint: write the lock with lock-version 1.0",
    ),
    (
        "pylock: another environment",
        &[("pylock.x.toml", "lock-version = '1.0'\nenvironments = [\"sys_platform == 'win32'\"]\npackages = []\n")],
        "
error: the lock is not for Python 3.11 on Linux x86_64
  --> pylock.x.toml:2:17
  note: none of the lock's `environments` matches
  hint: lock again with this environment included",
    ),
    (
        "pylock: another Python",
        &[("pylock.toml", "lock-version = '1.0'\nrequires-python = '>=3.12'\npackages = []\n")],
        "
error: the lock requires Python >=3.12, but the release is for 3.11
  --> pylock.toml:2:19",
    ),
    (
        "pylock: entries",
        &[(
            "pylock.toml",
            r#"lock-version = '1.0'
[[packages]]
name = 'a'
version = '1'
wheels = [{ url = 'https://e.com/a-1-py3-none-any.whl', hashes = { md5 = '00' } }]
[[packages]]
name = 'b'
vcs = { type = 'git', url = 'https://e.com/b.git', commit-id = '00' }
[[packages]]
name = 'c'
directory = { path = 'c', editable = true }
[[packages]]
name = 'd'
version = '1'
wheels = [{ url = 'https://e.com/x-1-py3-none-any.whl', hashes = { sha256 = '{ONE}' } }]
[[packages]]
name = 'e'
version = '1'
[[packages]]
name = 'f'
version = '1'
wheels = [{ url = 'https://e.com/f-2-py3-none-any.whl', hashes = { sha256 = '{ONE}' } }]
[[packages]]
name = 'g'
requires-python = '<3.11'
sdist = { path = 'g-1.tar.gz', hashes = { sha256 = '{ONE}' } }
[[packages]]
name = 'h'
sdist = { path = 'h-1.tar.gz', hashes = { sha256 = '{ONE}' } }
[[packages]]
name = 'h'
sdist = { path = 'h-2.tar.gz', hashes = { sha256 = '{ONE}' } }
"#,
        )],
        "
error: `a-1-py3-none-any.whl` has no strong hash
  --> pylock.toml:5:66
  hint: lock again with sha256
error: `b` cannot be taken from git: the full commit ID is missing
  --> pylock.toml:8:7
error: `c` is not a directory
  --> pylock.toml:11:13
error: `x-1-py3-none-any.whl` is not a wheel of `d`
  --> pylock.toml:15:11
error: `e` has no files
  --> pylock.toml:17:8
error: `f-2-py3-none-any.whl` is not version 1 of `f`
  --> pylock.toml:22:11
error: `g` requires Python <3.11, but the release is for 3.11
  --> pylock.toml:25:19
error: `h` is listed twice for one environment
  --> pylock.toml:31:8
  note: the other entry is at pylock.toml:28:8
  hint: give them markers that never hold together, or lock again",
    ),
];

#[test]
fn a_pylock_gives_files_and_hashes() {
    let text = r#"
lock-version = "1.0"
environments = ["sys_platform == 'linux'", "sys_platform == 'win32'"]
requires-python = ">=3.9"
extras = ["db"]
dependency-groups = ["dev", "main"]
default-groups = ["main"]
created-by = "hand"

[[packages]]
name = "Alpha"
version = "1.0"
index = "https://example.com/simple"
sdist = { name = "alpha-1.0.tar.gz", url = "https://example.com/1.tgz", size = 3, hashes = { sha512 = "ff", sha256 = "{ONE}" } }
wheels = [
  { url = "https://example.com/alpha-1.0-py3-none-any.whl", hashes = { sha256 = "{TWO}", md5 = "x" } },
  { path = "../w/alpha-1.0-cp311-cp311-linux_x86_64.whl", hashes = { sha256 = "{ONE}" } },
]

[[packages]]
name = "beta"
marker = "'db' in extras or python_version < '3.9'"
wheels = [{ url = "https://example.com/beta-1-py3-none-any.whl", hashes = { sha256 = "{ONE}" } }]

[[packages]]
name = "gamma"
marker = "'main' in dependency_groups and sys_platform == 'linux'"
archive = { url = "https://example.com/gamma-3.zip", subdirectory = "x", hashes = { sha256 = "{ONE}" } }

[[packages]]
name = "gamma"
marker = "sys_platform == 'win32'"
wheels = [{ url = "https://example.com/gamma-1-py3-none-any.whl", hashes = { sha256 = "{ONE}" } }]

[[packages]]
name = "delta"
marker = "'dev' not in dependency_groups"
directory = { path = "../d" }
"#;
    // A strong hash of the wrong length is an error even beside a good one.
    let project = Project::new(&[("lock/pylock.web.toml", text)]);
    assert!(
        project
            .errors(&["lock/pylock.web.toml"])
            .starts_with("error: a sha512 hash has 128 hexadecimal digits")
    );
    let text = text.replace("sha512 = \"ff\", ", "");
    let project = Project::new(&[("lock/pylock.web.toml", &text), ("d/setup.py", "")]);
    let lock = project.read(&["lock/pylock.web.toml"]).unwrap();
    assert_eq!(
        pins(&lock, project.root()),
        [
            "alpha 1.0 [] alpha-1.0-py3-none-any.whl alpha-1.0-cp311-cp311-linux_x86_64.whl alpha-1.0.tar.gz 0",
            "delta ? [] directory d 0",
            "gamma 3 [] https://example.com/gamma-3.zip#subdirectory=x 1",
        ]
    );
    assert!(lock.require_hashes);
    let PinSource::Files(files) = &lock.pins[0].source else {
        panic!("{:?}", lock.pins[0])
    };
    assert_eq!(
        files[1].place,
        FilePlace::Path(
            project
                .root()
                .join("w/alpha-1.0-cp311-cp311-linux_x86_64.whl")
        )
    );
    assert_eq!(files[0].hashes, [format!("sha256:{TWO}").parse().unwrap()]);
    assert_eq!(files[2].size, Some(3));
}

#[test]
fn a_file_that_is_not_there_is_told_with_what_is() {
    let project = Project::new(&[("requirements-prod.txt", ""), ("other.txt", "")]);
    let expected = "error: cannot read `none.txt`\n  cause: failed to open file `none.txt`: No such file or directory (os error \
        2)\n  note: names in `[python] requirements` are relative to `ROOT`\n  hint: `requirements-prod.txt` exists there";
    assert_eq!(project.errors(&["none.txt"]), expected);
}

#[test]
fn several_files_are_one_set_and_all_their_errors_are_told() {
    let project = Project::new(&[
        ("a.txt", "x==1\ny>1"),
        ("b.txt", "x==1.0\nz==1\n"),
        ("c.txt", "z==2\n?"),
    ]);
    let lock = project.read(&["b.txt"]).unwrap();
    assert_eq!(lock.pins.len(), 2);
    let messages = |error: &pkgapp_core::error::Error| -> Vec<String> {
        std::iter::once(error)
            .chain(error.others())
            .map(|error| error.message().to_owned())
            .collect()
    };
    let error = project
        .read(&["a.txt", "none.txt", "b.txt", "c.txt"])
        .unwrap_err();
    let root = project.root().display();
    assert_eq!(
        messages(&error),
        [
            "requirement `y>1` is not pinned".to_owned(),
            format!("cannot read `{root}/none.txt`"),
            "`z` is pinned twice: `z==1` and `z==2`".to_owned(),
            "`?` is not a requirement".to_owned(),
        ]
    );
}

/// What pip's own parser makes of a file: requirements, hashes, and the options that reach its
/// finder.
#[test]
fn pip_reads_the_same() {
    const SCRIPT: &str = r#"
import sys, json, os
from pip._internal.req.req_file import parse_requirements
from pip._internal.req.constructors import install_req_from_parsed_requirement
from pip._internal.models.format_control import FormatControl
from pip._internal.models.search_scope import SearchScope
class Finder:
    def __init__(self):
        self.find_links, self.index_urls, self.format_control = [], [], FormatControl()
        self.search_scope = SearchScope.create(find_links=[], index_urls=[], no_index=False)
    def set_allow_all_prereleases(self): pass
root = sys.stdin.read()
os.chdir(root)
class Session:
    def update_index_urls(self, urls): pass
    def add_trusted_host(self, host, source=None): pass
finder = Finder()
pins = []
for parsed in parse_requirements("r.txt", session=Session(), finder=finder):
    req = install_req_from_parsed_requirement(parsed)
    if req.constraint or not req.match_markers(): continue
    version = "?" if not req.req.specifier else next(iter(req.req.specifier)).version
    hashes = sorted(f"{a}:{h}" for a, hs in req.hash_options.items() for h in hs)
    pins.append(f"{req.name.lower()} {version} {sorted(req.extras or req.req.extras)} {hashes}")
control = finder.format_control
print(json.dumps([sorted(pins), sorted(control.only_binary), sorted(control.no_binary)]))
"#;
    let project = Project::new(&[
        (
            "r.txt",
            "six==1.16 --hash=sha256:{ONE} \\\n    # why\n--only-binary=a,:all:,b\nrich[x,y]==1.0; python_version>='3' \\\n --hash=sha256:{ONE} \\\n  --hash \
             sha256:{TWO}\nold==1 ; python_version<'3'\n-r sub/s.txt\n--no-binary :none: --only-binary z\n",
        ),
        (
            "sub/s.txt",
            "-r t.txt\n--no-binary 'six,y'\nw @ https://e.com/w-1-py3-none-any.whl --hash=sha256:{TWO}\n--only-binary :none:\n--only-binary q,six",
        ),
        (
            "sub/t.txt",
            &format!("deep==2.0 --hash=sha512:{}\n", "0f".repeat(64)),
        ),
    ]);
    let Some(output) = python(SCRIPT, project.root().to_str().unwrap().as_bytes()) else {
        return;
    };
    let (theirs, only, no): (Vec<String>, Vec<String>, Vec<String>) =
        serde_json::from_slice(&output).unwrap();
    let ours = project.read(&["r.txt"]).unwrap();
    let mut lines: Vec<String> = ours
        .pins
        .iter()
        .map(|pin| {
            let version = match &pin.source {
                PinSource::Index => pin.version.as_ref().unwrap().to_string(),
                _ => "?".to_owned(),
            };
            let quoted = |items: Vec<String>| {
                format!(
                    "[{}]",
                    items
                        .iter()
                        .map(|one| format!("'{one}'"))
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            };
            let extras = quoted(pin.extras.iter().map(ToString::to_string).collect());
            let mut hashes: Vec<_> = pin.hashes.iter().map(ToString::to_string).collect();
            hashes.sort();
            format!("{} {version} {extras} {}", pin.name, quoted(hashes))
        })
        .collect();
    lines.sort();
    assert_eq!(lines, theirs);
    let names = |names: &NameSet| match names {
        NameSet::None => Vec::new(),
        NameSet::All => vec![":all:".to_owned()],
        NameSet::These(names) => {
            let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
            names.sort();
            names
        }
    };
    assert_eq!(
        (
            names(&ours.indexes.only_binary),
            names(&ours.indexes.no_binary)
        ),
        (only, no)
    );
}

#[test]
fn a_real_file_is_read_whole() {
    // From `uv pip compile --generate-hashes`.
    let text = "\
# This file was autogenerated by uv via the following command:
#    uv pip compile requirements.in --generate-hashes
blinker==1.9.0 \\
    --hash=sha256:b4ce2265a7abece45e7cc896e98dbebe6cead56bcf805a3d23136d145f5445bf \\
    --hash=sha256:ba0efaa9080b619ff2f3459d1d500c57bddea4a6b424b60a91141db6fd2f08bc
    # via flask
click==8.5.1 \\
    --hash=sha256:8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37 \\
    --hash=sha256:9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4
    # via
    #   -r requirements.in
    #   flask
";
    let lock = assert_pins(
        &[("requirements.txt", text)],
        &["blinker 1.9.0 [] index 2", "click 8.5.1 [] index 2"],
    );
    assert!(lock.require_hashes);
    assert_eq!(lock.pins[1].at.position, Some((7, 1)));
}

#[test]
fn an_included_file_is_fetched() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        for (path, body) in [("/a/c.txt", "-c ../d.txt\n"), ("/d.txt", "x==1\n")] {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 4096];
            let length = std::io::Read::read(&mut stream, &mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            assert!(request.starts_with(&format!("GET {path} ")), "{request}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let project = Project::new(&[("r.txt", &format!("-c http://127.0.0.1:{port}/a/c.txt\nx\n"))]);
    let lock = Lock::read_with(
        &[PathBuf::from("r.txt")],
        project.root(),
        &environment(None),
        false,
        &LockSelection::default(),
        &|_| None,
    )
    .unwrap();
    served.join().unwrap();
    assert_eq!(pins(&lock, project.root()), ["x 1 [] index 0"]);
    assert_eq!(
        lock.files[2],
        PathBuf::from(format!("http://127.0.0.1:{port}/d.txt"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_text_panics(text in any::<String>(), pieces in proptest::collection::vec(piece(), 0..12)) {
        for text in [text, pieces.concat()] {
            for name in ["r.txt", "pylock.toml"] {
                let env = environment(None);
                let variable = |_: &str| Some("v".to_owned());
                let selection = LockSelection::default();
                let mut draft = LockDraft::new(Path::new("/nonexistent/root"), &env, true, &selection, &variable);
                let place = text::TextOrigin::Disk(PathBuf::from("/nonexistent/root").join(name));
                draft.read(&TextFile::new(name.into(), place, text.clone()));
                _ = draft.finish().map_err(|error| error.to_string());
            }
        }
    }
}

/// Pieces of requirements files, so that random texts get past the first character.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "a",
        "b==1",
        " ",
        "\n",
        "\\\n",
        "==",
        "1.0",
        "[",
        "]",
        "x",
        ",",
        ";",
        "python_version",
        "<'3'",
        "@",
        "https://",
        "file:",
        "u:p@h/",
        "./",
        "#",
        "sha256=",
        " --hash=",
        "sha256:00",
        "-r ",
        "-c",
        "--no-binary ",
        ":all:",
        "'",
        "\"",
        "é",
        "${V}",
        "${",
        ".whl",
        "a-1-py3-none-any.whl",
        ".tar.gz",
        "git+",
        "\t",
        "\r",
        "(",
        ")",
        "extra",
        "~=",
        "*",
        "-e ",
        "-i ",
        "-f=",
    ];
    prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

#[test]
fn editables_are_built_from_their_trees_and_commits() {
    // As `pip freeze`, `uv export` and people write them.
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let text = format!(
        "-e lib[x] ; python_version >= '3'\n--editable=./old\n-e {{ROOT}}/installed\n-e ./gone ; python_version < '3'\n\
         -e git+https://e.com/r.git@{commit}#egg=repo&subdirectory=sub\n-e hg+ssh://hg@e.com/h@{commit}#egg=merc\n"
    );
    let project = Project::new(&[
        ("r.txt", ""),
        (
            "lib/pyproject.toml",
            "[project]\nname = 'my-lib'\nversion = '1.0'\n",
        ),
        (
            "old/setup.py",
            "from setuptools import setup\nversion = 1\nsetup(\n    version='2', name = \"Old_One\",\n)\n",
        ),
        (
            "installed/setup.py",
            "import setuptools\nsetuptools.setup(name=NAME)\n",
        ),
        (
            "installed/src/There.egg-info/PKG-INFO",
            "Metadata-Version: 2.1\nName: There\nVersion: 3\n",
        ),
    ]);
    let root = project.root().display().to_string();
    std::fs::write(project.root().join("r.txt"), text.replace("{ROOT}", &root)).unwrap();
    assert_eq!(
        pins(&project.read(&["r.txt"]).unwrap(), project.root()),
        [
            format!("merc ? [] hg+ssh://****@e.com/h@{commit}  0"),
            "my-lib 1.0 [x] directory lib 0".to_owned(),
            "old-one ? [] directory old 0".to_owned(),
            format!("repo ? [] git+https://e.com/r.git@{commit} sub 0"),
            "there ? [] directory installed 0".to_owned(),
        ]
    );
}

#[test]
fn a_pylock_may_name_a_mercurial_repository() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let entry = |commit: &str| {
        format!(
            "lock-version = '1.0'\n[[packages]]\nname = 'a'\n\
             vcs = {{ type = 'hg', url = 'https://e.com/a', commit-id = '{commit}', subdirectory = 'sub' }}\n"
        )
    };
    let expected = format!("a ? [] hg+https://e.com/a@{commit} sub 0");
    assert_pins(&[("pylock.toml", &entry(commit))], &[&expected]);
    assert_errors(
        &[("pylock.toml", &entry("default"))],
        "
error: `a` cannot be taken from Mercurial: the full commit ID is missing
  --> pylock.toml:4:7",
    );
}

#[test]
fn eggs_are_pins_by_their_names() {
    assert_pins(
        &[
            (
                "r.txt",
                "./a_b-1.0-py3.11.egg\nother @ ./Other-2.0_r1-py3.11-linux-x86_64.egg\n",
            ),
            ("a_b-1.0-py3.11.egg", ""),
            ("Other-2.0_r1-py3.11-linux-x86_64.egg/EGG-INFO/PKG-INFO", ""),
        ],
        &[
            "a-b 1.0 [] file a_b-1.0-py3.11.egg 0",
            "other 2.0.post1 [] file Other-2.0_r1-py3.11-linux-x86_64.egg 0",
        ],
    );
    assert_errors(
        &[("r.txt", "./a-py3.11.egg\n"), ("a-py3.11.egg", "")],
        "
error: `./a-py3.11.egg` does not end in a valid egg name
  --> r.txt:1:1
  cause: its version is invalid (PEP 440)
  hint: keep the name that the egg was built or downloaded with",
    );
}

#[test]
fn an_editable_install_of_the_application_is_told_apart_and_is_no_pin() {
    let hash = "--hash=sha256:{ONE}";
    let lock = assert_pins(
        &[("r.txt", &format!("-e .[x,y]\na==1 {hash}\n"))],
        &["a 1 [] index 1"],
    );
    let editable = lock.editable.unwrap();
    assert_eq!(
        editable
            .extras
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["x", "y"]
    );
    assert_eq!(
        (editable.shown.as_str(), editable.at.position),
        ("-e .[x,y]", Some((1, 1)))
    );
    let pylock = "lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'a'\n\
                  directory = { path = '.', editable = true }\n";
    assert_eq!(
        assert_pins(&[("pylock.toml", pylock)], &[])
            .editable
            .unwrap()
            .shown,
        "a"
    );
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A project, a library beside it, and what a lock needs of both.
const MEMBERS: &[(&str, &str)] = &[
    ("lib/pyproject.toml", "[project]\nname = 'lib'\n"),
    ("wheels/w-1-py3-none-any.whl", ""),
];

/// A workspace with a library, a wheel, a repository, a second version for Windows, extras and
/// groups.
const UV: &str = r#"version = 1
revision = 3
requires-python = ">=3.9"
resolution-markers = ["sys_platform == 'win32'", "sys_platform != 'win32'"]

[[package]]
name = "app"
version = "1"
source = { editable = "." }
dependencies = [
    { name = "a", version = "1", source = { registry = "https://e.com/simple" }, marker = "sys_platform == 'win32'" },
    { name = "a", version = "2", source = { registry = "https://e.com/simple" }, extra = ["x"], marker = "sys_platform != 'win32'" },
    { name = "lib" },
]

[package.optional-dependencies]
all = [{ name = "app", extra = ["pg"] }]
pg = [{ name = "pg" }]

[package.dev-dependencies]
dev = [{ name = "repo" }]

[[package]]
name = "a"
version = "1"
source = { registry = "https://e.com/simple" }
wheels = [{ url = "https://e.com/a-1-py3-none-any.whl", hash = "sha256:{ONE}", size = 1 }]

[[package]]
name = "a"
version = "2"
source = { registry = "https://e.com/simple" }
sdist = { url = "https://e.com/a-2.tar.gz", hash = "sha256:{TWO}" }
wheels = [{ url = "https://e.com/a-2-py3-none-any.whl", hash = "sha256:{ONE}", size = 1 }]

[package.optional-dependencies]
x = [{ name = "w" }]
y = [{ name = "nowhere-else" }]

[[package]]
name = "lib"
version = "0.1"
source = { editable = "lib" }

[[package]]
name = "nowhere-else"
version = "1"
source = { virtual = "gone" }

[[package]]
name = "pg"
version = "3"
source = { registry = "wheels" }
wheels = [{ path = "pg-3-py3-none-any.whl", hash = "sha256:{ONE}" }]

[[package]]
name = "repo"
version = "1"
source = { git = "https://e.com/repo.git?rev=main&subdirectory=sub#{COMMIT}" }

[[package]]
name = "w"
version = "1"
source = { path = "wheels/w-1-py3-none-any.whl" }
wheels = [{ filename = "w-1-py3-none-any.whl", hash = "sha256:{TWO}" }]
"#;

/// As Poetry 2 writes it.
const POETRY: &str = r#"# This file is automatically @generated by Poetry 2.1.0 and should not be changed by hand.

[[package]]
name = "A"
version = "2"
optional = false
python-versions = ">=3.9"
groups = ["main", "dev"]
markers = {main = "sys_platform == \"linux\"", dev = "sys_platform == \"win32\""}
files = [{file = "a-2-py3-none-any.whl", hash = "sha256:{ONE}"}, {file = "a-2.tar.gz", hash = "sha256:{TWO}"}]

[[package]]
name = "a"
version = "1"
optional = false
python-versions = ">=3.9"
groups = ["main"]
markers = "sys_platform == \"win32\""
files = [{file = "a-1-py3-none-any.whl", hash = "sha256:{ONE}"}]

[[package]]
name = "lib"
version = "0.1"
optional = false
python-versions = "*"
groups = ["main"]
files = []
develop = true

[package.source]
type = "directory"
url = "lib"

[[package]]
name = "pg"
version = "3"
optional = true
python-versions = "*"
groups = ["main"]
markers = "extra == \"pg\""
files = [{file = "pg-3-py3-none-any.whl", hash = "sha256:{ONE}"}]

[package.source]
type = "legacy"
url = "https://e.com/simple"
reference = "e"

[[package]]
name = "repo"
version = "1"
optional = false
python-versions = "*"
groups = ["dev"]
files = []

[package.source]
type = "git"
url = "https://e.com/repo.git"
reference = "main"
resolved_reference = "{COMMIT}"
subdirectory = "sub"

[extras]
pg = ["pg"]

[metadata]
lock-version = "2.1"
python-versions = ">=3.9,<4.0"
content-hash = "00"
"#;

/// As Poetry 1 wrote it: a graph, whose beginning is [`POETRY_1_PROJECT`].
const POETRY_1: &str = r#"[[package]]
name = "a"
version = "1"
category = "main"
optional = false
python-versions = "*"

[[package]]
name = "a"
version = "2"
category = "main"
optional = false
python-versions = ">=3.9"

[package.dependencies]
b = {version = "^1.0", markers = "extra == \"x\"", optional = true}
c = {version = "*", python = "<3.8"}

[package.extras]
x = ["b (>=1,<2)"]

[[package]]
name = "b"
version = "1.5"
category = "main"
optional = true
python-versions = "*"

[[package]]
name = "c"
version = "1"
category = "main"
optional = false
python-versions = "*"

[[package]]
name = "pg"
version = "3"
category = "main"
optional = true
python-versions = "*"

[[package]]
name = "tool"
version = "1"
category = "dev"
optional = false
python-versions = "*"

[extras]
pg = ["pg"]

[metadata]
lock-version = "1.1"
python-versions = "^3.9"
content-hash = "00"

[metadata.files]
a = [{file = "a-2.tar.gz", hash = "sha256:{ONE}"}]
b = [{file = "b-1.5.tar.gz", hash = "sha256:{ONE}"}]
c = [{file = "c-1.tar.gz", hash = "sha256:{ONE}"}]
pg = [{file = "pg-3.tar.gz", hash = "sha256:{ONE}"}]
tool = [{file = "tool-1.tar.gz", hash = "sha256:{ONE}"}]
"#;

const POETRY_1_PROJECT: &str = r#"[tool.poetry.dependencies]
python = "^3.9"
a = [{version = "^1", platform = "win32"}, {version = "^2", platform = "linux", extras = ["x"]}]
pg = {version = "*", optional = true}
[tool.poetry.extras]
pg = ["pg"]
[tool.poetry.dev-dependencies]
tool = "*"
"#;

const PIPFILE: &str = r#"{
    "_meta": {
        "pipfile-spec": 6,
        "requires": {"python_version": "3.11"},
        "sources": [{"name": "pypi", "url": "https://pypi.org/simple", "verify_ssl": true},
                    {"name": "own", "url": "https://me:${TOKEN}@e.com/simple", "verify_ssl": true}]
    },
    "default": {
        "a": {"hashes": ["sha256:{ONE}", "sha256:{TWO}"], "version": "==2", "extras": ["x"],
              "markers": "sys_platform == 'linux'", "index": "own"},
        "app": {"editable": true, "path": "."},
        "lib": {"path": "lib"},
        "older": {"version": "==1", "markers": "python_version not in '3.10, 3.11, 3.12'"},
        "win": {"version": "==1", "sys_platform": "== 'win32'"}
    },
    "develop": {
        "repo": {"git": "https://e.com/repo.git", "ref": "{COMMIT}", "subdirectory": "sub"}
    }
}
"#;

/// As PDM writes it with `inherit_metadata`.
const PDM: &str = r#"# This file is @generated by PDM.
[metadata]
groups = ["default", "dev", "pg"]
strategy = ["inherit_metadata"]
lock_version = "4.5.0"
content_hash = "sha256:00"

[[metadata.targets]]
requires_python = ">=3.9"

[[package]]
name = "a"
version = "2"
groups = ["default"]
marker = "sys_platform == \"linux\""
files = [{file = "a-2-py3-none-any.whl", hash = "sha256:{ONE}"}, {file = "a-2.tar.gz", hash = "sha256:{TWO}"}]

[[package]]
name = "a"
version = "2"
extras = ["x"]
groups = ["default"]
dependencies = ["a==2", "w"]
files = [{file = "a-2-py3-none-any.whl", hash = "sha256:{ONE}"}, {file = "a-2.tar.gz", hash = "sha256:{TWO}"}]

[[package]]
name = "lib"
version = "0.1"
path = "./lib"
editable = true
groups = ["default"]

[[package]]
name = "pg"
version = "3"
groups = ["pg"]
files = [{url = "https://e.com/pg-3-py3-none-any.whl", hash = "sha256:{ONE}"}]

[[package]]
name = "repo"
version = "1"
groups = ["dev"]
git = "https://e.com/repo.git"
ref = "main"
revision = "{COMMIT}"
subdirectory = "sub"
"#;

/// As PDM wrote it, a graph.
const PDM_OLD: &str = r#"[metadata]
lock_version = "4.3"

[[package]]
name = "a"
version = "2"
dependencies = ["c; sys_platform == 'win32'"]
files = [{file = "a-2.tar.gz", hash = "sha256:{ONE}"}]

[[package]]
name = "a"
version = "2"
extras = ["x"]
dependencies = ["a==2", "b<2"]
files = [{file = "a-2.tar.gz", hash = "sha256:{ONE}"}]

[[package]]
name = "b"
version = "1.5"
files = [{file = "b-1.5.tar.gz", hash = "sha256:{ONE}"}]

[[package]]
name = "c"
version = "1"
files = [{file = "c-1.tar.gz", hash = "sha256:{ONE}"}]

[[package]]
name = "tool"
version = "1"
files = [{file = "tool-1.tar.gz", hash = "sha256:{ONE}"}]
"#;

const BUILDOUT: &str = "\
[buildout]
extends = versions.cfg
parts = web
develop = .
    lib
versions = versions
eggs-of-web =
    a [x]
    # not this one
    lib

[web]
recipe = zc.recipe.egg
eggs = ${buildout:eggs-of-web}

[versions]
a = 2
";

const VERSIONS: &str = "[versions]\n# pins\na = 1\nb=1.5\n\nzc.buildout =\n  3.0\nold =\n";

fn filled(text: &str) -> String {
    text.replace("{COMMIT}", COMMIT)
}

/// Reads a lock with files beside it; `selected` is `extra=…` and `group=…`.
#[track_caller]
fn selected(files: &[(&str, &str)], selected: &str) -> Vec<String> {
    let mut project = Project::new(&[files, MEMBERS].concat());
    for (key, value) in selected
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
    {
        let at = Location::file("pkgapp.toml");
        match key {
            "group" => project.1.groups.push((value.parse().unwrap(), at)),
            _ => project.1.extras.push((value.parse().unwrap(), at)),
        }
    }
    let lock = project
        .read(&[files[0].0])
        .unwrap_or_else(|error| panic!("{error}"));
    pins(&lock, project.root())
}

const REPO: &str = "git+https://e.com/repo.git@0123456789abcdef0123456789abcdef01234567 sub";

/// What resolvers write where a newer version of `s` needs a newer patch release of the same
/// Python.
const FORKED: &[(&str, &str)] = &[
    (
        "requirements.txt",
        "s==1 ; python_full_version < '3.11.5'\ns==2 ; python_full_version >= '3.11.5'\n\
      t==1 ; python_full_version >= '3.11.4'\n",
    ),
    (
        "pylock.toml",
        r#"
lock-version = "1.0"
created-by = "hand"
[[packages]]
name = "s"
version = "1"
marker = "python_full_version < '3.11.5'"
wheels = [{ url = "https://e.com/s-1-py3-none-any.whl", hashes = { sha256 = "{ONE}" } }]
[[packages]]
name = "s"
version = "2"
marker = "python_full_version >= '3.11.5'"
wheels = [{ url = "https://e.com/s-2-py3-none-any.whl", hashes = { sha256 = "{ONE}" } }]
[[packages]]
name = "t"
version = "1"
marker = "python_full_version >= '3.11.4'"
wheels = [{ url = "https://e.com/t-1-py3-none-any.whl", hashes = { sha256 = "{ONE}" } }]
"#,
    ),
    (
        "uv.lock",
        r#"version = 1
revision = 3
requires-python = ">=3.11"
resolution-markers = ["python_full_version >= '3.11.5'", "python_full_version < '3.11.5'"]
[[package]]
name = "app"
version = "1"
source = { editable = "." }
dependencies = [
    { name = "s", version = "1", source = { registry = "https://e.com/simple" }, marker = "python_full_version < '3.11.5'" },
    { name = "s", version = "2", source = { registry = "https://e.com/simple" }, marker = "python_full_version >= '3.11.5'" },
    { name = "t", marker = "python_full_version >= '3.11.4'" },
]
[[package]]
name = "s"
version = "1"
source = { registry = "https://e.com/simple" }
resolution-markers = ["python_full_version < '3.11.5'"]
wheels = [{ url = "https://e.com/s-1-py3-none-any.whl", hash = "sha256:{ONE}", size = 1 }]
[[package]]
name = "s"
version = "2"
source = { registry = "https://e.com/simple" }
resolution-markers = ["python_full_version >= '3.11.5'"]
wheels = [{ url = "https://e.com/s-2-py3-none-any.whl", hash = "sha256:{ONE}", size = 1 }]
[[package]]
name = "t"
version = "1"
source = { registry = "https://e.com/simple" }
wheels = [{ url = "https://e.com/t-1-py3-none-any.whl", hash = "sha256:{ONE}", size = 1 }]
"#,
    ),
];

#[test]
fn a_fork_by_patch_releases_is_decided_for_the_oldest_one() {
    for (name, text) in FORKED {
        let project = Project::new(&[
            (name, text),
            ("pyproject.toml", "[project]\nname = 'app'\n"),
        ]);
        let versions = |env: &Environment| -> Vec<String> {
            let files = [PathBuf::from(name)];
            let lock = Lock::read_with(
                &files,
                project.root(),
                env,
                true,
                &LockSelection::default(),
                &|_| None,
            )
            .unwrap();
            lock.pins
                .iter()
                .map(|pin| format!("{}=={}", pin.name, pin.version.as_ref().unwrap()))
                .collect()
        };
        let mut env = environment(None);
        // What some hosts need and others do not, ships as before.
        assert_eq!(versions(&env), ["s==1", "t==1"], "{name}, of unknown hosts");
        env.add_host("new", "3.11.9");
        assert_eq!(versions(&env), ["s==2", "t==1"], "{name}, of new hosts");
        env.add_host("old", "3.11.2");
        assert_eq!(
            versions(&env),
            ["s==1", "t==1"],
            "{name}, of old and new hosts"
        );
        assert_eq!(
            versions(&environment(Some("3.11.5"))),
            ["s==2", "t==1"],
            "{name}, of the one that ships"
        );
    }
}

#[test]
fn a_uv_lock_is_walked_for_the_environment() {
    let lock = filled(UV);
    let files = [("uv.lock", lock.as_str())];
    let always = [
        "a 2 [x] a-2-py3-none-any.whl a-2.tar.gz 0",
        "lib ? [] directory lib 0",
    ];
    let wheel = "w 1 [] file wheels/w-1-py3-none-any.whl 1";
    assert_eq!(selected(&files, ""), [always[0], always[1], wheel]);
    let repo = format!("repo 1 [] {REPO} 0");
    assert_eq!(
        selected(&files, "extra=all group=dev"),
        [
            always[0],
            always[1],
            "pg 3 [] pg-3-py3-none-any.whl 0",
            &repo,
            wheel
        ]
    );
}

#[test]
fn a_poetry_lock_ships_its_main_group() {
    let lock = filled(POETRY);
    let files = [("poetry.lock", lock.as_str())];
    let always = ["a 2 [] index 2", "lib ? [] directory lib 0"];
    assert_eq!(selected(&files, ""), always);
    let repo = format!("repo ? [] {REPO} 0");
    let repo = repo.replace('?', "1");
    assert_eq!(
        selected(&files, "extra=pg group=dev"),
        [always[0], always[1], "pg 3 [] index 1", &repo]
    );
}

#[test]
fn an_old_poetry_lock_is_walked_from_the_project() {
    let files = [
        ("poetry.lock", POETRY_1),
        ("pyproject.toml", POETRY_1_PROJECT),
    ];
    assert_eq!(
        selected(&files, ""),
        ["a 2 [x] index 1", "b 1.5 [] index 1"]
    );
    assert_eq!(
        selected(&files, "extra=pg group=dev"),
        [
            "a 2 [x] index 1",
            "b 1.5 [] index 1",
            "pg 3 [] index 1",
            "tool 1 [] index 1"
        ]
    );
    let project = Project::new(&[files[0]]);
    assert!(
        project
            .errors(&["poetry.lock"])
            .starts_with("error: `poetry.lock` has no pyproject.toml beside it")
    );
}

#[test]
fn a_pipfile_lock_ships_its_default_packages() {
    let lock = filled(PIPFILE);
    let files = [("Pipfile.lock", lock.as_str())];
    let always = ["a 2 [x] index 2", "lib ? [] directory lib 0"];
    assert_eq!(selected(&files, ""), always);
    assert_eq!(
        selected(&files, "group=develop"),
        [always[0], always[1], &format!("repo ? [] {REPO} 0")]
    );
    let project = Project::new(&[&files[..], MEMBERS].concat());
    let read = project.read(&["Pipfile.lock"]).unwrap();
    // The second source is for what names it; and its password is no secret to the index.
    assert_eq!(read.indexes.extra, []);
    let own = |name: &str| {
        let places = read.indexes.places(&name.parse().unwrap());
        places
            .iter()
            .map(|place| read.indexes.url(place).unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(own("a"), ["https://me:1.s3cret@e.com/simple"]);
    assert_eq!(own("other"), ["https://pypi.org/simple"]);
    assert!(read.editable.is_some());
}

/// Where `name` is looked for by locks that name several indexes.
fn looked_for(files: &[(&str, &str)], name: &str) -> Vec<String> {
    let read = Project::new(files).read(&[files[0].0]).unwrap();
    let places = read.indexes.places(&name.parse().unwrap());
    places
        .iter()
        .map(|place| read.indexes.url(place).unwrap().to_string())
        .collect()
}

#[test]
fn a_pipfile_lock_says_where_packages_come_from() {
    let lock = r#"{"_meta": {"pipfile-spec": 6, "sources": [
        {"name": "mirror", "url": "https://mirror.example/simple"}, {"name": "own", "url": "https://own.example/simple"}]},
        "default": {"a": {"version": "==1", "index": "own"}, "b": {"version": "==1", "index": "mirror"}, "c": {"version": "==1"},
                    "d": {"version": "==1", "index": "https://old.example/simple"}}}"#;
    let files = [("Pipfile.lock", lock)];
    assert_eq!(looked_for(&files, "a"), ["https://own.example/simple"]);
    // The first one is in PyPI's place: nothing is looked for there.
    assert_eq!(looked_for(&files, "b"), ["https://mirror.example/simple"]);
    assert_eq!(looked_for(&files, "c"), ["https://mirror.example/simple"]);
    assert_eq!(looked_for(&files, "d"), ["https://old.example/simple"]);
    let all = ("Pipfile", "[pipenv]\ninstall_search_all_sources = true\n");
    let everywhere = [
        "https://mirror.example/simple",
        "https://own.example/simple",
        "https://pypi.org/simple",
    ];
    assert_eq!(looked_for(&[files[0], all], "c"), everywhere);
    let project = Project::new(&[(
        "Pipfile.lock",
        &lock.replace("\"index\": \"own\"", "\"index\": \"gone\""),
    )]);
    assert_eq!(
        project.errors(&["Pipfile.lock"]),
        "error: `a` comes from the index `gone`, which the lock does not define\n  --> Pipfile.lock:3:55\n  \
         note: the lock defines `mirror`, `own`\n  hint: run `pipenv lock`"
    );
}

#[test]
fn sources_of_pdm_are_for_what_they_include() {
    let sources = "[[tool.pdm.source]]\nname = \"pypi\"\nurl = \"https://mirror.example/simple\"\n[[tool.pdm.source]]\nname = \
                   \"own\"\nurl = \"https://own.example/simple\"\ninclude_packages = [\"lib\", \"Our_*\"]\n[[tool.pdm.source]]\n\
                   name = \"more\"\nurl = \"https://more.example/simple\"\n";
    let package = |name: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\ngroups = [\"default\"]\n")
    };
    let lock = [
        "[metadata]\nlock_version = \"4.5.0\"\n",
        &package("lib"),
        &package("our-a"),
        &package("x"),
    ]
    .concat();
    let files = [("pdm.lock", lock.as_str()), ("pyproject.toml", sources)];
    assert_eq!(looked_for(&files, "our-a"), ["https://own.example/simple"]);
    assert_eq!(looked_for(&files, "lib"), ["https://own.example/simple"]);
    assert_eq!(
        looked_for(&files, "x"),
        [
            "https://more.example/simple",
            "https://mirror.example/simple"
        ]
    );
}

#[test]
fn a_pdm_lock_ships_its_default_group() {
    let lock = filled(PDM);
    let files = [("pdm.lock", lock.as_str())];
    let always = ["a 2 [x] index 2", "lib ? [] directory lib 0"];
    assert_eq!(selected(&files, ""), always);
    let more = [
        "pg 3 [] pg-3-py3-none-any.whl 0".to_owned(),
        format!("repo 1 [] {REPO} 0"),
    ];
    assert_eq!(
        selected(&files, "extra=pg group=dev"),
        [always[0], always[1], &more[0], &more[1]]
    );
}

#[test]
fn what_pdm_exports_is_a_requirements_file() {
    assert_pins(
        &[(
            "r.txt",
            "# This file is @generated by PDM.\n# Please do not edit it manually.\n\na==1\n",
        )],
        &["a 1 [] index 0"],
    );
}

#[test]
fn an_old_pdm_lock_is_walked_from_the_project() {
    let project =
        "[project]\ndependencies = ['a[x]>=1']\n[tool.pdm.dev-dependencies]\ndev = ['tool']\n";
    let files = [("pdm.lock", PDM_OLD), ("pyproject.toml", project)];
    assert_eq!(
        selected(&files, ""),
        ["a 2 [x] index 1", "b 1.5 [] index 1"]
    );
    assert_eq!(
        selected(&files, "group=dev"),
        ["a 2 [x] index 1", "b 1.5 [] index 1", "tool 1 [] index 1"]
    );
}

#[test]
fn buildouts_versions_are_offered_and_the_eggs_of_chosen_parts_ship() {
    let files = [
        ("buildout.cfg", BUILDOUT),
        ("versions.cfg", VERSIONS),
        ("pyproject.toml", "[project]\nname = 'app'\n"),
    ];
    assert_eq!(selected(&files, ""), Vec::<String>::new());
    assert_eq!(
        selected(&files, "group=web"),
        ["a 2 [x] index 0", "lib ? [] directory lib 0"]
    );
    let project = Project::new(&files);
    let lock = project.read(&["buildout.cfg"]).unwrap();
    let offered: Vec<_> = lock
        .offered
        .iter()
        .map(|pin| format!("{} {}", pin.name, pin.version.clone().unwrap()))
        .collect();
    assert_eq!(offered, ["a 2", "b 1.5", "zc-buildout 3.0"]);
    assert_eq!(
        lock.offered[1].at.to_string(),
        format!("{}/versions.cfg:4:1", project.root().display())
    );
}

/// References, bases, and files that double the work with every level end with an error.
#[test]
fn a_buildout_does_not_take_forever() {
    let laughs: String = (0..20)
        .map(|number| format!("a{number} = ${{x:a{0}}}${{x:a{0}}}\n", number + 1))
        .collect();
    for (text, message) in [
        (
            format!("[buildout]\nfind-links = ${{x:a0}}\n[x]\n{laughs}a20 = y\n"),
            "needs too many other options",
        ),
        (
            "[buildout]\n<= buildout buildout buildout\n".to_owned(),
            "needs too many other options",
        ),
        (
            "[buildout]\nextends = buildout.cfg buildout.cfg\n".to_owned(),
            "extends too many files",
        ),
    ] {
        let project = Project::new(&[("buildout.cfg", &text)]);
        let error = project.read(&["buildout.cfg"]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    let mut files: Vec<(String, String)> = (0..40)
        .map(|number| {
            let next = number + 1;
            let text = format!("[buildout]\nextends = f{next}.cfg f{next}.cfg\n");
            (format!("f{number}.cfg"), text)
        })
        .collect();
    files.truncate(25);
    files.push(("f25.cfg".to_owned(), "[versions]\na = 1\n".to_owned()));
    let mut requirements: Vec<(String, String)> = (0..25)
        .map(|number| {
            (
                format!("r{number}.txt"),
                format!("-r r{0}.txt\n-r r{0}.txt\n", number + 1),
            )
        })
        .collect();
    requirements.push(("r25.txt".to_owned(), "a==1\n".to_owned()));
    for (files, first) in [(files, "f0.cfg"), (requirements, "r0.txt")] {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let error = Project::new(&files).read(&[first]).unwrap_err().to_string();
        assert!(
            error.contains("more than 1000 files are included"),
            "{error}"
        );
    }
}

#[test]
fn constraints_of_the_configuration_pin_what_requirements_leave_open() {
    let mut project = Project::new(&[("r.txt", "a[x]\nb<2\n"), ("c.txt", "a==1\nb==1.5\nc==3\n")]);
    project.1.constraints = vec!["c.txt".into()];
    let lock = project.read(&["r.txt"]).unwrap();
    assert_eq!(
        pins(&lock, project.root()),
        ["a 1 [x] index 0", "b 1.5 [] index 0"]
    );
    assert_eq!(lock.offered.len(), 1);
}

#[test]
fn groups_that_no_lock_has_are_refused() {
    let mut project = Project::new(&[("uv.lock", &filled(UV)), MEMBERS[0], MEMBERS[1]]);
    let at = Location {
        file: "pkgapp.toml".into(),
        position: Some((4, 11)),
    };
    project.1.groups.push(("test".parse().unwrap(), at.clone()));
    project.1.extras.push(("my".parse().unwrap(), at));
    assert_eq!(
        project.errors(&["uv.lock"]),
        "error: no lock has the group `test`\n  --> pkgapp.toml:4:11\n  hint: known groups: `dev`\n\
         error: no lock has the extra `my`\n  --> pkgapp.toml:4:11\n  hint: known extras: `all`, `pg`"
    );
}

#[test]
fn git_is_given_only_addresses_and_commits() {
    for (url, commit, below, good) in [
        ("https://e.com/r.git", COMMIT, None, true),
        ("git+ssh://git@e.com/r.git", COMMIT, Some("a/b"), true),
        ("git@e.com:r.git", COMMIT, None, true),
        ("https://e.com/r.git", "main", None, false),
        ("https://e.com/r.git", COMMIT, Some("../x"), false),
        ("ext::sh -c true", COMMIT, None, false),
        ("--upload-pack=x@y:z", COMMIT, None, false),
        ("/home/me/r", COMMIT, None, false),
        ("https://u:p@e.com/r.git", COMMIT, None, true),
        // ssh would be told to log in as `u:p`, in its arguments.
        ("ssh://u:p@e.com/r.git", COMMIT, None, false),
        ("git://u:p@e.com/r.git", COMMIT, None, false),
        ("ssh://git@e.com:22/r.git", COMMIT, None, true),
    ] {
        assert_eq!(
            GitSource::new(url, commit, below).is_ok(),
            good,
            "{url} {commit} {below:?}"
        );
    }
}

/// Whole locks with one place changed: never a panic, and every error has a place.
#[test]
fn broken_locks_are_told_with_their_place() {
    let locks = [
        ("uv.lock", UV),
        ("poetry.lock", POETRY),
        ("poetry.lock", POETRY_1),
        ("Pipfile.lock", PIPFILE),
        ("pdm.lock", PDM),
        ("pdm.lock", PDM_OLD),
        ("buildout.cfg", BUILDOUT),
        ("versions.cfg", VERSIONS),
    ];
    let words = [
        "",
        "\"",
        "\n",
        "[",
        "]",
        "{",
        "}",
        "=",
        "0",
        "é",
        "name",
        "${buildout:x}",
        "==",
        "\n[[package]]\n",
        "@",
    ];
    let change = (
        0..locks.len(),
        any::<proptest::sample::Index>(),
        0..9usize,
        proptest::sample::select(words.to_vec()),
    );
    let env = environment(None);
    let mut selection = LockSelection::default();
    let here = Location::file("pkgapp.toml");
    selection.groups = vec![
        ("dev".parse().unwrap(), here.clone()),
        ("web".parse().unwrap(), here.clone()),
    ];
    selection.extras = vec![("pg".parse().unwrap(), here)];
    let directory = Project::new(&[("pyproject.toml", POETRY_1_PROJECT)]);
    proptest!(ProptestConfig::with_cases(1500), |((which, place, cut, word) in change)| {
        let (name, text) = locks[which];
        let text = filled(text).replace("{ONE}", ONE).replace("{TWO}", TWO);
        let mut start = place.index(text.len());
        while !text.is_char_boundary(start) { start -= 1; }
        let mut end = (start + cut).min(text.len());
        while !text.is_char_boundary(end) { end -= 1; }
        let text = format!("{}{word}{}", &text[..start], &text[end.max(start)..]);
        let variable = |_: &str| Some("v".to_owned());
        let mut draft = LockDraft::new(directory.root(), &env, true, &selection, &variable);
        let place = text::TextOrigin::Disk(directory.root().join(name));
        draft.read(&TextFile::new(name.into(), place, text));
        if let Err(error) = draft.finish() {
            for one in std::iter::once(&error).chain(error.others()) {
                prop_assert!(one.location().is_some(), "{}", one);
            }
        }
    });
}

/// Returns the hashes of a pin's files, in order.
fn hashes_of(pin: &Pin) -> String {
    let files = if let PinSource::Files(files) = &pin.source {
        &files[..]
    } else {
        &[]
    };
    let hashes = pin
        .hashes
        .iter()
        .chain(files.iter().flat_map(|file| &file.hashes));
    hashes
        .map(ToString::to_string)
        .collect::<std::collections::BTreeSet<_>>()
        .iter()
        .fold(String::new(), |all, hash| all + " " + hash)
}

/// Locks of real projects beside what their own tools export from them, for one selection each. By
/// hand, because they are other people's files: every directory of `PKGAPP_REAL_LOCKS` has a lock,
/// maybe its pyproject.toml, a file `selection` (`group=dev extra=pg`) and the tool's export:
/// `expected.txt`, or `constraints.txt`.
#[test]
#[ignore = "needs PKGAPP_REAL_LOCKS=DIRECTORY"]
fn real_locks_give_what_their_own_tools_export() {
    let all = std::env::var_os("PKGAPP_REAL_LOCKS").expect("PKGAPP_REAL_LOCKS names a directory");
    let mut wrong = Vec::new();
    for case in std::fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let mut selection = LockSelection::default();
        let words = std::fs::read_to_string(case.join("selection")).unwrap_or_default();
        for (key, value) in words
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
        {
            let at = Location::file("selection");
            match key {
                "group" => selection.groups.push((value.parse().unwrap(), at)),
                _ => selection.extras.push((value.parse().unwrap(), at)),
            }
        }
        let names = [
            "uv.lock",
            "poetry.lock",
            "pdm.lock",
            "Pipfile.lock",
            "buildout.cfg",
        ];
        let name = names.iter().find(|name| case.join(name).exists()).unwrap();
        // Of a tool that was asked for hashes: all of them, and nothing else, may be in a file.
        let with_hashes = std::fs::read_to_string(case.join("expected.txt"))
            .is_ok_and(|text| text.contains("--hash="));
        let read = |name: &str, selection: &LockSelection| {
            let files: Vec<PathBuf> = Some(name)
                .filter(|name| !name.is_empty())
                .map(PathBuf::from)
                .into_iter()
                .collect();
            Lock::read_with(&files, &case, &environment(None), true, selection, &|_| {
                None
            })
            .map(|lock| {
                // A buildout's `[versions]` and constraints pin what others require.
                let pins = lock
                    .pins
                    .iter()
                    .chain(&lock.offered)
                    .map(|pin| match &pin.version {
                        Some(version)
                            if matches!(pin.source, PinSource::Index | PinSource::Files(_)) =>
                        {
                            format!(
                                "{}=={version}{}",
                                pin.name,
                                if with_hashes {
                                    hashes_of(pin)
                                } else {
                                    String::new()
                                }
                            )
                        }
                        _ => pin.name.to_string(),
                    });
                pins.collect::<std::collections::BTreeSet<_>>()
            })
        };
        let label = case.file_name().unwrap().to_string_lossy().into_owned();
        let theirs = if case.join("constraints.txt").exists() {
            read(
                "",
                &LockSelection {
                    constraints: vec!["constraints.txt".into()],
                    ..LockSelection::default()
                },
            )
        } else {
            read("expected.txt", &LockSelection::default())
        };
        match (read(name, &selection), theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {
                std::io::stderr()
                    .write_all(format!("{label}: {} pins\n", ours.len()).as_bytes())
                    .unwrap();
            }
            (Ok(ours), Ok(theirs)) => wrong.push(format!(
                "{label}: only ours {:?}, only theirs {:?}",
                ours.difference(&theirs).collect::<Vec<_>>(),
                theirs.difference(&ours).collect::<Vec<_>>()
            )),
            (ours, theirs) => wrong.push(format!("{label}: {:?} {:?}", ours.err(), theirs.err())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
