//! Bad plans, made by hand, that the checker must refuse, each beside the good one it is a slip away from.

// Everything here is a test, the helpers included.
#![allow(clippy::unwrap_used)]

mod scenario;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::names::{self, Role};
use plan::safety::check;
use plan::{Action, Ground, Observed, Target};
use scenario::{parse, real as member};

const THREE: &str = "cluster replicas=3\nm1 leader\nm2\nm3";
const WITH_LEARNER: &str = "cluster replicas=3\nm1 leader\nm2\nm3 learner";
const ONE_DOWN: &str = "cluster replicas=3\nm1 leader\nm2\nm3 pod=notready answer=no";

/// What was seen, with a budget that lets nobody go.
fn observed(situation: &str) -> Observed {
    let mut observed = parse(situation).observed;
    for budget in &mut observed.budgets {
        let spec = budget.spec.as_mut().unwrap();
        spec.min_available = Some(IntOrString::Int(9));
    }
    observed
}

fn id(serial: u64) -> u64 {
    0xa0 + serial
}

fn ground() -> Ground {
    Ground {
        via: member(1),
        cluster_id: 0xc0ffee,
        members: Vec::new(),
    }
}

fn pod(serial: i64) -> Target {
    Target {
        name: member(serial),
        uid: format!("pod-{serial}"),
    }
}

fn claim(serial: i64) -> Target {
    Target {
        name: names::claim(&member(serial)),
        uid: format!("claim-{serial}"),
    }
}

fn stop(serial: i64) -> Action {
    Action::DeletePod {
        pod: pod(serial),
        why: "a test".to_owned(),
    }
}

fn remove(serial: i64) -> Action {
    let id = id(u64::try_from(serial).unwrap());
    Action::RemoveMember {
        name: member(serial),
        id,
        ground: ground(),
    }
}

fn promote(serial: i64) -> Action {
    let id = id(u64::try_from(serial).unwrap());
    Action::Promote {
        name: member(serial),
        id,
        ground: ground(),
    }
}

fn add(serial: i64) -> Action {
    Action::AddLearner {
        name: member(serial),
        peer_url: String::new(),
        ground: ground(),
    }
}

fn hand_over(to: i64) -> Action {
    let to_id = id(u64::try_from(to).unwrap());
    Action::MoveLeader {
        to: member(to),
        to_id,
        ground: ground(),
    }
}

#[track_caller]
fn safe(situation: &str, actions: &[Action]) {
    assert_eq!(check(&observed(situation), actions), Ok(()));
}

#[track_caller]
fn unsafe_by(invariant: u8, situation: &str, actions: &[Action]) {
    let violation = check(&observed(situation), actions).expect_err("the checker must refuse this");
    assert_eq!(violation.invariant, invariant, "{violation}");
}

#[test]
fn nothing_is_safe() {
    safe(THREE, &[]);
}

#[test]
fn a_follower_of_three_may_stop_and_two_may_not() {
    safe(THREE, &[stop(2)]);
    unsafe_by(1, THREE, &[stop(2), stop(3)]);
}

#[test]
fn the_last_that_makes_a_majority_may_not_stop() {
    unsafe_by(1, ONE_DOWN, &[stop(2)]);
    safe(
        "cluster replicas=5\nm1 leader\nm2\nm3\nm4\nm5 pod=notready answer=no",
        &[stop(2)],
    );
    unsafe_by(
        1,
        "cluster replicas=3\nm1 leader\nm2\nm3 index=5",
        &[stop(2)],
    );
    unsafe_by(
        1,
        "cluster replicas=3\nm1 leader\nm2\nm3 answer=stale",
        &[stop(2)],
    );
    unsafe_by(
        1,
        "cluster replicas=3\nm1 leader\nm2\nm3 pod=ending",
        &[stop(2)],
    );
}

#[test]
fn a_broken_one_may_always_stop() {
    safe(ONE_DOWN, &[stop(3)]);
    safe(
        "cluster replicas=3\nm1\nm2 pod=notready answer=no\nm3 pod=notready answer=no",
        &[stop(2), stop(3)],
    );
    safe(
        "cluster replicas=3\nm1 leader\nm2\nm3 pod=failed",
        &[stop(3)],
    );
}

