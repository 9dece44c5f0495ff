//! How many shake hands at once, and what is said of a certificate of our own.

use super::*;

#[tokio::test]
async fn so_many_shake_hands_at_once_as_the_flag_says() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    files.pair("server", &ours.leaf("server", &["127.0.0.1"]));
    let config = config(&client_flags(&files, &["--max-tls-handshakes=1"]));
    let security = Security::open(&config, Resolver::default()).unwrap();
    let acceptor = security.clients().unwrap();
    let (address, _guard) = serve(&config.listen_client_urls, Arc::clone(&acceptor));
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(&[0x16, 3, 1]).await.unwrap();
    let taking = async {
        while acceptor.free() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), taking)
        .await
        .expect("it has the only turn");
    let client = client(&[&ours.pem()], None);
    let mut asking = std::pin::pin!(asked(address, &client));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    assert!(early.is_err(), "it waits for its turn: {early:?}");
    drop(silent);
    assert_eq!(asking.await.as_deref(), Ok("nobody"));
}

const FROM: i64 = 978_307_200;
const TO: i64 = 1_009_843_200;
const YEAR: i64 = TO - FROM;

/// A certificate for the server that is valid in 2001, or some years later.
fn write_server(files: &Files, ours: &Authority, years_later: i32) {
    let leaf = ours.odd_leaf("server", &["127.0.0.1"], |params| {
        params.not_before = date_time_ymd(2001 + years_later, 1, 1);
        params.not_after = date_time_ymd(2002 + years_later, 1, 1);
    });
    files.pair("server", &leaf);
}

#[test]
fn our_own_certificate_is_spoken_of_while_it_is_used() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    write_server(&files, &ours, 0);
    let config = config(&client_flags(&files, &[]));
    let security = Security::open(&config, Resolver::default()).expect("it is shown all the same");
    let credentials = security.client.as_ref().unwrap();
    let said = |now: i64| {
        let told = credentials.look(now).1;
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let ends = || {
        let metric = security.ends().collect()[0].get_metric()[0].clone();
        assert_eq!(metric.get_label()[0].value(), "cert-file");
        metric.get_gauge().get_value() as i64
    };
    assert_eq!(ends(), TO);
    assert!(
        said(FROM).is_empty(),
        "that it has expired was said at once"
    );
    let file = files.flag("--cert-file", "server.crt").replace('=', " ");
    let (soon, again) = (said(TO - 3_600), said(TO));
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(soon.len(), 1);
    assert!(
        soon[0].starts_with(&format!("{file}: expires at ")),
        "{soon:?}"
    );
    write_server(&files, &ours, 1);
    assert!(said(TO + 1).is_empty(), "it was renewed in time");
    assert_eq!(ends(), TO + YEAR);
    let late = said(TO + YEAR + 1);
    assert!(
        late[0].starts_with(&format!("{file}: expired at ")),
        "{late:?}"
    );
    files.write("server.crt", "nonsense");
    assert!(
        said(TO + YEAR + 2).is_empty(),
        "the old one is used, and was spoken of"
    );
    assert_eq!(ends(), TO + YEAR);
}
