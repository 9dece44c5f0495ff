//! Handshakes over real sockets, with certificates made here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Extension, Router};
use rcgen::{ExtendedKeyUsagePurpose, SerialNumber, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::counts::{Counts, Cut};
use crate::api::port;
use crate::config::Invocation;
use authority::{Authority, Files, Leaf};

#[path = "../../tests/lab/authority.rs"]
mod authority;
mod limits;

fn config(flags: &[String]) -> Config {
    let Invocation::Serve(config) = Config::read(flags.to_vec(), []).unwrap() else {
        panic!("the flags ask for a member");
    };
    *config
}

fn client_flags(files: &Files, more: &[&str]) -> Vec<String> {
    let mut flags = vec![
        "--listen-client-urls=https://127.0.0.1:0".to_owned(),
        "--advertise-client-urls=https://127.0.0.1:1".to_owned(),
        files.flag("--data-dir", "data"),
        files.flag("--cert-file", "server.crt"),
        files.flag("--key-file", "server.key"),
    ];
    flags.extend(more.iter().map(ToString::to_string));
    flags
}

fn refusal(flags: &[String]) -> String {
    let opened = Security::open(&config(flags), Resolver::default());
    opened.map(drop).unwrap_err().to_string()
}

async fn who(Extension(identity): Extension<ClientIdentity>) -> String {
    identity.common_name.unwrap_or_else(|| "nobody".to_owned())
}

/// Serves the first URL until the guard goes.
fn serve(
    urls: &[crate::config::Url],
    acceptor: Arc<Acceptor>,
) -> (SocketAddr, tokio_util::sync::DropGuard) {
    let close = CancellationToken::new();
    let routes = Router::new().route("/", get(who));
    let port = port::listen(urls, Some(&acceptor), &config(&[]).connections)
        .unwrap()
        .remove(0);
    let address = port.address().unwrap();
    tokio::spawn(port.serve(routes, close.clone()));
    (address, close.drop_guard())
}

fn serve_clients(flags: &[String]) -> (SocketAddr, tokio_util::sync::DropGuard) {
    let config = config(flags);
    let security = Security::open(&config, Resolver::default()).unwrap();
    serve(&config.listen_client_urls, security.clients().unwrap())
}

fn client(trusted: &[&str], shown: Option<&Leaf>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pem in trusted {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

async fn connect(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::clone(client))
        .connect(name, stream)
        .await
}

/// One request over HTTP/1.1; the connection stays open.
async fn ask(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
) -> std::io::Result<String> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: port\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&bytes[..length]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if length.is_some_and(|length| length == body.len().to_string()) {
                return Ok(body.to_owned());
            }
        }
    }
}

