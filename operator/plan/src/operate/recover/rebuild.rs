//! Rebuilding, one step in each round, from the latch to the end. The invariants are the parent's.

use std::cmp::Reverse;

use crds::OperationType::Requested;
use crds::{OperationPhase, RaftOperation, Recovering};
use k8s_openapi::api::core::v1::Pod;

use super::super::{Standing, phase, tell};
use super::snapshots;
use crate::{
    action::Action,
    draft::{Draft, moving, waiting},
    names::{self, Role},
    objects::{
        self,
        pod::{Beginning, Data},
    },
    observed::{PROBE_AGE_MAX, Sought},
    progress,
    report::Work,
    retention, upkeep,
    view::{ClaimState, Member, View, hex},
};

/// One round of a recovery that is latched.
struct Rebuilding<'v, 'a> {
    view: &'v View<'a>,
    latch: Recovering,
    operation: Option<&'a RaftOperation>,
    survivor: Option<&'v Member<'a>>,
}

/// Takes the recovery that is latched one step further.
pub(crate) fn go_on(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let latch = view.memory.recovering.clone()?;
    let ours = |it: &&RaftOperation| it.metadata.uid.as_ref() == Some(&latch.operation_uid);
    let round = Rebuilding {
        view,
        operation: view.observed.operations.iter().find(ours),
        survivor: view.members.get(&latch.survivor),
        latch,
    };
    let work = round.go_on(draft);
    if draft.memory.recovering.is_some() {
        let unspoken = round
            .operation
            .filter(|it| !tell::is_told(draft, it) && !phase(it).is_final());
        if let Some(operation) = unspoken {
            let standing = round.running(tell::sentence(&work));
            tell::tell(view, draft, operation, standing);
        }
    }
    Some(work)
}

impl<'v, 'a> Rebuilding<'v, 'a> {
    fn go_on(&self, draft: &mut Draft) -> Work {
        if self.view.memory.cluster_id.as_ref() != Some(&self.latch.lost_cluster_id) {
            return self.end(draft);
        }
        if let Some(restored) = self.mark() {
            return self.raise(draft, restored);
        }
        match self.futile() {
            Some(why) => self.give_up(draft, &why),
            None => {
                let first = self.stop(draft).or_else(|| self.snapshot(draft));
                first.unwrap_or_else(|| self.restore(draft))
            }
        }
    }

    fn moving(&self, step: &'static str) -> Work {
        moving(Requested, step, &self.latch.survivor)
    }

    fn waiting(&self, step: &'static str, gate: &str, why: String) -> Work {
        waiting(Requested, step, &self.latch.survivor, gate, why)
    }

    fn running(&self, message: String) -> Standing {
        let status = self.operation.and_then(|it| it.status.clone());
        Standing {
            phase: OperationPhase::Running,
            message,
            plan: status.and_then(|it| it.plan),
        }
    }

