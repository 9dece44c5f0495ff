//! The lab on kind: brings it up and takes it down.
//!
//! `lab up` sees to a container engine, the tools, a node image and a cluster of three nodes, and says how to use it; what is
//! there already is kept. `lab down` deletes the cluster, `lab clean` everything that any of this has left on the machine but
//! Debian's packages. `lab images` builds images of our own, `lab
//! tools` the programs of others that are nowhere.
//!
//! It deliberately tests nothing: see `rings kind`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::kind::cluster::{self, Cluster};
use e2e::kind::progress::Progress;
use e2e::kind::{engine, images, node_image};
use e2e::tools::{self, TOOLS};

#[derive(Parser)]
#[command(about = "The lab on kind: brings it up and takes it down")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Bring up a cluster of three nodes
    Up,
    /// Delete the cluster
    Down,
    /// Remove everything that the lab has left on this machine
    Clean,
    /// Build container images of our own, into the container engine
    Images,
    /// Build the programs of others that are neither on PATH nor in LAB_PREBUILT
    Tools {
        /// Only these; without a name all of them
        names: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(what: What) -> Result<()> {
    let progress = Progress::new(&tools::folder().join("logs"))?;
    match what {
        What::Up => up(&progress).await,
        What::Down => Cluster::new(tools::find("kind")?)?.down(&progress),
        What::Clean => clean(&progress).await,
        What::Images => images(&progress).await,
        What::Tools { names } => build(&names, &progress),
    }
}

async fn up(progress: &Progress) -> Result<()> {
    let cluster = e2e::kind::up(progress).await?;
    progress.say(&format!(
        "export KUBECONFIG={}    # a cluster of three nodes; make clean-kind removes everything",
        cluster.kubeconfig().display()
    ));
    Ok(())
}

async fn images(progress: &Progress) -> Result<()> {
    engine::ensure(progress).await?;
    for image in images::build(progress)? {
        let megabytes = image.bytes as f64 / 1e6;
        println!("{:>6.1} MB  {}", megabytes, image.tags.join(" "));
    }
    Ok(())
}

fn build(names: &[String], progress: &Progress) -> Result<()> {
    let all = || TOOLS.iter().map(|tool| tool.name);
    let wanted: Vec<&str> = if names.is_empty() {
        all().collect()
    } else {
        names.iter().map(String::as_str).collect()
    };
    for name in wanted {
        let path = tools::provide(name, progress)?;
        println!("{name:<24} {}", path.display());
    }
    Ok(())
}

/// What cannot be removed keeps nothing else from being removed.
async fn clean(progress: &Progress) -> Result<()> {
    if engine::is_running() {
        match tools::find("kind") {
            Ok(kind) => Cluster::new(kind)?.down(progress)?,
            // Without kind no cluster can be deleted, which matters only where there is one.
            Err(missing) if cluster::any_is_there()? => return Err(missing.into()),
            Err(_) => {}
        }
        progress.step("remove the images", || {
            images::remove()?;
            node_image::remove()
        })?;
        engine::remove_network(cluster::NETWORK)?;
    }
    engine::stop(progress).await?;
    let folder = tools::folder();
    progress.say(&format!("remove {}", folder.display()));
    std::fs::remove_dir_all(&folder)?;
    progress.say("Debian's packages stay: apt-get remove docker.io debootstrap takes them away");
    Ok(())
}
