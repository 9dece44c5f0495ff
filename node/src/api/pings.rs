//! Pings that come too often, judged as Go's gRPC judges them for etcd, and answered with its farewell: GOAWAY, enhance your
//! calm, `too_many_pings`.
//!
//! - A ping is too early when the one before came less than `--grpc-keepalive-min-time` ago; on a connection without a call,
//!   less than two hours ago. The third early one in a row ends the connection.
//! - Whatever is sent to the client between two pings forgives: clients measure bandwidth with pings while they receive.
//! - Over TLS etcd's pings go to another server, which counts none; so only those that no keepalive sends are too many there.
//! - Every ping is answered before the next is judged, so nothing of it is kept.
//!
//! hyper shows no pings, so the frames are followed here, by their heads alone. What this module deliberately does not do:
//! understand HTTP/2 beyond that, or bound anything else; hyper does.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Without a call nobody has a reason to ping; Go's figure.
const IDLE: Duration = Duration::from_secs(2 * 3_600);
/// Early pings that are let pass; Go's figure.
const STRIKES_MAX: u8 = 2;
/// Over TLS: more often than any keepalive, and seldom enough to cost nothing.
const SECURE_MIN: Duration = Duration::from_millis(100);

/// A frame of GOAWAY for no stream: enhance your calm (11), with Go's words.
const FAREWELL: &[u8] =
    b"\x00\x00\x16\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x0btoo_many_pings";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
/// END_STREAM of DATA and HEADERS, ACK of PING.
const FIRST_FLAG: u8 = 1;

/// How often a client may ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    least: Duration,
    /// Between two pings while there is no call.
    least_idle: Duration,
}

impl Rules {
    /// On a plain connection, with `--grpc-keepalive-min-time`, or over TLS.
    pub(super) fn new(min_time: Duration, is_secure: bool) -> Self {
        if is_secure {
            let least = min_time.min(SECURE_MIN);
            return Self {
                least,
                least_idle: least,
            };
        }
        Self {
            least: min_time,
            least_idle: IDLE,
        }
    }
}

/// The pings of one connection.
#[derive(Debug)]
struct Pings {
    rules: Rules,
    last: Option<Instant>,
    strikes: u8,
}

impl Pings {
    /// Whether this ping is one too many. `calls` are open; `forgiven` says that something was sent since the last one.
    fn is_too_many(&mut self, now: Instant, calls: usize, forgiven: bool) -> bool {
        let least = if calls == 0 {
            self.rules.least_idle
        } else {
            self.rules.least
        };
        let is_early = self.last.is_some_and(|last| last + least > now);
        self.last = Some(now);
        if forgiven {
            self.strikes = 0;
        } else if is_early {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Follows one direction from frame to frame.
#[derive(Debug)]
struct Frames {
    head: [u8; 9],
    known: usize,
    /// Bytes to pass over before the next head.
    skip: usize,
}

impl Frames {
    const fn after(skip: usize) -> Self {
        Self {
            head: [0; 9],
            known: 0,
            skip,
        }
    }

    const fn is_between(&self) -> bool {
        self.known == 0 && self.skip == 0
    }

    fn follow(&mut self, mut bytes: &[u8], mut on: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            let missing = (9 - self.known).min(bytes.len());
            if self.skip > 0 || missing == 0 {
                continue;
            }
            self.head[self.known..self.known + missing].copy_from_slice(&bytes[..missing]);
            self.known += missing;
            bytes = &bytes[missing..];
            if self.known == 9 {
                let [a, b, c, kind, flags, stream @ ..] = self.head;
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.known = 0;
                on(Head {
                    kind,
                    flags,
                    stream,
                });
            }
        }
    }
}

/// What is known of a connection of HTTP/2.
#[derive(Debug)]
struct Sight {
    incoming: Frames,
    outgoing: Frames,
    calls: HashSet<u32>,
    pings: Pings,
    /// Something was sent since the last ping.
    has_sent: bool,
    is_out: bool,
}

impl Sight {
    fn new(rules: Rules) -> Self {
        Self {
            incoming: Frames::after(super::opening::PREFACE.len()),
            outgoing: Frames::after(0),
            calls: HashSet::new(),
            pings: Pings {
                rules,
                last: None,
                strikes: 0,
            },
            has_sent: false,
            is_out: false,
        }
    }

    fn came(&mut self, bytes: &[u8], now: Instant) {
        let Self {
            incoming,
            calls,
            pings,
            has_sent,
            is_out,
            ..
        } = self;
        incoming.follow(bytes, |head| match head.kind {
            HEADERS => {
                calls.insert(head.stream);
            }
            RST_STREAM => {
                calls.remove(&head.stream);
            }
            PING if head.flags & FIRST_FLAG == 0 => {
                *is_out |= pings.is_too_many(now, calls.len(), std::mem::take(has_sent));
            }
            _ => {}
        });
    }

    fn went(&mut self, bytes: &[u8]) {
        let Self {
            outgoing,
            calls,
            has_sent,
            ..
        } = self;
        outgoing.follow(bytes, |head| {
            let is_last = matches!(head.kind, DATA | HEADERS) && head.flags & FIRST_FLAG != 0;
            *has_sent |= matches!(head.kind, DATA | HEADERS);
            if is_last || head.kind == RST_STREAM {
                calls.remove(&head.stream);
            }
        });
    }
}

/// A connection of HTTP/2 whose client is held to the rules.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    sight: Sight,
    /// How much of the farewell is written.
    said: usize,
    cut: IntCounter,
}

impl<S> Watched<S> {
    /// `cut` counts those that are sent away.
    pub(super) fn new(inner: S, rules: Rules, cut: IntCounter) -> Self {
        Self {
            inner,
            sight: Sight::new(rules),
            said: 0,
            cut,
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Says farewell and then fails, as soon as the frame that is being written has ended; its writer goes on until then.
    fn part(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if !self.sight.outgoing.is_between() {
            return Poll::Pending;
        }
        while self.said < FAREWELL.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &FAREWELL[self.said..])) {
                Ok(0) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Ok(length) => self.said += length,
                Err(error) => return Poll::Ready(error),
            }
        }
        self.cut.inc();
        // Whether it arrives is the client's concern.
        let _ = Pin::new(&mut self.inner).poll_flush(context);
        let _ = Pin::new(&mut self.inner).poll_shutdown(context);
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, TooMany))
    }
}