    /// The pod that has restored the survivor's data since the recovery was latched, if the claim says so.
    fn mark(&self) -> Option<&'a str> {
        let mark = self.survivor?.restored()?;
        (self.latch.restored_before.as_deref() != Some(mark)).then_some(mark)
    }

    /// Why it is given up before anything was changed for good, if it is.
    fn futile(&self) -> Option<String> {
        let claim = self.survivor.and_then(|it| it.claim_target());
        let survivor = &self.latch.survivor;
        match self.operation.map(phase) {
            None => Some("its operation was deleted".to_owned()),
            Some(phase) if phase.is_final() => Some("its operation has ended".to_owned()),
            _ if self.view.membership.is_some() => Some("a majority answers after all".to_owned()),
            _ if claim.is_none_or(|it| it.uid != self.latch.claim_uid) => {
                Some(format!("the volume of member {survivor} is gone"))
            }
            _ => None,
        }
    }

    fn give_up(&self, draft: &mut Draft, why: &str) -> Work {
        if let Some(operation) = self.operation.filter(|it| !phase(it).is_final()) {
            let plan = operation.status.clone().and_then(|it| it.plan);
            let message = format!("{why}; members start again as they were");
            tell::tell(self.view, draft, operation, Standing::failed(message, plan));
        }
        draft.memory.recovering = None;
        self.moving("GiveUp")
    }

    /// Stops every pod of the cluster, of those that answer one in each round, the survivor's last; no work when there is none
    /// left but such as cannot end, whose members are lost.
    fn stop(&self, draft: &mut Draft) -> Option<Work> {
        let members = self.view.members.values();
        let mut pods: Vec<_> = members
            .filter(|it| it.pod.is_some_and(|pod| !is_restorer(pod)))
            .collect();
        pods.sort_by_key(|it| (self.is_survivor(it), Reverse(it.serial)));
        let (ending, up): (Vec<_>, Vec<_>) = pods.into_iter().partition(|it| it.pod_ending());
        let others = up.iter().any(|it| !self.is_survivor(it));
        let mut answering = false;
        for member in &up {
            let speaks = upkeep::speaks(self.view, member);
            if (speaks && answering) || (others && self.is_survivor(member)) {
                continue;
            }
            answering |= speaks;
            self.stop_one(draft, member);
        }
        if let Some(first) = up.first() {
            return Some(moving(Requested, "StopMembers", &first.name));
        }
        let ends = |it: &&&Member<'_>| self.is_survivor(it) || !upkeep::cannot_end(self.view, it);
        let slow = ending.iter().find(ends)?;
        let why = slow.trouble(self.view);
        Some(waiting(
            Requested,
            "StopMembers",
            &slow.name,
            "PodGone",
            why,
        ))
    }

    fn stop_one(&self, draft: &mut Draft, member: &Member<'_>) {
        if let Some(pod) = member.pod_target() {
            let why = format!("the cluster is rebuilt of {}", self.latch.survivor);
            draft.actions.push(Action::DeletePod { pod, why });
        }
    }

    fn is_survivor(&self, member: &Member<'_>) -> bool {
        member.name == self.latch.survivor
    }

    /// Has every volume snapshotted that the plan says; no work when all are taken, when the person wants none of it any more, or
    /// when the restoring has begun.
    fn snapshot(&self, draft: &mut Draft) -> Option<Work> {
        const STEP: &str = "SnapshotVolumes";
        let begun = self.survivor.is_some_and(|it| it.pod.is_some());
        if begun || !self.wants_snapshots() {
            return None;
        }
        let mut work = None;
        for (member, class) in &self.latch.snapshots {
            let claim = self.view.members.get(member).map(|it| &it.claim);
            if !matches!(claim, Some(ClaimState::Present(_))) {
                continue;
            }
            let wanted =
                objects::snapshot::snapshot(&self.view.spec, member, class, &self.latch.plan);
            let name = wanted.metadata.name.clone().unwrap_or_default();
            let why = match self.view.observed.snapshots.get(&name) {
                Some(Sought::There(found)) if found.is_taken() => continue,
                Some(Sought::Absent) => {
                    draft.actions.push(Action::CreateSnapshot(Box::new(wanted)));
                    work.get_or_insert(moving(Requested, STEP, member));
                    continue;
                }
                Some(Sought::There(found)) => match found.trouble() {
                    Some(trouble) => format!(
                        "VolumeSnapshot {name} has failed, and is tried again by its driver: {trouble}"
                    ),
                    None => format!("VolumeSnapshot {name} is not taken yet"),
                },
                Some(Sought::Forbidden) => {
                    format!(
                        "VolumeSnapshot {name} cannot be read: the operator may not get volumesnapshots.snapshot.storage.k8s.io"
                    )
                }
                Some(Sought::Unserved) => format!(
                    "VolumeSnapshot {name} cannot be made: the API server serves no such kind any more"
                ),
                None => format!("VolumeSnapshot {name} could not be read"),
            };
            let why = format!("{why}. {}", self.without_snapshots());
            work.get_or_insert_with(|| waiting(Requested, STEP, member, "Snapshot", why));
        }
        work
    }

    /// Whether the person who asked for the recovery still wants them.
    fn wants_snapshots(&self) -> bool {
        let asked = self.operation.map(|it| &it.spec);
        let asked = asked.and_then(|it| it.recover_quorum.as_ref());
        asked.is_some_and(snapshots::wanted)
    }

    /// How the recovery goes on without them.
    fn without_snapshots(&self) -> String {
        format!(
            "To go on without: kubectl -n {} patch raftoperation {} --type=merge -p '{{\"spec\":{{\"recoverQuorum\":{{\"volumeSnapshots\":\"Never\"}}}}}}'",
            self.view.spec.namespace, self.latch.operation
        )
    }

    /// Has the survivor's data restored beside themselves, and marks the claim when that is done.
    fn restore(&self, draft: &mut Draft) -> Work {
        const STEP: &str = "RestoreData";
        let Some(survivor) = self.survivor else {
            return self.waiting(STEP, "Volume", "there is no survivor".to_owned());
        };
        let (Some(identity), Some(claim)) = (survivor.identity, survivor.claim_target()) else {
            return self.identify(draft, survivor, STEP);
        };
        let succeeded = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            phase == Some("Succeeded")
        };
        match (survivor.pod, survivor.pod_target()) {
            (Some(pod), Some(target)) if succeeded(pod) => {
                draft.actions.push(Action::MarkClaim {
                    claim,
                    key: names::RESTORED,
                    value: target.uid,
                });
                self.moving("KeepRestored")
            }
            (Some(_), _) => self.tend(draft, survivor, STEP),
            (None, _) => {
                let spec = progress::template(self.view, survivor);
                let before = self.latch.restored_before.as_deref();
                let pod = objects::restore::pod(spec, identity, &self.latch.plan, before);
                draft.actions.push(Action::CreatePod(Box::new(pod)));
                self.moving(STEP)
            }
        }
    }

    /// Starts the survivor on what was restored, and takes the cluster that answers then for the cluster.
    fn raise(&self, draft: &mut Draft, restored: &str) -> Work {
        const STEP: &str = "StartMember";
        let Some(survivor) = self.survivor else {
            return self.waiting(STEP, "Volume", "there is no survivor".to_owned());
        };
        let Some(identity) = survivor.identity else {
            return self.identify(draft, survivor, STEP);
        };
        if survivor.pod.is_some_and(is_restorer) {
            if let Some(pod) = survivor.pod_target().filter(|_| !survivor.pod_ending()) {
                let why = "it has done its work".to_owned();
                draft.actions.push(Action::DeletePod { pod, why });
            }
            return self.moving("KeepRestored");
        }
        if let Some(id) = self.reborn() {
            draft.memory.cluster_id = Some(id);
            // It may have had the lost cluster's data already.
            draft.memory.joining = None;
            return self.moving("RememberCluster");
        }
        if survivor.pod.is_some() {
            return self.tend(draft, survivor, STEP);
        }
        let name = &survivor.name;
        let peers = [(name.clone(), self.view.spec.peer_url(name))].into();
        let data = Data {
            beginning: Beginning::Existing,
            restored: Some(restored),
        };
        let spec = progress::template(self.view, survivor);
        let pod = objects::pod::pod(spec, identity, Role::Voter, data, &peers);
        draft.actions.push(Action::CreatePod(Box::new(pod)));
        self.moving(STEP)
    }

    /// Makes the identity again that somebody has deleted: without it no pod can be made.
    fn identify(&self, draft: &mut Draft, survivor: &Member<'_>, step: &'static str) -> Work {
        let there = matches!(survivor.claim, ClaimState::Present(_));
        if there && survivor.identity.is_none() && !survivor.identity_ending {
            let spec = &self.view.spec;
            let identity = objects::member::again(spec, &survivor.name, survivor.serial);
            draft.actions.push(Action::CreateMember(Box::new(identity)));
            return self.moving("RestoreMember");
        }
        self.waiting(step, "Volume", survivor.trouble(self.view))
    }

    /// Takes away a pod that has failed, or that does not come up and is of an old template; else waits for it.
    fn tend(&self, draft: &mut Draft, survivor: &Member<'_>, step: &'static str) -> Work {
        let failed = survivor.pod_ended() && upkeep::rested(self.view, survivor);
        let silent = !upkeep::speaks(self.view, survivor) && !survivor.pod_ready();
        let outdated = silent && progress::is_outdated(self.view, survivor);
        let going = survivor.pod_target().filter(|_| !survivor.pod_ending());
        if let Some(pod) = going.filter(|_| failed || outdated) {
            let why = "it has failed, or its template is an old one".to_owned();
            draft.actions.push(Action::DeletePod { pod, why });
        }
        let said = survivor.pod.and_then(last_words);
        let why = said.unwrap_or_else(|| survivor.trouble(self.view));
        self.waiting(step, "MemberReady", why)
    }

    /// Id of the cluster that the survivor is alone in, if it is another one than was lost.
    fn reborn(&self) -> Option<String> {
        let probe = self.view.observed.probes.get(&self.latch.survivor)?;
        let age = self.view.observed.taken_at.duration_since(probe.taken_at);
        let answer = probe
            .answer
            .as_ref()
            .ok()
            .filter(|_| age <= PROBE_AGE_MAX)?;
        let alone = answer.membership.as_ref().is_some_and(|it| it.len() == 1);
        let id = hex(answer.cluster_id);
        (alone && id != self.latch.lost_cluster_id).then_some(id)
    }

    /// What was snapshotted before, and is a person's to delete.
    fn kept(&self) -> String {
        let names: Vec<String> = snapshots::names_of(&self.latch).collect();
        if names.is_empty() || !self.wants_snapshots() {
            return String::new();
        }
        format!(
            "; what was before is in VolumeSnapshot {}, until you delete it",
            names.join(" and ")
        )
    }

    /// Retires all other members, says how it ended, and lets go of the cluster once that is said.
    fn end(&self, draft: &mut Draft) -> Work {
        if let Some(work) = self.retire(draft) {
            return work;
        }
        match self.operation.filter(|it| !phase(it).is_final()) {
            Some(operation) => {
                let id = self.view.memory.cluster_id.as_deref().unwrap_or_default();
                let mut message = format!(
                    "cluster {id} goes on with the data of member {}; cluster {} is no more",
                    self.latch.survivor, self.latch.lost_cluster_id
                );
                message += &self.kept();
                let mut plan = self.running(String::new()).plan;
                let steps = plan.iter_mut().flat_map(|it| &mut it.steps);
                steps.for_each(|it| it.done = true);
                let standing = Standing {
                    phase: OperationPhase::Succeeded,
                    message,
                    plan,
                };
                tell::tell(self.view, draft, operation, standing);
            }
            None => draft.memory.recovering = None,
        }
        self.moving("RememberCluster")
    }
}

