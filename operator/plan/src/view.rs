//! `View`: the conclusions that all policies share, drawn once from the facts.
//!
//! A member is looked at under its name from four sides: its identity (`RaftMember`), its pod, its volume and its place in
//! the membership. None of them is taken for another.
//!
//! This file deliberately wants nothing: it has no idea of what should be done.

mod member;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use crds::{Joining, MemberRole, RaftCluster, RaftClusterStatus, RaftMember};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use member::{Awaited, ClaimState, Member};
pub(crate) use told::thousands;

use crate::{
    action::Ground,
    certificates, engine, names,
    observed::{Answer, Listed, Observed, PROBE_AGE_MAX},
    progress,
    report::{Invalid, Memory, Support},
    spec::Spec,
    tls,
};

/// How many entries a member may be behind and still count as caught up: what it swallows well within one election timeout.
/// A smaller gate flaps under load, because the members are asked some milliseconds apart.
pub(crate) const LAG_GATE: u64 = 1000;

/// The gate of a change that members put off.
pub(crate) const PUT_OFF: &str = "Member";
/// How long one member is asked before it is another's turn: twice as long as etcd wants its peers to have been there.
const TURN_SECONDS: i64 = 10;

/// The membership as a linearizable read gave it.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// Name of the member that answered, through which changes are made.
    pub(crate) via: String,
    /// The etcd cluster.
    pub(crate) cluster_id: u64,
    /// Its members, by the names that their peer URLs give them.
    pub(crate) listed: BTreeMap<String, Listed>,
    /// Ids that the alarm CORRUPT is about, as whoever gave the membership knows.
    pub(crate) corrupt: BTreeSet<u64>,
}

/// Who leads.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    /// Member id.
    pub(crate) id: u64,
    /// Term.
    pub(crate) term: u64,
    /// Member name, if the membership knows the id.
    pub(crate) name: Option<String>,
}

/// What is concluded from one round of facts.
pub(crate) struct View<'a> {
    pub(crate) spec: Spec,
    pub(crate) invalid: Vec<Invalid>,
    /// Hash of the template that the spec asks for; `spec` has that of the one in force.
    pub(crate) asked: String,
    /// Whether the template in force is not the one asked for, but the one on which the cluster last converged.
    pub(crate) rolled_back: bool,
    /// The same wishes with the template on which the cluster last converged, if that is another one and can still be had.
    pub(crate) last: Option<Spec>,
    /// Whether the engine can do what the spec asks for; what it cannot is among what is invalid.
    pub(crate) support: Support,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) status: RaftClusterStatus,
    /// What the status remembers; what is not here must not be built upon.
    pub(crate) memory: Memory,
    /// Every member there is any sign of.
    pub(crate) members: BTreeMap<String, Member<'a>>,
    pub(crate) membership: Option<Membership>,
    pub(crate) leader: Option<Leadership>,
    /// The highest committed index anyone knows of.
    pub(crate) head: u64,
    /// Claims that carry this cluster's name and another cluster's uid.
    pub(crate) strangers: Vec<&'a PersistentVolumeClaim>,
}

impl<'a> View<'a> {
    pub(crate) fn new(cluster: &RaftCluster, observed: &'a Observed, now: Timestamp) -> Self {
        let view = Self::of(cluster, observed, now, true);
        // What the members' data have left behind cannot be gone back to.
        if view.rolled_back && matches!(view.support, Support::Lacking(_)) {
            return Self::of(cluster, observed, now, false);
        }
        view
    }

