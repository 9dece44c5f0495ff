//! A small language for situations: one line for the resource, one for each member.
//!
//! ```text
//! cluster replicas=3 [image=..] [version=..] [policy=Delete] [engine=Etcd] [paused] [deleted] [fresh] [claims-of-namesake=2]
//!         [joining=4] [serial=4] [operation=Rollout/m2/900] [overlay=JSON] [size=..] [not-yet]
//! m1 leader
//! m2 index=10 pod=notready template=old age=10
//! m3 pod=ending overdue=40
//! m4 pod=notready unready=10 answers-as=5
//! ```
//!
//! `m1` is the member of serial 1, whose real name is a hash; a member that is not said to be otherwise has its identity,
//! its own claim, a ready pod of the template in force, a vote, and answers at index 100000. `fresh` means that nothing of
//! the cluster is there yet; otherwise services and budget are.

use std::collections::BTreeMap;

use crds::{Joining, MemberPhase, MemberStatus, Operation, OperationType, RaftCluster, RaftMember};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::{Action, Answer, Listed, Observed, Probe, names};
use serde_json::{Value, json};

/// The uid of the cluster in every situation.
const UID: &str = "c1c1c1c1-0000-4000-8000-000000000001";
/// Id of the etcd cluster.
const CLUSTER_ID: u64 = 0xc0ffee;

/// One situation.
pub(crate) struct Situation {
    pub(crate) cluster: RaftCluster,
    pub(crate) observed: Observed,
    pub(crate) now: Timestamp,
}

/// The words of a line: flags and `key=value`s.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn has(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find_map(|it| it.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.value(key).map(|it| {
            it.parse()
                .unwrap_or_else(|_| panic!("{key}={it} is no number"))
        })
    }
}

/// The real name of member `m<serial>`.
pub(crate) fn real(serial: i64) -> String {
    names::member("kv", UID, serial)
}

/// Reads a situation.
pub(crate) fn parse(text: &str) -> Situation {
    let lines: Vec<Words<'_>> = text
        .lines()
        .map(|it| Words(it.split_whitespace().collect()))
        .filter(|it| !it.0.is_empty())
        .collect();
    let (head, members) = lines
        .split_first()
        .expect("a situation begins with the cluster");
    assert_eq!(head.0[0], "cluster", "a situation begins with the cluster");
    let now = Timestamp::from_second(1_795_000_000).expect("a time");
    let mut situation = Situation {
        cluster: cluster(head),
        observed: Observed::empty(now),
        now,
    };
    remember(&mut situation, head, members);
    if !head.has("fresh") {
        services(&mut situation, members);
    }
    namesakes(
        &mut situation,
        head.number("claims-of-namesake").unwrap_or(0),
    );
    members
        .iter()
        .for_each(|it| member(&mut situation, it, members));
    situation
}

fn cluster(head: &Words<'_>) -> RaftCluster {
    let mut spec = json!({
        "replicas": head.number("replicas").unwrap_or(3),
        "storage": {"size": head.value("size").unwrap_or("4Gi")},
        "paused": head.has("paused"),
        "deletionPolicy": head.value("policy").unwrap_or("Retain"),
        "engine": head.value("engine").unwrap_or("Quorate"),
        "image": head.value("image"),
        "version": head.value("version"),
    });
    if let Some(overlay) = head.value("overlay") {
        spec["podTemplate"] =
            json!({"spec": serde_json::from_str::<Value>(overlay).expect("an overlay is JSON")});
    }
    if let Some(resources) = head.value("resources") {
        spec["resources"] = serde_json::from_str(resources).expect("resources are JSON");
    }
    let deleted = head.has("deleted").then_some("2026-11-18T00:00:00Z");
    serde_json::from_value(json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": {"name": "kv", "namespace": "demo", "uid": UID, "generation": 2, "deletionTimestamp": deleted},
        "spec": spec,
    }))
    .expect("a situation's resource is one")
}