impl Rebuilding<'_, '_> {
    /// Takes away the identities of all members but the survivor, and sees to it that the status has forgotten their ids: while
    /// either is there, a round in which nobody can read the membership would start them again, on the lost cluster's data.
    fn retire(&self, draft: &mut Draft) -> Option<Work> {
        const STEP: &str = "ClearAway";
        if self.view.membership.is_none() {
            let why = self.survivor.map(|it| it.trouble(self.view));
            return Some(self.waiting("StartMember", "MemberReady", why.unwrap_or_default()));
        }
        let members = self.view.members.values();
        let others: Vec<_> = members.filter(|it| !self.is_survivor(it)).collect();
        // Nobody could tell afterwards why it left.
        let marks = others
            .iter()
            .filter(|it| it.identity.is_some())
            .filter_map(|it| retention::mark(self.view, it, Requested));
        let marks: Vec<Action> = marks.collect();
        let identities = others.iter().filter_map(|it| it.identity_target());
        if marks.is_empty() {
            let gone = identities.map(|member| Action::DeleteMember { member });
            draft.actions.extend(gone);
        }
        draft.actions.extend(marks);
        let there = |it: &&&Member<'_>| it.identity.is_some() || it.identity_ending;
        let first = others.iter().find(there).map(|it| &it.name);
        let mut shown = self.view.status.members.iter();
        let known = shown.find(|it| it.name != self.latch.survivor && it.id.is_some());
        let name = first.or(known.map(|it| &it.name))?;
        Some(moving(Requested, STEP, name))
    }
}

/// Whether a pod is one that restores and serves nobody.
fn is_restorer(pod: &Pod) -> bool {
    let marks = pod.metadata.annotations.as_ref();
    marks.is_some_and(|it| it.contains_key(names::RESTORES))
}

/// How a pod's container ended, if it did and not well.
fn last_words(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut states = pod.status.as_ref()?.container_statuses.iter().flatten();
    let ended = states.find_map(|it| it.state.as_ref()?.terminated.as_ref())?;
    let (reason, message) = (ended.reason.as_deref(), ended.message.as_deref());
    (ended.exit_code != 0).then(|| {
        format!(
            "the pod of member {name} has failed ({}, exit code {}: {}); it is tried again. Its log says why; etcd's image must \
             have etcdutl, and the volume room for the data a second time",
            reason.unwrap_or("Error"),
            ended.exit_code,
            message.unwrap_or("no message")
        )
    })
}
