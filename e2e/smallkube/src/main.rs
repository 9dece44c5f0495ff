//! The command `smallkube`: a Kubernetes small enough for one process, for trying things out and for tests.
//!
//! `serve` runs it until it is told to end; `node` and `pod` do to a running one what no real cluster can be asked for. It
//! deliberately keeps nothing: a second start begins empty.

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use smallkube::{Images, Options, Pace, Processes, Smallkube, kubeconfig};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes small enough for one process. For demos and tests, never for production.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder of everything that smallkube keeps while it runs.
    #[arg(
        long,
        global = true,
        default_value = ".smallkube",
        env = "SMALLKUBE_STATE"
    )]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM.
    Serve(Serve),
    /// Let a node die with its processes, stand still, or come back.
    Node {
        /// What becomes of it.
        deed: NodeDeed,
        /// Name of the node.
        name: String,
    },
    /// Signal the process of a pod; smallkube restarts what ends, as an agent does.
    Pod {
        /// What it is told.
        deed: PodDeed,
        /// Name of the pod.
        name: String,
        /// Namespace of the pod.
        #[arg(long, short, default_value = "default")]
        namespace: String,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// An image and the program that it is, e.g. `quorate-node=target/debug/quorate-node`. With a tag only that tag exists.
    #[arg(long = "image", value_name = "IMAGE=PROGRAM", value_parser = image)]
    images: Vec<(String, PathBuf)>,
    /// How many nodes to pretend.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Where to write the kubeconfig besides the state folder.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Seconds before the second restart in a row; doubles each time. Kubernetes has 10.
    #[arg(long, default_value_t = 10)]
    restart_backoff: u64,
    /// Seconds before a silent node counts as unreachable. Kubernetes has 40.
    #[arg(long, default_value_t = 40)]
    node_grace: u64,
    /// Tie every volume to the node of its first pod.
    #[arg(long)]
    local_volumes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum NodeDeed {
    Up,
    Paused,
    Down,
}

#[derive(Clone, Copy, ValueEnum)]
enum PodDeed {
    Kill,
    Terminate,
    Pause,
    Resume,
}

fn image(text: &str) -> Result<(String, PathBuf), String> {
    let (image, program) = text.split_once('=').ok_or("expected IMAGE=PROGRAM")?;
    let program = std::path::absolute(program).map_err(|e| e.to_string())?;
    Ok((image.to_owned(), program))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let state = std::path::absolute(&arguments.state).context("finding the state folder")?;
    match arguments.command {
        Command::Serve(serve) => self::serve(&state, &serve).await,
        Command::Node { deed, name } => {
            let deed = deed.to_possible_value().context("a deed has a name")?;
            ask(
                &state,
                &format!("/smallkube/nodes/{name}/{}", deed.get_name()),
            )
            .await
        }
        Command::Pod {
            deed,
            name,
            namespace,
        } => {
            let deed = deed.to_possible_value().context("a deed has a name")?;
            let path = format!("/smallkube/pods/{namespace}/{name}/{}", deed.get_name());
            ask(&state, &path).await
        }
    }
}

async fn serve(state: &Path, serve: &Serve) -> anyhow::Result<()> {
    let mut images = Images::default();
    for (image, program) in &serve.images {
        images = images.with(image, program);
    }
    // What a killed run before left running is ended here, before its folders go.
    std::fs::create_dir_all(state).context("making the state folder")?;
    let runtime = Processes::new(state, images);
    begin_empty(state).context("emptying the state folder")?;
    let options = Options {
        nodes: (1..=serve.nodes).map(|n| format!("node-{n}")).collect(),
        local_volumes: serve.local_volumes,
        pace: Pace {
            first_backoff: Duration::from_secs(serve.restart_backoff),
            node_grace: Duration::from_secs(serve.node_grace),
            ..Pace::default()
        },
        ..Options::processes(state, runtime)
    };
    let cluster = Smallkube::try_start(&options)?;
    let address = cluster
        .serve(SocketAddr::from((Ipv4Addr::LOCALHOST, serve.port)))
        .await?;
    let config = kubeconfig(address);
    let own = state.join("kubeconfig");
    for path in [Some(&own), serve.kubeconfig.as_ref()]
        .into_iter()
        .flatten()
    {
        std::fs::write(path, &config).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("smallkube serves http://{address}");
    println!("export KUBECONFIG={}", own.display());
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    cluster.stop().await;
    Ok(())
}

/// Removes what a run before left in the folder, and only that.
fn begin_empty(state: &Path) -> std::io::Result<()> {
    for name in ["volumes", "pods", "logs"] {
        let folder = state.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Asks the running smallkube of a state folder for something that is no part of the Kubernetes API.
async fn ask(state: &Path, path: &str) -> anyhow::Result<()> {
    let file = state.join("kubeconfig");
    let config = kube::config::Kubeconfig::read_from(&file)
        .with_context(|| format!("no smallkube serves in {}", state.display()))?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let client = kube::Client::try_from(config)?;
    let request = http::Request::post(path).body(Vec::new())?;
    match client.request_text(request).await {
        Ok(answer) => print!("{answer}"),
        Err(kube::Error::Api(status)) => {
            eprintln!("smallkube: {}", status.message);
            std::process::exit(1);
        }
        Err(error) => return Err(error).context("asking the running smallkube"),
    }
    Ok(())
}
