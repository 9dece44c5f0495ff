//! Ports that speak gRPC and plain HTTP side by side, told apart connection by connection and path by path.
//!
//! A port is plain, or has TLS, or is both where two URLs with one address say so: then the first byte of a connection tells.
//! Whatever a client has to do first (shake hands, say what it speaks) it does in a task of its own connection, within a time.
//! Each connection costs a file descriptor, so that there are no more of them than descriptors can be spared, or than a flag
//! says; others wait to be accepted, as in etcd.
//!
//! What this module deliberately does not do: know what is served.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures::future::Either;
use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::counts::{Counts, Cut, Open};
use super::pings::Rules;
use super::sight::Watched;
use super::{is_grpc, nothing_at, opening};
use crate::config::{Connections, Url};
use crate::tls::{Acceptor, ClientIdentity, HandshakeError, OverTls};

/// Receive windows: a put of the largest default size fits into a stream's, several into a connection's.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Connections that wait to be accepted; a burst of a thousand clients must not be refused.
const BACKLOG: i32 = 4_096;
/// How long connections may take to finish what they are at when the port closes.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// A pause after a failed accept, most likely for want of file descriptors, which spinning does not bring back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most bytes that a request's head may have: tokens are the longest of what is in one, and none has a quarter of it.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// File descriptors that are not for connections of clients: files, peers, pipes; etcd's figure.
const RESERVED: usize = 150;
/// When a silent connection is first looked at by TCP, and how often then; Go's figures. This finds machines that have vanished
/// long before `--grpc-keepalive-interval` does.
const PROBE: Duration = Duration::from_secs(15);

/// The first byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// An address that is listened on.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    wall: Wall,
    connections: Connections,
    serves: Serves,
    counts: Counts,
}

/// What may be asked on a port, whatever its routes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// Everything.
    #[default]
    All,
    /// Calls of gRPC, where HTTP has a port of its own.
    Grpc,
    /// Everything else.
    Http,
}

impl Serves {
    fn takes(self, headers: &HeaderMap) -> bool {
        match self {
            Self::All => true,
            Self::Grpc => is_grpc(headers),
            Self::Http => !is_grpc(headers),
        }
    }
}

/// What a connection has to be.
#[derive(Clone, Debug)]
enum Wall {
    Plain,
    Tls(Arc<Acceptor>),
    Either(Arc<Acceptor>),
}

/// Begins to listen on every address of the URLs, once on each. Ports of `https` URLs shake hands by `acceptor`; all keep
/// their connections as `connections` says.
///
/// # Errors
/// The first URL that cannot be listened on and why; most often the address is taken or not of this machine.
pub fn listen(
    urls: &[Url],
    acceptor: Option<&Arc<Acceptor>>,
    connections: &Connections,
) -> Result<Vec<Port>, (Url, io::Error)> {
    let mut ports: BTreeMap<(&str, u16), (&Url, bool, bool)> = BTreeMap::new();
    for url in urls {
        let (_, plain, secure) = ports
            .entry((url.host(), url.port()))
            .or_insert((url, false, false));
        *plain |= !url.is_secure();
        *secure |= url.is_secure();
    }
    let open = |(url, plain, secure): (&Url, bool, bool)| {
        let failed = |error| (url.clone(), error);
        let address = url.listen_address().map_err(io::Error::other);
        let listener = address
            .and_then(|address| bind(address, connections))
            .map_err(failed)?;
        let wall = match (secure.then_some(acceptor).flatten(), plain) {
            (Some(acceptor), false) => Wall::Tls(Arc::clone(acceptor)),
            (Some(acceptor), true) => Wall::Either(Arc::clone(acceptor)),
            (None, _) if secure => {
                return Err(failed(io::Error::other("there is no certificate to show")));
            }
            (None, _) => Wall::Plain,
        };
        Ok(Port {
            listener,
            wall,
            connections: connections.clone(),
            serves: Serves::All,
            counts: Counts::default(),
        })
    };
    ports.into_values().map(open).collect()
}

