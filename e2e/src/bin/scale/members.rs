//! Members that are a model: each answers etcd's calls that the operator makes at an address of its own.
//!
//! It deliberately serves nothing else of etcd: nobody reads or writes keys here.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use e2e::simulated::kubelet::Processes;
use e2e::simulated::{Crash, Model};
use http::Response;
use plan::{Listed, names};
use prost::Message;
use proto::etcdserverpb as pb;
use quorate_operator::members::{Endpoint, Members, MembersError};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

/// One member's server; it ends with this value.
pub(crate) struct Member(AbortHandle);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The number's address on the loopback; no other test or program takes those.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 200, 0, 1)) + number)
}

/// Where the operator asks the member at this address, which is also the model's name for it.
pub(crate) fn url(address: Ipv4Addr) -> String {
    format!("http://{address}:{}", names::CLIENT_PORT)
}

/// Listens at the first address from this number on that nobody has taken.
pub(crate) async fn listen(number: u32) -> Result<(TcpListener, u32)> {
    const TRIES: u32 = 16;
    let port = u16::try_from(names::CLIENT_PORT)?;
    for number in number..number + TRIES {
        let address = address(number);
        match TcpListener::bind(SocketAddr::new(address.into(), port)).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => {
                let bound = bound.with_context(|| format!("listen on {address}:{port}"))?;
                return Ok((bound, number));
            }
        }
    }
    bail!("{TRIES} addresses from {} on are taken", address(number))
}

/// Serves the model's member at the address of `listener`.
pub(crate) fn serve(model: &Model, member: &str, listener: TcpListener, at: Ipv4Addr) -> Member {
    let answers = Arc::new(Answers {
        members: model.members(Crash::never()),
        at: Endpoint {
            member: member.to_owned(),
            url: url(at),
            tls: None,
        },
    });
    let router = Router::new().fallback(move |request: Request| {
        let answers = Arc::clone(&answers);
        async move { answers.answer(request).await }
    });
    let server = tonic::transport::Server::builder().add_routes(router.into());
    // As etcd and quorate-node answer; else the end of an answer waits for the kernel's delayed acknowledgement of its beginning.
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let task = tokio::spawn(async move { server.serve_with_incoming(incoming).await });
    Member(task.abort_handle())
}

/// What one member answers.
struct Answers {
    members: Arc<dyn Members>,
    at: Endpoint,
}

impl Answers {
    async fn answer(self: Arc<Self>, request: Request) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let (members, at) = (Arc::clone(&self.members), self.at.clone());
        match path.as_str() {
            "/etcdserverpb.Maintenance/Status" => {
                unary(request, async move |_: pb::StatusRequest| {
                    self.status().await
                })
                .await
            }
            "/etcdserverpb.Cluster/MemberList" => {
                unary(request, async move |_: pb::MemberListRequest| {
                    self.list().await
                })
                .await
            }
            "/etcdserverpb.Cluster/MemberAdd" => {
                unary(request, async move |add| self.add(add).await).await
            }
            "/etcdserverpb.Cluster/MemberPromote" => {
                let promote = async move |it: pb::MemberPromoteRequest| {
                    let done = members.promote(&at, it.id).await;
                    done.map(|()| pb::MemberPromoteResponse::default())
                };
                unary(request, promote).await
            }
            "/etcdserverpb.Cluster/MemberRemove" => {
                let remove = async move |it: pb::MemberRemoveRequest| {
                    let done = members.remove(&at, it.id).await;
                    done.map(|()| pb::MemberRemoveResponse::default())
                };
                unary(request, remove).await
            }
            "/etcdserverpb.Maintenance/MoveLeader" => {
                let hand_over = async move |it: pb::MoveLeaderRequest| {
                    let done = members.move_leader(&at, it.target_id).await;
                    done.map(|()| pb::MoveLeaderResponse::default())
                };
                unary(request, hand_over).await
            }
            _ => Status::unimplemented(path).into_http(),
        }
    }

    async fn status(&self) -> Result<pb::StatusResponse, MembersError> {
        let answer = self.members.probe(&self.at).await?;
        Ok(pb::StatusResponse {
            header: header(answer.cluster_id, answer.member_id, answer.term),
            version: answer.version,
            leader: answer.leader_id,
            raft_index: answer.raft_index,
            raft_term: answer.term,
            raft_applied_index: answer.applied_index,
            is_learner: answer.is_learner,
            ..pb::StatusResponse::default()
        })
    }

    async fn list(&self) -> Result<pb::MemberListResponse, MembersError> {
        let found = self.members.membership(&self.at).await?;
        Ok(pb::MemberListResponse {
            header: header(found.cluster_id, 0, 0),
            members: found.members.into_iter().map(member).collect(),
        })
    }

    async fn add(&self, add: pb::MemberAddRequest) -> Result<pb::MemberAddResponse, MembersError> {
        let peer_url = add.peer_urls.first().map_or("", String::as_str);
        let id = self.members.add_learner(&self.at, peer_url).await?;
        Ok(pb::MemberAddResponse {
            member: Some(pb::Member {
                id,
                peer_urls: add.peer_urls,
                is_learner: true,
                ..pb::Member::default()
            }),
            ..pb::MemberAddResponse::default()
        })
    }
}

fn header(cluster_id: u64, member_id: u64, raft_term: u64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader {
        cluster_id,
        member_id,
        raft_term,
        ..pb::ResponseHeader::default()
    })
}

fn member(listed: Listed) -> pb::Member {
    pb::Member {
        id: listed.id,
        name: listed.name,
        peer_urls: listed.peer_urls,
        is_learner: listed.is_learner,
        ..pb::Member::default()
    }
}

/// One call, decoded and answered.
async fn unary<Q, A, F>(
    request: Request,
    answer: impl FnOnce(Q) -> F + Send + 'static,
) -> Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = Result<A, MembersError>> + Send + 'static,
{
    let mut answer = Some(answer);
    let service = tower::service_fn(move |request: tonic::Request<Q>| {
        let answered = answer.take().map(|answer| answer(request.into_inner()));
        async move {
            let answered = answered.ok_or_else(|| Status::internal("one call has one request"))?;
            answered.await.map(tonic::Response::new).map_err(status)
        }
    });
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
    grpc.unary(service, request).await.map(Body::new)
}

/// As a member says it: the operator goes by the text.
fn status(error: MembersError) -> Status {
    match error {
        MembersError::Refused { message, .. } | MembersError::NotYet { message, .. } => {
            Status::failed_precondition(message)
        }
        error => Status::unavailable(error.to_string()),
    }
}
