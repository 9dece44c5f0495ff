//! From a view and a draft to the report of the round.
//!
//! This file deliberately decides nothing: it counts and it words.

use crds::{Leader, MemberStatus, Quorum};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::{
    accounts, autogrow, certificates, corruption,
    draft::majority,
    evacuate, hibernate,
    names::{self, Role},
    network_policy,
    operate::fence,
    progress, recovery, repair,
    report::{HandsOff, Learners, Memory, Report, Work},
    retention, rotation, upkeep,
    view::{ClaimState, Member, View},
};

/// The report of a round.
pub(crate) fn account(
    view: &View<'_>,
    hands_off: Option<HandsOff>,
    work: Option<Work>,
    memory: Memory,
    leaving: Option<&str>,
) -> Report {
    let shown: Vec<_> = view
        .members
        .values()
        .filter(|it| is_shown(view, it))
        .collect();
    let members: Vec<MemberStatus> = shown
        .iter()
        .map(|it| it.shown(view, leaving == Some(&it.name)))
        .collect();
    let endpoints = view
        .members
        .values()
        .filter(|it| it.pod_ready() && it.labelled() == Some(Role::Voter.as_str()));
    Report {
        at: view.now,
        invalid: view.invalid.clone(),
        asleep: hibernate::asleep(view),
        hands_off,
        recovery: recovery::recovery(view, work.as_ref()),
        work,
        wanted: i32::try_from(view.spec.replicas).unwrap_or(i32::MAX),
        ready: count(settled(&view.seats())),
        learners: Learners {
            ready: count(settled(&view.learners())),
            there: count(shown.iter().filter(|it| it.permanent).count()),
            wanted: count(view.spec.learners),
        },
        quorate: quorate(view),
        quorum: quorum(view),
        leader: leader(view),
        endpoints: endpoints.count(),
        notices: notices(view),
        alarms: alarms(view),
        corruption: corruption::sentence(view),
        fenced: fence::told(view),
        support: view.support.clone(),
        fallen: progress::fallen(view),
        first_expiry: certificates::first_expiry(view),
        members,
        memory,
    }
}

fn settled(members: &[&Member<'_>]) -> usize {
    members.iter().filter(|it| it.settled()).count()
}

/// Whether a member belongs in the status: a volume alone is none.
fn is_shown(view: &View<'_>, member: &Member<'_>) -> bool {
    let maybe = view.membership.is_none() && member.known_id.is_some();
    let identified = member.identity.is_some() || member.identity_ending;
    let runs = member.pod.is_some() && !upkeep::is_stranded(view, member);
    identified || member.listed.is_some() || runs || maybe
}

fn quorate(view: &View<'_>) -> Option<bool> {
    match (&view.membership, view.born()) {
        (Some(_), _) => Some(true),
        (None, true) => Some(false),
        (None, false) => None,
    }
}

/// While the membership cannot be read, the voters are those of the last time it could.
fn quorum(view: &View<'_>) -> Option<Quorum> {
    let known = view.membership.as_ref().map(|_| view.voters().len());
    let last = || {
        let required = view.status.quorum?.required;
        Some(Quorum {
            required,
            healthy: 0,
            tolerance: 0,
        })
    };
    let Some(voters) = known else { return last() };
    let (required, healthy) = (count(majority(voters)), count(view.good()));
    Some(Quorum {
        required,
        healthy,
        tolerance: (healthy - required).max(0),
    })
}

fn leader(view: &View<'_>) -> Option<Leader> {
    let leader = view.leader.as_ref()?;
    let name = leader.name.clone()?;
    Some(Leader {
        name,
        term: i64::try_from(leader.term).unwrap_or(i64::MAX),
    })
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn notices(view: &View<'_>) -> Vec<String> {
    let name = |claim: &PersistentVolumeClaim| claim.metadata.name.clone();
    let strangers: Vec<String> = view.strangers.iter().filter_map(|it| name(it)).collect();
    let remains: Vec<String> = view
        .members
        .values()
        .filter_map(|it| name(retained(view, it)?))
        .collect();
    let mut notices = repair::recommendations(view);
    notices.extend(repair::blindness(view));
    notices.extend(stranded(view));
    notices.extend(volumes(view, &strangers, "an earlier cluster of this name"));
    notices.extend(volumes(view, &remains, "members that were removed"));
    notices.extend(certificates::notices(view));
    notices.extend(rotation::notices(view));
    notices.extend(accounts::notices(view));
    notices.extend(autogrow::notice(view));
    notices.extend(evacuate::notice(view));
    notices.extend(network_policy::notice(view));
    if view.spec.replicas.is_multiple_of(2) {
        notices.push(format!(
            "{} members tolerate no more failures than {}; an odd number is better",
            view.spec.replicas,
            view.spec.replicas - 1
        ));
    }
    notices
}

fn alarms(view: &View<'_>) -> Vec<String> {
    let of = |member: &Member<'_>| -> Vec<String> {
        let errors = member.answer.iter().flat_map(|it| &it.errors);
        errors
            .map(|error| format!("member {} reports: {error}", member.name))
            .collect()
    };
    view.members.values().flat_map(of).collect()
}

/// Pods that cannot end.
fn stranded(view: &View<'_>) -> impl Iterator<Item = String> {
    let members = view.members.values();
    members.filter(|it| upkeep::is_stranded(view, it)).map(|it| {
        let node = it.pod.and_then(|it| it.spec.as_ref()?.node_name.as_deref());
        format!(
            "the pod of member {}, which is no member any more, cannot end on node {}; it goes when the node answers, or when its Node object is deleted",
            it.name,
            node.unwrap_or("unknown")
        )
    })
}

/// The claim of a member of which nothing else is left and that the policy keeps.
fn retained<'a>(view: &View<'_>, member: &Member<'a>) -> Option<&'a PersistentVolumeClaim> {
    let ClaimState::Present(claim) = member.claim else {
        return None;
    };
    let kept = retention::keeps(view, claim);
    (kept && upkeep::is_remains(view, member) && !is_shown(view, member)).then_some(claim)
}

/// What to do with volumes that nobody uses.
fn volumes(view: &View<'_>, claims: &[String], whose: &str) -> Option<String> {
    let (namespace, names, label) = (&view.spec.namespace, claims.join(" "), names::CLUSTER_LABEL);
    let many = match claims.len() {
        0 => return None,
        1 => "1 volume".to_owned(),
        many => format!("{many} volumes"),
    };
    Some(format!(
        "{many} of {whose} kept, not used: {names}. To delete: kubectl -n {namespace} delete pvc {names}. \
         To keep and hide: kubectl -n {namespace} label pvc {names} {label}-"
    ))
}
