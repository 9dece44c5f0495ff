//! Ports that speak gRPC and plain HTTP side by side, told apart connection by connection and path by path.
//!
//! What this module deliberately does not do: TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// How long a client may take to send an HTTP/1 request's head: slow ones must not hold connections for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent HTTP/2 connection is asked whether it still lives, and how long it may take to answer: a client that
/// vanished without a word is forgotten within a minute and a half.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls at once on one connection. Load generators put thousands on one; beyond that somebody leaks.
const STREAMS_MAX: u32 = 16_384;
/// Receive windows: a put of the largest default size fits into a stream's, several into a connection's.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Connections that wait to be accepted; a burst of a thousand clients must not be refused.
const BACKLOG: i32 = 4_096;
/// How long connections may take to finish what they are at when the port closes.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// A pause after a failed accept, most likely for want of file descriptors, which spinning does not bring back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Begins to listen. A restarted process gets its port back at once.
///
/// # Errors
/// The system's, most often that the address is taken or not of this machine.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `routes` until `stop` resolves; then takes no more connections and gives those there are two seconds.
pub async fn serve(listener: TcpListener, routes: Router, stop: impl Future<Output = ()>) {
    let server = server();
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connection(&server, &graceful, stream, routes.clone()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(CLOSING_TIME, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("closing connections that did not end in time");
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    server
}

fn connection(
    server: &auto::Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
    stream: TcpStream,
    routes: Router,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot send small packets at once");
    }
    let service = TowerToHyperService::new(routes);
    let connection = server
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        // Connections break all the time, mostly by clients that go away.
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
}
