//! What an earlier cluster of the name, an earlier life of this one, or a slip of its user has left behind.

// Everything here is a test, the helpers included.
#![allow(clippy::unwrap_used)]

mod scenario;

use plan::names;
use plan::{Action, Plan, safety};
use scenario::{Situation, parse, real};

fn planned(it: &Situation) -> Plan {
    let plan = plan::plan(&it.cluster, &it.observed, it.now);
    assert_eq!(safety::check(&it.observed, &plan.actions), Ok(()));
    plan
}

fn done(plan: &Plan) -> Vec<String> {
    let names = |text: String| (1..=9).fold(text, |it, n| it.replace(&real(n), &format!("m{n}")));
    plan.actions
        .iter()
        .map(|it| names(it.to_string()))
        .collect()
}

fn step(plan: &Plan) -> (&str, Option<String>) {
    let work = plan.report.work.as_ref().unwrap();
    (work.step, work.blocked_by.first().map(|it| it.gate.clone()))
}

/// All that is there belongs to a cluster that had the same name, and still answers.
fn of_a_namesake(it: &mut Situation) {
    it.cluster.status = None;
    it.observed.members.clear();
    let pods = it.observed.pods.iter_mut().map(|it| &mut it.metadata);
    let claims = it.observed.claims.iter_mut().map(|it| &mut it.metadata);
    for meta in pods.chain(claims) {
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(names::CLUSTER_UID.to_owned(), "another".to_owned());
    }
}

#[test]
fn a_new_cluster_does_not_take_the_dying_members_of_its_namesake_for_its_own() {
    let mut it = parse("cluster replicas=3\nm1 leader\nm2\nm3");
    of_a_namesake(&mut it);
    let plan = planned(&it);
    assert_eq!(plan.report.memory.cluster_id, None);
    assert_eq!(step(&plan), ("ChooseName", None));
}

#[test]
fn whoever_else_answers_at_the_seeds_address_does_not_make_the_cluster_born() {
    let mut it = parse("cluster replicas=3 fresh joining=1\nm1 known=no leader");
    let answer = it.observed.probes.get_mut(&real(1)).unwrap();
    let answer = answer.answer.as_mut().unwrap();
    for listed in answer.membership.iter_mut().flatten() {
        listed.name = "stranger".to_owned();
        listed.peer_urls = vec!["http://10.0.0.9:2380".to_owned()];
    }
    let plan = planned(&it);
    assert_eq!(plan.report.memory.cluster_id, None);
    assert_eq!(step(&plan).0, "StartMember");
}

#[test]
fn a_cluster_whose_status_and_identities_are_lost_is_not_founded_again_beside_its_volumes() {
    let mut it = parse("cluster replicas=3\nm1 identity=no pod=none\nm2 identity=no pod=none");
    it.cluster.status = None;
    let plan = planned(&it);
    assert_eq!(step(&plan), ("FindCluster", Some("Status".to_owned())));
    assert_eq!(plan.report.memory.joining, None);
}

#[test]
fn a_last_identity_without_a_volume_gets_no_empty_one_beside_the_volumes_of_the_others() {
    let mut it = parse("cluster replicas=2\nm1 claim=none pod=none\nm2 identity=no pod=none");
    it.cluster.status = None;
    let plan = planned(&it);
    assert_eq!(step(&plan), ("FindCluster", Some("Status".to_owned())));
    assert_eq!(done(&plan), Vec::<String>::new());
}

#[test]
fn the_checker_lets_no_cluster_be_founded_beside_volumes_of_its_own() {
    let seed = parse("cluster replicas=1 fresh joining=1\nm1 known=no unlisted pod=none");
    let plan = planned(&seed);
    assert_eq!(done(&plan).last().unwrap(), "create pod m1");
    let mut beside =
        parse("cluster replicas=1\nm1 known=no unlisted pod=none\nm2 identity=no pod=none");
    beside.observed.probes.clear();
    let refused = safety::check(&beside.observed, &plan.actions).unwrap_err();
    assert_eq!(refused.invariant, 2, "{refused}");
}

#[test]
fn a_member_that_answers_at_anothers_address_is_counted_once() {
    let mut it = parse("cluster replicas=3\nm1 leader\nm2\nm3 pod=notready");
    let second = it.observed.probes[&real(2)].clone();
    it.observed.probes.insert(real(3), second);
    assert_eq!(planned(&it).report.quorum.unwrap().healthy, 2);
}

#[test]
fn a_retained_volume_is_let_go_even_while_the_cluster_is_paused_or_being_deleted() {
    for hands_off in ["paused", "deleted", "overlay={\"nodeSelectr\":{}}"] {
        let situation = |policy: &str| {
            parse(&format!(
                "cluster replicas=1 {hands_off} policy={policy}\nm1 leader"
            ))
        };
        let mut it = situation("Delete");
        assert_eq!(done(&planned(&it)), Vec::<String>::new(), "{hands_off}");
        it.cluster.spec.deletion_policy = crds::DeletionPolicy::Retain;
        assert_eq!(
            done(&planned(&it)),
            ["make claim data-m1 stay behind"],
            "{hands_off}"
        );
    }
}

#[test]
fn a_pod_that_cannot_be_made_does_not_keep_its_member_from_being_taken_away() {
    let it = parse("cluster replicas=3\nm1 leader\nm2\nm3\nm4 unstarted pod=none");
    let plan = planned(&it);
    assert_eq!(done(&plan), ["remove m4 from the membership"]);
}

#[test]
fn deleting_the_identity_of_a_member_whose_name_is_spoilt_goes_on_under_the_next() {
    for volume in ["claim=lost", "claim=foreign"] {
        let text = format!(
            "cluster replicas=3 joining=3\nm1 leader\nm2\nm3 unlisted known=no identity=no pod=none {volume}"
        );
        let plan = planned(&parse(&text));
        assert_eq!(
            plan.report.memory.joining.as_ref().unwrap().serial,
            4,
            "{volume}"
        );
        let none = plan
            .actions
            .iter()
            .any(|it| matches!(it, Action::CreateMember(_)));
        assert!(!none, "{volume}");
    }
}

#[test]
fn the_largest_serial_there_can_be_is_no_end() {
    let mut it = parse("cluster replicas=2\nm1 leader");
    it.cluster.status.as_mut().unwrap().serial = i64::MAX;
    assert!(planned(&it).report.memory.joining.is_some());
}
