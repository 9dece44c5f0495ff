//! A snapshot on its way: in pieces, each with a checksum, and one over all of them.
//!
//! What this module deliberately does not do: resume. A stream that breaks begins again with what is the newest then.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use proto::peer::snapshot_piece::Part;
use proto::peer::{Hello, SnapshotBytes, SnapshotClosing, SnapshotOpening, SnapshotPiece};
use raft::{Body, Message, PeerId, SnapshotMeta, Term};
use store::Image;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Context, Unanswered};
use crate::convert;

/// Pieces between the one that makes them and the wire.
const PIECES_MAX: usize = 4;
/// A receiver that takes no piece, or a sender that brings none, for this long is given up.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest snapshot to take, in bytes: an end for a stream that has none, far beyond what a member can hold. Not made from
/// this member's own quota: the store of a leader with another one must be taken whole.
const BYTES_MAX: u64 = 1 << 40;

/// Sends the image to a peer and waits until it says that it has it.
pub(super) async fn send(
    context: &Arc<Context>,
    peer: PeerId,
    urls: &[String],
    term: Term,
    meta: SnapshotMeta,
    image: Image,
) -> Result<(), Unanswered> {
    let mut client = context.dialer.connect(urls).await?;
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    let hello = context.hello(peer);
    let meta = Some(convert::meta_to_wire(&meta));
    let opening = Part::Opening(SnapshotOpening {
        hello: Some(hello),
        term: term.0,
        meta,
    });
    // Encoding takes a core for a while, so it has a thread of its own; it ends when the stream does.
    let encoding = tokio::task::spawn_blocking(move || encode(&image, opening, &pieces));
    let answer = client.install_snapshot(ReceiverStream::new(stream)).await;
    encoding.abort();
    answer.map(drop).map_err(Unanswered::Refused)
}

fn encode(image: &Image, opening: Part, pieces: &mpsc::Sender<SnapshotPiece>) {
    let send = |part| {
        let piece = SnapshotPiece { part: Some(part) };
        let sending = tokio::time::timeout(PIECE_TIMEOUT, pieces.send(piece));
        tokio::runtime::Handle::current()
            .block_on(sending)
            .is_ok_and(|sent| sent.is_ok())
    };
    let (mut offset, mut whole) = (0, crc32fast::Hasher::new());
    let mut going = send(opening);
    for bytes in image.frames() {
        if !going {
            return;
        }
        let (length, crc) = (bytes.len() as u64, crc32fast::hash(&bytes));
        whole.update(&bytes);
        going = send(Part::Bytes(SnapshotBytes { offset, bytes, crc }));
        offset += length;
    }
    let closing = SnapshotClosing {
        length_bytes: offset,
        crc: whole.finalize(),
    };
    if going {
        send(Part::Closing(closing));
    }
}

/// A snapshot that arrived whole.
pub(super) struct Arrived {
    pub(super) message: Message,
    pub(super) image: Bytes,
}

/// The next piece's part; none where the stream ends, or the piece is empty.
async fn next_part(
    stream: &mut (impl Stream<Item = Result<SnapshotPiece, Status>> + Unpin),
    patience: Duration,
) -> Result<Option<Part>, Status> {
    match tokio::time::timeout(patience, stream.next()).await {
        Ok(piece) => Ok(piece.transpose()?.and_then(|piece| piece.part)),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no piece of the snapshot within {patience:?}"
        ))),
    }
}

/// Reads the opening, which says who sends.
pub(super) async fn read_opening(
    stream: &mut Streaming<SnapshotPiece>,
) -> Result<(Hello, SnapshotOpening), Status> {
    match next_part(stream, PIECE_TIMEOUT).await? {
        Some(Part::Opening(mut opening)) => {
            let hello = opening.hello.take().ok_or_else(|| malformed("no hello"))?;
            Ok((hello, opening))
        }
        _ => Err(malformed("no opening")),
    }
}

/// Reads everything after the opening.
pub(super) async fn read(
    stream: &mut Streaming<SnapshotPiece>,
    (hello, opening): (Hello, SnapshotOpening),
) -> Result<Arrived, Status> {
    let meta = convert::meta_from_wire(opening.meta.ok_or_else(|| malformed("no meta"))?);
    let mut image = BytesMut::new();
    loop {
        match next_part(stream, PIECE_TIMEOUT).await? {
            Some(Part::Bytes(piece)) => take_piece(&mut image, &piece)?,
            Some(Part::Closing(closing)) => {
                check_whole(&image, closing)?;
                let body = Body::InstallSnapshot { meta };
                let (from, to) = (PeerId(hello.from), PeerId(hello.to));
                let message = Message {
                    from,
                    to,
                    term: Term(opening.term),
                    body,
                };
                return Ok(Arrived {
                    message,
                    image: image.freeze(),
                });
            }
            _ => return Err(malformed("it ends early")),
        }
    }
}

fn take_piece(image: &mut BytesMut, piece: &SnapshotBytes) -> Result<(), Status> {
    let length = image.len() as u64;
    if piece.offset != length {
        return Err(malformed("a piece is missing"));
    }
    if length + piece.bytes.len() as u64 > BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "a snapshot of over {BYTES_MAX} bytes"
        )));
    }
    if crc32fast::hash(&piece.bytes) != piece.crc {
        return Err(Status::data_loss(format!(
            "damaged snapshot piece at byte {length}"
        )));
    }
    image.extend_from_slice(&piece.bytes);
    Ok(())
}

fn check_whole(image: &BytesMut, closing: SnapshotClosing) -> Result<(), Status> {
    if image.len() as u64 != closing.length_bytes || crc32fast::hash(image) != closing.crc {
        return Err(Status::data_loss("damaged snapshot"));
    }
    Ok(())
}

fn malformed(what: &str) -> Status {
    Status::invalid_argument(format!("malformed snapshot: {what}"))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_sender_that_falls_silent_is_given_up() {
        let closing = Part::Closing(SnapshotClosing::default());
        let piece = SnapshotPiece {
            part: Some(closing.clone()),
        };
        let one = futures::stream::iter([Ok(piece)]);
        let mut stream = one.chain(futures::stream::pending());
        let patience = Duration::from_millis(20);
        let brought = next_part(&mut stream, patience).await.unwrap();
        assert_eq!(brought, Some(closing));
        let silent = next_part(&mut stream, patience).await.unwrap_err();
        assert_eq!(silent.code(), Code::DeadlineExceeded);
    }
}
