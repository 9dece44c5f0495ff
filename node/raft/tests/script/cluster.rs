//! A cluster that does nothing unless told, and writes down all it does.
//!
//! What this module does not do: anything by chance but to draw patience, from fixed seeds.

use super::words;
use raft::{Body, ChangeKind, Config, Configuration, Index, Input};
use raft::{Message, PeerId, Persist, Raft, Ready, Recovered, Role, SnapshotMeta, Term};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) type Outcome<T = ()> = Result<T, String>;

/// One peer and its driver.
struct Peer {
    raft: Option<Raft>,
    disk: Recovered,
    applied: Index,
    slow: bool,
    /// What waits for the disk.
    unfinished: VecDeque<Ready>,
    seen: Option<(Role, Term, Option<PeerId>, Configuration)>,
}

/// The cluster, and the transcript of it.
#[derive(Default)]
pub(super) struct Cluster {
    config: Option<Config>,
    peers: BTreeMap<PeerId, Peer>,
    wire: VecDeque<Message>,
    arrived: BTreeMap<(PeerId, PeerId), Message>,
    cut: BTreeSet<(PeerId, PeerId)>,
    output: Vec<String>,
}

impl Cluster {
    pub(super) fn take_output(&mut self) -> Vec<String> {
        std::mem::take(&mut self.output)
    }

    fn say(&mut self, line: String) {
        self.output.push(line);
    }

    fn peer(&mut self, id: PeerId) -> Outcome<&mut Peer> {
        self.peers
            .get_mut(&id)
            .ok_or_else(|| format!("there is no peer {id}"))
    }

    fn raft(&mut self, id: PeerId) -> Outcome<&mut Raft> {
        self.peer(id)?
            .raft
            .as_mut()
            .ok_or_else(|| format!("peer {id} is down"))
    }

    // Beginnings.

    pub(super) fn found(&mut self, config: Config, voters: u64, learners: u64) -> Outcome {
        self.config = Some(config);
        let kinds = (1..=voters + learners).map(|id| {
            let (id, votes) = (PeerId(id), id <= voters);
            if votes {
                ChangeKind::AddVoter(id)
            } else {
                ChangeKind::AddLearner(id)
            }
        });
        let disk = Recovered::founding(kinds);
        let commit = disk.hard_state.commit;
        (1..=voters + learners).try_for_each(|id| self.add(PeerId(id), disk.clone(), commit))?;
        self.output = vec![format!(
            "peers 1 to {commit} start, each with entries 1 to {commit} of term 1"
        )];
        Ok(())
    }

    fn add(&mut self, id: PeerId, disk: Recovered, applied: Index) -> Outcome {
        let peer = Peer {
            raft: None,
            disk,
            applied,
            slow: false,
            unfinished: VecDeque::new(),
            seen: None,
        };
        self.peers.insert(id, peer);
        self.start(id)
    }

    pub(super) fn join(&mut self, id: PeerId) -> Outcome {
        self.add(id, Recovered::default(), Index(0))
    }

    pub(super) fn start(&mut self, id: PeerId) -> Outcome {
        let config = Config {
            id,
            ..self.config.clone().ok_or("there is no cluster")?
        };
        let peer = self.peer(id)?;
        let rng = SmallRng::seed_from_u64(id.0);
        let raft = Raft::recover(config, peer.disk.clone(), rng).map_err(|e| e.to_string())?;
        peer.applied = peer.disk.snapshot.index;
        peer.raft = Some(raft);
        self.go_on(id)
    }

    pub(super) fn crash(&mut self, id: PeerId) -> Outcome {
        let peer = self.peer(id)?;
        peer.raft = None;
        peer.seen = None;
        peer.slow = false;
        let lost = std::mem::take(&mut peer.unfinished).len();
        if lost > 0 {
            self.say(format!("{id} loses {lost} unfinished writes"));
        }
        Ok(())
    }

    /// Entries after a place, and the news of any commit behind it, are gone when it starts again.
    pub(super) fn damage(&mut self, id: PeerId, after: u64) -> Outcome {
        self.crash(id)?;
        let disk = &mut self.peer(id)?.disk;
        let (promised, end) = (disk.hard_state, end_of(disk));
        disk.entries.retain(|entry| entry.index.0 <= after);
        disk.hard_state.commit = disk.hard_state.commit.min(Index(after));
        *disk = Recovered::damaged(std::mem::take(disk), promised, end);
        let end = words::place(end.1, end.0);
        self.say(format!("{id} has lost the entries {} to {end}", after + 1));
        Ok(())
    }

    // Steps.

