//! The queue of clusters that want a look: a pure structure, told the time by its caller.
//!
//! Invariants:
//! - A cluster waits at most once: however many events name it, the earliest moment wins.
//! - A cluster that is being worked on is handed to nobody else; events that arrive meanwhile are kept for afterwards.
//! - Failures wait longer each time, up to a bound; one success forgets them.
//! - A cluster rests from a look that found nothing in hand until somebody asks for the next one.
//!
//! It deliberately knows nothing about tasks, timers or why a cluster wants a look.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest wait after a failed look; doubles with each further failure.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest wait after a failure: a minute of patience costs the API server nothing and a user little.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A `RaftCluster`, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How a look at a cluster ended, for the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Look again after this long at the latest.
    After(Duration),
    /// Nothing is in hand; look again after this long at the latest.
    Rests(Duration),
    /// It was glanced at and rests still; look again after this long at the latest.
    Glanced(Duration),
    /// It failed; look again after the failure's wait.
    Failed,
    /// The cluster is gone.
    Gone,
}

#[derive(Debug)]
enum Entry {
    Waiting {
        due: Instant,
        rested: Option<Instant>,
    },
    Running {
        again: Option<Instant>,
        since: Instant,
        rested: Option<Instant>,
    },
}

/// What the queue hands out: a cluster, and since when it waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The cluster.
    pub key: Key,
    /// For how long it had been due.
    pub overdue: Duration,
    /// When it was found at rest, if nobody has asked for a look since.
    pub rested: Option<Instant>,
}

/// The queue itself.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Key, Entry>,
    failures: HashMap<Key, u32>,
    waiting: BTreeSet<(Instant, Key)>,
}

impl Queue {
    /// Asks for a look at `key` at `due`, or earlier if one is already wanted earlier.
    pub fn add(&mut self, key: Key, due: Instant) {
        match self.entries.get_mut(&key) {
            Some(Entry::Waiting { due: old, rested }) if *old <= due => *rested = None,
            Some(Entry::Running { again, .. }) => {
                *again = Some(again.map_or(due, |old| old.min(due)));
            }
            _ => self.wait(key, due, None),
        }
    }

    /// The next cluster that is due at `now`; it counts as being worked on until [`Queue::finish`].
    pub fn take(&mut self, now: Instant) -> Option<Due> {
        let (due, _) = self.waiting.first().filter(|(due, _)| *due <= now)?;
        let overdue = now.saturating_duration_since(*due);
        let (_, key) = self
            .waiting
            .pop_first()
            .expect("first() has just shown one");
        let rested = match self.entries.get(&key) {
            Some(Entry::Waiting { rested, .. }) => *rested,
            _ => None,
        };
        let running = Entry::Running {
            again: None,
            since: now,
            rested,
        };
        self.entries.insert(key.clone(), running);
        Some(Due {
            key,
            overdue,
            rested,
        })
    }

    /// When the next cluster becomes due, if any waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Gives back a cluster that [`Queue::take`] handed out.
    pub fn finish(&mut self, key: Key, how: Finish, now: Instant) {
        let Some(Entry::Running { again, rested, .. }) = self.entries.remove(&key) else {
            panic!("{key} was given back without having been taken");
        };
        let rested = match how {
            _ if again.is_some() => None,
            Finish::Rests(_) => Some(now),
            Finish::Glanced(_) => rested,
            Finish::After(_) | Finish::Failed | Finish::Gone => None,
        };
        let due = match how {
            Finish::After(wait) | Finish::Rests(wait) | Finish::Glanced(wait) => now + wait,
            Finish::Failed => now + self.fail(&key),
            Finish::Gone => return self.forget(key, again),
        };
        if how != Finish::Failed {
            self.failures.remove(&key);
        }
        let due = match (again, how) {
            (None, _) => due,
            // An event may be the very fix, but it may also be the echo of what just failed: never at once.
            (Some(again), Finish::Failed) => again.max(now + BACKOFF_MIN).min(due),
            (Some(again), _) => again.min(due),
        };
        self.wait(key, due, rested);
    }

    /// Every cluster the queue has heard of and that was not [`Finish::Gone`].
    #[must_use]
    pub fn known(&self) -> Vec<Key> {
        self.entries.keys().cloned().collect()
    }

    /// How many clusters wait although they are due at `now`.
    #[must_use]
    pub fn depth(&self, now: Instant) -> usize {
        self.waiting
            .iter()
            .take_while(|(due, _)| *due <= now)
            .count()
    }

