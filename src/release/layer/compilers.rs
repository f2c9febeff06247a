//! The processes that compile byte code: each starts once and serves requests one by one with forks
//! of itself (`compile.py`). The number of processes is that of the cores, however many layers are
//! built at the same time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use pkgapp_core::content::Bytes;
use pkgapp_core::content::Content;
use pkgapp_core::error::{Context, Error, Result, shown};
use pkgapp_core::path::ReleasePath;

/// The compiling program; its first lines describe the protocol.
const PROGRAM: &str = include_str!("compile.py");

/// A Python source: its path below the prefix, and its bytes.
pub(super) type PythonSource = (ReleasePath, Content);

/// The size of reads from an interpreter, in bytes: the size of its writes.
const PORTION: usize = 1 << 18;

/// The capacity of a pipe in bytes: an interpreter need not wait until each answer is read.
const PIPE: usize = 1 << 20;

/// The idle and busy processes of one interpreter.
#[derive(Debug, Default)]
pub(super) struct CompilerPool {
    state: Mutex<PoolState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    idle: Vec<CompilerProcess>,
    busy: usize,
}

impl CompilerPool {
    /// Compiles sources with a process of `interpreter`, and waits if `most` processes are busy.
    /// Passes each one's byte code to `take`, in order; `None` if a source does not compile. The
    /// result does not depend on other requests.
    ///
    /// The interpreter does not run, dies, or sends no answers for longer than `patience` (answers
    /// arrive in portions), or `take` fails.
    pub(super) fn compile(
        &self,
        interpreter: &Path,
        most: usize,
        patience: Duration,
        sources: &[PythonSource],
        mut take: impl FnMut(&PythonSource, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut permit = self.permit(most);
        let mut process = match permit.process.take() {
            Some(process) => process,
            None => CompilerProcess::start(interpreter)?,
        };
        process.ask(sources);
        for (number, source) in sources.iter().enumerate() {
            match process.next_answer(patience) {
                Some(Ok(pyc)) => take(source, pyc.as_deref())?,
                // Answers arrive in groups, so the failing source may be a later one.
                failed => {
                    drop(process);
                    return Err(culprit(
                        interpreter,
                        patience,
                        &sources[number..],
                        failed.is_none(),
                    ));
                }
            }
        }
        // A process that has failed is not used again.
        permit.process = Some(process);
        Ok(())
    }

    fn permit(&self, most: usize) -> ProcessPermit<'_> {
        let mut state = self.state();
        while state.busy >= most.max(1) {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.busy += 1;
        ProcessPermit {
            compilers: self,
            process: state.idle.pop(),
        }
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to use a process; dropping it returns the process for the next request.
struct ProcessPermit<'a> {
    compilers: &'a CompilerPool,
    process: Option<CompilerProcess>,
}

impl Drop for ProcessPermit<'_> {
    fn drop(&mut self) {
        let mut state = self.compilers.state();
        state.busy -= 1;
        state.idle.extend(self.process.take());
        drop(state);
        self.compilers.freed.notify_one();
    }
}

/// The answer of the compiling program for one source: byte code, or nothing.
type CompilerAnswer = std::io::Result<Option<Vec<u8>>>;

/// A Python process that waits for requests. Dropping it ends the process and its forks.
#[derive(Debug)]
struct CompilerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: mpsc::Receiver<Vec<CompilerAnswer>>,
    /// Answers that have arrived and are not yet used.
    read: VecDeque<CompilerAnswer>,
    stderr: std::fs::File,
}

