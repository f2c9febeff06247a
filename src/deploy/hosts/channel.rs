//! One run of a command through a pipe to a shell: input in, lines out, until it ends, its time is
//! up or the user stops.
//!
//! Its threads are never waited for: whatever holds the other end of a pipe, this returns.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::script::LineMark;
use super::{CommandOutput, HostCommand, KEPT_BYTES, OrphanPolicy, OutputLimits, interrupt};
use pkgapp_core::process::Stream;

/// How often time and interruptions are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long a command that was asked to end may take for it.
const GRACE: Duration = Duration::from_secs(3);

/// Lines without an end are cut here.
const LONGEST_LINE: usize = 64 << 10;

/// Lines of ours are no longer than this.
const LONGEST_MARKED: usize = 64;

/// What comes back from a run.
#[derive(Debug)]
pub(super) struct RunEnd {
    /// What it printed after it began. The status is the told one, or that of the process.
    pub(super) output: CommandOutput,
    /// The script was begun.
    pub(super) began: bool,
    /// The script's end was told.
    pub(super) told: bool,
    /// What was printed before it began: by ssh, sudo or a login's shell.
    pub(super) noise: String,
    /// It was stopped by us.
    pub(super) stopped: Option<StopReason>,
}

/// Why we stopped to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Its time was up.
    Timeout,
    /// Its script was not begun in the time that a host has to answer.
    NotBegun,
    /// It said nothing for so long.
    Silence,
    /// It printed more than it may.
    Flood,
    /// The user asked to.
    Interrupt,
}

/// What a script reads after the payload.
pub(super) type ScriptInput = Box<dyn Read + Send>;

/// What happens while it runs.
pub(super) trait Watcher {
    /// A line was printed; it has its end, unless there was none or it is the piece of a very long
    /// one.
    fn line(&mut self, stream: Stream, line: &[u8]);
    /// That many bytes of the input are on their way.
    fn sent(&mut self, _bytes: u64) {}
    /// Takes standard output as it is instead of as lines; `false`: as lines.
    fn raw(&mut self, _bytes: &[u8]) -> bool {
        false
    }
}

enum ChannelEvent {
    Bytes(Stream, Vec<u8>),
    End,
    Sent(u64),
    /// The payload is written, and the input must stay open.
    Held(ChildStdin),
}

/// The status of ssh itself when the connection breaks (ssh(1), "EXIT STATUS").
const LOST: i32 = 255;

/// Runs `process`, writes `preface` and then `input` to it. Lines of ours are those with `mark`;
/// `patience` is how long a host has to answer.
///
/// # Errors
/// It can't be started.
pub(super) fn call(
    process: &mut Process,
    mark: &LineMark,
    preface: Vec<u8>,
    input: Option<ScriptInput>,
    command: &HostCommand,
    patience: Duration,
    watcher: &mut dyn Watcher,
) -> std::io::Result<RunEnd> {
    let start = Instant::now();
    // Its own process group: Ctrl-C is for us to hear, not for it.
    let mut child = process
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (sender, events) = sync_channel(64);
    if let Some(stdout) = child.stdout.take() {
        read(stdout, Stream::Stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        read(stderr, Stream::Stderr, sender.clone());
    }
    if let Some(stdin) = child.stdin.take() {
        feed(stdin, preface, input, command.orphan, sender);
    }
    let (killed, heard) = (None, start);
    let mut run = ChannelRun {
        start,
        child,
        held: None,
        command,
        patience,
        stopped: None,
        killed,
        cut: false,
        heard,
    };
    let mut streams = Streams::new(watcher, mark);
    run.follow(&events, &mut streams);
    let status = run.child.wait()?;
    let own = status.code().filter(|_| !run.cut);
    let mut ended = streams.finish();
    // The process says how it ended as well, by a way that no output takes. It must not contradict
    // success.
    match own {
        Some(own) if ended.told && ended.output.status == 0 && own != LOST => {
            ended.output.status = own;
        }
        _ if ended.told => {}
        _ => {
            ended.output.status = status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        }
    }
    ended.output.took = start.elapsed();
    // It may have come to its end just then.
    ended.stopped = run
        .stopped
        .filter(|_| !(ended.told && ended.output.status == 0));
    Ok(ended)
}

struct ChannelRun<'c> {
    start: Instant,
    child: Child,
    /// The input of a command that ends when it is closed.
    held: Option<ChildStdin>,
    command: &'c HostCommand,
    /// How long a host has to answer.
    patience: Duration,
    stopped: Option<StopReason>,
    killed: Option<Instant>,
    /// The process was killed by us, so that its status says nothing.
    cut: bool,
    /// When something came last.
    heard: Instant,
}

