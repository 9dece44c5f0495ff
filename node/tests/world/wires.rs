//! What is on its way between the replicas of a world, and what of it arrives.

use super::*;

impl World {
    pub(super) fn post_all(&mut self, from: u64, messages: Vec<Message>) {
        messages
            .into_iter()
            .for_each(|message| self.post(from, message));
    }

    /// What is on its way, for a test to look at.
    pub fn on_its_way(&self) -> impl Iterator<Item = &Message> {
        self.network.iter().map(|(message, _)| message)
    }

    pub(super) fn post(&mut self, from: u64, mut message: Message) {
        let mut image = None;
        if let Body::InstallSnapshot { meta } = &mut message.body {
            let replica = self.nodes[&from].replica.as_ref().unwrap();
            *meta = replica.applied().clone();
            image = Some(Bytes::from(replica.store().snapshot().encode()));
            self.snapshots += 1;
        }
        self.network.push((message, image));
    }

    pub(super) fn deliver(&mut self, (message, image): (Message, Option<Bytes>)) {
        let (from, to) = (message.from.0, message.to.0);
        let is_snapshot = image.is_some();
        let node = self.nodes.get_mut(&to);
        let up = node.is_some_and(|node| node.replica.is_some());
        let arrives = up && !self.cut.contains(&from) && !self.cut.contains(&to);
        if arrives {
            self.replica(to).on(match image {
                Some(image) => {
                    let store = Box::new(Store::decode(&image).unwrap());
                    Event::ReceiveSnapshot {
                        message,
                        image,
                        store,
                    }
                }
                None => Event::Receive(message),
            });
        }
        if let Some(sender) = self
            .nodes
            .get_mut(&from)
            .and_then(|node| node.replica.as_mut())
        {
            if is_snapshot {
                sender.on(Event::SnapshotSent {
                    to: PeerId(to),
                    ok: arrives,
                });
            } else if !arrives {
                sender.on(Event::Unreachable(PeerId(to)));
            }
        }
    }

    /// Everything that is on its way to one member arrives.
    pub fn deliver_to(&mut self, id: u64) {
        let network = std::mem::take(&mut self.network);
        let (arriving, rest) = network
            .into_iter()
            .partition(|(message, _)| message.to.0 == id);
        self.network = rest;
        let arriving: Vec<_> = arriving;
        arriving.into_iter().for_each(|posted| self.deliver(posted));
    }

    /// What goes ahead of busy disks.
    pub(super) fn give_orders(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            let replica = self.nodes.get_mut(&id).unwrap().replica.as_mut();
            let orders = replica.map(Replica::take_orders).unwrap_or_default();
            self.post_all(id, orders);
        }
    }

    /// Everybody tells everybody how his store has been, as far as they hear each other.
    pub(super) fn tell_digests(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for from in ids.iter().copied() {
            let replica = &mut self.nodes.get_mut(&from).unwrap().replica;
            let Some(digests) = replica.as_mut().and_then(Replica::digests) else {
                continue;
            };
            for to in ids.iter().filter(|to| **to != from) {
                let is_cut = self.cut.contains(&from) || self.cut.contains(to);
                let node = self.nodes.get_mut(to).unwrap();
                if let Some(replica) = node.replica.as_mut().filter(|_| !is_cut) {
                    replica.on(Event::Digests(PeerId(from), digests.clone()));
                }
            }
        }
    }

    pub fn cut_off(&mut self, id: u64) {
        self.cut.insert(id);
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.stalled.clear();
    }

    pub fn lose_messages(&mut self) {
        self.network.clear();
    }

    pub fn snapshots_sent(&self) -> usize {
        self.snapshots
    }
}
