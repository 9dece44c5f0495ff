//! How many shake hands at once, and what is said of a certificate of our own that is not valid.

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

#[test]
fn our_own_certificate_is_complained_of_when_it_is_not_valid() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let leaf = ours.odd_leaf("server", &["127.0.0.1"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    files.pair("server", &leaf);
    let config = config(&client_flags(&files, &[]));
    let sources = files::sources(&config.client_tls);
    let contents = files::Contents::read(&sources);
    let said = |now: i64| {
        let told = contents.untimely(now);
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (from, to) = (978_307_200, 1_009_843_200);
    assert!(said(from).is_empty() && said(to).is_empty());
    let (early, late) = (said(from - 1), said(to + 1));
    assert_eq!((early.len(), late.len()), (1, 1));
    let file = files.flag("--cert-file", "server.crt").replace('=', " ");
    assert!(
        early[0].starts_with(&format!("{file}: is not valid before")),
        "{early:?}"
    );
    assert!(
        late[0].starts_with(&format!("{file}: expired at")),
        "{late:?}"
    );
    let opened = Security::open(&config, Resolver::default());
    assert!(opened.is_ok(), "it is shown all the same");
}
