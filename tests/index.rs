//! Wheels from an index: both forms of its pages, its failures, secrets, and doing without it.

use super::support::Sandbox;
use super::support::server::{Api, Fault, Index, Server};
use super::support::wheel::{Wheel, sdist, sha256};

/// hello with `one` from an index, by this line and these options.
fn project(url: &str, pins: &str) -> Sandbox {
    let sandbox = Sandbox::hello();
    sandbox.write("requirements.txt", format!("--index-url {url}\n{pins}"));
    sandbox
}

fn one() -> Wheel {
    // Not so small that a transfer which breaks off has sent all of it.
    let noise: Vec<u8> = (0u32..60_000)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    Wheel::simple("one", "1.0").file("one/noise.bin", noise)
}

fn plain(api: Api) -> Server {
    Index::new(api).wheel("one", &one()).serve()
}

#[test]
fn both_forms_of_the_simple_api_are_read() {
    for api in [Api::Html, Api::Json] {
        let server = plain(api);
        let sandbox = project(
            &server.url(),
            &format!("one==1.0 --hash=sha256:{}\n", sha256(&one().bytes())),
        );
        sandbox.build(["--format", "deb"]);
        assert!(
            server
                .requests()
                .contains(&"/files/one-1.0-py3-none-any.whl".to_owned()),
            "{:?}",
            server.requests()
        );
    }
}

#[test]
fn the_cache_holds_plain_wheels_under_their_hash() {
    let server = plain(Api::Json);
    let sandbox = project(&server.url(), "one==1.0\n");
    sandbox.build(["--format", "deb"]);
    let wheel = sandbox
        .cache()
        .join("wheels")
        .join(sha256(&one().bytes()))
        .join("one-1.0-py3-none-any.whl");
    assert_eq!(std::fs::read(wheel).unwrap(), one().bytes());
}

#[test]
fn what_is_cached_is_not_fetched_again() {
    let server = plain(Api::Html);
    let sandbox = project(&server.url(), "one==1.0\n");
    sandbox.build(["--format", "deb"]);
    sandbox.build(["--format", "deb"]);
    let fetched = server
        .requests()
        .iter()
        .filter(|path| path.starts_with("/files/") && path.ends_with(".whl"))
        .count();
    assert_eq!(fetched, 1, "{:?}", server.requests());
}

#[test]
fn offline_needs_nothing_but_the_cache() {
    let hash = sha256(&one().bytes());
    let server = plain(Api::Json);
    let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{hash}\n"));
    let online = sandbox.build(["--format", "all", "--output", "online"]);
    let before = server.requests().len();
    let offline = sandbox.build(["--offline", "--format", "all", "--output", "offline"]);
    assert_eq!(server.requests().len(), before, "--offline asked the index");
    for (a, b) in online.iter().zip(&offline) {
        assert_eq!(
            std::fs::read(a).unwrap(),
            std::fs::read(b).unwrap(),
            "{}",
            a.display()
        );
    }
    // And with the index gone for good.
    drop(server);
    sandbox.build(["--offline", "--format", "deb", "--output", "gone"]);
}

