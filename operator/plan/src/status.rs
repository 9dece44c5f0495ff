//! The status of a cluster after a round, from the report and how its actions went.
//!
//! Deterministic: the same facts give the same status, so that a converged cluster has nothing to publish. Times change only
//! with what they are the time of.
//!
//! This file deliberately looks at no object: what is known stands in the report.

use crds::{
    BlockedBy, CertificatesStatus, ConditionType, MemberPhase, MemberStatus, Operation,
    OperationType, RaftCluster, RaftClusterStatus, Reason, Reclaiming, RepairStatus, Truth,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    accounts,
    action::Action,
    maintenance, names, network_policy,
    observed::Observed,
    operate::fence,
    progress,
    report::{Fallen, HandsOff, Learners, Outcome, Report, Support, Work},
    view::PUT_OFF,
};

/// How long one piece of work on one member may take before the cluster counts as degraded; of a rollout, the spec says it.
const DEADLINE: SignedDuration = SignedDuration::from_mins(10);

/// The status after a round. `observed` is what the report was made from; nothing but the report's conclusions is used.
#[must_use]
pub fn status(
    cluster: &RaftCluster,
    _observed: &Observed,
    report: &Report,
    outcome: &Outcome,
) -> RaftClusterStatus {
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
        members: report.members.clone(),
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

/// What one condition says.
struct Verdict {
    truth: Truth,
    reason: Reason,
    message: String,
}

fn verdict(truth: impl Into<Truth>, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict {
        truth: truth.into(),
        reason,
        message: message.into(),
    }
}

fn conditions(
    cluster: &RaftCluster,
    old: &RaftClusterStatus,
    report: &Report,
    operation: Option<&Operation>,
    outcome: &Outcome,
) -> Vec<Condition> {
    let late = operation.filter(|it| it.deadline.0 < report.at && !waits_on_purpose(it));
    ConditionType::ALL
        .into_iter()
        .map(|kind| {
            let verdict = match kind {
                ConditionType::Ready => ready(report, operation),
                ConditionType::Available => available(report),
                ConditionType::Progressing => progressing(report, operation, late),
                ConditionType::Degraded => degraded(report, late, outcome),
                ConditionType::Quorate => quorate(report),
                ConditionType::Supported => supported(report),
            };
            condition(kind, verdict, cluster, old, report.at)
        })
        .collect()
}

fn condition(
    kind: ConditionType,
    verdict: Verdict,
    cluster: &RaftCluster,
    old: &RaftClusterStatus,
    now: Timestamp,
) -> Condition {
    let same = old
        .conditions
        .iter()
        .find(|it| it.type_ == kind.as_str() && it.status == verdict.truth.as_str());
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.as_str().to_owned(),
        status: verdict.truth.as_str().to_owned(),
        reason: verdict.reason.as_str().to_owned(),
        message: verdict.message,
        observed_generation: cluster.metadata.generation,
        last_transition_time: same.map_or(Time(now), |it| it.last_transition_time.clone()),
    }
}

fn ready(report: &Report, operation: Option<&Operation>) -> Verdict {
    let (ready, wanted) = (report.ready, report.wanted);
    let learners = report.learners;
    let mut count = format!("{ready} of {wanted} members are ready");
    if let Some(well) = self::learners(report) {
        count += &format!(", learners {well}");
    }
    let all = usize::try_from(wanted + learners.wanted).unwrap_or(0);
    let whole = ready == wanted && learners.ready == learners.wanted;
    match (report.hands_off, operation) {
        (Some(HandsOff::Deletion), _) => {
            verdict(false, Reason::Deletion, "the cluster is being deleted")
        }
        _ if !report.invalid.is_empty() => verdict(false, Reason::InvalidSpec, faults(report)),
        _ if report.fallen.is_some() => fallen(false, report),
        (_, Some(operation)) => verdict(
            false,
            reason(operation),
            format!("{count}; {}", sentence(operation)),
        ),
        _ if report.asleep && !report.members.iter().any(is_unhealthy) => verdict(
            true,
            Reason::Hibernated,
            "all members are stopped, as spec.runState asks for; set it to Running to start them",
        ),
        _ if report.fenced.is_some() && report.hands_off.is_none() => {
            verdict(false, Reason::Fenced, format!("{count}{}", fenced(report)))
        }
        _ if whole && report.members.len() == all => verdict(true, Reason::Converged, count),
        (Some(HandsOff::Paused), _) => verdict(
            false,
            Reason::Paused,
            format!("{count}; spec.paused is set"),
        ),
        _ => verdict(false, Reason::MembersUnhealthy, count),
    }
}

