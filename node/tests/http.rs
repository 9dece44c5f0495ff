//! The HTTP surface of real member processes: the same on the client port and on `--listen-metrics-urls`.

#![allow(clippy::unwrap_used, reason = "what the lab cannot do fails the test")]

mod lab;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lab::{Lab, Member, eventually, leader};

/// One request on a connection of its own: the status, and the body.
fn get(member: &Member, port: u16, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((member.ip.as_str(), port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or("no status")?, body.to_owned()))
}

async fn says(member: &Member, port: u16, path: &str, status: u16) -> String {
    eventually(
        &format!("{path} of {} says {status}", member.name),
        async || match get(member, port, path)? {
            (found, body) if found == status => Ok(body),
            other => Err(format!("{other:?}")),
        },
    )
    .await
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{series} ")))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

fn with_metrics_port(member: &mut Member) {
    let url = format!("http://{}:2381", member.ip);
    member.with(&["--listen-metrics-urls", &url]);
}

#[tokio::test]
async fn one_member_shows_its_health_and_figures_on_both_ports() {
    let mut lab = Lab::new();
    let mut member = lab.member("solo");
    with_metrics_port(&mut member);
    member.with(&[
        "--initial-cluster",
        &lab::initial_cluster(std::slice::from_ref(&member)),
    ]);
    member.start();
    for port in [2379, 2381] {
        assert_eq!(says(&member, port, "/readyz", 200).await, "ok\n");
        assert_eq!(says(&member, port, "/livez", 200).await, "ok\n");
        assert_eq!(
            says(&member, port, "/health", 200).await,
            r#"{"health":"true","reason":""}"#
        );
        assert!(
            says(&member, port, "/version", 200)
                .await
                .contains(&format!(
                    r#""etcdserver":"{}""#,
                    quorate_node::version::ETCD_VERSION
                ))
        );
        says(&member, port, "/nothing", 404).await;
    }
    for number in 0..5 {
        member.put("key", &number.to_string()).await.unwrap();
    }
    let metrics = eventually("the store's size is published, once a tick", async || {
        let (_, metrics) = get(&member, 2381, "/metrics")?;
        let size = value(&metrics, "etcd_mvcc_db_total_size_in_bytes");
        size.filter(|bytes| *bytes > 0.0)
            .map(|_| metrics)
            .ok_or_else(|| format!("{size:?}"))
    })
    .await;
    let put =
        r#"{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;
    assert_eq!(
        value(&metrics, &format!("grpc_server_handled_total{put}")),
        Some(5.0)
    );
    assert_eq!(value(&metrics, "etcd_server_has_leader"), Some(1.0));
    assert_eq!(value(&metrics, "etcd_server_is_leader"), Some(1.0));
    for (series, least) in [
        ("etcd_disk_wal_fsync_duration_seconds_count", 5.0),
        ("etcd_disk_wal_write_bytes_total", 500.0),
        ("etcd_server_proposals_applied_total", 5.0),
        ("etcd_network_client_grpc_received_bytes_total", 20.0),
        ("etcd_debugging_mvcc_current_revision", 6.0),
    ] {
        let found = value(&metrics, series).unwrap();
        assert!(found >= least, "{series} is {found}");
    }
    member.terminate();
    assert!(member.ended().await.success());
    let log = member.log();
    for said in [
        r#""msg":"ready to serve client requests""#,
        r#""msg":"asked to stop""#,
        r#""level":"info""#,
    ] {
        assert!(log.contains(said), "{said} is not in\n{log}");
    }
}

#[tokio::test]
async fn a_member_without_its_majority_is_alive_and_not_ready() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    for member in &members {
        says(member, 2379, "/readyz", 200).await;
    }
    // The leader, because it has had words with both others; two followers need never talk to each other.
    let at = leader(&members).await;
    let left = members.swap_remove(at);
    let peer = members[0].id().await;
    for member in &mut members {
        member.kill();
    }
    for (name, label) in [
        ("peer_sent_bytes_total", "To"),
        ("peer_received_bytes_total", "From"),
        ("peer_sent_failures_total", "To"),
    ] {
        let series = format!(r#"etcd_network_{name}{{{label}="{peer:x}"}}"#);
        eventually(&format!("{series} counts"), async || {
            let (_, metrics) = get(&left, 2379, "/metrics")?;
            let counted = value(&metrics, &series);
            counted
                .filter(|count| *count > 0.0)
                .ok_or_else(|| format!("{counted:?}"))
        })
        .await;
    }
    let body = says(&left, 2379, "/readyz", 503).await;
    assert!(body.contains("[-]linearizable_read failed"), "{body}");
    assert_eq!(says(&left, 2379, "/livez", 200).await, "ok\n");
    says(&left, 2379, "/health?serializable=true", 200).await;
    let body = says(&left, 2379, "/health", 503).await;
    assert!(body.contains(r#""health":"false""#), "{body}");
    members[0].start();
    says(&left, 2379, "/readyz", 200).await;
    says(&members[0], 2379, "/readyz", 200).await;
}

#[tokio::test]
async fn a_member_that_cannot_start_says_why_in_one_sentence() {
    let mut lab = Lab::new();
    for (flags, said) in [
        (&["--bogus"][..], "--bogus"),
        (&["--cert-file", "/x"], "--key-file"),
        (
            &[
                "--peer-cert-file",
                "/nowhere",
                "--peer-key-file",
                "/nowhere",
            ],
            "--peer-cert-file /nowhere: cannot be read",
        ),
        (&["--election-timeout", "10"], "--heartbeat-interval"),
        (
            &["--initial-cluster", "else=http://127.0.0.1:1"],
            "--initial-cluster does not list this member",
        ),
        (
            &["--listen-metrics-urls", "http://203.0.113.9:1"],
            "--listen-metrics-urls",
        ),
    ] {
        let mut member = lab.member("odd");
        member.with(flags);
        member.start();
        assert!(!member.ended().await.success());
        let log = member.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains(said),
            "{flags:?}: {last:?} does not say {said:?}"
        );
    }
}

#[tokio::test]
async fn a_member_logs_where_it_is_told_and_says_what_it_serves() {
    let mut lab = Lab::new();
    let mut member = lab.member("solo");
    let file = member.folder.with_extension("log-output");
    let outputs = format!("stderr,{}", file.display());
    member.with(&["--log-outputs", &outputs, "--enable-grpc-gateway=false"]);
    member.with(&[
        "--initial-cluster",
        &lab::initial_cluster(std::slice::from_ref(&member)),
    ]);
    member.start();
    let ready = r#""msg":"serving client traffic insecurely; this is strongly discouraged!""#;
    let log = eventually("the file has the line of the port", async || {
        let log = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        log.contains(ready).then_some(log.clone()).ok_or(log)
    })
    .await;
    assert!(log.contains(r#""traffic":"grpc+http""#), "{log}");
    assert!(member.log().contains(ready));
    let body = says(&member, 2379, "/v3/kv/range", 404).await;
    assert_eq!(body, "404 page not found\n");
    let vars = says(&member, 2379, "/debug/vars", 200).await;
    assert!(vars.contains(r#""raft.status": {"#), "{vars}");
}
