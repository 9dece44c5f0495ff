//! Runs the rings of tests, one after the other, and says what ran, what did not, and why.
//!
//! `rings test` runs all, `rings quick` the first, `rings advisories CARGO_DENY` looks for known
//! vulnerabilities where their database can be reached. Everything must have been built by
//! `cargo build --workspace --all-targets`; what cargo built is what runs.
//!
//! It deliberately picks no single tests (`cargo test` does), retries nothing and hides no
//! failure.

mod advisories;
mod report;
mod ring;
mod run;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Known vulnerabilities among the dependencies
    Advisories {
        /// The cargo-deny binary
        cargo_deny: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    let rings = match Arguments::parse().command {
        What::Test => ring::all(),
        What::Quick => vec![ring::quick()],
        What::Advisories { cargo_deny } => return advisories::check(&cargo_deny),
    };
    let targets = targets::built()?;
    let mut reports = Vec::new();
    for ring in rings {
        reports.push(run::ring(ring, &targets)?);
    }
    report::print(&reports);
    let failed: usize = reports.iter().map(report::Report::failed).sum();
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
