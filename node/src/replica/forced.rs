//! `--force-new-cluster`: what turns the last member of a lost cluster into a cluster of its own.
//!
//! The log is kept whole, what was not known to be committed with it: some of it may have been, and was acknowledged then.
//! Behind it come entries that make this member the only voter and remove everybody else for good, all of them committed.
//! So the ids of the lost are never used again, and a lost member that comes back after all is told that it was removed.
//! etcd throws away what it does not know to be committed.
//!
//! Forced once more, a cluster of one changes nothing; one that has grown again loses its members again, as in etcd.
//!
//! What this module deliberately does not do: write, or ask whether the others are really lost. Nobody could know.

use raft::{Configuration, Entry, Index, Payload, PeerId, Recovered};
use store::{Command, MemberKeep, MemberPromote, MemberRemove};

use super::batch::Batch;
use super::membership;

/// The entries to append to what was recovered; none if this member is alone already.
///
/// # Errors
/// The membership that the log ends with, if this member does not belong to it.
pub fn forcing_entries(me: PeerId, recovered: &Recovered) -> Result<Vec<Entry>, Configuration> {
    let snapshot = &recovered.snapshot;
    let after_snapshot = recovered
        .entries
        .iter()
        .filter(|entry| entry.index > snapshot.index);
    let mut configuration = snapshot.configuration.clone();
    for alteration in after_snapshot.filter_map(|entry| entry.payload.alteration()) {
        configuration = configuration.after(&alteration).unwrap_or(configuration);
    }
    if !configuration.contains(me) {
        return Err(configuration);
    }
    let last = recovered.entries.last();
    let last_index = last.map_or(snapshot.index, |entry| entry.index);
    let term = recovered.hard_state.term;
    let term = last.map_or(snapshot.term, |entry| entry.term).max(term);
    let numbered = (last_index.0 + 1..).zip(payloads(me, configuration));
    let entry = |(index, payload)| Entry {
        term,
        index: Index(index),
        payload,
    };
    Ok(numbered.map(entry).collect())
}

fn payloads(me: PeerId, mut configuration: Configuration) -> Vec<Payload> {
    let mut payloads = Vec::new();
    let mut take = |payload: Payload, configuration: &mut Configuration| {
        let alteration = payload.alteration();
        if let Some(next) = alteration.and_then(|it| configuration.after(&it)) {
            *configuration = next;
        }
        payloads.push(payload);
    };
    if configuration.is_joint() {
        // What is under way may take this member away, and the table removes for good.
        let keep = Command::MemberKeep(MemberKeep { id: me.0 });
        take(payload(&keep), &mut configuration);
        take(Payload::LeaveJoint, &mut configuration);
    }
    if !configuration.is_voter(me) {
        let promote = Command::MemberPromote(MemberPromote { id: me.0 });
        take(payload(&promote), &mut configuration);
    }
    let others: Vec<PeerId> = configuration.peers().filter(|peer| *peer != me).collect();
    for peer in others {
        let remove = Command::MemberRemove(MemberRemove { id: peer.0 });
        take(payload(&remove), &mut configuration);
    }
    payloads
}

fn payload(command: &Command) -> Payload {
    let batch = Batch {
        starter: 0,
        first: 0,
        commands: vec![command.to_bytes()],
    };
    membership::payload(command, batch.encode())
}

#[cfg(test)]
mod tests {
    use raft::{HardState, SnapshotMeta, Term};
    use store::{Member, MemberChanges, MemberStep, Store};

    use super::*;
    use crate::replica::founding_entries;

    fn member(id: u64) -> Member {
        Member {
            id,
            ..Member::default()
        }
    }

    fn founded(ids: &[u64]) -> Recovered {
        let members: Vec<Member> = ids.iter().map(|id| member(*id)).collect();
        Recovered {
            hard_state: HardState {
                term: Term(7),
                vote: None,
                commit: Index(1),
            },
            entries: founding_entries(&members),
            ..Recovered::default()
        }
    }

    fn after(recovered: &Recovered) -> Configuration {
        let mut configuration = recovered.snapshot.configuration.clone();
        for entry in &recovered.entries {
            let alteration = entry.payload.alteration();
            configuration = alteration
                .and_then(|it| configuration.after(&it))
                .unwrap_or(configuration);
        }
        configuration
    }

