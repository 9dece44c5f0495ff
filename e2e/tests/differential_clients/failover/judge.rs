//! Whether what clients were told while members died is true, by the history that the members kept.
//!
//! - An acknowledged write stands in the history, at the revision that was told.
//! - A watcher saw the history up to its last event: each once, in its order.
//! - Who held a mutex or an election held it alone.
//!
//! It deliberately asserts no time: how long the gaps were is printed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::said::{Change, Micros, Said, stream_of};

/// What one cluster's clients said, and what its members kept.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    /// Of all programs.
    pub(crate) said: &'a [Said],
    /// From the first revision on, in order.
    pub(crate) history: &'a [Change],
}

impl Evidence<'_> {
    /// Whether all of it is true.
    ///
    /// # Errors
    /// With the first thing that is not.
    pub(crate) fn judge(&self) -> Result<()> {
        self.nothing_is_wrong()?;
        self.no_write_is_lost()?;
        self.no_event_is_lost_or_doubled()?;
        self.nothing_is_held_by_two()
    }

    fn nothing_is_wrong(&self) -> Result<()> {
        match self.said.iter().find(|it| matches!(it, Said::Wrong(_))) {
            Some(wrong) => bail!("a program says: {wrong:?}"),
            None => Ok(()),
        }
    }

    fn no_write_is_lost(&self) -> Result<()> {
        let mut written: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for it in self.history.iter().filter(|it| !it.is_delete) {
            written.entry(&it.key).or_default().push(it.revision);
        }
        for said in self.said {
            if let Said::Put { key, revision, .. } = said {
                let found = written.get(key.as_str());
                let found = found.with_context(|| format!("{said:?} is lost"))?;
                let stands = revision.is_none_or(|it| found.contains(&it));
                ensure!(stands, "{said:?}, but it was written at {found:?}");
            }
        }
        Ok(())
    }

    fn no_event_is_lost_or_doubled(&self) -> Result<()> {
        for (watcher, seen) in self.watched() {
            let differs = seen.iter().zip(self.history).find(|(a, b)| **a != *b);
            if let Some((seen, kept)) = differs {
                bail!("{watcher} saw {seen:?}, where the history has {kept:?}");
            }
            ensure!(
                seen.len() <= self.history.len(),
                "{watcher} saw more than there was"
            );
        }
        Ok(())
    }

    fn nothing_is_held_by_two(&self) -> Result<()> {
        let mut held: BTreeMap<&str, Vec<(Micros, Micros)>> = BTreeMap::new();
        for said in self.said {
            if let Said::Held { name, from, to } = said {
                held.entry(name).or_default().push((*from, *to));
            }
        }
        for (name, times) in &mut held {
            times.sort_unstable();
            for pair in times.windows(2) {
                ensure!(pair[0].1 <= pair[1].0, "{name} is held by two: {pair:?}");
            }
        }
        Ok(())
    }

    /// What each watcher saw, in its order.
    fn watched(&self) -> BTreeMap<&str, Vec<&Change>> {
        let mut watched: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
        for said in self.said {
            if let Said::Event { watcher, change } = said {
                watched.entry(watcher).or_default().push(change);
            }
        }
        watched
    }

    /// The longest time without an acknowledged write of each stream, over any of these moments.
    pub(crate) fn gaps(&self, moments: &[Micros]) -> BTreeMap<&str, u64> {
        let mut times: BTreeMap<&str, Vec<Micros>> = BTreeMap::new();
        for said in self.said {
            if let Said::Put { key, at, .. } = said {
                times.entry(stream_of(key)).or_default().push(*at);
            }
        }
        let longest = |times: Vec<Micros>| {
            let over = |pair: &&[Micros]| moments.iter().any(|it| (pair[0]..pair[1]).contains(it));
            let gaps = times.windows(2).filter(over);
            gaps.map(|pair| (pair[1].0 - pair[0].0) / 1000).max()
        };
        let gaps = times.into_iter();
        gaps.map(|(stream, times)| (stream, longest(times).unwrap_or(0)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::said::read;
    use super::*;

    const HISTORY: [(i64, bool, &str); 3] =
        [(2, false, "f/go/0"), (3, false, "f/go/1"), (4, true, "f/m")];

    fn judged(lines: &str) -> String {
        let history = HISTORY.map(|(revision, is_delete, key)| Change {
            revision,
            is_delete,
            key: key.to_owned(),
        });
        let said: Vec<Said> = lines.lines().map(|it| read(it).unwrap()).collect();
        let evidence = Evidence {
            said: &said,
            history: &history,
        };
        match evidence.judge() {
            Ok(()) => "true".to_owned(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn what_is_true_passes() {
        let all = "put f/go/0 2 10\nput f/go/1 0 20\nevent w PUT f/go/0 2\nevent w PUT f/go/1 3\n\
                   event w DELETE f/m 4\nheld m 10 20\nheld m 20 30\nled x 10";
        assert_eq!(judged(all), "true");
    }

    #[test]
    fn every_lie_is_found() {
        let lies = [
            ("put f/go/2 5 10", "is lost"),
            ("put f/go/1 2 10", "but it was written at [3]"),
            ("event w PUT f/go/1 3", "where the history has"),
            (
                "event w PUT f/go/0 2\nevent w PUT f/go/0 2",
                "where the history has",
            ),
            (
                "event w PUT f/go/0 2\nevent w DELETE f/m 4",
                "where the history has",
            ),
            ("held m 10 21\nheld m 20 30", "m is held by two"),
            (
                "wrong the lease 7 is gone",
                "a program says: Wrong(\"wrong the lease 7 is gone\")",
            ),
        ];
        for (lie, found) in lies {
            assert!(judged(lie).contains(found), "{lie}: {}", judged(lie));
        }
    }

    #[test]
    fn a_gap_is_one_over_the_moment_of_a_kill() {
        let said = [
            "put f/go/0 2 1000",
            "put f/go/1 3 4000",
            "put f/go/2 4 90000",
        ];
        let said: Vec<Said> = said.iter().map(|it| read(it).unwrap()).collect();
        let evidence = Evidence {
            said: &said,
            history: &[],
        };
        assert_eq!(evidence.gaps(&[Micros(2000)])["f/go"], 3);
    }
}
