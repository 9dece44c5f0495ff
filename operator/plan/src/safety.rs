//! Refuses plans that would lose a quorum or data, whoever made them.
//!
//! It sees only what was observed and the list of actions, and shares no code with the policies: its quorum maths, its idea
//! of a healthy member and of who owns a volume are its own. The operator asks it before it acts, tests ask it everywhere.
//!
//! What it holds, by the numbers of the invariants in the design:
//! 1. no voter is taken away unless those left are a healthy, caught-up majority, and at most one change of the membership
//!    or one stop of a working voter is in a plan, and at most one stop of a voter that answers at all, for it may work again
//!    in a moment; while nobody can read the membership, no ready pod is stopped; when a ready voter is stopped, no other may
//!    be evicted; and no peer URL names a way that its member does not listen on or a running member cannot dial;
//! 2. no voter is removed while nobody can tell whose data are right; a volume is deleted only by the uid that was seen, when its
//!    member is out of the membership, no pod uses it and a majority is healthy without it; none is asked to be smaller than it
//!    is; no member starts on a volume that is not its own, nor on data that its volume was rebuilt from; a cluster is rebuilt
//!    only by an acknowledged plan and while nobody runs;
//! 8. a leader is neither stopped nor removed while it leads and another voter exists.
//!
//! A cluster whose user wants no member to run may have them all stopped, the leader last, and nothing else done to it.
//! Restarting the only voter, or one of two healthy ones, is allowed: there is no other way, and no data are at stake. Stopping one
//! that a person keeps stopped is not, nor starting it.
//! It deliberately cannot tell whether a plan is a good one, only that it is not a fatal one.

mod budget;
mod certificates;
mod fence;
mod operation;
mod peers;
mod recover;
mod sleep;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::action::{Action, Target};
use crate::certificates::{Authority, Issue};
use crate::observed::{Answer, Listed, Observed};
use operation::{compact, delete_operation, disarm, pause, tell};
use volume::{create_volume, delete_identity, delete_volume, grow_volume, start};

/// A plan that must not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Number of the invariant in the design.
    pub invariant: u8,
    /// What the plan would do, in words.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.sentence)
    }
}

/// Checks a plan.
///
/// # Errors
/// The first violation found.
pub fn check(observed: &Observed, actions: &[Action]) -> Result<(), Violation> {
    let ground = Facts::of(observed);
    let sleeps = sleep::asked_for(&ground);
    if sleeps {
        sleep::no_change(actions)?;
    } else {
        one_disruption(&ground, actions)?;
        one_that_answers(&ground, actions)?;
    }
    actions.iter().try_for_each(|action| match action {
        Action::DeletePod { pod, .. } => stop(&ground, pod, sleeps),
        Action::RemoveMember { id, name, .. } => remove(&ground, *id, name),
        Action::Promote { id, name, .. } => promote(&ground, *id, name),
        Action::AddLearner { name, peer_url, .. } => {
            add(&ground, name).and_then(|()| peers::dialed(&ground, name, peer_url))
        }
        Action::UpdatePeerUrl {
            name, id, peer_url, ..
        } => peers::moved(&ground, *id, name, peer_url),
        Action::MoveLeader { to_id, to, .. } => move_leader(&ground, *to_id, to),
        Action::DeleteClaim { claim } => delete_volume(&ground, claim),
        Action::DeleteMember { member } => delete_identity(&ground, member),
        Action::CreatePod(pod) => start(&ground, pod)
            .and_then(|()| fence::start(&ground, pod))
            .and_then(|()| recover::start(&ground, pod))
            .and_then(|()| peers::start(&ground, pod)),
        Action::MarkClaim { claim, key, value } => recover::mark(&ground, claim, key, value),
        Action::IssueCertificates(issue) => issue_certificates(&ground, issue),
        Action::ApplyCertificate(it) => certificates::apply(&ground, it),
        Action::DeleteCertificate { certificate } => certificates::delete(&ground, certificate),
        Action::CreateClaim(claim) => create_volume(&ground, claim.metadata.name.as_deref()),
        Action::GrowClaim { claim, size } => grow_volume(&ground, claim, size),
        Action::Defragment { name, .. } => pause(&ground, name),
        Action::Compact { revision, .. } => compact(&ground, *revision),
        Action::Disarm { alarm, id, .. } => disarm(&ground, *alarm, *id),
        Action::TellOperation(told) => tell(&ground, told),
        Action::DeleteOperation { operation } => delete_operation(&ground, operation),
        Action::ApplyService(_)
        | Action::ApplyBudget(_)
        | Action::ApplyNetworkPolicy(_)
        | Action::DeleteNetworkPolicy { .. }
        | Action::CreateSnapshot(_)
        | Action::CreateMember(_)
        | Action::LabelPod { .. }
        | Action::ChangeAccount { .. }
        | Action::TellUser(_)
        | Action::TellRole(_)
        | Action::OwnClaim { .. } => Ok(()),
    })?;
    budget::closed(&ground, actions)
}