    fn force(me: u64, recovered: &mut Recovered) -> usize {
        let entries = forcing_entries(PeerId(me), recovered).unwrap();
        let count = entries.len();
        recovered.entries.extend(entries);
        count
    }

    #[test]
    fn whoever_is_left_is_the_only_voter_and_once_is_enough() {
        let mut recovered = founded(&[1, 2, 3]);
        assert_eq!(force(2, &mut recovered), 2);
        let alone = Configuration::new([PeerId(2)], []);
        assert_eq!(after(&recovered), alone);
        let last = recovered.entries.last().unwrap();
        assert_eq!((last.index, last.term), (Index(5), Term(7)));
        assert_eq!(force(2, &mut recovered), 0);
    }

    #[test]
    fn a_learner_and_a_member_amid_a_joint_change_become_the_only_voter() {
        let configurations = [
            Configuration::new([PeerId(1), PeerId(3)], [PeerId(2)]),
            Configuration::joint([PeerId(1), PeerId(2)], [PeerId(1), PeerId(3)], [], []),
            Configuration::joint([PeerId(1)], [PeerId(2), PeerId(3)], [], [PeerId(2)]),
        ];
        for configuration in configurations {
            let snapshot = SnapshotMeta {
                index: Index(9),
                term: Term(3),
                configuration,
            };
            let mut recovered = Recovered {
                snapshot,
                ..Recovered::default()
            };
            force(2, &mut recovered);
            assert_eq!(after(&recovered), Configuration::new([PeerId(2)], []));
            assert_eq!(recovered.entries[0].index, Index(10));
        }
    }

    /// The table of a member after what it was forced to.
    fn table_after(store: &mut Store, entries: &[Entry]) -> Vec<(u64, bool)> {
        for entry in entries {
            let context = match &entry.payload {
                Payload::LeaveJoint => {
                    store.leave_joint(entry.index.0);
                    continue;
                }
                Payload::Change(change) => change.context.clone(),
                Payload::Command(bytes) => bytes.clone(),
                other => panic!("{other:?} is not forced"),
            };
            for command in Batch::decode(context).unwrap().commands {
                store.apply(entry.index.0, &Command::from_bytes(&command).unwrap());
            }
        }
        let members = store.members().iter();
        members.map(|it| (it.id, it.is_learner)).collect()
    }

    #[test]
    fn whoever_is_on_the_way_in_or_out_is_the_only_one_in_the_table() {
        let add = |id| MemberStep::Add(member(id));
        let founding = vec![add(1), add(2)];
        let steps = vec![add(3), MemberStep::Remove(1), MemberStep::Demote(2)];
        for me in 1..=3 {
            let mut store = Store::new();
            let mut configuration = Configuration::default();
            for (index, steps) in [(1, founding.clone()), (3, steps.clone())] {
                let command = Command::MemberChanges(MemberChanges {
                    changes: steps.into_iter().map(Into::into).collect(),
                    max_learners: 1,
                });
                store.apply(index, &command);
                let alteration = payload(&command).alteration().unwrap();
                if let Some(next) = configuration.after(&alteration) {
                    configuration = next;
                }
                if index == 1 {
                    store.leave_joint(2);
                    configuration = Configuration::new([PeerId(1), PeerId(2)], []);
                }
            }
            assert!(configuration.is_joint());
            let snapshot = SnapshotMeta {
                index: Index(3),
                term: Term(1),
                configuration,
            };
            let recovered = Recovered {
                snapshot,
                ..Recovered::default()
            };
            let entries = forcing_entries(PeerId(me), &recovered).unwrap();
            assert_eq!(table_after(&mut store, &entries), [(me, false)]);
            let (others, removed) = ((1..=3).filter(|id| *id != me), store.members().removed());
            assert!(others.eq(removed), "the others are gone for good");
        }
    }

    #[test]
    fn a_stranger_cannot_take_over() {
        let recovered = founded(&[1, 2, 3]);
        assert_eq!(
            forcing_entries(PeerId(9), &recovered),
            Err(after(&recovered))
        );
    }
}