    /// `may_roll_back`: whether a failed template gives way to the last one that worked.
    fn of(
        cluster: &RaftCluster,
        observed: &'a Observed,
        now: Timestamp,
        may_roll_back: bool,
    ) -> Self {
        let status = cluster.status.clone().unwrap_or_default();
        let memory = Memory::of(&status);
        let (mut spec, invalid) = Spec::parse(cluster, memory.default_image.as_deref());
        let asked = spec.template_hash.clone();
        let last = progress::last(&spec, &memory);
        let undone = last
            .clone()
            .filter(|_| may_roll_back && progress::is_to_be_undone(&spec, &memory));
        let rolled_back = undone.is_some();
        spec = undone.unwrap_or(spec);
        let answers = answers(observed, &spec.uid, memory.cluster_id.as_deref());
        let membership = membership(&spec, &answers);
        let leader = leader(&answers, membership.as_ref());
        let head = answers
            .values()
            .map(|answer| answer.raft_index)
            .max()
            .unwrap_or(0);
        let mut view = View {
            members: BTreeMap::new(),
            strangers: observed
                .claims
                .iter()
                .filter(|claim| !is_of(&claim.metadata, &spec.uid))
                .collect(),
            spec,
            invalid,
            asked,
            rolled_back,
            last,
            support: Support::Untold(String::new()),
            observed,
            now,
            status,
            memory,
            membership,
            leader,
            head,
        };
        let members: Vec<Member<'a>> = view
            .names()
            .into_iter()
            .map(|name| Member::new(&view, name, &answers))
            .collect();
        view.members = members
            .into_iter()
            .map(|it| (it.name.clone(), it))
            .collect();
        let stable = view.memory.stable_template.as_ref();
        view.support = engine::support(&view.spec, view.members.values(), stable);
        if let Support::Lacking(fault) = &view.support {
            view.invalid.push(fault.clone());
        }
        let had = |last: &Spec| engine::support(last, view.members.values(), None);
        let lost = view.last.as_ref().map(had);
        if matches!(lost, Some(Support::Lacking(_))) {
            view.last = None;
        }
        let stranded = certificates::stranded(&view);
        view.invalid.extend(stranded);
        let untold = tls::untold(cluster, &view);
        view.invalid.extend(untold);
        view
    }

    /// Every name with an identity, a pod or a claim of this cluster, a place in the membership, or in memory.
    fn names(&self) -> BTreeSet<String> {
        let uid = &self.spec.uid;
        let labelled = |meta: &ObjectMeta| meta.labels.as_ref()?.get(names::MEMBER_LABEL).cloned();
        let of_members = self.identities().filter_map(|it| it.metadata.name.clone());
        let of_pods = self.pods().filter_map(|it| labelled(&it.metadata));
        let of_claims = self
            .observed
            .claims
            .iter()
            .filter(|it| is_of(&it.metadata, uid));
        let of_claims = of_claims.filter_map(|it| labelled(&it.metadata));
        let listed = self
            .membership
            .iter()
            .flat_map(|it| it.listed.keys().cloned());
        of_members
            .chain(of_pods)
            .chain(of_claims)
            .chain(listed)
            .chain(self.joining_name())
            .collect()
    }

    fn joining_name(&self) -> Option<String> {
        self.memory.joining.as_ref().map(|it| it.name.clone())
    }

