use super::*;

fn read(line: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let arguments = line.split_whitespace().map(str::to_owned);
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Config::read(arguments, environment) {
        Ok(Invocation::Serve(config)) => Ok(*config),
        Ok(Invocation::Print(text)) => panic!("printed instead: {text}"),
        Err(error) => Err(error.to_string()),
    }
}

mod known;

fn refusal(line: &str) -> String {
    read(line, &[]).expect_err(line)
}

#[test]
fn defaults_are_etcds() {
    let config = read("", &[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.heartbeat_interval_ms, 100);
    assert_eq!(config.election_ticks(), 10);
    assert_eq!(config.quota_backend_bytes, 2 << 30);
    assert_eq!(config.max_request_bytes, 1_572_864);
    assert_eq!(config.snapshot_count, 10_000);
    assert!(config.pre_vote && config.strict_reconfig_check);
    assert_eq!(config.auto_compaction, None);
    assert_eq!(config.listen_metrics_urls, []);
    assert_eq!(
        joined(&config.initial_cluster["default"]),
        "http://localhost:2380"
    );
    assert_eq!(config.check_founding(), Ok(()));
}

#[test]
fn the_operators_arguments_are_read() {
    let config = read(
        "--name=kv-a1b2c --data-dir=/var/lib/quorate/data --listen-client-urls=http://10.0.0.7:2379 \
         --advertise-client-urls=http://kv-a1b2c.kv-peers.ns.svc:2379 --listen-peer-urls=http://10.0.0.7:2380 \
         --initial-advertise-peer-urls=http://kv-a1b2c.kv-peers.ns.svc:2380 \
         --initial-cluster=kv-a1b2c=http://kv-a1b2c.kv-peers.ns.svc:2380,kv-z=http://kv-z.kv-peers.ns.svc:2380 \
         --initial-cluster-state=existing --initial-cluster-token=ns-kv-1234 \
         --listen-metrics-urls=http://10.0.0.7:2381 --auto-compaction-retention=1h --quota-backend-bytes=1000",
        &[],
    )
    .unwrap();
    assert_eq!(config.initial_cluster_state, ClusterState::Existing);
    assert_eq!(config.initial_cluster.len(), 2);
    assert_eq!(config.quota_backend_bytes, 1000);
    assert_eq!(
        config.auto_compaction,
        Some(AutoCompaction::Periodic(Duration::from_secs(3600)))
    );
    assert_eq!(config.check_founding(), Ok(()));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn flags_win_over_variables_and_later_ones_over_earlier() {
    let environment = [
        ("ETCD_NAME", "from-variable"),
        ("ETCD_MAX_TXN_OPS", "7"),
        ("ETCD_PRE_VOTE", "false"),
        ("ETCD_DATA_DIR", ""),
        ("ETCD_UNHEARD_OF", "1"),
        ("PATH", "/bin"),
    ];
    let config = read("--name a --name=b -max-learners 3", &environment).unwrap();
    assert_eq!(config.name, "b");
    assert_eq!(config.max_txn_ops, 7);
    assert_eq!(config.max_learners, 3);
    assert!(!config.pre_vote);
    assert_eq!(config.data_dir, PathBuf::from("b.etcd"));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("ETCD_UNHEARD_OF"));
}

#[test]
fn switches_are_read_as_go_reads_them() {
    assert!(!read("--pre-vote=false", &[]).unwrap().pre_vote);
    assert!(read("--pre-vote --name x", &[]).unwrap().pre_vote);
}

/// Each line is refused in one sentence that says all of its parts.
fn refuse_all(cases: &[(&str, &[&str])]) {
    for (line, parts) in cases {
        let said = refusal(line);
        for part in *parts {
            assert!(
                said.contains(part),
                "{line}: {said:?} does not say {part:?}"
            );
        }
        assert!(
            !said.contains('\n'),
            "{line}: {said:?} is more than a sentence"
        );
    }
}

#[test]
fn every_refusal_names_the_flag_and_the_way_out() {
    refuse_all(&[
        ("--bogus=1", &["--bogus", "--help"][..]),
        ("--heartbeat-interval=x", &["--heartbeat-interval"]),
        (
            "--heartbeat-interval=0",
            &["--heartbeat-interval", "at least 1"],
        ),
        (
            "--heartbeat-interval=300",
            &["--election-timeout", "--heartbeat-interval", "1500ms"],
        ),
        (
            "--election-timeout=60000",
            &["--election-timeout", "50000ms"],
        ),
        (
            "--max-request-bytes=536870913",
            &["--max-request-bytes", "536870912"],
        ),
        (
            "--listen-peer-urls=http://example.com:2380",
            &["--listen-peer-urls", "IP address"],
        ),
        (
            "--listen-client-urls=http://0.0.0.0:2379",
            &["--advertise-client-urls", "required"],
        ),
        (
            "--initial-advertise-peer-urls=ftp://a:2380",
            &["--initial-advertise-peer-urls", "https://"],
        ),
        (
            "--initial-cluster=a",
            &["--initial-cluster", "<name>=<peer URL>"],
        ),
        (
            "--initial-cluster-state=old",
            &["--initial-cluster-state", "existing"],
        ),
        (
            "--auto-compaction-mode=x --auto-compaction-retention=1",
            &["--auto-compaction-mode", "periodic"],
        ),
        ("--snapshot-count=0", &["--snapshot-count", "at least 1"]),
        ("--name=", &["--name", "name"]),
        ("--auth-token jwt", &["--auth-token", "sign-method"]),
        (
            "--discovery-srv=example.com",
            &["--discovery-srv", "--initial-cluster"],
        ),
        ("--logger=capnslog", &["--logger", "zap"]),
        (
            "--grpc-keepalive-min-time=5",
            &["--grpc-keepalive-min-time", "unit"],
        ),
        ("--feature-gates=X=true", &["--feature-gates", "X"]),
        ("stray", &["stray"]),
    ]);
}

#[test]
fn limits_of_none_name_the_flag_and_the_least() {
    refuse_all(&[
        (
            "--max-watchers-per-stream=0",
            &["--max-watchers-per-stream", "at least 1"],
        ),
        (
            "--max-tls-handshakes=0",
            &["--max-tls-handshakes", "at least 1"],
        ),
        (
            "--tls-handshake-timeout=0",
            &["--tls-handshake-timeout", "10s"],
        ),
        (
            "--max-concurrent-streams=0",
            &["--max-concurrent-streams", "at least 1"],
        ),
    ]);
}

#[test]
fn refusals_of_tls_name_the_flag_and_the_way_out() {
    refuse_all(&[
        ("--cert-file=/a", &["--cert-file", "--key-file"][..]),
        (
            "--peer-client-key-file=/a",
            &["--peer-client-key-file", "--peer-client-cert-file"],
        ),
        (
            "--peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b",
            &["--peer-cert-allowed-cn", "--peer-cert-allowed-hostname"],
        ),
        (
            "--listen-peer-urls=https://127.0.0.1:2380",
            &["--listen-peer-urls", "--peer-cert-file"],
        ),
        (
            "--listen-metrics-urls=https://127.0.0.1:2381",
            &["--listen-metrics-urls", "--cert-file"],
        ),
        ("--tls-min-version=TLS1.1", &["--tls-min-version", "TLS1.2"]),
        (
            "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
            &["--tls-min-version", "--tls-max-version"],
        ),
        (
            "--tls-min-version=TLS1.3 --cipher-suites=x",
            &["--cipher-suites", "TLS1.3"],
        ),
        ("--client-cert-auth=maybe", &["--client-cert-auth", "true"]),
        (
            "--self-signed-cert-validity=0",
            &["--self-signed-cert-validity", "1 year"],
        ),
    ]);
}

#[test]
fn unserved_flags_that_ask_for_nothing_pass() {
    let line =
        "--client-cert-auth=false --auth-token simple --enable-pprof=false --logger=zap --name x";
    assert_eq!(read(line, &[]).unwrap().name, "x");
    let error = read("", &[("ETCD_DISCOVERY", "x")]).unwrap_err();
    assert!(
        error.contains("ETCD_DISCOVERY") && error.contains("refused here"),
        "{error}"
    );
}

#[test]
fn contradictions_of_the_founding_flags_are_named() {
    let found = |line| {
        read(line, &[])
            .unwrap()
            .check_founding()
            .unwrap_err()
            .to_string()
    };
    let said = found("--name a --initial-cluster b=http://localhost:2380");
    assert!(said.contains("\"b\"") && said.contains("--name"), "{said}");
    let said =
        found("--name a --initial-cluster a=http://h:1 --initial-advertise-peer-urls http://h:2");
    assert!(
        said.contains("http://h:1") && said.contains("http://h:2"),
        "{said}"
    );
    let said = found(
        "--name a --initial-cluster a=http://h:1,b=http://h:1 --initial-advertise-peer-urls http://h:1",
    );
    assert!(said.contains("\"a\"") && said.contains("\"b\""), "{said}");
}

#[test]
fn version_and_help_are_printed() {
    for (flag, expected) in [
        ("--version", "etcd Version: 3."),
        ("--help", "--initial-cluster-state"),
    ] {
        let Ok(Invocation::Print(text)) = Config::read([flag.to_owned()], []) else {
            panic!("{flag} must print");
        };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn addresses_that_nobody_can_reach_are_warned_of() {
    let config = read("--advertise-client-urls=http://0.0.0.0:2379", &[]).unwrap();
    assert!(config.warnings[0].contains("--advertise-client-urls"));
}

#[test]
fn certificates_that_no_url_asks_for_are_warned_of() {
    let with =
        "--cert-file=/c --key-file=/k --client-cert-auth=T --advertise-client-urls=http://h:1";
    let mixed = format!("{with} --listen-client-urls=http://127.0.0.1:1,https://127.0.0.1:1");
    let config = read(&mixed, &[]).unwrap();
    assert!(config.client_tls.client_cert_auth);
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("http://127.0.0.1:1, which is plain HTTP"));
    let secure = format!("{with} --listen-client-urls=https://127.0.0.1:1");
    assert_eq!(read(&secure, &[]).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn a_negative_quota_is_none() {
    for line in ["--quota-backend-bytes=-1", "--quota-backend-bytes -1"] {
        assert_eq!(read(line, &[]).unwrap().quota_backend_bytes, u64::MAX);
    }
}
