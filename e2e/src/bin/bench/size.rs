//! `bench size`: what a full store costs. Time to fill it, memory per key, time from start to serving, time until a new
//! learner has it all; and, if asked for, whether memory grows while keys are overwritten and history is compacted.
//!
//! Both sides do all of it in the same run, one after the other, with the same data on the same disk.
//!
//! It asserts nothing, as the other benchmark does not.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use comfy_table::{Table, presets};
use e2e::client::Client;
use e2e::members::Members;
use e2e::wait;
use serde::Serialize;
use tokio::task::JoinSet;

/// How much, and for how long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Keys to keep
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Bytes of each value
    #[arg(long, default_value_t = 1_024)]
    value_bytes: usize,
    /// Minutes of overwriting with compaction afterwards, on each side
    #[arg(long, default_value_t = 0)]
    growth_minutes: u64,
}

/// What one side has shown.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    fill_seconds: f64,
    memory_bytes_per_key: f64,
    start_seconds: f64,
    memory_bytes_per_key_after_start: f64,
    learner_seconds: f64,
    /// Of each minute of overwriting, the memory at its end in MiB.
    growth_mebibytes: Vec<u64>,
}

/// Both sides' figures; [`None`] for the growth when it was not asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Sides {
    keys: usize,
    value_bytes: usize,
    ours: Measured,
    etcd: Measured,
}

/// Keys that go into one transaction; less than `--max-txn-ops` allows.
const KEYS_AT_ONCE: usize = 100;
/// Writers side by side.
const WRITERS: usize = 8;
/// A quota that neither side reaches.
const QUOTA: &str = "--quota-backend-bytes=17179869184";
/// Longer than a start from a full disk takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures both, ours first.
pub(crate) async fn measure(size: Size, ours: &Path, etcd: &Path) -> Result<Sides> {
    ensure!(
        size.keys >= KEYS_AT_ONCE,
        "--keys must be {KEYS_AT_ONCE} at least"
    );
    Ok(Sides {
        keys: size.keys,
        value_bytes: size.value_bytes,
        ours: side("ours", size, ours).await.context("ours")?,
        etcd: side("etcd", size, etcd).await.context("etcd")?,
    })
}

async fn side(name: &str, size: Size, program: &Path) -> Result<Measured> {
    let flags = [QUOTA.to_owned()];
    let mut members = Members::start_with(program, 1, &flags).await?;
    let started = Instant::now();
    fill(&members, size, 0).await?;
    let fill_seconds = started.elapsed().as_secs_f64();
    let per_key = |bytes: u64| bytes as f64 / size.keys as f64;
    let memory = memory_bytes(&members)?;
    eprintln!(
        "{name}: filled in {fill_seconds:.1} s, {:.0} bytes of memory per key",
        per_key(memory)
    );
    members.stop(0).await?;
    let started = Instant::now();
    members.restart(0)?;
    serves(&members, 0).await?;
    let start_seconds = started.elapsed().as_secs_f64();
    let after_start = memory_bytes(&members)?;
    eprintln!(
        "{name}: serves {start_seconds:.2} s after its start, {:.0} bytes per key",
        per_key(after_start)
    );
    let started = Instant::now();
    let learner = members.add_learner(|_| flags.to_vec()).await?;
    has_caught_up(&members, learner).await?;
    let learner_seconds = started.elapsed().as_secs_f64();
    eprintln!("{name}: a learner has it all after {learner_seconds:.1} s");
    members.kill(learner).await?;
    let growth_mebibytes = grow(name, &members, size).await?;
    members.end_all().await?;
    Ok(Measured {
        fill_seconds,
        memory_bytes_per_key: per_key(memory),
        start_seconds,
        memory_bytes_per_key_after_start: per_key(after_start),
        learner_seconds,
        growth_mebibytes,
    })
}