/// What the status remembers.
fn remember(situation: &mut Situation, head: &Words<'_>, members: &[Words<'_>]) {
    let highest = members.iter().map(serial).max().unwrap_or(0);
    let joining = head.number("joining");
    if head.has("fresh") && joining.is_none() && members.is_empty() {
        return;
    }
    let status = situation.cluster.status.get_or_insert_default();
    status.serial = head
        .number("serial")
        .unwrap_or(highest.max(joining.unwrap_or(0)));
    status.joining = joining.map(|serial| Joining {
        name: real(serial),
        serial,
    });
    status.cluster_id = (!head.has("fresh")).then(|| format!("{CLUSTER_ID:x}"));
    let image = head.value("remembered").unwrap_or("quorate-node:0.1.0");
    status.image = Some(image.to_owned());
    status.default_image = Some(image.to_owned());
    status.members = members
        .iter()
        .filter(|it| it.value("identity") != Some("never"))
        .map(remembered)
        .collect();
    status.members.sort_by(|a, b| a.name.cmp(&b.name));
    status.operation = head
        .value("operation")
        .map(|it| operation(it, situation.now));
}

fn remembered(line: &Words<'_>) -> MemberStatus {
    let serial = serial(line);
    MemberStatus {
        name: real(serial),
        id: (line.value("known") != Some("no")).then(|| format!("{:x}", id(serial))),
        claim_uid: (line.value("claim") != Some("none") && line.value("known") != Some("nothing"))
            .then(|| format!("claim-{serial}"))
            .filter(|_| line.value("volume-known") != Some("no")),
        phase: if line.has("was-ready") {
            MemberPhase::Ready
        } else {
            MemberPhase::Pending
        },
        ..MemberStatus::default()
    }
}

/// `Rollout/m2/900`: kind, member, seconds since it began.
fn operation(text: &str, now: Timestamp) -> Operation {
    let parts: Vec<&str> = text.split('/').collect();
    let kind: OperationType = serde_json::from_value(json!(parts[0])).expect("a kind of operation");
    let serial = parts[1].trim_start_matches('m').parse().expect("a member");
    let began = now - SignedDuration::from_secs(parts[2].parse().expect("seconds"));
    Operation {
        kind,
        step: String::new(),
        member: Some(real(serial)),
        started_at: Time(began),
        deadline: Time(began + SignedDuration::from_mins(10)),
        blocked_by: Vec::new(),
    }
}

/// The serial of `m3 ...`.
fn serial(line: &Words<'_>) -> i64 {
    line.0[0]
        .strip_prefix('m')
        .and_then(|it| it.parse().ok())
        .unwrap_or_else(|| panic!("{} is no member", line.0[0]))
}

/// Member ids, so that they can be told from everything else in a transcript.
fn id(serial: i64) -> u64 {
    0xa0 + u64::try_from(serial).expect("a serial")
}

/// Services and budget as they would be by now: what the planner itself applies.
fn services(situation: &mut Situation, members: &[Words<'_>]) {
    let mut bare = situation.cluster.clone();
    bare.spec.paused = false;
    bare.metadata.deletion_timestamp = None;
    let mut observed = Observed::empty(situation.now);
    observed.probes = probes(situation.now, members);
    for action in plan::plan(&bare, &observed, situation.now).actions {
        match action {
            Action::ApplyService(it) => situation.observed.services.push(*it),
            Action::ApplyBudget(it) => situation.observed.budgets.push(*it),
            _ => {}
        }
    }
}

fn probes(now: Timestamp, members: &[Words<'_>]) -> BTreeMap<String, Probe> {
    members
        .iter()
        .filter_map(|it| Some((real(serial(it)), probe(now, it, members)?)))
        .collect()
}

/// Claims of an earlier cluster of this name.
fn namesakes(situation: &mut Situation, count: i64) {
    for number in 1..=count {
        let name = format!("data-kv-old0{number}");
        situation.observed.claims.push(claim(
            &name,
            &format!("kv-old0{number}"),
            "another",
            "uid",
            number,
        ));
    }
}

fn claim(
    name: &str,
    member: &str,
    cluster_uid: &str,
    uid: &str,
    serial: i64,
) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "demo", "uid": uid,
            "labels": {"quorate.io/cluster": "kv", "quorate.io/member": member},
            "annotations": {"quorate.io/cluster-uid": cluster_uid, "quorate.io/serial": serial.to_string()},
        },
        "spec": {},
    }))
    .expect("a claim")
}