#[test]
fn of_broken_voters_that_answer_one_may_stop() {
    let leaderless = "cluster replicas=3\nm1\nm2 pod=notready\nm3 pod=notready";
    safe(leaderless, &[stop(2)]);
    unsafe_by(1, leaderless, &[stop(2), stop(3)]);
    safe(
        "cluster replicas=3\nm1 leader\nm2\nm3 pod=notready leaderless\nm4 learner pod=notready",
        &[stop(3), stop(4)],
    );
}

#[test]
fn with_no_membership_only_dead_pods_and_those_not_ready_may_stop() {
    unsafe_by(1, "cluster replicas=3\nm1\nm2\nm3", &[stop(2)]);
    let silent = "cluster replicas=3\nm1 answer=no\nm2 answer=no\nm3 answer=no";
    unsafe_by(1, silent, &[stop(2)]);
    safe("cluster replicas=3\nm1\nm2 pod=notready\nm3", &[stop(2)]);
    safe("cluster replicas=3\nm1\nm2 pod=failed\nm3", &[stop(2)]);
}

#[test]
fn ready_pods_that_the_operator_cannot_reach_may_not_stop() {
    unsafe_by(
        1,
        "cluster replicas=3\nm1 leader\nm2 answer=no\nm3 answer=no",
        &[stop(2)],
    );
}

#[test]
fn the_only_voter_may_restart_and_one_of_two_healthy_ones() {
    safe("cluster replicas=1\nm1 leader", &[stop(1)]);
    safe("cluster replicas=2\nm1 leader\nm2", &[stop(2)]);
    unsafe_by(8, "cluster replicas=2\nm1 leader\nm2", &[stop(1)]);
}

#[test]
fn a_leader_neither_stops_nor_goes() {
    unsafe_by(8, THREE, &[stop(1)]);
    unsafe_by(8, THREE, &[remove(1)]);
    safe(THREE, &[hand_over(2)]);
    unsafe_by(1, THREE, &[hand_over(2), stop(1)]);
}

#[test]
fn leadership_goes_to_a_sound_follower_only() {
    unsafe_by(8, THREE, &[hand_over(1)]);
    unsafe_by(8, ONE_DOWN, &[hand_over(3)]);
    unsafe_by(8, WITH_LEARNER, &[hand_over(3)]);
}

#[test]
fn a_pod_is_deleted_by_the_uid_that_was_seen() {
    let other = Target {
        uid: "another".to_owned(),
        ..pod(2)
    };
    unsafe_by(
        3,
        THREE,
        &[Action::DeletePod {
            pod: other,
            why: String::new(),
        }],
    );
    unsafe_by(3, THREE, &[stop(4)]);
}

#[test]
fn a_voter_goes_only_if_those_that_stay_are_a_majority() {
    safe(THREE, &[remove(3)]);
    safe(ONE_DOWN, &[remove(3)]);
    unsafe_by(1, ONE_DOWN, &[remove(2)]);
    unsafe_by(1, "cluster replicas=3\nm1\nm2\nm3", &[remove(3)]);
    unsafe_by(
        1,
        "cluster replicas=2\nm1 leader\nm2 answer=no",
        &[remove(2)],
    );
}

#[test]
fn one_change_of_the_membership_at_a_time() {
    unsafe_by(1, THREE, &[remove(2), remove(3)]);
    unsafe_by(1, WITH_LEARNER, &[promote(3), add(4)]);
    unsafe_by(1, WITH_LEARNER, &[add(4)]);
    safe(THREE, &[add(4)]);
    unsafe_by(1, "cluster replicas=3\nm1\nm2\nm3", &[add(4)]);
}

#[test]
fn only_a_learner_that_has_caught_up_is_promoted() {
    safe(WITH_LEARNER, &[promote(3)]);
    unsafe_by(1, THREE, &[promote(3)]);
    unsafe_by(
        1,
        "cluster replicas=3\nm1 leader\nm2\nm3 learner index=5",
        &[promote(3)],
    );
    unsafe_by(
        1,
        "cluster replicas=3\nm1 leader\nm2 answer=no\nm3 learner",
        &[promote(3)],
    );
}

