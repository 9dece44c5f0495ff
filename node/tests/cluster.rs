//! What a cluster of three promises: what was acknowledged is there, whoever dies; leadership moves when asked.

mod lab;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{Lab, Member, eventually, put};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// Writes numbered keys until it is stopped, trying the members in turn, and remembers what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<Written>,
}

#[derive(Default)]
struct Written {
    acknowledged: BTreeMap<String, String>,
    largest_gap: Duration,
}

impl Writer {
    fn begin(members: &[Member]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = members.iter().map(Member::client_url).map(client).collect();
        let writing = tokio::spawn(write(clients, Arc::clone(&stop)));
        Self { stop, writing }
    }

    async fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.expect("the writer does not panic")
    }
}

fn client(url: String) -> KvClient<Channel> {
    KvClient::new(
        Endpoint::from_shared(url)
            .expect("a URL of the lab")
            .connect_lazy(),
    )
}

async fn write(mut clients: Vec<KvClient<Channel>>, stop: Arc<AtomicBool>) -> Written {
    let mut written = Written::default();
    let mut last = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("key-{number:06}"), format!("value-{number}"));
        let count = clients.len();
        let call = clients[number % count].put(put(&key, &value));
        match tokio::time::timeout(Duration::from_secs(2), call).await {
            Ok(Ok(_)) => {
                written.largest_gap = written.largest_gap.max(last.elapsed());
                last = Instant::now();
                written.acknowledged.insert(key, value);
            }
            // Unknown: it may be there or not, and nothing is claimed.
            Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    written
}

async fn assert_kept(member: &Member, written: &Written) {
    let everything = pb::RangeRequest {
        range_end: "key-~".into(),
        ..lab::range("key-")
    };
    let kvs = eventually("the keys can be read", async || {
        let answer = member.kv().range(everything.clone()).await;
        answer
            .map(|answer| answer.into_inner().kvs)
            .map_err(|error| error.to_string())
    })
    .await;
    let found: BTreeMap<String, String> = kvs
        .iter()
        .map(|kv| (lab::text(&kv.key), lab::text(&kv.value)))
        .collect();
    let lost: Vec<_> = written
        .acknowledged
        .iter()
        .filter(|(key, value)| found.get(*key) != Some(value))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

async fn progress(member: &Member, beyond: i64) -> i64 {
    eventually("writes go on", async || {
        let answer = member.status().await.map_err(|error| error.to_string())?;
        let revision = answer.header.expect("every answer has a header").revision;
        if revision > beyond {
            Ok(revision)
        } else {
            Err(format!("revision {revision}"))
        }
    })
    .await
}

async fn hashes_agree(members: &[Member]) {
    eventually("all members hold the same", async || {
        let mut hashes = Vec::new();
        for member in members {
            let call = member
                .maintenance()
                .hash_kv(pb::HashKvRequest { revision: 0 })
                .await;
            let answer = call.map_err(|error| error.to_string())?.into_inner();
            hashes.push((answer.hash, answer.hash_revision));
        }
        let agree = hashes.iter().all(|hash| *hash == hashes[0]);
        if agree {
            Ok(())
        } else {
            Err(format!("{hashes:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_leaders_are_killed() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let writer = Writer::begin(&members);
    for _ in 0..3 {
        let place = lab::leader(&members).await;
        let other = (place + 1) % 3;
        let revision = progress(&members[other], 1).await;
        members[place].kill();
        progress(&members[other], revision + 20).await;
        members[place].start();
    }
    let written = writer.end().await;
    lab::leader(&members).await;
    for member in &members {
        assert_kept(member, &written).await;
    }
    hashes_agree(&members).await;
    println!(
        "{} acknowledged, largest gap {:?}",
        written.acknowledged.len(),
        written.largest_gap
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_all_are_killed_at_once() {
    let mut lab = Lab::new();
    let mut members = lab
        .cluster(&["a", "b", "c"], &["--snapshot-count", "100"])
        .await;
    for _ in 0..2 {
        let writer = Writer::begin(&members);
        let revision = progress(&members[0], 1).await;
        progress(&members[0], revision + 150).await;
        members.iter_mut().for_each(Member::kill);
        let written = writer.end().await;
        members.iter_mut().for_each(Member::start);
        lab::leader(&members).await;
        assert_kept(&members[1], &written).await;
    }
    hashes_agree(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_never_idle_gets_checkpoints_all_the_same() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a"], &["--snapshot-count", "100"]).await;
    let channel = client(members[0].client_url());
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..64 {
        let mut client = channel.clone();
        writers.spawn(async move {
            while client
                .put(put(&format!("key-{number}"), "value"))
                .await
                .is_ok()
            {}
        });
    }
    eventually("checkpoints are written, and not only one", async || {
        let written = members[0].log().matches("wrote a checkpoint").count();
        if written > 5 {
            Ok(())
        } else {
            Err(format!("{written} so far"))
        }
    })
    .await;
    writers.shutdown().await;
}

#[tokio::test]
async fn leadership_moves_to_whom_it_is_asked_for() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a", "b", "c"], &[]).await;
    let place = lab::leader(&members).await;
    let next = (place + 1) % 3;
    let request = pb::MoveLeaderRequest {
        target_id: members[next].id().await,
    };
    let refusal = members[next]
        .maintenance()
        .move_leader(request)
        .await
        .unwrap_err();
    assert_eq!(refusal.message(), "etcdserver: not leader");
    members[place]
        .maintenance()
        .move_leader(request)
        .await
        .unwrap();
    let status = members[place].status().await.unwrap();
    assert_eq!(
        status.leader, request.target_id,
        "it is so when it is answered"
    );
    members[place].put("after", "move").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let place = lab::leader(&members).await;
    members[place].put("k", "v").await.unwrap();
    let other = (place + 1) % 3;
    let term = members[other].status().await.unwrap().raft_term;
    members[place].terminate();
    let status = members[place].ended().await;
    assert!(status.success(), "{status}");
    assert!(
        members[place].log().contains("handed leadership over"),
        "its log says so"
    );
    let now = members[other].status().await.unwrap();
    assert_eq!(
        (now.raft_term, now.leader != 0),
        (term + 1, true),
        "one election, already over"
    );
    assert_eq!(members[other].get("k").await.unwrap().as_deref(), Some("v"));
}