fn member(situation: &mut Situation, line: &Words<'_>, all: &[Words<'_>]) {
    let serial = serial(line);
    let name = real(serial);
    if let Some(identity) = identity(line, serial, &name) {
        situation.observed.members.push(identity);
    }
    volume(situation, line, serial, &name);
    if let Some(pod) = pod(situation, line, serial, &name, all) {
        situation.observed.pods.push(pod);
    }
    if let Some(probe) = probe(situation.now, line, all) {
        situation.observed.probes.insert(name, probe);
    }
}

fn identity(line: &Words<'_>, serial: i64, name: &str) -> Option<RaftMember> {
    if matches!(line.value("identity"), Some("no" | "never")) {
        return None;
    }
    let ending = (line.value("identity") == Some("ending")).then_some("2026-11-18T00:00:00Z");
    let identity = json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftMember",
        "metadata": {"name": name, "namespace": "demo", "uid": format!("member-{serial}"), "deletionTimestamp": ending},
        "spec": {"clusterName": "kv", "clusterUID": UID, "serial": serial},
    });
    Some(serde_json::from_value(identity).expect("a member"))
}

fn volume(situation: &mut Situation, line: &Words<'_>, serial: i64, name: &str) {
    let (cluster_uid, uid) = match line.value("claim") {
        Some("none" | "lost") => return,
        Some("new") => (UID, "claim-made-anew".to_owned()),
        Some("foreign") => ("another", format!("claim-{serial}")),
        _ => (UID, format!("claim-{serial}")),
    };
    let mut claim = claim(&names::claim(name), name, cluster_uid, &uid, serial);
    if line.value("claim") == Some("ending") {
        claim.metadata.deletion_timestamp = Some(Time(situation.now));
    }
    if situation.cluster.spec.deletion_policy == crds::DeletionPolicy::Delete
        && line.value("owner") != Some("no")
    {
        let owner = json!([{"apiVersion": "quorate.io/v1alpha1", "kind": "RaftCluster", "name": "kv", "uid": UID, "controller": true}]);
        claim.metadata.owner_references = serde_json::from_value(owner).expect("an owner");
    }
    situation.observed.claims.push(claim);
}

/// The pod as the planner itself would make it, in the state that the line says.
fn pod(
    situation: &Situation,
    line: &Words<'_>,
    serial: i64,
    name: &str,
    all: &[Words<'_>],
) -> Option<Pod> {
    let state = line.value("pod").unwrap_or("ready");
    if state == "none" {
        return None;
    }
    let mut pod = rendered(situation, serial, name);
    let annotations = pod.metadata.annotations.get_or_insert_default();
    if line.value("template") == Some("old") {
        annotations.insert(names::TEMPLATE_HASH.to_owned(), "old".to_owned());
    }
    tell(&mut pod, line, all);
    let learner = line.has("learner") || line.has("unstarted");
    let label = line
        .value("label")
        .unwrap_or(if learner { "learner" } else { "voter" });
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(names::ROLE_LABEL.to_owned(), label.to_owned());
    let ago = |seconds| Time(situation.now - SignedDuration::from_secs(seconds));
    pod.metadata.creation_timestamp = line.number("age").map(ago);
    if state == "ending" {
        pod.metadata.deletion_timestamp = Some(ago(line.number("overdue").unwrap_or(0)));
    }
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(format!("node-{serial}"));
    let status = match state {
        "failed" => json!({"phase": "Failed", "reason": "Evicted"}),
        "succeeded" => json!({"phase": "Succeeded"}),
        "pulling" => json!({"phase": "Pending", "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        }]}),
        "unscheduled" => json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit"},
        ]}),
        other => json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": if other == "ready" { "True" } else { "False" },
             "lastTransitionTime": line.number("unready").map(|it| ago(it).0.to_string())},
        ]}),
    };
    pod.status = Some(serde_json::from_value(status).expect("a pod status"));
    Some(pod)
}

