//! One member, looked at from all sides.

use std::collections::BTreeMap;

use crds::{MemberRole, OperatorChanges, RaftMember};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{LAG_GATE, View, is_of};
use crate::{
    action::Target,
    names::{self, Role},
    objects,
    observed::{Answer, Listed},
    operate::fence,
    rotation,
    spec::Spec,
    volume,
};

/// One member, looked at from all sides.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    /// The how-manieth it is; 0 for one that is not ours.
    pub(crate) serial: i64,
    /// Its identity, unless that is being deleted.
    pub(crate) identity: Option<&'a RaftMember>,
    /// Its identity while it is being deleted.
    pub(crate) identity_ending: bool,
    pub(crate) pod: Option<&'a Pod>,
    pub(crate) claim: ClaimState<'a>,
    /// Its place in the membership, where the membership is known.
    pub(crate) listed: Option<Listed>,
    /// What it answered this round.
    pub(crate) answer: Option<&'a Answer>,
    /// Its id as the status remembers it.
    pub(crate) known_id: Option<String>,
    /// Its claim's uid as the status remembers it.
    pub(crate) known_claim: Option<String>,
    /// Entries behind the head.
    pub(crate) lag: Option<u64>,
    /// It is to follow without a vote for good.
    pub(crate) permanent: bool,
    /// Answers, agrees on the leader, is caught up, not accused and not on its way out.
    able: bool,
    /// It is all that, and votes.
    pub(crate) good: bool,
    /// The alarm CORRUPT names it.
    pub(crate) accused: bool,
    /// The pod is of the template in force, and its volume does not wait for another one.
    pub(crate) current: bool,
    /// What only a new pod brings.
    pub(crate) awaits_restart: Option<Awaited>,
    /// Hash of the template that its pod is of.
    pub(crate) revision: Option<&'a str>,
    /// The `RaftOperation` that keeps it stopped.
    pub(crate) fenced: Option<&'a str>,
}

/// What a member gets when it is started again, and not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The file system of its volume grows.
    FileSystem,
    /// It believes in other CAs.
    Authorities,
}

impl Awaited {
    /// What it is started again for.
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::FileSystem => "for the file system of its volume to grow",
            Self::Authorities => "to believe in the CAs of its Secret",
        }
    }

    /// Why it is stopped.
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::FileSystem => "the file system of its volume grows when it starts again",
            Self::Authorities => "it believes in the CAs of its Secret when it starts again",
        }
    }
}

/// A member's volume claim, against the one that is remembered.
#[derive(Clone, Debug)]
pub(crate) enum ClaimState<'a> {
    /// None, and none has been seen before.
    Absent,
    /// The one that belongs to it, or the first one.
    Present(&'a PersistentVolumeClaim),
    /// It is being deleted.
    Ending,
    /// One was seen before and is gone, or its volume is.
    Lost,
    /// The name is taken by a claim of another cluster.
    Foreign,
}

/// What a pod must be made again for, if for anything but its template.
fn awaited(view: &View<'_>, member: &str, claim: &ClaimState<'_>, pod: &Pod) -> Option<Awaited> {
    match claim {
        _ if rotation::awaits_restart(view, member, pod) => Some(Awaited::Authorities),
        ClaimState::Present(claim) => {
            volume::awaits_restart(claim, pod, view.now).then_some(Awaited::FileSystem)
        }
        _ => None,
    }
}