/// Who the port says that the client is, or why there was no answer.
async fn asked(address: SocketAddr, client: &Arc<ClientConfig>) -> Result<String, String> {
    let asking = async { ask(&mut connect(address, client).await?).await };
    let asked = tokio::time::timeout(Duration::from_secs(20), asking).await;
    asked
        .expect("an answer or an end")
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn certificates_of_clients_are_judged_one_by_one() {
    let (files, ours, other) = (
        Files::new(),
        Authority::new("ours"),
        Authority::new("other"),
    );
    files.pair("server", &ours.leaf("server", &["127.0.0.1"]));
    files.write("ca.crt", ours.pem());
    files.write("crl.pem", ours.revokes(&[7]).pem().unwrap());
    let (address, _guard) = serve_clients(&client_flags(
        &files,
        &[
            &files.flag("--trusted-ca-file", "ca.crt"),
            &files.flag("--client-crl-file", "crl.pem"),
            "--client-cert-auth",
            "--client-cert-allowed-hostname=app.example,*.ops.example",
        ],
    ));
    let name = &["app.example"][..];
    let numbered = |number: u64| {
        ours.odd_leaf("numbered", name, |params| {
            params.serial_number = Some(SerialNumber::from(number));
        })
    };
    let expired = ours.odd_leaf("expired", name, |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let not_yet = ours.odd_leaf("early", name, |params| {
        params.not_before = date_time_ymd(2120, 1, 1)
    });
    let for_servers = ours.odd_leaf("server", name, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (case, shown, answer) in [
        ("none", None, None),
        ("good", Some(ours.leaf("alice", name)), Some("alice")),
        ("without a name", Some(ours.leaf("", name)), Some("")),
        ("by another CA", Some(other.leaf("alice", name)), None),
        ("expired", Some(expired), None),
        ("not valid yet", Some(not_yet), None),
        ("for servers only", Some(for_servers), None),
        (
            "for another host",
            Some(ours.leaf("alice", &["web.example"])),
            None,
        ),
        ("revoked", Some(numbered(7)), None),
        ("next to a revoked one", Some(numbered(8)), Some("numbered")),
    ] {
        let said = asked(address, &client(&[&ours.pem()], shown.as_ref())).await;
        assert_eq!(said.as_deref().ok(), answer, "{case}: {said:?}");
    }
}

#[tokio::test]
async fn a_port_that_names_no_ca_asks_nobody() {
    let (files, ours, other) = (
        Files::new(),
        Authority::new("ours"),
        Authority::new("other"),
    );
    files.pair("server", &ours.leaf("server", &["127.0.0.1"]));
    let (address, _guard) = serve_clients(&client_flags(&files, &[]));
    let stranger = other.leaf("alice", &[]);
    let said = asked(address, &client(&[&ours.pem()], Some(&stranger))).await;
    assert_eq!(said.as_deref(), Ok("nobody"));
    let said = asked(address, &client(&[&other.pem()], None))
        .await
        .unwrap_err();
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[tokio::test]
async fn files_are_exchanged_under_open_connections() {
    let (files, old, new) = (Files::new(), Authority::new("old"), Authority::new("new"));
    files.pair("server", &old.leaf("server", &["127.0.0.1"]));
    files.write("ca.crt", old.pem());
    let flags = client_flags(&files, &[&files.flag("--trusted-ca-file", "ca.crt")]);
    let (address, _guard) = serve_clients(&flags);
    let (olds, news) = (old.leaf("old client", &[]), new.leaf("new client", &[]));
    let both = [&*old.pem(), &*new.pem()];
    let (by_old, by_new) = (client(&both, Some(&olds)), client(&both, Some(&news)));
    let mut open = connect(address, &by_old).await.unwrap();
    assert_eq!(ask(&mut open).await.unwrap(), "old client");

    files.write("ca.crt", both.concat());
    assert_eq!(asked(address, &by_old).await.unwrap(), "old client");
    assert_eq!(asked(address, &by_new).await.unwrap(), "new client");

    files.pair("server", &new.leaf("server", &["127.0.0.1"]));
    files.write("ca.crt", new.pem());
    assert_eq!(asked(address, &by_new).await.unwrap(), "new client");
    assert!(asked(address, &by_old).await.is_err(), "its CA is gone");
    let only_new = client(&[&new.pem()], Some(&news));
    assert_eq!(asked(address, &only_new).await.unwrap(), "new client");

    for broken in ["", "-----BEGIN CERTIFICATE-----\nnonsense"] {
        files.write("server.crt", broken);
        assert_eq!(asked(address, &only_new).await.unwrap(), "new client");
    }
    std::fs::remove_file(files.path("server.key")).unwrap();
    assert_eq!(asked(address, &only_new).await.unwrap(), "new client");
    assert_eq!(
        ask(&mut open).await.unwrap(),
        "old client",
        "it was never cut"
    );
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_holds_nobody_up() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    files.pair("server", &ours.leaf("server", &["127.0.0.1"]));
    let flags = client_flags(&files, &["--tls-handshake-timeout=300ms"]);
    let config = config(&flags);
    let security = Security::open(&config, Resolver::default()).unwrap();
    let patience = config.connections.handshakes.timeout;
    let acceptor = security.clients().unwrap();
    let counts = Counts::default();
    let mut ports = port::listen(
        &config.listen_client_urls,
        Some(&acceptor),
        &config.connections,
    );
    let port = ports.as_mut().unwrap().remove(0).counted(counts.clone());
    let address = port.address().unwrap();
    let routes = Router::new().route("/", get(who));
    tokio::spawn(port.serve(routes, CancellationToken::new()));
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A beginning, so that the first byte alone does not count as progress.
        stream.write_all(&[0x16, 3, 1]).await.unwrap();
        silent.push(stream);
    }
    let said = asked(address, &client(&[&ours.pem()], None)).await;
    assert_eq!(said.as_deref(), Ok("nobody"));
    for mut stream in silent {
        let ended = stream.read_to_end(&mut Vec::new()).await;
        assert!(began.elapsed() >= patience, "cut early: {ended:?}");
    }
    counts.until_cut(Cut::HandshakeLate, 50).await;
}

#[tokio::test]
async fn one_address_is_plain_and_secure_where_two_urls_say_so() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    files.pair("server", &ours.leaf("server", &["127.0.0.1"]));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let both = format!("--listen-client-urls=http://{at},https://{at}");
    let (address, _guard) = serve_clients(&client_flags(&files, &[&both]));
    let said = asked(address, &client(&[&ours.pem()], None)).await;
    assert_eq!(said.as_deref(), Ok("nobody"));
    let mut plain = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut plain).await.unwrap(), "nobody");
}