fn available(report: &Report) -> Verdict {
    match (report.quorate, report.endpoints) {
        (None, _) => verdict(false, Reason::NotBootstrapped, "no member has answered yet"),
        (Some(false), _) => no_majority(report),
        (Some(true), 0) => verdict(false, Reason::NoEndpoint, "no voter's pod is ready"),
        (Some(true), 1) => verdict(true, Reason::Serving, "1 member takes clients"),
        (Some(true), many) => verdict(
            true,
            Reason::Serving,
            format!("{many} members take clients"),
        ),
    }
}

fn progressing(
    report: &Report,
    operation: Option<&Operation>,
    late: Option<&Operation>,
) -> Verdict {
    match (report.hands_off, late, operation) {
        (Some(HandsOff::Deletion), _, _) => {
            verdict(false, Reason::Deletion, "the cluster is being deleted")
        }
        (Some(HandsOff::Paused), _, _) => verdict(
            false,
            Reason::Paused,
            "spec.paused is set; unset it to let the operator work",
        ),
        _ if !report.invalid.is_empty() => verdict(false, Reason::InvalidSpec, faults(report)),
        (None, _, None) if report.fallen.is_some() => fallen(false, report),
        (None, _, Some(operation)) if is_paused(operation) => fallen(false, report),
        (None, Some(late), _) => verdict(false, Reason::DeadlineExceeded, sentence(late)),
        (None, None, Some(operation)) => verdict(true, reason(operation), sentence(operation)),
        (None, None, None) if report.asleep => verdict(
            false,
            Reason::Hibernated,
            "nothing is left to do until spec.runState is Running",
        ),
        (None, None, None) if report.fenced.is_some() => verdict(
            false,
            Reason::Fenced,
            format!("nothing is left to do{}", fenced(report)),
        ),
        (None, None, None) => verdict(false, Reason::Converged, "nothing is left to do"),
    }
}

fn degraded(report: &Report, late: Option<&Operation>, outcome: &Outcome) -> Verdict {
    if !report.invalid.is_empty() {
        return verdict(true, Reason::InvalidSpec, faults(report));
    }
    if let Some(failure) = &outcome.failed {
        return verdict(
            true,
            Reason::ActionFailed,
            format!("could not {}: {}", failure.action, failure.error),
        );
    }
    if let Some(corruption) = &report.corruption {
        return verdict(true, Reason::DataCorrupt, corruption);
    }
    if report.fallen.is_some() {
        return fallen(true, report);
    }
    if let Some(late) = late {
        return verdict(true, Reason::DeadlineExceeded, sentence(late));
    }
    let expected = report.work.as_ref().and_then(|it| it.member.as_deref());
    let unhealthy: Vec<&str> = report
        .members
        .iter()
        .filter(|it| is_unhealthy(it))
        .filter(|it| !(is_disruption(report) && expected == Some(&it.name)))
        .map(|it| it.name.as_str())
        .collect();
    if report.quorate == Some(false) && !stopped(report) {
        return lost(true, report);
    }
    if let (true, Some(alarm)) = (unhealthy.is_empty(), report.alarms.first()) {
        return verdict(true, Reason::MemberAlarm, alarm.as_str());
    }
    if unhealthy.is_empty() {
        return verdict(false, Reason::MembersHealthy, "no member is unhealthy");
    }
    verdict(
        true,
        Reason::MembersUnhealthy,
        format!("unhealthy: {}", unhealthy.join(", ")),
    )
}

fn is_unhealthy(member: &MemberStatus) -> bool {
    matches!(
        member.phase,
        MemberPhase::Unhealthy | MemberPhase::VolumeLost
    )
}

/// Whether there is no majority because the user wanted none, or wants one again only since a moment ago.
fn stopped(report: &Report) -> bool {
    let kind = report.work.as_ref().map(|it| it.kind);
    report.asleep || matches!(kind, Some(OperationType::Hibernate | OperationType::Wake))
}

/// Why there is no majority.
fn no_majority(report: &Report) -> Verdict {
    match report.work.as_ref().map(|it| it.kind) {
        _ if report.asleep => verdict(
            false,
            Reason::Hibernated,
            "all members are stopped, as spec.runState asks for",
        ),
        Some(OperationType::Hibernate) => {
            verdict(false, Reason::Hibernate, "members are being stopped")
        }
        Some(OperationType::Wake) => verdict(false, Reason::Wake, "members are starting again"),
        _ => lost(false, report),
    }
}

