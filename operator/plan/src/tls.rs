//! What `spec.tls` asks for, also where it names nothing.
//!
//! - A surface that is not named has TLS, by certificates that the operator makes. A cluster that is older than this default stays
//!   plain: which of the two a cluster is stands in its status, from the first status on.
//! - Nothing of a member is made before there is a status. So a cluster without one, of which anything is there, has lost it, and
//!   with it what an unnamed surface means. Members that serve without TLS would cut their clients off if they took it for TLS,
//!   and the other way round: nothing is changed until the spec says it.
//!
//! This file deliberately does not know how members get there: see `certificates.rs` and `peers.rs`.

use crds::TlsDefault::{self, Operator, Unknown};
use crds::{ClientTls, PeerTls, RaftCluster, Tls, TlsMode};

use crate::{report::Invalid, view::View};

/// What the user wants of both surfaces. While nobody knows what an unnamed one means, it is read as TLS, and nothing is made of it.
pub(crate) fn asked(cluster: &RaftCluster) -> Tls {
    let Tls { peer, client } = cluster.spec.tls.clone().unwrap_or_default();
    let mode = match &cluster.status {
        Some(status) if !matches!(status.tls_default, Some(Operator | Unknown)) => {
            TlsMode::Disabled
        }
        _ => TlsMode::Operator,
    };
    let unnamed_peer = PeerTls {
        mode,
        ..PeerTls::default()
    };
    let unnamed_client = ClientTls {
        mode,
        ..ClientTls::default()
    };
    Tls {
        peer: peer.or(Some(unnamed_peer)),
        client: client.or(Some(unnamed_client)),
    }
}

/// What the status is to remember of an unnamed surface.
pub(crate) fn remember(cluster: &RaftCluster, view: &View<'_>) -> Option<TlsDefault> {
    match &cluster.status {
        Some(status) => status.tls_default,
        None if view.members.is_empty() => Some(Operator),
        None => Some(Unknown),
    }
}

/// A spec that leaves open what nobody remembers.
pub(crate) fn untold(cluster: &RaftCluster, view: &View<'_>) -> Option<Invalid> {
    let named = cluster.spec.tls.as_ref();
    let open = !named.is_some_and(|it| it.peer.is_some() && it.client.is_some());
    let untold = open && remember(cluster, view) == Some(Unknown);
    untold.then(|| Invalid {
        field: "spec.tls".to_owned(),
        message: "the status was lost, and with it whether members speak TLS; name spec.tls.peer and spec.tls.client with the \
                  modes that the members have now, Operator or Disabled"
            .to_owned(),
    })
}
