use super::*;
use crate::storage::Identity;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::collections::BTreeMap;
use tower::ServiceExt;

fn status() -> Status {
    Status::new(Identity {
        cluster_id: 1,
        member_id: 0xab,
    })
}

fn text(metrics: &Metrics, status: &Status) -> String {
    let folder = tempfile::tempdir().unwrap();
    let directory = crate::storage::DataDir::open(folder.path()).unwrap();
    let first = raft::Persist::default();
    let options = crate::storage::Options {
        segment_bytes: 4096,
        ..crate::storage::Options::default()
    };
    let storage = crate::storage::Storage::create(directory, status.identity, &first, options);
    let vitals = storage.unwrap().vitals();
    metrics.text(status, 2 << 30, &vitals).unwrap()
}

/// Families of real etcd 3.7 that the dashboards and alerts of its mixin ask for, with their types there.
const OF_THE_MIXIN: &[(&str, &str)] = &[
    ("etcd_server_has_leader", "gauge"),
    ("etcd_server_is_leader", "gauge"),
    ("etcd_server_is_learner", "gauge"),
    ("etcd_server_id", "gauge"),
    ("etcd_server_version", "gauge"),
    ("etcd_cluster_version", "gauge"),
    ("etcd_server_leader_changes_seen_total", "counter"),
    ("etcd_server_proposals_committed_total", "gauge"),
    ("etcd_server_proposals_applied_total", "gauge"),
    ("etcd_server_proposals_pending", "gauge"),
    ("etcd_server_proposals_failed_total", "counter"),
    ("etcd_server_quota_backend_bytes", "gauge"),
    ("etcd_server_health_success", "counter"),
    ("etcd_server_health_failures", "counter"),
    ("etcd_server_healthcheck", "gauge"),
    ("etcd_server_healthchecks_total", "counter"),
    ("etcd_disk_wal_fsync_duration_seconds", "histogram"),
    ("etcd_disk_wal_write_duration_seconds", "histogram"),
    ("etcd_disk_wal_write_bytes_total", "gauge"),
    ("etcd_disk_backend_commit_duration_seconds", "histogram"),
    ("etcd_snap_db_save_total_duration_seconds", "histogram"),
    ("etcd_disk_backend_defrag_duration_seconds", "histogram"),
    ("etcd_disk_defrag_inflight", "gauge"),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
    ("etcd_debugging_mvcc_current_revision", "gauge"),
    ("etcd_network_client_grpc_received_bytes_total", "counter"),
    ("etcd_network_client_grpc_sent_bytes_total", "counter"),
    ("grpc_server_started_total", "counter"),
    ("grpc_server_handled_total", "counter"),
    ("grpc_server_msg_received_total", "counter"),
    ("grpc_server_msg_sent_total", "counter"),
    ("grpc_server_handling_seconds", "histogram"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("os_fd_used", "gauge"),
    ("os_fd_limit", "gauge"),
];

#[test]
fn the_families_have_etcds_names_and_types_from_the_start() {
    let text = text(&Metrics::new(), &status());
    let types: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    for (name, kind) in OF_THE_MIXIN {
        assert_eq!(types.get(name), Some(kind), "{name}");
    }
    for series in [
        r#"grpc_server_handled_total{grpc_code="Unavailable",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 0"#,
        r#"etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 0"#,
        r#"etcd_disk_wal_fsync_duration_seconds_bucket{le="8.192"} 0"#,
        r#"etcd_server_version{server_version="3.7.1"} 1"#,
        r#"etcd_cluster_version{cluster_version="3.7"} 1"#,
        r#"etcd_server_id{server_id="ab"} 1"#,
    ] {
        assert!(
            text.lines().any(|line| line == series),
            "{series} is not in\n{text}"
        );
    }
}

#[test]
fn a_scrape_shows_what_the_loop_published() {
    let metrics = Metrics::new();
    let mut status = status();
    status.leader = Some(0xab);
    (status.leader_changes, status.commit, status.applied) = (3, 20, 18);
    (status.size_bytes, status.revision) = (4096, 17);
    for _ in 0..2 {
        let text = text(&metrics, &status);
        for line in [
            "etcd_server_has_leader 1",
            "etcd_server_is_leader 1",
            "etcd_server_leader_changes_seen_total 3",
            "etcd_server_proposals_committed_total 20",
            "etcd_server_proposals_applied_total 18",
            "etcd_mvcc_db_total_size_in_bytes 4096",
            "etcd_debugging_mvcc_current_revision 17",
            "etcd_server_quota_backend_bytes 2147483648",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }
    status.leader = None;
    assert!(text(&metrics, &status).contains("\netcd_server_has_leader 0\n"));
}

#[test]
fn the_disk_is_counted_as_it_works() {
    let metrics = Metrics::new();
    metrics.wrote(100, Duration::from_micros(10));
    metrics.wrote(28, Duration::from_micros(10));
    metrics.synced(Duration::from_millis(3));
    let text = text(&metrics, &status());
    for line in [
        "etcd_disk_wal_write_bytes_total 128",
        r#"etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"} 0"#,
        r#"etcd_disk_wal_fsync_duration_seconds_bucket{le="0.004"} 1"#,
        "etcd_disk_wal_fsync_duration_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn the_process_is_looked_at() {
    let text = text(&Metrics::new(), &status());
    let value = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap()
            .rsplit_once(' ')
            .unwrap()
            .1
            .parse::<f64>()
            .unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("os_fd_limit") >= value("os_fd_used"));
    assert!(value("process_start_time_seconds") > 1.6e9);
}

/// A server that answers as tonic does: a message and trailers, trailers alone, or never.
async fn answer(request: axum::extract::Request) -> axum::response::Response {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    match path.as_str() {
        "/etcdserverpb.KV/Put" => {
            let frames = [
                Ok::<_, axum::Error>(Frame::data(bytes::Bytes::from_static(b"\0\0\0\0\0"))),
                Ok(Frame::trailers(trailers)),
            ];
            axum::response::Response::new(Body::new(StreamBody::new(futures::stream::iter(frames))))
        }
        "/etcdserverpb.KV/Txn" => {
            let mut response = axum::response::Response::new(Body::empty());
            let status = HeaderValue::from_static("14");
            response.headers_mut().insert("grpc-status", status);
            response
        }
        _ => std::future::pending().await,
    }
}

fn call(path: &str) -> Request<Body> {
    Request::post(path).body(Body::from("abc")).unwrap()
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let metrics = Metrics::new();
    let routes = metrics.count_calls(Router::new().fallback(answer), Duration::from_secs(1));
    let body = routes
        .clone()
        .oneshot(call("/etcdserverpb.KV/Put"))
        .await
        .unwrap()
        .into_body();
    body.collect().await.unwrap();
    let response = routes
        .clone()
        .oneshot(call("/etcdserverpb.KV/Txn"))
        .await
        .unwrap();
    drop(response);
    // A client that goes away while it waits.
    let hangs = routes.clone().oneshot(call("/etcdserverpb.KV/Range"));
    tokio::select! {
        biased;
        _ = hangs => panic!("it never answers"),
        () = tokio::task::yield_now() => {}
    }
    let text = text(&metrics, &status());
    let series = |name: &str, method: &str, code: &str| {
        format!(
            r#"{name}{{{code}grpc_method="{method}",grpc_service="etcdserverpb.KV",grpc_type="unary"}} 1"#
        )
    };
    for line in [
        series("grpc_server_started_total", "Put", ""),
        series("grpc_server_handled_total", "Put", r#"grpc_code="OK","#),
        series("grpc_server_msg_sent_total", "Put", ""),
        series("grpc_server_handling_seconds_count", "Put", ""),
        series(
            "grpc_server_handled_total",
            "Txn",
            r#"grpc_code="Unavailable","#,
        ),
        series(
            "grpc_server_handled_total",
            "Range",
            r#"grpc_code="Canceled","#,
        ),
        "etcd_server_proposals_failed_total 1".to_owned(),
        "etcd_network_client_grpc_received_bytes_total 9".to_owned(),
        "etcd_network_client_grpc_sent_bytes_total 5".to_owned(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}
