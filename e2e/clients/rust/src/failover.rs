//! Writes, watches, a mutex and an election that go on while members die; told line by line for a judge.
//!
//! - `put KEY REVISION AT`: acknowledged. Each key is written until it is.
//! - `event WATCHER TYPE KEY REVISION`: seen.
//! - `held NAME FROM TO`: the mutex or the election of that name was surely held in that time. Times are in microseconds.
//! - `led VALUE AT`: what an election's observer saw.
//! - `wrong WHAT`: what may not happen.
//!
//! It goes on until its standard input ends; then it writes a last key, and ends when each watcher has seen that.
//!
//! The crate tries nothing again and resumes no watch: that is for its users, so it is done here as they would.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_client::{
    Client, Compare, CompareOp, Error, EventType, LeaderKey, LockOptions, ProclaimOptions,
    ResignOptions, Txn, TxnOp, WatchOptions,
};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};

use crate::{revision, text, utf8};

const END: &str = "failover/end/rust";
/// As long as a member may take to give up on a proposal.
const ATTEMPT: Duration = Duration::from_secs(8);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(20);
/// Between two writes, and while a mutex is held: traffic, not a flood.
const PACE: Duration = Duration::from_millis(5);
/// Longer than any failover.
const TTL: i64 = 30;

/// Whether to go on.
type Until = watch::Receiver<bool>;

pub(crate) async fn play(endpoints: &[String]) -> Result<(), Error> {
    let client = Client::connect(endpoints, None).await?;
    let (stop, until) = watch::channel(false);
    let mut watchers = JoinSet::new();
    for first in 0..endpoints.len() {
        let mut endpoints = endpoints.to_vec();
        endpoints.rotate_left(first);
        watchers.spawn_local(watches(endpoints, format!("rust-{first}")));
    }
    let mut actors = JoinSet::new();
    actors.spawn_local(puts(client.clone(), until.clone()));
    for _ in 0..2 {
        actors.spawn_local(locks(client.clone(), until.clone()));
    }
    actors.spawn_local(campaigns(client.clone(), until.clone()));
    let observer = spawn_local(observes(client.clone()));
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    let _ = stop.send(true);
    actors.join_all().await;
    put(&client, END, "").await;
    watchers.join_all().await;
    observer.abort();
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the one clock of this program")]
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| it.as_micros())
}

fn wrong(what: impl Display) {
    println!("wrong {what}");
}

/// Until it is done.
async fn insisted<T>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> T {
    loop {
        if let Ok(Ok(done)) = tokio::time::timeout(ATTEMPT, attempt()).await {
            return done;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn put(client: &Client, key: &str, value: &str) -> i64 {
    let put = insisted(async || client.kv_client().put(key, value, None).await).await;
    revision(put.header())
}

async fn puts(client: Client, until: Until) {
    for n in 0.. {
        if *until.borrow() {
            return;
        }
        let key = format!("failover/put/rust/{n}");
        let revision = put(&client, &key, &n.to_string()).await;
        println!("put {key} {revision} {}", now());
        tokio::time::sleep(PACE).await;
    }
}

/// By a connection to one member at a time; the next one when it breaks.
async fn watches(endpoints: Vec<String>, name: String) {
    let mut next = 1;
    for endpoint in endpoints.iter().cycle() {
        if let Ok(true) = followed(endpoint, &name, &mut next).await {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether the end was seen.
async fn followed(endpoint: &str, name: &str, next: &mut i64) -> Result<bool, Error> {
    let mut client = Client::connect([endpoint], None).await?;
    let options = WatchOptions::new().with_prefix().with_start_revision(*next);
    let mut stream = client.watch("failover/", Some(options)).await?;
    while let Some(answer) = stream.message().await? {
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let kind = if event.event_type() == EventType::Put {
                "PUT"
            } else {
                "DELETE"
            };
            println!(
                "event {name} {kind} {} {}",
                utf8(kv.key()),
                kv.mod_revision()
            );
            *next = kv.mod_revision() + 1;
            if kv.key() == END.as_bytes() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A lease that is kept alive over any number of streams.
async fn session(client: &Client) -> i64 {
    let lease = insisted(async || client.lease_client().grant(TTL, None).await)
        .await
        .id();
    let client = client.clone();
    spawn_local(async move {
        loop {
            let (mut keeper, mut alive) =
                insisted(async || client.lease_client().keep_alive(lease).await).await;
            while let Ok(Some(it)) = alive.message().await {
                if it.ttl() == 0 {
                    wrong(format!("the lease {lease:x} is gone"));
                    return;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                if keeper.keep_alive().await.is_err() {
                    break;
                }
            }
        }
    });
    lease
}

async fn locks(client: Client, until: Until) {
    let lease = session(&client).await;
    while !*until.borrow() {
        let options = || LockOptions::new().with_lease(lease);
        let Ok(held) = client
            .lock_client()
            .lock("failover/mutex", Some(options()))
            .await
        else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let from = now();
        fenced(&client, held.key()).await;
        tokio::time::sleep(PACE).await;
        println!("held mutex {from} {}", now());
        insisted(async || client.lock_client().unlock(held.key()).await).await;
    }
}

/// Writes while the lock's key is there.
async fn fenced(client: &Client, key: &[u8]) {
    let held = Compare::create_revision(key, CompareOp::Greater, 0);
    let write = TxnOp::put("failover/fenced", "rust", None);
    let txn = Txn::new().when([held]).and_then([write]);
    let done = insisted(async || client.kv_client().txn(txn.clone()).await).await;
    if !done.succeeded() {
        wrong("a mutex that is held has no key");
    }
}

async fn campaigns(client: Client, until: Until) {
    let lease = session(&client).await;
    while !*until.borrow() {
        let Ok(won) = client
            .election_client()
            .campaign("failover/election", "rust", lease)
            .await
        else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let from = now();
        let leader = won.leader().cloned().unwrap_or_default();
        for n in 0..3 {
            proclaims(&client, &leader, n).await;
            tokio::time::sleep(PACE).await;
        }
        println!("held election {from} {}", now());
        let options = || ResignOptions::new().with_leader(leader.clone());
        insisted(async || client.election_client().resign(Some(options())).await).await;
    }
}

async fn proclaims(client: &Client, leader: &LeaderKey, n: i32) {
    let options = || ProclaimOptions::new().with_leader(leader.clone());
    insisted(async || {
        match client
            .election_client()
            .proclaim(format!("rust-{n}"), Some(options()))
            .await
        {
            Err(error) if text(&error).contains("election: not leader") => {
                wrong("who has won does not lead");
                Ok(())
            }
            other => other.map(drop),
        }
    })
    .await;
}

async fn observes(client: Client) {
    loop {
        let mut seen =
            insisted(async || client.election_client().observe("failover/election").await).await;
        while let Ok(Some(answer)) = seen.message().await {
            let value = answer.kv().map(|it| utf8(it.value())).unwrap_or_default();
            println!("led {value} {}", now());
        }
        tokio::time::sleep(AGAIN).await;
    }
}
