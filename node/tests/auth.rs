//! Users, tokens and permissions, as clients of real members see them.

#![allow(
    clippy::unwrap_used,
    reason = "what these tests need and cannot have fails them"
)]

#[path = "lab/authority.rs"]
mod authority;
mod lab;
#[path = "lab/tls.rs"]
mod tls;
#[path = "lab/users.rs"]
mod users;

use authority::{Authority, Files};
use futures::StreamExt;
use lab::{Lab, Member, eventually, put, range, text};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::v3lockpb::lock_client::LockClient;
use proto::v3lockpb::{LockRequest, UnlockRequest};
use tonic::{Code, Status};
use users::{by, found, token};

const EMPTY: &str = "etcdserver: user name is empty";
const DENIED: &str = "etcdserver: permission denied";
const INVALID: &str = "etcdserver: invalid auth token";
const OLD: &str = "etcdserver: revision of auth store is old";

/// Hashing is not what is tested.
const CHEAP: [&str; 2] = ["--bcrypt-cost", "4"];

async fn get(member: &Member, token: &str, key: &str) -> Result<Option<String>, Status> {
    let answer = member.kv().range(by(token, range(key))).await?.into_inner();
    Ok(answer.kvs.first().map(|kv| text(&kv.value)))
}

async fn set(member: &Member, token: &str, key: &str) -> Result<(), Status> {
    let written = member.kv().put(by(token, put(key, "v"))).await;
    written.map(drop)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, text: &str) {
    let status = answer.expect_err(text);
    assert_eq!(status.message(), text, "{status:?}");
}

#[tokio::test]
async fn tokens_and_permissions_are_those_of_the_whole_cluster() {
    let mut lab = Lab::new();
    let flags = [&CHEAP[..], &["--log-level", "debug"]].concat();
    let mut members = lab.cluster(&["a", "b", "c"], &flags).await;
    found(&members[0]).await;
    let root = token(&members[0], "root").await.unwrap();
    let alice = token(&members[0], "alice").await.unwrap();
    for member in &members {
        set(member, &alice, "mine/1").await.unwrap();
        let seen = get(member, &alice, "mine/1").await.unwrap();
        assert_eq!(seen.as_deref(), Some("v"));
        refused(set(member, &alice, "other").await, DENIED);
        refused(get(member, &alice, "other").await, DENIED);
        refused(get(member, "", "mine/1").await, INVALID);
        refused(get(member, "never.1", "mine/1").await, INVALID);
        let nobody = member.get("mine/1").await;
        refused(nobody, EMPTY);
        set(member, &root, "other").await.unwrap();
    }

    // What one member was told is so at every other, however far that one is behind.
    users::change_password(&members[1], &root, "alice").await;
    refused(get(&members[2], &alice, "mine/1").await, INVALID);
    refused(get(&members[1], &alice, "mine/1").await, INVALID);
    let wrong = token(&members[0], "alice").await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let alice = users::token_with(&members[0], "alice", "another")
        .await
        .unwrap();
    get(&members[2], &alice, "mine/1").await.unwrap();

    // A member that was killed knows users and permissions again, and no token of before.
    members[0].kill();
    members[0].start();
    let back = &members[0];
    let again = eventually("the member is back", async || {
        let again = users::token_with(back, "alice", "another").await;
        again.map_err(|status| status.to_string())
    })
    .await;
    refused(get(back, &alice, "mine/1").await, INVALID);
    get(&members[2], &alice, "mine/1").await.unwrap();
    get(&members[1], &again, "mine/1").await.unwrap();
    refused(get(&members[0], &again, "other").await, DENIED);

    for member in &members {
        let log = member.log();
        assert!(log.contains("ready to serve client requests"));
        for secret in ["-secret", "another", "$2a$", &root, &alice, &again] {
            assert!(
                !log.contains(secret),
                "{secret} stands in the log of {}",
                member.name
            );
        }
    }
}