    fn identities(&self) -> impl Iterator<Item = &'a RaftMember> {
        let uid = self.spec.uid.clone();
        self.observed
            .members
            .iter()
            .filter(move |it| it.spec.cluster_uid == uid)
    }

    fn pods(&self) -> impl Iterator<Item = &'a Pod> {
        let uid = self.spec.uid.clone();
        self.observed
            .pods
            .iter()
            .filter(move |it| is_of(&it.metadata, &uid))
    }

    /// Members with an identity that is not being deleted and a future in the cluster, oldest first.
    pub(crate) fn roster(&self) -> Vec<&Member<'a>> {
        let known = self.membership.is_some();
        let mut roster: Vec<_> = self
            .members
            .values()
            .filter(|it| it.identity.is_some() && !it.removed(known))
            .collect();
        roster.sort_by_key(|it| it.serial);
        roster
    }

    /// Those of them that vote or are to vote.
    pub(crate) fn seats(&self) -> Vec<&Member<'a>> {
        let mut roster = self.roster();
        roster.retain(|it| !it.permanent);
        roster
    }

    /// Those of them that follow for good.
    pub(crate) fn learners(&self) -> Vec<&Member<'a>> {
        let mut roster = self.roster();
        roster.retain(|it| it.permanent);
        roster
    }

    /// Members without an identity whose vote is needed: without a majority they cannot be removed from the membership, and
    /// their volumes may be among the last copies.
    pub(crate) fn missed(&self) -> Vec<&Member<'a>> {
        let needed = self.born() && self.membership.is_none();
        let missed = |it: &&Member<'a>| {
            let voted = self.role_shown(&it.name) != Some(MemberRole::Learner);
            needed && voted && it.identity.is_none() && it.known_id.is_some() && it.serial > 0
        };
        self.members.values().filter(missed).collect()
    }

    /// Members that vote, whether or not they have an identity.
    pub(crate) fn voters(&self) -> Vec<&Member<'a>> {
        self.members.values().filter(|it| it.is_voter()).collect()
    }

    /// Voters that are healthy and caught up.
    pub(crate) fn good(&self) -> usize {
        self.members.values().filter(|it| it.good).count()
    }

    /// Whether the cluster has been born: its id is in the status.
    pub(crate) fn born(&self) -> bool {
        self.memory.cluster_id.is_some()
    }

    /// The leader as a member, if it is one that is known.
    pub(crate) fn leading(&self) -> Option<&Member<'a>> {
        self.members.get(self.leader.as_ref()?.name.as_deref()?)
    }

    /// Whether a member is the leader.
    pub(crate) fn leads(&self, member: &Member<'_>) -> bool {
        self.leading().is_some_and(|it| it.name == member.name)
    }

    /// The ground that a change of the membership stands on now; asked for and made through another member than `besides`.
    pub(crate) fn ground(&self, besides: &str) -> Option<Ground> {
        self.ground_of(besides, 0)
    }

    /// The same, where a member may have to be passed over: while a change is put off, each healthy member is asked in turn. An etcd
    /// counts a peer as lost for good where the failure of an old connection comes after the new one, and puts off every change;
    /// the others know better.
    pub(crate) fn ground_in_turn(&self, besides: &str) -> Option<Ground> {
        let operation = self.status.operation.as_ref();
        let put_off = operation.filter(|it| it.blocked_by.iter().any(|it| it.gate == PUT_OFF));
        let seconds = put_off.map_or(0, |it| self.now.duration_since(it.started_at.0).as_secs());
        self.ground_of(
            besides,
            usize::try_from(seconds / TURN_SECONDS).unwrap_or(0),
        )
    }

    fn ground_of(&self, besides: &str, turn: usize) -> Option<Ground> {
        let membership = self.membership.as_ref()?;
        let others = self.members.values().filter(|it| it.good);
        let others = others
            .map(|it| &it.name)
            .filter(|it| **it != membership.via);
        let all = [&membership.via].into_iter().chain(others);
        let all: Vec<&String> = all.filter(|it| **it != besides).collect();
        let via = (*all.get(turn.checked_rem(all.len())?)?).clone();
        let mut members: Vec<(u64, bool)> = membership
            .listed
            .values()
            .map(|it| (it.id, it.is_learner))
            .collect();
        members.sort_unstable();
        Some(Ground {
            via,
            cluster_id: membership.cluster_id,
            members,
        })
    }

    /// Names and peer URLs of the whole membership, as a member that starts must be told; from memory where the membership
    /// cannot be read, which is well enough for a member that has data already.
    pub(crate) fn peers(&self) -> BTreeMap<String, String> {
        let known = match &self.membership {
            Some(membership) => membership.listed.keys().cloned().collect::<Vec<_>>(),
            None => self
                .members
                .values()
                .filter(|it| it.known_id.is_some())
                .map(|it| it.name.clone())
                .collect(),
        };
        known
            .into_iter()
            .map(|name| (name.clone(), self.peer_url(&name)))
            .collect()
    }

    /// Where peers reach a member.
    pub(crate) fn peer_url(&self, name: &str) -> String {
        match self
            .membership
            .as_ref()
            .and_then(|it| it.listed.get(name)?.peer_urls.first())
        {
            Some(url) => url.clone(),
            None => self.spec.peer_url(name),
        }
    }

    /// The next member to be: the first serial, after the last given out, whose name nothing bears.
    pub(crate) fn next_joining(&self, learner: bool) -> Joining {
        let seen = self.members.values().map(|it| it.serial).max().unwrap_or(0);
        let taken: BTreeSet<&str> = self
            .observed
            .claims
            .iter()
            .filter_map(|it| it.metadata.name.as_deref()?.strip_prefix("data-"))
            .chain(
                self.observed
                    .pods
                    .iter()
                    .filter_map(|it| it.metadata.name.as_deref()),
            )
            .chain(
                self.observed
                    .members
                    .iter()
                    .filter_map(|it| it.metadata.name.as_deref()),
            )
            .chain(self.members.keys().map(String::as_str))
            .collect();
        (self.memory.serial.max(seen).clamp(0, i64::MAX / 2) + 1..)
            .map(|serial| Joining {
                name: names::member(&self.spec.name, &self.spec.uid, serial),
                serial,
                learner,
            })
            .find(|it| !taken.contains(it.name.as_str()))
            .expect("serials do not run out before names that are taken do")
    }

    /// Whether nothing can come of a member that was to be: its volume is gone or another cluster's, and its identity was
    /// deleted to go on under another name.
    pub(crate) fn spoilt(&self, joining: &Joining) -> bool {
        self.members.get(&joining.name).is_some_and(|it| {
            it.identity.is_none() && matches!(it.claim, ClaimState::Lost | ClaimState::Foreign)
        })
    }

    /// The role that the status last showed for a member.
    pub(crate) fn role_shown(&self, name: &str) -> Option<MemberRole> {
        self.status
            .members
            .iter()
            .find(|it| it.name == name)
            .map(|it| it.role)
    }
}

