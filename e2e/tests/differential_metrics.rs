//! Promise: whoever watches etcd watches us: every family of a real etcd's `/metrics` is here with its type and its labels, or stands
//! below with the reason why not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::members::Members;
use e2e::{FIGURE, binaries, tools};

/// Families of etcd's that we do not have, by prefix.
const MISSING: &[(&str, &str)] = &[
    ("go_", "there is no Go runtime"),
    ("promhttp_", "Go's HTTP handler counts itself"),
    ("etcd_server_go_version", "there is no Go runtime"),
    (
        "etcd_grpc_proxy_",
        "a proxy of etcd's that a member only registers",
    ),
    (
        "etcd_debugging_store_",
        "of etcd's v2 store, which is gone there too",
    ),
    (
        "etcd_debugging_disk_backend_",
        "there is no bbolt backend that commits",
    ),
    (
        "etcd_debugging_snap_",
        "checkpoints are no files of etcd's old snapshots",
    ),
    (
        "etcd_disk_backend_snapshot_duration_seconds",
        "a snapshot is streamed from memory",
    ),
    (
        "etcd_snap_",
        "checkpoints have one time, etcd_snap_db_save_total_duration_seconds",
    ),
    (
        "etcd_mvcc_db_open_read_transactions",
        "reads open no transaction of a backend",
    ),
    (
        "etcd_mvcc_hash_",
        "hashes are kept up as entries are applied",
    ),
    (
        "etcd_debugging_mvcc_db_compaction_",
        "compaction is swept in the loop, not in a backend",
    ),
    (
        "etcd_debugging_mvcc_index_compaction_",
        "compaction is swept in the loop, not in an index",
    ),
    (
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "debugging figures that no board shows",
    ),
    (
        "etcd_debugging_server_",
        "debugging figures that no board shows",
    ),
    (
        "etcd_debugging_lease_",
        "debugging figures that no board shows",
    ),
    (
        "etcd_debugging_auth_revision",
        "debugging figures that no board shows",
    ),
    (
        "etcd_server_apply_duration_seconds",
        "what is committed is applied at once, not request by request",
    ),
    (
        "etcd_server_range_duration_seconds",
        "as grpc_server_handling_seconds of Range",
    ),
    (
        "etcd_server_request_duration_seconds",
        "as grpc_server_handling_seconds",
    ),
    ("etcd_server_feature_enabled", "there are no feature gates"),
    (
        "etcd_server_heartbeat_send_failures_total",
        "as etcd_network_peer_sent_failures_total",
    ),
    (
        "etcd_server_learner_promote_successes",
        "as grpc_server_handled_total of MemberPromote",
    ),
    (
        "etcd_server_read_indexes_failed_total",
        "as grpc_server_handled_total of Range",
    ),
    (
        "etcd_server_slow_read_indexes_total",
        "as grpc_server_handling_seconds of Range",
    ),
    (
        "etcd_server_snapshot_apply_in_progress_total",
        "a snapshot is taken in one step",
    ),
    (
        "process_network_",
        "/proc has them for the whole network namespace alone",
    ),
    (
        "process_virtual_memory_max_bytes",
        "no limit of address space is set",
    ),
];

/// Families of ours that etcd shows only later or only when told to.
const OURS: &[&str] = &["quorate_", "grpc_server_handling_seconds", "etcd_network_"];

/// What etcd's own alert rules and dashboards ask for. Not one of them may be missing or of another kind.
const WATCHED: &[&str] = &[
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_mvcc_put_total",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_server_quota_backend_bytes",
    "process_resident_memory_bytes",
];

/// A family: its type, and the names of its labels.
type Family = (String, BTreeSet<String>);

fn asked(endpoint: &str, method: &str, path: &str, body: &str) -> Result<String> {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no head")?;
    Ok(body.to_owned())
}

/// Some families show only once something was asked.
fn live(endpoint: &str) -> Result<()> {
    for (method, path, body) in [
        ("GET", "/livez", ""),
        ("GET", "/readyz", ""),
        ("POST", "/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#),
        ("POST", "/v3/kv/range", r#"{"key":"YQ=="}"#),
        ("POST", "/v3/lease/grant", r#"{"TTL":60}"#),
    ] {
        asked(endpoint, method, path, body).with_context(|| path)?;
    }
    Ok(())
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split_once(' '))
        {
            name.clone_into(&mut current);
            families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let (Some((_, labels)), Some(family)) =
            (line.split_once('{'), families.get_mut(&current))
        {
            let names = labels
                .split("\",")
                .filter_map(|label| label.split_once("=\""));
            let names = names.map(|(name, _)| name.to_owned());
            family.1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

/// Three members of a program, and what the first tells once it has spoken with both others.
async fn told_by(program: &Path) -> Result<BTreeMap<String, Family>> {
    let members = Members::start(program, 3).await?;
    let endpoint = members.endpoints().remove(0);
    live(&endpoint)?;
    let text = e2e::wait::until(
        "both ways to peers are timed",
        Duration::from_secs(30),
        async || {
            let text = asked(&endpoint, "GET", "/metrics", "")?;
            let timed = text.lines().filter(|line| {
                line.starts_with("etcd_network_peer_round_trip_time_seconds_count{")
            });
            ensure!(timed.count() == 2, "not yet");
            Ok(text)
        },
    )
    .await?;
    members.end_all().await?;
    Ok(families(&text))
}

fn is_of(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[tokio::test]
async fn whoever_watches_etcd_watches_us() -> Result<()> {
    let etcd = match tools::find("etcd") {
        Ok(etcd) => etcd,
        Err(missing) => {
            println!("{FIGURE}not run: {missing}");
            return Ok(());
        }
    };
    let (theirs, ours) = (
        told_by(&etcd).await?,
        told_by(&binaries::ours("quorate-node")?).await?,
    );
    let mut wrong = Vec::new();
    for (name, family) in &theirs {
        let known = MISSING.iter().any(|(prefix, _)| name.starts_with(prefix));
        match ours.get(name) {
            None if known => {}
            None => wrong.push(format!("{name} is missing")),
            Some(found) if found != family => {
                wrong.push(format!("{name} is {found:?}, there {family:?}"))
            }
            Some(_) => {}
        }
    }
    let extra = ours
        .keys()
        .filter(|name| !theirs.contains_key(*name) && !is_of(name, OURS));
    wrong.extend(extra.map(|name| format!("{name} is not etcd's")));
    wrong.extend(
        WATCHED
            .iter()
            .filter(|name| !ours.contains_key(**name))
            .map(|name| format!("{name} is watched")),
    );
    let idle = MISSING
        .iter()
        .filter(|(prefix, _)| !theirs.keys().any(|name| name.starts_with(prefix)));
    wrong.extend(idle.map(|(prefix, reason)| format!("no family begins with {prefix} ({reason})")));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let same = theirs
        .keys()
        .filter(|name| ours.contains_key(*name))
        .count();
    println!(
        "{FIGURE}{same} of {} families of etcd's are ours, with their types and labels",
        theirs.len()
    );
    Ok(())
}
