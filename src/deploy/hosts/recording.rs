//! A host for tests: it does nothing, remembers what it was asked to, and answers or fails as it
//! was told.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;

use pkgapp_core::digest::Sha256Sum;
use pkgapp_core::error::Error;

use super::{
    CommandOutput, Download, Downloaded, Host, HostCommand, HostFailure, Upload, Uploaded,
};
use pkgapp_core::process::Stream;

/// What a host was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// [`Host::run`].
    Run(HostCommand),
    /// [`Host::upload`].
    Upload(Upload),
    /// [`Host::download`].
    Download(Download),
}

impl Asked {
    /// Returns what it was for, in words.
    pub fn what(&self) -> String {
        match self {
            Self::Run(command) => command.what.clone(),
            Self::Upload(upload) => format!("sending `{}`", upload.path),
            Self::Download(download) => format!("fetching `{}`", download.path),
        }
    }
}

/// Decides what happens: the number of the request from 0, and the request. `None`: it succeeds and
/// prints nothing.
type Answers =
    Box<dyn Fn(usize, &Asked) -> Option<Result<CommandOutput, HostFailure>> + Send + Sync>;

/// A host that only remembers.
pub struct Recording {
    name: String,
    asked: Mutex<Vec<Asked>>,
    queue: Mutex<VecDeque<Result<CommandOutput, HostFailure>>>,
    answers: Answers,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording")
            .field("name", &self.name)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// The three ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// [`HostFailure::NeverReached`].
    NeverReached,
    /// [`HostFailure::Failed`] with this status.
    Failed(i32),
    /// [`HostFailure::Lost`].
    Lost,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NeverReached, Self::Failed(1), Self::Lost];

    /// Returns such a failure.
    pub fn failure(self, what: &str) -> HostFailure {
        let error = Error::new(format!("{what}: {self:?}"));
        match self {
            Self::NeverReached => HostFailure::NeverReached(error),
            Self::Failed(status) => HostFailure::Failed {
                output: CommandOutput {
                    status,
                    ..CommandOutput::default()
                },
                error,
            },
            Self::Lost => HostFailure::Lost(error),
        }
    }
}

impl Recording {
    /// A host on which everything succeeds and prints nothing.
    pub fn new(name: &str) -> Self {
        Self::answering(name, |_, _| None)
    }

    /// A host that `answers`.
    pub fn answering(
        name: &str,
        answers: impl Fn(usize, &Asked) -> Option<Result<CommandOutput, HostFailure>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let (asked, queue) = (Mutex::default(), Mutex::default());
        Self {
            name: name.to_owned(),
            asked,
            queue,
            answers: Box::new(answers),
        }
    }

    /// The next request that is not answered yet prints `stdout`.
    pub fn prints(&self, stdout: &str) -> &Self {
        self.queue.lock().unwrap().push_back(Ok(CommandOutput {
            stdout: stdout.into(),
            ..CommandOutput::default()
        }));
        self
    }

    /// The next request that is not answered yet fails.
    pub fn fails(&self, way: Way) -> &Self {
        self.queue
            .lock()
            .unwrap()
            .push_back(Err(way.failure("as told")));
        self
    }

    /// Returns what it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, asked: Asked) -> Result<CommandOutput, HostFailure> {
        let mut all = self.asked.lock().unwrap();
        let answer =
            (self.answers)(all.len(), &asked).or_else(|| self.queue.lock().unwrap().pop_front());
        all.push(asked);
        answer.unwrap_or_else(|| Ok(CommandOutput::default()))
    }
}

impl Host for Recording {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(
        &self,
        command: &HostCommand,
        on_line: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<CommandOutput, HostFailure> {
        let answer = self.answer(Asked::Run(command.clone()));
        let output = match &answer {
            Ok(output) | Err(HostFailure::Failed { output, .. }) => Some(output),
            Err(HostFailure::NeverReached(_) | HostFailure::Lost(_)) => None,
        };
        if let Some(output) = output {
            output
                .stdout
                .split_inclusive(|b| *b == b'\n')
                .for_each(|line| on_line(Stream::Stdout, line));
            output
                .stderr
                .split_inclusive(|b| *b == b'\n')
                .for_each(|line| on_line(Stream::Stderr, line));
        }
        answer
    }

    fn upload(
        &self,
        upload: &Upload,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Uploaded, HostFailure> {
        self.answer(Asked::Upload(upload.clone()))?;
        progress(upload.size);
        Ok(Uploaded {
            sent: upload.size,
            changed: true,
        })
    }

    fn download(
        &self,
        download: &Download,
        sink: &mut dyn Write,
    ) -> Result<Downloaded, HostFailure> {
        let output = self.answer(Asked::Download(download.clone()))?;
        sink.write_all(&output.stdout).unwrap();
        let (size, sha256) = (output.stdout.len() as u64, Sha256Sum::of(&output.stdout));
        Ok(Downloaded {
            size,
            sha256,
            mode: 0o644,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_and_does_as_told() {
        let host = Recording::new("web1");
        host.prints("one\n").fails(Way::Lost);
        let mut lines = Vec::new();
        let date = HostCommand::new("telling the date", "date");
        host.run(&date, &mut |_, line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!(lines, [b"one\n"]);
        assert!(matches!(
            host.run(&date, &mut |_, _| {}),
            Err(HostFailure::Lost(_))
        ));
        host.run(&date, &mut |_, _| {}).unwrap();
        assert_eq!(host.asked(), vec![Asked::Run(date); 3]);
    }
}
