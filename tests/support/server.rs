//! A package index on 127.0.0.1: the simple API as HTML (PEP 503) and as JSON (PEP 691), and ways
//! to fail.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::wheel::{Wheel, sha256};

/// Which form of the simple API the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Html,
    Json,
}

/// How the server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The first request for each file is answered with 503.
    BusyOnce,
    /// The first answer for each file breaks off in its middle; the rest is served to a `Range`
    /// request.
    BreaksOffOnce,
    /// Pages and files need `Authorization: Basic` for `user:secret`.
    Unauthorized,
    /// Everything is answered with this status.
    Always(u16),
    /// Files, but not pages, are answered with this status.
    Files(u16),
    /// No request is answered before a client of little patience has gone.
    Silent,
    /// Every answer for a file breaks off in its middle, and begins anew.
    Truncated,
    /// Pages are cut off, with a length that fits.
    HalfPages,
    /// Pages never end.
    EndlessPages,
    /// Pages are few bytes that unpack to more than any memory.
    BombPages,
    /// Pages come so slowly that none is ever whole, but never slowly enough for a timeout between
    /// two reads.
    SlowPages,
    /// As [`Fault::SlowPages`], for what comes before a page.
    SlowHeads,
    /// Files never end, and say no length.
    EndlessFiles,
    /// As [`Fault::SlowPages`], for files.
    SlowFiles,
    /// Pages link a file of this machine in place of each file.
    LocalLinks,
}

/// A file of the index.
#[derive(Debug, Clone)]
struct File {
    project: String,
    name: String,
    bytes: Vec<u8>,
    yanked: Option<String>,
    requires_python: Option<String>,
    /// The hash that the page tells.
    sha256: String,
}

/// The running server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: std::net::SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a server will serve.
#[derive(Debug)]
pub(crate) struct Index {
    api: Api,
    fault: Option<Fault>,
    files: Vec<File>,
    /// Where [`Fault::LocalLinks`] lead to.
    local: PathBuf,
}

impl Index {
    pub(crate) fn new(api: Api) -> Self {
        Self {
            api,
            fault: None,
            files: Vec::new(),
            local: PathBuf::new(),
        }
    }

    pub(crate) fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Where [`Fault::LocalLinks`] lead to.
    pub(crate) fn local(mut self, directory: &std::path::Path) -> Self {
        self.local = directory.to_owned();
        self
    }

    pub(crate) fn wheel(self, project: &str, wheel: &Wheel) -> Self {
        self.file(project, &wheel.file_name(), wheel.bytes())
    }

