//! Every flag of etcd 3.6 and 3.7 is known, as a flag, as a variable and as a key of a file.

use super::*;
use crate::config::{flags, older, unserved};

/// The names in the help of 3.6.11 and of 3.7.1, and those that both take and ignore.
const ETCDS: &[&str] = &[
    "advertise-client-urls",
    "auth-token",
    "auth-token-ttl",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "auto-tls",
    "backend-batch-interval",
    "backend-batch-limit",
    "backend-bbolt-freelist-type",
    "bcrypt-cost",
    "bootstrap-defrag-threshold-megabytes",
    "cert-file",
    "cipher-suites",
    "client-cert-allowed-hostname",
    "client-cert-auth",
    "client-cert-file",
    "client-crl-file",
    "client-key-file",
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "config",
    "config-file",
    "corrupt-check-time",
    "cors",
    "data-dir",
    "discovery",
    "discovery-cacert",
    "discovery-cert",
    "discovery-dial-timeout",
    "discovery-endpoints",
    "discovery-fallback",
    "discovery-insecure-skip-tls-verify",
    "discovery-insecure-transport",
    "discovery-keepalive-time",
    "discovery-keepalive-timeout",
    "discovery-key",
    "discovery-password",
    "discovery-proxy",
    "discovery-request-timeout",
    "discovery-srv",
    "discovery-srv-name",
    "discovery-token",
    "discovery-user",
    "distributed-tracing-address",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "distributed-tracing-service-name",
    "downgrade-check-time",
    "election-timeout",
    "enable-distributed-tracing",
    "enable-grpc-gateway",
    "enable-log-rotation",
    "enable-pprof",
    "experimental-bootstrap-defrag-threshold-megabytes",
    "experimental-compact-hash-check-enabled",
    "experimental-compact-hash-check-time",
    "experimental-compaction-batch-limit",
    "experimental-compaction-sleep-interval",
    "experimental-corrupt-check-time",
    "experimental-distributed-tracing-address",
    "experimental-distributed-tracing-instance-id",
    "experimental-distributed-tracing-sampling-rate",
    "experimental-distributed-tracing-service-name",
    "experimental-downgrade-check-time",
    "experimental-enable-distributed-tracing",
    "experimental-enable-lease-checkpoint",
    "experimental-enable-lease-checkpoint-persist",
    "experimental-initial-corrupt-check",
    "experimental-memory-mlock",
    "experimental-peer-skip-client-san-verification",
    "experimental-snapshot-catchup-entries",
    "experimental-stop-grpc-service-on-defrag",
    "experimental-txn-mode-write-with-shared-buffer",
    "experimental-warning-apply-duration",
    "experimental-warning-unary-request-duration",
    "experimental-watch-progress-notify-interval",
    "feature-gates",
    "force",
    "force-new-cluster",
    "grpc-keepalive-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-timeout",
    "heartbeat-interval",
    "host-whitelist",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "initial-election-tick-advance",
    "key-file",
    "listen-client-http-urls",
    "listen-client-urls",
    "listen-metrics-urls",
    "listen-peer-urls",
    "log-format",
    "log-level",
    "log-outputs",
    "log-rotation-config-json",
    "logger",
    "max-concurrent-streams",
    "max-learners",
    "max-request-bytes",
    "max-result-buffer",
    "max-retry-attempts",
    "max-snapshots",
    "max-txn-ops",
    "max-wals",
    "memory-mlock",
    "metrics",
    "name",
    "peer-auto-tls",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "peer-cert-file",
    "peer-client-cert-auth",
    "peer-client-cert-file",
    "peer-client-key-file",
    "peer-crl-file",
    "peer-election-timeout",
    "peer-heartbeat-interval",
    "peer-key-file",
    "peer-skip-client-san-verification",
    "peer-trusted-ca-file",
    "pre-vote",
    "quota-backend-bytes",
    "raft-read-timeout",
    "raft-write-timeout",
    "retry-interval",
    "self-signed-cert-validity",
    "snapshot",
    "snapshot-catchup-entries",
    "snapshot-count",
    "socket-reuse-address",
    "socket-reuse-port",
    "strict-reconfig-check",
    "tls-max-version",
    "tls-min-version",
    "trusted-ca-file",
    "unsafe-no-fsync",
    "v",
    "v2-deprecation",
    "version",
    "vv",
    "wal-dir",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
];

#[test]
fn every_flag_of_etcd_is_known_and_known_once() {
    let served = flags::names();
    for name in ETCDS {
        let ways = [
            served.iter().any(|served| served == name),
            unserved::named(name).is_some(),
            older::today(name).is_some(),
        ];
        let known = ways.iter().filter(|known| **known).count();
        assert_eq!(known, 1, "--{name} is known in {known} ways");
    }
}

#[test]
fn hardly_a_flag_of_ours_is_not_etcds() {
    let ours = flags::names();
    let others: Vec<_> = ours
        .iter()
        .filter(|name| !ETCDS.contains(&name.as_str()) && *name != "help")
        .collect();
    let known = [
        "scrub-rate-bytes",
        "watch-waiting-bytes",
        "max-connections",
        "request-head-timeout",
        "max-tls-handshakes",
        "tls-handshake-timeout",
        "max-watchers-per-stream",
    ];
    assert_eq!(others, known);
}

