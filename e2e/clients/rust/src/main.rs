//! What programs in Rust do with `etcd-client`, told line by line: every client of the crate, each call of it at least once.
//!
//! Nothing that it prints differs between two runs against the same server: no ids, no times. Each scene keeps to a
//! prefix of its own, and revisions are told relative to the scene's first.

mod failover;
mod keys;
mod leases;
mod members;
mod users;

use std::fmt::Debug;
use std::time::Duration;

use etcd_client::{Client, Error, ResponseHeader};
use tokio::task::LocalSet;

/// How a scene ends that could not be played on.
type Played = Result<(), Error>;

/// Long enough for a loaded machine; nothing here waits for a time.
const SCENE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((first, endpoints)) if first == "failover" => {
            LocalSet::new().run_until(failover::play(endpoints)).await
        }
        Some(_) => scenes(&arguments).await,
        None => Err(Error::InvalidArgs(
            "usage: clients [failover] ENDPOINT...".to_owned(),
        )),
    };
    if let Err(error) = ended {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn scenes(endpoints: &[String]) -> Played {
    let client = &mut Client::connect(endpoints, None).await?;
    ended("kv", keys::kv(client)).await;
    ended("txn", keys::txn(client)).await;
    ended("stream", keys::stream(client)).await;
    ended("watch", keys::watch(client)).await;
    ended("compaction", keys::compaction(client)).await;
    ended("lease", leases::lease(client)).await;
    ended("lock", leases::lock(client)).await;
    ended("election", leases::election(client)).await;
    ended("cluster", members::cluster(client)).await;
    ended("maintenance", members::maintenance(client)).await;
    ended("alarm", members::alarm(client)).await;
    ended("auth", users::auth(client, endpoints)).await;
    Ok(())
}

async fn ended(name: &str, scene: impl Future<Output = Played>) {
    println!("== {name}");
    match tokio::time::timeout(SCENE, scene).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => println!("failed: {}", text(&error)),
        Err(_) => println!("failed: it takes too long"),
    }
}

/// Prints what was answered, or the error by its code and text.
fn told<T: Debug>(what: &str, answer: Result<T, Error>) {
    match answer {
        Ok(answer) => println!("{what}: {answer:?}"),
        Err(error) => println!("{what}: error {}", text(&error)),
    }
}

/// Without what a connection adds to it.
fn text(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => format!("{:?} {:?}", status.code(), status.message()),
        other => other.to_string(),
    }
}

/// The revision that a scene counts from.
async fn first(client: &mut Client) -> Result<i64, Error> {
    let got = client.get("nothing", None).await?;
    Ok(revision(got.header()))
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(-1, ResponseHeader::revision)
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