    pub(crate) fn sdist(self, project: &str, path: &PathBuf) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.file(project, &name, std::fs::read(path).unwrap())
    }

    /// The file that was added last was withdrawn (PEP 592).
    pub(crate) fn yanked(mut self, reason: &str) -> Self {
        self.files.last_mut().unwrap().yanked = Some(reason.into());
        self
    }

    pub(crate) fn requires_python(mut self, specifier: &str) -> Self {
        self.files.last_mut().unwrap().requires_python = Some(specifier.into());
        self
    }

    /// The page tells another hash than that of the file which was added last.
    pub(crate) fn lying_hash(mut self) -> Self {
        self.files.last_mut().unwrap().sha256 = sha256(b"another file");
        self
    }

    fn file(mut self, project: &str, name: &str, bytes: Vec<u8>) -> Self {
        let sha256 = sha256(&bytes);
        let (project, name) = (project.into(), name.into());
        self.files.push(File {
            project,
            name,
            bytes,
            yanked: None,
            requires_python: None,
            sha256,
        });
        self
    }

    pub(crate) fn serve(self) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, stop) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::new(AtomicBool::new(false)),
        );
        let thread = std::thread::spawn({
            let (index, log, stop) = (Arc::new(self), log.clone(), stop.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (index, log) = (index.clone(), log.clone());
                    let stream = stream.unwrap();
                    // A client that goes away is its own business.
                    std::thread::spawn(move || _ = index.answer(stream, &log));
                }
            }
        });
        Server {
            address,
            log,
            stop,
            thread: Some(thread),
        }
    }

    /// Answers one request; the connection is closed after it.
    fn answer(&self, mut stream: TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let headers: Vec<String> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        let header = |name: &str| {
            headers.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        // A proxy is asked with whole URLs (RFC 9112 §3.2.2).
        let path = path
            .strip_prefix("http://")
            .map_or(path, |rest| rest.find('/').map_or("/", |at| &rest[at..]))
            .to_owned();
        let first = {
            let mut log = log.lock().unwrap();
            let first = !log.contains(&path);
            log.push(path.clone());
            first
        };
        // `user:secret` in Base64.
        if self.fault == Some(Fault::Unauthorized)
            && header("authorization").as_deref() != Some("Basic dXNlcjpzZWNyZXQ=")
        {
            let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"index\"\r\n";
            return write!(
                stream,
                "{head}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        match self.fault {
            Some(Fault::Silent) => std::thread::sleep(std::time::Duration::from_secs(3)),
            Some(Fault::Always(status)) => {
                return respond(
                    &mut stream,
                    method,
                    &format!("{status} No"),
                    "text/plain",
                    b"no",
                );
            }
            Some(Fault::Files(status)) if path.starts_with("/files/") => {
                return respond(
                    &mut stream,
                    method,
                    &format!("{status} No"),
                    "text/plain",
                    b"no",
                );
            }
            _ => {}
        }
        if let Some(project) = path
            .strip_prefix("/simple/")
            .map(|name| name.trim_end_matches('/'))
        {
            if let Some(answer) = self.bad_page(&mut stream) {
                return answer;
            }
            return match self.page(project) {
                Some((kind, page)) if self.fault == Some(Fault::HalfPages) => respond(
                    &mut stream,
                    method,
                    "200 OK",
                    kind,
                    &page.as_bytes()[..page.len() / 2],
                ),
                Some((kind, page)) => respond(&mut stream, method, "200 OK", kind, page.as_bytes()),
                None => respond(
                    &mut stream,
                    method,
                    "404 Not Found",
                    "text/plain",
                    b"no such project",
                ),
            };
        }
        let Some(file) = path
            .strip_prefix("/files/")
            .and_then(|name| self.files.iter().find(|file| file.name == name))
        else {
            return respond(
                &mut stream,
                method,
                "404 Not Found",
                "text/plain",
                b"no such file",
            );
        };
        let start = header("range").and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            end.is_empty()
                .then(|| start.parse::<usize>().ok())
                .flatten()
        });
        match (self.fault, start) {
            (Some(Fault::BusyOnce), _) if first => respond(
                &mut stream,
                method,
                "503 Service Unavailable",
                "text/plain",
                b"come back later",
            ),
            (Some(Fault::EndlessFiles), _) => {
                write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
                endless(&mut stream, &[0; 1 << 16], 0)
            }
            (Some(Fault::SlowFiles), _) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    file.bytes.len()
                )?;
                endless(&mut stream, b"x", 100)
            }
            (Some(Fault::Truncated), _) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    file.bytes.len()
                )?;
                stream.write_all(&file.bytes[..file.bytes.len() / 2])
            }
            (Some(Fault::BreaksOffOnce), None) if first => {
                let (length, half) = (file.bytes.len(), &file.bytes[..file.bytes.len() / 2]);
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: {length}\r\n\r\n"
                )?;
                stream.write_all(half)
            }
            (Some(Fault::BreaksOffOnce), Some(start)) if start < file.bytes.len() => {
                let (rest, length) = (&file.bytes[start..], file.bytes.len());
                let range = format!("bytes {start}-{}/{length}", length - 1);
                write!(
                    stream,
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n"
                )?;
                write!(
                    stream,
                    "Content-Length: {}\r\nConnection: close\r\n\r\n",
                    rest.len()
                )?;
                stream.write_all(rest)
            }
            _ => respond(
                &mut stream,
                method,
                "200 OK",
                "application/octet-stream",
                &file.bytes,
            ),
        }
    }

    /// Answers a request for a page with one that hurts, if it is to be so.
    fn bad_page(&self, stream: &mut TcpStream) -> Option<std::io::Result<()>> {
        let head = |stream: &mut TcpStream, more: &str| {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{more}\r\n"
            )
        };
        let line = b"<a href=\"/files/none-1.0-py3-none-any.whl\">none-1.0-py3-none-any.whl</a>\n";
        Some(match self.fault? {
            Fault::EndlessPages => {
                head(stream, "").and_then(|()| endless(stream, &line.repeat(1000), 0))
            }
            Fault::BombPages => {
                let bomb = bomb(line);
                let more = format!(
                    "Content-Encoding: gzip\r\nContent-Length: {}\r\n",
                    bomb.len()
                );
                head(stream, &more).and_then(|()| stream.write_all(&bomb))
            }
            Fault::SlowPages => head(stream, "").and_then(|()| endless(stream, b"<", 100)),
            Fault::SlowHeads => write!(stream, "HTTP/1.1 200 OK\r\nX-Slow: ")
                .and_then(|()| endless(stream, b"x", 100)),
            _ => return None,
        })
    }

    /// A project's page: its content type and its text.
    fn page(&self, project: &str) -> Option<(&'static str, String)> {
        let files: Vec<&File> = self
            .files
            .iter()
            .filter(|file| file.project == project)
            .collect();
        if files.is_empty() {
            return None;
        }
        if self.fault == Some(Fault::LocalLinks) {
            let links = files.iter().map(|file| {
                let path = self.local.join(&file.name);
                format!(
                    "<a href=\"file://{0}\">{1}</a><a href=\"file://localhost{0}\">{1}</a>",
                    path.display(),
                    file.name
                )
            });
            return Some(("text/html", links.collect()));
        }
        Some(match self.api {
            Api::Html => ("text/html", html(&files)),
            Api::Json => ("application/vnd.pypi.simple.v1+json", json(project, &files)),
        })
    }
}

