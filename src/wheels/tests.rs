use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::choice::yanked_warning;
use super::testing::{Answer, Request, Server, WheelMaker, sha256_hex};
use super::*;
use pkgapp_core::commit::Epoch;
use pkgapp_core::error::Location;
use pkgapp_core::name::{Arch, PythonMinor};
use pkgapp_lock::index::PlaceId;
use pkgapp_lock::{FilePlace, Lock, LockedFile, NameSet, PinSource};

const HTML: &str = "text/html";
const JSON: &str = "application/vnd.pypi.simple.v1+json";
const WHEEL: &str = "application/octet-stream";
const FILE: &str = "demo-1.0-py3-none-any.whl";

/// A cache and everything needed to fetch into it.
struct Bench {
    cache: Cache,
    _root: tempfile::TempDir,
    environment: Environment,
    lock: Lock,
    options: FetchOptions<'static>,
}

static RULES: LinkageRules = LinkageRules {
    constraints: None,
    debug: false,
    libraries: BTreeMap::new(),
    record_gaps: Vec::new(),
    python_libraries: None,
};

impl Bench {
    fn new(index: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(&root.path().join("cache")).unwrap();
        let environment = environment((2, 28));
        let mut lock = Lock {
            pins: vec![pin("demo", "1.0")],
            ..Lock::default()
        };
        lock.indexes.index = Some(format!("{index}/simple").parse().unwrap());
        let options = FetchOptions {
            offline: false,
            jobs: 4,
            epoch: Epoch::Known(1_700_000_000),
            rules: &RULES,
        };
        Self {
            cache,
            _root: root,
            environment,
            lock,
            options,
        }
    }

    /// Uses the Python of this machine, which builds.
    fn building(mut self) -> Self {
        self.environment = Environment::new(this_python(), None, Arch::X86_64, (2, 28)).unwrap();
        self
    }

    fn fetch(&self) -> Result<Vec<Wheel>> {
        fetch(
            &self.lock,
            &self.environment,
            &self.cache,
            &self.options,
            &|_, _| Ok(()),
            &Report::silent(),
        )
    }

    fn fetch_offline(&self) -> Result<Vec<Wheel>> {
        let options = FetchOptions {
            offline: true,
            ..self.options
        };
        fetch(
            &self.lock,
            &self.environment,
            &self.cache,
            &options,
            &|_, _| Ok(()),
            &Report::silent(),
        )
    }

    #[track_caller]
    fn error(&self) -> String {
        self.fetch().expect_err("it should fail").to_string()
    }

    fn hashed(mut self, hashes: &[String]) -> Self {
        self.lock.pins[0].hashes = hashes
            .iter()
            .map(|hash| format!("sha256:{hash}").parse().unwrap())
            .collect();
        self.lock.require_hashes = true;
        self
    }
}

fn environment(glibc: (u16, u16)) -> Environment {
    Environment::new(
        PythonMinor {
            major: 3,
            minor: 11,
        },
        Some("3.11.2"),
        Arch::X86_64,
        glibc,
    )
    .unwrap()
}

fn pin(name: &str, version: &str) -> Pin {
    Pin {
        name: name.parse().unwrap(),
        version: Some(version.parse().unwrap()),
        extras: Vec::new(),
        source: PinSource::Index,
        hashes: Vec::new(),
        at: Location {
            file: "/x/requirements.txt".into(),
            position: Some((1, 1)),
        },
    }
}

fn demo() -> Vec<u8> {
    WheelMaker::new("demo", "1.0").bytes()
}

