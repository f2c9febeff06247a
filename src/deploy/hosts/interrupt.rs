//! Ctrl-C, SIGTERM and SIGHUP: the first asks everything to stop in good order, the second ends
//! pkgapp at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use pkgapp_core::error::{Context, Error, Result};

/// A signal came. Processes have one set of signal handlers, so this is one too.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether and how the handlers were set.
static WATCHED: OnceLock<Result<()>> = OnceLock::new();

/// From now on the first signal is only noted; see [`requested`].
///
/// # Errors
/// The system refuses handlers.
pub fn watch() -> Result<()> {
    WATCHED.get_or_init(start).clone()
}

fn start() -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context(|| "cannot watch for signals")?;
    let watch = move || {
        for signal in signals.forever() {
            if ASKED.swap(true, Ordering::SeqCst) {
                // The connections are closed by their guard, see `ssh`. It fails for unknown
                // signals only.
                _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .context(|| "cannot watch for signals")?;
    Ok(())
}

/// Returns whether the user has asked to stop.
pub fn requested() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Returns the error that says that the user has asked to stop.
pub fn error() -> Error {
    Error::new("interrupted")
}