#[test]
fn offline_without_the_cache_says_what_is_missing() {
    let server = plain(Api::Json);
    let sandbox = project(&server.url(), "one==1.0\n");
    let text = sandbox.pkgapp(["--offline", "build"]).fails();
    assert!(
        text.contains("one") && text.contains("1.0") && text.contains("--offline"),
        "{text}"
    );
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[test]
fn a_busy_index_is_asked_again() {
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .fault(Fault::BusyOnce)
        .serve();
    project(&server.url(), "one==1.0\n").build(["--format", "deb"]);
}

#[test]
fn a_transfer_that_breaks_off_is_taken_up_again() {
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .fault(Fault::BreaksOffOnce)
        .serve();
    let hash = sha256(&one().bytes());
    project(&server.url(), &format!("one==1.0 --hash=sha256:{hash}\n")).build(["--format", "deb"]);
}

#[test]
fn a_file_that_is_not_what_the_index_says_is_refused() {
    let server = Index::new(Api::Json)
        .wheel("one", &one())
        .lying_hash()
        .serve();
    let sandbox = project(&server.url(), "one==1.0\n");
    let text = sandbox.pkgapp(["build"]).fails();
    assert!(
        text.contains("one-1.0-py3-none-any.whl") && text.contains("sha256"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_what_was_pinned_is_refused() {
    let server = plain(Api::Json);
    let wrong = sha256(b"what was pinned");
    let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{wrong}\n"));
    let text = sandbox.pkgapp(["build"]).fails();
    // Both sums, so that a person can compare.
    assert!(
        text.contains("one") && text.contains("requirements.txt:2:1"),
        "{text}"
    );
    assert!(!sandbox.path("dist").exists());
}

#[test]
fn a_pinned_file_that_was_yanked_is_taken_with_a_warning() {
    // PEP 592: "if a version is pinned with ==, installers may use yanked files, and should warn".
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .yanked("eats data")
        .serve();
    let sandbox = project(&server.url(), "one==1.0\n");
    let outcome = sandbox.pkgapp(["build", "--format", "deb"]).outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(
        outcome.stderr.contains("warning: ") && outcome.stderr.contains("eats data"),
        "{}",
        outcome.report
    );
}

#[test]
fn a_file_for_another_python_is_not_taken() {
    let server = Index::new(Api::Json)
        .wheel("one", &one())
        .requires_python(">=3.99")
        .serve();
    let text = project(&server.url(), "one==1.0\n")
        .pkgapp(["build"])
        .fails();
    assert!(text.contains("one") && text.contains(">=3.99"), "{text}");
}

#[test]
fn the_best_wheel_is_taken() {
    let number = super::support::tools::python().minor.replace('.', "");
    let native = Wheel::simple("one", "1.0").tag(&format!(
        "cp{number}-cp{number}-manylinux_2_17_{}",
        std::env::consts::ARCH
    ));
    let server = Index::new(Api::Json)
        .wheel("one", &Wheel::simple("one", "1.0"))
        .wheel("one", &native)
        .wheel(
            "one",
            &Wheel::simple("one", "1.0").tag("cp27-cp27m-manylinux1_x86_64"),
        )
        .serve();
    project(&server.url(), "one==1.0\n").build(["--format", "deb"]);
    let fetched: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|path| path.starts_with("/files/"))
        .collect();
    assert_eq!(fetched, [format!("/files/{}", native.file_name())]);
}

#[test]
fn an_sdist_is_taken_where_no_wheel_fits() {
    let directory = tempfile::tempdir().unwrap();
    let source = sdist(
        directory.path(),
        "one",
        "1.0",
        &[("src/one/__init__.py", "")],
    );
    let server = Index::new(Api::Json)
        .wheel(
            "one",
            &Wheel::simple("one", "1.0").tag("cp27-cp27m-manylinux1_x86_64"),
        )
        .sdist("one", &source)
        .serve();
    let sandbox = project(&server.url(), "one==1.0\n");
    sandbox.build(["--format", "deb"]);
    // Built once: the second build takes the cached wheel.
    let built = super::support::walk(&sandbox.cache().join("built"));
    assert!(
        built
            .iter()
            .any(|path| path.extension().is_some_and(|extension| extension == "whl")),
        "{built:?}"
    );
}

#[test]
fn passwords_in_an_address_are_used_and_never_shown() {
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .fault(Fault::Unauthorized)
        .serve();
    let sandbox = project(&server.url_with_secret(), "one==1.0\n");
    let outcome = sandbox
        .pkgapp(["-v", "build", "--format", "tar.gz"])
        .outcome();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(!outcome.stderr.contains("secret"), "{}", outcome.report);
    for path in super::support::walk(&sandbox.cache())
        .into_iter()
        .filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes.windows(6).any(|window| window == b"secret"),
            "{} holds the password",
            path.display()
        );
    }
    // Without it: an error that names the index, but not with a password.
    let bare = project(&server.url(), "one==1.0\n");
    assert!(bare.pkgapp(["build"]).fails().contains("401"));
}

#[test]
fn an_index_that_is_not_there_is_named() {
    let address = plain(Api::Html).url();
    let text = project(&address, "one==1.0\n").pkgapp(["build"]).fails();
    assert!(
        text.contains(address.trim_end_matches('/')) && text.contains("one"),
        "{text}"
    );
}

/// Adds tables to the configuration.
fn configure(sandbox: &Sandbox, tables: &str) {
    sandbox.append("pkgapp.toml", &format!("\n{tables}"));
}

/// `one` with another content.
fn other_one() -> Wheel {
    Wheel::simple("one", "1.0").file("one/other.py", "OTHER = 1\n")
}

#[test]
fn an_index_decides_for_every_name_it_knows() {
    let private = Index::new(Api::Html)
        .wheel("one", &Wheel::simple("one", "2.0"))
        .serve();
    let public = plain(Api::Html);
    let lines = format!("--extra-index-url {}\none==1.0", private.url());
    // Whoever puts a `one 1.0` into the public index must not get it into the package.
    let sandbox = project(&public.url(), &lines);
    let text = sandbox.pkgapp(["build"]).fails();
    assert!(
        text.contains(&private.url()) && text.contains("[python.sources]") && text.contains("2.0"),
        "{text}"
    );
    assert!(public.requests().is_empty(), "{:?}", public.requests());
    // A hash leaves no choice, so it is looked for everywhere.
    let hashed = project(
        &public.url(),
        &format!("{lines} --hash=sha256:{}\n", sha256(&one().bytes())),
    );
    hashed.build(["--format", "deb"]);
    // And so does who says where it comes from.
    configure(&sandbox, "[python.sources]\none = \"pypi\"\n");
    let asked = private.requests().len();
    sandbox.build(["--format", "deb"]);
    assert_eq!(private.requests().len(), asked, "{:?}", private.requests());
}

#[test]
fn an_explicit_index_is_asked_for_its_own_and_for_nothing_else() {
    let private = Index::new(Api::Json).wheel("one", &other_one()).serve();
    let public = Index::new(Api::Json)
        .wheel("one", &one())
        .wheel("two", &Wheel::simple("two", "1.0"))
        .serve();
    let sandbox = project(&public.url(), "one==1.0\ntwo==1.0\n");
    let table = format!(
        "[[python.index]]\nname = \"team\"\nurl = \"{}\"\nexplicit = true\n",
        private.url()
    );
    configure(
        &sandbox,
        &format!("{table}\n[python.sources]\nOne = \"team\"\n"),
    );
    let [deb] = &sandbox.build(["--format", "deb"])[..] else {
        panic!("one artifact")
    };
    assert!(
        sandbox.dump(deb).contains("/one/other.py"),
        "the public `one` was taken"
    );
    assert!(
        private.requests().iter().all(|path| !path.contains("/two")),
        "{:?}",
        private.requests()
    );
    assert!(
        public.requests().iter().all(|path| !path.contains("/one")),
        "{:?}",
        public.requests()
    );
    // What it lacks, no other index may have.
    sandbox.edit("requirements.txt", "one==1.0", "one==1.1");
    let text = sandbox.pkgapp(["build"]).fails();
    assert!(
        text.contains("`one 1.1`") && !text.contains(&public.url()),
        "{text}"
    );
}

#[test]
fn named_indexes_go_in_order_and_the_default_last() {
    let first = Index::new(Api::Html)
        .wheel("two", &Wheel::simple("two", "1.0"))
        .serve();
    let default = Index::new(Api::Html)
        .wheel("one", &one())
        .wheel("two", &Wheel::simple("two", "3.0"))
        .serve();
    let sandbox = Sandbox::hello();
    sandbox.write("requirements.txt", "one==1.0\ntwo==1.0\n");
    configure(
        &sandbox,
        &format!(
            "[[python.index]]\nname = \"mirror\"\nurl = \"{}\"\ndefault = true\n\n[[python.index]]\nname = \"first\"\n\
             url = \"{}\"\n",
            default.url(),
            first.url()
        ),
    );
    sandbox.build(["--format", "deb"]);
    assert_eq!(
        first
            .requests()
            .iter()
            .filter(|path| path.starts_with("/simple/"))
            .count(),
        2
    );
    assert_eq!(
        default
            .requests()
            .iter()
            .filter(|path| path.starts_with("/simple/"))
            .count(),
        1
    );
}

/// Everything that a build has written, and what it said, without the password and without what
/// stands for it.
fn holds_no_secret(sandbox: &Sandbox, outcome: &super::support::Outcome, except: &[&str]) {
    use std::io::Read as _;

    assert_eq!(outcome.status, 0, "{}", outcome.report);
    // `user:secret` as HTTP writes it.
    let forms = ["secret", "dXNlcjpzZWNyZXQ"];
    let clean = |bytes: &[u8], what: &str| {
        for form in forms {
            // A tarball names the `secrets` that a host has to have.
            let found = bytes.windows(form.len()).enumerate().any(|(at, window)| {
                window == form.as_bytes() && bytes.get(at + form.len()) != Some(&b's')
            });
            assert!(!found, "{what} holds `{form}`\n{}", outcome.report);
        }
    };
    clean(outcome.stderr.as_bytes(), "stderr");
    clean(outcome.raw_stdout.as_bytes(), "stdout");
    for path in super::support::walk(&sandbox.root()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file()
            && !except.contains(&name)
            && !path.starts_with(sandbox.root().join("home/.cache"))
        {
            let bytes = std::fs::read(&path).unwrap();
            if name.ends_with(".tar.gz") {
                let mut plain = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..])
                    .read_to_end(&mut plain)
                    .unwrap();
                assert!(
                    plain.windows(6).any(|window| window == b"hello/"),
                    "{name} is not what it should be"
                );
                clean(&plain, name);
            }
            clean(&bytes, name);
        }
    }
}

