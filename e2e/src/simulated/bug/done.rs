//! What a round with a bug does in place of what was decided.
//!
//! It deliberately does not get around the operator's safety check: an action that is refused there is noticed there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crds::{DeletionPolicy, OperationPhase, RaftCluster, Recovering};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use plan::names::{self, PeerPort, Scheme};
use plan::{Action, Alarm, Ground, Observed, Plan, Target};

use super::believed::is_ready;

/// The process looks into its cache again after so many rounds.
const REFRESH: u32 = 8;

fn target(object: &impl ResourceExt) -> Target {
    Target {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    }
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|it| it.phase.as_deref())
        .unwrap_or_default()
}

/// The pod that a target was.
fn pod<'a>(observed: &'a Observed, target: &Target) -> Option<&'a Pod> {
    observed.pods.iter().find(|it| it.name_any() == target.name)
}

pub(super) fn stops_all(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let hash = |pod: &Pod| pod.annotations().get(names::TEMPLATE_HASH).cloned();
    let begun = plan.actions.iter().find_map(|it| match it {
        Action::DeletePod { pod, why } if why == "its template has changed" => Some(pod.clone()),
        _ => None,
    });
    let Some(begun) = begun else { return };
    let old = pod(observed, &begun).and_then(hash);
    let others = observed.pods.iter().filter(|it| hash(it) == old);
    let others = others.map(target).filter(|it| *it != begun);
    plan.actions.extend(others.map(|pod| Action::DeletePod {
        pod,
        why: "its template has changed too".to_owned(),
    }));
}

pub(super) fn removes_leader(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    for action in &mut plan.actions {
        let Action::MoveLeader { to_id, ground, .. } = &*action else {
            continue;
        };
        let led = ground.members.iter().find(|it| it.0 != *to_id);
        *action = Action::RemoveMember {
            name: ground.via.clone(),
            id: led.map_or(0, |it| it.0),
            ground: ground.clone(),
        };
    }
}

pub(super) fn moves_peers(cluster: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let listeners = cluster.status.iter().flat_map(|it| &it.peer_listeners);
    let Some(second) = listeners.clone().nth(1) else {
        return;
    };
    let answer = observed.probes.values().find_map(|it| {
        let answer = it.answer.as_ref().ok()?;
        Some((answer, answer.membership.as_ref()?))
    });
    let Some((answer, members)) = answer else {
        return;
    };
    for action in &mut plan.actions {
        let Action::DeletePod { pod, .. } = &*action else {
            continue;
        };
        let name = pod.name.clone();
        let Some(listed) = members.iter().find(|it| it.name == name) else {
            continue;
        };
        let at = PeerPort {
            port: second.port,
            scheme: Scheme::Https,
        };
        let via = members.iter().find(|it| it.id == answer.member_id);
        let mut all: Vec<(u64, bool)> = members.iter().map(|it| (it.id, it.is_learner)).collect();
        all.sort_unstable();
        *action = Action::UpdatePeerUrl {
            id: listed.id,
            peer_url: names::peer_url(
                at,
                super::super::world::NAMESPACE,
                &cluster.name_any(),
                &name,
            ),
            name,
            ground: Ground {
                via: via.map(|it| it.name.clone()).unwrap_or_default(),
                cluster_id: answer.cluster_id,
                members: all,
            },
        };
    }
}

pub(super) fn leaves_ended_pod(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let ended = |it: &Target| pod(observed, it).is_some_and(|it| phase(it) == "Failed");
    let stops = |it: &Action| matches!(it, Action::DeletePod { pod, .. } if ended(pod));
    plan.actions.retain(|it| !stops(it));
}

pub(super) fn stops_only_ready(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let broken = |it: &Pod| !is_ready(it) && phase(it) != "Failed";
    let broken = |it: &Target| pod(observed, it).is_some_and(broken);
    let stops = |it: &Action| matches!(it, Action::DeletePod { pod, .. } if broken(pod));
    plan.actions.retain(|it| !stops(it));
}

pub(super) fn nothing_while_not_ready(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    if observed.pods.iter().any(|it| !is_ready(it)) {
        plan.actions.clear();
    }
}

pub(super) fn no_budget(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    plan.actions
        .retain(|it| !matches!(it, Action::ApplyBudget(_)));
}

pub(super) fn loose_budget(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    for action in &mut plan.actions {
        if let Action::ApplyBudget(budget) = action
            && let Some(spec) = &mut budget.spec
        {
            spec.min_available = Some(IntOrString::Int(1));
        }
    }
}