#[tokio::test]
async fn a_secure_port_does_not_answer_in_the_clear() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    files.pair("server", &ours.leaf("server", &["127.0.0.1"]));
    let (address, _guard) = serve_clients(&client_flags(&files, &[]));
    let mut plain = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut plain).await.is_err());
}

fn peer_flags(files: &Files, more: &[&str]) -> Vec<String> {
    let mut flags = vec![
        "--listen-peer-urls=https://127.0.0.1:0".to_owned(),
        files.flag("--data-dir", "data"),
        files.flag("--peer-cert-file", "peer.crt"),
        files.flag("--peer-key-file", "peer.key"),
        files.flag("--peer-trusted-ca-file", "ca.crt"),
    ];
    flags.extend(more.iter().map(ToString::to_string));
    flags
}

/// A member with its flags dials one with the same flags, whose certificate may be another.
async fn dialed(dialing: &[String], listening: &[String]) -> Result<String, String> {
    let (from, to) = (config(dialing), config(listening));
    let resolver = Resolver::default();
    let from = Security::open(&from, resolver.clone()).unwrap();
    let acceptor = Security::open(&to, resolver).unwrap().peers();
    let (address, _guard) = serve(&to.listen_peer_urls, acceptor);
    let stream = TcpStream::connect(address).await.unwrap();
    let connecting = from.dialing().connect("127.0.0.1", stream).await;
    let mut stream = connecting.map_err(|error| error.to_string())?;
    ask(&mut stream).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn members_know_each_other_by_name() {
    let (files, ours, other) = (
        Files::new(),
        Authority::new("ours"),
        Authority::new("other"),
    );
    files.write("ca.crt", ours.pem());
    let here = &["127.0.0.1"][..];
    for (case, leaf, more, passes) in [
        ("good", ours.leaf("kv", here), &[][..], true),
        (
            "allowed",
            ours.leaf("kv", here),
            &["--peer-cert-allowed-cn=x,kv"],
            true,
        ),
        (
            "another CN",
            ours.leaf("db", here),
            &["--peer-cert-allowed-cn=x,kv"],
            false,
        ),
        (
            "allowed host",
            ours.leaf("kv", here),
            &["--peer-cert-allowed-hostname=127.0.0.1"],
            true,
        ),
        (
            "another host",
            ours.leaf("kv", here),
            &["--peer-cert-allowed-hostname=kv.example"],
            false,
        ),
        ("another CA", other.leaf("kv", here), &[], false),
        (
            "another address",
            ours.leaf("kv", &["127.0.0.9"]),
            &[],
            false,
        ),
    ] {
        files.pair("peer", &leaf);
        let flags = peer_flags(&files, more);
        let said = dialed(&flags, &flags).await;
        assert_eq!(said.is_ok(), passes, "{case}: {said:?}");
    }
}

#[tokio::test]
async fn a_member_shows_another_certificate_when_it_dials() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    files.write("ca.crt", ours.pem());
    files.pair("peer", &ours.leaf("listening", &["127.0.0.1"]));
    files.pair("dial", &ours.leaf("dialing", &["127.0.0.1"]));
    files.pair("elsewhere", &ours.leaf("elsewhere", &["127.0.0.9"]));
    let with = |name: &str, more: &[&str]| {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let mut flags = peer_flags(&files, more);
        flags.push(files.flag("--peer-client-cert-file", &certificate));
        flags.push(files.flag("--peer-client-key-file", &key));
        flags
    };
    let flags = with("dial", &[]);
    assert_eq!(dialed(&flags, &flags).await.as_deref(), Ok("dialing"));
    let flags = with("elsewhere", &[]);
    dialed(&flags, &flags).await.unwrap_err();
    let flags = with("elsewhere", &["--peer-skip-client-san-verification"]);
    assert_eq!(dialed(&flags, &flags).await.as_deref(), Ok("elsewhere"));
}

