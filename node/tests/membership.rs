//! Members come, learn, vote, fall behind, catch up and go; strangers and those who lost their data are kept out.

mod lab;

use std::time::Duration;

use lab::{Lab, Member, eventually, initial_cluster};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::membership::member_change::Change;
use proto::membership::membership_client::MembershipClient;
use proto::membership::{ChangeMembersRequest, GetMembershipRequest, MemberChange};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn add_learner(at: &Member, newcomer: &Member) -> u64 {
    let request = pb::MemberAddRequest {
        peer_urls: vec![newcomer.peer_url()],
        is_learner: true,
    };
    let answer = at
        .cluster()
        .member_add(request)
        .await
        .expect("it may be added")
        .into_inner();
    answer.member.expect("the answer names it").id
}

fn joins(newcomer: &mut Member, members: &[Member]) {
    let own = format!("{}={}", newcomer.name, newcomer.peer_url());
    let cluster = format!("{},{own}", initial_cluster(members));
    newcomer.with(&[
        "--initial-cluster",
        &cluster,
        "--initial-cluster-state",
        "existing",
    ]);
    newcomer.start();
}

async fn promote(at: &Member, id: u64) {
    eventually("the learner is promoted", async || {
        let call = at
            .cluster()
            .member_promote(pb::MemberPromoteRequest { id })
            .await;
        call.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_joins_as_a_learner_votes_and_leaves() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a", "b", "c"], &[]).await;
    let place = lab::leader(&members).await;
    let follower = &members[(place + 1) % 3];
    members[place].put("before", "joining").await.unwrap();
    let mut newcomer = lab.member("d");
    let id = add_learner(follower, &newcomer).await;
    joins(&mut newcomer, &members);
    let status = eventually("the learner has caught up", async || {
        let status = newcomer.status().await.map_err(|error| error.to_string())?;
        let known = status.is_learner && status.leader != 0;
        if known {
            Ok(status)
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    assert_eq!(status.header.unwrap().member_id, id);
    let refusal = newcomer.put("k", "v").await.unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (
            Code::FailedPrecondition,
            "etcdserver: rpc not supported for learner"
        )
    );
    promote(follower, id).await;
    eventually("it serves like any other", async || {
        newcomer
            .put("after", "promotion")
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(
        newcomer.get("before").await.unwrap().as_deref(),
        Some("joining")
    );
    follower
        .cluster()
        .member_remove(pb::MemberRemoveRequest { id })
        .await
        .unwrap();
    let ended = newcomer.ended().await;
    assert!(ended.success(), "{ended}");
    assert!(
        newcomer
            .log()
            .contains("permanently removed from the cluster")
    );
    newcomer.start();
    newcomer.ended().await;
    assert!(
        newcomer
            .log()
            .contains("permanently removed from the cluster"),
        "nor comes it back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_ended_before_it_heard_anything_joins_all_the_same() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a"], &[]).await;
    members[0].put("before", "joining").await.unwrap();
    let mut newcomer = lab.member("b");
    add_learner(&members[0], &newcomer).await;
    // Where it listens, nobody speaks to it.
    let deaf = format!("http://{}:2399", newcomer.ip);
    newcomer.with(&["--listen-peer-urls", &deaf]);
    joins(&mut newcomer, &members);
    eventually("it knows who it is", async || {
        let log = newcomer.log();
        let joined = log.contains("joined a running cluster");
        joined.then_some(()).ok_or(log)
    })
    .await;
    newcomer.kill();
    let peer_url = newcomer.peer_url();
    newcomer.with(&["--listen-peer-urls", &peer_url]);
    newcomer.start();
    eventually("it learns", async || {
        let status = newcomer.status().await.map_err(|error| error.to_string())?;
        status
            .is_learner
            .then_some(())
            .ok_or_else(|| format!("{status:?}"))
    })
    .await;
    let refusal = newcomer.get("before").await.unwrap_err();
    assert_eq!(
        refusal.message(),
        "etcdserver: rpc not supported for learner"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_can_be_removed_and_the_others_go_on() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let place = lab::leader(&members).await;
    members[place].put("k", "v").await.unwrap();
    let mut leader = members.remove(place);
    let id = leader.id().await;
    leader
        .cluster()
        .member_remove(pb::MemberRemoveRequest { id })
        .await
        .unwrap();
    assert!(leader.ended().await.success());
    lab::leader(&members).await;
    assert_eq!(members[0].get("k").await.unwrap().as_deref(), Some("v"));
    members[1].put("k", "w").await.unwrap();
}

/// Found by the simulation: it could not answer a leader that its own log did not name yet, and never caught up.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_catches_up_from_a_leader_it_never_heard_of() {
    let mut lab = Lab::new();
    let flags = ["--strict-reconfig-check=false"];
    let mut members = lab.cluster(&["a", "b", "c"], &flags).await;
    let place = lab::leader(&members).await;
    let mut away = members.remove((place + 1) % 3);
    away.kill();
    let place = lab::leader(&members).await;
    let mut newcomer = lab.member("d");
    let id = add_learner(&members[place], &newcomer).await;
    joins(&mut newcomer, &members);
    promote(&members[place], id).await;
    let target_id = id;
    eventually("the newcomer leads", async || {
        let leader = lab::leader(&members).await;
        let request = pb::MoveLeaderRequest { target_id };
        let moved = members[leader].maintenance().move_leader(request).await;
        moved.map_err(|error| error.to_string())
    })
    .await;
    newcomer.put("k", "v").await.unwrap();
    away.start();
    eventually("it has caught up", async || match away.get("k").await {
        Ok(Some(value)) if value == "v" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let leads = newcomer.status().await.unwrap().leader;
    assert_eq!(leads, id, "nobody else has led since");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_far_behind_catches_up_by_a_snapshot() {
    let mut lab = Lab::new();
    let flags = ["--snapshot-count", "50", "--snapshot-catchup-entries", "5"];
    let mut members = lab.cluster(&["a", "b", "c"], &flags).await;
    let place = lab::leader(&members).await;
    let behind = (place + 1) % 3;
    members[behind].kill();
    let value = "x".repeat(4_000);
    for number in 0..300 {
        members[place]
            .put(&format!("key-{number}"), &value)
            .await
            .unwrap();
    }
    let revision = members[place]
        .status()
        .await
        .unwrap()
        .header
        .unwrap()
        .revision;
    members[behind].start();
    eventually("it has caught up", async || {
        let status = members[behind]
            .status()
            .await
            .map_err(|error| error.to_string())?;
        let header = status.header.expect("every answer has a header");
        if header.revision >= revision {
            Ok(())
        } else {
            Err(format!("{header:?}"))
        }
    })
    .await;
    eventually(
        "only a snapshot can have helped, as the log before it is gone",
        async || {
            let sent = members
                .iter()
                .any(|member| member.log().contains("sent a snapshot"));
            sent.then_some(())
                .ok_or_else(|| "nobody says that he sent one".to_owned())
        },
    )
    .await;
    // What came as a snapshot is as durable as what came as entries.
    members[behind].kill();
    members[behind].start();
    eventually("it still has everything", async || {
        let request = pb::HashKvRequest { revision };
        let ours = members[behind].maintenance().hash_kv(request).await;
        let theirs = members[place].maintenance().hash_kv(request).await;
        let [ours, theirs] = [ours, theirs].map(|call| {
            call.map(|hash| hash.into_inner().hash)
                .map_err(|e| e.to_string())
        });
        if ours? == theirs? {
            Ok(())
        } else {
            Err("the hashes differ".to_owned())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_data_is_not_let_back_in() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    members[0].put("k", "v").await.unwrap();
    let list = pb::MemberListRequest { linearizable: true };
    eventually("all have said their URLs", async || {
        let call = members[0]
            .cluster()
            .member_list(list)
            .await
            .map_err(|error| error.to_string())?;
        let told = call
            .into_inner()
            .members
            .iter()
            .all(|member| !member.client_urls.is_empty());
        told.then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    members[2].kill();
    std::fs::remove_dir_all(members[2].folder.join("data")).unwrap();
    members[2].start();
    assert!(!members[2].ended().await.success());
    assert!(
        members[2].log().contains("has already been bootstrapped"),
        "{}",
        members[2].log()
    );
    let cluster = initial_cluster(&members);
    members[2].with(&[
        "--initial-cluster",
        &cluster,
        "--initial-cluster-state",
        "existing",
    ]);
    members[2].start();
    assert!(!members[2].ended().await.success());
    assert!(
        members[2].log().contains("has already been bootstrapped"),
        "{}",
        members[2].log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_is_refused() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a"], &[]).await;
    // It believes that `a` founded a cluster with it, under another token.
    let mut stranger = lab.member("stranger");
    let own = format!("stranger={}", stranger.peer_url());
    let cluster = format!("{},{own}", initial_cluster(&members));
    stranger.with(&[
        "--initial-cluster",
        &cluster,
        "--initial-cluster-token",
        "other",
    ]);
    stranger.start();
    eventually("the stranger is refused", async || {
        let log = members[0].log();
        if log.contains("cluster ID mismatch") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(stranger.status().await.unwrap().leader, 0);
    members[0].put("k", "v").await.unwrap();
    // A newcomer that nobody added finds no place.
    let mut uninvited = lab.member("uninvited");
    joins(&mut uninvited, &members);
    assert!(!uninvited.ended().await.success());
    assert!(
        uninvited
            .log()
            .contains("knows no member with the peer URLs"),
        "{}",
        uninvited.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_cluster_is_refused() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a"], &[]).await;
    members[0].put("k", "v").await.unwrap();
    members[0].kill();
    members[0].with(&["--initial-cluster-token", "of-its-successor"]);
    members[0].start();
    assert!(!members[0].ended().await.success());
    let log = members[0].log();
    assert!(
        log.contains(r#"holds the data of a cluster with the token \"lab\""#),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_three_is_forced_to_go_on_alone_and_grows_again() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let place = lab::leader(&members).await;
    for number in 0..20 {
        let key = format!("key-{number}");
        members[place].put(&key, "kept").await.unwrap();
    }
    let mut survivor = members.remove((place + 1) % 3);
    let lost_ids = [members[0].id().await, members[1].id().await];
    members.iter_mut().for_each(Member::kill);
    survivor.kill();
    survivor.with(&["--force-new-cluster"]);
    survivor.start();
    eventually("it serves alone", async || {
        let put = survivor.put("after", "the loss").await;
        put.map_err(|error| error.to_string())
    })
    .await;
    for number in 0..20 {
        let value = survivor.get(&format!("key-{number}")).await.unwrap();
        assert_eq!(value.as_deref(), Some("kept"), "key-{number}");
    }
    let request = pb::MemberListRequest { linearizable: true };
    let list = survivor.cluster().member_list(request).await.unwrap();
    let ids: Vec<u64> = list.into_inner().members.iter().map(|it| it.id).collect();
    assert_eq!(ids, [survivor.id().await]);

    // One of the lost comes back after all: it is told that it is out.
    members[0].start();
    let ended = members[0].ended().await;
    assert!(ended.success(), "{ended}");
    assert!(members[0].log().contains("permanently removed"));

    survivor.kill();
    survivor.with(&["--force-new-cluster=false"]);
    survivor.start();
    let mut newcomer = lab.member("d");
    eventually("the survivor runs again", async || {
        let status = survivor.status().await.map_err(|it| it.to_string())?;
        (status.leader != 0)
            .then_some(())
            .ok_or("no leader".to_owned())
    })
    .await;
    let id = add_learner(&survivor, &newcomer).await;
    assert!(!lost_ids.contains(&id));
    let survivors = [survivor];
    joins(&mut newcomer, &survivors);
    promote(&survivors[0], id).await;
    let value = eventually("the newcomer serves", async || {
        newcomer.get("key-0").await.map_err(|it| it.to_string())
    })
    .await;
    assert_eq!(value.as_deref(), Some("kept"));
}

async fn change_members(at: &Member, changes: Vec<Change>) -> Result<Vec<pb::Member>, Status> {
    let changes = changes.into_iter().map(|change| MemberChange {
        change: Some(change),
    });
    let request = ChangeMembersRequest {
        changes: changes.collect(),
    };
    let mut client = MembershipClient::new(at.channel());
    let answer = client.change_members(request).await?;
    Ok(answer.into_inner().members)
}

fn learner(newcomer: &Member) -> Change {
    Change::Add(pb::MemberAddRequest {
        peer_urls: vec![newcomer.peer_url()],
        is_learner: true,
    })
}

/// Writes one key after the other, to whoever takes it, until it is told to stop; the keys that were acknowledged.
async fn write_until(stop: CancellationToken, mut clients: Vec<KvClient<Channel>>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let key = format!("key-{number}");
        let place = number % clients.len();
        let put = clients[place].put(lab::put(&key, "kept"));
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), put).await {
            acknowledged.push(key);
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_become_three_others_in_one_call_under_writes() {
    let mut lab = Lab::new();
    let flags = ["--max-learners", "3"];
    let mut members = lab.cluster(&["a", "b", "c"], &flags).await;
    let follower = (lab::leader(&members).await + 1) % 3;
    let mut newcomers = ["d", "e", "f"].map(|name| lab.member(name));
    let clients = members.iter().chain(&newcomers).map(Member::kv).collect();
    let stop = CancellationToken::new();
    let writing = tokio::spawn(write_until(stop.clone(), clients));

    let added = newcomers.iter().map(learner).collect();
    let all = change_members(&members[follower], added).await.unwrap();
    assert_eq!(all.len(), 6);
    for newcomer in &mut newcomers {
        newcomer.with(&flags);
        joins(newcomer, &members);
    }
    let new_urls: Vec<String> = newcomers.iter().map(Member::peer_url).collect();
    let is_new = |member: &pb::Member| new_urls.contains(&member.peer_urls[0]);
    let changes = all.iter().map(|member| match is_new(member) {
        true => Change::Promote(member.id),
        false => Change::Remove(member.id),
    });
    let changes: Vec<Change> = changes.collect();
    let left = eventually("the newcomers have caught up and take over", async || {
        let changed = change_members(&members[follower], changes.clone()).await;
        changed.map_err(|error| error.to_string())
    })
    .await;
    assert!(left.len() == 3 && left.iter().all(is_new), "{left:?}");
    for member in &mut members {
        assert!(member.ended().await.success());
        assert!(member.log().contains("permanently removed"));
    }
    lab::leader(&newcomers).await;
    stop.cancel();
    let acknowledged = writing.await.unwrap();
    assert!(!acknowledged.is_empty());
    for key in acknowledged {
        let value = newcomers[0].get(&key).await.unwrap();
        assert_eq!(value.as_deref(), Some("kept"), "{key}");
    }
    let linearizable = true;
    let request = GetMembershipRequest { linearizable };
    let mut client = MembershipClient::new(newcomers[1].channel());
    let shown = client.get_membership(request).await.unwrap().into_inner();
    assert!(!shown.is_joint && shown.old_voters.is_empty());
    assert_eq!(shown.voters.len(), 3);
    let refused = change_members(&newcomers[0], Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("the list of changes is empty"));
}
