//! What a round with a bug takes for seen or wanted.
//!
//! It deliberately decides nothing: that is left to the operator, which believes it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crds::{DeletionPolicy, RaftCluster};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use plan::{Answer, Observed, names};

/// For so many rounds a cache is still empty.
const EMPTY: u32 = 3;

/// A lock that only one round at a time asks for.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no round panics with it")
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.iter();
    let mut conditions = status.flat_map(|it| it.conditions.iter().flatten());
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

fn answers(observed: &mut Observed) -> impl Iterator<Item = (&String, &mut Answer)> {
    let probes = observed.probes.iter_mut();
    probes.filter_map(|(name, probe)| Some((name, probe.answer.as_mut().ok()?)))
}

pub(super) fn adopts_observed(cluster: &mut RaftCluster, observed: &mut Observed) {
    let known = cluster.status.as_ref().map_or(0, |it| it.members.len());
    let there = observed.pods.len();
    if (1..known).contains(&there) {
        let there = i32::try_from(there).unwrap_or(i32::MAX);
        cluster.spec.replicas = cluster.spec.replicas.min(there);
    }
}

pub(super) fn ready_is_caught_up(_: &mut RaftCluster, observed: &mut Observed) {
    let ready = observed.pods.iter().filter(|it| is_ready(it));
    let ready: BTreeSet<String> = ready.map(ResourceExt::name_any).collect();
    let head = answers(observed).map(|(_, it)| it.raft_index).max();
    for (name, answer) in answers(observed) {
        if ready.contains(name) {
            answer.raft_index = head.unwrap_or_default();
            answer.applied_index = head.unwrap_or_default();
        }
    }
}

pub(super) fn mistakes_leader(_: &mut RaftCluster, observed: &mut Observed) {
    let voters = answers(observed).filter(|(_, it)| !it.is_learner);
    let highest = voters.map(|(_, it)| it.member_id).max().unwrap_or_default();
    answers(observed).for_each(|(_, it)| it.leader_id = highest);
}

pub(super) fn no_name_was_taken(cluster: &mut RaftCluster, observed: &mut Observed) {
    if let Some(status) = &mut cluster.status {
        status.serial = 0;
    }
    let members: BTreeSet<String> = observed.members.iter().map(ResourceExt::name_any).collect();
    let is_known = |it: &str| members.contains(it);
    observed.claims.retain(|it| {
        let member = it.labels().get(names::MEMBER_LABEL);
        member.is_some_and(|it| is_known(it))
    });
}

pub(super) fn volume_by_name(cluster: &mut RaftCluster, observed: &mut Observed) {
    let status = cluster.status.iter_mut();
    for member in status.flat_map(|it| &mut it.members) {
        let name = names::claim(&member.name);
        let claim = observed.claims.iter().find(|it| it.name_any() == name);
        if let (Some(known), Some(claim)) = (&mut member.claim_uid, claim) {
            *known = claim.uid().unwrap_or_default();
        }
    }
}

pub(super) fn keeps_nothing(cluster: &mut RaftCluster, _: &mut Observed) {
    let policy = cluster
        .spec
        .storage
        .retention_policy
        .get_or_insert_default();
    policy.when_scaled = Some(DeletionPolicy::Delete);
    policy.when_replaced = Some(DeletionPolicy::Delete);
}

/// Pods that are older than the process are of an old template.
pub(super) fn all_outdated_at_start() -> impl Fn(&mut RaftCluster, &mut Observed) {
    let start: Mutex<Option<Timestamp>> = Mutex::default();
    move |_, observed| {
        let start = *locked(&start).get_or_insert(observed.taken_at);
        for pod in &mut observed.pods {
            let made = pod.creation_timestamp().map(|it| it.0);
            if made.is_some_and(|it| it < start) {
                let old = "of an earlier release".to_owned();
                pod.annotations_mut()
                    .insert(names::TEMPLATE_HASH.to_owned(), old);
            }
        }
    }
}

/// A cache that is still empty for the first rounds.
pub(super) fn no_secret_yet() -> impl Fn(&mut RaftCluster, &mut Observed) {
    let rounds = Mutex::new(0);
    move |_, observed| {
        let mut rounds = locked(&rounds);
        *rounds += 1;
        if *rounds <= EMPTY {
            observed.keyrings.clear();
        }
    }
}

/// Once a recovery is asked for.
pub(super) fn nobody_leads(_: &mut RaftCluster, observed: &mut Observed) {
    if observed.operations.is_empty() {
        return;
    }
    for (_, answer) in answers(observed) {
        answer.leader_id = 0;
        answer.membership = None;
    }
}

pub(super) fn members_have_what_secrets_hold(cluster: &mut RaftCluster, observed: &mut Observed) {
    let name = cluster.name_any();
    for ((_, surface), handshake) in &mut observed.handshakes {
        let secret = names::members_secret(&name, *surface);
        let ring = observed.keyrings.iter().find(|it| it.secret == secret);
        let (Some(ring), Ok(handshake)) = (ring, handshake) else {
            continue;
        };
        handshake.trusts = ring.roots.iter().cloned().collect();
        let leaf = ring.fingerprints.get("tls");
        handshake.shows = leaf.cloned().unwrap_or_default();
        handshake.issuer = ring.subjects.get("ca").cloned().unwrap_or_default();
    }
}
