//! What the conditions say: each is a verdict upon the report, in the words of people.
//!
//! A condition's time changes only with its truth.

use crds::{
    ConditionType, MemberPhase, MemberStatus, Operation, OperationType, RaftCluster,
    RaftClusterStatus, Reason, Truth,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::waits_on_purpose;
use crate::{
    progress,
    report::{Fallen, HandsOff, Outcome, Report, Support},
};

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

/// All conditions, in the order of their types.
pub(super) fn conditions(
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
    if let Some(well) = super::learners(report) {
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