    /// For how long each cluster in hand has been worked on.
    pub fn running(&self, now: Instant) -> impl Iterator<Item = Duration> + '_ {
        self.entries.values().filter_map(move |entry| match entry {
            Entry::Running { since, .. } => Some(now.saturating_duration_since(*since)),
            Entry::Waiting { .. } => None,
        })
    }

    fn forget(&mut self, key: Key, again: Option<Instant>) {
        self.failures.remove(&key);
        // An event during the last look may be the birth of a new cluster of the same name.
        if let Some(again) = again {
            self.wait(key, again, None);
        }
    }

    fn wait(&mut self, key: Key, due: Instant, rested: Option<Instant>) {
        if let Some(Entry::Waiting { due, .. }) = self.entries.get(&key) {
            self.waiting.remove(&(*due, key.clone()));
        }
        self.waiting.insert((due, key.clone()));
        self.entries.insert(key, Entry::Waiting { due, rested });
    }

    fn fail(&mut self, key: &Key) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let wait = BACKOFF_MIN
            .saturating_mul(1 << (*failures).min(16))
            .min(BACKOFF_MAX);
        *failures += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn taken(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.take(now).map(|due| due.key.name)
    }

    #[test]
    fn many_events_make_one_look_at_the_earliest_moment() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now + Duration::from_secs(9));
        queue.add(key("a"), now);
        queue.add(key("a"), now + Duration::from_secs(5));
        assert_eq!(queue.depth(now), 1);
        assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
        assert_eq!(taken(&mut queue, now + Duration::from_secs(60)), None);
    }

    #[test]
    fn a_cluster_in_hand_is_not_handed_out_twice_and_its_events_are_kept() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        assert!(queue.take(now).is_some());
        queue.add(key("a"), now);
        assert_eq!(taken(&mut queue, now), None, "it is in hand");
        queue.finish(key("a"), Finish::After(Duration::from_secs(300)), now);
        assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_a_bound() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(queue.take(now).is_some());
            queue.finish(key("a"), Finish::Failed, now);
            let due = queue.next_due().expect("a failure is looked at again");
            waits.push(due - now);
            now = due;
        }
        assert_eq!(waits[..3], [250, 500, 1_000].map(Duration::from_millis));
        assert_eq!(waits.last(), Some(&BACKOFF_MAX));
        assert!(queue.take(now).is_some());
        queue.finish(key("a"), Finish::After(Duration::from_secs(5)), now);
        now += Duration::from_secs(5);
        assert!(queue.take(now).is_some());
        queue.finish(key("a"), Finish::Failed, now);
        assert_eq!(
            queue.next_due(),
            Some(now + BACKOFF_MIN),
            "one success forgets"
        );
    }

    #[test]
    fn an_event_shortens_the_wait_of_a_failure_but_not_to_nothing() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        for _ in 0..6 {
            assert!(queue.take(queue.next_due().expect("it waits")).is_some());
            queue.finish(key("a"), Finish::Failed, now);
        }
        assert!(queue.take(now + BACKOFF_MAX).is_some());
        queue.add(key("a"), now);
        queue.finish(key("a"), Finish::Failed, now);
        assert_eq!(queue.next_due(), Some(now + BACKOFF_MIN));
    }

    #[test]
    fn a_cluster_that_is_gone_is_forgotten_unless_its_name_was_born_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["gone", "reborn"] {
            queue.add(key(name), now);
            assert_eq!(taken(&mut queue, now).as_deref(), Some(name));
        }
        queue.add(key("reborn"), now);
        queue.finish(key("gone"), Finish::Gone, now);
        queue.finish(key("reborn"), Finish::Gone, now);
        assert_eq!(queue.known(), vec![key("reborn")]);
        assert_eq!(taken(&mut queue, now).as_deref(), Some("reborn"));
    }

    #[test]
    fn a_cluster_rests_until_somebody_asks_for_a_look() {
        const MINUTE: Duration = Duration::from_secs(60);
        let (mut queue, begun) = (Queue::default(), Instant::now());
        let mut now = begun;
        let mut next = |queue: &mut Queue, how| {
            queue.finish(key("a"), how, now);
            now = queue.next_due().expect("it waits");
            queue.take(now).expect("it is due").rested
        };
        queue.add(key("a"), begun);
        assert_eq!(queue.take(begun).expect("it is due").rested, None);
        assert_eq!(next(&mut queue, Finish::Rests(MINUTE)), Some(begun));
        assert_eq!(
            next(&mut queue, Finish::Glanced(MINUTE)),
            Some(begun),
            "a glance is no look"
        );
        assert_eq!(
            next(&mut queue, Finish::Rests(MINUTE)),
            Some(begun + 2 * MINUTE)
        );
        queue.add(key("a"), begun + 9 * MINUTE);
        assert_eq!(next(&mut queue, Finish::Glanced(MINUTE)), None, "asked");
        assert_eq!(next(&mut queue, Finish::After(MINUTE)), None, "at work");
        assert_eq!(next(&mut queue, Finish::Failed), None);
        queue.finish(key("a"), Finish::Rests(MINUTE), begun);
        queue.add(key("a"), begun + 2 * MINUTE);
        let due = queue.take(begun + 3 * MINUTE).expect("it is due");
        assert_eq!(due.rested, None, "asked for a later look than the next");
    }

    #[test]
    fn the_earliest_due_goes_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("late"), now + Duration::from_secs(2));
        queue.add(key("early"), now + Duration::from_secs(1));
        let then = now + Duration::from_secs(3);
        assert_eq!(taken(&mut queue, then).as_deref(), Some("early"));
        assert_eq!(taken(&mut queue, then).as_deref(), Some("late"));
        assert_eq!(queue.running(then + Duration::from_secs(1)).count(), 2);
    }
}
