//! What a member is started with: flags, environment, the configuration file, certificates.

use std::fs;
use std::path::Path;

use quorate_node::config::{Config, Invocation};
use quorate_node::resolve::Resolver;
use quorate_node::tls::Security;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::{Target, seal, seeds};

const FLAGS: &str = "--name=one
--data-dir=one.data
--listen-client-urls=http://127.0.0.1:2379,http://[::1]:2379
--advertise-client-urls=http://127.0.0.1:2379
--listen-peer-urls=http://127.0.0.1:2380
--initial-advertise-peer-urls=http://127.0.0.1:2380
--initial-cluster=one=http://127.0.0.1:2380,two=http://127.0.0.2:2380
--initial-cluster-state=new
--heartbeat-interval=100
--election-timeout=1000
--quota-backend-bytes=2147483648
--auto-compaction-mode=periodic
--auto-compaction-retention=1h
--max-request-bytes=1572864
--grpc-keepalive-min-time=5s
--feature-gates=InitialCorruptCheck=true,LeaseCheckpoint=false
--log-level=info
--auth-token=simple
--cipher-suites=TLS_AES_128_GCM_SHA256
--host-whitelist=*
--cors=*";

const FILE: &str = "name: one
data-dir: one.data
listen-client-urls: http://127.0.0.1:2379
advertise-client-urls: http://127.0.0.1:2379
initial-cluster: 'one=http://localhost:2380'
heartbeat-interval: 100
election-timeout: 1000
watch-progress-notify-interval: 600000000000
max-concurrent-streams: 4294967295
enable-grpc-gateway: true
auto-compaction-mode: periodic
auto-compaction-retention: \"1\"
client-transport-security:
  cert-file: path
  key-file: path
  client-cert-auth: false
peer-transport-security:
  auto-tls: true
socket-options:
  reuse-address: true
log-outputs: [stderr]
";

/// The command line, a flag in each line.
#[must_use]
pub fn flags() -> Target {
    let decode = |input: &[u8]| {
        let lines = String::from_utf8_lossy(input);
        Config::read(lines.lines().map(str::to_owned), []).is_ok()
    };
    target("flags", vec![FLAGS.into(), b"--help".to_vec()], decode)
}

/// The environment, a variable in each line.
#[must_use]
pub fn environment() -> Target {
    let lines = FLAGS
        .lines()
        .filter_map(|line| line.strip_prefix("--")?.split_once('='));
    let variables = lines.map(|(name, value)| {
        let name = name.replace('-', "_").to_uppercase();
        format!("ETCD_{name}={value}\n")
    });
    let decode = |input: &[u8]| {
        let lines = String::from_utf8_lossy(input);
        let variables = lines.lines().filter_map(|line| line.split_once('='));
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Config::read([], variables.collect::<Vec<_>>()).is_ok()
    };
    target(
        "environment",
        vec![variables.collect::<String>().into_bytes()],
        decode,
    )
}

/// `--config-file`.
#[must_use]
pub fn config_file() -> Target {
    let folder = seeds::folder();
    let decode = move |input: &[u8]| {
        let path = folder.path().join("etcd.yml");
        fs::write(&path, input).unwrap();
        Config::read([format!("--config-file={}", path.display())], []).is_ok()
    };
    let json = br#"{"name": "one", "election-timeout": 1000, "log-outputs": ["stderr"]}"#;
    target(
        "config_file",
        vec![FILE.into(), json.to_vec(), Vec::new()],
        decode,
    )
}

/// The parser of flags knows them all anew each time.
fn target(
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    decode: impl Fn(&[u8]) -> bool + 'static,
) -> Target {
    Target::new(name, seeds, seal::nothing, decode)
        .bounded(512, 2 << 20)
        .runs(400)
}

/// The files of one side: its certificate, its key, whom it trusts, whom no longer.
const FILES: [&str; 4] = ["server.crt", "server.key", "ca.crt", "revoked.pem"];

fn certified() -> [Vec<u8>; 4] {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(7),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2124, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority).unwrap().pem().unwrap();
    [leaf.pem(), key.serialize_pem(), authority.pem(), list].map(String::into_bytes)
}

fn secured(folder: &Path) -> Config {
    let flag = |flag: &str, name: &str| format!("{flag}={}", folder.join(name).display());
    let flags = [
        "--listen-client-urls=https://127.0.0.1:0".to_owned(),
        "--advertise-client-urls=https://127.0.0.1:1".to_owned(),
        "--client-cert-auth".to_owned(),
        flag("--data-dir", "data"),
        flag("--cert-file", FILES[0]),
        flag("--key-file", FILES[1]),
        flag("--trusted-ca-file", FILES[2]),
        flag("--client-crl-file", FILES[3]),
    ];
    match Config::read(flags, []).unwrap() {
        Invocation::Serve(config) => *config,
        Invocation::Print(text) => panic!("the flags ask for {text}"),
    }
}

/// Each file of TLS in its turn, beside others that are sound.
#[must_use]
pub fn certificates() -> Target {
    let folder = seeds::folder();
    let sound = certified();
    let config = secured(folder.path());
    let seeds = sound.to_vec();
    let decode = move |input: &[u8]| {
        let mut opened = false;
        for place in 0..FILES.len() {
            for (other, name) in FILES.iter().enumerate() {
                let content = if other == place { input } else { &sound[other] };
                fs::write(folder.path().join(name), content).unwrap();
            }
            opened |= Security::open(&config, Resolver::default()).is_ok();
        }
        opened
    };
    Target::new("certificates", seeds, seal::nothing, decode)
        .bounded(64, 512 << 10)
        .runs(500)
}