/// hello with `one` from a named index that wants `user:secret`, beside a lock that names the file
/// by its URL.
fn guarded(keyring: bool) -> (Sandbox, Server) {
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .fault(Fault::Unauthorized)
        .serve();
    let sandbox = Sandbox::hello();
    sandbox.write("requirements.txt", "one==1.0\n");
    let table = format!(
        "[[python.index]]\nname = \"my-team\"\nurl = \"{}\"\ndefault = true\n",
        server.url()
    );
    configure(&sandbox, &format!("{table}keyring = {keyring}\n"));
    (sandbox, server)
}

const BUILD: [&str; 4] = ["-v", "build", "--format", "tar.gz"];

#[test]
fn credentials_come_from_the_environment() {
    let (sandbox, server) = guarded(false);
    let text = sandbox.pkgapp(["build"]).fails();
    assert!(
        text.contains("401") && text.contains("PKGAPP_INDEX_MY_TEAM_USERNAME"),
        "{text}"
    );
    let run = || {
        let run = sandbox
            .pkgapp(BUILD)
            .env("PKGAPP_INDEX_MY_TEAM_USERNAME", "user");
        run.env("PKGAPP_INDEX_MY_TEAM_PASSWORD", "secret")
    };
    holds_no_secret(&sandbox, &run().outcome(), &[]);
    // A lock that names files by their URLs has no index; the credentials are for all of its
    // server.
    let sum = sha256(&one().bytes());
    let file = server
        .url()
        .replace("/simple/", "/files/one-1.0-py3-none-any.whl");
    sandbox.write(
        "pylock.toml",
        format!(
            "lock-version = \"1.0\"\ncreated-by = \"test\"\n[[packages]]\nname = \"one\"\nversion = \"1.0\"\n\
         wheels = [{{ url = \"{file}\", hashes = {{ sha256 = \"{sum}\" }} }}]\n"
        ),
    );
    sandbox.edit("pkgapp.toml", "\"requirements.txt\"", "\"pylock.toml\"");
    std::fs::remove_dir_all(sandbox.cache()).unwrap();
    holds_no_secret(&sandbox, &run().outcome(), &[]);
}