#[test]
fn a_volume_goes_only_when_nobody_needs_it() {
    let delete = |serial| {
        [Action::DeleteClaim {
            claim: claim(serial),
        }]
    };
    let gone =
        "cluster replicas=3 policy=Delete\nm1 leader\nm2\nm3\nm4 identity=never unlisted pod=none";
    safe(gone, &delete(4));
    let other = Target {
        uid: "another".to_owned(),
        ..claim(4)
    };
    unsafe_by(2, gone, &[Action::DeleteClaim { claim: other }]);
    unsafe_by(2, THREE, &delete(3));
    unsafe_by(
        2,
        "cluster replicas=3\nm1 leader\nm2\nm3\nm4 unlisted",
        &delete(4),
    );
    unsafe_by(
        2,
        "cluster replicas=3\nm1 leader\nm2\nm3 pod=none claim=present",
        &delete(3),
    );
    unsafe_by(
        2,
        "cluster replicas=3\nm1\nm2\nm3\nm4 unlisted pod=none",
        &delete(4),
    );
    let weak = "cluster replicas=3\nm1 leader\nm2 answer=no\nm3 answer=no\nm4 unlisted pod=none";
    unsafe_by(2, weak, &delete(4));
}

#[test]
fn a_member_in_the_membership_gets_no_empty_volume() {
    let create = |serial: i64| {
        let mut claim = k8s_openapi::api::core::v1::PersistentVolumeClaim::default();
        claim.metadata.name = Some(names::claim(&member(serial)));
        [Action::CreateClaim(Box::new(claim))]
    };
    safe(THREE, &create(4));
    unsafe_by(2, THREE, &create(3));
}

#[test]
fn an_identity_goes_only_when_its_member_is_out() {
    let delete = |serial: i64| {
        let member = Target {
            name: member(serial),
            uid: format!("member-{serial}"),
        };
        [Action::DeleteMember { member }]
    };
    unsafe_by(1, THREE, &delete(3));
    unsafe_by(1, "cluster replicas=3\nm1\nm2\nm3", &delete(3));
    safe(
        "cluster replicas=2\nm1 leader\nm2\nm3 unlisted pod=none",
        &delete(3),
    );
}

/// The pod that the planner makes for `m3`.
fn made(situation: &str) -> k8s_openapi::api::core::v1::Pod {
    let it = parse(situation);
    let actions = plan::plan(&it.cluster, &it.observed, it.now).actions;
    let made = actions.into_iter().find_map(|it| match it {
        Action::CreatePod(pod) => Some(*pod),
        _ => None,
    });
    made.expect("the planner makes the missing pod")
}

#[test]
fn a_member_starts_on_its_own_volume_only() {
    let situation = "cluster replicas=3\nm1 leader\nm2\nm3 pod=none";
    let pod = made(situation);
    safe(situation, &[Action::CreatePod(Box::new(pod.clone()))]);
    for claim in ["claim=none", "claim=foreign", "claim=ending"] {
        unsafe_by(
            2,
            &format!("{situation} {claim}"),
            &[Action::CreatePod(Box::new(pod.clone()))],
        );
    }
    let mut swapped = pod.clone();
    let volumes = swapped.spec.as_mut().unwrap().volumes.as_mut().unwrap();
    volumes[0]
        .persistent_volume_claim
        .as_mut()
        .unwrap()
        .claim_name = names::claim(&member(2));
    unsafe_by(2, situation, &[Action::CreatePod(Box::new(swapped))]);
    let mut anyone = pod;
    anyone
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .remove(names::MEMBER_LABEL);
    unsafe_by(2, situation, &[Action::CreatePod(Box::new(anyone))]);
}