fn lost(truth: bool, report: &Report) -> Verdict {
    let message = format!("no majority answers{}", fenced(report));
    verdict(truth, Reason::QuorumLost, message)
}

/// Whom a person keeps stopped, at the end of a sentence.
fn fenced(report: &Report) -> String {
    let fenced = report.fenced.as_ref();
    fenced.map_or_else(String::new, |it| format!("; {it}"))
}

/// Whether the work in hand is one that takes a member down on purpose.
fn is_disruption(report: &Report) -> bool {
    let kind = report.work.as_ref().map(|it| it.kind);
    matches!(
        kind,
        Some(
            OperationType::Rollout
                | OperationType::ScaleDown
                | OperationType::Requested
                | OperationType::RotateCertificates
                | OperationType::MovePeers
        )
    )
}

fn quorate(report: &Report) -> Verdict {
    match (report.quorate, report.quorum) {
        (Some(true), Some(quorum)) => verdict(
            true,
            Reason::QuorumHealthy,
            format!(
                "healthy, caught-up voters: {}, needed: {}",
                quorum.healthy, quorum.required
            ),
        ),
        (Some(true), None) => verdict(true, Reason::QuorumHealthy, "a majority answers"),
        (Some(false), _) => no_majority(report),
        (None, _) => verdict(
            Truth::Unknown,
            Reason::NotBootstrapped,
            "no member has answered yet",
        ),
    }
}

fn supported(report: &Report) -> Verdict {
    match &report.support {
        Support::Full(sentence) => verdict(true, Reason::EngineCapable, sentence),
        Support::Untold(why) => verdict(Truth::Unknown, Reason::EngineUntried, why),
        Support::Lacking(fault) => verdict(
            false,
            Reason::EngineIncapable,
            format!("{}: {}", fault.field, fault.message),
        ),
    }
}

fn faults(report: &Report) -> String {
    let faults: Vec<String> = report
        .invalid
        .iter()
        .map(|it| format!("{}: {}", it.field, it.message))
        .collect();
    format!(
        "nothing is changed until the spec is corrected: {}",
        faults.join("; ")
    )
}

/// What a condition says while a failed rollout is not mended.
fn fallen(truth: bool, report: &Report) -> Verdict {
    let (reason, message) = match &report.fallen {
        Some(Fallen {
            rolled_back: true,
            sentence,
        }) => (Reason::RolledBack, sentence.as_str()),
        other => (
            Reason::RolloutFailed,
            other.as_ref().map_or("", |it| it.sentence.as_str()),
        ),
    };
    verdict(truth, reason, message)
}

/// Whether all that is left to do waits for another template.
fn is_paused(operation: &Operation) -> bool {
    let mut gates = operation.blocked_by.iter();
    gates.any(|it| it.gate == progress::FAILED)
}

fn reason(operation: &Operation) -> Reason {
    match operation.kind {
        OperationType::Bootstrap => Reason::Bootstrap,
        OperationType::Repair => Reason::Repair,
        OperationType::ScaleUp => Reason::ScaleUp,
        OperationType::ScaleDown => Reason::ScaleDown,
        OperationType::Rollout => Reason::Rollout,
        OperationType::Evacuate => Reason::Evacuate,
        OperationType::Hibernate => Reason::Hibernate,
        OperationType::Wake => Reason::Wake,
        OperationType::Replace => Reason::Replace,
        OperationType::Resize => Reason::Resize,
        OperationType::Requested => Reason::Requested,
        OperationType::RotateCertificates => Reason::RotateCertificates,
        OperationType::Authentication => Reason::Authentication,
        OperationType::MovePeers => Reason::MovePeers,
    }
}

/// The work in hand in words: `ScaleUp of kv-x7: CatchUp, waiting: ...`.
fn sentence(operation: &Operation) -> String {
    let of = operation
        .member
        .as_ref()
        .map(|it| format!(" of {it}"))
        .unwrap_or_default();
    let waits: Vec<&str> = operation
        .blocked_by
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    let waits = if waits.is_empty() {
        String::new()
    } else {
        format!(", waiting: {}", waits.join("; "))
    };
    format!("{}{of}: {}{waits}", operation.kind.as_str(), operation.step)
}
