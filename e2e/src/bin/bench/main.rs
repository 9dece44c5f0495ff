//! `make bench`: puts per second and CPU per put of one member, ours against a real etcd.
//!
//! Both run side by side on this machine and are loaded in turn by etcd's own `benchmark`, round
//! by round, so that what disturbs one disturbs the other; the figure that counts is the median
//! of the rounds' ratios. Both keep their data on the same disk with fsync as they ship.
//!
//! `bench size` measures what a full store costs, see [`size`].
//!
//! It asserts nothing: a figure is for a reader. It measures no cluster of three and no reads.

mod load;
mod size;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use e2e::folder::Folder;
use e2e::members::Members;
use e2e::{binaries, tools};
use load::{Load, Measured};
use table::Row;

#[derive(Parser)]
#[command(
    about = "The node against a real etcd, in one run",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Rounds per number of clients
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Puts per round, as a share of the usual number
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Subcommand)]
enum What {
    /// A full store: memory per key, start to serving, snapshot to a learner, growth
    Size(size::Size),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Clients, connections among which they are spread, and puts of one round: enough for a few
/// seconds, because CPU time is counted in hundredths of one.
const LOADS: [Load; 3] = [
    Load {
        clients: 1,
        connections: 1,
        puts: 3_000,
    },
    Load {
        clients: 64,
        connections: 8,
        puts: 30_000,
    },
    Load {
        clients: 1_000,
        connections: 100,
        puts: 50_000,
    },
];

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0, "--rounds must be 1 at least");
    if let Some(What::Size(size)) = arguments.what {
        return full_store(size, arguments.output).await;
    }
    let mut folder = Folder::new("bench")?;
    let benchmark = tools::find("benchmark")?;
    let ours = binaries::ours("quorate-node")?;
    let etcd = tools::find("etcd")?;
    let mut rows = Vec::new();
    for load in LOADS {
        let load = load.scaled(arguments.scale);
        // Fresh members for each load: neither carries the other loads' history.
        let pair = Pair {
            ours: Members::start(&ours, 1).await?,
            etcd: Members::start(&etcd, 1).await?,
        };
        let rounds = pair.rounds(&benchmark, &load, arguments.rounds).await;
        rows.push(Row::new(
            load,
            rounds.with_context(|| format!("{} clients", load.clients))?,
        ));
        pair.ours.end_all().await?;
        pair.etcd.end_all().await?;
    }
    match arguments.output {
        Output::Table => println!("{}", table::table(&rows)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
    }
    folder.discard();
    Ok(ExitCode::SUCCESS)
}

async fn full_store(size: size::Size, output: Output) -> Result<ExitCode> {
    let ours = binaries::ours("quorate-node")?;
    let etcd = tools::find("etcd")?;
    let sides = size::measure(size, &ours, &etcd).await?;
    match output {
        Output::Table => println!("{}", size::table(&sides)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&sides)?),
    }
    Ok(ExitCode::SUCCESS)
}

struct Pair {
    ours: Members,
    etcd: Members,
}

/// One round: the same load on both.
struct Round {
    ours: Measured,
    etcd: Measured,
}

impl Pair {
    /// A warm-up that is not counted, then the rounds; who begins alternates.
    async fn rounds(
        &self,
        benchmark: &std::path::Path,
        load: &Load,
        rounds: usize,
    ) -> Result<Vec<Round>> {
        let warm_up = load.scaled(0.2);
        load::put(benchmark, &self.ours, &warm_up).await?;
        load::put(benchmark, &self.etcd, &warm_up).await?;
        let mut done = Vec::new();
        for round in 0..rounds {
            let ours_first = round % 2 == 0;
            let (first, second) = if ours_first {
                (&self.ours, &self.etcd)
            } else {
                (&self.etcd, &self.ours)
            };
            let first = load::put(benchmark, first, load).await?;
            let second = load::put(benchmark, second, load).await?;
            let (ours, etcd) = if ours_first {
                (first, second)
            } else {
                (second, first)
            };
            eprintln!(
                "{} clients, round {}: ours {:.0} puts/s, etcd {:.0} puts/s",
                load.clients,
                round + 1,
                ours.puts_per_second,
                etcd.puts_per_second
            );
            done.push(Round { ours, etcd });
        }
        Ok(done)
    }
}
