use crds::{BlockedBy, Operation, OperationType};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn condition(kind: &str, status: &str, reason: &str) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: format!("because of {reason}"),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: Some(1),
    }
}

fn blocked(gate: &str, message: &str) -> RaftClusterStatus {
    RaftClusterStatus {
        operation: Some(Operation {
            kind: OperationType::ScaleUp,
            step: "PromoteLearner".into(),
            member: Some("kv-a".into()),
            started_at: Time(Timestamp::UNIX_EPOCH),
            deadline: Time(Timestamp::UNIX_EPOCH),
            blocked_by: vec![BlockedBy {
                gate: gate.into(),
                message: message.into(),
            }],
        }),
        ..RaftClusterStatus::default()
    }
}

fn reasons(old: &RaftClusterStatus, new: &RaftClusterStatus) -> Vec<String> {
    news(old, new, &[])
        .into_iter()
        .map(|news| news.reason)
        .collect()
}

#[test]
fn the_same_status_twice_is_no_news() {
    let mut status = blocked("CaughtUp", "4,120 entries behind, gate 100");
    status.conditions = vec![condition("Ready", "False", "ScaleUp")];
    assert_eq!(reasons(&status, &status), Vec::<String>::new());
}

#[test]
fn a_gate_is_told_by_its_name_once_however_its_numbers_move() {
    let (none, far) = (
        RaftClusterStatus::default(),
        blocked("CaughtUp", "4,120 entries behind"),
    );
    let told = news(&none, &far, &[]);
    assert_eq!(told.len(), 1);
    let expected = ("CaughtUp", "ScaleUp", "4,120 entries behind", false);
    let first = &told[0];
    assert_eq!(
        (&*first.reason, &*first.action, &*first.note, first.warning),
        expected
    );
    assert_eq!(
        reasons(&far, &blocked("CaughtUp", "300 entries behind")),
        Vec::<String>::new()
    );
    assert_eq!(
        reasons(&far, &blocked("LeaderKnown", "no leader")),
        ["LeaderKnown"]
    );
}

#[test]
fn a_condition_that_turns_is_told_and_bad_ones_warn() {
    let with = |conditions| RaftClusterStatus {
        conditions,
        ..RaftClusterStatus::default()
    };
    let good = with(vec![condition("Quorate", "True", "QuorumHealthy")]);
    let bad = with(vec![condition("Quorate", "False", "QuorumLost")]);
    let told = news(&good, &bad, &[]);
    assert_eq!(told[0].note, "Quorate is False: because of QuorumLost");
    assert!(told[0].warning);
    assert!(!news(&bad, &good, &[])[0].warning);
}

#[test]
fn progress_is_told_where_nothing_else_turns_for_the_same_reason() {
    let with = |conditions: [(&str, &str, &str); 2]| RaftClusterStatus {
        conditions: conditions
            .map(|(kind, truth, reason)| condition(kind, truth, reason))
            .into(),
        ..RaftClusterStatus::default()
    };
    let grows = with([
        ("Ready", "False", "ScaleUp"),
        ("Progressing", "True", "ScaleUp"),
    ]);
    let rests = with([
        ("Ready", "True", "Converged"),
        ("Progressing", "False", "Converged"),
    ]);
    let stops = with([
        ("Ready", "True", "Converged"),
        ("Progressing", "False", "Paused"),
    ]);
    assert_eq!(reasons(&grows, &rests), ["Converged"]);
    assert_eq!(reasons(&rests, &stops), ["Paused"]);
}

#[test]
fn the_first_status_of_a_new_cluster_is_not_bad_news() {
    let first = RaftClusterStatus {
        conditions: vec![
            condition("Ready", "False", "Bootstrap"),
            condition("Available", "False", "NotBootstrapped"),
            condition("Degraded", "False", "MembersHealthy"),
        ],
        ..RaftClusterStatus::default()
    };
    assert_eq!(
        reasons(&RaftClusterStatus::default(), &first),
        Vec::<String>::new()
    );
}

#[test]
fn what_was_done_is_told_by_the_kind_of_the_action_and_what_follows_is_not() {
    let pod = plan::Target {
        name: "kv-a".into(),
        uid: "u".into(),
    };
    let done = [
        Action::LabelPod {
            pod: pod.clone(),
            role: plan::names::Role::Learner,
        },
        Action::DeletePod {
            pod,
            why: "it has ended".into(),
        },
    ];
    let status = RaftClusterStatus::default();
    let told = news(&status, &status, &done);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&*told[0].reason, &*told[0].note),
        ("DeletePod", "delete pod kv-a: it has ended")
    );
}

#[test]
fn a_majority_that_nobody_wants_is_no_warning() {
    let turned = |reason: &str| {
        let (mut old, mut new) = <(RaftClusterStatus, RaftClusterStatus)>::default();
        old.conditions = vec![condition("Quorate", "True", "QuorumHealthy")];
        new.conditions = vec![condition("Quorate", "False", reason)];
        news(&old, &new, &[])[0].warning
    };
    assert!(turned("QuorumLost"));
    assert!(!turned("Hibernate") && !turned("Hibernated") && !turned("Wake"));
}
