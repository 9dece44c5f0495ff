//! Automatic compaction: how far back history may be forgotten, by `--auto-compaction-*`.
//!
//! Every member takes note of its revisions, so that whoever leads next knows the past as well; the leader alone compacts,
//! by a command through the log like any client's. How often is etcd's: a window of time is noted ten times within itself
//! (or within an hour, if it is longer) and compacted once per window (or hour); a window of revisions is looked at every
//! five minutes.
//!
//! What this module deliberately does not do: compact.

use std::collections::VecDeque;

/// What history to keep. Times are in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Everything of the last so many ticks.
    Window {
        /// How many.
        ticks: u64,
        /// As many as an hour has: compaction is not rarer.
        hour: u64,
    },
    /// The last so many revisions.
    Revisions {
        /// How many.
        keep: i64,
        /// How often to look.
        every: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Historian {
    retention: Retention,
    look_at: u64,
    compact_at: u64,
    /// When which revision was the newest, oldest first; the first is the newest that is a window old, once one is.
    marks: VecDeque<(u64, i64)>,
    compacted: i64,
}

impl Historian {
    pub(super) fn new(retention: Retention) -> Self {
        let compact_at = match retention {
            Retention::Window { ticks, .. } => ticks,
            Retention::Revisions { every, .. } => every,
        };
        Self {
            retention,
            look_at: 0,
            compact_at,
            marks: VecDeque::new(),
            compacted: 0,
        }
    }

    /// The revision to compact at now, if there is one that was not asked for before. To be asked at every tick.
    pub(super) fn due(&mut self, now: u64, revision: i64, leads: bool) -> Option<i64> {
        self.note(now, revision);
        if now < self.compact_at {
            return None;
        }
        let oldest = match self.retention {
            Retention::Window { ticks, hour } => {
                let (at, revision) = *self.marks.front()?;
                if at + ticks > now {
                    return None;
                }
                self.compact_at = now + ticks.min(hour);
                revision
            }
            Retention::Revisions { keep, every } => {
                self.compact_at = now + every;
                revision - keep
            }
        };
        let is_news = leads && oldest > self.compacted.max(1);
        is_news.then(|| {
            self.compacted = oldest;
            oldest
        })
    }

    fn note(&mut self, now: u64, revision: i64) {
        let Retention::Window { ticks, hour } = self.retention else {
            return;
        };
        if now < self.look_at {
            return;
        }
        self.look_at = now + (ticks.min(hour) / 10).max(1);
        self.marks.push_back((now, revision));
        while self.marks.get(1).is_some_and(|(at, _)| at + ticks <= now) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Revision `10 * tick`, asked at every tick: when what was due.
    fn run(retention: Retention, leads: impl Fn(u64) -> bool, ticks: u64) -> Vec<(u64, i64)> {
        let mut historian = Historian::new(retention);
        let mut due = Vec::new();
        for now in 1..=ticks {
            let revision = 10 * now.cast_signed();
            due.extend(
                historian
                    .due(now, revision, leads(now))
                    .map(|revision| (now, revision)),
            );
        }
        due
    }

    #[test]
    fn a_window_of_time_is_kept_whole() {
        let retention = Retention::Window {
            ticks: 100,
            hour: 10_000,
        };
        let due = run(retention, |_| true, 450);
        assert_eq!(due.len(), 4, "{due:?}");
        for (now, revision) in due {
            let kept = 10 * (now.cast_signed() - 100);
            assert!(
                revision <= kept,
                "at {now} revision {kept} is still in the window"
            );
            assert!(
                revision >= kept - 110,
                "at {now} not much more than the window is kept"
            );
        }
    }

    #[test]
    fn a_window_longer_than_an_hour_is_compacted_every_hour() {
        let due = run(
            Retention::Window {
                ticks: 100,
                hour: 20,
            },
            |_| true,
            200,
        );
        let times: Vec<u64> = due.iter().map(|(now, _)| *now).collect();
        assert_eq!(times, [101, 121, 141, 161, 181]);
    }

    #[test]
    fn a_window_of_revisions_is_looked_at_now_and_then() {
        let due = run(
            Retention::Revisions {
                keep: 500,
                every: 40,
            },
            |_| true,
            130,
        );
        assert_eq!(due, [(80, 300), (120, 700)]);
    }

    #[test]
    fn only_the_leader_compacts_and_a_new_one_knows_the_past() {
        let retention = Retention::Window {
            ticks: 100,
            hour: 10_000,
        };
        let due = run(retention, |now| now >= 250, 320);
        assert_eq!(due.len(), 1);
        assert!(due[0].0 >= 300 && due[0].1 > 1_000, "{due:?}");
    }
}