/// Returns an index with one page, and files below `/files/`.
fn index(
    kind: &'static str,
    page: impl Into<String>,
    files: Vec<(&'static str, Vec<u8>)>,
) -> Server {
    let page = page.into();
    Server::start(move |request, _| answer(request, kind, &page, &files))
}

fn answer(request: &Request, kind: &str, page: &str, files: &[(&'static str, Vec<u8>)]) -> Answer {
    if request.path == "/simple/demo/" {
        return Answer::ok(kind, page);
    }
    let file = request
        .path
        .strip_prefix("/files/")
        .and_then(|name| files.iter().find(|(known, _)| *known == name));
    file.map_or_else(
        || Answer::status("404 Not Found"),
        |(_, content)| Answer::ok(WHEEL, content.clone()),
    )
}

fn anchor(file: &str, attributes: &str) -> String {
    format!("<a href=\"/files/{file}\" {attributes}>{file}</a>\n")
}

fn published(bench: &Bench, content: &[u8], file: &str) -> PathBuf {
    bench.cache.wheels().join(sha256_hex(content)).join(file)
}

#[test]
fn a_page_in_html_gives_a_wheel_in_the_cache() {
    let server = index(HTML, anchor(FILE, ""), vec![(FILE, demo())]);
    let bench = Bench::new(&server.url);
    let wheels = bench.fetch().unwrap();
    assert_eq!(wheels.len(), 1);
    assert_eq!(wheels[0].path, published(&bench, &demo(), FILE));
    assert_eq!(std::fs::read(&wheels[0].path).unwrap(), demo());
    assert_eq!(wheels[0].from, format!("{}/files/{FILE}", server.url));
    assert_eq!(wheels[0].metadata.version.to_string(), "1.0");
    assert!(wheels[0].built_from.is_none());
    // No temporary file remains.
    assert!(
        bench.cache.unfinished().is_empty(),
        "{:?}",
        bench.cache.unfinished()
    );
}

#[test]
fn a_second_fetch_asks_no_one_and_an_offline_one_finds_the_same() {
    for hashed in [false, true] {
        let server = index(HTML, anchor(FILE, ""), vec![(FILE, demo())]);
        let mut bench = Bench::new(&server.url);
        if hashed {
            bench = bench.hashed(&[sha256_hex(&demo()), "0".repeat(64)]);
        }
        let first = bench.fetch().unwrap();
        let asked = server.asked();
        assert_eq!(asked, ["/simple/demo/", "/files/demo-1.0-py3-none-any.whl"]);
        let again = bench.fetch().unwrap();
        let offline = bench.fetch_offline().unwrap();
        assert_eq!(server.asked(), asked);
        for wheel in [&again[0], &offline[0]] {
            assert_eq!((&wheel.path, &wheel.from), (&first[0].path, &first[0].from));
        }
    }
}

#[test]
fn a_file_with_the_only_accepted_hash_needs_no_index() {
    let server = index(HTML, anchor(FILE, ""), vec![(FILE, demo())]);
    let bench = Bench::new(&server.url).hashed(&[sha256_hex(&demo())]);
    let from = bench.fetch().unwrap()[0].from.clone();
    // Another question (another glibc) with the same file as its answer.
    let other = Bench {
        environment: environment((2, 17)),
        ..bench
    };
    let asked = server.asked().len();
    assert_eq!(other.fetch().unwrap()[0].from, from);
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn offline_without_a_cache_says_so() {
    let bench = Bench::new("http://127.0.0.1:9");
    assert_eq!(
        bench.fetch_offline().unwrap_err().to_string(),
        "error: cannot read the index `http://127.0.0.1:9/simple`\n  --> /x/requirements.txt:1:1\n  \
         cause: the network is not used with `--offline`\n  note: it is needed for `demo==1.0`
  hint: run it once without `--offline`"
    );
}

#[test]
fn a_page_in_json_is_chosen_from_as_pip_does() {
    let good = WheelMaker::new("demo", "1.0");
    let wheel = |tags: &str| {
        good.clone().with(
            "demo-1.0.dist-info/WHEEL",
            format!("Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n").as_bytes(),
        )
    };
    let native = wheel("cp311-cp311-manylinux_2_17_x86_64").bytes();
    let newer = wheel("cp311-cp311-manylinux_2_28_x86_64").bytes();
    let names = [
        "demo-1.0-py3-none-any.whl",
        "demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "demo-1.0-2-cp311-cp311-manylinux_2_17_x86_64.whl",
        "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        "demo-1.0.tar.gz",
    ];
    let page = |except: &[&str]| {
        let files: Vec<serde_json::Value> = names
            .iter()
            .filter(|name| !except.contains(name))
            .map(|name| serde_json::json!({"filename": name, "url": format!("/files/{name}"), "hashes": {}}))
            .collect();
        serde_json::json!({"meta": {"api-version": "1.0"}, "name": "demo", "files": files})
            .to_string()
    };
    let files = || {
        vec![
            (names[0], demo()),
            (names[1], native.clone()),
            (names[2], newer.clone()),
            (names[3], native.clone()),
        ]
    };
    let chosen = |glibc, except: &[&str]| {
        let server = index(JSON, page(except), files());
        let bench = Bench {
            environment: environment(glibc),
            ..Bench::new(&server.url)
        };
        let wheels = bench.fetch().unwrap();
        wheels[0]
            .path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(chosen((2, 28), &[]), names[2]);
    assert_eq!(chosen((2, 17), &[]), names[3], "the higher build tag");
    assert_eq!(chosen((2, 17), &[names[3]]), names[1]);
    assert_eq!(chosen((2, 12), &[]), names[0]);
}

#[test]
fn a_yanked_file_is_taken_only_if_there_is_no_other() {
    let other = WheelMaker::new("demo", "1.0")
        .with("demo/x.py", b"x = 1\n")
        .bytes();
    const OLD: &str = "demo-1.0-py2.py3-none-any.whl";
    let yanked = anchor(FILE, "data-yanked=\"broken metadata\"");
    let both = format!("{yanked}{}", anchor(OLD, ""));
    let server = index(HTML, both, vec![(FILE, demo()), (OLD, other)]);
    let wheels = Bench::new(&server.url).fetch().unwrap();
    assert_eq!(wheels[0].path.file_name().unwrap(), OLD);
    let server = index(HTML, yanked, vec![(FILE, demo())]);
    let wheels = Bench::new(&server.url).fetch().unwrap();
    assert_eq!(wheels[0].path.file_name().unwrap(), FILE);
    assert_eq!(
        yanked_warning(&pin("demo", "1.0"), FILE, "broken metadata"),
        "`demo-1.0-py3-none-any.whl` was yanked by its maintainers (broken metadata), but is used because \
         /x/requirements.txt:1:1 pins it exactly"
    );
}

#[test]
fn what_does_not_fit_is_listed_with_the_reason() {
    let hash = "a".repeat(64);
    let page = [
        anchor("demo-1.0-cp310-cp310-manylinux_2_17_x86_64.whl", ""),
        anchor("demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", ""),
        anchor("demo-1.0-cp311-cp311d-manylinux_2_17_x86_64.whl", ""),
        anchor("demo-1.0-cp311-cp311-manylinux_2_34_x86_64.whl", ""),
        anchor("demo-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", ""),
        anchor("demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", ""),
        anchor("demo-1.0-cp311-cp311-macosx_11_0_arm64.whl", ""),
        anchor(
            "demo-1.0-py3-none-any.whl",
            "data-requires-python=\"&gt;=3.12\"",
        ),
        anchor("demo-1.0.tar.bz2", ""),
    ];
    let server = index(HTML, page.concat(), Vec::new());
    assert_eq!(
        Bench::new(&server.url).error(),
        "error: no file of `demo 1.0` is compatible with CPython 3.11 on x86_64 with glibc 2.28
  --> /x/requirements.txt:1:1
  note: these files exist
    `demo-1.0-cp310-cp310-manylinux_2_17_x86_64.whl` is for ABI `cp310`
    `demo-1.0-cp311-cp311-macosx_11_0_arm64.whl` is for `macosx_11_0_arm64`
    `demo-1.0-cp311-cp311-manylinux_2_17_aarch64.whl` is for `manylinux_2_17_aarch64`
    `demo-1.0-cp311-cp311-manylinux_2_34_x86_64.whl` needs glibc 2.34
    `demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl` is for `musllinux_1_2_x86_64`
    `demo-1.0-cp311-cp311d-manylinux_2_17_x86_64.whl` is for ABI `cp311d`
    `demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl` is for Python tag `cp312`
    `demo-1.0-py3-none-any.whl` needs Python >=3.12
    `demo-1.0.tar.bz2` is a `.tar.bz2`, which pkgapp does not support
  hint: build only for targets with glibc 2.34 or newer"
    );
    let page = anchor(&format!("{FILE}#sha256={hash}"), "");
    let page = format!("{page}{}", anchor("demo-1.0.tar.gz", ""));
    let server = index(HTML, page, Vec::new());
    let mut bench = Bench::new(&server.url).hashed(&["b".repeat(64)]);
    bench.lock.indexes.only_binary = NameSet::All;
    assert_eq!(
        bench.error(),
        format!(
            "error: no file of `demo 1.0` is compatible with CPython 3.11 on x86_64 with glibc 2.28
  --> /x/requirements.txt:1:1
  note: these files exist
    `demo-1.0-py3-none-any.whl` has the hash sha256:{hash}, which the lock does not accept
    `demo-1.0.tar.gz` is excluded by `--only-binary`
  hint: if you trust `demo-1.0-py3-none-any.whl`, add `--hash=sha256:{hash}` to the pin"
        )
    );
}

#[test]
fn a_version_that_is_missing_shows_its_neighbours() {
    let versions = ["0.7", "0.8", "0.9", "0.9.5", "1.1", "1.2", "1.3", "1.4"];
    let page: String = versions
        .iter()
        .map(|version| anchor(&format!("demo-{version}-py3-none-any.whl"), ""))
        .collect();
    let server = index(HTML, page, Vec::new());
    let mut bench = Bench::new(&server.url);
    bench.lock.pins.push(pin("other", "2"));
    assert_eq!(
        bench.error(),
        format!(
            "error: `demo 1.0` does not exist
  --> /x/requirements.txt:1:1
  note: searched `{url}/simple`
  note: nearby versions: 0.8, 0.9, 0.9.5, 1.1, 1.2, 1.3
error: `other 2` was not found
  --> /x/requirements.txt:1:1
  note: searched `{url}/simple`
  hint: check the spelling of `other`; if it is in a private index, add that with `--extra-index-url`",
            url = server.url
        )
    );
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let content = WheelMaker::new("demo", "1.0")
        .with("demo/data", &noise(200_000))
        .bytes();
    let whole = content.clone();
    let server = Server::start(move |request, earlier| {
        if request.path == "/simple/demo/" {
            return Answer::ok(HTML, anchor(FILE, ""));
        }
        let from = request.headers.get("range").map_or(0, |range| {
            range
                .strip_prefix("bytes=")
                .unwrap()
                .strip_suffix('-')
                .unwrap()
                .parse()
                .unwrap()
        });
        let mut answer = Answer::ok(WHEEL, &whole[from..]);
        answer.headers.push(("etag", "\"one\"".to_owned()));
        if from > 0 {
            answer.status = "206 Partial Content";
            answer.headers.push((
                "content-range",
                format!("bytes {from}-{}/{}", whole.len() - 1, whole.len()),
            ));
        }
        answer.broken_after = (earlier < 2).then_some(70_000);
        answer
    });
    let bench = Bench::new(&server.url);
    let wheels = bench.fetch().unwrap();
    assert_eq!(std::fs::read(&wheels[0].path).unwrap(), content);
    let files: Vec<Request> = server
        .requests()
        .into_iter()
        .filter(|request| request.path != "/simple/demo/")
        .collect();
    let header = |name: &str| {
        files
            .iter()
            .map(|request| request.headers.get(name).cloned())
            .collect::<Vec<_>>()
    };
    assert_eq!(files.len(), 3, "{files:?}");
    assert_eq!(header("range")[0], None);
    assert!(
        header("range")[1..].iter().all(Option::is_some),
        "{files:?}"
    );
    assert_eq!(header("if-range")[1].as_deref(), Some("\"one\""));
}

#[test]
fn a_server_that_starts_anew_is_followed() {
    let content = WheelMaker::new("demo", "1.0")
        .with("demo/data", &noise(200_000))
        .bytes();
    let whole = content.clone();
    let server = Server::start(move |request, earlier| {
        if request.path == "/simple/demo/" {
            return Answer::ok(HTML, anchor(FILE, ""));
        }
        let mut answer = Answer::ok(WHEEL, whole.clone());
        answer.broken_after = (earlier == 0).then_some(70_000);
        answer
    });
    let bench = Bench::new(&server.url);
    let wheels = bench.fetch().unwrap();
    assert_eq!(std::fs::read(&wheels[0].path).unwrap(), content);
}

#[test]
fn a_connection_that_breaks_for_ever_is_given_up() {
    let server = Server::start(|request, _| {
        if request.path == "/simple/demo/" {
            return Answer::ok(HTML, anchor(FILE, ""));
        }
        Answer {
            broken_after: Some(0),
            ..Answer::ok(WHEEL, demo())
        }
    });
    let error = Bench::new(&server.url).error();
    assert!(
        error.starts_with(&format!(
            "error: cannot download `{}/files/{FILE}`\n",
            server.url
        )),
        "{error}"
    );
    assert!(
        error.ends_with("note: the connection broke 5 times at byte 0"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let server = Server::start(|request, earlier| match request.path.as_str() {
        _ if earlier == 0 => Answer::status("503 Service Unavailable"),
        "/simple/demo/" => Answer::ok(HTML, anchor(FILE, "")),
        _ => Answer::ok(WHEEL, demo()),
    });
    assert_eq!(Bench::new(&server.url).fetch().unwrap().len(), 1);
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn a_page_that_breaks_off_is_asked_for_again() {
    let server = Server::start(|request, earlier| match request.path.as_str() {
        "/simple/demo/" => Answer {
            broken_after: (earlier == 0).then_some(20),
            ..Answer::ok(HTML, anchor(FILE, ""))
        },
        _ => Answer::ok(WHEEL, demo()),
    });
    assert_eq!(Bench::new(&server.url).fetch().unwrap().len(), 1);
    assert_eq!(
        server.asked(),
        [
            "/simple/demo/",
            "/simple/demo/",
            "/files/demo-1.0-py3-none-any.whl"
        ]
    );
}

#[test]
fn a_page_is_kept_as_long_as_its_server_says_and_then_asked_for_by_its_validator() {
    let server = Server::start(|request, _| {
        let (name, control) = match request.path.as_str() {
            "/simple/lasting/" => ("lasting", "max-age=600"),
            "/simple/secret/" => ("secret", "no-store"),
            _ => ("passing", "max-age=0"),
        };
        let mut answer = Answer::ok(HTML, format!("<a href='{name}-1.0-py3-none-any.whl'>x</a>"));
        if request
            .headers
            .get("if-none-match")
            .is_some_and(|etag| etag == "\"one\"")
        {
            answer = Answer::status("304 Not Modified");
        }
        answer.headers.extend([
            ("etag", "\"one\"".to_owned()),
            ("cache-control", control.to_owned()),
        ]);
        answer
    });
    let bench = Bench::new(&server.url);
    let asked = |name: &str, offline: bool| {
        let client = index::IndexClient::new(&bench.lock.indexes, &bench.cache, offline).unwrap();
        client
            .offers(&PlaceId::Default, &name.parse().unwrap())
            .map(|offers| offers.len())
    };
    for name in ["lasting", "passing", "secret"] {
        for _ in 0..2 {
            assert_eq!(asked(name, false).unwrap(), 1, "{name}");
        }
    }
    let requests = server.requests();
    let validators = |name: &str| {
        let of_name = requests
            .iter()
            .filter(|request| request.path == format!("/simple/{name}/"));
        of_name
            .map(|request| request.headers.contains_key("if-none-match"))
            .collect::<Vec<_>>()
    };
    assert_eq!(validators("lasting"), [false]);
    assert_eq!(validators("passing"), [false, true]);
    assert_eq!(validators("secret"), [false, false]);
    // Without the network, a page of any age is accepted.
    assert_eq!(asked("lasting", true).unwrap(), 1);
    assert_eq!(asked("passing", true).unwrap(), 1);
    assert!(
        asked("secret", true)
            .unwrap_err()
            .to_string()
            .contains("--offline")
    );
    assert_eq!(server.asked().len(), requests.len());
}

#[test]
fn a_redirect_takes_no_credentials_to_another_server() {
    let other = Server::start(|request, _| {
        assert!(
            !request.headers.contains_key("authorization"),
            "{request:?}"
        );
        Answer::ok(HTML, anchor(FILE, ""))
    });
    let elsewhere = other.url.clone();
    let server = Server::start(move |request, _| {
        if !request.headers.contains_key("authorization") {
            return Answer::status("401 Unauthorized");
        }
        let mut answer = Answer::status("302 Found");
        let to = if request.path == "/moved/demo/" {
            elsewhere.clone() + "/simple/demo/"
        } else {
            "/moved/demo/".into()
        };
        answer.headers.push(("location", to));
        answer
    });
    let mut bench = Bench::new(&server.url);
    bench.lock.indexes.index = Some(
        format!("{}/simple", server.url.replace("//", "//user:secret@"))
            .parse()
            .unwrap(),
    );
    let client = index::IndexClient::new(&bench.lock.indexes, &bench.cache, false).unwrap();
    let offers = client
        .offers(&PlaceId::Default, &"demo".parse().unwrap())
        .unwrap();
    assert!(offers[0].url.as_str().starts_with(&other.url), "{offers:?}");
    assert_eq!(server.asked(), ["/simple/demo/", "/moved/demo/"]);
    assert_eq!(other.asked(), ["/simple/demo/"]);
}

#[test]
fn another_file_than_announced_is_refused() {
    let good = sha256_hex(&demo());
    let bad = WheelMaker::new("demo", "1.0")
        .with("demo/evil.py", b"")
        .bytes();
    let files = || vec![(FILE, bad.clone())];
    let got = sha256_hex(&bad);
    let announced = index(HTML, anchor(&format!("{FILE}#sha256={good}"), ""), files());
    let bench = Bench::new(&announced.url);
    let url = format!("{}/files/{FILE}", announced.url);
    assert_eq!(
        bench.error(),
        format!(
            "error: `{FILE}` from `{url}` does not match the hash in the index\n  --> /x/requirements.txt:1:1\n  \
             note: the index states\n    sha256:{good}\n  note: it has sha256:{got}"
        )
    );
    assert!(
        !bench.cache.wheels().exists()
            || std::fs::read_dir(bench.cache.wheels()).unwrap().count() == 0
    );
    let bench = Bench::new(&announced.url).hashed(std::slice::from_ref(&good));
    assert_eq!(
        bench.error(),
        format!(
            "error: `{FILE}` from `{url}` has no hash that the lock accepts\n  --> /x/requirements.txt:1:1\n  \
             note: accepted hashes are\n    sha256:{good}\n  note: it has sha256:{got}"
        )
    );
}

#[test]
fn a_wheel_that_is_refused_never_enters_the_cache() {
    let evil = WheelMaker::new("demo", "1.0").with("../evil", b"").bytes();
    let server = index(HTML, anchor(FILE, ""), vec![(FILE, evil)]);
    let bench = Bench::new(&server.url);
    assert_eq!(
        bench.error(),
        format!(
            "error: wheel `{FILE}` is refused: `../evil` points outside the archive\n  --> /x/requirements.txt:1:1"
        )
    );
    assert!(
        !bench.cache.wheels().exists()
            || std::fs::read_dir(bench.cache.wheels()).unwrap().count() == 0
    );
}

#[test]
fn credentials_reach_the_server_and_nothing_else() {
    let server = Server::start(|request, _| {
        // base64 of `user:secret`
        let known = request
            .headers
            .get("authorization")
            .is_some_and(|value| value == "Basic dXNlcjpzZWNyZXQ=");
        match request.path.as_str() {
            _ if !known => Answer::status("401 Unauthorized"),
            "/simple/demo/" => Answer::ok(HTML, anchor(FILE, "")),
            "/simple/other/" => Answer::status("403 Forbidden"),
            _ => Answer::ok(WHEEL, demo()),
        }
    });
    let mut bench = Bench::new(&server.url);
    bench.lock.indexes.index = Some(
        format!("{}/simple", server.url.replace("//", "//user:secret@"))
            .parse()
            .unwrap(),
    );
    let wheels = bench.fetch().unwrap();
    assert_eq!(wheels[0].from, format!("{}/files/{FILE}", server.url));
    bench.lock.pins = vec![pin("other", "1")];
    let error = bench.error();
    assert!(!error.contains("secret"), "{error}");
    assert!(error.contains("403"), "{error}");
    for entry in walkdir::WalkDir::new(bench.cache.pins()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            assert!(
                !std::fs::read_to_string(entry.path())
                    .unwrap()
                    .contains("secret")
            );
        }
    }
}

#[test]
fn an_index_away_is_reported_once() {
    let mut bench = Bench::new("http://user:secret@127.0.0.1:9");
    bench.lock.pins.push(pin("other", "1"));
    let error = bench.error();
    assert_eq!(
        error
            .matches("cannot read the index `http://127.0.0.1:9/simple`")
            .count(),
        1,
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn the_first_place_with_a_file_that_fits_decides() {
    let theirs = WheelMaker::new("demo", "1.0")
        .with("demo/theirs.py", b"")
        .bytes();
    let public = index(
        HTML,
        anchor("demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", ""),
        vec![(FILE, theirs)],
    );
    let private = index(HTML, anchor(FILE, ""), vec![(FILE, demo())]);
    let mut bench = Bench::new(&public.url);
    bench
        .lock
        .indexes
        .extra
        .push(format!("{}/simple", private.url).parse().unwrap());
    assert_eq!(
        bench.fetch().unwrap()[0].from,
        format!("{}/files/{FILE}", private.url)
    );
    assert!(public.asked().is_empty());
}

#[test]
fn find_links_is_a_directory_or_a_page() {
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join(FILE), demo()).unwrap();
    let mut bench = Bench::new("http://127.0.0.1:9").hashed(&[sha256_hex(&demo())]);
    bench.lock.indexes.no_index = true;
    bench.lock.indexes.find_links = vec![url::Url::from_directory_path(here.path()).unwrap()];
    let wheels = bench.fetch().unwrap();
    assert_eq!(
        (wheels[0].from.as_str(), &wheels[0].path),
        (FILE, &published(&bench, &demo(), FILE))
    );
    // Without hashes, the directory is read each time: it may have another file of the same name.
    let mut bench = Bench::new("http://127.0.0.1:9");
    bench.lock.indexes.find_links = vec![url::Url::from_directory_path(here.path()).unwrap()];
    bench.fetch().unwrap();
    let newer = WheelMaker::new("demo", "1.0")
        .with("demo/new.py", b"")
        .bytes();
    std::fs::write(here.path().join(FILE), &newer).unwrap();
    assert_eq!(
        bench.fetch().unwrap()[0].path,
        published(&bench, &newer, FILE)
    );
    let server = Server::start(|request, _| match request.path.as_str() {
        "/links.html" => Answer::ok(HTML, anchor(FILE, "")),
        _ => Answer::ok(WHEEL, demo()),
    });
    let mut bench = Bench::new("http://127.0.0.1:9");
    bench.lock.indexes.no_index = true;
    bench.lock.indexes.find_links = vec![format!("{}/links.html", server.url).parse().unwrap()];
    assert_eq!(
        bench.fetch().unwrap()[0].from,
        format!("{}/files/{FILE}", server.url)
    );
}

#[test]
fn direct_urls_and_files_are_taken_as_they_are() {
    let server = index(
        HTML,
        "",
        vec![
            (
                "demo-1.0%2Bcpu-py3-none-any.whl",
                WheelMaker::new("demo", "1.0+cpu").bytes(),
            ),
            (FILE, demo()),
        ],
    );
    let direct = |path: &str| {
        let mut bench = Bench::new("http://127.0.0.1:9");
        bench.lock.pins[0].source =
            PinSource::Url(format!("{}/files/{path}", server.url).parse().unwrap());
        bench
    };
    let wheels = direct("demo-1.0%2Bcpu-py3-none-any.whl").fetch().unwrap();
    assert_eq!(wheels[0].filename.version.to_string(), "1.0+cpu");
    assert_eq!(
        wheels[0].path.file_name().unwrap(),
        "demo-1.0+cpu-py3-none-any.whl"
    );
    let error = direct(&format!("{FILE}#sha256={}", "0".repeat(64))).error();
    assert!(
        error.contains("has no hash that the lock accepts"),
        "{error}"
    );
    assert_eq!(
        direct("other-1.0-py3-none-any.whl").error(),
        "error: `other-1.0-py3-none-any.whl` is a wheel of `other`, not of `demo`\n  --> /x/requirements.txt:1:1"
    );
    assert_eq!(
        direct("demo-2.0-py3-none-any.whl").error(),
        "error: `demo-2.0-py3-none-any.whl` is version 2.0, but `demo 1.0` is pinned\n  --> /x/requirements.txt:1:1"
    );
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join(FILE);
    std::fs::write(&path, demo()).unwrap();
    let mut bench = Bench::new("http://127.0.0.1:9").hashed(&[sha256_hex(&demo())]);
    bench.lock.pins[0].source = PinSource::File(path);
    assert_eq!(bench.fetch_offline().unwrap()[0].from, FILE);
}

#[test]
fn a_locked_file_must_have_its_own_hash() {
    let server = index(HTML, "", vec![(FILE, demo())]);
    let with_hash = |hash: &str| {
        let mut bench = Bench::new("http://127.0.0.1:9");
        bench.lock.require_hashes = true;
        bench.lock.pins[0].source = PinSource::Files(vec![LockedFile {
            name: FILE.to_owned(),
            place: FilePlace::Url(format!("{}/files/{FILE}", server.url).parse().unwrap()),
            hashes: vec![format!("sha256:{hash}").parse().unwrap()],
            size: Some(demo().len() as u64),
        }]);
        bench
    };
    let bench = with_hash(&sha256_hex(&demo()));
    assert_eq!(
        bench.fetch().unwrap()[0].path,
        published(&bench, &demo(), FILE)
    );
    let asked = server.asked().len();
    bench.fetch_offline().unwrap();
    assert_eq!(server.asked().len(), asked);
    let error = with_hash(&"0".repeat(64)).error();
    assert!(
        error.contains("has no hash that the lock accepts"),
        "{error}"
    );
}

#[test]
fn builds_at_the_same_time_share_a_cache() {
    let content = WheelMaker::new("demo", "1.0")
        .with("demo/data", &noise(500_000))
        .bytes();
    let server = index(HTML, anchor(FILE, ""), vec![(FILE, content.clone())]);
    let bench = Bench::new(&server.url);
    let results = pkgapp_core::parallel::map(&[0; 8], 8, |_| {
        bench
            .fetch()
            .map(|wheels| std::fs::read(&wheels[0].path).unwrap())
    });
    for result in results {
        assert_eq!(result.unwrap(), content);
    }
    assert_eq!(std::fs::read_dir(bench.cache.wheels()).unwrap().count(), 1);
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A build backend that needs only the standard library (PEP 517, in-tree).
const BACKEND: &str = r#"
import base64, hashlib, os, sys, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    if os.path.exists("fail"):
        print("this backend has its reasons", file=sys.stderr)
        raise SystemExit("no wheel today")
    name = open("tag").read().strip() if os.path.exists("tag") else "py3-none-any"
    files = {
        "demo/__init__.py": open("demo.py", "rb").read(),
        "demo/built.txt": "\n".join(
            [os.environ["SOURCE_DATE_EPOCH"], os.environ["PYTHONHASHSEED"], os.environ["TZ"], os.environ["LC_ALL"],
             str(os.access("tool.sh", os.X_OK)), str(sorted(os.listdir("."))), os.environ["CFLAGS"].split("=")[0]]
        ).encode(),
        "demo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "demo-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {name}\n".encode(),
    }
    record = "".join(
        f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(c).digest()).rstrip(b'=').decode()},{len(c)}\n"
        for n, c in files.items()
    ) + "demo-1.0.dist-info/RECORD,,\n"
    wheel = f"demo-1.0-{name}.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for n, c in [*files.items(), ("demo-1.0.dist-info/RECORD", record.encode())]:
            z.writestr(n, c)
    return wheel
"#;
const PROJECT: &str =
    "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";

fn project(directory: &Path) {
    std::fs::write(directory.join("pyproject.toml"), PROJECT).unwrap();
    std::fs::write(directory.join("backend.py"), BACKEND).unwrap();
    std::fs::write(directory.join("demo.py"), "x = 1\n").unwrap();
    std::fs::write(directory.join("tool.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(
        directory.join("tool.sh"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
}

/// Returns the Python that builds wheels in these tests.
fn this_python() -> PythonMinor {
    pkgapp_testing::python().minor.parse().unwrap()
}

/// Returns whether wheels can be built; a skipped test prints a message.
fn can_build() -> bool {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    pkgapp_core::process::find("uv").is_some()
        || pkgapp_core::interpreter::Interpreter::with_pip(&cache, this_python()).is_ok()
        || pkgapp_testing::module(&pkgapp_testing::python().path, "pip")
}

fn tar_gz(files: &[(&str, u32, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        // `set_path` refuses names like those of hostile archives.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, path, target).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn build_from(sdist: Vec<u8>) -> (Bench, Server) {
    let server = index(
        HTML,
        anchor("demo-1.0.tar.gz", ""),
        vec![("demo-1.0.tar.gz", sdist)],
    );
    (Bench::new(&server.url).building(), server)
}

fn member(wheel: &Wheel, name: &str) -> String {
    let mut archive = archive::WheelArchive::open(&wheel.path, &wheel.filename).unwrap();
    let mut text = String::new();
    archive
        .for_each_file(|member, reader| {
            if member.path.as_str() == name {
                reader.read_to_string(&mut text).unwrap();
            }
            Ok(())
        })
        .unwrap();
    text
}

#[test]
fn an_sdist_becomes_a_wheel_once() {
    if !can_build() {
        return;
    }
    let sdist = tar_gz(
        &[
            ("demo-1.0/pyproject.toml", 0o644, PROJECT.as_bytes()),
            ("demo-1.0/backend.py", 0o644, BACKEND.as_bytes()),
            ("demo-1.0/demo.py", 0o644, b"x = 1\n"),
            ("demo-1.0/tool.sh", 0o755, b"#!/bin/sh\n"),
        ],
        &[("demo-1.0/link.py", "demo.py")],
    );
    let (bench, server) = build_from(sdist.clone());
    let wheels = bench.fetch().unwrap();
    assert_eq!(
        wheels[0].from,
        format!("built from {}/files/demo-1.0.tar.gz", server.url)
    );
    assert!(wheels[0].built_from.is_some());
    assert!(wheels[0].path.starts_with(bench.cache.built()));
    assert_eq!(
        member(&wheels[0], "demo/built.txt"),
        "1700000000\n0\nUTC\nC.UTF-8\nTrue\n['backend.py', 'demo.py', 'link.py', 'pyproject.toml', 'tool.sh']\n\
         -ffile-prefix-map"
    );
    let bytes = std::fs::read(&wheels[0].path).unwrap();
    let modified = || {
        std::fs::metadata(&wheels[0].path)
            .unwrap()
            .modified()
            .unwrap()
    };
    let first = modified();
    bench.fetch_offline().unwrap();
    assert_eq!(modified(), first, "it was built again");
    // With another cache at another time, the bytes are the same.
    let (again, _server) = build_from(sdist);
    assert_eq!(
        std::fs::read(&again.fetch().unwrap()[0].path).unwrap(),
        bytes
    );
    assert!(
        bench.cache.unfinished().is_empty(),
        "{:?}",
        bench.cache.unfinished()
    );
}

#[test]
fn a_hostile_sdist_is_refused() {
    if !can_build() {
        return;
    }
    let refusal = |sdist: Vec<u8>| {
        let error = build_from(sdist).0.error();
        let lines: Vec<&str> = error
            .lines()
            .filter(|line| line.contains("cause: "))
            .collect();
        lines.join("\n").replace("  cause: ", "")
    };
    let file = ("demo-1.0/pyproject.toml", 0o644, PROJECT.as_bytes());
    let prefix = "sdist `demo-1.0.tar.gz` is refused\n";
    assert_eq!(
        refusal(tar_gz(&[file, ("../evil", 0o644, b"")], &[])),
        format!("{prefix}`../evil` points outside the archive")
    );
    assert_eq!(
        refusal(tar_gz(&[file, ("/evil", 0o644, b"")], &[])),
        format!("{prefix}`/evil` has an absolute name")
    );
    assert_eq!(
        refusal(tar_gz(&[file], &[("demo-1.0/link", "/etc/passwd")])),
        format!("{prefix}`demo-1.0/link` is a link to `/etc/passwd`, outside the archive")
    );
    assert_eq!(
        refusal(tar_gz(&[file], &[("demo-1.0/link", "../../x")])),
        format!("{prefix}`demo-1.0/link` is a link to `../../x`, outside the archive")
    );
    assert_eq!(
        refusal(tar_gz(
            &[file],
            &[("demo-1.0/a", "."), ("demo-1.0/a/b", "x")]
        )),
        format!("{prefix}`demo-1.0/a/b` is below the link `demo-1.0/a`")
    );
    assert_eq!(
        refusal(tar_gz(&[file, ("other/x", 0o644, b"")], &[])),
        format!("{prefix}it has 2 top directories, but an sdist has one")
    );
}

#[test]
fn a_build_that_fails_shows_what_it_said() {
    if !can_build() {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    project(here.path());
    std::fs::write(here.path().join("fail"), "").unwrap();
    let mut bench = Bench::new("http://127.0.0.1:9").building();
    bench.lock.pins[0].source = PinSource::Directory(here.path().to_owned());
    let error = bench.error();
    let first = format!(
        "error: cannot build a wheel of `{}`\n  --> /x/requirements.txt:1:1\n",
        here.path().display()
    );
    assert!(error.starts_with(&first), "{error}");
    assert!(error.contains("this backend has its reasons"), "{error}");
}

#[test]
fn a_build_that_fails_tells_where_there_are_wheels() {
    if !can_build() {
        return;
    }
    let sdist = tar_gz(
        &[
            ("demo-1.0/pyproject.toml", 0o644, PROJECT.as_bytes()),
            ("demo-1.0/backend.py", 0o644, BACKEND.as_bytes()),
            ("demo-1.0/fail", 0o644, b""),
        ],
        &[],
    );
    let others = this_python().minor;
    let (below, above) = (others - 1, others + 1);
    let wheel = |version: &str, minor: u8| {
        format!("demo-{version}-cp3{minor}-cp3{minor}-manylinux_2_17_x86_64.whl")
    };
    let names = [
        "demo-1.0.tar.gz".to_owned(),
        wheel("1.0", below),
        wheel("1.0", above),
        // No machine like this one can use it.
        format!("demo-1.0-cp3{others}-cp3{others}-win_amd64.whl"),
        wheel("1.1", below),
        wheel("1.2", others),
        wheel("2.0", others),
    ];
    let page: String = names.iter().map(|name| anchor(name, "")).collect();
    let server = index(HTML, page, vec![("demo-1.0.tar.gz", sdist.clone())]);
    let error = Bench::new(&server.url).building().error();
    let python = format!(
        "`demo 1.0` has wheels for Python 3.{below} and 3.{above}, but not for 3.{others}: set \
         `version = \"3.{below}\"` in `[python]`"
    );
    assert!(
        error.contains("this backend has its reasons") && error.contains(&python),
        "{error}"
    );
    let newer = format!("pin `demo==1.2`, the next version with a wheel for Python 3.{others}");
    assert!(error.contains(&newer), "{error}");

    // A lock lists its wheels itself; newer versions are unknown if the index is unavailable.
    let mut bench = Bench::new("http://127.0.0.1:9").building();
    let file = |name: &String| LockedFile {
        name: name.clone(),
        place: FilePlace::Url(format!("{}/files/{name}", server.url).parse().unwrap()),
        hashes: Vec::new(),
        size: None,
    };
    bench.lock.pins[0].source = PinSource::Files(names[..4].iter().map(file).collect());
    let error = bench.error();
    assert!(
        error.contains(&python) && !error.contains("the next version"),
        "{error}"
    );

    // Another Python is not a solution if the lock does not support it.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pylock.toml");
    std::fs::write(&path, format!("requires-python = '>=3.{others}'\n")).unwrap();
    bench.lock.files = vec![path];
    let error = bench.error();
    assert!(
        error.contains(&format!("`version = \"3.{above}\"`")),
        "{error}"
    );

    let (bench, _server) = build_from(sdist);
    let error = bench.error();
    assert!(
        !error.contains("has wheels for") && !error.contains("the next version"),
        "{error}"
    );
}

#[test]
fn what_leads_nowhere_is_no_reason_not_to_build() {
    if !can_build() {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    project(here.path());
    for (name, target) in [
        ("away.py", "../../gone/away.py"),
        ("absolute.py", "/nonexistent/x.py"),
        ("inside.py", "gone.py"),
    ] {
        std::os::unix::fs::symlink(target, here.path().join(name)).unwrap();
    }
    let bench = Bench::new("http://127.0.0.1:9").building();
    let build = || {
        let (indexes, report) = (Indexes::default(), Report::silent());
        application(
            here.path(),
            &indexes,
            &bench.environment,
            &bench.cache,
            &bench.options,
            &report,
        )
        .unwrap()
    };
    let first = build();
    assert!(member(&first, "demo/built.txt").contains("'absolute.py', 'away.py'"));
    // Another link target makes another source.
    std::fs::remove_file(here.path().join("away.py")).unwrap();
    std::os::unix::fs::symlink("../../lost/away.py", here.path().join("away.py")).unwrap();
    assert_ne!(build().path, first.path);
}

#[test]
fn a_wheel_for_another_platform_is_not_taken_from_a_build() {
    if !can_build() {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    project(here.path());
    std::fs::write(here.path().join("tag"), "cp38-cp38-linux_x86_64").unwrap();
    let mut bench = Bench::new("http://127.0.0.1:9").building();
    bench.lock.pins[0].source = PinSource::Directory(here.path().to_owned());
    let error = bench.error();
    let python = this_python();
    assert!(
        error.contains(&format!(
            "`demo-1.0-cp38-cp38-linux_x86_64.whl` is not compatible with CPython {python} on x86_64"
        )),
        "{error}"
    );
    let tag = format!("cp3{0}-cp3{0}-linux_x86_64", python.minor);
    std::fs::write(here.path().join("tag"), &tag).unwrap();
    assert_eq!(
        *bench.fetch().unwrap()[0].path.file_name().unwrap(),
        *format!("demo-1.0-{tag}.whl")
    );
}

#[test]
fn the_application_is_built_from_a_copy_and_again_when_it_changes() {
    if !can_build() {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    project(here.path());
    std::fs::create_dir_all(here.path().join("build")).unwrap();
    std::fs::write(here.path().join("build/left.txt"), "x").unwrap();
    let before = listing(here.path());
    let bench = Bench::new("http://127.0.0.1:9").building();
    let build = || {
        let indexes = Indexes::default();
        application(
            here.path(),
            &indexes,
            &bench.environment,
            &bench.cache,
            &bench.options,
            &Report::silent(),
        )
        .unwrap()
    };
    let first = build();
    assert_eq!(listing(here.path()), before);
    assert_eq!(first.pin.as_ref().map(|pin| pin.name.to_string()), None);
    assert!(
        !member(&first, "demo/built.txt").contains("build'"),
        "the copy holds what builds leave"
    );
    assert_eq!(build().path, first.path);
    std::fs::write(here.path().join("build/left.txt"), "y").unwrap();
    assert_eq!(build().path, first.path, "what builds leave is no source");
    std::fs::write(here.path().join("demo.py"), "x = 2\n").unwrap();
    let second = build();
    assert_ne!(second.path, first.path);
    assert_eq!(member(&second, "demo/__init__.py"), "x = 2\n");
    std::fs::set_permissions(
        here.path().join("tool.sh"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_ne!(build().path, second.path);
}

#[test]
fn git_says_what_the_source_is() {
    let (Some(program), true) = (pkgapp_testing::tool("git"), can_build()) else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    project(here.path());
    let git = |arguments: &[&str]| {
        pkgapp_core::process::run(
            std::process::Command::new(&program)
                .args(arguments)
                .current_dir(here.path()),
        )
        .unwrap();
    };
    git(&["init", "-q"]);
    std::fs::write(here.path().join(".gitignore"), "*.log\n").unwrap();
    std::fs::write(here.path().join("secret.log"), "x").unwrap();
    git(&["add", "."]);
    std::fs::write(here.path().join("new.py"), "x").unwrap();
    let bench = Bench::new("http://127.0.0.1:9").building();
    let indexes = Indexes::default();
    let wheel = application(
        here.path(),
        &indexes,
        &bench.environment,
        &bench.cache,
        &bench.options,
        &Report::silent(),
    )
    .unwrap();
    let built = member(&wheel, "demo/built.txt");
    let files = "['.gitignore', 'backend.py', 'demo.py', 'new.py', 'pyproject.toml', 'tool.sh']";
    assert_eq!(built.lines().nth(5), Some(files));
}

#[test]
fn a_submodule_that_is_not_checked_out_has_only_what_lies_there() {
    let Some(program) = pkgapp_testing::tool("git") else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        pkgapp_core::process::run(
            std::process::Command::new(&program)
                .args(arguments)
                .current_dir(here.path()),
        )
        .unwrap();
    };
    git(&["init", "-q"]);
    let commit = "1".repeat(40);
    for name in ["empty", "filled"] {
        git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{commit},{name}"),
        ]);
        std::fs::create_dir(here.path().join(name)).unwrap();
    }
    std::fs::write(here.path().join("filled/by_hand.py"), "x").unwrap();
    std::fs::write(here.path().join("demo.py"), "x").unwrap();
    let files = super::project::project_files(here.path()).unwrap();
    assert_eq!(
        files,
        [Path::new("demo.py"), Path::new("filled/by_hand.py")]
    );
}

fn listing(directory: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(directory)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect()
}

/// Fetches a real set of requirements: `PKGAPP_TRY=requirements.txt cargo test --release --lib
/// real_set -- --ignored --nocapture`.
#[test]
#[ignore = "needs the network and a requirements file"]
fn real_set() {
    let file = PathBuf::from(
        std::env::var_os("PKGAPP_TRY").expect("PKGAPP_TRY names a requirements file"),
    );
    let text = std::fs::read_to_string(&file).unwrap().replace("\\\n", " ");
    let mut lock = Lock::default();
    for line in text.lines().filter(|line| line.contains("==")) {
        let mut words = line.split_whitespace();
        let (name, version) = words.next().unwrap().split_once("==").unwrap();
        let mut pin = pin(name.split('[').next().unwrap(), version);
        pin.hashes = words
            .filter_map(|word| word.strip_prefix("--hash=")?.parse().ok())
            .collect();
        lock.require_hashes |= !pin.hashes.is_empty();
        lock.pins.push(pin);
    }
    if let Ok(names) = std::env::var("PKGAPP_NO_BINARY") {
        lock.indexes.no_binary =
            NameSet::These(names.split(',').map(|name| name.parse().unwrap()).collect());
    }
    let cache = Cache::open(&Cache::default_root().unwrap()).unwrap();
    let offline = std::env::var_os("PKGAPP_OFFLINE").is_some();
    let options = FetchOptions {
        offline,
        jobs: 8,
        epoch: Epoch::Known(1_700_000_000),
        rules: &RULES,
    };
    let report = Report::new(
        pkgapp_core::report::Verbosity::Normal,
        pkgapp_core::report::OutputStyle::Text,
    );
    let wheels = fetch(
        &lock,
        &environment((2, 36)),
        &cache,
        &options,
        &|_, _| Ok(()),
        &report,
    )
    .unwrap();
    assert_eq!(wheels.len(), lock.pins.len());
}
