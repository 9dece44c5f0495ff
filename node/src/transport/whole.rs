//! Messages of peers, handed on only once they are here.
//!
//! Whoever decodes gRPC makes room for a message as soon as its length is said, and one of a peer's may be a gibibyte long: so
//! five bytes would take that much. Here the head of a long message waits for the rest of it. What is held is what was sent.
//!
//! What this module deliberately does not do: limit. Who decodes refuses what is too long before making room.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;

/// The longest message that room is made for unseen, in bytes: all that peers say to each other but for what large requests
/// of clients bring.
const UNSEEN_BYTES_MAX: usize = 1 << 20;
/// A flag, and four bytes for the length.
const HEAD_BYTES: usize = 5;

/// See the module.
pub(super) struct Whole {
    body: Body,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// What is left of the message that is being handed on, in bytes.
    passing: usize,
    message_bytes_max: usize,
}

impl Whole {
    pub(super) const fn new(body: Body, message_bytes_max: usize) -> Self {
        Self {
            body,
            held: VecDeque::new(),
            held_bytes: 0,
            passing: 0,
            message_bytes_max,
        }
    }

    fn hold(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.held_bytes += piece.len();
            self.held.push_back(piece);
        }
    }

    /// What may go on.
    fn release(&mut self) -> Option<Bytes> {
        if self.passing == 0 {
            self.passing = self.next_message()?;
        }
        let piece = self.held.front_mut()?;
        let taken = piece.split_to(piece.len().min(self.passing));
        if piece.is_empty() {
            self.held.pop_front();
        }
        self.passing -= taken.len();
        self.held_bytes -= taken.len();
        Some(taken)
    }

    /// The length of the message that begins here, with its head; none if it has to wait.
    fn next_message(&self) -> Option<usize> {
        let mut head = self.held.iter().flatten().take(HEAD_BYTES);
        let _flag = head.next()?;
        let (count, length) = head.fold((0, 0), |(count, length), byte| {
            (count + 1, length << 8 | usize::from(*byte))
        });
        let whole = HEAD_BYTES + length;
        let may_wait = UNSEEN_BYTES_MAX < length && length <= self.message_bytes_max;
        let is_here = !may_wait || whole <= self.held_bytes;
        (count == HEAD_BYTES - 1 && is_here).then_some(whole)
    }
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if let Some(piece) = self.release() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.hold(piece),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                None if self.held_bytes > 0 => {
                    self.held.clear();
                    self.held_bytes = 0;
                    let early = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Some(Err(axum::Error::new(early))));
                }
                ended => return Poll::Ready(ended),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::BodyExt;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(length).unwrap().to_be_bytes());
        message.resize(HEAD_BYTES + length, 7);
        message
    }

    fn in_pieces(bytes: &[u8], of: usize) -> Body {
        let pieces: Vec<_> = bytes.chunks(of).map(Bytes::copy_from_slice).collect();
        Body::from_stream(futures::stream::iter(pieces).map(Ok::<_, io::Error>))
    }

    #[tokio::test]
    async fn what_was_sent_arrives_whatever_its_pieces() {
        let lengths = [0, 3, 100, UNSEEN_BYTES_MAX + 1, 5];
        let sent: Vec<u8> = lengths.into_iter().flat_map(message).collect();
        for of in [1_000, 4_099, sent.len()] {
            let whole = Whole::new(in_pieces(&sent, of), 2 * UNSEEN_BYTES_MAX);
            let arrived = whole.collect().await.unwrap().to_bytes();
            assert!(arrived == sent, "in pieces of {of}");
        }
        let small = message(3);
        let whole = Whole::new(in_pieces(&small, 1), UNSEEN_BYTES_MAX);
        assert_eq!(whole.collect().await.unwrap().to_bytes(), small);
    }

    #[tokio::test]
    async fn nothing_is_handed_on_of_a_long_message_that_never_comes() {
        let said = &message(UNSEEN_BYTES_MAX + 1)[..1_000];
        let mut whole = Whole::new(in_pieces(said, 10), 2 * UNSEEN_BYTES_MAX);
        assert!(whole.frame().await.unwrap().is_err());
        assert!(whole.frame().await.is_none());
        // One that is longer than any is left to who refuses it.
        let mut whole = Whole::new(in_pieces(said, 1_000), UNSEEN_BYTES_MAX);
        assert!(whole.frame().await.unwrap().is_ok());
    }
}
