//! What people are told of a member: how it stands in the status, and in words why it does not run or answer.
//!
//! It deliberately decides nothing: policies hand its words on, and none acts by them.

use crds::{MemberPhase, MemberRole, MemberStatus, RepairMode};
use k8s_openapi::api::core::v1::Pod;

use super::{ClaimState, LAG_GATE, Member, View, hex};
use crate::{corruption, hibernate, names, observed::Answer, operate::fence};

impl Member<'_> {
    /// Why it does not run or answer, in words.
    pub(crate) fn trouble(&self, view: &View<'_>) -> String {
        let name = &self.name;
        match (&self.claim, self.pod) {
            (ClaimState::Lost, None) if view.spec.repair.mode == RepairMode::Automatic => {
                format!("the volume of member {name} is gone, and with it what {name} knew")
            }
            (ClaimState::Lost, None) => format!(
                "the volume of member {name} is gone, and with it what {name} knew; delete RaftMember {name} to have it replaced"
            ),
            (ClaimState::Ending, None) => format!("the volume of member {name} is being deleted"),
            (ClaimState::Foreign, None) => {
                format!(
                    "the claim {} belongs to another cluster",
                    names::claim(name)
                )
            }
            (_, None) => fence::sentence(self)
                .unwrap_or_else(|| format!("the pod of member {name} is not there yet")),
            (_, Some(_)) if self.pod_ended() => format!("the pod of member {name} has ended"),
            (_, Some(pod)) if self.pod_ending() => {
                let node = pod.spec.as_ref().and_then(|it| it.node_name.as_deref());
                format!(
                    "the pod of member {name} is ending on node {}; if that node is gone for good, delete the Node object",
                    node.unwrap_or("unknown")
                )
            }
            (_, Some(pod)) => waiting(pod).map_or_else(
                || self.silence(view),
                |why| format!("the pod of member {name} is waiting: {why}"),
            ),
        }
    }

    fn silence(&self, view: &View<'_>) -> String {
        let name = &self.name;
        match (self.answer, self.lag) {
            (Some(answer), _) if answer.leader_id == 0 => format!("member {name} sees no leader"),
            (Some(_), Some(lag)) if lag > LAG_GATE => self.behind(lag),
            (Some(_), _) if self.accused => corruption::accusation(self),
            (Some(_), _) if !self.pod_ready() => {
                format!("the pod of member {name} is not ready yet")
            }
            (Some(_), _) => format!("member {name} does not agree with the others yet"),
            (None, _) => match view.observed.probes.get(name).map(|it| &it.answer) {
                Some(Err(why)) => format!("member {name} does not answer: {why}"),
                Some(Ok(answer))
                    if view
                        .memory
                        .cluster_id
                        .as_ref()
                        .is_some_and(|it| *it != hex(answer.cluster_id)) =>
                {
                    format!(
                        "member {name} answers for another cluster, {}",
                        hex(answer.cluster_id)
                    )
                }
                Some(Ok(answer)) if self.is_another(answer) => format!(
                    "another member, {}, answers at the address of member {name}",
                    hex(answer.member_id)
                ),
                Some(Ok(_)) => format!("the last answer of member {name} is too old"),
                None => format!("the pod of member {name} has no address yet"),
            },
        }
    }

    /// Whether an answer is that of another member than the membership has under this name.
    fn is_another(&self, answer: &Answer) -> bool {
        let listed = self.listed.as_ref();
        listed.is_some_and(|own| own.id != answer.member_id)
    }

    /// How far behind it is, in words.
    pub(crate) fn behind(&self, lag: u64) -> String {
        format!(
            "member {} is {} entries behind, gate {}",
            self.name,
            thousands(lag),
            thousands(LAG_GATE)
        )
    }

    /// What the status shows of it.
    pub(crate) fn shown(&self, view: &View<'_>, leaving: bool) -> MemberStatus {
        let id = self
            .listed
            .as_ref()
            .map(|it| hex(it.id))
            .or_else(|| self.known_id.clone());
        let claim = match &self.claim {
            ClaimState::Present(claim) => claim.metadata.uid.clone(),
            _ => None,
        };
        let shown_lag = self.lag.filter(|_| self.listed.is_some());
        MemberStatus {
            name: self.name.clone(),
            id,
            role: self.shown_role(view),
            phase: self.phase(view, leaving),
            lag: shown_lag.map(|lag| {
                if lag <= LAG_GATE {
                    0
                } else {
                    i64::try_from(lag).unwrap_or(i64::MAX)
                }
            }),
            version: self.answer.map(|it| it.version.clone()),
            node: self.node().map(ToOwned::to_owned),
            claim_uid: self.known_claim.clone().or(claim),
        }
    }

    fn shown_role(&self, view: &View<'_>) -> MemberRole {
        let leads = view
            .leader
            .as_ref()
            .is_some_and(|it| it.name.as_deref() == Some(&self.name));
        match &self.listed {
            Some(_) if leads => MemberRole::Leader,
            Some(listed) if listed.is_learner => MemberRole::Learner,
            Some(_) => MemberRole::Follower,
            None if view.membership.is_some() => MemberRole::Unknown,
            // While the membership cannot be read, the pod's label must still follow what it was.
            None => match view.role_shown(&self.name) {
                Some(MemberRole::Leader) => MemberRole::Follower,
                other => other.unwrap_or_default(),
            },
        }
    }

    fn phase(&self, view: &View<'_>, leaving: bool) -> MemberPhase {
        let caught_up = self.lag.is_some_and(|lag| lag <= LAG_GATE);
        let was_ready = view.status.members.iter().any(|it| {
            it.name == self.name && matches!(it.phase, MemberPhase::Ready | MemberPhase::Unhealthy)
        });
        match () {
            () if leaving || self.removed(view.membership.is_some()) || self.identity.is_none() => {
                MemberPhase::Leaving
            }
            () if self.pod.is_none() && matches!(self.claim, ClaimState::Lost) => {
                MemberPhase::VolumeLost
            }
            () if hibernate::wanted(view) && (self.pod.is_none() || self.pod_ending()) => {
                MemberPhase::Hibernated
            }
            () if self.fenced.is_some() && (self.pod.is_none() || self.pod_ending()) => {
                MemberPhase::Fenced
            }
            () if self.works() && self.pod_ready() => MemberPhase::Ready,
            () if self.answer.is_some()
                && (self.is_learner() || (self.is_voter() && !caught_up)) =>
            {
                MemberPhase::CatchingUp
            }
            () if was_ready => MemberPhase::Unhealthy,
            () if self.pod.is_none() => MemberPhase::Pending,
            () => MemberPhase::Starting,
        }
    }
}

/// What the scheduler or the kubelet says a pod waits for.
fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|it| it.type_ == "PodScheduled" && it.status == "False");
    if let Some(condition) = unscheduled {
        return Some(said(
            condition.reason.as_deref(),
            condition.message.as_deref(),
        ));
    }
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|it| it.state.as_ref()?.waiting.as_ref())?;
    Some(said(waiting.reason.as_deref(), waiting.message.as_deref()))
}

fn said(reason: Option<&str>, message: Option<&str>) -> String {
    match (reason, message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "no reason given".to_owned(),
    }
}

/// A number with commas, for people.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    if first > 0 {
        groups.push(&digits[..first]);
    }
    groups.extend(
        digits.as_bytes()[first..]
            .chunks(3)
            .filter_map(|it| std::str::from_utf8(it).ok()),
    );
    groups.join(",")
}
