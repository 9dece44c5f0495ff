//! What other members say.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use http::Request;
use http_body_util::BodyExt;
use prost::Message as _;
use proto::peer::delivery::Part;
use proto::peer::snapshot_piece::Part as Piece;
use proto::peer::{self, Delivery, Hello, SnapshotBytes, SnapshotClosing, SnapshotPiece};
use quorate_node::convert;
use quorate_node::event::{Digests, Event};
use quorate_node::handle::{Handle, Waiter};
use quorate_node::status::Status;
use quorate_node::storage::Identity;
use quorate_node::transport::{self, Context, Dialer};
use raft::{Body, Configuration, Index, Message, PeerId, ReadId, SnapshotMeta, Term, VoteKind};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Target, seal, seeds};

const IDENTITY: Identity = Identity {
    cluster_id: 1,
    member_id: 2,
};

fn bodies() -> Vec<Body> {
    let entries = seeds::entries();
    let (prev_index, prev_term, commit) = (Index(0), Term(0), Index(3));
    vec![
        Body::RequestVote {
            kind: VoteKind::PreVote,
            last_index: Index(5),
            last_term: Term(2),
            transfer: true,
        },
        Body::Vote {
            kind: VoteKind::Vote,
            granted: true,
            commit,
            commit_term: Term(1),
        },
        Body::Append {
            prev_index,
            prev_term,
            entries: entries.clone(),
            commit,
        },
        Body::Accepted {
            match_index: Index(4),
        },
        Body::Rejected {
            prev_index,
            hint_index: Index(2),
            hint_term: Term(1),
        },
        Body::Heartbeat { commit, round: 5 },
        Body::HeartbeatReply { round: 5 },
        Body::Lend {
            prev_index,
            prev_term,
            entries: entries.clone(),
            commit,
        },
        Body::TimeoutNow,
        Body::Propose {
            payloads: entries.into_iter().map(|entry| entry.payload).collect(),
        },
        Body::Read {
            ids: vec![ReadId(9)],
        },
        Body::ReadReply {
            ids: vec![ReadId(9)],
            index: Some(Index(4)),
        },
    ]
}

fn wires() -> Vec<peer::Message> {
    let message = |body| Message {
        from: PeerId(3),
        to: PeerId(2),
        term: Term(2),
        body,
    };
    let messages = bodies().into_iter().map(message);
    messages.map(convert::message_to_wire).collect()
}

/// Messages of the consensus core. What is read must be what is written again.
#[must_use]
pub fn messages() -> Target {
    let seeds = wires().iter().map(prost::Message::encode_to_vec).collect();
    let decode = |input: &[u8]| {
        let wire = peer::Message::decode(input).ok();
        let Some(message) = wire.and_then(|wire| convert::message_from_wire(wire).ok()) else {
            return false;
        };
        let again = convert::message_from_wire(convert::message_to_wire(message.clone()));
        assert_eq!(again, Ok(message), "after being written");
        true
    };
    Target::new("messages", seeds, seal::nothing, decode)
}

fn hello() -> Hello {
    Hello {
        cluster_id: IDENTITY.cluster_id,
        from: 3,
        to: IDENTITY.member_id,
        version: "0.1.0".to_owned(),
        etcd_version: "3.7.1".to_owned(),
        peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
    }
}

/// A call with these messages; the line before them is its path.
fn call(path: &str, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut call = format!("{path}\n").into_bytes();
    for message in messages {
        seal::put_message(&mut call, &message);
    }
    call
}

fn deliveries() -> Vec<u8> {
    let digests = Digests {
        first: Index(3),
        digests: vec![1, 2, 3],
    };
    let batch = peer::Batch {
        messages: wires(),
        digests: Some(convert::digests_to_wire(digests)),
    };
    let parts = [Part::Hello(hello()), Part::Batch(batch)];
    let parts = parts.map(|part| Delivery { part: Some(part) }.encode_to_vec());
    call("/quorate.peer.v1.Peer/Deliver", parts)
}

fn snapshot() -> Vec<u8> {
    let meta = SnapshotMeta {
        index: Index(1_000),
        term: Term(2),
        configuration: Configuration::new([PeerId(2), PeerId(3)], [PeerId(4)]),
    };
    let opening = peer::SnapshotOpening {
        hello: Some(hello()),
        term: 2,
        meta: Some(convert::meta_to_wire(&meta)),
    };
    let image: Vec<u8> = seeds::store().snapshot().frames().flatten().collect();
    let pieces = image.chunks(image.len().div_ceil(3)).map(|bytes| {
        Piece::Bytes(SnapshotBytes {
            bytes: bytes.to_vec().into(),
            ..SnapshotBytes::default()
        })
    });
    let mut parts = vec![Piece::Opening(opening)];
    parts.extend(pieces);
    parts.push(Piece::Closing(SnapshotClosing::default()));
    let parts = parts
        .into_iter()
        .map(|part| SnapshotPiece { part: Some(part) }.encode_to_vec());
    call("/quorate.peer.v1.Peer/InstallSnapshot", parts)
}

/// A member that answers nobody: what reaches it has been read.
struct Deaf {
    runtime: Runtime,
    context: Context,
    _status: watch::Sender<Status>,
}

impl Deaf {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (events, mut waiting) = mpsc::channel::<Event<Waiter>>(16);
        let (sender, published) = watch::channel(Status::new(IDENTITY));
        runtime.spawn(async move { while waiting.recv().await.is_some() {} });
        let context = Context {
            identity: IDENTITY,
            dialer: Dialer::default(),
            handle: Handle::new(events, published),
            removed: CancellationToken::new(),
            traffic: Arc::default(),
            peer_urls: Vec::new(),
        };
        Self {
            runtime,
            context,
            _status: sender,
        }
    }
}

/// Calls of the peer port, messages as they lie on the wire.
#[must_use]
pub fn peer_calls() -> Target {
    let calls = seeds::calls(&["quorate.peer.v1"]).into_iter();
    let mut seeds: Vec<_> = calls
        .flat_map(|each| {
            each.messages
                .map(|message| call(&each.path, [message.encode_to_vec()]))
        })
        .collect();
    seeds.extend([deliveries(), snapshot()]);
    seeds.iter_mut().for_each(seal::call);
    let deaf = Deaf::new();
    let decode = move |input: &[u8]| {
        let routes = transport::routes(deaf.context.clone());
        let Some(request) = request(input) else {
            return false;
        };
        let patience = Duration::from_secs(1);
        let answered = async { tokio::time::timeout(patience, answer(routes, request)).await };
        deaf.runtime.block_on(answered).is_ok()
    };
    Target::new("peer_calls", seeds, seal::call, decode).bounded(64, 8 << 20)
}

/// Makes a request and reads its answer. The trailers end it: tonic's bodies go on with them for whoever reads on.
pub(super) async fn answer(routes: axum::Router, request: Request<HttpBody>) {
    let mut body = routes.oneshot(request).await.unwrap().into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if frame.is_trailers() {
            return;
        }
    }
}

/// The request that an input says: a path, the end of the line, and the body.
pub(super) fn request(input: &[u8]) -> Option<Request<HttpBody>> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let path = std::str::from_utf8(&input[..end]).ok()?;
    let body = HttpBody::from(input[end + 1..].to_vec());
    let request = Request::post(path).header("content-type", "application/grpc");
    request.header("te", "trailers").body(body).ok()
}