/// The pod was told the membership as it is, or as it once was.
fn tell(pod: &mut Pod, line: &Words<'_>, all: &[Words<'_>]) {
    let mut peers: Vec<String> = all
        .iter()
        .filter_map(listed)
        .map(|it| it.peer_urls[0].clone())
        .map(|url| {
            let host = url
                .trim_start_matches("http://")
                .split('.')
                .next()
                .unwrap_or_default();
            format!("{host}={url}")
        })
        .collect();
    peers.sort();
    if line.value("told") == Some("old") {
        peers.push("gone=http://gone:2380".to_owned());
    }
    let args = pod
        .spec
        .as_mut()
        .and_then(|it| it.containers[0].args.as_mut())
        .expect("a pod has arguments");
    for arg in args
        .iter_mut()
        .filter(|it| it.starts_with("--initial-cluster="))
    {
        *arg = format!("--initial-cluster={}", peers.join(","));
    }
}

fn rendered(situation: &Situation, serial: i64, name: &str) -> Pod {
    let mut cluster = situation.cluster.clone();
    cluster.spec.paused = false;
    cluster.metadata.deletion_timestamp = None;
    let status = cluster.status.get_or_insert_default();
    status.cluster_id = Some(format!("{CLUSTER_ID:x}"));
    status.members = vec![MemberStatus {
        name: name.to_owned(),
        id: Some("1".to_owned()),
        claim_uid: Some("c".to_owned()),
        ..MemberStatus::default()
    }];
    let mut observed = Observed::empty(situation.now);
    observed
        .members
        .extend(identity(&Words(Vec::new()), serial, name));
    observed
        .claims
        .push(claim(&names::claim(name), name, UID, "c", serial));
    let made = |cluster: &RaftCluster| {
        let actions = plan::plan(cluster, &observed, situation.now).actions;
        actions.into_iter().find_map(|it| match it {
            Action::CreatePod(pod) => Some(*pod),
            _ => None,
        })
    };
    // A pod from before the spec went bad.
    let made = made(&cluster).or_else(|| {
        cluster.spec.pod_template = None;
        made(&cluster)
    });
    let mut pod = made.expect("the planner makes a pod that is missing");
    pod.metadata.uid = Some(format!("pod-{serial}"));
    pod
}

/// What a member answers, if its pod has an address.
fn probe(now: Timestamp, line: &Words<'_>, all: &[Words<'_>]) -> Option<Probe> {
    let serial = serial(line);
    if matches!(
        line.value("pod"),
        Some("none" | "pulling" | "unscheduled" | "failed" | "succeeded")
    ) {
        return None;
    }
    let age = if line.value("answer") == Some("stale") {
        60
    } else {
        0
    };
    let taken_at = now - SignedDuration::from_secs(age);
    if line.value("answer") == Some("no") {
        return Some(Probe {
            taken_at,
            answer: Err("deadline exceeded".to_owned()),
        });
    }
    let leader = all
        .iter()
        .find(|it| it.has("leader"))
        .map_or(0, |it| id(self::serial(it)));
    let index = u64::try_from(line.number("index").unwrap_or(100_000)).expect("an index");
    let answer = Answer {
        cluster_id: if line.has("alien") { 0xbad } else { CLUSTER_ID },
        member_id: id(line.number("answers-as").unwrap_or(serial)),
        leader_id: if line.has("leaderless") { 0 } else { leader },
        term: 7,
        raft_index: index,
        applied_index: index,
        is_learner: line.has("learner"),
        version: line.value("version").unwrap_or("0.1.0").to_owned(),
        storage_version: line.value("data").map(ToOwned::to_owned),
        errors: line
            .value("error")
            .map(ToOwned::to_owned)
            .into_iter()
            .collect(),
        membership: (leader != 0 && !line.has("leaderless"))
            .then(|| all.iter().filter_map(listed).collect()),
    };
    Some(Probe {
        taken_at,
        answer: Ok(answer),
    })
}

fn listed(line: &Words<'_>) -> Option<Listed> {
    let serial = serial(line);
    let unstarted = line.has("unstarted");
    (!line.has("unlisted")).then(|| Listed {
        id: id(serial),
        name: if unstarted {
            String::new()
        } else {
            real(serial)
        },
        peer_urls: vec![names::peer_url("demo", "kv", &real(serial))],
        is_learner: unstarted || line.has("learner"),
    })
}