impl ChannelRun<'_> {
    fn follow(&mut self, events: &Receiver<ChannelEvent>, streams: &mut Streams<'_>) {
        let mut open = 2;
        while open > 0 {
            let event = events.recv_timeout(TICK);
            let is_event = event.is_ok();
            match event {
                Ok(ChannelEvent::Bytes(stream, bytes)) => streams.take(stream, &bytes),
                Ok(ChannelEvent::End) => open -= 1,
                Ok(ChannelEvent::Sent(bytes)) => streams.watcher.sent(bytes),
                Ok(ChannelEvent::Held(stdin)) if self.stopped.is_none() => self.held = Some(stdin),
                Ok(ChannelEvent::Held(_)) => {}
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if is_event {
                // Not before it was dealt with: whoever takes the output may take its time.
                self.heard = Instant::now();
            }
            if streams.told {
                self.held = None;
                // What it left running may hold its streams for ever; ssh would wait for that.
                if self.heard.elapsed() > GRACE {
                    self.cut();
                    return;
                }
            } else if !self.goes_on(streams) {
                return;
            }
        }
    }

    /// Returns whether it is worth to wait further; stops the command where that is due.
    fn goes_on(&mut self, streams: &Streams<'_>) -> bool {
        if self.stopped.is_none() {
            self.stopped = self.reason_to_stop(streams);
            if self.stopped.is_none() {
                return true;
            }
            self.killed = Some(Instant::now());
            // Its watcher on the host hears of that and ends it.
            self.held = None;
        }
        let patience = if self.command.orphan == OrphanPolicy::Ends {
            GRACE
        } else {
            Duration::ZERO
        };
        if self.killed.is_some_and(|since| since.elapsed() < patience) {
            return true;
        }
        self.cut();
        false
    }

    fn cut(&mut self) {
        self.cut = true;
        // It fails if the process is gone already.
        _ = self.child.kill();
    }

    fn reason_to_stop(&self, streams: &Streams<'_>) -> Option<StopReason> {
        let is_late = |limit: Duration| self.start.elapsed() > limit;
        let most = match self.command.limits {
            OutputLimits::None => u64::MAX,
            OutputLimits::Answer => KEPT_BYTES as u64,
            OutputLimits::Stream(most) => most,
        };
        match self.command.limits {
            _ if self.command.timeout.is_some_and(is_late) => Some(StopReason::Timeout),
            _ if self.command.orphan == OrphanPolicy::Ends && interrupt::requested() => {
                Some(StopReason::Interrupt)
            }
            _ if streams.printed > most => Some(StopReason::Flood),
            // To begin it has nothing to do but read the script.
            _ if !streams.began() && is_late(self.patience) => Some(StopReason::NotBegun),
            OutputLimits::Answer if self.command.timeout.is_none() && is_late(self.patience) => {
                Some(StopReason::Timeout)
            }
            OutputLimits::Stream(_) if self.heard.elapsed() > self.patience => {
                Some(StopReason::Silence)
            }
            OutputLimits::None | OutputLimits::Answer | OutputLimits::Stream(_) => None,
        }
    }
}

fn read(mut from: impl Read + Send + 'static, stream: Stream, to: SyncSender<ChannelEvent>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if to
                        .send(ChannelEvent::Bytes(stream, buffer[..count].to_vec()))
                        .is_err()
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // Nobody listens any more if this fails.
        _ = to.send(ChannelEvent::End);
    });
}

/// Writes the input. A pipe whose reader is gone is no failure of its own: the status will tell.
fn feed(
    mut stdin: ChildStdin,
    preface: Vec<u8>,
    input: Option<ScriptInput>,
    orphan: OrphanPolicy,
    to: SyncSender<ChannelEvent>,
) {
    std::thread::spawn(move || {
        if stdin.write_all(&preface).is_err() {
            return;
        }
        if orphan == OrphanPolicy::Ends {
            // Nobody listens any more if this fails.
            _ = to.send(ChannelEvent::Held(stdin));
            return;
        }
        let Some(mut input) = input else { return };
        let mut buffer = vec![0; 256 << 10];
        while let Ok(count) = input.read(&mut buffer) {
            if count == 0
                || stdin.write_all(&buffer[..count]).is_err()
                || to.send(ChannelEvent::Sent(count as u64)).is_err()
            {
                return;
            }
        }
    });
}

/// The two streams, taken apart into what came before the beginning, lines, and what we have told
/// ourselves.
struct Streams<'w> {
    watcher: &'w mut dyn Watcher,
    mark: &'w LineMark,
    stdout: Lines,
    stderr: Lines,
    noise: Vec<u8>,
    /// How many bytes came since it began.
    printed: u64,
    told: bool,
    status: i32,
}

#[derive(Default)]
struct Lines {
    began: bool,
    raw: bool,
    pending: Vec<u8>,
    kept: Vec<u8>,
}