#[test]
fn credentials_come_from_netrc() {
    let (sandbox, _server) = guarded(false);
    std::fs::write(
        sandbox.root().join("home/.netrc"),
        "machine 127.0.0.1 login user password secret\n",
    )
    .unwrap();
    holds_no_secret(&sandbox, &sandbox.pkgapp(BUILD).outcome(), &[".netrc"]);
}

#[test]
fn credentials_come_from_the_keyring_if_it_is_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;

    for keyring in [false, true] {
        let (sandbox, server) = guarded(keyring);
        let programs = sandbox.root().join("home/programs");
        std::fs::create_dir(&programs).unwrap();
        let program = programs.join("keyring");
        let script = format!(
            "#!/bin/sh\n[ \"$1 $2\" = \"get {}\" ] || exit 1\necho asked >>'{}'\n\
             case $3 in user) echo secret ;; --mode) printf 'user\\nsecret\\n' ;; *) exit 1 ;; esac\n",
            server.url(),
            programs.join("log").display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut path = programs.clone().into_os_string();
        path.push(":");
        path.push(super::support::tools::path());
        let outcome = sandbox.pkgapp(BUILD).env("PATH", &path).outcome();
        assert_eq!(programs.join("log").exists(), keyring, "{}", outcome.report);
        if keyring {
            holds_no_secret(&sandbox, &outcome, &["keyring"]);
        } else {
            assert!(
                outcome.status == 1 && outcome.stderr.contains("401"),
                "{}",
                outcome.report
            );
        }
    }
}

#[test]
fn a_proxy_is_used_unless_it_is_not_to_be() {
    let server = plain(Api::Html);
    let proxy = server.url().replace("/simple/", "");
    // No such host: only the proxy can know it.
    let sandbox = project("http://index.invalid/simple/", "one==1.0\n");
    let run = sandbox
        .pkgapp(["build", "--format", "deb"])
        .env("HTTP_PROXY", &proxy)
        .env("http_proxy", &proxy);
    run.artifacts();
    assert!(
        server.requests().contains(&"/simple/one/".to_owned()),
        "{:?}",
        server.requests()
    );
    // And with a proxy that is not there.
    let direct = project(&server.url(), "one==1.0\n");
    let dead = "http://127.0.0.1:9";
    let run = direct
        .pkgapp(["build", "--format", "deb"])
        .env("http_proxy", dead)
        .env("NO_PROXY", "127.0.0.1");
    run.artifacts();
    let run = direct
        .pkgapp(["build"])
        .env("http_proxy", dead)
        .env("PKGAPP_HTTP_RETRIES", "0");
    let text = run
        .env("PKGAPP_CACHE_DIR", direct.root().join("other"))
        .fails();
    assert!(text.contains("NO_PROXY") && text.contains("one"), "{text}");
}

#[test]
fn a_name_that_cannot_be_resolved_is_asked_for_once() {
    // With all retries and their pauses: what asked twice would take minutes, for every pin anew.
    let sandbox = project(
        "http://index.invalid/simple/",
        "one==1.0\ntwo==1.0\nthree==1.0\n",
    );
    let text = sandbox.pkgapp(["build", "--format", "deb"]).fails();
    assert_eq!(
        text.matches("the name `index.invalid` cannot be resolved")
            .count(),
        1,
        "{text}"
    );
    assert!(text.contains("check the spelling"), "{text}");
    assert!(!text.contains("retries"), "{text}");
}

