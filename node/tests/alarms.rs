//! Alarms as a client sees them: raised and taken back, what they refuse, and where they show.

mod lab;

use lab::{Lab, Member, eventually, put};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use tonic::{Code, Status};

async fn alarm(
    member: &Member,
    action: AlarmAction,
    kind: i32,
    about: u64,
) -> Result<Vec<(u64, i32)>, Status> {
    let request = pb::AlarmRequest {
        action: action.into(),
        member_id: about,
        alarm: kind,
    };
    let answer = member.maintenance().alarm(request).await?.into_inner();
    assert!(answer.header.is_some_and(|header| header.revision > 0));
    let pairs = answer.alarms.into_iter();
    Ok(pairs.map(|alarm| (alarm.member_id, alarm.alarm)).collect())
}

async fn delete(member: &Member, key: &str) -> Result<i64, Status> {
    let request = pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..pb::DeleteRangeRequest::default()
    };
    let answer = member.kv().delete_range(request).await?.into_inner();
    Ok(answer.header.map_or(0, |header| header.revision))
}

const NOSPACE: i32 = 1;
const CORRUPT: i32 = 2;

#[tokio::test]
async fn alarms_are_listed_raised_and_taken_back_as_etcd_does() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["solo"], &[]).await;
    let solo = &members[0];
    use AlarmAction::{Activate, Deactivate, Get};
    assert_eq!(alarm(solo, Get, 0, 0).await.unwrap(), []);
    for (kind, about) in [(CORRUPT, 5), (NOSPACE, 9), (NOSPACE, 5), (7, 0)] {
        let raised = alarm(solo, Activate, kind, about).await.unwrap();
        assert_eq!(raised, [(about, kind)]);
    }
    assert_eq!(alarm(solo, Activate, 0, 3).await.unwrap(), [], "no kind");
    let all = [(5, NOSPACE), (9, NOSPACE), (5, CORRUPT), (0, 7)];
    assert_eq!(alarm(solo, Get, 0, 5).await.unwrap(), all);
    assert_eq!(alarm(solo, Get, CORRUPT, 0).await.unwrap(), all[2..3]);
    let errors = solo.status().await.unwrap().errors;
    let expected = [
        "memberID:5 alarm:NOSPACE",
        "memberID:9 alarm:NOSPACE",
        "memberID:5 alarm:CORRUPT",
        "alarm:7",
    ];
    assert_eq!(errors, expected);
    let none = alarm(solo, Deactivate, NOSPACE, 1).await.unwrap();
    assert_eq!(none, [], "0 is no wildcard, and neither is another");
    let lowered = alarm(solo, Deactivate, NOSPACE, 9).await.unwrap();
    assert_eq!(lowered, [(9, NOSPACE)]);
    members[0].kill();
    members[0].start();
    let solo = &members[0];
    eventually("alarms survive", async || {
        let alarms = alarm(solo, Get, 0, 0).await.map_err(|e| e.to_string())?;
        let expected = [(5, NOSPACE), (5, CORRUPT), (0, 7)];
        (alarms == expected)
            .then_some(())
            .ok_or(format!("{alarms:?}"))
    })
    .await;
    let request = pb::AlarmRequest {
        action: 3,
        ..pb::AlarmRequest::default()
    };
    let refused = solo.maintenance().alarm(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn a_corrupt_cluster_changes_nothing_and_is_read() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &[]).await;
    let solo = &members[0];
    solo.put("k", "v").await.unwrap();
    alarm(solo, AlarmAction::Activate, CORRUPT, 0)
        .await
        .unwrap();
    let compaction = pb::CompactionRequest {
        revision: 2,
        physical: false,
    };
    let refusals = [
        solo.put("k", "w").await.map(drop),
        delete(solo, "k").await.map(drop),
        solo.kv().compact(compaction).await.map(drop),
    ];
    for refusal in refusals {
        let refusal = refusal.unwrap_err();
        let expected = (Code::DataLoss, "etcdserver: corrupt cluster");
        assert_eq!((refusal.code(), refusal.message()), expected);
    }
    assert_eq!(solo.get("k").await.unwrap().as_deref(), Some("v"));
    alarm(solo, AlarmAction::Deactivate, CORRUPT, 0)
        .await
        .unwrap();
    solo.put("k", "w").await.unwrap();
}

#[tokio::test]
async fn a_used_up_quota_raises_the_alarm_until_space_is_made_and_it_is_taken_back() {
    let mut lab = Lab::new();
    let members = lab
        .cluster(&["solo"], &["--quota-backend-bytes=1000000"])
        .await;
    let solo = &members[0];
    let value = "x".repeat(100_000);
    let mut written = 0;
    let refusal = loop {
        match solo.put("k", &value).await {
            Ok(_) => written += 1,
            Err(refusal) => break refusal,
        }
        assert!(written < 20, "the quota holds less");
    };
    let expected = (
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded",
    );
    assert_eq!((refusal.code(), refusal.message()), expected);
    assert!(written >= 8, "{written}");
    let me = solo.id().await;
    let alarms = alarm(solo, AlarmAction::Get, 0, 0).await.unwrap();
    assert_eq!(alarms, [(me, NOSPACE)]);

    let small = solo.put("small", "fits").await.unwrap_err();
    assert_eq!(
        small.code(),
        Code::ResourceExhausted,
        "while the alarm is up"
    );
    let revision = delete(solo, "k").await.unwrap();
    let compaction = pb::CompactionRequest {
        revision,
        physical: false,
    };
    solo.kv().compact(compaction).await.unwrap();
    let defragment = pb::DefragmentRequest {};
    solo.maintenance().defragment(defragment).await.unwrap();
    let size = solo.status().await.unwrap().db_size;
    assert!(size < 10_000, "{size} bytes of one deletion");
    let read = pb::TxnRequest::default();
    solo.kv().txn(read).await.unwrap();
    solo.kv().put(put("small", "fits")).await.unwrap_err();
    alarm(solo, AlarmAction::Deactivate, NOSPACE, me)
        .await
        .unwrap();
    solo.put("k", &value).await.unwrap();
    assert_eq!(
        alarm(solo, AlarmAction::Get, 0, 0).await.unwrap(),
        [],
        "there is space"
    );
}