#[test]
fn nobody_founds_a_second_cluster() {
    let situation = "cluster replicas=3\nm1 leader\nm2\nm3 pod=none";
    let mut pod = made(situation);
    let args = pod.spec.as_mut().unwrap().containers[0]
        .args
        .as_mut()
        .unwrap();
    args.push("--initial-cluster-state=new".to_owned());
    unsafe_by(2, situation, &[Action::CreatePod(Box::new(pod))]);
}

#[test]
fn labels_and_owners_are_harmless() {
    safe(
        ONE_DOWN,
        &[
            Action::LabelPod {
                pod: pod(3),
                role: Role::Learner,
            },
            Action::OwnClaim {
                claim: claim(3),
                owner: None,
            },
        ],
    );
}

#[test]
fn who_hibernates_may_be_stopped_whole_but_the_leader_last() {
    let asleep = |members: &str| format!("cluster replicas=3 run=Hibernated\n{members}");
    let three = asleep("m1 leader\nm2\nm3");
    safe(&three, &[stop(2), stop(3)]);
    unsafe_by(1, THREE, &[stop(2), stop(3)]);
    unsafe_by(8, &three, &[stop(2), stop(3), stop(1)]);
    unsafe_by(8, &asleep("m1 leader\nm2 pod=none\nm3"), &[stop(1)]);
    safe(&asleep("m1 leader\nm2 pod=ending\nm3 pod=none"), &[stop(1)]);
}

#[test]
fn who_hibernates_keeps_its_membership_and_its_volumes() {
    let asleep = "cluster replicas=3 run=Hibernated\nm1 leader\nm2\nm3 learner";
    unsafe_by(1, asleep, &[remove(3)]);
    let promotion = Action::Promote {
        name: member(3),
        id: id(3),
        ground: ground(),
    };
    safe(WITH_LEARNER, std::slice::from_ref(&promotion));
    unsafe_by(1, asleep, &[promotion]);
    let volume = Action::DeleteClaim { claim: claim(2) };
    unsafe_by(2, asleep, &[volume]);
}

/// An operation that keeps a member stopped, or is about to.
fn fence(serial: i64, done: bool) -> String {
    format!(
        r#"operation one spec={{"fence":{{"member":"m{serial}"}}}} status={{"phase":"Running","clusterUID":"c1c1c1c1-0000-4000-8000-000000000001","plan":{{"steps":[{{"action":"FenceMember","member":"m{serial}","done":{done}}}]}}}}"#
    )
}

#[test]
fn who_is_kept_stopped_is_not_started() {
    let gone = "cluster replicas=3\nm1 leader\nm2\nm3 pod=none";
    let start = [Action::CreatePod(Box::new(made(gone)))];
    safe(&format!("{gone}\n{}", fence(3, false)), &start);
    unsafe_by(3, &format!("{gone}\n{}", fence(3, true)), &start);
    safe(&format!("{gone}\n{}", fence(2, true)), &start);
}

#[test]
fn one_of_two_is_stopped_only_if_it_comes_back() {
    let two = "cluster replicas=2\nm1 leader\nm2";
    safe(&format!("{two}\n{}", fence(2, false)), &[stop(2)]);
    unsafe_by(1, &format!("{two}\n{}", fence(2, true)), &[stop(2)]);
    safe(&format!("{THREE}\n{}", fence(2, true)), &[stop(2)]);
}

#[test]
fn a_volume_is_only_ever_asked_to_be_larger_than_it_is() {
    let situation = "cluster replicas=3\nm1 leader\nm2\nm3 volume=4Gi/4Gi";
    let grow = |serial: i64, size: &str| {
        let claim = claim(serial);
        let size = size.to_owned();
        [Action::GrowClaim { claim, size }]
    };
    safe(situation, &grow(3, "5Gi"));
    unsafe_by(2, situation, &grow(3, "4Gi"));
    unsafe_by(2, situation, &grow(3, "2Gi"));
    unsafe_by(2, situation, &grow(4, "5Gi"));
    // One that was asked for too much, and has not got it.
    safe(
        "cluster replicas=3\nm1 leader\nm2\nm3 volume=800Gi/4Gi",
        &grow(3, "5Gi"),
    );
}