    pub(super) fn step(&mut self, id: PeerId, input: Input) -> Outcome {
        if let Err(why) = self.raft(id)?.step(input) {
            self.say(format!("{id} refuses: {why}"));
        }
        self.go_on(id)
    }

    /// What a driver does after a step: all there is to do, unless the disk is slow.
    fn go_on(&mut self, id: PeerId) -> Outcome {
        self.observe(id)?;
        loop {
            let ready = self.raft(id)?.ready();
            self.observe(id)?;
            if ready.is_empty() {
                return Ok(());
            }
            let peer = self.peer(id)?;
            if peer.slow {
                peer.unfinished.push_back(ready);
            } else {
                self.finish(id, ready)?;
            }
        }
    }

    fn observe(&mut self, id: PeerId) -> Outcome {
        let raft = self.raft(id)?;
        let now = (
            raft.role(),
            raft.term(),
            raft.leader(),
            raft.configuration().clone(),
        );
        let before = self.peer(id)?.seen.replace(now.clone());
        let same = |(role, term, leader, _): &(Role, Term, Option<PeerId>, Configuration)| {
            (*role, *term, *leader) == (now.0, now.1, now.2)
        };
        if !before.as_ref().is_some_and(same) {
            self.say(format!("{id} {}", words::role(now.0, now.1, now.2)));
        }
        if before.is_some_and(|(.., configuration)| configuration != now.3) {
            self.say(format!("{id} has {}", words::configuration(&now.3)));
        }
        Ok(())
    }

    /// The disk is done with a `Ready`.
    fn finish(&mut self, id: PeerId, ready: Ready) -> Outcome {
        if let Some(meta) = &ready.install {
            self.say(format!(
                "{id} installs {}",
                words::place(meta.index, meta.term)
            ));
            self.peer(id)?.install(meta.clone());
        }
        if !ready.persist.is_empty() {
            self.write(id, &ready.persist)?;
        }
        for message in ready.messages {
            self.send(message)?;
        }
        if let Some(last) = ready.committed.last() {
            self.say(format!("{id} applies {}", words::entries(&ready.committed)));
            self.peer(id)?.applied = last.index;
        }
        for (read, index) in ready.reads {
            self.say(format!("{id} may serve read {read} at {index}"));
        }
        for read in ready.reads_failed {
            self.say(format!("{id} fails read {read}"));
        }
        if !ready.persist.is_empty() {
            let ticket = ready.persist.ticket;
            self.raft(id)?
                .step(Input::Persisted { ticket })
                .map_err(|e| e.to_string())?;
            self.observe(id)?;
        }
        Ok(())
    }

    fn write(&mut self, id: PeerId, persist: &Persist) -> Outcome {
        let entries = (!persist.entries.is_empty()).then(|| words::entries(&persist.entries));
        let state = persist.hard_state.map(words::hard_state);
        let what = words::list(entries.into_iter().chain(state), "; ");
        let lazily = if persist.must_sync { "" } else { ", lazily" };
        self.say(format!("{id} writes {what}{lazily}"));
        self.peer(id)?.write(persist);
        Ok(())
    }

    pub(super) fn slow(&mut self, id: PeerId) -> Outcome {
        self.peer(id)?.slow = true;
        Ok(())
    }

    pub(super) fn done(&mut self, id: PeerId) -> Outcome {
        let peer = self.peer(id)?;
        peer.slow = false;
        for ready in std::mem::take(&mut peer.unfinished) {
            self.finish(id, ready)?;
        }
        self.go_on(id)
    }

    pub(super) fn checkpoint(&mut self, id: PeerId) -> Outcome {
        let index = self.peer(id)?.applied;
        let meta = self
            .raft(id)?
            .meta_at(index)
            .ok_or("nothing to make a checkpoint of")?;
        self.say(format!(
            "{id} has a checkpoint of {}",
            words::place(meta.index, meta.term)
        ));
        let peer = self.peer(id)?;
        peer.disk.snapshot = meta;
        self.step(id, Input::SnapshotTaken { index })
    }

    /// An election without the details, for transcripts of what comes after.
    pub(super) fn elect(&mut self, id: PeerId) -> Outcome {
        let told = self.output.len();
        self.step(id, Input::Campaign)?;
        self.deliver_all()?;
        self.output.truncate(told);
        let (role, term) = (self.raft(id)?.role(), self.raft(id)?.term());
        let last = self.raft(id)?.last_index();
        if role != Role::Leader {
            return Err(String::from("it was not elected"));
        }
        self.say(format!("{id} leads term {term}, with entry {last}@{term}"));
        Ok(())
    }

    // The network.