#[test]
fn each_way_to_fail_is_said_with_a_way_out() {
    let hash = sha256(&one().bytes());
    for (fault, must) in [
        (Fault::Always(401), &["401", "credentials"][..]),
        (Fault::Always(403), &["403", "credentials"]),
        (
            Fault::Always(404),
            &["`one 1.0` was not found", "--extra-index-url"],
        ),
        (Fault::Always(500), &["500", "try again later"]),
        (
            Fault::Files(403),
            &["403", "one-1.0-py3-none-any.whl", "credentials"],
        ),
        (
            Fault::Files(404),
            &["404", "one-1.0-py3-none-any.whl", "lock again"],
        ),
        (
            Fault::Files(503),
            &["503", "one-1.0-py3-none-any.whl", "try again later"],
        ),
        (Fault::Silent, &["timed out", "--offline"]),
        (
            Fault::Truncated,
            &[
                "one-1.0-py3-none-any.whl",
                "the connection broke",
                "times at byte",
            ],
        ),
        (Fault::HalfPages, &["cannot read the index"]),
    ] {
        let server = Index::new(Api::Json)
            .wheel("one", &one())
            .fault(fault)
            .serve();
        let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{hash}\n"));
        let run = sandbox
            .pkgapp(["build"])
            .env("PKGAPP_HTTP_RETRIES", "1")
            .env("PKGAPP_HTTP_TIMEOUT", "1");
        let outcome = run.outcome();
        assert_eq!(outcome.status, 1, "{fault:?}{}", outcome.report);
        for part in must {
            assert!(
                outcome.stderr.contains(part),
                "{fault:?}: `{part}` is not said{}",
                outcome.report
            );
        }
        assert!(!sandbox.path("dist").exists(), "{fault:?}");
        let left = sandbox.cache().join("wheels");
        assert!(
            !left.exists() || super::support::walk(&left).is_empty(),
            "{fault:?}"
        );
    }
}

#[test]
fn patience_that_is_no_number_is_refused() {
    let text = project("http://127.0.0.1:9/simple/", "one==1.0\n")
        .pkgapp(["build"])
        .env("PKGAPP_HTTP_RETRIES", "x")
        .fails();
    assert!(
        text.contains("`PKGAPP_HTTP_RETRIES` is `x`, which is not a number"),
        "{text}"
    );
}

/// Serves a directory with TLS; clients must have a certificate of the same CA. Prints its port.
const TLS_SERVER: &str = "
import http.server, ssl, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem')
context.load_verify_locations('ca.pem')
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";

/// Redirects everything to plain HTTP, where it notes whether credentials come.
const DOWNGRADING_SERVER: &str = "
import http.server, ssl, sys, threading
class Plain(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        if 'Authorization' in self.headers: open('leaked', 'w').close()
        super().do_GET()
class Tls(Plain):
    def do_GET(self):
        if 'Authorization' not in self.headers: return self.send_error(401)
        self.send_response(302)
        self.send_header('Location', 'http://127.0.0.1:%d%s' % (plain.server_address[1], self.path))
        self.end_headers()
plain = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Plain)
threading.Thread(target=plain.serve_forever, daemon=True).start()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Tls)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";

/// Makes a CA, and certificates of it for the server and for a client.
const CERTIFICATES: &str = "
set -e
new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \"$@\" 2>/dev/null; }
new -keyout ca.key -out ca.pem -subj /CN=ca -addext basicConstraints=critical,CA:TRUE
for one in server client; do
  new -CA ca.pem -CAkey ca.key -keyout $one.key -out $one.crt -subj /CN=$one \
    -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1
  cat $one.crt $one.key >$one.pem
done
";

/// Runs a server in a directory with certificates and an index of `one`, and makes a project that
/// pins it; `None` without openssl.
fn tls_index(script: &str) -> Option<(tempfile::TempDir, std::process::Child, Sandbox)> {
    use super::support::tools::{output, python, tool};

    tool("openssl")?;
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    output(
        std::process::Command::new("sh")
            .args(["-c", CERTIFICATES])
            .current_dir(here),
    );
    std::fs::create_dir_all(here.join("simple/one")).unwrap();
    one().write(&here.join("simple/one"));
    let name = one().file_name();
    std::fs::write(
        here.join("simple/one/index.html"),
        format!("<a href=\"{name}\">{name}</a>"),
    )
    .unwrap();

    let mut command = std::process::Command::new(&python().path);
    let command = command
        .args(["-c", script])
        .current_dir(here)
        .stdout(std::process::Stdio::piped());
    let mut server = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.take().unwrap()),
        &mut port,
    )
    .unwrap();
    let sandbox = project(
        &format!("https://127.0.0.1:{}/simple/", port.trim()),
        "one==1.0\n",
    );
    Some((directory, server, sandbox))
}

