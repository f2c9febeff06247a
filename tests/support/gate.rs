//! A server's door: what is behind it answers only to those who say who they are, and meanwhile it
//! looks around at the processes of this machine, as anyone could.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The running door; it closes when dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    behind: SocketAddr,
    /// The value of `Authorization`.
    wanted: String,
    /// What must not be seen.
    secret: String,
    seen: Mutex<Vec<String>>,
    entered: AtomicUsize,
    stop: AtomicBool,
}

impl Gate {
    /// Stands before a server; `credentials` are `user:password`, and no process may have `secret`
    /// in its arguments.
    pub(crate) fn before(behind: SocketAddr, credentials: &str, secret: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let wanted = format!(
            "Basic {}",
            data_encoding::BASE64.encode(credentials.as_bytes())
        );
        let (secret, seen) = (secret.to_owned(), Mutex::default());
        let shared = Shared {
            behind,
            wanted,
            secret,
            seen,
            entered: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(shared));
        let inside = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if inside.stop.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, stream) = (inside.clone(), stream.unwrap());
                // A client that goes away is its own business.
                std::thread::spawn(move || _ = shared.answer(stream));
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// How many requests were let in.
    pub(crate) fn entered(&self) -> usize {
        self.shared.entered.load(Ordering::SeqCst)
    }

    /// The command lines that had the secret.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Shared {
    /// Answers one request; the connection is closed after it.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut head, mut known, mut length) = (String::new(), false, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "connection" => continue,
                "authorization" => known = value.trim() == self.wanted,
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
            head.push_str(&line);
        }
        self.look_around();
        if !known {
            let no = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"gate\"\r\n";
            return write!(stream, "{no}Content-Length: 0\r\nConnection: close\r\n\r\n");
        }
        self.entered.fetch_add(1, Ordering::SeqCst);
        let mut behind = TcpStream::connect(self.behind)?;
        write!(behind, "{head}Connection: close\r\n\r\n")?;
        std::io::copy(&mut reader.take(length), &mut behind)?;
        std::io::copy(&mut behind, &mut stream)?;
        stream.shutdown(Shutdown::Both)
    }

    fn look_around(&self) {
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            // It may have ended since.
            let Ok(line) = std::fs::read(process.path().join("cmdline")) else {
                continue;
            };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&self.secret) {
                self.seen.lock().unwrap().push(line);
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes `incoming`.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
