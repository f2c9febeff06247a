//! The only writer to stdout and stderr: results for the next program, progress for people.
//!
//! All output is safe for a terminal, whatever its source: control characters are escaped here, so
//! that the output of a host, a log, or a foreign package cannot move the cursor, retitle the
//! window, reorder the text, or forge a line. Only [`Report::data`] passes bytes on unchanged:
//! those that the user asked for.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::error::{Error, ErrorKind, LabelColor, Result};
use crate::process::Stream;

/// The amount of messages on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// A line for every finished step.
    Normal,
    /// Details of the steps as well.
    Verbose,
}

/// The format of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStyle {
    /// Lines for people and shell scripts.
    Text,
    /// One JSON document, or JSON lines.
    Json,
}

/// The output of a command: progress and results. Shared by all threads.
#[derive(Debug)]
pub struct Report {
    verbosity: Verbosity,
    style: OutputStyle,
    /// All progress bars on the terminal.
    bars: MultiProgress,
    /// The reason why a result could not be written.
    lost: OnceLock<String>,
    begun: Instant,
    stages: Mutex<Vec<StageRecord>>,
}

/// The resources that a finished stage of a command used.
#[derive(Debug, Clone, Default)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Wall-clock time.
    pub wall: Duration,
    /// Processor time on all cores, children included, in steps of 10 ms.
    pub cpu: Duration,
    /// Statistics about its work.
    pub facts: StageFacts,
}

/// The amount of work of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageFacts {
    /// Bytes read or written.
    pub bytes: Option<u64>,
    /// Things from the cache, and all things.
    pub cached: Option<(u64, u64)>,
}

impl Report {
    /// Creates the one report of a process.
    pub fn new(verbosity: Verbosity, style: OutputStyle) -> Self {
        let begun = Instant::now();
        Self {
            verbosity,
            style,
            bars: MultiProgress::new(),
            lost: OnceLock::new(),
            begun,
            stages: Mutex::default(),
        }
    }

    /// Creates a report that prints only errors; for tests and for callers of the libraries.
    pub fn silent() -> Self {
        Self::new(Verbosity::Quiet, OutputStyle::Text)
    }

    /// Returns the format of stdout.
    pub fn style(&self) -> OutputStyle {
        self.style
    }

    /// Returns whether progress bars are shown on a terminal.
    pub fn is_live(&self) -> bool {
        self.verbosity > Verbosity::Quiet && std::io::stderr().is_terminal()
    }

    /// Returns all progress bars on the terminal, to add to them or to suspend them.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Prints a result, one line on stdout.
    pub fn result(&self, line: &str) {
        self.write(format!("{}\n", visible_line(line)).as_bytes());
    }

    /// Prints a result as a JSON document on one line of stdout.
    pub fn json(&self, value: &serde_json::Value) {
        self.write(format!("{}\n", ascii_controls(&value.to_string())).as_bytes());
    }

    /// Prints text on stdout, without adding a newline. Foreign parts must have passed through
    /// [`visible_line`], so that they cannot forge lines.
    pub fn text(&self, text: &str) {
        self.write(visible(text).as_bytes());
    }

