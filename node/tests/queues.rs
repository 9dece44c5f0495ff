//! Locks and elections as clients of real members see them.

#![allow(clippy::unwrap_used, reason = "what the lab cannot do fails the test")]

mod lab;

use std::time::Duration;

use lab::{Lab, Member, eventually};
use proto::etcdserverpb as pb;
use proto::v3electionpb::election_client::ElectionClient;
use proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use proto::v3lockpb::lock_client::LockClient;
use proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn grant(member: &Member, id: i64) {
    let grant = pb::LeaseGrantRequest { ttl: 60, id };
    member.lease().lease_grant(grant).await.unwrap();
}

fn lock(member: &Member, lease: i64) -> JoinHandle<Result<LockResponse, Status>> {
    let mut client = LockClient::new(member.channel());
    tokio::spawn(async move {
        let name = "l".into();
        let locked = client.lock(LockRequest { name, lease }).await;
        locked.map(tonic::Response::into_inner)
    })
}

async fn unlock(member: &Member, key: bytes::Bytes) {
    let mut client = LockClient::new(member.channel());
    client.unlock(UnlockRequest { key }).await.unwrap();
}

/// Waits until so many keys are in the queue.
async fn queued(member: &Member, prefix: &str, count: i64) {
    let all = pb::RangeRequest {
        range_end: format!("{prefix}0").into(),
        count_only: true,
        ..lab::range(&format!("{prefix}/"))
    };
    eventually("they queue", async || {
        let answer = member.kv().range(all.clone()).await;
        let found = answer
            .map_err(|error| error.to_string())?
            .into_inner()
            .count;
        if found == count {
            Ok(())
        } else {
            Err(format!("{found} of {count} do"))
        }
    })
    .await;
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused}");
    refused.message().to_owned()
}

#[tokio::test]
async fn a_lock_goes_from_one_to_the_next_and_past_who_went_away() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a", "b", "c"], &[]).await;
    let member = &members[0];
    for id in 1..=4 {
        grant(member, id).await;
    }
    let held = lock(member, 1).await.unwrap().unwrap();
    assert_eq!(held.key, "l/1");
    let again = lock(member, 1).await.unwrap().unwrap();
    assert_eq!(again.key, held.key, "who holds it holds it");

    let second = lock(&members[1], 2);
    queued(member, "l", 2).await;
    let third = lock(&members[2], 3);
    queued(member, "l", 3).await;
    let fourth = lock(member, 4);
    queued(member, "l", 4).await;
    third.abort();
    queued(member, "l", 3).await;
    assert!(!second.is_finished() && !fourth.is_finished());

    unlock(&members[2], held.key).await;
    let held = second.await.unwrap().unwrap();
    assert_eq!(held.key, "l/2");
    assert!(held.header.unwrap().revision > 0);
    assert!(!fourth.is_finished());
    // The lease of who waits ends; then that of who holds.
    let revoke = |id| pb::LeaseRevokeRequest { id };
    member.lease().lease_revoke(revoke(4)).await.unwrap();
    member.lease().lease_revoke(revoke(2)).await.unwrap();
    assert_eq!(refused(fourth.await.unwrap()), "mutex: session is expired");
    let anybody = lock(member, 0).await.unwrap().unwrap();
    assert!(
        anybody.key.starts_with(b"l/"),
        "a lease was granted for him"
    );
}

#[tokio::test]
async fn what_cannot_be_locked_is_refused_as_etcd_refuses_it() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a"], &[]).await;
    let no_lease = lock(&members[0], 99).await.unwrap();
    assert_eq!(refused(no_lease), "etcdserver: requested lease not found");
    let mut client = LockClient::new(members[0].channel());
    let no_key = client.unlock(UnlockRequest::default()).await;
    assert_eq!(refused(no_key), "etcdserver: key is not provided");
    let nothing = UnlockRequest {
        key: "nothing".into(),
    };
    assert!(client.unlock(nothing).await.is_ok(), "it is not locked");
}

