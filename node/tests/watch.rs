//! Watching through real members: what is written reaches those who watch, on every member, over restarts.

#![allow(
    clippy::unwrap_used,
    reason = "what a client is not told fails the test"
)]

mod lab;

use std::collections::BTreeMap;
use std::time::Duration;

use lab::{Lab, Member, PATIENCE, eventually, leader, text};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

/// A client's stream.
struct Watch {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watch {
    async fn open(member: &Member) -> Self {
        Self::open_with(member, "false").await.unwrap()
    }

    async fn open_with(member: &Member, has_leader: &'static str) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(sent));
        let has_leader = has_leader.parse().unwrap();
        request.metadata_mut().insert("hasleader", has_leader);
        let responses = member.watches().watch(request).await?.into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    async fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest {
            request_union: Some(request),
        };
        self.requests.send(request).await.unwrap();
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(request)).await;
        self.next().await
    }

    async fn next(&mut self) -> pb::WatchResponse {
        self.try_next().await.unwrap()
    }

    async fn try_next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message());
        let next = next.await.expect("an answer in time")?;
        Ok(next.expect("it goes on"))
    }

    /// Reads until this many events have come.
    async fn events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.events.iter().map(show));
        }
        events
    }
}

fn show(event: &proto::mvccpb::Event) -> String {
    let kv = event.kv.clone().unwrap_or_default();
    let was = event.prev_kv.as_ref();
    let was = was.map_or(String::new(), |kv| format!("(was {})", text(&kv.value)));
    let (key, value) = (text(&kv.key), text(&kv.value));
    format!("{key}={value}@{}{was}", kv.mod_revision)
}

fn everything(start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        range_end: vec![0].into(),
        start_revision,
        ..pb::WatchCreateRequest::default()
    }
}

#[tokio::test]
async fn a_watcher_is_told_as_by_etcd() {
    let mut lab = Lab::new();
    let flags = ["--watch-progress-notify-interval", "100ms"];
    let members = lab.cluster(&["solo"], &flags).await;
    let member = &members[0];
    member.put("a", "1").await.unwrap();
    let mut watch = Watch::open(member).await;
    let created = watch
        .create(pb::WatchCreateRequest {
            key: "a".into(),
            start_revision: 2,
            prev_kv: true,
            progress_notify: true,
            ..pb::WatchCreateRequest::default()
        })
        .await;
    assert_eq!((created.created, created.watch_id), (true, 0));
    member.put("a", "2").await.unwrap();
    assert_eq!(watch.events(2).await, ["a=1@2", "a=2@3(was 1)"]);
    let progress = watch.next().await;
    assert!(progress.events.is_empty() && progress.watch_id == 0);
    assert_eq!(progress.header.map(|it| it.revision), Some(3));
    let negative = watch.create(everything(-1)).await;
    assert_eq!(
        (negative.created, negative.canceled, negative.watch_id),
        (true, true, -1)
    );
    let reason = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(negative.cancel_reason, reason);
    let request = pb::CompactionRequest {
        revision: 3,
        physical: true,
    };
    member.kv().compact(request).await.unwrap();
    let mut late = Watch::open(member).await;
    assert!(late.create(everything(2)).await.created);
    let compacted = late.next().await;
    assert_eq!((compacted.canceled, compacted.compact_revision), (true, 3));
    let request = pb::WatchProgressRequest {};
    let mut other = Watch::open(member).await;
    other.create(everything(0)).await;
    other.ask(RequestUnion::ProgressRequest(request)).await;
    let progress = other.next().await;
    assert_eq!(progress.watch_id, -1);
    assert_eq!(progress.header.map(|it| it.revision), Some(3));
}

#[tokio::test]
async fn whoever_resumes_misses_nothing_whichever_member_dies() {
    let mut lab = Lab::new();
    let mut members = lab
        .cluster(&["a", "b", "c"], &["--snapshot-count", "50"])
        .await;
    let mut seen = BTreeMap::new();
    let (mut written, mut next) = (Vec::new(), 1);
    for round in 0..3 {
        let at = round % members.len();
        let mut watch = Watch::open(&members[at]).await;
        assert!(watch.create(everything(next)).await.created);
        for number in 0..60 {
            let value = format!("{round}-{number}");
            let acknowledged = eventually("a put", async || {
                let put = members[(at + 1) % 3].put("k", &value).await;
                put.map_err(|error| error.to_string())
            });
            let header = acknowledged.await.header.unwrap();
            written.push((header.revision, value));
        }
        let newest = written.last().unwrap().0;
        while next <= newest {
            for event in watch.next().await.events {
                let kv = event.kv.unwrap();
                assert!(kv.mod_revision >= next, "in order and once");
                next = kv.mod_revision + 1;
                seen.insert(kv.mod_revision, text(&kv.value));
            }
        }
        members[at].kill();
        members[at].start();
        leader(&members).await;
    }
    for (revision, value) in written {
        assert_eq!(seen.get(&revision), Some(&value));
    }
}

#[tokio::test]
async fn streams_end_at_once_when_a_member_stops_and_in_time_when_there_is_no_leader() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let [first, second, third] = members.get_disjoint_mut([0, 1, 2]).unwrap();
    let mut watch = Watch::open(first).await;
    watch.create(everything(0)).await;
    first.terminate();
    let end = watch.try_next().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(first.ended().await.success());
    let mut patient = Watch::open(second).await;
    let mut cut = eventually("a leader again", async || {
        let watch = Watch::open_with(second, "true").await;
        watch.map_err(|error| error.to_string())
    })
    .await;
    patient.create(everything(0)).await;
    cut.create(everything(0)).await;
    third.kill();
    let end = cut.try_next().await.unwrap_err();
    assert_eq!(
        (end.code(), end.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
    let refused = Watch::open_with(second, "true").await.err().unwrap();
    assert_eq!(refused.message(), "etcdserver: no leader");
    let silent = tokio::time::timeout(Duration::from_millis(100), patient.responses.message());
    assert!(silent.await.is_err(), "it did not ask for a leader");
    second.put("never", "done").await.unwrap_err();
}

#[tokio::test]
async fn a_stream_has_as_many_watchers_as_the_flag_says() {
    let mut lab = Lab::new();
    let flags = ["--max-watchers-per-stream", "2"];
    let members = lab.cluster(&["solo"], &flags).await;
    let mut watch = Watch::open(&members[0]).await;
    for id in 0..2 {
        let made = watch.create(everything(0)).await;
        assert!(made.created && !made.canceled && made.watch_id == id);
    }
    let refused = watch.create(everything(0)).await;
    assert!(refused.created && refused.canceled, "{refused:?}");
    let flag = "--max-watchers-per-stream";
    assert!(refused.cancel_reason.contains(flag), "{refused:?}");
    watch
        .ask(RequestUnion::CancelRequest(pb::WatchCancelRequest {
            watch_id: 0,
        }))
        .await;
    assert!(watch.next().await.canceled);
    let made = watch.create(everything(0)).await;
    assert!(made.created && !made.canceled, "a place is free: {made:?}");
    let mut another = Watch::open(&members[0]).await;
    let made = another.create(everything(0)).await;
    assert!(made.created && !made.canceled, "another stream: {made:?}");
}
