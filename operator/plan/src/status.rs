//! The status of a cluster after a round, from the report and how its actions went.
//!
//! Deterministic: the same facts give the same status, so that a converged cluster has nothing to publish. Times change only
//! with what they are the time of.
//!
//! This file deliberately looks at no object: what is known stands in the report.

mod conditions;

use crds::{
    BlockedBy, CertificatesStatus, MemberStatus, Operation, OperationType, RaftCluster,
    RaftClusterStatus, Reclaiming, RepairStatus,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    accounts,
    action::Action,
    maintenance, names, network_policy,
    operate::fence,
    progress,
    report::{Learners, Outcome, Report, Work},
    view::{PUT_OFF, hex},
};
use conditions::conditions;

/// How long one piece of work on one member may take before the cluster counts as degraded; of a rollout, the spec says it.
const DEADLINE: SignedDuration = SignedDuration::from_mins(10);

/// The status after a round.
#[must_use]
pub fn status(cluster: &RaftCluster, report: &Report, outcome: &Outcome) -> RaftClusterStatus {
    let old = cluster.status.clone().unwrap_or_default();
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let operation = report
        .work
        .as_ref()
        .map(|work| operation(cluster, &old, work, report.at, outcome));
    RaftClusterStatus {
        observed_generation: cluster.metadata.generation,
        conditions: conditions(cluster, &old, report, operation.as_ref(), outcome),
        ready: Some(format!("{}/{}", report.ready, report.wanted)),
        learners: learners(report),
        replicas: i32::try_from(report.members.len()).unwrap_or(i32::MAX) - report.learners.there,
        ready_replicas: report.ready,
        selector: Some(names::pod_selector(name)),
        cluster_id: report.memory.cluster_id.clone(),
        version: version(report).or(old.version),
        image: report.memory.image.clone(),
        default_image: report.memory.default_image.clone(),
        leader: report.leader.clone(),
        quorum: report.quorum,
        members: members(report, outcome),
        storage: report.memory.storage.clone(),
        operation,
        serial: report.memory.serial,
        joining: report.memory.joining.clone(),
        reclaiming: reclaiming(report, outcome),
        notices: report.notices.clone(),
        recovery: report.recovery.clone(),
        repair: Some(report.memory.repair.clone()).filter(|it| *it != RepairStatus::default()),
        rollout: report.memory.rollout.clone(),
        stable_template: report.memory.stable_template.clone(),
        tls_default: report.memory.tls_default,
        peer_listeners: report.memory.peer_listeners.clone(),
        certificates: certificates(report),
        network_policy: network_policy::remember(report.memory.network_policy, outcome),
        recovering: report.memory.recovering.clone(),
        auth: accounts::remember(report.memory.auth.as_ref(), outcome),
    }
}

/// The members, with the ids that they got in this very round.
fn members(report: &Report, outcome: &Outcome) -> Vec<MemberStatus> {
    let mut members = report.members.clone();
    for member in members.iter_mut().filter(|it| it.id.is_none()) {
        member.id = outcome.entered.get(&member.name).map(|id| hex(*id));
    }
    members
}

fn learners(report: &Report) -> Option<String> {
    let Learners {
        ready,
        there,
        wanted,
    } = report.learners;
    (there > 0 || wanted > 0).then(|| format!("{ready}/{wanted}"))
}

fn certificates(report: &Report) -> Option<CertificatesStatus> {
    let status = CertificatesStatus {
        first_expiry: report.first_expiry.map(Time),
        rotations: report.memory.rotations.clone(),
        requested: report.memory.requested.iter().cloned().collect(),
    };
    Some(status).filter(|it| *it != CertificatesStatus::default())
}

/// Revisions count as given up once the call that gave them up is known to have taken effect.
fn reclaiming(report: &Report, outcome: &Outcome) -> Option<Reclaiming> {
    let mut reclaiming = report.memory.reclaiming.clone()?;
    let gave_up = |it: &Action| match it {
        Action::Compact { revision, .. } => *revision >= reclaiming.revision,
        _ => false,
    };
    reclaiming.compacted |= outcome.done.iter().any(gave_up);
    Some(reclaiming)
}

/// The oldest version that any member runs.
fn version(report: &Report) -> Option<String> {
    let parts = |version: &String| -> Vec<u64> {
        version
            .split(['.', '-', '+'])
            .map(|it| it.parse().unwrap_or(0))
            .collect()
    };
    report
        .members
        .iter()
        .filter_map(|it| it.version.clone())
        .min_by_key(parts)
}

/// The operation, with the time it began if it is the one that was in hand before.
fn operation(
    cluster: &RaftCluster,
    old: &RaftClusterStatus,
    work: &Work,
    now: Timestamp,
    outcome: &Outcome,
) -> Operation {
    let same = old
        .operation
        .as_ref()
        .filter(|it| it.kind == work.kind && it.member == work.member)
        // What waited for its window has its whole time when that opens.
        .filter(|it| held(&it.blocked_by) == is_held(work));
    // The API server keeps whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let (started_at, deadline) = same.map_or_else(
        || (Time(now), Time(now + deadline(cluster, work))),
        |it| (it.started_at.clone(), it.deadline.clone()),
    );
    let postponed = outcome.postponed.iter().map(|message| BlockedBy {
        gate: PUT_OFF.to_owned(),
        message: message.clone(),
    });
    Operation {
        kind: work.kind,
        step: work.step.to_owned(),
        member: work.member.clone(),
        started_at,
        deadline,
        blocked_by: work.blocked_by.iter().cloned().chain(postponed).collect(),
    }
}

fn deadline(cluster: &RaftCluster, work: &Work) -> SignedDuration {
    let seconds = cluster.spec.update_strategy.progress_deadline_seconds;
    match work.kind {
        OperationType::Rollout => SignedDuration::from_secs(seconds.clamp(1, 604_800)),
        _ => DEADLINE,
    }
}

/// Whether it waits because the user wants it to.
fn waits_on_purpose(operation: &Operation) -> bool {
    operation.blocked_by.iter().any(is_on_purpose)
}

/// Whether it is the user who has something wait, and who may do something about it.
pub(crate) fn is_on_purpose(gate: &BlockedBy) -> bool {
    [
        progress::ON_DELETE,
        progress::CANARY,
        progress::FAILED,
        maintenance::GATE,
        fence::GATE,
    ]
    .contains(&gate.gate.as_str())
}

/// Whether a piece of work only waits for its maintenance window, which may be for days.
pub(crate) fn is_held(work: &Work) -> bool {
    held(&work.blocked_by)
}

fn held(gates: &[BlockedBy]) -> bool {
    gates.iter().any(|it| it.gate == maintenance::GATE)
}
