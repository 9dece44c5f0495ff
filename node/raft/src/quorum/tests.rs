//! The arithmetic against arithmetic so dumb that it must be right.

use super::*;
use crate::{Alteration, ChangeKind, Configuration, Rules};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MOST: u64 = 7;

fn majority(voters: usize) -> usize {
    (Rules::RAFT.quorum)(voters)
}

/// Tries every number there is.
fn agreed_dumbly(reached: &BTreeMap<PeerId, u64>) -> u64 {
    let reached_by = |number: u64| reached.values().filter(|&&own| own >= number).count();
    let candidates = reached
        .values()
        .copied()
        .filter(|&n| reached_by(n) * 2 > reached.len());
    candidates.max().unwrap_or(0)
}

/// Tries every way in which those who have not answered could.
fn tally_dumbly(answers: &BTreeMap<PeerId, Option<bool>>) -> Tally {
    let open: Vec<PeerId> = answers
        .iter()
        .filter(|(_, answer)| answer.is_none())
        .map(|(&peer, _)| peer)
        .collect();
    let given = answers
        .values()
        .filter(|&&answer| answer == Some(true))
        .count();
    let outcomes = (0..1_u32 << open.len()).map(|ways| {
        let granted = given + ways.count_ones() as usize;
        granted * 2 > answers.len()
    });
    let outcomes: BTreeSet<bool> = outcomes.collect();
    match (outcomes.contains(&true), outcomes.contains(&false)) {
        (true, false) => Tally::Won,
        (true, true) => Tally::Open,
        _ => Tally::Lost,
    }
}

/// Every set of these voters that is a majority of them.
fn majorities(voters: &BTreeSet<PeerId>) -> Vec<BTreeSet<PeerId>> {
    let voters: Vec<PeerId> = voters.iter().copied().collect();
    let subsets = (0..1_u32 << voters.len()).map(|bits| {
        let chosen = voters
            .iter()
            .enumerate()
            .filter(|(place, _)| bits >> place & 1 == 1);
        chosen.map(|(_, &peer)| peer).collect::<BTreeSet<PeerId>>()
    });
    subsets
        .filter(|subset| subset.len() >= majority(voters.len()))
        .collect()
}

fn peers() -> impl Strategy<Value = PeerId> {
    (1..=MOST).prop_map(PeerId)
}

fn changes() -> impl Strategy<Value = ChangeKind> {
    (0..3, peers()).prop_map(|(kind, peer)| match kind {
        0 => ChangeKind::AddVoter(peer),
        1 => ChangeKind::AddLearner(peer),
        _ => ChangeKind::Remove(peer),
    })
}

proptest! {
    #[test]
    fn what_is_agreed(reached in btree_map(peers(), 0_u64..6, 0..=MOST as usize)) {
        let voters: BTreeSet<PeerId> = reached.keys().copied().collect();
        let fast = agreed(&voters, majority(voters.len()), |peer| reached[&peer]);
        prop_assert_eq!(fast, agreed_dumbly(&reached));
    }

    #[test]
    fn how_an_election_stands(
        answers in btree_map(peers(), any::<Option<bool>>(), 0..=MOST as usize)
    ) {
        let voters: BTreeSet<PeerId> = answers.keys().copied().collect();
        let fast = tally(&voters, majority(voters.len()), |peer| answers[&peer]);
        prop_assert_eq!(fast, tally_dumbly(&answers));
    }

    /// Who does not vote changes nothing.
    #[test]
    fn strangers_do_not_count(
        voters in btree_set(peers(), 1..=4),
        answers in btree_map(peers(), any::<bool>(), 0..=MOST as usize)
    ) {
        let quorum = majority(voters.len());
        let all = tally(&voters, quorum, |peer| answers.get(&peer).copied());
        let of_voters = |peer: PeerId| voters.contains(&peer).then(|| answers.get(&peer).copied());
        prop_assert_eq!(all, tally(&voters, quorum, |peer| of_voters(peer).flatten()));
    }

    /// The ground of single-step changes: a majority before and one after always share a peer.
    #[test]
    fn one_change_keeps_majorities_together(
        voters in btree_set(peers(), 1..=5),
        learners in btree_set(peers(), 0..=2),
        change in changes()
    ) {
        let before = Configuration::new(voters, learners);
        if let Some(after) = before.after(&change.into()) {
            for old in majorities(before.voters()) {
                for new in majorities(after.voters()) {
                    prop_assert!(!old.is_disjoint(&new), "{old:?} and {new:?}");
                }
            }
        }
    }

    /// A change never leaves no voter, and nobody in two parts.
    #[test]
    fn a_change_leaves_a_sound_membership(
        voters in btree_set(peers(), 1..=5),
        learners in btree_set(peers(), 0..=2),
        kinds in proptest::collection::vec(changes(), 0..20)
    ) {
        let mut configuration = Configuration::new(voters, learners);
        for kind in kinds {
            configuration = configuration.after(&kind.into()).unwrap_or(configuration);
            prop_assert!(!configuration.voters().is_empty());
            prop_assert!(configuration.voters().is_disjoint(configuration.learners()));
        }
    }

    /// The ground of joint changes: whoever decides before, in and after one shares a peer with
    /// whoever decides in the step beside it.
    #[test]
    fn a_joint_change_keeps_majorities_together(
        voters in btree_set(peers(), 1..=4),
        learners in btree_set(peers(), 0..=2),
        steps in proptest::collection::vec(changes(), 1..4)
    ) {
        let before = Configuration::new(voters, learners);
        let Some(joint) = before.after(&Alteration::EnterJoint(steps)) else {
            return Ok(());
        };
        let after = joint.after(&Alteration::LeaveJoint).expect("it is joint");
        prop_assert_eq!(joint.outgoing(), before.voters());
        prop_assert_eq!(joint.voters(), after.voters());
        for old in majorities(joint.outgoing()) {
            for new in majorities(joint.voters()) {
                let together = &old | &new;
                for quorum in [&before, &after].map(|it| majorities(it.voters())).concat() {
                    prop_assert!(!together.is_disjoint(&quorum), "{together:?} and {quorum:?}");
                }
            }
        }
        for step in [&joint, &after] {
            prop_assert!(step.electors().all(|peer| !step.is_learner(peer)));
        }
        prop_assert!(joint.peers().all(|peer| before.contains(peer) || after.contains(peer)));
    }

    /// Several steps at once end where the same steps end one by one.
    #[test]
    fn a_joint_change_ends_where_single_steps_end(
        voters in btree_set(peers(), 1..=4),
        learners in btree_set(peers(), 0..=2),
        steps in proptest::collection::vec(changes(), 1..4)
    ) {
        let before = Configuration::new(voters, learners);
        let one_by_one = steps.iter().try_fold(before.clone(), |now, step| now.after(&(*step).into()));
        let joint = before.after(&Alteration::EnterJoint(steps));
        if let (Some(joint), Some(expected)) = (joint, one_by_one) {
            prop_assert_eq!(joint.after(&Alteration::LeaveJoint), Some(expected));
        }
    }
}