    /// Prints unchanged bytes on stdout or stderr: only content of a host that the user asked for,
    /// and no messages about it.
    pub fn data(&self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.write(bytes),
            Stream::Stderr if self.verbosity == Verbosity::Quiet => {}
            Stream::Stderr => self.above_bar(|| {
                let mut out = std::io::stderr().lock();
                // There is no output left to report this failure.
                _ = out.write_all(bytes).and_then(|()| out.flush());
            }),
        }
    }

    /// Prints a line of such bytes among those of other hosts: unchanged for a program; on a
    /// terminal, no host can forge or hide another host's lines.
    pub fn data_of_many(&self, stream: Stream, head: &str, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let is_terminal = match stream {
            Stream::Stdout => std::io::stdout().is_terminal(),
            Stream::Stderr => std::io::stderr().is_terminal(),
        };
        let line = if is_terminal {
            Cow::Owned(
                visible_line(&String::from_utf8_lossy(line))
                    .into_owned()
                    .into_bytes(),
            )
        } else {
            Cow::Borrowed(line)
        };
        self.data(
            stream,
            &[visible_line(head).as_bytes(), &line, b"\n"].concat(),
        );
    }

    fn write(&self, bytes: &[u8]) {
        self.above_bar(|| {
            let mut out = std::io::stdout().lock();
            let written = out.write_all(bytes).and_then(|()| out.flush());
            // A reader that went away (`| head`) is not a failure; the exit code reports the
            // outcome.
            if let Err(error) = written
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                _ = self.lost.set(error.to_string());
            }
        });
    }

    /// Returns whether all results were written, after the command.
    ///
    /// # Errors
    /// Fails if some were not, as on a full disk.
    pub fn finish(&self) -> Result<()> {
        match self.lost.get() {
            Some(why) => Err(Error::new("cannot write the results to stdout").cause_text(why)),
            None => Ok(()),
        }
    }

    /// Prints a finished step, one line.
    pub fn step(&self, line: &str) {
        self.say(Verbosity::Normal, &visible_line(line));
    }

    /// Prints a detail of a step with `-v`. Further lines are indented.
    pub fn detail(&self, text: &str) {
        self.say(Verbosity::Verbose, &indented(text));
    }

    /// Measures a stage; see [`Report::stages`].
    pub fn timed<T>(&self, name: &str, work: impl FnOnce(&mut StageFacts) -> T) -> T {
        let (start, before, mut facts) = (Instant::now(), cpu_time(), StageFacts::default());
        let made = work(&mut facts);
        let (wall, cpu) = (start.elapsed(), cpu_time().saturating_sub(before));
        if let Ok(mut stages) = self.stages.lock() {
            stages.push(StageRecord {
                name: name.to_owned(),
                wall,
                cpu,
                facts,
            });
        }
        made
    }

    /// Returns the stages that were finished so far.
    pub fn stages(&self) -> Vec<StageRecord> {
        self.stages
            .lock()
            .map(|stages| stages.clone())
            .unwrap_or_default()
    }

    /// Prints the measured stages, with `-v`.
    pub fn stage_table(&self) {
        // A stage may be part of another one, so the times do not add up.
        let (wall, cpu) = (self.begun.elapsed(), cpu_time());
        let all = StageRecord {
            name: "all of it".into(),
            wall,
            cpu,
            facts: StageFacts::default(),
        };
        for line in stage_table(&self.stages(), all) {
            self.detail(&line);
        }
    }

    /// Returns whether details are shown.
    pub fn is_verbose(&self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    /// Prints a warning: the command continues. Further lines are indented.
    pub fn warning(&self, text: &str) {
        self.say(
            Verbosity::Normal,
            &format!(
                "{} {}",
                LabelColor::Yellow.paint("warning:"),
                indented(text)
            ),
        );
    }

    /// Prints the error that ends the command. What a command has found is in its results already.
    pub fn error(&self, error: &Error) {
        let is_fault = !matches!(error.what(), ErrorKind::Found | ErrorKind::Unconfirmed);
        if self.style == OutputStyle::Json && is_fault {
            self.json(&serde_json::json!({ "error": error.to_json() }));
        }
        self.say(Verbosity::Quiet, &format!("{error:#}"));
    }

    /// Starts a spinner with the elapsed time, for work of unknown length; on a terminal only.
    pub fn busy(&self, label: &str) -> Progress<'_> {
        self.start(label, None, "{spinner} {msg} {elapsed}")
    }

    /// Starts a progress bar up to `total`; without a terminal, only the finished step is printed.
    pub fn progress(&self, label: &str, total: u64, unit: ProgressUnit) -> Progress<'_> {
        let template = match unit {
            ProgressUnit::Bytes => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            ProgressUnit::Things => "{msg} [{bar:30}] {pos}/{len}",
        };
        self.start(label, Some(total), template)
    }

    fn start(&self, label: &str, total: Option<u64>, template: &str) -> Progress<'_> {
        let bar = if self.is_live() {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = total
                .map_or_else(ProgressBar::no_length, ProgressBar::new)
                .with_style(style);
            let bar = self.bars.add(bar);
            bar.set_message(visible_line(label).into_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        Progress { report: self, bar }
    }

    /// Prints a safe text with our own colors.
    fn say(&self, level: Verbosity, line: &str) {
        if self.verbosity >= level {
            self.above_bar(|| _ = writeln!(anstream::stderr().lock(), "{line}"));
        }
    }

    fn above_bar(&self, write: impl FnOnce()) {
        if self.is_live() {
            self.bars.suspend(write);
        } else {
            write();
        }
    }
}

/// Returns a text that is safe for a terminal: control characters except tabs and newlines, and
/// characters that reorder or hide others, are escaped as in Rust (`\u{1b}`).
pub fn visible(text: &str) -> Cow<'_, str> {
    let text = if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    if !text.contains(|c| c != '\n' && is_unsafe(c)) {
        return text;
    }
    Cow::Owned(
        text.split('\n')
            .map(visible_line)
            .collect::<Vec<_>>()
            .join("\n"),
    )
}

/// Returns a text as one safe line; see [`visible`].
pub fn visible_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    Cow::Owned(line)
}

/// Returns whether a character affects a terminal, or how its neighbors are read, instead of being
/// visible: C0 and C1 except tabs (ECMA-48), line separators, and characters that reorder (UAX #9)
/// or are invisible. Joiners are part of words.
fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(
            c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        )
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Escapes characters in a JSON document that its strings may contain unescaped, but that affect a
/// terminal.
fn ascii_controls(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            // Writing to a String cannot fail.
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| _ = write!(escaped, "\\u{unit:04x}"));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Returns a text whose continuation lines cannot be mistaken for our own.
fn indented(text: &str) -> String {
    visible(text).replace('\n', "\n  ")
}

/// The kernel's unit for the time of processes, per second (USER_HZ, which is the same for all
/// programs on Linux).
const TICKS_PER_SECOND: u32 = 100;