fn defragment(serial: i64) -> Action {
    Action::Defragment {
        name: member(serial),
        ground: ground(),
    }
}

#[test]
fn a_member_pauses_only_where_the_others_can_do_without_it() {
    safe(THREE, &[defragment(2)]);
    safe(THREE, &[defragment(1)]);
    safe(ONE_DOWN, &[defragment(3)]);
    unsafe_by(1, ONE_DOWN, &[defragment(2)]);
    unsafe_by(1, THREE, &[defragment(2), defragment(3)]);
    unsafe_by(1, THREE, &[defragment(2), stop(3)]);
    let headless = "cluster replicas=3\nm1\nm2\nm3";
    unsafe_by(1, headless, &[defragment(2)]);
}

#[test]
fn revisions_go_only_with_a_sound_majority() {
    let compact = Action::Compact {
        revision: 1,
        ground: ground(),
    };
    let asked = |world: &str, phase: &str, revision: i64| {
        let plan =
            format!(r#"{{"steps":[{{"action":"Compact","revision":{revision},"done":false}}]}}"#);
        let status = format!(r#"{{"phase":"{phase}","plan":{plan}}}"#);
        format!("{world}\noperation one spec={{\"compact\":{{}}}} status={status}")
    };
    let two_down = "cluster replicas=3\nm1 leader\nm2 index=10\nm3 pod=notready answer=no";
    let full = "cluster replicas=3\nm1 leader\nm2 no-space\nm3";
    let compact = std::slice::from_ref(&compact);
    safe(&asked(ONE_DOWN, "Running", 1), compact);
    safe(full, compact);
    unsafe_by(2, &asked(two_down, "Running", 1), compact);
    unsafe_by(2, &asked(THREE, "Running", 2), compact);
    unsafe_by(2, &asked(THREE, "Succeeded", 1), compact);
    unsafe_by(2, THREE, compact);
}

#[test]
fn an_operation_that_has_ended_is_told_nothing_more() {
    let with = |phase: &str| {
        let status = format!(r#"{{"phase":"{phase}"}}"#);
        format!("{THREE}\noperation one spec={{\"restart\":{{}}}} status={status}")
    };
    let tell = |world: &str| {
        let told = parse(world).observed.operations.remove(0);
        Action::TellOperation(Box::new(told))
    };
    for open in ["Pending", "Running"] {
        safe(&with(open), &[tell(&with(open))]);
    }
    for ended in ["Planned", "Succeeded", "Failed"] {
        unsafe_by(3, &with(ended), &[tell(&with(ended))]);
    }
    unsafe_by(3, THREE, &[tell(&with("Running"))]);
}

#[test]
fn only_an_operation_that_has_ended_is_deleted() {
    let delete = Action::DeleteOperation {
        operation: Target {
            name: "one".to_owned(),
            uid: "one".to_owned(),
        },
    };
    let with = |phase: &str| {
        let status = format!(r#"{{"phase":"{phase}"}}"#);
        format!("{THREE}\noperation one spec={{\"restart\":{{}}}} status={status}")
    };
    for ended in ["Planned", "Succeeded", "Failed"] {
        safe(&with(ended), std::slice::from_ref(&delete));
    }
    for open in ["Pending", "Running"] {
        unsafe_by(3, &with(open), std::slice::from_ref(&delete));
    }
    unsafe_by(3, THREE, &[delete]);
}

#[test]
fn a_certificate_authority_changes_only_where_every_member_was_seen_to_be_ready() {
    let issue = |authority| {
        let mut secret = k8s_openapi::api::core::v1::Secret::default();
        secret.metadata.name = Some("kv-peer-tls".to_owned());
        let uid = parse(THREE).cluster.metadata.uid;
        let annotation = (plan::names::CLUSTER_UID.to_owned(), uid.unwrap_or_default());
        secret.metadata.annotations = Some([annotation].into());
        let target = Target {
            name: "kv-peer-tls".to_owned(),
            uid: "uid-kv-peer-tls".to_owned(),
        };
        Action::IssueCertificates(Box::new(plan::Issue {
            surface: plan::names::Surface::Peer,
            secret: Box::new(secret),
            replaces: Some(target),
            version: None,
            authority,
            leaves: Vec::new(),
        }))
    };
    let secret = || Target {
        name: "kv-peer-tls".to_owned(),
        uid: "uid-kv-peer-tls".to_owned(),
    };
    let next = [issue(plan::Authority::Next { secret: secret() })];
    let alone = [issue(plan::Authority::Alone { secret: secret() })];
    let world = |has: &str, all: &str, last: &str| {
        let tls = r#"tls={"peer":{"mode":"Operator"}} certificates"#;
        format!("cluster replicas=3 {tls} {has}\nm1 leader {all}\nm2 {all}\nm3 {last}")
    };
    let old = "trusts=kv-peer-tls shows=kv-peer-tls/tls";
    let both = "trusts=kv-peer-tls+new shows=kv-peer-tls/tls";
    let shows = "trusts=kv-peer-tls+new shows=new/tls";
    let (prepared, signs) = ("prepared=kv-peer-tls", "both=kv-peer-tls");
    safe(&world(prepared, both, both), &next);
    unsafe_by(1, &world(prepared, both, old), &next);
    unsafe_by(1, &world(prepared, both, ""), &next);
    unsafe_by(1, &world("", both, both), &next);
    safe(&world(signs, shows, shows), &alone);
    unsafe_by(1, &world(signs, shows, both), &alone);
    unsafe_by(1, &world(signs, shows, "pod=notready answer=no"), &alone);
}

#[test]
fn nothing_that_members_hold_goes_to_another_issuer_or_is_left_unrenewed() {
    let tls = r#"tls={"peer":{"mode":"Disabled"},"client":{"mode":"CertManager","issuerRef":{"name":"clients"}}}"#;
    let world = |of: &str, pods: &str| {
        let members = ["m1 leader", "m2", "m3"].map(|it| format!("{it} {pods}"));
        format!("cluster replicas=3 {tls} {of}\n{}", members.join("\n"))
    };
    let absent = world("cert-manager=absent", "");
    let situation = parse(&absent);
    let planned = plan::plan(&situation.cluster, &situation.observed, situation.now).actions;
    let named = |it: &&Action| it.to_string() == "apply certificate kv-server-cert";
    let apply: Vec<Action> = planned.iter().filter(named).cloned().collect();
    assert_eq!(apply.len(), 1, "{planned:?}");
    safe(&absent, &apply);
    safe(
        &world("cert-manager=signed drifted=kv-server-cert", ""),
        &apply,
    );
    let other = "cert-manager=signed signed-by=kv-server-cert/old";
    unsafe_by(1, &world(other, ""), &apply);
    safe(&world(other, "pod=none"), &apply);
    let stolen = "cert-manager=ready stolen-request=kv-server-cert";
    unsafe_by(3, &world(stolen, ""), &apply);

    let delete = |uid: &str| {
        [Action::DeleteCertificate {
            certificate: Target {
                name: "kv-server-cert".to_owned(),
                uid: uid.to_owned(),
            },
        }]
    };
    let left = "cluster replicas=3 cert-manager=signed left=kv-server-cert\nm1 leader\nm2\nm3";
    safe(left, &delete("uid-kv-server-cert"));
    unsafe_by(3, left, &delete("another"));
    let held = format!("{left} mounting=kv-server-cert");
    unsafe_by(1, &held, &delete("uid-kv-server-cert"));
}

const MOVING: &str = r#"cluster replicas=3 tls={"peer":{"mode":"Operator"}} certificates listeners=http:2380+https:2382
m1 leader
m2
m3"#;

fn reached_at(serial: i64, way: &str) -> Action {
    let at = names::PeerPort::of_url(way).unwrap();
    Action::UpdatePeerUrl {
        name: member(serial),
        id: id(u64::try_from(serial).unwrap()),
        peer_url: names::peer_url(at, "demo", "kv", &member(serial)),
        ground: ground(),
    }
}

#[test]
fn who_is_reached_elsewhere_listens_there_and_all_can_dial_it() {
    let secured = || reached_at(2, "https://:2382");
    safe(MOVING, &[secured()]);
    unsafe_by(1, MOVING, &[reached_at(2, "http://:2382")]);
    unsafe_by(1, THREE, &[secured()]);
    unsafe_by(1, MOVING, &[secured(), reached_at(3, "https://:2382")]);
    unsafe_by(1, &format!("{MOVING} pod=notready answer=no"), &[secured()]);
    let mut mixed = observed(MOVING);
    mixed.pods[2] = observed(THREE).pods[2].clone();
    check(&mixed, &[secured()]).expect_err("m3 has no certificate");
}

#[test]
fn who_starts_listens_where_it_is_looked_for() {
    let started = |lines: &str| {
        let situation = parse(lines);
        let plan = plan::plan(&situation.cluster, &situation.observed, situation.now);
        let made = |it: &Action| matches!(it, Action::CreatePod(_));
        plan.actions.into_iter().find(made).unwrap()
    };
    let secured = MOVING.replace("m3", "m3 pod=none at=https:2382");
    let plain = "cluster replicas=3\nm1 leader\nm2\nm3 pod=none";
    safe(&secured, &[started(&secured)]);
    safe(plain, &[started(plain)]);
    unsafe_by(1, &secured, &[started(plain)]);
}

#[test]
fn a_voter_goes_only_when_no_other_may_be_evicted() {
    let open = parse(THREE).observed;
    let closed = observed(THREE);
    let closes = || Action::ApplyBudget(Box::new(closed.budgets[0].clone()));
    let relabel = || Action::LabelPod {
        pod: pod(3),
        role: Role::Learner,
    };
    for step in [stop(3), relabel()] {
        let steps = std::slice::from_ref(&step);
        assert_eq!(check(&open, steps).unwrap_err().invariant, 1);
        check(&closed, steps).unwrap();
        check(&open, &[closes(), step.clone()]).unwrap();
        assert_eq!(check(&open, &[step, closes()]).unwrap_err().invariant, 1);
    }
    // Nobody counts on one that is not ready.
    let down = parse(ONE_DOWN).observed;
    check(&down, &[stop(3)]).unwrap();
}

/// A recovery from quorum loss that is about to restore, with the snapshot of the survivor's volume so far.
fn rebuilding(snapshot: &str, wish: &str) -> String {
    let spec = format!(r#"{{"recoverQuorum":{{"acknowledge":"p","volumeSnapshots":"{wish}"}}}}"#);
    let recovery = r#"{"name":"p","survivor":"m1","survivors":[],"lost":[],"mayLose":"nothing"}"#;
    let plan = format!(r#"{{"steps":[],"recovery":{recovery}}}"#);
    let uid = "c1c1c1c1-0000-4000-8000-000000000001";
    let status = format!(r#"{{"phase":"Running","clusterUID":"{uid}","plan":{plan}}}"#);
    format!(
        "cluster replicas=3 required=2 recovering=m1 snapshots=m1 snapshot={snapshot}\n\
         m1 pod=none\nm2 claim=lost pod=none\nm3 claim=lost pod=none\n\
         operation one spec={spec} status={status}"
    )
}

#[test]
fn nothing_is_restored_before_the_snapshot_that_was_agreed_to() {
    let taken = parse(&rebuilding("taken", "WhereSupported"));
    let actions = plan::plan(&taken.cluster, &taken.observed, taken.now).actions;
    let restores = |it: &Action| matches!(it, Action::CreatePod(_));
    assert!(actions.iter().any(restores), "{actions:?}");
    check(&taken.observed, &actions).expect("it is taken");
    for snapshot in ["absent", "waiting", "failed", "forbidden", "unread"] {
        let seen = parse(&rebuilding(snapshot, "WhereSupported")).observed;
        let violation = check(&seen, &actions).expect_err(snapshot);
        assert!(violation.sentence.ends_with("is not snapshotted"));
        let unwanted = parse(&rebuilding(snapshot, "Never")).observed;
        check(&unwanted, &actions).expect("nobody wants one");
    }
}
