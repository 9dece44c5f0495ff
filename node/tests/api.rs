//! What a client of one member sees: keys, transactions, compaction, membership, status, and every error's code and text.

mod lab;

use std::io::{Read, Write};

use lab::{Lab, Member, eventually, put, range, text};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response as Answer;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;

fn op(op: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(op) }
}

fn value_is(key: &str, value: &str) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Value(value.to_owned().into())),
        ..pb::Compare::default()
    }
}

#[tokio::test]
async fn a_single_member_serves_keys_and_keeps_them_over_a_kill() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["solo"], &[]).await;
    let solo = &members[0];
    let first = solo.put("color", "red").await.unwrap().header.unwrap();
    assert_eq!((first.revision, first.raft_term > 1), (2, true));
    assert_eq!(first.member_id, solo.id().await);
    let request = pb::PutRequest {
        prev_kv: true,
        ..put("color", "green")
    };
    let previous = solo
        .kv()
        .put(request)
        .await
        .unwrap()
        .into_inner()
        .prev_kv
        .unwrap();
    assert_eq!(
        (text(&previous.value).as_str(), previous.version),
        ("red", 1)
    );

    let txn = pb::TxnRequest {
        compare: vec![value_is("color", "green")],
        success: vec![
            op(Op::RequestPut(put("color", "blue"))),
            op(Op::RequestRange(range("color"))),
        ],
        failure: Vec::new(),
    };
    let answer = solo.kv().txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.header.unwrap().revision, 4);
    let Some(Answer::ResponseRange(seen)) = &answer.responses[1].response else {
        panic!("the second answer is to the range: {answer:?}")
    };
    assert_eq!(text(&seen.kvs[0].value), "blue");

    let old = pb::RangeRequest {
        revision: 2,
        ..range("color")
    };
    let answer = solo.kv().range(old).await.unwrap().into_inner();
    assert_eq!(
        (
            text(&answer.kvs[0].value).as_str(),
            answer.header.unwrap().revision
        ),
        ("red", 4)
    );

    members[0].kill();
    members[0].start();
    lab::leader(&members).await;
    let solo = &members[0];
    assert_eq!(solo.get("color").await.unwrap().as_deref(), Some("blue"));
    let deletion = pb::DeleteRangeRequest {
        key: "color".into(),
        ..pb::DeleteRangeRequest::default()
    };
    let answer = solo.kv().delete_range(deletion).await.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.header.unwrap().revision), (1, 5));
    assert_eq!(solo.get("color").await.unwrap(), None);
}

#[tokio::test]
async fn status_hash_and_members_tell_of_the_member_itself() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &[]).await;
    let solo = &members[0];
    solo.put("a", "1").await.unwrap();
    let status = solo.status().await.unwrap();
    let id = status.header.unwrap().member_id;
    assert_eq!(
        (status.leader, status.is_learner, status.errors.len()),
        (id, false, 0)
    );
    assert!(status.raft_applied_index >= 3 && status.raft_index >= status.raft_applied_index);
    assert_eq!(
        status.version.split('.').count(),
        3,
        "clients parse it: {}",
        status.version
    );
    let hash = |revision| pb::HashKvRequest { revision };
    let now = solo
        .maintenance()
        .hash_kv(hash(0))
        .await
        .unwrap()
        .into_inner();
    let named = solo
        .maintenance()
        .hash_kv(hash(2))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (now.hash, now.hash_revision, now.compact_revision),
        (named.hash, 2, -1)
    );
    let listed = eventually("the member has said its client URLs", async || {
        let request = pb::MemberListRequest { linearizable: true };
        let list = solo
            .cluster()
            .member_list(request)
            .await
            .map_err(|error| error.to_string())?;
        let member = list.into_inner().members.remove(0);
        if member.client_urls.is_empty() {
            Err("not yet".to_owned())
        } else {
            Ok(member)
        }
    })
    .await;
    assert_eq!((listed.id, listed.name.as_str()), (id, "solo"));
    assert_eq!(
        (listed.peer_urls, listed.client_urls),
        (vec![solo.peer_url()], vec![solo.client_url()])
    );
}

/// One line per call: what was wrong with it, and the code and text of the refusal.
fn transcript(calls: Vec<(&str, Result<(), Status>)>) -> String {
    let line = |(what, answer): (&str, Result<(), Status>)| match answer {
        Ok(()) => format!("{what}: done\n"),
        Err(status) => format!("{what}: {:?} {:?}\n", status.code(), status.message()),
    };
    calls.into_iter().map(line).collect()
}

fn txn(success: Vec<Op>) -> pb::TxnRequest {
    let success = success.into_iter().map(op).collect();
    pb::TxnRequest {
        success,
        ..pb::TxnRequest::default()
    }
}

