//! Ends the process when an input keeps a decoder busy for too long: a test that never ends says nothing.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// A thousand times what the slowest takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches one decoder.
pub(crate) struct Watchdog(Sender<Option<Vec<u8>>>);

impl Watchdog {
    /// Writes the input that took too long into `path`.
    pub(crate) fn over(name: &'static str, path: PathBuf) -> Self {
        let (inputs, shown) = mpsc::channel::<Option<Vec<u8>>>();
        std::thread::spawn(move || {
            while let Ok(begun) = shown.recv() {
                let Some(input) = begun else { continue };
                if shown.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    let written = std::fs::write(&path, input);
                    let path = path.display();
                    eprintln!(
                        "{name}: no end within {PATIENCE:?}; what did it lies in {path}: {written:?}"
                    );
                    std::process::abort();
                }
            }
        });
        Self(inputs)
    }

    /// The decoder is shown this.
    pub(crate) fn begins(&self, input: &[u8]) {
        drop(self.0.send(Some(input.to_vec())));
    }

    /// It has ended.
    pub(crate) fn ends(&self) {
        drop(self.0.send(None));
    }
}
