//! Running other people's programs, with the command and its last words in every error.
//!
//! It deliberately bounds no time: what calls it has a deadline of its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or fails; with what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let ended = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {shown}"))?;
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!(
            "{shown} ended with {}: {}{}",
            ended.status,
            said.trim(),
            printed.trim()
        );
    }
    Ok(printed)
}

/// Runs a command to its end, for what it does.
///
/// # Errors
/// As [`output`].
pub fn succeeds(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 3"]);
        let error = output(&mut command).unwrap_err().to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.contains("exit status: 3: why"), "{error}");
    }
}
