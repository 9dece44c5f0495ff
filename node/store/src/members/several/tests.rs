use proptest::prelude::*;

use super::*;
use crate::{Command, MemberAttributes, MemberKeep, MemberRemove, Response, Store};

fn member(id: u64, is_learner: bool) -> Member {
    Member {
        id,
        name: format!("m{id}"),
        peer_urls: vec![format!("http://m{id}:2380")],
        is_learner,
        ..Member::default()
    }
}

fn table(voters: &[u64], learners: &[u64]) -> Members {
    let voters = voters.iter().map(|id| member(*id, false));
    let members = voters.chain(learners.iter().map(|id| member(*id, true)));
    Members {
        members: members.map(|member| (member.id, member)).collect(),
        ..Members::default()
    }
}

fn changes(steps: impl IntoIterator<Item = MemberStep>) -> MemberChanges {
    MemberChanges {
        changes: steps.into_iter().map(MemberChange::from).collect(),
        max_learners: 3,
    }
}

fn ids<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<u64> {
    members.map(|member| member.id).collect()
}

use MemberStep::{Add, Demote, Promote, Remove};

#[test]
fn whoever_leaves_is_there_until_the_end_and_never_again() {
    let mut store = Store::new();
    store.members = table(&[1, 2, 3], &[4, 5]);
    let all_at_once = changes([
        Remove(1),
        Demote(2),
        Promote(4),
        Remove(5),
        Add(member(6, false)),
    ]);
    store.apply(1, &Command::MemberChanges(all_at_once));
    let members = store.members();
    assert_eq!(ids(members.iter()), [1, 2, 3, 4, 6]);
    assert_eq!(ids(members.old_voters()), [1, 2, 3]);
    assert_eq!(ids(members.voters()), [3, 4, 6]);
    assert!(members.was_removed(5), "a learner goes at once");

    let restored = Store::decode(&store.snapshot().encode()).unwrap();
    assert_eq!(restored.members(), members, "an image knows of it");

    let answer = store.leave_joint(2).expect("one was under way");
    let Response::Members(answer) = answer else {
        panic!("{answer:?} is no table");
    };
    assert_eq!(ids(answer.members.iter()), [2, 3, 4, 6]);
    assert!(store.members().find(2).unwrap().is_learner);
    assert!(store.members().was_removed(1));
    assert_eq!(store.leave_joint(3), None, "once");
    let again = changes([Add(member(1, false))]);
    let refused = store.members().after(&again).unwrap_err();
    assert_eq!(refused, SeveralError::Removed { place: 1, id: 1 }.into());
}

#[test]
fn while_one_is_under_way_members_say_their_names_and_nothing_else_begins() {
    let mut members = table(&[1, 2], &[]);
    let begun = Command::MemberChanges(changes([Remove(1), Add(member(3, false))]));
    members.apply(&begun).unwrap();
    let refused = Err(SeveralError::UnderWay.into());
    assert_eq!(members.apply(&begun), refused);
    let remove = Command::MemberRemove(MemberRemove { id: 2 });
    assert_eq!(members.apply(&remove), refused);
    let attributes = MemberAttributes {
        id: 3,
        name: "three".to_owned(),
        client_urls: Vec::new(),
    };
    let said = Command::MemberAttributes(attributes);
    assert_eq!(members.apply(&said), Ok(()));
}

#[test]
fn a_member_can_be_kept_from_what_is_under_way() {
    let mut members = table(&[1, 2], &[3]);
    let begun = Command::MemberChanges(changes([Remove(1), Demote(2), Promote(3)]));
    members.apply(&begun).unwrap();
    for id in [1, 2] {
        let keep = Command::MemberKeep(MemberKeep { id });
        members.apply(&keep).unwrap();
    }
    assert!(members.leave());
    assert_eq!(ids(members.voters()), [1, 2, 3]);
}

