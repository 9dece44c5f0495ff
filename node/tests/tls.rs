//! Members that speak TLS to each other and to their clients.

#![allow(
    clippy::unwrap_used,
    reason = "what these tests need and cannot have fails them"
)]

#[path = "lab/authority.rs"]
mod authority;
mod lab;
#[path = "lab/tls.rs"]
mod tls;

use std::time::Duration;

use authority::{Authority, Files};
use lab::{Lab, Member, eventually, leader, put, range, text};
use proto::etcdserverpb::kv_client::KvClient;
use tls::{channel, client, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tonic::transport::Channel;

/// Where connections come from on the loopback, whatever address they go to.
const SOURCE: &str = "127.0.0.1";

fn grpc(member: &Member, tls: TlsConnector) -> KvClient<Channel> {
    KvClient::new(channel(member, tls))
}

#[tokio::test]
async fn grpc_and_http_share_a_port_with_tls() {
    let (mut lab, files, ours) = (Lab::new(), Files::new(), Authority::new("ours"));
    let mut member = lab.member("solo");
    files.pair("server", &ours.leaf("server", &[&member.ip]));
    files.write("ca.crt", ours.pem());
    let url = format!("https://{}:2379", member.ip);
    let metrics = format!("https://{}:2381", member.ip);
    member.with(&["--listen-client-urls", &url]);
    member.with(&["--advertise-client-urls", &url]);
    member.with(&["--listen-metrics-urls", &metrics, "--client-cert-auth"]);
    member.with(&[
        &files.flag("--cert-file", "server.crt"),
        &files.flag("--key-file", "server.key"),
        &files.flag("--trusted-ca-file", "ca.crt"),
    ]);
    let cluster = lab::initial_cluster(std::slice::from_ref(&member));
    member.with(&["--initial-cluster", &cluster]);
    member.start();
    let shown = ours.leaf("alice", &[]);
    let mut kv = grpc(&member, client(&ours, &shown, b"h2"));
    eventually("a put over TLS", async || {
        let call = kv.put(put("k", "v")).await;
        call.map_err(|error| error.to_string())
    })
    .await;
    let answer = kv.range(range("k")).await.unwrap().into_inner();
    assert_eq!(text(&answer.kvs[0].value), "v");

    let get = async |path: &str| {
        let tls = client(&ours, &shown, b"http/1.1");
        let mut stream = connect(member.ip.clone(), tls).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = get("/health").await;
    assert!(answer.contains(r#""health":"true""#), "{answer}");
    // A certificate of rcgen's is valid until 4096 if nothing else is said.
    let ends = r#"quorate_tls_certificate_expiry_timestamp_seconds{flag="cert-file"} 67090118400"#;
    let answer = get("/metrics").await;
    assert!(answer.lines().any(|line| line == ends), "{answer}");

    let stranger = Authority::new("other").leaf("alice", &[]);
    let mut kv = grpc(&member, client(&ours, &stranger, b"h2"));
    kv.range(range("k")).await.unwrap_err();
    eventually("the refusal is logged", async || {
        let log = member.log();
        let said = log.contains("rejected connection on client endpoint");
        said.then_some(()).ok_or(log)
    })
    .await;
}

fn secured(member: &mut Member, files: &Files, names: &[&str]) {
    let url = format!("https://{}:2380", member.ip);
    member.with(&["--listen-peer-urls", &url]);
    member.with(&["--initial-advertise-peer-urls", &url]);
    let peers: Vec<String> = names.iter().map(ToString::to_string).collect();
    member.with(&["--initial-cluster", &peers.join(",")]);
    let (certificate, key) = (
        format!("{}.crt", member.name),
        format!("{}.key", member.name),
    );
    member.with(&[
        &files.flag("--peer-cert-file", &certificate),
        &files.flag("--peer-key-file", &key),
        &files.flag("--peer-trusted-ca-file", "ca.crt"),
        "--peer-client-cert-auth",
        "--peer-cert-allowed-cn=kv",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_change_their_certificates_while_they_run() {
    let (mut lab, files) = (Lab::new(), Files::new());
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut members: Vec<Member> = ["a", "b", "c"]
        .iter()
        .map(|name| lab.member(name))
        .collect();
    let cluster: Vec<String> = members
        .iter()
        .map(|member| format!("{}=https://{}:2380", member.name, member.ip))
        .collect();
    let cluster: Vec<&str> = cluster.iter().map(String::as_str).collect();
    files.write("ca.crt", old.pem());
    for member in &mut members {
        files.pair(&member.name, &old.leaf("kv", &[&member.ip, SOURCE]));
        secured(member, &files, &cluster);
        member.start();
    }
    leader(&members).await;
    members[0].put("before", "1").await.unwrap();

    // First both authorities are trusted, then everybody shows the new one's, then the old one goes.
    files.write("ca.crt", [old.pem(), new.pem()].concat());
    for member in &members {
        files.pair(&member.name, &new.leaf("kv", &[&member.ip, SOURCE]));
    }
    files.write("ca.crt", new.pem());
    let at = leader(&members).await;
    members[at].kill();
    members[at].start();
    let at = leader(&members).await;
    members[at].put("after", "2").await.unwrap();
    for member in &members {
        let found = eventually("everybody has it", async || {
            member.get("after").await.map_err(|error| error.to_string())
        });
        assert_eq!(found.await.as_deref(), Some("2"));
    }

    // One whose certificate has another name is not let in, whoever has signed it.
    let follower = (leader(&members).await + 1) % 3;
    members[follower].kill();
    let ip = members[follower].ip.clone();
    files.pair(
        &members[follower].name.clone(),
        &new.leaf("db", &[&ip, SOURCE]),
    );
    members[follower].start();
    eventually("it is refused", async || {
        let others = (0..3).filter(|place| *place != follower);
        let logs: Vec<String> = others.map(|place| members[place].log()).collect();
        let said = logs
            .concat()
            .contains("client certificate authentication failed");
        said.then_some(()).ok_or_else(|| logs.concat())
    })
    .await;
    let reading = members[follower].get("after");
    let read = tokio::time::timeout(Duration::from_secs(1), reading).await;
    assert!(!matches!(read, Ok(Ok(_))), "it took part: {read:?}");
}
