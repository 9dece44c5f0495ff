//! What the operators of one thread log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// How many lines of it stand in an error.
const LINES_SHOWN: usize = 12;

/// A log in memory. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what this thread logs, as long as the guard lives.
    pub(crate) fn keep(&self) -> DefaultGuard {
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(self.clone());
        tracing::subscriber::set_default(lines.finish())
    }

    pub(crate) fn says(&self, sentence: &str) -> bool {
        self.text().contains(sentence)
    }

    /// Whether it says so; if not, how it ends.
    pub(crate) fn find(&self, sentence: &str) -> Result<(), String> {
        if self.says(sentence) {
            Ok(())
        } else {
            Err(self.end())
        }
    }

    pub(crate) fn end(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    /// As people read it: quotation marks within a field are not escaped.
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).replace("\\\"", "\"")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
