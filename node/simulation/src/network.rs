//! The wires: what a member hands to its network, and which ways are blocked.
//!
//! A member's end behaves as `transport::Peers` does: it knows whom the membership names, keeps those who were removed for a
//! farewell, and says at once whom it cannot speak to.
//!
//! What this module deliberately does not do: lose, delay or double. The world does, by the seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use quorate_node::driver::Network;
use quorate_node::event::Digests;
use quorate_node::status::Membership;
use raft::{Body, Message, PeerId, SnapshotMeta};
use store::Image;

/// How long a removed member can still be spoken to, in milliseconds, as in production.
const FAREWELL_MS: u64 = 5_000;

/// Something on its way from one member to another.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    Message(Message),
    /// The message's body names what the image is of.
    Snapshot(Message, Bytes),
    Digests(Digests),
}

/// Something that a member wants sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: u64,
    pub(crate) load: Load,
}

#[derive(Debug, Default)]
struct Ways {
    known: BTreeSet<u64>,
    /// Until when ways to removed members stay open.
    leaving: BTreeMap<u64, u64>,
    now: u64,
    sent: Vec<Sent>,
}

/// A member's end of the network, of which the world holds the other.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    me: u64,
    ways: Rc<RefCell<Ways>>,
}

impl Port {
    /// The end of a member that knows nobody yet.
    pub(crate) fn new(me: u64) -> Self {
        Self {
            me,
            ways: Rc::default(),
        }
    }

    /// What was handed in since the last time.
    pub(crate) fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.ways.borrow_mut().sent)
    }

    /// What time it is, and that ways to removed members close with it.
    pub(crate) fn set_time(&self, now: u64) {
        let mut ways = self.ways.borrow_mut();
        let Ways { known, leaving, .. } = &mut *ways;
        leaving.retain(|peer, until| {
            let stays = *until > now;
            if !stays {
                known.remove(peer);
            }
            stays
        });
        ways.now = now;
    }
}

impl Network for Port {
    fn send(
        &mut self,
        messages: Vec<Message>,
        image: impl Fn() -> (SnapshotMeta, Image),
    ) -> Vec<PeerId> {
        let mut ways = self.ways.borrow_mut();
        let mut unreachable = Vec::new();
        for message in messages {
            let to = message.to.0;
            if !ways.known.contains(&to) {
                unreachable.push(message.to);
                continue;
            }
            let load = load(message, &image);
            ways.sent.push(Sent { to, load });
        }
        unreachable.dedup();
        unreachable
    }

    fn tell(&mut self, digests: &Digests) {
        let mut ways = self.ways.borrow_mut();
        let load = || Load::Digests(digests.clone());
        let told: Vec<Sent> = ways
            .known
            .iter()
            .map(|to| Sent {
                to: *to,
                load: load(),
            })
            .collect();
        ways.sent.extend(told);
    }

    fn update(&mut self, membership: &Membership) {
        let mut ways = self.ways.borrow_mut();
        let until = ways.now + FAREWELL_MS;
        let Ways { known, leaving, .. } = &mut *ways;
        for gone in known.intersection(&membership.removed) {
            leaving.entry(*gone).or_insert(until);
        }
        known.extend(membership.members.keys().filter(|id| **id != self.me));
    }

    fn meet(&mut self, peer: PeerId, _urls: &[String]) {
        self.ways.borrow_mut().known.insert(peer.0);
    }
}

fn load(mut message: Message, image: &impl Fn() -> (SnapshotMeta, Image)) -> Load {
    let Body::InstallSnapshot { meta } = &mut message.body else {
        return Load::Message(message);
    };
    let (newest, image) = image();
    *meta = newest;
    Load::Snapshot(message, image.encode().into())
}

/// Ways that are blocked, from whom to whom.
#[derive(Debug, Default)]
pub(crate) struct Blocks(BTreeSet<(u64, u64)>);

impl Blocks {
    pub(crate) fn is_blocked(&self, from: u64, to: u64) -> bool {
        self.0.contains(&(from, to))
    }

    pub(crate) fn block(&mut self, from: u64, to: u64) {
        self.0.insert((from, to));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