/// Whether an object is of the cluster with this uid, and not of an earlier one of the same name.
pub(crate) fn is_of(meta: &ObjectMeta, cluster_uid: &str) -> bool {
    meta.annotations
        .as_ref()
        .and_then(|it| it.get(names::CLUSTER_UID))
        .is_some_and(|it| it == cluster_uid)
}

/// An id as the status writes it.
pub(crate) fn hex(id: u64) -> String {
    format!("{id:x}")
}

/// Answers that count: fresh, from no pod that an earlier cluster of this name has left running, and from the cluster that
/// the status remembers, if it remembers one.
fn answers<'a>(
    observed: &'a Observed,
    cluster_uid: &str,
    cluster_id: Option<&str>,
) -> BTreeMap<&'a str, &'a Answer> {
    let strangers: BTreeSet<&str> = observed
        .pods
        .iter()
        .filter(|it| !is_of(&it.metadata, cluster_uid))
        .filter_map(|it| it.metadata.labels.as_ref()?.get(names::MEMBER_LABEL))
        .map(String::as_str)
        .collect();
    observed
        .probes
        .iter()
        .filter(|(name, _)| !strangers.contains(name.as_str()))
        .filter(|(_, probe)| observed.taken_at.duration_since(probe.taken_at) <= PROBE_AGE_MAX)
        .filter_map(|(name, probe)| Some((name.as_str(), probe.answer.as_ref().ok()?)))
        .filter(|(_, answer)| cluster_id.is_none_or(|id| id == hex(answer.cluster_id)))
        .collect()
}

/// The membership that the leader gave, or else whoever is in the highest term and farthest.
fn membership(spec: &Spec, answers: &BTreeMap<&str, &Answer>) -> Option<Membership> {
    let (via, answer) = answers
        .iter()
        .filter(|(_, answer)| answer.membership.is_some())
        .max_by_key(|(_, it)| (it.member_id == it.leader_id, it.term, it.applied_index))?;
    let listed = answer.membership.as_ref()?;
    Some(Membership {
        via: (*via).to_owned(),
        cluster_id: answer.cluster_id,
        listed: listed
            .iter()
            .map(|it| (name_of(spec, it), it.clone()))
            .collect(),
        corrupt: answer.corrupt.iter().copied().collect(),
    })
}

/// The name a member of the membership goes by here: the host of its peer URL if that is one of ours (a member that never
/// started has no name of its own), else its own name, else its id.
fn name_of(spec: &Spec, listed: &Listed) -> String {
    let mut ours = listed.peer_urls.iter();
    let ours = ours.find_map(|url| Some(spec.peer_of_url(url)?.0));
    ours.unwrap_or_else(|| {
        if listed.name.is_empty() {
            hex(listed.id)
        } else {
            listed.name.clone()
        }
    })
}

/// The leader of the highest term that anyone speaks of.
fn leader(
    answers: &BTreeMap<&str, &Answer>,
    membership: Option<&Membership>,
) -> Option<Leadership> {
    let term = answers.values().map(|it| it.term).max()?;
    let id = answers
        .values()
        .filter(|it| it.term == term)
        .map(|it| it.leader_id)
        .find(|id| *id != 0)?;
    let by_id = |membership: &Membership| {
        membership
            .listed
            .iter()
            .find(|(_, it)| it.id == id)
            .map(|(name, _)| name.clone())
    };
    let name = membership.and_then(by_id).or_else(|| {
        answers
            .iter()
            .find(|(_, it)| it.member_id == id)
            .map(|(name, _)| (*name).to_owned())
    });
    Some(Leadership { id, term, name })
}