#[test]
fn a_ca_of_ones_own_and_client_certificates_work() {
    let Some((directory, mut server, sandbox)) = tls_index(TLS_SERVER) else {
        return;
    };
    let here = directory.path();
    let run = |ca: Option<&str>, client: Option<&str>| {
        let mut run = sandbox
            .pkgapp(["build", "--format", "deb"])
            .env("PKGAPP_HTTP_RETRIES", "0");
        for (variable, name) in [("SSL_CERT_FILE", ca), ("SSL_CLIENT_CERT", client)] {
            run = name
                .into_iter()
                .fold(run, |run, name| run.env(variable, here.join(name)));
        }
        run.outcome()
    };
    let [strange, anonymous, missing, known] = [
        run(None, Some("client.pem")),
        run(Some("ca.pem"), None),
        run(Some("none.pem"), Some("none.pem")),
        run(Some("ca.pem"), Some("client.pem")),
    ];
    server.kill().unwrap();
    server.wait().unwrap();
    for (outcome, must) in [
        (&strange, &["certificate", "SSL_CERT_FILE"][..]),
        (&anonymous, &["SSL_CLIENT_CERT"]),
        (
            &missing,
            &[
                "`SSL_CERT_FILE` names",
                "`SSL_CLIENT_CERT` names",
                "none.pem",
            ],
        ),
    ] {
        assert_eq!(outcome.status, 1, "{}", outcome.report);
        assert!(
            must.iter().all(|part| outcome.stderr.contains(part)),
            "{must:?}{}",
            outcome.report
        );
    }
    assert_eq!(known.status, 0, "{}", known.report);
}

#[test]
fn a_redirect_to_plain_http_gets_no_credentials() {
    let Some((directory, mut server, sandbox)) = tls_index(DOWNGRADING_SERVER) else {
        return;
    };
    let here = directory.path();
    // For the host, whatever the port.
    std::fs::write(
        sandbox.root().join("home/.netrc"),
        "machine 127.0.0.1 login user password secret\n",
    )
    .unwrap();
    let outcome = sandbox
        .pkgapp(["build", "--format", "deb"])
        .env("SSL_CERT_FILE", here.join("ca.pem"))
        .outcome();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(outcome.stderr.contains("redirect"), "{}", outcome.report);
    assert!(!here.join("leaked").exists(), "{}", outcome.report);
}

#[test]
fn an_index_on_localhost_is_one_of_the_web() {
    let server = plain(Api::Html);
    project(&server.url_of_localhost(), "one==1.0\n").build(["--format", "deb"]);
    assert!(
        server
            .requests()
            .contains(&"/files/one-1.0-py3-none-any.whl".to_owned()),
        "{:?}",
        server.requests()
    );
}

#[test]
fn a_page_of_the_web_chooses_no_file_of_this_machine() {
    for find_links in [false, true] {
        let sandbox = Sandbox::hello();
        one().write(&sandbox.root().join("home"));
        let local = sandbox.root().join("home");
        let server = Index::new(Api::Html)
            .wheel("one", &one())
            .local(&local)
            .fault(Fault::LocalLinks)
            .serve();
        let options = if !find_links {
            format!("--index-url {}", server.url())
        } else {
            format!("--no-index\n--find-links {}one/", server.url())
        };
        sandbox.write("requirements.txt", format!("{options}\none==1.0\n"));
        let text = sandbox.pkgapp(["build"]).fails();
        assert!(text.contains("`one 1.0` was not found"), "{text}");
        assert!(
            server.requests().contains(&"/simple/one/".to_owned()),
            "{:?}",
            server.requests()
        );
    }
}

/// Lets a command use no more than 3 GB of address space, of which a build uses a tenth.
const LITTLE_MEMORY: [&str; 4] = ["sh", "-c", "ulimit -v 3000000 && exec \"$@\"", "sh"];

#[test]
fn what_never_ends_takes_neither_memory_nor_time() {
    let hash = sha256(&one().bytes());
    for (fault, patience, must) in [
        (
            Fault::EndlessPages,
            "60",
            &[
                "cannot read the index",
                "exceeds the limit of 67108864 bytes",
            ][..],
        ),
        (
            Fault::BombPages,
            "60",
            &[
                "cannot read the index",
                "exceeds the limit of 67108864 bytes",
            ],
        ),
        (
            Fault::SlowPages,
            "1",
            &["cannot read the index", "too slow"],
        ),
        (
            Fault::SlowHeads,
            "1",
            &["cannot read the index", "timed out"],
        ),
        (
            Fault::SlowFiles,
            "1",
            &["one-1.0-py3-none-any.whl", "too slow"],
        ),
    ] {
        let server = Index::new(Api::Html)
            .wheel("one", &one())
            .fault(fault)
            .serve();
        let sandbox = project(&server.url(), &format!("one==1.0 --hash=sha256:{hash}\n"));
        let run = sandbox.pkgapp(["build"]).under(LITTLE_MEMORY);
        let outcome = run
            .env("PKGAPP_HTTP_TIMEOUT", patience)
            .env("PKGAPP_HTTP_RETRIES", "0")
            .outcome();
        assert_eq!(outcome.status, 1, "{fault:?}{}", outcome.report);
        for part in must {
            assert!(
                outcome.stderr.contains(part),
                "{fault:?}: `{part}` is not said{}",
                outcome.report
            );
        }
    }
}

