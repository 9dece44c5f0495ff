//! A snapshot on its way to a client: in pieces that say what is still to come, and its hash behind it.
//!
//! - What is under way is four pieces and a page, however large the store is.
//! - A client that takes no piece for a while is given up, so that none holds a thread and an image for ever.
//!
//! What this module deliberately does not do: resume. A client that was cut off asks again, and gets a newer one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::etcdserverpb::SnapshotResponse;
use sha2::{Digest, Sha256};
use store::Image;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Export;

/// Bytes of the database in one message; etcd's figure.
const PIECE_LEN: usize = 32 << 10;
/// Pieces between the thread that makes them and the wire.
const PIECES_MAX: usize = 4;
/// How long a client may take none.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the call answers.
pub(crate) type Pieces = ReceiverStream<Result<SnapshotResponse, Status>>;

/// Sends an image, taken in this term, from a thread of its own.
pub(crate) fn stream(image: Image, term: u64) -> Pieces {
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let export = match Export::new(image, term) {
            Ok(export) => export,
            Err(error) => {
                let refusal = Status::failed_precondition(error.to_string());
                tracing::warn!(%error, "no snapshot can be taken");
                drop(pieces.blocking_send(Err(refusal)));
                return;
            }
        };
        let left = export.len_bytes();
        tracing::info!(bytes = left, "sending a snapshot to a client");
        let sender = Sender {
            pieces,
            left,
            version: export.version.clone(),
            piece: BytesMut::new(),
            hasher: Sha256::new(),
        };
        match sender.send(&export) {
            Ok(()) => tracing::info!("sent the snapshot"),
            Err(Gone) => {
                tracing::info!("the client of a snapshot has gone, or takes no more of it")
            }
        }
    });
    ReceiverStream::new(stream)
}

/// Nobody takes the next piece.
struct Gone;

struct Sender {
    pieces: mpsc::Sender<Result<SnapshotResponse, Status>>,
    /// Bytes that were not sent.
    left: u64,
    version: String,
    piece: BytesMut,
    hasher: Sha256,
}

impl Sender {
    fn send(mut self, export: &Export) -> Result<(), Gone> {
        export.write(|bytes| self.take(bytes))?;
        if !self.piece.is_empty() {
            self.send_piece()?;
        }
        let hash = self.hasher.finalize_reset();
        self.send_blob(Bytes::copy_from_slice(&hash))
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(PIECE_LEN - self.piece.len());
            self.piece.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.piece.len() == PIECE_LEN {
                self.send_piece()?;
            }
        }
        Ok(())
    }

    fn send_piece(&mut self) -> Result<(), Gone> {
        let piece = self.piece.split().freeze();
        self.hasher.update(&piece);
        self.left -= piece.len() as u64;
        self.send_blob(piece)
    }

    fn send_blob(&self, blob: Bytes) -> Result<(), Gone> {
        let piece = SnapshotResponse {
            header: None,
            remaining_bytes: self.left,
            blob,
            version: self.version.clone(),
        };
        let sending = tokio::time::timeout(PIECE_TIMEOUT, self.pieces.send(Ok(piece)));
        match Handle::current().block_on(sending) {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}
