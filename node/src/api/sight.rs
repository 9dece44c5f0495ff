//! What a connection of HTTP/2 says, seen as it passes: which calls are open, and pings.
//!
//! - Calls beyond the most are refused by hyper, which tells nobody but the client; they are counted here, and so is how often
//!   a connection has as many calls open as it may: clients that know the limit wait by themselves and are never refused.
//! - Pings that come too often end the connection, see [`super::pings`]. Every ping is answered before the next is judged, so
//!   nothing of it is kept.
//!
//! What this module deliberately does not do: bound anything but pings; hyper does.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::counts::{Counts, Cut};
use super::frames::{DATA, FIRST_FLAG, Frames, HEADERS, PING, REFUSED, RST_STREAM};
use super::opening::PREFACE;
use super::pings::{Pings, Rules};

/// A frame of GOAWAY for no stream: enhance your calm (11), with Go's words.
const FAREWELL: &[u8] =
    b"\x00\x00\x16\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x0btoo_many_pings";

/// The calls of one connection.
#[derive(Debug)]
struct Calls {
    open: HashSet<u32>,
    /// The newest that was opened. Whatever comes for older ones opens nothing: trailers, most likely.
    newest: u32,
    /// So many may be open at once.
    most: usize,
    full: IntCounter,
    refused: IntCounter,
}

impl Calls {
    fn new(most: u32, counts: &Counts) -> Self {
        Self {
            open: HashSet::new(),
            newest: 0,
            most: usize::try_from(most).unwrap_or(usize::MAX),
            full: counts.full(),
            refused: counts.refused(),
        }
    }

    fn begins(&mut self, call: u32) {
        if call <= self.newest {
            return;
        }
        self.newest = call;
        self.open.insert(call);
        if self.open.len() == self.most {
            self.full.inc();
        }
    }

    fn ends(&mut self, call: u32) {
        self.open.remove(&call);
    }

    fn is_refused(&mut self, call: u32) {
        self.ends(call);
        self.refused.inc();
    }
}

/// What is known of a connection.
#[derive(Debug)]
struct Sight {
    incoming: Frames,
    outgoing: Frames,
    calls: Calls,
    /// None where they are free.
    pings: Option<Pings>,
    /// Something was sent since the last ping.
    has_sent: bool,
    is_out: bool,
}

impl Sight {
    fn new(rules: Option<Rules>, calls: Calls) -> Self {
        Self {
            incoming: Frames::after(PREFACE.len()),
            outgoing: Frames::after(0),
            calls,
            pings: rules.map(Pings::new),
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
            HEADERS => calls.begins(head.stream),
            RST_STREAM => calls.ends(head.stream),
            PING if head.flags & FIRST_FLAG == 0 => {
                let forgiven = std::mem::take(has_sent);
                if let Some(pings) = pings {
                    *is_out |= pings.is_too_many(now, calls.open.len(), forgiven);
                }
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
        outgoing.follow(bytes, |head| match head.kind {
            DATA | HEADERS => {
                *has_sent = true;
                if head.flags & FIRST_FLAG != 0 {
                    calls.ends(head.stream);
                }
            }
            RST_STREAM if head.reason == REFUSED => calls.is_refused(head.stream),
            RST_STREAM => calls.ends(head.stream),
            _ => {}
        });
    }
}

/// A connection of HTTP/2 whose frames are seen as they pass, and which ends when its client pings too often.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    sight: Sight,
    /// How much of the farewell is written.
    said: usize,
    /// Counts those that are sent away.
    cut: IntCounter,
}

impl<S> Watched<S> {
    /// `pings` says how often a client may ping, if that is limited; `calls_max` how many calls hyper lets it have at once.
    pub(super) fn new(inner: S, pings: Option<Rules>, calls_max: u32, counts: &Counts) -> Self {
        Self {
            inner,
            sight: Sight::new(pings, Calls::new(calls_max, counts)),
            said: 0,
            cut: counts.counter(Cut::Pings),
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

    const END: u8 = FIRST_FLAG;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
        [&head, payload].concat()
    }

    /// A connection whose preface has come.
    fn sight(calls_max: u32, counts: &Counts) -> Sight {
        let mut sight = Sight::new(None, Calls::new(calls_max, counts));
        sight.came(PREFACE, Instant::now());
        sight
    }

    #[test]
    fn a_connection_is_full_once_each_time_it_fills() {
        let counts = Counts::default();
        let mut sight = sight(2, &counts);
        let now = Instant::now();
        let open = |sight: &mut Sight, call| sight.came(&frame(HEADERS, 0, call, &[]), now);
        open(&mut sight, 1);
        assert_eq!(counts.full().get(), 0);
        open(&mut sight, 3);
        assert_eq!(counts.full().get(), 1);
        // One too many, which is refused, and so is another: it has been full all the time.
        for call in [5, 7] {
            open(&mut sight, call);
            sight.went(&frame(RST_STREAM, 0, call, &[0, 0, 0, 7]));
        }
        assert_eq!((counts.full().get(), counts.refused().get()), (1, 2));
        sight.went(&frame(HEADERS, END, 1, &[]));
        open(&mut sight, 9);
        assert_eq!((counts.full().get(), counts.refused().get()), (2, 2));
    }

    #[test]
    fn calls_end_however_they_end_and_what_comes_late_opens_nothing() {
        let counts = Counts::default();
        let mut sight = sight(1, &counts);
        let now = Instant::now();
        let cancel = [0, 0, 0, 8];
        for (call, is_ours, kind, flags, payload) in [
            (1, true, DATA, END, &[][..]),
            (3, true, HEADERS, END, &[]),
            (5, true, RST_STREAM, 0, &cancel),
            (7, false, RST_STREAM, 0, &cancel),
        ] {
            sight.came(&frame(HEADERS, 0, call, &[]), now);
            assert_eq!(sight.calls.open.len(), 1, "{call}");
            let end = frame(kind, flags, call, payload);
            if is_ours {
                sight.went(&end);
            } else {
                sight.came(&end, now);
            }
            sight.came(&frame(HEADERS, END, call, &[]), now);
            assert!(sight.calls.open.is_empty(), "{call}");
        }
        assert_eq!((counts.full().get(), counts.refused().get()), (4, 0));
    }
}
