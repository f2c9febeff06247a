//! Pages of an index, in both forms, by way of a server: what comes of them is what a build sees.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use pkgapp_core::cache::Cache;
use pkgapp_lock::index::PlaceId;
use pkgapp_lock::{Indexes, Pin, PinSource};
use pkgapp_wheels::choice::FileRequest;
use pkgapp_wheels::index::IndexClient;

use super::fuzz;
use super::readers::{environment, names};

/// The next page: its content type, and its bytes with `@NAME@` for the project.
type Page = Arc<Mutex<(&'static str, Vec<u8>)>>;

#[test]
fn pages_of_indexes() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let page: Page = Arc::default();
    // It ends with the process.
    std::thread::spawn({
        let page = page.clone();
        move || {
            listener
                .incoming()
                .for_each(|stream| answer(stream.unwrap(), &page).unwrap_or_default());
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    let index = format!("http://{address}/simple/");
    let indexes = Indexes {
        index: Some(index.parse().unwrap()),
        ..Indexes::default()
    };
    let environment = environment();
    let count = std::cell::Cell::new(0);
    fuzz("pages", |case| {
        let kind = if case.name.ends_with(".json") {
            "application/vnd.pypi.simple.v1+json"
        } else {
            "text/html"
        };
        *page.lock().unwrap() = (kind, case.bytes.clone());
        // Another name each time, so that no page is kept; another client, because one that failed
        // is not asked again.
        count.set(count.get() + 1);
        let name = format!("fuzzed_{}", count.get());
        let client = IndexClient::new(&indexes, &cache, false).unwrap();
        let pin = Pin {
            name: name.parse().unwrap(),
            version: Some("1.0".parse().unwrap()),
            extras: Vec::new(),
            source: PinSource::Index,
            hashes: Vec::new(),
            at: pkgapp_core::error::Location::file("requirements.txt"),
        };
        match client.offers(&PlaceId::Default, &pin.name) {
            Ok(offers) => {
                let wanted = FileRequest {
                    pin: &pin,
                    environment: &environment,
                    indexes: &indexes,
                    require_hashes: false,
                };
                wanted.sort(offers);
                Ok(())
            }
            Err(error) => names(&error, index.trim_end_matches('/')),
        }
    });
}

fn answer(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .for_each(drop);
    let name = request
        .split(['/', ' '])
        .find(|word| word.starts_with("fuzzed"))
        .unwrap_or("fuzzed")
        .replace('-', "_");
    let (kind, bytes) = page.lock().unwrap().clone();
    let mut body = Vec::new();
    let mut rest = &bytes[..];
    while let Some(at) = rest.windows(6).position(|window| window == b"@NAME@") {
        body.extend_from_slice(&rest[..at]);
        body.extend_from_slice(name.as_bytes());
        rest = &rest[at + 6..];
    }
    body.extend_from_slice(rest);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}