#[test]
fn older_names_lead_to_flags_that_exist() {
    for name in ETCDS
        .iter()
        .filter(|name| name.starts_with("experimental-"))
    {
        if let Some(older::Today::Flag(today)) = older::today(name) {
            assert!(ETCDS.contains(&today), "--{name} leads to --{today}");
        }
    }
}

#[test]
fn flags_without_meaning_are_named_in_one_line() {
    let config = read(
        "--max-wals 3 --unsafe-no-fsync --v2-deprecation=not-yet --backend-batch-limit=0 --name x \
         --feature-gates=CompactHashCheck=true,LeaseCheckpoint=true -vv",
        &[("ETCD_ENABLE_PPROF", "1")],
    )
    .unwrap();
    assert_eq!(config.name, "x");
    assert!(config.features.is_on("LeaseCheckpoint"));
    assert_eq!(config.warnings.len(), 1);
    let line = &config.warnings[0];
    for named in [
        "--max-wals",
        "--unsafe-no-fsync",
        "--v2-deprecation",
        "--feature-gates=CompactHashCheck=true",
        "--vv",
        "ETCD_ENABLE_PPROF",
    ] {
        assert!(line.contains(named), "{line} does not name {named}");
    }
    for silent in ["--backend-batch-limit", "LeaseCheckpoint", "--name"] {
        assert!(!line.contains(silent), "{line} names {silent}");
    }
}

#[test]
fn older_names_mean_what_they_meant() {
    let config = read(
        "--experimental-snapshot-catchup-entries 77 --experimental-enable-lease-checkpoint \
         --experimental-watch-progress-notify-interval=5s --experimental-corrupt-check-time 1h",
        &[("ETCD_EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION", "t")],
    )
    .unwrap();
    assert_eq!(config.snapshot_catchup_entries, 77);
    assert_eq!(
        config.watch_progress_notify_interval,
        Duration::from_secs(5)
    );
    assert!(config.features.is_on("LeaseCheckpoint"));
    assert!(!config.peer_tls.checks_address);
    let deprecated = |warning: &&String| warning.contains("is deprecated: write --");
    assert_eq!(config.warnings.iter().filter(deprecated).count(), 5);
    assert_eq!(config.warnings.len(), 6, "{:?}", config.warnings);
    let refused = refusal("--experimental-enable-v2v3=x");
    assert!(refused.contains("--experimental-enable-v2v3"), "{refused}");
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etcd.yml");
    std::fs::write(&path, text).unwrap();
    let flag = format!("--config-file={}", path.display());
    (folder, flag)
}

#[test]
fn a_file_stands_for_all_flags_and_over_them() {
    let text = "name: a\nlisten-client-urls: http://127.0.0.1:1,https://127.0.0.1:1\nelection-timeout: 2000\n\
                watch-progress-notify-interval: 1000000000\nmax-wals: 9\nproxy: 'off'\nstrict-reconfig-check: false\n\
                client-transport-security:\n  cert-file: /c\n  key-file: /k\n  client-cert-auth: true\n\
                peer-transport-security:\n  allowed-cn: [kv, db]\n";
    let (_folder, flag) = file(text);
    let config = read(&format!("{flag} --name b"), &[("ETCD_MAX_TXN_OPS", "7")]).unwrap();
    assert_eq!((config.name.as_str(), config.max_txn_ops), ("a", 128));
    assert_eq!(config.election_timeout_ms, 2000);
    assert_eq!(
        config.watch_progress_notify_interval,
        Duration::from_secs(1)
    );
    assert!(config.client_tls.client_cert_auth && !config.strict_reconfig_check);
    assert_eq!(config.peer_tls.allowed_cns, ["kv", "db"]);
    let said = config.warnings.join("\n");
    for part in ["are ignored", "max-wals", "proxy", "plain HTTP"] {
        assert!(said.contains(part), "{said} does not say {part}");
    }
    let path = flag.strip_prefix("--config-file=").unwrap();
    let config = read("", &[("ETCD_CONFIG_FILE", path)]).unwrap();
    assert_eq!(config.name, "a");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_it() {
    for (text, part) in [
        ("nmae: a", "nmae"),
        (
            "client-transport-security:\n  client-cert-uath: true",
            "client-cert-uath",
        ),
        ("heartbeat-interval: soon", "--heartbeat-interval"),
        ("discovery-srv: example.com", "discovery-srv"),
        ("grpc-keepalive-timeout: 1x", "--grpc-keepalive-timeout"),
    ] {
        let (_folder, flag) = file(text);
        let said = refusal(&flag);
        assert!(
            said.contains(part) && said.contains("etcd.yml"),
            "{text}: {said}"
        );
        assert!(!said.contains('\n'), "{said}");
    }
    let said = refusal("--config-file=/nowhere/etcd.yml");
    assert!(said.contains("/nowhere/etcd.yml: cannot be read"), "{said}");
}
