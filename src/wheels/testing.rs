//! Building blocks for tests of wheels: valid and invalid archives, and an index that runs in the
//! test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest as _, Sha256};
use zip::write::{SimpleFileOptions, ZipWriter};

/// URL-safe base64 without padding, as in RECORD.
pub(super) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0, |word, (at, byte)| {
            word | u32::from(*byte) << (16 - 8 * at)
        });
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A wheel under construction: members in order, RECORD computed unless it is given.
#[derive(Clone)]
pub(super) struct WheelMaker {
    pub(super) members: Vec<(String, u32, Vec<u8>)>,
    pub(super) dist_info: String,
    pub(super) record: Option<String>,
}

impl WheelMaker {
    pub(super) fn new(name: &str, version: &str) -> Self {
        let dist_info = format!("{name}-{version}.dist-info");
        let metadata =
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: A test\n");
        let wheel =
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        Self {
            members: Vec::new(),
            dist_info: dist_info.clone(),
            record: None,
        }
        .with(
            &format!("{name}/__init__.py"),
            format!("version = '{version}'\n").as_bytes(),
        )
        .with(&format!("{dist_info}/METADATA"), metadata.as_bytes())
        .with(&format!("{dist_info}/WHEEL"), wheel.as_bytes())
    }

    pub(super) fn with(self, path: &str, content: &[u8]) -> Self {
        self.with_mode(path, 0o100_644, content)
    }

    /// `mode` is the whole `st_mode`. A member of the same path is replaced.
    pub(super) fn with_mode(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.members.retain(|(known, ..)| known != path);
        self.members
            .push((path.to_owned(), mode, content.to_owned()));
        self
    }

    pub(super) fn without(mut self, path: &str) -> Self {
        self.members.retain(|(known, ..)| known != path);
        self
    }

    pub(super) fn record_text(&self) -> String {
        let mut text = String::new();
        for (path, _, content) in self
            .members
            .iter()
            .filter(|(path, ..)| !path.ends_with('/'))
        {
            let hash = base64url(&Sha256::digest(content));
            writeln!(text, "{path},sha256={hash},{}", content.len()).unwrap();
        }
        text + &format!("{}/RECORD,,\n", self.dist_info)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let record = self.record.clone().unwrap_or_else(|| self.record_text());
        let record = (
            format!("{}/RECORD", self.dist_info),
            0o100_644,
            record.into_bytes(),
        );
        for (path, mode, content) in self.members.iter().chain([&record]) {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            if path.ends_with('/') {
                writer.add_directory(path.as_str(), options).unwrap();
            } else if mode & 0o170_000 == 0o120_000 {
                writer
                    .add_symlink(
                        path.as_str(),
                        String::from_utf8(content.clone()).unwrap(),
                        options,
                    )
                    .unwrap();
            } else {
                writer.start_file(path.as_str(), options).unwrap();
                writer.write_all(content).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    }
}

/// A request to a server.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// A response: a head, then bytes, and the connection is closed.
pub(super) struct Answer {
    pub status: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// The number of bytes of the body after which the connection breaks.
    pub(super) broken_after: Option<usize>,
}

impl Answer {
    pub(super) fn ok(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: "200 OK",
            headers: vec![("content-type", kind.to_owned())],
            body: body.into(),
            broken_after: None,
        }
    }

    pub(super) fn status(status: &'static str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            broken_after: None,
        }
    }
}

/// An HTTP server on its own port.
pub(super) struct Server {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets each request and the number of earlier requests for the same path.
    pub(super) fn start(
        answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(&stream.unwrap(), &log, &*answer));
            }
        });
        Self { url, asked }
    }

    /// Returns the paths that were requested so far, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|request| request.path.clone())
            .collect()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: &TcpStream,
    log: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, usize) -> Answer,
) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    let request = Request { path, headers };
    let earlier = {
        let mut log = log.lock().unwrap();
        let earlier = log
            .iter()
            .filter(|known| known.path == request.path)
            .count();
        log.push(request.clone());
        earlier
    };
    let answer = answer(&request, earlier);
    let mut head = format!(
        "HTTP/1.1 {}\r\ncontent-length: {}\r\nconnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let mut out = stream;
    let end = answer.broken_after.unwrap_or(answer.body.len());
    out.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // The client may have disconnected, as it should when it has seen enough.
    _ = out.write_all(&answer.body[..end]);
    _ = out.flush();
}