/// A restarted process gets its port back at once.
fn bind(address: SocketAddr, connections: &Connections) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(connections.reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Port {
    /// Where it is; the system has chosen the number if the URL had 0.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers nothing but what is named.
    #[must_use]
    pub fn only(self, serves: Serves) -> Self {
        Self { serves, ..self }
    }

    /// Counts its connections there.
    #[must_use]
    pub fn counted(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// Serves `routes` until `close` is cancelled; then takes no more connections and gives those there are two seconds.
    pub async fn serve(self, routes: Router, close: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let door = Arc::new(Door {
            server: server(&self.connections),
            wall: self.wall,
            serves: self.serves,
            routes,
            min_time: self.connections.keepalive_min_time,
            calls_max: self.connections.max_concurrent_streams,
            counts: self.counts,
            patience: self.connections.head_timeout,
        });
        let spared = connections_max();
        let most = self.connections.max_connections;
        let most = most.map_or(spared, |most| most.min(spared));
        door.counts.allow(most);
        let places = Arc::new(Semaphore::new(most));
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                let accepted = self.listener.accept().await?;
                Ok::<_, io::Error>((place, accepted))
            };
            tokio::select! {
                accepted = accepted => match accepted {
                    Ok((place, (stream, from))) => {
                        let held = Held {
                            _place: place.ok(),
                            _open: door.counts.open(),
                            watcher: graceful.watcher(),
                        };
                        let connection = Arc::clone(&door).take(stream, from, held);
                        tokio::spawn(close.clone().run_until_cancelled_owned(connection));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = close.cancelled() => break,
            }
        }
        drop(self.listener);
        if timeout(CLOSING_TIME, graceful.shutdown()).await.is_err() {
            tracing::info!("closing connections that did not end in time");
        }
    }
}

fn server(connections: &Connections) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(HEAD_BYTES_MAX)
        .header_read_timeout(connections.head_timeout);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(connections.keepalive_interval)
        .keep_alive_timeout(connections.keepalive_timeout)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(connections.max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    server
}

/// As many as file descriptors can be spared for.
fn connections_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let descriptors: usize = soft.unwrap_or(Semaphore::MAX_PERMITS);
    descriptors
        .saturating_sub(RESERVED)
        .max(descriptors / 2)
        .clamp(1, Semaphore::MAX_PERMITS)
}

/// What a connection holds while it lasts.
struct Held {
    _place: Option<OwnedSemaphorePermit>,
    _open: Open,
    watcher: Watcher,
}

/// What every connection of a port goes through.
struct Door {
    server: auto::Builder<TokioExecutor>,
    wall: Wall,
    serves: Serves,
    routes: Router,
    min_time: Option<Duration>,
    calls_max: u32,
    counts: Counts,
    patience: Duration,
}

impl Door {
    /// Everything before the first request; the connection itself then lives in a task that closing does not cut.
    async fn take(self: Arc<Self>, stream: TcpStream, from: SocketAddr, held: Held) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "cannot set a connection up");
        }
        let acceptor = match &self.wall {
            Wall::Plain => None,
            Wall::Tls(acceptor) => Some(acceptor),
            Wall::Either(acceptor) => match speaks_tls(&stream, self.patience).await {
                Ok(true) => Some(acceptor),
                Ok(false) => None,
                Err(error) => {
                    self.counts.cut(Cut::OpeningLate);
                    return tracing::debug!(%error, %from, "a connection said nothing");
                }
            },
        };
        let Some(acceptor) = acceptor else {
            return self.open(stream, None, held).await;
        };
        match acceptor.accept(stream, from).await {
            Ok((stream, identity)) => self.open(stream, Some(identity), held).await,
            Err(error) => {
                let side = acceptor.side();
                tracing::warn!(remote_addr = %from, %error, "rejected connection on {side} endpoint");
                self.counts.cut(match error {
                    HandshakeError::Late(_) => Cut::HandshakeLate,
                    _ => Cut::HandshakeRefused,
                });
            }
        }
    }

    /// Hears what a connection speaks.
    async fn open<S>(&self, stream: S, identity: Option<ClientIdentity>, held: Held)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, is_http2) = match timeout(self.patience, opening::read(stream)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection ended"),
            Err(_) => return self.counts.cut(Cut::OpeningLate),
        };
        if !is_http2 {
            return self.serve(stream, identity, is_http2, held);
        }
        let min_time = self.min_time;
        let pings = min_time.map(|min_time| Rules::new(min_time, identity.is_some()));
        let stream = Watched::new(stream, pings, self.calls_max, &self.counts);
        self.serve(stream, identity, is_http2, held);
    }

    fn serve<S>(&self, stream: S, identity: Option<ClientIdentity>, is_http2: bool, held: Held)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(Identified {
            identity,
            serves: self.serves,
            inner: self.routes.clone(),
        });
        let connection = self
            .server
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let counts = self.counts.clone();
        tokio::spawn(async move {
            let Held {
                watcher,
                _place,
                _open,
            } = held;
            // Connections break all the time, mostly by clients that go away.
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended");
                let timed_out = error
                    .downcast_ref::<hyper::Error>()
                    .is_some_and(hyper::Error::is_timeout);
                if timed_out {
                    counts.cut(if is_http2 { Cut::Silent } else { Cut::HeadLate });
                }
            }
        });
    }
}

/// Small packets go at once, and a machine that vanishes is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(PROBE).with_interval(PROBE);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

async fn speaks_tls(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    let mut first = [0];
    let peeked = timeout(patience, stream.peek(&mut first)).await;
    let length = peeked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(length > 0 && first[0] == TLS_HANDSHAKE)
}

/// Tells every request of a connection whose certificate was shown on it; none where the connection is plain.
#[derive(Clone)]
struct Identified {
    identity: Option<ClientIdentity>,
    serves: Serves,
    inner: Router,
}

type Answer = Result<Response, Infallible>;

impl<B> Service<http::Request<B>> for Identified
where
    Router: Service<http::Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, <Router as Service<http::Request<B>>>::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<B>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        if !self.serves.takes(request.headers()) {
            let (uri, headers) = (request.uri(), request.headers());
            return Either::Left(ready(Ok(nothing_at(uri, headers))));
        }
        let extensions = request.extensions_mut();
        extensions.insert(self.identity.clone().unwrap_or_default());
        if self.identity.is_some() {
            extensions.insert(OverTls);
        }
        Either::Right(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests;