impl<'a> Member<'a> {
    pub(super) fn new(view: &View<'a>, name: String, answers: &BTreeMap<&str, &'a Answer>) -> Self {
        let uid = &view.spec.uid;
        let identities: Vec<_> = view
            .identities()
            .filter(|it| it.metadata.name.as_deref() == Some(&name))
            .collect();
        let identity = identities
            .iter()
            .copied()
            .find(|it| it.metadata.deletion_timestamp.is_none());
        let pod = view
            .pods()
            .find(|it| it.metadata.name.as_deref() == Some(&name));
        let shown = view.status.members.iter().find(|it| it.name == name);
        let known_claim = shown.and_then(|it| it.claim_uid.clone());
        let claims = &view.observed.claims;
        let claim = claims
            .iter()
            .find(|it| it.metadata.name == Some(names::claim(&name)));
        let listed = view
            .membership
            .as_ref()
            .and_then(|it| it.listed.get(&name))
            .cloned();
        // Another member may answer at an address that was this one's: it must not be counted twice.
        let itself = |it: &&Answer| listed.as_ref().is_none_or(|own| own.id == it.member_id);
        let answer = answers.get(name.as_str()).copied().filter(itself);
        let lag = answer.map(|it| view.head.saturating_sub(it.applied_index));
        let votes = listed.as_ref().is_some_and(|it| !it.is_learner);
        let corrupt = view.membership.iter().flat_map(|it| &it.corrupt);
        let accused = listed
            .as_ref()
            .is_some_and(|own| corrupt.clone().any(|id| *id == own.id));
        let agrees = answer
            .zip(view.leader.as_ref())
            .is_some_and(|(it, leader)| it.leader_id == leader.id);
        let stays =
            identity.is_some() && pod.is_some_and(|it| it.metadata.deletion_timestamp.is_none());
        let claim_state = ClaimState::of(claim, uid, &name, known_claim.as_deref());
        let awaits_restart = pod.and_then(|pod| awaited(view, &name, &claim_state, pod));
        let able = agrees && stays && !accused && lag.is_some_and(|lag| lag <= LAG_GATE);
        let hash = pod.and_then(|it| it.metadata.annotations.as_ref()?.get(names::TEMPLATE_HASH));
        Self {
            serial: identity.map_or_else(|| serial(claim), |it| it.spec.serial),
            identity,
            identity_ending: identity.is_none() && !identities.is_empty(),
            pod,
            claim: claim_state,
            known_id: shown.and_then(|it| it.id.clone()),
            known_claim,
            permanent: identities.iter().any(|it| it.spec.learner),
            able,
            good: votes && able,
            accused,
            current: hash == Some(&view.spec.template_hash)
                && awaits_restart.is_none()
                && !drifted(&view.spec, pod),
            awaits_restart,
            revision: hash.map(String::as_str),
            fenced: fence::of(view.observed, uid, &name),
            listed,
            answer,
            lag,
            name,
        }
    }

    /// Whether the membership gives it a vote.
    pub(crate) fn is_voter(&self) -> bool {
        self.listed.as_ref().is_some_and(|it| !it.is_learner)
    }

    /// Whether the membership has it without a vote.
    pub(crate) fn is_learner(&self) -> bool {
        self.listed.as_ref().is_some_and(|it| it.is_learner)
    }

    /// Whether it answers and takes the leader for the leader.
    pub(crate) fn follows(&self, view: &View<'_>) -> bool {
        let both = self.answer.zip(view.leader.as_ref());
        both.is_some_and(|(it, leader)| it.leader_id == leader.id)
    }

    /// Whether it was in the membership once and, as far as can be known, still is or may be.
    pub(crate) fn belongs(&self, membership_known: bool) -> bool {
        self.listed.is_some() || (!membership_known && self.known_id.is_some())
    }

    /// Whether it was in the membership once and is no more: it can never come back under this name.
    pub(crate) fn removed(&self, membership_known: bool) -> bool {
        membership_known && self.known_id.is_some() && self.listed.is_none()
    }