impl CompilerProcess {
    fn start(interpreter: &Path) -> Result<Self> {
        let stderr = tempfile::tempfile().context(|| "cannot create a temporary file")?;
        let mut command = command(interpreter);
        command
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        command.stderr(
            stderr
                .try_clone()
                .context(|| "cannot create a temporary file")?,
        );
        let mut child = command
            .spawn()
            .context(|| format!("cannot run `{}`", shown(interpreter)))?;
        let (sender, answers) = mpsc::sync_channel(2);
        if let Some(stdout) = child.stdout.take() {
            // A larger pipe only makes this faster.
            _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE);
            std::thread::spawn(move || {
                read_answers(&mut BufReader::with_capacity(PORTION, stdout), &sender);
            });
        }
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            answers,
            read: VecDeque::new(),
            stderr,
        })
    }

    /// Sends a request. The process reads the whole request before it answers, so neither side can
    /// block the other.
    fn ask(&mut self, sources: &[PythonSource]) {
        let mut request = format!("{}\n", sources.len()).into_bytes();
        let mut last: &[u8] = &[];
        for (path, content) in sources {
            let (file, start) = match &content.bytes {
                Bytes::Disk { file, start } => (file.as_os_str().as_bytes(), *start),
                // Files of a layer are never in memory.
                Bytes::Memory(_) => (&b"/dev/null"[..], 0),
            };
            let file = if file == last { &[] } else { file };
            request.extend(
                format!(
                    "{start} {} {} {}\n",
                    content.digest.size,
                    file.len(),
                    path.as_str().len()
                )
                .bytes(),
            );
            request.extend(file);
            request.extend(path.as_str().bytes());
            if !file.is_empty() {
                last = file;
            }
        }
        // A dead process sends no answers, which the caller reports.
        _ = self.stdin.as_mut().map(|stdin| stdin.write_all(&request));
    }

    /// Returns the next answer; `None` if it does not arrive in time.
    fn next_answer(&mut self, patience: Duration) -> Option<CompilerAnswer> {
        while self.read.is_empty() {
            match self.answers.recv_timeout(patience) {
                Ok(answers) => self.read.extend(answers),
                Err(mpsc::RecvTimeoutError::Timeout) => return None,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Some(Err(ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        self.read.pop_front()
    }

    fn died(&mut self, interpreter: &Path, source: &ReleasePath) -> Error {
        let error = Error::new(format!(
            "`{}` died while it compiled `{source}`",
            shown(interpreter)
        ));
        let error = match self.child.wait() {
            Ok(status) => error.cause_text(format!("it ended with {status}")),
            Err(cause) => error.cause(cause),
        };
        let mut said = String::new();
        match self
            .stderr
            .rewind()
            .and_then(|()| self.stderr.read_to_string(&mut said))
        {
            Ok(_) if !said.trim().is_empty() => {
                error.cause_text(format!("it printed\n{}", said.trim_end()))
            }
            _ => error,
        }
    }
}

impl Drop for CompilerProcess {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        _ = self.child.wait();
    }
}

/// Compiles sources one by one; returns an error with the source that crashes or blocks the
/// interpreter, and the interpreter's message.
fn culprit(interpreter: &Path, patience: Duration, sources: &[PythonSource], hangs: bool) -> Error {
    for source in sources {
        let path = &source.0;
        let mut process = match CompilerProcess::start(interpreter) {
            Ok(process) => process,
            Err(error) => return error,
        };
        process.ask(std::slice::from_ref(source));
        match process.next_answer(patience) {
            Some(Ok(_)) => {}
            Some(Err(cause)) => return process.died(interpreter, path).cause(cause),
            None => {
                return Error::new(format!(
                    "`{}` does not finish compiling `{path}`",
                    shown(interpreter)
                ))
                .cause_text(format!("it took more than {} s", patience.as_secs()));
            }
        }
    }
    let paths: Vec<String> = sources
        .iter()
        .take(3)
        .map(|(path, _)| format!("`{path}`"))
        .collect();
    let what = if hangs {
        "does not finish compiling"
    } else {
        "died while it compiled"
    };
    Error::new(format!(
        "`{}` {what} {} sources together, but not each of them alone",
        shown(interpreter),
        sources.len()
    ))
    .note(format!("the first are {}", paths.join(", ")))
    .hint("build again")
}

/// Passes answers on as they arrive. Answers that arrive together are passed together, to wake the
/// receiver less often.
fn read_answers(stdout: &mut BufReader<impl Read>, sender: &mpsc::SyncSender<Vec<CompilerAnswer>>) {
    let mut answers = Vec::new();
    loop {
        let answer = read_answer(stdout);
        let last = answer.is_err();
        answers.push(answer);
        let together = last || stdout.buffer().is_empty();
        if together && (sender.send(std::mem::take(&mut answers)).is_err() || last) {
            return;
        }
    }
}

fn read_answer(stdout: &mut impl BufRead) -> CompilerAnswer {
    let bad = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    stdout.by_ref().take(64).read_line(&mut line)?;
    let (what, length) = line.trim_end().split_once(' ').ok_or_else(bad)?;
    let length: usize = length.parse().map_err(std::io::Error::other)?;
    match what {
        "failed" => Ok(None),
        "compiled" => {
            let mut pyc = Vec::with_capacity(length.min(PIPE));
            stdout.by_ref().take(length as u64).read_to_end(&mut pyc)?;
            if pyc.len() == length {
                Ok(Some(pyc))
            } else {
                Err(bad())
            }
        }
        _ => Err(std::io::Error::other(format!("`{what}` is no answer"))),
    }
}

/// Returns a Python command that is independent of its caller: without PYTHON* variables, user
/// site, `.pth` files, and byte code of its own.
///
/// `-I` would do most of that, but it also disables PYTHONHASHSEED.
pub(super) fn command(interpreter: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command
        .args(["-s", "-S", "-B", "-X", "utf8", "-W", "ignore"])
        .current_dir("/");
    command
        .env_clear()
        .env("PYTHONHASHSEED", "0")
        .env("LC_ALL", "C.UTF-8");
    // Otherwise, glibc returns memory and requests it again for every syntax tree (mallopt(3)).
    command
        .env("MALLOC_TOP_PAD_", "16777216")
        .env("MALLOC_TRIM_THRESHOLD_", "1073741824");
    command
        .env("MALLOC_MMAP_THRESHOLD_", "33554432")
        .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
    // Some Pythons do not start without it. The output of marshal does not depend on it.
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command
}
