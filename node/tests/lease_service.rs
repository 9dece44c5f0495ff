//! Leases as clients of real members see them: over a follower, across a change of leader and a restart of everybody.

mod lab;

use std::time::{Duration, Instant};

use lab::{Lab, Member, eventually, leader};
use proto::etcdserverpb as pb;
use tonic::{Code, Status};

/// What one client asks of one member.
struct Client<'a>(&'a Member);

impl Client<'_> {
    async fn grant(&self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Status> {
        let grant = pb::LeaseGrantRequest { ttl, id };
        Ok(self.0.lease().lease_grant(grant).await?.into_inner())
    }

    async fn revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse, Status> {
        let revoke = pb::LeaseRevokeRequest { id };
        Ok(self.0.lease().lease_revoke(revoke).await?.into_inner())
    }

    /// Renews these one after the other on one stream.
    async fn keep_alive(&self, ids: &[i64]) -> Result<Vec<pb::LeaseKeepAliveResponse>, Status> {
        let asked: Vec<_> = ids
            .iter()
            .map(|id| pb::LeaseKeepAliveRequest { id: *id })
            .collect();
        let asked = tokio_stream::iter(asked);
        let mut answers = self.0.lease().lease_keep_alive(asked).await?.into_inner();
        let mut renewed = Vec::new();
        while let Some(answer) = answers.message().await? {
            renewed.push(answer);
        }
        Ok(renewed)
    }

    async fn time_to_live(&self, id: i64) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        let asked = pb::LeaseTimeToLiveRequest { id, keys: true };
        Ok(self.0.lease().lease_time_to_live(asked).await?.into_inner())
    }

    async fn leases(&self) -> Vec<i64> {
        let asked = self.0.lease().lease_leases(pb::LeaseLeasesRequest {}).await;
        let leases = asked
            .expect("every member lists leases")
            .into_inner()
            .leases;
        leases.iter().map(|lease| lease.id).collect()
    }

    async fn put(&self, key: &str, lease: i64) -> Result<pb::PutResponse, Status> {
        let put = pb::PutRequest {
            lease,
            ..lab::put(key, "value")
        };
        Ok(self.0.kv().put(put).await?.into_inner())
    }
}

fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.expect("every answer has a header").revision
}

/// Waits until the lease is gone at this member.
async fn is_gone(member: &Member, id: i64) {
    eventually("the lease is gone", async || {
        let left = Client(member).time_to_live(id).await;
        let left = left.map_err(|error| error.to_string())?.ttl;
        if left == -1 {
            Ok(())
        } else {
            Err(format!("{left} s are left"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_lone_member_answers_as_etcd_does() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a"], &[]).await;
    let client = Client(&members[0]);

    let granted = client.grant(7, 60).await.unwrap();
    assert_eq!((granted.id, granted.ttl), (7, 60));
    assert_eq!(revision(granted.header.as_ref()), 1);
    let refused = client.grant(7, 60).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "etcdserver: lease already exists");
    let refused = client.grant(8, 9_000_000_001).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(refused.message(), "etcdserver: too large lease TTL");
    // An election timeout of half a second: three quarters of one are rounded up.
    assert_eq!(client.grant(9, -5).await.unwrap().ttl, 1);
    let drawn = [
        client.grant(0, 60).await.unwrap().id,
        client.grant(0, 60).await.unwrap().id,
    ];
    assert!(
        drawn[0] > 0 && drawn[1] > 0 && drawn[0] != drawn[1],
        "{drawn:?}"
    );
    is_gone(&members[0], 9).await;

    assert_eq!(
        revision(client.put("b", 7).await.unwrap().header.as_ref()),
        2
    );
    client.put("a", 7).await.unwrap();
    let refused = client.put("a", 99).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(refused.message(), "etcdserver: requested lease not found");
    let left = client.time_to_live(7).await.unwrap();
    assert_eq!(left.granted_ttl, 60);
    assert!((50..60).contains(&left.ttl), "{left:?}");
    assert_eq!(left.keys, ["a", "b"]);

    // Of what is not there, zero and no error.
    let renewed = client.keep_alive(&[7, 99, 7]).await.unwrap();
    let ttls: Vec<(i64, i64)> = renewed.iter().map(|it| (it.id, it.ttl)).collect();
    assert_eq!(ttls, [(7, 60), (99, 0), (7, 60)]);
    assert_eq!(revision(renewed[0].header.as_ref()), 3);

    let mut leases = client.leases().await;
    leases.sort_unstable();
    let mut expected = vec![7, drawn[0], drawn[1]];
    expected.sort_unstable();
    assert_eq!(leases, expected);

    assert_eq!(revision(client.revoke(7).await.unwrap().header.as_ref()), 4);
    let refused = client.revoke(7).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: requested lease not found");
    assert_eq!(members[0].get("a").await.unwrap(), None);
    let left = client.time_to_live(7).await.unwrap();
    assert_eq!((left.id, left.ttl, left.granted_ttl), (7, -1, 0));
}

#[tokio::test]
async fn a_lease_lives_while_it_is_renewed_over_a_follower_and_dies_after() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a", "b", "c"], &[]).await;
    let leading = leader(&members).await;
    let follower = &members[(leading + 1) % 3];
    let client = Client(follower);
    client.grant(7, 2).await.unwrap();
    client.put("k", 7).await.unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        let renewed = client.keep_alive(&[7]).await.unwrap();
        assert_eq!(renewed[0].ttl, 2, "after {:?}", begin.elapsed());
        let left = client.time_to_live(7).await.unwrap();
        assert!(left.ttl >= 0 && left.keys == ["k"], "{left:?}");
    }
    is_gone(follower, 7).await;
    assert!(
        begin.elapsed() >= Duration::from_secs(7),
        "it lived for its time after the last renewal"
    );
    eventually("its key is gone everywhere", async || {
        for member in &members {
            let read = pb::RangeRequest {
                serializable: true,
                ..lab::range("k")
            };
            let answer = member
                .kv()
                .range(read)
                .await
                .map_err(|error| error.to_string())?;
            if answer.into_inner().count > 0 {
                return Err(format!("{} has it", member.name));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_lease_outlives_its_leader_and_a_restart_of_everybody() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let leading = leader(&members).await;
    Client(&members[leading]).grant(7, 4).await.unwrap();
    Client(&members[leading]).put("k", 7).await.unwrap();
    members[leading].kill();
    let left: Vec<&Member> = members
        .iter()
        .filter(|member| member.name != members[leading].name)
        .collect();
    eventually("it is renewed by the next leader", async || {
        let renewed = Client(left[0])
            .keep_alive(&[7])
            .await
            .map_err(|error| error.to_string())?;
        if renewed.first().is_some_and(|it| it.ttl == 4) {
            Ok(())
        } else {
            Err(format!("{renewed:?}"))
        }
    })
    .await;
    members[leading].start();
    for member in &mut members {
        member.kill();
        member.start();
    }
    leader(&members).await;
    for member in &members {
        eventually("everybody has it again", async || {
            let left = Client(member)
                .time_to_live(7)
                .await
                .map_err(|error| error.to_string())?;
            if left.ttl >= 0 && left.keys == ["k"] {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await;
    }
    is_gone(&members[0], 7).await;
    assert_eq!(members[0].get("k").await.unwrap(), None);
}
