//! What members say to each other, and how it gets there.
//!
//! One long gRPC stream per direction and pair carries the consensus messages; a snapshot has a stream of its own, so that
//! gigabytes never stand before a heartbeat. A queue that is full, or a peer that is away, drops what it is given and says
//! so: Raft asks again, and the loop never waits for a peer.
//!
//! Every stream begins by saying which member of which cluster speaks to whom, and is refused if that is a mistake.
//!
//! What this module deliberately does not do: TLS, and learning peers by itself; the membership is given to it.

mod dial;
mod lease;
mod link;
mod service;
mod snapshot;
mod traffic;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::peer::Hello;
use raft::{Body, Message, PeerId, SnapshotMeta};
use store::Image;
use tokio::time::Instant;

pub use dial::{Dialer, Unanswered};
pub use lease::LeaderLine;
pub use service::routes;
pub use traffic::{Counts, Traffic};

use crate::event::Digests;
use crate::handle::Handle;
use crate::status::Membership;
use crate::storage::Identity;
use crate::version::{ETCD_VERSION, QUORATE_VERSION};
use link::Link;

/// What a member that was removed is told by whoever it still speaks to; etcd's text.
pub const REMOVED: &str = "the member has been permanently removed from the cluster";

/// How long a removed member can still be spoken to. A leader's farewell takes a few round trips.
const FAREWELL: Duration = Duration::from_secs(5);

/// What every stream needs to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who we are.
    pub identity: Identity,
    /// Where we are reached.
    pub peer_urls: Vec<String>,
    /// How to reach others.
    pub dialer: Dialer,
    /// Whom to bring what arrives.
    pub handle: Handle,
    /// Told when another member says that this one was removed.
    pub removed: tokio_util::sync::CancellationToken,
    /// Counts what goes to and comes from whom.
    pub traffic: Arc<Traffic>,
}

impl Context {
    /// What every stream to a peer begins with.
    fn hello(&self, to: PeerId) -> Hello {
        Hello {
            cluster_id: self.identity.cluster_id,
            from: self.identity.member_id,
            to: to.0,
            version: QUORATE_VERSION.to_owned(),
            etcd_version: ETCD_VERSION.to_owned(),
            peer_urls: self.peer_urls.clone(),
        }
    }
}

/// The ways to all other members.
#[derive(Debug)]
pub struct Peers {
    context: Arc<Context>,
    links: BTreeMap<PeerId, Link>,
    /// Until when ways to removed members stay open.
    leaving: BTreeMap<PeerId, Instant>,
}

impl Peers {
    /// No way to anybody yet.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            context: Arc::new(context),
            links: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// Opens ways to members that are new or have moved, and closes, a little later, those to members that were removed: a
    /// leader that is removed stays until the others have acknowledged its last entry, and must hear that they have.
    ///
    /// Who is merely not mentioned stays: a member that joins reads the history of the membership from its beginning, and
    /// must be able to answer a leader who comes late in it.
    pub fn update(&mut self, membership: &Membership) {
        let removed = |peer: &&PeerId| membership.removed.contains(&peer.0);
        for peer in self.links.keys().filter(removed) {
            self.leaving
                .entry(*peer)
                .or_insert_with(|| Instant::now() + FAREWELL);
        }
        let me = self.context.identity.member_id;
        for member in membership.members.values().filter(|member| member.id != me) {
            let peer = PeerId(member.id);
            if self
                .links
                .get(&peer)
                .is_none_or(|link| link.urls() != member.peer_urls)
            {
                let link = Link::open(Arc::clone(&self.context), peer, member.peer_urls.clone());
                self.links.insert(peer, link);
            }
        }
    }

    /// Opens a way to a member that said hello and that nobody has spoken of: it joined after what this member knows of the log,
    /// and if it leads, what is missing comes from it and must be acknowledged to it. A way that is there and leads nowhere is tried
    /// again at once: who speaks can be spoken to.
    pub fn meet(&mut self, peer: PeerId, urls: &[String]) {
        match self.links.get(&peer) {
            Some(link) => link.hurry(),
            None if urls.is_empty() => {}
            None => {
                let link = Link::open(Arc::clone(&self.context), peer, urls.to_vec());
                self.links.insert(peer, link);
            }
        }
    }

    /// Sends what can be sent now; `image` is asked for when a snapshot is. Answers whom it could not send to.
    pub fn send(
        &mut self,
        messages: Vec<Message>,
        image: impl Fn() -> (SnapshotMeta, Image),
    ) -> Vec<PeerId> {
        self.close_left();
        let mut unreachable = Vec::new();
        for message in messages {
            let peer = message.to;
            let sent = self
                .links
                .get(&peer)
                .is_some_and(|link| match message.body {
                    Body::InstallSnapshot { .. } => {
                        let (meta, image) = image();
                        link.send_snapshot(message.term, meta, image);
                        true
                    }
                    _ => link.send(message),
                });
            if !sent && !unreachable.contains(&peer) {
                unreachable.push(peer);
            }
        }
        unreachable
    }

    /// Tells every other member how this one's store has been. What cannot be sent now is told again with the next.
    pub fn tell(&self, digests: &Digests) {
        for link in self.links.values() {
            link.tell(digests.clone());
        }
    }

    fn close_left(&mut self) {
        let now = Instant::now();
        let links = &mut self.links;
        self.leaving.retain(|peer, until| {
            let stays = *until > now;
            if !stays {
                links.remove(peer);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::event::Event;
    use crate::handle::Waiter;
    use crate::status::Status;

    impl Context {
        /// Of a member of which nothing is known yet, whose loop gets these events.
        pub(super) fn of(identity: Identity, events: mpsc::Sender<Event<Waiter>>) -> Self {
            let (_, published) = watch::channel(Status::new(identity));
            Self {
                identity,
                peer_urls: Vec::new(),
                dialer: Dialer::default(),
                handle: Handle::new(events, published),
                removed: tokio_util::sync::CancellationToken::new(),
                traffic: Arc::default(),
            }
        }
    }
}