impl<'w> Streams<'w> {
    fn new(watcher: &'w mut dyn Watcher, mark: &'w LineMark) -> Self {
        let (stdout, stderr) = (Lines::default(), Lines::default());
        Self {
            watcher,
            mark,
            stdout,
            stderr,
            noise: Vec::new(),
            printed: 0,
            told: false,
            status: 0,
        }
    }

    fn began(&self) -> bool {
        self.stdout.began || self.stderr.began
    }

    fn lines(&mut self, stream: Stream) -> &mut Lines {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if self.began() {
            self.printed += bytes.len() as u64;
        }
        if self.lines(stream).raw {
            self.watcher.raw(bytes);
            return;
        }
        let mut pending = std::mem::take(&mut self.lines(stream).pending);
        pending.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(end) = memchr::memchr(b'\n', &pending[done..]) {
            let line = done..done + end + 1;
            done = line.end;
            self.line(stream, &pending[line]);
            if self.lines(stream).raw {
                self.watcher.raw(&pending[done..]);
                return;
            }
        }
        // All lines at once: what is left moves to the front.
        pending.drain(..done);
        self.lines(stream).pending = pending;
        let pending = &mut self.lines(stream).pending;
        if pending.len() > LONGEST_LINE {
            // A line of ours may have come in part, and is not cut in two.
            let last = pending.len() - LONGEST_MARKED;
            let cut = memchr::memchr(LineMark::FIRST, &pending[last..])
                .map_or(pending.len(), |at| last + at);
            let line: Vec<u8> = pending.drain(..cut).collect();
            self.line(stream, &line);
        }
    }

    /// Takes a line with its end, if it has one.
    fn line(&mut self, stream: Stream, line: &[u8]) {
        let mark = self.mark.as_bytes();
        match memchr::memmem::find(line, mark) {
            Some(at) => {
                if at > 0 {
                    self.printed(stream, &line[..at]);
                }
                self.told_us(stream, &String::from_utf8_lossy(&line[at + mark.len()..]));
            }
            None => self.printed(stream, line),
        }
    }

    fn told_us(&mut self, stream: Stream, what: &str) {
        match what.trim_end().split_once(' ') {
            None => {
                self.lines(stream).began = true;
                self.lines(stream).raw = stream == Stream::Stdout && self.watcher.raw(&[]);
            }
            Some((_, status)) if stream == Stream::Stderr => {
                self.told = true;
                self.status = status.parse().unwrap_or(1);
            }
            Some(_) => {}
        }
    }

    fn printed(&mut self, stream: Stream, line: &[u8]) {
        if !self.lines(stream).began {
            self.noise.extend_from_slice(
                &line[..line
                    .len()
                    .min(LONGEST_LINE - self.noise.len().min(LONGEST_LINE))],
            );
            return;
        }
        let kept = &mut self.lines(stream).kept;
        kept.extend_from_slice(line);
        // Cut seldom: it moves everything.
        if kept.len() > 2 * KEPT_BYTES {
            kept.drain(..kept.len() - KEPT_BYTES);
        }
        self.watcher.line(stream, line);
    }

    fn finish(mut self) -> RunEnd {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.lines(stream).pending);
            if !rest.is_empty() {
                self.line(stream, &rest);
            }
            let kept = &mut self.lines(stream).kept;
            kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
        }
        let began = self.began();
        let output = CommandOutput {
            status: self.status,
            stdout: self.stdout.kept,
            stderr: self.stderr.kept,
            took: Duration::ZERO,
        };
        RunEnd {
            output,
            began,
            told: self.told,
            noise: String::from_utf8_lossy(&self.noise).into_owned(),
            stopped: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::shell::Silent;

    #[test]
    fn a_line_of_ours_is_found_behind_one_without_an_end() {
        let mark = LineMark::new().unwrap();
        let end = [mark.as_bytes(), b"exit 7\n"].concat();
        // Wherever what came is cut into two.
        for part in 0..=end.len() {
            let mut silent = Silent;
            let mut streams = Streams::new(&mut silent, &mark);
            streams.take(Stream::Stderr, &[mark.as_bytes(), b"begin\n"].concat());
            streams.take(Stream::Stderr, &vec![b'x'; LONGEST_LINE + 1 - part]);
            streams.take(Stream::Stderr, &end[..part]);
            streams.take(Stream::Stderr, &end[part..]);
            let ended = streams.finish();
            assert_eq!(
                (ended.told, ended.output.status),
                (true, 7),
                "{part} bytes came before the rest"
            );
            assert_eq!(ended.output.stderr.len(), LONGEST_LINE + 1 - part);
        }
    }

    #[test]
    fn only_standard_error_tells_the_end() {
        let mark = LineMark::new().unwrap();
        let mut silent = Silent;
        let mut streams = Streams::new(&mut silent, &mark);
        for what in ["begin\n", "exit 0\n"] {
            streams.take(Stream::Stdout, &[mark.as_bytes(), what.as_bytes()].concat());
        }
        assert!(!streams.finish().told);
    }
}