/// Returns the processor time of this process and its finished children (proc_pid_stat(5)); 0 if it
/// is unknown.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, which may contain spaces.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace();
    let ticks: u32 = fields
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    Duration::from_secs(1) * ticks / TICKS_PER_SECOND
}

fn stage_table(stages: &[StageRecord], all: StageRecord) -> Vec<String> {
    let row = |name: &str, wall: &str, cpu: &str, bytes: &str, cached: &str| {
        format!("{name:<16} {wall:>9} {cpu:>9} {bytes:>10} {cached:>14}")
            .trim_end()
            .to_owned()
    };
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
    let line = |stage: &StageRecord| {
        let bytes = stage.facts.bytes.map(human_bytes).unwrap_or_default();
        let cached = stage
            .facts
            .cached
            .map(|(cached, all)| format!("{cached} of {all}"))
            .unwrap_or_default();
        row(
            &stage.name,
            &ms(stage.wall),
            &ms(stage.cpu),
            &bytes,
            &cached,
        )
    };
    let head = row("stage", "wall", "CPU", "bytes", "from the cache");
    std::iter::once(head)
        .chain(stages.iter().chain([&all]).map(line))
        .collect()
}

/// The unit of a progress bar.
#[derive(Debug, Clone, Copy)]
pub enum ProgressUnit {
    /// Bytes, shown with their rate.
    Bytes,
    /// Anything else.
    Things,
}

/// A running progress bar; removed when dropped.
#[derive(Debug)]
pub struct Progress<'report> {
    report: &'report Report,
    bar: ProgressBar,
}

impl Progress<'_> {
    /// Advances the bar by `amount`.
    pub fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Raises the total by `amount`.
    pub fn lengthen(&self, amount: u64) {
        self.bar.inc_length(amount);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.report.bars.remove(&self.bar);
    }
}

/// Formats bytes for people, e.g. `62.3 MB` (powers of 1000, as dpkg and rpm users know them).
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_foreign_reaches_a_terminal_but_as_text() {
        for (text, expected) in [
            ("plain ─► näß\tשלום 👩‍💻", "plain ─► näß\tשלום 👩‍💻"),
            ("\x1b]0;owned\x07", "\\u{1b}]0;owned\\u{7}"),
            (
                "a\u{9b}2J\u{202e}b\u{2066}",
                "a\\u{9b}2J\\u{202e}b\\u{2066}",
            ),
            ("10%\r20%\x08\x7f", "10%\\r20%\\u{8}\\u{7f}"),
            (
                "a\u{200b}b\u{feff}\u{e0041}",
                "a\\u{200b}b\\u{feff}\\u{e0041}",
            ),
        ] {
            assert_eq!(visible_line(text), expected);
            assert_eq!(visible(text), expected);
            assert_eq!(visible(&visible(text)), expected, "twice is once");
        }
        assert_eq!(visible_line("a\nweb2: ok"), "a\\nweb2: ok");
        assert_eq!(visible("a\r\nb\n"), "a\nb\n");
        assert_eq!(indented("a\nwarning: b"), "a\n  warning: b");
    }

    #[test]
    fn json_is_the_same_document_without_controls() {
        let value = serde_json::json!({ "a": "\x1b[2J\u{9b}\u{202e}\u{e0041}\n", "b": "näß" });
        let text = ascii_controls(&value.to_string()).into_owned();
        assert!(!text.contains(is_unsafe) && text.contains("näß"), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn stages_are_measured_and_shown() {
        let report = Report::silent();
        report.timed("sleep", |_| std::thread::sleep(Duration::from_millis(30)));
        report.timed("work", |facts| {
            facts.bytes = Some(1_500_000);
            facts.cached = Some((49, 50));
            // A busy machine may take its time to give it.
            let (start, before) = (Instant::now(), cpu_time());
            while cpu_time() < before + Duration::from_millis(50)
                && start.elapsed() < Duration::from_secs(60)
            {
                std::hint::spin_loop();
            }
        });
        let [sleep, work] = &report.stages()[..] else {
            panic!()
        };
        assert!(sleep.wall >= Duration::from_millis(30), "{sleep:?}");
        // Other tests of this process may run meanwhile, so it may be more.
        assert!(work.cpu >= Duration::from_millis(50), "{work:?}");
    }

    #[test]
    fn the_table_has_a_line_for_every_stage_and_one_for_all() {
        let stage = |name: &str, wall, facts| StageRecord {
            name: name.into(),
            wall: Duration::from_millis(wall),
            cpu: Duration::from_millis(10),
            facts,
        };
        let facts = StageFacts {
            bytes: Some(1_500_000),
            cached: Some((49, 50)),
        };
        assert_eq!(
            stage_table(
                &[
                    stage("lock", 3, StageFacts::default()),
                    stage("layers", 1200, facts)
                ],
                stage("all of it", 1300, StageFacts::default())
            ),
            [
                "stage                 wall       CPU      bytes from the cache",
                "lock                  3 ms     10 ms",
                "layers             1200 ms     10 ms     1.5 MB       49 of 50",
                "all of it          1300 ms     10 ms",
            ]
        );
    }
}
