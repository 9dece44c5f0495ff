//! Where log lines go: `--log-outputs`.
//!
//! - A line goes to every output, whole, in one write.
//! - An output that cannot be written to loses the line and nothing else: a full disk under the log must not end a member whose
//!   data lies elsewhere.
//!
//! What this module deliberately does not do: systemd's journal; it takes what goes to standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;

/// A file of `--log-outputs` cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open {path} of --log-outputs: {source}; give a file that can be written to, or stderr"
)]
pub struct OutputError {
    path: String,
    source: io::Error,
}

/// All outputs of a process.
#[derive(Clone, Debug)]
pub struct Outputs(Arc<[Output]>);

#[derive(Debug)]
enum Output {
    Stderr,
    Stdout,
    File(File),
}

impl Outputs {
    /// Of these names: `stderr`, `stdout`, `default`, `systemd/journal`, or files. No name at all is `default`.
    ///
    /// # Errors
    /// [`OutputError`] names the file.
    pub fn open(names: &[String]) -> Result<Self, OutputError> {
        let outputs = names.iter().map(|name| match name.as_str() {
            "stdout" => Ok(Output::Stdout),
            "default" | "stderr" | "systemd/journal" => Ok(Output::Stderr),
            path => file(path),
        });
        let mut outputs: Vec<_> = outputs.collect::<Result<_, _>>()?;
        if outputs.is_empty() {
            outputs.push(Output::Stderr);
        }
        Ok(Self(outputs.into()))
    }
}

fn file(path: &str) -> Result<Output, OutputError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let named = |source| OutputError {
        path: path.to_owned(),
        source,
    };
    opened.map(Output::File).map_err(named)
}

impl Output {
    fn write(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(line),
            Self::Stdout => io::stdout().write_all(line),
            Self::File(file) => (&*file).write_all(line),
        }
    }
}

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for output in self.0.iter() {
            // Nobody is left to tell.
            drop(output.write(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Outputs {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogLevel};

    #[test]
    fn every_file_has_every_line() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.log", "b.log"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], "before\n").unwrap();
        let names = paths.each_ref().map(|path| path.display().to_string());
        let outputs = Outputs::open(&names).unwrap();
        let subscriber = super::super::subscriber(LogLevel::Info, LogFormat::Json, outputs);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            tracing::info!("two");
        });
        let [first, second] = paths.map(|path| std::fs::read_to_string(path).unwrap());
        assert_eq!(first.strip_prefix("before\n"), Some(second.as_str()));
        assert_eq!(second.lines().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nosuch/x.log").display().to_string();
        let error = Outputs::open(std::slice::from_ref(&path))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&path) && error.contains("--log-outputs"),
            "{error}"
        );
    }
}