/// Answers older than this, against the time of the reads, are no answers.
const STALE: SignedDuration = SignedDuration::from_secs(15);

/// Entries that a caught-up voter may be behind the farthest one.
const BEHIND: u64 = 5_000;

/// What was observed, as the checker understands it.
struct Facts<'a> {
    observed: &'a Observed,
    answers: BTreeMap<&'a str, &'a Answer>,
    list: Option<&'a [Listed]>,
    /// Whom the alarm CORRUPT is about, as whoever gave the list knows; 0 for nobody in particular.
    corrupt: &'a [u64],
    leader: Option<u64>,
}

impl<'a> Facts<'a> {
    fn of(observed: &'a Observed) -> Self {
        let mut answers = BTreeMap::new();
        for (name, probe) in &observed.probes {
            if let Ok(answer) = &probe.answer
                && observed.taken_at.duration_since(probe.taken_at) <= STALE
            {
                answers.insert(name.as_str(), answer);
            }
        }
        let newest = answers.values().map(|it| it.term).max();
        let leader = answers
            .values()
            .find(|it| Some(it.term) == newest && it.leader_id != 0)
            .map(|it| it.leader_id);
        // Several may have read the membership: the one that has applied most has read last.
        let last = answers
            .values()
            .filter(|it| it.membership.is_some())
            .max_by_key(|it| (Some(it.member_id) == leader, it.applied_index));
        let list = last.and_then(|it| it.membership.as_deref());
        let corrupt = last.map_or(&[][..], |it| &it.corrupt);
        Self {
            observed,
            answers,
            list,
            corrupt,
            leader,
        }
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.list
            .unwrap_or_default()
            .iter()
            .filter(|it| !it.is_learner)
            .map(|it| it.id)
            .collect()
    }

    /// Ids of voters that answer, follow the leader, are near the end of the log and whose pod stays.
    fn sound(&self) -> BTreeSet<u64> {
        let end = self
            .answers
            .values()
            .map(|it| it.raft_index)
            .max()
            .unwrap_or(0);
        let voters = self.voters();
        self.answers
            .iter()
            .filter(|(name, _)| {
                self.pod(name)
                    .is_some_and(|it| it.metadata.deletion_timestamp.is_none())
            })
            .map(|(_, it)| it)
            .filter(|it| Some(it.leader_id) == self.leader && it.applied_index + BEHIND >= end)
            .map(|it| it.member_id)
            .filter(|id| voters.contains(id))
            .collect()
    }

    /// Whether a member was made to follow without a vote for good.
    fn is_permanent_learner(&self, listed: &Listed) -> bool {
        let made = self.observed.members.iter().filter(|it| it.spec.learner);
        let mut hosts = made.filter_map(|it| Some(format!("//{}.", it.metadata.name.as_deref()?)));
        hosts.any(|host| listed.peer_urls.iter().any(|url| url.contains(&host)))
    }

    fn pod_of(&self, listed: &Listed) -> Option<&'a Pod> {
        let host = |name: &str| format!("//{name}.");
        let urls = &listed.peer_urls;
        let is_its = |name: &str| urls.iter().any(|url| url.contains(&host(name)));
        let mut pods = self.observed.pods.iter();
        pods.find(|it| it.metadata.name.as_deref().is_some_and(is_its))
    }

    fn pod(&self, name: &str) -> Option<&'a Pod> {
        self.observed
            .pods
            .iter()
            .find(|it| it.metadata.name.as_deref() == Some(name))
    }

    /// The member id that runs in a pod: it says so itself, or the membership knows its address.
    fn id_in(&self, pod: &str) -> Option<u64> {
        let said = self.answers.get(pod).map(|it| it.member_id);
        said.or_else(|| {
            let host = format!("//{pod}.");
            let list = self.list.unwrap_or_default();
            list.iter()
                .find(|it| it.peer_urls.iter().any(|url| url.contains(&host)))
                .map(|it| it.id)
        })
    }
}

fn refuse(invariant: u8, sentence: String) -> Result<(), Violation> {
    Err(Violation {
        invariant,
        sentence,
    })
}

/// More than half.
fn is_majority(of_them: usize, all: usize) -> bool {
    2 * of_them > all
}

