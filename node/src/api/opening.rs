//! The first bytes of a connection, which tell what it speaks.
//!
//! What this module deliberately does not do: wait for them longer than its caller does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How every connection of HTTP/2 begins.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes were read and are still to be read.
#[derive(Debug)]
pub(super) struct Opened<S> {
    inner: S,
    bytes: [u8; PREFACE.len()],
    read: usize,
    length: usize,
}

/// Reads until it is clear whether the connection speaks HTTP/2; one that ends before has said what it has said.
pub(super) async fn read<S: AsyncRead + Unpin>(mut inner: S) -> io::Result<(Opened<S>, bool)> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && bytes[..length] == PREFACE[..length] {
        match inner.read(&mut bytes[length..]).await? {
            0 => break,
            more => length += more,
        }
    }
    let is_http2 = bytes == *PREFACE;
    let opened = Opened {
        inner,
        bytes,
        read: 0,
        length,
    };
    Ok((opened, is_http2))
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read == self.length {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let end = self.length.min(self.read + buffer.remaining());
        buffer.put_slice(&self.bytes[self.read..end]);
        self.read = end;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
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