const KEYS_REFUSED: &str = r#"range without a key: InvalidArgument "etcdserver: key is not provided"
put without a key: InvalidArgument "etcdserver: key is not provided"
deletion without a key: InvalidArgument "etcdserver: key is not provided"
unknown order: InvalidArgument "etcdserver: invalid sort option"
compacted revision: OutOfRange "etcdserver: mvcc: required revision has been compacted"
future revision: OutOfRange "etcdserver: mvcc: required revision is a future revision"
compacted again: OutOfRange "etcdserver: mvcc: required revision has been compacted"
compacted ahead: OutOfRange "etcdserver: mvcc: required revision is a future revision"
value and ignore_value: InvalidArgument "etcdserver: value is provided"
nothing to keep: InvalidArgument "etcdserver: key not found"
unknown lease: NotFound "etcdserver: requested lease not found"
one key twice: InvalidArgument "etcdserver: duplicate key given in txn request"
129 operations: InvalidArgument "etcdserver: too many operations in txn request"
70,000 bytes of 65,536: InvalidArgument "etcdserver: request is too large"
"#;

#[tokio::test]
async fn keys_are_refused_in_etcds_words() {
    let mut lab = Lab::new();
    let members = lab
        .cluster(&["solo"], &["--max-request-bytes", "65536"])
        .await;
    let mut kv = members[0].kv();
    for value in ["1", "2", "3"] {
        members[0].put("a", value).await.unwrap();
    }
    let compact = |revision| pb::CompactionRequest {
        revision,
        physical: false,
    };
    kv.compact(compact(3)).await.unwrap();
    let at = |revision| pb::RangeRequest {
        revision,
        ..range("a")
    };
    let sorted = pb::RangeRequest {
        sort_order: 9,
        ..range("a")
    };
    let ignoring = pb::PutRequest {
        ignore_value: true,
        ..put("a", "x")
    };
    let keeping = pb::PutRequest {
        ignore_value: true,
        ..put("missing", "")
    };
    let leased = pb::PutRequest {
        lease: 7,
        ..put("a", "x")
    };
    let twice = txn(vec![
        Op::RequestPut(put("a", "1")),
        Op::RequestPut(put("a", "2")),
    ]);
    let many = txn(vec![Op::RequestRange(range("a")); 129]);
    let large = put("a", &"x".repeat(70_000));
    let calls = vec![
        ("range without a key", kv.range(range("")).await.map(drop)),
        ("put without a key", kv.put(put("", "x")).await.map(drop)),
        (
            "deletion without a key",
            kv.delete_range(pb::DeleteRangeRequest::default())
                .await
                .map(drop),
        ),
        ("unknown order", kv.range(sorted).await.map(drop)),
        ("compacted revision", kv.range(at(2)).await.map(drop)),
        ("future revision", kv.range(at(99)).await.map(drop)),
        ("compacted again", kv.compact(compact(3)).await.map(drop)),
        ("compacted ahead", kv.compact(compact(99)).await.map(drop)),
        ("value and ignore_value", kv.put(ignoring).await.map(drop)),
        ("nothing to keep", kv.put(keeping).await.map(drop)),
        ("unknown lease", kv.put(leased).await.map(drop)),
        ("one key twice", kv.txn(twice).await.map(drop)),
        ("129 operations", kv.txn(many).await.map(drop)),
        ("70,000 bytes of 65,536", kv.put(large).await.map(drop)),
    ];
    assert_eq!(transcript(calls), KEYS_REFUSED);
}

const MEMBERS_REFUSED: &str = r#"no URL: InvalidArgument "etcdserver: given member URLs are invalid"
URL of another: FailedPrecondition "etcdserver: Peer URLs already exists"
second learner: FailedPrecondition "etcdserver: too many learner members in cluster"
removal of nobody: NotFound "etcdserver: member not found"
promotion of nobody: NotFound "etcdserver: member not found"
promotion of a voter: FailedPrecondition "etcdserver: can only promote a learner member"
promotion of one that never started: FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader"
leadership for nobody: FailedPrecondition "etcdserver: bad leader transferee"
leadership for a learner: FailedPrecondition "etcdserver: bad leader transferee"
removal: done
removal again: NotFound "etcdserver: member not found"
"#;

