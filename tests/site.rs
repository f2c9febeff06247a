//! The configuration of web servers: read by people (golden files), and by nginx itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::tools::tool;
use super::support::{Sandbox, golden, walk};

const NGINX: &str = r#"
[service.web]
exec = "hello"
socket = "/run/hello/web.sock"

[site]
domains = ["hello.example.com", "*.hello.example.com"]
static = { "/static/" = "app/static", "/media/" = "app/media" }
tls = { certificate = "/etc/ssl/hello.pem", key = "/etc/ssl/private/hello.key" }
limits = { body = "20M", timeout = "2min" }
extra = "deploy/extra.conf"
"#;

const ACME: &str = r#"
[service.web]
exec = "hello --bind 127.0.0.1:8000"

[site]
domains = ["hello.example.com"]
tls = "acme"
email = "ops@example.com"
"#;

const PLAIN: &str = r#"
[service.web]
exec = "hello --bind [::]:8000"

[site]
domains = ["hello.example.com"]
tls = "off"
"#;

const CADDY: &str = r#"
[service.web]
exec = "hello"
socket = "/run/hello/web.sock"

[site]
server = "caddy"
domains = ["hello.example.com", "www.hello.example.com"]
static = { "/static/" = "app/static" }
tls = "acme"
email = "ops@example.com"
limits = { body = "20M", timeout = "60s" }
"#;

/// An application with these tables.
fn application(tables: &str) -> Sandbox {
    let sandbox = Sandbox::hello();
    sandbox.edit(
        "pkgapp.toml",
        "include = [\"motd.txt\"]",
        "include = [\"motd.txt\", \"static/*\"]\nwritable = [\"media/\"]",
    );
    sandbox.append("pkgapp.toml", &format!("\n{tables}"));
    sandbox.write("static/a.css", "");
    sandbox.write(
        "deploy/extra.conf",
        "location = /robots.txt {\n    return 200 \"User-agent: *\\n\";\n}\n",
    );
    sandbox
}

/// The files of the site, as a release has them.
fn site_files(sandbox: &Sandbox) -> Vec<PathBuf> {
    sandbox
        .pkgapp(["render", "--output", "../rendered"])
        .stdout();
    let site = sandbox.root().join("rendered/opt/hello/.pkgapp/site");
    walk(&site)
        .into_iter()
        .filter(|path| path.is_file())
        .collect()
}

#[test]
fn the_configuration_of_web_servers_is_as_it_was_read() {
    let mut differences = String::new();
    for (name, tables) in [
        ("nginx", NGINX),
        ("acme", ACME),
        ("plain", PLAIN),
        ("caddy", CADDY),
    ] {
        let sandbox = application(tables);
        let mut all = String::new();
        for path in site_files(&sandbox) {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            // Whole for one of each kind: the program is mostly the same.
            if !file.starts_with("activate-") || name == "nginx" {
                let text = std::fs::read_to_string(&path).unwrap();
                _ = write!(all, "==> {file} <==\n{text}\n");
            }
        }
        let difference = golden(&format!("site/{name}.txt"), &sandbox.normal(&all));
        differences.extend(difference.err());
    }
    assert!(differences.is_empty(), "{differences}");
}

