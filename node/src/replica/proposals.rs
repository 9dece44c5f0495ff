//! Commands on their way into the log, and who waits for them.
//!
//! 1. A command is either gathered (not in anybody's log yet) or sent (given to the core, numbered), never both.
//! 2. Numbers are given in the order of sending, without gaps, and every number is answered exactly once.
//! 3. Nobody waits longer than his deadline, in ticks of the replica's clock.
//!
//! What this module deliberately does not do: propose. The replica does, and says when.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::Term;

use super::batch::Batch;

/// The most bytes of commands in one entry, unless a single command is larger. Small enough that followers can acknowledge
/// and the core can cut its books in steps, large enough that an entry's own cost vanishes.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// The most commands that wait for a leader, and the most bytes of them: what clients bring while there is none must not
/// use up the memory.
const GATHERED_MAX: usize = 100_000;
const GATHERED_BYTES_MAX: usize = 256 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Proposals<W> {
    starter: u64,
    /// Number of the first of `sent`.
    base: u64,
    sent: VecDeque<Sent<W>>,
    gathered: VecDeque<Gathered<W>>,
    gathered_bytes: usize,
}

#[derive(Debug)]
struct Gathered<W> {
    command: Bytes,
    waiter: Option<W>,
    deadline: u64,
}

#[derive(Debug)]
struct Sent<W> {
    /// None: answered, or nobody waits.
    waiter: Option<W>,
    deadline: u64,
    term: Term,
}

impl<W> Proposals<W> {
    pub(super) fn new(starter: u64) -> Self {
        Self {
            starter,
            base: 1,
            sent: VecDeque::new(),
            gathered: VecDeque::new(),
            gathered_bytes: 0,
        }
    }

    /// Takes a command in; gives the waiter back if too many wait already.
    pub(super) fn gather(&mut self, command: Bytes, waiter: Option<W>, deadline: u64) -> Option<W> {
        let bytes = self.gathered_bytes + command.len();
        let is_full = self.gathered.len() >= GATHERED_MAX || bytes > GATHERED_BYTES_MAX;
        if is_full && !self.gathered.is_empty() {
            return waiter;
        }
        self.gathered_bytes = bytes;
        self.gathered.push_back(Gathered {
            command,
            waiter,
            deadline,
        });
        None
    }

    /// The next entry's worth of gathered commands, as an entry's bytes and how many they are.
    pub(super) fn next_batch(&self) -> Option<(Bytes, usize)> {
        let mut bytes = 0;
        let fits = |gathered: &&Gathered<W>| {
            let first = bytes == 0;
            bytes += gathered.command.len();
            first || bytes <= BATCH_BYTES_MAX
        };
        let commands: Vec<Bytes> = self
            .gathered
            .iter()
            .take_while(fits)
            .map(|gathered| gathered.command.clone())
            .collect();
        let count = commands.len();
        let first = self.base + self.sent.len() as u64;
        let batch = Batch {
            starter: self.starter,
            first,
            commands,
        };
        (count > 0).then(|| (batch.encode(), count))
    }

    /// The core took the next `count` gathered commands in this term.
    pub(super) fn mark_sent(&mut self, count: usize, term: Term) {
        for _ in 0..count {
            let gathered = self.take_gathered().expect("these were in the batch");
            self.sent.push_back(Sent {
                waiter: gathered.waiter,
                deadline: gathered.deadline,
                term,
            });
        }
    }

    fn take_gathered(&mut self) -> Option<Gathered<W>> {
        let gathered = self.gathered.pop_front()?;
        self.gathered_bytes -= gathered.command.len();
        Some(gathered)
    }

    /// A number for a command that travels alone, and the entry's bytes with it. Nobody waits for it yet.
    pub(super) fn reserve(&mut self, command: Bytes, deadline: u64, term: Term) -> (u64, Bytes) {
        let first = self.base + self.sent.len() as u64;
        self.sent.push_back(Sent {
            waiter: None,
            deadline,
            term,
        });
        (
            first,
            Batch {
                starter: self.starter,
                first,
                commands: vec![command],
            }
            .encode(),
        )
    }

    /// The command with the number just reserved is in the log or on its way, and this one waits for it.
    pub(super) fn wait_for(&mut self, number: u64, waiter: W) {
        let newest = self.base + self.sent.len() as u64 - 1;
        assert_eq!(newest, number, "only the newest number may be waited for");
        let last = self.sent.back_mut().expect("a number was just reserved");
        last.waiter = Some(waiter);
    }

    /// Who waits for this command, if anybody here (still) does.
    pub(super) fn applied(&mut self, starter: u64, number: u64) -> Option<W> {
        if starter != self.starter || number < self.base {
            return None;
        }
        let place = usize::try_from(number - self.base).ok()?;
        let waiter = self.sent.get_mut(place)?.waiter.take();
        self.drop_answered();
        waiter
    }

    /// Those whose commands were sent in an older term than this one, whose first entry was just applied: what they sent
    /// is not in the log before that entry, and whether it will come after it nobody knows.
    pub(super) fn overtaken(&mut self, term: Term) -> Vec<W> {
        self.take_while(|sent| sent.term < term)
    }

    /// Those who have waited long enough: for commands in the log or on their way, and for commands never sent.
    pub(super) fn expired(&mut self, now: u64) -> Vec<W> {
        let mut waiters = self.take_while(|sent| sent.deadline <= now);
        while self
            .gathered
            .front()
            .is_some_and(|gathered| gathered.deadline <= now)
        {
            waiters.extend(self.take_gathered().and_then(|gathered| gathered.waiter));
        }
        waiters
    }

    /// Everybody.
    pub(super) fn drain(&mut self) -> Vec<W> {
        let mut waiters = self.take_while(|_| true);
        while let Some(gathered) = self.take_gathered() {
            waiters.extend(gathered.waiter);
        }
        waiters
    }

    /// How many wait for their command to be applied.
    pub(super) fn pending(&self) -> usize {
        self.sent.len() + self.gathered.len()
    }

    fn take_while(&mut self, out: impl Fn(&Sent<W>) -> bool) -> Vec<W> {
        let mut waiters = Vec::new();
        while self.sent.front().is_some_and(&out) {
            waiters.extend(self.sent.pop_front().and_then(|sent| sent.waiter));
            self.base += 1;
        }
        waiters
    }

    fn drop_answered(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.waiter.is_none()) {
            self.sent.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_bytes_wait_for_a_leader() {
        let mut proposals = Proposals::new(1);
        let command = Bytes::from(vec![0; GATHERED_BYTES_MAX / 2]);
        assert_eq!(proposals.gather(command.clone(), Some(1), 10), None);
        assert_eq!(proposals.gather(command.clone(), Some(2), 10), None);
        let small = Bytes::from_static(b"small");
        assert_eq!(proposals.gather(small.clone(), Some(3), 10), Some(3));
        proposals.mark_sent(1, Term(1));
        assert_eq!(proposals.gather(small, Some(4), 10), None);
        assert_eq!(proposals.expired(10), [1, 2, 4]);
        assert_eq!(proposals.gathered_bytes, 0);
        assert_eq!(proposals.gather(command, Some(5), 20), None);
        assert_eq!(proposals.drain(), [5]);
    }
}
