//! Runs the rings of tests, one after the other, and says what ran, what did not, and why.
//!
//! `rings test` runs all, `rings quick` the first, `rings kind` the last, `rings advisories CARGO_DENY` looks for known
//! vulnerabilities where their database can be reached. Everything must have been built by
//! `cargo build --workspace --all-targets`; what cargo built is what runs.
//!
//! It deliberately picks no single tests (`cargo test` does), retries nothing and hides no
//! failure.

mod advisories;
mod kind;
mod report;
mod ring;
mod run;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kind::Wanted;

#[derive(Parser)]
#[command(about = "Runs the rings of tests")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Every ring, in order
    Test,
    /// The quick ring alone: unit, golden and property tests
    Quick,
    /// The promises on a kind cluster
    Kind {
        /// Every one, however long it takes
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// Only these, as `NAME/ENGINE`; without a name those that fit into the budget
        names: Vec<String>,
    },
    /// Known vulnerabilities among the dependencies
    Advisories {
        /// The cargo-deny binary
        cargo_deny: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    kind::check_environment()?;
    let mut reports = Vec::new();
    match Arguments::parse().command {
        What::Test => {
            let targets = targets::built()?;
            for ring in ring::all() {
                reports.push(run::ring(ring, &targets)?);
            }
            reports.push(kind::ring(&Wanted::Fitting, &targets)?);
        }
        What::Quick => reports.push(run::ring(ring::quick(), &targets::built()?)?),
        What::Kind { all, names } => {
            let wanted = match (all, names.is_empty()) {
                (true, _) => Wanted::All,
                (false, true) => Wanted::Fitting,
                (false, false) => Wanted::Named(names),
            };
            reports.push(kind::ring(&wanted, &targets::built()?)?);
        }
        What::Advisories { cargo_deny } => return advisories::check(&cargo_deny),
    }
    report::print(&reports);
    let failed: usize = reports.iter().map(report::Report::failed).sum();
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
