//! The system's OpenSSH: one connection per host, over which everything runs.
//!
//! A master (`ssh -M -N -f`, ssh_config(5) "ControlMaster") is started when a host is first used;
//! every command is a session of it. Nothing is passed to ssh that would weaken what the user's
//! configuration says about keys.
//!
//! The masters' sockets lie in a private directory. A guard, which is a small shell that reads from
//! a pipe of ours, closes the masters and removes the directory when that pipe ends: at our end,
//! however that came, `kill -9` too.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::process;
use pkgapp_core::text::shell_quoted;

use super::HostFailure;
use super::diagnosis::{self, Trouble};
use super::interrupt;
use super::prompt::Prompt;
use pkgapp_config::HostAddress;

/// How the user wants ssh to be used.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// The program; `None`: `ssh` on PATH.
    pub program: Option<PathBuf>,
    /// Its configuration instead of the user's and the system's (`ssh -F`).
    pub config: Option<PathBuf>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
}

/// All connections of a process. They are closed when it is dropped.
#[derive(Debug)]
pub struct Connections {
    ssh: PathBuf,
    options: SshOptions,
    directory: PathBuf,
    guard: Mutex<Option<Child>>,
    count: AtomicUsize,
    prompt: Prompt,
    /// One at a time asks the user.
    asking: Mutex<()>,
}

/// The connection to one host, made when it is first needed, and again when it is lost.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Arc<Connections>,
    name: String,
    address: HostAddress,
    socket: Mutex<PathBuf>,
}

/// Reads a line that never comes, then closes the masters. It must survive the signals of a
/// terminal.
const GUARD: &str = "trap '' INT HUP QUIT TERM; read -r x; \
    for s in \"$1\"/*.s; do [ ! -S \"$s\" ] || \"$2\" -F /dev/null -S \"$s\" -O exit x; done; rm -rf \"$1\"";

/// How many seconds without an answer a connection is held for dead: interval and count
/// (ssh_config(5)).
const ALIVE: (u32, u32) = (10, 3);

/// The longest that a path of a control socket may be: sun_path of unix(7) has 108 bytes, and ssh
/// adds 17 while it makes the socket.
const LONGEST_SOCKET: usize = 108 - 17 - 1;

impl Connections {
    /// Prepares for connections; none is made yet.
    ///
    /// # Errors
    /// There is no ssh, or no directory for its sockets can be made.
    pub fn new(options: SshOptions, prompt: Prompt) -> Result<Arc<Self>> {
        let program = options
            .program
            .clone()
            .unwrap_or_else(|| PathBuf::from("ssh"));
        let ssh = which::which(&program).map_err(|error| {
            Error::new(format!("there is no `{}`", program.display()))
                .cause(error)
                .hint("install OpenSSH's client (`openssh-client` or `openssh-clients`)")
        })?;
        let directory = private_directory()?;
        let guard = Process::new("/bin/sh")
            .args(["-c", GUARD, "pkgapp-guard"])
            .args([&directory, &ssh])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context(|| "cannot start `/bin/sh`")?;
        let (guard, count, asking) = (Mutex::new(Some(guard)), AtomicUsize::new(0), Mutex::new(()));
        Ok(Arc::new(Self {
            ssh,
            options,
            directory,
            guard,
            count,
            prompt,
            asking,
        }))
    }

    pub(super) fn to(self: &Arc<Self>, name: &str, address: &HostAddress) -> Connection {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let socket = Mutex::new(self.directory.join(format!("{number}.s")));
        Connection {
            connections: Arc::clone(self),
            name: name.to_owned(),
            address: address.clone(),
            socket,
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let guard = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut guard) = guard.take() {
            drop(guard.stdin.take());
            // It has nobody to tell, and removes what it can.
            _ = guard.wait();
        }
    }
}

