//! What clients and administrators ask for.
//!
//! What this module does not do: insist. What is refused or lost is not tried again; others come.

use super::checker::Checked;
use super::world::{Event, World, one};
use bytes::Bytes;
use raft::{Change, ChangeKind, Input, JointChange, Payload, PeerId, ReadId, Recovered, Role};
use rand::Rng;

/// No more peers than this, dead or alive.
const MOST_PEERS: u64 = 9;

impl World {
    pub(super) fn client_acts(&mut self) -> Checked {
        let leader = self.some_leader().filter(|_| self.calm);
        let id = leader.unwrap_or_else(|| self.some_process());
        if self.chance(self.profile.changes) {
            return self.change_membership();
        }
        if self.chance(self.profile.transfers) {
            return self.hand_over();
        }
        match self.rng.random_range(0..20) {
            0 => drop(self.step(id, Input::PeerUnreachable(PeerId(1)))?),
            1 if !self.calm => drop(self.step(id, Input::Campaign)?),
            2..=9 => self.begin_read(id),
            _ => self.propose(id)?,
        }
        Ok(())
    }

    pub(super) fn some_process(&mut self) -> PeerId {
        let which = self.rng.random_range(0..self.processes.len());
        *self
            .processes
            .keys()
            .nth(which)
            .expect("the number is below the count")
    }

    pub(super) fn some_leader(&self) -> Option<PeerId> {
        let leads = |process: &&super::peer::Process| {
            process
                .alive
                .as_ref()
                .is_some_and(|alive| alive.raft.role() == Role::Leader)
        };
        self.processes
            .values()
            .find(leads)
            .map(|process| process.id)
    }

    fn propose(&mut self, id: PeerId) -> Checked {
        if !self.is_awake(id) {
            return Ok(());
        }
        let count = self.rng.random_range(1..=4);
        let payloads = (0..count).map(|_| {
            self.next_command += 1;
            let mut bytes = self.next_command.to_be_bytes().to_vec();
            bytes.resize(8 + self.rng.random_range(0..60), 0);
            Payload::Command(Bytes::from(bytes))
        });
        let payloads = payloads.collect();
        let result = self.step(id, Input::Propose(payloads))?;
        self.tell(|| format!("propose at {id}: {result:?}"));
        Ok(())
    }

    /// A client asks; a process that sleeps hears of it when it wakes.
    fn begin_read(&mut self, id: PeerId) {
        self.next_read += 1;
        let read = ReadId(self.next_read);
        let floor = self.checker.commit();
        let process = one(&mut self.processes, id);
        if let Some(alive) = &mut process.alive {
            alive.reads.insert(read, floor);
            let wait = self.until_awake(id);
            self.plan(wait, Event::Read(id, read));
        }
    }

    fn change_membership(&mut self) -> Checked {
        if self.rng.random_bool(0.3) {
            return self.change_jointly();
        }
        let Some(leader) = self.some_leader().filter(|&id| self.is_awake(id)) else {
            return Ok(());
        };
        let newcomer = PeerId(self.processes.len() as u64 + 1);
        let known = self.some_process();
        let kind = match self.rng.random_range(0..6) {
            0 | 1 if newcomer.0 <= MOST_PEERS => ChangeKind::AddLearner(newcomer),
            2 if newcomer.0 <= MOST_PEERS => ChangeKind::AddVoter(newcomer),
            3 => ChangeKind::Remove(known),
            4 => ChangeKind::AddLearner(known),
            _ => ChangeKind::AddVoter(known),
        };
        // The id of a removed peer never comes back.
        let leading = self.processes[&leader].alive.as_ref();
        let takes_part = leading.is_some_and(|it| it.raft.configuration().contains(kind.peer()));
        if kind.peer() != newcomer && !takes_part {
            return Ok(());
        }
        let change = Payload::Change(Change {
            kind,
            context: Bytes::new(),
        });
        let accepted = self.step(leader, Input::Propose(vec![change]))?.is_ok();
        self.summary.changes += u64::from(accepted);
        self.tell(|| format!("{kind:?} at {leader}: {accepted}"));
        if accepted && kind.peer() == newcomer {
            self.add_process(newcomer, &Recovered::default());
            self.start(newcomer)?;
        }
        Ok(())
    }

    /// Several peers come, go or change their part at once.
    fn change_jointly(&mut self) -> Checked {
        let Some(leader) = self.some_leader().filter(|&id| self.is_awake(id)) else {
            return Ok(());
        };
        let known: Vec<PeerId> = self.processes[&leader]
            .alive
            .as_ref()
            .map_or_else(Vec::new, |it| it.raft.configuration().peers().collect());
        let mut steps: Vec<ChangeKind> = Vec::new();
        for peer in known {
            match self.rng.random_range(0..8) {
                0 => steps.push(ChangeKind::Remove(peer)),
                1 => steps.push(ChangeKind::AddLearner(peer)),
                2 | 3 => steps.push(ChangeKind::AddVoter(peer)),
                _ => {}
            }
        }
        let next = self.processes.len() as u64 + 1;
        let newcomers: Vec<PeerId> = (next..next + self.rng.random_range(0..3))
            .filter(|id| *id <= MOST_PEERS)
            .map(PeerId)
            .collect();
        steps.extend(newcomers.iter().map(|&peer| ChangeKind::AddVoter(peer)));
        let change = Payload::EnterJoint(JointChange {
            steps: steps.clone(),
            context: Bytes::new(),
        });
        let accepted = self.step(leader, Input::Propose(vec![change]))?.is_ok();
        self.summary.changes += u64::from(accepted);
        self.tell(|| format!("{steps:?} jointly at {leader}: {accepted}"));
        for newcomer in newcomers.into_iter().filter(|_| accepted) {
            self.add_process(newcomer, &Recovered::default());
            self.start(newcomer)?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Checked {
        let to = self.some_process();
        let Some(leader) = self.some_leader().filter(|&id| self.is_awake(id)) else {
            return Ok(());
        };
        let begun = self.step(leader, Input::TransferLeader(to))?.is_ok();
        self.summary.transfers += u64::from(begun && to != leader);
        Ok(())
    }
}
