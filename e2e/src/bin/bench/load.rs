//! One load on one member, measured from outside.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::members::Members;
use tokio::process::Command;

/// Linux counts CPU time of processes in hundredths of a second, whatever its own clock does.
const MICROSECONDS_PER_TICK: f64 = 10_000.0;

/// So many puts by so many clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    pub(crate) connections: u32,
    pub(crate) puts: u32,
}

impl Load {
    /// The same with more or fewer puts, and at least one for each client.
    pub(crate) fn scaled(self, share: f64) -> Self {
        let puts = (f64::from(self.puts) * share) as u32;
        Self {
            puts: puts.max(self.clients),
            ..self
        }
    }
}

/// What one load has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) puts_per_second: f64,
    pub(crate) cpu_microseconds_per_put: f64,
}

/// Puts the load on a single member.
pub(crate) async fn put(benchmark: &Path, members: &Members, load: &Load) -> Result<Measured> {
    let pid = members.pid(0).context("the member has ended")?;
    let before = cpu_microseconds(pid)?;
    let ended = Command::new(benchmark)
        .arg(format!("--endpoints={}", members.endpoints().join(",")))
        .arg(format!("--conns={}", load.connections))
        .arg(format!("--clients={}", load.clients))
        .args([
            "put",
            "--key-size=16",
            "--val-size=256",
            "--key-space-size=100000",
        ])
        .arg("--sequential-keys")
        .arg(format!("--total={}", load.puts))
        .output()
        .await
        .context("start etcd's benchmark")?;
    let spent = cpu_microseconds(pid)? - before;
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    ensure!(
        ended.status.success(),
        "etcd's benchmark ended with {}: {complained}",
        ended.status
    );
    ensure!(
        !said.contains("Error distribution"),
        "some puts failed: {said}"
    );
    let rate = rate(&said).with_context(|| format!("read the rate from: {said}"))?;
    Ok(Measured {
        puts_per_second: rate,
        cpu_microseconds_per_put: spent / f64::from(load.puts),
    })
}

/// What stands behind `Requests/sec:`.
fn rate(said: &str) -> Option<f64> {
    let line = said
        .lines()
        .find(|l| l.trim_start().starts_with("Requests/sec:"))?;
    line.split(':').nth(1)?.trim().parse().ok()
}

/// User and system time of a process since its start.
fn cpu_microseconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name in parentheses may hold spaces; behind it, fields 14 and 15 of the line are the 12th and 13th.
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok());
    let (user, system) = ticks(11)
        .zip(ticks(12))
        .with_context(|| format!("understand {path}"))?;
    Ok((user + system) * MICROSECONDS_PER_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_rate_of_the_load_generator() {
        let said = "Summary:\n  Total:\t0.5128 secs.\n  Requests/sec:\t5850.5558\n";
        assert_eq!(rate(said), Some(5850.5558));
        assert_eq!(rate("nothing of the kind"), None);
    }

    #[test]
    fn this_process_has_used_some_cpu_and_never_less_than_before() {
        let first = cpu_microseconds(std::process::id()).unwrap();
        let second = cpu_microseconds(std::process::id()).unwrap();
        assert!(second >= first);
    }
}