/// Why the connection ended.
#[derive(Debug, thiserror::Error)]
#[error("got too many pings from the client")]
pub(super) struct TooMany;

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.sight.is_out {
            return self.part(context).map(Err);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.sight.came(&buffer.filled()[before..], Instant::now());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.sight.is_out && self.sight.outgoing.is_between() {
            return self.part(context).map(Err);
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.sight.went(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.sight.is_out && self.sight.outgoing.is_between() {
            return self.part(context).map(Err);
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let length = left.min(slice.len());
            self.sight.went(&slice[..length]);
            left -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_judged_as_go_judges_them() {
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        let judge = |rules: Rules, pings: &[(u32, usize, bool)]| {
            let mut judged = Pings {
                rules,
                last: None,
                strikes: 0,
            };
            let too_many = |(at, calls, forgiven): &(u32, usize, bool)| {
                judged.is_too_many(begin + second * *at, *calls, *forgiven)
            };
            pings.iter().map(too_many).collect::<Vec<_>>()
        };
        let plain = Rules::new(5 * second, false);
        let often = [(0, 1, false), (1, 1, false), (2, 1, false), (3, 1, false)];
        assert_eq!(judge(plain, &often), [false, false, false, true]);
        let seldom = [(0, 1, false), (5, 1, false), (10, 1, false), (15, 1, false)];
        assert!(!judge(plain, &seldom).contains(&true));
        let idle = seldom.map(|(at, _, forgiven)| (at, 0, forgiven));
        assert!(judge(plain, &idle)[3]);
        assert!(!judge(Rules::new(5 * second, true), &idle).contains(&true));
        let receiving = often.map(|(at, calls, _)| (at, calls, true));
        assert!(!judge(plain, &receiving).contains(&true));
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let mut bytes = b"preface".to_vec();
        bytes.extend([0, 0, 3, HEADERS, 4, 0, 0, 0, 1, 9, 9, 9]);
        bytes.extend([0, 0, 0, DATA, 1, 0, 0, 0, 1]);
        bytes.extend([0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let head = |kind, flags, stream| Head {
            kind,
            flags,
            stream,
        };
        let expected = [head(HEADERS, 4, 1), head(DATA, 1, 1), head(PING, 0, 0)];
        for size in 1..bytes.len() {
            let (mut frames, mut seen) = (Frames::after(7), Vec::new());
            for piece in bytes.chunks(size) {
                frames.follow(piece, |head| seen.push(head));
            }
            assert_eq!(seen, expected, "in pieces of {size}");
            assert!(frames.is_between());
        }
    }
}
