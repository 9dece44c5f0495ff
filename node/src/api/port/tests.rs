//! What a client controls, and where it ends, over real sockets.

use std::net::SocketAddr;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::DropGuard;

use super::*;
use crate::api::counts;
use crate::config::{Config, Invocation};

const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

struct Served {
    address: SocketAddr,
    counts: Counts,
    _guard: DropGuard,
}

fn serve(flags: &[&str], serves: Serves) -> Served {
    let flags = flags.iter().map(ToString::to_string);
    let Ok(Invocation::Serve(config)) = Config::read(flags, []) else {
        panic!("the flags ask for a member");
    };
    let urls = ["http://127.0.0.1:0".parse().unwrap()];
    let ports = listen(&urls, None, &config.connections);
    let counts = Counts::default();
    let port = ports.unwrap().remove(0);
    let port = port.only(serves).counted(counts.clone());
    let address = port.address().unwrap();
    let close = CancellationToken::new();
    let routes = Router::new().route("/", get(|| async { "here" }));
    tokio::spawn(port.serve(routes, close.clone()));
    Served {
        address,
        counts,
        _guard: close.drop_guard(),
    }
}

/// Everything that comes back until the connection ends.
async fn answer(served: &Served, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return answer,
            Ok(length) => answer.extend_from_slice(&bytes[..length]),
        }
    }
}

fn has(answer: &[u8], part: &[u8]) -> bool {
    answer.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_client_that_pings_too_often_is_sent_away() {
    let served = serve(&[], Serves::All);
    let mut said = opening::PREFACE.to_vec();
    said.extend_from_slice(SETTINGS);
    (0..4).for_each(|_| said.extend_from_slice(PING));
    let answer = answer(&served, &said).await;
    assert!(
        has(&answer, b"\x00\x00\x00\x0btoo_many_pings"),
        "{answer:?}"
    );
    served.counts.until_cut(Cut::Pings, 1).await;
}

#[tokio::test]
async fn pings_are_free_where_no_flag_limits_them() {
    let served = serve(&["--grpc-keepalive-min-time=0"], Serves::All);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(opening::PREFACE).await.unwrap();
    stream.write_all(SETTINGS).await.unwrap();
    for _ in 0..20 {
        stream.write_all(PING).await.unwrap();
    }
    let (mut answers, mut seen) = (0, Vec::new());
    while answers < 20 {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "it was cut after {answers} answers");
        seen.extend_from_slice(&bytes[..length]);
        let pong = b"\x00\x00\x08\x06\x01";
        answers = seen.windows(5).filter(|window| window == pong).count();
    }
    served.counts.until_cut(Cut::Pings, 0).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let served = serve(&["--request-head-timeout=100ms"], Serves::All);
    assert_eq!(answer(&served, b"").await, b"");
    served.counts.until_cut(Cut::OpeningLate, 1).await;
    assert_eq!(answer(&served, b"GET / HTTP/1.1\r\nHost:").await, b"");
    served.counts.until_cut(Cut::HeadLate, 1).await;
}

#[tokio::test]
async fn a_connection_beyond_the_most_waits_for_its_turn() {
    let served = serve(&["--max-connections=1"], Serves::All);
    let first = TcpStream::connect(served.address).await.unwrap();
    let said = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let waiting = answer(&served, said);
    tokio::pin!(waiting);
    let early = timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    let figures = served.counts.collectors();
    let most = figures[1].collect()[0].get_metric()[0]
        .get_gauge()
        .get_value();
    assert_eq!(most, 1.0);
    drop(first);
    assert!(has(&waiting.await, b"here"));
}

#[tokio::test]
async fn a_call_beyond_the_most_on_one_connection_is_refused() {
    const REFUSED: &[u8] = b"\x00\x00\x04\x03\x00\x00\x00\x00\x05\x00\x00\x00\x07";
    let served = serve(&["--max-concurrent-streams=2"], Serves::All);
    let mut said = opening::PREFACE.to_vec();
    said.extend_from_slice(SETTINGS);
    for stream in [1, 3, 5] {
        // GET, http, and the path /, which is all that a head needs.
        said.extend_from_slice(&[0, 0, 3, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x84]);
    }
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&said).await.unwrap();
    let mut seen = Vec::new();
    while !has(&seen, REFUSED) || !has(&seen, b"here") {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "it was cut: {seen:?}");
        seen.extend_from_slice(&bytes[..length]);
    }
    assert!(has(&seen, b"\x00\x03\x00\x00\x00\x02"), "the most is told");
    counts::until(&served.counts.full(), 1).await;
    counts::until(&served.counts.refused(), 1).await;
}

#[tokio::test]
async fn figures_of_calls_on_a_connection_are_there_before_anything_happens() {
    let registry = prometheus::Registry::new();
    for collector in Counts::default().collectors() {
        registry.register(collector).unwrap();
    }
    let families = registry.gather();
    for name in [
        "quorate_client_streams_limit_reached_total",
        "quorate_client_streams_refused_total",
    ] {
        let family = families.iter().find(|family| family.name() == name);
        let counter = family.unwrap().get_metric()[0].get_counter();
        assert_eq!(counter.get_value(), 0.0, "{name}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let served = serve(&[], Serves::All);
    let long = "x".repeat(HEAD_BYTES_MAX + 1);
    let said = format!("GET / HTTP/1.1\r\nHost: a\r\nLong: {long}\r\n\r\n");
    let answer = answer(&served, said.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{answer:?}");
}

#[tokio::test]
async fn http_and_grpc_can_have_ports_of_their_own() {
    let plain = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let grpc = plain.replace("Connection", "Content-Type: application/grpc\r\nConnection");
    for (serves, said, expected) in [
        (Serves::All, plain, "here"),
        (Serves::Http, plain, "here"),
        (Serves::Grpc, plain, "404"),
        (Serves::Grpc, &grpc, "here"),
        (Serves::Http, &grpc, "grpc-status: 12"),
    ] {
        let answer = answer(&serve(&[], serves), said.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains(expected), "{serves:?}: {text}");
    }
}