/// Sends the same bytes again and again, with a pause of some milliseconds between, until the
/// client has gone.
fn endless(stream: &mut TcpStream, bytes: &[u8], pause: u64) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        if pause > 0 {
            stream.flush()?;
            std::thread::sleep(std::time::Duration::from_millis(pause));
        }
    }
}

/// Packs a line as often as makes 1 GB.
fn bomb(line: &[u8]) -> Vec<u8> {
    let block = line.repeat((1 << 20) / line.len());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..1024 {
        packed.write_all(&block).unwrap();
    }
    packed.finish().unwrap()
}

fn html(files: &[&File]) -> String {
    let mut text = "<!DOCTYPE html><html><body>\n".to_owned();
    for file in files {
        let yanked = file
            .yanked
            .as_ref()
            .map(|why| format!(" data-yanked=\"{why}\""))
            .unwrap_or_default();
        let python = file
            .requires_python
            .as_ref()
            .map(|specifier| {
                format!(
                    " data-requires-python=\"{}\"",
                    specifier.replace('>', "&gt;").replace('<', "&lt;")
                )
            })
            .unwrap_or_default();
        let (name, sha256) = (&file.name, &file.sha256);
        _ = writeln!(
            text,
            "<a href=\"/files/{name}#sha256={sha256}\"{yanked}{python}>{name}</a><br>"
        );
    }
    text + "</body></html>\n"
}

fn json(project: &str, files: &[&File]) -> String {
    let files: Vec<serde_json::Value> = files
        .iter()
        .map(|file| {
            serde_json::json!({
                "filename": file.name,
                "url": format!("/files/{}", file.name),
                "hashes": { "sha256": file.sha256 },
                "requires-python": file.requires_python,
                "yanked": file.yanked.as_ref().map_or(serde_json::Value::Bool(false), |why| why.as_str().into()),
            })
        })
        .collect();
    serde_json::json!({ "meta": { "api-version": "1.0" }, "name": project, "files": files })
        .to_string()
}

fn respond(
    stream: &mut TcpStream,
    method: &str,
    status: &str,
    kind: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if method != "HEAD" {
        stream.write_all(body)?;
    }
    Ok(())
}

impl Server {
    /// The address for `--index-url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/simple/", self.address)
    }

    /// The same by the name that every machine has for itself.
    pub(crate) fn url_of_localhost(&self) -> String {
        format!("http://localhost:{}/simple/", self.address.port())
    }

    /// The same with a name and a password in it.
    pub(crate) fn url_with_secret(&self) -> String {
        format!("http://user:secret@{}/simple/", self.address)
    }

    /// The paths that were asked for so far, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes `incoming`.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn pip_installs_from_it() {
    for api in [Api::Html, Api::Json] {
        let server = Index::new(api)
            .wheel("some-thing", &Wheel::simple("some-thing", "1.0"))
            .wheel("some-thing", &Wheel::simple("some-thing", "2.0"))
            .yanked("broken")
            .wheel("some-thing", &Wheel::simple("some-thing", "3.0"))
            .requires_python("<3")
            .serve();
        let target = tempfile::tempdir().unwrap();
        let mut pip = std::process::Command::new(&super::tools::python().path);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--isolated",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ])
        .args([
            "--root-user-action=ignore",
            "--index-url",
            &server.url(),
            "some-thing",
            "--target",
        ])
        .arg(target.path());
        super::tools::output(&mut pip);
        assert!(
            target.path().join("some_thing-1.0.dist-info").is_dir(),
            "{api:?}"
        );
        assert_eq!(
            server.requests(),
            [
                "/simple/some-thing/",
                "/files/some_thing-1.0-py3-none-any.whl"
            ]
        );
    }
}