/// Every call that etcd once answered without asking who calls, and every one that needs the role root.
async fn of_the_cluster(member: &Member, token: Option<&str>) -> Vec<(&'static str, Status)> {
    let (mut cluster, mut maintenance) = (member.cluster(), member.maintenance());
    let urls = || vec!["http://127.0.0.1:1".to_owned()];
    let mut refused = Vec::new();
    macro_rules! ask {
        ($client:ident . $call:ident ( $request:expr )) => {
            if let Err(status) = $client.$call(users::by_some(token, $request)).await {
                refused.push((stringify!($call), status));
            }
        };
    }
    let add = pb::MemberAddRequest {
        peer_urls: urls(),
        is_learner: true,
    };
    ask!(cluster.member_add(add));
    ask!(cluster.member_remove(pb::MemberRemoveRequest { id: 1 }));
    ask!(cluster.member_update(pb::MemberUpdateRequest {
        id: 1,
        peer_urls: urls()
    }));
    ask!(cluster.member_promote(pb::MemberPromoteRequest { id: 1 }));
    let raise = pb::AlarmRequest {
        action: 1,
        member_id: 1,
        alarm: 1,
    };
    ask!(maintenance.alarm(raise));
    ask!(maintenance.alarm(pb::AlarmRequest { action: 2, ..raise }));
    ask!(maintenance.defragment(pb::DefragmentRequest {}));
    ask!(maintenance.hash(pb::HashRequest {}));
    ask!(maintenance.hash_kv(pb::HashKvRequest { revision: 0 }));
    ask!(maintenance.snapshot(pb::SnapshotRequest {}));
    ask!(maintenance.move_leader(pb::MoveLeaderRequest { target_id: 1 }));
    let downgrade = pb::DowngradeRequest {
        action: 0,
        version: "3.5.0".to_owned(),
    };
    ask!(maintenance.downgrade(downgrade));
    let mut kv = member.kv();
    ask!(kv.compact(pb::CompactionRequest {
        revision: 1,
        physical: false
    }));
    refused
}

/// What needs anybody at all.
async fn of_everybody(member: &Member, token: Option<&str>) -> Vec<Result<(), Status>> {
    let (mut cluster, mut maintenance) = (member.cluster(), member.maintenance());
    let list = |linearizable| users::by_some(token, pb::MemberListRequest { linearizable });
    let alarms = pb::AlarmRequest::default();
    vec![
        cluster.member_list(list(true)).await.map(drop),
        cluster.member_list(list(false)).await.map(drop),
        maintenance
            .status(users::by_some(token, pb::StatusRequest {}))
            .await
            .map(drop),
        maintenance
            .alarm(users::by_some(token, alarms))
            .await
            .map(drop),
    ]
}

#[tokio::test]
async fn cve_2026_33413_nothing_is_answered_to_nobody() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &CHEAP).await;
    let solo = &members[0];
    found(solo).await;
    let alice = token(solo, "alice").await.unwrap();
    let nobodys = of_the_cluster(solo, None).await;
    let alices = of_the_cluster(solo, Some(&alice)).await;
    let forged = of_the_cluster(solo, Some("forged.1")).await;
    assert_eq!((nobodys.len(), alices.len(), forged.len()), (13, 13, 13));
    for (list, text) in [(nobodys, EMPTY), (alices, DENIED), (forged, INVALID)] {
        for (call, status) in list {
            assert_eq!(status.message(), text, "{call}");
        }
    }
    for answer in of_everybody(solo, None).await {
        refused(answer, EMPTY);
    }
    for answer in of_everybody(solo, Some("forged.1")).await {
        refused(answer, INVALID);
    }
    for answer in of_everybody(solo, Some(&alice)).await {
        answer.unwrap();
    }
    let root = token(solo, "root").await.unwrap();
    let of_root = of_the_cluster(solo, Some(&root)).await;
    let texts = of_root.iter().map(|(_, status)| status.message());
    assert!(
        texts.clone().all(|text| text != DENIED && text != EMPTY),
        "{of_root:?}"
    );
    // Whether authentication is on anybody may know, and whether the member is well.
    let status = users::client(solo)
        .auth_status(pb::AuthStatusRequest {})
        .await;
    assert!(status.unwrap().into_inner().enabled);
}