#[tokio::test]
async fn membership_is_refused_in_etcds_words() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &[]).await;
    let solo = &members[0];
    let (mut cluster, mut maintenance) = (solo.cluster(), solo.maintenance());
    let add = |url: &str, is_learner| pb::MemberAddRequest {
        peer_urls: vec![url.to_owned()],
        is_learner,
    };
    let added = cluster
        .member_add(add("http://127.0.0.1:1", true))
        .await
        .unwrap()
        .into_inner();
    let (learner, me) = (added.member.unwrap().id, solo.id().await);
    let remove = |id| pb::MemberRemoveRequest { id };
    let promote = |id| pb::MemberPromoteRequest { id };
    let lead = |target_id| pb::MoveLeaderRequest { target_id };
    let taken = add(&solo.peer_url(), false);
    let calls = vec![
        (
            "no URL",
            cluster.member_add(add("nonsense", false)).await.map(drop),
        ),
        ("URL of another", cluster.member_add(taken).await.map(drop)),
        (
            "second learner",
            cluster
                .member_add(add("http://127.0.0.1:2", true))
                .await
                .map(drop),
        ),
        (
            "removal of nobody",
            cluster.member_remove(remove(1)).await.map(drop),
        ),
        (
            "promotion of nobody",
            cluster.member_promote(promote(1)).await.map(drop),
        ),
        (
            "promotion of a voter",
            cluster.member_promote(promote(me)).await.map(drop),
        ),
        (
            "promotion of one that never started",
            cluster.member_promote(promote(learner)).await.map(drop),
        ),
        (
            "leadership for nobody",
            maintenance.move_leader(lead(1)).await.map(drop),
        ),
        (
            "leadership for a learner",
            maintenance.move_leader(lead(learner)).await.map(drop),
        ),
        (
            "removal",
            cluster.member_remove(remove(learner)).await.map(drop),
        ),
        (
            "removal again",
            cluster.member_remove(remove(learner)).await.map(drop),
        ),
    ];
    assert_eq!(transcript(calls), MEMBERS_REFUSED);
}

#[tokio::test]
async fn a_member_without_a_quorum_says_so_and_serves_old_reads() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let place = lab::leader(&members).await;
    members[place].put("k", "v").await.unwrap();
    let mut left = members.remove((place + 1) % 3);
    eventually("the third has the key", async || local(&left, "k").await).await;
    for member in &mut members {
        member.kill();
    }
    eventually("it knows of no leader", async || {
        let status = left.status().await.map_err(|error| error.to_string())?;
        if status.errors == ["etcdserver: no leader"] {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let mut asking = Request::new(put("k", "w"));
    asking
        .metadata_mut()
        .insert("hasleader", "true".parse().unwrap());
    let refusal = left.kv().put(asking).await.unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (Code::Unavailable, "etcdserver: no leader")
    );
    let refusal = left.put("k", "w").await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(
        refusal
            .message()
            .starts_with("etcdserver: request timed out"),
        "{refusal}"
    );
    assert_eq!(local(&left, "k").await.unwrap(), "v");
    left.terminate();
    assert!(left.ended().await.success());
}

async fn local(member: &Member, key: &str) -> Result<String, String> {
    let request = pb::RangeRequest {
        serializable: true,
        ..range(key)
    };
    let answer = member
        .kv()
        .range(request)
        .await
        .map_err(|error| error.to_string())?
        .into_inner();
    answer
        .kvs
        .first()
        .map(|kv| text(&kv.value))
        .ok_or_else(|| "no such key".to_owned())
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented_and_other_paths_are_404() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &[]).await;
    let channel = tonic::transport::Endpoint::from_shared(members[0].client_url())
        .unwrap()
        .connect_lazy();
    // What members say to each other, they say on another port.
    let mut peer = proto::peer::peer_client::PeerClient::new(channel.clone());
    let refusal = peer.ping(proto::peer::PingRequest {}).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented, "{refusal}");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let address = format!("{}:2379", members[0].ip);
    let answer = tokio::task::spawn_blocking(move || plain_http(&address, "/nothing"));
    assert!(
        answer.await.unwrap().unwrap().starts_with("HTTP/1.1 404"),
        "on the same port"
    );
}

fn plain_http(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: member\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn a_range_in_pieces_is_the_range_as_of_its_beginning() {
    let mut lab = Lab::new();
    let members = lab
        .cluster(&["solo"], &["--max-request-bytes", "20000"])
        .await;
    let value = "v".repeat(100);
    for number in 0..2_000 {
        members[0]
            .put(&format!("k{number:04}"), &value)
            .await
            .unwrap();
    }
    let all = pb::RangeRequest {
        range_end: "l".into(),
        ..range("k")
    };
    let mut kv = members[0].kv();
    let whole = kv.range(all.clone()).await.unwrap().into_inner();
    let mut stream = kv.range_stream(all.clone()).await.unwrap().into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        if pieces.is_empty() {
            members[0].put("k1999", "later").await.unwrap();
        }
        pieces.push(piece.range_response.unwrap());
    }
    let last = pieces.last().cloned().unwrap();
    assert_eq!((last.count, last.more), (2_000, false));
    assert_eq!(last.header, whole.header);
    let with_header = pieces.iter().filter(|piece| piece.header.is_some());
    assert_eq!((with_header.count(), pieces[0].kvs.len()), (1, 10));
    assert!(
        pieces.iter().any(|piece| piece.kvs.len() >= 80),
        "they grow"
    );
    let kvs: Vec<_> = pieces.into_iter().flat_map(|piece| piece.kvs).collect();
    assert_eq!(kvs, whole.kvs);
    let limited = pb::RangeRequest { limit: 15, ..all };
    let mut stream = kv.range_stream(limited).await.unwrap().into_inner();
    let mut counts = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        let piece = piece.range_response.unwrap();
        counts.push((piece.kvs.len(), piece.more, piece.count));
    }
    assert_eq!(counts, [(10, false, 0), (5, true, 2_000)]);
}
