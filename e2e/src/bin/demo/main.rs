//! `make demo`: the main job on this machine, told step by step; `make demo-kind`: the same on a kind cluster.
//!
//! A manifest is applied, a cluster comes up, it is written to, its leader is killed, and what
//! was acknowledged is counted. On a terminal it stays for the reader to try; elsewhere it stops
//! everything and ends. A step that fails prints its cause and where the logs are.
//!
//! It shows nothing that a test does not hold: see `e2e/tests/`.

mod act;
mod kind;
mod screen;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use e2e::engine::Engine;
use e2e::folder::Folder;
use e2e::lab::Lab;
use screen::Screen;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "The main job of Quorate, told step by step")]
struct Arguments {
    /// On what the demo plays
    #[arg(value_enum, default_value_t = House::Smallkube)]
    house: House,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum House {
    /// A small Kubernetes in this process, with members as processes of this machine
    Smallkube,
    /// Three nodes in containers
    Kind,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut screen = Screen::new();
    let played = match Arguments::parse().house {
        House::Smallkube => play(&mut screen).await,
        House::Kind => kind::play(&mut screen).await,
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.failed(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(screen: &mut Screen) -> Result<()> {
    screen.step("start a small Kubernetes and the operator, both on this machine");
    let folder = Folder::new("demo")?;
    screen.say(&format!("everything is in {}", folder.path().display()));
    let mut lab = Lab::start_in(folder, Engine::quorate()?).await?;
    tokio::select! {
        played = act::all(screen, &mut lab) => played?,
        asked = asked_to_stop() => asked.context("listen for signals")?,
    }
    screen.step("stop everything");
    lab.end().await
}

/// Ends with Ctrl-C or SIGTERM: nothing may stay behind either way.
async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked,
        _ = terminate.recv() => Ok(()),
    }
}

/// The example that is applied: beside this package in its own source tree.
fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/minimal.yaml")
}