/// What counts: a change of the membership, a hand-over, or the stop or the pause of a voter that works.
fn one_disruption(facts: &Facts<'_>, actions: &[Action]) -> Result<(), Violation> {
    let sound = facts.sound();
    let disrupts = |action: &&Action| match action {
        Action::AddLearner { .. }
        | Action::Promote { .. }
        | Action::RemoveMember { .. }
        | Action::UpdatePeerUrl { .. }
        | Action::MoveLeader { .. }
        | Action::Defragment { .. } => true,
        Action::DeletePod { pod, .. } => {
            facts.id_in(&pod.name).is_some_and(|id| sound.contains(&id))
        }
        _ => false,
    };
    let found: Vec<String> = actions
        .iter()
        .filter(disrupts)
        .map(ToString::to_string)
        .collect();
    if found.len() > 1 {
        return refuse(
            1,
            format!("more than one disruption in a plan: {}", found.join("; ")),
        );
    }
    Ok(())
}

/// Voters that answer may be without a leader, all of them, and have one in the next second.
fn one_that_answers(facts: &Facts<'_>, actions: &[Action]) -> Result<(), Violation> {
    let voters = facts.voters();
    let alive = |name: &str| facts.pod(name).is_none_or(|it| !is_dead(it));
    let found: Vec<&str> = actions
        .iter()
        .filter_map(|action| match action {
            Action::DeletePod { pod, .. } => Some(pod.name.as_str()),
            _ => None,
        })
        .filter(|name| alive(name))
        .filter(|name| {
            let answer = facts.answers.get(name);
            answer.is_some_and(|it| facts.list.is_none() || voters.contains(&it.member_id))
        })
        .collect();
    if found.len() > 1 {
        return refuse(
            1,
            format!(
                "more than one voter that answers is to be stopped: {}",
                found.join(", ")
            ),
        );
    }
    Ok(())
}

fn stop(facts: &Facts<'_>, target: &Target, sleeps: bool) -> Result<(), Violation> {
    let Some(pod) = facts.pod(&target.name) else {
        return refuse(
            3,
            format!("pod {} is to be deleted and was not seen", target.name),
        );
    };
    if pod.metadata.uid.as_deref() != Some(target.uid.as_str()) {
        return refuse(
            3,
            format!(
                "pod {} is to be deleted under a uid it does not have",
                target.name
            ),
        );
    }
    if sleeps {
        return sleep::stop(facts, target);
    }
    if facts.list.is_none() && is_ready(pod) && !is_dead(pod) {
        return refuse(
            1,
            format!(
                "pod {} is ready and is to be stopped while nobody can read the membership",
                target.name
            ),
        );
    }
    let Some(id) = facts.id_in(&target.name) else {
        return Ok(());
    };
    let (voters, mut left) = (facts.voters(), facts.sound());
    let works = left.remove(&id);
    if !voters.contains(&id) || is_dead(pod) || (!works && !is_ready(pod)) {
        return Ok(());
    }
    if voters.len() > 1 && facts.leader == Some(id) {
        return refuse(
            8,
            format!(
                "pod {} is to be stopped while its member leads",
                target.name
            ),
        );
    }
    let comes_back = fence::of(facts, pod).is_none();
    let unavoidable = comes_back && voters.len() <= 2 && left.len() + 1 >= voters.len();
    if unavoidable || is_majority(left.len(), voters.len()) {
        return Ok(());
    }
    refuse(
        1,
        format!(
            "without pod {} only {} of {} voters are sound",
            target.name,
            left.len(),
            voters.len()
        ),
    )
}

fn is_dead(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    phase == Some("Failed") || phase == Some("Succeeded")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|it| it.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Whether a pod may have read this Secret.
fn holds(pod: &Pod, secret: &str) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|it| it.volumes.iter().flatten());
    volumes.any(|it| {
        let source = it.secret.as_ref();
        source.is_some_and(|it| it.secret_name.as_deref() == Some(secret))
    })
}

/// A new CA splits those that hold it from those that hold the old one, and a Secret of somebody else's is theirs.
fn issue_certificates(facts: &Facts<'_>, issue: &Issue) -> Result<(), Violation> {
    let name = issue.secret.metadata.name.as_deref().unwrap_or_default();
    let annotation = |meta: &ObjectMeta| {
        meta.annotations
            .as_ref()?
            .get("quorate.io/cluster-uid")
            .cloned()
    };
    let ours = annotation(&issue.secret.metadata);
    let mut pods = facts.observed.pods.iter();
    let found = facts.observed.keyrings.iter().find(|it| it.secret == name);
    let known =
        |it: &Target| found.is_some_and(|found| found.uid == it.uid && found.cluster_uid == ours);
    match (&issue.authority, &issue.replaces) {
        (Authority::New { .. }, _) if pods.any(|it| holds(it, name)) => refuse(
            1,
            format!("{name} is to hold a new CA while a member may hold the old one"),
        ),
        (Authority::New { .. }, Some(_)) => {
            refuse(1, format!("the CA in {name} is to be replaced"))
        }
        (_, Some(target)) if !known(target) => refuse(
            3,
            format!("{name} is to be replaced and is not the one that was seen"),
        ),
        (Authority::Next { .. } | Authority::Alone { .. }, _) => {
            certificates::replace(facts, issue, name, found)
        }
        _ => Ok(()),
    }
}