    /// The node that its pod is on.
    pub(crate) fn node(&self) -> Option<&'a str> {
        self.pod?.spec.as_ref()?.node_name.as_deref()
    }

    /// Whether its pod is on its way out.
    pub(crate) fn pod_ending(&self) -> bool {
        self.pod
            .is_some_and(|it| it.metadata.deletion_timestamp.is_some())
    }

    /// Whether its pod has run to an end and will never run again.
    pub(crate) fn pod_ended(&self) -> bool {
        let phase = self.pod.and_then(|it| it.status.as_ref()?.phase.as_deref());
        matches!(phase, Some("Failed" | "Succeeded"))
    }

    /// Whether the kubelet calls its pod ready.
    pub(crate) fn pod_ready(&self) -> bool {
        let conditions = self
            .pod
            .and_then(|it| it.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter()
                .any(|it| it.type_ == "Ready" && it.status == "True")
        }) && !self.pod_ending()
    }

    /// Whether it works as what it is: a voter, or a learner for good.
    pub(crate) fn works(&self) -> bool {
        self.good || (self.permanent && self.is_learner() && self.able)
    }

    /// A member as it should be: it works, is ready, of the current template and not on its way out.
    pub(crate) fn settled(&self) -> bool {
        self.works() && self.pod_ready() && self.current && self.identity.is_some()
    }

    /// The pod as a target.
    pub(crate) fn pod_target(&self) -> Option<Target> {
        let meta = &self.pod?.metadata;
        Some(Target {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        })
    }

    /// The identity as a target.
    pub(crate) fn identity_target(&self) -> Option<Target> {
        let meta = &self.identity?.metadata;
        Some(Target {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
        })
    }

    /// The claim as a target, if it is there and its own.
    pub(crate) fn claim_target(&self) -> Option<Target> {
        let ClaimState::Present(claim) = self.claim else {
            return None;
        };
        Some(Target {
            name: claim.metadata.name.clone()?,
            uid: claim.metadata.uid.clone()?,
        })
    }

    /// The pod that rebuilt a lost cluster of its volume, if one has.
    pub(crate) fn restored(&self) -> Option<&'a str> {
        match self.claim {
            ClaimState::Present(claim) => objects::claim::restored(claim),
            _ => None,
        }
    }

    /// The role that its pod's label says.
    pub(crate) fn labelled(&self) -> Option<&'a str> {
        self.pod?
            .metadata
            .labels
            .as_ref()?
            .get(names::ROLE_LABEL)
            .map(String::as_str)
    }

    /// The role that its pod's label should say, but for a member that is on its way out.
    pub(crate) fn role(&self, view: &View<'_>) -> Role {
        let learner = match (&view.membership, &self.listed) {
            (Some(_), Some(listed)) => listed.is_learner,
            (Some(_), None) => view.born(),
            (None, _) => view.role_shown(&self.name) == Some(MemberRole::Learner),
        };
        if learner { Role::Learner } else { Role::Voter }
    }
}

impl<'a> ClaimState<'a> {
    fn of(
        claim: Option<&'a PersistentVolumeClaim>,
        cluster_uid: &str,
        member: &str,
        known: Option<&str>,
    ) -> Self {
        let Some(claim) = claim else {
            return if known.is_some() {
                Self::Lost
            } else {
                Self::Absent
            };
        };
        let meta = &claim.metadata;
        let labelled = meta
            .labels
            .as_ref()
            .and_then(|it| it.get(names::MEMBER_LABEL));
        let phase = claim.status.as_ref().and_then(|it| it.phase.as_deref());
        match () {
            () if known.is_some_and(|known| meta.uid.as_deref() != Some(known)) => Self::Lost,
            () if !is_of(meta, cluster_uid) || labelled.is_none_or(|it| it != member) => {
                Self::Foreign
            }
            () if phase == Some("Lost") => Self::Lost,
            () if meta.deletion_timestamp.is_some() => Self::Ending,
            () => Self::Present(claim),
        }
    }
}

/// Whether this operator would make the pod in another way, and that counts.
fn drifted(spec: &Spec, pod: Option<&Pod>) -> bool {
    let Some(pod) = pod.filter(|_| spec.update.operator_changes == OperatorChanges::Immediate)
    else {
        return false;
    };
    let annotations = pod.metadata.annotations.as_ref();
    let rendering = annotations.and_then(|it| it.get(names::RENDERING_HASH));
    rendering != Some(&objects::pod::rendering(spec))
}

fn serial(claim: Option<&PersistentVolumeClaim>) -> i64 {
    claim
        .and_then(|it| {
            it.metadata
                .annotations
                .as_ref()?
                .get(names::SERIAL)?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
