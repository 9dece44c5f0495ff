//! What is on its way between members, and what becomes of it.
//!
//! What this module deliberately does not do: know what is said.

use quorate_node::event::Event as Happening;
use quorate_node::version;
use raft::{Body, Message, PeerId};
use rand::Rng;
use store::Store;

use super::checker::{self, Checked};
use super::member::Alive;
use super::{Event, World};
use crate::network::{Load, Sent};
use crate::run::Violation;

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    from: u64,
    to: u64,
    load: Load,
    /// Which start of the receiver it was sent to.
    life: u64,
    is_lost: bool,
}

impl World {
    pub(super) fn send(&mut self, from: u64, Sent { to, load }: Sent) {
        if matches!(load, Load::Snapshot(..)) {
            self.summary.note("snapshots sent");
        }
        let is_lost = self.blocks.is_blocked(from, to) || self.chance(self.profile.loss);
        self.summary.add("messages lost", u64::from(is_lost));
        let parcel = Parcel {
            from,
            to,
            load,
            life: self.members.get(&to).map_or(0, |member| member.life),
            is_lost,
        };
        if self.chance(self.profile.doubling) {
            self.summary.note("messages doubled");
            self.post(parcel.clone());
        }
        self.post(parcel);
    }

    fn post(&mut self, parcel: Parcel) {
        let long = self.chance(self.profile.long_delay);
        let longest = self.profile.delay_ms * if long { 10 } else { 1 };
        let delay = self.rng.random_range(1..=longest);
        self.plan(delay, Event::Deliver(Box::new(parcel)));
    }

    pub(super) fn deliver(&mut self, parcel: Parcel) -> Checked {
        let (from, to) = (parcel.from, parcel.to);
        let Some(member) = self.members.get(&to) else {
            return Ok(());
        };
        if member.paused_until > self.now {
            let wait = self.until_awake(to);
            self.plan(wait, Event::Deliver(Box::new(parcel)));
            return Ok(());
        }
        let is_late = member.life != parcel.life && ends_with_process(&parcel.load);
        let arrives = !parcel.is_lost && !is_late && member.alive.is_some();
        let is_removed = |alive: &Alive| alive.driver.membership().removed.contains(&from);
        let refuses = member.alive.as_ref().is_some_and(is_removed);
        if matches!(parcel.load, Load::Snapshot(..)) {
            // The sender's belief may be wrong.
            let ok = if self.chance(0.1) {
                !arrives
            } else {
                arrives && !refuses
            };
            self.plan(1, Event::SnapshotSent(from, to, ok));
        } else if !arrives && self.chance(0.2) {
            self.plan(1, Event::Unreachable(from, to));
        }
        if arrives && refuses {
            if !self.blocks.is_blocked(to, from) {
                self.plan(1, Event::ToldRemoved(from));
            }
            return Ok(());
        }
        if arrives {
            self.take_in(parcel)
        } else {
            Ok(())
        }
    }

    fn take_in(&mut self, Parcel { from, to, load, .. }: Parcel) -> Checked {
        let life = self.members[&from].life;
        let Some(alive) = self.alive(to) else {
            return Ok(());
        };
        if alive.introduced.insert(from, life) != Some(life) {
            alive.driver.on(Happening::Introduced {
                peer: PeerId(from),
                version: Some(version::served()),
                peer_urls: Vec::new(),
            });
        }
        match load {
            Load::Message(message) => alive.driver.on(Happening::Receive(message)),
            Load::Digests(digests) => alive.driver.on(Happening::Digests(PeerId(from), digests)),
            Load::Snapshot(message, image) => {
                let store = Store::decode(&image).map_err(|error| Violation {
                    property: checker::STATE_MACHINE_SAFETY,
                    what: format!("{to} cannot read the image of {from}: {error}"),
                })?;
                alive.driver.on(Happening::ReceiveSnapshot {
                    message,
                    image,
                    store: Box::new(store),
                });
            }
        }
        self.check_sound(to)?;
        self.go_on(to)
    }

    fn check_sound(&mut self, id: u64) -> Checked {
        let unsound = self
            .alive(id)
            .map_or(0, |alive| alive.driver.replica().unsound());
        checker::ensure(unsound == 0, checker::SOUND, || {
            format!("member {id} heard what no sound member says")
        })
    }
}

/// Whether it is lost with the process that it was sent to. The core's own messages would bear even a network that brings them to a later
/// one; a proposal is known by the process alone that got it, and no connection brings it to another.
const fn ends_with_process(load: &Load) -> bool {
    let Load::Message(message) = load else {
        return false;
    };
    matches!(message.body, Body::Propose { .. })
}

/// An event in one line.
pub(super) fn told(event: &Event) -> String {
    match event {
        Event::Deliver(parcel) => {
            let lost = if parcel.is_lost { " (lost)" } else { "" };
            let (from, to) = (parcel.from, parcel.to);
            match &parcel.load {
                Load::Message(Message { term, body, .. }) => {
                    format!("{from} -> {to}{lost}: term {} {}", term.0, told_body(body))
                }
                Load::Snapshot(..) => format!("{from} -> {to}{lost}: a snapshot"),
                Load::Digests(_) => format!("{from} -> {to}{lost}: digests"),
            }
        }
        other => format!("{other:?}"),
    }
}

fn told_body(body: &Body) -> String {
    match body {
        Body::Append {
            prev_index,
            entries,
            commit,
            ..
        } => format!(
            "Append {} after {prev_index}, commit {commit}",
            entries.len()
        ),
        other => format!("{other:?}"),
    }
}
