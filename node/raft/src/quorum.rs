//! The arithmetic of majorities.
//!
//! What this module does not do: joint majorities. They are made of two answers given here, by
//! `Core`.

use crate::ids::PeerId;
use std::collections::BTreeSet;

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Enough granted.
    Won,
    /// So many refused that the rest cannot make it.
    Lost,
    /// It depends on those who have not answered.
    Open,
}

/// The largest number that at least `quorum` voters have reached; 0 with no voters, where nothing
/// is ever agreed.
pub(crate) fn agreed(
    voters: &BTreeSet<PeerId>,
    quorum: usize,
    reached: impl Fn(PeerId) -> u64,
) -> u64 {
    let mut numbers: Vec<u64> = voters.iter().map(|&peer| reached(peer)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.get(quorum.wrapping_sub(1)).copied().unwrap_or(0)
}

/// How the election stands, given each voter's answer, if it gave one. With no voters it is lost.
pub(crate) fn tally(
    voters: &BTreeSet<PeerId>,
    quorum: usize,
    answer: impl Fn(PeerId) -> Option<bool>,
) -> Tally {
    let granted = voters
        .iter()
        .filter(|&&peer| answer(peer) == Some(true))
        .count();
    let refused = voters
        .iter()
        .filter(|&&peer| answer(peer) == Some(false))
        .count();
    if !voters.is_empty() && granted >= quorum {
        Tally::Won
    } else if voters.len() - refused < quorum || voters.is_empty() {
        Tally::Lost
    } else {
        Tally::Open
    }
}

#[cfg(test)]
mod tests;
