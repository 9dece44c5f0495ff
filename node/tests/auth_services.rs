//! Every service with authentication on, asked by nobody, with a forged token, by a user and by root: request by request against
//! what etcd 3.7.3 answered (`auth_services/answers.txt`, recorded from a member with the same users, keys and leases; without root's
//! list of leases, whose order is chance).
//!
//! The requests go through the JSON gateway, which calls the services as any client does. What it cannot ask is asked with gRPC.
//!
//! The published holes of etcd's authorisation, and the tests that keep them closed here:
//!
//! - CVE-2026-33413, calls answered to nobody: `auth::cve_2026_33413_nothing_is_answered_to_nobody`
//! - CVE-2026-33343, permissions of nested transactions: `store::auth::tests::cve_2026_33343_…`, and below over the wire
//! - GHSA-xg4h-6gfc-h4m8, a watch of one key and all that follow: `auth::ghsa_xg4h_6gfc_h4m8_…`, and below
//! - etcd 3.6.11, `prev_kv` of a put in a transaction shows what only may be written: [`what_may_be_written_is_not_shown`]
//! - #14571, a member brought up by a snapshot: `auth::issue_14571_…`

#![allow(
    clippy::unwrap_used,
    reason = "what these tests need and cannot have fails them"
)]

mod lab;
#[path = "lab/users.rs"]
mod users;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use lab::{Lab, Member, put, range};
use proto::authpb;
use proto::etcdserverpb as pb;
use tonic::{Code, Status};
use users::{by, found, token};

/// The users, the keys and the leases that the answers were recorded with.
async fn prepared(lab: &mut Lab) -> Member {
    let flags = ["--bcrypt-cost", "4"];
    let member = lab.cluster(&["solo"], &flags).await.swap_remove(0);
    let leased = |key: &str, lease| pb::PutRequest {
        lease,
        ..put(key, "v")
    };
    member.put("mine/1", "v").await.unwrap();
    member.put("other", "v").await.unwrap();
    for id in [77, 78] {
        let grant = pb::LeaseGrantRequest { ttl: 1_000, id };
        member.lease().lease_grant(grant).await.unwrap();
    }
    member.kv().put(leased("other", 78)).await.unwrap();
    member.kv().put(leased("mine/2", 77)).await.unwrap();
    found(&member).await;
    member
}

/// The status and the first line of what comes back; a stream goes on after it.
fn asked(member: &Member, request: &str, token: Option<&str>) -> std::io::Result<String> {
    let (path, body) = request.split_once(' ').unwrap();
    let mut stream = TcpStream::connect((member.ip.as_str(), 2379))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let token = token.map(|token| format!("Authorization: {token}\r\n"));
    let (token, length) = (token.unwrap_or_default(), body.len());
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut lines = BufReader::new(stream).lines();
    let head = lines.next().unwrap()?;
    let status = head.split(' ').nth(1).unwrap().to_owned();
    for line in lines {
        let line = line?;
        if line.starts_with('{') {
            return Ok(format!("{status} {line}"));
        }
    }
    Ok(status)
}

/// Without what differs from run to run: headers, and how long a lease has left.
fn masked(answer: &str) -> String {
    let mut masked = answer.to_owned();
    while let Some(start) = masked.find("\"header\":{") {
        let end = start + masked[start..].find('}').unwrap();
        masked.replace_range(start..=end, "\"header\":H");
    }
    for left in 990..=1_000 {
        masked = masked.replace(&format!("\"TTL\":\"{left}\""), "\"TTL\":\"T\"");
    }
    masked
}

#[tokio::test]
async fn everybody_is_answered_as_by_etcd() {
    let mut lab = Lab::new();
    let member = prepared(&mut lab).await;
    let alice = token(&member, "alice").await.unwrap();
    let root = token(&member, "root").await.unwrap();
    let cases = include_str!("auth_services/answers.txt").trim();
    for case in cases.split("\n\n") {
        let (request, answers) = case.split_once('\n').unwrap();
        let request = request.strip_prefix("POST ").unwrap();
        for answer in answers.lines() {
            let (who, expected) = answer.split_once(' ').unwrap();
            let token = match who {
                "nobody" => None,
                "forged" => Some("forged.1"),
                "alice" => Some(&*alice),
                "root" => Some(&*root),
                other => panic!("{other} has no token"),
            };
            let answer = asked(&member, request, token).unwrap();
            assert_eq!(masked(&answer), expected, "{request} by {who}");
        }
    }
}

async fn streamed(member: &Member, token: Option<&str>, key: &str) -> Result<usize, Status> {
    let request = users::by_some(token, range(key));
    let mut stream = member.kv().range_stream(request).await?.into_inner();
    let mut keys = 0;
    while let Some(part) = stream.message().await? {
        keys += part.range_response.map_or(0, |part| part.kvs.len());
    }
    Ok(keys)
}

#[tokio::test]
async fn a_range_that_comes_in_parts_is_guarded_too() {
    let mut lab = Lab::new();
    let member = prepared(&mut lab).await;
    let alice = token(&member, "alice").await.unwrap();
    assert_eq!(streamed(&member, Some(&alice), "mine/1").await.unwrap(), 1);
    for (token, code, text) in [
        (
            Some(&*alice),
            Code::PermissionDenied,
            "etcdserver: permission denied",
        ),
        (
            Some("forged.1"),
            Code::Unauthenticated,
            "etcdserver: invalid auth token",
        ),
        (
            None,
            Code::InvalidArgument,
            "etcdserver: user name is empty",
        ),
    ] {
        let refused = streamed(&member, token, "other").await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, text));
    }
}

#[tokio::test]
async fn what_may_be_written_is_not_shown() {
    let mut lab = Lab::new();
    let member = prepared(&mut lab).await;
    let root = token(&member, "root").await.unwrap();
    let grant = pb::AuthRoleGrantPermissionRequest {
        name: "owner".to_owned(),
        perm: Some(authpb::Permission {
            perm_type: authpb::permission::Type::Write.into(),
            key: "other".into(),
            range_end: Vec::new().into(),
        }),
    };
    let mut auth = users::client(&member);
    auth.role_grant_permission(by(&root, grant)).await.unwrap();
    // Leases say nothing here: what hangs on one needs no more than to be written.
    let alice = token(&member, "alice").await.unwrap();
    let shows = |prev_kv| pb::PutRequest {
        prev_kv,
        ..put("other", "w")
    };
    let deletes = pb::DeleteRangeRequest {
        key: "other".into(),
        prev_kv: true,
        ..pb::DeleteRangeRequest::default()
    };
    let in_txn = |request| {
        let op = pb::RequestOp {
            request: Some(request),
        };
        pb::TxnRequest {
            success: vec![op],
            ..pb::TxnRequest::default()
        }
    };
    use pb::request_op::Request;
    let mut kv = member.kv();
    kv.put(by(&alice, shows(false))).await.unwrap();
    let refusals = [
        kv.put(by(&alice, shows(true))).await.map(drop),
        kv.delete_range(by(&alice, deletes.clone())).await.map(drop),
        kv.txn(by(&alice, in_txn(Request::RequestPut(shows(true)))))
            .await
            .map(drop),
        kv.txn(by(&alice, in_txn(Request::RequestDeleteRange(deletes))))
            .await
            .map(drop),
    ];
    for refused in refusals {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert_eq!(refused.message(), "etcdserver: permission denied");
    }
    let unseen = in_txn(Request::RequestPut(shows(false)));
    kv.txn(by(&alice, unseen)).await.unwrap();
}