pub(super) fn frozen_peers(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    for action in &mut plan.actions {
        let Action::CreatePod(pod) = action else {
            continue;
        };
        let own = format!("{}=", pod.name_any());
        let containers = pod.spec.iter_mut().flat_map(|it| &mut it.containers);
        for arg in containers.flat_map(|it| it.args.iter_mut().flatten()) {
            if let Some(peers) = arg.strip_prefix("--initial-cluster=") {
                let (own, others): (Vec<&str>, Vec<&str>) =
                    peers.split(',').partition(|it| it.starts_with(&own));
                let told: Vec<&str> = own.into_iter().chain(others.into_iter().take(1)).collect();
                *arg = format!("--initial-cluster={}", told.join(","));
            }
        }
    }
}

pub(super) fn deletes_to_grow(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    for action in &mut plan.actions {
        if let Action::GrowClaim { claim, .. } = action {
            *action = Action::DeleteClaim {
                claim: claim.clone(),
            };
        }
    }
}

pub(super) fn applies_always(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let again = observed.services.iter().cloned().map(|mut it| {
        it.metadata.managed_fields = None;
        it.metadata.resource_version = None;
        it.status = None;
        Action::ApplyService(Box::new(it))
    });
    plan.actions.extend(again);
}

pub(super) fn deletes_what_waits(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let waits = observed
        .pods
        .iter()
        .filter(|it| phase(it) == "Pending" || phase(it).is_empty());
    let told: BTreeSet<String> = waits
        .filter(|it| {
            let made = it.creation_timestamp().map(|it| it.0);
            made.is_some_and(|it| observed.taken_at.duration_since(it).as_secs() > 10)
        })
        .map(ResourceExt::name_any)
        .collect();
    let members = observed
        .members
        .iter()
        .filter(|it| told.contains(&it.name_any()));
    plan.actions
        .extend(members.map(|it| Action::DeleteMember { member: target(it) }));
}

/// Identities as they were some rounds ago; a volume without one is an orphan, and goes where the policy says so.
pub(super) fn orphans_by_cache() -> impl Fn(&RaftCluster, &Observed, &mut Plan) {
    let cache: Mutex<(u32, BTreeSet<String>)> = Mutex::default();
    move |cluster, observed, plan| {
        let mut cache = cache.lock().expect("no round panics with it");
        if cache.0.is_multiple_of(REFRESH) {
            cache.1 = observed.members.iter().map(ResourceExt::name_any).collect();
        }
        cache.0 += 1;
        if cluster.spec.deletion_policy == DeletionPolicy::Delete {
            let claims = observed.claims.iter().filter(|it| {
                let member = it.labels().get(names::MEMBER_LABEL);
                member.is_some_and(|it| !cache.1.contains(it))
            });
            plan.actions
                .extend(claims.map(|it| Action::DeleteClaim { claim: target(it) }));
        }
    }
}

pub(super) fn leaves_identities(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    plan.actions
        .retain(|it| !matches!(it, Action::DeleteMember { .. }));
}

pub(super) fn owns_all(cluster: &RaftCluster, _: &Observed, plan: &mut Plan) {
    plan.actions
        .retain(|it| !matches!(it, Action::OwnClaim { owner: None, .. }));
    let owner: Option<OwnerReference> = cluster.controller_owner_ref(&());
    for action in &mut plan.actions {
        if let Action::CreateClaim(claim) = action {
            claim.metadata.owner_references = owner.clone().map(|it| vec![it]);
        }
    }
}

pub(super) fn replaces_evicted(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let evicted = observed.pods.iter().filter(|it| phase(it) == "Failed");
    let evicted: BTreeSet<String> = evicted.map(ResourceExt::name_any).collect();
    let members = observed.members.iter();
    let members = members.filter(|it| evicted.contains(&it.name_any()));
    plan.actions
        .extend(members.map(|it| Action::DeleteMember { member: target(it) }));
}

/// As if the recovery that was asked for had been agreed to.
pub(super) fn rebuilds(cluster: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let status = cluster.status.clone().unwrap_or_default();
    let member = observed.members.iter().find(|it| {
        let claim = names::claim(&it.name_any());
        observed.claims.iter().any(|it| it.name_any() == claim)
    });
    let open = observed.operations.iter().find(|it| {
        let phase = it.status.as_ref().map(|it| it.phase);
        !phase.is_some_and(OperationPhase::is_final)
    });
    let (Some(member), Some(operation), None) = (member, open, status.recovering) else {
        return;
    };
    let claim = names::claim(&member.name_any());
    let claim = observed.claims.iter().find(|it| it.name_any() == claim);
    plan.report.memory.recovering = Some(Recovering {
        operation: operation.name_any(),
        operation_uid: operation.uid().unwrap_or_default(),
        plan: "nobody's".to_owned(),
        survivor: member.name_any(),
        claim_uid: claim.and_then(ResourceExt::uid).unwrap_or_default(),
        lost_cluster_id: status.cluster_id.unwrap_or_default(),
        restored_before: None,
        snapshots: BTreeMap::new(),
    });
}