#[tokio::test]
async fn certificates_are_made_where_the_flags_ask_for_them() {
    let files = Files::new();
    let flags = [
        "--listen-client-urls=https://127.0.0.1:0".to_owned(),
        "--advertise-client-urls=https://127.0.0.1:1".to_owned(),
        "--listen-peer-urls=https://127.0.0.1:0".to_owned(),
        "--auto-tls".to_owned(),
        "--peer-auto-tls".to_owned(),
        files.flag("--data-dir", "data"),
    ];
    let (address, guard) = serve_clients(&flags);
    let made = |name: &str| files.path("data/fixtures/client").join(name);
    let certificate = std::fs::read_to_string(made("cert.pem")).unwrap();
    let said = asked(address, &client(&[&certificate], None)).await;
    assert_eq!(said.as_deref(), Ok("nobody"));
    assert_eq!(mode(&made("key.pem")), 0o600);
    drop(guard);
    let _again = serve_clients(&flags);
    assert_eq!(
        std::fs::read_to_string(made("cert.pem")).unwrap(),
        certificate
    );
    assert_eq!(dialed(&flags, &flags).await.as_deref(), Ok("nobody"));
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_broken_at_the_start_is_named_by_flag_file_and_reason() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let (leaf, another) = (ours.leaf("server", &[]), ours.leaf("server", &[]));
    let flags = client_flags(
        &files,
        &[
            &files.flag("--trusted-ca-file", "ca.crt"),
            &files.flag("--client-crl-file", "crl"),
        ],
    );
    let mut said = Vec::new();
    let mut says = |parts: &[&str]| {
        let refused = refusal(&flags);
        for part in parts {
            assert!(refused.contains(part), "{refused:?} does not say {part:?}");
        }
        assert!(
            !refused.contains('\n'),
            "{refused:?} is more than a sentence"
        );
        said.push(refused);
    };
    says(&["--cert-file", "server.crt", "cannot be read"]);
    files.write("server.crt", "nothing");
    says(&["--cert-file", "server.crt", "no certificate"]);
    files.write("server.crt", &leaf.certificate);
    says(&["--key-file", "server.key", "cannot be read"]);
    let secret = leaf.key.lines().nth(1).unwrap();
    files.write(
        "server.key",
        format!("-----BEGIN PRIVATE KEY----- {secret}"),
    );
    says(&["--key-file", "server.key", "no private key"]);
    files.write("server.key", leaf.key.replace('A', "?"));
    says(&["--key-file", "server.key", "no private key"]);
    files.write("server.key", &another.key);
    says(&["--key-file", "server.key", "not the key of", "server.crt"]);
    files.write("server.key", &leaf.key);
    says(&["--trusted-ca-file", "ca.crt", "cannot be read"]);
    files.write("ca.crt", &leaf.key);
    says(&["--trusted-ca-file", "ca.crt", "no certificate"]);
    files.write("ca.crt", ours.pem());
    files.write("crl", "nothing");
    says(&["--client-crl-file", "crl", "no revocation list"]);
    files.write("crl", ours.revokes(&[1]).der());
    assert!(Security::open(&config(&flags), Resolver::default()).is_ok());
    assert!(!said.concat().contains(secret), "a key got into {said:?}");
}
