//! What a member asks of the world: a disk that says when it has something, and a network that may lose everything.
//!
//! What this module deliberately does not do: promise. What must hold of a disk stands in [`crate::storage`].

use std::io::Write;

use bytes::Bytes;
use raft::{Message, PeerId, Persist, SnapshotMeta};
use store::Image;

use crate::event::Digests;
use crate::status::Membership;
use crate::storage::{Completion, Storage};
use crate::transport::Peers;

/// Where a member's log and checkpoints lie. What each call promises stands at the method of [`Storage`] that it is made of.
pub trait Disk {
    /// Tells when it is done.
    type Completion;
    /// Makes this durable after everything that was written before.
    fn write(&self, persist: Persist) -> Self::Completion;
    /// Takes a received snapshot in the place of log and state.
    fn install(&self, meta: SnapshotMeta, image: Bytes) -> Self::Completion;
    /// Writes a checkpoint in the background.
    fn checkpoint(&self, meta: SnapshotMeta, image: Image) -> Self::Completion;
    /// As [`Disk::checkpoint`], in the place of everything written before.
    fn renew(&self, meta: SnapshotMeta, image: Image) -> Self::Completion;
    /// The size of the newest checkpoint, 0 before the first.
    fn checkpoint_bytes(&self) -> u64;
    /// How often damage was found at rest.
    fn damage_found(&self) -> u64;
}

/// The ways to the other members.
pub trait Network {
    /// Sends what can be sent now; `image` is asked for when a snapshot is. Answers whom it could not send to.
    fn send(
        &mut self,
        messages: Vec<Message>,
        image: impl Fn() -> (SnapshotMeta, Image),
    ) -> Vec<PeerId>;
    /// Tells every other member how this one's store has been.
    fn tell(&mut self, digests: &Digests);
    /// Another membership holds from now on.
    fn update(&mut self, membership: &Membership);
    /// A member said hello that the membership need not name yet, and where it is reached.
    fn meet(&mut self, peer: PeerId, urls: &[String]);
}

impl Disk for Storage {
    type Completion = Completion;

    fn write(&self, persist: Persist) -> Completion {
        self.submit(persist)
    }

    fn install(&self, meta: SnapshotMeta, image: Bytes) -> Completion {
        Self::install(self, meta, image)
    }

    fn checkpoint(&self, meta: SnapshotMeta, image: Image) -> Completion {
        Self::checkpoint(self, meta, move |out| write_frames(&image, out))
    }

    fn renew(&self, meta: SnapshotMeta, image: Image) -> Completion {
        Self::renew(self, meta, move |out| write_frames(&image, out))
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.vitals().checkpoint_bytes()
    }

    fn damage_found(&self) -> u64 {
        self.vitals().damage_found()
    }
}

fn write_frames(image: &Image, out: &mut dyn Write) -> std::io::Result<()> {
    image.frames().try_for_each(|frame| out.write_all(&frame))
}

impl Network for Peers {
    fn send(
        &mut self,
        messages: Vec<Message>,
        image: impl Fn() -> (SnapshotMeta, Image),
    ) -> Vec<PeerId> {
        Self::send(self, messages, image)
    }

    fn tell(&mut self, digests: &Digests) {
        Self::tell(self, digests);
    }

    fn update(&mut self, membership: &Membership) {
        Self::update(self, membership);
    }

    fn meet(&mut self, peer: PeerId, urls: &[String]) {
        Self::meet(self, peer, urls);
    }
}
