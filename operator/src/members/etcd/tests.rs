use std::net::SocketAddr;

use proto::etcdserverpb::cluster_server::{Cluster, ClusterServer};
use proto::etcdserverpb::{
    MemberAddResponse, MemberPromoteResponse, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse, ResponseHeader,
};
use tokio::net::TcpListener;
use tonic::Request;
use tonic::service::Routes;
use tonic::transport::Server;

use super::*;

/// A member that answers one way to everything.
#[derive(Clone, Copy)]
enum Mood {
    Well,
    Refusing,
    Unsettled,
    Silent,
}

impl Mood {
    async fn answer<T: Default>(self, with: T) -> Result<Response<T>, Status> {
        match self {
            Self::Well => Ok(Response::new(with)),
            Self::Refusing => Err(Status::failed_precondition("etcdserver: no")),
            Self::Unsettled => Err(Status::unavailable("etcdserver: unhealthy cluster")),
            Self::Silent => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Cluster for Mood {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let asked = request.into_inner();
        assert!(asked.is_learner, "a member is never added as a voter");
        let member = Member {
            id: 7,
            peer_urls: asked.peer_urls,
            is_learner: true,
            ..Member::default()
        };
        self.answer(MemberAddResponse {
            member: Some(member),
            ..MemberAddResponse::default()
        })
        .await
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.answer(MemberRemoveResponse::default()).await
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.answer(MemberUpdateResponse::default()).await
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        assert!(
            request.into_inner().linearizable,
            "what a majority does not confirm proves nothing"
        );
        let header = Some(ResponseHeader {
            cluster_id: 42,
            ..ResponseHeader::default()
        });
        let members = vec![Member {
            id: 7,
            name: "kv-a".into(),
            ..Member::default()
        }];
        self.answer(MemberListResponse { header, members }).await
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.answer(MemberPromoteResponse::default()).await
    }
}

/// Serves on a free port until the test ends.
async fn member(mood: Mood) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let routes = Routes::new(ClusterServer::new(mood));
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    at(address)
}

fn at(address: SocketAddr) -> Endpoint {
    Endpoint {
        member: "kv-a".into(),
        url: format!("http://{address}"),
        tls: None,
    }
}

#[tokio::test]
async fn a_member_that_is_well_is_read_and_changed() {
    let (members, at) = (EtcdMembers::default(), member(Mood::Well).await);
    let membership = members.membership(&at).await.expect("it is well");
    assert_eq!((membership.cluster_id, membership.members[0].id), (42, 7));
    assert_eq!(members.add_learner(&at, "http://b:2380").await, Ok(7));
    assert_eq!(members.promote(&at, 7).await, Ok(()));
    assert_eq!(members.remove(&at, 7).await, Ok(()));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_members_words() {
    let (members, at) = (EtcdMembers::default(), member(Mood::Refusing).await);
    let error = members.promote(&at, 7).await.expect_err("it refuses");
    assert_eq!(
        error.to_string(),
        "kv-a refused MemberPromote: etcdserver: no"
    );
}

#[tokio::test]
async fn a_member_that_asks_for_patience_has_not_failed() {
    let (members, at) = (EtcdMembers::default(), member(Mood::Unsettled).await);
    let error = members.promote(&at, 7).await.expect_err("not yet");
    assert!(matches!(error, MembersError::NotYet { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "kv-a answered MemberPromote: etcdserver: unhealthy cluster; it is asked again"
    );
}

#[tokio::test]
async fn a_service_that_is_not_served_is_a_refusal_and_not_a_dead_member() {
    let (members, at) = (EtcdMembers::default(), member(Mood::Well).await);
    let error = members
        .move_leader(&at, 7)
        .await
        .expect_err("there is no such service");
    assert!(
        matches!(
            error,
            MembersError::Refused {
                call: "MoveLeader",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn the_dead_and_the_silent_cost_a_probe_about_a_second() {
    let members = EtcdMembers::default();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        at(listener.local_addr().expect("bound"))
    };
    let begun = Instant::now();
    let error = members.probe(&nobody).await.expect_err("nobody listens");
    assert!(matches!(error, MembersError::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));

    // A listener that nobody accepts from: a connection is made and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let begun = Instant::now();
    let error = members
        .probe(&at(mute.local_addr().expect("bound")))
        .await
        .expect_err("it is mute");
    assert!(
        matches!(
            error,
            MembersError::TimedOut { .. } | MembersError::Unreachable { .. }
        ),
        "{error}"
    );
    assert!(
        begun.elapsed() < Duration::from_millis(1_800),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_member_that_comes_back_is_reached_again() {
    let members = EtcdMembers::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    assert!(members.membership(&at(address)).await.is_err());
    let listener = TcpListener::bind(address).await.expect("free again");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let routes = Routes::new(ClusterServer::new(Mood::Well));
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    assert!(members.membership(&at(address)).await.is_ok());
}

#[tokio::test]
async fn silence_is_told_with_the_call_and_the_time() {
    let (members, at) = (EtcdMembers::default(), member(Mood::Silent).await);
    let error = members.membership(&at).await.expect_err("it is silent");
    assert_eq!(
        error.to_string(),
        "kv-a did not answer MemberList within 2s"
    );
}

#[test]
fn alarms_are_read_from_the_text_of_either_engine() {
    let errors = [
        "memberID:5 alarm:NOSPACE ",
        "memberID:7  alarm:CORRUPT",
        "alarm:CORRUPT",
        "memberID:x alarm:CORRUPT",
        "etcdserver: no leader",
    ];
    let errors = errors.map(ToOwned::to_owned);
    assert_eq!(alarmed(&errors, Alarm::NoSpace), [5]);
    assert_eq!(alarmed(&errors, Alarm::Corrupt), [7, 0]);
}

#[tokio::test]
async fn however_many_members_are_asked_the_newest_channels_are_kept() {
    let members = EtcdMembers::default();
    let all: Vec<Endpoint> = (1..=2 * KEPT as u16)
        .map(|port| at(SocketAddr::from(([127, 0, 0, 1], port))))
        .collect();
    for at in &all {
        members.channel(at).expect("a URL");
    }
    let kept = members.channels.lock().expect("nobody panics with it");
    assert_eq!(kept.len(), KEPT);
    assert!(all[KEPT..].iter().all(|at| kept.contains_key(at)));
}