#[tokio::test]
async fn issue_14571_a_member_that_was_brought_up_by_a_snapshot_knows_who_may_what() {
    let mut lab = Lab::new();
    let snapshots = ["--snapshot-count", "20", "--snapshot-catchup-entries", "5"];
    let flags = [&CHEAP[..], &snapshots].concat();
    let mut members = lab.cluster(&["a", "b", "c"], &flags).await;
    members[2].kill();
    lab::leader(&members[..2]).await;
    found(&members[0]).await;
    let root = token(&members[0], "root").await.unwrap();
    for _ in 0..100 {
        set(&members[0], &root, "other").await.unwrap();
    }
    members[2].start();
    let late = &members[2];
    let alice = eventually("the late member authenticates", async || {
        let alice = token(late, "alice").await;
        alice.map_err(|status| status.to_string())
    })
    .await;
    let local = |key: &str| pb::RangeRequest {
        serializable: true,
        ..range(key)
    };
    let own = late.kv().range(by(&alice, local("mine/1"))).await;
    assert!(own.is_ok(), "{own:?}");
    let others = late.kv().range(by(&alice, local("other"))).await;
    refused(others, DENIED);
    refused(late.kv().range(local("other")).await, EMPTY);
    set(late, &alice, "mine/1").await.unwrap();
}

#[tokio::test]
async fn ghsa_xg4h_6gfc_h4m8_a_watch_of_one_key_is_no_watch_of_all_that_follow() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &CHEAP).await;
    let solo = &members[0];
    found(solo).await;
    let alice = token(solo, "alice").await.unwrap();
    let reason = |code: &str, text: &str| format!("rpc error: code = {code} desc = {text}");
    let (denied, empty) = (
        reason("PermissionDenied", DENIED),
        reason("InvalidArgument", EMPTY),
    );
    let invalid = reason("Unauthenticated", INVALID);
    for (token, key, range_end, expected) in [
        (Some(&*alice), "mine/1", "", ""),
        (Some(&*alice), "mine/", "mine0", ""),
        (Some(&*alice), "mine/1", "\0", &denied),
        (Some(&*alice), "mine/", "mine1", &denied),
        (Some(&*alice), "other", "", &denied),
        (Some(&*alice), "", "\0", &denied),
        (Some("forged.1"), "mine/1", "", &invalid),
        (None, "mine/1", "", &empty),
    ] {
        let create = pb::WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..pb::WatchCreateRequest::default()
        };
        let request = pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
        };
        let requests = futures::stream::iter([request]).chain(futures::stream::pending());
        let mut watch = WatchClient::new(solo.channel());
        let answers = watch.watch(users::by_some(token, requests)).await.unwrap();
        let created = answers.into_inner().message().await.unwrap().unwrap();
        assert!(created.created, "{created:?}");
        assert_eq!(created.cancel_reason, expected, "{key} to {range_end:?}");
        assert_eq!(created.canceled, !expected.is_empty());
    }
}

fn jwt(algorithm: &str, keys: &[&str]) -> String {
    let path = |key: &&str| {
        let (name, file) = key.split_once('=').unwrap();
        format!(",{name}={}/tests/keys/{file}", env!("CARGO_MANIFEST_DIR"))
    };
    let keys: String = keys.iter().map(path).collect();
    format!("jwt,sign-method={algorithm},ttl=5m{keys}")
}

#[tokio::test]
async fn a_signed_token_is_good_until_users_or_roles_change() {
    let mut lab = Lab::new();
    let signs = jwt("ES256", &["priv-key=p256.pem", "pub-key=p256.pub.pem"]);
    let flags = [&CHEAP[..], &["--auth-token", &signs]].concat();
    let mut members = lab.cluster(&["solo"], &flags).await;
    found(&members[0]).await;
    let alice = token(&members[0], "alice").await.unwrap();
    set(&members[0], &alice, "mine/1").await.unwrap();
    refused(set(&members[0], &alice, "other").await, DENIED);
    refused(set(&members[0], &alice[1..], "other").await, INVALID);

    // It needs no memory: the next process knows it, even with the public key alone.
    members[0].kill();
    let verifies = jwt("ES256", &["pub-key=p256.pub.pem"]);
    members[0].with(&["--auth-token", &verifies]);
    members[0].start();
    let solo = &members[0];
    eventually("the token is good", async || {
        let answer = get(solo, &alice, "mine/1").await;
        answer.map_err(|status| status.to_string())
    })
    .await;
    let unsigned = token(solo, "root").await;
    refused(
        unsigned,
        "auth: token signing attempted with verify-only key",
    );

    members[0].kill();
    members[0].with(&["--auth-token", &signs]);
    members[0].start();
    let solo = &members[0];
    let root = eventually("the member is back", async || {
        let root = token(solo, "root").await;
        root.map_err(|status| status.to_string())
    })
    .await;
    users::change_password(&members[0], &root, "alice").await;
    refused(set(&members[0], &alice, "mine/1").await, OLD);
    refused(get(&members[0], &alice, "mine/1").await, OLD);
}