fn election(member: &Member) -> ElectionClient<Channel> {
    ElectionClient::new(member.channel())
}

fn campaign(
    member: &Member,
    lease: i64,
    value: &'static str,
) -> JoinHandle<Result<CampaignResponse, Status>> {
    let mut client = election(member);
    tokio::spawn(async move {
        let (name, value) = ("e".into(), value.into());
        let campaign = CampaignRequest { name, lease, value };
        client
            .campaign(campaign)
            .await
            .map(tonic::Response::into_inner)
    })
}

async fn proclaim(
    member: &Member,
    leader: Option<LeaderKey>,
    value: &'static str,
) -> Result<i64, Status> {
    let value = value.into();
    let answer = election(member)
        .proclaim(ProclaimRequest { leader, value })
        .await?;
    Ok(answer.into_inner().header.unwrap().revision)
}

#[tokio::test]
async fn leaders_follow_each_other_and_are_observed() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a", "b", "c"], &[]).await;
    let [a, b, c] = &members[..] else {
        panic!("three were started")
    };
    grant(a, 1).await;
    grant(a, 2).await;
    let asked = || LeaderRequest { name: "e".into() };
    let nobody = election(a).leader(asked()).await;
    assert_eq!(refused(nobody), "election: no leader");

    let mut service = election(c);
    let mut observing = tokio::spawn(async move { service.observe(asked()).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut observing).await;
    assert!(early.is_err(), "nobody leads yet: {early:?}");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());

    let first = campaign(a, 1, "one")
        .await
        .unwrap()
        .unwrap()
        .leader
        .unwrap();
    assert_eq!((&first.key[..], first.lease), (&b"e/1"[..], 1));
    let mut observed = observing.await.unwrap().unwrap().into_inner();
    let mut next = async || {
        let told = tokio::time::timeout(Duration::from_secs(30), observed.message()).await;
        let kv = told
            .expect("the observer is told")
            .unwrap()
            .unwrap()
            .kv
            .unwrap();
        (lab::text(&kv.key), lab::text(&kv.value))
    };
    assert_eq!(next().await, pair("e/1", "one"));
    let second = campaign(b, 2, "two");
    queued(a, "e", 2).await;
    proclaim(b, Some(first.clone()), "uno").await.unwrap();
    assert_eq!(next().await, pair("e/1", "uno"));
    // To campaign again changes nothing but the value.
    let again = campaign(a, 1, "eins")
        .await
        .unwrap()
        .unwrap()
        .leader
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(next().await, pair("e/1", "eins"));
    let leads = election(b).leader(asked()).await.unwrap().into_inner();
    assert_eq!(leads.kv.unwrap().value, "eins");

    assert!(!second.is_finished());
    let leader = Some(first.clone());
    election(c).resign(ResignRequest { leader }).await.unwrap();
    let second = second.await.unwrap().unwrap().leader.unwrap();
    assert_eq!(next().await, pair("e/2", "two"));
    assert!(second.rev > first.rev);

    let stale = proclaim(a, Some(first.clone()), "still me").await;
    assert_eq!(refused(stale), "election: not leader");
    let leader = Some(first);
    let resigned = election(a).resign(ResignRequest { leader }).await;
    assert!(resigned.is_ok(), "from nothing");
    let nobody = proclaim(a, None, "?").await;
    assert_eq!(refused(nobody), "\"leader\" field must be provided");
    let leads = election(a).leader(asked()).await.unwrap().into_inner();
    assert_eq!(leads.kv.unwrap().create_revision, second.rev);
}

#[tokio::test]
async fn a_candidate_who_goes_away_is_none() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a"], &[]).await;
    grant(&members[0], 1).await;
    grant(&members[0], 2).await;
    campaign(&members[0], 1, "one").await.unwrap().unwrap();
    let second = campaign(&members[0], 2, "two");
    queued(&members[0], "e", 2).await;
    second.abort();
    queued(&members[0], "e", 1).await;
}