fn remove(facts: &Facts<'_>, id: u64, name: &str) -> Result<(), Violation> {
    let (voters, sound) = (facts.voters(), facts.sound());
    if facts.list.is_none() {
        return refuse(
            1,
            format!("{name} is to be removed from a membership that could not be read"),
        );
    }
    if !voters.contains(&id) {
        return Ok(());
    }
    if facts.leader == Some(id) && voters.len() > 1 {
        return refuse(8, format!("{name} is to be removed while it leads"));
    }
    let accused = voters
        .iter()
        .filter(|it| facts.corrupt.contains(it))
        .count();
    if facts.corrupt.contains(&0) || (accused > 0 && 2 * accused >= voters.len()) {
        return refuse(
            2,
            format!("{name} is to be removed while nobody can tell whose data are right"),
        );
    }
    // Data that differ from the others' are no copy of them.
    let stay = |it: &&u64| **it != id && !facts.corrupt.contains(it);
    let left = sound.iter().filter(stay).count();
    // The one that goes votes on its own removal if it answers at all, in good health or not.
    let answers = facts
        .answers
        .values()
        .any(|it| it.member_id == id && Some(it.leader_id) == facts.leader);
    let agree = left + usize::from(answers);
    if !is_majority(agree, voters.len()) {
        return refuse(
            1,
            format!(
                "{agree} of {} voters can agree to remove {name}",
                voters.len()
            ),
        );
    }
    if !is_majority(left, voters.len() - 1) {
        return refuse(
            1,
            format!(
                "without {name} only {left} of {} voters are sound",
                voters.len() - 1
            ),
        );
    }
    Ok(())
}

fn promote(facts: &Facts<'_>, id: u64, name: &str) -> Result<(), Violation> {
    let learner = facts.list.unwrap_or_default().iter().find(|it| it.id == id);
    if learner.is_none_or(|it| !it.is_learner) {
        return refuse(1, format!("{name} is to be promoted and is no learner"));
    }
    if learner.is_some_and(|it| facts.is_permanent_learner(it)) {
        return refuse(
            1,
            format!("{name} is to vote and was made to be a learner for good"),
        );
    }
    let end = facts
        .answers
        .values()
        .map(|it| it.raft_index)
        .max()
        .unwrap_or(0);
    let near = facts
        .answers
        .values()
        .any(|it| it.member_id == id && it.applied_index + BEHIND >= end);
    let (voters, sound) = (facts.voters().len(), facts.sound().len());
    if near && is_majority(sound, voters) && is_majority(sound + 1, voters + 1) {
        return Ok(());
    }
    refuse(
        1,
        format!(
            "{name} is to vote while {sound} of {voters} voters are sound, or before it has caught up"
        ),
    )
}

fn add(facts: &Facts<'_>, name: &str) -> Result<(), Violation> {
    let list = facts.list.unwrap_or_default();
    let joins = |it: &&Listed| it.is_learner && !facts.is_permanent_learner(it);
    if let Some(other) = list.iter().find(joins) {
        return refuse(
            1,
            format!(
                "{name} is to be added while {:x} is still a learner",
                other.id
            ),
        );
    }
    // Each judges by its own flag: where one has room for it and another has not, their memberships part.
    let pods = list.iter().map(|it| facts.pod_of(it));
    let roomy = |it: Option<&Pod>| it.is_some_and(has_room);
    if list.iter().any(|it| it.is_learner) && !pods.into_iter().all(roomy) {
        return refuse(
            1,
            format!("{name} is to be one more learner than some member may have room for"),
        );
    }
    if !is_majority(facts.sound().len(), facts.voters().len()) {
        return refuse(1, format!("{name} is to be added without a sound majority"));
    }
    Ok(())
}

fn has_room(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    let mut args = containers.flat_map(|it| it.args.iter().flatten());
    args.any(|it| it.starts_with("--max-learners="))
}

fn move_leader(facts: &Facts<'_>, to: u64, name: &str) -> Result<(), Violation> {
    if facts.sound().contains(&to) && facts.leader != Some(to) {
        return Ok(());
    }
    refuse(
        8,
        format!("leadership is to go to {name}, which is no sound follower"),
    )
}