#[test]
fn what_makes_no_sense_is_refused_by_place_and_name() {
    use SeveralError as E;
    let mut members = table(&[1, 2], &[3]);
    members.removed.insert(9);
    let refused = |steps: Vec<MemberStep>| members.check_several(&changes(steps)).unwrap_err();
    let with_urls_of = |id, of| Member {
        peer_urls: member(of, false).peer_urls,
        ..member(id, false)
    };
    assert_eq!(refused(vec![]), E::Empty);
    let many = (10..).map(|id| Add(member(id, false)));
    let many: Vec<MemberStep> = many.take(MEMBER_CHANGES_MAX + 1).collect();
    assert_eq!(refused(many), E::TooMany { count: 33 });
    let twice = refused(vec![Remove(1), Demote(1)]);
    assert_eq!(twice, E::NamedTwice { place: 2, id: 1 });
    let place = 1;
    assert_eq!(refused(vec![Promote(7)]), E::Unknown { place, id: 7 });
    assert_eq!(refused(vec![Remove(9)]), E::Removed { place, id: 9 });
    let id = 9;
    assert_eq!(
        refused(vec![Add(member(9, true))]),
        E::Removed { place, id }
    );
    let id = 3;
    assert_eq!(refused(vec![Add(member(3, true))]), E::Exists { place, id });
    let taken = refused(vec![Remove(2), Add(with_urls_of(5, 2))]);
    assert_eq!(taken, E::UrlTaken { place: 2, id: 2 });
    let twice = refused(vec![Add(member(5, false)), Add(with_urls_of(6, 5))]);
    assert_eq!(twice, E::UrlTwice { place: 2, other: 1 });
    assert_eq!(refused(vec![Promote(1)]), E::VotesAlready { place, id: 1 });
    assert_eq!(refused(vec![Demote(3)]), E::LearnsAlready { place, id });
    assert_eq!(refused(vec![Remove(1), Remove(2)]), E::NoVoterLeft);
    let everybody = refused(vec![Remove(1), Remove(2), Remove(3)]);
    assert_eq!(everybody, E::NoVoterLeft);
    let learners = (10..13).map(|id| Add(member(id, true))).collect();
    let (learners, most) = (refused(learners), 3);
    assert_eq!(learners, E::TooManyLearners { learners: 4, most });
}

fn step() -> impl Strategy<Value = MemberStep> {
    let id = 1_u64..9;
    prop_oneof![
        (id.clone(), any::<bool>()).prop_map(|(id, learns)| Add(member(id, learns))),
        id.clone().prop_map(Remove),
        id.clone().prop_map(Promote),
        id.prop_map(Demote),
    ]
}

proptest! {
    /// Whatever is accepted does to every member what the list says, through a phase that has both electorates.
    #[test]
    fn accepted_changes_do_what_they_say(
        voters in prop::collection::btree_set(1_u64..5, 1..4),
        learners in prop::collection::btree_set(5_u64..7, 0..3),
        steps in prop::collection::vec(step(), 1..6),
    ) {
        let voters: Vec<u64> = voters.into_iter().collect();
        let learners: Vec<u64> = learners.into_iter().collect();
        let before = table(&voters, &learners);
        let changes = changes(steps);
        let Ok(after) = before.after(&changes) else {
            return Ok(());
        };
        let mut between = before.clone();
        between.apply(&Command::MemberChanges(changes.clone())).unwrap();
        prop_assert_eq!(ids(between.old_voters()), ids(before.voters()));
        prop_assert_eq!(ids(between.voters()), ids(after.voters()));
        prop_assert!(after.voters().next().is_some());
        prop_assert!(between.leave());
        prop_assert_eq!(&between, &after);
        for step in changes.steps() {
            let found = after.find(step.id()).map(|member| member.is_learner);
            let expected = match step {
                Add(member) => Some(member.is_learner),
                Remove(_) => None,
                Promote(_) => Some(false),
                Demote(_) => Some(true),
            };
            prop_assert_eq!(found, expected);
            prop_assert_eq!(after.was_removed(step.id()), expected.is_none());
        }
        let named = |id: u64| changes.steps().any(|step| step.id() == id);
        for member in before.iter().filter(|member| !named(member.id)) {
            prop_assert_eq!(after.find(member.id), Some(member));
        }
    }
}