#[test]
fn a_file_is_no_longer_than_it_was_said_to_be() {
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .fault(Fault::EndlessFiles)
        .serve();
    let sandbox = Sandbox::hello();
    let (file, sum) = (
        server
            .url()
            .replace("/simple/", "/files/one-1.0-py3-none-any.whl"),
        sha256(&one().bytes()),
    );
    sandbox.write(
        "pylock.toml",
        format!(
            "lock-version = \"1.0\"\ncreated-by = \"test\"\n[[packages]]\nname = \"one\"\nversion = \"1.0\"\n\
             wheels = [{{ url = \"{file}\", size = 1000, hashes = {{ sha256 = \"{sum}\" }} }}]\n"
        ),
    );
    sandbox.edit("pkgapp.toml", "\"requirements.txt\"", "\"pylock.toml\"");
    // Not more than that may be written to the disk either.
    let limited = ["sh", "-c", "ulimit -f 20000 && exec \"$@\"", "sh"];
    let text = sandbox.pkgapp(["build"]).under(limited).fails();
    assert!(
        text.contains("`one-1.0-py3-none-any.whl` is longer than the expected 1000 bytes"),
        "{text}"
    );
}

#[test]
fn what_nothing_vouches_for_is_told_once() {
    let server = Index::new(Api::Html)
        .wheel("one", &one())
        .wheel("two", &Wheel::simple("two", "1.0"))
        .serve();
    let pins = format!("one==1.0 --hash=sha256:{}\n", sha256(&one().bytes()));
    let lines = |sandbox: &Sandbox, proxy: bool| -> Vec<String> {
        let mut run = sandbox.pkgapp(["build", "--format", "deb"]);
        if proxy {
            run = run.env("http_proxy", server.url().replace("/simple/", ""));
        }
        let outcome = run.outcome();
        assert_eq!(outcome.status, 0, "{}", outcome.report);
        outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("warning:"))
            .map(str::to_owned)
            .collect()
    };
    // Hashes, and nobody between: nothing to say.
    assert_eq!(lines(&project(&server.url(), &pins), false), [""; 0]);
    // No hashes, over the network: both, also when all of it is in the cache.
    let sandbox = project("http://index.invalid/simple/", "one==1.0\ntwo==1.0\n");
    for _ in 0..2 {
        let said = lines(&sandbox, true);
        let [bare, plain] = &said[..] else {
            panic!("{said:?}")
        };
        assert!(
            bare.contains("2 of 2 pins have no hash") && bare.contains("`one 1.0`, `two 1.0`"),
            "{bare}"
        );
        assert!(
            plain.contains("plain HTTP") && plain.contains("`http://index.invalid`"),
            "{plain}"
        );
    }
}

