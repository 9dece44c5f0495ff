//! Saying what is being done, how long it takes, and where to read on when it fails.
//!
//! Each step is a line when it begins and one with its time when it ends; a long one says every half minute that it is still
//! at it. What commands print goes to a log of the step's own.
//!
//! It deliberately draws nothing: its lines read the same on a terminal and in a log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a long step says that it goes on.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// How often the end of a command is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many last lines of a failed command's log are shown.
const LINES_SHOWN: usize = 25;

/// Where progress is told, and where logs are.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    logs: PathBuf,
}

impl Progress {
    /// Tells on standard output; logs go to a folder, which is made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(logs: &Path) -> Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
        let logs = logs.canonicalize()?;
        Ok(Self {
            began: Instant::now(),
            logs,
        })
    }

    /// Says something with the time since the beginning.
    pub fn say(&self, text: &str) {
        println!("[{:>6.1} s] {text}", self.began.elapsed().as_secs_f64());
    }

    /// Does something that prints nothing by itself, and says how long it took.
    ///
    /// # Errors
    /// What the deed gives, with the step's name.
    pub fn step<T>(&self, what: &str, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        self.say(what);
        let began = Instant::now();
        let done = deed().with_context(|| what.to_owned())?;
        self.say(&format!("  done in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(done)
    }

    /// Runs a command to its end with its output in a log.
    ///
    /// # Errors
    /// When it cannot be started or fails: its last lines, and the log.
    pub fn run(&self, what: &str, command: &mut Command) -> Result<()> {
        self.say(what);
        let began = Instant::now();
        let log = self.log_of(what);
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("{what}: start {}", command.get_program().display()))?;
        let status = self.wait(child, began)?;
        if !status.success() {
            bail!(
                "{what}: {} ended with {status}\n{}\nthe whole log: {}",
                command.get_program().display(),
                last_lines(&log),
                log.display()
            );
        }
        self.say(&format!("  done in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Where the log of a step is.
    pub fn log_of(&self, what: &str) -> PathBuf {
        let name: String = what
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .take(80)
            .collect();
        self.logs.join(format!("{name}.log"))
    }

    fn wait(&self, mut child: Child, began: Instant) -> Result<ExitStatus> {
        let mut said = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                self.say(&format!(
                    "  still at it after {:.0} s",
                    began.elapsed().as_secs_f64()
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_last_words_and_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let progress = Progress::new(folder.path()).expect("progress");
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo last words >&2; exit 3"]);
        let error = progress
            .run("try it", &mut command)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("try it: sh ended with exit status: 3"),
            "{error}"
        );
        assert!(error.contains("last words"), "{error}");
        let log = progress.log_of("try it");
        assert!(error.ends_with(&log.display().to_string()), "{error}");
        assert_eq!(std::fs::read_to_string(log).unwrap(), "first\nlast words\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let progress = Progress::new(folder.path()).expect("progress");
        let error = progress.run("try it", &mut Command::new("no-such-program"));
        assert!(format!("{:#}", error.unwrap_err()).contains("no-such-program"));
    }
}
