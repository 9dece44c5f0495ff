//! Runs the executables of one ring, keeps their output, and counts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::binaries;

use crate::report::{Count, Report};
use crate::ring::{self, Ring};
use crate::targets::Target;

/// After this an executable counts as hung: several times what the longest takes on two cores.
pub(crate) const HUNG_AFTER: Duration = Duration::from_secs(15 * 60);
/// How much of a failed executable's output is shown; the log has all of it.
const LINES_SHOWN: usize = 300;

/// Runs one ring, or says why not.
pub(crate) fn ring(ring: Ring, targets: &[Target]) -> Result<Report> {
    println!("\n== {}", ring.name);
    if let Some(left_out) = ring.left_out {
        println!("left out: {}", left_out.why);
        return Ok(Report::left_out(ring.name, left_out));
    }
    let began = Instant::now();
    let mut count = Count::default();
    for target in targets.iter().filter(|t| (ring.holds)(t)) {
        count += one(
            &target.package,
            &target.name,
            test_command(target),
            HUNG_AFTER,
        )?;
    }
    if ring.doc_tests {
        count += one("workspace", "doc tests", doc_tests(), HUNG_AFTER)?;
    }
    Ok(Report::ran(ring.name, count, began.elapsed()))
}

fn test_command(target: &Target) -> Command {
    let mut command = Command::new(&target.executable);
    command
        .current_dir(&target.folder)
        .env("CARGO_MANIFEST_DIR", &target.folder);
    // Whoever compares with a real etcd or API server gets the machine for himself; the promises mostly wait, and share it.
    if ring::is_contract(target) || ring::needs_api_server(target) {
        command.arg("--test-threads=1");
    }
    // What a test measured stands in the log, and in the summary if it is marked as a figure.
    command.arg("--show-output");
    command
}

fn doc_tests() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--workspace", "--doc", "-q"]);
    command
}

/// Runs one command that prints as a test executable does, with its output in a log.
pub(crate) fn one(
    package: &str,
    name: &str,
    mut command: Command,
    hung_after: Duration,
) -> Result<Count> {
    let log = log_path(package, name)?;
    let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let began = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("start {package} {name}"))?;
    let ended_well = ended_well(&mut child, hung_after)?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let count = Count::read(&text).with_ending(ended_well);
    if count.passed + count.failed > 0 {
        let verdict = if count.failed == 0 {
            "ok    "
        } else {
            "FAILED"
        };
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{verdict} {package} {name}: {} passed, {seconds:.1} s",
            count.passed
        );
    }
    for figure in text.lines().filter_map(|l| l.strip_prefix(e2e::FIGURE)) {
        println!("         {figure}");
    }
    if count.failed > 0 {
        show(&text, &log);
    }
    Ok(count)
}

/// Waits for the end, and ends what hangs.
fn ended_well(child: &mut Child, hung_after: Duration) -> Result<bool> {
    let deadline = Instant::now() + hung_after;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            println!("hangs since {} minutes, ended", hung_after.as_secs() / 60);
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log_path(package: &str, name: &str) -> Result<PathBuf> {
    let folder = binaries::build_folder().join("../rings");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder
        .canonicalize()?
        .join(format!("{package}-{}.log", name.replace(' ', "-"))))
}

fn show(text: &str, log: &Path) {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES_SHOWN);
    println!("{}", lines[first..].join("\n"));
    println!("the whole log: {}", log.display());
}
