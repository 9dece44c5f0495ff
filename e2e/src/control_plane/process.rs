//! One server, which ends with whoever started it.
//!
//! It deliberately starts nothing anew: a server that ends fails the test, with the end of its log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// Runs the server and kills it as soon as standard input ends, which it does when this process does, even by `kill -9`.
/// The kill is a hard one: what the server holds is of no use to anybody after it.
const GUARDED: &str =
    r#"exec 3<&0; "$@" </dev/null & server=$!; (read -r _ <&3; kill -9 $server) & wait $server"#;
/// How much of a log stands in an error.
const LINES_SHOWN: usize = 15;

/// A running server.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    guard: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in `folder`, where its log is kept.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        flags: &[String],
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let guard = Command::new("sh")
            .args(["-c", GUARDED, "sh"])
            .arg(program)
            .args(flags)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name, guard, log })
    }

    /// Fails if the server has ended.
    pub(super) fn still_runs(&mut self) -> Result<()> {
        let Some(status) = self.guard.try_wait()? else {
            return Ok(());
        };
        bail!(
            "{} has ended ({status}):\n{}\nthe whole log: {}",
            self.name,
            self.last_words(),
            self.log.display()
        )
    }

    /// Ends the server and waits until it has ended.
    pub(super) async fn end(mut self) -> Result<()> {
        drop(self.guard.stdin.take());
        self.guard
            .wait()
            .await
            .map(drop)
            .with_context(|| format!("wait for the end of {}", self.name))
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}
