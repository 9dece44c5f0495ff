//! `RangeStream`: a range in pieces, all as of one revision, so that neither side ever holds it whole.
//!
//! The first piece is read as the client wants it (linearizable, unless it says otherwise) and says which revision the others
//! are read at. A piece has ten keys at first; the next has twice as many, or half, until pieces are about as large as a
//! request may be. Only the last one has a header, `more` and `count`.
//!
//! What this module deliberately does not do: sort by anything but the key, or filter; etcd refuses that too. A sort target
//! without an order changes nothing here; etcd sorts within each piece by it and loses keys between the pieces.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use prost::Message;
use proto::etcdserverpb as pb;
use store::{RangeRequest, RangeResponse, SortOrder, SortTarget};
use tonic::Status;

use super::{Shared, convert};
use crate::auth::Credentials;
use crate::event::{Outcome, Read};
use crate::refusal::Refusal;

/// Keys of the first piece; etcd's figure.
const FIRST_KEYS: i64 = 10;

/// What etcd does not serve in pieces, in its words.
#[allow(clippy::result_large_err, reason = "it is what the service answers")]
pub(super) fn check(request: &RangeRequest) -> Result<(), Status> {
    let by_key = request.sort_target == SortTarget::Key as i32;
    let ascends = by_key && request.sort_order == SortOrder::Ascend as i32;
    if !ascends && request.sort_order != SortOrder::None as i32 {
        let text = "RangeStream does not support custom sort orders";
        return Err(Status::unimplemented(text));
    }
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if bounds.iter().any(|bound| *bound != 0) {
        let text = "RangeStream does not support revision filters";
        return Err(Status::unimplemented(text));
    }
    Ok(())
}

/// How far a client's range has been read.
pub(super) struct Pages {
    shared: Arc<Shared>,
    /// Whose it is; every piece is judged anew.
    credentials: Credentials,
    /// What is to be read next: its limit is the next piece's.
    request: RangeRequest,
    /// Keys that may still be sent.
    left: i64,
    sent: i64,
    /// The newest revision when it began; 0 before.
    as_of: i64,
}

impl Pages {
    pub(super) fn new(
        shared: Arc<Shared>,
        credentials: Credentials,
        request: RangeRequest,
    ) -> Self {
        let left = match request.limit {
            limit if limit > 0 => limit,
            _ => i64::MAX,
        };
        let limit = FIRST_KEYS.min(left);
        Self {
            shared,
            credentials,
            request: RangeRequest { limit, ..request },
            left,
            sent: 0,
            as_of: 0,
        }
    }

    /// The pieces, read as they are asked for.
    pub(super) fn stream(
        self,
    ) -> impl Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send {
        futures::stream::unfold(Some(self), async |pages| {
            let mut pages = pages?;
            match pages.next().await {
                Ok((response, is_last)) => {
                    let range_response = Some(response);
                    let response = pb::RangeStreamResponse { range_response };
                    Some((Ok(response), (!is_last).then_some(pages)))
                }
                Err(refusal) => Some((Err(refusal.into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<(pb::RangeResponse, bool), Refusal> {
        if self.request.count_only {
            let request = self.request.clone();
            let answer = self.read(Read::Range(request)).await?;
            return Ok((self.last(answer), true));
        }
        let page = self.read(Read::Page(self.request.clone())).await?;
        if self.as_of == 0 {
            self.as_of = page.revision;
            if self.request.revision <= 0 {
                self.request.revision = page.revision;
            }
        }
        self.sent += page.count;
        self.left -= page.count;
        let after = page.kvs.last().map(|kv| after(&kv.key));
        let Some(after) = after.filter(|_| page.more) else {
            let count = self.sent;
            return Ok((self.last(RangeResponse { count, ..page }), true));
        };
        self.request.key = after;
        if self.left == 0 {
            let count = self.sent + self.count_rest().await?;
            return Ok((self.last(RangeResponse { count, ..page }), true));
        }
        let piece = pb::RangeResponse {
            kvs: page.kvs.into_iter().map(convert::key_value).collect(),
            ..pb::RangeResponse::default()
        };
        let target = self.shared.limits.max_request_bytes;
        let limit = next_limit(self.request.limit, piece.encoded_len(), target);
        self.request.limit = limit.min(self.left);
        Ok((piece, false))
    }

    fn last(&self, answer: RangeResponse) -> pb::RangeResponse {
        let revision = if self.as_of == 0 {
            answer.revision
        } else {
            self.as_of
        };
        convert::range_answer(answer, self.shared.header(revision))
    }

    async fn count_rest(&self) -> Result<i64, Refusal> {
        let rest = RangeRequest {
            count_only: true,
            ..self.request.clone()
        };
        Ok(self.read(Read::Range(rest)).await?.count)
    }

    /// Only the first read asks the others how far they are: what follows is as of its revision.
    async fn read(&self, read: Read) -> Result<RangeResponse, Refusal> {
        let is_local = self.request.serializable || self.as_of > 0;
        let read = self.shared.read_by(&self.credentials, read, is_local);
        match read.await? {
            Outcome::Range(answer) => Ok(answer),
            other => unreachable!("a range is not answered by {other:?}"),
        }
    }
}

/// The smallest key after this one.
fn after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.put_slice(key);
    after.put_u8(0);
    after.freeze()
}

/// Twice as many keys after a piece below half the target, half as many after one beyond twice the target.
const fn next_limit(last: i64, bytes: usize, target: usize) -> i64 {
    if bytes < target / 2 {
        last.saturating_mul(2)
    } else if bytes > target * 2 && last > 1 {
        last / 2
    } else {
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_and_shrink_toward_the_target() {
        assert_eq!(next_limit(10, 49, 100), 20);
        assert_eq!(next_limit(10, 50, 100), 10);
        assert_eq!(next_limit(10, 200, 100), 10);
        assert_eq!(next_limit(11, 201, 100), 5);
        assert_eq!(next_limit(1, 1_000, 100), 1);
    }

    #[test]
    fn orders_and_filters_are_refused_in_etcds_words() {
        let refusal = |request: RangeRequest| check(&request).unwrap_err().message().to_owned();
        let descending = RangeRequest {
            sort_order: SortOrder::Descend as i32,
            ..RangeRequest::default()
        };
        assert_eq!(
            refusal(descending),
            "RangeStream does not support custom sort orders"
        );
        let filtered = RangeRequest {
            max_mod_revision: 1,
            ..RangeRequest::default()
        };
        assert_eq!(
            refusal(filtered),
            "RangeStream does not support revision filters"
        );
        let ascending = RangeRequest {
            sort_order: SortOrder::Ascend as i32,
            ..RangeRequest::default()
        };
        assert!(check(&ascending).is_ok());
    }
}