/// Writes every key once; gives the newest revision.
async fn fill(members: &Members, size: Size, round: u8) -> Result<i64> {
    let url = members.endpoints()[0].clone();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let url = url.clone();
        writers.spawn(async move {
            let mut client = Client::connect(&url).await?;
            let mut newest = 0;
            let firsts = (0..size.keys).step_by(KEYS_AT_ONCE);
            for first in firsts.skip(writer).step_by(WRITERS) {
                let numbers = first..(first + KEYS_AT_ONCE).min(size.keys);
                let pair = |number: usize| {
                    let mut value = vec![round; size.value_bytes];
                    let text = number.to_string();
                    let shown = text.len().min(size.value_bytes);
                    value[..shown].copy_from_slice(&text.as_bytes()[..shown]);
                    (format!("/size/{number:010}"), value)
                };
                newest = client.put_all(numbers.map(pair).collect()).await?;
            }
            anyhow::Ok(newest)
        });
    }
    let mut newest = 0;
    while let Some(done) = writers.join_next().await {
        newest = newest.max(done??);
    }
    Ok(newest)
}

/// Until a linearizable read is answered.
async fn serves(members: &Members, number: usize) -> Result<()> {
    let url = members.endpoints()[number].clone();
    wait::until("an answer", PATIENCE, async || {
        let mut client = Client::connect(&url).await.map_err(|e| e.to_string())?;
        let read = client.under("/size/0000000000").await;
        read.map(drop).map_err(|e| e.to_string())
    })
    .await?;
    Ok(())
}

/// Until the learner has applied what the leader had committed when it was asked.
async fn has_caught_up(members: &Members, learner: usize) -> Result<()> {
    let urls = members.endpoints();
    let wanted = Client::connect(&urls[0]).await?.status().await?.raft_index;
    wait::until("the learner to catch up", PATIENCE, async || {
        let status = async {
            let mut client = Client::connect(&urls[learner])
                .await
                .map_err(|e| e.to_string())?;
            client.status().await.map_err(|e| e.to_string())
        };
        let applied = status.await?.raft_applied_index;
        if applied >= wanted {
            Ok(())
        } else {
            Err(format!("{applied} of {wanted} applied"))
        }
    })
    .await?;
    Ok(())
}

/// Overwrites everything again and again and compacts after each round.
async fn grow(name: &str, members: &Members, size: Size) -> Result<Vec<u64>> {
    let url = &members.endpoints()[0];
    let mut minutes = Vec::new();
    let started = Instant::now();
    let mut round = 0_u8;
    while minutes.len() < size.growth_minutes as usize {
        round = round.wrapping_add(1);
        let newest = fill(members, size, round).await?;
        // A connection that was idle for a whole round may have been closed.
        Client::connect(url).await?.compact(newest).await?;
        while started.elapsed() >= Duration::from_secs(60) * (minutes.len() as u32 + 1)
            && minutes.len() < size.growth_minutes as usize
        {
            minutes.push(memory_bytes(members)? >> 20);
            eprintln!(
                "{name}: minute {}, round {round}: {} MiB",
                minutes.len(),
                minutes[minutes.len() - 1]
            );
        }
    }
    Ok(minutes)
}

/// What the first member's process holds in memory.
fn memory_bytes(members: &Members) -> Result<u64> {
    let pid = members.pid(0).context("the member has ended")?;
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let kibibytes = kibibytes.with_context(|| format!("understand {path}"))?;
    Ok(kibibytes << 10)
}

/// The figures for a reader.
pub(crate) fn table(sides: &Sides) -> Table {
    let (ours, etcd) = (&sides.ours, &sides.etcd);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["", "ours", "etcd", "ratio"]);
    let mut row = |what: &str, of: fn(&Measured) -> f64| {
        let (ours, etcd) = (of(ours), of(etcd));
        let cells = [
            format!("{ours:.2}"),
            format!("{etcd:.2}"),
            format!("{:.2}", ours / etcd),
        ];
        table.add_row(std::iter::once(what.to_owned()).chain(cells));
    };
    row("fill (s)", |it| it.fill_seconds);
    row("memory per key (B)", |it| it.memory_bytes_per_key);
    row("start to serving (s)", |it| it.start_seconds);
    row("memory per key after a start (B)", |it| {
        it.memory_bytes_per_key_after_start
    });
    row("snapshot to a new learner (s)", |it| it.learner_seconds);
    if !ours.growth_mebibytes.is_empty() {
        row("memory at the end of the overwriting (MiB)", |it| {
            it.growth_mebibytes.last().copied().unwrap_or_default() as f64
        });
    }
    table
}