/// A configuration of nginx with these sites alone, whose paths and ports are those of the test.
fn nginx_configuration(directory: &Path, sites: &[PathBuf]) -> PathBuf {
    let certificate = directory.join("hello.pem");
    let mut http = String::new();
    for (index, site) in sites.iter().enumerate() {
        let text = std::fs::read_to_string(site)
            .unwrap()
            .replace(
                "listen 80;",
                &format!("listen 127.0.0.1:{};", 20080 + index),
            )
            .replace("    listen [::]:80;\n", "")
            .replace(
                "listen 443 ",
                &format!("listen 127.0.0.1:{} ", 20443 + index),
            )
            .replace("    listen [::]:443 ssl http2;\n", "");
        let place = directory.to_string_lossy();
        let text = text
            .replace("/etc/ssl/private/", &format!("{place}/"))
            .replace("/etc/ssl/", &format!("{place}/"))
            .replace(
                "/etc/letsencrypt/live/pkgapp-hello/fullchain.pem",
                &certificate.to_string_lossy(),
            )
            .replace(
                "/etc/letsencrypt/live/pkgapp-hello/privkey.pem",
                &format!("{place}/hello.key"),
            );
        let copy = directory.join(format!("{index}.conf"));
        std::fs::write(&copy, text).unwrap();
        _ = writeln!(http, "include {};", copy.display());
    }
    let main = directory.join("nginx.conf");
    let text = format!(
        "pid {0}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{http}}}\n",
        directory.display()
    );
    std::fs::write(&main, text).unwrap();
    main
}

#[test]
fn nginx_accepts_the_sites() {
    let (Some(nginx), Some(openssl)) = (tool("nginx"), tool("openssl")) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(openssl)
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hello -keyout hello.key -out hello.pem".split(' '))
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    for tables in [NGINX, ACME, PLAIN] {
        let sandbox = application(tables);
        for site in site_files(&sandbox) {
            if site.extension().is_none_or(|extension| extension != "conf") {
                continue;
            }
            let main = nginx_configuration(directory.path(), std::slice::from_ref(&site));
            let output = Command::new(&nginx)
                .args(["-t", "-q", "-p"])
                .arg(directory.path())
                .arg("-c")
                .arg(main)
                .output()
                .unwrap();
            let printed = String::from_utf8_lossy(&output.stderr);
            let is_quiet = !printed.contains("[warn]") && !printed.contains("[emerg]");
            assert!(output.status.success() && is_quiet, "{tables}{printed}");
        }
    }
}

#[test]
fn every_shell_can_read_the_programs() {
    let programs = ["dash", "busybox", "bash", "shellcheck"].map(tool);
    for tables in [NGINX, ACME, PLAIN, CADDY] {
        let sandbox = application(tables);
        let files = site_files(&sandbox);
        let program = files.iter().find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("activate-")
        });
        let arguments: [&[&str]; 4] = [
            &["-n"],
            &["sh", "-n"],
            &["--posix", "-n"],
            // Lists may have one word.
            &["--shell=sh", "--severity=warning", "--exclude=SC2043"],
        ];
        for (shell, arguments) in programs.iter().zip(arguments) {
            let Some(shell) = shell else { continue };
            let output = Command::new(shell)
                .args(arguments)
                .arg(program.unwrap())
                .output()
                .unwrap();
            let printed = [output.stdout, output.stderr].concat();
            assert!(printed.is_empty(), "{}", String::from_utf8_lossy(&printed));
        }
    }
}

#[test]
fn directories_that_are_not_there_or_not_safe_are_refused() {
    let sandbox = application(&NGINX.replace("app/static", "app/statics"));
    let printed = sandbox.pkgapp(["render"]).fails();
    let expected = "the release has no directory `/opt/hello/app/statics` to serve `/static/` from";
    assert!(printed.contains(expected), "{printed}");

    for (directory, shown) in [
        ("app/media", "/var/lib/hello/media"),
        ("app", "/opt/hello/app"),
    ] {
        let sandbox = application(&CADDY.replace("app/static", directory));
        let printed = sandbox.pkgapp(["render"]).fails();
        let expected =
            format!("Caddy would follow links that the application's user creates in `{shown}`");
        assert!(printed.contains(&expected), "{printed}");
    }
}

#[test]
fn a_package_recommends_its_web_server() {
    if tool("dpkg-deb").is_none() {
        return;
    }
    let sandbox = application(ACME);
    let built = sandbox.build(["--format", "deb"]);
    let output = Command::new("dpkg-deb")
        .arg("-f")
        .arg(&built[0])
        .arg("Recommends")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.trim(), "nginx, certbot");
}
