//! Promise: real clients go on when the leader they talk to is killed: none of them loses an acknowledged write, none
//! misses a watch event or sees one twice, and no mutex and no election is held by two.
//!
//! The same is played on three real etcds, as the measure; the gaps of both are printed.

mod judge;
mod said;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::history::{Action, Value};
use e2e::members::Members;
use e2e::{FIGURE, binaries, differential, wait};
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request};
use proto::mvccpb::event::EventType;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::task::JoinHandle;

use self::judge::Evidence;
use self::said::{Change, Micros, Said};
use crate::programs::{self, Program};

const KILLS: usize = 2;
/// Longer than an election and every client's way to another member.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often each activity is seen before it counts as going on.
const SEEN: usize = 5;
/// The last key of all.
const END: &str = "failover/end";

/// A kind of client.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    build: fn() -> Result<Program>,
    /// What its program must be seen to do.
    activities: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "clientv3",
        build: programs::go,
        activities: &["failover/put/go", "mutex", "election", "observer"],
    },
    Kind {
        name: "etcd-client",
        build: programs::rust,
        activities: &["failover/put/rust", "mutex", "election", "observer"],
    },
    Kind {
        name: "aetcd and etcd3gw",
        build: programs::python,
        activities: &["failover/put/python", "failover/put/gateway", "lock"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_go_on_when_leaders_are_killed() -> Result<()> {
    let mut clients = Vec::new();
    for kind in KINDS {
        match (kind.build)() {
            Ok(program) => clients.push((kind, program)),
            Err(why) => println!("{FIGURE}failover of {}: not run: {why:#}", kind.name),
        }
    }
    match differential::etcd() {
        Ok(etcd) => survived(&etcd, &clients).await.context("on a real etcd")?,
        Err(missing) => println!("{FIGURE}failover on a real etcd is not run: {missing}"),
    }
    survived(&binaries::ours("quorate-node")?, &clients).await
}

async fn survived(server: &Path, clients: &[(Kind, Program)]) -> Result<()> {
    let mut cluster = Members::start(server, 3).await?;
    cluster.are_published().await?;
    let endpoints = cluster.endpoints();
    let mut running = Vec::new();
    for (kind, program) in clients {
        running.push(Running::start(*kind, program, &endpoints)?);
    }
    go_on(&running, now()).await?;
    let mut kills = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.leader().await?;
        kills.push(now());
        cluster.kill(leader).await?;
        go_on(&running, now()).await?;
        cluster.restart(leader)?;
        answers(&endpoints[leader]).await?;
    }
    let mut said = Vec::new();
    for program in running {
        said.extend(program.finish().await?);
    }
    let history = kept_by_all(&cluster).await?;
    let evidence = Evidence {
        said: &said,
        history: &history,
    };
    evidence.judge()?;
    tell(server, &evidence, &kills);
    cluster.end_all().await
}

fn tell(server: &Path, evidence: &Evidence<'_>, kills: &[Micros]) {
    let gaps = evidence.gaps(kills);
    let gaps: Vec<String> = gaps
        .iter()
        .map(|(stream, ms)| format!("{} {ms} ms", stream.trim_start_matches("failover/put/")))
        .collect();
    let name = server.file_name().unwrap_or_default().display();
    println!(
        "{FIGURE}{KILLS} leaders of {name} killed: {} events of history, longest gap of writes: {}",
        evidence.history.len(),
        gaps.join(", ")
    );
}

/// By the clock that the clients tell their times by.
#[expect(clippy::disallowed_methods, reason = "the one clock of this test")]
fn now() -> Micros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Micros(since.as_micros().try_into().unwrap_or(u64::MAX))
}

/// A program at work.
struct Running {
    kind: Kind,
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<Said>>>,
    reader: JoinHandle<Result<()>>,
}