#[tokio::test]
async fn a_certificate_makes_its_owner_a_user() {
    let (mut lab, files, ours) = (Lab::new(), Files::new(), Authority::new("ours"));
    let mut members = lab.cluster(&["solo"], &CHEAP).await;
    found(&members[0]).await;
    members[0].kill();
    files.pair("server", &ours.leaf("server", &[&members[0].ip]));
    files.write("ca.crt", ours.pem());
    let url = format!("https://{}:2379", members[0].ip);
    members[0].with(&[
        "--listen-client-urls",
        &url,
        "--advertise-client-urls",
        &url,
    ]);
    members[0].with(&[
        &files.flag("--cert-file", "server.crt"),
        &files.flag("--key-file", "server.key"),
        &files.flag("--trusted-ca-file", "ca.crt"),
        "--client-cert-auth",
    ]);
    members[0].start();
    let solo = &members[0];
    let kv = |cn: &str| {
        let shown = tls::client(&ours, &ours.leaf(cn, &[]), b"h2");
        KvClient::new(tls::channel(solo, shown))
    };
    eventually("alice is known", async || {
        let own = kv("alice").put(put("mine/1", "v")).await;
        own.map_err(|status| status.to_string())
    })
    .await;
    refused(kv("alice").put(put("other", "v")).await, DENIED);
    kv("root").put(put("other", "v")).await.unwrap();
    refused(kv("stranger").range(range("mine/1")).await, DENIED);
    // A token says more than a certificate, and a certificate says nothing through the gateway.
    refused(
        kv("root").range(by("forged.1", range("other"))).await,
        INVALID,
    );
    let mut through = tonic::Request::new(range("other"));
    let field = "grpcgateway-accept";
    through.metadata_mut().insert(field, "*/*".parse().unwrap());
    refused(kv("root").range(through).await, EMPTY);
}

#[tokio::test]
async fn who_waits_for_a_lock_and_may_not_read_it_any_more_does_not_get_it() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["solo"], &CHEAP).await;
    let solo = &members[0];
    found(solo).await;
    let root = token(solo, "root").await.unwrap();
    let alice = token(solo, "alice").await.unwrap();
    let locking = |token: String| {
        let mut client = LockClient::new(solo.channel());
        let name = "mine/l".into();
        tokio::spawn(async move {
            let locked = client
                .lock(by(&token, LockRequest { name, lease: 0 }))
                .await;
            locked.map(tonic::Response::into_inner)
        })
    };
    let held = locking(root.clone()).await.unwrap().unwrap();
    let waiting = locking(alice);
    let queue = pb::RangeRequest {
        range_end: "mine/l0".into(),
        ..range("mine/l/")
    };
    eventually("alice waits", async || {
        let found = solo.kv().range(by(&root, queue.clone())).await;
        let found = found.map_err(|error| error.to_string())?.into_inner().count;
        (found == 2).then_some(()).ok_or_else(|| found.to_string())
    })
    .await;
    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "alice".to_owned(),
        role: "owner".to_owned(),
    };
    let mut auth = users::client(solo);
    auth.user_revoke_role(by(&root, revoke)).await.unwrap();
    assert!(!waiting.is_finished(), "as in etcd, a watch goes on");
    let unlock = UnlockRequest { key: held.key };
    let mut locks = LockClient::new(solo.channel());
    locks.unlock(by(&root, unlock)).await.unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unknown, "{refused}");
    assert_eq!(refused.message(), "etcdserver: permission denied");
}
