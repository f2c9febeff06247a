//! The only writer to stdout and stderr: results for the next program, progress for people.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::error::{Colour, Error, Result};

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// A line for every finished step.
    Normal,
    /// Also what the steps are made of.
    Verbose,
}

/// What stdout carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Lines for people and shell scripts.
    Text,
    /// One JSON document, or JSON lines.
    Json,
}

/// Where a command says what it does and what it made. Shared by all threads.
#[derive(Debug)]
pub struct Report {
    verbosity: Verbosity,
    style: Style,
    /// All that moves on the terminal.
    bars: MultiProgress,
    /// Why a result could not be written.
    lost: OnceLock<String>,
}

impl Report {
    /// Makes the one report of a process.
    pub fn new(verbosity: Verbosity, style: Style) -> Self {
        Self { verbosity, style, bars: MultiProgress::new(), lost: OnceLock::new() }
    }

    /// Says nothing but errors; for tests and for libraries' callers.
    pub fn silent() -> Self {
        Self::new(Verbosity::Quiet, Style::Text)
    }

    /// Returns what stdout carries.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Returns whether things may move on the terminal.
    pub fn is_live(&self) -> bool {
        self.verbosity > Verbosity::Quiet && std::io::stderr().is_terminal()
    }

    /// Returns all that moves on the terminal, to add to it or to suspend it.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// A result, one line on stdout.
    pub fn result(&self, line: &str) {
        self.text(&format!("{line}\n"));
    }

    /// A result as a JSON document on one line of stdout.
    pub fn json(&self, value: &serde_json::Value) {
        self.result(&value.to_string());
    }

    /// Text on stdout as it is, without a line end added.
    pub fn text(&self, text: &str) {
        self.above_bar(|| {
            let mut out = anstream::stdout().lock();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            // A reader that went away (`| head`) is no failure of ours; the exit code tells what happened.
            if let Err(error) = written
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                _ = self.lost.set(error.to_string());
            }
        });
    }

    /// Returns whether all results were written, once the command is done.
    ///
    /// # Errors
    /// Some were not, as on a full disk.
    pub fn finish(&self) -> Result<()> {
        match self.lost.get() {
            Some(why) => Err(Error::new("cannot write the results to stdout").cause_text(why)),
            None => Ok(()),
        }
    }

    /// A finished step, one line.
    pub fn step(&self, line: &str) {
        self.say(Verbosity::Normal, line);
    }

    /// What a step is made of; shown with `-v`.
    pub fn detail(&self, line: &str) {
        self.say(Verbosity::Verbose, line);
    }

    /// Something that goes on but should be known.
    pub fn warning(&self, line: &str) {
        self.say(Verbosity::Normal, &format!("{} {line}", Colour::Yellow.paint("warning:")));
    }

    /// The error that ends the command.
    pub fn error(&self, error: &Error) {
        if self.style == Style::Json {
            self.json(&serde_json::json!({ "error": error.to_json() }));
        }
        self.say(Verbosity::Quiet, &format!("{error:#}"));
    }

    /// Says that something goes on whose end is not known, with the time it takes; on a terminal only.
    pub fn busy(&self, label: &str) -> Progress<'_> {
        self.start(label, None, "{spinner} {msg} {elapsed}")
    }

    /// Starts a bar that counts to `total`; on a terminal it moves, elsewhere the finished line is all.
    pub fn progress(&self, label: &str, total: u64, unit: Unit) -> Progress<'_> {
        let template = match unit {
            Unit::Bytes => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            Unit::Things => "{msg} [{bar:30}] {pos}/{len}",
        };
        self.start(label, Some(total), template)
    }

    fn start(&self, label: &str, total: Option<u64>, template: &str) -> Progress<'_> {
        let bar = if self.is_live() {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style);
            let bar = self.bars.add(bar);
            bar.set_message(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        Progress { report: self, bar }
    }

    fn say(&self, level: Verbosity, line: &str) {
        if self.verbosity >= level {
            self.above_bar(|| _ = writeln!(anstream::stderr().lock(), "{line}"));
        }
    }

    fn above_bar(&self, write: impl FnOnce()) {
        match self.is_live() {
            true => self.bars.suspend(write),
            false => write(),
        }
    }
}

/// What a bar counts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Bytes, shown with their rate.
    Bytes,
    /// Anything else.
    Things,
}

/// A bar while it moves; it goes away when dropped.
#[derive(Debug)]
pub struct Progress<'report> {
    report: &'report Report,
    bar: ProgressBar,
}

impl Progress<'_> {
    /// `amount` more is done.
    pub fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// It will be `amount` more than was thought.
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

/// Returns bytes as people read them, e.g. `62.3 MB` (powers of 1000, as dpkg and rpm users know them).
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
