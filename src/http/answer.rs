//! The body of a response, within limits.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderName;
use reqwest::{Response, StatusCode};
use url::Url;

use super::HttpFailure;

/// The minimum number of bytes per second, on average over the time that a server may be silent.
const LEAST_RATE: u64 = 256;

/// The reason why a response was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExceededLimit {
    /// It has more than this many bytes.
    Length(u64),
    /// The server sent fewer bytes than the minimum, in this many seconds of waiting.
    Rate(u64),
    /// It was not complete after this many seconds of waiting.
    Time(u64),
}

impl fmt::Display for ExceededLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(
                f,
                "the server's response exceeds the limit of {bytes} bytes"
            ),
            Self::Rate(seconds) => {
                let least = LEAST_RATE * seconds;
                write!(
                    f,
                    "the server is too slow: it sent fewer than {least} bytes in {seconds} seconds"
                )
            }
            Self::Time(seconds) => write!(
                f,
                "the server did not finish its response within {seconds} seconds"
            ),
        }
    }
}

/// The response of a server, before its body.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The URL of the response, after redirects; without credentials.
    pub url: Url,
    response: Response,
    meter: TransferMeter,
}

impl HttpAnswer {
    pub(crate) fn new(
        response: Response,
        longest: u64,
        patience: Duration,
        time: Duration,
    ) -> Self {
        let (status, url) = (response.status(), response.url().clone());
        Self {
            status,
            url,
            response,
            meter: TransferMeter::new(longest, patience, time),
        }
    }

    /// Returns a header, if it exists and is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the body's length, if the server states it and the body is not compressed.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns the next bytes of the body, after decompression; `None` at its end.
    ///
    /// # Errors
    /// Fails if the connection breaks, or a limit is exceeded.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        loop {
            let since = Instant::now();
            // A late chunk is not lost: nothing is taken from the connection until it arrives.
            let came = tokio::time::timeout(self.meter.rest(), self.response.chunk()).await;
            self.meter
                .tick(since.elapsed())
                .map_err(HttpFailure::Exceeded)?;
            let Ok(came) = came else { continue };
            let host = self.url.host_str().unwrap_or_default();
            let chunk = came.map_err(|error| HttpFailure::of(error, host))?;
            self.meter
                .count(chunk.as_ref().map_or(0, Bytes::len))
                .map_err(HttpFailure::Exceeded)?;
            return Ok(chunk);
        }
    }

    /// Reads the rest of the body.
    ///
    /// # Errors
    /// See [`Self::chunk`].
    pub async fn text(&mut self) -> Result<Vec<u8>, HttpFailure> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }
}

/// Counts bytes, and the time spent waiting for them.
#[derive(Debug)]
struct TransferMeter {
    longest: u64,
    length: u64,
    /// The time for which the server may be silent.
    patience: Duration,
    /// The limit of the waiting time, and the rest of it.
    time: Duration,
    left: Duration,
    /// Waiting time since the last check of the rate, and the bytes since then.
    waited: Duration,
    moved: u64,
}

impl TransferMeter {
    fn new(longest: u64, patience: Duration, time: Duration) -> Self {
        Self {
            longest,
            length: 0,
            patience,
            time,
            left: time,
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    /// Returns how long the next bytes may take before the next check of the rate.
    fn rest(&self) -> Duration {
        self.patience.saturating_sub(self.waited).min(self.left)
    }

    fn tick(&mut self, waited: Duration) -> Result<(), ExceededLimit> {
        self.waited += waited;
        self.left = self.left.saturating_sub(waited);
        if self.left.is_zero() {
            return Err(ExceededLimit::Time(self.time.as_secs()));
        }
        if self.waited >= self.patience {
            if self.moved < LEAST_RATE * self.patience.as_secs() {
                return Err(ExceededLimit::Rate(self.patience.as_secs()));
            }
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), ExceededLimit> {
        self.moved += bytes as u64;
        self.length += bytes as u64;
        if self.length > self.longest {
            Err(ExceededLimit::Length(self.longest))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_hardly_sends_is_too_slow_and_one_that_never_ends_takes_too_long() {
        let second = Duration::from_secs(1);
        let mut slow = TransferMeter::new(1000, second, 10 * second);
        slow.count(255).unwrap();
        assert_eq!(slow.tick(second), Err(ExceededLimit::Rate(1)));

        let mut endless = TransferMeter::new(1 << 20, second, 3 * second);
        for _ in 0..2 {
            endless.count(256).unwrap();
            endless.tick(second).unwrap();
        }
        endless.count(256).unwrap();
        assert_eq!(endless.tick(second), Err(ExceededLimit::Time(3)));
        assert_eq!(
            TransferMeter::new(10, second, second).count(11),
            Err(ExceededLimit::Length(10))
        );
    }
}
