//! `make bench-scale`: one operator, a thousand clusters and a real kube-apiserver.
//!
//! The operator is the program as it ships, in a process of its own; so are kube-apiserver, its etcd and its controllers. There is
//! no kubelet: this program makes claims bound and pods run ([`kubelet`]), and answers for their members at addresses of their own on
//! the loopback ([`members`]), with the model of etcd's membership that the tests use.
//!
//! It asserts nothing: a figure is for a reader. All of it shares this machine's processors, the operator's rivals included.

mod kubelet;
mod measure;
mod members;
mod operator;
mod requests;
mod table;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use e2e::control_plane::ControlPlane;

/// How much of everything.
#[derive(Parser, Clone, Debug)]
#[command(about = "One operator and many clusters on a real kube-apiserver")]
pub(crate) struct Arguments {
    /// Clusters of three members
    #[arg(long, default_value_t = 1_000)]
    clusters: usize,
    /// Namespaces they are spread over
    #[arg(long, default_value_t = 20)]
    namespaces: usize,
    /// Pods of nobody's that lie beside them for the last measurement of memory
    #[arg(long, default_value_t = 50_000)]
    foreign_pods: usize,
    /// Edits, one after another, when all is ready
    #[arg(long, default_value_t = 100)]
    edits: usize,
    /// Seconds for which writes are counted while nothing happens
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Minutes after which waiting for one of the measurements is given up
    #[arg(long, default_value_t = 20)]
    patience_minutes: u64,
    /// The operator's --workers
    #[arg(long)]
    workers: Option<usize>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.clusters > 0, "--clusters must be 1 at least");
    ensure!(arguments.namespaces > 0, "--namespaces must be 1 at least");
    eprintln!("starting kube-apiserver");
    let plane = ControlPlane::start().await?;
    let figures = measure::measure(&arguments, &plane).await?;
    plane.stop().await?;
    match arguments.output {
        Output::Table => println!("{}", table::table(&figures)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&figures)?),
    }
    Ok(())
}