    fn send(&mut self, message: Message) -> Outcome {
        let lost = self.cut.contains(&(message.from, message.to));
        let text = words::message(&message);
        self.say(if lost { format!("{text} (lost)") } else { text });
        if lost {
            self.gave_up(&message)
        } else {
            self.queue(message)
        }
    }

    fn queue(&mut self, message: Message) -> Outcome {
        self.wire.push_back(message);
        Ok(())
    }

    /// A snapshot that is lost is known to be: it travels over a connection.
    fn gave_up(&mut self, message: &Message) -> Outcome {
        if let Body::InstallSnapshot { .. } = message.body {
            let input = Input::SnapshotSent {
                to: message.to,
                ok: false,
            };
            return self
                .raft(message.from)?
                .step(input)
                .map_err(|e| e.to_string());
        }
        Ok(())
    }

    pub(super) fn deliver_all(&mut self) -> Outcome {
        for _ in 0..1_000 {
            let Some(message) = self.wire.pop_front() else {
                return Ok(());
            };
            self.arrive(message)?;
        }
        Err(String::from("they never stop talking"))
    }

    pub(super) fn deliver(&mut self, from: PeerId, to: PeerId) -> Outcome {
        let under_way = std::mem::take(&mut self.wire);
        let (these, others): (Vec<_>, Vec<_>) = under_way
            .into_iter()
            .partition(|message| (message.from, message.to) == (from, to));
        self.wire = others.into();
        these
            .into_iter()
            .try_for_each(|message| self.arrive(message))
    }

    fn arrive(&mut self, message: Message) -> Outcome {
        let (from, to) = (message.from, message.to);
        self.arrived.insert((from, to), message.clone());
        let is_snapshot = matches!(message.body, Body::InstallSnapshot { .. });
        let reachable = self.peer(to).is_ok_and(|peer| peer.raft.is_some());
        if reachable {
            self.step(to, Input::Receive(message))?;
        }
        if is_snapshot {
            self.step(from, Input::SnapshotSent { to, ok: reachable })?;
        }
        Ok(())
    }

    pub(super) fn repeat(&mut self, from: PeerId, to: PeerId) -> Outcome {
        let last = self.arrived.get(&(from, to)).cloned();
        let message = last.ok_or("nothing has arrived on this way")?;
        self.say(format!("{} (again)", words::message(&message)));
        self.step(to, Input::Receive(message))
    }

    pub(super) fn lose(&mut self, which: impl Fn(&Message) -> bool) -> Outcome {
        let under_way = std::mem::take(&mut self.wire);
        let (lost, kept): (Vec<_>, Vec<_>) = under_way.into_iter().partition(which);
        self.wire = kept.into();
        lost.iter().try_for_each(|message| self.gave_up(message))
    }

    pub(super) fn cut(&mut self, one: PeerId, other: PeerId) -> Outcome {
        self.cut.extend([(one, other), (other, one)]);
        Ok(())
    }

    pub(super) fn cut_off(&mut self, id: PeerId) -> Outcome {
        let others: Vec<PeerId> = self
            .peers
            .keys()
            .copied()
            .filter(|&peer| peer != id)
            .collect();
        others.into_iter().try_for_each(|other| self.cut(id, other))
    }

    pub(super) fn heal(&mut self) -> Outcome {
        self.cut.clear();
        Ok(())
    }

    // Looking.

    pub(super) fn status(&mut self, id: PeerId) -> Outcome {
        let lines = words::status(&self.raft(id)?.status());
        self.output.extend(lines);
        Ok(())
    }

    pub(super) fn all_status(&mut self) -> Outcome {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            if self.peer(id)?.raft.is_some() {
                self.status(id)?;
            }
        }
        Ok(())
    }
}

fn end_of(disk: &Recovered) -> (Term, Index) {
    let snapshot = (disk.snapshot.term, disk.snapshot.index);
    let last = disk.entries.last();
    last.map_or(snapshot, |entry| (entry.term, entry.index))
}

impl Peer {
    fn install(&mut self, meta: SnapshotMeta) {
        self.applied = meta.index;
        self.disk.snapshot = meta;
        self.disk.entries.clear();
    }

    fn write(&mut self, persist: &Persist) {
        if let Some(first) = persist.entries.first() {
            self.disk.entries.retain(|entry| entry.index < first.index);
            self.disk.entries.extend(persist.entries.iter().cloned());
        }
        if let Some(state) = persist.hard_state {
            self.disk.hard_state = state;
        }
        let end = end_of(&self.disk);
        self.disk.lost = self.disk.lost.filter(|lost| end < *lost);
    }
}