impl Running {
    fn start(kind: Kind, program: &Program, endpoints: &[String]) -> Result<Self> {
        let mut command = program.failover();
        command.args(endpoints);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", kind.name))?;
        let stdin = child.stdin.take().context("it is piped")?;
        let stdout = child.stdout.take().context("it is piped")?;
        let said = Arc::<Mutex<Vec<Said>>>::default();
        let into = said.clone();
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                let line = said::read(&line)?;
                into.lock().expect("no reader panics").push(line);
            }
            Ok(())
        });
        Ok(Self {
            kind,
            child,
            stdin,
            said,
            reader,
        })
    }

    /// Whether each activity was seen since then; if so, the last revision that it was told.
    fn goes_on(&self, since: Micros) -> Result<i64> {
        let said = self.said.lock().expect("no reader panics");
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let recent = said.iter().filter_map(Said::activity);
        for (activity, _) in recent.filter(|(_, at)| *at > since) {
            *counts.entry(activity).or_default() += 1;
        }
        for activity in self.kind.activities {
            let seen = counts.get(*activity).copied().unwrap_or(0);
            ensure!(seen >= SEEN, "{}: {activity} {seen} times", self.kind.name);
        }
        let told = said.iter().filter_map(|it| match it {
            Said::Put { revision, .. } => *revision,
            _ => None,
        });
        told.max().context("no write has told its revision")
    }

    /// Whether each of its watchers has seen what was written at a revision.
    fn has_watched(&self, revision: i64) -> Result<()> {
        let said = self.said.lock().expect("no reader panics");
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for it in said.iter() {
            if let Said::Event { watcher, change } = it {
                last.insert(watcher, change.revision);
            }
        }
        ensure!(last.len() == 3, "{}: watchers {last:?}", self.kind.name);
        let behind = last.iter().find(|(_, seen)| **seen < revision);
        ensure!(
            behind.is_none(),
            "{}: {behind:?}, wanted {revision}",
            self.kind.name
        );
        Ok(())
    }

    /// Lets it end, and gives all that it said.
    async fn finish(mut self) -> Result<Vec<Said>> {
        drop(self.stdin);
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} does not end", self.kind.name))??;
        ensure!(status.success(), "{}: {status}", self.kind.name);
        self.reader.await??;
        let said = std::mem::take(&mut *self.said.lock().expect("no reader panics"));
        Ok(said)
    }
}

/// Waits until all programs do since then what they do, and their watchers have seen it.
async fn go_on(running: &[Running], since: Micros) -> Result<()> {
    let mut revision = 0;
    for it in running {
        let goes_on = wait::until("a client goes on", PATIENCE, async || it.goes_on(since));
        revision = goes_on.await?.max(revision);
    }
    for it in running {
        let what = "watchers go on";
        wait::until(what, PATIENCE, async || it.has_watched(revision)).await?;
    }
    Ok(())
}

/// Waits until a member serves a linearizable read.
async fn answers(endpoint: &str) -> Result<()> {
    let read = async || {
        let mut client = Client::connect(endpoint)
            .await
            .map_err(|it| it.to_string())?;
        let read = client.act(END, Action::Get).await;
        read.map_err(|it| it.to_string())
    };
    wait::until("a member answers", PATIENCE, read).await?;
    Ok(())
}

/// The history of all members, which is one.
async fn kept_by_all(cluster: &Members) -> Result<Vec<Change>> {
    let endpoints = cluster.endpoints();
    let mut client = Client::connect(&endpoints[0]).await?;
    let end = client.act(END, Action::Put(Value(1))).await?.revision;
    let mut kept = Vec::new();
    for endpoint in &endpoints {
        let history = tokio::time::timeout(PATIENCE, kept_by(endpoint, end)).await;
        kept.push(history.with_context(|| format!("the history of {endpoint}"))??);
    }
    let first = kept.pop().context("there are members")?;
    ensure!(
        kept.iter().all(|it| *it == first),
        "members keep different histories"
    );
    Ok(first)
}

async fn kept_by(endpoint: &str, end: i64) -> Result<Vec<Change>> {
    let mut client = WatchClient::connect(endpoint.to_owned()).await?;
    let create = WatchCreateRequest {
        key: b"failover/".to_vec().into(),
        range_end: b"failover0".to_vec().into(),
        start_revision: 1,
        ..Default::default()
    };
    let request = WatchRequest {
        request_union: Some(watch_request::RequestUnion::CreateRequest(create)),
    };
    let requests =
        futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
    let mut answers = client.watch(requests).await?.into_inner();
    let mut history = Vec::new();
    while let Some(answer) = answers.message().await? {
        for event in answer.events {
            let kv = event.kv.clone().context("an event has a key")?;
            history.push(Change {
                revision: kv.mod_revision,
                is_delete: event.r#type() == EventType::Delete,
                key: String::from_utf8_lossy(&kv.key).into_owned(),
            });
        }
        if history.last().is_some_and(|it| it.revision >= end) {
            return Ok(history);
        }
    }
    anyhow::bail!("{endpoint} has ended the watch")
}