pub(super) fn starts_on_old_data(_: &RaftCluster, _: &Observed, plan: &mut Plan) {
    for action in &mut plan.actions {
        let Action::CreatePod(pod) = action else {
            continue;
        };
        let containers = pod.spec.iter_mut().flat_map(|it| &mut it.containers);
        for arg in containers.flat_map(|it| it.args.iter_mut().flatten()) {
            let restored = arg.starts_with("--data-dir=") && !arg.ends_with("$(POD_UID)");
            if restored {
                *arg = format!("--data-dir={}", names::DATA_DIR);
            }
        }
    }
}

/// The volume of a member that has lost it, as that of another one.
pub(super) fn remakes_volume(cluster: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let there: BTreeSet<String> = observed.claims.iter().map(ResourceExt::name_any).collect();
    let status = cluster.status.iter();
    let known = status
        .flat_map(|it| &it.members)
        .filter(|it| it.claim_uid.is_some());
    let lost = known
        .map(|it| &it.name)
        .filter(|it| !there.contains(&names::claim(it)));
    for member in lost {
        let Some(mut claim) = observed.claims.first().cloned() else {
            return;
        };
        let like = std::mem::take(&mut claim.metadata);
        claim.metadata.name = Some(names::claim(member));
        claim.metadata.annotations = like.annotations;
        claim.metadata.labels = like.labels;
        let label = (names::MEMBER_LABEL.to_owned(), member.clone());
        claim.labels_mut().extend([label]);
        claim.status = None;
        if let Some(spec) = &mut claim.spec {
            spec.volume_name = None;
        }
        plan.actions.push(Action::CreateClaim(Box::new(claim)));
    }
}

/// Members, by name and id, that the alarm CORRUPT is about, with a ground to change the membership on.
fn accused(observed: &Observed) -> Option<(Ground, Vec<(String, u64)>)> {
    let answers = observed.probes.iter();
    let mut answers = answers.filter_map(|(name, it)| Some((name, it.answer.as_ref().ok()?)));
    let (via, leader) = answers.find(|(_, it)| it.member_id == it.leader_id)?;
    let listed = leader.membership.as_ref()?;
    let mut members: Vec<(u64, bool)> = listed.iter().map(|it| (it.id, it.is_learner)).collect();
    members.sort_unstable();
    let accused = listed.iter().filter(|it| leader.corrupt.contains(&it.id));
    let ground = Ground {
        via: via.clone(),
        cluster_id: leader.cluster_id,
        members,
    };
    let accused = accused.map(|it| (it.name.clone(), it.id)).collect();
    Some((ground, accused))
}

pub(super) fn removes_accused(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let Some((ground, accused)) = accused(observed) else {
        return;
    };
    let follower = accused.into_iter().find(|it| it.0 != ground.via);
    plan.actions
        .extend(follower.map(|(name, id)| Action::RemoveMember { name, id, ground }));
}

pub(super) fn disarms_first(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let Some((ground, accused)) = accused(observed) else {
        return;
    };
    plan.actions
        .extend(accused.into_iter().map(|(_, id)| Action::Disarm {
            alarm: Alarm::Corrupt,
            id,
            ground: ground.clone(),
        }));
}

pub(super) fn promotes_learners(_: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let answers = observed.probes.iter();
    let mut answers = answers.filter_map(|(name, it)| Some((name, it.answer.as_ref().ok()?)));
    let Some((via, leader)) = answers.find(|(_, it)| it.member_id == it.leader_id) else {
        return;
    };
    let listed = leader.membership.iter().flatten();
    let mut members: Vec<(u64, bool)> = listed.clone().map(|it| (it.id, it.is_learner)).collect();
    members.sort_unstable();
    let learner = listed
        .clone()
        .find(|it| it.is_learner && !it.name.is_empty());
    if let Some(learner) = learner.filter(|_| plan.actions.is_empty()) {
        plan.actions.push(Action::Promote {
            name: learner.name.clone(),
            id: learner.id,
            ground: Ground {
                via: via.clone(),
                cluster_id: leader.cluster_id,
                members,
            },
        });
    }
}

/// Pods as they would be made if nobody had asked for a member to be kept stopped.
pub(super) fn starts_fenced(cluster: &RaftCluster, observed: &Observed, plan: &mut Plan) {
    let mut believed = observed.clone();
    believed.operations.retain(|it| it.spec.fence.is_none());
    let made = plan::plan(cluster, &believed, observed.taken_at).actions;
    let makes = |it: &Action| matches!(it, Action::CreatePod(_));
    plan.actions.retain(|it| !makes(it));
    plan.actions.extend(made.into_iter().filter(makes));
}