#[test]
fn hashes_can_be_demanded() {
    let server = plain(Api::Html);
    let sandbox = project(&server.url(), "one==1.0\ntwo==1.0\n");
    sandbox.edit(
        "pkgapp.toml",
        "[python]\n",
        "[python]\nrequire-hashes = true\n",
    );
    let text = sandbox.pkgapp(["build"]).fails();
    for part in [
        "2 of 2 pins have no hash",
        "`one==1.0`",
        "`two==1.0`",
        "`require-hashes` is set at pkgapp.toml",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    let pins = format!(
        "--index-url {}\none==1.0 --hash=sha256:{}\n",
        server.url(),
        sha256(&one().bytes())
    );
    sandbox.write("requirements.txt", pins);
    sandbox.build(["--format", "deb"]);
}

/// A build backend with the name and the version of a distribution, which leaves a mark where it
/// has run and writes down its environment.
fn backend(name: &str, version: &str, mark: &std::path::Path) -> Wheel {
    let code =
        std::fs::read_to_string(super::support::fixture("hello").join("backend.py")).unwrap();
    let code = code.replace("os.path.dirname(os.path.abspath(__file__))", "os.getcwd()");
    assert!(code.contains("ROOT = os.getcwd()"));
    let mark = mark.display();
    let code = format!(
        "import os\nopen('{mark}', 'a').write('{version} ' + repr(dict(os.environ)) + '\\n')\n{code}"
    );
    Wheel::new(name, version).file("team_backend.py", code)
}

#[test]
fn what_builds_comes_by_the_rules_of_pins() {
    let sandbox = Sandbox::hello();
    let mark = sandbox.root().join("home/mark");
    let helper = |version: &str| Wheel::simple("team-helper", version);
    let private = Index::new(Api::Html)
        .wheel(
            "team-backend",
            &backend("team-backend", "1.0", &mark).requires("team-helper"),
        )
        .wheel("team-helper", &helper("1.0"))
        .fault(Fault::Unauthorized)
        .serve();
    // Somebody puts newer ones of these names into the public index.
    let public = Index::new(Api::Html)
        .wheel("team-backend", &backend("team-backend", "99.0", &mark))
        .wheel("team-helper", &helper("99.0"))
        .serve();
    let old = std::fs::read_to_string(sandbox.path("pyproject.toml")).unwrap();
    let (_, rest) = old.split_once("[project]").unwrap();
    let system =
        "[build-system]\nrequires = [\"team-backend\"]\nbuild-backend = \"team_backend\"\n";
    sandbox.write("pyproject.toml", format!("{system}\n[project]{rest}"));
    sandbox.write(
        "requirements.txt",
        format!("--index-url {}\n", public.url()),
    );
    let table = format!(
        "[[python.index]]\nname = \"team\"\nurl = \"{}\"\nexplicit = true\n",
        private.url()
    );
    configure(
        &sandbox,
        &format!("{table}\n[python.sources]\nteam-backend = \"team\"\nteam-helper = \"team\"\n"),
    );
    let build = || {
        let run = sandbox.pkgapp(["build", "--format", "deb"]);
        let run = run
            .env("PIP_INDEX_URL", public.url())
            .env("UV_INDEX_URL", public.url());
        let run = run
            .env("NETRC", "secret")
            .env("PKGAPP_INDEX_TEAM_USERNAME", "user");
        run.env("PKGAPP_INDEX_TEAM_PASSWORD", "secret").outcome()
    };
    let outcome = build();
    assert_eq!(outcome.status, 0, "{}", outcome.report);
    assert!(public.requests().is_empty(), "{:?}", public.requests());
    let marks = std::fs::read_to_string(&mark).unwrap();
    assert!(
        !marks.is_empty() && marks.lines().all(|line| line.starts_with("1.0 ")),
        "{marks}"
    );
    // What runs there knows neither the password nor where the index is.
    assert!(
        !marks.contains("secret")
            && !marks.contains(&private.url())
            && !marks.contains(&public.url()),
        "{marks}"
    );
    // What the index lacks, no other one may have.
    sandbox.edit("pyproject.toml", "\"team-backend\"", "\"team-backend>=2\"");
    let outcome = build();
    assert_eq!(outcome.status, 1, "{}", outcome.report);
    let must = [
        "no version of `team-backend` satisfies",
        "`team-backend>=2`",
        "the latest versions are 1.0",
    ];
    assert!(
        must.iter().all(|part| outcome.stderr.contains(part)),
        "{}",
        outcome.report
    );
    assert!(public.requests().is_empty(), "{:?}", public.requests());
}

#[test]
fn what_a_backend_asks_for_when_it_runs_is_brought_too() {
    let sandbox = Sandbox::hello();
    let mark = sandbox.root().join("home/mark");
    let asking = "def get_requires_for_build_wheel(settings=None):\n    return ['late-helper>=1']\n\n\n\
                  def build_wheel(directory, *more):\n    import late_helper\n    return base.build_wheel(directory, *more)\n";
    let code = format!("import team_backend as base\n{asking}");
    // Two versions of what both need, of which only the older one fits both: a search has to go
    // back.
    let server = Index::new(Api::Json)
        .wheel(
            "team-backend",
            &backend("team-backend", "1.0", &mark).requires("shared"),
        )
        .wheel(
            "asking",
            &Wheel::new("asking", "1.0")
                .file("asking.py", code)
                .requires("team-backend"),
        )
        .wheel(
            "late-helper",
            &Wheel::simple("late-helper", "1.0").requires("shared<2"),
        )
        .wheel("shared", &Wheel::simple("shared", "2.0"))
        .wheel("shared", &Wheel::simple("shared", "1.0"))
        .serve();
    let old = std::fs::read_to_string(sandbox.path("pyproject.toml")).unwrap();
    let (_, rest) = old.split_once("[project]").unwrap();
    sandbox.write(
        "pyproject.toml",
        format!(
            "[build-system]\nrequires = [\"asking\"]\nbuild-backend = \"asking\"\n\n[project]{rest}"
        ),
    );
    sandbox.write(
        "requirements.txt",
        format!("--index-url {}\n", server.url()),
    );
    sandbox.build(["--format", "deb"]);
    let asked = server.requests();
    assert!(
        asked.contains(&"/files/late_helper-1.0-py3-none-any.whl".to_owned()),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"/files/shared-1.0-py3-none-any.whl".to_owned()),
        "{asked:?}"
    );
}