fn private_directory() -> Result<PathBuf> {
    let make = |parent: &Path| {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("pkgapp-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
    };
    let usual = std::env::temp_dir();
    let short = usual.as_os_str().len() + "/pkgapp-123456/12345678.s".len() <= LONGEST_SOCKET;
    let parent = if short { usual } else { PathBuf::from("/tmp") };
    let directory =
        make(&parent).context(|| format!("cannot make a directory in `{}`", shown(&parent)))?;
    // The guard removes it.
    Ok(directory.keep())
}

impl Connection {
    /// Returns what a person gives to ssh to get to the same place.
    fn destination(&self) -> String {
        let mut words = Vec::new();
        if let Some(config) = &self.connections.options.config {
            words.push(format!(
                "-F {}",
                shell_quoted(&config.display().to_string())
            ));
        }
        if let Some(port) = self.address.port {
            words.push(format!("-p {port}"));
        }
        words.push(self.login());
        words.join(" ")
    }

    fn login(&self) -> String {
        match &self.address.user {
            Some(user) => format!("{user}@{}", self.address.host),
            None => self.address.host.clone(),
        }
    }

    /// Returns a process that runs `remote` over a connection of its own, without questions.
    pub(super) fn new_process(&self, remote: &str) -> Process {
        let mut process = self.ssh(Path::new("none"));
        process.args(["-o", "ControlMaster=no"]);
        self.connect_without_questions(&mut process);
        process.arg("--").arg(self.login()).arg(remote);
        process
    }

    /// Returns the error of a connection that was made without questions, of which ssh has said
    /// `messages`.
    pub(super) fn not_reached_again(&self, messages: &str) -> Error {
        let error = diagnosis::not_reached(&self.name, &self.destination(), messages);
        let error = error.note("a release is confirmed over a new connection");
        if diagnosis::trouble(messages) != Trouble::Denied {
            return error;
        }
        error.hint(
            "log in with a key or an agent that needs no questions, or let a person confirm: \
             `--confirm manual`",
        )
    }

    /// ssh with what holds for the master and for its sessions; the socket `none` is no socket
    /// (ssh_config(5), "ControlPath").
    fn ssh(&self, socket: &Path) -> Process {
        let mut process = Process::new(&self.connections.ssh);
        if let Some(config) = &self.connections.options.config {
            process.arg("-F").arg(config);
        }
        process.arg("-T").arg("-S").arg(socket);
        // Errors are what we read; `RemoteCommand` of a configuration would take the place of ours.
        for option in [
            "LogLevel=ERROR",
            "RemoteCommand=none",
            "PermitLocalCommand=no",
        ] {
            process.args(["-o", option]);
        }
        process
    }

    /// Returns a process that runs `remote` through the login's shell, over a connection that is
    /// there.
    pub(super) fn process(&self, remote: &str) -> Result<Process, HostFailure> {
        let socket = self.connected()?;
        let mut process = self.ssh(&socket);
        // Without its master ssh would connect by itself, with other options: let that fail.
        process.args([
            "-o",
            "ControlMaster=no",
            "-o",
            "ProxyCommand=false",
            "-o",
            "ProxyJump=none",
        ]);
        process.arg("--").arg(self.login()).arg(remote);
        Ok(process)
    }

    /// Returns the socket of a master that lives.
    fn connected(&self) -> Result<PathBuf, HostFailure> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if UnixStream::connect(&*socket).is_ok() {
            return Ok(socket.clone());
        }
        // A dead master's socket stays; another name is free of it for sure.
        let number = self.connections.count.fetch_add(1, Ordering::Relaxed);
        *socket = self.connections.directory.join(format!("{number}.s"));
        let messages = match self
            .connect(&socket, PromptPolicy::Yes)
            .map_err(HostFailure::NeverReached)?
        {
            Ok(()) => return Ok(socket.clone()),
            Err(messages) => messages,
        };
        let askable = matches!(
            diagnosis::trouble(&messages),
            Trouble::KeyUnknown | Trouble::Denied
        );
        let messages = if askable && self.connections.prompt.is_possible() {
            match self.ask(&socket).map_err(HostFailure::NeverReached)? {
                Ok(()) => return Ok(socket.clone()),
                Err(messages) => messages,
            }
        } else {
            messages
        };
        Err(HostFailure::NeverReached(diagnosis::not_reached(
            &self.name,
            &self.destination(),
            &messages,
        )))
    }

    /// Connects while ssh may ask the user for a password, a passphrase, or whether a key is the
    /// right one.
    fn ask(&self, socket: &Path) -> Result<Result<(), String>> {
        let _alone = self
            .connections
            .asking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.connections
            .prompt
            .alone(|| self.connect(socket, PromptPolicy::No))
    }

    /// The command that starts the master.
    fn master(&self, socket: &Path, batch: PromptPolicy) -> Process {
        let mut process = self.ssh(socket);
        process.args(["-M", "-N", "-f", "-o", "ControlPersist=no"]);
        match batch {
            PromptPolicy::Yes => self.connect_without_questions(&mut process),
            PromptPolicy::No => self.connect_to(&mut process),
        }
        process
            .arg("--")
            .arg(self.login())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        process
    }

    /// Adds the options of a process that connects by itself.
    fn connect_to(&self, process: &mut Process) {
        for option in [
            "ClearAllForwardings=yes".to_owned(),
            format!(
                "ConnectTimeout={}",
                self.connections.options.connect_timeout.as_secs().max(1)
            ),
            format!("ServerAliveInterval={}", ALIVE.0),
            format!("ServerAliveCountMax={}", ALIVE.1),
        ] {
            process.args(["-o", &option]);
        }
        if let Some(port) = self.address.port {
            process.arg("-p").arg(port.to_string());
        }
    }

    fn connect_without_questions(&self, process: &mut Process) {
        self.connect_to(process);
        process.args(["-o", "BatchMode=yes"]).process_group(0);
    }

    /// Starts the master. The inner failure is what ssh has said.
    fn connect(&self, socket: &Path, batch: PromptPolicy) -> Result<Result<(), String>> {
        if interrupt::requested() {
            return Err(interrupt::error());
        }
        let log = socket.with_extension("log");
        let stderr =
            std::fs::File::create(&log).context(|| format!("cannot write `{}`", shown(&log)))?;
        let mut process = self.master(socket, batch);
        process.stderr(stderr);

        // ssh goes to the background once it is connected; only then this ends well.
        let mut child = process
            .spawn()
            .context(|| format!("cannot run `{}`", process::line(&process)))?;
        // Logging in may take its time too, as with directories that are slow.
        let limit = (batch == PromptPolicy::Yes)
            .then(|| self.connections.options.connect_timeout * 2 + Duration::from_secs(5));
        let connected = wait(&mut child, limit).context(|| "cannot wait for ssh")?;

        let messages = std::fs::read(&log).context(|| format!("cannot read `{}`", shown(&log)))?;
        let mut messages = String::from_utf8_lossy(&messages).into_owned();
        match connected {
            Some(true) => return Ok(Ok(())),
            Some(false) => {}
            None if interrupt::requested() => return Err(interrupt::error()),
            None => messages += "\nOperation timed out",
        }
        Ok(Err(messages))
    }
}

/// Whether ssh may ask the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PromptPolicy {
    Yes,
    No,
}

/// Waits for a child; `None`: it was ended, because of the limit or the user.
fn wait(child: &mut Child, limit: Option<Duration>) -> std::io::Result<Option<bool>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if limit.is_some_and(|limit| start.elapsed() > limit || interrupt::requested()) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
